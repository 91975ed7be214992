"""Sides with a memory: indicators whose value is the wanted position, for rules that must not have one themselves."""

from __future__ import annotations

import math
from typing import Final

from grodtd.domain.bars import Bar, FloatArray
from grodtd.domain.errors import StrategyError
from grodtd.domain.indicator import Indicator
from grodtd.domain.kernel import kernel
from grodtd.indicators.averages import SEEN, WINDOW, checked_window, distance_sum, push, ring_state
from grodtd.indicators.volatility import highest, highest_state
from grodtd.indicators.vwap import session_vwap, vwap

_VWAP_SIZE: Final = 5  # of a VWAP with one anchor


def vwap_fade(bars: int, enter: float, leave: float) -> Indicator:
    """Side against a stretch from the day's VWAP: -1 far above it, +1 far below, until the price has come back.

    The distance of the close from the VWAP is measured in its own root mean square over `bars` bars. A side is taken
    beyond `enter` and kept until the distance is within `leave`.

    Parameters
    ----------
    bars : int
        Window of the deviation, 2 or more.
    enter, leave : float
        Distances in deviations, ``0 <= leave < enter``.

    Raises
    ------
    StrategyError
        If a parameter is none of these.
    """
    window = checked_window("vwap_fade", bars, at_least=2)
    if not 0 <= leave < enter:
        raise StrategyError(f"vwap_fade needs 0 <= leave < enter, found leave {leave} and enter {enter}")
    state = (float(enter), float(leave), 0.0, *vwap(anchor="day").initial_state, *ring_state(window))
    return Indicator(f"vwap_fade({window},{enter:g},{leave:g})", _vwap_fade, state, warmup_bars=window)


@kernel
def _vwap_fade(state: FloatArray, bar: Bar) -> float:
    # enter, leave, side, then a VWAP, then the ring of squared distances
    ring = state[3 + _VWAP_SIZE :]
    distance = bar.close - session_vwap(state[3 : 3 + _VWAP_SIZE], bar)
    if not push(ring, distance * distance):
        return math.nan
    deviation = math.sqrt(distance_sum(ring, int(ring[WINDOW]), 0.0) / ring[WINDOW])
    stretch = distance / deviation if deviation > 0.0 else 0.0
    if stretch <= -state[0]:
        state[2] = 1.0
    elif stretch >= state[0]:
        state[2] = -1.0
    elif state[2] * stretch >= -state[1]:
        state[2] = 0.0
    return float(state[2])


def channel_breakout(bars: int, exit_bars: int, volume_bars: int, volume_ratio: float) -> Indicator:
    """Side of the last breakout from a Donchian channel, confirmed by volume, until the opposite exit channel breaks.

    +1 when the close is above the high of the `bars` bars before and the bar's volume is more than `volume_ratio` times
    the mean of the `volume_bars` before; 0 again when a close is below the low of the `exit_bars` before; -1 mirrored.

    Parameters
    ----------
    bars, exit_bars, volume_bars : int
        Windows of bars before this one, 1 or more.
    volume_ratio : float
        0: any volume confirms.

    Raises
    ------
    StrategyError
        If a parameter is none of these.
    """
    sizes = [checked_window(f"channel_breakout: {n}", v) for n, v in (("bars", bars), ("exit_bars", exit_bars))]
    volumes = checked_window("channel_breakout: volume_bars", volume_bars)
    if not (math.isfinite(volume_ratio) and volume_ratio >= 0):
        raise StrategyError(f"channel_breakout needs a volume_ratio of at least 0, found {volume_ratio}")
    channels = [highest_state(size, sign) for size in sizes for sign in (1.0, -1.0)]
    ends: list[float] = []
    at = 6
    for part in (*channels, ring_state(volumes)):
        at += len(part)
        ends.append(float(at))
    state = (0.0, float(volume_ratio), *ends[:4], *(value for part in channels for value in part), *ring_state(volumes))
    name = f"channel_breakout({sizes[0]},{sizes[1]},{volumes},{volume_ratio:g})"
    return Indicator(name, _channel_breakout, state, warmup_bars=max(*sizes, volumes) + 1)


@kernel
def _channel_breakout(state: FloatArray, bar: Bar) -> float:
    # side, ratio, ends of the four channels, then entry high, entry low, exit high, exit low, ring of volumes
    a, b, c, d = int(state[2]), int(state[3]), int(state[4]), int(state[5])
    upper, lower = highest(state[6:a], bar), highest(state[a:b], bar)
    exit_upper, exit_lower = highest(state[b:c], bar), highest(state[c:d], bar)
    volumes = state[d:]
    is_full = volumes[SEEN] >= volumes[WINDOW]
    usual = distance_sum(volumes, int(volumes[WINDOW]), 0.0) / volumes[WINDOW]
    push(volumes, bar.volume)
    if not is_full or math.isnan(upper) or math.isnan(exit_upper):
        return math.nan
    is_confirmed = bar.volume > state[1] * usual
    if bar.close > upper and is_confirmed:
        state[0] = 1.0
    elif bar.close < lower and is_confirmed:
        state[0] = -1.0
    elif (state[0] > 0.0 and bar.close < exit_lower) or (state[0] < 0.0 and bar.close > exit_upper):
        state[0] = 0.0
    return float(state[0])


# Park and Miller's generator: its products are exact in float64.
_MULTIPLIER: Final = 16_807.0
_MODULUS: Final = 2_147_483_647.0
_WARM_UP_DRAWS: Final = 20


def coin(chance: float, hold_bars: int, seed: int) -> Indicator:
    """Side drawn by lot: when flat, enter with this chance a bar, long or short alike, and hold so many bars.

    Parameters
    ----------
    chance : float
        Of an entry in a bar, in (0, 1].
    hold_bars : int
        1 or more.
    seed : int
        0 to 2,147,483,645.

    Raises
    ------
    StrategyError
        If a parameter is none of these.
    """
    hold = checked_window("coin: hold_bars", hold_bars)
    if not 0 < chance <= 1:
        raise StrategyError(f"coin needs a chance above 0 and at most 1, found {chance}")
    if not 0 <= seed < _MODULUS - 1:
        raise StrategyError(f"coin needs a seed from 0 to {_MODULUS - 2:.0f}, found {seed}")
    drawn = float(seed) + 1.0
    for _ in range(_WARM_UP_DRAWS):
        drawn = _next_draw(drawn)
    state = (float(chance), float(hold), drawn, 0.0, 0.0)
    return Indicator(f"coin({chance:g},{hold},{seed})", _coin, state, warmup_bars=1, restarts_after_gap=False)


@kernel
def _next_draw(drawn: float) -> float:
    product = _MULTIPLIER * drawn
    return product - math.floor(product / _MODULUS) * _MODULUS


@kernel
def _coin(state: FloatArray, bar: Bar) -> float:
    # chance, bars to hold, last draw, side, bars left
    enters = _next_draw(state[2])
    side = _next_draw(enters)
    state[2] = side
    if state[4] > 0.0:
        state[4] -= 1.0
    if state[4] == 0.0:
        state[3] = 0.0
        if enters < state[0] * _MODULUS:
            state[3] = 1.0 if side < 0.5 * _MODULUS else -1.0
            state[4] = state[1]
    return float(state[3])
