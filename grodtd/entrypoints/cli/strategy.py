"""`grodt strategy`: list, show, scaffold and check strategies."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from grodtd.entrypoints.cli.common import JsonOption, print_json

app = typer.Typer(help="Strategies: list, show, scaffold, check.", no_args_is_help=True)


@app.command("list")
def list_strategies(as_json: JsonOption = False) -> None:
    """List the registered strategies.

    Example:

      grodt strategy list
    """
    from grodtd.strategies.registry import STRATEGIES
    from grodtd.workflows.strategies import describe

    found = [describe(strategy) for strategy in STRATEGIES.values()]
    if as_json:
        print_json(found)
        return
    from rich.console import Console
    from rich.table import Table

    table = Table()
    for name in ("name", "what it does", "parameters", "regimes", "warm-up"):
        table.add_column(name)
    for one in found:
        params = ", ".join(f"{name}={value}" for name, value in one["params"].items())
        regimes = ", ".join(one["regimes"]) or "any"
        table.add_row(one["name"], one["description"], params, regimes, str(one["warmup_bars"]))
    Console().print(table)


@app.command()
def new(
    name: Annotated[str, typer.Argument(help="Lower case letters, digits, underscores: my_idea.")],
    folder: Annotated[Path, typer.Option(help="Where to write it.")] = Path(),
) -> None:
    """Write a strategy that runs at once, with its contract tests beside it.

    Example:

      grodt strategy new my_idea && grodt strategy check my_idea.py:MY_IDEA
    """
    from grodtd.workflows.strategies import scaffold

    file = scaffold(name, folder)
    typer.echo(f"{file}: edit it, then `grodt strategy check {file}:{name.upper()}`")
    typer.echo(f"run it: grodt backtest {file}:{name.upper()} --venue binance --symbol BTCUSDT")


@app.command()
def check(
    strategy: Annotated[str, typer.Argument(help="Registered name, or file.py:NAME.")],
    as_json: JsonOption = False,
) -> None:
    """Try a strategy against its contract; exit code 4 if it breaks one of its promises.

    Example:

      grodt strategy check my_idea.py:MY_IDEA
    """
    from dataclasses import asdict

    from grodtd.workflows.strategies import check_strategy, resolve_strategy

    found = check_strategy(resolve_strategy(strategy))
    if as_json:
        print_json([asdict(one) for one in found])
    else:
        for one in found:
            typer.echo(f"FAIL {one.name}\n     {one.problem}" if one.problem else f"ok   {one.name}")
    if any(one.problem for one in found):
        raise typer.Exit(4)
