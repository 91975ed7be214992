"""`grodt config`: what is set, where it came from, whether it is right, how two environments differ."""

from __future__ import annotations

from typing import Annotated

import typer

from grodtd.entrypoints.cli.common import ConfigOption, JsonOption, print_json

app = typer.Typer(help="Settings of an environment: show, validate, diff.", no_args_is_help=True)

EnvironmentOption = Annotated[
    str | None,
    typer.Option("--environment", "-e", help="development, staging or production.", show_default="$GRODT_ENVIRONMENT"),
]


@app.command()
def show(environment: EnvironmentOption = None, config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Print every setting with where it came from; secrets are masked.

    A setting comes from, the first that has it: a secret file under /run/secrets, a variable (GRODT_LOG__LEVEL for
    log.level), settings.ENVIRONMENT.yaml, the default.

    Examples:

      grodt config show --environment production

      GRODT_LOG__LEVEL=warning grodt config show --json
    """
    from grodtd.settings import load_settings

    loaded = load_settings(environment, folder=config)
    if as_json:
        print_json({name: {"value": value, "origin": origin} for name, value, origin in loaded.rows()})
        return
    _print_table(["setting", "value", "from"], [[name, _text(value), origin] for name, value, origin in loaded.rows()])


@app.command()
def validate(environment: EnvironmentOption = None, config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Check all configuration: settings, costs, risk, each strategy's defaults and space. Exit code 2 if any is wrong.

    Example:

      grodt config validate --environment production --config ./my-configs
    """
    from grodtd.workflows.configuration import check_configuration

    checked = check_configuration(config, environment)
    is_right = all(not part.problem for part in checked)
    if as_json:
        print_json({"ok": is_right, "parts": [{"part": part.part, "problem": part.problem} for part in checked]})
    else:
        _print_table(["part", "verdict"], [[part.part, part.problem or "right"] for part in checked])
    if not is_right:
        raise typer.Exit(2)


@app.command()
def diff(
    one: Annotated[str, typer.Argument(help="An environment.")],
    other: Annotated[str, typer.Argument(help="The environment to compare it with.")],
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Print the settings in which two environments differ.

    Example:

      grodt config diff staging production
    """
    from grodtd.settings import load_settings

    first, second = (load_settings(name, folder=config).rows() for name in (one, other))
    differing = [
        (name, value, there)
        for (name, value, _), (_, there, _) in zip(first, second, strict=True)
        if value != there and name != "environment"
    ]
    if as_json:
        print_json({name: {one: value, other: there} for name, value, there in differing})
        return
    _print_table(["setting", one, other], [[name, _text(value), _text(there)] for name, value, there in differing])


def _text(value: object) -> str:
    return "-" if value is None else str(value)


def _print_table(header: list[str], rows: list[list[str]]) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=None, header_style="bold", pad_edge=False)
    for title in header:
        table.add_column(title, overflow="fold")
    for row in rows:
        table.add_row(*(escape(cell) for cell in row))
    Console().print(table)
