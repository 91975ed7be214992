"""Random bars, decisions and accounts that hurt: gaps through levels, ties, dead bars, ruin, odd steps.

Half of the paths live on a grid of a power of two, with brackets on the same grid: there open == stop and
high == target happen all the time, and exactly.
"""

from __future__ import annotations

from decimal import Decimal
from typing import NamedTuple

import numpy as np

from grodtd.domain.bars import Bars, FloatArray, SideArray
from grodtd.domain.market import Account, Costs, Instrument, Rules, Sizing

MINUTE_US = 60_000_000
PRICE_MIN, PRICE_MAX = 0.01, 60_000.0
BARS_MAX = 120


class Path(NamedTuple):
    """Everything a fill engine is given."""

    bars: Bars
    side: SideArray
    bracket: FloatArray
    account: Account


def random_path(seed: int, *, n_bars: int | None = None, has_steps: bool = True) -> Path:
    """Return the path of this seed; without steps there is no tick, no lot and no smallest notional."""
    rng = np.random.default_rng(seed)
    n = n_bars or int(rng.integers(1, BARS_MAX + 1))
    volatility = float(rng.choice([1e-7, 1e-5, 1e-3, 1e-2, 5e-2]))
    raw = _raw_prices(rng, n, volatility)
    grid, tick = _grid_and_tick(rng, float(raw.min()), volatility, has_steps)
    bars = _bars(rng, raw, grid)
    side = _persistent_sides(rng, n)
    bracket = _bracket(rng, bars.close, volatility, grid)
    return Path(bars, side, bracket, _account(rng, float(bars.close[0]), tick, has_steps))


def _raw_prices(rng: np.random.Generator, n: int, volatility: float) -> FloatArray:
    """Open, high, low, close before any grid, shape (4, n): a walk with gaps, flat bars and jumps that ruin."""
    jumps = rng.normal(0, rng.choice([0.3, 1.5]), n) * (rng.random(n) < rng.choice([0, 0.02, 0.1, 0.3]))
    gaps = rng.normal(0, 3 * volatility, n) * (rng.random(n) < rng.choice([0, 0.3, 1]))
    moves = jumps + rng.normal(0, volatility, n)
    close = 10 ** rng.uniform(-2, 4.78) * np.exp(np.cumsum(moves))
    # A jump comes either between two bars or inside one.
    gaps += jumps * (rng.random(n) < 0.5)
    open_ = np.append(close[0], close[:-1]) * np.exp(gaps)
    reach = np.abs(rng.normal(0, volatility, (2, n))) * (rng.random((2, n)) < 0.8)
    is_flat = rng.random(n) < 0.1
    close = np.where(is_flat, open_, close)
    reach[:, is_flat] = 0.0
    high = np.maximum(open_, close) * np.exp(reach[0])
    low = np.minimum(open_, close) * np.exp(-reach[1])
    return np.clip(np.stack([open_, high, low, close]), PRICE_MIN, PRICE_MAX)


def _grid_and_tick(
    rng: np.random.Generator, lowest: float, volatility: float, has_steps: bool
) -> tuple[float, str | None]:
    """A grid for prices and distances (0.0: none) and a decimal tick; the lowest price is worth many ticks."""
    magnitude = int(np.floor(np.log10(lowest)))
    if has_steps and rng.random() < 0.5:
        # Ticks the size of a bar make ties; other ticks, between 1 % and a ten-millionth of the price, make noise.
        finer = int(rng.integers(2, 8)) if rng.random() < 0.5 else min(max(round(-np.log10(volatility)), 2), 7)
        tick = Decimal(int(rng.choice([1, 5]))).scaleb(magnitude - finer)
        # Most venues quote on the tick; the file of another source need not.
        return (float(tick) if rng.random() < 0.8 else 0.0), format(tick, "f")
    if rng.random() < 0.6:
        return float(2.0 ** np.floor(np.log2(lowest) - rng.integers(3, 9))), None
    return 0.0, None


