"""The read API: stored runs, searches and series, as JSON with a published schema."""

from __future__ import annotations

from datetime import date, datetime
from pathlib import Path
from typing import Annotated, Any, Final

from fastapi import APIRouter
from fastapi import Path as InPath
from fastapi import Query
from pydantic import BaseModel, Field

from grodtd.domain.errors import ConfigError
from grodtd.domain.run import Metric
from grodtd.domain.trials import Study
from grodtd.performance.summary import METRICS
from grodtd.workflows import data, optimize, runs

# Any below: parameters and objectives differ from strategy to strategy.

MOST: Final = 500
Limit = Annotated[int, Query(ge=1, le=MOST, description="At most this many.")]
First = Annotated[int, Query(ge=0, le=1_000_000_000, description="From this number on.")]
# A database refuses control characters with an error that looks like its own.
_NAME: Final = {"min_length": 1, "max_length": 200, "pattern": r"^[^\x00-\x1f\x7f]+$"}
RunId = Annotated[str, InPath(description="Id, or a unique beginning of it.", **_NAME)]
StudyId = Annotated[str, InPath(description="Id, or a unique beginning of it.", **_NAME)]


class MetricOut(BaseModel):
    """A performance number; null with a reason where it is undefined."""

    value: float | None = Field(examples=[1.37])
    reason: str | None = Field(None, examples=["zero_variance"], description="Why there is no value.")
    low_sample: bool = Field(False, description="From too few observations to rely on.")
    extrapolated: bool = Field(False, description="Annualised from less than a year.")
    note: str = ""

    @classmethod
    def of(cls, metric: Metric) -> MetricOut:
        """Return a metric as the API shows it."""
        reason = str(metric.reason) if metric.reason else None
        return cls(
            value=metric.value,
            reason=reason,
            low_sample=metric.low_sample,
            extrapolated=metric.extrapolated,
            note=metric.note,
        )


class RunOut(BaseModel):
    """A stored backtest."""

    run_id: str = Field(examples=["20261124T093000-1a2b3c4d"])
    created_at: datetime
    strategy: str = Field(examples=["s1_trend"])
    params: dict[str, Any] = Field(examples=[{"ema_bars": 20}])
    venue: str = Field(examples=["binance"])
    symbol: str = Field(examples=["BTCUSDT"])
    timeframe: str = Field(examples=["1m"])
    start: str = Field(description="Open of the first bar, UTC.")
    end: str = Field(description="Close of the last bar, UTC.")
    n_bars: int
    n_trades: int
    metrics: dict[str, MetricOut] = Field(description="Keys as listed by /api/v1/metrics.")


class RunPage(BaseModel):
    """Runs, the newest first, and how to get the next ones."""

    runs: list[RunOut]
    next: str | None = Field(description="Pass as `before` for the next page; null on the last.")


class RunDetail(RunOut):
    """A stored backtest with all its metrics and its manifest."""

    manifest: dict[str, Any] = Field(description="Everything needed to make the run again.")
    counters: dict[str, int] = Field(description="Orders that were refused, capped or cancelled, by kind.")
    stopped: str | None = Field(description="Why the run ended before its data; null if it did not.")
    scenarios: dict[str, dict[str, MetricOut]] = Field(
        description="The headline at other costs and at both ends of ambiguous bars."
    )


class TradeOut(BaseModel):
    """A closed round trip. Money is in the quote currency; levels and prices in quote currency per unit."""

    number: int = Field(description="From 0, in order of exit.")
    decision_bar: int = Field(description="Position in the run's bars of the bar whose close decided.")
    entry_bar: int
    exit_bar: int
    decided_at: datetime = Field(description="Close of the decision bar, UTC.")
    entry_bar_at: datetime = Field(description="Open of the bar the entry filled in, UTC.")
    exit_bar_at: datetime = Field(description="Open of the bar the exit filled in, UTC.")
    side: int = Field(description="1 long, -1 short.")
    qty: float = Field(description="Units of the base currency.")
    entry_ref: float = Field(description="Market price the fill refers to, before spread and slippage.")
    exit_ref: float
    entry_price: float = Field(description="Price of the fill.")
    exit_price: float
    entry_fee: float = Field(description="Negative for a rebate.")
    exit_fee: float
    funding: float = Field(description="Paid while held; negative: received.")
    borrow: float
    stop: float | None = Field(description="As set at the entry; null where there was none.")
    target: float | None
    exit_reason: str = Field(examples=["STOP"])
    ambiguous: bool = Field(description="The exit hinges on what came first inside a bar.")
    capped: bool = Field(description="The size was bound by the cap on exposure, not by the risk.")
    gross_pnl: float = Field(description="At reference prices, before any cost.")
    slippage: float
    fees: float
    pnl: float = Field(description="Net: at fill prices, after fees, funding and borrow.")


