"""Indicators computed side by side in one pass have the values each has alone."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from grodtd.adapters.market_data.synthetic import synthetic_bars
from grodtd.domain.bars import COLUMNS, Bar, Bars
from grodtd.domain.indicator import TOGETHER, Indicator, IndicatorStream, values_together
from grodtd.indicators.averages import ema, sma
from grodtd.indicators.volatility import atr
from grodtd.indicators.vwap import vwap


def bars_with_gaps() -> Bars:
    bars, _ = synthetic_bars("G1", 600, seed=5)
    keep = np.ones(len(bars), dtype=bool)
    keep[100:103] = keep[300:340] = False  # one that is filled, one that restarts
    columns = {column: getattr(bars, column)[keep] for column in COLUMNS}
    return Bars(bars.time[keep], **columns, symbol="G1", timeframe="1m")


@pytest.mark.parametrize("count", range(1, TOGETHER + 1))
@pytest.mark.parametrize("make", [ema, atr])
def test_each_has_the_values_of_its_stream(make: Callable[[int], Indicator], count: int) -> None:
    bars = bars_with_gaps()
    indicators: list[Indicator] = [make(n) for n in (9, 3, 30, 14)][:count]
    found = values_together(indicators, bars)
    assert len(found) == count
    for indicator, values in zip(indicators, found, strict=True):
        stream = IndicatorStream(indicator, gap_step_us=bars.gap_step_us)
        rows = zip(bars.time, *(getattr(bars, column) for column in COLUMNS), strict=True)
        expected = [stream.update(Bar(int(time), *map(float, prices))) for time, *prices in rows]
        np.testing.assert_array_equal(values, expected)
        assert np.isfinite(values).sum() > 400


@pytest.mark.parametrize(
    "indicators", [[], [ema(3)] * (TOGETHER + 1), [ema(3), atr(3)], [sma(3), sma(4)], [vwap(), ema(3)]]
)
def test_only_indicators_of_one_kind(indicators: list[Indicator]) -> None:
    with pytest.raises(ValueError, match="of the same kind"):
        values_together(indicators, bars_with_gaps())
