"""One contract for stored runs, on SQLite always and on a real PostgreSQL where there is one."""

from __future__ import annotations

import math
import multiprocessing
import os
import struct
from collections.abc import Iterator
from dataclasses import fields, replace
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any, NoReturn

import numpy as np
import polars as pl
import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from grodtd.adapters.storage import RunStore
from grodtd.adapters.storage.migrations import downgrade
from grodtd.adapters.storage.schema import METADATA, REVISIONS
from grodtd.domain.bars import Bars
from grodtd.domain.errors import StorageError
from grodtd.domain.market import Account, Costs, Instrument, Sizing
from grodtd.domain.run import ExitReason, Manifest, Metric, Reason, RunResult, Trades
from grodtd.execution.fills import fill_orders
from tests.reference.paths import random_path

NOW = datetime(2026, 11, 23, 15, 0, tzinfo=UTC)
METRICS = {
    "total": Metric(0.1 + 0.2),  # a float with all its digits
    "sharpe": Metric(1.5, low_sample=True),
    "cagr": Metric(0.5, extrapolated=True, note="short"),
    "sortino": Metric(None, Reason.NO_LOSSES),
}
SCENARIOS = {
    "costs x2": {"total": Metric(-0.0), "sharpe": Metric(None, Reason.ZERO_VARIANCE)},
    "optimistic": {"total": Metric(0.1 + 0.2, low_sample=True), "sharpe": Metric(1e-320, extrapolated=True, note="n")},
}


def finished(seed: int = 5, n: int = 2_000) -> tuple[Manifest, RunResult]:
    bars, side, bracket = random_path(seed, n_bars=n)[:3]
    time = np.arange(n) * 60_000_000
    bars = Bars(time, bars.open, bars.high, bars.low, bars.close, bars.volume, venue="test", symbol="TEST")
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
def _url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An empty database."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path_factory.mktemp('database') / 'runs.db'}"
        return
    url: str = request.getfixturevalue("postgres_server")
    # A schema of its own, so that tests in other processes do not meet.
    name = f"t{os.getpid()}"
    admin = engine_of(url)
    with admin.begin() as connection:
        connection.execute(sa.text(f"drop schema if exists {name} cascade"))
        connection.execute(sa.text(f"create schema {name}"))
    yield f"{url}?options=-csearch_path%3D{name}"
    with admin.begin() as connection:
        connection.execute(sa.text(f"drop schema {name} cascade"))


@pytest.fixture(name="store")
def _store(url: str) -> RunStore:
    made = RunStore(url)
    made.migrate()
    return made


@pytest.fixture(name="engine")
def _engine(store: RunStore, url: str) -> sa.Engine:
    """What is behind the store, seen without it."""
    return engine_of(url)


def engine_of(url: str) -> sa.Engine:
    parsed = sa.make_url(url)
    driver = "postgresql+psycopg" if parsed.drivername == "postgresql" else parsed.drivername
    return sa.create_engine(parsed.set(drivername=driver), poolclass=sa.NullPool)


def rows_by_table(engine: sa.Engine) -> dict[str, int]:
    with engine.connect() as connection:
        return {
            table.name: connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one()
            for table in METADATA.sorted_tables
        }


def bits(value: float) -> bytes:
    return struct.pack("<d", value)


def with_nan(column: pl.Series) -> np.ndarray[Any, Any]:
    """As `Trades` has it: nan for null. Only floats may be null."""
    return (column.fill_null(math.nan) if column.dtype == pl.Float64 else column).to_numpy()


