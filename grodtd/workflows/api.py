"""The Python API, as re-exported by `import grodtd`: load bars, backtest, look at tidy data frames."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl

from grodtd.backtest.engine import Market
from grodtd.config import load_config
from grodtd.domain.bars import US_PER_S, Bars, FloatArray
from grodtd.domain.errors import ConfigError
from grodtd.domain.market import Account, Costs, Direction, Instrument, Sizing
from grodtd.domain.run import ExitReason, RunResult
from grodtd.domain.strategy import ParamValue, Strategy
from grodtd.performance.summary import METRICS, under_water
from grodtd.workflows import data
from grodtd.workflows.backtest import Completed, Request, account_for, gating_for, run
from grodtd.workflows.report import write_report
from grodtd.workflows.strategies import resolve_strategy

__all__ = [
    "Account",
    "Bars",
    "Costs",
    "Instrument",
    "Result",
    "Sizing",
    "backtest",
    "load_bars",
    "synthetic",
]


def load_bars(
    venue: str, symbol: str, timeframe: str = "1m", *, start: str = "", end: str = "", home: str | Path = "data"
) -> Bars:
    """Load bars from the catalogue.

    Parameters
    ----------
    venue, symbol, timeframe : str
        As imported, for example ``"binance", "BTCUSDT", "1m"``.
    start, end : str
        Dates or ISO times in UTC; a date as `end` includes that day. Empty: all there is.
    home : path
        The folder given to ``--home`` on the command line.

    Raises
    ------
    ConfigError
        If a date cannot be read.
    DataError
        If the catalogue has no such bars.
    """
    start_us, end_us = data.time_range(start, end)
    return data.load_bars(Path(home), venue, symbol, timeframe, start_us=start_us, end_us=end_us)


def synthetic(name: str = "G1", n_bars: int = 100_000, *, seed: int = 7) -> Bars:
    """Return seeded regime-switching bars (QUANT_SPEC 6), for trying things out without any data."""
    return data.synthetic_bars(name, n_bars, seed)


def backtest(
    bars: Bars,
    strategy: str | Strategy,
    params: Mapping[str, ParamValue] | None = None,
    *,
    costs: str | Costs | None = None,
    sizing: Sizing | None = None,
    direction: Direction | None = None,
    initial_capital: float | None = None,
    latency_bars: int | None = None,
    instrument: Instrument | None = None,
    regimes: Sequence[str] | None = None,
    fine: Bars | None = None,
    funding: FloatArray | None = None,
    config: str | Path | None = None,
) -> Result:
    """Backtest a strategy on bars.

    Parameters
    ----------
    bars : Bars
    strategy : str or Strategy
        A registered name such as ``"s1_trend"``, a file (``"my_strategy.py:MY_STRATEGY"``), or your own `Strategy`.
    params : mapping, optional
        Parameters that differ from the configuration.
    costs : str or Costs, optional
        A name in configs/costs.yaml or your own; default: the costs of `bars.venue`.
    sizing, direction, initial_capital, latency_bars, instrument : optional
        What differs from the configuration.
    regimes : sequence of str, optional
        Market regimes in which it may enter: trending, ranging, high_volatility, transition; empty: all. Default: as
        configured, else the strategy's own.
    fine : Bars, optional
        Finer bars that decide what came first inside a bar.
    funding : float64 array, shape (n_bars,), optional
        Funding rate settled at the end of each bar (`grodtd.execution.fills.funding_by_bar`).
    config : path, optional
        Folder with your own configuration files.

    Returns
    -------
    Result

    Raises
    ------
    ConfigError, DataError, StrategyError
        If something does not fit; the message says what and how to mend it.
    """
    chosen = resolve_strategy(strategy) if isinstance(strategy, str) else strategy
    settings = load_config(Path(config) if config else None)
    defaults = settings.strategies.get(chosen.name)
    if initial_capital is not None and not initial_capital > 0:
        raise ConfigError(f"initial_capital must be above zero, found {initial_capital}")
    request = Request(
        strategy=chosen.name,
        venue=bars.venue,
        symbol=bars.symbol,
        timeframe=bars.timeframe,
        costs="none" if isinstance(costs, Costs) else costs,
        direction=direction,
        initial_capital=initial_capital,
        latency_bars=latency_bars,
        regimes=None if regimes is None else tuple(regimes),
        rules={} if fine is None else {"same_bar": "drilldown"},
    )
    account = account_for(request, settings)
    account = replace(
        account,
        costs=costs if isinstance(costs, Costs) else account.costs,
        sizing=sizing or account.sizing,
        instrument=instrument or account.instrument,
    )
    checked = chosen.check_params({**(defaults.params if defaults else {}), **(params or {})})
    gating = gating_for(request, settings, chosen)
    return Result(run(Market(bars, funding=funding, fine=fine), chosen, checked, account, gating))


class Result:
    """One backtest as tidy polars data frames, a metric table and a report; shows itself in a notebook."""

    def __init__(self, completed: Completed) -> None:
        self.completed = completed

    @property
    def run(self) -> RunResult:
        """The core's own record, in arrays."""
        return self.completed.result

    @property
    def trades(self) -> pl.DataFrame:
        """One row per closed trade: times, prices, quantity, fees, net profit, why it ended."""
        return trades_frame(self.run)

    @property
    def equity(self) -> pl.DataFrame:
        """One row per bar: time of its close, equity, drawdown as a fraction <= 0, signed position."""
        result = self.run
        closes = result.bars.time + result.bars.interval_s * US_PER_S
        return pl.DataFrame(
            {
                "time": pl.Series(closes, dtype=pl.Datetime("us", "UTC")),
                "equity": result.equity,
                "drawdown": under_water(result),
                "qty": result.qty,
            }
        )

    @property
    def metrics(self) -> pl.DataFrame:
        """One row per metric: value or null, reason, unit, what it means."""
        rows = [
            {
                "metric": name,
                "value": metric.value,
                "reason": str(metric.reason) if metric.reason else None,
                "low_sample": metric.low_sample,
                "unit": METRICS[name].unit,
                "description": METRICS[name].description,
            }
            for name, metric in self.completed.metrics.items()
        ]
        return pl.DataFrame(rows, schema_overrides={"value": pl.Float64, "reason": pl.String})

    @property
    def warnings(self) -> tuple[str, ...]:
        """Codes of what makes the numbers less than they seem; see `warnings_of`."""
        return self.completed.warnings

    def __getitem__(self, metric: str) -> float | None:
        """Return one metric's value: ``result["sharpe"]``; None where it is undefined."""
        return self.completed.metrics[metric].value

    def report(self, path: str | Path = "report.html") -> Path:
        """Write the self-contained HTML report and return its path."""
        return write_report(Path(path), self.completed)

    def to_vectorbt(self, *, engine: Literal["numba", "rust"] = "numba") -> Any:  # Any: vectorbt has no types
        """Return the run as a `vectorbt.Portfolio`, fill by fill, for its plots and statistics.

        Raises
        ------
        ConfigError
            If vectorbt is not installed, or the run needs leverage or ended in ruin.
        """
        from grodtd.backtest.vectorbt_engine import to_portfolio

        return to_portfolio(self.run, engine=engine)

    def __repr__(self) -> str:
        manifest = self.completed.manifest
        total = self["total"]
        shown = "undefined" if total is None else f"{total:+.2%}"
        return (
            f"<Result {manifest.strategy} {manifest.symbol} {manifest.timeframe} {manifest.start} to {manifest.end}:"
            f" total {shown}, {len(self.run.trades)} trades>"
        )

    def _repr_html_(self) -> str:
        return str(self.metrics._repr_html_())


