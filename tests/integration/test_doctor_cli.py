"""`grodt doctor` as a user sees it: exit codes, JSON, time, and that no secret gets out."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from grodtd.adapters.telemetry.logs import Redactor
from grodtd.entrypoints.cli.main import app
from tests.conftest import ROOT
from tests.integration.served import environment, serving, stored

STATUSES = {"ok", "warn", "fail", "skipped"}


def doctor(home: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "grodtd", "doctor", *arguments],
        env={**environment(home, **variables), "PYTHONPATH": str(ROOT)},
        cwd=home,
        capture_output=True,
        text=True,
        check=False,
    )


def test_help_has_examples_and_names_every_check() -> None:
    from grodtd.workflows.doctor import CHECKS

    text = CliRunner().invoke(app, ["doctor", "--help"], env={"COLUMNS": "200"}).stdout
    assert "grodt doctor --network --json" in text
    assert f"Checks: {', '.join(CHECKS)}." in " ".join(text.split())


def test_a_machine_that_is_well_says_so_in_seconds(tmp_path: Path) -> None:
    stored(tmp_path, 1)
    done = doctor(tmp_path, "--only", "python", "--only", "settings", "--only", "home", "--only", "database")
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert {line.split()[1] for line in lines[:-1]} == {"python", "settings", "home", "database"}
    assert lines[-1].startswith("5 ok, 0 warn, 0 fail, 0 skipped, in ")


def test_json_holds_every_check_and_the_exit_code_follows_it(tmp_path: Path) -> None:
    done = doctor(tmp_path, "--json")
    found = json.loads(done.stdout)
    assert {one["status"] for one in found["findings"]} <= STATUSES
    assert len({one["check"] for one in found["findings"]}) == 15
    assert found["ok"] is all(one["status"] != "fail" for one in found["findings"])
    assert done.returncode == (0 if found["ok"] else 1)
    assert found["seconds"] > 0
    assert all(one["mend"] for one in found["findings"] if one["status"] in ("warn", "fail"))
    (tmp_path / "grodt.db").write_bytes(b"no database" * 100)
    broken = doctor(tmp_path, "--only", "database")
    assert broken.returncode == 1
    assert broken.stdout.startswith("fail     database      run database ")
    assert " -> move the file away" in broken.stdout
    assert doctor(tmp_path, "--only", "heart").returncode == 2


def test_the_service_is_asked(tmp_path: Path) -> None:
    with serving(tmp_path) as served:
        served.wait("/health/ready", 200)
        arguments = ("--only", "service", "--only", "ports")
        well = doctor(tmp_path, *arguments, GRODT_SERVICE__PORT=str(served.port))
        assert f"127.0.0.1:{served.port} is ready" in well.stdout
        assert f"port {served.port} for grodt serve is held by grodt serve" in well.stdout
        assert well.returncode == 0
    with serving(tmp_path, GRODT_HEALTH__MIN_FREE_DISK_MB=str(10**12)) as served:
        served.wait("/health/ready", 503)
        ill = doctor(tmp_path, *arguments, GRODT_SERVICE__PORT=str(served.port))
        assert "is not ready: disk: " in ill.stdout
        assert ill.returncode == 1


PASSWORD = "planted-in-a-url"


@pytest.mark.parametrize(
    ("url", "variables"),
    [
        (f"postgresql://me:{PASSWORD}@127.0.0.1:1/x", {}),
        (f"postgresql://me:{PASSWORD}\u2100@127.0.0.1:1/x", {}),
        (f"{PASSWORD}://", {}),
        ("sqlite:///x.db", {"GRODT_DATABASE_PASSWORD": PASSWORD}),
        ("sqlite:///x.db", {"GRODT_DATABASE_URL": f"postgresql://me:{PASSWORD}@127.0.0.1:1/y"}),
    ],
)
def test_no_secret_is_ever_printed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str, variables: dict[str, str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Redactor, "text", lambda _, text: text)  # it is the second line; the first must hold alone
    for file, text in (
        ("own/database_password", "planted-in-a-file"),
        ("docker-compose.yml", ""),
        ("secrets/telegram_bot_token", "planted-for-compose"),
        ("config/settings.development.yaml", f"database_url: {json.dumps(url)}"),
    ):
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).write_text(text)
    given = {
        "GRODT_SECRETS_DIR": "own",
        "GRODT_ENDPOINTS__MARKET_DATA": '{"a": "https://u:planted-one@127.0.0.1:1/planted-two?apikey=planted-three"}',
        "GRODT_CONFIG": "config",
        **variables,
    }
    for arguments in ([], ["--json"]):
        done = CliRunner().invoke(app, ["doctor", "--network", *arguments], env=environment(tmp_path, **given))
        assert done.exit_code == 1, done.output
        assert "planted" not in done.output
        assert "database_password" in done.output
