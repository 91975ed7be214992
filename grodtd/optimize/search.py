"""Optimizers behind one pair of calls: `ask` for trials, `tell` what they were worth.

Every optimizer is a function of its seed, the sizes asked for and the objectives told, and of nothing else. So a search
goes on after a crash by asking again for the batches that were stored and telling what they gave.
"""

from __future__ import annotations

import importlib.util
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

import numpy as np
import numpy.typing as npt

from grodtd.domain.bars import FloatArray
from grodtd.domain.errors import ConfigError
from grodtd.optimize.pareto import best_first
from grodtd.optimize.parzen import Axis, Model
from grodtd.optimize.space import Categorical, Space

# What an undefined objective counts as for a sampler: below every defined one. Those used here look at ranks only.
_UNDEFINED: Final = -1e300
_DRAWS_A_TRIAL_MAX: Final = 10_000
_ETA: Final = 3
_RUNGS: Final = 3
# Of optuna's TPE: trials before there is a model, candidates weighed for each trial.
_STARTUP_TRIALS: Final = 10
_CANDIDATES: Final = 24
_BLOCK: Final = 16  # trials to a fit of the model: larger is cheaper, smaller searches large batches better
_ATTEMPTS_MAX: Final = 100
_ATTEMPTS_BY_MODEL: Final = 5
_SIGMA: Final = 1 / 6
# Of NSGA-II: optuna's population, Deb's rate of crossover and distribution index of mutation (20).
_POPULATION_MIN: Final = 50
_CROSSOVER_RATE: Final = 0.9
_MUTATION_POWER: Final = 1 / (20 + 1)


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


class _Tpe:
    """Tree-structured Parzen estimators: tries what is likely among the best tenth and unlikely among the others.

    The model is fitted once for every 16 trials asked for together, those not yet known counting as not good, so that a
    batch spreads out. No combination is tried twice.

    References
    ----------
    Bergstra et al., "Algorithms for hyper-parameter optimization", NIPS 2011; see also `Model`.
    """

    def __init__(self, space: Space, seed: int, n_trials: int) -> None:
        self._space, self._left = space, n_trials
        self._axes = [Axis.of(dimension) for dimension in space.dimensions.values()]
        self._rng = np.random.Generator(np.random.PCG64(seed))
        self._seen: set[tuple[float, ...]] = set()
        self._points = np.empty((0, len(self._axes)))
        self._worth = np.empty(0)
        self._told = 0

    def ask(self, n: int) -> list[Trial]:
        n = min(n, self._left)
        found: list[Trial] = []
        while len(found) < n and (part := self._block(min(n - len(found), _BLOCK), self._model())):
            found += part
        self._left -= len(found)
        return found

    def tell(self, numbers: Sequence[int], objectives: FloatArray) -> None:
        self._worth[list(numbers)] = objectives[:, 0]
        self._told += len(numbers)

    def _model(self) -> Model | None:
        if self._told < _STARTUP_TRIALS:
            return None
        # A trial whose result is not known yet counts as undefined: not good, and a reason to look elsewhere.
        return Model.fitted(self._axes, self._points, self._worth, self._told)

    def _block(self, n: int, model: Model | None) -> list[Trial]:
        """Return up to n trials, each the best of its own candidates that is new and valid."""
        chosen: dict[int, tuple[tuple[float, ...], FloatArray]] = {}
        for attempt in range(_ATTEMPTS_MAX):
            open_ = [i for i in range(n) if i not in chosen]
            if not open_ or (self._space.is_finite and len(self._seen) >= self._space.size()):
                break
            u, order = self._candidates(len(open_), model if attempt < _ATTEMPTS_BY_MODEL else None)
            rows = self._space.from_unit(u.reshape(-1, u.shape[2])).reshape(u.shape)
            waiting = list(range(len(open_)))
            for rank in range(_CANDIDATES):
                best = rows[waiting, order[waiting, rank]]
                valid = self._space.valid(best)
                refused = []
                for i, row, is_valid in zip(waiting, map(tuple, best.tolist()), valid.tolist(), strict=True):
                    if is_valid and row not in self._seen:
                        self._seen.add(row)
                        chosen[open_[i]] = (row, u[i, order[i, rank]])
                    else:
                        refused.append(i)
                waiting = refused
                if not waiting:
                    break
        taken = [chosen[i] for i in sorted(chosen)]
        trials = [Trial(len(self._worth) + i, row) for i, (row, _) in enumerate(taken)]
        if taken:
            self._points = np.vstack([self._points, *(point for _, point in taken)])
            self._worth = np.append(self._worth, np.full(len(taken), np.nan))
        return trials

    def _candidates(self, n: int, model: Model | None) -> tuple[FloatArray, npt.NDArray[np.intp]]:
        """Return (candidates, shape (n, 24, d); their order, best first, shape (n, 24))."""
        d = len(self._axes)
        if model is None:
            u = self._rng.random((n, _CANDIDATES, d))
            for j, axis in enumerate(self._axes):
                u[:, :, j] = axis.snapped(u[:, :, j])
            return u, np.tile(np.arange(_CANDIDATES), (n, 1))
        points = model.good.drawn(self._rng, n * _CANDIDATES)
        gains = model.gain(points).reshape(n, _CANDIDATES)
        return points.reshape(n, _CANDIDATES, d), np.argsort(-gains, axis=1, kind="stable")


