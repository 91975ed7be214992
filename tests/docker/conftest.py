"""The stack on a real engine: one deployment folder, made as a user would make it, for all tests of this folder."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from typer.testing import CliRunner

from grodtd.entrypoints.cli.main import app

ROOT = Path(__file__).parents[2]
PROJECT = "grodt-test"
IMAGE, BACKUP_IMAGE, RESEARCH_IMAGE = "grodt:dev", "grodt-backup:dev", "grodt-research:dev"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave these tests to `make test-docker`, which builds the images they are about."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.docker)
            if os.environ.get("GRODT_TEST_DOCKER") != "1":
                item.add_marker(pytest.mark.skip(reason="needs a Docker engine and images: `make test-docker`"))


def docker(*arguments: str, check: bool = True, **more: Any) -> str:
    """Run docker and return what it printed."""
    found = subprocess.run(["docker", *arguments], capture_output=True, text=True, check=False, **more)
    assert not check or found.returncode == 0, f"docker {' '.join(arguments)}\n{found.stdout}\n{found.stderr}"
    return found.stdout + ("" if check else found.stderr)


def wait_for(condition: Callable[[], Any], within_s: float, what: str) -> Any:
    """Return the first truthy value of `condition`; errors on the way mean not yet."""
    end, last = time.monotonic() + within_s, None
    while time.monotonic() < end:
        try:
            if value := condition():
                return value
        except (OSError, httpx.HTTPError, AssertionError, KeyError, IndexError, ValueError) as error:
            last = error
        time.sleep(0.25)
    raise AssertionError(f"not within {within_s:g} s: {what}; last error: {last}")


class Stack:
    """A deployment of the compose file."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        kept = {name: value for name, value in os.environ.items() if not name.startswith("GRODT_")}
        standins = {k: v for k, v in os.environ.items() if k.startswith("GRODT_") and k.endswith("_IMAGE")}
        self.variables = {**kept, **standins, "COMPOSE_PROJECT_NAME": PROJECT}

    def compose(self, *arguments: str, check: bool = True, **variables: str) -> str:
        """Run docker compose in the folder."""
        environment = {**self.variables, **variables}
        return docker("compose", *arguments, check=check, cwd=self.folder, env=environment)

    def config(self) -> dict[str, Any]:
        """Return the compose file as docker sees it."""
        return dict(json.loads(self.compose("--profile", "*", "config", "--format", "json")))

    def containers(self, service: str) -> list[str]:
        """Return the ids of a service's running containers."""
        return self.compose("ps", "-q", service).split()

    def inspect(self, container: str) -> dict[str, Any]:
        """Return what docker knows of a container."""
        return dict(json.loads(docker("inspect", container))[0])

    def get(self, path: str, container: str | None = None) -> tuple[int, Any]:
        """Ask a replica from inside itself: status and JSON."""
        program = (
            "import sys, urllib.request, urllib.error\n"
            "try: a = urllib.request.urlopen('http://127.0.0.1:8000' + sys.argv[1], timeout=5); s = a.status\n"
            "except urllib.error.HTTPError as e: a, s = e, e.code\n"
            "print(s); print(a.read().decode())"
        )
        container = container or self.containers("grodt")[0]
        status, _, body = docker("exec", container, "python", "-c", program, path).partition("\n")
        return int(status), json.loads(body) if body.startswith(("{", "[")) else body

    def prometheus(self, query: str) -> list[dict[str, Any]]:
        """Return the series of a query."""
        answer = httpx.get("http://127.0.0.1:9090/api/v1/query", params={"query": query}, timeout=10).json()
        assert answer["status"] == "success", answer
        return list(answer["data"]["result"])

    def kill_process(self, container: str) -> None:
        """Kill the program of a container from inside, as a crash would: `docker kill` would count as a wish."""
        program = (
            "import os, signal\n"
            "for p in filter(str.isdigit, os.listdir('/proc')):\n"
            "    line = open(f'/proc/{p}/cmdline').read()\n"
            "    if int(p) != 1 and 'grodt' in line and int(p) != os.getpid(): os.kill(int(p), signal.SIGKILL)\n"
        )
        docker("exec", container, "python", "-c", program, check=False)


def deployment(folder: Path, environment: str) -> Path:
    """Make a deployment folder as the documentation says."""
    for file in ROOT.glob("docker-compose*.yml"):
        shutil.copy(file, folder)
    shutil.copytree(ROOT / "configs", folder / "configs")
    images = [] if environment == "development" else _digests()
    alerts = ["--smtp", "sink:2525", "--email-from", "grodt@example.org", "--email-to", "me@example.org"]
    made = CliRunner().invoke(app, ["init", str(folder), "-e", environment, *images, *alerts])
    assert made.exit_code == 0, made.output
    return folder


