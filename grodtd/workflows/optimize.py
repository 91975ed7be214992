"""Search for parameters: in batches, stored as it goes, the end of history kept out of sight.

The search sees the bars before the hold-out only. What it has tried is in the ledger before the next batch begins, so a
search that is killed goes on where the ledger ends, with nothing tried twice or lost.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import numpy as np

from grodtd.adapters.storage.returns import read_returns, write_returns
from grodtd.adapters.storage.trial_store import TrialStore
from grodtd.backtest.engine import Market, run_backtest
from grodtd.backtest.sweep import run_sweep
from grodtd.backtest.sweep_tasks import SweepJob, combinations_per_task, joined, sweep_part, sweep_tasks
from grodtd.code_version import module_hash, package_hash
from grodtd.config import Config
from grodtd.domain.bars import DAY_S, US_PER_S, Bars, FloatArray, IntArray, daily_marks, utc
from grodtd.domain.compute import ComputePort
from grodtd.domain.errors import ConfigError, DataError
from grodtd.domain.market import Account, Sizing
from grodtd.domain.run import Metric
from grodtd.domain.strategy import Strategy
from grodtd.domain.sweep import SweepResult
from grodtd.domain.trials import Study, TrialBatch, canonical, setup_hash
from grodtd.optimize.pareto import pareto_front
from grodtd.optimize.search import LEARNING, Requirement, Trial, optimizer
from grodtd.optimize.space import Categorical, Dimension, Int, Space
from grodtd.optimize.stability import Plateau, on_grid, plateau, sobol_indices
from grodtd.performance.summary import metric_table
from grodtd.performance.sweep import SWEEP_COLUMNS, daily_returns_of, sweep_columns
from grodtd.workflows.backtest import Request, market_for, prepared
from grodtd.workflows.strategies import resolve_strategy

# A batch is what a crash can cost: some seconds of work, and one write.
BATCH_TRIALS: Final = 256
# An optimizer that learns does so between batches only: twenty of them, of eight trials at least.
_LESSONS: Final = 20
_BATCH_LEARNING_MIN: Final = 8
# Fewer say nothing about their best tenth; more take long and change no rank.
_IMPORTANCE_TRIALS_MIN: Final = 50
_IMPORTANCE_TRIALS_MAX: Final = 5_000
# Columns of which less is better; everything else is maximised.
_LESS_IS_BETTER: Final = {"vol", "fees", "slippage_cost", "funding_cost", "borrow_cost", "ambiguous_share"}


@dataclass(frozen=True)
class Search:
    """What to search, how, and what counts as good.

    Attributes
    ----------
    request : Request
        Bars, account and fixed parameters.
    space, constraints : mapping, sequence of str
        As in strategies.yaml; empty: what stands there.
    optimizer : str
    n_trials, seed : int
    objectives : tuple of str
        Columns of the sweep's table.
    requirements : tuple of str
        Such as ``trade_count>=100``; a trial that misses one is undefined.
    holdout : float
        Share of the history, in days, that the search never sees.
    hypothesis : str
        Trials of one hypothesis on the same bars count together; default: the strategy's name.
    batch : int or None
        Trials evaluated and written together; None: `batch_trials`.
    threads : int or None
    """

    request: Request
    space: Mapping[str, Any] = field(default_factory=dict)  # Any: YAML
    constraints: tuple[str, ...] = ()
    optimizer: str = "tpe"
    n_trials: int = 200
    seed: int = 1
    objectives: tuple[str, ...] = ("sharpe",)
    requirements: tuple[str, ...] = ("trade_count>=100",)
    holdout: float = 0.2
    hypothesis: str = ""
    batch: int | None = None
    threads: int | None = None

    def as_dict(self) -> dict[str, Any]:  # Any: JSON
        """Return everything as plain dictionaries and lists."""
        return asdict(self)

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Search:
        """Return what `as_dict` was given."""
        request = dict(stored["request"])
        if request.get("regimes") is not None:
            request["regimes"] = tuple(request["regimes"])
        values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in stored.items()}
        values["request"] = Request(**request)
        return cls(**values)


@dataclass(frozen=True, eq=False)
class Prepared:
    """A search ready to run: everything that follows from its description."""

    search: Search
    strategy: Strategy
    space: Space
    account: Account
    market: Market  # what the search may see
    whole: Market
    holdout_bar: int
    data_hash: str
    setup_hash: str
    objectives: tuple[str, ...]
    requirements: tuple[Requirement, ...]


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a search is."""

    study_id: str
    done: int
    planned: int
    best: float | None
    best_params: Mapping[str, float]
    undefined: int
    per_second: float

    @property
    def eta_s(self) -> float | None:
        """Seconds to go at this rate."""
        return (self.planned - self.done) / self.per_second if self.per_second > 0 else None


