"""The fill engine a second time: slow, obvious, plain Python, written from docs/fills.md alone.

Its only purpose is to disagree with `grodtd.execution.fills` when one of the two is wrong, so it shares nothing with
it but the vocabulary of `grodtd.domain` and the costs of each bar. One method a rule, in the order of that page;
nothing here is clever.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np

from grodtd.domain.bars import DAY_S, US_PER_S, Bars, FloatArray, IntArray, SideArray
from grodtd.domain.errors import ExecutionError
from grodtd.domain.market import BPS, Account, Step
from grodtd.domain.run import COUNTERS, ExitReason, Fills, Ledger, RunResult, Trades
from grodtd.domain.strategy import Bracket
from grodtd.execution.costs import HALF_SPREAD, IMPACT, MAKER, SLIPPAGE, TAKER, cost_rows

NOISE = Fraction(1, 10**9)
PART = 1e-12
MINUTE_US = 60 * US_PER_S
HOUR_US = 3_600 * US_PER_S
DAY_US = DAY_S * US_PER_S
RESTRICTING = (
    ExitReason.STOP_LOSS,
    ExitReason.TAKE_PROFIT,
    ExitReason.TRAIL,
    ExitReason.TIME,
    ExitReason.EOD,
    ExitReason.RISK,
    ExitReason.LIQUIDATION,
)
NEVER_CUT = (ExitReason.END_OF_DATA, ExitReason.LIQUIDATION)

TRADE_TYPES = {
    **dict.fromkeys(("decision_bar", "entry_bar", "exit_bar"), "int64"),
    **dict.fromkeys(("side", "exit_reason"), "int8"),
    **dict.fromkeys(("qty", "entry_ref", "exit_ref", "entry_price", "exit_price"), "float64"),
    **dict.fromkeys(("entry_fee", "exit_fee", "funding", "borrow", "stop", "target"), "float64"),
    **dict.fromkeys(("ambiguous", "capped"), "bool"),
}
FILL_TYPES = {
    **dict.fromkeys(("bar", "trade"), "int64"),
    **dict.fromkeys(("side", "reason"), "int8"),
    **dict.fromkeys(("qty", "ref", "price", "fee", "spread", "impact"), "float64"),
}


@dataclass(frozen=True)
class Leg:
    """One symbol of a portfolio and what is decided about it."""

    bars: Bars
    side: SideArray
    bracket: FloatArray
    account: Account
    gate: SideArray | None = None
    funding: FloatArray | None = None
    fine: Bars | None = None


@dataclass
class Fill:
    """One fill; the columns of `Fills`."""

    bar: int
    trade: int
    side: int
    qty: float
    ref: float
    price: float
    fee: float
    spread: float
    impact: float
    reason: int


@dataclass
class Order:
    """An entry order; `limit` is its price (nan: a market order).

    `waited` and `counted` are about an order that only lacked volume, `qty` and `first_bar` about the remainder of one
    that has filled in part.
    """

    side: int
    decided_at: int
    limit: float = math.nan
    waited: bool = False
    counted: bool = False
    qty: float = 0.0
    first_bar: int = -1

    @property
    def is_limit(self) -> bool:
        return not math.isnan(self.limit)


@dataclass
class Position:
    """An open position; `stop` and `target` are prices, `trail` and `break_even` distances; nan where absent."""

    side: int
    qty: float
    decision_bar: int
    entry_bar: int
    anchor: float
    stop: float
    target: float
    trail: float
    break_even: float
    max_bars: float
    capped: bool
    extreme: float
    entered_inside: bool  # by a limit inside its first bar
    entries: list[Fill] = field(default_factory=list)
    exits: list[Fill] = field(default_factory=list)
    funding: float = 0.0
    borrow: float = 0.0
    hours_charged: int = 0
    closing: ExitReason | None = None
    closing_since: int = -1
    is_ambiguous: bool = False


class FineBar:
    """One finer bar with volume."""

    def __init__(self, bars: Bars, i: int) -> None:
        self.open, self.high, self.low = float(bars.open[i]), float(bars.high[i]), float(bars.low[i])


class SymbolState:
    """One symbol: what is given, then what changes from bar to bar."""

    def __init__(self, leg: Leg) -> None:
        self.bars = leg.bars
        self.account = leg.account
        self.side = [allowed(int(s), leg.account.rules.direction) for s in leg.side]
        self.bracket = Bracket(*np.asarray(leg.bracket, dtype=float).tolist())
        self.gate = [1] * len(leg.bars) if leg.gate is None else [int(g) for g in leg.gate]
        self.rate = [0.0] * len(leg.bars) if leg.funding is None else [float(f) for f in leg.funding]
        self.fine = leg.fine
        self.costs = cost_rows(leg.bars, leg.account.costs)
        self.tick = Step.of(leg.account.instrument.tick)
        self.lot = Step.of(leg.account.instrument.lot)

        self.t = -1
        self.mark = math.nan
        self.room = math.inf
        self.position: Position | None = None
        self.remainder: Order | None = None  # of the entry order of the position
        self.resting: Order | None = None  # a limit entry placed at the open of this bar
        self.waiting: Order | None = None  # a market entry that only lacks volume
        self.left: tuple[int, int] | None = None  # (side, bar) of the latest restricting exit, until an entry
        self.held = False
        self.step_of: list[int] = []
        self.qty: list[float] = []
        self.held_at: list[bool] = []
        self.funding_paid = [0.0] * len(leg.bars)
        self.borrow_paid = [0.0] * len(leg.bars)
        self.fills: list[Fill] = []
        self.trades: list[dict[str, float]] = []

    def has_bar_at(self, time: int) -> bool:
        return self.t + 1 < len(self.bars) and int(self.bars.time[self.t + 1]) == time

    def begin_bar(self, step: int) -> None:
        """Go on to the next bar; until its end it is valued at its open."""
        self.t += 1
        self.step_of.append(step)
        self.mark = self.open
        phi = self.account.rules.max_participation
        self.room = phi * self.volume if phi > 0 else math.inf
        self.held = False
        self.resting = None

    @property
    def open(self) -> float:
        return float(self.bars.open[self.t])

    @property
    def high(self) -> float:
        return float(self.bars.high[self.t])

    @property
    def low(self) -> float:
        return float(self.bars.low[self.t])

    @property
    def close(self) -> float:
        return float(self.bars.close[self.t])

    @property
    def volume(self) -> float:
        return float(self.bars.volume[self.t])

    @property
    def opens_at(self) -> int:
        return int(self.bars.time[self.t])

    @property
    def ends_at(self) -> int:
        return self.opens_at + self.bars.interval_s * US_PER_S

    @property
    def notional(self) -> float:
        return 0.0 if self.position is None else self.position.qty * self.mark

    @property
    def value(self) -> float:
        return 0.0 if self.position is None else self.position.side * self.position.qty * self.mark

    def cost(self, row: int) -> float:
        """A cost in force at the present bar."""
        return float(self.costs[row, self.t if self.costs.shape[1] > 1 else 0])

    def finer_bars(self) -> list[FineBar]:
        """The finer bars of the present bar that have volume."""
        if self.fine is None:
            return []
        times = self.fine.time.tolist()
        inside = [i for i, time in enumerate(times) if self.opens_at <= time < self.ends_at]
        return [FineBar(self.fine, i) for i in inside if self.fine.volume[i] > 0]


class Simulation:
    """One run in progress: the account and its symbols."""

    def __init__(self, legs: Sequence[Leg]) -> None:
        self.symbols = [SymbolState(leg) for leg in legs]
        self.account = legs[0].account
        self.rules, self.sizing, self.limits = self.account.rules, self.account.sizing, self.account.limits
        self.cash = self.account.initial_capital
        self.step = -1
        self.day = -1
        self.day_start_equity = self.cash
        self.halted_day = -1
        self.losses_in_a_row = 0
        self.cooldown_until = -1
        self.shut_out_since: int | None = None  # first step of the present row of entries refused for want of money
        self.ruined_at: int | None = None
        self.equity: list[float] = []
        self.counters = dict.fromkeys(COUNTERS, 0)

    # One or many symbols

    def run_step(self, time: int) -> None:
        """Take every symbol that has a bar at this time through the events, A to F."""
        self.step += 1
        self.begin_day(time)
        present = [s for s in self.symbols if s.has_bar_at(time)]
        for s in present:
            s.begin_bar(self.step)
        if self.ruined_at is None:
            traded = [s for s in present if s.volume > 0]
            for s in traded:
                self.levels_against_the_open(s)
            for s in traded:
                self.exits_at_the_open(s)
            for s in present:
                self.entries_at_the_open(s)
                s.held = s.position is not None
            for s in traded:
                self.rest_of_the_bar(s)
                self.update_extreme(s)
        for s in present:
            s.mark = s.close
        if self.ruined_at is None:
            for s in present:
                self.borrow_and_funding(s)
                self.end_of_data(s)
        self.mark_the_account(present)

    def equity_now(self) -> float:
        return self.cash + sum(s.value for s in self.symbols)

    def gross_now(self) -> float:
        return sum(s.notional for s in self.symbols)

    # Decisions

    def decision(self, s: SymbolState) -> tuple[int, int]:
        """Wanted side at the open of the present bar, and the close that decided it."""
        decided_at = s.t - 1 - self.rules.latency_bars
        return (s.side[decided_at] if decided_at >= 0 else 0), decided_at

    def limit_price(self, s: SymbolState, side: int, decided_at: int) -> float:
        """Where an entry rests, away from our favour on the tick; nan for a market order."""
        distance = present_or_nan(s.bracket.limit[decided_at])
        return rounded(float(s.bars.close[decided_at]) - side * distance, s.tick, up=side > 0)

    def entry_order(self, s: SymbolState) -> Order | None:
        """The entry that the present bar is to make, if flat: the one that waits, or that of the latest decision."""
        wanted, decided_at = self.decision(s)
        waiting, s.waiting = s.waiting, None
        if wanted == 0:
            return None
        if waiting is not None and waiting.side == wanted:
            return waiting
        return Order(wanted, decided_at, self.limit_price(s, wanted, decided_at))

    def wait(self, s: SymbolState, order: Order) -> None:
        """A market entry that only lacks volume stays for the next bar; a limit is gone."""
        if not order.is_limit:
            order.waited = True
            s.waiting = order

    # When entries are allowed

    def entries_are_allowed(self, s: SymbolState, order: Order) -> bool:
        """Whether nothing but the gate is in the way."""
        if self.halted_day == self.day or self.is_cooling_down() or not self.is_in_session(s):
            return False
        return self.reentry_is_allowed(s, order)

    def is_cooling_down(self) -> bool:
        return self.step <= self.cooldown_until

    def is_in_session(self, s: SymbolState) -> bool:
        start, end = self.rules.session_minutes
        at = s.opens_at % DAY_US
        start_us, end_us = start * MINUTE_US, end * MINUTE_US
        if start_us < end_us:
            return start_us <= at < end_us
        return at >= start_us or at < end_us

    def reentry_is_allowed(self, s: SymbolState, order: Order) -> bool:
        """The same side again needs a decision made since; `edge` also needs another side since."""
        if s.left is None or s.left[0] != order.side:
            return True
        exit_bar = s.left[1]
        if order.decided_at < exit_bar:
            return False
        if self.rules.reentry == "immediate":
            return True
        return any(s.side[e] != order.side for e in range(exit_bar, order.decided_at + 1))

    # A: levels against the open

    def levels_against_the_open(self, s: SymbolState) -> None:
        """A position carried in meets its levels at the open."""
        position = s.position
        if position is None or position.closing is not None:
            return
        stop, reason = self.level_in_force(s)
        if is_beyond(position.side, s.open, stop):
            self.exit_at_market(s, s.open, reason, until=s.opens_at)
        elif is_through(position.side, s.open, position.target, s.tick):
            self.exit_at_target(s, until=s.opens_at)

    # B: exits at the open

    def exits_at_the_open(self, s: SymbolState) -> None:
        """The first thing that wants the position closed gives the reason."""
        position = s.position
        if position is None or position.closing_since == s.t:
            return
        reason = self.reason_to_leave(s, position)
        if reason is not None:
            self.exit_at_market(s, s.open, reason, until=s.opens_at)

    def reason_to_leave(self, s: SymbolState, position: Position) -> ExitReason | None:
        wanted, decided_at = self.decision(s)
        if position.closing is not None:
            return position.closing
        if self.halted_day == self.day:
            return ExitReason.RISK
        if not self.is_in_session(s):
            return ExitReason.EOD
        if wanted == -position.side:
            return ExitReason.REVERSE
        if wanted == 0 or s.gate[decided_at] == -1:
            return ExitReason.SIGNAL
        if s.t - position.entry_bar >= position.max_bars:  # False where absent (nan)
            return ExitReason.TIME
        return None

    # C: entries at the open

    def entries_at_the_open(self, s: SymbolState) -> None:
        """Fill more of an entry order, or enter, or place a limit; in a bar without volume only wait."""
        if s.position is not None:
            s.waiting = None
            self.expire_if_due(s)
            self.fill_remainder_at_the_open(s)
            return
        order = self.entry_order(s)
        if order is None or not self.entries_are_allowed(s, order):
            return
        is_open = s.gate[order.decided_at] == 1
        if s.volume == 0:
            if is_open:
                self.wait(s, order)
            return
        if not is_open:
            self.counters["gated"] += 1
            return
        if order.waited and not order.counted:
            order.counted = True
            self.counters["waited_for_volume"] += 1
        if not order.is_limit or is_through(-order.side, s.open, order.limit, s.tick):
            self.try_to_enter(s, order, inside=False)
        else:
            s.resting = order

    def expire_if_due(self, s: SymbolState) -> None:
        """What is left of an entry order is gone when another side is wanted or its bars are up."""
        order = s.remainder
        if order is None:
            return
        wanted, _ = self.decision(s)
        if wanted != order.side or s.t - order.first_bar >= self.rules.order_bars:
            self.expire(s)

    def expire(self, s: SymbolState) -> None:
        if s.remainder is not None:
            self.counters["expired"] += 1
            s.remainder = None

    def fill_remainder_at_the_open(self, s: SymbolState) -> None:
        order = s.remainder
        if order is None or s.volume == 0:
            return
        if not order.is_limit or is_through(-order.side, s.open, order.limit, s.tick):
            self.fill_remainder(s, order)

    def fill_remainder(self, s: SymbolState, order: Order) -> None:
        """Cut off what cash does not cover, for good; then fill what the room allows."""
        price = self.entry_price(s, order, order.qty)
        each = price * (1 / self.account.leverage + s.cost(TAKER))
        money = self.money()
        if order.qty * each > money + PART * abs(money):
            order.qty = rounded(money / each, s.lot, up=False)
        if order.qty <= 0:
            s.remainder = None
            return
        qty = self.cut_to_room(s, order.qty)
        if qty > 0:
            self.book_entry(s, order, qty)
        self.keep_remainder(s, order, order.qty, qty)

    def keep_remainder(self, s: SymbolState, order: Order, wanted: float, filled: float) -> None:
        order.qty = snapped(wanted - filled, s.lot) if filled < wanted else 0.0
        s.remainder = order if order.qty > 0 else None

    # D: the rest of the bar

    def rest_of_the_bar(self, s: SymbolState) -> None:
        """A limit may fill; then stop and target against the low and high."""
        self.limit_inside_the_bar(s)
        position = s.position
        if position is None or position.closing is not None:
            return
        worst, best = (s.low, s.high) if position.side > 0 else (s.high, s.low)
        stop, reason = self.level_in_force(s)
        is_stop_hit = is_beyond(position.side, worst, stop)
        is_target_hit = is_through(position.side, best, position.target, s.tick)
        if is_stop_hit and reason == ExitReason.LIQUIDATION:
            self.exit_at_stop(s, stop, reason)
        elif position.entered_inside and position.entry_bar == s.t:
            self.levels_after_a_limit_inside(s, stop, reason, is_stop_hit, is_target_hit)
        elif is_stop_hit and is_target_hit:
            self.both_in_one_bar(s, stop, reason)
        elif is_stop_hit:
            self.exit_at_stop(s, stop, reason)
        elif is_target_hit:
            self.exit_at_target(s)

    def exit_at_stop(self, s: SymbolState, stop: float, reason: ExitReason, *, is_ambiguous: bool = False) -> None:
        """Leave at the level, or at the open if that is already beyond it."""
        assert s.position is not None
        reference = s.open if is_beyond(s.position.side, s.open, stop) else stop
        self.exit_at_market(s, reference, reason, is_ambiguous=is_ambiguous)

    def update_extreme(self, s: SymbolState) -> None:
        """A position still held at the end of a traded bar has seen that bar's best price."""
        position = s.position
        if position is None:
            return
        if position.entered_inside and position.entry_bar == s.t:
            best = s.close
        else:
            best = s.high if position.side > 0 else s.low
        position.extreme = max(position.extreme, best) if position.side > 0 else min(position.extreme, best)

    # E: borrow, funding, the end

    def borrow_and_funding(self, s: SymbolState) -> None:
        position = s.position
        if position is None:
            return
        self.charge_borrow(s, s.ends_at, s.close)
        paid = position.side * position.qty * s.close * s.rate[s.t]
        self.cash -= paid
        position.funding += paid
        s.funding_paid[s.t] += paid

    def charge_borrow(self, s: SymbolState, until: int, price: float) -> None:
        """Charge a short in a spot market for the hours started and not yet charged."""
        position = s.position
        assert position is not None
        if position.side > 0 or s.account.instrument.market != "spot":
            return
        since = int(s.bars.time[position.entry_bar])
        hours = max(math.ceil(Fraction(until - since, HOUR_US)), 1)
        new_hours = max(hours - position.hours_charged, 0)
        position.hours_charged += new_hours
        paid = new_hours * s.account.costs.borrow_bps_hour * BPS * position.qty * price
        self.cash -= paid
        position.borrow += paid
        s.borrow_paid[s.t] += paid

    def end_of_data(self, s: SymbolState) -> None:
        """The last bar closes what is open, whatever the volume."""
        if s.t == len(s.bars) - 1 and s.position is not None:
            self.exit_at_market(s, s.close, ExitReason.END_OF_DATA)

    # F: mark

    def mark_the_account(self, present: list[SymbolState]) -> None:
        """Equity at the closes; at zero or below everything ends."""
        was_ruined = self.ruined_at is not None
        if not was_ruined and self.equity_now() <= 0:
            self.ruin()
        equity = 0.0 if self.ruined_at is not None else self.equity_now()
        self.equity.append(equity)
        for s in present:
            s.qty.append(0.0 if s.position is None else s.position.side * s.position.qty)
            s.held_at.append(s.held)
        if not was_ruined:
            self.halt_after_a_daily_loss(equity)

    def ruin(self) -> None:
        """Every position closes at its mark, in the symbol's latest bar."""
        self.ruined_at = self.step
        for s in self.symbols:
            if s.position is not None:
                self.exit_at_market(s, s.mark, ExitReason.LIQUIDATION, is_ruin=True)
                if len(s.qty) > s.t:  # its latest bar lies in an earlier step
                    s.qty[s.t] = 0.0

    # Both in one bar

    def both_in_one_bar(self, s: SymbolState, stop: float, reason: ExitReason) -> None:
        """Stop and target are both hit: `same_bar` decides."""
        position = s.position
        assert position is not None
        mode = self.rules.same_bar
        if is_beyond(position.side, s.open, stop):  # an entry's slippage exceeds its stop distance
            self.exit_at_stop(s, stop, reason, is_ambiguous=True)
        elif mode == "target_first" or (mode == "ohlc_path" and self.path_meets_target_first(s, position)):
            self.exit_at_target(s, is_ambiguous=True)
        elif mode == "drilldown":
            self.drill_down(s, position, stop, reason)
        else:
            self.exit_at_stop(s, stop, reason, is_ambiguous=True)

    def path_meets_target_first(self, s: SymbolState, position: Position) -> bool:
        return self.path_goes_up_first(s) == (position.side > 0)

    def path_goes_up_first(self, s: SymbolState) -> bool:
        """O-H-L-C if the open is nearer to the high, else O-L-H-C."""
        return s.high - s.open < s.open - s.low

    def drill_down(self, s: SymbolState, position: Position, stop: float, reason: ExitReason) -> None:
        """The finer bars decide, in their order."""
        for i, bar in enumerate(s.finer_bars()):
            outcome = self.in_finer_bar(position, bar, stop, s.tick, with_open=i > 0)
            if outcome is not None:
                self.take(s, outcome, stop, reason)
                return
        self.exit_at_stop(s, stop, reason, is_ambiguous=True)

    def in_finer_bar(
        self, position: Position, bar: FineBar, stop: float, tick: Step, *, with_open: bool
    ) -> tuple[str, float, bool] | None:
        """What comes first in a finer bar: (stop or target, the price of it, whether that is a guess), if anything."""
        side = position.side
        worst, best = (bar.low, bar.high) if side > 0 else (bar.high, bar.low)
        if with_open and is_beyond(side, bar.open, stop):
            return "stop", bar.open, False
        if with_open and is_through(side, bar.open, position.target, tick):
            return "target", position.target, False
        is_target_hit = is_through(side, best, position.target, tick)
        if is_beyond(side, worst, stop):
            return "stop", stop, is_target_hit
        if is_target_hit:
            return "target", position.target, False
        return None

    def take(self, s: SymbolState, outcome: tuple[str, float, bool], stop: float, reason: ExitReason) -> None:
        kind, price, is_ambiguous = outcome
        if kind == "target":
            self.exit_at_target(s, is_ambiguous=is_ambiguous)
        elif price == stop:
            self.exit_at_stop(s, stop, reason, is_ambiguous=is_ambiguous)
        else:
            self.exit_at_market(s, price, reason, is_ambiguous=is_ambiguous)

    # Limit entries

    def limit_inside_the_bar(self, s: SymbolState) -> None:
        """A limit that rests and was not reached at the open: a new entry, or what is left of one."""
        order = s.resting or s.remainder
        if order is None or not order.is_limit or (s.position is not None and s.position.entry_bar == s.t):
            return
        if is_through(-order.side, s.open, order.limit, s.tick):  # had its turn at the open
            return
        if not is_through(-order.side, s.low if order.side > 0 else s.high, order.limit, s.tick):
            return
        if s.position is not None:
            self.fill_remainder(s, order)
        elif not self.is_cooling_down():
            self.try_to_enter(s, order, inside=True)
            s.held = s.position is not None

    def levels_after_a_limit_inside(
        self, s: SymbolState, stop: float, reason: ExitReason, is_stop_hit: bool, is_target_hit: bool
    ) -> None:
        """The bar of an entry inside it: what came after the entry is known only in part."""
        position = s.position
        assert position is not None
        mode = self.rules.same_bar
        target_counts = is_through(position.side, s.close, position.target, s.tick)
        is_guess = False
        if mode == "drilldown":
            after_entry = self.finer_bars_from_the_entry(s, position)
            if after_entry:
                self.drill_down_from_the_entry(s, after_entry, stop, reason, is_stop_hit, target_counts)
                return
        if is_target_hit and not target_counts:
            if mode == "target_first" or (mode == "ohlc_path" and self.path_goes_up_first(s) == (position.side < 0)):
                target_counts = is_guess = True
            else:
                position.is_ambiguous = True
        if is_stop_hit:
            self.exit_at_stop(s, stop, reason, is_ambiguous=target_counts)
        elif target_counts:
            self.exit_at_target(s, is_ambiguous=is_guess)

    def finer_bars_from_the_entry(self, s: SymbolState, position: Position) -> list[FineBar]:
        """The first finer bar through the limit and those after it."""
        finer = s.finer_bars()
        for i, bar in enumerate(finer):
            if is_through(-position.side, bar.low if position.side > 0 else bar.high, position.anchor, s.tick):
                return finer[i:]
        return []

    def drill_down_from_the_entry(
        self,
        s: SymbolState,
        finer: list[FineBar],
        stop: float,
        reason: ExitReason,
        is_stop_hit: bool,
        is_close_through_target: bool,
    ) -> None:
        """Stop from the finer bar of the entry on, target from the next one on."""
        position = s.position
        assert position is not None
        if is_beyond(position.side, finer[0].low if position.side > 0 else finer[0].high, stop):
            self.exit_at_stop(s, stop, reason)
            return
        for bar in finer[1:]:
            outcome = self.in_finer_bar(position, bar, stop, s.tick, with_open=True)
            if outcome is not None:
                self.take(s, outcome, stop, reason)
                return
        # What the bar itself shows, but no finer one: some are missing.
        if is_stop_hit:
            self.exit_at_stop(s, stop, reason, is_ambiguous=is_close_through_target)
        elif is_close_through_target:
            self.exit_at_target(s)

    # Volume cap

    def cut_to_room(self, s: SymbolState, qty: float) -> float:
        """What the volume cap leaves of a fill, and count if that is less."""
        if qty <= s.room:
            return qty
        left = min(rounded(max(s.room, 0.0), s.lot, up=False), qty)
        self.counters["partial_fills"] += left < qty
        return left

    # Prices

    def market_fill(self, s: SymbolState, reference: float, direction: int, qty: float) -> float:
        """Fill price of a market order or stop; direction +1 buys, -1 sells."""
        if not s.low <= reference <= s.high:
            raise ExecutionError(f"F10: reference price {reference} lies outside bar {s.t}")
        x = s.cost(HALF_SPREAD) + s.cost(SLIPPAGE) + s.cost(IMPACT) * math.sqrt(qty)
        return rounded(reference * (1 + direction * x), s.tick, up=direction > 0)

    def entry_price(self, s: SymbolState, order: Order, qty: float) -> float:
        """Price that an entry of this size gets in the present bar."""
        return order.limit if order.is_limit else self.market_fill(s, s.open, order.side, qty)

    def stop_level(self, s: SymbolState, position: Position) -> tuple[float, ExitReason]:
        """Return the best of stop, trail and break-even level (nan if none) and the reason of an exit there."""
        side, stop = position.side, position.stop
        moving = [rounded(position.extreme - side * position.trail, s.tick, up=side < 0)]
        if side * (position.extreme - position.anchor) >= position.break_even:  # False where absent (nan)
            moving.append(rounded(position.anchor, s.tick, up=side < 0))
        moving = [level for level in moving if not math.isnan(level)]
        if not moving:
            return stop, ExitReason.STOP_LOSS
        best = max(moving) if side > 0 else min(moving)
        if math.isnan(stop) or side * best > side * stop:
            return best, ExitReason.TRAIL
        return stop, ExitReason.STOP_LOSS

    def liquidation_price(self, s: SymbolState, position: Position) -> float:
        """Where the account's equity is no more than its maintenance margin; nan if nowhere."""
        m = s.account.instrument.maintenance_margin
        if m == 0:
            return math.nan
        others = [o for o in self.symbols if o is not s]
        capital = self.cash + sum(o.value for o in others)
        margin = sum(o.account.instrument.maintenance_margin * o.notional for o in others)
        if position.side > 0:
            price = (margin - capital) / (position.qty * (1 - m))
            return price if price > 0 else math.nan
        return max((capital - margin) / (position.qty * (1 + m)), 0.0)

    def level_in_force(self, s: SymbolState) -> tuple[float, ExitReason]:
        """The stop level, or the liquidation price where that is at least as near."""
        position = s.position
        assert position is not None
        stop, reason = self.stop_level(s, position)
        price = self.liquidation_price(s, position)
        if math.isnan(price):
            return stop, reason
        if math.isnan(stop) or position.side * price >= position.side * stop:
            return price, ExitReason.LIQUIDATION
        return stop, reason

    # Size

    def sized(self, s: SymbolState, decided_at: int) -> tuple[float, bool] | None:
        """Size before any rounding and whether the gross cap bound it; none without the stop that risk needs."""
        sizing = self.sizing
        capital = self.equity[s.step_of[decided_at]] if sizing.compound else self.account.initial_capital
        close = float(s.bars.close[decided_at])
        if sizing.mode == "fraction":
            return sizing.fraction * capital / close, False
        if sizing.mode == "fixed_qty":
            return sizing.qty, False
        stop = present_or_nan(s.bracket.stop[decided_at])
        if math.isnan(stop) or stop < s.tick.size:
            return None
        by_risk, by_cap = sizing.risk * capital / stop, sizing.max_gross * capital / close
        return min(by_risk, by_cap), by_cap < by_risk

    def money(self) -> float:
        """What may be put into a new position; a difference of equals that is only noise is nothing."""
        equity, bound = self.equity_now(), self.gross_now() / self.account.leverage
        money = equity - bound
        return 0.0 if abs(money) <= PART * max(abs(equity), bound) else money

    def exposure_left(self, value: float) -> float | None:
        """Notional that the exposure limits leave, if a new position of this value is more than that."""
        equity, gross = self.equity_now(), self.gross_now()
        per_symbol = self.limits.max_symbol_exposure * equity
        in_total = self.limits.max_total_exposure * equity
        left = []
        is_more = False
        if self.limits.max_symbol_exposure > 0:
            is_more |= value > per_symbol + PART * abs(per_symbol)
            left.append(per_symbol)
        if self.limits.max_total_exposure > 0:
            is_more |= gross + value > in_total + PART * abs(in_total)
            left.append(0.0 if abs(in_total - gross) <= PART * abs(in_total) else in_total - gross)
        return min(left) if is_more else None

    def try_to_enter(self, s: SymbolState, order: Order, *, inside: bool) -> None:
        """Order of checks: no_stop, size, lot, exposure, cash, zero, min_notional, volume cap."""
        is_all_in = self.sizing.mode == "all_in_whole"
        taker, leverage = s.cost(TAKER), self.account.leverage
        money = self.money()
        if is_all_in:
            capped, qty = False, 0.0
            for _ in range(2):  # without impact, then with the impact of that size
                price = self.entry_price(s, order, qty)
                before_rounding = max(money, 0.0) / (price / leverage + taker * price)
                qty = float(math.floor(before_rounding))
        else:
            size = self.sized(s, order.decided_at)
            if size is None:
                self.reject("rejected_no_stop")
                return
            before_rounding, capped = size
            qty = rounded(before_rounding, s.lot, up=False)
        fill = self.entry_price(s, order, max(qty, 0.0))

        left = self.exposure_left(qty * fill)
        if left is not None:
            before_rounding = left / fill
            qty = float(math.floor(before_rounding)) if is_all_in else rounded(before_rounding, s.lot, up=False)
            if qty <= 0:
                self.reject("rejected_exposure")
                return
            self.counters["reduced_to_exposure"] += 1

        each = fill * (1 / leverage + taker)
        if not is_all_in and qty * each > money + PART * abs(money):
            before_rounding = money / each
            qty = rounded(before_rounding, s.lot, up=False)
            self.counters["reduced_to_cash"] += 1
        if qty <= 0:
            self.reject("rejected_min_notional" if before_rounding > 0 else "rejected_no_cash")
        elif qty * fill < s.account.instrument.min_notional:
            self.reject("rejected_min_notional")
        else:
            self.enter(s, order, qty, capped, inside)

    def reject(self, counter: str) -> None:
        """Count a refused entry and remember since when entries fail for want of money."""
        self.counters[counter] += 1
        if counter == "rejected_no_stop":
            self.shut_out_since = None
        elif counter != "rejected_exposure" and self.shut_out_since is None:
            self.shut_out_since = self.step

    def enter(self, s: SymbolState, order: Order, wanted: float, capped: bool, inside: bool) -> None:
        """Open a position with what the room allows; its levels hang on the price of this first fill."""
        qty = self.cut_to_room(s, wanted)
        if qty <= 0:
            self.wait(s, order)
            return
        side, d = order.side, order.decided_at
        fill = self.entry_price(s, order, qty)
        bracket = Bracket(*(present_or_nan(row[d]) for row in s.bracket))
        s.position = Position(
            side=side,
            qty=0.0,
            decision_bar=d,
            entry_bar=s.t,
            anchor=fill,
            stop=rounded(fill - side * bracket.stop, s.tick, up=side < 0),
            target=rounded(fill + side * bracket.target, s.tick, up=side < 0),
            trail=bracket.trail,
            break_even=bracket.break_even,
            max_bars=bracket.max_bars,
            capped=capped,
            extreme=fill,
            entered_inside=inside,
        )
        self.book_entry(s, order, qty)
        order.first_bar = s.t
        self.keep_remainder(s, order, wanted, qty)
        s.left = None
        self.shut_out_since = None
        self.counters["entries"] += 1

    # Limits of the account

    def begin_day(self, time: int) -> None:
        """A new day starts with the equity after the last step before it."""
        if time // DAY_US != self.day:
            self.day = time // DAY_US
            self.day_start_equity = self.equity[-1] if self.equity else self.account.initial_capital

    def halt_after_a_daily_loss(self, equity: float) -> None:
        f = self.limits.daily_loss
        if f > 0 and self.halted_day != self.day and equity <= self.day_start_equity * (1 - f):
            self.halted_day = self.day
            self.counters["daily_loss_halts"] += 1

    def cool_down_after_losses(self, pnl: float) -> None:
        if self.limits.cooldown_losses == 0:
            return
        self.losses_in_a_row = self.losses_in_a_row + 1 if pnl < 0 else 0
        if self.losses_in_a_row == self.limits.cooldown_losses:
            self.losses_in_a_row = 0
            self.cooldown_until = self.step + self.limits.cooldown_bars
            self.counters["cooldowns"] += 1

    # Money

    def book(self, s: SymbolState, fill: Fill) -> None:
        """Move the money of a fill."""
        self.cash -= fill.side * fill.qty * fill.price + fill.fee
        s.room -= fill.qty
        s.fills.append(fill)

    def book_entry(self, s: SymbolState, order: Order, qty: float) -> None:
        position = s.position
        assert position is not None
        price = self.entry_price(s, order, qty)
        if order.is_limit:
            ref, fee, spread, impact = order.limit, s.cost(MAKER) * qty * price, 0.0, 0.0
        else:
            ref, fee = s.open, s.cost(TAKER) * qty * price
            spread, impact = self.spread_and_impact(s, qty, ref)
        fill = Fill(s.t, len(s.trades), order.side, qty, ref, price, fee, spread, impact, 0)
        self.book(s, fill)
        position.entries.append(fill)
        position.qty = snapped(position.qty + qty, s.lot)

    def spread_and_impact(self, s: SymbolState, qty: float, ref: float) -> tuple[float, float]:
        return qty * ref * s.cost(HALF_SPREAD), qty * ref * s.cost(IMPACT) * math.sqrt(qty)

    def exit_at_market(
        self,
        s: SymbolState,
        reference: float,
        reason: ExitReason,
        *,
        until: int | None = None,
        is_ambiguous: bool = False,
        is_ruin: bool = False,
    ) -> None:
        """Close the position by market order or stop; what the room cuts goes on in the bars to come."""
        position = s.position
        assert position is not None
        self.expire(s)
        self.note_ambiguous(position, is_ambiguous)
        position.closing = reason
        position.closing_since = s.t
        qty = position.qty if reason in NEVER_CUT else self.cut_to_room(s, position.qty)
        if qty <= 0:
            return
        self.charge_borrow(s, s.ends_at if until is None else until, reference)
        price = self.market_fill(s, reference, -position.side, qty)
        fee_rate = s.cost(TAKER)
        if reason == ExitReason.LIQUIDATION and not is_ruin:
            fee_rate += s.account.instrument.liquidation_fee_bps * BPS
        spread, impact = self.spread_and_impact(s, qty, reference)
        fee = fee_rate * qty * price
        self.book_exit(
            s,
            Fill(s.t, len(s.trades), -position.side, qty, reference, price, fee, spread, impact, int(reason)),
        )

    def exit_at_target(self, s: SymbolState, *, until: int | None = None, is_ambiguous: bool = False) -> None:
        """Close the position at its resting limit: that very price, maker fee; what the room cuts goes on resting."""
        position = s.position
        assert position is not None
        self.note_ambiguous(position, is_ambiguous)
        qty = self.cut_to_room(s, position.qty)
        if qty <= 0:
            return
        self.expire(s)
        price = position.target
        self.charge_borrow(s, s.ends_at if until is None else until, price)
        fee = s.cost(MAKER) * qty * price
        reason = int(ExitReason.TAKE_PROFIT)
        self.book_exit(s, Fill(s.t, len(s.trades), -position.side, qty, price, price, fee, 0.0, 0.0, reason))

    def note_ambiguous(self, position: Position, is_ambiguous: bool) -> None:
        position.is_ambiguous |= is_ambiguous
        self.counters["ambiguous_exits"] += is_ambiguous

    def book_exit(self, s: SymbolState, fill: Fill) -> None:
        """Book an exit fill; the last one ends the trade."""
        position = s.position
        assert position is not None
        self.book(s, fill)
        position.exits.append(fill)
        if fill.qty < position.qty:
            position.qty = snapped(position.qty - fill.qty, s.lot)
            return
        self.write_trade(s, position, fill)
        s.position = None

    def write_trade(self, s: SymbolState, position: Position, last: Fill) -> None:
        row = {name: value for name, value in vars(position).items() if name in TRADE_TYPES}
        qty = math.fsum(f.qty for f in position.entries)
        entry_fee, exit_fee = (math.fsum(f.fee for f in fills) for fills in (position.entries, position.exits))
        row.update(qty=qty, entry_fee=entry_fee, exit_fee=exit_fee, exit_bar=last.bar, exit_reason=last.reason)
        row.update(entry_ref=mean(position.entries, "ref"), entry_price=mean(position.entries, "price"))
        row.update(exit_ref=mean(position.exits, "ref"), exit_price=mean(position.exits, "price"))
        row.update(ambiguous=position.is_ambiguous)
        s.trades.append(row)
        gross = position.side * qty * (row["exit_price"] - row["entry_price"])
        self.cool_down_after_losses(gross - entry_fee - exit_fee - position.funding - position.borrow)
        if last.reason in RESTRICTING:
            s.left = (position.side, last.bar)

    # Stopped

    def stopped(self) -> tuple[int, str] | None:
        """Where and why trading ended before the data did."""
        if self.ruined_at is not None:
            return self.ruined_at, "ruin"
        return None if self.shut_out_since is None else (self.shut_out_since, "min_notional")


