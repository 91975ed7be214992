"""The command line as a user meets it: a new process, exit codes, messages, one JSON object."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from grodtd.domain.kernel import JIT_DISABLED

pytestmark = pytest.mark.skipif(
    JIT_DISABLED, reason="interpreted engines are too slow for whole runs; the kernels are compared elsewhere"
)


def grodt(*arguments: str, home: Path) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("GRODT_")}
    return subprocess.run(
        [sys.executable, "-m", "grodtd", *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={**environment, "GRODT_HOME": str(home), "COLUMNS": "160"},
    )


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("home")
    made = grodt("data", "synth", "G1", "--bars", "20000", "--seed", "3", home=folder)
    assert made.returncode == 0, made.stderr
    return folder


SYNTHETIC = ("--venue", "synthetic", "--symbol", "G1")


def run_json(home: Path, *arguments: str) -> dict[str, Any]:
    done = grodt("backtest", "s1_trend", *SYNTHETIC, *arguments, "--json", home=home)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_json_is_one_object_with_run_id_metrics_trades_and_manifest(home: Path) -> None:
    found = run_json(home)
    assert found["run_id"]
    assert {"total", "sharpe", "max_drawdown", "trade_count", "cost_drag"} <= set(found["metrics"])
    assert len(found["trades"]) == found["metrics"]["trade_count"] > 100
    assert found["manifest"]["params"] == {"ema_bars": 9, "atr_bars": 14, "stop_atr": 2.0, "reward_risk": 1.5}
    assert "borrow_not_modelled" not in found["warnings"]
    assert found["metrics"]["borrow_cost"] > 0  # shorts on a spot market
    assert found["ledger"]["gross"] == pytest.approx(found["metrics"]["gross_pnl"])
    assert (
        found["scenarios"]["costs x0.5"]["total"] > found["metrics"]["total"] > found["scenarios"]["costs x2"]["total"]
    )
    assert found["scenarios"]["optimistic"]["total"] >= found["metrics"]["total"]
    # The trades explain the equity: initial capital plus their net profit is the total return.
    net = sum(trade["pnl"] for trade in found["trades"])
    assert net / 100_000 == pytest.approx(found["metrics"]["total"], rel=1e-9)


# A stop and a target of a fraction of an ordinary bar: many bars touch both.
AMBIGUOUS = ("--regime", "any", "--param", "stop_atr=0.2", "--sizing", "mode=fraction", "--sizing", "fraction=0.01")


def test_scenarios_are_stored_and_bracket_what_bars_leave_open(home: Path) -> None:
    pessimistic = run_json(home, *AMBIGUOUS)
    assert pessimistic["metrics"]["ambiguous_share"] > 0.01
    assert "ambiguous_share" in pessimistic["warnings"]
    stored = json.loads(grodt("runs", "show", pessimistic["run_id"], "--json", home=home).stdout)
    for name in ("scenarios", "scenario_details", "warnings"):
        assert stored[name] == pessimistic[name]
    assert list(stored["scenarios"]) == ["costs x0.5", "costs x2", "pessimistic", "optimistic"]
    done = grodt("verify", pessimistic["run_id"], home=home)
    assert done.returncode == 0, done.stdout

    # Each end is what a run with that rule gives, whichever rule the run itself follows.
    optimistic = run_json(home, *AMBIGUOUS, "--rule", "same_bar=target_first", "--no-store")
    path = run_json(home, *AMBIGUOUS, "--rule", "same_bar=ohlc_path", "--no-store")
    assert optimistic["metrics"]["net_pnl"] > pessimistic["metrics"]["net_pnl"]
    for found in (pessimistic, optimistic, path):
        for end, run in (("pessimistic", pessimistic), ("optimistic", optimistic)):
            values = found["scenarios"][end]
            assert values == {name: run["metrics"][name] for name in values}

    # Costs of a scenario are those of a run with that scale.
    doubled = run_json(home, *AMBIGUOUS, "--cost-scale", "2", "--no-store")
    values = pessimistic["scenarios"]["costs x2"]
    assert values == {name: doubled["metrics"][name] for name in values}


WHAT_IS_LOADED = """
import sys
sys.argv = ["grodt", *sys.argv[1:]]
from grodtd.__main__ import main
try:
    main()
finally:
    print("loaded:", *sorted({"scipy.linalg", "sqlalchemy", "plotly", "numba.np.linalg"} & set(sys.modules)))
