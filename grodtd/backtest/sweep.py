"""Many parameter combinations over one market at once, each equal to its own backtest.

Indicators are computed once per distinct parameter, decisions once per distinct set of feature and rule parameters, and
what brackets change is found by screening (`sweep_kernel`). Where an account has rules that tie trades together
(compounding, daily limits, ...) every combination is run by the fill engine instead, and the table says so.
"""

from __future__ import annotations

import ast
import inspect
import math
import os
import textwrap
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache
from typing import Any, Final, get_type_hints

import numpy as np
import numpy.typing as npt

from grodtd.backtest.engine import Market, run_backtest
from grodtd.backtest.sweep_kernel import (
    BASE_COLUMNS,
    CARRIED,
    FEW,
    LEVEL_ROWS,
    LOSSES,
    NEEDS_ENGINE,
    REALISED,
    SHARED,
    TERMS_DTYPE,
    TILE_RUNS,
    Engine,
    Runs,
    SweepMarket,
    book_base,
    build_runs,
    is_touched,
    picked,
    play,
    play_by_engine,
)
from grodtd.domain.bars import COLUMNS, US_PER_S, Bar, Bars, FloatArray, SideArray, daily_marks
from grodtd.domain.errors import DataError, StrategyError
from grodtd.domain.indicator import MAX_FILLED_GAP_BARS, TOGETHER, Indicator, is_alike, values_together
from grodtd.domain.kernel import kernel_from_source
from grodtd.domain.market import BPS, Account, Step
from grodtd.domain.run import RunResult
from grodtd.domain.strategy import BRACKET_ROWS, Strategy, location
from grodtd.domain.sweep import SUMS, SweepResult
from grodtd.execution.costs import HALF_SPREAD, IMPACT, MAKER, SLIPPAGE, TAKER, cost_rows, varies_by_bar
from grodtd.execution.fill_kernel import SAME_BAR
from grodtd.execution.fills import Leg, engine_for, tradable_side

# Indicators are kept while there is room for them: the working set of a sweep must not grow with its grid.
_FEATURE_CACHE_BYTES: Final = 64 * 2**20
# Combinations of one signal row played together: their daily arrays stay in the processor's cache.
_CHUNK: Final = 256
# A short that doubles in price can ruin an account that holds nothing else.
_SHORT_MOVE_MAX: Final = 1.9


def why_engine(market: Market, account: Account) -> str:
    """Return why combinations cannot share their trades under this account; empty if they can."""
    sizing, rules, limits, bars = account.sizing, account.rules, account.limits, market.bars
    qty = (
        sizing.qty if sizing.mode == "fixed_qty" else sizing.fraction * account.initial_capital / float(bars.high.max())
    )
    reasons = {
        "trades depend on the money won before (set sizing.compound: false or mode: fixed_qty)": sizing.compound
        and sizing.mode != "fixed_qty",
        f"sizing mode {sizing.mode} depends on the bracket": sizing.mode in ("risk", "all_in_whole"),
        "impact depends on a quantity that changes": sizing.mode == "fraction" and account.costs.impact_y > 0,
        "leverage": account.leverage > 1,
        "latency_bars": rules.latency_bars > 0,
        "a session": bool(rules.session),
        "same_bar: drilldown": rules.same_bar == "drilldown",
        "limits of the account": limits != type(limits)(),
        "orders that may be smaller than the venue takes": qty < 2 * float(account.instrument.lot or 0)
        or qty * float(bars.low.min()) * 0.99 <= account.instrument.min_notional,
        "reentry: edge where a regime closes positions": rules.reentry == "edge"
        and market.gate is not None
        and bool((market.gate < 0).any()),
    }
    return "; ".join(reason for reason, holds in reasons.items() if holds)


