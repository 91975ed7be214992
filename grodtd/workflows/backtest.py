"""The main job: bars + strategy -> result, metrics, manifest; and running a stored manifest again."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import UTC, datetime
from importlib.metadata import version
from numbers import Integral, Real
from pathlib import Path
from typing import Any, Final, TypeVar, get_args

import numpy as np

from grodtd.backtest.engine import Market, decide, fill, run_backtest
from grodtd.code_version import module_hash, package_hash
from grodtd.config import Config, RegimeSettings
from grodtd.domain.bars import US_PER_S, Bars, FloatArray, SideArray, utc
from grodtd.domain.errors import ConfigError, DataError
from grodtd.domain.market import Account, Limits, OnExit, RegimeName, Rules, SameBar, Sizing
from grodtd.domain.run import Manifest, Metric, RunResult
from grodtd.domain.strategy import ParamValue, Strategy
from grodtd.domain.trials import TrialBatch, setup_hash
from grodtd.execution.fills import Leg
from grodtd.execution.gate import entry_gate
from grodtd.indicators.regime import Regime, regime
from grodtd.performance.summary import metric_table
from grodtd.workflows.data import funding_of, load_bars, time_range
from grodtd.workflows.strategies import resolve_strategy

T = TypeVar("T")

SCENARIO_METRICS: Final = ("total", "sharpe", "max_drawdown", "net_pnl", "trade_count", "win_rate", "profit_factor")
SCENARIOS: Final = ("costs x0.5", "costs x2", "pessimistic", "optimistic")
_VERSIONED: Final = ("grodtd", "numpy", "numba", "llvmlite")
# Threads beside the main one; each fill of a year of minutes takes some 100 MB while it lasts.
_BESIDE: Final = 2
_AMBIGUOUS_SHARE_MAX: Final = 0.01
_COVERAGE_MIN: Final = 0.99
_SETTING_TYPES: Final[Mapping[type, tuple[type, str]]] = {
    bool: (bool, "true or false"),
    int: (Integral, "a whole number"),
    float: (Real, "a number"),
    str: (str, "text"),
}


@dataclass(frozen=True)
class Request:
    """What a user asks for; whatever is None comes from the configuration.

    Attributes
    ----------
    strategy : str
        A registered name, or a file and a name in it: ``my_strategy.py:MY_STRATEGY``.
    start, end : str
        Dates (2023-01-31) or times (2023-01-31T12:00) in UTC; empty: all there is. A date as `end` includes that
        day, a time is exclusive.
    params : mapping
        Parameters that differ from configs/strategies.yaml.
    costs : str or None
        Name in configs/costs.yaml; None: the venue's own.
    sizing, rules, limits : mapping
        Fields of `Sizing`, `Rules` and `Limits` that differ from configs/risk.yaml.
    regimes : tuple of str or None
        Regimes in which entries are allowed; empty: no gate. None: as configured, else the strategy's own.
    fine : str
        Timeframe of the stored bars that decide what came first inside a bar (``same_bar: drilldown``).
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
    rules: Mapping[str, Any] = field(default_factory=dict)  # likewise
    limits: Mapping[str, Any] = field(default_factory=dict)  # likewise
    leverage: float | None = None
    initial_capital: float | None = None
    latency_bars: int | None = None
    reentry: str | None = None
    regimes: tuple[str, ...] | None = None
    on_exit: str | None = None
    fine: str = ""


_DEFAULT_REGIME: Final = RegimeSettings()


@dataclass(frozen=True)
class Gating:
    """In which regimes entries are allowed, and the classifier that says so; no regimes: no gate."""

    regimes: tuple[str, ...] = ()
    on_exit: OnExit = "hold"
    classifier: RegimeSettings = _DEFAULT_REGIME

    def gate(self, bars: Bars) -> SideArray | None:
        """Return the gate of each close, or None."""
        if not self.regimes:
            return None
        labels = regime(**asdict(self.classifier)).values(bars)
        return entry_gate(labels, [int(Regime[name.upper()]) for name in self.regimes], self.on_exit)

    def as_dict(self) -> dict[str, object]:
        """Return what a manifest keeps."""
        if not self.regimes:
            return {}
        return {"regimes": list(self.regimes), "on_exit": self.on_exit, "classifier": asdict(self.classifier)}


