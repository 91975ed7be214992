"""What can be done with bars: import, check, list, resample, synthesise, fetch, load. Bars live in <home>/catalogue."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl

from grodtd.adapters.market_data.catalogue import Catalogue, Series, Written
from grodtd.adapters.market_data.checks import CheckReport, check_bars
from grodtd.adapters.market_data.importers import checked_bars, normal_symbol, read_funding, read_table
from grodtd.adapters.market_data.resample import resample
from grodtd.adapters.market_data.synthetic import synthetic_bars as make_synthetic_bars
from grodtd.domain.bars import US_PER_S, Bars, Calendar, FloatArray, timeframe_s
from grodtd.domain.errors import ConfigError, DataError
from grodtd.execution.fills import funding_by_bar


def time_range(start: str, end: str) -> tuple[int | None, int | None]:
    """Return the half-open range in microseconds UTC; None where there is no limit.

    Raises
    ------
    ConfigError
        If a text is neither a date nor an ISO time, or the range is empty.
    """
    start_us = None if not start else _time_us(start)
    end_us = None
    if end:
        end_us = _time_us(end)
        if re.fullmatch(r"\d{4}-\d{2}-\d{2}", end):
            end_us += int(timedelta(days=1).total_seconds()) * US_PER_S
    if start_us is not None and end_us is not None and end_us <= start_us:
        raise ConfigError(f"the range from {start} to {end} is empty; --to must be after --from")
    return start_us, end_us


def _time_us(text: str) -> int:
    try:
        at = datetime.fromisoformat(text)
    except ValueError as error:
        raise ConfigError(f"{text!r} is not a date or time; write 2023-01-31 or 2023-01-31T12:00 (UTC)") from error
    at = at.replace(tzinfo=UTC) if at.tzinfo is None else at
    return round(at.timestamp() * US_PER_S)


def catalogue(home: Path) -> Catalogue:
    """Return the catalogue of a home folder."""
    return Catalogue(home / "catalogue")


def load_bars(
    home: Path,
    venue: str,
    symbol: str,
    timeframe: str,
    *,
    start_us: int | None = None,
    end_us: int | None = None,
    calendar: Calendar = "24x7",
) -> Bars:
    """Return stored bars that open in [start_us, end_us); DataError says what there is if there are none."""
    return catalogue(home).load(
        venue, normal_symbol(symbol), timeframe, start_us=start_us, end_us=end_us, calendar=calendar
    )


@dataclass(frozen=True)
class Imported:
    """One imported file."""

    file: Path
    series: str
    n_bars: int
    written: Written
    report: CheckReport


def import_files(
    home: Path,
    files: list[Path],
    *,
    venue: str,
    symbol: str,
    timeframe: str,
    file_format: str = "auto",
    columns: Mapping[str, str] | None = None,
    timezone: str = "UTC",
    calendar: Calendar = "24x7",
    overwrite: bool = False,
    on_file: Callable[[Path], None] | None = None,
) -> list[Imported]:
    """Import files into one series, in the order given; a file that is broken stops it, those before are kept.

    Raises
    ------
    DataError
        If a file cannot be read, is broken, or contradicts what is stored.
    """
    done = []
    for file in files:
        if on_file is not None:
            on_file(file)
        frame = read_table(file, file_format=file_format, columns=columns, timezone=timezone)
        name = normal_symbol(symbol)
        bars, report = checked_bars(frame, file, venue=venue, symbol=name, timeframe=timeframe, calendar=calendar)
        written = catalogue(home).write(bars, overwrite=overwrite)
        done.append(Imported(file, f"{venue}:{name} {timeframe}", len(bars), written, report))
    return done


def import_funding(home: Path, file: Path, *, venue: str, symbol: str) -> tuple[str, int]:
    """Store the funding settlements of a perpetual from a file with columns timestamp and funding_rate.

    Returns
    -------
    tuple of (symbol as stored, settlements stored)

    Raises
    ------
    DataError
        If the file cannot be read or does not fit.
    """
    name = normal_symbol(symbol)
    try:
        return name, catalogue(home).write_funding(venue, name, read_funding(file))
    except DataError as error:
        named = str(error) if str(file) in str(error) else f"{file}: {error}"
        raise DataError(named) from error


def funding_of(home: Path, bars: Bars) -> FloatArray | None:
    """Return the stored funding rate of each bar (`funding_by_bar`); None if none is stored."""
    stored = catalogue(home).funding(bars.venue, bars.symbol)
    if stored is None:
        return None
    return funding_by_bar(bars, stored["timestamp"].to_physical().to_numpy(), stored["funding_rate"].to_numpy())


def check_file(
    file: Path,
    timeframe: str,
    *,
    file_format: str = "auto",
    columns: Mapping[str, str] | None = None,
    timezone: str = "UTC",
    calendar: Calendar = "24x7",
) -> CheckReport:
    """Check a file without importing it."""
    frame = read_table(file, file_format=file_format, columns=columns, timezone=timezone)
    return check_bars(frame, timeframe, calendar)


def check_series(home: Path, venue: str, symbol: str, timeframe: str, calendar: Calendar = "24x7") -> CheckReport:
    """Check a stored series."""
    return check_bars(frame_of(load_bars(home, venue, symbol, timeframe, calendar=calendar)), timeframe, calendar)


def frame_of(bars: Bars) -> pl.DataFrame:
    """Return bars as a data frame with a timestamp column in UTC."""
    return pl.DataFrame(
        {
            "timestamp": pl.Series(bars.time).cast(pl.Datetime("us", "UTC")),
            **{name: getattr(bars, name) for name in ("open", "high", "low", "close", "volume")},
        }
    )


def list_series(home: Path) -> list[Series]:
    """Return every stored series."""
    return catalogue(home).list()


def regime_shares(home: Path, venue: str, symbol: str, timeframe: str) -> dict[str, float]:
    """Return the share of bars in each known regime of a synthetic series; empty for recorded bars."""
    labels = catalogue(home).labels(venue, normal_symbol(symbol), timeframe)
    if labels is None:
        return {}
    counts = labels["regime"].value_counts(normalize=True, sort=True)
    return dict(zip(counts["regime"].to_list(), counts["proportion"].to_list(), strict=True))


def resample_series(home: Path, venue: str, symbol: str, source: str, target: str) -> tuple[Bars, Written]:
    """Make and store longer bars from a stored series; made again, they replace the ones there."""
    made = resample(load_bars(home, venue, symbol, source), target)
    return made, catalogue(home).write(made, overwrite=True)


def synthetic_bars(name: str, n_bars: int, seed: int) -> Bars:
    """Return seeded regime-switching bars without storing them."""
    return make_synthetic_bars(name, n_bars, seed)[0]


def synthesise(home: Path, name: str, n_bars: int, seed: int, *, timeframe: str = "1m") -> Bars:
    """Make seeded bars with known regimes and store them as synthetic:<name>, in place of earlier ones."""
    bars, labels = make_synthetic_bars(name, n_bars, seed, timeframe=timeframe)
    store = catalogue(home)
    store.remove(bars.venue, bars.symbol, timeframe)
    store.write(bars)
    store.write_labels(bars, labels)
    return bars


@dataclass(frozen=True)
class Fetched:
    """What a fetch brought."""

    series: str
    n_bars: int
    first_us: int | None
    last_us: int | None


def fetch_series(
    home: Path,
    venue: str,
    symbol: str,
    timeframe: str,
    *,
    start_us: int | None,
    end_us: int | None,
    api_url: str | None = None,
    on_page: Callable[[int, float], None] | None = None,
    wait_s: float = 1.0,
) -> Fetched:
    """Fetch bars from an exchange into the catalogue, each page stored as it comes; run again, it goes on.

    Parameters
    ----------
    start_us : int or None
        Where to begin; None: after the last stored bar.
    on_page : function (bars so far, share done), optional

    Raises
    ------
    ConfigError
        If there is neither a start nor a stored bar to go on from.
    DataError
        If the exchange fails for good; what came before is stored.
    """
    from grodtd.adapters.market_data.exchange import fetch_pages, open_exchange

    store, name = catalogue(home), normal_symbol(symbol)
    last = store.last_time_us(venue, name, timeframe)
    interval_us = timeframe_s(timeframe) * US_PER_S
    resume_us = None if last is None else last + interval_us
    if start_us is None and resume_us is None:
        raise ConfigError(f"nothing of {venue}:{name} {timeframe} is stored yet; say where to begin with --from DATE")
    start = start_us if start_us is not None else int(resume_us or 0)
    now_us = time.time_ns() // 1_000
    end = now_us if end_us is None else end_us
    exchange = open_exchange(venue, api_url=api_url)
    n_bars, first_us, last_us = 0, None, None
    for page in fetch_pages(exchange, name, timeframe, start_us=start, end_us=end, now_us=now_us, wait_s=wait_s):
        store.write(page)
        n_bars += len(page)
        first_us = int(page.time[0]) if first_us is None else first_us
        last_us = int(page.time[-1])
        if on_page is not None:
            on_page(n_bars, min(1.0, (last_us + interval_us - start) / max(1, end - start)))
    return Fetched(f"{venue}:{name} {timeframe}", n_bars, first_us, last_us)