def run_sweep(
    market: Market,
    strategy: Strategy,
    combinations: Sequence[tuple[Any, ...]],
    account: Account,
    *,
    threads: int | None = None,
    on_progress: Callable[[int], None] | None = None,
) -> SweepResult:
    """Backtest every combination of parameters; rows come in the order of `combinations`.

    Parameters
    ----------
    market : Market
    strategy : Strategy
    combinations : sequence of tuple
        As returned by `strategy.check_params`.
    account : Account
    threads : int, optional
        Default: every processor this process may use.
    on_progress : function (int) -> None, optional
        Called with the number of combinations just finished, from the thread that finished them.

    Raises
    ------
    DataError, StrategyError, ExecutionError
        As `run_backtest`.
    """
    names: tuple[str, ...] = strategy.params._fields  # type: ignore[attr-defined]  # every NamedTuple class has it
    n, n_marks = len(combinations), daily_marks(market.bars)[0].size
    params = np.array([tuple(map(float, c)) for c in combinations], dtype=np.float64).reshape(n, len(names))
    why = why_engine(market, account)
    found = SweepResult(
        market.bars,
        account.initial_capital,
        names,
        params,
        sums=np.empty((n, len(SUMS))),
        equity=np.empty((n, n_marks)),
        final=np.empty(n),
        by_engine=np.zeros(n, dtype=np.bool_),
        why_engine=why,
    )

    def by_itself(row: int) -> None:
        single = as_sweep(run_backtest(market, strategy, combinations[row], account))
        found.by_engine[row] = True
        found.sums[row], found.equity[row], found.final[row] = single.sums[0], single.equity[0], single.final[0]

    def alone(row: int) -> None:
        by_itself(row)
        if on_progress:
            on_progress(1)

    n_threads = threads or len(os.sched_getaffinity(0))
    if why:
        _for_each(alone, range(n), n_threads)
        return found
    groups = _groups(strategy, names, params, n_threads)
    firsts = [combinations[int(rows[0])] for rows in groups]
    sweep = _Sweep(market, strategy, account, firsts)

    def together(group: int) -> None:
        rows = groups[group]
        found.sums[rows], found.equity[rows], found.final[rows], status = sweep.run(group, params[rows])
        for row in rows[status == NEEDS_ENGINE]:
            by_itself(int(row))
        if on_progress:
            on_progress(int(rows.size))

    _for_each(together, range(len(groups)), n_threads)
    return found


def as_sweep(result: RunResult) -> SweepResult:
    """Return one backtest as a sweep of one combination, without its parameters."""
    trades, bars, capital = result.trades, result.bars, result.account.initial_capital
    pnl = trades.pnl
    sums = {
        "trade_count": len(trades),
        "wins": (pnl > 0).sum(),
        "won": pnl[pnl > 0].sum(),
        "lost": -pnl[pnl <= 0].sum(),
        "gross_pnl": trades.gross_pnl.sum(),
        "fees": trades.fees.sum(),
        "slippage_cost": trades.slippage.sum(),
        "funding_cost": trades.funding.sum(),
        "borrow_cost": trades.borrow.sum(),
        "held_bars": result.held.sum(),
        "ambiguous": trades.ambiguous.sum(),
        "notional": trades.notional.sum(),
    }
    path = np.concatenate(([capital], result.equity))
    return SweepResult(
        bars,
        capital,
        (),
        np.empty((1, 0)),
        np.array([[float(sums[name]) for name in SUMS]]),
        path[daily_marks(bars)[1]][None, :],
        result.equity[-1:],
        np.ones(1, dtype=np.bool_),
    )


def _for_each(work: Callable[[int], None], items: range, threads: int) -> None:
    if threads == 1 or len(items) == 1:
        for item in items:
            work(item)
        return
    with ThreadPoolExecutor(threads) as pool:
        tasks = [pool.submit(work, item) for item in items]
        try:
            for task in tasks:
                task.result()
        except BaseException:
            for task in tasks:
                task.cancel()
            raise


def _groups(strategy: Strategy, names: tuple[str, ...], params: FloatArray, threads: int) -> list[npt.NDArray[np.intp]]:
    """Return the rows that share their signals; pieces enough for every thread.

    Those follow each other that share most features: the parameter with the fewest values changes last.
    """
    if not params.size:
        return []
    signal = [i for i, name in enumerate(names) if strategy.roles[name] != "bracket"]
    signal.sort(key=lambda i: np.unique(params[:, i]).size)
    order = np.lexsort([params[:, i] for i in reversed(signal)]) if signal else np.arange(len(params))
    ordered = params[order][:, signal]
    starts = np.flatnonzero(np.concatenate(([True], (ordered[1:] != ordered[:-1]).any(axis=1))))
    groups = np.split(order, starts[1:])
    if len(groups) >= 4 * threads:
        return groups
    size = max(math.ceil(len(params) / (4 * threads)), 1)
    return [piece for group in groups for piece in np.split(group, range(size, group.size, size))]