@dataclass(frozen=True, eq=False)
class Found:
    """What a study has found so far.

    Attributes
    ----------
    rows : list of mapping
        One a trial, in order: number, budget, parameters, objectives, columns, reason.
    best : mapping or None
        The trial with the best defined objective over the whole search range.
    chosen : mapping or None
        The trial to use: on a grid the highest of the smoothed surface away from its edges, otherwise `best`.
    front : list of int
        Trial numbers nothing beats, for several objectives.
    plateau : Plateau or None
        Of a finished grid with one objective.
    axes : mapping of parameter to list
        Of that grid.
    surface : array or None
        Objective by position on it.
    """

    study: Study
    rows: list[dict[str, Any]]
    best: dict[str, Any] | None
    chosen: dict[str, Any] | None
    front: list[int]
    plateau: Plateau | None
    axes: dict[str, list[float]]
    surface: FloatArray | None
    configurations: int
    evaluations: int
    holdouts: list[dict[str, Any]]

    @property
    def objectives(self) -> tuple[str, ...]:
        """Names of the objectives."""
        return tuple(self.study.spec["search"]["objectives"])


def start(home: Path, url: str, search: Search, config: Config) -> tuple[Study, Prepared]:
    """Check a search, store it as a study and return it, ready for `go_on`.

    Raises
    ------
    ConfigError, DataError, StrategyError
        If the search cannot be run as described.
    """
    ready = prepare(home, search, config)
    optimizer(
        search.optimizer, ready.space, seed=search.seed, n_trials=search.n_trials, n_objectives=len(ready.objectives)
    )
    n_trials = search.n_trials
    if search.optimizer == "grid":
        n_trials = sum(len(rows) for rows in ready.space.grid())
    now = datetime.now(tz=UTC)
    study = Study(
        study_id=f"{now:%Y%m%dT%H%M%S}-{uuid4().hex[:8]}",
        hypothesis=search.hypothesis or ready.strategy.name,
        strategy=search.request.strategy,
        strategy_code_hash=module_hash(ready.strategy.module),
        data_hash=ready.data_hash,
        series=series_of(ready.whole.bars),
        optimizer=search.optimizer,
        seed=search.seed,
        n_trials=n_trials,
        spec={
            "search": {
                **ready.search.as_dict(),
                "space": dict(search.space) or dict(_configured(config, ready.strategy).space),
                "constraints": list(search.constraints or _configured(config, ready.strategy).constraints),
            },
            "account": ready.account.as_dict(),
            "engine_code_hash": package_hash(),
            "holdout_start": utc(ready.whole.bars.time[ready.holdout_bar]) if _has_holdout(ready) else "",
            "bars": [utc(ready.whole.bars.time[0]), utc(ready.whole.bars.time[-1])],
        },
        created_at_us=int(now.timestamp() * US_PER_S),
    )
    TrialStore(url).create(study)
    return study, ready


