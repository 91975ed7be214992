"""What is measured: the bars, the grids and the account, the same for everybody."""

from __future__ import annotations

import os
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from grodtd.adapters.market_data.synthetic import synthetic_bars
from grodtd.domain.bars import Bars
from grodtd.domain.market import Account, Costs, Instrument, Rules, Sizing
from grodtd.strategies.s1_trend import S1_TREND

YEAR_BARS = 525_600
SEED = 7
RECORDED = "binance_spot_btcusdt_1m_2023.parquet"
# One unit a trade and money enough that no combination runs short: nobody's count depends on what was won before.
QTY, CAPITAL = 1.0, 1e8
COSTS = Costs(maker_bps=2.0, taker_bps=5.0, half_spread_bps=0.5)

_ATR = (10, 14)
# About 28 bars a trade on G1; and about 9, which is what the default parameters (9, 14, 2, 1.5) trade.
_SPARSE = {"ema_bars": (80, 90, 100, 110, 120), "stop_atr": (3.0, 8.0), "reward_risk": (1.0, 3.0)}
_DENSE = {"ema_bars": (7, 8, 9, 11, 13), "stop_atr": (1.75, 4.0), "reward_risk": (1.0, 3.0)}


@dataclass(frozen=True)
class Case:
    """Bars times combinations; `signals` says how many different decision rows the combinations have."""

    n_bars: int
    kind: str  # sparse, dense, random
    n_combinations: int

    def combinations(self) -> list[tuple[Any, ...]]:
        """Return the parameter tuples, always the same ones."""
        if self.kind == "random":
            rng = np.random.default_rng(SEED)
            # Every EMA length once: no two combinations decide the same.
            ema = rng.permutation(np.arange(5, 5 + self.n_combinations))
            return [
                S1_TREND.check_params(
                    {
                        "ema_bars": int(e),
                        "atr_bars": int(rng.integers(5, 50)),
                        "stop_atr": float(rng.uniform(1, 8)),
                        "reward_risk": float(rng.uniform(0.5, 3)),
                    }
                )
                for e in ema
            ]
        grid = _SPARSE if self.kind == "sparse" else _DENSE
        atr = _ATR if self.n_combinations >= 1_000 else _ATR[:1]
        brackets = self.n_combinations // (len(grid["ema_bars"]) * len(atr))
        n_stops = {20: 5, 100: 10, 1_000: 50}[brackets]
        return [
            S1_TREND.check_params({"ema_bars": e, "atr_bars": a, "stop_atr": float(s), "reward_risk": float(r)})
            for e, a, s, r in product(
                grid["ema_bars"],
                atr,
                np.linspace(*grid["stop_atr"], n_stops),
                np.linspace(*grid["reward_risk"], brackets // n_stops),
            )
        ]


CASES = {
    "100k x 100": Case(100_000, "sparse", 100),
    "100k x 100 dense": Case(100_000, "dense", 100),
    "100k x 1,000 random": Case(100_000, "random", 1_000),
    "year x 1,000": Case(YEAR_BARS, "sparse", 1_000),
    "year x 1,000 dense": Case(YEAR_BARS, "dense", 1_000),
    "year x 1,000 random": Case(YEAR_BARS, "random", 1_000),
    "year x 10,000": Case(YEAR_BARS, "sparse", 10_000),
}


def recorded_file() -> Path | None:
    """Return the recorded year, if the user names a folder that has it."""
    folder = os.environ.get("GRODT_REAL_DATA")
    file = Path(folder) / RECORDED if folder else None
    return file if file is not None and file.is_file() else None


def bars_of(n_bars: int) -> Bars:
    """Return seeded synthetic bars (G1), or recorded ones if GRODT_REAL_DATA is set."""
    file = recorded_file()
    if file is None:
        return synthetic_bars("G1", YEAR_BARS, SEED)[0][:n_bars]
    from grodtd.adapters.market_data.importers import checked_bars, read_table  # noqa: PLC0415 loads polars

    bars = checked_bars(read_table(file), file, venue="binance", symbol="BTCUSDT", timeframe="1m")[0]
    return bars[:n_bars]


def account(**rules: Any) -> Account:  # Any: fields of Rules
    """Return the account everybody trades: fixed quantity, constant costs, no lots or ticks."""
    sizing = Sizing("fixed_qty", qty=QTY)
    return Account(Instrument("synthetic", "G1"), COSTS, sizing, Rules(**rules), initial_capital=CAPITAL)
