"""`grodt portfolio`: one strategy on several symbols that share an account."""

from __future__ import annotations

from typing import Annotated

import typer

from grodtd.entrypoints.cli.common import DEFAULT_HOME, ConfigOption, HomeOption, JsonOption, print_json


def portfolio(
    strategy: Annotated[str, typer.Argument(help="Registered strategy (s1_trend), or file.py:NAME.")],
    venue: Annotated[str, typer.Option(help="Venue of the bars, as imported.")],
    symbol: Annotated[list[str], typer.Option("--symbol", help="Symbol, repeatable; fills are made in this order.")],
    timeframe: Annotated[str, typer.Option(help="Bar length: 1m, 5m, 1h, 1d.")] = "1m",
    start: Annotated[str, typer.Option("--from", help="First date or time (UTC); default: all there is.")] = "",
    end: Annotated[str, typer.Option("--to", help="Last date (that day included) or time (exclusive), UTC.")] = "",
    param: Annotated[list[str] | None, typer.Option("--param", help="name=value, repeatable.")] = None,
    sizing: Annotated[list[str] | None, typer.Option("--sizing", help="As for `grodt backtest`.")] = None,
    rule: Annotated[list[str] | None, typer.Option("--rule", help="As for `grodt backtest`.")] = None,
    limit: Annotated[
        list[str] | None, typer.Option("--limit", help="max_symbol_exposure=0.5, max_total_exposure=1, ... repeatable.")
    ] = None,
    leverage: Annotated[float | None, typer.Option(min=1.0, help="On perpetuals only.")] = None,
    costs: Annotated[str | None, typer.Option(help="Name in costs.yaml; default: the venue's.")] = None,
    regime: Annotated[list[str] | None, typer.Option("--regime", help="As for `grodt backtest`.")] = None,
    capital: Annotated[float | None, typer.Option(min=0.01, help="Initial capital in quote currency.")] = None,
    home: HomeOption = DEFAULT_HOME,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Backtest a strategy on several symbols with one account: shared cash, exposure caps, fills in a fixed order.

    Example:

      grodt portfolio s1_trend --venue binance --symbol BTCUSDT --symbol ETHUSDT --limit max_symbol_exposure=0.5
    """
    from grodtd.config import load_config
    from grodtd.entrypoints.cli.backtest import numbers, pairs
    from grodtd.performance.summary import METRICS
    from grodtd.workflows.backtest import Request
    from grodtd.workflows.portfolio import portfolio_request

    request = Request(
        strategy=strategy,
        venue=venue,
        symbol=symbol[0],
        timeframe=timeframe,
        start=start,
        end=end,
        params=numbers(param or [], "--param"),
        sizing=pairs(sizing or [], "--sizing"),
        rules=pairs(rule or [], "--rule"),
        limits=pairs(limit or [], "--limit"),
        leverage=leverage,
        costs=costs,
        regimes=None if regime is None else () if regime == ["any"] else tuple(regime),
        initial_capital=capital,
    )
    done = portfolio_request(home, request, symbol, load_config(config))
    tables = {"account": done.metrics, **done.by_symbol}
    if as_json:
        print_json(
            {
                "metrics": {label: {name: m.value for name, m in table.items()} for label, table in tables.items()},
                "counters": done.result.counters,
                "stopped": list(done.result.stopped) if done.result.stopped else None,
            }
        )
        return
    from rich.console import Console
    from rich.table import Table

    shown = ("total", "sharpe", "max_drawdown", "trade_count", "win_rate", "profit_factor", "net_pnl", "fees")
    table = Table(title=f"{strategy} · {', '.join(symbol)} · one account")
    table.add_column("metric")
    for label in tables:
        table.add_column(label, justify="right")
    for name in shown:
        table.add_row(name, *(found[name].text(METRICS[name].unit) for found in tables.values()))
    Console().print(table)
