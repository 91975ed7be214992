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
from grodtd.domain.sweep import SUMS
from grodtd.execution.fill_kernel import (
    STOPPED,
    Books,
    Curves,
    FineBars,
    Market,
    Record,
    Rows,
    bar_outcome,
    fill_steps,
    is_through,
    whole_steps,
)

Flags = npt.NDArray[np.uint8]
SmallInts = npt.NDArray[np.int32]

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


# Columns of `SweepMarket.prices` and `.costs`.
OPEN, HIGH, LOW, CLOSE = range(4)
TAKER, MAKER, WORSE, IMPACT = range(4)

# What does not change from bar to bar. A record, because records travel between functions as one pointer, while each
# array of a tuple has its references counted in every call. For that reason small functions take arrays, not tuples.
TERMS_DTYPE: Final = np.dtype(
    [
        ("tick_num", np.float64),
        ("tick_den", np.float64),
        ("lot_num", np.float64),
        ("lot_den", np.float64),
        ("qty", np.float64),  # of every trade; or, if `notional` is above zero, that over the close, in whole lots
        ("notional", np.float64),
        ("borrow_rate", np.float64),
        ("interval_us", np.int64),
        ("same_bar", np.int64),
        ("cost_stride", np.int64),  # 0 where costs are the same in all bars; then `costs` has one row
        ("n_bars", np.int64),
        ("is_edge", np.bool_),
        ("has_gate", np.bool_),
        ("has_funding", np.bool_),
    ]
)


class SweepMarket(NamedTuple):
    """What all combinations share, by bar unless said otherwise."""

    terms: Rows  # one row of TERMS_DTYPE
    time: IntArray
    prices: FloatArray  # (n, 4)
    costs: FloatArray  # (n or 1, 4): fees, half-spread and slippage, impact times the root of the quantity; fractions
    gate: SideArray
    silent: SmallInts  # bars before this one without volume; n + 1 of them
    is_thin: Flags  # too little volume for three fills under the volume cap
    mark_of: SmallInts  # the first daily mark at or after the bar's close; the number of marks after the last
    mark_bar: IntArray  # by mark: the last bar closed by then
    paid: FloatArray  # funding a held unit has paid before the bar; n + 1 of them


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
def _qty(terms: Record, close: float) -> float:
    if terms["notional"] <= 0.0:
        return float(terms["qty"])
    return whole_steps(terms["notional"] / close, terms["lot_num"], terms["lot_den"], False)


@kernel
def _price(terms: Record, costs: FloatArray, bar: int, reference: float, direction: int, qty: float) -> float:
    """Fill price of a market order or stop (F1, F9)."""
    at = bar * terms["cost_stride"]
    worse = costs[at, WORSE]
    if costs[at, IMPACT] > 0.0:
        worse += costs[at, IMPACT] * math.sqrt(qty)
    return whole_steps(reference * (1.0 + direction * worse), terms["tick_num"], terms["tick_den"], direction > 0)


@kernel
def _next_entry(has_gate: bool, gate: SideArray, bar: int, end: int) -> int:
    """First bar in [bar, end) whose decision the gate lets through, or -1."""
    if not has_gate:
        return bar if bar < end else -1
    for t in range(bar, end):
        if gate[t - 1] == 1:
            return t
    return -1


