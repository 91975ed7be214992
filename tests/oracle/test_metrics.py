"""Metrics against the tables of QUANT_SPEC 1.2 and against the libraries those tables were made with.

The library columns are asserted too: an upgrade that changes a library's answer must be noticed.
"""

from __future__ import annotations

import hashlib
import json
import math
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from grodtd.domain.bars import FloatArray
from grodtd.performance import ratios, risk, trades

P = 252.0
RTOL = 1e-8
DIGITS = 6e-11  # half a unit of the tenth decimal, which is what the specification prints


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
        "cagr by the calendar": (ratios.cagr(total, 3116 / 365), 0.2764535310),
        "cagr by the calendar, 365.25": (ratios.cagr(total, 3116 / 365.25), 0.2766669488),
        "vol": (ratios.volatility(r, periods_per_year=P), 0.3440578616),
        "sharpe": (ratios.sharpe_ratio(r, periods_per_year=P), 0.8815185699),
        "sharpe 365": (ratios.sharpe_ratio(r), 1.0609077631),
        "sharpe rf": (ratios.sharpe_ratio(r, periods_per_year=P, rf_annual=0.04), 0.7675151717),
        "sharpe log": (ratios.sharpe_ratio(log_returns, periods_per_year=P), 0.7158701688),
        "sharpe hac": (ratios.sharpe_ratio_hac(r, periods_per_year=P), 0.8813012327),
        "eta 5": (ratios.lo_eta(ratios.autocorrelations(r, 4)), 2.2266511892),
        "eta 21": (ratios.lo_eta(ratios.autocorrelations(r, 20)), 4.4202447980),
        "eta 252": (ratios.lo_eta(ratios.autocorrelations(r, 251)), 14.5221530904),
        "sortino": (ratios.sortino_ratio(r, periods_per_year=P), 1.3541673632),
        "max drawdown": (fall, -0.6529475997),
        "mar": (ratios.mar_ratio(growth, fall), 0.4243536012),
        "omega": (ratios.omega_ratio(r), 1.1797198798),
        "omega = profit factor of returns": (trades.profit_factor(r), 1.1797198798),
        "ulcer": (risk.ulcer_index(path), 0.2511898115),
        "upi": (ratios.ulcer_performance_index(growth, risk.ulcer_index(path)), 1.1030728663),
        "var 5": (risk.value_at_risk(r, 0.05), -0.0307800251),
        "var 1": (risk.value_at_risk(r, 0.01), -0.0576576086),
        "var 5 normal": (risk.value_at_risk_normal(r, 0.05), -0.0344463676),
        "var 1 normal": (risk.value_at_risk_normal(r, 0.01), -0.0492168068),
        "es 5": (risk.expected_shortfall(r, 0.05), -0.0480895850),
        "es 5 normal": (risk.expected_shortfall_normal(r, 0.05), -0.0435028837),
        "es 5 coherent": (risk.expected_shortfall_coherent(r, 0.05), -0.0481943025),
        "tail": (ratios.tail_ratio(r), 1.0380128933),
        "skew": (ratios.skewness(r), 0.7504044470),
        "kurtosis": (ratios.excess_kurtosis(r), 8.9541968256),
        "win rate of bars": (trades.win_rate(r), 0.5197950629),
        "win rate of bars, nonzero": (trades.win_rate(r[r != 0]), 0.5200372787),
        "payoff on returns": (trades.payoff_ratio(r), 1.0888095665),
        "recovery factor": (total / abs(fall), 10.7735788029),
    }
    assert len(found) == 35
    for name, (value, expected) in found.items():
        assert value == pytest.approx(expected, rel=RTOL), name


def test_cornish_fisher_is_outside_its_domain_on_series_g(r: FloatArray) -> None:
    skew, kurtosis = ratios.skewness(r), ratios.excess_kurtosis(r)
    for level, expected in ((0.05, -0.0256775086), (0.01, -0.0780357435)):
        raw = r.mean() + r.std(ddof=1) * risk.cornish_fisher_quantile(level, skew, kurtosis)
        assert raw == pytest.approx(expected, rel=1e-8)
        assert math.isnan(risk.value_at_risk_cornish_fisher(r, level))


