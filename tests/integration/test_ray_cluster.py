"""A Ray cluster of several nodes on this machine: what is lost is computed again, and who is different is refused."""

from __future__ import annotations

import importlib
import importlib.util
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from grodtd.adapters.compute.local import LocalCompute
from grodtd.adapters.market_data.synthetic import synthetic_bars
from grodtd.backtest.engine import Market
from grodtd.backtest.sweep import combinations_of
from grodtd.backtest.sweep_tasks import SweepJob, joined, sweep_part, sweep_tasks
from grodtd.domain.errors import ComputeError, ConfigError
from grodtd.domain.kernel import JIT_DISABLED
from grodtd.domain.market import Account, Costs, Instrument, Sizing
from grodtd.strategies.s1_trend import S1_TREND
from tests.compute_functions import die_where_told, plus, sweep_part_once_let_go

pytestmark = [
    pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="ray is an optional extra"),
    pytest.mark.skipif(JIT_DISABLED, reason="workers compile; nothing of this is interpreted"),
]

AddNode = Callable[..., Any]


@pytest.fixture
def cluster() -> Iterator[Any]:
    """Yield a cluster whose head computes nothing, so that it is the other nodes that do and that can be lost."""
    importlib.import_module("grodtd.adapters.compute.ray")  # its settings come before Ray reads them
    from ray.cluster_utils import Cluster

    # A silent node is given up after seconds, not after fifteen.
    health = {"health_check_period_ms": 500, "health_check_timeout_ms": 2_000, "health_check_failure_threshold": 4}
    head = {"num_cpus": 0, "include_dashboard": False, "_system_config": health}
    made = Cluster(initialize_head=True, head_node_args=head)
    try:
        yield made
    finally:
        made.shutdown()


def workers_of(node: Any) -> list[int]:
    """Return the processes that the node's daemon has started."""
    daemon = node.all_processes["raylet"][0].process.pid
    found: list[int] = []
    for file in Path(f"/proc/{daemon}/task").glob("*/children"):
        with suppress(FileNotFoundError, ProcessLookupError):  # a thread that has ended meanwhile
            found += map(int, file.read_text().split())
    return found


def lose_at_work(cluster: Any, node: Any, folder: Path) -> None:
    """Take a node away while a task is at work on it, as a machine that loses its power."""
    deadline = time.monotonic() + 60
    try:
        while not any((folder / str(pid)).exists() for pid in workers_of(node)):
            assert time.monotonic() < deadline, "no task came to the node"
            time.sleep(0.01)
        for pid in workers_of(node):
            os.kill(pid, signal.SIGKILL)
        cluster.remove_node(node, allow_graceful=False)
    finally:
        (folder / "hold").unlink()


