"""One strategy on several symbols that share an account."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from grodtd.backtest.engine import run_portfolio
from grodtd.config import Config
from grodtd.domain.bars import Bars, FloatArray, IntArray
from grodtd.domain.errors import ConfigError
from grodtd.domain.market import Account
from grodtd.domain.run import Fills, Ledger, Metric, RunResult, Trades
from grodtd.execution.fills import PortfolioResult
from grodtd.performance.summary import metric_table
from grodtd.workflows.backtest import Request, market_for, prepared


@dataclass(frozen=True, eq=False)
class CompletedPortfolio:
    """A finished portfolio run: what happened, and the metrics of the account and of each symbol's own profit."""

    result: PortfolioResult
    metrics: Mapping[str, Metric]
    by_symbol: Mapping[str, Mapping[str, Metric]]


def portfolio_request(home: Path, request: Request, symbols: Sequence[str], config: Config) -> CompletedPortfolio:
    """Run a request on several symbols with one account; fills are made in the order of `symbols`.

    Raises
    ------
    ConfigError, DataError, StrategyError
        As `backtest_request`; also for a symbol named twice.
    """
    if len(set(symbols)) != len(symbols) or not symbols:
        raise ConfigError(f"a portfolio needs different symbols, found {', '.join(symbols) or 'none'}")
    markets, accounts = [], []
    for symbol in symbols:
        of_symbol = replace(request, symbol=symbol)
        strategy, params, account, gating = prepared(of_symbol, config)
        market = market_for(home, of_symbol, account)
        markets.append(replace(market, gate=gating.gate(market.bars)))
        accounts.append(account)
    result = run_portfolio(markets, strategy, params, accounts)
    return CompletedPortfolio(
        result,
        metric_table(as_one(result)),
        {leg.bars.symbol: metric_table(leg) for leg in result.legs},
    )


def as_one(result: PortfolioResult) -> RunResult:
    """Return a portfolio as one run, for metrics and reports: all trades, on bars of an equally weighted index.

    The index starts at 100 and buys every symbol for the same amount at its first open; positions are given in units of
    it, by notional.
    """
    time = result.time
    first = result.legs[0]
    worth = np.zeros(time.size)
    notional, volume = np.zeros(time.size), np.zeros(time.size)
    held = np.zeros(time.size, dtype=np.bool_)
    at_steps = []
    for leg in result.legs:
        at = np.searchsorted(leg.bars.time, time, side="right") - 1
        close = np.where(at >= 0, leg.bars.close[at], leg.bars.open[0])
        worth += 100.0 / len(result.legs) * close / leg.bars.open[0]
        notional += np.where(at >= 0, np.abs(leg.qty[at]) * close, 0.0)
        is_there = (at >= 0) & (leg.bars.time[at] == time)
        volume += np.where(is_there, leg.bars.volume[at], 0.0)
        held |= (at >= 0) & leg.held[at]
        at_steps.append(np.searchsorted(time, leg.bars.time))
    opened = np.concatenate(([100.0], worth[:-1]))
    bars = Bars(
        time,
        opened,
        np.maximum(opened, worth),
        np.minimum(opened, worth),
        worth,
        volume,
        venue=first.bars.venue,
        symbol="+".join(leg.bars.symbol for leg in result.legs),
        timeframe=first.bars.timeframe,
        calendar=first.bars.calendar,
    )
    trades = _joined_trades([leg.trades for leg in result.legs], at_steps)
    account = _shared(first.account, bars)
    return RunResult(
        bars=bars,
        account=account,
        equity=result.equity,
        qty=notional / bars.close,
        held=held,
        trades=trades,
        fills=_joined_fills([leg.fills for leg in result.legs], at_steps),
        ledger=_joined_ledger([leg.ledger for leg in result.legs], at_steps, time.size),
        counters=result.counters,
        stopped=result.stopped,
    )


def _shared(account: Account, bars: Bars) -> Account:
    return replace(account, instrument=replace(account.instrument, symbol=bars.symbol, tick=None, lot=None))


def _joined_trades(parts: Sequence[Trades], steps: Sequence[IntArray]) -> Trades:
    """All trades in order of exit, their bars counted in steps."""
    columns = {}
    for name, _ in parts[0].columns():
        values = [getattr(part, name) for part in parts]
        if name.endswith("_bar"):
            values = [at[v] for at, v in zip(steps, values, strict=True)]
        columns[name] = np.concatenate(values)
    order = np.argsort(columns["exit_bar"], kind="stable")
    return Trades(**{name: values[order] for name, values in columns.items()})


def _joined_fills(parts: Sequence[Fills], steps: Sequence[IntArray]) -> Fills:
    columns = {}
    for name in Fills.__dataclass_fields__:
        values = [getattr(part, name) for part in parts]
        if name == "bar":
            values = [at[v] for at, v in zip(steps, values, strict=True)]
        columns[name] = np.concatenate(values)
    order = np.argsort(columns["bar"], kind="stable")
    return Fills(**{name: values[order] for name, values in columns.items()})


def _joined_ledger(parts: Sequence[Ledger], steps: Sequence[IntArray], n: int) -> Ledger:

    def summed(name: str) -> FloatArray:
        total = np.zeros(n)
        for at, part in zip(steps, parts, strict=True):
            total[at] += getattr(part, name)
        return total

    return Ledger(**{name: summed(name) for name in Ledger.__dataclass_fields__})
