"""`grodt init`: what `docker compose` needs before its first start."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from grodtd.entrypoints.cli.common import JsonOption, print_json


def init(
    folder: Annotated[Path, typer.Argument(help="Folder with docker-compose.yml.")] = Path(),
    environment: Annotated[
        str, typer.Option("--environment", "-e", help="development, staging or production.")
    ] = "development",
    image: Annotated[str, typer.Option(help="Image of the service, name@sha256:... (staging, production).")] = "",
    backup_image: Annotated[str, typer.Option(help="Image of the backup service, likewise.")] = "",
    research_image: Annotated[str, typer.Option(help="Image for backtests and searches, likewise.")] = "",
    smtp: Annotated[
        str, typer.Option(help="Mail server for alerts, host:port; its password: secrets/smtp_password.")
    ] = "",
    email_from: Annotated[str, typer.Option(help="Sender of alerts, also the user of the mail server.")] = "",
    email_to: Annotated[str, typer.Option(help="Who gets alerts.")] = "",
    telegram_chat: Annotated[int, typer.Option(help="Chat for critical alerts; secrets/telegram_bot_token.")] = 0,
    as_json: JsonOption = False,
) -> None:
    """Make .env, secrets and the data folder for docker compose; what is there already is kept.

    Examples:

      grodt init && docker compose up -d --wait

      grodt init --smtp mail.example.org:587 --email-from grodt@example.org --email-to me@example.org

      grodt init -e production --image NAME@sha256:... --backup-image NAME@sha256:... --research-image NAME@sha256:...
    """
    from grodtd.domain.errors import ConfigError
    from grodtd.settings import ENVIRONMENTS
    from grodtd.workflows.deployment_folder import IMAGES, Alerts, prepare_folder

    chosen = next((name for name in ENVIRONMENTS if name == environment), None)
    if chosen is None:
        raise ConfigError(f"there is no environment {environment!r}; choose one of {', '.join(ENVIRONMENTS)}")
    given = dict(zip(IMAGES, (image, backup_image, research_image), strict=True))
    images = {name: reference for name, reference in given.items() if reference}
    steps = prepare_folder(folder, chosen, images, Alerts(smtp, email_from, email_to, telegram_chat))
    if as_json:
        print_json([{"what": step.what, "done": step.done, "todo": step.todo or None} for step in steps])
        return
    for step in steps:
        typer.echo(f"{step.what}: {step.done}{f' - {step.todo}' if step.todo else ''}")
