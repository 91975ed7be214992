"""From a finished backtest to its HTML report."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from grodtd.adapters.reports import html
from grodtd.performance.returns import buy_and_hold, monthly_returns
from grodtd.performance.summary import METRICS
from grodtd.workflows.backtest import Completed


def write_report(path: Path, completed: Completed) -> Path:
    """Write one self-contained HTML file and return its path.

    Raises
    ------
    StorageError
        If the file cannot be written.
    """
    result, manifest = completed.result, completed.manifest
    return html.write_report(
        path,
        title=f"{manifest.strategy} on {manifest.symbol} {manifest.timeframe}",
        result=result,
        metrics=completed.metrics,
        metric_info=METRICS,
        manifest=manifest,
        warnings=completed.warnings,
        scenarios=completed.scenarios,
        monthly=monthly_returns(result),
        benchmark=buy_and_hold(result.bars, result.account.initial_capital),
        generated_at=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
    )
