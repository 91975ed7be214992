"""`grodt serve` and `grodt resume`: run the service; let it work again after a crash loop."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from grodtd.entrypoints.cli.common import ConfigOption, JsonOption, print_json


def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on.", show_default="127.0.0.1")] = None,
    port: Annotated[int | None, typer.Option(min=1, max=65535, help="Port.", show_default="8000")] = None,
    home: Annotated[Path | None, typer.Option("--home", help="Home folder.", show_default="$GRODT_HOME")] = None,
    database: Annotated[
        str | None, typer.Option("--database-url", help="Run database.", show_default="$GRODT_DATABASE_URL")
    ] = None,
    environment: Annotated[
        str | None, typer.Option("--environment", "-e", help="Environment.", show_default="$GRODT_ENVIRONMENT")
    ] = None,
    config: ConfigOption = None,
) -> None:
    """Serve health, metrics and the read API until told to stop (SIGTERM or Ctrl-C).

    Options beat settings; `grodt config show` prints those.

    Examples:

      grodt serve

      grodt serve --port 8080 --home data/demo
    """
    from grodtd.entrypoints.service.main import serve as run_service
    from grodtd.settings import changed, load_settings

    settings = load_settings(environment, folder=config).settings
    service = {name: value for name, value in (("host", host), ("port", port)) if value is not None}
    raise typer.Exit(
        run_service(
            changed(
                settings,
                service=settings.service.model_copy(update=service),
                home=home or settings.home,
                database_url=database or settings.database_url,
            ),
            config,
        )
    )


def resume(
    home: Annotated[Path | None, typer.Option("--home", help="Home folder.", show_default="$GRODT_HOME")] = None,
    as_json: JsonOption = False,
) -> None:
    """Let processes that were halted after too many restarts work again at their next start.

    Example:

      grodt resume && docker compose restart grodt
    """
    from grodtd.adapters.process.start_guard import halted
    from grodtd.domain.errors import StorageError
    from grodtd.settings import load_settings

    folder = (home or load_settings().settings.home) / "run"
    files = halted(folder)
    for file in files:
        try:
            file.unlink(missing_ok=True)
        except OSError as error:
            raise StorageError(
                f"{file} cannot be deleted ({error.strerror}); delete it as its owner, then start again"
            ) from error
    if as_json:
        print_json({"resumed": [file.name for file in files]})
    else:
        typer.echo("\n".join(f"resumed {file.name}" for file in files) or f"nothing is halted in {folder}")
