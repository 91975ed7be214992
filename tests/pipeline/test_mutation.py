"""The gate that asks whether the tests notice faults, on a project of one function."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from scripts.ci import mutation
from scripts.ci.mutation import Found, Group, Listed, Mutant, Results

ROOT = Path(__file__).resolve().parents[2]
TOY = """def is_above(price: float, limit: float) -> bool:
    return price > limit
"""
ENDLESS = """STEP = 1 / 1

def is_above(price, limit):
    while price > limit:
        price -= STEP
    return True
"""
STRONG = "assert [is_above(p, 2) for p in (1, 2, 3)] == [False, False, True]"
WEAK = "assert is_above(3, 2)"  # does not see the boundary moved
BOUNDARY = {"function": "is_above", "line": "return price > limit", "becomes": "return price >= limit"}
# As `main`, in a process that has not imported grodtd, on another tree.
RUN = """
import sys
from pathlib import Path
from scripts.ci import mutation
mutation.ROOT = Path(sys.argv[1])
mutation.COPIED = ("grodtd", "tests")
mutation.GROUPS = (mutation.Group("toy", ("grodtd/toy.py",), ("tests/test_toy.py",)),)
sys.exit(mutation.main(sys.argv[2:]))
"""


@pytest.fixture(name="tree")
def _tree(tmp_path: Path) -> Path:
    """A project with one function, and this project's programs."""
    if not (ROOT / ".tools/bin/cosmic-ray").exists():
        pytest.skip("cosmic-ray is not in .tools; run `make tools`")
    for name in (".tools", "scripts"):
        (tmp_path / name).symlink_to(ROOT / name)
    for name in ("grodtd", "tests"):
        (tmp_path / name).mkdir()
    (tmp_path / "grodtd/__init__.py").touch()
    (tmp_path / "grodtd/toy.py").write_text(TOY)
    (tmp_path / "tests/mutation-survivors.yaml").write_text("[]\n")
    return tmp_path


