"""The additive ledger: where each bar's money came from, and the proof that nothing is missing (QUANT_SPEC 4)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from grodtd.domain.bars import Bars, FloatArray, IntArray
from grodtd.domain.errors import ExecutionError
from grodtd.domain.run import Fills, Ledger, RunResult

TOLERANCE: Final = 1e-9  # of the traded notional


def ledger_of(bars: Bars, fills: Fills, qty: FloatArray, funding: FloatArray, borrow: FloatArray) -> Ledger:
    """Return the ledger of one symbol.

    Parameters
    ----------
    bars : Bars
        Their closes are the marks.
    fills : Fills
    qty : float64 array, shape (n_bars,)
        Signed position at each close.
    funding, borrow : float64 arrays, shape (n_bars,)
        Paid in each bar.

    Returns
    -------
    Ledger
        ``gross = q[t-1] * (M[t] - M[t-1]) + sum of s * q * (M[t] - ref)`` over the bar's fills; spread, impact and
        slippage are the parts of ``s * q * (price - ref)``.
    """
    n = len(bars)
    signed = fills.side * fills.qty
    worse = signed * (fills.price - fills.ref)

    def by_bar(values: FloatArray) -> FloatArray:
        return np.asarray(np.bincount(fills.bar, weights=values, minlength=n), dtype=np.float64)

    gross = by_bar(signed * (bars.close[fills.bar] - fills.ref))
    gross[1:] += qty[:-1] * np.diff(bars.close)
    return Ledger(
        gross=gross,
        spread=by_bar(fills.spread),
        slippage=by_bar(worse - fills.spread - fills.impact),
        impact=by_bar(fills.impact),
        fees=by_bar(fills.fee),
        funding=funding,
        borrow=borrow,
    )


def check_ledger(
    results: Sequence[RunResult],
    step_of: IntArray,
    equity: FloatArray,
    initial_capital: float,
    debt: float,
    stopped: tuple[int, str] | None,
) -> None:
    """Check that the ledgers of all symbols explain the account's equity after every step.

    Parameters
    ----------
    results : sequence of RunResult
        One a symbol.
    step_of : int64 array, shape (all bars,)
        Step of each bar, symbol after symbol.
    equity : float64 array, shape (n_steps,)
    initial_capital, debt : float
        What the account started with, and what was forgiven at ruin.
    stopped : (step, reason) or None

    Raises
    ------
    ExecutionError
        If they differ by more than 1e-9 of the traded notional: a bug, never a market event.
    """
    if not equity.size:
        return
    if len(results) == 1:  # its bars are the steps
        net = results[0].ledger.net
    else:
        by_bar = np.concatenate([r.ledger.net for r in results])
        net = np.asarray(np.bincount(step_of, weights=by_bar, minlength=equity.size), dtype=np.float64)
    explained = initial_capital + np.cumsum(net)
    notional = sum(float((r.fills.qty * r.fills.price).sum()) for r in results)
    is_ruined = stopped is not None and stopped[1] == "ruin"
    solvent = stopped[0] if stopped is not None and is_ruined else equity.size
    differences = np.abs(explained - equity)[:solvent]
    # The last line holds after a ruin too; a symbol absent at that step has its loss in an earlier bar.
    last = abs(explained[-1] + debt - equity[-1])
    worst = max(float(differences.max(initial=0.0)) if len(results) == 1 or not is_ruined else 0.0, float(last))
    if worst > TOLERANCE * max(1.0, initial_capital, notional):
        raise ExecutionError(
            f"the ledger does not add up: equity and the sum of its parts differ by {worst:.6g} after {notional:,.0f}"
            " of trading; this is a bug, please report it with the manifest"
        )
