"""Spaces: what they hold, what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from grodtd.config import load_config
from grodtd.domain.errors import ConfigError
from grodtd.optimize.constraints import Constraint
from grodtd.optimize.space import Space
from grodtd.strategies.registry import STRATEGIES

S1, S2, S3 = (STRATEGIES[name] for name in ("s1_trend", "s2_reversion", "s3_breakout"))


def test_a_grid_lists_every_combination_once_the_last_parameter_fastest() -> None:
    space = Space.parse({"ema_bars": {"int": [5, 10], "step": 5}, "stop_atr": {"float": [0.1, 0.3], "step": 0.1}}, S1)
    assert space.size() == 6
    rows = np.concatenate(list(space.grid(4)))
    # 3 * 0.1 is 0.30000000000000004 in binary; a step of 0.1 means the decimal
    assert rows.tolist() == [[5, 0.1], [5, 0.2], [5, 0.3], [10, 0.1], [10, 0.2], [10, 0.3]]
    assert space.as_params(rows[5]) == (10, 14, 0.3, 1.5)
    assert space.as_mapping(rows[0]) == {"ema_bars": 5, "atr_bars": 14, "stop_atr": 0.1, "reward_risk": 1.5}


def test_constraints_and_the_strategy_itself_hold() -> None:
    mapping = {"exit_bars": {"int": [10, 30], "step": 10}, "channel_bars": {"int": [10, 30], "step": 10}}
    rows = np.concatenate(list(Space.parse(mapping, S3).grid()))
    assert (rows[:, 0] <= rows[:, 1]).all()  # S3's own rule
    assert len(rows) == 6
    fewer = np.concatenate(list(Space.parse(mapping, S3, ["exit_bars * 2 <= channel_bars"]).grid()))
    assert fewer.tolist() == [[10, 20], [10, 30]]


def test_conditional_parameters_are_one_combination_where_they_do_not_matter() -> None:
    mapping = {
        "atr_bars": {"choices": [7, 14]},
        "reward_risk": {"float": [1, 3], "step": 1, "when": {"atr_bars": [7]}},
    }
    space = Space.parse(mapping, S1)
    assert space.size() == 4  # three with 7, one with 14
    rows = np.concatenate(list(space.grid()))
    assert rows.tolist() == [[7, 1], [7, 2], [7, 3], [14, 1.5]]  # 1.5 is the default


@pytest.mark.parametrize(
    ("mapping", "message"),
    [
        ({}, "is empty"),
        ({"ema": {"int": [5, 10]}}, "no parameter ema"),
        ({"ema_bars": {"int": [10, 5]}}, "low must be below high"),
        ({"ema_bars": {"int": [5, 5]}}, "fixed value"),
        ({"ema_bars": {"int": [5, 10], "step": 0}}, "step must be above zero"),
        ({"ema_bars": {"int": [5, 10], "step": 9}}, "larger than the range"),
        ({"ema_bars": {"float": [5, 10]}}, "whole number"),
        ({"stop_atr": {"float": [float("nan"), 1]}}, "finite"),
        ({"stop_atr": {"float": [0, float("inf")]}}, "finite"),
        ({"stop_atr": {"float": [0.0, 1.0], "log": True}}, "log needs low above zero"),
        ({"stop_atr": {"choices": [1]}}, "two choices"),
        ({"stop_atr": {"range": [1, 2]}}, "needs one of"),
        ({"stop_atr": {"float": [1, 2], "stepp": 1}}, "unknown key stepp"),
        ({"stop_atr": {"float": [-2, -1], "step": 0.5}}, "none of its 3 combinations"),
        ({"stop_atr": {"float": [1, 2], "when": {"ema_bars": [5]}}}, "not searched"),
    ],
)
def test_bad_spaces_are_refused_with_the_mend(mapping: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Space.parse(mapping, S1)


def test_a_grid_beyond_a_billion_says_how_many_and_what_to_do() -> None:
    mapping = {
        "ema_bars": {"int": [1, 20_000]},
        "stop_atr": {"float": [0.01, 1_000.0], "step": 0.01},
    }
    space = Space.parse(mapping, S1)
    with pytest.raises(ConfigError, match=r"2,000,000,000 combinations.*widen the steps.*random, sobol or tpe"):
        next(space.grid())
    continuous = Space.parse({"stop_atr": {"float": [1, 2]}}, S1)
    with pytest.raises(ConfigError, match="a grid needs a step"):
        continuous.size()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("__import__('os').system('true')", "."),
        ("stop_atr.real < 1", "."),
        ("stop_atr", "."),
        ("stop_atr < nothing", "nothing"),
        ("stop_atr <", "."),
        ("[1] < stop_atr", "."),
        (3, "."),
    ],
)
def test_constraints_are_arithmetic_and_nothing_else(text: object, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Constraint.parse(text, ["stop_atr"])


def test_the_spaces_of_the_configuration_can_be_searched() -> None:
    config = load_config(None)
    for name, settings in config.strategies.items():
        if settings.space:
            fixed = {key: value for key, value in settings.params.items() if key not in settings.space}
            space = Space.parse(settings.space, STRATEGIES[name], settings.constraints, fixed)
            assert space.size() >= 100, name
