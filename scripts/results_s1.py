"""Write docs/results/s1.md and s1.json: S1 on recorded BTC and ETH bars, with and without costs.

    .venv/bin/python scripts/results_s1.py

Reads recorded bars from GRODT_REAL_DATA (default ../shared/data), imports them into a throw-away catalogue, runs every
combination and writes aggregates only. Numbers move only when the code, the configuration or the data do.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from grodtd.config import load_config
from grodtd.domain.bars import DAY_S, US_PER_S, Bars, utc
from grodtd.domain.market import Account, Sizing
from grodtd.domain.run import Metric
from grodtd.performance.summary import metric_table
from grodtd.strategies.registry import strategy_named
from grodtd.workflows.backtest import Completed, Request, account_for, run
from grodtd.workflows.data import import_files, load_bars, time_range

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "docs" / "results"
VENUE = "binance"
SYMBOLS = ("BTCUSDT", "ETHUSDT")
YEARS = ("2022", "2023", "2024")
PERIOD = {"2022": "2022", "2023": "2023", "2024": "2024H1"}
COST_SCALES = (0.0, 1.0, 2.0)
CAPITAL = 100_000.0
# Constant notional: a tenth of the initial capital in every trade, whatever has been won or lost.
SIZINGS = {
    "compounding (risk 0.75 %, gross cap 1.0)": Sizing(),
    "constant notional (10,000 USDT)": Sizing(mode="fraction", fraction=0.1, compound=False),
}


def number(metric: Metric, unit: str = "") -> str:
    """Return a metric as text; its reason where it has no value."""
    if metric.value is None:
        return f"– ({metric.reason})"
    text = f"{metric.value:+.2%}" if unit == "%" else f"{metric.value:,.2f}" if unit == "" else f"{metric.value:,.0f}"
    return text + ("\\*" if metric.low_sample else "")


def row(period: str, bars: Bars, sizing: str, scale: float, done: Completed) -> dict[str, object]:
    """Return one combination's aggregates: the full span, and the span in which it still traded."""
    full, stopped = done.metrics, done.result.stopped
    until = stopped[0] if stopped else len(bars) - 1
    traded = metric_table(done.result, until_bar=until) if stopped else full
    days = (bars.time[until] + bars.interval_s * US_PER_S - bars.time[0]) / US_PER_S / DAY_S
    return {
        "symbol": bars.symbol,
        "period": period,
        "sizing": sizing,
        "cost_scale": scale,
        "stopped_at": utc(bars.time[until]) if stopped else None,
        "stopped_by": stopped[1] if stopped else None,
        "traded_days": round(float(days), 2),
        "trades_per_day": round(len(done.result.trades) / float(days), 2),
        "full": {name: m.value if m.value is not None else str(m.reason) for name, m in full.items()},
        "traded_span": {name: m.value if m.value is not None else str(m.reason) for name, m in traded.items()},
        "warnings": list(done.warnings),
        "cells": [
            number(full["total"], "%"),
            number(traded["sharpe"]),
            number(full["sharpe"]),
            number(full["max_drawdown"], "%"),
            number(full["trade_count"], "count"),
            f"{len(done.result.trades) / float(days):.1f}",
            number(full["win_rate"], "%").lstrip("+"),
            number(full["profit_factor"]),
            number(full["break_even_cost_bps"]),
            f"{utc(bars.time[until])[:10]} ({stopped[1]})" if stopped else "–",
        ],
    }