NO_GATE: Final = Gating()


@dataclass(frozen=True, eq=False)
class Completed:
    """A finished backtest: the core's result, its metrics, how to make it again, and what it would be otherwise.

    Attributes
    ----------
    scenarios : mapping of str to mapping of str to Metric
        The metrics of `SCENARIO_METRICS` at 0.5 and 2 times the costs ("costs x0.5", "costs x2"), and at both ends of
        what bars leave open: whenever a bar touched stop and target, the stop first ("pessimistic") or the target first
        ("optimistic"). By default, and with drilldown, the result itself is the pessimistic end. Where drilldown
        leaves a trade ambiguous, the optimistic end does without the finer bars, and is wider than need be.
    """

    result: RunResult
    metrics: Mapping[str, Metric]
    manifest: Manifest
    scenarios: Mapping[str, Mapping[str, Metric]] = field(default_factory=dict)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a reader must know before believing the numbers; see `warnings_of`."""
        return self.manifest.warnings


def account_for(request: Request, config: Config, name: str = "") -> Account:
    """Return the account a request describes, gaps filled from the configuration.

    Raises
    ------
    ConfigError
        If a setting is unknown or invalid, or there are no costs for the venue.
    """
    risk, strategy = config.risk, config.strategies.get(name or request.strategy)
    rules: dict[str, Any] = {**asdict(risk.rules), "direction": strategy.direction if strategy else "long_short"}
    if strategy and strategy.reentry:
        rules["reentry"] = strategy.reentry
    rules |= request.rules
    for field_name in ("direction", "latency_bars", "reentry"):
        if getattr(request, field_name) is not None:
            rules[field_name] = getattr(request, field_name)
    sizing = {**asdict(risk.sizing), **(strategy.sizing if strategy else {}), **request.sizing}
    return Account(
        instrument=config.instrument(request.venue, request.symbol),
        costs=config.costs_named(request.costs or request.venue).scaled(request.cost_scale),
        sizing=_made(Sizing, "sizing", sizing),
        rules=_made(Rules, "rules", rules),
        initial_capital=request.initial_capital or risk.initial_capital,
        limits=_made(Limits, "limits", {**asdict(risk.limits), **request.limits}),
        leverage=request.leverage or risk.leverage,
    )


def _made(kind: type[T], what: str, values: Mapping[str, Any]) -> T:
    """Make a record of settings from what a user wrote, whose names and types nobody has checked."""
    types = {f.name: type(f.default) for f in fields(kind)}  # type: ignore[arg-type]  # Sizing, Rules or Limits
    for name, value in values.items():
        if name not in types:
            raise ConfigError(f"{what}: there is no {name!r}; there are {', '.join(types)}")
        wanted, words = _SETTING_TYPES[types[name]]
        if not isinstance(value, wanted) or isinstance(value, bool) != (wanted is bool):
            raise ConfigError(f"{what}: {name} must be {words}, found {value!r}")
    return kind(**values)


def gating_for(request: Request, config: Config, strategy: Strategy) -> Gating:
    """Return the regime gate of a request.

    Raises
    ------
    ConfigError
        If a regime is unknown.
    """
    settings = config.strategies.get(strategy.name)
    configured = settings.regimes if settings and settings.regimes is not None else tuple(sorted(strategy.regimes))
    regimes = configured if request.regimes is None else request.regimes
    for name in regimes:
        if name not in get_args(RegimeName):
            raise ConfigError(f"there is no regime {name!r}; there are {', '.join(get_args(RegimeName))}")
    on_exit = request.on_exit or (settings.on_exit if settings else "hold")
    if on_exit not in get_args(OnExit):
        raise ConfigError(f"on_exit {on_exit!r} is not one of {', '.join(get_args(OnExit))}")
    return Gating(tuple(regimes), on_exit, config.regime)  # type: ignore[arg-type]  # checked above


def backtest_request(home: Path, request: Request, config: Config) -> Completed:
    """Load the bars a request names, run it, compute its metrics; nothing is stored.

    Raises
    ------
    ConfigError, DataError, StrategyError
        If the request does not fit the configuration, the catalogue or the strategy.
    """
    strategy, params, account, gating = prepared(request, config)
    market = market_for(home, request, account)
    made_from = {"strategy_file": request.strategy} if strategy.name != request.strategy else {}
    return run(market, strategy, params, account, gating, made_from)


def prepared(request: Request, config: Config) -> tuple[Strategy, tuple[Any, ...], Account, Gating]:
    """Return (strategy, parameters, account, gating) of a request."""
    strategy = resolve_strategy(request.strategy)
    settings = config.strategies.get(strategy.name)
    params = strategy.check_params({**(settings.params if settings else {}), **request.params})
    return strategy, params, account_for(request, config, strategy.name), gating_for(request, config, strategy)


def market_for(home: Path, request: Request, account: Account) -> Market:
    """Load the bars of a request, with funding for a perpetual and finer bars for drilldown."""
    start_us, end_us = time_range(request.start, request.end)

    def load(timeframe: str) -> Bars:
        return load_bars(
            home,
            request.venue,
            request.symbol,
            timeframe,
            start_us=start_us,
            end_us=end_us,
            calendar=account.instrument.calendar,
        )

    bars = load(request.timeframe)
    needs_fine = account.rules.same_bar == "drilldown"
    if needs_fine and not request.fine:
        raise ConfigError("same_bar drilldown needs finer bars; name their timeframe with --fine, such as --fine 1m")
    if request.fine and not needs_fine:
        raise ConfigError(f"--fine {request.fine} is read by --rule same_bar=drilldown only; add that, or leave it out")
    return Market(
        bars,
        funding=funding_of(home, bars) if account.instrument.market == "perpetual" else None,
        fine=load(request.fine) if needs_fine else None,
    )


def run(
    market: Market,
    strategy: Strategy,
    params: tuple[Any, ...],
    account: Account,
    gating: Gating = NO_GATE,
    made_from: Mapping[str, object] | None = None,
) -> Completed:
    """Run one strategy over bars already loaded; return result, metrics, manifest and scenarios.

    Parameters
    ----------
    market : Market
        Its gate is made from `gating`.
    made_from : mapping, optional
        What else the manifest needs to make the run again.
    """
    bars = market.bars
    # Compiled loops and sha256 hold no lock, so whatever does not wait for something else runs beside it.
    with ThreadPoolExecutor(max_workers=_BESIDE) as pool:
        data_hash, gate = pool.submit(bars.content_hash), pool.submit(gating.gate, bars)
        code_hash = pool.submit(module_hash, strategy.module)
        decided = replace(decide(market, strategy, params, account), gate=gate.result())
        at_other_costs = {
            f"costs x{factor:g}": pool.submit(_headline, decided, replace(account, costs=account.costs.scaled(factor)))
            for factor in (0.5, 2.0)
        }
        result = fill(decided, account)
        other_ends = {
            end: pool.submit(_headline, decided, replace(account, rules=replace(account.rules, same_bar=rule)))
            for end, rule in _other_ends(account, result).items()
        }
        metrics = metric_table(result)
        settings = {
            **(made_from or {}),
            "warnings": warnings_of(result, metrics, market.funding) + _why_idle(decided, result),
            "gating": gating.as_dict(),
            "fine": market.fine.timeframe if market.fine else "",
            "funding_hash": _hash(market.funding),
        }
        hashes = data_hash.result(), code_hash.result()
        manifest = _manifest(bars, strategy, params, account, result, settings, hashes)
        otherwise = {name: found.result() for name, found in {**at_other_costs, **other_ends}.items()}
    own = {name: metrics[name] for name in SCENARIO_METRICS}
    return Completed(result, metrics, manifest, {name: otherwise.get(name, own) for name in SCENARIOS})


def _hash(values: FloatArray | None) -> str:
    return "" if values is None else hashlib.sha256(values.tobytes()).hexdigest()


def _other_ends(account: Account, result: RunResult) -> dict[str, SameBar]:
    """Return the ends of what bars leave open that the result itself is not, and the rule of each."""
    chosen = account.rules.same_bar
    ends: dict[str, SameBar] = {"pessimistic": "stop_first", "optimistic": "target_first"}
    # Drilldown knows more than both rules, and takes the stop where it does not know.
    own = "pessimistic" if chosen == "drilldown" else next((end for end in ends if ends[end] == chosen), "")
    is_open = bool(result.trades.ambiguous.any())
    return {end: rule for end, rule in ends.items() if is_open and end != own}


def _headline(decided: Leg, account: Account) -> dict[str, Metric]:
    """Fill the same decisions on another account; return the metrics of `SCENARIO_METRICS`."""
    table = metric_table(fill(decided, account))
    return {name: table[name] for name in SCENARIO_METRICS}


def _manifest(
    bars: Bars,
    strategy: Strategy,
    params: tuple[Any, ...],
    account: Account,
    result: RunResult,
    settings: Mapping[str, object],
    hashes: tuple[str, str],
) -> Manifest:
    data_hash, code_hash = hashes
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
        data_hash=data_hash,
        strategy_code_hash=code_hash,
        engine_code_hash=package_hash(),
        account=account.as_dict(),
        seed=None,
        versions={"python": platform.python_version(), **{name: version(name) for name in _VERSIONED}},
        result_hash=result.content_hash(),
        settings=settings,
    )


def warnings_of(result: RunResult, metrics: Mapping[str, Metric], funding: FloatArray | None = None) -> list[str]:
    """Return the codes of everything that makes the numbers less than they seem.

    ``borrow_not_modelled`` (spot shorts paid no borrow), ``funding_not_modelled`` (a perpetual without a funding rate
    in these bars), ``no_increments`` (instrument not listed: no tick, lot or smallest order), ``ruin`` or
    ``min_notional`` (trading stopped before the data did), ``ambiguous_share`` (unreliable: over 1 % of trades hinge on
    the order of events inside a bar), ``coverage`` (over 1 % of bars are missing).
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
    # Not what was paid: a run that is flat at every settlement pays nothing and lacks nothing.
    has_funding = funding is not None and bool(funding.any())
    if instrument.market == "perpetual" and len(result.trades) and not has_funding:
        found.append("funding_not_modelled")
    share, coverage = metrics["ambiguous_share"].value, metrics["coverage"].value
    if share is not None and share > _AMBIGUOUS_SHARE_MAX:
        found.append("ambiguous_share")
    if coverage is not None and coverage < _COVERAGE_MIN:
        found.append("coverage")
    return found


