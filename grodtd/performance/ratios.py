"""Return over risk: pure functions of a sample of simple returns.

Every function takes a float64 array of simple returns per period (a fraction; 0.01 is 1 %), refuses values that are
not finite with ValueError, ignores what comes after a return of -1 or less, which counts as -1 (C7), and returns nan
where the result is undefined. Annual figures multiply by `periods_per_year` (or its root); 365 is right for UTC-daily
returns of a market that never closes.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np

from grodtd.domain.bars import FloatArray
from grodtd.performance.returns import finite, until_ruin

# Below this a standard deviation is rounding noise, not risk.
DEVIATION_FLOOR: Final = 1e-12
_LOG_GROWTH_MAX: Final = 700.0  # exp(709.8) is the largest float


def _rf_per_period(rf_annual: float, periods_per_year: float) -> float:
    return float((1.0 + rf_annual) ** (1.0 / periods_per_year) - 1.0)


def _mean_over_deviation(sample: FloatArray) -> float:
    deviation = sample.std(ddof=1) if sample.size > 1 else 0.0
    return float(sample.mean() / deviation) if deviation >= DEVIATION_FLOOR else math.nan


def total_return(returns: FloatArray) -> float:
    """Return the compounded return; -1 if any period lost everything, whatever came later (C7); 0 if empty."""
    return float(np.prod(1.0 + until_ruin(returns)) - 1.0)


def cagr(total: float, years: float) -> float:
    """Return the compound annual growth rate of a total return over elapsed years.

    -1 after ruin, however short the time; nan if there was no time, or so little that the rate is beyond any float.
    """
    if total <= -1.0:
        return -1.0
    if years <= 0:
        return math.nan
    log_growth = math.log1p(total) / years
    return math.expm1(log_growth) if log_growth < _LOG_GROWTH_MAX else math.nan


def mar_ratio(growth: float, max_drawdown: float) -> float:
    """Return CAGR over the depth of the maximum drawdown, both of the whole history; nan if equity never fell.

    Of the trailing 36 months the same quotient is the Calmar ratio; libraries call this one so too.
    """
    return growth / abs(max_drawdown) if max_drawdown < 0 else math.nan


def ulcer_performance_index(growth: float, ulcer: float, *, rf_annual: float = 0.0) -> float:
    """Return CAGR less the risk-free rate over the ulcer index; nan if equity never fell."""
    return (growth - rf_annual) / ulcer if ulcer > 0 else math.nan


def volatility(returns: FloatArray, *, periods_per_year: float = 365.0) -> float:
    """Return the annual standard deviation, ddof 1; nan for fewer than two returns."""
    sample = until_ruin(returns)
    return float(sample.std(ddof=1) * math.sqrt(periods_per_year)) if sample.size > 1 else math.nan


def sharpe_ratio(returns: FloatArray, *, periods_per_year: float = 365.0, rf_annual: float = 0.0) -> float:
    """Return the annual Sharpe ratio: arithmetic mean of simple excess returns over their deviation, ddof 1.

    The annual risk-free rate is taken off geometrically per period. nan for fewer than two returns or a deviation
    below 1e-12.

    Examples
    --------
    >>> round(sharpe_ratio(np.array([0.03, -0.01]), periods_per_year=252), 4)
    5.6125
    """
    sample = until_ruin(returns) - _rf_per_period(rf_annual, periods_per_year)
    return _mean_over_deviation(sample) * math.sqrt(periods_per_year)


def sharpe_ratio_hac(returns: FloatArray, *, periods_per_year: float = 365.0, rf_annual: float = 0.0) -> float:
    """Return the annual Sharpe ratio with a Newey-West long-run deviation: honest about autocorrelation.

    Bartlett weights, lag floor(4 * (n / 100)^(2/9)); equals a HAC t-test of the mean. nan as for `sharpe_ratio`.

    References
    ----------
    Newey and West, "A simple, positive semi-definite, heteroskedasticity and autocorrelation consistent covariance
    matrix", Econometrica 55(3), 1987.
    """
    sample = until_ruin(returns) - _rf_per_period(rf_annual, periods_per_year)
    n = sample.size
    if n < 2:
        return math.nan
    centred = sample - sample.mean()
    lags = math.floor(4 * (n / 100) ** (2 / 9))
    variance = centred @ centred / n
    for k in range(1, min(lags, n - 1) + 1):
        variance += 2 * (1 - k / (lags + 1)) * (centred[k:] @ centred[:-k]) / n
    if variance <= 0 or math.sqrt(variance) < DEVIATION_FLOOR:
        return math.nan
    return float(sample.mean() / math.sqrt(variance) * math.sqrt(periods_per_year))


def autocorrelations(returns: FloatArray, lags: int) -> FloatArray:
    """Return the sample autocorrelations at lag 1 to `lags`, shape (lags,).

    All nan if there are no more returns than lags or they do not vary.
    """
    sample = until_ruin(returns)
    centred = sample - sample.mean() if sample.size > lags else sample
    variance = centred @ centred
    if sample.size <= lags or variance <= sample.size * DEVIATION_FLOOR**2:
        return np.full(lags, math.nan)
    return np.array([centred[k:] @ centred[:-k] for k in range(1, lags + 1)]) / variance


def lo_eta(correlations: FloatArray) -> float:
    """Return the factor from a one-period to a q-period Sharpe ratio, given autocorrelations at lag 1 to q - 1.

    Without autocorrelation it is sqrt(q). nan if a correlation is, or if the variance they imply is not above zero.
    A diagnostic: noisy for q = 365, so not the headline.

    References
    ----------
    Lo, "The statistics of Sharpe ratios", Financial Analysts Journal 58(4), 2002.

    Examples
    --------
    >>> lo_eta(np.zeros(3))
    2.0
    """
    q = correlations.size + 1
    scale = q + 2 * float(np.arange(q - 1, 0, -1) @ correlations)
    return q / math.sqrt(scale) if scale > 0 else math.nan


def sortino_ratio(returns: FloatArray, *, periods_per_year: float = 365.0, target: float = 0.0) -> float:
    """Return the annual Sortino ratio: mean above target over the downside deviation of **all** returns.

    nan if empty or nothing fell below the target.

    References
    ----------
    Sortino and van der Meer, "Downside risk", Journal of Portfolio Management 17(4), 1991.
    """
    sample = until_ruin(returns)
    if sample.size == 0:
        return math.nan
    downside = math.sqrt(np.mean(np.minimum(sample - target, 0.0) ** 2))
    if downside < DEVIATION_FLOOR:
        return math.nan
    return float((sample.mean() - target) / downside * math.sqrt(periods_per_year))


def omega_ratio(returns: FloatArray, *, threshold: float = 0.0) -> float:
    """Return gains above over losses below the threshold; at 0 it is the profit factor of returns; nan if no loss."""
    sample = until_ruin(returns) - threshold
    losses = -sample[sample < 0].sum()
    return float(sample[sample > 0].sum() / losses) if losses > 0 else math.nan


def tail_ratio(returns: FloatArray) -> float:
    """Return |95 % quantile / 5 % quantile|; nan if empty or the latter is 0."""
    sample = until_ruin(returns)
    if sample.size == 0:
        return math.nan
    high, low = np.quantile(sample, [0.95, 0.05])
    return float(abs(high / low)) if low != 0 else math.nan


def skewness(returns: FloatArray) -> float:
    """Return the biased (population) skewness g1; nan without variance."""
    return _standard_moment(returns, 3)


def excess_kurtosis(returns: FloatArray) -> float:
    """Return the biased (population) excess kurtosis g2, normal 0; nan without variance."""
    return _standard_moment(returns, 4) - 3.0


def _standard_moment(returns: FloatArray, order: int) -> float:
    sample = until_ruin(returns)
    if sample.size == 0:
        return math.nan
    centred = sample - sample.mean()
    variance = np.mean(centred**2)
    return float(np.mean(centred**order) / variance ** (order / 2)) if variance > DEVIATION_FLOOR**2 else math.nan


def _paired(returns: FloatArray, benchmark: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Both samples up to the ruin of the first."""
    own, other = until_ruin(returns), finite(benchmark)
    if np.shape(returns) != other.shape:
        raise ValueError(f"a benchmark needs one return for each of the {np.size(returns)}, found {other.size}")
    return own, other[: own.size]


