"""Strategies by name or by file: load one, scaffold a new one, check that one keeps its contract."""

from __future__ import annotations

import hashlib
import importlib.util
import re
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from grodtd.adapters.market_data.synthetic import synthetic_bars
from grodtd.backtest.engine import Market, run_backtest
from grodtd.domain.bars import COLUMNS, Bar, Bars
from grodtd.domain.errors import GrodtError, StrategyError
from grodtd.domain.kernel import OWN_MODULE, hash_beside
from grodtd.domain.market import Account, Costs, Instrument, Sizing
from grodtd.domain.strategy import DecisionStream, Strategy, location
from grodtd.strategies.registry import strategy_named

CHECK_BARS = 3_000
_TEMPLATE = Path(__file__).parent / "strategy_template.py.txt"


def resolve_strategy(spec: str) -> Strategy:
    """Return a registered strategy, or one from a file: ``my_strategy.py:MY_STRATEGY``.

    Raises
    ------
    StrategyError
        If there is no such strategy, file or name in it, or the file cannot be run; the message names file and line.
    """
    if ".py" not in spec:
        return strategy_named(spec)
    path, _, name = spec.partition(":")
    return strategy_from_file(Path(path), name)


def strategy_from_file(file: Path, name: str = "") -> Strategy:
    """Return the strategy called `name` in a file; without a name, the only one in it.

    Raises
    ------
    StrategyError
        As `resolve_strategy`.
    """
    if not file.is_file():
        raise StrategyError(f"there is no file {file}; `grodt strategy new NAME` writes one that runs")
    module = _module(file.resolve())
    found = {key: value for key, value in vars(module).items() if isinstance(value, Strategy) and key[0] != "_"}
    if not name and len(found) == 1:
        return next(iter(found.values()))
    if name not in found:
        there = ", ".join(sorted(found)) or "none; it must hold NAME = Strategy(...)"
        raise StrategyError(f"{file} has no strategy {name or '(name it after a colon)'}; it has {there}")
    return found[name]


def _module(file: Path) -> ModuleType:
    """Run a user's file as a module of its own, named after its content: an edited file is another module."""
    # With the files beside it: machine code of an older helper must not be used again.
    digest = hashlib.sha256(f"{file}\0{hash_beside(file)}".encode())
    stem = re.sub(r"[^A-Za-z0-9_]", "_", file.stem)
    name = f"{OWN_MODULE}{digest.hexdigest()[:16]}_{stem}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise StrategyError(f"{file} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    sys.path.insert(0, str(file.parent))
    try:
        spec.loader.exec_module(module)
    except GrodtError:
        del sys.modules[name]
        raise
    except Exception as error:
        del sys.modules[name]
        raise StrategyError(f"{file}{_line_in(error, file)}: {type(error).__name__}: {error}") from error
    finally:
        sys.path.remove(str(file.parent))
    return module


def _line_in(error: BaseException, file: Path) -> str:
    """Return ":line" of the last frame of an error that lies in `file`, or of a syntax error in it."""
    if isinstance(error, SyntaxError) and error.lineno:
        return f":{error.lineno}"
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if Path(frame.filename) == file]
    # numba compiles the file's functions outside of any frame, but says where it stood.
    named = re.findall(rf'File "{re.escape(str(file))}", line (\d+)', str(error))
    if named:
        return f":{named[-1]}"
    return f":{lines[-1]}" if lines else ""


def scaffold(name: str, folder: Path) -> Path:
    """Write a strategy that runs at once, with the contract checks as tests beside it, and return its path.

    Raises
    ------
    StrategyError
        If the name cannot be a Python name, or a file is there already: nothing is overwritten.
    """
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
        raise StrategyError(f"a strategy's name is lower case letters, digits and underscores, found {name!r}")
    file, test = folder / f"{name}.py", folder / f"test_{name}.py"
    for there in (file, test):
        if there.exists():
            raise StrategyError(f"{there} exists already; choose another name or folder")
    folder.mkdir(parents=True, exist_ok=True)
    code, _, tests = _TEMPLATE.read_text().partition("# ---- tests ----\n")
    for path, text in ((file, code), (test, tests)):
        path.write_text(text.replace("{name}", name).replace("{NAME}", name.upper()))
    return file


