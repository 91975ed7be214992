"""`grodt optimize`: search for parameters, look at what was found, go on, touch the hold-out."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

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
    from grodtd.workflows.optimize import Found, Progress

app = typer.Typer(help="Search for parameters, with the end of history kept out of sight.", no_args_is_help=True)

StudyArgument = Annotated[str, typer.Argument(help="Id of a study, or the start of it.")]
Threads = Annotated[int | None, typer.Option(min=1, help="Default: every processor.")]
Compute = Annotated[str, typer.Option(help="local: threads; ray: a cluster, or Ray on this machine.")]
RayAddress = Annotated[str | None, typer.Option("--ray-address", help="Of a running cluster, such as auto.")]
MetricsPort = Annotated[
    int | None,
    typer.Option("--metrics-port", help="Serve Prometheus gauges on this port of 127.0.0.1 (of $GRODT_METRICS_HOST)."),
]
Report = Annotated[Path | None, typer.Option("--report", help="Write the HTML report to this file.")]


@app.command("run")
def run_study(
    strategy: Annotated[str, typer.Argument(help="Registered strategy (s1_trend), or file.py:NAME.")],
    venue: Annotated[str, typer.Option(help="Venue of the bars, as imported.")],
    symbol: Annotated[str, typer.Option(help="Symbol of the bars, as imported.")],
    timeframe: Annotated[str, typer.Option(help="Bar length: 1m, 5m, 1h, 1d.")] = "1m",
    start: Annotated[str, typer.Option("--from", help="First date or time (UTC); default: all there is.")] = "",
    end: Annotated[str, typer.Option("--to", help="Last date (that day included) or time (exclusive), UTC.")] = "",
    space: Annotated[
        list[str] | None,
        typer.Option(
            "--space", help="ema_bars=5:60:5, stop_atr=0.5:4 or atr_bars=7,14; repeatable. Default: strategies.yaml."
        ),
    ] = None,
    constraint: Annotated[
        list[str] | None, typer.Option("--constraint", help='Such as "stop_atr < 3", repeatable.')
    ] = None,
    param: Annotated[list[str] | None, typer.Option("--param", help="name=value of what is not searched.")] = None,
    optimizer: Annotated[str, typer.Option(help="grid, random, sobol, tpe, cmaes, nsga2 or halving.")] = "tpe",
    trials: Annotated[int, typer.Option(min=1, help="Trials; a grid tries all of its own.")] = 200,
    objective: Annotated[
        list[str] | None,
        typer.Option("--objective", help="Column to improve: sharpe (default), total, ...; several: nsga2."),
    ] = None,
    require: Annotated[
        list[str] | None,
        typer.Option("--require", help="trade_count>=100 (default), max_drawdown_daily>=-0.3, ... repeatable; `none`."),
    ] = None,
    holdout: Annotated[float, typer.Option(help="Share of the days, at the end, that the search never sees.")] = 0.2,
    hypothesis: Annotated[str, typer.Option(help="Trials of one idea count together. Default: the strategy.")] = "",
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same trials.")] = 1,
    batch: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Trials run and written together; a crash costs one batch. Default: 256; for tpe, cmaes and nsga2,"
            " which learn between batches, a twentieth of the trials.",
        ),
    ] = None,
    costs: Annotated[str | None, typer.Option(help="Name in costs.yaml; default: the venue's.")] = None,
    cost_scale: Annotated[float, typer.Option(min=0.0, help="Multiply all costs: 0, 0.5, 2.")] = 1.0,
    direction: Annotated[str | None, typer.Option(help="long_short, long_only or short_only.")] = None,
    sizing: Annotated[
        list[str] | None,
        typer.Option("--sizing", help="As for `grodt backtest`. Default: a tenth of the capital in every trade."),
    ] = None,
    rule: Annotated[list[str] | None, typer.Option("--rule", help="As for `grodt backtest`.")] = None,
    regime: Annotated[list[str] | None, typer.Option("--regime", help="As for `grodt backtest`.")] = None,
    capital: Annotated[float | None, typer.Option(min=0.01, help="Initial capital in quote currency.")] = None,
    threads: Threads = None,
    compute: Compute = "local",
    ray_address: RayAddress = None,
    metrics_port: MetricsPort = None,
    report: Report = None,
    home: HomeOption = DEFAULT_HOME,
    config: ConfigOption = None,
    database: DatabaseOption = None,
    as_json: JsonOption = False,
) -> None:
    """Search for parameters; every trial is stored before the next batch begins.

    Ctrl-C stops after the batch in work; `grodt optimize resume` goes on, after a crash too.

    Examples:

      grodt optimize run s1_trend --venue binance --symbol BTCUSDT --from 2023-01-01 --to 2023-12-31 --trials 500

      grodt optimize run s1_trend --venue binance --symbol BTCUSDT --optimizer grid --space ema_bars=5:60:5
      --space stop_atr=1:4:0.5 --report study.html
    """
    from grodtd.config import load_config
    from grodtd.entrypoints.cli.backtest import numbers, pairs
    from grodtd.workflows.backtest import Request
    from grodtd.workflows.optimize import Search, compute_named, go_on
    from grodtd.workflows.optimize import start as begin

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
        rules=pairs(rule or [], "--rule"),
        initial_capital=capital,
        regimes=None if regime is None else () if regime == ["any"] else tuple(regime),
    )
    search = Search(
        request=request,
        space=space_of(space or [], fractional_of(strategy)),
        constraints=tuple(constraint or ()),
        optimizer=optimizer,
        n_trials=trials,
        seed=seed,
        objectives=tuple(objective or ("sharpe",)),
        requirements=() if require == ["none"] else tuple(require or ("trade_count>=100",)),
        holdout=holdout,
        hypothesis=hypothesis,
        batch=batch,
        threads=threads,
    )
    url = database_url(home, database)
    study, ready = begin(home, url, search, load_config(config))
    port = compute_named(compute, ray_address, threads)
    with _watched(study.n_trials, strategy, metrics_port) as (show, should_stop), port or nullcontext():
        go_on(home, url, study, ready, compute=port, on_progress=show, should_stop=should_stop)
    _show(url, study.study_id, report, as_json)


@app.command()
def resume(
    study: StudyArgument,
    threads: Threads = None,
    compute: Compute = "local",
    ray_address: RayAddress = None,
    metrics_port: MetricsPort = None,
    report: Report = None,
    home: HomeOption = DEFAULT_HOME,
    config: ConfigOption = None,
    database: DatabaseOption = None,
    as_json: JsonOption = False,
) -> None:
    """Go on with a study that was stopped or killed: nothing is tried twice, nothing is lost.

    Example:

      grodt optimize resume 20261123T2
    """
    from dataclasses import replace

    from grodtd.adapters.storage.trial_store import TrialStore
    from grodtd.config import load_config
    from grodtd.workflows.optimize import compute_named, go_on, ready_again

    url = database_url(home, database)
    found = TrialStore(url).study(study)
    ready = ready_again(home, found, load_config(config))
    ready = replace(ready, search=replace(ready.search, threads=threads))
    port = compute_named(compute, ray_address, threads)
    with _watched(found.n_trials, found.strategy, metrics_port) as (show, should_stop), port or nullcontext():
        go_on(home, url, found, ready, compute=port, on_progress=show, should_stop=should_stop)
    _show(url, found.study_id, report, as_json)


@app.command()
def stop(study: StudyArgument, home: HomeOption = DEFAULT_HOME, database: DatabaseOption = None) -> None:
    """Ask a running study to stop after the batch in work.

    Example:

      grodt optimize stop 20261123T2
    """
    from grodtd.adapters.storage.trial_store import TrialStore

    store = TrialStore(database_url(home, database))
    found = store.study(study)
    if found.status != "running":
        typer.echo(f"{found.study_id} is {found.status}")
        return
    store.set_status(found.study_id, "stopping")
    typer.echo(f"{found.study_id} stops after the batch in work")


@app.command("list")
def list_studies(home: HomeOption = DEFAULT_HOME, database: DatabaseOption = None, as_json: JsonOption = False) -> None:
    """List studies, newest first.

    Example:

      grodt optimize list
    """
    from grodtd.adapters.storage.trial_store import TrialStore

    found = TrialStore(database_url(home, database)).studies()
    if as_json:
        print_json(
            [
                {
                    "study": s.study_id,
                    "status": s.status,
                    "strategy": s.strategy,
                    "hypothesis": s.hypothesis,
                    "optimizer": s.optimizer,
                    "seed": s.seed,
                    "done": done,
                    "planned": s.n_trials,
                }
                for s, done in found
            ]
        )
        return
    if not found:
        typer.echo("no study yet; try `grodt optimize run --help`")
        return
    from rich.console import Console
    from rich.table import Table

    table = Table()
    # A hypothesis is named where it is not the strategy, so that a line fits an ordinary terminal.
    named = any(s.hypothesis != s.strategy for s, _ in found)
    for name in ("study", "status", "strategy", *(["hypothesis"] if named else []), "optimizer"):
        table.add_column(name, no_wrap=name in ("study", "status", "optimizer"))
    table.add_column("seed", justify="right")
    table.add_column("trials", justify="right", no_wrap=True)
    for s, done in found:
        row = (s.study_id, s.status, s.strategy, *([s.hypothesis] if named else []), s.optimizer, str(s.seed))
        table.add_row(*row, f"{done:,}/{s.n_trials:,}")
    Console().print(table)


@app.command()
def show(
    study: StudyArgument,
    report: Report = None,
    home: HomeOption = DEFAULT_HOME,
    database: DatabaseOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show what a study has found, how stable it is, and how much was tried on these bars in all.

    Example:

      grodt optimize show 20261123T2 --report study.html
    """
    _show(database_url(home, database), study, report, as_json)


