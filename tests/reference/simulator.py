"""A slow, plain-Python account of docs/fills.md, written from that page: one small function a rule, no numba.

The compiled engine is compared with this on thousands of random paths. Where both could share a mistake, the
hand-computed cases in tests/oracle/test_fills.py decide.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from grodtd.domain.bars import Bars, FloatArray, SideArray
from grodtd.domain.market import Account
from grodtd.domain.run import COUNTERS, ExitReason, RunResult, Trades

BPS = 1e-4
BRACKET_EXITS = (ExitReason.STOP_LOSS, ExitReason.TAKE_PROFIT, ExitReason.TRAIL)


@dataclass
class Position:
    side: int
    qty: float
    entry_ref: float
    entry_price: float
    entry_fee: float
    stop: float | None
    target: float | None
    trail: float | None
    extreme: float
    decision_bar: int
    entry_bar: int
    is_capped: bool


@dataclass
class Exit:
    bar: int
    reference: float
    price: float
    fee: float
    reason: ExitReason
    is_ambiguous: bool


def to_steps(value: float, step: str | None, *, up: bool) -> float:
    """Round to a multiple of `step`; within 1e-9 (relative to the number of steps, at least 1) counts as whole."""
    if step is None or Fraction(step) == 0:
        return value
    size = Fraction(step)
    steps = Fraction(value) / size
    nearest = math.floor(steps + Fraction(1, 2))
    if abs(steps - nearest) <= Fraction(1, 10**9) * max(1, abs(steps)):
        whole = nearest
    else:
        whole = math.ceil(steps) if up else math.floor(steps)
    return float(whole * size)


class Simulator:
    """One account trading one list of bars."""

    def __init__(self, bars: Bars, side: SideArray, bracket: FloatArray, account: Account) -> None:
        self.bars = bars
        self.account = account
        self.sides = [self.tradable(int(s)) for s in side]
        self.bracket = bracket
        costs = account.costs
        self.worse = (costs.half_spread_bps + costs.slippage_bps) * BPS
        self.taker, self.maker = costs.taker_bps * BPS, costs.maker_bps * BPS
        self.tick, self.lot = account.instrument.tick, account.instrument.lot
        self.cash = account.initial_capital
        self.position: Position | None = None
        self.closed: list[tuple[Position, Exit]] = []
        self.equity: list[float] = []
        self.qty: list[float] = []
        self.held: list[bool] = []
        self.counters = dict.fromkeys(COUNTERS, 0)
        self.last_bracket_exit: tuple[int, int] | None = None  # side, bar
        self.waiting: tuple[int, int] | None = None  # side, decision bar
        self.attempts: list[tuple[int, str]] = []  # bar, outcome
        self.ruined_at: int | None = None

    def tradable(self, side: int) -> int:
        allowed = {"long_short": (-1, 1), "long_only": (1,), "short_only": (-1,)}[self.account.rules.direction]
        return side if side in allowed else 0

    # Prices

    def market_price(self, reference: float, is_buy: bool) -> float:
        price = reference * (1 + self.worse) if is_buy else reference * (1 - self.worse)
        return to_steps(price, self.tick, up=is_buy)

    def exit_level(self, price: float, side: int) -> float:
        """A long is left by selling: round down. A short by buying: round up."""
        return to_steps(price, self.tick, up=side < 0)

    def trail_level(self, p: Position) -> float | None:
        return None if p.trail is None else self.exit_level(p.extreme - p.side * p.trail, p.side)

    def stop_in_force(self, p: Position) -> tuple[float, ExitReason] | None:
        trail = self.trail_level(p)
        if trail is None:
            return None if p.stop is None else (p.stop, ExitReason.STOP_LOSS)
        if p.stop is None:
            return trail, ExitReason.TRAIL
        is_better = trail > p.stop if p.side > 0 else trail < p.stop
        return (trail, ExitReason.TRAIL) if is_better else (p.stop, ExitReason.STOP_LOSS)

    def is_through(self, p: Position, price: float) -> bool:
        if p.target is None:
            return False
        beyond = price - p.target if p.side > 0 else p.target - price
        if self.tick is None or Fraction(self.tick) == 0:
            return beyond > 0
        return beyond >= float(Fraction(self.tick)) * (1 - 1e-9)

    # Orders

    def leave(self, t: int, reference: float, reason: ExitReason, *, is_ambiguous: bool = False) -> None:
        p = self.position
        assert p is not None
        if reason is ExitReason.TAKE_PROFIT:
            price, rate = reference, self.maker
        else:
            assert self.bars.low[t] <= reference <= self.bars.high[t]  # F10
            price, rate = self.market_price(reference, is_buy=p.side < 0), self.taker
        fee = rate * p.qty * price
        self.cash += p.side * p.qty * price - fee
        self.closed.append((p, Exit(t, reference, price, fee, reason, is_ambiguous)))
        if reason in BRACKET_EXITS:
            self.last_bracket_exit = (p.side, t)
        self.position = None

    def may_enter(self, side: int, decision: int, reached: int) -> bool:
        """`reached` is the latest decision that has reached the market."""
        if self.last_bracket_exit is None or self.last_bracket_exit[0] != side:
            return True
        since = self.last_bracket_exit[1]
        if decision < since:
            return False
        if self.account.rules.reentry == "immediate":
            return True
        return any(self.sides[e] != side for e in range(since, reached + 1))

    def enter(self, t: int, side: int, d: int) -> None:
        outcome, position = self.sized(t, side, d)
        self.attempts.append((t, outcome))
        if position is None:
            self.counters[outcome] += 1
            return
        self.counters["entries"] += 1
        self.cash -= side * position.qty * position.entry_price + position.entry_fee
        self.position = position
        self.last_bracket_exit = None

    def sized(self, t: int, side: int, d: int) -> tuple[str, Position | None]:
        sizing, instrument = self.account.sizing, self.account.instrument
        stop, target, trail = (v if v > 0 else None for v in (float(x) for x in self.bracket[:, d]))
        reference = float(self.bars.open[t])
        fill = self.market_price(reference, is_buy=side > 0)
        worth = self.equity[d] if sizing.compound else self.account.initial_capital
        close = float(self.bars.close[d])
        is_capped = False
        if sizing.mode == "risk":
            tick = 0.0 if self.tick is None else float(Fraction(self.tick))
            if stop is None or stop < tick:
                return "rejected_no_stop", None
            by_risk, by_cap = sizing.risk * worth / stop, sizing.max_gross * worth / close
            is_capped = by_cap < by_risk
            wanted = min(by_risk, by_cap)
        elif sizing.mode == "fraction":
            wanted = sizing.fraction * worth / close
        elif sizing.mode == "fixed_qty":
            wanted = sizing.qty
        else:
            wanted = max(self.cash, 0.0) / (fill + self.taker * fill)
        if sizing.mode == "all_in_whole":
            qty = float(math.floor(wanted))
        else:
            qty = to_steps(wanted, self.lot, up=False)
            if qty * fill * (1 + self.taker) > self.cash * (1 + 1e-12):
                self.counters["reduced_to_cash"] += 1
                wanted = max(self.cash, 0.0) / (fill * (1 + self.taker))
                qty = to_steps(wanted, self.lot, up=False)
        if qty <= 0 and wanted <= 0:
            return "rejected_no_cash", None
        if qty <= 0 or qty * fill < instrument.min_notional:
            return "rejected_min_notional", None
        return "entries", Position(
            side=side,
            qty=qty,
            entry_ref=reference,
            entry_price=fill,
            entry_fee=self.taker * qty * fill,
            stop=None if stop is None else self.exit_level(fill - side * stop, side),
            target=None if target is None else self.exit_level(fill + side * target, side),
            trail=trail,
            extreme=fill,
            decision_bar=d,
            entry_bar=t,
            is_capped=is_capped,
        )

    # One bar

    def traded_bar(self, t: int, wanted: int, d: int) -> None:
        o, h, l = (float(x[t]) for x in (self.bars.open, self.bars.high, self.bars.low))  # noqa: E741
        self.levels_against_the_open(t, o)
        p = self.position
        if p is not None and wanted != p.side:
            self.leave(t, o, ExitReason.SIGNAL if wanted == 0 else ExitReason.REVERSE)
        if self.position is None and wanted != 0:
            reached, has_waited = d, False
            if self.waiting is not None and self.waiting[0] == wanted:
                d, has_waited = self.waiting[1], True
            if self.may_enter(wanted, d, reached):
                self.counters["waited_for_volume"] += has_waited
                self.enter(t, wanted, d)
        self.waiting = None
        self.held.append(self.position is not None)
        self.rest_of_the_bar(t, o, h, l)

    def levels_against_the_open(self, t: int, o: float) -> None:
        p = self.position
        if p is None:
            return
        stop = self.stop_in_force(p)
        if stop is not None and (o <= stop[0] if p.side > 0 else o >= stop[0]):
            self.leave(t, o, stop[1])
        elif self.is_through(p, o):
            assert p.target is not None
            self.leave(t, p.target, ExitReason.TAKE_PROFIT)

    def rest_of_the_bar(self, t: int, o: float, h: float, l: float) -> None:  # noqa: E741
        p = self.position
        if p is None:
            return
        stop = self.stop_in_force(p)
        is_target = self.is_through(p, h if p.side > 0 else l)
        if stop is not None and (l <= stop[0] if p.side > 0 else h >= stop[0]):
            is_beyond = o <= stop[0] if p.side > 0 else o >= stop[0]
            self.counters["ambiguous_exits"] += is_target
            self.leave(t, o if is_beyond else stop[0], stop[1], is_ambiguous=is_target)
        elif is_target:
            assert p.target is not None
            self.leave(t, p.target, ExitReason.TAKE_PROFIT)
        else:
            p.extreme = max(p.extreme, h) if p.side > 0 else min(p.extreme, l)

    def silent_bar(self, wanted: int, d: int) -> None:
        self.held.append(self.position is not None)
        if self.position is not None or wanted == 0:
            self.waiting = None
        elif self.waiting is None or self.waiting[0] != wanted:
            self.waiting = (wanted, d) if self.may_enter(wanted, d, d) else None

    def mark(self, t: int) -> None:
        c = float(self.bars.close[t])
        p = self.position
        worth = self.cash + (p.side * p.qty * c if p is not None else 0.0)
        if worth <= 0:
            if p is not None:
                self.leave(t, c, ExitReason.LIQUIDATION)
            self.ruined_at, worth = t, 0.0
        self.equity.append(worth)
        self.qty.append(0.0 if self.position is None else self.position.side * self.position.qty)

    def run(self) -> RunResult:
        n = len(self.bars)
        for t in range(n):
            if self.ruined_at is not None:
                self.equity.append(0.0)
                self.qty.append(0.0)
                self.held.append(False)
                continue
            d = t - 1 - self.account.rules.latency_bars
            wanted = self.sides[d] if d >= 0 else 0
            if self.bars.volume[t] > 0:
                self.traded_bar(t, wanted, d)
            else:
                self.silent_bar(wanted, d)
            if t == n - 1 and self.position is not None:
                self.leave(t, float(self.bars.close[t]), ExitReason.END_OF_DATA)
            self.mark(t)
        return self.result()

    def stopped(self) -> tuple[int, str] | None:
        if self.ruined_at is not None:
            return self.ruined_at, "ruin"
        first = None
        for bar, outcome in reversed(self.attempts):
            if outcome not in ("rejected_min_notional", "rejected_no_cash"):
                break
            first = bar
        return None if first is None else (first, "min_notional")

    def result(self) -> RunResult:
        def column(values: list[float | int | bool], dtype: type) -> np.ndarray:  # type: ignore[type-arg]
            return np.array(values, dtype=dtype)

        def level(value: float | None) -> float:
            return math.nan if value is None else value

        pairs = self.closed
        trades = Trades(
            decision_bar=column([p.decision_bar for p, _ in pairs], np.int64),
            entry_bar=column([p.entry_bar for p, _ in pairs], np.int64),
            exit_bar=column([x.bar for _, x in pairs], np.int64),
            side=column([p.side for p, _ in pairs], np.int8),
            qty=column([p.qty for p, _ in pairs], np.float64),
            entry_ref=column([p.entry_ref for p, _ in pairs], np.float64),
            exit_ref=column([x.reference for _, x in pairs], np.float64),
            entry_price=column([p.entry_price for p, _ in pairs], np.float64),
            exit_price=column([x.price for _, x in pairs], np.float64),
            entry_fee=column([p.entry_fee for p, _ in pairs], np.float64),
            exit_fee=column([x.fee for _, x in pairs], np.float64),
            stop=column([level(p.stop) for p, _ in pairs], np.float64),
            target=column([level(p.target) for p, _ in pairs], np.float64),
            exit_reason=column([int(x.reason) for _, x in pairs], np.int8),
            ambiguous=column([x.is_ambiguous for _, x in pairs], np.bool_),
            capped=column([p.is_capped for p, _ in pairs], np.bool_),
        )
        return RunResult(
            bars=self.bars,
            account=self.account,
            equity=np.array(self.equity),
            qty=np.array(self.qty),
            held=np.array(self.held, dtype=np.bool_),
            trades=trades,
            counters=self.counters,
            stopped=self.stopped(),
        )


def simulate(bars: Bars, side: SideArray, bracket: FloatArray, account: Account) -> RunResult:
    """Return what docs/fills.md says happens."""
    return Simulator(bars, side, bracket, account).run()
