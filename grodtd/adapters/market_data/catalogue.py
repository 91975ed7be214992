"""The bar catalogue: Parquet files by venue, symbol, timeframe and month. What is stored is what was recorded.

    <root>/venue=binance/symbol=BTCUSDT/timeframe=1m/2023-01.parquet

A month is written to a temporary file, flushed and moved into place, so a crash leaves whole months only; a lock per
series keeps two imports from losing each other's bars. Nothing is gap-filled.
"""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl

from grodtd.domain.bars import COLUMNS, US_PER_S, Bars, Calendar, timeframe_s, utc
from grodtd.domain.errors import DataError

TIMESTAMP: Final = pl.Datetime("us", "UTC")
SCHEMA: Final[dict[str, pl.DataType]] = {"timestamp": TIMESTAMP, **{name: pl.Float64() for name in COLUMNS}}
LABELS: Final = "labels.parquet"
FUNDING: Final = "funding.parquet"
_NAME: Final = re.compile(r"[A-Za-z0-9._-]+")


@dataclass(frozen=True, slots=True)
class Series:
    """One stored series, as `grodt data list` shows it."""

    venue: str
    symbol: str
    timeframe: str
    n_bars: int
    first_us: int
    last_us: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Written:
    """What a write did: bars that were new, and bars that were there already."""

    added: int
    unchanged: int
    replaced: int


