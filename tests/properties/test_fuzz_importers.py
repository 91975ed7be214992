"""Whatever a file of bars holds: exactly its rows are imported, or it is refused by an error of ours that names it."""

from __future__ import annotations

import csv
import math
import tempfile
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from io import BytesIO
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from grodtd.adapters.market_data.catalogue import Catalogue
from grodtd.domain.bars import Bars
from grodtd.domain.errors import DataError
from grodtd.workflows import data

MORE = settings(max_examples=settings().max_examples * 2)
START_S = 1_672_531_200  # 2023-01-01
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
PER_S = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}
HEADER = "timestamp,open,high,low,close,volume"
KLINES = "open_time,open,high,low,close,volume,close_time,quote_volume,count,taker_base,taker_quote,ignore"
Row = tuple[int, float, float, float, float, float]


def imported(content: bytes, name: str) -> Bars | None:
    """Import a file of that name; None if it is refused, as it should be."""
    with tempfile.TemporaryDirectory() as folder:
        home, file = Path(folder), Path(folder) / name
        file.write_bytes(content)
        try:
            data.import_files(home, [file], venue="own", symbol="X", timeframe="1m")
        except DataError as error:
            assert str(file) in str(error), error
            return None
        return data.load_bars(home, "own", "X", "1m")


def rows_of(bars: Bars) -> list[Row]:
    columns = (bars.time, bars.open, bars.high, bars.low, bars.close, bars.volume)
    return list(zip(*(column.tolist() for column in columns), strict=True))


def microseconds(text: str) -> int:
    """Read a time as written, by other means than ours."""
    try:
        number = float(text)
    except ValueError:
        at = datetime.fromisoformat(text)
        return (at.replace(tzinfo=at.tzinfo or UTC) - EPOCH) // timedelta(microseconds=1)
    unit = next(unit for unit in PER_S.values() if number < 5e9 * unit)
    return int(text) * 1_000_000 // unit if text.lstrip("+-").isdigit() else round(number * 1_000_000 / unit)


def written(content: bytes, *, has_header: bool) -> list[Row]:
    """Read a CSV line by line: one row a line, whatever is quoted in it."""
    lines = content.decode().strip("\r\n").split("\n")[has_header:]
    found = []
    for line in lines:
        (cells,) = csv.reader([line.rstrip("\r")], strict=True)
        at, *values = (cell.strip() for cell in cells[:6])
        opened, high, low, close, volume = map(float, values)
        found.append((microseconds(at), opened, high, low, close, volume))
    return found


@st.composite
def valid_rows(draw: st.DrawFn) -> list[tuple[int, str]]:
    """Minutes since the start, with open, high, low, close and volume as text."""
    minutes = draw(st.lists(st.integers(0, 500), min_size=2, max_size=6, unique=True).map(sorted))
    cents = st.integers(1, 99_999)
    found = []
    for minute in minutes:
        low, one, two, high = sorted(draw(st.tuples(cents, cents, cents, cents)))
        prices = [f"{value / 100:.2f}" for value in (one, high, low, two)]
        found.append((minute, ",".join([*prices, draw(st.sampled_from(["0", "1", "12.5", "1e3", "0.00000001"]))])))
    return found


@st.composite
def csv_files(draw: st.DrawFn) -> tuple[bytes, bool]:
    """A valid CSV as exchanges and people write them, and whether it has a header."""
    rows = draw(valid_rows())
    kind = draw(st.sampled_from(["klines", "bare", "iso", "epoch"]))
    unit = draw(st.sampled_from(sorted(PER_S)))
    has_header = kind in ("iso", "epoch") or (kind == "klines" and draw(st.booleans()))
    rest = ",1672531259999,1.0,5,0.5,0.5,0" if kind == "klines" else ""
    end = draw(st.sampled_from(["\n", "\r\n"]))
    lines = [KLINES if kind == "klines" else HEADER] if has_header else []
    for minute, values in rows:
        at_s = START_S + minute * 60
        at = datetime.fromtimestamp(at_s, UTC).isoformat() if kind == "iso" else str(at_s * PER_S[unit])
        lines.append(f"{at},{values}{rest}")
    return (end.join(lines) + draw(st.sampled_from(["", end, end * 3]))).encode(), has_header


PIECES = (
    b"",
    b'"',
    b'""',
    b"\n",
    b"\r",
    b",",
    b";",
    b" ",
    b"-",
    b".",
    b"e9",
    b"e-1",
    b"1",
    b"0",
    b"nan",
    b"inf",
    b"\0",
    b"\xff",
    b"#",
    b"1_0",
)


