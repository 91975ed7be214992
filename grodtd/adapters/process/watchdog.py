"""A process whose event loop stands still ends itself: Docker restarts what ends, never what is merely unhealthy."""

from __future__ import annotations

import contextlib
import faulthandler
import math
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

# "Internal software error" of sysexits.h; tells a watchdog's exit from any other in `docker inspect`.
EXIT_STALLED: Final = 70
_STDERR: Final = 2
_CPU_LIMIT: Final = Path("/sys/fs/cgroup/cpu.max")


def end_process(age_s: float) -> None:
    """Say what every thread was doing, and end without asking anybody: whoever could answer hangs."""
    # A pipe that nobody reads may be why the loop stands still: what does not fit is lost.
    with contextlib.suppress(OSError):
        if not os.isatty(_STDERR):
            os.set_blocking(_STDERR, False)
        os.write(_STDERR, f"watchdog: the event loop has stood still for {age_s:.0f} s; ending the process\n".encode())
        faulthandler.dump_traceback(file=_STDERR, all_threads=True)
    os._exit(EXIT_STALLED)


def processors() -> int:
    """Return how many processors this process may keep busy, the limit of its container included; at least 1."""
    allowed = len(os.sched_getaffinity(0))
    try:
        quota, period = _CPU_LIMIT.read_text().split()
        return max(1, min(allowed, math.ceil(int(quota) / int(period))))
    except (OSError, ValueError, ZeroDivisionError):  # "max" where there is no limit
        return allowed


class Watchdog:
    """Calls `on_stale` when `beat` has not been called for too long.

    A call that computes and never lets go of the interpreter's lock stops our thread too. The kernel therefore keeps
    a second watch where `on_stale` ends the process: no beat for as much processor time as twice `stale_after_s` on
    all processors, and SIGPROF ends it with a stack of every thread. A process that is frozen uses no such time.

    Parameters
    ----------
    stale_after_s : float
    on_stale : function of the age in seconds
        What to do; ending the process, unless a test says otherwise.
    """

    def __init__(self, stale_after_s: float, on_stale: Callable[[float], None] = end_process) -> None:
        self._stale_after_s = stale_after_s
        self._on_stale = on_stale
        self._last = time.monotonic()
        self._kernel_after_s = 2 * stale_after_s * processors() if on_stale is end_process else 0.0
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)

    def start(self) -> None:
        """Begin to watch."""
        if self._kernel_after_s:
            faulthandler.register(signal.SIGPROF, file=_STDERR, all_threads=True, chain=True)
        self.beat()
        self._thread.start()

    def beat(self) -> None:
        """Say that the loop goes round."""
        self._last = time.monotonic()
        if self._kernel_after_s and not self._stopped.is_set():
            signal.setitimer(signal.ITIMER_PROF, self._kernel_after_s)

    @property
    def age_s(self) -> float:
        """Seconds since the last beat."""
        return time.monotonic() - self._last

    def stop(self) -> None:
        """Stop watching."""
        self._stopped.set()
        if self._kernel_after_s:
            signal.setitimer(signal.ITIMER_PROF, 0)

    def _watch(self) -> None:
        every_s = self._stale_after_s / 10
        before = time.monotonic()
        while not self._stopped.wait(every_s):
            now = time.monotonic()
            if now - before > self._stale_after_s / 2:
                # We did not run either: the whole process was stopped (SIGSTOP, a frozen container), not the loop.
                self.beat()
            elif now - self._last > self._stale_after_s:
                self._on_stale(now - self._last)
                return
            before = now
