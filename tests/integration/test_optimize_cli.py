"""Searches from the command line: the same table whatever interrupts them, nothing of the hold-out seen."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.request
from contextlib import closing, suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from grodtd.domain.kernel import JIT_DISABLED
from tests.integration.command_line import grodt

pytestmark = pytest.mark.skipif(
    JIT_DISABLED, reason="interpreted engines are too slow for whole runs; the kernels are compared elsewhere"
)

BARS = ("--venue", "synthetic", "--symbol", "G1")
SPACE = ("--space", "ema_bars=5:30:5", "--space", "stop_atr=1.0:4.0:0.5", "--regime", "any")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("home")
    made = grodt("data", "synth", "G1", "--bars", "40000", "--seed", "3", home=folder)
    assert made.returncode == 0, made.stderr
    return folder


def as_json(done: subprocess.CompletedProcess[str]) -> Any:
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def search(home: Path, *arguments: str) -> dict[str, Any]:
    found: dict[str, Any] = as_json(
        grodt("optimize", "run", "s1_trend", *BARS, *SPACE, *arguments, "--json", home=home)
    )
    return found


def table(found: dict[str, Any]) -> list[Any]:
    return [(row["number"], row["params"], row["objectives"], row["columns"]) for row in found["table"]]


def test_a_grid_tries_every_cell_and_judges_the_plateau(home: Path, tmp_path: Path) -> None:
    found = search(home, "--optimizer", "grid", "--cost-scale", "0", "--report", str(tmp_path / "s.html"))
    assert found["status"] == "finished"
    assert found["trials"] == found["planned"] == 6 * 7
    best = max(row["objectives"]["sharpe"] for row in found["table"])
    assert found["best"]["objectives"]["sharpe"] == best
    assert set(found["plateau"]) >= {"passes", "median_ratio", "is_on_edge"}
    assert found["ledger"]["configurations"] >= 42
    page = (tmp_path / "s.html").read_text()
    for heading in ("Convergence", "Parallel coordinates", "Slices", "sharpe over ema_bars and stop_atr"):
        assert heading in page
    # A row is what a backtest of the same bars and account gives.
    row = found["table"][17]
    last_day = (datetime.fromisoformat(found["holdout"]["start"]) - timedelta(days=1)).date()
    sizing = ("mode=fraction", "fraction=0.1", "compound=false")
    single = grodt(
        *("backtest", "s1_trend", *BARS, "--regime", "any", "--to", str(last_day), "--no-store", "--json"),
        *("--cost-scale", "0"),  # a search leaves impact out, which moves fill prices and with them brackets
        *(part for value in sizing for part in ("--sizing", value)),
        *(part for name, value in row["params"].items() for part in ("--param", f"{name}={value}")),
        *("--rule", "max_participation=0"),
        home=home,
    )
    metrics = as_json(single)["metrics"]
    assert metrics["trade_count"] == row["columns"]["trade_count"]
    assert metrics["gross_pnl"] == pytest.approx(row["columns"]["gross_pnl"])
    assert metrics["sharpe"] == pytest.approx(row["columns"]["sharpe"])


def test_one_seed_twice_is_one_search_and_two_seeds_are_two(home: Path) -> None:
    pytest.importorskip("optuna", reason="an optional extra")
    tpe = ("--optimizer", "tpe", "--trials", "40", "--batch", "10")
    one = search(home, *tpe, "--seed", "5")
    assert table(search(home, *tpe, "--seed", "5", "--threads", "1")) == table(one)
    assert table(search(home, *tpe, "--seed", "6")) != table(one)


def batches_of(home: Path, study: str) -> list[int]:
    with closing(sqlite3.connect(home / "grodt.db")) as database:
        rows = database.execute("select n_trials from trial_batches where study_id = ? order by number", (study,))
        return [int(n) for (n,) in rows]


def test_an_optimizer_that_learns_learns_between_batches_by_default(home: Path) -> None:
    pytest.importorskip("scipy", reason="an optional extra")
    # A twentieth of the trials, eight at least; what does not learn takes 256.
    assert batches_of(home, search(home, "--optimizer", "tpe", "--trials", "24")["study"]) == [8, 8, 8]
    assert batches_of(home, search(home, "--optimizer", "tpe", "--trials", "24", "--batch", "20")["study"]) == [20, 4]
    assert batches_of(home, search(home, "--optimizer", "random", "--trials", "24")["study"]) == [24]


def test_whole_ends_of_a_fractional_parameter_are_a_range(home: Path) -> None:
    found = search(home, "--optimizer", "random", "--trials", "20", "--space", "reward_risk=1:3")
    values = {row["params"]["reward_risk"] for row in found["table"]}
    assert len(values) == 20
    assert all(1 <= value <= 3 for value in values)


def started(home: Path, *arguments: str) -> subprocess.Popen[bytes]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("GRODT_")}
    return subprocess.Popen(
        [sys.executable, "-m", "grodtd", "optimize", "run", "s1_trend", *BARS, *SPACE, *arguments],
        env={**environment, "GRODT_HOME": str(home)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def newest(home: Path) -> dict[str, Any]:
    found: dict[str, Any] = as_json(grodt("optimize", "list", "--json", home=home))[0]
    return found


def trials_in(home: Path) -> int:
    with closing(sqlite3.connect(home / "grodt.db")) as database:
        if not database.execute("select 1 from sqlite_master where name = 'trial_batches'").fetchone():
            return 0  # nothing was searched yet
        return int(database.execute("select coalesce(sum(n_trials), 0) from trial_batches").fetchone()[0])


@pytest.mark.parametrize("batches", [1, 4, 9])
def test_a_killed_search_goes_on_to_the_same_table(home: Path, batches: int) -> None:
    random = ("--optimizer", "random", "--trials", "150", "--batch", "10", "--seed", str(batches))
    space = ("--space", "reward_risk=0.5:3.0")
    whole = search(home, *random, *space)
    before, known = trials_in(home), newest(home)["study"]
    process = started(home, *random, *space)
    deadline = time.monotonic() + 60
    while trials_in(home) < before + 10 * batches and time.monotonic() < deadline:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait(30)
    killed = newest(home)
    assert killed["study"] != known
    assert killed["done"] >= 10 * batches
    again = as_json(grodt("optimize", "resume", killed["study"], "--json", home=home))
    assert again["status"] == "finished"
    assert table(again) == table(whole)
    assert [row["number"] for row in again["table"]] == list(range(150))
    assert again["ledger"]["configurations"] == whole["ledger"]["configurations"]  # nothing new was tried
    assert grodt("optimize", "ledger", home=home).stdout.strip() == "the ledger is whole"


def test_interrupt_and_stop_end_after_the_batch(home: Path) -> None:
    long = ("--optimizer", "random", "--trials", "20000", "--batch", "20", "--space", "reward_risk=0.5:3.0")
    for how in ("interrupt", "stop"):
        before = trials_in(home)
        process = started(home, *long, "--seed", "77")
        deadline = time.monotonic() + 60
        while trials_in(home) < before + 40 and time.monotonic() < deadline:
            time.sleep(0.01)
        if how == "interrupt":
            process.send_signal(signal.SIGINT)
        else:
            assert "stops after" in grodt("optimize", "stop", newest(home)["study"], home=home).stdout
        assert process.wait(60) == 0
        found = newest(home)
        assert found["status"] == "stopped"
        assert f"grodt optimize resume {found['study']}" in grodt("optimize", "show", found["study"], home=home).stdout
        assert 40 <= found["done"] < 20_000
        assert found["done"] % 20 == 0


def test_the_search_does_not_see_the_hold_out(home: Path, tmp_path: Path) -> None:
    """Bars of the hold-out changed beyond recognition change nothing of what was found."""
    grid = ("--optimizer", "grid", "--holdout", "0.25")
    found = search(home, *grid)
    other = tmp_path / "other"
    made = grodt("data", "synth", "G1", "--bars", "40000", "--seed", "3", home=other)
    assert made.returncode == 0
    import polars as pl

    frames = (pl.read_parquet(file) for file in other.rglob("*.parquet"))
    frame = next(f for f in frames if "open" in f.columns)
    time_column = next(name for name in frame.columns if name in ("timestamp", "time"))
    cut = pl.lit(found["holdout"]["start"]).str.to_datetime(time_unit="us", time_zone="UTC")
    late = pl.col(time_column) >= cut
    prices = [pl.when(late).then(pl.col(n) * 7).otherwise(pl.col(n)).alias(n) for n in ("open", "high", "low", "close")]
    exported = tmp_path / "changed.parquet"
    frame.with_columns(prices).select(
        pl.col(time_column).alias("timestamp"), "open", "high", "low", "close", "volume"
    ).write_parquet(exported)
    third = tmp_path / "third"
    done = grodt("data", "import", str(exported), *BARS, "--timeframe", "1m", home=third)
    assert done.returncode == 0, done.stderr
    assert table(search(third, *grid)) == table(found)


def test_each_use_of_the_hold_out_is_logged(home: Path) -> None:
    found = search(home, "--optimizer", "grid", "--holdout", "0.4")
    first = as_json(grodt("optimize", "holdout", found["study"], "--json", home=home))
    assert first["uses_before"] == 0
    assert first["metrics"]["trade_count"] > 0
    second = grodt("optimize", "holdout", found["study"], "--param", "ema_bars=7", home=home)
    assert second.returncode == 0, second.stderr
    assert "no evidence" in second.stdout
    shown = as_json(grodt("optimize", "show", found["study"], "--json", home=home))
    assert len(shown["holdout"]["uses"]) == 2
    # The very configuration counts among all that were ever tried.
    assert shown["ledger"]["evaluations"] == found["ledger"]["evaluations"] + 2


def test_several_objectives_make_a_front(home: Path) -> None:
    found = search(
        home,
        "--optimizer",
        "nsga2",
        "--trials",
        "60",
        "--objective",
        "total",
        "--objective",
        "vol",
        "--require",
        "none",
    )
    front = [row for row in found["table"] if row["number"] in found["pareto_front"]]
    values = np.array([[row["columns"]["total"], -row["columns"]["vol"]] for row in found["table"]])
    for row in front:
        own = np.array([row["columns"]["total"], -row["columns"]["vol"]])
        assert not ((values >= own).all(axis=1) & (values > own).any(axis=1)).any()
    shown = grodt("optimize", "show", found["study"], home=home).stdout
    assert f"{len(front):,} trials that no other beats in total and vol" in " ".join(shown.split())
    # The table has both objectives, each once, and only trials of the front.
    lines = [re.split(r"[│┃]", line) for line in shown.splitlines() if line[:1] in "│┃"]
    assert [title.strip() for title in lines[0][1:-1]] == [
        "#",
        "ema_bars",
        "stop_atr",
        "total",
        "vol",
        "drawdown",
        "trades",
    ]
    assert {int(line[1].split()[0]) for line in lines[1:]} <= set(found["pareto_front"])
    assert len(lines) == 1 + min(len(front), 10)


def test_what_misses_a_requirement_ranks_nowhere(home: Path) -> None:
    found = search(home, "--optimizer", "grid", "--require", "trade_count<=3000")
    missed = [row for row in found["table"] if row["columns"]["trade_count"] > 3_000]
    assert 0 < len(missed) < 42
    assert all(row["objectives"]["sharpe"] is None and "trade_count<=3000" in row["reason"] for row in missed)
    assert found["undefined"] == len(missed)
    assert found["best"]["columns"]["trade_count"] <= 3_000


def test_an_edited_trial_is_found(home: Path, tmp_path: Path) -> None:
    own = tmp_path / "own"
    made = grodt("data", "synth", "G1", "--bars", "20000", "--seed", "3", home=own)
    assert made.returncode == 0
    search(own, "--optimizer", "grid")
    with closing(sqlite3.connect(own / "grodt.db")) as database, database:
        database.execute(
            'update trials set results = replace(results, \'"reason":""\', \'"reason":"x"\') where number = 5'
        )
    done = grodt("optimize", "ledger", home=own)
    assert done.returncode == 1
    assert "batch 1" in done.stdout


def test_sensitivity_and_optuna_read_a_study(home: Path, tmp_path: Path) -> None:
    optuna = pytest.importorskip("optuna", reason="an optional extra")
    found = search(home, "--optimizer", "grid", "--require", "none")
    shares = as_json(grodt("optimize", "sensitivity", found["study"], "--json", home=home))
    assert set(shares) == {"ema_bars", "stop_atr"}
    assert all(-0.1 < s["first"] <= s["total"] + 0.1 for s in shares.values())
    assert 0.9 < sum(s["total"] for s in shares.values()) < 2
    file = tmp_path / "study.db"
    done = grodt("optimize", "export", found["study"], str(file), home=home)
    assert done.returncode == 0, done.stderr
    storage = optuna.storages.RDBStorage(f"sqlite:///{file}")
    study = optuna.load_study(study_name=found["study"], storage=storage)
    assert len(study.trials) == 42
    assert study.best_value == found["best"]["objectives"]["sharpe"]
    assert study.best_params == {name: found["best"]["params"][name] for name in ("ema_bars", "stop_atr")}
    storage.remove_session()
    storage.engine.dispose()
    assert grodt("optimize", "export", found["study"], str(file), home=home).returncode == 2


def test_importances_rank_the_parameter_that_matters_first(home: Path) -> None:
    pytest.importorskip("optuna", reason="an optional extra")
    # Free of costs, and stops too far to be touched: the length of the average decides, the stop next to nothing.
    space = ("--space", "ema_bars=5:200:5", "--space", "stop_atr=500:501", "--regime", "any", "--cost-scale", "0")
    arguments = ("--optimizer", "random", "--trials", "120", "--require", "none", "--objective", "trade_count")
    found = as_json(grodt("optimize", "run", "s1_trend", *BARS, *space, *arguments, "--json", home=home))
    assert next(iter(found["importances"])) == "ema_bars"
    assert found["importances"]["ema_bars"] > 0.8
    assert sum(found["importances"].values()) == pytest.approx(1)
    few = search(home, "--optimizer", "random", "--trials", "20", "--require", "none")
    assert few["importances"] is None
    assert "need 50 trials" in few["importances_reason"]
    alone = ("--space", "ema_bars=5:200", "--optimizer", "random", "--trials", "60", "--require", "none", "--json")
    one = as_json(grodt("optimize", "run", "s1_trend", *BARS, *alone, "--regime", "any", home=home))
    assert one["importances"] is None
    assert "only one is searched" in one["importances_reason"]


def test_optuna_dashboard_shows_an_exported_study(home: Path, tmp_path: Path) -> None:
    program = Path(sys.executable).with_name("optuna-dashboard")
    if not program.exists():
        pytest.skip("optuna-dashboard is not installed")
    found = search(home, "--optimizer", "random", "--trials", "30", "--require", "none")
    file = tmp_path / "study.db"
    assert grodt("optimize", "export", found["study"], str(file), home=home).returncode == 0
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [program, f"sqlite:///{file}", "--port", str(port), "--server", "wsgiref", "--quiet"]
    log = (tmp_path / "log").open("w+")
    with log, subprocess.Popen(command, stdout=log, stderr=log) as dashboard:
        try:
            deadline, studies = time.monotonic() + 60, []
            while not studies and time.monotonic() < deadline and dashboard.poll() is None:
                with (
                    suppress(OSError),
                    urllib.request.urlopen(f"http://127.0.0.1:{port}/api/studies", timeout=10) as page,
                ):
                    studies = json.loads(page.read())["study_summaries"]
                time.sleep(0.1)
            log.seek(0)
            assert [study["study_name"] for study in studies] == [found["study"]], log.read()
            address = f"http://127.0.0.1:{port}/api/studies/{studies[0]['study_id']}?after=0"
            with urllib.request.urlopen(address, timeout=10) as page:
                trials = json.loads(page.read())["trials"]
        finally:
            dashboard.terminate()
    shown = [trial["values"][0] for trial in trials]
    assert shown == [row["objectives"]["sharpe"] for row in found["table"]]


def test_gauges_can_be_scraped_while_it_runs(home: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    before = trials_in(home)
    long = ("--optimizer", "random", "--trials", "20000", "--batch", "20", "--space", "reward_risk=0.5:3.0")
    process = started(home, *long, "--metrics-port", str(port))
    try:
        deadline = time.monotonic() + 60
        while trials_in(home) < before + 40 and time.monotonic() < deadline:
            time.sleep(0.01)
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as page:
            text = page.read().decode()
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(60)
    samples = {line.split("{")[0]: float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if "{" in line}
    assert samples["grodt_search_trials_planned"] == 20_000
    assert 20 <= samples["grodt_search_trials_done"] < 20_000
    assert samples["grodt_search_trials_per_second"] > 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--space", "ema=5:60"), "no parameter ema"),
        (("--space", "ema_bars=60:5"), "low must be below high"),
        (("--space", "ema_bars=five"), "--space reads like"),
        (
            ("--space", "stop_atr=0.0:1000:0.0001", "--space", "ema_bars=1:60000", "--optimizer", "grid"),
            "widen the steps",
        ),
        (("--objective", "happiness"), "no objective"),
        (("--require", "luck>=1"), "no column luck"),
        (("--optimizer", "annealing"), "no optimizer"),
        (("--holdout", "0.95"), "from 0 to 0.9"),
        (("--space", "stop_atr=0.5:4", "--optimizer", "grid"), "needs a step"),
    ],
)
def test_bad_searches_are_refused_with_the_mend(home: Path, arguments: tuple[str, ...], message: str) -> None:
    done = grodt("optimize", "run", "s1_trend", *BARS, *arguments, home=home)
    assert done.returncode == 2
    assert message in " ".join(done.stderr.split())
