"""Which combinations of parameters a search may try: dimensions, conditions between them, constraints."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction
from functools import cached_property
from typing import Any, Final, TypeAlias, get_type_hints

import numpy as np

from grodtd.domain.bars import FloatArray, IntArray
from grodtd.domain.errors import ConfigError, StrategyError
from grodtd.domain.strategy import ParamValue, Strategy
from grodtd.optimize.constraints import BoolArray, Constraint

GRID_MAX: Final = 10**9
_EXACT: Final = 2**53  # every whole number up to here is a float
_ROWS_TRIED: Final = 2**16  # where a space is too large to look for one valid combination everywhere
_ROWS_LISTED: Final = 2**20

When: TypeAlias = Mapping[str, tuple[float, ...]]


@dataclass(frozen=True)
class Int:
    """Whole numbers low, low + step, ... up to high.

    Attributes
    ----------
    low, high, step : int
        A step that does not divide the range ends it at the last value below `high`.
    log : bool
        Samplers draw evenly in the logarithm (step 1, low at least 1); the grid still holds every value.
    when : mapping of parameter to values
        The parameter matters only while each of these has one of the values listed.

    Raises
    ------
    ConfigError
        From the constructor, if a bound is not a whole number or the range is empty or inverted.
    """

    low: int
    high: int
    step: int = 1
    log: bool = False
    when: When = field(default_factory=dict)

    def __post_init__(self) -> None:
        held: dict[str, object] = {"low": self.low, "high": self.high, "step": self.step}  # from YAML: anything
        for name, value in held.items():
            if not isinstance(value, int) or isinstance(value, bool) or abs(value) > _EXACT:
                raise ConfigError(
                    f"{name} must be a whole number of at most 2^53, found {value!r}; for others use float"
                )
        _check_range(self.low, self.high, self.step)
        if self.log and self.step != 1:
            raise ConfigError(f"log needs step 1, found step {self.step}; leave one of them out, or use choices")
        _check_log(self.log, self.low)

    @property
    def size(self) -> int:
        """How many values there are."""
        return (self.high - self.low) // self.step + 1

    def values_at(self, index: IntArray) -> FloatArray:
        """Return the values at these positions, 0 to size - 1."""
        return np.asarray(self.low + self.step * index, dtype=np.float64)

    def from_unit(self, u: FloatArray) -> FloatArray:
        """Return the values at these places of the unit interval [0, 1), each value with an equal share."""
        if self.log:
            value = np.floor(np.exp(math.log(self.low) + u * (math.log(self.high + 1) - math.log(self.low))))
            return np.clip(value, self.low, self.high)
        return self.values_at(_cell(u, self.size))


@dataclass(frozen=True)
class Float:
    """Numbers from low to high, both included; with a step: low + i * step as decimals, so that 3 * 0.1 is 0.3.

    Attributes
    ----------
    low, high : float
    step : float or None
        None: continuous, which a grid cannot list.
    log : bool
        Samplers draw evenly in the logarithm (no step, low above zero).
    when : mapping of parameter to values
        As for `Int`.

    Raises
    ------
    ConfigError
        From the constructor, if a bound is not finite or the range is empty or inverted.
    """

    low: float
    high: float
    step: float | None = None
    log: bool = False
    when: When = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, value in (("low", self.low), ("high", self.high), ("step", self.step)):
            if value is not None and not _is_number(value):
                raise ConfigError(
                    f"{name} must be a finite number, found {value!r} (YAML takes 1e-3 for text: write 0.001)"
                )
        _check_range(self.low, self.high, self.step)
        if self.log and self.step is not None:
            raise ConfigError(f"log and step exclude each other, found step {self.step}; drop one, or use choices")
        _check_log(self.log, self.low)

    @cached_property
    def size(self) -> int | None:
        """How many values there are; None if continuous."""
        if self.step is None:
            return None
        return int((_exactly(self.high) - _exactly(self.low)) // _exactly(self.step)) + 1

    def values_at(self, index: IntArray) -> FloatArray:
        """Return the values at these positions, 0 to size - 1, each the float nearest to the decimal."""
        assert self.step is not None, "only stepped ranges have positions"
        low, step = _exactly(self.low), _exactly(self.step)
        unit = math.lcm(low.denominator, step.denominator)
        first, stride = int(low * unit), int(step * unit)
        if unit <= 10**22 and max(abs(first), abs(first + stride * ((self.size or 1) - 1))) <= _EXACT:
            # Numerator and denominator are exact floats, so that their quotient is correctly rounded.
            return np.asarray((first + stride * index) / float(unit), dtype=np.float64)
        return np.array([float(low + step * i) for i in index.tolist()])

    def from_unit(self, u: FloatArray) -> FloatArray:
        """Return the values at these places of the unit interval [0, 1)."""
        if self.size is not None:
            return self.values_at(_cell(u, self.size))
        if self.log:
            value = np.exp(math.log(self.low) + u * (math.log(self.high) - math.log(self.low)))
        else:
            value = self.low + u * (self.high - self.low)
        return np.clip(value, self.low, self.high)


@dataclass(frozen=True)
class Categorical:
    """A list of numbers, tried in this order.

    Attributes
    ----------
    choices : tuple of float
    when : mapping of parameter to values
        As for `Int`.

    Raises
    ------
    ConfigError
        From the constructor, if fewer than two choices are left, one is not a finite number or one is repeated.
    """

    choices: tuple[float, ...]
    when: When = field(default_factory=dict)

    def __post_init__(self) -> None:
        odd = [choice for choice in self.choices if not _is_number(choice)]
        if odd:
            raise ConfigError(f"choices must be finite numbers, found {odd[0]!r}")
        if len(set(self.choices)) < len(self.choices):
            raise ConfigError(f"choices must differ, found {list(self.choices)}; write each once")
        if len(self.choices) < 2:
            raise ConfigError(f"needs two choices or more, found {list(self.choices)}; a fixed value goes under params")

    @property
    def size(self) -> int:
        """How many choices there are."""
        return len(self.choices)

    def values_at(self, index: IntArray) -> FloatArray:
        """Return the choices at these positions, 0 to size - 1."""
        return np.asarray(self.choices, dtype=np.float64)[index]

    def from_unit(self, u: FloatArray) -> FloatArray:
        """Return the choices at these places of the unit interval [0, 1), each with an equal share."""
        return self.values_at(_cell(u, self.size))


Dimension: TypeAlias = Int | Float | Categorical
_KEYS: Final = {"int": ("step", "log", "when"), "float": ("step", "log", "when"), "choices": ("when",)}


@dataclass(frozen=True, eq=False)
class Space:
    """The combinations of one strategy's parameters that a search may try.

    A combination is a row of float64, one value per dimension in the order declared. A parameter whose conditions
    are not met is inactive: its value is `fixed` or else the strategy's default, so that one combination is one row.

    Attributes
    ----------
    strategy : Strategy
    dimensions : mapping of parameter to Dimension
    constraints : tuple of Constraint
        All are met by a valid combination, as is the strategy's own `is_valid`.
    fixed : mapping of parameter to value
        Parameters outside the search; those named nowhere have the strategy's default.

    Raises
    ------
    ConfigError
        From the constructor, if a parameter is unknown or has values it cannot take, or conditions go in a circle.
    """

    strategy: Strategy
    dimensions: Mapping[str, Dimension]
    constraints: tuple[Constraint, ...] = ()
    fixed: Mapping[str, ParamValue] = field(default_factory=dict)

    def __post_init__(self) -> None:
        where = f"space of {self.strategy.name}"
        if not self.dimensions:
            first = next(iter(self._kinds), "name")
            raise ConfigError(f"{where}: is empty; list parameters to search, such as {{{first}: {{int: [5, 60]}}}}")
        for name, dimension in self.dimensions.items():
            if name not in self._kinds:
                raise ConfigError(f"{where}: no parameter {name}; {self.strategy.name} has {', '.join(self._kinds)}")
            if name in self.fixed:
                raise ConfigError(f"{where}: {name} is searched and fixed to {self.fixed[name]}; choose one")
            if self._kinds[name] is int and not _is_whole(dimension):
                raise ConfigError(f"{where}: {name}: is a whole number, found {dimension}; use int, or whole choices")
            for other, values in dimension.when.items():
                if other not in self.dimensions:
                    raise ConfigError(f"{where}: {name}: when names {other}, which is not searched; drop the condition")
                cannot = [value for value in values if not _holds_value(self.dimensions[other], value)]
                if cannot or not values:
                    raise ConfigError(
                        f"{where}: {name}: when {other} is {list(values)}: {other} never takes"
                        f" {cannot[0] if cannot else 'none of nothing'}; list values of {self.dimensions[other]}"
                    )
        if len(self._parents_first) < len(self.dimensions):
            circle = [name for name in self.dimensions if name not in self._parents_first]
            raise ConfigError(f"{where}: the conditions of {', '.join(circle)} go in a circle; drop one of them")

    @classmethod
    def parse(
        cls,
        mapping: object,
        strategy: Strategy,
        constraints: Sequence[object] = (),
        fixed: Mapping[str, ParamValue] | None = None,
    ) -> Space:
        """Read a space as it stands in YAML.

        Parameters
        ----------
        mapping : mapping of parameter to dimension
            ``{int: [low, high], step: 1, log: false}``, ``{float: [low, high], step: 0.25}``, ``{choices: [1, 2]}``,
            each with an optional ``when: {other: [values]}``.
        strategy : Strategy
        constraints : sequence of str
            See `Constraint.parse`.
        fixed : mapping of parameter to value
            Parameters outside the search that differ from the strategy's defaults.

        Raises
        ------
        ConfigError
            If anything is unknown, missing or impossible, or no combination is valid (of a grid of up to 2^20
            combinations every one is looked at, otherwise 2^16 drawn by lot); the message names the parameter.
        """
        where = f"space of {strategy.name}"
        if not isinstance(mapping, Mapping):
            raise ConfigError(f"{where}: must map parameters to ranges, found {mapping!r:.80}")
        names = list(get_type_hints(strategy.params))
        dimensions = {}
        for name, entry in mapping.items():
            try:
                dimensions[str(name)] = _dimension(entry)
            except ConfigError as error:
                raise ConfigError(f"{where}: {name}: {error}") from error
        if isinstance(constraints, str):
            raise ConfigError(f"constraints of {strategy.name}: must be a list, found the text {constraints!r}")
        try:
            claims = tuple(Constraint.parse(text, names) for text in constraints)
            values = dict(fixed or {})
            strategy.check_params({name: value for name, value in values.items() if name not in names})
        except (ConfigError, StrategyError) as error:
            raise ConfigError(f"constraints of {strategy.name}: {error}") from error
        space = cls(strategy, dimensions, claims, values)
        space._refuse_if_nothing_is_valid()
        return space

    @property
    def names(self) -> tuple[str, ...]:
        """The parameters searched, in the order of a row."""
        return tuple(self.dimensions)

    @property
    def is_finite(self) -> bool:
        """Whether every dimension lists its values, so that a grid can."""
        return all(dimension.size is not None for dimension in self.dimensions.values())

    @cached_property
    def cells(self) -> int:
        """The product of the sizes of all dimensions: positions of `at`.

        Raises
        ------
        ConfigError
            If a dimension is continuous.
        """
        for name, dimension in self.dimensions.items():
            if dimension.size is None:
                raise ConfigError(
                    f"space of {self.strategy.name}: {name}: a grid needs a step, found a continuous range; add"
                    f" step: {(dimension.high - dimension.low) / 10:.2g}, or search by random, sobol, tpe or cmaes"
                )
        return math.prod(dimension.size or 1 for dimension in self.dimensions.values())

    def size(self) -> int:
        """Return how many different combinations there are before constraints.

        Combinations that differ only in inactive parameters are one.

        Raises
        ------
        ConfigError
            If a dimension is continuous.
        """
        if not self._parents:
            return self.cells
        assert self.cells, "checks that every dimension lists its values"
        mentioned: dict[str, set[float]] = {name: set() for name in self.dimensions}
        for dimension in self.dimensions.values():
            for other, values in dimension.when.items():
                mentioned[other] |= {float(value) for value in values}
        order = self._parents_first

        def count(position: int, state: dict[str, float | None]) -> int:
            if position == len(order):
                return 1
            name = order[position]
            dimension = self.dimensions[name]
            if not all(state[other] in values for other, values in dimension.when.items()):
                return count(position + 1, {**state, name: None})
            listed = mentioned[name]
            total = sum(count(position + 1, {**state, name: value}) for value in sorted(listed))
            others = (dimension.size or 0) - len(listed)
            return total + (others * count(position + 1, {**state, name: None}) if others else 0)

        return count(0, {})

    def values_of(self, name: str) -> FloatArray:
        """Return every value of a dimension, in the order of the grid; ConfigError if it is continuous."""
        dimension = self.dimensions[name]
        if dimension.size is None or dimension.size > GRID_MAX:
            raise ConfigError(f"space of {self.strategy.name}: {name}: {dimension} cannot be listed; give it a step")
        return dimension.values_at(np.arange(dimension.size))

    def at(self, cells: IntArray) -> FloatArray:
        """Return the combinations at these positions of the product of all dimensions, shape (<= n, n_dimensions).

        The last dimension varies fastest. Positions that repeat a combination because they differ only in inactive
        parameters are left out; constraints are not looked at.
        """
        remaining = np.asarray(cells, dtype=np.int64)
        index = np.empty((remaining.size, len(self.dimensions)), dtype=np.int64)
        rows = np.empty(index.shape)
        for j, dimension in reversed(list(enumerate(self.dimensions.values()))):
            remaining, index[:, j] = np.divmod(remaining, dimension.size or 1)
            rows[:, j] = dimension.values_at(index[:, j])
        if not self._parents:
            return rows
        active = self.active(rows)
        # Among the positions of one combination the first stands for all.
        first = np.all(active | (index == 0), axis=1)
        return np.where(active, rows, self._defaults)[first]

    def grid(self, chunk_rows: int = 2**16) -> Iterator[FloatArray]:
        """Yield every valid combination once, in chunks of shape (<= chunk_rows, n_dimensions), float64.

        In the order of `at`: the last dimension varies fastest.

        Raises
        ------
        ConfigError
            If a dimension is continuous or there are more than 10^9 cells.
        """
        if self.cells > GRID_MAX:
            sizes = sorted(((d.size or 0, name) for name, d in self.dimensions.items()), reverse=True)
            raise ConfigError(
                f"space of {self.strategy.name}: a grid of {self.cells:,} combinations is more than {GRID_MAX:,};"
                f" widen the steps or narrow the ranges ({', '.join(f'{name} has {n:,}' for n, name in sizes[:3])}),"
                " or search by random, sobol or tpe"
            )
        for start in range(0, self.cells, chunk_rows):
            rows = self.at(np.arange(start, min(start + chunk_rows, self.cells)))
            rows = rows[self.valid(rows)]
            if rows.size:
                yield rows

    def from_unit(self, points: FloatArray) -> FloatArray:
        """Return the combinations at these points of the unit cube [0, 1)^n_dimensions, shape (n, n_dimensions).

        Each value has an equal share (of the logarithm where `log`); valid or not.
        """
        columns = [d.from_unit(points[:, j]) for j, d in enumerate(self.dimensions.values())]
        return self.with_defaults(np.column_stack(columns))

    def with_defaults(self, rows: FloatArray) -> FloatArray:
        """Return the rows with the values of inactive parameters replaced, so that one combination is one row."""
        return np.where(self.active(rows), rows, self._defaults) if self._parents else rows

    def active(self, rows: FloatArray) -> BoolArray:
        """Return for each value whether its parameter matters in its row, shape (n, n_dimensions)."""
        active = np.ones(rows.shape, dtype=np.bool_)
        for name in self._parents_first:
            j = self.names.index(name)
            for other, values in self.dimensions[name].when.items():
                k = self.names.index(other)
                active[:, j] &= active[:, k] & np.isin(rows[:, k], values)
        return active

    def valid(self, rows: FloatArray) -> BoolArray:
        """Return for each combination whether it meets the constraints and the strategy's `is_valid`, shape (n,)."""
        columns: dict[str, FloatArray | float] = {name: float(value) for name, _, _, value in self._slots}
        columns |= {name: rows[:, j] for j, name in enumerate(self.names)}
        valid = np.ones(len(rows), dtype=np.bool_)
        for constraint in self.constraints:
            valid &= constraint.holds(columns)
        candidates = np.flatnonzero(valid)
        for i, row in zip(candidates.tolist(), rows[candidates].tolist(), strict=True):
            valid[i] = not self.strategy.is_valid(self._params(row))
        return valid

    def as_params(self, row: Sequence[float] | FloatArray) -> tuple[Any, ...]:
        """Return a combination as the strategy's parameters, its NamedTuple, types as declared."""
        return self._params([float(value) for value in row])

    def as_mapping(self, row: Sequence[float] | FloatArray) -> dict[str, ParamValue]:
        """Return a combination as parameter names and values, those outside the search included."""
        return dict(zip(self._kinds, self.as_params(row), strict=True))

    def _params(self, row: Sequence[float]) -> tuple[Any, ...]:
        return self.strategy.params(*[kind(value if j is None else row[j]) for _, kind, j, value in self._slots])

    @cached_property
    def _kinds(self) -> dict[str, type]:
        return get_type_hints(self.strategy.params)

    @cached_property
    def _slots(self) -> list[tuple[str, type, int | None, ParamValue]]:
        """For each parameter of the strategy: name, type, its column or None, its value outside the search."""
        defaults = self.strategy.params()._asdict() | dict(self.fixed)  # type: ignore[attr-defined]  # a NamedTuple
        column = {name: j for j, name in enumerate(self.names)}
        return [(name, kind, column.get(name), defaults[name]) for name, kind in self._kinds.items()]

    @cached_property
    def _defaults(self) -> FloatArray:
        values = {name: value for name, _, _, value in self._slots}
        return np.array([float(values[name]) for name in self.names])

    @cached_property
    def _parents(self) -> bool:
        return any(dimension.when for dimension in self.dimensions.values())

    @cached_property
    def _parents_first(self) -> list[str]:
        """Dimensions ordered so that conditions come before what they decide; those in a circle are left out."""
        order: list[str] = []
        while ready := [
            name for name, d in self.dimensions.items() if name not in order and all(o in order for o in d.when)
        ]:
            order += ready
        return order

    def _refuse_if_nothing_is_valid(self) -> None:
        if self.is_finite and self.cells <= _ROWS_LISTED:
            if next(self.grid(4096), None) is not None:
                return
            tried = f"none of its {self.size():,} combinations"
        else:
            points = np.random.default_rng(0).random((_ROWS_TRIED, len(self.dimensions)))
            if any(self.valid(self.from_unit(part)).any() for part in np.array_split(points, 64)):
                return
            tried = f"none of {_ROWS_TRIED:,} combinations drawn by lot"
        rules = [f"{constraint.text!r}" for constraint in self.constraints]
        complaint = self.strategy.is_valid(self._params(self.from_unit(np.full((1, len(self.names)), 0.5))[0].tolist()))
        rules += [f"the strategy itself ({complaint})"] if complaint else []
        raise ConfigError(
            f"space of {self.strategy.name}: {tried} is valid under {' and '.join(rules) or 'the strategy itself'};"
            " widen the ranges or drop a constraint"
        )


