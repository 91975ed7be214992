"""What is traded and what trading costs: instruments, costs, sizing. Plain records, checked once."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from decimal import Decimal
from fractions import Fraction
from typing import Final, Literal

from grodtd.domain.bars import Calendar
from grodtd.domain.errors import ConfigError

Market = Literal["spot", "perpetual"]
SizingMode = Literal["risk", "fraction", "fixed_qty", "all_in_whole"]
Direction = Literal["long_short", "long_only", "short_only"]
Reentry = Literal["immediate", "edge"]

BPS: Final = 1e-4


def _positive(owner: str, **values: float) -> None:
    for name, value in values.items():
        if not (math.isfinite(value) and value > 0):
            raise ConfigError(f"{owner}: {name} must be a number above zero, found {value}")


def _not_negative(owner: str, **values: float) -> None:
    for name, value in values.items():
        if not (math.isfinite(value) and value >= 0):
            raise ConfigError(f"{owner}: {name} must be a number of at least zero, found {value}")


@dataclass(frozen=True, slots=True)
class Step:
    """A smallest increment (tick or lot) as an exact fraction, so that 0.3 in lots of 0.1 is 3 lots, not 2."""

    numerator: float
    denominator: float

    @classmethod
    def of(cls, size: str | float | None) -> Step:
        """Return the step for a decimal size; none (or 0) means no rounding."""
        if size is None or Decimal(str(size)) == 0:
            return cls(0.0, 1.0)
        exact = Fraction(Decimal(str(size)))
        if exact < 0:
            raise ConfigError(f"a tick or lot must be above zero, found {size}")
        return cls(float(exact.numerator), float(exact.denominator))

    @property
    def size(self) -> float:
        """The step as a float; 0.0 for no rounding."""
        return self.numerator / self.denominator


@dataclass(frozen=True, slots=True)
class Instrument:
    """One symbol at one venue: its increments, calendar and market, with the date and source they were read from."""

    venue: str
    symbol: str
    tick: str | None = None
    lot: str | None = None
    min_notional: float = 0.0
    market: Market = "spot"
    calendar: Calendar = "24x7"
    as_of: str = ""
    source: str = ""

    def __post_init__(self) -> None:
        _not_negative(f"instrument {self.venue}:{self.symbol}", min_notional=self.min_notional)
        Step.of(self.tick), Step.of(self.lot)


@dataclass(frozen=True, slots=True)
class Costs:
    """Trading costs in basis points of the traded price (QUANT_SPEC 5.2), with date and source.

    A market order or a stop pays `taker_bps` on its notional and fills `half_spread_bps + slippage_bps` worse
    than the reference price; a resting limit (take profit) pays `maker_bps` and fills at its limit.
    """

    maker_bps: float = 0.0
    taker_bps: float = 0.0
    half_spread_bps: float = 0.0
    slippage_bps: float = 0.0
    venue: str = "none"
    tier: str = ""
    as_of: str = ""
    source: str = ""

    def __post_init__(self) -> None:
        _not_negative(
            f"costs of {self.venue}",
            taker_bps=self.taker_bps,
            half_spread_bps=self.half_spread_bps,
            slippage_bps=self.slippage_bps,
        )
        if not math.isfinite(self.maker_bps):  # a rebate is a negative maker fee
            raise ConfigError(f"costs of {self.venue}: maker_bps must be a finite number, found {self.maker_bps}")

    def scaled(self, factor: float) -> Costs:
        """Return the same costs times `factor` (0.5x, 1x, 2x)."""
        _not_negative("costs", factor=factor)
        return replace(
            self,
            maker_bps=self.maker_bps * factor,
            taker_bps=self.taker_bps * factor,
            half_spread_bps=self.half_spread_bps * factor,
            slippage_bps=self.slippage_bps * factor,
        )

    @property
    def round_trip_bps(self) -> float:
        """Cost of buying and selling by market order, in basis points of the notional."""
        return 2 * (self.taker_bps + self.half_spread_bps + self.slippage_bps)


@dataclass(frozen=True, slots=True)
class Sizing:
    """How much to trade (F12).

    Attributes
    ----------
    mode : {"risk", "fraction", "fixed_qty", "all_in_whole"}
        risk: ``min(risk * E / stop, max_gross * E / close)``; fraction: ``fraction * E / close``;
        fixed_qty: `qty`; all_in_whole: as many whole units as cash buys at the fill price, fee included.
    compound : bool
        True: E is the equity marked at the decision close. False: E is the initial capital, whatever has been
        won or lost, which makes `fraction` a constant notional.
    """

    mode: SizingMode = "risk"
    risk: float = 0.0075
    max_gross: float = 1.0
    fraction: float = 1.0
    qty: float = 1.0
    compound: bool = True

    def __post_init__(self) -> None:
        if self.mode not in ("risk", "fraction", "fixed_qty", "all_in_whole"):
            raise ConfigError(f"sizing: mode {self.mode!r} is not one of risk, fraction, fixed_qty, all_in_whole")
        _positive("sizing", risk=self.risk, max_gross=self.max_gross, fraction=self.fraction, qty=self.qty)
        for name in ("max_gross", "fraction"):
            if getattr(self, name) > 1:
                raise ConfigError(
                    f"sizing: {name} {getattr(self, name)} borrows money; leverage is not modelled yet, use at most 1"
                )


@dataclass(frozen=True, slots=True)
class Rules:
    """How decisions become orders (F0, F1): latency, who may be traded, when to go in again."""

    latency_bars: int = 0
    direction: Direction = "long_short"
    reentry: Reentry = "immediate"

    def __post_init__(self) -> None:
        if self.latency_bars < 0:
            raise ConfigError(f"latency_bars must be 0 or more, found {self.latency_bars}")
        if self.direction not in ("long_short", "long_only", "short_only"):
            raise ConfigError(f"direction {self.direction!r} is not one of long_short, long_only, short_only")
        if self.reentry not in ("immediate", "edge"):
            raise ConfigError(f"reentry {self.reentry!r} is not one of immediate, edge")


@dataclass(frozen=True, slots=True)
class Account:
    """Everything about a run that is not bars and not strategy."""

    instrument: Instrument
    costs: Costs = Costs()
    sizing: Sizing = Sizing()
    rules: Rules = Rules()
    initial_capital: float = 100_000.0

    def __post_init__(self) -> None:
        _positive("account", initial_capital=self.initial_capital)

    def as_dict(self) -> dict[str, object]:
        """Return the whole account as plain nested dictionaries, for manifests."""
        return asdict(self)
