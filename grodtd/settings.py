"""How a process runs in an environment: where data and database are, what it logs, when it counts as healthy.

What is traded and how stands in `grodtd.config`. A setting comes from, the first that has it: a file of secrets,
an environment variable, ``settings.ENVIRONMENT.yaml``, the default. Secrets come from files only.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final, Literal, get_args
from urllib.parse import SplitResult, quote, urlsplit, urlunsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, model_validator

from grodtd.config import DEFAULT_FOLDER, read_yaml, yaml_value
from grodtd.domain.errors import ConfigError
from grodtd.domain.retention import BackupPolicy, RecordPolicy

Environment = Literal["development", "staging", "production"]
ENVIRONMENTS: Final[tuple[Environment, ...]] = get_args(Environment)
Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=0)]
Share = Annotated[float, Field(gt=0, le=1)]

_PREFIX: Final = "GRODT_"
# libpq takes passwords as options of a URL too, and exchanges keys.
_SECRET_OPTION: Final = re.compile(r"([?&](?:ssl)?(?:password|secret|token|api_?key)=)[^&#]*", re.IGNORECASE)
# Variables of the same beginning that are read elsewhere: by options of commands, by tests, by Compose.
_NOT_SETTINGS: Final = {"CONFIG", "ENVIRONMENT", "REVISION", "SECRETS_DIR"}


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Log(_Part):
    """What is logged and how: JSON lines for machines, columns for people."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["console", "json"] = "console"


class Service(_Part):
    """Where `grodt serve` listens, and how long requests may take to finish when it is told to stop."""

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=1, le=65535)] = 8000
    drain_s: Positive = 20


class Health(_Part):
    """From where on a check fails."""

    check_timeout_s: Positive = 2
    cache_s: Positive = 2
    min_free_disk_mb: Count = 500
    max_memory_share: Share = 0.9
    max_cpu_share: Share = 0.95
    max_loop_lag_s: Positive = 1
    # "venue:symbol:timeframe" -> the age in seconds from which on its last bar is stale
    max_data_age_s: dict[str, Positive] = {}


class Watchdog(_Part):
    """When a process gives up on itself, and when it stops trying."""

    stale_after_s: Positive = 15
    max_restarts: Count = 3
    window_s: Positive = 600


class Endpoints(_Part):
    """What is outside: the kind of broker account, and other addresses for public market data (mirrors, sandboxes)."""

    broker: Literal["paper", "sandbox", "live"] = "paper"
    market_data: dict[str, str] = {}


class Backups(_Part):
    """When backups are made (UTC), and how many of which age are kept."""

    at: Annotated[str, Field(pattern=r"^([01]\d|2[0-3]):[0-5]\d$")] = "02:30"
    daily: Annotated[int, Field(ge=1)] = 7
    weekly: Count = 4
    monthly: Count = 12
    # after that long a backup counts as stuck, and the service as unhealthy
    within_s: Positive = 6 * 3600

    @property
    def policy(self) -> BackupPolicy:
        """Which backups are kept."""
        return BackupPolicy(self.daily, self.weekly, self.monthly)


class RetentionDays(_Part):
    """After how many days a kind of record may be deleted; None keeps it. The ledger of trials is never deleted."""

    runs: Annotated[int, Field(ge=1)] | None = None
    equity_curves: Annotated[int, Field(ge=1)] | None = None

    @property
    def policy(self) -> RecordPolicy:
        """How long records live."""
        return RecordPolicy(self.runs, self.equity_curves)


class Settings(_Part):
    """Every setting of a process, checked and frozen."""

    environment: Environment = "development"
    home: Path = Path("data")
    database_url: str | None = None
    database_password: SecretStr | None = None
    log: Log = Log()
    service: Service = Service()
    health: Health = Health()
    watchdog: Watchdog = Watchdog()
    endpoints: Endpoints = Endpoints()
    backups: Backups = Backups()
    retention_days: RetentionDays = RetentionDays()

    @property
    def database(self) -> str:
        """The database's URL, password included: never print or log it."""
        if self.database_url is None:
            return f"sqlite:///{quote(str(self.home / 'grodt.db'))}"
        secret = self.database_password
        return with_password(self.database_url, secret.get_secret_value() if secret else None)

    @model_validator(mode="after")
    def _fits_environment(self) -> Settings:
        if self.environment == "development":
            if self.endpoints.broker != "paper":
                raise ValueError(f"endpoints.broker is {self.endpoints.broker} in development, where it must be paper")
            return self
        if self.database_url is None or not self.database_url.startswith("postgres"):
            raise ValueError(f"database_url must be a postgresql:// URL in {self.environment}")
        _split(self.database_url)  # refuses what cannot be read
        if _without_passwords(self.database_url) != self.database_url:
            raise ValueError("database_url holds a password; put it into the secret file database_password")
        if self.environment == "staging" and self.endpoints.broker == "live":
            raise ValueError("endpoints.broker is live in staging; only production trades with money")
        if self.environment == "production" and self.log.level == "debug":
            raise ValueError("log.level is debug in production; debug lines may hold what is nobody's business")
        return self


