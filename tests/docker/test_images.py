"""The images by themselves: who they run as, what is in them, how they end, and our own tests inside one."""

from __future__ import annotations

import gzip
import io
import json
import shutil
import subprocess
import sysconfig
import time
from typing import Any

import pytest

from tests.docker.conftest import BACKUP_IMAGE, IMAGE, RESEARCH_IMAGE, ROOT, docker, wait_for

HARDENED = ["--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges:true", "--init"]
SCRATCH = ["--tmpfs", "/tmp:mode=1777", "--tmpfs", "/var/cache/grodt:uid=10001,gid=10001"]
HOME = ["--tmpfs", "/app/data:uid=10001,gid=10001"]


class Counter(io.RawIOBase):
    """Where bytes are counted and forgotten."""

    size = 0

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:  # Any: whatever has a length
        self.size += len(data)
        return len(data)


@pytest.mark.parametrize("image", [IMAGE, BACKUP_IMAGE, RESEARCH_IMAGE])
def test_it_says_what_it_is_and_runs_as_nobody(image: str) -> None:
    config = json.loads(docker("image", "inspect", image))[0]["Config"]
    assert config["User"] == "10001:10001"
    assert config["Entrypoint"] == ["grodt"]
    labels = config["Labels"]
    for label in ("title", "description", "licenses", "version", "revision", "created"):
        assert labels[f"org.opencontainers.image.{label}"], label
    assert len(labels["org.opencontainers.image.revision"]) == 40
    variables = dict(pair.split("=", 1) for pair in config["Env"])
    assert not [name for name in variables if any(word in name.lower() for word in ("password", "secret", "token"))]


def test_the_runtime_has_no_tools_to_build_with() -> None:
    program = (
        "import shutil, importlib.util as u; "
        "print([p for p in ('gcc', 'cc', 'ld', 'uv', 'git', 'curl', 'make') if shutil.which(p)], "
        "[m for m in ('vectorbt', 'optuna', 'ray', 'scipy', 'pandas', 'hatchling', 'pip') if u.find_spec(m)])"
    )
    found = docker("run", "--rm", "--entrypoint", "python", IMAGE, "-c", program)
    assert found.strip() == "[] []"


def test_the_runtime_is_small_enough_to_send() -> None:
    # What a registry stores and a deploy downloads: layers compressed with gzip. Unpacked it is larger (LLVM, polars).
    counted = Counter()
    with subprocess.Popen(["docker", "save", IMAGE], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        with gzip.GzipFile(fileobj=counted, mode="wb", compresslevel=1) as packed:
            shutil.copyfileobj(process.stdout, packed)
    assert counted.size <= 350_000_000, f"{counted.size / 1e6:.0f} MB"


def test_it_starts_on_a_read_only_disk_and_ends_when_asked() -> None:
    name = "grodt-test-alone"
    docker("rm", "-f", name, check=False)
    docker("run", "-d", "--name", name, "--network", "none", *HARDENED, *SCRATCH, *HOME,
           "-e", "GRODT_LOG__FORMAT=json", "--health-interval", "1s", IMAGE)  # fmt: skip
    try:
        wait_for(lambda: "healthy" in docker("inspect", "-f", "{{.State.Health.Status}}", name).split(), 30, "healthy")
        assert docker("exec", name, "id", "-u").strip() == "10001"
        began = time.monotonic()
        docker("stop", "--time", "30", name)
        assert time.monotonic() - began < 10
        assert docker("inspect", "-f", "{{.State.ExitCode}}", name).strip() == "0"
        lines = [json.loads(line) for line in docker("logs", name).splitlines()]
        assert [line["event"] for line in lines][:1] == ["serving"]
        assert lines[-1]["event"] == "stopped"
    finally:
        docker("rm", "-f", name, check=False)


def test_research_compiles_and_runs_vectorbt_as_nobody_on_a_read_only_disk() -> None:
    command = (
        "grodt data synth G1 --bars 20000 --seed 7 >/dev/null && grodt backtest s1_trend --venue synthetic --symbol G1"
        " --timeframe 1m --regime any --engine vectorbt --json"
    )
    found = docker(
        "run", "--rm", "--network", "none", *HARDENED, "--tmpfs", "/tmp:mode=1777", *HOME,
        "-v", "grodt-test-machine-code:/var/cache/grodt", "--entrypoint", "sh", RESEARCH_IMAGE, "-c", command,
    )  # fmt: skip
    docker("volume", "rm", "grodt-test-machine-code")
    assert json.loads(found)["metrics"]["trade_count"] > 0


def test_our_own_tests_pass_inside_the_runtime_image() -> None:
    # The image's own libraries come first; pytest and its like are lent by the development environment.
    lent = sysconfig.get_paths()["purelib"]
    program = "import sys; sys.path.append('/lent'); import pytest; sys.exit(pytest.main(sys.argv[1:]))"
    tests = [
        *("tests/unit/domain", "tests/unit/execution", "tests/unit/adapters", "tests/unit/test_config.py"),
        *("tests/unit/test_settings.py", "tests/integration/test_service.py", "tests/contracts/test_run_store.py"),
    ]
    ignored = ["-p", "no:cacheprovider", "-p", "no:randomly", "-p", "no:xdist", "-o", "pythonpath=", "-q"]
    mounts = [f"{ROOT / name}:/src/{name}:ro" for name in ("tests", "configs", "pyproject.toml")]
    found = subprocess.run(
        [
            *("docker", "run", "--rm", "--network", "none", *HARDENED, "--tmpfs", "/tmp:mode=1777", *HOME),
            *("--tmpfs", "/var/cache/grodt:uid=10001,gid=10001,exec"),
            *(part for mount in (f"{lent}:/lent:ro", *mounts) for part in ("-v", mount)),
            *("-w", "/src", "-e", "PYTHONPATH=/src", "-e", "HYPOTHESIS_STORAGE_DIRECTORY=/tmp/hypothesis"),
            *("--entrypoint", "python", IMAGE, "-c", program, *ignored, *tests),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    print(found.stdout[-400:])
    assert found.returncode == 0, found.stdout[-6_000:] + found.stderr[-2_000:]
    assert " passed" in found.stdout
