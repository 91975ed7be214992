"""`grodt serve` over a PostgreSQL of its own that stops, falls silent, is locked, and comes back."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from sqlalchemy import Engine, create_engine, text

from grodtd.adapters.storage import RunStore
from grodtd.adapters.storage.database import Database, for_reading
from grodtd.domain.errors import StorageError
from tests.contracts.test_run_store import finished
from tests.integration.served import AT, free_port, serving

BIN = max(Path("/usr/lib/postgresql").glob("*/bin"), default=Path("/usr/lib/postgresql/15/bin"))
FAST = {"GRODT_HEALTH__CACHE_S": "0.1", "GRODT_HEALTH__CHECK_TIMEOUT_S": "0.5"}

pytestmark = pytest.mark.postgres


class Cluster:
    """A PostgreSQL server in a folder; every statement stands in its log."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._user = {"user": "postgres"} if os.geteuid() == 0 else {}  # the server refuses to run as root
        self._port = free_port()
        self.log = folder / "log"
        self.url = f"postgresql://postgres@127.0.0.1:{self._port}/postgres"
        self._run("initdb", "-A", "trust", "-U", "postgres", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync")

    def _run(self, program: str, *arguments: str) -> None:
        command = [BIN / program, "-D", self._folder / "data", *arguments]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd="/", **self._user)

    def start(self) -> None:
        options = f"-p {self._port} -k {self._folder} -c listen_addresses=127.0.0.1 -c fsync=off -c log_statement=all"
        self._run("pg_ctl", "-w", "-l", str(self.log), "-o", options, "start")

    def stop(self) -> None:
        self._run("pg_ctl", "-m", "immediate", "stop")

    def freeze(self, is_frozen: bool = True) -> None:
        """Stop the server's processes where they stand: the kernel still takes connections, nobody answers."""
        pid = int((self._folder / "data" / "postmaster.pid").read_text().split()[0])
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        for one in (pid, *map(int, children)):
            os.kill(one, signal.SIGSTOP if is_frozen else signal.SIGCONT)

    def n_statements(self) -> int:
        log = self.log.read_text()
        return log.count("statement:") + log.count("execute ")

    def engine(self) -> Engine:
        return create_engine(self.url.replace("postgresql:", "postgresql+psycopg:"))


@pytest.fixture(scope="module", name="server")
def _server() -> Iterator[Cluster]:
    if not (BIN / "initdb").exists():
        if os.environ.get("GRODT_REQUIRE_POSTGRES") == "1":
            pytest.fail(f"no PostgreSQL 15 in {BIN}")
        pytest.skip(f"no PostgreSQL 15 in {BIN}: apt-get install postgresql-15")
    with tempfile.TemporaryDirectory(prefix="grodt-service-") as folder:
        if os.geteuid() == 0:
            subprocess.run(["chown", "postgres", folder], check=True)
        cluster = Cluster(Path(folder))
        cluster.start()
        store = RunStore(cluster.url)
        store.migrate()
        manifest, result = finished()
        store.save(manifest, {}, result, created_at=AT)
        yield cluster
        cluster.stop()


def test_a_server_that_is_stopped_and_started_again(server: Cluster, tmp_path: Path) -> None:
    with serving(tmp_path, "--database-url", server.url, **FAST) as served:
        served.wait("/health/ready", 200)
        pid = served.process.pid
        server.stop()
        try:
            failing = served.wait("/health/ready", 503).json()["failing"]
            assert set(failing) == {"database", "migrations"}
            assert "refused" in failing["database"]
            assert served.get("/health/live").status_code == 200
            assert served.get("/health/startup").status_code == 200
            metrics = served.get("/metrics").text
            assert "grodt_ready 0.0" in metrics
            assert 'grodt_health_status{check="database"} 0.0' in metrics
            answer = served.get("/api/v1/runs")
            assert (answer.status_code, answer.headers["content-type"]) == (503, "application/problem+json")
            assert "run database" in answer.json()["detail"]
        finally:
            server.start()
        served.wait("/health/ready", 200)
        assert len(served.get("/api/v1/runs").json()["runs"]) == 1
        assert served.process.pid == pid
        code, log = served.stop()
    assert code == 0
    changes = [(e["check"], e["status"]) for e in log if e["event"] == "health changed" and e["check"] == "database"]
    assert changes == [("database", "fail"), ("database", "pass")]


