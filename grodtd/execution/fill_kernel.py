"""The compiled fill engine: every event of docs/fills.md, in the order of that page.

It runs any stretch of steps from a state: history in one call, or one step a call for a paper broker. A symbol is one
record (its terms, its position, the bar it is in), because records travel between functions as one pointer.
"""

from __future__ import annotations

import math
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from grodtd.domain.bars import DAY_S, US_PER_S, FloatArray, IntArray, SideArray
from grodtd.domain.kernel import kernel
from grodtd.domain.run import COUNTERS, ExitReason
from grodtd.execution.costs import HALF_SPREAD, IMPACT, MAKER, SLIPPAGE, TAKER

# Rows of the bracket array.
STOP, TARGET, TRAIL, BREAK_EVEN, LIMIT, MAX_BARS = range(6)

_RISK, _FRACTION, _FIXED_QTY, _ALL_IN_WHOLE = range(4)
MODES: Final = {"risk": _RISK, "fraction": _FRACTION, "fixed_qty": _FIXED_QTY, "all_in_whole": _ALL_IN_WHOLE}
_STOP_FIRST, _TARGET_FIRST, _OHLC_PATH, _DRILLDOWN = range(4)
SAME_BAR: Final = {
    "stop_first": _STOP_FIRST,
    "target_first": _TARGET_FIRST,
    "ohlc_path": _OHLC_PATH,
    "drilldown": _DRILLDOWN,
}

_ENTRY: Final = 0
_STOP_LOSS: Final = int(ExitReason.STOP_LOSS)
_TAKE_PROFIT: Final = int(ExitReason.TAKE_PROFIT)
_TRAIL_STOP: Final = int(ExitReason.TRAIL)
_SIGNAL: Final = int(ExitReason.SIGNAL)
_REVERSE: Final = int(ExitReason.REVERSE)
_TIME: Final = int(ExitReason.TIME)
_EOD: Final = int(ExitReason.EOD)
_HALTED: Final = int(ExitReason.RISK)
_LIQUIDATION: Final = int(ExitReason.LIQUIDATION)
_RUIN: Final = 99  # becomes LIQUIDATION, without the venue's fee for it
_END_OF_DATA: Final = int(ExitReason.END_OF_DATA)

(
    _ENTRIES,
    _NO_STOP,
    _MIN_NOTIONAL,
    _NO_CASH,
    _NO_EXPOSURE,
    _REDUCED,
    _REDUCED_EXPOSURE,
    _AMBIGUOUS,
    _WAITED,
    _PARTIAL,
    _EXPIRED,
    _GATED,
    _HALTS,
    _COOLDOWNS,
) = range(len(COUNTERS))

# What a bar did to a position.
_NEITHER, STOPPED, REACHED, _NO_ENTRY = range(4)

# Cash may fall short by float noise of the size formula itself; that is no shortage.
_CASH_NOISE: Final = 1e-12
_STEP_NOISE: Final = 1e-9
_PRICE_NOISE: Final = 1e-12
_HOUR_US: Final = 3_600 * US_PER_S
_DAY_US: Final = DAY_S * US_PER_S
_MINUTE_US: Final = 60 * US_PER_S
FILLS_A_BAR: Final = 6  # exit at the open, entry, more of it, two exits inside the bar, end of data

# One row of a structured array: numba reads and writes its fields by name.
Record = Any

Rows = npt.NDArray[np.void]

ACCOUNT_DTYPE: Final = np.dtype(
    [
        ("cash", np.float64),
        ("last_equity", np.float64),  # after the step before
        ("day_start", np.float64),
        ("debt", np.float64),  # below zero at ruin, and forgiven
        ("day", np.int64),
        ("ruined_at", np.int64),  # step; -1 while solvent
        ("rejected_since", np.int64),  # first step of the unbroken run of rejections for lack of money; -1 when none
        ("losses", np.int64),  # in a row
        ("cooldown_until", np.int64),  # last step without entries
        ("n_trades", np.int64),
        ("n_fills", np.int64),
        ("halted", np.bool_),
    ]
)

# One row a symbol: its terms, its position, and the bar it is in.
SYMBOL_DTYPE: Final = np.dtype(
    [
        (name, np.float64)
        for name in (
            # Terms.
            *("tick_num", "tick_den", "lot_num", "lot_den", "min_notional"),
            *("maintenance", "liquidation_fee", "borrow_rate", "initial_capital"),
            *("risk", "max_gross", "fraction", "fixed_qty", "leverage", "max_participation"),
            *("daily_loss", "max_symbol_exposure", "max_total_exposure"),
            # Position; nan where a level is absent.
            *("qty", "entry_qty", "entry_ref", "entry_price", "entry_fee"),
            *("exit_qty", "exit_ref", "exit_price", "exit_fee", "funding", "borrow"),
            *("first_price", "stop", "target", "trail", "break_even", "max_bars", "extreme"),
            *("todo", "todo_limit"),  # what is left of the entry order; its limit, nan for a market order
            # The decision an entry order comes from.
            *("order_close", "order_equity", "order_stop", "order_target", "order_trail", "order_break_even"),
            *("order_max_bars", "order_limit"),
            # The bar.
            *("open", "high", "low", "close", "volume", "mark", "room"),
            *("taker", "maker", "half_spread", "slippage", "impact", "borrow_paid"),
        )
    ]
    + [
        (name, np.int64)
        for name in (
            # Terms.
            *("mode", "latency_bars", "same_bar", "order_bars", "session_start", "session_end"),
            *("cooldown_losses", "cooldown_bars", "interval_us", "cost_base", "cost_stride", "first_bar", "last_bar"),
            # Position.
            "side",  # 0 when flat
            *("decision_bar", "entry_bar", "entry_time", "hours_charged"),
            "number",  # of the trade, by symbol
            "closing",  # reason of an exit the volume cap has cut; 0 when none
            "blocked_side",  # of the last restricting exit; 0 when none restricts re-entry
            "blocked_since",
            "waiting_side",  # of an entry order held up by a lack of volume; 0 when none
            "waiting_since",  # its decision bar
            "order_bar",  # its decision bar
            # The bar.
            *("bar", "time", "wanted"),
        )
    ]
    + [
        (name, np.bool_)
        for name in (
            *("compound", "reentry_edge"),
            *("capped", "ambiguous", "edge_seen", "wait_counted"),
            "resting",  # a limit entry may fill inside this bar
            "tried",  # the entry order has had its chance in this bar
            "inside",  # entered by a limit inside this bar
        )
    ]
)

