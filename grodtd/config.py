"""Settings: YAML files read once, checked, frozen. Unknown keys are refused, never ignored."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import yaml
from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass as checked
from yaml.composer import ComposerError
from yaml.constructor import ConstructorError

from grodtd.domain.errors import ConfigError
from grodtd.domain.market import Costs, Direction, Instrument, Limits, OnExit, Reentry, RegimeName, Rules, Sizing

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

_RULES, _LIMITS = Rules(), Limits()
_MOST_BYTES: Final = 1_000_000
_DEEPEST: Final = 20
_MOST_VALUES: Final = 100_000
_MOST_BITS: Final = 63
T = TypeVar("T", bound="DataclassInstance")

_PACKAGED = Path(__file__).parent / "configs"
DEFAULT_FOLDER = _PACKAGED if _PACKAGED.is_dir() else Path(__file__).parent.parent / "configs"


@dataclass(frozen=True)
class StrategySettings:
    """What a strategy runs with by default; workflows check `params` and `space` against the strategy's own."""

    params: dict[str, int | float]
    direction: Direction = "long_short"
    reentry: Reentry | None = None
    sizing: dict[str, Any] = field(default_factory=dict)  # Any: checked by Sizing itself
    regimes: tuple[RegimeName, ...] | None = None  # None: the strategy's own
    on_exit: OnExit = "hold"
    space: dict[str, dict[str, Any]] = field(default_factory=dict)  # Any: checked by optimize.Space itself
    constraints: tuple[str, ...] = ()


@dataclass(frozen=True)
class Risk:
    """Capital, sizing, order rules and limits."""

    initial_capital: float
    sizing: Sizing
    rules: Rules = _RULES
    limits: Limits = _LIMITS
    leverage: float = 1.0


@dataclass(frozen=True)
class RegimeSettings:
    """The parameters of `grodtd.indicators.regime.regime`, which checks them."""

    fast_span: int = 20
    slow_span: int = 5_000
    trend_span: int = 200
    high_enter: float = 2.1
    high_leave: float = 1.8
    trend_enter: float = 2.5
    trend_leave: float = 1.2
    confirm_bars: int = 3
    transition_bars: int = 30
    freeze_bars: int = 50


@dataclass(frozen=True)
class Config:
    """Every setting, checked."""

    folder: Path
    costs: Mapping[str, Costs]
    instruments: Mapping[tuple[str, str], Instrument]
    risk: Risk
    regime: RegimeSettings
    strategies: Mapping[str, StrategySettings]

    def costs_named(self, name: str) -> Costs:
        """Return a venue's costs.

        Raises
        ------
        ConfigError
            If there are none: costs are never guessed.
        """
        if name not in self.costs:
            raise ConfigError(
                f"no costs for {name!r} in {self.folder / 'costs.yaml'}; pass --costs with one of"
                f" {', '.join(sorted(self.costs))}, or add an entry"
            )
        return self.costs[name]

    def instrument(self, venue: str, symbol: str) -> Instrument:
        """Return a listed instrument, or one without increments if the symbol is not listed."""
        return self.instruments.get((venue, symbol)) or Instrument(venue, symbol)


def load_config(folder: Path | None = None) -> Config:
    """Read and check all settings.

    Parameters
    ----------
    folder : Path or None
        Folder with your own files; a file it lacks is taken from the defaults. None: the defaults that ship.

    Raises
    ------
    ConfigError
        If the folder or a file cannot be read, or a key is unknown, missing or has the wrong type; the message
        names the file and the key.
    """
    if folder is not None and not folder.is_dir():
        raise ConfigError(f"config folder {folder} does not exist; copy {DEFAULT_FOLDER} and edit it")
    chosen = folder or DEFAULT_FOLDER

    costs = {
        name: _record(Costs, entry, f"costs.yaml: {name}", venue=name)
        for name, entry in _mapping(chosen, "costs.yaml").items()
    }
    instruments = {
        (venue, symbol): _record(Instrument, entry, f"instruments.yaml: {venue}.{symbol}", venue=venue, symbol=symbol)
        for venue, symbols in _mapping(chosen, "instruments.yaml").items()
        for symbol, entry in _as_mapping(symbols, f"instruments.yaml: {venue}").items()
    }
    strategies = {
        name: _record(StrategySettings, entry, f"strategies.yaml: {name}")
        for name, entry in _mapping(chosen, "strategies.yaml").items()
    }
    risk = _record(Risk, _mapping(chosen, "risk.yaml"), "risk.yaml")
    regime = _record(RegimeSettings, _mapping(chosen, "regime.yaml"), "regime.yaml")
    return Config(chosen, costs, instruments, risk, regime, strategies)


