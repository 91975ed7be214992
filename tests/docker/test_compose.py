"""The compose file as docker renders it: what must hold for every service in every environment."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from tests.docker.conftest import Stack, deployment

OVERRIDES = {"development": "dev", "staging": "staging", "production": "prod"}
ONE_SHOT = {"migrate", "research"}  # their end is their health
SECRET_LIKE = re.compile(r"password|secret|token|key", re.IGNORECASE)


@pytest.fixture(scope="module", params=OVERRIDES)
def rendered(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, dict[str, Any]]:
    """The environment and its services, with the images that ship, not the stand-ins."""
    stack = Stack(deployment(tmp_path_factory.mktemp(str(request.param)), str(request.param)))
    stack.variables = {k: v for k, v in stack.variables.items() if not k.startswith("GRODT_")}
    return str(request.param), stack.config()


def test_every_service_is_hardened(rendered: tuple[str, dict[str, Any]]) -> None:
    environment, config = rendered
    assert {"migrate", "grodt", "prometheus", "alertmanager", "grafana", "proxy", "backup", "research"} <= set(
        config["services"]
    )
    for name, service in config["services"].items():
        where = f"{environment}: {name}"
        assert service["cap_drop"] == ["ALL"], where
        assert service.get("cap_add", []) == (["NET_BIND_SERVICE"] if name == "proxy" else []), where
        assert service["security_opt"] == ["no-new-privileges:true"], where
        assert service["read_only"] is True, where
        user = service["user"].partition(":")[0]
        assert user.isdigit(), where
        assert int(user) > 0, where
        assert service["init"] is True, where
        limits = service["deploy"]["resources"]["limits"]
        assert {"cpus", "memory", "pids"} <= set(limits), where
        assert service["logging"]["driver"] == "local", where
        assert {"max-size", "max-file"} <= set(service["logging"]["options"]), where
        assert service["stop_grace_period"] == "1m0s", where
        assert not service.get("privileged"), where
        assert "docker.sock" not in str(service.get("volumes", "")), where
        assert service.get("network_mode") is None, where
        if name in ONE_SHOT:
            assert service["restart"] == "no", where
            assert service["healthcheck"] == {"disable": True}, where
        else:
            assert service["restart"] == "unless-stopped", where
            check = service["healthcheck"]
            assert check["test"][0] == "CMD", where
            assert {"interval", "timeout", "retries", "start_period", "start_interval"} <= set(check), where


def test_every_image_is_pinned(rendered: tuple[str, dict[str, Any]]) -> None:
    environment, config = rendered
    for name, service in config["services"].items():
        is_ours = service["image"].startswith("grodt")
        if environment == "development" and is_ours:
            assert "build" in service or name == "ray-worker", name
            continue
        assert re.search(r"@sha256:[0-9a-f]{64}$", service["image"]), f"{environment}: {name}: {service['image']}"
        assert "latest" not in service["image"]
        assert "build" not in service, f"{environment}: {name}"


def test_ports_are_open_to_this_machine_only(rendered: tuple[str, dict[str, Any]]) -> None:
    _, config = rendered
    published = {
        name: port["published"]
        for name, service in config["services"].items()
        for port in service.get("ports", [])
        if port["host_ip"] == "127.0.0.1"
    }
    assert published == {"proxy": "8000", "prometheus": "9090", "grafana": "3000"}
    assert sum(len(service.get("ports", [])) for service in config["services"].values()) == 3


def test_no_secret_is_in_a_variable(rendered: tuple[str, dict[str, Any]]) -> None:
    _, config = rendered
    for name, service in config["services"].items():
        for variable, value in (service.get("environment") or {}).items():
            if SECRET_LIKE.search(variable):
                assert variable.endswith(("_FILE", "__FILE")), f"{name}: {variable}"
                assert str(value).startswith("/run/secrets/"), f"{name}: {variable}"


def test_each_service_runs_in_its_environment(rendered: tuple[str, dict[str, Any]]) -> None:
    environment, config = rendered
    for name in ("migrate", "grodt", "backup", "research", "ray-head", "ray-worker"):
        assert config["services"][name]["environment"]["GRODT_ENVIRONMENT"] == environment, name


def test_only_who_must_reaches_what(rendered: tuple[str, dict[str, Any]]) -> None:
    environment, config = rendered
    networks = {name: set(service.get("networks", {})) for name, service in config["services"].items()}
    assert {name for name, joined in networks.items() if "egress" in joined} == {"alertmanager", "research"}
    assert {name for name, joined in networks.items() if "edge" in joined} == {"proxy", "prometheus", "grafana"}
    assert "data" not in networks["proxy"] | networks["prometheus"] | networks["grafana"] | networks["alertmanager"]
    assert {name for name, network in config["networks"].items() if not network.get("internal")} == {"edge", "egress"}
    assert (
        config["networks"]["edge"]["driver_opts"]["com.docker.network.bridge.enable_ip_masquerade"] == "false"
    ), environment


def test_monitoring_never_stops_the_service(rendered: tuple[str, dict[str, Any]]) -> None:
    _, config = rendered
    for name, needed in config["services"]["grodt"]["depends_on"].items():
        assert needed["required"] == (name in {"migrate", "postgres"}), name
    assert config["services"]["grodt"]["depends_on"]["migrate"]["condition"] == "service_completed_successfully"


def test_environments_differ_where_they_should(tmp_path: Path) -> None:
    configs = {}
    for environment in OVERRIDES:
        folder = tmp_path / environment
        folder.mkdir()
        stack = Stack(deployment(folder, environment))
        stack.variables = {k: v for k, v in stack.variables.items() if not k.startswith("GRODT_")}
        configs[environment] = stack.config()["services"]
    assert "postgres" not in configs["development"]["grodt"]["depends_on"]
    assert configs["production"]["grodt"]["deploy"]["replicas"] == 2
    memory = {name: int(c["grodt"]["deploy"]["resources"]["limits"]["memory"]) for name, c in configs.items()}
    assert memory["production"] > memory["staging"]
