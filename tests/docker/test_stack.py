"""The system running: research in it, what it shows, what happens when its parts fail. In the order of the file."""

from __future__ import annotations

import json
import os
import re
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from tests.docker.conftest import BACKUP_IMAGE, IMAGE, PROJECT, ROOT, Stack, docker, wait_for

SINK = f"{PROJECT}-sink"
BASE = "http://127.0.0.1:8000"


def sink(file: str) -> str:
    return docker("exec", SINK, "cat", f"/tmp/{file}", check=False)


@pytest.fixture(scope="session")
def researched(stack: Stack, real_data: Path) -> dict[str, Any]:
    """A backtest and an optimisation on recorded bars, run in `research`; what they printed."""
    bars = real_data / "binance_spot_btcusdt_1m_2023.parquet"
    (stack.folder / "data" / bars.name).write_bytes(bars.read_bytes())
    os.chown(stack.folder / "data" / bars.name, 10001, 10001)
    series = ["--venue", "binance", "--symbol", "BTCUSDT", "--timeframe", "1m"]
    run = ["run", "--rm", "research"]
    stack.compose(*run, "data", "import", f"/app/data/{bars.name}", *series)
    span = ["--from", "2023-01-01", "--to", "2023-01-31"]
    backtest = json.loads(stack.compose(*run, "backtest", "s1_trend", *series, *span, "--regime", "any", "--json"))
    study = stack.compose(
        *run, "optimize", "run", "s1_trend", *series, *span, "--trials", "50", "--optimizer", "random"
    )
    return {"backtest": backtest, "study": study}


def test_every_part_is_healthy_and_says_so_itself(stack: Stack) -> None:
    for service in ("postgres", "grodt", "proxy", "prometheus", "alertmanager", "backup"):
        for container in stack.containers(service):
            assert stack.inspect(container)["State"]["Health"]["Status"] == "healthy", service
    answer = httpx.get(f"{BASE}/health").json()
    assert answer["environment"] == "staging"
    # a machine that also builds and tests may be busy, which is a warning and no more
    assert {name for name, (check,) in answer["checks"].items() if check["status"] != "pass"} <= {"cpu"}
    assert httpx.get(f"{BASE}/metrics").status_code == 404  # for Prometheus only


def test_grafana_comes_up(stack: Stack) -> None:
    if not stack.containers("grafana"):
        pytest.skip("Grafana's image cannot be had here: no registry, and no package ships it")
    assert httpx.get("http://127.0.0.1:3000/api/health").json()["database"] == "ok"


def test_the_containers_really_are_confined(stack: Stack) -> None:
    for service in ("postgres", "grodt", "proxy", "prometheus", "alertmanager", "backup"):
        state = stack.inspect(stack.containers(service)[0])
        assert state["HostConfig"]["ReadonlyRootfs"] is True
        status = docker("exec", stack.containers(service)[0], "cat", "/proc/1/status")
        kept = {"proxy": 1 << 10}.get(service, 0)
        bounding = int(re.search(r"CapBnd:\s+(\w+)", status).group(1), 16)  # type: ignore[union-attr]  # always there
        effective = int(re.search(r"CapEff:\s+(\w+)", status).group(1), 16)  # type: ignore[union-attr]
        assert (bounding, effective) == (kept, 0), service
        assert "NoNewPrivs:\t1" in status
        assert not re.search(r"^Uid:\s+0", status, re.MULTILINE)
        found = docker("exec", stack.containers(service)[0], "sh", "-c", "echo x > /usr/x", check=False)
        assert "Read-only" in found, service


def test_no_secret_can_be_read_from_outside(stack: Stack) -> None:
    secret = (stack.folder / "secrets/database_password").read_text()
    ids = docker("ps", "-aq", "--filter", f"label=com.docker.compose.project={PROJECT}").split()
    assert secret not in docker("inspect", *ids)
    assert secret not in stack.compose("logs")
    assert secret not in docker("history", "--no-trunc", IMAGE)


