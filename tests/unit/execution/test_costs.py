"""What a fill costs, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from grodtd.domain.bars import Bars
from grodtd.domain.market import Costs, EarlierCosts
from grodtd.execution.costs import (
    HALF_SPREAD,
    IMPACT,
    MAKER,
    SLIPPAGE,
    TAKER,
    cost_rows,
    sigma_1m,
    square_root_impact_bps,
)

MINUTE_US = 60_000_000
DAY_US = 86_400_000_000


def zigzag(n: int, move: float = 0.001, start: int = 0, volume: float = 2.0) -> Bars:
    """Closes that go up and down by the same log return."""
    close = 100 * np.exp(np.where(np.arange(n) % 2, move, 0.0))
    return Bars(start + np.arange(n) * MINUTE_US, close, close, close, close, np.full(n, volume), timeframe="1m")


@pytest.mark.parametrize(("qty", "day_volume", "bps"), [(1e6, 1e10, 3.000), (1e5, 1e10, 0.949), (1e6, 5e8, 13.416)])
def test_square_root_law_of_the_specification(qty: float, day_volume: float, bps: float) -> None:
    assert square_root_impact_bps(1.0, 0.03, qty / day_volume) == pytest.approx(bps, abs=5e-4)


def test_constant_costs_are_one_column() -> None:
    rows = cost_rows(zigzag(10), Costs(maker_bps=2, taker_bps=5, half_spread_bps=0.5, slippage_bps=1))
    assert rows.shape == (5, 1)
    np.testing.assert_allclose(rows[:, 0], [5e-4, 2e-4, 0.5e-4, 1e-4, 0])


def test_earlier_tiers_hold_until_their_day() -> None:
    bars = zigzag(6, start=DAY_US - 3 * MINUTE_US)  # three minutes before 1970-01-02 and three after
    days = {"1970-01-02": 20.0, "1970-01-01": 40.0}
    earlier = tuple(EarlierCosts(until, taker_bps=bps, source="a page") for until, bps in days.items())
    rows = cost_rows(bars, Costs(maker_bps=2, taker_bps=5, half_spread_bps=0.5, earlier=earlier))
    np.testing.assert_allclose(rows[TAKER], [20e-4] * 3 + [5e-4] * 3)
    np.testing.assert_allclose(rows[MAKER], 2e-4)  # not named by the entry: as now
    np.testing.assert_allclose(rows[HALF_SPREAD], 0.5e-4)


def test_slippage_follows_the_volatility_of_the_bars_before() -> None:
    bars = zigzag(200)
    # Every return is 10 bp but the first, which does not exist: at bar 100 the 60 before are all 10 bp.
    assert sigma_1m(bars)[100] == pytest.approx(0.001, rel=1e-12)
    rows = cost_rows(bars, Costs(slippage_bps=1, c_vol=0.1))
    assert rows[SLIPPAGE, 100] == pytest.approx(1e-4 + 0.1 * 0.001)
    # What happens in a bar is not in its own cost.
    jump = bars.close.copy()
    jump[150:] *= 1.1
    jumped = Bars(bars.time, jump, jump, jump, jump, bars.volume, timeframe="1m")
    np.testing.assert_array_equal(sigma_1m(jumped)[:151], sigma_1m(bars)[:151])
    assert sigma_1m(jumped)[151] > 5 * sigma_1m(bars)[151]


def test_impact_times_the_root_of_the_quantity_is_the_square_root_law() -> None:
    bars = zigzag(3_000, volume=2.0)
    rows = cost_rows(bars, Costs(impact_y=1.5))
    # A day of 1,440 returns of 10 bp: 0.001 * sqrt(1440); volume 2 * 1,440.
    sigma_d, volume = 0.001 * np.sqrt(1_440), 2 * 1_440
    expected = square_root_impact_bps(1.5, sigma_d, 7.0 / volume) * 1e-4
    assert rows[IMPACT, 2_500] * np.sqrt(7.0) == pytest.approx(float(expected), rel=1e-12)


def test_twice_the_costs_are_twice_every_row() -> None:
    costs = Costs(2, 5, 0.5, 1, c_vol=0.1, impact_y=1, earlier=(EarlierCosts("1970-01-02", taker_bps=20, source="a"),))
    bars = zigzag(3_000)
    np.testing.assert_allclose(cost_rows(bars, costs.scaled(2)), 2 * cost_rows(bars, costs), rtol=1e-12)
