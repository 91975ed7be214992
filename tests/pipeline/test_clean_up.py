"""What tests make, under this project's own settings of pytest, is gone when they have passed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("workers", [[], ["-n", "1"]], ids=["alone", "xdist"])
@pytest.mark.parametrize(("holds", "left"), [("True", []), ("False", ["bars"])], ids=["passed", "failed"])
def test_data_of_tests_stays_only_where_one_failed(
    workers: list[str], holds: str, left: list[str], tmp_path: Path
) -> None:
    (tmp_path / "test_it.py").write_text(
        f"def test_it(tmp_path):\n    (tmp_path / 'bars').write_text('many')\n    assert {holds}\n"
    )
    (tmp_path / "kept").mkdir()
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "COVERAGE"))}
    command = [sys.executable, "-m", "pytest", "-q", "-c", str(ROOT / "pyproject.toml"), "-p", "no:cacheprovider"]
    done = subprocess.run(
        [*command, *workers, "test_it.py"],
        cwd=tmp_path,
        env=kept | {"PYTEST_DEBUG_TEMPROOT": str(tmp_path / "kept")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == (1 if left else 0), done.stdout + done.stderr
    files = [file.name for file in (tmp_path / "kept").rglob("*") if file.is_file() and not file.is_symlink()]
    assert [name for name in files if name != ".lock"] == left
