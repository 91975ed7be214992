"""`grodt serve` as real processes on loopback, with databases that go away and come back."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import make_url

from grodtd import health
from grodtd.adapters.process.start_guard import Starts
from grodtd.adapters.process.watchdog import EXIT_STALLED
from grodtd.adapters.storage import RunStore
from grodtd.adapters.storage.trial_store import TrialStore
from grodtd.domain.errors import GrodtError
from grodtd.entrypoints.service import app
from grodtd.entrypoints.service.app import State
from grodtd.entrypoints.service.probes import Probes
from grodtd.settings import load_settings
from grodtd.workflows.data import synthesise
from grodtd.workflows.figures import regime_figures
from grodtd.workflows.health import Outcome
from grodtd.workflows.runs import default_database_url
from tests.contracts.test_run_store import finished
from tests.contracts.test_trial_store import STUDY
from tests.integration.served import AT, environment, furnish, serving, stored


def test_a_start_a_look_around_and_a_clean_end(tmp_path: Path) -> None:
    newest = stored(tmp_path, 1)[0]
    with serving(tmp_path) as served:
        served.wait("/health/ready", 200)
        assert served.get("/health/live").json() == {"status": "pass"}
        assert served.get("/health/startup").status_code == 200
        summary = served.get("/health")
        assert summary.headers["content-type"] == "application/health+json"
        assert summary.json()["status"] in ("pass", "warn")  # warn: the processors are busy
        assert set(summary.json()["checks"]) >= {
            "database",
            "migrations",
            "data",
            "disk",
            "memory",
            "cpu",
            "event_loop",
        }
        assert newest in served.get("/api/v1/runs").text
        assert health.main(["--port", str(served.port)]) == 0
        assert health.main(["--port", str(served.port), "--ready"]) == 0
        for header, value in (("x-frame-options", "DENY"), ("x-content-type-options", "nosniff")):
            assert served.get("/").headers[header] == value
        assert "GRODT" in served.get("/").text
        served.wait("/metrics", 200)
        end = time.monotonic() + 10
        while 'grodt_backtests_stored{strategy="' not in (metrics := served.get("/metrics").text):
            assert time.monotonic() < end, metrics
            time.sleep(0.1)
        assert 'grodt_health_status{check="database"} 1.0' in metrics
        assert 'route="/health/live"' in metrics
        code, log = served.stop()
    assert code == 0
    assert [line["event"] for line in log if line["event"] in ("serving", "stopping", "stopped")] == [
        "serving",
        "stopping",
        "stopped",
    ]
    assert health.main(["--port", str(served.port)]) == 1


class Pipe:
    """A way to a server that can be cut, or fall silent, and be mended."""

    def __init__(self, host: str, port: int) -> None:
        self._there = (host, port)
        self.mode = "open"
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._open: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                here, _ = self._listener.accept()
            except OSError:
                return
            if self.mode == "cut":
                here.close()
                continue
            self._open.append(here)
            if self.mode == "silent":
                continue
            there = socket.create_connection(self._there)
            self._open.append(there)
            for one, other in ((here, there), (there, here)):
                threading.Thread(target=self._copy, args=(one, other), daemon=True).start()

    @staticmethod
    def _copy(one: socket.socket, other: socket.socket) -> None:
        try:
            while data := one.recv(65_536):
                other.sendall(data)
        except OSError:
            pass
        finally:
            other.close()

    def close(self) -> None:
        self._listener.close()
        for one in self._open:
            one.close()


@pytest.fixture
def away(postgres_database: str) -> Iterator[tuple[Pipe, str]]:
    """A PostgreSQL database of its own behind a pipe."""
    RunStore(postgres_database).migrate()
    url = make_url(postgres_database)
    pipe = Pipe(str(url.host), int(url.port or 5432))
    yield pipe, url.set(host="127.0.0.1", port=pipe.port).render_as_string(hide_password=False)
    pipe.close()


@pytest.mark.postgres
@pytest.mark.parametrize("mode", ["cut", "silent"])
def test_without_its_database_it_lives_but_is_not_ready_and_recovers_by_itself(
    tmp_path: Path, away: tuple[Pipe, str], mode: str
) -> None:
    pipe, url = away
    fast = {"GRODT_HEALTH__CACHE_S": "0.1", "GRODT_HEALTH__CHECK_TIMEOUT_S": "0.5"}
    with serving(tmp_path, "--database-url", url, **fast) as served:
        served.wait("/health/ready", 200)
        pipe.mode = mode
        failing = served.wait("/health/ready", 503).json()["failing"]
        assert "database" in failing
        assert served.get("/health/live").status_code == 200
        threads = served.n_threads()
        for _ in range(20):
            assert served.get("/health/ready").status_code == 503
            time.sleep(0.1)
        assert served.n_threads() <= threads + 3
        if mode == "cut":
            answer = served.get("/api/v1/runs")
            assert answer.status_code == 503
            assert answer.headers["content-type"] == "application/problem+json"
        pipe.mode = "open"
        served.wait("/health/ready", 200)
        pid = served.process.pid
        assert served.stop()[0] == 0
        assert pid == served.process.pid


WITH_ROUTES = """
import sys, time
from fastapi.responses import StreamingResponse
from pathlib import Path
from grodtd.entrypoints.service import app, main
made = app.create_app
def create(state):
    made_app = made(state)
    @made_app.get("/stall")
    async def stall():
        time.sleep(60)
    @made_app.get("/slow")
    def slow():
        time.sleep(2)
        return "done"
    @made_app.get("/hang")
    def hang():
        time.sleep(60)
    @made_app.get("/broken")
    def broken():
        raise ZeroDivisionError("hunter2 is divided")
    @made_app.get("/torn")
    def torn():
        def half():
            yield b"one"
            raise ZeroDivisionError("torn")
        return StreamingResponse(half())
    return made_app
