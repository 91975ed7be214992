"""Backups on SQLite and real PostgreSQL: proven, refused when damaged, whole or not there after a kill."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
import structlog
from prometheus_client import generate_latest
from sqlalchemy import create_engine, make_url, text
from typer.testing import CliRunner

from grodtd.adapters.storage import RunStore
from grodtd.adapters.storage import backup as storage
from grodtd.adapters.storage.trial_store import TrialStore
from grodtd.adapters.telemetry.backup import BackupMetrics
from grodtd.domain.errors import ConfigError, NotFoundError, StorageError
from grodtd.domain.retention import BackupPolicy, RecordPolicy
from grodtd.domain.run import Metric
from grodtd.domain.trials import TrialBatch
from grodtd.entrypoints.cli.main import app
from grodtd.entrypoints.service import backup as service
from grodtd.settings import load_settings
from grodtd.workflows import backup
from grodtd.workflows.data import list_series, synthesise
from grodtd.workflows.runs import default_database_url
from tests.contracts.test_run_store import finished

AT = datetime(2026, 11, 24, 9, 0, tzinfo=UTC)


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A database of its own with 4 runs and a trial in it."""
    is_sqlite = request.param == "sqlite"
    url: str = default_database_url(tmp_path) if is_sqlite else request.getfixturevalue("postgres_database")
    fill(url)
    return url


def fill(url: str) -> None:
    manifest, result = finished()
    store = RunStore(url)
    store.migrate()
    for i in range(4):
        store.save(manifest, {"total": Metric(-0.0)}, result, created_at=AT + timedelta(days=i))
    trial = TrialBatch("s", 0, "trial", "h", "v:s:1m", "d", "s1", "x", [{"a": 1.0}], [{"number": 0}])
    TrialStore(url).append(trial, at_us=1)


def emptied(url: str) -> None:
    """What losing the volume does."""
    if url.startswith("sqlite"):
        Path(str(make_url(url).database)).unlink()
        return
    engine = create_engine(make_url(url).set(drivername="postgresql+psycopg"), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text("DROP SCHEMA public CASCADE"))
        connection.execute(text("CREATE SCHEMA public"))
    engine.dispose()


def test_what_is_lost_comes_back_equal(tmp_path: Path, url: str) -> None:
    synthesise(tmp_path, "G1", 3_000, 7)
    before, series = storage.contents(url), list_series(tmp_path)
    assert before["runs"]["rows"] == 4
    assert before["trades"]["rows"] > 0
    made = backup.create(tmp_path, url)
    assert made.verified_at is None
    assert backup.verify(made, url).verified_at is not None
    n_files = len(list((tmp_path / "catalogue").rglob("*.parquet")))
    assert n_files >= 2  # bars and their regimes
    emptied(url)
    shutil.rmtree(tmp_path / "catalogue")
    assert storage.contents(url) == {}
    steps, kept = backup.restore(backup.find(tmp_path, "latest"), tmp_path, url)
    assert (storage.contents(url), list_series(tmp_path), kept) == (before, series, None)
    assert steps[1] == f"data: {n_files} files"
    # the store works on it, and the ledger is whole
    assert len(RunStore(url).list()) == 4
    assert TrialStore(url).broken_at() == ""
    # once more is nothing new: a restore that was killed may simply be run again
    backup.restore(made, tmp_path, url)
    assert storage.contents(url) == before


def test_rows_written_meanwhile_are_in_neither_or_both(tmp_path: Path, url: str) -> None:
    program = (
        "import sys\nfrom datetime import datetime, timedelta, UTC\nfrom grodtd.adapters.storage import RunStore\n"
        "from tests.contracts.test_run_store import finished\n"
        "m, r = finished()\ns = RunStore(sys.argv[1])\ni = 0\n"
        "while True:\n    i += 1\n    s.save(m, {}, r, created_at=datetime(2027,1,1,tzinfo=UTC)+timedelta(seconds=i))\n"
    )
    writer = subprocess.Popen([sys.executable, "-c", program, url])
    try:
        while len(RunStore(url).list(limit=100)) < 8:
            time.sleep(0.05)
        made = backup.create(tmp_path, url)
    finally:
        writer.kill()
        writer.wait()
    tables = made.manifest["tables"]
    assert tables["runs"]["rows"] == tables["manifests"]["rows"] == tables["equity_curves"]["rows"]
    backup.verify(made, url)


