"""What a fill costs in each bar, by hand: dated fees, volatility, impact (QUANT_SPEC 5.2)."""

from __future__ import annotations

import numpy as np
import pytest

from grodtd.domain.bars import Bars, FloatArray, timeframe_s
from grodtd.domain.market import Costs, EarlierCosts
from grodtd.execution.costs import (
    HALF_SPREAD,
    IMPACT,
    MAKER,
    SLIPPAGE,
    TAKER,
    conditions_of,
    cost_rows,
    square_root_impact_bps,
    varies_by_bar,
)

DAY_US = 86_400_000_000
OF_ALL_KINDS = Costs(
    maker_bps=-1,
    taker_bps=5,
    half_spread_bps=0.5,
    slippage_bps=0.25,
    c_vol=0.1,
    impact_y=1,
    earlier=(EarlierCosts("1970-01-01", taker_bps=9), EarlierCosts("1970-01-02", half_spread_bps=4)),
)


def zigzag(n: int, step: float, timeframe: str = "1m", volume: float = 1.0) -> Bars:
    """Closes that go up and down by the log return `step` in turn: every squared return after the first is step^2."""
    price = 100 * np.exp(step * (np.arange(n) % 2))
    time = np.arange(n) * timeframe_s(timeframe) * 1_000_000
    return Bars(time, price, price, price, price, np.full(n, volume), timeframe=timeframe)


def daily(first: str, n: int) -> Bars:
    start = int((np.datetime64(first) - np.datetime64("1970-01-01")).astype(int)) * DAY_US
    price = np.full(n, 100.0)
    return Bars(start + np.arange(n) * DAY_US, price, price, price, price, np.ones(n), timeframe="1d")


# --- constant and dated costs ----------------------------------------------------------------------------------------


def test_constant_costs_are_one_column_of_fractions() -> None:
    costs = Costs(maker_bps=-1, taker_bps=5, half_spread_bps=0.5, slippage_bps=2)
    assert not varies_by_bar(costs)
    rows = cost_rows(zigzag(10, 0.01), costs)
    assert rows.shape == (5, 1)
    np.testing.assert_allclose(rows[[TAKER, MAKER, HALF_SPREAD, SLIPPAGE, IMPACT], 0], [5e-4, -1e-4, 5e-5, 2e-4, 0])


def test_the_costs_of_a_date_hold_for_bars_that_open_before_it() -> None:
    costs = Costs(taker_bps=10, earlier=(EarlierCosts("2018-01-02", taker_bps=20),))
    rows = cost_rows(daily("2017-12-31", 4), costs)  # 31 December, 1, 2 and 3 January
    np.testing.assert_allclose(rows[TAKER], [20e-4, 20e-4, 10e-4, 10e-4])


@pytest.mark.parametrize("is_turned", [False, True])
def test_of_several_dates_the_first_after_the_bar_holds_and_gaps_are_filled_from_later(is_turned: bool) -> None:
    # Until the 2nd: taker 30, spread as in the entry after it. Until the 3rd: taker 20, spread 5. Then 10 and 1.
    earlier = (EarlierCosts("2018-01-02", taker_bps=30), EarlierCosts("2018-01-03", taker_bps=20, half_spread_bps=5))
    costs = Costs(maker_bps=7, taker_bps=10, half_spread_bps=1, earlier=earlier[::-1] if is_turned else earlier)
    assert varies_by_bar(costs)
    rows = cost_rows(daily("2018-01-01", 3), costs)
    np.testing.assert_allclose(rows[TAKER], [30e-4, 20e-4, 10e-4])
    np.testing.assert_allclose(rows[HALF_SPREAD], [5e-4, 5e-4, 1e-4])
    np.testing.assert_allclose(rows[MAKER], [7e-4] * 3)


def test_a_fee_of_zero_in_the_past_is_a_fee() -> None:
    costs = Costs(maker_bps=2, taker_bps=10, earlier=(EarlierCosts("2018-01-02", taker_bps=0, maker_bps=0),))
    rows = cost_rows(daily("2018-01-01", 2), costs)
    assert rows[TAKER].tolist() == [0.0, pytest.approx(10e-4)]
    assert rows[MAKER].tolist() == [0.0, pytest.approx(2e-4)]


def test_half_the_costs_are_half_in_every_row_and_bar() -> None:
    bars = zigzag(2_000, 0.001)
    rows = cost_rows(bars, OF_ALL_KINDS)
    assert len(np.unique(rows[HALF_SPREAD])) == 2
    np.testing.assert_allclose(cost_rows(bars, OF_ALL_KINDS.scaled(0.5)), rows / 2, rtol=1e-12)
    assert not cost_rows(bars, OF_ALL_KINDS.scaled(0)).any()


# --- slippage by volatility ------------------------------------------------------------------------------------------


def test_volatility_of_a_minute_is_that_of_the_60_bars_before() -> None:
    # Each return is 10 bp, the first is none: bar 0 has no close before it.
    #   bar 61 on: 60 returns of 10 bp: 10 bp, a tenth of it is 1 bp, and 2 bp are constant
    #   bar 60: 59 of 60; bars 0 to 30: 29 of the first 30
    rows = cost_rows(zigzag(100, 0.001), Costs(slippage_bps=2, c_vol=0.1))
    assert rows.shape == (5, 100)
    np.testing.assert_allclose(rows[SLIPPAGE, 61:], 3e-4, rtol=1e-9)
    assert rows[SLIPPAGE, 60] == pytest.approx(2e-4 + 1e-4 * (59 / 60) ** 0.5, rel=1e-9)
    np.testing.assert_allclose(rows[SLIPPAGE, :31], 2e-4 + 1e-4 * (29 / 30) ** 0.5, rtol=1e-9)
    assert not rows[IMPACT].any()


