"""From an equity path to daily returns, months and drawdowns."""

from __future__ import annotations

import math
from datetime import UTC, datetime

import numpy as np
import pytest

from grodtd.domain.bars import Bars
from grodtd.performance.returns import (
    buy_and_hold,
    coverage,
    daily_equity,
    daily_returns,
    drawdown,
    equity_path,
    monthly_returns,
    returns_periods_per_year,
    until_ruin,
    years,
)
from tests.unit.performance.runs import DAY_US, HOUR_US, run_of


def test_daily_marks_are_midnights_and_partial_days_are_left_out() -> None:
    # From 12:00, three days of hours: equity grows by 1 an hour. Midnights at hours 12, 36, 60 hold 112, 136, 160.
    result = run_of(100.0 + np.arange(1, 73), start_us=12 * HOUR_US)
    time, equity = daily_equity(result)
    assert (time // HOUR_US).tolist() == [24, 48, 72]
    assert equity.tolist() == [112.0, 136.0, 160.0]
    assert daily_returns(result) == pytest.approx([24 / 112, 24 / 136])


def test_a_run_from_midnight_to_midnight_starts_from_the_initial_capital() -> None:
    result = run_of(np.linspace(101, 148, 48))
    assert daily_equity(result)[1].tolist() == [100.0, 124.0, 148.0]


def test_a_run_inside_one_day_has_no_daily_return() -> None:
    assert daily_returns(run_of(np.linspace(101, 110, 10), start_us=5 * HOUR_US)).size == 0


def test_a_bar_that_ends_after_midnight_is_the_next_days() -> None:
    # 4h bars that open at 02:00, 06:00, ..., 22:00: the one open over midnight closes at 02:00.
    result = run_of(100.0 + np.arange(1, 13), start_us=2 * HOUR_US, timeframe="4h")
    time, equity = daily_equity(result)
    assert (time // HOUR_US).tolist() == [24, 48]
    assert equity.tolist() == [105.0, 111.0]


def test_a_missing_day_carries_the_last_equity_forward() -> None:
    # Half a day, 48 hours of nothing, half a day: midnights at 0, 24, 48, 72 hours.
    hours = np.append(np.arange(12), np.arange(60, 72))
    result = run_of(100.0 + np.arange(1.0, 25.0), time=hours * HOUR_US)
    assert daily_equity(result)[1].tolist() == [100.0, 112.0, 112.0, 124.0]
    assert coverage(result.bars) == pytest.approx(24 / 72)
    assert years(result.bars) == pytest.approx(3 / 365)


def test_a_session_calendar_skips_closed_days() -> None:
    # Friday 1970-01-02 and Monday 1970-01-05, seven hourly bars each from 14:00.
    hours = np.concatenate((38 + np.arange(7), 110 + np.arange(7)))
    result = run_of(100.0 + np.arange(1.0, 15.0), time=hours * HOUR_US, calendar="sessions")
    time, equity = daily_equity(result)
    assert (time // HOUR_US).tolist() == [38, 45, 117]
    assert equity.tolist() == [100.0, 107.0, 114.0]
    assert returns_periods_per_year(result.bars) == 252
    assert coverage(result.bars) == 1.0


def test_daily_session_bars_are_the_sample_themselves() -> None:
    days = np.array([1, 4, 5, 6])
    result = run_of(
        np.array([110.0, 121, 121, 60.5]), time=days * DAY_US, timeframe="1d", calendar="sessions", capital=100.0
    )
    assert daily_returns(result) == pytest.approx([0.1, 0.1, 0.0, -0.5])


@pytest.mark.parametrize("calendar", ["24x7", "sessions"])
def test_bars_longer_than_a_day_are_not_cut_into_days(calendar: str) -> None:
    monday = 4 * DAY_US
    result = run_of(
        np.array([110.0, 121.0, 60.5]), start_us=monday, timeframe="1w", calendar=calendar  # type: ignore[arg-type]
    )
    assert daily_returns(result) == pytest.approx([0.1, 0.1, -0.5])
    assert returns_periods_per_year(result.bars) == pytest.approx(365 / 7)


def test_returns_end_with_ruin() -> None:
    result = run_of(np.array([50.0, 0.0, 0.0]), timeframe="1d")
    assert daily_returns(result).tolist() == [-0.5, -1.0]
    assert until_ruin(np.array([0.5, -1.2, 3.0])).tolist() == [0.5, -1.0]
    assert until_ruin(np.array([0.5, -0.9])).tolist() == [0.5, -0.9]


def test_elapsed_years_come_from_the_clock_not_from_rows() -> None:
    # 365 days and one bar of an hour, two rows.
    bars = run_of(np.array([1.0, 1.0]), time=np.array([0, 365 * DAY_US])).bars
    assert years(bars) == pytest.approx(1 + 1 / 8760, rel=1e-12)


def test_months_are_calendar_months() -> None:
    # 1970-01-01 + 31 days of hours: the last bar of January closes at midnight and is January's.
    result = run_of(100.0 + np.arange(1, 32 * 24 + 1))
    assert monthly_returns(result) == {(1970, 1): pytest.approx(7.44), (1970, 2): pytest.approx(24 / 844)}


def test_months_know_leap_years_and_the_turn_of_the_year() -> None:
    start = datetime(2023, 12, 31, tzinfo=UTC)
    result = run_of(100 * 1.001 ** np.arange(1, 62), start_us=int(start.timestamp()) * 1_000_000, timeframe="1d")
    days = {(2023, 12): 1, (2024, 1): 31, (2024, 2): 29}
    assert monthly_returns(result) == {month: pytest.approx(1.001**n - 1) for month, n in days.items()}


def test_a_month_after_ruin_returns_nothing() -> None:
    assert monthly_returns(run_of(np.append(50.0, np.zeros(35)), timeframe="1d")) == {(1970, 1): -1.0, (1970, 2): 0.0}


def test_buy_and_hold_buys_the_first_open() -> None:
    price = np.array([50.0, 60.0])
    bars = Bars(np.array([0, HOUR_US]), price, price + 5, price, price + 5, np.ones(2), timeframe="1h")
    assert buy_and_hold(bars, 1_000.0).tolist() == pytest.approx([1_100.0, 1_300.0])


def test_drawdown_starts_from_the_initial_capital() -> None:
    result = run_of(np.array([90.0, 120.0, 60.0, 120.0]))
    assert drawdown(equity_path(result)) == pytest.approx([0.0, -0.1, 0.0, -0.5, 0.0])


@pytest.mark.parametrize("path", [[0.0, 1.0], [-1.0, 1.0], [1.0, -0.1]])
def test_an_equity_path_below_zero_is_refused(path: list[float]) -> None:
    with pytest.raises(ValueError, match="starts above zero and never falls below it"):
        drawdown(np.array(path))


def test_values_that_are_not_finite_are_refused_with_their_place() -> None:
    with pytest.raises(ValueError, match="found nan at position 1"):
        until_ruin(np.array([0.1, math.nan]))
    with pytest.raises(ValueError, match="found inf at position 0"):
        drawdown(np.array([math.inf]))
