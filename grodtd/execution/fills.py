"""From decisions to fills to cash: the strict engine (rules F0-F6, F8 for zero volume, F9, F10, F12).

docs/fills.md is the contract, in the order of the code below. The engine takes arrays, never a rule, and runs any
stretch of bars from a state: history in one call, or one bar a call for a paper broker.
"""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from grodtd.domain.bars import Bars, FloatArray, IntArray, SideArray, utc
from grodtd.domain.errors import ExecutionError, StrategyError
from grodtd.domain.kernel import kernel
from grodtd.domain.market import BPS, Account, Direction, Step
from grodtd.domain.run import COUNTERS, ExitReason, RunResult, Trades

# Rows of the bracket array.
STOP, TARGET, TRAIL = 0, 1, 2
BRACKET_ROWS: Final = 3

_RISK, _FRACTION, _FIXED_QTY, _ALL_IN_WHOLE = range(4)
_MODES: Final = {"risk": _RISK, "fraction": _FRACTION, "fixed_qty": _FIXED_QTY, "all_in_whole": _ALL_IN_WHOLE}

_STOP_LOSS: Final = int(ExitReason.STOP_LOSS)
_TAKE_PROFIT: Final = int(ExitReason.TAKE_PROFIT)
_TRAIL_STOP: Final = int(ExitReason.TRAIL)
_SIGNAL: Final = int(ExitReason.SIGNAL)
_REVERSE: Final = int(ExitReason.REVERSE)
_LIQUIDATION: Final = int(ExitReason.LIQUIDATION)
_END_OF_DATA: Final = int(ExitReason.END_OF_DATA)

_ENTRIES, _NO_STOP, _MIN_NOTIONAL, _NO_CASH, _REDUCED, _AMBIGUOUS, _WAITED = range(len(COUNTERS))

# Cash may fall short by float noise of the size formula itself; that is no shortage.
_CASH_NOISE: Final = 1e-12
_STEP_NOISE: Final = 1e-9
_PRICE_NOISE: Final = 1e-12

# One row of a structured array: numba reads and writes its fields by name.
Record = Any

TERMS_DTYPE: Final = np.dtype(
    [
        (name, np.float64)
        for name in (
            *("taker", "maker", "spread_and_slippage", "tick_num", "tick_den", "lot_num", "lot_den"),
            *("min_notional", "initial_capital", "risk", "max_gross", "fraction", "qty"),
        )
    ]
    + [("mode", np.int64), ("latency_bars", np.int64), ("compound", np.bool_), ("reentry_edge", np.bool_)]
)

STATE_DTYPE: Final = np.dtype(
    [
        ("cash", np.float64),
        ("side", np.int64),  # of the open position; 0 when flat
        ("qty", np.float64),
        ("entry_ref", np.float64),
        ("entry_price", np.float64),
        ("entry_fee", np.float64),
        ("stop", np.float64),  # levels; nan when absent
        ("target", np.float64),
        ("trail", np.float64),  # distance; nan when absent
        ("extreme", np.float64),
        ("decision_bar", np.int64),
        ("entry_bar", np.int64),
        ("capped", np.bool_),
        ("blocked_side", np.int64),  # of the last bracket exit; 0 when none restricts re-entry
        ("blocked_since", np.int64),
        ("edge_seen", np.bool_),
        ("waiting_side", np.int64),  # of an entry order held up by zero volume; 0 when none
        ("waiting_since", np.int64),  # its decision bar
        ("ruined_at", np.int64),  # -1 while solvent
        ("rejected_since", np.int64),  # first bar of the unbroken run of rejections for lack of money; -1 when none
        ("n_trades", np.int64),
    ]
)

TRADE_DTYPE: Final = np.dtype(
    [
        ("decision_bar", np.int64),
        ("entry_bar", np.int64),
        ("exit_bar", np.int64),
        ("side", np.int8),
        ("qty", np.float64),
        ("entry_ref", np.float64),
        ("exit_ref", np.float64),
        ("entry_price", np.float64),
        ("exit_price", np.float64),
        ("entry_fee", np.float64),
        ("exit_fee", np.float64),
        ("stop", np.float64),
        ("target", np.float64),
        ("exit_reason", np.int8),
        ("ambiguous", np.bool_),
        ("capped", np.bool_),
    ]
)


