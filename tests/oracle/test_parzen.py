"""The densities behind `tpe` against optuna's: same kernels, widths, weights and masses."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.integrate import quad

from grodtd.optimize.parzen import Axis, Mixture, Model
from grodtd.optimize.space import Categorical, Float, Int

DIMENSIONS = {
    "line": Float(0.5, 4.0),
    "log line": Float(0.01, 10.0, log=True),
    "cells": Int(5, 1000),
    "choices": Categorical((5.0, 7.0, 14.0, 21.0)),
}
AXES = [Axis.of(dimension) for dimension in DIMENSIONS.values()]


def points(n: int, seed: int) -> np.ndarray:
    u = np.random.default_rng(seed).random((n, len(AXES)))
    return np.column_stack([axis.snapped(u[:, j]) for j, axis in enumerate(AXES)])


def as_optuna_has_them(u: np.ndarray) -> dict[str, np.ndarray]:
    values = {name: d.from_unit(u[:, j]) for j, (name, d) in enumerate(DIMENSIONS.items())}
    values["choices"] = np.minimum((u[:, 3] * 4).astype(int), 3)  # optuna keeps positions of choices
    return values


@pytest.mark.parametrize("n", [1, 2, 7, 25, 60])
def test_densities_are_optunas(n: int) -> None:
    pytest.importorskip("optuna", reason="an optional extra")
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
    from optuna.samplers._tpe.parzen_estimator import _ParzenEstimator, _ParzenEstimatorParameters
    from optuna.samplers._tpe.sampler import default_weights

    space = {
        "line": FloatDistribution(0.5, 4.0),
        "log line": FloatDistribution(0.01, 10.0, log=True),
        "cells": IntDistribution(5, 1000),
        "choices": CategoricalDistribution((5.0, 7.0, 14.0, 21.0)),
    }
    observed, asked = points(n, 1), points(200, 2)
    # Each value once: of two that are equal either may have the wider kernel.
    observed[:, 2] = (np.random.default_rng(3).permutation(996)[:n] + 0.5) / 996
    parameters = _ParzenEstimatorParameters(1.0, True, False, default_weights, True)
    theirs = _ParzenEstimator(as_optuna_has_them(observed), space, parameters)
    ours = Mixture(AXES, observed, default_weights(n))
    # Theirs is a density of values, and of logarithms where log; ours of the unit cube.
    widths = np.log(3.5) + np.log(np.log(1000.0))
    expected = theirs.log_pdf(as_optuna_has_them(asked)) + widths
    np.testing.assert_allclose(np.log(ours.density(asked)), expected, rtol=0, atol=1e-8)


@pytest.mark.parametrize("dimension", [Int(1, 50, log=True), Int(5, 60), Float(0.0, 1.0), Categorical((1.0, 2.0, 5.0))])
def test_a_density_comes_to_one_and_is_what_is_drawn(dimension: Int | Float | Categorical) -> None:
    axis = Axis.of(dimension)
    observed = axis.snapped(np.array([0.1, 0.15, 0.9]))[:, None]
    mixture = Mixture([axis], observed, np.ones(3))
    drawn = mixture.drawn(np.random.default_rng(1), 200_000)[:, 0]
    assert ((drawn >= 0) & (drawn <= 1)).all()
    if axis.edges is None:
        total, _ = quad(lambda u: float(mixture.density(np.array([[u]]))[0]), 0, 1, points=[0.1, 0.15, 0.9])
        assert total == pytest.approx(1, abs=1e-6)
        below, _ = quad(lambda u: float(mixture.density(np.array([[u]]))[0]), 0, 0.3, points=[0.1, 0.15])
        assert (drawn < 0.3).mean() == pytest.approx(below, abs=0.005)
        return
    middles = (axis.edges[:-1] + axis.edges[1:]) / 2
    mass = mixture.density(middles[:, None])
    assert mass.sum() == pytest.approx(1, abs=1e-9)
    assert dimension.size is not None
    # Every middle is read as the value of its cell, so that what is modelled is what was tried.
    assert dimension.from_unit(middles).tolist() == dimension.values_at(np.arange(dimension.size)).tolist()
    shares = np.bincount(axis.cells(drawn), minlength=dimension.size) / drawn.size
    np.testing.assert_allclose(shares, mass, atol=0.005)


def test_the_best_tenth_is_good_and_what_is_unknown_is_not() -> None:
    axis = Axis.of(Float(0.0, 1.0))
    u = np.linspace(0.05, 0.95, 19)[:, None]
    worth = np.where(u[:, 0] < 0.5, -np.abs(u[:, 0] - 0.3), np.nan)
    model = Model.fitted([axis], u, worth, 19)
    assert model is not None
    gains = model.gain(np.array([[0.3], [0.7]]))
    assert gains[0] > 1 > gains[1]
    assert Model.fitted([axis], u, np.full(19, np.nan), 19) is None