TRADE_DTYPE: Final = np.dtype(
    [
        ("symbol", np.int64),
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
        ("funding", np.float64),
        ("borrow", np.float64),
        ("stop", np.float64),
        ("target", np.float64),
        ("exit_reason", np.int8),
        ("ambiguous", np.bool_),
        ("capped", np.bool_),
    ]
)

FILL_DTYPE: Final = np.dtype(
    [
        ("symbol", np.int64),
        ("bar", np.int64),
        ("trade", np.int64),
        ("side", np.int8),
        ("qty", np.float64),
        ("ref", np.float64),
        ("price", np.float64),
        ("fee", np.float64),
        ("spread", np.float64),
        ("impact", np.float64),
        ("reason", np.int8),
    ]
)


class Market(NamedTuple):
    """Everything given, flat over symbols: bars of symbol 0, then of symbol 1, ..."""

    time: IntArray
    open: FloatArray
    high: FloatArray
    low: FloatArray
    close: FloatArray
    volume: FloatArray
    side: SideArray
    gate: SideArray  # empty: every entry is allowed
    bracket: FloatArray
    costs: FloatArray
    funding: FloatArray  # empty: none


class FineBars(NamedTuple):
    """Finer bars for drilldown; those of bar t are [first[t], end[t]). Empty: none."""

    first: IntArray
    end: IntArray
    open: FloatArray
    high: FloatArray
    low: FloatArray
    volume: FloatArray


class Books(NamedTuple):
    """What changes, and what is written down. Few arrays: every function below takes them."""

    account: Rows
    symbols: Rows
    trades: Rows
    fills: Rows
    counters: IntArray


class Curves(NamedTuple):
    """What is written at the end of each step or bar."""

    equity: FloatArray  # by step
    qty: FloatArray
    held: npt.NDArray[np.bool_]
    funding: FloatArray
    borrow: FloatArray


@kernel
def whole_steps(value: float, numerator: float, denominator: float, up: bool) -> float:
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
def is_through(tick: float, side: int, price: float, target: float) -> bool:
    """Whether the market traded through a resting exit: by a tick, or strictly beyond if that is 0 (F4)."""
    if tick == 0.0:
        return side * (price - target) > 0.0
    # The difference of two prices carries the float noise of the prices: at 140,000 that is 3e-9 of a tick of 0.01.
    return side * (price - target) >= tick - _STEP_NOISE * tick - _PRICE_NOISE * price


@kernel
def bar_outcome(
    same_bar: int, side: int, open_: float, high: float, low: float, level: float, is_stopped: bool, is_reached: bool
) -> tuple[int, float, bool]:
    """What a bar that touched stop, target or both did to a position held since its open (F3, F5).

    Returns the outcome, the reference price of a stop, and whether that hinges on the order inside the bar.
    """
    if not is_stopped:
        return REACHED, level, False
    # An entry's slippage can exceed its stop distance: then the open is already beyond the stop.
    if side * (open_ - level) <= 0.0:
        return STOPPED, open_, is_reached
    is_high_first = high - open_ < open_ - low
    if is_reached and (same_bar == _TARGET_FIRST or (same_bar == _OHLC_PATH and is_high_first == (side > 0))):
        return REACHED, level, True
    return STOPPED, level, is_reached


@kernel
def _whole_lots(qty: float, symbol: Record) -> float:
    return whole_steps(qty, symbol["lot_num"], symbol["lot_den"], False)


@kernel
def _snapped(qty: float, symbol: Record) -> float:
    """A sum or difference of whole lots without its float noise; anything else as it is."""
    if symbol["lot_num"] == 0.0:
        return qty
    lots = qty * symbol["lot_den"] / symbol["lot_num"]
    nearest = math.floor(lots + 0.5)
    if abs(lots - nearest) <= _STEP_NOISE * max(1.0, abs(lots)):
        return float(nearest * symbol["lot_num"] / symbol["lot_den"])
    return qty


@kernel
def _market_price(symbol: Record, reference: float, direction: int, qty: float) -> float:
    """Fill price of a market order or stop: worse than the reference, then rounded against us (F1, F9)."""
    worse = symbol["half_spread"] + symbol["slippage"]
    if symbol["impact"] > 0.0:
        worse += symbol["impact"] * math.sqrt(qty)
    return whole_steps(reference * (1.0 + direction * worse), symbol["tick_num"], symbol["tick_den"], direction > 0)


@kernel
def _level(symbol: Record, price: float, side: int) -> float:
    """A price at which a position of this side is left, on the tick, away from our favour (F9)."""
    return whole_steps(price, symbol["tick_num"], symbol["tick_den"], side < 0)


@kernel
def _is_through(symbol: Record, side: int, price: float, target: float) -> bool:
    """Whether the market traded through a resting exit: by a tick, or strictly beyond if none is declared (F4)."""
    return is_through(symbol["tick_num"] / symbol["tick_den"], side, price, target)


@kernel
def _equity_now(books: Books) -> float:
    total = books.account[0]["cash"]
    for k in range(books.symbols.size):
        symbol = books.symbols[k]
        total += symbol["side"] * symbol["qty"] * symbol["mark"]
    return float(total)


@kernel
def _gross_now(books: Books) -> float:
    total = 0.0
    for k in range(books.symbols.size):
        total += books.symbols[k]["qty"] * books.symbols[k]["mark"]
    return float(total)


@kernel
def _exit_level(books: Books, k: int) -> tuple[float, int]:
    """Level in force and its reason: the best of stop, trail and break-even, or the liquidation if nearer (F3, F6)."""
    symbol = books.symbols[k]
    side = symbol["side"]
    level, reason = symbol["stop"], _STOP_LOSS
    if not math.isnan(symbol["trail"]):
        trail = _level(symbol, symbol["extreme"] - side * symbol["trail"], side)
        if math.isnan(level) or side * (trail - level) > 0.0:
            level, reason = trail, _TRAIL_STOP
    if side * (symbol["extreme"] - symbol["first_price"]) >= symbol["break_even"]:  # false for nan
        even = _level(symbol, symbol["first_price"], side)
        if math.isnan(level) or side * (even - level) > 0.0:
            level, reason = even, _TRAIL_STOP
    if symbol["maintenance"] > 0.0:
        liquidation = _liquidation_price(books, k)
        if not math.isnan(liquidation) and (math.isnan(level) or side * (liquidation - level) >= 0.0):
            level, reason = liquidation, _LIQUIDATION
    return level, reason