@dataclass(frozen=True)
class Check:
    """One promise of the contract: what it is, and what is wrong with it; an empty text where it holds."""

    name: str
    problem: str = ""


def check_strategy(strategy: Strategy) -> list[Check]:
    """Try a strategy against its contract on rough synthetic bars; every check runs, whatever the others say.

    The promises: parameters and roles fit; sides are -1, 0 or +1 on every bar; no peeking; nothing before the warm-up;
    history equals one bar at a time, bit for bit; a restart changes nothing; each parameter changes only what its role
    owns; a backtest runs.
    """
    bars = rough_bars(CHECK_BARS)
    checks: list[tuple[str, Callable[[Strategy, Bars], str]]] = [
        ("parameters and features", _parameters),
        ("sides and brackets on every bar", _sides),
        ("no peeking", _no_peeking),
        ("nothing before the warm-up", _warm_up),
        ("history equals bar by bar", _stepwise),
        ("a restart changes nothing", _restart),
        ("each parameter keeps to its role", _roles),
        ("a backtest runs", _backtest),
    ]
    found = []
    for name, check in checks:
        try:
            problem = check(strategy, bars)
        except Exception as error:  # a user's code may raise anything; it is the answer
            problem = _explained(strategy, error)
        found.append(Check(name, problem))
    return found


def _explained(strategy: Strategy, error: Exception) -> str:
    file = Path(getattr(sys.modules.get(strategy.module), "__file__", "") or "")
    text = " ".join(str(error).split())
    if "Failed in nopython mode" in text or type(error).__name__ in ("TypingError", "UnsupportedError"):
        text = f"numba cannot compile it: {text[:400]}. Rules take plain numbers, math and comparisons, nothing else"
    where = f"{file}{_line_in(error, file)}" if file.name else strategy.name
    return f"{where}: {type(error).__name__}: {text}"


def rough_bars(n: int, seed: int = 1) -> Bars:
    """Return random 1-minute bars with short gaps, long gaps (indicators restart) and minutes without volume."""
    rng = np.random.default_rng(seed)
    close = 20_000 * np.exp(np.cumsum(rng.normal(0, 8e-4, n)))
    open_ = np.append(20_000.0, close[:-1]) * np.exp(rng.normal(0, 1e-4, n))
    high = np.maximum(open_, close) * np.exp(np.abs(rng.normal(0, 3e-4, n)))
    low = np.minimum(open_, close) * np.exp(-np.abs(rng.normal(0, 3e-4, n)))
    volume = rng.lognormal(2, 1, n) * (rng.random(n) > 0.02)
    missing = rng.choice([0, 2, 5, 6, 80], size=n, p=[0.985, 0.006, 0.003, 0.003, 0.003])
    time = (np.arange(n) + np.cumsum(missing)) * 60_000_000
    return Bars(time, open_, high, low, close, volume, symbol="ROUGH", timeframe="1m")


def _rows(bars: Bars) -> list[Bar]:
    columns = [getattr(bars, name).tolist() for name in COLUMNS]
    return [Bar(int(t), *values) for t, *values in zip(bars.time, *columns, strict=True)]


def _parameters(strategy: Strategy, bars: Bars) -> str:
    params = strategy.check_params({})
    names = [i.name for i in strategy.indicators(params)]
    return "" if names else "it declares no feature; a rule that sees nothing cannot decide"


def _sides(strategy: Strategy, bars: Bars) -> str:
    decided = strategy.decisions(bars, strategy.check_params({}))
    if not decided.side.any():
        return (
            f"{location(strategy.decide)}: it wants no position in {len(bars)} bars; look at the rule, or at features"
            " that stay nan"
        )
    undefined = [
        name
        for name, row in zip(strategy.row._fields, decided.features, strict=True)  # type: ignore[attr-defined]
        if np.isnan(row).all()
    ]
    if not undefined:
        return ""
    return f"{location(strategy.features)}: feature {', '.join(undefined)} is never defined; is its window too long?"


