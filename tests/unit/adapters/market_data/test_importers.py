"""Other programs' files, and what is refused with row and mend."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from grodtd.adapters.market_data.checks import check_bars, describe, time_unit
from grodtd.adapters.market_data.importers import checked_bars, normal_symbol, read_funding, read_table
from grodtd.domain.errors import DataError

START_MS = 1_672_531_200_000  # 2023-01-01
ROWS = [(10.0, 11.0, 9.5, 10.5, 3.0), (10.5, 12.0, 10.0, 11.0, 0.0), (11.0, 11.5, 10.5, 11.2, 2.5)]


def binance_csv(file: Path, *, header: bool, per_ms: int = 1, rows: list[tuple[float, ...]] = ROWS) -> Path:
    lines = ["open_time,open,high,low,close,volume,close_time,quote_volume,count,tb,tq,ignore"] if header else []
    for i, row in enumerate(rows):
        at = (START_MS + i * 60_000) * per_ms
        lines.append(",".join(map(str, [at, *row, at + 59_999 * per_ms, 1.0, 5, 0.5, 0.5, 0])))
    file.write_text("\n".join(lines) + "\n")
    return file


def expect_rows(frame: pl.DataFrame) -> None:
    assert frame.columns == ["timestamp", "open", "high", "low", "close", "volume"]
    assert frame["timestamp"].to_physical().to_list() == [(START_MS + i * 60_000) * 1_000 for i in range(3)]
    assert frame.select(pl.exclude("timestamp")).rows() == ROWS


@pytest.mark.parametrize("header", [True, False])
@pytest.mark.parametrize("per_ms", [1, 1_000])
def test_binance_klines_with_and_without_header_in_ms_and_us(tmp_path: Path, header: bool, per_ms: int) -> None:
    expect_rows(read_table(binance_csv(tmp_path / "k.csv", header=header, per_ms=per_ms)))


def test_freqtrade_feather(tmp_path: Path) -> None:
    dates = pl.Series([START_MS + i * 60_000 for i in range(3)]).cast(pl.Datetime("ms", "UTC"))
    columns = dict(zip(("open", "high", "low", "close", "volume"), zip(*ROWS, strict=True), strict=True))
    file = tmp_path / "BTC_USDT-1m.feather"
    pl.DataFrame({"date": dates, **columns}).write_ipc(file)
    expect_rows(read_table(file))


def test_parquet_and_six_bare_columns(tmp_path: Path) -> None:
    frame = read_table(binance_csv(tmp_path / "k.csv", header=True))
    frame.write_parquet(tmp_path / "k.parquet")
    expect_rows(read_table(tmp_path / "k.parquet"))
    bare = tmp_path / "bare.csv"
    bare.write_text("\n".join(f"{(START_MS + i * 60_000) // 1000},{','.join(map(str, r))}" for i, r in enumerate(ROWS)))
    expect_rows(read_table(bare))


def test_a_generic_file_with_its_own_names_and_time_zone(tmp_path: Path) -> None:
    file = tmp_path / "own.csv"
    lines = [f"2023-01-01 0{1 + i // 60}:{i:02d},{','.join(map(str, r))}" for i, r in enumerate(ROWS)]
    file.write_text("When,O,Hi,Lo,C,Vol\n" + "\n".join(lines))
    columns = {"timestamp": "When", "high": "Hi", "low": "Lo"}  # o, c and vol are understood
    expect_rows(read_table(file, columns=columns, timezone="Europe/Berlin"))  # 01:00 there is midnight UTC
    with pytest.raises(DataError, match="no column for timestamp; its columns are When.* Say which with --map"):
        read_table(file)
    with pytest.raises(DataError, match="time zone 'Mars'"):
        read_table(file, columns=columns, timezone="Mars")


@pytest.mark.parametrize("text", ["2023-01-01T00:00:00Z", "2023-01-01 00:00:00+00:00", "2023-01-01T01:00:00.000+01:00"])
def test_iso_times(tmp_path: Path, text: str) -> None:
    file = tmp_path / "iso.csv"
    file.write_text(f"time,open,high,low,close,volume\n{text},1,1,1,1,1\n")
    assert read_table(file)["timestamp"].to_physical().to_list() == [START_MS * 1_000]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is empty"),
        ("1,2,3\n", "has no header and 3 columns"),
        ("time,open,high,low,close,volume\nnever,1,1,1,1,1\n", "row 1: time 'never' is not understood"),
        ("time,open,high,low,close,volume\n2023-01-01,1,x,1,1,1\n", "row 1: high 'x' is not a number"),
        ("time,open,high,low,close,volume\n12,1,1,1,1,1\n", "row 1: time stamp 12 is no epoch time"),
        (
            f"time,open,high,low,close,volume\n{START_MS},1,1,1,1,1\n{(START_MS + 60_000) * 1000},1,1,1,1,1\n",
            "row 2: time stamp 1672531260000000 is in us, the rows before in ms; split the file there",
        ),
    ],
)
def test_what_cannot_be_read_is_refused_by_row(tmp_path: Path, content: str, message: str) -> None:
    file = tmp_path / "bad.csv"
    file.write_text(content)
    with pytest.raises(DataError, match=message):
        read_table(file)


def test_unknown_formats_files_and_maps(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="format 'xls' is not one of"):
        read_table(tmp_path / "x", file_format="xls")
    with pytest.raises(DataError, match="cannot be read"):
        read_table(tmp_path / "missing.parquet")
    with pytest.raises(DataError, match="--map knows timestamp"):
        read_table(binance_csv(tmp_path / "k.csv", header=True), columns={"price": "x"})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({1: (10.5, 12.0, 10.6, 11.0, 1.0)}, "ohlc: row 2: 2023-01-01 00:01:00"),
        ({2: (11.0, 11.5, 10.5, float("nan"), 1.0)}, "not_a_number: row 3"),
        ({0: (0.0, 11.0, 0.0, 10.5, 1.0)}, "price_not_positive: row 1"),
        ({0: (10.0, 11.0, 9.5, 10.5, -3.0)}, "negative_volume: row 1"),
    ],
)
def test_a_broken_file_is_refused_whole_with_row_and_mend(
    tmp_path: Path, change: dict[int, tuple[float, ...]], message: str
) -> None:
    rows = [change.get(i, row) for i, row in enumerate(ROWS)]
    file = binance_csv(tmp_path / "k.csv", header=True, rows=rows)
    with pytest.raises(DataError, match=rf"is refused, nothing was imported:\n(.|\n)*{message}"):
        checked_bars(read_table(file), file, venue="v", symbol="S", timeframe="1m")


def frame_at(*minutes: float) -> pl.DataFrame:
    time = pl.Series([int((START_MS + m * 60_000) * 1_000) for m in minutes]).cast(pl.Datetime("us", "UTC"))
    return pl.DataFrame(
        {"timestamp": time, **{c: [10.0] * len(minutes) for c in ("open", "high", "low", "close", "volume")}}
    )


def test_checks_name_what_when_and_how_many() -> None:
    report = check_bars(frame_at(0, 1, 1, 5, 4, 6.5), "1m")
    found = {f.code: f for f in report.findings}
    assert set(found) == {"duplicate", "disorder", "off_grid", "gap"}
    assert found["duplicate"].rows == (2,)
    assert found["disorder"].rows == (4,)
    assert found["off_grid"].rows == (5,)
    assert found["gap"].missing == (2,)
    assert describe(found["gap"], "1m") == ["2023-01-01 00:02:00 to 2023-01-01 00:03:00: 2 missing"]
    assert [f.severity for f in report.findings] == ["error", "error", "error", "warning"]
    assert not check_bars(frame_at(0, 5), "1m", "sessions").findings
    assert check_bars(frame_at(), "1m").errors[0].code == "empty"


def test_an_extraordinary_move_is_pointed_out() -> None:
    rng = np.random.default_rng(0)
    close = 100 * np.exp(np.cumsum(rng.normal(0, 1e-4, 500)))
    close[250] *= 1.5
    frame = frame_at(*range(500)).with_columns(close=pl.Series(close))
    outlier = next(f for f in check_bars(frame, "1m").findings if f.code == "outlier")
    assert outlier.rows == (250, 251)
    assert outlier.severity == "warning"


def test_time_units() -> None:
    for unit, factor in (("s", 1), ("ms", 1_000), ("us", 10**6), ("ns", 10**9)):
        assert time_unit(np.array([1_700_000_000 * factor])) == unit
    assert time_unit(np.array([5])) is None
    assert time_unit(np.array([], dtype=np.int64)) is None


@pytest.mark.parametrize("text", ["BTC/USDT", "btc-usdt", "BTC_USDT", "BTC/USDT:USDT", "BTCUSDT"])
def test_one_symbol_many_spellings(text: str) -> None:
    assert normal_symbol(text) == "BTCUSDT"


def test_a_stray_quote_in_a_column_nobody_uses_swallows_no_rows(tmp_path: Path) -> None:
    file = binance_csv(tmp_path / "k.csv", header=False)
    lines = file.read_text().splitlines()
    # From the quote in line 1 to the one in line 2 the parser sees one value: a row less, and no error.
    lines[0] = lines[0].removesuffix("0") + '"0'
    lines[1] += '"'
    file.write_text("\n".join(lines))
    with pytest.raises(DataError, match="has 3 lines and 2 rows: a stray quote"):
        read_table(file)


def test_a_last_line_that_was_cut_short_is_no_row(tmp_path: Path) -> None:
    file = binance_csv(tmp_path / "k.csv", header=True)
    # The download ended within the number of trades: nothing we use is missing, but what stands there may be cut.
    file.write_text(file.read_text().rsplit(",", 4)[0])
    with pytest.raises(DataError, match="line 4 has 8 fields, the first has 12"):
        read_table(file)


def test_lines_without_anything_at_the_end_and_quoted_numbers_are_read(tmp_path: Path) -> None:
    file = binance_csv(tmp_path / "k.csv", header=True)
    file.write_bytes(
        b"\xef\xbb\xbf" + file.read_bytes().replace(b",3.0,", b',"3.0",').replace(b"\n", b"\r\n") + b"\r\n\n"
    )
    expect_rows(read_table(file))


def test_a_volume_that_is_whole_for_thousands_of_rows_is_read(tmp_path: Path) -> None:
    file = tmp_path / "quiet.csv"
    rows = [f"{START_MS + i * 60_000},1,1,1,1,{0 if i < 10_500 else 0.25}" for i in range(10_501)]
    file.write_text("time,open,high,low,close,volume\n" + "\n".join(rows))
    assert read_table(file)["volume"].to_list() == [0.0] * 10_500 + [0.25]


@pytest.mark.parametrize(
    ("time", "message"),
    [
        ("1672531200000.5", r"row 1: time stamp 1672531200000.5 is no whole number"),
        ("1672531200000000001", "row 1: the time stamp has nanoseconds, which cannot be kept"),
        ("99999999999999999999", "row 1: time stamp 99999999999999999999 is no whole number that can be kept"),
        ("2023-01-01T00:04:3", "row 1: time '2023-01-01T00:04:3' is not understood"),
        ("1023-01-01T00:04:30", "row 1: the time stamp, .* is not between 1900 and 2200"),
        ("", "row 1: the time stamp is missing"),
    ],
)
def test_a_time_that_cannot_be_kept_as_it_is_is_refused(tmp_path: Path, time: str, message: str) -> None:
    file = tmp_path / "f.csv"
    file.write_text(f"time,open,high,low,close,volume\n{time},1,1,1,1,1\n")
    with pytest.raises(DataError, match=message):
        read_table(file)


def test_epochs_as_spreadsheets_write_them_are_read(tmp_path: Path) -> None:
    file = tmp_path / "f.csv"
    file.write_text("time,open,high,low,close,volume\n1.6725312E12,1,1,1,1,1\n")
    assert read_table(file)["timestamp"].to_physical().to_list() == [START_MS * 1_000]


@pytest.mark.parametrize(
    ("column", "message"),
    [
        (pl.Series("time", [2**40 * 1_000]).cast(pl.Datetime("ms")), "is not between 1900 and 2200"),
        (pl.Series("time", [2**30], dtype=pl.Int32).cast(pl.Date), "is not between 1900 and 2200"),
        (pl.Series("time", [[START_MS]]), r"column timestamp holds List\(Int64\), neither numbers nor text"),
        (pl.Series("time", [float("nan")]), "row 1: time stamp nan is no whole number"),
    ],
    ids=["far", "far date", "list", "nan"],
)
def test_columns_of_time_that_hold_something_else_are_refused(tmp_path: Path, column: pl.Series, message: str) -> None:
    table = pl.DataFrame([column, *(pl.Series(name, [1.0]) for name in ("open", "high", "low", "close", "volume"))])
    for file, write in ((tmp_path / "f.parquet", table.write_parquet), (tmp_path / "f.feather", table.write_ipc)):
        write(file)
        with pytest.raises(DataError, match=message):
            read_table(file)


@pytest.mark.parametrize("time", [str(START_MS), str(START_MS // 1_000), "2023-01-01 00:00:00", "2023-01-01T00:00:00Z"])
def test_times_of_funding_are_read_as_those_of_bars(tmp_path: Path, time: str) -> None:
    file = tmp_path / "f.csv"
    file.write_text(f"timestamp,funding_rate\n{time},0.0001\n")
    found = read_funding(file)
    assert found["timestamp"].to_physical().to_list() == [START_MS * 1_000]
    assert found["funding_rate"].to_list() == [0.0001]