main.create_app = create
from grodtd.settings import load_settings
settings = load_settings().settings
port = int(sys.argv[sys.argv.index("--port") + 1])
service = settings.service.model_copy(update={"port": port})
raise SystemExit(main.serve(settings.model_copy(update={"service": service})))
"""


def test_an_event_loop_that_stands_still_ends_the_process(tmp_path: Path) -> None:
    with serving(tmp_path, program=WITH_ROUTES, GRODT_WATCHDOG__STALE_AFTER_S="1") as served:
        served.wait("/health/ready", 200)
        with pytest.raises(httpx.TransportError):
            served.client.get("/stall", timeout=15)
        assert served.process.wait(timeout=15) == EXIT_STALLED


def test_a_process_that_was_stopped_from_outside_goes_on(tmp_path: Path) -> None:
    with serving(tmp_path, GRODT_WATCHDOG__STALE_AFTER_S="1") as served:
        served.wait("/health/ready", 200)
        served.process.send_signal(signal.SIGSTOP)
        time.sleep(2.5)
        served.process.send_signal(signal.SIGCONT)
        time.sleep(1.5)
        served.wait("/health/ready", 200)
        assert served.stop()[0] == 0


def test_a_request_in_work_is_finished_before_the_end(tmp_path: Path) -> None:
    with serving(tmp_path, program=WITH_ROUTES) as served, ThreadPoolExecutor(1) as pool:
        served.wait("/health/ready", 200)
        answer = pool.submit(httpx.get, f"http://127.0.0.1:{served.port}/slow", timeout=20)
        time.sleep(0.5)
        code, _ = served.stop()
        assert answer.result().json() == "done"
        assert code == 0


def test_a_request_that_hangs_does_not_hold_up_the_end(tmp_path: Path) -> None:
    with serving(tmp_path, program=WITH_ROUTES, GRODT_SERVICE__DRAIN_S="1") as served, ThreadPoolExecutor(1) as pool:
        served.wait("/health/ready", 200)
        answer = pool.submit(httpx.get, f"http://127.0.0.1:{served.port}/hang", timeout=20)
        time.sleep(0.5)
        began = time.monotonic()
        code, log = served.stop()
        assert time.monotonic() - began < 5
        assert answer.result().status_code == 500  # told, not left alone
    assert code == 0
    assert log[-1]["unfinished"] == 1
    record = next((tmp_path / "run").glob("starts.grodt.*.json"))
    assert json.loads(record.read_text())["starts"] == []  # the end was a clean one


def test_an_error_of_the_program_says_nothing_but_where_to_look(tmp_path: Path) -> None:
    with serving(tmp_path, program=WITH_ROUTES) as served:
        served.wait("/health/ready", 200)
        answer = served.client.get("/broken", headers={"X-Request-Id": "find-me"})
        assert answer.status_code == 500
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.headers["x-request-id"] == "find-me"
        assert answer.headers["x-frame-options"] == "DENY"
        assert "hunter2" not in answer.text
        assert "Traceback" not in answer.text
        with pytest.raises(httpx.RemoteProtocolError):  # half an answer must not look like a whole one
            served.client.get("/torn")
        assert 'route="/broken",status="500"} 1.0' in served.get("/metrics").text
        _, log = served.stop()
    failed = [line for line in log if line["event"] == "a request failed" and line["path"] == "/broken"]
    assert [(line["request_id"], line["level"]) for line in failed] == [("find-me", "error")]
    assert failed[0]["exception"][0]["exc_type"] == "ZeroDivisionError"


def test_a_crash_loop_ends_halted_until_somebody_resumes(tmp_path: Path) -> None:
    for _ in range(4):
        with serving(tmp_path) as served:
            served.wait("/health/live", 200)
            served.process.kill()
            assert served.process.wait() == -signal.SIGKILL
    with serving(tmp_path) as served:
        served.wait("/health/startup", 200)
        assert served.get("/health/live").status_code == 200
        assert "HALTED" in served.get("/health/ready").json()["failing"]["start_guard"]
        assert "grodt_start_guard_halted 1.0" in served.get("/metrics").text
        code, log = served.stop()
        assert code == 0
        assert any(line["level"] == "error" and "halted" in line["event"] for line in log)
    resumed = subprocess.run(
        [sys.executable, "-m", "grodtd", "resume"],
        env=environment(tmp_path),
        capture_output=True,
        text=True,
        check=True,
    )
    assert "resumed starts.grodt." in resumed.stdout
    with serving(tmp_path) as served:
        served.wait("/health/ready", 200)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A home folder on a disk of 4 MB."""
    if os.geteuid() != 0:
        pytest.skip("mounting a small disk needs root")
    disk = tmp_path / "disk"
    disk.mkdir()
    found = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(disk)], capture_output=True, text=True, check=False
    )
    if found.returncode:
        pytest.skip(f"no disk can be mounted here: {found.stderr.strip()}")
    yield disk
    subprocess.run(["umount", "--lazy", str(disk)], check=True)


