from __future__ import annotations

import math
from dataclasses import replace

import pytest

from grodtd.domain.errors import ConfigError
from grodtd.domain.market import Account, Costs, EarlierCosts, Instrument, Limits, Rules, Sizing, Step

SPOT, PERPETUAL = Instrument("v", "s"), Instrument("v", "P", market="perpetual")


def test_a_step_is_exact() -> None:
    assert Step.of("0.1") == Step(1.0, 10.0)
    assert Step.of("0.00025") == Step(1.0, 4000.0)
    assert Step.of("5") == Step(5.0, 1.0)
    assert Step.of(None) == Step.of("0") == Step(0.0, 1.0)
    assert Step.of("0.1").size == 0.1
    with pytest.raises(ConfigError, match="above zero"):
        Step.of("-0.1")


def test_round_trip_cost_of_binance_spot() -> None:
    # 2 * (10 + 0.5 + 0.5) = 22 bp: QUANT_SPEC 5.2
    assert Costs(10, 10, 0.5, 0.5).round_trip_bps == 22.0
    assert Costs(10, 10, 0.5, 0.5).scaled(2).round_trip_bps == 44.0
    assert Costs(10, 10, 0.5, 0.5).scaled(0).round_trip_bps == 0.0


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Costs(taker_bps=-1), "taker_bps must be a number of at least zero"),
        (lambda: Costs(maker_bps=math.nan), "maker_bps must be a finite number"),
        (lambda: Costs().scaled(-1), "factor must be a number of at least zero"),
        (lambda: Sizing(mode="martingale"), "mode 'martingale' is not one of"),  # type: ignore[arg-type]
        (lambda: Sizing(risk=0), "risk must be a number above zero"),
        (lambda: Account(SPOT, sizing=Sizing(max_gross=2)), "max_gross 2 borrows money"),
        (lambda: Account(SPOT, sizing=Sizing(fraction=1.5)), "fraction 1.5 borrows money"),
        (lambda: Account(SPOT, leverage=2), "leverage 2 needs a perpetual market"),
        (lambda: Account(PERPETUAL, leverage=2), "needs the maintenance_margin of P"),
        (lambda: Account(SPOT, leverage=0.5), "leverage must be 1 or more"),
        # A fifth of the notional is there, a fifth must be kept.
        (lambda: Account(replace(PERPETUAL, maintenance_margin=0.2), leverage=5), "it would be liquidated at once"),
        (lambda: Instrument("v", "s", maintenance_margin=1), r"maintenance_margin is a fraction .* in \[0, 1\)"),
        (lambda: Limits(daily_loss=1), "daily_loss is a fraction of equity below 1"),
        (lambda: Limits(cooldown_losses=3), "cooldown_losses and cooldown_bars go together"),
        (lambda: Limits(max_total_exposure=-1), "max_total_exposure must be a number of at least zero"),
        (lambda: Rules(session="9-17"), "session must read like 08:00-16:30"),
        (lambda: Rules(session="09:00-09:00"), "session '09:00-09:00' is empty"),
        (lambda: Rules(max_participation=2), "max_participation is a share"),
        (lambda: Rules(order_bars=0), "order_bars must be 1 or more"),
        (lambda: Rules(same_bar="guess"), "same_bar 'guess' is not one of stop_first"),  # type: ignore[arg-type]
        (lambda: EarlierCosts("2018"), "until must be a date such as 2018-01-01"),
        (lambda: EarlierCosts("2018-01-01", taker_bps=-1), "taker_bps must be a number of at least zero"),
        (lambda: Rules(latency_bars=-1), "latency_bars must be 0 or more"),
        (lambda: Rules(direction="up"), "direction 'up' is not one of"),  # type: ignore[arg-type]
        (lambda: Rules(reentry="never"), "reentry 'never' is not one of"),  # type: ignore[arg-type]
        (lambda: Account(Instrument("v", "s"), initial_capital=0), "initial_capital must be a number above zero"),
        (lambda: Instrument("v", "s", min_notional=-1), "min_notional must be a number of at least zero"),
    ],
)
def test_impossible_settings_are_refused_by_name(make: object, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make()  # type: ignore[operator]


def test_a_maker_rebate_is_a_negative_fee() -> None:
    assert Costs(maker_bps=-0.5).maker_bps == -0.5
