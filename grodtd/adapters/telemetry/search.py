"""Gauges of a search in progress, for Prometheus to scrape."""

from __future__ import annotations

from grodtd.domain.errors import ConfigError


class SearchGauges:
    """Serve the state of one search at ``http://HOST:PORT/metrics`` while the process lives.

    Parameters
    ----------
    port : int
    host : str
        127.0.0.1: nobody outside this machine sees it.

    Raises
    ------
    ConfigError
        If the port cannot be opened.
    """

    def __init__(self, port: int, host: str = "127.0.0.1") -> None:
        from prometheus_client import CollectorRegistry, Gauge, start_http_server

        self._registry = registry = CollectorRegistry()

        def gauge(name: str, text: str) -> Gauge:
            return Gauge(f"grodt_search_{name}", text, ["study", "strategy"], registry=registry)

        self._done = gauge("trials_done", "Trials evaluated and stored")
        self._planned = gauge("trials_planned", "Trials the search will ask for")
        self._undefined = gauge("trials_undefined", "Trials without a defined objective")
        self._rate = gauge("trials_per_second", "Trials evaluated a second since the search began or went on")
        self._best = gauge("best_objective", "Best objective so far; absent until there is one")
        try:
            self._server, self._thread = start_http_server(port, host, registry)
        except OSError as error:
            raise ConfigError(
                f"metrics cannot be served on {host}:{port}: {error.strerror or error}; choose another port"
            ) from error

    def update(
        self,
        study: str,
        strategy: str,
        *,
        done: int,
        planned: int,
        undefined: int,
        per_second: float,
        best: float | None,
    ) -> None:
        """Show these numbers from now on."""
        labels = (study, strategy)
        self._done.labels(*labels).set(done)
        self._planned.labels(*labels).set(planned)
        self._undefined.labels(*labels).set(undefined)
        self._rate.labels(*labels).set(per_second)
        if best is not None:
            self._best.labels(*labels).set(best)

    def close(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)
