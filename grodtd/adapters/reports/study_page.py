"""One self-contained HTML page about a search: what was tried, what came out, how much of it is luck. No network."""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from grodtd.domain.errors import StorageError

_HERE: Final = Path(__file__).parent


def write_study_page(
    path: Path,
    *,
    title: str,
    subtitle: str,
    objective: str,
    charts: Mapping[str, Mapping[str, Any]],  # Any: plotly's traces and layout
    header: Sequence[str],
    rows: Sequence[Sequence[str]],
    facts: Sequence[tuple[str, str]],
    warnings: Sequence[str],
) -> Path:
    """Write the page and return its path; the file is there whole or not at all.

    Parameters
    ----------
    charts : mapping of heading to {"caption", "traces", "layout"}
        Drawn in this order.
    header, rows : cells as text
        The best trials.
    facts, warnings : what to know before believing them

    Raises
    ------
    StorageError
        If the file cannot be written.
    """
    from plotly.offline import get_plotlyjs

    environment = Environment(loader=FileSystemLoader(_HERE), autoescape=True, undefined=StrictUndefined)
    page = environment.get_template("study_page.html.j2").render(
        title=title,
        subtitle=subtitle,
        objective=objective,
        nonce=secrets.token_urlsafe(16),
        plotly=get_plotlyjs(),
        css=(_HERE / "report.css").read_text(),
        charts=charts,
        header=header,
        rows=rows,
        facts=facts,
        warnings=warnings,
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
