"""Compiled parts of the sweep: stretches of one wanted side, and what brackets change in them.

While the wanted side stays the same, a position of fixed quantity has no memory of what came before: it is opened at
the first bar of that stretch (a *run*) and closed at the open after it, unless its bracket closes it earlier. So every
combination of parameters that wants the same sides shares one list of runs, and one set of totals for "no bracket was
ever touched". A combination is then a screen over the runs (two comparisons each, in vector registers) and a
correction for the few whose levels were reached. A run with a bar that may leave an order unfilled (no volume, or less
than the cap needs) is played by the engine itself, from flat to flat.
"""

from __future__ import annotations

import math
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from grodtd.domain.bars import FloatArray, IntArray, SideArray
from grodtd.domain.kernel import kernel
from grodtd.domain.run import COUNTERS
from grodtd.execution.fill_kernel import (
    STOPPED,
    Books,
    Curves,
    FineBars,
    Market,
    Rows,
    bar_outcome,
    fill_steps,
    is_through,
    whole_steps,
)

Flags = npt.NDArray[np.uint8]
SmallInts = npt.NDArray[np.int32]

# Columns of the sums of a combination.
SUMS: Final = (
    "trade_count",
    "wins",
    "won",
    "lost",
    "gross_pnl",
    "fees",
    "slippage_cost",
    "funding_cost",
    "borrow_cost",
    "held_bars",
    "ambiguous",
    "notional",
)
_COUNT, _WINS, _WON, _LOST, _GROSS, _FEES, _SLIPPAGE, _FUNDING, _BORROW, _HELD, _AMBIGUOUS, _NOTIONAL = range(len(SUMS))
# Layers of the daily array: change of equity, result of trades closed, losses among them.
EQUITY, REALISED, LOSSES = range(3)

# What became of a combination.
SHARED, NEEDS_ENGINE = range(2)

TILE_RUNS: Final = 2048
_HOUR_US: Final = 3_600_000_000
_REDUCED_TO_CASH: Final = COUNTERS.index("reduced_to_cash")
_NO_CASH: Final = COUNTERS.index("rejected_no_cash")
_NOISE: Final = 2e-9  # of a price: more than any rounding of a level to its tick forgives


class SweepMarket(NamedTuple):
    """What all combinations share. Arrays by bar, unless said otherwise.

    `cost_stride` is 0 where costs are the same in all bars; then the arrays of costs have one element.
    """

    time: IntArray
    open: FloatArray
    high: FloatArray
    low: FloatArray
    close: FloatArray
    gate: SideArray  # empty: every entry is allowed
    taker: FloatArray
    maker: FloatArray
    worse: FloatArray  # half-spread and slippage, a fraction of the price
    impact: FloatArray  # times the square root of the quantity, likewise
    silent: SmallInts  # bars before this one without volume; n + 1 of them
    is_thin: Flags  # too little volume for three fills under the volume cap
    mark_of: SmallInts  # the first daily mark at or after the bar's close; the number of marks after the last
    mark_bar: IntArray  # by mark: the last bar closed by then
    paid: FloatArray  # funding a held unit has paid before the bar; n + 1 of them; empty: no funding
    cost_stride: int
    tick_num: float
    tick_den: float
    qty: float  # of every trade; or, if `notional` is above zero, that over the close, in whole lots
    notional: float
    lot_num: float
    lot_den: float
    same_bar: int
    is_edge: bool
    borrow_rate: float
    interval_us: int


class Runs(NamedTuple):
    """Runs of one signal row that lead to an entry, in order of time."""

    first: IntArray  # bar at whose open the side is wanted
    entry: IntArray  # bar of the first entry, later than that where the gate is closed
    end: IntArray  # first bar with another side; n at the end of the data
    side: SideArray
    is_hard: Flags  # played by the engine
    price: FloatArray  # of the first entry
    adverse: FloatArray  # furthest the market goes against it
    favourable: FloatArray  # and for it, the open at which it would be closed included
    highest: FloatArray  # by bar: from here to the end of the run
    lowest: FloatArray


class Engine(NamedTuple):
    """The fill engine, with room to play runs of one symbol."""

    market: Market
    fine: FineBars
    books: Books
    curves: Curves
    account: Rows  # both as they are before the first bar
    symbols: Rows
    steps: IntArray
    step_of: IntArray


@kernel
def _qty(market: SweepMarket, decision: int) -> float:
    if market.notional <= 0.0:
        return market.qty
    return whole_steps(market.notional / market.close[decision], market.lot_num, market.lot_den, False)


