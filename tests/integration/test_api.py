"""`import grodtd as gd`, as in a notebook."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

import grodtd as gd
from grodtd.adapters.market_data.resample import resample
from grodtd.domain.errors import ConfigError, DataError
from grodtd.domain.kernel import JIT_DISABLED

pytestmark = pytest.mark.skipif(
    JIT_DISABLED, reason="interpreted engines are too slow for whole runs; the kernels are compared elsewhere"
)


@pytest.fixture(scope="module")
def result() -> gd.Result:
    return gd.backtest(gd.synthetic("G1", 20_000, seed=3), "s1_trend", {"ema_bars": 21})


def test_frames_are_tidy_and_add_up(result: gd.Result) -> None:
    trades, equity, metrics = result.trades, result.equity, result.metrics
    assert trades.height == len(result.run.trades) > 100
    assert equity.height == 20_000
    assert trades["pnl"].sum() == pytest.approx(equity["equity"][-1] - 100_000, rel=1e-9)
    paid = trades["slippage"] + trades["fees"] + trades["funding"] + trades["borrow"]
    np.testing.assert_allclose(trades["pnl"], trades["gross_pnl"] - paid, rtol=0, atol=1e-9 * 100_000)
    assert equity["drawdown"].min() == pytest.approx(result["max_drawdown"], rel=1e-12)
    assert metrics["metric"].n_unique() == metrics.height
    assert (trades["entry_bar_at"] >= trades["decided_at"]).all()
    assert "s1_trend" in repr(result)
    assert "<table" in result._repr_html_()


def test_report_is_written(result: gd.Result, tmp_path: Path) -> None:
    assert result.report(tmp_path / "r.html").stat().st_size > 10_000


def test_own_costs_sizing_and_instrument() -> None:
    bars = gd.synthetic("G1", 5_000, seed=3)
    own = gd.backtest(
        bars,
        "s1_trend",
        costs=gd.Costs(taker_bps=1.0),
        sizing=gd.Sizing(mode="fixed_qty", qty=0.5),
        instrument=gd.Instrument("synthetic", "G1", lot="0.5"),
        direction="long_only",
    )
    assert set(own.trades["qty"]) == {0.5}
    # One basis point of each fill's notional, nothing else.
    notional = own.run.trades.qty * own.run.trades.entry_price
    np.testing.assert_allclose(own.run.trades.entry_fee, notional * 1e-4, rtol=1e-12)


def test_importing_the_package_of_that_name_leaves_the_function() -> None:
    from grodtd.backtest.engine import run_backtest

    assert "grodtd.backtest" in sys.modules
    assert callable(gd.backtest)
    assert gd.backtest is not run_backtest


def test_funding_that_is_known_but_never_due_is_no_warning() -> None:
    bars = gd.synthetic("G1", 2_000)
    perpetual = gd.Instrument("synthetic", "G1", market="perpetual")
    # The only settlement is in the first bar, long before the indicators are warm.
    rate = np.zeros(len(bars))
    rate[0] = 1e-4
    missing, known = (
        gd.backtest(bars, "s1_trend", instrument=perpetual, funding=funding, regimes=()) for funding in (None, rate)
    )
    assert len(known.trades) > 0
    assert known.run.ledger.totals()["funding"] == 0
    assert "funding_not_modelled" in missing.warnings
    assert "funding_not_modelled" not in known.warnings


def test_a_run_with_drilldown_is_its_own_pessimistic_end() -> None:
    minutes = gd.synthetic("G1", 10_000)
    found, without = (
        gd.backtest(
            resample(minutes, "5m"),
            "s1_trend",
            {"stop_atr": 0.2},
            sizing=gd.Sizing("fraction", fraction=0.01),
            regimes=(),
            fine=fine,
        )
        for fine in (minutes, None)
    )
    # What the minutes leave open, and what they decide: both occur.
    assert 0 < found.run.trades.ambiguous.mean() < without.run.trades.ambiguous.mean()
    ends = {end: found.completed.scenarios[end]["net_pnl"].value for end in ("pessimistic", "optimistic")}
    assert ends["pessimistic"] == found["net_pnl"]
    assert ends["optimistic"] == without.completed.scenarios["optimistic"]["net_pnl"].value


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError):
        gd.load_bars("binance", "BTCUSDT", home=tmp_path)
    with pytest.raises(DataError, match="needs at least"):
        gd.backtest(gd.synthetic("G1", 50), "s1_trend")
    with pytest.raises(ConfigError, match="initial_capital"):
        gd.backtest(gd.synthetic("G1", 500), "s1_trend", initial_capital=0)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        gd.nothing  # noqa: B018
