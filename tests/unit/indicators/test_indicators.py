"""The laws every indicator obeys, and the rules TA-Lib has no word on."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from grodtd.domain.bars import COLUMNS, Bar, Bars
from grodtd.domain.errors import StrategyError
from grodtd.domain.indicator import Indicator, IndicatorStream
from grodtd.domain.kernel import JIT_DISABLED
from grodtd.indicators.averages import cross, ema, rma, slope, sma
from grodtd.indicators.momentum import adx, rsi
from grodtd.indicators.volatility import (
    atr,
    bollinger_lower,
    bollinger_upper,
    donchian_high,
    donchian_low,
    rolling_std,
)
from grodtd.indicators.vwap import vwap

MINUTE_US = 60_000_000
N_BARS = 400 if JIT_DISABLED else 4_000

EVERY: tuple[Indicator, ...] = (
    sma(7),
    ema(9),
    rma(5),
    slope(6),
    cross(4, 11),
    rsi(14),
    adx(6),
    atr(14),
    rolling_std(8),
    bollinger_upper(8),
    bollinger_lower(8),
    donchian_high(9),
    donchian_low(9),
    donchian_high(9, 0),
    vwap("day"),
    vwap("week"),
    vwap(["08:00", "13:30"]),
)


def rough_bars(n: int = N_BARS, seed: int = 11) -> Bars:
    """Random minutes with gaps of 1, 3, 5 (filled flat), 6 and 90 (restart) and minutes without volume."""
    rng = np.random.default_rng(seed)
    close = np.round(100 * np.exp(np.cumsum(rng.normal(0, 2e-3, n))), 2)
    open_ = np.append(100.0, close[:-1])
    high = np.maximum(open_, close) + np.round(rng.random(n) * 0.1, 2)
    low = np.minimum(open_, close) - np.round(rng.random(n) * 0.1, 2)
    volume = np.round(rng.lognormal(0, 1, n), 3) * (rng.random(n) > 0.05)
    missing = rng.choice([0, 1, 3, 5, 6, 90], size=n, p=[0.94, 0.02, 0.01, 0.01, 0.01, 0.01])
    time = 1_700_000_000 * 1_000_000 // MINUTE_US * MINUTE_US + (np.arange(n) + np.cumsum(missing)) * MINUTE_US
    return Bars(time, open_, high, low, close, volume)


def stepwise(indicator: Indicator, bars: Bars) -> list[float]:
    stream = IndicatorStream(indicator, gap_step_us=bars.gap_step_us)
    columns = [getattr(bars, name).tolist() for name in COLUMNS]
    return [stream.update(Bar(int(t), *row)) for t, *row in zip(bars.time, *columns, strict=True)]


@pytest.fixture(params=EVERY, ids=lambda i: i.name, name="indicator")
def _indicator(request: pytest.FixtureRequest) -> Indicator:
    found: Indicator = request.param
    return found


def test_batch_equals_stepwise_bit_for_bit(indicator: Indicator) -> None:
    bars = rough_bars()
    values = indicator.values(bars)
    assert np.isfinite(values).any()
    np.testing.assert_array_equal(values, stepwise(indicator, bars))


def test_what_comes_later_changes_nothing_before(indicator: Indicator) -> None:
    bars, other = rough_bars(), rough_bars(seed=12)
    values = indicator.values(bars)
    for at in (1, N_BARS // 3, N_BARS - 1):
        mixed = Bars(bars.time, *(np.append(getattr(bars, c)[:at], getattr(other, c)[at:]) for c in COLUMNS))
        np.testing.assert_array_equal(indicator.values(mixed)[:at], values[:at])


def test_a_long_gap_restarts_and_a_short_one_counts_as_flat_bars(indicator: Indicator) -> None:
    bars = rough_bars()
    missing = np.diff(bars.time) // MINUTE_US - 1
    values = indicator.values(bars)
    if indicator.restarts_after_gap:
        start = int(np.flatnonzero(missing > 5)[0]) + 1
        np.testing.assert_array_equal(values[start:], indicator.values(bars[start:]))

    # A run with one gap of three bars equals the same run with those bars written out flat.
    clean = rough_bars()[:60]
    time = np.arange(60) * MINUTE_US
    late = np.where(np.arange(60) >= 40, 3 * MINUTE_US, 0)
    gapped = Bars(time + late, *(getattr(clean, c) for c in COLUMNS))
    last = clean.close[39]
    columns = {c: np.insert(getattr(clean, c), 40, [0.0 if c == "volume" else last] * 3) for c in COLUMNS}
    filled = Bars(np.arange(63) * MINUTE_US, **columns)
    kept = np.r_[0:40, 43:63]
    np.testing.assert_array_equal(indicator.values(gapped), indicator.values(filled)[kept])


def test_values_scale_with_price(indicator: Indicator) -> None:
    # A factor of two is exact in binary, so the law holds to the bit.
    bars = rough_bars()
    doubled = Bars(bars.time, *(getattr(bars, c) * (1 if c == "volume" else 2) for c in COLUMNS))
    factor = 1.0 if indicator.name.startswith(("rsi", "adx", "cross")) else 2.0
    np.testing.assert_array_equal(indicator.values(doubled), indicator.values(bars) * factor)


def closes(*values: float) -> Bars:
    array = np.array(values)
    return Bars(np.arange(array.size) * MINUTE_US, array, array, array, array, np.ones(array.size))


def test_cross_is_an_edge_remembered() -> None:
    # SMA2 against SMA3 of 1 2 3 2 1 1 2 3 4:
    #   fast  1.5 2.5 2.5 1.5 1 1.5 2.5 3.5 from index 1; slow 2 2.333 2 1.333 1.333 2 3 from index 2
    #   fast - slow: +.5 +.167 -.5 -.333 +.167 +.5 +.5: below at index 4, above again at index 6
    found = cross(2, 3).values(closes(1, 2, 3, 2, 1, 1, 2, 3, 4))
    assert np.isnan(found[:2]).all()
    assert found[2:].tolist() == [0, 0, -1, -1, 1, 1, 1]


def test_touching_is_not_crossing() -> None:
    # SMA1 - SMA2 = (c_t - c_(t-1)) / 2: falls, stays equal, rises: the bar before the rise was not below.
    assert cross(1, 2).values(closes(3, 2, 2, 3))[1:].tolist() == [0, 0, 0]
    assert cross(1, 2).values(closes(3, 2, 3))[1:].tolist() == [0, 1]


def test_a_market_that_does_not_move_is_neither_overbought_nor_oversold() -> None:
    assert rsi(3).values(closes(5, 5, 5, 5, 5))[3:].tolist() == [50.0, 50.0]


def test_donchian_leaves_the_present_bar_out_unless_asked() -> None:
    bars = closes(1, 5, 2, 3, 9)
    assert donchian_high(2).values(bars)[2:].tolist() == [5, 5, 3]
    assert donchian_high(2, 0).values(bars)[1:].tolist() == [5, 5, 3, 9]
    assert donchian_low(2).values(bars)[2:].tolist() == [1, 2, 2]


def test_vwap_sessions_begin_at_their_anchor() -> None:
    # One bar an hour from Sunday 2023-12-31 22:00 UTC, volume 1: the mean price since the anchor.
    time = 1_704_060_000 * 1_000_000 + np.arange(5) * 3_600_000_000
    prices = np.array([10.0, 20.0, 30.0, 50.0, 70.0])
    bars = Bars(time, prices, prices, prices, prices, np.ones(5), timeframe="1h")
    assert vwap("day").values(bars).tolist() == [10, 15, 30, 40, 50]
    assert vwap("week").values(bars).tolist() == [10, 15, 30, 40, 50]  # 2024-01-01 was a Monday
    assert vwap("23:00").values(bars).tolist() == pytest.approx([10, 20, 25, 100 / 3, 42.5])
    assert vwap(["23:00", "01:00"]).values(bars).tolist() == [10, 20, 25, 50, 60]


def test_vwap_before_any_volume_is_the_typical_price() -> None:
    bar = Bars([0], [2.0], [4.0], [1.0], [2.5], [0.0])  # type: ignore[arg-type]  # lists are fine
    assert vwap().values(bar).tolist() == [2.5]  # (4 + 1 + 2.5) / 3


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: sma(0), "sma needs a whole number of at least 1 bars, found 0"),
        (lambda: ema(2.5), "ema needs a whole number"),  # type: ignore[arg-type]
        (lambda: rsi(True), "rsi needs a whole number"),
        (lambda: slope(1), "slope needs a whole number of at least 2"),
        (lambda: adx(1), "adx needs a whole number of at least 2"),
        (lambda: cross(10, 10), "cross needs fast_bars < slow_bars, found 10 and 10"),
        (lambda: rolling_std(1), "rolling_std needs a whole number of at least 2"),
        (lambda: rolling_std(5, 2), "ddof 0 or 1"),
        (lambda: bollinger_upper(20, math.nan), "deviations above zero, found nan"),
        (lambda: donchian_high(5, 2), "offset_bars 0 or 1"),
        (lambda: vwap("noon"), "anchor 'noon' is not understood"),
        (lambda: vwap([]), "at least one anchor"),
    ],
)
def test_impossible_parameters_are_refused(make: Callable[[], Indicator], message: str) -> None:
    with pytest.raises(StrategyError, match=message):
        make()