def test_a_run_comes_back_as_it_was_to_the_bit(store: RunStore) -> None:
    manifest, result = finished()
    # A rebate times no costs is minus zero, which compares equal to zero but has another hash.
    minus_zero = np.full(len(result.trades), -0.0)
    result = replace(result, trades=replace(result.trades, entry_fee=minus_zero), stopped=(1_999, "min_notional"))
    manifest = replace(manifest, result_hash=result.content_hash())
    run_id = store.save(manifest, METRICS, result, created_at=NOW)
    assert run_id == f"20261123T150000-{manifest.result_hash[:8]}"

    stored = store.get(run_id)
    assert stored.run_id == run_id
    assert stored.created_at == NOW
    assert stored.metrics == METRICS
    assert list(stored.metrics) == list(METRICS)
    assert stored.manifest == manifest
    assert stored.n_trades == len(result.trades) > 50

    # Whatever the database holds hashes to what went in: equity, positions, every column of the trades, counters.
    trades, equity = store.trades(run_id), store.equity(run_id)
    codes = {reason.name: int(reason) for reason in ExitReason}
    names = trades["exit_reason"].to_list()
    columns = {f.name: with_nan(trades[f.name]) for f in fields(Trades) if f.name != "exit_reason"}
    again = replace(
        result,
        equity=equity["equity"].to_numpy(),
        qty=equity["qty"].to_numpy(),
        held=equity["held"].to_numpy(),
        trades=Trades(**columns, exit_reason=np.array([codes[name] for name in names], dtype=np.int8)),
        counters=stored.counters,
        stopped=stored.stopped,
    )
    assert again.content_hash() == manifest.result_hash

    interval_us, time = 60_000_000, result.bars.time
    assert trades["number"].to_list() == list(range(len(result.trades)))
    np.testing.assert_array_equal(trades["decided_at"].to_physical(), time[result.trades.decision_bar] + interval_us)
    np.testing.assert_array_equal(trades["entry_bar_at"].to_physical(), time[result.trades.entry_bar])
    np.testing.assert_array_equal(trades["exit_bar_at"].to_physical(), time[result.trades.exit_bar])
    np.testing.assert_array_equal(equity["time"].to_physical(), time + interval_us)
    assert {trades[n].dtype for n in trades.columns if n.endswith("_at")} == {pl.Datetime("us", "UTC")}


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=40))
def test_every_finite_float_survives(store: RunStore, values: list[float]) -> None:
    run_id = store.save(*with_metrics({f"m{i}": Metric(v) for i, v in enumerate(values)}), created_at=NOW)
    found = [metric.value for metric in store.get(run_id).metrics.values()]
    assert [bits(v) for v in found if v is not None] == [bits(v) for v in values]


def with_metrics(metrics: dict[str, Metric]) -> tuple[Manifest, dict[str, Metric], RunResult]:
    manifest, result = finished(n=50)
    return manifest, metrics, result


def test_scenarios_come_back_to_the_bit_in_their_order(store: RunStore, engine: sa.Engine) -> None:
    manifest, result = finished(n=50)
    run_id = store.save(manifest, METRICS, result, created_at=NOW, scenarios=SCENARIOS)
    found = store.get(run_id).scenarios
    assert found == SCENARIOS
    assert [list(found), list(found["costs x2"])] == [["costs x2", "optimistic"], ["total", "sharpe"]]
    zero = found["costs x2"]["total"].value
    assert zero is not None
    assert bits(zero) == bits(-0.0)
    assert store.get(run_id).manifest == manifest  # the manifest makes them again, it does not hold them
    assert store.get(store.save(manifest, METRICS, result, created_at=NOW)).scenarios == {}
    with engine.begin() as connection:
        connection.exec_driver_sql('update runs set scenarios = \'{"later": {"total": {"value": 1}}}\'')
    with pytest.raises(StorageError, match="metric total of run .* cannot be read: .*reason.*; update grodt"):
        store.get(run_id)


def test_a_run_of_an_older_schema_loads_without_scenarios(store: RunStore, engine: sa.Engine) -> None:
    manifest, result = finished(n=50)
    run_id = store.save(manifest, METRICS, result, created_at=NOW, scenarios=SCENARIOS)
    with engine.begin() as connection:
        downgrade(connection, "0002")
    with engine.connect() as connection:
        assert "scenarios" not in {column["name"] for column in sa.inspect(connection).get_columns("runs")}
    store.migrate()
    stored = store.get(run_id)
    assert (stored.scenarios, stored.metrics, stored.manifest) == ({}, METRICS, manifest)
    assert stored.manifest.warnings == ("borrow_not_modelled",)


def test_undefined_is_null_in_the_database_never_nan(store: RunStore, engine: sa.Engine) -> None:
    manifest, result = finished()
    run_id = store.save(manifest, METRICS, result, created_at=NOW)
    absent = int(np.isnan(result.trades.stop).sum())
    assert absent > 0
    assert store.trades(run_id)["stop"].null_count() == absent
    with engine.connect() as connection:
        sortino = connection.execute(sa.text("select value, reason from metrics where name = 'sortino'")).one()
        nulls = connection.execute(sa.text("select count(*) from trades where stop is null")).scalar_one()
    assert tuple(sortino) == (None, "no_losses")
    assert nulls == absent