def test_drawdown_dates_of_series_g(r: FloatArray) -> None:
    from backtesting.test import GOOG

    path = np.concatenate(([1.0], np.cumprod(1 + r)))
    falls = risk.drawdowns(path)
    assert falls is not None
    assert falls.recovery is not None
    peak = int(falls.peak[falls.deepest])
    dates = [GOOG.index[i].strftime("%Y-%m-%d") for i in (peak, falls.valley, falls.recovery)]
    assert dates == ["2007-11-06", "2008-11-24", "2012-09-24"]
    assert (falls.valley - peak, falls.recovery - falls.valley) == (265, 965)
    assert int((falls.end - falls.peak).max()) == 1230
    assert (GOOG.index[falls.recovery] - GOOG.index[peak]).days == 1784


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
        "ir per bar": (ratios.information_ratio(s, r, periods_per_year=1), 0.0040298086),
        "ir": (ratios.information_ratio(s, r, periods_per_year=P), 0.0639712280),
        "capture up": (ratios.capture_ratio(s, r, up=True), 0.1708915405),
        "capture down": (ratios.capture_ratio(s, r, up=False), 0.0036377332),
    }
    assert len(found) == 12
    for name, (value, expected) in found.items():
        assert value == pytest.approx(expected, rel=RTOL, abs=DIGITS), name


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


def test_lo_factor_of_autoregressive_returns() -> None:
    for rho, expected in ((0.0, 3.464102), (0.2, 2.878849), (-0.2, 4.170848)):
        assert ratios.lo_eta(rho ** np.arange(1.0, 12.0)) == pytest.approx(expected, abs=1e-6)


def test_empyrical_agrees_and_differs_where_the_specification_says(r: FloatArray, strategy_s: FloatArray) -> None:
    import empyrical as ep

    path, s = np.concatenate(([1.0], np.cumprod(1 + r))), strategy_s
    growth, fall = ratios.cagr(ratios.total_return(r), 2147 / 252), risk.max_drawdown(path)
    agreed = {
        "total": (ep.cum_returns_final(r), ratios.total_return(r)),
        "cagr": (ep.cagr(r), growth),
        "vol": (ep.annual_volatility(r), ratios.volatility(r, periods_per_year=P)),
        "sharpe": (ep.sharpe_ratio(r), ratios.sharpe_ratio(r, periods_per_year=P)),
        "sortino": (ep.sortino_ratio(r), ratios.sortino_ratio(r, periods_per_year=P)),
        "mdd": (ep.max_drawdown(r), fall),
        "mar": (ep.calmar_ratio(r), ratios.mar_ratio(growth, fall)),
        "omega": (ep.omega_ratio(r), ratios.omega_ratio(r)),
        "tail": (ep.tail_ratio(r), ratios.tail_ratio(r)),
        "var 5": (ep.value_at_risk(r, 0.05), risk.value_at_risk(r, 0.05)),
        "var 1": (ep.value_at_risk(r, 0.01), risk.value_at_risk(r, 0.01)),
        "es 5": (ep.conditional_value_at_risk(r, 0.05), -0.0480895850),
        "beta": (ep.beta(s, r), ratios.beta_alpha(s, r)[0]),
        # Theirs is geometric, ours arithmetic; theirs is per bar; theirs is annualised before the quotient.
        "alpha": (ep.alpha(s, r), 0.3905160462),
        "ir": (ep.excess_sharpe(s, r), ratios.information_ratio(s, r, periods_per_year=1)),
        "capture": (ep.capture(s, r), 1.1472426800),
        "capture up": (ep.up_capture(s, r), 0.0190390638),
        "capture down": (ep.down_capture(s, r), 0.0639384861),
        "first-bar loss": (ep.max_drawdown(np.array([-0.1, 0.05, 0.02])), -0.1),
    }
    assert len(agreed) == 19
    for name, (theirs, expected) in agreed.items():
        assert theirs == pytest.approx(expected, rel=RTOL, abs=DIGITS), name
    # A constant loss: minus infinity there, undefined here.
    constant = np.full(50, -0.01)
    assert ep.sharpe_ratio(constant) == -math.inf
    assert math.isnan(ratios.sharpe_ratio(constant))


