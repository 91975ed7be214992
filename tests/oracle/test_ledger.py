"""The ledger of QUANT_SPEC section 4, worked out by hand there."""

from __future__ import annotations

import numpy as np
import pytest

from grodtd.domain.bars import Bars
from grodtd.domain.run import Fills
from grodtd.execution.ledger import ledger_of

# Buy 2 at 100.05 (reference 100), sell 0.5 at 103.97 (104), sell 1.5 at 97.90 (98), fee 5 bp, funding in bars 1 and 3.
CLOSES = np.array([100.0, 102.0, 104.0, 101.0, 98.0])
BARS = Bars(np.arange(5) * 60_000_000, CLOSES, CLOSES, CLOSES, CLOSES, np.ones(5), timeframe="1m")
QTY, REF, PRICE = np.array([2.0, 0.5, 1.5]), np.array([100.0, 104.0, 98.0]), np.array([100.05, 103.97, 97.90])
FILLS = Fills(
    bar=np.array([0, 2, 4]),
    trade=np.zeros(3, np.int64),
    side=np.array([1, -1, -1], np.int8),
    qty=QTY,
    ref=REF,
    price=PRICE,
    fee=5e-4 * QTY * PRICE,
    spread=np.array([0.04, 0.01, 0.03]),
    impact=np.array([0.0, 0.0, 0.02]),
    reason=np.zeros(3, np.int8),
)
LEDGER = ledger_of(
    BARS, FILLS, np.array([2.0, 2.0, 1.5, 1.5, 0.0]), np.array([0, -0.0202, 0, -0.01485, 0]) * -1, np.zeros(5)
)


def test_sums() -> None:
    assert LEDGER.gross.sum() == pytest.approx(-1.0)
    # 2 * 0.05 + 0.5 * 0.03 + 1.5 * 0.10 = 0.265, of which spread 0.08 and impact 0.02
    assert (LEDGER.spread + LEDGER.slippage + LEDGER.impact).sum() == pytest.approx(0.265)
    assert LEDGER.spread.sum() == pytest.approx(0.08)
    assert LEDGER.impact.sum() == pytest.approx(0.02)
    assert LEDGER.fees.sum() == pytest.approx(0.1994675)
    assert LEDGER.funding.sum() == pytest.approx(0.03505)
    assert LEDGER.net.sum() == pytest.approx(-1.4995175)


def test_each_bar() -> None:
    # Without funding: -0.20005, 4.0, 3.9590075, -4.5, -4.723425; funding is paid in bars 1 and 3.
    expected = np.array([-0.20005, 4.0 - 0.0202, 3.9590075, -4.5 - 0.01485, -4.723425])
    np.testing.assert_allclose(LEDGER.net, expected, atol=1e-12)


def test_by_regime() -> None:
    regime = np.array([0, 0, 1, 1, 2])  # range, range, trend, trend, high volatility
    np.testing.assert_allclose(np.bincount(regime, weights=LEDGER.net), [3.77975, -0.5558425, -4.723425], atol=1e-12)
