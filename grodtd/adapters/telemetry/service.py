"""What the service tells Prometheus: its health, its requests, its log lines, and figures of what is stored."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import GaugeMetricFamily, Metric

# A name with more label sets than this is cut: one scrape must not grow without bound.
MOST_SERIES: Final = 500
_SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Figure(NamedTuple):
    """One number about what is stored."""

    name: str
    description: str
    labels: Mapping[str, str]
    value: float


class ServiceMetrics:
    """All metrics of the service, in a registry of their own.

    Parameters
    ----------
    version, revision, environment : str
    figures : function returning figures
        The last known ones; asked at each scrape, so it must not wait for anything.
    """

    def __init__(
        self, *, version: str, revision: str, environment: str, figures: Callable[[], Sequence[Figure]]
    ) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # twice as many series, and nobody asks for them
        self._registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        GCCollector(registry=registry)
        registry.register(_Figures(figures))
        build = Gauge("grodt_build_info", "What runs", ["version", "revision", "environment"], registry=registry)
        build.labels(version, revision, environment).set(1)
        self.health = Gauge("grodt_health_status", "1 pass, 0.5 warn, 0 fail", ["check"], registry=registry)
        self.check_seconds = Gauge(
            "grodt_health_check_duration_seconds", "How long the last check took", ["check"], registry=registry
        )
        self.ready = Gauge("grodt_ready", "1 if requests are welcome", registry=registry)
        self.loop_lag = Gauge(
            "grodt_event_loop_lag_seconds", "How late the event loop last came round", registry=registry
        )
        self.halted = Gauge("grodt_start_guard_halted", "1 if halted after too many restarts", registry=registry)
        self.starts = Gauge("grodt_starts_recent", "Unclean starts within the guard's window", registry=registry)
        self.requests = Counter(
            "grodt_http_requests", "Requests answered", ["method", "route", "status"], registry=registry
        )
        self.request_seconds = Histogram(
            "grodt_http_request_duration_seconds",
            "How long answers took",
            ["method", "route"],
            buckets=_SECONDS,
            registry=registry,
        )
        self.in_progress = Gauge("grodt_http_requests_in_progress", "Requests being answered", registry=registry)
        self._messages = Counter("grodt_log_messages", "Lines logged", ["level"], registry=registry)
        for level in ("debug", "info", "warning", "error", "critical"):
            self._messages.labels(level)

    def count_message(self, level: str) -> None:
        """Count a line of the log."""
        self._messages.labels(level).inc()

    def text(self) -> bytes:
        """Return everything in Prometheus' text format."""
        return generate_latest(self._registry)


class _Figures:
    """Shows figures as gauges; what is no longer among them is no longer shown."""

    def __init__(self, figures: Callable[[], Sequence[Figure]]) -> None:
        self._figures = figures

    def collect(self) -> Iterable[Metric]:
        families: dict[str, GaugeMetricFamily] = {}
        for figure in self._figures():
            family = families.setdefault(
                figure.name, GaugeMetricFamily(figure.name, figure.description, labels=list(figure.labels))
            )
            if len(family.samples) < MOST_SERIES:
                family.add_metric(list(figure.labels.values()), figure.value)
        return families.values()

    def describe(self) -> Iterable[Metric]:
        return []