def test_quantstats_agrees_and_differs_where_the_specification_says(r: FloatArray, strategy_s: FloatArray) -> None:
    import pandas as pd
    from backtesting.test import GOOG
    from quantstats import stats as qs

    theirs, s = pd.Series(r, index=GOOG.index[1:]), pd.Series(strategy_s, index=GOOG.index[1:])
    path = np.concatenate(([1.0], np.cumprod(1 + r)))
    growth, fall = ratios.cagr(ratios.total_return(r), 2147 / 252), risk.max_drawdown(path)
    beta, alpha = ratios.beta_alpha(strategy_s, r, periods_per_year=P)
    agreed = {
        "total": (qs.comp(theirs), ratios.total_return(r)),
        "cagr": (qs.cagr(theirs), growth),
        "vol": (qs.volatility(theirs), ratios.volatility(r, periods_per_year=P)),
        "sharpe": (qs.sharpe(theirs), ratios.sharpe_ratio(r, periods_per_year=P)),
        "sharpe rf": (qs.sharpe(theirs, rf=0.04), ratios.sharpe_ratio(r, periods_per_year=P, rf_annual=0.04)),
        "sortino": (qs.sortino(theirs), ratios.sortino_ratio(r, periods_per_year=P)),
        "mdd": (qs.max_drawdown(theirs), fall),
        "mar": (qs.calmar(theirs), ratios.mar_ratio(growth, fall)),
        "omega": (qs.omega(theirs), ratios.omega_ratio(r)),
        "tail": (qs.tail_ratio(theirs), ratios.tail_ratio(r)),
        "var 5, normal": (qs.value_at_risk(theirs), risk.value_at_risk_normal(r, 0.05)),
        "var 1, normal": (qs.value_at_risk(theirs, confidence=0.99), risk.value_at_risk_normal(r, 0.01)),
        "es 5, normal": (qs.cvar(theirs), risk.expected_shortfall_normal(r, 0.05)),
        "profit factor of bars": (qs.profit_factor(theirs), trades.profit_factor(r)),
        "win rate of bars, zeros left out": (qs.win_rate(theirs), trades.win_rate(r[r != 0])),
        "payoff of bars": (qs.payoff_ratio(theirs), trades.payoff_ratio(r)),
        "beta": (qs.greeks(s, theirs, periods=252)["beta"], beta),
        "alpha": (qs.greeks(s, theirs, periods=252)["alpha"], alpha),
        "ir per bar": (qs.information_ratio(s, theirs), 0.0040298086),
        # Where they differ: divisor n - 1, total for CAGR, bias-corrected moments, sum for total.
        "ulcer": (qs.ulcer_index(theirs), 0.2512483298),
        "upi": (qs.ulcer_performance_index(theirs), 27.9985241141),
        "skew": (qs.skew(theirs), 0.7509291850),
        "kurtosis": (qs.kurtosis(theirs), 8.9778844678),
        "recovery factor": (qs.recovery_factor(theirs), 3.9574562758),
        "smart sharpe": (qs.smart_sharpe(theirs), 0.8765672527),
    }
    assert len(agreed) == 25
    for name, (value, expected) in agreed.items():
        assert value == pytest.approx(expected, rel=RTOL, abs=DIGITS), name
    details = qs.drawdown_details(qs.to_drawdown_series(theirs))
    assert details["days"].max() == 1781  # from the first to the last bar under water


def test_statsmodels_agrees_on_the_newey_west_deviation(r: FloatArray) -> None:
    import statsmodels.api as sm

    lags = math.floor(4 * (r.size / 100) ** (2 / 9))
    assert lags == 7
    fitted = sm.OLS(r, np.ones(r.size)).fit(cov_type="HAC", cov_kwds={"maxlags": lags, "use_correction": False})
    t_value = float(fitted.tvalues[0])
    assert ratios.sharpe_ratio_hac(r, periods_per_year=P) == pytest.approx(t_value * math.sqrt(P / r.size), rel=1e-9)


def _stats(folder: Path, name: str) -> tuple[dict[str, float], FloatArray, FloatArray]:
    """(their statistics, profit of each trade, its percent return)"""
    stats = json.loads((folder / f"backtestingpy_{name}_stats.json").read_text())["stats"]
    ledger = pl.read_csv(folder / f"backtestingpy_{name}_trades.csv")
    return stats, ledger["PnL"].to_numpy(), ledger["ReturnPct"].to_numpy()


