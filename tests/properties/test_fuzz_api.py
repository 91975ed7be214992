"""Whatever is asked of the API, as its schema allows or not: no fault of ours, every answer as the schema promises."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from fastapi import FastAPI
from hypothesis import settings

from grodtd.adapters.process.start_guard import Starts
from grodtd.entrypoints.service.app import State, create_app
from grodtd.settings import load_settings
from tests.integration.served import furnish

if TYPE_CHECKING:
    import schemathesis
    from schemathesis.checks import positive_data_acceptance
else:
    schemathesis = pytest.importorskip("schemathesis", reason="schemathesis is not installed: make test")
    from schemathesis.checks import positive_data_acceptance


def application(home: Path) -> FastAPI:
    own = load_settings(variables={"GRODT_HOME": str(home)}).settings
    return create_app(State(own, version="1", revision="x", starts=Starts(0, False), watchdog=None))


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> tuple[FastAPI, dict[str, str]]:
    """A service, and names of what it has stored."""
    home = tmp_path_factory.mktemp("home")
    return application(home), {"run_id": furnish(home)[0], "study_id": "s-1"}


schema = schemathesis.openapi.from_dict(application(Path("nowhere")).openapi())


@schema.parametrize()
@settings(max_examples=settings().max_examples // 10)
def test_every_answer_is_as_published(case: Any, service: tuple[FastAPI, dict[str, str]]) -> None:
    app, stored = service
    query, path = case.query or {}, case.path_parameters or {}
    # Half of the valid requests ask for something that is there.
    if case.meta.generation.mode.is_positive:
        path.update({name: stored[name] for name, drawn in path.items() if len(str(drawn)) % 2})
    response = case.call(app=app)
    # The one rule the schema cannot express.
    beyond = [positive_data_acceptance] if "sort_by" in query and "before" in query else []
    case.validate_response(response, excluded_checks=beyond)
    if response.status_code >= 400 and case.path.startswith("/api/"):
        assert response.headers["content-type"] == ["application/problem+json"]
        assert response.json()["detail"]
