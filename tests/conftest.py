"""What every test may ask for."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings
from sqlalchemy import create_engine, make_url, text

# The same examples every time, so that a red run is red for what was changed. `pytest --hypothesis-profile=nightly
# tests/properties` looks further, elsewhere each time; what it finds becomes a plain test.
settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.register_profile("nightly", derandomize=False, deadline=None, max_examples=2_000, print_blob=True)
settings.load_profile("repeatable")

ROOT = Path(__file__).resolve().parent.parent
# Every test carries the marker of its folder: `pytest -m unit`, `make test MARKS="unit or oracle"`.
MARKER_OF = {
    "architecture": "architecture",
    "contracts": "contract",
    "docker": "docker",
    "integration": "integration",
    "oracle": "oracle",
    "parity": "parity",
    "pipeline": "pipeline",
    "planted": "planted",
    "properties": "property",
    "security": "security",
    "unit": "unit",
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark each test by its folder; an unknown folder is an error, so that none is left out of a selection."""
    for item in items:
        folder = item.path.relative_to(ROOT / "tests").parts[0]
        item.add_marker(MARKER_OF[folder])


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of recorded market data; skips where there is none, fails where it is required."""
    folder = Path(os.environ.get("GRODT_REAL_DATA") or ROOT.parent / "shared" / "data")
    if not folder.is_dir():
        message = f"no recorded market data at {folder}; set GRODT_REAL_DATA to a folder that has it"
        if os.environ.get("GRODT_REQUIRE_REAL_DATA") == "1":
            pytest.fail(message)
        pytest.skip(message)
    return folder


# Read before any test takes variables away.
POSTGRES_URL = os.environ.get("GRODT_TEST_POSTGRES_URL")
REQUIRES_POSTGRES = os.environ.get("GRODT_REQUIRE_POSTGRES") == "1"


@pytest.fixture(scope="session")
def postgres_server() -> str:
    """URL of a PostgreSQL server that is there for tests; skips where there is none, fails where it is required."""
    if not POSTGRES_URL:
        message = "no PostgreSQL: set GRODT_TEST_POSTGRES_URL (scripts/postgres-for-tests.sh start prints one)"
        if REQUIRES_POSTGRES:
            pytest.fail(message)
        pytest.skip(message)
    return POSTGRES_URL


@pytest.fixture
def postgres_database(postgres_server: str) -> Iterator[str]:
    """URL of an empty PostgreSQL database of the test's own."""
    name = f"grodt_test_{os.getpid()}"
    admin = create_engine(make_url(postgres_server).set(drivername="postgresql+psycopg"), isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)"))
        connection.execute(text(f"CREATE DATABASE {name}"))
    yield make_url(postgres_server).set(database=name).render_as_string(hide_password=False)
    with admin.connect() as connection:
        connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
    admin.dispose()