def test_every_table_can_be_read_without_us(tmp_path: Path, url: str) -> None:
    made = backup.create(tmp_path, url)
    for name, table in made.manifest["tables"].items():
        files = list((made.folder / "tables" / name).glob("*.parquet"))
        assert sum(pl.read_parquet(file).height for file in files) == table["rows"]


def test_a_database_with_rows_is_not_overwritten_unless_asked(tmp_path: Path, url: str) -> None:
    made = backup.create(tmp_path, url)
    manifest, result = finished()
    newer = RunStore(url).save(manifest, {}, result, created_at=AT + timedelta(days=9))
    with pytest.raises(StorageError, match="has [0-9,]+ rows already; --replace"):
        backup.restore(made, tmp_path, url)
    _, kept = backup.restore(made, tmp_path, url, replace=True, dry_run=True)
    assert kept is None
    assert newer in {run.run_id for run in RunStore(url).list()}
    _, kept = backup.restore(made, tmp_path, url, replace=True)
    assert kept is not None
    assert newer not in {run.run_id for run in RunStore(url).list()}
    backup.restore(kept, tmp_path, url, replace=True)
    assert newer in {run.run_id for run in RunStore(url).list()}


def test_one_byte_of_any_file_is_noticed(tmp_path: Path, url: str) -> None:
    made = backup.create(tmp_path, url)
    for name in made.manifest["files"]:
        file = made.folder / name
        whole = file.read_bytes()
        at = random.Random(name).randrange(len(whole))
        file.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        with pytest.raises(StorageError, match=f"is damaged: {name} has changed"):
            backup.verify(backup.find(tmp_path, made.name), url)
        with pytest.raises(StorageError, match="is damaged"):
            backup.restore(backup.find(tmp_path, made.name), tmp_path, url, replace=True)
        file.write_bytes(whole)
    backup.verify(made, url)


