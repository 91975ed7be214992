"""`grodt runs`: what has been run, what it was worth, and what differs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from grodtd.entrypoints.cli.backtest import scenarios_json, show_scenarios, show_warnings
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

    Examples:

      grodt runs list

      grodt runs list --strategy s1_trend --symbol BTCUSDT --sort sharpe --limit 5
    """
    from grodtd.workflows.runs import list_runs, metric_json

    columns = [*LISTED, *([sort] if sort and sort not in LISTED else [])]
    url = database_url(home, database)
    found = list_runs(url, strategy=strategy, symbol=symbol, sort_by=sort, limit=limit, show=columns)
    if as_json:
        print_json(
            [
                {
                    "run_id": run.run_id,
                    "created_at": run.created_at.isoformat(),
                    "command": run.command,
                    "strategy": run.strategy,
                    "params": dict(run.params),
                    "venue": run.venue,
                    "symbol": run.symbol,
                    "timeframe": run.timeframe,
                    "start": run.start,
                    "end": run.end,
                    "n_bars": run.n_bars,
                    "n_trades": run.n_trades,
                    "metrics": {name: metric.value for name, metric in run.metrics.items()},
                    "metric_details": {name: metric_json(metric) for name, metric in run.metrics.items()},
                }
                for run in found
            ]
        )
        return
    if not found:
        typer.echo("no runs yet that match; `grodt backtest --help` shows how to make one")
        return
    from rich.console import Console
    from rich.table import Table

    table = Table("run", "strategy", "bars", "from", "to")
    for name in columns:
        table.add_column(name, justify="right")
    for run in found:
        params = ", ".join(f"{name}={value:g}" for name, value in run.params.items())
        table.add_row(
            run.run_id,
            f"{run.strategy}\n{params}",
            f"{run.venue}:{run.symbol} {run.timeframe}",
            run.start[:10],
            run.end[:10],
            *(_shown(run.metrics.get(name), name)[0] for name in columns),
        )
    Console().print(table)


@app.command()
def show(
    run: RunArgument, home: HomeOption = DEFAULT_HOME, database: DatabaseOption = None, as_json: JsonOption = False
) -> None:
    """Show a stored run: every metric, other costs, ambiguous bars, warnings, and the manifest that makes it again.

    Examples:

      grodt runs show 20261123T1519

      grodt runs show 20261123T1519 --json
    """
    from grodtd.workflows.runs import metric_json, show_run

    found = show_run(database_url(home, database), run)
    manifest = found.manifest.as_dict()
    if as_json:
        print_json(
            {
                "run_id": found.run_id,
                "created_at": found.created_at.isoformat(),
                "n_trades": found.n_trades,
                "counters": dict(found.counters),
                "stopped": found.stopped,
                "metrics": {name: metric.value for name, metric in found.metrics.items()},
                "metric_details": {name: metric_json(metric) for name, metric in found.metrics.items()},
                **scenarios_json(found.scenarios),
                "warnings": list(found.manifest.warnings),
                "manifest": manifest,
            }
        )
        return
    from rich.console import Console
    from rich.table import Table

    table = Table("metric", title=f"run {found.run_id}, stored {found.created_at:%Y-%m-%d %H:%M:%S} UTC")
    table.add_column("value", justify="right")
    table.add_column("note", style="dim")
    for name, metric in found.metrics.items():
        table.add_row(_described(name), *_shown(metric, name))
    console = Console()
    console.print(table)
    show_scenarios(console, found.metrics, found.scenarios)
    if found.stopped:
        console.print(f"trading stopped for good at bar {found.stopped[0]:,}: {found.stopped[1]}")
    show_warnings(console, found.manifest.warnings)
    console.print_json(data=manifest)


