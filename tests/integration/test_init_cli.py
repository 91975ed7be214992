"""`grodt init`: makes what is missing, keeps what is there, and never leaves a secret readable to others."""

import json
import os
import stat
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner, Result

from grodtd.domain.errors import ConfigError
from grodtd.entrypoints.cli.main import app
from grodtd.workflows import deployment_folder

DIGEST = "registry.example/grodt@sha256:" + "a" * 64


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "docker-compose.yml").write_text("services: {}\n")
    return tmp_path


def init(folder: Path, *arguments: str) -> Result:
    return CliRunner().invoke(app, ["init", str(folder), *arguments])


def mode(file: Path) -> int:
    return stat.S_IMODE(file.stat().st_mode)


def test_everything_compose_needs_is_made_once(folder: Path) -> None:
    assert init(folder).exit_code == 0
    password = (folder / "secrets/database_password").read_text()
    assert len(password) >= 32
    assert password != (folder / "secrets/grafana_admin_password").read_text()
    assert (mode(folder / "secrets"), mode(folder / ".env")) == (0o700, 0o600)
    assert "COMPOSE_FILE=docker-compose.yml:docker-compose.dev.yml" in (folder / ".env").read_text()
    assert password not in (folder / ".env").read_text()
    if os.geteuid() == 0:
        assert (folder / "data").stat().st_uid == deployment_folder.CONTAINER_USER
    again = init(folder, "--json")
    assert {step["done"] for step in json.loads(again.stdout)} == {"there already, kept"}
    assert (folder / "secrets/database_password").read_text() == password


def test_no_output_holds_a_secret(folder: Path) -> None:
    text = init(folder).stdout + init(folder, "--json").stdout
    for file in (folder / "secrets").iterdir():
        assert not file.read_text() or file.read_text() not in text


def test_one_who_is_not_root_is_told_the_command(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert f"sudo chown -R 10001 {folder / 'data'}" in init(folder).stdout


def test_production_takes_digests_only(folder: Path) -> None:
    for reference in ("", "grodt:latest", "grodt@sha256:abc"):
        found = init(folder, "-e", "production", "--image", reference).exception
        assert isinstance(found, ConfigError)
        assert "GRODT_IMAGE" in str(found)
    images = ("--image", DIGEST, "--backup-image", DIGEST, "--research-image", DIGEST)
    assert init(folder, "-e", "production", *images).exit_code == 0
    assert f"GRODT_IMAGE={DIGEST}" in (folder / ".env").read_text()


def test_a_folder_belongs_to_one_environment(folder: Path) -> None:
    init(folder)
    images = ("--image", DIGEST, "--backup-image", DIGEST, "--research-image", DIGEST)
    found = init(folder, "-e", "staging", *images).exception
    assert isinstance(found, ConfigError)
    assert "is for development, not staging" in str(found)


def test_a_wrong_folder_or_environment_is_refused(tmp_path: Path, folder: Path) -> None:
    assert "has no docker-compose.yml" in str(init(tmp_path / "elsewhere").exception)
    assert "development, staging, production" in str(init(folder, "-e", "prod").exception)


def test_a_link_in_the_place_of_a_secret_is_not_followed(folder: Path, tmp_path: Path) -> None:
    (folder / "secrets").mkdir()
    target = tmp_path / "elsewhere"
    (folder / "secrets/database_password").symlink_to(target)
    assert "cannot be written: File exists" in str(init(folder).exception)
    assert not target.exists()


def test_alerts_are_sent_where_asked_and_no_secret_is_in_the_configuration(folder: Path) -> None:
    (folder / "configs").mkdir()
    shipped = Path(__file__).parents[2] / "configs" / "alertmanager.yml"
    (folder / "configs/alertmanager.yml").write_text(shipped.read_text())
    mail = ("--smtp", "mail.example:587", "--email-from", "grodt@example", "--email-to", "me@example")
    assert init(folder, *mail, "--telegram-chat", "42").exit_code == 0
    made = yaml.safe_load((folder / "secrets/alertmanager.yml").read_text())
    receivers = {receiver["name"]: receiver for receiver in made["receivers"]}
    assert receivers["warning"]["email_configs"][0]["auth_password_file"] == "/run/secrets/smtp_password"
    assert receivers["critical"]["telegram_configs"][0]["chat_id"] == 42
    assert "telegram_configs" not in receivers["warning"]
    assert set(receivers["watchdog"]) == {"name"}
    assert "GRODT_ALERTMANAGER_CONFIG=./secrets/alertmanager.yml" in (folder / ".env").read_text()


def test_what_is_asked_for_later_and_not_in_force_is_said(folder: Path) -> None:
    (folder / "configs").mkdir()
    shipped = Path(__file__).parents[2] / "configs" / "alertmanager.yml"
    (folder / "configs/alertmanager.yml").write_text(shipped.read_text())
    mail = ("--smtp", "mail.example:587", "--email-from", "grodt@example", "--email-to", "me@example")
    assert init(folder).exit_code == 0

    def todo(*arguments: str) -> dict[str, str | None]:
        steps = json.loads(init(folder, *arguments, "--json").stdout)
        return {Path(step["what"]).name: step["todo"] for step in steps}

    line = "GRODT_ALERTMANAGER_CONFIG=./secrets/alertmanager.yml"
    assert todo(*mail)[".env"] == f"write into it: {line}"  # else mail would silently not be sent
    assert todo("--image", DIGEST)[".env"] == f"write into it: GRODT_IMAGE={DIGEST}"
    with (folder / ".env").open("a") as handle:
        handle.write(line + "\n")
    assert (todo(*mail)[".env"], todo(*mail)["alertmanager.yml"]) == (None, None)
    assert "delete it and run this again" in str(todo(*mail[:-1], "other@example")["alertmanager.yml"])


def test_mail_with_a_part_missing_is_refused(folder: Path) -> None:
    assert "mail needs all three" in str(init(folder, "--smtp", "mail.example:587").exception)
