"""The ledger against QUANT_SPEC 4, worked out there, and the proof that it adds up."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from grodtd.domain.bars import Bars
from grodtd.domain.errors import ExecutionError
from grodtd.domain.market import Account, Costs, Instrument, Sizing
from grodtd.domain.run import Fills, RunResult
from grodtd.execution.fills import Leg, fill_orders, fill_portfolio
from grodtd.execution.ledger import check_ledger, ledger_of

MINUTE_US = 60_000_000
REGIMES = np.array(["range", "range", "trend", "trend", "hv"])


def standing_bars(*closes: float) -> Bars:
    price = np.array(closes)
    return Bars(np.arange(price.size) * MINUTE_US, price, price, price, price, np.ones(price.size))


def spec_fills(spread: tuple[float, ...] = (0, 0, 0), impact: tuple[float, ...] = (0, 0, 0)) -> Fills:
    """Buy 2 at 100.05 (reference 100), sell 0.5 at 103.97 (104), sell 1.5 at 97.90 (98); the fee is 0.05 %."""
    qty, price = np.array([2.0, 0.5, 1.5]), np.array([100.05, 103.97, 97.90])
    return Fills(
        bar=np.array([0, 2, 4]),
        trade=np.zeros(3, dtype=np.int64),
        side=np.array([1, -1, -1], dtype=np.int8),
        qty=qty,
        ref=np.array([100.0, 104.0, 98.0]),
        price=price,
        fee=0.0005 * qty * price,
        spread=np.array(spread, dtype=float),
        impact=np.array(impact, dtype=float),
        reason=np.array([0, 4, 4], dtype=np.int8),
    )


BARS = standing_bars(100, 102, 104, 101, 98)
POSITION = np.array([2, 2, 1.5, 1.5, 0])
FUNDING = np.array([0, 0.0202, 0, 0.01485, 0])
NOTHING = np.zeros(5)


def test_totals_are_those_of_the_specification() -> None:
    totals = ledger_of(BARS, spec_fills(), POSITION, FUNDING, NOTHING).totals()
    # Gross: 2 * 2 + 2 * 2 - 1.5 * 3 - 1.5 * 3 = -1. Slippage: 2 * 0.05 + 0.5 * 0.03 + 1.5 * 0.1 = 0.265.
    # Fees: 0.10005 + 0.0259925 + 0.073425 = 0.1994675.
    expected = {"gross": -1.0, "spread": 0, "slippage": 0.265, "impact": 0, "fees": 0.1994675, "funding": 0.03505}
    assert totals == {name: pytest.approx(value, abs=1e-12) for name, value in {**expected, "borrow": 0}.items()}


def test_every_bar_is_that_of_the_specification() -> None:
    # The specification's bars are before funding, which falls into bars 1 and 3.
    ledger = ledger_of(BARS, spec_fills(), POSITION, NOTHING, NOTHING)
    np.testing.assert_allclose(ledger.net, [-0.20005, 4.0, 3.9590075, -4.5, -4.723425], rtol=1e-12)
    with_funding = ledger_of(BARS, spec_fills(), POSITION, FUNDING, NOTHING)
    np.testing.assert_allclose(with_funding.net, ledger.net - FUNDING, rtol=1e-12)
    assert with_funding.net.sum() == pytest.approx(-1.4995175, rel=1e-12)


def test_regimes_share_the_total_as_in_the_specification() -> None:
    net = ledger_of(BARS, spec_fills(), POSITION, FUNDING, NOTHING).net
    found = {name: float(net[name == REGIMES].sum()) for name in ("range", "trend", "hv")}
    expected = {"range": 3.77975, "trend": -0.5558425, "hv": -4.723425}
    assert found == {name: pytest.approx(value, rel=1e-12) for name, value in expected.items()}


def test_spread_and_impact_are_taken_out_of_the_slippage_and_leave_the_net() -> None:
    # Of 0.1, 0.015 and 0.15 lost at the fills, 0.04, 0.01 and 0.03 are spread and 0.05, 0 and 0.1 impact.
    ledger = ledger_of(BARS, spec_fills((0.04, 0.01, 0.03), (0.05, 0, 0.1)), POSITION, FUNDING, NOTHING)
    np.testing.assert_allclose(ledger.spread, [0.04, 0, 0.01, 0, 0.03], atol=1e-12)
    np.testing.assert_allclose(ledger.impact, [0.05, 0, 0, 0, 0.1], atol=1e-12)
    np.testing.assert_allclose(ledger.slippage, [0.01, 0, 0.005, 0, 0.02], atol=1e-12)
    assert ledger.net.sum() == pytest.approx(-1.4995175, rel=1e-12)


def test_several_fills_of_one_bar_add_up() -> None:
    # Buy 2 at 100, sell 2 at 103, in a bar that closes at 104: 2 * 4 - 2 * 1 = 6.
    qty = np.array([2.0, 2.0])
    price, zero = np.array([100.0, 103.0]), np.zeros(2)
    fills = Fills(
        *(np.zeros(2, dtype=np.int64),) * 2,
        np.array([1, -1], dtype=np.int8),
        *(qty, price, price, zero, zero, zero),
        np.array([0, 4], dtype=np.int8),
    )
    ledger = ledger_of(standing_bars(104), fills, np.zeros(1), np.zeros(1), np.zeros(1))
    assert ledger.gross.tolist() == [6.0]
    assert ledger.slippage.tolist() == [0.0]


def test_borrow_is_a_cost_of_its_bar() -> None:
    borrow = np.array([0.1, 0, 0, 0.2, 0])
    with_borrow, without = (ledger_of(BARS, spec_fills(), POSITION, NOTHING, b) for b in (borrow, NOTHING))
    np.testing.assert_allclose(with_borrow.net, without.net - borrow, rtol=1e-12)


def long_one() -> RunResult:
    """Bought at 100 with a fee of 1, worth 102 at the end and sold there with a fee of 1.02."""
    account = Account(Instrument("hand", "X"), Costs(taker_bps=100), Sizing("fixed_qty"), initial_capital=1_000)
    bars = standing_bars(100, 100, 102)
    return fill_orders(bars, np.ones(3, dtype=np.int8), np.full((6, 3), np.nan), account)


def test_a_ledger_that_explains_the_equity_passes() -> None:
    result = long_one()
    np.testing.assert_allclose(result.equity, [1000, 999, 999.98], rtol=1e-12)
    check_ledger([result], np.arange(3), result.equity, 1_000, 0.0, None)
    check_ledger([], np.arange(0), np.empty(0), 1_000, 0.0, None)


@pytest.mark.parametrize("bar", [0, 1, 2])
def test_a_penny_missing_in_any_bar_is_an_error(bar: int) -> None:
    result = long_one()
    equity = result.equity.copy()
    equity[bar] += 0.01
    with pytest.raises(ExecutionError, match="differ by 0.01 after 202 of trading; this is a bug"):
        check_ledger([result], np.arange(3), equity, 1_000, 0.0, None)


def test_a_cost_that_never_reached_the_account_is_an_error() -> None:
    result = long_one()
    dearer = replace(result, ledger=replace(result.ledger, fees=result.ledger.fees + 0.5))
    with pytest.raises(ExecutionError, match="does not add up"):
        check_ledger([dearer], np.arange(3), result.equity, 1_000, 0.0, None)


def test_after_ruin_only_what_was_forgiven_may_be_missing() -> None:
    # Ten short at 100 and 250 at the end of bar 2: -500, floored at 0.
    account = Account(Instrument("hand", "X"), Costs(), Sizing("fixed_qty", qty=10), initial_capital=1_000)
    bars = standing_bars(100, 100, 250, 250)
    result = fill_orders(bars, -np.ones(4, dtype=np.int8), np.full((6, 4), np.nan), account)
    assert result.stopped == (2, "ruin")
    assert result.equity.tolist() == [1000, 1000, 0, 0]
    check_ledger([result], np.arange(4), result.equity, 1_000, 500.0, result.stopped)
    with pytest.raises(ExecutionError, match="differ by 500"):
        check_ledger([result], np.arange(4), result.equity, 1_000, 0.0, result.stopped)


@pytest.mark.parametrize(
    ("capital", "missing", "is_noise"),
    [
        (0.0, 1.0e-9, True),  # the bound is 1e-9 times 1 at the least, and may be reached
        (0.0, 1.5e-9, False),
        (1_000.0, 0.9e-6, True),  # 1e-9 times the capital
        (1_000.0, 1.1e-6, False),
    ],
)
def test_what_is_missing_may_be_a_billionth_of_the_capital(capital: float, missing: float, is_noise: bool) -> None:
    idle = fill_orders(BARS, np.zeros(5, dtype=np.int8), np.full((6, 5), np.nan), Account(Instrument("hand", "X")))
    equity = np.full(5, capital)
    equity[2] += missing
    if is_noise:
        check_ledger([idle], np.arange(5), equity, capital, 0.0, None)
    else:
        with pytest.raises(ExecutionError, match="does not add up"):
            check_ledger([idle], np.arange(5), equity, capital, 0.0, None)


def test_what_is_missing_may_be_a_billionth_of_what_was_traded() -> None:
    # 202 were traded: 0.9 and 1.1 of 2.02e-7, where a capital of 100 would allow 1e-7.
    result = long_one()
    for share, is_noise in ((0.9, True), (1.1, False)):
        equity = 100 + np.array([0, -1, -0.02])
        equity[1] += share * 2.02e-7
        if is_noise:
            check_ledger([result], np.arange(3), equity, 100, 0.0, None)
        else:
            with pytest.raises(ExecutionError, match="does not add up"):
                check_ledger([result], np.arange(3), equity, 100, 0.0, None)


def test_a_run_out_of_money_is_checked_to_its_end() -> None:
    result = long_one()
    equity = result.equity.copy()
    equity[1] += 0.01
    with pytest.raises(ExecutionError, match="differ by 0.01"):
        check_ledger([result], np.arange(3), equity, 1_000, 0.0, (0, "min_notional"))


def test_before_its_ruin_a_symbol_explains_every_bar() -> None:
    account = Account(Instrument("hand", "X"), Costs(), Sizing("fixed_qty", qty=10), initial_capital=1_000)
    result = fill_orders(standing_bars(100, 100, 250, 250), -np.ones(4, np.int8), np.full((6, 4), np.nan), account)
    assert result.stopped == (2, "ruin")
    equity = result.equity.copy()
    equity[1] += 0.01
    with pytest.raises(ExecutionError, match="differ by 0.01"):
        check_ledger([result], np.arange(4), equity, 1_000, 500.0, result.stopped)


def test_several_symbols_explain_every_step_unless_ruined() -> None:
    first, second = long_one(), long_one()
    both = first.equity + second.equity - 1_000
    steps = np.tile(np.arange(3), 2)
    check_ledger([first, second], steps, both, 1_000, 0.0, None)
    both[1] += 0.01
    with pytest.raises(ExecutionError, match="differ by 0.01"):
        check_ledger([first, second], steps, both, 1_000, 0.0, None)


def test_a_symbol_without_a_bar_at_the_ruin_pays_for_its_exit_in_its_last_bar() -> None:
    account = Account(Instrument("hand", "X"), Costs(taker_bps=100), Sizing("fixed_qty"), initial_capital=210)
    short = Leg(standing_bars(100, 100, 100, 400), -np.ones(4, np.int8), np.full((6, 4), np.nan), account)
    price, time = np.full(4, 100.0), np.array([0, 1, 2, 4]) * MINUTE_US  # none in step 3
    long = Leg(Bars(time, *(price,) * 4, np.ones(4)), np.ones(4, np.int8), np.full((6, 4), np.nan), account)
    result = fill_portfolio([short, long])
    # 210 - 1 - 1 after both entries; the short loses 300 in step 3.
    assert result.equity.tolist() == [210, 208, 208, 0, 0]
    assert result.stopped == (3, "ruin")
    # The long is closed at 100, its mark, for a fee of 1, in bar 2: its own equity is 210 - 1, then 210 - 2.
    assert result.legs[1].equity.tolist() == [210, 209, 208, 208]
