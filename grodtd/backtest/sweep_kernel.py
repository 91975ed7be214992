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

from grodtd.backtest.level_search import first_touch
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
# Layers of the daily array: result of trades closed, losses among them, and what of it belongs to other days because
# the trade was held over a mark. Equity changes by the first and the last.
REALISED, LOSSES, CARRIED = range(3)
# Columns of `Runs.base`.
_PNL, _BASE_GROSS, _BASE_SLIPPAGE, _BASE_FEES, _BASE_FUNDING, _BASE_BORROW, _BASE_NOTIONAL, _BASE_HELD = range(8)
BASE_COLUMNS: Final = 8

# What became of a combination.
SHARED, NEEDS_ENGINE = range(2)

TILE_RUNS: Final = 512
FEW: Final = 32  # trades that are not worth a call of `play`
# Rows of the scratch array `levels`: the bracket by trade, overwritten by the prices it comes to.
LEVEL_ROWS: Final = 6
_STOP, _TARGET, _TRAIL, _EVEN, _PRICE, _MAX_BARS = range(LEVEL_ROWS)
_HOUR_US: Final = 3_600_000_000
_REDUCED_TO_CASH: Final = COUNTERS.index("reduced_to_cash")
_NO_CASH: Final = COUNTERS.index("rejected_no_cash")
_NOISE: Final = 2e-9  # of a price: more than any rounding of a level to its tick forgives


# Columns of `SweepMarket.costs`.
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
        ("has_thin", np.bool_),  # whether any bar is thin
    ]
)


