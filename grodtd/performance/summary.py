"""The metric table: every number GRODT prints about a run, each a value or null with the reason (C6, C8)."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Final, Literal

import numpy as np

from grodtd.domain.bars import US_PER_S, YEAR_S, FloatArray
from grodtd.domain.market import BPS
from grodtd.domain.run import Fills, Ledger, Metric, Reason, RunResult, Trades
from grodtd.performance import ratios, risk
from grodtd.performance import trades as trade_statistics
from grodtd.performance.returns import (
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
    "max_drawdown_peak_to_valley_bars": MetricInfo("Deepest drawdown: peak to valley", "bars", "risk", False),
    "max_drawdown_valley_to_recovery_bars": MetricInfo("Deepest drawdown: valley to recovery", "bars", "risk", False),
    "max_drawdown_peak_to_recovery_bars": MetricInfo("Deepest drawdown: peak to recovery", "bars", "risk", False),
    "longest_drawdown_s": MetricInfo("Longest drawdown, an open one counted to the end", "s", "risk", False),
    "longest_drawdown_bars": MetricInfo("Longest drawdown in bars", "bars", "risk", False),
    "ulcer": MetricInfo("Ulcer index: root mean square drawdown", "fraction", "risk", False),
    "var_5": MetricInfo("Daily value at risk 5 %, historical", "fraction", "risk", True),
    "var_1": MetricInfo("Daily value at risk 1 %, historical", "fraction", "risk", True),
    "var_5_normal": MetricInfo("Daily value at risk 5 %, normal", "fraction", "risk", True),
    "var_1_normal": MetricInfo("Daily value at risk 1 %, normal", "fraction", "risk", True),
    "var_5_cornish_fisher": MetricInfo("Daily value at risk 5 %, Cornish-Fisher", "fraction", "risk", True),
    "var_1_cornish_fisher": MetricInfo("Daily value at risk 1 %, Cornish-Fisher", "fraction", "risk", True),
    "es_5": MetricInfo("Daily expected shortfall 5 %", "fraction", "risk", True),
    "es_1": MetricInfo("Daily expected shortfall 1 %", "fraction", "risk", True),
    "es_5_normal": MetricInfo("Daily expected shortfall 5 %, normal", "fraction", "risk", True),
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
    "slippage_cost": MetricInfo("Spread, slippage and market impact paid", "quote", "costs", False),
    "spread_cost": MetricInfo("Half-spread in it", "quote", "costs", False),
    "impact_cost": MetricInfo("Market impact in it", "quote", "costs", False),
    "funding_cost": MetricInfo("Funding paid, received if below zero", "quote", "costs", False),
    "borrow_cost": MetricInfo("Borrow paid on spot shorts", "quote", "costs", False),
    "cost_drag": MetricInfo("Costs a year over mean equity", "fraction", "costs", False),
    "break_even_cost_bps": MetricInfo("Cost per side at which the result is zero", "bps", "costs", True),
    "turnover": MetricInfo("Traded notional a year over mean equity, two-sided", "ratio", "costs"),
    "exposure": MetricInfo("Share of bars with a position", "fraction", "run"),
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
        Judge only the bars up to and including this one, for example to where trading stopped. A trade still open
        there counts in equity but not among the trades.

    Raises
    ------
    ValueError
        If the run has no bars, or no bar `until_bar`.

    Notes
    -----
    Ratios and value at risk come from UTC-daily returns of marked equity (C2); drawdown and exposure from bars; trade
    statistics from closed trades, net of costs. Samples below the minimum of C8 are flagged `low_sample`, below a third
    of it null with `too_few_obs`.
    """
    if not len(result.bars):
        raise ValueError("a run without bars has no metrics")
    if until_bar is not None:
        if not 0 <= until_bar < len(result.bars):
            raise ValueError(f"until_bar must be a bar of the run, 0 to {len(result.bars) - 1}, found {until_bar}")
        result = _until(result, until_bar)
    path = equity_path(result)
    fall = drawdown(path)
    found = {
        **_of_returns(result, path, fall, rf_annual),
        **_of_drawdowns(result, fall),
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
        fills=Fills(**{f.name: getattr(result.fills, f.name)[result.fills.bar <= bar] for f in fields(Fills)}),
        ledger=Ledger(**{f.name: getattr(result.ledger, f.name)[:end] for f in fields(Ledger)}),
    )


def _metric(value: float, reason: Reason, *, n: float = math.inf, minimum: float = 0.0) -> Metric:
    """Return the value, flagged if its sample is small; null if far too small (C8) or undefined."""
    if n < minimum / 3:
        return Metric(None, Reason.TOO_FEW_OBS)
    if not math.isfinite(value):
        return Metric(None, reason)
    return Metric(float(value), low_sample=n < minimum)


