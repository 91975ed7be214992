"""One self-contained HTML page about a run: no network, opens anywhere, zooms from a year to a single trade.

Bars and trades travel as compressed integer arrays and are drawn at the resolution of the visible window, so a year
of minutes stays usable. The page forbids itself every connection by its own content security policy.
"""

from __future__ import annotations

import base64
import math
import os
import secrets
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
import numpy.typing as npt
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from grodtd.domain.bars import DAY_S, US_PER_S, FloatArray, utc
from grodtd.domain.errors import StorageError
from grodtd.domain.run import ExitReason, Manifest, Metric, RunResult

CURVE_POINTS: Final = 2_000
HISTOGRAM_BINS: Final = 60
_COST_BARS: Final = ("gross_pnl", "slippage_cost", "fees", "funding_cost", "borrow_cost", "net_pnl")
_HERE: Final = Path(__file__).parent
_GROUPS: Final = {"return": "Return", "risk": "Risk", "trades": "Trades", "costs": "Costs", "run": "The run"}
# Rows of "Costs and ambiguous bars" by the key of the scenario; the empty key is the run itself.
_SCENARIOS: Final = {
    "costs x0.5": "Half the costs",
    "": "As modelled",
    "costs x2": "Double the costs",
    "pessimistic": "Ambiguous bars: stop first (pessimistic)",
    "optimistic": "Ambiguous bars: target first (optimistic)",
}
_SCENARIO_COLUMNS: Final = {"net_pnl": "Net PnL", "total": "Total return", "sharpe": "Sharpe"}
_MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")

_BANNERS: Final = {
    "ruin": "The account was wiped out on {stopped}. Nothing was traded after that.",
    "min_notional": "On {stopped} the account had become too small for the smallest order. Nothing was traded after"
    " that; ratios over the whole period count the idle days as zero.",
    "borrow_not_modelled": "Short positions on a spot market paid no borrowing cost here: the real result is worse.",
    "funding_not_modelled": "No funding rates were stored for this perpetual: the real result differs.",
    "no_increments": "This instrument is not listed: no tick, lot or smallest order was applied.",
    "ambiguous_share": "This run is unreliable: more than 1 % of trades hinge on what came first inside a bar.",
    "coverage": "More than 1 % of the bars are missing from the data.",
    "gate_closed": "Nothing was traded: whenever the strategy wanted a position, the market was in another regime than"
    " those it enters in.",
    "never_wanted": "Nothing was traded: the strategy never wanted a position.",
}


class MetricDescription(Protocol):
    """What the page needs to know about a metric."""

    @property
    def description(self) -> str:
        """What it is, for people."""

    @property
    def unit(self) -> str:
        """One of fraction, ratio, quote, s, bars, count, bps, years."""

    @property
    def group(self) -> str:
        """One of return, risk, trades, costs, run."""


