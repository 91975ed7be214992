"""Rounding, and what a bar did: the functions of the fill engine that others call too, at the edge of their rules."""

from __future__ import annotations

import pytest

from grodtd.execution.fill_kernel import REACHED, SAME_BAR, STOPPED, bar_outcome, is_through, whole_steps


@pytest.mark.parametrize(
    ("value", "numerator", "denominator", "up", "expected"),
    [
        (7.3, 0.0, 1.0, True, 7.3),  # no step, no rounding
        (7.3, 1.0, 1.0, False, 7.0),
        (7.3, 1.0, 1.0, True, 8.0),
        (7.5, 1.0, 2.0, True, 7.5),  # 15 halves
        (7.6, 1.0, 2.0, False, 7.5),
        (7.6, 1.0, 2.0, True, 8.0),
        (0.1 + 0.2, 1.0, 10.0, True, 0.3),  # 3.0000000000000004 tenths
        # Noise is 1e-9 of the number of steps, of one step at the least, and may be all of it.
        (1e-9, 1.0, 1.0, True, 0.0),
        (1.5e-9, 1.0, 1.0, True, 1.0),
        (1 - 0.9e-9, 1.0, 1.0, False, 1.0),
        (1 - 1.1e-9, 1.0, 1.0, False, 0.0),
        (1_000 + 0.9e-6, 1.0, 1.0, True, 1_000.0),
        (1_000 + 1.1e-6, 1.0, 1.0, True, 1_001.0),
    ],
)
def test_steps_are_whole_but_for_noise(
    value: float, numerator: float, denominator: float, up: bool, expected: float
) -> None:
    assert whole_steps(value, numerator, denominator, up) == expected


@pytest.mark.parametrize(
    ("tick", "side", "price", "target", "expected"),
    [
        (0.0, 1, 100.0, 100.0, False),  # strictly beyond
        (0.0, 1, 100.1, 100.0, True),
        (0.0, -1, 99.9, 100.0, True),
        (0.0, -1, 100.1, 100.0, False),
        (1.0, 1, 101.0, 100.0, True),  # by a tick
        (1.0, 1, 100.9, 100.0, False),
        (1.0, -1, 99.0, 100.0, True),
        (1.0, -1, 99.1, 100.0, False),
        (1.0, 1, 0.0, -(1.0 - 1e-9), True),  # a tick less all of its noise
        (1.0, 1, 0.0, -(1.0 - 2e-9), False),
        # The noise of the price: 1e-12 of 140,000 is 1.4e-7.
        (1.0, 1, 140_000.0, 139_999.0 + 1.3e-7, True),
        (1.0, 1, 140_000.0, 139_999.0 + 1.6e-7, False),
    ],
)
def test_through_is_a_tick_or_strictly_beyond(
    tick: float, side: int, price: float, target: float, expected: bool
) -> None:
    assert bool(is_through(tick, side, price, target)) is expected


@pytest.mark.parametrize(
    ("mode", "side", "ohl", "is_stopped", "is_reached", "expected"),
    [
        # Stop at 98 of a long from 100, at 102 of a short; open, high, low.
        ("stop_first", 1, (100, 103, 99), False, True, (REACHED, False)),
        ("stop_first", 1, (100, 101, 97), True, False, (STOPPED, False)),
        ("stop_first", 1, (100, 103, 97), True, True, (STOPPED, True)),
        ("target_first", 1, (100, 103, 97), True, True, (REACHED, True)),
        ("target_first", 1, (98, 103, 97), True, True, (STOPPED, True)),  # the open is at the stop: nothing comes first
        ("target_first", -1, (102, 103, 97), True, True, (STOPPED, True)),
        ("ohlc_path", 1, (100, 102.5, 97), True, True, (REACHED, True)),  # nearer the high: up first
        ("ohlc_path", 1, (100, 103, 97), True, True, (STOPPED, True)),  # as far: down first
        ("ohlc_path", -1, (100, 102.5, 97), True, True, (STOPPED, True)),
        ("ohlc_path", -1, (100, 103, 97.5), True, True, (REACHED, True)),
        ("ohlc_path", 1, (100, 102.5, 97), True, False, (STOPPED, False)),
        ("drilldown", 1, (100, 102.5, 97), True, True, (STOPPED, True)),  # what it could not see
    ],
)
def test_what_a_bar_did(
    mode: str,
    side: int,
    ohl: tuple[float, float, float],
    is_stopped: bool,
    is_reached: bool,
    expected: tuple[int, bool],
) -> None:
    level = 98.0 if side > 0 else 102.0
    outcome, reference, is_ambiguous = bar_outcome(SAME_BAR[mode], side, *ohl, level, is_stopped, is_reached)
    assert (outcome, bool(is_ambiguous)) == expected
    assert outcome == REACHED or reference == level


def test_a_stop_beyond_which_the_bar_opened_fills_at_the_open() -> None:
    # Entered at 100 with slippage to 103 and a stop 2 below that: 101 is above the open.
    assert bar_outcome(SAME_BAR["target_first"], 1, 100.0, 106.0, 99.0, 101.0, True, True) == (STOPPED, 100.0, True)
