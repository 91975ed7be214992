"""Finished runs: save, list, read back to the bit, delete."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt
from sqlalchemy import (
    BigInteger,
    Boolean,
    Connection,
    Double,
    Row,
    Select,
    SmallInteger,
    Text,
    and_,
    delete,
    func,
    or_,
    select,
)
from sqlalchemy.exc import IntegrityError

from grodtd.adapters.storage.database import Database
from grodtd.adapters.storage.equity import daily_marks, decode_equity, encode_equity
from grodtd.adapters.storage.schema import EQUITY_CURVES, EQUITY_DAYS, MANIFESTS, METRICS, RUNS, TRADES
from grodtd.domain.bars import US_PER_S
from grodtd.domain.errors import NotFoundError, StorageError
from grodtd.domain.run import ExitReason, Manifest, Metric, Reason, RunResult

if TYPE_CHECKING:
    import polars as pl

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_IDS_A_SECOND_MAX: Final = 1_000
_CANDIDATES_SHOWN: Final = 10


@dataclass(frozen=True, slots=True)
class RunSummary:
    """What a list shows of a run; `metrics` holds those that were asked for."""

    run_id: str
    created_at: datetime
    command: str
    strategy: str
    params: Mapping[str, float | int]
    venue: str
    symbol: str
    timeframe: str
    start: str
    end: str
    n_bars: int
    n_trades: int
    metrics: Mapping[str, Metric]


@dataclass(frozen=True, slots=True)
class StoredRun:
    """A stored run without its trades and equity; `counters` and `stopped` as in `RunResult`.

    `scenarios` is empty for a run of a version that did not store them.
    """

    run_id: str
    created_at: datetime
    manifest: Manifest
    metrics: Mapping[str, Metric]
    counters: Mapping[str, int]
    stopped: tuple[int, str] | None
    n_trades: int
    scenarios: Mapping[str, Mapping[str, Metric]] = field(default_factory=dict)


class RunStore:
    """The run database. Every method raises `StorageError` if it cannot be reached, read or written.

    Parameters
    ----------
    url : str
        ``sqlite:///folder/file.db``: made, and brought to the newest schema, on first use.
        ``postgresql://user:password@host:port/name``: refused until `migrate` has brought it to the newest schema.

    Notes
    -----
    float64 values come back bit for bit, -0.0 included. Nothing undefined is stored as a number: nan is null.
    """

    def __init__(self, url: str) -> None:
        self._database = Database(url)

    def __repr__(self) -> str:
        return f"RunStore({self._database.name!r})"

    def migrate(self) -> str:
        """Bring the schema to the newest revision and return that revision."""
        return self._database.migrate()

    def save(
        self,
        manifest: Manifest,
        metrics: Mapping[str, Metric],
        result: RunResult,
        *,
        created_at: datetime,
        scenarios: Mapping[str, Mapping[str, Metric]] | None = None,
    ) -> str:
        """Store a run in one transaction and return its id.

        Parameters
        ----------
        manifest : Manifest
            With its `result_hash`.
        metrics : mapping of str to Metric
            In the order they are to be shown in.
        result : RunResult
        created_at : datetime
            With a time zone.
        scenarios : mapping of str to mapping of str to Metric, optional
            The headline at other costs and at both ends of ambiguous bars; not part of the manifest, since running it
            again gives them again.

        Returns
        -------
        str
            ``YYYYMMDDTHHMMSS-`` and the first 8 digits of the result hash; ``-2``, ``-3``, ... after it when taken.

        Raises
        ------
        StorageError
            If a number is not finite that must be, the manifest is more than JSON can hold, or the database refuses;
            nothing is stored then.
        """
        if created_at.tzinfo is None or not manifest.result_hash:
            raise StorageError("a run is stored with a creation time that has a time zone, and with its result hash")
        # All work on values comes first: the transaction, and with it the lock on SQLite, is held only to write.
        trades = _trade_columns(result)
        _require_finite("equity", result.equity)
        _require_finite("qty", result.qty)
        parquet = encode_equity(result)
        curve = {"sha256": hashlib.sha256(parquet).hexdigest(), "parquet": parquet}
        days = daily_marks(result)
        description = _plain_json(manifest)
        at = created_at.astimezone(UTC)
        run: dict[str, object] = {
            "created_at_us": (at - _EPOCH) // _MICROSECOND,
            "command": manifest.command,
            "strategy": manifest.strategy,
            "venue": manifest.venue,
            "symbol": manifest.symbol,
            "timeframe": manifest.timeframe,
            "start_at": manifest.start,
            "end_at": manifest.end,
            "n_bars": manifest.n_bars,
            "n_trades": len(result.trades),
            "counters": dict(result.counters),
            "stopped_bar": result.stopped[0] if result.stopped else None,
            "stopped_reason": result.stopped[1] if result.stopped else None,
            "scenarios": {
                scenario: {name: asdict(metric) for name, metric in found.items()}
                for scenario, found in (scenarios or {}).items()
            },
        }
        with self._database.transaction(is_write=True) as connection:
            run_id = _insert_run(connection, f"{at:%Y%m%dT%H%M%S}-{manifest.result_hash[:8]}", run)
            connection.execute(MANIFESTS.insert(), {"run_id": run_id, "manifest": description})
            if metrics:
                connection.execute(METRICS.insert(), _metric_rows(run_id, metrics))
            if len(result.trades):
                # As plain tuples: naming 22 values in each of 18,000 rows would double the time of a save.
                statement = str(TRADES.insert().compile(connection.engine))
                connection.exec_driver_sql(statement, [(run_id, *row) for row in zip(*trades, strict=True)])
            connection.execute(EQUITY_CURVES.insert(), {"run_id": run_id, **curve})
            if days:
                connection.execute(
                    EQUITY_DAYS.insert(), [{"run_id": run_id, "day": day, "equity": equity} for day, equity in days]
                )
        return run_id

    def list(
        self,
        *,
        strategy: str | None = None,
        symbol: str | None = None,
        sort_by: str | None = None,
        is_descending: bool = True,
        show: Sequence[str] = (),
        limit: int = 50,
        before: str | None = None,
    ) -> Sequence[RunSummary]:
        """Return stored runs, the newest first, or sorted by a metric.

        Parameters
        ----------
        strategy, symbol : str, optional
            Only runs with exactly this one.
        sort_by : str, optional
            Name of a metric. Runs where it is undefined or absent come last in both directions (C6), equal ones
            newest first.
        is_descending : bool
            Greatest value of `sort_by` first.
        show : sequence of str
            Which metrics the summaries hold; a run that lacks one lacks the key.
        limit : int
            At most this many runs.
        before : str, optional
            Only runs stored before this one, by its full id: the last one of a page gives the next page.
        """
        query = select(RUNS, MANIFESTS.c.manifest).join(MANIFESTS).limit(limit)
        if before is not None:
            last = select(RUNS.c.created_at_us).where(RUNS.c.run_id == before).scalar_subquery()
            is_older = or_(RUNS.c.created_at_us < last, and_(RUNS.c.created_at_us == last, RUNS.c.run_id < before))
            query = query.where(is_older)
        if strategy is not None:
            query = query.where(RUNS.c.strategy == strategy)
        if symbol is not None:
            query = query.where(RUNS.c.symbol == symbol)
        if sort_by is not None:
            query = _sorted_by(query, sort_by, is_descending=is_descending)
        query = query.order_by(RUNS.c.created_at_us.desc(), RUNS.c.run_id.desc())
        with self._database.transaction() as connection:
            if before is not None:
                _require(connection, before)
            rows = connection.execute(query).all()
            found: dict[str, dict[str, Metric]] = {row.run_id: {} for row in rows}
            if show:
                wanted = METRICS.c.run_id.in_(list(found)) & METRICS.c.name.in_(show)
                for metric in connection.execute(select(METRICS).where(wanted).order_by(METRICS.c.position)):
                    found[metric.run_id][metric.name] = _metric(metric)
        return [
            RunSummary(
                run_id=row.run_id,
                created_at=_time(row.created_at_us),
                command=row.command,
                strategy=row.strategy,
                params=row.manifest["params"],
                venue=row.venue,
                symbol=row.symbol,
                timeframe=row.timeframe,
                start=row.start_at,
                end=row.end_at,
                n_bars=row.n_bars,
                n_trades=row.n_trades,
                metrics=found[row.run_id],
            )
            for row in rows
        ]

    def get(self, run_id: str) -> StoredRun:
        """Return a run by its full id, with manifest and all metrics.

        Raises
        ------
        StorageError
            If there is no such run, or its manifest was written by another version and does not fit this one.
        """
        with self._database.transaction() as connection:
            _require(connection, run_id)
            row = connection.execute(
                select(RUNS, MANIFESTS.c.manifest).join(MANIFESTS).where(RUNS.c.run_id == run_id)
            ).one()
            metrics = connection.execute(
                select(METRICS).where(METRICS.c.run_id == run_id).order_by(METRICS.c.position)
            ).all()
        try:
            manifest = Manifest(**row.manifest)
        except TypeError as error:
            raise StorageError(
                f"the manifest of run {run_id} does not fit this program: {error}; update grodt"
            ) from error
        return StoredRun(
            run_id=run_id,
            created_at=_time(row.created_at_us),
            manifest=manifest,
            metrics={metric.name: _metric(metric) for metric in metrics},
            counters=row.counters,
            stopped=None if row.stopped_bar is None else (row.stopped_bar, row.stopped_reason),
            n_trades=row.n_trades,
            scenarios={
                scenario: {name: _metric_of(run_id, name, stored) for name, stored in found.items()}
                for scenario, found in row.scenarios.items()
            },
        )

    def trades(self, run_id: str, *, first: int = 0, limit: int | None = None) -> pl.DataFrame:
        """Return the closed trades of a run, one row each, in order of exit.

        Parameters
        ----------
        run_id : str
        first : int
            From this number on.
        limit : int, optional
            At most this many.

        Returns
        -------
        polars.DataFrame
            `number` from 0; the columns of `Trades`, with null for a stop or target that was absent and the exit
            reason by name; and as UTC times `decided_at` (close of the decision bar), `entry_bar_at` and
            `exit_bar_at` (open of the fills' bars).
        """
        import polars as pl

        types = {BigInteger: pl.Int64, SmallInteger: pl.Int8, Double: pl.Float64, Boolean: pl.Boolean, Text: pl.String}
        columns = [column for column in TRADES.columns if column.name != "run_id"]
        wanted = (TRADES.c.run_id == run_id) & (TRADES.c.number >= first)
        query = select(*columns).where(wanted).order_by(TRADES.c.number).limit(limit)
        with self._database.transaction() as connection:
            _require(connection, run_id)
            rows = [tuple(row) for row in connection.execute(query)]
        frame = pl.DataFrame(rows, schema={c.name: types[type(c.type)] for c in columns}, orient="row")
        utc = pl.Datetime("us", "UTC")
        times = [c.name for c in columns if c.name.endswith("_at_us")]
        return frame.with_columns(pl.col(times).cast(utc)).rename({name: name.removesuffix("_us") for name in times})

    def equity(self, run_id: str, *, is_daily: bool = False) -> pl.DataFrame:
        """Return the equity curve of a run.

        Parameters
        ----------
        run_id : str
        is_daily : bool
            False: one row a bar: `time` (UTC, of the bar's close), `equity`, `qty`, `held`, as in `RunResult`.
            True: one row a UTC day with bars: `day`, `equity` (the last mark up to and including the next midnight).

        Raises
        ------
        StorageError
            If there is no such run, or the stored curve is damaged.
        """
        import polars as pl

        if is_daily:
            days = EQUITY_DAYS.c
            query = select(days.day, days.equity).where(days.run_id == run_id).order_by(days.day)
            with self._database.transaction() as connection:
                _require(connection, run_id)
                rows = [tuple(row) for row in connection.execute(query)]
            return pl.DataFrame(rows, schema={"day": pl.Date, "equity": pl.Float64}, orient="row")
        with self._database.transaction() as connection:
            _require(connection, run_id)
            curve = connection.execute(select(EQUITY_CURVES).where(EQUITY_CURVES.c.run_id == run_id)).one_or_none()
        if curve is None:
            raise NotFoundError(
                f"retention has removed the equity curve of run {run_id}; its daily marks are kept, and"
                " `grodt verify` makes the curve again"
            )
        if hashlib.sha256(curve.parquet).hexdigest() != curve.sha256:
            raise StorageError(f"the equity curve of run {run_id} is damaged; restore a backup or run it again")
        return decode_equity(curve.parquet)

    def delete(self, run_ids: Iterable[str]) -> int:
        """Delete runs by their full ids, with all they left behind, and return how many.

        Raises
        ------
        StorageError
            If one of them does not exist; none is deleted then.
        """
        wanted = sorted(set(run_ids))
        with self._database.transaction(is_write=True) as connection:
            for run_id in wanted:
                _require(connection, run_id)
            connection.execute(delete(RUNS).where(RUNS.c.run_id.in_(wanted)))
        return len(wanted)

    def resolve(self, prefix: str) -> str:
        """Return the only run id that is `prefix` or begins with it.

        Raises
        ------
        StorageError
            If `prefix` is empty, there is no such run, or more than one; the message lists the newest candidates.
        """
        if not prefix:
            raise StorageError("the id of a run is empty; `grodt runs list` shows them")
        # Not LIKE: on SQLite it ignores case, and an underscore would mean any character.
        begins = func.substr(RUNS.c.run_id, 1, len(prefix)) == prefix
        query = select(RUNS.c.run_id).where(begins).order_by(RUNS.c.created_at_us.desc(), RUNS.c.run_id.desc())
        with self._database.transaction() as connection:
            if _exists(connection, prefix):
                return prefix
            found = connection.scalars(query.limit(_CANDIDATES_SHOWN + 1)).all()
        if not found:
            raise NotFoundError(f"there is no run {prefix!r}; `grodt runs list` shows them")
        if len(found) > 1:
            more = " and more" if len(found) > _CANDIDATES_SHOWN else ""
            raise NotFoundError(
                f"{prefix!r} is the beginning of several runs: {', '.join(found[:_CANDIDATES_SHOWN])}{more};"
                " write more of the id"
            )
        return str(found[0])


def _insert_run(connection: Connection, wanted: str, run: Mapping[str, object]) -> str:
    """Insert the row of a run under `wanted`, or the first free id after it, and return the id."""
    for number in range(1, _IDS_A_SECOND_MAX + 1):
        run_id = wanted if number == 1 else f"{wanted}-{number}"
        if _exists(connection, run_id):
            continue
        try:
            with connection.begin_nested():
                connection.execute(RUNS.insert(), {"run_id": run_id, **run})
        except IntegrityError:  # on PostgreSQL another process may take it after we looked
            if not _exists(connection, run_id):
                raise
        else:
            return run_id
    raise StorageError(f"{_IDS_A_SECOND_MAX} runs are stored as {wanted} already; wait a second")


def _exists(connection: Connection, run_id: str) -> bool:
    return connection.scalar(select(RUNS.c.run_id).where(RUNS.c.run_id == run_id)) is not None


def _require(connection: Connection, run_id: str) -> None:
    if not _exists(connection, run_id):
        raise NotFoundError(f"there is no run {run_id!r}; `grodt runs list` shows them")


def _sorted_by(query: Select[Any], metric: str, *, is_descending: bool) -> Select[Any]:
    value = METRICS.c.value
    return query.outerjoin(METRICS, and_(METRICS.c.run_id == RUNS.c.run_id, METRICS.c.name == metric)).order_by(
        value.is_(None), value.desc() if is_descending else value.asc()
    )


def _plain_json(manifest: Manifest) -> object:
    """Return the manifest as it will be read again: what JSON cannot hold is refused now, on every database alike."""
    try:
        return json.loads(json.dumps(manifest.as_dict(), allow_nan=False))
    except (TypeError, ValueError) as error:
        raise StorageError(f"the manifest of the run cannot be stored: {error}; nothing was stored") from error


def _metric_rows(run_id: str, metrics: Mapping[str, Metric]) -> list[dict[str, object]]:
    return [
        {
            "run_id": run_id,
            "name": name,
            "position": position,
            "value": None if metric.value is None else float(metric.value),
            "reason": None if metric.reason is None else str(metric.reason),
            "low_sample": metric.low_sample,
            "extrapolated": metric.extrapolated,
            "note": metric.note,
        }
        for position, (name, metric) in enumerate(metrics.items())
    ]


def _metric(row: Row[Any]) -> Metric:  # Any: a row has no static type
    stored = {f.name: getattr(row, f.name) for f in fields(Metric)}
    return _metric_of(row.run_id, row.name, stored)


def _metric_of(run_id: str, name: str, stored: Mapping[str, Any]) -> Metric:  # Any: read from a database
    try:
        reason = stored["reason"]
        return Metric(**{**stored, "reason": None if reason is None else Reason(reason)})
    except (KeyError, TypeError, ValueError) as error:
        raise StorageError(f"metric {name} of run {run_id} cannot be read: {error}; update grodt") from error


def _trade_columns(result: RunResult) -> list[Sequence[object]]:
    """Return one sequence a column of the trades table, in its order, without the run id."""
    trades, opens = result.trades, result.bars.time
    columns: dict[str, Sequence[object]] = {
        "number": range(len(trades)),
        "decided_at_us": (opens[trades.decision_bar] + result.bars.interval_s * US_PER_S).tolist(),
        "entry_bar_at_us": opens[trades.entry_bar].tolist(),
        "exit_bar_at_us": opens[trades.exit_bar].tolist(),
    }
    for name, array in trades.columns():
        values = array.tolist()
        if name in ("stop", "target"):
            is_absent = np.isnan(array)
            _require_finite(name, array[~is_absent])
            values = [None if absent else value for value, absent in zip(values, is_absent, strict=True)]
        else:
            _require_finite(name, array)
        columns[name] = values
    names = {int(reason): reason.name for reason in ExitReason}
    columns["exit_reason"] = [names[code] for code in trades.exit_reason.tolist()]
    return [columns[column.name] for column in TRADES.columns if column.name != "run_id"]


def _require_finite(name: str, array: npt.NDArray[Any]) -> None:  # Any: integers are finite too
    if not np.isfinite(array).all():
        raise StorageError(f"{name} of the run has a value that is not a finite number; nothing was stored")


def _time(time_us: int) -> datetime:
    return _EPOCH + time_us * _MICROSECOND
