"""Which decisions a regime gate lets through."""

from __future__ import annotations

import numpy as np

from grodtd.execution.gate import entry_gate
from grodtd.indicators.regime import Regime

LABELS = np.array([np.nan, Regime.RANGING, Regime.TRENDING, Regime.TRENDING, Regime.HIGH_VOLATILITY])


def test_hold_masks_entries_and_closes_nothing() -> None:
    assert entry_gate(LABELS, [Regime.TRENDING]).tolist() == [0, 0, 1, 1, 0]


def test_flat_closes_outside_but_not_while_unknown() -> None:
    assert entry_gate(LABELS, [Regime.TRENDING], "flat").tolist() == [0, -1, 1, 1, -1]


def test_nothing_allowed_and_everything_allowed() -> None:
    assert entry_gate(LABELS, []).tolist() == [0] * 5
    assert entry_gate(LABELS, list(Regime)).tolist() == [0, 1, 1, 1, 1]
