"""Recorded market microstructure: trades, best quotes, order-book depth and sweep costs. Nothing is repaired.

Every table has a `timestamp` with time zone, never falling. Rows in messages count from 1.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

from grodtd.domain.bars import FloatArray, IntArray
from grodtd.domain.errors import DataError

_SWEEP_COLUMN: Final = re.compile(r"(buy|sell)_(\d+)usd_bps")


@dataclass(frozen=True, slots=True, eq=False)
class RecordedTrades:
    """Executions as the exchange published them; arrays of shape (n_trades,), time in microseconds UTC."""

    time: IntArray
    price: FloatArray
    qty: FloatArray


@dataclass(frozen=True, slots=True, eq=False)
class RecordedQuotes:
    """Best bid and ask at every change; arrays of shape (n_quotes,), time in microseconds UTC."""

    time: IntArray
    bid: FloatArray
    ask: FloatArray


@dataclass(frozen=True, slots=True, eq=False)
class RecordedDepth:
    """Snapshots of the book, best level first; time (n_snapshots,), levels (n_snapshots, n_levels), nan where none."""

    time: IntArray
    bid_price: FloatArray
    bid_size: FloatArray
    ask_price: FloatArray
    ask_size: FloatArray

    @property
    def mid(self) -> FloatArray:
        """Mean of best bid and best ask, shape (n_snapshots,)."""
        return np.asarray((self.bid_price[:, 0] + self.ask_price[:, 0]) / 2)


@dataclass(frozen=True, slots=True, eq=False)
class RecordedSweeps:
    """Sweep costs as the recorder computed them: basis points by notional, shape (n_snapshots,) each."""

    time: IntArray
    mid: FloatArray
    buy_bps: Mapping[float, FloatArray]
    sell_bps: Mapping[float, FloatArray]


def read_trades(file: Path) -> RecordedTrades:
    """Read columns timestamp, price, qty.

    Raises
    ------
    DataError
        If the file cannot be read, lacks a column, or a value is missing, not finite, not above zero or out of order;
        the message names file, column and row. The same holds for the other three readers.
    """
    table = _table(file, ("price", "qty"))
    price, qty = _positive(table, "price", file), _positive(table, "qty", file)
    return RecordedTrades(_time(table, file), price, qty)


def read_quotes(file: Path) -> RecordedQuotes:
    """Read columns timestamp, bid, ask; a crossed or locked quote is refused (DataError)."""
    table = _table(file, ("bid", "ask"))
    bid, ask = _positive(table, "bid", file), _positive(table, "ask", file)
    _refuse(bid >= ask, file, "ask", lambda i: f"ask {ask[i]} is not above bid {bid[i]}")
    return RecordedQuotes(_time(table, file), bid, ask)


def read_depth(file: Path) -> RecordedDepth:
    """Read list columns bid_px, bid_sz, ask_px, ask_sz: levels ordered from the best, sides not crossed (DataError)."""
    table = _table(file, ("bid_px", "bid_sz", "ask_px", "ask_sz"))
    bid_price, bid_size = _levels(table, "bid", file, falling=True)
    ask_price, ask_size = _levels(table, "ask", file, falling=False)
    _refuse(
        bid_price[:, 0] >= ask_price[:, 0],
        file,
        "ask_px",
        lambda i: f"best ask {ask_price[i, 0]} is not above best bid {bid_price[i, 0]}",
    )
    return RecordedDepth(_time(table, file), bid_price, bid_size, ask_price, ask_size)


def read_sweeps(file: Path) -> RecordedSweeps:
    """Read columns mid, buy_<notional>usd_bps and sell_<notional>usd_bps, both for the same notionals (DataError)."""
    table = _table(file, ("mid",))
    found: dict[str, dict[float, FloatArray]] = {"buy": {}, "sell": {}}
    for name in table.columns:
        match = _SWEEP_COLUMN.fullmatch(name)
        if match is not None:
            found[match[1]][float(match[2])] = _positive(table, name, file)
    if not found["buy"] or found["buy"].keys() != found["sell"].keys():
        raise DataError(
            f"{file} must have columns buy_<notional>usd_bps and sell_<notional>usd_bps for the same notionals; its"
            f" columns are {', '.join(table.columns)}"
        )
    return RecordedSweeps(_time(table, file), _positive(table, "mid", file), found["buy"], found["sell"])


def _table(file: Path, columns: Sequence[str]) -> pl.DataFrame:
    try:
        table = pl.read_parquet(file, hive_partitioning=False)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise DataError(f"{file} cannot be read as Parquet: {error}") from error
    missing = [name for name in ("timestamp", *columns) if name not in table.columns]
    if missing:
        raise DataError(f"{file} has no column {', '.join(missing)}; its columns are {', '.join(table.columns)}")
    if table.is_empty():
        raise DataError(f"{file} has no rows")
    return table


def _time(table: pl.DataFrame, file: Path) -> IntArray:
    column = table["timestamp"]
    if not isinstance(column.dtype, pl.Datetime) or column.dtype.time_zone is None:
        raise DataError(f"{file}: timestamp must be a time with its time zone, found {column.dtype}")
    _refuse(column.is_null().to_numpy(), file, "timestamp", lambda _: "the time is missing")
    time = column.dt.convert_time_zone("UTC").cast(pl.Datetime("us", "UTC")).to_physical().to_numpy()
    falls = np.append(False, np.diff(time) < 0)
    _refuse(falls, file, "timestamp", lambda i: f"{column[i]} is before the row above, {column[i - 1]}; sort by time")
    return time


def _positive(table: pl.DataFrame, name: str, file: Path) -> FloatArray:
    if not table[name].dtype.is_numeric():
        raise DataError(f"{file}: {name} must hold numbers, found {table[name].dtype}")
    values = table[name].cast(pl.Float64).fill_null(float("nan")).to_numpy()
    _refuse(
        ~(np.isfinite(values) & (values > 0)),
        file,
        name,
        lambda i: f"must be a finite number above zero, found {table[name][i]}",
    )
    return values


def _levels(table: pl.DataFrame, side: str, file: Path, *, falling: bool) -> tuple[FloatArray, FloatArray]:
    prices, sizes = (_matrix(table, f"{side}_{part}", file) for part in ("px", "sz"))
    counts, size_counts = table[f"{side}_px"].list.len().to_numpy(), table[f"{side}_sz"].list.len().to_numpy()
    _refuse(
        np.asarray(counts != size_counts),
        file,
        f"{side}_sz",
        lambda i: f"has {size_counts[i]} sizes for {counts[i]} prices",
    )
    steps = np.diff(prices, axis=1)
    disordered = np.asarray((steps >= 0 if falling else steps <= 0).any(axis=1))
    _refuse(disordered, file, f"{side}_px", lambda _: f"prices must {'fall' if falling else 'rise'} from the best")
    return prices, sizes


def _matrix(table: pl.DataFrame, name: str, file: Path) -> FloatArray:
    column = table[name]
    if not isinstance(column.dtype, pl.List) or not column.dtype.inner.is_numeric():
        raise DataError(f"{file}: {name} must hold lists of numbers, found {column.dtype}")
    counts = column.list.len().fill_null(0).to_numpy().astype(np.int64)
    _refuse(np.asarray(counts == 0), file, name, lambda _: "has no levels")
    flat = column.explode().cast(pl.Float64).fill_null(float("nan")).to_numpy()
    rows = np.repeat(np.arange(counts.size), counts)
    bad = ~(np.isfinite(flat) & (flat > 0))
    if bad.any():
        at = int(np.argmax(bad))
        raise DataError(
            f"{file}: row {rows[at] + 1}: {name}: every level must be a finite number above zero, found {flat[at]}"
        )
    matrix = np.full((counts.size, int(counts.max())), np.nan)
    matrix[rows, np.arange(flat.size) - np.repeat(np.cumsum(counts) - counts, counts)] = flat
    return matrix


def _refuse(bad: npt.NDArray[np.bool_], file: Path, column: str, why: Callable[[int], str]) -> None:
    if bad.any():
        row = int(np.argmax(bad))
        more = f" ({int(bad.sum())} rows are like that)" if bad.sum() > 1 else ""
        raise DataError(f"{file}: row {row + 1}: {column}: {why(row)}{more}")
