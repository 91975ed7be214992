"""Figures for monitoring, on SQLite always and on a real PostgreSQL where there is one."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from grodtd.adapters.storage import RunStore
from grodtd.adapters.storage.figures import read_figures
from grodtd.adapters.storage.trial_store import TrialStore
from grodtd.domain.run import Metric, Reason
from tests.contracts.test_run_store import _url, finished  # noqa: F401 the fixture that makes an empty database
from tests.contracts.test_trial_store import STUDY, batch

AT = datetime(2026, 11, 24, 9, 0, tzinfo=UTC)


def test_figures_are_of_the_newest_run_of_each_series(url: str) -> None:
    store = RunStore(url)
    store.migrate()
    manifest, result = finished()
    # In one second: ids then end in the hash of the result, which says nothing about time.
    for millisecond, digit in enumerate("fedc"):
        metrics = {"sharpe": Metric(float(millisecond)), "sortino": Metric(None, Reason.NO_LOSSES)}
        found = replace(manifest, result_hash=digit * 64)
        store.save(found, metrics, result, created_at=AT + timedelta(milliseconds=millisecond))
    store.save(replace(manifest, symbol="OTHER"), {"sharpe": Metric(7.0)}, result, created_at=AT)
    TrialStore(url).create(STUDY)
    TrialStore(url).append(batch(0), at_us=1)

    figures = read_figures(url, ["sharpe", "sortino"])

    last = {run.symbol: run for run in figures.last}
    assert {symbol: run.metrics for symbol, run in last.items()} == {"TEST": {"sharpe": 3.0}, "OTHER": {"sharpe": 7.0}}
    assert last["TEST"].created_at_us == int(AT.timestamp()) * 1_000_000 + 3_000
    assert figures.runs == {"s1_trend": 5}
    assert figures.studies == {("s1_trend", "running"): 1}
    assert figures.trials == {"s1_trend": 10}


def test_an_empty_database_has_none(url: str) -> None:
    RunStore(url).migrate()
    figures = read_figures(url, ["sharpe"])
    assert (figures.runs, figures.studies, figures.trials, figures.last) == ({}, {}, {}, [])
