"""Finished runs, kept whole: what went in, what came out, and the proof that it can be made again."""

from __future__ import annotations

import fcntl
import hashlib
import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine, make_url

from grodtd.adapters.storage import tables
from grodtd.domain.bars import DAY_S, US_PER_S
from grodtd.domain.errors import StorageError
from grodtd.domain.run import ExitReason, Manifest, Metric, Reason, RunResult

if TYPE_CHECKING:
    import polars as pl

HEAD: Final = "0001"
_MIGRATIONS: Final = Path(__file__).parent / "migrations"


@dataclass(frozen=True, slots=True)
class RunSummary:
    """One line of `grodt runs list`."""

    run_id: str
    created_at: datetime
    strategy: str
    venue: str
    symbol: str
    timeframe: str
    start: str
    end: str
    metrics: Mapping[str, float | None]


@dataclass(frozen=True, slots=True)
class StoredRun:
    """A run as stored, without its curves."""

    run_id: str
    created_at: datetime
    manifest: Manifest
    metrics: Mapping[str, Metric]


class RunStore:
    """Runs in a database.

    Parameters
    ----------
    url : str
        ``sqlite:///path`` or ``postgresql://user@host/name``. SQLite is brought to the present schema on first use;
        PostgreSQL only by `migrate`, and until then every call says so.
    """

    def __init__(self, url: str) -> None:
        try:
            self._url = make_url(url)
            if self._url.drivername == "postgresql":
                self._url = self._url.set(drivername="postgresql+psycopg")
            if self.is_sqlite and self._url.database:
                Path(self._url.database).parent.mkdir(parents=True, exist_ok=True)
            self._engine = sa.create_engine(self._url)
        except (sa.exc.ArgumentError, sa.exc.NoSuchModuleError, ImportError, OSError) as error:
            raise StorageError(
                f"the run database cannot be opened: {error}; give sqlite:///FILE or postgresql://..."
            ) from error
        if self.is_sqlite:
            sa.event.listen(self._engine, "connect", _sqlite_settings)
        self._is_checked = False

    @property
    def is_sqlite(self) -> bool:
        """Whether this is a file of our own."""
        return self._url.get_backend_name() == "sqlite"

    def __repr__(self) -> str:
        return f"RunStore({self._url.render_as_string(hide_password=True)!r})"

    @contextmanager
    def _connection(self) -> Iterator[Connection]:
        """Open a transaction on a database at the present schema; its errors become StorageError, without passwords."""
        shown = self._url.render_as_string(hide_password=True)
        try:
            self._check_schema()
            with self._engine.begin() as connection:
                yield connection
        except sa.exc.SQLAlchemyError as error:
            cause = getattr(error, "orig", None) or type(error).__name__
            raise StorageError(f"{shown}: {cause}; nothing was changed") from error

    def _check_schema(self) -> None:
        if self._is_checked:
            return
        found = self.revision()
        if found != HEAD:
            if not self.is_sqlite:
                raise StorageError(
                    f"{self._url.render_as_string(hide_password=True)} has schema {found or 'none'}, this version needs"
                    f" {HEAD}; run `grodt runs migrate`"
                )
            self.migrate()
        self._is_checked = True

    def revision(self) -> str | None:
        """Return the schema revision of the database; None if it is empty."""
        with self._engine.connect() as connection:
            if not sa.inspect(connection).has_table("alembic_version"):
                return None
            found = connection.execute(sa.text("select version_num from alembic_version")).scalar()
            return None if found is None else str(found)

    def migrate(self, revision: str = "head") -> None:
        """Bring the schema to ``head`` (or, dropping everything, to ``base``); safe from two processes at once.

        Raises
        ------
        StorageError
            If the database cannot be reached, or is newer than this version knows.
        """
        from alembic import command
        from alembic.config import Config
        from alembic.util import CommandError

        config = Config()
        config.set_main_option("script_location", str(_MIGRATIONS))
        config.attributes["engine"] = self._engine
        try:
            with self._migration_lock():
                if revision == "base":
                    command.downgrade(config, revision)
                else:
                    command.upgrade(config, revision)
        except (CommandError, sa.exc.SQLAlchemyError) as error:
            shown = self._url.render_as_string(hide_password=True)
            raise StorageError(f"{shown}: cannot be brought to schema {revision}: {error}") from error
        self._is_checked = False

    @contextmanager
    def _migration_lock(self) -> Iterator[None]:
        if self.is_sqlite and self._url.database:
            with Path(f"{self._url.database}.lock").open("w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                yield
        elif self.is_sqlite:
            yield
        else:
            with self._engine.connect() as connection:
                connection.execute(sa.text("select pg_advisory_lock(7262331)"))
                try:
                    yield
                finally:
                    connection.execute(sa.text("select pg_advisory_unlock(7262331)"))

    def save(
        self, manifest: Manifest, metrics: Mapping[str, Metric], result: RunResult, *, created_at: datetime
    ) -> str:
        """Store a run in one transaction and return its id: time, and the beginning of its result hash.

        Raises
        ------
        StorageError
            If it cannot be written; nothing is stored then.
        """
        curve = _compressed(result)
        base = f"{created_at.astimezone(UTC):%Y%m%dT%H%M%S}-{manifest.result_hash[:8]}"
        with self._connection() as connection:
            run_id = _free_id(connection, base)
            connection.execute(
                tables.runs.insert(),
                {
                    "run_id": run_id,
                    "created_us": _microseconds(created_at),
                    **{c: getattr(manifest, c) for c in ("strategy", "venue", "symbol", "timeframe", "start", "end")},
                    **{c: getattr(manifest, c) for c in ("data_hash", "strategy_code_hash", "result_hash")},
                },
            )
            connection.execute(tables.manifests.insert(), {"run_id": run_id, "manifest": manifest.as_dict()})
            rows = [
                {
                    "run_id": run_id,
                    "name": name,
                    "position": i,
                    "value": m.value,
                    "reason": None if m.reason is None else str(m.reason),
                    "low_sample": m.low_sample,
                    "extrapolated": m.extrapolated,
                    "note": m.note,
                }
                for i, (name, m) in enumerate(metrics.items())
            ]
            if rows:
                connection.execute(tables.metrics.insert(), rows)
            closed = _trade_rows(run_id, result)
            if closed:
                connection.execute(tables.trades.insert(), closed)
            connection.execute(tables.equity_days.insert(), _day_rows(run_id, result))
            connection.execute(tables.equity.insert(), {"run_id": run_id, **curve})
        return run_id

    def list(
        self,
        *,
        strategy: str | None = None,
        symbol: str | None = None,
        sort_by: str | None = None,
        limit: int = 50,
        show: Sequence[str] = (),
    ) -> list[RunSummary]:
        """Return runs, newest first, or best first by a metric; runs without a value of it come last.

        Parameters
        ----------
        show : sequence of str
            Metrics to return with each run.
        """
        query = sa.select(tables.runs)
        if strategy:
            query = query.where(tables.runs.c.strategy == strategy)
        if symbol:
            query = query.where(tables.runs.c.symbol == symbol)
        if sort_by:
            m = tables.metrics.alias()
            query = query.outerjoin(m, (m.c.run_id == tables.runs.c.run_id) & (m.c.name == sort_by))
            query = query.order_by(m.c.value.is_(None), m.c.value.desc())
        query = query.order_by(tables.runs.c.created_us.desc(), tables.runs.c.run_id.desc()).limit(limit)
        wanted = [*show, *([sort_by] if sort_by else [])]
        with self._connection() as connection:
            found = connection.execute(query).mappings().all()
            ids = [row["run_id"] for row in found]
            values: dict[tuple[str, str], float | None] = {
                (row.run_id, row.name): row.value
                for row in connection.execute(
                    sa.select(tables.metrics.c.run_id, tables.metrics.c.name, tables.metrics.c.value).where(
                        tables.metrics.c.run_id.in_(ids), tables.metrics.c.name.in_(wanted)
                    )
                )
            }
        return [
            RunSummary(
                created_at=_datetime(row["created_us"]),
                metrics={name: values.get((row["run_id"], name)) for name in wanted},
                **{f.name: row[f.name] for f in fields(RunSummary) if f.name not in ("created_at", "metrics")},
            )
            for row in found
        ]

    def resolve(self, prefix: str) -> str:
        """Return the one run id that starts with `prefix`.

        Raises
        ------
        StorageError
            If there is none, or more than one; the message lists them.
        """
        query = sa.select(tables.runs.c.run_id).where(tables.runs.c.run_id.startswith(prefix, autoescape=True))
        with self._connection() as connection:
            found = connection.execute(query.order_by(tables.runs.c.run_id).limit(6)).scalars().all()
        if prefix in found:
            return prefix
        if len(found) != 1:
            what = "no run" if not found else f"more than one run ({', '.join(found[:5])})"
            raise StorageError(f"{what} starts with {prefix!r}; `grodt runs list` shows them")
        return str(found[0])

    def get(self, run_id: str) -> StoredRun:
        """Return a run's manifest and metrics.

        Raises
        ------
        StorageError
            If there is no such run.
        """
        with self._connection() as connection:
            run = connection.execute(
                sa.select(tables.runs.c.created_us, tables.manifests.c.manifest)
                .join(tables.manifests)
                .where(tables.runs.c.run_id == run_id)
            ).first()
            if run is None:
                raise StorageError(f"there is no run {run_id!r}; `grodt runs list` shows them")
            rows = connection.execute(
                sa.select(tables.metrics).where(tables.metrics.c.run_id == run_id).order_by(tables.metrics.c.position)
            ).all()
        metrics = {
            row.name: Metric(
                row.value,
                None if row.reason is None else Reason(row.reason),
                low_sample=row.low_sample,
                extrapolated=row.extrapolated,
                note=row.note,
            )
            for row in rows
        }
        return StoredRun(run_id, _datetime(run.created_us), Manifest(**run.manifest), metrics)

    def trades(self, run_id: str) -> pl.DataFrame:
        """Return a run's trades, one row each, times as UTC."""
        import polars as pl

        columns = [c for c in tables.trades.c if c.name != "run_id"]
        with self._connection() as connection:
            rows = connection.execute(
                sa.select(*columns).where(tables.trades.c.run_id == run_id).order_by(tables.trades.c.number)
            ).all()
        times = [name for name in (c.name for c in columns) if name.endswith("_us")]
        frame = pl.DataFrame(
            [tuple(row) for row in rows],
            schema={c.name: _polars_type(c.type) for c in columns},
            orient="row",
        )
        return frame.with_columns(pl.col(times).cast(pl.Datetime("us", "UTC"))).rename(
            {name: name.replace("_us", "_at") for name in times}
        )

    def equity(self, run_id: str) -> pl.DataFrame:
        """Return a run's equity and position at each bar's close.

        Raises
        ------
        StorageError
            If there is no such run, or its curve is damaged.
        """
        import polars as pl

        with self._connection() as connection:
            row = connection.execute(sa.select(tables.equity).where(tables.equity.c.run_id == run_id)).first()
        if row is None:
            raise StorageError(f"there is no run {run_id!r}; `grodt runs list` shows them")
        if hashlib.sha256(row.parquet).hexdigest() != row.sha256:
            raise StorageError(f"the equity curve of run {run_id} is damaged; run it again")
        return pl.read_parquet(io.BytesIO(row.parquet))

    def delete(self, run_ids: Sequence[str]) -> int:
        """Delete runs with all that belongs to them; return how many there were."""
        with self._connection() as connection:
            done = connection.execute(tables.runs.delete().where(tables.runs.c.run_id.in_(list(run_ids))))
            return int(done.rowcount)

    def engine(self) -> Engine:
        """Return the engine, for migrations' own tests."""
        return self._engine


def _sqlite_settings(connection: Any, _record: object) -> None:  # Any: a DBAPI connection
    cursor = connection.cursor()
    for setting in ("busy_timeout = 30000", "journal_mode = wal", "foreign_keys = on", "synchronous = normal"):
        cursor.execute(f"pragma {setting}")
    cursor.close()


def _free_id(connection: Connection, base: str) -> str:
    """The same result stored twice in one second gets a suffix."""
    taken = set(
        connection.execute(
            sa.select(tables.runs.c.run_id).where(tables.runs.c.run_id.startswith(base, autoescape=True))
        ).scalars()
    )
    return base if base not in taken else next(i for n in range(2, 10**6) if (i := f"{base}-{n}") not in taken)


def _microseconds(at: datetime) -> int:
    return round(at.timestamp() * US_PER_S)


def _datetime(time_us: int) -> datetime:
    return datetime.fromtimestamp(time_us / US_PER_S, UTC)


def _trade_rows(run_id: str, result: RunResult) -> list[dict[str, object]]:
    trades, time = result.trades, result.bars.time
    interval_us = result.bars.interval_s * US_PER_S
    columns: dict[str, list[Any]] = {name: values.tolist() for name, values in trades.columns()}
    columns["exit_reason"] = [ExitReason(code).name for code in columns["exit_reason"]]
    for name in ("stop", "target"):
        columns[name] = [None if value != value else value for value in columns[name]]  # noqa: PLR0124 nan
    columns["decision_us"] = (time[trades.decision_bar] + interval_us).tolist()
    columns["entry_us"] = time[trades.entry_bar].tolist()
    columns["exit_us"] = time[trades.exit_bar].tolist()
    columns["pnl"] = trades.pnl.tolist()
    names = list(columns)
    return [
        {"run_id": run_id, "number": i, **dict(zip(names, row, strict=True))}
        for i, row in enumerate(zip(*columns.values(), strict=True))
    ]


def _day_rows(run_id: str, result: RunResult) -> list[dict[str, object]]:
    """The last mark of each UTC day that has bars."""
    time = result.bars.time
    day = time // (DAY_S * US_PER_S)
    last = [*(day[1:] != day[:-1]).nonzero()[0].tolist(), len(time) - 1]
    interval_us = result.bars.interval_s * US_PER_S
    return [{"run_id": run_id, "time_us": int(time[i]) + interval_us, "equity": float(result.equity[i])} for i in last]


def _compressed(result: RunResult) -> dict[str, object]:
    import polars as pl

    buffer = io.BytesIO()
    closes = pl.Series(result.bars.time + result.bars.interval_s * US_PER_S).cast(pl.Datetime("us", "UTC"))
    pl.DataFrame({"time": closes, "equity": result.equity, "qty": result.qty}).write_parquet(
        buffer, compression="zstd", compression_level=1
    )
    content = buffer.getvalue()
    return {"n_bars": len(result.bars), "sha256": hashlib.sha256(content).hexdigest(), "parquet": content}


def _polars_type(column: sa.types.TypeEngine[Any]) -> Any:  # Any: polars types are classes
    import polars as pl

    for kind, found in ((sa.Boolean, pl.Boolean), (sa.String, pl.String), (sa.Double, pl.Float64)):
        if isinstance(column, kind):
            return found
    return pl.Int64
