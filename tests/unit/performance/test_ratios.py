"""Ratios by hand, where published series do not reach: targets, rates, defaults, and samples at the edge."""

from __future__ import annotations

import math

import numpy as np
import pytest

from grodtd.domain.bars import FloatArray
from grodtd.performance import ratios

# Mean 0.01, deviations +-0.02, sample deviation 0.02 * sqrt(2).
TWO = np.array([0.03, -0.01])
YEAR = math.sqrt(365)


def test_growth_of_a_loss_and_of_half_a_year() -> None:
    assert ratios.cagr(-0.19, 2.0) == pytest.approx(-0.1)  # 0.81 ** 0.5 = 0.9
    assert ratios.cagr(0.21, 0.5) == pytest.approx(0.4641)  # 1.21 ** 2
    assert ratios.cagr(0.0, 0.5) == 0.0


def test_the_ulcer_index_is_set_against_growth_beyond_the_risk_free_rate() -> None:
    assert ratios.ulcer_performance_index(0.1, 0.05, rf_annual=0.02) == pytest.approx(1.6)  # 0.08 / 0.05
    assert ratios.ulcer_performance_index(0.1, 0.05) == pytest.approx(2.0)


def test_a_year_has_365_periods_unless_told() -> None:
    other = np.zeros(2)
    assert ratios.volatility(TWO) == pytest.approx(0.02 * math.sqrt(2) * YEAR)
    assert ratios.sharpe_ratio(TWO) == pytest.approx(0.5 / math.sqrt(2) * YEAR)
    assert ratios.information_ratio(TWO, other) == pytest.approx(0.5 / math.sqrt(2) * YEAR)
    assert ratios.sortino_ratio(TWO) == pytest.approx(0.01 / math.sqrt(0.0001 / 2) * YEAR)
    # One lag, weight 1/2: (0.0004 + 0.0004) / 2 - 2 * 1/2 * 0.0004 / 2 = 0.0002.
    assert ratios.sharpe_ratio_hac(TWO) == pytest.approx(0.01 / math.sqrt(0.0002) * YEAR)


def test_the_risk_free_rate_is_taken_off_each_period() -> None:
    # 1.0201 a year of two periods is 0.01 a period: of 0.04 and 0 remain 0.03 and -0.01.
    given = {"periods_per_year": 2.0, "rf_annual": 0.0201}
    above = TWO + 0.01
    assert ratios.sharpe_ratio(above, **given) == pytest.approx(0.5)
    assert ratios.sharpe_ratio_hac(above, **given) == pytest.approx(0.01 / math.sqrt(0.0002) * math.sqrt(2))


def long_run_variance(sample: FloatArray, lags: int) -> float:
    """Newey and West (1987), term by term."""
    n, mean = len(sample), sum(sample) / len(sample)
    total = 0.0
    for i in range(n):
        for j in range(n):
            if abs(i - j) <= lags:
                total += (1 - abs(i - j) / (lags + 1)) * (sample[i] - mean) * (sample[j] - mean)
    return total / n


@pytest.mark.parametrize(
    ("n", "lags"),
    [
        (2, 1),  # 4 * 0.02 ** (2 / 9) = 1.677
        (27, 2),  # 2.990
        (28, 3),  # 3.014
        (99, 3),  # 3.991
        (100, 4),
    ],
)
def test_the_long_run_deviation_looks_back_as_far_as_the_rule_says(n: int, lags: int) -> None:
    sample = 0.001 + 0.01 * np.sin(np.arange(1, n + 1) ** 2)
    expected = sample.mean() / math.sqrt(long_run_variance(sample, lags))
    assert ratios.sharpe_ratio_hac(sample, periods_per_year=1) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(("size", "varies"), [(1e-8, True), (1e-11, True), (1e-13, False)])
def test_what_varies_less_than_rounding_does_not_vary(size: float, varies: bool) -> None:
    # 1, -1, 1, -1: neighbours opposite, -3 of 4; no skew; fourth moment 1 over variance squared, less 3.
    sample = size * np.array([1.0, -1.0, 1.0, -1.0])
    found = [*ratios.autocorrelations(sample, 2), ratios.skewness(sample), ratios.excess_kurtosis(sample)]
    expected = [-0.75, 0.5, 0.0, -2.0] if varies else [math.nan] * 4
    assert found == pytest.approx(expected, nan_ok=True)


def test_a_deviation_that_autocorrelation_takes_away_is_none() -> None:
    assert math.isnan(ratios.lo_eta(np.array([-1.0])))  # 2 + 2 * 1 * -1 = 0
    assert ratios.lo_eta(np.array([-0.5])) == pytest.approx(2.0)  # 2 / sqrt(2 - 1)


def test_targets_are_taken_off() -> None:
    # 0.05 and -0.01 less 0.01: 0.04 and -0.02.
    sample = np.array([0.05, -0.01])
    downside = math.sqrt(0.02**2 / 2)
    assert ratios.sortino_ratio(sample, periods_per_year=1, target=0.01) == pytest.approx(0.01 / downside)
    assert ratios.omega_ratio(sample, threshold=0.01) == pytest.approx(2.0)


def test_a_benchmark_that_stands_still_neither_rose_nor_fell() -> None:
    own, other = np.array([0.02, 0.04, -0.01]), np.array([0.01, 0.0, -0.02])
    assert ratios.capture_ratio(own, other, up=True) == pytest.approx(2.0)
    assert ratios.capture_ratio(own, other, up=False) == pytest.approx(0.5)


@pytest.mark.parametrize(("size", "varies"), [(1e-8, True), (1e-13, False)])
def test_returns_that_vary_by_rounding_only_have_no_ratio(size: float, varies: bool) -> None:
    # Twice 0.01 + size and twice 0.01 - size: a variance of 4 / 3 of size squared, ddof 1. With one lag of weight 1/2,
    # whose products add up to 1 - 1 + 1, it is 1 + 2 * 1/2 * 1/4 = 5 / 4 of it.
    sample = 0.01 + size * np.array([1.0, 1.0, -1.0, -1.0])
    found = [ratios.sharpe_ratio(sample, periods_per_year=1), ratios.sharpe_ratio_hac(sample, periods_per_year=1)]
    expected = [0.01 / (size * math.sqrt(part)) if varies else math.nan for part in (4 / 3, 5 / 4)]
    assert found == pytest.approx(expected, rel=1e-6, nan_ok=True)


def test_alpha_is_of_365_periods_and_no_risk_free_rate_unless_told() -> None:
    # Three times the benchmark and 0.001 a period: with a risk-free rate of a period rf alpha would be 2 * rf more.
    other = np.array([0.02, -0.01, 0.0])
    assert ratios.beta_alpha(3 * other + 0.001, other) == pytest.approx((3.0, 0.365))
