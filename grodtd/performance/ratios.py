"""Return over risk: pure functions of a sample of simple returns.

Every function takes a float64 array of simple returns per period (a fraction; 0.01 is 1 %), refuses values that are
not finite with ValueError, and returns nan where the result is undefined. Annual figures multiply by
`periods_per_year` (or its root); 365 is right for UTC-daily returns of a market that never closes.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np

from grodtd.domain.bars import FloatArray

# Below this a standard deviation is rounding noise, not risk.
DEVIATION_FLOOR: Final = 1e-12


def checked(returns: FloatArray) -> FloatArray:
    """Return the sample as a float64 array.

    Raises
    ------
    ValueError
        If a value is not finite.
    """
    sample = np.asarray(returns, dtype=np.float64)
    if not np.isfinite(sample).all():
        raise ValueError(f"returns must be finite, found {sample[~np.isfinite(sample)][0]}")
    return sample


def _excess(returns: FloatArray, rf_annual: float, periods_per_year: float) -> FloatArray:
    return np.asarray(checked(returns) - ((1.0 + rf_annual) ** (1.0 / periods_per_year) - 1.0))


def total_return(returns: FloatArray) -> float:
    """Return the compounded return; -1 if any period lost everything, whatever came later (C7); 0 if empty."""
    sample = checked(returns)
    if (sample <= -1.0).any():
        return -1.0
    return float(np.prod(1.0 + sample) - 1.0)


def cagr(total: float, years: float) -> float:
    """Return the compound annual growth rate of a total return over elapsed years; -1 after ruin; nan if no time."""
    if years <= 0:
        return math.nan
    return float((1.0 + total) ** (1.0 / years) - 1.0) if total > -1.0 else -1.0


def volatility(returns: FloatArray, *, periods_per_year: float = 365.0) -> float:
    """Return the annual standard deviation, ddof 1; nan for fewer than two returns."""
    sample = checked(returns)
    return float(sample.std(ddof=1) * math.sqrt(periods_per_year)) if sample.size > 1 else math.nan


def sharpe_ratio(returns: FloatArray, *, periods_per_year: float = 365.0, rf_annual: float = 0.0) -> float:
    """Return the annual Sharpe ratio: arithmetic mean of simple excess returns over their deviation, ddof 1.

    nan for fewer than two returns or a deviation below 1e-12.

    Examples
    --------
    >>> round(sharpe_ratio(np.array([0.03, -0.01]), periods_per_year=252), 4)
    5.6125
    """
    sample = _excess(returns, rf_annual, periods_per_year)
    deviation = sample.std(ddof=1) if sample.size > 1 else 0.0
    if deviation < DEVIATION_FLOOR:
        return math.nan
    return float(sample.mean() / deviation * math.sqrt(periods_per_year))


def sharpe_ratio_hac(returns: FloatArray, *, periods_per_year: float = 365.0, rf_annual: float = 0.0) -> float:
    """Return the annual Sharpe ratio with a Newey-West long-run deviation: honest about autocorrelation.

    Bartlett weights, lag floor(4 * (n / 100)^(2/9)); equals a HAC t-test of the mean. nan as for `sharpe_ratio`.

    References
    ----------
    Newey and West, "A simple, positive semi-definite, heteroskedasticity and autocorrelation consistent covariance
    matrix", Econometrica 55(3), 1987.
    """
    sample = _excess(returns, rf_annual, periods_per_year)
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


def lo_eta(returns: FloatArray, q: int) -> float:
    """Return Lo's factor from a one-period to a q-period Sharpe ratio, given the sample's autocorrelations.

    nan if the sample is too short or the q-period variance it implies is not above zero.

    References
    ----------
    Lo, "The statistics of Sharpe ratios", Financial Analysts Journal 58(4), 2002.
    """
    sample = checked(returns)
    if sample.size <= q:
        return math.nan
    centred = sample - sample.mean()
    variance = centred @ centred
    if variance <= 0:
        return math.nan
    weighted = sum((q - k) * (centred[k:] @ centred[:-k]) / variance for k in range(1, q))
    total = q + 2 * weighted
    return float(q / math.sqrt(total)) if total > 0 else math.nan


def sortino_ratio(returns: FloatArray, *, periods_per_year: float = 365.0, target: float = 0.0) -> float:
    """Return the annual Sortino ratio: mean above target over the downside deviation of **all** returns.

    nan if empty or nothing fell below the target.

    References
    ----------
    Sortino and van der Meer, "Downside risk", Journal of Portfolio Management 17(4), 1991.
    """
    sample = checked(returns)
    if sample.size == 0:
        return math.nan
    downside = math.sqrt(np.mean(np.minimum(sample - target, 0.0) ** 2))
    if downside < DEVIATION_FLOOR:
        return math.nan
    return float((sample.mean() - target) / downside * math.sqrt(periods_per_year))


def omega_ratio(returns: FloatArray, *, threshold: float = 0.0) -> float:
    """Return gains above over losses below the threshold; at 0 it is the profit factor of returns; nan if no loss."""
    sample = checked(returns) - threshold
    losses = -sample[sample < 0].sum()
    return float(sample[sample > 0].sum() / losses) if losses > 0 else math.nan


def tail_ratio(returns: FloatArray) -> float:
    """Return |95 % quantile / 5 % quantile|; nan if empty or the latter is 0."""
    sample = checked(returns)
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
    sample = checked(returns)
    if sample.size == 0:
        return math.nan
    centred = sample - sample.mean()
    variance = np.mean(centred**2)
    return float(np.mean(centred**order) / variance ** (order / 2)) if variance > DEVIATION_FLOOR**2 else math.nan


def beta_alpha(
    returns: FloatArray, benchmark: FloatArray, *, periods_per_year: float = 365.0, rf_annual: float = 0.0
) -> tuple[float, float]:
    """Return (beta, alpha) of the regression on the benchmark; alpha = intercept * periods, arithmetic.

    (nan, nan) if the benchmark does not vary.
    """
    own = _excess(returns, rf_annual, periods_per_year)
    other = _excess(benchmark, rf_annual, periods_per_year)
    centred = other - other.mean()
    variance = centred @ centred
    if own.size < 2 or variance <= DEVIATION_FLOOR**2:
        return math.nan, math.nan
    beta = float(centred @ own / variance)
    return beta, float((own.mean() - beta * other.mean()) * periods_per_year)


def information_ratio(returns: FloatArray, benchmark: FloatArray, *, periods_per_year: float = 365.0) -> float:
    """Return the annual Sharpe ratio of the difference to the benchmark (libraries do not annualise it)."""
    return sharpe_ratio(checked(returns) - checked(benchmark), periods_per_year=periods_per_year)


def capture_ratio(returns: FloatArray, benchmark: FloatArray, *, up: bool) -> float:
    """Return the mean return over the benchmark's, in the periods it rose (or fell); nan if there are none."""
    own, other = checked(returns), checked(benchmark)
    chosen = other > 0 if up else other < 0
    return float(own[chosen].mean() / other[chosen].mean()) if chosen.any() else math.nan
