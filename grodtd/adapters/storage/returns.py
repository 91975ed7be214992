"""Daily returns of a batch of trials as one Parquet file: a column a trial, a row a day."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from grodtd.domain.errors import StorageError


def write_returns(file: Path, days: Any, numbers: Sequence[int], returns: Any) -> str:  # Any: numpy arrays
    """Write the file whole or not at all; return its SHA-256, or an empty text if there is no trial.

    Parameters
    ----------
    days : int64 array, shape (n_days,)
        Microseconds UTC, the end of each day.
    numbers : sequence of int
        Trials.
    returns : float64 array, shape (n_trials, n_days)
    """
    if not len(numbers):
        return ""
    import polars as pl  # here, because listing studies must not wait for it

    table = pl.DataFrame({"day": days, **{str(n): row for n, row in zip(numbers, returns, strict=True)}})
    file.parent.mkdir(parents=True, exist_ok=True)
    draft = file.with_suffix(".draft")
    try:
        table.write_parquet(draft, compression="zstd", statistics=False)
        with draft.open("rb+") as written:
            os.fsync(written.fileno())
        draft.replace(file)
    except OSError as error:
        raise StorageError(f"{file}: daily returns of trials cannot be written: {error.strerror or error}") from error
    return hashlib.sha256(file.read_bytes()).hexdigest()


def read_returns(file: Path, sha256: str) -> tuple[Any, list[int], Any]:  # Any: numpy arrays
    """Return (days, numbers, returns) as written.

    Raises
    ------
    StorageError
        If the file is missing or not the one that was written.
    """
    if not sha256:
        return np.empty(0, np.int64), [], np.empty((0, 0))
    import polars as pl

    try:
        content = file.read_bytes()
    except OSError as error:
        raise StorageError(f"{file}: daily returns of trials cannot be read: {error.strerror or error}") from error
    if hashlib.sha256(content).hexdigest() != sha256:
        raise StorageError(f"{file} is not the file the ledger names: it was changed; run the study again")
    table = pl.read_parquet(BytesIO(content))
    numbers = [int(name) for name in table.columns if name != "day"]
    return table["day"].to_numpy(), numbers, np.array([table[str(n)].to_numpy() for n in numbers])
