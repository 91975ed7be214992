"""Studies, and the ledger of everything that was ever tried."""

from __future__ import annotations

from alembic import op

from grodtd.adapters.storage.schema import STUDIES, TRIAL_BATCHES, TRIALS

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Make the tables."""
    for table in (STUDIES, TRIAL_BATCHES, TRIALS):
        table.create(op.get_bind())


def downgrade() -> None:
    """Drop them, and with them the count of trials."""
    for table in (TRIALS, TRIAL_BATCHES, STUDIES):
        table.drop(op.get_bind())
