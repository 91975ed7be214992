"""Files of other programs, read into one table of bars: formats, columns, time units. Nothing is repaired."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl

from grodtd.adapters.market_data.checks import CheckReport, Finding, check_bars, describe, time_unit
from grodtd.domain.bars import COLUMNS, DAY_S, Bars, Calendar
from grodtd.domain.errors import DataError

FORMATS: Final = ("auto", "parquet", "csv", "binance", "freqtrade")
CANONICAL: Final = ("timestamp", *COLUMNS)

_INSTANT: Final = pl.Datetime("us", "UTC")
_EARLIEST_S: Final = -2_208_988_800  # 1900
_LATEST_S: Final = 7_258_118_400  # 2200
# The parser takes 8:3:0 for a time; a number that lost a digit is no number.
_ISO_TIME: Final = r"^\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}(:\d{2}(\.\d{1,6}0*)?)?(Z|[+-]\d{2}:?\d{2})?)?$"
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
    with _damage_named(file, file_format):
        raw = _renamed(_read(file, file_format), dict(columns or {}), file)
        values = [_numbers(raw, name, file) for name in COLUMNS]
        return pl.DataFrame([_timestamps(raw["timestamp"], timezone, file), *values])


def read_funding(file: Path) -> pl.DataFrame:
    """Read funding settlements from Parquet or CSV into columns timestamp and funding_rate, in the file's own order.

    Raises
    ------
    DataError
        If the file cannot be read, lacks a column, or a value is missing, no finite number or no time.
    """
    with _damage_named(file, "auto"):
        raw = _read(file, "auto")
        if not {"timestamp", "funding_rate"} <= set(raw.columns):
            there = ", ".join(raw.columns)
            raise DataError(f"{file}: funding needs the columns timestamp and funding_rate, found {there}")
        rates = _numbers(raw, "funding_rate", file)
        bad = ~rates.is_finite().fill_null(value=False)
        if bad.any():
            row = bad.arg_max() or 0
            raise DataError(f"{file}: row {row + 1}: the funding rate is missing or not finite; re-download the row")
        return pl.DataFrame([_timestamps(raw["timestamp"], "UTC", file), rates])


@contextmanager
def _damage_named(file: Path, file_format: str) -> Iterator[None]:
    """Turn whatever polars says of a damaged file into an error that names the file."""
    try:
        yield
    except (OSError, pl.exceptions.PolarsError, UnicodeDecodeError) as error:
        raise DataError(f"{file} cannot be read as {file_format}: {error}") from error
    except pl.exceptions.PanicException as error:  # no Exception: it comes from inside polars
        raise DataError(f"{file} cannot be read as {file_format}: it is damaged ({error}); re-download it") from error


def _read(file: Path, file_format: str) -> pl.DataFrame:
    """Return the table of a file as it is; the columns of a CSV are texts."""
    suffix = file.suffix.lower()
    if file_format == "parquet" or (file_format == "auto" and suffix in (".parquet", ".pq")):
        return pl.read_parquet(file, hive_partitioning=False)
    if file_format == "freqtrade" or (file_format == "auto" and suffix in (".feather", ".arrow", ".ipc")):
        return pl.read_ipc(file)
    # Empty lines at the end say nothing; those in between are rows that miss everything.
    content = file.read_bytes().removeprefix(b"\xef\xbb\xbf").rstrip(b"\r\n")
    cells = [cell.strip().strip('"') for cell in content.partition(b"\n")[0].decode().strip().split(",")]
    if cells == [""]:
        raise DataError(f"{file} is empty, or its first line is")
    is_headerless = all(re.fullmatch(r"-?\d+(\.\d+)?([eE][+-]?\d+)?", cell) for cell in cells)
    if is_headerless and len(cells) not in (len(_BINANCE_COLUMNS), len(CANONICAL)):
        raise DataError(
            f"{file} has no header and {len(cells)} columns; known are 12 (Binance klines) and 6 (time, OHLCV)."
            " Add a header line"
        )
    names = _BINANCE_COLUMNS if len(cells) == len(_BINANCE_COLUMNS) else CANONICAL
    # Types are not guessed from the first rows: the volume of a quiet market may be whole for thousands of them.
    raw = pl.read_csv(
        content,
        has_header=not is_headerless,
        new_columns=list(names) if is_headerless else None,
        infer_schema=False,
    )
    _require_row_per_line(content, raw.height + (not is_headerless), file)
    return raw


def _require_row_per_line(content: bytes, n_rows: int, file: Path) -> None:
    """Refuse a CSV in which a stray quote swallowed lines, or a line was cut short; the parser takes both for rows."""
    lines = content.split(b"\n")
    if b'"' not in content:
        fields = lines[0].count(b",") + 1
        for i, line in enumerate(lines):
            if line.count(b",") + 1 != fields:
                found = line.count(b",") + 1
                raise DataError(
                    f"{file}: line {i + 1} has {found} fields, the first has {fields}; re-download the file"
                )
    if len(lines) != n_rows or b"\r" in content.replace(b"\r\n", b"\n"):
        raise DataError(
            f"{file} has {len(lines)} lines and {n_rows} rows: a stray quote or line break stands in it; re-download it"
        )


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
    text = _text(column, name, file)
    numbers = text.str.strip_chars().cast(pl.Float64, strict=False)
    bad = numbers.is_null() & text.is_not_null()
    if bad.any():
        row = bad.arg_max() or 0
        raise DataError(f"{file}: row {row + 1}: {name} {text[row]!r:.80} is not a number; mend or re-download the row")
    return numbers


def _text(column: pl.Series, name: str, file: Path) -> pl.Series:
    try:
        return column.cast(pl.String)
    except pl.exceptions.PolarsError as error:
        raise DataError(f"{file}: column {name} holds {column.dtype}, neither numbers nor text") from error


def _timestamps(column: pl.Series, timezone: str, file: Path) -> pl.Series:
    """Return the times in microseconds UTC; refused where one is missing, out of range or would lose a part."""
    if column.null_count():
        raise DataError(f"{file}: row {(column.is_null().arg_max() or 0) + 1}: the time stamp is missing")
    if column.dtype == pl.Date:
        _require_range(column.to_physical(), 1 / DAY_S, file)
        return _instants(column.cast(pl.Datetime("us")), timezone, file)
    if isinstance(column.dtype, pl.Datetime):
        return _instants(column, timezone, file)
    if column.dtype.is_numeric():
        return _epochs(column, file)
    text = _text(column, "timestamp", file).str.strip_chars()
    if text.str.contains(r"^[+-]?\d+$").all():
        return _epochs(text.cast(pl.Int64, strict=False), file, text)
    numbers = text.cast(pl.Float64, strict=False)
    if not numbers.null_count():  # 1.6725312E12, as spreadsheets write
        return _epochs(numbers, file)
    parsed = _parsed(text)
    bad = parsed.is_null() | ~text.str.contains(_ISO_TIME)
    if bad.any():
        row = bad.arg_max() or 0
        wanted = "times like 2023-01-01T08:00:00Z, or epoch ms"
        raise DataError(f"{file}: row {row + 1}: time {text[row]!r:.80} is not understood; write {wanted}")
    return _instants(parsed, timezone, file)


def _require_range(physical: pl.Series, per_s: float, file: Path) -> None:
    """Refuse times that nobody means, before anything that cannot hold them sees them."""
    seconds = physical.cast(pl.Float64) / per_s
    out = (seconds < _EARLIEST_S) | (seconds >= _LATEST_S)
    if out.any():
        row = out.arg_max() or 0
        raise DataError(
            f"{file}: row {row + 1}: the time stamp, {seconds[row]:.0f} s from 1970, is not between 1900 and 2200;"
            " its unit or its column is wrong"
        )


def _epochs(numbers: pl.Series, file: Path, text: pl.Series | None = None) -> pl.Series:
    """Return the instants of whole epoch times in s, ms, us or ns."""
    whole = numbers.cast(pl.Int64, strict=False)
    if not len(whole):
        return whole.cast(_INSTANT).alias("timestamp")
    bad = whole.is_null() | (whole.cast(pl.Float64) != numbers.cast(pl.Float64)).fill_null(value=True)
    if numbers.dtype.is_float():
        bad |= numbers.abs() > 2**53  # beyond, floats are not exact
    if bad.any():
        row = bad.arg_max() or 0
        shown = (numbers if text is None else text)[row]
        raise DataError(f"{file}: row {row + 1}: time stamp {shown!s:.80} is no whole number that can be kept exactly")
    values = whole.to_numpy()
    unit = time_unit(values)
    if unit is None:
        raise DataError(_unit_trouble(values, file))
    if unit == "ns":
        return _microseconds(whole, file)
    return (whole * {"s": 1_000_000, "ms": 1_000, "us": 1}[unit]).cast(_INSTANT).alias("timestamp")


def _instants(column: pl.Series, timezone: str, file: Path) -> pl.Series:
    """Return the instants of times with a zone, or without one in `timezone`."""
    dtype = column.dtype
    assert isinstance(dtype, pl.Datetime)
    _require_range(column.to_physical(), {"ms": 1e3, "us": 1e6, "ns": 1e9}[dtype.time_unit], file)
    aware = column if dtype.time_zone else _localised(column, timezone, file)
    if dtype.time_unit == "ns":
        return _microseconds(aware.to_physical(), file)
    return aware.dt.convert_time_zone("UTC").cast(_INSTANT).alias("timestamp")


def _microseconds(nanoseconds: pl.Series, file: Path) -> pl.Series:
    bad = nanoseconds % 1_000 != 0
    if bad.any():
        raise DataError(
            f"{file}: row {(bad.arg_max() or 0) + 1}: the time stamp has nanoseconds, which cannot be kept; round them"
        )
    return (nanoseconds // 1_000).cast(_INSTANT).alias("timestamp")


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