def test_research_on_recorded_bars_appears_in_the_api_and_the_metrics(stack: Stack, researched: dict[str, Any]) -> None:
    runs = httpx.get(f"{BASE}/api/v1/runs").json()["runs"]
    run_id = researched["backtest"]["run_id"]
    (mine,) = [run for run in runs if run["run_id"] == run_id]
    assert mine["metrics"]["total"]["value"] == researched["backtest"]["metrics"]["total"]
    assert mine["n_trades"] > 1_000
    studies = httpx.get(f"{BASE}/api/v1/studies").json()
    assert [(s["trials_done"], s["status"]) for s in studies] == [(50, "finished")]
    assert len(httpx.get(f"{BASE}/api/v1/studies/{studies[0]['study_id']}/trials").json()["trials"]) == 50
    value = wait_for(
        lambda: stack.prometheus('max(grodt_backtest_last_metric{metric="total"})'), 60, "the metric in Prometheus"
    )[0]["value"][1]
    assert float(value) == pytest.approx(mine["metrics"]["total"]["value"], rel=1e-12)
    wait_for(lambda: stack.prometheus("max(grodt_trials_stored) == 51"), 60, "50 trials and a backtest")


def test_a_cluster_of_two_workers_finds_the_same_table(stack: Stack) -> None:
    scale = ["--scale", "ray-worker=2", "ray-head", "ray-worker"]
    stack.compose("--profile", "ray", "up", "-d", "--no-deps", "--wait", *scale)
    try:
        head = ["exec", "-T", "ray-head", "grodt"]
        stack.compose(*head, "data", "synth", "G1", "--bars", "30000", "--seed", "7")
        search = ["optimize", "run", "s1_trend", "--venue", "synthetic", "--symbol", "G1", "--regime", "any", "--json"]
        search += ["--optimizer", "random", "--trials", "40", "--seed", "1"]
        tables = [
            json.loads(stack.compose(*head, *search, *where))["table"]
            for where in (["--compute", "ray", "--ray-address", "ray-head:6379"], ["--compute", "local"])
        ]
        assert len(tables[0]) == 40
        assert tables[0] == tables[1]
    finally:
        stack.compose("--profile", "ray", "rm", "--stop", "--force", "ray-worker", "ray-head")


def test_prometheus_reaches_every_target(stack: Stack) -> None:
    def targets() -> dict[str, set[str]]:
        found: dict[str, set[str]] = {}
        for target in httpx.get("http://127.0.0.1:9090/api/v1/targets").json()["data"]["activeTargets"]:
            found.setdefault(target["labels"]["job"], set()).add(target["health"])
        return found

    expected = {job: {"up"} for job in ("grodt", "backup", "proxy", "prometheus", "alertmanager")}
    wait_for(lambda: targets() == expected, 60, "all targets up")


def expressions() -> list[str]:
    """Every PromQL expression of rules and dashboards."""
    groups = yaml.safe_load((ROOT / "configs/alerts.yml").read_text())["groups"]
    found = [rule["expr"] for group in groups for rule in group["rules"]]
    for file in (ROOT / "configs/grafana/dashboards").glob("*.json"):
        found += [t["expr"] for panel in json.loads(file.read_text())["panels"] for t in panel["targets"]]
    return found


def test_every_expression_runs_and_every_metric_in_it_is_there(stack: Stack, researched: dict[str, Any]) -> None:
    assert researched
    series = ["--venue", "binance", "--symbol", "BTCUSDT", "--timeframe", "1m", "--from", "2023-01-01"]
    # Prometheus must see a search at work: combinations that are all different keep it busy.
    search = ["optimize", "run", "s1_trend", *series, "--to", "2023-06-30", "--trials", "100000", "--batch", "64"]
    search += ["--optimizer", "random", "--space", "stop_atr=0.5:4", "--space", "reward_risk=0.5:3"]
    search += ["--cost-scale", "0", "--require", "none", "--objective", "total", "--metrics-port", "9108"]
    name = f"{PROJECT}-search"
    stack.compose("run", "-d", "--use-aliases", "--name", name, "research", *search)
    try:
        wait_for(lambda: stack.prometheus("grodt_search_best_objective"), 120, "the search in Prometheus")
        wait_for(lambda: stack.prometheus("grodt_data_regime_now"), 120, "regimes in Prometheus")
        names = set()
        for expression in expressions():
            stack.prometheus(expression)  # it runs
            names |= set(re.findall(r"\b((?:grodt|prometheus|alertmanager|process)_[a-z_]+)\b", expression))
        assert len(names) > 30
        # counters with labels are born with their first event; nothing has failed here
        unborn = {"alertmanager_notifications_failed_total"}
        missing = {n for n in names - unborn if not stack.prometheus(f'count({{__name__="{n}"}})')}
        assert missing == set()
        for file in (ROOT / "configs/grafana/dashboards").glob("*.json"):
            for panel in json.loads(file.read_text())["panels"]:
                for target in panel["targets"]:
                    # rates need two scrapes, and 95 % of nothing is nothing
                    wait_for(lambda t=target: stack.prometheus(t["expr"]), 60, f"{file.stem}: {panel['title']}")  # type: ignore[misc]
    finally:
        docker("rm", "-f", name, check=False)


