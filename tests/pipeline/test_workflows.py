"""What must hold of every workflow: pinned actions, least permissions, an end to every job."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from scripts.ci import pipeline

ROOT = Path(__file__).resolve().parents[2]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
PINNED = re.compile(r"^[\w.-]+/[\w./-]+@[0-9a-f]{40}$")
# Beyond reading the code: which job may do what, and there is no other.
MAY_WRITE = {
    ("ci-cd", "security"): {"security-events"},
    ("release", "publish"): {"contents"},
}


def content(file: Path) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(file.read_text())
    return found


@pytest.fixture(params=WORKFLOWS, ids=lambda file: file.stem)
def workflow(request: pytest.FixtureRequest) -> Path:
    return Path(request.param)


def test_there_are_the_workflows_asked_for() -> None:
    assert [file.stem for file in WORKFLOWS] == ["ci-cd", "dependency-review", "nightly", "release"]
    main = content(ROOT / ".github/workflows/ci-cd.yml")
    assert main["name"] == "CI/CD Pipeline"
    # YAML 1.1 reads the key `on` as true.
    assert main[True] == {"push": {"branches": ["main", "develop"]}, "pull_request": {"branches": ["main"]}}
    assert main["jobs"]["test"]["strategy"]["matrix"]["python"] == ["3.11", "3.12", "3.13"]


def test_every_action_is_pinned_to_a_commit_and_says_its_version(workflow: Path) -> None:
    used = re.findall(r"uses: (\S+)(.*)", workflow.read_text())
    assert used
    assert [name for name, _ in used if not PINNED.match(name)] == []
    assert [name for name, comment in used if not re.match(r"\s+# v\d+\.\d+\.\d+$", comment)] == []


def test_permissions_are_none_but_what_a_job_needs(workflow: Path) -> None:
    found = content(workflow)
    assert found["permissions"] == {}
    for name, job in found["jobs"].items():
        writes = {scope for scope, level in job["permissions"].items() if level != "read"}
        assert writes == MAY_WRITE.get((workflow.stem, name), set()), name


def test_every_job_ends_and_keeps_no_credentials(workflow: Path) -> None:
    found = content(workflow)
    assert "concurrency" in found
    for name, job in found["jobs"].items():
        assert 0 < job["timeout-minutes"] <= 120, name
        for step in job["steps"]:
            if step.get("uses", "").startswith("actions/checkout@"):
                assert step["with"]["persist-credentials"] is False, name


def test_secrets_reach_only_the_jobs_that_push(workflow: Path) -> None:
    for name, job in content(workflow)["jobs"].items():
        if "secrets." in yaml.safe_dump(job):
            assert (workflow.stem, name) in {("ci-cd", "build"), ("release", "build")}
            assert "registry" in yaml.safe_dump(job["environment"])  # where approval and the key are


def test_jobs_run_the_same_stages_as_a_laptop(workflow: Path) -> None:
    stages = {stage.name for stage in pipeline.STAGES}
    run = re.findall(r"ci STAGES=\"?([\w ]+?)\"?$", workflow.read_text(), re.MULTILINE)
    named = {name for names in run for name in names.split()}
    assert named <= stages
    if workflow.stem == "ci-cd":
        # `versions` is the matrix there, and the nightly ones have a run of their own.
        assert named == stages - {"versions", "planted", *pipeline.NIGHTLY}