def test_longer_bars_are_scaled_to_a_minute() -> None:
    # 10 bp in 5 minutes are 10 bp over the root of 5 in one.
    rows = cost_rows(zigzag(100, 0.001, "5m"), Costs(c_vol=1))
    np.testing.assert_allclose(rows[SLIPPAGE, 61:], 0.001 / 5**0.5, rtol=1e-9)


def test_costs_of_a_bar_are_known_before_it() -> None:
    rng = np.random.default_rng(5)
    moves, volume = rng.normal(0, 1e-3, 200), rng.lognormal(0, 1, 200)

    def rows(moves: FloatArray, volume: FloatArray) -> FloatArray:
        price = 100 * np.exp(np.cumsum(moves))
        bars = Bars(np.arange(200) * 60_000_000, price, price, price, price, volume)
        return cost_rows(bars, Costs(c_vol=0.1, impact_y=1))

    before = rows(moves, volume)
    for t in (30, 31, 77, 199):  # the first 30 bars take theirs from all 30; nothing trades there
        later_moves, later_volume = moves.copy(), volume.copy()
        later_moves[t:] *= 7
        later_volume[t:] *= 3
        after = rows(later_moves, later_volume)
        np.testing.assert_array_equal(after[:, : t + 1], before[:, : t + 1])
        assert t == 199 or not np.array_equal(after[:, t + 1], before[:, t + 1])


# --- impact ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("qty", "a_day", "bps"), [(1e6, 1e10, 3.000), (1e5, 1e10, 0.949), (1e6, 5e8, 13.416)])
def test_impact_is_that_of_the_specification(qty: float, a_day: float, bps: float) -> None:
    # QUANT_SPEC 5.2: Y 1, sigma_d 3 %.
    assert float(square_root_impact_bps(1.0, 0.03, qty / a_day)) == pytest.approx(bps, abs=5e-4)
    # The same out of bars: hours that move by 3 % / sqrt(24) and trade a 24th of the day's volume.
    rows = cost_rows(zigzag(60, 0.03 / 24**0.5, "1h", a_day / 24), Costs(impact_y=1))
    np.testing.assert_allclose(rows[IMPACT, 31:] * qty**0.5 * 1e4, bps, atol=5e-4)
    assert not rows[SLIPPAGE].any()


def test_impact_is_proportional_to_its_coefficient() -> None:
    participation = np.array([0.0, 1e-4, 1e-2])
    # 1e4 * 0.5 * 0.02 * sqrt(participation) = 100 * (0, 0.01, 0.1)
    np.testing.assert_allclose(square_root_impact_bps(0.5, 0.02, participation), [0, 1, 10])


def test_volume_and_volatility_are_those_of_one_day() -> None:
    # Minutes: a first day of 1 unit a bar and 1 bp, then a day of 4 units and 2 bp. After the second day nothing is
    # left of the first: sigma_d = 2 bp * sqrt(1440), V_d = 4 * 1440, so impact is 1e-4 * 2 / 2 = 1e-4.
    n = 2 * 1_440
    step = np.where(np.arange(n) < 1_440, 1e-4, 2e-4) * np.where(np.arange(n) % 2, 1, -1)
    price = 100 * np.exp(np.cumsum(step))
    volume = np.where(np.arange(n + 1) < 1_440, 1.0, 4.0)
    price = np.append(price, price[-1])
    bars = Bars(np.arange(n + 1) * 60_000_000, price, price, price, price, volume)
    rows = cost_rows(bars, Costs(impact_y=1))
    assert rows[IMPACT, -1] == pytest.approx(1e-4, rel=1e-9)
    # Bar 1,441: returns 1 to 1,440 (the last of them 2 bp), volumes 1 to 1,440 (the last of them 4).
    sigma, a_day = ((1_439 + 4) * 1e-8) ** 0.5, 1_439 + 4
    assert rows[IMPACT, 1_441] == pytest.approx(sigma / a_day**0.5, rel=1e-9)


def test_a_day_without_volume_has_no_impact_to_speak_of() -> None:
    rows = cost_rows(zigzag(60, 0.01, "1h", 0.0), Costs(impact_y=1))
    assert rows.shape == (5, 60)
    assert not rows[IMPACT].any()


@pytest.mark.parametrize("n", [0, 1])
def test_the_shortest_histories_have_finite_costs(n: int) -> None:
    rows = cost_rows(zigzag(n, 0.01), OF_ALL_KINDS)
    assert rows.shape == (5, n)
    assert np.isfinite(rows).all()


def test_conditions_at_hand_give_the_same_rows_at_any_rate() -> None:
    bars = zigzag(3_000, 0.01)
    conditions = conditions_of(bars, OF_ALL_KINDS)
    for factor in (0.5, 1.0, 2.0):
        costs = OF_ALL_KINDS.scaled(factor)
        np.testing.assert_array_equal(cost_rows(bars, costs, conditions), cost_rows(bars, costs))
    # Nothing scales with the market, nothing to compute.
    assert conditions_of(bars, Costs(taker_bps=5)) is None
