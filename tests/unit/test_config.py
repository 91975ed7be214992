from __future__ import annotations

from pathlib import Path

import pytest

from grodtd.config import load_config
from grodtd.domain.errors import ConfigError, StrategyError
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


# a0 stands for 9 values, a1 for 9 x 9, ... a8 for 9 ** 9
BOMB = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 9)
)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (BOMB, r"line 6, column \d+: .* more than 100000 values"),
        ("a: &a [*a]", "line 1, column 8: .* an alias of what it stands in"),
        ("a: *nothing", "line 1, column 4: .* found undefined alias$"),
        ("[" * 3_000, "line 1, column 21: .* nested more than 20 deep"),
        ("binance: {taker_bps: 1}\nbinance: {taker_bps: 2}\n", "line 2, column 1: .* a key that is there already"),
        ("binance: {taker_bps: 1, taker_bps: 2}\n", "line 1, column 25: .* a key that is there already"),
        ("binance: {taker_bps: " + "9" * 5_000 + "}", "line 1, column 22: .* no valid int"),
        ("binance: {taker_bps: 0x" + "f" * 5_000 + "}", "line 1, column 22: .* a whole number beyond 2.63"),
        ("binance: {as_of: 2023-13-45}", "line 1, column 18: .* no valid timestamp"),
        ("binance: {as_of: !secret hunter2}", "line 1, column 18: .* could not determine a constructor for the tag$"),
        ("binance: {taker_bps: .nan}", "binance: .*taker_bps must be a number of at least zero, found nan"),
        ("binance: {taker_bps: .inf}", "binance: .*taker_bps must be a number of at least zero, found inf"),
        (b"binance: \xff", "no text in UTF-8"),
        ("#" * 1_000_001, "has 1000001 bytes, a configuration has at most 1000000"),
    ],
)
def test_yaml_that_is_not_what_it_seems_is_refused_by_its_place(
    tmp_path: Path, text: str | bytes, message: str
) -> None:
    (tmp_path / "costs.yaml").write_bytes(text.encode() if isinstance(text, str) else text)
    with pytest.raises(ConfigError, match=message) as caught:
        load_config(tmp_path)
    assert "costs.yaml: " in str(caught.value)
    assert len(str(caught.value)) < 500
    assert "hunter2" not in str(caught.value)


def test_aliases_and_merges_are_read(tmp_path: Path) -> None:
    text = "a: &fees {taker_bps: 7, maker_bps: 1}\nb: {<<: *fees, maker_bps: 2}\nc: *fees\n"
    (tmp_path / "costs.yaml").write_text(text)
    costs = load_config(tmp_path).costs
    assert [(costs[name].taker_bps, costs[name].maker_bps) for name in "abc"] == [(7, 1), (7, 2), (7, 1)]


@pytest.mark.parametrize("tick", ["a", "NaN", "Infinity", "-0.1", "1e-400", "1e999999999"])
def test_an_increment_that_is_none_is_refused(tmp_path: Path, tick: str) -> None:
    (tmp_path / "instruments.yaml").write_text(f"binance: {{BTCUSDT: {{tick: '{tick}'}}}}\n")
    with pytest.raises(ConfigError, match=r"instruments.yaml: binance.BTCUSDT: a tick or lot must be .*found"):
        load_config(tmp_path)


def test_a_rule_of_a_record_is_refused_by_its_file(tmp_path: Path) -> None:
    (tmp_path / "instruments.yaml").write_text("binance: {BTCUSDT: {maintenance_margin: 1}}\n")
    with pytest.raises(ConfigError, match=r"instruments.yaml: binance.BTCUSDT: .*maintenance_margin is a fraction"):
        load_config(tmp_path)


def test_a_parameter_larger_than_any_number_is_refused() -> None:
    with pytest.raises(StrategyError, match="stop_atr must be a finite number"):
        STRATEGIES["s1_trend"].check_params({"stop_atr": 10**400})
