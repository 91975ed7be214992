"""A portfolio as one run, worked out by hand: two symbols, one of which begins a minute later."""

from __future__ import annotations

import numpy as np
import pytest

from grodtd.domain.bars import Bars
from grodtd.domain.market import Account, Costs, Instrument, Sizing
from grodtd.domain.run import ExitReason
from grodtd.execution.fills import Leg, PortfolioResult, fill_portfolio
from grodtd.workflows.portfolio import as_one

MINUTE_US = 60_000_000


def leg(symbol: str, first_minute: int, side: list[int], *closes: float, costs: Costs | None = None) -> Leg:
    price = np.array(closes)
    time = (first_minute + np.arange(price.size)) * MINUTE_US
    bars = Bars(time, price, price, price, price, np.full(price.size, 2.0), venue="hand", symbol=symbol)
    sizing, instrument = Sizing("fixed_qty", qty=6), Instrument("hand", symbol, tick="0.5", lot="1")
    account = Account(instrument, costs or Costs(), sizing, initial_capital=1_000)
    return Leg(bars, np.array(side, dtype=np.int8), np.full((6, price.size), np.nan), account)


@pytest.fixture(name="result")
def _result() -> PortfolioResult:
    # A: long 6 from minute 1 (100), out in minute 4 (120). B, from minute 1 on: short 6 from minute 2 (40), out in
    # minute 3 (45), as its own close 1 decides.
    a = leg("A", 0, [1, 1, 1, 0, 0], 100, 100, 110, 110, 120)
    return fill_portfolio([a, leg("B", 1, [-1, 0, 0, 0], 50, 40, 45, 45)])


def test_the_index_holds_every_symbol_for_the_same_amount(result: PortfolioResult) -> None:
    bars = as_one(result).bars
    assert (bars.time // MINUTE_US).tolist() == [0, 1, 2, 3, 4]
    # 50 * A / 100 + 50 * B / 50, B at its first open until it begins.
    np.testing.assert_allclose(bars.close, [50 + 50, 50 + 50, 55 + 40, 55 + 45, 60 + 45])
    np.testing.assert_allclose(bars.open, [100, 100, 100, 95, 100])
    np.testing.assert_allclose(bars.high, [100, 100, 100, 100, 105])
    np.testing.assert_allclose(bars.low, [100, 100, 95, 95, 100])
    assert bars.volume.tolist() == [2, 4, 4, 4, 4]
    assert (bars.venue, bars.symbol, bars.timeframe) == ("hand", "A+B", "1m")


def test_positions_are_gross_notional_in_units_of_the_index(result: PortfolioResult) -> None:
    one = as_one(result)
    # Minute 1: 6 * 100. Minute 2: 6 * 110 + 6 * 40. Minute 3: 6 * 110. Out in minute 4.
    np.testing.assert_allclose(one.qty * one.bars.close, [0, 600, 900, 660, 0])
    assert one.held.tolist() == [False, True, True, True, False]


def test_trades_and_fills_count_steps_and_stand_in_order(result: PortfolioResult) -> None:
    one = as_one(result)
    assert one.trades.side.tolist() == [-1, 1]  # B leaves first
    assert one.trades.decision_bar.tolist() == [1, 0]  # B's own bar 0 is minute 1
    assert one.trades.entry_bar.tolist() == [2, 1]
    assert one.trades.exit_bar.tolist() == [3, 4]
    assert one.trades.exit_reason.tolist() == [ExitReason.SIGNAL, ExitReason.SIGNAL]
    assert one.trades.pnl.tolist() == [-30, 120]
    assert one.fills.bar.tolist() == [1, 2, 3, 4]
    assert one.fills.price.tolist() == [100, 40, 45, 120]


def test_the_ledger_of_both_explains_the_equity(result: PortfolioResult) -> None:
    one = as_one(result)
    assert one.equity.tolist() == [1000, 1000, 1060, 1030, 1090]
    np.testing.assert_allclose(one.ledger.net, [0, 0, 60, -30, 60], atol=1e-9)
    assert one.counters["entries"] == 2
    assert one.stopped is None


def test_costs_of_both_stand_in_one_ledger() -> None:
    # Two fills of 6 at 100 for 1 %, two of 6 at 50 for 0.1 %.
    a = leg("A", 0, [1, 0, 0], 100, 100, 100, costs=Costs(taker_bps=100))
    b = leg("B", 0, [-1, 0, 0], 50, 50, 50, costs=Costs(taker_bps=10))
    one = as_one(fill_portfolio([a, b]))
    np.testing.assert_allclose(one.ledger.fees, [0, 6.3, 6.3])
    assert one.trades.fees.sum() == pytest.approx(12.6)


def test_the_account_of_both_has_no_increments_of_one(result: PortfolioResult) -> None:
    instrument = as_one(result).account.instrument
    assert (instrument.symbol, instrument.tick, instrument.lot) == ("A+B", None, None)


def test_one_symbol_alone_is_itself() -> None:
    only = fill_portfolio([leg("A", 0, [1, 1, 0, 0], 100, 100, 110, 120)])
    one = as_one(only)
    np.testing.assert_allclose(one.bars.close, only.legs[0].bars.close)  # it begins at 100, as the index does
    np.testing.assert_allclose(one.qty, [0, 6, 6, 0])
    assert one.trades.pnl.tolist() == only.legs[0].trades.pnl.tolist() == [120]
