"""`grodt data`: bars in, bars checked, bars made."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from grodtd.entrypoints.cli.common import DEFAULT_HOME, HomeOption, JsonOption, print_json

if TYPE_CHECKING:
    from grodtd.adapters.market_data.checks import CheckReport
    from grodtd.domain.bars import Calendar

app = typer.Typer(help="Import, check, list, show, resample, synthesise and fetch bars.", no_args_is_help=True)

VenueOption = Annotated[str, typer.Option("--venue", help="Where the bars come from, for example binance.")]
SymbolOption = Annotated[str, typer.Option("--symbol", help="For example BTCUSDT; BTC/USDT is the same.")]
TimeframeOption = Annotated[str, typer.Option("--timeframe", help="Bar length: 1m, 5m, 1h, 1d.")]
FormatOption = Annotated[str, typer.Option("--format", help="auto, parquet, csv, binance or freqtrade.")]
MapOption = Annotated[
    str | None, typer.Option("--map", help="Columns of the file: timestamp=Date,open=O,... where auto fails.")
]
TimezoneOption = Annotated[str, typer.Option("--tz", help="Time zone of time stamps written without one.")]
SessionsOption = Annotated[bool, typer.Option("--sessions", help="The market closes: missing bars are no gaps.")]


@app.command("import")
def import_bars(
    files: Annotated[list[Path], typer.Argument(exists=True, dir_okay=False, help="Parquet, CSV or Feather files.")],
    venue: VenueOption,
    symbol: SymbolOption,
    timeframe: TimeframeOption = "1m",
    file_format: FormatOption = "auto",
    columns: MapOption = None,
    timezone: TimezoneOption = "UTC",
    sessions: SessionsOption = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace stored bars that differ.")] = False,
    home: HomeOption = DEFAULT_HOME,
    as_json: JsonOption = False,
) -> None:
    """Import files into the catalogue; a broken file is refused with its rows. The same file twice changes nothing.

    Examples:

      grodt data import BTCUSDT-1m-2023-*.csv --venue binance --symbol BTCUSDT

      grodt data import my.csv --venue own --symbol X --map timestamp=Date,volume=Vol --tz Europe/Berlin
    """
    from rich.console import Console

    from grodtd.workflows.data import import_files

    console = Console(stderr=True)
    with console.status("importing") as status:
        done = import_files(
            home,
            files,
            venue=venue,
            symbol=symbol,
            timeframe=timeframe,
            file_format=file_format,
            columns=_mapping(columns),
            timezone=timezone,
            calendar=_calendar(sessions),
            overwrite=overwrite,
            on_file=lambda file: status.update(f"importing {file.name}"),
        )
    if as_json:
        print_json(
            [
                {
                    "file": str(d.file),
                    "series": d.series,
                    "bars": d.n_bars,
                    "added": d.written.added,
                    "unchanged": d.written.unchanged,
                    "replaced": d.written.replaced,
                    "check": _report(d.report),
                }
                for d in done
            ]
        )
        return
    for d in done:
        w = d.written
        typer.echo(
            f"{d.file.name} -> {d.series}: {w.added:,} added, {w.unchanged:,} already there, {w.replaced:,} replaced"
        )
        for finding in d.report.findings:
            typer.echo(f"  {finding.severity} {finding.code}: {finding.count:,}: {finding.message}")


@app.command()
def check(
    file: Annotated[Path | None, typer.Argument(exists=True, dir_okay=False, help="A file; or name a series.")] = None,
    venue: Annotated[str | None, typer.Option("--venue", help="Venue of a stored series.")] = None,
    symbol: Annotated[str | None, typer.Option("--symbol", help="Symbol of a stored series.")] = None,
    timeframe: TimeframeOption = "1m",
    file_format: FormatOption = "auto",
    columns: MapOption = None,
    timezone: TimezoneOption = "UTC",
    sessions: SessionsOption = False,
    home: HomeOption = DEFAULT_HOME,
    as_json: JsonOption = False,
) -> None:
    """Say what is wrong with a file or a stored series, and which bars; exit code 3 if it cannot be used.

    Examples:

      grodt data check download.csv --timeframe 1m

      grodt data check --venue binance --symbol BTCUSDT --timeframe 1m
    """
    from grodtd.adapters.market_data.checks import describe
    from grodtd.domain.bars import utc
    from grodtd.domain.errors import ConfigError
    from grodtd.workflows.data import check_file, check_series

    calendar = _calendar(sessions)
    if file is not None:
        report = check_file(
            file, timeframe, file_format=file_format, columns=_mapping(columns), timezone=timezone, calendar=calendar
        )
    elif venue and symbol:
        report = check_series(home, venue, symbol, timeframe, calendar)
    else:
        raise ConfigError("name a file, or a stored series with --venue and --symbol")
    if as_json:
        print_json(_report(report))
    else:
        span = "" if report.first_us is None else f", {utc(report.first_us)} to {utc(report.last_us or 0)} UTC"
        coverage = "" if report.coverage is None else f", coverage {report.coverage:.4%}"
        typer.echo(f"{report.n_bars:,} bars{span}{coverage}")
        for finding in report.findings:
            typer.echo(f"{finding.severity} {finding.code}: {finding.count:,}: {finding.message}")
            for line in describe(finding, timeframe):
                typer.echo(f"    {line}")
            if finding.count > len(finding.times_us):
                typer.echo(f"    ... and {finding.count - len(finding.times_us):,} more")
        if not report.findings:
            typer.echo("nothing to complain about")
    if report.errors:
        raise typer.Exit(3)


@app.command("list")
def list_bars(home: HomeOption = DEFAULT_HOME, as_json: JsonOption = False) -> None:
    """List the stored series.

    Example:

      grodt data list
    """
    from dataclasses import asdict

    from grodtd.domain.bars import utc
    from grodtd.workflows.data import list_series

    found = list_series(home)
    if as_json:
        print_json([asdict(s) for s in found])
        return
    if not found:
        typer.echo(f"nothing in {home} yet; try `grodt data synth G1` or `grodt data import --help`")
        return
    from rich.console import Console
    from rich.table import Table

    table = Table("venue", "symbol", "timeframe", "bars", "first (UTC)", "last (UTC)", "size")
    for s in found:
        row = (
            s.venue,
            s.symbol,
            s.timeframe,
            f"{s.n_bars:,}",
            utc(s.first_us),
            utc(s.last_us),
            f"{s.bytes / 1e6:.1f} MB",
        )
        table.add_row(*row)
    Console().print(table)


@app.command()
def show(
    venue: VenueOption,
    symbol: SymbolOption,
    timeframe: TimeframeOption = "1m",
    start: Annotated[str, typer.Option("--from", help="First date or time (UTC).")] = "",
    end: Annotated[str, typer.Option("--to", help="Last date (included) or time (exclusive).")] = "",
    rows: Annotated[int, typer.Option(min=1, help="How many bars to show from either end.")] = 5,
    home: HomeOption = DEFAULT_HOME,
    as_json: JsonOption = False,
) -> None:
    """Show the first and last bars of a range, and the known regimes of a synthetic series.

    Example:

      grodt data show --venue binance --symbol BTCUSDT --from 2023-03-24T12:30 --to 2023-03-24T14:10
    """
    from grodtd.workflows.data import frame_of, load_bars, regime_shares, time_range

    start_us, end_us = time_range(start, end)
    bars = load_bars(home, venue, symbol, timeframe, start_us=start_us, end_us=end_us)
    shares = regime_shares(home, venue, symbol, timeframe)
    frame = frame_of(bars)
    ends = frame if frame.height <= 2 * rows else frame.head(rows).vstack(frame.tail(rows))
    records = ends.with_columns(ends["timestamp"].dt.strftime("%Y-%m-%dT%H:%M:%SZ")).to_dicts()
    if as_json:
        print_json({"bars": frame.height, "data_hash": bars.content_hash(), "regimes": shares, "rows": records})
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(*frame.columns, title=f"{venue}:{symbol} {timeframe}, {frame.height:,} bars")
    for i, record in enumerate(records):
        if i == rows and frame.height > 2 * rows:
            table.add_row(*["..."] * len(record))
        table.add_row(*(v if isinstance(v, str) else f"{v:,.8g}" for v in record.values()))
    Console().print(table)
    for regime, share in shares.items():
        typer.echo(f"regime {regime}: {share:.1%} of bars")


@app.command()
def resample(
    venue: VenueOption,
    symbol: SymbolOption,
    to: Annotated[str, typer.Option("--to", help="Longer timeframe, for example 1h.")],
    timeframe: TimeframeOption = "1m",
    home: HomeOption = DEFAULT_HOME,
    as_json: JsonOption = False,
) -> None:
    """Make longer bars from a stored series and store them.

    Example:

      grodt data resample --venue binance --symbol BTCUSDT --to 1h
    """
    from grodtd.workflows.data import resample_series

    made, written = resample_series(home, venue, symbol, timeframe, to)
    if as_json:
        print_json({"series": f"{made.venue}:{made.symbol} {to}", "bars": len(made), "added": written.added})
    else:
        typer.echo(f"{made.venue}:{made.symbol} {to}: {len(made):,} bars, {written.added:,} of them new")


@app.command()
def synth(
    name: Annotated[str, typer.Argument(help="Generator: G1 (clear regimes) or G2 (faint ones).")] = "G1",
    bars: Annotated[int, typer.Option(min=1, help="How many bars.")] = 129_600,
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same bars.")] = 7,
    timeframe: TimeframeOption = "1m",
    home: HomeOption = DEFAULT_HOME,
    as_json: JsonOption = False,
) -> None:
    """Make seeded bars whose market regime is known, and store them as synthetic:NAME.

    Example:

      grodt data synth G1 --bars 129600 --seed 7
    """
    from grodtd.workflows.data import regime_shares, synthesise

    made = synthesise(home, name, bars, seed, timeframe=timeframe)
    shares = regime_shares(home, made.venue, made.symbol, timeframe)
    if as_json:
        print_json({"series": f"synthetic:{name} {timeframe}", "bars": len(made), "seed": seed, "regimes": shares})
    else:
        known = ", ".join(f"{regime} {share:.0%}" for regime, share in shares.items())
        typer.echo(f"synthetic:{name} {timeframe}: {len(made):,} bars, seed {seed} ({known})")


@app.command()
def fetch(
    venue: VenueOption,
    symbol: SymbolOption,
    timeframe: TimeframeOption = "1m",
    start: Annotated[str, typer.Option("--from", help="First date or time (UTC); default: after the last bar.")] = "",
    end: Annotated[str, typer.Option("--to", help="Last date (included) or time; default: now.")] = "",
    api_url: Annotated[
        str | None,
        typer.Option(help="Another address of the exchange's public API; default: the setting endpoints.market_data."),
    ] = None,
    home: HomeOption = DEFAULT_HOME,
    as_json: JsonOption = False,
) -> None:
    """Fetch bars from an exchange's public API; interrupted or run again, it goes on after the last stored bar.

    Example:

      grodt data fetch --venue binance --symbol BTCUSDT --from 2024-01-01
    """
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    from grodtd.domain.bars import utc
    from grodtd.settings import load_settings
    from grodtd.workflows.data import fetch_series, time_range

    start_us, end_us = time_range(start, end)
    api_url = api_url or load_settings().settings.endpoints.market_data.get(venue)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:.0f}%"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task(f"{venue}:{symbol} {timeframe}", total=1.0)
        done = fetch_series(
            home,
            venue,
            symbol,
            timeframe,
            start_us=start_us,
            end_us=end_us,
            api_url=api_url,
            on_page=lambda n, share: progress.update(task, completed=share, description=f"{symbol}: {n:,} bars"),
        )
    if as_json:
        print_json({"series": done.series, "bars": done.n_bars, "first_us": done.first_us, "last_us": done.last_us})
    elif done.first_us is None:
        typer.echo(f"{done.series}: nothing new")
    else:
        typer.echo(f"{done.series}: {done.n_bars:,} bars, {utc(done.first_us)} to {utc(done.last_us or 0)} UTC")


def _mapping(text: str | None) -> dict[str, str]:
    from grodtd.domain.errors import ConfigError

    found = {}
    for part in (text or "").split(","):
        if part:
            ours, equals, theirs = part.partition("=")
            if not (equals and ours.strip() and theirs.strip()):
                raise ConfigError(f"--map takes ours=theirs,..., found {part!r}")
            found[ours.strip()] = theirs.strip()
    return found


def _calendar(sessions: bool) -> Calendar:
    return "sessions" if sessions else "24x7"


def _report(report: CheckReport) -> dict[str, object]:
    from dataclasses import asdict

    return asdict(report)


@app.command()
def funding(
    file: Annotated[Path, typer.Argument(help="Parquet or CSV with the columns timestamp and funding_rate.")],
    venue: Annotated[str, typer.Option(help="Venue of the perpetual, for example binance_usdm.")],
    symbol: Annotated[str, typer.Option(help="Its symbol.")],
    home: HomeOption = DEFAULT_HOME,
    as_json: JsonOption = False,
) -> None:
    """Store a perpetual's funding settlements; backtests of it pay them.

    Example:

      grodt data funding btcusdt_funding.parquet --venue binance_usdm --symbol BTCUSDT
    """
    from grodtd.workflows.data import import_funding

    symbol, count = import_funding(home, file, venue=venue, symbol=symbol)
    if as_json:
        print_json({"venue": venue, "symbol": symbol, "settlements": count})
    else:
        typer.echo(f"{venue}:{symbol}: {count:,} funding settlements stored")
