"""What can be done with stored runs: list, show, compare, delete, export, migrate."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from grodtd.adapters.storage import RunStore, RunSummary, StoredRun
from grodtd.domain.errors import StorageError
from grodtd.domain.run import Metric

EXPORT_FORMATS: Final = ("parquet", "csv", "json")


def default_database_url(home: Path) -> str:
    """Return the URL of the SQLite database in a home folder."""
    return f"sqlite:///{home / 'grodt.db'}"


def list_runs(
    database_url: str,
    *,
    strategy: str | None = None,
    symbol: str | None = None,
    sort_by: str | None = None,
    limit: int = 50,
    show: Sequence[str] = (),
) -> list[RunSummary]:
    """Return runs, newest first, or best first by a metric."""
    return RunStore(database_url).list(strategy=strategy, symbol=symbol, sort_by=sort_by, limit=limit, show=show)


def show_run(database_url: str, run_id: str) -> StoredRun:
    """Return a stored run by its id or a unique beginning of it."""
    store = RunStore(database_url)
    return store.get(store.resolve(run_id))


@dataclass(frozen=True)
class Comparison:
    """Runs side by side.

    Attributes
    ----------
    run_ids : tuple of str
    metrics : mapping of name to one metric (or None) a run
    differences : mapping of dotted manifest key to one value a run
        Only keys in which the runs differ; the result hash left out.
    """

    run_ids: tuple[str, ...]
    metrics: Mapping[str, tuple[Metric | None, ...]]
    differences: Mapping[str, tuple[object, ...]]


def compare_runs(database_url: str, run_ids: Sequence[str]) -> Comparison:
    """Return metrics side by side and what differs in the manifests.

    Raises
    ------
    StorageError
        If there are fewer than two runs, or one is not there.
    """
    if len(run_ids) < 2:
        raise StorageError(f"comparing takes two or more runs, found {len(run_ids)}")
    runs = [show_run(database_url, run_id) for run_id in run_ids]
    names = list(dict.fromkeys(name for run in runs for name in run.metrics))
    manifests = [_flat(run.manifest.as_dict()) for run in runs]
    keys = list(dict.fromkeys(key for manifest in manifests for key in manifest))
    values = {key: tuple(manifest.get(key) for manifest in manifests) for key in keys if key != "result_hash"}
    return Comparison(
        run_ids=tuple(run.run_id for run in runs),
        metrics={name: tuple(run.metrics.get(name) for run in runs) for name in names},
        differences={key: found for key, found in values.items() if any(v != found[0] for v in found[1:])},
    )


def _flat(value: Mapping[str, object], prefix: str = "") -> dict[str, object]:
    found: dict[str, object] = {}
    for key, item in value.items():
        if isinstance(item, Mapping):
            found |= _flat(item, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = item
    return found


def delete_runs(database_url: str, run_ids: Sequence[str]) -> list[str]:
    """Delete runs; return their full ids. Nothing is deleted if one of them is not there."""
    store = RunStore(database_url)
    found = [store.resolve(run_id) for run_id in run_ids]
    store.delete(found)
    return found


def export_run(database_url: str, run_id: str, folder: Path, file_format: str = "parquet") -> list[Path]:
    """Write a run's manifest, metrics, trades and equity into <folder>/<run id>; return the files.

    Raises
    ------
    StorageError
        If the format is unknown, the folder is already there, or nothing can be written.
    """
    if file_format not in EXPORT_FORMATS:
        raise StorageError(f"format {file_format!r} is not one of {', '.join(EXPORT_FORMATS)}")
    store = RunStore(database_url)
    run = store.get(store.resolve(run_id))
    target = folder / run.run_id
    part = folder / f".{run.run_id}.part"
    if target.exists():
        raise StorageError(f"{target} is already there; delete it or choose another folder")
    metrics = {
        name: {"value": m.value, "reason": None if m.reason is None else str(m.reason), "low_sample": m.low_sample}
        for name, m in run.metrics.items()
    }
    try:
        part.mkdir(parents=True, exist_ok=True)
        (part / "manifest.json").write_text(json.dumps(run.manifest.as_dict(), indent=2) + "\n")
        (part / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n")
        for name, frame in (("trades", store.trades(run.run_id)), ("equity", store.equity(run.run_id))):
            file = part / f"{name}.{file_format}"
            if file_format == "parquet":
                frame.write_parquet(file)
            elif file_format == "csv":
                frame.write_csv(file)
            else:
                frame.write_json(file)
        part.rename(target)
    except OSError as error:
        raise StorageError(f"{target} cannot be written: {error}") from error
    return sorted(target.iterdir())


def migrate(database_url: str) -> str:
    """Bring the database to the present schema; return its revision."""
    store = RunStore(database_url)
    store.migrate()
    return str(store.revision())
