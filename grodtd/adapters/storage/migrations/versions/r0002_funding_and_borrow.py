"""Funding and borrow of each trade; runs stored before paid none."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from grodtd.adapters.storage.schema import FLOAT64

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add the columns; 0 for what is there."""
    for name in ("funding", "borrow"):
        op.add_column("trades", sa.Column(name, FLOAT64, nullable=False, server_default=sa.text("0")))


def downgrade() -> None:
    """Drop them again."""
    for name in ("borrow", "funding"):
        op.drop_column("trades", name)
