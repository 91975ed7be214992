"""The watchdog fires when beats stop, and not when the whole process was stopped."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from grodtd.adapters.process import watchdog as process_watchdog
from grodtd.adapters.process.watchdog import EXIT_STALLED, Watchdog, processors


def test_it_fires_once_beats_stop() -> None:
    fired: list[float] = []
    watchdog = Watchdog(0.3, fired.append)
    watchdog.start()
    for _ in range(10):
        time.sleep(0.05)
        watchdog.beat()
    assert fired == []
    time.sleep(0.6)
    assert len(fired) == 1
    assert fired[0] > 0.3


def test_stopped_it_fires_no_more() -> None:
    fired: list[float] = []
    watchdog = Watchdog(0.2, fired.append)
    watchdog.start()
    watchdog.stop()
    time.sleep(0.5)
    assert fired == []


def test_the_process_ends_with_its_code_and_says_where_it_stood() -> None:
    program = "import time; from grodtd.adapters.process.watchdog import Watchdog as W; W(0.2).start(); time.sleep(30)"
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=20, check=False)
    assert found.returncode == EXIT_STALLED
    assert "the event loop has stood still" in found.stderr
    assert "Thread" in found.stderr


def test_a_call_that_never_lets_go_of_the_interpreter_ends_the_process() -> None:
    # An exponential search inside one call of `re`: no other thread of Python runs again.
    program = (
        "import re; from grodtd.adapters.process.watchdog import Watchdog as W; W(0.2).start();"
        " re.match('(a+)+$', 'a' * 64 + 'b')"
    )
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert found.returncode == -signal.SIGPROF
    assert "most recent call first" in found.stderr


def test_once_stopped_processor_time_is_free() -> None:
    program = (
        "import time; from grodtd.adapters.process.watchdog import Watchdog as W, processors; w = W(0.2); w.start();"
        " w.stop(); w.beat(); end = time.process_time() + 0.4 * processors() + 0.5\n"
        "while time.process_time() < end: pass"
    )
    assert subprocess.run([sys.executable, "-c", program], timeout=60, check=False).returncode == 0


@pytest.mark.parametrize(
    ("limit", "expected"),
    [("max 100000\n", 64), ("200000 100000\n", 2), ("150000 100000\n", 2), ("5000 100000\n", 1), (None, 64), ("?", 64)],
)
def test_the_processors_of_a_container_are_those_of_its_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str | None, expected: int
) -> None:
    if limit is not None:
        (tmp_path / "cpu.max").write_text(limit)
    monkeypatch.setattr(process_watchdog, "_CPU_LIMIT", tmp_path / "cpu.max")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)))
    assert processors() == expected


def test_a_process_whose_output_nobody_reads_ends_too() -> None:
    program = (
        "import os, sys; from grodtd.adapters.process.watchdog import Watchdog as W; W(0.3).start();"
        " sys.stdout.write('x' * 10_000_000)"
    )
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert process.wait(timeout=20) == EXIT_STALLED
    assert process.stdout is not None
    process.stdout.close()
