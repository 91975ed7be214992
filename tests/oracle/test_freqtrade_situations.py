"""The 54 situations of freqtrade's backtest-detail test (ORACLES 4), told again with our own bars and numbers.

Each case is one of theirs by its number: stops, trailing stops, gaps, exits in the entry bar, limits, time limits. The
answers are worked out by hand from docs/fills.md; where freqtrade answers otherwise, `DIFFERS` says what it does and
why we do not.
"""

from __future__ import annotations

from typing import Final

import pytest

from grodtd.execution.fills import fill_orders
from tests.oracle.test_fills import (
    END_OF_DATA,
    FLAT,
    SIGNAL,
    STOP_LOSS,
    TAKE_PROFIT,
    TRAIL,
    Case,
    Engine,
    ExitReason,
    Row,
    T,
    check,
    run,
    units,
)
from tests.reference.simulator import simulate

TIME = ExitReason.TIME
UP_1: Row = (100, 101, 99, 100)  # a quiet entry bar with a high of 101
UP_2: Row = (100, 102, 99, 102)
LOW_93: Row = (97, 101, 93, 95)
LAST: Row = (95, 95, 95, 95)

CASES: Final[dict[int, Case]] = {
    0: Case(
        "exit by signal, stop never touched",
        (FLAT, FLAT, (100, 101, 99.5, 100), (101, 101, 100, 101), (101.5, 102, 101, 101)),
        "+++..",
        (T(0, 1, 4, 1, 100, 101.5, SIGNAL, pnl=1.5),),
        stop=1,
    ),
    1: Case(
        "stop inside a bar that falls far below it: filled at the stop",
        (FLAT, FLAT, (100, 100.5, 92, 92), LAST),
        "++..",
        (T(0, 1, 2, 1, 100, 99, STOP_LOSS),),
        stop=1,
    ),
    2: Case(
        "low below the stop, close above it",
        (FLAT, FLAT, (100, 100.5, 99, 99.5), (99.5, 100, 96, 99), LAST),
        "+++..",
        (T(0, 1, 3, 1, 100, 97, STOP_LOSS),),
        stop=3,
    ),
    3: Case(
        "two trades, two stops",
        (FLAT, FLAT, (100, 100, 96, 99.5), (99.5, 100, 99, 99), (99, 99, 99, 99), (99, 99.5, 90, 90), (90, 90, 90, 90)),
        "++.++..",
        (T(0, 1, 2, 1, 100, 98, STOP_LOSS), T(3, 4, 5, 1, 99, 97, STOP_LOSS)),
        stop=2,
    ),
    4: Case(
        "stop and target in one bar that closes far up: the stop",
        (FLAT, FLAT, (100, 115, 97, 115), LAST),
        "++..",
        (T(0, 1, 2, 1, 100, 98, STOP_LOSS, ambiguous=True),),
        stop=2,
        target=6,
    ),
    5: Case(
        "target in a bar that goes far beyond it: filled at the target",
        (FLAT, FLAT, (100, 100.5, 99.5, 100), (99.5, 120, 99.5, 120), LAST),
        "+++..",
        (T(0, 1, 3, 1, 100, 103, TAKE_PROFIT),),
        stop=1,
        target=3,
    ),
    6: Case(
        "stop and target in one bar that closes slightly up: the stop",
        (FLAT, FLAT, (100, 106, 97, 101), LAST),
        "++..",
        (T(0, 1, 2, 1, 100, 98, STOP_LOSS, ambiguous=True),),
        stop=2,
        target=5,
    ),
    7: Case(
        "target reached, stop not",
        (FLAT, FLAT, (100, 106, 99, 101), LAST),
        "++..",
        (T(0, 1, 2, 1, 100, 103, TAKE_PROFIT),),
        stop=2,
        target=3,
    ),
    8: Case(
        # Highest high 105 up to bar 2, so the trail stands at 95 in bar 3.
        "trailing stop raised in one bar, hit in the next",
        (FLAT, UP_1, (100, 105, 95, 97), (97, 101, 93, 95), LAST),
        "+++..",
        (T(0, 1, 3, 1, 100, 95, TRAIL),),
        stop=10,
        trail=10,
    ),
    9: Case(
        # In bar 3 the trail stands at 101 - 10 = 91, and the low is 92; only afterwards does the high of 104 count.
        "high and low of one bar: its own high does not raise the trail",
        (FLAT, UP_1, UP_1, (100, 104, 92, 97), (97, 97, 97, 97)),
        "+++++",
        (T(0, 1, 4, 1, 100, 97, END_OF_DATA),),
        stop=10,
        trail=10,
    ),
    10: Case(
        "the distance that moves the stop is not reached: the first stop holds",
        (FLAT, UP_2, (102, 105, 102, 102), LOW_93, (95, 99, 87, 95)),
        "++++.",
        (T(0, 1, 4, 1, 100, 90, STOP_LOSS),),
        stop=10,
        break_even=10,
    ),
    11: Case(
        # 105 - 100 >= 5 in bar 2: the entry price is the stop in bar 3.
        "the distance is reached: the moved stop is hit in the next bar",
        (FLAT, UP_2, (102, 105, 102, 102), (101, 103, 93, 95), LAST),
        "+++..",
        (T(0, 1, 3, 1, 100, 100, TRAIL),),
        stop=10,
        break_even=5,
    ),
    12: Case(
        # Reached in bar 2, whose low of 93 is above the first stop; bar 3 opens at 97, beyond the moved one.
        "the distance is reached in the bar that falls back",
        (FLAT, UP_2, (102, 105, 93, 102), LOW_93, LAST),
        "+++..",
        (T(0, 1, 3, 1, 100, 97, TRAIL),),
        stop=10,
        break_even=5,
    ),
    13: Case(
        "entry and target in the same bar",
        (FLAT, UP_2, LAST),
        "+..",
        (T(0, 1, 1, 1, 100, 101, TAKE_PROFIT),),
        stop=10,
        target=1,
    ),
    14: Case(
        "entry and stop in the same bar",
        (FLAT, (100, 102, 92, 102), LAST),
        "+..",
        (T(0, 1, 1, 1, 100, 95, STOP_LOSS),),
        stop=5,
    ),
    15: Case(
        # Second entry at 102: target 103, stop 97, both in bar 2.
        "entry and target in one bar, entry and stop in the next",
        (FLAT, (100, 102, 98, 102), (102, 105, 93, 102), LAST),
        "++..",
        (T(0, 1, 1, 1, 100, 101, TAKE_PROFIT), T(1, 2, 2, 1, 102, 97, STOP_LOSS, ambiguous=True)),
        stop=5,
        target=1,
    ),
    16: Case(
        "held for a time that ends inside a bar",
        (FLAT, FLAT, (100, 106, 99, 101), (99.5, 100, 98.8, 99.2), LAST),
        "+++..",
        (T(0, 1, 3, 1, 100, 99.5, TIME),),
        stop=10,
        max_bars=2,
    ),
    17: Case(
        "held for whole bars: out at the open",
        (FLAT, FLAT, (100, 106, 99, 101), (99.6, 100, 98.8, 99.2), LAST),
        "+++..",
        (T(0, 1, 3, 1, 100, 99.6, TIME),),
        stop=10,
        max_bars=2,
    ),
    18: Case(
        "held for whole bars, the open is in profit",
        (FLAT, FLAT, (100, 106, 99, 104), (104, 104.4, 98.8, 99.2), LAST),
        "+++..",
        (T(0, 1, 3, 1, 100, 104, TIME),),
        stop=10,
        max_bars=2,
    ),
    19: Case(
        "target reached in the third bar only",
        (FLAT, FLAT, (100, 100.5, 99, 100), (100, 106, 98.8, 99.2), LAST),
        "+++..",
        (T(0, 1, 3, 1, 100, 101, TAKE_PROFIT),),
        stop=10,
        target=1,
    ),
    20: Case(
        "the open is beyond the target: filled at the target",
        (FLAT, FLAT, (100, 100.5, 99, 100), (104, 106, 98.8, 99.2), LAST),
        "+++..",
        (T(0, 1, 3, 1, 100, 101, TAKE_PROFIT),),
        stop=10,
        target=1,
    ),
    21: Case(
        # The bar that would move the stop reaches the target too; the stop in force is still 90, the low is 93.
        "target and a stop moved by the same bar: the target",
        (FLAT, UP_2, (102, 105, 93, 102), LAST),
        "++..",
        (T(0, 1, 2, 1, 100, 104, TAKE_PROFIT),),
        stop=10,
        target=4,
        break_even=5,
    ),
    22: Case(
        "the same, and the bar never comes back",
        (FLAT, UP_2, (102, 105, 102, 102), LAST),
        "++..",
        (T(0, 1, 2, 1, 100, 104, TAKE_PROFIT),),
        stop=10,
        target=4,
        break_even=5,
    ),
    23: Case(
        "the same, short",
        (FLAT, (100, 101, 98, 98), (98, 98, 95, 98), LAST),
        "--..",
        (T(0, 1, 2, -1, 100, 96, TAKE_PROFIT),),
        stop=10,
        target=4,
        break_even=5,
    ),
    24: Case(
        # Stop moved to 100 in bar 2; bar 3 opens at 97: that comes before anything else in it.
        "the open is below the moved stop, the high of the bar above the target",
        (FLAT, UP_2, (102, 105, 102, 102), (97, 105, 93, 95), LAST),
        "+++..",
        (T(0, 1, 3, 1, 100, 97, TRAIL),),
        stop=10,
        target=5,
        break_even=5,
    ),
    25: Case(
        "stop in the bar whose close says exit: the stop",
        (FLAT, FLAT, (100, 100.5, 99.8, 100), (101, 101, 97, 101), FLAT),
        "+++..",
        (T(0, 1, 3, 1, 100, 99, STOP_LOSS),),
        stop=1,
    ),
    26: Case(
        "exit at the open, stop later in that bar: the open",
        (FLAT, FLAT, (100, 100.5, 99.8, 100), (101, 101, 99.5, 101), (101, 101, 97, 99)),
        "+++..",
        (T(0, 1, 4, 1, 100, 101, SIGNAL),),
        stop=1,
    ),
    27: Case(
        # 4 units cost 400 of 100: equity 100, liquidation at 300 / (4 * 0.99) = 75.76.
        "the same with leverage: four times the profit on the capital",
        (FLAT, FLAT, (100, 100.5, 99.8, 100), (101, 101, 99.5, 101), (101, 101, 97, 99)),
        "+++..",
        (T(0, 1, 4, 1, 100, 101, SIGNAL, qty=4, pnl=4),),
        stop=1,
        sizing=units(4),
        capital=100,
        leverage=5,
        maintenance=0.01,
        market="perpetual",
    ),
    28: Case(
        "the same with leverage, short",
        (FLAT, FLAT, (100, 100.5, 99.8, 100), (99, 100, 98.5, 99), (99, 101, 97, 99)),
        "---..",
        (T(0, 1, 4, -1, 100, 99, SIGNAL, qty=4, pnl=4),),
        stop=1,
        sizing=units(4),
        capital=100,
        leverage=5,
        maintenance=0.01,
        market="perpetual",
    ),
    29: Case(
        "target in the bar whose close says exit: the target",
        (FLAT, FLAT, (100, 100.5, 99.8, 100), (101, 106, 99.5, 101), FLAT),
        "+++..",
        (T(0, 1, 3, 1, 100, 105, TAKE_PROFIT),),
        stop=10,
        target=5,
    ),
    30: Case(
        "exit at the open, target later in that bar: the open",
        (FLAT, FLAT, (100, 100.5, 99.8, 100), (101, 101, 99.5, 101), (101, 106, 97, 99)),
        "+++..",
        (T(0, 1, 4, 1, 100, 101, SIGNAL),),
        stop=10,
        target=5,
    ),
    31: Case(
        "a gap below the moved stop: the open",
        (FLAT, UP_2, (102, 105, 102, 102), LOW_93, LAST),
        "+++..",
        (T(0, 1, 3, 1, 100, 97, TRAIL),),
        stop=10,
        break_even=5,
    ),
    32: Case(
        "a gap above the moved stop of a short: the open",
        (FLAT, (100, 101, 98, 98), (98, 98, 95, 98), (103, 107, 99, 99), LAST),
        "---..",
        (T(0, 1, 3, -1, 100, 103, TRAIL),),
        stop=10,
        break_even=5,
    ),
    33: Case(
        # Trail 101 - 3 = 98 in bar 2; its own high of 105 plays no part.
        "trail hit by the low of a bar with a higher high",
        (FLAT, (100, 101, 100, 100), (98.5, 105, 90, 102), LAST),
        "++..",
        (T(0, 1, 2, 1, 100, 98, TRAIL),),
        stop=10,
        trail=3,
    ),
    34: Case(
        # In the entry bar the trail hangs on the fill: 99.
        "trail hit in the entry bar",
        (FLAT, (100, 110, 98, 98), LAST),
        "+..",
        (T(0, 1, 1, 1, 100, 99, TRAIL),),
        stop=10,
        trail=1,
    ),
    35: Case(
        # The high of 110 counts from bar 2 on, where the open of 98 lies below the moved stop of 100.
        "the entry bar reaches the distance that moves the stop, and falls back",
        (FLAT, (100, 110, 98, 98), (98, 105, 90, 102), LAST),
        "++..",
        (T(0, 1, 2, 1, 100, 98, TRAIL),),
        stop=10,
        break_even=2,
    ),
    36: Case(
        # Low 99.02 is above 99; in bar 2 the trail stands at 109 and the open is far below.
        "the entry bar's high would put the trail above its low",
        (FLAT, (100, 110, 99.02, 100), (98, 105, 90, 102), LAST),
        "++..",
        (T(0, 1, 2, 1, 100, 98, TRAIL),),
        stop=1,
        trail=1,
    ),
    38: Case(
        "the same, short",
        (FLAT, (100, 100.98, 90, 100), (98, 105, 90, 102), LAST),
        "--..",
        (T(0, 1, 2, -1, 100, 98, TRAIL),),
        stop=1,
        trail=1,
    ),
    39: Case(
        "entry limit below every low: no trade",
        (FLAT, (100, 110, 99, 100), (98, 105, 90, 102), (102, 102, 93, 95), LAST),
        "+++++",
        limit=16,
    ),
    40: Case(
        "entry limit above the market",
        (FLAT, (100, 110, 98, 100), LAST),
        "+..",
        (T(0, 1, 1, 1, 100, 99, STOP_LOSS),),
        stop=1,
        limit=-44,
    ),
    41: Case(
        "entry limit of a short below the market",
        (FLAT, (100, 102, 99, 100), LAST),
        "-..",
        (T(0, 1, 1, -1, 100, 101, STOP_LOSS),),
        stop=1,
        limit=-20,
    ),
    42: Case(
        # Filled at 99 inside bar 1; target 100. The high came before or after: only bar 2 is sure.
        "limit filled inside the bar, target above its close: not in that bar",
        (FLAT, (100, 110, 98.9, 99.5), (98, 105, 95, 102), LAST),
        "++..",
        (T(0, 1, 2, 1, 99, 100, TAKE_PROFIT, ambiguous=True),),
        stop=10,
        target=1,
        limit=1,
        counters={"ambiguous_exits": 0},
    ),
    43: Case(
        # Filled at 95 on the way down; the close of 101 is beyond the target of 96, so it was passed after the fill.
        "limit filled inside the bar, target below its close: in that bar",
        (FLAT, (108, 110, 94.9, 101), LAST),
        "+..",
        (T(0, 1, 1, 1, 95, 96, TAKE_PROFIT),),
        stop=10,
        target=1,
        limit=5,
    ),
    44: Case(
        "exit wanted at a price below every bar",
        (FLAT, FLAT, (98, 105, 98, 102), (102, 102, 99, 99), LAST),
        "++...",
        (T(0, 1, 3, 1, 100, 102, SIGNAL),),
        stop=10,
    ),
    45: Case(
        "exit wanted at a price above every bar",
        (FLAT, FLAT, (99, 105, 98, 102), (102, 102, 99, 99), LAST),
        "++...",
        (T(0, 1, 3, 1, 100, 102, SIGNAL),),
        stop=10,
    ),
    46: Case(
        "exit of a short wanted at a price below every bar",
        (FLAT, FLAT, (98, 103, 98, 102), (102, 102, 99, 99), LAST),
        "--...",
        (T(0, 1, 3, -1, 100, 102, SIGNAL),),
        stop=10,
    ),
    47: Case("long and short wanted at once", (FLAT, FLAT, FLAT, FLAT), "....", stop=10),
    48: Case(
        # 84 is not reached in bar 1; the close of bar 1 asks for 99, and bar 2 opens through it.
        "entry limit moved by the next close, filled there, out by signal",
        (FLAT, (100, 110, 99, 100), (98, 105, 90, 102), (102, 102, 93, 95), (95, 99, 87, 95)),
        "+++..",
        (T(1, 2, 4, 1, 99, 95, SIGNAL),),
        stop=20,
        limit=(16, 1, 1, 1, 1),
    ),
    49: Case(
        # 106 is not reached in bar 1 (high 104); 101 is, inside bar 2.
        "the same, short",
        (FLAT, (100, 104, 99, 100), (98, 105, 98, 102), (102, 102, 93, 95), (95, 99, 87, 95)),
        "---..",
        (T(1, 2, 4, -1, 101, 95, SIGNAL),),
        stop=20,
        limit=(6, 1, 1, 1, 1),
    ),
    50: Case(
        "entry limit cancelled by the next close",
        (FLAT, (100, 110, 99, 100), (98, 105, 80, 102), LAST),
        "+...",
        limit=16,
    ),
    51: Case(
        "entry limit moved further away, never reached",
        (FLAT, (100, 110, 99, 100), (98, 105, 90, 102), (102, 102, 93, 95), LAST),
        "+++++",
        limit=(16, 17, 18, 18, 18),
    ),
    52: Case(
        # Filled at 99 at the open of bar 2; stop 96, low 90.
        "entry limit moved, filled and stopped in one bar",
        (FLAT, (100, 110, 99, 100), (98, 105, 90, 102), LAST),
        "++..",
        (T(1, 2, 2, 1, 99, 96, STOP_LOSS),),
        stop=3,
        limit=(16, 1, 1, 1),
    ),
    53: Case(
        # Filled at 101 inside bar 2 on the way up to 105, through the stop at 104.
        "the same, short",
        (FLAT, (100, 104, 99, 100), (98, 105, 98, 102), LAST),
        "--..",
        (T(1, 2, 2, -1, 101, 104, STOP_LOSS),),
        stop=3,
        limit=(6, 1, 1, 1),
    ),
}

