"""Optimizers behind one pair of calls: `ask` for trials, `tell` what they were worth.

Every optimizer is a function of its seed, the sizes asked for and the objectives told, and of nothing else. So a search
goes on after a crash by asking again for the batches that were stored and telling what they gave.
"""

from __future__ import annotations

import importlib.util
import math
import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

import numpy as np
import numpy.typing as npt

from grodtd.domain.bars import FloatArray
from grodtd.domain.errors import ConfigError
from grodtd.optimize.space import Categorical, Dimension, Int, Space

# What an undefined objective counts as for a sampler: below every defined one. Those used here look at ranks only.
_UNDEFINED: Final = -1e300
_DRAWS_A_TRIAL_MAX: Final = 10_000
_ETA: Final = 3
_RUNGS: Final = 3


@dataclass(frozen=True, slots=True)
class Trial:
    """One combination to evaluate.

    Attributes
    ----------
    number : int
        From 0, in the order asked for.
    values : tuple of float
        A row of the space.
    budget : float
        Share of the history to evaluate it on, counted from its start.
    """

    number: int
    values: tuple[float, ...]
    budget: float = 1.0


class Optimizer(Protocol):
    """A search in progress."""

    def ask(self, n: int) -> list[Trial]:
        """Return up to `n` new trials; none when the search is over."""

    def tell(self, numbers: Sequence[int], objectives: FloatArray) -> None:
        """Take in objectives, shape (len(numbers), n_objectives), larger is better; nan where undefined."""


@dataclass(frozen=True, slots=True)
class Requirement:
    """A bound that a result must meet; one that misses it counts as undefined."""

    column: str
    bound: float
    is_minimum: bool

    @classmethod
    def parse(cls, text: str, columns: Sequence[str]) -> Requirement:
        """Read ``trade_count>=100`` or ``max_drawdown_daily>=-0.3``.

        Raises
        ------
        ConfigError
            If it is none of these, or names no column.
        """
        found = re.fullmatch(r"\s*(\w+)\s*(>=|<=)\s*(\S+)\s*", text)
        try:
            bound = float(found[3]) if found else math.nan
        except ValueError:
            bound = math.nan
        if not found or not math.isfinite(bound):
            raise ConfigError(f"a requirement reads like trade_count>=100, found {text!r}")
        if found[1] not in columns:
            raise ConfigError(f"requirement {text!r}: there is no column {found[1]}; there are {', '.join(columns)}")
        return cls(found[1], bound, found[2] == ">=")

    @property
    def text(self) -> str:
        """As `parse` reads it."""
        return f"{self.column}{'>=' if self.is_minimum else '<='}{self.bound:g}"

    def is_met(self, columns: Mapping[str, FloatArray]) -> npt.NDArray[np.bool_]:
        """Return for each row whether the bound is met; an undefined value meets none."""
        values = columns[self.column]
        return np.asarray(values >= self.bound if self.is_minimum else values <= self.bound)


def pareto_front(objectives: FloatArray) -> npt.NDArray[np.bool_]:
    """Return which rows no other row beats: at least as good in all objectives and better in one.

    Parameters
    ----------
    objectives : float64 array, shape (n, n_objectives)
        Larger is better; a row with nan is never on the front.
    """
    is_defined = np.asarray(~np.isnan(objectives).any(axis=1), dtype=np.bool_)
    front: npt.NDArray[np.bool_] = is_defined.copy()
    for row in np.flatnonzero(is_defined):
        others = objectives[front]
        front[row] = not ((others >= objectives[row]).all(axis=1) & (others > objectives[row]).any(axis=1)).any()
    return front


class _Listed:
    """Trials that do not depend on what is told: a grid, random or low-discrepancy points."""

    def __init__(self, rows: Iterator[FloatArray], most: int | None) -> None:
        self._rows = rows
        self._left = most
        self._waiting: list[tuple[float, ...]] = []
        self._asked = 0

    def ask(self, n: int) -> list[Trial]:
        n = n if self._left is None else min(n, self._left - self._asked)
        while len(self._waiting) < n:
            chunk = next(self._rows, None)
            if chunk is None:
                break
            self._waiting += [tuple(row) for row in chunk.tolist()]
        taken, self._waiting = self._waiting[:n], self._waiting[n:]
        trials = [Trial(self._asked + i, values) for i, values in enumerate(taken)]
        self._asked += len(trials)
        return trials

    def tell(self, numbers: Sequence[int], objectives: FloatArray) -> None:
        return


