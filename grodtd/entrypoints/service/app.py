"""The application: routes, what surrounds each request, and the work that goes on beside them."""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
import uuid
from collections.abc import AsyncIterator, Mapping, MutableMapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal

import structlog
from anyio.to_thread import current_default_thread_limiter
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, PlainTextResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from grodtd.adapters.process.start_guard import Starts
from grodtd.adapters.process.watchdog import Watchdog
from grodtd.adapters.storage.database import for_reading
from grodtd.adapters.telemetry.service import Figure, ServiceMetrics
from grodtd.domain.errors import ConfigError, GrodtError, NotFoundError, StorageError
from grodtd.entrypoints.service.api import api
from grodtd.entrypoints.service.page import PAGE
from grodtd.entrypoints.service.probes import Probes, in_thread
from grodtd.settings import Settings
from grodtd.workflows.figures import last_minutes, regime_figures, stored_figures
from grodtd.workflows.health import Outcome, Status, checks_of

_BEAT_S: Final = 0.25
_HEALTH_EVERY_S: Final = 5.0
_FIGURES_EVERY_S: Final = 15.0
# Labelling takes a process of its own a few seconds: when bars have come, and not more often than this.
_REGIMES_EVERY_S: Final = 300.0
# Figures that could not be read again are shown a while longer, then not at all: old ones are not true.
_FIGURES_KEPT_S: Final = 300.0
_STATEMENT_S: Final = 5.0
# Each has a connection of its own, and replicas, searches and backups share the 100 of PostgreSQL.
_MOST_READERS: Final = 10
_STATUS_VALUE: Final = {"pass": 1.0, "warn": 0.5, "fail": 0.0}
_HEADERS: Final = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-store"),
    (b"content-security-policy", b"default-src 'none'; style-src 'unsafe-inline'"),
)
_MOST_ID_CHARACTERS: Final = 64
# Of a path in the log: those of the API are far shorter, and strangers may send 64 kB.
_MOST_PATH_CHARACTERS: Final = 300

log: Final = structlog.get_logger("grodt.service")


