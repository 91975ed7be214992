"""`grodt runs`: what has been run, and what differs."""

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
    from grodtd.domain.run import Metric

app = typer.Typer(help="List, show, compare, delete and export stored runs.", no_args_is_help=True)

RunArgument = Annotated[str, typer.Argument(help="Run id, or its unique beginning.")]
RunsArgument = Annotated[list[str], typer.Argument(help="Run ids, or their unique beginnings.")]
LISTED = ("total", "sharpe", "max_drawdown", "trade_count")


@app.command("list")
def list_stored(
    strategy: Annotated[str | None, typer.Option(help="Only runs of this strategy.")] = None,
    symbol: Annotated[str | None, typer.Option(help="Only runs on this symbol.")] = None,
    sort: Annotated[str | None, typer.Option(help="Best first by this metric; default: newest first.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 20,
    home: HomeOption = DEFAULT_HOME,
    database: DatabaseOption = None,
    as_json: JsonOption = False,
) -> None:
    """List stored runs.

    Example:

      grodt runs list --strategy s1_trend --sort sharpe
    """
    from grodtd.domain.errors import ConfigError
    from grodtd.domain.run import Metric
    from grodtd.performance.summary import METRICS
    from grodtd.workflows.runs import list_runs

    if sort is not None and sort not in METRICS:
        raise ConfigError(f"no metric named {sort!r}; there are {', '.join(METRICS)}")
    columns = [*LISTED, *([sort] if sort and sort not in LISTED else [])]
    url = database_url(home, database)
    found = list_runs(url, strategy=strategy, symbol=symbol, sort_by=sort, limit=limit, show=columns)
    if as_json:
        print_json(
            [
                {
                    "run_id": r.run_id,
                    "created_at": r.created_at.isoformat(),
                    **{k: getattr(r, k) for k in ("strategy", "venue", "symbol", "timeframe", "start", "end")},
                    "metrics": dict(r.metrics),
                }
                for r in found
            ]
        )
        return
    if not found:
        typer.echo("no runs yet; `grodt backtest --help` shows how to make one")
        return
    from rich.console import Console
    from rich.table import Table

    table = Table("run", "strategy", "bars", "from", "to")
    for name in columns:
        table.add_column(name, justify="right")
    for r in found:
        values = [r.metrics.get(name) for name in columns]
        cells = [
            "–" if value is None else Metric(value).text(METRICS[name].unit)
            for name, value in zip(columns, values, strict=True)
        ]
        bars = f"{r.venue}:{r.symbol} {r.timeframe}"
        table.add_row(r.run_id, r.strategy, bars, r.start[:10], r.end[:10], *cells)
    Console().print(table)


@app.command()
def show(
    run: RunArgument, home: HomeOption = DEFAULT_HOME, database: DatabaseOption = None, as_json: JsonOption = False
) -> None:
    """Show a stored run: every metric, and the manifest that makes it again.

    Example:

      grodt runs show 20261123T1519
    """
    from grodtd.performance.summary import METRICS
    from grodtd.workflows.runs import show_run

    found = show_run(database_url(home, database), run)
    if as_json:
        print_json(
            {
                "run_id": found.run_id,
                "created_at": found.created_at.isoformat(),
                "metrics": {name: m.value for name, m in found.metrics.items()},
                "reasons": {name: str(m.reason) for name, m in found.metrics.items() if m.reason},
                "manifest": found.manifest.as_dict(),
            }
        )
        return
    from rich.console import Console
    from rich.table import Table

    table = Table("metric", "value", "note", title=f"run {found.run_id}")
    for name, metric in found.metrics.items():
        table.add_row(METRICS[name].description, metric.text(METRICS[name].unit), metric.remark)
    console = Console()
    console.print(table)
    console.print_json(data=found.manifest.as_dict())


@app.command()
def compare(
    runs: RunsArgument,
    home: HomeOption = DEFAULT_HOME,
    database: DatabaseOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show runs side by side: metrics, and whatever differs in their manifests.

    Example:

      grodt runs compare 20261123T1519 20261123T1520
    """
    from grodtd.performance.summary import METRICS
    from grodtd.workflows.runs import compare_runs

    found = compare_runs(database_url(home, database), runs)
    if as_json:
        print_json(
            {
                "runs": list(found.run_ids),
                "metrics": {k: [None if m is None else m.value for m in v] for k, v in found.metrics.items()},
                "differences": {key: list(values) for key, values in found.differences.items()},
            }
        )
        return
    from rich.console import Console
    from rich.table import Table

    def cell(metric: Metric | None, name: str) -> str:
        return "–" if metric is None else metric.text(METRICS[name].unit)

    console = Console()
    table = Table("metric", *found.run_ids)
    for name, metrics in found.metrics.items():
        table.add_row(METRICS[name].description, *(cell(m, name) for m in metrics))
    console.print(table)
    table = Table("what differs", *found.run_ids)
    for key, values in found.differences.items():
        table.add_row(key, *(str(v) for v in values))
    console.print(table)


@app.command()
def delete(
    runs: RunsArgument,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    home: HomeOption = DEFAULT_HOME,
    database: DatabaseOption = None,
    as_json: JsonOption = False,
) -> None:
    """Delete stored runs with everything that belongs to them.

    Example:

      grodt runs delete 20261123T1519 --yes
    """
    from grodtd.workflows.runs import delete_runs, show_run

    url = database_url(home, database)
    wanted = [show_run(url, run).run_id for run in runs]
    if not yes:
        typer.confirm(f"delete {', '.join(wanted)}?", abort=True)
    done = delete_runs(url, wanted)
    if as_json:
        print_json({"deleted": done})
    else:
        typer.echo(f"deleted {', '.join(done)}")


@app.command()
def export(
    run: RunArgument,
    folder: Annotated[Path, typer.Argument(help="Where to; a folder named after the run is made in it.")],
    file_format: Annotated[str, typer.Option("--format", help="parquet, csv or json.")] = "parquet",
    home: HomeOption = DEFAULT_HOME,
    database: DatabaseOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write a run's manifest, metrics, trades and equity to files.

    Example:

      grodt runs export 20261123T1519 out --format csv
    """
    from grodtd.workflows.runs import export_run

    files = export_run(database_url(home, database), run, folder, file_format)
    if as_json:
        print_json({"files": [str(f) for f in files]})
    else:
        for file in files:
            typer.echo(str(file))


@app.command()
def migrate(home: HomeOption = DEFAULT_HOME, database: DatabaseOption = None, as_json: JsonOption = False) -> None:
    """Bring the run database to the present schema; SQLite does it by itself, PostgreSQL when told.

    Example:

      GRODT_DATABASE_URL=postgresql://grodt@localhost/grodt grodt runs migrate
    """
    from grodtd.workflows.runs import migrate as migrate_database

    revision = migrate_database(database_url(home, database))
    if as_json:
        print_json({"revision": revision})
    else:
        typer.echo(f"schema {revision}")
