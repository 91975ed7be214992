"""Our side, in a process of its own: reads one JSON request a line, answers with one JSON line of times and counts."""

from __future__ import annotations

import json
import math
import resource
import sys
import time
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.cases import CAPITAL, CASES, COSTS, QTY, SEED, account, bars_of
from grodtd.backtest.engine import Market, run_backtest
from grodtd.backtest.sweep import run_sweep
from grodtd.domain.bars import Bars, daily_marks
from grodtd.domain.market import BPS
from grodtd.performance.sweep import sweep_columns
from grodtd.strategies.s1_trend import S1_TREND

Answer = dict[str, Any]
FRACTIONS = (COSTS.taker_bps * BPS, COSTS.maker_bps * BPS, COSTS.half_spread_bps * BPS)
# Far beyond the caches, and well inside the first of them.
DRAM_BARS, L1_BARS = 8_000_000, 1_000


@cache
def market_of(n_bars: int) -> Market:
    return Market(bars_of(n_bars))


def timed(work: Any) -> tuple[Any, Answer]:  # Any: whatever the work returns
    wall, cpu = time.perf_counter(), time.process_time()
    found = work()
    return found, {"wall_s": time.perf_counter() - wall, "cpu_s": time.process_time() - cpu}


def sweep(case: str, threads: int, **rules: Any) -> Answer:
    """From bars to the table, indicators included."""
    market, combinations = market_of(CASES[case].n_bars), CASES[case].combinations()

    def work() -> Any:
        result = run_sweep(market, S1_TREND, combinations, account(**rules), threads=threads)
        return result, sweep_columns(result)

    (result, table), times = timed(work)
    return times | {
        "trades": table["trade_count"].astype(int).tolist(),
        "insolvent": int((result.equity.min(axis=1, initial=CAPITAL) <= 0).sum()),
        "by_engine": int(result.by_engine.sum()),
        "n": len(market.bars) * len(combinations),
    }


@cache
def _feature(n_bars: int, name: str, length: int) -> Any:
    params = {"ema_bars": length} if name == "ema" else {"atr_bars": length} if name == "atr" else {}
    combination = S1_TREND.check_params(params)
    fields: list[str] = list(S1_TREND.row._fields)
    return S1_TREND.indicators(combination)[fields.index(name)].values(market_of(n_bars).bars)


def naive_loop(case: str, rows: list[int]) -> Answer:
    """The naive loop over some combinations; features are given to it for nothing."""
    from benchmarks import naive  # noqa: PLC0415

    n_bars, combinations = CASES[case].n_bars, CASES[case].combinations()
    bars = market_of(n_bars).bars
    mark_bar = daily_marks(bars)[1] - 1
    prices = tuple(getattr(bars, name) for name in ("open", "high", "low", "close"))
    jobs = []
    for row in rows:
        p = combinations[row]
        start = max(i.warmup_bars for i in S1_TREND.indicators(p)) - 1
        features = [_feature(n_bars, n, v) for n, v in (("vwap", 0), ("ema", p.ema_bars), ("atr", p.atr_bars))]
        jobs.append((features, start, (p.stop_atr, p.reward_risk)))
    out, marks = np.empty((len(rows), 7)), np.full((len(rows), mark_bar.size), CAPITAL)

    def work() -> None:
        for k, (features, start, bracket) in enumerate(jobs):
            naive.naive(prices, *features, start, mark_bar, bracket, FRACTIONS, QTY, CAPITAL, out[k], marks[k])

    return timed(work)[1] | {
        "trades": out[:, naive.TRADES].astype(int).tolist(),
        "final": out[:, naive.FINAL].tolist(),
        "n": len(bars) * len(rows),
    }


def read(where: str) -> Answer:
    """Bars a second that one thread can read, from main memory or from the first cache."""
    from benchmarks import naive  # noqa: PLC0415

    n_bars = DRAM_BARS if where == "dram" else L1_BARS
    times = 8 if where == "dram" else 400_000
    columns = _columns(n_bars)
    return timed(lambda: naive.read(*columns, times))[1] | {"n": n_bars * times}


@cache
def _columns(n_bars: int) -> Any:
    from benchmarks import naive  # noqa: PLC0415

    return naive.columns_to_read(n_bars)


def single(case: str) -> Answer:
    """One backtest by the engine, the first combination of a case; all fills and the equity of each bar are kept."""
    market = market_of(CASES[case].n_bars)
    combination = CASES[case].combinations()[0]
    result, times = timed(lambda: run_backtest(market, S1_TREND, combination, account()))
    return times | {"trades": [len(result.trades)], "n": len(market.bars)}