class State:
    """What the routes know of the process they run in."""

    def __init__(
        self,
        settings: Settings,
        *,
        version: str,
        revision: str,
        starts: Starts,
        watchdog: Watchdog | None,
        config: Path | None = None,
    ) -> None:
        self.settings = settings
        self.config = config
        self.version = version
        self.revision = revision
        self.starts = starts
        self.watchdog = watchdog
        self.began = time.monotonic()
        self.is_started = False
        self.is_stopping = False
        self.loop_lag_s = 0.0
        # URL with the password
        self.database = for_reading(settings.database, within_s=_STATEMENT_S)
        # by kind: until when they are true, and the figures
        self._figures: dict[str, tuple[float, Sequence[Figure]]] = {}
        self._statuses: dict[str, Status] = {}
        self._probes = Probes(
            checks_of(settings),
            timeout_s=settings.health.check_timeout_s,
            cache_s=settings.health.cache_s,
            on_result=self._note,
        )
        self.metrics = ServiceMetrics(
            version=version, revision=revision, environment=settings.environment, figures=self.figures
        )
        self.metrics.halted.set(float(starts.is_halted))
        self.metrics.starts.set(self._recent_starts())

    def figures(self) -> Sequence[Figure]:
        """Return the last figures of what is stored, without those too old to be true."""
        now = time.monotonic()
        return [figure for until, figures in self._figures.values() if now < until for figure in figures]

    async def outcomes(self) -> Mapping[str, Outcome]:
        """Return the outcome of every check, the process's own included."""
        found = {**await self._probes.results(), "event_loop": self._event_loop(), "start_guard": self._guard()}
        for name in ("event_loop", "start_guard"):
            self._note(name, found[name], 0.0)
        self.metrics.starts.set(self._recent_starts())
        if self.is_stopping:
            found["stopping"] = Outcome("fail", "the process is about to end")
        self.metrics.ready.set(float(is_ready(found)))
        return found

    def _note(self, name: str, outcome: Outcome, seconds: float) -> None:
        self.metrics.health.labels(name).set(_STATUS_VALUE[outcome.status])
        self.metrics.check_seconds.labels(name).set(seconds)
        before, self._statuses[name] = self._statuses.get(name, "pass"), outcome.status
        if outcome.status != before:
            tell = log.info if outcome.status == "pass" else log.warning
            tell("health changed", check=name, status=outcome.status, before=before, found=outcome.text)

    def _event_loop(self) -> Outcome:
        allowed_s = self.settings.health.max_loop_lag_s
        if self.loop_lag_s > allowed_s:
            return Outcome(
                "fail", f"came round {self.loop_lag_s:.2f} s late, {allowed_s:g} s is allowed", self.loop_lag_s, "s"
            )
        return Outcome("pass", "lag", self.loop_lag_s, "s")

    def _recent_starts(self) -> int:
        """Return the unclean starts within the guard's window, this one included; none once it is as old as that."""
        return self.starts.recent if time.monotonic() - self.began <= self.settings.watchdog.window_s else 0

    def _guard(self) -> Outcome:
        if self.starts.is_halted:
            why = (
                self.starts.problem or f"{self.starts.recent} unclean starts in {self.settings.watchdog.window_s:.0f} s"
            )
            return Outcome("fail", f"HALTED: {why}; find out why it died, then run `grodt resume`")
        if self.starts.problem:
            return Outcome("warn", self.starts.problem, self.starts.recent, "starts")
        return Outcome("pass", "recent unclean starts", self._recent_starts(), "starts")

    async def beat(self) -> None:
        """Go round for ever, telling the watchdog, and measure how late each round is."""
        while True:
            due = time.monotonic() + _BEAT_S
            await asyncio.sleep(_BEAT_S)
            self.loop_lag_s = max(time.monotonic() - due, 0.0)
            self.metrics.loop_lag.set(self.loop_lag_s)
            if self.watchdog is not None:
                self.watchdog.beat()

    async def keep_health(self) -> None:
        """Keep the metrics of health up to date though nobody probes; a scrape must never wait for a check."""
        while True:
            await self.outcomes()
            await asyncio.sleep(_HEALTH_EVERY_S)

    async def keep_stored(self) -> None:
        """Keep the figures of what is stored up to date for scrapes, which must never wait for a database."""
        home = self.settings.home
        while True:
            try:
                figures = await in_thread(lambda: stored_figures(home, self.database))
                self._figures["stored"] = (time.monotonic() + _FIGURES_EVERY_S + _FIGURES_KEPT_S, figures)
            except Exception as error:  # monitoring may not end what it monitors
                log.warning("figures cannot be read", kind="stored", error=str(error))
            await asyncio.sleep(_FIGURES_EVERY_S)

    async def keep_regimes(self) -> None:
        """Keep the regimes up to date: labelled again when the stored bars have changed."""
        home = self.settings.home
        labelled: dict[tuple[str, str], int] = {}
        while True:
            wait_s = _FIGURES_EVERY_S
            try:
                stored = await in_thread(lambda: last_minutes(home))
                if stored != labelled:
                    wait_s = _REGIMES_EVERY_S
                    self._figures["regimes"] = (math.inf, await in_thread(lambda: regime_figures(home, self.config)))
                    labelled = stored
            except Exception as error:  # monitoring may not end what it monitors
                self._figures.pop("regimes", None)
                labelled = {}
                log.warning("figures cannot be read", kind="regimes", error=str(error))
            await asyncio.sleep(wait_s)


def is_ready(outcomes: Mapping[str, Outcome]) -> bool:
    """Return whether requests are welcome: nothing fails."""
    return all(outcome.status != "fail" for outcome in outcomes.values())


