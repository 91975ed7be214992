"""`grodt backtest` and `grodt verify`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from grodtd.entrypoints.cli.common import (
    DEFAULT_HOME,
    ConfigOption,
    DatabaseOption,
    HomeOption,
    JsonOption,
    database_url,
    print_json,
)

if TYPE_CHECKING:
    from rich.console import Console

    from grodtd.domain.run import Metric
    from grodtd.workflows.backtest import Completed

# What a trader looks at first; --all shows the rest.
HEADLINE = (
    *("total", "cagr", "sharpe", "sharpe_hac", "sortino", "max_drawdown", "mar", "trade_count", "trades_per_day"),
    *(
        "win_rate",
        "payoff",
        "profit_factor",
        "expectancy",
        "exposure",
        "turnover",
        "cost_drag",
        "break_even_cost_bps",
        "ambiguous_share",
    ),
    *("net_pnl", "gross_pnl", "fees", "slippage_cost", "benchmark_total"),
)

WARNINGS = {
    "borrow_not_modelled": "short positions on a spot market paid no borrowing cost; the real result is worse",
    "funding_not_modelled": "no funding is stored for this perpetual; import it with `grodt data funding`",
    "no_increments": "this symbol is not in configs/instruments.yaml: no tick, lot or smallest order was applied",
    "ruin": "the account was wiped out; nothing was traded after that",
    "min_notional": "the account became too small for the smallest order; nothing was traded after that",
    "ambiguous_share": "unreliable: over 1 % of trades hinge on what came first inside a bar; use drilldown with finer"
    " bars (--rule same_bar=drilldown --fine TIMEFRAME)",
    "coverage": "over 1 % of the bars are missing; run `grodt data check`",
    "gate_closed": "nothing was traded: whenever the strategy wanted a position, the market was in another regime than"
    " those it enters in; --regime any takes the gate away, `grodt regime report` shows the regimes",
    "never_wanted": "nothing was traded: the strategy never wanted a position",
}

Engine = Literal["strict", "vectorbt", "vectorbt-signals"]


def backtest(
    strategy: Annotated[str, typer.Argument(help="Registered strategy (s1_trend), or file.py:NAME.")],
    venue: Annotated[str, typer.Option(help="Venue of the bars, as imported.")],
    symbol: Annotated[str, typer.Option(help="Symbol of the bars, as imported.")],
    timeframe: Annotated[str, typer.Option(help="Bar length: 1m, 5m, 1h, 1d.")] = "1m",
    start: Annotated[str, typer.Option("--from", help="First date or time (UTC); default: all there is.")] = "",
    end: Annotated[str, typer.Option("--to", help="Last date (that day included) or time (exclusive), UTC.")] = "",
    param: Annotated[list[str] | None, typer.Option("--param", help="name=value, repeatable.")] = None,
    costs: Annotated[str | None, typer.Option(help="Name in costs.yaml; default: the venue's.")] = None,
    cost_scale: Annotated[float, typer.Option(min=0.0, help="Multiply all costs: 0, 0.5, 2.")] = 1.0,
    direction: Annotated[str | None, typer.Option(help="long_short, long_only or short_only.")] = None,
    sizing: Annotated[
        list[str] | None, typer.Option("--sizing", help="mode=fraction, risk=0.005, ... repeatable; see risk.yaml.")
    ] = None,
    capital: Annotated[float | None, typer.Option(min=0.01, help="Initial capital in quote currency.")] = None,
    latency: Annotated[int | None, typer.Option(min=0, help="Extra bars between decision and fill.")] = None,
    rule: Annotated[
        list[str] | None,
        typer.Option("--rule", help="same_bar=ohlc_path, max_participation=0, session=08:00-16:30, ... repeatable."),
    ] = None,
    limit: Annotated[
        list[str] | None, typer.Option("--limit", help="daily_loss=0.02, cooldown_losses=3, ... repeatable.")
    ] = None,
    leverage: Annotated[float | None, typer.Option(min=1.0, help="On perpetuals only.")] = None,
    regime: Annotated[
        list[str] | None,
        typer.Option("--regime", help="Enter only in this regime; repeatable; `any`: no gate. Default: as configured."),
    ] = None,
    on_exit: Annotated[str | None, typer.Option(help="hold or flat: the position when its regime ends.")] = None,
    engine: Annotated[
        Engine, typer.Option(help="strict; vectorbt: also replay the fills there; vectorbt-signals: compare with it.")
    ] = "strict",
    fine: Annotated[str, typer.Option(help="Finer stored bars for same_bar=drilldown, for example 1m.")] = "",
    report: Annotated[Path | None, typer.Option(help="Write the HTML report to this file.")] = None,
    store: Annotated[bool, typer.Option("--store/--no-store", help="Store the run in the database.")] = True,
    all_metrics: Annotated[bool, typer.Option("--all", help="Show every metric, not only the headline.")] = False,
    home: HomeOption = DEFAULT_HOME,
    config: ConfigOption = None,
    database: DatabaseOption = None,
    as_json: JsonOption = False,
) -> None:
    """Backtest a strategy on stored bars, with costs, and store the run.

    Examples:

      grodt backtest s1_trend --venue binance --symbol BTCUSDT --from 2023-01-01 --to 2023-12-31

      grodt backtest s1_trend --venue binance --symbol BTCUSDT --param ema_bars=21 --report s1.html

      grodt backtest s1_trend --venue binance --symbol BTCUSDT --sizing mode=fraction --sizing fraction=0.5 --json

      grodt backtest my_idea.py:MY_IDEA --venue binance --symbol BTCUSDT --rule same_bar=drilldown --fine 1m
    """
    from grodtd.config import load_config
    from grodtd.workflows.backtest import Request, backtest_request, in_vectorbt, save

    request = Request(
        strategy=strategy,
        venue=venue,
        symbol=symbol,
        timeframe=timeframe,
        start=start,
        end=end,
        params=numbers(param or [], "--param"),
        costs=costs,
        cost_scale=cost_scale,
        direction=direction,
        sizing=pairs(sizing or [], "--sizing"),
        initial_capital=capital,
        latency_bars=latency,
        rules=pairs(rule or [], "--rule"),
        limits=pairs(limit or [], "--limit"),
        leverage=leverage,
        regimes=None if regime is None else () if regime == ["any"] else tuple(regime),
        on_exit=on_exit,
        fine=fine,
    )
    settings = load_config(config)
    completed = backtest_request(home, request, settings)
    compared = None if engine == "strict" else in_vectorbt(completed, engine, request, settings)
    run_id = save(database_url(home, database), completed) if store else None
    written = None
    if report is not None:
        from grodtd.workflows.report import write_report

        written = write_report(report, completed)
    if as_json:
        print_json({**_as_json(run_id, completed, written), "vectorbt": compared})
        return
    _show(run_id, completed, written, all_metrics)
    if compared is not None:
        what = "the same fills" if engine == "vectorbt" else "its own from_signals on the same decisions"
        typer.echo(
            f"vectorbt {compared['version']} ({compared['computed_by']}), {what}: {compared['orders']:,} orders, total"
            f" {compared['total']:+.2%}, equity differs by {compared['equity_difference']:.6g}"
        )


def verify(
    run: Annotated[str, typer.Argument(help="Run id, or its unique beginning.")],
    home: HomeOption = DEFAULT_HOME,
    database: DatabaseOption = None,
    as_json: JsonOption = False,
) -> None:
    """Run a stored backtest again and compare the result hash; exit code 1 if it differs.

    Example:

      grodt verify 20261123T1519
    """
    from dataclasses import asdict

    from grodtd.workflows.backtest import verify as verify_run

    outcome = verify_run(home, run, database_url(home, database))
    if as_json:
        print_json(asdict(outcome))
    else:
        code = "same code" if outcome.is_same_code else "the code has changed since"
        verdict = "identical" if outcome.is_same else "DIFFERENT"
        typer.echo(f"{outcome.run_id}: {verdict} ({code})")
        typer.echo(f"  stored {outcome.expected_hash}\n  now    {outcome.found_hash}")
    if not outcome.is_same:
        raise typer.Exit(1)


def pairs(texts: list[str], option: str) -> dict[str, float | int | str | bool]:
    """Parse name=value; numbers become numbers, true and false booleans."""
    from grodtd.domain.errors import ConfigError

    found: dict[str, float | int | str | bool] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name or not value:
            raise ConfigError(f"{option} takes name=value, found {text!r}")
        if name in found:
            raise ConfigError(f"{option} {name} is given twice")
        found[name] = _value(value)
    return found


def numbers(texts: list[str], option: str) -> dict[str, float | int]:
    from grodtd.domain.errors import ConfigError

    found: dict[str, float | int] = {}
    for name, value in pairs(texts, option).items():
        if isinstance(value, bool | str):
            raise ConfigError(f"{option} {name} must be a number, found {value!r}")
        found[name] = value
    return found


def _value(text: str) -> float | int | str | bool:
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _as_json(run_id: str | None, completed: Completed, report: Path | None) -> dict[str, object]:
    from grodtd.workflows.api import trades_frame
    from grodtd.workflows.runs import metric_json

    trades = trades_frame(completed.result)
    times = [name for name, kind in trades.schema.items() if kind.is_temporal()]
    return {
        "run_id": run_id,
        "metrics": {name: m.value for name, m in completed.metrics.items()},
        "metric_details": {name: metric_json(m) for name, m in completed.metrics.items()},
        "trades": trades.with_columns([trades[name].dt.strftime("%Y-%m-%dT%H:%M:%SZ") for name in times]).to_dicts(),
        "counters": dict(completed.result.counters),
        "warnings": list(completed.warnings),
        "stopped": _stopped(completed),
        **scenarios_json(completed.scenarios),
        "ledger": completed.result.ledger.totals(),
        "report": str(report) if report else None,
        "manifest": completed.manifest.as_dict(),
    }


def scenarios_json(scenarios: Mapping[str, Mapping[str, Metric]]) -> dict[str, object]:
    """Return the two entries of scenarios in JSON: plain values, and values with their reasons."""
    from grodtd.workflows.runs import metric_json

    return {
        "scenarios": {label: {k: m.value for k, m in found.items()} for label, found in scenarios.items()},
        "scenario_details": {
            label: {k: metric_json(m) for k, m in found.items()} for label, found in scenarios.items()
        },
    }


def show_scenarios(
    console: Console, metrics: Mapping[str, Metric], scenarios: Mapping[str, Mapping[str, Metric]]
) -> None:
    """What the result would be at other costs, and between which ends it lies where bars leave the order open."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    from grodtd.performance.summary import METRICS

    if not scenarios:  # a run of an older version
        return
    # Six columns fit into 80 characters only without lines between them.
    table = Table(title="the same decisions otherwise", title_justify="left", box=SIMPLE_HEAD, padding=0)
    table.add_column("")
    columns = {"this result": metrics, **scenarios}
    for label in columns:
        table.add_column(label, justify="right")
    for name in dict.fromkeys(name for found in scenarios.values() for name in found):
        unit = METRICS[name].unit if name in METRICS else "ratio"
        table.add_row(name, *(found[name].text(unit) if name in found else "" for found in columns.values()))
    console.print(table)


