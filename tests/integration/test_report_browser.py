"""The report in a real browser: it draws, it zooms, it says nothing to the network, and nobody can write in it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from grodtd.adapters.reports.html import _extremes, write_report
from grodtd.backtest.engine import Market
from grodtd.domain.bars import Bars
from grodtd.domain.kernel import JIT_DISABLED
from grodtd.domain.market import Account, Costs, Instrument, Sizing
from grodtd.domain.run import Metric, Reason
from grodtd.performance.returns import buy_and_hold, monthly_returns
from grodtd.performance.summary import METRICS
from grodtd.strategies.registry import strategy_named
from grodtd.workflows.backtest import Completed, run
from grodtd.workflows.data import synthetic_bars

pytestmark = pytest.mark.skipif(JIT_DISABLED, reason="interpreted engines are too slow for whole runs")


@pytest.fixture(scope="module", name="completed")
def _completed() -> Completed:
    strategy = strategy_named("s1_trend")
    account = Account(Instrument("synthetic", "G1"), Costs(10, 10, 0.5, 0.5), Sizing())
    return run(Market(synthetic_bars("G1", 20_000, 3)), strategy, strategy.check_params({}), account)


def page(completed: Completed, file: Path, **changes: object) -> Path:
    result = completed.result
    arguments: dict[str, object] = {
        "title": "s1_trend on G1 1m",
        "result": result,
        "metrics": completed.metrics,
        "metric_info": METRICS,
        "manifest": completed.manifest,
        "warnings": completed.warnings,
        "scenarios": completed.scenarios,
        "monthly": monthly_returns(result),
        "benchmark": buy_and_hold(result.bars, result.account.initial_capital),
        "generated_at": "2026-11-23 15:00 UTC",
    }
    return write_report(file, **{**arguments, **changes})  # type: ignore[arg-type]


@pytest.fixture(scope="module", name="chromium")
def _chromium() -> str:
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if found is None:
        message = "no Chromium on this machine: apt-get install chromium"
        if os.environ.get("GRODT_REQUIRE_BROWSER") == "1":
            pytest.fail(message)
        pytest.skip(message)
    return found


def rendered(chromium: str, file: Path, profile: Path, *, script: str = "") -> str:
    """Return the page's DOM after it has drawn; `script` runs when it is ready."""
    if script:
        text = file.read_text()
        nonce = re.search(r'nonce="([^"]+)"', text)
        assert nonce is not None
        wait = (
            f'<script nonce="{nonce[1]}">const i = setInterval(() => {{'
            f" if (document.body.dataset.ready) {{ clearInterval(i); {script} }} }}, 20);</script>"
        )
        file = file.with_name(f"scripted-{file.name}")
        file.write_text(text.replace("</body>", f"{wait}</body>"))
    switches = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
    more = "--disable-component-update --disable-sync --virtual-time-budget=20000 --window-size=1280,900 --dump-dom"
    command = [chromium, *switches.split(), *more.split(), f"--user-data-dir={profile}", file.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    return done.stdout


@pytest.mark.browser
def test_everything_is_drawn_without_an_error(chromium: str, completed: Completed, tmp_path: Path) -> None:
    dom = rendered(chromium, page(completed, tmp_path / "r.html"), tmp_path / "profile")
    body = re.search(r"<body[^>]*>", dom)
    assert body is not None
    assert body[0] == '<body data-ready="true">'  # no data-error
    assert dom.count('class="main-svg"') >= 5
    trades = len(completed.result.trades)
    assert f"{trades:,} trades in view: zoom in to see them" in dom
    assert "paid no borrowing cost" in dom


@pytest.mark.browser
def test_the_stepper_zooms_to_a_trade_and_draws_it(chromium: str, completed: Completed, tmp_path: Path) -> None:
    script = "document.getElementById('next').click();"
    dom = rendered(chromium, page(completed, tmp_path / "r.html"), tmp_path / "profile", script=script)
    assert "data-error" not in re.search(r"<body[^>]*>", dom)[0]  # type: ignore[index]
    window = re.search(r'id="window"[^>]*>([^<]*)<', dom)
    assert window is not None
    assert "every bar" in window[1]
    assert re.search(r"· \d+ trades in view$", window[1])


@pytest.mark.browser
def test_text_from_outside_is_text(chromium: str, completed: Completed, tmp_path: Path) -> None:
    attack = "</script><img src=x onerror=\"document.body.dataset.error='hacked'\"><script>"
    manifest = replace(completed.manifest, symbol=attack, versions={attack: attack})
    dom = rendered(
        chromium, page(completed, tmp_path / "r.html", title=attack, manifest=manifest), tmp_path / "profile"
    )
    assert 'data-ready="true"' in dom
    assert "hacked" not in re.search(r"<body[^>]*>", dom)[0]  # type: ignore[index]
    assert "<img src=" not in dom


def test_the_page_is_whole_and_forbids_every_connection(completed: Completed, tmp_path: Path) -> None:
    text = page(completed, tmp_path / "deep" / "r.html").read_text()
    assert "default-src 'none'" in text
    # The page's own parts load nothing; plotly's source mentions addresses it is not allowed to reach.
    own = re.sub(r"<script[^>]*>.*?</script>", "", text, flags=re.DOTALL)
    assert not re.search(r"(src|href)\s*=\s*[\"']?https?:", own)
    assert list((tmp_path / "deep").iterdir()) == [tmp_path / "deep" / "r.html"]
    for info in METRICS.values():
        assert info.description.replace("&", "&amp;") in text


def test_a_null_metric_shows_its_reason(completed: Completed, tmp_path: Path) -> None:
    metrics = {**completed.metrics, "sharpe": Metric(None, Reason.ZERO_VARIANCE)}
    text = page(completed, tmp_path / "r.html", metrics=metrics).read_text()
    assert "<code>zero_variance</code> the returns do not vary" in text


def test_costs_and_ambiguous_bars_are_a_table(completed: Completed, tmp_path: Path) -> None:
    def values(net: float, sharpe: Metric) -> dict[str, Metric]:
        return {"net_pnl": Metric(net), "total": Metric(net / 100_000), "sharpe": sharpe}

    scenarios = {
        "costs x0.5": values(1_500.0, Metric(1.25)),
        "costs x2": values(-99_000.0, Metric(None, Reason.RUIN)),
        "pessimistic": values(-2_500.0, Metric(-0.5)),
        "optimistic": values(3_500.0, Metric(2.5)),
    }
    metrics = {**completed.metrics, "net_pnl": Metric(500.0), "total": Metric(0.005), "sharpe": Metric(0.75)}
    text = page(completed, tmp_path / "r.html", metrics=metrics, scenarios=scenarios, warnings=()).read_text()
    table = text[text.index('<table class="scenarios">') :].partition("</table>")[0]
    rows = [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row) for row in re.findall(r"<tr>(.*?)</tr>", table)]
    assert rows == [
        ["The same decisions", "Net PnL", "Total return", "Sharpe"],
        ["Half the costs", "1,500.00", "1.50%", "1.250"],
        ["As modelled", "500.00", "0.50%", "0.750"],
        ["Double the costs", "-99,000.00", "-99.00%", "– <code>ruin</code>"],
        ["Ambiguous bars: stop first (pessimistic)", "-2,500.00", "-2.50%", "-0.500"],
        ["Ambiguous bars: target first (optimistic)", "3,500.00", "3.50%", "2.500"],
    ]
    assert 'class="unreliable"' not in text
    assert "Costs and ambiguous bars" not in page(completed, tmp_path / "r.html", scenarios={}).read_text()