def _why_idle(decided: Leg, result: RunResult) -> list[str]:
    """Return the code of why nothing was traded, where that can be said: the gate, or no wish to."""
    if result.held.any():
        return []
    if not decided.side.any():
        return ["never_wanted"]
    is_closed = decided.gate is not None and not (decided.gate[decided.side != 0] == 1).any()
    return ["gate_closed"] if is_closed else []


def in_vectorbt(completed: Completed, engine: str, request: Request, config: Config) -> dict[str, object]:
    """Return what vectorbt makes of a finished backtest.

    Parameters
    ----------
    engine : {"vectorbt", "vectorbt-signals"}
        The strict fills replayed, which must give the same equity; or the same decisions through `from_signals`, which
        does not (docs/how-to/use-vectorbt.md says why).

    Raises
    ------
    ConfigError
        If vectorbt is not installed or cannot hold the run, or there is no such engine.
    ExecutionError
        If vectorbt changed a fill.
    """
    from grodtd.backtest import vectorbt_engine

    result = completed.result
    if engine == "vectorbt":
        portfolio = vectorbt_engine.to_portfolio(result)
        difference = float(np.abs(portfolio.value().to_numpy() - vectorbt_engine.owed(result) - result.equity).max())
    elif engine == "vectorbt-signals":
        strategy, params, _, _ = prepared(request, config)
        decided = strategy.decisions(result.bars, params)
        portfolio = vectorbt_engine.signals_portfolio(result.bars, decided.side, decided.bracket, result.account)
        difference = float(abs(portfolio.value().iloc[-1] - result.equity[-1]))
    else:
        raise ConfigError(f"engine {engine!r} is not one of strict, vectorbt, vectorbt-signals")
    return {
        "engine": engine,
        "computed_by": portfolio.engine,
        "version": version("vectorbt"),
        "orders": len(portfolio.orders.records),
        "total": float(portfolio.total_return()),
        "equity_difference": difference,
    }


