"""What a run leaves behind: trades, equity, metrics, manifest. These records cross every border."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from enum import IntEnum, StrEnum
from typing import Final

import numpy as np

from grodtd.domain.bars import DAY_S, Bars, FloatArray, IntArray, SideArray
from grodtd.domain.market import Account


class ExitReason(IntEnum):
    """Why a trade was closed (QUANT_SPEC 4)."""

    STOP_LOSS = 1
    TAKE_PROFIT = 2
    TRAIL = 3
    SIGNAL = 4
    REVERSE = 5
    TIME = 6
    EOD = 7
    RISK = 8
    LIQUIDATION = 9
    END_OF_DATA = 10


class Reason(StrEnum):
    """Why a metric has no value (C6)."""

    NO_TRADES = "no_trades"
    ZERO_VARIANCE = "zero_variance"
    NO_LOSSES = "no_losses"
    TOO_FEW_OBS = "too_few_obs"
    OUTSIDE_DOMAIN = "outside_domain"
    RUIN = "ruin"
    NO_DRAWDOWN = "no_drawdown"
    NOT_RECOVERED = "not_recovered"
    NO_STOP = "no_stop"
    NO_WINS = "no_wins"

    @property
    def explanation(self) -> str:
        """The reason in plain words."""
        return _EXPLANATIONS[self]


_EXPLANATIONS: Final = {
    Reason.NO_TRADES: "there were no trades",
    Reason.ZERO_VARIANCE: "the returns do not vary",
    Reason.NO_LOSSES: "nothing was lost",
    Reason.TOO_FEW_OBS: "too few observations for a number worth printing",
    Reason.OUTSIDE_DOMAIN: "the formula does not hold here",
    Reason.RUIN: "the account was wiped out",
    Reason.NO_DRAWDOWN: "equity never fell",
    Reason.NOT_RECOVERED: "not recovered by the end of the data",
    Reason.NO_STOP: "trades had no stop",
    Reason.NO_WINS: "nothing was won",
}


@dataclass(frozen=True, slots=True)
class Metric:
    """One performance number: a value, or null with the reason; plus what a reader must know about it."""

    value: float | None
    reason: Reason | None = None
    low_sample: bool = False
    extrapolated: bool = False
    note: str = ""

    def __post_init__(self) -> None:
        if self.value is not None and not math.isfinite(self.value):
            raise ValueError(f"a metric is finite or null with a reason, found {self.value}")
        if (self.value is None) != (self.reason is not None):
            raise ValueError("a metric has a reason exactly when it has no value")

    def text(self, unit: str) -> str:
        """Return the value as people read it, in its unit (`MetricInfo.unit`); a dash where there is none."""
        if self.value is None:
            return "–"
        if unit == "fraction":
            return f"{self.value:,.2%}"
        if unit == "s":
            return f"{self.value / DAY_S:,.1f} days"
        if unit in ("bars", "count"):
            return f"{self.value:,.0f}"
        digits = 2 if unit in ("quote", "bps", "years") else 3
        return f"{self.value:,.{digits}f}" + (" bp" if unit == "bps" else "")

    @property
    def remark(self) -> str:
        """What to know beside the value: why there is none, or what weakens it."""
        if self.reason is not None:
            return self.reason.explanation
        remarks = [
            *(["small sample"] if self.low_sample else []),
            *(["extrapolated from less than a year"] if self.extrapolated else []),
            *([self.note] if self.note else []),
        ]
        return ", ".join(remarks)


MetricTable = Mapping[str, Metric]


@dataclass(frozen=True, slots=True, eq=False)
class Trades:
    """Closed round trips, in order of exit: one array per column, all of shape (n_trades,).

    Attributes
    ----------
    decision_bar, entry_bar, exit_bar : int64
        Positions in the run's bars: whose close decided, and where entry and exit filled.
    side : int8
        +1 long, -1 short.
    qty : float64
        Units of the base currency, above zero: all that was bought (sold short) in the trade.
    entry_ref, exit_ref : float64
        The market price the fills refer to (open, stop level, limit, close), before spread and slippage.
    entry_price, exit_price : float64
        The fill prices. Quantity-weighted means where the volume cap made several fills of one order.
    entry_fee, exit_fee : float64
        Fees in quote currency (negative for a rebate).
    funding, borrow : float64
        Funding and borrow paid while the position was held, quote currency (negative: received).
    stop, target : float64
        Levels as set at the entry; nan where absent.
    exit_reason : int8
        An `ExitReason`.
    ambiguous : bool
        The exit hinges on what came first inside a bar (F5).
    capped : bool
        The size was bound by the gross cap rather than by the risk (F12).
    """

    decision_bar: IntArray
    entry_bar: IntArray
    exit_bar: IntArray
    side: SideArray
    qty: FloatArray
    entry_ref: FloatArray
    exit_ref: FloatArray
    entry_price: FloatArray
    exit_price: FloatArray
    entry_fee: FloatArray
    exit_fee: FloatArray
    funding: FloatArray
    borrow: FloatArray
    stop: FloatArray
    target: FloatArray
    exit_reason: SideArray
    ambiguous: np.ndarray[tuple[int], np.dtype[np.bool_]]
    capped: np.ndarray[tuple[int], np.dtype[np.bool_]]

    def __len__(self) -> int:
        return int(self.side.size)

    @property
    def gross_pnl(self) -> FloatArray:
        """Profit at reference prices, before any cost, quote currency."""
        return self.side * self.qty * (self.exit_ref - self.entry_ref)

    @property
    def slippage(self) -> FloatArray:
        """Cost of spread and slippage, quote currency, normally above zero."""
        return self.side * self.qty * ((self.entry_price - self.entry_ref) - (self.exit_price - self.exit_ref))

    @property
    def fees(self) -> FloatArray:
        """Entry and exit fee, quote currency."""
        return self.entry_fee + self.exit_fee

    @property
    def pnl(self) -> FloatArray:
        """Net profit: at fill prices, after fees, funding and borrow, quote currency."""
        gross = self.side * self.qty * (self.exit_price - self.entry_price)
        return gross - self.fees - self.funding - self.borrow

    @property
    def notional(self) -> FloatArray:
        """Traded notional of both fills, quote currency."""
        return self.qty * (self.entry_price + self.exit_price)

    def columns(self) -> Iterator[tuple[str, np.ndarray[tuple[int], np.dtype[np.generic]]]]:
        """Yield (name, array) for each stored column, in the order of the class."""
        for column in fields(self):
            yield column.name, getattr(self, column.name)


@dataclass(frozen=True, slots=True, eq=False)
class Fills:
    """Every fill of a run, in order of execution: one array per column, all of shape (n_fills,).

    Attributes
    ----------
    bar : int64
        Bar of the fill.
    trade : int64
        Position of the trade in `Trades`.
    side : int8
        +1 buy, -1 sell.
    qty, ref, price, fee : float64
        Quantity above zero, reference price, fill price, fee in quote currency.
    spread, impact : float64
        Half-spread and market impact in it, quote currency; the rest of ``qty * |price - ref|`` is slippage.
    reason : int8
        0 for an entry, else an `ExitReason`.
    """

    bar: IntArray
    trade: IntArray
    side: SideArray
    qty: FloatArray
    ref: FloatArray
    price: FloatArray
    fee: FloatArray
    spread: FloatArray
    impact: FloatArray
    reason: SideArray

    def __len__(self) -> int:
        return int(self.side.size)


@dataclass(frozen=True, slots=True, eq=False)
class Ledger:
    """Where the money came from and went to, bar by bar (QUANT_SPEC 4): float64 arrays of shape (n_bars,).

    Gross is profit at reference prices; everything else is a cost, above zero when paid. All in quote currency.
    """

    gross: FloatArray
    spread: FloatArray
    slippage: FloatArray
    impact: FloatArray
    fees: FloatArray
    funding: FloatArray
    borrow: FloatArray

    @property
    def net(self) -> FloatArray:
        """Change of the account's value by this symbol in each bar."""
        net = self.gross - self.spread
        for cost in (self.slippage, self.impact, self.fees, self.funding, self.borrow):
            net -= cost
        return net

    def totals(self) -> dict[str, float]:
        """Return the sum of each column."""
        return {f.name: float(getattr(self, f.name).sum()) for f in fields(self)}


