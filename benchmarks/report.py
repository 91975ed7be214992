"""From what was measured (results/*.json) to the table on the screen, the plot and docs/performance.md."""

from __future__ import annotations

import json
import math
from html import escape
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
RESULT = ROOT / "benchmarks" / "results" / "latest.json"
COUNTERS = ROOT / "benchmarks" / "results" / "counters.json"
PLOT = ROOT / "benchmarks" / "results" / "latest.svg"
PAGE = ROOT / "docs" / "performance.md"

Row = dict[str, Any]

_HEAD = """# Performance

Made by `make bench` from [benchmarks/results/latest.json](../benchmarks/results/latest.json); do not edit.

## How to read

- Figures of ours and of the peer were measured in one run, in turns, each the median of its rounds. **Ratios travel
  to other machines, absolute figures do not.** `make bench` measures yours in about {minutes} minutes, `make
  bench-quick` the small rows in under 5.
- One core is judged by processor time; threads and whole processes by the clock. *Spread* is the distance between the
  quartiles over the median; a row above 15 % was measured again once, and the calmer attempt stands.
- The job: S1 long and short, strict fills ([fills.md](fills.md)), fixed quantity, maker, taker and half-spread, from
  bars to the metric table, indicators included. *Sparse* grids trade every 28 bars or so (EMA 80 to 120 bars, stops
  of 3 to 8 ATR), *dense* ones every 8, as the default parameters do (EMA 7 to 13, stops of 1.75 to 4 ATR). *Random*:
  a thousand combinations with a thousand EMA lengths, so nothing is shared.
- Peers get their indicators and decisions for nothing; building their inputs, the run and a handful of metrics are
  measured. Of a year's thousand combinations they run {peer_rows}, evenly spaced: they share nothing between
  combinations, so their time grows in proportion.
- **vectorbt** runs `from_signals` with the faster of its engines, in the chunks that suited it best. **raptorbt**
  holds one side an item, so long and short are two items; it re-enters only on a new signal, and so do we in that
  row. **The naive loop** is one fused numba pass a combination with our rules, one thread, its indicators given.
  **Reading** is one thread that adds up high, low and close as whole numbers.
"""

_LIMITS = """## What limits it

{misses}
The cost of a sweep has three parts: indicators and decisions, once for each distinct set of their parameters; the runs
of a decision row (stretches of one side), once for each row; and for each combination a screen over the runs (under
2 ns each) and every trade in a run whose bracket is touched: its levels, the search for its end, its booking. So a
combination costs what its trades cost, not its bars. Many combinations to a decision row is where it wins; a grid that
shares no decisions pays the first two parts for every combination, and the naive loop, which is given its indicators
here, is then the faster one.

{counters}
- The naive loop on 100,000 bars: a hundred combinations have 10 million bars, and half of the time is what they share
  (VWAP, ATR and five EMAs, which wait for their own last value at each bar; sides, runs, marks) among only twenty to a
  decision row. A year has a hundred. Were all of that free, the trades alone would meet the goal with little to spare.
- A grid that shares nothing: a year's combination costs 1 ms of EMA, 0.6 of sides, 2 of runs and 2.4 of trades, most
  of it waiting for rows that do not fit the second cache.
- A new process, in processor time: some 0.7 s of imports (numpy, polars, numba, typer, pydantic), 0.2 s to load
  machine code, 0.6 s for the run and its scenarios, which fill side by side, the rest bars, settings and printing.
  It was 3.5 s once: numba no longer prepares for compiling what it finds compiled, bars without an event are passed at
  once under a regime gate too, and SQLAlchemy is left out where nothing is stored.
- Optimizers: random and Sobol points cost thousandths of a millisecond; tpe, cmaes and nsga2 work in batches of their
  own, for even a sampler that does nothing costs 0.3 ms behind optuna's study (docs/decisions/0009).
- Peak memory: about 125 MB are libraries, 75 MB the bars (the frame they come in and the columns), 60 MB machine code,
  90 MB the sweep itself on two threads; a process that has to compile first needs some 250 MB more, once.

## What was tried

- Shared runs in place of one fused loop a combination: the largest gain. Earlier, without what surrounds it: 3.5 to 4
  times with a hundred combinations to a decision row; the rows above are end to end.
- Tiles of runs, all combinations a tile, so that levels and runs stay in the first caches: kept.
- SIMD search for the next bar that touches a level: nothing while prices were rows of four. With prices as columns,
  what a run comes to kept, and levels, search and booking in three passes: 1.7 times.
- Fewer references counted, sides in vector instructions, four indicators a pass, trades that wait for the next tile:
  together as much again. docs/decisions/0007 has the list with what each gave.
- Rows of one combination played whole, without shared totals: nothing.
- Float32: wrong trades.
"""