class _Sweep:
    """What all combinations of a sweep share."""

    def __init__(self, market: Market, strategy: Strategy, account: Account, firsts: Sequence[tuple[Any, ...]]) -> None:
        """`firsts` is one combination of each group that shares its signals."""
        self.bars, self.strategy, self.account = market.bars, strategy, account
        self.market = _sweep_market(market, account)
        self.gate = market.gate
        self._raw = market
        self._firsts = firsts
        self._indicators = [strategy.indicators(first) for first in firsts]
        self._features: OrderedDict[Indicator, Future[FloatArray]] = OrderedDict()
        self._features_max = _FEATURE_CACHE_BYTES // (8 * len(market.bars))
        self._lock = threading.Lock()
        self._local = threading.local()
        self._decide, self._play = compiled_parts(strategy)
        self._segments = _segments(market.bars)
        self._needed = self._cash_needed_by_mark()

    def run(self, group: int, params: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray, npt.NDArray[np.int8]]:
        """Return (sums, equity at the marks, final equity, status) of the combinations of a group."""
        features = [self._feature(indicator, group) for indicator in self._indicators[group]]
        side = self._side(features, self._indicators[group], self._firsts[group])
        n = len(params)
        runs, base, base_daily, worst_short = self._runs(side)
        is_entangled = worst_short >= _SHORT_MOVE_MAX or self._may_outlast(runs)
        status = np.full(n, NEEDS_ENGINE if is_entangled else SHARED, dtype=np.int8)
        sums, equity, final = np.empty((n, len(SUMS))), np.empty((n, self.market.mark_bar.size)), np.empty(n)
        engine = self._engine(side)
        for at in range(0, n, _CHUNK):
            part = slice(at, min(at + _CHUNK, n))
            sums[part] = base
            daily = np.repeat(base_daily[None], part.stop - at, axis=0)
            self._play(self.market, runs, engine, *features, params[part], sums[part], daily, status[part])
            self._judge_cash(daily, status[part])
            path = self.account.initial_capital + np.cumsum(daily[:, REALISED] + daily[:, CARRIED], axis=1)
            equity[part], final[part] = path[:, :-1], path[:, -1]
        return sums, equity, final, status

    def _may_outlast(self, runs: Runs) -> bool:
        """Whether an entry may wait for volume longer than its run lasts.

        A regime that closes positions ends the run, but not the order: the wanted side is still the same (F0).
        """
        if self.gate is None:
            return False
        last = runs.end[runs.end < len(self.bars)] - 1
        last = last[self.gate[last] < 0]
        return bool(((self.bars.volume[last] <= 0) | (self.market.is_thin[last] != 0)).any())

    def _feature(self, indicator: Indicator, group: int) -> FloatArray:
        """Return an indicator's values, computed together with others that this and the next groups will ask for."""
        with self._lock:
            found = self._features.get(indicator)
            batch: list[Indicator] = []
            if found is not None:
                self._features.move_to_end(indicator)
            else:
                batch = self._batch(indicator, group)
                self._features |= {wanted: Future() for wanted in batch}
                found = self._features[indicator]
                futures = [self._features[wanted] for wanted in batch]
        if batch:
            try:
                values = values_together(batch, self.bars)
            except BaseException as error:
                for future in futures:
                    future.set_exception(error)
                raise
            for future, value in zip(futures, values, strict=True):
                future.set_result(value)
            with self._lock:
                while len(self._features) > max(self._features_max, 1):
                    self._features.popitem(last=False)
        return found.result()

    def _batch(self, indicator: Indicator, group: int) -> list[Indicator]:
        """Return what is computed together with an indicator that is not there yet; those of one update in a row."""
        # Where there is little room, what is computed ahead would be dropped before it is used.
        if self._features_max < 2 * TOGETHER:
            return [indicator]
        # Unlike ones only at the start, when all are missing: a loop is compiled for each list of kinds.
        batch = [indicator] if self._features else list(dict.fromkeys(self._indicators[group]))
        for coming in self._indicators[group + 1 : group + TOGETHER]:
            for other in coming:
                is_new = other not in batch and other not in self._features
                if is_new and any(is_alike(one, other) for one in batch):
                    batch.append(other)
        return sorted(batch[:TOGETHER], key=lambda one: one.update.__name__)

    def _side(self, features: list[FloatArray], indicators: list[Indicator], params: tuple[Any, ...]) -> SideArray:
        """Return the wanted sides, as `Strategy.decisions` and the engine make them."""
        slowest = max((i.warmup_bars for i in indicators), default=1)
        after_gap = max((i.warmup_bars for i in indicators if i.restarts_after_gap), default=1)
        needed = slowest + self.account.rules.latency_bars + 1
        if len(self.bars) < needed:
            raise DataError(
                f"{self.strategy.name} needs at least {needed} bars of {self.bars.symbol} {self.bars.timeframe} to warm"
                f" up and trade once, found {len(self.bars)}; ask for a longer range"
            )
        first, end = self._segments
        start = np.maximum(slowest - 1, first + after_gap - 1)
        side = np.zeros(len(self.bars), dtype=np.int8)
        columns = [getattr(self.bars, name) for name in COLUMNS]
        if self._decide(self.bars.time, *columns, *features, start, end, params, side):
            self.strategy.decisions(self.bars, params)  # says where
            raise StrategyError(f"{location(self.strategy.decide)}: decide() must return -1, 0 or +1")
        side = tradable_side(side, self.account.rules.direction)
        if self.gate is not None:
            side[self.gate < 0] = 0  # leaving the regime closes the position
        return side

    def _runs(self, side: SideArray) -> tuple[Runs, FloatArray, FloatArray, float]:
        room: Runs | None = getattr(self._local, "runs", None)
        if room is None:
            # For the worst case, a run a bar; what is never touched takes no memory.
            n = side.size
            first, entry, end = (np.empty(n, dtype=np.int64) for _ in range(3))
            price, adverse, favourable = (np.empty(n) for _ in range(3))
            base = np.empty((n, BASE_COLUMNS))
            room = Runs(
                first, entry, end, np.empty(n, np.int8), np.empty(n, np.uint8), price, adverse, favourable, base
            )
            self._local.runs = room
        sums, daily = np.zeros(len(SUMS)), np.zeros((3, self.market.mark_bar.size + 1))
        count, worst_short = build_runs(self.market, side, room, sums, daily)
        used: Any = (column[:count] for column in room)  # Any: a tuple of unlike arrays loses their types
        return Runs(*used), sums, daily, worst_short

    def _engine(self, side: SideArray) -> Engine:
        found: Engine | None = getattr(self._local, "engine", None)
        if found is None:
            # It plays runs with bars that may leave an order unfilled. Without such bars it is never asked.
            is_needed = self.market.silent[-1] > 0 or bool(self.market.terms[0]["has_thin"])
            n = len(self.bars) if is_needed else 1
            gate, funding = self._raw.gate, self._raw.funding
            gate, funding = None if gate is None else gate[:n], None if funding is None else funding[:n]
            bracket = np.empty((BRACKET_ROWS, n))
            leg = Leg(self.bars[:n], np.zeros(n, np.int8), bracket, self.account, gate, funding)
            market, fine, books, curves, steps, step_of = engine_for(leg)
            found = Engine(market, fine, books, curves, books.account.copy(), books.symbols.copy(), steps, step_of)
            self._local.engine = found
        return found._replace(market=found.market._replace(side=side))

    def _cash_needed_by_mark(self) -> FloatArray:
        """Return the most that an entry between two marks can cost."""
        m, bars = self.market, self.bars
        terms, (taker, _, worse, impact) = m.terms[0], m.costs.max(axis=0)
        qty = terms["notional"] / np.minimum(bars.close, bars.open) if terms["notional"] > 0 else terms["qty"]
        cost = bars.open * qty * (1.0 + worse + impact * math.sqrt(float(np.max(qty)))) * (1.0 + taker) * 1.001
        needed = np.zeros(m.mark_bar.size + 1)
        starts = np.flatnonzero(np.diff(m.mark_of, prepend=-1))
        needed[m.mark_of[starts]] = np.maximum.reduceat(cost, starts)
        return needed

    def _judge_cash(self, daily: FloatArray, status: npt.NDArray[np.int8]) -> None:
        """Mark the combinations that may have run short of cash: those the engine must run."""
        before = self.account.initial_capital + np.cumsum(daily[:, REALISED], axis=1) - daily[:, REALISED]
        is_short = (before - daily[:, LOSSES] < self._needed) & (self._needed > 0)
        status[is_short.any(axis=1)] = NEEDS_ENGINE


