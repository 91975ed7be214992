from __future__ import annotations

import math

import pytest

from grodtd.domain.errors import ConfigError
from grodtd.domain.market import Account, Costs, Instrument, Rules, Sizing, Step


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
        (lambda: Sizing(max_gross=2), "leverage is not modelled"),
        (lambda: Sizing(fraction=1.5), "leverage is not modelled"),
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