def _dimension(entry: object) -> Dimension:
    kinds = [kind for kind in _KEYS if isinstance(entry, Mapping) and kind in entry]
    if not isinstance(entry, Mapping) or len(kinds) != 1:
        raise ConfigError(f"needs one of int: [low, high], float: [low, high] or choices: [...], found {entry!r:.80}")
    kind = kinds[0]
    unknown = [str(key) for key in entry if key != kind and key not in _KEYS[kind]]
    if unknown:
        raise ConfigError(f"unknown key {', '.join(unknown)}; beside {kind} there are {', '.join(_KEYS[kind])}")
    log = entry.get("log", False)
    if not isinstance(log, bool):
        raise ConfigError(f"log is true or false, found {log!r}")
    when = _when(entry.get("when", {}))
    values = entry[kind]
    if not isinstance(values, list | tuple):
        raise ConfigError(f"{kind} needs a list, found {values!r:.80}")
    if kind == "choices":
        return Categorical(tuple(values), when)
    if len(values) != 2:
        raise ConfigError(f"{kind} needs [low, high], found {values!r:.80}")
    if kind == "int":
        return Int(values[0], values[1], entry.get("step", 1), log, when)
    return Float(values[0], values[1], entry.get("step"), log, when)


def _when(entry: object) -> When:
    if not isinstance(entry, Mapping):
        raise ConfigError(f"when maps a parameter to a list of values, found {entry!r:.80}")
    conditions = {}
    for other, values in entry.items():
        if not isinstance(values, list | tuple) or not values or not all(_is_number(value) for value in values):
            raise ConfigError(f"when {other} needs a list of numbers, found {values!r:.80}")
        conditions[str(other)] = tuple(float(value) for value in values)
    return conditions


