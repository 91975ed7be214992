"""Do the tests notice faults? Small faults are put into the code one at a time, and the tests run against each.

    python scripts/ci/mutation.py                          all groups: about half an hour on two cores
    python scripts/ci/mutation.py --module ledger ratios   some of them
    python scripts/ci/mutation.py --max-mutants 100        a sample spread over each group, not judged
    python scripts/ci/mutation.py --survivors              after new tests: only what survived the last run, not judged
    python scripts/ci/mutation.py --fresh                  forget what an interrupted run has found

A mutant the tests fail on is killed, and so is one they never finish on; else it survived. The score is killed over all
that can be imported. The gate: every group reaches 80 %, and every survivor stands in tests/mutation-survivors.yaml with the
reason why no test can, or need, kill it. Listed survivors count against the score like any other; one that is killed, or
gone, must leave the list.

Mutants run in copies of the tree under build/mutation, interpreted (NUMBA_DISABLE_JIT=1), without recorded bars. A run
that was interrupted goes on where it stopped, if neither code nor tests have changed. Results: mutation.md, mutation.json
there. Exit code 0: passed. 1: the gate says no. 2: it cannot be judged.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import importlib
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final, NoReturn

import yaml

ROOT: Final = Path(__file__).resolve().parents[2]
SCORE_MIN: Final = 80.0
COPIED: Final = ("grodtd", "tests", "configs", "pyproject.toml")
_MADE_BY: Final = (Path(__file__), ROOT / "scripts/ci/mutants.py", ROOT / "scripts/ci-tools.lock")

# What a child ends with when the mutated file does not even import, and when we are at fault; pytest ends with 0 to 5.
_STILLBORN, _OUR_FAULT = 90, 91
_PASSED, _FAILED, _INTERRUPTED = 0, 1, 2  # the last: a test file failed to import
# Processor time a mutant may take, of that of the tests without one, and what is added for short ones.
_PATIENCE: Final = 3.0
_PATIENCE_S: Final = 5
# Nothing here waits for anything: real time only ends what hangs.
_HANGS_S: Final = 900
# Against the reference, as many as kill what fifty leave alive.
_RANDOM_PATHS: Final = "300"
# Loaded once, before the fork: no mutant can be in them.
_PRELOADED: Final = ("numpy", "numba", "scipy.stats", "hypothesis", "pytest", "_pytest.assertion.rewrite")


@dataclass(frozen=True)
class Group:
    """Files judged together, and the tests that answer for them: those that fail first come first."""

    name: str
    files: tuple[str, ...]
    tests: tuple[str, ...]


GROUPS: Final = (
    Group(
        "fills",
        ("grodtd/execution/fills.py", "grodtd/execution/fill_kernel.py"),
        (
            "tests/oracle/test_fills.py",
            "tests/oracle/test_order_rules.py",
            "tests/oracle/test_freqtrade_situations.py",
            "tests/oracle/test_edges.py",
            "tests/unit/execution/test_fills.py",
            "tests/unit/execution/test_fill_kernel.py",
            "tests/parity/test_kernel_equals_reference.py",
        ),
    ),
    Group(
        "ledger",
        ("grodtd/execution/ledger.py",),
        ("tests/oracle/test_ledger.py", "tests/oracle/test_order_rules.py"),
    ),
    Group(
        "ratios",
        ("grodtd/performance/ratios.py",),
        (
            "tests/unit/performance/test_ratios.py",
            "tests/unit/performance/test_functions.py",
            "tests/oracle/test_metrics.py",
            "tests/properties/test_metrics.py",
        ),
    ),
)


@dataclass(frozen=True)
class Mutant:
    """One change of one place of one file, as scripts/ci/mutants.py prints it."""

    file: str
    function: str
    line: int
    before: str
    after: str
    at: int
    old: str
    new: str

    @property
    def key(self) -> str:
        """What it is known by in the results of one version of the file."""
        return f"{self.file}:{self.at}:{self.old}:{self.new}"

    def __str__(self) -> str:
        where = f" in {self.function}" if self.function else ""
        return f"{self.file}:{self.line}{where}: `{self.before}` -> `{self.after}`"


@dataclass(frozen=True)
class Listed:
    """A survivor that is known, and why it lives."""

    module: str
    function: str
    line: str
    becomes: str
    reason: str

    def covers(self, mutant: Mutant) -> bool:
        """Whether this is the mutant; the number of the line does not matter."""
        return (self.module, self.function, self.line, self.becomes) == (
            mutant.file,
            mutant.function,
            mutant.before,
            mutant.after,
        )


@dataclass
class Found:
    """What became of the mutants of a group."""

    group: str
    mutants: int  # all there are, stillborn ones too
    tested: int = 0
    killed: int = 0
    timeout: int = 0  # of the killed
    stillborn: int = 0
    survivors: list[Mutant] = field(default_factory=list)

    @property
    def score(self) -> float:
        """Percent killed of those tested; 0 if there are none."""
        return 100.0 * self.killed / self.tested if self.tested else 0.0

    @property
    def is_complete(self) -> bool:
        """Whether every mutant was tried."""
        return self.tested + self.stillborn == self.mutants


class MutationError(Exception):
    """The gate cannot be judged."""


# --- what there is to do ---------------------------------------------------------------------------------------------


def mutants_of(group: Group) -> list[Mutant]:
    """Return the mutants of a group, file by file."""
    python = ROOT / ".tools/bin/python"
    if not python.exists():
        raise MutationError(f"{python.relative_to(ROOT)} is not there; run `make tools`")
    made = subprocess.run(
        [str(python), "scripts/ci/mutants.py", *group.files], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if made.returncode:
        raise MutationError(f"no mutants of {group.name}:\n{made.stderr}run `make tools` if cosmic-ray is missing")
    return [Mutant(**m) for m in json.loads(made.stdout)]


def listed(file: Path) -> list[Listed]:
    """Return the known survivors: one reason for several lines, each of which may become several others."""
    found = []
    for entry in yaml.safe_load(file.read_text(encoding="utf-8")) or []:
        if not entry["reason"].strip():
            raise MutationError(f"{file}: an entry of {entry['module']} has no reason")
        for mutant in entry["mutants"]:
            becomes = mutant["becomes"]
            found += [
                Listed(entry["module"], mutant["function"], mutant["line"], text, entry["reason"].strip())
                for text in ([becomes] if isinstance(becomes, str) else becomes)
            ]
    return found


def spread(mutants: Sequence[Mutant], most: int | None) -> list[Mutant]:
    """Return at most so many, evenly over the group."""
    if most is None or most >= len(mutants):
        return list(mutants)
    return [mutants[i * len(mutants) // most] for i in range(most)]


def fingerprint(known: Path) -> str:
    """Return the hash of everything a result depends on but the machine; what is known of survivors changes none."""
    digest = hashlib.sha256()
    for file in [f for name in COPIED for f in _files(ROOT / name) if f != known] + list(_MADE_BY):
        digest.update(f"{os.path.relpath(file, ROOT)}\0".encode() + hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()


def _files(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    return sorted(f for f in path.rglob("*") if f.is_file() and "__pycache__" not in f.parts)


class Results:
    """What is known so far, kept in a file line by line: a run that is killed loses the mutants in hand."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._state = ""
        self.outcomes: dict[str, str] = {}
        for line in file.read_text(encoding="utf-8").splitlines() if file.exists() else ():
            try:
                key, outcome = json.loads(line)
            except ValueError:  # the line that was being written
                continue
            if key == "state":
                self._state = outcome
            else:
                self.outcomes[key] = outcome

    def begin(self, state: str, *, keep: AbstractSet[str]) -> None:
        """Forget the outcomes of another state of code and tests, but for those to keep."""
        if state == self._state:
            return
        kept = {key: outcome for key, outcome in self.outcomes.items() if outcome in keep}
        self.outcomes = kept
        lines = [json.dumps(line) for line in (["state", state], *kept.items())]
        self._file.write_text("\n".join(lines) + "\n", encoding="utf-8")

    def add(self, mutant: Mutant, outcome: str) -> None:
        """Note the outcome of a mutant, at once."""
        self.outcomes[mutant.key] = outcome
        with self._file.open("a", encoding="utf-8") as out:
            # The line before may have been cut off.
            out.write("\n" + json.dumps([mutant.key, outcome]) + "\n")


