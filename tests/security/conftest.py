"""A small repository under the real rules, to plant faults in, and an advisory service on loopback."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from scripts.ci import security

ROOT = Path(__file__).resolve().parents[2]
TOOLS = ROOT / ".tools" / "bin"


@pytest.fixture(scope="session")
def tools() -> Path:
    """Folder of the scanners; skips where it is absent, fails where it is required."""
    wanted = ("bandit", "cyclonedx-py", "gitleaks", "pip-audit", "pip-licenses", "semgrep", "trivy")
    missing = [name for name in wanted if not (TOOLS / name).is_file()]
    if missing:
        message = f"{', '.join(missing)} not in {TOOLS}; run `make tools`"
        if os.environ.get("GRODT_REQUIRE_TOOLS") == "1":
            pytest.fail(message)
        pytest.skip(message)
    return TOOLS


@dataclass
class Repository:
    """A git repository that no gate stops."""

    root: Path

    def git(self, *arguments: str) -> None:
        who = ["-c", "user.name=a tester", "-c", "user.email=tester@example.test", "-c", "commit.gpgsign=false"]
        subprocess.run(["git", *who, *arguments], cwd=self.root, check=True, capture_output=True)

    def write(self, path: str, text: str) -> None:
        target = self.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)

    def append(self, path: str, text: str) -> None:
        self.write(path, (self.root / path).read_text() + text)

    def commit(self) -> None:
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "--message", "change")


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    """The real rules, locks and Dockerfile around one small program."""
    made = Repository(tmp_path / "repository")
    for name in (".gitleaks.toml", ".gitignore", "Dockerfile", "pyproject.toml", "security"):
        source, target = ROOT / name, made.root / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(source, target) if source.is_dir() else shutil.copyfile(source, target)
    for lock in ROOT.glob("requirements*.lock"):
        shutil.copyfile(lock, made.root / lock.name)
    made.write("security/waivers.yaml", "waivers: []\n")
    made.write("grodtd/program.py", '"""Nothing wrong here."""\n\nBARS = 3\n')
    made.git("init", "--quiet")
    made.commit()
    return made


@dataclass
class Advisories:
    """What the service on loopback knows: package -> id of an advisory; and who was asked about."""

    url: str
    known: dict[str, str] = field(default_factory=dict)
    asked: set[str] = field(default_factory=set)


@pytest.fixture
def advisories(monkeypatch: pytest.MonkeyPatch) -> Iterator[Advisories]:
    """An advisory service that speaks the OSV protocol and knows of no fault until told."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            name = json.loads(self.rfile.read(int(self.headers["content-length"])))["package"]["name"]
            service.asked.add(name)
            answer: dict[str, Any] = {}
            if name in service.known:
                affected = {
                    "package": {"name": name, "ecosystem": "PyPI"},
                    "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "9999"}]}],
                }
                answer = {"vulns": [{"id": service.known[name], "summary": "planted", "affected": [affected]}]}
            body = json.dumps(answer).encode()
            self.send_response(200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    service = Advisories(f"http://127.0.0.1:{server.server_port}/v1/query")
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    monkeypatch.setenv("GRODT_ADVISORY_URL", service.url)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    yield service
    server.shutdown()
    server.server_close()
    thread.join()


@dataclass(frozen=True)
class Answer:
    """What one run of the gates came to."""

    code: int
    printed: str
    report: dict[str, Any]

    @property
    def blocking(self) -> set[tuple[str, str]]:
        """Tool and id of everything that blocks."""
        return {
            (f["tool"], f["id"])
            for f in self.report["findings"]
            if f["severity"] in ("critical", "high") and not f["waived"]
        }

    def status(self, name: str) -> str:
        """What became of a gate."""
        (found,) = [gate["status"] for gate in self.report["gates"] if gate["name"] == name]
        return str(found)

    @property
    def failed(self) -> list[str]:
        """Gates that could not be trusted, with their reasons."""
        return [f"{g['name']}: {g['reason']}" for g in self.report["gates"] if g["status"] == "failed"]


Run = Callable[..., Answer]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Run gates on a repository."""

    def run(repository: Repository, *arguments: str, tools: Path = TOOLS) -> Answer:
        fixed = ["--root", str(repository.root), "--tools", str(tools), "--python", sys.executable]
        code = security.main(["run", *fixed, *arguments])
        report = json.loads((repository.root / "build/security/findings.json").read_text())
        return Answer(code, capsys.readouterr().out, report)

    return run