@app.command()
def export(
    study: StudyArgument,
    file: Annotated[Path, typer.Argument(help="SQLite file to make, for optuna-dashboard.")],
    home: HomeOption = DEFAULT_HOME,
    database: DatabaseOption = None,
) -> None:
    """Write a study as an optuna database.

    Example:

      grodt optimize export 20261123T2 study.db && optuna-dashboard sqlite:///study.db
    """
    from grodtd.workflows.optimize import export_to_optuna

    typer.echo(f"{file}: {export_to_optuna(database_url(home, database), study, file):,} trials")


@app.command()
def sensitivity(
    study: StudyArgument,
    home: HomeOption = DEFAULT_HOME,
    database: DatabaseOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say how much of the objective's variance each parameter of a finished grid explains (Sobol indices).

    Example:

      grodt optimize sensitivity 20261123T2
    """
    from grodtd.workflows.optimize import findings
    from grodtd.workflows.optimize import sensitivity as indices

    found = indices(findings(database_url(home, database), study))
    if as_json:
        print_json({name: {"first": first, "total": total} for name, (first, total) in found.items()})
        return
    from rich.console import Console
    from rich.table import Table

    table = Table()
    for column in ("parameter", "alone", "with others"):
        table.add_column(column, justify="left" if column == "parameter" else "right")
    for name, (first, total) in sorted(found.items(), key=lambda item: -item[1][1]):
        table.add_row(name, f"{first:.2f}", f"{total:.2f}")
    Console().print(table)


@app.command()
def holdout(
    study: StudyArgument,
    param: Annotated[
        list[str] | None, typer.Option("--param", help="name=value: other parameters than the chosen ones.")
    ] = None,
    home: HomeOption = DEFAULT_HOME,
    config: ConfigOption = None,
    database: DatabaseOption = None,
    as_json: JsonOption = False,
) -> None:
    """Run the chosen parameters on the days the search has not seen. Each use is logged for ever.

    The first use is evidence. After it the hold-out has been seen, and any further search that it led to has too.

    Example:

      grodt optimize holdout 20261123T2
    """
    from grodtd.config import load_config
    from grodtd.entrypoints.cli.backtest import numbers
    from grodtd.performance.summary import METRICS
    from grodtd.workflows.optimize import use_holdout

    url = database_url(home, database)
    given = numbers(param or [], "--param") or None
    metrics, before = use_holdout(home, url, study, load_config(config), given)
    if as_json:
        print_json({"metrics": {name: m.value for name, m in metrics.items()}, "uses_before": before})
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"hold-out of {study}")
    table.add_column("metric")
    table.add_column("value", justify="right")
    table.add_column("remark")
    for name in (
        "total",
        "sharpe",
        "sharpe_hac",
        "max_drawdown",
        "trade_count",
        "win_rate",
        "profit_factor",
        "net_pnl",
    ):
        table.add_row(METRICS[name].description, metrics[name].text(METRICS[name].unit), metrics[name].remark)
    Console().print(table)
    if before:
        typer.echo(f"This hold-out was used {before} time(s) before: it is no longer unseen, and this is no evidence.")


@app.command()
def ledger(home: HomeOption = DEFAULT_HOME, database: DatabaseOption = None, as_json: JsonOption = False) -> None:
    """Check that no trial was ever changed or taken out; exit code 1 if one was.

    Example:

      grodt optimize ledger
    """
    from grodtd.adapters.storage.trial_store import TrialStore

    broken = TrialStore(database_url(home, database)).broken_at()
    if as_json:
        print_json({"is_whole": not broken, "broken_at": broken})
    else:
        typer.echo(f"the ledger is broken: {broken}" if broken else "the ledger is whole")
    if broken:
        raise typer.Exit(1)


def fractional_of(strategy: str) -> set[str]:
    """Return the parameters of a strategy that are not whole numbers."""
    from typing import get_type_hints

    from grodtd.workflows.strategies import resolve_strategy

    return {name for name, kind in get_type_hints(resolve_strategy(strategy).params).items() if kind is float}


def space_of(entries: list[str], fractional: Collection[str] = ()) -> dict[str, Any]:  # Any: as in YAML
    """Return ``name=low:high[:step]`` and ``name=a,b,c`` as they would stand in strategies.yaml.

    What is in `fractional` is a range of fractions, however its ends are written.
    """
    return dict(_dimension_of(entry, fractional) for entry in entries)


def _dimension_of(entry: str, fractional: Collection[str]) -> tuple[str, dict[str, Any]]:  # Any: as in YAML
    from grodtd.domain.errors import ConfigError

    name, _, text = entry.partition("=")
    try:
        numbers = [_number(part) for part in text.split("," if "," in text else ":")]
    except ValueError:
        numbers = []
    if "," in text and numbers:
        return name, {"choices": numbers}
    if len(numbers) not in (2, 3):
        raise ConfigError(f"--space reads like ema_bars=5:60:5, stop_atr=0.5:4 or atr_bars=7,14, found {entry!r}")
    kind = "int" if name not in fractional and all(isinstance(number, int) for number in numbers) else "float"
    return name, {kind: numbers[:2], **({"step": numbers[2]} if len(numbers) == 3 else {})}


def _number(text: str) -> int | float:
    try:
        return int(text)
    except ValueError:
        return float(text)


@contextmanager
def _watched(
    planned: int, strategy: str, metrics_port: int | None
) -> Iterator[tuple[Callable[[Progress], None], Callable[[], bool]]]:
    """A progress line on standard error, gauges, and Ctrl-C as a wish to stop after the batch in work."""
    asked_to_stop = False
    gauges = None
    if metrics_port is not None:
        from grodtd.adapters.telemetry.search import SearchGauges

        gauges = SearchGauges(metrics_port, os.environ.get("GRODT_METRICS_HOST") or "127.0.0.1")

    def on_interrupt(*_: object) -> None:
        nonlocal asked_to_stop
        if asked_to_stop:
            raise KeyboardInterrupt
        asked_to_stop = True
        sys.stderr.write("\nstopping after this batch; once more to stop at once\n")

    before = signal.signal(signal.SIGINT, on_interrupt)
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    try:
        with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task("searching", total=planned)

            def show(progress: Any) -> None:  # Any: a Progress of the workflow; rich has one of that name
                best = "–" if progress.best is None else f"{progress.best:.4g}"
                text = f"{progress.per_second:,.0f} a second, best {best}, {progress.undefined:,} undefined"
                bar.update(task, completed=progress.done, total=progress.planned, description=text)
                if gauges is not None:
                    gauges.update(
                        progress.study_id,
                        strategy,
                        done=progress.done,
                        planned=progress.planned,
                        undefined=progress.undefined,
                        per_second=progress.per_second,
                        best=progress.best,
                    )

            yield show, lambda: asked_to_stop
    finally:
        signal.signal(signal.SIGINT, before)
        if gauges is not None:
            gauges.close()


def _show(url: str, study_id: str, report: Path | None, as_json: bool) -> None:
    from grodtd.workflows.optimize import findings

    found = findings(url, study_id)
    if report is not None:
        from grodtd.workflows.study_report import write_study_report

        write_study_report(found, report)
    if as_json:
        print_json(as_dict(found))
        return
    _print(found)
    if report is not None:
        typer.echo(f"report {report}")


def as_dict(found: Found) -> dict[str, Any]:  # Any: JSON
    """Return what `--json` prints."""
    from grodtd.workflows.optimize import importances_or_reason

    p = found.plateau
    shares, no_shares = importances_or_reason(found)
    return {
        "study": found.study.study_id,
        "status": found.study.status,
        "optimizer": found.study.optimizer,
        "seed": found.study.seed,
        "objectives": list(found.objectives),
        "trials": len(found.rows),
        "planned": found.study.n_trials,
        "undefined": sum(bool(row["reason"]) for row in found.rows),
        "best": found.best,
        "chosen": found.chosen,
        "pareto_front": found.front,
        "plateau": (
            None
            if p is None
            else {
                "passes": p.passes,
                "median_ratio": _finite(p.median_ratio),
                "min_ratio": _finite(p.min_ratio),
                "share_good": _finite(p.share_good),
                "rank_smoothed": p.rank_smoothed,
                "is_on_edge": p.is_on_edge,
            }
        ),
        "importances": shares,
        "importances_reason": no_shares,
        "ledger": {"configurations": found.configurations, "evaluations": found.evaluations},
        "holdout": {"start": found.study.spec["holdout_start"], "uses": found.holdouts},
        "table": found.rows,
    }


def _finite(value: float) -> float | None:
    return value if value == value else None  # noqa: PLR0124 nan is not itself


def _print(found: Found) -> None:
    from rich.console import Console
    from rich.table import Table

    from grodtd.workflows.optimize import importances_or_reason

    study, names = found.study, found.objectives
    name, is_front = names[0], len(names) > 1
    shown = [row for row in found.rows if row["objectives"][name] is not None and row["budget"] == 1.0]
    if is_front:
        front = set(found.front)
        shown = [row for row in shown if row["number"] in front]
    shown.sort(key=lambda row: (-row["objectives"][name], row["number"]))
    table = Table(title=f"{study.study_id} · {study.strategy} · {study.optimizer} · {study.status}")
    searched = list(study.spec["search"]["space"])
    columns = {"total": "total", "max_drawdown_daily": "drawdown", "trade_count": "trades"}
    columns = {column: title for column, title in columns.items() if column not in names}
    for column in ("#", *searched, *names, *columns.values()):
        table.add_column(column, justify="right")
    for row in shown[:10]:
        values = {column: row["columns"][column] for column in columns}
        table.add_row(
            f"{row['number']}{' *' if found.chosen and row['number'] == found.chosen['number'] else ''}",
            *(f"{row['params'][p]:.5g}" for p in searched),
            *(f"{row['columns'][n]:.4g}" for n in names),
            *(f"{v:,.0f}" if column == "trade_count" else f"{v:.2%}" for column, v in values.items()),
        )
    Console().print(table)
    undefined = sum(bool(row["reason"]) for row in found.rows)
    typer.echo(
        f"{len(found.rows):,} of {study.n_trials:,} trials, {undefined:,} undefined; tried on these bars for"
        f" {study.hypothesis!r} so far: {found.configurations:,} configurations"
    )
    if study.status in ("stopped", "failed"):
        typer.echo(f"{study.status}: `grodt optimize resume {study.study_id}` goes on from here")
    if is_front:
        left = f", the first {len(shown[:10])} above" if len(shown) > 10 else ""
        typer.echo(f"{len(shown):,} trials that no other beats in {' and '.join(names)}{left}; * is best by {name}")
    p = found.plateau
    if p is not None and p.best_value <= 0:
        typer.echo("even the best of this grid loses: there is nothing to choose")
    elif p is not None:
        verdict = "a plateau" if p.passes else "no plateau: a result of this grid is not to be trusted"
        edge = "; the best is on the edge of the grid: widen it" if p.is_on_edge else ""
        typer.echo(
            f"neighbours of the best reach {p.median_ratio:.2f} of it (median; 0.70 wanted), {verdict}{edge}."
            " * is the highest of the smoothed surface"
        )
    shares, no_shares = importances_or_reason(found)
    if shares is not None:
        listed = ", ".join(f"{parameter} {share:.0%}" for parameter, share in shares.items())
        typer.echo(f"what the best tenth has in common (for display, no evidence): {listed}")
    else:
        typer.echo(f"no importances: {no_shares}")
    if study.spec["holdout_start"]:
        uses = f"used {len(found.holdouts)} time(s)" if found.holdouts else "not seen yet"
        typer.echo(f"hold-out from {study.spec['holdout_start']} UTC: {uses} (`grodt optimize holdout`)")
