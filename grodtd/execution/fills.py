"""Decisions into fills: one symbol or many that share an account (rules F0-F12).

docs/fills.md is the contract. This is the door to the compiled engine in `fill_kernel`: it checks and lays out what is
given, runs it, and proves that the ledger adds up. Arrays go in, never a rule.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from grodtd.domain.bars import US_PER_S, Bars, FloatArray, IntArray, SideArray, utc
from grodtd.domain.errors import ConfigError, DataError, ExecutionError, StrategyError
from grodtd.domain.market import BPS, Account, Direction, Step
from grodtd.domain.run import COUNTERS, Fills, RunResult, Trades
from grodtd.domain.strategy import BRACKET_ROWS
from grodtd.execution.costs import Conditions, cost_rows, varies_by_bar
from grodtd.execution.fill_kernel import (
    ACCOUNT_DTYPE,
    FILL_DTYPE,
    FILLS_A_BAR,
    MODES,
    SAME_BAR,
    SYMBOL_DTYPE,
    TRADE_DTYPE,
    Books,
    Curves,
    FineBars,
    Market,
    Rows,
    fill_steps,
)
from grodtd.execution.ledger import check_ledger, ledger_of


@dataclass(frozen=True, eq=False)
class Leg:
    """One symbol of a portfolio: its bars, its decisions and its account.

    Attributes
    ----------
    bars : Bars
    side : int8 array, shape (n_bars,)
        Wanted side after each close: +1, -1 or 0 (F0).
    bracket : float64 array, shape (6, n_bars)
        Rows of `Bracket` as of each close; nan or <= 0 means absent.
    account : Account
        The accounts of all legs differ in instrument and costs only.
    gate : int8 array, shape (n_bars,), optional
        1: entries decided at this close are allowed; 0: they are not; -1: and a held position is closed.
    funding : float64 array, shape (n_bars,), optional
        Funding rate settled at the end of each bar (`funding_by_bar`).
    fine : Bars, optional
        Finer bars of the same symbol, for ``same_bar: drilldown``; where there are none, the stop comes first.
    conditions : Conditions, optional
        What costs scale with on these bars, if it is at hand; else it is computed where the costs need it.
    """

    bars: Bars
    side: SideArray
    bracket: FloatArray
    account: Account
    gate: SideArray | None = None
    funding: FloatArray | None = None
    fine: Bars | None = None
    conditions: Conditions | None = None


@dataclass(frozen=True, eq=False)
class PortfolioResult:
    """What happened to several symbols that share an account.

    Attributes
    ----------
    time : int64 array, shape (n_steps,)
        Open of each step: a time at which at least one symbol has a bar.
    equity : float64 array, shape (n_steps,)
        The account after each step.
    legs : tuple of RunResult
        By symbol, in order. Their `equity` is the initial capital plus the symbol's own net profit.
    counters, stopped
        Of the account; as in `RunResult`, with the step instead of the bar.
    """

    time: IntArray
    equity: FloatArray
    legs: tuple[RunResult, ...]
    counters: dict[str, int]
    stopped: tuple[int, str] | None


def fill_orders(
    bars: Bars,
    side: SideArray,
    bracket: FloatArray,
    account: Account,
    *,
    gate: SideArray | None = None,
    funding: FloatArray | None = None,
    fine: Bars | None = None,
) -> RunResult:
    """Trade a run of decisions over one symbol's history and return everything that happened.

    Parameters
    ----------
    bars, side, bracket, account, gate, funding, fine
        As in `Leg`.

    Raises
    ------
    StrategyError
        If `side`, `bracket` or `gate` has the wrong shape, or a side is not -1, 0 or +1.
    DataError
        If funding or finer bars do not fit the bars.
    ExecutionError
        If a reference price lies outside its bar (F10) or the ledger does not add up: a bug, never a market event.
    """
    return fill_leg(Leg(bars, side, bracket, account, gate, funding, fine))


def fill_leg(leg: Leg) -> RunResult:
    """Trade one symbol on an account of its own; see `fill_orders`."""
    found = fill_portfolio([leg])
    return replace(found.legs[0], equity=found.equity)


def fill_portfolio(legs: Sequence[Leg]) -> PortfolioResult:
    """Trade several symbols on one account; see `fill_orders` for errors.

    Raises
    ------
    ConfigError
        If there is no leg, or the legs' accounts differ in more than instrument and costs.
    """
    if not legs:
        raise ConfigError("a portfolio needs at least one symbol")
    shared = [replace(leg.account, instrument=legs[0].account.instrument, costs=legs[0].account.costs) for leg in legs]
    if any(account != shared[0] for account in shared[1:]):
        raise ConfigError("the symbols of a portfolio share one account: only instrument and costs may differ")
    for leg in legs:
        _check(leg)

    first, time, market, fine, books, curves, rows, step_of = _laid_out(legs)
    failed_at = fill_steps(market, fine, books, curves, rows, step_of, 0, time.size, True)
    if failed_at >= 0:
        symbol = int(np.searchsorted(first, failed_at, side="right")) - 1
        raise ExecutionError(
            f"{legs[symbol].bars.symbol}: a fill at {utc(market.time[failed_at])} UTC refers to a price outside its bar"
        )
    return _result(legs, first, time, step_of, books, curves)


def engine_for(leg: Leg) -> tuple[Market, FineBars, Books, Curves, IntArray, IntArray]:
    """Return what `fill_steps` takes for one symbol, before its first step; for callers that play parts of it."""
    _, _, market, fine, books, curves, rows, step_of = _laid_out([leg])
    return market, fine, books, curves, rows, step_of


def _laid_out(
    legs: Sequence[Leg],
) -> tuple[IntArray, IntArray, Market, FineBars, Books, Curves, IntArray, IntArray]:
    first = np.concatenate(([0], np.cumsum([len(leg.bars) for leg in legs]))).astype(np.int64)
    time, rows, step_of = _steps([leg.bars.time for leg in legs], first)
    n = int(first[-1])
    # Pages that are never touched cost nothing.
    books = Books(
        account=_initial_account(legs[0].account),
        symbols=_initial_symbols(legs, first),
        trades=np.empty(2 * n + len(legs), dtype=TRADE_DTYPE),
        fills=np.empty(FILLS_A_BAR * n + len(legs), dtype=FILL_DTYPE),
        counters=np.zeros(len(COUNTERS), dtype=np.int64),
    )
    curves = Curves(np.empty(time.size), np.zeros(n), np.zeros(n, dtype=np.bool_), np.zeros(n), np.zeros(n))
    return first, time, _market(legs), _fine_bars(legs), books, curves, rows, step_of


def _check(leg: Leg) -> None:
    n = len(leg.bars)
    side, bracket = np.asarray(leg.side), np.asarray(leg.bracket)
    if side.shape != (n,) or bracket.shape != (BRACKET_ROWS, n):
        raise StrategyError(
            f"a strategy must give one side and {BRACKET_ROWS} bracket numbers per bar: for {n} bars found"
            f" side {side.shape} and bracket {bracket.shape}"
        )
    if n and not ((side >= -1) & (side <= 1)).all():
        at = int(np.argmax((side < -1) | (side > 1)))
        raise StrategyError(f"a side must be -1, 0 or +1, found {side[at]} at bar {at} ({utc(leg.bars.time[at])} UTC)")
    if leg.gate is not None and np.shape(leg.gate) != (n,):
        raise StrategyError(f"a regime gate has one value a bar: for {n} bars found {np.shape(leg.gate)}")
    if leg.funding is not None and (np.shape(leg.funding) != (n,) or not np.isfinite(leg.funding).all()):
        raise DataError(f"{leg.bars.symbol}: funding must be one finite rate a bar, {n} of them")


def funding_by_bar(bars: Bars, settled_at: IntArray, rate: FloatArray) -> FloatArray:
    """Return the funding rate each bar's holder pays at its end (F11).

    Parameters
    ----------
    bars : Bars
    settled_at : int64 array, shape (n_settlements,)
        Microseconds UTC, in order. Venues stamp them some milliseconds late: they are taken to the second.
    rate : float64 array, shape (n_settlements,)
        Fractions of the notional; above zero longs pay shorts.

    Returns
    -------
    float64 array, shape (n_bars,)
        A settlement belongs to the last bar that opens before it; those outside the bars are left out.
    """
    second = np.round(settled_at / US_PER_S).astype(np.int64) * US_PER_S
    bar = np.searchsorted(bars.time, second, side="left") - 1
    end = bars.time[-1] + bars.interval_s * US_PER_S if len(bars) else 0
    is_inside = (bar >= 0) & (second <= end)
    return np.bincount(bar[is_inside], weights=rate[is_inside], minlength=len(bars)).astype(np.float64)


def tradable_side(side: SideArray, direction: Direction) -> SideArray:
    """Return the sides the account may take: a forbidden side means flat."""
    side = np.ascontiguousarray(side, dtype=np.int8)
    if direction == "long_only":
        return np.maximum(side, np.int8(0))
    if direction == "short_only":
        return np.minimum(side, np.int8(0))
    return side


def _steps(times: Sequence[IntArray], first: IntArray) -> tuple[IntArray, IntArray, IntArray]:
    """Return (time of each step, flat bar of each symbol in each step or -1, step of each flat bar)."""
    if len(times) == 1:
        every = np.arange(times[0].size, dtype=np.int64)
        return times[0], every[:, None], every
    time = np.unique(np.concatenate(times))
    rows = np.full((time.size, len(times)), -1, dtype=np.int64)
    step_of = np.empty(int(first[-1]), dtype=np.int64)
    for k, own in enumerate(times):
        at = np.searchsorted(time, own)
        step_of[first[k] : first[k + 1]] = at
        rows[at, k] = np.arange(first[k], first[k + 1])
    return time, rows, step_of


def _market(legs: Sequence[Leg]) -> Market:
    gates = [np.ones(len(leg.bars), np.int8) if leg.gate is None else np.asarray(leg.gate, np.int8) for leg in legs]
    rates = [np.zeros(len(leg.bars)) if leg.funding is None else leg.funding for leg in legs]

    def bars(name: str) -> Any:  # Any: int64 or float64
        return _joined([getattr(leg.bars, name) for leg in legs])

    return Market(
        time=bars("time"),
        open=bars("open"),
        high=bars("high"),
        low=bars("low"),
        close=bars("close"),
        volume=bars("volume"),
        side=_joined([tradable_side(leg.side, leg.account.rules.direction) for leg in legs]),
        gate=_joined(gates) if any(leg.gate is not None for leg in legs) else np.empty(0, np.int8),
        bracket=_joined([np.asarray(leg.bracket, np.float64) for leg in legs], axis=1),
        costs=_joined([cost_rows(leg.bars, leg.account.costs, leg.conditions) for leg in legs], axis=1),
        funding=_joined(rates) if any(leg.funding is not None for leg in legs) else np.empty(0),
    )


def _fine_bars(legs: Sequence[Leg]) -> FineBars:
    if legs[0].account.rules.same_bar != "drilldown" or all(leg.fine is None for leg in legs):
        return FineBars(np.empty(0, np.int64), np.empty(0, np.int64), *(np.empty(0) for _ in range(4)))
    found = [_finer(leg) for leg in legs]
    before = np.concatenate(([0], np.cumsum([len(fine) for _, _, fine in found])))
    return FineBars(
        _joined([first + before[k] for k, (first, _, _) in enumerate(found)]),
        _joined([end + before[k] for k, (_, end, _) in enumerate(found)]),
        *(_joined([getattr(fine, name) for _, _, fine in found]) for name in ("open", "high", "low", "volume")),
    )


def _joined(parts: Sequence[npt.NDArray[Any]], axis: int = 0) -> Any:  # Any: as the parts
    return np.ascontiguousarray(parts[0] if len(parts) == 1 else np.concatenate(parts, axis=axis))


def _finer(leg: Leg) -> tuple[IntArray, IntArray, Bars]:
    """Return (first, end) of each bar's finer bars, and those bars.

    Raises
    ------
    DataError
        If the finer bars are not finer, or reach beyond the bar they belong to: then they are another market.
    """
    bars, fine = leg.bars, leg.fine
    if fine is None:
        return np.zeros(len(bars), np.int64), np.zeros(len(bars), np.int64), bars[:0]
    if fine.interval_s >= bars.interval_s or bars.interval_s % fine.interval_s:
        raise DataError(f"{bars.symbol}: drilldown from {bars.timeframe} needs finer bars, found {fine.timeframe}")
    first = np.searchsorted(fine.time, bars.time)
    end = np.searchsorted(fine.time, bars.time + bars.interval_s * US_PER_S)
    owner = np.repeat(np.arange(len(bars)), end - first)
    inside = np.concatenate([np.arange(a, b) for a, b in zip(first, end, strict=True)]) if len(bars) else owner
    is_beyond = (fine.high[inside] > bars.high[owner]) | (fine.low[inside] < bars.low[owner])
    if is_beyond.any():
        at = int(np.argmax(is_beyond))
        raise DataError(
            f"{bars.symbol}: the {fine.timeframe} bar at {utc(fine.time[inside[at]])} UTC reaches beyond its"
            f" {bars.timeframe} bar; use finer bars of the same source"
        )
    return first.astype(np.int64), end.astype(np.int64), fine


def _initial_account(account: Account) -> Rows:
    row = np.zeros(1, dtype=ACCOUNT_DTYPE)
    row["cash"] = row["last_equity"] = row["day_start"] = account.initial_capital
    row["ruined_at"] = row["rejected_since"] = row["cooldown_until"] = -1
    row["day"] = np.iinfo(np.int64).min
    return row


def _initial_symbols(legs: Sequence[Leg], first: IntArray) -> Rows:
    """Return one row a symbol with its terms in it, flat."""
    rows = np.zeros(len(legs), dtype=SYMBOL_DTYPE)
    cost_base = 0
    for k, leg in enumerate(legs):
        account, instrument = leg.account, leg.account.instrument
        sizing, rules, limits = account.sizing, account.rules, account.limits
        tick, lot = Step.of(instrument.tick), Step.of(instrument.lot)
        session_start, session_end = rules.session_minutes
        varies = varies_by_bar(account.costs)
        for name, value in {
            "tick_num": tick.numerator,
            "tick_den": tick.denominator,
            "lot_num": lot.numerator,
            "lot_den": lot.denominator,
            "min_notional": instrument.min_notional,
            "maintenance": instrument.maintenance_margin,
            "liquidation_fee": instrument.liquidation_fee_bps * BPS,
            "borrow_rate": account.costs.borrow_bps_hour * BPS if instrument.market == "spot" else 0.0,
            "initial_capital": account.initial_capital,
            "risk": sizing.risk,
            "max_gross": sizing.max_gross,
            "fraction": sizing.fraction,
            "fixed_qty": sizing.qty,
            "leverage": account.leverage,
            "max_participation": rules.max_participation,
            "daily_loss": limits.daily_loss,
            "max_symbol_exposure": limits.max_symbol_exposure,
            "max_total_exposure": limits.max_total_exposure,
            "mode": MODES[sizing.mode],
            "latency_bars": rules.latency_bars,
            "same_bar": SAME_BAR[rules.same_bar],
            "order_bars": rules.order_bars,
            "session_start": session_start,
            "session_end": session_end,
            "cooldown_losses": limits.cooldown_losses,
            "cooldown_bars": limits.cooldown_bars,
            "interval_us": leg.bars.interval_s * US_PER_S,
            "cost_base": cost_base - (int(first[k]) if varies else 0),
            "cost_stride": varies,
            "first_bar": first[k],
            "last_bar": first[k + 1] - 1,
            "compound": sizing.compound,
            "reentry_edge": rules.reentry == "edge",
            "bar": -1,
        }.items():
            rows[k][name] = value
        cost_base += len(leg.bars) if varies else 1
    for name in ("stop", "target", "trail", "break_even", "max_bars", "todo_limit", "order_limit"):
        rows[name] = np.nan
    return rows


def _result(
    legs: Sequence[Leg], first: IntArray, time: IntArray, step_of: IntArray, books: Books, curves: Curves
) -> PortfolioResult:
    account = books.account[0]
    counters = {name: int(count) for name, count in zip(COUNTERS, books.counters, strict=True)}
    stopped = None
    if account["ruined_at"] >= 0:
        stopped = int(account["ruined_at"]), "ruin"
    elif account["rejected_since"] >= 0:
        stopped = int(account["rejected_since"]), "min_notional"
    trades, fills = books.trades[: account["n_trades"]], books.fills[: account["n_fills"]]
    found = []
    for k, leg in enumerate(legs):
        own = slice(int(first[k]), int(first[k + 1]))
        own_fills = _columns(Fills, fills[fills["symbol"] == k], {"bar": own.start})
        shift = dict.fromkeys(("decision_bar", "entry_bar", "exit_bar"), own.start)
        ledger = ledger_of(leg.bars, own_fills, curves.qty[own], curves.funding[own], curves.borrow[own])
        capital = leg.account.initial_capital
        found.append(
            RunResult(
                bars=leg.bars,
                account=leg.account,
                equity=capital + np.cumsum(ledger.net),
                qty=curves.qty[own],
                held=curves.held[own],
                trades=_columns(Trades, trades[trades["symbol"] == k], shift),
                fills=own_fills,
                ledger=ledger,
                counters=counters,
                stopped=stopped if stopped is None or len(legs) == 1 else _own_stop(stopped, time, leg.bars),
            )
        )
    check_ledger(found, step_of, curves.equity, legs[0].account.initial_capital, float(account["debt"]), stopped)
    return PortfolioResult(time, curves.equity, tuple(found), counters, stopped)


def _own_stop(stopped: tuple[int, str], time: IntArray, bars: Bars) -> tuple[int, str]:
    """The step in which the account stopped, as a bar of one symbol: the last one that opened by then."""
    return max(int(np.searchsorted(bars.time, time[stopped[0]], side="right")) - 1, 0), stopped[1]


def _columns(kind: Any, rows: Rows, shift: dict[str, int]) -> Any:  # Any: Trades or Fills, filled by field name
    names = [name for name in rows.dtype.names or () if name != "symbol"]
    return kind(
        **{name: np.ascontiguousarray(rows[name] - shift[name] if name in shift else rows[name]) for name in names}
    )
