"""Bars: the only form in which prices reach the core."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from grodtd.domain.errors import DataError

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
SideArray = npt.NDArray[np.int8]

Calendar = Literal["24x7", "sessions"]

US_PER_S: Final = 1_000_000
DAY_S: Final = 86_400
YEAR_S: Final = 365 * DAY_S
COLUMNS: Final = ("open", "high", "low", "close", "volume")

_UNIT_S = {"s": 1, "m": 60, "h": 3_600, "d": DAY_S, "w": 7 * DAY_S}


class Bar(NamedTuple):
    """One closed bar as a rule or an indicator sees it; `time` is the bar's open in microseconds UTC."""

    time: int
    open: float
    high: float
    low: float
    close: float
    volume: float


def timeframe_s(timeframe: str) -> int:
    """Return the seconds in a timeframe such as ``1m``, ``15m``, ``1h``, ``1d``.

    Raises
    ------
    DataError
        If the text is not a positive whole number followed by s, m, h, d or w.
    """
    match = re.fullmatch(r"([1-9]\d*)([smhdw])", timeframe)
    if match is None:
        raise DataError(f"timeframe {timeframe!r} is not understood; write for example 1m, 5m, 1h or 1d")
    return int(match[1]) * _UNIT_S[match[2]]


def utc(time_us: int) -> str:
    """Return microseconds since 1970 as readable UTC, to the second."""
    return datetime.fromtimestamp(int(time_us) / US_PER_S, UTC).strftime("%Y-%m-%d %H:%M:%S")


@dataclass(frozen=True, slots=True, eq=False)
class Bars:
    """A checked, read-only run of bars of one symbol, oldest first.

    Attributes
    ----------
    time : int64 array, shape (n_bars,)
        Bar **open**, microseconds since 1970 UTC, strictly increasing. The bar covers [time, time + interval).
    open, high, low, close : float64 arrays, shape (n_bars,)
        Prices in quote currency: finite, above zero, low <= open, close <= high.
    volume : float64 array, shape (n_bars,)
        Traded quantity in base currency: finite, not below zero.
    venue, symbol, timeframe : str
        Where the bars come from. Missing bars are missing: nothing is gap-filled.
    calendar : {"24x7", "sessions"}
        Whether a missing interval is a gap (24x7) or a closed market (sessions).

    Raises
    ------
    DataError
        From the constructor, if any of the above does not hold; the message names the first offending bar.
    """

    time: IntArray
    open: FloatArray
    high: FloatArray
    low: FloatArray
    close: FloatArray
    volume: FloatArray
    venue: str = "unknown"
    symbol: str = "unknown"
    timeframe: str = "1m"
    calendar: Calendar = "24x7"
    interval_s: int = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "interval_s", timeframe_s(self.timeframe))
        object.__setattr__(self, "time", _frozen(self.time, np.int64))
        for name in COLUMNS:
            object.__setattr__(self, name, _frozen(getattr(self, name), np.float64))
            if getattr(self, name).shape != self.time.shape or self.time.ndim != 1:
                raise DataError(f"{self.symbol}: column {name!r} has another length than the time column")
        self._check()

    def _is_sound(self) -> bool:
        """Whether nothing is wrong, in few passes; a year of minutes is loaded often."""
        if not len(self):
            return True
        # Of finite values near the largest float, the sum is not: then the slow way looks at each.
        with np.errstate(over="ignore"):
            is_finite = all(np.isfinite(getattr(self, name).sum()) for name in COLUMNS)
        return bool(
            is_finite
            and self.low.min() > 0
            and self.volume.min() >= 0
            and (self.low <= self.open).all()
            and (self.low <= self.close).all()
            and (self.high >= self.open).all()
            and (self.high >= self.close).all()
            and (self.time[1:] > self.time[:-1]).all()
        )

    def _check(self) -> None:
        if self._is_sound():
            return
        columns = np.stack([getattr(self, name) for name in COLUMNS]) if len(self) else np.empty((5, 0))
        self._refuse(~np.isfinite(columns).all(axis=0), "has a value that is not a finite number")
        self._refuse((columns[:4] <= 0).any(axis=0), "has a price that is not above zero")
        self._refuse(self.volume < 0, "has a negative volume")
        self._refuse(self.low > np.minimum(self.open, self.close), "has a low above its open or close")
        self._refuse(self.high < np.maximum(self.open, self.close), "has a high below its open or close")
        late = np.zeros(len(self), dtype=bool)
        late[1:] = np.diff(self.time) <= 0
        self._refuse(late, "is not after the bar before it")

    def _refuse(self, is_bad: npt.ArrayLike, what: str) -> None:
        bad = np.asarray(is_bad)
        if bad.any():
            at = int(np.argmax(bad))
            raise DataError(
                f"{self.symbol}: bar {at} at {utc(self.time[at])} UTC {what}"
                f" ({int(bad.sum())} such bars); run `grodt data check` and re-download the file"
            )

    def __len__(self) -> int:
        return int(self.time.size)

    def __getitem__(self, key: slice) -> Bars:
        """Return a run of the same bars; only slices with step 1 make sense for bars."""
        if not hasattr(key, "indices") or key.step not in (None, 1):
            raise TypeError("bars are sliced by position: bars[a:b]")
        parts = {name: getattr(self, name)[key] for name in ("time", *COLUMNS)}
        return Bars(**parts, venue=self.venue, symbol=self.symbol, timeframe=self.timeframe, calendar=self.calendar)

    def between(self, start_us: int, end_us: int) -> Bars:
        """Return the bars that open in [start_us, end_us)."""
        first, last = np.searchsorted(self.time, [start_us, end_us], side="left")
        return self[int(first) : int(last)]

    @property
    def gap_step_us(self) -> int:
        """Expected microseconds from one bar to the next; 0 when closed hours make gaps normal."""
        return self.interval_s * US_PER_S if self.calendar == "24x7" else 0

    @property
    def periods_per_year(self) -> float:
        """Bars a year (C3): year / interval on a 24x7 calendar, 252 for daily session bars, else nan."""
        if self.calendar == "24x7":
            return YEAR_S / self.interval_s
        return 252.0 if self.interval_s == DAY_S else float("nan")

    def content_hash(self) -> str:
        """Return the sha256 of venue, symbol, timeframe, calendar and every value, little-endian."""
        digest = hashlib.sha256(f"{self.venue}|{self.symbol}|{self.timeframe}|{self.calendar}|".encode())
        digest.update(self.time.astype("<i8", copy=False).tobytes())
        for name in COLUMNS:
            digest.update(getattr(self, name).astype("<f8", copy=False).tobytes())
        return digest.hexdigest()


