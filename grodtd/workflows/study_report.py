"""From a search to its HTML report: heatmaps, slices, parallel coordinates, convergence, Pareto front."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np

from grodtd.adapters.reports.study_page import write_study_page
from grodtd.domain.errors import ConfigError
from grodtd.workflows.optimize import Found, importances_or_reason

_HEATMAPS: Final = 6
_POINTS: Final = 5_000
_ROWS: Final = 50
_LINES: Final = 500
_COLUMNS: Final = ("total", "sharpe", "max_drawdown_daily", "trade_count", "win_rate", "break_even_cost_bps")
_PALETTE: Final = "Viridis"
_COLOURS: Final = (
    "#440154",
    "#482878",
    "#3e4989",
    "#31688e",
    "#26828e",
    "#1f9e89",
    "#35b779",
    "#6ece58",
    "#b5de2b",
    "#fde725",
)

# Any below: plotly's own structures.


def write_study_report(found: Found, path: Path) -> Path:
    """Write one self-contained HTML file and return its path.

    Raises
    ------
    ConfigError
        If no trial has a defined objective yet.
    StorageError
        If the file cannot be written.
    """
    name = found.objectives[0]
    rows = [row for row in found.rows if row["budget"] == 1.0 and row["objectives"][name] is not None]
    if not rows:
        raise ConfigError(
            f"study {found.study.study_id} has no trial with a defined objective yet; nothing to report on"
        )
    searched = list(found.study.spec["search"]["space"])
    search = found.study.spec["search"]
    ranked = sorted(rows, key=lambda row: (-row["objectives"][name], row["number"]))
    names = found.objectives
    columns = [c for c in _COLUMNS if c not in names]
    return write_study_page(
        path,
        title=f"{found.study.strategy} on {search['request']['symbol']} {search['request']['timeframe']}",
        subtitle=f"{found.study.optimizer}, {len(found.rows):,} of {found.study.n_trials:,} trials, seed"
        f" {found.study.seed}; {' to '.join(found.study.spec['bars'])} UTC; {found.study.status}",
        objective=name,
        charts=_charts(found, rows, searched, name),
        header=("#", *searched, *names, *columns),
        rows=[
            (
                str(row["number"]),
                *(f"{row['params'][p]:g}" for p in searched),
                *(_text(row["columns"][c]) for c in (*names, *columns)),
            )
            for row in ranked[:_ROWS]
        ],
        facts=_facts(found),
        warnings=_warnings(found),
    )


def _facts(found: Found) -> list[tuple[str, str]]:
    p, uses = found.plateau, len(found.holdouts)
    facts = [
        ("Configurations ever tried on these bars for this idea", f"{found.configurations:,}"),
        ("Evaluations, repeats included", f"{found.evaluations:,}"),
        ("Trials without a defined objective", f"{sum(bool(row['reason']) for row in found.rows):,}"),
        ("Required", ", ".join(found.study.spec["search"]["requirements"]) or "nothing"),
    ]
    if found.study.spec["holdout_start"]:
        seen = f"used {uses} time(s)" if uses else "not seen yet"
        facts.append(("Hold-out", f"from {found.study.spec['holdout_start']} UTC, {seen}"))
    if p is not None and p.best_value > 0:
        facts += [
            ("Neighbours of the best, median of it", f"{p.median_ratio:.2f} (0.70 wanted)"),
            ("Neighbours, least", f"{p.min_ratio:.2f}"),
            ("Neighbours with at least 0.7 of the best", f"{p.share_good:.0%}"),
            ("Rank of the best after smoothing", str(p.rank_smoothed)),
        ]
    shares, no_shares = importances_or_reason(found)
    if shares is None:
        facts.append(("Importances", f"none: {no_shares}"))
    if found.chosen is not None:
        params = ", ".join(f"{k} {v:g}" for k, v in found.chosen["params"].items())
        facts.append(("Chosen", f"trial {found.chosen['number']}: {params}"))
    return facts


def _warnings(found: Found) -> list[str]:
    warnings = []
    if found.best is not None and found.best["objectives"][found.objectives[0]] <= 0:
        warnings.append("Even the best trial loses: there is nothing to choose.")
    elif found.plateau is not None and not found.plateau.passes:
        warnings.append("No plateau: neighbours of the best are much worse than it, which is what luck looks like.")
    if found.plateau is not None and found.plateau.is_on_edge:
        warnings.append("The best is on the edge of the grid: the range is too narrow to say where the best is.")
    if len(found.holdouts) > 1:
        warnings.append(f"The hold-out was used {len(found.holdouts)} times: it is no longer unseen.")
    return warnings


def _charts(found: Found, rows: list[dict[str, Any]], searched: list[str], name: str) -> dict[str, Any]:
    values = [row["objectives"][name] for row in rows]
    charts: dict[str, Any] = {"Convergence": _convergence(rows, values, name)}
    if len(found.objectives) > 1:
        charts["Pareto front"] = _front(found, rows)
    if found.surface is not None and len(searched) > 1:
        for one, other in itertools.islice(itertools.combinations(range(len(searched)), 2), _HEATMAPS):
            charts[f"{name} over {searched[one]} and {searched[other]}"] = _heatmap(found, searched, one, other, name)
    shown = rows if len(rows) <= _POINTS else [rows[i] for i in np.linspace(0, len(rows) - 1, _POINTS).astype(int)]
    if len(searched) > 1:
        charts["Parallel coordinates"] = _parallel(shown, searched, name)
    charts["Slices"] = _slices(shown, searched, name)
    shares, _ = importances_or_reason(found)
    if shares is not None:
        charts["Importance, for display"] = _importance(shares)
    return charts


def _importance(shares: Mapping[str, float]) -> dict[str, Any]:
    names = list(shares)[::-1]
    return {
        "caption": "How differently the best tenth of trials chose each parameter than all trials did (PED-ANOVA). It"
        " depends on where the optimizer looked: it ranks parameters and proves nothing.",
        "traces": [{"type": "bar", "orientation": "h", "x": [shares[n] for n in names], "y": names}],
        "layout": {
            "xaxis": {"title": {"text": "share"}, "tickformat": ".0%"},
            "yaxis": {"automargin": True},
            "showlegend": False,
        },
    }


def _convergence(rows: list[dict[str, Any]], values: list[float], name: str) -> dict[str, Any]:
    numbers = [row["number"] for row in rows]
    return {
        "caption": "Each trial, and the best so far. A best that goes on rising late has not been found yet.",
        "traces": [
            {"type": "scatter", "mode": "markers", "x": numbers, "y": values, "name": "trial", "marker": {"size": 4}},
            {"mode": "lines", "x": numbers, "y": np.maximum.accumulate(values).tolist(), "name": "best so far"},
        ],
        "layout": {"xaxis": {"title": {"text": "trial"}}, "yaxis": {"title": {"text": name}}},
    }


def _front(found: Found, rows: list[dict[str, Any]]) -> dict[str, Any]:
    one, other = found.objectives[:2]
    defined = [row for row in rows if row["objectives"][other] is not None]
    best = sorted((r for r in defined if r["number"] in set(found.front)), key=lambda r: float(r["objectives"][one]))

    def points(part: list[dict[str, Any]]) -> dict[str, Any]:
        return {axis: [row["objectives"][key] for row in part] for axis, key in (("x", one), ("y", other))}

    return {
        "caption": "Trials that no other beats in both. Objectives of which less is better have their sign turned.",
        "traces": [
            {"type": "scatter", "mode": "markers", **points(defined), "name": "trial", "marker": {"size": 4}},
            {"mode": "lines+markers", **points(best), "name": "front"},
        ],
        "layout": {"xaxis": {"title": {"text": one}}, "yaxis": {"title": {"text": other}}},
    }


def _heatmap(found: Found, searched: list[str], one: int, other: int, name: str) -> dict[str, Any]:
    assert found.surface is not None
    assert found.plateau is not None
    index: list[Any] = list(found.plateau.best)
    index[one] = index[other] = slice(None)
    part = found.surface[tuple(index)]
    others = [f"{p} {found.axes[p][found.plateau.best[i]]:g}" for i, p in enumerate(searched) if i not in (one, other)]
    return {
        "caption": f"Through the best cell ({', '.join(others)})." if others else "The whole grid.",
        "traces": [
            {
                "type": "heatmap",
                "x": [f"{v:g}" for v in found.axes[searched[one]]],
                "y": [f"{v:g}" for v in found.axes[searched[other]]],
                "z": [[None if math.isnan(v) else v for v in line] for line in part.T.tolist()],
                "colorscale": _PALETTE,
                "colorbar": {"title": {"text": name}},
            }
        ],
        "layout": {
            "xaxis": {"title": {"text": searched[one]}, "type": "category"},
            "yaxis": {"title": {"text": searched[other]}, "type": "category"},
        },
    }


def _parallel(rows: list[dict[str, Any]], searched: list[str], name: str) -> dict[str, Any]:
    """Polylines in ten colours: plotly's own chart of this kind needs WebGL, which not every browser has."""
    names = [*searched, name]
    table = np.array(
        [[*(row["params"][p] for p in searched), row["objectives"][name]] for row in rows], dtype=np.float64
    )
    low, high = table.min(axis=0), table.max(axis=0)
    places = (table - low) / np.where(high > low, high - low, 1.0)
    order = np.argsort(table[:, -1], kind="stable")
    traces = []
    for part, colour in zip(np.array_split(order[-_LINES:], len(_COLOURS)), _COLOURS, strict=True):
        x: list[int | None] = []
        y: list[float | None] = []
        for i in part.tolist():
            x += [*range(len(names)), None]
            y += [*places[i].tolist(), None]
        traces.append({"mode": "lines", "x": x, "y": y, "line": {"color": colour, "width": 1}, "opacity": 0.6})
    ends = [
        {"x": j, "y": at, "text": f"{value:.4g}", "showarrow": False, "yanchor": anchor}
        for j in range(len(names))
        for at, value, anchor in ((0.0, low[j], "top"), (1.0, high[j], "bottom"))
    ]
    return {
        "caption": f"A line a trial, the best {min(len(rows), _LINES):,}; the yellower, the better.",
        "traces": traces,
        "layout": {
            "showlegend": False,
            "annotations": ends,
            "xaxis": {"tickvals": list(range(len(names))), "ticktext": names},
            "yaxis": {"visible": False, "range": [-0.12, 1.12]},
        },
    }


def _slices(rows: list[dict[str, Any]], searched: list[str], name: str) -> dict[str, Any]:
    values = [row["objectives"][name] for row in rows]
    width = 1.0 / len(searched)
    layout: dict[str, Any] = {"yaxis": {"title": {"text": name}}, "showlegend": False}
    traces = []
    for i, p in enumerate(searched):
        axis = f"x{i + 1 if i else ''}"
        layout[f"xaxis{i + 1 if i else ''}"] = {"title": {"text": p}, "domain": [i * width, (i + 0.9) * width]}
        traces.append(
            {
                "type": "scatter",
                "mode": "markers",
                "x": [row["params"][p] for row in rows],
                "y": values,
                "xaxis": axis,
                "yaxis": "y",
                "marker": {"size": 4, "opacity": 0.5},
            }
        )
    return {"caption": "The objective against each parameter alone.", "traces": traces, "layout": layout}


def _text(value: float | None) -> str:
    return "–" if value is None else f"{value:,.4g}"
