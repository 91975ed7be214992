"""What `docker compose` needs before it can start: folders with the right owner, secrets, the choice of environment."""

from __future__ import annotations

import os
import re
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import yaml

from grodtd.domain.errors import ConfigError
from grodtd.settings import Environment

# The user of every GRODT container, by number: it need not exist on the host.
CONTAINER_USER: Final = 10001
IMAGES: Final = ("GRODT_IMAGE", "GRODT_BACKUP_IMAGE", "GRODT_RESEARCH_IMAGE")

_MADE: Final = ("database_password", "grafana_admin_password")
_GIVEN: Final = ("smtp_password", "telegram_bot_token")
COMPOSE_SECRETS: Final = (*_MADE, *_GIVEN)
_OVERRIDES: Final[dict[str, str]] = {"development": "dev", "staging": "staging", "production": "prod"}
_ALERTMANAGER: Final = "alertmanager.yml"
_BY_DIGEST: Final = re.compile(r"[\w.\-/:]+@sha256:[0-9a-f]{64}")


@dataclass(frozen=True)
class Alerts:
    """Whom Alertmanager tells.

    Attributes
    ----------
    smtp : str
        ``host:port`` of the mail server; empty: no mail.
    mail_from, mail_to : str
    telegram_chat : int
        0: no Telegram.
    """

    smtp: str = ""
    mail_from: str = ""
    mail_to: str = ""
    telegram_chat: int = 0


@dataclass(frozen=True)
class Step:
    """One thing that was looked after: what was done, or what is left to do."""

    what: str
    done: str
    todo: str = ""


def prepare_folder(
    folder: Path, environment: Environment, images: dict[str, str], alerts: Alerts | None = None
) -> list[Step]:
    """Make what is missing; nothing that is there is changed, so it may be run again at any time.

    Parameters
    ----------
    folder : Path
        The one with ``docker-compose.yml``.
    environment : str
        development, staging or production.
    images : dict of str
        Image references by variable (`IMAGES`); must be digests outside development.
    alerts : Alerts, optional
        Whom to tell; without, alerts are seen at Alertmanager only.

    Raises
    ------
    ConfigError
        If the folder has no compose file, an image is missing or not a digest, or ``.env`` is for another environment.
    """
    if not (folder / "docker-compose.yml").is_file():
        raise ConfigError(f"{folder} has no docker-compose.yml; run `grodt init` in the folder that has it")
    if environment != "development":
        for name in IMAGES:
            if not _BY_DIGEST.fullmatch(images.get(name, "")):
                raise ConfigError(
                    f"{name} is {images.get(name) or 'missing'}; outside development an image is named by its digest,"
                    " name@sha256:<64 hex digits>, so that nobody can change what a name stands for"
                )
    if alerts is not None and bool(alerts.smtp) != bool(alerts.mail_from and alerts.mail_to):
        raise ConfigError("mail needs all three: --smtp HOST:PORT, --email-from and --email-to")
    steps = [*_secrets(folder / "secrets"), _data_folder(folder / "data")]
    variables = dict(images)
    if alerts is not None and (alerts.smtp or alerts.telegram_chat):
        steps.append(_alertmanager(folder, alerts))
        variables["GRODT_ALERTMANAGER_CONFIG"] = f"./secrets/{_ALERTMANAGER}"
    return [_env_file(folder / ".env", environment, variables), *steps]


def _alertmanager(folder: Path, alerts: Alerts) -> Step:
    """Write the shipped configuration with receivers that send; the secrets stay in their files."""
    file = folder / "secrets" / _ALERTMANAGER
    shipped = folder / "configs" / _ALERTMANAGER
    try:
        config = yaml.safe_load(shipped.read_text())
    except (OSError, yaml.YAMLError) as error:
        raise ConfigError(f"{shipped} cannot be read: {error}") from error
    mail = {
        "to": alerts.mail_to,
        "from": alerts.mail_from,
        "smarthost": alerts.smtp,
        "auth_username": alerts.mail_from,
        "auth_password_file": "/run/secrets/smtp_password",
        "send_resolved": True,
    }
    telegram = {
        "chat_id": alerts.telegram_chat,
        "bot_token_file": "/run/secrets/telegram_bot_token",
        "parse_mode": "",
        "send_resolved": True,
    }
    for receiver in config["receivers"]:
        if alerts.smtp and receiver["name"] in ("critical", "warning"):
            receiver["email_configs"] = [mail]
        if alerts.telegram_chat and receiver["name"] == "critical":
            receiver["telegram_configs"] = [telegram]
    text = yaml.safe_dump(config, sort_keys=False)
    if file.exists():
        is_other = file.read_text() != text
        return Step(str(file), "there already, kept", "it says something else; delete it and run this again" * is_other)
    _write(file, text, 0o444)
    return Step(str(file), "made")


def _env_file(file: Path, environment: Environment, variables: dict[str, str]) -> Step:
    compose = f"docker-compose.yml:docker-compose.{_OVERRIDES[environment]}.yml"
    if file.exists():
        found = re.search(r"^GRODT_ENVIRONMENT=(.*)$", file.read_text(), re.MULTILINE)
        there = found.group(1) if found else "none"
        if there != environment:
            raise ConfigError(f"{file} is for {there}, not {environment}; move it away, or use another folder")
        # What was asked for and is not in force must not be taken for done: mail that is never sent, an old release.
        kept = file.read_text().splitlines()
        lacking = [line for line in (f"{name}={value}" for name, value in variables.items()) if line not in kept]
        return Step(str(file), "there already, kept", f"write into it: {' '.join(lacking)}" if lacking else "")
    lines = [
        "# Read by docker compose. No secret belongs here: every process can read variables.",
        f"COMPOSE_FILE={compose}",
        f"GRODT_ENVIRONMENT={environment}",
        "# The address ports are opened on; 127.0.0.1 is this machine only.",
        "GRODT_BIND=127.0.0.1",
        *(f"{name}={value}" for name, value in variables.items()),
    ]
    _write(file, "\n".join(lines) + "\n", 0o600)
    return Step(str(file), "made")


def _secrets(folder: Path) -> list[Step]:
    folder.mkdir(mode=0o700, exist_ok=True)
    folder.chmod(0o700)
    steps = []
    for name in COMPOSE_SECRETS:
        file = folder / name
        if file.exists():
            steps.append(Step(str(file), "there already, kept"))
            continue
        # Compose mounts the file as it is, and several users read it (the database's and ours): the folder is what
        # keeps others of this machine out.
        _write(file, secrets.token_urlsafe(32) if name in _MADE else "", 0o444)
        todo = "" if name in _MADE else "empty; put the secret in if you want that kind of alert"
        steps.append(Step(str(file), "made", todo))
    return steps


def _data_folder(folder: Path) -> Step:
    done = "there already, kept" if folder.exists() else "made"
    folder.mkdir(mode=0o750, exist_ok=True)
    if folder.stat().st_uid == CONTAINER_USER:
        return Step(str(folder), done)
    if os.geteuid() == 0:
        os.chown(folder, CONTAINER_USER, CONTAINER_USER)
        return Step(str(folder), f"{done}; owner is now {CONTAINER_USER}")
    return Step(str(folder), done, f"containers run as user {CONTAINER_USER}: sudo chown -R {CONTAINER_USER} {folder}")


def _write(file: Path, text: str, mode: int) -> None:
    """Write a new file that nobody else can read before it has its mode; refuse to follow or replace what is there."""
    try:
        with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as handle:
            handle.write(text)
        file.chmod(mode)
    except OSError as error:
        raise ConfigError(f"{file} cannot be written: {error.strerror}; see what is in its place") from error
