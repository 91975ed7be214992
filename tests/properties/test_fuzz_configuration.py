"""Whatever stands in a configuration file or a variable: it is right, or an error of ours says which file is not."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from grodtd.config import DEFAULT_FOLDER, Config, load_config
from grodtd.domain.errors import ConfigError, GrodtError
from grodtd.settings import ENVIRONMENTS, Settings, load_settings
from grodtd.strategies.registry import STRATEGIES
from grodtd.workflows.backtest import Request, prepared
from grodtd.workflows.configuration import check_configuration

FILES = ("costs.yaml", "instruments.yaml", "risk.yaml", "regime.yaml", "strategies.yaml")
SHIPPED = {name: (DEFAULT_FOLDER / name).read_bytes() for name in FILES}
SHIPPED_SETTINGS = {name: (DEFAULT_FOLDER / f"settings.{name}.yaml").read_bytes() for name in ENVIRONMENTS}
FEWER = settings(max_examples=settings().max_examples // 3)

CONFIG = load_config()
NUMBERS = st.integers() | st.integers(-(2**70), 2**70) | st.sampled_from([10**400, -(10**400)]) | st.floats()
SCALARS = st.none() | st.booleans() | NUMBERS | st.text(max_size=8) | st.dates() | st.binary(max_size=4)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(SCALARS, inner, max_size=3), max_leaves=6
)


def mutated(whole: bytes) -> st.SearchStrategy[bytes]:
    """A text with a piece of it taken out, doubled, or replaced by something that means much to YAML."""
    pieces = [
        b"",
        b"&a ",
        b"*a",
        b"!x ",
        b"<<: ",
        b"? ",
        b"{",
        b"}",
        b"[",
        b"]",
        b": ",
        b"- ",
        b"\t",
        b"\n",
        b"\xff",
        b"%",
        b"'",
        b'"',
    ]
    replacement = st.sampled_from(
        [*pieces, b"0x" + b"f" * 6_000, b"9" * 6_000, b".nan", b"-.inf", b"1e999", b"[" * 3_000]
    )
    cut = st.tuples(st.integers(0, len(whole)), st.integers(0, 40), replacement | st.binary(max_size=4), st.booleans())

    def edited(edits: list[tuple[int, int, bytes, bool]]) -> bytes:
        text = whole
        for at, length, new, is_double in edits:
            text = text[:at] + (text[at : at + length] * 2 if is_double else new) + text[at + length :]
        return text

    return st.lists(cut, min_size=1, max_size=3).map(edited)


def paths(value: object, before: tuple[object, ...] = ()) -> list[tuple[Any, ...]]:
    """Where something stands in a nested value."""
    inner: list[Any] = list(
        value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else []
    )
    return [before, *(path for key, item in inner for path in paths(item, (*before, key)))]


@st.composite
def replaced(draw: st.DrawFn, whole: Any) -> Any:
    """A nested value with something else in one place, or something more beside it."""
    *way, last = draw(st.sampled_from([path for path in paths(whole) if path]))
    copy = yaml.safe_load(yaml.safe_dump(whole))
    place = copy
    for step in way:
        place = place[step]
    if isinstance(place, dict) and draw(st.booleans()):
        last = draw(st.text(max_size=5) | SCALARS)
    place[last] = draw(VALUES)
    return copy


def loaded(files: Mapping[str, bytes]) -> Config | None:
    """Write files and load them; None if they are refused, as they should be."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for file, content in files.items():
            (folder / file).write_bytes(content)
        try:
            config = load_config(folder)
        except ConfigError as error:
            assert any(file in str(error) for file in files), error
            return None
        # Where the files are right, each strategy is looked at: its defaults, its space.
        for part in check_configuration(folder, "development"):
            assert len(part.problem) < 2_000
        return config


def dumped(value: object) -> bytes:
    return yaml.safe_dump(value, allow_unicode=True, sort_keys=False).encode()


def as_files(config: Config) -> dict[str, bytes]:
    """Write a configuration as the files it could have come from."""
    costs = {name: {k: v for k, v in asdict(entry).items() if k != "venue"} for name, entry in config.costs.items()}
    instruments: dict[str, dict[str, Any]] = {}
    for (venue, symbol), entry in config.instruments.items():
        fields = {name: value for name, value in asdict(entry).items() if name not in ("venue", "symbol")}
        instruments.setdefault(venue, {})[symbol] = fields
    strategies = {name: asdict(entry) for name, entry in config.strategies.items()}
    parts = (costs, instruments, asdict(config.risk), asdict(config.regime), strategies)
    return {name: dumped(_plain(part)) for name, part in zip(FILES, parts, strict=True)}


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value


def same(one: Config, other: Config) -> bool:
    # As text: nan in a field nobody forbids equals itself there.
    return all(
        repr(getattr(one, name)) == repr(getattr(other, name)) for name in ("costs", "risk", "regime", "strategies")
    ) and dict(one.instruments) == dict(other.instruments)


@FEWER
@given(st.sampled_from(FILES).flatmap(lambda name: st.tuples(st.just(name), mutated(SHIPPED[name]))))
def test_a_mutated_file_is_right_or_refused(file: tuple[str, bytes]) -> None:
    loaded(dict([file]))