def show_warnings(console: Console, codes: Iterable[str]) -> None:
    """What a reader must know before believing the numbers; a run of another version may have a code we do not know."""
    for code in codes:
        console.print(f"[bold yellow]{code}[/]: {WARNINGS.get(code, 'see the version that stored this run')}")


def _stopped(completed: Completed) -> dict[str, str] | None:
    from grodtd.domain.bars import utc

    stopped = completed.result.stopped
    return None if stopped is None else {"at": utc(completed.result.bars.time[stopped[0]]), "reason": stopped[1]}


def _show(run_id: str | None, completed: Completed, report: Path | None, all_metrics: bool) -> None:
    from rich.console import Console
    from rich.table import Table

    from grodtd.performance.summary import METRICS

    manifest, metrics = completed.manifest, completed.metrics
    console = Console()
    params = ", ".join(f"{name}={value}" for name, value in manifest.params.items())
    table = Table(
        title=f"{manifest.strategy} · {manifest.symbol} {manifest.timeframe} · {manifest.start} to {manifest.end}"
    )
    table.add_column("metric")
    table.add_column("value", justify="right")
    table.add_column("note", style="dim")
    for name in metrics if all_metrics else [n for n in HEADLINE if n in metrics]:
        metric = metrics[name]
        table.add_row(
            METRICS[name].description if all_metrics else name, metric.text(METRICS[name].unit), metric.remark
        )
    console.print(table)
    costs = completed.result.account.costs
    console.print(
        f"parameters {params}; costs {costs.venue} {costs.round_trip_bps:g} bp a round trip; {manifest.n_bars:,} bars"
    )
    gating: Any = manifest.settings.get("gating")
    regimes = ", ".join(gating["regimes"]) + f" ({gating['on_exit']} on exit)" if gating else "any"
    console.print(f"enters in regimes: {regimes}")
    show_scenarios(console, metrics, completed.scenarios)
    stopped = _stopped(completed)
    if stopped is not None:
        console.print(f"trading stopped on {stopped['at']} UTC", highlight=False)
    show_warnings(console, completed.warnings)
    if run_id:
        console.print(f"run {run_id}", highlight=False)
    if report:
        console.print(f"report {report}", highlight=False, soft_wrap=True)
