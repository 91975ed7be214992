"""What every `ComputePort` must do: threads and Ray alike."""

from __future__ import annotations

import importlib.util
import itertools
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import cast

import numpy as np
import pytest

from grodtd.adapters.compute.local import LocalCompute
from grodtd.adapters.market_data.synthetic import synthetic_bars
from grodtd.backtest.engine import Market
from grodtd.backtest.sweep import combinations_of, run_sweep
from grodtd.backtest.sweep_tasks import SweepJob, combinations_per_task, joined, sweep_part, sweep_tasks
from grodtd.domain.compute import ComputePort
from grodtd.domain.errors import ConfigError, DataError
from grodtd.domain.kernel import JIT_DISABLED
from grodtd.domain.market import Account, Costs, Instrument, Sizing
from grodtd.strategies.s1_trend import S1_TREND
from grodtd.workflows.strategies import resolve_strategy, scaffold
from tests.compute_functions import (
    closes_sum,
    content,
    decided_sides,
    interrupt_then_wait,
    is_our_rule,
    ones,
    plus,
    refuse_three,
    wait_then_plus,
)

HAS_RAY = importlib.util.find_spec("ray") is not None
needs_ray = pytest.mark.skipif(not HAS_RAY, reason="ray is an optional extra")


@pytest.fixture(scope="module", params=["local", pytest.param("ray", marks=needs_ray)])
def compute(request: pytest.FixtureRequest) -> Iterator[ComputePort]:
    if request.param == "local":
        with LocalCompute(2) as local:
            yield local
        return
    from grodtd.adapters.compute.ray import RayCompute

    with RayCompute(workers=2) as ray:
        yield ray


def test_every_task_comes_back_once_with_its_index(compute: ComputePort) -> None:
    assert compute.workers == 2
    found = list(compute.map(plus, 100, [7, 7, 5, -1]))
    assert sorted(found) == [(0, 107), (1, 107), (2, 105), (3, 99)]


def test_no_tasks_give_no_results(compute: ComputePort) -> None:
    assert list(compute.map(plus, 100, [])) == []


def test_many_more_tasks_than_workers(compute: ComputePort) -> None:
    assert sorted(compute.map(plus, 1, range(300))) == [(i, i + 1) for i in range(300)]


def test_tasks_are_taken_as_workers_become_free(compute: ComputePort) -> None:
    taken = itertools.count()
    with closing(
        cast("Iterator[tuple[int, int]]", compute.map(plus, 0, (next(taken) for _ in itertools.count())))
    ) as found:
        for _ in range(5):
            next(found)
    # Five results, and at most two tasks for each of two workers beyond them.
    assert next(taken) <= 5 + 4


def test_an_error_of_the_function_comes_through_unchanged_and_drops_the_rest(compute: ComputePort) -> None:
    taken = itertools.count()
    with pytest.raises(DataError) as caught:
        for _ in compute.map(refuse_three, "BTCUSDT", (next(taken) for _ in itertools.count())):
            pass
    assert type(caught.value) is DataError
    assert str(caught.value) == "BTCUSDT: task 3 is refused; leave it out"
    assert next(taken) <= 40
    # And the workers are there for the next map.
    assert sorted(compute.map(plus, 1, range(3))) == [(0, 1), (1, 2), (2, 3)]


def test_leaving_early_does_not_wait_for_what_runs(compute: ComputePort) -> None:
    found = compute.map(wait_then_plus, 0.05, range(10_000))
    next(found)
    before = threading.active_count()
    found.close()  # type: ignore[attr-defined]  # both give generators
    assert threading.active_count() <= before
    assert sorted(compute.map(plus, 1, range(3))) == [(0, 1), (1, 2), (2, 3)]


def test_bars_arrive_to_the_last_bit_and_cannot_be_written(compute: ComputePort) -> None:
    bars, _ = synthetic_bars("G1", 50_000, seed=4)
    parts = [slice(0, 50_000), slice(10, 20), slice(49_000, 50_000)]
    found = dict(compute.map(closes_sum, bars, parts))
    assert found == {i: (float(bars[p].close.sum()), bars[p].content_hash(), False) for i, p in enumerate(parts)}


def test_arrays_of_every_layout_arrive(compute: ComputePort) -> None:
    arrays = [
        np.empty(0),
        np.arange(12.0).reshape(3, 4).T,
        np.arange(10)[::2],
        np.array(3.5),
        np.zeros((0, 3), np.int8),
    ]
    found = dict(compute.map(content, arrays, range(5)))
    assert found == {i: (a.shape, a.dtype.str, a.tolist()) for i, a in enumerate(arrays)}


