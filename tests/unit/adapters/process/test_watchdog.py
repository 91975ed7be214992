"""The watchdog fires when beats stop, and not when the whole process was stopped."""

import subprocess
import sys
import time

from grodtd.adapters.process.watchdog import EXIT_STALLED, Watchdog


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


def test_a_process_whose_output_nobody_reads_ends_too() -> None:
    program = (
        "import os, sys; from grodtd.adapters.process.watchdog import Watchdog as W; W(0.3).start();"
        " sys.stdout.write('x' * 10_000_000)"
    )
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert process.wait(timeout=20) == EXIT_STALLED
    assert process.stdout is not None
    process.stdout.close()
