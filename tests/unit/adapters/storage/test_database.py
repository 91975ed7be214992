"""What surrounds the tables: URLs, passwords, files that are not databases, locks, what is loaded when."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import traceback
from pathlib import Path

import pytest
from alembic.script import ScriptDirectory

from grodtd.adapters.storage import RunStore, database
from grodtd.adapters.storage.database import Database
from grodtd.adapters.storage.migrations import alembic_config
from grodtd.adapters.storage.schema import REVISIONS
from grodtd.domain.errors import StorageError


def test_the_revisions_known_at_start_are_those_there_are() -> None:
    scripts = ScriptDirectory.from_config(alembic_config())
    assert tuple(script.revision for script in scripts.walk_revisions())[::-1] == REVISIONS


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("nonsense", "cannot be read; write sqlite:///"),
        ("postgresql://user:secret@host:port/name", "cannot be read; .* percent-encoded"),
        ("postgresql://user:p@secret@host/name", "more than one '@'; write those of the password as %40"),
        ("postgresql://user:p@w:secret@host/name", "cannot be read"),
        ("mysql://user:secret@host/name", "'mysql' is not supported"),
        ("sqlite://", "names a file"),
        ("sqlite:///:memory:", "names a file"),
        ("sqlite://runs.db", "three slashes"),
        ("sqlite:///runs.db?mode=ro", "has no options"),
    ],
)
def test_a_url_that_cannot_work_is_refused_without_its_password(url: str, message: str) -> None:
    with pytest.raises(StorageError, match=message) as caught:
        RunStore(url)
    assert "secret" not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://user:secret@127.0.0.1:1/name",
        "postgresql://user@127.0.0.1:1/name?password=secret",
        # The driver repeats the name of an option it does not know; here that is the password.
        "postgresql://user:secret@127.0.0.1:1/name?secret=1",
    ],
)
def test_a_password_is_never_shown(url: str) -> None:
    store = RunStore(url)
    assert "secret" not in repr(store)
    with pytest.raises(StorageError, match="127.0.0.1:1/name: .*; nothing was changed") as caught:
        store.list()
    assert "secret" not in str(caught.value)


def test_a_file_that_is_no_database_is_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "notes.db"
    file.write_text("not a database, " * 100)
    with pytest.raises(StorageError, match="notes.db: file is not a database; nothing was changed"):
        RunStore(f"sqlite:///{file}").list()
    assert file.read_text() == "not a database, " * 100


def test_a_folder_that_cannot_be_made_is_said_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="Not a directory|File exists"):
        RunStore(f"sqlite:///{tmp_path / 'file' / 'folder' / 'runs.db'}").list()


def test_sqlite_waits_for_writers_lets_readers_read_and_checks_keys(tmp_path: Path) -> None:
    with Database(f"sqlite:///{tmp_path / 'runs.db'}").transaction() as connection:
        settings = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "foreign_keys", "busy_timeout")
        }
    assert settings == {"journal_mode": "wal", "foreign_keys": 1, "busy_timeout": 30_000}


def test_a_writer_that_never_ends_is_not_waited_for_forever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "_BUSY_S", 0.01)
    url = f"sqlite:///{tmp_path / 'runs.db'}"
    waiting = Database(url)
    with Database(url).transaction(is_write=True):
        with waiting.transaction() as reader:  # readers do not wait at all
            assert reader.exec_driver_sql("select count(*) from runs").scalar() == 0
        with (
            pytest.raises(StorageError, match="database is locked; nothing was changed"),
            waiting.transaction(is_write=True),
        ):
            pytest.fail("two writers at once")


class Busy:
    """A connection whose switch to WAL meets a lock so many times."""

    def __init__(self, times: int, message: str = "database is locked") -> None:
        self.times, self.message = times, message

    def execute(self, statement: str) -> None:
        if "journal_mode" in statement and self.times:
            self.times -= 1
            raise sqlite3.OperationalError(self.message)


def test_the_switch_to_wal_is_tried_again_within_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "_WAL_WAIT_S", 0)
    released, stuck, broken = Busy(3), Busy(10_000), Busy(10_000, "disk I/O error")
    database._prepare_sqlite(released, None)  # type: ignore[arg-type]  # a fake
    assert released.times == 0
    for connection, tries in ((stuck, 100), (broken, 1)):
        with pytest.raises(sqlite3.OperationalError):
            database._prepare_sqlite(connection, None)  # type: ignore[arg-type]  # a fake
        assert 10_000 - connection.times == tries


def test_looking_at_runs_loads_neither_alembic_nor_polars(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'runs.db'}"
    program = (
        "import sys\n"
        "from grodtd.adapters.storage import RunStore\n"
        f"assert list(RunStore({url!r}).list()) == []\n"
        "print([name for name in ('alembic', 'polars', 'psycopg', 'numba') if name in sys.modules])"
    )
    loaded = [
        subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.strip()
        for _ in range(2)
    ]
    assert loaded == ["['alembic']", "[]"]  # the first run makes the schema