def test_a_server_that_falls_silent_and_speaks_again(server: Cluster, tmp_path: Path) -> None:
    with serving(tmp_path, "--database-url", server.url, **FAST) as served:
        served.wait("/health/ready", 200)
        server.freeze()
        try:
            assert "database" in served.wait("/health/ready", 503).json()["failing"]
            threads = served.n_threads()
            for _ in range(20):
                began = time.monotonic()
                assert served.get("/health/live").status_code == 200
                assert served.get("/metrics").status_code == 200
                assert time.monotonic() - began < 0.5  # neither waits for the database
                assert served.get("/health/ready").status_code == 503
                time.sleep(0.05)
            assert served.n_threads() <= threads + 2
            assert served.get("/api/v1/runs").status_code == 503  # after its time limit, not never
        finally:
            server.freeze(False)
        served.wait("/health/ready", 200)
        assert served.stop()[0] == 0


def test_a_table_that_is_locked_is_waited_for_no_longer_than_allowed(server: Cluster, tmp_path: Path) -> None:
    engine = server.engine()
    with serving(tmp_path, "--database-url", server.url, **FAST) as served, engine.connect() as other:
        served.wait("/health/ready", 200)
        other.execute(text("LOCK TABLE alembic_version IN ACCESS EXCLUSIVE MODE"))
        served.wait("/health/ready", 503)
        waiting = text("SELECT count(*) FROM pg_locks WHERE NOT granted")
        end = time.monotonic() + 10
        time.sleep(1)
        # the server ends what waits, so sessions do not pile up
        assert int(other.execute(waiting).scalar_one()) <= 3
        other.rollback()
        assert time.monotonic() < end
        served.wait("/health/ready", 200)
    engine.dispose()


def test_a_thousand_probes_are_few_statements(server: Cluster, tmp_path: Path) -> None:
    def probe(port: int) -> list[int]:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
            return [client.get("/health/ready").status_code for _ in range(20)]

    with serving(tmp_path, "--database-url", server.url, GRODT_HEALTH__CACHE_S="600") as served:
        served.wait("/health/ready", 200)
        time.sleep(1)  # figures of the start
        before = server.n_statements()
        assert before > 0
        with ThreadPoolExecutor(50) as pool:
            statuses = [status for found in pool.map(probe, [served.port] * 50) for status in found]
        after = server.n_statements()
    assert statuses == [200] * 1_000
    # none for the probes, whose checks would be 4,000; a few rounds of figures may fall into the time
    assert after - before <= 100


def test_sessions_for_reading_cannot_write(server: Cluster) -> None:
    database = Database(for_reading(server.url, within_s=5))
    with pytest.raises(StorageError, match="read-only transaction"), database.transaction() as connection:
        connection.execute(text("DELETE FROM runs"))
    assert len(RunStore(for_reading(server.url, within_s=5)).list()) == 1


def test_sessions_for_reading_end_long_statements(server: Cluster) -> None:
    database = Database(for_reading(server.url, within_s=0.2))
    began = time.monotonic()
    with pytest.raises(StorageError, match="statement timeout"), database.transaction() as connection:
        connection.execute(text("SELECT pg_sleep(20)"))
    assert time.monotonic() - began < 5


def test_options_that_the_url_has_already_are_kept() -> None:
    url = for_reading("postgresql://u@h/d?options=-c%20search_path%3Dx&keepalives_idle=3&sslmode=require", within_s=2)
    assert "search_path" in url
    assert "default_transaction_read_only" in url
    assert "sslmode=require" in url
    assert "keepalives_idle=3" in url
    assert for_reading("sqlite:///folder/file.db", within_s=2) == "sqlite:///folder/file.db"