def steps_in(value: float, step: Step, *, up: bool) -> int:
    """Return the whole number of steps at or below (above) a value; within float noise of a whole one is that one."""
    steps = Fraction(value) * Fraction(step.denominator) / Fraction(step.numerator)
    nearest = round(steps)
    if abs(steps - nearest) <= NOISE * max(1, abs(steps)):
        return nearest
    return math.ceil(steps) if up else math.floor(steps)


def rounded(value: float, step: Step, *, up: bool) -> float:
    """Return a value rounded to steps; unchanged where there is no step or no value."""
    if step.numerator == 0 or math.isnan(value):
        return value
    return float(steps_in(value, step, up=up) * Fraction(step.numerator) / Fraction(step.denominator))


def snapped(value: float, step: Step) -> float:
    """Return a sum or difference of whole lots as whole lots; unchanged where it is not one."""
    down, up = rounded(value, step, up=False), rounded(value, step, up=True)
    return down if down == up else value


def present_or_nan(distance: float) -> float:
    """A number of a bracket; nan where absent (nan, zero or below)."""
    return distance if distance > 0 else math.nan


def allowed(side: int, direction: str) -> int:
    """The wanted side after `direction`: the forbidden one becomes flat."""
    return {"long_only": max(side, 0), "short_only": min(side, 0)}.get(direction, side)