def _frozen(values: npt.ArrayLike, dtype: type[np.generic]) -> npt.NDArray[np.generic]:
    """Return a read-only contiguous view or copy; the caller's own array is never locked."""
    array = np.ascontiguousarray(values, dtype=dtype).view()
    array.flags.writeable = False
    return array


def daily_marks(bars: Bars) -> tuple[IntArray, IntArray]:
    """Return when the equity that ratios are computed from is read.

    Returns
    -------
    time : int64 array, shape (n_marks,)
        Microseconds UTC. On a 24x7 calendar every midnight from the first to the last inside the run; partial days at
        the ends have no mark (C2). On a session calendar the start, and the last close of every day that has bars.
        Bars longer than a day are marked at their closes.
    point : int64 array, shape (n_marks,)
        The point of the equity path that holds then: bars closed at or before that time; days without bars carry the
        last one forward (C4).
    """
    closes = bars.time + bars.interval_s * US_PER_S
    step = mark_step_s(bars) * US_PER_S
    if bars.calendar == "sessions":
        # A session belongs to the day it opens in, whenever it closes.
        day = bars.time // (DAY_S * US_PER_S)
        last = np.flatnonzero(np.append(day[1:] != day[:-1], True))
        return np.concatenate((bars.time[:1], closes[last])), np.concatenate(([0], last + 1))
    # Weeks do not start at the epoch: bars longer than a day keep their own grid.
    origin = int(bars.time[0]) % step if bars.interval_s > DAY_S else 0
    first = -((origin - int(bars.time[0])) // step)
    final = (int(closes[-1]) - origin) // step
    marks = origin + np.arange(first, final + 1, dtype=np.int64) * step
    return marks, np.searchsorted(closes, marks, side="right")


def mark_step_s(bars: Bars) -> int:
    """Return the seconds between two daily marks: a day, or a bar where that is longer."""
    return max(bars.interval_s, DAY_S)