def _check_range(low: float, high: float, step: float | None) -> None:
    if low > high:
        raise ConfigError(f"low must be below high, found [{low}, {high}]; swap them")
    if low == high:
        raise ConfigError(f"low must be below high, found [{low}, {high}]; a fixed value goes under params")
    if step is not None and step <= 0:
        raise ConfigError(f"step must be above zero, found {step}")
    if step is not None and _exactly(step) > _exactly(high) - _exactly(low):
        raise ConfigError(f"step {step} is larger than the range [{low}, {high}]; make it smaller or list choices")


def _check_log(log: bool, low: float) -> None:
    if log and low <= 0:
        raise ConfigError(f"log needs low above zero, found {low}; raise it or drop log")


def _is_number(value: object) -> bool:
    # No isfinite: it raises where an integer is larger than any float.
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max


def _is_whole(dimension: Dimension) -> bool:
    if isinstance(dimension, Categorical):
        return all(choice == int(choice) for choice in dimension.choices)
    return isinstance(dimension, Int)


def _holds_value(dimension: Dimension, value: float) -> bool:
    if isinstance(dimension, Categorical):
        return value in dimension.choices
    if dimension.step is None or not dimension.low <= value <= dimension.high:
        return False
    nearest = round((_exactly(value) - _exactly(dimension.low)) / _exactly(dimension.step))
    return 0 <= nearest < (dimension.size or 0) and float(dimension.values_at(np.array([nearest]))[0]) == value


def _exactly(value: float) -> Fraction:
    """The decimal as it was written, not the binary float nearest to it."""
    return Fraction(Decimal(repr(value)))


def _cell(u: FloatArray, size: int) -> IntArray:
    return np.minimum((u * size).astype(np.int64), size - 1)
