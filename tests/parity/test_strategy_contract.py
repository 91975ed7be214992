"""The proofs every registered strategy gets free of charge (docs/architecture.md section 3)."""

from __future__ import annotations

import math
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from grodtd.domain.bars import COLUMNS, Bar, Bars
from grodtd.domain.errors import StrategyError
from grodtd.domain.kernel import JIT_DISABLED
from grodtd.domain.strategy import BRACKET_ROWS, DecisionStream, Strategy
from grodtd.strategies.registry import STRATEGIES
from grodtd.workflows.strategies import rough_bars

ALWAYS_IN = {"buy_and_hold"}
ROOT = Path(__file__).resolve().parents[2]
MINUTE_US = 60_000_000
N_BARS = 1_500 if JIT_DISABLED else 4_000


def rows(bars: Bars) -> list[Bar]:
    columns = [getattr(bars, name).tolist() for name in COLUMNS]
    return [Bar(int(t), *values) for t, *values in zip(bars.time, *columns, strict=True)]


@pytest.fixture(params=sorted(STRATEGIES), name="strategy")
def _strategy(request: pytest.FixtureRequest) -> Strategy:
    return STRATEGIES[request.param]


def test_bars_of_these_tests_have_every_trouble() -> None:
    bars = rough_bars(N_BARS)
    missing = np.diff(bars.time) // MINUTE_US - 1
    assert {2, 5, 6, 80} <= set(missing.tolist())
    assert (bars.volume == 0).any()


def test_batch_equals_stepwise_bit_for_bit(strategy: Strategy) -> None:
    bars, params = rough_bars(N_BARS), strategy.check_params({})
    decided = strategy.decisions(bars, params)
    stream = DecisionStream(strategy, params, gap_step_us=bars.gap_step_us)
    one_by_one = [stream.update(bar) for bar in rows(bars)]
    sides = [side for side, _ in one_by_one]
    # What follows compares something; interpreted, the history is short.
    assert strategy.name in ALWAYS_IN or {0, 1} <= set(sides)
    assert sides == decided.side.tolist()
    np.testing.assert_array_equal(np.array([b for _, b in one_by_one]).T, decided.bracket)


def test_noise_after_a_bar_changes_no_decision_up_to_it(strategy: Strategy) -> None:
    bars, params = rough_bars(N_BARS), strategy.check_params({})
    decided = strategy.decisions(bars, params)
    other = rough_bars(N_BARS, seed=2)
    for at in np.linspace(1, N_BARS - 1, 20, dtype=int).tolist():
        mixed = Bars(
            bars.time,
            *(np.append(getattr(bars, name)[:at], getattr(other, name)[at:]) for name in COLUMNS),
            timeframe="1m",
        )
        again = strategy.decisions(mixed, params)
        np.testing.assert_array_equal(again.side[:at], decided.side[:at])
        np.testing.assert_array_equal(again.bracket[:, :at], decided.bracket[:, :at])
        np.testing.assert_array_equal(again.features[:, :at], decided.features[:, :at])


def test_each_parameter_changes_only_what_its_role_owns(strategy: Strategy) -> None:
    if not strategy.roles:
        pytest.skip(f"{strategy.name} has no parameter")
    bars, default = rough_bars(N_BARS), strategy.check_params({})
    base = strategy.decisions(bars, default)
    for name, role in strategy.roles.items():
        value = getattr(default, name)
        changed = strategy.check_params({name: value + 3 if isinstance(value, int) else value * 1.5})
        found = strategy.decisions(bars, changed)
        changes = {
            "feature": not np.array_equal(found.features, base.features, equal_nan=True),
            "rule": not np.array_equal(found.side, base.side),
            "bracket": not np.array_equal(found.bracket, base.bracket, equal_nan=True),
        }
        assert changes[role], f"{name} is declared {role} and changes nothing there"
        if role == "rule":
            assert not changes["feature"]
        if role == "bracket":
            assert not changes["feature"]
            assert not changes["rule"]


