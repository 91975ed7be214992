from __future__ import annotations

import numpy as np
import pytest

from grodtd.domain.bars import Bars, timeframe_s, utc
from grodtd.domain.errors import DataError

MINUTE_US = 60_000_000


def bars(**changes: object) -> Bars:
    columns: dict[str, object] = {
        "time": np.arange(3) * MINUTE_US,
        "open": [10.0, 11.0, 12.0],
        "high": [11.0, 12.0, 13.0],
        "low": [9.0, 10.0, 11.0],
        "close": [10.5, 11.5, 12.5],
        "volume": [1.0, 0.0, 2.0],
        "symbol": "BTCUSDT",
    }
    return Bars(**{**columns, **changes})  # type: ignore[arg-type]


def test_values_near_the_largest_float_are_sound() -> None:
    assert bars(volume=[1e308, 1e308, 1e308]).volume.max() == 1e308


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"open": [10.0, np.nan, 12.0]}, "bar 1 at 1970-01-01 00:01:00 UTC has a value that is not a finite number"),
        ({"low": [9.0, 10.0, 0.0]}, "bar 2 .* has a price that is not above zero"),
        ({"volume": [1.0, -1.0, 2.0]}, "bar 1 .* has a negative volume"),
        ({"low": [10.6, 10.0, 11.0], "high": [11, 12, 13]}, "bar 0 .* has a low above its open or close"),
        ({"high": [11.0, 11.4, 13.0]}, "bar 1 .* has a high below its open or close"),
        ({"time": [0, MINUTE_US, MINUTE_US]}, "bar 2 .* is not after the bar before it"),
        ({"close": [1.0]}, "column 'close' has another length"),
        ({"timeframe": "1 minute"}, "timeframe '1 minute' is not understood"),
    ],
)
def test_a_broken_bar_is_refused_by_number_and_time(changes: dict[str, object], message: str) -> None:
    with pytest.raises(DataError, match=message):
        bars(**changes)


def test_bars_are_read_only_and_leave_the_callers_arrays_alone() -> None:
    close = np.array([10.5, 11.5, 12.5])
    made = bars(close=close)
    with pytest.raises(ValueError, match="read-only"):
        made.close[0] = 1.0
    close[0] = 10.6  # still the caller's to change
    assert close.flags.writeable


def test_between_takes_the_half_open_range() -> None:
    part = bars().between(MINUTE_US, 2 * MINUTE_US)
    assert part.time.tolist() == [MINUTE_US]
    assert len(bars().between(10 * MINUTE_US, 20 * MINUTE_US)) == 0
    with pytest.raises(TypeError, match="sliced by position"):
        bars()[1]  # type: ignore[index]


def test_content_hash_sees_every_value_and_every_label() -> None:
    base = bars().content_hash()
    assert bars().content_hash() == base
    assert bars(volume=[1.0, 0.0, 2.0000001]).content_hash() != base
    assert bars(symbol="ETHUSDT").content_hash() != base
    assert bars(time=np.arange(3) * MINUTE_US + 1).content_hash() != base


@pytest.mark.parametrize(("text", "seconds"), [("1s", 1), ("1m", 60), ("15m", 900), ("4h", 14_400), ("1d", 86_400)])
def test_timeframes(text: str, seconds: int) -> None:
    assert timeframe_s(text) == seconds


@pytest.mark.parametrize("text", ["", "m", "0m", "1.5h", "1M", "-1m"])
def test_a_timeframe_that_makes_no_sense_is_refused(text: str) -> None:
    with pytest.raises(DataError, match="not understood"):
        timeframe_s(text)


def test_annual_factor_follows_the_calendar() -> None:
    assert bars().periods_per_year == 525_600  # 365 * 24 * 60 (C3)
    daily = np.arange(3) * 86_400_000_000
    assert bars(time=daily, timeframe="1d", calendar="sessions").periods_per_year == 252
    assert np.isnan(bars(calendar="sessions").periods_per_year)
    assert bars(calendar="sessions").gap_step_us == 0


def test_utc_text() -> None:
    assert utc(1_679_659_200_000_000) == "2023-03-24 12:00:00"
