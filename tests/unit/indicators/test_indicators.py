"""The laws every indicator obeys, and the rules TA-Lib has no word on."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from grodtd.domain.bars import COLUMNS, Bar, Bars, FloatArray, IntArray
from grodtd.domain.errors import StrategyError
from grodtd.domain.indicator import Indicator, IndicatorStream
from grodtd.domain.kernel import JIT_DISABLED
from grodtd.indicators.averages import cross, ema, rma, slope, sma
from grodtd.indicators.momentum import adx, rsi
from grodtd.indicators.signals import channel_breakout, coin, vwap_fade
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

ROOT = Path(__file__).resolve().parents[3]
MINUTE_US = 60_000_000
N_BARS = 400 if JIT_DISABLED else 4_000

EVERY: tuple[Indicator, ...] = (
    sma(7),
    sma(5, "typical"),
    ema(9),
    ema(4, "high"),
    rma(5),
    rma(6, "open"),
    slope(6),
    cross(4, 11),
    rsi(14),
    adx(6),
    atr(14),
    rolling_std(8),
    rolling_std(8, ddof=0),
    bollinger_upper(8),
    bollinger_middle(8),
    bollinger_lower(8),
    donchian_high(9),
    donchian_low(9),
    donchian_high(9, 0),
    vwap("day"),
    vwap("week"),
    vwap(["08:00", "13:30"]),
    vwap_fade(8, 1.5, 0.5),
    channel_breakout(6, 3, 5, 1.2),
    coin(0.2, 4, 7),
)
SIDES = ("vwap_fade", "channel_breakout", "coin")  # whose value is a position, not a price


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


def with_columns(time: IntArray, columns: dict[str, FloatArray]) -> Bars:
    return Bars(time, columns["open"], columns["high"], columns["low"], columns["close"], columns["volume"])


def columns_of(bars: Bars) -> dict[str, FloatArray]:
    return {name: getattr(bars, name) for name in COLUMNS}


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


def values_as_hex() -> dict[str, list[str]]:
    """Every indicator on a short run, to the bit; called in another process below."""
    bars = rough_bars(300)
    return {i.name: [float.hex(v) for v in i.values(bars).tolist()] for i in EVERY}


def test_compiled_equals_interpreted_bit_for_bit() -> None:
    script = f"import json; from {__name__} import values_as_hex; print(json.dumps(values_as_hex()))"
    environment = {**os.environ, "NUMBA_DISABLE_JIT": "0" if JIT_DISABLED else "1"}
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=240,
    )
    other = json.loads(done.stdout)
    assert len(other) == len(EVERY)
    assert other == values_as_hex()


def test_no_bars_give_no_values(indicator: Indicator) -> None:
    assert indicator.values(rough_bars()[:0]).shape == (0,)


def test_values_are_defined_by_the_end_of_the_warm_up(indicator: Indicator) -> None:
    n = max(indicator.warmup_bars, 20)
    without_gaps = with_columns(np.arange(n) * MINUTE_US, columns_of(rough_bars()[:n]))
    values = indicator.values(without_gaps)
    assert np.isfinite(values[indicator.warmup_bars - 1 :]).all()


def test_what_comes_later_changes_nothing_before(indicator: Indicator) -> None:
    bars, other = rough_bars(), rough_bars(seed=12)
    values = indicator.values(bars)
    for at in (1, N_BARS // 3, N_BARS - 1):
        later = columns_of(other[at:])
        mixed = with_columns(bars.time, {c: np.append(v[:at], later[c]) for c, v in columns_of(bars).items()})
        np.testing.assert_array_equal(indicator.values(mixed)[:at], values[:at])


def test_bars_without_volume_and_gaps_are_among_the_rough_bars() -> None:
    bars = rough_bars(400)
    assert (bars.volume == 0).sum() > 10
    assert set(np.diff(bars.time) // MINUTE_US - 1) == {0, 1, 3, 5, 6, 90}


@pytest.mark.parametrize("missing", [1, 5])
def test_up_to_five_missing_bars_count_as_flat_bars(indicator: Indicator, missing: int) -> None:
    n, at = 60, 40
    columns = columns_of(rough_bars()[:n])
    late = np.where(np.arange(n) >= at, missing * MINUTE_US, 0)
    gapped = with_columns(np.arange(n) * MINUTE_US + late, columns)
    last = columns["close"][at - 1]
    flat = {c: np.insert(v, at, [0.0 if c == "volume" else last] * missing) for c, v in columns.items()}
    written_out = with_columns(np.arange(n + missing) * MINUTE_US, flat)
    kept = np.r_[0:at, at + missing : n + missing]
    np.testing.assert_array_equal(indicator.values(gapped), indicator.values(written_out)[kept])


@pytest.mark.parametrize("missing", [6, 90])
def test_more_missing_bars_are_a_fresh_start(indicator: Indicator, missing: int) -> None:
    n, at = 60, 40
    late = np.where(np.arange(n) >= at, missing * MINUTE_US, 0)
    bars = with_columns(np.arange(n) * MINUTE_US + late, columns_of(rough_bars()[:n]))
    restarted = indicator.values(bars[at:])
    if indicator.restarts_after_gap:
        np.testing.assert_array_equal(indicator.values(bars)[at:], restarted)
    else:
        assert indicator.name.startswith(("vwap(", "coin"))
        assert not np.array_equal(indicator.values(bars)[at:], restarted)


def test_values_scale_with_price(indicator: Indicator) -> None:
    # A factor of two is exact in binary, so the law holds to the bit.
    bars = rough_bars()
    doubled = with_columns(bars.time, {c: v * (1 if c == "volume" else 2) for c, v in columns_of(bars).items()})
    factor = 1.0 if indicator.name.startswith(("rsi", "adx", "cross", *SIDES)) else 2.0
    np.testing.assert_array_equal(indicator.values(doubled), indicator.values(bars) * factor)


def is_a_price(indicator: Indicator) -> bool:
    return not indicator.name.startswith(("rsi", "adx", "atr", "cross", "slope", "rolling_std", *SIDES))


@pytest.mark.parametrize("price", [0.07, 0.1, 1.1, 29_641.13])
def test_a_market_that_stands_still_has_exactly_its_price_as_its_average(indicator: Indicator, price: float) -> None:
    # Plain sums miss it: 0.1 + 0.1 + 0.1 is 0.30000000000000004, and a third of that is more than 0.1.
    n = indicator.warmup_bars + 40
    still = np.full(n, price)
    bars = Bars(np.arange(n) * MINUTE_US, still, still, still, still, np.linspace(0.1, 7.0, n))
    value: float | FloatArray = price if is_a_price(indicator) else 50.0 if indicator.name.startswith("rsi") else 0.0
    if indicator.name.startswith("coin"):  # a lot falls as it falls, whatever the market does
        value = indicator.values(with_columns(bars.time, columns_of(rough_bars()[:n])))
        assert set(value.tolist()) == {-1.0, 0.0, 1.0}
    np.testing.assert_array_equal(indicator.values(bars)[indicator.warmup_bars - 1 :], value)


def test_an_sma_is_exact_as_soon_as_the_market_has_stood_still_for_its_window() -> None:
    # The ring is not at its turn when the window fills with 0.1: the last digits of 7.3 and 9.9 are gone all the same.
    assert sma(4).values(closes(7.3, 9.9, 0.7, 3.1, 9.9, 0.1, 0.1, 0.1, 0.1, 0.1))[-2:].tolist() == [0.1, 0.1]


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


def test_equal_averages_touch_even_where_binary_fractions_do_not() -> None:
    # SMA1 - SMA3 at index 2 to 4, by hand: 0.1 - 0.4/3 < 0; 0.1 - 0.3/3 = 0; 0.2 - 0.4/3 > 0. In binary, three times
    # 0.1 divided by three is more than 0.1, which would make a crossing of the touch.
    assert cross(1, 3).values(closes(0.2, 0.1, 0.1, 0.1, 0.2))[2:].tolist() == [0, 0, 0]
    # SMA2 - SMA4 at index 3 to 5: 0.6/2 - 0.9/4 > 0; 0.5/2 - 1/4 = 0; 0.2/2 - 0.8/4 < 0.
    assert cross(2, 4).values(closes(0.2, 0.1, 0.3, 0.3, 0.2, 0.0001))[3:].tolist() == [0, 0, -1]


def test_a_market_that_does_not_move_is_neither_overbought_nor_oversold() -> None:
    assert rsi(3).values(closes(5, 5, 5, 5, 5))[3:].tolist() == [50.0, 50.0]


def test_donchian_leaves_the_present_bar_out_unless_asked() -> None:
    bars = closes(1, 5, 2, 3, 9)
    assert donchian_high(2).values(bars)[2:].tolist() == [5, 5, 3]
    assert donchian_high(2, 0).values(bars)[1:].tolist() == [5, 5, 3, 9]
    assert donchian_low(2).values(bars)[2:].tolist() == [1, 2, 2]
    assert donchian_low(2, 0).values(bars)[1:].tolist() == [1, 2, 2, 3]


def test_an_average_of_another_price_is_taken_from_that_price() -> None:
    open_, high, low, close = np.array([[4.0, 5.0], [8.0, 9.0], [2.0, 3.0], [5.0, 3.0]])
    bars = Bars(np.array([0, MINUTE_US]), open_, high, low, close, np.ones(2))
    # Typical prices: (8 + 2 + 5) / 3 = 5 and (9 + 3 + 3) / 3 = 5.
    expected = {"close": 4.0, "open": 4.5, "high": 8.5, "low": 2.5, "typical": 5.0}
    for make in (sma, ema, rma):
        assert {price: make(2, price).values(bars)[1] for price in expected} == expected  # type: ignore[arg-type]  # keys are plain text
    assert sma(2, "high").name == "sma(2,high)"


def test_vwap_sessions_begin_at_their_anchor() -> None:
    # One bar an hour from Sunday 2023-12-31 22:00 UTC, volume 1: the mean price since the anchor.
    time = 1_704_060_000 * 1_000_000 + np.arange(5) * 3_600_000_000
    prices = np.array([10.0, 20.0, 30.0, 50.0, 70.0])
    bars = Bars(time, prices, prices, prices, prices, np.ones(5), timeframe="1h")
    assert vwap("day").values(bars).tolist() == [10, 15, 30, 40, 50]
    assert vwap("week").values(bars).tolist() == [10, 15, 30, 40, 50]  # 2024-01-01 was a Monday
    assert vwap("23:00").values(bars).tolist() == pytest.approx([10, 20, 25, 100 / 3, 42.5])
    assert vwap(["23:00", "01:00"]).values(bars).tolist() == [10, 20, 25, 50, 60]


def test_vwap_goes_on_over_a_long_gap_in_its_session() -> None:
    # 10 minutes of the same day are missing; 10 * 1 + 40 * 2 over 3.
    prices = np.array([10.0, 40.0])
    bars = Bars(np.array([0, 11]) * MINUTE_US, prices, prices, prices, prices, np.array([1.0, 2.0]))
    assert vwap().values(bars).tolist() == [10.0, 30.0]


def test_vwap_before_any_volume_is_the_typical_price() -> None:
    bar = Bars([0], [2.0], [4.0], [1.0], [2.5], [0.0])  # type: ignore[arg-type]  # lists are fine
    assert vwap().values(bar).tolist() == [2.5]  # (4 + 1 + 2.5) / 3


def test_a_fade_begins_beyond_one_distance_and_ends_within_another() -> None:
    # One unit a bar, so the VWAP is the mean of the closes so far; distance d, deviation = root mean square of two d.
    #   close   10   10   16      16      14      8       6       30
    #   VWAP    10   10   12      13      13.2    12.33   11.43   13.75
    #   d       0    0    4       3       0.8     -4.33   -5.43   16.25
    #   dev          0    2.83    3.54    2.20    3.12    4.91    12.11
    #   d/dev        0    1.41    0.85    0.36    -1.39   -1.11   1.34
    # Beyond 1.2: short at 1.41, still at 0.85, out at 0.36; long at -1.39, still at -1.11; short at once at 1.34.
    found = vwap_fade(2, 1.2, 0.5).values(closes(10, 10, 16, 16, 14, 8, 6, 30))
    np.testing.assert_array_equal(found, [np.nan, 0, -1, -1, 0, 1, 1, -1])
    # With a way out at 0.9, 0.85 is within it already.
    found = vwap_fade(2, 1.2, 0.9).values(closes(10, 10, 16, 16, 14, 8, 6, 30))
    np.testing.assert_array_equal(found, [np.nan, 0, -1, 0, 0, 1, 1, -1])


def test_a_fade_measures_from_the_vwap_of_the_day() -> None:
    # 23:58 to 00:01. At midnight the VWAP starts afresh at 16: distance 0, out. Then 20 over a VWAP of 18: d = 2,
    # deviation sqrt((0 + 4) / 2) = 1.414, stretch 1.414: short.
    prices = np.array([10.0, 16.0, 16.0, 20.0])
    time = (24 * 60 - 2 + np.arange(4)) * MINUTE_US
    bars = Bars(time, prices, prices, prices, prices, np.ones(4))
    # 23:59: VWAP 13, d = 3, deviation sqrt(9 / 2) = 2.12, stretch 1.414.
    np.testing.assert_array_equal(vwap_fade(2, 1.2, 0.5).values(bars), [np.nan, -1, 0, -1])


def test_a_breakout_needs_the_channel_the_volume_and_ends_at_the_exit_channel() -> None:
    # Channel of the 2 bars before, exit channel of the 1 before, volume above 1.5 times the mean of the 2 before.
    rows = (
        (10, 1, math.nan),
        (11, 1, math.nan),
        (12, 2, 1),  # above 11, volume 2 > 1.5 * 1
        (11.5, 1, 0),  # below the 12 before: out; not below 11, so not short
        (10, 2.25, 0),  # below 11.5, but 2.25 is not more than 1.5 * (2 + 1) / 2
        (9, 2.5, -1),  # below 10, and 2.5 > 1.5 * (1 + 2.25) / 2 = 2.4375
        (8, 0, -1),
        (8, 0, -1),  # touching the exit channel is not breaking it
        (8.5, 0, 0),  # above the 8 before: out; above the channel too, but without volume
        (9, 0.1, 1),  # above 8.5, and 0.1 > 0
        (7, 1, -1),  # below 8.5, and 1 > 1.5 * (0 + 0.1) / 2: the other side at once
    )
    price, volume, expected = np.array(rows).T
    bars = Bars(np.arange(price.size) * MINUTE_US, price, price, price, price, volume)
    np.testing.assert_array_equal(channel_breakout(2, 1, 2, 1.5).values(bars), expected)


def test_a_breakout_is_of_the_close_from_highs_and_lows() -> None:
    # Highs of 12 and lows of 8: a close of 12 touches, 12.5 breaks; a close of 7.5 breaks the exit and the channel.
    open_ = np.array([10.0, 10, 10, 12, 12])
    close = np.array([10.0, 10, 12, 12.5, 7.5])
    high, low = np.maximum(np.maximum(open_, close), 12), np.minimum(np.minimum(open_, close), 8)
    bars = Bars(np.arange(5) * MINUTE_US, open_, high, low, close, np.ones(5))
    np.testing.assert_array_equal(channel_breakout(2, 2, 1, 0).values(bars), [np.nan, np.nan, 0, 1, -1])


def drawn_sides(n: int, chance: float, hold: int, seed: int) -> list[float]:
    """The rule of `coin` in whole numbers: two draws a bar, the first for the entry, the second for the side."""
    modulus = 2**31 - 1
    draw = seed + 1
    for _ in range(20):
        draw = 16_807 * draw % modulus
    sides: list[float] = []
    left, side = 0, 0.0
    for _ in range(n):
        enters = 16_807 * draw % modulus
        draw = 16_807 * enters % modulus
        left = max(left - 1, 0)
        if not left:
            side = 0.0
            if enters < chance * modulus:
                side, left = 1.0 if draw < modulus / 2 else -1.0, hold
        sides.append(side)
    return sides


@pytest.mark.parametrize(("chance", "hold", "seed"), [(0.2, 4, 7), (1.0, 3, 0), (0.01, 30, 1), (0.5, 1, 2_147_483_645)])
def test_a_coin_is_drawn_as_it_says(chance: float, hold: int, seed: int) -> None:
    bars = rough_bars()
    gapless = with_columns(np.arange(N_BARS) * MINUTE_US, columns_of(bars))
    assert coin(chance, hold, seed).values(gapless).tolist() == drawn_sides(N_BARS, chance, hold, seed)


def test_the_draws_of_a_coin_are_those_of_park_and_miller() -> None:
    # "Random number generators: good ones are hard to find" (1988): from 1, draw 10,000 is 1,043,618,065. Seed
    # 0 starts from 1; 20 draws warm it up, and two go into each of 4,990 bars.
    draw = 1
    for _ in range(10_000):
        draw = 16_807 * draw % (2**31 - 1)
    assert draw == 1_043_618_065
    fair, bar = coin(0.5, 1, 0), Bar(0, 1.0, 1.0, 1.0, 1.0, 1.0)
    state = fair.start()
    for _ in range(4_990):
        fair.update(state, bar)
    assert 1_043_618_065.0 in state.tolist()


def test_a_coin_is_fair_and_holds_as_long_as_it_says() -> None:
    n = 400 if JIT_DISABLED else 40_000
    price = np.ones(n)
    sides = coin(0.1, 5, 3).values(Bars(np.arange(n) * MINUTE_US, price, price, price, price, price))
    # Flat bars come 0.9 / 0.1 = 9 to an entry, so 5 of every 14 bars are in the market: about 2,900 entries, whose
    # share of the bars has a deviation of 0.5 % and whose share of longs one of 1 %.
    if not JIT_DISABLED:
        assert np.mean(sides != 0) == pytest.approx(5 / 14, abs=0.03)
        assert np.mean(sides[sides != 0] > 0) == pytest.approx(0.5, abs=0.05)
    starts = np.flatnonzero(np.diff(sides, prepend=0.0) != 0)
    lengths = {int(length) for length, at in zip(np.diff(starts), starts, strict=False) if sides[at]}
    assert lengths
    assert all(length % 5 == 0 for length in lengths)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: sma(0), "sma needs a whole number of at least 1 bars, found 0"),
        (lambda: ema(2.5), "ema needs a whole number"),  # type: ignore[arg-type]  # on purpose
        (lambda: rsi(True), "rsi needs a whole number"),
        (lambda: slope(1), "slope needs a whole number of at least 2"),
        (lambda: adx(1), "adx needs a whole number of at least 2"),
        (lambda: sma(math.nan), "needs a whole number of at least 1 bars, found nan"),  # type: ignore[arg-type]  # on purpose
        (lambda: sma("9"), "found '9'"),  # type: ignore[arg-type]  # on purpose
        (lambda: sma(1_000_001), "sma needs at most 1000000 bars, found 1000001"),
        (lambda: sma(5, "mid"), "sma needs a price out of close, .* found 'mid'"),  # type: ignore[arg-type]  # on purpose
        (lambda: cross(10, 10), "cross needs fast_bars < slow_bars, found 10 and 10"),
        (lambda: rolling_std(1), "rolling_std needs a whole number of at least 2"),
        (lambda: rolling_std(5, 2), "ddof 0 or 1"),
        (lambda: bollinger_upper(20, math.nan), "deviations above zero, found nan"),
        (lambda: bollinger_lower(20, 0.0), "deviations above zero, found 0.0"),
        (lambda: donchian_high(5, 2), "offset_bars 0 or 1"),
        (lambda: vwap("noon"), "anchor 'noon' is not understood"),
        (lambda: vwap("24:00"), "anchor '24:00' is not understood"),
        (lambda: vwap(["08:00", "9:30"]), "anchor '9:30' is not understood"),
        (lambda: vwap([]), "at least one anchor"),
        (lambda: vwap_fade(1, 2, 1), "vwap_fade needs a whole number of at least 2"),
        (lambda: vwap_fade(5, 1, 1), "vwap_fade needs 0 <= leave < enter, found leave 1 and enter 1"),
        (lambda: vwap_fade(5, 1, -0.1), "found leave -0.1 and enter 1"),
        (lambda: vwap_fade(5, math.nan, 1), "found leave 1 and enter nan"),
        (lambda: channel_breakout(0, 1, 1, 1), "channel_breakout: bars needs a whole number of at least 1"),
        (lambda: channel_breakout(1, 0, 1, 1), "channel_breakout: exit_bars needs a whole number"),
        (lambda: channel_breakout(1, 1, 0, 1), "channel_breakout: volume_bars needs a whole number"),
        (lambda: channel_breakout(1, 1, 1, -1), "volume_ratio of at least 0, found -1"),
        (lambda: channel_breakout(1, 1, 1, math.inf), "volume_ratio of at least 0, found inf"),
        (lambda: coin(0, 1, 1), "chance above 0 and at most 1, found 0"),
        (lambda: coin(1.1, 1, 1), "chance above 0 and at most 1, found 1.1"),
        (lambda: coin(math.nan, 1, 1), "chance above 0 and at most 1, found nan"),
        (lambda: coin(0.5, 0, 1), "coin: hold_bars needs a whole number"),
        (lambda: coin(0.5, 1, -1), "seed from 0 to 2147483645, found -1"),
        (lambda: coin(0.5, 1, 2_147_483_646), "found 2147483646"),
    ],
)
def test_impossible_parameters_are_refused(make: Callable[[], Indicator], message: str) -> None:
    with pytest.raises(StrategyError, match=message):
        make()


def test_whole_numbers_of_numpy_are_whole_numbers() -> None:
    assert sma(np.int64(3)) == sma(3)  # type: ignore[arg-type]  # sweeps pass these


def test_what_decides_a_value_shows_in_the_name() -> None:
    assert len({i.name for i in EVERY}) == len(EVERY)
