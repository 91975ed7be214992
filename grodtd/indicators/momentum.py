"""Wilder's momentum family: RSI and ADX, as TA-Lib computes them."""

from __future__ import annotations

import math

from grodtd.domain.bars import Bar, FloatArray
from grodtd.domain.indicator import Indicator, seed_fades_bars
from grodtd.domain.kernel import kernel
from grodtd.indicators.averages import checked_window
from grodtd.indicators.volatility import true_range


def rsi(bars: int) -> Indicator:
    """Relative strength index, 0 to 100; changes from index 1, first value at index `bars` (TA-Lib RSI).

    Where neither a gain nor a loss is left in the averages it is 50 (TA-Lib says 0, which reads as "oversold"). Warm
    when the seed weighs less than 1e-4 (14 bars: 125).

    Parameters
    ----------
    bars : int
        Length, 1 or more.

    Raises
    ------
    StrategyError
        If `bars` is not a whole number of at least 1.
    """
    window = checked_window("rsi", bars)
    state = (float(window), 0.0, 0.0, 0.0, 0.0)
    return Indicator(f"rsi({window})", _rsi, state, warmup_bars=max(window + 1, seed_fades_bars(1.0 / window)))


@kernel
def _rsi(state: FloatArray, bar: Bar) -> float:
    # window, bars seen, close before, average gain, average loss
    window = state[0]
    change = bar.close - state[2]
    state[2] = bar.close
    state[1] += 1.0
    if state[1] == 1.0:
        return math.nan
    gain, loss = max(change, 0.0), max(-change, 0.0)
    if state[1] <= window + 1.0:
        state[3] += gain
        state[4] += loss
        if state[1] <= window:
            return math.nan
        state[3] /= window
        state[4] /= window
    else:
        state[3] = (state[3] * (window - 1.0) + gain) / window
        state[4] = (state[4] * (window - 1.0) + loss) / window
    total = state[3] + state[4]
    return float(100.0 * state[3] / total) if total > 0.0 else 50.0


def adx(bars: int) -> Indicator:
    """Average directional index, 0 to 100; first value at index 2 * bars - 1 (TA-Lib ADX).

    The strength of a trend, not its direction. Without any directional movement in its averages it stays as it was; 0
    if there never was any. It is one Wilder average of another, so its warm-up is twice that of one.

    Parameters
    ----------
    bars : int
        Length of both averages, 2 or more.

    Raises
    ------
    StrategyError
        If `bars` is not a whole number of at least 2.
    """
    window = checked_window("adx", bars, at_least=2)
    state = (float(window), 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
    return Indicator(f"adx({window})", _adx, state, warmup_bars=2 * seed_fades_bars(1.0 / window))


@kernel
def _adx(state: FloatArray, bar: Bar) -> float:
    # window, bars seen, high, low, close before, Wilder sums of +DM, -DM, true range, ADX (while seeding: sum of DX)
    window = state[0]
    up, down = bar.high - state[2], state[3] - bar.low
    reach = true_range(bar, state[4])
    state[2], state[3], state[4] = bar.high, bar.low, bar.close
    state[1] += 1.0
    changes = state[1] - 1.0
    if changes == 0.0:
        return math.nan
    if changes >= window:
        state[5] -= state[5] / window
        state[6] -= state[6] / window
        state[7] -= state[7] / window
    if down > 0.0 and down > up:
        state[6] += down
    elif up > 0.0 and up > down:
        state[5] += up
    state[7] += reach
    if changes < window:
        return math.nan

    both = state[5] + state[6]
    is_defined = state[7] > 0.0 and both > 0.0
    directional = 100.0 * abs(state[6] - state[5]) / both if is_defined else 0.0
    if changes < 2.0 * window:
        state[8] += directional
        if changes < 2.0 * window - 1.0:
            return math.nan
        state[8] /= window
    elif is_defined:
        state[8] = (state[8] * (window - 1.0) + directional) / window
    return float(state[8])
