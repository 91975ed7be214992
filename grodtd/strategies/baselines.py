"""What every strategy has to beat: holding, and entering by lot."""

from __future__ import annotations

from typing import NamedTuple

from grodtd.domain.bars import Bar
from grodtd.domain.strategy import Bracket, Features, Strategy, levels, rule
from grodtd.indicators.averages import sma
from grodtd.indicators.signals import coin
from grodtd.indicators.volatility import atr


class HoldParams(NamedTuple):
    pass


class HoldRow(NamedTuple):
    close: float


def hold_features(p: HoldParams) -> Features:
    return {"close": sma(1)}


@rule
def hold(bar: Bar, f: HoldRow, p: HoldParams) -> int:
    return 1


@rule
def no_bracket(f: HoldRow, p: HoldParams) -> Bracket:
    return levels()


BUY_AND_HOLD = Strategy(
    name="buy_and_hold",
    description="Baseline: buy at the first open and hold to the end.",
    params=HoldParams,
    row=HoldRow,
    features=hold_features,
    decide=hold,
    bracket=no_bracket,
    roles={},
)


class LotParams(NamedTuple):
    chance: float = 0.01
    hold_bars: int = 30
    seed: int = 1
    atr_bars: int = 14
    stop_atr: float = 2.0
    reward_risk: float = 1.5


class LotRow(NamedTuple):
    coin: float
    atr: float


def lot_features(p: LotParams) -> Features:
    return {"coin": coin(p.chance, p.hold_bars, p.seed), "atr": atr(p.atr_bars)}


@rule
def by_lot(bar: Bar, f: LotRow, p: LotParams) -> int:
    return int(f.coin)


@rule
def lot_bracket(f: LotRow, p: LotParams) -> Bracket:
    stop = p.stop_atr * f.atr
    return levels(stop=stop, target=p.reward_risk * stop)


def is_valid_lot(p: LotParams) -> str:
    if p.stop_atr <= 0 or p.reward_risk <= 0:
        return f"stop_atr and reward_risk must be above zero, found {p.stop_atr} and {p.reward_risk}"
    return ""


RANDOM_ENTRY = Strategy(
    name="random_entry",
    description="Baseline: long or short by lot, held for a while, with the bracket of S1.",
    params=LotParams,
    row=LotRow,
    features=lot_features,
    decide=by_lot,
    bracket=lot_bracket,
    roles={
        "chance": "feature",
        "hold_bars": "feature",
        "seed": "feature",
        "atr_bars": "feature",
        "stop_atr": "bracket",
        "reward_risk": "bracket",
    },
    is_valid=is_valid_lot,
)
