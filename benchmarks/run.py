"""Measure the main jobs beside their peers: new figures in one interleaved run, as ratios of medians.

    python -m benchmarks.run --date 2026-01-31    everything: results/latest.json and .svg, docs/performance.md
    python -m benchmarks.run --quick              the rows of 100,000 bars, on the screen only
    python -m benchmarks.run --again threads      one job again, in place of its rows in results/latest.json: for rows
                                                  that others on the machine have disturbed
    python -m benchmarks.run --render             the pages again from results/latest.json

One core is judged by processor time, which others on the machine do not lengthen much; several cores, and processes as
a user starts them, by the clock, measured while the machine is idle. A row whose quartiles lie more than 15 % of the
median apart is measured again.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numba
import numpy as np

from benchmarks import report
from benchmarks.cases import CASES, QTY, SEED, YEAR_BARS, recorded_file

ROOT = Path(__file__).resolve().parent.parent
PEERS = ROOT / "benchmarks" / ".venv" / "bin" / "python"
ROUNDS = 5
SPREAD_MAX = 0.15
ATTEMPTS = 2
BUSY_MAX = 0.15
IDLE_WAIT_S = 60.0  # in all, over one run of the benchmarks
CHUNKS = (1, 5, 10, 25)  # combinations that vectorbt takes at once
PEER_ROWS = 25  # of a year's thousand combinations: peers' time grows in proportion, they share nothing
RAPTOR_CHUNK = 10
BARE_TYPER = """
import typer
app = typer.Typer()
@app.command()
def hello(name: str = "you") -> None:
    "Say hello."
@app.command()
def bye() -> None:
    "Say good-bye."
