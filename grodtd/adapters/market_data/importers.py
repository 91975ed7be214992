"""Files of other programs, read into one table of bars: formats, columns, time units. Nothing is repaired."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl

from grodtd.adapters.market_data.checks import CheckReport, Finding, check_bars, describe, time_unit
from grodtd.domain.bars import COLUMNS, Bars, Calendar
from grodtd.domain.errors import DataError

FORMATS: Final = ("auto", "parquet", "csv", "binance", "freqtrade")
CANONICAL: Final = ("timestamp", *COLUMNS)

# Binance kline exports have twelve columns, often without a header.
_BINANCE_COLUMNS: Final = (
    *("timestamp", *COLUMNS, "close_time", "quote_volume", "trades", "taker_base", "taker_quote", "ignore"),
)
_SYNONYMS: Final = {
    "timestamp": ("timestamp", "time", "date", "datetime", "open_time", "open time", "opentime", "ts"),
    "open": ("open", "o", "open_price"),
    "high": ("high", "h", "high_price"),
    "low": ("low", "l", "low_price"),
    "close": ("close", "c", "close_price"),
    "volume": ("volume", "v", "vol", "base_volume", "volume_base"),
}


def normal_symbol(symbol: str) -> str:
    """Return BTCUSDT for BTC/USDT, btc-usdt, BTC_USDT or BTC/USDT:USDT."""
    return re.sub(r"[/_-]", "", symbol.split(":", maxsplit=1)[0]).upper()


def read_table(
    file: Path, *, file_format: str = "auto", columns: Mapping[str, str] | None = None, timezone: str = "UTC"
) -> pl.DataFrame:
    """Read a file into columns timestamp, open, high, low, close, volume, in the file's own order.

    Parameters
    ----------
    file : Path
        Parquet, Feather (freqtrade), or CSV; a Binance kline CSV may lack its header.
    file_format : str
        One of `FORMATS`; ``auto`` decides by name and content.
    columns : mapping, optional
        Ours to the file's, for example ``{"timestamp": "Date", "open": "O"}``.
    timezone : str
        Of time stamps written as text without one.

    Raises
    ------
    DataError
        If the file cannot be read, lacks a column, or its time stamps cannot be understood.
    """
    if file_format not in FORMATS:
        raise DataError(f"format {file_format!r} is not one of {', '.join(FORMATS)}")
    try:
        raw = _read(file, file_format)
    except (OSError, pl.exceptions.PolarsError, UnicodeDecodeError) as error:
        raise DataError(f"{file} cannot be read as {file_format}: {error}") from error
    raw = _renamed(raw, dict(columns or {}), file)
    values = [_numbers(raw, name, file) for name in COLUMNS]
    return pl.DataFrame([_timestamps(raw["timestamp"], timezone, file), *values])


def _read(file: Path, file_format: str) -> pl.DataFrame:
    suffix = file.suffix.lower()
    if file_format == "parquet" or (file_format == "auto" and suffix in (".parquet", ".pq")):
        return pl.read_parquet(file, hive_partitioning=False)
    if file_format == "freqtrade" or (file_format == "auto" and suffix in (".feather", ".arrow", ".ipc")):
        return pl.read_ipc(file)
    with file.open() as stream:
        first = stream.readline().strip()
    if not first:
        raise DataError(f"{file} is empty")
    cells = [cell.strip().strip('"') for cell in first.split(",")]
    is_headerless = all(re.fullmatch(r"-?\d+(\.\d+)?([eE][+-]?\d+)?", cell) for cell in cells)
    if is_headerless:
        if len(cells) not in (len(_BINANCE_COLUMNS), len(CANONICAL)):
            raise DataError(
                f"{file} has no header and {len(cells)} columns; known are 12 (Binance klines) and 6 (time, OHLCV)."
                " Add a header line"
            )
        names = _BINANCE_COLUMNS if len(cells) == len(_BINANCE_COLUMNS) else CANONICAL
        return pl.read_csv(file, has_header=False, new_columns=list(names), infer_schema_length=10_000)
    return pl.read_csv(file, infer_schema_length=10_000, try_parse_dates=False)


def _renamed(raw: pl.DataFrame, columns: dict[str, str], file: Path) -> pl.DataFrame:
    unknown = sorted(set(columns) - set(CANONICAL))
    if unknown:
        raise DataError(f"--map knows {', '.join(CANONICAL)}; found {', '.join(unknown)}")
    by_lower = {name.lower().strip(): name for name in raw.columns}
    chosen: dict[str, str] = {}
    for ours in CANONICAL:
        if ours in columns:
            theirs = columns[ours] if columns[ours] in raw.columns else None
        else:
            theirs = next((by_lower[s] for s in _SYNONYMS[ours] if s in by_lower), None)
        if theirs is None:
            raise DataError(
                f"{file} has no column for {ours}{f' named {columns[ours]!r}' if ours in columns else ''}; its columns"
                f" are {', '.join(raw.columns)}. Say which with --map {ours}=NAME"
            )
        chosen[ours] = theirs
    return raw.select([pl.col(theirs).alias(ours) for ours, theirs in chosen.items()])


def _numbers(raw: pl.DataFrame, name: str, file: Path) -> pl.Series:
    column = raw[name]
    if column.dtype.is_numeric():
        return column.cast(pl.Float64)
    numbers = column.cast(pl.String).str.strip_chars().cast(pl.Float64, strict=False)
    bad = numbers.is_null() & column.is_not_null()
    if bad.any():
        row = bad.arg_max() or 0
        raise DataError(f"{file}: row {row + 1}: {name} {column[row]!r} is not a number; mend or re-download the row")
    return numbers


def _timestamps(column: pl.Series, timezone: str, file: Path) -> pl.Series:
    name = "timestamp"
    if column.null_count():
        raise DataError(f"{file}: row {(column.is_null().arg_max() or 0) + 1}: the time stamp is missing")
    if column.dtype == pl.Date:
        column = column.cast(pl.Datetime("us"))
    if isinstance(column.dtype, pl.Datetime):
        aware = column if column.dtype.time_zone else _localised(column, timezone, file)
        return aware.dt.convert_time_zone("UTC").cast(pl.Datetime("us", "UTC")).alias(name)
    if column.dtype.is_numeric():
        values = column.cast(pl.Int64).to_numpy()
        unit = time_unit(values)
        if unit is None:
            raise DataError(_unit_trouble(values, file))
        scaled = values // 1_000 if unit == "ns" else values * {"s": 1_000_000, "ms": 1_000, "us": 1}[unit]
        return pl.Series(name, scaled).cast(pl.Datetime("us", "UTC"))
    parsed = _parsed(column.cast(pl.String))
    bad = parsed.is_null()
    if bad.any():
        row = bad.arg_max() or 0
        raise DataError(f"{file}: row {row + 1}: time {column[row]!r} is not understood; write ISO 8601 or epoch ms")
    aware = (
        parsed
        if isinstance(parsed.dtype, pl.Datetime) and parsed.dtype.time_zone
        else _localised(parsed, timezone, file)
    )
    return aware.dt.convert_time_zone("UTC").cast(pl.Datetime("us", "UTC")).alias(name)


def _unit_trouble(values: np.ndarray[tuple[int], np.dtype[np.int64]], file: Path) -> str:
    """A file whose time stamps change unit half-way (Binance went from ms to us in 2025) is named by its row."""
    first = time_unit(values[:1])
    if first is None:
        return f"{file}: row 1: time stamp {values[0]} is no epoch time between 2000 and 2100 in s, ms, us or ns"
    row = next(i for i in range(values.size) if time_unit(values[i : i + 1]) != first)
    other = time_unit(values[row : row + 1]) or "no known unit"
    return (
        f"{file}: row {row + 1}: time stamp {values[row]} is in {other}, the rows before in {first};"
        " split the file there and import both parts"
    )


def _parsed(text: pl.Series) -> pl.Series:
    for pattern in ("%Y-%m-%dT%H:%M:%S%.f%#z", "%Y-%m-%d %H:%M:%S%.f%#z"):
        found = text.str.replace(r"Z$", "+00:00").str.to_datetime(pattern, time_unit="us", strict=False)
        if not found.is_null().any():
            return found
    best = None
    for pattern in ("%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M", "%Y-%m-%dT%H:%M", "%Y-%m-%d"):
        found = text.str.to_datetime(pattern, time_unit="us", strict=False)
        if not found.is_null().any():
            return found
        if best is None or found.null_count() < best.null_count():
            best = found
    assert best is not None
    return best


def _localised(column: pl.Series, timezone: str, file: Path) -> pl.Series:
    try:
        return column.dt.replace_time_zone(timezone)
    except pl.exceptions.PolarsError as error:
        raise DataError(f"{file}: time zone {timezone!r}: {error}") from error


def checked_bars(
    frame: pl.DataFrame, file: Path, *, venue: str, symbol: str, timeframe: str, calendar: Calendar = "24x7"
) -> tuple[Bars, CheckReport]:
    """Return the table as bars, with the report of its checks.

    Raises
    ------
    DataError
        If anything makes the bars unusable: every kind of trouble, with its first rows and what to do.
    """
    report = check_bars(frame, timeframe, calendar)
    if report.errors:
        raise DataError(
            f"{file} is refused, nothing was imported:\n" + "\n".join(_line(f, timeframe) for f in report.errors)
        )
    columns = {name: frame[name].to_numpy() for name in COLUMNS}
    time = frame["timestamp"].to_physical().to_numpy()
    return Bars(time, **columns, venue=venue, symbol=symbol, timeframe=timeframe, calendar=calendar), report


def _line(finding: Finding, timeframe: str) -> str:
    where = "; ".join(describe(finding, timeframe)[:3])
    more = f" and {finding.count - 3} more" if finding.count > 3 else ""
    return f"  {finding.code}: {where}{more}: {finding.message}"
