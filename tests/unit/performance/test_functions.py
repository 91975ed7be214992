"""Every pure function of a sample on every kind of trouble (QUANT_SPEC 9.2)."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from grodtd.domain.bars import FloatArray
from grodtd.performance import ratios, risk, trades

SAMPLES = {
    "empty": np.empty(0),
    "single": np.array([0.01]),
    "zeros": np.zeros(50),
    "gain": np.full(50, 1e-4),
    "loss": np.full(50, -1e-4),
    "wins": np.linspace(0.001, 0.01, 50),
    "losses": -np.linspace(0.001, 0.01, 50),
    "first bar": np.array([-0.1, 0.05, 0.02]),
    "ruin": np.array([0.1, -1.0, 0.5]),
    "beyond ruin": np.array([0.1, -1.5, 0.5]),
}
FLAT = {"empty", "single", "zeros", "gain", "loss"}
NO_LOSS = {"empty", "single", "zeros", "gain", "wins"}
NO_WIN = {"empty", "zeros", "loss", "losses"}


def _market(sample: FloatArray) -> FloatArray:
    """A benchmark that rises and falls, as long as the sample."""
    return 0.01 * np.cos(np.arange(sample.size))


def _path(sample: FloatArray) -> FloatArray:
    return np.concatenate(([1.0], np.cumprod(np.maximum(1.0 + sample, 0.0))))


Function = Callable[[FloatArray], float]
OF_RETURNS: dict[str, tuple[Function, set[str]]] = {
    "total": (ratios.total_return, set()),
    "vol": (ratios.volatility, {"empty", "single"}),
    "sharpe": (ratios.sharpe_ratio, FLAT),
    "sharpe hac": (ratios.sharpe_ratio_hac, FLAT),
    "lo eta": (lambda r: ratios.lo_eta(ratios.autocorrelations(r, 1)), FLAT),
    "sortino": (ratios.sortino_ratio, NO_LOSS),
    "omega": (ratios.omega_ratio, NO_LOSS),
    "tail": (ratios.tail_ratio, {"empty", "zeros"}),
    "skew": (ratios.skewness, FLAT),
    "kurtosis": (ratios.excess_kurtosis, FLAT),
    "var": (risk.value_at_risk, {"empty"}),
    "var normal": (risk.value_at_risk_normal, {"empty", "single"}),
    # Evenly spread and two- or three-point samples have negative excess kurtosis: outside the domain.
    "var cornish-fisher": (risk.value_at_risk_cornish_fisher, set(SAMPLES)),
    "es": (risk.expected_shortfall, {"empty"}),
    "es normal": (risk.expected_shortfall_normal, {"empty", "single"}),
    "es coherent": (risk.expected_shortfall_coherent, {"empty"}),
    "beta": (lambda r: ratios.beta_alpha(r, _market(r))[0], {"empty", "single"}),
    "alpha": (lambda r: ratios.beta_alpha(r, _market(r))[1], {"empty", "single"}),
    "information": (lambda r: ratios.information_ratio(r, _market(r)), {"empty", "single"}),
    "capture up": (lambda r: ratios.capture_ratio(r, _market(r), up=True), {"empty"}),
    # The cosine first falls below zero at its third point, which ruin at the second never reaches.
    "capture down": (
        lambda r: ratios.capture_ratio(r, _market(r), up=False),
        {"empty", "single", "ruin", "beyond ruin"},
    ),
}
OF_PATHS: dict[str, tuple[Function, set[str]]] = {
    "max drawdown": (lambda r: risk.max_drawdown(_path(r)), set()),
    "ulcer": (lambda r: risk.ulcer_index(_path(r)), {"empty"}),
    "mar": (lambda r: ratios.mar_ratio(0.1, risk.max_drawdown(_path(r))), NO_LOSS),
    "upi": (lambda r: ratios.ulcer_performance_index(0.1, risk.ulcer_index(_path(r))), NO_LOSS),
}
OF_TRADES: dict[str, tuple[Function, set[str]]] = {
    "profit factor": (trades.profit_factor, NO_LOSS),
    "win rate": (trades.win_rate, {"empty"}),
    "average win": (trades.average_win, NO_WIN),
    "average loss": (trades.average_loss, NO_LOSS),
    "payoff": (trades.payoff_ratio, NO_LOSS | NO_WIN),
    "expectancy": (trades.expectancy, {"empty"}),
    "expectancy r": (lambda pnl: trades.expectancy_r(pnl, np.ones(pnl.size)), {"empty"}),
    "sqn": (trades.system_quality_number, FLAT),
}
FUNCTIONS = OF_RETURNS | OF_PATHS | OF_TRADES


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_function_is_nan_exactly_where_it_is_undefined(name: str) -> None:
    function, undefined = FUNCTIONS[name]
    assert undefined <= set(SAMPLES)
    found = {label: function(sample) for label, sample in SAMPLES.items()}
    assert {label for label, value in found.items() if math.isnan(value)} == undefined
    assert not any(math.isinf(value) for value in found.values())


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("broken", [math.nan, math.inf])
def test_every_function_refuses_what_is_not_finite(name: str, broken: float) -> None:
    with pytest.raises(ValueError, match="must be finite"):
        FUNCTIONS[name][0](np.array([0.01, broken, 0.02]))


@pytest.mark.parametrize("name", OF_RETURNS)
def test_nothing_counts_after_ruin(name: str) -> None:
    function = OF_RETURNS[name][0]
    exact, beyond = function(SAMPLES["ruin"]), function(SAMPLES["beyond ruin"])
    assert beyond == pytest.approx(exact, nan_ok=True)
    if "capture" not in name and name not in {"beta", "alpha", "information"}:  # those have a benchmark as long
        assert exact == pytest.approx(function(np.array([0.1, -1.0])), nan_ok=True)


def test_ruin_is_a_total_loss() -> None:
    assert ratios.total_return(SAMPLES["beyond ruin"]) == ratios.cagr(-1.0, 0.5) == -1.0
    assert ratios.cagr(-1.0, 0.0) == -1.0


def test_growth_over_no_time_or_beyond_any_number_is_undefined() -> None:
    assert math.isnan(ratios.cagr(0.1, 0.0))
    assert math.isnan(ratios.cagr(1e60, 30 / 365))
    assert ratios.cagr(0.21, 2.0) == pytest.approx(0.1)


def test_constant_loss_has_a_sortino_but_no_sharpe() -> None:
    # mean -1e-4 over a downside deviation of 1e-4
    assert ratios.sortino_ratio(SAMPLES["loss"], periods_per_year=365) == pytest.approx(-math.sqrt(365))
    assert math.isnan(ratios.sharpe_ratio(SAMPLES["loss"]))


def test_first_bar_loss_is_a_drawdown() -> None:
    assert risk.max_drawdown(_path(SAMPLES["first bar"])) == pytest.approx(-0.1)


def test_a_benchmark_of_another_length_is_refused() -> None:
    r, other = np.zeros(3), np.zeros(2)
    for call in (
        lambda: ratios.beta_alpha(r, other),
        lambda: ratios.information_ratio(r, other),
        lambda: ratios.capture_ratio(r, other, up=True),
    ):
        with pytest.raises(ValueError, match="one return for each of the 3, found 2"):
            call()


def test_a_benchmark_that_does_not_vary_has_no_beta() -> None:
    assert np.isnan(ratios.beta_alpha(SAMPLES["wins"], SAMPLES["gain"])).all()


def test_trades_of_one_size_have_no_system_quality_whatever_the_currency() -> None:
    # The mean of many equal sums is off by rounding, which grows with the sums.
    assert math.isnan(trades.system_quality_number(np.full(30_001, 12_345.678)))
    pnl = np.array([1.0, -0.5, 2.0])
    assert trades.system_quality_number(1e-9 * pnl) == pytest.approx(trades.system_quality_number(pnl), rel=1e-12)


def test_system_quality_of_many_trades_can_be_kept_to_a_hundred() -> None:
    pnl = np.tile([2.0, -1.0], 200)
    full, hundred = trades.system_quality_number(pnl), trades.system_quality_number(pnl, trades_max=100)
    assert full / hundred == pytest.approx(2.0)  # sqrt(400 / 100)


def test_expectancy_in_risk_needs_a_stop_on_every_trade() -> None:
    assert trades.expectancy_r(np.array([4.0, -2.0]), np.array([2.0, 2.0])) == 0.5
    for missing in (math.nan, 0.0):
        assert math.isnan(trades.expectancy_r(np.array([4.0, -2.0]), np.array([2.0, missing])))


def test_cornish_fisher_by_hand() -> None:
    # z = -1.6448536: (z^2 - 1) / 6 = 0.2842572, (z^3 - 3 z) / 24 = 0.0201808, (2 z^3 - 5 z) / 36 = -0.0187835.
    found = risk.cornish_fisher_quantile(0.05, -0.2, 0.5)
    assert found == pytest.approx(-1.6448536 - 0.2 * 0.2842572 + 0.5 * 0.0201808 + 0.04 * 0.0187835, abs=1e-6)


@pytest.mark.parametrize(
    ("skew", "kurtosis", "is_valid"),
    [
        (0.0, 0.0, True),
        (0.0, 4.0, True),  # a = .5, -4 * .5 * .5 <= 0
        (0.0, 8.0, True),  # a = 1, 1 - K / 8 = 0: the edge
        (0.0, 8.1, False),  # 1 - K / 8 < 0
        (0.0, -0.1, False),  # a < 0
        (1.0, 1.0, False),  # a = 1 / 8 - 1 / 6 < 0
        (-0.2, 0.5, True),  # a = .0558333, .0044444 - .2233333 * .9430556 < 0
        (1.0, 8.8, True),  # a = .9333, .1111 - 3.7333 * (-.1 + .1389) = -.0341
        (1.0, 9.0, False),  # a = .9583, .1111 - 3.8333 * (-.125 + .1389) = .0579
        (0.7504, 8.9542, False),  # series G: .062569 - 4 * 1.025426 * (-.041059) > 0
    ],
)
def test_domain_of_cornish_fisher(skew: float, kurtosis: float, is_valid: bool) -> None:
    assert risk.is_cornish_fisher_valid(skew, kurtosis) is is_valid


def test_cornish_fisher_inside_its_domain() -> None:
    # Nine values -1, 0 x 7, +1: skewness 0, kurtosis 9 / 2 = 4.5, excess 1.5; mean 0, sd (ddof 1) sqrt(2 / 8) = 0.5.
    r = np.array([-0.1, 0, 0, 0, 0, 0, 0, 0, 0.1])
    z = -1.6448536 + 1.5 * 0.0201808
    assert risk.value_at_risk_cornish_fisher(r) == pytest.approx(0.05 * z, rel=1e-6)


def test_every_drawdown_is_found() -> None:
    #            0  1  2  3  4  5  6  7  8   (point 0 is the initial capital)
    path = [10.0, 9, 10, 12, 6, 9, 12, 12, 11]
    falls = risk.drawdowns(np.array(path))
    assert falls is not None
    assert list(zip(falls.peak.tolist(), falls.end.tolist(), strict=True)) == [(0, 2), (3, 6), (7, 8)]
    assert falls.is_open
    assert (falls.deepest, falls.valley, falls.recovery) == (1, 4, 6)


def test_the_deepest_drawdown_may_still_be_open() -> None:
    falls = risk.drawdowns(np.array([10.0, 9, 10, 5]))
    assert falls is not None
    assert (falls.peak.tolist(), falls.end.tolist(), falls.recovery) == ([0, 2], [2, 3], None)


def test_no_drawdown_no_times() -> None:
    assert risk.drawdowns(np.array([1.0, 1.0, 2.0])) is None
    assert risk.drawdowns(np.empty(0)) is None
    assert math.isnan(risk.max_drawdown(np.empty(0)))


def test_excursions_of_a_short_are_the_mirror() -> None:
    # Short at 100, covered at 98: worst is the high of 105, best the low of 98 at the exit, not the later 97.
    high, low = np.array([102.0, 105, 104]), np.array([99.0, 101, 97])
    assert trades.excursions(-1, 100.0, 98.0, high, low) == pytest.approx((-0.05, 0.02))