def save(database_url: str, completed: Completed) -> str:
    """Store a finished backtest, count it among the trials on its bars, and return its run id.

    Raises
    ------
    StorageError
        If the database cannot be reached or written; nothing is stored then.
    """
    # Imported here: a run that is not stored does without the third of a second that SQLAlchemy takes.
    from grodtd.adapters.storage import RunStore
    from grodtd.adapters.storage.trial_store import TrialStore

    manifest, now = completed.manifest, datetime.now(UTC)
    run_id = RunStore(database_url).save(
        manifest, completed.metrics, completed.result, created_at=now, scenarios=completed.scenarios
    )
    # What was tried by hand was tried: it counts among all trials on these bars.
    gating = manifest.settings["gating"]
    assert isinstance(gating, Mapping)
    manual = TrialBatch(
        study_id="",
        number=0,
        kind="manual",
        hypothesis=manifest.strategy,
        series=f"{manifest.venue}:{manifest.symbol}:{manifest.timeframe}",
        data_hash=manifest.data_hash,
        strategy=manifest.strategy,
        setup_hash=setup_hash(manifest.account, gating),
        params=[dict(manifest.params)],
        results=[{"run": run_id, "metrics": {name: metric.value for name, metric in completed.metrics.items()}}],
    )
    TrialStore(database_url).append(manual, at_us=int(now.timestamp() * US_PER_S))
    return run_id


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
    from grodtd.adapters.storage import RunStore

    store = RunStore(database_url)
    run_id = store.resolve(run_id)
    manifest = store.get(run_id).manifest
    account, settings = Account.from_dict(manifest.account), manifest.settings
    request = Request(
        strategy=str(settings.get("strategy_file", manifest.strategy)),
        venue=manifest.venue,
        symbol=manifest.symbol,
        timeframe=manifest.timeframe,
        start=manifest.start,
        end=manifest.end,
        fine=str(settings.get("fine", "")),
    )
    market = market_for(home, request, account)
    bars = market.bars
    if bars.content_hash() != manifest.data_hash:
        raise DataError(
            f"the bars of {manifest.symbol} {manifest.timeframe} from {manifest.start} to {manifest.end} are not those"
            f" of run {run_id} ({len(bars)} bars, then {manifest.n_bars}); re-import the original file"
        )
    if _hash(market.funding) != settings.get("funding_hash", ""):
        raise DataError(f"the funding of {manifest.symbol} is not that of run {run_id}; re-import the original file")
    gating = _stored_gating(settings.get("gating"))
    strategy = resolve_strategy(request.strategy)
    market = replace(market, gate=gating.gate(bars))
    found = run_backtest(market, strategy, strategy.check_params(manifest.params), account).content_hash()
    return Verification(
        run_id=run_id,
        is_same=found == manifest.result_hash,
        expected_hash=manifest.result_hash,
        found_hash=found,
        is_same_code=package_hash() == manifest.engine_code_hash,
    )


def _stored_gating(stored: Any) -> Gating:  # Any: parsed JSON
    if not stored:
        return NO_GATE
    return Gating(tuple(stored["regimes"]), stored["on_exit"], RegimeSettings(**stored["classifier"]))