def test_large_results_arrive_whole(compute: ComputePort) -> None:
    found = dict(compute.map(ones, None, [1, 100_000, 3]))
    assert {index: array.sum() for index, array in found.items()} == {0: 1, 1: 100_000, 2: 3}


def test_compiled_rules_arrive_as_the_ones_of_the_package(compute: ComputePort) -> None:
    found = dict(compute.map(is_our_rule, S1_TREND, ["decide", "bracket", "features", "params", "row"]))
    assert found == dict.fromkeys(range(5), True)


def test_a_strategy_of_a_users_file_arrives(compute: ComputePort, tmp_path: Path) -> None:
    scaffold("mine", tmp_path)
    strategy = resolve_strategy(f"{tmp_path / 'mine.py'}:MINE")
    bars, _ = synthetic_bars("G1", 2_000, seed=4)
    params = strategy.check_params({})
    here = strategy.decisions(bars, params).side
    assert np.count_nonzero(here) > 100
    assert dict(compute.map(decided_sides, (strategy, bars), [params, tuple(params)])) == dict.fromkeys(
        range(2), here.tobytes()
    )


@pytest.mark.skipif(JIT_DISABLED, reason="too slow interpreted")
def test_a_sweep_in_tasks_is_the_sweep_bit_for_bit(compute: ComputePort) -> None:
    account = Account(
        Instrument("binance", "G1"), Costs(2, 5, 0.5, 0.5), Sizing("fixed_qty", qty=0.1), initial_capital=1e7
    )
    jobs = [SweepJob(Market(synthetic_bars("G1", n, seed=n)[0]), S1_TREND, account) for n in (5_000, 6_000)]
    grid = {"ema_bars": [30, 5, 9], "stop_atr": [1.0, 2.0, 4.0], "reward_risk": [0.5, 1.0, 2.0]}
    combinations = list(combinations_of(S1_TREND, grid))
    tasks = [t for job in range(2) for t in sweep_tasks(S1_TREND, combinations, per_task=5, job=job)]
    assert len(tasks) == 12
    # First here: what is compiled once is on the disk for Ray's workers.
    wholes = [run_sweep(job.market, S1_TREND, combinations, account, threads=2) for job in jobs]
    parts = [part for _, part in compute.map(sweep_part, jobs, tasks)]
    for number, (job, whole) in enumerate(zip(jobs, wholes, strict=True)):
        found = joined(job, combinations, [part for part in parts if part.job == number])
        for name in ("params", "sums", "equity", "final", "by_engine"):
            assert getattr(found, name).tobytes() == getattr(whole, name).tobytes(), name


def test_ctrl_c_does_not_wait_for_threads_at_work() -> None:
    is_done = threading.Event()
    # A process started in a shell's background inherits that Ctrl-C is ignored.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with LocalCompute(1) as compute, pytest.raises(KeyboardInterrupt):
            list(compute.map(interrupt_then_wait, is_done, [0]))
    finally:
        signal.signal(signal.SIGINT, before)
    assert not is_done.is_set()
    is_done.set()


def test_a_task_is_about_a_second_of_work() -> None:
    year = synthetic_bars("G1", 525_600, seed=1)[0]
    # 525,600 bars x 5 ns are 2.628 ms a combination.
    assert combinations_per_task(year) == 381
    assert combinations_per_task(year, task_s=0.5) == 190
    assert combinations_per_task(year, task_s=1e-9) == 1
    assert combinations_per_task(year[:0]) == 200_000_000


def test_a_part_that_is_missing_or_comes_twice_is_noticed() -> None:
    account = Account(Instrument("binance", "G1"), Costs(2, 5), Sizing("fixed_qty", qty=0.1), initial_capital=1e7)
    job = SweepJob(Market(synthetic_bars("G1", 3_000, seed=1)[0]), S1_TREND, account)
    combinations = list(combinations_of(S1_TREND, {"stop_atr": [1.0, 2.0]}))
    part = sweep_part([job], next(sweep_tasks(S1_TREND, combinations, per_task=1)))
    with pytest.raises(AssertionError, match="did not come back"):
        joined(job, combinations, [part])
    with pytest.raises(AssertionError, match="came back twice"):
        joined(job, combinations, [part, part])


def test_without_ray_the_extra_is_named() -> None:
    text = "import sys; sys.modules['ray'] = None; import grodtd.adapters.compute.ray"
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=False)
    assert "ConfigError: computing with Ray needs the extra `ray`" in done.stderr


def test_threads_number_at_least_one() -> None:
    with pytest.raises(ConfigError, match="at least 1 worker, found 0"):
        LocalCompute(0)
    with LocalCompute() as compute:
        assert compute.workers >= 1
        compute.close()
