"""Calibrate spread and impact from recordings of an order book; what it writes and prints is a `CostCalibration`."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import numpy as np

from grodtd.adapters.market_data.importers import normal_symbol
from grodtd.adapters.market_data.recordings import (
    RecordedDepth,
    RecordedQuotes,
    RecordedSweeps,
    RecordedTrades,
    read_depth,
    read_quotes,
    read_sweeps,
    read_trades,
)
from grodtd.domain.bars import DAY_S, US_PER_S, FloatArray, utc
from grodtd.domain.errors import ConfigError, DataError
from grodtd.execution.calibration import (
    SQUARE_ROOT,
    CostCalibration,
    CostRow,
    ImpactFit,
    MarketState,
    calibrate_snapshots,
    daily_volatility,
    half_spread_bps,
    modelled_cost_bps,
    sweep_cost_bps,
)

FITTED_NOTIONALS: Final = (10_000.0, 100_000.0, 1_000_000.0)
# Sizes the fit never sees: between the fitted ones and below them.
TEST_NOTIONALS: Final = (1_000.0, 30_000.0, 300_000.0)

LATER_TITLE: Final = "out of time: law of the first half, costs of the second half"
ROW_HEADER: Final = ("side", "size", "measured", "power", "ratio", "root", "ratio", "n", "thin", "")

_COVERAGE_MIN: Final = 0.9
# Two sweeps of one book differ by rounding only; the recorded files agree to 1e-10 bp.
_SAME_BOOK_BPS: Final = 1e-3
_CURVE_POINTS: Final = 60


def calibrate_costs(
    *,
    bbo: Path,
    depth: Path,
    trades: Path,
    impact: Path | None = None,
    symbol: str = "",
    notionals: Sequence[float] = FITTED_NOTIONALS,
) -> CostCalibration:
    """Read the recordings of one market and fit spread and impact.

    sigma_d comes from the recorded mids and V_d from the recorded trades, both scaled to a day, because minutes of
    recording have no bars of a day before them; the record says so. Where the recorded depth is too thin for a size,
    the recorded sweep cost stands in if `impact` has it.

    Parameters
    ----------
    bbo, depth, trades, impact : Path
        Parquet files of `adapters/market_data/recordings.py`, of the same minutes.
    symbol : str
        For the record; empty: taken from the name of the depth file.
    notionals : sequence of float
        The sizes of the fit, quote currency, at least two.

    Raises
    ------
    ConfigError
        If the symbol is not known or the notionals are not at least two positive sizes.
    DataError
        If a file is broken, the files are of different times or books, or the book is too thin for a size.
    """
    sizes = sorted({float(size) for size in notionals})
    if len(sizes) < 2 or not all(math.isfinite(size) and size > 0 for size in sizes):
        raise ConfigError(f"a fit needs at least two different notionals above zero, found {list(notionals)}")
    name = normal_symbol(symbol) if symbol else _symbol_of(depth)
    book, quotes, tape = read_depth(depth), read_quotes(bbo), read_trades(trades)
    sweeps = None if impact is None else read_sweeps(impact)
    n = book.time.size
    if n < 2 or book.time[0] == book.time[-1]:
        raise DataError(f"{depth} has {n} snapshots that span no time")
    for file, time in ((bbo, quotes.time), (trades, tape.time)):
        shared = min(time[-1], book.time[-1]) - max(time[0], book.time[0])
        if shared < _COVERAGE_MIN * (book.time[-1] - book.time[0]):
            raise DataError(
                f"{file} covers {utc(time[0])} to {utc(time[-1])}, the depth {utc(book.time[0])} to"
                f" {utc(book.time[-1])}; record or choose files of the same minutes"
            )
    difference = None
    if sweeps is not None and impact is not None:
        difference = _difference(book, sweeps, impact)
    tested = {*TEST_NOTIONALS, *(() if sweeps is None else sweeps.buy_bps)}
    every = np.array(sorted({*sizes, *tested}))
    buy = _costs(book.ask_price, book.ask_size, book.mid, every, {} if sweeps is None else dict(sweeps.buy_bps))
    sell = _costs(book.bid_price, book.bid_size, book.mid, every, {} if sweeps is None else dict(sweeps.sell_bps))
    # A size the book never held tests nothing; one of the fit is refused below, with its name.
    known = np.isfinite(buy).any(axis=0) & np.isfinite(sell).any(axis=0) | np.isin(every, sizes)
    files = [f.name for f in (bbo, depth, trades, impact) if f is not None]
    try:
        return calibrate_snapshots(
            name,
            book.time,
            every[known],
            buy[:, known],
            sell[:, known],
            fitted=sizes,
            state=_state(quotes, tape, int(book.time[0]), int(book.time[-1]), bbo, trades),
            first_half=_state(quotes, tape, int(book.time[0]), int(book.time[n // 2 - 1]), bbo, trades),
            second_half=_state(quotes, tape, int(book.time[n // 2]), int(book.time[-1]), bbo, trades),
            calibrated_on=datetime.now(UTC).date().isoformat(),
            source=", ".join(files),
            impact_difference_bps=difference,
            notes=_notes(book),
        )
    except ValueError as error:
        raise DataError(f"{depth}: {error}") from error


def _symbol_of(depth: Path) -> str:
    match = re.search(r"_([a-z0-9]+)_depth", depth.name.lower())
    if match is None:
        raise ConfigError(f"the name of {depth.name} does not say the symbol; pass --symbol, for example BTCUSDT")
    return normal_symbol(match[1])


def _difference(book: RecordedDepth, sweeps: RecordedSweeps, file: Path) -> float:
    """Largest difference between our sweep of the recorded levels and the recorded costs, over all sizes."""
    if not np.array_equal(book.time, sweeps.time):
        raise DataError(f"{file} has other snapshots than the depth file; the time stamps must be the same")
    largest = 0.0
    for price, size, costs in (
        (book.ask_price, book.ask_size, sweeps.buy_bps),
        (book.bid_price, book.bid_size, sweeps.sell_bps),
    ):
        for notional, recorded in costs.items():
            gap = np.abs(sweep_cost_bps(price, size, book.mid, notional) - recorded)
            known = np.isfinite(gap)
            if known.any():
                largest = max(largest, float(gap[known].max()))
                if largest > _SAME_BOOK_BPS:
                    row = int(np.argmax(np.where(known, gap, -1.0))) + 1
                    raise DataError(
                        f"{file}: row {row}: the cost of {notional:,.0f} differs by {gap[row - 1]:.4g} bp from a sweep"
                        " of the depth file; the two are not of one book"
                    )
    return largest


def _costs(
    price: FloatArray, size: FloatArray, mid: FloatArray, notionals: FloatArray, recorded: dict[float, FloatArray]
) -> FloatArray:
    columns = []
    for notional in notionals:
        own = sweep_cost_bps(price, size, mid, float(notional))
        stand_in = recorded.get(float(notional))
        columns.append(own if stand_in is None else np.where(np.isnan(own), stand_in, own))
    return np.stack(columns, axis=1)


def _state(
    quotes: RecordedQuotes, tape: RecordedTrades, start_us: int, end_us: int, bbo: Path, trades: Path
) -> MarketState:
    """What the market was like in [start, end]; the quote that stood at the start counts from there."""
    first = max(int(np.searchsorted(quotes.time, start_us, side="right")) - 1, 0)
    stop = int(np.searchsorted(quotes.time, end_us, side="right"))
    time = np.append(np.maximum(quotes.time[first:stop], start_us), end_us)
    bid, ask = (np.append(side[first:stop], side[max(stop - 1, 0)]) for side in (quotes.bid, quotes.ask))
    spread, sigma = half_spread_bps(bid, ask, time), daily_volatility((bid + ask) / 2, time)
    if not (math.isfinite(sigma) and sigma > 0):
        raise DataError(f"{bbo}: the mid between {utc(start_us)} and {utc(end_us)} gives no volatility; record longer")
    traded = (tape.time >= start_us) & (tape.time <= end_us)
    adv = float(np.sum(tape.price[traded] * tape.qty[traded])) * DAY_S * US_PER_S / (end_us - start_us)
    if adv <= 0:
        raise DataError(f"{trades}: nothing traded between {utc(start_us)} and {utc(end_us)}; record longer")
    return MarketState(spread, sigma, adv)


def _notes(book: RecordedDepth) -> tuple[str, ...]:
    minutes = (book.time[-1] - book.time[0]) / US_PER_S / 60
    return (
        f"sigma_d: root mean square 10 s return of the recorded mid over {minutes:.1f} minutes, scaled to a day",
        f"V_d: notional of the recorded trades over {minutes:.1f} minutes, scaled to a day",
        "sweep costs are a floor: no time passes between decision and fill, and nobody steps aside",
        "c_vol cannot be identified from snapshots: it needs fills (fit_from_fills)",
    )


def suggestion(calibration: CostCalibration) -> dict[str, float]:
    """Return lines for costs.yaml: the half-spread, and a Y of the square-root law no measured cost exceeds.

    Rounded up to three significant digits, so that rounding never makes costs smaller.
    """
    return {
        "half_spread_bps": _rounded_up(calibration.half_spread_bps),
        "impact_y": _rounded_up(calibration.y_covering),
    }


def _rounded_up(value: float) -> float:
    if value <= 0:
        return 0.0
    step = 10.0 ** (math.floor(math.log10(value)) - 2)
    return float(f"{math.ceil(value / step - 1e-9) * step:.6g}")


def as_document(calibration: CostCalibration) -> dict[str, object]:
    """Return the record as JSON holds it: nan as null, times also as text, the lines for costs.yaml."""
    plain = {
        "start": utc(calibration.start_us),
        "end": utc(calibration.end_us),
        **asdict(calibration),
        "suggested": suggestion(calibration),
    }
    found = _without_nan(plain)
    assert isinstance(found, dict)
    return found


def _without_nan(value: object) -> object:
    if isinstance(value, dict):
        return {name: _without_nan(inner) for name, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_nan(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def write_page(calibration: CostCalibration, file: Path) -> Path:
    """Write the chart and the table as one HTML page.

    Raises
    ------
    StorageError
        If the file cannot be written.
    """
    from grodtd.adapters.reports.cost_page import write_cost_page

    rows = [row for row in calibration.rows if math.isfinite(row.measured_bps)]
    sizes = np.geomspace(min(row.notional for row in rows), max(row.notional for row in rows), _CURVE_POINTS)
    state = MarketState(calibration.half_spread_bps, calibration.sigma_d, calibration.adv_notional)
    power = ImpactFit(calibration.y, calibration.delta, math.nan, math.nan)
    covering = ImpactFit(calibration.y_covering, SQUARE_ROOT, math.nan, math.nan)
    fitted_root = calibration.square_root
    return write_cost_page(
        file,
        title=f"Cost of a market order in {calibration.symbol}",
        period=f"{utc(calibration.start_us)} to {utc(calibration.end_us)} UTC, {calibration.n_snapshots:,} snapshots",
        points={
            side: [(row.notional, row.measured_bps) for row in rows if row.side == side] for side in ("buy", "sell")
        },
        curves={
            label: list(zip(sizes.tolist(), modelled_cost_bps(sizes, state, law).tolist(), strict=True))
            for label, law in (
                (f"power law, delta {calibration.delta:.2f}", power),
                (f"square root, Y {fitted_root.y:.3g} (best)", fitted_root),
                (f"square root, Y {calibration.y_covering:.3g} (covers)", covering),
            )
        },
        header=ROW_HEADER,
        tables={
            "the whole recording": [row_cells(row) for row in calibration.rows],
            LATER_TITLE: [row_cells(row) for row in calibration.later_rows],
        },
        facts=facts(calibration),
        notes=calibration.notes,
    )


def row_cells(row: CostRow) -> tuple[str, ...]:
    """Return one row of the fit table as text."""
    return (
        row.side,
        _short(row.notional),
        f"{row.measured_bps:#.3g}",
        f"{row.modelled_bps:#.3g}",
        f"{row.ratio:.2f}",
        f"{row.square_root_bps:#.3g}",
        f"{row.square_root_ratio:.2f}",
        f"{row.n_measured:,}",
        f"{row.n_too_thin:,}",
        "fit" if row.is_fitted else "test",
    )


def _short(notional: float) -> str:
    for unit, suffix in ((1e6, "M"), (1e3, "k")):
        if notional >= unit:
            return f"{notional / unit:g}{suffix}"
    return f"{notional:g}"


def facts(calibration: CostCalibration) -> list[tuple[str, str]]:
    """Return the headline numbers as name and text."""
    c = calibration
    found = [
        ("half-spread, time-weighted", f"{c.half_spread_bps:.4f} bp"),
        ("sigma_d", f"{c.sigma_d:.2%}"),
        ("V_d", f"{c.adv_notional:,.0f}"),
        ("power law", f"Y {c.y:.3g} (se {c.y_se:.2g}), delta {c.delta:.3f} (se {c.delta_se:.2g})"),
        (
            "power law, worst factor",
            f"{c.worst_factor:.2f} in the fit, {c.later_worst_factor:.2f} out of time,"
            f" {c.frozen_worst_factor:.2f} with sigma_d, V_d and spread of the first half too",
        ),
        ("square root only", f"Y {c.square_root.y:.3g}, worst factor {c.square_root.worst_factor:.2f}"),
        ("square root that covers", f"Y {c.y_covering:.3g}"),
        ("c_vol", "not identifiable from snapshots" if c.c_vol is None else f"{c.c_vol:.3g}"),
    ]
    if c.impact_difference_bps is not None:
        found.append(("depth against recorded sweep costs", f"largest difference {c.impact_difference_bps:.1e} bp"))
    return found