def fill_orders(bars: Bars, side: SideArray, bracket: FloatArray, account: Account) -> RunResult:
    """Trade a run of decisions over history and return everything that happened.

    Parameters
    ----------
    bars : Bars
        The bars to trade, in order.
    side : int8 array, shape (n_bars,)
        Wanted side after each close: +1, -1 or 0 (F0).
    bracket : float64 array, shape (3, n_bars)
        Rows `STOP`, `TARGET`, `TRAIL`: distances in price as of each close; nan or <= 0 means absent.
    account : Account
        Instrument, costs, sizing, rules and initial capital.

    Returns
    -------
    RunResult

    Raises
    ------
    StrategyError
        If `side` or `bracket` has the wrong shape, or a side is not -1, 0 or +1.
    ExecutionError
        If a reference price lies outside its bar (F10): a bug, never a market event.
    """
    n = len(bars)
    side = np.ascontiguousarray(side, dtype=np.int8)
    bracket = np.ascontiguousarray(bracket, dtype=np.float64)
    if side.shape != (n,) or bracket.shape != (BRACKET_ROWS, n):
        raise StrategyError(
            f"a strategy must give one side and {BRACKET_ROWS} bracket distances per bar: for {n} bars found"
            f" side {side.shape} and bracket {bracket.shape}"
        )
    if n and not ((side >= -1) & (side <= 1)).all():
        at = int(np.argmax((side < -1) | (side > 1)))
        raise StrategyError(f"a side must be -1, 0 or +1, found {side[at]} at bar {at} ({utc(bars.time[at])} UTC)")

    state = initial_state(account)
    equity, qty, held = np.empty(n), np.empty(n), np.empty(n, dtype=np.bool_)
    trades = np.empty(n, dtype=TRADE_DTYPE)  # at most one entry a bar; untouched pages cost nothing
    counters = np.zeros(len(COUNTERS), dtype=np.int64)
    # A zero-length run still needs the arrays above; the kernel has nothing to do.
    failed_at = _fill_bars(
        bars.open,
        bars.high,
        bars.low,
        bars.close,
        bars.volume,
        tradable_side(side, account.rules.direction),
        bracket,
        terms_of(account),
        state,
        equity,
        qty,
        held,
        trades,
        counters,
        0,
        n,
        True,
    )
    if failed_at >= 0:
        raise ExecutionError(
            f"{bars.symbol}: a fill at {utc(bars.time[failed_at])} UTC refers to a price outside its bar"
        )
    return RunResult(
        bars=bars,
        account=account,
        equity=equity,
        qty=qty,
        held=held,
        trades=_trades(trades[: int(state[0]["n_trades"])]),
        counters={name: int(count) for name, count in zip(COUNTERS, counters, strict=True)},
        stopped=_stopped(state),
    )


def tradable_side(side: SideArray, direction: Direction) -> SideArray:
    """Return the sides the account may take: a forbidden side means flat."""
    if direction == "long_only":
        return np.maximum(side, np.int8(0))
    if direction == "short_only":
        return np.minimum(side, np.int8(0))
    return side


def terms_of(account: Account) -> npt.NDArray[np.void]:
    """Return the account's numbers as one record the kernel reads, shape (1,)."""
    costs, sizing = account.costs, account.sizing
    tick, lot = Step.of(account.instrument.tick), Step.of(account.instrument.lot)
    terms = np.zeros(1, dtype=TERMS_DTYPE)
    for name, value in {
        "taker": costs.taker_bps * BPS,
        "maker": costs.maker_bps * BPS,
        "spread_and_slippage": (costs.half_spread_bps + costs.slippage_bps) * BPS,
        "tick_num": tick.numerator,
        "tick_den": tick.denominator,
        "lot_num": lot.numerator,
        "lot_den": lot.denominator,
        "min_notional": account.instrument.min_notional,
        "initial_capital": account.initial_capital,
        "risk": sizing.risk,
        "max_gross": sizing.max_gross,
        "fraction": sizing.fraction,
        "qty": sizing.qty,
        "mode": _MODES[sizing.mode],
        "latency_bars": account.rules.latency_bars,
        "compound": sizing.compound,
        "reentry_edge": account.rules.reentry == "edge",
    }.items():
        terms[name] = value
    return terms


