"""Spread and impact measured instead of assumed: from recorded order books, and from fills (QUANT_SPEC 5.2).

Costs are basis points of the mid price at the decision, positive when they are paid. A notional is in quote currency.
`sigma_d` is the standard deviation of one day's log return (a fraction), `adv_notional` what is traded in a day.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Final

import numpy as np

from grodtd.domain.bars import DAY_S, US_PER_S, FloatArray, IntArray
from grodtd.domain.market import BPS

CALIBRATION_VERSION: Final = 1
SNAPSHOTS_MIN: Final = 40
SQUARE_ROOT: Final = 0.5
MINUTES_A_DAY: Final = 1_440
JACKKNIFE_BLOCKS: Final = 10
VOLATILITY_STEP_S: Final = 10.0
VOLATILITY_OFFSETS: Final = 10

_ITERATIONS_MAX: Final = 500
_DELTA_MAX: Final = 5.0
# Above this the columns of a regression are one and the same for float64: nothing can be told apart.
_CONDITION_MAX: Final = 1e8


@dataclass(frozen=True, slots=True)
class MarketState:
    """What the market was like while costs were measured.

    Attributes
    ----------
    half_spread_bps : float
        Time-weighted half-spread.
    sigma_d : float
        Standard deviation of a day's log return, a fraction, above zero.
    adv_notional : float
        Notional traded in a day, above zero.
    """

    half_spread_bps: float
    sigma_d: float
    adv_notional: float


@dataclass(frozen=True, slots=True)
class ImpactFit:
    """One fitted law ``cost = half_spread + 1e4 * y * sigma_d * (Q / V_d) ** delta``.

    `y` of different `delta` cannot be compared: the unit of one is not the unit of the other.

    Attributes
    ----------
    rms_log_error : float
        Root mean square of ln(modelled / measured) over the points of the fit.
    worst_factor : float
        Largest of modelled / measured and measured / modelled over the points of the fit; at least 1.
    """

    y: float
    delta: float
    rms_log_error: float
    worst_factor: float


@dataclass(frozen=True, slots=True)
class ImpactFits:
    """The square-root law with its best coefficient, and the power law with its best coefficient and exponent.

    Attributes
    ----------
    y_covering : float
        Smallest coefficient of the square-root law that is nowhere below the measured costs.
    """

    square_root: ImpactFit
    power: ImpactFit
    y_covering: float


@dataclass(frozen=True, slots=True)
class CostRow:
    """One size and side: the mean measured cost beside both laws.

    Attributes
    ----------
    n_measured, n_too_thin : int
        Snapshots in the mean, and snapshots left out because the recorded book did not reach that far; leaving them
        out makes the mean too small.
    ratio, square_root_ratio : float
        Modelled over measured.
    is_fitted : bool
        False for a size that took no part in the fit and only tests it.
    """

    side: str
    notional: float
    n_measured: int
    n_too_thin: int
    measured_bps: float
    modelled_bps: float
    ratio: float
    square_root_bps: float
    square_root_ratio: float
    is_fitted: bool


@dataclass(frozen=True, slots=True)
class CostCalibration:
    """What was measured, what was fitted, how well it fits, and where it came from.

    Attributes
    ----------
    start_us, end_us : int
        First and last snapshot, microseconds UTC.
    y, delta : float
        Of the power law; `y_se` and `delta_se` are standard errors of a block jackknife over ten stretches of time.
    square_root : ImpactFit
        The best law with exponent 1/2 on the same points.
    y_covering : float
        Smallest coefficient of the square-root law that is nowhere below the measured costs of the fitted sizes.
    c_vol : float or None
        None: snapshots of a book have no delay between decision and fill, so it cannot be identified from them.
    worst_factor : float
        Of the power law over the fitted rows.
    later_rows : tuple of CostRow
        Costs of the second half of the snapshots against the law (y, delta) of the first half, with half-spread,
        sigma_d and V_d of the second half: does the law carry over to another state of the market?
    later_worst_factor, frozen_worst_factor : float
        Of `later_rows`; and the same with half-spread, sigma_d and V_d of the first half as well, so that nothing of
        the second half is known. Over the fitted sizes.
    impact_difference_bps : float or None
        Largest difference between our sweep of the recorded depth and the recorded sweep costs; None without those.
    """

    symbol: str
    start_us: int
    end_us: int
    n_snapshots: int
    half_spread_bps: float
    sigma_d: float
    adv_notional: float
    y: float
    y_se: float
    delta: float
    delta_se: float
    worst_factor: float
    square_root: ImpactFit
    y_covering: float
    c_vol: float | None
    rows: tuple[CostRow, ...]
    later_rows: tuple[CostRow, ...]
    later_worst_factor: float
    frozen_worst_factor: float
    impact_difference_bps: float | None
    version: int
    calibrated_on: str
    source: str
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class FillFit:
    """Half-spread, c_vol and Y from fills; a standard error is nan where a coefficient is held at zero or given,
    and all are where one fill alone decides a coefficient.

    Attributes
    ----------
    residual_bps : float
        Root mean square of what the regression leaves unexplained, n less the free coefficients in the denominator.
    """

    half_spread_bps: float
    half_spread_se: float
    c_vol: float
    c_vol_se: float
    y: float
    y_se: float
    residual_bps: float
    n: int


def sweep_cost_bps(price_levels: FloatArray, size_levels: FloatArray, mid: FloatArray, notional: float) -> FloatArray:
    """Return the cost of a market order that walks the book, for every snapshot.

    Each level is taken whole until the rest of the notional fits into one, which is taken in part. The cost is the
    distance of the average price, notional over quantity, from mid.

    Parameters
    ----------
    price_levels, size_levels : float64 array, shape (n_snapshots, n_levels)
        Asks for a buy or bids for a sell, best first; nan where a book has fewer levels.
    mid : float64 array, shape (n_snapshots,)
        Between best bid and best ask.
    notional : float
        Quote currency, above zero.

    Returns
    -------
    float64 array, shape (n_snapshots,)
        Basis points of mid, not negative; nan where the levels hold less than the notional.

    Raises
    ------
    ValueError
        If the shapes do not fit, or the notional is not a finite number above zero.

    Examples
    --------
    100 at 10 and the other 101 at 10.1 buy 20 pieces: 201 / 20 = 10.05 on average, 50 bp above a mid of 10.

    >>> sweep_cost_bps(np.array([[10.0, 10.1]]), np.array([[10.0, 30.0]]), np.array([10.0]), 201.0).round(6)
    array([50.])
    """
    if price_levels.ndim != 2 or price_levels.shape != size_levels.shape or mid.shape != price_levels.shape[:1]:
        raise ValueError(
            "levels must have the shape (n_snapshots, n_levels) and mid (n_snapshots,), found"
            f" {price_levels.shape}, {size_levels.shape} and {mid.shape}"
        )
    _above_zero(notional=notional)
    value = np.nan_to_num(price_levels * size_levels, nan=0.0)
    held = np.cumsum(value, axis=1)
    taken = np.clip(notional - (held - value), 0.0, value)
    # An absent level has no price; nothing is taken from it.
    quantity = np.where(taken > 0, taken / np.where(value > 0, price_levels, 1.0), 0.0).sum(axis=1)
    is_deep = held[:, -1] >= notional if held.shape[1] else np.zeros(mid.size, dtype=bool)
    average = notional / np.where(is_deep, quantity, np.nan)
    return np.asarray(np.abs(average / mid - 1.0) / BPS)


def half_spread_bps(bid: FloatArray, ask: FloatArray, time: IntArray) -> float:
    """Return the half-spread over mid, each quote weighted with the time it stood until the next one.

    Parameters
    ----------
    bid, ask : float64 array, shape (n_quotes,)
        Best prices, 0 < bid <= ask.
    time : int64 array, shape (n_quotes,)
        Microseconds UTC, never falling. The last quote marks the end and has no weight.

    Returns
    -------
    float
        Basis points; nan if the quotes span no time.

    Raises
    ------
    ValueError
        If the shapes differ, time falls, or a quote is not 0 < bid <= ask.
    """
    if not bid.shape == ask.shape == time.shape or bid.ndim != 1:
        raise ValueError(f"bid, ask and time must have one shape (n,), found {bid.shape}, {ask.shape}, {time.shape}")
    if not np.all((bid > 0) & (ask >= bid)):
        raise ValueError("every quote must have 0 < bid <= ask")
    stood = np.diff(time)
    if np.any(stood < 0):
        raise ValueError("time must not fall")
    if not stood.sum():
        return math.nan
    half = (ask - bid) / (ask + bid) / BPS
    return float(np.average(half[:-1], weights=stood))


def daily_volatility(mid: FloatArray, time: IntArray, *, step_s: float = VOLATILITY_STEP_S) -> float:
    """Return the standard deviation of a day's log return, scaled up from returns of `step_s` seconds.

    Root mean square (no mean is taken off: over minutes it is noise) of log returns of the last mid at each point of a
    grid, averaged over ten grids that start a tenth of a step apart. Ten seconds are long enough for the bounce of
    quotes to fade on the recorded markets and leave about 60 returns in ten minutes: standard error some 9 %. Averaged
    grids: Zhang, Mykland and Ait-Sahalia, "A tale of two time scales", JASA 100(472), 2005.

    Parameters
    ----------
    mid : float64 array, shape (n_quotes,)
    time : int64 array, shape (n_quotes,)
        Microseconds UTC, never falling.

    Returns
    -------
    float
        A fraction; nan if there are fewer than ten steps.
    """
    step_us = step_s * US_PER_S
    if time.size < 2 or time[-1] - time[0] < 10 * step_us:
        return math.nan
    variances = []
    for start in np.linspace(0.0, step_us, VOLATILITY_OFFSETS, endpoint=False):
        grid = np.arange(time[0] + start, time[-1] + 1, step_us)
        last = np.searchsorted(time, grid, side="right") - 1
        variances.append(float(np.mean(np.diff(np.log(mid[last])) ** 2)))
    return math.sqrt(float(np.mean(variances)) * DAY_S / step_s)


def impact_bps(
    notional: FloatArray | float, adv_notional: float, *, sigma_d: float, y: float = 1.0, delta: float = SQUARE_ROOT
) -> FloatArray:
    """Return ``1e4 * y * sigma_d * (Q / V_d) ** delta``: with the defaults, the square-root law.

    References
    ----------
    Donier and Bonart, "A million metaorder analysis of market impact on the Bitcoin", 2015: exponent 1/2 over four
    decades of size, coefficient of order one.

    Examples
    --------
    >>> float(impact_bps(1e6, 1e10, sigma_d=0.03).round(9))
    3.0
    """
    return np.asarray(y * sigma_d * (np.asarray(notional, dtype=np.float64) / adv_notional) ** delta / BPS)


def fit_impact(
    notional: FloatArray, cost_bps: FloatArray, sigma_d: float, adv_notional: float, half_spread_bps: float
) -> ImpactFits:
    """Fit the square-root law and the power law to measured costs.

    Loss: the sum of squares of ln(modelled cost) - ln(measured cost). Sizes and costs span orders of magnitude and
    their noise grows with them, so least squares in basis points would fit the largest order and ignore the others; in
    logs each size counts the same, and twice too much is as wrong as half. The whole cost is compared, half-spread
    included, so a point at or below the half-spread is no special case. Solved by Levenberg-Marquardt in ln y (hence
    y > 0) and delta.

    Parameters
    ----------
    notional, cost_bps : float64 array, shape (n_points,)
        Sizes and mean costs, finite and above zero.
    sigma_d, adv_notional : float
        See `MarketState`, above zero.
    half_spread_bps : float
        Not negative; held fixed.

    Returns
    -------
    ImpactFits
        Coefficient 0 if no cost lies above the half-spread (exponent nan in the power law). The power law is nan where
        exponent and coefficient cannot be told apart: fewer than two different sizes.

    Raises
    ------
    ValueError
        If there are no points, the shapes differ, or an argument is out of its range.
    """
    if notional.ndim != 1 or notional.shape != cost_bps.shape or not notional.size:
        raise ValueError(f"notional and cost must have one shape (n,), found {notional.shape} and {cost_bps.shape}")
    if not (np.all(np.isfinite(notional) & (notional > 0)) and np.all(np.isfinite(cost_bps) & (cost_bps > 0))):
        raise ValueError("every notional and every cost must be a finite number above zero")
    _above_zero(sigma_d=sigma_d, adv_notional=adv_notional)
    if not (math.isfinite(half_spread_bps) and half_spread_bps >= 0):
        raise ValueError(f"half_spread_bps must be a finite number of at least zero, found {half_spread_bps}")
    state = MarketState(half_spread_bps, sigma_d, adv_notional)
    per_y = impact_bps(notional, adv_notional, sigma_d=sigma_d)
    y_covering = max(0.0, float(np.max((cost_bps - half_spread_bps) / per_y)))
    if np.all(cost_bps <= half_spread_bps):
        return ImpactFits(
            _judged(0.0, SQUARE_ROOT, notional, cost_bps, state),
            _judged(0.0, math.nan, notional, cost_bps, state),
            y_covering,
        )
    square_root = _least_squares(notional, cost_bps, state, SQUARE_ROOT)
    if np.unique(notional).size < 2:
        power = ImpactFit(math.nan, math.nan, math.nan, math.nan)
    else:
        power = _least_squares(notional, cost_bps, state, None)
    return ImpactFits(square_root, power, y_covering)


def modelled_cost_bps(notional: FloatArray | float, state: MarketState, fit: ImpactFit) -> FloatArray:
    """Return half-spread plus impact in basis points; of a law without impact (y 0) the half-spread."""
    size = np.asarray(notional, dtype=np.float64)
    if fit.y == 0:
        return np.full(size.shape, state.half_spread_bps)
    impact = impact_bps(size, state.adv_notional, sigma_d=state.sigma_d, y=fit.y, delta=fit.delta)
    return np.asarray(state.half_spread_bps + impact)


def _judged(y: float, delta: float, notional: FloatArray, cost_bps: FloatArray, state: MarketState) -> ImpactFit:
    modelled = modelled_cost_bps(notional, state, ImpactFit(y, delta, math.nan, math.nan))
    with np.errstate(divide="ignore"):  # no spread and no impact: a factor of infinity is the honest answer
        error = np.log(modelled / cost_bps)
    return ImpactFit(y, delta, float(np.sqrt(np.mean(error**2))), float(np.exp(np.max(np.abs(error)))))


def _least_squares(notional: FloatArray, cost_bps: FloatArray, state: MarketState, delta: float | None) -> ImpactFit:
    """Levenberg-Marquardt on (ln impact at the mean log size, delta); delta stays where it is if it is given."""
    log_size = np.log(notional / state.adv_notional)
    centre = float(np.mean(log_size))
    x = log_size - centre
    target = np.log(cost_bps)
    half = state.half_spread_bps

    def error(a: float, d: float) -> tuple[FloatArray, FloatArray]:
        impact = np.exp(a + d * x)
        return np.log(half + impact) - target, impact / (half + impact)

    above = np.log(np.maximum(cost_bps - half, 0.1 * cost_bps))
    a, d = float(np.mean(above)), SQUARE_ROOT if delta is None else delta
    if delta is None:
        d = float(np.clip(x @ (above - a) / (x @ x), 0.0, _DELTA_MAX))
    e, share = error(a, d)
    damping = 1e-3
    for _ in range(_ITERATIONS_MAX):
        slope = np.stack([share, share * x if delta is None else np.zeros_like(x)])
        normal = slope @ slope.T
        step = np.linalg.solve(normal + damping * np.diag(np.diag(normal) + 1e-12), -slope @ e)
        tried_a, tried_d = a + float(step[0]), float(np.clip(d + step[1], 0.0, _DELTA_MAX))
        tried, tried_share = error(tried_a, tried_d)
        if tried @ tried <= e @ e:
            is_done = abs(tried_a - a) + abs(tried_d - d) < 1e-12
            a, d, e, share = tried_a, tried_d, tried, tried_share
            damping = max(damping / 10, 1e-12)
            if is_done:
                break
        else:
            damping *= 10
            if damping > 1e12:
                break
    # At the mean log size the impact is exp(a) = 1e4 * y * sigma_d * exp(d * centre).
    y = math.exp(a - d * centre) * BPS / state.sigma_d
    return _judged(y, d, notional, cost_bps, state)


def calibrate_snapshots(
    symbol: str,
    time: IntArray,
    notional: FloatArray,
    buy_bps: FloatArray,
    sell_bps: FloatArray,
    *,
    fitted: Sequence[float],
    state: MarketState,
    first_half: MarketState,
    second_half: MarketState,
    calibrated_on: str,
    source: str,
    impact_difference_bps: float | None = None,
    notes: tuple[str, ...] = (),
) -> CostCalibration:
    """Fit both laws to the mean sweep costs of book snapshots, and judge them on the later half.

    The mean is fitted, not the median: what a strategy pays over many trades is the mean, and the moments when the best
    level is nearly empty are most of it. Buys and sells are separate points of one law.

    Parameters
    ----------
    time : int64 array, shape (n_snapshots,)
        Microseconds UTC, rising.
    notional : float64 array, shape (n_sizes,)
    buy_bps, sell_bps : float64 array, shape (n_snapshots, n_sizes)
        Sweep costs; nan where the book was too thin.
    fitted : sequence of float
        The sizes the laws are fitted to; the others only test them.
    state, first_half, second_half : MarketState
        Of the whole recording, and of the halves of its snapshots.

    Raises
    ------
    ValueError
        If there are too few snapshots (40) or fewer than two sizes, or the book never held
        a fitted size in the whole recording, its first half or without a tenth of it.
    """
    n = time.size
    if n < SNAPSHOTS_MIN:
        raise ValueError(f"a calibration needs at least {SNAPSHOTS_MIN} snapshots of the book, found {n}")
    if buy_bps.shape != (n, notional.size) or sell_bps.shape != buy_bps.shape:
        raise ValueError(
            f"costs must have the shape ({n}, {notional.size}), found {buy_bps.shape} and {sell_bps.shape}"
        )
    if len(set(fitted)) < 2:
        raise ValueError(f"a calibration fits at least two different sizes, found {list(fitted)}")
    chosen = np.isin(notional, np.asarray(fitted))
    sides = {"buy": buy_bps, "sell": sell_bps}
    half = n // 2

    def fits(keep: slice | IntArray, market: MarketState) -> ImpactFits:
        points = [(size, side[keep, j]) for side in sides.values() for j, size in enumerate(notional) if chosen[j]]
        thin = [size for size, costs in points if not np.isfinite(costs).any()]
        if thin or not points:
            sizes = ", ".join(f"{size:,.0f}" for size in sorted(set(thin or fitted)))
            raise ValueError(f"the recorded book never holds {sizes}; leave out what it does not hold")
        return fit_impact(
            np.array([size for size, _ in points]),
            np.array([np.nanmean(costs) for _, costs in points]),
            market.sigma_d,
            market.adv_notional,
            market.half_spread_bps,
        )

    def rows(keep: slice, market: MarketState, laws: ImpactFits) -> tuple[CostRow, ...]:
        return tuple(
            _row(side, float(size), costs[keep, j], market, laws, bool(chosen[j]))
            for side, costs in sides.items()
            for j, size in enumerate(notional)
        )

    laws = fits(slice(None), state)
    early = fits(slice(0, half), first_half)
    later = rows(slice(half, None), second_half, early)
    frozen = rows(slice(half, None), first_half, early)
    # Snapshots a second apart are nearly the same book: whole stretches are left out, not single snapshots.
    blocks = np.array_split(np.arange(n), JACKKNIFE_BLOCKS)
    left_out = [fits(np.delete(np.arange(n), block), state).power for block in blocks]
    return CostCalibration(
        symbol=symbol,
        start_us=int(time[0]),
        end_us=int(time[-1]),
        n_snapshots=n,
        half_spread_bps=state.half_spread_bps,
        sigma_d=state.sigma_d,
        adv_notional=state.adv_notional,
        y=laws.power.y,
        y_se=_jackknife_se(np.array([fit.y for fit in left_out])),
        delta=laws.power.delta,
        delta_se=_jackknife_se(np.array([fit.delta for fit in left_out])),
        worst_factor=laws.power.worst_factor,
        square_root=laws.square_root,
        y_covering=laws.y_covering,
        c_vol=None,
        rows=rows(slice(None), state, laws),
        later_rows=later,
        later_worst_factor=_worst_factor(later),
        frozen_worst_factor=_worst_factor(frozen),
        impact_difference_bps=impact_difference_bps,
        version=CALIBRATION_VERSION,
        calibrated_on=calibrated_on,
        source=source,
        notes=notes,
    )


def _row(side: str, size: float, costs: FloatArray, state: MarketState, laws: ImpactFits, is_fitted: bool) -> CostRow:
    known = costs[np.isfinite(costs)]
    measured = float(known.mean()) if known.size else math.nan
    modelled = float(modelled_cost_bps(size, state, laws.power))
    root = float(modelled_cost_bps(size, state, laws.square_root))
    return CostRow(
        side,
        size,
        int(known.size),
        int(costs.size - known.size),
        measured,
        modelled,
        modelled / measured,
        root,
        root / measured,
        is_fitted,
    )


def _worst_factor(rows: Sequence[CostRow]) -> float:
    ratios = np.array([row.ratio for row in rows if row.is_fitted])
    return float(np.max(np.maximum(ratios, 1 / ratios)))


def _jackknife_se(values: FloatArray) -> float:
    n = values.size
    return math.sqrt((n - 1) / n * float(np.sum((values - values.mean()) ** 2)))


def fit_from_fills(
    signed_slippage_bps: FloatArray,
    sigma_1m_bps: FloatArray,
    participation: FloatArray,
    *,
    half_spread_bps: float | None = None,
    sigma_d: FloatArray | None = None,
) -> FillFit:
    """Regress the slippage of paper or live fills on volatility and size, no coefficient below zero (QUANT_SPEC 5.2).

    ``slippage = half_spread + c_vol * sigma_1m_bps + y * 1e4 * sigma_d * sqrt(participation)`` by ordinary least
    squares under coefficients >= 0, found exactly by trying every set of coefficients held at zero. Standard errors
    are those of the free coefficients, robust to noise that grows with volatility and to the few large fills that
    carry most of what is known of y: HC3 of MacKinnon and White, Journal of Econometrics 29(3), 1985.

    Parameters
    ----------
    signed_slippage_bps : float64 array, shape (n_fills,)
        side * (fill - mid at the decision) / mid in basis points, side +1 for a buy and -1 for a sell; fees excluded.
    sigma_1m_bps : float64 array, shape (n_fills,)
        Volatility of one minute as known at the decision, basis points, above zero.
    participation : float64 array, shape (n_fills,)
        Quantity over the volume of the last day, Q / V_d, not negative.
    half_spread_bps : float, optional
        Measured half-spread, taken off before the regression; None: estimated as its constant.
    sigma_d : float64 array, shape (n_fills,), optional
        Volatility of a day, a fraction; None: that of one minute times sqrt(1440).

    Returns
    -------
    FillFit
        All nan if there are no more fills than coefficients, or the columns cannot be told apart (all fills of one
        size and one volatility).

    Raises
    ------
    ValueError
        If shapes differ or a value is not finite or out of its range.
    """
    n = signed_slippage_bps.size
    daily = sigma_1m_bps * BPS * math.sqrt(MINUTES_A_DAY) if sigma_d is None else sigma_d
    columns = (signed_slippage_bps, sigma_1m_bps, participation, daily)
    if any(column.shape != (n,) for column in columns):
        raise ValueError(f"all columns must have one shape (n_fills,), found {[c.shape for c in columns]}")
    if not all(np.isfinite(column).all() for column in columns):
        raise ValueError("slippage, volatility and participation must be finite")
    if np.any(sigma_1m_bps <= 0) or np.any(daily <= 0) or np.any(participation < 0):
        raise ValueError("volatility must be above zero and participation at least zero")
    is_given = half_spread_bps is not None
    y = signed_slippage_bps - (half_spread_bps or 0.0)
    x = np.stack([np.ones(n), sigma_1m_bps, daily * np.sqrt(participation) / BPS], axis=1)
    candidates = (1, 2) if is_given else (0, 1, 2)
    scale = np.sqrt(np.mean(x[:, list(candidates)] ** 2, axis=0)) if n else np.zeros(len(candidates))
    is_undefined = n <= len(candidates) or not np.all(scale > 0)
    if is_undefined or np.linalg.cond(x[:, list(candidates)] / scale) > _CONDITION_MAX:
        return FillFit(
            half_spread_bps=math.nan,
            half_spread_se=math.nan,
            c_vol=math.nan,
            c_vol_se=math.nan,
            y=math.nan,
            y_se=math.nan,
            residual_bps=math.nan,
            n=n,
        )

    # The best feasible set of free coefficients; with three there are eight sets, so no iteration is needed.
    best, free, best_loss = np.zeros(3), list[int](), float(y @ y)
    for size in range(1, len(candidates) + 1):
        for chosen in map(list, combinations(candidates, size)):
            found = np.linalg.lstsq(x[:, chosen], y, rcond=None)[0]
            loss = float(np.sum((y - x[:, chosen] @ found) ** 2))
            if np.all(found >= 0) and loss < best_loss:
                best, free, best_loss = np.zeros(3), chosen, loss
                best[chosen] = found
    errors = np.full(3, math.nan)
    residual = y - x @ best
    if free:
        inverse = np.linalg.inv(x[:, free].T @ x[:, free])
        leverage = np.einsum("ij,jk,ik->i", x[:, free], inverse, x[:, free])
        # A fill that decides a coefficient alone has leverage 1 and no residual: nothing is known of its noise.
        weight = np.where(leverage < 1 - 1e-12, residual / np.maximum(1 - leverage, 1e-12), math.nan) ** 2
        errors[free] = np.sqrt(np.diag(inverse @ (x[:, free].T @ (x[:, free] * weight[:, None])) @ inverse))
    return FillFit(
        half_spread_bps=float(best[0]) if half_spread_bps is None else half_spread_bps,
        half_spread_se=float(errors[0]),
        c_vol=float(best[1]),
        c_vol_se=float(errors[1]),
        y=float(best[2]),
        y_se=float(errors[2]),
        residual_bps=math.sqrt(best_loss / (n - len(free))),
        n=n,
    )


def _above_zero(**values: float) -> None:
    for name, value in values.items():
        if not (math.isfinite(value) and value > 0):
            raise ValueError(f"{name} must be a finite number above zero, found {value}")