class _Loader(yaml.SafeLoader):
    """Safe YAML that refuses what is not what it seems: a key given twice, few lines that stand for endless values."""

    def __init__(self, text: str | bytes) -> None:
        super().__init__(text)
        self._depth = 0
        # How many values there are, with those aliases stand for; and how many below each node.
        self._values = 0
        self._sizes: dict[yaml.Node, int] = {}

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """Return the next value as written, or what its alias stands for."""
        mark: Any = self.peek_event().start_mark  # type: ignore[no-untyped-call]  # untyped in PyYAML's stubs
        is_alias = self.check_event(yaml.AliasEvent)
        before, self._depth = self._values, self._depth + 1
        node = super().compose_node(parent, index) if self._depth <= _DEEPEST else None
        self._depth -= 1
        if node is None:
            raise ComposerError(problem=f"nested more than {_DEEPEST} deep", problem_mark=mark)
        if is_alias:
            if node not in self._sizes:
                raise ComposerError(problem="an alias of what it stands in", problem_mark=mark)
            self._values += self._sizes[node]
        else:
            self._values += 1
            self._sizes[node] = self._values - before
        if self._values > _MOST_VALUES:
            raise ComposerError(problem=f"more than {_MOST_VALUES} values", problem_mark=mark)
        return node

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:  # Any: PyYAML's own signature
        """Return the next mapping, in which no key was given twice."""
        node = super().compose_mapping_node(anchor)
        seen = set()
        for key, _ in node.value:
            written = (key.tag, key.value) if isinstance(key, yaml.ScalarNode) else key
            if written in seen:
                raise ComposerError(problem="a key that is there already", problem_mark=key.start_mark)
            seen.add(written)
        return node

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:  # Any: as YAML is
        """Return a value; whatever is wrong with it is an error with its place."""
        try:
            value = super().construct_object(node, deep=deep)
        except yaml.YAMLError:
            raise
        except Exception as error:  # a month 13, an integer without digits: Python's own complaint, of any kind
            problem = f"no valid {node.tag.rpartition(':')[2]}"
            raise ConstructorError(problem=problem, problem_mark=node.start_mark) from error
        if isinstance(value, int) and value.bit_length() > _MOST_BITS:
            raise ConstructorError(problem="a whole number beyond 2^63", problem_mark=node.start_mark)
        return value


def read_yaml(file: Path) -> object:
    """Return what a YAML file holds.

    Raises
    ------
    ConfigError
        If it cannot be read, holds a key twice or a whole number beyond 2^63, or is larger than 1 MB, 100,000 values
        (aliases written out) or 20 levels. Names line and column, and quotes nothing: the file may hold a secret by
        mistake.
    """
    try:
        content = file.read_bytes()
    except OSError as error:
        raise ConfigError(f"{file}: cannot be read: {error.strerror}") from error
    if len(content) > _MOST_BYTES:
        raise ConfigError(f"{file}: has {len(content)} bytes, a configuration has at most {_MOST_BYTES}")
    return yaml_value(content, str(file))


def yaml_value(text: str | bytes, where: str) -> object:
    """Return what a YAML text holds; see `read_yaml`."""
    try:
        return _Loader(text).get_single_data()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        at = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        problem = (error.problem or "").partition("'")[0].strip()  # what follows is quoted
        raise ConfigError(f"{where}: {at}cannot be read as YAML: {problem}") from None  # the cause quotes too
    except (yaml.YAMLError, ValueError):
        raise ConfigError(f"{where}: cannot be read as YAML: some of it is no text in UTF-8") from None


def _mapping(folder: Path, name: str) -> dict[str, Any]:  # Any: YAML before it is checked
    file = folder / name if (folder / name).is_file() else DEFAULT_FOLDER / name
    return _as_mapping(read_yaml(file), str(file))


def _as_mapping(content: object, where: str) -> dict[str, Any]:
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        raise ConfigError(f"{where}: must be a mapping of names to settings, found {content!r:.80}")
    return content


def _record(kind: type[T], entry: object, where: str, **given: object) -> T:
    """Check a mapping against a dataclass of the domain, types and unknown keys, and return the plain record."""
    values = {**_as_mapping(entry, where), **given}
    try:
        found = _adapter(kind).validate_python(values)
    except ValidationError as error:
        first = error.errors()[0]
        at = ".".join(str(part) for part in first["loc"])
        raise ConfigError(f"{where}: {at}: {first['msg'].lower()} (found {first['input']!r:.80})") from error
    except ConfigError as error:  # the record's own rules
        raise ConfigError(f"{where}: {error}") from error
    return kind(**{f.name: getattr(found, f.name) for f in fields(kind)})


@cache
def _adapter(kind: type[Any]) -> TypeAdapter[Any]:  # Any: pydantic's own wrapper of the dataclass
    """The check of a dataclass; made once, for it takes longer than all it checks."""
    return TypeAdapter(checked(kind, config=ConfigDict(extra="forbid"), frozen=True))
