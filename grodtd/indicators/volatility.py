"""How much prices move: ATR, standard deviation, Bollinger bands, Donchian channel."""

from __future__ import annotations

import math

from grodtd.domain.bars import Bar, FloatArray
from grodtd.domain.errors import StrategyError
from grodtd.domain.indicator import Indicator, seed_fades_bars
from grodtd.domain.kernel import kernel
from grodtd.indicators.averages import OLDEST, OWN, RING, SEEN, WINDOW, checked_window, distance_sum, push, ring_state

_STD_DDOF = OWN
_BAND_DEVIATIONS = OWN
_DONCHIAN_SIGN, _DONCHIAN_OFFSET, _DONCHIAN_HIGHEST = OWN, OWN + 1, OWN + 2


@kernel
def true_range(bar: Bar, previous_close: float) -> float:
    """Return the largest of the bar's range and its high's and low's distance from the close before."""
    return max(bar.high - bar.low, abs(bar.high - previous_close), abs(bar.low - previous_close))


def atr(bars: int) -> Indicator:
    """Wilder's average true range, in price: true range from index 1, first value at index `bars` (TA-Lib ATR).

    Warm when the seed weighs less than 1e-4 (14 bars: 125).

    Parameters
    ----------
    bars : int
        Length, 1 or more.

    Raises
    ------
    StrategyError
        If `bars` is not a whole number of at least 1.
    """
    window = checked_window("atr", bars)
    state = (float(window), 0.0, 0.0, 0.0)
    return Indicator(f"atr({window})", _atr, state, warmup_bars=max(window + 1, seed_fades_bars(1.0 / window)))


@kernel
def _atr(state: FloatArray, bar: Bar) -> float:
    # window, bars seen, close before, average (while seeding: sum of true ranges)
    window = state[0]
    reach = true_range(bar, state[2])
    state[2] = bar.close
    state[1] += 1.0
    if state[1] == 1.0:
        return math.nan
    if state[1] > window + 1.0:
        state[3] = (state[3] * (window - 1.0) + reach) / window
        return float(state[3])
    state[3] += reach
    if state[1] <= window:
        return math.nan
    state[3] /= window
    return float(state[3])


def rolling_std(bars: int, ddof: int = 1) -> Indicator:
    """Standard deviation of the close, in price; first value at index bars - 1, 0 where the market stands still.

    Parameters
    ----------
    bars : int
        Window, 2 or more.
    ddof : {1, 0}
        The divisor is bars - ddof: 1 for the sample deviation, 0 for the population's (Bollinger, TA-Lib STDDEV).

    Raises
    ------
    StrategyError
        If a parameter is none of these.
    """
    window = checked_window("rolling_std", bars, at_least=2)
    if ddof not in (0, 1):
        raise StrategyError(f"rolling_std needs ddof 0 or 1, found {ddof}")
    return Indicator(f"rolling_std({window},{ddof})", _std, ring_state(window, float(ddof)), warmup_bars=window)


@kernel
def _mean(state: FloatArray, newest: float) -> float:
    window = int(state[WINDOW])
    return newest + distance_sum(state, window, newest) / window


@kernel
def _deviation(state: FloatArray, mean: float, ddof: float) -> float:
    """A second pass over the window: at price 60,000 the mean of squares less the squared mean has no digits left."""
    window = int(state[WINDOW])
    oldest = RING + int(state[OLDEST])
    squares = 0.0
    for i in range(oldest, oldest + window):
        distance = state[i] - mean
        squares += distance * distance
    return math.sqrt(squares / (window - ddof))


@kernel
def _std(state: FloatArray, bar: Bar) -> float:
    if not push(state, bar.close):
        return math.nan
    return _deviation(state, _mean(state, bar.close), state[_STD_DDOF])


def bollinger_upper(bars: int, deviations: float = 2.0) -> Indicator:
    """SMA of the close plus `deviations` population standard deviations; first value at index bars - 1 (TA-Lib BBANDS).

    Parameters
    ----------
    bars : int
        Window, 2 or more.
    deviations : float
        Distance from the middle in standard deviations (ddof 0), above zero.

    Raises
    ------
    StrategyError
        If a parameter is none of these.
    """
    return _bollinger("bollinger_upper", bars, deviations, 1.0)


