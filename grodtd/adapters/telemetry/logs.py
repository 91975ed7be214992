"""Logs: one line an event, JSON for machines or columns for people, secrets blotted out, counted by level."""

from __future__ import annotations

import json
import logging
import math
import re
import sys
from collections.abc import Callable, Iterable, Mapping, MutableMapping
from typing import Any, Final
from urllib.parse import quote

import structlog

# Any below: structlog hands events around as dictionaries of anything.

BLOT: Final = "***"
_TELLING: Final = r"passw|passphrase|secret|token|api[-_ ]?key|authorization|cookie|private[-_ ]?key|credential"
_SECRET_KEY: Final = re.compile(rf"{_TELLING}|(^|[^a-z])(pass|pwd)$", re.IGNORECASE)
# Lines hold what strangers send, so no pattern may take more than linear time: a path of 60,000 letters must not hold
# the process up. Hence the words taken one by one here, and the bound on names in _PAIR.
_WORD: Final = re.compile(r"\S+")
# Digits and a slash are a port and a path.
_URL_USER: Final = re.compile(r"://[^\s:/@]*:(?!\d{1,5}/)")
_BEARER: Final = re.compile(r"(?P<start>\b(?:bearer|basic)\s+)[A-Za-z0-9._~+/=-]{6,}", re.IGNORECASE)
# password=..., and 'password': '...' of a printed dictionary
_PAIR: Final = re.compile(
    rf"""(?P<start>(?:{_TELLING}|\bpwd)[\w-]{{0,64}}(?:=|["']\s*:\s*)["']?)[^\s"'&,;]+""", re.IGNORECASE
)
_SHORTEST_SECRET: Final = 4
_DEEPEST: Final = 20
# structlog's own, taken away before a line is written
_OWN_KEYS: Final = {"_record", "_from_structlog"}


class Redactor:
    """Replaces secrets in whatever is logged, at every depth.

    Blotted out are values under keys that sound secret, passwords in URLs, bearer tokens, and the secrets given,
    also as JSON, Python and URLs write them.

    Parameters
    ----------
    secrets : iterable of str
        Values that must never appear, such as the database's password. Shorter than 4 characters, one is part of too
        many words to look for.
    """

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        written = {
            form
            for secret in secrets
            if len(secret) >= _SHORTEST_SECRET
            for form in (secret, quote(secret, safe=""), repr(secret)[1:-1], json.dumps(secret)[1:-1])
        }
        # the longest first: one may be part of another
        self._secrets = sorted(written, key=len, reverse=True)

    def __call__(self, _logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        """Return the event without secrets: a processor of structlog."""
        return {
            self.text(str(key)): value if key in _OWN_KEYS else self._value(str(key), value)
            for key, value in event.items()
        }

    def text(self, text: str) -> str:
        """Return the text without secrets."""
        for secret in self._secrets:
            text = text.replace(secret, BLOT)
        if "://" in text and "@" in text:
            text = _WORD.sub(_without_url_password, text)
        text = _BEARER.sub(rf"\g<start>{BLOT}", text)
        return _PAIR.sub(rf"\g<start>{BLOT}", text)

    def _value(self, key: str, value: object, depth: int = 0) -> object:
        if _SECRET_KEY.search(key) and value is not None:
            return BLOT
        if depth == _DEEPEST:  # it may hold itself
            return "..."
        if isinstance(value, Mapping):
            return {self.text(str(k)): self._value(str(k), v, depth + 1) for k, v in value.items()}
        if isinstance(value, (list, tuple, set, frozenset)):
            return [self._value("", v, depth + 1) for v in value]
        # JSON has no inf and nan
        if value is None or isinstance(value, (bool, int)) or (isinstance(value, float) and math.isfinite(value)):
            return value
        return self.text(str(value))


def _without_url_password(word: re.Match[str]) -> str:
    """Blot out up to the last @, since passwords are not always quoted."""
    text = word.group()
    user, end = _URL_USER.search(text), text.rfind("@")
    return f"{text[:user.end()]}{BLOT}{text[end:]}" if user and end >= user.end() else text


def configure_logging(
    *,
    level: str,
    as_json: bool,
    secrets: Iterable[str] = (),
    on_message: Callable[[str], None] | None = None,
) -> None:
    """Send all logs of the process, those of libraries too, to standard output.

    Parameters
    ----------
    level : {"debug", "info", "warning", "error"}
    as_json : bool
        One JSON object a line; else columns, in colour on a terminal.
    secrets : iterable of str
        Values to blot out wherever they appear.
    on_message : function of a level, optional
        Called for each line, to count them.
    """

    def count(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        if on_message is not None:
            on_message(str(event.get("level", "info")))
        return event

    redact = Redactor(secrets)
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
        # without local variables: they may hold anything
        (
            structlog.processors.ExceptionRenderer(structlog.tracebacks.ExceptionDictTransformer(show_locals=False))
            if as_json
            else structlog.processors.format_exc_info
        ),
        count,
        redact,
    ]
    renderer: Any = (
        structlog.processors.JSONRenderer() if as_json else structlog.dev.ConsoleRenderer(colors=sys.stdout.isatty())
    )
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        library = logging.getLogger(name)
        library.handlers, library.propagate = [], True
    # what these say below a warning is nothing about us, and some quote headers or parameters
    for name in ("asyncio", "uvicorn.error", "urllib3", "sqlalchemy", "alembic", "httpcore", "httpx"):
        logging.getLogger(name).setLevel(logging.WARNING)
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.stdlib.PositionalArgumentsFormatter(),
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