class Catalogue:
    """Bars on disk below `root`."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def folder(self, venue: str, symbol: str, timeframe: str) -> Path:
        """Return the folder of a series.

        Raises
        ------
        DataError
            If a name would not make a safe folder name, or the timeframe is not understood.
        """
        timeframe_s(timeframe)
        for what, name in (("venue", venue), ("symbol", symbol)):
            if not _NAME.fullmatch(name) or name.strip(".") == "":
                raise DataError(f"{what} {name!r} may hold only letters, digits, dot, dash and underscore")
        return self.root / f"venue={venue}" / f"symbol={symbol}" / f"timeframe={timeframe}"

    def load(
        self,
        venue: str,
        symbol: str,
        timeframe: str,
        *,
        start_us: int | None = None,
        end_us: int | None = None,
        calendar: Calendar = "24x7",
    ) -> Bars:
        """Return the stored bars that open in [start_us, end_us), checked.

        Raises
        ------
        DataError
            If there are none; the message says what there is.
        """
        folder = self.folder(venue, symbol, timeframe)
        months = _months(folder)
        if not months:
            there = ", ".join(f"{s.venue}:{s.symbol} {s.timeframe}" for s in self.list())
            raise DataError(
                f"no bars of {venue}:{symbol} {timeframe} in {self.root}; there is: {there or 'nothing yet'}."
                f" Bring them with `grodt data import FILE --venue {venue} --symbol {symbol} --timeframe {timeframe}`"
            )
        wanted = [
            file
            for file in months
            if (start_us is None or file.stem >= _month_of(start_us))
            and (end_us is None or file.stem <= _month_of(end_us - 1))
        ]
        frame = _read_all(wanted)
        time = frame["timestamp"].to_physical().to_numpy()
        first, last = (
            np.searchsorted(
                time, [time[0] if start_us is None else start_us, time[-1] + 1 if end_us is None else end_us]
            )
            if time.size
            else (0, 0)
        )
        if first >= last:
            span = self._span(folder)
            raise DataError(
                f"{venue}:{symbol} {timeframe} has no bars from {_shown(start_us)} to {_shown(end_us)};"
                f" stored are {utc(span[0])} to {utc(span[1])} UTC"
            )
        columns = {name: frame[name].to_numpy()[first:last] for name in COLUMNS}
        return Bars(time[first:last], **columns, venue=venue, symbol=symbol, timeframe=timeframe, calendar=calendar)

    def write(self, bars: Bars, *, overwrite: bool = False) -> Written:
        """Merge bars into the series they belong to; the same bars again change nothing.

        Raises
        ------
        DataError
            If a stored bar has other values and `overwrite` is not set; nothing of that month is changed then.
        """
        folder = self.folder(bars.venue, bars.symbol, bars.timeframe)
        folder.mkdir(parents=True, exist_ok=True)
        new = pl.DataFrame(
            {"timestamp": pl.Series(bars.time).cast(TIMESTAMP), **{c: getattr(bars, c) for c in COLUMNS}}
        )
        added = unchanged = replaced = 0
        with _locked(folder):
            # Every month is merged, and every conflict found, before the first file is touched.
            merged = []
            for (month,), part in new.group_by(pl.col("timestamp").dt.strftime("%Y-%m"), maintain_order=True):
                file = folder / f"{month}.parquet"
                old = _read(file) if file.is_file() else pl.DataFrame(schema=SCHEMA)
                both, clashes = _merge(old, part)
                if clashes.height and not overwrite:
                    raise _conflict(bars, clashes)
                added += both.height - old.height
                unchanged += old.height + part.height - both.height - clashes.height
                replaced += clashes.height
                if both.height > old.height or clashes.height:
                    merged.append((file, both))
            for file, both in merged:
                write_parquet(file, both)
        return Written(added, unchanged, replaced)

    def last_time_us(self, venue: str, symbol: str, timeframe: str) -> int | None:
        """Return the open of the last stored bar, or None."""
        months = _months(self.folder(venue, symbol, timeframe))
        return self._span(months[0].parent)[1] if months else None

    def write_labels(self, bars: Bars, labels: list[str]) -> None:
        """Store the known regime of each synthetic bar beside the series."""
        frame = pl.DataFrame({"timestamp": pl.Series(bars.time).cast(TIMESTAMP), "regime": labels})
        write_parquet(self.folder(bars.venue, bars.symbol, bars.timeframe) / LABELS, frame)

    def labels(self, venue: str, symbol: str, timeframe: str) -> pl.DataFrame | None:
        """Return (timestamp, regime) of a synthetic series; None for recorded ones."""
        file = self.folder(venue, symbol, timeframe) / LABELS
        return pl.read_parquet(file, hive_partitioning=False) if file.is_file() else None

    def write_funding(self, venue: str, symbol: str, new: pl.DataFrame) -> int:
        """Store funding settlements beside a symbol's bars; return how many there are now.

        Settlements that are there already are kept; a settlement with another rate than the one stored is refused.

        Parameters
        ----------
        venue, symbol : str
        new : DataFrame
            Columns timestamp (microseconds UTC) and funding_rate (float64), as `read_funding` returns them.

        Raises
        ------
        DataError
            If a stored rate differs.
        """
        file = self.folder(venue, symbol, "1m").parent / FUNDING
        file.parent.mkdir(parents=True, exist_ok=True)  # funding may come before the bars
        with _locked(file.parent):
            old = pl.read_parquet(file) if file.is_file() else new.clear()
            both = pl.concat([old, new]).unique(maintain_order=True).sort("timestamp")
            twice = both.filter(pl.col("timestamp").is_duplicated())
            if twice.height:
                raise DataError(
                    f"funding of {venue}:{symbol} at {twice['timestamp'][0]} is stored as {twice['funding_rate'][0]}"
                    f" and given as {twice['funding_rate'][1]}; remove {file} if the stored rates are wrong"
                )
            write_parquet(file, both)
        return both.height

    def funding(self, venue: str, symbol: str) -> pl.DataFrame | None:
        """Return the stored funding settlements, oldest first; None if there are none."""
        file = self.folder(venue, symbol, "1m").parent / FUNDING
        return pl.read_parquet(file) if file.is_file() else None

    def remove(self, venue: str, symbol: str, timeframe: str) -> None:
        """Delete a series; used to replace synthetic bars by others of the same name."""
        folder = self.folder(venue, symbol, timeframe)
        if folder.is_dir():
            with _locked(folder):
                for file in [*_months(folder), folder / LABELS]:
                    file.unlink(missing_ok=True)

    def list(self) -> list[Series]:
        """Return every stored series, sorted by name.

        Raises
        ------
        DataError
            If a month cannot be read.
        """
        found = []
        for folder in sorted(self.root.glob("venue=*/symbol=*/timeframe=*")):
            months = _months(folder)
            if months:
                venue, symbol, timeframe = (part.partition("=")[2] for part in folder.parts[-3:])
                n_bars = sum(map(_n_rows, months))
                size = sum(f.stat().st_size for f in months)
                found.append(Series(venue, symbol, timeframe, n_bars, *self._span(folder), size))
        return found

    def _span(self, folder: Path) -> tuple[int, int]:
        months = _months(folder)
        first = _read(months[0])["timestamp"].to_physical()[0]
        last = _read(months[-1])["timestamp"].to_physical()[-1]
        return int(first), int(last)


def _months(folder: Path) -> list[Path]:
    return sorted(folder.glob("[0-9][0-9][0-9][0-9]-[0-9][0-9].parquet"))


def _month_of(time_us: int) -> str:
    return str(np.datetime64(int(time_us), "us").astype("datetime64[M]"))


def _shown(time_us: int | None) -> str:
    return "any time" if time_us is None else utc(time_us)


def _read_all(files: list[Path]) -> pl.DataFrame:
    """Read months together, in parallel; a damaged one is then named by reading them one by one."""
    if not files:
        return pl.DataFrame(schema=SCHEMA)
    try:
        return pl.read_parquet(files, hive_partitioning=False).rechunk()
    except (OSError, pl.exceptions.PolarsError):
        return pl.concat([_read(file) for file in files])


def _read(file: Path) -> pl.DataFrame:
    try:
        return pl.read_parquet(file, hive_partitioning=False)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise _damaged(file, error) from error


def _n_rows(file: Path) -> int:
    try:
        return int(pl.scan_parquet(file, hive_partitioning=False).select(pl.len()).collect().item())
    except (OSError, pl.exceptions.PolarsError) as error:
        raise _damaged(file, error) from error


def _damaged(file: Path, error: Exception) -> DataError:
    return DataError(f"{file} cannot be read: {error}; delete it and import its month again")


def _merge(old: pl.DataFrame, new: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return (union, new wins; rows of `new` that change an old one)."""
    if not old.height:
        return new, new.clear()
    shared = new.join(old, on="timestamp", how="inner", suffix="_old")
    differs = pl.any_horizontal([pl.col(c) != pl.col(f"{c}_old") for c in COLUMNS])
    clashes = shared.filter(differs)
    rest = old.join(new, on="timestamp", how="anti")
    return pl.concat([rest, new]).sort("timestamp"), clashes


