"""Order rules worked out by hand: limits, time, session, loss limits, gate, volume, one-bar order, borrow, exposure.

Each case goes through the engine and the reference simulator, in the terms of `test_fills`: capital 1,000, one unit a
trade, no costs, no steps, and the decision at the close of bar 0 fills at the open of bar 1.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np
import pytest

from grodtd.domain.errors import ConfigError
from grodtd.domain.market import Account, Costs, Instrument, Limits, Rules
from grodtd.execution.fills import Leg, fill_orders, fill_portfolio
from tests.oracle.test_fills import (
    AT_99,
    DEAD,
    EDGE,
    END_OF_DATA,
    FEES,
    FLAT,
    LIQUIDATION,
    NONE,
    REVERSE,
    SIDES,
    SIGNAL,
    SLIP,
    STOP_LOSS,
    TAKE_PROFIT,
    TRAIL,
    Case,
    Engine,
    ExitReason,
    Row,
    T,
    bars_of,
    check,
    run,
    units,
)
from tests.reference.simulator import simulate, simulate_portfolio

TIME, EOD, RISK = ExitReason.TIME, ExitReason.EOD, ExitReason.RISK
TARGET_FIRST, PATH, DRILL = Rules(same_bar="target_first"), Rules(same_bar="ohlc_path"), Rules(same_bar="drilldown")


def at(price: float, volume: float = 1.0) -> Row:
    """A bar that stands at one price."""
    return (price, price, price, price, volume)


# A limit 2 below (above) the close of 100 rests at 98 (102) in bar 1.
LIMITS = (
    Case("limit: a low exactly at it is no fill", (FLAT, (100, 100, 98, 99), FLAT), "+..", limit=2),
    Case("limit: an open exactly at it is no fill", (FLAT, (98, 99, 98, 99), FLAT), "+..", limit=2),
    Case("limit: a short's high exactly at it is no fill", (FLAT, (100, 102, 100, 101), FLAT), "-..", limit=2),
    Case(
        # Bought at 98 with a rebate of 0.098, sold at 99 for a fee of 0.198: 1 + 0.098 - 0.198.
        "limit: a low through it fills at it, as a maker",
        (FLAT, (100, 100, 97.99, 99), AT_99),
        "+..",
        (T(0, 1, 2, 1, 98, 99, SIGNAL, pnl=0.9),),
        limit=2,
        costs=FEES,
        held="010",
    ),
    Case(
        # Only the way out slips: 99 * 0.999 = 98.901.
        "limit: it slips nothing",
        (FLAT, (100, 100, 97, 99), AT_99),
        "+..",
        (T(0, 1, 2, 1, 98, 98.901, SIGNAL, pnl=0.901),),
        limit=2,
        costs=SLIP,
    ),
    Case(
        "limit: a short's high through it fills at it",
        (FLAT, (100, 102.01, 100, 101), at(101)),
        "-..",
        (T(0, 1, 2, -1, 102, 101, SIGNAL, pnl=1),),
        limit=2,
    ),
    Case(
        "limit: with a tick of 1, half a tick through is no fill",
        (FLAT, (100, 100, 97.5, 99), FLAT),
        "+..",
        limit=2,
        tick="1",
    ),
    Case(
        "limit: with a tick of 1, one tick through fills",
        (FLAT, (100, 100, 97, 99), AT_99),
        "+..",
        (T(0, 1, 2, 1, 98, 99, SIGNAL),),
        limit=2,
        tick="1",
    ),
    Case(
        # 100 - 1.6 = 98.4: a buyer's limit goes up to 99.
        "limit: rounded up for a buyer",
        (FLAT, (100, 100, 98, 99), AT_99),
        "+..",
        (T(0, 1, 2, 1, 99, 99, SIGNAL),),
        limit=1.6,
        tick="1",
    ),
    Case(
        # 100 + 1.6 = 101.6: a seller's limit goes down to 101.
        "limit: rounded down for a seller",
        (FLAT, (100, 102, 100, 100), FLAT),
        "-..",
        (T(0, 1, 2, -1, 101, 100, SIGNAL),),
        limit=1.6,
        tick="1",
    ),
    Case(
        # Filled at 98 on the way to an open of 95, where its stop of 96 is already passed: sold at 95.
        "limit: the open is through it and through its stop",
        (FLAT, (95, 97, 94, 96), FLAT),
        "+..",
        (T(0, 1, 1, 1, 98, 95, STOP_LOSS, pnl=-3),),
        limit=2,
        stop=2,
        held="010",
        equity=(1000, 997, 997),
    ),
    Case(
        # Close 0 wants 98, but nothing trades in bar 1; close 1 wants 95, and bar 2 falls to 97 only.
        "limit: it does not wait for volume",
        (FLAT, (100, 100, 90, 100, 0), (100, 100, 97, 99), FLAT),
        "++..",
        limit=(2, 5, NONE, NONE),
    ),
    Case(
        # Filled at 99, stop 97, target 101. Low 95 and close 103: both count, and the stop comes first in every mode.
        "limit: stop and a target below the close in the bar of its fill",
        (FLAT, (100, 105, 95, 103), FLAT),
        "+..",
        (T(0, 1, 1, 1, 99, 97, STOP_LOSS, ambiguous=True),),
        limit=1,
        stop=2,
        target=2,
        rules=TARGET_FIRST,
    ),
    Case(
        # Filled at 99, target 101; the high of 103 may have come before the fill, the close of 100 says nothing.
        "limit, target_first: the target inside the bar of the fill is taken",
        (FLAT, (100, 103, 98, 100), FLAT),
        "+..",
        (T(0, 1, 1, 1, 99, 101, TAKE_PROFIT, ambiguous=True),),
        limit=1,
        target=2,
        rules=TARGET_FIRST,
    ),
    Case(
        # 2 down and 3 up from the open: O-L-H-C, so it filled at 99 before the high of 103.
        "limit, ohlc_path: the low comes first, so the target is taken",
        (FLAT, (100, 103, 98, 100), FLAT),
        "+..",
        (T(0, 1, 1, 1, 99, 101, TAKE_PROFIT, ambiguous=True),),
        limit=1,
        target=2,
        rules=PATH,
    ),
    Case(
        # 1.5 up and 2 down: O-H-L-C, so the high came before the fill.
        "limit, ohlc_path: the high comes first, so the target is not taken",
        (FLAT, (100, 101.5, 98, 100), FLAT),
        "+..",
        (T(0, 1, 2, 1, 99, 100, SIGNAL, ambiguous=True),),
        limit=1,
        target=2,
        rules=PATH,
        counters={"ambiguous_exits": 0},
    ),
    Case(
        # Short at 101, target 99. 2 up and 3 down: O-H-L-C.
        "limit of a short, ohlc_path: the high comes first, so the target is taken",
        (FLAT, (100, 102, 97, 100), FLAT),
        "-..",
        (T(0, 1, 1, -1, 101, 99, TAKE_PROFIT, ambiguous=True),),
        limit=1,
        target=2,
        rules=PATH,
    ),
    Case(
        "limit, drilldown: filled in the first half, target in the second",
        (FLAT, (100, 103, 98, 100), FLAT),
        "+..",
        (T(0, 1, 1, 1, 99, 101, TAKE_PROFIT),),
        limit=1,
        target=2,
        rules=DRILL,
        fine=(FLAT, FLAT, (100, 100, 98, 99), (99, 103, 99, 100), FLAT, FLAT),
    ),
    Case(
        "limit, drilldown: target passed in the first half, filled in the second",
        (FLAT, (100, 103, 98, 100), FLAT),
        "+..",
        (T(0, 1, 2, 1, 99, 100, SIGNAL),),
        limit=1,
        target=2,
        rules=DRILL,
        fine=(FLAT, FLAT, (100, 103, 100, 103), (103, 103, 98, 100), FLAT, FLAT),
    ),
    Case(
        # The first half goes through 99 and through 97; what comes later does not matter.
        "limit, drilldown: filled and stopped in one finer bar",
        (FLAT, (100, 103, 96, 103), FLAT),
        "+..",
        (T(0, 1, 1, 1, 99, 97, STOP_LOSS),),
        limit=1,
        stop=2,
        target=2,
        rules=DRILL,
        fine=(FLAT, FLAT, (100, 100, 96, 98), (98, 103, 98, 103), FLAT, FLAT),
    ),
    Case(
        # The extreme of bar 1 is its close of 100, not its high of 110: the trail stands at 97 in bars 2 and 3.
        "limit: of the bar it fills in, only the close moves the trail",
        (FLAT, (100, 110, 98.5, 100), (100, 100, 98, 98), (98, 98, 96.5, 97), FLAT),
        "+++..",
        (T(0, 1, 3, 1, 99, 97, TRAIL),),
        limit=1,
        trail=3,
    ),
    Case(
        # The open of 98 is through 99: the whole bar lies after the fill, and its high puts the trail at 107.
        "limit: filled at the open, the high of the bar moves the trail",
        (FLAT, (98, 110, 98, 108), (108, 108, 106, 106), FLAT),
        "++..",
        (T(0, 1, 2, 1, 99, 107, TRAIL),),
        limit=1,
        trail=3,
    ),
)

BREAK_EVEN = (
    Case(
        # Bought at 100.1; the moved stop is that price, and slips: 100.1 * 0.999 = 99.9999.
        "break even: the stop is the price paid, and still slips",
        (FLAT, FLAT, (100, 106, 100, 105), (105, 105, 99, 99), FLAT),
        "+++..",
        (T(0, 1, 3, 1, 100.1, 99.9999, TRAIL, pnl=-0.1001),),
        stop=10,
        break_even=5,
        costs=SLIP,
    ),
    Case(
        # 104.9 is not 5 above 100: the stop stays at 90.
        "break even: just short of the distance",
        (FLAT, FLAT, (100, 104.9, 100, 104), (104, 104, 95, 95), FLAT),
        "+++..",
        (T(0, 1, 4, 1, 100, 100, SIGNAL),),
        stop=10,
        break_even=5,
    ),
    Case(
        # Extreme 110: trail 110 - 4 = 106 is nearer than 100.
        "break even: a nearer trail counts",
        (FLAT, FLAT, (100, 110, 100, 109), (109, 109, 99, 99), FLAT),
        "+++..",
        (T(0, 1, 3, 1, 100, 106, TRAIL),),
        trail=4,
        break_even=5,
    ),
    Case(
        "break even: without any other stop",
        (FLAT, (100, 100, 95, 95), (95, 101, 95, 101), FLAT),
        "--..",
        (T(0, 1, 2, -1, 100, 100, TRAIL),),
        break_even=5,
    ),
)

TIME_LIMIT = (
    Case(
        # In at open 1, out at open 2; the decision of close 1 is older than the exit, that of close 2 is not.
        "time: one bar, again and again",
        (FLAT,) * 5,
        "+++++",
        (T(0, 1, 2, 1, 100, 100, TIME), T(2, 3, 4, 1, 100, 100, TIME)),
        max_bars=1,
    ),
    Case("time, edge: once", (FLAT,) * 5, "+++++", (T(0, 1, 2, 1, 100, 100, TIME),), max_bars=1, rules=EDGE),
    Case(
        "time: waits for volume",
        (FLAT, FLAT, DEAD, at(101), FLAT),
        "+++..",
        (T(0, 1, 3, 1, 100, 101, TIME),),
        max_bars=1,
    ),
    Case(
        "time: a signal at the same open comes first",
        (FLAT,) * 4,
        "+...",
        (T(0, 1, 2, 1, 100, 100, SIGNAL),),
        max_bars=1,
    ),
    Case(
        "time: a stop at the same open comes first",
        (FLAT, FLAT, (97, 97, 96, 96), FLAT),
        "++..",
        (T(0, 1, 2, 1, 100, 97, STOP_LOSS),),
        stop=2,
        max_bars=1,
    ),
    Case(
        # Bar 2 of the trade: the limit of close 0 is 2 bars, that of close 1 does not matter.
        "time: the limit is that of the entry",
        (FLAT,) * 5,
        "+++..",
        (T(0, 1, 3, 1, 100, 100, TIME),),
        max_bars=(2, 1, NONE, NONE, NONE),
    ),
)

SESSION = (
    Case(
        "session: out at the first open after it, and no way in",
        (FLAT, FLAT, FLAT, at(101), at(102)),
        "+++++",
        (T(0, 1, 3, 1, 100, 101, EOD, pnl=1),),
        rules=Rules(session="00:00-00:03"),
        held="01100",
    ),
    Case(
        # 23:56 to 00:03; the decision of 23:57 fills at 23:58.
        "session over midnight",
        (FLAT,) * 8,
        "++++++++",
        (T(1, 2, 6, 1, 100, 100, EOD),),
        start=23 * 60 + 56,
        rules=Rules(session="23:58-00:02"),
    ),
    Case(
        "session: its end comes before a signal",
        (FLAT, FLAT, FLAT, at(101), FLAT),
        "++...",
        (T(0, 1, 3, 1, 100, 101, EOD),),
        rules=Rules(session="00:00-00:03"),
    ),
    Case(
        "session: a stop at the same open comes before its end",
        (FLAT, FLAT, FLAT, (97, 97, 96, 96), FLAT),
        "+++..",
        (T(0, 1, 3, 1, 100, 97, STOP_LOSS),),
        stop=2,
        rules=Rules(session="00:00-00:03"),
    ),
    Case(
        "session: its end waits for volume",
        (FLAT, FLAT, FLAT, DEAD, at(99)),
        "+++++",
        (T(0, 1, 4, 1, 100, 99, EOD),),
        rules=Rules(session="00:00-00:03"),
    ),
)

# Five units at 100; at a close of 89 the account is worth 1,000 - 55 = 945, below 950.
DAILY_LOSS = (
    Case(
        # 23:56 on. Out at 88 at 23:59: 940. At midnight the day starts at 940, its floor is 893: 900 holds.
        "daily loss: out at the next open, in again on the next day",
        (FLAT, FLAT, (100, 100, 89, 89), at(88), at(88), (88, 88, 80, 80), at(80)),
        "+++++++",
        (T(0, 1, 3, 1, 100, 88, RISK, 5, -60), T(3, 4, 6, 1, 88, 80, END_OF_DATA, 5, -40)),
        start=23 * 60 + 56,
        limits=Limits(daily_loss=0.05),
        sizing=units(5),
        counters={"daily_loss_halts": 1},
        equity=(1000, 1000, 945, 940, 940, 900, 900),
        held="0110111",
    ),
    Case(
        "daily loss: no way in again on the same day",
        (FLAT, FLAT, (100, 100, 89, 89), at(88), at(88), at(88)),
        "++++++",
        (T(0, 1, 3, 1, 100, 88, RISK, 5, -60),),
        limits=Limits(daily_loss=0.05),
        sizing=units(5),
        counters={"daily_loss_halts": 1},
    ),
    Case(
        # 10 units from 100 to 50: exactly half of 1,000.
        "daily loss: exactly the limit is enough",
        (FLAT, FLAT, (100, 100, 50, 50), at(50), at(50)),
        "+++++",
        (T(0, 1, 3, 1, 100, 50, RISK, 10, -500),),
        limits=Limits(daily_loss=0.5),
        sizing=units(10),
        counters={"daily_loss_halts": 1},
    ),
    Case(
        "daily loss: it comes before a signal",
        (FLAT, FLAT, (100, 100, 89, 89), at(88), FLAT),
        "++...",
        (T(0, 1, 3, 1, 100, 88, RISK, 5, -60),),
        limits=Limits(daily_loss=0.05),
        sizing=units(5),
        counters={"daily_loss_halts": 1},
    ),
    Case(
        # 23:58 on. The loss comes at 23:59's close, 945 of 1,000; at midnight it is another day: 945 is its start.
        "daily loss: midnight ends the halt before it did anything",
        (FLAT, (100, 100, 89, 89), at(89), at(89), at(89)),
        "++++.",
        (T(0, 1, 4, 1, 100, 89, END_OF_DATA, 5, -55),),
        start=23 * 60 + 58,
        limits=Limits(daily_loss=0.05),
        sizing=units(5),
        counters={"daily_loss_halts": 1},
    ),
)

TWICE = Limits(cooldown_losses=2, cooldown_bars=2)
COOLDOWN = (
    Case(
        # Losses at opens 2 and 4; the rest of bar 4 and bars 5 and 6 are without entries.
        "cooldown: two losses in a row, two bars of rest",
        (FLAT, FLAT, at(99), at(99), at(98), at(98), at(98), at(98), at(98)),
        "+.+.+++..",
        (
            T(0, 1, 2, 1, 100, 99, SIGNAL, pnl=-1),
            T(2, 3, 4, 1, 99, 98, SIGNAL, pnl=-1),
            T(6, 7, 8, 1, 98, 98, SIGNAL),
        ),
        limits=TWICE,
        counters={"cooldowns": 1},
    ),
    Case(
        "cooldown: a win between two losses",
        (FLAT, FLAT, at(99), at(99), at(101), at(101), at(100), at(100), at(100)),
        "+.+.+.+..",
        (
            T(0, 1, 2, 1, 100, 99, SIGNAL, pnl=-1),
            T(2, 3, 4, 1, 99, 101, SIGNAL, pnl=2),
            T(4, 5, 6, 1, 101, 100, SIGNAL, pnl=-1),
            T(6, 7, 8, 1, 100, 100, SIGNAL),
        ),
        limits=TWICE,
    ),
    Case(
        "cooldown: nothing won and nothing lost is no loss",
        (FLAT, FLAT, at(99), at(99), at(99), at(99), at(98), at(98), at(98)),
        "+.+.+.+..",
        (
            T(0, 1, 2, 1, 100, 99, SIGNAL, pnl=-1),
            T(2, 3, 4, 1, 99, 99, SIGNAL, pnl=0),
            T(4, 5, 6, 1, 99, 98, SIGNAL, pnl=-1),
            T(6, 7, 8, 1, 98, 98, SIGNAL),
        ),
        limits=TWICE,
    ),
    Case(
        # Out long at open 2 with a loss: no short there, nor in bar 3.
        "cooldown: it begins in the bar of the loss",
        (FLAT, FLAT, at(99), at(99), at(99), at(99)),
        "+---..",
        (T(0, 1, 2, 1, 100, 99, REVERSE, pnl=-1), T(3, 4, 5, -1, 99, 99, SIGNAL)),
        limits=Limits(cooldown_losses=1, cooldown_bars=1),
        counters={"cooldowns": 1},
    ),
)

GATE = (
    Case(
        "gate 0: no entry, counted at each open that would have made one",
        (FLAT,) * 5,
        "+++..",
        (T(2, 3, 4, 1, 100, 100, SIGNAL),),
        gate=(0, 0, 1, 1, 1),
        counters={"gated": 2},
    ),
    Case(
        "gate 0: a position stays",
        (FLAT,) * 5,
        "+++..",
        (T(0, 1, 4, 1, 100, 100, SIGNAL),),
        gate=(1, 0, 0, 0, 0),
    ),
    Case(
        # Out at open 3 by the gate of close 2, which forbids the way back there; close 3 allows it.
        "gate -1: the position is closed, and may come back",
        (FLAT, FLAT, FLAT, at(101), at(102), at(103)),
        "++++..",
        (T(0, 1, 3, 1, 100, 101, SIGNAL, pnl=1), T(3, 4, 5, 1, 102, 103, SIGNAL, pnl=1)),
        gate=(1, 1, -1, 1, 1, 1),
        counters={"gated": 1},
    ),
    Case(
        # Close 1 speaks at open 3.
        "gate -1 with latency",
        (FLAT,) * 6,
        "+++...",
        (T(0, 2, 3, 1, 100, 100, SIGNAL), T(2, 4, 5, 1, 100, 100, SIGNAL)),
        gate=(1, -1, 1, 1, 1, 1),
        rules=Rules(latency_bars=1),
        counters={"gated": 1},
    ),
    Case(
        "gate -1: a reversal only closes",
        (FLAT, FLAT, at(99), at(98)),
        "+-..",
        (T(0, 1, 2, 1, 100, 99, REVERSE),),
        gate=(1, -1, 1, 1),
        counters={"gated": 1},
    ),
    Case(
        "gate 0: what is not allowed does not wait for volume",
        (FLAT, DEAD, FLAT, FLAT),
        "++..",
        (T(1, 2, 3, 1, 100, 100, SIGNAL),),
        gate=(0, 1, 1, 1),
    ),
    Case(
        "gate: an order that waits has the gate of its own decision",
        (FLAT, DEAD, FLAT, FLAT),
        "++..",
        (T(0, 2, 3, 1, 100, 100, SIGNAL),),
        gate=(1, 0, 0, 0),
        counters={"waited_for_volume": 1},
    ),
    Case("gate: nothing is wanted, nothing is counted", (FLAT,) * 4, "....", gate=(0, 0, -1, -1)),
)

HALF = Rules(max_participation=0.5)
VOLUME_CAP = (
    Case(
        # 4 at 100, 4 at 101, 2 at 102: 1,008 for 10. Sold at 110 for 1,100.
        "volume cap: an entry in three parts",
        (FLAT, at(100, 8), at(101, 8), at(102, 100), at(110, 100)),
        "+++..",
        (T(0, 1, 4, 1, 100.8, 110, SIGNAL, 10, 92),),
        sizing=units(10),
        capital=2000,
        rules=HALF,
        counters={"partial_fills": 2},
        equity=(2000, 2000, 2004, 2012, 2092),
        held="01110",
    ),
    Case(
        # Two bars to fill: bars 1 and 2. 4 at 100 and 4 at 101; sold at 110: 880 - 804.
        "volume cap: the rest of an entry expires",
        (FLAT, at(100, 8), at(101, 8), at(102, 100), at(110, 100)),
        "+++..",
        (T(0, 1, 4, 1, 100.5, 110, SIGNAL, 8, 76),),
        sizing=units(10),
        capital=2000,
        rules=Rules(max_participation=0.5, order_bars=2),
        counters={"partial_fills": 2, "expired": 1},
    ),
    Case(
        "volume cap: the rest of an entry goes with the wish for it",
        (FLAT, at(100, 8), at(101, 100), at(102, 100)),
        "+...",
        (T(0, 1, 2, 1, 100, 101, SIGNAL, 4, 4),),
        sizing=units(10),
        rules=HALF,
        counters={"partial_fills": 1, "expired": 1},
    ),
    Case(
        # A quarter of 16 is used up by the entry: the stop at 98 finds no room and goes on at the next open of 97.
        "volume cap: a stop in the bar that took part of the entry",
        (FLAT, (100, 100, 97, 97, 16), at(97, 100), at(97, 100)),
        "++..",
        (T(0, 1, 2, 1, 100, 97, STOP_LOSS, 4, -12),),
        stop=2,
        sizing=units(10),
        rules=Rules(max_participation=0.25),
        counters={"partial_fills": 2, "expired": 1},
        held="0100",
    ),
    Case(
        # Half of 1 is less than a lot of 1: nothing, so the order of close 0 waits.
        "volume cap: less than a lot waits",
        (FLAT, at(100, 1), at(101, 100), at(102, 100)),
        "++..",
        (T(0, 2, 3, 1, 101, 102, SIGNAL, 2, 2),),
        sizing=units(2),
        lot="1",
        rules=HALF,
        counters={"partial_fills": 1, "waited_for_volume": 1},
    ),
    Case(
        "volume cap: a limit of which less than a lot fills is gone",
        (FLAT, (100, 100, 98, 99, 1), (99, 99, 97, 98, 100), FLAT),
        "+...",
        sizing=units(2),
        lot="1",
        limit=1,
        rules=HALF,
        counters={"partial_fills": 1},
    ),
    Case(
        # 4 at 98, then 6 at the next open of 97: 974 for 10.
        "volume cap: a stop goes on at the market, and keeps its reason",
        (FLAT, at(100, 100), (100, 100, 97, 98, 8), at(97, 100), at(97, 100)),
        "+++..",
        (T(0, 1, 3, 1, 100, 97.4, STOP_LOSS, 10, -26),),
        stop=2,
        sizing=units(10),
        rules=HALF,
        counters={"partial_fills": 1},
        equity=(1000, 1000, 980, 974, 974),  # after bar 2: -8 for what is sold, 6 units at 98 for the rest
        held="01100",
    ),
    Case(
        # 4 at the target of 102; the rest rests, until a signal sells 6 at 101: 1,014 for 10.
        "volume cap: a target goes on resting",
        (FLAT, at(100, 100), (100, 103, 100, 101, 8), at(101, 100), at(101, 100)),
        "+++..",
        (T(0, 1, 4, 1, 100, 101.4, SIGNAL, 10, 14),),
        target=2,
        sizing=units(10),
        rules=HALF,
        counters={"partial_fills": 1},
    ),
    Case(
        "volume cap: the end of the data is never cut",
        (FLAT, at(100, 100), at(105, 1)),
        "++.",
        (T(0, 1, 2, 1, 100, 105, END_OF_DATA, 10, 50),),
        sizing=units(10),
        rules=HALF,
    ),
    Case(
        # Room 5 in bar 2: 4 out, 1 in; 3 more at 98 in bar 3. Sold for 394, bought back for 360.
        "volume cap: exit and entry of one bar share its room",
        (FLAT, at(100, 100), at(100, 10), at(98, 100), at(90, 100)),
        "+--..",
        (T(0, 1, 2, 1, 100, 100, REVERSE, 4), T(1, 2, 4, -1, 98.5, 90, SIGNAL, 4, 34)),
        sizing=units(4),
        rules=HALF,
        counters={"partial_fills": 1},
    ),
    Case(
        # 5 at 100 leave 500, which buy 4 of the other 5 at 125: 1,000 for 9, sold at 125.
        "volume cap: what cash no longer covers is cut off for good",
        (FLAT, at(100, 10), at(125, 100), at(125, 100)),
        "++..",
        (T(0, 1, 3, 1, 1000 / 9, 125, SIGNAL, 9, 125),),
        sizing=units(10),
        rules=HALF,
        counters={"partial_fills": 1},
    ),
    Case(
        # 4 at 99 in bar 1, 6 more at 99 when bar 2 goes through it again.
        "volume cap: the rest of a limit stays at its price",
        (FLAT, (100, 100, 98, 100, 8), (100, 100, 98.5, 100, 100), at(100, 100)),
        "++..",
        (T(0, 1, 3, 1, 99, 100, SIGNAL, 10, 10),),
        limit=1,
        sizing=units(10),
        rules=HALF,
        counters={"partial_fills": 1},
    ),
    Case(
        # Bar 2 touches 99 only: the rest does not fill.
        "volume cap: the rest of a limit is not filled by a touch",
        (FLAT, (100, 100, 98, 100, 8), (100, 100, 99, 100, 100), at(100, 100)),
        "++..",
        (T(0, 1, 3, 1, 99, 100, SIGNAL, 4, 4),),
        limit=1,
        sizing=units(10),
        rules=HALF,
        counters={"partial_fills": 1, "expired": 1},
    ),
)


def one_bar(name: str, bar: Row, rules: Rules, exit_price: float, reason: ExitReason, **more: Any) -> Case:
    """Long from 100, stop 98, target 102, and one bar that holds both; Any: fields of `Case`."""
    ambiguous, fine = more.pop("ambiguous", True), more.pop("fine", None)
    if fine is not None:
        fine = (FLAT,) * 4 + fine + (FLAT,) * 2
    trades = (T(0, 1, 2, 1, 100, exit_price, reason, ambiguous=ambiguous),)
    return Case(name, (FLAT, FLAT, bar, FLAT), "++..", trades, stop=2, target=2, rules=rules, fine=fine, **more)


SAME: Final[Row] = (100, 103, 97, 101)  # as far up as down
ONE_BAR = (
    one_bar("one bar, stop_first", SAME, Rules(), 98, STOP_LOSS),
    one_bar("one bar, target_first", SAME, TARGET_FIRST, 102, TAKE_PROFIT),
    one_bar("one bar, ohlc_path: as far up as down goes down first", SAME, PATH, 98, STOP_LOSS),
    one_bar("one bar, ohlc_path: nearer the high goes up first", (100, 102.5, 97, 101), PATH, 102, TAKE_PROFIT),
    one_bar("one bar, ohlc_path: nearer the low goes down first", (100, 103, 97.5, 101), PATH, 98, STOP_LOSS),
    one_bar("one bar, drilldown without finer bars", SAME, DRILL, 98, STOP_LOSS),
    one_bar(
        "one bar, drilldown: target in the first half",
        SAME,
        DRILL,
        102,
        TAKE_PROFIT,
        ambiguous=False,
        fine=((100, 103, 100, 102), (102, 102, 97, 101)),
    ),
    one_bar(
        "one bar, drilldown: stop in the first half",
        SAME,
        DRILL,
        98,
        STOP_LOSS,
        ambiguous=False,
        fine=((100, 101, 97, 98), (98, 103, 98, 101)),
    ),
    one_bar("one bar, drilldown: both in one half", SAME, DRILL, 98, STOP_LOSS, fine=(SAME, (101, 101, 101, 101))),
    one_bar(
        "one bar, drilldown: the second half opens beyond the stop",
        SAME,
        DRILL,
        97,
        STOP_LOSS,
        ambiguous=False,
        fine=((100, 101, 99, 99), (97, 103, 97, 101)),
    ),
    one_bar(
        "one bar, drilldown: the second half opens through the target",
        SAME,
        DRILL,
        102,
        TAKE_PROFIT,
        ambiguous=False,
        fine=((100, 101, 99, 99), (103, 103, 97, 101)),
    ),
    one_bar(
        "one bar, drilldown: a half without volume is passed over",
        SAME,
        DRILL,
        98,
        STOP_LOSS,
        ambiguous=False,
        fine=((100, 103, 100, 103, 0), (100, 101, 97, 101)),
    ),
    one_bar(
        "one bar, drilldown: finer bars that reach neither level",
        SAME,
        DRILL,
        98,
        STOP_LOSS,
        fine=((100, 101, 99, 100), (100, 101, 99, 101)),
    ),
    Case(
        "one bar, target_first, short",
        (FLAT, FLAT, SAME, FLAT),
        "--..",
        (T(0, 1, 2, -1, 100, 98, TAKE_PROFIT, ambiguous=True),),
        stop=2,
        target=2,
        rules=TARGET_FIRST,
    ),
    Case(
        # 2.5 up and 3 down: up first, where the stop of a short stands.
        "one bar, ohlc_path, short",
        (FLAT, FLAT, (100, 102.5, 97, 101), FLAT),
        "--..",
        (T(0, 1, 2, -1, 100, 102, STOP_LOSS, ambiguous=True),),
        stop=2,
        target=2,
        rules=PATH,
    ),
)

# 0.1 % for each hour begun since the open of the entry bar.
BORROW: Final = Costs(borrow_bps_hour=10)
CARRY = (
    Case(
        "borrow: the first hour is due at once, at the close",
        (FLAT, at(100), at(100), at(100)),
        "--..",
        (T(0, 1, 3, -1, 100, 100, SIGNAL, pnl=-0.1),),
        costs=BORROW,
        equity=(1000, 999.9, 999.9, 999.9),
    ),
    Case(
        # 0.001 * 102 and the loss of 2.
        "borrow: out in the entry bar pays the hour at the exit's reference",
        (FLAT, (100, 103, 100, 101), FLAT),
        "-..",
        (T(0, 1, 1, -1, 100, 102, STOP_LOSS, pnl=-2.102),),
        stop=2,
        costs=BORROW,
    ),
    Case(
        # In at 00:01, out at 01:01: one hour.
        "borrow: an hour to the minute is one hour",
        (*(FLAT,) * 61, at(110), at(110)),
        "-" * 60 + "...",
        (T(0, 1, 61, -1, 100, 110, SIGNAL, pnl=-10.1),),
        costs=BORROW,
    ),
    Case(
        # Still short at the end of 01:01, a minute into the second hour: 0.1, and 0.001 * 110.
        "borrow: a minute more is two hours",
        (*(FLAT,) * 61, at(110), at(110)),
        "-" * 61 + "..",
        (T(0, 1, 62, -1, 100, 110, SIGNAL, pnl=-10.21),),
        costs=BORROW,
    ),
    Case(
        "borrow: a long borrows nothing", (FLAT,) * 4, "++..", (T(0, 1, 3, 1, 100, 100, SIGNAL, pnl=0),), costs=BORROW
    ),
    Case(
        "borrow: a perpetual lends nothing",
        (FLAT,) * 4,
        "--..",
        (T(0, 1, 3, -1, 100, 100, SIGNAL, pnl=0),),
        costs=BORROW,
        market="perpetual",
    ),
    Case(
        # 2 * 110 * 0.01 at the end of bar 2; bar 1 has no settlement, bar 3 no position.
        "funding: a long pays a positive rate on the close",
        (FLAT, FLAT, (100, 110, 100, 110), at(110)),
        "++..",
        (T(0, 1, 3, 1, 100, 110, SIGNAL, 2, 20 - 2.2),),
        sizing=units(2),
        funding=(0.5, 0, 0.01, 0.5),
        market="perpetual",
        equity=(1000, 1000, 1017.8, 1017.8),
    ),
    Case(
        "funding: a short receives it",
        (FLAT, FLAT, (100, 110, 100, 110), at(110)),
        "--..",
        (T(0, 1, 3, -1, 100, 110, SIGNAL, 2, -20 + 2.2),),
        sizing=units(2),
        funding=(0.5, 0, 0.01, 0.5),
        market="perpetual",
    ),
    Case(
        "funding: nothing is due from a trade that ended inside the bar",
        (FLAT, (100, 100, 97, 99), FLAT),
        "+..",
        (T(0, 1, 1, 1, 100, 98, STOP_LOSS, pnl=-2),),
        stop=2,
        funding=(0, 0.5, 0),
        market="perpetual",
    ),
    Case(
        # 100 * 0.01 due at the last close, before the end of the data closes at it.
        "funding: due before the end of the data",
        (FLAT, FLAT, FLAT),
        "++.",
        (T(0, 1, 2, 1, 100, 100, END_OF_DATA, pnl=-1),),
        funding=(0, 0, 0.01),
        market="perpetual",
    ),
)

EXPOSURE = (
    Case(
        # 0.5 * 1,000 / 100 = 5 of 10.
        "exposure of one symbol: reduced",
        (FLAT,) * 3,
        "+..",
        (T(0, 1, 2, 1, 100, 100, SIGNAL, 5),),
        sizing=units(10),
        limits=Limits(max_symbol_exposure=0.5),
        counters={"reduced_to_exposure": 1},
    ),
    Case(
        "exposure: exactly the bound is allowed",
        (FLAT,) * 3,
        "+..",
        (T(0, 1, 2, 1, 100, 100, SIGNAL, 5),),
        sizing=units(5),
        limits=Limits(max_symbol_exposure=0.5, max_total_exposure=0.5),
    ),
    Case(
        # 5 units are less than a lot of 10. Only the refusal is counted, and it does not stop the run.
        "exposure: reduced to nothing is refused",
        (FLAT,) * 4,
        "++..",
        sizing=units(10),
        lot="10",
        limits=Limits(max_total_exposure=0.5),
        counters={"rejected_exposure": 2},
    ),
)

# Ten units at 100 with a capital of 280 leave a debt of 720: at 80 equity is 80, a tenth of the notional of 800.
PERPETUAL: Final[dict[str, Any]] = {  # Any: fields of `Case`
    "sizing": units(10),
    "capital": 280.0,
    "leverage": 5.0,
    "maintenance": 0.1,
    "market": "perpetual",
}
LEVERAGE = (
    Case(
        "liquidation: a low exactly at its price",
        (FLAT, FLAT, (100, 100, 80, 90), FLAT),
        "++..",
        (T(0, 1, 2, 1, 100, 80, LIQUIDATION, 10, -200),),
        equity=(280, 280, 80, 80),
        **PERPETUAL,
    ),
    Case(
        "liquidation: a low just above its price",
        (FLAT, FLAT, (100, 100, 80.01, 90), FLAT),
        "++..",
        (T(0, 1, 3, 1, 100, 100, SIGNAL, 10, 0),),
        equity=(280, 280, 180, 280),
        **PERPETUAL,
    ),
    Case(
        "liquidation: an open beyond its price",
        (FLAT, FLAT, (75, 76, 74, 75), FLAT),
        "++..",
        (T(0, 1, 2, 1, 100, 75, LIQUIDATION, 10, -250),),
        **PERPETUAL,
    ),
    Case(
        # -300 of 280: what is missing is forgiven.
        "liquidation: an open beyond everything is ruin",
        (FLAT, FLAT, (70, 71, 69, 70), FLAT),
        "++..",
        (T(0, 1, 2, 1, 100, 70, LIQUIDATION, 10, -300),),
        equity=(280, 280, 0, 0),
        stopped=(2, "ruin"),
        **PERPETUAL,
    ),
    Case(
        "liquidation: a nearer stop comes first",
        (FLAT, FLAT, (100, 100, 79, 90), FLAT),
        "++..",
        (T(0, 1, 2, 1, 100, 81, STOP_LOSS, 10, -190),),
        stop=19,
        **PERPETUAL,
    ),
    Case(
        "liquidation: a stop at the same price is too late",
        (FLAT, FLAT, (100, 100, 79, 90), FLAT),
        "++..",
        (T(0, 1, 2, 1, 100, 80, LIQUIDATION, 10, -200),),
        stop=20,
        **PERPETUAL,
    ),
    Case(
        "liquidation comes before a target in every mode, and is not ambiguous",
        (FLAT, FLAT, (100, 103, 79, 90), FLAT),
        "++..",
        (T(0, 1, 2, 1, 100, 80, LIQUIDATION, 10, -200),),
        target=2,
        rules=TARGET_FIRST,
        **PERPETUAL,
    ),
    Case(
        # Ten short with 320: 1,320 in cash; at 120 equity is 120, a tenth of 1,200.
        "liquidation of a short",
        (FLAT, FLAT, (100, 120, 100, 110), FLAT),
        "--..",
        (T(0, 1, 2, -1, 100, 120, LIQUIDATION, 10, -200),),
        **{**PERPETUAL, "capital": 320.0},
    ),
    Case(
        # 6 * 100 / 5 = 120 of margin, and there are 100: 100 / 20 = 5 units.
        "leverage: reduced to what the margin carries",
        (FLAT, FLAT, at(102)),
        "+..",
        (T(0, 1, 2, 1, 100, 102, SIGNAL, 5, 10),),
        counters={"reduced_to_cash": 1},
        **{**PERPETUAL, "sizing": units(6), "capital": 100.0, "maintenance": 0.01},
    ),
    Case(
        # Half of 8 covers the entry of 4 but liquidation never waits: 4 * 100 on 112; Q = (400 - 112) / (4 * 0.9) = 80.
        "liquidation is never cut by the volume",
        (FLAT, at(100, 8), (100, 100, 79, 90, 1), FLAT),
        "++..",
        (T(0, 1, 2, 1, 100, 80, LIQUIDATION, 4, -80),),
        rules=HALF,
        **{**PERPETUAL, "sizing": units(4), "capital": 112.0},
    ),
)

CASES: Final = (
    *LIMITS,
    *BREAK_EVEN,
    *TIME_LIMIT,
    *SESSION,
    *DAILY_LOSS,
    *COOLDOWN,
    *GATE,
    *VOLUME_CAP,
    *ONE_BAR,
    *CARRY,
    *EXPOSURE,
    *LEVERAGE,
)


@pytest.fixture(params=[fill_orders, simulate], ids=["engine", "reference"], name="engine")
def _engine(request: pytest.FixtureRequest) -> Engine:
    engine: Engine = request.param
    return engine


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_case(engine: Engine, case: Case) -> None:
    check(run(engine, case), case)


def test_names_of_cases_are_unique() -> None:
    assert len(CASES) == len({case.name for case in CASES}) > 90


def test_borrow_and_funding_stand_in_the_trade_and_in_the_bar_that_paid(engine: Engine) -> None:
    # In at 00:01. The first hour, at the close of 100: 0.1. The second begins in the bar of 01:01, closed at 110: 0.11.
    case = Case("two hours", (*(FLAT,) * 61, at(110), at(110)), "-" * 61 + "..", costs=BORROW)
    result = run(engine, case)
    assert result.trades.borrow.tolist() == [pytest.approx(0.21)]
    assert {int(t): float(result.ledger.borrow[t]) for t in np.flatnonzero(result.ledger.borrow)} == {
        1: pytest.approx(0.1),
        61: pytest.approx(0.11),
    }
    # Short two units: it is paid 2 * 110 * 0.01 at the end of bar 2.
    bars = (FLAT, FLAT, (100, 110, 100, 110), at(110))
    settled = (0.0, 0.0, 0.01, 0.0)
    result = run(engine, Case("paid", bars, "--..", funding=settled, sizing=units(2), market="perpetual"))
    assert result.trades.funding.tolist() == [pytest.approx(-2.2)]
    assert result.ledger.funding.tolist() == [0, 0, pytest.approx(-2.2), 0]


def test_a_liquidation_pays_the_venue_for_it(engine: Engine) -> None:
    # Ten units at 100 and a fee of 5 out of 285 leave a debt of 720: liquidated at 80. Fee 800 * (0.005 + 0.01) = 12.
    perpetual = Instrument("hand", "CASE", market="perpetual", maintenance_margin=0.1, liquidation_fee_bps=100)
    account = Account(perpetual, Costs(taker_bps=50), units(10), initial_capital=285.0, leverage=5.0)
    bars = bars_of((FLAT, FLAT, (100, 100, 80, 90), FLAT))
    result = engine(bars, np.array([1, 1, 0, 0], dtype=np.int8), np.full((6, 4), np.nan), account)
    assert result.trades.exit_price.tolist() == [pytest.approx(80)]
    assert result.trades.entry_fee.tolist() == [pytest.approx(5)]
    assert result.trades.exit_fee.tolist() == [pytest.approx(12)]
    assert result.equity[-1] == pytest.approx(285 - 200 - 5 - 12)


# --- two symbols on one account --------------------------------------------------------------------------------------


@pytest.fixture(params=[fill_portfolio, simulate_portfolio], ids=["engine", "reference"], name="portfolio")
def _portfolio(request: pytest.FixtureRequest) -> Callable[..., Any]:  # Any: PortfolioResult or its reference twin
    found: Callable[..., Any] = request.param
    return found


def leg(rows: tuple[Row, ...], side: str, minutes: tuple[int, ...] | None = None, **terms: Any) -> Leg:
    """One symbol; Any: fields of `Account`. `minutes` are those of its bars where some are missing."""
    bars = bars_of(rows)
    if minutes is not None:
        time = np.array(minutes, dtype=np.int64) * 60_000_000
        bars = type(bars)(time, bars.open, bars.high, bars.low, bars.close, bars.volume)
    instrument = terms.pop("instrument", Instrument("hand", "CASE"))
    account = Account(instrument, **{"initial_capital": 1_000.0, "sizing": units(6), **terms})
    sides = np.array([SIDES[letter] for letter in side], dtype=np.int8)
    return Leg(bars, sides, np.full((6, len(bars)), np.nan), account)


A_BARS, B_BARS = (FLAT,) * 4, (at(50),) * 4


def quantities(result: Any) -> list[list[float]]:  # Any: as `_portfolio`
    return [one.trades.qty.tolist() for one in result.legs]


def counted(result: Any) -> Mapping[str, int]:  # Any: as `_portfolio`
    return {name: count for name, count in result.counters.items() if count}


def test_total_exposure_leaves_the_second_symbol_what_the_first_left(portfolio: Callable[..., Any]) -> None:
    # 0.8 of 1,000: A takes 6 * 100 = 600, B gets 200 / 50 = 4 of its 6.
    given: dict[str, Any] = {"limits": Limits(max_total_exposure=0.8)}
    a, b = leg(A_BARS, "++..", **given), leg(B_BARS, "++..", **given)
    result = portfolio([a, b])
    assert quantities(result) == [[6], [pytest.approx(4)]]
    assert counted(result) == {"entries": 2, "reduced_to_exposure": 1}
    # The other order: B takes 300, A gets 500 / 100 = 5.
    assert quantities(portfolio([b, a])) == [[6], [pytest.approx(5)]]


def test_the_smaller_of_both_exposures_binds(portfolio: Callable[..., Any]) -> None:
    # A: 0.5 * 1,000 / 100 = 5. B: 300 would do for itself, and 500 + 300 = 800 of 900 for both.
    given: dict[str, Any] = {"limits": Limits(max_symbol_exposure=0.5, max_total_exposure=0.9)}
    result = portfolio([leg(A_BARS, "++..", **given), leg(B_BARS, "++..", **given)])
    assert quantities(result) == [[pytest.approx(5)], [6]]
    assert counted(result) == {"entries": 2, "reduced_to_exposure": 1}


def test_no_exposure_left_is_a_refusal_at_every_open(portfolio: Callable[..., Any]) -> None:
    given: dict[str, Any] = {"limits": Limits(max_total_exposure=0.6)}
    result = portfolio([leg(A_BARS, "++..", **given), leg(B_BARS, "++..", **given)])
    assert quantities(result) == [[6], []]
    assert counted(result) == {"entries": 1, "rejected_exposure": 2}
    assert result.stopped is None


def test_exits_of_all_symbols_come_before_entries_of_any(portfolio: Callable[..., Any]) -> None:
    # At open 2 A leaves and B comes: B stands first in the order, and still finds the 600 of A gone.
    given: dict[str, Any] = {"limits": Limits(max_total_exposure=0.6)}
    result = portfolio([leg(B_BARS, ".+..", **given), leg(A_BARS, "+...", **given)])
    assert quantities(result) == [[6], [6]]
    assert counted(result) == {"entries": 2}


def test_a_symbol_without_a_bar_counts_at_its_last_close(portfolio: Callable[..., Any]) -> None:
    # A has no bar in minute 2: 6 at its close of 110. Equity 400 + 660; (0.8 * 1,060 - 660) / 50 = 3.76.
    given: dict[str, Any] = {"limits": Limits(max_total_exposure=0.8)}
    a = leg((FLAT, (100, 110, 100, 110), at(120)), "+++", (0, 1, 3), **given)
    result = portfolio([a, leg(B_BARS, ".++.", **given)])
    assert quantities(result) == [[6], [pytest.approx(3.76)]]
    assert result.time.tolist() == [0, 60_000_000, 120_000_000, 180_000_000]
    np.testing.assert_allclose(result.equity, [1000, 1060, 1060, 1120], rtol=1e-12)
    assert [int(one.trades.exit_bar[0]) for one in result.legs] == [2, 3]


def test_a_daily_loss_closes_every_symbol(portfolio: Callable[..., Any]) -> None:
    # A loses 5 * 11 = 55 of 1,000 by close 2; both leave at open 3 and stay out.
    given: dict[str, Any] = {"limits": Limits(daily_loss=0.05), "sizing": units(5)}
    a = leg((FLAT, FLAT, (100, 100, 89, 89), at(89), at(89)), "+++++", **given)
    result = portfolio([a, leg((at(50),) * 5, "+++++", **given)])
    for one in result.legs:
        assert one.trades.exit_bar.tolist() == [3]
        assert one.trades.exit_reason.tolist() == [RISK]
    assert counted(result) == {"entries": 2, "daily_loss_halts": 1}
    assert result.equity.tolist() == [1000, 1000, 945, 945, 945]


def test_a_loss_in_one_symbol_is_a_cooldown_for_all(portfolio: Callable[..., Any]) -> None:
    # A loses at open 2; B, which wants in from open 2 on, waits for the rest of it and for open 3.
    given: dict[str, Any] = {"limits": Limits(cooldown_losses=1, cooldown_bars=1)}
    a = leg((FLAT, FLAT, *(AT_99,) * 4), "+.....", **given)
    result = portfolio([a, leg((at(50),) * 6, ".++++.", **given)])
    assert result.legs[0].trades.exit_bar.tolist() == [2]
    assert result.legs[1].trades.entry_bar.tolist() == [4]
    assert result.legs[1].trades.decision_bar.tolist() == [3]
    assert counted(result) == {"entries": 2, "cooldowns": 1}


def test_liquidation_counts_what_the_other_symbol_is_worth(portfolio: Callable[..., Any]) -> None:
    # Ten of each at 100 out of 560: a debt of 1,440. With B at its open of 90 and 10 % of margin for both, A goes at
    # (90 + 540) / (10 * 0.9) = 70: equity -1,440 + 700 + 900 = 160 is a tenth of 1,600.
    # Alone B would go at 740 / 9 = 82.2; its low is 89.
    given: dict[str, Any] = {
        "instrument": Instrument("hand", "CASE", market="perpetual", maintenance_margin=0.1),
        "sizing": units(10),
        "leverage": 5.0,
        "initial_capital": 560.0,
    }
    a = leg((FLAT, FLAT, (100, 100, 69, 75), at(75)), "++..", **given)
    b = leg((FLAT, FLAT, (90, 90, 89, 90), at(90)), "++..", **given)
    result = portfolio([a, b])
    first, second = (one.trades for one in result.legs)
    assert first.exit_reason.tolist() == [LIQUIDATION]
    assert first.exit_price.tolist() == [pytest.approx(70)]
    assert second.exit_reason.tolist() == [SIGNAL]
    assert second.exit_price.tolist() == [90]
    np.testing.assert_allclose(result.equity, [560, 560, 160, 160], rtol=1e-12)


def test_the_profit_of_both_explains_the_account(portfolio: Callable[..., Any]) -> None:
    # A: 6 * (110 - 100), B short: 6 * (50 - 45).
    a, b = leg((FLAT, FLAT, at(110)), "++."), leg((at(50), at(50), at(45)), "--.")
    result = portfolio([a, b])
    assert result.equity.tolist() == [1000, 1000, 1090]
    assert [float(one.trades.pnl.sum()) for one in result.legs] == [60, 30]


def test_a_portfolio_of_nothing_or_of_two_accounts_is_refused() -> None:
    with pytest.raises(ConfigError, match="at least one symbol"):
        fill_portfolio([])
    with pytest.raises(ConfigError, match="share one account"):
        fill_portfolio([leg(A_BARS, "++.."), leg(B_BARS, "++..", initial_capital=2_000.0)])
