"""Portfolios, regimes, funding, rules, limits and vectorbt from the command line."""

from __future__ import annotations

import json
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from grodtd.domain.kernel import JIT_DISABLED
from tests.integration.test_cli import grodt

pytestmark = pytest.mark.skipif(
    JIT_DISABLED, reason="interpreted engines are too slow for whole runs; the kernels are compared elsewhere"
)

SYNTHETIC = ("--venue", "synthetic", "--symbol", "G1")
FREE = ("--sizing", "mode=fixed_qty", "--sizing", "qty=1", "--rule", "max_participation=0", "--regime", "any")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("home")
    for name in ("G1", "G2"):
        made = grodt("data", "synth", name, "--bars", "12000", "--seed", "3", home=folder)
        assert made.returncode == 0, made.stderr
    return folder


def as_json(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def backtest(home: Path, *arguments: str) -> dict[str, Any]:
    return as_json(grodt("backtest", "s1_trend", *SYNTHETIC, *arguments, "--no-store", "--json", home=home))


def test_a_portfolio_of_one_symbol_is_its_backtest(home: Path) -> None:
    alone = backtest(home, *FREE)
    found = as_json(grodt("portfolio", "s1_trend", *SYNTHETIC, *FREE, "--json", home=home))
    for name in ("total", "sharpe", "trade_count", "net_pnl", "fees"):
        assert found["metrics"]["account"][name] == pytest.approx(alone["metrics"][name]), name


def test_two_symbols_share_an_account(home: Path) -> None:
    both = ("--venue", "synthetic", "--symbol", "G1", "--symbol", "G2")
    found = as_json(grodt("portfolio", "s1_trend", *both, *FREE, "--json", home=home))
    table = found["metrics"]
    assert table["account"]["net_pnl"] == pytest.approx(
        sum(part["net_pnl"] for name, part in table.items() if name != "account")
    )
    capped = grodt("portfolio", "s1_trend", *both, "--limit", "max_total_exposure=0.3", "--json", home=home)
    assert as_json(capped)["counters"]["reduced_to_exposure"] > 0
    shown = grodt("portfolio", "s1_trend", *both, home=home)
    assert "one account" in shown.stdout
    missing = grodt("portfolio", "s1_trend", "--venue", "synthetic", "--symbol", "G3", home=home)
    assert missing.returncode == 3
    assert "G3" in missing.stderr


def test_regimes_are_labelled_and_judged_against_the_truth(home: Path, tmp_path: Path) -> None:
    out = tmp_path / "regimes.parquet"
    found = as_json(grodt("regime", "label", str(out), *SYNTHETIC, "--json", home=home))
    assert 0.99 < sum(found["share"].values()) <= 1  # unknown in the first bars
    frame = pl.read_parquet(out)
    assert frame.height == 12_000
    rows = as_json(grodt("regime", "report", *SYNTHETIC, "--json", home=home))["rows"]
    accuracy = next(row for row in rows if "accuracy" in row["measure"])
    assert 0.5 < accuracy["value"] <= 1
    assert "G1" in grodt("regime", "report", *SYNTHETIC, home=home).stdout


def test_a_gate_keeps_entries_out(home: Path) -> None:
    free, gated = backtest(home, "--regime", "any"), backtest(home, "--regime", "trending")
    assert gated["metrics"]["trade_count"] < free["metrics"]["trade_count"]
    assert gated["manifest"]["settings"]["gating"]["regimes"] == ["trending"]
    unknown = grodt("backtest", "s1_trend", *SYNTHETIC, "--regime", "calm", home=home)
    assert unknown.returncode == 2
    assert "trending" in unknown.stderr


def test_rules_and_limits_reach_the_engine(home: Path) -> None:
    plain = backtest(home, *FREE)
    session = backtest(home, *FREE, "--rule", "session=08:00-16:00")
    hours = {datetime.fromisoformat(trade["entry_bar_at"]).hour for trade in session["trades"]}
    assert hours == set(range(8, 16))
    cooled = backtest(home, *FREE, "--limit", "cooldown_losses=2", "--limit", "cooldown_bars=500")
    assert cooled["metrics"]["trade_count"] < plain["metrics"]["trade_count"] / 3
    wrong = grodt("backtest", "s1_trend", *SYNTHETIC, "--rule", "same_bar=guess", home=home)
    assert wrong.returncode == 2
    assert "stop_first" in wrong.stderr
    unknown = grodt("backtest", "s1_trend", *SYNTHETIC, "--limit", "daily_los=1", home=home)
    assert unknown.returncode == 2
    assert "daily_los" in unknown.stderr


def test_drilldown_reads_stored_finer_bars(home: Path) -> None:
    made = grodt("data", "resample", *SYNTHETIC, "--to", "15m", home=home)
    assert made.returncode == 0, made.stderr
    coarse = ("--timeframe", "15m", "--param", "stop_atr=0.3", *FREE)
    blind = backtest(home, *coarse)
    seeing = backtest(home, *coarse, "--rule", "same_bar=drilldown", "--fine", "1m")
    assert blind["metrics"]["ambiguous_share"] > 0.02
    assert seeing["metrics"]["ambiguous_share"] < blind["metrics"]["ambiguous_share"] / 2
    unused = grodt("backtest", "s1_trend", *SYNTHETIC, *coarse, "--fine", "1m", home=home)
    assert unused.returncode == 2
    assert "drilldown" in unused.stderr


def test_funding_is_stored_and_paid(home: Path, tmp_path: Path) -> None:
    shown = as_json(grodt("data", "list", "--json", home=home))
    assert shown
    bars = tmp_path / "bars.parquet"
    start = datetime(2025, 1, 1, tzinfo=UTC)
    times = [start + timedelta(hours=h) for h in range(24 * 40)]
    price = [100.0 + (h % 7) for h in range(len(times))]
    columns = dict.fromkeys(("open", "high", "low", "close"), price)
    pl.DataFrame({"timestamp": times, **columns, "volume": [1e6] * len(times)}).write_parquet(bars)
    perpetual = ("--venue", "binance_usdm", "--symbol", "BTCUSDT")
    done = grodt("data", "import", str(bars), *perpetual, "--timeframe", "1h", home=home)
    assert done.returncode == 0, done.stderr
    rates = tmp_path / "funding.csv"
    at = [start + timedelta(hours=8 * k) for k in range(1, 120)]
    pl.DataFrame({"timestamp": at, "funding_rate": [0.001] * len(at)}).write_csv(rates)
    done = grodt("data", "funding", str(rates), *perpetual, home=home)
    assert done.returncode == 0, done.stderr
    run = ("backtest", "buy_and_hold", *perpetual, "--timeframe", "1h", "--no-store", "--json")
    found = as_json(grodt(*run, "--sizing", "mode=fixed_qty", "--sizing", "qty=1", home=home))
    trade = found["trades"][0]
    # A long pays a thousandth of the close before each settlement it is held over; it is in from the second bar on.
    settlements = [h for h in range(8, 24 * 40 + 1, 8) if h <= 119 * 8]
    expected = sum(price[h - 1] * 0.001 for h in settlements)
    assert trade["funding"] == pytest.approx(expected, rel=1e-9)
    assert grodt("data", "funding", str(bars), *perpetual, home=home).returncode == 3


def test_vectorbt_repeats_the_fills(home: Path) -> None:
    pytest.importorskip("vectorbt", reason="vectorbt is an optional extra")
    done = grodt("backtest", "s1_trend", *SYNTHETIC, *FREE, "--engine", "vectorbt", "--no-store", home=home)
    assert done.returncode == 0, done.stderr
    assert "vectorbt" in done.stdout
    unknown = grodt("backtest", "s1_trend", *SYNTHETIC, "--engine", "zipline", home=home)
    assert unknown.returncode == 2
    assert "vectorbt-signals" in unknown.stderr