def spoiled(result: RunResult, name: str, value: float) -> RunResult:
    """The same run with one value that is not a number, in a column of the trades or of the bars."""
    if name in ("equity", "qty"):
        changed = getattr(result, name).copy()
        changed[3] = value
        return replace(result, **{name: changed})
    changed = getattr(result.trades, name.removeprefix("trades.")).copy()
    changed[3] = value
    return replace(result, trades=replace(result.trades, **{name.removeprefix("trades."): changed}))


@pytest.mark.parametrize(
    ("name", "value"), [("equity", math.nan), ("qty", math.inf), ("trades.qty", math.nan), ("trades.stop", math.inf)]
)
def test_what_is_not_a_finite_number_is_refused(store: RunStore, engine: sa.Engine, name: str, value: float) -> None:
    manifest, result = finished()
    with pytest.raises(StorageError, match=f"{name.removeprefix('trades.')} of the run .* nothing was stored"):
        store.save(manifest, METRICS, spoiled(result, name, value), created_at=NOW)
    assert set(rows_by_table(engine).values()) == {0}


def test_a_manifest_that_is_not_json_is_refused(store: RunStore, engine: sa.Engine) -> None:
    manifest, result = finished()
    with pytest.raises(StorageError, match="not JSON compliant.*nothing was stored"):
        store.save(replace(manifest, settings={"rf": math.nan}), METRICS, result, created_at=NOW)
    assert set(rows_by_table(engine).values()) == {0}


def test_a_run_without_time_zone_or_result_hash_is_refused(store: RunStore) -> None:
    manifest, result = finished(n=50)
    with pytest.raises(StorageError, match="time zone"):
        store.save(manifest, {}, result, created_at=NOW.replace(tzinfo=None))
    with pytest.raises(StorageError, match="result hash"):
        store.save(replace(manifest, result_hash=""), {}, result, created_at=NOW)


def test_ids_are_utc_whatever_the_time_zone_given(store: RunStore) -> None:
    manifest, result = finished(n=50)
    at = datetime(2026, 11, 24, 1, 30, 0, 123_457, tzinfo=timezone(timedelta(hours=5, minutes=30)))
    run_id = store.save(manifest, {}, result, created_at=at)
    assert run_id.startswith("20261123T200000-")  # 01:30 less five and a half hours
    assert store.get(run_id).created_at == at


def test_daily_marks_are_the_last_of_each_day(store: RunStore) -> None:
    # Hourly bars from 22:00 on 1 January: those that close at 23:00 and 24:00 belong to the first, and so on.
    manifest, result = finished()
    opens = datetime(2023, 1, 1, 22, tzinfo=UTC).timestamp() * 1e6 + np.arange(50) * 3_600e6
    price = np.full(50, 100.0)
    bars = Bars(opens.astype(np.int64), price, price, price, price, price, timeframe="1h")
    empty: dict[str, Any] = {name: array[:0] for name, array in result.trades.columns()}  # Any: by column
    flat, equity = np.zeros(50), np.arange(50.0)
    hourly = replace(result, bars=bars, equity=equity, qty=flat, held=flat > 0, trades=Trades(**empty))
    run_id = store.save(manifest, METRICS, hourly, created_at=NOW)
    # 2 bars on the 1st, 24 on the 2nd, 24 on the 3rd, which ends with the last bar.
    assert store.equity(run_id, is_daily=True).rows() == [
        (date(2023, 1, 1), 1.0),
        (date(2023, 1, 2), 25.0),
        (date(2023, 1, 3), 49.0),
    ]


def test_the_same_result_twice_in_a_second_gets_another_id(store: RunStore) -> None:
    manifest, result = finished()
    first, second, third = (store.save(manifest, METRICS, result, created_at=NOW) for _ in range(3))
    assert (second, third) == (f"{first}-2", f"{first}-3")
    assert store.resolve(first) == first  # although it begins the others