def _sweep_market(market: Market, account: Account) -> SweepMarket:
    bars, instrument, sizing = market.bars, account.instrument, account.sizing
    costs = cost_rows(bars, account.costs)
    tick, lot = Step.of(instrument.tick), Step.of(instrument.lot)
    mark_bar = daily_marks(bars)[1].astype(np.int64) - 1
    qty = sizing.qty
    if lot.numerator:
        qty = math.floor(qty * lot.denominator / lot.numerator * (1 + 1e-12)) * lot.numerator / lot.denominator
    notional = sizing.fraction * account.initial_capital if sizing.mode == "fraction" else 0.0
    largest = qty if not notional else notional / float(bars.close.min())
    share = account.rules.max_participation
    paid = np.empty(0)
    if market.funding is not None:
        paid = np.concatenate(([0.0], np.cumsum(bars.close * market.funding)))
    is_thin = (bars.volume * share < 3 * largest).astype(np.uint8) if share else np.zeros(len(bars), np.uint8)
    bars_by_mark = np.diff(mark_bar, prepend=-1, append=len(bars) - 1)
    terms = np.zeros(1, dtype=TERMS_DTYPE)
    for name, value in {
        "tick_num": tick.numerator,
        "tick_den": tick.denominator,
        "lot_num": lot.numerator,
        "lot_den": lot.denominator,
        "qty": qty,
        "notional": notional,
        "borrow_rate": account.costs.borrow_bps_hour * BPS if instrument.market == "spot" else 0.0,
        "interval_us": bars.interval_s * US_PER_S,
        "same_bar": SAME_BAR[account.rules.same_bar],
        "cost_stride": varies_by_bar(account.costs),
        "n_bars": len(bars),
        "is_edge": account.rules.reentry == "edge",
        "has_gate": market.gate is not None,
        "has_funding": market.funding is not None,
        "has_thin": bool(is_thin.any()),
    }.items():
        terms[name] = value
    return SweepMarket(
        terms=terms,
        time=bars.time,
        open=bars.open,
        high=bars.high,
        low=bars.low,
        close=bars.close,
        costs=np.column_stack((costs[TAKER], costs[MAKER], costs[HALF_SPREAD] + costs[SLIPPAGE], costs[IMPACT])),
        gate=np.empty(0, np.int8) if market.gate is None else np.ascontiguousarray(market.gate, np.int8),
        silent=np.concatenate(([0], np.cumsum(bars.volume <= 0))).astype(np.int32),
        is_thin=is_thin,
        mark_of=np.repeat(np.arange(mark_bar.size + 1, dtype=np.int32), bars_by_mark),
        mark_bar=mark_bar,
        paid=paid,
    )