class TradePage(BaseModel):
    """Closed trades in order of exit."""

    trades: list[TradeOut]
    next: int | None = Field(description="Pass as `first` for the next page; null on the last.")


class EquityDay(BaseModel):
    """The last mark of a UTC day."""

    day: date
    equity: float


class StudyOut(BaseModel):
    """A stored search."""

    study_id: str
    strategy: str
    series: str = Field(examples=["binance:BTCUSDT:1m"])
    hypothesis: str
    optimizer: str = Field(examples=["tpe"])
    status: str = Field(examples=["finished"])
    seed: int
    trials_planned: int
    trials_done: int


class StudyDetail(StudyOut):
    """A stored search with what it has found."""

    best: dict[str, Any] | None = Field(description="The trial with the best objective.")
    chosen: dict[str, Any] | None = Field(
        description="The trial in the middle of the best plateau, where there is one."
    )
    configurations_tried: int = Field(description="Ever, on these bars, for this hypothesis: the N of deflation.")
    holdout_uses: int


class TrialPage(BaseModel):
    """Trials of a search, in order."""

    trials: list[dict[str, Any]]
    next: int | None


class SeriesOut(BaseModel):
    """A stored series of bars."""

    venue: str
    symbol: str
    timeframe: str
    n_bars: int
    first_us: int = Field(description="Open of the first bar, microseconds since 1970, UTC.")
    last_us: int = Field(description="Open of the last bar, likewise.")


class MetricDefinition(BaseModel):
    """What a metric is."""

    key: str = Field(examples=["sharpe"])
    description: str
    unit: str = Field(examples=["ratio"])


