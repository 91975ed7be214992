"""Measures of regime labels, by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from grodtd.domain.bars import Bars
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

R, T, H = int(Regime.RANGING), int(Regime.TRENDING), int(Regime.HIGH_VOLATILITY)
MINUTE_US = 60_000_000


def test_balanced_accuracy_weighs_classes_not_bars() -> None:
    true = np.array([R] * 8 + [T] * 2)
    assert balanced_accuracy(true, np.full(10, R)) == 0.5  # all of one class, none of the other
    assert balanced_accuracy(true, np.array([R] * 4 + [T] * 4 + [T, R])) == pytest.approx((0.5 + 0.5) / 2)
    assert math.isnan(balanced_accuracy(np.empty(0), np.empty(0)))


def test_delay_counts_from_the_change_and_leaves_out_what_was_never_found() -> None:
    true = np.array([R] * 5 + [T] * 5 + [H] * 5 + [R] * 5)
    found = np.array([R] * 8 + [T] * 2 + [T] * 5 + [H, R, R, R, R])  # T found after 3, H never, R after 1
    assert median_delay(true, found) == 2.0
    assert math.isnan(median_delay(np.array([R, R]), np.array([R, R])))


def test_dwell_counts_stays() -> None:
    assert dwell_bars(np.array([R, R, T, R, T, T, T]), R).tolist() == [2, 1]
    assert dwell_bars(np.array([R, R, T, R, T, T, T]), T).tolist() == [1, 3]
    assert dwell_bars(np.array([R, R]), H).tolist() == []


def test_adjusted_rand() -> None:
    a = np.array([R, R, T, T])
    assert adjusted_rand(a, a) == 1.0
    # Pairs together in both: 0; in a: 2; in b: 2; of 6. Expected 2 * 2 / 6 = 2/3, most 2: (0 - 2/3) / (2 - 2/3) = -0.5
    assert adjusted_rand(a, np.array([R, T, R, T])) == pytest.approx(-0.5)
    assert math.isnan(adjusted_rand(np.array([R]), np.array([R])))


def bars_of(returns: np.ndarray) -> Bars:
    close = 100 * np.exp(np.cumsum(returns))
    open_ = np.concatenate(([100.0], close[:-1]))
    high, low = np.maximum(open_, close), np.minimum(open_, close)
    return Bars(np.arange(close.size) * MINUTE_US, open_, high, low, close, np.ones(close.size), timeframe="1m")


def test_volatility_after_labels() -> None:
    # Days of 10 bp moves and days of 30 bp moves in turn, labelled rightly: 3, less for the last hour of
    # each day, which looks into the next one.
    loud = np.repeat(np.arange(20) % 2 == 1, 1_440)
    moves = np.where(loud, 0.003, 0.001) * np.where(np.arange(loud.size) % 2, 1, -1)
    found = volatility_ratio(bars_of(moves), np.where(loud, H, R), seed=1)
    assert found.value == pytest.approx(3, abs=0.2)
    assert found.low <= found.value <= found.high


def test_variance_ratio_after_labels() -> None:
    # A day that goes one way: 15 steps are 15 times as far as one, ratio 15. A day back and forth: ratio 1/15.
    steady = np.repeat(np.arange(20) % 2 == 1, 1_440)
    moves = np.where(steady, 0.0001, 0.0001 * np.where(np.arange(steady.size) % 2, 1, -1))
    found = variance_ratio_difference(bars_of(moves), np.where(steady, T, R), seed=1)
    assert found.value == pytest.approx(15 - 1 / 15, rel=0.02)


def test_too_few_bars_have_no_estimate() -> None:
    bars = bars_of(np.full(10, 0.001))
    assert math.isnan(volatility_ratio(bars, np.full(10, R), seed=1).value)
    assert math.isnan(variance_ratio_difference(bars, np.full(10, R), seed=1).value)


def test_shuffling_keeps_the_moves() -> None:
    bars = bars_of(np.random.default_rng(1).normal(0, 0.001, 1_000))
    mixed = block_shuffled(bars, seed=2)
    assert sorted(np.diff(np.log(mixed.close), prepend=np.log(100)).round(12)) == sorted(
        np.diff(np.log(bars.close), prepend=np.log(100)).round(12)
    )
    assert not np.array_equal(mixed.close, bars.close)
    assert mixed.close[-1] == pytest.approx(bars.close[-1])