def bollinger_lower(bars: int, deviations: float = 2.0) -> Indicator:
    """SMA of the close minus `deviations` population standard deviations; the mirror of `bollinger_upper`.

    Parameters
    ----------
    bars : int
        Window, 2 or more.
    deviations : float
        Distance from the middle in standard deviations (ddof 0), above zero.

    Raises
    ------
    StrategyError
        If a parameter is none of these.
    """
    return _bollinger("bollinger_lower", bars, deviations, -1.0)


def bollinger_middle(bars: int) -> Indicator:
    """SMA of the close, summed as the bands are, so that it never lies outside them.

    Parameters
    ----------
    bars : int
        Window, 2 or more.

    Raises
    ------
    StrategyError
        If `bars` is not a whole number of at least 2.
    """
    window = checked_window("bollinger_middle", bars, at_least=2)
    return Indicator(f"bollinger_middle({window})", _band, ring_state(window), warmup_bars=window)


def _bollinger(name: str, bars: int, deviations: float, sign: float) -> Indicator:
    window = checked_window(name, bars, at_least=2)
    if not (math.isfinite(deviations) and deviations > 0):
        raise StrategyError(f"{name} needs deviations above zero, found {deviations}")
    return Indicator(f"{name}({window},{deviations:g})", _band, ring_state(window, sign * deviations), window)


@kernel
def _band(state: FloatArray, bar: Bar) -> float:
    if not push(state, bar.close):
        return math.nan
    mean = _mean(state, bar.close)
    return float(mean + state[_BAND_DEVIATIONS] * _deviation(state, mean, 0.0))


def donchian_high(bars: int, offset_bars: int = 1) -> Indicator:
    """Highest high of `bars` bars, ending `offset_bars` ago; first value at index bars - 1 + offset_bars.

    Parameters
    ----------
    bars : int
        Window, 1 or more.
    offset_bars : {1, 0}
        1 leaves out the bar being decided on: a close can only break above the bars before it. 0 includes that bar
        (TA-Lib MAX of high).

    Raises
    ------
    StrategyError
        If a parameter is none of these.
    """
    return _donchian("donchian_high", bars, offset_bars, 1.0)


def donchian_low(bars: int, offset_bars: int = 1) -> Indicator:
    """Lowest low of `bars` bars, ending `offset_bars` ago; first value at index bars - 1 + offset_bars.

    Parameters
    ----------
    bars : int
        Window, 1 or more.
    offset_bars : {1, 0}
        1 leaves out the bar being decided on: a close can only break below the bars before it. 0 includes that bar
        (TA-Lib MIN of low).

    Raises
    ------
    StrategyError
        If a parameter is none of these.
    """
    return _donchian("donchian_low", bars, offset_bars, -1.0)


def _donchian(name: str, bars: int, offset_bars: int, sign: float) -> Indicator:
    window = checked_window(name, bars)
    if offset_bars not in (0, 1):
        raise StrategyError(f"{name} needs offset_bars 0 or 1, found {offset_bars}")
    state = highest_state(window, sign, offset_bars)
    return Indicator(f"{name}({window},{offset_bars})", highest, state, warmup_bars=window + offset_bars)


def highest_state(bars: int, sign: float, offset_bars: int = 1) -> tuple[float, ...]:
    """Return the starting state of `highest`: sign +1 for the high, -1 for the low."""
    return ring_state(bars, sign, float(offset_bars), -math.inf)


@kernel
def highest(state: FloatArray, bar: Bar) -> float:
    """Update of the Donchian channels, for indicators that hold one."""
    # The ring holds sign * price: the lowest low is the highest of the mirrored lows.
    window, sign = int(state[WINDOW]), state[_DONCHIAN_SIGN]
    leaves = state[RING + int(state[OLDEST])]
    before = sign * state[_DONCHIAN_HIGHEST] if state[SEEN] >= window else math.nan
    value = bar.high if sign > 0.0 else -bar.low

    is_full = push(state, value)
    if value >= state[_DONCHIAN_HIGHEST]:
        state[_DONCHIAN_HIGHEST] = value
    elif state[SEEN] > window and leaves == state[_DONCHIAN_HIGHEST]:
        highest = value
        oldest = RING + int(state[OLDEST])
        for i in range(oldest, oldest + window):
            highest = max(highest, state[i])
        state[_DONCHIAN_HIGHEST] = highest
    if state[_DONCHIAN_OFFSET] == 1.0:
        return float(before)
    return float(sign * state[_DONCHIAN_HIGHEST]) if is_full else math.nan
