"""What follows from findings, waivers and gates that go wrong; scanners are stand-ins here."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest

from scripts.ci import security
from scripts.ci.security import Finding, Waiver

pytestmark = pytest.mark.security

ASSERT = Finding("bandit", "B101", "low", "grodtd/check.py", 3, "an assert")
WAIVER = Waiver("bandit", "B101", "grodtd/*.py", 1, "judged", "core", date(2026, 6, 30))
ALL_TOOLS = frozenset(tool for tool, _ in security.GATES.values())


def wrong(
    waiver: Waiver, findings: list[Finding], tools: frozenset[str] = ALL_TOOLS, today: str = "2026-06-30"
) -> list[str]:
    found = security.judge_waivers([waiver], findings, judged_tools=tools, today=date.fromisoformat(today))
    return [finding.id for finding in found]


def stand_in(tools: Path, name: str, script: str) -> None:
    tools.mkdir(exist_ok=True)
    (tools / name).write_text(f"#!/bin/sh\n{script}\n")
    (tools / name).chmod(0o755)


def test_a_waiver_counts_up_to_and_including_its_day() -> None:
    assert wrong(WAIVER, [ASSERT]) == []
    assert wrong(WAIVER, [ASSERT], today="2026-07-01") == ["waiver-expired"]


def test_a_waiver_must_match_where_that_is_known() -> None:
    assert wrong(WAIVER, []) == ["waiver-matches-nothing"]
    assert wrong(WAIVER, [], tools=frozenset({"semgrep"})) == []


def test_a_waiver_is_for_the_findings_that_were_judged_and_no_more() -> None:
    assert wrong(WAIVER, [ASSERT, replace(ASSERT, line=9)]) == ["waiver-miscounts"]
    assert wrong(replace(WAIVER, findings=2), [ASSERT]) == ["waiver-miscounts"]


def test_a_waiver_for_a_tool_nobody_runs_is_wrong() -> None:
    misspelt = Waiver("bandti", "B101", "*", 1, "judged", "core", date(2026, 6, 30))
    assert wrong(misspelt, [ASSERT]) == ["waiver-unknown-tool"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "needs a list named waivers"),
        ("waivers:\n", "needs a list named waivers"),
        ("waivers:\n  - {tool: bandit, id: B101, path: x, owner: me, expires: 2026-01-01}\n", "entry 1 needs exactly"),
        ("waivers:\n  - bandit\n", "entry 1 needs exactly"),
        (
            "waivers:\n  - {tool: t, id: B101, path: x, findings: 1, reason: ' ', owner: o, expires: 2026-01-01}\n",
            "needs words",
        ),
        (
            "waivers:\n  - {tool: bandit, id: B101, path: x, findings: 1, reason: r, owner: me, expires: never}\n",
            "expires: YYYY-MM-DD",
        ),
        (
            "waivers:\n  - {tool: t, id: i, path: x, findings: 1.5, reason: r, owner: me, expires: 2026-01-01}\n",
            "NUMBER",
        ),
        ("waivers: [\n", "cannot be read"),
    ],
)
def test_waivers_that_cannot_be_understood_are_refused(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "security").mkdir()
    (tmp_path / "security/waivers.yaml").write_text(text)
    with pytest.raises(security.GateError, match=message):
        security.read_waivers(tmp_path)
    assert security.main(["run", "--root", str(tmp_path)]) == 2


@pytest.mark.parametrize("name", [".gitleaksignore", ".trivyignore", "trivy.yaml", ".bandit"])
def test_a_file_that_silences_a_scanner_stops(name: str, repository, run, tmp_path) -> None:
    repository.write(name, "")
    answer = run(repository, "--only", "sbom", tools=tmp_path / "nothing")
    assert (answer.code, answer.blocking) == (1, {("waivers", "waiver-elsewhere")})


@pytest.mark.parametrize(
    ("rules", "stops"),
    [
        ('title = "x"\n[extend]\nuseDefault = true\n', False),
        ('[extend]\nuseDefault = true\n[[allowlists]]\npaths = [".*"]\n', True),
        ('[extend]\nuseDefault = true\ndisabledRules = ["aws-access-token"]\n', True),
        ('[extend]\nuseDefault = true\n[[rules]]\nid = "aws-access-token"\nregex = "never"\n', True),
        ("[extend]\nuseDefault = false\n", True),
        ('title = "no rules at all"\n', True),
    ],
)
def test_the_rules_of_gitleaks_may_not_be_weakened(rules: str, stops: bool, repository, run, tmp_path) -> None:
    repository.write(".gitleaks.toml", rules)
    answer = run(repository, "--only", "sbom", tools=tmp_path / "nothing")
    assert (answer.code, answer.blocking) == (stops, {("waivers", "waiver-elsewhere")} if stops else set())


def test_a_gate_that_is_required_is_not_skipped(repository, run, tmp_path, capsys) -> None:
    only = ["--only", "bandit", "sbom", "image"]
    assert run(repository, *only, tools=tmp_path / "nothing").code == 0
    assert run(repository, *only, "--require", "sbom", tools=tmp_path / "nothing").code == 1
    with pytest.raises(SystemExit):
        run(repository, "--only", "bandit", "--require", "sbom", tools=tmp_path / "nothing")
    assert "sbom is required, and --only leaves it out" in capsys.readouterr().err


def test_a_tool_that_is_absent_is_skipped(repository, run, tmp_path) -> None:
    answer = run(repository, "--only", "bandit", "sbom", tools=tmp_path / "nothing")
    assert (answer.status("bandit"), answer.status("sbom"), answer.code) == ("skipped", "skipped", 0)
    assert "run `make tools`" in answer.printed
    assert run(repository, "--only", "bandit", "--require-all", tools=tmp_path / "nothing").code == 1


def test_a_tool_that_gives_no_report_stops(repository, run, tmp_path) -> None:
    stand_in(tmp_path / "tools", "bandit", "echo broken >&2; exit 0")
    answer = run(repository, "--only", "bandit", tools=tmp_path / "tools")
    assert (answer.status("bandit"), answer.code) == ("failed", 1)
    assert "exit code 0: broken" in answer.failed[0]


@pytest.mark.parametrize(
    ("said", "status"),
    [
        ("FATAL failed to download vulnerability DB: i/o timeout", "skipped"),
        ("FATAL unable to find the specified image", "failed"),
    ],
)
def test_a_vulnerability_database_out_of_reach_is_skipped_and_a_missing_image_is_not(
    said: str, status: str, repository, run, tmp_path
) -> None:
    stand_in(tmp_path / "tools", "trivy", f"echo '{said}' >&2; exit 1")
    answer = run(repository, "--only", "image-vulnerabilities", "--image", "grodt:dev", tools=tmp_path / "tools")
    assert answer.status("image-vulnerabilities") == status
    assert answer.code == (0 if status == "skipped" else 1)


def test_every_image_that_is_given_is_looked_into(repository, run, tmp_path) -> None:
    # A trivy that finds a fault in whatever is called bad; its report goes where it is told.
    found = '{"Results": [{"Target": "%s", "Vulnerabilities": [{"VulnerabilityID": "CVE-1", "Severity": "CRITICAL", '
    found += '"PkgName": "zlib", "InstalledVersion": "1"}]}]}'
    script = f"""for last; do :; done