def prepare(home: Path, search: Search, config: Config) -> Prepared:
    """Load and check everything a search needs."""
    strategy, params, account, gating = prepared(search.request, config)
    settings = _configured(config, strategy)
    mapping = search.space or settings.space
    if not mapping:
        raise ConfigError(
            f"{strategy.name} has no space to search: give --space 'name=low:high:step', or write one into"
            " strategies.yaml"
        )
    given: dict[str, float] = params._asdict()  # type: ignore[attr-defined]  # every NamedTuple has it
    fixed = {name: value for name, value in given.items() if name not in mapping}
    space = Space.parse(mapping, strategy, search.constraints or settings.constraints, fixed)
    for name in search.objectives:
        if name not in SWEEP_COLUMNS:
            raise ConfigError(f"there is no objective {name!r}; there are {', '.join(SWEEP_COLUMNS)}")
    if search.batch is not None and search.batch < 1:
        raise ConfigError(f"a batch has at least one trial, found {search.batch}")
    account = steady(account) if not search.request.sizing else account
    whole = market_for(home, search.request, account)
    holdout_bar = split(whole.bars, search.holdout)
    market = _part(replace(whole, gate=gating.gate(whole.bars)), 0, holdout_bar)
    return Prepared(
        search=replace(search, batch=batch_trials(search)),
        strategy=strategy,
        space=space,
        account=account,
        market=market,
        whole=replace(whole, gate=gating.gate(whole.bars)),
        holdout_bar=holdout_bar,
        data_hash=whole.bars.content_hash(),
        setup_hash=setup_hash(account.as_dict(), gating.as_dict()),
        objectives=search.objectives,
        requirements=tuple(Requirement.parse(text, SWEEP_COLUMNS) for text in search.requirements),
    )


