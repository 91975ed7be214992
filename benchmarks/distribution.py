"""What distributing costs: starting, handing over tasks, moving bars; and Ray beside threads on the same sweep.

    .venv/bin/python benchmarks/distribution.py [--json] [--combinations 1000] [--rounds 3]

Both sides run the same tasks, interleaved, with caches warm and results compared bit for bit. Needs the extra `ray`.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Iterator
from importlib.metadata import version

import numpy as np

from grodtd.adapters.compute.local import LocalCompute
from grodtd.adapters.compute.ray import RayCompute
from grodtd.adapters.market_data.synthetic import synthetic_bars
from grodtd.backtest.engine import Market
from grodtd.backtest.sweep import combinations_of
from grodtd.backtest.sweep_tasks import SweepJob, SweepPart, combinations_per_task, sweep_part, sweep_tasks
from grodtd.domain.bars import COLUMNS, Bars
from grodtd.domain.compute import ComputePort
from grodtd.domain.market import Account, Costs, Instrument, Sizing
from grodtd.strategies.s1_trend import S1_TREND

YEAR_BARS = 525_600
EMPTY_TASKS = 5_000
SYMBOLS = 4
SPEED = "ray over local, speed (goal: at least 0.9)"


def nothing(shared: object, task: int) -> int:
    """Return the task: what is left is the cost of handing it over."""
    return task


def rows(shared: object, task: int) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Return as many float64 as told: what is left is the cost of a result."""
    return np.zeros(task)


def length(bars: Bars, task: int) -> int:
    """Touch every column of the shared bars."""
    return len(bars) + task + int(sum(getattr(bars, name)[-1] * 0 for name in COLUMNS))


def seconds(compute: ComputePort, function: object, shared: object, tasks: object) -> float:
    """Return the wall time of a whole map."""
    start = time.perf_counter()
    for _ in compute.map(function, shared, tasks):  # type: ignore[arg-type]
        pass
    return time.perf_counter() - start


def sweep(compute: ComputePort, jobs: list[SweepJob], per_task: int) -> tuple[float, list[float], list[SweepPart]]:
    """Return the wall time of a sweep, when each task came back, and the parts in order."""
    combinations = list(
        combinations_of(
            S1_TREND,
            {
                "ema_bars": list(range(5, 15)),
                "stop_atr": np.linspace(0.5, 4, 10).tolist(),
                "reward_risk": np.linspace(0.5, 3, OPTIONS.combinations // 100).tolist(),
            },
        )
    )

    def tasks() -> Iterator[object]:
        for job in range(len(jobs)):
            yield from sweep_tasks(S1_TREND, combinations, per_task=per_task, job=job)

    start, came, parts = time.perf_counter(), [], {}
    for index, part in compute.map(sweep_part, jobs, tasks()):  # type: ignore[arg-type]
        parts[index] = part
        came.append(time.perf_counter() - start)
    return time.perf_counter() - start, came, [parts[i] for i in range(len(parts))]


def main() -> None:
    """Measure and print."""
    account = Account(
        Instrument("binance", "G1"), Costs(2, 5, 0.5, 0.5), Sizing("fixed_qty", qty=0.1), initial_capital=1e7
    )
    jobs = [SweepJob(Market(synthetic_bars("G1", YEAR_BARS, seed=s)[0]), S1_TREND, account) for s in range(SYMBOLS)]
    year = jobs[0].market.bars
    found: dict[str, float] = {}

    start = time.perf_counter()
    with RayCompute(workers=2) as ray, LocalCompute(2) as local:
        found["start Ray on this machine, s"] = time.perf_counter() - start
        found["first task of a worker (import, numba), s"] = seconds(ray, nothing, None, [1, 2])
        for name, compute in (("ray", ray), ("local", local)):
            before = time.process_time()
            found[f"empty tasks/s, {name}"] = EMPTY_TASKS / seconds(compute, nothing, None, range(EMPTY_TASKS))
            found[f"processor time of the driver a task, {name}, ms"] = (
                (time.process_time() - before) / EMPTY_TASKS * 1e3
            )
        for n in (1_000, 12_000, 120_000, 1_200_000):
            count = max(20, min(1_000, 20_000_000 // n))
            took = seconds(ray, rows, None, [n] * count)
            found[f"tasks/s with a result of {n * 8 / 1e3:,.0f} kB, ray"] = count / took
        times = []
        for _ in range(7):
            start = time.perf_counter()
            next(iter(ray.map(length, year, [0])))
            times.append(time.perf_counter() - start)
        found["put a year of bars (525,600 x 6) and use it once, ms"] = statistics.median(times) * 1e3
        found["a year of bars, MB"] = sum(a.nbytes for a in (year.time, *(getattr(year, c) for c in COLUMNS))) / 1e6

        per_task = OPTIONS.per_task or combinations_per_task(year)
        both: dict[str, list[float]] = {"ray": [], "local": []}
        results: dict[str, list[SweepPart]] = {}
        n_tasks = 0
        for compute in (local, ray):  # machine code
            sweep(compute, jobs[:1], per_task)
        for _ in range(OPTIONS.rounds):
            for name, compute in (("local", local), ("ray", ray)):
                took, came, results[name] = sweep(compute, jobs, per_task)
                both[name].append(took)
                n_tasks = len(came)
        for one, other in zip(results["local"], results["ray"], strict=True):
            if not all(np.array_equal(a, b, equal_nan=True) for a, b in zip(one, other, strict=True)):
                raise SystemExit("threads and Ray gave different results")
        work = f"year x {OPTIONS.combinations:,} combinations x {SYMBOLS} symbols"
        for name, took in both.items():
            found[f"{work}, {name} 2, s"] = statistics.median(took)
        found["tasks of that sweep"] = n_tasks
        found["seconds a task"] = 2 * statistics.median(both["local"]) / n_tasks
        found[SPEED] = statistics.median(a / b for a, b in zip(both["local"], both["ray"], strict=True))

    if OPTIONS.json:
        packages = ", ".join(f"{name} {version(name)}" for name in ("ray", "numba", "numpy"))
        machine = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, {packages}"
        print(json.dumps({"machine": machine, "rounds": OPTIONS.rounds, "measured": found}, indent=2))
        return
    for name, value in found.items():
        print(f"{name:75s} {value:12,.2f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--combinations", type=int, default=1_000, help="a multiple of 100")
    parser.add_argument("--per-task", type=int, help="default: as `grodt optimize` does")
    parser.add_argument("--rounds", type=int, default=3)
    OPTIONS = parser.parse_args()
    main()