def initial_state(account: Account) -> npt.NDArray[np.void]:
    """Return the state of an account that has not traded, shape (1,)."""
    state = np.zeros(1, dtype=STATE_DTYPE)
    state["cash"] = account.initial_capital
    state["ruined_at"] = state["rejected_since"] = -1
    for name in ("stop", "target", "trail"):
        state[name] = np.nan
    return state


def _trades(rows: npt.NDArray[np.void]) -> Trades:
    return Trades(**{name: np.ascontiguousarray(rows[name]) for name in TRADE_DTYPE.names or ()})


def _stopped(state: npt.NDArray[np.void]) -> tuple[int, str] | None:
    if state[0]["ruined_at"] >= 0:
        return int(state[0]["ruined_at"]), "ruin"
    if state[0]["rejected_since"] >= 0:
        return int(state[0]["rejected_since"]), "min_notional"
    return None


@kernel
def _whole_steps(value: float, numerator: float, denominator: float, up: bool) -> float:
    """Round to a multiple of numerator / denominator, forgiving float noise; numerator 0 means no rounding."""
    if numerator == 0.0:
        return value
    steps = value * denominator / numerator
    nearest = math.floor(steps + 0.5)
    if abs(steps - nearest) <= _STEP_NOISE * max(1.0, abs(steps)):
        whole = float(nearest)
    else:
        whole = float(math.ceil(steps)) if up else float(math.floor(steps))
    return whole * numerator / denominator


@kernel
def _market_price(reference: float, is_buy: bool, terms: Record) -> float:
    """Fill price of a market order or stop: worse than the reference, then rounded against us (F1, F9)."""
    worse = terms["spread_and_slippage"] if is_buy else -terms["spread_and_slippage"]
    return _whole_steps(reference * (1.0 + worse), terms["tick_num"], terms["tick_den"], is_buy)


@kernel
def _stop_level(state: Record, terms: Record) -> float:
    """The stop in force: the tighter of stop and trail, nan if neither exists (F3, F6)."""
    if math.isnan(state["trail"]):
        return float(state["stop"])
    side = state["side"]
    trail = _whole_steps(state["extreme"] - side * state["trail"], terms["tick_num"], terms["tick_den"], side < 0)
    if math.isnan(state["stop"]) or side * (trail - state["stop"]) > 0.0:
        return trail
    return float(state["stop"])


@kernel
def _is_through(side: int, price: float, target: float, terms: Record) -> bool:
    """Whether the market traded through a resting exit: by a tick, or strictly beyond if none is declared (F4)."""
    if terms["tick_num"] == 0.0:
        return bool(side * (price - target) > 0.0)
    tick = terms["tick_num"] / terms["tick_den"]
    # The difference of two prices carries the float noise of the prices: at 140,000 that is 3e-9 of a tick of 0.01.
    return bool(side * (price - target) >= tick - _STEP_NOISE * tick - _PRICE_NOISE * price)


@kernel
def _close(
    state: Record,
    terms: Record,
    trades: npt.NDArray[np.void],
    t: int,
    reference: float,
    reason: int,
    ambiguous: bool,
) -> None:
    """Book the exit of the open position: market price and taker fee, or the limit itself and maker fee."""
    side = state["side"]
    if reason == _TAKE_PROFIT:
        price = reference
        fee = terms["maker"] * state["qty"] * price
    else:
        price = _market_price(reference, side < 0, terms)
        fee = terms["taker"] * state["qty"] * price
    state["cash"] += side * state["qty"] * price - fee

    trade = trades[state["n_trades"]]
    trade["decision_bar"] = state["decision_bar"]
    trade["entry_bar"] = state["entry_bar"]
    trade["exit_bar"] = t
    trade["side"] = side
    trade["qty"] = state["qty"]
    trade["entry_ref"] = state["entry_ref"]
    trade["exit_ref"] = reference
    trade["entry_price"] = state["entry_price"]
    trade["exit_price"] = price
    trade["entry_fee"] = state["entry_fee"]
    trade["exit_fee"] = fee
    trade["stop"] = state["stop"]
    trade["target"] = state["target"]
    trade["exit_reason"] = reason
    trade["ambiguous"] = ambiguous
    trade["capped"] = state["capped"]
    state["n_trades"] += 1

    if reason in (_STOP_LOSS, _TAKE_PROFIT, _TRAIL_STOP):
        state["blocked_side"] = side
        state["blocked_since"] = t
        state["edge_seen"] = False
    state["side"] = 0
    state["qty"] = 0.0


