"""Recorded perpetuals: funding against a ledger worked out apart, and the crash of 10 October 2025."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from grodtd.adapters.market_data.resample import resample
from grodtd.backtest.engine import Market, run_backtest
from grodtd.domain.bars import COLUMNS, Bars, FloatArray, IntArray
from grodtd.domain.errors import DataError
from grodtd.domain.market import Account, Costs, Instrument, Limits, Rules, Sizing
from grodtd.domain.run import ExitReason
from grodtd.execution.fills import Leg, fill_orders, fill_portfolio, funding_by_bar
from grodtd.strategies.registry import STRATEGIES
from tests.reference.simulator import simulate

PERPETUAL = Instrument("binance_usdm", "BTCUSDT", market="perpetual", maintenance_margin=0.004, liquidation_fee_bps=125)
HOUR_US = 3_600_000_000


def perpetual(folder: Path, symbol: str) -> tuple[Bars, IntArray, FloatArray]:
    frame = pl.read_parquet(folder / f"binance_usdm_{symbol}_5m_2025Q4.parquet")
    columns = {name: frame[name].to_numpy() for name in COLUMNS}
    time = frame["timestamp"].to_physical().to_numpy()
    bars = Bars(time, **columns, venue="binance_usdm", symbol=symbol.upper(), timeframe="5m")
    funding = pl.read_parquet(folder / f"binance_usdm_{symbol}_funding_8h.parquet")
    return bars, funding["timestamp"].to_physical().to_numpy(), funding["funding_rate"].to_numpy()


def test_settlements_belong_to_the_bar_that_ends_then() -> None:
    # Hours 0 to 4; settled at 2:00, 5 ms late; at 0:00 nobody can hold yet; at 5:00 the last bar ends; 6:00 is outside.
    price = np.full(5, 100.0)
    bars = Bars(np.arange(5) * HOUR_US, price, price, price, price, np.ones(5), timeframe="1h")
    settled = np.array([0, 2 * HOUR_US + 5_000, 5 * HOUR_US, 6 * HOUR_US])
    found = funding_by_bar(bars, settled, np.array([0.1, 0.01, -0.02, 0.3]))
    assert found.tolist() == [0, 0.01, 0, 0, -0.02]


@pytest.mark.parametrize("side", [1, -1], ids=["long", "short"])
def test_funding_is_that_of_a_ledger_worked_out_settlement_by_settlement(real_data: Path, side: int) -> None:
    bars, settled, rate = perpetual(real_data, "btcusdt")
    n = len(bars)
    sides = np.zeros(n, dtype=np.int8)
    first, last = 1_000, 4_000  # decided at these closes: in at the open of 1,001, out at the open of 4,001
    sides[first:last] = side
    account = Account(PERPETUAL, Costs(taker_bps=5, half_spread_bps=0.5), Sizing("fixed_qty", qty=0.5))
    result = fill_orders(bars, sides, np.full((6, n), np.nan), account, funding=funding_by_bar(bars, settled, rate))
    # Apart from our code: every settlement in (entry, exit], at the close of the 5 minutes before it.
    entry_us, exit_us = int(bars.time[first + 1]), int(bars.time[last + 1])
    paid, settlements = 0.0, 0
    for at, r in zip(settled.tolist(), rate.tolist(), strict=True):
        second = round(at / 1e6) * 1_000_000
        if entry_us < second <= exit_us:
            mark = float(bars.close[int(np.flatnonzero(bars.time == second - 300_000_000)[0])])
            paid += side * 0.5 * mark * r
            settlements += 1
    assert settlements == 31  # 3,000 bars of 5 minutes are 10.4 days of three
    assert result.trades.funding.tolist() == [pytest.approx(paid, rel=1e-12)]
    assert result.ledger.funding.sum() == pytest.approx(paid, rel=1e-12)
    assert np.count_nonzero(result.ledger.funding) == np.count_nonzero(result.ledger.funding[first : last + 1])
    assert result.equity[-1] == pytest.approx(account.initial_capital + result.trades.pnl.sum(), rel=1e-12)


@pytest.mark.parametrize("leverage", [1.0, 10.0, 25.0])
@pytest.mark.parametrize("name", ["s1_trend", "s2_reversion", "s3_breakout", "random_entry"])
def test_the_crash_runs_without_a_violated_rule(real_data: Path, name: str, leverage: float) -> None:
    bars, settled, rate = perpetual(real_data, "btcusdt")
    inside = (bars.time >= 1_759_900_000_000_000) & (bars.time < 1_760_400_000_000_000)  # 8 to 13 October
    bars = bars[int(np.argmax(inside)) : int(inside.size - np.argmax(inside[::-1]))]
    strategy = STRATEGIES[name]
    decided = strategy.decisions(bars, strategy.check_params({}))
    account = Account(
        PERPETUAL,
        Costs(2, 5, 0.5, c_vol=0.1, impact_y=1.0),
        Sizing("fraction", fraction=0.9 * leverage),
        Rules(max_participation=0.05),
        initial_capital=1e6,
        limits=Limits(daily_loss=0.2),
        leverage=leverage,
    )
    # No stop: a leveraged position meets the crash.
    bracket = np.full_like(decided.bracket, np.nan)
    funding = funding_by_bar(bars, settled, rate)
    ours = fill_orders(bars, decided.side, bracket, account, funding=funding)
    theirs = simulate(bars, decided.side, bracket, account, funding=funding)
    np.testing.assert_allclose(ours.equity, theirs.equity, rtol=1e-9, atol=1e-3)
    assert ours.trades.exit_reason.tolist() == theirs.trades.exit_reason.tolist()
    assert (ours.equity >= 0).all()
    assert np.isfinite(ours.equity).all()


def test_a_long_with_leverage_is_liquidated_in_the_crash(real_data: Path) -> None:
    bars, _, _ = perpetual(real_data, "btcusdt")
    at = int(np.searchsorted(bars.time, 1_760_130_000_000_000))  # 10 October, 21:00 UTC
    bars = bars[at - 20 : at + 60]
    assert bars.low.min() < 0.93 * bars.open[1]
    sides = np.ones(len(bars), dtype=np.int8)
    account = Account(PERPETUAL, sizing=Sizing("fraction", fraction=14.0), initial_capital=1e5, leverage=15.0)
    result = fill_orders(bars, sides, np.full((6, len(bars)), np.nan), account)
    first = ExitReason(int(result.trades.exit_reason[0]))
    assert first is ExitReason.LIQUIDATION
    # Equity is 0.4 % of the notional where q (p - cash/q...) : p = (q F - 100,000) / (q (1 - 0.004)).
    q, paid = result.trades.qty[0], result.trades.qty[0] * result.trades.entry_price[0]
    expected = (paid - 1e5) / (q * (1 - 0.004))
    at_open = bars.open[result.trades.exit_bar[0]]
    assert result.trades.exit_price[0] == pytest.approx(min(expected, at_open), rel=1e-12)


def test_both_perpetuals_on_one_account(real_data: Path) -> None:
    legs = []
    for symbol in ("btcusdt", "ethusdt"):
        bars, settled, rate = perpetual(real_data, symbol)
        strategy = STRATEGIES["s3_breakout"]
        decided = strategy.decisions(bars, strategy.check_params({}))
        instrument = Instrument("binance_usdm", symbol.upper(), market="perpetual", maintenance_margin=0.005)
        limits = Limits(max_symbol_exposure=1.5, max_total_exposure=2.0)
        account = Account(instrument, Costs(2, 5, 0.5), Sizing("fraction", fraction=1.4), limits=limits, leverage=3.0)
        legs.append(Leg(bars, decided.side, decided.bracket, account, funding=funding_by_bar(bars, settled, rate)))
    result = fill_portfolio(legs)
    pnl = sum(float(leg.trades.pnl.sum()) for leg in result.legs)
    assert result.equity[-1] == pytest.approx(100_000 + pnl, rel=1e-9)
    assert all(len(leg.trades) > 50 for leg in result.legs)
    assert result.counters["reduced_to_exposure"] > 0
    # Marked at the closes nothing exceeds the cap by more than the market has moved since.
    gross = np.zeros(result.time.size)
    for leg in result.legs:
        gross[np.searchsorted(result.time, leg.bars.time)] += np.abs(leg.qty) * leg.bars.close
    assert (gross / result.equity).max() < 2.2


def test_drilldown_decides_what_minutes_can(real_data: Path) -> None:
    frame = pl.read_parquet(real_data / "binance_spot_btcusdt_1m_2023.parquet")[:120_000]
    columns = {name: frame[name].to_numpy() for name in COLUMNS}
    minutes = Bars(frame["timestamp"].to_physical().to_numpy(), **columns, symbol="BTCUSDT", timeframe="1m")
    hours = resample(minutes, "1h")
    strategy = STRATEGIES["s1_trend"]
    params = strategy.check_params({"stop_atr": 0.3, "reward_risk": 1.0})
    by_mode = {}
    for mode in ("stop_first", "drilldown", "ohlc_path", "target_first"):
        rules = Rules(same_bar=mode)  # type: ignore[arg-type]
        account = Account(Instrument("binance", "BTCUSDT"), sizing=Sizing("fixed_qty", qty=1), rules=rules)
        by_mode[mode] = run_backtest(Market(hours, fine=minutes), strategy, params, account)
    coarse, fine = by_mode["stop_first"], by_mode["drilldown"]
    assert coarse.trades.ambiguous.mean() > 0.05  # stops far inside an hour cannot be judged by hours
    assert fine.trades.ambiguous.mean() < 0.2 * coarse.trades.ambiguous.mean()
    low, high = coarse.equity[-1], by_mode["target_first"].equity[-1]
    assert low < fine.equity[-1] < high
    assert low < by_mode["ohlc_path"].equity[-1] < high


def test_finer_bars_of_another_market_are_refused(real_data: Path) -> None:
    bars, _, _ = perpetual(real_data, "btcusdt")
    other, _, _ = perpetual(real_data, "ethusdt")
    hours = resample(bars, "1h")
    account = Account(Instrument("v", "s"), rules=Rules(same_bar="drilldown"))
    nothing = np.zeros(len(hours), np.int8), np.full((6, len(hours)), np.nan)
    with pytest.raises(DataError, match="reaches beyond its 1h bar"):
        fill_orders(hours, *nothing, account, fine=other)
    with pytest.raises(DataError, match="needs finer bars, found 1h"):
        fill_orders(hours, *nothing, account, fine=hours)
