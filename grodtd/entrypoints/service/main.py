"""One process of the service, from start to its end."""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import signal
import threading
import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import structlog
import uvicorn

from grodtd.adapters.process.start_guard import StartGuard
from grodtd.adapters.process.watchdog import Watchdog
from grodtd.adapters.telemetry.logs import configure_logging
from grodtd.entrypoints.service.app import State, create_app
from grodtd.settings import Settings

COMPONENT: Final = "grodt"
_LAST_WORD_S: Final = 1.0


class _Server(uvicorn.Server):
    """Leaves signals to us: uvicorn ends with the signal itself, which looks like a crash to whoever started us."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture nothing."""
        yield


def serve(settings: Settings, config: Path | None = None) -> int:
    """Serve until told to stop (SIGTERM, SIGINT) and return the exit code.

    Parameters
    ----------
    settings : Settings
    config : Path or None
        Folder with your own configuration, by which regimes are labelled. None: the one that ships.

    Raises
    ------
    OSError
        If the port cannot be opened.
    """
    secret = settings.database_password
    guard = StartGuard(
        settings.home / "run",
        COMPONENT,
        max_restarts=settings.watchdog.max_restarts,
        window_s=settings.watchdog.window_s,
    )
    starts = guard.started(time.time())
    state = State(
        settings,
        version=version("grodtd"),
        revision=os.environ.get("GRODT_REVISION", "unknown"),
        starts=starts,
        watchdog=Watchdog(settings.watchdog.stale_after_s),
        config=config,
    )
    configure_logging(
        level=settings.log.level,
        as_json=settings.log.format == "json",
        secrets=[secret.get_secret_value()] if secret else [],
        on_message=state.metrics.count_message,
    )
    log: Any = structlog.get_logger("grodt.service")  # Any: structlog binds levels at run time
    if starts.is_halted:
        log.error("halted after too many restarts", starts=starts.recent, problem=starts.problem)
    elif starts.problem:
        log.warning("the start guard does not work", problem=starts.problem)
    code = asyncio.run(_serve(state))
    if code == 0:
        guard.stopped()
    if unfinished := _still_working(_LAST_WORD_S):
        # Requests whose time to drain is over. The interpreter would wait for their threads for as long as they hang.
        log.warning("stopped", code=code, unfinished=unfinished)
        os._exit(code)
    log.info("stopped", code=code)
    return code


def _still_working(within_s: float) -> int:
    """Return how many threads the interpreter would wait for, after giving them a moment to end."""
    end = time.monotonic() + within_s
    threads = [t for t in threading.enumerate() if not t.daemon and t is not threading.current_thread()]
    for thread in threads:
        thread.join(max(end - time.monotonic(), 0))
    return sum(thread.is_alive() for thread in threads)


async def _serve(state: State) -> int:
    settings = state.settings
    log: Any = structlog.get_logger("grodt.service")  # Any: as above
    server = _Server(
        uvicorn.Config(
            create_app(state),
            host=settings.service.host,
            port=settings.service.port,
            log_config=None,
            lifespan="on",  # a start-up that fails is an end, not a service without one
            ws="none",
            access_log=False,
            server_header=False,
            date_header=True,
            proxy_headers=False,
            timeout_graceful_shutdown=math.ceil(settings.service.drain_s),
        )
    )

    def stop(signal_number: int) -> None:
        log.info("stopping", signal=signal.Signals(signal_number).name)
        state.is_stopping = True
        server.should_exit = True

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop, number)
    assert state.watchdog is not None
    state.watchdog.start()
    try:
        log.info("serving", host=settings.service.host, port=settings.service.port, environment=settings.environment)
        await server.serve()
    finally:
        state.watchdog.stop()
    return 0 if server.started else 1