def is_beyond(side: int, price: float, stop: float) -> bool:
    """Whether a price is at the stop of a position or beyond; False without a stop (nan)."""
    return price <= stop if side > 0 else price >= stop


def is_through(side: int, price: float, limit: float, tick: Step) -> bool:
    """Whether a price is above (side +1) or below (side -1) a resting limit, by a whole tick where there are ticks."""
    if math.isnan(limit):
        return False
    if tick.numerator == 0:
        return side * (price - limit) > 0
    return side * (price - limit) >= tick.size - 1e-9 * tick.size - PART * price


def mean(fills: list[Fill], name: str) -> float:
    """Quantity-weighted mean of a price, exact until its last rounding."""
    total = sum(Fraction(f.qty) for f in fills)
    return float(sum(Fraction(f.qty) * Fraction(getattr(f, name)) for f in fills) / total)


def _columns(rows: Sequence[dict[str, float]], types: dict[str, str]) -> dict[str, np.ndarray]:
    return {name: np.array([row[name] for row in rows], dtype=kind) for name, kind in types.items()}


def _ledger(s: SymbolState) -> Ledger:
    """Where the money came from and went to in each bar, from marks, quantities and fills."""
    n = len(s.bars)
    close = s.bars.close.tolist()
    gross, spread, slippage, impact, fees = ([0.0] * n for _ in range(5))
    for t in range(1, n):
        gross[t] = s.qty[t - 1] * (close[t] - close[t - 1])
    for f in s.fills:
        gross[f.bar] += f.side * f.qty * (close[f.bar] - f.ref)
        spread[f.bar] += f.spread
        impact[f.bar] += f.impact
        slippage[f.bar] += f.side * f.qty * (f.price - f.ref) - f.spread - f.impact
        fees[f.bar] += f.fee
    columns = (gross, spread, slippage, impact, fees, s.funding_paid, s.borrow_paid)
    return Ledger(*(np.array(c, dtype=float) for c in columns))


