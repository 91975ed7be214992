"""The tables. Times are microseconds UTC (int64), prices and money double precision: floats survive bit for bit.

The equity curve of a year of minutes has 525,600 points: as rows it would be most of the database and nobody queries
it by row, so it is one compressed, checksummed Parquet value a run; its daily marks are rows.
"""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
)

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(column_0_label)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def _run_id() -> Column[str]:
    return Column("run_id", String(40), ForeignKey("runs.run_id", ondelete="CASCADE"), primary_key=True)


runs = Table(
    "runs",
    metadata,
    Column("run_id", String(40), primary_key=True),
    Column("created_us", BigInteger, nullable=False),
    Column("strategy", String(100), nullable=False),
    Column("venue", String(100), nullable=False),
    Column("symbol", String(100), nullable=False),
    Column("timeframe", String(10), nullable=False),
    Column("start", String(30), nullable=False),
    Column("end", String(30), nullable=False),
    Column("data_hash", String(64), nullable=False),
    Column("strategy_code_hash", String(64), nullable=False),
    Column("result_hash", String(64), nullable=False),
    Index("ix_runs_created_us", "created_us"),
    Index("ix_runs_strategy_symbol", "strategy", "symbol"),
)

manifests = Table("manifests", metadata, _run_id(), Column("manifest", JSON, nullable=False))

metrics = Table(
    "metrics",
    metadata,
    _run_id(),
    Column("name", String(60), primary_key=True),
    Column("position", Integer, nullable=False),
    Column("value", Double),
    Column("reason", String(40)),
    Column("low_sample", Boolean, nullable=False),
    Column("extrapolated", Boolean, nullable=False),
    Column("note", String(200), nullable=False),
    Index("ix_metrics_name_value", "name", "value"),
)

trades = Table(
    "trades",
    metadata,
    _run_id(),
    Column("number", Integer, primary_key=True),
    Column("decision_us", BigInteger, nullable=False),
    Column("entry_us", BigInteger, nullable=False),
    Column("exit_us", BigInteger, nullable=False),
    Column("decision_bar", Integer, nullable=False),
    Column("entry_bar", Integer, nullable=False),
    Column("exit_bar", Integer, nullable=False),
    Column("side", Integer, nullable=False),
    *(
        Column(name, Double, nullable=False)
        for name in ("qty", "entry_ref", "exit_ref", "entry_price", "exit_price", "entry_fee", "exit_fee")
    ),
    Column("stop", Double),
    Column("target", Double),
    Column("pnl", Double, nullable=False),
    Column("exit_reason", String(20), nullable=False),
    Column("ambiguous", Boolean, nullable=False),
    Column("capped", Boolean, nullable=False),
)

equity_days = Table(
    "equity_days",
    metadata,
    _run_id(),
    Column("time_us", BigInteger, primary_key=True),
    Column("equity", Double, nullable=False),
)

equity = Table(
    "equity",
    metadata,
    _run_id(),
    Column("n_bars", Integer, nullable=False),
    Column("sha256", String(64), nullable=False),
    Column("parquet", LargeBinary, nullable=False),
)
