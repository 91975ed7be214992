"""The metric table: every number GRODT prints about a run, each a value or null with the reason (C6, C8)."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Final, Literal

import numpy as np

from grodtd.domain.bars import US_PER_S, FloatArray
from grodtd.domain.market import BPS
from grodtd.domain.run import Metric, Reason, RunResult, Trades
from grodtd.performance import ratios, risk
from grodtd.performance import trades as trade_statistics
from grodtd.performance.returns import (
    buy_and_hold,
    coverage,
    daily_returns,
    drawdown,
    equity_path,
    returns_periods_per_year,
    years,
)

Unit = Literal["fraction", "ratio", "quote", "s", "bars", "count", "bps", "years"]
Group = Literal["return", "risk", "trades", "costs", "run"]

RATIO_DAYS_MIN: Final = 30
HAC_DAYS_MIN: Final = 90
TAIL_OBSERVATIONS_MIN: Final = 5
TRADES_MIN: Final = 30


@dataclass(frozen=True, slots=True)
class MetricInfo:
    """What a metric is, for people: screen, report and docs/metrics.md all read it from here."""

    description: str
    unit: Unit
    group: Group
    is_higher_better: bool | None = None


METRICS: Final[dict[str, MetricInfo]] = {
    "total": MetricInfo("Total return after costs", "fraction", "return", True),
    "cagr": MetricInfo("Compound annual growth rate", "fraction", "return", True),
    "benchmark_total": MetricInfo("Buy and hold of the same bars, without costs", "fraction", "return"),
    "sharpe": MetricInfo("Sharpe ratio, daily returns, annual", "ratio", "return", True),
    "sharpe_hac": MetricInfo("Sharpe ratio with Newey-West deviation", "ratio", "return", True),
    "sortino": MetricInfo("Sortino ratio, target 0, annual", "ratio", "return", True),
    "mar": MetricInfo("CAGR over maximum drawdown, whole history", "ratio", "return", True),
    "omega": MetricInfo("Omega ratio of daily returns at 0", "ratio", "return", True),
    "upi": MetricInfo("Ulcer performance index: CAGR over ulcer index", "ratio", "return", True),
    "tail_ratio": MetricInfo("95 % over 5 % quantile of daily returns", "ratio", "return", True),
    "vol": MetricInfo("Annual volatility of daily returns", "fraction", "risk", False),
    "max_drawdown": MetricInfo("Deepest fall below the running peak, bar by bar", "fraction", "risk", True),
    "max_drawdown_peak_to_valley_s": MetricInfo("Deepest drawdown: peak to valley", "s", "risk", False),
    "max_drawdown_valley_to_recovery_s": MetricInfo("Deepest drawdown: valley to recovery", "s", "risk", False),
    "max_drawdown_peak_to_recovery_s": MetricInfo("Deepest drawdown: peak to recovery", "s", "risk", False),
    "longest_drawdown_s": MetricInfo("Longest drawdown, an open one counted to the end", "s", "risk", False),
    "longest_drawdown_bars": MetricInfo("Longest drawdown in bars", "bars", "risk", False),
    "ulcer": MetricInfo("Ulcer index: root mean square drawdown", "fraction", "risk", False),
    "var_5": MetricInfo("Daily value at risk 5 %, historical", "fraction", "risk", True),
    "var_1": MetricInfo("Daily value at risk 1 %, historical", "fraction", "risk", True),
    "var_5_normal": MetricInfo("Daily value at risk 5 %, normal", "fraction", "risk", True),
    "var_5_cornish_fisher": MetricInfo("Daily value at risk 5 %, Cornish-Fisher", "fraction", "risk", True),
    "es_5": MetricInfo("Daily expected shortfall 5 %", "fraction", "risk", True),
    "es_1": MetricInfo("Daily expected shortfall 1 %", "fraction", "risk", True),
    "es_5_coherent": MetricInfo("Daily expected shortfall 5 %, exact share", "fraction", "risk", True),
    "skew": MetricInfo("Skewness of daily returns", "ratio", "risk", True),
    "excess_kurtosis": MetricInfo("Excess kurtosis of daily returns, normal 0", "ratio", "risk"),
    "trade_count": MetricInfo("Closed trades", "count", "trades"),
    "trades_per_day": MetricInfo("Closed trades a day", "ratio", "trades"),
    "win_rate": MetricInfo("Share of trades that won, net", "fraction", "trades", True),
    "profit_factor": MetricInfo("Money won over money lost, net", "ratio", "trades", True),
    "avg_win": MetricInfo("Average winning trade", "quote", "trades", True),
    "avg_loss": MetricInfo("Average losing trade", "quote", "trades", True),
    "payoff": MetricInfo("Average win over average loss", "ratio", "trades", True),
    "expectancy": MetricInfo("Average trade, net", "quote", "trades", True),
    "expectancy_r": MetricInfo("Average trade in units of its initial risk", "ratio", "trades", True),
    "sqn": MetricInfo("System quality number", "ratio", "trades", True),
    "sqn_100": MetricInfo("System quality number, at most 100 trades", "ratio", "trades", True),
    "ambiguous_share": MetricInfo("Trades whose exit hinges on order inside a bar", "fraction", "trades", False),
    "capped_share": MetricInfo("Trades bound by the gross cap, not the risk", "fraction", "trades"),
    "net_pnl": MetricInfo("Net profit of closed trades", "quote", "costs", True),
    "gross_pnl": MetricInfo("Profit at reference prices, before costs", "quote", "costs", True),
    "fees": MetricInfo("Fees paid", "quote", "costs", False),
    "slippage_cost": MetricInfo("Spread and slippage paid", "quote", "costs", False),
    "cost_drag": MetricInfo("Costs a year over mean equity", "fraction", "costs", False),
    "break_even_cost_bps": MetricInfo("Cost per side at which the result is zero", "bps", "costs", True),
    "turnover": MetricInfo("Traded notional a year over mean equity, two-sided", "ratio", "costs"),
    "exposure": MetricInfo("Share of time with a position", "fraction", "run"),
    "gross_exposure": MetricInfo("Mean position over equity", "fraction", "run"),
    "years": MetricInfo("Elapsed years of 365 days", "years", "run"),
    "coverage": MetricInfo("Bars there are over bars there should be", "fraction", "run", True),
}


def metric_table(result: RunResult, *, rf_annual: float = 0.0, until_bar: int | None = None) -> dict[str, Metric]:
    """Return every metric of `METRICS`, in that order.

    Parameters
    ----------
    result : RunResult
        A run of at least one bar.
    rf_annual : float
        Annual risk-free rate as a fraction, for Sharpe ratios and UPI.
    until_bar : int, optional
        Judge only the bars up to and including this one, for example to where trading stopped.

    Notes
    -----
    Ratios and value at risk come from UTC-daily returns of marked equity (C2); drawdown and exposure from bars; trade
    statistics from closed trades, net of costs. Samples below the minimum of C8 are flagged `low_sample`, below a third
    of it null with `too_few_obs`.
    """
    if until_bar is not None:
        result = _until(result, until_bar)
    found = {
        **_of_returns(result, rf_annual),
        **_of_drawdowns(result),
        **_of_trades(result.trades),
        **_of_costs(result),
        **_of_run(result),
    }
    return {name: found[name] for name in METRICS}


def _until(result: RunResult, bar: int) -> RunResult:
    end = bar + 1
    is_closed = result.trades.exit_bar <= bar
    trades = Trades(**{f.name: getattr(result.trades, f.name)[is_closed] for f in fields(Trades)})
    return replace(
        result,
        bars=result.bars[:end],
        equity=result.equity[:end],
        qty=result.qty[:end],
        held=result.held[:end],
        trades=trades,
    )


def _metric(value: float, reason: Reason, *, n: float = math.inf, minimum: float = 0.0) -> Metric:
    """Return the value, flagged if its sample is small; null if far too small (C8) or undefined."""
    if n < minimum / 3:
        return Metric(None, Reason.TOO_FEW_OBS)
    if not math.isfinite(value):
        return Metric(None, reason)
    return Metric(float(value), low_sample=n < minimum)


def _of_returns(result: RunResult, rf_annual: float) -> dict[str, Metric]:
    bars, initial = result.bars, result.account.initial_capital
    sample = daily_returns(result)
    periods = returns_periods_per_year(bars)
    days = sample.size
    elapsed = years(bars)
    total = float(result.equity[-1] / initial - 1.0)

    def ratio(compute: Callable[[FloatArray], float], reason: Reason, minimum: float = RATIO_DAYS_MIN) -> Metric:
        value = compute(sample) if days else math.nan
        return _metric(value, reason, n=days, minimum=minimum)

    def tail(compute: Callable[[FloatArray, float], float], level: float, reason: Reason) -> Metric:
        value = compute(sample, level) if days else math.nan
        return _metric(value, reason, n=days * level, minimum=TAIL_OBSERVATIONS_MIN)

    growth = ratios.cagr(total, elapsed)
    cagr = (
        Metric(growth, extrapolated=elapsed < 1.0)
        if elapsed * 365 >= RATIO_DAYS_MIN
        else Metric(None, Reason.TOO_FEW_OBS)
    )
    flat, no_losses = Reason.ZERO_VARIANCE, Reason.NO_LOSSES
    varies = days > 1 and risk.has_variance(sample)
    path = equity_path(result)
    return {
        "total": Metric(total),
        "cagr": cagr,
        "benchmark_total": Metric(float(buy_and_hold(bars, initial)[-1] / initial - 1.0)),
        "sharpe": ratio(lambda r: ratios.sharpe_ratio(r, periods_per_year=periods, rf_annual=rf_annual), flat),
        "sharpe_hac": ratio(
            lambda r: ratios.sharpe_ratio_hac(r, periods_per_year=periods, rf_annual=rf_annual), flat, HAC_DAYS_MIN
        ),
        "sortino": ratio(lambda r: ratios.sortino_ratio(r, periods_per_year=periods), no_losses if varies else flat),
        "mar": _over(cagr, abs(risk.max_drawdown(path))),
        "omega": ratio(ratios.omega_ratio, no_losses if varies else flat),
        "upi": _over(cagr, risk.ulcer_index(path), less=rf_annual),
        "tail_ratio": ratio(ratios.tail_ratio, flat),
        "vol": ratio(lambda r: ratios.volatility(r, periods_per_year=periods), flat),
        "var_5": tail(risk.value_at_risk, 0.05, flat),
        "var_1": tail(risk.value_at_risk, 0.01, flat),
        "var_5_normal": tail(risk.value_at_risk_normal, 0.05, flat),
        "var_5_cornish_fisher": tail(
            risk.value_at_risk_cornish_fisher, 0.05, Reason.OUTSIDE_DOMAIN if varies else flat
        ),
        "es_5": tail(risk.expected_shortfall, 0.05, flat),
        "es_1": tail(risk.expected_shortfall, 0.01, flat),
        "es_5_coherent": tail(risk.expected_shortfall_coherent, 0.05, flat),
        "skew": ratio(ratios.skewness, flat),
        "excess_kurtosis": ratio(ratios.excess_kurtosis, flat),
    }


def _over(cagr: Metric, fall: float, less: float = 0.0) -> Metric:
    """CAGR (less the risk-free rate) over a measure of drawdown."""
    if cagr.value is None:
        return cagr
    if fall <= 0:
        return Metric(None, Reason.NO_DRAWDOWN)
    return Metric((cagr.value - less) / fall, extrapolated=cagr.extrapolated)


def _of_drawdowns(result: RunResult) -> dict[str, Metric]:
    path = equity_path(result)
    bars = result.bars
    times = risk.drawdown_times(path)
    found = {"max_drawdown": Metric(risk.max_drawdown(path)), "ulcer": Metric(risk.ulcer_index(path))}
    if times is None:
        none = Metric(None, Reason.NO_DRAWDOWN)
        return found | {name: none for name in METRICS if "drawdown_" in name and name not in found}

    # Point 0 of the path is the start of the first bar, point i the close of bar i - 1.
    def seconds(start: int, end: int) -> Metric:
        at = [
            bars.time[0] if point == 0 else bars.time[point - 1] + bars.interval_s * US_PER_S for point in (start, end)
        ]
        return Metric(float(at[1] - at[0]) / US_PER_S)

    open_ended = Metric(None, Reason.NOT_RECOVERED)
    return found | {
        "max_drawdown_peak_to_valley_s": seconds(times.peak, times.valley),
        "max_drawdown_valley_to_recovery_s": (
            open_ended if times.recovery is None else seconds(times.valley, times.recovery)
        ),
        "max_drawdown_peak_to_recovery_s": (
            open_ended if times.recovery is None else seconds(times.peak, times.recovery)
        ),
        "longest_drawdown_s": seconds(times.longest_from, times.longest_to),
        "longest_drawdown_bars": Metric(float(times.longest_to - times.longest_from)),
    }


def _of_trades(trades: Trades) -> dict[str, Metric]:
    pnl, n = trades.pnl, len(trades)

    def statistic(value: float, reason: Reason) -> Metric:
        return Metric(None, Reason.NO_TRADES) if n == 0 else _metric(value, reason, n=n, minimum=TRADES_MIN)

    has_wins, has_losses = bool((pnl > 0).any()), bool((pnl < 0).any())
    one_sided = Reason.NO_LOSSES if has_wins else Reason.NO_WINS
    initial_risk = np.abs(trades.entry_price - trades.stop) * trades.qty + trades.fees
    has_stops = n > 0 and bool((initial_risk > 0).all())
    in_risk = float((pnl / initial_risk).mean()) if has_stops else math.nan
    return {
        "win_rate": statistic(trade_statistics.win_rate(pnl), Reason.NO_TRADES),
        "profit_factor": statistic(trade_statistics.profit_factor(pnl), Reason.NO_LOSSES),
        "avg_win": statistic(trade_statistics.average_win(pnl), Reason.NO_WINS),
        "avg_loss": statistic(trade_statistics.average_loss(pnl), Reason.NO_LOSSES),
        "payoff": statistic(trade_statistics.payoff_ratio(pnl) if has_wins and has_losses else math.nan, one_sided),
        "expectancy": statistic(trade_statistics.expectancy(pnl), Reason.NO_TRADES),
        "expectancy_r": statistic(in_risk, Reason.NO_STOP),
        "sqn": statistic(trade_statistics.system_quality_number(pnl), Reason.ZERO_VARIANCE),
        "sqn_100": statistic(trade_statistics.system_quality_number(pnl, trades_max=100), Reason.ZERO_VARIANCE),
        "ambiguous_share": statistic(float(trades.ambiguous.mean()) if n else math.nan, Reason.NO_TRADES),
        "capped_share": statistic(float(trades.capped.mean()) if n else math.nan, Reason.NO_TRADES),
    }


def _of_costs(result: RunResult) -> dict[str, Metric]:
    trades = result.trades
    notional, costs = float(trades.notional.sum()), float((trades.fees + trades.slippage).sum())
    gross = float(trades.gross_pnl.sum())
    equity_years = float(result.equity.mean()) * years(result.bars)
    return {
        "net_pnl": Metric(float(trades.pnl.sum())),
        "gross_pnl": Metric(gross),
        "fees": Metric(float(trades.fees.sum())),
        "slippage_cost": Metric(float(trades.slippage.sum())),
        "cost_drag": _metric(costs / equity_years if equity_years > 0 else math.nan, Reason.RUIN),
        "break_even_cost_bps": _metric(gross / notional / BPS if notional else math.nan, Reason.NO_TRADES),
        "turnover": _metric(notional / equity_years if equity_years > 0 else math.nan, Reason.RUIN),
    }


def _of_run(result: RunResult) -> dict[str, Metric]:
    bars, equity = result.bars, result.equity
    alive = equity > 0
    gross = np.abs(result.qty[alive]) * bars.close[alive] / equity[alive]
    elapsed = years(bars)
    return {
        "trade_count": Metric(float(len(result.trades))),
        "trades_per_day": Metric(len(result.trades) / (elapsed * 365)),
        "exposure": Metric(float(result.held.mean())),
        "gross_exposure": _metric(float(gross.mean()) if alive.any() else math.nan, Reason.RUIN),
        "years": Metric(elapsed),
        "coverage": Metric(coverage(bars)),
    }


def under_water(result: RunResult) -> FloatArray:
    """Return the drawdown at each bar's close, 0 or below, shape (n_bars,)."""
    return drawdown(equity_path(result))[1:]
