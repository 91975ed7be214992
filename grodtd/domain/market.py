"""What is traded and what trading costs: instruments, costs, sizing. Plain records, checked once."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import date, time
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from typing import Any, Final, Literal, get_args

from grodtd.domain.bars import Calendar
from grodtd.domain.errors import ConfigError

Market = Literal["spot", "perpetual"]
SizingMode = Literal["risk", "fraction", "fixed_qty", "all_in_whole"]
Direction = Literal["long_short", "long_only", "short_only"]
Reentry = Literal["immediate", "edge"]
RegimeName = Literal["ranging", "trending", "high_volatility", "transition"]
OnExit = Literal["hold", "flat"]
SameBar = Literal["stop_first", "target_first", "ohlc_path", "drilldown"]

BPS: Final = 1e-4
# Beyond these no market has increments, and their fractions would not be floats.
_STEP_LEAST: Final = Decimal("1e-18")
_STEP_MOST: Final = Decimal("1e18")
TYPICAL_SIGMA_1M_BPS: Final = 5.0  # BTCUSDT, 2022-2024


def _positive(owner: str, **values: float) -> None:
    for name, value in values.items():
        if not 0 < value <= sys.float_info.max:
            raise ConfigError(f"{owner}: {name} must be a number above zero, found {value}")


def _not_negative(owner: str, **values: float) -> None:
    for name, value in values.items():
        if not 0 <= value <= sys.float_info.max:
            raise ConfigError(f"{owner}: {name} must be a number of at least zero, found {value}")


@dataclass(frozen=True, slots=True)
class Step:
    """A smallest increment (tick or lot) as an exact fraction, so that 0.3 in lots of 0.1 is 3 lots, not 2."""

    numerator: float
    denominator: float

    @classmethod
    def of(cls, size: str | float | None) -> Step:
        """Return the step for a decimal size; none (or 0) means no rounding."""
        try:
            written = Decimal(str(0 if size is None else size))
        except InvalidOperation:
            raise ConfigError(f"a tick or lot must be a decimal number such as 0.01, found {size!r}") from None
        if written == 0:
            return cls(0.0, 1.0)
        if not written.is_finite() or not _STEP_LEAST <= written <= _STEP_MOST:
            raise ConfigError(f"a tick or lot must be above zero, from {_STEP_LEAST} to {_STEP_MOST}, found {size}")
        exact = Fraction(written)
        return cls(float(exact.numerator), float(exact.denominator))

    @property
    def size(self) -> float:
        """The step as a float; 0.0 for no rounding."""
        return self.numerator / self.denominator


@dataclass(frozen=True, slots=True)
class Instrument:
    """One symbol at one venue: its increments, calendar and market, with the date and source they were read from.

    Attributes
    ----------
    maintenance_margin : float
        Equity over gross notional at which the venue liquidates, for example 0.004; 0: never (F11).
    liquidation_fee_bps : float
        What the venue charges for it, beside the taker fee.
    """

    venue: str
    symbol: str
    tick: str | None = None
    lot: str | None = None
    min_notional: float = 0.0
    market: Market = "spot"
    calendar: Calendar = "24x7"
    maintenance_margin: float = 0.0
    liquidation_fee_bps: float = 0.0
    as_of: str = ""
    source: str = ""

    def __post_init__(self) -> None:
        owner = f"instrument {self.venue}:{self.symbol}"
        _not_negative(owner, min_notional=self.min_notional, liquidation_fee_bps=self.liquidation_fee_bps)
        if not 0 <= self.maintenance_margin < 1:
            raise ConfigError(
                f"{owner}: maintenance_margin is a fraction of the notional in [0, 1), found {self.maintenance_margin}"
            )
        Step.of(self.tick), Step.of(self.lot)


@dataclass(frozen=True, slots=True)
class EarlierCosts:
    """What costs were before a date; None where they were the same as later.

    Attributes
    ----------
    until : str
        Date (UTC), for example 2018-01-01; holds for bars that open before it.
    """

    until: str
    maker_bps: float | None = None
    taker_bps: float | None = None
    half_spread_bps: float | None = None
    source: str = ""

    def __post_init__(self) -> None:
        try:
            date.fromisoformat(self.until)
        except ValueError as error:
            raise ConfigError(f"costs: until must be a date such as 2018-01-01, found {self.until!r}") from error
        for name in ("taker_bps", "half_spread_bps"):
            _not_negative(f"costs until {self.until}", **{name: getattr(self, name) or 0.0})


@dataclass(frozen=True, slots=True)
class Costs:
    """Trading costs in basis points of the traded price (QUANT_SPEC 5.2), with date and source.

    A market order or a stop pays `taker_bps` on its notional and fills worse than the reference price by
    ``half_spread_bps + slippage_bps + c_vol * sigma_1m + 1e4 * impact_y * sigma_d * sqrt(qty / V_d)``; a resting limit
    (take profit, limit entry) pays `maker_bps` and fills at its limit.

    Attributes
    ----------
    c_vol : float
        Slippage in units of sigma_1m, the volatility of one minute as known before the bar.
    impact_y : float
        Coefficient of the square-root impact law; sigma_d and V_d are the volatility and the volume of the last day.
    borrow_bps_hour : float
        Rate for the coins of a short position in a spot market, for every hour started (F11).
    earlier : tuple of EarlierCosts
        Costs of the past; the entry with the first `until` after the bar holds.
    """

    maker_bps: float = 0.0
    taker_bps: float = 0.0
    half_spread_bps: float = 0.0
    slippage_bps: float = 0.0
    c_vol: float = 0.0
    impact_y: float = 0.0
    borrow_bps_hour: float = 0.0
    earlier: tuple[EarlierCosts, ...] = ()
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
            c_vol=self.c_vol,
            impact_y=self.impact_y,
            borrow_bps_hour=self.borrow_bps_hour,
        )
        if not math.isfinite(self.maker_bps):  # a rebate is a negative maker fee
            raise ConfigError(f"costs of {self.venue}: maker_bps must be a finite number, found {self.maker_bps}")

    def scaled(self, factor: float) -> Costs:
        """Return the same costs times `factor` (0.5x, 1x, 2x); funding is not a cost of trading and stays."""
        _not_negative("costs", factor=factor)

        def times(value: float | None) -> float | None:
            return None if value is None else value * factor

        earlier = tuple(
            replace(
                e,
                maker_bps=times(e.maker_bps),
                taker_bps=times(e.taker_bps),
                half_spread_bps=times(e.half_spread_bps),
            )
            for e in self.earlier
        )
        return replace(
            self,
            maker_bps=self.maker_bps * factor,
            taker_bps=self.taker_bps * factor,
            half_spread_bps=self.half_spread_bps * factor,
            slippage_bps=self.slippage_bps * factor,
            c_vol=self.c_vol * factor,
            impact_y=self.impact_y * factor,
            borrow_bps_hour=self.borrow_bps_hour * factor,
            earlier=earlier,
        )

    @property
    def round_trip_bps(self) -> float:
        """Cost of buying and selling a small quantity by market order at 5 bp volatility a minute, in basis points."""
        slippage = self.slippage_bps + self.c_vol * TYPICAL_SIGMA_1M_BPS
        return 2 * (self.taker_bps + self.half_spread_bps + slippage)


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


def _minute_of_day(text: str) -> int:
    at = time.fromisoformat(text)
    return at.hour * 60 + at.minute


@dataclass(frozen=True, slots=True)
class Rules:
    """How decisions become orders (F0, F1, F5, F8).

    Attributes
    ----------
    latency_bars : int
        Extra bars between decision and fill.
    direction : {"long_short", "long_only", "short_only"}
    reentry : {"immediate", "edge"}
        After a bracket exit: go in again while the side is still wanted, or only after another side was.
    same_bar : {"stop_first", "target_first", "ohlc_path", "drilldown"}
        What happened first in a bar that touched stop and target; drilldown needs finer bars.
    max_participation : float
        Fills of a bar are at most this share of its volume; 0: no cap.
    order_bars : int
        Bars after its first fill in which an entry order cut by that cap may fill further.
    session : str
        "HH:MM-HH:MM" UTC in which positions may exist; empty: always.
    """

    latency_bars: int = 0
    direction: Direction = "long_short"
    reentry: Reentry = "immediate"
    same_bar: SameBar = "stop_first"
    max_participation: float = 0.0
    order_bars: int = 10
    session: str = ""

    def __post_init__(self) -> None:
        if self.latency_bars < 0:
            raise ConfigError(f"latency_bars must be 0 or more, found {self.latency_bars}")
        for name, kind in (("direction", Direction), ("reentry", Reentry), ("same_bar", SameBar)):
            if getattr(self, name) not in get_args(kind):
                raise ConfigError(f"{name} {getattr(self, name)!r} is not one of {', '.join(get_args(kind))}")
        if not 0 <= self.max_participation <= 1:
            raise ConfigError(
                f"max_participation is a share of the bar's volume in [0, 1], found {self.max_participation}"
            )
        if self.order_bars < 1:
            raise ConfigError(f"order_bars must be 1 or more, found {self.order_bars}")
        self.session_minutes  # noqa: B018 refused here, not at the first bar

    @property
    def session_minutes(self) -> tuple[int, int]:
        """First minute of the day in session and the first one after it; (0, 1440) without a session."""
        if not self.session:
            return 0, 1_440
        try:
            start, end = (_minute_of_day(part) for part in self.session.split("-"))
        except ValueError as error:
            raise ConfigError(f"session must read like 08:00-16:30 (UTC), found {self.session!r}") from error
        if start == end:
            raise ConfigError(f"session {self.session!r} is empty; leave it out to trade at all times")
        return start, end


@dataclass(frozen=True, slots=True)
class Limits:
    """What keeps an account from harm; 0 switches a limit off.

    Attributes
    ----------
    daily_loss : float
        Loss of a UTC day, as a fraction of its starting equity, after which positions close and entries stop.
    cooldown_losses, cooldown_bars : int
        After so many losing trades in a row, no entries for so many bars.
    max_symbol_exposure, max_total_exposure : float
        Gross notional of one symbol and of all, over equity, that an entry may lead to.
    """

    daily_loss: float = 0.0
    cooldown_losses: int = 0
    cooldown_bars: int = 0
    max_symbol_exposure: float = 0.0
    max_total_exposure: float = 0.0

    def __post_init__(self) -> None:
        _not_negative(
            "limits",
            daily_loss=self.daily_loss,
            cooldown_losses=self.cooldown_losses,
            cooldown_bars=self.cooldown_bars,
            max_symbol_exposure=self.max_symbol_exposure,
            max_total_exposure=self.max_total_exposure,
        )
        if self.daily_loss >= 1:
            raise ConfigError(f"limits: daily_loss is a fraction of equity below 1, found {self.daily_loss}")
        if bool(self.cooldown_losses) != bool(self.cooldown_bars):
            raise ConfigError("limits: cooldown_losses and cooldown_bars go together; give both or none")


@dataclass(frozen=True, slots=True)
class Account:
    """Everything about a run that is not bars and not strategy."""

    instrument: Instrument
    costs: Costs = Costs()
    sizing: Sizing = Sizing()
    rules: Rules = Rules()
    initial_capital: float = 100_000.0
    limits: Limits = Limits()
    leverage: float = 1.0

    def __post_init__(self) -> None:
        _positive("account", initial_capital=self.initial_capital)
        if not 1 <= self.leverage <= sys.float_info.max:
            raise ConfigError(f"account: leverage must be 1 or more, found {self.leverage}")
        if self.leverage > 1 and self.instrument.market != "perpetual":
            raise ConfigError(
                f"account: leverage {self.leverage} needs a perpetual market; {self.instrument.symbol} is"
                f" {self.instrument.market}, where borrowed cash is not modelled"
            )
        if self.leverage * self.instrument.maintenance_margin >= 1:
            raise ConfigError(
                f"account: at leverage {self.leverage:g} a position starts with {1 / self.leverage:.4g} of its notional"
                f" and must keep {self.instrument.maintenance_margin:g} (maintenance_margin of"
                f" {self.instrument.symbol}): it would be liquidated at once; lower leverage"
            )
        if self.leverage > 1 and self.instrument.maintenance_margin == 0:
            raise ConfigError(
                f"account: leverage {self.leverage} needs the maintenance_margin of {self.instrument.symbol} in"
                " instruments.yaml, or nothing would ever be liquidated"
            )
        for name in ("max_gross", "fraction"):
            if getattr(self.sizing, name) > self.leverage:
                raise ConfigError(
                    f"sizing: {name} {getattr(self.sizing, name)} borrows money: the account's leverage is"
                    f" {self.leverage:g}; lower it or raise leverage"
                )

    def as_dict(self) -> dict[str, object]:
        """Return the whole account as plain nested dictionaries and lists, for manifests."""
        found = asdict(self)
        found["costs"]["earlier"] = list(found["costs"]["earlier"])
        return found

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Account:  # Any: parsed JSON
        """Return the account of a manifest as it was."""
        costs = dict(stored["costs"])
        earlier = tuple(EarlierCosts(**entry) for entry in costs.pop("earlier", ()))
        return cls(
            instrument=Instrument(**stored["instrument"]),
            costs=Costs(**costs, earlier=earlier),
            sizing=Sizing(**stored["sizing"]),
            rules=Rules(**stored["rules"]),
            initial_capital=stored["initial_capital"],
            limits=Limits(**stored.get("limits", {})),
            leverage=stored.get("leverage", 1.0),
        )