def _distinct(space: Space, points: Iterator[FloatArray]) -> Iterator[FloatArray]:
    """Yield valid combinations of points of the unit cube, each once."""
    seen: set[tuple[float, ...]] = set()
    drawn = found = 0
    for chunk in points:
        rows = space.from_unit(chunk)
        drawn += len(rows)
        new = []
        for row in rows[space.valid(rows)]:
            key = tuple(row.tolist())
            if key not in seen:
                seen.add(key)
                new.append(key)
        found += len(new)
        if new:
            yield np.array(new)
        if space.is_finite and len(seen) >= space.size():
            return
        if drawn > _DRAWS_A_TRIAL_MAX * max(found, 1) or (not new and drawn > 100 * max(found, 1_000)):
            return  # what is left is too rare to be drawn


def _grid(space: Space, seed: int, n_trials: int, n_objectives: int) -> Optimizer:
    return _Listed(space.grid(), None)


def _random(space: Space, seed: int, n_trials: int, n_objectives: int) -> Optimizer:
    rng = np.random.Generator(np.random.PCG64(seed))

    def points() -> Iterator[FloatArray]:
        while True:
            yield rng.random((1_024, len(space.names)))

    return _Listed(_distinct(space, points()), n_trials)


def _sobol(space: Space, seed: int, n_trials: int, n_objectives: int) -> Optimizer:
    try:
        from scipy.stats import qmc
    except ImportError as error:
        raise _missing("sobol", "scipy") from error
    sampler = qmc.Sobol(len(space.names), scramble=True, rng=np.random.Generator(np.random.PCG64(seed)))

    def points() -> Iterator[FloatArray]:
        while True:
            yield sampler.random(1_024)

    return _Listed(_distinct(space, points()), n_trials)


