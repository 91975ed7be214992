"""Indicators computed side by side in one pass have the values each has alone."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

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


UNLIKE = [vwap(), ema(9), atr(14), sma(30)]  # session totals go on after a gap; windows of other lengths


@pytest.mark.parametrize(
    "indicators",
    [
        *([make(n) for n in (9, 3, 30, 14)][:count] for make in (ema, atr) for count in range(1, TOGETHER + 1)),
        UNLIKE,
        UNLIKE[::-1],
        UNLIKE[:2],
        [sma(3), sma(40)],
        # Of one length and one first update: a name in common would hand one the machine code of the other.
        [ema(9), atr(14), atr(9), atr(3)],
        [ema(9), atr(14), vwap(), atr(3)],
    ],
    ids=lambda indicators: " ".join(one.name for one in indicators),
)
def test_each_has_the_values_of_its_stream(indicators: list[Indicator]) -> None:
    bars = bars_with_gaps()
    found = values_together(indicators, bars)
    assert len(found) == len(indicators)
    for indicator, values in zip(indicators, found, strict=True):
        stream = IndicatorStream(indicator, gap_step_us=bars.gap_step_us)
        rows = zip(bars.time, *(getattr(bars, column) for column in COLUMNS), strict=True)
        expected = [stream.update(Bar(int(time), *map(float, prices))) for time, *prices in rows]
        np.testing.assert_array_equal(values, expected)
        assert np.isfinite(values).sum() > 400


@pytest.mark.parametrize("indicators", [[], [ema(3)] * (TOGETHER + 1)], ids=["none", "too many"])
def test_one_to_as_many_as_there_are_places(indicators: list[Indicator]) -> None:
    with pytest.raises(ValueError, match=f"one to {TOGETHER} indicators are needed"):
        values_together(indicators, bars_with_gaps())


def test_an_edited_indicator_of_the_users_is_another(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)  # both files of the size and second of those before
    bars = bars_with_gaps()
    for factor in (2.0, 3.0):
        (tmp_path / "factor_of_mine.py").write_text(f"FACTOR = {factor}\n")
        (tmp_path / "indicators_of_mine.py").write_text(
            "from factor_of_mine import FACTOR\n"
            "from grodtd.domain.indicator import Indicator\n"
            "from grodtd.domain.kernel import kernel\n\n\n"
            "@kernel\ndef _times(state, bar):\n    return FACTOR * bar.close\n\n\n"
            "TIMES = Indicator('times', _times, (0.0,), warmup_bars=1)\n"
        )
        importlib.invalidate_caches()
        for name in ("factor_of_mine", "indicators_of_mine"):
            sys.modules.pop(name, None)
        times = importlib.import_module("indicators_of_mine").TIMES
        # Filed under the file of the first, which was not edited.
        np.testing.assert_array_equal(values_together([ema(9), times], bars)[1], factor * bars.close)
        np.testing.assert_array_equal(times.values(bars), factor * bars.close)