@app.command()
def compare(
    runs: RunsArgument,
    home: HomeOption = DEFAULT_HOME,
    database: DatabaseOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show runs side by side: metrics, and whatever differs in their manifests.

    Examples:

      grodt runs compare 20261123T1519 20261123T1520

      grodt runs compare 20261123T1519 20261123T1520 --json
    """
    from grodtd.workflows.runs import compare_runs, metric_json

    found = compare_runs(database_url(home, database), runs)
    if as_json:
        print_json(
            {
                "runs": list(found.run_ids),
                "metrics": {k: [None if m is None else m.value for m in ms] for k, ms in found.metrics.items()},
                "metric_details": {
                    k: [None if m is None else metric_json(m) for m in ms] for k, ms in found.metrics.items()
                },
                "differences": {key: list(values) for key, values in found.differences.items()},
                "is_same_result": found.is_same_result,
            }
        )
        return
    from rich.console import Console
    from rich.table import Table

    console = Console()
    table = Table("metric")
    for run_id in found.run_ids:
        table.add_column(run_id, justify="right")
    for name, metrics in found.metrics.items():
        table.add_row(_described(name), *(_shown(metric, name)[0] for metric in metrics))
    console.print(table)
    if found.is_same_result:
        console.print("the same result: equity, positions and trades are equal to the bit")
    if not found.differences:
        console.print("the manifests are the same")
        return
    table = Table("what differs", *found.run_ids)
    for key, values in found.differences.items():
        table.add_row(key, *("–" if value is None else str(value) for value in values))
    console.print(table)


@app.command()
def delete(
    runs: RunsArgument,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    home: HomeOption = DEFAULT_HOME,
    database: DatabaseOption = None,
    as_json: JsonOption = False,
) -> None:
    """Delete stored runs with everything that belongs to them; asks first.

    Examples:

      grodt runs delete 20261123T1519

      grodt runs delete 20261123T1519 20261123T1520 --yes
    """
    from grodtd.workflows.runs import delete_runs, resolve_runs

    url = database_url(home, database)
    wanted = resolve_runs(url, runs)
    if not yes:
        typer.confirm(f"delete {', '.join(wanted)} for good?", abort=True, err=True)
    delete_runs(url, wanted)
    if as_json:
        print_json({"deleted": wanted})
    else:
        typer.echo(f"deleted {', '.join(wanted)}")


@app.command()
def export(
    run: RunArgument,
    folder: Annotated[Path, typer.Argument(help="Where to; a folder named after the run is made in it.")],
    file_format: Annotated[
        str, typer.Option("--format", help="Of trades and equity: parquet, csv or json.")
    ] = "parquet",
    home: HomeOption = DEFAULT_HOME,
    database: DatabaseOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write a run's manifest, metrics, scenarios, trades and equity to files.

    Examples:

      grodt runs export 20261123T1519 out

      grodt runs export 20261123T1519 out --format csv
    """
    from grodtd.workflows.runs import export_run

    files = export_run(database_url(home, database), run, folder, file_format)
    if as_json:
        print_json({"files": [str(file) for file in files]})
    else:
        for file in files:
            typer.echo(str(file))


@app.command()
def migrate(home: HomeOption = DEFAULT_HOME, database: DatabaseOption = None, as_json: JsonOption = False) -> None:
    """Bring the run database to the newest schema; SQLite does it by itself, PostgreSQL when told.

    Examples:

      grodt runs migrate

      grodt runs migrate --database-url postgresql://grodt@localhost/grodt
    """
    from grodtd.workflows.runs import migrate as migrate_database

    revision = migrate_database(database_url(home, database))
    if as_json:
        print_json({"revision": revision})
    else:
        typer.echo(f"schema {revision}")


def _described(name: str) -> str:
    from grodtd.performance.summary import METRICS

    return METRICS[name].description if name in METRICS else name


def _shown(metric: Metric | None, name: str) -> tuple[str, str]:
    """Return (value, note) as text; a run of another version may lack a metric, or have one we do not know."""
    from grodtd.performance.summary import METRICS

    if metric is None:
        return "", "this run has no such metric"
    return metric.text(METRICS[name].unit if name in METRICS else "ratio"), metric.remark