def gate(tree: Path, test: str, *arguments: str, known: object = None) -> tuple[int, str, dict[str, object]]:
    """Run the gate with this test; return exit code, what it printed, and its report."""
    (tree / "tests/test_toy.py").write_text(f"from grodtd.toy import is_above\n\ndef test_toy():\n    {test}\n")
    if known is not None:
        (tree / "tests/mutation-survivors.yaml").write_text(yaml.safe_dump(known))
    done = subprocess.run(
        [sys.executable, "-c", RUN, str(tree), *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )
    report = tree / "build/mutation/mutation.json"
    return done.returncode, done.stdout + done.stderr, json.loads(report.read_text()) if report.exists() else {}


def test_a_test_that_misses_a_boundary_fails_the_gate(tree: Path) -> None:
    # Two faults: > turned round, and moved by one. The strong test sees both.
    code, said, report = gate(tree, STRONG)
    assert code == 0, said
    assert "| toy | 2 | 2 | 0 | 0 | 100.0 % | 0 |" in said
    assert report["passed"]
    # The weak one sees one of them: 50 %, and a survivor that is not listed.
    code, said, report = gate(tree, WEAK)
    assert code == 1, said
    assert "toy: 50.0 % are killed, 80 % is the least" in said
    assert "`return price > limit` -> `return price >= limit`: **not listed**" in said
    # To list it explains it, and earns nothing.
    entry = {"module": "grodtd/toy.py", "reason": "nobody trades at the limit", "mutants": [BOUNDARY]}
    code, said, report = gate(tree, WEAK, known=[entry])
    assert code == 1, said
    assert report["complaints"] == ["toy: 50.0 % are killed, 80 % is the least"]
    # Killed now, it must leave the list.
    code, said, report = gate(tree, STRONG)
    assert code == 1, said
    assert "listed, but no survivor (killed now, or gone): grodtd/toy.py in is_above" in said
    # The tree itself was never changed.
    assert (tree / "grodtd/toy.py").read_text() == TOY


def test_a_loop_without_end_is_a_kill_and_what_does_not_import_is_none(tree: Path) -> None:
    (tree / "grodtd/toy.py").write_text(ENDLESS)
    code, said, report = gate(tree, "assert is_above(3, 2)")
    (group,) = report["groups"]  # type: ignore[misc]  # a list of one
    # 1 / 0 does not import; a step of 0 / 1, and no step at all, never end.
    assert group["stillborn"] == 1, said
    assert group["timeout"] == 2, said
    assert code == 1, said


def test_tests_that_fail_without_a_mutant_judge_nothing(tree: Path) -> None:
    code, said, _ = gate(tree, "assert is_above(1, 2)")
    assert code == 2
    assert "the tests of toy fail without a mutant (1)" in said


def test_part_of_the_mutants_is_not_judged(tree: Path) -> None:
    code, said, report = gate(tree, WEAK, "--max-mutants", "1")
    assert code == 0
    assert "SKIPPED toy: 1 of 2 mutants tried" in said
    assert not report["passed"]
    # The rest is done by the next run, and nothing twice.
    _, said, _ = gate(tree, WEAK)
    assert "toy: 1 mutants to try" in said
    _, said, _ = gate(tree, WEAK)
    assert "toy: 0 mutants to try" in said
    # Other tests: all again, or what survived.
    _, said, _ = gate(tree, STRONG, "--survivors")
    assert "toy: 1 mutants to try" in said
    assert "SKIPPED all: kills of earlier tests were taken over" in said
    _, said, _ = gate(tree, STRONG)
    assert "toy: 2 mutants to try" in said


# --- judging, without a run ------------------------------------------------------------------------------------------

GROUP = Group("toy", ("a.py",), ())


def mutant(at: int, after: str = "b", function: str = "f") -> Mutant:
    return Mutant("a.py", function, 1, "a", after, at, "x", "y")


def test_a_listed_survivor_is_known_by_its_text_not_by_its_place() -> None:
    known = [Listed("a.py", "f", "a", "b", "why")]
    for place in (10, 99):
        found = Found("toy", 10, tested=10, killed=9, survivors=[mutant(place)])
        assert list(mutation.complaints([GROUP], [found], known)) == []
    other = Found("toy", 10, tested=10, killed=9, survivors=[mutant(10, function="g")])
    said = list(mutation.complaints([GROUP], [other], known))
    assert len(said) == 2
    assert said[0].startswith("toy: 1 survivors are not listed")
    assert said[1].startswith("listed, but no survivor")


def test_a_listed_module_that_nobody_judges_is_stale() -> None:
    found = Found("toy", 1, tested=1, killed=1)
    said = list(mutation.complaints([GROUP], [found], [Listed("gone.py", "f", "a", "b", "why")]))
    assert said == ["listed, but no module that is judged: gone.py"]


def test_the_least_score_is_enough_and_less_is_not() -> None:
    exactly, less = (Found("toy", 1000, tested=1000, killed=killed) for killed in (800, 799))
    assert list(mutation.complaints([GROUP], [exactly], [])) == []
    assert list(mutation.complaints([GROUP], [less], [])) == ["toy: 79.9 % are killed, 80 % is the least"]


def test_a_reason_is_required(tmp_path: Path) -> None:
    file = tmp_path / "known.yaml"
    file.write_text(yaml.safe_dump([{"module": "a.py", "reason": " ", "mutants": [BOUNDARY]}]))
    with pytest.raises(mutation.MutationError, match=r"an entry of a\.py has no reason"):
        mutation.listed(file)
    several = {"function": "f", "line": "a", "becomes": ["b", "c"]}
    file.write_text(yaml.safe_dump([{"module": "a.py", "reason": "why", "mutants": [several]}]))
    assert [entry.becomes for entry in mutation.listed(file)] == ["b", "c"]


def test_a_line_cut_off_by_a_kill_costs_that_mutant_only(tmp_path: Path) -> None:
    file = tmp_path / "results.jsonl"
    first = Results(file)
    first.begin("one", keep=set())
    first.add(mutant(1), "killed")
    first.add(mutant(2), "survived")
    file.write_text(file.read_text()[:-9])
    again = Results(file)
    again.begin("one", keep=set())
    assert again.outcomes == {mutant(1).key: "killed"}
    again.add(mutant(2), "survived")
    assert Results(file).outcomes == {mutant(1).key: "killed", mutant(2).key: "survived"}
    # Another state of code or tests: nothing of it holds, but what is asked to be kept.
    other = Results(file)
    other.begin("two", keep={"killed"})
    assert other.outcomes == Results(file).outcomes == {mutant(1).key: "killed"}


@pytest.mark.parametrize(("most", "expected"), [(None, [0, 1, 2, 3, 4, 5]), (9, [0, 1, 2, 3, 4, 5]), (3, [0, 2, 4])])
def test_a_sample_is_spread_over_the_group(most: int | None, expected: list[int]) -> None:
    mutants = [mutant(at) for at in range(6)]
    assert [m.at for m in mutation.spread(mutants, most)] == expected