def create_app(state: State) -> FastAPI:
    """Return the application of one process."""

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        current_default_thread_limiter().total_tokens = _MOST_READERS
        tasks = [
            asyncio.create_task(work)
            for work in (
                state.beat(),
                state.keep_health(),
                state.keep_stored(),
                state.keep_regimes(),
            )
        ]
        await state.outcomes()
        state.is_started = True
        yield
        for task in tasks:
            task.cancel()

    app = FastAPI(
        title="GRODT",
        version=state.version,
        summary="Stored backtests, searches and bars; health and metrics.",
        docs_url=None,  # both load scripts from elsewhere
        redoc_url=None,
        redirect_slashes=False,  # it would send callers to whatever Host they named
        lifespan=lifespan,
    )
    app.add_middleware(Surroundings, state=state)
    app.include_router(api(state.settings.home, state.database))
    _add_health(app, state)
    _add_errors(app)
    return app


class Verdict(BaseModel):
    """An answer to a probe."""

    status: Literal["pass", "fail"]
    failing: dict[str, str] = Field({}, description="What each failing check found.")


class CheckOut(BaseModel):
    """What a check found."""

    status: Status
    output: str
    observed_value: float | None = Field(alias="observedValue")
    observed_unit: str | None = Field(alias="observedUnit")


class Summary(BaseModel):
    """Health as draft-inadarei-api-health-check describes it."""

    status: Status
    version: str
    release_id: str = Field(alias="releaseId", description="The revision of the source.")
    service_id: str = Field(alias="serviceId")
    environment: str
    uptime_s: float
    checks: dict[str, list[CheckOut]]


class HealthResponse(JSONResponse):
    """JSON that says it is about health."""

    media_type = "application/health+json"