def _segments(bars: Bars) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return (first, end) of the stretches between gaps that restart indicators (C4a)."""
    starts = np.zeros(1, dtype=np.int64)
    if bars.gap_step_us and len(bars):
        gaps = np.flatnonzero(np.diff(bars.time) // bars.gap_step_us - 1 > MAX_FILLED_GAP_BARS) + 1
        starts = np.concatenate((starts, gaps))
    return starts, np.append(starts[1:], len(bars))


def fields_read(rule: Callable[..., Any], position: int) -> set[str] | None:
    """Return the fields that a rule reads of its argument number `position`; None if that cannot be told."""
    function = getattr(rule, "py_func", rule)
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    except (OSError, SyntaxError):
        return None
    definition = next(node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))
    name = definition.args.args[position].arg
    read = {id(n.value): n.attr for n in ast.walk(tree) if isinstance(n, ast.Attribute)}
    uses = [n for n in ast.walk(tree) if isinstance(n, ast.Name) and n.id == name]
    if any(id(use) not in read for use in uses):
        return None
    return {read[id(use)] for use in uses}


# Elementwise, without an early way out, and on views whose indices cannot be negative, so that the compiler makes
# vector instructions of it.
_DECIDE = """
def sides(time, open_, high, low, close, volume, {arguments}first, end, params, side):
    n_bad = 0
    for k in range(first.size):
        a, b = first[k], end[k]
        if a >= b:
            continue
        v_time, v_open, v_high, v_low = time[a:b], open_[a:b], high[a:b], low[a:b]
        v_close, v_volume, v_side = close[a:b], volume[a:b], side[a:b]
        {views}
        for t in range(b - a):
            is_defined = {defined}
            wanted = decide(
                Bar(v_time[t], v_open[t], v_high[t], v_low[t], v_close[t], v_volume[t]), Row({row}), params
            )
            is_side = (wanted == 0) | (wanted == 1) | (wanted == -1)
            n_bad += is_defined & (not is_side)
            v_side[t] = int(wanted) if is_defined & is_side else 0
    return n_bad > 0
