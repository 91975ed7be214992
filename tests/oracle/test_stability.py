"""The grid of 30 SMA crosses on GOOG (QUANT_SPEC 2.1), and the Ishigami function."""

from __future__ import annotations

import math

import numpy as np
import pytest

from grodtd.domain.bars import FloatArray
from grodtd.domain.errors import ConfigError
from grodtd.optimize.stability import on_grid, plateau, smooth, sobol_indices, spearman
from grodtd.performance.ratios import sharpe_ratio

FAST, SLOW = (5, 10, 15, 20, 30), (40, 60, 80, 100, 150, 200)


def returns_of_the_grid() -> tuple[FloatArray, FloatArray]:
    """(fast, slow) of each configuration and its daily returns: sign(SMA fast - SMA slow), on the next return."""
    from backtesting.test import GOOG

    close = GOOG["Close"].to_numpy()
    returns = close[1:] / close[:-1] - 1

    def sma(n: int) -> FloatArray:
        total = np.concatenate(([0.0], np.cumsum(close)))
        return np.concatenate((np.full(n - 1, np.nan), (total[n:] - total[:-n]) / n))

    rows, columns = [], []
    for fast in FAST:
        for slow in SLOW:
            side = np.nan_to_num(np.sign(sma(fast) - sma(slow)))
            rows.append((fast, slow))
            columns.append(side[:-1] * returns)
    return np.array(rows, dtype=np.float64), np.array(columns)


def sharpe(returns: FloatArray) -> FloatArray:
    return np.array([sharpe_ratio(r, periods_per_year=252) for r in returns])


def test_the_grid_on_goog_is_a_spike() -> None:
    rows, returns = returns_of_the_grid()
    assert returns.shape == (30, 2147)
    axes, surface = on_grid(rows, sharpe(returns))
    half = returns.shape[1] // 2
    halves = tuple(on_grid(rows, sharpe(part))[1] for part in (returns[:, :half], returns[:, half:]))
    found = plateau(surface, (halves[0], halves[1]))
    assert [float(axis[i]) for axis, i in zip(axes, found.best, strict=True)] == [10, 40]
    assert found.best_value == pytest.approx(0.8905357743, abs=1e-8)
    assert sorted(found.neighbours) == pytest.approx(sorted([0.6766, 0.4468, 0.2964, 0.4720, 0.3483]), abs=5e-5)
    assert found.median_ratio == pytest.approx(0.50176, abs=5e-6)
    assert found.min_ratio == pytest.approx(0.33282, abs=5e-6)
    assert found.share_good == pytest.approx(0.2)
    assert found.half_sample_spearman == pytest.approx(0.0305, abs=5e-4)
    assert found.is_on_edge  # 40 is the shortest slow average
    assert not found.passes


def test_a_hill_is_a_plateau_and_its_top_is_chosen() -> None:
    x, y = np.meshgrid(np.arange(7), np.arange(5), indexing="ij")
    hill = 10.0 - (x - 3) ** 2 / 4 - (y - 2) ** 2 / 4
    found = plateau(hill)
    assert found.best == found.smoothed_best == (3, 2)
    assert found.rank_smoothed == 1
    assert found.min_ratio == pytest.approx(0.95)  # the corners: 10 - 1/4 - 1/4
    assert found.passes
    assert not found.is_on_edge


def test_a_spike_is_not_chosen() -> None:
    surface = np.ones((5, 5))
    surface[1, 1], surface[3, 3] = 5.0, 2.0
    surface[2, 3] = surface[3, 2] = 2.0
    surface[0, 0] = surface[0, 2] = surface[2, 0] = -4.0
    found = plateau(surface)
    assert found.best == (1, 1)
    assert found.smoothed_best == (2, 2)  # (5 + 3 * 2 + 5 * 1) / 9; the spike: (5 + 5 * 1 - 3 * 4) / 9
    assert found.rank_smoothed > 1
    assert not found.passes  # three neighbours lose


def test_missing_cells_are_left_out() -> None:
    surface = np.full((3, 3), np.nan)
    surface[1, 1], surface[0, 1] = 2.0, 1.0
    found = plateau(surface)
    assert found.neighbours == (1.0,)
    assert found.median_ratio == 0.5
    assert smooth(surface)[1, 1] == 1.5
    assert math.isnan(smooth(surface)[0, 0])
    with pytest.raises(ConfigError, match="no combination has a defined objective"):
        plateau(np.full((2, 2), np.nan))


def test_a_losing_best_has_no_ratio() -> None:
    found = plateau(np.array([[-1.0, -2.0], [-3.0, -4.0]]))
    assert math.isnan(found.median_ratio)
    assert not found.passes


def test_rank_correlation_is_scipys() -> None:
    stats = pytest.importorskip("scipy.stats", reason="an optional extra")
    rng = np.random.default_rng(1)
    a, b = np.round(rng.normal(size=50), 1), np.round(rng.normal(size=50), 1)  # with ties
    assert spearman(a, b) == pytest.approx(stats.spearmanr(a, b).statistic, rel=1e-12)
    assert math.isnan(spearman(a[:2], b[:2]))
    assert math.isnan(spearman(np.ones(5), b[:5]))


def test_ishigami() -> None:
    pytest.importorskip("SALib", reason="an optional extra")

    def ishigami(x: FloatArray) -> FloatArray:
        return np.asarray(np.sin(x[:, 0]) + 7 * np.sin(x[:, 1]) ** 2 + 0.1 * x[:, 2] ** 4 * np.sin(x[:, 0]))

    found = sobol_indices(["a", "b", "c"], [(-math.pi, math.pi)] * 3, ishigami, n=1_024, seed=1)
    # Exact: S1 .313905 .442411 0; ST .557589 .442411 .243684
    np.testing.assert_allclose(found["S1"], [0.313905, 0.442411, 0.0], atol=0.03)
    np.testing.assert_allclose(found["ST"], [0.557589, 0.442411, 0.243684], atol=0.03)
