"""Where a sweep's cycles go: instructions, cache misses, mispredicted branches, beside those of the naive loop.

    make bench-counters                       measure, write results/counters.json and docs/performance.md
    python -m benchmarks.counters --json      the same, and print it
    python -m benchmarks.counters --tree DIR  print what another checkout does, write nothing

Hardware counters are not to be had in most virtual machines. So each phase is measured twice. Its time is taken as it
is, and turned into cycles with the clock that a chain of multiplications runs at. What it did in that time is counted
by callgrind, which runs every instruction on a simulated processor: first caches of 32 KB, one last cache of 32 MB, and
a simple branch predictor. Real predictors are better, caches in between are not simulated, and both runs use the
machine code for the processor that valgrind shows (AVX2, no AVX-512). The page says so.

Needs valgrind and cc (Debian: valgrind gcc libc6-dev); without them nothing is measured, and the exit code is 77.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import platform
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from benchmarks.report import COUNTERS, PAGE, ROOT, stored, write_pages

CASES: Final = ("100k x 100", "100k x 100 dense")
NAIVE_ROWS: Final = 10
SKIPPED: Final = 77

# What valgrind can run. Machine code for it is made by a run outside of valgrind, which takes a minute, not twenty.
CPU: Final = "haswell"
FEATURES: Final = "+sse4.2,+popcnt,+lzcnt,+avx,+avx2,+fma,+bmi,+bmi2,+f16c,+movbe"

# A phase is a method of the sweep: what it is called on the page, and the method.
PHASES: Final = {
    "indicators": "_feature",
    "wanted sides": "_side",
    "runs of a side": "_runs",
    "screen and trades": "_play",
}
REST, NAIVE = "the rest", "naive loop"

_SHIM = r"""
#include <stdint.h>
#include <time.h>
#include <valgrind/callgrind.h>
void counting(int is_on) { if (is_on) CALLGRIND_START_INSTRUMENTATION; else CALLGRIND_STOP_INSTRUMENTATION; }
void forget(void) { CALLGRIND_ZERO_STATS; }
void note(const char *phase) { CALLGRIND_DUMP_STATS_AT(phase); }
/* Multiplications that wait for each other take 3 cycles each. */
double ghz(void) {
  struct timespec a, b;
  uint64_t x = 3;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &a);
  for (int i = 0; i < 20000000; i++) __asm__ volatile("imul %0, %0\n\timul %0, %0\n\timul %0, %0" : "+r"(x));
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &b);
  return 9.0 * 20000000 / ((b.tv_sec - a.tv_sec) * 1e9 + (b.tv_nsec - a.tv_nsec));
}
"""


def main() -> int:
    """Measure; see the top of this file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    parser.add_argument("--tree", type=Path, help="measure this checkout and print JSON, nothing written")
    parser.add_argument("--rounds", type=int, default=21, help="of timing")
    parser.add_argument("--child", choices=("time", "count"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        _child(given.child, given.rounds)
        return 0
    if platform.machine() != "x86_64":
        print(f"SKIPPED the counters: made for x86-64 processors, this is {platform.machine()}")
        return SKIPPED
    missing = [name for name in ("valgrind", "cc") if not shutil.which(name)]
    if missing:
        print(f"SKIPPED the counters: {' and '.join(missing)} not found (Debian: valgrind gcc libc6-dev)")
        return SKIPPED
    if given.tree:
        print(json.dumps(measure(given.tree, given.rounds)))
        return 0
    result = measure(ROOT, given.rounds)
    COUNTERS.write_text(json.dumps(result, indent=1) + "\n")
    write_pages(stored())
    print(json.dumps(result, indent=1) if given.json else f"written: {COUNTERS} and {PAGE}")
    return 0


def measure(tree: Path, rounds: int) -> dict[str, Any]:
    """Return time and counts of every phase of every case, of the code in a checkout.

    Raises
    ------
    RuntimeError
        If the checkout has no such phases.
    """
    with tempfile.TemporaryDirectory() as folder:
        shim = Path(folder) / "shim.so"
        command = ["cc", "-O1", "-shared", "-fPIC", "-x", "c", "-", "-o", str(shim)]
        subprocess.run(command, input=_SHIM, text=True, check=True)
        environment = os.environ | {
            "NUMBA_CPU_NAME": CPU,
            "NUMBA_CPU_FEATURES": FEATURES,
            "OPENBLAS_NUM_THREADS": "1",
            "GRODT_SHIM": str(shim),
            "PYTHONPATH": str(tree),
        }
        # -P: neither the folder it runs in nor this script's may come before the checkout
        child = [sys.executable, "-P", "-m", "benchmarks.counters", "--rounds", str(rounds), "--child"]
        print("compiling and timing ...", file=sys.stderr, flush=True)
        timed = json.loads(_output([*child, "time"], environment))
        print("counting under valgrind ...", file=sys.stderr, flush=True)
        out = f"{folder}/out"
        callgrind = ["valgrind", "--tool=callgrind", "--instr-atstart=no", "--cache-sim=yes", "--branch-sim=yes"]
        callgrind += ["--I1=32768,8,64", "--D1=32768,8,64", "--LL=33554432,16,64", f"--callgrind-out-file={out}"]
        counted = json.loads(_output([*callgrind, *child, "count"], environment))
        counts: dict[str, dict[str, int]] = {}
        for dump in Path(folder).glob("out.*"):
            text = dump.read_text()
            phase = re.search(r"^desc: Trigger: Client Request: (.+)$", text, re.MULTILINE)
            events = re.search(r"^events: (.+)$", text, re.MULTILINE)
            totals = re.search(r"^(?:summary|totals): (.+)$", text, re.MULTILINE)
            if phase and events and totals:
                found = counts.setdefault(phase[1], {})
                for name, value in zip(events[1].split(), map(int, totals[1].split()), strict=False):
                    found[name] = found.get(name, 0) + value
    if timed["trades"] != counted["trades"]:
        raise RuntimeError(f"the two runs differ in their trades: {timed['trades']} and {counted['trades']}")
    rows = [_row(key, value, timed, counts[key]) for key, value in timed["ms"].items()]
    found = {name: timed[name] for name in ("ghz", "trades", "bars_x_combinations")}
    return found | {"rows": rows}


def _row(key: str, ms: float, timed: dict[str, Any], events: dict[str, int]) -> dict[str, Any]:
    case, phase = key.split(": ")
    scale = timed["naive_scale"] if phase == NAIVE else 1
    return {
        "case": case,
        "phase": phase,
        "ms": ms,
        "cycles": ms * 1e6 * timed["ghz"],
        "instructions": round(scale * events["Ir"]),
        "l1_misses": round(scale * (events["D1mr"] + events["D1mw"])),
        "ll_misses": round(scale * (events["DLmr"] + events["DLmw"])),
        "branches": round(scale * (events["Bc"] + events["Bi"])),
        "mispredictions": round(scale * (events["Bcm"] + events["Bim"])),
    }


def _output(command: list[str], environment: dict[str, str]) -> str:
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}:\n{done.stderr[-2000:]}")
    return done.stdout.splitlines()[-1]


class _Clock:
    """Processor time of each phase, round by round."""

    def __init__(self) -> None:
        self.round: dict[str, int] = {}
        self.rounds: list[dict[str, int]] = []

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        start = time.process_time_ns()
        yield
        self.round[name] = self.round.get(name, 0) + time.process_time_ns() - start

    def turn(self) -> None:
        self.rounds.append(self.round)
        self.round = {}


class _Counter:
    """Tells callgrind where phases begin and end."""

    def __init__(self, shim: Any) -> None:  # Any: a library of ctypes has no static type
        self.shim = shim

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        self.shim.note(f"{name.partition(': ')[0]}: {REST}".encode())
        yield
        self.shim.note(name.encode())


def _child(kind: str, rounds: int) -> None:
    """Run every phase of every case; print what was found as one line of JSON."""
    import llvmlite.binding  # noqa: PLC0415

    # Valgrind shows another processor than the machine has. Machine code is filed under the processor's name, so both
    # runs are told the same one.
    llvmlite.binding.get_host_cpu_name = lambda: CPU
    llvmlite.binding.get_host_cpu_features = llvmlite.binding.FeatureMap
    from benchmarks.cases import CASES as cases  # noqa: PLC0415, N811
    from benchmarks.cases import account  # noqa: PLC0415
    from benchmarks.ours import market_of, naive_loop  # noqa: PLC0415
    from grodtd.backtest import sweep  # noqa: PLC0415
    from grodtd.performance.sweep import sweep_columns  # noqa: PLC0415
    from grodtd.strategies.s1_trend import S1_TREND  # noqa: PLC0415

    shim = ctypes.CDLL(os.environ["GRODT_SHIM"])
    shim.ghz.restype = ctypes.c_double
    meter = _Clock() if kind == "time" else _Counter(shim)
    prefix = ""

    def metered(call: Callable[..., Any], phase: str) -> Callable[..., Any]:
        def run(*given: Any) -> Any:  # Any: whatever the method takes and returns
            with meter.phase(f"{prefix}: {phase}"):
                return call(*given)

        return run

    made = sweep._Sweep.__init__

    def with_metered_methods(self: Any, *given: Any) -> None:
        made(self, *given)
        for phase, method in PHASES.items():
            setattr(self, method, metered(getattr(self, method), phase))

    sweep._Sweep.__init__ = with_metered_methods  # type: ignore[assignment,method-assign]  # only here, only for this process
    trades: dict[str, list[int]] = {}
    bars: dict[str, int] = {}
    ms: dict[str, float] = {}
    for case in CASES:
        market, combinations = market_of(cases[case].n_bars), cases[case].combinations()
        rows = list(range(0, len(combinations), len(combinations) // NAIVE_ROWS))
        scale = len(combinations) / len(rows)

        def whole(market: Any = market, combinations: Any = combinations) -> int:
            result = sweep.run_sweep(market, S1_TREND, combinations, account(), threads=1)
            return int(sweep_columns(result)["trade_count"].sum())

        def by_naive(case: str = case, rows: list[int] = rows) -> int:
            return sum(naive_loop(case, rows)["trades"])

        prefix = "warm up"
        trades[case] = [whole(), by_naive()]
        bars[case] = len(market.bars) * len(combinations)
        prefix = case
        if isinstance(meter, _Clock):
            meter.turn()
            for _ in range(rounds):
                with meter.phase("all"):
                    whole()
                with meter.phase(f"{case}: {NAIVE}"):
                    by_naive()
                meter.turn()
            found = {
                name: statistics.median(r[name] for r in meter.rounds[-rounds:]) / 1e6 for name in meter.rounds[-1]
            }
            total = found.pop("all")
            found[f"{case}: {NAIVE}"] *= scale
            found[f"{case}: {REST}"] = total - sum(found[f"{case}: {phase}"] for phase in PHASES)
            ms |= found
        else:
            prefix = "warm up"  # the simulated caches and predictors too
            shim.counting(1)
            whole()
            prefix = case
            shim.forget()
            whole()
            shim.note(f"{case}: {REST}".encode())
            with meter.phase(f"{case}: {NAIVE}"):
                by_naive()
            shim.counting(0)
    found = {"ghz": shim.ghz(), "trades": trades, "bars_x_combinations": bars, "ms": ms, "naive_scale": scale}
    print(json.dumps(found))


if __name__ == "__main__":
    sys.exit(main())