def test_a_full_disk_is_said_and_stops_nothing(small_disk: Path, tmp_path: Path) -> None:
    filler = small_disk / "filler"
    with filler.open("wb", buffering=0) as handle:
        while os.statvfs(small_disk).f_bavail:
            handle.write(bytes(4_096))
    settings = {"GRODT_HEALTH__MIN_FREE_DISK_MB": "1", "GRODT_HEALTH__CACHE_S": "0.1"}
    database = f"sqlite:///{tmp_path / 'elsewhere.db'}"
    with serving(small_disk, "--database-url", database, **settings) as served:
        failing = served.wait("/health/ready", 503).json()["failing"]
        assert list(failing) == ["disk"]
        assert "MB free" in failing["disk"]
        assert served.get("/health/live").status_code == 200
        guard = served.get("/health").json()["checks"]["start_guard"][0]
        assert guard["status"] == "warn"
        assert "restarts are not counted" in guard["output"]
        filler.unlink()
        served.wait("/health/ready", 200)
        assert served.stop()[0] == 0


def test_a_disk_that_cannot_be_written_stops_nothing(small_disk: Path, tmp_path: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    settings = {"GRODT_HEALTH__MIN_FREE_DISK_MB": "1"}
    database = f"sqlite:///{tmp_path / 'elsewhere.db'}"
    with serving(small_disk, "--database-url", database, **settings) as served:
        served.wait("/health/ready", 200)
        guard = served.get("/health").json()["checks"]["start_guard"][0]
        assert guard["status"] == "warn"
        assert "Read-only file system" in guard["output"]
        assert served.stop()[0] == 0


def test_a_port_in_use_is_an_error_not_a_crash_loop(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        found = subprocess.run(
            [sys.executable, "-m", "grodtd", "serve", "--port", str(taken.getsockname()[1])],
            env=environment(tmp_path),
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
    assert found.returncode != 0
    assert "address already in use" in found.stdout.lower() + found.stderr.lower()


def test_many_probes_are_one_check() -> None:
    asked = 0

    def check() -> Outcome:
        nonlocal asked
        asked += 1
        time.sleep(0.05)
        return Outcome("pass", "")

    async def probe() -> None:
        probes = Probes({"one": check}, timeout_s=1, cache_s=10)
        results = await asyncio.gather(*(probes.results() for _ in range(1_000)))
        assert all(found["one"].status == "pass" for found in results)

    asyncio.run(probe())
    assert asked == 1


def test_a_check_that_raises_or_hangs_fails_and_is_not_started_twice() -> None:
    release = threading.Event()
    started = 0

    def hang() -> Outcome:
        nonlocal started
        started += 1
        release.wait(20)
        return Outcome("pass", "")

    def broken() -> Outcome:
        raise ZeroDivisionError("oh")

    async def probe() -> None:
        probes = Probes({"hang": hang, "broken": broken}, timeout_s=0.1, cache_s=0)
        for _ in range(5):
            found = await probes.results()
            assert found["hang"].status == "fail"
            assert "ZeroDivisionError" in found["broken"].text
        release.set()
        await asyncio.sleep(0.2)
        assert (await probes.results())["hang"].status == "pass"

    asyncio.run(probe())
    assert started == 2


def test_a_check_for_which_there_is_no_thread_fails_and_recovers(monkeypatch: pytest.MonkeyPatch) -> None:
    async def probe() -> None:
        probes = Probes({"one": lambda: Outcome("pass", "")}, timeout_s=1, cache_s=0)
        with monkeypatch.context() as without:
            without.setattr(threading.Thread, "start", no_thread)
            assert "can't start new thread" in (await probes.results())["one"].text
        assert (await probes.results())["one"].status == "pass"

    def no_thread(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    asyncio.run(probe())


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[httpx.Client, Path]]:
    """One service for all that only reads."""
    home = tmp_path_factory.mktemp("home")
    furnish(home)
    with serving(home) as served:
        served.wait("/health/ready", 200)
        yield served.client, home


def test_pages_walk_every_run_once_while_new_ones_come(client: tuple[httpx.Client, Path]) -> None:
    http, home = client
    there = [run["run_id"] for run in http.get("/api/v1/runs", params={"limit": 500}).json()["runs"]]
    seen: list[str] = []
    before: dict[str, str] = {}
    manifest, result = finished()
    for i in range(100):
        page = http.get("/api/v1/runs", params={"limit": 2, **before}).json()
        seen += [run["run_id"] for run in page["runs"]]
        RunStore(default_database_url(home)).save(manifest, {}, result, created_at=AT + timedelta(hours=1, minutes=i))
        if page["next"] is None:
            break
        before = {"before": page["next"]}
    assert seen == there


def fits(schema: dict[str, Any], path: str, answer: httpx.Response) -> None:
    """Assert that an answer is one the published schema promises for a path."""
    promised = schema["paths"][path]["get"]["responses"]
    expected = promised.get(str(answer.status_code)) or promised["default"]
    content = expected["content"][answer.headers["content-type"].partition(";")[0]]["schema"]
    if answer.headers["content-type"].startswith("text/plain"):
        assert content == {"type": "string"}
    else:
        jsonschema.validate(answer.json(), {**content, "components": schema["components"]})


def closed(schema: dict[str, Any]) -> dict[str, Any]:
    """Return the schema with no other properties allowed than those it names."""
    for model in schema["components"]["schemas"].values():
        model["additionalProperties"] = False
    return schema


def test_every_answer_fits_the_published_schema(client: tuple[httpx.Client, Path]) -> None:
    http, _ = client
    schema = closed(http.get("/openapi.json").json())
    run_id = http.get("/api/v1/runs").json()["runs"][0]["run_id"]
    fill_in = {"{run_id}": run_id, "{study_id}": "s-1"}
    checked = 0
    for path in schema["paths"]:
        url = path
        for placeholder, value in fill_in.items():
            url = url.replace(placeholder, value)
        answer = http.get(url)
        assert answer.status_code == 200, answer.text
        fits(schema, path, answer)
        if path.startswith("/api/"):
            fits(schema, path, http.post(url))
            if placeholders := path.count("{"):
                missing = http.get(path.replace("{run_id}", "none").replace("{study_id}", "none"))
                assert missing.status_code == 404
                fits(schema, path, missing)
                assert placeholders == 1
        checked += 1
    assert checked == 14
    # nothing is promised that cannot be
    assert not any("422" in found["get"]["responses"] for found in schema["paths"].values())


def test_answers_of_a_service_that_is_not_well_fit_the_published_schema(tmp_path: Path) -> None:
    with serving(tmp_path, "--database-url", "postgresql://grodt@127.0.0.1:1/grodt") as served:
        served.wait("/health/ready", 503)
        schema = closed(served.get("/openapi.json").json())
        for path in ("/health/ready", "/health", "/api/v1/runs", "/api/v1/studies"):
            answer = served.get(path)
            assert answer.status_code == 503, answer.text
            fits(schema, path, answer)


@given(
    path=st.sampled_from(
        ["/api/v1/runs/{}", "/api/v1/runs/{}/trades", "/api/v1/runs/{}/equity", "/api/v1/studies/{}/trials"]
    ),
    name=st.text(max_size=250),
    first=st.integers() | st.text(max_size=5),
)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_is_asked_for_is_answered_with_yes_or_a_problem(
    client: tuple[httpx.Client, Path], path: str, name: str, first: int | str
) -> None:
    answers = [
        client[0].get(path.format(quote(name, safe="")), params={"first": first, "limit": 1}),
        client[0].get("/api/v1/runs", params={"strategy": name, "symbol": name, "limit": first}),
        client[0].get("/api/v1/runs", params={"before": name}),
    ]
    for answer in answers:
        assert answer.status_code in (200, 400, 404), answer.text
        if answer.status_code != 200:
            assert answer.headers["content-type"] == "application/problem+json"
            assert answer.json()["detail"]


def test_trials_are_walked_once_in_order(client: tuple[httpx.Client, Path]) -> None:
    seen: list[int] = []
    first: int | None = 0
    while first is not None:
        page = client[0].get("/api/v1/studies/s-1/trials", params={"first": first, "limit": 7}).json()
        seen += [trial["number"] for trial in page["trials"]]
        first = page["next"]
    assert seen == list(range(25))
    study = client[0].get("/api/v1/studies/s-1").json()
    assert (study["trials_done"], study["best"]["number"]) == (25, 24)  # 1.5 times the number where 3 divides it


def test_every_search_can_be_reached(tmp_path: Path) -> None:
    ledger = TrialStore(default_database_url(tmp_path))
    names = [f"s-{i}" for i in range(5)]
    for i, name in enumerate(names):
        ledger.create(replace(STUDY, study_id=name, created_at_us=i))
    with serving(tmp_path) as served:
        served.wait("/health/ready", 200)
        pages = [served.get(f"/api/v1/studies?first={first}&limit=2").json() for first in (0, 2, 4)]
    assert [study["study_id"] for page in pages for study in page] == names[::-1]


def test_trades_and_equity_are_what_was_stored(client: tuple[httpx.Client, Path]) -> None:
    http, home = client
    run_id = http.get("/api/v1/runs").json()["runs"][-1]["run_id"]
    _, result = finished()
    walked: list[dict[str, Any]] = []
    first: int | None = 0
    while first is not None:
        page = http.get(f"/api/v1/runs/{run_id}/trades", params={"first": first, "limit": 2}).json()
        walked += page["trades"]
        first = page["next"]
    assert [trade["qty"] for trade in walked] == result.trades.qty.tolist()
    assert [trade["pnl"] for trade in walked] == result.trades.pnl.tolist()
    days = http.get(f"/api/v1/runs/{run_id}/equity").json()
    assert days[-1]["equity"] == RunStore(default_database_url(home)).equity(run_id, is_daily=True)["equity"][-1]


@pytest.mark.parametrize(
    ("path", "status", "word"),
    [
        ("/api/v1/runs/nothing", 404, "there is no run"),
        ("/api/v1/runs?before=nothing", 404, "there is no run"),
        ("/api/v1/runs/2026", 404, "is the beginning of several runs"),
        ("/api/v1/runs/%00", 400, "run_id"),
        ("/api/v1/runs?strategy=%00", 400, "strategy"),
        ("/api/v1/runs/2026/trades?first=1000000000000000000000", 400, "first"),
        ("/api/v1/studies/nothing", 404, "there is no study"),
        ("/api/v1/runs?limit=0", 400, "limit"),
        ("/api/v1/runs?limit=1000000", 400, "limit"),
        ("/api/v1/runs?sort_by=luck", 400, "there is no metric 'luck'"),
        ("/api/v1/runs?sort_by=total&before=x", 400, "one page"),
        ("/elsewhere", 404, "openapi"),
        ("/api/v1/runs/", 404, "openapi"),
        ("/api/v1/runs/..%2f..%2fetc", 404, ""),
    ],
)
def test_errors_say_what_to_do(client: tuple[httpx.Client, Path], path: str, status: int, word: str) -> None:
    answer = client[0].get(path)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert word in answer.json()["detail"]


def test_only_reading_is_possible(client: tuple[httpx.Client, Path]) -> None:
    http, _ = client
    for method in ("POST", "PUT", "DELETE", "PATCH"):
        answer = http.request(method, "/api/v1/runs")
        assert (answer.status_code, answer.headers["allow"]) == (405, "GET")


def test_an_undefined_metric_is_null_with_its_reason(client: tuple[httpx.Client, Path]) -> None:
    oldest = client[0].get("/api/v1/runs", params={"limit": 500}).json()["runs"][-1]
    assert oldest["metrics"]["sharpe"]["value"] is None
    assert oldest["metrics"]["sharpe"]["reason"] == "zero_variance"


def test_ids_of_requests_are_kept_when_harmless(client: tuple[httpx.Client, Path]) -> None:
    http, _ = client
    assert http.get("/health/live", headers={"X-Request-Id": "abc-123"}).headers["x-request-id"] == "abc-123"
    for harmful in ("x" * 65, "two words", '"}'):
        assert http.get("/health/live", headers={"X-Request-Id": harmful}).headers["x-request-id"] != harmful


def test_unknown_paths_do_not_add_series(client: tuple[httpx.Client, Path]) -> None:
    http, _ = client
    for i in range(20):
        http.get(f"/no/such/{i}")
    lines = [line for line in http.get("/metrics").text.splitlines() if "/no/such" in line]
    assert lines == []


def test_a_path_without_end_holds_nobody_up_and_is_cut_in_the_log(tmp_path: Path) -> None:
    with serving(tmp_path) as served:
        served.wait("/health/ready", 200)
        assert served.get("/" + "a" * 60_000).status_code == 404
        assert served.client.get("/health/live", timeout=5).status_code == 200
        _, log = served.stop()
    assert [len(line["path"]) for line in log if line.get("status") == 404] == [300]


def test_no_secret_is_in_health_metrics_or_schema(tmp_path: Path) -> None:
    (tmp_path / "database_password").write_text("hunter2hunter2")
    url = "postgresql://grodt@127.0.0.1:1/grodt"
    with serving(tmp_path, GRODT_DATABASE_URL=url, GRODT_SECRETS_DIR=str(tmp_path)) as served:
        served.wait("/health/ready", 503)
        texts = [served.get(path).text for path in ("/health", "/health/ready", "/metrics", "/openapi.json", "/")]
        texts.append(served.get("/api/v1/runs").text)
        served.stop()
        texts.append(served.output())
        assert "stopped" in texts[-1]
    assert not any("hunter2" in found for found in texts)


def test_the_probe_looks_at_heartbeats(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    beat = tmp_path / "beat"
    assert health.main(["--heartbeat", str(beat)]) == 1
    beat.touch()
    assert health.main(["--heartbeat", str(beat)]) == 0
    os.utime(beat, (time.time() - 100, time.time() - 100))
    assert health.main(["--heartbeat", str(beat), "--max-age", "30"]) == 1
    assert "100 s old, 30 are allowed" in capsys.readouterr().out
    os.utime(beat, (time.time() + 100, time.time() + 100))  # the clock went back: nobody knows how old it is
    assert health.main(["--heartbeat", str(beat), "--max-age", "30"]) == 1
    assert "lies 100 s in the future" in capsys.readouterr().out


def test_old_figures_are_not_shown_as_true(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state = state_of(tmp_path)
    monkeypatch.setattr(app, "_FIGURES_EVERY_S", 0.05)
    monkeypatch.setattr(app, "_FIGURES_KEPT_S", 0.3)
    synthesise(tmp_path, "G1", n_bars=3_000, seed=7)
    RunStore(default_database_url(tmp_path))  # makes the database

    async def lose_the_catalogue() -> None:
        work = asyncio.create_task(state.keep_stored())
        await asyncio.wait_for(until(lambda: bool(state.figures())), 30)
        monkeypatch.setattr(app, "stored_figures", lambda *_: 1 / 0)
        await asyncio.wait_for(until(lambda: not state.figures()), 30)
        work.cancel()

    asyncio.run(lose_the_catalogue())


def test_starts_of_long_ago_are_no_recent_ones(tmp_path: Path) -> None:
    state = state_of(tmp_path, starts=3, window_s="600")

    def shown() -> str:
        asyncio.run(state.outcomes())
        return re.findall(rb"^grodt_starts_recent (.*)$", state.metrics.text(), re.MULTILINE)[0].decode()

    assert shown() == "3.0"
    state.began -= 601
    # else the alert Restarting would go on for as long as the process lives
    assert shown() == "0.0"


def test_regimes_are_labelled_when_bars_come(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state = state_of(tmp_path)
    monkeypatch.setattr(app, "_FIGURES_EVERY_S", 0.05)

    async def bars_come() -> None:
        work = asyncio.create_task(state.keep_regimes())
        await asyncio.sleep(0.3)
        assert state.figures() == []
        synthesise(tmp_path, "G1", n_bars=20_000, seed=7)
        await asyncio.wait_for(until(lambda: bool(state.figures())), 90)
        work.cancel()

    asyncio.run(bars_come())
    now = [figure for figure in state.figures() if figure.name == "grodt_data_regime_now"]
    assert sum(figure.value for figure in now) <= 1  # one regime, or still warming up
    assert {figure.labels["symbol"] for figure in now} == {"G1"}


def test_regimes_are_labelled_by_ones_own_configuration(tmp_path: Path) -> None:
    synthesise(tmp_path, "G1", n_bars=3_000, seed=7)
    (tmp_path / "regime.yaml").write_text("colour: red\n")
    with pytest.raises(GrodtError, match=r"(?s)regimes cannot be labelled: .*colour"):
        regime_figures(tmp_path, tmp_path)


def state_of(home: Path, *, starts: int = 1, window_s: str = "") -> State:
    variables = {"GRODT_HOME": str(home), "GRODT_WATCHDOG__WINDOW_S": window_s}
    settings = load_settings(variables=variables).settings
    return State(settings, version="1", revision="r", starts=Starts(starts, is_halted=False), watchdog=None)


async def until(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0.02)
