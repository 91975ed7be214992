"""Checks run side by side, each with its own time limit, and their results kept for a moment."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Mapping
from typing import TypeVar

from grodtd.workflows.health import Check, Outcome

T = TypeVar("T")


def in_thread(function: Callable[[], T]) -> asyncio.Future[T]:
    """Run a function in a thread of its own that does not keep the process alive, and return its future."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def settle(call: Callable[[], None]) -> None:
        try:
            loop.call_soon_threadsafe(lambda: None if future.done() else call())
        except RuntimeError:  # the loop is gone: nobody waits any more
            return

    def work() -> None:
        try:
            result = function()
        except BaseException as error:  # whatever it is, it belongs to whoever waits
            failure = error
            settle(lambda: future.set_exception(failure))
        else:
            settle(lambda: future.set_result(result))

    threading.Thread(target=work, daemon=True, name="check").start()
    return future


class Probes:
    """Runs checks when asked, at most once within `cache_s`, however many ask.

    Parameters
    ----------
    checks : mapping of str to Check
    timeout_s, cache_s : float
    on_result : function of name, outcome and seconds, optional
        Told of each result.
    """

    def __init__(
        self,
        checks: Mapping[str, Check],
        *,
        timeout_s: float,
        cache_s: float,
        on_result: Callable[[str, Outcome, float], None] | None = None,
    ) -> None:
        self._checks = checks
        self._timeout_s = timeout_s
        self._cache_s = cache_s
        self._on_result = on_result
        self._lock = asyncio.Lock()
        self._at = -float("inf")
        self._results: dict[str, Outcome] = {}
        self._waiting: dict[str, asyncio.Future[Outcome]] = {}

    async def results(self) -> Mapping[str, Outcome]:
        """Return the newest outcome of each check."""
        async with self._lock:
            if time.monotonic() - self._at > self._cache_s:
                outcomes = await asyncio.gather(*(self._one(name) for name in self._checks))
                self._results = dict(zip(self._checks, outcomes, strict=True))
                self._at = time.monotonic()
            return self._results

    async def _one(self, name: str) -> Outcome:
        began = time.monotonic()
        waiting = self._waiting.get(name)
        if waiting is not None and not waiting.done():
            # No second thread for one that hangs already.
            outcome = Outcome("fail", f"has not answered for more than {self._timeout_s:g} s")
        else:
            outcome = await self._started(name)
        if self._on_result is not None:
            self._on_result(name, outcome, time.monotonic() - began)
        return outcome

    async def _started(self, name: str) -> Outcome:
        try:
            self._waiting[name] = future = in_thread(self._checks[name])
        except RuntimeError as error:  # no thread is to be had: the limit of processes, or of memory
            return Outcome("fail", f"the check cannot be started: {error}")
        await asyncio.wait({future}, timeout=self._timeout_s)
        if not future.done():
            return Outcome("fail", f"no answer within {self._timeout_s:g} s")
        if failure := future.exception():
            return Outcome("fail", f"the check itself failed: {type(failure).__name__}: {failure}")
        return future.result()