@dataclass(frozen=True)
class Loaded:
    """Settings, and where each came from: the origin of ``log.level`` is ``origins["log.level"]``."""

    settings: Settings
    origins: Mapping[str, str]

    def rows(self) -> list[tuple[str, object, str]]:
        """Return (name, value, origin) of every setting; secrets are masked, also those that URLs hold."""
        return [
            (name, _without_passwords(value), self.origins.get(name, "default"))
            for name, value in _flat(self.settings.model_dump(mode="json")).items()
        ]


def load_settings(
    environment: str | None = None, *, folder: Path | None = None, variables: Mapping[str, str] | None = None
) -> Loaded:
    """Read the settings of an environment.

    Parameters
    ----------
    environment : str or None
        None: the variable GRODT_ENVIRONMENT; development if there is none.
    folder : Path or None
        Folder with your own ``settings.ENVIRONMENT.yaml``; the one that ships where it has none.
    variables : mapping or None
        Environment variables. None: those of this process. ``GRODT_LOG__LEVEL`` is ``log.level``;
        ``GRODT_SECRETS_DIR`` is the folder of secrets (``/run/secrets``).

    Raises
    ------
    ConfigError
        If a setting is unknown, wrong, or does not fit the environment; the message names its origin.
    """
    variables = os.environ if variables is None else variables
    name = environment or variables.get(_PREFIX + "ENVIRONMENT") or "development"
    if name not in ENVIRONMENTS:
        raise ConfigError(f"there is no environment {name!r}; GRODT_ENVIRONMENT is one of {', '.join(ENVIRONMENTS)}")
    merged: dict[str, object] = {}
    origins: dict[str, str] = {}
    for found in (
        _from_file(name, folder),
        _from_variables(variables),
        _from_secrets(secrets_folder(variables)),
    ):
        for key, (value, origin) in found.items():
            merged[key], origins[key] = value, origin
    try:
        settings = Settings.model_validate({**_nested(merged), "environment": name})
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        at = ".".join(str(part) for part in first["loc"])
        origin = next((o for key, o in origins.items() if key == at or key.startswith(at + ".")), "") if at else ""
        text = first["msg"].removeprefix("Value error, ")
        raise ConfigError(": ".join(filter(None, [f"settings of {name}", origin, at, text]))) from None
    except ConfigError as error:
        raise ConfigError(f"settings of {name}: {error}") from None
    if environment:
        origins["environment"] = "--environment"
    elif variables.get(_PREFIX + "ENVIRONMENT"):
        origins["environment"] = _PREFIX + "ENVIRONMENT"
    return Loaded(settings, origins)


def changed(settings: Settings, **changes: object) -> Settings:
    """Return settings with some of them replaced, checked like those they replace.

    Raises
    ------
    ConfigError
        If what comes out does not fit the environment.
    """
    try:
        return Settings.model_validate({**settings.model_dump(), **changes})
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        at = ".".join(str(part) for part in first["loc"])
        text = first["msg"].removeprefix("Value error, ")
        raise ConfigError(": ".join(filter(None, [f"settings of {settings.environment}", at, text]))) from None


def with_password(url: str, password: str | None) -> str:
    """Return a database URL with a password put in, where it names a user and holds none."""
    parts = _split(url)
    if not password or not parts.username or parts.password:
        return url
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit(parts._replace(netloc=f"{parts.username}:{quote(password, safe='')}@{host}"))


def _split(url: str) -> SplitResult:
    try:
        return urlsplit(url)
    except ValueError:
        # Without the cause: it quotes the part of the URL that holds the password.
        raise ConfigError(
            "database_url cannot be read; write postgresql://user@host:port/name, special characters percent-encoded"
        ) from None