def beta_alpha(
    returns: FloatArray, benchmark: FloatArray, *, periods_per_year: float = 365.0, rf_annual: float = 0.0
) -> tuple[float, float]:
    """Return (beta, alpha) of the ordinary least squares line through excess returns over the benchmark's.

    Alpha is the intercept times the periods, arithmetic; (nan, nan) for fewer than two returns or if the benchmark
    does not vary; ValueError if the samples differ in length.
    """
    own, other = _paired(returns, benchmark)
    if own.size < 2 or other.std(ddof=1) < DEVIATION_FLOOR:
        return math.nan, math.nan
    rf = _rf_per_period(rf_annual, periods_per_year)
    centred = other - other.mean()
    beta = float(centred @ own / (centred @ centred))
    return beta, float((own.mean() - rf - beta * (other.mean() - rf)) * periods_per_year)


def information_ratio(returns: FloatArray, benchmark: FloatArray, *, periods_per_year: float = 365.0) -> float:
    """Return the annual ratio of the mean difference to the benchmark over its deviation, ddof 1.

    nan as for `sharpe_ratio`; ValueError if the samples differ in length. Libraries do not annualise it.
    """
    own, other = _paired(returns, benchmark)
    return _mean_over_deviation(own - other) * math.sqrt(periods_per_year)


def capture_ratio(returns: FloatArray, benchmark: FloatArray, *, up: bool) -> float:
    """Return the mean return over the benchmark's, arithmetic, in the periods the benchmark rose (or fell).

    nan if there are none; ValueError if the samples differ in length.
    """
    own, other = _paired(returns, benchmark)
    chosen = other > 0 if up else other < 0
    return float(own[chosen].mean() / other[chosen].mean()) if chosen.any() else math.nan
