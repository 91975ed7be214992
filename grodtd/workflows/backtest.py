"""The main job: bars + strategy -> result, metrics, manifest; and running a stored manifest again."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from grodtd.adapters.storage import RunStore
from grodtd.backtest.engine import run_backtest
from grodtd.code_version import module_hash, package_hash
from grodtd.config import Config
from grodtd.domain.bars import US_PER_S, Bars, utc
from grodtd.domain.errors import ConfigError, DataError
from grodtd.domain.market import Account, Rules, Sizing
from grodtd.domain.run import Manifest, Metric, RunResult
from grodtd.domain.strategy import ParamValue, Strategy
from grodtd.performance.summary import metric_table
from grodtd.strategies.registry import strategy_named
from grodtd.workflows.data import load_bars, time_range

_VERSIONED: Final = ("grodtd", "numpy", "numba", "llvmlite")
_AMBIGUOUS_SHARE_MAX: Final = 0.01
_COVERAGE_MIN: Final = 0.99


@dataclass(frozen=True)
class Request:
    """What a user asks for; whatever is None comes from the configuration.

    Attributes
    ----------
    start, end : str
        Dates (2023-01-31) or times (2023-01-31T12:00) in UTC; empty: all there is. A date as `end` includes that
        day, a time is exclusive.
    params : mapping
        Parameters that differ from configs/strategies.yaml.
    costs : str or None
        Name in configs/costs.yaml; None: the venue's own.
    sizing : mapping
        Fields of `Sizing` that differ from configs/risk.yaml.
    """

    strategy: str
    venue: str
    symbol: str
    timeframe: str = "1m"
    start: str = ""
    end: str = ""
    params: Mapping[str, ParamValue] = field(default_factory=dict)
    costs: str | None = None
    cost_scale: float = 1.0
    direction: str | None = None
    sizing: Mapping[str, Any] = field(default_factory=dict)  # Any: checked by Sizing itself
    initial_capital: float | None = None
    latency_bars: int | None = None
    reentry: str | None = None


@dataclass(frozen=True, eq=False)
class Completed:
    """A finished backtest: the core's result, its metrics and how to make it again."""

    result: RunResult
    metrics: Mapping[str, Metric]
    manifest: Manifest

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a reader must know before believing the numbers; see `warnings_of`."""
        return tuple(warnings_of(self.result, self.metrics))


def account_for(request: Request, config: Config) -> Account:
    """Return the account a request describes, gaps filled from the configuration.

    Raises
    ------
    ConfigError
        If a setting is unknown or invalid, or there are no costs for the venue.
    """
    risk, strategy = config.risk, config.strategies.get(request.strategy)
    direction = request.direction or (strategy.direction if strategy else "long_short")
    try:
        sizing = Sizing(**{**asdict(risk.sizing), **request.sizing})
    except TypeError as error:
        raise ConfigError(f"sizing: {error}") from error
    return Account(
        instrument=config.instrument(request.venue, request.symbol),
        costs=config.costs_named(request.costs or request.venue).scaled(request.cost_scale),
        sizing=sizing,
        rules=Rules(
            latency_bars=risk.latency_bars if request.latency_bars is None else request.latency_bars,
            direction=direction,  # type: ignore[arg-type]  # Rules checks the text itself
            reentry=request.reentry or risk.reentry,  # type: ignore[arg-type]  # likewise
        ),
        initial_capital=request.initial_capital or risk.initial_capital,
    )


def backtest_request(home: Path, request: Request, config: Config) -> Completed:
    """Load the bars a request names, run it, compute its metrics; nothing is stored.

    Raises
    ------
    ConfigError, DataError, StrategyError
        If the request does not fit the configuration, the catalogue or the strategy.
    """
    strategy = strategy_named(request.strategy)
    settings = config.strategies.get(request.strategy)
    params = strategy.check_params({**(settings.params if settings else {}), **request.params})
    account = account_for(request, config)
    start_us, end_us = time_range(request.start, request.end)
    bars = load_bars(
        home,
        request.venue,
        request.symbol,
        request.timeframe,
        start_us=start_us,
        end_us=end_us,
        calendar=account.instrument.calendar,
    )
    return run(bars, strategy, params, account)


def run(bars: Bars, strategy: Strategy, params: tuple[Any, ...], account: Account) -> Completed:
    """Run one strategy over bars already loaded; return result, metrics and manifest."""
    result = run_backtest(bars, strategy, params, account)
    metrics = metric_table(result)
    return Completed(result, metrics, _manifest(bars, strategy, params, account, result, metrics))


def _manifest(
    bars: Bars,
    strategy: Strategy,
    params: tuple[Any, ...],
    account: Account,
    result: RunResult,
    metrics: Mapping[str, Metric],
) -> Manifest:
    return Manifest(
        command="backtest",
        strategy=strategy.name,
        params=params._asdict(),  # type: ignore[attr-defined]  # every NamedTuple has it
        venue=bars.venue,
        symbol=bars.symbol,
        timeframe=bars.timeframe,
        start=utc(bars.time[0]),
        end=utc(bars.time[-1] + bars.interval_s * US_PER_S),
        n_bars=len(bars),
        data_hash=bars.content_hash(),
        strategy_code_hash=module_hash(strategy.module),
        engine_code_hash=package_hash(),
        account=account.as_dict(),
        seed=None,
        versions={"python": platform.python_version(), **{name: version(name) for name in _VERSIONED}},
        result_hash=result.content_hash(),
        settings={"warnings": list(warnings_of(result, metrics))},
    )


def warnings_of(result: RunResult, metrics: Mapping[str, Metric]) -> list[str]:
    """Return the codes of everything that makes the numbers less than they seem.

    ``borrow_not_modelled`` (spot shorts paid no borrow), ``no_increments`` (instrument not listed: no tick, lot or
    smallest order), ``ruin`` or ``min_notional`` (trading stopped before the data did), ``ambiguous_share`` (over
    1 % of trades hinge on the order of events inside a bar), ``coverage`` (over 1 % of bars are missing).
    """
    found = []
    instrument = result.account.instrument
    has_borrow = result.account.costs.borrow_bps_hour > 0
    if instrument.market == "spot" and not has_borrow and bool((result.trades.side < 0).any()):
        found.append("borrow_not_modelled")
    if not (instrument.tick or instrument.lot):
        found.append("no_increments")
    if result.stopped is not None:
        found.append(result.stopped[1])
    share, coverage = metrics["ambiguous_share"].value, metrics["coverage"].value
    if share is not None and share > _AMBIGUOUS_SHARE_MAX:
        found.append("ambiguous_share")
    if coverage is not None and coverage < _COVERAGE_MIN:
        found.append("coverage")
    return found


def save(database_url: str, completed: Completed) -> str:
    """Store a finished backtest and return its run id.

    Raises
    ------
    StorageError
        If the database cannot be reached or written; nothing is stored then.
    """
    store = RunStore(database_url)
    return store.save(completed.manifest, completed.metrics, completed.result, created_at=datetime.now(UTC))


@dataclass(frozen=True)
class Verification:
    """Outcome of running a stored manifest again."""

    run_id: str
    is_same: bool
    expected_hash: str
    found_hash: str
    is_same_code: bool


def verify(home: Path, run_id: str, database_url: str) -> Verification:
    """Run a stored manifest again on the catalogue's bars and compare the result hash.

    Raises
    ------
    DataError
        If the catalogue's bars are no longer those of the run.
    StorageError
        If there is no such run.
    """
    store = RunStore(database_url)
    run_id = store.resolve(run_id)
    manifest = store.get(run_id).manifest
    account = Account.from_dict(manifest.account)
    start_us, end_us = time_range(manifest.start, manifest.end)
    bars = load_bars(
        home,
        manifest.venue,
        manifest.symbol,
        manifest.timeframe,
        start_us=start_us,
        end_us=end_us,
        calendar=account.instrument.calendar,
    )
    if bars.content_hash() != manifest.data_hash:
        raise DataError(
            f"the bars of {manifest.symbol} {manifest.timeframe} from {manifest.start} to {manifest.end} are not those"
            f" of run {run_id} ({len(bars)} bars, then {manifest.n_bars}); re-import the original file"
        )
    strategy = strategy_named(manifest.strategy)
    found = run_backtest(bars, strategy, strategy.check_params(manifest.params), account).content_hash()
    return Verification(
        run_id=run_id,
        is_same=found == manifest.result_hash,
        expected_hash=manifest.result_hash,
        found_hash=found,
        is_same_code=package_hash() == manifest.engine_code_hash,
    )
