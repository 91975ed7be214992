"""Runs and trades made by hand, for the tests of metrics."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from grodtd.domain.bars import Bars, Calendar, FloatArray, IntArray, timeframe_s
from grodtd.domain.market import Account, Instrument
from grodtd.domain.run import COUNTERS, ExitReason, Fills, Ledger, RunResult, Trades

HOUR_US = 3_600_000_000
DAY_US = 24 * HOUR_US


def trades_of(pnl: FloatArray, *, stop: float = 98.0, fee: float = 0.0, slippage: float = 0.0) -> Trades:
    """Long trades of one unit, bought at 100, one a bar, that net `pnl`; each fill costs `fee` and `slippage`."""
    n = pnl.size
    exit_price = 100.0 + pnl + 2 * fee
    return Trades(
        decision_bar=np.arange(n),
        entry_bar=np.arange(n) + 1,
        exit_bar=np.arange(n) + 1,
        side=np.ones(n, dtype=np.int8),
        qty=np.ones(n),
        entry_ref=np.full(n, 100.0 - slippage),
        exit_ref=exit_price + slippage,
        entry_price=np.full(n, 100.0),
        exit_price=exit_price,
        entry_fee=np.full(n, fee),
        exit_fee=np.full(n, fee),
        funding=np.zeros(n),
        borrow=np.zeros(n),
        stop=np.full(n, stop),
        target=np.full(n, math.nan),
        exit_reason=np.full(n, int(ExitReason.SIGNAL), dtype=np.int8),
        ambiguous=np.zeros(n, dtype=np.bool_),
        capped=np.zeros(n, dtype=np.bool_),
    )


def no_fills() -> Fills:
    """The fills of a run that was made up from its trades."""
    whole, short, real = np.empty(0, np.int64), np.empty(0, np.int8), np.empty(0)
    return Fills(whole, whole, short, real, real, real, real, real, real, short)


def run_of(
    equity: npt.NDArray[np.floating],
    *,
    start_us: int = 0,
    time: IntArray | None = None,
    pnl: FloatArray | None = None,
    made: Trades | None = None,
    capital: float = 100.0,
    timeframe: str = "1h",
    calendar: Calendar = "24x7",
) -> RunResult:
    """A run with this equity at the close of each bar; bars at a price of 100 without gaps, unless `time` is given."""
    n = equity.size
    price = np.full(n, 100.0)
    opened = start_us + np.arange(n) * timeframe_s(timeframe) * 1_000_000 if time is None else time
    bars = Bars(opened, price, price, price, price, np.ones(n), timeframe=timeframe, calendar=calendar)
    if made is None:
        made = trades_of(np.empty(0) if pnl is None else pnl)
    return RunResult(
        bars=bars,
        account=Account(Instrument("v", "s"), initial_capital=capital),
        equity=np.asarray(equity, dtype=np.float64),
        qty=np.zeros(n),
        held=np.zeros(n, dtype=np.bool_),
        trades=made,
        fills=no_fills(),
        ledger=Ledger(*(np.zeros(n) for _ in range(7))),
        counters=dict.fromkeys(COUNTERS, 0),
    )


def daily_run(returns: FloatArray) -> RunResult:
    """A run of daily bars, midnight to midnight, with these returns."""
    return run_of(100.0 * np.cumprod(1.0 + returns), timeframe="1d")
