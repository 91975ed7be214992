"""Backups that were proven by restoring them, and how long records live.

A backup is a folder named after its moment: the database, every table as Parquet, bars and returns, and
``manifest.json``. It is made under a hidden name and gets its own as the last step, so a half-made one is never taken
for a whole one.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

from grodtd.adapters.storage import backup as store
from grodtd.adapters.storage.schema import REVISIONS
from grodtd.domain.errors import ConfigError, NotFoundError, StorageError
from grodtd.domain.retention import BackupPolicy, RecordPolicy, backups_to_keep

FORMAT: Final = 1
MANIFEST: Final = "manifest.json"
VERIFIED: Final = "verified.json"
PRUNED: Final = "pruned.jsonl"
# Of the home folder; reports can be made again, backups are not backed up.
DATA_FOLDERS: Final = ("catalogue", "studies")

_NAME_FORMAT: Final = "%Y%m%dT%H%M%SZ"
_CHUNK: Final = 1 << 20


@dataclass(frozen=True)
class Backup:
    """One whole backup.

    Attributes
    ----------
    folder : Path
    made_at : datetime
    manifest : dict
    verified_at : datetime or None
        When it was last restored and found equal.
    """

    folder: Path
    made_at: datetime
    manifest: dict[str, Any]  # Any: JSON
    verified_at: datetime | None

    @property
    def name(self) -> str:
        """How it is called on the command line."""
        return self.folder.name

    @property
    def bytes(self) -> int:
        """Size of its files."""
        return sum(int(entry["bytes"]) for entry in self.manifest["files"].values())


def create(
    home: Path, url: str, *, to: Path | None = None, with_data: bool = True, environment: str = "development"
) -> Backup:
    """Make a backup and return it.

    Parameters
    ----------
    home : Path
    url : str
        Of the run database.
    to : Path or None
        Folder of backups. None: ``backups`` in the home folder.
    with_data : bool
        With bars and returns; they are linked, not copied, where the disk is the same.

    Raises
    ------
    StorageError
        If anything cannot be read or written, or another backup is being made; nothing is left behind.
    """
    folder = to or home / "backups"
    with _alone(folder):
        now = datetime.now(UTC)
        part = folder / f".{now:{_NAME_FORMAT}}-{uuid4().hex[:6]}.part"
        try:
            part.mkdir(mode=0o700)
            tables, schema = store.dump(url, part)
            if with_data:
                for name in DATA_FOLDERS:
                    _link_tree(home / name, part / "data" / name)
            files = {str(file.relative_to(part)): _described(file) for file in _files(part)}
            manifest = {
                "format": FORMAT,
                "made_at": now.isoformat(),
                "grodt": version("grodtd"),
                "environment": environment,
                "kind": store.kind_of(url),
                "schema": schema or REVISIONS[-1],
                "tables": tables,
                "files": files,
            }
            _write_json(part / MANIFEST, manifest)
            for file in _files(part):
                if not file.is_relative_to(part / "data"):
                    file.chmod(0o600)
            whole = folder / part.name.removeprefix(".").removesuffix(".part")
            part.rename(whole)
            _sync(folder)
        except OSError as error:
            raise StorageError(f"the backup cannot be written to {folder}: {error.strerror or error}") from error
        finally:
            shutil.rmtree(part, ignore_errors=True)
    return _read(whole)


def list_backups(home: Path, to: Path | None = None) -> list[Backup]:
    """Return whole backups, the newest first; what cannot be read is left out."""
    found = []
    for folder in sorted((to or home / "backups").glob("2*"), reverse=True):
        try:
            found.append(_read(folder))
        except StorageError:
            continue
    return found


def find(home: Path, name: str, to: Path | None = None) -> Backup:
    """Return a backup by its name or a unique beginning of it; ``latest`` is the newest.

    Raises
    ------
    NotFoundError
        If there is none, or more than one.
    StorageError
        If it is damaged.
    """
    folder = to or home / "backups"
    there = sorted(file.name for file in folder.glob("2*") if file.is_dir())
    fitting = (
        there[-1:]
        if name == "latest"
        else [one for one in there if one == name] or [one for one in there if name and one.startswith(name)]
    )
    if len(fitting) != 1:
        raise NotFoundError(
            f"{'no backup is' if not fitting else 'several backups are'} called {name!r} in {folder};"
            f" there are: {', '.join(there) or 'none yet, `grodt backup create` makes one'}"
        )
    return _read(folder / fitting[0])


def verify(backup: Backup, url: str) -> Backup:
    """Prove a backup: every file's hash, then restored into an empty database, every table's rows and checksum.

    Parameters
    ----------
    url : str
        Of a database of the same kind, whose server may make the scratch database.

    Raises
    ------
    StorageError
        If a file is missing, changed or added, or what was restored differs; the message names it. It then counts as
        verified no longer, whatever an earlier proof said.
    """
    _check_fits(backup, url)
    with _unproven_by_damage(backup):
        _check_files(backup)
    with (
        tempfile.TemporaryDirectory(prefix="grodt-verify-") as scratch,
        store.scratch_database(url, Path(scratch)) as empty,
    ):
        store.restore(empty, backup.folder)
        with _unproven_by_damage(backup):
            _compare(backup, store.contents(empty))
    try:
        _write_json(backup.folder / VERIFIED, {"verified_at": datetime.now(UTC).isoformat()})
    except OSError as error:
        raise StorageError(
            f"{backup.name} is whole, but {error.filename} cannot be written: {error.strerror}"
        ) from error
    return _read(backup.folder)


@contextmanager
def _unproven_by_damage(backup: Backup) -> Iterator[None]:
    """Take the proof away where damage is found: pruning keeps what is proven, at the cost of what is not."""
    try:
        yield
    except StorageError:
        (backup.folder / VERIFIED).unlink(missing_ok=True)
        raise


def restore(
    backup: Backup, home: Path, url: str, *, replace: bool = False, dry_run: bool = False
) -> tuple[list[str], Backup | None]:
    """Put a backup in the place of database and data; return what was (or would be) done, and the backup made before.

    Parameters
    ----------
    replace : bool
        Allow a database that has rows; it is backed up first.
    dry_run : bool
        Check everything, change nothing.

    Raises
    ------
    StorageError
        If the backup is damaged, the database is not empty, or what was restored differs from the manifest.
    """
    _check_files(backup)
    _check_fits(backup, url)
    with _way_out_explained(url):
        there = store.contents(url)
    rows = sum(table["rows"] for table in there.values())
    if rows and not replace and not _is_same(backup, there):
        raise StorageError(
            f"the database has {rows:,} rows already; --replace puts the backup in their place, and backs them up first"
        )
    missing = [
        relative
        for relative, entry in backup.manifest["files"].items()
        if relative.startswith("data/") and not _is_there(home / relative.removeprefix("data/"), entry)
    ]
    n_rows = sum(table["rows"] for table in backup.manifest["tables"].values())
    steps = [f"database: {n_rows:,} rows in {len(backup.manifest['tables'])} tables", f"data: {len(missing):,} files"]
    if dry_run:
        return steps, None
    with _way_out_explained(url):
        before = create(home, url, to=backup.folder.parent, with_data=False) if rows and replace else None
    for relative in missing:
        _copy(backup.folder / relative, home / relative.removeprefix("data/"))
    store.restore(url, backup.folder)
    _compare(backup, store.contents(url))
    return steps, before


def prune(home: Path, policy: BackupPolicy, *, to: Path | None = None, dry_run: bool = True) -> list[Backup]:
    """Delete backups the policy does not keep, and return them; ``pruned.jsonl`` beside them says which went when.

    Raises
    ------
    StorageError
        If one cannot be deleted, or another process is changing the folder.
    """
    folder = to or home / "backups"
    if dry_run:
        return _not_kept(home, policy, to)
    with _alone(folder):
        gone = _not_kept(home, policy, to)
        try:
            if gone:
                with (folder / PRUNED).open("a") as handle:
                    note = {"at": datetime.now(UTC).isoformat(), "policy": asdict(policy)}
                    handle.write(json.dumps({**note, "backups": [one.name for one in gone]}) + "\n")
            for one in gone:
                hidden = one.folder.with_name(f".{one.name}.part")
                one.folder.rename(hidden)  # at once no backup any more, however long deleting takes
                shutil.rmtree(hidden)
        except OSError as error:
            raise StorageError(f"{error.filename or folder} cannot be deleted: {error.strerror}") from error
    return gone


def _not_kept(home: Path, policy: BackupPolicy, to: Path | None) -> list[Backup]:
    there = list_backups(home, to)
    kept = backups_to_keep(
        [one.made_at for one in there], policy, {one.made_at for one in there if one.verified_at is not None}
    )
    return [one for one in there if one.made_at not in kept]


def apply_retention(url: str, policy: RecordPolicy, *, dry_run: bool = True) -> dict[str, list[str]]:
    """Delete records older than the policy keeps them, and return the runs concerned by kind of record."""
    now = datetime.now(UTC)
    return {
        kind: store.delete_old_records(url, kind, now - timedelta(days=days), f"older than {days} days", is_dry=dry_run)
        for kind, days in (("equity_curves", policy.equity_curves), ("runs", policy.runs))
        if days is not None
    }


def next_time(now: datetime, at: str, last: datetime | None) -> datetime:
    """Return when the next nightly backup is due: now, if the last one due was missed.

    Parameters
    ----------
    now : datetime
        UTC.
    at : str
        ``HH:MM``, UTC.
    last : datetime or None
        When the newest backup was made.
    """
    hour, minute = (int(part) for part in at.split(":"))
    today = now.replace(hour=hour, minute=minute, second=0, microsecond=0)
    due = today if today <= now else today - timedelta(days=1)
    return now if last is None or last < due else due + timedelta(days=1)


def _read(folder: Path) -> Backup:
    try:
        manifest = json.loads((folder / MANIFEST).read_text())
        if manifest["format"] > FORMAT:
            raise StorageError(
                f"{folder} was made by a newer grodt ({manifest['grodt']}, format {manifest['format']}); update grodt"
            )
        verified_at = None
        if (folder / VERIFIED).is_file():
            verified_at = datetime.fromisoformat(json.loads((folder / VERIFIED).read_text())["verified_at"])
        made_at = datetime.fromisoformat(manifest["made_at"])
        _ = made_at > datetime.min.replace(tzinfo=UTC)  # one without a time zone cannot be compared
        _ = manifest["kind"], manifest["schema"], dict(manifest["tables"])
        backup = Backup(folder, made_at, manifest, verified_at)
        _ = backup.bytes
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise StorageError(f"{folder} is no whole backup ({MANIFEST}: {error}); use another one") from error
    return backup


def _check_files(backup: Backup) -> None:
    expected = backup.manifest["files"]
    there = {str(file.relative_to(backup.folder)) for file in _files(backup.folder)} - {MANIFEST, VERIFIED}
    for name in sorted(set(expected) - there):
        raise StorageError(f"backup {backup.name} is damaged: {name} is missing; use another backup")
    for name in sorted(there - set(expected)):
        raise StorageError(f"backup {backup.name} has a file that was not in it: {name}; use another backup")
    for name, entry in expected.items():
        if _described(backup.folder / name) != entry:
            raise StorageError(f"backup {backup.name} is damaged: {name} has changed; use another backup")


@contextmanager
def _way_out_explained(url: str) -> Iterator[None]:
    """Say how to restore over a file that can be read no longer, which is when a backup is needed most."""
    try:
        yield
    except StorageError as error:
        if store.kind_of(url) != "sqlite":
            raise
        raise StorageError(
            f"{error}; nothing was changed. If the database is damaged, move its file away, and those that end in -wal"
            " and -shm with it, then restore again"
        ) from error


def _check_fits(backup: Backup, url: str) -> None:
    if backup.manifest["schema"] not in REVISIONS:
        raise StorageError(
            f"backup {backup.name} has schema {backup.manifest['schema']}, this program knows up to {REVISIONS[-1]};"
            " update grodt"
        )
    if backup.manifest["kind"] != store.kind_of(url):
        raise ConfigError(
            f"backup {backup.name} is of a {backup.manifest['kind']} database, the database given is"
            f" {store.kind_of(url)}; its tables as Parquet (folder tables) can be read by anything"
        )


def _compare(backup: Backup, found: dict[str, dict[str, Any]]) -> None:
    for name, expected in backup.manifest["tables"].items():
        if found.get(name) != expected:
            raise StorageError(
                f"backup {backup.name}: table {name} came back as {found.get(name)}, the manifest says {expected}"
            )


def _is_same(backup: Backup, there: dict[str, dict[str, Any]]) -> bool:
    return bool(there == backup.manifest["tables"])


def _is_there(file: Path, entry: dict[str, Any]) -> bool:
    return file.is_file() and _described(file) == entry


def _files(folder: Path) -> Iterator[Path]:
    return (file for file in sorted(folder.rglob("*")) if file.is_file())


def _described(file: Path) -> dict[str, Any]:
    digest, size = hashlib.sha256(), 0
    with file.open("rb") as handle:
        while chunk := handle.read(_CHUNK):
            digest.update(chunk)
            size += len(chunk)
    return {"bytes": size, "sha256": digest.hexdigest()}


def _link_tree(source: Path, target: Path) -> None:
    """Put files into the backup: linked where possible (ours are replaced, never changed in place), else copied."""
    for file in _files(source):
        if file.name.startswith(".") or file.suffix in (".lock", ".part"):
            continue
        there = target / file.relative_to(source)
        there.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(file, there)
        except OSError:
            shutil.copy2(file, there)


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{target.name}.{uuid4().hex[:6]}.part")
    shutil.copyfile(source, part)
    part.replace(target)


def _write_json(file: Path, value: dict[str, Any]) -> None:
    part = file.with_suffix(".part")
    with part.open("w") as handle:
        json.dump(value, handle, indent=1)
        handle.flush()
        os.fsync(handle.fileno())
    part.chmod(0o600)
    part.replace(file)


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Hold the only right to change the folder of backups."""
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        handle = (folder / ".lock").open("w")
    except OSError as error:
        raise StorageError(f"{folder} cannot be written: {error.strerror}") from error
    with handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise StorageError(f"another backup is being made in {folder}; wait for it to end") from error
        for part in folder.glob(".*.part"):  # of somebody who died: we are alone
            shutil.rmtree(part, ignore_errors=True)
        yield
