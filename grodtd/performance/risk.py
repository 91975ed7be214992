"""What can be lost: drawdowns, ulcer, value at risk, expected shortfall. Conventions as in `ratios`."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from grodtd.domain.bars import FloatArray
from grodtd.performance.ratios import DEVIATION_FLOOR, checked, excess_kurtosis, skewness
from grodtd.performance.returns import drawdown


def max_drawdown(path: FloatArray) -> float:
    """Return the deepest fall of equity below its running peak.

    Parameters
    ----------
    path : float64 array, shape (n,)
        Account value, starting with the initial capital; the first value above zero, none below.

    Returns
    -------
    float
        Fraction of the peak in [-1, 0]; 0.0 if equity never falls; nan if `path` is empty.

    References
    ----------
    Magdon-Ismail and Atiya, "Maximum drawdown", Risk 17(10), 2004.

    Examples
    --------
    >>> max_drawdown(np.array([100.0, 120.0, 90.0]))
    -0.25
    """
    sample = checked(path)
    return float(drawdown(sample).min()) if sample.size else math.nan


@dataclass(frozen=True, slots=True)
class DrawdownTimes:
    """Where the deepest drawdown lies and how long the longest lasted, as positions on the equity path.

    `recovery` is None if the peak has not been reached again; `longest` counts from peak to recovery, or to the end
    of the data for one still open, which counts.
    """

    peak: int
    valley: int
    recovery: int | None
    longest_from: int
    longest_to: int


def drawdown_times(path: FloatArray) -> DrawdownTimes | None:
    """Return the times of the deepest and of the longest drawdown; None if equity never fell."""
    sample = checked(path)
    under = drawdown(sample) if sample.size else sample
    if not (under < 0).any():
        return None
    valley = int(np.argmin(under))
    at_peak = np.flatnonzero(under >= 0)
    peak = int(at_peak[np.searchsorted(at_peak, valley) - 1])
    later = at_peak[at_peak > valley]
    # Between two visits to the peak that are not neighbours lies a drawdown; the last one may still be open.
    visits = np.append(at_peak, sample.size - 1) if at_peak[-1] != sample.size - 1 else at_peak
    longest = int(np.argmax(np.diff(visits)))
    return DrawdownTimes(
        peak=peak,
        valley=valley,
        recovery=int(later[0]) if later.size else None,
        longest_from=int(visits[longest]),
        longest_to=int(visits[longest + 1]),
    )


def ulcer_index(path: FloatArray) -> float:
    """Return the root mean square drawdown over all bars (Martin and McCann, 1989).

    `path` starts with the initial capital, which counts as a peak but not as a bar; nan if there are no bars.
    """
    sample = checked(path)
    return float(np.sqrt(np.mean(drawdown(sample)[1:] ** 2))) if sample.size > 1 else math.nan


def value_at_risk(returns: FloatArray, level: float = 0.05) -> float:
    """Return the historical quantile at `level`, linear interpolation, signed: a loss is negative; nan if empty."""
    sample = checked(returns)
    return float(np.quantile(sample, level)) if sample.size else math.nan


def value_at_risk_normal(returns: FloatArray, level: float = 0.05) -> float:
    """Return the quantile of a normal distribution with the sample's mean and deviation (ddof 1)."""
    sample = checked(returns)
    if sample.size < 2:
        return math.nan
    return float(sample.mean() + sample.std(ddof=1) * NormalDist().inv_cdf(level))


def value_at_risk_cornish_fisher(returns: FloatArray, level: float = 0.05) -> float:
    """Return the Cornish-Fisher quantile; nan where the expansion is not monotone and so is no quantile.

    References
    ----------
    Maillard, "A user's guide to the Cornish Fisher expansion", 2012 (the domain of validity).
    """
    sample = checked(returns)
    skew, kurtosis = skewness(sample), excess_kurtosis(sample)
    if sample.size < 2 or math.isnan(skew):
        return math.nan
    slope = kurtosis / 8 - skew**2 / 6
    is_monotone = slope > 0 and (skew / 3) ** 2 - 4 * slope * (1 - kurtosis / 8 + 5 * skew**2 / 36) <= 0
    if not (is_monotone or (skew == 0 and kurtosis == 0)):
        return math.nan
    return _cornish_fisher(sample, level, skew, kurtosis)


def _cornish_fisher(sample: FloatArray, level: float, skew: float, kurtosis: float) -> float:
    z = NormalDist().inv_cdf(level)
    z += (z**2 - 1) * skew / 6 + (z**3 - 3 * z) * kurtosis / 24 - (2 * z**3 - 5 * z) * skew**2 / 36
    return float(sample.mean() + sample.std(ddof=1) * z)


def expected_shortfall(returns: FloatArray, level: float = 0.05) -> float:
    """Return the mean of the returns at or below the historical value at risk; nan if empty."""
    sample = checked(returns)
    return float(sample[sample <= value_at_risk(sample, level)].mean()) if sample.size else math.nan


def expected_shortfall_coherent(returns: FloatArray, level: float = 0.05) -> float:
    """Return the mean of exactly the worst `level` share, the last one counted in part (Acerbi and Tasche, 2002)."""
    sample = np.sort(checked(returns))
    share = sample.size * level
    whole = math.floor(share)
    if share <= 0:
        return math.nan
    part = (share - whole) * sample[whole] if share > whole else 0.0
    return float((sample[:whole].sum() + part) / share)


def has_variance(returns: FloatArray) -> bool:
    """Whether the returns vary by more than rounding noise."""
    sample = checked(returns)
    return bool(sample.size > 1 and sample.std(ddof=1) >= DEVIATION_FLOOR)
