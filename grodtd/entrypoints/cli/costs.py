"""`grodt costs`: what trading is assumed to cost, and what it was measured to cost."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from grodtd.entrypoints.cli.common import ConfigOption, JsonOption, print_json

app = typer.Typer(help="Show the costs in force; calibrate spread and impact from recordings.", no_args_is_help=True)


@app.command()
def calibrate(
    bbo: Annotated[Path, typer.Option("--bbo", exists=True, dir_okay=False, help="Best bid and ask, Parquet.")],
    depth: Annotated[Path, typer.Option("--depth", exists=True, dir_okay=False, help="Book snapshots, Parquet.")],
    trades: Annotated[Path, typer.Option("--trades", exists=True, dir_okay=False, help="Trades, Parquet.")],
    impact: Annotated[
        Path | None,
        typer.Option("--impact", exists=True, dir_okay=False, help="Sweep costs of the recorder, to compare with."),
    ] = None,
    symbol: Annotated[str, typer.Option("--symbol", help="Default: from the name of the depth file.")] = "",
    notional: Annotated[
        list[float] | None, typer.Option("--notional", help="A size of the fit; again for more. [10k, 100k, 1M]")
    ] = None,
    html: Annotated[Path | None, typer.Option("--html", dir_okay=False, help="Also write a page with a chart.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Measure half-spread and the cost of market orders in a recorded book, and fit the impact law to them.

    Example:

      grodt costs calibrate --bbo bbo.parquet --depth depth.parquet --trades trades.parquet --symbol BTCUSDT
    """
    from grodtd.workflows.calibrate import (
        FITTED_NOTIONALS,
        LATER_TITLE,
        ROW_HEADER,
        as_document,
        calibrate_costs,
        facts,
        row_cells,
        suggestion,
        write_page,
    )

    found = calibrate_costs(
        bbo=bbo, depth=depth, trades=trades, impact=impact, symbol=symbol, notionals=notional or FITTED_NOTIONALS
    )
    if html is not None:
        write_page(found, html)
    if as_json:
        print_json(as_document(found))
        return
    from rich.console import Console
    from rich.table import Table

    from grodtd.domain.bars import utc

    console = Console()
    period = f"{utc(found.start_us)} to {utc(found.end_us)} UTC, {found.n_snapshots:,} snapshots"
    for title, rows in (
        (f"{found.symbol}, {period}", found.rows),
        (LATER_TITLE, found.later_rows),
    ):
        table = Table(title=title)
        for index, name in enumerate(ROW_HEADER):
            table.add_column(name, justify="left" if index in (0, len(ROW_HEADER) - 1) else "right")
        for row in rows:
            table.add_row(*row_cells(row))
        console.print(table)
    for name, value in facts(found):
        typer.echo(f"{name}: {value}")
    for note in found.notes:
        typer.echo(f"note: {note}")
    typer.echo("for costs.yaml: " + ", ".join(f"{name}: {value:g}" for name, value in suggestion(found).items()))
    if html is not None:
        typer.echo(f"page: {html}")


@app.command()
def show(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Show the costs of every venue in costs.yaml, with what a round trip by market order costs.

    Example:

      grodt costs show --config my-settings
    """
    from dataclasses import asdict

    from grodtd.config import load_config

    found = load_config(config).costs
    if as_json:
        print_json({name: {**asdict(costs), "round_trip_bps": costs.round_trip_bps} for name, costs in found.items()})
        return
    from rich.console import Console
    from rich.table import Table

    # Volatility and impact terms are shown where costs have them.
    columns = ("maker_bps", "taker_bps", "half_spread_bps", "slippage_bps", "c_vol", "impact_y")
    rows = {name: asdict(costs) for name, costs in found.items()}
    shown = [name for name in columns if any(name in row for row in rows.values())]
    table = Table(title="basis points of the traded price")
    table.add_column("costs", no_wrap=True)
    for name in (*shown, "round_trip_bps"):
        table.add_column(name.removesuffix("_bps").replace("_", " "), justify="right")
    for name, row in rows.items():
        table.add_row(
            name,
            *(f"{row[column]:g}" for column in shown),
            f"{found[name].round_trip_bps:g}",
        )
    Console().print(table)
    for name, row in rows.items():
        typer.echo(f"{name}, {row['as_of']}: {row['tier']} ({row['source']})")