def test_missing_added_and_newer_are_refused(tmp_path: Path, url: str) -> None:
    made = backup.create(tmp_path, url)
    extra = made.folder / "extra"
    extra.write_text("x")
    with pytest.raises(StorageError, match="a file that was not in it: extra"):
        backup.verify(made, url)
    extra.unlink()
    manifest = made.folder / backup.MANIFEST
    whole = manifest.read_text()
    manifest.write_text(whole.replace('"format": 1', '"format": 2'))
    with pytest.raises(StorageError, match="made by a newer grodt"):
        backup.find(tmp_path, made.name)
    manifest.write_text(whole.replace(f'"schema": "{made.manifest["schema"]}"', '"schema": "9999"'))
    with pytest.raises(StorageError, match="has schema 9999"):
        backup.verify(backup.find(tmp_path, made.name), url)
    manifest.write_text(whole[: len(whole) // 2])
    with pytest.raises(StorageError, match="no whole backup"):
        backup.find(tmp_path, made.name)
    assert backup.list_backups(tmp_path) == []
    manifest.write_text(whole)
    file = made.folder / next(iter(made.manifest["files"]))
    file.unlink()
    with pytest.raises(StorageError, match="is missing"):
        backup.verify(made, url)


def test_what_the_manifest_promises_is_compared_with_what_comes_back(tmp_path: Path, url: str) -> None:
    made = backup.create(tmp_path, url)
    file = made.folder / backup.MANIFEST
    manifest = json.loads(file.read_text())
    manifest["tables"]["runs"]["rows"] += 1
    file.write_text(json.dumps(manifest))
    with pytest.raises(StorageError, match="table runs came back as"):
        backup.verify(backup.find(tmp_path, made.name), url)


def test_a_proof_does_not_outlive_the_damage_found(tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    made = backup.verify(backup.create(tmp_path, url), url)
    dumped = next(made.folder.glob("database.*"))
    whole = dumped.read_bytes()
    dumped.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(StorageError, match="has changed"):
        backup.verify(made, url)
    # else pruning would keep this one as the newest verified, and give up those that are whole
    assert backup.find(tmp_path, made.name).verified_at is None
    dumped.write_bytes(whole)
    backup.verify(made, url)

    def away(*_: object) -> None:
        raise StorageError("the server is away")

    monkeypatch.setattr(storage, "restore", away)
    with pytest.raises(StorageError, match="away"):
        backup.verify(made, url)
    assert backup.find(tmp_path, made.name).verified_at is not None  # a server that is away is no damage


def test_a_database_of_an_earlier_schema_is_backed_up_as_it_is(tmp_path: Path) -> None:
    url = default_database_url(tmp_path)
    fill(url)
    with closing(sqlite3.connect(tmp_path / "grodt.db")) as connection:  # what revisions 0003 to 0005 brought
        connection.execute("ALTER TABLE runs DROP COLUMN scenarios")
        for table in ("retention_audit", "trial_batches", "studies", "holdout_claims"):
            connection.execute(f"DROP TABLE IF EXISTS {table}")
        connection.execute("UPDATE alembic_version SET version_num = '0002'")
        connection.commit()
    made = backup.verify(backup.create(tmp_path, url), url)
    assert (made.manifest["schema"], made.manifest["tables"]["runs"]["rows"]) == ("0002", 4)
    emptied(url)
    backup.restore(made, tmp_path, url)
    assert storage.contents(url) == made.manifest["tables"]


def in_the_log_only(file: Path) -> None:
    """Give a database one more row that stands in its write-ahead log only, as a killed process leaves it."""
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("DELETE FROM trades")
        connection.commit()
        kept = {name: Path(f"{file}{name}").read_bytes() for name in ("", "-wal")}
    for name, content in kept.items():
        Path(f"{file}{name}").write_bytes(content)


def test_a_restore_killed_before_its_last_step_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url, file = default_database_url(tmp_path), tmp_path / "grodt.db"
    fill(url)
    made = backup.create(tmp_path, url)
    in_the_log_only(file)

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        storage.restore(url, made.folder)
    assert storage.contents(url)["trades"]["rows"] == 0  # as committed, not as it was before the log
    assert storage.contents(url)["runs"]["rows"] == 4


def test_a_database_in_use_is_not_taken_away(tmp_path: Path) -> None:
    url, file = default_database_url(tmp_path), tmp_path / "grodt.db"
    fill(url)
    made = backup.create(tmp_path, url)
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        with pytest.raises(StorageError, match="end what works with it"):
            storage.restore(url, made.folder)
    assert storage.contents(url)["runs"]["rows"] == 4


@pytest.mark.parametrize(
    "damage", [lambda data: b"no database" * 99, lambda data: data[:5_000] + bytes(len(data) - 5_000)]
)
def test_a_damaged_database_names_the_way_out(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    url, file = default_database_url(tmp_path), tmp_path / "grodt.db"
    fill(url)
    before = storage.contents(url)
    made = backup.create(tmp_path, url)
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(StorageError, match="move its file away.*then restore again"):
        backup.restore(made, tmp_path, url, replace=True)
    file.rename(tmp_path / "damaged.db")
    backup.restore(made, tmp_path, url)
    assert storage.contents(url) == before


@pytest.mark.parametrize(
    "change", [{"files": []}, {"files": {"a": 1}}, {"tables": 7}, {"made_at": "2026-11-24T02:30:00"}]
)
def test_a_manifest_of_another_shape_is_no_backup(tmp_path: Path, change: dict[str, object]) -> None:
    url = default_database_url(tmp_path)
    fill(url)
    file = backup.create(tmp_path, url).folder / "manifest.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **change}))
    assert backup.list_backups(tmp_path) == []
    with pytest.raises(StorageError, match="no whole backup"):
        backup.find(tmp_path, "latest")


def test_killed_at_any_moment_it_leaves_whole_backups_only(tmp_path: Path, url: str) -> None:
    synthesise(tmp_path, "G1", 3_000, 7)
    command = [sys.executable, "-m", "grodtd", "backup", "create", "--home", str(tmp_path), "--database-url", url]
    began = time.monotonic()
    subprocess.run(command, check=True, capture_output=True)
    takes = time.monotonic() - began
    moments = random.Random(1)
    for _ in range(4):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(takes * moments.uniform(0.3, 1.0))
        process.send_signal(signal.SIGKILL)
        process.wait()
        for one in backup.list_backups(tmp_path):
            backup.verify(one, url)
    backup.create(tmp_path, url)
    assert not list((tmp_path / "backups").glob(".*.part"))


def test_a_backup_of_the_other_kind_is_refused_by_name(tmp_path: Path, url: str) -> None:
    made = backup.create(tmp_path, url)
    other = "postgresql://me@127.0.0.1:1/x" if url.startswith("sqlite") else f"sqlite:///{tmp_path}/other.db"
    with pytest.raises(ConfigError, match="its tables as Parquet"):
        backup.verify(made, other)


def test_nothing_of_a_backup_is_readable_to_others_or_names_a_password(tmp_path: Path, url: str) -> None:
    made = backup.create(tmp_path, url)
    assert (made.folder.stat().st_mode & 0o077, (tmp_path / "backups").stat().st_mode & 0o077) == (0, 0)
    with pytest.raises(StorageError) as caught:
        backup.create(tmp_path, "postgresql://me:hunter2@127.0.0.1:1/x")
    assert "hunter2" not in str(caught.value)
    assert len(backup.list_backups(tmp_path)) == 1
    assert not list((tmp_path / "backups").glob(".*.part"))


@pytest.mark.parametrize(
    "url", ["postgresql://me:hunter2@h:1/x", "postgresql://me@h:1/x?password=hunter2&sslmode=require"]
)
def test_the_password_is_no_argument_of_a_program(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "pg_restore"
    program.write_text('#!/bin/sh\necho "$PGPASSWORD" "$@" > "$0.said"\n')
    program.chmod(0o755)
    monkeypatch.setattr(storage, "_program", lambda _: str(program))
    storage.restore(url, tmp_path)
    password, arguments = program.with_suffix(".said").read_text().split(" ", 1)
    assert password == "hunter2"
    assert "hunter2" not in arguments
    assert "postgresql://me@h:1/x" in arguments


def test_pruning_deletes_only_with_leave(tmp_path: Path) -> None:
    url = default_database_url(tmp_path)
    fill(url)
    for _ in range(3):
        backup.create(tmp_path, url)
        time.sleep(1.01)
    gone = backup.prune(tmp_path, BackupPolicy(1, 0, 0))
    assert (len(gone), len(backup.list_backups(tmp_path))) == (2, 3)
    assert not (tmp_path / "backups" / "pruned.jsonl").exists()
    backup.prune(tmp_path, BackupPolicy(1, 0, 0), dry_run=False)
    assert len(backup.list_backups(tmp_path)) == 1
    assert backup.prune(tmp_path, BackupPolicy(1, 0, 0), dry_run=False) == []
    notes = [json.loads(line) for line in (tmp_path / "backups" / "pruned.jsonl").read_text().splitlines()]
    assert [(note["backups"], note["policy"]["daily"]) for note in notes] == [([one.name for one in gone], 1)]


def test_old_records_go_with_a_note_and_the_ledger_stays(url: str) -> None:
    now = datetime.now(UTC)
    manifest, result = finished()
    fresh = RunStore(url).save(manifest, {}, result, created_at=now)
    old = RunStore(url).save(manifest, {}, result, created_at=now - timedelta(days=50))
    trials = TrialStore(url).count("v:s:1m", "h")
    policy = RecordPolicy(runs=40, equity_curves=10)
    assert old in backup.apply_retention(url, policy)["runs"]
    assert old in {run.run_id for run in RunStore(url).list()}
    gone = backup.apply_retention(url, policy, dry_run=False)
    there = {run.run_id for run in RunStore(url).list()}
    assert old not in there
    assert fresh in there
    assert TrialStore(url).count("v:s:1m", "h") == trials
    assert TrialStore(url).broken_at() == ""
    notes = storage.audit(url)
    assert [(note["kind"], note["n_deleted"]) for note in notes] == [
        (kind, len(names)) for kind, names in gone.items() if names
    ]
    assert backup.apply_retention(url, policy, dry_run=False) == {"equity_curves": [], "runs": []}


def test_more_old_runs_than_one_statement_takes_go(tmp_path: Path) -> None:
    url = default_database_url(tmp_path)
    fill(url)
    with closing(sqlite3.connect(tmp_path / "grodt.db")) as connection:
        n_old = connection.getlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER) + 1
        columns = ", ".join(
            row[1] for row in connection.execute("PRAGMA table_info(runs)") if row[1] not in ("run_id", "created_at_us")
        )
        connection.execute(
            f"INSERT INTO runs (run_id, created_at_us, {columns}) WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL"  # noqa: S608
            f" SELECT i + 1 FROM n WHERE i < {n_old})"
            f" SELECT 'r' || i, 1, {columns} FROM n, (SELECT * FROM runs LIMIT 1)"
        )
        connection.commit()
    gone = backup.apply_retention(url, RecordPolicy(runs=3_000), dry_run=False)
    assert len(gone["runs"]) == n_old
    assert len(RunStore(url).list()) == 4


@pytest.mark.parametrize("url", [pytest.param("postgresql", marks=pytest.mark.postgres)], indirect=True)
def test_what_a_killed_proof_left_on_the_server_goes(tmp_path: Path, url: str) -> None:
    admin = create_engine(make_url(url).set(drivername="postgresql+psycopg"), isolation_level="AUTOCOMMIT")
    left, fresh = "grodt_scratch_1000_0123456789ab", f"grodt_scratch_{int(time.time())}_0123456789ab"
    with admin.connect() as connection:
        for name in (left, fresh):
            connection.execute(text(f"DROP DATABASE IF EXISTS {name}"))
            connection.execute(text(f"CREATE DATABASE {name}"))
    backup.verify(backup.create(tmp_path, url), url)
    with admin.connect() as connection:
        # Other tests may prove backups on this server too: only the two made here are looked at.
        named = "SELECT datname FROM pg_database WHERE datname LIKE 'grodt_scratch_%_0123456789ab'"
        there = set(connection.scalars(text(named)))
        connection.execute(text(f"DROP DATABASE {fresh}"))
    admin.dispose()
    assert there == {fresh}


def test_an_error_nobody_foresaw_is_counted_as_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    metrics = BackupMetrics("127.0.0.1", 0)
    monkeypatch.setattr(backup, "create", lambda *_, **__: 1 / 0)
    service._once(load_settings(variables={}).settings, tmp_path, "", None, metrics, structlog.get_logger("x"))
    metrics.close()
    assert metrics.failures._value.get() == 1


def test_a_proof_that_was_taken_back_is_not_shown(tmp_path: Path) -> None:
    url = default_database_url(tmp_path)
    fill(url)
    made = backup.create(tmp_path, url)
    metrics = BackupMetrics("127.0.0.1", 0)

    def shown() -> list[str]:
        page = generate_latest(metrics._registry).decode()
        return re.findall(r"^grodt_backup_last_(success|verified)_", page, re.MULTILINE)

    for backups, expected in (
        ([], []),
        ([backup.verify(made, url)], ["success", "verified"]),
        ([made], ["success"]),
        ([], []),
    ):
        metrics.show(backups)
        assert shown() == expected
    metrics.close()


def test_a_curve_that_retention_took_is_said_to_be_so(tmp_path: Path) -> None:
    url = default_database_url(tmp_path)
    fill(url)
    old = RunStore(url).save(*_finished(), created_at=datetime.now(UTC) - timedelta(days=50))
    backup.apply_retention(url, RecordPolicy(equity_curves=10), dry_run=False)
    with pytest.raises(NotFoundError, match="retention has removed the equity curve"):
        RunStore(url).equity(old)
    assert RunStore(url).equity(old, is_daily=True).height > 0


def _finished() -> tuple[object, ...]:
    manifest, result = finished()
    return manifest, {}, result


@pytest.mark.parametrize(
    ("now", "last", "due"),
    [
        ("2026-11-24T12:00", None, "2026-11-24T12:00"),  # none yet: now
        ("2026-11-24T12:00", "2026-11-24T02:31", "2026-11-25T02:30"),
        ("2026-11-24T02:00", "2026-11-23T02:31", "2026-11-24T02:30"),
        ("2026-11-24T12:00", "2026-11-23T02:31", "2026-11-24T12:00"),  # tonight's was missed: now
        ("2026-11-24T02:00", "2026-11-22T02:31", "2026-11-24T02:00"),  # yesterday's was
    ],
)
def test_when_the_next_is_due(now: str, last: str | None, due: str) -> None:
    def at(moment: str) -> datetime:
        return datetime.fromisoformat(moment + ":00+00:00")

    assert backup.next_time(at(now), "02:30", at(last) if last else None) == at(due)


def test_the_service_makes_proves_and_shows_backups_and_stops_at_once(tmp_path: Path) -> None:
    fill(default_database_url(tmp_path))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GRODT_")}
    process = subprocess.Popen(
        [sys.executable, "-m", "grodtd", "backup", "serve", "--home", str(tmp_path), "--port", str(port)],
        env={**kept, "GRODT_LOG__FORMAT": "json"},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        end, metrics = time.monotonic() + 30, ""
        while "grodt_backup_last_verified_timestamp_seconds 1" not in metrics and time.monotonic() < end:
            time.sleep(0.2)
            try:
                metrics = urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5).read().decode()
            except OSError:
                continue
        assert "grodt_backup_last_verified_timestamp_seconds 1" in metrics
        assert "grodt_backup_stored 1.0" in metrics
        assert "grodt_backup_failures_total 0.0" in metrics
        assert time.time() - (tmp_path / "run" / "backup.heartbeat").stat().st_mtime < 10
    finally:
        process.send_signal(signal.SIGTERM)
        output, _ = process.communicate(timeout=10)
    assert process.returncode == 0
    assert [json.loads(line)["event"] for line in output.splitlines()] == [
        "backups",
        "backup made",
        "backup verified",
        "stopped",
    ]


def test_the_commands_as_a_user_runs_them(tmp_path: Path) -> None:
    fill(default_database_url(tmp_path))

    def grodt(*arguments: str) -> object:
        found = CliRunner().invoke(
            app, ["backup", *arguments, "--json"], env={"GRODT_HOME": str(tmp_path), "GRODT_DATABASE_URL": None}
        )
        assert found.exit_code == 0, found.output
        return json.loads(found.stdout)

    made = grodt("create")
    assert isinstance(made, dict)
    assert made["verified_at"] is None
    assert grodt("verify") == grodt("list")[0]  # type: ignore[index]  # a list of backups
    assert grodt("restore", made["name"], "--dry-run")["done"] is False  # type: ignore[index]
    assert grodt("prune") == {"done": False, "backups": [], "records": {}}
    for command in ("create", "list", "verify", "restore", "prune", "serve"):
        assert "Example" in CliRunner().invoke(app, ["backup", command, "--help"]).stdout
    wrong = CliRunner().invoke(app, ["backup", "verify", "2020", "--home", str(tmp_path)])
    assert "no backup is called '2020'" in str(wrong.exception)
