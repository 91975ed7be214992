"""The ledger of trials, on SQLite always and on a real PostgreSQL where there is one."""

from __future__ import annotations

import multiprocessing
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa

from grodtd.adapters.storage.returns import read_returns, write_returns
from grodtd.adapters.storage.trial_store import TrialStore
from grodtd.domain.errors import StorageError
from grodtd.domain.trials import Study, TrialBatch, canonical
from tests.contracts.test_run_store import _url, engine_of  # noqa: F401 the fixture that makes an empty database

STUDY = Study(
    "s-1", "vwap pulls back", "s1_trend", "c" * 64, "d" * 64, "v:S:1m", "tpe", 7, 100, {"search": {"a": [1, 2.5]}}
)


def batch(number: int, first: int = 0, size: int = 10, **changes: Any) -> TrialBatch:
    numbers = range(first, first + size)
    values: dict[str, Any] = {
        "study_id": "s-1",
        "number": number,
        "kind": "trial",
        "hypothesis": STUDY.hypothesis,
        "series": STUDY.series,
        "data_hash": STUDY.data_hash,
        "strategy": "s1_trend",
        "setup_hash": "e" * 64,
        "params": [{"ema_bars": n, "stop_atr": 0.1 * n} for n in numbers],
        "results": [{"number": n, "objectives": {"sharpe": None if n % 3 else 1.5 * n}} for n in numbers],
    }
    return TrialBatch(**(values | changes))


@pytest.fixture(name="store")
def _store(url: str) -> TrialStore:
    from grodtd.adapters.storage import RunStore

    RunStore(url).migrate()
    return TrialStore(url)


def test_a_study_comes_back_and_its_status_changes(store: TrialStore) -> None:
    store.create(STUDY)
    assert store.study("s-1") == STUDY
    assert store.study("s") == STUDY  # the start is enough
    store.set_status("s-1", "finished")
    store.append(batch(0), at_us=1)
    assert [(s.status, done) for s, done in store.studies()] == [("finished", 10)]
    with pytest.raises(StorageError, match="already"):
        store.create(STUDY)
    with pytest.raises(StorageError, match="no study 'x'"):
        store.study("x")


def test_batches_come_back_as_written(store: TrialStore) -> None:
    for number in range(3):
        assert store.append(batch(number, 10 * number), at_us=number)
    found = list(store.batches("s-1"))
    assert [b.number for b in found] == [0, 1, 2]
    assert found[1] == batch(1, 10)
    assert list(store.batches("another")) == []


def test_the_same_batch_again_changes_nothing_and_another_is_refused(store: TrialStore) -> None:
    assert store.append(batch(0), at_us=1)
    assert not store.append(batch(0), at_us=2)
    assert store.count(STUDY.series, STUDY.hypothesis) == (10, 10)
    with pytest.raises(StorageError, match="another trial batch 0"):
        store.append(batch(0, 5), at_us=3)
    assert store.broken_at() == ""


def test_configurations_are_counted_once_and_evaluations_all(store: TrialStore) -> None:
    store.append(batch(0), at_us=1)
    store.append(batch(0, 5, study_id="s-2", data_hash="f" * 64), at_us=2)  # half of them before, on other days
    store.append(batch(0, 0, 1, study_id="", kind="manual"), at_us=3)  # and one by hand, twice
    store.append(batch(0, 0, 1, study_id="", kind="manual"), at_us=4)
    store.append(batch(0, series="v:T:1m", study_id="s-3"), at_us=5)  # other bars
    store.append(batch(0, setup_hash="0" * 64, study_id="s-4"), at_us=6)  # other costs: other configurations
    assert store.count(STUDY.series, STUDY.hypothesis) == (15 + 10, 20 + 2 + 10)
    store.create(STUDY)
    store.delete_study("s-1")
    assert store.count(STUDY.series, STUDY.hypothesis) == (25, 32)  # what was tried stays tried


def _append(url: str, study: str, first: int, batches: int) -> None:
    store = TrialStore(url)
    for number in range(batches):
        store.append(batch(number, first + 10 * number, study_id=study), at_us=number)


