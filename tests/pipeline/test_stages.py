"""The programs that run and judge the pipeline's stages."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from scripts.ci import coverage_floors, performance, pipeline, trend

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(name="stages")
def _stages(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = {
        "good": "echo fine",
        "bad": "echo broken; exit 3",
        "absent": "echo 'SKIPPED absent: no engine here'; exit 77",
        "partly": "echo '==> SKIPPED one part: no image'; echo 'SKIPPED [4] tests/a.py: no service'; echo the rest",
    }
    monkeypatch.setattr(
        pipeline, "STAGES", tuple(pipeline.Stage(name, "for a test", line) for name, line in lines.items())
    )


def outcome(folder: Path, *arguments: str) -> tuple[int, dict[str, str], str]:
    code = pipeline.main([*arguments, "--output", str(folder)])
    found = json.loads((folder / "summary.json").read_text())
    return code, {o["stage"]: o["status"] for o in found}, (folder / "summary.md").read_text()


@pytest.mark.usefixtures("stages")
def test_every_stage_runs_though_one_fails_and_each_is_named(tmp_path: Path) -> None:
    code, found, text = outcome(tmp_path)
    assert code == 1
    assert found == {"good": "passed", "bad": "failed", "absent": "skipped", "partly": "passed"}
    assert (tmp_path / "bad.log").read_text() == "broken\n"
    assert "- SKIPPED absent: absent: no engine here" in text
    assert "- SKIPPED partly: tests/a.py: no service (4 tests)" in text


@pytest.mark.usefixtures("stages")
def test_what_left_something_out_is_never_just_passed(tmp_path: Path) -> None:
    code, _, text = outcome(tmp_path, "good", "partly")
    assert code == 0
    assert "| good | passed |" in text
    assert "| partly | passed, 2 skipped |" in text
    assert outcome(tmp_path, "good", "--require-all")[0] == 0
    assert outcome(tmp_path, "partly", "--require-all")[0] == 1
    assert outcome(tmp_path, "absent")[0] == 0
    assert outcome(tmp_path, "absent", "--require-all")[0] == 1


def test_an_unknown_stage_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        pipeline.main(["lnit"])
    assert "there is no stage lnit; there are lint, " in capsys.readouterr().err


def report(**packages: tuple[int, int, int, int]) -> dict[str, object]:
    """A coverage report; of each file lines covered and there, branches covered and there."""
    names = ("covered_lines", "num_statements", "covered_branches", "num_branches")
    files = {
        name.replace("__", "/") + ".py": {"summary": dict(zip(names, n, strict=True))} for name, n in packages.items()
    }
    return {"meta": {"branch_coverage": True}, "files": files}


def test_coverage_counts_lines_and_branches_by_package() -> None:
    found = coverage_floors.covered(
        report(grodtd__domain__a=(90, 100, 8, 20), grodtd__domain__b=(30, 30, 0, 0), grodtd__config=(1, 2, 1, 2))
    )
    # domain: (90 + 8 + 30) of (100 + 20 + 30); modules: 2 of 4; total: 130 of 154
    assert found == pytest.approx({"domain": 100 * 128 / 150, "modules": 50.0, "total": 100 * 130 / 154})


@pytest.mark.parametrize(
    ("found", "said"),
    [
        ({"total": 97.0}, []),
        ({"total": 96.8}, []),  # within the noise of 0.3
        ({"total": 96.6}, ["total: 96.6 % is covered, it was 97.0 %; test what was added"]),
        ({"total": 97.0, "new": 84.9}, ["new: 84.9 % is covered, 85 % is the least"]),
        ({}, ["total: has a floor and is gone; remove it with --update"]),
    ],
)
def test_coverage_may_not_drop(found: dict[str, float], said: list[str]) -> None:
    assert coverage_floors.shortfalls(found, {"total": 97.0}) == said


def test_a_report_without_branches_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "coverage.json"
    file.write_text(json.dumps({"meta": {"branch_coverage": False}, "files": {}}))
    assert coverage_floors.main([str(file)]) == 2


def test_a_base_that_is_not_there_is_skipped_and_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert performance.main(["--base", "no-such-commit"]) == 77
    assert "SKIPPED performance: there is no commit no-such-commit here" in capsys.readouterr().out


@pytest.mark.parametrize(("required", "stopped"), [("", []), ("1", ["instructions must be counted here: no valgrind"])])
def test_instructions_are_skipped_without_valgrind_unless_required(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    required: str,
    stopped: list[str],
) -> None:
    done = subprocess.CompletedProcess([], 77, "SKIPPED the counters: no valgrind\n", "")
    monkeypatch.setattr(performance.subprocess, "run", lambda *_, **__: done)
    monkeypatch.setenv("GRODT_REQUIRE_INSTRUCTIONS", required)
    found: dict[str, Any] = {"base": "0123456789", "ratios": {}, "stopped": []}
    performance.compare_instructions(tmp_path, found)
    assert found["stopped"] == stopped
    assert "SKIPPED instruction counts: no valgrind" in capsys.readouterr().out


def test_a_tree_whose_instructions_cannot_be_counted_is_stopped_and_a_base_is_not(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = subprocess.CompletedProcess([], 1, "", "Traceback\nAttributeError: _play\n")
    whole = subprocess.CompletedProcess(
        [], 0, json.dumps({"rows": [{"case": "a", "phase": "p", "instructions": 1}]}), ""
    )
    answers: list[Any] = [broken, whole, broken]
    monkeypatch.setattr(performance.subprocess, "run", lambda *_, **__: answers.pop(0))
    found: dict[str, Any] = {"base": "0123456789", "ratios": {}, "stopped": []}
    performance.compare_instructions(tmp_path, found)
    assert found["stopped"] == ["instructions of this tree cannot be counted: AttributeError: _play"]
    performance.compare_instructions(tmp_path, found)
    assert len(found["stopped"]) == 1
    assert "SKIPPED instruction counts: the base's sweeps cannot be run: AttributeError" in capsys.readouterr().out


def test_instructions_of_a_sweep_are_those_of_its_phases(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    rows = [("a", "runs", 5), ("a", "naive loop", 100), ("a", "the rest", 2), ("b", "runs", 3)]
    answer = {"rows": [{"case": c, "phase": p, "instructions": n} for c, p, n in rows]}
    done = subprocess.CompletedProcess([], 0, json.dumps(answer), "")
    monkeypatch.setattr(performance.subprocess, "run", lambda *_, **__: done)
    assert performance.instructions(tmp_path) == {"a": 7, "b": 3}


@pytest.mark.parametrize(("now", "code"), [(124, 0), (126, 1)])
def test_a_quarter_more_instructions_stop_at_any_speed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str], now: int, code: int
) -> None:
    class Same:
        """A checkout that does everything in one second."""

        def __init__(self, _: Path) -> None: ...
        def ask(self, _: object) -> dict[str, float]:
            return {"cpu_s": 1.0, "n": 1.0}

        def seconds(self, *_: object) -> float:
            return 1.0

        def close(self) -> None: ...

    monkeypatch.setattr(performance, "checkout", lambda *_: "0123456789")
    monkeypatch.setattr(performance, "Tree", Same)
    monkeypatch.setattr(performance, "naive_floor", lambda: 1.0)
    monkeypatch.setattr(performance, "instructions", lambda tree: {"a": now if tree == performance.ROOT else 100})
    assert performance.main(["--output", str(tmp_path / "found.json")]) == code
    assert ("slower: instructions, a: 1.26 times those of 012345678" in capsys.readouterr().out) == bool(code)
    assert json.loads((tmp_path / "found.json").read_text())["ratios"]["instructions, a"] == now / 100


def test_without_its_base_the_performance_stage_is_skipped(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    # What GitHub gives for the first push of a branch. `make` would turn 77 into 2, a failure.
    monkeypatch.setenv("GRODT_BASE", "0" * 40)
    code, found, text = outcome(tmp_path, "performance")
    assert (code, found) == (0, {"performance": "skipped"})
    assert "there is no commit 000" in text


def test_the_test_stage_forgets_what_was_measured_before() -> None:
    # Parallel data files of an earlier run, of other code, would be combined with this one's.
    (stage,) = [stage for stage in pipeline.STAGES if stage.name == "test"]
    assert stage.command.startswith("rm -f .coverage .coverage.*;")


def test_the_history_keeps_one_line_a_commit_and_draws_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    measured, history = tmp_path / "measured", tmp_path / "history"
    (measured / "job").mkdir(parents=True)
    (measured / "job" / "junit-3.12.xml").write_text(
        '<testsuites><testsuite name="pytest" errors="1" failures="2" skipped="3" tests="40" time="5.5"/></testsuites>'
    )
    (measured / "performance.json").write_text(json.dumps({"ratios": {"a job": 1.03}}))
    (measured / "summary.json").write_text(json.dumps([{"stage": "lint", "seconds": 12.5}]))
    found = [{"severity": "high", "waived": False}, {"severity": "high", "waived": True}]
    (measured / "findings.json").write_text(json.dumps({"findings": found}))
    for _ in range(2):  # a second run of the same commit replaces its line
        assert trend.main(["--history", str(history), "--measured", str(measured)]) == 0
    (line,) = [json.loads(text) for text in (history / "history.jsonl").read_text().splitlines()]
    assert line["tests"] == {"3.12": {"tests": 40, "failed": 3, "skipped": 3, "time": 5.5}}
    assert line["ratios"] == {"a job": 1.03}
    assert line["stages"] == {"lint": 12.5}
    assert line["findings"] == {"high": 1, "waived": 1}
    page = (history / "index.html").read_text()
    assert "<script src=" not in page
    assert "a job" in page
    assert trend.main(["--history", str(history), "--measured", str(tmp_path / "nothing")]) == 1
    assert "`make ci` first" in capsys.readouterr().err


def test_the_history_keeps_the_jobs_of_the_server_apart(tmp_path: Path) -> None:
    for job, tests, stage in (("integration", 900, "test"), ("test-3.11", 500, "unit"), ("test-3.13", 499, "unit")):
        folder = tmp_path / f"reports-{job}"
        folder.mkdir()
        suite = f'<testsuite errors="0" failures="0" skipped="0" tests="{tests}" time="1"/>'
        (folder / "junit.xml").write_text(f"<testsuites>{suite}</testsuites>")
        (folder / "summary.json").write_text(json.dumps([{"stage": stage, "seconds": tests / 10}]))
    for folder, severity in (("reports-security/security", "low"), ("reports-build/security-image", "high")):
        (tmp_path / folder).mkdir(parents=True)
        finding = {"severity": severity, "waived": False}
        (tmp_path / folder / "findings.json").write_text(json.dumps({"findings": [finding]}))
    (tmp_path / "reports-security/summary.json").write_text(json.dumps([{"stage": "security", "seconds": 3}]))
    found = trend.measured([tmp_path])
    assert {name: suite["tests"] for name, suite in found["tests"].items()} == {
        "integration": 900,
        "test-3.11": 500,
        "test-3.13": 499,
    }
    assert found["stages"] == {
        "test (integration)": 90,
        "unit (test-3.11)": 50,
        "unit (test-3.13)": 49.9,
        "security": 3,
    }
    assert found["findings"] == {"low": 1, "high": 1}


def git(folder: Path, *arguments: str) -> None:
    who = ["-c", "user.name=a tester", "-c", "user.email=tester@example.test"]
    subprocess.run(["git", *who, *arguments], cwd=folder, check=True, capture_output=True)


def test_a_release_is_a_tag_on_main_with_its_changes_written_down(tmp_path: Path) -> None:
    script = tmp_path / "scripts" / "ci" / "release-check.sh"
    script.parent.mkdir(parents=True)
    script.write_bytes((ROOT / "scripts/ci/release-check.sh").read_bytes())

    def said(tag: str) -> str:
        done = subprocess.run(["bash", script, tag], capture_output=True, text=True, check=False)
        assert (done.returncode == 0) == (not done.stderr)
        return done.stdout + done.stderr

    git(tmp_path, "init", "--quiet", "--initial-branch", "main")
    (tmp_path / "CHANGELOG.md").write_text("# Changelog\n\n## 1.2.3 - 2026-11-24\n")
    git(tmp_path, "add", "--all")
    git(tmp_path, "commit", "--quiet", "--message", "first")
    git(tmp_path, "tag", "v1.2.3")
    assert said("v1.2.3") == "v1.2.3 may be released\n"
    assert "is not vX.Y.Z" in said("1.2.3")
    assert "this commit is not v1.2.4" in said("v1.2.4")
    git(tmp_path, "tag", "v1.2.4")
    assert "no section '## 1.2.4'" in said("v1.2.4")
    git(tmp_path, "checkout", "--quiet", "-b", "aside")
    git(tmp_path, "commit", "--quiet", "--allow-empty", "--message", "aside")
    git(tmp_path, "tag", "v1.2.5")
    assert "is not on main" in said("v1.2.5")


def test_a_change_users_notice_needs_its_line_and_a_base_that_is_gone_is_said(tmp_path: Path) -> None:
    script = tmp_path / "scripts" / "check.sh"
    script.parent.mkdir()
    script.write_bytes((ROOT / "scripts/check.sh").read_bytes())

    def said(base: str) -> tuple[int, str]:
        done = subprocess.run(
            ["bash", script, "changelog"],
            env=os.environ | {"GRODT_BASE": base},
            capture_output=True,
            text=True,
            check=False,
        )
        return done.returncode, done.stdout

    def commit(*files: str) -> None:
        for name in files:
            with (tmp_path / name).open("a") as file:
                file.write("more\n")
        git(tmp_path, "add", "--all")
        git(tmp_path, "commit", "--quiet", "--message", "change")

    (tmp_path / "grodtd").mkdir()
    git(tmp_path, "init", "--quiet", "--initial-branch", "main")
    commit("CHANGELOG.md", "grodtd/a.py")
    commit("grodtd/a.py")
    code, text = said("HEAD^")
    assert code == 1
    assert "FAILED: changelog" in text
    # The first push of a branch, or one that was forced: nothing was compared, which is no pass.
    code, text = said("0" * 40)
    assert (code, "SKIPPED changelog: there is no base 000" in text) == (0, True)
    commit("grodtd/a.py", "CHANGELOG.md")
    assert said("HEAD^")[0] == 0
    assert said("HEAD~2")[0] == 0
