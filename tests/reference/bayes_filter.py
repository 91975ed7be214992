"""The best any causal classifier can do on the synthetic generators: the exact filter with the true parameters."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from grodtd.adapters.market_data.synthetic import Generator
from grodtd.domain.bars import FloatArray, IntArray
from grodtd.domain.kernel import kernel
from grodtd.indicators.regime import Regime

# Prior share of ranging, trending (up and down) and high volatility: all four states last equally long.
PRIORS = np.array([0.25, 0.5, 0.25])


def classify(returns: FloatArray, generator: Generator) -> IntArray:
    """Return the class with the largest posterior in units of its prior, which is best for balanced accuracy.

    Parameters
    ----------
    returns : float64 array, shape (n,)
        Returns in units of a calm bar's deviation.
    """
    g = generator
    mean = np.array([g.drift, -g.drift, 0.0, 0.0])
    deviation = np.array([1.0, 1.0, 1.0, g.high_vol])
    posterior = _filter(returns, mean, deviation, g.reversion, 1.0 / g.dwell_bars)
    classes = np.stack([posterior[:, 2], posterior[:, 0] + posterior[:, 1], posterior[:, 3]], axis=1)
    return np.asarray((classes / PRIORS).argmax(axis=1))


@kernel
def _filter(
    returns: FloatArray, mean: FloatArray, deviation: FloatArray, reversion: float, leave: float
) -> npt.NDArray[np.float64]:
    """Forward recursion over up, down, range, high volatility."""
    n = returns.size
    out = np.empty((n, 4))
    p = np.full(4, 0.25)
    for t in range(n):
        q = np.empty(4)
        for s in range(4):
            expected = mean[s]
            if s == 2 and t > 0:
                expected += reversion * returns[t - 1]
            z = (returns[t] - expected) / deviation[s]
            before = p[s] * (1.0 - leave) + (1.0 - p[s]) * leave / 3.0 if t > 0 else 0.25
            q[s] = before * math.exp(-0.5 * z * z) / deviation[s]
        p = q / q.sum()
        out[t] = p
    return out


def balanced_accuracy(true: IntArray, found: IntArray) -> float:
    """Mean over the three classes of the share of their bars that were found."""
    classes = (Regime.RANGING, Regime.TRENDING, Regime.HIGH_VOLATILITY)
    return float(np.mean([(found[true == c] == c).mean() for c in classes]))
