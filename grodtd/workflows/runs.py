"""What can be done with stored runs: list, show, compare, delete, export, migrate."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import date
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from grodtd.adapters.storage import RunStore, RunSummary, StoredRun
from grodtd.domain.errors import ConfigError, StorageError
from grodtd.domain.run import ExitReason, Metric, Trades
from grodtd.performance.summary import METRICS

if TYPE_CHECKING:
    import polars as pl

EXPORT_FORMATS: Final = ("parquet", "csv", "json")

_TIME_FORMAT: Final = "%Y-%m-%dT%H:%M:%S%.fZ"


def default_database_url(home: Path) -> str:
    """Return the URL of the SQLite database in a home folder."""
    return f"sqlite:///{quote(str(home / 'grodt.db'))}"


def list_runs(
    database_url: str,
    *,
    strategy: str | None = None,
    symbol: str | None = None,
    sort_by: str | None = None,
    limit: int = 50,
    show: Sequence[str] = (),
    before: str | None = None,
) -> Sequence[RunSummary]:
    """Return stored runs, the newest first, or the best first by a metric.

    Parameters
    ----------
    database_url : str
    strategy, symbol : str, optional
        Only runs with exactly this one.
    sort_by : str, optional
        A key of `METRICS`. Best is greatest, except for metrics where less is better; undefined comes last.
    limit : int
        At most this many.
    show : sequence of str
        Which metrics the summaries hold.
    before : str, optional
        Only runs stored before this one, by its full id.

    Raises
    ------
    ConfigError
        If there is no metric `sort_by`.
    NotFoundError
        If there is no run `before`.
    StorageError
        If the database cannot be read.
    """
    if sort_by is not None and sort_by not in METRICS:
        raise ConfigError(f"there is no metric {sort_by!r} to sort by; there are: {', '.join(METRICS)}")
    return RunStore(database_url).list(
        strategy=strategy,
        symbol=symbol,
        sort_by=sort_by,
        is_descending=sort_by is None or METRICS[sort_by].is_higher_better is not False,
        limit=limit,
        show=show,
        before=before,
    )


def resolve_runs(database_url: str, prefixes: Sequence[str]) -> list[str]:
    """Return the full ids of runs given by id or unique beginning, each once.

    Raises
    ------
    StorageError
        If one is not there or not unique.
    """
    store = RunStore(database_url)
    return list(dict.fromkeys(store.resolve(prefix) for prefix in prefixes))


def show_run(database_url: str, run: str) -> StoredRun:
    """Return a stored run by its id or a unique beginning of it.

    Raises
    ------
    StorageError
        If it is not there or not unique.
    """
    store = RunStore(database_url)
    return store.get(store.resolve(run))


def trades_of(database_url: str, run: str, *, first: int = 0, limit: int | None = None) -> list[dict[str, Any]]:
    """Return closed trades of a run, from number `first` on, as rows with times as ISO text and null for no level.

    Raises
    ------
    NotFoundError
        If there is no such run.
    """
    store = RunStore(database_url)
    frame = _with_pnl(store.trades(store.resolve(run), first=first, limit=limit))
    times = [name for name, kind in frame.schema.items() if kind.is_temporal()]
    frame = frame.with_columns([frame[name].dt.strftime(_TIME_FORMAT) for name in times])
    return [
        {name: None if isinstance(value, float) and math.isnan(value) else value for name, value in row.items()}
        for row in frame.to_dicts()
    ]


def daily_equity(database_url: str, run: str) -> list[tuple[date, float]]:
    """Return (UTC day, last mark of equity) of a run."""
    store = RunStore(database_url)
    return list(store.equity(store.resolve(run), is_daily=True).iter_rows())


@dataclass(frozen=True, slots=True)
class Comparison:
    """Runs side by side.

    Attributes
    ----------
    run_ids : tuple of str
    metrics : mapping of name to one metric a run
        None where a run has no such metric.
    differences : mapping of dotted manifest key to one value a run
        Only keys in which the runs differ, the result hash aside; None where a manifest has no such key.
    is_same_result : bool
        All runs have the same equity, positions and trades, to the bit.
    """

    run_ids: tuple[str, ...]
    metrics: Mapping[str, tuple[Metric | None, ...]]
    differences: Mapping[str, tuple[object, ...]]
    is_same_result: bool


def compare_runs(database_url: str, runs: Sequence[str]) -> Comparison:
    """Return metrics side by side and what differs in the manifests.

    Raises
    ------
    StorageError
        If one is not there or not unique, or there are fewer than two different ones.
    """
    store = RunStore(database_url)
    stored = [store.get(run_id) for run_id in resolve_runs(database_url, runs)]
    if len(stored) < 2:
        raise StorageError(f"comparing takes two different runs or more, found {', '.join(r.run_id for r in stored)}")
    names = dict.fromkeys(name for run in stored for name in run.metrics)
    manifests = [_flat(run.manifest.as_dict()) for run in stored]
    values = {
        key: tuple(manifest.get(key) for manifest in manifests)
        for key in dict.fromkeys(key for manifest in manifests for key in manifest)
    }
    differing = {key: found for key, found in values.items() if any(value != found[0] for value in found)}
    return Comparison(
        run_ids=tuple(run.run_id for run in stored),
        metrics={name: tuple(run.metrics.get(name) for run in stored) for name in names},
        differences={key: found for key, found in differing.items() if key != "result_hash"},
        is_same_result="result_hash" not in differing,
    )


def _flat(value: Mapping[str, object], prefix: str = "") -> dict[str, object]:
    found: dict[str, object] = {}
    for key, item in value.items():
        found |= _flat(item, f"{prefix}{key}.") if isinstance(item, Mapping) else {f"{prefix}{key}": item}
    return found


def delete_runs(database_url: str, run_ids: Sequence[str]) -> int:
    """Delete runs by their full ids, with all that belongs to them, and return how many.

    Raises
    ------
    StorageError
        If one is not there; none is deleted then.
    """
    return RunStore(database_url).delete(run_ids)


def export_run(database_url: str, run: str, folder: Path, file_format: str = "parquet") -> list[Path]:
    """Write a run into the folder ``<folder>/<run id>``: all of it, or nothing.

    Parameters
    ----------
    database_url : str
    run : str
        Id or unique beginning.
    folder : path
        Made if absent.
    file_format : {"parquet", "csv", "json"}
        Of trades and equity; manifest, metrics and scenarios are always JSON. Times are UTC; what is undefined is null,
        empty in csv.

    Returns
    -------
    list of path
        The files written.

    Raises
    ------
    StorageError
        If the format is unknown, there is no such run, it is exported there already, or the folder cannot be written.
    """
    if file_format not in EXPORT_FORMATS:
        raise StorageError(f"format {file_format!r} is not one of {', '.join(EXPORT_FORMATS)}")
    store = RunStore(database_url)
    stored = store.get(store.resolve(run))
    target = folder / stored.run_id
    if target.exists():
        raise StorageError(f"{target} is there already; delete it or choose another folder")
    documents = {
        "manifest": stored.manifest.as_dict(),
        "metrics": {k: metric_json(m) for k, m in stored.metrics.items()},
        "scenarios": {s: {k: metric_json(m) for k, m in found.items()} for s, found in stored.scenarios.items()},
    }
    frames = {"trades": _with_pnl(store.trades(stored.run_id)), "equity": store.equity(stored.run_id)}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # Beside the target, so that the rename stays inside one file system and the folder appears complete.
        with TemporaryDirectory(dir=folder, prefix=".export-") as temporary:
            part = Path(temporary) / stored.run_id
            part.mkdir()
            for name, document in documents.items():
                (part / f"{name}.json").write_text(json.dumps(document, indent=2, allow_nan=False) + "\n")
            for name, frame in frames.items():
                _write(frame, part / f"{name}.{file_format}", file_format)
            part.rename(target)
    except OSError as error:
        raise StorageError(f"{target} cannot be written: {error}") from error
    return sorted(target.iterdir())


def metric_json(metric: Metric) -> dict[str, object]:
    """Return a metric as JSON holds it: value or null, and whatever else there is: reason, flags that are set, note."""
    found: dict[str, object] = {"value": metric.value}
    if metric.reason is not None:
        found["reason"] = str(metric.reason)
    found |= {flag: True for flag in ("low_sample", "extrapolated") if getattr(metric, flag)}
    return found | ({"note": metric.note} if metric.note else {})


def _with_pnl(frame: pl.DataFrame) -> pl.DataFrame:
    """Add gross profit, slippage, fees and net profit, by the one definition there is of them."""
    codes = {reason.name: int(reason) for reason in ExitReason}
    columns = {f.name: frame[f.name] for f in fields(Trades)}
    columns["exit_reason"] = columns["exit_reason"].replace_strict(codes)
    for name in ("stop", "target"):
        columns[name] = columns[name].fill_null(math.nan)
    trades = Trades(**{name: column.to_numpy() for name, column in columns.items()})
    return frame.with_columns(gross_pnl=trades.gross_pnl, slippage=trades.slippage, fees=trades.fees, pnl=trades.pnl)


def _write(frame: pl.DataFrame, file: Path, file_format: str) -> None:
    if file_format == "parquet":
        frame.write_parquet(file)
    elif file_format == "csv":
        frame.write_csv(file, datetime_format=_TIME_FORMAT)
    else:
        times = [name for name, kind in frame.schema.items() if kind.is_temporal()]
        frame.with_columns([frame[name].dt.strftime(_TIME_FORMAT) for name in times]).write_json(file)


def migrate(database_url: str) -> str:
    """Bring the database to the newest schema and return its revision.

    Raises
    ------
    StorageError
        If the database cannot be reached, or was made by a newer version.
    """
    return RunStore(database_url).migrate()
