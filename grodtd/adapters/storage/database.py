"""One database: its URL, its transactions, the state of its schema, its errors without secrets."""

from __future__ import annotations

import math
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from sqlalchemy import URL, Connection, column, create_engine, event, func, make_url, select, table
from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError
from sqlalchemy.pool import NullPool

from grodtd.adapters.storage.schema import REVISIONS
from grodtd.domain.errors import StorageError

_BUSY_S: Final = 30
_CONNECT_S: Final = 10
# A server that is gone without a word is given up after this long, where the kernel alone would take hours.
_SILENCE: Final = {
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 25_000,
}
_MIGRATION_LOCK_S: Final = 4
# Any number that nothing else in the database uses: whoever holds it may change the schema.
_MIGRATION_LOCK: Final = 7_218_455_103
_WAL_ATTEMPTS: Final = 100
_WAL_WAIT_S: Final = 0.05
_VERSION: Final = table("alembic_version", column("version_num"))


class Database:
    """A SQLite file or a PostgreSQL database, connected to when needed and not before.

    Parameters
    ----------
    url : str
        ``sqlite:///folder/file.db`` (made on first use) or ``postgresql://user:password@host:port/name``.

    Raises
    ------
    StorageError
        If the URL is neither. No error, log line or repr of this class holds the password.
    """

    def __init__(self, url: str) -> None:
        self._url = parsed(url)
        self._is_at_head = False
        options: dict[str, Any] = {}  # Any: SQLAlchemy's own signature
        if self.is_sqlite:
            # isolation_level None: SQLAlchemy's BEGIN would come too late to take the write lock; see `transaction`.
            options["connect_args"] = {"isolation_level": None, "timeout": _BUSY_S}
        else:
            options["paramstyle"] = "format"
            # What the URL says goes before.
            options["connect_args"] = {
                name: value
                for name, value in {"connect_timeout": _CONNECT_S, **_SILENCE}.items()
                if name not in self._url.query
            }
        self._engine = create_engine(
            self._url,
            poolclass=NullPool,
            hide_parameters=True,
            **options,
        )
        if self.is_sqlite:
            event.listen(self._engine, "connect", _prepare_sqlite)

    @property
    def is_sqlite(self) -> bool:
        """True for SQLite, False for PostgreSQL."""
        return self._url.drivername == "sqlite"

    def __repr__(self) -> str:
        return f"Database({self.name!r})"

    @property
    def name(self) -> str:
        """The URL as it may be shown: no password, no options."""
        if self.is_sqlite:
            return f"sqlite:///{self._url.database}"
        return self._url.set(drivername="postgresql", password=None, query={}).render_as_string()

    @contextmanager
    def transaction(self, *, is_write: bool = False) -> Iterator[Connection]:
        """Open a transaction on the newest schema; it commits at the end, or nothing of it happened.

        Raises
        ------
        StorageError
            If the database cannot be reached, read or written, or its schema is not the one of this program.
        """
        if not self._is_at_head:
            self._require_head()
        with self._begin(is_write=is_write) as connection:
            yield connection

    def migrate(self) -> str:
        """Bring the schema to the newest revision and return it; nothing happens if it is there already.

        Raises
        ------
        StorageError
            If the schema is newer than this program, or another process holds the schema for too long.
        """
        # Loaded before the lock is taken, so that nobody waits for an import.
        from grodtd.adapters.storage.migrations import upgrade

        with self._begin(is_write=True) as connection:
            if not self.is_sqlite:
                connection.execute(select(func.set_config("lock_timeout", f"{_MIGRATION_LOCK_S}s", True)))
                connection.execute(select(func.pg_advisory_xact_lock(_MIGRATION_LOCK)))
            self._refuse_unknown(_revision(connection))
            upgrade(connection)
        return REVISIONS[-1]

    def revision(self) -> str | None:
        """Return the schema's revision as it is, None for a database without one; nothing is changed."""
        with self._begin() as connection:
            return _revision(connection)

    def clock_ahead_s(self) -> float | None:
        """Return by how many seconds the server's clock is ahead of ours, give or take half a round trip.

        None for SQLite: it has no server.

        Raises
        ------
        StorageError
            If the server cannot be reached.
        """
        if self.is_sqlite:
            return None
        with self._begin() as connection:
            asked = time.time()
            theirs = float(connection.scalar(select(func.extract("epoch", func.clock_timestamp()))) or math.nan)
            return theirs - (asked + time.time()) / 2

    def _require_head(self) -> None:
        with self._begin() as connection:
            found = _revision(connection)
        self._refuse_unknown(found)
        if found != REVISIONS[-1]:
            if not self.is_sqlite:
                raise StorageError(
                    f"run database {self.name} has schema {found or 'none'}, this program needs {REVISIONS[-1]};"
                    " run `grodt runs migrate`"
                )
            self.migrate()
        self._is_at_head = True

    def _refuse_unknown(self, found: str | None) -> None:
        if found is not None and found not in REVISIONS:
            raise StorageError(
                f"run database {self.name} has schema {found}, which this program ({REVISIONS[-1]}) does not know;"
                " update grodt, or choose another database"
            )

    @contextmanager
    def _begin(self, *, is_write: bool = False) -> Iterator[Connection]:
        try:
            if self.is_sqlite:
                Path(str(self._url.database)).parent.mkdir(parents=True, exist_ok=True)
            with self._engine.begin() as connection:
                if self.is_sqlite:
                    # IMMEDIATE waits for the other writer now; upgrading a read lock later would fail at once.
                    connection.exec_driver_sql("BEGIN IMMEDIATE" if is_write else "BEGIN")
                yield connection
        except (SQLAlchemyError, sqlite3.Error, OSError) as error:
            raise StorageError(self._explained(error)) from error

    def _explained(self, error: Exception) -> str:
        """Return the driver's first line, without the password should the driver ever repeat it."""
        text = str(error.orig if isinstance(error, DBAPIError) else error).partition("\n")[0]
        for secret in (self._url.password, self._url.query.get("password")):
            if secret:
                text = text.replace(str(secret), "***")
        return f"run database {self.name}: {text}; nothing was changed"


