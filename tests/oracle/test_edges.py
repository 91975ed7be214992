"""Fills worked out by hand where a rule just holds or just does not, through the engine and the reference simulator.

What the faults of scripts/ci/mutation.py showed to be untested. Cases are those of test_fills.py.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np
import pytest

from grodtd.domain.bars import Bars
from grodtd.domain.market import Account, Costs, Instrument, Limits, Rules, Sizing
from grodtd.execution.fills import fill_orders, fill_portfolio
from tests.oracle.test_fills import (
    DEAD,
    END_OF_DATA,
    FLAT,
    LIQUIDATION,
    SIGNAL,
    STOP_LOSS,
    TAKE_PROFIT,
    TRAIL,
    Case,
    Engine,
    T,
    check,
    run,
    units,
)
from tests.oracle.test_order_rules import DRILL, HALF, PATH, at, counted, leg
from tests.reference.simulator import simulate, simulate_portfolio

# Ten thousand units at 0.10 with a capital of 280: the liquidation of test_order_rules.py, a thousandth of its prices.
SMALL: Final[dict[str, Any]] = {  # Any: fields of `Case`
    "sizing": units(10_000),
    "leverage": 5.0,
    "maintenance": 0.1,
    "market": "perpetual",
}
CENTS = at(0.1)
CASES: Final = (
    Case(
        # The stop stands at 99.5; the high of 101 makes 100 a stop too, half a unit nearer.
        "break-even: nearer than the stop by less than one",
        (FLAT, FLAT, (100, 101, 100, 101), (101, 101, 99.7, 101), FLAT),
        "+++..",
        (T(0, 1, 3, 1, 100, 100, TRAIL),),
        stop=0.5,
        break_even=1,
        rules=Rules(reentry="edge"),
    ),
    Case(
        # (1,000 - 280) / (10,000 * 0.9) = 0.08
        "liquidation: of a long at less than one",
        (CENTS, CENTS, (0.1, 0.1, 0.08, 0.09), CENTS),
        "++..",
        (T(0, 1, 2, 1, 0.1, 0.08, LIQUIDATION, 10_000, -200),),
        capital=280.0,
        **SMALL,
    ),
    Case(
        # 320 + 1,000 in cash; 1,320 / (10,000 * 1.1) = 0.12
        "liquidation: of a short at less than one",
        (CENTS, CENTS, (0.1, 0.12, 0.1, 0.11), CENTS),
        "--..",
        (T(0, 1, 2, -1, 0.1, 0.12, LIQUIDATION, 10_000, -200),),
        capital=320.0,
        **SMALL,
    ),
    Case(
        # 500 buys 5 at 100, and half of 10 is 5: it fits, so nothing is rounded to lots of 2.
        "volume cap: whole units that just fit are not cut to lots",
        (FLAT, at(100, 10), at(101, 100), at(101)),
        "+...",
        (T(0, 1, 2, 1, 100, 101, SIGNAL, 5, 5),),
        sizing=Sizing("all_in_whole"),
        rules=HALF,
        lot="2",
        capital=500.0,
    ),
    Case(
        # Half of the volume is a billionth of a lot less than three lots.
        "volume cap: the float noise of a lot cuts nothing",
        (FLAT, at(100, 0.6 - 1e-12), at(100), at(100)),
        "+...",
        (T(0, 1, 2, 1, 100, 100, SIGNAL, 0.3),),
        sizing=units(0.3),
        rules=HALF,
        lot="0.1",
    ),
    Case(
        # 5 at 100 and the fee of 5 leave 505 of 1,010: 505 / (125 * 1.01) = 4 more.
        "volume cap: the rest is cut to what cash covers with its fee",
        (FLAT, at(100, 10), at(125, 100), at(125, 100)),
        "++..",
        (T(0, 1, 3, 1, 1_000 / 9, 125, SIGNAL, 9),),
        sizing=units(10),
        rules=HALF,
        costs=Costs(taker_bps=100),
        capital=1_010.0,
        counters={"partial_fills": 1},
    ),
    Case(
        # Four of 8 at 100 out of 200; at 60 equity is 40, and a fifth of the notional of 240 is 48: nothing is left.
        "volume cap: the rest of an order is gone when the margin is",
        (FLAT, at(100, 8), at(60, 100), at(60, 100)),
        "++..",
        (T(0, 1, 3, 1, 100, 60, SIGNAL, 4, -160),),
        sizing=units(8),
        rules=HALF,
        capital=200.0,
        leverage=5.0,
        maintenance=0.01,
        market="perpetual",
        counters={"partial_fills": 1},
    ),
    Case(
        # The limit of 99 is open to what opens below it: 4 of half the volume, and no more inside the bar.
        "volume cap: a limit filled at the open has had its bar",
        (FLAT, (98, 99, 97, 98, 8), at(99, 100), at(99)),
        "+...",
        (T(0, 1, 2, 1, 99, 99, SIGNAL, 4),),
        limit=1,
        sizing=units(10),
        rules=HALF,
        counters={"partial_fills": 1, "expired": 1},
    ),
    Case(
        # 0.4 at 99 in bar 1, 0.6 more when bar 2 goes through it.
        "volume cap: the rest of a limit may be less than one",
        (FLAT, (100, 100, 98, 100, 0.8), (100, 100, 98.5, 100, 100), at(100, 100)),
        "++..",
        (T(0, 1, 3, 1, 99, 100, SIGNAL, 1, 1),),
        limit=1,
        rules=HALF,
        counters={"partial_fills": 1},
    ),
    Case(
        "volume cap: the rest of a market order may be less than one",
        (FLAT, at(100, 1), at(100, 100), at(100, 100)),
        "++..",
        (T(0, 1, 3, 1, 100, 100, SIGNAL, 1),),
        rules=HALF,
        counters={"partial_fills": 1},
    ),
    Case(
        # Long is wanted again at open 3, but at the dead open 2 it was not.
        "volume cap: what is not wanted at a dead open is not filled later",
        (FLAT, at(100, 10), DEAD, at(100, 100), at(100, 100), at(100, 100)),
        "+.+...",
        (T(0, 1, 4, 1, 100, 100, SIGNAL, 5),),
        sizing=units(10),
        rules=Rules(max_participation=0.5, order_bars=10),
        counters={"partial_fills": 1, "expired": 1},
    ),
    Case(
        # Stopped at 98 with room for 4 of 10; the rest goes at the open of 99 though that bar touches nothing.
        "volume cap: what is left of a stop goes at the next open, come what may",
        (FLAT, at(100, 20), (100, 100, 97, 99, 8), at(99, 100), FLAT),
        "++++.",
        (T(0, 1, 3, 1, 100, (4 * 98 + 6 * 99) / 10, STOP_LOSS, 10),),
        stop=2,
        sizing=units(10),
        rules=Rules(max_participation=0.5, reentry="edge"),
        counters={"partial_fills": 1},
    ),
    Case(
        # As far up as down goes down first: through 99, then to 103.
        "limit inside a bar, ohlc_path: as far up as down meets the limit first",
        (FLAT, (100, 103, 97, 101), FLAT),
        "+..",
        (T(0, 1, 1, 1, 99, 101, TAKE_PROFIT, ambiguous=True),),
        limit=1,
        target=2,
        rules=PATH,
    ),
    Case(
        # The minute reaches the stop at 97.5; its halves, of which something is missing, do not.
        "limit inside a bar, drilldown: a stop the finer bars do not show is certain",
        (FLAT, (100, 100, 97, 99), FLAT),
        "+..",
        (T(0, 1, 1, 1, 99, 97.5, STOP_LOSS),),
        limit=1,
        stop=1.5,
        rules=DRILL,
        fine=(FLAT, FLAT, (100, 100, 98.5, 99), (99, 99, 98.5, 99), FLAT, FLAT),
    ),
    Case(
        # The second half opens at 98, where the stop stands, before it goes on to 103.
        "one bar, drilldown: an open at the stop is a stop",
        (FLAT, FLAT, (100, 103, 97, 101), FLAT),
        "++..",
        (T(0, 1, 2, 1, 100, 98, STOP_LOSS),),
        stop=2,
        target=2,
        rules=DRILL,
        fine=((FLAT,) * 4 + ((100, 101, 99, 99), (98, 103, 97, 101)) + (FLAT,) * 2),
    ),
    Case(
        # Bought at 100 * 1.01 = 101, and the stop at 101 - 1 is the open of 100. The first half minute had no trade,
        # the second goes on through the target of 103; but the open came first: sold at 100 * 0.99 = 99.
        "one bar, drilldown: a stop at the open comes before what the finer bars show",
        (FLAT, (100, 104, 100, 103), FLAT),
        "+..",
        (T(0, 1, 1, 1, 101, 99, STOP_LOSS, pnl=-2, ambiguous=True),),
        stop=1,
        target=2,
        rules=DRILL,
        costs=Costs(slippage_bps=100),
        fine=(FLAT, FLAT, DEAD, (101, 104, 101, 103), FLAT, FLAT),
    ),
    Case(
        "one bar, drilldown: a low at the stop is a stop",
        (FLAT, FLAT, (100, 103, 97, 101), FLAT),
        "++..",
        (T(0, 1, 2, 1, 100, 98, STOP_LOSS),),
        stop=2,
        target=2,
        rules=DRILL,
        fine=((FLAT,) * 4 + ((100, 101, 98, 99), (99, 103, 97, 101)) + (FLAT,) * 2),
    ),
    Case(
        "funding: a rate of one is the whole notional",
        (FLAT,) * 4,
        "++..",
        (T(0, 1, 3, 1, 100, 100, SIGNAL, pnl=-100),),
        funding=(0, 0, 1, 0),
        market="perpetual",
    ),
    Case(
        # 100.5 and a short from 100 to 200.
        "ruin: half a unit of money is not ruin",
        (FLAT, FLAT, at(200), at(150), at(150)),
        "---..",
        (T(0, 1, 4, -1, 100, 150, SIGNAL),),
        capital=100.5,
        equity=(100.5, 100.5, 0.5, 50.5, 50.5),
    ),
    Case(
        # The same with hours to keep, for which each bar is looked at in full.
        "ruin: half a unit of money is not ruin in a session either",
        (FLAT, FLAT, at(200), at(150), at(150)),
        "---..",
        (T(0, 1, 4, -1, 100, 150, SIGNAL),),
        capital=100.5,
        rules=Rules(session="00:00-12:00"),
        equity=(100.5, 100.5, 0.5, 50.5, 50.5),
    ),
    Case(
        # Flat to the penny, and 0.1 of borrow: a loss. In again at open 5.
        "cooldown: what a short pays for its loan makes a loss",
        (FLAT,) * 6,
        "--.---",
        (T(0, 1, 3, -1, 100, 100, SIGNAL, pnl=-0.1), T(4, 5, 5, -1, 100, 100, END_OF_DATA, pnl=-0.1)),
        costs=Costs(borrow_bps_hour=10),
        limits=Limits(cooldown_losses=1, cooldown_bars=1),
        counters={"cooldowns": 2},
    ),
    Case(
        # A thousandth of a unit, and a thousandth of a hundredth lost on it.
        "cooldown: a loss of a hundred-millionth is a loss",
        (FLAT, FLAT, at(99.99999), FLAT),
        "+...",
        (T(0, 1, 2, 1, 100, 99.99999, SIGNAL, 0.001),),
        sizing=units(0.001),
        limits=Limits(cooldown_losses=1, cooldown_bars=1),
        counters={"cooldowns": 1},
    ),
    Case(
        # In at 100.1, out in parts of 1 and 2 at 100.1, whose mean comes out as 100.09999999999998.
        "cooldown: the float noise of a mean is no loss",
        (at(100.1), at(100.1, 6), at(100.1, 2), at(100.1, 4)),
        "+...",
        (T(0, 1, 3, 1, 100.1, 100.1, SIGNAL, 3),),
        sizing=units(3),
        rules=HALF,
        limits=Limits(cooldown_losses=1, cooldown_bars=1),
        counters={"partial_fills": 1},
    ),
    Case(
        # 500 and half of 1e-12 of it.
        "exposure of one symbol: the float noise of the bound is allowed",
        (FLAT,) * 3,
        "+..",
        (T(0, 1, 2, 1, 100, 100, SIGNAL, 5),),
        sizing=units(5 * (1 + 0.5e-12)),
        limits=Limits(max_symbol_exposure=0.5),
    ),
    Case(
        "exposure of all: the float noise of the bound is allowed",
        (FLAT,) * 3,
        "+..",
        (T(0, 1, 2, 1, 100, 100, SIGNAL, 5),),
        sizing=units(5 * (1 + 0.5e-12)),
        limits=Limits(max_total_exposure=0.5),
    ),
    Case(
        "exposure: more than the float noise is too much",
        (FLAT,) * 3,
        "+..",
        (T(0, 1, 2, 1, 100, 100, SIGNAL, 5),),
        sizing=units(5 * (1 + 2e-12)),
        limits=Limits(max_symbol_exposure=0.5),
        counters={"reduced_to_exposure": 1},
    ),
)


@pytest.fixture(params=[fill_orders, simulate], ids=["engine", "reference"], name="engine")
def _engine(request: pytest.FixtureRequest) -> Engine:
    engine: Engine = request.param
    return engine


@pytest.fixture(params=[fill_portfolio, simulate_portfolio], ids=["engine", "reference"], name="portfolio")
def _portfolio(request: pytest.FixtureRequest) -> Callable[..., Any]:  # Any: PortfolioResult or its reference twin
    found: Callable[..., Any] = request.param
    return found


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_case(engine: Engine, case: Case) -> None:
    check(run(engine, case), case)


def test_a_price_of_one_fill_is_exactly_that_of_the_trade(engine: Engine) -> None:
    # 3 * 100.1 / 3 is 100.09999999999998.
    assert 3 * 100.1 / 3 != 100.1
    bars = (at(100.1),) * 4
    trades = run(engine, Case("exact", bars, "++..", sizing=units(3))).trades
    prices = (trades.entry_ref, trades.entry_price, trades.exit_ref, trades.exit_price)
    assert [price.tolist() for price in prices] == [[100.1]] * 4


@pytest.mark.parametrize(
    ("qty", "held"),
    [
        (0.3, [0.3, 0.2, 0.1, 0.0]),  # 0.3 - 0.1 is 0.19999999999999998
        (3_000_000.3, [3_000_000.3, 3_000_000.2, 3_000_000.1, 3_000_000.0]),  # here it is off by 4e-9 of a lot
    ],
)
def test_what_is_left_of_a_position_is_whole_lots(engine: Engine, qty: float, held: list[float]) -> None:
    # A tenth a bar leaves.
    rules, price = Rules(max_participation=0.5), at(1, 0.2)
    bars = (at(1), at(1, 2 * qty + 1), price, price, price, at(1))
    result = run(engine, Case("lots", bars, "+.....", sizing=units(qty), rules=rules, lot="0.1", capital=1e7))
    assert result.qty[1:5].tolist() == held


@pytest.mark.parametrize(
    ("qty", "held"),
    [(0.3, [0.1, 0.2, 0.3]), (3_000_000.3, [3_000_000.1, 3_000_000.2, 3_000_000.3])],
)
def test_what_is_added_to_a_position_is_whole_lots(engine: Engine, qty: float, held: list[float]) -> None:
    # All but two tenths at first, then a tenth a bar; 0.2 + 0.1 is 0.30000000000000004.
    rules = Rules(max_participation=0.5, order_bars=10)
    bars = (at(1), at(1, 2 * qty - 0.4 + 1e-6), at(1, 0.2), at(1, 0.2), at(1), at(1))
    result = run(engine, Case("lots", bars, "++++++", sizing=units(qty), rules=rules, lot="0.1", capital=1e7))
    assert result.qty[1:4].tolist() == held
    assert result.trades.qty.tolist() == [pytest.approx(qty, rel=1e-12)]


def test_an_hour_is_3600_seconds(engine: Engine) -> None:
    # Short from second 1; the bar of second 3,600 ends an hour later, that of second 3,601 a second into the next.
    price = np.full(5, 100.0)
    account = Account(Instrument("hand", "X"), Costs(borrow_bps_hour=10), units(1))
    for second, hours in ((3_600, 1), (3_601, 2)):
        time = np.array([0, 1, second, second + 10, second + 11]) * 1_000_000
        bars = Bars(time, *(price,) * 4, np.ones(5), timeframe="1s")
        result = engine(bars, np.array([-1, -1, 0, 0, 0], dtype=np.int8), np.full((6, 5), np.nan), account)
        assert result.ledger.borrow[1:3].tolist() == [pytest.approx(0.1), pytest.approx(0.1 * (hours - 1))]


def test_the_liquidation_of_a_short_counts_the_margin_of_the_other(portfolio: Callable[..., Any]) -> None:
    # Ten short of each at 100 out of 600: 2,600 in cash. B stands at 100 and needs 100 of margin: A goes at
    # (2,600 - 1,000 - 100) / (10 * 1.1) = 136.36, where equity is 236.36, a tenth of 2,363.6.
    given: dict[str, Any] = {  # Any: fields of `Account`
        "instrument": Instrument("hand", "CASE", market="perpetual", maintenance_margin=0.1),
        "sizing": units(10),
        "leverage": 5.0,
        "initial_capital": 600.0,
    }
    a = leg((FLAT, FLAT, (100, 140, 100, 110), at(110)), "--..", **given)
    result = portfolio([a, leg((FLAT,) * 4, "--..", **given)])
    first, second = (one.trades for one in result.legs)
    assert first.exit_reason.tolist() == [LIQUIDATION]
    assert first.exit_price.tolist() == [pytest.approx(1_500 / 11)]
    assert second.exit_reason.tolist() == [SIGNAL]


def test_all_in_is_sized_twice_and_no_more(engine: Engine) -> None:
    # Days that close at 100 and 101 in turn: sigma_d is ln(1.01), V_d 100. With that y a unit moves the price by 0.01,
    # n units by 0.01 * sqrt(n). 5,250 buy 52 at 100; 52 would pay 107.21, at which there are 48; and 49 at 106.93.
    close = np.where(np.arange(36) % 2, 101.0, 100.0)
    open_ = np.roll(close, 1)
    high, low = np.maximum(open_, close), np.minimum(open_, close)
    bars = Bars(np.arange(36) * 86_400_000_000, open_, high, low, close, np.full(36, 100.0), timeframe="1d")
    costs = Costs(impact_y=0.01 * 10 / np.log(1.01))
    account = Account(Instrument("hand", "X"), costs, Sizing("all_in_whole"), initial_capital=5_250.0)
    side = np.zeros(36, dtype=np.int8)
    side[32] = 1  # in at the open of day 33, which is 100
    trades = engine(bars, side, np.full((6, 36), np.nan), account).trades
    assert trades.qty.tolist() == [48]
    assert trades.entry_price.tolist() == [pytest.approx(100 * (1 + 0.01 * 48**0.5), rel=1e-9)]


def test_the_float_noise_of_money_buys_nothing(portfolio: Callable[..., Any]) -> None:
    # A takes all of 1,000 at 100.2: 1e-13 of it is left by the rounding of 1,000 / 100.2, which is not money.
    price = 100.2
    left = (1_000 - 1_000 / price * price) + (1_000 / price) * price - (1_000 / price) * price
    terms: dict[str, Any] = {"sizing": Sizing("fraction", fraction=1.0)}  # Any: fields of `Account`
    a, b = leg((at(price),) * 4, "++..", **terms), leg((at(50),) * 4, ".+..", **terms)
    result = portfolio([a, b])
    assert left >= 0
    assert [len(one.trades) for one in result.legs] == [1, 0]
    assert result.counters["rejected_no_cash"] == 1


def test_less_than_a_lot_is_not_called_a_lack_of_money(portfolio: Callable[..., Any]) -> None:
    # A takes all of 1,000 and leaves nothing; B wants half a lot, which no money could buy.
    bars, lots_of_20 = (FLAT,) * 4, Instrument("hand", "CASE", lot="20")
    a, b = (leg(bars, "++..", sizing=units(10), **given) for given in ({}, {"instrument": lots_of_20}))
    result = portfolio([a, b])
    assert [len(one.trades) for one in result.legs] == [1, 0]
    assert counted(result) == {"entries": 1, "rejected_min_notional": 2}