@st.composite
def edited(draw: st.DrawFn, whole: bytes, first: int = 0) -> bytes:
    """Bytes with up to three pieces of them taken out, doubled or replaced, none before `first`."""
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(min(first, len(whole)), len(whole)))
        length = draw(st.sampled_from([0, 0, 1, 2, 7, 40, 200]))
        new = (
            whole[at : at + length] * 2
            if draw(st.booleans())
            else draw(st.sampled_from(PIECES) | st.binary(max_size=3))
        )
        whole = whole[:at] + new + whole[at + length :]
    return whole


@given(csv_files())
def test_a_valid_csv_is_imported_row_by_row(file: tuple[bytes, bool]) -> None:
    content, has_header = file
    bars = imported(content, "f.csv")
    assert bars is not None
    assert rows_of(bars) == written(content, has_header=has_header)


@MORE
@given(st.data())
def test_of_a_damaged_csv_every_row_is_imported_or_none(drawn: st.DataObject) -> None:
    whole, has_header = drawn.draw(csv_files())
    content = drawn.draw(edited(whole, first=whole.index(b"\n") + 1 if has_header else 0))
    bars = imported(content, "f.csv")
    if bars is not None:
        assert rows_of(bars) == written(content, has_header=has_header)


@given(csv_files().filter(lambda file: file[1]).flatmap(lambda file: edited(file[0])))
def test_of_a_csv_with_a_damaged_header_no_row_is_lost(content: bytes) -> None:
    bars = imported(content, "f.csv")
    if bars is not None:
        assert len(bars) == len(content.strip(b"\r\n").split(b"\n")) - 1


def frame(rows: list[tuple[int, str]]) -> pl.DataFrame:
    at = pl.Series("date", [(START_S + minute * 60) * 1_000 for minute, _ in rows]).cast(pl.Datetime("ms", "UTC"))
    values = [[float(cell) for cell in text.split(",")] for _, text in rows]
    return pl.DataFrame(
        [
            at,
            *(
                pl.Series(name, column)
                for name, column in zip(HEADER.split(",")[1:], zip(*values, strict=True), strict=True)
            ),
        ]
    )


def as_parquet(table: pl.DataFrame) -> bytes:
    stream = BytesIO()
    table.write_parquet(stream)
    return stream.getvalue()


def as_feather(table: pl.DataFrame) -> bytes:
    stream = BytesIO()
    table.write_ipc(stream)
    return stream.getvalue()


WRITERS: dict[str, Callable[[pl.DataFrame], bytes]] = {"f.parquet": as_parquet, "f.feather": as_feather}


@pytest.mark.parametrize("name", WRITERS)
@given(rows=valid_rows(), drawn=st.data())
def test_a_damaged_binary_file_is_imported_or_refused(
    name: str, rows: list[tuple[int, str]], drawn: st.DataObject
) -> None:
    whole = WRITERS[name](frame(rows))
    content = drawn.draw(edited(whole, first=drawn.draw(st.integers(0, len(whole)))))
    imported(content, name)


@pytest.mark.parametrize("name", ["f.csv", "f.parquet", "f.feather"])
@given(content=st.binary(max_size=200))
def test_any_bytes_are_refused(name: str, content: bytes) -> None:
    magic = {"f.csv": b"", "f.parquet": b"PAR1", "f.feather": b"ARROW1\0\0"}[name]
    for guess in (content, magic + content, magic + content + magic):
        assert imported(guess, name) is None


def times(rows: int) -> st.SearchStrategy[pl.Series]:
    """Columns of time of every type a file may have, right and wrong."""
    instants = st.integers(0, 9).map(lambda i: START_S + 60 * i) | st.sampled_from([0, -1, 2**40, START_S * 1_000])
    many = st.lists(instants, min_size=rows, max_size=rows)
    orders = st.just([START_S + 60 * i for i in range(rows)]) | many
    types = [pl.Int64, pl.Float64, pl.UInt64, pl.Int32, pl.String, pl.Boolean, pl.Decimal(20, 2), pl.Binary, pl.Date]
    moments = [pl.Datetime(unit, zone) for unit in ("ms", "us", "ns") for zone in (None, "UTC", "Europe/Berlin")]
    plain = st.tuples(orders, st.sampled_from(types)).map(
        lambda p: pl.Series("timestamp", p[0]).cast(p[1], strict=False)
    )
    dated = st.tuples(orders, st.sampled_from(moments), st.integers(0, 3)).map(
        lambda p: pl.Series(
            "timestamp", [value * PER_S[p[1].time_unit] + p[2] * (p[2] > 1) for value in p[0]], strict=False
        ).cast(p[1], strict=False)
    )
    other = st.sampled_from(
        [[date(2023, 1, 1 + i) for i in range(rows)], [[1]] * rows, [{"a": 1}] * rows, [None] * rows]
    )
    return plain | dated | other.map(lambda values: pl.Series("timestamp", values))


