"""Alembic revisions of the run database. Imported only when a schema changes: Alembic takes 0.2 s to load."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection


def alembic_config(connection: Connection | None = None) -> Config:
    """Return the settings Alembic needs; there is no ini file, the package's folder is the script folder."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config


def upgrade(connection: Connection) -> None:
    """Bring the schema to the newest revision, inside the transaction of `connection`."""
    command.upgrade(alembic_config(connection), "head")


def downgrade(connection: Connection, revision: str) -> None:
    """Take the schema back to `revision` ("base": nothing left), inside the transaction of `connection`."""
    command.downgrade(alembic_config(connection), revision)
