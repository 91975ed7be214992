"""What `naive-datetime` must and must not report."""

import datetime as dt
from datetime import UTC, date, datetime


def bad(seconds):
    # ruleid: naive-datetime
    now = datetime.now()
    # ruleid: naive-datetime
    also_now = dt.datetime.utcnow()
    # ruleid: naive-datetime
    then = datetime.fromtimestamp(seconds)
    # ruleid: naive-datetime
    start = datetime(2024, 1, 1)
    # ruleid: naive-datetime
    return now, also_now, then, start, date.today()


def good(seconds):
    # ok: naive-datetime
    now = datetime.now(UTC)
    # ok: naive-datetime
    then = dt.datetime.fromtimestamp(seconds, tz=UTC)
    # ok: naive-datetime
    start = datetime(2024, 1, 1, tzinfo=UTC)
    # ok: naive-datetime
    exact = datetime(2024, 1, 1, 0, 0, 0, 0, UTC)
    return now, then, start, exact, datetime.now(tz=UTC).date()
