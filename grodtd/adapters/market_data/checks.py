"""What is wrong with a table of bars, row by row: found and named, never repaired."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, Literal

import numpy as np
import numpy.typing as npt
import polars as pl

from grodtd.domain.bars import COLUMNS, US_PER_S, Calendar, timeframe_s, utc

Severity = Literal["error", "warning", "note"]

# A log return this many times the robust deviation (1.4826 x median absolute deviation) of all the file's returns, and
# above 1 %, is worth a look: crashes are as rare as typing errors.
OUTLIER_DEVIATIONS: Final = 50.0
OUTLIER_MOVE: Final = 0.01
SHOWN_MAX: Final = 20

_YEAR_2000_S: Final = 946_684_800
_YEAR_2100_S: Final = 4_102_444_800
_UNITS: Final = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}


@dataclass(frozen=True, slots=True)
class Finding:
    """One kind of trouble: how many rows, which ones first, and what to do.

    `rows` and `times_us` hold the first `SHOWN_MAX`; a gap is given by the first missing bar, with `missing` bars.
    """

    code: str
    severity: Severity
    count: int
    message: str
    rows: tuple[int, ...] = ()
    times_us: tuple[int, ...] = ()
    missing: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class CheckReport:
    """Everything found in one series or file."""

    n_bars: int
    first_us: int | None
    last_us: int | None
    coverage: float | None
    findings: tuple[Finding, ...] = field(default_factory=tuple)

    @property
    def errors(self) -> tuple[Finding, ...]:
        """Findings that make the bars unusable."""
        return tuple(f for f in self.findings if f.severity == "error")


def time_unit(values: npt.NDArray[np.int64]) -> str | None:
    """Return the unit (s, ms, us, ns) that puts every time stamp between 2000 and 2100; None if none does."""
    if not values.size:
        return None
    low, high = int(values.min()), int(values.max())
    for unit, per_s in _UNITS.items():
        if _YEAR_2000_S * per_s <= low and high < _YEAR_2100_S * per_s:
            return unit
    return None


def check_bars(frame: pl.DataFrame, timeframe: str, calendar: Calendar = "24x7") -> CheckReport:
    """Return what is wrong with a table of bars in the order it has.

    Parameters
    ----------
    frame : DataFrame
        Columns timestamp (microseconds UTC), open, high, low, close, volume.
    timeframe : str
    calendar : {"24x7", "sessions"}
        On a session calendar a missing interval is no gap.
    """
    if not frame.height:
        return CheckReport(0, None, None, None, (Finding("empty", "error", 0, "there are no bars"),))
    time = frame["timestamp"].cast(pl.Datetime("us", "UTC")).to_physical().to_numpy()
    found: list[Finding] = []

    def add(code: str, severity: Severity, bad: npt.ArrayLike, message: str) -> None:
        rows = np.flatnonzero(bad)
        if rows.size:
            first = rows[:SHOWN_MAX]
            found.append(
                Finding(code, severity, int(rows.size), message, tuple(first.tolist()), tuple(time[first].tolist()))
            )

    columns = {name: frame[name].cast(pl.Float64).fill_null(np.nan).to_numpy() for name in COLUMNS}
    step = np.diff(time, prepend=time[0] - 1)
    add("disorder", "error", step < 0, "earlier than the row before it; sort the file or re-download it")
    add("duplicate", "error", step == 0, "the same time as the row before it; keep one, or re-download the file")
    values = np.stack([columns[name] for name in COLUMNS])
    not_finite = ~np.isfinite(values).all(axis=0)
    add("not_a_number", "error", not_finite, "a value is missing or not a finite number; re-download these rows")
    with np.errstate(invalid="ignore"):
        add("price_not_positive", "error", (values[:4] <= 0).any(axis=0), "a price is not above zero")
        add("negative_volume", "error", columns["volume"] < 0, "volume is below zero")
        high_low = (columns["low"] > np.minimum(columns["open"], columns["close"])) | (
            columns["high"] < np.maximum(columns["open"], columns["close"])
        )
        add("ohlc", "error", high_low, "low is above, or high below, open or close")
        add("zero_volume", "note", columns["volume"] == 0, "nothing traded; such bars fill no order")
    interval_us = timeframe_s(timeframe) * US_PER_S
    if calendar == "24x7":
        add("off_grid", "error", time % interval_us != 0, f"does not start a {timeframe} bar; wrong timeframe or unit")
    add("outlier", "warning", _outliers(columns["close"]), "an extraordinary move from the close before; look at it")

    ordered = np.unique(time)
    coverage = None
    if calendar == "24x7":
        missing = np.diff(ordered) // interval_us - 1
        at = np.flatnonzero(missing > 0)
        if at.size:
            first = at[:SHOWN_MAX]
            found.append(
                Finding(
                    "gap",
                    "warning",
                    int(at.size),
                    f"{int(missing[at].sum())} bars are missing; they stay missing, and results report the coverage",
                    tuple((first + 1).tolist()),
                    tuple((ordered[first] + interval_us).tolist()),
                    tuple(missing[first].tolist()),
                )
            )
        coverage = ordered.size / (int(ordered[-1] - ordered[0]) // interval_us + 1)
    found.sort(key=lambda f: ("error", "warning", "note").index(f.severity))
    return CheckReport(frame.height, int(ordered[0]), int(ordered[-1]), coverage, tuple(found))


def _outliers(close: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
    with np.errstate(invalid="ignore", divide="ignore"):
        move = np.abs(np.diff(np.log(close), prepend=np.log(close[0])))
    usable = move[np.isfinite(move) & (move > 0)]
    if usable.size < 100:
        return np.zeros(close.size, dtype=np.bool_)
    deviation = 1.4826 * float(np.median(usable))
    with np.errstate(invalid="ignore"):
        return np.asarray((move > OUTLIER_DEVIATIONS * deviation) & (move > OUTLIER_MOVE))


def describe(finding: Finding, timeframe: str) -> list[str]:
    """Return one line for each bar shown: its row and time, or a gap's first and last missing bar."""
    interval_us = timeframe_s(timeframe) * US_PER_S
    if finding.code == "gap":
        return [
            f"{utc(at)} to {utc(at + (n - 1) * interval_us)}: {n} missing"
            for at, n in zip(finding.times_us, finding.missing, strict=True)
        ]
    return [f"row {row + 1}: {utc(at)}" for row, at in zip(finding.rows, finding.times_us, strict=True)]
