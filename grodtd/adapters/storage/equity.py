"""The equity curve of a run as one compressed column, and as daily marks."""

from __future__ import annotations

from datetime import date, timedelta
from io import BytesIO
from typing import TYPE_CHECKING, Final

import numpy as np

from grodtd.domain.bars import DAY_S, US_PER_S
from grodtd.domain.run import RunResult

if TYPE_CHECKING:
    import polars as pl

_DAY_US: Final = DAY_S * US_PER_S
_EPOCH: Final = date(1970, 1, 1)


def encode_equity(result: RunResult) -> bytes:
    """Return time, equity, position and held of every bar as a zstd-compressed parquet file.

    Times are written as steps from one bar's close to the next (the first one from 1970): nearly all are equal and
    take no room, where the times themselves would take more than half of the file.
    """
    import polars as pl  # here, because listing runs must not wait for it

    file = BytesIO()
    pl.DataFrame(
        {
            "step_us": np.diff(_closes_us(result), prepend=0),
            "equity": result.equity,
            "qty": result.qty,
            "held": result.held,
        }
    ).write_parquet(file, compression="zstd", statistics=False)
    return file.getvalue()


def decode_equity(parquet: bytes) -> pl.DataFrame:
    """Return what `encode_equity` was given: time (of the bar's close, UTC), equity, qty, held, one row a bar."""
    import polars as pl

    steps = pl.read_parquet(BytesIO(parquet))
    time = pl.col("step_us").cum_sum().cast(pl.Datetime("us", "UTC")).alias("time")
    return steps.select(time, "equity", "qty", "held")


def daily_marks(result: RunResult) -> list[tuple[date, float]]:
    """Return (UTC day, last equity marked on it); midnight ends its day, and days without a bar have no mark."""
    closes = _closes_us(result)
    # One microsecond back: the bar that closes at 00:00 is the last of the day before.
    days = (closes - 1) // _DAY_US
    last = np.flatnonzero(np.append(np.diff(days) != 0, True)) if days.size else np.empty(0, dtype=np.int64)
    return [(_EPOCH + timedelta(days=int(days[i])), float(result.equity[i])) for i in last]


def _closes_us(result: RunResult) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    return np.asarray(result.bars.time + result.bars.interval_s * US_PER_S)
