"""Market regimes of stored bars: labels, and how far they can be trusted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import numpy as np
import polars as pl

from grodtd.config import Config
from grodtd.domain.bars import DAY_S, US_PER_S, Bars, FloatArray
from grodtd.domain.errors import StorageError
from grodtd.indicators.regime import Regime, regime
from grodtd.performance import regimes as measures
from grodtd.workflows.data import catalogue, load_bars, time_range

NAMES: Final = {float(r): r.name.lower() for r in Regime}
_RESTARTS: Final = 3
_SEED: Final = 1


def regime_labels(bars: Bars, config: Config, *, transition: bool = True) -> FloatArray:
    """Return the `Regime` known after each close, shape (n_bars,); nan before the second bar."""
    settings = asdict(config.regime)
    if not transition:
        settings["transition_bars"] = 0
    return regime(**settings).values(bars)


def label_bars(
    home: Path, out: Path, venue: str, symbol: str, timeframe: str, start: str, end: str, config: Config
) -> dict[str, float]:
    """Write the regime of each bar (columns time of its close, regime) and return the share of each.

    Raises
    ------
    DataError
        If there are no such bars.
    StorageError
        If the file cannot be written.
    """
    bars = _load(home, venue, symbol, timeframe, start, end)
    labels = regime_labels(bars, config)
    closes = bars.time + bars.interval_s * US_PER_S
    frame = pl.DataFrame(
        {
            "time": pl.Series(closes, dtype=pl.Datetime("us", "UTC")),
            "regime": pl.Series([NAMES.get(v) for v in labels.tolist()], dtype=pl.String),
        }
    )
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        if out.suffix == ".csv":
            frame.write_csv(out)
        else:
            frame.write_parquet(out)
    except OSError as error:
        raise StorageError(f"{out} cannot be written: {error}") from error
    return {name: float(np.mean(labels == value)) for value, name in NAMES.items()}


def regime_report(
    home: Path, venue: str, symbol: str, timeframe: str, start: str, end: str, config: Config
) -> dict[str, Any]:  # Any: for JSON
    """Return measures of the labels: stability on recorded bars, accuracy too where the truth is known.

    Returns
    -------
    dict
        `rows`: a list of {measure, value, wanted}; value None where it is undefined.
    """
    bars = _load(home, venue, symbol, timeframe, start, end)
    labels = regime_labels(bars, config, transition=False)
    rows: list[dict[str, object]] = []

    def add(measure: str, value: float | str | None, wanted: str = "") -> None:
        is_undefined = isinstance(value, float) and not np.isfinite(value)
        rows.append({"measure": measure, "value": None if is_undefined else value, "wanted": wanted})

    known = labels[np.isfinite(labels)]
    for code in (Regime.RANGING, Regime.TRENDING, Regime.HIGH_VOLATILITY):
        add(f"share {code.name.lower()}", float(np.mean(known == code)), "> 0.02")
    days = (bars.time[-1] - bars.time[0]) / US_PER_S / DAY_S
    add("changes a day", float(np.count_nonzero(np.diff(known)) / days) if days > 0 else None)
    for code in (Regime.RANGING, Regime.TRENDING, Regime.HIGH_VOLATILITY):
        dwell = measures.dwell_bars(labels, code)
        if dwell.size:
            low, mid, high = np.quantile(dwell, [0.1, 0.5, 0.9])
            add(f"dwell {code.name.lower()}, bars", f"{low:.0f} / {mid:.0f} / {high:.0f}", "10 / 50 / 90 %")
    # The classifier has nothing to fit; what could differ is where its history begins.
    for part in range(1, _RESTARTS + 1):
        first = len(bars) * part // (2 * _RESTARTS)
        again = regime_labels(bars[first:], config, transition=False)
        settled = min(config.regime.slow_span, len(again) // 2)
        agreement = measures.adjusted_rand(labels[first + settled :], again[settled:])
        add(f"agreement when started {part}/{2 * _RESTARTS} later (ARI)", agreement, "> 0.6")
    for name, found, wanted in (
        (
            "next-hour volatility, high volatility / ranging",
            measures.volatility_ratio(bars, labels, seed=_SEED),
            "> 1.5",
        ),
        ("variance ratio, trending - ranging", measures.variance_ratio_difference(bars, labels, seed=_SEED), "> 0"),
    ):
        add(name, found.value, wanted)
        add("  95 % interval", f"{found.low:.3g} to {found.high:.3g}", "excludes no difference")
    surrogate = measures.block_shuffled(bars, seed=_SEED)
    shuffled = regime_labels(surrogate, config, transition=False)
    changes = np.count_nonzero(np.diff(shuffled[1:])) / max(days, 1e-9)
    add("changes a day on block-shuffled bars", float(changes))
    truth = catalogue(home).labels(bars.venue, bars.symbol, timeframe)
    if truth is not None:
        true = _true_labels(truth, bars)
        add("balanced accuracy, three classes", measures.balanced_accuracy(true, labels), ">= 0.80 on G1")
        add("median delay of detection, bars", measures.median_delay(true, labels))
    return {"venue": bars.venue, "symbol": bars.symbol, "timeframe": timeframe, "n_bars": len(bars), "rows": rows}


def _load(home: Path, venue: str, symbol: str, timeframe: str, start: str, end: str) -> Bars:
    start_us, end_us = time_range(start, end)
    return load_bars(home, venue, symbol, timeframe, start_us=start_us, end_us=end_us)


def _true_labels(truth: pl.DataFrame, bars: Bars) -> FloatArray:
    codes: Mapping[str, float] = {name: value for value, name in NAMES.items()}
    time = truth["timestamp"].to_physical().to_numpy()
    values = np.array([codes[name] for name in truth["regime"].to_list()])
    return np.asarray(values[np.searchsorted(time, bars.time)])
