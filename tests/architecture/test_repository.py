"""What must hold of the repository itself."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]


def committed_files() -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode != 0:
        pytest.skip("not a git checkout")
    return [ROOT / name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]


def test_imports_point_down_the_stack() -> None:
    result = subprocess.run(
        [Path(sys.executable).parent / "lint-imports", "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout


def test_no_committed_file_names_a_registry_host_or_a_path_of_a_machine() -> None:
    # Spelled in halves, so that this file does not name them either.
    hosts = ["pypi" + ".org", "pythonhosted" + ".org", "npmjs" + ".org", "deb.debian" + ".org"]
    forbidden = re.compile("|".join(map(re.escape, [*hosts, "/work" + "/", "/root" + "/"])))
    files = committed_files()
    assert len(files) > 50
    found = [
        f"{file.relative_to(ROOT)}: {match[0]}"
        for file in files
        if (match := forbidden.search(file.read_text(errors="replace")))
    ]
    assert not found


def test_no_market_data_is_committed() -> None:
    data = [f.name for f in committed_files() if f.suffix in {".parquet", ".feather", ".csv", ".db"}]
    assert data == []


def test_locks_pin_every_package_by_hash() -> None:
    locks = sorted(ROOT.glob("requirements*.lock"))
    assert [f.name.removeprefix("requirements") for f in locks] == ["-dev.lock", "-ray.lock", "-research.lock", ".lock"]
    pins: dict[str, dict[str, str]] = {}
    for lock in locks:
        text = lock.read_text()
        assert "://" not in text
        assert re.search(r"^hatchling==", text, re.MULTILINE), f"{lock.name} lacks the build backend"
        blocks = re.split(r"\n(?=\S)", text.strip())
        assert len(blocks) > 20
        for block in blocks:
            assert "--hash=sha256:" in block, block.splitlines()[0]
        heads = [re.match(r"([a-z0-9-]+)==([^ ;]+)(?: ;(.*?))? \\", block) for block in blocks]
        pins[lock.name] = {f"{m[1]} {m[3] or ''}": m[2] for m in heads if m}
    for name in ("requirements.lock", "requirements-ray.lock", "requirements-research.lock"):
        differing = {k for k, v in pins[name].items() if pins["requirements-dev.lock"].get(k, v) != v}
        assert not differing


def unmet(wanted: list[str], lock: str) -> list[str]:
    """Requirements that no pin of a lock satisfies."""
    pins: dict[str, list[str]] = {}
    for name, version in re.findall(r"^([\w.-]+)(?:\[[\w,-]+\])?==([^ ;]+)", lock, re.MULTILINE):
        pins.setdefault(canonicalize_name(name), []).append(version)
    found = [(text, Requirement(text)) for text in wanted]
    return [
        text
        for text, one in found
        if not any(one.specifier.contains(v, prereleases=True) for v in pins.get(canonicalize_name(one.name), []))
    ]


def test_a_lock_that_is_not_of_what_is_declared_is_noticed() -> None:
    lock = "numpy==2.4.1 \\\n    --hash=sha256:00\nPyYAML==6.0.3 ; python_version > '3' \\\n"
    assert unmet(["numpy>=2.4,<2.5", "pyyaml"], lock) == []
    assert unmet(["numpy>=2.5", "pyyaml", "scipy"], lock) == ["numpy>=2.5", "scipy"]


def test_locks_hold_what_is_declared() -> None:
    # A bound that was changed (Dependabot changes them, and cannot make our locks) needs `make lock`.
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    always, extras = project["project"]["dependencies"], project["project"]["optional-dependencies"]
    always += project["build-system"]["requires"]
    declared = {
        "requirements.lock": always,
        "requirements-research.lock": always + extras["research"],
        "requirements-ray.lock": always + extras["ray"],
        "requirements-dev.lock": always + extras["dev"] + extras["research"] + extras["ray"],
    }
    for folder, name in (("benchmarks", "requirements"), ("scripts", "ci-tools")):
        lines = (ROOT / folder / f"{name}.txt").read_text().splitlines()
        declared[f"{folder}/{name}.lock"] = [line for line in lines if line and not line.startswith("#")]
    for file, wanted in declared.items():
        assert wanted
        assert unmet(wanted, (ROOT / file).read_text()) == [], f"{file} is not of what is declared: make lock"


def test_every_test_that_documentation_names_exists() -> None:
    named = [
        (page.name, *found)
        for page in committed_files()
        if page.suffix == ".md"
        for found in re.findall(r"(tests/[\w/]+\.py)::(\w+)", page.read_text())
    ]
    assert len(named) > 80
    for page, file, name in named:
        assert (ROOT / file).is_file(), f"{page}: {file}"
        assert re.search(rf"^(async )?def {name}\(", (ROOT / file).read_text(), re.MULTILINE), f"{page}: {name}"


def test_every_link_in_the_documentation_leads_somewhere() -> None:
    checked = 0
    for page in [f for f in committed_files() if f.suffix == ".md"]:
        for target in re.findall(r"\]\(([^)#\s]+)", page.read_text()):
            if "://" not in target:
                checked += 1
                assert (page.parent / target).exists(), f"{page.relative_to(ROOT)} -> {target}"
    assert checked > 5
