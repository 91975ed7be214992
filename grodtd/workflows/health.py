"""Is the process fit to work? Each check says pass, warn or fail, what it saw, and what to do."""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final, Literal

import psutil

from grodtd.adapters.storage.database import Database, for_reading
from grodtd.adapters.storage.schema import REVISIONS
from grodtd.domain.bars import US_PER_S, timeframe_s
from grodtd.domain.errors import GrodtError
from grodtd.settings import Settings

Status = Literal["pass", "warn", "fail"]
_CGROUP: Final = Path("/sys/fs/cgroup")
_MB: Final = 1_000_000


@dataclass(frozen=True)
class Outcome:
    """What a check found."""

    status: Status
    text: str
    value: float | None = None
    unit: str = ""


Check = Callable[[], Outcome]


def checks_of(settings: Settings) -> Mapping[str, Check]:
    """Return the checks of a process by name; each may wait for what it checks, so run it aside.

    Raises
    ------
    StorageError
        If the database's URL is not one.
    """
    health = settings.health
    database = Database(for_reading(settings.database, within_s=health.check_timeout_s))
    return {
        "database": partial(_database, database),
        "migrations": partial(_migrations, database),
        "data": partial(_data, settings.home, health.max_data_age_s),
        "disk": partial(_disk, settings.home, health.min_free_disk_mb),
        "memory": partial(_memory, health.max_memory_share),
        "cpu": partial(_cpu, health.max_cpu_share),
    }


def _database(database: Database) -> Outcome:
    began = time.monotonic()
    try:
        database.revision()
    except GrodtError as error:
        return Outcome("fail", str(error))
    return Outcome("pass", "answers", time.monotonic() - began, "s")


def _migrations(database: Database) -> Outcome:
    try:
        found = database.revision()
    except GrodtError:
        return Outcome("fail", "unknown while the database is away")
    if found == REVISIONS[-1]:
        return Outcome("pass", f"schema {found}")
    if found is None and database.is_sqlite:
        return Outcome("pass", "no database file yet; the first run makes it")
    # An older schema is one `migrate` has not reached yet; an unknown one is newer than this program.
    return Outcome(
        "fail", f"schema is {found or 'none'}, this program works with {REVISIONS[-1]}; run `grodt runs migrate`"
    )


def _data(home: Path, max_age_s: Mapping[str, float]) -> Outcome:
    if not max_age_s:
        return Outcome("pass", "no series is expected to be fresh (health.max_data_age_s)")
    from grodtd.workflows.data import catalogue  # polars is slow to import

    worst, oldest = -math.inf, ""
    for name, allowed_s in max_age_s.items():
        venue, _, rest = name.partition(":")
        symbol, _, timeframe = rest.rpartition(":")
        try:
            last_us = catalogue(home).last_time_us(venue, symbol, timeframe)
            if last_us is None:
                return Outcome("fail", f"{name} has no bars; `grodt data fetch` brings them")
            age_s = time.time() - last_us / US_PER_S - timeframe_s(timeframe)
        except (GrodtError, OSError) as error:
            return Outcome("fail", f"{name}: {error}")
        if age_s > allowed_s:
            return Outcome(
                "fail", f"the last bar of {name} is {age_s:.0f} s old, {allowed_s:.0f} are allowed", age_s, "s"
            )
        if age_s >= worst:
            worst, oldest = age_s, name
    return Outcome("pass", f"oldest: {oldest}", worst, "s")


def _disk(home: Path, min_free_mb: float) -> Outcome:
    try:
        free_mb = shutil.disk_usage(home).free / _MB
    except OSError as error:
        return Outcome("fail", f"{home}: {error.strerror}")
    if free_mb < min_free_mb:
        text = f"{free_mb:.0f} MB free in {home}, {min_free_mb:.0f} are needed; `grodt backup prune`, or a larger disk"
        return Outcome("fail", text, free_mb, "MB")
    return Outcome("pass", f"free in {home}", free_mb, "MB")


def _memory(max_share: float) -> Outcome:
    share, of_what = _container_memory() or (psutil.virtual_memory().percent / 100, "the machine's memory")
    if share > max_share:
        return Outcome("fail", f"{share:.0%} of {of_what} is in use, {max_share:.0%} is allowed", share, "share")
    return Outcome("pass", f"of {of_what}", share, "share")


def _container_memory() -> tuple[float, str] | None:
    """Return the share of the container's limit in use; None where there is no limit."""
    try:
        limit = int((_CGROUP / "memory.max").read_text())  # "max" where there is none
        used = int((_CGROUP / "memory.current").read_text())
        stat = dict(line.split() for line in (_CGROUP / "memory.stat").read_text().splitlines())
    except (OSError, ValueError):
        return None
    # File pages that can be dropped at once are not in use.
    return (used - int(stat.get("inactive_file", 0))) / limit, "the container's limit"


def _cpu(max_share: float) -> Outcome:
    load = psutil.getloadavg()[0] / (psutil.cpu_count() or 1)
    if load > max_share:
        text = f"{load:.0%} of the processors' time is wanted (1 minute); slower, not broken"
        return Outcome("warn", text, load, "share")
    return Outcome("pass", "of the processors' time, 1 minute", load, "share")