# --- running the tests -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Ended:
    """How a run of the tests ended."""

    code: int  # below zero: by that signal
    cpu_s: float

    @property
    def outcome(self) -> str:
        """What that says of a mutant; MutationError if it says nothing."""
        if self.code == _PASSED:
            return "survived"
        if self.code in (_FAILED, _INTERRUPTED):
            return "killed"
        if self.code == _STILLBORN:
            return "stillborn"
        if self.code in (-signal.SIGXCPU, -signal.SIGALRM):
            return "timeout"
        raise MutationError(f"the tests ended with {self.code}, which says nothing; see the logs in build/mutation")


def copy_tree(to: Path) -> None:
    """Copy what the tests need."""
    shutil.rmtree(to, ignore_errors=True)
    to.mkdir(parents=True)
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, to / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(source, to / name)


def start(tree: Path, group: Group, limit_s: int, *, is_mutated: bool) -> int:
    """Run the tests of a group in a copy of the tree, in a fork of this process; return its id."""
    child = os.fork()
    if child == 0:
        _run_tests(tree, group, limit_s, is_mutated=is_mutated)
    return child


def _run_tests(tree: Path, group: Group, limit_s: int, *, is_mutated: bool) -> NoReturn:
    code = _OUR_FAULT
    try:
        log = os.open(f"{tree}.log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.chdir(tree)
        resource.setrlimit(resource.RLIMIT_CPU, (limit_s, limit_s + 5))
        signal.alarm(_HANGS_S)
        # The file changes within a second: its compiled copy would be that of the mutant before.
        sys.dont_write_bytecode = is_mutated
        os.environ.update(GRODT_REAL_DATA=str(tree / "no-recorded-bars"), GRODT_PATHS=_RANDOM_PATHS)
        sys.path.insert(0, str(tree))
        code = _test(tree, group)
    except BaseException:  # whatever it is, the log keeps it
        traceback.print_exc()
    finally:
        # This copy of the process must not go on as the parent.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _test(tree: Path, group: Group) -> int:
    import pytest

    package = importlib.import_module("grodtd")
    if Path(package.__file__ or "").parent != tree / "grodtd":  # an installed one would survive everything
        raise MutationError(f"grodtd was imported from {package.__file__}, not from {tree}")
    try:
        for file in group.files:
            importlib.import_module(file.removesuffix(".py").replace("/", "."))
    except Exception:
        traceback.print_exc()
        return _STILLBORN
    # No mutant is in the reference that many cases are run through as well. Hypothesis is loaded before the fork.
    options = ["-x", "-q", "-k", "not [reference", "-W", "ignore::pytest.PytestAssertRewriteWarning"]
    return int(pytest.main([*options, "-p", "no:cacheprovider", *group.tests]))


def wait_for_any() -> tuple[int, Ended]:
    """Return the child that ended first, and how."""
    child, status, used = os.wait4(-1, 0)
    return child, Ended(os.waitstatus_to_exitcode(status), used.ru_utime + used.ru_stime)


def baseline(trees: Sequence[Path], group: Group) -> float:
    """Run the tests without a mutant in every tree; return the processor time they took.

    This also compiles the files to bytecode, which mutants do not.
    """
    slowest = 0.0
    for tree in trees:
        start(tree, group, _HANGS_S, is_mutated=False)
        _, ended = wait_for_any()
        if ended.code != _PASSED:
            said = Path(f"{tree}.log").read_text(errors="replace")[-3_000:]
            raise MutationError(f"the tests of {group.name} fail without a mutant ({ended.code}):\n{said}")
        for file in group.files:
            for compiled in (tree / file).parent.glob(f"__pycache__/{Path(file).stem}.*"):
                compiled.unlink()
        slowest = max(slowest, ended.cpu_s)
    return slowest


def try_all(
    group: Group, mutants: Sequence[Mutant], trees: Sequence[Path], tell: Callable[[Mutant, str], None]
) -> None:
    """Run the tests against each mutant, as many at a time as there are trees, and tell what became of it."""
    limit_s = int(_PATIENCE * baseline(trees, group)) + _PATIENCE_S
    original = {file: (ROOT / file).read_text(encoding="utf-8") for file in group.files}
    free, running = list(trees), dict[int, tuple[Path, Mutant]]()
    todo = iter(mutants)
    mutant = next(todo, None)
    while mutant is not None or running:
        while mutant is not None and free:
            tree, text = free.pop(), original[mutant.file]
            (tree / mutant.file).write_text(
                text[: mutant.at] + mutant.new + text[mutant.at + len(mutant.old) :], encoding="utf-8"
            )
            running[start(tree, group, limit_s, is_mutated=True)] = tree, mutant
            mutant = next(todo, None)
        child, ended = wait_for_any()
        tree, done = running.pop(child)
        (tree / done.file).write_text(original[done.file], encoding="utf-8")
        free.append(tree)
        tell(done, ended.outcome)


# --- judging ---------------------------------------------------------------------------------------------------------


def found_in(group: Group, mutants: Sequence[Mutant], outcomes: Mapping[str, str]) -> Found:
    """Count what is known of a group."""
    found = Found(group.name, len(mutants))
    for mutant in mutants:
        match outcomes.get(mutant.key):
            case None:
                continue
            case "stillborn":
                found.stillborn += 1
                continue
            case "survived":
                found.survivors.append(mutant)
            case outcome:
                found.killed += 1
                found.timeout += outcome == "timeout"
        found.tested += 1
    return found


def complaints(groups: Sequence[Group], results: Sequence[Found], known: Sequence[Listed]) -> Iterator[str]:
    """Yield what the gate has against groups that were tried in full."""
    for group, found in zip(groups, results, strict=True):
        if found.score < SCORE_MIN:
            yield f"{found.group}: {found.score:.1f} % are killed, {SCORE_MIN:.0f} % is the least"
        unlisted = [m for m in found.survivors if not any(entry.covers(m) for entry in known)]
        if unlisted:
            yield f"{found.group}: {len(unlisted)} survivors are not listed; test them away, or list them with a reason"
        for entry in known:
            if entry.module in group.files and not any(entry.covers(m) for m in found.survivors):
                yield (
                    f"listed, but no survivor (killed now, or gone): {entry.module} in {entry.function or 'no function'}:"
                    f" `{entry.line}` -> `{entry.becomes}`; take it off the list"
                )
    judged = {file for group in (*GROUPS, *groups) for file in group.files}
    for module in sorted({entry.module for entry in known} - judged):
        yield f"listed, but no module that is judged: {module}"


def report(results: Sequence[Found], said: Sequence[str], known: Sequence[Listed], left_out: Sequence[str]) -> str:
    """Return the results as Markdown."""
    lines = [
        "| group | mutants | killed | of these timeouts | survived | score | stillborn |",
        "|---|--:|--:|--:|--:|--:|--:|",
    ]
    lines += [
        f"| {r.group} | {r.tested} | {r.killed} | {r.timeout} | {len(r.survivors)} | {r.score:.1f} % | {r.stillborn} |"
        for r in results
    ]
    if left_out:
        lines += ["", "Not judged:", "", *(f"- {text}" for text in left_out)]
    if said:
        lines += ["", "The gate says no:", "", *(f"- {text}" for text in said)]
    survivors = [
        f"- {m}: {next((e.reason for e in known if e.covers(m)), '**not listed**')}"
        for r in results
        for m in r.survivors
    ]
    if survivors:
        lines += ["", "Survivors:", "", *survivors]
    return "\n".join(lines) + "\n"


def _as_json(results: Sequence[Found], said: Sequence[str], left_out: Sequence[str], seconds: float) -> dict[str, Any]:
    return {
        "groups": [
            asdict(r) | {"score": round(r.score, 2), "complete": r.is_complete, "survived": len(r.survivors)}
            for r in results
        ],
        "score_min": SCORE_MIN,
        "complaints": list(said),
        "skipped": list(left_out),
        "seconds": round(seconds, 1),
        "passed": not said and not left_out,
    }


# --- the command -----------------------------------------------------------------------------------------------------


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = [group.name for group in GROUPS]
    parser.add_argument("--module", nargs="+", choices=names, default=names, help="groups to run; all if not given")
    parser.add_argument("--max-mutants", type=int, metavar="N", help="try at most N of each group, spread over it")
    parser.add_argument("--survivors", action="store_true", help="try again only what survived the last run")
    parser.add_argument("--fresh", action="store_true", help="begin anew")
    parser.add_argument("--jobs", type=int, default=min(os.cpu_count() or 1, 8), help="mutants at a time (%(default)s)")
    parser.add_argument("--json", action="store_true", help="print the result as JSON at the end")
    parser.add_argument("--output", type=Path, default=ROOT / "build" / "mutation", help="folder of copies and results")
    parser.add_argument(
        "--known", type=Path, default=ROOT / "tests" / "mutation-survivors.yaml", help="known survivors"
    )
    given = parser.parse_args(arguments)
    if given.jobs < 1 or (given.max_mutants is not None and given.max_mutants < 1):
        parser.error("--jobs and --max-mutants are numbers above zero")
    return given


def try_and_tell(
    group: Group, mutants: Sequence[Mutant], trees: Sequence[Path], note: Callable[[Mutant, str], None]
) -> None:
    """Try mutants, note each outcome, and print what survives and how far it is."""
    began, count = time.monotonic(), 0
    print(f"{group.name}: {len(mutants)} mutants to try", flush=True)

    def tell(mutant: Mutant, outcome: str) -> None:
        nonlocal count
        count += 1
        note(mutant, outcome)
        if outcome == "survived" or count % 100 == 0:
            print(f"[{count}/{len(mutants)} {time.monotonic() - began:.0f} s] {outcome}: {mutant}", flush=True)

    if mutants:
        try_all(group, mutants, trees, tell)


def run(given: argparse.Namespace) -> int:
    """Try the mutants asked for, judge, write and print; return the exit code."""
    began = time.monotonic()
    known = listed(given.known)
    groups = [group for group in GROUPS if group.name in given.module]
    trees = [given.output.resolve() / f"tree-{i}" for i in range(given.jobs)]
    for tree in trees:
        copy_tree(tree)
    # Read by numba when it is imported, below.
    os.environ.update(NUMBA_DISABLE_JIT="1", OPENBLAS_NUM_THREADS="1", PYTEST_DISABLE_PLUGIN_AUTOLOAD="1")
    for name in _PRELOADED:
        importlib.import_module(name)
    file = given.output / "results.jsonl"
    if given.fresh:
        file.unlink(missing_ok=True)
    results = Results(file)
    # Kills by other tests are taken over for a quick look only: a run without --survivors begins anew.
    results.begin(
        fingerprint(given.known) + " survivors" * given.survivors,
        keep={"killed", "timeout", "stillborn"} if given.survivors else set(),
    )
    judged = []
    for group in groups:
        mutants = mutants_of(group)
        chosen = [m for m in spread(mutants, given.max_mutants) if m.key not in results.outcomes]
        try_and_tell(group, chosen, trees, results.add)
        judged.append(found_in(group, mutants, results.outcomes))

    whole = [(group, found) for group, found in zip(groups, judged, strict=True) if found.is_complete]
    said = list(complaints([g for g, _ in whole], [f for _, f in whole], known))
    left_out = [
        f"{f.group}: {f.tested + f.stillborn} of {f.mutants} mutants tried" for f in judged if not f.is_complete
    ]
    left_out += [f"{group.name}: not asked for" for group in GROUPS if group not in groups]
    left_out += ["all: kills of earlier tests were taken over"] * given.survivors
    text = report(judged, said, known, left_out)
    as_json = json.dumps(_as_json(judged, said, left_out, time.monotonic() - began), indent=2)
    (given.output / "mutation.md").write_text(text, encoding="utf-8")
    (given.output / "mutation.json").write_text(as_json + "\n", encoding="utf-8")
    print("\n" + (as_json if given.json else text))
    if not given.json:
        print("\n".join(f"SKIPPED {line}" for line in left_out))
    return 1 if said else 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return the exit code."""
    given = _arguments(arguments)
    given.output.mkdir(parents=True, exist_ok=True)
    try:
        with (given.output / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return run(given)
    except BlockingIOError:
        print(f"another run works in {given.output}; wait for it, or give another --output", file=sys.stderr)
        return 2
    except MutationError as error:
        print(error, file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