"""


def test_a_run_loads_only_what_it_uses(home: Path) -> None:
    given = ["backtest", "s1_trend", *SYNTHETIC, "--home", str(home), "--no-store"]
    run = [sys.executable, "-c", WHAT_IS_LOADED, *given]
    for _ in range(2):  # the first may have to compile
        done = subprocess.run(run, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "loaded:"


def test_a_parameter_changes_the_result_and_the_manifest(home: Path) -> None:
    base, changed = run_json(home, "--no-store"), run_json(home, "--no-store", "--param", "ema_bars=21")
    assert base["run_id"] is None
    assert changed["manifest"]["params"]["ema_bars"] == 21
    assert changed["manifest"]["result_hash"] != base["manifest"]["result_hash"]


def test_costs_hurt_and_direction_holds(home: Path) -> None:
    free = run_json(home, "--no-store", "--cost-scale", "0")
    paid = run_json(home, "--no-store", "--cost-scale", "2")
    assert free["metrics"]["fees"] == 0
    assert paid["metrics"]["total"] < free["metrics"]["total"]
    long_only = run_json(home, "--no-store", "--direction", "long_only")
    assert {trade["side"] for trade in long_only["trades"]} == {"long"}


def test_a_run_without_a_trade_says_why(tmp_path: Path) -> None:
    # These minutes are all in one regime, ranging.
    assert grodt("data", "synth", "G1", "--bars", "400", "--seed", "3", home=tmp_path).returncode == 0
    found = run_json(tmp_path, "--regime", "trending", "--no-store")
    assert found["metrics"]["trade_count"] == 0
    assert found["warnings"] == ["gate_closed"]
    shown = grodt("backtest", "s1_trend", *SYNTHETIC, "--regime", "trending", "--no-store", home=tmp_path).stdout
    assert "gate_closed: nothing was traded" in shown
    assert run_json(tmp_path, "--regime", "ranging", "--no-store")["metrics"]["trade_count"] > 0
    # A price that never moves is never above or below its averages.
    lines = [f"{1_700_000_040_000 + 60_000 * minute},100,100,100,100,1" for minute in range(600)]
    (tmp_path / "flat.csv").write_text("\n".join(["timestamp,open,high,low,close,volume", *lines]))
    series = ["--venue", "binance", "--symbol", "FLATUSDT", "--timeframe", "1m"]
    imported = grodt("data", "import", str(tmp_path / "flat.csv"), *series, home=tmp_path)
    assert imported.returncode == 0, imported.stderr
    done = grodt("backtest", "s1_trend", *series, "--regime", "any", "--no-store", "--json", home=tmp_path)
    assert "never_wanted" in json.loads(done.stdout)["warnings"], done.stderr


def test_verify_runs_it_again_whatever_the_number_of_threads(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run_id = run_json(home)["run_id"]
    for threads in ("1", "2"):
        monkeypatch.setenv("NUMBA_NUM_THREADS", threads)
        monkeypatch.setenv("POLARS_MAX_THREADS", threads)
        done = grodt("verify", run_id, "--json", home=home)
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["is_same"] is True


def test_verify_says_no_when_the_stored_hash_is_another(home: Path) -> None:
    import sqlite3

    run_id = run_json(home, "--param", "ema_bars=33")["run_id"]
    true_hash = json.loads(grodt("runs", "show", run_id, "--json", home=home).stdout)["manifest"]["result_hash"]
    with closing(sqlite3.connect(home / "grodt.db")) as database, database:
        tables = [row[0] for row in database.execute("select name from sqlite_master where type = 'table'")]
        changed = 0
        for table in tables:
            columns = [row[1] for row in database.execute(f"pragma table_info({table})")]
            for column in columns:
                changed += database.execute(
                    f"update {table} set {column} = replace({column}, ?, ?) where {column} like ?",  # noqa: S608
                    (true_hash, "0" * 64, f"%{true_hash}%"),
                ).rowcount
    database.close()
    assert changed >= 1
    done = grodt("verify", run_id, home=home)
    assert done.returncode == 1
    assert "DIFFERENT" in done.stdout


def test_the_report_is_written_and_named(home: Path, tmp_path: Path) -> None:
    report = tmp_path / "report.html"
    done = grodt("backtest", "s1_trend", *SYNTHETIC, "--report", str(report), home=home)
    assert done.returncode == 0, done.stderr
    assert str(report) in done.stdout
    assert report.read_text().lstrip().lower().startswith("<!doctype html>")


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("backtest", "s9", *SYNTHETIC), 4, "no strategy named 's9'; there are: buy_and_hold, random_entry, s1_trend"),
        (("backtest", "s1_trend", *SYNTHETIC, "--param", "ema_bars=0"), 4, "ema"),
        (("backtest", "s1_trend", *SYNTHETIC, "--param", "nope=1"), 4, "has no parameter nope"),
        (("backtest", "s1_trend", *SYNTHETIC, "--param", "ema_bars"), 2, "--param takes name=value"),
        (("backtest", "s1_trend", *SYNTHETIC, "--from", "yesterday"), 2, "is not a date or time"),
        (("backtest", "s1_trend", *SYNTHETIC, "--sizing", "max_gross=3"), 2, "max_gross 3 borrows money"),
        (("backtest", "s1_trend", *SYNTHETIC, "--costs", "nowhere"), 2, "no costs for 'nowhere'"),
        (("backtest", "s1_trend", "--venue", "binance", "--symbol", "BTCUSDT"), 3, "data import"),
        (("backtest", "s1_trend", *SYNTHETIC, "--from", "2099-01-01"), 3, ""),
        (("verify", "nothing"), 6, "nothing"),
    ],
)
def test_what_cannot_work_says_why_and_exits_with_its_code(
    home: Path, arguments: tuple[str, ...], code: int, message: str
) -> None:
    done = grodt(*arguments, home=home)
    assert done.returncode == code, done.stdout + done.stderr
    assert message in done.stderr
    assert done.stderr.startswith("grodt: ")
    assert "Traceback" not in done.stderr


def test_an_unknown_engine_is_refused_before_anything_runs(home: Path) -> None:
    done = grodt("backtest", "s1_trend", *SYNTHETIC, "--engine", "vbt", home=home)
    assert done.returncode == 2
    assert "'vbt' is not one of 'strict', 'vectorbt', 'vectorbt-signals'" in done.stderr
    assert "run " not in done.stdout


def test_help_imports_nothing_heavy(home: Path) -> None:
    program = (
        "import sys\n"
        "from grodtd.entrypoints.cli.main import app\n"
        "heavy = {'numpy', 'numba', 'polars', 'sqlalchemy', 'pydantic', 'yaml', 'plotly', 'ccxt'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for command in ((), ("backtest",), ("verify",), ("data",), ("runs",)):
        shown = grodt(*command, "--help", home=home)
        assert shown.returncode == 0
        assert "Usage" in shown.stdout


def test_version(home: Path) -> None:
    assert grodt("--version", home=home).stdout.startswith("grodt 0.")