def is_met(row: Row) -> bool | None:
    """Return whether a row meets its goal; None if it has no goal, was skipped or was disturbed."""
    goal = row["goal"]
    if goal is None or row[goal["of"]] is None or row["is_disturbed"]:
        return None
    value = row[goal["of"]]
    return bool(value >= goal["at_least"]) if "at_least" in goal else bool(value <= goal["at_most"])


def number(value: float | None) -> str:
    """Three figures, as a reader takes them in."""
    if value is None:
        return "–"
    if value == 0 or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.{max(2 - math.floor(math.log10(abs(value))), 0)}f}"


def goal_text(row: Row) -> str:
    goal = row["goal"]
    if goal is None:
        return "–"
    bound = f">= {goal['at_least']:g}" if "at_least" in goal else f"<= {goal['at_most']:g}"
    return bound + ("x" if goal["of"] == "ratio" else f" {row['unit']}".rstrip())


def verdict(row: Row) -> str:
    if row["met"] is None:
        return "skipped" if row["ours"] is None else "busy" if row["is_disturbed"] else "–"
    return "yes" if row["met"] else "**no**"


def line(row: Row) -> str:
    """Return a row for the screen."""
    ratio = f"{number(row['ratio'])}x" if row["ratio"] is not None else "–"
    wide = f"  spread {row['spread']:.0%}" if (row["spread"] or 0) > 0.15 else ""
    why = f"  ({row['why']})" if row["ours"] is None else ""
    values = f"{number(row['ours']):>9} {number(row['peer']):>9} {ratio:>8}  {goal_text(row):>12}"
    return f"{row['name']:<76} {values}  {verdict(row).strip('*'):<7}{wide}{why}"


def table(result: Row) -> str:
    """Return the whole result for the screen."""
    head = f"{'':<76} {'ours':>9} {'peer':>9} {'ratio':>8}  {'goal':>12}  met"
    checks = [
        f"{'=' if c['equal'] else '≠'} {c['what']}: {c['ours']:,} and {c['peer']:,}"
        + (f" ({c['note']})" if c["note"] else "")
        for c in result["checks"]
    ]
    return "\n".join([head, *map(line, result["rows"]), "", "trade counts", *checks])


def page(result: Row) -> str:
    """Return docs/performance.md."""
    m = result["machine"]
    versions = ", ".join(f"{k} {v}" for k, v in result["versions"].items() if v)
    later = (
        f" Measured again later, when the machine was calmer: {', '.join(result['again'])}."
        if "again" in result
        else ""
    )
    lines = [
        _HEAD.format(minutes=result["minutes"], peer_rows=result["peer_rows"]),
        f"Measured {result['date']} on {m['processor']}, {m['cores']} cores, {m['system']}, load {m['load']:g} at the"
        f" start; bars: {result['bars']}; {versions}.{later}",
        "",
        "## Rows",
        "",
        "| | ours | peer | unit | ratio | goal | met | spread |",
        "|---|---:|---:|---|---:|---:|---|---:|",
    ]
    for row in result["rows"]:
        ratio = f"{number(row['ratio'])}x" if row["ratio"] is not None else "–"
        wide = f"{row['spread']:.0%}" if row["spread"] is not None else "–"
        note = f"<br>{row['note']}" if row.get("note") else ""
        note += f"<br>{row['why']}" if row["ours"] is None or row["is_disturbed"] else ""
        lines.append(
            f"| {row['name']}{note} | {number(row['ours'])} | {number(row['peer'])} | {row['unit']} | {ratio} |"
            f" {goal_text(row)} | {verdict(row)} | {wide} |"
        )
    lines += ["", "![ours over peer](../benchmarks/results/latest.svg)", "", "## Are the trades the same?", ""]
    lines += ["| | ours | peer | equal | why not |", "|---|---:|---:|---|---|"]
    for c in result["checks"]:
        is_equal = "yes" if c["equal"] else "no"
        lines.append(
            f"| {c['what']} | {c['ours']:,} | {c['peer']:,} | {is_equal} | {'' if c['equal'] else c['note']} |"
        )
    missed = [r for r in result["rows"] if r["met"] is False]
    misses = "Not met: " + "; ".join(f"{r['name']} ({_found(r)}, goal {goal_text(r)})" for r in missed) + ".\n"
    misses = misses if missed else "Every goal that could be measured is met.\n"
    lines += ["", _LIMITS.format(misses=misses, counters=_counters(json.loads(COUNTERS.read_text())))]
    return "\n".join(lines)


_COUNTERS = """\
Hardware counters are not to be had on this machine. `make bench-counters` takes the time of each phase, in cycles of
{ghz:.2f} GHz, and lets callgrind count what it does on a simulated processor (first caches of 32 KB, a last one of 32
MB, a simple predictor). Both with machine code for AVX2, which is what callgrind can run: the naive loop is slower
there than in the rows above, where the compiler may use AVX-512.

{tables}

The naive loop is bound by branches that nobody can predict: at some 16 cycles each, wrong guesses are 40 to 50 % of its
time. Trades played in three passes have few of them left, a tenth of their time; what they bring to the first cache
are nearly all highs and lows that the search for their end has to read. So they wait for the second cache more than
they compute. Main memory is no limit: next to nothing misses the last cache. Shared work is half of the sparse sweep.
Indicators, four side by side, keep the core busy; the rest is numpy over many small arrays, which waits.
"""


