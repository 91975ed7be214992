"""Write docs/results/strategies.md and .json: S1, S2, S3 and the baselines on recorded BTC and ETH minutes.

    .venv/bin/python scripts/results_strategies.py

Reads recorded bars from GRODT_REAL_DATA (default ../shared/data) and writes aggregates only. Parameters are the defaults
of configs/strategies.yaml: nothing here was optimised or selected. Numbers move only when code, configuration or data do.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from grodtd.backtest.engine import Market, run_backtest
from grodtd.backtest.vectorbt_engine import signals_portfolio
from grodtd.config import Config, load_config
from grodtd.domain.bars import Bars
from grodtd.domain.market import Account, Costs, Instrument, Sizing
from grodtd.indicators.regime import regime
from grodtd.performance.regimes import volatility_ratio
from grodtd.strategies.registry import STRATEGIES
from grodtd.workflows.backtest import Completed, Gating, Request, account_for, run
from grodtd.workflows.data import import_files, load_bars, time_range

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "docs" / "results"
VENUE = "binance"
SYMBOLS = ("BTCUSDT", "ETHUSDT")
PERIODS = {"2022": "2022", "2023": "2023", "2024H1": "2024"}
TRADED = ("s1_trend", "s2_reversion", "s3_breakout")
# A tenth of the initial capital in every trade, whatever has been won or lost: rows can be compared, nothing is ruined.
SIZING = Sizing(mode="fraction", fraction=0.1, compound=False)
CAPITAL = 1e8
METRICS = ("trade_count", "gross_pnl", "net_pnl", "total", "sharpe", "max_drawdown", "win_rate", "profit_factor")
METRICS += ("break_even_cost_bps", "ambiguous_share", "exposure", "fees", "slippage_cost", "borrow_cost")


def main() -> None:
    data = Path(os.environ.get("GRODT_REAL_DATA") or ROOT.parent / "shared" / "data")
    if not data.is_dir():
        sys.exit(f"no recorded bars at {data}; set GRODT_REAL_DATA")
    config = load_config()
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        for symbol in SYMBOLS:
            files = sorted(data.glob(f"binance_spot_{symbol.lower()}_1m_20*.parquet"))
            import_files(home, files, venue=VENUE, symbol=symbol, timeframe="1m")
        series = list(periods(home))
    rows = [row for period, bars in series for row in runs_of(period, bars, config)]
    compared = [wrong_by(period, bars) for period, bars in series if bars.symbol == "BTCUSDT"]
    regimes = [regime_row(period, bars, config) for period, bars in series]
    OUT.mkdir(parents=True, exist_ok=True)
    (OUT / "strategies.json").write_text(
        json.dumps({"runs": rows, "vectorbt": compared, "regimes": regimes}, indent=1, allow_nan=False) + "\n"
    )
    (OUT / "strategies.md").write_text(page(rows, compared, regimes, config))


def periods(home: Path) -> Iterator[tuple[str, Bars]]:
    for symbol in SYMBOLS:
        for period, year in PERIODS.items():
            start, end = time_range(f"{year}-01-01", f"{year}-12-31")
            yield period, load_bars(home, VENUE, symbol, "1m", start_us=start, end_us=end)


def runs_of(period: str, bars: Bars, config: Config) -> Iterator[dict[str, Any]]:
    """Every strategy with and without its regime gate, both ways and one way; the baselines once."""
    for name, strategy in STRATEGIES.items():
        settings = config.strategies[name]
        params = strategy.check_params(settings.params)
        directions = ("long_short", "long_only", "short_only") if name in TRADED else (settings.direction,)
        gates = [Gating(tuple(sorted(strategy.regimes)), settings.on_exit, config.regime), Gating()]
        for gating in gates if name in TRADED else gates[1:]:
            for direction in directions:
                request = Request(name, VENUE, bars.symbol, direction=direction)
                account = account_for(request, config)
                sizing = Sizing("fraction", fraction=0.99) if name == "buy_and_hold" else SIZING
                done = run(Market(bars), strategy, params, replace(account, sizing=sizing), gating)
                yield row(period, name, gating, direction, done)


def row(period: str, name: str, gating: Gating, direction: str, done: Completed) -> dict[str, Any]:
    scenarios = {s: {m: v.value for m, v in found.items()} for s, found in done.scenarios.items()}
    return {
        "symbol": done.manifest.symbol,
        "period": period,
        "strategy": name,
        "regimes": list(gating.regimes),
        "direction": direction,
        **{metric: done.metrics[metric].value for metric in METRICS},
        "net_pnl_half_costs": scenarios["costs x0.5"]["net_pnl"],
        "net_pnl_double_costs": scenarios["costs x2"]["net_pnl"],
        "net_pnl_optimistic": scenarios["optimistic"]["net_pnl"],
        "warnings": list(done.warnings),
    }


def wrong_by(period: str, bars: Bars) -> dict[str, Any]:
    """S1 strictly and through `from_signals`: how far off a careful vectorbt user would have been."""
    strategy = STRATEGIES["s1_trend"]
    found: dict[str, Any] = {"symbol": bars.symbol, "period": period}
    for label, costs in (("free", Costs()), ("costs", Costs(10, 10, 0.5, 0.5))):
        # 100,000 in every trade, of a capital no cost can wipe out.
        sizing = Sizing(mode="fraction", fraction=0.001, compound=False)
        account = Account(Instrument(VENUE, bars.symbol), costs, sizing, initial_capital=CAPITAL)
        params = strategy.check_params({})
        ours = run_backtest(Market(bars), strategy, params, account)
        decided = strategy.decisions(bars, params)
        theirs = signals_portfolio(bars, decided.side, decided.bracket, account)
        in_entry_bar = ours.trades.exit_bar == ours.trades.entry_bar
        found[label] = {
            "trades": len(ours.trades),
            "trades_vectorbt": len(theirs.positions.records),
            "ended_in_entry_bar": float(in_entry_bar.mean()),
            "net_pnl": float(ours.equity[-1] - CAPITAL),
            "net_pnl_vectorbt": float(theirs.value().iloc[-1] - CAPITAL),
        }
    return found


def regime_row(period: str, bars: Bars, config: Config) -> dict[str, Any]:
    labels = regime(**{**asdict(config.regime), "transition_bars": 0}).values(bars)
    known = labels[np.isfinite(labels)]
    ratio = volatility_ratio(bars, labels, seed=1)
    return {
        "symbol": bars.symbol,
        "period": period,
        **{name: float(np.mean(known == i)) for i, name in enumerate(("ranging", "trending", "high_volatility"))},
        "changes_a_day": float(np.count_nonzero(np.diff(known)) / (len(bars) / 1_440)),
        "next_hour_volatility_ratio": [ratio.value, ratio.low, ratio.high],
    }


def page(
    rows: list[dict[str, Any]], compared: list[dict[str, Any]], regimes: list[dict[str, Any]], config: Config
) -> str:
    costs = config.costs_named(VENUE)
    traded = [r for r in rows if r["strategy"] in TRADED]
    winners = [r for r in traded if r["net_pnl"] > 0]
    free = [r for r in traded if r["gross_pnl"] > 0]
    best = max(traded, key=lambda r: r["break_even_cost_bps"] or 0)
    lines = [
        "# S1, S2, S3 on recorded minutes",
        "",
        "Written by `scripts/results_strategies.py`. Binance spot, 1-minute bars, default parameters, nothing optimised or selected. A tenth of 100,000 USDT in every"
        f" trade. Costs: {costs.taker_bps:g} bp taker, {costs.maker_bps:g} bp maker, {costs.half_spread_bps:g} bp half-spread, slippage {costs.c_vol:g} of a minute's volatility, impact Y ="
        f" {costs.impact_y:g}, borrow {costs.borrow_bps_hour:g} bp an hour; fills at most 5 % of a bar's volume. The numbers are the pessimistic end; what lies between it and the optimistic end is in the JSON.",
        "",
        f"**{len(winners)} of {len(traded)} runs make money after costs; {len(free)} of {len(traded)} do before costs.** The most any of them earns per side is {best['break_even_cost_bps']:.2f} bp of the traded money"
        f" ({best['strategy']}, {best['symbol']} {best['period']}), against {costs.round_trip_bps / 2:g} bp of costs: as they stand, none of the three survives a taker's costs on these markets.",
        "",
        "| symbol | period | strategy | enters in | direction | trades | before costs | after | after, half costs | after, double | break-even bp | win rate | ambiguous |",
        "|---|---|---|---|---|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    lines += [
        f"| {r['symbol']} | {r['period']} | {r['strategy']} | {', '.join(r['regimes']) or 'any'} | {r['direction']} | {r['trade_count']:,.0f} |"
        f" {money(r['gross_pnl'])} | {money(r['net_pnl'])} | {money(r['net_pnl_half_costs'])} | {money(r['net_pnl_double_costs'])} |"
        f" {number(r['break_even_cost_bps'])} | {share(r['win_rate'])} | {share(r['ambiguous_share'])} |"
        for r in rows
    ]
    lines += [
        "",
        "## How wrong would a vectorbt user have been?",
        "",
        "S1 on BTCUSDT, long and short, no gate: our strict fills against `Portfolio.from_signals` with the careful call of `signals_portfolio` (signals shifted, price the open, stops from the fill"
        " price). It never stops a trade in its entry bar, gives targets their gap and fills stops without slippage (docs/how-to/use-vectorbt.md). Net profit in USDT on 100,000 a trade.",
        "",
        "| period | costs | trades ended in their entry bar | trades, ours / vectorbt | ours | vectorbt | difference, bp a trade |",
        "|---|---|---:|---:|---:|---:|---:|",
    ]
    for c in compared:
        for label, what in (("free", "none"), ("costs", "22 bp a round trip")):
            f = c[label]
            off = (f["net_pnl_vectorbt"] - f["net_pnl"]) / f["trades"] / 100_000 * 1e4
            lines.append(
                f"| {c['period']} | {what} | {f['ended_in_entry_bar']:.1%} | {f['trades']:,} / {f['trades_vectorbt']:,} | {money(f['net_pnl'])} | {money(f['net_pnl_vectorbt'])} | {off:+.2f} |"
            )
    lines += [
        "",
        "## Regimes",
        "",
        "| symbol | period | ranging | trending | high volatility | changes a day | next hour's volatility, high / ranging (95 %) |",
        "|---|---|---:|---:|---:|---:|---:|",
    ]
    for g in regimes:
        value, low, high = g["next_hour_volatility_ratio"]
        lines.append(
            f"| {g['symbol']} | {g['period']} | {g['ranging']:.0%} | {g['trending']:.0%} | {g['high_volatility']:.0%} | {g['changes_a_day']:.1f} | {value:.2f} ({low:.2f} to {high:.2f}) |"
        )
    return "\n".join(lines) + "\n"


def money(value: float) -> str:
    return f"{value:+,.0f}"


def number(value: float | None) -> str:
    return "–" if value is None else f"{value:+.2f}"


def share(value: float | None) -> str:
    return "–" if value is None else f"{value:.1%}"


if __name__ == "__main__":
    main()
