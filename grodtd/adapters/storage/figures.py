"""Counts and last results of what is stored, for monitoring: a handful of short queries."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from sqlalchemy import func, select

from grodtd.adapters.storage.database import Database
from grodtd.adapters.storage.schema import METRICS, RUNS, STUDIES, TRIAL_BATCHES

# Of series with backtests: the newest ones.
_MOST_SERIES: Final = 500


class LastRun(NamedTuple):
    """The newest backtest of a strategy on a series."""

    strategy: str
    symbol: str
    timeframe: str
    created_at_us: int
    metrics: dict[str, float]


class StoredFigures(NamedTuple):
    """Everything monitoring wants to know of a run database."""

    runs: dict[str, int]
    studies: dict[tuple[str, str], int]
    trials: dict[str, int]
    last: list[LastRun]


def read_figures(url: str, metrics: Sequence[str]) -> StoredFigures:
    """Return the figures of a run database.

    Parameters
    ----------
    url : str
    metrics : sequence of str
        Which metrics of the newest runs.

    Raises
    ------
    StorageError
        If the database cannot be read.
    """
    series = (RUNS.c.strategy, RUNS.c.symbol, RUNS.c.timeframe)
    place = func.row_number().over(partition_by=series, order_by=(RUNS.c.created_at_us.desc(), RUNS.c.run_id.desc()))
    ranked = select(*series, RUNS.c.created_at_us, RUNS.c.run_id, place.label("place")).subquery()
    last_runs = select(ranked).where(ranked.c.place == 1).order_by(ranked.c.created_at_us.desc()).limit(_MOST_SERIES)
    with Database(url).transaction() as connection:
        runs = connection.execute(select(RUNS.c.strategy, func.count()).group_by(RUNS.c.strategy)).all()
        studies = connection.execute(
            select(STUDIES.c.strategy, STUDIES.c.status, func.count()).group_by(STUDIES.c.strategy, STUDIES.c.status)
        ).all()
        trials = connection.execute(
            select(TRIAL_BATCHES.c.strategy, func.sum(TRIAL_BATCHES.c.n_trials)).group_by(TRIAL_BATCHES.c.strategy)
        ).all()
        found = {
            row.run_id: LastRun(row.strategy, row.symbol, row.timeframe, row.created_at_us, {})
            for row in connection.execute(last_runs)
        }
        wanted = METRICS.c.run_id.in_(list(found)) & METRICS.c.name.in_(metrics) & METRICS.c.value.is_not(None)
        for run_id, name, value in connection.execute(
            select(METRICS.c.run_id, METRICS.c.name, METRICS.c.value).where(wanted)
        ):
            found[run_id].metrics[name] = value
    return StoredFigures(
        runs={strategy: int(count) for strategy, count in runs},
        studies={(strategy, state): count for strategy, state, count in studies},
        trials={strategy: int(count) for strategy, count in trials},
        last=list(found.values()),
    )
