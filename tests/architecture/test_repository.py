"""What must hold of the repository itself."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

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


def test_every_link_in_the_documentation_leads_somewhere() -> None:
    checked = 0
    for page in [f for f in committed_files() if f.suffix == ".md"]:
        for target in re.findall(r"\]\(([^)#\s]+)", page.read_text()):
            if "://" not in target:
                checked += 1
                assert (page.parent / target).exists(), f"{page.relative_to(ROOT)} -> {target}"
    assert checked > 5
