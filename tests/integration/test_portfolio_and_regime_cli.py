"""`grodt portfolio`, `grodt regime`, `grodt data funding`, and further options of `grodt backtest`."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from grodtd.domain.kernel import JIT_DISABLED
from tests.integration.command_line import grodt

pytestmark = pytest.mark.skipif(
    JIT_DISABLED, reason="interpreted engines are too slow for whole runs; the kernels are compared elsewhere"
)
N_BARS = 6_000
G1 = ("--venue", "synthetic", "--symbol", "G1")
BOTH = (*G1, "--symbol", "G2")
S1 = ("backtest", "s1_trend", *G1, "--no-store")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """G1 and G2 in minutes, and G1 in five minutes as well."""
    folder = tmp_path_factory.mktemp("home")
    for command in (
        ("data", "synth", "G1", "--bars", str(N_BARS), "--seed", "3"),
        ("data", "synth", "G2", "--bars", str(N_BARS), "--seed", "4"),
        ("data", "resample", *G1, "--to", "5m"),
    ):
        made = grodt(*command, home=folder)
        assert made.returncode == 0, made.stderr
    return folder


def printed(home: Path, *arguments: str) -> dict[str, Any]:  # Any: parsed JSON
    done = grodt(*arguments, "--json", home=home)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


# --- grodt portfolio -------------------------------------------------------------------------------------------------


def test_the_account_of_a_portfolio_is_the_sum_of_its_symbols(home: Path) -> None:
    found = printed(home, "portfolio", "s1_trend", *BOTH)
    account, *symbols = (found["metrics"][name] for name in ("account", "G1", "G2"))
    assert list(found["metrics"]) == ["account", "G1", "G2"]
    assert all(one["trade_count"] > 10 for one in symbols)
    for name in ("net_pnl", "gross_pnl", "fees", "trade_count"):
        assert account[name] == pytest.approx(sum(one[name] for one in symbols), rel=1e-9)
    assert account["net_pnl"] == pytest.approx(100_000 * account["total"], rel=1e-9)
    assert found["counters"]["entries"] == account["trade_count"]
    assert found["stopped"] is None


def test_a_portfolio_of_one_symbol_is_its_backtest(home: Path) -> None:
    one = printed(home, "portfolio", "s1_trend", *G1)["metrics"]
    alone = printed(home, *S1)["metrics"]
    for name in ("total", "net_pnl", "fees", "trade_count", "max_drawdown", "win_rate"):
        assert one["account"][name] == pytest.approx(alone[name], rel=1e-9)
        assert one["G1"][name] == pytest.approx(alone[name], rel=1e-9)


def test_limits_bind_a_portfolio(home: Path) -> None:
    whole = ("--sizing", "mode=fraction", "--sizing", "fraction=0.9")
    free = printed(home, "portfolio", "s1_trend", *BOTH, *whole)["counters"]
    capped = printed(home, "portfolio", "s1_trend", *BOTH, *whole, "--limit", "max_total_exposure=1")["counters"]
    assert free["reduced_to_exposure"] == 0
    assert free["reduced_to_cash"] > 0  # two symbols want 0.9 each
    assert capped["reduced_to_exposure"] > 0


def test_a_portfolio_is_shown_as_a_table(home: Path) -> None:
    done = grodt("portfolio", "s1_trend", *BOTH, "--capital", "5000", "--to", "2023-01-02", home=home)
    assert done.returncode == 0, done.stderr
    assert "s1_trend · G1, G2 · one account" in done.stdout
    for word in ("account", "G1", "G2", "max_drawdown", "net_pnl"):
        assert word in done.stdout


# --- grodt regime ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_labels_are_written_at_each_close(home: Path, tmp_path: Path, suffix: str) -> None:
    file = tmp_path / "new" / f"labels.{suffix}"
    found = printed(home, "regime", "label", str(file), *G1)
    assert found["file"] == str(file)
    if suffix == "csv":
        with file.open() as text:
            rows = list(csv.DictReader(text))
        names = [row["regime"] for row in rows]
        assert rows[0]["time"].startswith("2023-01-01T00:01:00")  # known when the bar of 00:00 has closed
        assert rows[-1]["time"].startswith("2023-01-05T04:00:00")  # 6,000 minutes later
    else:
        import polars as pl

        names = [name or "" for name in pl.read_parquet(file)["regime"].to_list()]
    assert len(names) == N_BARS
    assert names[0] == ""  # one close says nothing yet
    assert set(names[1:]) == {"ranging", "trending", "high_volatility", "transition"}
    assert found["share"] == {name: pytest.approx(names.count(name) / N_BARS) for name in set(names) - {""}}


def test_labels_are_summed_up_on_one_line(home: Path, tmp_path: Path) -> None:
    file = tmp_path / "labels.csv"
    done = grodt("regime", "label", str(file), *G1, "--to", "2023-01-01T00:02", home=home)
    assert done.returncode == 0, done.stderr
    # Two bars: the first is unknown, the second cannot be anything else yet.
    assert done.stdout == f"{file}: ranging 50.0%, trending 0.0%, high_volatility 0.0%, transition 0.0%\n"


def test_a_report_holds_its_measures_and_the_truth_of_synthetic_bars(home: Path) -> None:
    found = printed(home, "regime", "report", *G1)
    assert (found["venue"], found["symbol"], found["timeframe"], found["n_bars"]) == ("synthetic", "G1", "1m", N_BARS)
    values = {row["measure"]: row["value"] for row in found["rows"]}
    assert sum(values[f"share {name}"] for name in ("ranging", "trending", "high_volatility")) == pytest.approx(1)
    assert 0 < values["balanced accuracy, three classes"] <= 1
    assert values["next-hour volatility, high volatility / ranging"] > 1
    # Resampled bars have no known truth.
    five = printed(home, "regime", "report", *G1, "--timeframe", "5m")
    assert "balanced accuracy, three classes" not in {row["measure"] for row in five["rows"]}


def test_a_report_of_a_few_bars_says_what_it_cannot_know(home: Path) -> None:
    # Ten minutes: no change of regime, no hour ahead.
    found = printed(home, "regime", "report", *G1, "--to", "2023-01-01T00:10")
    values = {row["measure"]: row["value"] for row in found["rows"]}
    assert values["median delay of detection, bars"] is None
    assert values["next-hour volatility, high volatility / ranging"] is None
    shown = grodt("regime", "report", *G1, "--to", "2023-01-01T00:10", home=home)
    assert shown.returncode == 0, shown.stderr
    assert "synthetic:G1 1m" in shown.stdout
    assert "–" in shown.stdout


# --- grodt data funding ----------------------------------------------------------------------------------------------

PERPETUAL = ("--venue", "binance_usdm", "--symbol", "BTCUSDT")


def funding_file(folder: Path, text: str) -> str:
    file = folder / "funding.csv"
    file.write_text(text)
    return str(file)


def settlements(rate: float) -> str:
    times = [f"2023-01-0{1 + hour // 24}T{hour % 24:02}:00:00Z" for hour in range(0, 72, 8)]
    return "timestamp,funding_rate\n" + "".join(f"{time},{rate}\n" for time in times)


def test_funding_is_stored_once_and_paid(tmp_path: Path) -> None:
    # Two days of hours at 100. Ten units are bought at 01:00 and held to the end: settled at 8, 16, 24, 32, 40 and 48
    # hours for 10 * 100 * 0.0001 = 0.1 each; the settlement at 0:00 came before, those after 48:00 come too late.
    bars = "timestamp,open,high,low,close,volume\n" + "".join(
        f"2023-01-0{1 + hour // 24}T{hour % 24:02}:00:00Z,100,100,100,100,1000\n" for hour in range(48)
    )
    prices = tmp_path / "bars.csv"
    prices.write_text(bars)
    file = funding_file(tmp_path, settlements(0.0001))
    # Funding may be there before the bars.
    assert printed(tmp_path, "data", "funding", file, *PERPETUAL)["settlements"] == 9
    again = grodt("data", "funding", file, *PERPETUAL, home=tmp_path)
    assert again.stdout == "binance_usdm:BTCUSDT: 9 funding settlements stored\n"
    assert grodt("data", "import", str(prices), *PERPETUAL, "--timeframe", "1h", home=tmp_path).returncode == 0
    hold = ("backtest", "buy_and_hold", *PERPETUAL, "--timeframe", "1h", "--no-store")
    ten = ("--sizing", "mode=fixed_qty", "--sizing", "qty=10")
    found = printed(tmp_path, *hold, *ten)
    assert [trade["qty"] for trade in found["trades"]] == [10]
    assert found["ledger"]["funding"] == pytest.approx(0.6, rel=1e-9)
    assert "funding_not_modelled" not in found["warnings"]


def test_a_perpetual_without_funding_says_so(tmp_path: Path) -> None:
    prices = tmp_path / "bars.csv"
    prices.write_text(
        "timestamp,open,high,low,close,volume\n"
        + "".join(f"2023-01-01T{hour:02}:00:00Z,100,100,100,100,1000\n" for hour in range(24))
    )
    assert grodt("data", "import", str(prices), *PERPETUAL, "--timeframe", "1h", home=tmp_path).returncode == 0
    found = printed(tmp_path, "backtest", "buy_and_hold", *PERPETUAL, "--timeframe", "1h", "--no-store")
    assert found["ledger"]["funding"] == 0
    assert "funding_not_modelled" in found["warnings"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("time,rate\n1,2\n", "needs the columns timestamp and funding_rate, found time, rate"),
        ("timestamp,funding_rate\n2023-01-01T00:00:00Z,nan\n", "row 1: the funding rate is missing or not finite"),
        ("timestamp,funding_rate\n2023-01-01T00:00:00Z,\n", "missing or not finite"),
        ("timestamp,funding_rate\n2023-01-01T00:00:00Z,much\n", "row 1: funding_rate 'much' is not a number"),
        ("timestamp,funding_rate\nyesterday,0.0001\n", "times like 2023-01-01T08:00:00Z"),
        ("", "is empty"),
        (settlements(0.0002), "is stored as 0.0001 and given as 0.0002"),
    ],
    ids=["columns", "nan", "missing", "text", "no time", "empty", "another rate"],
)
def test_funding_that_does_not_fit_is_refused(tmp_path: Path, text: str, message: str) -> None:
    first = grodt("data", "funding", funding_file(tmp_path, settlements(0.0001)), *PERPETUAL, home=tmp_path)
    assert first.returncode == 0, first.stderr
    done = grodt("data", "funding", funding_file(tmp_path, text), *PERPETUAL, home=tmp_path)
    assert done.returncode == 3, done.stdout + done.stderr
    assert done.stderr.startswith("grodt: ")
    assert message in done.stderr
    assert "Traceback" not in done.stderr


# --- options of grodt backtest ---------------------------------------------------------------------------------------


def test_vectorbt_replays_the_same_fills(home: Path) -> None:
    pytest.importorskip("vectorbt", reason="vectorbt is an optional extra", exc_type=ImportError)
    found = printed(home, *S1, "--engine", "vectorbt", "--rule", "max_participation=0")
    replayed = found["vectorbt"]
    assert replayed["engine"] == "vectorbt"
    assert replayed["orders"] == 2 * found["metrics"]["trade_count"] > 100  # no cap: every fill is whole
    assert replayed["equity_difference"] < 1e-6 * 100_000
    shown = grodt(*S1, "--engine", "vectorbt", "--rule", "max_participation=0", home=home)
    assert f"the same fills: {replayed['orders']:,} orders" in shown.stdout


def test_without_another_engine_there_is_nothing_to_compare(home: Path) -> None:
    assert printed(home, *S1)["vectorbt"] is None


def test_a_rule_reaches_the_fills_and_the_manifest(home: Path) -> None:
    capped, free = printed(home, *S1), printed(home, *S1, "--rule", "max_participation=0")
    assert capped["counters"]["partial_fills"] > 0  # 0.05 of the volume by default
    assert free["counters"]["partial_fills"] == 0
    assert free["manifest"]["account"]["rules"]["max_participation"] == 0


def test_a_session_opens_and_closes_positions(home: Path) -> None:
    # 6,000 minutes from 1 January, 00:00, hold four whole sessions; whoever always wants to hold is in for each.
    hold = ("backtest", "buy_and_hold", *G1, "--no-store", "--rule", "max_participation=0")
    trades = printed(home, *hold, "--rule", "session=08:00-16:00")["trades"]
    days = range(1, 5)
    assert [trade["entry_bar_at"] for trade in trades] == [f"2023-01-0{day}T08:00:00Z" for day in days]
    assert [trade["exit_bar_at"] for trade in trades] == [f"2023-01-0{day}T16:00:00Z" for day in days]
    assert {trade["exit_reason"] for trade in trades} == {"EOD"}


def test_a_limit_reaches_the_fills_and_the_manifest(home: Path) -> None:
    free, halted = printed(home, *S1), printed(home, *S1, "--limit", "daily_loss=0.001")
    assert free["counters"]["daily_loss_halts"] == 0
    assert 1 <= halted["counters"]["daily_loss_halts"] <= 5  # once a day at most, on five days
    assert halted["metrics"]["trade_count"] < free["metrics"]["trade_count"]
    assert halted["manifest"]["account"]["limits"]["daily_loss"] == 0.001


def test_a_regime_gates_entries(home: Path) -> None:
    free, gated = printed(home, *S1, "--regime", "any"), printed(home, *S1, "--regime", "ranging")
    assert free["counters"]["gated"] == 0
    assert gated["counters"]["gated"] > 0
    assert 0 < gated["metrics"]["trade_count"] < free["metrics"]["trade_count"]
    assert gated["manifest"]["settings"]["gating"]["regimes"] == ["ranging"]
    assert not free["manifest"]["settings"]["gating"]
    shown = grodt(*S1, "--regime", "ranging", "--regime", "trending", "--on-exit", "flat", home=home)
    assert "enters in regimes: ranging, trending (flat on exit)" in shown.stdout


def test_finer_bars_decide_what_coarse_ones_cannot(home: Path) -> None:
    tight = (*S1, "--timeframe", "5m", "--param", "stop_atr=0.3", "--param", "reward_risk=1")
    coarse = printed(home, *tight)
    fine = printed(home, *tight, "--rule", "same_bar=drilldown", "--fine", "1m")
    assert coarse["metrics"]["ambiguous_share"] > 0.05
    assert fine["metrics"]["ambiguous_share"] < coarse["metrics"]["ambiguous_share"]
    assert fine["manifest"]["settings"]["fine"] == "1m"


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("portfolio", "s1_trend", *G1, "--symbol", "G1"), 2, "needs different symbols, found G1, G1"),
        (("portfolio", "s1_trend", *G1, "--symbol", "NO"), 3, "no bars of synthetic:NO 1m"),
        (("portfolio", "s9", *BOTH), 4, "no strategy named 's9'"),
        (("portfolio", "s1_trend", *BOTH, "--limit", "nope=1"), 2, "limits: there is no 'nope'; there are daily_loss"),
        (("portfolio", "s1_trend", *BOTH, "--leverage", "2"), 2, "needs a perpetual market; G1 is spot"),
        (("regime", "label", "x.csv", "--venue", "synthetic", "--symbol", "NO"), 3, "no bars of synthetic:NO 1m"),
        (("regime", "report", *G1, "--from", "2099-01-01"), 3, "2099"),
        (("regime", "report", *G1, "--from", "soon"), 2, "is not a date or time"),
        (("data", "funding", "nothing.csv", *PERPETUAL), 3, "nothing.csv cannot be read"),
        ((*S1, "--rule", "nope=1"), 2, "rules: there is no 'nope'; there are latency_bars"),
        ((*S1, "--rule", "same_bar=last"), 2, "same_bar 'last' is not one of stop_first"),
        ((*S1, "--rule", "session=5"), 2, "rules: session must be text, found 5"),
        ((*S1, "--rule", "session=25:00-26:00"), 2, "session must read like 08:00-16:30"),
        ((*S1, "--rule", "latency_bars=1.5"), 2, "rules: latency_bars must be a whole number, found 1.5"),
        ((*S1, "--rule", "max_participation=true"), 2, "rules: max_participation must be a number, found True"),
        ((*S1, "--rule", "order_bars=0"), 2, "order_bars must be 1 or more, found 0"),
        ((*S1, "--sizing", "compound=1"), 2, "sizing: compound must be true or false, found 1"),
        ((*S1, "--limit", "daily_loss"), 2, "--limit takes name=value"),
        ((*S1, "--limit", "daily_loss=much"), 2, "limits: daily_loss must be a number, found 'much'"),
        ((*S1, "--limit", "daily_loss=2"), 2, "daily_loss is a fraction of equity below 1, found 2"),
        ((*S1, "--limit", "cooldown_losses=3"), 2, "cooldown_losses and cooldown_bars go together"),
        ((*S1, "--regime", "sunny"), 2, "there is no regime 'sunny'; there are ranging"),
        ((*S1, "--regime", "trending", "--on-exit", "sell"), 2, "on_exit 'sell' is not one of hold, flat"),
        ((*S1, "--rule", "same_bar=drilldown"), 2, "name their timeframe with --fine"),
        ((*S1, "--rule", "same_bar=drilldown", "--fine", "1m"), 3, "needs finer bars, found 1m"),
        ((*S1, "--rule", "same_bar=drilldown", "--fine", "15m"), 3, "no bars of synthetic:G1 15m"),
    ],
)
def test_what_cannot_work_says_why_and_exits_with_its_code(
    home: Path, arguments: tuple[str, ...], code: int, message: str
) -> None:
    done = grodt(*arguments, home=home)
    assert done.returncode == code, done.stdout + done.stderr
    assert message in done.stderr
    assert done.stderr.startswith("grodt: ")
    assert "Traceback" not in done.stderr


def test_an_engine_that_is_none_is_a_usage_error(home: Path) -> None:
    done = grodt(*S1, "--engine", "abacus", home=home)
    assert done.returncode == 2, done.stdout + done.stderr
    assert "'abacus' is not one of 'strict', 'vectorbt', 'vectorbt-signals'" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("command", [("portfolio",), ("regime",), ("regime", "label"), ("data", "funding")])
def test_every_command_has_help(home: Path, command: tuple[str, ...]) -> None:
    shown = grodt(*command, "--help", home=home)
    assert shown.returncode == 0
    assert "Usage" in shown.stdout
