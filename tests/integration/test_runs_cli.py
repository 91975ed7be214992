"""`grodt runs`: every command, as table and as JSON, on runs that were stored."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from typer.testing import CliRunner, Result

from grodtd.adapters.storage import RunStore
from grodtd.domain.errors import ConfigError, GrodtError, StorageError
from grodtd.domain.run import Metric, Reason, RunResult
from grodtd.entrypoints.cli.main import app
from grodtd.workflows import runs
from grodtd.workflows.runs import default_database_url, export_run
from tests.contracts.test_run_store import finished

SCENARIOS = {
    "costs x2": {"total": Metric(-0.125), "sharpe": Metric(None, Reason.ZERO_VARIANCE)},
    "optimistic": {"total": Metric(0.375), "sharpe": Metric(2.0)},
}
AT = datetime(2026, 11, 23, 15, 0, tzinfo=UTC)


class Stored:
    """A home with two runs: the same bars, other parameters, costs and metrics."""

    def __init__(self, home: Path) -> None:
        self.home = home
        manifest, self.result = finished()
        self.manifests = (
            replace(manifest, result_hash="a" * 64),
            replace(
                manifest,
                params={"ema_bars": 21, "stop_atr": 2.0},
                account={**manifest.account, "costs": {"taker_bps": 20.0}},
                data_hash="0" * 64,
                result_hash="b" * 64,
            ),
        )
        store = RunStore(default_database_url(home))
        metrics = (
            {"total": Metric(0.25), "ulcer": Metric(0.01), "sharpe": Metric(1.5, low_sample=True)},
            {"total": Metric(-0.5), "ulcer": Metric(0.2), "sharpe": Metric(None, Reason.ZERO_VARIANCE)},
        )
        self.ids = [
            store.save(one, many, self.result, created_at=AT.replace(hour=15 + i), scenarios=scenarios)
            for i, (one, many, scenarios) in enumerate(zip(self.manifests, metrics, (SCENARIOS, {}), strict=True))
        ]

    def grodt(self, *arguments: str, answer: str | None = None) -> Result:
        environment = {"GRODT_HOME": str(self.home), "COLUMNS": "200", "GRODT_DATABASE_URL": None}
        return CliRunner().invoke(app, ["runs", *arguments], env=environment, input=answer)

    def text(self, *arguments: str) -> str:
        done = self.grodt(*arguments)
        assert done.exit_code == 0, done.output
        return done.stdout

    def json(self, *arguments: str) -> Any:
        return json.loads(self.text(*arguments, "--json"))

    def refusal(self, *arguments: str) -> GrodtError:
        error = self.grodt(*arguments).exception
        assert isinstance(error, GrodtError)
        return error


@pytest.fixture(name="stored")
def _stored(tmp_path: Path) -> Stored:
    return Stored(tmp_path / "home")


def test_list_filters_sorts_and_keeps_the_reason_of_what_is_undefined(stored: Stored) -> None:
    first, second = stored.ids
    newest, oldest = stored.json("list")
    assert (newest["run_id"], oldest["run_id"]) == (second, first)
    assert newest["metrics"] == {"total": -0.5, "sharpe": None}
    assert newest["metric_details"]["sharpe"] == {"value": None, "reason": "zero_variance"}
    assert oldest["metric_details"]["sharpe"] == {"value": 1.5, "low_sample": True}
    assert newest["params"] == {"ema_bars": 21, "stop_atr": 2.0}
    # Best first: the greatest return, but the smallest ulcer index; undefined last.
    for metric in ("total", "ulcer", "sharpe"):
        assert [run["run_id"] for run in stored.json("list", "--sort", metric)] == [first, second]
    assert stored.json("list", "--symbol", "other") == []
    assert len(stored.json("list", "--limit", "1")) == 1
    table = stored.text("list", "--sort", "ulcer")
    assert first in table
    assert "25.00%" in table
    assert "ema_bars=21" in table
    assert "no runs yet" in stored.text("list", "--strategy", "other")
    assert isinstance(stored.refusal("list", "--sort", "shapre"), ConfigError)


def test_show_has_everything(stored: Stored) -> None:
    found = stored.json("show", "20261123T15")
    assert found["run_id"] == stored.ids[0]
    assert found["created_at"] == "2026-11-23T15:00:00+00:00"
    assert found["manifest"] == stored.manifests[0].as_dict()
    assert found["n_trades"] == len(stored.result.trades)
    assert found["counters"] == stored.result.counters
    assert found["metrics"] == {"total": 0.25, "ulcer": 0.01, "sharpe": 1.5}
    assert found["scenarios"] == {
        "costs x2": {"total": -0.125, "sharpe": None},
        "optimistic": {"total": 0.375, "sharpe": 2.0},
    }
    assert found["scenario_details"]["costs x2"]["sharpe"] == {"value": None, "reason": "zero_variance"}
    assert found["warnings"] == ["borrow_not_modelled"]
    table = stored.text("show", "20261123T15")
    for text in ("costs x2", "-12.50%", "optimistic", "37.50%", "paid no borrowing cost"):
        assert text in table
    assert stored.json("show", stored.ids[1])["scenarios"] == {}
    shown = stored.text("show", stored.ids[1])
    assert "the returns do not vary" in shown
    assert "b" * 64 in shown


def test_show_says_where_trading_stopped_and_copes_with_metrics_of_another_version(stored: Stored) -> None:
    stopped: RunResult = replace(stored.result, stopped=(1_234, "ruin"))
    manifest = replace(stored.manifests[0], result_hash="c" * 64)
    store = RunStore(default_database_url(stored.home))
    run_id = store.save(manifest, {"of_old": Metric(1.25)}, stopped, created_at=AT)
    assert stored.json("show", run_id)["stopped"] == [1_234, "ruin"]
    shown = stored.text("show", run_id)
    assert "bar 1,234: ruin" in shown
    assert "of_old" in shown
    assert "of_old" in stored.text("compare", run_id, stored.ids[0])


def test_show_repeats_the_warnings_stored_with_the_run(stored: Stored) -> None:
    settings = {"warnings": ["ambiguous_share", "of_old"]}
    manifest = replace(stored.manifests[0], settings=settings, result_hash="d" * 64)
    run_id = RunStore(default_database_url(stored.home)).save(manifest, {}, stored.result, created_at=AT)
    assert stored.json("show", run_id)["warnings"] == ["ambiguous_share", "of_old"]
    shown = stored.text("show", run_id)
    assert "unreliable: over 1 % of trades" in shown
    assert "of_old: see the version that stored this run" in shown


def test_compare_says_what_differs(stored: Stored) -> None:
    found = stored.json("compare", *stored.ids)
    assert found["runs"] == stored.ids
    assert found["metrics"]["total"] == [0.25, -0.5]
    assert found["metric_details"]["sharpe"][1] == {"value": None, "reason": "zero_variance"}
    assert found["is_same_result"] is False
    taker = stored.manifests[0].account["costs"]["taker_bps"]  # type: ignore[index]  # it is a mapping
    assert found["differences"]["params.ema_bars"] == [9, 21]
    assert found["differences"]["account.costs.taker_bps"] == [taker, 20.0]
    assert found["differences"]["data_hash"] == [stored.manifests[0].data_hash, "0" * 64]
    assert found["differences"]["account.costs.maker_bps"] == [10, None]
    assert "params.stop_atr" not in found["differences"]
    table = stored.text("compare", *stored.ids)
    assert "params.ema_bars" in table
    assert "-50.00%" in table


def test_compare_recognises_the_same_run(stored: Stored) -> None:
    again = RunStore(default_database_url(stored.home)).save(stored.manifests[0], {}, stored.result, created_at=AT)
    assert again == f"{stored.ids[0]}-2"
    found = stored.json("compare", stored.ids[0], again)
    assert (found["differences"], found["is_same_result"]) == ({}, True)
    table = stored.text("compare", stored.ids[0], again)
    assert "the same result" in table
    assert "the manifests are the same" in table
    assert "two different runs or more" in str(stored.refusal("compare", again, again))


def test_delete_asks_and_takes_all_or_nothing(stored: Stored) -> None:
    first, second = stored.ids
    assert "there is no run 'x'" in str(stored.refusal("delete", first, "x", "--yes"))
    refused = stored.grodt("delete", first, answer="n\n")
    assert refused.exit_code == 1
    assert f"delete {first} for good?" in refused.stderr
    assert len(stored.json("list")) == 2
    assert stored.grodt("delete", first, answer="y\n").exit_code == 0
    assert stored.json("delete", second, second, "--yes") == {"deleted": [second]}
    assert stored.json("list") == []


@pytest.mark.parametrize("file_format", ["parquet", "csv", "json"])
def test_export_writes_the_run_to_the_bit(stored: Stored, tmp_path: Path, file_format: str) -> None:
    run_id = stored.ids[0]
    files = stored.json("export", run_id, str(tmp_path / "out"), "--format", file_format)["files"]
    folder = tmp_path / "out" / run_id
    names = ["equity." + file_format, "manifest.json", "metrics.json", "scenarios.json", "trades." + file_format]
    assert files == [str(folder / name) for name in names]
    assert [path.name for path in (tmp_path / "out").iterdir()] == [run_id]  # nothing temporary is left
    assert json.loads((folder / "manifest.json").read_text()) == stored.manifests[0].as_dict()
    assert json.loads((folder / "scenarios.json").read_text())["optimistic"]["total"] == {"value": 0.375}
    assert json.loads((folder / "metrics.json").read_text())["sharpe"] == {"value": 1.5, "low_sample": True}

    read: dict[str, Callable[..., pl.DataFrame]] = {
        "parquet": pl.read_parquet,
        "csv": pl.read_csv,
        "json": pl.read_json,
    }
    equity, trades = (read[file_format](folder / f"{name}.{file_format}") for name in ("equity", "trades"))
    assert equity["equity"].to_list() == stored.result.equity.tolist()
    # 1970-01-01 00:00 is the open of the first bar, its close is what the mark is of.
    first = {"parquet": datetime(1970, 1, 1, 0, 1, tzinfo=UTC)}.get(file_format, "1970-01-01T00:01:00Z")
    assert equity["time"][0] == first
    made = stored.result.trades
    for name in ("pnl", "gross_pnl", "slippage", "fees", "qty", "entry_price"):
        assert trades[name].to_list() == getattr(made, name).tolist(), name
    stops = [None if math.isnan(stop) else stop for stop in made.stop.tolist()]
    assert trades["stop"].to_list() == stops
    assert set(trades["exit_reason"]) <= {"STOP_LOSS", "TAKE_PROFIT", "TRAIL", "SIGNAL", "REVERSE", "END_OF_DATA"}


def test_export_refuses_what_it_cannot_do_whole(
    stored: Stored, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    assert "'xls' is not one of parquet, csv, json" in str(
        stored.refusal("export", stored.ids[0], str(out), "--format", "xls")
    )

    def full_disk(*_: object) -> None:
        raise OSError(28, "No space left on device")

    url = default_database_url(stored.home)
    with monkeypatch.context() as patched:
        patched.setattr(runs, "_write", full_disk)
        with pytest.raises(StorageError, match="No space left"):
            export_run(url, stored.ids[0], out)
    assert list(out.iterdir()) == []
    export_run(url, stored.ids[0], out)
    assert "is there already" in str(stored.refusal("export", stored.ids[0], str(out)))
    (tmp_path / "file").write_text("")
    assert "cannot be written" in str(stored.refusal("export", stored.ids[0], str(tmp_path / "file")))


def test_migrate_and_the_database_url(stored: Stored, tmp_path: Path) -> None:
    assert stored.json("migrate") == {"revision": "0005"}
    assert stored.text("migrate") == "schema 0005\n"
    other = f"sqlite:///{tmp_path / 'other.db'}"
    assert stored.json("list", "--database-url", other) == []
    assert (tmp_path / "other.db").is_file()


@pytest.mark.parametrize("folder", ["plain", "a b", "100%41", "what?", "é#&", "sub/folder"])
def test_any_home_folder_will_do(tmp_path: Path, folder: str) -> None:
    assert list(RunStore(default_database_url(tmp_path / folder)).list()) == []
    assert (tmp_path / folder / "grodt.db").is_file()


def test_every_command_explains_itself_with_examples(stored: Stored) -> None:
    for command in ("list", "show", "compare", "delete", "export", "migrate"):
        shown = stored.text(command, "--help")
        assert f"grodt runs {command}" in shown.split("Examples:")[1]
