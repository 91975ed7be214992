"""`grodt doctor`: what is installed, reachable and misconfigured on this machine, and how to mend it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from grodtd.entrypoints.cli.common import ConfigOption, JsonOption, print_json

_COLOURS = {"ok": "green", "warn": "yellow", "fail": "red", "skipped": "bright_black"}


def doctor(
    only: Annotated[
        list[str] | None,
        typer.Option("--only", help="Only this check; may be given several times.", show_default="all"),
    ] = None,
    network: Annotated[bool, typer.Option("--network", help="Connect to the addresses of the settings too.")] = False,
    home: Annotated[Path | None, typer.Option("--home", help="Home folder.", show_default="$GRODT_HOME")] = None,
    database: Annotated[
        str | None, typer.Option("--database-url", help="Run database.", show_default="$GRODT_DATABASE_URL")
    ] = None,
    environment: Annotated[
        str | None, typer.Option("--environment", "-e", help="Environment.", show_default="$GRODT_ENVIRONMENT")
    ] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say what is right, wrong and missing on this machine, with the mend; exit code 1 if anything fails.

    It changes nothing and shows no secret. Checks: python, packages, optional, machine_code, settings, secrets, home,
    database, data, clock, machine, docker, ports, service, network.

    Examples:

      grodt doctor

      grodt doctor --only database --only clock --environment production

      grodt doctor --network --json
    """
    from grodtd.workflows.doctor import Asked, diagnose

    began = time.monotonic()
    findings = diagnose(Asked(environment, config, home, database, network), only or ())
    seconds = time.monotonic() - began
    is_well = all(finding.status != "fail" for finding in findings)
    if as_json:
        rows = [{"check": f.check, "status": f.status, "found": f.found, "mend": f.mend or None} for f in findings]
        print_json({"ok": is_well, "seconds": round(seconds, 2), "findings": rows})
    else:
        for f in findings:
            status = typer.style(f"{f.status:<8}", fg=_COLOURS[f.status], bold=f.status == "fail")
            typer.echo(f"{status} {f.check:<13} {_plain(f.found)}")
            if f.mend:
                typer.echo(f"{'':<22} -> {_plain(f.mend)}")
        counts = {status: sum(f.status == status for f in findings) for status in _COLOURS}
        typer.echo(f"{', '.join(f'{n} {status}' for status, n in counts.items())}, in {seconds:.1f} s")
    if not is_well:
        raise typer.Exit(1)


def _plain(text: str) -> str:
    """Return a text on one line that can do nothing to a terminal: parts of it come from other programs."""
    return "".join(c if c.isprintable() else " " for c in text)
