"""The metric table: samples, reasons, flags; every metric on every kind of trouble."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from grodtd.domain.bars import FloatArray
from grodtd.domain.run import Metric, Reason, RunResult
from grodtd.performance.summary import METRICS, metric_table, under_water
from tests.unit.performance.runs import DAY_US, daily_run, run_of, trades_of

ROOT = Path(__file__).resolve().parents[3]
REASONS = {str(reason) for reason in Reason}


def documented() -> list[tuple[str, str, str, set[str]]]:
    """(name, what it is, unit, reasons for null) of each row of docs/metrics.md."""
    rows = re.findall(
        r"^\| `(\w+)` \| (.+?) \| (\w+) \| .+? \| (.+?) \|$",
        (ROOT / "docs" / "metrics.md").read_text(),
        re.MULTILINE,
    )
    return [(name, what, unit, set(re.findall(r"`(\w+)`", why)) & REASONS) for name, what, unit, why in rows]


def _random_returns(days: int, seed: int = 0) -> FloatArray:
    return np.random.default_rng(seed).normal(1e-4, 0.01, days)


def _with_spike() -> FloatArray:
    returns = _random_returns(600)
    returns[300] = 0.5
    return returns


WINS, LOSSES = np.linspace(1, 2, 40), -np.linspace(1, 2, 40)
TROUBLES: dict[str, RunResult] = {
    "one bar": run_of(np.array([100.0])),
    "one winning trade": run_of(np.array([100.0, 101.0]), pnl=np.ones(1)),
    "inside a day": run_of(np.array([90.0, 94.5, 96.39])),
    "nine days": daily_run(_random_returns(9)),
    "nothing traded": daily_run(np.zeros(600)),
    "constant gain": daily_run(np.full(600, 1e-4)),
    "constant loss": daily_run(np.full(600, -1e-4)),
    "ordinary": daily_run(_random_returns(600)),
    "one huge day": daily_run(_with_spike()),
    "not recovered": daily_run(np.append(_random_returns(600), -0.9)),
    "only wins": run_of(np.linspace(100, 160, 60), pnl=WINS),
    "only losses": run_of(np.linspace(100, 40, 60), pnl=LOSSES),
    "equal trades": run_of(np.full(60, 100.0), pnl=np.ones(40)),
    "break-even trades": run_of(np.full(60, 100.0), pnl=np.zeros(40)),
    "no stops": run_of(np.full(60, 100.0), made=trades_of(np.ones(40), stop=np.nan)),
    "ruin": daily_run(np.append(_random_returns(600), [-1.0, 0.0])),
    "ruin at once": run_of(np.zeros(48), pnl=-np.full(1, 100.0)),
    "beyond any number": daily_run(np.append(-0.01, np.full(30, 1e3))),
    "gaps": run_of(np.linspace(101, 160, 60), time=np.arange(60) * 3 * DAY_US),
}


def test_a_metric_is_null_for_the_documented_reasons_and_for_no_other() -> None:
    found: dict[str, set[str]] = {name: set() for name in METRICS}
    for result in TROUBLES.values():
        for name, metric in metric_table(result).items():
            found[name] |= {str(metric.reason)} - {"None"}
    assert found == {name: reasons for name, _, _, reasons in documented()}


def test_registry_table_and_documentation_agree() -> None:
    assert len(METRICS) == 61
    for result in TROUBLES.values():
        assert list(metric_table(result)) == list(METRICS)
    assert [row[:3] for row in documented()] == [(n, info.description, info.unit) for n, info in METRICS.items()]


def test_nothing_traded_is_null_with_the_reason_never_infinity() -> None:
    table = metric_table(TROUBLES["nothing traded"])
    assert table["total"] == table["vol"] == table["var_5"] == table["ulcer"] == Metric(0.0)
    assert table["sharpe"].reason is table["sharpe_hac"].reason is table["skew"].reason is Reason.ZERO_VARIANCE
    assert table["sortino"].reason is table["omega"].reason is Reason.NO_LOSSES
    assert table["mar"].reason is table["upi"].reason is Reason.NO_DRAWDOWN
    assert table["win_rate"].reason is table["profit_factor"].reason is Reason.NO_TRADES
    assert table["break_even_cost_bps"].reason is Reason.NO_TRADES
    assert table["trade_count"] == table["exposure"] == table["turnover"] == Metric(0.0)


@pytest.mark.parametrize(
    ("name", "days_null", "days_low", "days_full"),
    [
        ("sharpe", 9, 10, 30),
        ("sortino", 9, 10, 30),
        ("vol", 9, 10, 30),
        ("skew", 9, 10, 30),
        ("sharpe_hac", 29, 30, 90),
        ("var_5", 33, 34, 100),
        ("es_5_coherent", 33, 34, 100),
        ("var_1", 166, 167, 500),
    ],
)
def test_minimum_samples_of_days(name: str, days_null: int, days_low: int, days_full: int) -> None:
    assert metric_table(daily_run(_random_returns(days_null)))[name].reason is Reason.TOO_FEW_OBS
    for days, is_low in ((days_low, True), (days_full - 1, True), (days_full, False)):
        metric = metric_table(daily_run(_random_returns(days)))[name]
        assert metric.value is not None
        assert metric.low_sample is is_low


def test_growth_is_null_under_thirty_days_and_extrapolated_under_a_year() -> None:
    assert metric_table(daily_run(np.full(29, 1e-3)))["cagr"].reason is Reason.TOO_FEW_OBS
    for days in (30, 364):
        growth = metric_table(daily_run(np.full(days, 1e-3)))["cagr"]
        assert growth.value == pytest.approx(1.001**365 - 1)
        assert growth.extrapolated
    assert not metric_table(daily_run(np.full(365, 1e-3)))["cagr"].extrapolated
    table = metric_table(daily_run(_random_returns(100)))
    assert table["mar"].extrapolated
    assert table["upi"].extrapolated


def test_minimum_samples_of_trades() -> None:
    def table_of(n: int) -> dict[str, Metric]:
        return metric_table(run_of(np.full(60, 100.0), pnl=np.resize([2.0, -1.0], n)))

    names = (
        "win_rate",
        "profit_factor",
        "avg_win",
        "avg_loss",
        "payoff",
        "expectancy",
        "expectancy_r",
        "sqn",
        "sqn_100",
    )
    nine, ten, thirty = table_of(9), table_of(10), table_of(30)
    for name in names:
        assert nine[name].reason is Reason.TOO_FEW_OBS
        assert ten[name].low_sample
        assert thirty[name].value is not None
        assert not thirty[name].low_sample
    # Shares are facts about the trades there were, so one trade is enough to warn of an ambiguous exit.
    one = trades_of(np.ones(1))
    table = metric_table(run_of(np.full(3, 100.0), made=replace(one, ambiguous=np.array([True]))))
    assert table["ambiguous_share"] == Metric(1.0)
    assert table["capped_share"] == Metric(0.0)


@pytest.mark.parametrize(
    ("pnl", "name", "reason"),
    [
        (WINS, "profit_factor", Reason.NO_LOSSES),
        (WINS, "payoff", Reason.NO_LOSSES),
        (WINS, "avg_loss", Reason.NO_LOSSES),
        (LOSSES, "avg_win", Reason.NO_WINS),
        (LOSSES, "payoff", Reason.NO_WINS),
        (np.ones(40), "sqn", Reason.ZERO_VARIANCE),
        (np.zeros(0), "expectancy", Reason.NO_TRADES),
    ],
)
def test_trade_statistics_say_why_they_are_undefined(pnl: FloatArray, name: str, reason: Reason) -> None:
    assert metric_table(run_of(np.full(60, 100.0), pnl=pnl))[name] == Metric(None, reason)


def test_trades_and_costs_by_hand() -> None:
    # 15 trades net +4 and 15 net -2, one unit at 100, stop 98, fee 0.5 and slippage 0.25 on each fill, one year.
    made = trades_of(np.tile([4.0, -2.0], 15), fee=0.5, slippage=0.25)
    time = np.arange(60) * 365 * DAY_US // 60
    equity = np.full(60, 1_000.0)
    result = run_of(equity, time=time, made=made, capital=1_000.0)
    table = metric_table(result)
    value = {name: metric.value for name, metric in table.items()}
    years = (time[-1] + 3_600e6) / 31_536_000e6
    assert value["years"] == pytest.approx(years, rel=1e-12)
    assert (value["trade_count"], value["win_rate"], value["avg_win"], value["avg_loss"]) == (30, 0.5, 4.0, -2.0)
    assert (value["profit_factor"], value["payoff"], value["expectancy"]) == (2.0, 2.0, 1.0)
    # Risk |100 - 98| * 1 + 2 * 0.5 = 3: (4 / 3 - 2 / 3) / 2 = 1 / 3.
    assert value["expectancy_r"] == pytest.approx(1 / 3)
    assert value["net_pnl"] == pytest.approx(30.0)
    assert value["fees"] == pytest.approx(30.0)  # 60 fills at 0.5
    assert value["slippage_cost"] == pytest.approx(15.0)  # 60 fills at 0.25
    assert value["gross_pnl"] == pytest.approx(75.0)
    # Sold at 100 + net + both fees: 105 and 99. Notional 30 * 100 + 15 * 105 + 15 * 99 = 6060.
    assert value["break_even_cost_bps"] == pytest.approx(10_000 * 75 / 6_060)
    assert value["turnover"] == pytest.approx(6.06 / years)
    assert value["cost_drag"] == pytest.approx(0.045 / years)
    assert value["trades_per_day"] == pytest.approx(30 / (365 * years))


def test_exposure_by_hand() -> None:
    # Price 100, equity 100, 50, 200, 100: a quarter unit short in the second bar, one long in the third.
    result = replace(
        run_of(np.array([100.0, 50.0, 200.0, 100.0])),
        qty=np.array([0.0, -0.25, 1.0, 0.0]),
        held=np.array([False, True, True, True]),
    )
    table = metric_table(result)
    assert table["exposure"].value == 0.75  # the last position was closed inside its bar
    assert table["gross_exposure"].value == pytest.approx((0.5 + 0.5) / 4)


def test_risk_free_rate_is_taken_off_ratios_and_upi() -> None:
    result = daily_run(_random_returns(400))
    plain, over = metric_table(result), metric_table(result, rf_annual=0.05)
    per_day = 1.05 ** (1 / 365) - 1
    drop = per_day * 365 / (plain["vol"].value or 0)
    assert plain["sharpe"].value - over["sharpe"].value == pytest.approx(drop)  # type: ignore[operator]  # not null
    ulcer = plain["ulcer"].value or 0
    assert plain["upi"].value - over["upi"].value == pytest.approx(0.05 / ulcer)  # type: ignore[operator]  # not null
    same = {name for name in METRICS if plain[name] == over[name]}
    assert set(METRICS) - same == {"sharpe", "sharpe_hac", "upi"}


def test_a_session_calendar_counts_252_days_a_year() -> None:
    equity = 100.0 * np.cumprod(1.0 + _random_returns(300))
    always = metric_table(run_of(equity, timeframe="1d"))
    sessions = metric_table(run_of(equity, timeframe="1d", calendar="sessions"))
    for name in ("sharpe", "sharpe_hac", "sortino", "vol"):
        ratio = sessions[name].value / always[name].value  # type: ignore[operator]  # neither is null
        assert ratio == pytest.approx((252 / 365) ** 0.5)


def test_ruin_is_minus_one_and_says_so() -> None:
    table = metric_table(TROUBLES["ruin"])
    assert table["total"] == table["cagr"] == Metric(-1.0, note="ruin")
    assert table["max_drawdown"].value == table["mar"].value == -1.0
    at_once = metric_table(TROUBLES["ruin at once"])
    assert at_once["cagr"] == Metric(-1.0, note="ruin")
    assert at_once["turnover"].reason is at_once["gross_exposure"].reason is Reason.RUIN


def test_drawdown_times_by_hand() -> None:
    # 100, up to 110 in a day of hours, down to 99 in another, back to 110 after 10 hours, then 20 hours up.
    up, down = np.linspace(101, 110, 24), np.linspace(109, 99, 24)
    recovered = np.concatenate((up, down, np.full(9, 105.0), [110.0], np.linspace(111, 120, 20)))
    value = {name: metric.value for name, metric in metric_table(run_of(recovered)).items()}
    assert value["max_drawdown"] == pytest.approx(-0.1)
    for name, hours in {"peak_to_valley": 24, "valley_to_recovery": 10, "peak_to_recovery": 34}.items():
        assert value[f"max_drawdown_{name}_bars"] == hours
        assert value[f"max_drawdown_{name}_s"] == hours * 3_600
    assert (value["longest_drawdown_bars"], value["longest_drawdown_s"]) == (34, 34 * 3_600)


def test_an_open_drawdown_counts_to_the_end_and_has_no_recovery() -> None:
    equity = np.concatenate((np.linspace(101, 110, 24), np.linspace(109, 99, 24), np.full(24, 105.0)))
    table = metric_table(run_of(equity))
    assert table["max_drawdown_peak_to_valley_s"].value == 24 * 3_600
    for span in ("valley_to_recovery", "peak_to_recovery"):
        for unit in ("s", "bars"):
            assert table[f"max_drawdown_{span}_{unit}"].reason is Reason.NOT_RECOVERED
    assert table["longest_drawdown_s"].value == 48 * 3_600
    assert table["longest_drawdown_bars"].value == 48


def test_the_longest_drawdown_in_time_spans_the_gap() -> None:
    # Under water for three bars in a row, then for one bar on either side of ten days without any.
    equity = np.array([99.0, 98.0, 99.0, 100.0, 99.0, 100.0])
    time = np.array([0, 1, 2, 3, 4, 244]) * 3_600_000_000
    table = metric_table(run_of(equity, time=time))
    assert table["longest_drawdown_bars"].value == 4
    assert table["longest_drawdown_s"].value == 241 * 3_600


def test_the_table_of_the_traded_span_is_that_of_a_run_which_ends_there() -> None:
    equity = np.concatenate((100 * np.cumprod(1 + _random_returns(960) / 5), np.full(960, 50.0)))
    result = run_of(equity, pnl=np.resize([1.0, -1.5], 40))
    alone = run_of(equity[:960], pnl=np.resize([1.0, -1.5], 40))
    span = metric_table(result, until_bar=959)
    assert span == metric_table(alone)
    assert span["years"].value == pytest.approx(40 / 365)
    assert span["trades_per_day"].value == pytest.approx(1.0)
    # Trades that close later are not in it: trade i closes in bar i + 1.
    assert metric_table(result, until_bar=20)["trade_count"].value == 20
    assert metric_table(result, until_bar=1919) == metric_table(result)


@pytest.mark.parametrize("until_bar", [-1, 3])
def test_a_bar_outside_the_run_is_refused(until_bar: int) -> None:
    with pytest.raises(ValueError, match=f"0 to 2, found {until_bar}"):
        metric_table(run_of(np.full(3, 100.0)), until_bar=until_bar)


def test_a_run_without_bars_is_refused() -> None:
    with pytest.raises(ValueError, match="without bars"):
        metric_table(run_of(np.empty(0)))


def test_under_water_is_per_bar() -> None:
    assert under_water(run_of(np.array([90.0, 120.0, 60.0]))) == pytest.approx([-0.1, 0.0, -0.5])


def test_metrics_need_no_heavy_library() -> None:
    program = (
        "import sys, grodtd.performance.summary;"
        "print(*sorted({'scipy', 'pandas', 'polars', 'pyarrow'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
