"""What `core-wall-clock` must and must not report."""

import datetime
import time
from datetime import UTC
from time import monotonic

import numpy as np


def bad():
    # ruleid: core-wall-clock
    began = time.time()
    # ruleid: core-wall-clock
    since = monotonic()
    # ruleid: core-wall-clock
    now = datetime.datetime.now(UTC)
    # ruleid: core-wall-clock
    today = np.datetime64("today")
    return began, since, now, today


def good(now: datetime.datetime, at_us: int):
    # ok: core-wall-clock
    age = now - datetime.datetime.fromtimestamp(at_us / 1e6, UTC)
    # ok: core-wall-clock
    return age, np.datetime64(at_us, "us")
