"""History at once: bars -> features -> decisions -> fills."""

from __future__ import annotations

from typing import Any

from grodtd.domain.bars import Bars
from grodtd.domain.errors import DataError
from grodtd.domain.market import Account
from grodtd.domain.run import RunResult
from grodtd.domain.strategy import Strategy
from grodtd.execution.fills import fill_orders


def run_backtest(bars: Bars, strategy: Strategy, params: tuple[Any, ...], account: Account) -> RunResult:
    """Run one strategy with one set of parameters over one symbol's bars.

    Parameters
    ----------
    bars : Bars
        History, oldest first; the first `strategy.warmup_bars(params)` of them only warm the indicators up.
    strategy : Strategy
    params : tuple
        As returned by `strategy.check_params`.
    account : Account

    Returns
    -------
    RunResult

    Raises
    ------
    DataError
        If there are too few bars to decide and fill even once.
    StrategyError
        If the strategy breaks its contract.
    """
    needed = strategy.warmup_bars(params) + account.rules.latency_bars + 1
    if len(bars) < needed:
        raise DataError(
            f"{strategy.name} needs at least {needed} bars of {bars.symbol} {bars.timeframe} to warm up and trade once,"
            f" found {len(bars)}; ask for a longer range"
        )
    decisions = strategy.decisions(bars, params)
    return fill_orders(bars, decisions.side, decisions.bracket, account)