class SweepMarket(NamedTuple):
    """What all combinations share, by bar unless said otherwise."""

    terms: Rows  # one row of TERMS_DTYPE
    time: IntArray
    open: FloatArray
    high: FloatArray
    low: FloatArray
    close: FloatArray
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
    base: FloatArray  # (n, BASE_COLUMNS): what it comes to if its bracket is never touched


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
def _price(terms: Record, worse: float, impact: float, reference: float, direction: int, qty: float) -> float:
    """Fill price of a market order or stop (F1, F9)."""
    if impact > 0.0:
        worse += impact * math.sqrt(qty)
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
    terms: Record, time: IntArray, close: FloatArray, qty: float, entry: int, exit_bar: int, at_open: bool, ref: float
) -> float:
    """Borrow of a short, as the engine charges it: each hour started, at the close of the bar it starts in (F11)."""
    hours, paid, bar_us = 0, 0.0, terms["interval_us"]
    for t in range(entry, exit_bar + 1):
        is_exit = t == exit_bar
        until = time[t] + (0 if is_exit and at_open else bar_us)
        started = max(-((time[entry] - until) // _HOUR_US), 1)
        if started > hours:
            paid += (started - hours) * terms["borrow_rate"] * qty * (ref if is_exit else close[t])
            hours = started
    return float(paid)


@kernel
def _book_marks(
    terms: Record,
    time: IntArray,
    close: FloatArray,
    paid: FloatArray,
    mark_bar: IntArray,
    carried: FloatArray,
    first_mark: int,
    last_mark: int,
    sign: float,
    side: int,
    qty: float,
    entry: int,
    price: float,
    entry_fee: float,
) -> None:
    """Move the profit of a trade held over daily marks to the days it was made in."""
    before = 0.0
    for mark in range(first_mark, last_mark):
        t = mark_bar[mark]
        open_pnl = side * qty * (close[t] - price) - entry_fee
        if terms["has_funding"]:
            open_pnl -= side * qty * (paid[t + 1] - paid[entry])
        if terms["borrow_rate"] > 0.0 and side < 0:
            open_pnl -= _borrow(terms, time, close, qty, entry, t, False, close[t])
        carried[mark] += sign * (open_pnl - before)
        before = open_pnl
    carried[last_mark] -= sign * before


@kernel
def _write_base(market: SweepMarket, runs: Runs, n: int) -> None:
    """Write down what each of the first `n` runs comes to if its bracket is never touched."""
    terms = market.terms[0]
    time, open_, close, costs, paid = market.time, market.open, market.close, market.costs, market.paid
    entries, ends, sides, prices, base = runs.entry, runs.end, runs.side, runs.price, runs.base
    stride, has_funding, has_borrow = terms["cost_stride"], terms["has_funding"], terms["borrow_rate"] > 0.0
    for r in range(n):
        entry, end, side, price = entries[r], ends[r], sides[r], prices[r]
        qty = _qty(terms, close[entry - 1])
        at_open = end < terms["n_bars"]
        bar = end if at_open else end - 1
        reference = open_[bar] if at_open else close[bar]
        exit_price = _price(terms, costs[bar * stride, WORSE], costs[bar * stride, IMPACT], reference, -side, qty)
        fees = qty * (costs[entry * stride, TAKER] * price + costs[bar * stride, TAKER] * exit_price)
        # Settled at the end of each bar it is still held at; the end of the data comes after that.
        funding = side * qty * (paid[end] - paid[entry]) if has_funding else 0.0
        borrow = 0.0
        if has_borrow and side < 0:
            borrow = _borrow(terms, time, close, qty, entry, bar, at_open, reference)
        gross = side * qty * (reference - open_[entry])
        at_fills = side * qty * (exit_price - price)
        base[r, _PNL] = at_fills - fees - funding - borrow
        base[r, _BASE_GROSS] = gross
        base[r, _BASE_SLIPPAGE] = gross - at_fills
        base[r, _BASE_FEES] = fees
        base[r, _BASE_FUNDING] = funding
        base[r, _BASE_BORROW] = borrow
        base[r, _BASE_NOTIONAL] = qty * (price + exit_price)
        base[r, _BASE_HELD] = end - entry


@kernel
def book_base(
    market: SweepMarket, runs: Runs, n: int, who: IntArray, sums: FloatArray, daily: FloatArray, sign: float
) -> None:
    """Add what the first `n` runs of `who` come to with untouched brackets, or with sign -1 take it out again."""
    terms = market.terms[0]
    time, close, paid, costs = market.time, market.close, market.paid, market.costs
    mark_of, mark_bar = market.mark_of, market.mark_bar
    entries, ends, sides, prices, base = runs.entry, runs.end, runs.side, runs.price, runs.base
    realised, losses, carried = daily[REALISED], daily[LOSSES], daily[CARRIED]
    last_bar = terms["n_bars"] - 1
    wins, won, lost, gross, slippage, fees, funding, borrow, notional, held = 0, *(0.0,) * 9
    for j in range(n):
        r = who[j]
        pnl = base[r, _PNL]
        loss = -min(pnl, 0.0)
        wins += pnl > 0.0
        won += max(pnl, 0.0)
        lost += loss
        gross += base[r, _BASE_GROSS]
        slippage += base[r, _BASE_SLIPPAGE]
        fees += base[r, _BASE_FEES]
        funding += base[r, _BASE_FUNDING]
        borrow += base[r, _BASE_BORROW]
        notional += base[r, _BASE_NOTIONAL]
        held += base[r, _BASE_HELD]
        bar = min(ends[r], last_bar)
        entry, mark = entries[r], mark_of[bar]
        realised[mark] += sign * pnl
        losses[mark] += sign * loss
        if mark > mark_of[entry]:
            side, price, qty = sides[r], prices[r], _qty(terms, close[entry - 1])
            entry_fee = costs[entry * terms["cost_stride"], TAKER] * qty * price
            _book_marks(
                terms,
                time,
                close,
                paid,
                mark_bar,
                carried,
                mark_of[entry],
                mark,
                sign,
                side,
                qty,
                entry,
                price,
                entry_fee,
            )
    _add(sums, sign, n, wins, won, lost, gross, slippage, fees, funding, borrow, notional, held, 0)


@kernel
def _add(
    sums: FloatArray,
    sign: float,
    count: int,
    wins: int,
    won: float,
    lost: float,
    gross: float,
    slippage: float,
    fees: float,
    funding: float,
    borrow: float,
    notional: float,
    held: float,
    ambiguous: int,
) -> None:
    """Add totals of trades to the sums of a combination, or with sign -1 take them out again."""
    sums[_COUNT] += sign * count
    sums[_WINS] += sign * wins
    sums[_WON] += sign * won
    sums[_LOST] += sign * lost
    sums[_GROSS] += sign * gross
    sums[_SLIPPAGE] += sign * slippage
    sums[_FEES] += sign * fees
    sums[_FUNDING] += sign * funding
    sums[_BORROW] += sign * borrow
    sums[_NOTIONAL] += sign * notional
    sums[_HELD] += sign * held
    sums[_AMBIGUOUS] += sign * ambiguous


@kernel
def build_runs(
    market: SweepMarket, side: SideArray, runs: Runs, sums: FloatArray, daily: FloatArray
) -> tuple[int, float]:
    """Fill `runs` from the wanted sides, add their totals without brackets to `sums` and `daily`.

    Returns the number of runs, and the furthest that a short went against its price, as a fraction of it.
    """
    terms = market.terms[0]
    high, low, open_, close = market.high, market.low, market.open, market.close
    costs, gate, silent, is_thin = market.costs, market.gate, market.silent, market.is_thin
    firsts, entries, ends, sides, prices = runs.first, runs.entry, runs.end, runs.side, runs.price
    is_hard, adverse, favourable, stride = runs.is_hard, runs.adverse, runs.favourable, terms["cost_stride"]
    n, has_gate, has_thin = side.size, bool(terms["has_gate"]), bool(terms["has_thin"])
    if n < 2:
        return 0, 0.0
    # Bars at which the wanted side changes, and then those of them that lead to an entry, are picked without a branch:
    # nobody could predict it.
    firsts[0], n_changes = 1, 1
    for t in range(2, n):
        firsts[n_changes] = t
        n_changes += side[t - 1] != side[t - 2]
    count = 0
    for k in range(n_changes):
        first, end = firsts[k], firsts[k + 1] if k + 1 < n_changes else n
        s = side[first - 1]
        entry = first
        if has_gate and s != 0:
            entry = _next_entry(True, gate, first, end)
        firsts[count] = first
        entries[count] = entry
        ends[count] = end
        sides[count] = s
        count += (s != 0) & (entry >= 0)
    worst_short = 0.0
    for r in range(count):
        first, entry, end, s = firsts[r], entries[r], ends[r], sides[r]
        lowest, highest = _extremes(low, high, entry, end)
        if end < n and s > 0:
            highest = max(highest, open_[end])
        if end < n and s < 0:
            lowest = min(lowest, open_[end])
        worse, impact = costs[entry * stride, WORSE], costs[entry * stride, IMPACT]
        price = _price(terms, worse, impact, open_[entry], s, _qty(terms, close[entry - 1]))
        prices[r] = price
        adverse[r] = price - lowest if s > 0 else highest - price
        favourable[r] = highest - price if s > 0 else price - lowest
        if s < 0:
            worst_short = max(worst_short, highest / lowest)
        # Orders wait in a bar without volume, and are cut in one with too little of it.
        is_hard[r] = silent[min(end + 1, n)] > silent[first]
        if has_thin and (is_thin[entry] != 0 or is_thin[min(end, n - 1)] != 0):
            is_hard[r] = 1
    _write_base(market, runs, count)
    easy, n_easy = np.empty(TILE_RUNS, dtype=np.int64), 0
    for r in range(count):
        easy[n_easy] = r
        n_easy += is_hard[r] == 0
        if n_easy == TILE_RUNS or r + 1 == count:
            book_base(market, runs, n_easy, easy, sums, daily, 1.0)
            n_easy = 0
    return count, worst_short


@kernel
def _extremes(low: FloatArray, high: FloatArray, first: int, end: int) -> tuple[float, float]:
    lowest, highest = low[first], high[first]
    for t in range(first + 1, end):
        lowest = min(lowest, low[t])
        highest = max(highest, high[t])
    return lowest, highest


@kernel
def is_touched(
    stop: float,
    target: float,
    trail: float,
    even: float,
    max_bars: float,
    price: float,
    adverse: float,
    favourable: float,
    n_bars: int,
) -> bool:
    """Whether a bracket may end a run of `n_bars` bars early; no branches, for loops of vector instructions."""
    slack = _NOISE * price
    is_stopped = (stop > 0.0) & (stop <= adverse + slack)
    is_reached = (target > 0.0) & (target <= favourable + slack)
    return is_stopped | is_reached | (trail > 0.0) | (even > 0.0) | ((max_bars > 0.0) & (max_bars < n_bars))


@kernel
def picked(flags: Flags, n: int, first: int, entry: IntArray, who: IntArray, at: IntArray) -> int:
    """List the flagged ones of the `n` runs from `first` and their entries; return how many there are."""
    count = 0
    for k in range(n):
        who[count] = first + k
        at[count] = entry[first + k]
        count += flags[k]
    return count


@kernel
def play(
    market: SweepMarket,
    runs: Runs,
    n: int,
    who: IntArray,
    at: IntArray,
    levels: FloatArray,
    spans: IntArray,
    sums: FloatArray,
    daily: FloatArray,
    sign: float,
    redo: IntArray,
    n_redo: int,
) -> tuple[int, int]:
    """Play one trade in each of `n` runs, entered at the bars `at` with the brackets `levels`.

    Writes the runs that are entered again, and where, to the front of `who` and `at`; appends those that the engine
    must play to `redo`. Returns both numbers. `levels` and `spans` are overwritten.

    Three passes: levels, then where they are touched, then what that comes to. Only the second has a branch that
    nobody can predict, and there the processor finds everything it needs in its first cache.
    """
    terms = market.terms[0]
    time, open_, high, low, close = market.time, market.open, market.high, market.low, market.close
    costs, gate, is_thin, mark_of, paid = market.costs, market.gate, market.is_thin, market.mark_of, market.paid
    ends, sides, mark_bar = runs.end, runs.side, market.mark_bar
    realised, losses, carried = daily[REALISED], daily[LOSSES], daily[CARRIED]
    n_bars, stride, tick_num, tick_den = terms["n_bars"], terms["cost_stride"], terms["tick_num"], terms["tick_den"]
    has_gate, has_thin, has_funding, is_edge = (
        terms["has_gate"],
        terms["has_thin"],
        terms["has_funding"],
        terms["is_edge"],
    )
    has_borrow, same_bar, tick = terms["borrow_rate"] > 0.0, terms["same_bar"], tick_num / tick_den
    for j in range(n):
        entry, side, end = at[j], sides[who[j]], ends[who[j]]
        s = float(side)
        worse, impact = costs[entry * stride, WORSE], costs[entry * stride, IMPACT]
        price = _price(terms, worse, impact, open_[entry], side, _qty(terms, close[entry - 1]))
        stop, target, max_bars = levels[_STOP, j], levels[_TARGET, j], levels[_MAX_BARS, j]
        # Beyond any price where there is no such level.
        stop_level, target_level = -s * math.inf, s * math.inf
        if stop > 0.0:
            stop_level = whole_steps(price - s * stop, tick_num, tick_den, side < 0)
        if target > 0.0:
            target_level = whole_steps(price + s * target, tick_num, tick_den, side < 0)
        levels[_STOP, j] = stop_level
        levels[_TARGET, j] = target_level
        levels[_PRICE, j] = price
        # The bar at whose open time is up; beyond `end` it never is.
        spans[0, j] = entry + math.ceil(max_bars) if 0.0 < max_bars < end - entry else end
    for j in range(n):
        stop, target, time_up = levels[_STOP, j], levels[_TARGET, j], spans[0, j]
        if levels[_TRAIL, j] > 0.0 or levels[_EVEN, j] > 0.0:
            spans[1, j] = time_up
        else:
            spans[1, j] = first_touch(low, high, at[j], time_up, min(stop, target), max(stop, target))
    again, count, wins, ambiguous = 0, 0, 0, 0
    won, lost, sum_gross, slippage, sum_fees, sum_funding, sum_borrow, sum_notional, held = (0.0,) * 9
    for j in range(n):
        r, entry, time_up, bar = who[j], at[j], spans[0, j], spans[1, j]
        side, end = sides[r], ends[r]
        s = float(side)
        stop_level, target_level, price = levels[_STOP, j], levels[_TARGET, j], levels[_PRICE, j]
        at_open, is_limit, is_ambiguous, is_end, is_bracket = False, False, False, False, True
        if bar < time_up:
            o = open_[bar]
            worst, best = (low[bar], high[bar]) if side > 0 else (high[bar], low[bar])
            is_stopped = s * (worst - stop_level) <= 0.0
            is_limit = is_through(tick, side, best, target_level)
            is_gap = (s * (o - stop_level) <= 0.0) | is_through(tick, side, o, target_level)
            reference = stop_level if is_stopped else target_level
            if (is_stopped == is_limit) | is_gap:
                bar, at_open, is_limit, is_ambiguous, reference = _fixed_exit(
                    open_, high, low, same_bar, side, entry, bar, time_up, stop_level, target_level, tick
                )
        elif levels[_TRAIL, j] > 0.0 or levels[_EVEN, j] > 0.0:
            bar, at_open, is_limit, is_ambiguous, reference = _moving_exit(
                open_,
                high,
                low,
                terms,
                side,
                price,
                entry,
                time_up,
                stop_level,
                target_level,
                levels[_TRAIL, j],
                levels[_EVEN, j],
            )
        else:
            bar, reference = -1, 0.0
        if bar < 0:
            at_open = time_up < n_bars
            is_end = not at_open
            bar = time_up if at_open else n_bars - 1
            reference = open_[bar] if at_open else close[bar]
            is_bracket = time_up < end
            # The target rests until the open at which the market order closes what is left.
            if at_open and is_through(tick, side, reference, target_level):
                reference, is_limit = target_level, True
        if has_thin and (is_thin[bar] != 0 or is_thin[entry] != 0):
            if sign > 0.0:
                redo[n_redo] = r
            n_redo += 1
            continue
        qty = _qty(terms, close[entry - 1])
        at_market = _price(terms, costs[bar * stride, WORSE], costs[bar * stride, IMPACT], reference, -side, qty)
        exit_price = reference if is_limit else at_market
        rate = costs[bar * stride, MAKER] if is_limit else costs[bar * stride, TAKER]
        entry_fee = qty * costs[entry * stride, TAKER] * price
        fees = entry_fee + qty * rate * exit_price
        funding = borrow = 0.0
        if has_funding:
            funding = side * qty * (paid[bar + 1 if is_end else bar] - paid[entry])
        if has_borrow and side < 0:
            borrow = _borrow(terms, time, close, qty, entry, bar, at_open, reference)
        gross = s * qty * (reference - open_[entry])
        at_fills = s * qty * (exit_price - price)
        pnl = at_fills - fees - funding - borrow
        loss = -min(pnl, 0.0)
        count += 1
        wins += pnl > 0.0
        won += max(pnl, 0.0)
        lost += loss
        sum_gross += gross
        slippage += gross - at_fills
        sum_fees += fees
        sum_funding += funding
        sum_borrow += borrow
        sum_notional += qty * (price + exit_price)
        held += bar - entry + (not at_open)
        ambiguous += is_ambiguous
        mark = mark_of[bar]
        realised[mark] += sign * pnl
        losses[mark] += sign * loss
        if mark > mark_of[entry]:
            _book_marks(
                terms,
                time,
                close,
                paid,
                mark_bar,
                carried,
                mark_of[entry],
                mark,
                sign,
                side,
                qty,
                entry,
                price,
                entry_fee,
            )
        next_entry = bar + 1 if bar + 1 < end else -1
        if has_gate:
            next_entry = _next_entry(True, gate, bar + 1, end)
        who[again] = r
        at[again] = next_entry
        again += is_bracket & (not is_edge) & (next_entry >= 0)
    _add(
        sums,
        sign,
        count,
        wins,
        won,
        lost,
        sum_gross,
        slippage,
        sum_fees,
        sum_funding,
        sum_borrow,
        sum_notional,
        held,
        ambiguous,
    )
    return again, n_redo


@kernel
def _fixed_exit(
    open_: FloatArray,
    high: FloatArray,
    low: FloatArray,
    same_bar: int,
    side: int,
    entry: int,
    touched: int,
    time_up: int,
    stop: float,
    target: float,
    tick: float,
) -> tuple[int, bool, bool, bool, float]:
    """First bar in [touched, time_up) that fills a stop or target that stays where it is, whatever it looks like.

    Returns the bar (-1: none), whether at its open, whether the target, whether ambiguous, and the reference price.
    """
    s, t = float(side), touched
    while t < time_up:
        o = open_[t]
        if t > entry:
            if s * (o - stop) <= 0.0:
                return t, True, False, False, o
            if is_through(tick, side, o, target):
                return t, True, True, False, target
        worst, best = (low[t], high[t]) if side > 0 else (high[t], low[t])
        is_stopped = s * (worst - stop) <= 0.0
        is_reached = is_through(tick, side, best, target)
        if is_stopped or is_reached:
            outcome, reference, is_unclear = bar_outcome(
                same_bar, side, o, high[t], low[t], stop, is_stopped, is_reached
            )
            if outcome == STOPPED:
                return t, False, False, is_unclear, reference
            return t, False, True, is_unclear, target
        # The target was touched, not traded through.
        t = first_touch(low, high, t + 1, time_up, min(stop, target), max(stop, target))
    return -1, False, False, False, 0.0


@kernel
def _moving_exit(
    open_: FloatArray,
    high: FloatArray,
    low: FloatArray,
    terms: Record,
    side: int,
    price: float,
    entry: int,
    time_up: int,
    stop: float,
    target: float,
    trail: float,
    break_even: float,
) -> tuple[int, bool, bool, bool, float]:
    """The same from the entry on for levels that follow the best price so far (F6)."""
    s, extreme = float(side), price
    tick_num, tick_den = terms["tick_num"], terms["tick_den"]
    tick = tick_num / tick_den
    for t in range(entry, min(time_up + 1, terms["n_bars"])):
        level = stop
        if trail > 0.0:
            follows = whole_steps(extreme - s * trail, tick_num, tick_den, side < 0)
            if s * (follows - level) > 0.0:
                level = follows
        if break_even > 0.0 and s * (extreme - price) >= break_even:
            even = whole_steps(price, tick_num, tick_den, side < 0)
            if s * (even - level) > 0.0:
                level = even
        o = open_[t]
        if t > entry:
            if s * (o - level) <= 0.0:
                return t, True, False, False, o
            if is_through(tick, side, o, target):
                return t, True, True, False, target
        if t == time_up:
            break
        worst, best = (low[t], high[t]) if side > 0 else (high[t], low[t])
        is_stopped = s * (worst - level) <= 0.0
        is_reached = is_through(tick, side, best, target)
        if is_stopped or is_reached:
            outcome, reference, is_unclear = bar_outcome(
                terms["same_bar"], side, o, high[t], low[t], level, is_stopped, is_reached
            )
            if outcome == STOPPED:
                return t, False, False, is_unclear, reference
            return t, False, True, is_unclear, target
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
        if step >= end and wanted != 0 and wanted == books.symbols[0]["side"]:
            return False  # it could not be closed in time, and the next run keeps it
        if step >= end:
            side[step - 1] = 0  # the position is closed; what is wanted then is the next run's
        fill_steps(engine.market, engine.fine, books, curves, engine.steps, engine.step_of, step, step + 1, True)
        side[step - 1] = wanted
        step += 1
    before = engine.account[0]["cash"]
    mark = market.mark_of[first]
    while mark < market.mark_bar.size and market.mark_bar[mark] < step:
        equity = curves.equity[market.mark_bar[mark]]
        daily[CARRIED, mark] += equity - before
        before = equity
        mark += 1
    daily[CARRIED, market.mark_of[step - 1]] += curves.equity[step - 1] - before
    for t in range(first, step):
        sums[_HELD] += curves.held[t]
    for i in range(books.account[0]["n_trades"]):
        trade = books.trades[i]
        s, qty = trade["side"], trade["qty"]
        gross = s * qty * (trade["exit_ref"] - trade["entry_ref"])
        at_fills = s * qty * (trade["exit_price"] - trade["entry_price"])
        fees, notional = trade["entry_fee"] + trade["exit_fee"], qty * (trade["entry_price"] + trade["exit_price"])
        mark = market.mark_of[trade["exit_bar"]]
        pnl = at_fills - fees - trade["funding"] - trade["borrow"]
        loss = -min(pnl, 0.0)
        _add(
            sums,
            1.0,
            1,
            int(pnl > 0.0),
            max(pnl, 0.0),
            loss,
            gross,
            gross - at_fills,
            fees,
            trade["funding"],
            trade["borrow"],
            notional,
            0.0,
            int(trade["ambiguous"]),
        )
        daily[REALISED, mark] += pnl
        daily[LOSSES, mark] += loss
        daily[CARRIED, mark] -= pnl  # it is in the equity curve already
    is_short_of_cash = books.counters[_REDUCED_TO_CASH] > 0 or books.counters[_NO_CASH] > 0
    return books.account[0]["ruined_at"] < 0 and not is_short_of_cash