def batch_trials(search: Search) -> int:
    """Return how many trials to evaluate together: as asked for, or 256, or for optimizers that learn a twentieth.

    A batch is searched with what the batches before it gave, so one as large as the whole search would learn nothing.
    """
    if search.batch is not None:
        return search.batch
    if search.optimizer not in LEARNING:
        return BATCH_TRIALS
    return min(max(search.n_trials // _LESSONS, _BATCH_LEARNING_MIN), BATCH_TRIALS)


def steady(account: Account) -> Account:
    """Return the account with a constant notional: the size then says nothing about luck, and trades can be shared.

    A tenth of the capital in every trade, without impact and volume caps, which would need the quantity of each trade.
    """
    sizing = Sizing("fraction", fraction=0.1, compound=False)
    rules = replace(account.rules, max_participation=0.0)
    return replace(account, sizing=sizing, rules=rules, costs=replace(account.costs, impact_y=0.0))


def series_of(bars: Bars) -> str:
    """Return the name under which trials on these bars are counted."""
    return f"{bars.venue}:{bars.symbol}:{bars.timeframe}"


def split(bars: Bars, share: float) -> int:
    """Return the first bar of the hold-out: a UTC midnight, so that no day is on both sides.

    Raises
    ------
    ConfigError
        If the share is not in [0, 0.9] or leaves no whole day on one side.
    """
    if not 0 <= share <= 0.9:
        raise ConfigError(f"the hold-out is a share of the history from 0 to 0.9, found {share}")
    if share == 0:
        return len(bars)
    day_us = DAY_S * US_PER_S
    first, last = int(bars.time[0]) // day_us, int(bars.time[-1]) // day_us
    days = last - first + 1
    held_out = max(round(days * share), 1)
    if days - held_out < 2:
        raise ConfigError(f"{days} days of bars leave nothing to search with a hold-out of {share:g}; import more")
    return int(np.searchsorted(bars.time, (last + 1 - held_out) * day_us))


def go_on(
    home: Path,
    url: str,
    study: Study,
    ready: Prepared,
    *,
    compute: ComputePort | None = None,
    on_progress: Callable[[Progress], None] | None = None,
    should_stop: Callable[[], bool] = lambda: False,
) -> str:
    """Run a study from where its ledger ends; return its status: "finished", or "stopped" if asked to.

    Raises
    ------
    ConfigError
        If bars, strategy or engine are not those the study began with.
    """
    _refuse_changes(study, ready)
    store, search = TrialStore(url), ready.search
    size = batch_trials(search)
    store.set_status(study.study_id, "running")
    found = optimizer(
        search.optimizer, ready.space, seed=search.seed, n_trials=search.n_trials, n_objectives=len(ready.objectives)
    )
    tally = _Tally(study, ready)
    number = 0
    for batch in store.batches(study.study_id):
        asked = found.ask(size)
        stored = [ready.space.as_mapping(t.values) for t in asked]
        if stored != [dict(p) for p in batch.params]:
            raise ConfigError(
                f"study {study.study_id} cannot go on: its optimizer no longer asks for the trials of batch {number}; a"
                " library has changed. Start a new study; what was tried stays in the ledger"
            )
        objectives = np.array([[_or_nan(r["objectives"][name]) for name in ready.objectives] for r in batch.results])
        found.tell([t.number for t in asked], objectives.reshape(len(asked), len(ready.objectives)))
        tally.add(asked, objectives)
        number += 1
    status = "finished"
    try:
        while asked := found.ask(size):
            if should_stop() or store.study(study.study_id).status == "stopping":
                status = "stopped"
                break
            batch, objectives, returns = evaluate(study, ready, asked, number, compute)
            sha = write_returns(_returns_file(home, study, number), *returns)
            store.append(replace(batch, returns_sha256=sha), at_us=int(time.time() * US_PER_S))
            found.tell([t.number for t in asked], objectives)
            tally.add(asked, objectives)
            number += 1
            if on_progress:
                on_progress(tally.progress())
    except KeyboardInterrupt:
        status = "stopped"
    except BaseException:
        store.set_status(study.study_id, "failed")
        raise
    store.set_status(study.study_id, "stopped" if status == "stopped" else "finished")
    return status


def evaluate(
    study: Study, ready: Prepared, asked: Sequence[Trial], number: int, compute: ComputePort | None = None
) -> tuple[TrialBatch, FloatArray, tuple[IntArray, list[int], FloatArray]]:
    """Return (batch for the ledger, objectives, (days, trial numbers, daily returns)) of trials."""
    combos = [ready.space.as_params(trial.values) for trial in asked]
    columns = {name: np.full(len(asked), np.nan) for name in SWEEP_COLUMNS}
    full: list[tuple[list[int], SweepResult]] = []
    for budget in sorted({trial.budget for trial in asked}):
        rows = [i for i, trial in enumerate(asked) if trial.budget == budget]
        market = ready.market if budget == 1.0 else _part(ready.market, 0, round(len(ready.market.bars) * budget))
        result = _swept(market, ready, [combos[i] for i in rows], compute)
        for name, values in sweep_columns(result).items():
            columns[name][rows] = values
        if budget == 1.0:
            full.append((rows, result))
    # A ruined account has ratios up to its end, but none to compare with.
    is_met = columns["total"] > -1.0
    missed = ["" if alive else "ruin" for alive in is_met.tolist()]
    for requirement in ready.requirements:
        met = requirement.is_met(columns)
        for i in np.flatnonzero(is_met & ~met).tolist():
            missed[i] = f"requires {requirement.text}"
        is_met &= met
    signs = np.array([-1.0 if name in _LESS_IS_BETTER else 1.0 for name in ready.objectives])
    values = np.column_stack([columns[name] for name in ready.objectives])
    objectives = np.where(is_met[:, None], values * signs, np.nan)
    results = []
    for i, trial in enumerate(asked):
        reason = missed[i] or ("undefined" if np.isnan(objectives[i]).any() else "")
        results.append(
            {
                "number": trial.number,
                "budget": trial.budget,
                "objectives": {n: _or_none(v) for n, v in zip(ready.objectives, objectives[i].tolist(), strict=True)},
                "columns": {name: _or_none(float(column[i])) for name, column in columns.items()},
                "reason": reason,
            }
        )
    batch = TrialBatch(
        study_id=study.study_id,
        number=number,
        kind="trial",
        hypothesis=study.hypothesis,
        series=study.series,
        data_hash=study.data_hash,
        strategy=study.strategy,
        setup_hash=ready.setup_hash,
        params=[ready.space.as_mapping(trial.values) for trial in asked],
        results=results,
    )
    marks = daily_marks(ready.market.bars)[0][1:]
    rows = [i for part, _ in full for i in part]
    daily = np.concatenate([daily_returns_of(r) for _, r in full]) if full else np.empty((0, marks.size))
    return batch, objectives, (marks, [asked[i].number for i in rows], daily)


def _swept(
    market: Market, ready: Prepared, combos: Sequence[tuple[Any, ...]], compute: ComputePort | None
) -> SweepResult:
    if compute is None:
        return run_sweep(market, ready.strategy, combos, ready.account, threads=ready.search.threads)
    job = SweepJob(market, ready.strategy, ready.account)
    # Long enough to be worth handing over, short enough that every worker gets some.
    per_task = min(combinations_per_task(market.bars), max(math.ceil(len(combos) / compute.workers), 1))
    tasks = sweep_tasks(ready.strategy, combos, per_task=per_task)
    return joined(job, combos, (part for _, part in compute.map(sweep_part, [job], tasks)))


def studies(url: str, *, first: int = 0, limit: int = 50) -> list[tuple[Study, int]]:
    """Return (study, trials done), newest first, from place `first` on."""
    return TrialStore(url).studies(first=first, limit=limit)


def trials(url: str, study_id: str, *, first: int = 0, limit: int = 100) -> list[dict[str, Any]]:
    """Return trials of a study, given by id or a unique beginning of it, in order, from number `first` on."""
    store = TrialStore(url)
    return store.trials(store.study(study_id).study_id, first=first, limit=limit)


def findings(url: str, study_id: str) -> Found:
    """Return what a study has found so far."""
    store = TrialStore(url)
    study = store.study(study_id)
    names = list(study.spec["search"]["objectives"])
    rows = [
        {**result, "params": dict(params)}
        for batch in store.batches(study.study_id)
        for params, result in zip(batch.params, batch.results, strict=True)
    ]
    whole = [row for row in rows if row["budget"] == 1.0]
    values = np.array([[_or_nan(row["objectives"][name]) for name in names] for row in whole])
    values = values.reshape(len(whole), len(names))
    best = chosen = None
    front: list[int] = []
    found: Plateau | None = None
    axes: dict[str, list[float]] = {}
    surface: FloatArray | None = None
    if whole and not np.isnan(values).any(axis=1).all():
        front = [whole[i]["number"] for i in np.flatnonzero(pareto_front(values))]
        best = chosen = whole[int(np.nanargmax(values[:, 0]))]
        if study.optimizer == "grid" and len(names) == 1 and study.status == "finished":
            searched = list(study.spec["search"]["space"])
            points = np.array([[float(row["params"][name]) for name in searched] for row in whole])
            levels, surface = on_grid(points, values[:, 0])
            axes = {name: level.tolist() for name, level in zip(searched, levels, strict=True)}
            found = plateau(surface)
            if found.smoothed_best is not None:
                at = [level[i] for level, i in zip(levels, found.smoothed_best, strict=True)]
                chosen = next(row for row, point in zip(whole, points, strict=True) if point.tolist() == at)
    configurations, evaluations = store.count(study.series, study.hypothesis)
    holdouts = [
        {**result, "params": dict(params)}
        for batch in store.batches(study.study_id, "holdout")
        for params, result in zip(batch.params, batch.results, strict=True)
    ]
    return Found(study, rows, best, chosen, front, found, axes, surface, configurations, evaluations, holdouts)


def use_holdout(
    home: Path, url: str, study_id: str, config: Config, params: Mapping[str, float] | None = None
) -> tuple[dict[str, Metric], int]:
    """Run the chosen parameters once on the hold-out and log it; return (metrics, how often it was used before).

    Raises
    ------
    ConfigError
        If there is no hold-out, or nothing was found.
    """
    found = findings(url, study_id)
    ready = prepare(home, Search.from_dict(found.study.spec["search"]), config)
    _refuse_changes(found.study, ready)
    if not _has_holdout(ready):
        raise ConfigError(f"study {found.study.study_id} was made without a hold-out")
    if params is None:
        if found.chosen is None:
            raise ConfigError(f"study {found.study.study_id} has found nothing to try on its hold-out")
        params = found.chosen["params"]
    checked = ready.strategy.check_params(dict(params))
    metrics = _on_holdout(ready, checked)
    TrialStore(url).append(
        TrialBatch(
            study_id=found.study.study_id,
            number=len(found.holdouts),
            kind="holdout",
            hypothesis=found.study.hypothesis,
            series=found.study.series,
            data_hash=found.study.data_hash,
            strategy=found.study.strategy,
            setup_hash=ready.setup_hash,
            params=[dict(params)],
            results=[
                {
                    "at": datetime.now(tz=UTC).isoformat(timespec="seconds"),
                    "metrics": {name: metric.value for name, metric in metrics.items()},
                }
            ],
        ),
        at_us=int(time.time() * US_PER_S),
    )
    return metrics, len(found.holdouts)


def _on_holdout(ready: Prepared, params: tuple[Any, ...]) -> dict[str, Metric]:
    """Trade the hold-out alone; the bars before it only warm indicators up."""
    warmup = ready.strategy.warmup_bars(params) + ready.account.rules.latency_bars + 1
    first = max(ready.holdout_bar - warmup, 0)
    market = _part(ready.whole, first, len(ready.whole.bars))
    gate = np.ones(len(market.bars), dtype=np.int8) if market.gate is None else market.gate.copy()
    before = ready.holdout_bar - first
    gate[: max(before - 1, 0)] = 0
    result = run_backtest(replace(market, gate=gate), ready.strategy, params, ready.account)
    inside = _part(market, before, len(market.bars)).bars
    cut = replace(
        result,
        bars=inside,
        equity=result.equity[before:],
        qty=result.qty[before:],
        held=result.held[before:],
        ledger=type(result.ledger)(
            **{n: getattr(result.ledger, n)[before:] for n in result.ledger.__dataclass_fields__}
        ),
    )
    return metric_table(cut)


def numbers_and_returns(home: Path, url: str, study_id: str) -> tuple[FloatArray, list[int], FloatArray]:
    """Return (days in microseconds UTC, trial numbers, daily returns, shape (n_trials, n_days)) of a study.

    Raises
    ------
    StorageError
        If a file is missing or not the one the ledger names.
    """
    store = TrialStore(url)
    study = store.study(study_id)
    parts = [
        read_returns(_returns_file(home, study, batch.number), batch.returns_sha256)
        for batch in store.batches(study.study_id)
    ]
    if not parts:
        raise DataError(f"study {study.study_id} has no trials yet")
    return parts[0][0], [n for _, numbers, _ in parts for n in numbers], np.concatenate([r for _, _, r in parts])


def sensitivity(found: Found) -> dict[str, tuple[float, float]]:
    """Return {parameter: (first-order, total) Sobol index} of a finished grid's objective, interpolated between cells.

    Raises
    ------
    ConfigError
        If the study is no finished grid without holes, or SALib is not installed.
    """
    if found.surface is None or np.isnan(found.surface).any():
        raise ConfigError("sensitivity needs a finished grid in which every combination has a defined objective")
    from scipy.interpolate import RegularGridInterpolator

    axes = [np.array(axis) for axis in found.axes.values()]
    surface = RegularGridInterpolator(axes, found.surface)
    bounds = [(float(axis[0]), float(axis[-1])) for axis in axes]
    indices = sobol_indices(list(found.axes), bounds, surface, n=1_024, seed=found.study.seed)
    pairs = zip(indices["S1"].tolist(), indices["ST"].tolist(), strict=True)
    return dict(zip(found.axes, pairs, strict=True))


def importances(found: Found) -> dict[str, float]:
    """Return {parameter: share of 1}: how differently the best tenth of trials chose it than all did, largest first.

    For display: it depends on where the optimizer looked, so it ranks parameters and proves nothing. Of more than 5,000
    trials it sees 5,000, evenly spaced.

    Raises
    ------
    ConfigError
        If fewer than two parameters are searched, fewer than 50 trials of the whole search range have a defined first
        objective, all of them have the same, or optuna is not installed.

    References
    ----------
    Watanabe, Bansal and Hutter, "PED-ANOVA", IJCAI 2023; by optuna.
    """
    name = found.objectives[0]
    rows = [row for row in found.rows if row["budget"] == 1.0 and row["objectives"][name] is not None]
    if len(found.study.spec["search"]["space"]) < 2:
        raise ConfigError("importances compare parameters, and only one is searched")
    if len(rows) < _IMPORTANCE_TRIALS_MIN:
        raise ConfigError(
            f"importances need {_IMPORTANCE_TRIALS_MIN} trials with a defined objective, study {found.study.study_id}"
            f" has {len(rows)}"
        )
    if len({row["objectives"][name] for row in rows}) == 1:
        raise ConfigError(f"importances need trials that differ, and {name} is the same in all {len(rows)}")
    if len(rows) > _IMPORTANCE_TRIALS_MAX:
        rows = [rows[i] for i in np.linspace(0, len(rows) - 1, _IMPORTANCE_TRIALS_MAX).astype(int)]
    study = _optuna_study(found, rows, (name,), storage=None)
    from optuna.importance import get_param_importances

    shares = get_param_importances(study)
    return {parameter: float(share) for parameter, share in sorted(shares.items(), key=lambda item: -item[1])}


def importances_or_reason(found: Found) -> tuple[dict[str, float] | None, str]:
    """Return `importances`, or None and why there are none."""
    try:
        return importances(found), ""
    except ConfigError as error:
        return None, str(error)


def export_to_optuna(url: str, study_id: str, file: Path) -> int:
    """Write a study as an optuna database (SQLite), for optuna-dashboard and optuna's own plots; return its trials.

    Raises
    ------
    ConfigError
        If the file is there already, or optuna is not installed.
    """
    if file.exists():
        raise ConfigError(f"{file} is there already; name another file")
    found = findings(url, study_id)
    _optuna_study(found, found.rows, found.objectives, storage=f"sqlite:///{file}")
    return len(found.rows)


def _optuna_study(
    found: Found, rows: Sequence[Mapping[str, Any]], objectives: Sequence[str], storage: str | None
) -> Any:  # Any: optuna's own
    """Return trials of a study as a study of optuna's; without a storage it is kept in memory."""
    try:
        import optuna
    except ImportError as error:
        raise ConfigError("this needs optuna, which is not installed; install grodtd[research]") from error
    search = found.study.spec["search"]
    space = Space.parse(search["space"], resolve_strategy(search["request"]["strategy"]), search["constraints"])
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    kept = optuna.storages.RDBStorage(storage) if storage else None
    study = optuna.create_study(
        storage=kept, study_name=found.study.study_id, directions=["maximize"] * len(objectives)
    )
    state = optuna.trial.TrialState
    ranges = {name: _as_distribution(d) for name, d in space.dimensions.items()}
    trials = []
    for row in rows:
        values = [row["objectives"][name] for name in objectives]
        is_defined = all(value is not None for value in values)
        trials.append(
            optuna.trial.create_trial(
                state=state.COMPLETE if is_defined else state.FAIL,
                values=values if is_defined else None,
                params={name: row["params"][name] for name in ranges},
                distributions=ranges,
                user_attrs={
                    "number": row["number"],
                    "budget": row["budget"],
                    "reason": row["reason"],
                    **row["columns"],
                },
            )
        )
    study.add_trials(trials)
    if kept is not None:
        kept.remove_session()
        kept.engine.dispose()
    return study


def _as_distribution(dimension: Dimension) -> Any:  # Any: optuna's own
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if isinstance(dimension, Categorical):
        return CategoricalDistribution(dimension.choices)
    if isinstance(dimension, Int):
        return IntDistribution(dimension.low, dimension.high, log=dimension.log)
    return FloatDistribution(dimension.low, dimension.high, log=dimension.log)


def compute_named(name: str, address: str | None, threads: int | None) -> ComputePort | None:
    """Return where a search computes: None for threads of this process, or Ray.

    Raises
    ------
    ConfigError
        If there is none of that name, Ray is not installed, or the cluster cannot be reached.
    """
    if name == "local":
        if address:
            raise ConfigError("--ray-address needs --compute ray")
        return None
    if name != "ray":
        raise ConfigError(f"there is no compute {name!r}; there are local and ray")
    from grodtd.adapters.compute.ray import RayCompute

    return RayCompute(address, workers=threads)


def ready_again(home: Path, study: Study, config: Config) -> Prepared:
    """Return a stored study ready to go on."""
    return prepare(home, Search.from_dict(study.spec["search"]), config)


class _Tally:
    """Best so far, and the rate."""

    def __init__(self, study: Study, ready: Prepared) -> None:
        self._study, self._ready = study, ready
        self._done = self._undefined = 0
        self._best, self._params = math.nan, dict[str, float]()
        self._start, self._before = time.monotonic(), 0

    def add(self, asked: Sequence[Trial], objectives: FloatArray) -> None:
        for trial, values in zip(asked, objectives, strict=True):
            self._done += 1
            if np.isnan(values).any():
                self._undefined += 1
            elif trial.budget == 1.0 and not values[0] <= self._best:
                self._best, self._params = float(values[0]), self._ready.space.as_mapping(trial.values)

    def progress(self) -> Progress:
        elapsed = time.monotonic() - self._start
        return Progress(
            self._study.study_id,
            self._done,
            max(self._study.n_trials, self._done),
            _or_none(self._best),
            self._params,
            self._undefined,
            self._done / elapsed if elapsed > 0 else 0.0,
        )


def _refuse_changes(study: Study, ready: Prepared) -> None:
    found = {
        "the bars": (study.data_hash, ready.data_hash),
        "the strategy's code": (study.strategy_code_hash, module_hash(ready.strategy.module)),
        "the account": (canonical(study.spec["account"]), canonical(ready.account.as_dict())),
    }
    changed = [what for what, (then, now) in found.items() if then != now]
    if changed:
        raise ConfigError(
            f"study {study.study_id} cannot go on: {' and '.join(changed)} changed since it began, so that its trials"
            " could not be compared. Start a new study; what was tried stays in the ledger"
        )


def _configured(config: Config, strategy: Strategy) -> Any:  # Any: StrategySettings, or one that is empty
    from grodtd.config import StrategySettings

    return config.strategies.get(strategy.name) or StrategySettings(params={})


def _has_holdout(ready: Prepared) -> bool:
    return ready.holdout_bar < len(ready.whole.bars)


def _part(market: Market, first: int, end: int) -> Market:
    part = slice(first, end)
    return Market(
        market.bars[part],
        gate=None if market.gate is None else market.gate[part],
        funding=None if market.funding is None else market.funding[part],
        fine=market.fine,
    )


def _returns_file(home: Path, study: Study, number: int) -> Path:
    return home / "studies" / study.study_id / f"returns-{number:05d}.parquet"


def _or_none(value: float) -> float | None:
    return None if math.isnan(value) else value


def _or_nan(value: float | None) -> float:
    return math.nan if value is None else float(value)
