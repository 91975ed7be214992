"""Settings: which source wins, what each environment demands, and that no secret comes from a wrong place."""

from pathlib import Path

import pytest

from grodtd.domain.errors import ConfigError
from grodtd.settings import ENVIRONMENTS, Settings, changed, load_settings, with_password

POSTGRES = "postgresql://grodt@db:5432/grodt"


def write(folder: Path, environment: str, text: str) -> Path:
    (folder / f"settings.{environment}.yaml").write_text(text)
    return folder


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_the_settings_that_ship_fit_their_environment(environment: str) -> None:
    settings = load_settings(environment, variables={}).settings
    assert settings.environment == environment
    assert (settings.database_url is None) == (environment == "development")
    assert (
        settings.endpoints.broker == {"development": "paper", "staging": "sandbox", "production": "live"}[environment]
    )
    assert settings.log.format == ("console" if environment == "development" else "json")


def test_a_secret_file_beats_a_variable_beats_a_file_beats_the_default(tmp_path: Path) -> None:
    folder = write(tmp_path, "staging", f"database_url: {POSTGRES}\nlog: {{level: error, format: json}}\n")
    (tmp_path / "database_password").write_text("p@ss/word\n")
    variables = {"GRODT_LOG__LEVEL": "warning", "GRODT_HOME": "/app/data", "GRODT_SECRETS_DIR": str(tmp_path)}
    loaded = load_settings("staging", folder=folder, variables=variables)
    assert loaded.settings.log.level == "warning"
    assert loaded.settings.home == Path("/app/data")
    assert loaded.settings.database == "postgresql://grodt:p%40ss%2Fword@db:5432/grodt"
    origins = {name: origin for name, _, origin in loaded.rows()}
    assert origins["log.level"] == "GRODT_LOG__LEVEL"
    assert origins["log.format"] == str(folder / "settings.staging.yaml")
    assert origins["database_password"] == str(tmp_path / "database_password")
    assert origins["service.port"] == "default"


def test_no_secret_is_shown(tmp_path: Path) -> None:
    (tmp_path / "database_password").write_text("hunter2")
    loaded = load_settings("production", variables={"GRODT_SECRETS_DIR": str(tmp_path)})
    assert "hunter2" in loaded.settings.database
    assert "hunter2" not in repr(loaded) + str(loaded.rows()) + loaded.settings.model_dump_json()


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://u:hunter2@h:5432/db", "postgresql://u:***@h:5432/db"),
        ("postgresql://u:hun/t@er2@h/db", "postgresql://u:***@h/db"),
        ("postgresql://u@h/db?sslmode=require&password=hunter2", "postgresql://u@h/db?sslmode=require&password=***"),
        ("postgresql://u@h:5432/db?sslmode=require", "postgresql://u@h:5432/db?sslmode=require"),
    ],
)
def test_no_password_that_a_url_holds_is_shown(url: str, shown: str) -> None:
    variables = {"GRODT_DATABASE_URL": url, "GRODT_ENDPOINTS__MARKET_DATA": f"{{mirror: '{url}'}}"}
    rows = {name: value for name, value, _ in load_settings(variables=variables).rows()}
    assert rows["database_url"] == shown
    assert rows["endpoints.market_data"] == {"mirror": shown}


def test_what_replaces_a_setting_is_checked_like_it() -> None:
    settings = load_settings("production", variables={}).settings
    assert changed(settings, home=Path("/x")).home == Path("/x")
    for url in ("sqlite:///x.db", "postgresql://u:hunter2@h/db", "postgresql://u@h/db?password=hunter2"):
        with pytest.raises(ConfigError, match="settings of production: ") as caught:
            changed(settings, database_url=url)
        assert "hunter2" not in str(caught.value)


def test_the_environment_says_where_it_came_from() -> None:
    for name, variables, origin in (
        ("staging", {}, "--environment"),
        (None, {"GRODT_ENVIRONMENT": "staging"}, "GRODT_ENVIRONMENT"),
        (None, {}, "default"),
    ):
        assert {row[0]: row[2] for row in load_settings(name, variables=variables).rows()}["environment"] == origin


