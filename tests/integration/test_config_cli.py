"""`grodt config` as a user sees it."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from grodtd.entrypoints.cli.common import database_url
from grodtd.entrypoints.cli.main import app


def run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["config", *arguments], env={"GRODT_ENVIRONMENT": "", "COLUMNS": "200"})
    return result.exit_code, result.stdout


def test_show_says_where_each_setting_came_from() -> None:
    code, text = run("show", "-e", "production", "--json")
    shown = json.loads(text)
    assert code == 0
    assert shown["endpoints.broker"]["value"] == "live"
    assert shown["endpoints.broker"]["origin"].endswith("settings.production.yaml")
    assert shown["service.port"] == {"value": 8000, "origin": "default"}
    code, table = run("show", "-e", "production")
    assert code == 0
    assert [line.split()[:2] for line in table.splitlines() if line.startswith("log.")] == [
        ["log.level", "info"],
        ["log.format", "json"],
    ]


def test_diff_shows_only_what_differs() -> None:
    code, text = run("diff", "development", "production", "--json")
    differing = json.loads(text)
    assert code == 0
    assert differing["endpoints.broker"] == {"development": "paper", "production": "live"}
    assert "service.port" not in differing
    assert json.loads(run("diff", "staging", "staging", "--json")[1]) == {}


@pytest.mark.parametrize("environment", ["development", "staging", "production"])
def test_what_ships_is_right(environment: str) -> None:
    code, text = run("validate", "-e", environment, "--json")
    assert (code, json.loads(text)["ok"]) == (0, True)


def test_validate_names_every_wrong_part_and_exits_2(tmp_path: Path) -> None:
    (tmp_path / "settings.staging.yaml").write_text("colour: red\n")
    (tmp_path / "strategies.yaml").write_text(
        "s1_trend: {params: {ema_bars: 0, atr_bars: 14, stop_atr: 2.0, reward_risk: 2.0}}\n"
        "s2_reversion: {params: {}, space: {no_such_parameter: {int: [1, 2]}}}\n"
    )
    (tmp_path / "regime.yaml").write_text("high_enter: .nan\n")
    code, text = run("validate", "-e", "staging", "--config", str(tmp_path), "--json")
    problems = {part["part"]: part["problem"] for part in json.loads(text)["parts"]}
    assert code == 2
    assert "colour" in problems["settings"]
    assert "high" in problems["regime"]
    assert "ema needs a whole number" in problems["strategy s1_trend"]
    assert problems["strategy s2_reversion"]
    assert problems["costs, instruments, risk, regime, strategies"] == ""
    code, table = run("validate", "-e", "staging", "--config", str(tmp_path))
    assert (code, "colour" in table) == (2, True)


def test_an_unknown_environment_is_an_error_of_configuration() -> None:
    result = CliRunner().invoke(app, ["config", "show", "-e", "prod"])
    assert "development, staging, production" in str(result.exception)


def test_commands_use_the_database_of_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "database_password").write_text("pw")
    monkeypatch.setenv("GRODT_SECRETS_DIR", str(tmp_path))
    monkeypatch.setenv("GRODT_ENVIRONMENT", "staging")
    assert database_url(tmp_path, None) == "postgresql://grodt:pw@postgres:5432/grodt"
    assert database_url(tmp_path, "postgresql://me@elsewhere/x") == "postgresql://me:pw@elsewhere/x"
    monkeypatch.setenv("GRODT_ENVIRONMENT", "development")
    assert database_url(tmp_path, None) == f"sqlite:///{tmp_path}/grodt.db"
    monkeypatch.delenv("GRODT_ENVIRONMENT")
    assert database_url(tmp_path, None) == f"sqlite:///{tmp_path}/grodt.db"
