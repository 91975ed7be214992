"""The tables of the run database, as SQLAlchemy sees them. A change here needs a revision in `migrations/versions`.

Why equity is stored twice. The bar-level curve of a year of 1-minute bars has 525,600 points, is only ever read whole,
and as rows would be 30 times everything else of the run: it is one zstd-compressed parquet file in one column, with
its sha256. What one does ask a database is how runs did day by day: 365 daily marks a year are rows.
"""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Date,
    Double,
    ForeignKey,
    Index,
    LargeBinary,
    MetaData,
    SmallInteger,
    Table,
    Text,
    text,
)
from sqlalchemy.types import UserDefinedType

# All revisions, oldest first; the last is the schema below. Known here so that the check at start needs no Alembic.
REVISIONS: Final = ("0001", "0002", "0003", "0004", "0005")


class _Untyped(UserDefinedType[float]):
    """An SQLite column without a type: one declared REAL would turn -0.0 into 0.0."""

    cache_ok = True

    def get_col_spec(self, **_: Any) -> str:  # Any: SQLAlchemy's own signature
        """Return the empty column type."""
        return ""


FLOAT64: Final[Double[float]] = Double().with_variant(_Untyped(), "sqlite")

METADATA: Final = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    }
)


def _run_id() -> Column[str]:
    return Column("run_id", Text, ForeignKey("runs.run_id", ondelete="CASCADE"), primary_key=True)


RUNS: Final = Table(
    "runs",
    METADATA,
    Column("run_id", Text, primary_key=True),
    Column("created_at_us", BigInteger, nullable=False, index=True),
    Column("command", Text, nullable=False),
    Column("strategy", Text, nullable=False),
    Column("venue", Text, nullable=False),
    Column("symbol", Text, nullable=False),
    Column("timeframe", Text, nullable=False),
    Column("start_at", Text, nullable=False),
    Column("end_at", Text, nullable=False),
    Column("n_bars", BigInteger, nullable=False),
    Column("n_trades", BigInteger, nullable=False),
    Column("counters", JSON, nullable=False),
    Column("stopped_bar", BigInteger),
    Column("stopped_reason", Text),
    Column("scenarios", JSON, nullable=False, server_default=text("'{}'")),
)

MANIFESTS: Final = Table("manifests", METADATA, _run_id(), Column("manifest", JSON, nullable=False))

METRICS: Final = Table(
    "metrics",
    METADATA,
    _run_id(),
    Column("name", Text, primary_key=True),
    Column("position", SmallInteger, nullable=False),
    Column("value", FLOAT64),
    Column("reason", Text),
    Column("low_sample", Boolean, nullable=False),
    Column("extrapolated", Boolean, nullable=False),
    Column("note", Text, nullable=False),
    CheckConstraint("(value IS NULL) <> (reason IS NULL)", name="value_or_reason"),
    Index(None, "name", "value"),
    sqlite_with_rowid=False,
)

TRADES: Final = Table(
    "trades",
    METADATA,
    _run_id(),
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("decision_bar", BigInteger, nullable=False),
    Column("entry_bar", BigInteger, nullable=False),
    Column("exit_bar", BigInteger, nullable=False),
    Column("decided_at_us", BigInteger, nullable=False),
    Column("entry_bar_at_us", BigInteger, nullable=False),
    Column("exit_bar_at_us", BigInteger, nullable=False),
    Column("side", SmallInteger, nullable=False),
    Column("qty", FLOAT64, nullable=False),
    Column("entry_ref", FLOAT64, nullable=False),
    Column("exit_ref", FLOAT64, nullable=False),
    Column("entry_price", FLOAT64, nullable=False),
    Column("exit_price", FLOAT64, nullable=False),
    Column("entry_fee", FLOAT64, nullable=False),
    Column("exit_fee", FLOAT64, nullable=False),
    Column("stop", FLOAT64),
    Column("target", FLOAT64),
    Column("exit_reason", Text, nullable=False),
    Column("ambiguous", Boolean, nullable=False),
    Column("capped", Boolean, nullable=False),
    Column("funding", FLOAT64, nullable=False, server_default=text("0")),
    Column("borrow", FLOAT64, nullable=False, server_default=text("0")),
    sqlite_with_rowid=False,
)

EQUITY_CURVES: Final = Table(
    "equity_curves",
    METADATA,
    _run_id(),
    Column("sha256", Text, nullable=False),
    Column("parquet", LargeBinary, nullable=False),
)

EQUITY_DAYS: Final = Table(
    "equity_days",
    METADATA,
    _run_id(),
    Column("day", Date, primary_key=True),
    Column("equity", FLOAT64, nullable=False),
    sqlite_with_rowid=False,
)

STUDIES: Final = Table(
    "studies",
    METADATA,
    Column("study_id", Text, primary_key=True),
    Column("created_at_us", BigInteger, nullable=False, index=True),
    Column("status", Text, nullable=False),
    Column("hypothesis", Text, nullable=False),
    Column("strategy", Text, nullable=False),
    Column("strategy_code_hash", Text, nullable=False),
    Column("data_hash", Text, nullable=False),
    Column("series", Text, nullable=False),
    Column("optimizer", Text, nullable=False),
    Column("seed", BigInteger, nullable=False),
    Column("n_trials", BigInteger, nullable=False),
    Column("spec", JSON, nullable=False),
    CheckConstraint("status IN ('running', 'stopping', 'stopped', 'finished', 'failed')", name="status"),
)

# The ledger: rows are added, never changed. Each batch holds a hash of itself and of the one before it; its rows keep
# the very text that was hashed. No foreign key to studies: what was tried stays tried when a study is deleted.
TRIAL_BATCHES: Final = Table(
    "trial_batches",
    METADATA,
    Column("position", BigInteger, primary_key=True, autoincrement=False),
    Column("study_id", Text, nullable=False),
    Column("number", BigInteger, nullable=False),
    Column("kind", Text, nullable=False),
    Column("hypothesis", Text, nullable=False),
    Column("series", Text, nullable=False),
    Column("data_hash", Text, nullable=False),
    Column("strategy", Text, nullable=False),
    Column("setup_hash", Text, nullable=False),
    Column("returns_sha256", Text, nullable=False),
    Column("at_us", BigInteger, nullable=False),
    Column("n_trials", BigInteger, nullable=False),
    Column("previous_hash", Text, nullable=False),
    Column("hash", Text, nullable=False),
    Index(None, "study_id", "kind", "number"),
    Index(None, "series", "hypothesis"),
)

TRIALS: Final = Table(
    "trials",
    METADATA,
    Column("position", BigInteger, ForeignKey("trial_batches.position"), primary_key=True, autoincrement=False),
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("configuration", Text, nullable=False),
    Column("params", Text, nullable=False),
    Column("results", Text, nullable=False),
    sqlite_with_rowid=False,
)

# What retention deleted, and by which rule. Rows are added, never changed.
RETENTION_AUDIT: Final = Table(
    "retention_audit",
    METADATA,
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("at_us", BigInteger, nullable=False),
    Column("kind", Text, nullable=False),
    Column("rule", Text, nullable=False),
    Column("n_deleted", BigInteger, nullable=False),
    Column("names", JSON, nullable=False),
)
