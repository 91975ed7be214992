"""Tasks in threads of this process: kernels release the interpreter's lock, so threads use every processor."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from itertools import islice
from types import TracebackType
from typing import Final, Self

from grodtd.domain.compute import Result, Shared, Task
from grodtd.domain.errors import ConfigError

# A thread that becomes free finds its next task waiting; more would only hold memory.
_IN_FLIGHT_PER_WORKER: Final = 2


class LocalCompute:
    """`ComputePort` over threads.

    Parameters
    ----------
    workers : int, optional
        Threads; default every processor this process may use.
    """

    def __init__(self, workers: int | None = None) -> None:
        if workers is not None and workers < 1:
            raise ConfigError(f"computing needs at least 1 worker, found {workers}")
        self._workers = workers or len(os.sched_getaffinity(0))
        self._pool = ThreadPoolExecutor(self._workers, thread_name_prefix="grodt-compute")

    @property
    def workers(self) -> int:
        """Threads."""
        return self._workers

    def map(
        self, function: Callable[[Shared, Task], Result], shared: Shared, tasks: Iterable[Task]
    ) -> Iterator[tuple[int, Result]]:
        """As `ComputePort.map`."""
        remaining = enumerate(tasks)
        running: dict[Future[Result], int] = {}

        def refill() -> None:
            for index, task in islice(remaining, _IN_FLIGHT_PER_WORKER * self._workers - len(running)):
                running[self._pool.submit(function, shared, task)] = index

        try:
            refill()
            while running:
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    index = running.pop(future)
                    result = future.result()
                    refill()
                    yield index, result
        finally:
            # Also after an error, Ctrl-C or an iterator closed early. A thread cannot be stopped inside a kernel: the
            # task at hand runs to its end unheard, and nobody waits for it.
            for future in running:
                future.cancel()

    def close(self) -> None:
        """Drop what waits; what runs ends by itself."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
