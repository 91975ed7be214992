"""Measures of regime labels, worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from grodtd.domain.bars import Bars, FloatArray, timeframe_s
from grodtd.indicators.regime import Regime
from grodtd.performance.regimes import (
    adjusted_rand,
    balanced_accuracy,
    block_shuffled,
    dwell_bars,
    median_delay,
    variance_ratio_difference,
    volatility_ratio,
)

R, T, H, X = (int(r) for r in (Regime.RANGING, Regime.TRENDING, Regime.HIGH_VOLATILITY, Regime.TRANSITION))


def labels(*codes: float) -> FloatArray:
    return np.array(codes, dtype=float)


def moved(moves: FloatArray, timeframe: str = "1m") -> Bars:
    """Bars whose closes follow these log returns, the first from 100."""
    close = 100 * np.exp(np.cumsum(moves))
    open_ = np.append(100.0, close[:-1])
    time = np.arange(close.size) * timeframe_s(timeframe) * 1_000_000
    top, bottom = np.maximum(open_, close), np.minimum(open_, close)
    return Bars(time, open_, top, bottom, close, np.arange(1.0, close.size + 1), timeframe=timeframe)


# --- against the truth -----------------------------------------------------------------------------------------------


def test_balanced_accuracy_is_the_mean_share_of_the_classes() -> None:
    # Ranging 3 of 4, trending 1 of 2, high volatility 1 of 1: (0.75 + 0.5 + 1) / 3.
    assert balanced_accuracy(labels(R, R, R, R, T, T, H), labels(R, R, R, T, T, R, H)) == pytest.approx(0.75)


def test_balanced_accuracy_leaves_out_classes_that_do_not_occur() -> None:
    # Ranging 1 of 2, trending 2 of 2; finding high volatility only costs the bar it took.
    assert balanced_accuracy(labels(R, R, T, T), labels(R, H, T, T)) == pytest.approx(0.75)


def test_balanced_accuracy_counts_unknown_and_transition_as_not_found() -> None:
    assert balanced_accuracy(labels(R, R, R, R), labels(math.nan, X, R, R)) == pytest.approx(0.5)


def test_balanced_accuracy_of_nothing_is_undefined() -> None:
    assert math.isnan(balanced_accuracy(labels(), labels()))
    assert math.isnan(balanced_accuracy(labels(X, X), labels(X, X)))


def test_delay_is_the_median_wait_for_the_new_class() -> None:
    # Changes at 2, 5 and 8, found after 2, 0 and 1 bars.
    true = labels(R, R, T, T, T, R, R, R, H, H)
    found = labels(R, R, R, R, T, R, T, T, R, H)
    assert median_delay(true, found) == 1.0


def test_delay_leaves_out_changes_that_are_never_found() -> None:
    # The change at 2 is found at 6 only, when the truth is another: left out. That at 5 waits 3.
    true = labels(R, R, T, T, T, H, H, H, H)
    found = labels(R, R, R, R, R, R, T, T, H)
    assert median_delay(true, found) == 3.0


def test_delay_is_undefined_without_a_change_or_a_find() -> None:
    assert math.isnan(median_delay(labels(R, R, R), labels(R, R, R)))
    assert math.isnan(median_delay(labels(R, R, T), labels(R, R, R)))


# --- stability -------------------------------------------------------------------------------------------------------


def test_dwell_is_the_length_of_every_stay() -> None:
    found = labels(math.nan, R, R, T, R, R, R)
    assert dwell_bars(found, R).tolist() == [2, 3]
    assert dwell_bars(found, T).tolist() == [1]
    assert dwell_bars(found, H).tolist() == []
    assert dwell_bars(labels(T, T, T), T).tolist() == [3]
    assert dwell_bars(labels(), T).tolist() == []


@pytest.mark.parametrize(
    ("a", "b", "index"),
    [
        ((R, R, T, T), (R, R, T, T), 1.0),
        ((R, R, T, T), (T, T, R, R), 1.0),  # only who is with whom counts
        # Pairs of equals in both 0, in each 2, of 6: (0 - 4/6) / (2 - 4/6).
        ((R, R, T, T), (R, T, R, T), -0.5),
        # In both 1, in a 2, in b 1, of 6: (1 - 1/3) / (1.5 - 1/3). Also scikit-learn's own example, 0.57.
        ((R, R, T, T), (R, R, T, H), 4 / 7),
        # One class against one class is the same; against two it says nothing: (3 - 3) / (4.5 - 3).
        ((R, R, R, R), (T, T, T, T), 1.0),
        ((R, R, R, R), (R, R, R, T), 0.0),
    ],
)
def test_adjusted_rand(a: tuple[int, ...], b: tuple[int, ...], index: float) -> None:
    assert adjusted_rand(labels(*a), labels(*b)) == pytest.approx(index, abs=1e-12)
    assert adjusted_rand(labels(*b), labels(*a)) == pytest.approx(index, abs=1e-12)


@pytest.mark.parametrize("n", [0, 1])
def test_adjusted_rand_of_fewer_than_two_bars_is_undefined(n: int) -> None:
    assert math.isnan(adjusted_rand(np.zeros(n), np.zeros(n)))


# --- use -------------------------------------------------------------------------------------------------------------


def test_volatility_ratio_is_that_of_the_hour_after_the_label() -> None:
    # Hours in blocks of five: 2 % moves come after high volatility, 1 % moves after ranging. The move of bar t + 1
    # follows the label of bar t, so the labels stand one bar before the moves.
    is_high = np.arange(200) // 5 % 2 == 0
    size = np.where(is_high, 0.02, 0.01) * np.where(np.arange(200) % 2, 1, -1)
    bars, now = moved(size, "1h"), np.where(np.roll(is_high, -1), H, R)
    found = volatility_ratio(bars, now, seed=1)
    assert (found.value, found.low, found.high) == pytest.approx((2.0, 2.0, 2.0))


def test_volatility_ratio_takes_a_whole_hour_of_minutes() -> None:
    # One minute of 3 % and 59 of none, then quiet minutes of 1 %: after minute 0 the hour's volatility is 3 %; an hour
    # of minutes later it is sqrt(60) * 1 %.
    moves = np.concatenate(([0.0, 0.03], np.zeros(59), 0.01 * np.where(np.arange(60) % 2, 1, -1)))
    now = np.full(moves.size, X)
    now[0], now[60] = H, R
    found = volatility_ratio(moved(moves), now, seed=1)
    assert found.value == pytest.approx(3 / 60**0.5, rel=1e-9)


def test_trends_go_on_and_ranges_turn() -> None:
    # 15 equal moves r: (15 r)^2 / (15 r^2) = 15. 15 moves in turn leave one: r^2 / (15 r^2) = 1/15.
    trend, zigzag = np.full(200, 0.001), 0.001 * np.where(np.arange(200) % 2, 1, -1)
    now = np.concatenate((np.full(185, T), np.full(15, X), np.full(200, R)))  # no window reaches from one to the other
    now[184] = X
    found = variance_ratio_difference(moved(np.concatenate((trend, zigzag))), now, seed=1)
    assert (found.value, found.low, found.high) == pytest.approx((15 - 1 / 15,) * 3, rel=1e-9)


def test_an_interval_holds_the_value_and_is_repeated_by_its_seed() -> None:
    rng = np.random.default_rng(2)
    bars, now = moved(rng.normal(0, 1e-3, 3_000)), rng.choice([R, T, H], 3_000)
    for measure in (volatility_ratio, variance_ratio_difference):
        found = measure(bars, now, seed=1)
        assert found.low < found.value < found.high
        assert measure(bars, now, seed=1) == found
        other = measure(bars, now, seed=2)
        assert other.value == found.value
        assert (other.low, other.high) != (found.low, found.high)


@pytest.mark.parametrize("measure", [volatility_ratio, variance_ratio_difference])
def test_what_cannot_be_measured_is_undefined(measure: object) -> None:
    assert callable(measure)
    moves = 0.001 * np.where(np.arange(200) % 2, 1, -1)
    for bars, now in (
        (moved(moves[:10]), np.full(10, R)),  # shorter than one window
        (moved(moves), np.full(200, R)),  # nothing to compare ranging with
        (moved(moves), np.full(200, X)),
        (moved(np.zeros(200)), np.arange(200) % 3),  # a market that stands still has no volatility
    ):
        found = measure(bars, now, seed=1)
        assert np.isnan([found.value, found.low, found.high]).all()


# --- surrogates ------------------------------------------------------------------------------------------------------


def test_shuffled_blocks_keep_their_moves_in_their_order() -> None:
    # Blocks of three and a rest of two; each move is of its own size, and volume numbers the bars.
    moves = np.array([1, 2, 3, 4, 5, 6, 7, 8]) / 1_000
    bars = moved(moves)
    found = block_shuffled(bars, seed=3, block_bars=3)
    order = (found.volume - 1).astype(int)
    np.testing.assert_allclose(np.diff(np.log(found.close), prepend=math.log(100)), moves[order], rtol=1e-9)
    starts = [int(at) for at in order if at % 3 == 0]
    assert sorted(starts) == [0, 3, 6]
    assert order.tolist() == [at for start in starts for at in range(start, min(start + 3, 8))]
    np.testing.assert_array_equal(found.time, bars.time)
    assert found.close[-1] == pytest.approx(bars.close[-1], rel=1e-12)
    np.testing.assert_array_equal(found.open, np.append(100.0, found.close[:-1]))
    orders = {tuple(block_shuffled(bars, seed=seed, block_bars=3).volume) for seed in range(20)}
    assert 1 < len(orders) <= 6  # three blocks have six orders
