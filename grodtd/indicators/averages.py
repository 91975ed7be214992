"""Averages of a price, and what follows from them: SMA, EMA, Wilder's RMA, crossovers, slope.

Prices are added up as distances from a price nearby, never as they are. That keeps the digits which sums of 60,000s
lose, and a market that stands still has exactly its price as its average: ``close > average`` must not come true by
rounding. The windowed sum of `sma` is made afresh at each full turn of its ring, so rounding cannot pile up; the other
windowed indicators sum their window at each bar.
"""

from __future__ import annotations

import math
from typing import Final, Literal, get_args

import numpy as np

from grodtd.domain.bars import Bar, FloatArray
from grodtd.domain.errors import StrategyError
from grodtd.domain.indicator import Indicator, seed_fades_bars
from grodtd.domain.kernel import kernel

Price = Literal["close", "open", "high", "low", "typical"]

# State of a windowed indicator: window, bars seen, where the oldest value stands, up to four numbers of its own, then
# the ring. The ring is written twice, end to end, so that the window always stands in one piece, oldest value first.
WINDOW, SEEN, OLDEST, OWN, RING = 0, 1, 2, 3, 7

_SMA_PRICE, _SMA_SUM, _SMA_REFERENCE, _SMA_UNMOVED = OWN, OWN + 1, OWN + 2, OWN + 3
_CROSS_FAST, _CROSS_BEFORE, _CROSS_LAST = OWN, OWN + 1, OWN + 2

# Averages that are equal on paper differ by about 1e-16 of the price in binary: of 500,000 minutes of BTCUSDT, 50 are
# such ties of SMA 10 and 30. The least true difference, a tick shared among both windows, is far above 1e-12.
_TOUCH: Final = 1e-12
_MAX_WINDOW_BARS: Final = 1_000_000  # two years of minutes; more is a slip of the keyboard, and would fill the memory


def checked_window(indicator: str, bars: object, *, at_least: int = 1) -> int:
    """Return `bars` if it is a whole number of at least `at_least` and at most a million.

    Raises
    ------
    StrategyError
        Otherwise.
    """
    if isinstance(bars, bool) or not isinstance(bars, int | np.integer) or bars < at_least:
        raise StrategyError(f"{indicator} needs a whole number of at least {at_least} bars, found {bars!r}")
    if bars > _MAX_WINDOW_BARS:
        raise StrategyError(f"{indicator} needs at most {_MAX_WINDOW_BARS} bars, found {bars}")
    return int(bars)


def ring_state(window_bars: int, *own: float) -> tuple[float, ...]:
    """Return the starting state of a windowed indicator with up to four numbers of its own."""
    head = (float(window_bars), 0.0, 0.0, *own)
    return head + (0.0,) * (RING - len(head) + 2 * window_bars)


@kernel
def push(state: FloatArray, value: float) -> bool:
    """Take `value` into the ring in place of the oldest; return whether the window is full."""
    window, at = int(state[WINDOW]), int(state[OLDEST])
    state[RING + at] = value
    state[RING + window + at] = value
    state[OLDEST] = at + 1.0 if at + 1 < window else 0.0
    state[SEEN] += 1.0
    return bool(state[SEEN] >= window)


@kernel
def distance_sum(state: FloatArray, last_bars: int, reference: float) -> float:
    """Sum of the distances of the ring's `last_bars` latest values from `reference`, oldest first."""
    end = RING + int(state[OLDEST]) + int(state[WINDOW])
    total = 0.0
    for i in range(end - last_bars, end):
        total += state[i] - reference
    return total


@kernel
def typical_price(bar: Bar) -> float:
    """(high + low + close) / 3, written so that three equal prices give that price."""
    return bar.close + ((bar.high - bar.close) + (bar.low - bar.close)) / 3.0


@kernel
def _price_of(bar: Bar, code: float) -> float:
    """The price a code stands for: its place in `Price`."""
    if code == 0.0:
        return bar.close
    if code == 1.0:
        return bar.open
    if code == 2.0:
        return bar.high
    if code == 3.0:
        return bar.low
    return typical_price(bar)


def _price_code(indicator: str, price: Price) -> float:
    if price not in get_args(Price):
        raise StrategyError(f"{indicator} needs a price out of {', '.join(get_args(Price))}, found {price!r}")
    return float(get_args(Price).index(price))


def _name(indicator: str, window: int, price: Price) -> str:
    return f"{indicator}({window})" if price == "close" else f"{indicator}({window},{price})"


def sma(bars: int, price: Price = "close") -> Indicator:
    """Simple moving average; first value at index bars - 1 (TA-Lib SMA).

    Parameters
    ----------
    bars : int
        Window, 1 or more.
    price : {"close", "open", "high", "low", "typical"}
        What is averaged; typical is (high + low + close) / 3.

    Raises
    ------
    StrategyError
        If a parameter is none of these.
    """
    window = checked_window("sma", bars)
    state = ring_state(window, _price_code("sma", price))
    return Indicator(_name("sma", window, price), _sma, state, warmup_bars=window)