def _add_health(app: FastAPI, state: State) -> None:
    unready: dict[int | str, dict[str, Any]] = {503: {"model": Verdict, "description": "Not now."}}  # Any: FastAPI's

    @app.get("/", include_in_schema=False)
    async def index() -> HTMLResponse:
        return HTMLResponse(PAGE.format(version=state.version, environment=state.settings.environment))

    @app.get("/health/live", tags=["health"], summary="Is the process alive?", response_model=Verdict)
    async def live() -> JSONResponse:
        return JSONResponse({"status": "pass"})

    @app.get("/health/startup", tags=["health"], summary="Has it started?", response_model=Verdict, responses=unready)
    async def startup() -> JSONResponse:
        return _verdict(state.is_started, {})

    @app.get(
        "/health/ready",
        tags=["health"],
        summary="Are requests welcome? 503 names what fails.",
        response_model=Verdict,
        responses=unready,
    )
    async def ready() -> JSONResponse:
        outcomes = await state.outcomes()
        failing = {name: outcome.text for name, outcome in outcomes.items() if outcome.status == "fail"}
        return _verdict(state.is_started and not failing, failing)

    @app.get(
        "/health",
        tags=["health"],
        summary="Everything there is to know about its health",
        response_class=HealthResponse,
        response_model=Summary,
        responses={503: {"model": Summary, "description": "Something fails."}},
    )
    async def health() -> JSONResponse:
        outcomes = await state.outcomes()
        statuses = {outcome.status for outcome in outcomes.values()}
        status = "fail" if "fail" in statuses else "warn" if "warn" in statuses else "pass"
        document = {
            "status": status,
            "version": state.version,
            "releaseId": state.revision,
            "serviceId": "grodt",
            "environment": state.settings.environment,
            "uptime_s": round(time.monotonic() - state.began, 1),
            "checks": {
                name: [
                    {
                        "status": outcome.status,
                        "output": outcome.text,
                        "observedValue": outcome.value,
                        "observedUnit": outcome.unit or None,
                    }
                ]
                for name, outcome in outcomes.items()
            },
        }
        return HealthResponse(document, 503 if status == "fail" else 200)

    @app.get(
        "/metrics", tags=["health"], summary="Metrics in Prometheus' text format", response_class=PlainTextResponse
    )
    async def metrics() -> PlainTextResponse:
        return PlainTextResponse(state.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")


def _verdict(is_well: bool, failing: Mapping[str, str]) -> JSONResponse:
    return JSONResponse({"status": "pass" if is_well else "fail", "failing": dict(failing)}, 200 if is_well else 503)


def _problem(path: str, status: int, title: str, detail: str, headers: Mapping[str, str] | None = None) -> JSONResponse:
    document = {"type": "about:blank", "title": title, "status": status, "detail": detail, "instance": path}
    return JSONResponse(document, status, headers, media_type="application/problem+json")


def _add_errors(app: FastAPI) -> None:
    @app.exception_handler(GrodtError)
    async def known(request: Request, error: GrodtError) -> JSONResponse:
        path = request.url.path
        if isinstance(error, NotFoundError):
            return _problem(path, 404, "Not Found", str(error))
        if isinstance(error, ConfigError):
            return _problem(path, 400, "Bad Request", str(error))
        log.warning("a request failed", path=path[:_MOST_PATH_CHARACTERS], error=str(error))
        if isinstance(error, StorageError):
            return _problem(path, 503, "Service Unavailable", str(error))
        return _problem(path, 500, "Internal Server Error", str(error))

    @app.exception_handler(HTTPException)
    async def http(request: Request, error: HTTPException) -> JSONResponse:
        detail = "see /openapi.json for what there is"
        return _problem(request.url.path, error.status_code, str(error.detail), detail, error.headers)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        return _problem(request.url.path, 400, "Bad Request", f"{where}: {first['msg']}")


class Surroundings:
    """What every request gets: an id that its log lines carry, safe headers, a place in the metrics, an answer."""

    def __init__(self, app: ASGIApp, state: State) -> None:
        self._app = app
        self._state = state

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        metrics = self._state.metrics
        request_id = _request_id(scope)
        path = scope["path"][:_MOST_PATH_CHARACTERS]
        began = time.monotonic()
        status, is_begun = 500, False

        async def with_headers(message: Message) -> None:
            nonlocal status, is_begun
            if message["type"] == "http.response.start":
                status, is_begun = message["status"], True
                message["headers"] = [*message["headers"], *_HEADERS, (b"x-request-id", request_id.encode())]
            await send(message)

        metrics.in_progress.inc()
        with structlog.contextvars.bound_contextvars(request_id=request_id):
            try:
                await self._app(scope, receive, with_headers)
            except Exception:
                # Here rather than in the framework, whose answer and log line would have neither headers nor id.
                log.exception("a request failed", path=path)
                if is_begun:
                    raise
                detail = "an error of the program; its log says more under this X-Request-Id"
                await _problem(scope["path"], 500, "Internal Server Error", detail)(scope, receive, with_headers)
            finally:
                seconds = time.monotonic() - began
                route = _route(scope)
                metrics.in_progress.dec()
                metrics.requests.labels(_method(scope), route, str(status)).inc()
                metrics.request_seconds.labels(_method(scope), route).observe(seconds)
                # Probes and scrapes come every few seconds and say nothing.
                level = "debug" if route.startswith(("/health", "/metrics")) and status < 500 else "info"
                getattr(log, level)(
                    "request", method=scope["method"], path=path, status=status, seconds=round(seconds, 4)
                )


def _request_id(scope: Scope) -> str:
    """Return the caller's id if it is a harmless one, else a new one."""
    for name, value in scope["headers"]:
        if name == b"x-request-id":
            given: str = value.decode("latin-1")
            if 0 < len(given) <= _MOST_ID_CHARACTERS and given.isascii() and given.replace("-", "").isalnum():
                return given
    return uuid.uuid4().hex


def _route(scope: MutableMapping[str, Any]) -> str:  # Any: ASGI's own
    """Return the template of the path: as many label values as there are routes, whatever is asked for."""
    return str(getattr(scope.get("route"), "path", "unmatched"))


def _method(scope: MutableMapping[str, Any]) -> str:  # Any: ASGI's own
    return (
        scope["method"] if scope["method"] in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS") else "other"
    )
