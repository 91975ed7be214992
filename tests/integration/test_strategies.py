"""A user's own strategy: scaffolded, checked, run, verified; refused with file, line and mend where it is broken."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from grodtd.domain.errors import StrategyError
from grodtd.strategies.registry import STRATEGIES
from grodtd.workflows.strategies import check_strategy, resolve_strategy, scaffold, strategy_from_file


def grodt(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "grodtd", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=cwd, env={**os.environ})


@pytest.fixture(name="own")
def _own(tmp_path: Path) -> Path:
    return scaffold("my_idea", tmp_path)


def test_a_scaffold_runs_at_once_keeps_the_contract_and_can_be_verified(tmp_path: Path) -> None:
    made = grodt("strategy", "new", "my_idea", cwd=tmp_path)
    assert made.returncode == 0, made.stderr
    checked = grodt("strategy", "check", "my_idea.py:MY_IDEA", cwd=tmp_path)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert checked.stdout.count("ok   ") == 8
    assert grodt("data", "synth", "G1", "--bars", "6000", cwd=tmp_path).returncode == 0
    spec = ("my_idea.py:MY_IDEA", "--venue", "synthetic", "--symbol", "G1")
    done = grodt("backtest", *spec, "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    run = json.loads(done.stdout)
    assert run["metrics"]["trade_count"] > 10
    assert grodt("verify", run["run_id"], cwd=tmp_path).returncode == 0
    tests = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "test_my_idea.py"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=False,
    )
    assert tests.returncode == 0, tests.stdout
    again = grodt("strategy", "new", "my_idea", cwd=tmp_path)
    assert again.returncode == 4
    assert "exists already" in again.stderr


def test_an_edited_file_or_helper_is_another_strategy(own: Path) -> None:
    helper = own.with_name("helper.py")
    helper.write_text("FACTOR = 2.0\n")
    text = own.read_text().replace("from grodtd.domain.bars", "from helper import FACTOR\nfrom grodtd.domain.bars", 1)
    own.write_text(text.replace("p.stop_atr * f.atr", "p.stop_atr * FACTOR * f.atr"))
    first = strategy_from_file(own)
    helper.write_text("FACTOR = 3.0\n")
    sys.modules.pop("helper")
    second = strategy_from_file(own)
    assert first.module != second.module
    row = first.row(1.0, 2.0, 10.0)
    params = first.check_params({})
    assert first.bracket(row, params).stop == 60.0  # 3 * 2 * 10
    assert second.bracket(second.row(1.0, 2.0, 10.0), second.check_params({})).stop == 90.0


def problems(file: Path) -> str:
    return "\n".join(check.problem for check in check_strategy(strategy_from_file(file)) if check.problem)


DECIDE = "    if f.fast > f.slow:\n        return 1\n"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            DECIDE,
            DECIDE.replace("return 1", "return math.nan"),
            r"must return -1, 0 or \+1; at bar \d+ .* nan",
        ),
        (DECIDE, DECIDE.replace("return 1", "return 2"), r"must return -1, 0 or \+1"),
        (
            DECIDE,
            '    if f.fast > 1.002 * f.slow:\n        raise ValueError("too far")\n' + DECIDE,
            r"my_idea\.py:\d+: my_idea raises ValueError: too far at bar \d+ .* guard that case",
        ),
        (
            "    return levels(stop=stop, target=p.reward_risk * stop)",
            "    return (stop, p.reward_risk * stop)",
            r"my_idea\.py:\d+: the rules of my_idea cannot be compiled.*bracket\(\) returns levels",
        ),
        ("class Row(NamedTuple):", "SEEN = []\n\n\nclass Row(NamedTuple):", ""),
        (DECIDE, "    SEEN.append(bar.close)\n" + DECIDE, r"my_idea\.py:\d+.*(cannot be compiled|SEEN)"),
        ('"slow": ema(p.slow_bars), ', "", r"my_idea.*features .* do not match its row"),
    ],
    ids=["nan", "two", "raises", "wrong shape", "harmless", "mutates", "missing feature"],
)
def test_a_broken_strategy_is_refused_with_file_line_and_mend(own: Path, old: str, new: str, message: str) -> None:
    text = own.read_text()
    assert old in text
    own.write_text(text.replace(old, new).replace("from typing", "import math\nfrom typing"))
    found = problems(own)
    if not message:
        assert not found
        return
    assert re.search(message, found, re.DOTALL), found
    assert "my_idea" in found


def test_a_strategy_that_peeks_is_refused(own: Path) -> None:
    text = own.read_text().replace(
        'return {"fast": ema(p.fast_bars),',
        'return {"fast": Peeking(**vars(ema(p.fast_bars))),',
    )
    own.write_text(
        text.replace(
            "class Params(NamedTuple):",
            "class Peeking(Indicator):\n"
            "    def values(self, bars):\n"
            "        return np.append(super().values(bars)[1:], np.nan)  # tomorrow's value\n\n\n"
            "class Params(NamedTuple):",
            1,
        ).replace("from typing", "import numpy as np\nfrom grodtd.domain.indicator import Indicator\nfrom typing")
    )
    found = problems(own)
    assert "looks ahead" in found
    assert f"{own}:" in found
    assert "build its features from indicators" in found


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "there is no file"),
        ("X = 1\n", "has no strategy .* it has none"),
        ("def broken(:\n", r"own\.py:1: SyntaxError"),
        ("\n\nimport nothing_of_that_name\n", r"own\.py:3: ModuleNotFoundError"),
    ],
)
def test_a_file_that_is_no_strategy_says_so(tmp_path: Path, content: str | None, message: str) -> None:
    file = tmp_path / "own.py"
    if content is not None:
        file.write_text(content)
    with pytest.raises(StrategyError, match=message):
        resolve_strategy(f"{file}:X")


def test_names_that_cannot_be_are_refused(tmp_path: Path) -> None:
    with pytest.raises(StrategyError, match="lower case letters"):
        scaffold("My Idea", tmp_path)


@pytest.mark.parametrize("name", sorted(STRATEGIES))
def test_every_registered_strategy_keeps_the_contract(name: str) -> None:
    found = check_strategy(STRATEGIES[name])
    # Holding is in the market from the first bar to the last: it has no parameters.
    assert not [check for check in found if check.problem]


def test_strategies_are_listed(tmp_path: Path) -> None:
    done = grodt("strategy", "list", "--json", cwd=tmp_path)
    assert [one["name"] for one in json.loads(done.stdout)] == list(STRATEGIES)
