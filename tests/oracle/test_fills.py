"""Fills by hand: every required answer of QUANT_SPEC 5.1 and the rules around them, in small cases.

Each case runs through the compiled engine and the slow simulator; the expected numbers are worked out in the comments.
Unless said otherwise: no costs, one unit, side decided on bar 0 and filled at the open of bar 1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from grodtd.domain.bars import Bars
from grodtd.domain.errors import StrategyError
from grodtd.domain.market import Account, Costs, Instrument, Rules, Sizing
from grodtd.domain.run import ExitReason, RunResult
from grodtd.execution.fills import fill_orders
from tests.reference.simulator import simulate

FREE = Costs()
SLIP = Costs(slippage_bps=10.0)  # 0.1 %
FLAT = (100.0, 100.0, 100.0, 100.0)
Row = Sequence[float]

ONE_UNIT = Sizing(mode="fixed_qty", qty=1.0)
PLAIN = Rules()
NO_STEPS = Instrument("hand", "CASE")


def run(
    rows: Sequence[Row],
    side: Sequence[int],
    *,
    stop: float | Sequence[float] = math.nan,
    target: float | Sequence[float] = math.nan,
    trail: float | Sequence[float] = math.nan,
    costs: Costs = FREE,
    sizing: Sizing = ONE_UNIT,
    rules: Rules = PLAIN,
    instrument: Instrument = NO_STEPS,
    capital: float = 1_000.0,
) -> RunResult:
    """Trade rows of (open, high, low, close[, volume]) and require both programs to agree."""
    n = len(rows)
    table = np.array([[*row, 1.0][:5] for row in rows])
    bars = Bars(np.arange(n) * 60_000_000, *table.T)
    sides = np.array([*side, *[side[-1]] * n][:n], dtype=np.int8)
    bracket = np.stack([np.broadcast_to(np.array(x, dtype=float), (n,)) for x in (stop, target, trail)])
    account = Account(instrument, costs, sizing, rules, initial_capital=capital)
    ours, theirs = (f(bars, sides, bracket, account) for f in (fill_orders, simulate))
    for (name, a), (_, b) in zip(ours.trades.columns(), theirs.trades.columns(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, err_msg=name)
    np.testing.assert_allclose(ours.equity, theirs.equity, rtol=1e-12)
    assert dict(ours.counters) == dict(theirs.counters)
    assert ours.stopped == theirs.stopped
    return ours


def exits(result: RunResult) -> list[tuple[int, float, str]]:
    t = result.trades
    return [
        (bar, pytest.approx(price, rel=1e-12), ExitReason(reason).name)
        for bar, price, reason in zip(t.exit_bar.tolist(), t.exit_price.tolist(), t.exit_reason.tolist(), strict=True)
    ]


# The table of QUANT_SPEC 5.1, column "required": long from 100, stop 2 %, target 2 %.


def test_both_levels_inside_the_bar_the_stop_is_taken_and_marked() -> None:
    result = run([FLAT, FLAT, (100, 103, 97, 100)], [1], stop=2, target=2)
    assert exits(result)[0] == (2, 98.0, "STOP_LOSS")
    assert result.trades.ambiguous[0]
    assert result.counters["ambiguous_exits"] == 1


def test_gap_through_the_stop_fills_at_the_open_with_slippage() -> None:
    # 95 * (1 - 0.001) = 94.905. The entry paid 0.1 too (fill 100.1), so a distance of 2.1 puts the stop at 98.
    result = run([FLAT, FLAT, (95, 96, 94, 95)], [1, 1, 0], stop=2.1, costs=SLIP)
    assert exits(result)[0] == (2, 94.905, "STOP_LOSS")


def test_a_touched_stop_pays_slippage() -> None:
    # 98 * (1 - 0.001) = 97.902
    result = run([FLAT, FLAT, (99, 99, 97, 97)], [1, 1, 0], stop=2.1, costs=SLIP)
    assert exits(result)[0] == (2, 97.902, "STOP_LOSS")


def test_stops_live_on_the_entry_bar() -> None:
    result = run([FLAT, (100, 100, 90, 91)], [1], stop=2)
    assert exits(result) == [(1, 98.0, "STOP_LOSS")]
    assert result.trades.entry_bar[0] == 1


def test_an_exit_signal_fills_at_the_open_before_a_stop_later_in_the_bar() -> None:
    result = run([FLAT, FLAT, (101, 101, 90, 91)], [1, 0], stop=2)
    assert exits(result) == [(2, 101.0, "SIGNAL")]


def test_a_gap_beyond_the_target_gains_nothing() -> None:
    result = run([FLAT, FLAT, (105, 106, 104, 105)], [1, 1, 0], target=2)
    assert exits(result)[0] == (2, 102.0, "TAKE_PROFIT")


def test_a_price_outside_its_bar_is_an_error_in_the_data_already() -> None:
    from grodtd.domain.errors import DataError

    with pytest.raises(DataError, match="has a low above its open or close"):
        run([FLAT, (50, 100, 100, 100)], [1])


@pytest.mark.parametrize(("asked", "lot", "expected"), [(0.3, "0.1", 0.3), (0.0003, "0.0001", 0.0003)])
def test_a_size_that_is_a_whole_number_of_lots_stays(asked: float, lot: str, expected: float) -> None:
    result = run([FLAT, FLAT], [1], sizing=Sizing("fixed_qty", qty=asked), instrument=Instrument("h", "C", lot=lot))
    assert result.trades.qty.tolist() == [expected]


def test_a_stop_in_the_entry_bar_with_fees() -> None:
    # Buy 1 at 100, sell at 98, fee 0.05 %: -2 - 0.05 - 0.049 = -2.099.
    result = run([FLAT, (100, 100, 98, 98)], [1], stop=2, costs=Costs(taker_bps=5, maker_bps=5))
    assert result.trades.pnl.tolist() == [pytest.approx(-2.099, rel=1e-12)]
    assert result.equity[-1] == pytest.approx(997.901, rel=1e-12)


# F0: levels, reversal, re-entry


def test_a_held_side_is_no_new_order_and_keeps_its_bracket() -> None:
    # The stop stays at 98 although later closes ask for 50.
    result = run([FLAT, FLAT, FLAT, (99, 99, 97, 98)], [1, 1, 1, 0], stop=[2, 50, 50, 50])
    assert exits(result)[0] == (3, 98.0, "STOP_LOSS")
    assert result.counters["entries"] == 1


def test_the_other_side_closes_and_opens_at_the_same_open() -> None:
    result = run([FLAT, FLAT, (110, 111, 109, 110), (105, 105, 105, 105)], [1, -1, 0])
    assert exits(result) == [(2, 110.0, "REVERSE"), (3, 105.0, "SIGNAL")]
    assert result.trades.side.tolist() == [1, -1]
    assert result.trades.pnl.tolist() == [10.0, 5.0]


def test_a_level_still_true_goes_in_again_one_bar_after_its_stop() -> None:
    # Stopped in bar 2; the decision of close 2 (not that of close 1) may enter, at the open of bar 3.
    result = run([FLAT, FLAT, (100, 100, 97, 99), FLAT, FLAT], [1], stop=2)
    assert result.trades.entry_bar.tolist() == [1, 3]


def test_a_position_gapped_out_at_the_open_does_not_go_in_again_at_that_open() -> None:
    result = run([FLAT, FLAT, (95, 95, 95, 95), (95, 95, 95, 95)], [1], stop=2)
    assert result.trades.entry_bar.tolist() == [1, 3]
    assert exits(result)[0] == (2, 95.0, "STOP_LOSS")


def test_edge_reentry_waits_for_another_side() -> None:
    rows = [FLAT, FLAT, (100, 100, 97, 99), FLAT, FLAT, FLAT, FLAT]
    edge = Rules(reentry="edge")
    assert run(rows, [1], stop=2, rules=edge).trades.entry_bar.tolist() == [1]
    # Close 4 is flat, close 5 long again: in at the open of bar 6.
    assert run(rows, [1, 1, 1, 1, 0, 1, 1], stop=2, rules=edge).trades.entry_bar.tolist() == [1, 6]


def test_gapped_out_and_reversed_at_the_same_open() -> None:
    # Stopped at 95, and short at 95 by the decision of close 1: only the same side is barred.
    result = run([FLAT, FLAT, (95, 95, 95, 95), (90, 90, 90, 90)], [1, -1, 0], stop=2)
    assert result.trades.side.tolist() == [1, -1]
    assert exits(result) == [(2, 95.0, "STOP_LOSS"), (3, 90.0, "SIGNAL")]


@pytest.mark.parametrize(("direction", "sides"), [("long_only", [1]), ("short_only", [-1]), ("long_short", [1, -1])])
def test_a_forbidden_side_means_flat(direction: str, sides: list[int]) -> None:
    rules = Rules(direction=direction)  # type: ignore[arg-type]
    assert run([FLAT] * 6, [1, 1, -1, -1, 0], rules=rules).trades.side.tolist() == sides


# F1: timing and market prices


@pytest.mark.parametrize("latency", [0, 1, 3])
def test_latency_counts_bars(latency: int) -> None:
    result = run([FLAT] * 8, [1, 1, 1, 1, 1, 1, 1, 1], rules=Rules(latency_bars=latency))
    assert result.trades.decision_bar.tolist() == [0]
    assert result.trades.entry_bar.tolist() == [1 + latency]


def test_spread_and_slippage_are_against_us_both_ways() -> None:
    # x = (50 + 50) bp = 1 %: buy at 101, sell at 99 (END_OF_DATA at the close of 100).
    costs = Costs(half_spread_bps=50, slippage_bps=50)
    long, short = (run([FLAT, FLAT], [s], costs=costs).trades for s in (1, -1))
    assert (long.entry_price[0], long.exit_price[0]) == (101.0, 99.0)
    assert (short.entry_price[0], short.exit_price[0]) == (99.0, 101.0)
    assert long.pnl[0] == short.pnl[0] == -2.0
    assert long.slippage[0] == short.slippage[0] == 2.0


# F3, F4: the mirror, ticks, rebates


def test_short_stop_mirrors() -> None:
    assert exits(run([FLAT, FLAT, (101, 103, 101, 103)], [-1, -1, 0], stop=2))[0] == (2, 102.0, "STOP_LOSS")
    # Gap: 104 * 1.001 = 104.104. The entry filled at 99.9, so a distance of 2.1 puts the stop at 102.
    gap = run([FLAT, FLAT, (104, 104, 103, 103)], [-1, -1, 0], stop=2.1, costs=SLIP)
    assert exits(gap)[0] == (2, 104.104, "STOP_LOSS")


def test_touching_the_target_is_no_fill_without_a_tick() -> None:
    assert exits(run([FLAT, FLAT, (101, 102, 101, 101)], [1], target=2)) == [(2, 101.0, "END_OF_DATA")]
    assert exits(run([FLAT, FLAT, (101, 102.0001, 101, 101)], [1, 1, 0], target=2))[0] == (2, 102.0, "TAKE_PROFIT")


def test_with_a_tick_the_market_must_trade_through_by_one() -> None:
    tick = Instrument("h", "C", tick="0.5")
    assert exits(run([FLAT, FLAT, (101, 102.4, 101, 101)], [1], target=2, instrument=tick))[0][2] == "END_OF_DATA"
    found = run([FLAT, FLAT, (101, 102.5, 101, 101)], [1, 1, 0], target=2, instrument=tick)
    assert exits(found)[0] == (2, 102.0, "TAKE_PROFIT")


def test_the_target_pays_maker_and_no_slippage_and_a_rebate_is_income() -> None:
    # Entry: 100.1, taker 0.1 % of it = 0.1001. Target at 102.1: maker -0.01 % of it = -0.01021.
    costs = Costs(maker_bps=-1, taker_bps=10, slippage_bps=10)
    trade = run([FLAT, FLAT, (101, 103, 101, 102)], [1, 1, 0], target=2, costs=costs).trades
    assert trade.exit_price[0] == pytest.approx(102.1)
    assert trade.entry_fee[0] == pytest.approx(0.1001)
    assert trade.exit_fee[0] == pytest.approx(-0.01021)
    assert trade.pnl[0] == pytest.approx(102.1 - 100.1 - 0.1001 + 0.01021)


def test_a_gap_open_decides_and_is_not_ambiguous() -> None:
    # Open beyond the target, low beyond the stop: the target came first.
    result = run([FLAT, FLAT, (105, 105, 90, 91)], [1, 1, 0], stop=2, target=2)
    assert exits(result)[0] == (2, 102.0, "TAKE_PROFIT")
    assert not result.trades.ambiguous[0]


def test_a_stop_nearer_than_its_own_slippage_goes_out_at_the_open() -> None:
    # Fill 100.1, stop 100.1 - 0.05 = 100.05: the open of 100 is already beyond it: 100 * 0.999 = 99.9.
    result = run([FLAT, FLAT], [1, 0], stop=0.05, costs=SLIP)
    assert exits(result) == [(1, 99.9, "STOP_LOSS")]


# F6: trailing


def test_the_trail_follows_the_extreme_up_to_the_bar_before() -> None:
    # Highs 104 then 107. In bar 3 the trail is still 104 - 5 = 99, so its low of 100 is no exit although
    # 107 - 5 = 102 would be; in bar 4 it is 102, and the open of 101 is beyond it.
    rows = [FLAT, FLAT, (100, 104, 100, 104), (104, 107, 100, 106), (101, 101, 101, 101)]
    assert exits(run(rows, [1, 1, 1, 1, 0], trail=5))[0] == (4, 101.0, "TRAIL")


def test_the_tighter_of_stop_and_trail_rules_and_gives_its_name() -> None:
    rows = [FLAT, FLAT, (99, 99, 96, 96)]
    assert exits(run(rows, [1, 1, 0], stop=2, trail=3))[0] == (2, 98.0, "STOP_LOSS")
    assert exits(run(rows, [1, 1, 0], stop=4, trail=3))[0] == (2, 97.0, "TRAIL")
    assert exits(run([FLAT, FLAT, (101, 104, 101, 104)], [-1, -1, 0], stop=4, trail=3))[0] == (2, 103.0, "TRAIL")


# F8, zero volume


def test_nothing_fills_where_nothing_trades_and_the_order_keeps_its_size() -> None:
    # Decided at close 0 (equity 1000, close 100: 10 units); bars 1 and 2 are silent; in at the open of bar 3.
    rows = [FLAT, (*FLAT, 0), (*FLAT, 0), (50, 50, 50, 50), (50, 50, 50, 50)]
    result = run(rows, [1], sizing=Sizing("fraction", fraction=1.0))
    assert result.trades.entry_bar.tolist() == [3]
    assert result.trades.decision_bar.tolist() == [0]
    assert result.trades.qty.tolist() == [10.0]
    assert result.counters["waited_for_volume"] == 1


def test_a_waiting_order_is_cancelled_by_another_decision() -> None:
    rows = [FLAT, (*FLAT, 0), FLAT, FLAT]
    assert len(run(rows, [1, 0, 0, 0]).trades) == 0
    assert run(rows, [1, -1, -1, 0]).trades.decision_bar.tolist() == [1]


def test_stops_stay_armed_through_silence() -> None:
    rows = [FLAT, FLAT, (90, 90, 90, 90, 0), (95, 95, 95, 95)]
    assert exits(run(rows, [1, 1, 1, 0], stop=2))[0] == (3, 95.0, "STOP_LOSS")


# F9: increments


def test_prices_round_against_us_and_levels_away_from_our_favour() -> None:
    # x = 0.1 %, tick 0.5: buy 100.1 -> 100.5; stop 100.5 - 1.3 = 99.2 -> 99.0; sell 99 * .999 = 98.901 -> 98.5.
    tick = Instrument("h", "C", tick="0.5")
    trade = run([FLAT, FLAT, (100, 100, 98, 98)], [1, 1, 0], stop=1.3, costs=SLIP, instrument=tick).trades
    assert (trade.entry_price[0], trade.stop[0], trade.exit_price[0]) == (100.5, 99.0, 98.5)
    # Short: sell 99.9 -> 99.5; stop 99.5 + 1.3 = 100.8 -> 101; buy 101 * 1.001 = 101.101 -> 101.5.
    trade = run([FLAT, FLAT, (100, 102, 100, 102)], [-1, -1, 0], stop=1.3, costs=SLIP, instrument=tick).trades
    assert (trade.entry_price[0], trade.stop[0], trade.exit_price[0]) == (99.5, 101.0, 101.5)
    # Targets too: long 100.5 + 1.3 = 101.8 -> 101.5.
    trade = run([FLAT, FLAT, (100, 103, 100, 102)], [1, 1, 0], target=1.3, costs=SLIP, instrument=tick).trades
    assert (trade.target[0], trade.exit_price[0]) == (101.5, 101.5)


def test_below_the_smallest_order_nothing_is_traded_and_the_run_says_since_when() -> None:
    small = Instrument("h", "C", min_notional=150.0)
    result = run([FLAT] * 4, [0, 1, 1, 1], instrument=small)
    assert result.counters["rejected_min_notional"] == 2  # at the opens of bars 2 and 3
    assert result.stopped == (2, "min_notional")
    assert len(result.trades) == 0


# F12: sizes


def test_risk_sizing_by_hand() -> None:
    # 0.75 % of 1000 = 7.5 at risk; stop 2: 3.75 units; cap 1.0 * 1000 / 100 = 10 units does not bind.
    trade = run([FLAT, FLAT], [1], stop=2, sizing=Sizing()).trades
    assert trade.qty.tolist() == [3.75]
    assert not trade.capped[0]
    # Stop 0.5: 15 units, capped at 10; a lot of 4 leaves 8.
    capped = run([FLAT, FLAT], [1], stop=0.5, sizing=Sizing(), instrument=Instrument("h", "C", lot="4")).trades
    assert capped.qty.tolist() == [8.0]
    assert capped.capped[0]


@pytest.mark.parametrize(("stop", "tick"), [(math.nan, None), (0.0, None), (-1.0, None), (0.4, "0.5")])
def test_risk_sizing_without_a_usable_stop_does_not_trade(stop: float, tick: str | None) -> None:
    result = run([FLAT] * 3, [1, 1, 0], stop=stop, sizing=Sizing(), instrument=Instrument("h", "C", tick=tick))
    assert len(result.trades) == 0
    assert result.counters["rejected_no_stop"] == 2
    assert result.stopped is None


def test_size_is_decided_at_the_close_and_reduced_to_cash_at_the_fill() -> None:
    # 1000 / 100 = 10 units decided; the open is 125 and a fee of 1 % comes on top: 1000 / 126.25 = 7.92079...
    rows = [FLAT, (125, 125, 125, 125)]
    result = run(rows, [1], sizing=Sizing("fraction", fraction=1.0), costs=Costs(taker_bps=100))
    assert result.trades.qty[0] == pytest.approx(1000 / 126.25, rel=1e-12)
    assert result.counters["reduced_to_cash"] == 1
    # The price fell instead: 10 units as decided, 250 stays in cash.
    assert run([FLAT, (75, 75, 75, 75)], [1], sizing=Sizing("fraction")).trades.qty.tolist() == [10.0]


def test_shorts_need_the_same_cash_as_longs() -> None:
    result = run([FLAT, (125, 125, 125, 125)], [-1], sizing=Sizing("fraction", fraction=1.0))
    assert result.trades.qty.tolist() == [8.0]


def test_all_in_whole_units_at_the_fill_fee_included() -> None:
    # 1000 / (110 * 1.01) = 9.0009: 9 units.
    rows = [FLAT, (110, 110, 110, 110)]
    result = run(rows, [1], sizing=Sizing("all_in_whole"), costs=Costs(taker_bps=100, maker_bps=100))
    assert result.trades.qty.tolist() == [9.0]


def test_without_compounding_the_size_comes_from_the_initial_capital() -> None:
    # Win 50 on the first trade (10 units, 5 up); the second is still 10 % of 1000, at a close of 105: 0.952...
    rows = [FLAT, FLAT, (105, 105, 105, 105), (105, 105, 105, 105), (105, 105, 105, 105)]
    sides = [1, 0, 1, 0]
    fixed = run(rows, sides, sizing=Sizing("fraction", fraction=0.1, compound=False)).trades
    grown = run(rows, sides, sizing=Sizing("fraction", fraction=0.1)).trades
    assert fixed.qty.tolist() == pytest.approx([1.0, 100 / 105])
    assert grown.qty.tolist() == pytest.approx([1.0, 100.5 / 105])  # equity 1005


# The end


def test_an_open_position_closes_at_the_last_close_with_costs() -> None:
    # 104 * 0.999 = 103.896, even though the last bar is silent.
    result = run([FLAT, FLAT, (104, 104, 104, 104, 0)], [1], costs=SLIP)
    assert exits(result) == [(2, 103.896, "END_OF_DATA")]
    assert result.qty[-1] == 0


def test_ruin_closes_everything_for_ever_at_zero() -> None:
    # 10 units short from 100: at 250 the loss is 1500 of 1000.
    rows = [FLAT, FLAT, (250, 250, 250, 250), FLAT, FLAT]
    result = run(rows, [-1], sizing=Sizing("fraction", fraction=1.0))
    assert exits(result) == [(2, 250.0, "LIQUIDATION")]
    assert result.equity.tolist() == [1000, 1000, 0, 0, 0]
    assert result.stopped == (2, "ruin")


def test_equity_and_exposure_by_hand() -> None:
    # One unit from 100, fee 1 per side at 100: cash 899 + mark; sold at 110 with a fee of 1.1.
    rows = [FLAT, (100, 105, 100, 104), (110, 110, 110, 110), FLAT]
    result = run(rows, [1, 0], costs=Costs(taker_bps=100))
    assert result.equity.tolist() == pytest.approx([1000, 1003, 1007.9, 1007.9])
    assert result.held.tolist() == [False, True, False, False]
    assert result.qty.tolist() == [0, 1, 0, 0]


def test_what_is_no_decision_is_refused() -> None:
    bars = Bars(np.arange(3) * 60_000_000, *np.full((5, 3), 100.0))
    account = Account(Instrument("h", "C"))
    with pytest.raises(StrategyError, match="a side must be -1, 0 or \\+1, found 2 at bar 1"):
        fill_orders(bars, np.array([0, 2, 0], dtype=np.int8), np.full((3, 3), np.nan), account)
    with pytest.raises(StrategyError, match="one side and 3 bracket distances per bar"):
        fill_orders(bars, np.zeros(2, dtype=np.int8), np.full((3, 3), np.nan), account)
    assert replace(account, initial_capital=5.0).initial_capital == 5.0
