"""A sweep cut into tasks for a `ComputePort`: what travels there, what comes back, and the whole put together again."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from grodtd.backtest.engine import Market
from grodtd.backtest.sweep import run_sweep, why_engine
from grodtd.domain.bars import Bars, FloatArray, daily_marks
from grodtd.domain.market import Account
from grodtd.domain.strategy import Strategy
from grodtd.domain.sweep import SUMS, SweepResult

Combination = tuple[Any, ...]

# benchmarks/distribution.py, a grid; a combination that shares its signals with no other costs about twice as much.
_S_PER_COMBINATION_AND_BAR: Final = 5e-9


@dataclass(frozen=True, eq=False)
class SweepJob:
    """What all tasks of a sweep share."""

    market: Market
    strategy: Strategy
    account: Account


class SweepTask(NamedTuple):
    """Some of the combinations of one of the jobs."""

    job: int
    rows: npt.NDArray[np.intp]
    combinations: tuple[Combination, ...]


class SweepPart(NamedTuple):
    """The rows of a `SweepResult` that one task has computed; shapes as there."""

    job: int
    rows: npt.NDArray[np.intp]
    sums: FloatArray
    equity: FloatArray
    final: FloatArray
    by_engine: npt.NDArray[np.bool_]


def combinations_per_task(bars: Bars, *, task_s: float = 1.0) -> int:
    """Return about how many combinations over these bars take one processor `task_s` seconds; at least 1.

    Handing a task over costs a millisecond, so half a second is enough. Longer ones save features that tasks compute
    anew, shorter ones lose less with a machine.
    """
    return max(round(task_s / (_S_PER_COMBINATION_AND_BAR * max(len(bars), 1))), 1)


def sweep_tasks(
    strategy: Strategy, combinations: Sequence[Combination], *, per_task: int, job: int = 0
) -> Iterator[SweepTask]:
    """Yield tasks of at most `per_task` combinations; those with the same signals stay together.

    A task computes its indicators and decisions itself: one that holds fewer signals costs less.
    """
    names: tuple[str, ...] = strategy.params._fields  # type: ignore[attr-defined]  # every NamedTuple class has it
    signal = [i for i, name in enumerate(names) if strategy.roles[name] != "bracket"]
    order = sorted(range(len(combinations)), key=lambda row: tuple(combinations[row][i] for i in signal))
    for at in range(0, len(order), per_task):
        rows = order[at : at + per_task]
        yield SweepTask(job, np.array(rows, dtype=np.intp), tuple(combinations[row] for row in rows))


def sweep_part(jobs: Sequence[SweepJob], task: SweepTask) -> SweepPart:
    """Run one task, in one thread: the function for `ComputePort.map`, with the jobs as what is shared.

    Raises
    ------
    DataError, StrategyError, ExecutionError
        As `run_sweep`.
    """
    job = jobs[task.job]
    found = run_sweep(job.market, job.strategy, task.combinations, job.account, threads=1)
    return SweepPart(task.job, task.rows, found.sums, found.equity, found.final, found.by_engine)


def joined(job: SweepJob, combinations: Sequence[Combination], parts: Iterable[SweepPart]) -> SweepResult:
    """Return what `run_sweep` returns for all combinations, bit for bit, from the parts of this job in any order."""
    names: tuple[str, ...] = job.strategy.params._fields  # type: ignore[attr-defined]  # likewise
    n, n_marks = len(combinations), daily_marks(job.market.bars)[0].size
    found = SweepResult(
        job.market.bars,
        job.account.initial_capital,
        names,
        np.array([tuple(map(float, c)) for c in combinations], dtype=np.float64).reshape(n, len(names)),
        sums=np.full((n, len(SUMS)), np.nan),
        equity=np.full((n, n_marks), np.nan),
        final=np.full(n, np.nan),
        by_engine=np.zeros(n, dtype=np.bool_),
        why_engine=why_engine(job.market, job.account),
    )
    is_there = np.zeros(n, dtype=np.bool_)
    for part in parts:
        assert not is_there[part.rows].any(), "a combination came back twice"
        is_there[part.rows] = True
        found.sums[part.rows], found.equity[part.rows] = part.sums, part.equity
        found.final[part.rows], found.by_engine[part.rows] = part.final, part.by_engine
    assert is_there.all(), "a combination did not come back"
    return found
