"""The peers' side, in their own environment: reads one JSON request a line, answers with one JSON line.

Knows nothing of our package. Indicators and wanted sides come ready from a file, outside the time measured; building
what each peer takes, the run and the metrics are inside.
"""

from __future__ import annotations

import gc
import importlib.metadata
import json
import os
import sys
import time
import warnings
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

warnings.filterwarnings("ignore")
os.environ["RAPTORBT_NO_VERSION_CHECK"] = "1"
PRICES = ("open", "high", "low", "close")
Answer = dict[str, Any]


@cache
def loaded(file: str) -> dict[str, np.ndarray]:
    with np.load(file) as stored:
        return {name: np.ascontiguousarray(stored[name]) for name in stored.files}


def timed(work: Any) -> tuple[Any, Answer]:
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")  # starts the peak of memory afresh
    wall, cpu = time.perf_counter(), time.process_time()
    found = work()
    times = {"wall_s": time.perf_counter() - wall, "cpu_s": time.process_time() - cpu}
    peak = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return found, times | {"peak_mb": int(peak.split()[1]) / 1024}


def vectorbt(file: str, engine: str, rows: list[int], chunk: int) -> Answer:
    """`from_signals` as a careful user calls it: decisions of a close traded at the next open, stops from the fill."""
    import vectorbt as vbt  # noqa: PLC0415

    data = loaded(file)
    n, (fees, slippage, qty, capital) = data["close"].size, data["costs"]
    # Columns, not rows, to vectorbt.
    open_, high, low, close = (data[name][:, None] for name in PRICES)

    def part(some: list[int]) -> tuple[list[int], list[int]]:
        table = data["combinations"][some]
        wanted = np.zeros((n, len(some)), dtype=np.int8)
        stop, target = np.full((n, len(some)), np.nan), np.full((n, len(some)), np.nan)
        wanted[1:] = data["side"][table[:, 0].astype(int), :-1].T
        stop[1:] = data["atr"][table[:, 1].astype(int), :-1].T * table[:, 2] / close[:-1]
        target[1:] = stop[1:] * table[:, 3]
        flat = wanted == 0
        portfolio = vbt.Portfolio.from_signals(
            close,
            entries=wanted > 0,
            exits=flat,
            short_entries=wanted < 0,
            short_exits=flat,
            price=open_,
            open=open_,
            high=high,
            low=low,
            size=qty,
            size_type="amount",
            fees=fees,
            slippage=slippage,
            sl_stop=stop,
            tp_stop=target,
            stop_entry_price="fillprice",
            init_cash=capital,
            freq="1min",
            engine=engine,
        )
        trades = portfolio.trades
        for metric in (portfolio.total_return, portfolio.sharpe_ratio, portfolio.max_drawdown):
            metric()
        for metric in (trades.win_rate, trades.profit_factor):
            metric()
        counted = np.atleast_1d(portfolio.orders.count()), np.atleast_1d(trades.count())
        return counted[0].astype(int).tolist(), counted[1].astype(int).tolist()

    def work() -> tuple[list[int], list[int]]:
        orders: list[int] = []
        trades: list[int] = []
        for at in range(0, len(rows), chunk):
            found = part(rows[at : at + chunk])
            orders += found[0]
            trades += found[1]
            gc.collect()  # portfolios sit in reference cycles
        return orders, trades

    (orders, trades), times = timed(work)
    return times | {"orders": orders, "trades": trades, "n": n * len(rows)}


def raptorbt(file: str, rows: list[int], chunk: int, sides: list[int]) -> Answer:
    """`batch_single_backtest`: an item holds one side, so long and short are two items a combination."""
    import raptorbt as rbt  # noqa: PLC0415

    data = loaded(file)
    fees, slippage, _, capital = data["costs"]
    columns = [data["time"] * 1_000, *(data[name] for name in (*PRICES, "volume"))]

    def work() -> list[int]:
        config = rbt.BacktestConfig(
            initial_capital=capital, fees=fees, slippage=slippage, fill_timing="next_bar_open", apply_slippage=True
        )
        signals = {
            (row, side): (data["side"][row] == side, data["side"][row] != side)
            for row in range(len(data["side"]))
            for side in sides
        }
        trades: list[int] = []
        for at in range(0, len(rows), chunk):
            items = []
            for row in rows[at : at + chunk]:
                signal, _, stop, reward, atr_bars = data["combinations"][row]
                own = rbt.InstrumentConfig(alloted_capital=float(data["close"][0]))
                own.set_atr_stop(stop, int(atr_bars))
                own.set_risk_reward_target(reward)
                for side in sides:
                    entries, exits = signals[int(signal), side]
                    items.append(rbt.BatchSingleItem(str(row), entries, exits, side, 1.0, "G1", instrument_config=own))
            found = [r.metrics.total_trades for _, r in rbt.batch_single_backtest(*columns, items, config)]
            trades += np.array(found).reshape(-1, len(sides)).sum(axis=1).tolist()
        return trades

    trades, times = timed(work)
    return times | {"trades": trades, "n": data["close"].size * len(rows)}


def backtesting_py(file: str) -> Answer:
    """One run of backtesting.py, the first combination; decisions are ready, so that only its own loop is measured."""
    import backtesting.backtesting as engine  # noqa: PLC0415
    import pandas as pd  # noqa: PLC0415
    from backtesting import Backtest, Strategy  # noqa: PLC0415

    engine._tqdm = lambda bars, **_: bars  # no bar of progress
    data = loaded(file)
    fees, slippage, qty, capital = data["costs"]
    signal, atr_row, stop, reward, _ = data["combinations"][0]
    side, atr = data["side"][int(signal)], data["atr"][int(atr_row)]
    frame = pd.DataFrame(
        {name.title(): data[name] for name in (*PRICES, "volume")},
        index=pd.DatetimeIndex(data["time"].astype("datetime64[us]")),
    )

    class S1(Strategy):  # type: ignore[misc]  # no types
        def init(self) -> None:
            self.at = 0

        def next(self) -> None:
            at = len(self.data) - 1
            wanted = side[at]
            held = 1 if self.position.is_long else -1 if self.position.is_short else 0
            if held not in (0, wanted):
                self.position.close()
            if wanted and held != wanted:
                close, distance = self.data.Close[-1], stop * atr[at]
                enter = self.buy if wanted > 0 else self.sell
                enter(size=int(qty), sl=close - wanted * distance, tp=close + wanted * reward * distance)

    test = Backtest(frame, S1, cash=capital, commission=fees, spread=slippage, finalize_trades=True)
    found, times = timed(test.run)
    return times | {"trades": [int(found["# Trades"])], "n": len(frame)}


def versions() -> Answer:
    """What is installed here."""
    found: dict[str, str | None] = {}
    for name in ("vectorbt", "vectorbt-rust", "raptorbt", "backtesting", "numba", "numpy", "pandas"):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = None
    return {"versions": found, "python": sys.version.split()[0]}


def one_process(file: str) -> None:
    """A new process's whole work: import vectorbt, read a year, one `from_signals`, its total return."""
    print(json.dumps(vectorbt(file, "numba", [0], 1)))


DOES = {"vectorbt": vectorbt, "raptorbt": raptorbt, "backtesting_py": backtesting_py, "versions": versions}


def main() -> None:
    """Answer until the input ends; an error is an answer too."""
    if len(sys.argv) > 1:
        one_process(sys.argv[1])
        return
    for line in sys.stdin:
        request = json.loads(line)
        try:
            answer = DOES[request.pop("do")](**request)
        except Exception as error:  # a peer that cannot run is reported, not fatal
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