def test_without_its_database_it_is_not_ready_and_recovers_without_a_restart(stack: Stack) -> None:
    replica = stack.containers("grodt")[0]
    before = stack.inspect(replica)["State"]["StartedAt"]
    stack.compose("stop", "--timeout", "10", "postgres")
    try:
        wait_for(lambda: stack.get("/health/ready")[0] == 503, 30, "not ready")
        assert stack.get("/health/live")[0] == 200
        assert "database" in stack.get("/health/ready")[1]["failing"]
        assert httpx.get(f"{BASE}/api/v1/runs", timeout=30).status_code == 503
    finally:
        stack.compose("start", "postgres")
    wait_for(lambda: stack.get("/health/ready")[0] == 200, 60, "ready again")
    assert stack.inspect(replica)["State"]["StartedAt"] == before
    assert stack.inspect(replica)["RestartCount"] == 0


def test_a_crash_loop_is_stopped_by_the_guard_and_somebody_is_told(stack: Stack) -> None:
    replica = stack.containers("grodt")[0]
    for restarts in range(1, 5):
        stack.kill_process(replica)
        wait_for(lambda n=restarts: stack.inspect(replica)["RestartCount"] >= n, 60, f"restart {restarts}")  # type: ignore[misc]
        wait_for(lambda: stack.get("/health/live")[0] == 200, 60, "alive again")
    state = wait_for(lambda: stack.get("/health/ready")[1]["failing"]["start_guard"], 30, "halted")
    assert "HALTED" in state
    count = stack.inspect(replica)["RestartCount"]
    wait_for(lambda: stack.prometheus('ALERTS{alertname="StartHalted", alertstate="firing"}'), 60, "the alert fires")
    mail = wait_for(lambda: "StartHalted" in (text := sink("mail")) and text, 60, "mail")
    assert "To: me@example.org" in mail
    hook = wait_for(lambda: "StartHalted" in (text := sink("web")) and text, 60, "webhook")
    assert any(
        alert["labels"]["severity"] == "critical" for line in hook.splitlines() for alert in json.loads(line)["alerts"]
    )
    assert stack.inspect(replica)["RestartCount"] == count  # the loop is over
    docker("exec", replica, "grodt", "resume")
    stack.compose("restart", "--timeout", "10", "grodt")
    wait_for(lambda: stack.get("/health/ready")[0] == 200, 60, "ready after resume")


STALL = """
import time
from grodtd.entrypoints.service import app, main
made = app.create_app
def create(state):
    served = made(state)
    @served.get("/stall")
    async def stall(): time.sleep(600)
    @served.get("/eat")
    def eat():
        eaten = [bytearray(50_000_000) for _ in range(100)]
        return len(eaten)
    return served
main.create_app = create
from grodtd.settings import load_settings
raise SystemExit(main.serve(load_settings().settings))
"""
ALONE = ["-d", "--network", "none", "--init", "--read-only", "--cap-drop", "ALL", "--tmpfs", "/tmp",
         "--tmpfs", "/var/cache/grodt:uid=10001,gid=10001", "--restart", "unless-stopped"]  # fmt: skip


FREEZE = """
import os, signal
for p in filter(str.isdigit, os.listdir("/proc")):
    if int(p) not in (1, os.getpid()) and "backup" in open(f"/proc/{p}/cmdline").read():
        os.kill(int(p), signal.SIGSTOP)
"""


@contextmanager
def alone(*arguments: str, image: str = IMAGE, home: str = "", command: tuple[str, ...] = ()) -> Iterator[str]:
    """A container by itself that Docker restarts."""
    name = f"{PROJECT}-alone"
    docker("rm", "-f", name, check=False)
    docker(
        "run", "--name", name, *ALONE, "--tmpfs", f"/app/data:uid=10001,gid=10001{home}", *arguments, image, *command
    )
    try:
        yield name
    finally:
        docker("rm", "-f", name, check=False)


def ask(container: str, path: str) -> str:
    program = f"import urllib.request as u; print(u.urlopen('http://127.0.0.1:8000{path}', timeout=3).read().decode())"
    return docker("exec", container, "python", "-c", program)


def open_url(container: str, path: str) -> None:
    """Ask for what will not be answered."""
    program = f"import urllib.request as u; u.urlopen('http://127.0.0.1:8000{path}')"
    docker("exec", container, "python", "-c", program, check=False)