@dataclass(frozen=True)
class LegResult:
    """What one symbol of a portfolio leaves behind."""

    bars: Bars
    qty: FloatArray
    held: np.ndarray
    trades: Trades
    fills: Fills
    ledger: Ledger


@dataclass(frozen=True)
class PortfolioSimulation:
    """What a portfolio leaves behind; `counters` and `stopped` (step, reason) are those of the account."""

    time: IntArray
    equity: FloatArray
    legs: list[LegResult]
    counters: dict[str, int]
    stopped: tuple[int, str] | None


def simulate_portfolio(legs: Sequence[Leg]) -> PortfolioSimulation:
    """Return what the compiled engine must return for several symbols of one account, to 1e-9.

    Raises
    ------
    ExecutionError
        If a reference price lies outside its bar (F10).
    """
    simulation = Simulation(legs)
    times = sorted({int(time) for leg in legs for time in leg.bars.time})
    for time in times:
        simulation.run_step(time)
    results = [
        LegResult(
            bars=s.bars,
            qty=np.array(s.qty, dtype=float),
            held=np.array(s.held_at, dtype=bool),
            trades=Trades(**_columns(s.trades, TRADE_TYPES)),
            fills=Fills(**_columns([vars(f) for f in s.fills], FILL_TYPES)),
            ledger=_ledger(s),
        )
        for s in simulation.symbols
    ]
    equity = np.array(simulation.equity, dtype=float)
    return PortfolioSimulation(
        np.array(times, dtype=np.int64), equity, results, simulation.counters, simulation.stopped()
    )