@kernel
def _sma(state: FloatArray, bar: Bar) -> float:
    value = _price_of(bar, state[_SMA_PRICE])
    window = int(state[WINDOW])
    oldest = RING + int(state[OLDEST])
    leaves, newest = state[oldest], state[oldest + window - 1]
    if state[SEEN] == 0.0:
        state[_SMA_REFERENCE] = value
    # While the window fills nothing leaves it: the reference is at distance 0.
    state[_SMA_SUM] += value - (leaves if state[SEEN] >= window else state[_SMA_REFERENCE])
    state[_SMA_UNMOVED] = state[_SMA_UNMOVED] + 1.0 if value == newest else 1.0

    is_full = push(state, value)
    if state[_SMA_UNMOVED] >= window:
        state[_SMA_REFERENCE], state[_SMA_SUM] = value, 0.0
    elif is_full and state[OLDEST] == 0.0:
        state[_SMA_REFERENCE], state[_SMA_SUM] = value, distance_sum(state, window, value)
    return float(state[_SMA_REFERENCE] + state[_SMA_SUM] / window) if is_full else math.nan


def ema(bars: int, price: Price = "close") -> Indicator:
    """Exponential average, alpha 2 / (bars + 1), seeded with the SMA of the first `bars` (TA-Lib EMA).

    First value at index bars - 1; warm when the seed weighs less than 1e-4 (20 bars: 93, 50 bars: 231).

    Parameters
    ----------
    bars : int
        Length, 1 or more.
    price : {"close", "open", "high", "low", "typical"}
        What is averaged; typical is (high + low + close) / 3.

    Raises
    ------
    StrategyError
        If a parameter is none of these.
    """
    window = checked_window("ema", bars)
    return _seeded(_name("ema", window, price), window, 2.0 / (window + 1.0), _price_code("ema", price))


def rma(bars: int, price: Price = "close") -> Indicator:
    """Wilder's average, alpha 1 / bars, seeded with the SMA of the first `bars`.

    First value at index bars - 1; warm when the seed weighs less than 1e-4 (14 bars: 125).

    Parameters
    ----------
    bars : int
        Length, 1 or more.
    price : {"close", "open", "high", "low", "typical"}
        What is averaged; typical is (high + low + close) / 3.

    Raises
    ------
    StrategyError
        If a parameter is none of these.
    """
    window = checked_window("rma", bars)
    return _seeded(_name("rma", window, price), window, 1.0 / window, _price_code("rma", price))


def _seeded(name: str, window: int, alpha: float, price_code: float) -> Indicator:
    state = (float(window), 0.0, 0.0, alpha, price_code, 0.0)
    return Indicator(name, _seeded_average, state, warmup_bars=max(window, seed_fades_bars(alpha)))


@kernel
def _seeded_average(state: FloatArray, bar: Bar) -> float:
    # window, bars seen, average (while seeding: sum of distances from the first price), alpha, price, first price
    value = _price_of(bar, state[4])
    state[1] += 1.0
    if state[1] > state[0]:
        state[2] += state[3] * (value - state[2])
        return float(state[2])
    if state[1] == 1.0:
        state[5] = value
    state[2] += value - state[5]
    if state[1] < state[0]:
        return math.nan
    state[2] = state[5] + state[2] / state[0]
    return float(state[2])


def slope(bars: int) -> Indicator:
    """Least-squares slope of the close, in price per bar; first value at index bars - 1 (TA-Lib LINEARREG_SLOPE).

    Parameters
    ----------
    bars : int
        Window, 2 or more.

    Raises
    ------
    StrategyError
        If `bars` is not a whole number of at least 2.
    """
    window = checked_window("slope", bars, at_least=2)
    return Indicator(f"slope({window})", _slope, ring_state(window), warmup_bars=window)


@kernel
def _slope(state: FloatArray, bar: Bar) -> float:
    if not push(state, bar.close):
        return math.nan
    window = int(state[WINDOW])
    oldest = RING + int(state[OLDEST])
    middle = (window - 1) / 2.0
    covariance = 0.0
    for i in range(window):
        covariance += (i - middle) * (state[oldest + i] - bar.close)
    return covariance / (window * (float(window) * window - 1.0) / 12.0)


def cross(fast_bars: int, slow_bars: int) -> Indicator:
    """The last crossover of two SMAs of the close: an edge, remembered.

    0 until the first one; then +1 from the bar in which the fast average goes above the slow one (below at the bar
    before, above at this one), -1 from the bar in which it goes below, until the opposite happens. Touching is not
    crossing, as in backtesting.py's `crossover`; averages within 1e-12 of the price touch. This is how a rule, which
    has no memory, acts on an event.

    Parameters
    ----------
    fast_bars, slow_bars : int
        Windows, fast < slow; undefined before index slow_bars - 1.

    Raises
    ------
    StrategyError
        If the windows are not whole numbers with 1 <= fast < slow.
    """
    fast, slow = checked_window("cross", fast_bars), checked_window("cross", slow_bars)
    if fast >= slow:
        raise StrategyError(f"cross needs fast_bars < slow_bars, found {fast} and {slow}")
    state = ring_state(slow, float(fast), math.nan, 0.0)
    return Indicator(f"cross({fast},{slow})", _cross, state, warmup_bars=slow)


@kernel
def _cross(state: FloatArray, bar: Bar) -> float:
    if not push(state, bar.close):
        return math.nan
    fast, slow = int(state[_CROSS_FAST]), int(state[WINDOW])
    difference = distance_sum(state, fast, bar.close) / fast - distance_sum(state, slow, bar.close) / slow
    if abs(difference) <= _TOUCH * bar.close:
        difference = 0.0
    if state[_CROSS_BEFORE] < 0.0 < difference:
        state[_CROSS_LAST] = 1.0
    elif state[_CROSS_BEFORE] > 0.0 > difference:
        state[_CROSS_LAST] = -1.0
    state[_CROSS_BEFORE] = difference
    return float(state[_CROSS_LAST])
