"""Metrics against the tables of QUANT_SPEC 1.2 and against the libraries those tables were made with.

The library columns are asserted too: an upgrade that changes a library's answer must be noticed.
"""

from __future__ import annotations

import hashlib
import json
import math
import warnings
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from grodtd.domain.bars import FloatArray
from grodtd.performance import ratios, risk, trades

P = 252.0


@pytest.fixture(scope="module", name="close")
def _close() -> FloatArray:
    from backtesting.test import GOOG

    close = GOOG["Close"].to_numpy(np.float64)
    assert hashlib.sha256(close.astype("<f8").tobytes()).hexdigest() == (
        "d6b4550f61b0117a0ad9c7e0d78dcad954172c20a952e358a77e9e55fd2458d9"
    )
    return np.asarray(close)


@pytest.fixture(scope="module", name="r")
def _returns(close: FloatArray) -> FloatArray:
    r = close[1:] / close[:-1] - 1.0
    assert r.size == 2147
    return np.asarray(r)


@pytest.fixture(scope="module", name="strategy_s")
def _strategy_s(close: FloatArray, r: FloatArray) -> FloatArray:
    # sign(SMA10 - SMA20), from bar 20 on, applied to the next return, no costs
    def sma(n: int) -> FloatArray:
        return np.concatenate((np.full(n - 1, np.nan), np.convolve(close, np.ones(n) / n, "valid")))

    side = np.nan_to_num(np.sign(sma(10) - sma(20)))
    return np.asarray(side[:-1] * r)


def test_table_of_series_g(r: FloatArray, close: FloatArray) -> None:
    path = np.concatenate(([1.0], np.cumprod(1 + r)))
    log_returns = np.log1p(r)
    total = ratios.total_return(r)
    growth = ratios.cagr(total, 2147 / 252)
    fall = risk.max_drawdown(path)
    found = {
        "total": (total, 7.0345824198),
        "cagr": (growth, 0.2770806653),
        "cagr of 365 (wrong P)": (ratios.cagr(total, 2147 / 365), 0.4251086553),
        "vol": (ratios.volatility(r, periods_per_year=P), 0.3440578616),
        "sharpe": (ratios.sharpe_ratio(r, periods_per_year=P), 0.8815185699),
        "sharpe 365": (ratios.sharpe_ratio(r), 1.0609077631),
        "sharpe rf": (ratios.sharpe_ratio(r, periods_per_year=P, rf_annual=0.04), 0.7675151717),
        "sharpe log": (ratios.sharpe_ratio(log_returns, periods_per_year=P), 0.7158701688),
        "sharpe hac": (ratios.sharpe_ratio_hac(r, periods_per_year=P), 0.8813012327),
        "eta 5": (ratios.lo_eta(r, 5), 2.2266511892),
        "eta 21": (ratios.lo_eta(r, 21), 4.4202447980),
        "eta 252": (ratios.lo_eta(r, 252), 14.5221530904),
        "sortino": (ratios.sortino_ratio(r, periods_per_year=P), 1.3541673632),
        "max drawdown": (fall, -0.6529475997),
        "mar": (growth / abs(fall), 0.4243536012),
        "omega": (ratios.omega_ratio(r), 1.1797198798),
        "omega = profit factor of returns": (trades.profit_factor(r), 1.1797198798),
        "ulcer": (risk.ulcer_index(path), 0.2511898115),
        "upi": (growth / risk.ulcer_index(path), 1.1030728663),
        "var 5": (risk.value_at_risk(r, 0.05), -0.0307800251),
        "var 1": (risk.value_at_risk(r, 0.01), -0.0576576086),
        "var 5 normal": (risk.value_at_risk_normal(r, 0.05), -0.0344463676),
        "var 1 normal": (risk.value_at_risk_normal(r, 0.01), -0.0492168068),
        "es 5": (risk.expected_shortfall(r, 0.05), -0.0480895850),
        "es 5 coherent": (risk.expected_shortfall_coherent(r, 0.05), -0.0481943025),
        "tail": (ratios.tail_ratio(r), 1.0380128933),
        "skew": (ratios.skewness(r), 0.7504044470),
        "kurtosis": (ratios.excess_kurtosis(r), 8.9541968256),
        "win rate of bars": (trades.win_rate(r), 0.5197950629),
        "win rate of bars, nonzero": (trades.win_rate(r[r != 0]), 0.5200372787),
        "payoff on returns": (trades.payoff_ratio(r), 1.0888095665),
        "recovery factor": (total / abs(fall), 10.7735788029),
    }
    assert len(found) == 32
    for name, (value, expected) in found.items():
        assert value == pytest.approx(expected, rel=1e-8), name
    # Cornish-Fisher has no quantile here: the raw expansion would say -0.0256775086.
    assert math.isnan(risk.value_at_risk_cornish_fisher(r, 0.05))
    raw = risk._cornish_fisher(r, 0.05, ratios.skewness(r), ratios.excess_kurtosis(r))
    assert raw == pytest.approx(-0.0256775086, rel=1e-8)


