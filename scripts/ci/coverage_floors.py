"""Judge a coverage report: at least 85 % in all and in each package, and no drop below what was reached before.

    python scripts/ci/coverage_floors.py build/ci/coverage.json
    python scripts/ci/coverage_floors.py build/ci/coverage.json --update     what was measured becomes the floor

The report is that of `coverage json`, with branches. Exit code 1 names each package that fell short.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any, Final

import yaml

ROOT: Final = Path(__file__).resolve().parents[2]
FLOOR: Final = 85.0
# Threads and the clock decide a few branches; less than this is no drop.
NOISE: Final = 0.3


def covered(report: dict[str, Any]) -> dict[str, float]:
    """Return the percentage of lines and branches covered, in all and by package of the first level."""
    counts: dict[str, list[int]] = {}
    for name, file in report["files"].items():
        parts = PurePosixPath(name).parts
        package = parts[1] if len(parts) > 2 else "modules"
        found = file["summary"]
        done = found["covered_lines"] + found["covered_branches"]
        there = found["num_statements"] + found["num_branches"]
        for key in ("total", package):
            counts.setdefault(key, [0, 0])
            counts[key][0] += done
            counts[key][1] += there
    return {name: 100.0 * done / there if there else 100.0 for name, (done, there) in counts.items()}


def shortfalls(found: dict[str, float], floors: dict[str, float]) -> list[str]:
    """Return what fell short of 85 % or of its floor, as sentences."""
    said = []
    for name, value in sorted(found.items()):
        floor = floors.get(name, FLOOR)
        if value < FLOOR:
            said.append(f"{name}: {value:.1f} % is covered, {FLOOR:.0f} % is the least")
        elif value < floor - NOISE:
            said.append(f"{name}: {value:.1f} % is covered, it was {floor:.1f} %; test what was added")
    said += [f"{name}: has a floor and is gone; remove it with --update" for name in sorted(set(floors) - set(found))]
    return said


def main(arguments: Sequence[str] | None = None) -> int:
    """Judge, or write the floors; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("report", type=Path)
    parser.add_argument("--floors", type=Path, default=ROOT / "tests" / "coverage-floors.yaml")
    parser.add_argument("--update", action="store_true", help="write what was measured as the floors")
    given = parser.parse_args(arguments)
    report = json.loads(given.report.read_text())
    if not report["meta"]["branch_coverage"]:
        print(f"{given.report} has no branches; measure with branch = true", file=sys.stderr)
        return 2
    found = covered(report)
    if given.update:
        rounded = {name: round(value, 1) for name, value in sorted(found.items())}
        given.floors.write_text(
            "# Percent of lines and branches covered when last looked at; scripts/coverage.sh --update writes it.\n"
            + yaml.safe_dump(rounded)
        )
        print(f"wrote {given.floors}")
        return 0
    said = shortfalls(found, yaml.safe_load(given.floors.read_text()))
    for text in said:
        print(f"coverage dropped: {text}")
    if not said:
        print(f"coverage {found['total']:.2f} %, no package below its floor")
    return 1 if said else 0


if __name__ == "__main__":
    sys.exit(main())
