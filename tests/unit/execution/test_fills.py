"""The door to the fill engine: what it refuses, and how symbols that share an account keep apart."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, replace
from typing import Any

import numpy as np
import pytest

from grodtd.domain.bars import Bars, IntArray
from grodtd.domain.errors import DataError, ExecutionError, StrategyError
from grodtd.domain.market import Account, Instrument, Rules, Sizing
from grodtd.domain.run import ExitReason, Ledger, RunResult
from grodtd.domain.strategy import Bracket
from grodtd.execution import fills
from grodtd.execution.fill_kernel import fill_steps
from grodtd.execution.fills import Leg, engine_for, fill_orders, fill_portfolio, funding_by_bar

MINUTE_US = 60_000_000
SIDES = {"+": 1, "-": -1, ".": 0}
Row = tuple[float, float, float, float]
FLAT: Row = (100, 100, 100, 100)
BOTH: Row = (100, 103, 97, 101)  # holds a stop 2 below and a target 2 above


def bars_of(*rows: Row, minutes: tuple[float, ...] = (), timeframe: str = "1m", symbol: str = "CASE") -> Bars:
    """Bars in the minutes given, else one after the other."""
    step = {"1m": 1.0, "30s": 0.5, "45s": 0.75, "2m": 2.0}[timeframe]
    time: IntArray = (np.array(minutes or [i * step for i in range(len(rows))]) * MINUTE_US).astype(np.int64)
    open_, high, low, close = np.array(rows, dtype=float).T
    return Bars(time, open_, high, low, close, np.ones(len(rows)), symbol=symbol, timeframe=timeframe)


def leg(bars: Bars, side: str, *, fine: Bars | None = None, levels: float = np.nan, **terms: Any) -> Leg:
    """One unit a trade, stop and target at the same distance; Any: fields of `Account`."""
    account = Account(Instrument("hand", "X"), **{"initial_capital": 1_000.0, "sizing": Sizing("fixed_qty"), **terms})
    bracket = np.full((6, len(bars)), np.nan)
    bracket[[Bracket._fields.index("stop"), Bracket._fields.index("target")]] = levels
    return Leg(bars, np.array([SIDES[letter] for letter in side], dtype=np.int8), bracket, account, fine=fine)


def filled(given: Leg) -> RunResult:
    return fill_orders(given.bars, given.side, given.bracket, given.account, funding=given.funding, fine=given.fine)


def broken(bars: Bars, bar: int, name: str = "open", price: float = 150) -> Bars:
    """The same with an open or a close outside the bar, past the check that bars make themselves."""
    prices = getattr(bars, name).copy()
    prices[bar] = price
    object.__setattr__(bars, name, prices)
    return bars


def test_legs_and_results_are_frozen_and_known_by_identity() -> None:
    one = leg(bars_of(FLAT, FLAT), "+.")
    other = replace(one, side=one.side.copy())
    result = fill_portfolio([one])
    assert len({one, other}) == len({result, replace(result, equity=result.equity.copy())}) == 2
    for record in (one, result):
        with pytest.raises(FrozenInstanceError):
            record.bars = one.bars


def test_a_fill_outside_its_bar_names_symbol_and_time() -> None:
    a, b = bars_of(*(FLAT,) * 3, symbol="AAA"), bars_of(*(FLAT,) * 3, symbol="BBB")
    with pytest.raises(ExecutionError, match=r"^AAA: a fill at 1970-01-01 00:00\S* UTC refers to a price outside"):
        filled(leg(broken(bars_of(*(FLAT,) * 3, symbol="AAA"), 0), "..."))
    with pytest.raises(ExecutionError, match=r"^AAA: a fill at 1970-01-01 00:02"):
        fill_portfolio([leg(broken(bars_of(*(FLAT,) * 3, symbol="AAA"), 2), "..."), leg(b, "...")])
    for bar in (0, 1):
        with pytest.raises(ExecutionError, match=rf"^BBB: a fill at 1970-01-01 00:0{bar}"):
            fill_portfolio([leg(a, "..."), leg(broken(bars_of(*(FLAT,) * 3, symbol="BBB"), bar), "...")])


@pytest.mark.parametrize("name", ["open", "close"])
@pytest.mark.parametrize("price", [99.99, 100.01])
def test_no_bar_without_an_event_is_passed_with_a_price_outside_it(name: str, price: float) -> None:
    for bar in (0, 1, 2):
        with pytest.raises(ExecutionError, match=rf"^CASE: a fill at 1970-01-01 00:0{bar}"):
            filled(leg(broken(bars_of(*(FLAT,) * 3), bar, name, price), "..."))


def test_a_fill_outside_its_bar_is_found_while_another_symbol_is_absent() -> None:
    absent = leg(bars_of(FLAT, FLAT, minutes=(0, 2)), "..")
    with pytest.raises(ExecutionError, match="^BBB: a fill at 1970-01-01 00:01"):
        fill_portfolio([absent, leg(broken(bars_of(*(FLAT,) * 3, symbol="BBB"), 1), "...")])


@pytest.mark.parametrize(
    ("side", "message"),
    [([1, -1, 0, 2], "found 2 at bar 3"), ([-1, 1, -2, 3], "found -2 at bar 2"), ([0, -1, 1, 0], None)],
)
def test_the_first_side_that_is_no_side_is_named(side: list[int], message: str | None) -> None:
    given = replace(leg(bars_of(*(FLAT,) * 4), "...."), side=np.array(side))
    if message is None:
        filled(given)
    else:
        with pytest.raises(StrategyError, match=message):
            filled(given)


@pytest.mark.parametrize("funding", [np.zeros(2), np.array([0.0, np.nan, 0.0]), np.array([0.0, np.inf])])
def test_funding_that_does_not_fit_is_refused(funding: Any) -> None:  # Any: wrong on purpose
    given = replace(leg(bars_of(*(FLAT,) * 3, symbol="AAA"), "..."), funding=funding)
    with pytest.raises(DataError, match="^AAA: funding must be one finite rate a bar, 3 of them"):
        filled(given)


@pytest.mark.parametrize(
    ("settled_us", "expected"),
    [
        (0, [0, 0, 0]),  # nobody can hold yet
        (1, [0, 0, 0]),  # the same, a little late
        (1 * MINUTE_US, [0.5, 0, 0]),  # the first bar ends
        (1 * MINUTE_US + 400_000, [0.5, 0, 0]),  # 0.4 s late
        (2 * MINUTE_US - 400_000, [0, 0.5, 0]),  # 0.4 s early
        (MINUTE_US + 30_000_000, [0, 0.5, 0]),
        (3 * MINUTE_US, [0, 0, 0.5]),  # the last bar ends
        (3 * MINUTE_US + 1_000_000, [0, 0, 0]),
    ],
)
def test_a_settlement_belongs_to_the_bar_that_opens_before_it(settled_us: int, expected: list[float]) -> None:
    bars = bars_of(*(FLAT,) * 3)
    assert funding_by_bar(bars, np.array([settled_us]), np.array([0.5])).tolist() == expected


def test_without_bars_no_funding() -> None:
    assert funding_by_bar(bars_of(FLAT)[:0], np.array([0, MINUTE_US]), np.array([0.5, 0.5])).size == 0


def test_the_account_of_a_symbol_is_the_capital_and_its_own_profit() -> None:
    # A: 10 up from bar 1 to 2. B, short: 5 down.
    a = leg(bars_of(FLAT, FLAT, (110,) * 4), "++.")
    b = leg(bars_of(FLAT, FLAT, (95,) * 4), "--.")
    result = fill_portfolio([a, b])
    assert result.equity.tolist() == [1000, 1000, 1015]
    assert [one.equity.tolist() for one in result.legs] == [[1000, 1000, 1010], [1000, 1000, 1005]]
    assert [one.stopped for one in result.legs] == [None, None]


def test_a_stop_of_the_account_is_told_in_the_bars_of_each_symbol() -> None:
    # Short one unit with a capital of 150: at 300 in minute 3 the account has 150 + 100 - 300 = -50.
    terms: dict[str, Any] = {"initial_capital": 150.0}  # Any: fields of `Account`
    a = leg(bars_of(FLAT, FLAT, FLAT, (300,) * 4), "----", **terms)
    absent = leg(bars_of(FLAT, FLAT, FLAT, minutes=(0, 1, 4)), "...", **terms)
    late = leg(bars_of(FLAT, FLAT, minutes=(10, 11)), "..", **terms)
    result = fill_portfolio([a, absent])
    assert result.stopped == (3, "ruin")
    assert [one.stopped for one in result.legs] == [(3, "ruin"), (1, "ruin")]
    assert [one.stopped for one in fill_portfolio([late, a]).legs] == [(0, "ruin"), (3, "ruin")]
    # Of one symbol it is the bar itself.
    assert [one.stopped for one in fill_portfolio([a]).legs] == [(3, "ruin")]


def test_what_does_not_add_up_is_never_returned(monkeypatch: pytest.MonkeyPatch) -> None:
    true_ledger = fills.ledger_of

    def lossy(*given: Any) -> Ledger:  # Any: as `ledger_of`
        ledger = true_ledger(*given)
        return replace(ledger, fees=ledger.fees + 0.01)

    monkeypatch.setattr(fills, "ledger_of", lossy)
    with pytest.raises(ExecutionError, match="the ledger does not add up"):
        filled(leg(bars_of(FLAT, FLAT, FLAT), "++."))


# --- finer bars ------------------------------------------------------------------------------------------------------

DRILL = Rules(same_bar="drilldown")
COARSE = bars_of(FLAT, FLAT, BOTH, FLAT)
UP_FIRST = bars_of(*(FLAT,) * 4, (100, 103, 100, 102), (102, 102, 97, 101), *(FLAT,) * 2, timeframe="30s")
DOWN_FIRST = bars_of(*(FLAT,) * 4, (100, 101, 97, 98), (98, 103, 98, 101), *(FLAT,) * 2, timeframe="30s")


def test_each_symbol_is_drilled_in_its_own_finer_bars() -> None:
    # Long from 100, stop 98, target 102. Without finer bars the stop comes first, and that is a guess.
    terms: dict[str, Any] = {"levels": 2.0, "rules": DRILL}  # Any: arguments of `leg`
    legs = [leg(COARSE, "++..", fine=fine, **terms) for fine in (None, UP_FIRST, DOWN_FIRST, UP_FIRST, None)]
    found = [one.trades for one in fill_portfolio(legs).legs]
    assert [t.exit_price.tolist() for t in found] == [[98], [102], [98], [102], [98]]
    assert [t.ambiguous.tolist() for t in found] == [[True], [False], [False], [False], [True]]
    stop, target = int(ExitReason.STOP_LOSS), int(ExitReason.TAKE_PROFIT)
    assert [t.exit_reason.tolist() for t in found] == [[stop], [target], [stop], [target], [stop]]


def test_finer_bars_are_looked_at_for_drilldown_only() -> None:
    beyond = bars_of(*((100, 200, 50, 100),) * 8, timeframe="30s")
    given = leg(COARSE, "++..", fine=beyond, levels=2.0)
    trades = filled(given).trades
    assert (trades.exit_price.tolist(), trades.ambiguous.tolist()) == ([98], [True])
    with pytest.raises(DataError, match="reaches beyond its 1m bar"):
        filled(leg(COARSE, "++..", fine=beyond, levels=2.0, rules=DRILL))


@pytest.mark.parametrize("timeframe", ["1m", "45s", "2m"])
def test_finer_bars_must_be_finer_and_divide_the_bar(timeframe: str) -> None:
    with pytest.raises(DataError, match=f"drilldown from 1m needs finer bars, found {timeframe}"):
        filled(leg(COARSE, "....", fine=bars_of(*(FLAT,) * 4, timeframe=timeframe), rules=DRILL))


@pytest.mark.parametrize("reach", [(100, 103.5, 100, 100), (100, 100, 96.5, 100)], ids=["above", "below"])
def test_finer_bars_of_another_source_are_refused_and_named(reach: Row) -> None:
    # The second half of the third minute, which reaches from 97 to 103.
    fine = bars_of(*(FLAT,) * 5, reach, *(FLAT,) * 2, timeframe="30s")
    with pytest.raises(DataError, match=r"the 30s bar at 1970-01-01 00:02:30\S* UTC reaches beyond its 1m bar"):
        filled(leg(COARSE, "....", fine=fine, rules=DRILL))
    edge = bars_of(*(FLAT,) * 5, (100, 103, 97, 100), *(FLAT,) * 2, timeframe="30s")
    assert filled(leg(COARSE, "....", fine=edge, rules=DRILL)).equity.tolist() == [1000] * 4


def test_a_part_of_a_run_ends_where_it_is_told_and_leaves_the_account_as_of_its_last_bar() -> None:
    # One unit bought at 100 in bar 1, worth 103 at the close of bar 2; bars 3 and 4 are left for the next call.
    rows = (FLAT, FLAT, (100, 103, 100, 103), (103, 104, 103, 104), (104, 104, 104, 104))
    market, fine, books, curves, steps, step_of = engine_for(leg(bars_of(*rows), "+++++"))
    curves.equity[:] = np.nan
    assert fill_steps(market, fine, books, curves, steps, step_of, 0, 3, False) == -1
    np.testing.assert_array_equal(curves.equity, [1_000, 1_000, 1_003, np.nan, np.nan])
    symbol, account = books.symbols[0], books.account[0]
    assert (symbol["bar"], symbol["mark"], account["last_equity"]) == (2, 103, 1_003)
    assert fill_steps(market, fine, books, curves, steps, step_of, 3, 5, True) == -1
    assert curves.equity.tolist() == [1_000, 1_000, 1_003, 1_004, 1_004]