app()
"""

Answer = dict[str, Any]
Row = dict[str, Any]


class Worker:
    """A process that answers requests one at a time."""

    def __init__(self, command: list[str], **environment: str) -> None:
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            cwd=ROOT,
            env=os.environ | {"PYTHONPATH": str(ROOT)} | environment,
        )

    def ask(self, do: str, **request: Any) -> Answer:
        assert self._process.stdin is not None  # noqa: S101
        assert self._process.stdout is not None  # noqa: S101
        self._process.stdin.write(json.dumps({"do": do, **request}) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            return {"error": f"the process ended while it worked on {do}"}
        return json.loads(line)  # type: ignore[no-any-return]

    def close(self) -> None:
        self._process.communicate()


def ours_worker() -> Worker:
    return Worker([sys.executable, "-m", "benchmarks.ours"])


class Idle:
    """Waits for the others on the machine, up to a bound over the whole run."""

    def __init__(self, seconds: float) -> None:
        self.left_s = seconds

    def wait(self) -> bool:
        """Return whether the machine is idle now."""
        start = time.perf_counter()
        is_idle = self._busy() < BUSY_MAX
        while not is_idle and self.left_s > 0 and time.perf_counter() - start < 2.0:
            time.sleep(0.1)
            is_idle = self._busy() < BUSY_MAX
        self.left_s -= time.perf_counter() - start
        return is_idle

    @staticmethod
    def _busy() -> float:
        """Share of the processors in use over a fifth of a second."""

        def read() -> tuple[int, int]:
            fields = [int(x) for x in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
            return sum(fields), fields[3] + fields[4]

        before = read()
        time.sleep(0.2)
        after = read()
        return 1.0 - (after[1] - before[1]) / max(after[0] - before[0], 1)


def spread(values: list[float]) -> float:
    """Distance of the quartiles over the median."""
    low, middle, high = np.percentile(values, [25, 50, 75])
    return float((high - low) / middle)


class Bench:
    """The run: workers, rounds and the rows found so far."""

    def __init__(self, folder: Path, rounds: int) -> None:
        self.folder, self.rounds = folder, rounds
        self.idle = Idle(IDLE_WAIT_S)
        self.ours = ours_worker()
        self.rows: list[Row] = []
        self.checks: list[Row] = []
        self.versions: dict[str, str | None] = {}
        self.peers: Worker | None = None
        if PEERS.exists():
            self.peers = Worker([str(PEERS), str(ROOT / "benchmarks" / "peers.py")], RAYON_NUM_THREADS="2")
            self.versions = self.peers.ask("versions")["versions"]
        self._exported: dict[str, str] = {}

    def has(self, *peers: str) -> bool:
        return all(self.versions.get(p) for p in peers)

    def exported(self, case: str) -> str:
        if case not in self._exported:
            self._exported[case] = str(self.folder / f"{case.replace(' ', '_').replace(',', '')}.npz")
            self.ours.ask("export", case=case, file=self._exported[case])
        return self._exported[case]

    def rounds_of(
        self,
        contenders: dict[str, Callable[[], Answer]],
        clock: str,
        rounds: int | None = None,
        attempts: int = ATTEMPTS,
    ) -> dict[str, Answer]:
        """Measure contenders in turn; return of each its last answer with the median as `seconds`, and its `spread`.

        The first round is not counted. Rounds are repeated while a spread is too wide; the calmest attempt counts.
        """
        best: dict[str, Answer] | None = None
        for work in contenders.values():
            work()
        for _ in range(attempts):
            found: dict[str, list[Answer]] = {name: [] for name in contenders}
            n_busy = 0
            for _ in range(rounds or self.rounds):
                for name, work in contenders.items():
                    if clock == "wall_s":
                        n_busy += not self.idle.wait()
                    found[name].append(work())
            is_disturbed = n_busy > 0.2 * sum(map(len, found.values()))
            attempt = {}
            for name, answers in found.items():
                if failed := next((a for a in answers if "error" in a), None):
                    attempt[name] = failed
                    continue
                values = [a[clock] for a in answers]
                attempt[name] = answers[-1] | {"seconds": statistics.median(values), "spread": spread(values)}
                attempt[name]["is_disturbed"] = is_disturbed
            widest = max(a.get("spread", 0.0) for a in attempt.values())
            if best is None or widest < max(a.get("spread", 0.0) for a in best.values()):
                best = attempt
            if widest <= SPREAD_MAX:
                break
        assert best is not None  # noqa: S101
        return best

    def row(self, name: str, *, goal: Row | None = None, **fields: Any) -> None:
        """Add a row; `goal` is {"of": "ratio" or "ours", "at_least" or "at_most": number}."""
        made: Row = {"name": name, "unit": "", "ours": None, "peer": None, "peer_name": "", "ratio": None}
        made |= {"goal": goal, "met": None, "why": "", "spread": None, "is_disturbed": False, **fields}
        made["met"] = report.is_met(made)
        if made["is_disturbed"]:
            made["why"] = "others kept the machine busy: the clock judges nothing then; measure it --again"
        if made["met"] is None and not made["why"]:
            made["why"] = "for information"
        self.rows.append(made)
        print(report.line(made), file=sys.stderr, flush=True)

    def skipped(self, name: str, why: str, goal: Row | None = None) -> None:
        self.row(name, goal=goal, why=why)

    def check(self, what: str, ours: int, peer: int, note: str = "", *, must_equal: bool = True) -> None:
        self.checks.append(
            {"what": what, "ours": ours, "peer": peer, "equal": ours == peer, "must_equal": must_equal, "note": note}
        )

    def against(
        self, name: str, found: dict[str, Answer], peer: str, peer_name: str, goal: Row | None, note: str = ""
    ) -> None:
        """Add a row of bars times combinations a second, ours over a peer's."""
        ours, other = found["ours"], found[peer]
        if "error" in other:
            self.skipped(name, other["error"], goal)
            return
        rates = [a["n"] / a["seconds"] / 1e6 for a in (ours, other)]
        self.row(
            name,
            unit="million bars x combinations a second",
            ours=rates[0],
            peer=rates[1],
            peer_name=peer_name,
            ratio=rates[0] / rates[1],
            goal=goal,
            spread=max(ours["spread"], other["spread"]),
            is_disturbed=ours["is_disturbed"],
            note=note,
        )