def write_report(
    path: Path,
    *,
    title: str,
    result: RunResult,
    metrics: Mapping[str, Metric],
    metric_info: Mapping[str, MetricDescription],
    manifest: Manifest,
    warnings: tuple[str, ...],
    scenarios: Mapping[str, Mapping[str, Metric]],
    monthly: Mapping[tuple[int, int], float],
    benchmark: FloatArray,
    generated_at: str,
) -> Path:
    """Write the page and return its path; the file is there whole or not at all.

    Parameters
    ----------
    scenarios : mapping of str to mapping of str to Metric
        The headline at other costs and at both ends of ambiguous bars; empty: the table is left out.
    monthly : mapping of (year, month) to return
    benchmark : float64 array, shape (n_bars,)
        Buy-and-hold equity at each close.

    Raises
    ------
    StorageError
        If the file cannot be written.
    """
    from plotly.offline import get_plotlyjs

    environment = Environment(loader=FileSystemLoader(_HERE), autoescape=True, undefined=StrictUndefined)
    page = environment.get_template("report.html.j2").render(
        title=title,
        nonce=secrets.token_urlsafe(16),
        plotly=get_plotlyjs(),
        css=(_HERE / "report.css").read_text(),
        script=(_HERE / "report.js").read_text(),
        verdict=_verdict(result, metrics, manifest),
        banners=_banners(result, warnings),
        tiles=_tiles(metrics, metric_info),
        scenarios=_scenario_rows(metrics, metric_info, scenarios),
        scenario_columns=tuple(_SCENARIO_COLUMNS.values()),
        unreliable=_unreliable(metrics, warnings),
        groups=_metric_groups(metrics, metric_info),
        years=_monthly_rows(monthly),
        months=_MONTHS,
        manifest=_flat(manifest.as_dict()),
        counters=dict(result.counters),
        generated_at=generated_at,
        data=_data(result, metrics, benchmark),
    )
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(page, encoding="utf-8")
        part.replace(path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise StorageError(f"the report {path} cannot be written: {error}") from error
    return path


def _verdict(result: RunResult, metrics: Mapping[str, Metric], manifest: Manifest) -> str:
    total, benchmark = metrics["total"].value or 0.0, metrics["benchmark_total"].value or 0.0
    costs = result.account.costs
    per_side = costs.round_trip_bps / 2
    end = "made" if total > 0 else "lost"
    text = (
        f"From {manifest.start[:10]} to {manifest.end[:10]} it {end} {abs(total):.2%} after costs; buying and holding"
        f" returned {benchmark:+.2%}. The deepest fall was {abs(metrics['max_drawdown'].value or 0.0):.2%}. It closed"
        f" {len(result.trades):,} trades"
    )
    break_even = metrics["break_even_cost_bps"].value
    if break_even is None:
        return text + "."
    until = result.stopped[0] if result.stopped else len(result.bars) - 1
    days = (int(result.bars.time[until] - result.bars.time[0]) / US_PER_S + result.bars.interval_s) / DAY_S
    verdict = "would have paid for" if break_even > per_side else "does not pay for"
    return (
        f"{text}, {len(result.trades) / days:.0f} a day while it traded. Before costs it earned {break_even:.2f} basis"
        f" points of each fill, which {verdict} the {per_side:g} modelled"
        f" ({costs.venue}, as of {costs.as_of or 'undated'})."
    )


def _banners(result: RunResult, warnings: tuple[str, ...]) -> list[str]:
    stopped = ""
    if result.stopped is not None:
        stopped = f"{utc(result.bars.time[result.stopped[0]])} UTC"
    return [_BANNERS[code].format(stopped=stopped) for code in warnings if code in _BANNERS]


def _tiles(metrics: Mapping[str, Metric], info: Mapping[str, MetricDescription]) -> list[tuple[str, str, str]]:
    wanted = {
        "total": "Total return",
        "sharpe": "Sharpe",
        "max_drawdown": "Max drawdown",
        "profit_factor": "Profit factor",
        "win_rate": "Win rate",
        "trade_count": "Trades",
        "cost_drag": "Costs a year / equity",
        "exposure": "Exposure",
    }
    return [
        (label, metrics[name].text(info[name].unit), metrics[name].remark)
        for name, label in wanted.items()
        if name in metrics
    ]


def _scenario_rows(
    metrics: Mapping[str, Metric],
    info: Mapping[str, MetricDescription],
    scenarios: Mapping[str, Mapping[str, Metric]],
) -> list[tuple[str, list[tuple[str, str]]]]:
    """Return (label, (value, reason) of each column); nothing without scenarios."""
    columns = {"": metrics, **scenarios} if scenarios else {}
    return [
        (
            label,
            [
                (metric.text(info[name].unit), "" if metric.reason is None else str(metric.reason))
                for name, metric in ((name, columns[key][name]) for name in _SCENARIO_COLUMNS)
            ],
        )
        for key, label in _SCENARIOS.items()
        if key in columns
    ]


def _unreliable(metrics: Mapping[str, Metric], warnings: tuple[str, ...]) -> str:
    if "ambiguous_share" not in warnings:
        return ""
    share = metrics["ambiguous_share"].value or 0.0
    return f"Unreliable: {share:.1%} of trades are ambiguous, more than 1 %. Use drilldown with finer bars."


def _metric_groups(
    metrics: Mapping[str, Metric], info: Mapping[str, MetricDescription]
) -> list[tuple[str, list[dict[str, str]]]]:
    found = []
    for group, label in _GROUPS.items():
        rows = [
            {
                "name": name,
                "description": info[name].description,
                "value": metric.text(info[name].unit),
                "note": metric.remark,
                "reason": "" if metric.reason is None else str(metric.reason),
            }
            for name, metric in metrics.items()
            if info[name].group == group
        ]
        if rows:
            found.append((label, rows))
    return found


def _monthly_rows(monthly: Mapping[tuple[int, int], float]) -> list[dict[str, Any]]:  # Any: cells of a table
    rows = []
    for year in sorted({year for year, _ in monthly}):
        months = [monthly.get((year, month)) for month in range(1, 13)]
        whole = math.prod(1.0 + value for value in months if value is not None) - 1.0
        rows.append({"year": year, "months": months, "total": whole})
    return rows


def _flat(value: Mapping[str, object], prefix: str = "") -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for key, item in value.items():
        if isinstance(item, Mapping):
            found += _flat(item, f"{prefix}{key}.")
        else:
            found.append((f"{prefix}{key}", ", ".join(map(str, item)) if isinstance(item, list) else str(item)))
    return found


def _data(result: RunResult, metrics: Mapping[str, Metric], benchmark: FloatArray) -> dict[str, object]:
    bars, trades = result.bars, result.trades
    initial = result.account.initial_capital
    path = np.concatenate(([initial], result.equity))
    under = path / np.maximum.accumulate(path) - 1.0
    interval_us = bars.interval_s * US_PER_S
    points = _extremes(result.equity)
    closes = (bars.time + interval_us) // 1_000
    decimals = max(0, min(8, int(math.log10(2**30 / float(bars.high.max())))))
    unit = 10.0**decimals
    price = {name: np.rint(getattr(bars, name) * unit).astype(np.int64) for name in ("open", "high", "low", "close")}
    pnl = trades.pnl
    counts, edges = np.histogram(pnl, bins=_bins(pnl)) if len(trades) else (np.zeros(0), np.zeros(0))
    lowest = _extremes(under[1:])
    return {
        "interval_ms": bars.interval_s * 1_000,
        "start_ms": int(bars.time[0]) // 1_000,
        "initial": initial,
        "curve": {
            "time": closes[points].tolist(),
            "equity": _short(result.equity[points]),
            "benchmark": _short(benchmark[points]),
        },
        "drawdown": {"time": closes[lowest].tolist(), "value": _short(under[1:][lowest])},
        "price": {
            "unit": unit,
            "decimals": decimals,
            # Steps between neighbours are small, and small numbers compress well.
            "slot": _packed(np.diff((bars.time - bars.time[0]) // interval_us, prepend=0)),
            "close": _packed(np.diff(price["close"], prepend=0)),
            "open": _packed(price["open"] - np.concatenate((price["open"][:1], price["close"][:-1]))),
            "high": _packed(price["high"] - np.maximum(price["open"], price["close"])),
            "low": _packed(np.minimum(price["open"], price["close"]) - price["low"]),
        },
        "trades": {
            "entry": _packed(trades.entry_bar),
            "exit": _packed(trades.exit_bar),
            "side": _packed(trades.side),
            "reason": _packed(trades.exit_reason),
            **{
                name: _packed(np.rint(np.nan_to_num(values, nan=0.0) * unit))
                for name, values in (
                    ("entry_price", trades.entry_price),
                    ("exit_price", trades.exit_price),
                    ("stop", trades.stop),
                    ("target", trades.target),
                )
            },
            "pnl": _packed(np.clip(np.rint(pnl * 100), -(2**31), 2**31 - 1)),
            "reasons": {int(r): r.name.replace("_", " ").lower() for r in ExitReason},
        },
        "histogram": {"count": counts.tolist(), "edge": _short(edges)},
        "costs": {name: metrics[name].value for name in _COST_BARS},
    }


def _bins(pnl: FloatArray) -> FloatArray:
    """Bins over the middle 99.8 %, the outermost ones open, so that one outlier does not squeeze the rest."""
    low, high = np.quantile(pnl, [0.001, 0.999])
    if not high > low:
        return np.linspace(float(low) - 1.0, float(high) + 1.0, 3)
    inner = np.linspace(low, high, HISTOGRAM_BINS - 1)
    return np.concatenate(([min(float(pnl.min()), low) - 1e-9], inner, [max(float(pnl.max()), high) + 1e-9]))


def _extremes(values: FloatArray) -> npt.NDArray[np.int64]:
    """Positions of the lowest and highest point of each of about 1,000 stretches, first and last included."""
    n = values.size
    if n <= CURVE_POINTS:
        return np.arange(n)
    edges = np.linspace(0, n, CURVE_POINTS // 2 + 1).astype(np.int64)
    found = [0, n - 1]
    for first, end in zip(edges[:-1], edges[1:], strict=True):
        part = values[first:end]
        found += [int(first + part.argmin()), int(first + part.argmax())]
    return np.unique(np.array(found))


def _short(values: FloatArray) -> list[float]:
    return [float(f"{value:.7g}") for value in values.tolist()]


def _packed(values: npt.ArrayLike) -> str:
    """Compress whole numbers: little-endian int32, deflate, base64."""
    return base64.b64encode(zlib.compress(np.asarray(values).astype("<i4").tobytes(), 6)).decode()
