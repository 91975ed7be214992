"""Averages of the close, and what follows from them: SMA, EMA, Wilder's RMA, crossovers, slope.

Windowed sums live in a ring inside the state and are summed afresh at each full turn, so they do not drift.
"""

from __future__ import annotations

import math

from grodtd.domain.bars import Bar, FloatArray
from grodtd.domain.errors import StrategyError
from grodtd.domain.indicator import Indicator, seed_fades_bars
from grodtd.domain.kernel import kernel

# State of a windowed indicator: window, bars seen, running sum, one extra number, then the ring.
WINDOW, SEEN, SUM, EXTRA, RING = 0, 1, 2, 3, 4


def checked_window(indicator: str, bars: int, *, at_least: int = 1) -> int:
    """Return `bars` if it is a whole number of at least `at_least`.

    Raises
    ------
    StrategyError
        Otherwise.
    """
    if isinstance(bars, bool) or int(bars) != bars or bars < at_least:
        raise StrategyError(f"{indicator} needs a whole number of at least {at_least} bars, found {bars}")
    return int(bars)


def ring_state(window_bars: int, extra: float = 0.0) -> tuple[float, ...]:
    """Return the starting state of a windowed indicator."""
    return (float(window_bars), 0.0, 0.0, extra, *([0.0] * window_bars))


@kernel
def push(state: FloatArray, value: float) -> bool:
    """Take `value` into the ring and the running sum; return whether the window is full."""
    window = int(state[WINDOW])
    at = int(state[SEEN]) % window
    if state[SEEN] >= window:
        state[SUM] -= state[RING + at]
    state[RING + at] = value
    state[SUM] += value
    state[SEEN] += 1.0
    if at == window - 1:
        total = 0.0
        for i in range(window):
            total += state[RING + i]
        state[SUM] = total
    return bool(state[SEEN] >= window)


def sma(bars: int) -> Indicator:
    """Simple moving average of the close over `bars` bars; first value at index bars - 1 (TA-Lib SMA)."""
    window = checked_window("sma", bars)
    return Indicator(f"sma({window})", _sma, ring_state(window), warmup_bars=window)


@kernel
def _sma(state: FloatArray, bar: Bar) -> float:
    is_full = push(state, bar.close)
    return float(state[SUM] / state[WINDOW]) if is_full else math.nan


def ema(bars: int) -> Indicator:
    """Exponential average of the close, alpha 2 / (bars + 1), seeded with the SMA of the first `bars` (TA-Lib EMA)."""
    window = checked_window("ema", bars)
    alpha = 2.0 / (window + 1.0)
    return Indicator(f"ema({window})", _seeded_average, (window, 0.0, 0.0, alpha), _faded_bars(window, alpha))


def rma(bars: int) -> Indicator:
    """Wilder's average of the close, alpha 1 / bars, seeded with the SMA of the first `bars`."""
    window = checked_window("rma", bars)
    alpha = 1.0 / window
    return Indicator(f"rma({window})", _seeded_average, (window, 0.0, 0.0, alpha), _faded_bars(window, alpha))


def _faded_bars(window: int, alpha: float) -> int:
    return max(window, seed_fades_bars(alpha))


@kernel
def _seeded_average(state: FloatArray, bar: Bar) -> float:
    # window, bars seen, sum while seeding and the average afterwards, alpha
    state[1] += 1.0
    if state[1] < state[0]:
        state[2] += bar.close
        return math.nan
    if state[1] == state[0]:
        state[2] = (state[2] + bar.close) / state[0]
    else:
        state[2] += state[3] * (bar.close - state[2])
    return float(state[2])


def slope(bars: int) -> Indicator:
    """Least-squares slope of the close over `bars` bars, price per bar (TA-Lib LINEARREG_SLOPE)."""
    window = checked_window("slope", bars, at_least=2)
    return Indicator(f"slope({window})", _slope, ring_state(window), warmup_bars=window)


@kernel
def _slope(state: FloatArray, bar: Bar) -> float:
    if not push(state, bar.close):
        return math.nan
    window = int(state[WINDOW])
    oldest = int(state[SEEN]) % window
    middle = (window - 1) / 2.0
    covariance = 0.0
    for i in range(window):
        # Distances from the latest close keep the digits that a sum of 60,000s would lose.
        covariance += (i - middle) * (state[RING + (oldest + i) % window] - bar.close)
    return covariance / (window * (window * window - 1.0) / 12.0)


def cross(fast_bars: int, slow_bars: int) -> Indicator:
    """The last crossover of two SMAs of the close: an edge, remembered.

    0 until the first one; then +1 from the bar in which the fast average goes above the slow one (below at the bar
    before, above at this one), -1 from the bar in which it goes below, until the opposite happens. Touching is not
    crossing. This is how a rule, which has no memory, acts on an event.

    Raises
    ------
    StrategyError
        If the windows are not whole numbers with fast < slow.
    """
    fast, slow = checked_window("cross", fast_bars), checked_window("cross", slow_bars)
    if fast >= slow:
        raise StrategyError(f"cross needs fast_bars < slow_bars, found {fast} and {slow}")
    state = (float(fast), float(slow), 0.0, math.nan, 0.0, *([0.0] * slow))
    return Indicator(f"cross({fast},{slow})", _cross, state, warmup_bars=slow)


@kernel
def _cross(state: FloatArray, bar: Bar) -> float:
    # fast window, slow window, bars seen, fast minus slow at the bar before, last crossover, ring
    fast, slow = int(state[0]), int(state[1])
    at = int(state[2]) % slow
    state[5 + at] = bar.close
    state[2] += 1.0
    if state[2] < slow:
        return math.nan
    # Summed afresh, newest first: the same closes give the same averages, so equality means equality.
    fast_sum, slow_sum = 0.0, 0.0
    for i in range(slow):
        value = state[5 + (at - i) % slow]
        slow_sum += value
        if i < fast:
            fast_sum += value
    difference = fast_sum / fast - slow_sum / slow
    if state[3] < 0.0 < difference:
        state[4] = 1.0
    elif state[3] > 0.0 > difference:
        state[4] = -1.0
    state[3] = difference
    return float(state[4])