def _bars(rng: np.random.Generator, raw: FloatArray, grid: float) -> Bars:
    """Bars on the grid, some of them missing, some (also the first and last) without volume."""
    n = raw.shape[1]
    prices = raw if grid == 0 else _on_grid(raw, grid)
    volume = rng.lognormal(2, 1, n) * (rng.random(n) >= rng.choice([0, 0.05, 0.4]))
    for edge in (0, -1):
        if rng.random() < 0.1:
            volume[edge] = 0.0
    missing = rng.choice([0, 1, 7], size=n, p=[0.96, 0.03, 0.01])
    time = (np.arange(n) + np.cumsum(missing)) * MINUTE_US
    return Bars(time, *prices, volume, venue="random", symbol="PATH", timeframe="1m")


def _on_grid(prices: FloatArray, grid: float) -> FloatArray:
    """Nearest grid prices, as the floats a file of decimals would hold."""
    exact = Decimal(repr(grid))
    return np.array([[float(int(steps) * exact) for steps in row] for row in np.rint(prices / grid)])


def _persistent_sides(rng: np.random.Generator, n: int) -> SideArray:
    """Levels that last: at each bar a new draw with a probability that differs from path to path."""
    change = rng.random(n) < rng.choice([0.02, 0.2, 0.7])
    drawn = rng.choice([-1, 0, 1], size=n, p=[0.4, 0.2, 0.4])
    last_change = np.maximum.accumulate(np.where(change, np.arange(n), 0))
    return np.asarray(drawn[last_change], dtype=np.int8)


def _bracket(rng: np.random.Generator, close: FloatArray, volatility: float, grid: float) -> FloatArray:
    """Stop, target and trail distances around the size of a bar; some absent in each of the ways to be absent."""
    n = close.size
    rows = np.full((3, n), np.nan)
    if rng.random() < 0.25:  # nothing between the position and ruin
        return rows
    for row in rows:
        typical = close * volatility * 10 ** rng.uniform(-1.5, 1.5)  # at times far below the slippage
        row[:] = typical * rng.lognormal(0, 0.5, n)
        if grid > 0:
            row[:] = np.maximum(np.rint(row / grid), 1) * grid
        absent = rng.random(n) < rng.choice([0, 0.2, 1])
        row[absent] = rng.choice([np.nan, 0.0, -1.0], size=int(absent.sum()), p=[0.6, 0.2, 0.2])
    return rows


def _account(rng: np.random.Generator, price: float, tick: str | None, has_steps: bool) -> Account:
    capital = float(10 ** rng.uniform(2, 6))
    affordable = capital / price
    lot = None
    if has_steps and rng.random() < 0.5:
        lot = format(Decimal(f"{affordable * 10 ** -rng.uniform(-0.1, 5):.0e}"), "f")
    min_notional = float(capital * rng.uniform(0, 1.1)) if has_steps and rng.random() < 0.2 else 0.0
    sizing = Sizing(
        mode=rng.choice(["risk", "fraction", "fixed_qty", "all_in_whole"]),
        risk=float(10 ** rng.uniform(-4, 0)),
        max_gross=float(rng.choice([0.3, 1.0])),
        fraction=float(rng.choice([0.1, 0.5, 1.0])),
        qty=float(affordable * 10 ** rng.uniform(-2, 0.2)),
        compound=bool(rng.random() < 0.6),
    )
    rules = Rules(
        latency_bars=int(rng.choice([0, 0, 1, 2, 3])),
        direction=rng.choice(["long_short", "long_short", "long_only", "short_only"]),
        reentry=rng.choice(["immediate", "edge"]),
    )
    return Account(
        instrument=Instrument("random", "PATH", tick=tick, lot=lot, min_notional=min_notional),
        costs=_costs(rng),
        sizing=sizing,
        rules=rules,
        initial_capital=capital,
    )


def _costs(rng: np.random.Generator) -> Costs:
    """No costs, only fees (also rebates), or everything."""
    kind = rng.integers(3)
    if kind == 0:
        return Costs()
    fees = {"maker_bps": float(rng.uniform(-3, 20)), "taker_bps": float(rng.choice([0, 5, 60]))}
    if kind == 1:
        return Costs(**fees)
    return Costs(**fees, half_spread_bps=float(rng.uniform(0, 10)), slippage_bps=float(rng.uniform(0, 60)))
