"""S3, breakout: with a Donchian breakout that volume confirms, behind a trailing stop."""

from __future__ import annotations

from typing import NamedTuple

from grodtd.domain.bars import Bar
from grodtd.domain.strategy import Bracket, Features, Strategy, levels, rule
from grodtd.indicators.signals import channel_breakout
from grodtd.indicators.volatility import atr


class Params(NamedTuple):
    channel_bars: int = 60
    exit_bars: int = 30
    volume_bars: int = 30
    volume_ratio: float = 1.5
    atr_bars: int = 14
    stop_atr: float = 2.0
    trail_atr: float = 3.0


class Row(NamedTuple):
    breakout: float
    atr: float


def features(p: Params) -> Features:
    breakout = channel_breakout(p.channel_bars, p.exit_bars, p.volume_bars, p.volume_ratio)
    return {"breakout": breakout, "atr": atr(p.atr_bars)}


@rule
def decide(bar: Bar, f: Row, p: Params) -> int:
    return int(f.breakout)


@rule
def bracket(f: Row, p: Params) -> Bracket:
    return levels(stop=p.stop_atr * f.atr, trail=p.trail_atr * f.atr)


def is_valid(p: Params) -> str:
    if p.stop_atr <= 0 or p.trail_atr <= 0:
        return f"stop_atr and trail_atr must be above zero, found {p.stop_atr} and {p.trail_atr}"
    if p.exit_bars > p.channel_bars:
        return f"exit_bars must be at most channel_bars, found {p.exit_bars} and {p.channel_bars}"
    return ""


S3_BREAKOUT = Strategy(
    name="s3_breakout",
    description="Breakout: with a close beyond the Donchian channel on high volume; stop and trailing stop in ATR.",
    params=Params,
    row=Row,
    features=features,
    decide=decide,
    bracket=bracket,
    roles={
        "channel_bars": "feature",
        "exit_bars": "feature",
        "volume_bars": "feature",
        "volume_ratio": "feature",
        "atr_bars": "feature",
        "stop_atr": "bracket",
        "trail_atr": "bracket",
    },
    is_valid=is_valid,
    regimes=frozenset({"trending"}),
)