def spaced(n: int, count: int) -> list[int]:
    """Return `count` of `n` rows, evenly spaced."""
    return np.unique(np.linspace(0, n - 1, count).round().astype(int)).tolist()  # type: ignore[no-any-return]


def density(answer: Answer) -> str:
    return f"{answer['n'] / max(sum(answer['trades']), 1):.1f} bars a trade"


def sparse_and_dense(bench: Bench, case: str, n_peer: int, rounds: int) -> None:
    """Rows of a grid, one core: vectorbt, the naive loop, and what reading main memory takes."""
    goal_vectorbt, goal_naive = {"of": "ratio", "at_least": 150}, {"of": "ratio", "at_least": 4}
    is_goal = CASES[case].kind == "sparse"
    rows = spaced(CASES[case].n_combinations, n_peer)
    contenders: dict[str, Callable[[], Answer]] = {
        "ours": lambda: bench.ours.ask("sweep", case=case, threads=1),
        "naive": lambda: bench.ours.ask("naive", case=case, rows=rows),
        "dram": lambda: bench.ours.ask("read", where="dram"),
        "l1": lambda: bench.ours.ask("read", where="l1"),
    }
    found = bench.rounds_of(contenders, "cpu_s", rounds)
    ours = found["ours"]
    say = f"{density(ours)}; insolvent: {ours['insolvent']}; by the engine: {ours['by_engine']}"
    for row, trades in zip(rows, found["naive"]["trades"], strict=True):
        if trades != ours["trades"][row]:
            note = "bars without volume, where orders wait" if recorded_file() else ""
            bench.check(f"{case}: trades of combination {row}, naive", ours["trades"][row], trades, note)
    total = sum(ours["trades"][row] for row in rows)
    bench.check(f"{case}: trades of {len(rows)} combinations, naive loop", total, sum(found["naive"]["trades"]))
    bench.against(f"{case}, one core, vs the naive loop", found, "naive", "naive numba loop", goal_naive, say)
    goal = {"of": "ratio", "at_least": 0.5} if case == "year x 1,000" else None
    bench.against(f"{case}, one core, vs reading high, low, close from memory", found, "dram", "read", goal)
    bench.against(f"{case}, one core, vs reading them from the first cache", found, "l1", "read", None)

    name = f"{case}, one core, vs vectorbt from_signals"
    if bench.peers is None or not bench.has("vectorbt"):
        bench.skipped(name, "vectorbt is not installed in benchmarks/.venv", goal_vectorbt if is_goal else None)
        return
    file, peers = bench.exported(case), bench.peers
    engines = ["numba", *(["rust"] if bench.has("vectorbt-rust") else [])]
    timed: dict[str, Callable[[], Answer]] = {"ours": contenders["ours"]}
    notes = {}
    for engine in engines:
        trial = rows[: max(CHUNKS)]
        best, best_rate = 1, 0.0
        for chunk in [c for c in CHUNKS if c <= len(trial)]:
            peers.ask("vectorbt", file=file, engine=engine, rows=trial[:chunk], chunk=chunk)  # may compile
            answer = peers.ask("vectorbt", file=file, engine=engine, rows=trial, chunk=chunk)
            if "error" not in answer and answer["n"] / answer["cpu_s"] > best_rate:
                best, best_rate = chunk, answer["n"] / answer["cpu_s"]
        notes[engine] = best

        def run(engine: str = engine, chunk: int = best) -> Answer:
            return peers.ask("vectorbt", file=file, engine=engine, rows=rows, chunk=chunk)

        timed[engine] = run
    found = bench.rounds_of(timed, "cpu_s", rounds)
    fastest = max(engines, key=lambda e: found[e]["n"] / found[e]["seconds"] if "seconds" in found[e] else 0.0)
    for engine in engines:
        answer = found[engine]
        what = f"engine {engine}, {notes[engine]} combinations at once, {answer.get('peak_mb', 0):.0f} MB"
        is_best = engine == fastest
        bench.against(
            name if is_best else f"{name}, its slower engine",
            found,
            engine,
            f"vectorbt ({engine})",
            goal_vectorbt if is_goal and is_best else None,
            what,
        )
    if "orders" in found[fastest]:
        parity = bench.ours.ask("from_signals_orders", case=case, rows=rows)["orders"]
        what = f"{case}: orders of {len(rows)} combinations"
        bench.check(f"{what}, our parity mode and vectorbt", sum(parity), sum(found[fastest]["orders"]))
        bench.check(
            f"{case}: trades of {len(rows)} combinations, strict and vectorbt",
            sum(ours["trades"][row] for row in rows),
            sum(found[fastest]["trades"]),
            "from_signals never stops a position in the bar it was entered in and fills a target that is only touched",
            must_equal=False,
        )