def simulate(
    bars: Bars,
    side: SideArray,
    bracket: FloatArray,
    account: Account,
    *,
    gate: SideArray | None = None,
    funding: FloatArray | None = None,
    fine: Bars | None = None,
) -> RunResult:
    """Return what the compiled engine must return for one symbol, to 1e-9.

    Parameters
    ----------
    bars : Bars
    side : int8 array, shape (n_bars,)
        Wanted side after each close.
    bracket : float64 array, shape (6, n_bars)
        Rows of `Bracket`; nan or <= 0 where absent.
    account : Account
    gate : int8 array, shape (n_bars,), optional
        1, 0 or -1 as of each close.
    funding : float64 array, shape (n_bars,), optional
        Sum of the funding rates that belong to each bar.
    fine : Bars, optional
        Finer bars of the same symbol, for drilldown.

    Raises
    ------
    ExecutionError
        If a reference price lies outside its bar (F10).
    """
    whole = simulate_portfolio([Leg(bars, side, bracket, account, gate, funding, fine)])
    leg = whole.legs[0]
    return RunResult(
        bars=bars,
        account=account,
        equity=whole.equity,
        qty=leg.qty,
        held=leg.held,
        trades=leg.trades,
        fills=leg.fills,
        ledger=leg.ledger,
        counters=whole.counters,
        stopped=whole.stopped,
    )
