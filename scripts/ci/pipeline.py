"""The stages of the pipeline, the same on a laptop and in CI: each is run, logged and judged; what was skipped is listed.

    python scripts/ci/pipeline.py                  every stage, in order
    python scripts/ci/pipeline.py lint test        some of them
    python scripts/ci/pipeline.py --list           what there is
    python scripts/ci/pipeline.py --require-all    what was skipped fails: for a machine that can run everything

A stage says `SKIPPED what: why` for each part that cannot run here, and ends with 77 if none of it can. Logs, summary.md
and summary.json land in build/ci. Exit code 0: nothing failed. 1: something did.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
# What a stage ends with when nothing of it can run here (the convention of automake and meson).
SKIPPED: Final = 77
# Where pytest, the gates and our scripts say that something was left out, and why.
_SAYS_SKIPPED: Final = re.compile(r"^(?:==> )?SKIPPED (?:\[(\d+)\] )?(.+)$")
_NO_SERVICE: Final = "not (integration or postgres or browser or docker or security or pipeline or planted)"
# Not through make, which turns 77 into a failure.
_PERFORMANCE: Final = '.venv/bin/python scripts/ci/performance.py ${GRODT_BASE:+--base "$GRODT_BASE"}'
# What an earlier run measured, of other code, would count too.
_MEASURED: Final = "rm -f .coverage .coverage.*; make tools && make test COVERAGE=1"
_PLANTED: Final = "GRODT_PLANTED=1 .venv/bin/python -m pytest tests/planted -p no:xdist -p no:randomly -v"


@dataclass(frozen=True)
class Stage:
    """One stage: what it is for, and the shell line that is it."""

    name: str
    purpose: str
    command: str


STAGES: Final = (
    Stage("lint", "format, lint, types, layers, locks, settings, workflows, images, scripts", "make tools check"),
    Stage("unit", "tests that need no service, on the Python of `make`", f"make test MARKS='{_NO_SERVICE}'"),
    Stage("test", "every test, measured", _MEASURED),
    Stage("coverage", "compiled and interpreted together; floors, and no drop", "scripts/coverage.sh"),
    Stage("versions", "the tests that need no service, on other Pythons", f"scripts/ci/versions.sh '{_NO_SERVICE}'"),
    Stage("performance", "this tree against its base, in turns", _PERFORMANCE),
    Stage("security", "every gate", "make security"),
    Stage("build", "packages and images: built, tried, pushed, signed, verified", "make tools && scripts/ci/build.sh"),
    Stage("docker", "the images and the whole stack on an engine", "make tools && scripts/test-docker.sh"),
    Stage("planted", "faults planted for the gates: is each stopped, by its gate alone", f"make tools && {_PLANTED}"),
    Stage("mutation", "do the tests notice faults in fills, ledger and ratios", "make mutation"),
)
# Hours of work: in the nightly run.
NIGHTLY: Final = ("mutation",)
# Part of another one that is run here.
CONTAINED: Final = {"unit": "test"}


@dataclass
class Outcome:
    """What became of a stage."""

    stage: str
    status: str  # passed, failed, skipped
    seconds: float
    skipped: list[str] = field(default_factory=list)

    @property
    def mark(self) -> str:
        """The status as people read it: what left something out is never just passed."""
        if self.status == "passed" and self.skipped:
            return f"passed, {len(self.skipped)} skipped"
        return self.status


def run(stage: Stage, output: Path) -> Outcome:
    """Run one stage, show and keep what it prints, and judge it by its exit code."""
    print(f"\n===== {stage.name}: {stage.purpose}", flush=True)
    began, skipped = time.monotonic(), []
    # A pipeline in a pipeline (make in make) passes on none of its own flags.
    environment = {
        name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS")
    }
    with (
        (output / f"{stage.name}.log").open("w", encoding="utf-8") as log,
        subprocess.Popen(
            ["bash", "-c", stage.command],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as process,
    ):
        assert process.stdout is not None  # it is a pipe
        for line in process.stdout:
            print(line, end="", flush=True)
            log.write(line)
            if found := _SAYS_SKIPPED.match(line.rstrip()):
                skipped.append(f"{found[2]} ({found[1]} tests)" if found[1] else found[2])
    status = {0: "passed", SKIPPED: "skipped"}.get(process.returncode, "failed")
    return Outcome(stage.name, status, round(time.monotonic() - began, 1), skipped)


def summary(outcomes: Sequence[Outcome]) -> str:
    """Return the outcomes as Markdown."""
    lines = ["| stage | outcome | seconds |", "|---|---|---:|"]
    lines += [f"| {o.stage} | {o.mark} | {o.seconds:.0f} |" for o in outcomes]
    left_out = [
        f"- SKIPPED {o.stage}: {text}"
        for o in outcomes
        for text in o.skipped or ["all of it"] * (o.status == "skipped")
    ]
    if left_out:
        lines += ["", "Not run here, and not passed:", "", *left_out]
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the stages asked for; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stages", nargs="*", metavar="STAGE", help=", ".join(s.name for s in STAGES))
    parser.add_argument("--list", action="store_true", help="name the stages and end")
    parser.add_argument("--require-all", action="store_true", help="what was skipped fails")
    parser.add_argument("--json", action="store_true", help="print the outcomes as JSON at the end")
    parser.add_argument("--output", type=Path, default=ROOT / "build" / "ci", help="folder of logs and summaries")
    given = parser.parse_args(arguments)
    if given.list:
        for stage in STAGES:
            print(f"{stage.name:12} {stage.purpose}{' (nightly)' if stage.name in NIGHTLY else ''}")
        return 0
    known = {stage.name: stage for stage in STAGES}
    if unknown := [name for name in given.stages if name not in known]:
        parser.error(f"there is no stage {unknown[0]}; there are {', '.join(known)}")
    names = given.stages or [s for s in known if s not in NIGHTLY and s not in CONTAINED]
    given.output.mkdir(parents=True, exist_ok=True)
    outcomes = [run(known[name], given.output) for name in names]
    text = summary(outcomes)
    (given.output / "summary.md").write_text(text, encoding="utf-8")
    (given.output / "summary.json").write_text(json.dumps([asdict(o) for o in outcomes], indent=2), encoding="utf-8")
    if page := os.environ.get("GITHUB_STEP_SUMMARY"):
        with Path(page).open("a", encoding="utf-8") as step:
            step.write(text)
    print("\n" + (json.dumps([asdict(o) for o in outcomes], indent=2) if given.json else text))
    is_short = given.require_all and any(o.skipped or o.status == "skipped" for o in outcomes)
    return 1 if is_short or any(o.status == "failed" for o in outcomes) else 0


if __name__ == "__main__":
    sys.exit(main())