def random_combinations(bench: Bench, case: str, rounds: int) -> None:
    """Combinations that share no signal: nothing to gain from doing work once."""
    rows = spaced(CASES[case].n_combinations, 20)
    found = bench.rounds_of(
        {
            "ours": lambda: bench.ours.ask("sweep", case=case, threads=1),
            "naive": lambda: bench.ours.ask("naive", case=case, rows=rows),
        },
        "cpu_s",
        rounds,
    )
    ours = found["ours"]
    total = sum(ours["trades"][row] for row in rows)
    bench.check(f"{case}: trades of {len(rows)} combinations, naive loop", total, sum(found["naive"]["trades"]))
    note = f"no two share a signal; the loop is given its indicators, ours computes them; {density(ours)}"
    bench.against(f"{case}, one core, vs the naive loop", found, "naive", "naive numba loop", None, note)


def raptor(bench: Bench, case: str, n_peer: int, rounds: int) -> None:
    """Both on two threads, re-entry on an edge only, which is the only rule raptorbt has."""
    goal = {"of": "ratio", "at_least": 30}
    name = f"{case}, two threads, vs raptorbt"
    if bench.peers is None or not bench.has("raptorbt"):
        bench.skipped(name, "raptorbt is not installed in benchmarks/.venv", goal)
        return
    file, peers = bench.exported(case), bench.peers
    rows = spaced(CASES[case].n_combinations, n_peer)
    for sides, direction in (((1, -1), "long_short"), ((1,), "long_only")):
        found = bench.rounds_of(
            {
                "ours": lambda d=direction: bench.ours.ask(  # type: ignore[misc]
                    "sweep", case=case, threads=2, reentry="edge", direction=d
                ),
                "raptorbt": lambda s=sides: peers.ask(  # type: ignore[misc]
                    "raptorbt", file=file, rows=rows, chunk=RAPTOR_CHUNK, sides=list(s)
                ),
            },
            "wall_s",
            rounds,
        )
        note = "long and short are two items there" if len(sides) > 1 else "long only: one item each"
        full = name if len(sides) > 1 else f"{name}, long only"
        bench.against(full, found, "raptorbt", "raptorbt", goal if len(sides) > 1 else None, note)
        if "error" not in found["raptorbt"]:
            total = sum(found["ours"]["trades"][row] for row in rows)
            bench.check(
                f"{case}: trades of {len(rows)} combinations, {direction}, re-entry edge, raptorbt",
                total,
                sum(found["raptorbt"]["trades"]),
                "raptorbt computes its own ATR and sizes by value, with one fee",
                must_equal=False,
            )


def threads(bench: Bench, case: str, goal: Row | None, rounds: int) -> None:
    found = bench.rounds_of(
        {
            "ours": lambda: bench.ours.ask("sweep", case=case, threads=2),
            "one": lambda: bench.ours.ask("sweep", case=case, threads=1),
        },
        "wall_s",
        rounds,
    )
    bench.against(f"{case}, two threads vs one", found, "one", "ours, one thread", goal)