class _CmaEs:
    """Covariance matrix adaptation, a generation to every batch, by the library cmaes.

    Choices have no order and are drawn evenly. A combination met again is not tried again: its worth is known. Where
    nothing changes any more, the search begins again elsewhere.

    References
    ----------
    Hansen, "The CMA evolution strategy: a tutorial", arXiv 1604.00772.
    """

    def __init__(self, space: Space, seed: int, n_trials: int) -> None:
        self._space, self._left = space, n_trials
        self._ranges = [j for j, d in enumerate(space.dimensions.values()) if not isinstance(d, Categorical)]
        self._rng = np.random.Generator(np.random.PCG64(seed))
        self._strategy: Any = None  # Any: cmaes.CMA
        self._generation: list[tuple[FloatArray, int]] = []
        self._number_of: dict[tuple[float, ...], int] = {}
        self._worth: dict[int, float] = {}

    def ask(self, n: int) -> list[Trial]:
        n = min(n, self._left)
        if n and self._strategy is None:
            least = 4 + math.floor(3 * math.log(len(self._ranges)))
            self._begin(np.full(len(self._ranges), 0.5), n * math.ceil(least / n))
        found: list[Trial] = []
        is_early = False
        for _ in range(max(_DRAWS_A_TRIAL_MAX, 100 * n)):
            if len(found) == n:
                break
            if not is_early and len(self._generation) == self._strategy.population_size and not self._next():
                if found:
                    break  # the rest of the batch would come from a distribution that is about to change
                is_early = True  # asked again before being told: trials, but none that the next generation learns from
            trial = self._drawn(is_counted=not is_early)
            if trial is not None:
                found.append(trial)
        self._left -= len(found)
        return found

    def tell(self, numbers: Sequence[int], objectives: FloatArray) -> None:
        values = np.where(np.isnan(objectives[:, 0]), _UNDEFINED, objectives[:, 0])
        self._worth |= dict(zip(numbers, values.tolist(), strict=True))

    def _drawn(self, *, is_counted: bool) -> Trial | None:
        """Draw a combination, for the generation if counted; return it if it has to be tried."""
        u = self._rng.random(len(self._space.names))
        point = self._strategy.ask()
        u[self._ranges] = np.minimum(point, np.nextafter(1.0, 0.0))
        row = self._space.from_unit(u[None])
        key = tuple(row[0].tolist())
        number = self._number_of.get(key)
        if number is None and not self._space.valid(row)[0]:
            return None
        trial = None
        if number is None:
            number = self._number_of[key] = len(self._number_of)
            trial = Trial(number, key)
        if is_counted:
            self._generation.append((point, number))
        return trial

    def _next(self) -> bool:
        """Go on to the next generation, if all of this one is known."""
        if any(number not in self._worth for _, number in self._generation):
            return False
        self._strategy.tell([(point, -self._worth[number]) for point, number in self._generation])
        self._generation = []
        if self._strategy.should_stop():
            self._begin(self._rng.random(len(self._ranges)), self._strategy.population_size)
        return True

    def _begin(self, mean: FloatArray, population: int) -> None:
        from cmaes import CMA

        bounds = np.tile([0.0, 1.0], (mean.size, 1))
        seed = int(self._rng.integers(2**32))
        self._strategy = CMA(mean, _SIGMA, bounds=bounds, seed=seed, population_size=population)


