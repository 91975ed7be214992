"""Rules, routes and dashboards: judged by Prometheus' and Alertmanager's own programs, and by Grafana's own models."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard

from grodtd.adapters.telemetry.backup import BackupMetrics
from grodtd.adapters.telemetry.search import SearchGauges
from grodtd.adapters.telemetry.service import ServiceMetrics
from grodtd.workflows.backup import Backup
from grodtd.workflows.data import synthesise
from grodtd.workflows.figures import regime_figures, stored_figures
from grodtd.workflows.runs import default_database_url
from tests.integration.served import furnish

ROOT = Path(__file__).parents[2]
CONFIGS = ROOT / "configs"
RUNBOOKS = ROOT / "docs" / "runbooks"
DASHBOARDS = sorted((CONFIGS / "grafana" / "dashboards").glob("*.json"))


def program(name: str) -> str:
    found = shutil.which(name)
    if not found:
        message = f"{name} is not installed: apt-get install prometheus prometheus-alertmanager"
        if os.environ.get("GRODT_REQUIRE_MONITORING") == "1":
            pytest.fail(message)
        pytest.skip(message)
    return found


def alerts() -> dict[str, dict[str, Any]]:
    groups = yaml.safe_load((CONFIGS / "alerts.yml").read_text())["groups"]
    return {rule["alert"]: rule for group in groups for rule in group["rules"]}


def run(*command: str, cwd: Path = CONFIGS) -> str:
    found = subprocess.run(command, capture_output=True, text=True, cwd=cwd, check=False)
    assert found.returncode == 0, found.stdout + found.stderr
    return found.stdout


def test_every_alert_fires_when_it_should_and_not_when_it_should_not() -> None:
    promtool = program("promtool")
    run(promtool, "check", "rules", "alerts.yml")
    run(promtool, "test", "rules", "prometheus-tests/alerts.yml")
    cases = {case["name"] for case in yaml.safe_load((CONFIGS / "prometheus-tests/alerts.yml").read_text())["tests"]}
    expected = {f"{name} fires" for name in alerts()} | {f"{name} does not fire" for name in alerts()}
    assert expected - cases == {"Watchdog does not fire"}  # it always fires: that is its work


def test_a_rule_that_never_fires_would_be_noticed(tmp_path: Path) -> None:
    promtool = program("promtool")
    shutil.copytree(CONFIGS / "prometheus-tests", tmp_path / "prometheus-tests")
    rules = (CONFIGS / "alerts.yml").read_text()
    (tmp_path / "alerts.yml").write_text(rules.replace("max(grodt_ready) == 0", "max(grodt_ready) == 7"))
    found = subprocess.run(
        [promtool, "test", "rules", "prometheus-tests/alerts.yml"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=False,
    )
    assert found.returncode != 0
    assert "NotReady" in found.stdout + found.stderr


def test_the_configurations_load(tmp_path: Path) -> None:
    text = (CONFIGS / "prometheus.yml").read_text().replace("/etc/prometheus/alerts.yml", str(CONFIGS / "alerts.yml"))
    (tmp_path / "prometheus.yml").write_text(text)
    run(program("promtool"), "check", "config", str(tmp_path / "prometheus.yml"))
    run(program("amtool"), "check-config", str(CONFIGS / "alertmanager.yml"))


@pytest.mark.parametrize(
    ("labels", "receiver"),
    [
        ({"alertname": "ServiceDown", "severity": "critical"}, "critical"),
        ({"alertname": "StaleData", "severity": "warning"}, "warning"),
        ({"alertname": "Watchdog", "severity": "none"}, "watchdog"),
    ],
)
def test_alerts_go_where_they_should(labels: dict[str, str], receiver: str) -> None:
    pairs = [f"{name}={value}" for name, value in labels.items()]
    config = f"--config.file={CONFIGS / 'alertmanager.yml'}"
    assert run(program("amtool"), "config", "routes", "test", config, *pairs).strip() == receiver


@pytest.mark.parametrize("name", alerts())
def test_every_alert_says_what_it_means_and_what_to_do(name: str) -> None:
    rule = alerts()[name]
    assert rule["labels"]["severity"] in ("critical", "warning", "none")
    assert rule["annotations"]["summary"]
    assert rule["annotations"]["description"]
    runbook = RUNBOOKS / f"{name}.md"
    assert rule["annotations"]["runbook_url"] == f"docs/runbooks/{name}.md"
    headings = re.findall(r"^## (.*)$", runbook.read_text(), re.MULTILINE)
    assert headings == ["Meaning", "Impact", "Diagnose", "Mend", "Escalate"]


def test_every_runbook_has_an_alert_and_its_links_lead_somewhere() -> None:
    assert {file.stem for file in RUNBOOKS.glob("*.md")} == set(alerts())
    for file in RUNBOOKS.glob("*.md"):
        for link in re.findall(r"\]\(([^)]+)\)", file.read_text()):
            assert (file.parent / link).is_file(), f"{file.name}: {link}"


def expressions() -> list[str]:
    """Every PromQL expression of rules and dashboards."""
    shown = [json.loads(file.read_text())["panels"] for file in DASHBOARDS]
    found = [target["expr"] for panels in shown for panel in panels for target in panel["targets"]]
    return [*(rule["expr"] for rule in alerts().values()), *found]


def asked_for(expression: str) -> list[tuple[str, set[str]]]:
    """Return the metrics an expression names, each with the labels it selects by."""
    bare = re.sub(r"\b(?:by|without|on|ignoring)\s*\([^)]*\)|\[[^\]]*\]", " ", expression)
    bare = re.sub(r'"[^"]*"', '""', bare)
    words = re.finditer(r"([a-zA-Z_:][\w:]*)(?![\w:]|\s*\()(?:\{([^}]*)\})?", re.sub(r"\b\d[\w.]*", " ", bare))
    return [
        (word[1], set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", word[2] or "")))
        for word in words
        if word[1] not in ("and", "or", "unless", "bool")
    ]


def exported(home: Path) -> dict[str, set[str]]:
    """Return every metric of ours with its labels, as the processes register them."""
    furnish(home)
    synthesise(home, "G2", n_bars=20_000, seed=7)  # enough for a regime
    url = default_database_url(home)
    figures = [*stored_figures(home, url), *regime_figures(home)]
    service = ServiceMetrics(version="1", revision="r", environment="development", figures=lambda: figures)
    backups, search = BackupMetrics("127.0.0.1", 0), SearchGauges(0)
    now = datetime.now(UTC)
    backups.show([Backup(home, now, {"files": {}}, now)])
    registries = [service._registry, backups._registry, search._registry]
    backups.close()
    search.close()
    found: dict[str, set[str]] = {}
    for registry in registries:
        shown = {sample.name: set(sample.labels) for family in registry.collect() for sample in family.samples}
        # Dashboards show the processor and memory of every long-lived process.
        assert ("process_resident_memory_bytes" in shown) == (registry is not search._registry)
        found |= shown
        for collector, names in registry._collector_to_names.items():
            labels = set(getattr(collector, "_labelnames", ()))
            found |= {name: labels | ({"le"} if name.endswith("_bucket") else set()) for name in names}
    return found | {figure.name: set(figure.labels) for figure in figures}


def test_how_metrics_are_found_in_an_expression() -> None:
    assert asked_for(
        'sum by (le) (rate(a_bucket{route=~"/api/.*", b!="c"}[5m])) > 2 and on() a:b unless (time() > 2e3)'
    ) == [
        ("a_bucket", {"route", "b"}),
        ("a:b", set()),
    ]


def test_every_metric_in_rules_and_dashboards_is_one_that_somebody_exports(tmp_path: Path) -> None:
    ours = exported(tmp_path)
    asked = [(name, labels, text) for text in expressions() for name, labels in asked_for(text)]
    assert len({name for name, _, _ in asked}) == 38
    # of Prometheus and Alertmanager; tests/docker asks a running Prometheus for them
    theirs = {
        "up",
        "ALERTS",
        "prometheus_config_last_reload_successful",
        "prometheus_rule_evaluation_failures_total",
        "alertmanager_notifications_failed_total",
    }
    assert {name for name, _, _ in asked} - set(ours) == theirs
    for name, labels, text in asked:
        assert name in theirs or labels <= ours[name] | {"job", "instance"}, text


def test_the_dashboards_are_what_their_generator_makes() -> None:
    run(sys.executable, str(ROOT / "scripts" / "dashboards.py"), "--check")


@pytest.mark.parametrize("file", DASHBOARDS, ids=lambda file: file.stem)
def test_a_dashboard_is_whole(file: Path) -> None:
    shown = json.loads(file.read_text())
    taken: set[tuple[int, int]] = set()
    for panel in shown["panels"]:
        assert panel["title"]
        assert panel["description"]
        assert panel["fieldConfig"]["defaults"]["unit"]
        for target in panel["targets"]:
            assert target["datasource"] == {"type": "prometheus", "uid": "prometheus"}
        at = panel["gridPos"]
        cells = {(at["x"] + i, at["y"] + j) for i in range(at["w"]) for j in range(at["h"])}
        assert at["x"] + at["w"] <= 24
        assert not cells & taken, panel["title"]
        taken |= cells
    assert len({panel["id"] for panel in shown["panels"]}) == len(shown["panels"])


@pytest.mark.parametrize("file", DASHBOARDS, ids=lambda file: file.stem)
def test_grafanas_own_models_keep_every_field(file: Path) -> None:
    shown = json.loads(file.read_text())
    again = json.loads(JSONEncoder().encode(Dashboard.from_json(shown)))

    def compare(here: Any, there: Any, where: str) -> None:  # Any: JSON
        if isinstance(here, dict):
            for key, value in here.items():
                assert key in there, f"{where}.{key} is no field of Grafana's"
                compare(value, there[key], f"{where}.{key}")
        elif isinstance(here, list):
            assert len(here) == len(there), where
            for i, (one, other) in enumerate(zip(here, there, strict=True)):
                compare(one, other, f"{where}[{i}]")
        else:
            assert here == there, where

    compare(shown, again, file.stem)


def test_dashboards_have_names_of_their_own() -> None:
    assert len({json.loads(file.read_text())["uid"] for file in DASHBOARDS}) == len(DASHBOARDS) == 4
