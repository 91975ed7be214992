"""Densities of good and of other combinations: the model behind the optimizer `tpe`, over the unit cube.

One fit serves several trials, and their candidates are weighed in one pass over arrays, which costs a fiftieth of what
fitting and weighing for each trial alone does.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from grodtd.domain.bars import FloatArray, IntArray
from grodtd.optimize.space import Categorical, Dimension, Int

# Values finer than this are a line: a cell is then narrower than a tenth of the narrowest kernel.
_CELLS_MAX: Final = 1_024
_KERNELS_MAX: Final = 256
_GOOD_MAX: Final = 25
_RECENT: Final = 25
_PART: Final = 512


@dataclass(frozen=True, eq=False)
class Axis:
    """One dimension in the unit interval.

    Attributes
    ----------
    edges : float64 array, shape (n_values + 1,), or None
        Where one value ends and the next begins; None where values lie as close as on a line.
    has_order : bool
        Whether neighbours resemble each other; choices do not.
    is_even : bool
        Whether all values are equally wide.
    """

    edges: FloatArray | None
    has_order: bool = True
    is_even: bool = True

    @classmethod
    def of(cls, dimension: Dimension) -> Axis:
        """Return the axis that `Dimension.from_unit` reads."""
        size = dimension.size
        if size is None or (size > _CELLS_MAX and not isinstance(dimension, Categorical)):
            return cls(None)
        if isinstance(dimension, Int) and dimension.log:
            low, high = dimension.low, dimension.high
            return cls(np.log(np.arange(low, high + 2) / low) / math.log((high + 1) / low), is_even=False)
        return cls(np.arange(size + 1) / size, has_order=not isinstance(dimension, Categorical))

    def cells(self, u: FloatArray) -> IntArray:
        """Return which value each place belongs to."""
        assert self.edges is not None, "a line has no cells"
        if self.is_even:
            return np.minimum((u * (self.edges.size - 1)).astype(np.int64), self.edges.size - 2)
        return np.clip(np.searchsorted(self.edges, u, side="right") - 1, 0, self.edges.size - 2)

    def snapped(self, u: FloatArray) -> FloatArray:
        """Return the middle of the value that each place belongs to; on a line the place itself."""
        if self.edges is None:
            return u
        cell = self.cells(u)
        return np.asarray((self.edges[cell] + self.edges[cell + 1]) / 2)


class Mixture:
    """A density over the unit cube: a kernel around each point observed, and one as wide as the cube.

    Kernels are products of truncated normals, as wide as the larger gap to a neighbour, at least a hundredth; on cells
    their mass; on choices a share for the choice observed and little for the others.

    Parameters
    ----------
    axes : sequence of Axis, length d
    points : float64 array, shape (n, d)
        In [0, 1], each the middle of its value. None: the density is nearly even.
    weights : float64 array, shape (n,)
        Above zero; the wide kernel has 1.

    References
    ----------
    Watanabe, "Tree-structured Parzen estimator", arXiv 2304.11127; kernels and widths as in optuna 5 (multivariate).
    """

    def __init__(self, axes: Sequence[Axis], points: FloatArray, weights: FloatArray) -> None:
        from scipy.special import ndtr

        self._axes = axes
        n, d = points.shape
        weighed = np.append(weights, 1.0)
        self._weights = weighed / weighed.sum()
        self._middle = np.vstack([points, np.full((1, d), 0.5)])
        self._width = np.vstack([_widths(points), np.ones((1, d))])
        self._below = ndtr(-self._middle / self._width)
        self._inside = ndtr((1 - self._middle) / self._width) - self._below
        self._mass: dict[int, FloatArray] = {}
        for j, axis in enumerate(axes):
            if axis.edges is None:
                continue
            if axis.has_order:
                under = ndtr((axis.edges[:, None] - self._middle[:, j]) / self._width[:, j])
                self._mass[j] = np.diff(under, axis=0) / self._inside[:, j]
            else:
                mass = np.full((axis.edges.size - 1, n + 1), 1 / (n + 1))
                mass[axis.cells(points[:, j]), np.arange(n)] += 1
                if n == 0:
                    mass[:] = 1.0
                self._mass[j] = mass / mass.sum(axis=0)
        self._lines = [j for j, axis in enumerate(axes) if axis.edges is None]

    def drawn(self, rng: np.random.Generator, n: int) -> FloatArray:
        """Return points of this density, shape (n, d), each the middle of its value."""
        from scipy.special import ndtri

        kernel = np.searchsorted(np.cumsum(self._weights), rng.random(n) * (1 - 1e-12))
        kernel = np.minimum(kernel, self._weights.size - 1)
        share = rng.random((n, len(self._axes)))
        below, inside = self._below[kernel], self._inside[kernel]
        u: FloatArray = np.clip(self._middle[kernel] + self._width[kernel] * ndtri(below + share * inside), 0.0, 1.0)
        for j, axis in enumerate(self._axes):
            if axis.has_order:
                u[:, j] = axis.snapped(u[:, j])
                continue
            reached = np.cumsum(self._mass[j], axis=0)[:, kernel]
            cell = np.minimum((reached < share[:, j]).sum(axis=0), len(reached) - 1)
            assert axis.edges is not None
            u[:, j] = (axis.edges[cell] + axis.edges[cell + 1]) / 2
        return u

    def density(self, u: FloatArray) -> FloatArray:
        """Return the density at these points: along lines per unit, at values their mass; shape (n,), above zero."""
        # In parts, so that points by kernels stay in the processor's cache.
        parts = [self._density(u[start : start + _PART]) for start in range(0, len(u), _PART)]
        return np.concatenate(parts)

    def _density(self, u: FloatArray) -> FloatArray:
        if self._lines:
            middle, width = self._middle[:, self._lines], self._width[:, self._lines]
            # -(u - m)^2 / 2 s^2 multiplied out, so that one product of matrices does all points, kernels and lines.
            at = u[:, self._lines]
            precise = 1 / width**2
            power = np.hstack([at, at * at]) @ np.hstack([middle * precise, -0.5 * precise]).T
            scale = np.prod(width * math.sqrt(2 * math.pi) * self._inside[:, self._lines], axis=1)
            power += np.log(self._weights / scale) - 0.5 * (middle**2 * precise).sum(axis=1)
            kernels = np.exp(power, out=power)
        else:
            kernels = np.tile(self._weights, (len(u), 1))
        for j, mass in self._mass.items():
            kernels *= mass[self._axes[j].cells(u[:, j])]
        return np.asarray(kernels.sum(axis=1))


@dataclass(frozen=True, eq=False)
class Model:
    """What tells good combinations from others: the density of each."""

    good: Mixture
    other: Mixture

    @classmethod
    def fitted(cls, axes: Sequence[Axis], points: FloatArray, worth: FloatArray, n_told: int) -> Model | None:
        """Return the model of what was found, or None while nothing has a defined worth.

        The best tenth (25 at most) is good. All others, undefined and unknown ones included, weigh the less the older
        they are, from the 25 latest on; more than 256 of them are thinned out to 256, evenly by weight.

        Parameters
        ----------
        points : float64 array, shape (n, d)
            In the order tried.
        worth : float64 array, shape (n,)
            Larger is better; nan where undefined, or not known yet.
        n_told : int
            How many are known.
        """
        n = len(worth)
        n_good = min(math.ceil(0.1 * n_told), _GOOD_MAX, int((~np.isnan(worth)).sum()))
        if n_good == 0:
            return None
        # Of equals the older ones are good; no full sort, which would grow with the search.
        loss = np.where(np.isnan(worth), np.inf, -worth)
        bound = np.partition(loss, n_good - 1)[n_good - 1]
        best = np.concatenate([np.flatnonzero(loss < bound), np.flatnonzero(loss == bound)])[:n_good]
        is_good = np.zeros(n, dtype=np.bool_)
        is_good[best] = True
        others = np.flatnonzero(~is_good)
        weights = _weights(others.size)
        if others.size > _KERNELS_MAX:
            reached = np.cumsum(weights)
            at = np.searchsorted(reached, (np.arange(_KERNELS_MAX) + 0.5) * reached[-1] / _KERNELS_MAX)
            kept, counts = np.unique(at, return_counts=True)
            others, weights = others[kept], counts * (reached[-1] / _KERNELS_MAX)
        good = Mixture(axes, points[is_good], _weights(n_good))
        return cls(good, Mixture(axes, points[others], weights))

    def gain(self, u: FloatArray) -> FloatArray:
        """Return how many times more likely each point is among the good than among the others."""
        return self.good.density(u) / self.other.density(u)


def _weights(n: int) -> FloatArray:
    return np.concatenate([np.linspace(1 / n, 1.0, n - _RECENT), np.ones(_RECENT)]) if n > _RECENT else np.ones(n)


def _widths(points: FloatArray) -> FloatArray:
    """For each point and axis the larger gap to its neighbours, the walls being neighbours only of a lone point."""
    n, d = points.shape
    order = np.argsort(points, axis=0, kind="stable")
    placed = np.vstack([np.zeros((1, d)), np.take_along_axis(points, order, axis=0), np.ones((1, d))])
    gaps = np.diff(placed, axis=0)
    wide = np.maximum(gaps[:-1], gaps[1:])
    if n >= 2:
        wide[0], wide[-1] = gaps[1], gaps[-2]
    widths = np.empty_like(points)
    np.put_along_axis(widths, order, wide, axis=0)
    return np.clip(widths, 1 / min(100, n + 2), 1.0)
