"""From an equity path to the samples every metric is computed on (QUANT_SPEC C2-C5)."""

from __future__ import annotations

import numpy as np

from grodtd.domain.bars import DAY_S, US_PER_S, Bars, FloatArray, IntArray
from grodtd.domain.run import RunResult

_DAY_US = DAY_S * US_PER_S


def equity_path(result: RunResult) -> FloatArray:
    """Return equity with the initial capital in front, shape (n_bars + 1,): a loss on the first bar is a loss (C5)."""
    return np.concatenate(([result.account.initial_capital], result.equity))


def daily_equity(result: RunResult) -> tuple[IntArray, FloatArray]:
    """Return the marks the ratios are computed from.

    Returns
    -------
    time : int64 array, shape (n_marks,)
        Microseconds UTC. On a 24x7 calendar every midnight from the first to the last inside the run; partial days at
        the ends have no mark (C2). On a session calendar the close of every bar, and the start.
    equity : float64 array, shape (n_marks,)
        Last equity at or before that time; days without bars carry the last one forward (C4).
    """
    bars = result.bars
    closes = bars.time + bars.interval_s * US_PER_S
    path = equity_path(result)
    if bars.calendar == "sessions":
        return np.concatenate((bars.time[:1], closes)), path
    first = -(-int(bars.time[0]) // _DAY_US)
    last = int(closes[-1]) // _DAY_US
    midnights = np.arange(first, last + 1, dtype=np.int64) * _DAY_US
    return midnights, path[np.searchsorted(closes, midnights, side="right")]


def daily_returns(result: RunResult) -> FloatArray:
    """Return simple returns between the marks; nothing after ruin (C7)."""
    _, equity = daily_equity(result)
    alive = equity[:-1] > 0
    return np.asarray(equity[1:][alive] / equity[:-1][alive] - 1.0)


def returns_periods_per_year(bars: Bars) -> float:
    """Return the annual factor of `daily_returns`: 365 on a 24x7 calendar, the bars' own on a session one (C3)."""
    return 365.0 if bars.calendar == "24x7" else bars.periods_per_year


def years(bars: Bars) -> float:
    """Return elapsed years of 365 days, from time stamps, not from a count of rows (C4)."""
    return float((bars.time[-1] - bars.time[0]) / US_PER_S + bars.interval_s) / (365 * DAY_S)


def coverage(bars: Bars) -> float:
    """Return observed over expected bars; 1 where closed hours make gaps normal."""
    if not bars.gap_step_us:
        return 1.0
    return len(bars) / (int(bars.time[-1] - bars.time[0]) // bars.gap_step_us + 1)


def drawdown(path: FloatArray) -> FloatArray:
    """Return equity over its running peak, minus one, at each point of `path`: 0 or below, same shape."""
    peak = np.maximum.accumulate(path)
    return np.asarray(path / peak - 1.0)


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