def test_drawdown_dates_of_series_g(r: FloatArray) -> None:
    from backtesting.test import GOOG

    path = np.concatenate(([1.0], np.cumprod(1 + r)))
    times = risk.drawdown_times(path)
    assert times is not None
    assert times.recovery is not None
    dates = [GOOG.index[i].strftime("%Y-%m-%d") for i in (times.peak, times.valley, times.recovery)]
    assert dates == ["2007-11-06", "2008-11-24", "2012-09-24"]
    assert (times.valley - times.peak, times.recovery - times.valley) == (265, 965)
    assert (times.longest_from, times.longest_to) == (times.peak, times.recovery)
    assert (GOOG.index[times.recovery] - GOOG.index[times.peak]).days == 1784


def test_strategy_s_against_series_g(r: FloatArray, strategy_s: FloatArray) -> None:
    s = strategy_s
    beta, alpha = ratios.beta_alpha(s, r, periods_per_year=P)
    path = np.concatenate(([1.0], np.cumprod(1 + s)))
    found = {
        "total": (ratios.total_return(s), 9.5031578773),
        "sharpe": (ratios.sharpe_ratio(s, periods_per_year=P), 0.9783892520),
        "sortino": (ratios.sortino_ratio(s, periods_per_year=P), 1.4971345519),
        "max drawdown": (risk.max_drawdown(path), -0.3626409315),
        "cagr": (ratios.cagr(ratios.total_return(s), 2147 / 252), 0.3178787650),
        "vol": (ratios.volatility(s, periods_per_year=P), 0.3414653778),
        "beta": (beta, 0.0138327478),
        "alpha": (alpha, 0.3298906745),
        "ir": (ratios.information_ratio(s, r, periods_per_year=P), 0.0639712280),
        "capture up": (ratios.capture_ratio(s, r, up=True), 0.1708915405),
        "capture down": (ratios.capture_ratio(s, r, up=False), 0.0036377332),
    }
    for name, (value, expected) in found.items():
        assert value == pytest.approx(expected, rel=1e-7), name


def test_hand_vectors() -> None:
    pnl = np.array([100.0, -50, 200, -75, 0, 30, -20, 60, -110, 45])
    assert pnl.sum() == 180
    assert trades.win_rate(pnl) == 0.5
    assert trades.profit_factor(pnl) == pytest.approx(1.7058823529, rel=1e-9)  # 435 / 255
    assert (trades.average_win(pnl), trades.average_loss(pnl)) == (87.0, -63.75)
    assert trades.payoff_ratio(pnl) == pytest.approx(1.3647058824, rel=1e-9)
    assert trades.expectancy(pnl) == 18.0
    assert trades.system_quality_number(pnl) == pytest.approx(0.6281193299, rel=1e-9)

    r = np.array([0.01, -0.02, 0.03, 0, -0.01, 0.02])
    path = np.concatenate(([1.0], np.cumprod(1 + r)))
    assert ratios.sharpe_ratio(r) == pytest.approx(5.1060188573, rel=1e-9)
    assert ratios.sortino_ratio(r) == pytest.approx(10.4642247682, rel=1e-9)
    assert risk.max_drawdown(path) == pytest.approx(-0.02, rel=1e-9)
    assert risk.ulcer_index(path) == pytest.approx(0.0091287093, rel=1e-8)
    assert ratios.omega_ratio(r) == pytest.approx(2.0, rel=1e-12)
    assert risk.expected_shortfall(r, 0.2) == pytest.approx(-0.015, rel=1e-12)
    assert risk.expected_shortfall_coherent(r, 0.2) == pytest.approx(-0.0183333333, rel=1e-8)

    high, low = np.array([102.0, 105, 104]), np.array([99.0, 101, 97])
    assert trades.excursions(1, 100.0, 103.0, high, low) == pytest.approx((-0.03, 0.05))
    # The mirror: short at 100, the same bars: worst is the high of 105, best the low of 99 (the exit bar counts to 97).
    assert trades.excursions(-1, 100.0, 98.0, high, low) == pytest.approx((-0.05, 0.02))


def test_first_bar_loss_is_a_drawdown() -> None:
    assert risk.max_drawdown(np.cumprod([1.0, 0.9, 1.05, 1.02])) == pytest.approx(-0.1)


def test_lo_factor_of_an_autoregressive_sample() -> None:
    # Lo 2002 for AR(1): the sum of (q - k) rho^k at q = 12 gives 3.464102, 2.878849, 4.170848.
    for rho, expected in ((0.0, 3.464102), (0.2, 2.878849), (-0.2, 4.170848)):
        weighted = sum((12 - k) * rho**k for k in range(1, 12))
        assert 12 / math.sqrt(12 + 2 * weighted) == pytest.approx(expected, abs=1e-6)
    rng = np.random.default_rng(1)
    noise = rng.normal(size=400_000)
    assert ratios.lo_eta(noise, 12) == pytest.approx(3.464102, rel=0.01)