def test_more_than_one_per_cent_of_ambiguous_trades_is_a_red_line(completed: Completed, tmp_path: Path) -> None:
    metrics = {**completed.metrics, "ambiguous_share": Metric(0.0234)}
    text = page(completed, tmp_path / "r.html", metrics=metrics, warnings=("ambiguous_share",)).read_text()
    line = re.search(r'<p class="unreliable"[^>]*>(.*?)</p>', text)
    assert line is not None
    assert line[1] == "Unreliable: 2.3% of trades are ambiguous, more than 1 %. Use drilldown with finer bars."


def test_downsampling_keeps_the_extremes() -> None:
    rng = np.random.default_rng(0)
    values = np.cumsum(rng.normal(size=300_000))
    values[123_456] -= 10_000.0
    points = _extremes(values)
    assert points.size < 2_100
    assert 123_456 in points
    assert values[points].max() == values.max()
    assert (points[0], points[-1]) == (0, 299_999)


def test_a_run_without_trades_still_makes_a_page(tmp_path: Path) -> None:
    strategy = strategy_named("s1_trend")
    bars = synthetic_bars("G1", 500, 3)
    idle = Bars(bars.time, *([np.full(500, 100.0)] * 4), np.zeros(500), venue="v", symbol="S")
    done = run(Market(idle), strategy, strategy.check_params({}), Account(Instrument("v", "S")))
    assert len(done.result.trades) == 0
    assert "no trades" in page(done, tmp_path / "r.html").read_text()


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0.1234, "fraction", "12.34%"),
        (1234.5, "quote", "1,234.50"),
        (172_800, "s", "2.0 days"),
        (7, "count", "7"),
        (1.5, "bps", "1.50 bp"),
        (0.51234, "ratio", "0.512"),
    ],
)
def test_numbers_are_shown_in_their_unit(value: float, unit: str, text: str) -> None:
    assert Metric(value).text(unit) == text
