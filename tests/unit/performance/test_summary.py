"""The metric table: samples, reasons, flags; every metric on every kind of trouble."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from grodtd.domain.bars import Bars, FloatArray
from grodtd.domain.market import Account, Costs, Instrument
from grodtd.domain.run import COUNTERS, ExitReason, Metric, Reason, RunResult, Trades
from grodtd.performance import ratios, risk, trades
from grodtd.performance.returns import daily_equity, daily_returns, monthly_returns
from grodtd.performance.summary import METRICS, metric_table

ROOT = Path(__file__).resolve().parents[3]
HOUR_US = 3_600_000_000
DAY_US = 24 * HOUR_US


def no_trades() -> Trades:
    return trades_of(np.empty(0))


def trades_of(pnl: FloatArray) -> Trades:
    """Long trades of one unit from 100 whose net profit is `pnl`, fee 0, stop 98, one a bar."""
    n = pnl.size
    full = np.full
    return Trades(
        decision_bar=np.arange(n),
        entry_bar=np.arange(n) + 1,
        exit_bar=np.arange(n) + 1,
        side=np.ones(n, dtype=np.int8),
        qty=np.ones(n),
        entry_ref=full(n, 100.0),
        exit_ref=100.0 + pnl,
        entry_price=full(n, 100.0),
        exit_price=100.0 + pnl,
        entry_fee=np.zeros(n),
        exit_fee=np.zeros(n),
        stop=full(n, 98.0),
        target=full(n, math.nan),
        exit_reason=full(n, int(ExitReason.SIGNAL), dtype=np.int8),
        ambiguous=np.zeros(n, dtype=np.bool_),
        capped=np.zeros(n, dtype=np.bool_),
    )


def run_of(equity: FloatArray, *, start_us: int = 0, made: Trades | None = None, capital: float = 100.0) -> RunResult:
    """Hourly bars at a price of 100 with a given equity curve."""
    n = equity.size
    price = np.full(n, 100.0)
    bars = Bars(start_us + np.arange(n) * HOUR_US, price, price, price, price, np.ones(n), timeframe="1h")
    return RunResult(
        bars=bars,
        account=Account(Instrument("v", "s"), Costs(), initial_capital=capital),
        equity=equity,
        qty=np.zeros(n),
        held=np.zeros(n, dtype=np.bool_),
        trades=no_trades() if made is None else made,
        counters=dict.fromkeys(COUNTERS, 0),
    )


def test_registry_table_and_documentation_name_the_same_metrics() -> None:
    table = metric_table(run_of(np.full(48, 100.0)))
    assert list(table) == list(METRICS)
    documented = re.findall(r"^\| `([a-z0-9_]+)` \|", (ROOT / "docs" / "metrics.md").read_text(), re.MULTILINE)
    assert documented == list(METRICS)


def test_daily_marks_are_midnights_and_partial_days_are_left_out() -> None:
    # From 12:00, three days of hours: equity grows by 1 an hour. Midnights at hours 12, 36, 60 hold 112, 136, 160.
    result = run_of(100.0 + np.arange(1, 73), start_us=12 * HOUR_US)
    time, equity = daily_equity(result)
    assert (time // HOUR_US).tolist() == [24, 48, 72]
    assert equity.tolist() == [112.0, 136.0, 160.0]
    assert daily_returns(result) == pytest.approx([24 / 112, 24 / 136])
    assert metric_table(result)["total"].value == pytest.approx(0.72)  # 172 / 100 - 1: whole span


def test_a_run_from_midnight_starts_from_the_initial_capital() -> None:
    result = run_of(np.linspace(101, 148, 48))
    assert daily_equity(result)[1].tolist() == [100.0, 124.0, 148.0]


def test_a_missing_day_carries_the_last_equity_forward() -> None:
    base = run_of(100.0 + np.arange(1.0, 25.0))
    time = np.append(base.bars.time[:12], base.bars.time[12:] + 48 * HOUR_US)
    shifted = Bars(time, *(getattr(base.bars, c) for c in ("open", "high", "low", "close", "volume")), timeframe="1h")
    result = replace(base, bars=shifted)
    # Half a day, 48 hours of nothing, half a day: midnights at 0, 24, 48, 72 hours.
    assert daily_equity(result)[1].tolist() == [100.0, 112.0, 112.0, 124.0]
    assert metric_table(result)["coverage"].value == pytest.approx(24 / 72)


def test_months_are_calendar_months() -> None:
    # 1970-01-01 + 31 days of hours: the last bar of January closes at midnight and is January's.
    result = run_of(100.0 + np.arange(1, 32 * 24 + 1))
    assert monthly_returns(result) == {(1970, 1): pytest.approx(7.44), (1970, 2): pytest.approx(24 / 844)}


def test_nothing_traded_is_null_with_the_reason_never_infinity() -> None:
    table = metric_table(run_of(np.full(60 * 24, 100.0)))
    assert table["total"] == Metric(0.0)
    assert table["sharpe"].reason is Reason.ZERO_VARIANCE
    assert table["sortino"].reason is Reason.ZERO_VARIANCE
    assert table["mar"].reason is Reason.NO_DRAWDOWN
    assert table["win_rate"].reason is table["profit_factor"].reason is Reason.NO_TRADES
    assert table["break_even_cost_bps"].reason is Reason.NO_TRADES
    assert table["trade_count"].value == 0


def test_minimum_samples() -> None:
    rng = np.random.default_rng(0)

    def table_of(days: int) -> dict[str, Metric]:
        return metric_table(run_of(100 * np.exp(np.cumsum(rng.normal(0, 1e-3, days * 24)))))

    assert table_of(9)["sharpe"].reason is Reason.TOO_FEW_OBS  # below a third of 30
    assert table_of(10)["sharpe"].low_sample
    assert not table_of(30)["sharpe"].low_sample
    assert table_of(29)["sharpe_hac"].reason is Reason.TOO_FEW_OBS  # below a third of 90
    assert table_of(29)["cagr"].reason is Reason.TOO_FEW_OBS
    assert table_of(30)["cagr"].extrapolated
    assert table_of(33)["var_5"].reason is Reason.TOO_FEW_OBS  # 33 * .05 = 1.65 < 5 / 3
    assert table_of(40)["var_5"].low_sample
    assert not table_of(100)["var_5"].low_sample
    assert not table_of(366)["cagr"].extrapolated


@pytest.mark.parametrize(
    ("pnl", "metric", "reason"),
    [
        (np.linspace(1, 2, 40), "profit_factor", Reason.NO_LOSSES),
        (np.linspace(1, 2, 40), "payoff", Reason.NO_LOSSES),
        (np.linspace(1, 2, 40), "avg_loss", Reason.NO_LOSSES),
        (-np.linspace(1, 2, 40), "avg_win", Reason.NO_WINS),
        (-np.linspace(1, 2, 40), "payoff", Reason.NO_WINS),
        (np.ones(40), "sqn", Reason.ZERO_VARIANCE),
        (np.linspace(-1, 2, 9), "win_rate", Reason.TOO_FEW_OBS),
        (np.zeros(0), "expectancy", Reason.NO_TRADES),
    ],
)
def test_trade_statistics_say_why_they_are_undefined(pnl: FloatArray, metric: str, reason: Reason) -> None:
    found = metric_table(run_of(np.full(60, 100.0), made=trades_of(pnl)))[metric]
    assert found.value is None
    assert found.reason is reason


def test_trade_statistics_by_hand() -> None:
    # 15 x +4 and 15 x -2 of one unit at 100, stop 98: risk 2 a trade, no fees.
    table = metric_table(run_of(np.full(60, 100.0), made=trades_of(np.tile([4.0, -2.0], 15))))
    assert table["win_rate"].value == 0.5
    assert table["profit_factor"].value == 2.0  # 60 / 30
    assert table["payoff"].value == 2.0
    assert table["expectancy"].value == 1.0
    assert table["expectancy_r"].value == 0.5  # (2 - 1) / 2
    assert table["net_pnl"].value == table["gross_pnl"].value == 30.0
    # Notional 30 * 100 in, 15 * 104 + 15 * 98 out = 6030: 30 / 6030 = 49.75 bp a side.
    assert table["break_even_cost_bps"].value == pytest.approx(49.7512, abs=1e-4)
    assert not table["win_rate"].low_sample


def test_ruin_is_minus_one_and_ends_the_sample() -> None:
    equity = np.concatenate((np.linspace(99, 1, 40 * 24), np.zeros(20 * 24)))
    result = run_of(equity)
    table = metric_table(result)
    assert table["total"].value == table["cagr"].value == table["max_drawdown"].value == -1.0
    assert daily_returns(result).size == 41  # forty days down, the day of ruin, nothing after
    assert daily_returns(result)[-1] == -1.0
    assert ratios.total_return(np.array([0.5, -1.2, 3.0])) == -1.0


def test_open_drawdowns_count_and_have_no_recovery() -> None:
    # 100, up to 110, down to 99, never back: 3 days.
    equity = np.concatenate((np.linspace(101, 110, 24), np.linspace(109, 99, 24), np.full(24, 105.0)))
    table = metric_table(run_of(equity))
    assert table["max_drawdown"].value == pytest.approx(-0.1)
    assert table["max_drawdown_peak_to_valley_s"].value == 24 * 3600
    assert table["max_drawdown_valley_to_recovery_s"].reason is Reason.NOT_RECOVERED
    assert table["longest_drawdown_s"].value == 48 * 3600
    assert table["longest_drawdown_bars"].value == 48


def test_the_traded_span_alone() -> None:
    equity = np.concatenate((np.linspace(100, 50, 24 * 40), np.full(24 * 40, 50.0)))
    result = run_of(equity, made=trades_of(np.full(40, -1.0)))
    whole, span = metric_table(result), metric_table(result, until_bar=24 * 40 - 1)
    assert whole["total"].value == span["total"].value == -0.5
    assert whole["years"].value == pytest.approx(80 / 365)
    assert span["years"].value == pytest.approx(40 / 365)
    assert span["trade_count"].value == 40
    assert span["trades_per_day"].value == 1.0


SAMPLES = {
    "empty": np.empty(0),
    "single": np.array([0.01]),
    "zeros": np.zeros(50),
    "constant gain": np.full(50, 1e-4),
    "constant loss": np.full(50, -1e-4),
    "all wins": np.linspace(0.001, 0.01, 50),
    "all losses": -np.linspace(0.001, 0.01, 50),
    "first-bar loss": np.array([-0.1, 0.05, 0.02]),
    "ruin": np.array([0.1, -1.0, 0.5]),
    "beyond ruin": np.array([0.1, -1.5, 0.5]),
}
FUNCTIONS = {
    "total": (ratios.total_return, set()),
    "vol": (ratios.volatility, {"empty", "single"}),
    "sharpe": (ratios.sharpe_ratio, {"empty", "single", "zeros", "constant gain", "constant loss"}),
    "hac": (ratios.sharpe_ratio_hac, {"empty", "single", "zeros", "constant gain", "constant loss"}),
    "sortino": (ratios.sortino_ratio, {"empty", "single", "zeros", "constant gain", "all wins"}),
    "omega": (ratios.omega_ratio, {"empty", "single", "zeros", "constant gain", "all wins"}),
    "tail": (ratios.tail_ratio, {"empty", "zeros"}),
    "skew": (ratios.skewness, {"empty", "single", "zeros", "constant gain", "constant loss"}),
    "kurtosis": (ratios.excess_kurtosis, {"empty", "single", "zeros", "constant gain", "constant loss"}),
    "var": (risk.value_at_risk, {"empty"}),
    "normal": (risk.value_at_risk_normal, {"empty", "single"}),
    "es": (risk.expected_shortfall, {"empty"}),
    "coherent": (risk.expected_shortfall_coherent, {"empty"}),
    "profit factor": (trades.profit_factor, {"empty", "single", "zeros", "constant gain", "all wins"}),
    "win rate": (trades.win_rate, {"empty"}),
    "average win": (trades.average_win, {"empty", "zeros", "constant loss", "all losses"}),
    "average loss": (trades.average_loss, {"empty", "single", "zeros", "constant gain", "all wins"}),
    "expectancy": (trades.expectancy, {"empty"}),
    "sqn": (trades.system_quality_number, {"empty", "single", "zeros", "constant gain", "constant loss"}),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_function_on_every_edge(name: str) -> None:
    function, undefined = FUNCTIONS[name]
    assert undefined <= set(SAMPLES)
    found = {label for label, sample in SAMPLES.items() if math.isnan(function(sample))}
    assert found == undefined
    assert not any(math.isinf(function(sample)) for sample in SAMPLES.values())
    for broken in (math.nan, math.inf):
        with pytest.raises(ValueError, match="must be finite"):
            function(np.array([0.01, broken]))


def test_laws() -> None:
    rng = np.random.default_rng(3)
    r = rng.normal(5e-4, 0.01, 500)
    shuffled = rng.permutation(r)
    assert ratios.sharpe_ratio(3 * r) == pytest.approx(ratios.sharpe_ratio(r), rel=1e-12)
    assert ratios.sharpe_ratio(shuffled) == pytest.approx(ratios.sharpe_ratio(r), rel=1e-12)
    assert ratios.total_return(shuffled) == pytest.approx(ratios.total_return(r), rel=1e-12)
    assert ratios.omega_ratio(r) == pytest.approx(trades.profit_factor(r), rel=1e-12)
    assert risk.expected_shortfall(r) <= risk.value_at_risk(r) < 0
    path = np.concatenate(([1.0], np.cumprod(1 + r)))
    assert risk.max_drawdown(7 * path) == pytest.approx(risk.max_drawdown(path), rel=1e-12)
    assert risk.max_drawdown(path) <= r.min()
    assert ratios.beta_alpha(2 * r, r)[0] == pytest.approx(2.0)
    assert math.isnan(ratios.beta_alpha(r, np.zeros(500))[0])


def test_cornish_fisher_is_the_normal_quantile_without_skew_and_kurtosis() -> None:
    # Symmetric, excess kurtosis 0 is hard to hit; a mild one inside the domain must lie near the normal one.
    rng = np.random.default_rng(8)
    r = rng.standard_t(9, 5_000) * 0.01
    assert risk.value_at_risk_cornish_fisher(r) == pytest.approx(risk.value_at_risk_normal(r), rel=0.1)
