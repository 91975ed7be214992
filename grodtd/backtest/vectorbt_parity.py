"""`Portfolio.from_signals` of vectorbt 1.2 written down once more, for one column: to know exactly what it does.

For tests only: it has all of vectorbt's deviations from docs/fills.md on purpose. Not a line is shared with it.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from grodtd.domain.bars import FloatArray, IntArray
from grodtd.domain.kernel import kernel

_REL, _ABS = 1e-9, 1e-12  # vectorbt's own tolerances
_MIN_SIZE = 1e-8

BoolArray = npt.NDArray[np.bool_]


@kernel
def _is_close(a: float, b: float) -> bool:
    if math.isinf(a) or math.isinf(b):
        return False
    return abs(a - b) <= max(_REL * max(abs(a), abs(b)), _ABS)


@kernel
def _add(a: float, b: float) -> float:
    """A sum that is zero where only noise is left."""
    return 0.0 if _is_close(a, -b) else a + b


@kernel
def _stop_price(position: float, base: float, fraction: float, bar: FloatArray, is_below: bool) -> float:
    """Level of a stop or target if this bar reaches it, its open if that is beyond; nan if not."""
    open_, high, low = bar[0], bar[1], bar[2]
    if (position > 0.0) == is_below:
        level = base * (1.0 - fraction)
        if open_ <= level:
            return float(open_)
    else:
        level = base * (1.0 + fraction)
        if level <= open_:
            return float(open_)
    return level if low <= level <= high else math.nan


@kernel
def signals(
    bars: FloatArray,
    long_entry: BoolArray,
    long_exit: BoolArray,
    short_entry: BoolArray,
    short_exit: BoolArray,
    price: FloatArray,
    size: float,
    is_value: bool,
    fees: float,
    slippage: float,
    stop: FloatArray,
    target: FloatArray,
    is_trailing: bool,
    stop_from_fill: bool,
    stop_at_market: bool,
    capital: float,
) -> tuple[IntArray, FloatArray, float]:
    """Run one column of `from_signals`, everything else at vectorbt's defaults.

    Parameters
    ----------
    bars : float64 array, shape (n_bars, 4)
        Open, high, low, close.
    long_entry, long_exit, short_entry, short_exit : bool arrays, shape (n_bars,)
    price : float64 array, shape (n_bars,)
        Of orders by signal.
    size : float
        In units, or in money if `is_value`.
    fees, slippage : float
        Fractions.
    stop, target : float64 arrays, shape (n_bars,)
        Fractions of the base price at the entry; nan where absent.
    is_trailing, stop_from_fill, stop_at_market : bool
        ``sl_trail``; base price is the fill's, else the entry bar's close; ``stop_exit_price`` stopmarket, else
        stoplimit.

    Returns
    -------
    bar : int64 array, shape (n_orders,)
    orders : float64 array, shape (n_orders, 3)
        Signed size, price, fee.
    cash : float
        At the end; the position is left open.
    """
    n = bars.shape[0]
    at = np.empty(n, dtype=np.int64)
    orders = np.empty((n, 3))
    count = 0
    cash, position = capital, 0.0
    stop_base, stop_now, target_base, target_now = math.nan, math.nan, math.nan, math.nan
    for i in range(n):
        order_price, slip = price[i], slippage
        valuation = order_price
        level = math.nan
        if position != 0.0:
            if not math.isnan(stop_now):
                level = _stop_price(position, stop_base, stop_now, bars[i], True)
            if math.isnan(level) and not math.isnan(target_now):
                level = _stop_price(position, target_base, target_now, bars[i], False)
            if is_trailing and not math.isnan(stop_now):
                stop_base = max(stop_base, bars[i, 1]) if position > 0.0 else min(stop_base, bars[i, 2])

        wanted = 0.0
        is_cut_at_zero = False  # an exit never turns the position round
        if not math.isnan(level):
            order_price = level
            slip = slippage if stop_at_market else 0.0
            wanted, is_cut_at_zero = -position, True
        else:
            buys, sells = long_entry[i], short_entry[i]
            if buys and long_exit[i]:
                buys = False
                leaves_long = False
            else:
                leaves_long = long_exit[i]
            if sells and short_exit[i]:
                sells = False
                leaves_short = False
            else:
                leaves_short = short_exit[i]
            if buys and sells:
                buys = sells = False
            units = size / valuation if is_value else size
            if position > 0.0:
                if sells:
                    wanted = -position - units
                elif leaves_long:
                    wanted, is_cut_at_zero = -position, True
            elif position < 0.0:
                if buys:
                    wanted = -position + units
                elif leaves_short:
                    wanted, is_cut_at_zero = -position, True
            elif buys:
                wanted = units
            elif sells:
                wanted = -units
        if wanted == 0.0 or math.isnan(wanted):
            continue

        before = position
        if wanted > 0.0:
            filled_price = order_price * (1.0 + slip)
            amount = min(wanted, -position) if is_cut_at_zero else wanted
            cost = amount * filled_price
            fee = cost * fees
            if not (cost + fee < cash or _is_close(cost + fee, cash)):
                affordable = cash / (1.0 + fees)
                if cash <= 0.0 or affordable <= 0.0:
                    continue
                amount = affordable / filled_price
                fee = cash - affordable
                cost = affordable
            if _is_close(amount, 0.0) or (amount < _MIN_SIZE and not _is_close(amount, _MIN_SIZE)):
                continue
            cash = _add(cash, -(cost + fee))
            position = _add(position, amount)
            orders[count, 0] = amount
        else:
            filled_price = order_price * (1.0 - slip)
            amount = min(-wanted, position) if is_cut_at_zero else -wanted
            if _is_close(amount, 0.0) or (amount < _MIN_SIZE and not _is_close(amount, _MIN_SIZE)):
                continue
            fee = amount * filled_price * fees
            cash += _add(amount * filled_price, -fee)
            position = _add(position, -amount)
            orders[count, 0] = -amount
        at[count] = i
        orders[count, 1], orders[count, 2] = filled_price, fee
        count += 1

        if position == 0.0:
            stop_now = target_now = math.nan
        elif before == 0.0 or (before > 0.0) != (position > 0.0):
            base = filled_price if stop_from_fill else bars[i, 3]
            stop_base, stop_now, target_base, target_now = base, stop[i], base, target[i]
    return at[:count], orders[:count], cash
