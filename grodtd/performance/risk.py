"""What can be lost: drawdowns, ulcer, value at risk, expected shortfall. Conventions as in `ratios`."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from grodtd.domain.bars import FloatArray, IntArray
from grodtd.performance.ratios import excess_kurtosis, skewness
from grodtd.performance.returns import drawdown, until_ruin


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

    Raises
    ------
    ValueError
        If a value is not finite or below zero, or the first is not above zero.

    References
    ----------
    Magdon-Ismail and Atiya, "Maximum drawdown", Risk 17(10), 2004.

    Examples
    --------
    >>> max_drawdown(np.array([100.0, 120.0, 90.0]))
    -0.25
    """
    fall = drawdown(path)
    return float(fall.min()) if fall.size else math.nan


@dataclass(frozen=True, slots=True, eq=False)
class Drawdowns:
    """Every drawdown of an equity path, as positions on it; position 0 is the initial capital.

    Attributes
    ----------
    peak, end : int64 arrays, shape (n_drawdowns,)
        Last point at the peak; first point back at it, or the last point of all for a drawdown still open.
    is_open : bool
        Whether the last one has not recovered.
    deepest : int
        Which of them is the deepest.
    valley : int
        Lowest point of the deepest.
    """

    peak: IntArray
    end: IntArray
    is_open: bool
    deepest: int
    valley: int

    @property
    def recovery(self) -> int | None:
        """Where the deepest is back at its peak; None if it never is."""
        is_last = self.deepest == self.peak.size - 1
        return None if self.is_open and is_last else int(self.end[self.deepest])


def drawdowns(path: FloatArray) -> Drawdowns | None:
    """Return all drawdowns of an equity path (as for `max_drawdown`); None if equity never fell."""
    return drawdowns_of(drawdown(path))


def drawdowns_of(fall: FloatArray) -> Drawdowns | None:
    """Return the same from what `drawdown` returned for the path."""
    is_under = fall < 0
    if not is_under.any():
        return None
    # The path starts at its peak, so going under and coming back alternate, going under first.
    turns = np.flatnonzero(is_under[1:] != is_under[:-1])
    is_open = bool(is_under[-1])
    peak, end = turns[::2], turns[1::2] + 1
    valley = int(np.argmin(fall))
    return Drawdowns(
        peak=peak,
        end=np.append(end, fall.size - 1) if is_open else end,
        is_open=is_open,
        deepest=int(np.searchsorted(peak, valley)) - 1,
        valley=valley,
    )


def ulcer_index(path: FloatArray) -> float:
    """Return the root mean square drawdown over all bars (Martin and McCann, 1989).

    `path` starts with the initial capital, which counts as a peak but not as a bar; nan if there are no bars.
    """
    return ulcer_of(drawdown(path))


def ulcer_of(fall: FloatArray) -> float:
    """Return the same from what `drawdown` returned for the path."""
    return float(np.sqrt(np.mean(fall[1:] ** 2))) if fall.size > 1 else math.nan


def value_at_risk(returns: FloatArray, level: float = 0.05) -> float:
    """Return the historical quantile at `level`, linear interpolation, signed: a loss is negative; nan if empty."""
    sample = until_ruin(returns)
    return float(np.quantile(sample, level)) if sample.size else math.nan


def value_at_risk_normal(returns: FloatArray, level: float = 0.05) -> float:
    """Return the quantile of a normal distribution with the sample's mean and deviation (ddof 1).

    nan for fewer than two returns.
    """
    sample = until_ruin(returns)
    if sample.size < 2:
        return math.nan
    return float(sample.mean() + sample.std(ddof=1) * NormalDist().inv_cdf(level))


def cornish_fisher_quantile(level: float, skew: float, excess_kurtosis: float) -> float:
    """Return the standard quantile at `level` corrected for skewness and excess kurtosis, wherever it may lead.

    Check `is_cornish_fisher_valid` first: outside its domain the expansion is not monotone and so is no quantile.

    References
    ----------
    Cornish and Fisher, "Moments and cumulants in the specification of distributions", Revue de l'Institut
    International de Statistique 5(4), 1938.
    """
    z = NormalDist().inv_cdf(level)
    third, fourth, squared = (z**2 - 1) / 6, (z**3 - 3 * z) / 24, (2 * z**3 - 5 * z) / 36
    return z + third * skew + fourth * excess_kurtosis - squared * skew**2


def is_cornish_fisher_valid(skew: float, excess_kurtosis: float) -> bool:
    """Whether the expansion rises everywhere (Maillard, "A user's guide to the Cornish Fisher expansion", 2012)."""
    if skew == excess_kurtosis == 0:
        return True
    slope = excess_kurtosis / 8 - skew**2 / 6
    return slope > 0 and (skew / 3) ** 2 - 4 * slope * (1 - excess_kurtosis / 8 + 5 * skew**2 / 36) <= 0


def value_at_risk_cornish_fisher(returns: FloatArray, level: float = 0.05) -> float:
    """Return the Cornish-Fisher quantile of returns; nan outside its domain, and without variance."""
    sample = until_ruin(returns)
    skew, kurtosis = skewness(sample), excess_kurtosis(sample)
    if math.isnan(skew) or not is_cornish_fisher_valid(skew, kurtosis):
        return math.nan
    return float(sample.mean() + sample.std(ddof=1) * cornish_fisher_quantile(level, skew, kurtosis))


def expected_shortfall(returns: FloatArray, level: float = 0.05) -> float:
    """Return the mean of the returns at or below the historical value at risk; nan if empty."""
    sample = until_ruin(returns)
    return float(sample[sample <= value_at_risk(sample, level)].mean()) if sample.size else math.nan


def expected_shortfall_normal(returns: FloatArray, level: float = 0.05) -> float:
    """Return the expected shortfall of a normal distribution with the sample's mean and deviation (ddof 1).

    nan for fewer than two returns.
    """
    sample = until_ruin(returns)
    if sample.size < 2:
        return math.nan
    normal = NormalDist()
    return float(sample.mean() - sample.std(ddof=1) * normal.pdf(normal.inv_cdf(level)) / level)


def expected_shortfall_coherent(returns: FloatArray, level: float = 0.05) -> float:
    """Return the mean of exactly the worst `level` share, the last one counted in part; nan if empty.

    References
    ----------
    Acerbi and Tasche, "On the coherence of expected shortfall", Journal of Banking and Finance 26(7), 2002.
    """
    sample = np.sort(until_ruin(returns))
    share = sample.size * level
    whole = math.floor(share)
    if share <= 0:
        return math.nan
    part = (share - whole) * sample[whole] if share > whole else 0.0
    return float((sample[:whole].sum() + part) / share)