@pytest.mark.parametrize(
    ("environment", "text", "message"),
    [
        ("development", "colour: red", "colour: Extra inputs are not permitted"),
        ("development", "log: {levle: info}", r"log\.levle: Extra inputs are not permitted"),
        ("development", "log: loud", "log: "),
        ("development", "service: {port: 70000}", r"service\.port: .* less than or equal to 65535"),
        ("development", "health: {max_memory_share: 1.5}", r"health\.max_memory_share: "),
        ("development", "health: {check_timeout_s: .nan}", r"health\.check_timeout_s: "),
        ("development", "backups: {at: '25:00'}", r"backups\.at: "),
        ("development", "endpoints: {broker: live}", "broker is live in development"),
        ("development", "database_password: x", "is a secret; put it into a file"),
        ("development", "- a list", "must be a mapping"),
        ("development", "log: {level: [", "cannot be read as YAML"),
        ("staging", "log: {level: info}", "must be a postgresql:// URL in staging"),
        ("staging", f"database_url: {POSTGRES}\nendpoints: {{broker: live}}", "only production trades with money"),
        ("production", "database_url: sqlite:///x.db", "must be a postgresql:// URL in production"),
        ("production", "database_url: postgresql://u:pw@db/x", "put it into the secret file"),
        ("staging", "database_url: postgresql://u@db/x?password=pw@", "put it into the secret file"),
        ("production", f"database_url: {POSTGRES}\nlog: {{level: debug}}", r"log\.level is debug in production"),
    ],
)
def test_wrong_files_are_refused_by_name(tmp_path: Path, environment: str, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        load_settings(environment, folder=write(tmp_path, environment, text), variables={})
    assert "pw@" not in str(caught.value)


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"GRODT_LGO__LEVEL": "info"}, "GRODT_LGO__LEVEL: there is no setting 'lgo'"),
        ({"GRODT_LOG__LEVLE": "info"}, "GRODT_LOG__LEVLE: log.levle"),
        ({"GRODT_LOG": "loud"}, "log: "),
        ({"GRODT_LOG__LEVEL": "loud"}, "GRODT_LOG__LEVEL: log.level"),
        ({"GRODT_DATABASE_PASSWORD": "hunter2"}, "put it into the file database_password"),
        ({"GRODT_ENVIRONMENT": "prod"}, "there is no environment 'prod'"),
    ],
)
def test_wrong_variables_are_refused_by_name(variables: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        load_settings(variables=variables)
    assert "hunter2" not in str(caught.value)


def test_variables_of_other_parts_are_no_settings() -> None:
    variables = {"GRODT_REAL_DATA": "/somewhere", "GRODT_CONFIG": "/etc/grodt", "GRODT_REVISION": "abc", "PATH": "/bin"}
    assert load_settings(variables=variables).settings == load_settings(variables={}).settings


def test_a_database_url_that_cannot_be_taken_apart_is_refused_without_its_password() -> None:
    for url in ("postgresql://u:hunter2\u2100@db/x", "postgresql://u:[hunter2@db/x"):
        with pytest.raises(ConfigError, match="database_url cannot be read") as caught:
            load_settings("staging", variables={"GRODT_DATABASE_URL": url})
        assert "hunter2" not in str(caught.value)
        with pytest.raises(ConfigError, match="database_url cannot be read") as caught:
            with_password(url, "x")
        assert "hunter2" not in str(caught.value)


def test_an_empty_secret_is_refused(tmp_path: Path) -> None:
    (tmp_path / "database_password").write_text("\n")
    with pytest.raises(ConfigError, match="is empty; `grodt init` makes secrets"):
        load_settings(variables={"GRODT_SECRETS_DIR": str(tmp_path)})


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Settings().log.level = "error"  # type: ignore[misc]  # the very thing that is refused


def test_mappings_of_data_are_one_setting() -> None:
    variables = {"GRODT_HEALTH__MAX_DATA_AGE_S": '{"binance:BTCUSDT:1m": 180}'}
    loaded = load_settings(variables=variables)
    assert loaded.settings.health.max_data_age_s == {"binance:BTCUSDT:1m": 180}
    assert loaded.origins["health.max_data_age_s"] == "GRODT_HEALTH__MAX_DATA_AGE_S"


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        (POSTGRES, "postgresql://grodt:a%20b@db:5432/grodt"),
        ("postgresql://grodt:own@db/grodt", "postgresql://grodt:own@db/grodt"),
        ("sqlite:///data/grodt.db", "sqlite:///data/grodt.db"),
    ],
)
def test_a_password_goes_where_a_user_waits_for_one(url: str, expected: str) -> None:
    assert with_password(url, "a b") == expected
    assert with_password(url, None) == url
