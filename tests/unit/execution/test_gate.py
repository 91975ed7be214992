"""The regime gate, close by close."""

from __future__ import annotations

import math

import numpy as np
import pytest

from grodtd.domain.market import OnExit
from grodtd.execution.gate import entry_gate
from grodtd.indicators.regime import Regime

RANGING, TRENDING, HIGH, TRANSITION = (
    float(r) for r in (Regime.RANGING, Regime.TRENDING, Regime.HIGH_VOLATILITY, Regime.TRANSITION)
)
LABELS = np.array([math.nan, RANGING, TRENDING, HIGH, TRANSITION, TRENDING])


@pytest.mark.parametrize(
    ("allowed", "on_exit", "gate"),
    [
        ((Regime.TRENDING,), "hold", [0, 0, 1, 0, 0, 1]),
        # Not knowing closes nothing: only another regime does.
        ((Regime.TRENDING,), "flat", [0, -1, 1, -1, -1, 1]),
        ((Regime.RANGING, Regime.TRANSITION), "hold", [0, 1, 0, 0, 1, 0]),
        ((Regime.RANGING, Regime.TRANSITION), "flat", [0, 1, -1, -1, 1, -1]),
        (tuple(Regime), "flat", [0, 1, 1, 1, 1, 1]),
        ((), "hold", [0] * 6),
        ((), "flat", [0, -1, -1, -1, -1, -1]),
    ],
)
def test_gate(allowed: tuple[Regime, ...], on_exit: OnExit, gate: list[int]) -> None:
    found = entry_gate(LABELS, allowed, on_exit)
    assert found.dtype == np.int8
    assert found.tolist() == gate


def test_a_gate_holds_unless_told_otherwise() -> None:
    assert entry_gate(LABELS, {Regime.HIGH_VOLATILITY}).tolist() == [0, 0, 0, 1, 0, 0]


def test_no_bars_no_gate() -> None:
    assert entry_gate(LABELS[:0], [Regime.TRENDING]).shape == (0,)
