"""How much prices move: ATR, standard deviation, Bollinger bands, Donchian channel."""

from __future__ import annotations

import math

from grodtd.domain.bars import Bar, FloatArray
from grodtd.domain.errors import StrategyError
from grodtd.domain.indicator import Indicator, seed_fades_bars
from grodtd.domain.kernel import kernel
from grodtd.indicators.averages import EXTRA, RING, SUM, WINDOW, checked_window, push, ring_state


@kernel
def true_range(bar: Bar, previous_close: float) -> float:
    """Return the larger of the bar's range and its reach from the close before."""
    return max(bar.high - bar.low, abs(bar.high - previous_close), abs(bar.low - previous_close))


def atr(bars: int) -> Indicator:
    """Wilder's average true range: true range from index 1, first value at index `bars` (TA-Lib ATR)."""
    window = checked_window("atr", bars)
    return Indicator(f"atr({window})", _atr, (window, 0.0, 0.0, 0.0), max(window + 1, seed_fades_bars(1.0 / window)))


@kernel
def _atr(state: FloatArray, bar: Bar) -> float:
    # window, bars seen, close before, sum of true ranges while seeding and the average afterwards
    reach = true_range(bar, state[2])
    state[2] = bar.close
    state[1] += 1.0
    if state[1] == 1.0:
        return math.nan
    if state[1] <= state[0]:
        state[3] += reach
        return math.nan
    if state[1] == state[0] + 1.0:
        state[3] = (state[3] + reach) / state[0]
    else:
        state[3] = (state[3] * (state[0] - 1.0) + reach) / state[0]
    return float(state[3])


def rolling_std(bars: int, ddof: int = 1) -> Indicator:
    """Standard deviation of the close over `bars` bars, divisor bars - ddof."""
    window = checked_window("rolling_std", bars, at_least=ddof + 1)
    if ddof not in (0, 1):
        raise StrategyError(f"rolling_std needs ddof 0 or 1, found {ddof}")
    return Indicator(f"rolling_std({window})", _std, ring_state(window, float(ddof)), warmup_bars=window)


@kernel
def _deviation(state: FloatArray, ddof: float) -> float:
    """Two passes over the window: sums of squares at price 60,000 would leave no digits."""
    window = int(state[WINDOW])
    mean = state[SUM] / window
    squares = 0.0
    for i in range(window):
        distance = state[RING + i] - mean
        squares += distance * distance
    return math.sqrt(squares / (window - ddof))


@kernel
def _std(state: FloatArray, bar: Bar) -> float:
    if not push(state, bar.close):
        return math.nan
    return _deviation(state, state[EXTRA])


def bollinger_upper(bars: int, deviations: float = 2.0) -> Indicator:
    """SMA of the close plus `deviations` population standard deviations (TA-Lib BBANDS)."""
    return _bollinger("bollinger_upper", bars, deviations, 1.0)


def bollinger_lower(bars: int, deviations: float = 2.0) -> Indicator:
    """SMA of the close minus `deviations` population standard deviations; the middle band is `sma(bars)`."""
    return _bollinger("bollinger_lower", bars, deviations, -1.0)


def _bollinger(name: str, bars: int, deviations: float, sign: float) -> Indicator:
    window = checked_window(name, bars, at_least=2)
    if not (math.isfinite(deviations) and deviations > 0):
        raise StrategyError(f"{name} needs deviations above zero, found {deviations}")
    return Indicator(f"{name}({window},{deviations:g})", _band, ring_state(window, sign * deviations), window)


@kernel
def _band(state: FloatArray, bar: Bar) -> float:
    if not push(state, bar.close):
        return math.nan
    return float(state[SUM] / state[WINDOW] + state[EXTRA] * _deviation(state, 0.0))


def donchian_high(bars: int, offset_bars: int = 1) -> Indicator:
    """Highest high of `bars` bars, ending `offset_bars` (0 or 1) bars ago.

    With 1, the default, the bar being decided on is left out: a breakout compares it with the bars before.
    """
    return _donchian("donchian_high", bars, offset_bars, 1.0)


def donchian_low(bars: int, offset_bars: int = 1) -> Indicator:
    """Lowest low of `bars` bars, ending `offset_bars` (0 or 1) bars ago."""
    return _donchian("donchian_low", bars, offset_bars, -1.0)


def _donchian(name: str, bars: int, offset_bars: int, sign: float) -> Indicator:
    window = checked_window(name, bars)
    if offset_bars not in (0, 1):
        raise StrategyError(f"{name} needs offset_bars 0 or 1, found {offset_bars}")
    state = (float(window), 0.0, math.nan, sign, float(offset_bars), *([0.0] * window))
    return Indicator(f"{name}({window},{offset_bars})", _extreme, state, window + offset_bars)


@kernel
def _extreme(state: FloatArray, bar: Bar) -> float:
    # window, bars seen, extreme of the window, sign, offset, ring of sign * price: the low is a mirrored high
    window, sign = int(state[0]), state[3]
    before = sign * state[2] if state[1] >= window else math.nan
    value = bar.high if sign > 0.0 else -bar.low
    at = int(state[1]) % window
    leaves = state[5 + at]
    state[5 + at] = value
    state[1] += 1.0
    if state[1] == 1.0 or value >= state[2]:
        state[2] = value
    elif state[1] > window and leaves == state[2]:
        highest = value
        for i in range(window):
            highest = max(highest, state[5 + i])
        state[2] = highest
    if state[4] == 1.0:
        return float(before)
    return float(sign * state[2]) if state[1] >= window else math.nan