def _counters(found: Row) -> str:
    """Return what benchmarks/counters.py found, and what it says."""
    at = {(row["case"], row["phase"]): row for row in found["rows"]}
    tables = []
    for case in found["trades"]:
        rows = [
            f"| {case} | ms | million cycles | million instructions | a cycle | thousand first-cache misses |"
            " thousand last-cache misses | million branches | thousand mispredicted |",
            "|---|---:|---:|---:|---:|---:|---:|---:|---:|",
        ]
        phases = [row for row in found["rows"] if row["case"] == case and row["phase"] != "naive loop"]
        whole = {name: sum(row[name] for row in phases) for name in phases[0] if name not in ("case", "phase")}
        rows += [
            f"| {row['phase']} | {row['ms']:.1f} | {row['cycles'] / 1e6:.1f} | {row['instructions'] / 1e6:.1f} |"
            f" {row['instructions'] / row['cycles']:.1f} | {row['l1_misses'] / 1e3:,.0f} |"
            f" {row['ll_misses'] / 1e3:,.0f} | {row['branches'] / 1e6:.1f} | {row['mispredictions'] / 1e3:,.0f} |"
            for row in (*phases, {"phase": "**the sweep**"} | whole, at[case, "naive loop"])
        ]
        tables.append("\n".join(rows))
        played, naive = at[case, "screen and trades"], at[case, "naive loop"]
        n = found["trades"][case][0]
        tables.append(
            f"A trade of {case}: {played['cycles'] / n:.0f} cycles, {played['instructions'] / n:.0f} instructions,"
            f" {played['l1_misses'] / n:.1f} lines brought to the first cache, {played['mispredictions'] / n:.2f} wrong"
            f" guesses. The naive loop guesses wrong at every"
            f" {found['bars_x_combinations'][case] / naive['mispredictions']:.1f} bars."
        )
    return _COUNTERS.format(ghz=found["ghz"], tables="\n\n".join(tables))


def _found(row: Row) -> str:
    return f"{number(row['ratio'])}x" if row["goal"]["of"] == "ratio" else f"{number(row['ours'])} {row['unit']}"


def plot(result: Row) -> str:
    """Return the ratios as bars on a logarithmic scale, a tick where the goal is."""
    rows = [r for r in result["rows"] if r["ratio"] is not None]
    left, width, step, top = 470, 430, 24, 40
    low, high = 0.01, 1_000.0

    def x(value: float) -> float:
        share = math.log(min(max(value, low), high) / low) / math.log(high / low)
        return left + width * share

    height = top + step * len(rows) + 20
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{left + width + 90}" height="{height}"'
        ' font-family="sans-serif" font-size="12">',
        '<rect width="100%" height="100%" fill="white"/>',
        f'<text x="10" y="18" font-weight="bold">Ours over peer, {result["date"]}; the line marks the goal</text>',
    ]
    for power in range(-2, 4):
        at = x(10.0**power)
        parts.append(f'<line x1="{at:.1f}" x2="{at:.1f}" y1="{top - 8}" y2="{height - 14}" stroke="#ddd"/>')
        parts.append(f'<text x="{at:.1f}" y="{top - 12}" text-anchor="middle" fill="#666">{10.0**power:g}x</text>')
    for i, row in enumerate(rows):
        y, start, end = top + step * i, min(x(1.0), x(row["ratio"])), max(x(1.0), x(row["ratio"]))
        color = {True: "#2a7f62", False: "#b3452c", None: "#8a8f98"}[row["met"]]
        parts.append(f'<text x="{left - 8}" y="{y + 13}" text-anchor="end">{escape(row["name"])}</text>')
        parts.append(
            f'<rect x="{start:.1f}" y="{y + 3}" width="{max(end - start, 1):.1f}" height="13" fill="{color}"/>'
        )
        parts.append(f'<text x="{end + 5:.1f}" y="{y + 14}">{number(row["ratio"])}x</text>')
        goal = row["goal"]
        if goal and goal["of"] == "ratio":
            at = x(goal.get("at_least", goal.get("at_most")))
            parts.append(f'<line x1="{at:.1f}" x2="{at:.1f}" y1="{y}" y2="{y + 19}" stroke="black" stroke-width="2"/>')
    return "\n".join([*parts, "</svg>", ""])


def stored() -> Row:
    return json.loads(RESULT.read_text())  # type: ignore[no-any-return]


def store(result: Row) -> None:
    RESULT.parent.mkdir(parents=True, exist_ok=True)
    RESULT.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n")


def write_pages(result: Row) -> None:
    """Write the plot and the page."""
    PLOT.write_text(plot(result))
    PAGE.write_text(page(result))
