"""Volume-weighted average price of a session."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Final

from grodtd.domain.bars import DAY_S, US_PER_S, Bar, FloatArray
from grodtd.domain.errors import StrategyError
from grodtd.domain.indicator import Indicator
from grodtd.domain.kernel import kernel
from grodtd.indicators.averages import typical_price

_DAY_US: Final = DAY_S * US_PER_S
_MINUTE_US: Final = 60 * US_PER_S


def vwap(anchor: str | Sequence[str] = "day") -> Indicator:
    """Volume-weighted average of the typical price (high + low + close) / 3 since the session began, this bar included.

    Defined from the first bar. Until something has traded in the session, it is the bar's typical price. A gap in the
    data does not restart it: bars that are missing add nothing to the totals.

    Parameters
    ----------
    anchor : str or sequence of str
        When a session begins, UTC: ``"day"`` (midnight), ``"week"`` (Monday midnight), a time such as ``"13:30"``, or
        several such times. A session's first bar is the first that opens at its anchor or later.

    Raises
    ------
    StrategyError
        If an anchor cannot be read.
    """
    if anchor == "week":
        times: tuple[str, ...] = ()
    elif anchor == "day":
        times = ("00:00",)
    else:
        times = (anchor,) if isinstance(anchor, str) else tuple(anchor)
        if not times:
            raise StrategyError("vwap needs at least one anchor, found none")
    minutes = sorted({_minute_of_day(text) for text in times})
    state = (-math.inf, 0.0, 0.0, float(len(minutes)), *map(float, minutes))
    name = anchor if isinstance(anchor, str) else ",".join(anchor)
    return Indicator(f"vwap({name})", session_vwap, state, warmup_bars=1, restarts_after_gap=False)


def _minute_of_day(text: str) -> int:
    match = re.fullmatch(r"([01]\d|2[0-3]):([0-5]\d)", text)
    if match is None:
        raise StrategyError(f"vwap: anchor {text!r} is not understood; write day, week or a UTC time such as 13:30")
    return int(match[1]) * 60 + int(match[2])


@kernel
def _session(state: FloatArray, time: int) -> float:
    """Number of the session a bar belongs to; grows by one at each anchor."""
    day = time // _DAY_US
    n_anchors = int(state[3])
    if n_anchors == 0:
        return float((day + 3) // 7)  # 1970-01-01 was a Thursday
    minute = (time - day * _DAY_US) // _MINUTE_US
    passed = 0
    for i in range(n_anchors):
        if minute >= state[4 + i]:
            passed += 1
    return float(day * n_anchors + passed)


@kernel
def session_vwap(state: FloatArray, bar: Bar) -> float:
    """Update of `vwap`, for indicators that hold one."""
    # session, average, volume so far, number of anchors, anchors in minutes of the day
    session = _session(state, bar.time)
    if session != state[0]:
        state[0], state[1], state[2] = session, 0.0, 0.0
    typical = typical_price(bar)
    state[2] += bar.volume
    if state[2] == 0.0:
        return float(typical)
    # A moving mean, not a ratio of sums: where the price stands still the average is that price, not one beside it.
    state[1] += (typical - state[1]) * (bar.volume / state[2])
    return float(state[1])
