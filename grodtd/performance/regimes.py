"""How good, how stable and how useful regime labels are (QUANT_SPEC 6): pure functions of labels and bars."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from grodtd.domain.bars import Bars, FloatArray
from grodtd.indicators.regime import Regime

CLASSES: Final = (Regime.RANGING, Regime.TRENDING, Regime.HIGH_VOLATILITY)
BLOCK_BARS: Final = 1_440
RESAMPLES: Final = 400
VARIANCE_RATIO_BARS: Final = 15

Labels = npt.NDArray[np.floating] | npt.NDArray[np.integer]


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate with its 95 % block-bootstrap interval; nan where undefined."""

    value: float
    low: float
    high: float


def balanced_accuracy(true: Labels, found: Labels) -> float:
    """Return the mean, over the classes that occur, of the share of their bars that were found."""
    shares = [float(np.mean(found[true == c] == c)) for c in CLASSES if (true == c).any()]
    return float(np.mean(shares)) if shares else math.nan


def median_delay(true: Labels, found: Labels) -> float:
    """Return the median bars from a true change until the new class is found; changes never found are left out."""
    changes = np.flatnonzero(np.diff(true)) + 1
    ends = np.append(changes, true.size)[1:]
    hits = [np.flatnonzero(found[a:b] == true[a]) for a, b in zip(changes, ends, strict=True)]
    waited = [int(hit[0]) for hit in hits if hit.size]
    return float(np.median(waited)) if waited else math.nan


def dwell_bars(labels: Labels, code: int) -> npt.NDArray[np.int64]:
    """Return how long each stay in a class lasted, in bars, the last one included."""
    is_in = np.concatenate(([False], labels == code, [False]))
    edges = np.flatnonzero(is_in[1:] != is_in[:-1])
    return np.asarray(edges[1::2] - edges[::2])


def adjusted_rand(a: Labels, b: Labels) -> float:
    """Return the adjusted Rand index of two labellings: 1 the same, 0 as by chance; nan for fewer than two bars.

    References
    ----------
    Hubert and Arabie, "Comparing partitions", 1985.
    """
    if a.size < 2:
        return math.nan
    table = np.array([[np.count_nonzero((a == i) & (b == j)) for j in CLASSES] for i in CLASSES], dtype=np.float64)

    def pairs(counts: FloatArray) -> float:
        return float((counts * (counts - 1.0) / 2.0).sum())

    both, rows, columns = pairs(table), pairs(table.sum(axis=1)), pairs(table.sum(axis=0))
    by_chance = rows * columns / pairs(np.array([table.sum()]))
    most = (rows + columns) / 2.0
    return 1.0 if most == by_chance else (both - by_chance) / (most - by_chance)


def volatility_ratio(bars: Bars, labels: Labels, *, seed: int, hours: float = 1.0) -> Interval:
    """Return realised volatility of the next hour after high-volatility labels over that after ranging ones."""
    window = max(round(hours * 3_600 / bars.interval_s), 1)
    squares = np.diff(np.log(bars.close)) ** 2
    total = np.concatenate(([0.0], np.cumsum(squares)))
    n = squares.size - window + 1
    if n <= 0:
        return Interval(math.nan, math.nan, math.nan)
    ahead = np.sqrt(np.maximum(total[window:] - total[:-window], 0.0))  # of the bars after each of the first n
    now = labels[: ahead.size]
    high, calm = now == Regime.HIGH_VOLATILITY, now == Regime.RANGING

    def ratio(weight: FloatArray) -> float:
        return _ratio(_mean(ahead, weight * high), _mean(ahead, weight * calm))

    return _interval(ratio, ahead.size, seed)


def variance_ratio_difference(bars: Bars, labels: Labels, *, seed: int) -> Interval:
    """Return the variance ratio (15 bars over 1) after trending labels minus that after ranging ones.

    Above 1 returns tend to go on, below 1 they tend to turn (Lo and MacKinlay 1988).
    """
    q = VARIANCE_RATIO_BARS
    log = np.log(bars.close)
    if log.size <= q + 1:
        return Interval(math.nan, math.nan, math.nan)
    long, short = (log[q:] - log[:-q]) ** 2, (log[1:] - log[:-1])[: log.size - q] ** 2
    now = labels[: long.size]
    trending, ranging = now == Regime.TRENDING, now == Regime.RANGING

    def difference(weight: FloatArray) -> float:
        ratios = [_ratio(_mean(long, weight * c), q * _mean(short, weight * c)) for c in (trending, ranging)]
        return ratios[0] - ratios[1]

    return _interval(difference, long.size, seed)


def _mean(values: FloatArray, weight: FloatArray) -> float:
    total = weight.sum()
    return float((values * weight).sum() / total) if total > 0 else math.nan


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole > 0 else math.nan  # bars that stand still have no variance to compare with


def _interval(statistic: object, n: int, seed: int) -> Interval:
    """95 % interval by resampling whole days (blocks of 1,440 bars, or a tenth of the sample if that is less)."""
    assert callable(statistic)
    size = max(min(BLOCK_BARS, n // 10), 1)
    block = np.arange(n) // size
    blocks = int(block[-1]) + 1
    rng = np.random.Generator(np.random.PCG64(seed))
    drawn = []
    for _ in range(RESAMPLES):
        weight = np.bincount(rng.integers(0, blocks, blocks), minlength=blocks).astype(np.float64)
        drawn.append(statistic(weight[block]))
    usable = np.array(drawn)[np.isfinite(drawn)]
    value = float(statistic(np.ones(n)))
    if usable.size < RESAMPLES / 2:
        return Interval(value, math.nan, math.nan)
    low, high = np.quantile(usable, [0.025, 0.975])
    return Interval(value, float(low), float(high))


def block_shuffled(bars: Bars, *, seed: int, block_bars: int = 60) -> Bars:
    """Return bars whose hours come in another order: the same moves, but no regime longer than a block."""
    n = len(bars)
    rng = np.random.Generator(np.random.PCG64(seed))
    starts = np.arange(0, n, block_bars)
    order = np.concatenate([np.arange(a, min(a + block_bars, n)) for a in rng.permutation(starts)])
    gap = np.diff(np.log(bars.close), prepend=np.log(bars.open[0]))[order]
    close = bars.open[0] * np.exp(np.cumsum(gap))
    previous = np.concatenate(([bars.open[0]], close[:-1]))
    top, bottom = np.maximum(close, previous), np.minimum(close, previous)
    return Bars(
        bars.time, previous, top, bottom, close, bars.volume[order], symbol=bars.symbol, timeframe=bars.timeframe
    )
