"""Several objectives at once: who is beaten by nobody, who comes next, and who stands where few others do."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from grodtd.domain.bars import FloatArray


def _is_defined(objectives: FloatArray) -> npt.NDArray[np.bool_]:
    return np.asarray(~np.isnan(objectives).any(axis=1), dtype=np.bool_)


def pareto_front(objectives: FloatArray) -> npt.NDArray[np.bool_]:
    """Return which rows no other row beats: at least as good in all objectives and better in one.

    Parameters
    ----------
    objectives : float64 array, shape (n, n_objectives)
        Larger is better; a row with nan is never on the front.
    """
    is_defined = _is_defined(objectives)
    front: npt.NDArray[np.bool_] = is_defined.copy()
    for row in np.flatnonzero(is_defined):
        others = objectives[front]
        front[row] = not ((others >= objectives[row]).all(axis=1) & (others > objectives[row]).any(axis=1)).any()
    return front


def fronts(objectives: FloatArray) -> npt.NDArray[np.int64]:
    """Return the number of each row's front, from 0: the Pareto front, that of the rows left without it, and so on.

    Parameters
    ----------
    objectives : float64 array, shape (n, n_objectives)
        Larger is better; rows with nan are behind all others, together.

    References
    ----------
    Deb, Pratap, Agarwal and Meyarivan, "A fast and elitist multiobjective genetic algorithm: NSGA-II", IEEE
    Transactions on Evolutionary Computation 6 (2002), III.A.
    """
    is_defined = _is_defined(objectives)
    rows = objectives[is_defined]
    is_as_good = np.ones((len(rows), len(rows)), dtype=np.bool_)
    for column in rows.T:
        is_as_good &= column[:, None] >= column
    beats = is_as_good & ~is_as_good.T
    beaten_by = beats.sum(axis=0)
    found = np.full(len(rows), -1, dtype=np.int64)
    number = 0
    while (found < 0).any():
        front = (beaten_by == 0) & (found < 0)
        found[front] = number
        beaten_by -= beats[front].sum(axis=0)
        number += 1
    result = np.full(len(objectives), number, dtype=np.int64)
    result[is_defined] = found
    return result


def crowding(objectives: FloatArray) -> FloatArray:
    """Return how far the neighbours of each row of one front are, over the range of each objective; inf at its ends.

    Parameters
    ----------
    objectives : float64 array, shape (n, n_objectives)

    References
    ----------
    As `fronts`, III.B.
    """
    found = np.zeros(len(objectives))
    for column in objectives.T:
        order = np.argsort(column, kind="stable")
        span = column[order[-1]] - column[order[0]]
        if span > 0:
            found[order[[0, -1]]] = np.inf
            found[order[1:-1]] += (column[order[2:]] - column[order[:-2]]) / span
    return found


def best_first(objectives: FloatArray) -> npt.NDArray[np.intp]:
    """Return the rows in NSGA-II's order: front after front, in each the least crowded first."""
    number = fronts(objectives)
    distance = np.zeros(len(objectives))
    for front in np.unique(number[_is_defined(objectives)]):
        rows = np.flatnonzero(number == front)
        distance[rows] = crowding(objectives[rows])
    return np.lexsort((-distance, number))
