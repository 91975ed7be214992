"""The regime gate: in which market regimes a strategy may enter."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from grodtd.domain.bars import FloatArray, SideArray
from grodtd.domain.market import OnExit


def entry_gate(labels: FloatArray, allowed: Collection[int], on_exit: OnExit = "hold") -> SideArray:
    """Return the gate of each close; it masks entries and is never multiplied into a side, where 0 means exit.

    Parameters
    ----------
    labels : float64 array, shape (n_bars,)
        Regime after each close; nan while unknown, which allows nothing.
    allowed : collection of int
        Regimes in which entries are allowed.
    on_exit : {"hold", "flat"}
        What becomes of a position when another regime begins: it waits for its bracket or signal, or is closed.

    Returns
    -------
    int8 array, shape (n_bars,)
        1 allowed; 0 no entries; -1 no entries and no position.
    """
    is_allowed = np.isin(labels, np.array(sorted(allowed), dtype=np.float64))
    other = np.where(np.isnan(labels), 0, -1) if on_exit == "flat" else 0
    return np.where(is_allowed, 1, other).astype(np.int8)
