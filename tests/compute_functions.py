"""Functions that tests hand to a `ComputePort`; here and not in a test, so that Ray's workers can import them."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import numpy as np

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


def ones(shared: None, task: int) -> np.ndarray[Any, Any]:
    return np.ones(task)


def die_where_told(shared: Path, task: int) -> int:
    """End the worker process, as a crash would, each time there is a file named after the task to take away."""
    for file in sorted(shared.glob(f"{task}.*")):
        file.unlink()
        os._exit(1)
    return task
