"""History at once: bars -> features -> decisions -> fills."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from grodtd.domain.bars import Bars, FloatArray, SideArray
from grodtd.domain.errors import DataError
from grodtd.domain.market import Account
from grodtd.domain.run import RunResult
from grodtd.domain.strategy import Strategy
from grodtd.execution.costs import conditions_of
from grodtd.execution.fills import Leg, PortfolioResult, fill_leg, fill_portfolio


@dataclass(frozen=True, eq=False)
class Market:
    """One symbol as a strategy trades it: its bars and what comes with them; see `grodtd.execution.fills.Leg`."""

    bars: Bars
    gate: SideArray | None = None
    funding: FloatArray | None = None
    fine: Bars | None = None


def run_backtest(market: Market, strategy: Strategy, params: tuple[Any, ...], account: Account) -> RunResult:
    """Run one strategy with one set of parameters over one symbol's bars.

    Parameters
    ----------
    market : Market
        History, oldest first; the first `strategy.warmup_bars(params)` bars only warm the indicators up.
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
    return fill(decide(market, strategy, params, account), account)


def fill(decided: Leg, account: Account) -> RunResult:
    """Fill decisions already taken, on another account if need be."""
    return fill_leg(replace(decided, account=account))


def run_portfolio(
    markets: Sequence[Market], strategy: Strategy, params: tuple[Any, ...], accounts: Sequence[Account]
) -> PortfolioResult:
    """Run one strategy on several symbols that share an account; fills are made in the order of the symbols.

    Raises
    ------
    DataError, StrategyError
        As `run_backtest`.
    ConfigError
        If the accounts differ in more than instrument and costs.
    """
    return fill_portfolio([decide(m, strategy, params, account) for m, account in zip(markets, accounts, strict=True)])


def decide(market: Market, strategy: Strategy, params: tuple[Any, ...], account: Account) -> Leg:
    """Return what the strategy wants after each close, ready to be filled; errors as `run_backtest`."""
    bars = market.bars
    needed = strategy.warmup_bars(params) + account.rules.latency_bars + 1
    if len(bars) < needed:
        raise DataError(
            f"{strategy.name} needs at least {needed} bars of {bars.symbol} {bars.timeframe} to warm up and trade once,"
            f" found {len(bars)}; ask for a longer range"
        )
    decisions = strategy.decisions(bars, params)
    return Leg(
        bars,
        decisions.side,
        decisions.bracket,
        account,
        market.gate,
        market.funding,
        market.fine,
        conditions_of(bars, account.costs),
    )