def _no_peeking(strategy: Strategy, bars: Bars) -> str:
    params = strategy.check_params({})
    decided, other = strategy.decisions(bars, params), rough_bars(len(bars), seed=2)
    for at in np.linspace(1, len(bars) - 1, 20, dtype=int).tolist():
        open_, high, low, close, volume = (np.append(getattr(bars, n)[:at], getattr(other, n)[at:]) for n in COLUMNS)
        mixed = Bars(bars.time, open_, high, low, close, volume, timeframe="1m")
        again = strategy.decisions(mixed, params)
        for what in ("features", "side", "bracket"):
            a, b = getattr(again, what)[..., :at], getattr(decided, what)[..., :at]
            if not np.array_equal(a, b, equal_nan=True):
                return (
                    f"{location(strategy.features)}: its {what} up to bar {at - 1} change when only later bars do: it"
                    " looks ahead; build its features from indicators, which see one closed bar at a time"
                )
    return ""


def _warm_up(strategy: Strategy, bars: Bars) -> str:
    params = strategy.check_params({})
    warmup = strategy.warmup_bars(params)
    side = strategy.decisions(bars, params).side
    return f"it takes a side before its {warmup} bars of warm-up" if side[: warmup - 1].any() else ""


def _stream(strategy: Strategy, bars: Bars) -> DecisionStream:
    return DecisionStream(strategy, strategy.check_params({}), gap_step_us=bars.gap_step_us)


def _stepwise(strategy: Strategy, bars: Bars) -> str:
    decided = strategy.decisions(bars, strategy.check_params({}))
    stream = _stream(strategy, bars)
    for t, bar in enumerate(_rows(bars)):
        side, bracket = stream.update(bar)
        if side != decided.side[t] or not np.array_equal(np.array(bracket), decided.bracket[:, t], equal_nan=True):
            return (
                f"{location(strategy.features)}: at bar {t} history says side {decided.side[t]} and bracket"
                f" {decided.bracket[:, t].tolist()}, bar by bar says {side} and {list(bracket)}: a rule or an indicator"
                " keeps something outside its state; keep all memory in indicators"
            )
    return ""


def _restart(strategy: Strategy, bars: Bars) -> str:
    """Stop at a bar, start again from the beginning of history: the same decisions from there on."""
    rows, at = _rows(bars), len(bars) // 2
    first = _stream(strategy, bars)
    for bar in rows[:at]:
        first.update(bar)
    second = _stream(strategy, bars)
    for bar in rows[:at]:
        second.update(bar)
    for t in range(at, min(at + 500, len(rows))):
        a, b = first.update(rows[t]), second.update(rows[t])
        if a[0] != b[0] or not np.array_equal(np.array(a[1]), np.array(b[1]), equal_nan=True):
            return (
                f"{location(strategy.features)}: after a restart it decides otherwise at bar {t}: something survives"
                " outside the indicators' states; keep all memory there"
            )
    return ""


def _roles(strategy: Strategy, bars: Bars) -> str:
    default = strategy.check_params({})
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
        if not changes[role]:
            return f"{name} is declared {role} and changes nothing there"
        if (role == "rule" and changes["feature"]) or (role == "bracket" and (changes["feature"] or changes["rule"])):
            return f"{name} is declared {role} but changes more than that; declare the widest thing it touches"
    return ""


def _backtest(strategy: Strategy, bars: Bars) -> str:
    made, _ = synthetic_bars("G1", 20_000, 7)
    account = Account(Instrument("synthetic", "G1"), Costs(10, 10, 0.5, 0.5), Sizing(mode="fraction", fraction=0.1))
    result = run_backtest(Market(made), strategy, strategy.check_params({}), account)
    return "" if len(result.trades) else "it makes no trade in 20,000 synthetic bars"


def describe(strategy: Strategy) -> dict[str, Any]:  # Any: for JSON
    """Return what there is to know about a strategy without running it."""
    params = strategy.check_params({})
    return {
        "name": strategy.name,
        "description": strategy.description,
        "params": params._asdict(),  # type: ignore[attr-defined]  # every NamedTuple has it
        "roles": dict(strategy.roles),
        "features": [i.name for i in strategy.indicators(params)],
        "warmup_bars": strategy.warmup_bars(params),
        "regimes": sorted(strategy.regimes),
    }
