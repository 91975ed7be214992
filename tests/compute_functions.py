"""Functions that tests hand to a `ComputePort`; here and not in a test, so that Ray's workers can import them."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np

from grodtd.backtest.sweep_tasks import SweepJob, SweepPart, SweepTask, sweep_part
from grodtd.domain.bars import Bars
from grodtd.domain.errors import DataError
from grodtd.domain.strategy import Strategy
from grodtd.strategies.s1_trend import S1_TREND


def plus(shared: int, task: int) -> int:
    return shared + task


def refuse_three(shared: str, task: int) -> int:
    if task == 3:
        raise DataError(f"{shared}: task {task} is refused; leave it out")
    return task


def wait_then_plus(shared: float, task: int) -> int:
    time.sleep(shared)
    return task


def closes_sum(bars: Bars, task: slice) -> tuple[float, str, bool]:
    part = bars[task]
    return float(part.close.sum()), part.content_hash(), bool(bars.close.flags.writeable)


def is_our_rule(strategy: Strategy, task: str) -> bool:
    return getattr(strategy, task) is getattr(S1_TREND, task)


def decided_sides(shared: tuple[Strategy, Bars], task: tuple[Any, ...]) -> bytes:
    strategy, bars = shared
    return strategy.decisions(bars, strategy.params(*task)).side.tobytes()


def content(arrays: list[np.ndarray[Any, Any]], task: int) -> tuple[tuple[int, ...], str, Any]:
    return arrays[task].shape, arrays[task].dtype.str, arrays[task].tolist()


def ones(shared: None, task: int) -> np.ndarray[Any, Any]:
    return np.ones(task)


def die_where_told(shared: Path, task: int) -> int:
    """End the worker process, as a crash would, each time there is a file named after the task to take away."""
    for file in sorted(shared.glob(f"{task}.*")):
        file.unlink()
        os._exit(1)
    return task


def sweep_part_once_let_go(shared: tuple[list[SweepJob], Path], task: SweepTask) -> SweepPart:
    """Run a task of a sweep; while there is a file `hold`, say which process is at work and wait."""
    jobs, folder = shared
    if (folder / "hold").exists():
        (folder / str(os.getpid())).touch()
        while (folder / "hold").exists():
            time.sleep(0.01)
    return sweep_part(jobs, task)


def interrupt_then_wait(shared: threading.Event, task: int) -> bool:
    """Press Ctrl-C and go on working."""
    os.kill(os.getpid(), signal.SIGINT)
    return shared.wait(60)
