"""The fill engine a second time: slow, obvious, plain Python, written from docs/fills.md alone.

Its only purpose is to disagree with `grodtd.execution.fills` when one of the two is wrong, so it shares nothing with
it but the vocabulary of `grodtd.domain`. One function a rule, in the order of that page; nothing here is clever.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np

from grodtd.domain.bars import Bars, FloatArray, SideArray
from grodtd.domain.errors import ExecutionError
from grodtd.domain.market import Account, Step
from grodtd.domain.run import COUNTERS, ExitReason, RunResult, Trades

NOISE = Fraction(1, 10**9)
CASH_NOISE = 1e-12
BRACKET_EXITS = (ExitReason.STOP_LOSS, ExitReason.TAKE_PROFIT, ExitReason.TRAIL)

COLUMN_TYPES = {
    **dict.fromkeys(("decision_bar", "entry_bar", "exit_bar"), "int64"),
    **dict.fromkeys(("side", "exit_reason"), "int8"),
    **dict.fromkeys(("qty", "entry_ref", "exit_ref", "entry_price", "exit_price"), "float64"),
    **dict.fromkeys(("entry_fee", "exit_fee", "stop", "target"), "float64"),
    **dict.fromkeys(("ambiguous", "capped"), "bool"),
}


@dataclass
class Position:
    """An open position; `stop` and `target` are prices, `trail` is a distance; nan where absent."""

    side: int
    qty: float
    decision_bar: int
    entry_bar: int
    entry_ref: float
    entry_price: float
    entry_fee: float
    stop: float
    target: float
    trail: float
    capped: bool
    extreme: float


@dataclass
class Simulation:
    """One run in progress: what is given, then what changes from bar to bar."""

    bars: Bars
    side: list[int]
    bracket: list[list[float]]
    account: Account

    cash: float = 0.0
    position: Position | None = None
    waiting: tuple[int, int] | None = None  # (side, decision bar) of an entry that only lacks volume
    bracket_exit: tuple[int, int] | None = None  # (side, bar) of the latest one, until an entry lifts it
    shut_out_since: int | None = None  # first bar of the present run of entries refused for want of money
    ruined_at: int | None = None
    held: bool = False
    equity: list[float] = field(default_factory=list)
    qty: list[float] = field(default_factory=list)
    held_at: list[bool] = field(default_factory=list)
    rows: list[dict[str, float]] = field(default_factory=list)
    counters: dict[str, int] = field(default_factory=lambda: dict.fromkeys(COUNTERS, 0))

    def __post_init__(self) -> None:
        costs = self.account.costs
        self.cash = self.account.initial_capital
        self.slip = (costs.half_spread_bps + costs.slippage_bps) / 10_000
        self.taker = costs.taker_bps / 10_000
        self.maker = costs.maker_bps / 10_000
        self.tick = Step.of(self.account.instrument.tick)
        self.lot = Step.of(self.account.instrument.lot)

    def run_bar(self, t: int) -> None:
        """Take one bar through the events of docs/fills.md, in their order."""
        if self.ruined_at is not None:
            self.held = False
        elif self.bars.volume[t] == 0:
            self.wait_for_volume(t)
            self.held = self.position is not None
        else:
            self.levels_against_the_open(t)
            self.decision_at_the_open(t)
            self.held = self.position is not None
            self.rest_of_the_bar(t)
            self.update_extreme(t)
        self.end_of_data(t)
        self.mark(t)

    # Decisions

    def decision(self, t: int) -> tuple[int, int]:
        """Wanted side at the open of bar t, and the bar whose close decided it."""
        decided_at = t - 1 - self.account.rules.latency_bars
        wanted = self.side[decided_at] if decided_at >= 0 else 0
        if self.waiting is not None and self.waiting[0] == wanted:
            return self.waiting
        return wanted, decided_at

    def wait_for_volume(self, t: int) -> None:
        """Zero volume: nothing fills; an entry that would have filled waits with its decision bar."""
        wanted, decided_at = self.decision(t)
        could_enter = self.position is None and wanted != 0 and self.may_enter(wanted, decided_at)
        self.waiting = (wanted, decided_at) if could_enter else None

    # Events inside a traded bar

    def levels_against_the_open(self, t: int) -> None:
        """Step 1: a position carried in meets its levels at the open."""
        position = self.position
        if position is None:
            return
        at_open = float(self.bars.open[t])
        stop, reason = self.stop_in_force(position)
        if self.is_stopped(position.side, at_open, stop):
            self.exit_at_market(t, at_open, reason)
        elif self.is_through(position.side, at_open, position.target):
            self.exit_at_limit(t, position.target)

    def decision_at_the_open(self, t: int) -> None:
        """Step 2: compare the wanted side with the position."""
        wanted, decided_at = self.decision(t)
        has_waited, self.waiting = self.waiting == (wanted, decided_at), None
        at_open = float(self.bars.open[t])
        if self.position is not None:
            if self.position.side == wanted:
                return
            self.exit_at_market(t, at_open, ExitReason.SIGNAL if wanted == 0 else ExitReason.REVERSE)
        if wanted != 0 and self.may_enter(wanted, decided_at):
            self.counters["waited_for_volume"] += has_waited
            self.try_to_enter(t, wanted, decided_at)

    def rest_of_the_bar(self, t: int) -> None:
        """Step 3: stop and target against the low and high; both means the stop."""
        position = self.position
        if position is None:
            return
        at_open, high, low = float(self.bars.open[t]), float(self.bars.high[t]), float(self.bars.low[t])
        worst, best = (low, high) if position.side > 0 else (high, low)
        stop, reason = self.stop_in_force(position)
        is_target_hit = self.is_through(position.side, best, position.target)
        if self.is_stopped(position.side, worst, stop):
            is_beyond = self.is_stopped(position.side, at_open, stop)
            self.exit_at_market(t, at_open if is_beyond else stop, reason, is_ambiguous=is_target_hit)
        elif is_target_hit:
            self.exit_at_limit(t, position.target)

    def update_extreme(self, t: int) -> None:
        """A position still held at the end of a traded bar has seen that bar's best price."""
        if self.position is not None:
            if self.position.side > 0:
                self.position.extreme = max(self.position.extreme, float(self.bars.high[t]))
            else:
                self.position.extreme = min(self.position.extreme, float(self.bars.low[t]))

    def end_of_data(self, t: int) -> None:
        """Step 4: the last bar closes what is open, whatever the volume."""
        if t == len(self.bars) - 1 and self.position is not None:
            self.exit_at_market(t, float(self.bars.close[t]), ExitReason.END_OF_DATA)

    def mark(self, t: int) -> None:
        """Step 5: equity at the close; at zero or below everything ends."""
        close = float(self.bars.close[t])
        if self.ruined_at is None and self.equity_at(close) <= 0:
            if self.position is not None:
                self.exit_at_market(t, close, ExitReason.LIQUIDATION)
            self.ruined_at = t
        self.equity.append(0.0 if self.ruined_at is not None else self.equity_at(close))
        self.qty.append(0.0 if self.position is None else self.position.side * self.position.qty)
        self.held_at.append(self.held)

    # Re-entry

    def may_enter(self, wanted: int, decided_at: int) -> bool:
        """After a bracket exit the same side needs a decision made since; `edge` also needs another side since."""
        if self.bracket_exit is None or self.bracket_exit[0] != wanted:
            return True
        exit_bar = self.bracket_exit[1]
        if self.account.rules.reentry == "immediate":
            return decided_at >= exit_bar
        return any(self.side[e] != wanted for e in range(exit_bar, decided_at + 1))

    # Prices

    def market_fill(self, t: int, reference: float, direction: int) -> float:
        """Fill price of a market order or stop; direction +1 buys, -1 sells."""
        if not self.bars.low[t] <= reference <= self.bars.high[t]:
            raise ExecutionError(f"F10: reference price {reference} lies outside bar {t}")
        return rounded(reference * (1 + direction * self.slip), self.tick, up=direction > 0)

    def level(self, side: int, price: float) -> float:
        """A level on the tick: what a long sells at rounds down, what a short buys at rounds up."""
        return rounded(price, self.tick, up=side < 0)

    def stop_in_force(self, position: Position) -> tuple[float, ExitReason]:
        """Return the better of stop and trail level (nan if neither) and the reason of an exit there."""
        side, stop = position.side, position.stop
        trail = self.level(side, position.extreme - side * position.trail)
        if math.isnan(trail):
            return stop, ExitReason.STOP_LOSS
        if math.isnan(stop) or side * trail > side * stop:
            return trail, ExitReason.TRAIL
        return stop, ExitReason.STOP_LOSS

    def is_stopped(self, side: int, price: float, stop: float) -> bool:
        """Whether a price is at the stop or beyond; False without a stop."""
        return price <= stop if side > 0 else price >= stop

    def is_through(self, side: int, price: float, target: float) -> bool:
        """Whether a price is through the target: strictly, or by a whole tick where there are ticks."""
        if math.isnan(target):
            return False
        if self.tick.numerator == 0:
            return price > target if side > 0 else price < target
        beyond = steps_in(price, self.tick, up=side < 0) - steps_in(target, self.tick, up=side < 0)
        return side * beyond >= 1

    # Size

    def wanted_qty(self, decided_at: int) -> tuple[float, bool] | None:
        """Size before any rounding and whether the gross cap bound it; none without the stop that risk needs."""
        sizing = self.account.sizing
        capital = self.equity[decided_at] if sizing.compound else self.account.initial_capital
        close = float(self.bars.close[decided_at])
        if sizing.mode == "fraction":
            return sizing.fraction * capital / close, False
        if sizing.mode == "fixed_qty":
            return sizing.qty, False
        stop = present(self.bracket[0][decided_at])
        if math.isnan(stop) or stop < self.tick.size:
            return None
        by_risk, by_cap = sizing.risk * capital / stop, sizing.max_gross * capital / close
        return min(by_risk, by_cap), by_cap < by_risk

    def try_to_enter(self, t: int, side: int, decided_at: int) -> None:
        """Order of checks: no_stop, size, lot, cash, zero, min_notional."""
        at_open = float(self.bars.open[t])
        fill = self.market_fill(t, at_open, side)
        all_in_cost = fill * (1 + self.taker)
        if self.account.sizing.mode == "all_in_whole":
            before_rounding, capped = self.cash / (fill + self.taker * fill), False
            qty = float(math.floor(before_rounding))
        else:
            size = self.wanted_qty(decided_at)
            if size is None:
                self.reject("rejected_no_stop", t)
                return
            before_rounding, capped = size
            qty = rounded(before_rounding, self.lot, up=False)
            if qty * all_in_cost > self.cash + CASH_NOISE * abs(self.cash):
                before_rounding = self.cash / all_in_cost
                qty = rounded(before_rounding, self.lot, up=False)
                self.counters["reduced_to_cash"] += 1
        if qty <= 0:
            self.reject("rejected_min_notional" if before_rounding > 0 else "rejected_no_cash", t)
        elif qty * fill < self.account.instrument.min_notional:
            self.reject("rejected_min_notional", t)
        else:
            self.enter(t, side, decided_at, qty, at_open, fill, capped)

    def reject(self, counter: str, t: int) -> None:
        """Count a refused entry and remember since when entries fail for want of money."""
        self.counters[counter] += 1
        if counter == "rejected_no_stop":
            self.shut_out_since = None
        elif self.shut_out_since is None:
            self.shut_out_since = t

    # Money

    def enter(
        self, t: int, side: int, decided_at: int, qty: float, reference: float, fill: float, capped: bool
    ) -> None:
        """Open a position; its levels hang on the fill price, its distances are those of the decision close."""
        stop, target, trail = (present(row[decided_at]) for row in self.bracket)
        fee = self.taker * qty * fill
        self.cash -= side * qty * fill + fee
        self.position = Position(
            side=side,
            qty=qty,
            decision_bar=decided_at,
            entry_bar=t,
            entry_ref=reference,
            entry_price=fill,
            entry_fee=fee,
            stop=self.level(side, fill - side * stop),
            target=self.level(side, fill + side * target),
            trail=trail,
            capped=capped,
            extreme=fill,
        )
        self.bracket_exit = None
        self.shut_out_since = None
        self.counters["entries"] += 1

    def exit_at_market(self, t: int, reference: float, reason: ExitReason, *, is_ambiguous: bool = False) -> None:
        """Close the position by market order or stop: slippage and taker fee."""
        assert self.position is not None
        fill = self.market_fill(t, reference, -self.position.side)
        self.close(t, reference, fill, self.taker, reason, is_ambiguous)

    def exit_at_limit(self, t: int, target: float) -> None:
        """Close the position at its resting limit: that very price, maker fee."""
        self.close(t, target, target, self.maker, ExitReason.TAKE_PROFIT, False)

    def close(
        self, t: int, reference: float, fill: float, fee_rate: float, reason: ExitReason, is_ambiguous: bool
    ) -> None:
        """Book the exit and write the trade down."""
        position = self.position
        assert position is not None
        fee = fee_rate * position.qty * fill
        self.cash += position.side * position.qty * fill - fee
        row = {name: value for name, value in vars(position).items() if name in COLUMN_TYPES}
        row.update(exit_bar=t, exit_ref=reference, exit_price=fill, exit_fee=fee)
        row.update(exit_reason=int(reason), ambiguous=is_ambiguous)
        self.rows.append(row)
        self.counters["ambiguous_exits"] += is_ambiguous
        if reason in BRACKET_EXITS:
            self.bracket_exit = (position.side, t)
        self.position = None

    def equity_at(self, price: float) -> float:
        """Cash plus the position at a price."""
        return self.cash + (self.position.side * self.position.qty * price if self.position is not None else 0.0)

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