def from_signals_orders(case: str, rows: list[int]) -> Answer:
    """Orders of `from_signals` by our independent writing-down of it."""
    from grodtd.backtest.vectorbt_parity import signals  # noqa: PLC0415

    bars, combinations = market_of(CASES[case].n_bars).bars, CASES[case].combinations()
    matrix = np.column_stack((bars.open, bars.high, bars.low, bars.close))
    counts = []
    for row in rows:
        side, fractions = _side_and_fractions(bars, combinations[row])
        found = signals(
            matrix, side > 0, side == 0, side < 0, side == 0, bars.open, QTY, False, FRACTIONS[0], FRACTIONS[2],
            *fractions, False, True, False, CAPITAL
        )  # fmt: skip
        counts.append(int(found[0].size))
    return {"orders": counts}


def _side_and_fractions(bars: Bars, combination: tuple[Any, ...]) -> tuple[Any, Any]:
    decided = S1_TREND.decisions(bars, combination)
    side = np.zeros(len(bars), dtype=np.int8)
    side[1:] = decided.side[:-1]
    fractions = np.full((2, len(bars)), np.nan)
    fractions[:, 1:] = decided.bracket[:2, :-1] / bars.close[:-1]
    return side, fractions


def export(case: str, file: str) -> Answer:
    """Write bars, indicators and wanted sides for the peers: they need not compute them."""
    n_bars, combinations = CASES[case].n_bars, CASES[case].combinations()
    bars = market_of(n_bars).bars
    signals = sorted({(p.ema_bars, p.atr_bars) for p in combinations})
    atr = sorted({p.atr_bars for p in combinations})
    first = {(p.ema_bars, p.atr_bars): p for p in combinations}
    np.savez(
        file,
        time=bars.time,
        **{name: getattr(bars, name) for name in ("open", "high", "low", "close", "volume")},
        side=np.stack([S1_TREND.decisions(bars, first[key]).side for key in signals]),
        atr=np.stack([_feature(n_bars, "atr", a) for a in atr]),
        combinations=np.array(
            [
                (signals.index((p.ema_bars, p.atr_bars)), atr.index(p.atr_bars), p.stop_atr, p.reward_risk, p.atr_bars)
                for p in combinations
            ]
        ),
        costs=np.array([FRACTIONS[0], FRACTIONS[2], QTY, CAPITAL]),
    )
    return {}


def catalogue(home: str) -> Answer:
    """A year of minutes from the catalogue, checked."""
    from grodtd.adapters.market_data.catalogue import Catalogue  # noqa: PLC0415

    store = Catalogue(Path(home) / "catalogue")
    bars, times = timed(lambda: store.load("synthetic", "G1", "1m"))
    return times | {"n": len(bars)}


def memory(case: str, home: str) -> Answer:
    """Peak memory of this process after a sweep over bars from the catalogue; to be asked once, of a new process."""
    from grodtd.adapters.market_data.catalogue import Catalogue  # noqa: PLC0415

    bars = Catalogue(Path(home) / "catalogue").load("synthetic", "G1", "1m")
    table = sweep_columns(run_sweep(Market(bars), S1_TREND, CASES[case].combinations(), account(), threads=2))
    assert math.isfinite(table["total"].sum())  # noqa: S101
    return {"peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}


def optimizer(name: str) -> Answer:
    """Ask for trials and tell what they were worth, without evaluating any; nsga2 is told two objectives."""
    from grodtd.optimize.search import optimizer as made  # noqa: PLC0415
    from grodtd.optimize.space import Space  # noqa: PLC0415
    from grodtd.workflows.optimize import BATCH_TRIALS  # noqa: PLC0415

    space = {"ema_bars": {"int": [5, 200]}, "atr_bars": {"int": [5, 50]}}
    space |= {"stop_atr": {"float": [0.5, 6.0]}, "reward_risk": {"float": [0.5, 3.0]}}  # type: ignore[dict-item]
    rng, n, n_objectives = np.random.default_rng(SEED), 4 * BATCH_TRIALS, 2 if name == "nsga2" else 1
    search = made(name, Space.parse(space, S1_TREND), seed=SEED, n_trials=n, n_objectives=n_objectives)

    def work() -> int:
        asked = 0
        while trials := search.ask(BATCH_TRIALS):
            search.tell([t.number for t in trials], rng.random((len(trials), n_objectives)))
            asked += len(trials)
            if asked >= n:
                break
        return asked

    asked, times = timed(work)
    return times | {"n": asked, "batch": BATCH_TRIALS}


DOES = {
    "optimizer": optimizer,
    "sweep": sweep,
    "naive": naive_loop,
    "read": read,
    "single": single,
    "from_signals_orders": from_signals_orders,
    "export": export,
    "catalogue": catalogue,
    "memory": memory,
}


def main() -> None:
    """Answer until the input ends."""
    for line in sys.stdin:
        request = json.loads(line)
        try:
            answer = DOES[request.pop("do")](**request)
        except Exception as error:  # told to the one who asked, who skips the row
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
