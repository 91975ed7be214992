"""What the backup service tells Prometheus; read from the backups themselves, so a restart forgets nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Protocol

from grodtd.domain.errors import ConfigError


class SeenBackup(Protocol):
    """What is shown of a backup."""

    @property
    def made_at(self) -> datetime:
        """When it was made."""

    @property
    def verified_at(self) -> datetime | None:
        """When it was proven."""

    @property
    def bytes(self) -> int:
        """Its size."""


class BackupMetrics:
    """Gauges and counters at ``http://HOST:PORT/metrics`` while the process lives.

    Raises
    ------
    ConfigError
        If the port cannot be opened.
    """

    def __init__(self, host: str, port: int) -> None:
        from prometheus_client import CollectorRegistry, Counter, Gauge, ProcessCollector, start_http_server

        registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self._stored = Gauge("grodt_backup_stored", "Backups there are", registry=registry)
        self._registry = registry
        self._gauge = Gauge
        self._times: dict[str, Gauge] = {}
        self._size = Gauge("grodt_backup_last_size_bytes", "Size of the newest backup", registry=registry)
        self.duration = Gauge(
            "grodt_backup_last_duration_seconds", "How long the last one took, proof included", registry=registry
        )
        self.failures = Counter("grodt_backup_failures", "Backups, proofs or prunings that failed", registry=registry)
        self._deleted = Counter("grodt_retention_deleted", "What retention deleted", ["kind"], registry=registry)
        for kind in ("backups", "runs", "equity_curves"):
            self._deleted.labels(kind)
        try:
            self._server, self._thread = start_http_server(port, host, registry)
        except OSError as error:
            raise ConfigError(
                f"metrics cannot be served on {host}:{port}: {error.strerror or error}; choose another port"
            ) from error

    def show(self, backups: Sequence[SeenBackup]) -> None:
        """Show what there is, newest first; without a backup there is no time of one."""
        self._stored.set(len(backups))
        if backups:
            self._size.set(backups[0].bytes)
        proven = [one.verified_at for one in backups if one.verified_at is not None]
        self._show(
            "grodt_backup_last_success_timestamp_seconds",
            "When the newest was made",
            backups[0].made_at if backups else None,
        )
        self._show(
            "grodt_backup_last_verified_timestamp_seconds", "When one was last proven", max(proven) if proven else None
        )

    def _show(self, name: str, text: str, at: datetime | None) -> None:
        """Show a time; what is true no longer, such as a proof that was taken back, is not shown."""
        gauge = self._times.get(name)
        if at is None:
            if gauge is not None:
                self._registry.unregister(self._times.pop(name))
            return
        if gauge is None:
            gauge = self._times[name] = self._gauge(name, text, registry=self._registry)
        gauge.set(at.timestamp())

    def deleted(self, counts: Mapping[str, int]) -> None:
        """Count what retention deleted."""
        for kind, count in counts.items():
            self._deleted.labels(kind).inc(count)

    def close(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)
