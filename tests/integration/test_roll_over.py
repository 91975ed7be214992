"""scripts/roll-over.sh against a stand-in for docker that notes what it is told; tests/docker has the real one."""

import os
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "roll-over.sh"
DIGEST = "registry.example/grodt@sha256:" + "a" * 64
DOCKER = """#!/bin/sh
echo "$@" >> "$NOTES"
case "$*" in
  "compose ps -q grodt") echo old1 ;;
  "compose ps -aq grodt") printf 'old1\\nnew1\\n' ;;
  "compose up "*) exit "$HEALTHY" ;;
  "exec new1 python -m grodtd.health --ready") exit "$READY" ;;
esac
"""


@pytest.mark.parametrize(
    ("healthy", "ready", "code", "ended"),
    [
        ("0", "0", 0, ["stop --time 60 old1", "rm old1"]),
        ("1", "0", 1, ["rm -f new1"]),
        ("0", "1", 1, ["rm -f new1"]),  # alive, but its schema is another, or it is halted
    ],
)
def test_only_replicas_that_are_ready_take_the_place_of_others(
    tmp_path: Path, healthy: str, ready: str, code: int, ended: list[str]
) -> None:
    docker, notes = tmp_path / "docker", tmp_path / "notes"
    docker.write_text(DOCKER)
    docker.chmod(0o755)
    path = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "NOTES": str(notes)}
    found = subprocess.run(
        [SCRIPT, DIGEST],
        env={**os.environ, **path, "HEALTHY": healthy, "READY": ready, "ROLL_OVER_READY_S": "0"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == code, found.stderr
    assert [line for line in notes.read_text().splitlines() if line.startswith(("stop", "rm"))] == ended