def test_empyrical_agrees_and_differs_where_the_specification_says(r: FloatArray, strategy_s: FloatArray) -> None:
    import empyrical as ep

    path = np.concatenate(([1.0], np.cumprod(1 + r)))
    agreed = {
        "sharpe": (ep.sharpe_ratio(r), ratios.sharpe_ratio(r, periods_per_year=P)),
        "sortino": (ep.sortino_ratio(r), ratios.sortino_ratio(r, periods_per_year=P)),
        "vol": (ep.annual_volatility(r), ratios.volatility(r, periods_per_year=P)),
        "mdd": (ep.max_drawdown(r), risk.max_drawdown(path)),
        "total": (ep.cum_returns_final(r), ratios.total_return(r)),
        "omega": (ep.omega_ratio(r), ratios.omega_ratio(r)),
        "tail": (ep.tail_ratio(r), ratios.tail_ratio(r)),
        "var": (ep.value_at_risk(r, 0.05), risk.value_at_risk(r, 0.05)),
        "beta": (ep.beta(strategy_s, r), ratios.beta_alpha(strategy_s, r)[0]),
    }
    for name, (theirs, ours) in agreed.items():
        assert theirs == pytest.approx(ours, rel=1e-9), name
    assert ep.alpha(strategy_s, r) == pytest.approx(0.3905160462, rel=1e-8)  # geometric; ours is arithmetic
    assert ep.sharpe_ratio(np.full(50, -0.01)) < -1e6 or np.isinf(ep.sharpe_ratio(np.full(50, -0.01)))
    assert math.isnan(ratios.sharpe_ratio(np.full(50, -0.01)))


def test_quantstats_agrees_and_differs_where_the_specification_says(r: FloatArray) -> None:
    import pandas as pd

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its import of pandas and seaborn internals warns; not ours to mend
        import quantstats.stats as qs

        series = pd.Series(r, index=pd.bdate_range("2004-08-20", periods=r.size))
        assert qs.sharpe(series) == pytest.approx(0.8815185699, rel=1e-8)
        assert qs.sortino(series) == pytest.approx(1.3541673632, rel=1e-8)
        assert qs.value_at_risk(series) == pytest.approx(-0.0344463676, rel=1e-7)  # normal; ours is historical
        assert qs.ulcer_index(series) == pytest.approx(0.2512483298, rel=1e-8)  # divisor n - 1
        assert qs.skew(series) == pytest.approx(0.7509291850, rel=1e-8)  # bias-corrected


def test_statsmodels_agrees_on_the_newey_west_deviation(r: FloatArray) -> None:
    import statsmodels.api as sm

    lags = math.floor(4 * (r.size / 100) ** (2 / 9))
    assert lags == 7
    fitted = sm.OLS(r, np.ones(r.size)).fit(cov_type="HAC", cov_kwds={"maxlags": lags, "use_correction": False})
    t_value = float(fitted.tvalues[0])
    assert ratios.sharpe_ratio_hac(r, periods_per_year=P) == pytest.approx(t_value * math.sqrt(P / r.size), rel=1e-9)


def test_backtesting_py_results(real_data: Path) -> None:
    # ORACLES 1 and the end of QUANT_SPEC 1.1: their profit factor is of percent returns, and SQN of money.
    folder = real_data / "oracles"
    stats = json.loads((folder / "backtestingpy_goog_smacross_10_30_c0_stats.json").read_text())["stats"]
    ledger = pl.read_csv(folder / "backtestingpy_goog_smacross_10_30_c0_trades.csv")
    pnl, percent = ledger["PnL"].to_numpy(), ledger["ReturnPct"].to_numpy()
    assert pnl.size == 66
    assert trades.win_rate(pnl) * 100 == pytest.approx(stats["Win Rate [%]"], rel=1e-9)
    assert trades.profit_factor(percent) == pytest.approx(stats["Profit Factor"], rel=1e-9)
    assert trades.system_quality_number(pnl) == pytest.approx(stats["SQN"], rel=1e-9)
    equity = pl.read_csv(folder / "backtestingpy_goog_smacross_10_30_c20bps_equity.csv")["Equity"].to_numpy()
    theirs = json.loads((folder / "backtestingpy_goog_smacross_10_30_c20bps_stats.json").read_text())["stats"]
    assert risk.max_drawdown(equity) * 100 == pytest.approx(theirs["Max. Drawdown [%]"], rel=1e-9)


def test_freqtrade_expectancy(real_data: Path) -> None:
    # ORACLES 3: 179 trades; and the inline case.
    assert trades.expectancy(np.array([100.0, 200, 50, -150, 300, -100, 80, -30])) == 56.25
    found = json.loads((real_data / "oracles" / "freqtrade_backtest-result.json").read_text())
    strategy = next(iter(found["strategy"].values()))
    profits = np.array([trade["profit_abs"] for trade in strategy["trades"]])
    assert profits.size == 179
    assert trades.expectancy(profits) == pytest.approx(5.820687070932315e-06, rel=1e-9)
