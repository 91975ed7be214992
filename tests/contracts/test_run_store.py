"""One contract for stored runs, on SQLite always and on a real PostgreSQL where there is one."""

from __future__ import annotations

import multiprocessing
import os
import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from grodtd.adapters.storage import RunStore, run_store, tables
from grodtd.domain.bars import Bars
from grodtd.domain.errors import StorageError
from grodtd.domain.market import Account, Costs, Instrument, Sizing
from grodtd.domain.run import Manifest, Metric, Reason, RunResult
from grodtd.execution.fills import fill_orders
from tests.reference.paths import random_path

NOW = datetime(2026, 11, 23, 15, 0, tzinfo=UTC)
METRICS = {
    "total": Metric(0.1 + 0.2),  # a float with all its digits
    "sharpe": Metric(1.5, low_sample=True),
    "cagr": Metric(0.5, extrapolated=True, note="short"),
    "sortino": Metric(None, Reason.NO_LOSSES),
}


def finished(seed: int = 3, n: int = 2_000) -> tuple[Manifest, RunResult]:
    bars, side, bracket, _ = random_path(seed, n_bars=n)
    bars = Bars(bars.time, bars.open, bars.high, bars.low, bars.close, bars.volume, venue="test", symbol="TEST")
    sizing = Sizing("fraction", fraction=0.1)
    account = Account(Instrument("test", "TEST"), Costs(10, 10, 0.5, 0.5), sizing)
    result = fill_orders(bars, side, bracket, account)
    manifest = Manifest(
        command="backtest",
        strategy="s1_trend",
        params={"ema_bars": 9, "stop_atr": 2.0},
        venue="test",
        symbol="TEST",
        timeframe="1m",
        start="1970-01-01 00:00:00",
        end="1970-01-02 00:00:00",
        n_bars=len(bars),
        data_hash=bars.content_hash(),
        strategy_code_hash="a" * 64,
        engine_code_hash="b" * 64,
        account=account.as_dict(),
        seed=None,
        versions={"numpy": "2"},
        result_hash=result.content_hash(),
        settings={"warnings": ["borrow_not_modelled"]},
    )
    return manifest, result


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)], name="url")
def _url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'runs.db'}"
        return
    url = os.environ.get("GRODT_TEST_POSTGRES_URL")
    if not url:
        message = "no PostgreSQL: set GRODT_TEST_POSTGRES_URL (scripts/postgres-for-tests.sh start prints one)"
        if os.environ.get("GRODT_REQUIRE_POSTGRES") == "1":
            pytest.fail(message)
        pytest.skip(message)
    # A schema of its own, so that tests in other processes do not meet.
    name = f"t{os.getpid()}"
    admin = sa.create_engine(sa.make_url(url).set(drivername="postgresql+psycopg"))
    with admin.begin() as connection:
        connection.execute(sa.text(f"drop schema if exists {name} cascade"))
        connection.execute(sa.text(f"create schema {name}"))
    yield f"{url}?options=-csearch_path%3D{name}"
    with admin.begin() as connection:
        connection.execute(sa.text(f"drop schema {name} cascade"))
    admin.dispose()


@pytest.fixture(name="store")
def _store(url: str) -> Iterator[RunStore]:
    made = RunStore(url)
    made.migrate()
    yield made
    made.engine().dispose()


def test_a_run_comes_back_as_it_was_to_the_bit(store: RunStore) -> None:
    manifest, result = finished()
    run_id = store.save(manifest, METRICS, result, created_at=NOW)
    assert run_id == f"20261123T150000-{manifest.result_hash[:8]}"
    stored = store.get(run_id)
    assert stored.created_at == NOW
    assert stored.metrics == METRICS
    assert list(stored.metrics) == list(METRICS)
    assert stored.manifest.as_dict() == manifest.as_dict()

    trades, equity = store.trades(run_id), store.equity(run_id)
    assert trades.height == len(result.trades) > 50
    for name in ("qty", "entry_price", "exit_price", "entry_fee", "exit_fee", "pnl", "entry_bar", "exit_bar"):
        np.testing.assert_array_equal(trades[name], getattr(result.trades, name))
    assert trades["stop"].null_count() == int(np.isnan(result.trades.stop).sum()) > 0
    np.testing.assert_array_equal(trades["exit_at"].to_physical(), result.bars.time[result.trades.exit_bar])
    np.testing.assert_array_equal(equity["equity"], result.equity)
    np.testing.assert_array_equal(equity["qty"], result.qty)