def restarts(container: str) -> int:
    return int(docker("inspect", "-f", "{{.RestartCount}}", container))


def test_a_stalled_event_loop_is_restarted(stack: Stack) -> None:
    assert stack
    quick = ("-e", "GRODT_WATCHDOG__STALE_AFTER_S=2", "--entrypoint", "python")
    with alone(*quick, command=("-c", STALL)) as name:
        wait_for(lambda: ask(name, "/health/live"), 30, "alive")
        threading.Thread(target=lambda: open_url(name, "/stall"), daemon=True).start()
        wait_for(lambda: restarts(name) == 1, 30, "restarted")
        wait_for(lambda: ask(name, "/health/live"), 30, "alive again")
        log = docker("logs", name, check=False)
        assert "the event loop has stood still" in log


def test_one_that_eats_its_memory_is_restarted(stack: Stack) -> None:
    assert stack
    with alone("--memory", "400m", "--memory-swap", "400m", "--entrypoint", "python", command=("-c", STALL)) as name:
        wait_for(lambda: ask(name, "/health/live"), 30, "alive")
        open_url(name, "/eat")
        wait_for(lambda: restarts(name) >= 1, 60, "restarted")
        wait_for(lambda: ask(name, "/health/live"), 30, "alive again")
        log = docker("logs", name, check=False)
        assert log.count("serving") >= 2


def test_a_full_disk_is_reported(stack: Stack) -> None:
    assert stack
    with alone("-e", "GRODT_HEALTH__MIN_FREE_DISK_MB=5", home=",size=20m") as name:
        wait_for(lambda: ask(name, "/health/ready"), 30, "ready")
        docker("exec", name, "sh", "-c", "head -c 25m /dev/zero > /app/data/full", check=False)
        found = wait_for(
            lambda: "503" in (t := docker("exec", name, "python", "-m", "grodtd.health", "--ready", check=False)) and t,
            30,
            "503",
        )
        assert "/health/ready answers 503" in found
        assert "pass" in ask(name, "/health/live")
        docker("exec", name, "rm", "/app/data/full")
        wait_for(lambda: ask(name, "/health/ready"), 30, "ready again")


def test_a_frozen_heartbeat_is_unhealthy(stack: Stack) -> None:
    assert stack
    beat = ["python", "-m", "grodtd.health", "--heartbeat", "/app/data/run/backup.heartbeat", "--max-age", "4"]
    health = ("--health-interval", "1s", "--health-retries", "2", "--health-cmd", " ".join(beat))
    with alone(*health, image=BACKUP_IMAGE, command=("backup", "serve")) as name:
        state = ["inspect", "-f", "{{.State.Health.Status}}", name]
        wait_for(lambda: docker(*state).strip() == "healthy", 40, "healthy")
        docker("exec", name, "python", "-c", FREEZE)
        wait_for(lambda: docker(*state).strip() == "unhealthy", 40, "unhealthy")


@contextmanager
def outside() -> Iterator[str]:
    """A machine of its own beyond the host, without a way back to containers' private addresses."""
    commands = [
        "ip netns add grodt-outside",
        "ip link add grodt-out type veth peer name eth0 netns grodt-outside",
        "ip addr add 198.18.0.1/30 dev grodt-out",
        "ip link set grodt-out up",
        "ip -n grodt-outside addr add 198.18.0.2/30 dev eth0",
        "ip -n grodt-outside link set eth0 up",
    ]
    subprocess.run(["ip", "netns", "del", "grodt-outside"], capture_output=True, check=False)
    for command in commands:
        subprocess.run(command.split(), check=True)
    serve = ["python3", "-m", "http.server", "8080", "--bind", "198.18.0.2", "--directory", str(ROOT / "docs")]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    server = subprocess.Popen(["ip", "netns", "exec", "grodt-outside", *serve], **quiet)
    try:
        wait_for(lambda: httpx.get("http://198.18.0.2:8080/").status_code == 200, 10, "the outside answers the host")
        yield "198.18.0.2"
    finally:
        server.kill()
        server.wait()
        subprocess.run(["ip", "netns", "del", "grodt-outside"], check=False)


