"""Indicators of a longer timeframe equal the same indicator on resampled bars, seen when they have closed."""

from __future__ import annotations

import math

import numpy as np
import pytest

from grodtd.adapters.market_data.resample import resample
from grodtd.domain.bars import COLUMNS, Bar, Bars
from grodtd.domain.errors import StrategyError
from grodtd.domain.indicator import Indicator, IndicatorStream
from grodtd.indicators.averages import ema, sma
from grodtd.indicators.higher import higher
from grodtd.indicators.momentum import rsi
from grodtd.indicators.volatility import atr, donchian_high
from grodtd.workflows.data import synthetic_bars

MINUTE_US = 60_000_000


def without(bars: Bars, missing: slice) -> Bars:
    keep = np.ones(len(bars), dtype=bool)
    keep[missing] = False
    columns = {name: getattr(bars, name)[keep] for name in ("time", *COLUMNS)}
    return Bars(**columns, symbol=bars.symbol, timeframe=bars.timeframe)


def expected(
    indicator: Indicator, bars: Bars, timeframe: str, minutes: int
) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """The value of the last longer bar that has closed by each minute's close."""
    longer = resample(bars, timeframe)
    values = indicator.values(longer)
    ends = longer.time + minutes * MINUTE_US
    closes = bars.time + MINUTE_US
    at = np.searchsorted(ends, closes, side="right") - 1
    return np.where(at >= 0, values[at], math.nan)


@pytest.mark.parametrize("indicator", [ema(20), sma(5), atr(7), rsi(14), donchian_high(6)], ids=lambda i: i.name)
@pytest.mark.parametrize(("timeframe", "minutes"), [("5m", 5), ("1h", 60)])
def test_it_equals_the_indicator_on_resampled_bars(indicator: Indicator, timeframe: str, minutes: int) -> None:
    bars = synthetic_bars("G1", 6_000, 3)  # begins at midnight, without gaps
    found = higher(indicator, timeframe).values(bars)
    assert np.isfinite(found).sum() > 2_000
    np.testing.assert_array_equal(found, expected(indicator, bars, timeframe, minutes))


def test_nothing_of_an_open_longer_bar_is_seen() -> None:
    bars = synthetic_bars("G1", 1_200, 3)
    found = higher(sma(1), "1h").values(bars)
    # 10:00 to 10:59: the value is the close of 9:59; with the close of 10:59 it becomes that close.
    assert (found[600:659] == bars.close[599]).all()
    assert found[659] == bars.close[659]


def test_a_first_longer_bar_that_began_before_the_data_is_left_out() -> None:
    bars = synthetic_bars("G1", 300, 3)[7:]
    found = higher(sma(1), "1h").values(bars)
    assert np.isnan(found[: 119 - 7]).all()  # 00:07 to 00:59 is not an hour; 1:00 to 1:59 is
    assert found[119 - 7] == bars.close[119 - 7]


def test_a_missing_last_minute_closes_the_longer_bar_with_the_next_one() -> None:
    bars = synthetic_bars("G1", 300, 3)
    some = without(bars, slice(118, 120))  # 1:58 and 1:59
    found = higher(sma(1), "1h").values(some)
    assert found[117] == bars.close[59]
    assert found[118] == bars.close[117]  # seen at 2:00: the hour ended with what there was


@pytest.mark.parametrize(("hours", "restarts"), [(5, False), (6, True)])
def test_gaps_are_counted_in_longer_bars(hours: int, restarts: bool) -> None:
    bars = synthetic_bars("G1", 3_000, 3)
    some = without(bars, slice(600, 600 + hours * 60))
    found = higher(sma(4), "1h").values(some)
    after = found[600 + 59]  # the close of the first whole hour after the gap
    assert math.isnan(after) == restarts
    if not restarts:  # three flat hours at the last close before the gap, and one of the new
        assert after == pytest.approx((3 * bars.close[599] + bars.close[600 + hours * 60 + 59]) / 4)


def test_bar_by_bar_is_the_same() -> None:
    bars = without(synthetic_bars("G1", 2_000, 3), slice(700, 1_100))
    indicator = higher(ema(5), "15m")
    stream = IndicatorStream(indicator, gap_step_us=bars.gap_step_us)
    columns = [getattr(bars, name).tolist() for name in COLUMNS]
    one_by_one = [stream.update(Bar(int(t), *row)) for t, *row in zip(bars.time, *columns, strict=True)]
    np.testing.assert_array_equal(one_by_one, indicator.values(bars))


@pytest.mark.parametrize(("timeframe", "base"), [("1m", "1m"), ("30s", "1m"), ("7m", "1m"), ("5m", "3m"), ("1w", "1h")])
def test_a_timeframe_that_does_not_fit_is_refused(timeframe: str, base: str) -> None:
    with pytest.raises(StrategyError, match="must be a multiple of the base"):
        higher(ema(5), timeframe, base=base)


def test_other_bars_than_it_was_made_for_are_refused() -> None:
    with pytest.raises(StrategyError, match="was made for 1m bars, found 5m"):
        higher(ema(5), "1h").values(resample(synthetic_bars("G1", 600, 3), "5m"))