def backtesting_py(bench: Bench, case: str) -> None:
    """One run; the fill engine itself, not the sweep."""
    name = f"one backtest, {case.split(' x ', maxsplit=1)[0]} bars, vs backtesting.py"
    if bench.peers is None or not bench.has("backtesting"):
        bench.skipped(name, "backtesting.py is not installed in benchmarks/.venv")
        return
    file, peers = bench.exported(case), bench.peers
    found = bench.rounds_of(
        {
            "ours": lambda: bench.ours.ask("single", case=case),
            "backtesting": lambda: peers.ask("backtesting_py", file=file),
        },
        "cpu_s",
        3,
    )
    bench.against(name, found, "backtesting", "backtesting.py", None, "run_backtest, every fill kept")
    if "trades" in found["backtesting"]:
        bench.check(
            f"{name}: trades",
            found["ours"]["trades"][0],
            found["backtesting"]["trades"][0],
            "levels there hang on the decision close, not on the fill",
            must_equal=False,
        )


def memory(bench: Bench, home: str) -> None:
    """Peak memory of new processes that load a year from the catalogue and sweep it on two threads."""
    peaks = {}
    for case in ("year x 1,000", "year x 1,000", "year x 10,000"):  # the first may compile
        worker = ours_worker()
        peaks[case] = worker.ask("memory", case=case, home=home)["peak_mb"]
        worker.close()
    small, large = peaks.values()
    goal = {"of": "ours", "at_most": 400}
    bench.row("year x 1,000, peak memory of a new process", unit="MB", ours=small, goal=goal)
    bench.row(
        "year x 10,000 vs x 1,000, peak memory",
        unit="MB",
        ours=large,
        peer=small,
        peer_name="ours, 1,000 combinations",
        ratio=large / small,
        goal={"of": "ratio", "at_most": 1.25},
        note="the table and its daily equity are 3 KB a combination",
    )


def processes(bench: Bench, home: str) -> None:
    """New processes as a user starts them, caches warm."""
    bare = bench.folder / "bare.py"
    bare.write_text(BARE_TYPER)
    grodt = [sys.executable, "-m", "grodtd"]
    commands = {
        "bare help": [sys.executable, str(bare), "--help"],
        "help": [*grodt, "--help"],
        "backtest": [*grodt, "backtest", "s1_trend", "--venue", "synthetic", "--symbol", "G1", "--no-store"],
    }
    commands["backtest"] += ["--home", home]

    # Warm caches include Python's own: an installed package has its bytecode beside it, as the peers have here.
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"} | {"PYTHONPATH": str(ROOT)}

    def started(command: list[str]) -> Answer:
        start = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=ROOT, env=environment)
        return {"wall_s": time.perf_counter() - start}

    found = bench.rounds_of({name: lambda c=c: started(c) for name, c in commands.items()}, "wall_s", 7)  # type: ignore[misc]
    if bench.has("vectorbt"):
        # Apart from the others: it takes so long that rounds of the others would lie far apart.
        slow = [str(PEERS), str(ROOT / "benchmarks" / "peers.py"), bench.exported("year x 1,000")]
        both = {"ours": lambda: started(commands["backtest"]), "vectorbt": lambda: started(slow)}
        found["vectorbt"] = bench.rounds_of(both, "wall_s", 3, attempts=1)["vectorbt"]
    ms = {name: 1e3 * answer["seconds"] for name, answer in found.items()}
    widest = {name: answer["spread"] for name, answer in found.items()}
    name = "new process, a year's backtest, caches warm"
    is_disturbed = found["help"]["is_disturbed"]
    limit = {"of": "ours", "at_most": 1_500}
    bench.row(name, unit="ms", ours=ms["backtest"], spread=widest["backtest"], goal=limit, is_disturbed=is_disturbed)
    goal = {"of": "ratio", "at_least": 3}
    if "vectorbt" in ms:
        bench.row(
            "new process, a year's backtest, vs vectorbt's",
            unit="ms",
            ours=ms["backtest"],
            peer=ms["vectorbt"],
            peer_name="vectorbt from_signals",
            ratio=ms["vectorbt"] / ms["backtest"],
            spread=max(widest["backtest"], widest["vectorbt"]),
            is_disturbed=is_disturbed,
            goal=goal,
            note="vectorbt is given its signals; ours loads, decides, fills, judges regimes and prints",
        )
    else:
        bench.skipped("new process, a year's backtest, vs vectorbt's", "vectorbt is not installed", goal)
    bench.row(
        "grodt --help over a bare typer program's help",
        unit="ms",
        ours=ms["help"] - ms["bare help"],
        peer=ms["bare help"],
        peer_name="bare typer --help",
        spread=max(widest["help"], widest["bare help"]),
        is_disturbed=is_disturbed,
        goal={"of": "ours", "at_most": 50},
        note=f"grodt --help takes {ms['help']:.0f} ms",
    )
    found = bench.rounds_of({"ours": lambda: bench.ours.ask("catalogue", home=home)}, "wall_s", 15)
    bench.row(
        "a year of minutes from the catalogue",
        unit="ms",
        ours=1e3 * found["ours"]["seconds"],
        spread=found["ours"]["spread"],
        is_disturbed=found["ours"]["is_disturbed"],
        goal={"of": "ours", "at_most": 60},
    )