def test_who_must_not_reach_something_cannot(stack: Stack) -> None:
    def reaches(service: str, host: str, port: int) -> bool:
        if service in ("grodt", "backup"):
            command = ["python", "-c", f"import socket; socket.create_connection(('{host}', {port}), 3)"]
        else:
            command = ["timeout", "3", "wget", "-q", "-O", "-", f"http://{host}:{port}/"]
        inside = ["docker", "exec", stack.containers(service)[0], *command]
        found = subprocess.run(inside, capture_output=True, check=False)
        return found.returncode == 0 or b"HTTP/1" in found.stderr

    with outside() as there:
        assert reaches("grodt", "postgres", 5432)
        assert not reaches("proxy", "postgres", 5432)
        assert not reaches("prometheus", "postgres", 5432)
        assert not reaches("alertmanager", "postgres", 5432)
        assert reaches("alertmanager", there, 8080)  # the only way out
        for service in ("grodt", "backup", "proxy", "prometheus", "postgres"):
            assert not reaches(service, there, 8080), service


def test_requests_spread_over_replicas_and_a_roll_over_loses_none(stack: Stack) -> None:
    stack.compose("up", "-d", "--no-recreate", "--wait", "--scale", "grodt=3", "grodt", "proxy")
    replicas = set(stack.containers("grodt"))
    assert len(replicas) == 3
    time.sleep(2)  # the proxy looks names up each second
    for _ in range(90):
        assert httpx.get(f"{BASE}/api/v1/metrics").status_code == 200

    def served(replica: str) -> float:
        line = re.search(
            r'grodt_http_requests_total\{method="GET",route="/api/v1/metrics",status="200"\} (\S+)',
            stack.get("/metrics", replica)[1],
        )
        return float(line.group(1)) if line else 0.0

    counts = [served(replica) for replica in replicas]
    assert min(counts) >= 10, counts

    docker("tag", IMAGE, "grodt:next")
    script = stack.folder / "load.js"
    script.write_text(
        "import http from 'k6/http';\n"
        "export const options = { vus: 4, duration: '45s', noConnectionReuse: false };\n"
        f"export default function () {{ http.get('{BASE}/api/v1/runs'); http.get('{BASE}/health/live'); }}\n"
    )
    k6 = ROOT / ".tools" / "bin" / "k6"
    summary = stack.folder / "summary.json"
    load = subprocess.Popen([k6, "run", "--quiet", "--no-usage-report", "--summary-export", str(summary), str(script)],
                            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)  # fmt: skip
    time.sleep(3)
    subprocess.run([ROOT / "scripts" / "roll-over.sh", "grodt:next"], cwd=stack.folder, check=True,
                   env={**stack.variables, "ROLL_OVER_IMAGE_IS_LOCAL": "1"})  # fmt: skip
    assert load.poll() is None, "the load ended before the roll-over did"
    load.communicate(timeout=90)
    found = json.loads(summary.read_text())["metrics"]
    requests, failed = found["http_reqs"]["count"], found["http_req_failed"]["passes"]
    print(f"roll-over: {failed} of {requests} requests lost")
    assert requests > 200
    assert failed == 0
    assert len(stack.containers("grodt")) == 3
    assert not replicas & set(stack.containers("grodt"))


def test_a_lost_volume_comes_back_from_the_backup(stack: Stack, researched: dict[str, Any]) -> None:
    assert researched
    backup = ["run", "--rm", "backup", "backup"]
    made = json.loads(stack.compose(*backup, "create", "--json"))
    proven = json.loads(stack.compose(*backup, "verify", made["name"], "--json"))
    assert proven["verified_at"]
    assert proven["tables"]["trials"]["rows"] >= 51
    before = httpx.get(f"{BASE}/api/v1/runs").json()
    stack.compose("stop", "--timeout", "10", "grodt", "backup")
    stack.compose("rm", "-sf", "postgres")
    docker("volume", "rm", f"{PROJECT}_postgres-data")
    stack.compose("up", "-d", "--wait", "postgres")
    restored = json.loads(stack.compose(*backup, "restore", made["name"], "--replace", "--json"))
    assert restored["done"] is True
    stack.compose("up", "-d", "--wait", "--scale", "grodt=1", "grodt", "proxy", "backup")
    after = wait_for(lambda: (a := httpx.get(f"{BASE}/api/v1/runs").json()) == before and a, 30, "the same runs")
    assert after == before
    again = json.loads(stack.compose(*backup, "create", "--json"))
    assert again["tables"] == made["tables"]
    folder = stack.folder / "data" / "backups" / made["name"]
    dumped = folder / "database.pgdump"
    whole = dumped.read_bytes()
    dumped.write_bytes(whole[:-100] + b"x" + whole[-99:])
    refused = stack.compose(*backup, "restore", made["name"], "--replace", check=False)
    assert "is damaged: database.pgdump has changed" in refused
    assert datetime.fromisoformat(proven["verified_at"])