def present(distance: float) -> float:
    """A bracket distance; nan where absent (nan, zero or below)."""
    return distance if distance > 0 else math.nan


def allowed(side: int, direction: str) -> int:
    """The wanted side after `direction`: the forbidden one becomes flat."""
    return {"long_only": max(side, 0), "short_only": min(side, 0)}.get(direction, side)


def simulate(bars: Bars, side: SideArray, bracket: FloatArray, account: Account) -> RunResult:
    """Return what `grodtd.execution.fills.fill_orders` must return, to 1e-9.

    Parameters
    ----------
    bars : Bars
    side : int8 array, shape (n_bars,)
        Wanted side after each close.
    bracket : float64 array, shape (3, n_bars)
        Stop, target and trail distances in price; nan or <= 0 where absent.
    account : Account

    Raises
    ------
    ExecutionError
        If a reference price lies outside its bar (F10).
    """
    sides = [allowed(int(s), account.rules.direction) for s in side]
    simulation = Simulation(bars, sides, bracket.tolist(), account)
    for t in range(len(bars)):
        simulation.run_bar(t)
    columns = {name: np.array([r[name] for r in simulation.rows], dtype=kind) for name, kind in COLUMN_TYPES.items()}
    return RunResult(
        bars=bars,
        account=account,
        equity=np.array(simulation.equity),
        qty=np.array(simulation.qty),
        held=np.array(simulation.held_at, dtype=bool),
        trades=Trades(**columns),
        counters=simulation.counters,
        stopped=simulation.stopped(),
    )
