"""Sweeps of books worked out by hand; laws and coefficients recovered from data made with them."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from grodtd.domain.bars import DAY_S, US_PER_S, FloatArray
from grodtd.execution.calibration import (
    CostCalibration,
    MarketState,
    calibrate_snapshots,
    daily_volatility,
    fit_from_fills,
    fit_impact,
    half_spread_bps,
    impact_bps,
    modelled_cost_bps,
    sweep_cost_bps,
)

SIZES = np.array([1e4, 1e5, 1e6])


# --- sweeping a book -------------------------------------------------------------------------------------------------

ASKS = np.array([[100.1, 100.2, 100.5]])
ASK_SIZES = np.array([[1.0, 2.0, 4.0]])
BIDS = np.array([[99.9, 99.8, 99.0]])
MID = np.array([100.0])


@pytest.mark.parametrize(
    ("notional", "quantity"),
    [
        (50.05, 0.5),  # half of the best level
        (100.1, 1.0),  # exactly the best level
        (300.5, 3.0),  # exactly two levels: 100.1 + 2 * 100.2
        (401.0, 4.0),  # 300.5 and one of four pieces at 100.5
        (702.5, 7.0),  # the whole book: 300.5 + 4 * 100.5
    ],
)
def test_a_buy_walks_the_asks_and_takes_part_of_the_last_level(notional: float, quantity: float) -> None:
    (cost,) = sweep_cost_bps(ASKS, ASK_SIZES, MID, notional)
    assert cost == pytest.approx((notional / quantity / 100.0 - 1) * 1e4, rel=1e-9)


def test_a_sell_walks_the_bids_and_its_cost_is_positive() -> None:
    # 99.9 + 2 * 99.8 = 299.5 for three pieces: 99.8333 on average, 16.667 bp below mid.
    (cost,) = sweep_cost_bps(BIDS, ASK_SIZES, MID, 299.5)
    assert cost == pytest.approx(16.6667, abs=1e-4)


def test_a_book_too_thin_costs_nan_and_the_others_keep_theirs() -> None:
    prices, sizes = np.repeat(ASKS, 2, axis=0), np.vstack([ASK_SIZES, ASK_SIZES / 10])
    cost = sweep_cost_bps(prices, sizes, np.repeat(MID, 2), 300.5)
    assert cost[0] == pytest.approx(16.6667, abs=1e-4)
    assert math.isnan(cost[1])
    assert math.isnan(sweep_cost_bps(ASKS, ASK_SIZES, MID, 702.51)[0])


def test_absent_levels_hold_nothing() -> None:
    padded = np.array([[100.1, 100.2, np.nan]])
    assert sweep_cost_bps(padded, ASK_SIZES, MID, 300.5)[0] == pytest.approx(16.6667, abs=1e-4)
    assert math.isnan(sweep_cost_bps(padded, ASK_SIZES, MID, 301.0)[0])
    no_levels = np.empty((1, 0))
    assert math.isnan(sweep_cost_bps(no_levels, no_levels, MID, 1.0)[0])


def test_costs_never_fall_with_size_and_do_not_depend_on_the_unit_of_price() -> None:
    sizes = np.linspace(1.0, 700.0, 200)
    costs = np.array([sweep_cost_bps(ASKS, ASK_SIZES, MID, float(n))[0] for n in sizes])
    assert np.all(np.diff(costs) >= -1e-9)
    scaled = np.array([sweep_cost_bps(ASKS * 7, ASK_SIZES, MID * 7, float(n) * 7)[0] for n in sizes])
    np.testing.assert_allclose(scaled, costs, rtol=1e-9)


def test_sweeps_refuse_other_shapes_and_sizes() -> None:
    with pytest.raises(ValueError, match="shape"):
        sweep_cost_bps(ASKS, ASK_SIZES[:, :2], MID, 1.0)
    with pytest.raises(ValueError, match="shape"):
        sweep_cost_bps(ASKS, ASK_SIZES, np.repeat(MID, 2), 1.0)
    for notional in (0.0, -1.0, math.nan, math.inf):
        with pytest.raises(ValueError, match="notional must be a finite number above zero"):
            sweep_cost_bps(ASKS, ASK_SIZES, MID, notional)


# --- spread and volatility -------------------------------------------------------------------------------------------


def test_the_half_spread_is_weighted_with_time() -> None:
    # 1 bp for three seconds, 5 bp for one second; the last quote only ends the second: (3 * 1 + 1 * 5) / 4.
    bid, ask = np.array([99.99, 99.95, 90.0]), np.array([100.01, 100.05, 110.0])
    assert half_spread_bps(bid, ask, np.array([0, 3_000_000, 4_000_000])) == pytest.approx(2.0, rel=1e-9)


def test_the_half_spread_of_no_time_is_undefined_and_wrong_quotes_are_refused() -> None:
    one = np.array([99.0])
    assert math.isnan(half_spread_bps(one, one + 2, np.array([5])))
    assert math.isnan(half_spread_bps(np.empty(0), np.empty(0), np.empty(0, dtype=np.int64)))
    two = np.array([99.0, 99.0])
    with pytest.raises(ValueError, match="time must not fall"):
        half_spread_bps(two, two + 1, np.array([2, 1]))
    with pytest.raises(ValueError, match="0 < bid <= ask"):
        half_spread_bps(two, two - 1, np.array([1, 2]))
    with pytest.raises(ValueError, match="one shape"):
        half_spread_bps(two, one, np.array([1, 2]))


def test_the_volatility_of_a_seeded_walk_is_found() -> None:
    # 8 hours of seconds with 3 % a day: 2,880 returns of 10 s give the volatility to 1.3 %; allow three times that.
    steps = np.random.default_rng(7).standard_normal(8 * 3_600) * 0.03 / math.sqrt(DAY_S)
    time = np.arange(steps.size) * US_PER_S
    assert daily_volatility(100 * np.exp(np.cumsum(steps)), time) == pytest.approx(0.03, rel=0.04)


def test_the_volatility_of_a_zigzag_is_exact_and_of_a_moment_undefined() -> None:
    # +-10 bp every 10 s, whatever the grid's offset: 0.001 * sqrt(8640) a day.
    mid = np.where(np.arange(101) % 2, 100 * math.exp(0.001), 100.0)
    time = np.arange(101) * 10 * US_PER_S
    assert daily_volatility(mid, time) == pytest.approx(0.001 * math.sqrt(8_640), rel=1e-9)
    assert math.isnan(daily_volatility(mid[:5], time[:5]))
    assert math.isnan(daily_volatility(mid[:0], time[:0]))


# --- the law of impact -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("notional", "adv", "bps"),
    [(1e6, 1e10, 3.000), (1e5, 1e10, 0.949), (1e6, 5e8, 13.416)],
)
def test_square_root_impact_is_that_of_the_specification(notional: float, adv: float, bps: float) -> None:
    # QUANT_SPEC 5.2: Y 1, sigma_d 3 %.
    assert float(impact_bps(notional, adv, sigma_d=0.03)) == pytest.approx(bps, abs=5e-4)


@pytest.mark.parametrize(("y", "delta", "half"), [(1.0, 0.5, 0.5), (0.3, 0.5, 0.0), (27.0, 1.05, 0.002), (2.0, 0.3, 5)])
def test_both_laws_are_recovered_from_exact_costs(y: float, delta: float, half: float) -> None:
    costs = half + impact_bps(SIZES, 3.6e9, sigma_d=0.034, y=y, delta=delta)
    found = fit_impact(SIZES, costs, 0.034, 3.6e9, half)
    assert found.power.y == pytest.approx(y, rel=1e-6)
    assert found.power.delta == pytest.approx(delta, rel=1e-6)
    assert found.power.worst_factor == pytest.approx(1.0, abs=1e-8)
    assert found.square_root.delta == 0.5
    if delta == 0.5:
        assert found.square_root.y == pytest.approx(y, rel=1e-6)
        assert found.y_covering == pytest.approx(y, rel=1e-9)
    else:
        assert found.square_root.rms_log_error > 0.01


def test_noise_in_proportion_to_cost_leaves_the_coefficients_unbiased() -> None:
    rng = np.random.default_rng(11)
    sizes = np.repeat(np.geomspace(1e3, 1e7, 9), 200)
    exact = 0.1 + impact_bps(sizes, 1e10, sigma_d=0.03, y=0.8, delta=0.6)
    found = fit_impact(sizes, exact * np.exp(0.3 * rng.standard_normal(sizes.size)), 0.03, 1e10, 0.1).power
    assert found.delta == pytest.approx(0.6, abs=0.02)
    assert found.y == pytest.approx(0.8, rel=0.15)
    assert found.rms_log_error == pytest.approx(0.3, abs=0.02)


def test_the_best_coefficient_is_the_geometric_mean_without_a_spread() -> None:
    # Without a half-spread ln(cost) is linear in ln(Y): factors 1/4, 1 and 4 off the law average to 1.
    costs = impact_bps(SIZES, 1e10, sigma_d=0.03) * np.array([0.25, 1.0, 4.0])
    found = fit_impact(SIZES, costs, 0.03, 1e10, 0.0)
    assert found.square_root.y == pytest.approx(1.0, rel=1e-6)
    assert found.square_root.worst_factor == pytest.approx(4.0, rel=1e-6)
    assert found.square_root.rms_log_error == pytest.approx(math.log(4) * math.sqrt(2 / 3), rel=1e-6)
    assert found.y_covering == pytest.approx(4.0)
    # 16 times the cost over two decades more: log10(16) / 2 steeper.
    assert found.power.delta == pytest.approx(0.5 + math.log10(16) / 2, rel=1e-6)


def test_a_point_below_the_half_spread_is_no_special_case() -> None:
    found = fit_impact(SIZES, np.array([0.9, 2.0, 4.0]), 0.03, 1e10, 1.0)
    assert found.power.worst_factor < 1.5
    assert found.square_root.y > 0


def test_costs_within_the_spread_have_no_impact_and_no_exponent() -> None:
    found = fit_impact(SIZES, np.array([0.5, 0.9, 1.0]), 0.03, 1e10, 1.0)
    assert (found.square_root.y, found.power.y, found.y_covering) == (0.0, 0.0, 0.0)
    assert math.isnan(found.power.delta)
    assert found.power.worst_factor == pytest.approx(2.0)
    np.testing.assert_array_equal(modelled_cost_bps(SIZES, MarketState(1.0, 0.03, 1e10), found.power), 1.0)


def test_one_size_gives_a_coefficient_but_no_exponent() -> None:
    found = fit_impact(np.array([1e6, 1e6]), np.array([3.0, 3.0]), 0.03, 1e10, 0.0)
    assert found.square_root.y == pytest.approx(1.0, rel=1e-6)
    assert math.isnan(found.power.y)
    assert math.isnan(found.power.delta)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"cost_bps": np.array([1.0])}, "one shape"),
        ({"notional": np.empty(0), "cost_bps": np.empty(0)}, "one shape"),
        ({"cost_bps": np.array([1.0, 0.0, 2.0])}, "above zero"),
        ({"notional": np.array([1.0, math.nan, 2.0])}, "above zero"),
        ({"sigma_d": 0.0}, "sigma_d must be a finite number above zero"),
        ({"adv_notional": math.inf}, "adv_notional must be"),
        ({"half_spread_bps": -0.1}, "at least zero"),
    ],
)
def test_fits_refuse_what_they_cannot_use(change: dict[str, object], message: str) -> None:
    arguments: dict[str, object] = {
        "notional": SIZES,
        "cost_bps": np.array([1.0, 2.0, 3.0]),
        "sigma_d": 0.03,
        "adv_notional": 1e10,
        "half_spread_bps": 0.1,
        **change,
    }
    with pytest.raises(ValueError, match=message):
        fit_impact(**arguments)  # type: ignore[arg-type]  # one argument is wrong on purpose


# --- a whole calibration ---------------------------------------------------------------------------------------------

STATE = MarketState(0.2, 0.03, 1e10)


def calibration(buy: FloatArray, sell: FloatArray, **changes: object) -> CostCalibration:
    arguments: dict[str, object] = {
        "fitted": SIZES.tolist(),
        "state": STATE,
        "first_half": STATE,
        "second_half": STATE,
        "calibrated_on": "2024-08-09",
        "source": "made",
        **changes,
    }
    time = np.arange(buy.shape[0]) * US_PER_S
    return calibrate_snapshots("X", time, SIZES, buy, sell, **arguments)  # type: ignore[arg-type]  # as above


def made_costs(n: int, delta: float = 0.8) -> FloatArray:
    law = 0.2 + impact_bps(SIZES, 1e10, sigma_d=0.03, y=5.0, delta=delta)
    # Every stretch of ten snapshots has the mean of the law exactly.
    return law * (1 + 0.5 * np.where(np.arange(n) % 2, 1.0, -1.0))[:, None]


def test_a_calibration_finds_the_law_of_the_means_on_both_halves() -> None:
    found = calibration(made_costs(200), made_costs(200))
    assert (found.y, found.delta) == pytest.approx((5.0, 0.8), rel=1e-6)
    assert (found.y_se, found.delta_se) == pytest.approx((0.0, 0.0), abs=1e-6)
    assert (found.worst_factor, found.later_worst_factor, found.frozen_worst_factor) == pytest.approx((1, 1, 1))
    assert found.c_vol is None
    assert [(row.side, row.notional) for row in found.rows[:3]] == [("buy", 1e4), ("buy", 1e5), ("buy", 1e6)]
    assert len(found.rows) == len(found.later_rows) == 6
    assert (found.start_us, found.end_us, found.n_snapshots) == (0, 199 * US_PER_S, 200)


def test_a_later_half_three_times_as_dear_is_seen_out_of_time() -> None:
    costs = made_costs(200)
    costs[100:] *= 3
    found = calibration(costs, costs)
    assert found.later_worst_factor == pytest.approx(3.0, rel=1e-6)
    # Stretches of time differ, so the standard error is large.
    assert found.y_se > 0.1 * found.y
    dearer = calibration(costs, costs, second_half=replace(STATE, half_spread_bps=0.6, sigma_d=0.09))
    assert dearer.later_worst_factor == pytest.approx(1.0, rel=1e-6)
    assert dearer.frozen_worst_factor == pytest.approx(3.0, rel=1e-6)


def test_the_standard_error_is_that_of_a_mean_of_ten_stretches() -> None:
    # Without a spread y is in proportion to the mean cost; ten stretches cost 1 to 10 times as much. The jackknife of a
    # mean is the sample deviation over sqrt(10): sqrt(82.5 / 9 / 10), with y 5 for a factor of 1.
    costs = impact_bps(SIZES, 1e10, sigma_d=0.03, y=5.0, delta=0.8) * np.repeat(np.arange(1.0, 11.0), 10)[:, None]
    found = calibration(costs, costs, state=replace(STATE, half_spread_bps=0.0))
    assert found.y == pytest.approx(5.0 * 5.5, rel=1e-6)
    assert found.y_se == pytest.approx(5.0 * math.sqrt(82.5 / 90), rel=1e-6)
    assert found.delta_se == pytest.approx(0.0, abs=1e-6)


def test_sizes_outside_the_fit_are_judged_and_thin_books_counted() -> None:
    costs = made_costs(200)
    sell = costs.copy()
    sell[:30, 2] = np.nan
    found = calibration(costs, sell, fitted=[1e4, 1e5])
    assert [row.is_fitted for row in found.rows] == [True, True, False] * 2
    assert (found.rows[5].n_measured, found.rows[5].n_too_thin) == (170, 30)
    assert found.rows[5].ratio == pytest.approx(1.0, abs=1e-6)
    sell[:, 2] = np.nan
    unknown = calibration(costs, sell, fitted=[1e4, 1e5]).rows[5]
    assert unknown.n_measured == 0
    assert math.isnan(unknown.measured_bps)


def test_a_calibration_refuses_too_little() -> None:
    with pytest.raises(ValueError, match="at least 40 snapshots of the book, found 39"):
        calibration(made_costs(39), made_costs(39))
    with pytest.raises(ValueError, match="two different sizes"):
        calibration(made_costs(100), made_costs(100), fitted=[1e4])
    with pytest.raises(ValueError, match="shape"):
        calibration(made_costs(100), made_costs(100)[:, :2])
    thin = made_costs(100)
    thin[:50, 2] = np.nan
    with pytest.raises(ValueError, match="never holds 1,000,000"):
        calibration(thin, made_costs(100))


# --- fills -----------------------------------------------------------------------------------------------------------


def fills(n: int, seed: int = 3) -> tuple[FloatArray, FloatArray]:
    rng = np.random.default_rng(seed)
    return np.exp(rng.normal(math.log(5.0), 0.6, n)), 10 ** rng.uniform(-7, -3, n)


def expected_slippage(sigma: FloatArray, share: FloatArray, half: float, c_vol: float, y: float) -> FloatArray:
    # sigma_d is sigma_1m * sqrt(1440), already in basis points.
    return half + c_vol * sigma + y * sigma * math.sqrt(1_440) * np.sqrt(share)


def test_coefficients_are_recovered_from_exact_fills() -> None:
    sigma, share = fills(50)
    found = fit_from_fills(expected_slippage(sigma, share, 0.5, 0.1, 1.0), sigma, share)
    assert (found.half_spread_bps, found.c_vol, found.y) == pytest.approx((0.5, 0.1, 1.0), rel=1e-9)
    assert found.residual_bps == pytest.approx(0.0, abs=1e-9)
    assert found.n == 50


def test_a_measured_half_spread_is_taken_off_first_and_daily_volatility_may_be_given() -> None:
    sigma, share = fills(50)
    slippage = 0.2 + 0.1 * sigma + 1e4 * 0.7 * 0.03 * np.sqrt(share)
    found = fit_from_fills(slippage, sigma, share, half_spread_bps=0.2, sigma_d=np.full(50, 0.03))
    assert (found.half_spread_bps, found.c_vol, found.y) == pytest.approx((0.2, 0.1, 0.7), rel=1e-9)
    assert math.isnan(found.half_spread_se)


def test_standard_errors_cover_the_truth() -> None:
    # Noise in proportion to volatility, as the market's: 400 samples of 300 fills; 95 % should lie within 1.96 errors.
    truth = np.array([0.5, 0.3, 1.0])
    hits = []
    for seed in range(400):
        sigma, share = fills(300, seed)
        noise = np.random.default_rng(10_000 + seed).standard_normal(300) * 0.3 * sigma
        found = fit_from_fills(expected_slippage(sigma, share, *truth) + noise, sigma, share)
        errors = np.array([found.half_spread_se, found.c_vol_se, found.y_se])
        estimates = np.array([found.half_spread_bps, found.c_vol, found.y])
        if np.isfinite(errors).all():
            hits.append(np.abs(estimates - truth) <= 1.96 * errors)
    assert len(hits) > 350
    assert np.all(np.mean(hits, axis=0) > 0.90)


def test_no_coefficient_is_negative() -> None:
    sigma, share = fills(200)
    found = fit_from_fills(expected_slippage(sigma, share, 1.0, -0.05, 0.5), sigma, share)
    assert found.c_vol == 0.0
    assert math.isnan(found.c_vol_se)
    assert found.y > 0
    # Better than the mid on every fill: nothing is paid, nothing is estimated.
    nothing = fit_from_fills(-sigma, sigma, share)
    assert (nothing.half_spread_bps, nothing.c_vol, nothing.y) == (0.0, 0.0, 0.0)
    assert nothing.residual_bps == pytest.approx(math.sqrt(float(np.mean(sigma**2))))


def test_the_bounded_fit_is_that_of_an_independent_solver() -> None:
    nnls = pytest.importorskip("scipy.optimize").nnls
    compared = 0
    for seed in range(50):
        sigma, share = fills(30, seed)
        slippage = np.random.default_rng(seed).normal(0.3, 3.0, 30)
        columns = np.stack([np.ones(30), sigma, sigma * math.sqrt(1_440) * np.sqrt(share)], axis=1)
        found = fit_from_fills(slippage, sigma, share)
        np.testing.assert_allclose(
            [found.half_spread_bps, found.c_vol, found.y], nnls(columns, slippage)[0], rtol=1e-7, atol=1e-9
        )
        compared += 1
    assert compared == 50


def test_what_cannot_be_told_apart_is_undefined() -> None:
    same = np.full(100, 5.0)
    _, share = fills(100)
    assert math.isnan(fit_from_fills(same, same, share).c_vol)  # one volatility: spread and c_vol are one
    sigma, _ = fills(100)
    assert math.isnan(fit_from_fills(sigma, sigma, np.zeros(100)).y)  # no size
    few = fit_from_fills(sigma[:3], sigma[:3], share[:3])
    assert math.isnan(few.y)
    assert few.n == 3
    assert math.isnan(fit_from_fills(sigma[:0], sigma[:0], share[:0]).y)


def test_one_fill_that_alone_decides_leaves_the_errors_undefined() -> None:
    sigma, _ = fills(50)
    share = np.zeros(50)
    share[7] = 1e-4
    noise = np.random.default_rng(1).standard_normal(50) * 0.1
    found = fit_from_fills(expected_slippage(sigma, share, 0.5, 0.1, 1.0) + noise, sigma, share)
    assert found.y == pytest.approx(1.0, abs=0.5)
    assert math.isnan(found.y_se)


def test_fills_that_are_no_numbers_are_refused() -> None:
    sigma, share = fills(10)
    with pytest.raises(ValueError, match="one shape"):
        fit_from_fills(sigma, sigma[:5], share)
    with pytest.raises(ValueError, match="finite"):
        fit_from_fills(np.where(np.arange(10) == 3, np.nan, sigma), sigma, share)
    with pytest.raises(ValueError, match="volatility must be above zero"):
        fit_from_fills(sigma, sigma * 0, share)
    with pytest.raises(ValueError, match="participation"):
        fit_from_fills(sigma, sigma, -share)
