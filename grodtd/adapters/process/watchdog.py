"""A process whose event loop stands still ends itself: Docker restarts what ends, never what is merely unhealthy."""

from __future__ import annotations

import contextlib
import faulthandler
import os
import threading
import time
from collections.abc import Callable
from typing import Final

# "Internal software error" of sysexits.h; tells a watchdog's exit from any other in `docker inspect`.
EXIT_STALLED: Final = 70
_STDERR: Final = 2


def end_process(age_s: float) -> None:
    """Say what every thread was doing, and end without asking anybody: whoever could answer hangs."""
    # A pipe that nobody reads may be why the loop stands still: what does not fit is lost.
    with contextlib.suppress(OSError):
        if not os.isatty(_STDERR):
            os.set_blocking(_STDERR, False)
        os.write(_STDERR, f"watchdog: the event loop has stood still for {age_s:.0f} s; ending the process\n".encode())
        faulthandler.dump_traceback(file=_STDERR, all_threads=True)
    os._exit(EXIT_STALLED)


class Watchdog:
    """Calls `on_stale` when `beat` has not been called for too long.

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
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)

    def start(self) -> None:
        """Begin to watch."""
        self.beat()
        self._thread.start()

    def beat(self) -> None:
        """Say that the loop goes round."""
        self._last = time.monotonic()

    @property
    def age_s(self) -> float:
        """Seconds since the last beat."""
        return time.monotonic() - self._last

    def stop(self) -> None:
        """Stop watching."""
        self._stopped.set()

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