def trades_frame(result: RunResult) -> pl.DataFrame:
    """Return the trades of a run as a tidy data frame, one row per closed trade, in order of exit."""
    trades, time = result.trades, result.bars.time
    utc = pl.Datetime("us", "UTC")
    return pl.DataFrame(
        {
            "side": pl.Series(np.where(trades.side > 0, "long", "short"), dtype=pl.String),
            "decided_at": pl.Series(time[trades.decision_bar] + result.bars.interval_s * US_PER_S, dtype=utc),
            "entry_bar_at": pl.Series(time[trades.entry_bar], dtype=utc),
            "exit_bar_at": pl.Series(time[trades.exit_bar], dtype=utc),
            "qty": trades.qty,
            "entry_price": trades.entry_price,
            "exit_price": trades.exit_price,
            "stop": pl.Series(trades.stop, nan_to_null=True),
            "target": pl.Series(trades.target, nan_to_null=True),
            "gross_pnl": trades.gross_pnl,
            "slippage": trades.slippage,
            "fees": trades.fees,
            "funding": trades.funding,
            "borrow": trades.borrow,
            "pnl": trades.pnl,
            "exit_reason": pl.Series([ExitReason(r).name for r in trades.exit_reason], dtype=pl.String),
            "ambiguous": trades.ambiguous,
        }
    )