class _Halving:
    """Successive halving: many on a ninth of the history, the best third of them on a third, and so on.

    References
    ----------
    Jamieson and Talwalkar, "Non-stochastic best arm identification and hyperparameter optimization", AISTATS 2016.
    """

    def __init__(self, space: Space, seed: int, n_trials: int) -> None:
        first = max(int(n_trials / sum(_ETA**-k for k in range(_RUNGS))), _ETA ** (_RUNGS - 1))
        start = _random(space, seed, first, 1).ask(first)
        self._rung = 0
        self._queue = [trial.values for trial in start]
        self._asked = 0
        self._open: dict[int, tuple[float, ...]] = {}
        self._done: list[tuple[float, int, tuple[float, ...]]] = []

    def ask(self, n: int) -> list[Trial]:
        taken, self._queue = self._queue[:n], self._queue[n:]
        budget = float(_ETA) ** (self._rung - _RUNGS + 1)
        trials = [Trial(self._asked + i, values, budget) for i, values in enumerate(taken)]
        self._asked += len(trials)
        self._open |= {trial.number: trial.values for trial in trials}
        return trials

    def tell(self, numbers: Sequence[int], objectives: FloatArray) -> None:
        for number, value in zip(numbers, objectives[:, 0].tolist(), strict=True):
            worth = _UNDEFINED if math.isnan(value) else value
            self._done.append((-worth, number, self._open.pop(number)))
        if self._queue or self._open or self._rung == _RUNGS - 1:
            return
        kept = sorted(self._done)[: max(len(self._done) // _ETA, 1)]
        self._queue = [values for _, _, values in kept]
        self._done = []
        self._rung += 1


class _Optuna:
    """A sampler of optuna behind ask and tell, its storage in memory."""

    def __init__(self, space: Space, sampler: Any, n_trials: int, n_objectives: int) -> None:  # Any: optuna's own
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self._space, self._left = space, n_trials
        self._study = optuna.create_study(sampler=sampler, directions=["maximize"] * n_objectives)
        self._distributions = {name: _distribution(d) for name, d in space.dimensions.items()}
        self._open: dict[int, Any] = {}
        self._asked = 0
        self._fail = optuna.trial.TrialState.FAIL

    def ask(self, n: int) -> list[Trial]:
        found: list[Trial] = []
        tries = 0
        while len(found) < min(n, self._left):
            tries += 1
            if tries > 100 * max(n, 10):
                break  # next to nothing that the sampler proposes is valid
            trial = self._study.ask(self._distributions)
            drawn = [[_value(d, trial.params[name]) for name, d in self._space.dimensions.items()]]
            row = self._space.with_defaults(np.array(drawn))
            if not self._space.valid(row)[0]:
                self._study.tell(trial, state=self._fail)
                continue
            self._open[self._asked] = trial
            found.append(Trial(self._asked, tuple(row[0].tolist())))
            self._asked += 1
        self._left -= len(found)
        return found

    def tell(self, numbers: Sequence[int], objectives: FloatArray) -> None:
        for number, values in zip(numbers, np.where(np.isnan(objectives), _UNDEFINED, objectives), strict=True):
            self._study.tell(self._open.pop(number), [float(v) for v in values])


def _distribution(dimension: Dimension) -> Any:  # Any: optuna's own
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if isinstance(dimension, Categorical):
        return CategoricalDistribution(dimension.choices)
    if dimension.size is None:
        return FloatDistribution(dimension.low, dimension.high, log=dimension.log)
    if isinstance(dimension, Int) and dimension.log:
        return IntDistribution(dimension.low, dimension.high, log=True)
    # Positions instead of values: optuna's own steps are binary, ours decimal.
    return IntDistribution(0, dimension.size - 1)


def _value(dimension: Dimension, drawn: float) -> float:
    is_position = not isinstance(dimension, Categorical) and dimension.size is not None and not dimension.log
    return float(dimension.values_at(np.array([drawn], dtype=np.int64))[0]) if is_position else float(drawn)


def _missing(name: str, package: str) -> ConfigError:
    return ConfigError(f"optimizer {name} needs {package}, which is not installed; install grodtd[research]")


def _by_optuna(name: str) -> Callable[[Space, int, int, int], Optimizer]:
    def make(space: Space, seed: int, n_trials: int, n_objectives: int) -> Optimizer:
        try:
            import optuna
        except ImportError as error:
            raise _missing(name, "optuna") from error
        if n_objectives > 1 and name != "nsga2":
            raise ConfigError(f"optimizer {name} takes one objective, found {n_objectives}; nsga2 takes several")
        samplers: dict[str, Callable[[], Any]] = {  # Any: optuna's own
            "tpe": lambda: optuna.samplers.TPESampler(seed=seed, multivariate=True, constant_liar=True),
            "cmaes": lambda: optuna.samplers.CmaEsSampler(seed=seed),
            "nsga2": lambda: optuna.samplers.NSGAIISampler(seed=seed),
        }
        if name == "cmaes" and importlib.util.find_spec("cmaes") is None:
            raise _missing(name, "cmaes")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            return _Optuna(space, samplers[name](), n_trials, n_objectives)

    return make


def _halving(space: Space, seed: int, n_trials: int, n_objectives: int) -> Optimizer:
    if n_objectives > 1:
        raise ConfigError(f"optimizer halving takes one objective, found {n_objectives}; nsga2 takes several")
    return _Halving(space, seed, n_trials)


OPTIMIZERS: Final[dict[str, Callable[[Space, int, int, int], Optimizer]]] = {
    "grid": _grid,
    "random": _random,
    "sobol": _sobol,
    "tpe": _by_optuna("tpe"),
    "cmaes": _by_optuna("cmaes"),
    "nsga2": _by_optuna("nsga2"),
    "halving": _halving,
}


def optimizer(name: str, space: Space, *, seed: int, n_trials: int, n_objectives: int = 1) -> Optimizer:
    """Return a search of a space by the optimizer of this name.

    Parameters
    ----------
    name : str
        One of `OPTIMIZERS`.
    n_trials : int
        Trials to ask for in all; a grid asks for all of its own.

    Raises
    ------
    ConfigError
        If there is no such optimizer, it cannot take the space or the objectives, or its library is not installed.
    """
    if name not in OPTIMIZERS:
        raise ConfigError(f"there is no optimizer {name!r}; there are {', '.join(OPTIMIZERS)}")
    if n_trials < 1:
        raise ConfigError(f"a search needs at least one trial, found {n_trials}")
    if name == "cmaes" and not any(not isinstance(d, Categorical) for d in space.dimensions.values()):
        raise ConfigError("optimizer cmaes needs at least one range; choices have no order, use tpe or grid")
    return OPTIMIZERS[name](space, seed, n_trials, n_objectives)