@kernel
def _liquidation_price(books: Books, k: int) -> float:
    """Where equity is the maintenance margin of all notional, other symbols at their marks; nan if nowhere (F11)."""
    cash, needed = books.account[0]["cash"], 0.0
    for i in range(books.symbols.size):
        if i != k:
            other = books.symbols[i]
            cash += other["side"] * other["qty"] * other["mark"]
            needed += other["maintenance"] * other["qty"] * other["mark"]
    qty, margin = books.symbols[k]["qty"], books.symbols[k]["maintenance"]
    if books.symbols[k]["side"] > 0:
        price = (needed - cash) / (qty * (1.0 - margin))
        return float(price) if price > 0.0 else math.nan
    return float(max((cash - needed) / (qty * (1.0 + margin)), 0.0))


@kernel
def _fill(
    books: Books, k: int, direction: int, qty: float, reference: float, price: float, fee_rate: float, reason: int
) -> float:
    """Book a fill and return its fee."""
    account, symbol = books.account[0], books.symbols[k]
    fee = fee_rate * qty * price
    account["cash"] -= direction * qty * price + fee
    symbol["room"] -= qty
    fill = books.fills[account["n_fills"]]
    fill["symbol"] = k
    fill["bar"] = symbol["bar"]
    fill["trade"] = symbol["number"]
    fill["side"] = direction
    fill["qty"] = qty
    fill["ref"] = reference
    fill["price"] = price
    fill["fee"] = fee
    is_limit = price == reference
    fill["spread"] = 0.0 if is_limit else qty * reference * symbol["half_spread"]
    fill["impact"] = 0.0 if is_limit else qty * reference * symbol["impact"] * math.sqrt(qty)
    fill["reason"] = reason
    account["n_fills"] += 1
    return float(fee)


@kernel
def _mean(before: float, qty_before: float, value: float, qty: float) -> float:
    """Quantity-weighted mean; exactly the value if there was nothing before."""
    if qty_before == 0.0:
        return value
    return (before * qty_before + value * qty) / (qty_before + qty)


