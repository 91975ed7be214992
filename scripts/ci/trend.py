"""Add what the stages measured to a history, a line a run, and draw it as one page.

    python scripts/ci/trend.py                      from folders of build/ into build/history
    python scripts/ci/trend.py --history FOLDER     where history.jsonl and index.html are kept

Tests (how many, how long, failed, skipped), coverage, ratios of the performance job, findings of the security gates,
seconds of each stage. A commit measured again replaces its line. The page needs no network.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final
from xml.etree import ElementTree

import plotly.graph_objects as go
from plotly.subplots import make_subplots

ROOT: Final = Path(__file__).resolve().parents[2]
MEASURED: Final = ("ci", "security", "security-image", "jobs")
PANELS: Final = (
    "tests",
    "seconds of tests",
    "coverage, %",
    "time over the base's",
    "security findings",
    "seconds of stages",
)


def junit(file: Path) -> dict[str, float]:
    """Return the counts and seconds of a JUnit file."""
    # Written by our own pytest a moment ago.
    suite = ElementTree.parse(file).getroot().find("testsuite")  # noqa: S314
    assert suite is not None  # pytest writes one
    number = {name: float(suite.get(name, "0")) for name in ("tests", "failures", "errors", "skipped", "time")}
    return {
        "tests": number["tests"],
        "failed": number["failures"] + number["errors"],
        **{k: number[k] for k in ("skipped", "time")},
    }


def job_of(path: Path) -> str:
    """Return which job of the server a file came from, by its artifact's folder; empty where there was none."""
    return next((part.removeprefix("reports-") for part in path.parts if part.startswith("reports-")), "")


def measured(folders: Sequence[Path]) -> dict[str, Any]:
    """Return what the files of stages say, from all folders together."""
    found: dict[str, Any] = {"tests": {}, "stages": {}, "ratios": {}, "findings": {}, "coverage": None}
    for file in sorted(path for folder in folders for path in folder.rglob("*") if path.is_file()):
        job = job_of(file)
        match file.name:
            case "performance.json":
                found["ratios"] = json.loads(file.read_text())["ratios"]
            case "coverage.json":
                found["coverage"] = json.loads(file.read_text())["totals"]["percent_covered"]
            case "summary.json":
                for outcome in json.loads(file.read_text()):
                    stage = outcome["stage"]
                    found["stages"][stage if job in ("", stage) else f"{stage} ({job})"] = outcome["seconds"]
            case "findings.json":
                # Of the repository and of the image.
                for finding in json.loads(file.read_text())["findings"]:
                    key = "waived" if finding["waived"] else finding["severity"]
                    found["findings"][key] = found["findings"].get(key, 0) + 1
            case name if name.startswith("junit") and name.endswith(".xml"):
                suite = "-".join(part for part in (job, file.stem.removeprefix("junit").strip("-")) if part)
                found["tests"][suite or "all"] = junit(file)
    return found


def page(history: Sequence[dict[str, Any]]) -> str:
    """Return the history as one HTML page."""
    figure = make_subplots(rows=3, cols=2, subplot_titles=PANELS, vertical_spacing=0.09)
    x = [f"{line['commit'][:9]} {line['at'][:16]}" for line in history]

    def draw(panel: int, name: str, values: list[Any]) -> None:
        if any(value is not None for value in values):
            trace = go.Scatter(x=x, y=values, name=name, mode="lines+markers", legendgroup=PANELS[panel])
            figure.add_trace(trace, row=panel // 2 + 1, col=panel % 2 + 1)

    for suite in sorted({name for line in history for name in line["tests"]}):
        for what in ("tests", "failed", "skipped"):
            draw(0, f"{suite}: {what}", [line["tests"].get(suite, {}).get(what) for line in history])
        draw(1, f"{suite}: seconds", [line["tests"].get(suite, {}).get("time") for line in history])
    draw(2, "coverage", [line["coverage"] for line in history])
    for panel, key in ((3, "ratios"), (4, "findings"), (5, "stages")):
        for name in sorted({name for line in history for name in line[key]}):
            draw(panel, name, [line[key].get(name) for line in history])
    figure.update_layout(
        title="GRODT: what the pipeline measured", height=1100, hovermode="x unified", template="plotly_white"
    )
    figure.update_xaxes(showticklabels=False)
    return str(figure.to_html(include_plotlyjs=True, full_html=True))


def main(arguments: Sequence[str] | None = None) -> int:
    """Add a line and draw; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    build = ROOT / "build"
    parser.add_argument("--history", type=Path, default=build / "history", help="folder that is kept from run to run")
    parser.add_argument("--measured", type=Path, nargs="+", default=[build / name for name in MEASURED])
    given = parser.parse_args(arguments)
    said = subprocess.run(["git", "log", "-1", "--format=%H %cI"], cwd=ROOT, capture_output=True, text=True, check=True)
    commit, at = said.stdout.split()
    found = measured([folder for folder in given.measured if folder.is_dir()])
    if not (found["tests"] or found["stages"]):
        print("nothing was measured yet: `make ci` first", file=sys.stderr)
        return 1
    given.history.mkdir(parents=True, exist_ok=True)
    kept = given.history / "history.jsonl"
    lines = [json.loads(line) for line in kept.read_text().splitlines()] if kept.exists() else []
    lines = [line for line in lines if line["commit"] != commit] + [{"commit": commit, "at": at, **found}]
    kept.write_text("".join(json.dumps(line) + "\n" for line in lines))
    (given.history / "index.html").write_text(page(lines), encoding="utf-8")
    print(f"{len(lines)} runs: {given.history / 'index.html'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