@kernel
def _stop_reason(state: Record, level: float) -> int:
    """TRAIL where the trailing level, not the original stop, set the level in force."""
    return _STOP_LOSS if level == state["stop"] else _TRAIL_STOP


@kernel
def _may_enter(state: Record, terms: Record, wanted: int, decision: int) -> bool:
    """Whether re-entry is allowed after the last bracket exit (F0)."""
    if wanted != state["blocked_side"]:
        return True
    return decision >= state["blocked_since"] and (state["edge_seen"] or not terms["reentry_edge"])


@kernel
def _enter(
    state: Record,
    terms: Record,
    counters: IntArray,
    wanted: int,
    decision: int,
    t: int,
    open_price: float,
    decision_close: float,
    decision_equity: float,
    stop: float,
    target: float,
    trail: float,
) -> None:
    """Size and book an entry at the open, or count why there is none (F12)."""
    mode = terms["mode"]
    tick = terms["tick_num"] / terms["tick_den"]
    price = _market_price(open_price, wanted > 0, terms)
    unit_cost = price * (1.0 + terms["taker"])
    capital = decision_equity if terms["compound"] else terms["initial_capital"]
    capped = False

    if mode == _RISK:
        if not stop > 0.0 or stop < tick:
            counters[_NO_STOP] += 1
            state["rejected_since"] = -1
            return
        by_risk = terms["risk"] * capital / stop
        by_gross = terms["max_gross"] * capital / decision_close
        capped = by_gross < by_risk
        asked = min(by_risk, by_gross)
    elif mode == _FRACTION:
        asked = terms["fraction"] * capital / decision_close
    elif mode == _FIXED_QTY:
        asked = terms["qty"]
    else:
        asked = max(state["cash"], 0.0) / (price + terms["taker"] * price)

    if mode == _ALL_IN_WHOLE:
        qty = float(math.floor(asked))
    else:
        qty = _whole_steps(asked, terms["lot_num"], terms["lot_den"], False)
        if qty * unit_cost > state["cash"] * (1.0 + _CASH_NOISE):
            counters[_REDUCED] += 1
            asked = max(state["cash"], 0.0) / unit_cost
            qty = _whole_steps(asked, terms["lot_num"], terms["lot_den"], False)

    if qty <= 0.0 or qty * price < terms["min_notional"]:
        counters[_NO_CASH if asked <= 0.0 else _MIN_NOTIONAL] += 1
        if state["rejected_since"] < 0:
            state["rejected_since"] = t
        return

    fee = terms["taker"] * qty * price
    state["cash"] -= wanted * qty * price + fee
    state["side"] = wanted
    state["qty"] = qty
    state["entry_ref"] = open_price
    state["entry_price"] = price
    state["entry_fee"] = fee
    state["decision_bar"] = decision
    state["entry_bar"] = t
    state["capped"] = capped
    state["extreme"] = price
    is_short = wanted < 0
    state["stop"] = math.nan
    state["target"] = math.nan
    state["trail"] = math.nan
    if stop > 0.0:
        state["stop"] = _whole_steps(price - wanted * stop, terms["tick_num"], terms["tick_den"], is_short)
    if target > 0.0:
        state["target"] = _whole_steps(price + wanted * target, terms["tick_num"], terms["tick_den"], is_short)
    if trail > 0.0:
        state["trail"] = trail
    state["blocked_side"] = 0
    state["rejected_since"] = -1
    counters[_ENTRIES] += 1


