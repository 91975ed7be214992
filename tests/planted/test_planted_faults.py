"""Faults planted in a clone, one at a time: each is stopped by the gate meant for it, and by no other.

`make ci STAGES=planted`. Faults for the security gates are planted in tests/security, images that were tampered with or
are not signed in scripts/ci/refuses-tampered.sh.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.environ.get("GRODT_PLANTED") != "1", reason="run by `make ci STAGES=planted`"),
]


class Clone:
    """The last commit in a folder of its own, with this environment and these tools."""

    def __init__(self, folder: Path) -> None:
        self.root = folder
        self.git("clone", "--quiet", str(ROOT), str(folder), at=folder.parent)
        for name in (".venv", ".tools"):
            (folder / name).symlink_to(ROOT / name)
        shutil.copytree(ROOT / ".mypy_cache", folder / ".mypy_cache", dirs_exist_ok=True)

    def git(self, *arguments: str, at: Path | None = None) -> None:
        who = ["-c", "user.name=a tester", "-c", "user.email=tester@example.test"]
        subprocess.run(["git", *who, *arguments], cwd=at or self.root, check=True, capture_output=True)

    def clean(self) -> None:
        self.git("reset", "--quiet", "--hard", "HEAD")
        self.git("clean", "--quiet", "-fd")

    def run(self, *command: str, **variables: str) -> subprocess.CompletedProcess[str]:
        # The clone's own code comes first, wherever the environment's editable install points.
        kept = {
            name: value for name, value in os.environ.items() if not name.startswith(("GRODT_", "COVERAGE", "PYTEST"))
        }
        environment = {**kept, "PYTHONPATH": str(self.root), **variables}
        return subprocess.run(command, cwd=self.root, env=environment, capture_output=True, text=True, check=False)

    def stopped_by(self) -> set[str]:
        """The gates of `make check` that fail."""
        done = self.run("bash", "scripts/check.sh")
        failed = re.search(r"^FAILED: (.*)$", done.stdout, re.MULTILINE)
        assert (done.returncode == 0) == (failed is None), done.stdout + done.stderr
        return set(failed[1].split()) if failed else set()

    def tests(self, *arguments: str) -> str:
        """The last line of pytest."""
        command = [".venv/bin/python", "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:randomly"]
        return self.run(*command, *arguments).stdout.strip().splitlines()[-1]


@pytest.fixture(scope="module", name="clone_once")
def _clone_once(tmp_path_factory: pytest.TempPathFactory) -> Clone:
    return Clone(tmp_path_factory.mktemp("planted") / "clone")


@pytest.fixture(name="clone")
def _clone(clone_once: Clone) -> Iterator[Clone]:
    clone_once.clean()
    yield clone_once
    clone_once.clean()


def append(file: Path, text: str) -> None:
    file.write_text(file.read_text() + text)


def test_without_a_fault_nothing_stops(clone: Clone) -> None:
    assert clone.stopped_by() == set()


@pytest.mark.parametrize(
    "gate", ["black", "isort", "ruff", "mypy", "layers", "zizmor", "shellcheck", "settings", "locks"]
)
def test_a_fault_is_stopped_by_its_gate_alone(clone: Clone, gate: str) -> None:
    root = clone.root
    match gate:
        case "black":
            append(root / "grodtd/domain/errors.py", "\n\n\n\n\nPLANTED = 1\n")
        case "isort":
            (root / "grodtd/domain/planted.py").write_text(
                '"""Planted."""\n\nimport sys\nimport math\n\n__all__ = ["math", "sys"]\n'
            )
        case "ruff":
            append(
                root / "grodtd/domain/errors.py", "\n\ndef _planted(of: list[int] = []) -> list[int]:\n    return of\n"
            )
        case "mypy":
            append(root / "grodtd/domain/errors.py", '\n\ndef _planted() -> int:\n    return "text"\n')
        case "layers":
            (root / "grodtd/indicators/planted.py").write_text(
                '"""Planted."""\n\nfrom grodtd.execution import fills\n\n__all__ = ["fills"]\n'
            )
        case "zizmor":
            file = root / ".github/workflows/ci-cd.yml"
            file.write_text(re.sub(r"(actions/checkout@)[0-9a-f]{40} # (v\d+)\S*", r"\1\2", file.read_text(), count=1))
        case "shellcheck":
            append(root / "scripts/coverage.sh", "rm -rf $PLANTED/x\n")
        case "settings":
            append(root / "configs/settings.production.yaml", "planted: 1\n")
        case "locks":
            append(root / "requirements.lock", "# https" + "://registry.example/simple\n")
    assert clone.stopped_by() == {gate}


def test_a_failing_test_is_stopped_by_the_tests_alone(clone: Clone) -> None:
    assert re.match(r"\d+ passed", clone.tests("tests/unit/domain"))
    (clone.root / "tests/unit/domain/test_planted.py").write_text(
        '"""Planted."""\n\n\ndef test_planted() -> None:\n    assert sum([1, 1]) == 3\n'
    )
    assert clone.stopped_by() == set()
    assert re.match(r"1 failed, \d+ passed", clone.tests("tests/unit/domain"))


def test_a_drop_of_coverage_is_stopped_by_its_floors_alone(clone: Clone, tmp_path: Path) -> None:
    def judged(*more: str) -> subprocess.CompletedProcess[str]:
        measured = [".venv/bin/python", "-m", "coverage"]
        tests = ["-m", "pytest", "-q", "-p", "no:randomly", "tests/unit/domain/test_retention.py"]
        for command in (
            ["run", *tests],
            ["combine", "--quiet"],
            ["json", "--quiet", "--include=grodtd/domain/retention.py", "-o", str(tmp_path / "coverage.json")],
        ):
            done = clone.run(*measured, *command)
            assert done.returncode == 0, done.stdout + done.stderr
        judge = [".venv/bin/python", "scripts/ci/coverage_floors.py", str(tmp_path / "coverage.json")]
        return clone.run(*judge, "--floors", str(tmp_path / "floors.yaml"), *more)

    assert judged("--update").returncode == 0
    assert judged().returncode == 0
    untested = "\n\ndef planted(n: int) -> int:\n" + "    n += 1\n" * 200 + "    return n\n"
    append(clone.root / "grodtd/domain/retention.py", untested)
    done = judged()
    assert done.returncode == 1
    assert re.search(r"coverage dropped: domain: [\d.]+ % is covered", done.stdout)
    assert clone.stopped_by() == set()


def test_a_slower_kernel_is_stopped_by_performance_alone(clone: Clone) -> None:
    file = clone.root / "grodtd/execution/fill_kernel.py"
    text = file.read_text()
    before = 'def _equity_now(books: Books) -> float:\n    total = books.account[0]["cash"]\n'
    assert before in text
    waste = "    for i in range(200):\n        total += 0.0 * (total % (i + 1.5))\n"
    file.write_text(text.replace(before, before + waste))
    assert clone.stopped_by() == set()
    done = clone.run(".venv/bin/python", "scripts/ci/performance.py", "--base", "HEAD", "--rounds", "3")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "slower: one backtest, 100k bars" in done.stdout
