"""What a fill costs, bar by bar: dated fees and spreads, volatility-scaled slippage, impact (QUANT_SPEC 5.2).

Everything is known before the bar it is used in: volatility and volume come from bars that have closed.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Final

import numpy as np

from grodtd.domain.bars import DAY_S, US_PER_S, Bars, FloatArray
from grodtd.domain.market import BPS, Costs

# Rows of the array a fill engine reads; fractions of price, impact per square root of a unit of quantity.
TAKER, MAKER, HALF_SPREAD, SLIPPAGE, IMPACT = range(5)
COST_ROWS: Final = 5

SIGMA_WINDOW_BARS: Final = 60
ESTIMATE_BARS_MIN: Final = 30


@dataclass(frozen=True, slots=True, eq=False)
class Conditions:
    """What costs that scale with the market scale with, as known before each bar, shape (n_bars,) each.

    Attributes
    ----------
    sigma_1m : float64 array
        As `sigma_1m`.
    sigma_day, volume_day : float64 arrays
        As `day_sigma_and_volume`.
    """

    sigma_1m: FloatArray
    sigma_day: FloatArray
    volume_day: FloatArray


def conditions_of(bars: Bars, costs: Costs) -> Conditions | None:
    """Return the conditions of these bars, for fills at several rates; None if the costs scale with nothing."""
    if not (costs.c_vol or costs.impact_y):
        return None
    squares = _squared_returns(bars)
    return Conditions(_sigma_1m(bars, squares), *_day_sigma_and_volume(bars, squares))


def cost_rows(bars: Bars, costs: Costs, conditions: Conditions | None = None) -> FloatArray:
    """Return the costs of each bar.

    Parameters
    ----------
    bars : Bars
    costs : Costs
    conditions : Conditions, optional
        Those of the same bars, if they are at hand.

    Returns
    -------
    float64 array, shape (5, n_bars), or (5, 1) where nothing changes from bar to bar
        Rows `TAKER`, `MAKER`, `HALF_SPREAD`, `SLIPPAGE`: fractions of the price. Row `IMPACT`: times the square root of
        the quantity of a fill it is a fraction of the price.
    """
    constant = np.array([costs.taker_bps, costs.maker_bps, costs.half_spread_bps, costs.slippage_bps, 0.0]) * BPS
    rows = constant[:, None].copy()
    if varies_by_bar(costs):
        rows = np.repeat(rows, len(bars), axis=1)
    for then in sorted(costs.earlier, key=lambda e: e.until, reverse=True):
        end_us = (date.fromisoformat(then.until) - date(1970, 1, 1)).days * DAY_S * US_PER_S
        is_before = bars.time < end_us
        for row, value in ((TAKER, then.taker_bps), (MAKER, then.maker_bps), (HALF_SPREAD, then.half_spread_bps)):
            if value is not None:
                rows[row, is_before] = value * BPS
    found = conditions or conditions_of(bars, costs)
    if found is not None:
        if costs.c_vol:
            rows[SLIPPAGE] += costs.c_vol * found.sigma_1m
        if costs.impact_y:
            rows[IMPACT] = costs.impact_y * found.sigma_day / np.sqrt(found.volume_day)
    return rows


def varies_by_bar(costs: Costs) -> bool:
    """Whether `cost_rows` has one column a bar."""
    return bool(costs.earlier or costs.c_vol or costs.impact_y)


def sigma_1m(bars: Bars) -> FloatArray:
    """Return the volatility of one minute as known before each bar, a fraction, shape (n_bars,).

    Root mean square log return of the last 60 bars, scaled to a minute by the square root of time.
    """
    return _sigma_1m(bars, _squared_returns(bars))


def day_sigma_and_volume(bars: Bars) -> tuple[FloatArray, FloatArray]:
    """Return volatility and traded quantity of the day before each bar, shape (n_bars,) each.

    Means over the bars of the last day (30 bars where a day has fewer), scaled to a day.
    """
    return _day_sigma_and_volume(bars, _squared_returns(bars))


def _sigma_1m(bars: Bars, squares: FloatArray) -> FloatArray:
    return np.asarray(np.sqrt(_known_before(squares, SIGMA_WINDOW_BARS) * 60.0 / bars.interval_s))


def _day_sigma_and_volume(bars: Bars, squares: FloatArray) -> tuple[FloatArray, FloatArray]:
    window = max(DAY_S // bars.interval_s, ESTIMATE_BARS_MIN)
    bars_a_day = DAY_S / bars.interval_s
    sigma = np.sqrt(_known_before(squares, window) * bars_a_day)
    volume = _known_before(bars.volume, window) * bars_a_day
    # Nothing traded for a whole day: no volume to take from, and nothing fills in such bars anyway.
    return np.asarray(sigma), np.asarray(np.where(volume > 0, volume, np.inf))


def square_root_impact_bps(y: float, sigma_d: float, participation: FloatArray | float) -> FloatArray:
    """Return the impact of trading a share of a day's volume, in basis points: 1e4 * y * sigma_d * sqrt(Q / V_d)."""
    return np.asarray(y * sigma_d * np.sqrt(participation) / BPS)


def _squared_returns(bars: Bars) -> FloatArray:
    returns = np.zeros(len(bars))
    np.log(bars.close[1:] / bars.close[:-1], out=returns[1:])
    return returns * returns


def _known_before(values: FloatArray, window: int) -> FloatArray:
    """Mean of the last `window` (30 or more) values before each one.

    The first 30 take the mean of those 30 (nothing trades yet).
    """
    n = values.size
    least = min(ESTIMATE_BARS_MIN, n)
    total = np.concatenate(([0.0], np.cumsum(values)))
    found = total[:n].copy()
    found[:least] = total[least]
    found[window:] -= total[: max(n - window, 0)]
    count = np.clip(np.arange(n), max(least, 1), window)
    return np.asarray(np.maximum(found, 0.0) / count)
