"""An indicator of a longer timeframe, inside a strategy of a shorter one: only closed bars of the longer are seen."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

import numpy as np

from grodtd.domain.bars import US_PER_S, Bar, Bars, FloatArray, timeframe_s
from grodtd.domain.errors import StrategyError
from grodtd.domain.indicator import MAX_FILLED_GAP_BARS, Indicator, flat_bar
from grodtd.domain.kernel import kernel_from_source

# State: length of a longer and of a shorter bar, the longer bar in the making (start, open, high, low, close, volume,
# whether it is whole), its last value, the last closed one (start, close), then the indicator's state and its start.
_LONG, _SHORT, _START, _OPEN, _HIGH, _LOW, _CLOSE, _VOLUME, _WHOLE, _VALUE, _LAST_START, _LAST_CLOSE = range(12)
_INNER: Final = 12


@dataclass(frozen=True)
class HigherIndicator(Indicator):
    """An indicator of longer bars; refuses bars of another length than it was made for."""

    base: str = "1m"

    def values(self, bars: Bars) -> FloatArray:
        """Return the value after each of the shorter bars, shape (n_bars,), nan while undefined.

        Raises
        ------
        StrategyError
            If the bars are not of the timeframe the indicator was made for.
        """
        if bars.timeframe != self.base:
            raise StrategyError(f"{self.name} was made for {self.base} bars, found {bars.timeframe}; pass base=")
        return super().values(bars)


def higher(indicator: Indicator, timeframe: str, *, base: str = "1m") -> Indicator:
    """Return `indicator` computed on bars of a longer timeframe, as known at each close of the shorter ones.

    A longer bar is built from the shorter ones on the UTC grid and handed on when its last minute has closed, or, where
    that minute is missing, with the first bar after it. Until the next one closes the value stands. A longer bar whose
    beginning lies before the data is left out. Gaps follow the same rule as everywhere, counted in longer bars.

    Parameters
    ----------
    indicator : Indicator
        For example ``ema(50)``.
    timeframe : str
        For example ``"1h"``; a multiple of `base`, at most a day.
    base : str
        Timeframe of the strategy's own bars.

    Raises
    ------
    StrategyError
        If the timeframe is not a longer multiple of `base`, or over a day.
    """
    long, short = timeframe_s(timeframe), timeframe_s(base)
    if long <= short or long % short or 86_400 % long:
        raise StrategyError(
            f"higher: {timeframe} must be a multiple of the base timeframe {base} that divides a day, such as 5m or 1h"
        )
    inner = indicator.initial_state
    own = (float(long * US_PER_S), float(short * US_PER_S), math.nan, *([0.0] * 6), math.nan, math.nan, math.nan)
    return HigherIndicator(
        name=f"{indicator.name}@{timeframe}",
        update=_update_over(indicator.update),
        initial_state=(*own, *inner, *inner),
        warmup_bars=(indicator.warmup_bars + 1) * (long // short),
        restarts_after_gap=False,
        base=base,
    )


_UPDATE = """
def update(state, bar):
    long, short = state[0], state[1]
    start = float(bar.time) - float(bar.time) % long
    size = (state.size - inner_at) // 2
    inner = state[inner_at : inner_at + size]
    if start != state[2]:
        if not math.isnan(state[2]) and state[8] > 0.0:
            close_bar(state, inner)
        state[2], state[3], state[4] = start, bar.open, bar.high
        state[5], state[6], state[7] = bar.low, bar.close, bar.volume
        # Whole if the data has its beginning; a later gap only leaves minutes out of it.
        state[8] = 1.0 if float(bar.time) == start or not math.isnan(state[10]) else 0.0
    else:
        state[4] = max(state[4], bar.high)
        state[5] = min(state[5], bar.low)
        state[6] = bar.close
        state[7] += bar.volume
    if float(bar.time) + short == start + long:
        if state[8] > 0.0:
            close_bar(state, inner)
        state[8] = 0.0
        if math.isnan(state[10]):
            state[10] = start
            state[11] = bar.close
    return state[9]
"""

_CLOSE_BAR = """
def close_bar(state, inner):
    size = inner.size
    if not math.isnan(state[10]):
        missing = int((state[2] - state[10]) / state[0] + 0.5) - 1
        if missing > max_filled:
            for i in range(size):
                inner[i] = state[inner_at + size + i]
        else:
            last = Bar(int(state[10]), state[11], state[11], state[11], state[11], 0.0)
            for k in range(1, missing + 1):
                update_inner(inner, flat_bar(last, k, int(state[0])))
    state[9] = update_inner(inner, Bar(int(state[2]), state[3], state[4], state[5], state[6], state[7]))
    state[10], state[11] = state[2], state[6]
    state[8] = 0.0
"""


@cache
def _update_over(update: Any) -> Any:  # Any: numba dispatchers have no static type
    scope = {
        "np": np,
        "math": math,
        "Bar": Bar,
        "update_inner": update,
        "flat_bar": flat_bar,
        "inner_at": _INNER,
        "max_filled": MAX_FILLED_GAP_BARS,
    }
    close_bar = kernel_from_source(_CLOSE_BAR, name="close_bar", like=update, scope=scope)
    return kernel_from_source(_UPDATE, name="update", like=update, scope={**scope, "close_bar": close_bar})
