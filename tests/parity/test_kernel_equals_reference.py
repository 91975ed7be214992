"""The compiled engine against the slow simulator, trade by trade, on random markets."""

from __future__ import annotations

import os
from dataclasses import fields, replace

import numpy as np
import pytest

from grodtd.domain.kernel import JIT_DISABLED
from grodtd.domain.run import COUNTERS, ExitReason, Fills, Ledger, RunResult, Trades
from grodtd.execution.fills import Leg, fill_orders, fill_portfolio
from tests.reference.paths import random_path, random_portfolio
from tests.reference.simulator import simulate, simulate_portfolio

# Interpreted they take their time: few, unless somebody asks for more.
N_PATHS = int(os.environ.get("GRODT_PATHS", "50")) if JIT_DISABLED else 1_000
N_PORTFOLIOS = int(N_PATHS * 0.4) if JIT_DISABLED else 300


def assert_same_columns(ours: Trades | Fills | Ledger, theirs: Trades | Fills | Ledger, label: str) -> None:
    for column in fields(ours):
        a, b = getattr(ours, column.name), getattr(theirs, column.name)
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9, err_msg=f"{label}: {column.name}")


def assert_same(ours: RunResult, theirs: RunResult, label: str) -> None:
    assert len(ours.trades) == len(theirs.trades), label
    assert_same_columns(ours.trades, theirs.trades, label)
    assert len(ours.fills) == len(theirs.fills), label
    assert_same_columns(ours.fills, theirs.fills, label)
    scale = ours.account.initial_capital
    np.testing.assert_allclose(ours.equity, theirs.equity, rtol=1e-9, atol=1e-9 * scale, err_msg=label)
    np.testing.assert_allclose(ours.qty, theirs.qty, rtol=1e-9, atol=1e-12, err_msg=label)
    np.testing.assert_array_equal(ours.held, theirs.held, err_msg=label)
    for column in fields(Ledger):
        a, b = getattr(ours.ledger, column.name), getattr(theirs.ledger, column.name)
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9 * scale, err_msg=f"{label}: {column.name}")
    assert dict(ours.counters) == dict(theirs.counters), label
    assert ours.stopped == theirs.stopped, label


def test_engine_equals_simulator_on_random_paths() -> None:
    seen = dict.fromkeys([*COUNTERS, *(r.name for r in ExitReason), "ruin", "min_notional"], 0)
    for seed in range(N_PATHS):
        bars, side, bracket, account, gate, funding, fine = random_path(seed)
        ours = fill_orders(bars, side, bracket, account, gate=gate, funding=funding, fine=fine)
        theirs = simulate(bars, side, bracket, account, gate=gate, funding=funding, fine=fine)
        assert_same(ours, theirs, f"seed {seed}")
        for name, count in ours.counters.items():
            seen[name] += count
        for code in ours.trades.exit_reason.tolist():
            seen[ExitReason(code).name] += 1
        if ours.stopped is not None:
            seen[ours.stopped[1]] += 1
    del seen["rejected_no_cash"]  # one symbol has cash unless it is ruined; the portfolios reach it
    if not JIT_DISABLED:  # the paths do reach every branch
        assert all(seen.values()), {name for name, count in seen.items() if not count}


def test_portfolios_equal_the_simulator() -> None:
    without_cash = 0
    for seed in range(N_PORTFOLIOS):
        given = random_portfolio(seed)
        legs = [Leg(p.bars, p.side, p.bracket, p.account, p.gate, p.funding, p.fine) for p in given]
        ours, theirs = fill_portfolio(legs), simulate_portfolio(given)
        label, scale = f"portfolio {seed}", legs[0].account.initial_capital
        np.testing.assert_array_equal(ours.time, theirs.time, err_msg=label)
        np.testing.assert_allclose(ours.equity, theirs.equity, rtol=1e-9, atol=1e-9 * scale, err_msg=label)
        for mine, other in zip(ours.legs, theirs.legs, strict=True):
            assert len(mine.trades) == len(other.trades), label
            assert_same_columns(mine.trades, other.trades, label)
            np.testing.assert_allclose(mine.qty, other.qty, rtol=1e-9, atol=1e-12, err_msg=label)
            np.testing.assert_array_equal(mine.held, other.held, err_msg=label)
        assert dict(ours.counters) == dict(theirs.counters), label
        assert ours.stopped == theirs.stopped, label
        without_cash += ours.counters["rejected_no_cash"]
    assert without_cash or JIT_DISABLED


def test_bars_passed_quickly_change_nothing() -> None:
    # One symbol on its own may pass bars without an event at once; beside a second one it goes bar by bar. The second
    # one here never wants anything, so both must end in the same bits.
    passed = blocked = gated = 0
    for seed in range(N_PATHS):
        path = random_path(seed)
        bars, gate = path.bars, path.gate
        if gate is None and seed % 2:
            gate = np.random.default_rng(seed).choice(np.array([1, 1, 0, -1], dtype=np.int8), len(bars))
        alone = Leg(bars, path.side, path.bracket, path.account, gate, path.funding, path.fine)
        other = replace(path.account, instrument=replace(path.account.instrument, symbol="IDLE"))
        idle = Leg(bars, np.zeros_like(path.side), path.bracket, other, None, None, path.fine)
        one, two = fill_portfolio([alone]), fill_portfolio([alone, idle])
        label = f"seed {seed}"
        np.testing.assert_array_equal(one.equity, two.equity, err_msg=label)
        assert one.counters == two.counters, label
        assert one.stopped == two.stopped, label
        for column in ("equity", "qty", "held"):
            a, b = getattr(one.legs[0], column), getattr(two.legs[0], column)
            np.testing.assert_array_equal(a, b, err_msg=f"{label}: {column}")
        for name, array in one.legs[0].trades.columns():
            np.testing.assert_array_equal(array, getattr(two.legs[0].trades, name), err_msg=f"{label}: {name}")
        passed += path.account.limits.daily_loss == 0 and path.account.rules.session_minutes == (0, 1_440)
        blocked += path.account.rules.reentry == "edge" and bool(len(one.legs[0].trades))
        gated += one.counters["gated"]
    # Enough of them may pass bars at once, with re-entry blocked or the gate closed.
    assert passed > N_PATHS / 10
    assert min(blocked, gated) > 0


@pytest.mark.parametrize("n_bars", [0, 1, 2, 3])
def test_the_shortest_runs(n_bars: int) -> None:
    for seed in range(20):
        bars, side, bracket, account, gate, funding, fine = random_path(seed, n_bars=10)
        part = bars[:n_bars], side[:n_bars], bracket[:, :n_bars], account
        rows = {
            "gate": None if gate is None else gate[:n_bars],
            "funding": None if funding is None else funding[:n_bars],
            "fine": fine,
        }
        assert_same(fill_orders(*part, **rows), simulate(*part, **rows), f"seed {seed}, {n_bars} bars")