def _without_passwords(value: object) -> object:
    """Return a setting as it may be shown: no URL in it holds a password, quoted rightly or not."""
    if isinstance(value, dict):
        return {key: _without_passwords(below) for key, below in value.items()}
    if not isinstance(value, str) or "://" not in value:
        return value
    scheme, _, rest = _SECRET_OPTION.sub(r"\1***", value).partition("://")
    login, at, place = rest.rpartition("@")
    user, colon, _ = login.partition(":")
    return f"{scheme}://{user}:***@{place}" if at and colon else f"{scheme}://{rest}"


def secrets_folder(variables: Mapping[str, str] | None = None) -> Path:
    """Return the folder secrets are read from, one file each."""
    return Path((os.environ if variables is None else variables).get(_PREFIX + "SECRETS_DIR", "/run/secrets"))


def secret(name: str, variables: Mapping[str, str] | None = None) -> str | None:
    """Return a secret by the name of its file, None if there is none."""
    file = secrets_folder(variables) / name
    return _secret_in(file) if file.is_file() else None


_Found = dict[str, tuple[object, str]]


def _from_file(environment: str, folder: Path | None) -> _Found:
    name = f"settings.{environment}.yaml"
    file = folder / name if folder and (folder / name).is_file() else DEFAULT_FOLDER / name
    content = read_yaml(file)
    # No message here quotes what it found: it may be a secret in a wrong place.
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        raise ConfigError(f"{file}: must be a mapping of names to settings")
    held = [key for key in content if key in SECRETS]
    if held:
        raise ConfigError(f"{file}: {held[0]} is a secret; put it into a file of that name under /run/secrets")
    return {key: (value, str(file)) for key, value in _flat(content).items()}


def _from_variables(variables: Mapping[str, str]) -> _Found:
    found: _Found = {}
    for variable, text in variables.items():
        name = variable.removeprefix(_PREFIX)
        if name == variable or name in _NOT_SETTINGS or not text:
            continue
        path = name.lower().split("__")
        if path[0] in SECRETS:
            raise ConfigError(
                f"{variable} is a secret, and every process and `docker inspect` can read variables;"
                f" put it into the file {path[0]} under /run/secrets (or GRODT_SECRETS_DIR)"
            )
        if path[0] not in Settings.model_fields:
            if len(path) > 1:
                raise ConfigError(
                    f"{variable}: there is no setting {path[0]!r}; there are {', '.join(Settings.model_fields)}"
                )
            continue  # the option of a command, such as GRODT_REAL_DATA of the tests
        try:
            value = yaml_value(text, variable) if len(path) > 1 else text
        except ConfigError:
            value = text
        found[".".join(path)] = (value if isinstance(value, (int, float, dict)) else text, variable)
    return found


def _from_secrets(folder: Path) -> _Found:
    found: _Found = {}
    for name in sorted(SECRETS):
        if (folder / name).is_file():
            found[name] = (_secret_in(folder / name), str(folder / name))
    return found


def _secret_in(file: Path) -> str:
    try:
        text = file.read_text().strip()
    except OSError as error:
        raise ConfigError(f"the secret {file} cannot be read: {error.strerror}") from None
    if not text:
        raise ConfigError(f"the secret {file} is empty; `grodt init` makes secrets")
    return text


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, object]:  # Any: YAML or JSON
    flat: dict[str, object] = {}
    for key, value in values.items():
        # a mapping of data (series, venues) is one setting; a mapping of settings is many
        if isinstance(value, Mapping) and not prefix and _is_part(key):
            flat.update(_flat(value, f"{key}."))
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def _is_part(name: object) -> bool:
    field = Settings.model_fields.get(str(name))
    return field is not None and isinstance(field.annotation, type) and issubclass(field.annotation, _Part)


def _nested(flat: Mapping[str, object]) -> dict[str, object]:
    nested: dict[str, object] = {}
    for key, value in flat.items():
        part, _, name = key.partition(".")
        if not name:
            nested[part] = value
            continue
        below = nested.setdefault(part, {})
        if not isinstance(below, dict):
            raise ConfigError(f"{part}: must be a mapping of names to settings")
        below[name] = value
    return nested


SECRETS: Final = {name for name, field in Settings.model_fields.items() if "SecretStr" in str(field.annotation)}
