"""The compiled engine against the slow simulator, trade by trade, on random markets."""

from __future__ import annotations

import numpy as np
import pytest

from grodtd.domain.kernel import JIT_DISABLED
from grodtd.domain.run import COUNTERS, ExitReason, RunResult
from grodtd.execution.fills import fill_orders
from tests.reference.paths import random_path
from tests.reference.simulator import simulate

N_PATHS = 50 if JIT_DISABLED else 1_000


def assert_same(ours: RunResult, theirs: RunResult, label: str) -> None:
    assert len(ours.trades) == len(theirs.trades), label
    for (name, a), (_, b) in zip(ours.trades.columns(), theirs.trades.columns(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12, err_msg=f"{label}: {name}")
    scale = ours.account.initial_capital
    np.testing.assert_allclose(ours.equity, theirs.equity, rtol=1e-9, atol=1e-9 * scale, err_msg=label)
    np.testing.assert_allclose(ours.qty, theirs.qty, rtol=1e-9, atol=1e-12, err_msg=label)
    np.testing.assert_array_equal(ours.held, theirs.held, err_msg=label)
    assert dict(ours.counters) == dict(theirs.counters), label
    assert ours.stopped == theirs.stopped, label


def test_engine_equals_simulator_on_random_paths() -> None:
    seen = dict.fromkeys([*COUNTERS, *(r.name for r in ExitReason), "ruin", "min_notional"], 0)
    for seed in range(N_PATHS):
        bars, side, bracket, account = random_path(seed)
        ours = fill_orders(bars, side, bracket, account)
        assert_same(ours, simulate(bars, side, bracket, account), f"seed {seed}")
        for name, count in ours.counters.items():
            seen[name] += count
        for code in ours.trades.exit_reason.tolist():
            seen[ExitReason(code).name] += 1
        if ours.stopped is not None:
            seen[ours.stopped[1]] += 1
    if not JIT_DISABLED:  # the paths do reach every branch
        assert all(seen.values()), {name for name, count in seen.items() if not count}


@pytest.mark.parametrize("n_bars", [0, 1, 2, 3])
def test_the_shortest_runs(n_bars: int) -> None:
    for seed in range(20):
        bars, side, bracket, account = random_path(seed, n_bars=10)
        part = bars[:n_bars], side[:n_bars], bracket[:, :n_bars], account
        assert_same(fill_orders(*part), simulate(*part), f"seed {seed}, {n_bars} bars")
