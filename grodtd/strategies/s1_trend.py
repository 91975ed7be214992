"""S1, trend scalper: with the day's VWAP and the EMA on one side of price, go with them; ATR bracket."""

from __future__ import annotations

from typing import NamedTuple

from grodtd.domain.bars import Bar
from grodtd.domain.strategy import Bracket, Features, Strategy, levels, rule
from grodtd.indicators.averages import ema
from grodtd.indicators.volatility import atr
from grodtd.indicators.vwap import vwap


class Params(NamedTuple):
    ema_bars: int = 9
    atr_bars: int = 14
    stop_atr: float = 2.0
    reward_risk: float = 1.5


class Row(NamedTuple):
    vwap: float
    ema: float
    atr: float


def features(p: Params) -> Features:
    return {"vwap": vwap(anchor="day"), "ema": ema(p.ema_bars), "atr": atr(p.atr_bars)}


@rule
def decide(bar: Bar, f: Row, p: Params) -> int:
    if bar.close > f.vwap and bar.close > f.ema:
        return 1
    if bar.close < f.vwap and bar.close < f.ema:
        return -1
    return 0


@rule
def bracket(f: Row, p: Params) -> Bracket:
    stop = p.stop_atr * f.atr
    return levels(stop=stop, target=p.reward_risk * stop)


def is_valid(p: Params) -> str:
    if p.stop_atr <= 0 or p.reward_risk <= 0:
        return f"stop_atr and reward_risk must be above zero, found {p.stop_atr} and {p.reward_risk}"
    return ""


S1_TREND = Strategy(
    name="s1_trend",
    description="Trend scalper: VWAP and EMA agree with the close; stop in ATR, target a multiple of the stop.",
    params=Params,
    row=Row,
    features=features,
    decide=decide,
    bracket=bracket,
    roles={"ema_bars": "feature", "atr_bars": "feature", "stop_atr": "bracket", "reward_risk": "bracket"},
    is_valid=is_valid,
    regimes=frozenset({"trending"}),
)