@kernel
def _fill_bars(
    open_: FloatArray,
    high: FloatArray,
    low: FloatArray,
    close: FloatArray,
    volume: FloatArray,
    side: SideArray,
    bracket: FloatArray,
    terms_row: npt.NDArray[np.void],
    state_row: npt.NDArray[np.void],
    equity: FloatArray,
    qty: FloatArray,
    held: npt.NDArray[np.bool_],
    trades: npt.NDArray[np.void],
    counters: IntArray,
    first: int,
    end: int,
    close_at_end: bool,
) -> int:
    """Process bars [first, end) from `state_row`; return the bar of a violated F10, or -1."""
    terms = terms_row[0]
    state = state_row[0]
    for t in range(first, end):
        if state["ruined_at"] >= 0:
            equity[t], qty[t], held[t] = 0.0, 0.0, False
            continue
        # F10: then every reference price lies in its bar, for a stop fills between the open and the low or high.
        if not (low[t] <= open_[t] <= high[t] and low[t] <= close[t] <= high[t]):
            return t
        decision = t - 1 - terms["latency_bars"]
        wanted = int(side[decision]) if decision >= 0 else 0
        if state["blocked_side"] != 0 and decision >= state["blocked_since"] and wanted != state["blocked_side"]:
            state["edge_seen"] = True

        if volume[t] > 0.0:
            o, h, l = open_[t], high[t], low[t]  # noqa: E741 the field's letters

            # 1. Levels against the open.
            if state["side"] != 0:
                s = state["side"]
                level = _stop_level(state, terms)
                if s * (o - level) <= 0.0:  # false for nan
                    _close(state, terms, trades, t, o, _stop_reason(state, level), False)
                elif _is_through(s, o, state["target"], terms):
                    _close(state, terms, trades, t, state["target"], _TAKE_PROFIT, False)

            # 2. The decision at the open.
            if state["side"] != 0 and wanted != state["side"]:
                _close(state, terms, trades, t, o, _SIGNAL if wanted == 0 else _REVERSE, False)
            if state["side"] == 0 and wanted != 0:
                if state["waiting_side"] == wanted:
                    decision = state["waiting_since"]
                if _may_enter(state, terms, wanted, decision):
                    if state["waiting_side"] == wanted:
                        counters[_WAITED] += 1
                    _enter(
                        state,
                        terms,
                        counters,
                        wanted,
                        decision,
                        t,
                        o,
                        close[decision],
                        equity[decision],
                        bracket[STOP, decision],
                        bracket[TARGET, decision],
                        bracket[TRAIL, decision],
                    )
            state["waiting_side"] = 0
            held[t] = state["side"] != 0

            # 3. The rest of the bar.
            if state["side"] != 0:
                s = state["side"]
                level = _stop_level(state, terms)
                worst, best = (l, h) if s > 0 else (h, l)
                is_stopped = s * (worst - level) <= 0.0
                is_target = _is_through(s, best, state["target"], terms)
                if is_stopped:
                    # An entry's slippage can exceed its stop distance: then the open is already beyond the stop.
                    reference = level if s * (o - level) > 0.0 else o
                    counters[_AMBIGUOUS] += is_target
                    _close(state, terms, trades, t, reference, _stop_reason(state, level), is_target)
                elif is_target:
                    _close(state, terms, trades, t, state["target"], _TAKE_PROFIT, False)
                else:
                    state["extreme"] = max(state["extreme"], h) if s > 0 else min(state["extreme"], l)
        else:
            held[t] = state["side"] != 0
            is_waiting = state["side"] == 0 and wanted != 0
            if is_waiting and state["waiting_side"] != wanted:
                is_waiting = _may_enter(state, terms, wanted, decision)
                state["waiting_since"] = decision
            state["waiting_side"] = wanted if is_waiting else 0

        # 4. The last bar of the data.
        if close_at_end and t == end - 1 and state["side"] != 0:
            _close(state, terms, trades, t, close[t], _END_OF_DATA, False)

        # 5. Mark.
        marked = state["cash"] + state["side"] * state["qty"] * close[t]
        if marked <= 0.0:
            if state["side"] != 0:
                _close(state, terms, trades, t, close[t], _LIQUIDATION, False)
            state["ruined_at"] = t
            state["cash"] = 0.0
            marked = 0.0
        equity[t] = marked
        qty[t] = state["side"] * state["qty"]
    return -1