"""

_PLAY = """
def sweep(market, runs, engine, {arguments}params, sums, daily, status):
    n_runs, n = runs.entry.size, market.time.size
    most = tile + few
    levels, spans = np.empty((level_rows, most)), np.empty((2, most), np.int64)
    who, at, redo = np.empty(most, np.int64), np.empty(most, np.int64), np.empty(most, np.int64)
    flags = np.empty(tile, np.uint8)
    # A call of `play` for a few trades costs more than they do: they wait for those of the next tile.
    n_waiting, waiting = np.zeros(status.size, np.int64), np.empty((2, status.size, few), np.int64)
    {scratch}
    for a in range(0, n_runs, tile):
        b = min(a + tile, n_runs)
        # Views of the tile, so that no index can be negative: then the screen becomes vector instructions.
        entry, end, is_hard = runs.entry[a:b], runs.end[a:b], runs.is_hard[a:b]
        price, adverse, favourable = runs.price[a:b], runs.adverse[a:b], runs.favourable[a:b]
        for k in range(b - a):
            d = entry[k] - 1
            {gather}
        for c in range(status.size):
            if status[c] != 0:
                continue
            p = Params({params})
            is_limit = False
            for k in range(b - a):
                found = bracket(Row({near}), p)
                flags[k] = (is_hard[k] == 0) & is_touched(
                    found.stop,
                    found.target,
                    found.trail,
                    found.break_even,
                    found.max_bars,
                    price[k],
                    adverse[k],
                    favourable[k],
                    end[k] - entry[k],
                )
                is_limit |= found.limit > 0.0
            m = picked(flags, b - a, a, runs.entry, who, at)
            book_base(market, runs, m, who, sums[c], daily[c], -1.0)
            for k in range(n_waiting[c]):
                who[m + k], at[m + k] = waiting[0, c, k], waiting[1, c, k]
            m += n_waiting[c]
            n_redo = 0
            while m > (few if b < n_runs else 0):
                for k in range(m):
                    d = at[k] - 1
                    found = bracket(Row({far}), p)
                    is_limit |= found.limit > 0.0
                    {store}
                m, n_redo = play(market, runs, m, who, at, levels, spans, sums[c], daily[c], 1.0, redo, n_redo)
            if is_limit:
                # A bracket enters by a limit, which the engine must play.
                status[c] = 1
                continue
            for k in range(m):
                waiting[0, c, k], waiting[1, c, k] = who[k], at[k]
            n_waiting[c] = m
            if n_redo > 0:
                # Taken out again trade by trade, up to the one the engine must fill, and played by it from the start.
                for k in range(n_redo):
                    who[k], at[k] = redo[k], runs.entry[redo[k]]
                m = n_redo
                while m > 0:
                    for k in range(m):
                        d = at[k] - 1
                        found = bracket(Row({far}), p)
                        {store}
                    m, _ = play(market, runs, m, who, at, levels, spans, sums[c], daily[c], -1.0, redo, 0)
            for k in range(n_redo):
                r = redo[k]
                for d in range(runs.first[r] - 1, min(runs.end[r], n - 1) + 1):
                    found = bracket(Row({far}), p)
                    {store_engine}
                next_first = runs.first[r + 1] if r + 1 < n_runs else n
                if not play_by_engine(engine, market, runs.first[r], runs.end[r], next_first, sums[c], daily[c]):
                    status[c] = 1
    r = 0
    while r < n_runs:
        if runs.is_hard[r] == 0:
            r += 1
            continue
        # Runs that meet in a bar that may leave an order unfilled are played together.
        last = r
        while last + 1 < n_runs and runs.is_hard[last + 1] != 0 and runs.first[last + 1] == runs.end[last]:
            last += 1
        next_first = runs.first[last + 1] if last + 1 < n_runs else n
        for c in range(status.size):
            if status[c] == 0:
                p = Params({params})
                is_limit = False
                for d in range(runs.first[r] - 1, min(runs.end[last], n - 1) + 1):
                    found = bracket(Row({far}), p)
                    {store_engine}
                if not play_by_engine(engine, market, runs.first[r], runs.end[last], next_first, sums[c], daily[c]):
                    status[c] = 1
        r = last + 1
