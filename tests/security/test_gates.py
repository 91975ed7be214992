"""Faults planted in a repository: each is stopped by the gate meant for it, and by no other."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from scripts.ci import security

ROOT = Path(__file__).resolve().parents[2]
pytestmark = [pytest.mark.security, pytest.mark.slow]

# In halves, so that this file is no leak itself. Nobody's: the letters of the alphabet, shuffled.
KEY = "AKIA" + "Q3ZTNVXK2LWMBRYD"

WAIVER = """waivers:
  - {{tool: {tool}, id: {id}, path: {path}, findings: 1, reason: judged in a test, owner: a tester, expires: {expires}}}
"""


def planted(name: str, repository: Any, advisories: Any, environment: Path) -> None:
    """Plant one fault in a clean repository."""
    match name:
        case "key in history":
            repository.write("configs/broker.yaml", f"access: {KEY}\n")
            repository.commit()
            (repository.root / "configs/broker.yaml").unlink()
        case "weak hash":
            repository.write("grodtd/weak.py", "import hashlib\n\n\ndef digest(x):\n    return hashlib.md5(x)\n")
        case "our own rules":
            # What bandit rates medium or lower, or does not know.
            for rule in (
                "core-wall-clock",
                "money-float-equality",
                "naive-datetime",
                "secret-in-log",
                "sql-from-string",
            ):
                target = repository.root / "grodtd/domain" / f"{rule.replace('-', '_')}.py"
                target.parent.mkdir(exist_ok=True)
                shutil.copyfile(ROOT / "security/semgrep" / f"{rule}.py", target)
        case "root container":
            repository.append("Dockerfile", "USER root\n")
        case "expired waiver":
            repository.write("grodtd/check.py", "assert True\n")
            repository.write(
                "security/waivers.yaml",
                WAIVER.format(tool="bandit", id="B101", path="grodtd/check.py", expires="2020-01-31"),
            )
        case "waiver that matches nothing":
            repository.write(
                "security/waivers.yaml",
                WAIVER.format(tool="bandit", id="B602", path="grodtd/gone.py", expires="2999-01-31"),
            )
        case "vulnerable pin":
            advisories.known["jinja2"] = "CVE-2999-0001"
        case "forbidden licence":
            metadata = "Metadata-Version: 2.4\nName: greedy\nVersion: 1.0\nLicense-Expression: SSPL-1.0\n"
            (environment / "greedy-1.0.dist-info").mkdir()
            (environment / "greedy-1.0.dist-info" / "METADATA").write_text(metadata)
            repository.append("requirements.lock", "greedy==1.0 \\\n    --hash=sha256:" + "0" * 64 + "\n")
        case _:
            raise AssertionError(name)
    repository.commit()


@pytest.mark.parametrize(
    ("fault", "stopped_by"),
    [
        ("key in history", {("gitleaks", "aws-access-token")}),
        ("weak hash", {("bandit", "B324")}),
        (
            "our own rules",
            {
                ("semgrep", "core-wall-clock"),
                ("semgrep", "money-float-equality"),
                ("semgrep", "naive-datetime"),
                ("semgrep", "secret-in-log"),
                ("semgrep", "sql-from-string"),
            },
        ),
        ("root container", {("trivy", "DS-0002")}),
        ("expired waiver", {("waivers", "waiver-expired")}),
        ("waiver that matches nothing", {("waivers", "waiver-matches-nothing")}),
        ("vulnerable pin", {("pip-audit", "CVE-2999-0001")}),
        ("forbidden licence", {("licences", "licence-forbidden")}),
    ],
)
def test_a_fault_is_stopped_by_its_gate_alone(fault, stopped_by, tools, repository, advisories, run, tmp_path) -> None:
    # This environment and a folder beside it, which a fault may install something into.
    environment, python = tmp_path / "environment", tmp_path / "python"
    environment.mkdir()
    python.write_text(f'#!/bin/sh\nPYTHONPATH="{environment}" exec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    planted(fault, repository, advisories, environment)

    answer = run(repository, "--python", str(python))

    assert answer.blocking == stopped_by
    assert answer.failed == []
    assert answer.code == 1
    assert answer.report["stops"] is True


def test_a_licence_allowed_in_research_is_forbidden_at_run_time(tools, repository, run) -> None:
    lines = (repository.root / "requirements-research.lock").read_text().splitlines()
    (start,) = [number for number, line in enumerate(lines) if line.startswith("vectorbt==")]
    repository.append("requirements.lock", "\n".join(lines[start : start + 2]).rstrip(" \\") + "\n")
    answer = run(repository, "--only", "licences")
    (found,) = answer.report["findings"]
    assert (found["id"], found["path"]) == ("licence-forbidden", "requirements.lock")
    assert found["message"].startswith("vectorbt ")


def test_comments_in_the_code_silence_nothing(tools, repository, run) -> None:
    repository.write("grodtd/weak.py", "import hashlib\n\nEMPTY = hashlib.md5(b'')  # nosec\n")
    repository.write("grodtd/clock.py", "import datetime\n\nNOW = datetime.datetime.now()  # nosemgrep\n")
    repository.write("configs/broker.yaml", f"access: {KEY} # gitleaks:allow\n")
    dockerfile = (repository.root / "Dockerfile").read_text()
    repository.write("Dockerfile", f"# trivy:ignore:DS-0002\n{dockerfile}#trivy:ignore:*\nUSER root\n")
    repository.commit()
    answer = run(repository, "--only", "bandit", "semgrep", "gitleaks", "trivy")
    assert answer.blocking == {
        ("bandit", "B324"),
        ("semgrep", "naive-datetime"),
        ("gitleaks", "aws-access-token"),
        ("trivy", "aws-access-key-id"),
        ("trivy", "DS-0002"),
    }


def test_a_clean_repository_is_stopped_by_nothing(tools, repository, advisories, run) -> None:
    answer = run(repository)
    assert (answer.code, answer.blocking, answer.failed) == (0, set(), [])
    for name in ("advisories", "bandit", "semgrep", "gitleaks", "trivy", "sbom"):
        assert answer.status(name) == "passed"
    assert {"jinja2", "vectorbt", "numpy"} <= advisories.asked
    # What was skipped is said last, and with --require-all stops.
    skipped = answer.report["skipped"]
    assert skipped[-1] == "image-sbom"
    assert answer.printed.splitlines()[-3].startswith("SKIPPED  image-sbom")
    assert run(repository, "--only", "image", "--require-all").code == 1


def test_this_repository_is_stopped_by_nothing(tools, tmp_path) -> None:
    # The day the waivers were judged: this test must not change its answer with the calendar; the gate does.
    fixed = ["--tools", str(tools), "--output", str(tmp_path), "--python", sys.executable, "--today", "2026-11-24"]
    only = ["--only", "bandit", "semgrep", "gitleaks", "trivy", "licences", "sbom"]
    code = security.main(["run", *fixed, *only])
    report = json.loads((tmp_path / "findings.json").read_text())
    assert code == 0, (tmp_path / "summary.md").read_text()
    assert sum(finding["waived"] for finding in report["findings"]) >= 5


def test_a_waived_finding_does_not_stop(tools, repository, run) -> None:
    repository.write("grodtd/weak.py", "import hashlib\n\n\ndef digest(x):\n    return hashlib.md5(x)\n")
    repository.write(
        "security/waivers.yaml", WAIVER.format(tool="bandit", id="B324", path="grodtd/w*.py", expires="2999-01-31")
    )
    answer = run(repository, "--only", "bandit")
    assert answer.code == 0
    assert [(f["id"], f["severity"], f["waived"]) for f in answer.report["findings"]] == [("B324", "critical", True)]
    (result,) = json.loads((repository.root / "build/security/bandit.sarif").read_text())["runs"][0]["results"]
    assert result["suppressions"] == [{"kind": "external", "status": "accepted"}]
    # The day after, it does.
    assert run(repository, "--only", "bandit", "--today", "2999-02-01").code == 1


def test_a_secret_is_not_repeated_in_any_report(tools, repository, run) -> None:
    repository.write("configs/broker.yaml", f"access: {KEY}\n")
    repository.commit()
    answer = run(repository, "--only", "gitleaks", "trivy")
    assert {tool for tool, _ in answer.blocking} == {"gitleaks", "trivy"}
    reports = [file for file in (repository.root / "build").rglob("*") if file.is_file()]
    assert len(reports) >= 5
    assert [file for file in reports if KEY in file.read_text(errors="replace")] == []
    assert KEY not in answer.printed


def test_an_advisory_service_out_of_reach_is_skipped_never_passed(tools, repository, run, monkeypatch) -> None:
    monkeypatch.setenv("GRODT_ADVISORY_URL", "http://127.0.0.1:9/v1/query")  # the discard port: nobody listens
    answer = run(repository, "--only", "advisories")
    assert answer.status("advisories") == "skipped"
    assert "SKIPPED  advisories" in answer.printed
    assert "cannot be reached" in answer.printed


def test_a_shallow_clone_has_no_history_to_judge(tools, repository, run, tmp_path) -> None:
    repository.write("grodtd/more.py", "BARS = 4\n")
    repository.commit()
    shallow = tmp_path / "shallow"
    subprocess.run(["git", "clone", "-q", "--depth", "1", f"file://{repository.root}", shallow], check=True)
    answer = run(type(repository)(shallow), "--only", "gitleaks")
    assert answer.status("gitleaks") == "skipped"


def test_every_rule_of_ours_reports_what_its_examples_say(tools, tmp_path) -> None:
    done = subprocess.run(
        [tools / "semgrep", "scan", "--test", "--json", "--metrics=off", "--disable-version-check", "security/semgrep"],
        cwd=ROOT,
        env={"PATH": f"{tools}:/usr/bin:/bin", "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    report = json.loads(done.stdout[done.stdout.index("{") :])
    assert done.returncode == 0
    assert report["config_missing_tests"] == report["config_with_errors"] == []
    checks = {name: check for file in report["results"].values() for name, check in file["checks"].items()}
    assert set(checks) == {file.stem for file in (ROOT / "security/semgrep").glob("*.yaml")}
    assert len(checks) >= 10
    assert [name for name, check in checks.items() if not check["passed"]] == []
