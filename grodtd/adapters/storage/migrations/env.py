"""Alembic runs this file: apply revisions on the connection, and in the transaction, that the caller opened."""

from __future__ import annotations

from alembic import context

from grodtd.adapters.storage.schema import METADATA

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=METADATA,
    transactional_ddl=True,
)
context.run_migrations()