NO_COUNTERPART: Final = {37: "as 36, with a label on the entry; labels change no fill and we have none"}

_OWN_HIGH = "They raise a trailing stop with the high of the very bar; that high may come after the low (F6)."
_ROI = "Their target shrinks with the age of a trade; ours stands, and a time limit leaves at an open."
_EXIT_LIMIT = "They can leave at a limit of choice, which may never fill; a signal of ours leaves at the market."
DIFFERS: Final = {
    9: _OWN_HIGH,
    12: _OWN_HIGH,
    16: "Their limit is in minutes and leaves inside the bar at its close; ours counts bars and leaves at an open.",
    18: _ROI,
    19: _ROI,
    20: "They sell at the better open; a resting limit fills at its price (F4).",
    24: _ROI + " Here the open lies below the stop, which is the first event of the bar.",
    35: _OWN_HIGH,
    36: _OWN_HIGH,
    38: _OWN_HIGH,
    40: "They fill at the bar's high; a limit on the wrong side of the market is a market order.",
    41: "They fill at the bar's low; a limit on the wrong side of the market is a market order.",
    44: _EXIT_LIMIT,
    45: _EXIT_LIMIT,
    46: _EXIT_LIMIT,
    48: "They fill a limit above the market at the open; ours fills at its own price, no better (F7).",
    51: "Their order times out; ours is replaced at each close while the side is wanted.",
    52: "They fill a limit above the market at the open; ours fills at its own price, no better (F7).",
}


def test_every_situation_is_accounted_for() -> None:
    assert sorted([*CASES, *NO_COUNTERPART]) == list(range(54))
    assert set(DIFFERS) <= set(CASES)


@pytest.mark.parametrize("engine", [fill_orders, simulate], ids=["engine", "reference"])
@pytest.mark.parametrize("number", CASES, ids=[f"tc{n}: {case.name}" for n, case in CASES.items()])
def test_situation(engine: Engine, number: int) -> None:
    check(run(engine, CASES[number]), CASES[number])