"""


def compiled_parts(strategy: Strategy) -> tuple[Any, Any]:  # Any: numba dispatchers have no static type
    """Return the compiled (sides, sweep) of a strategy."""
    return _compiled(strategy.decide, strategy.bracket, strategy.row, strategy.params)


@cache
def _compiled(decide: Any, bracket: Any, row: Any, params: Any) -> tuple[Any, Any]:
    names: tuple[str, ...] = row._fields
    read = fields_read(bracket, 0)
    used = [name for name in names if read is None or name in read]
    hints = get_type_hints(params)
    arguments = "".join(f"f_{name}, " for name in names)

    def row_of(prefix: str, index: str) -> str:
        return ", ".join(f"{prefix}_{name}[{index}]" if name in used else "math.nan" for name in names)

    levels = ("stop", "target", "trail", "break_even", "limit", "max_bars")
    text = _PLAY.format(
        arguments=arguments,
        scratch="; ".join(f"g_{name} = np.empty(tile)" for name in used) or "pass",
        gather="; ".join(f"g_{name}[k] = f_{name}[d]" for name in used) or "pass",
        params=", ".join(
            f"int(params[c, {i}])" if hints[name] is int else f"params[c, {i}]" for i, name in enumerate(hints)
        ),
        near=row_of("g", "k"),
        far=row_of("f", "d"),
        store="; ".join(f"levels[{i}, k] = found.{name}" for i, name in enumerate(levels)),
        store_engine="; ".join(f"engine.market.bracket[{i}, d] = found.{name}" for i, name in enumerate(levels)),
    )
    scope = {
        "np": np,
        "math": math,
        "Bar": Bar,
        "Row": row,
        "Params": params,
        "decide": decide,
        "bracket": bracket,
        "tile": TILE_RUNS,
        "few": FEW,
        "level_rows": LEVEL_ROWS,
        "is_touched": is_touched,
        "picked": picked,
        "book_base": book_base,
        "play": play,
        "play_by_engine": play_by_engine,
    }
    sides = _DECIDE.format(
        arguments=arguments,
        views="; ".join(f"v_{name} = f_{name}[a:b]" for name in names) or "pass",
        defined=" & ".join(f"(v_{name}[t] == v_{name}[t])" for name in names) or "True",
        row=", ".join(f"v_{name}[t]" for name in names),
    )
    return (
        kernel_from_source(sides, name="sides", like=decide, scope=scope),
        kernel_from_source(text, name="sweep", like=decide, scope=scope),
    )


def combinations_of(strategy: Strategy, grid: dict[str, Sequence[float]]) -> Iterator[tuple[Any, ...]]:
    """Yield the valid combinations of a grid, the last parameter fastest; parameters not named take their defaults."""
    names = list(grid)
    for index in np.ndindex(*(len(grid[name]) for name in names)):
        given = {name: grid[name][i] for name, i in zip(names, index, strict=True)}
        try:
            yield strategy.check_params(given)
        except StrategyError:
            continue
