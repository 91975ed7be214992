"""Is the best combination a plateau or a spike (QUANT_SPEC section 2)?"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from grodtd.domain.bars import FloatArray
from grodtd.domain.errors import ConfigError

GOOD_SHARE: Final = 0.7  # of the best


@dataclass(frozen=True, slots=True)
class Plateau:
    """How the neighbours of the best cell compare with it.

    Attributes
    ----------
    best : tuple of int
        Position of the best cell on the grid.
    best_value : float
    neighbours : tuple of float
        Defined objectives within one step in every parameter (Chebyshev), the best left out.
    median_ratio, min_ratio : float
        Neighbour over best; nan if the best is not above zero or has no neighbour.
    share_good : float
        Share of the neighbours with at least 0.7 of the best.
    rank_smoothed : int
        Rank of the best cell after each cell is replaced by the mean of its 3 x 3 x ... block; 1 is first.
    smoothed_best : tuple of int or None
        The cell to choose: highest after smoothing, cells on the edge of the grid left out; None if all are.
    is_on_edge : bool
        The best cell is at the end of a parameter's range: widen it.
    half_sample_spearman : float
        Rank correlation of the objectives of the two halves of history; nan if not given.
    """

    best: tuple[int, ...]
    best_value: float
    neighbours: tuple[float, ...]
    median_ratio: float
    min_ratio: float
    share_good: float
    rank_smoothed: int
    smoothed_best: tuple[int, ...] | None
    is_on_edge: bool
    half_sample_spearman: float

    @property
    def passes(self) -> bool:
        """Median ratio at least 0.7 and every neighbour above zero."""
        return self.median_ratio >= GOOD_SHARE and all(value > 0 for value in self.neighbours)


def plateau(objective: FloatArray, halves: tuple[FloatArray, FloatArray] | None = None) -> Plateau:
    """Judge the best cell of a grid by its neighbours.

    Parameters
    ----------
    objective : float64 array, one axis a parameter
        Larger is better; nan where undefined or not a valid combination.
    halves : pair of such arrays, optional
        The same objective on the first and the second half of the history.

    Raises
    ------
    ConfigError
        If no cell is defined.
    """
    if np.isnan(objective).all():
        raise ConfigError("no combination has a defined objective; loosen the requirements or widen the space")
    best = tuple(int(i) for i in np.unravel_index(int(np.nanargmax(objective)), objective.shape))
    value = float(objective[best])
    around = [objective[cell] for cell in _block(best, objective.shape) if cell != best]
    near = [float(v) for v in around if not math.isnan(v)]
    ratios = np.array(near) / value if value > 0 and near else np.array([np.nan])
    smoothed = smooth(objective)
    inner = smoothed.copy()
    for axis, size in enumerate(objective.shape):
        if size > 2:  # a parameter of two values is all edge
            index: list[Any] = [slice(None)] * objective.ndim
            index[axis] = [0, size - 1]
            inner[tuple(index)] = np.nan
    chosen = None
    if not np.isnan(inner).all():
        chosen = tuple(int(i) for i in np.unravel_index(int(np.nanargmax(inner)), inner.shape))
    return Plateau(
        best=best,
        best_value=value,
        neighbours=tuple(near),
        median_ratio=float(np.median(ratios)),
        min_ratio=float(ratios.min()),
        share_good=float(np.mean(ratios >= GOOD_SHARE)) if near and value > 0 else math.nan,
        rank_smoothed=int((smoothed > smoothed[best]).sum()) + 1,
        smoothed_best=chosen,
        is_on_edge=any(size > 2 and at in (0, size - 1) for at, size in zip(best, objective.shape, strict=True)),
        half_sample_spearman=math.nan if halves is None else spearman(*(half.ravel() for half in halves)),
    )


def smooth(objective: FloatArray) -> FloatArray:
    """Return the mean of each cell's block of neighbours, itself included; nan where the cell itself is."""
    total, count = np.zeros(objective.shape), np.zeros(objective.shape)
    padded = np.pad(objective, 1, constant_values=np.nan)
    for shift in itertools.product(range(3), repeat=objective.ndim):
        part = padded[tuple(slice(s, s + n) for s, n in zip(shift, objective.shape, strict=True))]
        total += np.where(np.isnan(part), 0.0, part)
        count += ~np.isnan(part)
    return np.where(np.isnan(objective), np.nan, total / np.maximum(count, 1))


def _block(cell: tuple[int, ...], shape: tuple[int, ...]) -> list[tuple[int, ...]]:
    ranges = [range(max(i - 1, 0), min(i + 2, n)) for i, n in zip(cell, shape, strict=True)]
    return list(itertools.product(*ranges))


def spearman(a: FloatArray, b: FloatArray) -> float:
    """Return the rank correlation of the pairs in which both are defined, ties at their mean rank; nan below three."""
    is_defined = ~(np.isnan(a) | np.isnan(b))
    if is_defined.sum() < 3:
        return math.nan
    first, second = _ranks(a[is_defined]), _ranks(b[is_defined])
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return math.nan
    return float(np.corrcoef(first, second)[0, 1])


def _ranks(values: FloatArray) -> FloatArray:
    _, place, count = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(count)
    return np.asarray((last - (count - 1) / 2.0)[place], dtype=np.float64)


def on_grid(rows: FloatArray, objective: FloatArray) -> tuple[list[FloatArray], FloatArray]:
    """Return (values of each parameter, objective by position), nan where a combination was not tried.

    Parameters
    ----------
    rows : float64 array, shape (n, n_parameters)
    objective : float64 array, shape (n,)
    """
    axes = [np.unique(rows[:, j]) for j in range(rows.shape[1])]
    surface = np.full([axis.size for axis in axes], np.nan)
    surface[tuple(np.searchsorted(axis, rows[:, j]) for j, axis in enumerate(axes))] = objective
    return axes, surface


def sobol_indices(
    names: Sequence[str],
    bounds: Sequence[tuple[float, float]],
    evaluate: Callable[[FloatArray], FloatArray],
    *,
    n: int,
    seed: int,
) -> Mapping[str, FloatArray]:
    """Return first-order ("S1") and total ("ST") Sobol indices of a function, shape (n_parameters,) each.

    Parameters
    ----------
    names, bounds : sequences, one a parameter
    evaluate : function (points, shape (m, n_parameters)) -> values, shape (m,)
    n : int
        Base sample, a power of two; the function is evaluated n * (n_parameters + 2) times.

    References
    ----------
    Saltelli et al., "Variance based sensitivity analysis of model output", 2010; by SALib.
    """
    try:
        from SALib.analyze import sobol as analysis
        from SALib.sample import sobol as sampling
    except ImportError as error:
        raise ConfigError("sensitivity needs SALib, which is not installed; install grodtd[research]") from error
    problem = {"num_vars": len(names), "names": list(names), "bounds": [list(b) for b in bounds]}
    points = sampling.sample(problem, n, calc_second_order=False, seed=seed)
    found = analysis.analyze(problem, evaluate(points), calc_second_order=False, seed=seed)
    return {name: np.asarray(found[name]) for name in ("S1", "ST")}
