"""Runs, manifests, metrics, trades and equity."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def _run_id() -> sa.Column[str]:
    return sa.Column("run_id", sa.String(40), nullable=False)


def _belongs_to_run(table: str, *more: str) -> tuple[sa.Constraint, ...]:
    return (
        sa.PrimaryKeyConstraint("run_id", *more, name=f"pk_{table}"),
        sa.ForeignKeyConstraint(["run_id"], ["runs.run_id"], name=f"fk_{table}_run_id_runs", ondelete="CASCADE"),
    )


def upgrade() -> None:
    """Make the first tables."""
    names = (("strategy", 100), ("venue", 100), ("symbol", 100), ("timeframe", 10), ("start", 30), ("end", 30))
    hashes = (("data_hash", 64), ("strategy_code_hash", 64), ("result_hash", 64))
    op.create_table(
        "runs",
        _run_id(),
        sa.Column("created_us", sa.BigInteger, nullable=False),
        *(sa.Column(name, sa.String(length), nullable=False) for name, length in (*names, *hashes)),
        sa.PrimaryKeyConstraint("run_id", name="pk_runs"),
    )
    op.create_index("ix_runs_created_us", "runs", ["created_us"])
    op.create_index("ix_runs_strategy_symbol", "runs", ["strategy", "symbol"])
    op.create_table(
        "manifests", _run_id(), sa.Column("manifest", sa.JSON, nullable=False), *_belongs_to_run("manifests")
    )
    op.create_table(
        "metrics",
        _run_id(),
        sa.Column("name", sa.String(60), nullable=False),
        sa.Column("position", sa.Integer, nullable=False),
        sa.Column("value", sa.Double),
        sa.Column("reason", sa.String(40)),
        sa.Column("low_sample", sa.Boolean, nullable=False),
        sa.Column("extrapolated", sa.Boolean, nullable=False),
        sa.Column("note", sa.String(200), nullable=False),
        *_belongs_to_run("metrics", "name"),
    )
    op.create_index("ix_metrics_name_value", "metrics", ["name", "value"])
    numbers = ("qty", "entry_ref", "exit_ref", "entry_price", "exit_price", "entry_fee", "exit_fee")
    op.create_table(
        "trades",
        _run_id(),
        sa.Column("number", sa.Integer, nullable=False),
        *(sa.Column(name, sa.BigInteger, nullable=False) for name in ("decision_us", "entry_us", "exit_us")),
        *(sa.Column(name, sa.Integer, nullable=False) for name in ("decision_bar", "entry_bar", "exit_bar", "side")),
        *(sa.Column(name, sa.Double, nullable=False) for name in numbers),
        sa.Column("stop", sa.Double),
        sa.Column("target", sa.Double),
        sa.Column("pnl", sa.Double, nullable=False),
        sa.Column("exit_reason", sa.String(20), nullable=False),
        sa.Column("ambiguous", sa.Boolean, nullable=False),
        sa.Column("capped", sa.Boolean, nullable=False),
        *_belongs_to_run("trades", "number"),
    )
    op.create_table(
        "equity_days",
        _run_id(),
        sa.Column("time_us", sa.BigInteger, nullable=False),
        sa.Column("equity", sa.Double, nullable=False),
        *_belongs_to_run("equity_days", "time_us"),
    )
    op.create_table(
        "equity",
        _run_id(),
        sa.Column("n_bars", sa.Integer, nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("parquet", sa.LargeBinary, nullable=False),
        *_belongs_to_run("equity"),
    )


def downgrade() -> None:
    """Remove them, with everything in them."""
    for table in ("equity", "equity_days", "trades", "metrics", "manifests", "runs"):
        op.drop_table(table)