def _of_returns(result: RunResult, path: FloatArray, fall: FloatArray, rf_annual: float) -> dict[str, Metric]:
    bars = result.bars
    sample, periods = daily_returns(result), returns_periods_per_year(bars)
    total = float(path[-1] / path[0] - 1.0)
    # A ruined account has a value for everything, but not one to compare with: it says so.
    note = str(Reason.RUIN) if total <= -1.0 else ""
    cagr = _cagr(total, years(bars), note)

    def ratio(value: float, reason: Reason, minimum: float = RATIO_DAYS_MIN) -> Metric:
        return _metric(value, reason, n=sample.size, minimum=minimum)

    def tail(value: float, level: float, reason: Reason = Reason.TOO_FEW_OBS) -> Metric:
        return _metric(value, reason, n=sample.size * level, minimum=TAIL_OBSERVATIONS_MIN)

    def over_drawdown(compute: Callable[[float], float]) -> Metric:
        if cagr.value is None:
            return cagr
        return replace(_metric(compute(cagr.value), Reason.NO_DRAWDOWN), extrapolated=cagr.extrapolated)

    flat, no_losses, outside = Reason.ZERO_VARIANCE, Reason.NO_LOSSES, Reason.OUTSIDE_DOMAIN
    skew = ratio(ratios.skewness(sample), flat)
    no_cornish_fisher = flat if skew.reason is flat else outside
    return {
        "total": Metric(total, note=note),
        "cagr": cagr,
        # The last point of `buy_and_hold`.
        "benchmark_total": Metric(float(path[0] * bars.close[-1] / bars.open[0] / path[0] - 1.0)),
        "sharpe": ratio(ratios.sharpe_ratio(sample, periods_per_year=periods, rf_annual=rf_annual), flat),
        "sharpe_hac": ratio(
            ratios.sharpe_ratio_hac(sample, periods_per_year=periods, rf_annual=rf_annual), flat, HAC_DAYS_MIN
        ),
        "sortino": ratio(ratios.sortino_ratio(sample, periods_per_year=periods), no_losses),
        "mar": over_drawdown(lambda growth: ratios.mar_ratio(growth, float(fall.min()))),
        "omega": ratio(ratios.omega_ratio(sample), no_losses),
        "upi": over_drawdown(
            lambda growth: ratios.ulcer_performance_index(growth, risk.ulcer_of(fall), rf_annual=rf_annual)
        ),
        "tail_ratio": ratio(ratios.tail_ratio(sample), no_losses),
        "vol": ratio(ratios.volatility(sample, periods_per_year=periods), Reason.TOO_FEW_OBS),
        "var_5": tail(risk.value_at_risk(sample, 0.05), 0.05),
        "var_1": tail(risk.value_at_risk(sample, 0.01), 0.01),
        "var_5_normal": tail(risk.value_at_risk_normal(sample, 0.05), 0.05),
        "var_1_normal": tail(risk.value_at_risk_normal(sample, 0.01), 0.01),
        "var_5_cornish_fisher": tail(risk.value_at_risk_cornish_fisher(sample, 0.05), 0.05, no_cornish_fisher),
        "var_1_cornish_fisher": tail(risk.value_at_risk_cornish_fisher(sample, 0.01), 0.01, no_cornish_fisher),
        "es_5": tail(risk.expected_shortfall(sample, 0.05), 0.05),
        "es_1": tail(risk.expected_shortfall(sample, 0.01), 0.01),
        "es_5_normal": tail(risk.expected_shortfall_normal(sample, 0.05), 0.05),
        "es_5_coherent": tail(risk.expected_shortfall_coherent(sample, 0.05), 0.05),
        "skew": skew,
        "excess_kurtosis": ratio(ratios.excess_kurtosis(sample), flat),
    }


def _cagr(total: float, elapsed: float, note: str) -> Metric:
    # Half a second of slack: 30 days divided by a year and multiplied again need not be 30 days.
    is_short = elapsed < RATIO_DAYS_MIN / 365 - 0.5 / YEAR_S
    if is_short and not note:
        return Metric(None, Reason.TOO_FEW_OBS)
    found = _metric(ratios.cagr(total, elapsed), Reason.OUTSIDE_DOMAIN)
    return replace(found, extrapolated=elapsed < 1.0 and not note, note=note)