@pytest.mark.parametrize(
    ("name", "n", "capital"),
    [
        ("goog_smacross_10_30_c0", 66, 1e4),
        ("goog_smacross_10_30_c20bps", 66, 1e4),
        ("btc1h_sma24_168_c10bps", 258, 1e7),
    ],
)
def test_backtesting_py_trades(real_data: Path, name: str, n: int, capital: float) -> None:
    # ORACLES 1 and 2. Their profit factor and expectancy are of percent returns, win rate and SQN of money.
    stats, pnl, percent = _stats(real_data / "oracles", name)
    assert pnl.size == n == stats["# Trades"]
    assert capital + pnl.sum() == pytest.approx(stats["Equity Final [$]"], rel=1e-9)
    assert trades.win_rate(pnl) * 100 == pytest.approx(stats["Win Rate [%]"], rel=RTOL)
    assert trades.system_quality_number(pnl) == pytest.approx(stats["SQN"], rel=RTOL)
    assert trades.profit_factor(percent) == pytest.approx(stats["Profit Factor"], rel=RTOL)
    assert trades.profit_factor(pnl) != pytest.approx(stats["Profit Factor"], rel=1e-3)
    assert trades.expectancy(percent) * 100 == pytest.approx(stats["Expectancy [%]"], rel=RTOL)


@pytest.mark.parametrize("name", ["goog_smacross_10_30_c0", "goog_smacross_10_30_c20bps"])
def test_backtesting_py_equity(real_data: Path, name: str) -> None:
    folder = real_data / "oracles"
    stats = _stats(folder, name)[0]
    ledger = pl.read_csv(folder / f"backtestingpy_{name}_equity.csv", try_parse_dates=True)
    path = ledger["Equity"].to_numpy()
    assert path.size == 2148
    assert path[0] == 10_000
    assert ratios.total_return(path[1:] / path[:-1] - 1) * 100 == pytest.approx(stats["Return [%]"], rel=RTOL)
    fall = risk.max_drawdown(path)
    assert fall * 100 == pytest.approx(stats["Max. Drawdown [%]"], rel=RTOL)
    # Their return a year counts 252 returns a year; its quotient by the drawdown is our MAR.
    growth = ratios.cagr(path[-1] / path[0] - 1, 2147 / 252)
    assert growth * 100 == pytest.approx(stats["Return (Ann.) [%]"], rel=RTOL)
    assert ratios.mar_ratio(growth, fall) == pytest.approx(stats["Calmar Ratio"], rel=RTOL)
    falls, dates = risk.drawdowns(path), ledger[ledger.columns[0]].to_numpy()
    assert falls is not None
    longest = (dates[falls.end] - dates[falls.peak]).max()
    assert f"{longest.astype('timedelta64[D]').astype(int)} days 00:00:00" == stats["Max. Drawdown Duration"]


def test_freqtrade_trades_and_drawdown(real_data: Path) -> None:
    # ORACLES 3: the cases in their test and the 179 trades of its file.
    assert trades.expectancy(np.array([100.0, 200, 50, -150, 300, -100, 80, -30])) == 56.25
    found = json.loads((real_data / "oracles" / "freqtrade_backtest-result.json").read_text())
    strategy = next(iter(found["strategy"].values()))
    closed = sorted(strategy["trades"], key=lambda trade: trade["close_timestamp"])
    pnl = np.array([trade["profit_abs"] for trade in closed])
    assert pnl.size == 179
    assert trades.expectancy(pnl) == pytest.approx(5.820687070932315e-06, rel=1e-9)
    assert trades.profit_factor(pnl) == pytest.approx(strategy["profit_factor"], rel=RTOL)
    # Profits 0, -500, 500, 10000, -1000 from 1000: 1000 back to 10000 of 11000 is 1 / 11; 500 of 1000 is the worst.
    path = np.cumsum([1_000.0, 0, -500, 500, 10_000, -1_000])
    falls = risk.drawdowns(path)
    assert falls is not None
    assert risk.max_drawdown(path) == -0.5
    assert path[-1] / path[falls.peak[-1]] - 1 == pytest.approx(-0.0909090909, rel=RTOL)
