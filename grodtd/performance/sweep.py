"""The table of a sweep: the metrics that follow from daily equity and totals, for all combinations at once."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Final

import numpy as np

from grodtd.domain.bars import FloatArray
from grodtd.domain.market import BPS
from grodtd.domain.sweep import SweepResult
from grodtd.performance.ratios import DEVIATION_FLOOR
from grodtd.performance.returns import returns_periods_per_year
from grodtd.performance.summary import RATIO_DAYS_MIN, TRADES_MIN

# Each has the definition of the metric of that name (docs/metrics.md); `max_drawdown_daily` is the deepest fall of the
# equity read daily, the start and the end included.
SWEEP_COLUMNS: Final = (
    "total",
    "vol",
    "sharpe",
    "sortino",
    "max_drawdown_daily",
    "trade_count",
    "win_rate",
    "profit_factor",
    "exposure",
    "net_pnl",
    "gross_pnl",
    "fees",
    "slippage_cost",
    "funding_cost",
    "borrow_cost",
    "break_even_cost_bps",
    "ambiguous_share",
)


def sweep_columns(result: SweepResult) -> dict[str, FloatArray]:
    """Return the table of a sweep by column, shape (n_combinations,) each; nan where a metric is undefined (C6, C8)."""
    total = {name: result.total_of(name) for name in SWEEP_COLUMNS if name not in _COMPUTED}
    n, won, lost = result.total_of("trade_count"), result.total_of("won"), result.total_of("lost")
    notional = result.total_of("notional")
    is_enough = n >= TRADES_MIN / 3
    # What is left of losses that were taken out of the totals again is the noise of sums of that size.
    has_losses = lost > 1e-12 * (won + notional)
    with np.errstate(divide="ignore", invalid="ignore"):
        found = {
            **_of_equity(result),
            **total,
            "win_rate": np.where(is_enough, result.total_of("wins") / n, np.nan),
            "profit_factor": np.where(is_enough & has_losses, won / lost, np.nan),
            "exposure": result.total_of("held_bars") / len(result.bars),
            "net_pnl": won - lost,
            "break_even_cost_bps": np.where(n > 0, total["gross_pnl"] / notional / BPS, np.nan),
            "ambiguous_share": np.where(n > 0, result.total_of("ambiguous") / n, np.nan),
        }
    return {name: found[name] for name in SWEEP_COLUMNS}


def daily_returns_of(result: SweepResult) -> FloatArray:
    """Return simple returns between the daily marks, shape (n_combinations, n_marks - 1); 0 after ruin."""
    with np.errstate(divide="ignore", invalid="ignore"):
        returns = result.equity[:, 1:] / result.equity[:, :-1] - 1.0
    return np.asarray(np.where(result.equity[:, :-1] > 0, returns, 0.0))


_ROWS_AT_ONCE: Final = 512
_COMPUTED: Final = {
    *("total", "vol", "sharpe", "sortino", "max_drawdown_daily"),
    *("win_rate", "profit_factor", "exposure", "net_pnl", "break_even_cost_bps", "ambiguous_share"),
}


def _of_equity(result: SweepResult) -> dict[str, FloatArray]:
    """Some rows at a time, so that copies of the equity of all of them are never in memory together."""
    parts = [
        _of_rows(replace(result, params=result.params[rows], equity=result.equity[rows], final=result.final[rows]))
        for rows in (slice(at, at + _ROWS_AT_ONCE) for at in range(0, max(len(result), 1), _ROWS_AT_ONCE))
    ]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _of_rows(result: SweepResult) -> dict[str, FloatArray]:
    capital, n = result.initial_capital, len(result)
    path = np.concatenate((np.full((n, 1), capital), result.equity, result.final[:, None]), axis=1)
    found = {
        "total": result.final / capital - 1.0,
        "max_drawdown_daily": np.min(path / np.maximum.accumulate(path, axis=1) - 1.0, axis=1, initial=0.0),
        **{name: np.full(n, np.nan) for name in ("vol", "sharpe", "sortino")},
    }
    sample, scale = daily_returns_of(result), math.sqrt(returns_periods_per_year(result.bars))
    # Returns after ruin do not count (C7).
    days = (result.equity[:, :-1] > 0).sum(axis=1)
    is_alive = days == sample.shape[1]
    for rows in (is_alive, *(np.arange(n) == row for row in np.flatnonzero(~is_alive))):
        part = sample[rows][:, : int(days[rows].min(initial=sample.shape[1]))]
        if part.shape[0] == 0 or part.shape[1] < RATIO_DAYS_MIN / 3:
            continue
        mean, deviation = part.mean(axis=1), part.std(axis=1, ddof=1)
        downside = np.sqrt(np.mean(np.minimum(part, 0.0) ** 2, axis=1))
        with np.errstate(divide="ignore", invalid="ignore"):
            found["vol"][rows] = deviation * scale
            found["sharpe"][rows] = np.where(deviation < DEVIATION_FLOOR, np.nan, mean / deviation * scale)
            found["sortino"][rows] = np.where(downside < DEVIATION_FLOOR, np.nan, mean / downside * scale)
    return found
