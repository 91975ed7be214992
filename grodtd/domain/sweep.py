"""What a sweep over parameters leaves of each combination: enough for every column of its table, and no more."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from grodtd.domain.bars import Bars, FloatArray

# Totals over the closed trades of a combination; `held_bars` counts bars with a position.
SUMS: Final = (
    "trade_count",
    "wins",
    "won",
    "lost",
    "gross_pnl",
    "fees",
    "slippage_cost",
    "funding_cost",
    "borrow_cost",
    "held_bars",
    "ambiguous",
    "notional",
)


@dataclass(frozen=True, eq=False)
class SweepResult:
    """One row a combination.

    Attributes
    ----------
    bars : Bars
    initial_capital : float
    names : tuple of str
        Parameters.
    params : float64 array, shape (n_combinations, n_parameters)
    sums : float64 array, shape (n_combinations, len(SUMS))
    equity : float64 array, shape (n_combinations, n_marks)
        At the daily marks (`domain.bars.daily_marks`).
    final : float64 array, shape (n_combinations,)
        Equity after the last bar.
    by_engine : bool array, shape (n_combinations,)
        Those that the fill engine ran from start to end.
    why_engine : str
        Why all of them were; empty if they were not.
    """

    bars: Bars
    initial_capital: float
    names: tuple[str, ...]
    params: FloatArray
    sums: FloatArray
    equity: FloatArray
    final: FloatArray
    by_engine: npt.NDArray[np.bool_]
    why_engine: str = ""

    def __len__(self) -> int:
        return int(self.params.shape[0])

    def total_of(self, name: str) -> FloatArray:
        """Return one of `SUMS`, shape (n_combinations,)."""
        return self.sums[:, SUMS.index(name)]
