"""Logs hold no secret, at any depth, from any logger; each line is one JSON object; lines are counted."""

import json
import logging
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from grodtd.adapters.telemetry.logs import BLOT, Redactor, configure_logging

SECRET = "tr0ub4dor&3-\u00e9"

leaves = st.none() | st.booleans() | st.integers() | st.text() | st.just(SECRET) | st.just(f"before {SECRET} after")
nested = st.recursive(
    leaves,
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.just(SECRET), inner) | st.tuples(inner),
    max_leaves=15,
)


@given(st.dictionaries(st.text(), nested))
def test_a_known_secret_appears_at_no_depth(event: dict[str, Any]) -> None:
    assert SECRET not in repr(Redactor([SECRET])(None, "info", dict(event)))


@given(st.dictionaries(st.text(), nested))
def test_what_holds_no_secret_is_not_lost(event: dict[str, Any]) -> None:
    found = Redactor([SECRET])(None, "info", dict(event))
    assert len(found) <= len(event)
    for key, value in event.items():
        if isinstance(value, (bool, int)) and SECRET not in key and key in found and found[key] != BLOT:
            assert found[key] == value


@pytest.mark.parametrize(
    "key",
    [
        "password",
        "database_password",
        "passwords",
        "db_pass",
        "api_key",
        "apiKey",
        "X-Api-Key",
        "secret",
        "Authorization",
        "refresh_token",
        "Set-Cookie",
    ],
)
def test_values_under_telling_keys_are_blotted_out(key: str) -> None:
    assert Redactor()(None, "info", {"outer": [{key: "value"}]}) == {"outer": [{key: BLOT}]}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("postgresql://me:hunter2@db/x failed", "postgresql://me:***@db/x failed"),
        ("redis://:hunter2@db/0", "redis://:***@db/0"),
        ("Authorization: Bearer abc.def.ghi", "Authorization: Bearer ***"),
        ("postgresql://me@db/x", "postgresql://me@db/x"),
        ("at 12:30 @home", "at 12:30 @home"),
        ("postgresql://me:hun/ter2@db/x", "postgresql://me:***@db/x"),
        ("postgresql://me:hun@ter2@db/x", "postgresql://me:***@db/x"),
        ("http://host:8000/runs/me@home", "http://host:8000/runs/me@home"),
        ("host=db password=hunter2 user=me", "host=db password=*** user=me"),
        ("GET /x?api_key=abc&limit=1", "GET /x?api_key=***&limit=1"),
        ("{'password': 'hunter2', 'n': 1}", "{'password': '***', 'n': 1}"),
        ('{"X-Api-Key": "abc"}', '{"X-Api-Key": "***"}'),
        ("the token is not valid", "the token is not valid"),
    ],
)
def test_passwords_in_urls_and_bearer_tokens_are_blotted_out(text: str, expected: str) -> None:
    assert Redactor().text(text) == expected


@pytest.mark.parametrize("key", ["status", "bypass", "passed", "check", "keys"])
def test_values_under_harmless_keys_are_kept(key: str) -> None:
    assert Redactor()(None, "info", {key: "value"}) == {key: "value"}


inside = st.text(st.characters(blacklist_categories=["Cs"]), min_size=8, max_size=30)
letters = st.text("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._~+/-", min_size=12, max_size=40)


def wrapped(value: object, depth: int) -> object:
    """Return the value inside as many dictionaries, lists and tuples."""
    for level in range(depth):
        value = ({"inner": value}, [value], (value, 1))[level % 3]
    return value


@given(secret=inside, depth=st.integers(0, 15))
def test_a_secret_is_found_as_others_write_it(secret: str, depth: int) -> None:
    written = [secret, repr(secret), json.dumps(secret), quote(secret, safe=""), str(KeyError(secret)), {secret: 1}]
    found = json.dumps(Redactor([secret])(None, "info", {"event": wrapped(written, depth)}))
    # as it was, and as the line of JSON would hold it
    for form in (secret, json.dumps(secret)[1:-1], repr(secret)[1:-1]):
        if form not in json.dumps({"event": wrapped(["***"] * 6, depth)}):
            assert form not in found


