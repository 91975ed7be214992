"""The threat model is true: every proof it names exists, every threat has one or says that it is planned."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PARTS = re.split(r"^## (.+)$", (ROOT / "docs/threat-model.md").read_text(), flags=re.MULTILINE)[1:]
SECTIONS = dict(zip(PARTS[::2], PARTS[1::2], strict=True))
ROWS = [(part, row) for part, text in SECTIONS.items() for row in re.findall(r"^\| [STRIDE] \|.*$", text, re.MULTILINE)]


@pytest.mark.parametrize("part", SECTIONS)
def test_every_part_looks_at_every_kind_of_threat(part: str) -> None:
    assert {row[2] for where, row in ROWS if where == part} == set("STRIDE")


def test_every_proof_named_exists() -> None:
    assert len(ROWS) >= 30
    assert len(SECTIONS) == 5
    named = 0
    for _, row in ROWS:
        proof = row.strip("| ").rpartition("|")[2]
        tests = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", proof)
        assert tests or "planned" in proof, row
        assert proof.count("tests/") == len(tests), f"not file::test: {proof}"
        for file, name in tests:
            named += 1
            assert (ROOT / file).is_file(), f"{file} does not exist; {row}"
            assert re.search(
                rf"^(async )?def {name}\(", (ROOT / file).read_text(), re.MULTILINE
            ), f"no {name} in {file}"
    assert named >= 40
