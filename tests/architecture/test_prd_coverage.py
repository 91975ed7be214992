"""docs/prd-coverage.md names tests that exist."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_every_test_that_the_coverage_of_the_prd_names_exists() -> None:
    named = re.findall(r"(tests/[\w/]+\.py)::(\w+)", (ROOT / "docs" / "prd-coverage.md").read_text())
    assert len(named) >= 40
    missing = [f"{file}::{name}" for file, name in named if f"def {name}(" not in (ROOT / file).read_text()]
    assert missing == []