class Problem(BaseModel):
    """What went wrong (RFC 9457)."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str = Field(description="What, where, and what to do.")
    instance: str = Field(description="The path that was asked for.")


_PROBLEM: Final = {"schema": {"$ref": "#/components/schemas/Problem"}}


def api(home: Path, database_url: str) -> APIRouter:
    """Return the routes of the API over one home folder and one run database."""
    routes = APIRouter(
        prefix="/api/v1",
        responses={
            status: {"model": Problem, "content": {"application/problem+json": _PROBLEM}, "description": description}
            for status, description in (
                (400, "The request asks for something that cannot be."),
                (404, "There is no such thing, or the beginning of an id fits several."),
                (503, "The database is away."),
                ("default", "Anything else: a method that is not GET (405), an error of the program (500)."),
            )
        },
    )

    @routes.get("/runs", tags=["runs"], summary="List backtests, the newest first")
    def list_runs(
        strategy: Annotated[str | None, Query(description="Only this strategy.", **_NAME)] = None,
        symbol: Annotated[str | None, Query(description="Only this symbol.", **_NAME)] = None,
        sort_by: Annotated[
            str | None,
            Query(description="A metric: the best first; one page only.", json_schema_extra={"enum": [*METRICS]}),
        ] = None,
        before: Annotated[str | None, Query(description="`next` of the page before.", **_NAME)] = None,
        limit: Limit = 50,
    ) -> RunPage:
        if sort_by and before:
            raise ConfigError("sort_by gives one page; leave out `before`, or raise `limit`")
        shown = ["total", "sharpe", "max_drawdown", *([sort_by] if sort_by else [])]
        found = runs.list_runs(
            database_url, strategy=strategy, symbol=symbol, sort_by=sort_by, limit=limit + 1, show=shown, before=before
        )
        page = [
            RunOut(
                run_id=run.run_id,
                created_at=run.created_at,
                strategy=run.strategy,
                params=dict(run.params),
                venue=run.venue,
                symbol=run.symbol,
                timeframe=run.timeframe,
                start=run.start,
                end=run.end,
                n_bars=run.n_bars,
                n_trades=run.n_trades,
                metrics={name: MetricOut.of(metric) for name, metric in run.metrics.items()},
            )
            for run in found[:limit]
        ]
        return RunPage(runs=page, next=page[-1].run_id if len(found) > limit and not sort_by else None)

    @routes.get("/runs/{run_id}", tags=["runs"], summary="One backtest: all metrics, manifest, scenarios")
    def show_run(run_id: RunId) -> RunDetail:
        run = runs.show_run(database_url, run_id)
        manifest = run.manifest
        return RunDetail(
            run_id=run.run_id,
            created_at=run.created_at,
            strategy=manifest.strategy,
            params=dict(manifest.params),
            venue=manifest.venue,
            symbol=manifest.symbol,
            timeframe=manifest.timeframe,
            start=manifest.start,
            end=manifest.end,
            n_bars=manifest.n_bars,
            n_trades=run.n_trades,
            metrics={name: MetricOut.of(metric) for name, metric in run.metrics.items()},
            manifest=dict(manifest.as_dict()),
            counters=dict(run.counters),
            stopped=run.stopped[1] if run.stopped else None,
            scenarios={
                scenario: {name: MetricOut.of(metric) for name, metric in found.items()}
                for scenario, found in run.scenarios.items()
            },
        )

    @routes.get("/runs/{run_id}/trades", tags=["runs"], summary="Closed trades of a backtest")
    def list_trades(run_id: RunId, first: First = 0, limit: Limit = 100) -> TradePage:
        found = runs.trades_of(database_url, run_id, first=first, limit=limit + 1)
        return TradePage(
            trades=[TradeOut(**trade) for trade in found[:limit]], next=first + limit if len(found) > limit else None
        )

    @routes.get("/runs/{run_id}/equity", tags=["runs"], summary="Daily equity of a backtest")
    def daily_equity(run_id: RunId) -> list[EquityDay]:
        return [EquityDay(day=day, equity=equity) for day, equity in runs.daily_equity(database_url, run_id)]

    @routes.get("/metrics", tags=["runs"], summary="What each metric is")
    def list_metrics() -> list[MetricDefinition]:
        return [
            MetricDefinition(key=key, description=info.description, unit=info.unit) for key, info in METRICS.items()
        ]

    @routes.get("/studies", tags=["searches"], summary="List searches, the newest first")
    def list_studies(first: First = 0, limit: Limit = 50) -> list[StudyOut]:
        found = optimize.studies(database_url, first=first, limit=limit)
        return [StudyOut(**_study(study, done)) for study, done in found]

    @routes.get("/studies/{study_id}", tags=["searches"], summary="One search and what it found")
    def show_study(study_id: StudyId) -> StudyDetail:
        found = optimize.findings(database_url, study_id)
        return StudyDetail(
            **_study(found.study, len(found.rows)),
            best=found.best,
            chosen=found.chosen,
            configurations_tried=found.configurations,
            holdout_uses=len(found.holdouts),
        )

    @routes.get("/studies/{study_id}/trials", tags=["searches"], summary="Trials of a search")
    def list_trials(study_id: StudyId, first: First = 0, limit: Limit = 100) -> TrialPage:
        rows = optimize.trials(database_url, study_id, first=first, limit=limit + 1)
        return TrialPage(trials=rows[:limit], next=first + limit if len(rows) > limit else None)

    @routes.get("/series", tags=["data"], summary="List stored bars")
    def list_series() -> list[SeriesOut]:
        return [
            SeriesOut(
                venue=series.venue,
                symbol=series.symbol,
                timeframe=series.timeframe,
                n_bars=series.n_bars,
                first_us=series.first_us,
                last_us=series.last_us,
            )
            for series in data.list_series(home)
        ]

    return routes


def _study(study: Study, done: int) -> dict[str, Any]:
    return {
        "study_id": study.study_id,
        "strategy": study.strategy,
        "series": study.series,
        "hypothesis": study.hypothesis,
        "optimizer": study.optimizer,
        "status": study.status,
        "seed": study.seed,
        "trials_planned": study.n_trials,
        "trials_done": done,
    }