def optimizers(bench: Bench) -> None:
    """What asking and telling cost a trial, in the batches of `grodt optimize`; the ledger is written once a batch."""
    for name in ("random", "sobol", "tpe", "cmaes", "nsga2"):
        found = bench.rounds_of({"ours": lambda n=name: bench.ours.ask("optimizer", name=n)}, "cpu_s", 3)["ours"]  # type: ignore[misc]
        label = f"optimizer overhead a trial, {name}"
        goal = {"of": "ours", "at_most": 0.2}
        if "error" in found:
            bench.skipped(label, found["error"], goal)
            continue
        note = f"{found['n']} trials in batches of {found['batch']}"
        note += {"tpe": ", the default optimizer", "nsga2": ", two objectives"}.get(name, "")
        cost = 1e3 * found["seconds"] / found["n"]
        bench.row(label, unit="ms", ours=cost, spread=found["spread"], goal=goal, note=note)


def distribution(bench: Bench) -> None:
    """Run the same tasks on Ray and on threads, in a process of their own: Ray's daemons end with it."""
    name, goal = "Ray, 2 workers, year x 1,000 x 4 symbols, vs local threads", {"of": "ratio", "at_least": 0.9}
    done = subprocess.run(
        [sys.executable, str(ROOT / "benchmarks" / "distribution.py"), "--json"],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    if done.returncode != 0:
        bench.skipped(name, (done.stderr.strip().splitlines() or ["it ended without a word"])[-1], goal)
        return
    answer = json.loads(done.stdout)
    found, bars = answer["measured"], 4 * 1_000 * YEAR_BARS
    work = "year x 1,000 combinations x 4 symbols"
    rates = [bars / found[f"{work}, {kind} 2, s"] / 1e6 for kind in ("ray", "local")]
    tasks, seconds = found["tasks of that sweep"], found["seconds a task"]
    note = f"{tasks:.0f} tasks of {seconds:.2f} s, results equal bit for bit; median of {answer['rounds']} pairs"
    bench.row(
        name,
        unit="million bars x combinations a second",
        ours=rates[0],
        peer=rates[1],
        peer_name="threads",
        ratio=found["ray over local, speed (goal: at least 0.9)"],
        goal=goal,
        note=note,
    )


def machine() -> Row:
    names = [x for x in Path("/proc/cpuinfo").read_text().splitlines() if x.startswith("model name")]
    return {
        "processor": names[0].split(":")[1].strip() if names else platform.processor(),
        "cores": len(os.sched_getaffinity(0)),
        "system": f"{platform.system()} {platform.machine()}",
        "load": round(os.getloadavg()[0], 2),
    }


def measured(quick: bool, only: str, date: str) -> Row:
    """Run everything and return what the file holds."""
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder), ROUNDS)
        start, begun = machine(), time.perf_counter()
        jobs: list[tuple[str, Callable[[], None]]] = [
            ("100k", lambda: sparse_and_dense(bench, "100k x 100", 25, ROUNDS)),
            ("100k dense", lambda: sparse_and_dense(bench, "100k x 100 dense", 25, ROUNDS)),
            ("100k random", lambda: random_combinations(bench, "100k x 1,000 random", 3)),
            ("100k raptorbt", lambda: raptor(bench, "100k x 100", 100, ROUNDS)),
            ("100k backtesting", lambda: backtesting_py(bench, "100k x 100 dense")),
        ]
        if not quick:
            home = str(Path(folder) / "home")
            synth = ["data", "synth", "G1", "--bars", str(YEAR_BARS), "--seed", str(SEED), "--home", home]
            environment = os.environ | {"PYTHONPATH": str(ROOT)}
            subprocess.run(
                [sys.executable, "-m", "grodtd", *synth], check=True, stdout=subprocess.DEVNULL, env=environment
            )
            jobs += [
                ("year", lambda: sparse_and_dense(bench, "year x 1,000", PEER_ROWS, 3)),
                ("year dense", lambda: sparse_and_dense(bench, "year x 1,000 dense", PEER_ROWS, 3)),
                ("year random", lambda: random_combinations(bench, "year x 1,000 random", 2)),
                ("year raptorbt", lambda: raptor(bench, "year x 1,000", PEER_ROWS, 3)),
                (
                    "threads",
                    lambda: threads(bench, "year x 1,000", {"of": "ratio", "at_least": 1.8}, ROUNDS),
                ),
                ("memory", lambda: memory(bench, home)),
                ("processes", lambda: processes(bench, home)),
                ("optimizers", lambda: optimizers(bench)),
                ("distribution", lambda: distribution(bench)),
            ]
        for label, job in jobs:
            if only in label:
                job()
        return {
            "date": date,
            "bars": "recorded BTCUSDT minutes of 2023" if recorded_file() else f"synthetic G1, seed {SEED}",
            "sizing": f"fixed quantity, {QTY:g} unit",
            "machine": start,
            "versions": {
                "python": platform.python_version(),
                "numba": numba.__version__,
                "numpy": np.__version__,
                **{f"{k} (peers)": v for k, v in bench.versions.items()},
            },
            "peer_rows": PEER_ROWS,
            "minutes": max(round((time.perf_counter() - begun) / 60), 1),
            "rows": bench.rows,
            "checks": bench.checks,
        }