@FEWER
@given(st.sampled_from(FILES), st.binary(max_size=60))
def test_any_bytes_are_right_or_refused(name: str, content: bytes) -> None:
    loaded({name: content})


@FEWER
@given(
    st.sampled_from(FILES).flatmap(lambda name: st.tuples(st.just(name), replaced(yaml.safe_load(SHIPPED[name])))),
)
def test_any_value_in_any_place_is_right_or_refused_and_what_is_right_can_be_written_and_read(
    file: tuple[str, Any],
) -> None:
    name, value = file
    config = loaded({name: dumped(value)})
    if config is not None:
        again = loaded({name: as_files(config)[name]})
        assert again is not None
        assert same(config, again)


def test_what_ships_can_be_written_and_read() -> None:
    config = load_config()
    again = loaded(as_files(config))
    assert again is not None
    assert same(config, again)


def settings_of(environment: str, content: bytes, variables: Mapping[str, str] | None = None) -> Settings | None:
    with tempfile.TemporaryDirectory() as name:
        file = Path(name) / f"settings.{environment}.yaml"
        file.write_bytes(content)
        try:
            return load_settings(environment, folder=file.parent, variables=variables or {}).settings
        except ConfigError as error:
            assert (
                file.name in str(error) or f"settings of {environment}" in str(error) or "GRODT_" in str(error)
            ), error
            return None


def written(found: Settings) -> bytes:
    values = found.model_dump(mode="json", exclude={"environment", "database_password"})
    return dumped(values)


ENVIRONMENT_NAMES = st.sampled_from(ENVIRONMENTS)


@given(ENVIRONMENT_NAMES.flatmap(lambda name: st.tuples(st.just(name), mutated(SHIPPED_SETTINGS[name]))))
def test_mutated_settings_are_right_or_refused(file: tuple[str, bytes]) -> None:
    settings_of(*file)


@given(
    ENVIRONMENT_NAMES.flatmap(
        lambda name: st.tuples(
            st.just(name), replaced(Settings().model_dump(mode="json") | yaml.safe_load(SHIPPED_SETTINGS[name]))
        )
    )
)
def test_any_value_of_any_setting_is_right_or_refused_and_round_trips(file: tuple[str, Any]) -> None:
    environment, values = file
    values.pop("environment", None)
    values.pop("database_password", None)
    found = settings_of(environment, dumped(values))
    if found is not None:
        assert found.database
        assert settings_of(environment, written(found)) == found


NAMES = [name.upper() for name in Settings.model_fields] + [
    f"{part.upper()}__{name.upper()}"
    for part, field in Settings.model_fields.items()
    if hasattr(field.annotation, "model_fields")
    for name in field.annotation.model_fields  # type: ignore[union-attr]
]
# What an environment can hold: no NUL.
TEXTS = st.text(st.characters(exclude_characters="\0", codec="utf-8"), max_size=20) | NUMBERS.map(
    lambda n: yaml.safe_dump(n)[:40]
)


@given(ENVIRONMENT_NAMES, st.dictionaries(st.sampled_from(NAMES) | st.text("ABC_", max_size=6), TEXTS, max_size=4))
@example("development", {"HEALTH__MAX_DATA_AGE_S": "{" * 2_000})
@example("development", {"LOG__LEVEL": "2023-13-45"})
def test_any_variables_are_right_or_refused(environment: str, variables: dict[str, str]) -> None:
    given_ = {f"GRODT_{name}": text for name, text in variables.items()}
    settings_of(environment, SHIPPED_SETTINGS[environment], given_)


ANYTHING = st.dictionaries(
    st.sampled_from(["mode", "risk", "qty", "session", "latency_bars", "daily_loss", "cooldown_bars", "same_bar"])
    | st.text(max_size=3),
    SCALARS | st.sampled_from(["08:00-16:30", "risk"]),
    max_size=2,
)


@st.composite
def requests(draw: st.DrawFn) -> Request:
    name = draw(st.sampled_from(sorted(STRATEGIES)))
    own = CONFIG.strategies[name].params
    return Request(
        strategy=name,
        venue=draw(st.sampled_from(["binance", "synthetic", "", "nowhere"])),
        symbol=draw(st.text(max_size=5)),
        params=draw(st.dictionaries(st.sampled_from(sorted(own)) if own else st.text(max_size=2), SCALARS, max_size=2)),
        costs=draw(st.none() | st.sampled_from(["kraken", ""]) | st.text(max_size=3)),
        cost_scale=draw(st.floats()),
        direction=draw(st.none() | st.text(max_size=5) | st.just("long_only")),
        sizing=draw(ANYTHING),
        rules=draw(ANYTHING),
        limits=draw(ANYTHING),
        leverage=draw(st.none() | st.floats()),
        initial_capital=draw(st.none() | st.floats()),
        latency_bars=draw(st.none() | st.integers()),
        regimes=draw(st.none() | st.lists(st.sampled_from(["trending", "x"])).map(tuple)),
        on_exit=draw(st.none() | st.text(max_size=3) | st.just("flat")),
    )


@FEWER
@given(requests())
def test_any_run_is_prepared_or_refused(request: Request) -> None:
    try:
        _, params, account, _ = prepared(request, CONFIG)
    except GrodtError as error:
        assert str(error)
        return
    assert type(account).from_dict(account.as_dict()) == account
    assert all(isinstance(value, (int, float)) for value in params)