def _conflict(bars: Bars, clashes: pl.DataFrame) -> DataError:
    row = clashes.row(0, named=True)
    column = next(c for c in COLUMNS if row[c] != row[f"{c}_old"])
    return DataError(
        f"{bars.venue}:{bars.symbol} {bars.timeframe}: bar {row['timestamp']:%Y-%m-%d %H:%M:%S} is stored with {column}"
        f" {row[f'{column}_old']} and would become {row[column]} ({clashes.height} such bars in this month);"
        " pass --overwrite if the new file is right. Nothing was changed"
    )


def write_parquet(file: Path, frame: pl.DataFrame) -> None:
    """Write a file that is there whole or not at all, even if the machine stops."""
    part = file.with_name(f".{file.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as stream:
            frame.write_parquet(stream, compression="zstd", statistics=True)
            stream.flush()
            os.fsync(stream.fileno())
        part.replace(file)
    finally:
        part.unlink(missing_ok=True)
    folder = os.open(file.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Let one process at a time change a series; the lock ends with the process, however it ends."""
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def last_complete_us(now_us: int, timeframe: str) -> int:
    """Return the open of the last bar that is closed at `now_us`."""
    interval_us = timeframe_s(timeframe) * US_PER_S
    return now_us // interval_us * interval_us - interval_us
