"""What docker-compose.yml and the Dockerfile promise about containers, read from the files themselves."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

pytestmark = pytest.mark.security
ROOT = Path(__file__).resolve().parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, Any] = COMPOSE["services"]


def test_there_are_services_to_judge() -> None:
    assert {"migrate", "grodt", "postgres", "proxy", "prometheus", "alertmanager", "grafana", "backup"} <= set(SERVICES)


@pytest.mark.parametrize("name", SERVICES)
def test_a_container_can_do_little_and_take_little(name: str) -> None:
    service = SERVICES[name]
    assert service["cap_drop"] == ["ALL"]
    assert service.get("cap_add", []) == (["NET_BIND_SERVICE"] if name == "proxy" else [])
    assert "no-new-privileges:true" in service["security_opt"]
    assert service["read_only"] is True
    assert re.fullmatch(r"[1-9]\d*:\d+", service["user"]), "a number above 0: root has another name nowhere"
    assert not {"privileged", "network_mode", "pid", "ipc", "devices"} & set(service)
    assert set(service["deploy"]["resources"]["limits"]) == {"cpus", "memory", "pids"}
    assert set(service["logging"]["options"]) == {"max-size", "max-file"}
    assert not [volume for volume in service.get("volumes", []) if "docker.sock" in str(volume)]


def test_secrets_are_files_and_never_variables() -> None:
    assert all(set(secret) == {"file"} for secret in COMPOSE["secrets"].values())
    telling = re.compile(r"password|secret|token|key", re.IGNORECASE)
    found = [
        f"{name}: {variable}"
        for name, service in SERVICES.items()
        for variable in service.get("environment", {})
        if telling.search(variable) and not variable.endswith("_FILE")
    ]
    assert found == []


def test_every_published_port_is_on_loopback_unless_told_otherwise() -> None:
    ports = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert len(ports) >= 3
    assert all(port.startswith("${GRODT_BIND:-127.0.0.1}:") for port in ports)


def test_the_database_is_in_an_internal_network_only() -> None:
    assert SERVICES["postgres"]["networks"] == ["data"]
    assert SERVICES["postgres"].get("ports") is None
    for name in ("app", "data", "monitoring", "compute"):
        assert COMPOSE["networks"][name] == {"internal": True}
    # Whoever runs other people's code (Ray takes it from any member) is with nobody but its own and the database.
    assert SERVICES["ray-worker"]["networks"] == ["compute"]


def test_images_of_others_are_pinned_by_digest() -> None:
    images = [service["image"] for service in SERVICES.values() if "GRODT_REGISTRY" in service["image"]]
    assert len(images) >= 5
    digest = re.compile(r"@sha256:[0-9a-f]{64}\}?$")
    assert [image for image in images if not digest.search(image)] == []
    bases = re.findall(r"^ARG \w+_IMAGE=(\S+)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    assert len(bases) >= 1
    assert [base for base in bases if not digest.search(base)] == []