@kernel
def _price(market: SweepMarket, bar: int, reference: float, direction: int, qty: float) -> float:
    """Fill price of a market order or stop (F1, F9)."""
    at = bar * market.cost_stride
    worse = market.worse[at]
    if market.impact[at] > 0.0:
        worse += market.impact[at] * math.sqrt(qty)
    return whole_steps(reference * (1.0 + direction * worse), market.tick_num, market.tick_den, direction > 0)


@kernel
def _next_entry(market: SweepMarket, bar: int, end: int) -> int:
    """First bar in [bar, end) whose decision the gate lets through, or -1."""
    if market.gate.size == 0:
        return bar if bar < end else -1
    for t in range(bar, end):
        if market.gate[t - 1] == 1:
            return t
    return -1


@kernel
def _carry(market: SweepMarket, side: int, qty: float, entry: int, exit_bar: int, at_open: bool, exit_ref: float) -> float:
    """Borrow of a short, as the engine charges it: each hour started, at the close of the bar it starts in (F11)."""
    if side > 0:
        return 0.0
    hours, paid = 0, 0.0
    for t in range(entry, exit_bar + 1):
        is_exit = t == exit_bar
        until = market.time[t] + (0 if is_exit and at_open else market.interval_us)
        started = max(-((market.time[entry] - until) // _HOUR_US), 1)
        if started > hours:
            paid += (started - hours) * market.borrow_rate * qty * (exit_ref if is_exit else market.close[t])
            hours = started
    return paid


@kernel
def _book(
    market: SweepMarket,
    sums: FloatArray,
    daily: FloatArray,
    sign: float,
    side: int,
    qty: float,
    entry: int,
    price: float,
    exit_bar: int,
    at_open: bool,
    reference: float,
    exit_price: float,
    exit_fee: float,
    is_ambiguous: bool,
    is_end: bool,
) -> None:
    """Add a trade to a combination, or with sign -1 take it out again."""
    entry_fee = market.taker[entry * market.cost_stride] * qty * price
    funding = borrow = 0.0
    last = exit_bar - 1 if at_open else exit_bar
    if market.paid.size:
        # Settled at the end of each bar it is still held at; the end of the data comes after that.
        funding = side * qty * (market.paid[exit_bar + 1 if is_end else exit_bar] - market.paid[entry])
    if market.borrow_rate > 0.0:
        borrow = _carry(market, side, qty, entry, exit_bar, at_open, reference)
    gross = side * qty * (reference - market.open[entry])
    pnl = side * qty * (exit_price - price) - entry_fee - exit_fee - funding - borrow
    sums[_COUNT] += sign
    if pnl > 0.0:
        sums[_WINS] += sign
        sums[_WON] += sign * pnl
    else:
        sums[_LOST] -= sign * pnl
    sums[_GROSS] += sign * gross
    sums[_FEES] += sign * (entry_fee + exit_fee)
    sums[_SLIPPAGE] += sign * (gross - side * qty * (exit_price - price))
    sums[_FUNDING] += sign * funding
    sums[_BORROW] += sign * borrow
    sums[_HELD] += sign * (last - entry + 1)
    sums[_NOTIONAL] += sign * qty * (price + exit_price)
    if is_ambiguous:
        sums[_AMBIGUOUS] += sign
    first_mark, last_mark = market.mark_of[entry], market.mark_of[exit_bar]
    daily[REALISED, last_mark] += sign * pnl
    if pnl < 0.0:
        daily[LOSSES, last_mark] -= sign * pnl
    before = 0.0
    for mark in range(first_mark, last_mark):
        t = market.mark_bar[mark]
        open_pnl = side * qty * (market.close[t] - price) - entry_fee
        if market.paid.size:
            open_pnl -= side * qty * (market.paid[t + 1] - market.paid[entry])
        if market.borrow_rate > 0.0:
            open_pnl -= _carry(market, side, qty, entry, t, False, market.close[t])
        daily[EQUITY, mark] += sign * (open_pnl - before)
        before = open_pnl
    daily[EQUITY, last_mark] += sign * (pnl - before)


@kernel
def _book_base(market: SweepMarket, runs: Runs, r: int, sums: FloatArray, daily: FloatArray, sign: float) -> None:
    """Book a run whose bracket is never touched."""
    entry, end, side = runs.entry[r], runs.end[r], runs.side[r]
    qty = _qty(market, entry - 1)
    at_open = end < market.open.size
    bar = end if at_open else end - 1
    reference = market.open[bar] if at_open else market.close[bar]
    price = _price(market, bar, reference, -side, qty)
    fee = market.taker[bar * market.cost_stride] * qty * price
    _book(
        market,
        sums,
        daily,
        sign,
        side,
        qty,
        entry,
        runs.price[r],
        bar,
        at_open,
        reference,
        price,
        fee,
        False,
        not at_open,
    )


@kernel
def count_runs(side: SideArray) -> int:
    """Return how many stretches of one side other than 0 the decisions make, the last close left out."""
    count, before = 0, 0
    for t in range(side.size - 1):
        count += side[t] != 0 and side[t] != before
        before = side[t]
    return count


@kernel
def build_runs(
    market: SweepMarket, side: SideArray, runs: Runs, sums: FloatArray, daily: FloatArray
) -> tuple[int, float]:
    """Fill `runs` from the wanted sides, add their totals without brackets to `sums` and `daily`.

    Returns the number of runs, and the furthest that a short went against its price, as a fraction of it.
    """
    n = side.size
    count, worst_short = 0, 0.0
    t = 1
    while t < n:
        s = side[t - 1]
        if s == 0:
            t += 1
            continue
        first = t
        while t < n and side[t - 1] == s:
            t += 1
        entry = _next_entry(market, first, t)
        if entry < 0:
            continue
        high, low = -math.inf, math.inf
        if t < n:
            high, low = (market.open[t], math.inf) if s > 0 else (-math.inf, market.open[t])
        for u in range(t - 1, entry - 1, -1):
            high = max(high, market.high[u])
            low = min(low, market.low[u])
            runs.highest[u] = high
            runs.lowest[u] = low
        qty = _qty(market, entry - 1)
        price = _price(market, entry, market.open[entry], s, qty)
        runs.first[count] = first
        runs.entry[count] = entry
        runs.end[count] = t
        runs.side[count] = s
        runs.price[count] = price
        runs.adverse[count] = price - low if s > 0 else high - price
        runs.favourable[count] = high - price if s > 0 else price - low
        if s < 0:
            worst_short = max(worst_short, high / low)
        # Orders wait in a bar without volume, and are cut in one with too little of it.
        runs.is_hard[count] = (
            market.silent[min(t + 1, n)] > market.silent[first]
            or market.is_thin[entry] != 0
            or market.is_thin[min(t, n - 1)] != 0
        )
        if not runs.is_hard[count]:
            _book_base(market, runs, count, sums, daily, 1.0)
        count += 1
    return count, worst_short


@kernel
def screen(
    runs: Runs, first: int, end: int, levels: FloatArray, who: IntArray, at: IntArray, flags: Flags
) -> int:
    """Find the runs of a tile whose bracket may be touched; move their brackets to the front of `levels`.

    Returns their number, or -1 if a bracket enters by a limit, which the engine must play.
    """
    is_limit = False
    for k in range(end - first):
        r = first + k
        slack = _NOISE * runs.price[r]
        stop, target, max_bars = levels[0, k], levels[1, k], levels[5, k]
        is_touched = (stop > 0.0) & (stop <= runs.adverse[r] + slack)
        is_touched |= (target > 0.0) & (target <= runs.favourable[r] + slack)
        is_touched |= (levels[2, k] > 0.0) | (levels[3, k] > 0.0)
        is_touched |= (max_bars > 0.0) & (max_bars < runs.end[r] - runs.entry[r])
        flags[k] = is_touched & (runs.is_hard[r] == 0)
        is_limit |= levels[4, k] > 0.0
    if is_limit:
        return -1
    n = 0
    for k in range(end - first):
        who[n] = k
        n += flags[k]
    for j in range(n):
        k = who[j]
        for row in range(6):
            levels[row, j] = levels[row, k]
        who[j] = first + k
        at[j] = runs.entry[first + k]
    return n


@kernel
def unbook(market: SweepMarket, runs: Runs, n: int, who: IntArray, sums: FloatArray, daily: FloatArray) -> None:
    """Take the first `n` runs of `who` out of the totals again."""
    for j in range(n):
        _book_base(market, runs, who[j], sums, daily, -1.0)


@kernel
def play(
    market: SweepMarket,
    runs: Runs,
    n: int,
    who: IntArray,
    at: IntArray,
    levels: FloatArray,
    sums: FloatArray,
    daily: FloatArray,
    sign: float,
    redo: IntArray,
    n_redo: int,
) -> tuple[int, int]:
    """Play one trade in each of `n` runs, entered at the bars `at` with the brackets `levels`.

    Writes the runs that are entered again, and where, to the front of `who` and `at`; appends those that the engine must
    play to `redo`. Returns both numbers.
    """
    n_bars = market.open.size
    tick = market.tick_num / market.tick_den
    again = 0
    for j in range(n):
        r, entry = who[j], at[j]
        side, end = runs.side[r], runs.end[r]
        s = float(side)
        qty = _qty(market, entry - 1)
        price = _price(market, entry, market.open[entry], side, qty)
        stop, target, trail, break_even, max_bars = levels[0, j], levels[1, j], levels[2, j], levels[3, j], levels[5, j]
        stop_level = math.nan
        if stop > 0.0:
            stop_level = whole_steps(price - s * stop, market.tick_num, market.tick_den, side < 0)
        target_level = math.nan
        if target > 0.0:
            target_level = whole_steps(price + s * target, market.tick_num, market.tick_den, side < 0)
        # The bar at whose open time is up; beyond `end` it never is.
        time_up = entry + math.ceil(max_bars) if 0.0 < max_bars < end - entry else end

        bar, at_open, is_limit, is_ambiguous, is_end, reference = -1, False, False, False, False, 0.0
        if trail > 0.0 or break_even > 0.0:
            bar, at_open, is_limit, is_ambiguous, reference = _moving_exit(
                market, side, price, entry, time_up, stop_level, target_level, trail, break_even
            )
        else:
            worst = runs.lowest[entry] if side > 0 else runs.highest[entry]
            best = runs.highest[entry] if side > 0 else runs.lowest[entry]
            if s * (worst - stop_level) <= 0.0 or s * (best - target_level) >= 0.0:  # false for nan
                bar, at_open, is_limit, is_ambiguous, reference = _fixed_exit(
                    market, side, entry, time_up, stop_level, target_level, tick
                )
        is_bracket = bar >= 0
        if not is_bracket:
            at_open = time_up < n_bars
            is_end = not at_open
            bar = time_up if at_open else n_bars - 1
            reference = market.open[bar] if at_open else market.close[bar]
            is_bracket = time_up < end
            # The target rests until the open at which the market order closes what is left.
            if at_open and is_through(tick, side, reference, target_level):
                reference, is_limit = target_level, True
        if market.is_thin[bar] != 0 or market.is_thin[entry] != 0:
            if sign > 0.0:
                redo[n_redo] = r
            n_redo += 1
            continue
        at_cost = bar * market.cost_stride
        exit_price, rate = reference, market.maker[at_cost]
        if not is_limit:
            exit_price, rate = _price(market, bar, reference, -side, qty), market.taker[at_cost]
        fee = rate * qty * exit_price
        _book(
            market,
            sums,
            daily,
            sign,
            side,
            qty,
            entry,
            price,
            bar,
            at_open,
            reference,
            exit_price,
            fee,
            is_ambiguous,
            is_end,
        )
        if is_bracket and not market.is_edge:
            entry = _next_entry(market, bar + 1, end)
            if entry >= 0:
                who[again] = r
                at[again] = entry
                again += 1
    return again, n_redo


@kernel
def _fixed_exit(
    market: SweepMarket, side: int, entry: int, time_up: int, stop_level: float, target_level: float, tick: float
) -> tuple[int, bool, bool, bool, float]:
    """First bar in [entry, time_up] that fills a stop or target that stays where it is.

    Returns the bar (-1: none), whether at its open, whether the target, whether ambiguous, and the reference price.
    """
    s = float(side)
    # Beyond any price where there is no such level.
    stop = stop_level if not math.isnan(stop_level) else -s * math.inf
    target = target_level if not math.isnan(target_level) else s * math.inf
    t = entry
    while True:
        if side > 0:
            while t < time_up and market.low[t] > stop and market.high[t] < target:
                t += 1
        else:
            while t < time_up and market.high[t] < stop and market.low[t] > target:
                t += 1
        if t >= time_up:
            break
        o = market.open[t]
        if t > entry:
            if s * (o - stop) <= 0.0:
                return t, True, False, False, o
            if is_through(tick, side, o, target_level):
                return t, True, True, False, target_level
        worst, best = (market.low[t], market.high[t]) if side > 0 else (market.high[t], market.low[t])
        is_stopped = s * (worst - stop) <= 0.0
        is_reached = is_through(tick, side, best, target_level)
        if is_stopped or is_reached:
            outcome, reference, is_unclear = bar_outcome(
                market.same_bar, side, o, market.high[t], market.low[t], stop, is_stopped, is_reached
            )
            if outcome == STOPPED:
                return t, False, False, is_unclear, reference
            return t, False, True, is_unclear, target_level
        t += 1  # the target was touched, not traded through
    return -1, False, False, False, 0.0


@kernel
def _moving_exit(
    market: SweepMarket,
    side: int,
    price: float,
    entry: int,
    time_up: int,
    stop_level: float,
    target_level: float,
    trail: float,
    break_even: float,
) -> tuple[int, bool, bool, bool, float]:
    """The same for levels that follow the best price so far (F6)."""
    s, extreme = float(side), price
    tick = market.tick_num / market.tick_den
    for t in range(entry, min(time_up + 1, market.open.size)):
        level = stop_level
        if trail > 0.0:
            follows = whole_steps(extreme - s * trail, market.tick_num, market.tick_den, side < 0)
            if math.isnan(level) or s * (follows - level) > 0.0:
                level = follows
        if break_even > 0.0 and s * (extreme - price) >= break_even:
            even = whole_steps(price, market.tick_num, market.tick_den, side < 0)
            if math.isnan(level) or s * (even - level) > 0.0:
                level = even
        o = market.open[t]
        if t > entry:
            if s * (o - level) <= 0.0:
                return t, True, False, False, o
            if is_through(tick, side, o, target_level):
                return t, True, True, False, target_level
        if t == time_up:
            break
        worst, best = (market.low[t], market.high[t]) if side > 0 else (market.high[t], market.low[t])
        is_stopped = s * (worst - level) <= 0.0
        is_reached = is_through(tick, side, best, target_level)
        if is_stopped or is_reached:
            outcome, reference, is_unclear = bar_outcome(
                market.same_bar, side, o, market.high[t], market.low[t], level, is_stopped, is_reached
            )
            if outcome == STOPPED:
                return t, False, False, is_unclear, reference
            return t, False, True, is_unclear, target_level
        extreme = max(extreme, best) if side > 0 else min(extreme, best)
    return -1, False, False, False, 0.0


@kernel
def play_by_engine(
    engine: Engine, market: SweepMarket, first: int, end: int, next_first: int, sums: FloatArray, daily: FloatArray
) -> bool:
    """Play bars [first, end) and the exit after them with the fill engine, flat before and after; brackets are set.

    Returns False if the position cannot be closed before `next_first`, or cash was short: then runs are not independent.
    """
    n = market.open.size
    books, curves, side = engine.books, engine.curves, engine.market.side
    books.account[0] = engine.account[0]
    books.symbols[0] = engine.symbols[0]
    books.counters[:] = 0
    step = first
    while step < n and (step < end or books.symbols[0]["side"] != 0):
        if step > end and step >= next_first:
            return False
        wanted = side[step - 1]
        if step >= end:
            side[step - 1] = 0  # the position is closed; what is wanted then is the next run's
        fill_steps(engine.market, engine.fine, books, curves, engine.steps, engine.step_of, step, step + 1, True)
        side[step - 1] = wanted
        step += 1
    before = engine.account[0]["cash"]
    mark = market.mark_of[first]
    while mark < market.mark_bar.size and market.mark_bar[mark] < step:
        equity = curves.equity[market.mark_bar[mark]]
        daily[EQUITY, mark] += equity - before
        before = equity
        mark += 1
    daily[EQUITY, market.mark_of[step - 1]] += curves.equity[step - 1] - before
    for t in range(first, step):
        sums[_HELD] += curves.held[t]
        curves.held[t] = False
    for i in range(books.account[0]["n_trades"]):
        trade = books.trades[i]
        s, qty = trade["side"], trade["qty"]
        gross = s * qty * (trade["exit_ref"] - trade["entry_ref"])
        at_fills = s * qty * (trade["exit_price"] - trade["entry_price"])
        fees = trade["entry_fee"] + trade["exit_fee"]
        pnl = at_fills - fees - trade["funding"] - trade["borrow"]
        sums[_COUNT] += 1.0
        if pnl > 0.0:
            sums[_WINS] += 1.0
            sums[_WON] += pnl
        else:
            sums[_LOST] -= pnl
        sums[_GROSS] += gross
        sums[_FEES] += fees
        sums[_SLIPPAGE] += gross - at_fills
        sums[_FUNDING] += trade["funding"]
        sums[_BORROW] += trade["borrow"]
        sums[_NOTIONAL] += qty * (trade["entry_price"] + trade["exit_price"])
        sums[_AMBIGUOUS] += trade["ambiguous"]
        mark = market.mark_of[trade["exit_bar"]]
        daily[REALISED, mark] += pnl
        if pnl < 0.0:
            daily[LOSSES, mark] -= pnl
    is_short_of_cash = books.counters[_REDUCED_TO_CASH] > 0 or books.counters[_NO_CASH] > 0
    return books.account[0]["ruined_at"] < 0 and not is_short_of_cash
