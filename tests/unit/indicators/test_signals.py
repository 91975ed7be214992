"""Indicators that are sides, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from grodtd.domain.bars import Bars
from grodtd.domain.errors import StrategyError
from grodtd.indicators.signals import channel_breakout, coin, vwap_fade

MINUTE_US = 60_000_000


def minutes(close: list[float], volume: list[float] | None = None) -> Bars:
    c = np.array(close)
    v = np.ones(c.size) if volume is None else np.array(volume)
    return Bars(np.arange(c.size) * MINUTE_US, c, c, c, c, v, timeframe="1m")


def test_breakout_enters_on_volume_and_leaves_through_the_shorter_channel() -> None:
    #        channel of 3 before: 10 to 12   13 > 12 on volume 5 > 2 * 1: long; lows of the last 2 before hold until 12
    close = [10, 12, 11, 13, 14, 15, 13.5, 12]
    volume = [1, 1, 1, 5, 1, 1, 1, 1.0]
    found = channel_breakout(3, 2, 3, 2.0).values(minutes(close, volume))
    assert np.isnan(found[:3]).all()
    # 13.5 is below 14 and 15, the exit channel of the two bars before it
    assert found[3:].tolist() == [1, 1, 1, 0, 0]


def test_breakout_without_volume_is_none() -> None:
    found = channel_breakout(3, 2, 3, 2.0).values(minutes([10, 12, 11, 13, 14], [1, 1, 1, 2, 1]))
    assert found[3:].tolist() == [0, 0]  # 2 is not more than twice the mean of 1; then 1 is not


def test_breakout_downwards() -> None:
    found = channel_breakout(3, 2, 3, 0.0).values(minutes([10, 12, 11, 9, 8, 10, 11]))
    assert found[3:].tolist() == [-1, -1, 0, 1]  # 10 is above 9 and 8; then 11 above 9, 8 and 10


def test_fade_enters_far_from_vwap_and_leaves_near_it() -> None:
    # Equal volumes: VWAP is the mean so far. Distances: 0, .5, -.5, then 110 is 7.3 above a mean of 102.75.
    close = [100.0, 101, 99, 110, 104, 103]
    found = vwap_fade(3, 1.5, 0.5).values(minutes(close))
    mean = np.cumsum(close) / np.arange(1, 7)
    distance = np.array(close) - mean
    stretch = [distance[t] / np.sqrt(np.mean(distance[t - 2 : t + 1] ** 2)) for t in range(2, 6)]
    assert stretch[0] < -1.5  # -1 over the root of (0 + .25 + 1) / 3: long
    assert stretch[1] > 1.5  # the jump: short
    assert 0 < stretch[2] < 0.5  # back near the mean: flat
    assert found[2:].tolist() == [1, -1, 0, 0]


def test_coin_holds_what_it_drew_and_draws_each_side_alike() -> None:
    found = coin(0.05, 10, seed=4).values(minutes([100.0] * 50_000))
    changes = np.flatnonzero(np.diff(found)) + 1
    stays = np.diff(changes)
    assert set(stays[found[changes[:-1]] != 0] % 10) == {0}  # ten bars, or twenty on the same side again
    entered = found[found != 0]
    # Flat for 19 bars on average (geometric, chance .05), then ten bars in: 10 / 29 or a little less of the time
    assert entered.size / found.size == pytest.approx(10 / 29.5, abs=0.02)
    assert entered.mean() == pytest.approx(0, abs=0.06)
    assert not np.array_equal(found, coin(0.05, 10, seed=5).values(minutes([100.0] * 50_000)))


@pytest.mark.parametrize(
    "make",
    [
        lambda: vwap_fade(10, 1.0, 1.0),
        lambda: vwap_fade(1, 2.0, 1.0),
        lambda: channel_breakout(5, 5, 5, -1.0),
        lambda: channel_breakout(0, 5, 5, 1.0),
        lambda: coin(0.0, 5, 1),
        lambda: coin(0.5, 0, 1),
        lambda: coin(0.5, 5, -1),
    ],
)
def test_bad_parameters_are_refused(make: object) -> None:
    assert callable(make)
    with pytest.raises(StrategyError):
        make()
