"""The indicator contract: one compiled `update`, run over history or bar by bar with the same result.

An indicator is a pure function of the bars up to now, kept in a small float64 state. Its batch form is the very
same `update` in a compiled loop, so research and live cannot differ. Rule C4a (gaps) is applied here, once.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

import numpy as np

from grodtd.domain.bars import Bar, Bars, FloatArray
from grodtd.domain.kernel import kernel, kernel_from_source, source_of

MAX_FILLED_GAP_BARS: Final = 5
SEED_WEIGHT: Final = 1e-4
TOGETHER: Final = 4

Update = Callable[[FloatArray, Bar], float]


@dataclass(frozen=True)
class Indicator:
    """A feature of the bars: which update, from which starting state.

    Attributes
    ----------
    name : str
        Field name with its parameters, for people: ``ema(9)``.
    update : kernel (state, bar) -> float
        Takes in one closed bar, changes `state` in place, returns the value after it; nan while undefined.
    initial_state : tuple of float
        State before the first bar. Parameters live here too, so one compiled update serves them all.
    warmup_bars : int
        Bars that must have been seen before a value may be traded on; 1 means from the first bar.
    restarts_after_gap : bool
        True for windowed and recursive indicators: a gap of more than 5 bars sends them back to the start.
        False for session totals such as VWAP, to which missing bars simply added nothing.
    """

    name: str
    update: Update
    initial_state: tuple[float, ...]
    warmup_bars: int
    restarts_after_gap: bool = True

    def start(self) -> FloatArray:
        """Return a fresh state."""
        return np.array(self.initial_state, dtype=np.float64)

    def values(self, bars: Bars) -> FloatArray:
        """Return the value after each bar, shape (n_bars,), nan while undefined."""
        return values_together([self], bars)[0]


class IndicatorStream:
    """One indicator fed bar by bar, as the live trader does."""

    def __init__(self, indicator: Indicator, *, gap_step_us: int) -> None:
        self.indicator = indicator
        self.state = indicator.start()
        self.last: Bar | None = None
        self._gap_step_us = gap_step_us

    def update(self, bar: Bar) -> float:
        """Take in one closed bar; return the value after it, nan while undefined."""
        if self.last is not None:
            missing = missing_bars(self.last.time, bar.time, self._gap_step_us)
            if missing > MAX_FILLED_GAP_BARS:
                if self.indicator.restarts_after_gap:
                    self.state = self.indicator.start()
            else:
                for k in range(1, missing + 1):
                    self.indicator.update(self.state, flat_bar(self.last, k, self._gap_step_us))
        self.last = bar
        return float(self.indicator.update(self.state, bar))


@kernel
def missing_bars(previous_time: int, time: int, gap_step_us: int) -> int:
    """Return how many bars are missing between two bars; 0 where the calendar has closed hours."""
    if gap_step_us <= 0:
        return 0
    return (time - previous_time) // gap_step_us - 1


@kernel
def flat_bar(last: Bar, k: int, gap_step_us: int) -> Bar:
    """Return the k-th stand-in for a missing bar: all prices at the last close, volume 0 (C4a)."""
    return Bar(last.time + k * gap_step_us, last.close, last.close, last.close, last.close, 0.0)


def values_together(indicators: Sequence[Indicator], bars: Bars) -> list[FloatArray]:
    """Return `indicator.values(bars)` of each, in one pass over the bars.

    A recursive average waits for its own last value at each bar. Several side by side wait together. A loop is compiled
    for each list of kinds, so callers keep to few of them.

    Raises
    ------
    ValueError
        If there are none, or more than `TOGETHER`.
    """
    if not 1 <= len(indicators) <= TOGETHER:
        raise ValueError(f"one to {TOGETHER} indicators are needed, found {list(indicators)}")
    n = len(indicators)
    # One loop is compiled for one, one for all places; the last indicator fills the places that are left.
    places = [*indicators, *[indicators[-1]] * (TOGETHER - n)] if n > 1 else [*indicators]
    states = tuple(indicator.start() for indicator in places)
    restarts = tuple(indicator.restarts_after_gap for indicator in places)
    out = np.empty((len(places), len(bars)))
    columns = (bars.time, bars.open, bars.high, bars.low, bars.close, bars.volume)
    _loop_over(tuple(indicator.update for indicator in places))(*columns, states, bars.gap_step_us, restarts, out)
    return list(out[:n])


def is_alike(one: Indicator, other: Indicator) -> bool:
    """Whether two indicators differ only in the numbers of their state."""
    return (
        one.update is other.update
        and one.restarts_after_gap == other.restarts_after_gap
        and len(one.initial_state) == len(other.initial_state)
    )


_LOOP = """
def {name}(time, open_, high, low, close, volume, states, gap_step_us, restarts, out):
    {split}
    for t in range(time.size):
        if t > 0:
            missing = missing_bars(time[t - 1], time[t], gap_step_us)
            if missing > max_filled:
                {restart}
            else:
                last = Bar(time[t - 1], open_[t - 1], high[t - 1], low[t - 1], close[t - 1], volume[t - 1])
                for k in range(1, missing + 1):
                    flat = flat_bar(last, k, gap_step_us)
                    {fill}
        bar = Bar(time[t], open_[t], high[t], low[t], close[t], volume[t])
        {store}
"""


@cache
def _loop_over(updates: tuple[Update, ...]) -> Any:  # Any: numba dispatchers have no static type
    """Return the loop over bars of indicators side by side."""
    places = range(len(updates))
    # numba tells functions of one file apart by name and bytecode, and which updates are called is in neither.
    kinds = "\0".join(f"{update.__module__}.{update.__qualname__} {source_of(update)}" for update in updates)
    name = f"values_{hashlib.sha256(kinds.encode()).hexdigest()[:16]}"
    source = _LOOP.format(
        name=name,
        split="; ".join(f"state_{i}, first_{i}, out_{i} = states[{i}], states[{i}].copy(), out[{i}]" for i in places),
        restart="; ".join(f"state_{i}[:] = first_{i} if restarts[{i}] else state_{i}" for i in places),
        fill="; ".join(f"update_{i}(state_{i}, flat)" for i in places),
        store="; ".join(f"out_{i}[t] = update_{i}(state_{i}, bar)" for i in places),
    )
    scope = {
        "np": np,
        "Bar": Bar,
        "missing_bars": missing_bars,
        "flat_bar": flat_bar,
        "max_filled": MAX_FILLED_GAP_BARS,
    } | {f"update_{i}": update for i, update in enumerate(updates)}
    return kernel_from_source(source, name=name, like=updates[0], scope=scope)


def seed_fades_bars(alpha: float) -> int:
    """Return the bars after which a recursive average has forgotten its seed: weight (1 - alpha)^k < 1e-4."""
    return math.ceil(math.log(SEED_WEIGHT) / math.log1p(-alpha)) if alpha < 1 else 1
