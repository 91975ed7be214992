"""Optimizers: valid and distinct trials, the same for the same seed, better than chance where they learn."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from grodtd.domain.bars import FloatArray
from grodtd.domain.errors import ConfigError
from grodtd.optimize.pareto import pareto_front
from grodtd.optimize.search import OPTIMIZERS, Optimizer, Requirement, Trial, optimizer
from grodtd.optimize.space import Space
from grodtd.strategies.registry import STRATEGIES

SPACE = Space.parse(
    {
        "ema_bars": {"int": [5, 60], "step": 5},
        "stop_atr": {"float": [0.5, 4.0], "step": 0.1},
        "reward_risk": {"float": [0.5, 3.0]},
    },
    STRATEGIES["s1_trend"],
    ["stop_atr * reward_risk < 8"],
)
LISTED = Space.parse(
    {"ema_bars": {"int": [5, 60], "step": 5}, "stop_atr": {"float": [0.5, 4.0], "step": 0.5}}, STRATEGIES["s1_trend"]
)
NEEDS = {"sobol": "scipy", "tpe": "scipy", "cmaes": "cmaes"}


@pytest.fixture(params=list(OPTIMIZERS), name="name")
def _name(request: pytest.FixtureRequest) -> str:
    skip_without(request.param)
    return str(request.param)


def skip_without(name: str) -> None:
    """Skip where the library behind an optimizer is not installed."""
    if name in NEEDS:
        pytest.importorskip(NEEDS[name], reason="an optional extra")


def made(name: str, seed: int = 1, n_trials: int = 60) -> Optimizer:
    return optimizer(name, LISTED if name == "grid" else SPACE, seed=seed, n_trials=n_trials)


def worth(trial: Trial) -> float:
    """Highest at ema_bars 30, stop_atr 2; undefined below 1."""
    if trial.values[1] < 1:
        return np.nan
    return -(((trial.values[0] - 30) / 30) ** 2) - (trial.values[1] - 2) ** 2


def run(search: Optimizer, trials: int = 60, batch: int = 10) -> list[Trial]:
    done: list[Trial] = []
    while len(done) < trials and (asked := search.ask(min(batch, trials - len(done)))):
        search.tell([t.number for t in asked], np.array([[worth(t)] for t in asked]))
        done += asked
    return done


def test_trials_are_valid_and_numbered(name: str) -> None:
    done = run(made(name))
    assert len(done) >= 50
    assert [t.number for t in done] == list(range(len(done)))
    rows = np.array([t.values for t in done])
    assert (LISTED if name == "grid" else SPACE).valid(rows).all()
    if name not in ("tpe", "cmaes", "halving"):
        assert len(set(map(tuple, rows.tolist()))) == len(done)


def test_one_seed_gives_the_same_trials_and_two_do_not(name: str) -> None:
    one = run(made(name, seed=3))
    assert run(made(name, seed=3)) == one
    if name != "grid":
        assert run(made(name, seed=4)) != one


def test_a_search_goes_on_from_what_was_stored(name: str) -> None:
    """Ask again for the same batches, tell what they gave: the next trials are those of a search never stopped."""
    whole = run(made(name))
    again = made(name)
    for at in range(0, 30, 10):
        asked = again.ask(10)
        assert asked == whole[at : at + 10]
        again.tell([t.number for t in asked], np.array([[worth(t)] for t in asked]))
    assert again.ask(10) == whole[30:40]


@pytest.mark.parametrize("name", ["tpe", "cmaes", "nsga2"])
def test_samplers_find_more_than_chance(name: str) -> None:
    skip_without(name)
    learned = [np.nanmax([worth(t) for t in run(made(name, seed, 80), 80)[40:]]) for seed in range(4)]
    chance = [np.nanmax([worth(t) for t in run(made("random", seed, 80), 80)[40:]]) for seed in range(4)]
    assert np.mean(learned) > np.mean(chance)


def test_a_grid_ends_and_a_finite_space_is_exhausted() -> None:
    assert len(run(made("grid"), trials=1_000, batch=64)) == LISTED.size() == 12 * 8
    search = optimizer("random", LISTED, seed=1, n_trials=10_000)
    assert len(run(search, trials=10_000, batch=500)) == LISTED.size()


def test_halving_gives_the_best_third_more_history() -> None:
    search = optimizer("halving", SPACE, seed=1, n_trials=130)
    done = run(search, trials=1_000, batch=1_000)
    by_budget = {b: [t for t in done if t.budget == b] for b in (1 / 9, 1 / 3, 1.0)}
    assert [len(v) for v in by_budget.values()] == [90, 30, 10]
    first = sorted(by_budget[1 / 9], key=lambda t: -np.nan_to_num(worth(t), nan=-1e9))
    assert {t.values for t in by_budget[1 / 3]} == {t.values for t in first[:30]}


def test_one_objective_only() -> None:
    for name in ("tpe", "cmaes", "halving"):
        skip_without(name)
        with pytest.raises(ConfigError, match="takes one objective, found 2; nsga2 takes several"):
            optimizer(name, SPACE, seed=1, n_trials=10, n_objectives=2)


def two_goals(trials: list[Trial]) -> FloatArray:
    """Long averages and near stops, which pull apart; undefined for a stop below 1."""
    found = np.array([[t.values[0], -t.values[1]] for t in trials])
    found[found[:, 1] > -1] = np.nan
    return found


def test_children_are_those_of_what_was_told() -> None:
    def asked_after(told: Callable[[list[Trial]], FloatArray], order: int = 1) -> list[tuple[float, ...]]:
        search = optimizer("nsga2", SPACE, seed=1, n_trials=200, n_objectives=2)
        for _ in range(8):  # a population is five batches
            asked = search.ask(10)
            search.tell([t.number for t in asked][::order], told(asked)[::order])
        return [t.values for t in search.ask(10)]

    first = asked_after(two_goals)
    assert first == asked_after(two_goals)
    assert first == asked_after(two_goals, order=-1)
    assert first != asked_after(lambda trials: -two_goals(trials))


def test_requirements() -> None:
    columns = {"trade_count": np.array([50.0, 100.0, np.nan])}
    assert Requirement.parse("trade_count>=100", list(columns)).is_met(columns).tolist() == [False, True, False]
    assert Requirement.parse(" trade_count <= 60", list(columns)).is_met(columns).tolist() == [True, False, False]
    for text in ("trade_count", "trade_count>100", "trade_count>=many", "trades>=1", "trade_count>=nan"):
        with pytest.raises(ConfigError):
            Requirement.parse(text, list(columns))


def test_what_cannot_be_searched_is_refused() -> None:
    with pytest.raises(ConfigError, match="there is no optimizer 'annealing'"):
        optimizer("annealing", SPACE, seed=1, n_trials=10)
    with pytest.raises(ConfigError, match="at least one trial"):
        optimizer("random", SPACE, seed=1, n_trials=0)
    with pytest.raises(ConfigError, match="needs a step"):
        optimizer("grid", SPACE, seed=1, n_trials=10).ask(1)


MIXED = Space.parse(
    {
        "ema_bars": {"int": [1, 400], "log": True},
        "stop_atr": {"float": [0.5, 5.0], "log": True},
        "atr_bars": {"choices": [7, 14, 21]},
        "reward_risk": {"float": [0.5, 3.0], "step": 0.1, "when": {"atr_bars": [7, 14]}},
    },
    STRATEGIES["s1_trend"],
    ["ema_bars * stop_atr < 1200"],
)


@pytest.mark.parametrize("name", ["tpe", "cmaes", "nsga2"])
def test_ranges_choices_and_conditions_are_kept(name: str) -> None:
    skip_without(name)
    done = run(optimizer(name, MIXED, seed=2, n_trials=120), 120, 12)
    rows = np.array([t.values for t in done])
    assert MIXED.valid(rows).all()
    assert ((rows[:, 0] >= 1) & (rows[:, 0] <= 400) & (rows[:, 0] == np.round(rows[:, 0]))).all()
    assert ((rows[:, 1] >= 0.5) & (rows[:, 1] <= 5.0)).all()
    assert set(rows[:, 2].tolist()) == {7.0, 14.0, 21.0}
    is_off = rows[:, 2] == 21.0
    assert set(rows[is_off, 3].tolist()) == {MIXED.strategy.params().reward_risk}  # type: ignore[attr-defined]
    assert set(rows[~is_off, 3].tolist()) <= {round(0.5 + 0.1 * i, 1) for i in range(26)}
    assert len(set(rows[~is_off, 3].tolist())) > 5


@pytest.mark.parametrize("name", ["tpe", "cmaes", "nsga2"])
def test_what_learns_tries_no_combination_twice_and_ends(name: str) -> None:
    skip_without(name)
    done = run(optimizer(name, LISTED, seed=1, n_trials=10_000), trials=10_000, batch=10)
    assert len({t.values for t in done}) == len(done)
    assert len(done) <= LISTED.size() if name == "cmaes" else len(done) == LISTED.size()


@pytest.mark.parametrize("name", ["tpe", "cmaes", "nsga2"])
def test_undefined_objectives_only_are_a_search_too(name: str) -> None:
    skip_without(name)
    search = made(name, n_trials=140)
    numbers: list[int] = []
    while asked := search.ask(20):
        numbers += [t.number for t in asked]
        search.tell(numbers[-len(asked) :], np.full((len(asked), 1), np.nan))
    assert numbers == list(range(140))


@pytest.mark.parametrize("name", ["tpe", "cmaes", "nsga2"])
def test_asking_again_before_telling_gives_other_trials(name: str) -> None:
    skip_without(name)
    search = made(name, n_trials=200)
    for _ in range(3):  # told out of order, and later than asked for
        first, second = search.ask(10), search.ask(10)
        asked = [*second, *first]
        assert second
        assert len({t.values for t in asked}) == len(asked)
        search.tell([t.number for t in asked], np.array([[worth(t)] for t in asked]))


def bowl(trial: Trial, space: Space) -> float:
    """Four dimensions, the best at 0.3, 0.6, 0.45 and 0.7 of their ranges, each twice as steep as the one before."""
    low = np.array([d.low for d in space.dimensions.values()])  # type: ignore[union-attr]
    high = np.array([d.high for d in space.dimensions.values()])  # type: ignore[union-attr]
    u = (np.array(trial.values) - low) / (high - low)
    return -float(np.sum((u - np.array([0.3, 0.6, 0.45, 0.7])) ** 2 * np.array([1, 2, 4, 8])))


@pytest.mark.parametrize("name", ["tpe", "cmaes"])
def test_a_bowl_is_found_to_a_tenth_of_what_chance_leaves(name: str) -> None:
    skip_without(name)
    space = Space.parse(
        {
            "stop_atr": {"float": [0.5, 6.0]},
            "reward_risk": {"float": [0.5, 3.0]},
            "ema_bars": {"int": [5, 505]},
            "atr_bars": {"int": [5, 505]},
        },
        STRATEGIES["s1_trend"],
    )

    def best(which: str, seed: int) -> float:
        search, found = optimizer(which, space, seed=seed, n_trials=300), -np.inf
        while asked := search.ask(15):
            values = [bowl(t, space) for t in asked]
            search.tell([t.number for t in asked], np.array(values)[:, None])
            found = max(found, *values)
        return found

    learned = np.mean([best(name, seed) for seed in range(5)])
    chance = np.mean([best("random", seed) for seed in range(5)])
    assert learned > chance / 10


def test_two_goals_that_pull_apart_are_met_between() -> None:
    """Everything between two points is on the front; chance fills less of the plane under it."""
    space = Space.parse(
        {"stop_atr": {"float": [0.5, 6.0]}, "reward_risk": {"float": [0.5, 3.0]}, "ema_bars": {"int": [5, 505]}},
        STRATEGIES["s1_trend"],
    )
    low, high = np.array([0.5, 0.5, 5.0]), np.array([6.0, 3.0, 505.0])

    def area(which: str, seed: int) -> float:
        """Of the plane above (-1, -1), what is at most as good as something found."""
        search, found = optimizer(which, space, seed=seed, n_trials=400, n_objectives=2), np.empty((0, 2))
        while asked := search.ask(20):
            u = (np.array([t.values for t in asked]) - low) / (high - low)
            values = -np.stack([np.sum(weight * (u - to) ** 2, axis=1) for weight, to in ((9, 0.3), (9, 0.6))], axis=1)
            search.tell([t.number for t in asked], values)
            found = np.vstack([found, values])
        front = found[pareto_front(found)]
        front = front[(front > -1).all(axis=1)]
        front = front[np.argsort(-front[:, 0])]
        return float(np.sum((front[:, 0] + 1) * np.diff(front[:, 1], prepend=-1)))

    # Of the points between, t of the way: the worse of both goals is -27 * 0.09 * max(t, 1 - t)^2.
    t = np.linspace(0, 1, 100_001)
    one, other = -2.43 * t**2, -2.43 * (1 - t) ** 2
    inside = (one > -1) & (other > -1)
    best = float(np.sum((one[inside][:-1] + 1) * np.diff(other[inside])))
    learned = np.mean([area("nsga2", seed) for seed in range(5)])
    chance = np.mean([area("random", seed) for seed in range(5)])
    assert chance < learned < best
    assert best - learned < (best - chance) / 4
