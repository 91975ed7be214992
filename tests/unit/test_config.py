from __future__ import annotations

from pathlib import Path

import pytest

from grodtd.config import load_config
from grodtd.domain.errors import ConfigError
from grodtd.domain.market import Costs, Instrument, Sizing
from grodtd.strategies.registry import STRATEGIES


def test_the_defaults_are_those_of_the_specification() -> None:
    config = load_config()
    assert config.costs_named("binance").round_trip_bps == 22.0  # QUANT_SPEC 5.2
    assert config.risk.sizing == Sizing(mode="risk", risk=0.0075, max_gross=1.0)  # F12
    assert config.risk.initial_capital == 100_000
    assert config.strategies["s1_trend"].params == {
        "ema_bars": 9,
        "atr_bars": 14,
        "stop_atr": 2.0,
        "reward_risk": 1.5,
    }


def test_every_registered_strategy_has_settings_it_accepts() -> None:
    config = load_config()
    assert set(config.strategies) == set(STRATEGIES)
    for name, settings in config.strategies.items():
        STRATEGIES[name].check_params(settings.params)


def test_costs_and_instruments_say_when_and_where_they_were_read() -> None:
    config = load_config()
    dated: list[Costs | Instrument] = [*config.costs.values(), *config.instruments.values()]
    assert len(dated) > 5
    for record in dated:
        assert record.as_of, record
        assert record.source, record


def test_unlisted_instruments_have_no_increments_but_costs_are_never_guessed() -> None:
    config = load_config()
    assert config.instrument("nowhere", "DOGE") == Instrument("nowhere", "DOGE")
    with pytest.raises(ConfigError, match="no costs for 'nowhere' .* pass --costs with one of binance"):
        config.costs_named("nowhere")


def test_own_files_override_and_the_rest_comes_from_the_defaults(tmp_path: Path) -> None:
    (tmp_path / "costs.yaml").write_text("binance: {taker_bps: 7.5, maker_bps: 7.5}\n")
    config = load_config(tmp_path)
    assert config.costs_named("binance") == Costs(maker_bps=7.5, taker_bps=7.5, venue="binance")
    assert config.risk == load_config().risk


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("costs.yaml", "binance: {taker: 10}\n", r"costs.yaml: binance: taker: unexpected keyword"),
        ("costs.yaml", "binance: {taker_bps: ten}\n", r"costs.yaml: binance: taker_bps: .*valid number.*'ten'"),
        ("costs.yaml", "binance: {taker_bps: -1}\n", r"taker_bps must be a number of at least zero"),
        ("risk.yaml", "initial_capital: 1.0\n", r"risk.yaml: sizing: .*required"),
        ("risk.yaml", "- 1\n", r"risk.yaml: must be a mapping"),
        ("risk.yaml", "a: [\n", r"cannot be read as YAML"),
        ("strategies.yaml", "s1_trend: {params: {}, direction: up}\n", r"strategies.yaml: s1_trend: direction"),
        ("instruments.yaml", "binance: {BTCUSDT: {tick: 0.01}}\n", r"binance.BTCUSDT: tick: .*string"),
    ],
)
def test_a_wrong_file_is_refused_by_file_and_key(tmp_path: Path, file: str, text: str, message: str) -> None:
    (tmp_path / file).write_text(text)
    with pytest.raises(ConfigError, match=message):
        load_config(tmp_path)


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="does not exist"):
        load_config(tmp_path / "nothing")
