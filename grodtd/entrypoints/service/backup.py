"""One process of the backup service: a backup a night, proven, and everything it did at /metrics."""

from __future__ import annotations

import signal
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import structlog

from grodtd.adapters.telemetry.backup import BackupMetrics
from grodtd.adapters.telemetry.logs import configure_logging
from grodtd.domain.errors import GrodtError
from grodtd.settings import Settings
from grodtd.workflows import backup

_LOOK_EVERY_S = 1.0
_AGAIN_AFTER_S = 900.0


def serve(settings: Settings, home: Path, url: str, to: Path | None, host: str, port: int) -> int:
    """Make backups until told to stop (SIGTERM, SIGINT), and return the exit code.

    A backup in work when the signal comes is given up; nothing of it is left behind.
    """
    secret = settings.database_password
    configure_logging(
        level=settings.log.level,
        as_json=settings.log.format == "json",
        secrets=[secret.get_secret_value()] if secret else [],
    )
    log: Any = structlog.get_logger("grodt.backup")  # Any: structlog binds levels at run time
    metrics = BackupMetrics(host, port)
    beat = home / "run" / "backup.heartbeat"
    beat.parent.mkdir(parents=True, exist_ok=True)
    stopped = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.set())
    log.info("backups", at=settings.backups.at, folder=str(to or home / "backups"))
    worker: threading.Thread | None = None
    again_at = began = 0.0
    while not stopped.wait(_LOOK_EVERY_S):
        is_stuck = worker is not None and worker.is_alive() and time.monotonic() - began > settings.backups.within_s
        if not is_stuck:
            beat.touch()
        if worker is not None and worker.is_alive():
            continue
        # One from the future was made by a clock that was wrong: it must not stand for every night until then.
        there = [one for one in backup.list_backups(home, to) if one.made_at <= datetime.now(UTC)]
        metrics.show(there)
        due = backup.next_time(datetime.now(UTC), settings.backups.at, there[0].made_at if there else None)
        if due <= datetime.now(UTC) and time.monotonic() >= again_at:
            again_at = time.monotonic() + _AGAIN_AFTER_S
            began = time.monotonic()
            # Aside, so that a stop need not wait for it: the process ends, and what was half made is thrown away.
            worker = threading.Thread(
                target=_once, args=(settings, home, url, to, metrics, log), name="backup", daemon=True
            )
            worker.start()
    log.info("stopped")
    metrics.close()
    return 0


def _once(
    settings: Settings, home: Path, url: str, to: Path | None, metrics: BackupMetrics, log: Any
) -> None:  # Any: as above
    began = time.monotonic()
    try:
        made = backup.create(home, url, to=to, environment=settings.environment)
        log.info("backup made", name=made.name, bytes=made.bytes)
        backup.verify(made, url)
        log.info("backup verified", name=made.name)
        gone = backup.prune(home, settings.backups.policy, to=to, dry_run=False)
        records = backup.apply_retention(url, settings.retention_days.policy, dry_run=False)
        if gone or any(records.values()):
            log.info(
                "pruned", backups=[one.name for one in gone], **{kind: len(names) for kind, names in records.items()}
            )
        metrics.deleted({"backups": len(gone), **{kind: len(names) for kind, names in records.items()}})
        metrics.duration.set(time.monotonic() - began)
    except (GrodtError, OSError) as error:
        metrics.failures.inc()
        log.error("backup failed", error=str(error))  # noqa: TRY400  # the message says all; a stack says nothing more
    except Exception:  # a thread that dies in silence would look like a night without work
        metrics.failures.inc()
        log.exception("backup failed")
