"""A sweep's table is what single backtests give, combination by combination and column by column."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl
import pytest

from grodtd.adapters.market_data.synthetic import synthetic_bars
from grodtd.backtest.engine import Market, run_backtest
from grodtd.backtest.sweep import fields_read, run_sweep, why_engine
from grodtd.domain.bars import COLUMNS, Bar, Bars
from grodtd.domain.errors import DataError, StrategyError
from grodtd.domain.kernel import JIT_DISABLED
from grodtd.domain.market import Account, Costs, Instrument, Limits, Rules, Sizing
from grodtd.domain.strategy import Bracket, Strategy, levels, rule
from grodtd.execution.fills import funding_by_bar
from grodtd.indicators.averages import ema
from grodtd.performance.returns import daily_equity
from grodtd.performance.risk import max_drawdown
from grodtd.performance.summary import metric_table
from grodtd.performance.sweep import SWEEP_COLUMNS, sweep_columns
from grodtd.strategies.registry import STRATEGIES
from grodtd.strategies.s1_trend import S1_TREND

# Interpreted, the kernels are a thousand times slower: enough bars to reach every branch.
N_BARS = 2_500 if JIT_DISABLED else 20_000
COMBINATIONS = 2 if JIT_DISABLED else 6
compiled_only = pytest.mark.skipif(JIT_DISABLED, reason="interpreted engines are too slow for whole runs")
SPOT = Instrument("binance", "BTCUSDT")
FULL = Costs(10, 12, 0.5, c_vol=0.1, impact_y=1.0, borrow_bps_hour=0.06)
FIXED = Sizing("fixed_qty", qty=0.1)
ACCOUNTS = {
    "plain": Account(SPOT, Costs(2, 5, 0.5, 0.5), FIXED, initial_capital=1e7),
    "all costs": Account(SPOT, FULL, FIXED, initial_capital=1e7),
    "edge, path": Account(SPOT, FULL, FIXED, Rules(reentry="edge", same_bar="ohlc_path"), initial_capital=1e7),
    "capped volume": Account(SPOT, FULL, FIXED, Rules(max_participation=0.02), initial_capital=1e7),
    "ticks and lots": Account(
        Instrument("binance", "BTCUSDT", tick=0.5, lot=0.001),
        FULL,
        Sizing("fixed_qty", qty=0.0437),
        initial_capital=1e7,
    ),
    "constant notional": Account(
        SPOT, Costs(2, 5, 1), Sizing("fraction", fraction=0.01, compound=False), initial_capital=1e6
    ),
    "long only, target first": Account(
        SPOT, FULL, FIXED, Rules(direction="long_only", same_bar="target_first"), initial_capital=1e7
    ),
    "poor": Account(SPOT, FULL, FIXED, initial_capital=2_500.0),
    "compounding": Account(SPOT, FULL, Sizing("risk"), Rules(max_participation=0.05)),
}


def combinations(name: str, count: int, seed: int) -> list[tuple[Any, ...]]:
    strategy, rng = STRATEGIES[name], np.random.default_rng(seed)
    found: list[tuple[Any, ...]] = []
    while len(found) < count:
        given: dict[str, float] = {"atr_bars": int(rng.integers(5, 30)), "stop_atr": float(rng.uniform(0.2, 4))}
        if name == "s1_trend":
            given |= {"ema_bars": int(rng.integers(5, 60)), "reward_risk": float(rng.uniform(0.4, 3))}
        elif name == "s2_reversion":
            given |= {"band_bars": int(rng.integers(30, 200)), "enter_deviations": float(rng.uniform(0.8, 3))}
            given |= {"leave_deviations": float(rng.uniform(0, 1)), "max_bars": int(rng.integers(0, 90))}
        else:
            given |= {"channel_bars": int(rng.integers(20, 120)), "exit_bars": int(rng.integers(5, 40))}
            given |= {"trail_atr": float(rng.uniform(0.3, 6)), "volume_ratio": float(rng.uniform(0.5, 2))}
        try:
            found.append(strategy.check_params(given))
        except StrategyError:
            continue
    return found


def assert_equal(market: Market, strategy: Strategy, combos: list[tuple[Any, ...]], account: Account) -> int:
    """Compare every field of the table with the metrics of a backtest; return how many the shared path has computed."""
    result = run_sweep(market, strategy, combos, account, threads=2)
    table = sweep_columns(result)
    for row, combo in enumerate(combos):
        single = run_backtest(market, strategy, combo, account)
        metrics = metric_table(single)
        path = np.concatenate(([account.initial_capital], daily_equity(single)[1], single.equity[-1:]))
        expected = {name: metrics[name].value for name in SWEEP_COLUMNS if name in metrics}
        expected["max_drawdown_daily"] = max_drawdown(path)
        assert set(expected) == set(SWEEP_COLUMNS)
        for name, value in expected.items():
            # Differences of large sums: what a column can be wrong by follows from the money it is a part of.
            scale = account.initial_capital if name in ("net_pnl", "gross_pnl") else 0.0
            wanted = np.nan if value is None else value
            found = table[name][row]
            assert found == pytest.approx(wanted, rel=1e-9, abs=1e-11 + 1e-13 * scale, nan_ok=True), f"{name}, {combo}"
    return int((~result.by_engine).sum())


def recorded(folder: Path, name: str, part: slice) -> Bars:
    frame = pl.read_parquet(folder / name)[part]
    columns = {column: frame[column].to_numpy() for column in COLUMNS}
    return Bars(frame["timestamp"].to_physical().to_numpy(), **columns, symbol="BTCUSDT", timeframe="1m")


@pytest.mark.parametrize("label", ACCOUNTS)
@pytest.mark.parametrize("name", ["s1_trend", "s2_reversion", "s3_breakout"])
def test_synthetic_bars(name: str, label: str) -> None:
    bars, _ = synthetic_bars("G1", N_BARS, seed=3)
    # Holes of every kind: bars without volume, with little volume, and missing ones.
    rng = np.random.default_rng(0)
    volume = np.where(rng.random(len(bars)) < 0.01, 0.0, bars.volume * rng.exponential(size=len(bars)))
    keep = np.ones(len(bars), dtype=bool)
    keep[1_000:1_003] = keep[1_500:1_540] = False
    columns = {column: getattr(bars, column)[keep] for column in COLUMNS} | {"volume": volume[keep]}
    bars = Bars(bars.time[keep], **columns, symbol="G1", timeframe="1m")
    shared = assert_equal(Market(bars), STRATEGIES[name], combinations(name, COMBINATIONS, seed=1), ACCOUNTS[label])
    if label == "compounding":
        assert shared == 0


@compiled_only
@pytest.mark.parametrize("part", range(10))
@pytest.mark.parametrize("name", ["s1_trend", "s2_reversion", "s3_breakout"])
def test_a_thousand_random_combinations_on_recorded_minutes(real_data: Path, name: str, part: int) -> None:
    label = list(ACCOUNTS)[part % 7]
    start = 20_000 + 12_000 * part
    bars = recorded(real_data, "binance_spot_btcusdt_1m_2023.parquet", slice(start, start + 12_000))
    shared = assert_equal(Market(bars), STRATEGIES[name], combinations(name, 34, seed=part), ACCOUNTS[label])
    assert shared > 25  # the fast path is what is tested here


@compiled_only
def test_silent_minutes_and_an_outage(real_data: Path) -> None:
    bars = recorded(real_data, "binance_spot_btcusdt_1m_2023.parquet", slice(112_000, 130_000))
    assert (bars.volume <= 0).any()
    assert (np.diff(bars.time) > 60_000_000).any()
    for name in ("s1_trend", "s2_reversion", "s3_breakout"):
        assert assert_equal(Market(bars), STRATEGIES[name], combinations(name, 8, seed=5), ACCOUNTS["all costs"]) == 8


@compiled_only
def test_a_position_that_could_not_be_closed_is_kept_by_the_next_run() -> None:
    # One bar in twenty is silent: an exit waits at bar 1465 until its side is wanted again.
    bars, _ = synthetic_bars("G1", 2_728, seed=291)
    rng = np.random.default_rng(291)
    rng.integers(2_500, 7_000)
    volume = np.where(rng.random(len(bars)) < 0.05, 0.0, bars.volume * rng.exponential(size=len(bars)))
    bars = replace(bars, volume=volume)
    given = {"ema_bars": 15, "atr_bars": 6, "stop_atr": 1.1144010721918198, "reward_risk": 3.6471828475858836}
    combos = [S1_TREND.check_params(given)]
    assert_equal(Market(bars), S1_TREND, combos, ACCOUNTS["all costs"])


@compiled_only
def test_an_order_that_waits_outlasts_the_regime_that_closes_positions() -> None:
    bars, _ = synthetic_bars("G1", 3_000, seed=285)
    combos = combinations("s1_trend", 1, seed=285)
    side = S1_TREND.decisions(bars, combos[0]).side
    # A bar whose close is the first to want a side, and the next one wants it too.
    (starts,) = np.nonzero((side[200:-1] != 0) & (side[199:-2] != side[200:-1]) & (side[201:] == side[200:-1]))
    volume, gate = bars.volume.copy(), np.ones(len(bars), dtype=np.int8)
    for decided in starts[::5] + 200:
        volume[decided + 1] = 0.0  # the order waits,
        gate[decided + 1] = -1  # and at the close of that bar its regime ends
    bars = replace(bars, volume=volume)
    waited = run_backtest(Market(bars, gate=gate), S1_TREND, combos[0], ACCOUNTS["plain"]).counters["waited_for_volume"]
    assert waited > 10
    assert_equal(Market(bars, gate=gate), S1_TREND, combos, ACCOUNTS["plain"])


@compiled_only
@pytest.mark.parametrize("reentry", ["immediate", "edge"])
@pytest.mark.parametrize("closes", [False, True])
def test_gated(reentry: Any, closes: bool) -> None:
    bars, _ = synthetic_bars("G1", 15_000, seed=4)
    rng = np.random.default_rng(2)
    gate = np.repeat(rng.choice(np.array([1, 1, 0, -1 if closes else 0], dtype=np.int8), 300), 50)
    account = replace(ACCOUNTS["all costs"], rules=Rules(reentry=reentry))
    shared = assert_equal(Market(bars, gate=gate), S1_TREND, combinations("s1_trend", 8, seed=6), account)
    assert shared == (0 if closes and reentry == "edge" else 8)


@compiled_only
def test_perpetual_with_funding(real_data: Path) -> None:
    frame = pl.read_parquet(real_data / "binance_usdm_btcusdt_5m_2025Q4.parquet")
    columns = {column: frame[column].to_numpy() for column in COLUMNS}
    bars = Bars(frame["timestamp"].to_physical().to_numpy(), **columns, symbol="BTCUSDT", timeframe="5m")
    paid = pl.read_parquet(real_data / "binance_usdm_btcusdt_funding_8h.parquet")
    funding = funding_by_bar(bars, paid["timestamp"].to_physical().to_numpy(), paid["funding_rate"].to_numpy())
    assert (funding != 0).sum() > 50
    instrument = Instrument("binance_usdm", "BTCUSDT", market="perpetual", maintenance_margin=0.004)
    account = Account(instrument, Costs(2, 5, 0.5), FIXED, initial_capital=1e6)
    for name in ("s1_trend", "s2_reversion", "s3_breakout"):
        market = Market(bars, funding=funding)
        assert assert_equal(market, STRATEGIES[name], combinations(name, 10, seed=7), account) == 10


class TwoParams(NamedTuple):
    fast: int = 5
    slow: int = 20


class TwoRow(NamedTuple):
    fast: float
    slow: float


@rule
def above(bar: Bar, f: TwoRow, p: TwoParams) -> int:
    return 1 if f.fast > f.slow else 0


@rule
def no_levels(f: TwoRow, p: TwoParams) -> Bracket:
    return levels()


def test_two_features_of_a_combination_may_be_the_same() -> None:
    two = Strategy(
        name="two_averages",
        description="Long while one average is above another.",
        params=TwoParams,
        row=TwoRow,
        features=lambda p: {"fast": ema(p.fast), "slow": ema(p.slow)},
        decide=above,
        bracket=no_levels,
        roles={"fast": "feature", "slow": "feature"},
    )
    # Computed together with those of the first combination, whose averages differ.
    combos = [two.check_params({"fast": fast, "slow": slow}) for fast, slow in ((5, 20), (7, 7), (7, 30), (9, 9))]
    market = Market(synthetic_bars("G1", N_BARS, seed=2)[0])
    assert assert_equal(market, two, combos, ACCOUNTS["plain"]) == len(combos)


@compiled_only
def test_one_row_a_combination_in_the_order_given() -> None:
    bars, _ = synthetic_bars("G1", N_BARS, seed=1)
    combos = combinations("s1_trend", 12, seed=2)
    table = run_sweep(Market(bars), S1_TREND, combos, ACCOUNTS["plain"], threads=1)
    again = run_sweep(Market(bars), S1_TREND, combos[::-1], ACCOUNTS["plain"], threads=2)
    assert table.params.tolist() == [list(map(float, c)) for c in combos]
    np.testing.assert_array_equal(table.sums, again.sums[::-1])
    np.testing.assert_array_equal(table.equity, again.equity[::-1])


def test_progress_counts_every_combination() -> None:
    bars, _ = synthetic_bars("G1", N_BARS, seed=1)
    for label in ("plain", "compounding"):
        seen: list[int] = []
        run_sweep(Market(bars), S1_TREND, combinations("s1_trend", 9, 3), ACCOUNTS[label], on_progress=seen.append)
        assert sum(seen) == 9


def test_nothing_to_do() -> None:
    bars, _ = synthetic_bars("G1", N_BARS, seed=1)
    assert len(run_sweep(Market(bars), S1_TREND, [], ACCOUNTS["plain"])) == 0


@pytest.mark.parametrize(
    ("account", "reason"),
    [
        (Account(SPOT), "money won before"),
        (Account(SPOT, sizing=Sizing("risk", compound=False)), "depends on the bracket"),
        (Account(SPOT, sizing=FIXED, rules=Rules(latency_bars=1)), "latency"),
        (Account(SPOT, sizing=FIXED, limits=Limits(daily_loss=0.1)), "limits"),
        (Account(SPOT, sizing=FIXED, rules=Rules(session="08:00-16:00")), "session"),
        (Account(Instrument("v", "s", min_notional=1e6), sizing=FIXED), "smaller than the venue takes"),
    ],
)
def test_it_says_why_the_engine_runs_every_combination(account: Account, reason: str) -> None:
    bars, _ = synthetic_bars("G1", N_BARS, seed=1)
    assert reason in why_engine(Market(bars), account)
    table = run_sweep(Market(bars), S1_TREND, combinations("s1_trend", 2, 3), account)
    assert reason in table.why_engine
    assert table.by_engine.all()


def test_short_histories_and_bad_rules_are_refused_as_by_a_backtest() -> None:
    bars, _ = synthetic_bars("G1", N_BARS, seed=1)
    combos = combinations("s1_trend", 2, 3)
    with pytest.raises(DataError, match="needs at least"):
        run_sweep(Market(bars[:50]), S1_TREND, combos, ACCOUNTS["plain"])

    @rule
    def two(bar: Any, f: Any, p: Any) -> int:
        return 2

    with pytest.raises(StrategyError, match="must return -1, 0 or \\+1"):
        run_sweep(Market(bars), replace(S1_TREND, decide=two), combos, ACCOUNTS["plain"])


def test_which_features_a_rule_reads() -> None:
    assert fields_read(S1_TREND.bracket, 0) == {"atr"}
    assert fields_read(S1_TREND.decide, 1) == {"vwap", "ema"}

    def passes_it_on(f: Any, p: Any) -> Any:
        return helper(f)

    def helper(f: Any) -> Any:
        return f

    assert fields_read(passes_it_on, 0) is None