NUMBER_TYPES = (
    pl.Int64,
    pl.Float64,
    pl.Float32,
    pl.UInt8,
    pl.String,
    pl.Decimal(20, 4),
    pl.Boolean,
    pl.Categorical,
    pl.Binary,
)
NUMBERS = st.sampled_from([1.0, 1.0, 1.0, 2.0, 0.5, 0.0, -1.0, 1e308, math.nan, math.inf, None])


@st.composite
def frames(draw: st.DrawFn) -> pl.DataFrame:
    """Tables whose columns have any types and almost any values."""
    rows = draw(st.integers(0, 3))
    columns = [draw(times(rows))]
    for name in HEADER.split(",")[1:]:
        values: list[Any] = draw(st.just([1.0] * rows) | st.lists(NUMBERS, min_size=rows, max_size=rows))
        kind = draw(st.just(pl.Float64) | st.sampled_from(NUMBER_TYPES))
        series = pl.Series(name, values, dtype=pl.Float64)
        text = series.cast(pl.String) if kind in (pl.String, pl.Categorical, pl.Binary) else series
        columns.append(
            draw(st.just(text.cast(kind, strict=False)) | st.just(pl.Series(name, [[1.0]] * rows)))
            if draw(st.booleans())
            else series
        )
    return pl.DataFrame(columns)


@pytest.mark.parametrize("name", WRITERS)
@MORE
@given(table=frames())
def test_columns_of_any_type_are_imported_as_they_are_or_refused(name: str, table: pl.DataFrame) -> None:
    bars = imported(WRITERS[name](table), name)
    if bars is not None:
        assert len(bars) == table.height
        for column in HEADER.split(",")[1:]:
            given_ = [float(value) for value in table[column].to_list()]
            assert getattr(bars, column).tolist() == given_
        assert bars.time.tolist() == [instant_us(value) for value in table["timestamp"]]


def instant_us(value: Any) -> int:
    if isinstance(value, datetime):
        return (value.replace(tzinfo=value.tzinfo or UTC) - EPOCH) // timedelta(microseconds=1)
    if isinstance(value, date):
        return (value - EPOCH.date()) // timedelta(microseconds=1)
    return microseconds(value if isinstance(value, str) else str(int(value)))


def settled(content: bytes, name: str) -> list[tuple[int, float]] | None:
    """Store funding from a file; None if it is refused."""
    with tempfile.TemporaryDirectory() as folder:
        home, file = Path(folder), Path(folder) / name
        file.write_bytes(content)
        try:
            data.import_funding(home, file, venue="own", symbol="X")
        except DataError as error:
            assert str(file) in str(error), error
            return None
        stored = Catalogue(home / "catalogue").funding("own", "X")
        assert stored is not None
        return list(zip(stored["timestamp"].to_physical().to_list(), stored["funding_rate"].to_list(), strict=True))


@MORE
@given(st.data(), st.lists(st.floats(-0.01, 0.01), min_size=1, max_size=4), st.sampled_from(["iso", "naive", *PER_S]))
def test_of_damaged_funding_every_row_is_stored_or_none(drawn: st.DataObject, rates: list[float], kind: str) -> None:
    lines = ["timestamp,funding_rate"]
    for i, rate in enumerate(rates):
        at_s = START_S + i * 28_800
        at = datetime.fromtimestamp(at_s, UTC)
        text = (
            at.isoformat()
            if kind == "iso"
            else f"{at:%Y-%m-%d %H:%M:%S}" if kind == "naive" else str(at_s * PER_S[kind])
        )
        lines.append(f"{text},{rate!r}")
    whole = "\n".join(lines).encode()
    expected = [(START_S + i * 28_800) * 1_000_000 for i in range(len(rates))]
    assert settled(whole, "f.csv") == list(zip(expected, rates, strict=True))
    content = drawn.draw(edited(whole, first=len(lines[0]) + 1))
    found = settled(content, "f.csv")
    if found is not None:
        rows = [line.rstrip("\r").split(",") for line in content.decode().strip("\r\n").split("\n")[1:]]
        assume(not any('"' in cell for row in rows for cell in row))
        assert found == sorted({(microseconds(at.strip()), float(rate)) for at, rate in rows})


@given(st.binary(max_size=100), st.sampled_from(["f.csv", "f.parquet"]))
def test_any_bytes_are_no_funding(content: bytes, name: str) -> None:
    assert settled(content, name) is None
