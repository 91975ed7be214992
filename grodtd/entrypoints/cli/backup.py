"""`grodt backup`: make backups, prove them, put them back, delete what need not be kept."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from grodtd.entrypoints.cli.common import (
    DEFAULT_HOME,
    DatabaseOption,
    HomeOption,
    JsonOption,
    database_url,
    print_json,
)

if TYPE_CHECKING:
    from grodtd.workflows.backup import Backup

app = typer.Typer(help="Backups: create, list, verify, restore, prune, serve.", no_args_is_help=True)

ToOption = Annotated[
    Path | None, typer.Option("--to", help="Folder of backups.", show_default="backups in the home folder")
]
Name = Annotated[str, typer.Argument(help="Name of the backup, a unique beginning of it, or latest.")]


@app.command()
def create(
    home: HomeOption = DEFAULT_HOME,
    database: DatabaseOption = None,
    to: ToOption = None,
    without_data: Annotated[bool, typer.Option("--without-data", help="The database only, no bars.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Back up the run database and the bars, all of one moment.

    Example:

      grodt backup create
    """
    from grodtd.settings import load_settings
    from grodtd.workflows import backup

    made = backup.create(
        home,
        database_url(home, database),
        to=to,
        with_data=not without_data,
        environment=load_settings().settings.environment,
    )
    if as_json:
        print_json(_as_dict(made))
    else:
        typer.echo(f"{made.folder}: {_size(made)}; `grodt backup verify {made.name}` proves it")


@app.command("list")
def list_backups(home: HomeOption = DEFAULT_HOME, to: ToOption = None, as_json: JsonOption = False) -> None:
    """List backups, the newest first.

    Example:

      grodt backup list
    """
    from grodtd.workflows import backup

    found = backup.list_backups(home, to)
    if as_json:
        print_json([_as_dict(one) for one in found])
        return
    for one in found:
        proof = f"verified {one.verified_at:%Y-%m-%d %H:%M}" if one.verified_at else "not verified"
        typer.echo(f"{one.name}  {_size(one):>10}  {one.manifest['kind']:<10}  {proof}")
    if not found:
        typer.echo("no backup yet; `grodt backup create` makes one")


@app.command()
def verify(
    name: Name = "latest",
    home: HomeOption = DEFAULT_HOME,
    database: DatabaseOption = None,
    to: ToOption = None,
    as_json: JsonOption = False,
) -> None:
    """Prove a backup by restoring it into an empty database beside yours; exit code 6 if it is not whole.

    Example:

      grodt backup verify latest
    """
    from grodtd.workflows import backup

    proven = backup.verify(backup.find(home, name, to), database_url(home, database))
    if as_json:
        print_json(_as_dict(proven))
    else:
        rows = sum(table["rows"] for table in proven.manifest["tables"].values())
        typer.echo(f"{proven.name}: whole; {rows:,} rows restored and compared")


@app.command()
def restore(
    name: Name,
    home: HomeOption = DEFAULT_HOME,
    database: DatabaseOption = None,
    to: ToOption = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Even if the database has rows; back them up first.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check all, change nothing.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Put a backup back. Stop what writes to the database first.

    Examples:

      grodt backup restore latest --dry-run

      grodt backup restore 20261124T023000Z --replace
    """
    from grodtd.workflows import backup

    steps, before = backup.restore(
        backup.find(home, name, to), home, database_url(home, database), replace=replace, dry_run=dry_run
    )
    if as_json:
        print_json({"done": not dry_run, "steps": steps, "backup_before": before.name if before else None})
        return
    for step in steps:
        typer.echo(f"{'would restore' if dry_run else 'restored'} {step}")
    if before:
        typer.echo(f"what was there before is in {before.folder}")


@app.command()
def prune(
    home: HomeOption = DEFAULT_HOME,
    database: DatabaseOption = None,
    to: ToOption = None,
    yes: Annotated[bool, typer.Option("--yes", help="Really delete; without it, only say what would go.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Delete backups and records the settings do not keep (backups, retention_days). Trials are never deleted.

    Examples:

      grodt backup prune

      grodt backup prune --yes
    """
    from grodtd.settings import load_settings
    from grodtd.workflows import backup

    settings = load_settings().settings
    gone = backup.prune(home, settings.backups.policy, to=to, dry_run=not yes)
    url = database_url(home, database)
    records = backup.apply_retention(url, settings.retention_days.policy, dry_run=not yes)
    if as_json:
        print_json({"done": yes, "backups": [one.name for one in gone], "records": records})
        return
    did = "deleted" if yes else "would delete"
    typer.echo(f"{did} {len(gone)} backups{': ' if gone else ''}{', '.join(one.name for one in gone)}")
    for kind, names in records.items():
        typer.echo(f"{did} {len(names)} {kind.replace('_', ' ')}")
    if not yes:
        typer.echo("nothing was changed; --yes deletes")


@app.command()
def serve(
    home: HomeOption = DEFAULT_HOME,
    database: DatabaseOption = None,
    to: ToOption = None,
    host: Annotated[str, typer.Option(help="Address of the metrics.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port of the metrics.")] = 8001,
) -> None:
    """Make, prove and prune a backup every night (backups.at, UTC), and say so at /metrics, until told to stop.

    Example:

      grodt backup serve
    """
    from grodtd.entrypoints.service.backup import serve as run_backups
    from grodtd.settings import load_settings

    raise typer.Exit(run_backups(load_settings().settings, home, database_url(home, database), to, host, port))


def _as_dict(backup: Backup) -> dict[str, object]:
    return {
        "name": backup.name,
        "made_at": backup.made_at.isoformat(),
        "verified_at": backup.verified_at.isoformat() if backup.verified_at else None,
        "bytes": backup.bytes,
        "kind": backup.manifest["kind"],
        "schema": backup.manifest["schema"],
        "tables": backup.manifest["tables"],
    }


def _size(backup: Backup) -> str:
    return f"{backup.bytes / 1e6:,.1f} MB"
