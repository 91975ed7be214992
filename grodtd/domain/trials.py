"""Studies and their trials: what a search has tried, and everything that was ever tried on the same data."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

StudyStatus = Literal["running", "stopping", "stopped", "finished", "failed"]
TrialKind = Literal["trial", "manual", "holdout"]

# What the first batch of a ledger follows.
NO_BATCH: Final = "0" * 64

# Any below: JSON.


@dataclass(frozen=True, slots=True)
class Study:
    """One search.

    Attributes
    ----------
    study_id : str
    hypothesis : str
        The idea under test: trials of the same hypothesis on the same series are counted together.
    strategy, strategy_code_hash, data_hash : str
    series : str
        The bars by name, such as binance:BTCUSDT:1m, whatever part of them.
    optimizer : str
    seed, n_trials : int
        Trials planned.
    spec : mapping
        All that is needed to go on: the request, space, objectives, requirements, account.
    status : str
    created_at_us : int
    """

    study_id: str
    hypothesis: str
    strategy: str
    strategy_code_hash: str
    data_hash: str
    series: str
    optimizer: str
    seed: int
    n_trials: int
    spec: Mapping[str, Any]
    status: StudyStatus = "running"
    created_at_us: int = 0


@dataclass(frozen=True, slots=True)
class TrialBatch:
    """Trials evaluated together; the unit that is written whole or not at all.

    Attributes
    ----------
    study_id : str
        Empty for a single backtest.
    number : int
        Of the batch in its study and kind, from 0.
    kind : {"trial", "manual", "holdout"}
    hypothesis, series, data_hash, strategy : str
    setup_hash : str
        Of the account and gate: what else than parameters a configuration consists of.
    params : sequence of mapping
        One a trial.
    results : sequence of mapping
        Objectives and table columns by name; null where undefined, with "reason".
    returns_sha256 : str
        Of the file with the trials' daily returns; empty if none was kept.
    """

    study_id: str
    number: int
    kind: TrialKind
    hypothesis: str
    series: str
    data_hash: str
    strategy: str
    setup_hash: str
    params: Sequence[Mapping[str, float]]
    results: Sequence[Mapping[str, Any]] = field(default_factory=list)
    returns_sha256: str = ""

    def __post_init__(self) -> None:
        if len(self.params) != len(self.results):
            raise ValueError(f"one result a trial: {len(self.params)} trials, {len(self.results)} results")


def canonical(value: object) -> str:
    """Return JSON that is the same text for the same value; nan and inf are refused."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=False)


def setup_hash(account: Mapping[str, object], gating: Mapping[str, object]) -> str:
    """Return what tells two configurations with the same parameters apart: costs, sizes, rules, gate."""
    return hashlib.sha256(canonical([account, gating]).encode()).hexdigest()


def configuration_hash(batch: TrialBatch, params: Mapping[str, float]) -> str:
    """Return what tells a configuration from any other of the same data and hypothesis."""
    values = {name: float(value) for name, value in params.items()}
    return hashlib.sha256(canonical([batch.strategy, batch.setup_hash, values]).encode()).hexdigest()[:32]


def batch_hash(previous: str, batch: TrialBatch, at_us: int, params: Sequence[str], results: Sequence[str]) -> str:
    """Return the link of a batch in the chain: it holds the link before it and every byte of its own rows."""
    head = [
        previous,
        batch.study_id,
        batch.number,
        batch.kind,
        batch.hypothesis,
        batch.series,
        batch.data_hash,
        batch.strategy,
        batch.setup_hash,
        batch.returns_sha256,
        at_us,
        len(params),
    ]
    digest = hashlib.sha256(canonical(head).encode())
    for one, other in zip(params, results, strict=True):
        digest.update(f"\n{one}\n{other}".encode())
    return digest.hexdigest()