def replaced(before: Row, again: Row, job: str) -> Row:
    """Return a result with the rows and counts of another in place of those of the same name."""
    for part, key in (("rows", "name"), ("checks", "what")):
        new = {row[key]: row for row in again[part]}
        kept = [new.pop(row[key], row) for row in before[part]]
        before[part] = kept + list(new.values())
    before["again"] = sorted({*before.get("again", []), job})
    return before


def main(arguments: Iterable[str] | None = None) -> None:
    """Measure, or render what was measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--date", default="", help="written into the result; the script reads no calendar")
    parser.add_argument("--quick", action="store_true", help="rows of 100,000 bars only, nothing written")
    parser.add_argument("--only", default="", help="jobs whose name contains this, nothing written")
    parser.add_argument("--again", default="", help="jobs whose name contains this; their rows are replaced")
    parser.add_argument("--render", action="store_true", help="write the pages again from results/latest.json")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    given = parser.parse_args(None if arguments is None else list(arguments))
    if given.render:
        report.write_pages(report.stored())
        return
    if not (given.quick or given.only or given.again or given.date):
        parser.error("--date is needed for a result that is kept")
    result = measured(given.quick, given.only or given.again, given.date)
    if given.again:
        result = replaced(report.stored(), result, given.again)
    if not (given.quick or given.only):
        report.store(result)
        report.write_pages(result)
    print(json.dumps(result, indent=1) if given.json else report.table(result))
    if wrong := [c["what"] for c in result["checks"] if c["must_equal"] and not c["equal"] and not c["note"]]:
        sys.exit("trade counts that should be equal are not: " + "; ".join(wrong))


if __name__ == "__main__":
    main()
