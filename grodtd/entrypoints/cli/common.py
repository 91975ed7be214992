"""What every command shares: the home folder, `--json`, how errors become exit codes."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer

HomeOption = Annotated[
    Path,
    typer.Option(
        "--home",
        envvar="GRODT_HOME",
        help="Folder of the bar catalogue, the run database and reports.",
        show_default="./data",
    ),
]
DEFAULT_HOME = Path("data")

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON on standard output instead of a table.")]


def print_json(value: Mapping[str, object] | Sequence[object]) -> None:
    """Print one JSON document on standard output, nan and infinity refused."""
    sys.stdout.write(json.dumps(value, indent=2, allow_nan=False, default=str) + "\n")


ConfigOption = Annotated[
    Path | None,
    typer.Option("--config", envvar="GRODT_CONFIG", help="Folder with your own configuration files."),
]

DatabaseOption = Annotated[
    str | None,
    typer.Option(
        "--database-url",
        envvar="GRODT_DATABASE_URL",
        help="Run database; default: SQLite in the home folder.",
        show_default=False,
    ),
]


def database_url(home: Path, given: str | None) -> str:
    """Return the URL of the run database, with the password of its secret file.

    What was given; else what the settings of GRODT_ENVIRONMENT say; else SQLite in the home folder.
    """
    if given:
        from grodtd.settings import secret, with_password

        return with_password(given, secret("database_password"))
    if os.environ.get("GRODT_ENVIRONMENT"):
        from grodtd.settings import load_settings

        settings = load_settings().settings
        if settings.database_url:
            return settings.database
    from grodtd.workflows.runs import default_database_url

    return default_database_url(home)