def for_reading(url: str, *, within_s: float) -> str:
    """Return the URL with sessions that cannot write and end any statement that takes too long.

    Parameters
    ----------
    url : str
        As for `Database`. SQLite has no such sessions: its URL comes back as it is.
    within_s : float
        Seconds to connect (at least 2, the driver's least), and for each statement.

    Returns
    -------
    str
        With its password: never print or log it.

    Raises
    ------
    StorageError
        If the URL is not one of a database.
    """
    found = parsed(url)
    if found.drivername == "sqlite":
        return url
    given = found.query.get("options", "")
    session = f"-c default_transaction_read_only=on -c statement_timeout={math.ceil(within_s * 1_000)}"
    query = {"options": f"{given} {session}".strip(), "connect_timeout": str(max(2, math.ceil(within_s)))}
    return found.update_query_dict(query).render_as_string(hide_password=False)


def parsed(url: str) -> URL:
    """Return a database URL with the driver we use; StorageError without its password if it is none of ours."""
    usage = "write sqlite:///folder/file.db or postgresql://user:password@host:port/name"
    try:
        found = make_url(url)
    except (ArgumentError, ValueError):
        # Without the cause: it may quote the part of the URL that holds the password.
        raise StorageError(f"the database URL cannot be read; {usage}, special characters percent-encoded") from None
    backend = found.drivername.partition("+")[0]
    if backend == "sqlite":
        if found.host or found.query or found.database in (None, "", ":memory:"):
            raise StorageError(f"a SQLite URL has three slashes, names a file and has no options; {usage}")
        return found.set(drivername="sqlite")
    if backend in ("postgresql", "postgres"):
        if "@" in (found.host or ""):
            raise StorageError("the database URL has more than one '@'; write those of the password as %40")
        return found.set(drivername="postgresql+psycopg")
    raise StorageError(f"a database of kind {backend!r} is not supported; {usage}")


def _revision(connection: Connection) -> str | None:
    """Return the schema's revision; None for a database without one."""
    if not connection.dialect.has_table(connection, _VERSION.name):
        return None
    return connection.scalar(select(_VERSION.c.version_num))


def _prepare_sqlite(connection: sqlite3.Connection, _: object) -> None:
    connection.execute("PRAGMA foreign_keys = ON")
    # Unlike every other statement, the switch to WAL does not wait for a lock: two processes that make the same
    # database would disturb each other. On a file that has it already this changes nothing.
    for attempt in range(1, _WAL_ATTEMPTS + 1):
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or attempt == _WAL_ATTEMPTS:
                raise
            time.sleep(_WAL_WAIT_S)
        else:
            return
