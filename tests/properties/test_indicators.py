"""What must hold of the indicators on any bars: symmetry, bounds, and equality with slow, obvious versions."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grodtd.domain.bars import Bars, FloatArray
from grodtd.domain.indicator import Indicator
from grodtd.indicators.averages import cross, ema, rma, slope, sma
from grodtd.indicators.momentum import adx, rsi
from grodtd.indicators.volatility import (
    atr,
    bollinger_lower,
    bollinger_middle,
    bollinger_upper,
    donchian_high,
    donchian_low,
    rolling_std,
)
from grodtd.indicators.vwap import vwap

MINUTE_US = 60_000_000
DAY_US = 86_400_000_000
REPEATABLE = settings(derandomize=True, deadline=None, max_examples=60)

# Prices are whole numbers of ticks: sums of ticks are exact, so a slow version has no rounding of its own. Few
# different prices, so that ties, flat stretches and equal highs are common.
TICKS = st.integers(1_000, 1_012)
ROWS = st.lists(
    st.tuples(TICKS, TICKS, st.integers(0, 3), st.integers(0, 3), st.integers(0, 4)), min_size=1, max_size=60
)
WINDOWS = st.integers(2, 12)
Row = tuple[int, int, int, int, int]


def bars_of(rows: list[Row], start_us: int = 0) -> Bars:
    """Bars from (open, close, ticks above both, ticks below both, volume), one a minute."""
    open_, close, above, below, volume = np.array(rows, dtype=np.float64).T
    time = start_us + np.arange(len(rows)) * MINUTE_US
    return Bars(time, open_, np.maximum(open_, close) + above, np.minimum(open_, close) - below, close, volume)


def mirrored(bars: Bars) -> Bars:
    """The same market upside down: every price p becomes 3,000 - p."""
    return Bars(bars.time, 3_000 - bars.open, 3_000 - bars.low, 3_000 - bars.high, 3_000 - bars.close, bars.volume)


def by_window(bars: Bars, window: int, value: Callable[[slice], float]) -> FloatArray:
    """`value` of each full window; nan before the first."""
    n = len(bars)
    return np.array([value(slice(t - window + 1, t + 1)) if t >= window - 1 else math.nan for t in range(n)])


def same(found: FloatArray, expected: FloatArray, tolerance: float = 1e-12) -> None:
    np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance)


@REPEATABLE
@given(ROWS, WINDOWS)
def test_windowed_indicators_equal_their_definitions(rows: list[Row], window: int) -> None:
    bars = bars_of(rows)
    close, x = bars.close, np.arange(window) - (window - 1) / 2
    same(sma(window).values(bars), by_window(bars, window, lambda w: float(close[w].mean())))
    same(rolling_std(window).values(bars), by_window(bars, window, lambda w: float(close[w].std(ddof=1))), 1e-10)
    same(slope(window).values(bars), by_window(bars, window, lambda w: float(x @ close[w] / (x @ x))), 1e-10)
    for offset in (0, 1):
        highest = by_window(bars, window, lambda w: float(bars.high[w].max()))
        lowest = by_window(bars, window, lambda w: float(bars.low[w].min()))
        late = np.full(min(offset, len(bars)), math.nan)
        np.testing.assert_array_equal(donchian_high(window, offset).values(bars), np.append(late, highest)[: len(bars)])
        np.testing.assert_array_equal(donchian_low(window, offset).values(bars), np.append(late, lowest)[: len(bars)])


def last_crossovers(close: list[int], fast: int, slow: int) -> list[float]:
    """Crossovers in fractions, where equal means equal."""
    out, last, before = [], 0, Fraction(0)
    for t in range(len(close)):
        if t < slow - 1:
            out.append(math.nan)
            continue
        now = Fraction(sum(close[t - fast + 1 : t + 1]), fast) - Fraction(sum(close[t - slow + 1 : t + 1]), slow)
        if t >= slow:
            last = 1 if before < 0 < now else -1 if before > 0 > now else last
        out.append(float(last))
        before = now
    return out


@REPEATABLE
@given(ROWS, WINDOWS, st.data(), st.sampled_from([1.0, 0.01, 1e-8]))
def test_cross_is_right_in_fractions_whatever_the_tick(
    rows: list[Row], slow: int, data: st.DataObject, tick: float
) -> None:
    fast = data.draw(st.integers(1, slow - 1))
    close = [row[1] for row in rows]
    prices = np.array(close) * tick
    bars = Bars(np.arange(len(close)) * MINUTE_US, prices, prices, prices, prices, np.ones(len(close)))
    np.testing.assert_array_equal(cross(fast, slow).values(bars), last_crossovers(close, fast, slow))


@REPEATABLE
@given(ROWS, st.integers(0, 59))
def test_vwap_equals_the_ratio_of_sums_in_fractions(rows: list[Row], minutes_before_midnight: int) -> None:
    bars = bars_of(rows, start_us=DAY_US - minutes_before_midnight * MINUTE_US)
    expected, money, volume = [], Fraction(0), Fraction(0)
    for t in range(len(bars)):
        if bars.time[t] == DAY_US:
            money, volume = Fraction(0), Fraction(0)
        typical = Fraction(int(bars.high[t] + bars.low[t] + bars.close[t]), 3)
        money += typical * int(bars.volume[t])
        volume += int(bars.volume[t])
        expected.append(float(money / volume if volume else typical))
    same(vwap().values(bars), np.array(expected), 1e-14)


@REPEATABLE
@given(ROWS, WINDOWS)
def test_upside_down_markets_have_upside_down_indicators(rows: list[Row], window: int) -> None:
    bars, other = bars_of(rows), mirrored(bars_of(rows))
    for average in (sma(window), ema(window), rma(window), bollinger_middle(window), vwap()):
        same(average.values(other), 3_000 - average.values(bars))
    for upper, lower in (
        (bollinger_upper(window), bollinger_lower(window)),
        (donchian_high(window), donchian_low(window)),
        (sma(window, "high"), sma(window, "low")),
    ):
        same(upper.values(other), 3_000 - lower.values(bars))
    for width in (atr(window), rolling_std(window), adx(window)):
        same(width.values(other), width.values(bars), 1e-10)
    for direction in (slope(window), cross(1, window)):
        same(direction.values(other), -direction.values(bars), 1e-10)
    same(rsi(window).values(other), 100 - rsi(window).values(bars), 1e-10)


@REPEATABLE
@given(ROWS, WINDOWS)
def test_values_lie_where_they_can(rows: list[Row], window: int) -> None:
    bars = bars_of(rows)

    def between(low: FloatArray | float, indicator: Indicator, high: FloatArray | float) -> None:
        value = indicator.values(bars)
        defined = np.isfinite(value)
        assert ((low - 1e-9 <= value) & (value <= high + 1e-9))[defined].all(), indicator.name

    lowest, highest = bars.low.min(), bars.high.max()
    for average in (sma(window), ema(window), rma(window), bollinger_middle(window), vwap()):
        between(lowest, average, highest)
    between(0.0, rsi(window), 100.0)
    between(0.0, adx(window), 100.0)
    between(0.0, atr(window), highest - lowest)
    middle = bollinger_middle(window).values(bars)
    assert (bollinger_lower(window).values(bars) <= middle)[window - 1 :].all()
    assert (middle <= bollinger_upper(window).values(bars))[window - 1 :].all()
    assert (donchian_low(window).values(bars) <= donchian_high(window).values(bars))[window:].all()


@pytest.mark.parametrize(
    "make", [rolling_std, slope, bollinger_upper, bollinger_middle, bollinger_lower, donchian_high, donchian_low]
)
@REPEATABLE
@given(ROWS, WINDOWS)
def test_a_window_gives_its_value_wherever_history_began(
    make: Callable[[int], Indicator], rows: list[Row], window: int
) -> None:
    indicator, bars = make(window), bars_of(rows)
    whole = indicator.values(bars)
    for first in range(max(0, len(bars) - indicator.warmup_bars + 1)):
        part = bars[first : first + indicator.warmup_bars]
        assert indicator.values(part)[-1] == whole[first + indicator.warmup_bars - 1]


@REPEATABLE
@given(ROWS, WINDOWS)
def test_moving_all_prices_moves_levels_and_leaves_widths(rows: list[Row], window: int) -> None:
    bars = bars_of(rows)
    moved = Bars(bars.time, bars.open + 60_000, bars.high + 60_000, bars.low + 60_000, bars.close + 60_000, bars.volume)
    for level in (sma(window), ema(window), rma(window), bollinger_upper(window), donchian_high(window), vwap()):
        same(level.values(moved), level.values(bars) + 60_000)
    for width in (atr(window), rsi(window), adx(window), rolling_std(window), slope(window), cross(1, window)):
        same(width.values(moved), width.values(bars), 1e-9)