def test_listing_filters_sorts_and_puts_the_undefined_last(store: RunStore) -> None:
    manifest, result = finished()
    ids = [
        store.save(
            replace(manifest, symbol=symbol, strategy=f"s{i}", result_hash=str(i) * 64),
            {**METRICS, "sortino": Metric(value) if value is not None else Metric(None, Reason.NO_LOSSES)},
            result,
            created_at=NOW + timedelta(seconds=i),
        )
        for i, (symbol, value) in enumerate((("A", 1.0), ("B", None), ("A", 3.0), ("C", 1.0)))
    ]
    assert [r.run_id for r in store.list()] == ids[::-1]
    assert [r.run_id for r in store.list(symbol="A")] == [ids[2], ids[0]]
    assert [r.run_id for r in store.list(strategy="s1")] == [ids[1]]
    assert [r.run_id for r in store.list(sort_by="sortino")] == [ids[2], ids[3], ids[0], ids[1]]
    assert [r.run_id for r in store.list(sort_by="sortino", is_descending=False)] == [ids[3], ids[0], ids[2], ids[1]]
    assert [r.run_id for r in store.list(limit=1)] == [ids[3]]
    assert list(store.list(strategy="other")) == []
    (newest,) = store.list(symbol="C", show=["sortino", "total", "no such metric"])
    assert newest.metrics == {"total": METRICS["total"], "sortino": Metric(1.0)}
    assert (newest.params, newest.n_bars, newest.n_trades) == (manifest.params, 2_000, len(result.trades))
    assert newest.created_at == NOW + timedelta(seconds=3)


def test_prefixes_resolve_or_say_why_not(store: RunStore) -> None:
    manifest, result = finished()
    one = store.save(manifest, METRICS, result, created_at=NOW)
    assert store.resolve("2026") == one
    two = store.save(manifest, METRICS, result, created_at=NOW + timedelta(days=1))
    assert store.resolve(one[:10]) == one
    with pytest.raises(StorageError, match=f"'2026' is the beginning of several runs: {two}, {one}; write more"):
        store.resolve("2026")
    for wrong in ("x", "%", "20261123_", one.lower(), f"{one}-2"):
        with pytest.raises(StorageError, match=f"there is no run '{wrong}'"):
            store.resolve(wrong)
    with pytest.raises(StorageError, match="is empty"):
        store.resolve("")
    for i in range(10):
        store.save(replace(manifest, result_hash=str(i) * 64), {}, result, created_at=NOW)
    with pytest.raises(StorageError, match="and more; write more of the id"):
        store.resolve("2026")


def test_what_is_not_there_is_said_so(store: RunStore) -> None:
    for read in (store.get, store.trades, store.equity, lambda x: store.equity(x, is_daily=True)):
        with pytest.raises(StorageError, match="there is no run 'x'; `grodt runs list` shows them"):
            read("x")


def test_deleting_takes_everything_along(store: RunStore, engine: sa.Engine) -> None:
    manifest, result = finished()
    kept = store.save(manifest, METRICS, result, created_at=NOW)
    gone = [store.save(manifest, METRICS, result, created_at=NOW + timedelta(days=i)) for i in (1, 2)]
    with pytest.raises(StorageError, match="there is no run 'x'"):
        store.delete([gone[0], "x"])
    assert store.get(gone[0]).run_id == gone[0]  # nothing of a refused request is done
    assert store.delete([*gone, gone[0]]) == 2
    with engine.connect() as connection:
        for table in (t for t in METADATA.sorted_tables if "run_id" in t.columns):
            assert set(connection.execute(sa.select(table.c.run_id)).scalars()) == {kept}, table.name


def test_a_failure_half_way_stores_nothing(store: RunStore, engine: sa.Engine) -> None:
    manifest, result = finished()
    with engine.begin() as connection:
        connection.execute(sa.text("alter table equity_days rename to elsewhere"))
    with pytest.raises(StorageError, match="equity_days.*nothing was changed"):
        store.save(manifest, METRICS, result, created_at=NOW)
    with engine.begin() as connection:
        connection.execute(sa.text("alter table elsewhere rename to equity_days"))
    assert set(rows_by_table(engine).values()) == {0}


class Fatal(dict[str, Metric]):
    """Metrics that kill the process when they are to be written, after the run itself was."""

    def items(self) -> NoReturn:
        os._exit(9)


def _die_while_saving(url: str) -> None:
    manifest, result = finished()
    RunStore(url).save(manifest, Fatal(METRICS), result, created_at=NOW)


def test_a_killed_process_leaves_nothing_and_no_lock(store: RunStore, engine: sa.Engine, url: str) -> None:
    assert exit_codes(_die_while_saving, [(url,)]) == [9]
    assert set(rows_by_table(engine).values()) == {0}
    manifest, result = finished()
    store.save(manifest, METRICS, result, created_at=NOW)
    assert rows_by_table(engine)["runs"] == 1


def _save_three(url: str, seed: int) -> None:
    manifest, result = finished(seed)
    for _ in range(3):
        RunStore(url).save(manifest, METRICS, result, created_at=NOW)


