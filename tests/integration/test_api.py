"""`import grodtd as gd`, as in a notebook."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

import grodtd as gd
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


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError):
        gd.load_bars("binance", "BTCUSDT", home=tmp_path)
    with pytest.raises(DataError, match="needs at least"):
        gd.backtest(gd.synthetic("G1", 50), "s1_trend")
    with pytest.raises(ConfigError, match="initial_capital"):
        gd.backtest(gd.synthetic("G1", 500), "s1_trend", initial_capital=0)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        gd.nothing  # noqa: B018