COUNTERS: Final = (
    "entries",
    "rejected_no_stop",
    "rejected_min_notional",
    "rejected_no_cash",
    "rejected_exposure",
    "reduced_to_cash",
    "reduced_to_exposure",
    "ambiguous_exits",
    "waited_for_volume",
    "partial_fills",
    "expired",
    "gated",
    "daily_loss_halts",
    "cooldowns",
)


@dataclass(frozen=True, slots=True, eq=False)
class RunResult:
    """One backtest, complete: what went in (account), what came out (equity, trades, counters).

    Attributes
    ----------
    bars : Bars
        The bars that were traded.
    account : Account
        Instrument, costs, sizing, rules, capital.
    equity : float64 array, shape (n_bars,)
        Account value marked at each bar's close, quote currency. The path starts from `account.initial_capital`
        before the first bar (C5). Floored at 0 from ruin on (C7).
    qty : float64 array, shape (n_bars,)
        Signed position at each bar's close.
    held : bool array, shape (n_bars,)
        Whether a position existed after the bar's open fills (closed again inside the bar or not).
    trades : Trades
    fills : Fills
    ledger : Ledger
    counters : mapping of str to int
        How often each rule acted; keys in `COUNTERS`.
    stopped : (bar, reason) or None
        Where trading ended for good before the data did: reason "ruin" or "min_notional" (the bar is the first of
        the unbroken run of rejections that lasted to the end).
    """

    bars: Bars
    account: Account
    equity: FloatArray
    qty: FloatArray
    held: np.ndarray[tuple[int], np.dtype[np.bool_]]
    trades: Trades
    fills: Fills
    ledger: Ledger
    counters: Mapping[str, int]
    stopped: tuple[int, str] | None = None

    def content_hash(self) -> str:
        """Return the sha256 of equity, positions, trades and counters: equal runs give equal hashes."""
        digest = hashlib.sha256()
        for name in ("equity", "qty", "held"):
            digest.update(name.encode() + np.ascontiguousarray(getattr(self, name)).tobytes())
        for name, array in self.trades.columns():
            # nan has many bit patterns; one stands for all, so that equal results hash equally.
            one_nan = np.where(np.isnan(array), np.nan, array) if array.dtype == np.float64 else array
            digest.update(name.encode() + np.ascontiguousarray(one_nan).tobytes())
        digest.update(json.dumps([dict(sorted(self.counters.items())), self.stopped]).encode())
        return digest.hexdigest()


@dataclass(frozen=True, slots=True)
class Manifest:
    """Everything needed to run the same backtest again and to prove that the result is the same.

    `strategy_code_hash` covers the strategy's file and all it imports; `engine_code_hash` the whole package.
    `start` and `end` are the requested range, ISO 8601 UTC, end exclusive; the data hash covers the bars used.
    """

    command: str
    strategy: str
    params: Mapping[str, float | int]
    venue: str
    symbol: str
    timeframe: str
    start: str
    end: str
    n_bars: int
    data_hash: str
    strategy_code_hash: str
    engine_code_hash: str
    account: Mapping[str, object]
    seed: int | None
    versions: Mapping[str, str]
    result_hash: str = ""
    settings: Mapping[str, object] = field(default_factory=dict)

    @property
    def warnings(self) -> tuple[str, ...]:
        """Codes of what makes the numbers less than they seem."""
        found = self.settings.get("warnings")
        return tuple(map(str, found)) if isinstance(found, list) else ()

    def as_dict(self) -> dict[str, object]:
        """Return the manifest as a plain dictionary that json can write."""
        return {f.name: getattr(self, f.name) for f in fields(self)}
