"""Studies, and the ledger of everything that was ever tried."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "studies",
        sa.Column("study_id", sa.Text, nullable=False),
        sa.Column("created_at_us", sa.BigInteger, nullable=False),
        *(
            sa.Column(name, sa.Text, nullable=False)
            for name in (
                "status",
                "hypothesis",
                "strategy",
                "strategy_code_hash",
                "data_hash",
                "series",
                "optimizer",
            )
        ),
        sa.Column("seed", sa.BigInteger, nullable=False),
        sa.Column("n_trials", sa.BigInteger, nullable=False),
        sa.Column("spec", sa.JSON, nullable=False),
        sa.PrimaryKeyConstraint("study_id", name="pk_studies"),
        sa.CheckConstraint(
            "status IN ('running', 'stopping', 'stopped', 'finished', 'failed')", name="ck_studies_status"
        ),
    )
    op.create_index("ix_studies_created_at_us", "studies", ["created_at_us"])
    op.create_table(
        "trial_batches",
        sa.Column("position", sa.BigInteger, nullable=False, autoincrement=False),
        sa.Column("study_id", sa.Text, nullable=False),
        sa.Column("number", sa.BigInteger, nullable=False),
        *(
            sa.Column(name, sa.Text, nullable=False)
            for name in ("kind", "hypothesis", "series", "data_hash", "strategy", "setup_hash", "returns_sha256")
        ),
        sa.Column("at_us", sa.BigInteger, nullable=False),
        sa.Column("n_trials", sa.BigInteger, nullable=False),
        sa.Column("previous_hash", sa.Text, nullable=False),
        sa.Column("hash", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("position", name="pk_trial_batches"),
    )
    op.create_index("ix_trial_batches_study_id_kind_number", "trial_batches", ["study_id", "kind", "number"])
    op.create_index("ix_trial_batches_series_hypothesis", "trial_batches", ["series", "hypothesis"])
    op.create_table(
        "trials",
        sa.Column("position", sa.BigInteger, nullable=False, autoincrement=False),
        sa.Column("number", sa.BigInteger, nullable=False, autoincrement=False),
        *(sa.Column(name, sa.Text, nullable=False) for name in ("configuration", "params", "results")),
        sa.PrimaryKeyConstraint("position", "number", name="pk_trials"),
        sa.ForeignKeyConstraint(["position"], ["trial_batches.position"], name="fk_trials_position"),
        sqlite_with_rowid=False,
    )


def downgrade() -> None:
    """Drop them, and with them the count of trials."""
    for table in ("trials", "trial_batches", "studies"):
        op.drop_table(table)