def test_a_sweep_that_loses_a_node_is_the_local_one_bit_for_bit(
    cluster: Any, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    import ray

    from grodtd.adapters.compute.ray import RayCompute

    nodes = [cluster.add_node(num_cpus=1) for _ in range(2)]
    account = Account(
        Instrument("binance", "G1"), Costs(2, 5, 0.5, 0.5), Sizing("fixed_qty", qty=0.1), initial_capital=1e7
    )
    job = SweepJob(Market(synthetic_bars("G1", 100_000, seed=3)[0]), S1_TREND, account)
    grid = {
        "ema_bars": np.arange(5, 45),
        "stop_atr": np.linspace(0.5, 4, 10),
        "reward_risk": np.linspace(0.5, 3, 5),
    }
    combinations = list(combinations_of(S1_TREND, {name: values.tolist() for name, values in grid.items()}))
    tasks = list(sweep_tasks(S1_TREND, combinations, per_task=50))
    assert (len(combinations), len(tasks)) == (2_000, 40)

    puts: list[Any] = []
    put = ray.put
    monkeypatch.setattr(ray, "put", lambda value: puts.append(value) or put(value))
    # The cluster is seen to shrink while tasks are in flight.
    monkeypatch.setattr("grodtd.adapters.compute.ray.RESOURCES_AGE_S", 0.0)
    with LocalCompute(2) as compute:
        local = [part for _, part in compute.map(sweep_part, [job], tasks)]
    parts = []
    with RayCompute(cluster.address) as cluster_compute:
        assert cluster_compute.workers == 2
        again = SweepJob(job.market, S1_TREND, account)
        assert len(list(cluster_compute.map(sweep_part_once_let_go, ([again], tmp_path), tasks[:3]))) == 3
        losing = threading.Thread(target=lose_at_work, args=(cluster, nodes[0], tmp_path))
        results = cluster_compute.map(sweep_part_once_let_go, ([job], tmp_path), tasks)
        for number, (_, part) in enumerate(results):
            parts.append(part)
            if number == 9:
                (tmp_path / "hold").touch()
                losing.start()
        losing.join()
        assert cluster_compute.restarted >= 1
    assert len(parts) == len(local) == 40
    found, expected = joined(job, combinations, parts), joined(job, combinations, local)
    for name in ("params", "sums", "equity", "final", "by_engine"):
        assert getattr(found, name).tobytes() == getattr(expected, name).tobytes(), name
    assert len(puts) == 1, "bars were put more than once"
    assert capfd.readouterr().out == "", "standard output is the command's own"


def test_a_worker_that_dies_is_replaced_and_one_task_that_kills_every_worker_is_an_error(
    cluster: Any, tmp_path: Path
) -> None:
    from grodtd.adapters.compute.ray import RayCompute

    cluster.add_node(num_cpus=2)
    with RayCompute(cluster.address, attempts_max=3) as compute:
        for name in ("1.a", "1.b", "4.a"):
            (tmp_path / name).touch()
        assert sorted(compute.map(die_where_told, tmp_path, range(6))) == [(i, i) for i in range(6)]
        for name in ("2.a", "2.b", "2.c"):
            (tmp_path / name).touch()
        with pytest.raises(ComputeError, match="task 2 was started 3 times .* WorkerCrashedError"):
            list(compute.map(die_where_told, tmp_path, range(6)))
        # Twice task 1, once task 4, and twice task 2 before it was given up.
        assert compute.restarted == 5


def test_a_node_with_other_code_is_refused(cluster: Any) -> None:
    from grodtd.adapters.compute.ray import RayCompute

    with pytest.raises(ConfigError, match="has no processors"):
        RayCompute(cluster.address)
    cluster.add_node(num_cpus=1, env_vars={"NUMBA_DISABLE_JIT": "1"})
    with pytest.raises(ConfigError, match="is refused: compiled 'False' there, 'True' here; install the same version"):
        RayCompute(cluster.address)


def test_a_worker_with_other_code_that_joins_later_is_refused(cluster: Any) -> None:
    from grodtd.adapters.compute.ray import RayCompute

    cluster.add_node(num_cpus=1)
    with RayCompute(cluster.address) as compute:
        assert sorted(compute.map(plus, 1, range(3))) == [(0, 1), (1, 2), (2, 3)]
        cluster.add_node(num_cpus=4, env_vars={"NUMBA_DISABLE_JIT": "1"})
        with pytest.raises(ConfigError, match="is refused: compiled"):
            list(compute.map(plus, 1, range(5_000)))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"address": "127.0.0.1:1"}, "no Ray answers at 127.0.0.1:1"),
        ({"address": "ray://10.0.0.1:10001"}, "host:port of its head"),
        ({"address": "auto"}, "host:port of its head"),
        ({"address": "127.0.0.1:1", "workers": 2}, "an address or a number of workers"),
        ({"workers": 0}, "must be at least 1"),
        ({"attempts_max": 0}, "must be at least 1"),
    ],
)
def test_what_cannot_be_connected_to_is_refused_at_once(given: dict[str, Any], message: str) -> None:
    from grodtd.adapters.compute.ray import RayCompute

    with pytest.raises(ConfigError, match=message):
        RayCompute(**given)