def main() -> None:
    """Run everything and write the two files."""
    data = Path(os.environ.get("GRODT_REAL_DATA") or ROOT.parent / "shared" / "data")
    if not data.is_dir():
        sys.exit(f"no recorded bars at {data}; set GRODT_REAL_DATA")
    config = load_config()
    strategy = strategy_named("s1_trend")
    params = strategy.check_params(config.strategies["s1_trend"].params)
    rows: list[dict[str, object]] = []
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        for symbol in SYMBOLS:
            base = account_for(Request("s1_trend", VENUE, symbol, initial_capital=CAPITAL), config)
            for year in YEARS:
                file = data / f"{VENUE}_spot_{symbol.lower()}_1m_{year}.parquet"
                import_files(home, [file], venue=VENUE, symbol=symbol, timeframe="1m")
            for year in YEARS:
                start, end = (f"{y}-01-01" for y in (int(year), int(year) + 1))
                bars = load_bars(home, VENUE, symbol, "1m", start_us=_us(start), end_us=_us(end))
                for sizing_name, sizing in SIZINGS.items():
                    for scale in COST_SCALES:
                        account: Account = replace(base, sizing=sizing, costs=base.costs.scaled(scale))
                        done = run(bars, strategy, params, account)
                        rows.append(row(PERIOD[year], bars, sizing_name, scale, done))
                        print(rows[-1]["symbol"], rows[-1]["period"], sizing_name, scale, rows[-1]["cells"])
    costs = config.costs_named(VENUE)
    OUT.mkdir(parents=True, exist_ok=True)
    plain = [{k: v for k, v in r.items() if k != "cells"} for r in rows]
    (OUT / "s1.json").write_text(json.dumps(plain, indent=1, allow_nan=False) + "\n")
    (OUT / "s1.md").write_text(page(rows, params, costs.round_trip_bps, costs.tier, costs.as_of))


def _us(day: str) -> int:
    start, _ = time_range(day, "")
    assert start is not None
    return start


def page(rows: list[dict[str, object]], params: tuple[object, ...], round_trip: float, tier: str, as_of: str) -> str:
    """Return the Markdown page."""
    named = ", ".join(f"{k} {v}" for k, v in params._asdict().items())  # type: ignore[attr-defined]  # a NamedTuple
    after_costs = [r for r in rows if r["cost_scale"] == 1.0]
    losing = sum(float(r["full"]["total"]) < 0 for r in after_costs)  # type: ignore[index]  # built above
    lines = [
        "# S1 on recorded bars: what it earns, what it costs",
        "",
        "Made by `scripts/results_s1.py`; do not edit. Aggregates only.",
        "",
        f"Strategy `s1_trend` ({named}), long and short, 1-minute bars, initial capital {CAPITAL:,.0f} USDT, decision at a"
        " close, fill at the next open, strict fills (docs/fills.md). Costs: Binance spot, "
        f"{tier} (as of {as_of}): {round_trip:g} basis points for a round trip by market order at 1x.",
        "",
        f"**Plainly: after costs S1 loses in {losing} of {len(after_costs)} runs.** It trades some two hundred times a day, because a"
        " close between VWAP and EMA means flat and the next one beyond both means in again; the move it catches on average"
        " is a hundredth of what a round trip costs: compare the break-even cost (per side) with"
        f" {round_trip / 2:g} bp. Its parameters are defaults, not optimised; nothing here was selected.",
        "",
        "Shorts on spot paid no borrowing cost (`borrow_not_modelled`): the truth is a little worse.",
        "*Sharpe, traded* is over the days until trading stopped, *full* over the whole period (idle days count as zero)."
        " \\* marks a small sample (fewer than 30 days or trades). Trades a day are over the traded span."
        " `min_notional`: the account had become too small for the smallest order.",
    ]
    for sizing in SIZINGS:
        lines += [
            "",
            f"## {sizing[0].upper()}{sizing[1:]}",
            "",
            "| symbol | period | costs | total | Sharpe, traded | Sharpe, full | max drawdown | trades | a day | win rate | profit factor | break-even cost (bp a side) | trading stopped |",
            "|---|---|---|---|---|---|---|---|---|---|---|---|---|",
        ]
        lines += [
            f"| {r['symbol']} | {r['period']} | {r['cost_scale']:g}x | " + " | ".join(r["cells"]) + " |"  # type: ignore[arg-type]
            for r in rows
            if r["sizing"] == sizing
        ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