@kernel
def _borrow(
    terms: Record, time: IntArray, prices: FloatArray, qty: float, entry: int, exit_bar: int, at_open: bool, ref: float
) -> float:
    """Borrow of a short, as the engine charges it: each hour started, at the close of the bar it starts in (F11)."""
    hours, paid, bar_us = 0, 0.0, terms["interval_us"]
    for t in range(entry, exit_bar + 1):
        is_exit = t == exit_bar
        until = time[t] + (0 if is_exit and at_open else bar_us)
        started = max(-((time[entry] - until) // _HOUR_US), 1)
        if started > hours:
            paid += (started - hours) * terms["borrow_rate"] * qty * (ref if is_exit else prices[t, CLOSE])
            hours = started
    return float(paid)


@kernel
def _book(
    sums: FloatArray,
    daily: FloatArray,
    sign: float,
    gross: float,
    at_fills: float,
    fees: float,
    funding: float,
    borrow: float,
    notional: float,
    held: int,
    is_ambiguous: bool,
    mark: int,
) -> float:
    """Add a trade to the sums of a combination, or with sign -1 take it out again; return its net profit."""
    pnl = at_fills - fees - funding - borrow
    sums[_COUNT] += sign
    if pnl > 0.0:
        sums[_WINS] += sign
        sums[_WON] += sign * pnl
    else:
        sums[_LOST] -= sign * pnl
        daily[LOSSES, mark] -= sign * pnl
    sums[_GROSS] += sign * gross
    sums[_FEES] += sign * fees
    sums[_SLIPPAGE] += sign * (gross - at_fills)
    sums[_FUNDING] += sign * funding
    sums[_BORROW] += sign * borrow
    sums[_NOTIONAL] += sign * notional
    sums[_HELD] += sign * held
    sums[_AMBIGUOUS] += sign * is_ambiguous
    daily[REALISED, mark] += sign * pnl
    daily[EQUITY, mark] += sign * pnl
    return pnl


@kernel
def _book_marks(
    market: SweepMarket, daily: FloatArray, sign: float, side: int, qty: float, entry: int, exit_bar: int, price: float
) -> None:
    """Move the profit of a trade held over daily marks to the days it was made in."""
    terms, prices, mark_bar = market.terms[0], market.prices, market.mark_bar
    entry_fee = market.costs[entry * terms["cost_stride"], TAKER] * qty * price
    before, last = 0.0, market.mark_of[exit_bar]
    for mark in range(market.mark_of[entry], last):
        t = mark_bar[mark]
        open_pnl = side * qty * (prices[t, CLOSE] - price) - entry_fee
        if terms["has_funding"]:
            open_pnl -= side * qty * (market.paid[t + 1] - market.paid[entry])
        if terms["borrow_rate"] > 0.0 and side < 0:
            open_pnl -= _borrow(terms, market.time, prices, qty, entry, t, False, prices[t, CLOSE])
        daily[EQUITY, mark] += sign * (open_pnl - before)
        before = open_pnl
    daily[EQUITY, last] -= sign * before


@kernel
def _book_base(
    market: SweepMarket, runs: Runs, n: int, who: IntArray, sums: FloatArray, daily: FloatArray, sign: float
) -> None:
    """Book the first `n` runs of `who`, as if their brackets were never touched."""
    terms = market.terms[0]
    time, prices, costs, mark_of, paid = market.time, market.prices, market.costs, market.mark_of, market.paid
    entries, ends, sides, entry_prices = runs.entry, runs.end, runs.side, runs.price
    stride, has_funding = terms["cost_stride"], terms["has_funding"]
    for j in range(n):
        r = who[j]
        entry, end, side, price = entries[r], ends[r], sides[r], entry_prices[r]
        qty = _qty(terms, prices[entry - 1, CLOSE])
        at_open = end < terms["n_bars"]
        bar = end if at_open else end - 1
        reference = prices[bar, OPEN] if at_open else prices[bar, CLOSE]
        exit_price = _price(terms, costs, bar, reference, -side, qty)
        fees = qty * (costs[entry * stride, TAKER] * price + costs[bar * stride, TAKER] * exit_price)
        # Settled at the end of each bar it is still held at; the end of the data comes after that.
        funding = side * qty * (paid[end] - paid[entry]) if has_funding else 0.0
        borrow = 0.0
        if terms["borrow_rate"] > 0.0 and side < 0:
            borrow = _borrow(terms, time, prices, qty, entry, bar, at_open, reference)
        gross = side * qty * (reference - prices[entry, OPEN])
        at_fills = side * qty * (exit_price - price)
        notional = qty * (price + exit_price)
        _book(sums, daily, sign, gross, at_fills, fees, funding, borrow, notional, end - entry, False, mark_of[bar])
        if mark_of[bar] > mark_of[entry]:
            _book_marks(market, daily, sign, side, qty, entry, bar, price)


@kernel
def build_runs(
    market: SweepMarket, side: SideArray, runs: Runs, sums: FloatArray, daily: FloatArray
) -> tuple[int, float]:
    """Fill `runs` from the wanted sides, add their totals without brackets to `sums` and `daily`.

    Returns the number of runs, and the furthest that a short went against its price, as a fraction of it.
    """
    terms = market.terms[0]
    prices, costs, gate, silent, is_thin = market.prices, market.costs, market.gate, market.silent, market.is_thin
    firsts, entries, ends, sides, entry_prices = runs.first, runs.entry, runs.end, runs.side, runs.price
    is_hard, adverse, favourable, highest, lowest = (
        runs.is_hard,
        runs.adverse,
        runs.favourable,
        runs.highest,
        runs.lowest,
    )
    easy = np.empty(entries.size, dtype=np.int64)
    n, has_gate = side.size, bool(terms["has_gate"])
    count, n_easy, worst_short = 0, 0, 0.0
    t = 1
    while t < n:
        s = side[t - 1]
        if s == 0:
            t += 1
            continue
        first = t
        while t < n and side[t - 1] == s:
            t += 1
        entry = _next_entry(has_gate, gate, first, t)
        if entry < 0:
            continue
        high, low = -math.inf, math.inf
        if t < n:
            high, low = (prices[t, OPEN], math.inf) if s > 0 else (-math.inf, prices[t, OPEN])
        for u in range(t - 1, entry - 1, -1):
            high = max(high, prices[u, HIGH])
            low = min(low, prices[u, LOW])
            highest[u] = high
            lowest[u] = low
        price = _price(terms, costs, entry, prices[entry, OPEN], s, _qty(terms, prices[entry - 1, CLOSE]))
        firsts[count] = first
        entries[count] = entry
        ends[count] = t
        sides[count] = s
        entry_prices[count] = price
        adverse[count] = price - low if s > 0 else high - price
        favourable[count] = high - price if s > 0 else price - low
        if s < 0:
            worst_short = max(worst_short, high / low)
        # Orders wait in a bar without volume, and are cut in one with too little of it.
        is_hard[count] = silent[min(t + 1, n)] > silent[first] or is_thin[entry] != 0 or is_thin[min(t, n - 1)] != 0
        if is_hard[count] == 0:
            easy[n_easy] = count
            n_easy += 1
        count += 1
    _book_base(market, runs, n_easy, easy, sums, daily, 1.0)
    return count, worst_short


@kernel
def screen(runs: Runs, first: int, end: int, levels: FloatArray, who: IntArray, at: IntArray, flags: Flags) -> int:
    """Find the runs of a tile whose bracket may be touched; move their brackets to the front of `levels`.

    Returns their number, or -1 if a bracket enters by a limit, which the engine must play.
    """
    is_limit = False
    # Views of the tile, so that no index can be negative: then the loop becomes vector instructions.
    n_tile = end - first
    price, adverse, favourable = runs.price[first:end], runs.adverse[first:end], runs.favourable[first:end]
    entry, ends, is_hard = runs.entry[first:end], runs.end[first:end], runs.is_hard[first:end]
    stop, target, trail, even = levels[0, :n_tile], levels[1, :n_tile], levels[2, :n_tile], levels[3, :n_tile]
    limit, max_bars = levels[4, :n_tile], levels[5, :n_tile]
    for k in range(n_tile):
        slack = _NOISE * price[k]
        is_touched = (stop[k] > 0.0) & (stop[k] <= adverse[k] + slack)
        is_touched |= (target[k] > 0.0) & (target[k] <= favourable[k] + slack)
        is_touched |= (trail[k] > 0.0) | (even[k] > 0.0)
        is_touched |= (max_bars[k] > 0.0) & (max_bars[k] < ends[k] - entry[k])
        flags[k] = is_touched & (is_hard[k] == 0)
        is_limit |= limit[k] > 0.0
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
    _book_base(market, runs, n, who, sums, daily, -1.0)


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

    Writes the runs that are entered again, and where, to the front of `who` and `at`; appends those that the engine
    must play to `redo`. Returns both numbers.
    """
    terms = market.terms[0]
    time, prices, costs, gate, is_thin = market.time, market.prices, market.costs, market.gate, market.is_thin
    mark_of, paid = market.mark_of, market.paid
    ends, sides, highest, lowest = runs.end, runs.side, runs.highest, runs.lowest
    n_bars, stride, tick_num, tick_den = terms["n_bars"], terms["cost_stride"], terms["tick_num"], terms["tick_den"]
    tick = tick_num / tick_den
    again = 0
    for j in range(n):
        r, entry = who[j], at[j]
        side, end = sides[r], ends[r]
        s = float(side)
        qty = _qty(terms, prices[entry - 1, CLOSE])
        price = _price(terms, costs, entry, prices[entry, OPEN], side, qty)
        stop, target, trail, break_even, max_bars = levels[0, j], levels[1, j], levels[2, j], levels[3, j], levels[5, j]
        stop_level = math.nan
        if stop > 0.0:
            stop_level = whole_steps(price - s * stop, tick_num, tick_den, side < 0)
        target_level = math.nan
        if target > 0.0:
            target_level = whole_steps(price + s * target, tick_num, tick_den, side < 0)
        # The bar at whose open time is up; beyond `end` it never is.
        time_up = entry + math.ceil(max_bars) if 0.0 < max_bars < end - entry else end

        bar, at_open, is_limit, is_ambiguous, is_end, reference = -1, False, False, False, False, 0.0
        if trail > 0.0 or break_even > 0.0:
            bar, at_open, is_limit, is_ambiguous, reference = _moving_exit(
                prices, terms, side, price, entry, time_up, stop_level, target_level, trail, break_even
            )
        else:
            worst = lowest[entry] if side > 0 else highest[entry]
            best = highest[entry] if side > 0 else lowest[entry]
            if s * (worst - stop_level) <= 0.0 or s * (best - target_level) >= 0.0:  # false for nan
                bar, at_open, is_limit, is_ambiguous, reference = _fixed_exit(
                    prices, terms["same_bar"], side, entry, time_up, stop_level, target_level, tick
                )
        is_bracket = bar >= 0
        if not is_bracket:
            at_open = time_up < n_bars
            is_end = not at_open
            bar = time_up if at_open else n_bars - 1
            reference = prices[bar, OPEN] if at_open else prices[bar, CLOSE]
            is_bracket = time_up < end
            # The target rests until the open at which the market order closes what is left.
            if at_open and is_through(tick, side, reference, target_level):
                reference, is_limit = target_level, True
        if is_thin[bar] != 0 or is_thin[entry] != 0:
            if sign > 0.0:
                redo[n_redo] = r
            n_redo += 1
            continue
        exit_price, rate = reference, costs[bar * stride, MAKER]
        if not is_limit:
            exit_price, rate = _price(terms, costs, bar, reference, -side, qty), costs[bar * stride, TAKER]
        fees = qty * (costs[entry * stride, TAKER] * price + rate * exit_price)
        funding = borrow = 0.0
        if terms["has_funding"]:
            funding = side * qty * (paid[bar + 1 if is_end else bar] - paid[entry])
        if terms["borrow_rate"] > 0.0 and side < 0:
            borrow = _borrow(terms, time, prices, qty, entry, bar, at_open, reference)
        gross = side * qty * (reference - prices[entry, OPEN])
        at_fills = side * qty * (exit_price - price)
        held = bar - entry if at_open else bar - entry + 1
        notional = qty * (price + exit_price)
        _book(sums, daily, sign, gross, at_fills, fees, funding, borrow, notional, held, is_ambiguous, mark_of[bar])
        if mark_of[bar] > mark_of[entry]:
            _book_marks(market, daily, sign, side, qty, entry, bar, price)
        if is_bracket and not terms["is_edge"]:
            entry = _next_entry(terms["has_gate"], gate, bar + 1, end)
            if entry >= 0:
                who[again] = r
                at[again] = entry
                again += 1
    return again, n_redo


@kernel
def _fixed_exit(
    prices: FloatArray,
    same_bar: int,
    side: int,
    entry: int,
    time_up: int,
    stop_level: float,
    target_level: float,
    tick: float,
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
            while t < time_up and prices[t, LOW] > stop and prices[t, HIGH] < target:
                t += 1
        else:
            while t < time_up and prices[t, HIGH] < stop and prices[t, LOW] > target:
                t += 1
        if t >= time_up:
            break
        o = prices[t, OPEN]
        if t > entry:
            if s * (o - stop) <= 0.0:
                return t, True, False, False, o
            if is_through(tick, side, o, target_level):
                return t, True, True, False, target_level
        worst, best = (prices[t, LOW], prices[t, HIGH]) if side > 0 else (prices[t, HIGH], prices[t, LOW])
        is_stopped = s * (worst - stop) <= 0.0
        is_reached = is_through(tick, side, best, target_level)
        if is_stopped or is_reached:
            outcome, reference, is_unclear = bar_outcome(
                same_bar, side, o, prices[t, HIGH], prices[t, LOW], stop, is_stopped, is_reached
            )
            if outcome == STOPPED:
                return t, False, False, is_unclear, reference
            return t, False, True, is_unclear, target_level
        t += 1  # the target was touched, not traded through
    return -1, False, False, False, 0.0


@kernel
def _moving_exit(
    prices: FloatArray,
    terms: Record,
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
    tick_num, tick_den = terms["tick_num"], terms["tick_den"]
    tick = tick_num / tick_den
    for t in range(entry, min(time_up + 1, terms["n_bars"])):
        level = stop_level
        if trail > 0.0:
            follows = whole_steps(extreme - s * trail, tick_num, tick_den, side < 0)
            if math.isnan(level) or s * (follows - level) > 0.0:
                level = follows
        if break_even > 0.0 and s * (extreme - price) >= break_even:
            even = whole_steps(price, tick_num, tick_den, side < 0)
            if math.isnan(level) or s * (even - level) > 0.0:
                level = even
        o = prices[t, OPEN]
        if t > entry:
            if s * (o - level) <= 0.0:
                return t, True, False, False, o
            if is_through(tick, side, o, target_level):
                return t, True, True, False, target_level
        if t == time_up:
            break
        worst, best = (prices[t, LOW], prices[t, HIGH]) if side > 0 else (prices[t, HIGH], prices[t, LOW])
        is_stopped = s * (worst - level) <= 0.0
        is_reached = is_through(tick, side, best, target_level)
        if is_stopped or is_reached:
            outcome, reference, is_unclear = bar_outcome(
                terms["same_bar"], side, o, prices[t, HIGH], prices[t, LOW], level, is_stopped, is_reached
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

    Returns False if the position cannot be closed before `next_first` or cash was short: runs are not independent then.
    """
    n = market.time.size
    books, curves, side = engine.books, engine.curves, engine.market.side
    books.account[0] = engine.account[0]
    books.symbols[0] = engine.symbols[0]
    books.counters[:] = 0
    step = first
    while step < n and (step < end or books.symbols[0]["side"] != 0):
        if step > end and step >= next_first:
            return False
        curves.held[step] = False  # the engine writes only what is held
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
    for i in range(books.account[0]["n_trades"]):
        trade = books.trades[i]
        s, qty = trade["side"], trade["qty"]
        gross = s * qty * (trade["exit_ref"] - trade["entry_ref"])
        at_fills = s * qty * (trade["exit_price"] - trade["entry_price"])
        fees, notional = trade["entry_fee"] + trade["exit_fee"], qty * (trade["entry_price"] + trade["exit_price"])
        mark = market.mark_of[trade["exit_bar"]]
        pnl = _book(
            sums,
            daily,
            1.0,
            gross,
            at_fills,
            fees,
            trade["funding"],
            trade["borrow"],
            notional,
            0,
            trade["ambiguous"],
            mark,
        )
        daily[EQUITY, mark] -= pnl  # it is in the equity curve already
    is_short_of_cash = books.counters[_REDUCED_TO_CASH] > 0 or books.counters[_NO_CASH] > 0
    return books.account[0]["ruined_at"] < 0 and not is_short_of_cash
