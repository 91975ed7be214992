"""The fused loop one would write first, and what the machine can read at best: yardsticks inside our own process."""

from __future__ import annotations

import numba
import numpy as np

# Rows of what `naive` writes.
TRADES, WINS, WON, LOST, FEES, HELD, FINAL = range(7)


@numba.njit(nogil=True, error_model="numpy", cache=True)
def naive(prices, vwap, ema, atr, start, mark_bar, bracket, costs, qty, capital, out, marks):  # type: ignore[no-untyped-def]
    """Backtest S1 in one pass: strict fills, everything online, no indicator computed here.

    `prices` are open, high, low, close; `bracket` is stop in ATR and reward to risk; `costs` are taker, maker and what
    a market order fills worse, as fractions; `out` gets the totals, `marks` the equity at the bars `mark_bar`. The
    trades are those of `run_sweep` wherever every bar has volume.
    """
    open_, high, low, close = prices
    taker, maker, worse = costs
    n = open_.size
    cash, side, entry, stop, target, entry_fee = capital, 0, 0.0, 0.0, 0.0, 0.0
    want, distance = 0, 0.0
    trades = wins = held = mark = 0
    won = lost = fees = 0.0
    for t in range(n):
        o = open_[t]
        before = side
        price, rate, is_exit = 0.0, taker, False
        if side != 0:
            if side * (o - stop) <= 0:
                price, is_exit = o * (1 - side * worse), True
            elif side * (o - target) > 0:
                price, rate, is_exit = target, maker, True
            elif want != side:
                price, is_exit = o * (1 - side * worse), True
            if is_exit:
                fee = rate * qty * price
                cash += side * qty * price - fee
                pnl = side * qty * (price - entry) - fee - entry_fee
                trades += 1
                fees += fee
                if pnl > 0:
                    wins += 1
                    won += pnl
                else:
                    lost -= pnl
                side = 0
        # After a bracket exit at the open, the next decision on the same side counts, not this one.
        if side == 0 and want != 0 and not (before != 0 and want == before):
            side = want
            entry = o * (1 + side * worse)
            entry_fee = taker * qty * entry
            cash -= side * qty * entry + entry_fee
            fees += entry_fee
            stop = entry - side * bracket[0] * distance
            target = entry + side * bracket[1] * bracket[0] * distance
        if side != 0:
            held += 1
            if side > 0:
                is_stopped, is_reached = low[t] <= stop, high[t] > target
            else:
                is_stopped, is_reached = high[t] >= stop, low[t] < target
            if is_stopped or is_reached:
                price, rate = target, maker
                if is_stopped:
                    reference = o if side * (o - stop) <= 0 else stop
                    price, rate = reference * (1 - side * worse), taker
                fee = rate * qty * price
                cash += side * qty * price - fee
                pnl = side * qty * (price - entry) - fee - entry_fee
                trades += 1
                fees += fee
                if pnl > 0:
                    wins += 1
                    won += pnl
                else:
                    lost -= pnl
                side = 0
        c = close[t]
        while mark < mark_bar.size and mark_bar[mark] <= t:
            marks[mark] = cash + side * qty * c
            mark += 1
        want = 0
        if t >= start:
            if c > vwap[t] and c > ema[t]:
                want = 1
            elif c < vwap[t] and c < ema[t]:
                want = -1
        distance = atr[t]
    if side != 0:
        price = close[n - 1] * (1 - side * worse)
        fee = taker * qty * price
        cash += side * qty * price - fee
        pnl = side * qty * (price - entry) - fee - entry_fee
        trades += 1
        fees += fee
        if pnl > 0:
            wins += 1
            won += pnl
        else:
            lost -= pnl
    out[TRADES], out[WINS], out[WON], out[LOST], out[FEES], out[HELD], out[FINAL] = (
        trades,
        wins,
        won,
        lost,
        fees,
        held,
        cash,
    )


@numba.njit(nogil=True, cache=True)
def read(high, low, close, times):  # type: ignore[no-untyped-def]
    """Read three columns `times` times and do next to nothing: whole numbers, so that vector instructions do it."""
    total = 0
    for _ in range(times):
        a = b = c = 0
        for t in range(high.size):
            a += high[t]
            b += low[t]
            c += close[t]
        total ^= a + b + c + total
    return total


def columns_to_read(n_bars: int) -> list[np.ndarray[tuple[int], np.dtype[np.int64]]]:
    """Return high, low and close of `n_bars` bars as the whole numbers their bits make."""
    rng = np.random.default_rng(0)
    return [rng.random(n_bars).view(np.int64) for _ in range(3)]
