"""Where finished runs live: SQLite by default, PostgreSQL by URL."""

from grodtd.adapters.storage.run_store import RunStore, RunSummary, StoredRun

__all__ = ["RunStore", "RunSummary", "StoredRun"]
