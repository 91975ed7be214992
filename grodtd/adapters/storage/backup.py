"""Databases as files: dumped from one snapshot, counted and hashed row by row, and put back whole or not at all."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

from sqlalchemy import Connection, Table, create_engine, func, inspect, select, text
from sqlalchemy.engine import URL
from sqlalchemy.exc import SQLAlchemyError

from grodtd.adapters.storage.database import parsed
from grodtd.adapters.storage.schema import METADATA, RETENTION_AUDIT, RUNS
from grodtd.domain.errors import StorageError

DUMP: Final = {"sqlite": "database.sqlite", "postgresql": "database.pgdump"}

_ROWS_AT_ONCE: Final = 20_000
_MODULUS: Final = 1 << 128
_PROGRAM_WITHIN_S: Final = 6 * 3_600
# The moment it was made is in its name. Whoever made one that old was killed; it holds all our rows once more.
_SCRATCH: Final = re.compile(r"grodt_scratch_(\d+)_[0-9a-f]{12}")
_SCRATCH_LEFT_S: Final = 2 * _PROGRAM_WITHIN_S
# Fewer than the values SQLite and PostgreSQL take in one statement.
_NAMES_AT_ONCE: Final = 10_000
_DEBIAN_PROGRAMS: Final = Path("/usr/lib/postgresql")

# Any below: rows hold anything a database can.


def kind_of(url: str) -> str:
    """Return ``sqlite`` or ``postgresql``."""
    return parsed(url).get_backend_name()


def dump(url: str, folder: Path) -> tuple[dict[str, dict[str, Any]], str | None]:
    """Write a database into a folder, with every table as Parquet beside it, all of one moment.

    Returns
    -------
    dict
        By table: ``rows`` and ``checksum``, which does not depend on their order.
    str or None
        The revision of its schema; None for a database without one.

    Raises
    ------
    StorageError
        If the database cannot be read, or ``pg_dump`` is missing or fails.
    """
    target = folder / DUMP[kind_of(url)]
    if kind_of(url) == "sqlite":
        _copy_sqlite(Path(str(parsed(url).database)), target)
        with _connected(f"sqlite:///{target}") as connection:
            return _tables(connection, folder / "tables"), _revision(connection)
    with _connected(url) as connection:
        # Everyone who reads by this snapshot sees the same rows, whatever is written meanwhile.
        connection.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"))
        snapshot = connection.scalar(text("SELECT pg_export_snapshot()"))
        arguments = ["--format=custom", f"--snapshot={snapshot}", "--no-owner", "--no-privileges", f"--file={target}"]
        _run_program("pg_dump", url, arguments)
        return _tables(connection, folder / "tables"), _revision(connection)


def restore(url: str, folder: Path) -> None:
    """Put a dumped database in the place of what is there, in one step: a crash leaves the old or the new one.

    Raises
    ------
    StorageError
        If it cannot be done; what was there is still there.
    """
    if kind_of(url) == "postgresql":
        options = ["--clean", "--if-exists", "--no-owner", "--no-privileges", "--single-transaction", "--exit-on-error"]
        dumped = str(folder / DUMP["postgresql"])
        _run_program("pg_restore", url, [*options, f"--dbname={_address(parsed(url))}", dumped])
        return
    there = Path(str(parsed(url).database))
    part = there.with_name(f"{there.name}.{uuid4().hex[:8]}.part")
    try:
        there.parent.mkdir(parents=True, exist_ok=True)
        _copy_sqlite(folder / DUMP["sqlite"], part)
        if there.is_file():
            _fold_log(there)
        for suffix in ("-wal", "-shm"):  # of the database that goes; they would be replayed into the new one
            there.with_name(there.name + suffix).unlink(missing_ok=True)
        part.replace(there)
    except OSError as error:
        raise StorageError(f"{there} cannot be written: {error.strerror}; nothing was changed") from error
    finally:
        part.unlink(missing_ok=True)


def _fold_log(file: Path) -> None:
    """Bring the write-ahead log into the database: a kill after the log is deleted then loses nothing."""
    try:
        with closing(sqlite3.connect(file)) as connection:
            connection.execute("PRAGMA journal_mode = DELETE")
    except sqlite3.Error as error:
        raise StorageError(
            f"{file} cannot be replaced: {error}; end what works with it, then restore again; nothing was changed"
        ) from error


def contents(url: str) -> dict[str, dict[str, Any]]:
    """Return rows and checksum of each table as they are; empty for a database without our tables."""
    if kind_of(url) == "sqlite" and not Path(str(parsed(url).database)).is_file():
        return {}
    with _connected(url) as connection:
        return _tables(connection, None)


@contextmanager
def scratch_database(url: str, folder: Path) -> Iterator[str]:
    """Give a new, empty database of the same kind, and take it away again.

    Raises
    ------
    StorageError
        If the user may not make one; on PostgreSQL it needs CREATEDB.
    """
    if kind_of(url) == "sqlite":
        file = folder / f"scratch-{uuid4().hex[:8]}.sqlite"
        try:
            yield f"sqlite:///{file}"
        finally:
            file.unlink(missing_ok=True)
        return
    name = f"grodt_scratch_{int(time.time())}_{uuid4().hex[:12]}"
    engine = create_engine(parsed(url), isolation_level="AUTOCOMMIT", hide_parameters=True)
    try:
        with engine.connect() as connection:
            for left in connection.scalars(text("SELECT datname FROM pg_database")).all():
                found = _SCRATCH.fullmatch(left)
                if found and time.time() - int(found.group(1)) > _SCRATCH_LEFT_S:
                    _scratch(connection, "DROP DATABASE IF EXISTS", left, "WITH (FORCE)")
            _scratch(connection, "CREATE DATABASE", name)
        try:
            yield parsed(url).set(drivername="postgresql", database=name).render_as_string(hide_password=False)
        finally:
            with engine.connect() as connection:
                _scratch(connection, "DROP DATABASE IF EXISTS", name, "WITH (FORCE)")
    except SQLAlchemyError as error:
        raise StorageError(f"no scratch database can be made to verify in: {_first_line(error)}") from error
    finally:
        engine.dispose()


def _scratch(connection: Connection, action: str, name: str, options: str = "") -> None:
    """Make or drop a scratch database; no other database can be named."""
    assert _SCRATCH.fullmatch(name), name
    connection.execute(text(f"{action} {name} {options}"))


def delete_old_records(url: str, kind: str, before: datetime, rule: str, *, is_dry: bool) -> list[str]:
    """Delete runs, or their bar-level equity curves, stored before a time, and write down that it was done.

    Parameters
    ----------
    kind : {"runs", "equity_curves"}
    before : datetime
    rule : str
        Why, for the record.
    is_dry : bool
        True: only say which.

    Returns
    -------
    list of str
        The runs concerned. Their trials stay in the ledger.
    """
    curves = METADATA.tables["equity_curves"]
    table = {"runs": RUNS, "equity_curves": curves}[kind]
    old = select(RUNS.c.run_id).where(RUNS.c.created_at_us < _microseconds(before))
    if kind == "equity_curves":
        old = old.where(RUNS.c.run_id.in_(select(curves.c.run_id)))
    with _connected(url) as connection:
        names = list(connection.scalars(old.order_by(RUNS.c.run_id)))
        if names and not is_dry:
            for first in range(0, len(names), _NAMES_AT_ONCE):
                some = names[first : first + _NAMES_AT_ONCE]
                connection.execute(table.delete().where(table.c.run_id.in_(some)))
            last = connection.scalar(select(func.max(RETENTION_AUDIT.c.number))) or 0
            row = {"number": last + 1, "kind": kind, "rule": rule, "n_deleted": len(names), "names": names}
            connection.execute(RETENTION_AUDIT.insert(), {**row, "at_us": _microseconds(datetime.now(UTC))})
        connection.commit()
    return names


def audit(url: str) -> list[dict[str, Any]]:
    """Return what retention has deleted so far, oldest first."""
    with _connected(url) as connection:
        return [dict(row._mapping) for row in connection.execute(select(RETENTION_AUDIT).order_by("number"))]


@contextmanager
def _connected(url: str) -> Iterator[Connection]:
    engine = create_engine(parsed(url), hide_parameters=True)
    try:
        with engine.connect() as connection:
            if engine.dialect.name == "sqlite":
                connection.execute(text("PRAGMA foreign_keys = ON"))
            yield connection
    except SQLAlchemyError as error:
        raise StorageError(f"the database cannot be read: {_first_line(error)}") from error
    finally:
        engine.dispose()


def _tables(connection: Connection, export: Path | None) -> dict[str, dict[str, Any]]:
    there = set(inspect(connection).get_table_names())
    return {
        table.name: _read(connection, table, export)
        for table in sorted(METADATA.tables.values(), key=lambda t: t.name)
        if table.name in there
    }


def _revision(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    found: str | None = connection.scalar(text("SELECT version_num FROM alembic_version"))
    return found


def _read(connection: Connection, table: Table, export: Path | None) -> dict[str, Any]:
    """Count and hash the rows of a table, and write them as Parquet on the way."""
    # A database of an earlier schema lacks the newer columns.
    there = {column["name"] for column in inspect(connection).get_columns(table.name)}
    columns = [column for column in table.columns if column.name in there]
    names = [column.name for column in columns]
    rows, total = 0, 0
    # curves are megabytes each
    at_once = 50 if table.name == "equity_curves" else _ROWS_AT_ONCE
    result = connection.execution_options(stream_results=True, max_row_buffer=at_once).execute(select(*columns))
    for part, chunk in enumerate(result.partitions(at_once)):
        for row in chunk:
            digest = hashlib.sha256(_canonical(tuple(row)).encode()).digest()
            total = (total + int.from_bytes(digest[:16], "big")) % _MODULUS
        rows += len(chunk)
        if export is not None:
            _write_parquet(export / table.name / f"{part:05d}.parquet", names, chunk)
    return {"rows": rows, "checksum": f"{total:032x}"}


def _canonical(row: tuple[Any, ...]) -> str:
    return json.dumps([_plain(value) for value in row], sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def _plain(value: Any) -> Any:
    if isinstance(value, (bytes, memoryview)):
        return hashlib.sha256(bytes(value)).hexdigest()
    if isinstance(value, float):
        return value.hex()
    if isinstance(value, (date, datetime)):
        return value.isoformat()
    return value


def _write_parquet(file: Path, names: list[str], chunk: Any) -> None:
    import polars as pl

    file.parent.mkdir(parents=True, exist_ok=True)
    columns = {
        name: [json.dumps(row[i], sort_keys=True) if isinstance(row[i], (dict, list)) else row[i] for row in chunk]
        for i, name in enumerate(names)
    }
    pl.DataFrame(columns, strict=False).write_parquet(file)


def _copy_sqlite(source: Path, target: Path) -> None:
    """Copy a SQLite database as of one moment, whoever writes to it meanwhile, and check the copy."""
    if not source.is_file():
        raise StorageError(f"there is no database file {source}; the first stored run makes it")
    try:
        with (
            closing(sqlite3.connect(source.resolve().as_uri() + "?mode=ro", uri=True)) as one,
            closing(sqlite3.connect(target)) as other,
        ):
            one.backup(other)
            other.execute("PRAGMA journal_mode = DELETE")  # one file, nothing beside it
            verdict = other.execute("PRAGMA integrity_check").fetchone()[0]
    except sqlite3.Error as error:
        raise StorageError(f"{source} cannot be copied: {error}") from error
    if verdict != "ok":
        raise StorageError(f"{source} is damaged: {verdict}; restore a backup from before")


def _run_program(name: str, url: str, arguments: list[str]) -> None:
    """Run a PostgreSQL client program; the password travels in its environment, never in its arguments."""
    address = parsed(url)
    # pg_restore takes the address within its arguments
    command = [_program(name), *arguments, *([f"--dbname={_address(address)}"] if name == "pg_dump" else [])]
    password = address.password or address.query.get("password")
    environment = {**os.environ, **({"PGPASSWORD": str(password)} if password else {})}
    try:
        found = subprocess.run(  # noqa: S603  # no shell; arguments are ours
            command, env=environment, capture_output=True, text=True, timeout=_PROGRAM_WITHIN_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise StorageError(f"{name} did not run: {error}") from error
    if found.returncode:
        raise StorageError(
            f"{name} failed: {found.stderr.strip().splitlines()[0] if found.stderr else found.returncode}"
        )


def _program(name: str) -> str:
    on_path = shutil.which(name)
    found = sorted(_DEBIAN_PROGRAMS.glob(f"*/bin/{name}"), key=lambda file: int(file.parts[-3]))
    if not on_path and not found:
        raise StorageError(
            f"{name} is not installed: apt-get install postgresql-client (the image grodt-backup has it)"
        )
    return str(found[-1]) if found else str(on_path)


def _address(url: URL) -> str:
    """Return the URL without its password, wherever it stands: everybody on the machine sees arguments."""
    # made anew: `set` takes a password of None for no change
    bare = URL.create("postgresql", url.username, None, url.host, url.port, url.database, url.query)
    return bare.difference_update_query(["password"]).render_as_string()


def _microseconds(at: datetime) -> int:
    return int(at.timestamp() * 1_000_000)


def _first_line(error: SQLAlchemyError) -> str:
    return str(getattr(error, "orig", None) or error).partition("\n")[0]
