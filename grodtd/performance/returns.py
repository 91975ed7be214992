"""From an equity path to the samples every metric is computed on (QUANT_SPEC C2-C5)."""

from __future__ import annotations

from typing import Final

import numpy as np

from grodtd.domain.bars import DAY_S, US_PER_S, YEAR_S, Bars, FloatArray, IntArray, daily_marks, mark_step_s
from grodtd.domain.run import RunResult

SESSIONS_PER_YEAR: Final = 252.0


def finite(values: FloatArray) -> FloatArray:
    """Return the values as a float64 array.

    Raises
    ------
    ValueError
        If one is not finite.
    """
    sample = np.asarray(values, dtype=np.float64)
    if not np.isfinite(sample).all():
        at = int(np.argmin(np.isfinite(sample)))
        raise ValueError(f"values must be finite, found {sample[at]} at position {at}")
    return sample


def until_ruin(returns: FloatArray) -> FloatArray:
    """Return the returns up to the first that loses everything, which counts as -1; later ones are ignored (C7).

    Raises
    ------
    ValueError
        If a return is not finite.
    """
    sample = finite(returns)
    is_ruin = sample <= -1.0
    return np.maximum(sample[: int(np.argmax(is_ruin)) + 1], -1.0) if is_ruin.any() else sample


def equity_path(result: RunResult) -> FloatArray:
    """Return equity with the initial capital in front, shape (n_bars + 1,): a loss on the first bar is a loss (C5)."""
    return np.concatenate(([result.account.initial_capital], result.equity))


def daily_equity(result: RunResult) -> tuple[IntArray, FloatArray]:
    """Return (time, equity) of the marks the ratios are computed from; see `daily_marks`."""
    time, point = daily_marks(result.bars)
    return time, equity_path(result)[point]


def daily_returns(result: RunResult) -> FloatArray:
    """Return simple returns between the marks; nothing after ruin (C7)."""
    _, equity = daily_equity(result)
    alive = equity[:-1] > 0
    return np.asarray(equity[1:][alive] / equity[:-1][alive] - 1.0)


def returns_periods_per_year(bars: Bars) -> float:
    """Return the annual factor of `daily_returns` (C3): 365, 252 on a session calendar; less for bars over a day."""
    if bars.calendar == "sessions" and bars.interval_s <= DAY_S:
        return SESSIONS_PER_YEAR
    return YEAR_S / mark_step_s(bars)


def years(bars: Bars) -> float:
    """Return elapsed years of 365 days, from time stamps, not from a count of rows (C4)."""
    return float((bars.time[-1] - bars.time[0]) / US_PER_S + bars.interval_s) / YEAR_S


def coverage(bars: Bars) -> float:
    """Return observed over expected bars; 1 where closed hours make gaps normal."""
    if not bars.gap_step_us:
        return 1.0
    return len(bars) / (int(bars.time[-1] - bars.time[0]) // bars.gap_step_us + 1)


def drawdown(path: FloatArray) -> FloatArray:
    """Return equity over its running peak, minus one, at each point of `path`: in [-1, 0], same shape.

    Parameters
    ----------
    path : float64 array, shape (n,)
        Account value, starting with the initial capital (C5).

    Raises
    ------
    ValueError
        If a value is not finite or below zero, or the first is not above zero.
    """
    sample = finite(path)
    if sample.size and not (sample[0] > 0 and sample.min() >= 0):
        raise ValueError(
            f"an equity path starts above zero and never falls below it, found {sample[0]} at the start and"
            f" {sample.min()} at the lowest; floor equity at 0 from ruin on"
        )
    return np.asarray(sample / np.maximum.accumulate(sample) - 1.0)


def monthly_returns(result: RunResult) -> dict[tuple[int, int], float]:
    """Return {(year, month): return} by UTC calendar month; partial months at the ends included; 0 after ruin."""
    bars = result.bars
    # A bar belongs to the month it opens in: the one that closes at midnight on the first is the old month's last.
    month = bars.time.astype("datetime64[us]").astype("datetime64[M]")
    last = np.flatnonzero(np.append(month[1:] != month[:-1], True))
    ends = np.concatenate(([result.account.initial_capital], result.equity[last]))
    found = {}
    for i, at in enumerate(month[last].astype(int).tolist()):
        change = ends[i + 1] / ends[i] - 1.0 if ends[i] > 0 else 0.0
        found[(1970 + at // 12, at % 12 + 1)] = float(change)
    return found


def buy_and_hold(bars: Bars, initial_capital: float) -> FloatArray:
    """Return the equity of buying at the first open and holding, without costs, at each close."""
    return np.asarray(initial_capital * bars.close / bars.open[0])