def _append_then_die(url: str) -> None:
    _append(url, "s-1", 0, 5)
    os.kill(os.getpid(), signal.SIGKILL)


def test_fifty_a_kill_and_fifty_more_are_a_hundred(store: TrialStore, url: str) -> None:
    spawn = multiprocessing.get_context("spawn")
    first = spawn.Process(target=_append_then_die, args=(url,))
    first.start()
    first.join(60)
    assert first.exitcode == -signal.SIGKILL
    assert store.count(STUDY.series, STUDY.hypothesis) == (50, 50)
    second = spawn.Process(target=_append, args=(url, "s-2", 50, 5))
    second.start()
    second.join(60)
    assert second.exitcode == 0
    assert store.count(STUDY.series, STUDY.hypothesis) == (100, 100)
    assert store.broken_at() == ""


def test_two_processes_make_one_chain(store: TrialStore, url: str) -> None:
    spawn = multiprocessing.get_context("spawn")
    writers = [spawn.Process(target=_append, args=(url, f"s-{k}", 1_000 * k, 15)) for k in range(2)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
        assert writer.exitcode == 0
    assert store.count(STUDY.series, STUDY.hypothesis) == (300, 300)
    assert store.broken_at() == ""


@pytest.mark.parametrize(
    ("statement", "where"),
    [
        ("UPDATE trials SET results = replace(results, '0', '9') WHERE position = 2 AND number = 0", "batch 2"),
        ("UPDATE trials SET configuration = 'x' WHERE position = 2 AND number = 3", "trial 3 of batch 2"),
        ("UPDATE trial_batches SET hypothesis = 'another' WHERE position = 2", "batch 2"),
        ("UPDATE trial_batches SET n_trials = 9 WHERE position = 2", "batch 2"),
        ("DELETE FROM trials WHERE position = 2 AND number = 9", "batch 2"),
        ("DELETE FROM trials WHERE position = 3", "batch 3"),
        ("UPDATE trial_batches SET number = 7 WHERE position = 3", "batch 3"),
    ],
)
def test_an_edited_row_is_found(store: TrialStore, url: str, statement: str, where: str) -> None:
    for number in range(3):
        store.append(batch(number, 10 * number), at_us=number)
    assert store.broken_at() == ""
    with engine_of(url).begin() as connection:
        assert connection.execute(sa.text(statement)).rowcount > 0
    assert where in store.broken_at()


def test_a_batch_taken_out_is_found(store: TrialStore, url: str) -> None:
    for number in range(3):
        store.append(batch(number, 10 * number), at_us=number)
    with engine_of(url).begin() as connection:
        connection.execute(sa.text("DELETE FROM trials WHERE position = 2"))
        connection.execute(sa.text("DELETE FROM trial_batches WHERE position = 2"))
    assert "batch 2 is missing" in store.broken_at()


def test_nothing_undefined_is_written_as_a_number() -> None:
    with pytest.raises(ValueError, match="JSON"):
        canonical({"sharpe": float("nan")})
    with pytest.raises(ValueError, match="one result a trial"):
        batch(0, results=[])


def test_daily_returns_come_back_to_the_bit(tmp_path: Path) -> None:
    returns = np.random.default_rng(1).normal(0, 0.01, (20, 300))
    returns[3, 5] = -0.0
    days = np.arange(300) * 86_400_000_000
    file = tmp_path / "studies" / "s" / "returns-00000.parquet"
    sha = write_returns(file, days, list(range(40, 60)), returns)
    found_days, numbers, found = read_returns(file, sha)
    assert found.tobytes() == returns.tobytes()
    assert found_days.tolist() == days.tolist()
    assert numbers == list(range(40, 60))
    assert write_returns(file, days, list(range(40, 60)), returns) == sha  # the same bytes again
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    with pytest.raises(StorageError, match="not the file the ledger names"):
        read_returns(file, sha)
    file.unlink()
    with pytest.raises(StorageError, match="cannot be read"):
        read_returns(file, sha)
