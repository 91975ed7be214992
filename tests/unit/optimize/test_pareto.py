"""Fronts and crowding: by hand, against their definition, and against optuna's ranks."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from grodtd.domain.bars import FloatArray
from grodtd.optimize.pareto import best_first, crowding, fronts, pareto_front

ROWS = arrays(np.float64, (12, 2), elements=st.sampled_from([0.0, 1.0, 2.0, np.nan]))


@given(ROWS)
def test_the_front_is_what_no_row_beats(values: FloatArray) -> None:
    found = pareto_front(values)
    for i, row in enumerate(values):
        beaten = any((other >= row).all() and (other > row).any() for other in values if not np.isnan(other).any())
        assert found[i] == (not np.isnan(row).any() and not beaten)


@given(ROWS)
def test_fronts_are_pareto_fronts_of_what_is_left(values: FloatArray) -> None:
    found = fronts(values)
    left = values.copy()
    number = 0
    while not np.isnan(left).any(axis=1).all():
        front = pareto_front(left)
        assert (found[front] == number).all()
        left[front] = np.nan
        number += 1
    # What is undefined comes after all of them.
    assert (found[np.isnan(values).any(axis=1)] == number).all()


def test_ranks_are_optunas() -> None:
    pytest.importorskip("optuna", reason="an optional extra")
    from optuna.study._multi_objective import _fast_non_domination_rank

    values = np.random.default_rng(1).integers(0, 12, size=(300, 3)).astype(float)
    np.testing.assert_array_equal(fronts(values), _fast_non_domination_rank(-values))


def test_crowding_by_hand() -> None:
    # Sorted by the first objective: 0, 1, 4, 8 of a range of 8; the second falls 10, 7, 5, 0 of a range of 10.
    rows = np.array([[4.0, 5.0], [0.0, 10.0], [8.0, 0.0], [1.0, 7.0]])
    # (4, 5): (8 - 1) / 8 + (7 - 0) / 10; (1, 7): (4 - 0) / 8 + (10 - 5) / 10; the ends have a neighbour less.
    np.testing.assert_allclose(crowding(rows), [7 / 8 + 7 / 10, np.inf, np.inf, 4 / 8 + 5 / 10])
    # Where all are equal nobody is at an end.
    np.testing.assert_array_equal(crowding(np.ones((3, 2))), [0.0, 0.0, 0.0])


def test_the_best_come_first() -> None:
    rows = np.array([[4.0, 5.0], [np.nan, 99.0], [0.0, 10.0], [8.0, 0.0], [0.0, 5.0], [1.0, 7.0], [0.0, 0.0]])
    # The first front, ends before (4, 5) at 1.575 and (1, 7) at 1; then (0, 5), then (0, 0); the undefined one last.
    assert best_first(rows).tolist() == [2, 3, 0, 5, 4, 6, 1]