def test_daily_marks_are_the_last_of_each_day(store: RunStore) -> None:
    manifest, result = finished()
    run_id = store.save(manifest, METRICS, result, created_at=NOW)
    with store.engine().connect() as connection:
        rows = connection.execute(sa.select(tables.equity_days).order_by(tables.equity_days.c.time_us)).all()
    days = np.unique(result.bars.time // 86_400_000_000)
    assert [row.run_id for row in rows] == [run_id] * days.size
    assert rows[-1].equity == result.equity[-1]


def test_the_same_result_twice_in_a_second_gets_another_id(store: RunStore) -> None:
    manifest, result = finished()
    first, second, third = (store.save(manifest, METRICS, result, created_at=NOW) for _ in range(3))
    assert (second, third) == (f"{first}-2", f"{first}-3")
    assert store.resolve(first) == first  # although it begins the others


def test_listing_filters_sorts_and_puts_the_undefined_last(store: RunStore) -> None:
    manifest, result = finished()
    ids = [
        store.save(
            replace(manifest, symbol=symbol, result_hash=str(i) * 64),
            {**METRICS, "sortino": Metric(value) if value is not None else Metric(None, Reason.NO_LOSSES)},
            result,
            created_at=NOW + timedelta(seconds=i),
        )
        for i, (symbol, value) in enumerate((("A", 1.0), ("B", None), ("A", 3.0)))
    ]
    assert [r.run_id for r in store.list()] == ids[::-1]
    assert [r.run_id for r in store.list(symbol="A")] == [ids[2], ids[0]]
    assert [r.run_id for r in store.list(sort_by="sortino")] == [ids[2], ids[0], ids[1]]
    assert [r.run_id for r in store.list(limit=1)] == [ids[2]]
    assert store.list(strategy="other") == []
    assert store.list(show=["total"])[0].metrics == {"total": 0.1 + 0.2}


def test_prefixes_resolve_or_say_why_not(store: RunStore) -> None:
    manifest, result = finished()
    one = store.save(manifest, METRICS, result, created_at=NOW)
    two = store.save(manifest, METRICS, result, created_at=NOW + timedelta(days=1))
    assert store.resolve(one[:10]) == one
    with pytest.raises(StorageError, match=f"more than one run \\({one}, {two}\\) starts with '2026'"):
        store.resolve("2026")
    with pytest.raises(StorageError, match="no run starts with 'x'"):
        store.resolve("x")
    with pytest.raises(StorageError, match="no run starts with '%'"):
        store.resolve("%")  # no wildcard of the user's
    with pytest.raises(StorageError, match="there is no run 'x'"):
        store.get("x")
    with pytest.raises(StorageError, match="there is no run 'x'"):
        store.equity("x")


def test_deleting_takes_everything_along(store: RunStore) -> None:
    manifest, result = finished()
    kept = store.save(manifest, METRICS, result, created_at=NOW)
    gone = store.save(manifest, METRICS, result, created_at=NOW + timedelta(days=1))
    assert store.delete([gone]) == 1
    with store.engine().connect() as connection:
        for table in tables.metadata.sorted_tables:
            assert set(connection.execute(sa.select(table.c.run_id)).scalars()) == {kept}, table.name


def test_a_failure_half_way_stores_nothing(store: RunStore, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest, result = finished()
    monkeypatch.setattr(run_store, "_day_rows", lambda *_: [{"run_id": "nobody", "time_us": 0, "equity": 0.0}])
    with pytest.raises(StorageError, match="nothing was changed"):  # the foreign key refuses it
        store.save(manifest, METRICS, result, created_at=NOW)
    assert store.list() == []


def test_models_and_migrations_agree_and_can_go_back(store: RunStore) -> None:
    with store.engine().connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), tables.metadata) == []
    assert store.revision() == run_store.HEAD
    store.migrate()  # again: nothing to do
    store.migrate("base")
    with store.engine().connect() as connection:
        assert set(sa.inspect(connection).get_table_names()) <= {"alembic_version"}
    store.migrate()
    assert store.list() == []


def test_head_is_the_last_migration() -> None:
    scripts = ScriptDirectory(str(Path(run_store.__file__).parent / "migrations"))
    assert scripts.get_heads() == [run_store.HEAD]


def test_runs_without_trades_or_metrics_are_stored_too(store: RunStore) -> None:
    manifest, result = finished()
    idle = fill_orders(result.bars, np.zeros(2_000, dtype=np.int8), np.full((3, 2_000), np.nan), result.account)
    run_id = store.save(manifest, {}, idle, created_at=NOW)
    assert store.trades(run_id).height == 0
    assert store.get(run_id).metrics == {}


def test_a_damaged_curve_is_noticed(store: RunStore) -> None:
    manifest, result = finished()
    run_id = store.save(manifest, METRICS, result, created_at=NOW)
    with store.engine().begin() as connection:
        connection.execute(tables.equity.update().values(parquet=b"not what it was"))
    with pytest.raises(StorageError, match="equity curve of run .* is damaged"):
        store.equity(run_id)


def test_sqlite_makes_its_schema_itself_and_postgresql_waits_to_be_told(url: str) -> None:
    store = RunStore(url)
    if store.is_sqlite:
        assert store.list() == []
        assert store.revision() == run_store.HEAD
    else:
        with pytest.raises(StorageError, match="has schema none, this version needs 0001; run `grodt runs migrate`"):
            store.list()
    store.engine().dispose()


def _save_one(url: str, seed: int) -> None:
    manifest, result = finished(seed)
    RunStore(url).save(manifest, METRICS, result, created_at=NOW)


def test_two_processes_may_save_at_once_even_on_first_use(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'new.db'}"
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_save_one, args=(url, seed)) for seed in (3, 4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(120)
    assert [worker.exitcode for worker in workers] == [0, 0]
    assert len(RunStore(url).list()) == 2


def test_passwords_are_never_shown(tmp_path: Path) -> None:
    store = RunStore("postgresql://user:secret@127.0.0.1:1/none")
    assert "secret" not in repr(store)
    with pytest.raises(StorageError) as caught:
        store.list()
    assert "secret" not in str(caught.value)
    with pytest.raises(StorageError, match="cannot be opened"):
        RunStore("nonsense")
    file = tmp_path / "other.db"
    with sqlite3.connect(file) as connection:
        connection.execute("create table alembic_version (version_num text)")
        connection.execute("insert into alembic_version values ('9999')")
    connection.close()
    with pytest.raises(StorageError, match="cannot be brought to schema head"):
        RunStore(f"sqlite:///{file}").list()