class _Nsga2:
    """NSGA-II: children of the best so far, who are those no other beats and, of these, the least crowded.

    A population is whole batches, at least 50. Children are bred from what is known when they are asked for, so a batch
    is a generation. No combination is tried twice: a child met before is bred again, and in the end drawn by lot.

    References
    ----------
    Deb et al. (2002), as `fronts`: tournaments of two and polynomial mutation. Crossover is uniform, as in optuna: it
    finds more in the few hundred trials of a search (docs/decisions/0009).
    """

    def __init__(self, space: Space, seed: int, n_trials: int, n_objectives: int) -> None:
        self._space, self._left = space, n_trials
        self._is_choice = np.array([isinstance(d, Categorical) for d in space.dimensions.values()])
        self._rng = np.random.Generator(np.random.PCG64(seed))
        self._size = 0
        self._seen: set[tuple[float, ...]] = set()
        self._open: dict[int, FloatArray] = {}
        self._asked = 0
        # The population, best first once it is whole, and those told since.
        self._points, self._worth = np.empty((0, len(space.names))), np.empty((0, n_objectives))

    def ask(self, n: int) -> list[Trial]:
        n = min(n, self._left)
        if n and not self._size:
            self._size = n * math.ceil(_POPULATION_MIN / n)
        if len(self._points) >= max(self._size, 1):
            kept = best_first(self._worth)[: self._size]
            self._points, self._worth = self._points[kept], self._worth[kept]
        found: list[Trial] = []
        for attempt in range(_ATTEMPTS_MAX):
            if len(found) == n or (self._space.is_finite and len(self._seen) >= self._space.size()):
                break
            is_bred = len(self._points) >= self._size and attempt < _ATTEMPTS_BY_MODEL
            # By lot more at once: what is left may be rare.
            points = self._bred(n - len(found)) if is_bred else self._rng.random((4 * n, len(self._space.names)))
            rows = self._space.from_unit(points)
            for point, row in zip(points[valid := self._space.valid(rows)], rows[valid].tolist(), strict=True):
                if len(found) < n and (key := tuple(row)) not in self._seen:
                    self._seen.add(key)
                    self._open[self._asked] = point
                    found.append(Trial(self._asked, key))
                    self._asked += 1
        self._left -= len(found)
        return found

    def tell(self, numbers: Sequence[int], objectives: FloatArray) -> None:
        self._points = np.vstack([self._points, *(self._open.pop(number) for number in sorted(numbers))])
        self._worth = np.vstack([self._worth, objectives[np.argsort(numbers)]])

    def _bred(self, n: int) -> FloatArray:
        """Return n children as points of the unit cube."""
        shape = (n, self._is_choice.size)
        # The population is in order, so the better of two is the earlier.
        mother, father = self._points[self._rng.integers(len(self._points), size=(4, n)).reshape(2, 2, n).min(axis=1)]
        is_crossed = (self._rng.random((n, 1)) < _CROSSOVER_RATE) & (self._rng.random(shape) < 0.5)
        child = np.where(is_crossed, father, mother)
        u = self._rng.random(shape)
        step = np.where(u < 0.5, (2 * u) ** _MUTATION_POWER - 1, 1 - (2 * (1 - u)) ** _MUTATION_POWER)
        mutant = np.where(self._is_choice, self._rng.random(shape), child + step)
        child = np.where(self._rng.random(shape) < 1 / self._is_choice.size, mutant, child)
        return np.clip(child, 0.0, np.nextafter(1.0, 0.0))


def _missing(name: str, package: str) -> ConfigError:
    return ConfigError(f"optimizer {name} needs {package}, which is not installed; install grodtd[research]")


def _learning(
    name: str, needs: str, make: Callable[[Space, int, int], Optimizer]
) -> Callable[[Space, int, int, int], Optimizer]:
    def made(space: Space, seed: int, n_trials: int, n_objectives: int) -> Optimizer:
        if n_objectives > 1:
            raise ConfigError(f"optimizer {name} takes one objective, found {n_objectives}; nsga2 takes several")
        if importlib.util.find_spec(needs) is None:
            raise _missing(name, needs)
        return make(space, seed, n_trials)

    return made


def _halving(space: Space, seed: int, n_trials: int, n_objectives: int) -> Optimizer:
    if n_objectives > 1:
        raise ConfigError(f"optimizer halving takes one objective, found {n_objectives}; nsga2 takes several")
    return _Halving(space, seed, n_trials)


OPTIMIZERS: Final[dict[str, Callable[[Space, int, int, int], Optimizer]]] = {
    "grid": _grid,
    "random": _random,
    "sobol": _sobol,
    "tpe": _learning("tpe", "scipy", _Tpe),
    "cmaes": _learning("cmaes", "cmaes", _CmaEs),
    "nsga2": _Nsga2,
    "halving": _halving,
}
# Those whose next trials depend on what was told of the ones before.
LEARNING: Final = frozenset({"tpe", "cmaes", "nsga2"})


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
