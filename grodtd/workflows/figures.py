"""Figures of what is stored, for Prometheus: backtests, searches, bars, the regime the market is in."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Final

from grodtd.adapters.storage.figures import read_figures
from grodtd.adapters.telemetry.service import Figure
from grodtd.config import load_config
from grodtd.domain.bars import DAY_S, US_PER_S
from grodtd.domain.errors import GrodtError

SHOWN: Final = ("total", "sharpe", "sortino", "max_drawdown", "profit_factor", "win_rate", "trade_count")
_REGIME_DAYS: Final = 7
_WARM_UP_DAYS: Final = 7
_REGIMES_WITHIN_S: Final = 120


def stored_figures(home: Path, url: str) -> list[Figure]:
    """Return figures of the database and the catalogue of bars.

    Raises
    ------
    StorageError, DataError
        If one of them cannot be read.
    """
    from grodtd.workflows.data import list_series  # polars is slow to import

    stored = read_figures(url, SHOWN)
    figures = [
        Figure("grodt_backtests_stored", "Backtests stored", {"strategy": strategy}, count)
        for strategy, count in stored.runs.items()
    ]
    figures += [
        Figure("grodt_studies_stored", "Searches stored", {"strategy": strategy, "state": state}, count)
        for (strategy, state), count in stored.studies.items()
    ]
    figures += [
        Figure("grodt_trials_stored", "Trials in the ledger", {"strategy": strategy}, count)
        for strategy, count in stored.trials.items()
    ]
    for run in stored.last:
        labels = {"strategy": run.strategy, "symbol": run.symbol, "timeframe": run.timeframe}
        at_s = run.created_at_us / US_PER_S
        figures.append(
            Figure("grodt_backtest_last_timestamp_seconds", "When the newest backtest was stored", labels, at_s)
        )
        figures += [
            Figure("grodt_backtest_last_metric", "A metric of the newest backtest", {**labels, "metric": name}, value)
            for name, value in run.metrics.items()
        ]
    for series in list_series(home):
        labels = {"venue": series.venue, "symbol": series.symbol, "timeframe": series.timeframe}
        last_s = series.last_us / US_PER_S
        figures += [
            Figure("grodt_data_bars_stored", "Bars stored", labels, series.n_bars),
            Figure("grodt_data_last_bar_timestamp_seconds", "Open of the last stored bar", labels, last_s),
        ]
    return figures


def last_minutes(home: Path) -> dict[tuple[str, str], int]:
    """Return the open of the last stored bar, in microseconds, of each 1-minute series (venue, symbol).

    Raises
    ------
    DataError
        If the catalogue cannot be read.
    """
    from grodtd.workflows.data import list_series  # polars is slow to import

    return {(series.venue, series.symbol): series.last_us for series in list_series(home) if series.timeframe == "1m"}


def regime_figures(home: Path, config: Path | None = None) -> list[Figure]:
    """Return the present regime of each 1-minute series, and the shares of the last 7 days.

    A process of its own, uncompiled, does the work: compiling would hold this one up for many seconds.

    Parameters
    ----------
    home : Path
    config : Path or None
        Folder with your own ``regime.yaml``. None: the one that ships.

    Raises
    ------
    GrodtError
        If it fails.
    """
    if not last_minutes(home):
        return []
    command = [sys.executable, "-m", "grodtd.workflows.figures", str(home), *([str(config)] if config else [])]
    found = subprocess.run(  # noqa: S603  # our own interpreter and module
        command,
        env={**os.environ, "NUMBA_DISABLE_JIT": "1"},
        capture_output=True,
        text=True,
        timeout=_REGIMES_WITHIN_S,
        check=False,
    )
    if found.returncode:
        raise GrodtError(f"regimes cannot be labelled: {found.stderr.strip()[-300:]}")
    return [Figure(*figure) for figure in json.loads(found.stdout)]


def _regimes(home: Path, folder: Path | None = None) -> list[Figure]:
    from grodtd.workflows.data import list_series, load_bars
    from grodtd.workflows.regimes import NAMES, regime_labels

    config = load_config(folder)
    figures = []
    for series in list_series(home):
        if series.timeframe != "1m":
            continue
        labels = {"venue": series.venue, "symbol": series.symbol, "timeframe": series.timeframe}
        span_us = (_REGIME_DAYS + _WARM_UP_DAYS) * DAY_S * US_PER_S
        bars = load_bars(home, series.venue, series.symbol, "1m", start_us=series.last_us - span_us)
        found = regime_labels(bars, config)
        recent = found[bars.time > series.last_us - _REGIME_DAYS * DAY_S * US_PER_S]
        for value, name in NAMES.items():
            share, now = float((recent == value).mean()), float(recent[-1] == value)
            with_regime = {**labels, "regime": name}
            figures += [
                Figure("grodt_data_regime_share", "Share of the last 7 days' bars", with_regime, share),
                Figure("grodt_data_regime_now", "1 for the regime after the last bar", with_regime, now),
            ]
    return figures


if __name__ == "__main__":
    sys.stdout.write(json.dumps(_regimes(*map(Path, sys.argv[1:]))))
