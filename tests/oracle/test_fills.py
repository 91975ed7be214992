"""Fills worked out by hand: every rule of docs/fills.md, each case through the engine and the reference simulator.

A case is a handful of bars. Unless it says otherwise: capital 1,000, one unit a trade, no costs, no steps, and the
decision at the close of bar 0 fills at the open of bar 1.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import pytest

from grodtd.domain.bars import US_PER_S, Bars, timeframe_s
from grodtd.domain.errors import DataError, ExecutionError, StrategyError
from grodtd.domain.market import Account, Costs, Instrument, Limits, Market, Rules, Sizing
from grodtd.domain.run import COUNTERS, ExitReason, RunResult
from grodtd.domain.strategy import Bracket
from grodtd.execution.fills import fill_orders
from tests.reference.simulator import simulate

STOP_LOSS, TAKE_PROFIT, TRAIL = ExitReason.STOP_LOSS, ExitReason.TAKE_PROFIT, ExitReason.TRAIL
SIGNAL, REVERSE = ExitReason.SIGNAL, ExitReason.REVERSE
LIQUIDATION, END_OF_DATA = ExitReason.LIQUIDATION, ExitReason.END_OF_DATA

NONE = float("nan")
MINUTE_US = 60_000_000
FREE, ONE_UNIT, AT_ONCE, UNLIMITED = Costs(), Sizing(mode="fixed_qty"), Rules(), Limits()
SIDES = {"+": 1, "-": -1, ".": 0}

Row = tuple[float, ...]
Engine = Callable[..., RunResult]


class T(NamedTuple):
    """One expected trade."""

    decision: int
    entry: int
    exit: int
    side: int
    entry_price: float
    exit_price: float
    reason: ExitReason
    qty: float = 1.0
    pnl: float | None = None
    ambiguous: bool = False
    capped: bool = False


@dataclass(frozen=True)
class Case:
    """Bars (open, high, low, close and, if not 1, volume), one side a bar, distances, and what must come of it."""

    name: str
    bars: tuple[Row, ...]
    side: str
    trades: tuple[T, ...] = ()
    stop: float | tuple[float, ...] = NONE
    target: float | tuple[float, ...] = NONE
    trail: float | tuple[float, ...] = NONE
    break_even: float | tuple[float, ...] = NONE
    limit: float | tuple[float, ...] = NONE
    max_bars: float | tuple[float, ...] = NONE
    gate: tuple[int, ...] | None = None
    funding: tuple[float, ...] | None = None
    fine: tuple[Row, ...] | None = None  # two finer bars a bar
    limits: Limits = UNLIMITED
    leverage: float = 1.0
    maintenance: float = 0.0
    market: Market = "spot"
    start: int = 0  # minutes after midnight
    costs: Costs = FREE
    sizing: Sizing = ONE_UNIT
    rules: Rules = AT_ONCE
    tick: str | None = None
    lot: str | None = None
    min_notional: float = 0.0
    capital: float = 1_000.0
    counters: Mapping[str, int] = field(default_factory=dict)
    stopped: tuple[int, str] | None = None
    equity: tuple[float, ...] | None = None
    held: str | None = None

    @property
    def account(self) -> Account:
        instrument = Instrument(
            "hand",
            "CASE",
            tick=self.tick,
            lot=self.lot,
            min_notional=self.min_notional,
            market=self.market,
            maintenance_margin=self.maintenance,
        )
        return Account(instrument, self.costs, self.sizing, self.rules, self.capital, self.limits, self.leverage)


def bars_of(rows: tuple[Row, ...], start: int = 0, timeframe: str = "1m") -> Bars:
    open_, high, low, close, volume = np.array([(*row, 1.0)[:5] for row in rows]).reshape(-1, 5).T
    time = start * MINUTE_US + np.arange(len(rows)) * timeframe_s(timeframe) * US_PER_S
    return Bars(time, open_, high, low, close, volume, venue="hand", symbol="CASE", timeframe=timeframe)


def run(engine: Engine, case: Case) -> RunResult:
    side = np.array([SIDES[letter] for letter in case.side], dtype=np.int8)
    bracket = np.stack([np.broadcast_to(getattr(case, name), side.shape) for name in Bracket._fields])
    given = {
        "gate": None if case.gate is None else np.array(case.gate, dtype=np.int8),
        "funding": None if case.funding is None else np.array(case.funding),
        "fine": None if case.fine is None else bars_of(case.fine, case.start, "30s"),
    }
    return engine(bars_of(case.bars, case.start), side, bracket.astype(float), case.account, **given)


FLAT: Row = (100, 100, 100, 100)
DEAD: Row = (100, 100, 100, 100, 0)
AT_99: Row = (99, 99, 99, 99)
STOPPED: Row = (100, 100, 97, 99)  # trades down through a stop at 98

SLIP = Costs(slippage_bps=10)
FEES = Costs(taker_bps=20, maker_bps=-10)  # 0.2 % to take, 0.1 % rebate to make
RISK_1 = Sizing(mode="risk", risk=0.01)
ALL_IN = Sizing(mode="all_in_whole")
EDGE = Rules(reentry="edge")


def units(qty: float) -> Sizing:
    return Sizing(mode="fixed_qty", qty=qty)


def fraction(part: float, *, compound: bool = True) -> Sizing:
    return Sizing(mode="fraction", fraction=part, compound=compound)


# The "required" column of QUANT_SPEC 5.1: long from 100, stop 98, target 102.
REQUIRED = (
    Case(
        "both levels inside the bar: the stop",
        (FLAT, FLAT, (100, 103, 97, 101), FLAT),
        "++..",
        (T(0, 1, 2, 1, 100, 98, STOP_LOSS, pnl=-2, ambiguous=True),),
        stop=2,
        target=2,
    ),
    Case(
        # Bought at 100 * 1.001 = 100.1, stop at 100.1 - 2.1 = 98; sold at 95 * 0.999 = 94.905.
        "open below the stop: the open, with slippage",
        (FLAT, FLAT, (95, 96, 94, 95), FLAT),
        "++..",
        (T(0, 1, 2, 1, 100.1, 94.905, STOP_LOSS, pnl=-5.195),),
        stop=2.1,
        costs=SLIP,
    ),
    Case(
        # 98 * 0.999 = 97.902
        "stop without a gap: the stop, with slippage",
        (FLAT, FLAT, (100, 101, 97, 99), FLAT),
        "++..",
        (T(0, 1, 2, 1, 100.1, 97.902, STOP_LOSS, pnl=-2.198),),
        stop=2.1,
        costs=SLIP,
    ),
    Case(
        "stopped in the entry bar",
        (FLAT, (100, 100, 90, 95), FLAT),
        "+..",
        (T(0, 1, 1, 1, 100, 98, STOP_LOSS),),
        stop=2,
        equity=(1000, 998, 998),
        held="010",
    ),
    Case(
        "exit signal at the open comes before a stop later in the bar",
        (FLAT, FLAT, (101, 101, 97, 97), FLAT),
        "+...",
        (T(0, 1, 2, 1, 100, 101, SIGNAL),),
        stop=2,
        held="0100",
    ),
    Case(
        "open beyond the target: the target",
        (FLAT, FLAT, (105, 106, 104, 105), FLAT),
        "++..",
        (T(0, 1, 2, 1, 100, 102, TAKE_PROFIT),),
        target=2,
    ),
    Case(
        "0.3 in lots of 0.1", (FLAT,) * 3, "+..", (T(0, 1, 2, 1, 100, 100, SIGNAL, 0.3),), sizing=units(0.3), lot="0.1"
    ),
    Case(
        "0.0003 in lots of 0.0001",
        (FLAT,) * 3,
        "+..",
        (T(0, 1, 2, 1, 100, 100, SIGNAL, 0.0003),),
        sizing=units(0.0003),
        lot="0.0001",
    ),
    Case(
        # -2 gross, 100 * 0.0005 = 0.05 and 98 * 0.0005 = 0.049 fees
        "buy 100, stopped at 98 in the entry bar, fee 0.05 %: net -2.099",
        (FLAT, (100, 100, 97, 99), FLAT),
        "+..",
        (T(0, 1, 1, 1, 100, 98, STOP_LOSS, pnl=-2.099),),
        stop=2,
        costs=Costs(taker_bps=5),
    ),
)

DECISIONS = (
    Case(
        "the same side again changes nothing: the bracket is that of the entry",
        (FLAT, FLAT, (100, 100, 95, 100), (100, 100, 90, 95), FLAT),
        "+++..",
        (T(0, 1, 3, 1, 100, 90, STOP_LOSS),),
        stop=(10, 1, 1, 1, 1),
    ),
    Case(
        "the other side: out and in at the same open",
        (FLAT, FLAT, (110,) * 4, (120,) * 4),
        "+-..",
        (T(0, 1, 2, 1, 100, 110, REVERSE, pnl=10), T(1, 2, 3, -1, 110, 120, SIGNAL, pnl=-10)),
        equity=(1000, 1000, 1010, 1000),
        held="0110",
    ),
    Case(
        "two bars of latency: close 0 fills at open 3",
        (FLAT, (101,) * 4, (102,) * 4, (103,) * 4, (104,) * 4),
        "+....",
        (T(0, 3, 4, 1, 103, 104, SIGNAL),),
        rules=Rules(latency_bars=2),
    ),
    Case("a decision at the last close fills nowhere", (FLAT,) * 3, "..+"),
    Case(
        "an entry on the last bar is closed at its close",
        (FLAT, FLAT, (100, 105, 95, 104)),
        ".+.",
        (T(1, 2, 2, 1, 100, 104, END_OF_DATA, pnl=4),),
        held="001",
    ),
    Case(
        "long only: short means flat",
        (FLAT, FLAT, (110,) * 4, (120,) * 4),
        "+-..",
        (T(0, 1, 2, 1, 100, 110, SIGNAL),),
        rules=Rules(direction="long_only"),
    ),
    Case(
        "short only: long means flat",
        (FLAT, FLAT, (110,) * 4, (120,) * 4),
        "+-..",
        (T(1, 2, 3, -1, 110, 120, SIGNAL),),
        rules=Rules(direction="short_only"),
    ),
)

REENTRY = (
    Case(
        "immediate: a level still true after the stop goes in again",
        (FLAT, FLAT, STOPPED, AT_99, AT_99),
        "+++..",
        (T(0, 1, 2, 1, 100, 98, STOP_LOSS), T(2, 3, 4, 1, 99, 99, SIGNAL)),
        stop=2,
    ),
    Case(
        # Stopped in bar 3. Open 4 brings the decision of close 2, made before the stop; open 5 that of close 3.
        "immediate with latency: the decision must be made since the stop",
        (FLAT, FLAT, FLAT, STOPPED, AT_99, AT_99, AT_99),
        "++++...",
        (T(0, 2, 3, 1, 100, 98, STOP_LOSS), T(3, 5, 6, 1, 99, 99, SIGNAL)),
        stop=2,
        rules=Rules(latency_bars=1),
    ),
    Case(
        "edge: a level that never changed stays out",
        (FLAT, FLAT, STOPPED, AT_99, AT_99),
        "+++++",
        (T(0, 1, 2, 1, 100, 98, STOP_LOSS),),
        stop=2,
        rules=EDGE,
    ),
    Case(
        "edge: flat and then long again goes in",
        (FLAT, FLAT, STOPPED, *(AT_99,) * 5),
        "++++.+..",
        (T(0, 1, 2, 1, 100, 98, STOP_LOSS), T(5, 6, 7, 1, 99, 99, SIGNAL)),
        stop=2,
        rules=EDGE,
    ),
    Case(
        # Flat at close 4 allowed the second entry; the stop of bar 7 asks for a change of its own.
        "edge: each stop needs its own change",
        (FLAT, FLAT, STOPPED, *(AT_99,) * 4, (99, 99, 96, 97), (97,) * 4, (97,) * 4),
        "++++.+++++",
        (T(0, 1, 2, 1, 100, 98, STOP_LOSS), T(5, 6, 7, 1, 99, 97, STOP_LOSS)),
        stop=2,
        rules=EDGE,
    ),
    Case(
        # Latency 1: in at open 2, stopped in bar 2. The flat decision at close 1 came before that.
        "edge: a change before the stop does not count",
        (FLAT, FLAT, STOPPED, *(AT_99,) * 4),
        "+.+++++",
        (T(0, 2, 2, 1, 100, 98, STOP_LOSS),),
        stop=2,
        rules=Rules(latency_bars=1, reentry="edge"),
    ),
    Case(
        "edge under long only: a short decision is flat, which is a change",
        (FLAT, FLAT, STOPPED, *(AT_99,) * 4),
        "+++-+..",
        (T(0, 1, 2, 1, 100, 98, STOP_LOSS), T(4, 5, 6, 1, 99, 99, SIGNAL)),
        stop=2,
        rules=Rules(direction="long_only", reentry="edge"),
    ),
    Case(
        "edge: the other side is free at once",
        (FLAT, FLAT, STOPPED, AT_99, AT_99),
        "++-..",
        (T(0, 1, 2, 1, 100, 98, STOP_LOSS), T(2, 3, 4, -1, 99, 99, SIGNAL)),
        stop=2,
        rules=EDGE,
    ),
    Case(
        "edge: an exit by signal restricts nothing",
        (FLAT, FLAT, AT_99, FLAT, AT_99),
        "+.+..",
        (T(0, 1, 2, 1, 100, 99, SIGNAL), T(2, 3, 4, 1, 100, 99, SIGNAL)),
        rules=EDGE,
    ),
    Case(
        # The decision of close 1 was made while long; that of close 2 was not.
        "gapped out at the open: the pending same side does not go in again there",
        (FLAT, FLAT, (95, 96, 94, 95), (95,) * 4, (95,) * 4),
        "+++..",
        (T(0, 1, 2, 1, 100, 95, STOP_LOSS), T(2, 3, 4, 1, 95, 95, SIGNAL)),
        stop=2,
        held="01010",
    ),
    Case(
        "gapped out at the open: the pending other side goes in there",
        (FLAT, FLAT, (95, 96, 94, 95), (95,) * 4),
        "+-..",
        (T(0, 1, 2, 1, 100, 95, STOP_LOSS), T(1, 2, 3, -1, 95, 95, SIGNAL)),
        stop=2,
    ),
    Case(
        # Short at 105 with its own target at 103.
        "taken at the target before the open: the pending other side goes in at the open",
        (FLAT, FLAT, (105, 106, 104, 105), (105,) * 4),
        "+-..",
        (T(0, 1, 2, 1, 100, 102, TAKE_PROFIT), T(1, 2, 3, -1, 105, 105, SIGNAL)),
        target=2,
    ),
)

LEVELS = (
    Case(
        "open exactly at the stop: out at the open, whatever the high does later",
        (FLAT, FLAT, (98, 103, 97, 98), FLAT),
        "++..",
        (T(0, 1, 2, 1, 100, 98, STOP_LOSS),),
        stop=2,
        target=2,
    ),
    Case(
        "low exactly at the stop",
        (FLAT, FLAT, (100, 101, 98, 100), FLAT),
        "++..",
        (T(0, 1, 2, 1, 100, 98, STOP_LOSS),),
        stop=2,
    ),
    Case(
        "low just above the stop",
        (FLAT, FLAT, (100, 101, 98.01, 100), FLAT),
        "++..",
        (T(0, 1, 3, 1, 100, 100, SIGNAL),),
        stop=2,
    ),
    Case(
        # Sold at 99.9, stop 99.9 + 2.1 = 102; bought back at 105 * 1.001 = 105.105.
        "short, open above the stop",
        (FLAT, FLAT, (105, 106, 104, 105), FLAT),
        "--..",
        (T(0, 1, 2, -1, 99.9, 105.105, STOP_LOSS, pnl=-5.205),),
        stop=2.1,
        costs=SLIP,
    ),
    Case(
        # 102 * 1.001 = 102.102
        "short, stop without a gap",
        (FLAT, FLAT, (100, 103, 100, 101), FLAT),
        "--..",
        (T(0, 1, 2, -1, 99.9, 102.102, STOP_LOSS, pnl=-2.202),),
        stop=2.1,
        costs=SLIP,
    ),
    Case(
        "a stop below zero is never hit",
        (FLAT, FLAT, (100, 100, 1, 1)),
        "++.",
        (T(0, 1, 2, 1, 100, 1, END_OF_DATA),),
        stop=150,
    ),
    Case(
        "zero and negative distances are absent",
        (FLAT, FLAT, (100, 200, 1, 100), FLAT),
        "++..",
        (T(0, 1, 3, 1, 100, 100, SIGNAL),),
        stop=0,
        target=-1,
        trail=0,
    ),
    Case(
        "high exactly at the target is no fill",
        (FLAT, FLAT, (100, 102, 100, 101), FLAT),
        "++..",
        (T(0, 1, 3, 1, 100, 100, SIGNAL),),
        target=2,
    ),
    Case(
        "open exactly at the target is no fill",
        (FLAT, FLAT, (102, 102, 101, 101), FLAT),
        "++..",
        (T(0, 1, 3, 1, 100, 100, SIGNAL),),
        target=2,
    ),
    Case(
        "high beyond the target",
        (FLAT, FLAT, (100, 102.01, 100, 101), FLAT),
        "++..",
        (T(0, 1, 2, 1, 100, 102, TAKE_PROFIT),),
        target=2,
    ),
    Case(
        "with a tick of 1, half a tick beyond the target is no fill",
        (FLAT, FLAT, (100, 102.5, 100, 101), FLAT),
        "++..",
        (T(0, 1, 3, 1, 100, 100, SIGNAL),),
        target=2,
        tick="1",
    ),
    Case(
        "with a tick of 1, one tick beyond the target fills",
        (FLAT, FLAT, (100, 103, 100, 101), FLAT),
        "++..",
        (T(0, 1, 2, 1, 100, 102, TAKE_PROFIT),),
        target=2,
        tick="1",
    ),
    Case(
        "with a tick of 1, an open one tick beyond the target fills at the target",
        (FLAT, FLAT, (103, 103, 103, 103), FLAT),
        "++..",
        (T(0, 1, 2, 1, 100, 102, TAKE_PROFIT),),
        target=2,
        tick="1",
    ),
    Case(
        # As floats 140000.02 - 140000.01 is 0.00999999998; it is one tick all the same.
        "one tick beyond the target at a high price",
        ((140000,) * 4, (140000,) * 4, (140000, 140000.02, 140000, 140000), (140000,) * 4),
        "++..",
        (T(0, 1, 2, 1, 140000, 140000.01, TAKE_PROFIT),),
        target=0.01,
        tick="0.01",
        capital=1e6,
    ),
    Case(
        "short target: low beyond it",
        (FLAT, FLAT, (100, 100, 97.9, 99), FLAT),
        "--..",
        (T(0, 1, 2, -1, 100, 98, TAKE_PROFIT),),
        target=2,
    ),
    Case(
        "short target: low exactly at it is no fill",
        (FLAT, FLAT, (100, 100, 98, 99), FLAT),
        "--..",
        (T(0, 1, 3, -1, 100, 100, SIGNAL),),
        target=2,
    ),
    Case(
        "short target: open beyond it",
        (FLAT, FLAT, (95, 96, 94, 95), FLAT),
        "--..",
        (T(0, 1, 2, -1, 100, 98, TAKE_PROFIT),),
        target=2,
    ),
    Case(
        # Bought at 100.1; the limit is 102.1 and slips nothing.
        "a target slips nothing",
        (FLAT, FLAT, (100, 103, 100, 101), FLAT),
        "++..",
        (T(0, 1, 2, 1, 100.1, 102.1, TAKE_PROFIT, pnl=2),),
        target=2,
        costs=SLIP,
    ),
    Case(
        # +2, entry fee 100 * 0.002 = 0.2, exit rebate 102 * 0.001 = 0.102
        "a target earns the rebate",
        (FLAT, FLAT, (100, 103, 100, 101), FLAT),
        "++..",
        (T(0, 1, 2, 1, 100, 102, TAKE_PROFIT, pnl=1.902),),
        target=2,
        costs=FEES,
    ),
    Case(
        "short, both levels inside the bar: the stop",
        (FLAT, FLAT, (100, 103, 97, 101), FLAT),
        "--..",
        (T(0, 1, 2, -1, 100, 102, STOP_LOSS, ambiguous=True),),
        stop=2,
        target=2,
    ),
    Case(
        "both levels inside the entry bar: the stop",
        (FLAT, (100, 103, 97, 101), FLAT),
        "+..",
        (T(0, 1, 1, 1, 100, 98, STOP_LOSS, ambiguous=True),),
        stop=2,
        target=2,
    ),
    Case(
        "target hit in the entry bar",
        (FLAT, (100, 103, 99, 101), FLAT),
        "+..",
        (T(0, 1, 1, 1, 100, 102, TAKE_PROFIT),),
        stop=2,
        target=2,
    ),
    Case(
        # Bought at 100.1, stop at 100.05: the market at 100 is already beyond it. Sold at 100 * 0.999.
        "a stop tighter than the entry slippage is hit at the open",
        (FLAT, FLAT, FLAT),
        "+..",
        (T(0, 1, 1, 1, 100.1, 99.9, STOP_LOSS, pnl=-0.2),),
        stop=0.05,
        costs=SLIP,
    ),
)

TRAILING = (
    Case(
        # Bar 1: extreme 100, level 95. Bar 2: extreme 110, level 105 < low 106. Bar 3: extreme 112, level 107.
        "the extreme up to the previous bar counts",
        (FLAT, (100, 110, 100, 108), (108, 112, 106, 107), (108, 108, 101, 102), FLAT),
        "+++..",
        (T(0, 1, 3, 1, 100, 107, TRAIL),),
        trail=5,
    ),
    Case(
        "the level never falls: a lower high changes nothing",
        (FLAT, (100, 110, 100, 108), (106, 107, 106, 106), (106, 106, 104, 104), FLAT),
        "+++..",
        (T(0, 1, 3, 1, 100, 105, TRAIL),),
        trail=5,
    ),
    Case(
        "open below the trail: the open",
        (FLAT, (100, 110, 100, 108), (103, 104, 101, 102), FLAT),
        "++..",
        (T(0, 1, 2, 1, 100, 103, TRAIL),),
        trail=5,
    ),
    Case(
        # Short: extreme 90, level 95.
        "short: the extreme is the low",
        (FLAT, (100, 100, 90, 92), (92, 96, 92, 96), FLAT),
        "--..",
        (T(0, 1, 2, -1, 100, 95, TRAIL),),
        trail=5,
    ),
    Case(
        # The dead bar's high of 120 never traded: the level stays 105.
        "a bar without volume moves no extreme",
        (FLAT, (100, 110, 100, 108), (108, 120, 106, 107, 0), (108, 108, 104, 105), FLAT),
        "+++..",
        (T(0, 1, 3, 1, 100, 105, TRAIL),),
        trail=5,
    ),
    Case(
        "the stop is nearer: stop loss",
        (FLAT, FLAT, (100, 100, 94, 95), FLAT),
        "++..",
        (T(0, 1, 2, 1, 100, 97, STOP_LOSS),),
        stop=3,
        trail=5,
    ),
    Case(
        "the trail is nearer: trail",
        (FLAT, FLAT, (100, 100, 90, 95), FLAT),
        "++..",
        (T(0, 1, 2, 1, 100, 95, TRAIL),),
        stop=8,
        trail=5,
    ),
    Case(
        "equal levels: stop loss",
        (FLAT, FLAT, (100, 100, 90, 95), FLAT),
        "++..",
        (T(0, 1, 2, 1, 100, 95, STOP_LOSS),),
        stop=5,
        trail=5,
    ),
)

# Tick 0.5 and slippage 0.1 %: 100 buys at 100.1 -> 100.5 and sells at 99.9 -> 99.5.
STEPS = (
    Case(
        # Stop 100.5 - 2.3 = 98.2 -> 98; sold at 98 * 0.999 = 97.902 -> 97.5.
        "long: fills against us, the stop down",
        (FLAT, FLAT, (100, 100, 97, 97), FLAT),
        "++..",
        (T(0, 1, 2, 1, 100.5, 97.5, STOP_LOSS),),
        stop=2.3,
        costs=SLIP,
        tick="0.5",
    ),
    Case(
        # Target 100.5 + 2.3 = 102.8 -> 102.5, filled from 103 on.
        "long: the target down",
        (FLAT, FLAT, (100, 103, 100, 101), FLAT),
        "++..",
        (T(0, 1, 2, 1, 100.5, 102.5, TAKE_PROFIT),),
        target=2.3,
        costs=SLIP,
        tick="0.5",
    ),
    Case(
        # Stop 99.5 + 2.3 = 101.8 -> 102; bought at 102 * 1.001 = 102.102 -> 102.5.
        "short: fills against us, the stop up",
        (FLAT, FLAT, (100, 103, 100, 101), FLAT),
        "--..",
        (T(0, 1, 2, -1, 99.5, 102.5, STOP_LOSS),),
        stop=2.3,
        costs=SLIP,
        tick="0.5",
    ),
    Case(
        # Target 99.5 - 2.3 = 97.2 -> 97.5, filled from 97 on.
        "short: the target up",
        (FLAT, FLAT, (100, 100, 97, 98), FLAT),
        "--..",
        (T(0, 1, 2, -1, 99.5, 97.5, TAKE_PROFIT),),
        target=2.3,
        costs=SLIP,
        tick="0.5",
    ),
    Case(
        # Extreme 101, level 101 - 2.3 = 98.7 -> 98.5.
        "the trail level is rounded like a stop",
        (FLAT, (100, 101, 100, 101), (100, 100, 98.5, 99), FLAT),
        "++..",
        (T(0, 1, 2, 1, 100, 98.5, TRAIL),),
        trail=2.3,
        tick="0.5",
    ),
    Case(
        # 1.1 / 0.1 is 11.000000000000002 as floats; rounded up without care it would be 1.2.
        "a price on the tick stays there",
        ((1.1,) * 4,) * 3,
        "+..",
        (T(0, 1, 2, 1, 1.1, 1.1, SIGNAL),),
        tick="0.1",
    ),
    Case("lots round down", (FLAT,) * 3, "+..", (T(0, 1, 2, 1, 100, 100, SIGNAL, 0.3),), sizing=units(0.39), lot="0.1"),
    Case(
        # 0.05 * 100 = 5 < 10 at opens 1 and 2
        "too small a notional is refused at every try, and ends the run",
        (FLAT,) * 4,
        "++..",
        sizing=units(0.05),
        min_notional=10,
        counters={"rejected_min_notional": 2},
        stopped=(1, "min_notional"),
    ),
    Case(
        "the smallest notional itself is enough",
        (FLAT,) * 3,
        "+..",
        (T(0, 1, 2, 1, 100, 100, SIGNAL, 0.1),),
        sizing=units(0.1),
        min_notional=10,
    ),
    Case(
        "a size below one lot is too small",
        (FLAT,) * 3,
        "+..",
        sizing=units(0.09),
        lot="0.1",
        counters={"rejected_min_notional": 1},
        stopped=(1, "min_notional"),
    ),
)

SIZES = (
    Case(
        "risk: 1 % of 1,000 over a stop of 2",
        (FLAT,) * 3,
        "+..",
        (T(0, 1, 2, 1, 100, 100, SIGNAL, 5),),
        stop=2,
        sizing=RISK_1,
    ),
    Case(
        "risk: the cap binds, 10 / 0.5 = 20 > 1,000 / 100",
        (FLAT,) * 3,
        "+..",
        (T(0, 1, 2, 1, 100, 100, SIGNAL, 10, capped=True),),
        stop=0.5,
        sizing=RISK_1,
    ),
    Case(
        "risk: equal terms are not capped",
        (FLAT,) * 3,
        "+..",
        (T(0, 1, 2, 1, 100, 100, SIGNAL, 10),),
        stop=1,
        sizing=RISK_1,
    ),
    Case("risk: no stop, no trade", (FLAT,) * 3, "+..", trail=2, sizing=RISK_1, counters={"rejected_no_stop": 1}),
    Case("risk: a stop of zero, no trade", (FLAT,) * 3, "+..", stop=0, sizing=RISK_1, counters={"rejected_no_stop": 1}),
    Case(
        "risk: a stop below one tick, no trade",
        (FLAT,) * 3,
        "+..",
        stop=0.5,
        sizing=RISK_1,
        tick="1",
        counters={"rejected_no_stop": 1},
    ),
    Case(
        "risk: a stop of one tick is one",
        (FLAT,) * 3,
        "+..",
        (T(0, 1, 2, 1, 100, 100, SIGNAL, 10),),
        stop=1,
        sizing=RISK_1,
        tick="1",
    ),
    Case(
        # Decided at close 0: 0.5 * 1,000 / 100 = 5 units, though the open is 110.
        "fraction: the price is the decision close",
        (FLAT, (110,) * 4, (110,) * 4),
        "+..",
        (T(0, 1, 2, 1, 110, 110, SIGNAL, 5),),
        sizing=fraction(0.5),
    ),
    Case(
        # Long 5 at 100. Close 1 is 120: equity 1,100, so the short is 0.5 * 1,100 / 120 = 4.58333.
        # Out at 110 (+50), short to 100: 4.58333 * 10.
        "reversal: sized from equity marked at the decision close",
        (FLAT, (100, 120, 100, 120), (110,) * 4, FLAT),
        "+-..",
        (T(0, 1, 2, 1, 100, 110, REVERSE, 5, 50), T(1, 2, 3, -1, 110, 100, SIGNAL, 550 / 120, 5500 / 120)),
        sizing=fraction(0.5),
        equity=(1000, 1100, 1050, 1050 + 5500 / 120),
    ),
    Case(
        # 0.5 * 1,000 / 120 = 4.16667
        "not compounding: sized from the initial capital",
        (FLAT, (100, 120, 100, 120), (110,) * 4, FLAT),
        "+-..",
        (T(0, 1, 2, 1, 100, 110, REVERSE, 5), T(1, 2, 3, -1, 110, 100, SIGNAL, 500 / 120)),
        sizing=fraction(0.5, compound=False),
    ),
    Case("exactly the cash is enough", (FLAT,) * 3, "+..", (T(0, 1, 2, 1, 100, 100, SIGNAL, 10),), sizing=fraction(1)),
    Case(
        # 10 units cost 1,100 at the open; 1,000 / 110 = 9.0909
        "a gap up before the fill: reduced to cash",
        (FLAT, (110,) * 4, (110,) * 4),
        "+..",
        (T(0, 1, 2, 1, 110, 110, SIGNAL, 1000 / 110),),
        sizing=fraction(1),
        counters={"reduced_to_cash": 1},
    ),
    Case(
        # 1,000 / (100 * 1.01) = 9.90 -> 9 whole lots; fees 9 + 9
        "reduced to cash: the fee counts, then the lot",
        (FLAT,) * 3,
        "+..",
        (T(0, 1, 2, 1, 100, 100, SIGNAL, 9, -18),),
        sizing=units(20),
        lot="1",
        costs=Costs(taker_bps=100),
        counters={"reduced_to_cash": 1},
    ),
    Case(
        "a short needs the same cash as collateral",
        (FLAT,) * 3,
        "-..",
        (T(0, 1, 2, -1, 100, 100, SIGNAL, 10),),
        sizing=units(20),
        counters={"reduced_to_cash": 1},
    ),
    Case(
        # Cash buys 10 units, less than one lot of 20.
        "reduced to less than a lot: too small",
        (FLAT,) * 3,
        "+..",
        sizing=units(20),
        lot="20",
        counters={"reduced_to_cash": 1, "rejected_min_notional": 1},
        stopped=(1, "min_notional"),
    ),
    Case(
        # floor(1,000 / 100.2) = 9, fees 9 * 100 * 0.002 = 1.8 each way
        "all in, whole units, fee included",
        (FLAT,) * 3,
        "+..",
        (T(0, 1, 2, 1, 100, 100, SIGNAL, 9, -3.6),),
        sizing=ALL_IN,
        costs=FEES,
    ),
    Case(
        # 10 at 100 leave 50; 10 at 40 bring 450; floor(450 / 40) = 11 short, -110 at 50.
        "all in: a reversal is sized after the close",
        (FLAT, FLAT, (40,) * 4, (50,) * 4),
        "+-..",
        (T(0, 1, 2, 1, 100, 40, REVERSE, 10, -600), T(1, 2, 3, -1, 40, 50, SIGNAL, 11, -110)),
        sizing=ALL_IN,
        capital=1050,
        equity=(1050, 1050, 450, 340),
    ),
    Case(
        "all in: not even one unit",
        (FLAT,) * 3,
        "+..",
        sizing=ALL_IN,
        capital=99,
        counters={"rejected_min_notional": 1},
        stopped=(1, "min_notional"),
    ),
)

VOLUME = (
    Case(
        # Size and bracket of close 0: 10 / 2 = 5 units; close 2 would say 10 / 9.
        "an entry waits for volume with its decision bar",
        (FLAT, DEAD, DEAD, FLAT, FLAT),
        "+++..",
        (T(0, 3, 4, 1, 100, 100, SIGNAL, 5),),
        stop=(2, 9, 9, 9, 9),
        sizing=RISK_1,
        counters={"waited_for_volume": 1},
        held="00010",
    ),
    Case(
        "the other side replaces a waiting entry",
        (FLAT, DEAD, FLAT, FLAT),
        "+-..",
        (T(1, 2, 3, -1, 100, 100, SIGNAL),),
    ),
    Case(
        "flat cancels a waiting entry; the next one is new",
        (FLAT, DEAD, DEAD, FLAT, FLAT),
        "+.+..",
        (T(2, 3, 4, 1, 100, 100, SIGNAL),),
    ),
    Case(
        "the other side cancels a waiting entry; the next one is new",
        (FLAT, DEAD, DEAD, FLAT, FLAT),
        "+-+..",
        (T(2, 3, 4, 1, 100, 100, SIGNAL),),
    ),
    Case(
        "an entry that waited and is refused is counted as both",
        (FLAT, DEAD, FLAT, FLAT),
        "++..",
        sizing=RISK_1,
        counters={"waited_for_volume": 1, "rejected_no_stop": 1},
    ),
    Case(
        # Latency 1, stopped in bar 3. Close 2 may not re-enter, so nothing waits in bar 4; close 3 may, and waits in 5.
        "an entry that is not allowed does not wait",
        (FLAT, FLAT, FLAT, STOPPED, (*AT_99, 0), (*AT_99, 0), AT_99, AT_99),
        "+++++...",
        (T(0, 2, 3, 1, 100, 98, STOP_LOSS), T(3, 6, 7, 1, 99, 99, SIGNAL)),
        stop=2,
        rules=Rules(latency_bars=1),
        counters={"waited_for_volume": 1},
    ),
    Case(
        "no stop without volume; then the open is beyond it",
        (FLAT, FLAT, (90, 90, 90, 90, 0), (95, 96, 94, 95), FLAT),
        "+++..",
        (T(0, 1, 3, 1, 100, 95, STOP_LOSS),),
        stop=2,
        equity=(1000, 1000, 990, 995, 995),
        held="01100",
    ),
    Case(
        "no target without volume",
        (FLAT, FLAT, (100, 110, 100, 100, 0), FLAT),
        "++..",
        (T(0, 1, 3, 1, 100, 100, SIGNAL),),
        target=2,
    ),
    Case(
        "an exit signal waits for volume",
        (FLAT, FLAT, DEAD, (99, 99, 98, 98)),
        "+...",
        (T(0, 1, 3, 1, 100, 99, SIGNAL),),
    ),
    Case(
        "a reversal held up by volume is no waiting entry: it takes its own decision bar",
        (FLAT, FLAT, DEAD, FLAT, FLAT),
        "+--..",
        (T(0, 1, 3, 1, 100, 100, REVERSE), T(2, 3, 4, -1, 100, 100, SIGNAL)),
    ),
    Case(
        "the end of the data closes without volume",
        (FLAT, FLAT, (105, 105, 105, 105, 0)),
        "++.",
        (T(0, 1, 2, 1, 100, 105, END_OF_DATA),),
        held="011",
    ),
)

MONEY = (
    Case(
        # In at 100.1, fee 0.2002; out at 110 * 0.999 = 109.89, fee 0.21978: 9.79 - 0.41998.
        "long with all costs to the end of the data",
        (FLAT, FLAT, (100, 110, 100, 110)),
        "++.",
        (T(0, 1, 2, 1, 100.1, 109.89, END_OF_DATA, pnl=9.37002),),
        costs=Costs(taker_bps=20, slippage_bps=6, half_spread_bps=4),
        # Marked at 100 after buying at 100.1 with a fee of 0.2002.
        equity=(1000, 999.6998, 1009.37002),
    ),
    Case(
        # In at 99.9, fee 0.1998; out at 90 * 1.001 = 90.09, fee 0.18018: 9.81 - 0.37998.
        "short with all costs to the end of the data",
        (FLAT, FLAT, (100, 100, 90, 90)),
        "--.",
        (T(0, 1, 2, -1, 99.9, 90.09, END_OF_DATA, pnl=9.43002),),
        costs=Costs(taker_bps=20, slippage_bps=6, half_spread_bps=4),
        equity=(1000, 999.7002, 1009.43002),
    ),
    Case(
        # 10 short at 100; at 200 nothing is left: 1,000 + 10 * (100 - 200) = 0.
        "ruin: liquidated at the close, and that is the end",
        (FLAT, FLAT, (100, 200, 100, 200), FLAT, FLAT),
        "---+-",
        (T(0, 1, 2, -1, 100, 200, LIQUIDATION, 10, -1000),),
        sizing=units(10),
        equity=(1000, 1000, 0, 0, 0),
        stopped=(2, "ruin"),
        held="01100",
    ),
    Case(
        "ruin below zero is floored at zero",
        (FLAT, FLAT, (100, 250, 100, 250), FLAT),
        "--..",
        (T(0, 1, 2, -1, 100, 250, LIQUIDATION, 10, -1500),),
        sizing=units(10),
        equity=(1000, 1000, 0, 0),
        stopped=(2, "ruin"),
    ),
    Case(
        # Stopped at the open of 300: -2,000 of 1,000. Flat, and ruined without a liquidation.
        "ruin through a gap over the stop",
        (FLAT, FLAT, (300, 300, 300, 300), FLAT),
        "--++",
        (T(0, 1, 2, -1, 100, 300, STOP_LOSS, 10, -2000),),
        stop=5,
        sizing=units(10),
        equity=(1000, 1000, 0, 0),
        stopped=(2, "ruin"),
    ),
    Case(
        "ruin on the last bar: the reason is the end of the data",
        (FLAT, FLAT, (100, 250, 100, 250)),
        "--.",
        (T(0, 1, 2, -1, 100, 250, END_OF_DATA, 10, -1500),),
        sizing=units(10),
        equity=(1000, 1000, 0),
        stopped=(2, "ruin"),
    ),
    Case(
        # Closing the short at 250 leaves 1,000 - 1,500 = -500: nothing to buy with, ruin at the mark.
        "a reversal after a loss of everything finds no cash",
        (FLAT, FLAT, (250, 250, 250, 250), FLAT),
        "-+++",
        (T(0, 1, 2, -1, 100, 250, REVERSE, 10, -1500),),
        sizing=units(10),
        counters={"reduced_to_cash": 1, "rejected_no_cash": 1},
        equity=(1000, 1000, 0, 0),
        stopped=(2, "ruin"),
    ),
    Case(
        # One unit is worth 100 at first, then 90: below the smallest notional from open 3 to the end.
        "refusals to the end stop the run at the first of them",
        (FLAT, FLAT, (90,) * 4, (90,) * 4, (90,) * 4),
        "+.++.",
        (T(0, 1, 2, 1, 100, 90, SIGNAL),),
        min_notional=100,
        counters={"rejected_min_notional": 2},
        stopped=(3, "min_notional"),
    ),
    Case(
        "an entry after refusals: not stopped",
        (FLAT, (90,) * 4, FLAT, FLAT),
        "++..",
        (T(1, 2, 3, 1, 100, 100, SIGNAL),),
        min_notional=100,
        counters={"rejected_min_notional": 1},
    ),
    Case(
        # 5 units of 100 are below 600; close 1 has no stop, which is not a matter of money.
        "a refusal for want of a stop breaks the run of refusals",
        (FLAT,) * 4,
        "+++.",
        stop=(2, NONE, 2, 2),
        sizing=RISK_1,
        min_notional=600,
        counters={"rejected_min_notional": 2, "rejected_no_stop": 1},
        stopped=(3, "min_notional"),
    ),
)

CASES = (*REQUIRED, *DECISIONS, *REENTRY, *LEVELS, *TRAILING, *STEPS, *SIZES, *VOLUME, *MONEY)


@pytest.fixture(params=[fill_orders, simulate], ids=["engine", "reference"], name="engine")
def _engine(request: pytest.FixtureRequest) -> Engine:
    engine: Engine = request.param
    return engine


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_case(engine: Engine, case: Case) -> None:
    check(run(engine, case), case)


def check(result: RunResult, case: Case) -> None:
    """Compare a result with what a case says must come of it."""
    trades = result.trades
    assert len(trades) == len(case.trades)
    for i, expected in enumerate(case.trades):
        bars_and_reason = (trades.decision_bar[i], trades.entry_bar[i], trades.exit_bar[i], trades.exit_reason[i])
        assert bars_and_reason == (expected.decision, expected.entry, expected.exit, expected.reason)
        assert (trades.side[i], trades.ambiguous[i]) == (expected.side, expected.ambiguous)
        assert trades.capped[i] == expected.capped
        assert trades.entry_price[i] == pytest.approx(expected.entry_price, rel=1e-12)
        assert trades.exit_price[i] == pytest.approx(expected.exit_price, rel=1e-12)
        assert trades.qty[i] == pytest.approx(expected.qty, rel=1e-12)
        if expected.pnl is not None:
            assert trades.pnl[i] == pytest.approx(expected.pnl, rel=1e-9)
    assert dict(result.counters) == {
        **dict.fromkeys(COUNTERS, 0),
        "entries": len(case.trades),
        "ambiguous_exits": sum(trade.ambiguous for trade in case.trades),
        **case.counters,
    }
    assert result.stopped == case.stopped
    if case.equity is not None:
        np.testing.assert_allclose(result.equity, case.equity, rtol=1e-12)
    if case.held is not None:
        assert result.held.tolist() == [letter == "1" for letter in case.held]


def test_names_of_cases_are_unique() -> None:
    assert len(CASES) == len({case.name for case in CASES}) > 60


def test_every_column_of_a_trade(engine: Engine) -> None:
    # Tick 0.5, 0.1 % slippage: bought at 100.1 -> 100.5; fee 2 * 100.5 * 0.002 = 0.402.
    # Stop 98.2 -> 98, hit: sold at 97.902 -> 97.5; fee 2 * 97.5 * 0.002 = 0.39. Target 106.
    case = Case(
        "every column",
        (FLAT, FLAT, (100, 100, 97, 99), FLAT),
        "++..",
        stop=2.3,
        target=5.5,
        costs=Costs(taker_bps=20, slippage_bps=10),
        sizing=units(2),
        tick="0.5",
    )
    result = run(engine, case)
    trades = result.trades
    found = {name: column.tolist() for name, column in trades.columns()}
    assert found == {
        "decision_bar": [0],
        "entry_bar": [1],
        "exit_bar": [2],
        "side": [1],
        "qty": [2.0],
        "entry_ref": [100.0],
        "exit_ref": [98.0],
        "entry_price": [100.5],
        "exit_price": [97.5],
        "entry_fee": [pytest.approx(0.402)],
        "exit_fee": [pytest.approx(0.39)],
        "funding": [0.0],
        "borrow": [0.0],
        "stop": [98.0],
        "target": [106.0],
        "exit_reason": [STOP_LOSS],
        "ambiguous": [False],
        "capped": [False],
    }
    # 2 * (98 - 100), then 2 * (0.5 + 0.5) lost to slippage and rounding, then the fees
    assert trades.gross_pnl.tolist() == [-4.0]
    assert trades.slippage.tolist() == [2.0]
    assert trades.pnl.tolist() == [pytest.approx(-6.792)]
    assert result.qty.tolist() == [0, 2, 0, 0]


def test_absent_levels_are_nan_in_the_trade(engine: Engine) -> None:
    trades = run(engine, Case("trail only", (FLAT, FLAT, (100, 100, 94, 95)), "++.", trail=5)).trades
    assert trades.exit_reason.tolist() == [TRAIL]
    assert np.isnan([*trades.stop, *trades.target]).all()


def test_no_bars_no_trades(engine: Engine) -> None:
    result = run(engine, Case("nothing", (), ""))
    assert (len(result.trades), result.equity.size, result.stopped) == (0, 0, None)
    assert not any(result.counters.values())


def test_bars_refuse_a_price_outside_the_bar() -> None:
    with pytest.raises(DataError, match="low above its open"):
        bars_of(((50, 100, 100, 100),))


@pytest.mark.parametrize(
    ("column", "prices"),
    [("open", [100, 50, 100, 100]), ("open", [100, 100, 150, 100]), ("close", [100, 100, 100, 150])],
    ids=["entry", "exit", "end of data"],
)
def test_a_fill_outside_its_bar_is_an_error(engine: Engine, column: str, prices: list[float]) -> None:
    case = Case("outside", (FLAT,) * 4, "+.++")
    bars = bars_of(case.bars)
    object.__setattr__(bars, column, np.array(prices, dtype=float))  # past the check that bars make themselves
    with pytest.raises(ExecutionError, match="outside"):
        engine(bars, np.array([1, 0, 1, 1], dtype=np.int8), np.full((6, 4), np.nan), case.account)


@pytest.mark.parametrize(
    ("side", "bracket", "message"),
    [
        (np.zeros(2), np.zeros((6, 3)), r"for 3 bars found side \(2,\)"),
        (np.zeros(3), np.zeros((2, 3)), r"bracket \(2, 3\)"),
        (np.array([0, 2, 0]), np.zeros((6, 3)), "found 2 at bar 1"),
        (np.array([0, 0, -2]), np.zeros((6, 3)), "found -2 at bar 2"),
    ],
)
def test_malformed_decisions_are_refused(side: Any, bracket: Any, message: str) -> None:  # Any: wrong on purpose
    with pytest.raises(StrategyError, match=message):
        fill_orders(bars_of((FLAT,) * 3), side, bracket, Case("", (), "").account)