@kernel
def _charge_borrow(books: Books, k: int, until: int, price: float) -> None:
    """Charge the hours of a spot short that were started by `until` and not charged yet (F11)."""
    symbol = books.symbols[k]
    if symbol["borrow_rate"] <= 0.0 or symbol["side"] >= 0:
        return
    hours = max(-((symbol["entry_time"] - until) // _HOUR_US), 1)
    if hours > symbol["hours_charged"]:
        paid = (hours - symbol["hours_charged"]) * symbol["borrow_rate"] * symbol["qty"] * price
        symbol["hours_charged"] = hours
        symbol["borrow"] += paid
        symbol["borrow_paid"] += paid
        books.account[0]["cash"] -= paid


@kernel
def _drop_remainder(books: Books, k: int) -> None:
    if books.symbols[k]["todo"] > 0.0:
        books.symbols[k]["todo"] = 0.0
        books.counters[_EXPIRED] += 1


@kernel
def _cut_to_room(books: Books, k: int, qty: float) -> float:
    """What the volume cap leaves of a fill, in whole lots (F8)."""
    symbol = books.symbols[k]
    if qty <= symbol["room"]:
        return qty
    left = max(min(_whole_lots(symbol["room"], symbol), qty), 0.0)
    books.counters[_PARTIAL] += left < qty
    return left


@kernel
def _exit(books: Books, k: int, step: int, reference: float, reason: int, is_ambiguous: bool, at_open: bool) -> None:
    """Close the position, or as much of it as the bar's volume takes: market order, or the resting limit itself."""
    symbol = books.symbols[k]
    side = symbol["side"]
    is_limit, is_ruin = reason == _TAKE_PROFIT, reason == _RUIN
    reason = _LIQUIDATION if is_ruin else reason
    if not is_limit:
        _drop_remainder(books, k)
    if is_ambiguous:
        symbol["ambiguous"] = True
        books.counters[_AMBIGUOUS] += 1

    qty = symbol["qty"]
    if reason != _LIQUIDATION and reason != _END_OF_DATA:  # noqa: PLR1714 no sets in compiled code
        qty = _cut_to_room(books, k, qty)
        if qty < symbol["qty"] and not is_limit:
            symbol["closing"] = reason
            symbol["tried"] = True
        if qty <= 0.0:
            return

    _drop_remainder(books, k)
    _charge_borrow(books, k, symbol["time"] + (0 if at_open else symbol["interval_us"]), reference)
    price, rate = reference, symbol["maker"]
    if not is_limit:
        price, rate = _market_price(symbol, reference, -side, qty), symbol["taker"]
        if reason == _LIQUIDATION and not is_ruin:
            rate += symbol["liquidation_fee"]
    fee = _fill(books, k, -side, qty, reference, price, rate, reason)
    symbol["exit_ref"] = _mean(symbol["exit_ref"], symbol["exit_qty"], reference, qty)
    symbol["exit_price"] = _mean(symbol["exit_price"], symbol["exit_qty"], price, qty)
    symbol["exit_fee"] += fee
    symbol["exit_qty"] += qty
    symbol["qty"] = _snapped(symbol["qty"] - qty, symbol)
    if symbol["qty"] <= 0.0:
        _end_trade(books, k, step, reason)


@kernel
def _end_trade(books: Books, k: int, step: int, reason: int) -> None:
    """Write the trade down and remember what restricts the next one."""
    account, symbol = books.account[0], books.symbols[k]
    trade = books.trades[account["n_trades"]]
    account["n_trades"] += 1
    trade["symbol"] = k
    trade["decision_bar"] = symbol["decision_bar"]
    trade["entry_bar"] = symbol["entry_bar"]
    trade["exit_bar"] = symbol["bar"]
    trade["side"] = symbol["side"]
    trade["qty"] = symbol["entry_qty"]
    trade["entry_ref"] = symbol["entry_ref"]
    trade["exit_ref"] = symbol["exit_ref"]
    trade["entry_price"] = symbol["entry_price"]
    trade["exit_price"] = symbol["exit_price"]
    trade["entry_fee"] = symbol["entry_fee"]
    trade["exit_fee"] = symbol["exit_fee"]
    trade["funding"] = symbol["funding"]
    trade["borrow"] = symbol["borrow"]
    trade["stop"] = symbol["stop"]
    trade["target"] = symbol["target"]
    trade["exit_reason"] = reason
    trade["ambiguous"] = symbol["ambiguous"]
    trade["capped"] = symbol["capped"]

    gained = symbol["side"] * symbol["entry_qty"] * (symbol["exit_price"] - symbol["entry_price"])
    paid = symbol["entry_fee"] + symbol["exit_fee"] + symbol["funding"] + symbol["borrow"]
    noise = _CASH_NOISE * symbol["entry_qty"] * symbol["entry_price"]
    account["losses"] = account["losses"] + 1 if gained - paid < -noise else 0
    if symbol["cooldown_losses"] > 0 and account["losses"] >= symbol["cooldown_losses"]:
        account["losses"] = 0
        account["cooldown_until"] = step + symbol["cooldown_bars"]
        books.counters[_COOLDOWNS] += 1
    if reason != _SIGNAL and reason != _REVERSE and reason != _END_OF_DATA:  # noqa: PLR1714 no sets in compiled code
        symbol["blocked_side"] = symbol["side"]
        symbol["blocked_since"] = symbol["bar"]
        symbol["edge_seen"] = False
    symbol["number"] += 1
    symbol["side"] = 0
    symbol["qty"] = 0.0
    symbol["closing"] = 0


@kernel
def _is_in_session(symbol: Record) -> bool:
    start, end = symbol["session_start"], symbol["session_end"]
    minute = symbol["time"] % _DAY_US // _MINUTE_US
    if start < end:
        return bool(start <= minute < end)
    return bool(minute >= start or minute < end)


@kernel
def _is_entry_allowed(account: Record, symbol: Record, step: int, decision: int) -> bool:
    """Whether limits, session and re-entry allow an entry (F0); the gate is asked apart."""
    if account["halted"] or step <= account["cooldown_until"] or not _is_in_session(symbol):
        return False
    if symbol["wanted"] != symbol["blocked_side"]:
        return True
    return bool(decision >= symbol["blocked_since"] and (symbol["edge_seen"] or not symbol["reentry_edge"]))


@kernel
def _gate(market: Market, decision: int) -> int:
    return int(market.gate[decision]) if market.gate.size else 1


@kernel
def _wanted_qty(symbol: Record) -> tuple[float, bool]:
    """Size before rounding, and whether the gross cap bound it; nan without the stop that risk sizing needs (F12)."""
    capital = symbol["order_equity"] if symbol["compound"] else symbol["initial_capital"]
    if symbol["mode"] == _FRACTION:
        return symbol["fraction"] * capital / symbol["order_close"], False
    if symbol["mode"] == _FIXED_QTY:
        return symbol["fixed_qty"], False
    stop = symbol["order_stop"]
    if not stop > 0.0 or stop < symbol["tick_num"] / symbol["tick_den"]:
        return math.nan, False
    by_risk = symbol["risk"] * capital / stop
    by_gross = symbol["max_gross"] * capital / symbol["order_close"]
    return min(by_risk, by_gross), by_gross < by_risk


@kernel
def _refuse(books: Books, step: int, counter: int) -> None:
    books.counters[counter] += 1
    if books.account[0]["rejected_since"] < 0:
        books.account[0]["rejected_since"] = step


@kernel
def _exposure_bound(symbol: Record, equity: float, gross: float, notional: float) -> float:
    """Notional an entry may have where `notional` is too much; nan where it is not."""
    own, total = symbol["max_symbol_exposure"] * equity, symbol["max_total_exposure"] * equity
    bound, is_more = math.inf, False
    if symbol["max_symbol_exposure"] > 0.0:
        bound, is_more = own, notional > own + _CASH_NOISE * abs(own)
    if symbol["max_total_exposure"] > 0.0:
        bound = min(bound, _difference(total, gross))
        is_more = is_more or gross + notional > total + _CASH_NOISE * abs(total)
    return bound if is_more else math.nan


@kernel
def _difference(a: float, b: float) -> float:
    """a - b, where what is left is more than the float noise of either."""
    return a - b if abs(a - b) > _CASH_NOISE * max(abs(a), abs(b)) else 0.0


@kernel
def _enter(books: Books, k: int, step: int, is_limit: bool) -> None:
    """Size the symbol's order and book what the bar's volume takes, or count why there is none (F12)."""
    account, symbol = books.account[0], books.symbols[k]
    wanted = symbol["wanted"]
    reference = symbol["order_limit"] if is_limit else symbol["open"]
    equity, gross = _equity_now(books), _gross_now(books)
    money = _difference(equity, gross / symbol["leverage"])
    is_whole = symbol["mode"] == _ALL_IN_WHOLE
    capped = False
    price = reference
    asked = qty = 0.0

    if is_whole:
        for _ in range(2):  # once more, with the impact of that size
            if not is_limit:
                price = _market_price(symbol, reference, wanted, qty)
            asked = max(money, 0.0) / (price / symbol["leverage"] + symbol["taker"] * price)
            qty = float(math.floor(asked))
    else:
        asked, capped = _wanted_qty(symbol)
        if math.isnan(asked):
            books.counters[_NO_STOP] += 1
            account["rejected_since"] = -1
            return
        qty = max(_whole_lots(asked, symbol), 0.0)
    if not is_limit:
        price = _market_price(symbol, reference, wanted, qty)

    bound = _exposure_bound(symbol, equity, gross, qty * price)
    if not math.isnan(bound):
        asked = max(bound, 0.0) / price
        qty = float(math.floor(asked)) if is_whole else _whole_lots(asked, symbol)
        books.counters[_NO_EXPOSURE if qty <= 0.0 else _REDUCED_EXPOSURE] += 1
        if qty <= 0.0:
            return
    unit_cost = price * (1.0 / symbol["leverage"] + symbol["taker"])
    if not is_whole and qty * unit_cost > money * (1.0 + _CASH_NOISE):
        books.counters[_REDUCED] += 1
        asked = max(money, 0.0) / unit_cost
        qty = _whole_lots(asked, symbol)
    if qty <= 0.0:
        _refuse(books, step, _NO_CASH if asked <= 0.0 else _MIN_NOTIONAL)
        return
    if qty * price < symbol["min_notional"]:
        _refuse(books, step, _MIN_NOTIONAL)
        return

    filled = _cut_to_room(books, k, qty)
    if filled <= 0.0:
        if not is_limit:
            symbol["waiting_side"] = wanted
            symbol["waiting_since"] = symbol["order_bar"]
        return
    if not is_limit:
        price = _market_price(symbol, reference, wanted, filled)
    _open_position(books, k, filled, reference, price, is_limit)
    symbol["capped"] = capped
    symbol["todo"] = _snapped(qty - filled, symbol)
    symbol["todo_limit"] = symbol["order_limit"] if is_limit else math.nan


@kernel
def _open_position(books: Books, k: int, qty: float, reference: float, price: float, is_limit: bool) -> None:
    symbol = books.symbols[k]
    side = symbol["wanted"]
    fee = _fill(books, k, side, qty, reference, price, symbol["maker"] if is_limit else symbol["taker"], _ENTRY)
    symbol["side"] = side
    symbol["qty"] = qty
    symbol["decision_bar"] = symbol["order_bar"]
    symbol["entry_bar"] = symbol["bar"]
    symbol["entry_time"] = symbol["time"]
    symbol["entry_qty"] = qty
    symbol["entry_ref"] = reference
    symbol["entry_price"] = price
    symbol["entry_fee"] = fee
    symbol["exit_qty"] = 0.0
    symbol["exit_fee"] = 0.0
    symbol["funding"] = 0.0
    symbol["borrow"] = 0.0
    symbol["hours_charged"] = 0
    symbol["first_price"] = price
    symbol["extreme"] = price
    symbol["ambiguous"] = False
    symbol["stop"] = math.nan
    symbol["target"] = math.nan
    if symbol["order_stop"] > 0.0:
        symbol["stop"] = _level(symbol, price - side * symbol["order_stop"], side)
    if symbol["order_target"] > 0.0:
        symbol["target"] = _level(symbol, price + side * symbol["order_target"], side)
    symbol["trail"] = _present(symbol["order_trail"])
    symbol["break_even"] = _present(symbol["order_break_even"])
    symbol["max_bars"] = _present(symbol["order_max_bars"])
    symbol["blocked_side"] = 0
    books.account[0]["rejected_since"] = -1
    books.counters[_ENTRIES] += 1


@kernel
def _present(distance: float) -> float:
    return distance if distance > 0.0 else math.nan


@kernel
def _enter_more(books: Books, k: int) -> None:
    """Fill more of an entry order that the volume cap has cut, as far as it can still be paid."""
    symbol = books.symbols[k]
    side, qty = symbol["side"], symbol["todo"]
    is_limit = not math.isnan(symbol["todo_limit"])
    reference = symbol["todo_limit"] if is_limit else symbol["open"]
    price = reference if is_limit else _market_price(symbol, reference, side, qty)
    money = _difference(_equity_now(books), _gross_now(books) / symbol["leverage"])
    unit_cost = price * (1.0 / symbol["leverage"] + symbol["taker"])
    if qty * unit_cost > money * (1.0 + _CASH_NOISE):
        qty = max(_whole_lots(max(money, 0.0) / unit_cost, symbol), 0.0)
    filled = _cut_to_room(books, k, qty) if qty > 0.0 else 0.0
    symbol["todo"] = _snapped(qty - filled, symbol)
    if filled <= 0.0:
        return
    if not is_limit:
        price = _market_price(symbol, reference, side, filled)
    fee = _fill(books, k, side, filled, reference, price, symbol["maker"] if is_limit else symbol["taker"], _ENTRY)
    symbol["entry_ref"] = _mean(symbol["entry_ref"], symbol["entry_qty"], reference, filled)
    symbol["entry_price"] = _mean(symbol["entry_price"], symbol["entry_qty"], price, filled)
    symbol["entry_fee"] += fee
    symbol["entry_qty"] = _snapped(symbol["entry_qty"] + filled, symbol)
    symbol["qty"] = _snapped(symbol["qty"] + filled, symbol)


@kernel
def _levels_against_the_open(books: Books, k: int, step: int) -> None:
    """Step A."""
    symbol = books.symbols[k]
    level, reason = _exit_level(books, k)
    if symbol["side"] * (symbol["open"] - level) <= 0.0:  # false for nan
        _exit(books, k, step, symbol["open"], reason, False, True)
    elif _is_through(symbol, symbol["side"], symbol["open"], symbol["target"]):
        _exit(books, k, step, symbol["target"], _TAKE_PROFIT, False, True)


@kernel
def _exit_reason_at_open(market: Market, books: Books, k: int) -> int:
    """Step B: why the position is to be closed at the open; 0 if it is not."""
    symbol = books.symbols[k]
    if symbol["closing"] != 0:
        return 0 if symbol["tried"] else int(symbol["closing"])
    if books.account[0]["halted"]:
        return _HALTED
    if not _is_in_session(symbol):
        return _EOD
    if symbol["wanted"] != symbol["side"]:
        return _SIGNAL if symbol["wanted"] == 0 else _REVERSE
    if _gate(market, symbol["bar"] - 1 - symbol["latency_bars"]) < 0:
        return _SIGNAL
    return _TIME if symbol["bar"] - symbol["entry_bar"] >= symbol["max_bars"] else 0  # false for nan


@kernel
def _read_order(market: Market, curves: Curves, step_of: IntArray, symbol: Record, decision: int) -> None:
    """Note the decision an entry comes from, as of its close."""
    symbol["order_bar"] = decision
    symbol["order_close"] = market.close[decision]
    symbol["order_equity"] = curves.equity[step_of[decision]]
    symbol["order_stop"] = market.bracket[STOP, decision]
    symbol["order_target"] = market.bracket[TARGET, decision]
    symbol["order_trail"] = market.bracket[TRAIL, decision]
    symbol["order_break_even"] = market.bracket[BREAK_EVEN, decision]
    symbol["order_max_bars"] = market.bracket[MAX_BARS, decision]


@kernel
def _more_at_the_open(books: Books, k: int) -> None:
    """Step C, held: the remainder of a cut entry order."""
    symbol = books.symbols[k]
    if symbol["bar"] - symbol["entry_bar"] >= symbol["order_bars"]:
        _drop_remainder(books, k)
    elif math.isnan(symbol["todo_limit"]) or _is_through(symbol, -symbol["side"], symbol["open"], symbol["todo_limit"]):
        symbol["tried"] = True
        _enter_more(books, k)


@kernel
def _entry_at_the_open(
    market: Market, books: Books, curves: Curves, step_of: IntArray, k: int, step: int, waiting_side: int
) -> None:
    """Step C, flat: a market order, or a limit that fills now or rests in this bar."""
    symbol = books.symbols[k]
    wanted = symbol["wanted"]
    is_waiting = waiting_side == wanted
    decision = symbol["waiting_since"] if is_waiting else symbol["bar"] - 1 - symbol["latency_bars"]
    if not _is_entry_allowed(books.account[0], symbol, step, decision):
        return
    if _gate(market, decision) != 1:
        books.counters[_GATED] += 1
        return
    _read_order(market, curves, step_of, symbol, decision)
    distance = market.bracket[LIMIT, decision]
    if distance > 0.0:
        # A limit to buy is rounded up like the exit of a short, and the other way round.
        symbol["order_limit"] = _level(symbol, market.close[decision] - wanted * distance, -wanted)
        if _is_through(symbol, -wanted, symbol["open"], symbol["order_limit"]):
            symbol["tried"] = True
            _enter(books, k, step, True)
        else:
            symbol["resting"] = True
        return
    if is_waiting and not symbol["wait_counted"]:
        books.counters[_WAITED] += 1
    symbol["tried"] = True
    _enter(books, k, step, False)
    symbol["wait_counted"] = is_waiting  # if it still waits for volume


@kernel
def _wait_for_volume(market: Market, books: Books, k: int, step: int) -> None:
    """A bar without volume: a market entry that would have filled keeps its decision."""
    symbol = books.symbols[k]
    wanted, waiting_side = symbol["wanted"], symbol["waiting_side"]
    symbol["waiting_side"] = 0
    if symbol["side"] != 0 and wanted != symbol["side"]:
        _drop_remainder(books, k)
    if symbol["side"] != 0 or wanted == 0:
        return
    is_waiting = waiting_side == wanted
    decision = symbol["waiting_since"] if is_waiting else symbol["bar"] - 1 - symbol["latency_bars"]
    if market.bracket[LIMIT, decision] > 0.0 or not _is_entry_allowed(books.account[0], symbol, step, decision):
        return
    if _gate(market, decision) == 1:
        symbol["waiting_side"] = wanted
        symbol["waiting_since"] = decision
        symbol["wait_counted"] = symbol["wait_counted"] and is_waiting


@kernel
def _limit_inside_the_bar(books: Books, k: int, step: int) -> None:
    """Step D, first part: a resting entry, or the rest of one."""
    symbol = books.symbols[k]
    if symbol["resting"] and symbol["side"] == 0:
        wanted = symbol["wanted"]
        worst = symbol["low"] if wanted > 0 else symbol["high"]
        is_cooling = step <= books.account[0]["cooldown_until"]
        if not is_cooling and _is_through(symbol, -wanted, worst, symbol["order_limit"]):
            _enter(books, k, step, True)
            symbol["inside"] = symbol["side"] != 0
    elif symbol["todo"] > 0.0 and symbol["closing"] == 0 and not symbol["tried"]:
        worst = symbol["low"] if symbol["side"] > 0 else symbol["high"]
        if _is_through(symbol, -symbol["side"], worst, symbol["todo_limit"]):  # false for a market order
            _enter_more(books, k)


@kernel
def _rest_of_the_bar(fine: FineBars, books: Books, k: int, step: int) -> None:
    """Step D, second part: stop and target against high and low."""
    symbol = books.symbols[k]
    level, reason = _exit_level(books, k)
    s = symbol["side"]
    worst, best = (symbol["low"], symbol["high"]) if s > 0 else (symbol["high"], symbol["low"])
    is_stopped = s * (worst - level) <= 0.0
    is_reached = _is_through(symbol, s, best, symbol["target"])
    if is_stopped or is_reached:
        if symbol["inside"]:
            outcome, reference, is_unclear = _outcome_after_limit(fine, symbol, level, reason, is_stopped, is_reached)
        else:
            outcome, reference, is_unclear = _outcome(fine, symbol, level, reason, is_stopped, is_reached)
        if outcome == STOPPED:
            _exit(books, k, step, reference, reason, is_unclear and reason != _LIQUIDATION, False)
        elif outcome == REACHED:
            _exit(books, k, step, symbol["target"], _TAKE_PROFIT, is_unclear, False)
    if symbol["side"] != 0:
        seen = symbol["close"] if symbol["inside"] else best
        symbol["extreme"] = max(symbol["extreme"], seen) if s > 0 else min(symbol["extreme"], seen)


@kernel
def _outcome(
    fine: FineBars, symbol: Record, level: float, reason: int, is_stopped: bool, is_reached: bool
) -> tuple[int, float, bool]:
    """What a bar did to a position held since its open: outcome, reference of a stop, whether that is unclear (F5)."""
    s, mode = symbol["side"], symbol["same_bar"]
    is_liquidated = is_stopped and reason == _LIQUIDATION
    is_unclear = is_stopped and is_reached and not is_liquidated and s * (symbol["open"] - level) > 0.0
    if is_unclear and mode == _DRILLDOWN and fine.end.size and fine.end[symbol["bar"]] > fine.first[symbol["bar"]]:
        outcome, at, is_still_unclear = _drill(fine, symbol, level, math.nan)
        if outcome != _NEITHER:
            return outcome, at, is_still_unclear
    if is_liquidated:
        mode = _STOP_FIRST
    return bar_outcome(mode, s, symbol["open"], symbol["high"], symbol["low"], level, is_stopped, is_reached)


@kernel
def _outcome_after_limit(
    fine: FineBars, symbol: Record, level: float, reason: int, is_stopped: bool, is_reached: bool
) -> tuple[int, float, bool]:
    """The same for a position that was entered inside the bar, on the way to its worst price (F7)."""
    s, mode = symbol["side"], symbol["same_bar"]
    is_certain = _is_through(symbol, s, symbol["close"], symbol["target"])
    if reason == _LIQUIDATION and is_stopped:
        return STOPPED, symbol["open"] if s * (symbol["open"] - level) <= 0.0 else level, False
    if mode == _DRILLDOWN and fine.end.size and fine.end[symbol["bar"]] > fine.first[symbol["bar"]]:
        outcome, at, is_unclear = _drill(fine, symbol, level, symbol["order_limit"])
        if outcome == _NEITHER:  # some are missing
            outcome = STOPPED if is_stopped else REACHED if is_certain else _NEITHER
        if outcome != _NO_ENTRY:
            return outcome, at, is_unclear
    is_high_first = symbol["high"] - symbol["open"] < symbol["open"] - symbol["low"]
    is_reached_after = is_certain or (
        is_reached and (mode == _TARGET_FIRST or (mode == _OHLC_PATH and is_high_first == (s < 0)))
    )
    if is_reached and not is_reached_after:
        symbol["ambiguous"] = True
    if is_stopped:
        return STOPPED, level, is_reached_after
    return (REACHED if is_reached_after else _NEITHER), level, not is_certain


@kernel
def _drill(fine: FineBars, symbol: Record, level: float, limit: float) -> tuple[int, float, bool]:
    """What the finer bars did, in their order: outcome, reference of a stop, whether that is unclear (F5)."""
    s, target = symbol["side"], symbol["target"]
    is_in, is_first = math.isnan(limit), True
    for j in range(fine.first[symbol["bar"]], fine.end[symbol["bar"]]):
        if fine.volume[j] <= 0.0:
            continue
        worst, best = (fine.low[j], fine.high[j]) if s > 0 else (fine.high[j], fine.low[j])
        is_entry = False
        if not is_in:
            if not _is_through(symbol, -s, worst, limit):
                continue
            is_in = is_entry = True
        elif not is_first:
            if s * (fine.open[j] - level) <= 0.0:
                return STOPPED, fine.open[j], False
            if _is_through(symbol, s, fine.open[j], target):
                return REACHED, level, False
        is_first = False
        is_reached = not is_entry and _is_through(symbol, s, best, target)
        if s * (worst - level) <= 0.0:
            return STOPPED, level, is_reached
        if is_reached:
            return REACHED, level, False
    return (_NEITHER if is_in else _NO_ENTRY), level, False


@kernel
def _read_bar(market: Market, books: Books, k: int, t: int) -> None:
    """Take a symbol to its next bar."""
    account, symbol = books.account[0], books.symbols[k]
    symbol["bar"] = t
    symbol["time"] = market.time[t]
    symbol["open"] = market.open[t]
    symbol["high"] = market.high[t]
    symbol["low"] = market.low[t]
    symbol["close"] = market.close[t]
    symbol["volume"] = market.volume[t]
    symbol["mark"] = market.open[t]
    share = symbol["max_participation"]
    symbol["room"] = share * market.volume[t] if share > 0.0 else math.inf
    c = symbol["cost_base"] + t * symbol["cost_stride"]
    symbol["taker"] = market.costs[TAKER, c]
    symbol["maker"] = market.costs[MAKER, c]
    symbol["half_spread"] = market.costs[HALF_SPREAD, c]
    symbol["slippage"] = market.costs[SLIPPAGE, c]
    symbol["impact"] = market.costs[IMPACT, c]
    symbol["borrow_paid"] = 0.0
    symbol["resting"] = False
    symbol["tried"] = False
    symbol["inside"] = False
    decision = t - 1 - symbol["latency_bars"]
    symbol["wanted"] = market.side[decision] if decision >= symbol["first_bar"] else 0
    if symbol["blocked_side"] != 0 and symbol["blocked_since"] <= decision:
        symbol["edge_seen"] = symbol["edge_seen"] or symbol["wanted"] != symbol["blocked_side"]
    day = symbol["time"] // _DAY_US
    if day != account["day"]:
        account["day"] = day
        account["day_start"] = account["last_equity"]
        account["halted"] = False


@kernel
def _is_plain(symbol: Record) -> bool:
    """Whether a bar without an event can be told from its prices, decision and gate: no hours, no daily limit."""
    has_session = symbol["session_start"] != 0 or symbol["session_end"] != _DAY_US // _MINUTE_US
    return not (has_session or symbol["daily_loss"] > 0.0)


@kernel
def _is_held_still(market: Market, symbol: Record) -> bool:
    """Whether holding costs nothing, and only levels, age, decision and gate can end the position."""
    has_borrow = symbol["borrow_rate"] > 0.0 and symbol["side"] < 0
    if market.funding.size or symbol["maintenance"] > 0.0 or has_borrow:
        return False
    if symbol["closing"] != 0 or symbol["todo"] > 0.0:
        return False
    return math.isnan(symbol["trail"]) and math.isnan(symbol["break_even"])


@kernel
def _pass_quiet(market: Market, books: Books, curves: Curves, rows: IntArray, first: int, end: int) -> int:
    """Pass bars in which nothing can happen to one plain symbol; return the first step in which something may.

    Most bars of most runs are such, and the long way costs twenty times as much. So what cannot change in them is read
    once, and nothing is called that takes the books.
    """
    account, symbol = books.account[0], books.symbols[0]
    side, qty, cash = symbol["side"], symbol["qty"], account["cash"]
    latency, first_bar, last_bar = symbol["latency_bars"], symbol["first_bar"], symbol["last_bar"]
    blocked_side, blocked_since = symbol["blocked_side"], symbol["blocked_since"]
    tick, stop, target = symbol["tick_num"] / symbol["tick_den"], symbol["stop"], symbol["target"]
    entry_bar, max_bars = symbol["entry_bar"], symbol["max_bars"]
    has_gate = market.gate.size > 0
    if side != 0 and not _is_held_still(market, symbol):
        return first
    step = first
    while step < end:
        t = rows[step, 0]
        open_, high, low, close = market.open[t], market.high[t], market.low[t], market.close[t]
        marked = cash + side * qty * close
        is_sound = low <= open_ <= high and low <= close <= high
        if not is_sound or t == last_bar or market.volume[t] <= 0.0 or marked <= 0.0:
            break
        decision = t - 1 - latency
        wanted = market.side[decision] if decision >= first_bar else 0
        if side != 0:
            if wanted != side or (has_gate and market.gate[decision] < 0) or t - entry_bar >= max_bars:
                break
            worst, best = (low, high) if side > 0 else (high, low)
            if side * (worst - stop) <= 0.0 or is_through(tick, side, best, target):
                break
            curves.held[t] = True
            curves.qty[t] = side * qty
        else:
            if blocked_side != 0 and blocked_since <= decision and wanted != blocked_side:
                symbol["edge_seen"] = True
            if wanted != 0:
                if symbol["waiting_side"] != 0:  # an older decision may count
                    break
                symbol["wanted"] = wanted
                if _is_entry_allowed(account, symbol, step, decision):
                    if not has_gate or market.gate[decision] == 1:
                        break
                    books.counters[_GATED] += 1
        symbol["waiting_side"] = 0
        curves.equity[step] = marked
        step += 1
    if step > first:
        symbol["bar"] = rows[step - 1, 0]
        symbol["mark"] = market.close[rows[step - 1, 0]]
        account["last_equity"] = curves.equity[step - 1]
    return step


@kernel
def _end_of_bar(market: Market, books: Books, curves: Curves, k: int, step: int, close_at_end: bool) -> None:
    """Step E: borrow, funding, end of data."""
    symbol = books.symbols[k]
    t = symbol["bar"]
    symbol["mark"] = symbol["close"]
    if symbol["side"] != 0:
        _charge_borrow(books, k, symbol["time"] + symbol["interval_us"], symbol["close"])
        if market.funding.size and market.funding[t] != 0.0:
            paid = symbol["side"] * symbol["qty"] * symbol["close"] * market.funding[t]
            books.account[0]["cash"] -= paid
            symbol["funding"] += paid
            curves.funding[t] = paid
        if close_at_end and t == symbol["last_bar"]:
            _exit(books, k, step, symbol["close"], _END_OF_DATA, False, False)
    curves.borrow[t] = symbol["borrow_paid"]
    curves.qty[t] = symbol["side"] * symbol["qty"]


@kernel
def _mark(books: Books, curves: Curves, step: int) -> None:
    """Step F: mark the account; at zero or below everything ends; the day's loss is judged."""
    account = books.account[0]
    marked = _equity_now(books)
    if marked <= 0.0:
        for k in range(books.symbols.size):
            symbol = books.symbols[k]
            if symbol["side"] != 0:
                _exit(books, k, step, symbol["mark"], _RUIN, False, False)
                curves.borrow[symbol["bar"]] = symbol["borrow_paid"]
                curves.qty[symbol["bar"]] = 0.0
        account["ruined_at"] = step
        account["debt"] = -account["cash"]
        account["cash"] = 0.0
        marked = 0.0
    curves.equity[step] = marked
    account["last_equity"] = marked
    limit = books.symbols[0]["daily_loss"]
    if limit > 0.0 and not account["halted"] and marked <= account["day_start"] * (1.0 - limit):
        account["halted"] = True
        books.counters[_HALTS] += 1


@kernel
def fill_steps(
    market: Market,
    fine: FineBars,
    books: Books,
    curves: Curves,
    rows: IntArray,
    step_of: IntArray,
    first: int,
    end: int,
    close_at_end: bool,
) -> int:
    """Process steps [first, end); return the bar of a violated F10, or -1."""
    symbols = books.symbols
    n_symbols = symbols.size
    is_plain = n_symbols == 1 and _is_plain(symbols[0])
    step = first - 1
    while True:
        step += 1
        if step < end and is_plain and books.account[0]["ruined_at"] < 0:
            step = _pass_quiet(market, books, curves, rows, step, end)
        if step >= end:
            return -1
        if books.account[0]["ruined_at"] >= 0:
            curves.equity[step] = 0.0
            continue
        for k in range(n_symbols):
            t = rows[step, k]
            if t < 0:
                continue
            # F10: then every reference price lies in its bar, for a stop fills between the open and the low or high.
            if not (
                market.low[t] <= market.open[t] <= market.high[t] and market.low[t] <= market.close[t] <= market.high[t]
            ):
                return int(t)

        for k in range(n_symbols):
            if rows[step, k] >= 0:
                _read_bar(market, books, k, rows[step, k])
        # A symbol trades in this step if it has a bar in it, and volume.
        for k in range(n_symbols):
            is_held = rows[step, k] >= 0 and symbols[k]["volume"] > 0.0 and symbols[k]["side"] != 0
            if is_held and symbols[k]["closing"] == 0:
                _levels_against_the_open(books, k, step)
        for k in range(n_symbols):
            if rows[step, k] >= 0 and symbols[k]["volume"] > 0.0 and symbols[k]["side"] != 0:
                reason = _exit_reason_at_open(market, books, k)
                if reason != 0:
                    _exit(books, k, step, symbols[k]["open"], reason, False, True)
        for k in range(n_symbols):
            if rows[step, k] < 0:
                continue
            if symbols[k]["volume"] <= 0.0:
                _wait_for_volume(market, books, k, step)
                curves.held[rows[step, k]] = symbols[k]["side"] != 0
                continue
            waiting_side, symbols[k]["waiting_side"] = symbols[k]["waiting_side"], 0
            if symbols[k]["side"] != 0:
                if symbols[k]["todo"] > 0.0 and symbols[k]["closing"] == 0:
                    _more_at_the_open(books, k)
            elif symbols[k]["wanted"] != 0:
                _entry_at_the_open(market, books, curves, step_of, k, step, waiting_side)
        for k in range(n_symbols):
            if rows[step, k] >= 0 and symbols[k]["volume"] > 0.0:
                if symbols[k]["resting"] or symbols[k]["todo"] > 0.0:
                    _limit_inside_the_bar(books, k, step)
                if symbols[k]["side"] != 0:
                    curves.held[rows[step, k]] = True
                    if symbols[k]["closing"] == 0:
                        _rest_of_the_bar(fine, books, k, step)
        for k in range(n_symbols):
            if rows[step, k] >= 0:
                _end_of_bar(market, books, curves, k, step, close_at_end)
        _mark(books, curves, step)
