"""The recorded files agree with each other: two independent sources for the same hours, trades for the same minutes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from grodtd.adapters.market_data.checks import check_bars
from grodtd.adapters.market_data.importers import checked_bars, read_table
from grodtd.adapters.market_data.resample import resample
from grodtd.domain.bars import Bars, utc

YEARS = (2022, 2023, 2024)


def minutes(folder: Path, symbol: str, year: int) -> Bars:
    file = folder / f"binance_spot_{symbol}_1m_{year}.parquet"
    return checked_bars(read_table(file), file, venue="binance", symbol=symbol.upper(), timeframe="1m")[0]


@pytest.mark.parametrize("symbol", ["btcusdt", "ethusdt"])
def test_the_outage_of_march_2023_is_named_to_the_minute(real_data: Path, symbol: str) -> None:
    report = check_bars(read_table(real_data / f"binance_spot_{symbol}_1m_2023.parquet"), "1m")
    gap = next(f for f in report.findings if f.code == "gap")
    assert gap.count == 1
    assert gap.missing == (80,)
    assert utc(gap.times_us[0]) == "2023-03-24 12:40:00"
    silent = next(f for f in report.findings if f.code == "zero_volume")
    assert silent.count == 72
    assert not report.errors


def test_minutes_make_the_hours_of_an_independent_file(real_data: Path) -> None:
    hourly = checked_bars(
        read_table(real_data / "binance_spot_btcusdt_1h_20170817_20240421.parquet"),
        real_data,
        venue="binance",
        symbol="BTCUSDT",
        timeframe="1h",
    )[0]
    shared = 0
    for year in YEARS:
        made = resample(minutes(real_data, "btcusdt", year), "1h")
        _, a, b = np.intersect1d(made.time, hourly.time, return_indices=True)
        # The other file ends in the middle of its last hour.
        keep = hourly.time[b] < hourly.time[-1]
        a, b = a[keep], b[keep]
        for name in ("open", "high", "low", "close"):
            np.testing.assert_array_equal(getattr(made, name)[a], getattr(hourly, name)[b])
        np.testing.assert_allclose(made.volume[a], hourly.volume[b], rtol=1e-9)
        shared += a.size
    assert shared >= 20_197


@pytest.mark.parametrize("symbol", ["btcusdt", "ethusdt"])
def test_every_minute_file_is_sound(real_data: Path, symbol: str) -> None:
    counts = [len(minutes(real_data, symbol, year)) for year in YEARS]
    assert counts == [525_600, 525_520, 254_880]
    assert sum(counts) == 1_306_000


def test_a_broken_daily_file_is_reported_not_repaired(real_data: Path) -> None:
    report = check_bars(read_table(real_data / "coinbase_btcusd_1d.parquet"), "1d")
    gap = next(f for f in report.findings if f.code == "gap")
    assert sum(gap.missing) > 0
    assert report.n_bars == 1_318


def test_other_markets_close_at_night(real_data: Path) -> None:
    for name, timeframe in (("spy_1d", "1d"), ("goog_1d", "1d"), ("eurusd_1h", "1h")):
        frame = read_table(real_data / f"{name}.parquet")
        assert not check_bars(frame, timeframe, "sessions").errors
        assert isinstance(frame["timestamp"].dtype, pl.Datetime)
