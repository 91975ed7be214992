"""Longer bars from shorter ones, on the UTC grid."""

from __future__ import annotations

import numpy as np

from grodtd.domain.bars import US_PER_S, Bars, timeframe_s
from grodtd.domain.errors import DataError


def resample(bars: Bars, timeframe: str) -> Bars:
    """Return bars of a longer timeframe; one exists where at least one shorter bar does, as exchanges build them.

    Open is the first, close the last, high and low the extremes, volume the sum. Weeks start on Monday.

    Raises
    ------
    DataError
        If the timeframe is not a whole multiple of the bars' own, or there are no bars.
    """
    target_s = timeframe_s(timeframe)
    if target_s <= bars.interval_s or target_s % bars.interval_s:
        raise DataError(f"{timeframe} is not a whole multiple of {bars.timeframe}, the bars' own timeframe")
    if not len(bars):
        raise DataError(f"{bars.symbol} {bars.timeframe}: no bars to resample")
    step = target_s * US_PER_S
    # 1970-01-01 was a Thursday; weeks are counted from the Monday before it.
    offset = 3 * 86_400 * US_PER_S if timeframe.endswith("w") else 0
    slot = (bars.time + offset) // step
    starts = np.flatnonzero(np.diff(slot, prepend=slot[0] - 1))
    ends = np.append(starts[1:], len(bars)) - 1
    return Bars(
        slot[starts] * step - offset,
        bars.open[starts],
        np.maximum.reduceat(bars.high, starts),
        np.minimum.reduceat(bars.low, starts),
        bars.close[ends],
        np.add.reduceat(bars.volume, starts),
        venue=bars.venue,
        symbol=bars.symbol,
        timeframe=timeframe,
        calendar=bars.calendar,
    )
