"""Seeded bars whose market regime is known: for demos, for tests, for judging classifiers (QUANT_SPEC 6)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from grodtd.domain.bars import US_PER_S, Bars, FloatArray, IntArray, timeframe_s
from grodtd.domain.errors import DataError

UP, DOWN, RANGE, HIGH_VOL = range(4)
# What a classifier is to say: it cannot be asked for the direction of a trend.
LABELS: Final = ("trending", "trending", "ranging", "high_volatility")

START_US: Final = 1_672_531_200 * US_PER_S  # 2023-01-01
START_PRICE: Final = 30_000.0
TICK: Final = 0.01


@dataclass(frozen=True, slots=True)
class Generator:
    """A Markov chain over up, down, range and high volatility; geometric dwell, no self-jump.

    Returns are in units of the calm deviation: mean +drift, -drift, 0, 0; deviation 1, 1, 1, `high_vol`; in a range
    each return carries `reversion` (below zero) of the one before.
    """

    dwell_bars: float
    drift: float
    reversion: float
    high_vol: float


GENERATORS: Final = {"G1": Generator(500, 0.2, -0.3, 3.0), "G2": Generator(500, 0.1, -0.1, 2.0)}


def regime_returns(generator: Generator, n_bars: int, rng: np.random.Generator) -> tuple[FloatArray, IntArray]:
    """Return (unit returns, states), each of shape (n_bars,)."""
    states = np.empty(n_bars, dtype=np.int64)
    state, at = int(rng.integers(4)), 0
    while at < n_bars:
        dwell = int(rng.geometric(1.0 / generator.dwell_bars))
        states[at : at + dwell] = state
        at += dwell
        state = (state + int(rng.integers(1, 4))) % 4  # uniform over the other three
    mean = np.array([generator.drift, -generator.drift, 0.0, 0.0])[states]
    deviation = np.array([1.0, 1.0, 1.0, generator.high_vol])[states]
    returns = mean + deviation * rng.standard_normal(n_bars)
    for t in np.flatnonzero(states == RANGE).tolist():
        if t:
            returns[t] += generator.reversion * returns[t - 1]
    return returns, states


def synthetic_bars(
    name: str,
    n_bars: int,
    seed: int,
    *,
    timeframe: str = "1m",
    start_us: int = START_US,
    bar_bps: float = 5.0,
    venue: str = "synthetic",
) -> tuple[Bars, list[str]]:
    """Return seeded bars of a named generator and the regime of each.

    Parameters
    ----------
    name : {"G1", "G2"}
    n_bars, seed : int
        The same numbers give the same bars.
    bar_bps : float
        Deviation of a calm bar's return, basis points.

    Raises
    ------
    DataError
        If there is no such generator, or `n_bars` is not above zero.
    """
    if name not in GENERATORS:
        raise DataError(f"no generator named {name!r}; there are {', '.join(GENERATORS)}")
    if n_bars < 1:
        raise DataError(f"the number of bars must be above zero, found {n_bars}")
    generator = GENERATORS[name]
    rng = np.random.Generator(np.random.PCG64(seed))
    unit, states = regime_returns(generator, n_bars, rng)
    scale = bar_bps * 1e-4
    moves = unit * scale
    close = START_PRICE * np.exp(np.cumsum(moves))
    open_ = np.append(START_PRICE, close[:-1])

    # Extremes of a Brownian bridge from open to close; high and low drawn apart, which is close enough here.
    variance = (np.where(states == HIGH_VOL, generator.high_vol, 1.0) * scale) ** 2
    reach = [np.sqrt(moves**2 - 2.0 * variance * np.log(rng.random(n_bars))) for _ in range(2)]
    high = open_ * np.exp((moves + reach[0]) / 2.0)
    low = open_ * np.exp((moves - reach[1]) / 2.0)

    open_, close = _on_tick(open_), _on_tick(close)
    high = np.maximum(np.ceil(high / TICK - 1e-9) * TICK, np.maximum(open_, close))
    low = np.minimum(np.floor(low / TICK + 1e-9) * TICK, np.minimum(open_, close))
    activity = np.where(states == HIGH_VOL, 2.5, 1.0)
    volume = np.round(activity * rng.lognormal(2.0, 0.8, n_bars) + 1e-5, 5)
    time = start_us + np.arange(n_bars, dtype=np.int64) * timeframe_s(timeframe) * US_PER_S
    bars = Bars(
        time, open_, _on_tick(high), _on_tick(low), close, volume, venue=venue, symbol=name, timeframe=timeframe
    )
    return bars, [LABELS[s] for s in states.tolist()]


def _on_tick(prices: FloatArray) -> FloatArray:
    return np.asarray(np.round(prices, 2))
