"""Studies and the ledger of trials: append, go on after a crash, count, prove that nothing was changed."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any, Final

from sqlalchemy import Connection, Row, delete, distinct, func, insert, select, update

from grodtd.adapters.storage.database import Database
from grodtd.adapters.storage.schema import STUDIES, TRIAL_BATCHES, TRIALS
from grodtd.domain.errors import NotFoundError, StorageError
from grodtd.domain.trials import (
    NO_BATCH,
    Study,
    StudyStatus,
    TrialBatch,
    TrialKind,
    batch_hash,
    canonical,
    configuration_hash,
)

_ROWS_AT_ONCE: Final = 5_000


class TrialStore:
    """Studies and trials of a run database; see `RunStore` for URLs. Every method raises `StorageError` if it fails."""

    def __init__(self, url: str) -> None:
        self._database = Database(url)

    def create(self, study: Study) -> None:
        """Store a new study.

        Raises
        ------
        StorageError
            If one with this id is there already.
        """
        with self._database.transaction(is_write=True) as connection:
            if connection.scalar(select(STUDIES.c.study_id).where(STUDIES.c.study_id == study.study_id)):
                raise StorageError(f"there is a study {study.study_id} already; choose another name")
            row = {name: getattr(study, name) for name in Study.__dataclass_fields__ if name != "spec"}
            connection.execute(insert(STUDIES).values(**row, spec=dict(study.spec)))

    def study(self, study_id: str) -> Study:
        """Return a study by its id, or by the start of it if only one begins so.

        Raises
        ------
        StorageError
            If none or several do.
        """
        with self._database.transaction() as connection:
            found = connection.execute(
                select(STUDIES).where(STUDIES.c.study_id.startswith(study_id, autoescape=True)).limit(10)
            ).all()
        exact = [row for row in found if row.study_id == study_id]
        if exact:
            return _study(exact[0])
        if len(found) == 1:
            return _study(found[0])
        if not found:
            raise NotFoundError(f"there is no study {study_id!r}; `grodt optimize list` shows those there are")
        raise NotFoundError(
            f"study {study_id!r} may be any of {', '.join(row.study_id for row in found)}; write more of it"
        )

    def studies(self, *, first: int = 0, limit: int = 50) -> list[tuple[Study, int]]:
        """Return (study, trials done), newest first, from place `first` on."""
        done = (
            select(TRIAL_BATCHES.c.study_id, func.sum(TRIAL_BATCHES.c.n_trials).label("done"))
            .where(TRIAL_BATCHES.c.kind == "trial")
            .group_by(TRIAL_BATCHES.c.study_id)
            .subquery()
        )
        query = (
            select(STUDIES, func.coalesce(done.c.done, 0).label("done"))
            .join(done, done.c.study_id == STUDIES.c.study_id, isouter=True)
            .order_by(STUDIES.c.created_at_us.desc(), STUDIES.c.study_id)
            .limit(limit)
            .offset(first)
        )
        with self._database.transaction() as connection:
            return [(_study(row), int(row.done)) for row in connection.execute(query)]

    def set_status(self, study_id: str, status: StudyStatus) -> None:
        """Note how far a study has come."""
        with self._database.transaction(is_write=True) as connection:
            connection.execute(update(STUDIES).where(STUDIES.c.study_id == study_id).values(status=status))

    def delete_study(self, study_id: str) -> None:
        """Forget a study; its trials stay in the ledger and go on counting."""
        with self._database.transaction(is_write=True) as connection:
            connection.execute(delete(STUDIES).where(STUDIES.c.study_id == study_id))

    def append(self, batch: TrialBatch, *, at_us: int) -> bool:
        """Add a batch to the ledger; False if this very batch is there already.

        Raises
        ------
        StorageError
            If another batch of that number is there: two processes work on one study, or its code has changed.
        """
        params = [canonical(dict(p)) for p in batch.params]
        results = [canonical(dict(r)) for r in batch.results]
        with self._database.transaction(is_write=True) as connection:
            if not self._database.is_sqlite:  # SQLite has taken the only write lock there is
                connection.exec_driver_sql("LOCK TABLE trial_batches IN SHARE ROW EXCLUSIVE MODE")
            if batch.study_id and self._is_there(connection, batch, params, results):
                return False
            last = connection.execute(
                select(TRIAL_BATCHES.c.position, TRIAL_BATCHES.c.hash)
                .order_by(TRIAL_BATCHES.c.position.desc())
                .limit(1)
            ).first()
            position, previous = (last.position + 1, last.hash) if last else (1, NO_BATCH)
            connection.execute(
                insert(TRIAL_BATCHES).values(
                    position=position,
                    study_id=batch.study_id,
                    number=batch.number,
                    kind=batch.kind,
                    hypothesis=batch.hypothesis,
                    series=batch.series,
                    data_hash=batch.data_hash,
                    strategy=batch.strategy,
                    setup_hash=batch.setup_hash,
                    returns_sha256=batch.returns_sha256,
                    at_us=at_us,
                    n_trials=len(params),
                    previous_hash=previous,
                    hash=batch_hash(previous, batch, at_us, params, results),
                )
            )
            rows = [
                {
                    "position": position,
                    "number": number,
                    "configuration": configuration_hash(batch, batch.params[number]),
                    "params": params[number],
                    "results": results[number],
                }
                for number in range(len(params))
            ]
            for at in range(0, len(rows), _ROWS_AT_ONCE):
                connection.execute(insert(TRIALS), rows[at : at + _ROWS_AT_ONCE])
        return True

    def _is_there(
        self, connection: Connection, batch: TrialBatch, params: Sequence[str], results: Sequence[str]
    ) -> bool:
        where = (
            (TRIAL_BATCHES.c.study_id == batch.study_id)
            & (TRIAL_BATCHES.c.kind == batch.kind)
            & (TRIAL_BATCHES.c.number == batch.number)
        )
        position = connection.scalar(select(TRIAL_BATCHES.c.position).where(where))
        if position is None:
            return False
        stored = connection.execute(
            select(TRIALS.c.params, TRIALS.c.results).where(TRIALS.c.position == position).order_by(TRIALS.c.number)
        ).all()
        if [tuple(row) for row in stored] != list(zip(params, results, strict=True)):
            raise StorageError(
                f"study {batch.study_id} has another {batch.kind} batch {batch.number} already: is it running twice, or"
                " has the code changed since it began? Start a new study"
            )
        return True

    def batches(self, study_id: str, kind: TrialKind = "trial") -> Iterator[TrialBatch]:
        """Yield the batches of a study in order."""
        with self._database.transaction() as connection:
            heads = connection.execute(
                select(TRIAL_BATCHES)
                .where((TRIAL_BATCHES.c.study_id == study_id) & (TRIAL_BATCHES.c.kind == kind))
                .order_by(TRIAL_BATCHES.c.number)
            ).all()
            for head in heads:
                rows = connection.execute(
                    select(TRIALS.c.params, TRIALS.c.results)
                    .where(TRIALS.c.position == head.position)
                    .order_by(TRIALS.c.number)
                ).all()
                yield _batch(head, [json.loads(r.params) for r in rows], [json.loads(r.results) for r in rows])

    def trials(self, study_id: str, *, first: int = 0, limit: int = 100) -> list[dict[str, Any]]:
        """Return results and parameters of a study's trials, in order, from number `first` on."""
        query = (
            select(TRIALS.c.params, TRIALS.c.results)
            .join(TRIAL_BATCHES, TRIAL_BATCHES.c.position == TRIALS.c.position)
            .where((TRIAL_BATCHES.c.study_id == study_id) & (TRIAL_BATCHES.c.kind == "trial"))
            .order_by(TRIAL_BATCHES.c.number, TRIALS.c.number)
            .offset(first)
            .limit(limit)
        )
        with self._database.transaction() as connection:
            return [{**json.loads(r.results), "params": json.loads(r.params)} for r in connection.execute(query)]

    def count(self, series: str, hypothesis: str) -> tuple[int, int]:
        """Return (distinct configurations, evaluations) ever tried on any part of these bars for this hypothesis."""
        query = (
            select(func.count(distinct(TRIALS.c.configuration)), func.count())
            .select_from(TRIALS.join(TRIAL_BATCHES))
            .where((TRIAL_BATCHES.c.series == series) & (TRIAL_BATCHES.c.hypothesis == hypothesis))
        )
        with self._database.transaction() as connection:
            configurations, evaluations = connection.execute(query).one()
        return int(configurations), int(evaluations)

    def broken_at(self) -> str:
        """Return the first place where the ledger is not what was written; empty if it is whole."""
        previous, expected = NO_BATCH, 1
        with self._database.transaction() as connection:
            heads = connection.execute(select(TRIAL_BATCHES).order_by(TRIAL_BATCHES.c.position)).all()
            for head in heads:
                if head.position != expected or head.previous_hash != previous:
                    return f"batch {expected} is missing or does not follow the one before it"
                rows = connection.execute(
                    select(TRIALS).where(TRIALS.c.position == head.position).order_by(TRIALS.c.number)
                ).all()
                params, results = [row.params for row in rows], [row.results for row in rows]
                if len(rows) != head.n_trials:
                    return f"batch {head.position} has {len(rows)} trials, {head.n_trials} were written"
                blank = _batch(head, [], [])
                if batch_hash(previous, blank, head.at_us, params, results) != head.hash:
                    return f"batch {head.position} (study {head.study_id or 'none'}, {head.kind}) was changed"
                for row in rows:
                    if configuration_hash(blank, json.loads(row.params)) != row.configuration:
                        return f"trial {row.number} of batch {head.position} was changed"
                previous, expected = head.hash, expected + 1
            if connection.scalar(select(func.count()).select_from(TRIALS)) != sum(head.n_trials for head in heads):
                return "there are trials of no batch"
        return ""


def _study(row: Row[Any]) -> Study:  # Any: the columns of a row
    values = dict(row._mapping)
    values.pop("done", None)
    return Study(**values)


def _batch(head: Row[Any], params: list[dict[str, float]], results: list[dict[str, Any]]) -> TrialBatch:  # Any: JSON
    names = (
        "study_id",
        "number",
        "kind",
        "hypothesis",
        "series",
        "data_hash",
        "strategy",
        "setup_hash",
        "returns_sha256",
    )
    return TrialBatch(**{name: getattr(head, name) for name in names}, params=params, results=results)
