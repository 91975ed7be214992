"""Measure this tree against its base, in turns, in one run: a change may not make the main jobs much slower.

    python scripts/ci/performance.py                     against the commit before
    python scripts/ci/performance.py --base origin/main  against a branch
    python scripts/ci/performance.py --rounds 15         longer, calmer

Processor time, which others on the machine do not lengthen much; ratios of medians, which travel between machines.
The base runs this tree's benchmarks. Three things stop: a job that takes more than 1.25 times the base's time (measured
twice); a sweep that takes more than 1.25 times the base's instructions, which valgrind counts, the same on every machine
and at any load; and a sweep that beats the naive loop by less than half its goal, or less than 0.7 times what
benchmarks/results says where that is lower. Results: build/ci/performance.json. `make bench` is the long form, with the
peers.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parents[2]
# Slower than this is no noise of two interleaved medians of processor time (docs/how-to/pipeline.md).
LIMIT: Final = 1.25
# Of the ratio that was recorded: other machines differ by that much.
RECORDED_SHARE: Final = 0.7
NAIVE_ROW: Final = "100k x 100, one core, vs the naive loop"
# name -> (request to benchmarks/ours.py, how often it is asked in a round)
JOBS: Final[dict[str, tuple[dict[str, Any], int]]] = {
    "sweep, sparse, 100k x 100": ({"do": "sweep", "case": "100k x 100", "threads": 1}, 3),
    "sweep, dense, 100k x 100": ({"do": "sweep", "case": "100k x 100 dense", "threads": 1}, 3),
    "one backtest, 100k bars": ({"do": "single", "case": "100k x 100 dense"}, 10),
}
NAIVE: Final = {"do": "naive", "case": "100k x 100", "rows": list(range(0, 100, 5))}


class Tree:
    """A checkout whose code answers the benchmarks' requests, in a process of its own."""

    def __init__(self, folder: Path) -> None:
        self._process = subprocess.Popen(
            # -P: neither the folder it runs in nor this script's may come before that checkout
            [sys.executable, "-P", "-m", "benchmarks.ours"],
            cwd=folder,
            env=os.environ | {"PYTHONPATH": str(folder), "GRODT_REAL_DATA": ""},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        assert self._process.stdin is not None  # both are pipes
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        answer: dict[str, Any] = json.loads(line) if line else {"error": "the process ended"}
        return answer

    def seconds(self, request: dict[str, Any], times: int) -> float:
        """Return the processor time of `times` answers.

        Raises
        ------
        RuntimeError
            If the checkout cannot do the job.
        """
        total = 0.0
        for _ in range(times):
            answer = self.ask(request)
            if "error" in answer:
                raise RuntimeError(answer["error"])
            total += answer["cpu_s"]
        return total

    def close(self) -> None:
        self._process.communicate()


def ratio(base: Tree, head: Tree, request: dict[str, Any], times: int, rounds: int) -> float:
    """Return head's time over base's, medians of rounds in turn; the first round, which compiles, is not counted."""
    found: dict[Tree, list[float]] = {base: [], head: []}
    for _ in range(rounds + 1):
        for tree, seconds in found.items():
            seconds.append(tree.seconds(request, times))
    return statistics.median(found[head][1:]) / statistics.median(found[base][1:])


def naive_floor() -> float:
    """Return the least ratio of our sweep over the naive loop."""
    rows = json.loads((ROOT / "benchmarks" / "results" / "latest.json").read_text())["rows"]
    (row,) = [row for row in rows if row["name"] == NAIVE_ROW]
    return float(min(row["goal"]["at_least"] / 2, RECORDED_SHARE * row["ratio"]))


def checkout(base: str, folder: Path) -> str:
    """Put the files of a commit into a folder, with this tree's benchmarks, and return the commit."""
    commit = subprocess.run(
        ["git", "rev-parse", "--verify", f"{base}^{{commit}}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if commit.returncode != 0:
        raise LookupError(f"there is no commit {base} here")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    archive = subprocess.run(
        ["git", "archive", commit.stdout.strip(), "grodtd", "configs"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    subprocess.run(["tar", "-x", "-C", str(folder)], input=archive.stdout, check=True)
    shutil.copytree(ROOT / "benchmarks", folder / "benchmarks", ignore=shutil.ignore_patterns(".venv", "__pycache__"))
    return commit.stdout.strip()


class NotCountedError(Exception):
    """What is missing to count instructions here."""


def instructions(tree: Path) -> dict[str, int]:
    """Return the instructions of the sweeps of a checkout, by case.

    Raises
    ------
    NotCountedError
        Without valgrind and a C compiler.
    RuntimeError
        If the checkout cannot run the sweeps.
    """
    command = [sys.executable, "-P", "-m", "benchmarks.counters", "--rounds", "1", "--tree", str(tree)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    if done.returncode == 77:
        raise NotCountedError(done.stdout.strip().removeprefix("SKIPPED the counters: "))
    if done.returncode:
        raise RuntimeError((done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1])
    found: dict[str, int] = {}
    for row in json.loads(done.stdout)["rows"]:
        if row["phase"] != "naive loop":
            found[row["case"]] = found.get(row["case"], 0) + row["instructions"]
    return found


def compare_instructions(base: Path, found: dict[str, Any]) -> None:
    """Add head's instructions over the base's to what was found, and why they stop the change if they do."""
    try:
        after = instructions(ROOT)
    except NotCountedError as why:
        print(f"SKIPPED instruction counts: {why}")
        if os.environ.get("GRODT_REQUIRE_INSTRUCTIONS") == "1":
            found["stopped"].append(f"instructions must be counted here: {why}")
        return
    except RuntimeError as error:
        found["stopped"].append(f"instructions of this tree cannot be counted: {error}")
        return
    try:
        before = instructions(base)
    except RuntimeError as error:
        print(f"SKIPPED instruction counts: the base's sweeps cannot be run: {error}")
        return
    for case, count in after.items():
        name, value = f"instructions, {case}", count / before[case]
        found["ratios"][name] = value
        print(f"{name:28} {value:6.3f} times the base's, {LIMIT} allowed", flush=True)
        if value > LIMIT:
            found["stopped"].append(f"{name}: {value:.2f} times those of {found['base'][:9]}, {LIMIT} allowed")


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and judge; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", default="HEAD^", help="commit to compare with")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--output", type=Path, default=ROOT / "build" / "ci" / "performance.json")
    given = parser.parse_args(arguments)
    folder = ROOT / "build" / "performance" / "base"
    try:
        commit = checkout(given.base, folder)
    except LookupError as error:
        print(f"SKIPPED performance: {error}; fetch the history, or name another with --base")
        return 77
    base, head = Tree(folder), Tree(ROOT)
    found: dict[str, Any] = {"base": commit, "ratios": {}, "stopped": []}
    try:
        for name, (request, times) in JOBS.items():
            if "error" in (answer := base.ask(request)):
                print(f"SKIPPED {name}: the base cannot do it: {answer['error']}")
                continue
            value = ratio(base, head, request, times, given.rounds)
            if value > LIMIT:
                value = min(value, ratio(base, head, request, times, given.rounds))
            found["ratios"][name] = value
            print(f"{name:28} {value:6.3f} times the base's time, {LIMIT} allowed", flush=True)
            if value > LIMIT:
                found["stopped"].append(f"{name}: {value:.2f} times the time of {commit[:9]}, {LIMIT} allowed")
        ours, peer, rates = JOBS["sweep, sparse, 100k x 100"][0], NAIVE, []
        for _ in range(given.rounds):
            mine, theirs = head.ask(ours), head.ask(peer)
            rates.append((mine["n"] / mine["cpu_s"]) / (theirs["n"] / theirs["cpu_s"]))
        over_naive, floor = statistics.median(rates[1:]), naive_floor()
        found["ratios"]["over the naive loop"] = over_naive
        print(f"{'over the naive loop':28} {over_naive:6.3f} times as fast, {floor:.2f} at least")
        if over_naive < floor:
            found["stopped"].append(f"over the naive loop: {over_naive:.2f}, {floor:.2f} is the least")
    finally:
        base.close()
        head.close()
    compare_instructions(folder, found)
    given.output.parent.mkdir(parents=True, exist_ok=True)
    given.output.write_text(json.dumps(found, indent=2) + "\n")
    for text in found["stopped"]:
        print(f"slower: {text}")
    return 1 if found["stopped"] else 0


if __name__ == "__main__":
    sys.exit(main())
