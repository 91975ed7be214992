"""The result at other costs and at both ends of ambiguous bars; runs stored before have none."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Add the column; an empty object for what is there."""
    op.add_column("runs", sa.Column("scenarios", sa.JSON, nullable=False, server_default=sa.text("'{}'")))


def downgrade() -> None:
    """Drop it again."""
    op.execute("ALTER TABLE runs DROP COLUMN scenarios")
