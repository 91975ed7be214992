"""The command line: which commands there are, and how errors become exit codes.

Nothing heavy is imported here or at the top of a command's file: `grodt --help` must stay instant.
"""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from grodtd.entrypoints.cli import (
    backtest,
    backup,
    config,
    costs,
    data,
    doctor,
    init,
    optimize,
    portfolio,
    regime,
    runs,
    serve,
    strategy,
)

app = typer.Typer(
    name="grodt",
    help="From an intraday strategy idea to honest evidence: data, backtests, reports.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
app.command()(backtest.backtest)
app.command()(backtest.verify)
app.add_typer(data.app, name="data")
app.add_typer(runs.app, name="runs")
app.command("portfolio")(portfolio.portfolio)
app.add_typer(optimize.app, name="optimize")
app.add_typer(strategy.app, name="strategy")
app.add_typer(regime.app, name="regime")
app.add_typer(costs.app, name="costs")
app.add_typer(config.app, name="config")
app.add_typer(backup.app, name="backup")
app.command()(doctor.doctor)
app.command()(init.init)
app.command()(serve.serve)
app.command()(serve.resume)

# Exit codes of docs/architecture.md section 6; 1 is kept for "ran, and the answer is no".
EXIT_CODES = {
    "ConfigError": 2,
    "DataError": 3,
    "StrategyError": 4,
    "ExecutionError": 5,
    "StorageError": 6,
    "ComputeError": 7,
}


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"grodt {version('grodtd')}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """From an intraday strategy idea to honest evidence: data, backtests, reports."""


def run() -> None:
    """Run the command line; a GrodtError is printed as one message and becomes an exit code."""
    from grodtd.domain.errors import GrodtError

    try:
        app()
    except GrodtError as error:
        kind = next((k.__name__ for k in type(error).__mro__ if k.__name__ in EXIT_CODES), "")
        sys.stderr.write(f"grodt: {error}\n")
        raise SystemExit(EXIT_CODES.get(kind, 1)) from error