@given(word=letters, depth=st.integers(0, 15))
def test_bearer_tokens_and_passwords_in_urls_are_found_at_any_depth(word: str, depth: int) -> None:
    texts = [f"Authorization: Bearer {word}", f"postgresql://me:x{word}@db:5432/grodt", f"pwd={word}", f"token={word}"]
    found = repr(Redactor()(None, "info", {"event": wrapped(texts, depth)}))
    assert word not in found
    assert found.count(BLOT) == 4


@pytest.mark.parametrize("part", ["a", "token", "passw-", "a://", "x@a://b:", "bearer ", '"token" '])
def test_what_strangers_send_is_searched_in_linear_time(part: str) -> None:
    # As long as a request's path may be. With patterns that begin again at every letter this took 20 s or more, in
    # which the process did nothing else, its watchdog included.
    began = time.process_time()
    Redactor().text((part * 64_000)[:64_000])
    assert time.process_time() - began < 1


def test_what_holds_itself_ends() -> None:
    circle: dict[str, Any] = {}
    circle["again"] = circle
    assert "..." in repr(Redactor()(None, "info", {"event": circle}))


def test_what_json_has_no_number_for_is_text() -> None:
    assert Redactor()(None, "info", {"a": float("nan"), "b": float("inf"), "c": 1.5}) == {
        "a": "nan",
        "b": "inf",
        "c": 1.5,
    }


@pytest.fixture
def quiet() -> Iterator[None]:
    root = logging.getLogger()
    before, level = root.handlers, root.level
    yield
    root.handlers, _ = before, root.setLevel(level)
    structlog.reset_defaults()


def lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


@pytest.mark.usefixtures("quiet")
def test_every_logger_writes_json_without_secrets(capsys: pytest.CaptureFixture[str]) -> None:
    counted: list[str] = []
    configure_logging(level="info", as_json=True, secrets=[SECRET], on_message=counted.append)
    with structlog.contextvars.bound_contextvars(request_id="r1"):
        structlog.get_logger("ours").info("hello", url=f"postgresql://u:{SECRET}@h/d", n=1)
        logging.getLogger("a.library").warning("said %s", SECRET)
        try:
            int(f"password {SECRET}")
        except ValueError:
            structlog.get_logger("ours").exception("failed")
    structlog.get_logger("ours").debug("too quiet")
    text = capsys.readouterr().out
    assert SECRET not in text
    assert json.dumps(SECRET)[1:-1] not in text
    ours, library, failed = lines(text)
    assert (ours["event"], ours["n"], ours["request_id"], ours["level"]) == ("hello", 1, "r1", "info")
    assert (library["event"], library["level"], library["logger"]) == (f"said {BLOT}", "warning", "a.library")
    assert failed["exception"][0]["exc_type"] == "ValueError"
    assert "locals" not in str(failed["exception"]) or not failed["exception"][0]["frames"][0].get("locals")
    assert counted == ["info", "warning", "error"]


@pytest.mark.usefixtures("quiet")
@pytest.mark.parametrize("as_json", [True, False])
def test_exceptions_and_their_causes_hold_no_secret(as_json: bool, capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(level="info", as_json=as_json, secrets=[SECRET])
    try:
        try:
            {}[SECRET]  # a KeyError prints its key as Python writes it
        except KeyError as error:
            raise ConnectionError("postgresql://me:hunter2@db/x, Authorization: Bearer abcdefghijkl") from error
    except ConnectionError:
        logging.getLogger("a.library").exception("failed")
        structlog.get_logger("ours").exception("failed")
    text = capsys.readouterr().out
    assert text.count("ConnectionError") >= 2
    for secret in (SECRET, repr(SECRET)[1:-1], json.dumps(SECRET)[1:-1], "hunter2", "abcdefghijkl"):
        # the line of source that the traceback quotes is our own, not a value
        assert secret not in text.replace('raise ConnectionError("postgresql://me:hunter2@db/x', "")


@pytest.mark.usefixtures("quiet")
def test_people_get_columns(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(level="debug", as_json=False, secrets=[SECRET])
    structlog.get_logger("ours").debug("hello", password=SECRET, n=1)
    text = capsys.readouterr().out
    assert "hello" in text
    assert SECRET not in text
