"""Runs, manifests, metrics, trades, equity."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from grodtd.adapters.storage.schema import FLOAT64

revision = "0001"
down_revision = None


def _of_run(table: str) -> tuple[sa.Column[str], sa.ForeignKeyConstraint]:
    """Return the run_id column and its constraint: deleting a run deletes all it left behind."""
    return (
        sa.Column("run_id", sa.Text, nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["runs.run_id"], name=f"fk_{table}_run_id", ondelete="CASCADE"),
    )


def upgrade() -> None:
    """Create the first schema."""
    op.create_table(
        "runs",
        sa.Column("run_id", sa.Text, nullable=False),
        sa.Column("created_at_us", sa.BigInteger, nullable=False),
        sa.Column("command", sa.Text, nullable=False),
        sa.Column("strategy", sa.Text, nullable=False),
        sa.Column("venue", sa.Text, nullable=False),
        sa.Column("symbol", sa.Text, nullable=False),
        sa.Column("timeframe", sa.Text, nullable=False),
        sa.Column("start_at", sa.Text, nullable=False),
        sa.Column("end_at", sa.Text, nullable=False),
        sa.Column("n_bars", sa.BigInteger, nullable=False),
        sa.Column("n_trades", sa.BigInteger, nullable=False),
        sa.Column("counters", sa.JSON, nullable=False),
        sa.Column("stopped_bar", sa.BigInteger),
        sa.Column("stopped_reason", sa.Text),
        sa.PrimaryKeyConstraint("run_id", name="pk_runs"),
    )
    op.create_index("ix_runs_created_at_us", "runs", ["created_at_us"])
    op.create_table(
        "manifests",
        *_of_run("manifests"),
        sa.Column("manifest", sa.JSON, nullable=False),
        sa.PrimaryKeyConstraint("run_id", name="pk_manifests"),
    )
    op.create_table(
        "metrics",
        *_of_run("metrics"),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("position", sa.SmallInteger, nullable=False),
        sa.Column("value", FLOAT64),
        sa.Column("reason", sa.Text),
        sa.Column("low_sample", sa.Boolean, nullable=False),
        sa.Column("extrapolated", sa.Boolean, nullable=False),
        sa.Column("note", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("run_id", "name", name="pk_metrics"),
        sa.CheckConstraint("(value IS NULL) <> (reason IS NULL)", name=op.f("ck_metrics_value_or_reason")),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_metrics_name_value", "metrics", ["name", "value"])
    op.create_table(
        "trades",
        *_of_run("trades"),
        sa.Column("number", sa.BigInteger, nullable=False),
        sa.Column("decision_bar", sa.BigInteger, nullable=False),
        sa.Column("entry_bar", sa.BigInteger, nullable=False),
        sa.Column("exit_bar", sa.BigInteger, nullable=False),
        sa.Column("decided_at_us", sa.BigInteger, nullable=False),
        sa.Column("entry_bar_at_us", sa.BigInteger, nullable=False),
        sa.Column("exit_bar_at_us", sa.BigInteger, nullable=False),
        sa.Column("side", sa.SmallInteger, nullable=False),
        sa.Column("qty", FLOAT64, nullable=False),
        sa.Column("entry_ref", FLOAT64, nullable=False),
        sa.Column("exit_ref", FLOAT64, nullable=False),
        sa.Column("entry_price", FLOAT64, nullable=False),
        sa.Column("exit_price", FLOAT64, nullable=False),
        sa.Column("entry_fee", FLOAT64, nullable=False),
        sa.Column("exit_fee", FLOAT64, nullable=False),
        sa.Column("stop", FLOAT64),
        sa.Column("target", FLOAT64),
        sa.Column("exit_reason", sa.Text, nullable=False),
        sa.Column("ambiguous", sa.Boolean, nullable=False),
        sa.Column("capped", sa.Boolean, nullable=False),
        sa.PrimaryKeyConstraint("run_id", "number", name="pk_trades"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "equity_curves",
        *_of_run("equity_curves"),
        sa.Column("sha256", sa.Text, nullable=False),
        sa.Column("parquet", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("run_id", name="pk_equity_curves"),
    )
    op.create_table(
        "equity_days",
        *_of_run("equity_days"),
        sa.Column("day", sa.Date, nullable=False),
        sa.Column("equity", FLOAT64, nullable=False),
        sa.PrimaryKeyConstraint("run_id", "day", name="pk_equity_days"),
        sqlite_with_rowid=False,
    )


def downgrade() -> None:
    """Drop everything, the newest table first."""
    for table in ("equity_days", "equity_curves", "trades", "metrics", "manifests", "runs"):
        op.drop_table(table)
