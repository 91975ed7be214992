"""What must hold of the metrics of any returns, any equity, any trades."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from grodtd.domain.bars import FloatArray
from grodtd.performance import ratios, risk, trades
from grodtd.performance.returns import daily_returns, drawdown, monthly_returns
from grodtd.performance.summary import METRICS, metric_table
from tests.unit.performance.runs import DAY_US, HOUR_US, run_of, trades_of

REPEATABLE = settings(derandomize=True, deadline=None, max_examples=60)
# Steps of a hundredth of a basis point: small enough for a market, large enough not to vanish next to 1.
RETURNS = arrays(np.float64, st.integers(2, 200), elements=st.integers(-500_000, 500_000).map(lambda k: k * 1e-6))
PNL = arrays(np.float64, st.integers(1, 100), elements=st.integers(-9_000, 9_000).map(lambda k: k * 0.01))
ORDER_FREE = (
    ratios.total_return,
    ratios.volatility,
    ratios.sharpe_ratio,
    ratios.sortino_ratio,
    ratios.omega_ratio,
    ratios.tail_ratio,
    ratios.skewness,
    ratios.excess_kurtosis,
    risk.value_at_risk,
    risk.value_at_risk_normal,
    risk.expected_shortfall,
    risk.expected_shortfall_normal,
    risk.expected_shortfall_coherent,
)


def same(value: float) -> object:
    return pytest.approx(value, rel=1e-8, abs=1e-12, nan_ok=True)


def path_of(returns: FloatArray) -> FloatArray:
    return np.concatenate(([1.0], np.cumprod(1.0 + returns)))


@REPEATABLE
@given(RETURNS, st.randoms(use_true_random=False))
def test_the_order_of_days_does_not_matter_to_a_distribution(r: FloatArray, random: object) -> None:
    shuffled = r.copy()
    random.shuffle(shuffled)  # type: ignore[attr-defined]  # a random.Random
    for function in ORDER_FREE:
        assert function(shuffled) == same(function(r)), function.__name__


@REPEATABLE
@given(RETURNS, st.floats(0.1, 1.9))
def test_ratios_do_not_depend_on_leverage(r: FloatArray, leverage: float) -> None:
    assume(r.std() > 1e-9)
    for ratio in (ratios.sharpe_ratio, ratios.sharpe_ratio_hac, ratios.sortino_ratio, ratios.omega_ratio):
        assert ratio(leverage * r) == pytest.approx(ratio(r), rel=1e-7, abs=1e-9, nan_ok=True)


@REPEATABLE
@given(RETURNS)
def test_omega_at_zero_is_the_profit_factor_of_returns(r: FloatArray) -> None:
    assert ratios.omega_ratio(r) == same(trades.profit_factor(r))


@REPEATABLE
@given(RETURNS, st.sampled_from([0.01, 0.05, 0.2]))
def test_a_shortfall_is_no_better_than_the_quantile_it_lies_beyond(r: FloatArray, level: float) -> None:
    assert r.min() - 1e-15 <= risk.expected_shortfall(r, level) <= risk.value_at_risk(r, level) + 1e-15
    assert r.min() - 1e-15 <= risk.expected_shortfall_coherent(r, level) <= r.mean() + 1e-15


@REPEATABLE
@given(RETURNS)
def test_autocorrelation_reads_the_same_backwards(r: FloatArray) -> None:
    assume(r.std() > 1e-9)
    assert ratios.sharpe_ratio_hac(r[::-1]) == pytest.approx(ratios.sharpe_ratio_hac(r), rel=1e-7, nan_ok=True)
    assert ratios.autocorrelations(r[::-1], 1) == pytest.approx(ratios.autocorrelations(r, 1), abs=1e-9)


@REPEATABLE
@given(RETURNS, st.floats(1e-3, 1e6))
def test_drawdowns_do_not_depend_on_the_amount(r: FloatArray, amount: float) -> None:
    path = path_of(r)
    assert risk.max_drawdown(amount * path) == pytest.approx(risk.max_drawdown(path), rel=1e-9, abs=1e-12)
    assert risk.ulcer_index(amount * path) == pytest.approx(risk.ulcer_index(path), rel=1e-9, abs=1e-12)
    assert -1 <= risk.max_drawdown(path) <= min(0.0, r.min()) + 1e-12
    assert risk.ulcer_index(path) <= -risk.max_drawdown(path) + 1e-15


@REPEATABLE
@given(RETURNS)
def test_drawdowns_tile_exactly_the_time_under_water(r: FloatArray) -> None:
    path = path_of(r)
    fall, found = drawdown(path), risk.drawdowns(path)
    under = np.zeros(path.size, dtype=bool)
    if found is not None:
        assert (fall[found.peak] == 0).all()
        assert (found.end[:-1] <= found.peak[1:]).all()
        for peak, end in zip(found.peak, found.end, strict=True):
            under[peak + 1 : end] = True
        under[-1] |= found.is_open
        assert found.peak[found.deepest] < found.valley <= found.end[found.deepest]
        assert fall[found.valley] == risk.max_drawdown(path)
    assert (under == (fall < 0)).all()


@REPEATABLE
@given(RETURNS)
def test_beta_and_alpha_of_a_leveraged_benchmark(r: FloatArray) -> None:
    assume(r.std(ddof=1) > 1e-9)
    beta, alpha = ratios.beta_alpha(0.5 * r + 1e-4, r)
    assert beta == pytest.approx(0.5, rel=1e-6)
    assert alpha == pytest.approx(365e-4, rel=1e-6, abs=1e-6)
    # Half the benchmark earns half the risk-free rate too little.
    per_day = 1.05 ** (1 / 365) - 1
    assert alpha - ratios.beta_alpha(0.5 * r + 1e-4, r, rf_annual=0.05)[1] == pytest.approx(
        365 * 0.5 * per_day, rel=1e-6
    )


@REPEATABLE
@given(PNL)
def test_trade_statistics_add_up(pnl: FloatArray) -> None:
    won, lost = trades.win_rate(pnl), trades.win_rate(-pnl)
    per_win, per_loss = (0.0 if math.isnan(x) else x for x in (trades.average_win(pnl), trades.average_loss(pnl)))
    assert won * per_win + lost * per_loss == pytest.approx(trades.expectancy(pnl), abs=1e-9)
    assert won + lost <= 1 + 1e-15
    # Mirrored trades have the inverse profit factor.
    if per_win and per_loss:
        assert trades.profit_factor(pnl) * trades.profit_factor(-pnl) == pytest.approx(1.0)


@REPEATABLE
@given(PNL, st.sampled_from([0.0, 0.25]), st.sampled_from([0.0, 0.5]))
def test_the_ledger_sums_to_equity(pnl: FloatArray, fee: float, slippage: float) -> None:
    made = trades_of(pnl, fee=fee, slippage=slippage)
    capital = 1e6
    equity = capital + np.append(0.0, np.cumsum(pnl))
    value = {name: m.value for name, m in metric_table(run_of(equity, made=made, capital=capital)).items()}
    assert (value["total"] or 0.0) * capital == pytest.approx(value["net_pnl"], abs=1e-6)
    assert (value["gross_pnl"] or 0.0) - made.pnl.sum() == pytest.approx(2 * (fee + slippage) * pnl.size, abs=1e-9)
    assert value["fees"] == pytest.approx(2 * fee * pnl.size)
    assert value["slippage_cost"] == pytest.approx(2 * slippage * pnl.size)


@REPEATABLE
@given(RETURNS, st.integers(0, 23))
def test_days_and_months_compound_to_the_total(r: FloatArray, hour: int) -> None:
    equity = 100.0 * path_of(r)[1:]
    whole = run_of(np.repeat(equity, 24), start_us=3 * DAY_US)
    assert daily_returns(whole) == pytest.approx(r, abs=1e-9)
    result = run_of(np.repeat(equity, 24), start_us=hour * HOUR_US)
    months = np.array(list(monthly_returns(result).values()))
    assert np.prod(1 + months) - 1 == pytest.approx(equity[-1] / 100 - 1, rel=1e-9, abs=1e-12)


@REPEATABLE
@given(RETURNS, st.integers(1, 60))
def test_metrics_do_not_peek_beyond_the_last_bar_asked_for(r: FloatArray, cut: int) -> None:
    cut = min(cut, r.size) - 1
    equity = 100.0 * path_of(r)[1:]
    result = run_of(equity, timeframe="1d")
    other = replace(result, equity=np.append(equity[: cut + 1], 2 * equity[cut + 1 :]))
    assert metric_table(result, until_bar=cut) == metric_table(other, until_bar=cut)


@REPEATABLE
@given(RETURNS, PNL)
def test_no_run_gives_a_number_that_is_not_one(r: FloatArray, pnl: FloatArray) -> None:
    # Metric itself refuses nan and infinity; no warning, no exception may come either.
    table = metric_table(run_of(100.0 * path_of(r)[1:], timeframe="1d", pnl=pnl))
    assert list(table) == list(METRICS)
