"""Where independent tasks are run: the port, and nothing about machines.

`adapters/compute` implements it with threads and with Ray; `tests/contracts/test_compute.py` holds both to what is
written here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from types import TracebackType
from typing import Protocol, Self, TypeVar

Shared = TypeVar("Shared")
Task = TypeVar("Task")
Result = TypeVar("Result")


class ComputePort(Protocol):
    """Runs one function over many tasks on the processors there are.

    Results depend on the function and its arguments alone: neither on the machine, nor on the order in which tasks
    finish, nor on how often one was started.
    """

    @property
    def workers(self) -> int:
        """How many tasks run at a time; may change while machines join and leave."""
        ...

    def map(
        self, function: Callable[[Shared, Task], Result], shared: Shared, tasks: Iterable[Task]
    ) -> Iterator[tuple[int, Result]]:
        """Yield (index of the task, result) as tasks finish, in any order, each index once.

        Parameters
        ----------
        function : function (shared, task) -> result
            Pure, and written at the top level of a module. It may be started again after a machine was lost.
        shared : object
            What all tasks need (bars, strategy, account): it travels once, and the function must not write to it.
        tasks : iterable
            Small. Taken as workers become free, so it may be longer than memory. Half a second of work each makes the
            cost of handing one over negligible.

        Yields
        ------
        (int, result)
            Arrays in a result may be read-only. Leaving the loop early, or closing the iterator, drops the rest.

        Raises
        ------
        GrodtError
            What the function raised, unchanged; tasks not yet finished are dropped.
        ConfigError
            If a worker runs another version of the code.
        ComputeError
            If a task lost its worker again and again, or a result could not travel.
        """
        ...

    def close(self) -> None:
        """Drop what is still running and let the workers go; may be called twice."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None: ...
