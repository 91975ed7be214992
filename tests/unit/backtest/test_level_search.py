"""The search for the first bar that reaches a price: vector instructions against numpy, and against the plain twin."""

from __future__ import annotations

import numpy as np
import pytest

from grodtd.backtest import level_search
from grodtd.backtest.level_search import LANES, first_touch
from grodtd.domain.kernel import JIT_DISABLED, kernel

N_BARS = 3 * LANES + 5


def bars(seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    low = rng.random(N_BARS)
    high = low + rng.random(N_BARS)
    low.flags.writeable = high.flags.writeable = False  # as the columns of Bars
    return low, high


@pytest.mark.parametrize("seed", range(20))
def test_it_finds_what_numpy_finds(seed: int) -> None:
    low, high = bars(seed)
    rng = np.random.default_rng(100 + seed)
    found = 0
    for _ in range(20 if JIT_DISABLED else 500):
        first = int(rng.integers(0, N_BARS))
        end = int(rng.integers(first, N_BARS + 1))
        lower, upper = 0.15 * rng.random(), 2.0 - 0.15 * rng.random()
        hits = np.flatnonzero((low[first:end] <= lower) | (high[first:end] >= upper))
        expected = first + int(hits[0]) if hits.size else end
        assert first_touch(low, high, first, end, lower, upper) == expected
        found += hits.size > 0
    assert found > 0


def test_a_level_is_reached_when_it_is_touched() -> None:
    low, high = np.full(N_BARS, 10.0), np.full(N_BARS, 11.0)
    low[20] = 9.0
    high[22] = 12.0
    assert first_touch(low, high, 0, N_BARS, 9.0, 12.0) == 20
    assert first_touch(low, high, 21, N_BARS, 9.0, 12.0) == 22
    assert first_touch(low, high, 0, N_BARS, np.nextafter(9.0, 0.0), 12.0) == 22
    # No such level: beyond any price.
    assert first_touch(low, high, 0, N_BARS, -np.inf, np.inf) == N_BARS
    assert first_touch(low, high, 3, 3, 20.0, 0.0) == 3


@pytest.mark.skipif(JIT_DISABLED, reason="the vector form exists compiled only")
def test_the_plain_twin_is_the_same() -> None:
    plain = kernel(level_search._first_lane_plain)

    @kernel
    def vector(low: np.ndarray, high: np.ndarray, at: int, lower: float, upper: float) -> int:
        return level_search._first_lane_vector(low, high, at, lower, upper)

    low, high = bars(1)
    rng = np.random.default_rng(2)
    lanes = set()
    for _ in range(2_000):
        at = int(rng.integers(0, N_BARS - LANES + 1))
        levels = 0.2 * rng.random(), 2.0 - 0.2 * rng.random()
        lane = plain(low, high, at, *levels)
        assert vector(low, high, at, *levels) == lane
        lanes.add(lane)
    assert lanes == set(range(LANES + 1))
