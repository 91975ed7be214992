"""`from_signals` as we wrote it down, by hand arithmetic; tests/parity holds it to vectorbt itself."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from grodtd.backtest.vectorbt_parity import signals

FLAT = (100.0, 100.0, 100.0, 100.0)
Orders = list[tuple[int, float, float, float]]


def run(bars: list[tuple[float, ...]], *, price: list[float] | None = None, **given: Any) -> tuple[Orders, float]:
    """Bars are (open, high, low, close); signals name the bars they are on; prices default to the closes."""
    n = len(bars)
    matrix = np.array(bars, dtype=np.float64)

    def on(name: str) -> Any:
        return np.isin(np.arange(n), given.get(name, ()))

    at, orders, cash = signals(
        matrix,
        on("long_entry"),
        on("long_exit"),
        on("short_entry"),
        on("short_exit"),
        matrix[:, 3].copy() if price is None else np.array(price, dtype=np.float64),
        given.get("size", 1.0),
        given.get("is_value", False),
        given.get("fees", 0.0),
        given.get("slippage", 0.0),
        np.full(n, given.get("stop", math.nan)),
        np.full(n, given.get("target", math.nan)),
        given.get("is_trailing", False),
        given.get("stop_from_fill", False),
        given.get("stop_at_market", True),
        given.get("capital", 1_000.0),
    )
    return [(int(i), *map(float, order)) for i, order in zip(at, orders, strict=True)], float(cash)


def test_in_and_out_with_fees_and_slippage() -> None:
    orders, cash = run([FLAT, (110.0,) * 4], long_entry=[0], long_exit=[1], size=2.0, fees=0.01)
    assert orders == [(0, 2.0, 100.0, 2.0), (1, -2.0, 110.0, pytest.approx(2.2))]
    assert cash == pytest.approx(1_000 - 202 + 220 - 2.2)
    # Bought 1 % above, sold 1 % below.
    orders, cash = run([FLAT, FLAT], long_entry=[0], long_exit=[1], slippage=0.01)
    assert [price for _, _, price, _ in orders] == pytest.approx([101.0, 99.0])
    assert cash == pytest.approx(998.0)


@pytest.mark.parametrize(
    ("bar", "price"),
    [
        ((95.0, 96.0, 85.0, 90.0), 90.0),  # through the level
        ((80.0, 85.0, 75.0, 82.0), 80.0),  # opened beyond it
        ((95.0, 96.0, 90.5, 95.0), None),  # never reached
    ],
)
def test_a_stop_fills_at_its_level_or_at_a_worse_open(bar: tuple[float, ...], price: float | None) -> None:
    orders, _ = run([FLAT, bar], long_entry=[0], stop=0.1)
    assert orders[1:] == ([] if price is None else [(1, -1.0, pytest.approx(price), 0.0)])


def test_slippage_of_a_stop_depends_on_how_it_is_sent() -> None:
    bar = (95.0, 96.0, 85.0, 90.0)
    for at_market, price in ((True, 89.1), (False, 90.0)):
        # Bought at 100 x 1.01; the base is the close, 100: the level is 90.
        orders, _ = run([FLAT, bar], long_entry=[0], stop=0.1, slippage=0.01, stop_at_market=at_market)
        assert orders[1][2] == pytest.approx(price)
    # From the fill: 101 x 0.9.
    orders, _ = run([FLAT, bar], long_entry=[0], stop=0.1, slippage=0.01, stop_from_fill=True, stop_at_market=False)
    assert orders[1][2] == pytest.approx(90.9)


def test_targets_of_both_sides() -> None:
    orders, _ = run([FLAT, (101.0, 106.0, 100.0, 104.0)], long_entry=[0], target=0.05)
    assert orders[1] == (1, -1.0, pytest.approx(105.0), 0.0)
    orders, _ = run([FLAT, (99.0, 100.0, 94.0, 96.0)], short_entry=[0], target=0.05)
    assert orders == [(0, -1.0, 100.0, 0.0), (1, 1.0, pytest.approx(95.0), 0.0)]


def test_a_short_is_stopped_above() -> None:
    orders, cash = run([FLAT, (105.0, 112.0, 104.0, 108.0)], short_entry=[0], stop=0.1)
    assert orders[1] == (1, 1.0, pytest.approx(110.0), 0.0)
    assert cash == pytest.approx(990.0)


def test_a_trailing_stop_follows_the_high() -> None:
    # The high of bar 1, 120, moves the level to 108; bar 2 falls through it.
    bars = [FLAT, (100.0, 120.0, 100.0, 115.0), (115.0, 116.0, 100.0, 101.0)]
    orders, _ = run(bars, long_entry=[0], stop=0.1, is_trailing=True)
    assert orders[1] == (2, -1.0, pytest.approx(108.0), 0.0)


def test_an_opposite_entry_turns_the_position_and_an_exit_does_not() -> None:
    orders, _ = run([FLAT, FLAT, FLAT], long_entry=[0], short_entry=[1], short_exit=[2])
    assert [size for _, size, _, _ in orders] == [1.0, -2.0, 1.0]
    orders, _ = run([FLAT, FLAT], short_entry=[0], long_entry=[1])
    assert [size for _, size, _, _ in orders] == [-1.0, 2.0]


def test_signals_that_contradict_each_other_do_nothing() -> None:
    for both in (["long_entry", "long_exit"], ["short_entry", "short_exit"], ["long_entry", "short_entry"]):
        assert run([FLAT, FLAT], **{name: [0] for name in both})[0] == []


def test_what_cannot_be_paid_is_bought_in_part() -> None:
    orders, cash = run([FLAT, FLAT], long_entry=[0], size=2.0, capital=100.0)
    assert orders == [(0, 1.0, 100.0, 0.0)]
    assert cash == 0.0
    # 100 pays for 100 / 1.25 = 80 and a fee of 20.
    orders, _ = run([FLAT, FLAT], long_entry=[0], size=2.0, capital=100.0, fees=0.25)
    assert orders == [(0, pytest.approx(0.8), 100.0, pytest.approx(20.0))]
    assert run([FLAT, FLAT], long_entry=[0], capital=0.0)[0] == []


def test_a_size_in_money_buys_what_it_is_worth() -> None:
    assert run([FLAT, FLAT], long_entry=[0], size=500.0, is_value=True)[0] == [(0, 5.0, 100.0, 0.0)]