def test_no_side_before_the_warm_up_nor_after_a_long_gap(strategy: Strategy) -> None:
    bars, params = rough_bars(N_BARS), strategy.check_params({})
    warmup = strategy.warmup_bars(params)
    side = strategy.decisions(bars, params).side
    assert (warmup > 1) == (strategy.name not in ALWAYS_IN)
    assert not side[: warmup - 1].any()
    starts = np.flatnonzero(np.diff(bars.time) // MINUTE_US - 1 > 5) + 1
    assert starts.size
    for start in starts.tolist():
        assert not side[start : start + warmup - 1].any()


def test_unknown_and_invalid_parameters_are_refused_by_name(strategy: Strategy) -> None:
    with pytest.raises(StrategyError, match="has no parameter nonsense"):
        strategy.check_params({"nonsense": 1})
    if not strategy.roles:
        return
    name = next(iter(strategy.roles))
    with pytest.raises(StrategyError, match=f"{name} must be a finite number"):
        strategy.check_params({name: math.nan})
    with pytest.raises(StrategyError, match=f"{name} must be a finite number"):
        strategy.check_params({name: True})


def _decisions_in_new_process(root: Path, cache: Path, strategy: str, **env: str) -> str:
    """Run `strategy` on the rough bars with the package at `root`; return a hash of its decisions."""
    program = (
        "import sys, hashlib; sys.path.append(sys.argv[2]);"
        "import grodtd.domain.kernel;"
        "assert grodtd.domain.kernel.__file__.startswith(sys.argv[1]), grodtd.domain.kernel.__file__;"
        "from grodtd.workflows.strategies import rough_bars;"
        "from grodtd.strategies.registry import STRATEGIES as S;"
        f"s = S[{strategy!r}]; d = s.decisions(rough_bars(1_500), s.check_params({{}}));"
        "print(hashlib.sha256(d.side.tobytes() + d.bracket.tobytes() + d.features.tobytes()).hexdigest())"
    )
    result = subprocess.run(
        [sys.executable, "-c", program, str(root), str(ROOT)],
        capture_output=True,
        text=True,
        check=False,
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root), "NUMBA_CACHE_DIR": str(cache), **env},
    )
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


def test_compiled_equals_interpreted(strategy: Strategy, tmp_path: Path) -> None:
    compiled = _decisions_in_new_process(ROOT, tmp_path, strategy.name, NUMBA_DISABLE_JIT="0")
    interpreted = _decisions_in_new_process(ROOT, tmp_path, strategy.name, NUMBA_DISABLE_JIT="1")
    assert compiled == interpreted


def test_editing_an_imported_file_changes_the_result_in_the_next_process(tmp_path: Path) -> None:
    # numba's own cache looks only at the caller's file; the folder named after all our source is what saves us.
    copy = tmp_path / "copy"
    shutil.copytree(ROOT / "grodtd", copy / "grodtd", ignore=shutil.ignore_patterns("__pycache__"))
    before = _decisions_in_new_process(copy, tmp_path / "cache", "s1_trend")
    again = _decisions_in_new_process(copy, tmp_path / "cache", "s1_trend")
    assert before == again

    helper = copy / "grodtd" / "indicators" / "volatility.py"
    text = helper.read_text()
    edited = text.replace("max(bar.high - bar.low", "2.0 * max(bar.high - bar.low")
    assert edited != text, "the true range is no longer spelled as this test expects; edit the test"
    helper.write_text(edited)
    assert _decisions_in_new_process(copy, tmp_path / "cache", "s1_trend") != before


def test_a_rule_that_returns_another_number_is_refused() -> None:
    from grodtd.domain.strategy import rule

    s1 = STRATEGIES["s1_trend"]

    @rule
    def decide(bar: Bar, f: Any, p: Any) -> int:
        return 2

    broken = Strategy(
        name="broken",
        params=s1.params,
        row=s1.row,
        features=s1.features,
        decide=decide,
        bracket=s1.bracket,
        roles=s1.roles,
    )
    with pytest.raises(StrategyError, match="must return -1, 0 or \\+1"):
        broken.decisions(rough_bars(1_500), broken.check_params({}))
    assert BRACKET_ROWS == 6
