"""Statistics of closed trades: pure functions of their net profits in quote currency; nan where undefined."""

from __future__ import annotations

import math

import numpy as np

from grodtd.domain.bars import FloatArray
from grodtd.domain.run import Trades
from grodtd.performance.ratios import DEVIATION_FLOOR
from grodtd.performance.returns import finite


def profit_factor(pnl: FloatArray) -> float:
    """Return money won over money lost, net of costs; nan if nothing was lost."""
    sample = finite(pnl)
    lost = -sample[sample < 0].sum()
    return float(sample[sample > 0].sum() / lost) if lost > 0 else math.nan


def win_rate(pnl: FloatArray) -> float:
    """Return the share of trades that won; break-even trades count as not won; nan without trades."""
    sample = finite(pnl)
    return float((sample > 0).mean()) if sample.size else math.nan


def average_win(pnl: FloatArray) -> float:
    """Return the mean profit of winning trades; nan if there are none."""
    sample = finite(pnl)
    return float(sample[sample > 0].mean()) if (sample > 0).any() else math.nan


def average_loss(pnl: FloatArray) -> float:
    """Return the mean profit of losing trades, below zero; nan if there are none."""
    sample = finite(pnl)
    return float(sample[sample < 0].mean()) if (sample < 0).any() else math.nan


def payoff_ratio(pnl: FloatArray) -> float:
    """Return the average win over the average loss, as a positive ratio; nan if either is missing."""
    return average_win(pnl) / abs(average_loss(pnl))


def expectancy(pnl: FloatArray) -> float:
    """Return the mean net profit of a trade; nan without trades."""
    sample = finite(pnl)
    return float(sample.mean()) if sample.size else math.nan


def system_quality_number(pnl: FloatArray, *, trades_max: int | None = None) -> float:
    """Return sqrt(n) * mean / deviation (ddof 1), n at most `trades_max`; nan without variance.

    References
    ----------
    Tharp, "The definitive guide to position sizing", 2008.
    """
    sample = finite(pnl)
    # Money has no natural scale: what is rounding noise depends on the size of the trades.
    noise = DEVIATION_FLOOR * np.abs(sample).max(initial=0.0)
    deviation = sample.std(ddof=1) if sample.size > 1 else 0.0
    if deviation <= noise:
        return math.nan
    n = sample.size if trades_max is None else min(sample.size, trades_max)
    return float(math.sqrt(n) * sample.mean() / deviation)


def initial_risk(trades: Trades) -> FloatArray:
    """Return what each trade loses if its first stop is hit at its level, fees included; nan without a stop."""
    return np.asarray(np.abs(trades.entry_price - trades.stop) * trades.qty + trades.fees)


def expectancy_r(pnl: FloatArray, risk: FloatArray) -> float:
    """Return the mean net profit in units of the initial risk; nan without trades or if any trade has no risk."""
    sample = finite(pnl)
    if not (sample.size and (risk > 0).all()):  # nan is not above zero
        return math.nan
    return float((sample / risk).mean())


def excursions(
    side: int, entry_price: float, exit_price: float, high: FloatArray, low: FloatArray
) -> tuple[float, float]:
    """Return (MAE, MFE) of one trade as fractions of the entry price, pessimistic.

    Parameters
    ----------
    side : int
        +1 or -1.
    entry_price, exit_price : float
    high, low : float64 arrays, shape (n_held_bars,)
        Of every bar held, entry and exit bar included.

    Returns
    -------
    mae : float
        Worst move, over every bar held, whole bars: at most 0 unless the market never came back to the entry.
    mfe : float
        Best move; of the exit bar only what reaches up to the exit price is known to lie inside the trade.
    """
    best, worst = (high, low) if side > 0 else (low, high)
    favourable = np.append(best[:-1], exit_price)
    adverse = worst.min() if side > 0 else worst.max()
    reached = favourable.max() if side > 0 else favourable.min()
    return side * (float(adverse) / entry_price - 1.0), side * (float(reached) / entry_price - 1.0)
