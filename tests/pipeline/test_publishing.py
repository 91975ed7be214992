"""What builds and pushes images, and runs tests with their services; the programs it calls are stand-ins."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


class Tree:
    """A few scripts of ours in a folder of their own; every other program only notes how it was called."""

    def __init__(self, folder: Path) -> None:
        self.root = folder
        self.calls = folder / "calls"
        self.calls.touch()
        (folder / "bin").mkdir()

    def take(self, script: str) -> None:
        target = self.root / script
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / script, target)

    def stand_in(self, program: str, does: str = "true") -> None:
        target = self.root / program
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(f'#!/bin/bash\necho "{target.name} $*" >>{self.calls}\n{does}\n')
        target.chmod(0o755)

    def run(self, *command: str, **variables: str) -> subprocess.CompletedProcess[str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("GRODT_", "COSIGN"))}
        environment = {**kept, "PATH": f"{self.root / 'bin'}:{os.environ['PATH']}", **variables}
        return subprocess.run(
            command, cwd=self.root, env=environment, capture_output=True, text=True, check=False, timeout=60
        )


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    """Where an engine answers, and everything succeeds."""
    made = Tree(tmp_path)
    for script in ("scripts/ci/build.sh", "scripts/images.sh", "Dockerfile"):
        made.take(script)
    for program in ("reproducible.sh", "signing-tools.sh", "verify-image.sh", "refuses-tampered.sh"):
        made.stand_in(f"scripts/ci/{program}")
    # The digest of what was pushed, where it is asked for.
    says = 'case $* in *RepoDigests*) echo "${*: -1}" | sed "s/:v1$/@sha256:0/";; "save --output"*) touch "$3";; esac'
    made.stand_in("bin/docker", says)
    for program in ("bin/cosign", "bin/docker-registry", ".venv/bin/python", ".tools/bin/syft"):
        made.stand_in(program)
    return made


PUSH = {"GRODT_PUSH_REGISTRY": "registry.example/team", "GRODT_TAG": "v1"}
KEY = {"COSIGN_PRIVATE_KEY": "a key", "COSIGN_PASSWORD": "its password"}


def test_what_is_built_is_pushed_and_signed(tree: Tree) -> None:
    done = tree.run("scripts/ci/build.sh", **PUSH, **KEY)
    assert done.returncode == 0, done.stdout + done.stderr
    called = tree.calls.read_text()
    for name in ("grodt", "grodt-backup", "grodt-research"):
        assert f"docker push --quiet registry.example/team/{name}:v1" in called
        assert f"registry.example/team/{name}@sha256:0" in (tree.root / "build/images.json").read_text()
    assert called.count("cosign sign ") == called.count("cosign attest ") == called.count("verify-image.sh ") == 3
    # All that is pushed was looked into before.
    (looked,) = [line for line in called.splitlines() if "security.py run --only image" in line]
    assert " --image grodt:v1 grodt-backup:v1 grodt-research:v1 " in looked
    assert called.index(looked) < called.index("docker push")


def test_nothing_is_pushed_that_a_key_for_one_run_would_sign(tree: Tree) -> None:
    done = tree.run("scripts/ci/build.sh", **PUSH)
    assert done.returncode == 1
    assert "COSIGN_PRIVATE_KEY is not" in done.stderr
    assert "push" not in tree.calls.read_text()


@pytest.mark.parametrize("missing", ["docker", "cosign"])
@pytest.mark.parametrize(
    ("variables", "code"), [({}, 0), ({"GRODT_REQUIRE_DOCKER": "1"}, 1), ({**PUSH, **KEY}, 1)], ids=str
)
def test_without_an_engine_or_cosign_it_is_skipped_unless_that_is_not_allowed(
    tree: Tree, missing: str, variables: dict[str, str], code: int
) -> None:
    if missing == "docker":
        tree.stand_in("bin/docker", "exit 1")
    else:
        (tree.root / "bin/cosign").unlink()
        variables = {**variables, "PATH": f"{tree.root / 'bin'}:/usr/bin:/bin"}
    done = tree.run("scripts/ci/build.sh", **variables)
    assert done.returncode == code, done.stdout + done.stderr
    assert "SKIPPED images: no " in done.stdout
    assert "push" not in tree.calls.read_text()


def test_an_image_nobody_could_look_into_is_not_pushed(tree: Tree) -> None:
    # As security.py where trivy's database is out of reach: a gate is skipped, which stops with --require-all.
    tree.stand_in(".venv/bin/python", "case $* in *security.py*--require-all*) exit 1;; esac")
    assert tree.run("scripts/ci/build.sh", **PUSH, **KEY).returncode == 1
    assert "docker push" not in tree.calls.read_text()


def test_what_is_pushed_is_built_on_the_base_that_is_pinned(tree: Tree) -> None:
    tree.stand_in("bin/docker", "case $1 in pull) exit 1;; esac")
    done = tree.run("scripts/images.sh", "runtime")
    assert done.returncode == 0
    assert "SKIPPED the base image that ships" in done.stdout
    assert "--build-arg PYTHON_IMAGE=python:3.11-slim-bookworm " in tree.calls.read_text()
    tree.calls.write_text("")
    done = tree.run("scripts/images.sh", "runtime", **PUSH)
    assert done.returncode == 1
    assert "refused: python:3.11-slim-bookworm@sha256:" in done.stderr
    assert "docker build" not in tree.calls.read_text()


def test_a_signature_that_fails_says_why(tree: Tree) -> None:
    tree.stand_in("bin/cosign", 'case $1 in sign) echo "no such key" >&2; exit 1;; esac')
    done = tree.run("scripts/ci/build.sh", **PUSH, **KEY)
    assert done.returncode == 1
    assert "no such key" in done.stderr
    assert "cosign attest" not in tree.calls.read_text()


def test_services_are_there_for_the_command_and_end_with_it(tree: Tree) -> None:
    tree.take("scripts/ci/with-services.sh")
    tree.stand_in("scripts/ci-packages.sh")
    tree.stand_in("scripts/postgres-for-tests.sh", '[ "$1" = stop ] || echo postgresql://there')
    tree.stand_in("bin/sudo", 'exec "$@"')
    said = (
        "echo $GRODT_TEST_POSTGRES_URL $GRODT_REQUIRE_POSTGRES$GRODT_REQUIRE_BROWSER$GRODT_REQUIRE_MONITORING; exit 3"
    )
    done = tree.run("scripts/ci/with-services.sh", "bash", "-c", said)
    assert (done.returncode, done.stdout) == (3, "postgresql://there 111\n")
    called = [line for line in tree.calls.read_text().splitlines() if not line.startswith("sudo")]
    assert called == ["ci-packages.sh ", "postgres-for-tests.sh start", "postgres-for-tests.sh stop"]
