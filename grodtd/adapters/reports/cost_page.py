"""One self-contained HTML page about the cost of trading: measured against modelled, by size. No network."""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from grodtd.domain.errors import StorageError

_HERE: Final = Path(__file__).parent
_DASHES: Final = ("solid", "dash", "dot")


def write_cost_page(
    path: Path,
    *,
    title: str,
    period: str,
    points: Mapping[str, Sequence[tuple[float, float]]],
    curves: Mapping[str, Sequence[tuple[float, float]]],
    header: Sequence[str],
    tables: Mapping[str, Sequence[Sequence[str]]],
    facts: Sequence[tuple[str, str]],
    notes: Sequence[str],
) -> Path:
    """Write the page and return its path; the file is there whole or not at all.

    Parameters
    ----------
    points, curves : mapping of label to (notional, cost in basis points), above zero
        Measured and modelled costs of the log-log chart; two kinds of points, up to three curves.
    header, tables : cells as text; each table has a title and the same header

    Raises
    ------
    StorageError
        If the file cannot be written.
    """
    from plotly.offline import get_plotlyjs

    traces = [
        {
            "name": f"measured {label}",
            "mode": "markers",
            "x": [x for x, _ in pairs],
            "y": [y for _, y in pairs],
            "marker": {"size": 10, "symbol": symbol},
        }
        for (label, pairs), symbol in zip(points.items(), ("triangle-up", "triangle-down"), strict=True)
    ] + [
        {
            "name": label,
            "mode": "lines",
            "x": [x for x, _ in pairs],
            "y": [y for _, y in pairs],
            "line": {"dash": dash},
        }
        for (label, pairs), dash in zip(curves.items(), _DASHES, strict=False)
    ]
    environment = Environment(loader=FileSystemLoader(_HERE), autoescape=True, undefined=StrictUndefined)
    page = environment.get_template("cost_page.html.j2").render(
        title=title,
        period=period,
        nonce=secrets.token_urlsafe(16),
        plotly=get_plotlyjs(),
        css=(_HERE / "report.css").read_text(),
        traces=traces,
        header=header,
        tables=tables,
        facts=facts,
        notes=notes,
    )
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(page, encoding="utf-8")
        part.replace(path)
    except OSError as error:
        with suppress(OSError):
            part.unlink()
        raise StorageError(f"the page {path} cannot be written: {error}") from error
    return path
