"""The strategy contract: declared features, a stateless side, a bracket. Written once, run two ways.

Research calls `Strategy.decisions` on history; the live trader feeds `DecisionStream` bar by bar. Both run the same
compiled indicator updates and the same compiled rules, so they cannot drift apart.
"""

from __future__ import annotations

import math
import sys
import types
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Final, Literal, NamedTuple, TypeVar, get_type_hints

import numpy as np
import numpy.typing as npt

from grodtd.domain.bars import COLUMNS, Bar, Bars, FloatArray, SideArray, utc
from grodtd.domain.errors import StrategyError
from grodtd.domain.indicator import MAX_FILLED_GAP_BARS, Indicator, IndicatorStream, missing_bars
from grodtd.domain.kernel import kernel, kernel_from_source

Role = Literal["feature", "rule", "bracket"]
ParamValue = int | float
F = TypeVar("F", bound=Callable[..., Any])


class Bracket(NamedTuple):
    """How to get in and out: distances in price as of the decision's close; nan or <= 0 means absent. See `levels`.

    Attributes
    ----------
    stop, target : float
        From the entry's fill price.
    trail : float
        From the best price since the entry.
    break_even : float
        Once the price has gone this far our way, the entry price is a stop.
    limit : float
        Enter by a resting limit this far on our side of the close, instead of at the next open.
    max_bars : float
        Leave at the open after so many bars.
    """

    stop: float
    target: float
    trail: float
    break_even: float
    limit: float
    max_bars: float


@kernel
def levels(
    stop: float = math.nan,
    target: float = math.nan,
    trail: float = math.nan,
    break_even: float = math.nan,
    limit: float = math.nan,
    max_bars: float = math.nan,
) -> Bracket:
    """Return the bracket with these entries, the others absent; for rules, where numba allows a class no defaults."""
    return Bracket(stop, target, trail, break_even, limit, max_bars)


BRACKET_ROWS: Final = len(Bracket._fields)
Features = dict[str, Indicator]


def rule(function: F) -> F:
    """Compile one rule of a strategy: `decide(bar, row, params) -> int` or `bracket(row, params) -> Bracket`.

    A rule sees one closed bar, the features after it and the parameters, and nothing else: it has no memory and
    no way to look ahead. Anything stateful is an indicator.
    """
    return kernel(function)


@dataclass(frozen=True, slots=True, eq=False)
class Decisions:
    """What a strategy wanted after each close.

    Attributes
    ----------
    features : float64 array, shape (n_features, n_bars)
        In the order of the strategy's row; nan while undefined.
    side : int8 array, shape (n_bars,)
        +1, -1 or 0; 0 while a feature is undefined or not yet warm (C4a).
    bracket : float64 array, shape (6, n_bars)
        Rows of `Bracket`.
    """

    features: FloatArray
    side: SideArray
    bracket: FloatArray


