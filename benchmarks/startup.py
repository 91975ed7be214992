"""Time the main job as a user meets it: new processes, caches warm; every figure beside a peer of the same run.

    .venv/bin/python benchmarks/startup.py [--json]

1. `grodt --help` against the help of a bare typer program (goal: at most 50 ms more).
2. `grodt backtest s1_trend` over a year of 1-minute bars, stored, against importing numba and polars alone.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROUNDS = 7
YEAR_BARS = 525_600
GRODT = [sys.executable, "-m", "grodtd"]
BARE = """
import typer
app = typer.Typer()
@app.command()
def hello(name: str = "you") -> None:
    "Say hello."
@app.command()
def bye() -> None:
    "Say good-bye."
app()
"""


def seconds(command: list[str]) -> float:
    """Return the wall time of one process."""
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def main() -> None:
    """Run the commands interleaved and print medians."""
    with tempfile.TemporaryDirectory() as folder:
        bare = Path(folder) / "bare.py"
        bare.write_text(BARE)
        home = ["--home", folder]
        subprocess.run([*GRODT, "data", "synth", "G1", "--bars", str(YEAR_BARS), "--seed", "7", *home], check=True)
        backtest = [*GRODT, "backtest", "s1_trend", "--venue", "synthetic", "--symbol", "G1", *home]
        commands = {
            "bare typer --help": [sys.executable, str(bare), "--help"],
            "grodt --help": [*GRODT, "--help"],
            "import numba, polars": [sys.executable, "-c", "import numba, polars"],
            "grodt backtest, a year of 1m": [*backtest, "--no-store"],
            "grodt backtest, a year of 1m, stored": backtest,
        }
        for command in commands.values():  # warm disk and machine-code caches
            seconds(command)
        times: dict[str, list[float]] = {name: [] for name in commands}
        for _ in range(ROUNDS):
            for name, command in commands.items():
                times[name].append(seconds(command))
    medians = {name: statistics.median(values) for name, values in times.items()}
    if "--json" in sys.argv:
        machine = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
        print(json.dumps({"machine": machine, "rounds": ROUNDS, "median_s": medians}, indent=2))
        return
    for name, median in medians.items():
        print(f"{name:40s} {median * 1e3:8.0f} ms")
    more = (medians["grodt --help"] - medians["bare typer --help"]) * 1e3
    print(f"help over bare typer: {more:+.0f} ms (goal: at most +50 ms)")


if __name__ == "__main__":
    main()