while [ "$1" != --output ]; do shift; done
case $last in bad*) printf '{found}' "$last" >"$2";; *) echo '{{}}' >"$2";; esac"""
    stand_in(tmp_path / "tools", "trivy", script)
    only = ["--only", "image-vulnerabilities", "--image"]
    assert run(repository, *only, "good:1", "other:1", tools=tmp_path / "tools").code == 0
    answer = run(repository, *only, "good:1", "bad:1", tools=tmp_path / "tools")
    assert (answer.code, answer.blocking) == (1, {("trivy-image", "CVE-1")})
    assert [finding["path"] for finding in answer.report["findings"]] == ["bad:1"]


def test_an_audit_that_looked_nothing_up_stops(repository, run, tmp_path) -> None:
    stand_in(tmp_path / "tools", "pip-audit", """echo '{"dependencies": []}'; exit 0""")
    answer = run(repository, "--only", "advisories", tools=tmp_path / "tools")
    assert answer.status("advisories") == "failed"
    assert "were not looked up" in answer.failed[0]


def test_history_grows_by_a_line_with_every_full_run_and_only_then(repository, run, tmp_path) -> None:
    history = repository.root / "build/security/history.jsonl"
    run(repository, "--only", "bandit", tools=tmp_path / "nothing")
    assert not history.exists()
    run(repository, tools=tmp_path / "nothing")
    first = history.read_text()
    run(repository, tools=tmp_path / "nothing")
    assert history.read_text().startswith(first)
    lines = [json.loads(line) for line in history.read_text().splitlines()]
    assert [line["counts"] for line in lines] == [{"critical": 0, "high": 0, "medium": 0, "low": 0}] * 2
    assert all(len(line["commit"]) == 40 and line["skipped"] == list(security.GATES) for line in lines)
    page = (repository.root / "build/security/summary.md").read_text()
    assert page.count(f"| {lines[0]['commit'][:12]} |") == 2
    assert page.partition("## Skipped: not known, not passed\n")[2].count("run `make tools`") == len(security.GATES) - 3
    assert page.count("pass --image NAME") == 2 * 3  # in the table of gates, and at the end


def test_a_report_of_an_earlier_run_is_not_kept(repository, run, tmp_path) -> None:
    old = repository.root / "build/security/bandit.sarif"
    repository.write("build/security/bandit.sarif", "{}")
    run(repository, "--only", "bandit", tools=tmp_path / "nothing")
    assert not old.exists()


def test_sarif_names_rule_place_and_level() -> None:
    high = Finding("pip-audit", "CVE-1", "high", "requirements.lock", 0, "text")
    (run,) = security.sarif("pip-audit", [high], [])["runs"]
    assert run["tool"]["driver"]["rules"] == [
        {"id": "CVE-1", "properties": {"security-severity": "8.0", "tags": ["security"]}}
    ]
    (result,) = run["results"]
    assert (result["ruleId"], result["level"], result["suppressions"]) == ("CVE-1", "error", [])
    assert result["locations"][0]["physicalLocation"]["region"] == {"startLine": 1}
