"""`grodt serve` as a process on loopback, and runs for it to show."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import IO, Any

import httpx

from grodtd.adapters.storage import RunStore
from grodtd.adapters.storage.trial_store import TrialStore
from grodtd.domain.run import Metric, Reason
from grodtd.workflows.data import synthesise
from grodtd.workflows.runs import default_database_url
from tests.contracts.test_run_store import finished
from tests.contracts.test_trial_store import STUDY, batch

AT = datetime(2026, 11, 24, 9, 0, tzinfo=UTC)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def environment(home: Path, **more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GRODT_")}
    return {**kept, "GRODT_HOME": str(home), "GRODT_ENVIRONMENT": "development", "GRODT_LOG__FORMAT": "json", **more}


class Served:
    """A running `grodt serve`."""

    def __init__(self, process: subprocess.Popen[str], port: int, output: IO[str]) -> None:
        self.process = process
        self._output = output
        self.port = port
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=10)

    def get(self, path: str) -> httpx.Response:
        return self.client.get(path)

    def wait(self, path: str, status: int, within_s: float = 60) -> httpx.Response:
        end = time.monotonic() + within_s
        last: object = None
        while time.monotonic() < end:
            try:
                answer = self.get(path)
                if answer.status_code == status:
                    return answer
                last = answer.text
            except httpx.TransportError as error:
                last = error
            time.sleep(0.05)
        raise AssertionError(f"{path} did not answer {status} within {within_s} s: {last}")

    def n_threads(self) -> int:
        return len(list(Path(f"/proc/{self.process.pid}/task").iterdir()))

    def stop(self) -> tuple[int, list[dict[str, Any]]]:
        """End it as Docker does; return its exit code and its log."""
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(timeout=40)
        return code, [json.loads(line) for line in self.output().splitlines() if line.startswith("{")]

    def output(self) -> str:
        """Return everything it has printed."""
        self._output.seek(0)
        return self._output.read()


@contextmanager
def serving(home: Path, *arguments: str, program: str = "", **variables: str) -> Iterator[Served]:
    port = free_port()
    command = [sys.executable, "-c", program] if program else [sys.executable, "-m", "grodtd", "serve"]
    # A file, not a pipe: nobody reads here, and a pipe that is full would hold the process up.
    with tempfile.TemporaryFile("w+") as output:
        process = subprocess.Popen(
            [*command, "--port", str(port), *arguments],
            env=environment(home, **variables),
            stdout=output,
            stderr=subprocess.STDOUT,
            text=True,
        )
        served = Served(process, port, output)
        try:
            yield served
        finally:
            process.kill()
            process.wait()
            served.client.close()


def stored(home: Path, n: int) -> list[str]:
    """Store n runs and return their ids, the newest first."""
    manifest, result = finished()
    store = RunStore(default_database_url(home))
    metrics = {"total": Metric(0.25), "sharpe": Metric(None, Reason.ZERO_VARIANCE)}
    ids = [store.save(manifest, metrics, result, created_at=AT + timedelta(minutes=i)) for i in range(n)]
    return ids[::-1]


def furnish(home: Path) -> list[str]:
    """Store 7 runs, a search of 25 trials (s-1) and a series; return the runs' ids."""
    ids = stored(home, 7)
    ledger = TrialStore(default_database_url(home))
    search = {"objectives": ["sharpe"], "space": {"ema_bars": [1, 40]}}
    ledger.create(replace(STUDY, spec={"search": search}))
    results = [{"number": n, "budget": 1.0, "objectives": {"sharpe": None if n % 3 else 1.5 * n}} for n in range(25)]
    params = [{"ema_bars": n} for n in range(25)]
    for number in range(5):
        part = slice(5 * number, 5 * number + 5)
        ledger.append(batch(number, params=params[part], results=results[part]), at_us=number)
    synthesise(home, "G1", n_bars=500, seed=7)
    return ids
