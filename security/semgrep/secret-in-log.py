"""What `secret-in-log` must and must not report."""

import logging

import structlog
import typer

log = structlog.get_logger()


def bad(password, settings, api_key):
    # ruleid: secret-in-log
    log.info("connecting", password=password)
    # ruleid: secret-in-log
    log.error(f"cannot log in with {settings.broker.api_secret}")
    # ruleid: secret-in-log
    logging.warning("key %s refused", api_key)
    # ruleid: secret-in-log
    print("token", settings.telegram_bot_token[:4])
    # ruleid: secret-in-log
    typer.echo(settings.database.dsn.get_secret_value())


def good(settings, password_file):
    # ok: secret-in-log
    log.info("connecting", host=settings.host)
    # ok: secret-in-log
    log.error("the password is refused", file=str(password_file))
    # ok: secret-in-log
    print(len(settings.names), "names")
    # ok: secret-in-log
    connect(settings.password)
