"""What must hold of every workflow: pinned actions, least permissions, an end to every job."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from scripts.ci import pipeline, security

ROOT = Path(__file__).resolve().parents[2]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
PINNED = re.compile(r"^[\w.-]+/[\w./-]+@[0-9a-f]{40}$")
# Beyond reading the code: which job may do what, and there is no other.
MAY_WRITE = {
    ("ci-cd", "security"): {"security-events"},
    ("release", "publish"): {"contents"},
}


# What looks at an image that is built later.
OF_IMAGES = {"image", "image-vulnerabilities", "image-sbom"}


def stages_of(step: dict[str, Any]) -> set[str]:
    """The stages of `make ci` that a step runs."""
    found = re.search(r'ci STAGES="?([\w ]+?)"?$', step.get("run", ""))
    return set(found[1].split()) if found else set()


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


def test_a_secret_is_given_to_the_step_that_needs_it_and_for_main_alone(workflow: Path) -> None:
    for job in content(workflow)["jobs"].values():
        for step in job["steps"]:
            given = [str(value) for value in (step.get("env", {}) | step.get("with", {})).values()]
            secrets = [text for text in given if "secrets." in text]
            if not secrets:
                continue
            if workflow.stem == "ci-cd":
                is_main = "github.ref == 'refs/heads/main' && "
                assert job["environment"].removeprefix("${{ ").startswith(is_main)
                assert all(is_main in text or is_main in step.get("if", "") for text in secrets)
            assert stages_of(step) == {"build"} or step["uses"].startswith("docker/login-action@")


def test_nothing_is_pushed_before_all_else_has_passed() -> None:
    # A stage that fails does not end `make ci`: what judges must be another step or job than what pushes.
    judges = {"lint", "test", "coverage", "security", "docker"}
    for file, others in (("ci-cd", {"lint", "test", "integration", "performance", "security"}), ("release", set())):
        jobs = content(ROOT / f".github/workflows/{file}.yml")["jobs"]
        steps = jobs["build"]["steps"]
        (push,) = [number for number, step in enumerate(steps) if "build" in stages_of(step)]
        assert stages_of(steps[push]) == {"build"}
        before = set[str]().union(*map(stages_of, steps[:push]))
        for name in others:
            before |= set[str]().union(*map(stages_of, jobs[name]["steps"]))
        assert set(jobs["build"].get("needs", [])) == others
        assert judges <= before
        assert not [step for step in steps[:push] if step.get("continue-on-error") or ("if" in step and "run" in step)]


def test_caches_are_written_by_pushes_to_main_alone(workflow: Path) -> None:
    # setup-python and setup-uv cache where they are told to; a cache of main is read by every branch.
    for job in content(workflow)["jobs"].values():
        for step in job["steps"]:
            if step.get("uses", "").startswith("actions/cache@"):
                assert "github.event_name == 'push' && github.ref == 'refs/heads/main'" in job["if"]
            assert not [name for name in step.get("with", {}) if "cache" in name], step


def test_every_push_is_judged() -> None:
    # In a group GitHub keeps one run waiting and drops those between: only pull requests may share theirs.
    found = content(ROOT / ".github/workflows/ci-cd.yml")["concurrency"]
    assert found["group"] == "ci-cd-${{ github.event_name == 'pull_request' && github.ref || github.run_id }}"
    assert found["cancel-in-progress"] == "${{ github.event_name == 'pull_request' }}"


def test_no_security_gate_is_skipped_on_the_server(workflow: Path) -> None:
    for job in content(workflow)["jobs"].values():
        for step in job["steps"]:
            required = set(step.get("env", {}).get("GRODT_REQUIRE_GATES", "").split())
            if "security" in stages_of(step):
                assert required == set(security.GATES) - OF_IMAGES
            elif only := re.search(r'make security ONLY="(.+)"', step.get("run", "")):
                assert required == set(only[1].split())
            else:
                assert not required
            assert "security.py" not in step.get("run", "")


def test_tests_that_need_a_service_have_it_and_an_engine_is_there(workflow: Path) -> None:
    for job in content(workflow)["jobs"].values():
        for step in job["steps"]:
            if "test" in stages_of(step):
                assert step["run"].startswith("scripts/ci/with-services.sh make ci ")
            if stages_of(step) & {"build", "docker"} and workflow.stem == "ci-cd":
                assert step["env"]["GRODT_REQUIRE_DOCKER"] == "1"
            # Neither this nor a pipe that hides a failure.
            assert "|| true" not in step.get("run", "")
            assert "continue-on-error" not in step


def test_jobs_run_the_same_stages_as_a_laptop(workflow: Path) -> None:
    stages = {stage.name for stage in pipeline.STAGES}
    steps = [step for job in content(workflow)["jobs"].values() for step in job["steps"]]
    named = set[str]().union(*map(stages_of, steps))
    assert named <= stages
    if workflow.stem == "ci-cd":
        # `versions` is the matrix there, and the long ones have a run of their own.
        assert named == stages - {"versions", "planted", *pipeline.NIGHTLY}
    if workflow.stem == "nightly":
        assert set(re.findall(r"command: ci STAGES=(\w+)", workflow.read_text())) == {"planted", *pipeline.NIGHTLY}
