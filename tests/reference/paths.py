"""Random bars, decisions and accounts that hurt: gaps through levels, ties, dead bars, ruin, odd steps.

Half of the paths live on a grid of a power of two, with brackets on the same grid: there open == stop and
high == target happen all the time, and exactly. Every rule of docs/fills.md is on in some paths and off in many.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal
from typing import NamedTuple

import numpy as np

from grodtd.domain.bars import DAY_S, US_PER_S, Bars, FloatArray, IntArray, SideArray, timeframe_s
from grodtd.domain.market import Account, Costs, EarlierCosts, Instrument, Limits, Rules, Sizing
from grodtd.domain.strategy import BRACKET_ROWS, Bracket
from grodtd.execution.costs import IMPACT, SLIPPAGE, cost_rows
from tests.reference.simulator import Leg

PRICE_MIN, PRICE_MAX = 0.01, 60_000.0
BARS_MAX = 120
FIRST_DAY = date(2020, 1, 2)
FINER = {"1m": "15s", "5m": "1m", "1h": "10m"}
SLIP_MAX = 0.3


class Path(NamedTuple):
    """Everything a fill engine is given for one symbol."""

    bars: Bars
    side: SideArray
    bracket: FloatArray
    account: Account
    gate: SideArray | None
    funding: FloatArray | None
    fine: Bars | None


class Clock(NamedTuple):
    """The times at which there may be bars."""

    timeframe: str
    time: IntArray


def random_path(seed: int, *, n_bars: int | None = None, has_steps: bool = True) -> Path:
    """Return the path of this seed; without steps there is no tick, no lot and no smallest notional."""
    rng = np.random.default_rng(seed)
    n = n_bars or int(rng.integers(1, BARS_MAX + 1))
    clock = _clock(rng, n)
    level = float(10 ** rng.uniform(-2, 4.78))
    account = _account(rng, level, clock)
    leg = _leg(rng, clock, level, account, has_steps=has_steps, symbol="PATH")
    return Path(leg.bars, leg.side, leg.bracket, leg.account, leg.gate, leg.funding, leg.fine)


def random_portfolio(seed: int) -> list[Leg]:
    """Return one to four symbols of one account, with bars missing here and there and their own first and last."""
    rng = np.random.default_rng([seed, 1])
    n = int(rng.integers(1, BARS_MAX // 2 + 1))
    clock = _clock(rng, n)
    level = float(10 ** rng.uniform(-1, 3.78))
    account = _account(rng, level, clock)
    legs = []
    for i in range(int(rng.integers(1, 5))):
        is_there = rng.random(n) >= rng.choice([0, 0.05, 0.4])
        if rng.random() < 0.5:
            is_there[: int(rng.integers(0, n))] = False
        if rng.random() < 0.5:
            is_there[int(rng.integers(0, n)) :] = False
        is_there[int(rng.integers(0, n))] = True
        own = Clock(clock.timeframe, clock.time[is_there])
        near = float(level * 10 ** rng.uniform(-0.5, 0.5))
        legs.append(_leg(rng, own, near, account, has_steps=True, symbol=f"PATH{i}"))
    return legs


def _clock(rng: np.random.Generator, n: int) -> Clock:
    """Times with gaps; in most paths a midnight lies between them."""
    timeframe = str(rng.choice(["1m", "5m", "1h"]))
    step_us = timeframe_s(timeframe) * US_PER_S
    missing = rng.choice([0, 1, 7], size=n, p=[0.96, 0.03, 0.01])
    bars_before_midnight = int(rng.integers(0, 2 * n)) if n > 1 else 0
    midnight = (FIRST_DAY - date(1970, 1, 1)).days * DAY_S * US_PER_S
    time = midnight + (np.arange(n) + np.cumsum(missing) - bars_before_midnight) * step_us
    return Clock(timeframe, time.astype(np.int64))


def _leg(
    rng: np.random.Generator, clock: Clock, level: float, account: Account, *, has_steps: bool, symbol: str
) -> Leg:
    n = clock.time.size
    volatility = float(rng.choice([1e-7, 1e-5, 1e-3, 1e-2, 5e-2, 0.3], p=[0.1, 0.1, 0.2, 0.3, 0.2, 0.1]))
    raw = _raw_prices(rng, n, volatility, level)
    grid, tick = _grid_and_tick(rng, float(raw.min()), volatility, has_steps)
    bars = _bars(rng, clock, raw, grid, account, symbol)
    own = replace(
        account,
        instrument=_instrument(rng, account, float(bars.close[0]), tick, has_steps, symbol),
        costs=_costs(rng, bars, account),
    )
    is_perpetual = own.instrument.market == "perpetual"
    return Leg(
        bars=bars,
        side=_persistent_sides(rng, n, 0.7 if volatility > 0.1 else float(rng.choice([0.02, 0.2, 0.7]))),
        bracket=_bracket(rng, bars.close, volatility, grid),
        account=own,
        gate=_gate(rng, n) if rng.random() < 0.25 else None,
        funding=_funding(rng, n) if is_perpetual and rng.random() < 0.7 else None,
        fine=_fine(rng, bars, grid) if account.rules.same_bar == "drilldown" and rng.random() < 0.9 else None,
    )


def _raw_prices(rng: np.random.Generator, n: int, volatility: float, level: float) -> FloatArray:
    """Open, high, low, close before any grid, shape (4, n): a walk with gaps, flat bars and jumps that ruin."""
    jumps = rng.normal(0, rng.choice([0.3, 1.5]), n) * (rng.random(n) < rng.choice([0, 0.02, 0.1, 0.3]))
    gaps = rng.normal(0, 3 * volatility, n) * (rng.random(n) < rng.choice([0, 0.3, 1]))
    moves = jumps + rng.normal(0, volatility, n)
    close = level * np.exp(np.cumsum(moves))
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


def _bars(rng: np.random.Generator, clock: Clock, raw: FloatArray, grid: float, account: Account, symbol: str) -> Bars:
    """Bars on the grid, some (also the first and last) without volume; volumes that a position can exhaust."""
    n = raw.shape[1]
    prices = raw if grid == 0 else _on_grid(raw, grid)
    volume = rng.lognormal(0, 1, n) * (rng.random(n) >= rng.choice([0, 0.05, 0.4]))
    volume *= account.initial_capital / float(prices[3, 0]) * 10 ** rng.uniform(-0.5, 1.5)
    for edge in (0, -1):
        if rng.random() < 0.1:
            volume[edge] = 0.0
    return Bars(clock.time, *prices, volume, venue="random", symbol=symbol, timeframe=clock.timeframe)


def _on_grid(prices: FloatArray, grid: float) -> FloatArray:
    """Nearest grid prices, as the floats a file of decimals would hold."""
    exact = Decimal(repr(grid))
    return np.array([[float(int(steps) * exact) for steps in row] for row in np.rint(prices / grid)])


def _persistent_sides(rng: np.random.Generator, n: int, change_rate: float) -> SideArray:
    """Levels that last: at each bar a new draw with a probability that differs from path to path."""
    change = rng.random(n) < change_rate
    drawn = rng.choice([-1, 0, 1], size=n, p=[0.4, 0.2, 0.4])
    last_change = np.maximum.accumulate(np.where(change, np.arange(n), 0))
    return np.asarray(drawn[last_change], dtype=np.int8)


def _gate(rng: np.random.Generator, n: int) -> SideArray:
    """Mostly open, in blocks."""
    change = rng.random(n) < rng.choice([0.05, 0.5])
    drawn = rng.choice([-1, 0, 1], size=n, p=[0.15, 0.2, 0.65])
    return np.asarray(drawn[np.maximum.accumulate(np.where(change, np.arange(n), 0))], dtype=np.int8)


def _funding(rng: np.random.Generator, n: int) -> FloatArray:
    """Rates at a few bars, of either sign."""
    return np.asarray(rng.normal(0, 10 ** rng.uniform(-5, -2), n) * (rng.random(n) < 0.15))


def _bracket(rng: np.random.Generator, close: FloatArray, volatility: float, grid: float) -> FloatArray:
    """Distances around the size of a bar, and numbers of bars; absent in each of the ways to be absent."""
    n = close.size
    rows = np.full((BRACKET_ROWS, n), np.nan)
    is_off = rng.random() < (0.25 if volatility < 0.1 else 0.8)  # nothing between the position and ruin
    for name, row in zip(Bracket._fields, rows, strict=True):
        if name in ("stop", "target", "trail"):
            if is_off:
                continue
        elif rng.random() < 0.5:
            continue
        if name == "max_bars":
            row[:] = rng.integers(1, 12, n)
        else:
            farthest = 0.3 if name == "limit" else 1.5
            typical = close * volatility * 10 ** rng.uniform(-1.5, farthest)  # at times far below the slippage
            row[:] = typical * rng.lognormal(0, 0.5, n)
            if grid > 0:
                row[:] = np.maximum(np.rint(row / grid), 1) * grid
        absent = rng.random(n) < rng.choice([0, 0.2, 1])
        row[absent] = rng.choice([np.nan, 0.0, -1.0], size=int(absent.sum()), p=[0.6, 0.2, 0.2])
    return rows


def _fine(rng: np.random.Generator, bars: Bars, grid: float) -> Bars:
    """Finer bars that aggregate to the bars exactly, but for the few that are missing or without volume."""
    timeframe = FINER[bars.timeframe]
    k = bars.interval_s // timeframe_s(timeframe)
    step_us = timeframe_s(timeframe) * US_PER_S
    is_lost, is_thin = rng.choice([0, 0.1]), rng.choice([0, 0.3])
    rows = []
    for time, *prices, volume in zip(
        bars.time.tolist(), bars.open, bars.high, bars.low, bars.close, bars.volume, strict=True
    ):
        o, h, l, c = (float(p) for p in prices)  # noqa: E741
        points = rng.uniform(l, h, (4, k))
        finer = np.clip(points if grid == 0 else _on_grid(points, grid), l, h)
        opens, closes = finer[0], finer[1]
        is_smooth = rng.random(k) < 0.8
        opens[1:] = np.where(is_smooth[1:], closes[:-1], opens[1:])
        opens[0], closes[-1] = o, c
        reach = rng.random((2, k)) < 0.3
        highs = np.maximum.reduce([opens, closes, np.where(reach[0], finer[2], l)])
        lows = np.minimum.reduce([opens, closes, np.where(reach[1], finer[3], h)])
        highs[rng.integers(k)], lows[rng.integers(k)] = h, l
        volumes = np.full(k, volume / k) * (rng.random(k) >= is_thin)
        is_kept = rng.random(k) >= is_lost if rng.random() >= is_lost else np.zeros(k, dtype=bool)
        rows += [
            (time + i * step_us, opens[i], highs[i], lows[i], closes[i], volumes[i]) for i in np.flatnonzero(is_kept)
        ]
    columns = np.array([row[1:] for row in rows]).reshape(-1, 5).T
    times = np.array([row[0] for row in rows], dtype=np.int64)
    return Bars(times, *columns, venue=bars.venue, symbol=bars.symbol, timeframe=timeframe)


def _account(rng: np.random.Generator, level: float, clock: Clock) -> Account:
    """What the symbols of an account share; instrument and costs are those of each symbol."""
    capital = float(10 ** rng.uniform(2, 6))
    leverage = float(rng.choice([2.0, 5.0, 20.0, 100.0])) if rng.random() < 0.35 else 1.0
    gross = leverage if rng.random() < 0.7 else 1.0
    sizing = Sizing(
        mode=rng.choice(["risk", "fraction", "fraction", "fixed_qty", "all_in_whole"]),
        risk=float(10 ** rng.uniform(-4, 0)),
        max_gross=float(rng.choice([0.3, 1.0])) * gross,
        fraction=float(rng.choice([0.1, 0.7, 1.0])) * gross,
        qty=float(gross * capital / level * 10 ** rng.uniform(-2, 0.2)),
        compound=bool(rng.random() < 0.6),
    )
    rules = Rules(
        latency_bars=int(rng.choice([0, 0, 1, 2, 3])),
        direction=rng.choice(["long_short", "long_short", "long_only", "short_only"]),
        reentry=rng.choice(["immediate", "edge"]),
        same_bar=rng.choice(["stop_first", "target_first", "ohlc_path", "drilldown"]),
        max_participation=float(rng.choice([0.03, 0.2, 1.0])) if rng.random() < 0.4 else 0.0,
        order_bars=int(rng.choice([1, 2, 5, 10])),
        session=_session(rng, clock) if rng.random() < 0.25 else "",
    )
    return Account(
        instrument=Instrument("random", "PATH", market="perpetual", maintenance_margin=0.5 / leverage),
        sizing=sizing,
        rules=rules,
        initial_capital=capital,
        limits=_limits(rng, leverage),
        leverage=leverage,
    )


def _session(rng: np.random.Generator, clock: Clock) -> str:
    """Hours that begin and end at the open of a bar of the path, where it has two."""
    minutes = np.unique(clock.time // (60 * US_PER_S) % 1_440)
    if minutes.size < 2:
        return "08:00-16:30"
    start, end = rng.choice(minutes, size=2, replace=False).tolist()
    return f"{start // 60:02d}:{start % 60:02d}-{end // 60:02d}:{end % 60:02d}"


def _limits(rng: np.random.Generator, leverage: float) -> Limits:
    has_cooldown = rng.random() < 0.25
    return Limits(
        daily_loss=float(rng.choice([0.001, 0.02, 0.3])) if rng.random() < 0.3 else 0.0,
        cooldown_losses=int(rng.integers(1, 4)) if has_cooldown else 0,
        cooldown_bars=int(rng.integers(1, 12)) if has_cooldown else 0,
        max_symbol_exposure=float(leverage * rng.uniform(0.05, 1)) if rng.random() < 0.2 else 0.0,
        max_total_exposure=float(leverage * rng.uniform(0.05, 1)) if rng.random() < 0.2 else 0.0,
    )


def _instrument(
    rng: np.random.Generator, account: Account, price: float, tick: str | None, has_steps: bool, symbol: str
) -> Instrument:
    affordable = account.initial_capital / price
    lot = None
    if has_steps and rng.random() < 0.5:
        lot = format(Decimal(f"{affordable * 10 ** -rng.uniform(-0.1, 5):.0e}"), "f")
    is_perpetual = account.leverage > 1 or rng.random() < 0.25
    margin = 0.0
    if is_perpetual and (account.leverage > 1 or rng.random() < 0.5):
        margin = float(rng.uniform(0.05, 0.9)) / account.leverage
    return Instrument(
        "random",
        symbol,
        tick=tick,
        lot=lot,
        min_notional=float(account.initial_capital * rng.uniform(0, 1.1)) if has_steps and rng.random() < 0.1 else 0.0,
        market="perpetual" if is_perpetual else "spot",
        maintenance_margin=margin,
        liquidation_fee_bps=float(rng.choice([0.0, 50.0])),
    )


def _costs(rng: np.random.Generator, bars: Bars, account: Account) -> Costs:
    """No costs, only fees (also rebates), or everything, constant or bar by bar."""
    kind = rng.integers(4)
    if kind == 0:
        return Costs()
    fees = {
        "maker_bps": float(rng.uniform(-3, 20)),
        "taker_bps": float(rng.choice([0, 5, 60])),
        "borrow_bps_hour": float(rng.uniform(0, 20)) if rng.random() < 0.4 else 0.0,
    }
    if kind == 1:
        return Costs(**fees)
    spread = {"half_spread_bps": float(rng.uniform(0, 10)), "slippage_bps": float(rng.uniform(0, 60))}
    if kind == 2:
        return Costs(**fees, **spread)
    until = FIRST_DAY + timedelta(days=int(rng.integers(-1, 3)))
    earlier = EarlierCosts(until.isoformat(), maker_bps=-1.0, taker_bps=30.0, half_spread_bps=20.0)
    costs = Costs(
        **fees,
        **spread,
        c_vol=float(rng.choice([0.0, 0.5, 2.0])),
        impact_y=float(rng.choice([0.0, 0.3, 1.0])),
        earlier=(earlier,) if rng.random() < 0.5 else (),
    )
    rows = cost_rows(bars, costs)
    largest = 10 * account.leverage * account.initial_capital / float(bars.low.min())
    worst = float(rows[SLIPPAGE].max() + rows[IMPACT].max() * np.sqrt(largest))
    calm = min(1.0, SLIP_MAX / worst) if worst > 0 else 1.0
    return replace(costs, c_vol=costs.c_vol * calm, impact_y=costs.impact_y * calm)
