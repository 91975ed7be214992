"""S2, mean reversion: fade a stretch from the day's VWAP, measured in standard deviations, until the price is back."""

from __future__ import annotations

from typing import NamedTuple

from grodtd.domain.bars import Bar
from grodtd.domain.strategy import Bracket, Features, Strategy, levels, rule
from grodtd.indicators.signals import vwap_fade
from grodtd.indicators.volatility import atr


class Params(NamedTuple):
    band_bars: int = 120
    enter_deviations: float = 2.0
    leave_deviations: float = 0.5
    atr_bars: int = 14
    stop_atr: float = 3.0
    max_bars: int = 120


class Row(NamedTuple):
    fade: float
    atr: float


def features(p: Params) -> Features:
    return {"fade": vwap_fade(p.band_bars, p.enter_deviations, p.leave_deviations), "atr": atr(p.atr_bars)}


@rule
def decide(bar: Bar, f: Row, p: Params) -> int:
    return int(f.fade)


@rule
def bracket(f: Row, p: Params) -> Bracket:
    return levels(stop=p.stop_atr * f.atr, max_bars=float(p.max_bars))


def is_valid(p: Params) -> str:
    if not 0 <= p.leave_deviations < p.enter_deviations:
        return f"leave_deviations must be below enter_deviations, found {p.leave_deviations} and {p.enter_deviations}"
    if p.stop_atr <= 0 or p.max_bars < 0:
        return f"stop_atr must be above zero and max_bars not below it, found {p.stop_atr} and {p.max_bars}"
    return ""


S2_REVERSION = Strategy(
    name="s2_reversion",
    description="Mean reversion: against a stretch from the day's VWAP, out when it is back; stop in ATR, time limit.",
    params=Params,
    row=Row,
    features=features,
    decide=decide,
    bracket=bracket,
    roles={
        "band_bars": "feature",
        "enter_deviations": "feature",
        "leave_deviations": "feature",
        "atr_bars": "feature",
        "stop_atr": "bracket",
        "max_bars": "bracket",
    },
    is_valid=is_valid,
    regimes=frozenset({"ranging"}),
)
