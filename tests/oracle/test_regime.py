"""The regime classifier against QUANT_SPEC 6: accuracy beside its ceiling, noise, delay, causality."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from grodtd.adapters.market_data.synthetic import GENERATORS, synthetic_bars
from grodtd.domain.bars import Bars, FloatArray, IntArray
from grodtd.domain.errors import StrategyError
from grodtd.domain.kernel import JIT_DISABLED
from grodtd.indicators.regime import Regime, regime
from tests.reference.bayes_filter import balanced_accuracy, classify

SEEDS = (1, 2, 3, 4, 5)
N_BARS = 100_000
CLASSES = {"ranging": Regime.RANGING, "trending": Regime.TRENDING, "high_volatility": Regime.HIGH_VOLATILITY}
THREE = regime(transition_bars=0)
pytestmark = pytest.mark.skipif(JIT_DISABLED, reason="a million bars; the same code is interpreted in shorter tests")


@cache
def series(name: str, seed: int) -> tuple[Bars, IntArray]:
    bars, labels = synthetic_bars(name, N_BARS, seed)
    return bars, np.array([CLASSES[label] for label in labels])


def from_prices(close: FloatArray) -> Bars:
    return Bars(np.arange(close.size) * 60_000_000, close, close, close, close, np.ones(close.size))


def unit_returns(bars: Bars) -> FloatArray:
    return np.diff(np.log(np.append(bars.open[0], bars.close))) / 5e-4


def delays(true: IntArray, found: FloatArray) -> list[int]:
    """Bars from each true change until the new class is first found, where it is found before the next change."""
    changes = np.flatnonzero(np.diff(true)) + 1
    ends = np.append(changes[1:], true.size)
    waited = [np.flatnonzero(found[a:b] == true[a]) for a, b in zip(changes, ends, strict=True)]
    return [int(w[0]) for w in waited if w.size]


def test_g1_meets_the_gate_on_every_seed() -> None:
    print(f"\n{'seed':>4} {'accuracy':>9} {'ceiling':>8} {'ratio':>6} {'delay':>6} {'flips':>6}")
    for seed in SEEDS:
        bars, true = series("G1", seed)
        found = THREE.values(bars)
        accuracy = balanced_accuracy(true, found)
        ceiling = balanced_accuracy(true, classify(unit_returns(bars), GENERATORS["G1"]))
        delay = float(np.median(delays(true, found)))
        flips = np.count_nonzero(np.diff(found[1:])) / np.count_nonzero(np.diff(true))
        print(f"{seed:>4} {accuracy:>9.3f} {ceiling:>8.3f} {accuracy / ceiling:>6.3f} {delay:>6.0f} {flips:>6.2f}")
        assert 0.93 < ceiling < 0.96  # the specification: .945 to .956, .948 on 300,000 bars
        assert accuracy >= 0.80
        assert accuracy >= 0.85 * ceiling
        assert delay <= 30
        assert flips < 3


def test_g2_is_reported_with_its_own_thresholds() -> None:
    for seed in SEEDS[:3]:
        bars, true = series("G2", seed)
        found = regime(high_enter=1.55, high_leave=1.4, transition_bars=0).values(bars)
        ceiling = balanced_accuracy(true, classify(unit_returns(bars), GENERATORS["G2"]))
        print(f"\nG2 seed {seed}: accuracy {balanced_accuracy(true, found):.3f}, ceiling {ceiling:.3f}")
        assert 0.80 < ceiling < 0.86


@pytest.mark.parametrize("seed", SEEDS)
def test_noise_is_called_ranging(seed: int) -> None:
    moves = np.random.default_rng(seed).normal(0, 5e-4, N_BARS)
    found = THREE.values(from_prices(30_000 * np.exp(np.cumsum(moves))))
    share = np.nanmean(found != Regime.RANGING)
    print(f"\nseed {seed}: {share:.3f} of pure noise is not ranging")
    assert share < 0.10


def test_a_label_uses_nothing_after_its_bar() -> None:
    bars, _ = series("G1", 1)
    bars = bars[:20_000]
    full = regime().values(bars)
    for t in np.random.default_rng(0).integers(1, len(bars), 100).tolist():
        assert full[t] == regime().values(bars[: t + 1])[-1]


def test_transition_is_the_first_30_bars_of_a_new_label() -> None:
    bars, _ = series("G1", 2)
    three, four = THREE.values(bars)[1:], regime().values(bars)[1:]
    changed = np.flatnonzero(np.diff(three)) + 1
    expected = np.zeros(three.size, dtype=bool)
    for at in changed.tolist():
        expected[at : at + 30] = True
    np.testing.assert_array_equal(four == Regime.TRANSITION, expected)
    np.testing.assert_array_equal(four[~expected], three[~expected])


def test_a_market_that_stands_still_is_ranging() -> None:
    found = regime().values(from_prices(np.full(1_000, 100.0)))
    assert np.isnan(found[0])
    assert (found[1:] == Regime.RANGING).all()


def test_a_history_that_begins_in_high_volatility_recovers() -> None:
    rng = np.random.default_rng(3)
    moves = np.concatenate((rng.normal(0, 1.5e-3, 1_500), rng.normal(0, 5e-4, 1_500), rng.normal(0, 1.5e-3, 500)))
    found = THREE.values(from_prices(30_000 * np.exp(np.cumsum(moves))))
    assert (found[3_050:] == Regime.HIGH_VOLATILITY).mean() > 0.9


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"fast_span": 1}, "fast_span needs a whole number of at least 2"),
        ({"fast_span": 6_000}, "fast_span < slow_span"),
        ({"trend_enter": 1.0}, "trend_leave <= trend_enter"),
        ({"high_leave": 0.9, "high_enter": 0.95}, "high_leave above 1"),
        ({"confirm_bars": 0}, "confirm_bars needs a whole number of at least 1"),
        ({"transition_bars": -1}, "transition_bars needs a whole number"),
    ],
)
def test_senseless_settings_are_refused(given: dict[str, float], message: str) -> None:
    with pytest.raises(StrategyError, match=message):
        regime(**given)  # type: ignore[arg-type]  # wrong on purpose