def _of_drawdowns(result: RunResult, fall: FloatArray) -> dict[str, Metric]:
    bars = result.bars
    found = {"max_drawdown": Metric(float(fall.min())), "ulcer": Metric(risk.ulcer_of(fall))}
    falls = risk.drawdowns_of(fall)
    if falls is None:
        none = Metric(None, Reason.NO_DRAWDOWN)
        return found | {name: none for name in METRICS if "drawdown_" in name}
    # Point 0 of the path is the start of the first bar, point i the close of bar i - 1.
    time = np.concatenate((bars.time[:1], bars.time + bars.interval_s * US_PER_S))
    peak, valley, recovery = int(falls.peak[falls.deepest]), falls.valley, falls.recovery
    for name, start, end in (
        ("peak_to_valley", peak, valley),
        ("valley_to_recovery", valley, recovery),
        ("peak_to_recovery", peak, recovery),
    ):
        if end is None:
            seconds = count = Metric(None, Reason.NOT_RECOVERED)
        else:
            seconds, count = Metric(float(time[end] - time[start]) / US_PER_S), Metric(float(end - start))
        found |= {f"max_drawdown_{name}_s": seconds, f"max_drawdown_{name}_bars": count}
    # Where bars are missing the longest in time need not be the longest in bars.
    return found | {
        "longest_drawdown_s": Metric(float((time[falls.end] - time[falls.peak]).max()) / US_PER_S),
        "longest_drawdown_bars": Metric(float((falls.end - falls.peak).max())),
    }


def _of_trades(trades: Trades) -> dict[str, Metric]:
    pnl, n = trades.pnl, len(trades)

    def statistic(value: float, reason: Reason = Reason.NO_TRADES) -> Metric:
        return Metric(None, Reason.NO_TRADES) if n == 0 else _metric(value, reason, n=n, minimum=TRADES_MIN)

    def share(chosen: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> Metric:
        """A fact about these trades, not an estimate about others: true for one trade too."""
        return Metric(float(chosen.mean())) if n else Metric(None, Reason.NO_TRADES)

    no_wins, no_losses, flat = Reason.NO_WINS, Reason.NO_LOSSES, Reason.ZERO_VARIANCE
    in_risk = trade_statistics.expectancy_r(pnl, trade_statistics.initial_risk(trades))
    return {
        "win_rate": statistic(trade_statistics.win_rate(pnl)),
        "profit_factor": statistic(trade_statistics.profit_factor(pnl), no_losses),
        "avg_win": statistic(trade_statistics.average_win(pnl), no_wins),
        "avg_loss": statistic(trade_statistics.average_loss(pnl), no_losses),
        "payoff": statistic(trade_statistics.payoff_ratio(pnl), no_losses if (pnl > 0).any() else no_wins),
        "expectancy": statistic(trade_statistics.expectancy(pnl)),
        "expectancy_r": statistic(in_risk, Reason.NO_STOP),
        "sqn": statistic(trade_statistics.system_quality_number(pnl), flat),
        "sqn_100": statistic(trade_statistics.system_quality_number(pnl, trades_max=100), flat),
        "ambiguous_share": share(trades.ambiguous),
        "capped_share": share(trades.capped),
    }


def _of_costs(result: RunResult) -> dict[str, Metric]:
    trades = result.trades
    notional = float(trades.notional.sum())
    costs = float((trades.fees + trades.slippage + trades.funding + trades.borrow).sum())
    gross = float(trades.gross_pnl.sum())
    equity_years = float(result.equity.mean()) * years(result.bars)
    return {
        "net_pnl": Metric(float(trades.pnl.sum())),
        "gross_pnl": Metric(gross),
        "fees": Metric(float(trades.fees.sum())),
        "slippage_cost": Metric(float(trades.slippage.sum())),
        "spread_cost": Metric(float(result.fills.spread.sum())),
        "impact_cost": Metric(float(result.fills.impact.sum())),
        "funding_cost": Metric(float(trades.funding.sum())),
        "borrow_cost": Metric(float(trades.borrow.sum())),
        "cost_drag": _metric(costs / equity_years if equity_years > 0 else math.nan, Reason.RUIN),
        "break_even_cost_bps": _metric(gross / notional / BPS if notional else math.nan, Reason.NO_TRADES),
        "turnover": _metric(notional / equity_years if equity_years > 0 else math.nan, Reason.RUIN),
    }


def _of_run(result: RunResult) -> dict[str, Metric]:
    bars, equity = result.bars, result.equity
    alive = equity > 0
    # Most accounts are alive in every bar: then nothing needs to be picked out.
    chosen = slice(None) if alive.all() else alive
    gross = np.abs(result.qty[chosen]) * bars.close[chosen] / equity[chosen]
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