@dataclass(frozen=True)
class Strategy:
    """A trading idea, complete.

    Attributes
    ----------
    name, description : str
    params : NamedTuple class
        Its parameters, every field int or float with a default.
    row : NamedTuple class of floats
        Its features by name, as the rules see them.
    features : function (params) -> Features
        Which indicator fills which field of the row.
    decide : rule (bar, row, params) -> int
        The wanted side after this close.
    bracket : rule (row, params) -> Bracket
        Exit distances, read only where an entry is decided.
    roles : mapping of parameter to {"feature", "rule", "bracket"}
        What each parameter touches; a sweep recomputes only that.
    is_valid : function (params) -> str
        Empty text, or what is wrong with this combination.
    regimes : set of str
        Market regimes it is meant for.
    """

    name: str
    params: type[tuple[Any, ...]]  # a NamedTuple class; typing has no name for "any NamedTuple"
    row: type[tuple[Any, ...]]  # likewise
    features: Callable[[Any], Features]
    decide: Callable[[Bar, Any, Any], int]
    bracket: Callable[[Any, Any], Bracket]
    roles: Mapping[str, Role]
    is_valid: Callable[[Any], str] = field(default=lambda _: "")
    regimes: frozenset[str] = frozenset()
    description: str = ""

    def __post_init__(self) -> None:
        if set(self.roles) != set(_fields(self.params)):
            raise StrategyError(
                f"{self.name}: every parameter declares its role; parameters {sorted(_fields(self.params))},"
                f" roles for {sorted(self.roles)}"
            )

    @property
    def module(self) -> str:
        """Dotted name of the module the rules stand in."""
        return str(getattr(self.decide, "py_func", self.decide).__module__)

    def check_params(self, given: Mapping[str, ParamValue]) -> tuple[Any, ...]:
        """Return the parameters with defaults filled in.

        Raises
        ------
        StrategyError
            If a name is unknown, a value is not a finite number of the declared type, or the combination is invalid.
        """
        hints = get_type_hints(self.params)
        unknown = sorted(set(given) - set(hints))
        if unknown:
            raise StrategyError(f"{self.name} has no parameter {', '.join(unknown)}; it has {', '.join(hints)}")
        values: dict[str, ParamValue] = {}
        for name, value in given.items():
            if not _is_number(value):
                raise StrategyError(f"{self.name}: {name} must be a finite number, found {value!r}")
            if hints[name] is int and value != int(value):
                raise StrategyError(f"{self.name}: {name} must be a whole number, found {value}")
            values[name] = hints[name](value)
        params = self.params(**values)
        complaint = self.is_valid(params)
        if complaint:
            raise StrategyError(f"{self.name}: {complaint}")
        return params

    def indicators(self, params: tuple[Any, ...]) -> list[Indicator]:
        """Return the indicators in the order of the row."""
        declared = self.features(params)
        if set(declared) != set(_fields(self.row)):
            raise StrategyError(
                f"{self.name}: features {sorted(declared)} do not match its row {sorted(_fields(self.row))}"
            )
        return [declared[name] for name in _fields(self.row)]

    def warmup_bars(self, params: tuple[Any, ...]) -> int:
        """Return how many bars must be seen before the first entry: the slowest indicator's warm-up."""
        return _slowest(self.indicators(params))

    def decisions(self, bars: Bars, params: tuple[Any, ...]) -> Decisions:
        """Return features, sides and brackets for every bar of history.

        Raises
        ------
        StrategyError
            If the rule gives anything but -1, 0 or +1.
        """
        indicators = self.indicators(params)
        features = np.empty((len(indicators), len(bars)))
        for i, indicator in enumerate(indicators):
            features[i] = indicator.values(bars)
        side, bracket = self.evaluate(bars, features, params)
        return Decisions(features, side, bracket)

    def evaluate(self, bars: Bars, features: FloatArray, params: tuple[Any, ...]) -> tuple[SideArray, FloatArray]:
        """Return (side, bracket) from features already computed; the stateless half of `decisions`."""
        ready = self.ready(bars, features, params)
        side = np.zeros(len(bars), dtype=np.int8)
        bracket = np.full((BRACKET_ROWS, len(bars)), np.nan)
        columns = [getattr(bars, name) for name in COLUMNS]
        try:
            failed_at = _loop_over(self)(bars.time, *columns, features, ready, params, side, bracket)
        except Exception as error:
            raise self._explained(error, bars, features, ready, params) from error
        if failed_at >= 0:
            raise StrategyError(
                f"{location(self.decide)}: decide() of {self.name} must return -1, 0 or +1; at bar {failed_at}"
                f" ({utc(bars.time[failed_at])} UTC) it returned something else, such as nan; mend that case"
            )
        return side, bracket

    def ready(self, bars: Bars, features: FloatArray, params: tuple[Any, ...]) -> npt.NDArray[np.bool_]:
        """Return for each bar whether every feature is defined and warm since the start or the last long gap."""
        indicators = self.indicators(params)
        seen = np.arange(len(bars)) + 1
        since_gap = seen
        if bars.gap_step_us:
            first = np.zeros(len(bars), dtype=np.int64)
            starts = np.flatnonzero(np.diff(bars.time) // bars.gap_step_us - 1 > MAX_FILLED_GAP_BARS) + 1
            first[starts] = starts
            since_gap = seen - np.maximum.accumulate(first)
        ready: npt.NDArray[np.bool_] = (
            (seen >= _slowest(indicators))
            & (since_gap >= _slowest(i for i in indicators if i.restarts_after_gap))
            & ~np.isnan(features).any(axis=0)
        )
        return ready

    def _explained(
        self,
        error: Exception,
        bars: Bars,
        features: FloatArray,
        ready: npt.NDArray[np.bool_],
        params: tuple[Any, ...],
    ) -> StrategyError:
        """Return what a rule did wrong: the bar and the line where it raises, or why it cannot be compiled."""
        decide: Any = getattr(self.decide, "py_func", self.decide)  # Any: a function of a user
        bracket: Any = getattr(self.bracket, "py_func", self.bracket)
        columns = [getattr(bars, name) for name in COLUMNS]
        for t in np.flatnonzero(ready).tolist():
            row = self.row(*features[:, t].tolist())
            try:
                decide(Bar(int(bars.time[t]), *(float(column[t]) for column in columns)), row, params)
                bracket(row, params)
            except Exception as raised:  # whatever a user's rule raises is what we look for
                frame = raised.__traceback__
                inside = frame.tb_next if frame and frame.tb_next else frame
                line = inside.tb_lineno if inside else 0
                return StrategyError(
                    f"{decide.__code__.co_filename}:{line}: {self.name} raises {type(raised).__name__}: {raised}"
                    f" at bar {t} ({utc(bars.time[t])} UTC), where the features are {row}; guard that case in the rule"
                )
        text = " ".join(str(error).split())
        return StrategyError(
            f"{location(self.decide)}: the rules of {self.name} cannot be compiled; a rule takes plain numbers, math"
            " and comparisons, decide() returns an int and bracket() returns levels(...). numba says:"
            f" {type(error).__name__}: {text[:600]}"
        )


def _slowest(indicators: Iterable[Indicator]) -> int:
    return max((i.warmup_bars for i in indicators), default=1)


def location(function: Callable[..., Any]) -> str:
    """Return where a function is written, as file:line."""
    code = getattr(function, "py_func", function).__code__
    return f"{code.co_filename}:{code.co_firstlineno}"


class DecisionStream:
    """One strategy fed bar by bar; gives what `Strategy.decisions` gives for the same bars."""

    def __init__(self, strategy: Strategy, params: tuple[Any, ...], *, gap_step_us: int) -> None:
        self.strategy = strategy
        self.params = params
        self._streams = [IndicatorStream(i, gap_step_us=gap_step_us) for i in strategy.indicators(params)]
        indicators = [stream.indicator for stream in self._streams]
        self._warmup_bars = _slowest(indicators)
        self._warmup_after_gap = _slowest(i for i in indicators if i.restarts_after_gap)
        self._gap_step_us = gap_step_us
        self._last_time: int | None = None
        self._seen = self._since_gap = 0

    def update(self, bar: Bar) -> tuple[int, Bracket]:
        """Take in one closed bar; return the wanted side and the bracket as of its close."""
        if self._last_time is not None:
            missing = missing_bars(self._last_time, bar.time, self._gap_step_us)
            self._since_gap = 0 if missing > MAX_FILLED_GAP_BARS else self._since_gap
        self._last_time = bar.time
        self._seen += 1
        self._since_gap += 1
        values = [stream.update(bar) for stream in self._streams]
        is_warm = self._seen >= self._warmup_bars and self._since_gap >= self._warmup_after_gap
        if not is_warm or any(math.isnan(v) for v in values):
            return 0, levels()
        row = self.strategy.row(*values)  # type: ignore[arg-type]  # a NamedTuple takes its fields
        side = self.strategy.decide(bar, row, self.params)
        if side not in (-1, 0, 1):
            raise StrategyError(f"{self.strategy.name}: decide() must return -1, 0 or +1, found {side}")
        return side, self.strategy.bracket(row, self.params)


def _is_number(value: object) -> bool:
    # No isfinite: it raises where an integer is larger than any float.
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max


def _fields(named_tuple: type[tuple[Any, ...]]) -> tuple[str, ...]:
    fields: tuple[str, ...] = named_tuple._fields  # type: ignore[attr-defined]  # every NamedTuple class has it
    return fields


_LOOP = """
def rows(time, open_, high, low, close, volume, features, ready, params, side, out):
    for t in range(time.size):
        if ready[t]:
            row = Row({row})
            wanted = decide(Bar(time[t], open_[t], high[t], low[t], close[t], volume[t]), row, params)
            if wanted != -1 and wanted != 0 and wanted != 1:
                return t
            side[t] = int(wanted)
            levels = bracket(row, params)
            out[0, t] = levels.stop
            out[1, t] = levels.target
            out[2, t] = levels.trail
            out[3, t] = levels.break_even
            out[4, t] = levels.limit
            out[5, t] = levels.max_bars
    return -1
"""


@cache
def _rows(
    decide: Callable[..., int], bracket: Callable[..., Bracket], row: type[tuple[Any, ...]]
) -> types.FunctionType:
    source = _LOOP.format(row=", ".join(f"features[{i}, t]" for i in range(len(_fields(row)))))
    scope = {"Bar": Bar, "Row": row, "decide": decide, "bracket": bracket}
    compiled: types.FunctionType = kernel_from_source(source, name="rows", like=decide, scope=scope)
    return compiled


def _loop_over(strategy: Strategy) -> types.FunctionType:
    return _rows(strategy.decide, strategy.bracket, strategy.row)