def exit_codes(target: Any, arguments: list[tuple[object, ...]]) -> list[int | None]:
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=target, args=args) for args in arguments]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(120)
    return [worker.exitcode for worker in workers]


def test_processes_may_save_the_same_result_at_once_even_on_first_use(url: str) -> None:
    if url.startswith("postgresql"):
        RunStore(url).migrate()
    # The same result at the same second: all want the same id.
    assert exit_codes(_save_three, [(url, 3)] * 2) == [0, 0]
    ids = [run.run_id for run in RunStore(url).list()]
    first = min(ids, key=len)
    assert sorted(ids) == sorted([first, *(f"{first}-{i}" for i in range(2, 7))])


def test_models_and_migrations_agree_and_can_go_back(store: RunStore, engine: sa.Engine) -> None:
    with engine.begin() as connection:
        assert compare_metadata(MigrationContext.configure(connection), METADATA) == []
        # What Alembic does not compare: the reasons a run goes with all its rows, and only with a value or a reason.
        inspector = sa.inspect(connection)
        children = [t.name for t in METADATA.sorted_tables if t.name != "runs" and "run_id" in t.columns]
        assert len(children) == 5
        for name in children:
            (key,) = inspector.get_foreign_keys(name)
            assert key["options"] == {"ondelete": "CASCADE"}, name
        assert [check["name"] for check in inspector.get_check_constraints("metrics")] == ["ck_metrics_value_or_reason"]
    assert store.migrate() == REVISIONS[-1]  # again: nothing to do
    with engine.begin() as connection:
        downgrade(connection, "base")
    with engine.connect() as connection:
        assert sa.inspect(connection).get_table_names() == ["alembic_version"]
    store.migrate()
    assert list(store.list()) == []


def test_runs_without_trades_or_metrics_are_stored_too(store: RunStore) -> None:
    manifest, result = finished()
    idle = fill_orders(result.bars, np.zeros(2_000, dtype=np.int8), np.full((6, 2_000), np.nan), result.account)
    run_id = store.save(manifest, {}, idle, created_at=NOW)
    trades = store.trades(run_id)
    assert trades.height == 0
    assert trades.schema == store.trades(store.save(manifest, {}, result, created_at=NOW)).schema
    assert store.get(run_id).metrics == {}
    assert store.get(run_id).stopped is None


def test_a_damaged_curve_is_noticed(store: RunStore, engine: sa.Engine) -> None:
    manifest, result = finished()
    run_id = store.save(manifest, METRICS, result, created_at=NOW)
    with engine.begin() as connection:
        connection.execute(METADATA.tables["equity_curves"].update().values(parquet=b"not what it was"))
    with pytest.raises(StorageError, match="equity curve of run .* is damaged"):
        store.equity(run_id)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("update metrics set reason = 'unheard_of' where name = 'sortino'", "metric sortino .* cannot be read"),
        ("update manifests set manifest = '{\"from_the_future\": 1}'", "manifest of run .* does not fit"),
    ],
)
def test_what_another_version_wrote_is_said_so(store: RunStore, engine: sa.Engine, change: str, message: str) -> None:
    manifest, result = finished(n=50)
    run_id = store.save(manifest, METRICS, result, created_at=NOW)
    with engine.begin() as connection:
        assert connection.exec_driver_sql(change).rowcount == 1
    with pytest.raises(StorageError, match=message):
        store.get(run_id)


def test_sqlite_makes_its_schema_itself_and_postgresql_waits_to_be_told(url: str) -> None:
    store = RunStore(url)
    if url.startswith("sqlite"):
        assert list(store.list()) == []
        return
    with pytest.raises(
        StorageError, match=f"has schema none, this program needs {REVISIONS[-1]}; run `grodt runs migr"
    ):
        store.list()
    store.migrate()
    assert list(store.list()) == []


def test_a_schema_of_another_version_is_left_alone(url: str) -> None:
    engine = engine_of(url)
    with engine.begin() as connection:
        connection.execute(sa.text("create table alembic_version (version_num varchar(32))"))
        connection.execute(sa.text("insert into alembic_version values ('9999')"))
    for use in (RunStore(url).list, RunStore(url).migrate):
        with pytest.raises(StorageError, match="has schema 9999, which this program .* does not know; update grodt"):
            use()
    with engine.connect() as connection:
        assert sa.inspect(connection).get_table_names() == ["alembic_version"]
