"""Recorded files: what is read, and how each kind of trouble is named with file, row and column."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from grodtd.adapters.market_data.recordings import read_depth, read_quotes, read_sweeps, read_trades
from grodtd.domain.errors import DataError

START = datetime(2024, 8, 8, 23, 54, tzinfo=UTC)
TIMES = pl.Series("timestamp", [START + timedelta(seconds=i) for i in range(3)], dtype=pl.Datetime("us", "UTC"))
TRADES = pl.DataFrame([TIMES, pl.Series("price", [10.0, 11.0, 12.0]), pl.Series("qty", [1.0, 2.0, 3.0])])
QUOTES = pl.DataFrame([TIMES, pl.Series("bid", [9.0, 9.5, 9.0]), pl.Series("ask", [10.0, 10.0, 10.5])])
DEPTH = pl.DataFrame(
    [
        TIMES,
        pl.Series("bid_px", [[9.0, 8.0], [9.0, 8.5], [9.0]]),
        pl.Series("bid_sz", [[1.0, 2.0], [3.0, 4.0], [5.0]]),
        pl.Series("ask_px", [[10.0, 11.0, 12.0], [10.0, 10.5], [10.0, 11.0]]),
        pl.Series("ask_sz", [[1.0, 1.0, 1.0], [2.0, 2.0], [3.0, 3.0]]),
    ]
)
SWEEPS = pl.DataFrame(
    [
        TIMES,
        pl.Series("mid", [9.5, 9.75, 9.75]),
        pl.Series("buy_1000usd_bps", [1.0, 2.0, 3.0]),
        pl.Series("sell_1000usd_bps", [1.5, 2.5, 3.5]),
    ]
)


def saved(table: pl.DataFrame, folder: Path) -> Path:
    file = folder / "recorded.parquet"
    table.write_parquet(file)
    return file


def test_the_four_kinds_are_read_as_arrays(tmp_path: Path) -> None:
    trades = read_trades(saved(TRADES, tmp_path))
    np.testing.assert_array_equal(trades.time, [1_723_161_240_000_000 + i * 1_000_000 for i in range(3)])
    np.testing.assert_array_equal(trades.price * trades.qty, [10, 22, 36])
    quotes = read_quotes(saved(QUOTES, tmp_path))
    np.testing.assert_array_equal(quotes.ask - quotes.bid, [1, 0.5, 1.5])
    sweeps = read_sweeps(saved(SWEEPS, tmp_path))
    np.testing.assert_array_equal(sweeps.sell_bps[1_000.0], [1.5, 2.5, 3.5])


def test_books_of_unequal_depth_are_padded_with_nan(tmp_path: Path) -> None:
    book = read_depth(saved(DEPTH, tmp_path))
    np.testing.assert_array_equal(book.bid_price, [[9, 8], [9, 8.5], [9, np.nan]])
    np.testing.assert_array_equal(book.ask_size, [[1, 1, 1], [2, 2, np.nan], [3, 3, np.nan]])
    np.testing.assert_array_equal(book.mid, [9.5, 9.5, 9.5])


def test_times_of_other_units_and_zones_become_microseconds_utc(tmp_path: Path) -> None:
    moved = TRADES.with_columns(
        pl.col("timestamp").dt.convert_time_zone("Asia/Tokyo").cast(pl.Datetime("ms", "Asia/Tokyo"))
    )
    expected = read_trades(saved(TRADES, tmp_path)).time
    np.testing.assert_array_equal(read_trades(saved(moved, tmp_path)).time, expected)


def with_value(table: pl.DataFrame, column: str, values: list[object]) -> pl.DataFrame:
    return table.with_columns(pl.Series(column, values, strict=False))


@pytest.mark.parametrize(
    ("read", "table", "message"),
    [
        (read_trades, TRADES.drop("qty"), r"no column qty; its columns are timestamp, price"),
        (read_trades, TRADES.clear(), r"has no rows"),
        (read_trades, with_value(TRADES, "price", [1.0, None, 2.0]), r"row 2: price: must be .* found None"),
        (read_trades, with_value(TRADES, "price", [1.0, 2.0, float("nan")]), r"row 3: price: must be a finite number"),
        (
            read_trades,
            with_value(TRADES, "qty", [0.0, -1.0, 2.0]),
            r"row 1: qty: .* found 0.0 \(2 rows are like that\)",
        ),
        (read_trades, with_value(TRADES, "qty", ["a", "b", "c"]), r"qty must hold numbers, found String"),
        (read_trades, TRADES.reverse(), r"row 2: timestamp: .* is before the row above"),
        (read_trades, with_value(TRADES, "timestamp", [1, 2, 3]), r"timestamp must be a time with its time zone"),
        (
            read_trades,
            TRADES.with_columns(pl.col("timestamp").dt.replace_time_zone(None)),
            r"timestamp must be a time with its time zone",
        ),
        (
            read_trades,
            TRADES.with_columns(pl.when(pl.col("price") != 11).then(pl.col("timestamp")).alias("timestamp")),
            r"row 2: timestamp: the time is missing",
        ),
        (read_quotes, with_value(QUOTES, "ask", [10.0, 9.5, 10.0]), r"row 2: ask: ask 9.5 is not above bid 9.5"),
        (
            read_depth,
            with_value(DEPTH, "bid_px", [[9.0, 8.0], [9.0, 9.5], [9.0]]),
            r"row 2: bid_px: prices must fall from the best",
        ),
        (
            read_depth,
            with_value(DEPTH, "ask_px", [[10.0, 11.0, 11.0], [10.0, 10.5], [10.0, 11.0]]),
            r"row 1: ask_px: prices must rise from the best",
        ),
        (
            read_depth,
            with_value(DEPTH, "bid_sz", [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]),
            r"row 3: bid_sz: has 2 sizes for 1 prices",
        ),
        (
            read_depth,
            with_value(DEPTH, "bid_sz", [[1.0, 2.0], [3.0, 0.0], [5.0]]),
            r"row 2: bid_sz: every level must be a finite number above zero, found 0.0",
        ),
        (
            read_depth,
            with_value(DEPTH, "ask_sz", [[1.0, 1.0, 1.0], [2.0, 2.0], [None, 3.0]]),
            r"row 3: ask_sz: every level must be a finite number",
        ),
        (read_depth, with_value(DEPTH, "bid_px", [[9.0, 8.0], [], [9.0]]), r"row 2: bid_px: has no levels"),
        (read_depth, with_value(DEPTH, "bid_px", [9.0, 9.0, 9.0]), r"bid_px must hold lists of numbers"),
        (
            read_depth,
            with_value(DEPTH, "bid_px", [[9.0, 8.0], [10.0, 8.5], [9.0]]),
            r"row 2: ask_px: best ask 10.0 is not above best bid 10.0",
        ),
        (read_sweeps, SWEEPS.drop("sell_1000usd_bps"), r"for the same notionals"),
        (read_sweeps, SWEEPS.select("timestamp", "mid"), r"for the same notionals"),
        (read_sweeps, with_value(SWEEPS, "buy_1000usd_bps", [1.0, 2.0, None]), r"row 3: buy_1000usd_bps: must be"),
    ],
)
def test_trouble_is_named_with_file_row_and_column(
    tmp_path: Path, read: Callable[[Path], object], table: pl.DataFrame, message: str
) -> None:
    with pytest.raises(DataError, match=rf"recorded\.parquet.*{message}"):
        read(saved(table, tmp_path))


def test_a_file_that_is_no_parquet_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "recorded.parquet"
    file.write_text("price,qty\n")
    with pytest.raises(DataError, match="cannot be read as Parquet"):
        read_trades(file)
    with pytest.raises(DataError, match="cannot be read as Parquet"):
        read_trades(tmp_path / "absent.parquet")
