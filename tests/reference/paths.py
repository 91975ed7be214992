"""Random markets, decisions and accounts made to hurt: gaps, ties, silence, tiny ranges, poverty."""

from __future__ import annotations

import numpy as np

from grodtd.domain.bars import Bars, FloatArray, SideArray
from grodtd.domain.market import Account, Costs, Instrument, Rules, Sizing

MINUTE_US = 60_000_000


def random_case(seed: int, n_bars: int = 120) -> tuple[Bars, SideArray, FloatArray, Account]:
    """Return (bars, side, bracket, account) of one seed; every trouble comes up within a few dozen seeds."""
    rng = np.random.default_rng(seed)
    scale = float(rng.choice([0.01, 1.0, 100.0, 60_000.0]))
    tick = str(rng.choice(["0.01", "0.5"])) if scale >= 100 and rng.random() < 0.6 else None
    bars = _bars(rng, n_bars, scale, tick)
    side = np.repeat(rng.choice([-1, 0, 1], n_bars), rng.integers(1, 7, n_bars))[:n_bars].astype(np.int8)
    return bars, side, _bracket(rng, bars), _account(rng, bars, scale, tick)


def _bars(rng: np.random.Generator, n: int, scale: float, tick: str | None) -> Bars:
    bar_move = float(rng.choice([5e-4, 3e-3, 2e-2]))
    gap_move = np.where(rng.random(n) < 0.15, rng.normal(0, 4 * bar_move, n), 0.0)
    if rng.random() < 0.2:  # a jump that ruins a short
        gap_move[rng.integers(1, n, 3)] = rng.normal(0.8, 0.5, 3)
    close = scale * np.exp(np.cumsum(rng.normal(0, bar_move, n) + gap_move))
    open_ = np.append(scale, close[:-1]) * np.exp(gap_move)
    if rng.random() < 0.7:  # a coarse grid makes ties: open on the stop, high on the target, flat bars
        grid = scale * bar_move / 2 if tick is None else float(tick)
        open_, close = (np.maximum(grid, np.round(x / grid) * grid) for x in (open_, close))
    wick = np.abs(rng.normal(0, bar_move, (2, n))) * (rng.random((2, n)) < 0.8)
    high, low = np.maximum(open_, close) * (1 + wick[0]), np.minimum(open_, close) * (1 - wick[1] * 0.9)
    volume = np.where(rng.random(n) < rng.choice([0.0, 0.1, 0.4]), 0.0, rng.lognormal(0, 1, n))
    volume[[0, -1]] *= rng.random(2) < 0.5
    missing = rng.choice([0, 1, 7], n, p=[0.96, 0.02, 0.02])
    return Bars((np.arange(n) + np.cumsum(missing)) * MINUTE_US, open_, high, low, close, volume)


def _bracket(rng: np.random.Generator, bars: Bars) -> FloatArray:
    n = len(bars)
    typical = float(np.median(np.abs(np.diff(bars.close)))) + 1e-6 * float(bars.close[0])
    distance = typical * rng.choice([0.02, 0.5, 1.0, 2.0, 5.0], (3, n))
    absent = rng.random((3, n)) < np.array([[0.15], [0.3], [float(rng.choice([0.3, 1.0]))]])
    return np.where(absent, rng.choice([np.nan, 0.0, -1.0], (3, n)), distance)


def _account(rng: np.random.Generator, bars: Bars, scale: float, tick: str | None) -> Account:
    is_poor = rng.random() < 0.25
    capital = scale * (float(rng.choice([0.5, 2.0])) if is_poor else 50.0)
    costs = Costs(
        maker_bps=float(rng.choice([-1.0, 0.0, 10.0])),
        taker_bps=float(rng.choice([0.0, 10.0, 60.0])),
        half_spread_bps=float(rng.choice([0.0, 0.5])),
        slippage_bps=float(rng.choice([0.0, 0.5, 20.0])),
    )
    mode = rng.choice(["risk", "fraction", "fixed_qty", "all_in_whole"])
    sizing = Sizing(
        mode=mode,
        risk=float(rng.choice([0.001, 0.0075, 0.05])),
        max_gross=float(rng.choice([0.3, 1.0])),
        fraction=float(rng.choice([0.1, 1.0])),
        qty=float(rng.choice([0.3, 1.0, 40.0])),
        compound=bool(rng.random() < 0.7),
    )
    instrument = Instrument(
        "test",
        "TEST",
        tick=tick,
        lot=str(rng.choice(["0.1", "0.00025", "1"])) if rng.random() < 0.5 else None,
        min_notional=scale * float(rng.choice([0.0, 0.4, 3.0])),
    )
    rules = Rules(
        latency_bars=int(rng.choice([0, 0, 1, 3])),
        direction=rng.choice(["long_short", "long_short", "long_only", "short_only"]),
        reentry=rng.choice(["immediate", "edge"]),
    )
    return Account(instrument, costs, sizing, rules, initial_capital=capital)
