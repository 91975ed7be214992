"""What every test may ask for."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of recorded market data; skips where there is none, fails where it is required."""
    folder = Path(os.environ.get("GRODT_REAL_DATA") or ROOT.parent / "shared" / "data")
    if not folder.is_dir():
        message = f"no recorded market data at {folder}; set GRODT_REAL_DATA to a folder that has it"
        if os.environ.get("GRODT_REQUIRE_REAL_DATA") == "1":
            pytest.fail(message)
        pytest.skip(message)
    return folder
