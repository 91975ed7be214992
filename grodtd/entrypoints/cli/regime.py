"""`grodt regime`: label bars by market regime, and judge how stable the labels are."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from grodtd.entrypoints.cli.common import DEFAULT_HOME, ConfigOption, HomeOption, JsonOption, print_json

app = typer.Typer(help="Market regimes: label bars, report their stability.", no_args_is_help=True)

Venue = Annotated[str, typer.Option(help="Venue of the bars, as imported.")]
Symbol = Annotated[str, typer.Option(help="Symbol of the bars, as imported.")]
Timeframe = Annotated[str, typer.Option(help="Bar length: 1m, 5m, 1h.")]
Start = Annotated[str, typer.Option("--from", help="First date or time (UTC); default: all there is.")]
End = Annotated[str, typer.Option("--to", help="Last date (that day included) or time (exclusive), UTC.")]


@app.command()
def label(
    out: Annotated[Path, typer.Argument(help="Parquet or CSV file to write.")],
    venue: Venue,
    symbol: Symbol,
    timeframe: Timeframe = "1m",
    start: Start = "",
    end: End = "",
    home: HomeOption = DEFAULT_HOME,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write the regime known at each close: time, regime.

    Example:

      grodt regime label regimes.parquet --venue binance --symbol BTCUSDT --from 2023-01-01
    """
    from grodtd.config import load_config
    from grodtd.workflows.regimes import label_bars

    shares = label_bars(home, out, venue, symbol, timeframe, start, end, load_config(config))
    if as_json:
        print_json({"file": str(out), "share": shares})
    else:
        typer.echo(f"{out}: " + ", ".join(f"{name} {share:.1%}" for name, share in shares.items()))


@app.command()
def report(
    venue: Venue,
    symbol: Symbol,
    timeframe: Timeframe = "1m",
    start: Start = "",
    end: End = "",
    home: HomeOption = DEFAULT_HOME,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say how stable and how useful the labels are; against the truth where the bars are synthetic.

    On recorded bars nobody knows the true regime: shares, dwell times, flips, agreement of a classifier started later,
    and what the labels say about the hour that follows.

    Example:

      grodt regime report --venue binance --symbol BTCUSDT --from 2023-01-01
    """
    from grodtd.config import load_config
    from grodtd.workflows.regimes import regime_report

    found = regime_report(home, venue, symbol, timeframe, start, end, load_config(config))
    if as_json:
        print_json(found)
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"{venue}:{symbol} {timeframe}")
    for name in ("measure", "value", "wanted"):
        table.add_column(name)
    for row in found["rows"]:
        value = row["value"]
        text = "–" if value is None else value if isinstance(value, str) else f"{value:.3g}"
        table.add_row(row["measure"], text, row["wanted"])
    Console().print(table)