def _digests() -> list[str]:
    fake = "grodt@sha256:" + "0" * 64  # replaced below by local tags: nothing was pushed anywhere
    return ["--image", fake, "--backup-image", fake, "--research-image", fake]


@pytest.fixture(scope="session")
def real_images() -> dict[str, str]:
    """What the tests run; local tags stand where a release has digests."""
    return {"GRODT_IMAGE": IMAGE, "GRODT_BACKUP_IMAGE": BACKUP_IMAGE, "GRODT_RESEARCH_IMAGE": RESEARCH_IMAGE}


SINK = """
import asyncio, http.server, threading
class Web(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        open("/tmp/web", "ab").write(body + b"\\n")
        self.send_response(200); self.end_headers()
    def log_message(self, *a): pass
threading.Thread(target=http.server.ThreadingHTTPServer(("", 8080), Web).serve_forever, daemon=True).start()
async def smtp(reader, writer):
    async def say(t): writer.write(t.encode() + b"\\r\\n"); await writer.drain()
    await say("220 sink")
    while line := (await reader.readline()).decode().strip():
        if line.upper().startswith("EHLO"): await say("250 sink")
        elif line.upper() == "DATA":
            await say("354 go on")
            mail = b""
            while (part := await reader.readline()) != b".\\r\\n": mail += part
            open("/tmp/mail", "ab").write(mail); await say("250 taken")
        elif line.upper() == "QUIT": await say("221 bye"); break
        else: await say("250 fine")
    writer.close()
async def main():
    async with await asyncio.start_server(smtp, "0.0.0.0", 2525) as server: await server.serve_forever()
asyncio.run(main())
"""


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory, real_images: dict[str, str]) -> Iterator[Stack]:
    """The whole system as in staging, up and healthy; Grafana only where its image can be had."""
    stack = Stack(deployment(tmp_path_factory.mktemp("stack"), "staging"))
    stack.variables |= real_images
    (stack.folder / "secrets/smtp_password").chmod(0o644)
    (stack.folder / "secrets/smtp_password").write_text("mail-password")
    _shorten_waits(stack.folder)
    stack.compose("down", "--volumes", "--remove-orphans", "--timeout", "5", check=False)
    services = ["migrate", "postgres", "grodt", "proxy", "prometheus", "alertmanager", "backup"]
    if docker("image", "inspect", stack.config()["services"]["grafana"]["image"], check=False).startswith("["):
        try:
            stack.compose("pull", "--quiet", "grafana")
            services.append("grafana")
        except AssertionError:
            pass  # reported as skipped by its own test
    try:
        stack.compose("create", "--no-recreate", "prometheus")  # makes the networks the sink joins
        sink = ["--name", f"{PROJECT}-sink", "--network", f"{PROJECT}_monitoring", "--network-alias", "sink"]
        docker("rm", "-f", f"{PROJECT}-sink", check=False)
        docker("run", "-d", *sink, "--entrypoint", "python", IMAGE, "-c", SINK)
        began = time.monotonic()
        stack.compose("up", "-d", "--wait", "--wait-timeout", "180", *services)
        print(f"\nup -d --wait: {time.monotonic() - began:.0f} s")
        yield stack
    finally:
        if os.environ.get("GRODT_KEEP_STACK") != "1":
            docker("rm", "-f", f"{PROJECT}-sink", check=False)
            stack.compose("--profile", "*", "down", "--volumes", "--remove-orphans", "--timeout", "5", check=False)


def _shorten_waits(folder: Path) -> None:
    """Change what would only make the tests wait: intervals, and a mail server without TLS that is our own sink."""
    rules = folder / "configs/prometheus.yml"
    rules.write_text(rules.read_text().replace("interval: 15s", "interval: 2s"))
    file = folder / "secrets/alertmanager.yml"
    config = yaml.safe_load(file.read_text())
    config["global"] = {"smtp_require_tls": False, "smtp_hello": "grodt"}
    config["route"]["group_wait"] = "1s"
    for receiver in config["receivers"]:
        if receiver["name"] == "critical":
            receiver["webhook_configs"] = [{"url": "http://sink:8080/"}]
    file.chmod(0o644)
    file.write_text(yaml.safe_dump(config))
