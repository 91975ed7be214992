"""`grodt costs` as a user types it, on a made recording whose law is known."""

from __future__ import annotations

import json
import math
import os
import re
import shutil
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from grodtd.domain.errors import ConfigError, DataError
from grodtd.domain.kernel import JIT_DISABLED
from grodtd.workflows.calibrate import as_document, calibrate_costs, suggestion, write_page
from tests.integration.command_line import grodt
from tests.integration.test_report_browser import rendered

pytestmark = pytest.mark.skipif(JIT_DISABLED, reason="the command line is the same with and without compiled code")

START_US = int(datetime(2024, 8, 8, tzinfo=UTC).timestamp() * 1e6)
SECONDS = 400
KINDS = ("bbo", "depth", "trades", "impact")


def times(step_us: int, n: int) -> pl.Series:
    return pl.Series("timestamp", START_US + np.arange(n) * step_us).cast(pl.Datetime("us", "UTC"))


@pytest.fixture(name="recording")
def _recording(tmp_path: Path) -> dict[str, Path]:
    """Ten minutes of a book whose cost is 1 bp to the first level and grows in proportion to the size.

    Levels stand 2 bp of mid apart and hold 40,000 each: n levels cost 1, 2, 3 ... n bp, so delta is about 1.
    """
    rng = np.random.default_rng(5)
    mid = 1_000 * np.exp(np.cumsum(rng.standard_normal(SECONDS)) * 1e-4)
    distance = 1e-4 * (1 + 2 * np.arange(40))
    asks, bids = mid[:, None] * (1 + distance), mid[:, None] * (1 - distance)
    files = {kind: tmp_path / f"venue_xyzusdt_{kind}.parquet" for kind in KINDS}
    time = times(1_000_000, SECONDS)
    pl.DataFrame([time, pl.Series("bid", bids[:, 0]), pl.Series("ask", asks[:, 0])]).write_parquet(files["bbo"])
    pl.DataFrame(
        [
            time,
            pl.Series("bid_px", bids.tolist()),
            pl.Series("bid_sz", (40_000 / bids).tolist()),
            pl.Series("ask_px", asks.tolist()),
            pl.Series("ask_sz", (40_000 / asks).tolist()),
        ]
    ).write_parquet(files["depth"])
    # 1,000 a second is 86.4 million a day over 399 seconds with 400 trades.
    pl.DataFrame([time, pl.Series("price", mid), pl.Series("qty", 1_000 / mid)]).write_parquet(files["trades"])
    # 100,000 takes two and a half levels of the ask: 40,000 at 1, 40,000 at 3 and 20,000 at 5 bp.
    pieces = (4e4 / asks[:, 0]) + (4e4 / asks[:, 1]) + (2e4 / asks[:, 2])
    pieces_sold = (4e4 / bids[:, 0]) + (4e4 / bids[:, 1]) + (2e4 / bids[:, 2])
    pl.DataFrame(
        [
            time,
            pl.Series("mid", mid),
            pl.Series("buy_100000usd_bps", (1e5 / pieces / mid - 1) * 1e4),
            pl.Series("sell_100000usd_bps", (1 - 1e5 / pieces_sold / mid) * 1e4),
        ]
    ).write_parquet(files["impact"])
    return files


def options(files: dict[str, Path], *kinds: str) -> list[str]:
    return [part for kind in kinds or KINDS for part in (f"--{kind}", str(files[kind]))]


def test_a_made_book_is_calibrated_and_printed(recording: dict[str, Path], tmp_path: Path) -> None:
    page = tmp_path / "pages" / "costs.html"
    done = grodt("costs", "calibrate", *options(recording), "--json", "--html", str(page), home=tmp_path)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["symbol"], found["n_snapshots"], found["version"]) == ("XYZUSDT", SECONDS, 1)
    assert found["start"] == "2024-08-08 00:00:00"
    assert re.fullmatch(r"20\d\d-\d\d-\d\d", found["calibrated_on"])
    assert found["half_spread_bps"] == pytest.approx(1.0, rel=1e-6)
    assert found["adv_notional"] == pytest.approx(86.4e6 * 400 / 399, rel=1e-6)
    # 1 bp a second is sqrt(86,400) bp a day; 40 steps of 10 s give it to 12 %.
    assert found["sigma_d"] == pytest.approx(1e-4 * math.sqrt(86_400), rel=0.3)
    measured = {(row["side"], row["notional"]): row["measured_bps"] for row in found["rows"]}
    # 4/10 at 1, 4/10 at 3 and 2/10 at 5 bp.
    assert measured["buy", 1e5] == pytest.approx(2.6, abs=1e-3)
    assert measured["sell", 1e5] == pytest.approx(2.6, abs=1e-3)
    assert measured["buy", 1e6] == pytest.approx(25.0, abs=0.1)
    assert found["impact_difference_bps"] < 1e-8
    assert found["c_vol"] is None
    assert found["delta"] == pytest.approx(1.0, abs=0.3)
    assert found["square_root"]["delta"] == 0.5
    assert found["suggested"]["half_spread_bps"] == pytest.approx(1.0, abs=0.011)
    assert found["suggested"]["impact_y"] >= found["y_covering"]
    text = page.read_text()
    assert "Cost of a market order in XYZUSDT" in text
    # Nothing is loaded from elsewhere.
    assert "default-src 'none'" in text
    assert not re.search(r"<(script|link|img)[^>]+(src|href)=", text)


@pytest.mark.browser
def test_the_page_draws_its_chart(recording: dict[str, Path], tmp_path: Path) -> None:
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        if os.environ.get("GRODT_REQUIRE_BROWSER") == "1":
            pytest.fail("no Chromium on this machine: apt-get install chromium")
        pytest.skip("no Chromium on this machine: apt-get install chromium")
    page = write_page(calibrate_costs(**recording), tmp_path / "costs.html")
    dom = rendered(chromium, page, tmp_path / "profile")
    assert '<body data-ready="true">' in dom
    assert 'class="main-svg"' in dom
    for label in ("measured buy", "measured sell", "power law, delta", "square root, Y"):
        assert label in dom


def test_a_page_that_cannot_be_written_exits_6(recording: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = grodt("costs", "calibrate", *options(recording), "--html", str(tmp_path / "file" / "x.html"), home=tmp_path)
    assert done.returncode == 6
    assert "cannot be written" in done.stderr


def test_the_tables_are_printed_and_sizes_can_be_chosen(recording: dict[str, Path], tmp_path: Path) -> None:
    chosen = ("--notional", "50000", "--notional", "500000", "--symbol", "abc/usd")
    done = grodt("costs", "calibrate", *options(recording, "bbo", "depth", "trades"), *chosen, home=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "ABCUSD, 2024-08-08 00:00:00" in done.stdout
    assert "out of time" in done.stdout
    assert re.search(r"buy +│ +50k .* fit", done.stdout)
    assert re.search(r"buy +│ +30k .* test", done.stdout)
    assert "for costs.yaml: half_spread_bps: 1" in done.stdout
    assert "square root only" in done.stdout


def test_broken_and_foreign_files_exit_3(recording: dict[str, Path], tmp_path: Path) -> None:
    bbo = pl.read_parquet(recording["bbo"])
    bbo.with_columns(ask=pl.col("bid")).write_parquet(recording["bbo"])
    done = grodt("costs", "calibrate", *options(recording), home=tmp_path)
    assert done.returncode == 3
    assert "venue_xyzusdt_bbo.parquet: row 1: ask" in done.stderr
    assert grodt("costs", "calibrate", "--bbo", "absent", home=tmp_path).returncode == 2


def calibrated(files: dict[str, Path], **changes: object) -> object:
    return calibrate_costs(**{**files, **changes})  # type: ignore[arg-type]  # changes are wrong on purpose


def test_files_that_do_not_belong_together_are_refused(recording: dict[str, Path], tmp_path: Path) -> None:
    other = pl.read_parquet(recording["trades"]).with_columns(pl.col("timestamp") + pl.duration(hours=1))
    other.write_parquet(tmp_path / "later.parquet")
    with pytest.raises(DataError, match="later.parquet covers 2024-08-08 01:00:00 .* files of the same minutes"):
        calibrated(recording, trades=tmp_path / "later.parquet")
    impact = pl.read_parquet(recording["impact"])
    impact.with_columns(pl.col("buy_100000usd_bps") + 0.1).write_parquet(tmp_path / "differs.parquet")
    with pytest.raises(DataError, match=r"differs.parquet: row \d+: the cost of 100,000 differs by 0.1 bp"):
        calibrated(recording, impact=tmp_path / "differs.parquet")
    impact.head(50).write_parquet(tmp_path / "short.parquet")
    with pytest.raises(DataError, match="other snapshots than the depth file"):
        calibrated(recording, impact=tmp_path / "short.parquet")


def test_too_little_to_calibrate_is_refused(recording: dict[str, Path], tmp_path: Path) -> None:
    depth = pl.read_parquet(recording["depth"])
    for n, message in ((30, "at least 40 snapshots|no volatility"), (1, "span no time")):
        file = tmp_path / f"x_abc_depth_{n}.parquet"
        depth.head(n).write_parquet(file)
        with pytest.raises(DataError, match=message):
            calibrated(recording, depth=file, impact=None)
    with pytest.raises(DataError, match="never holds 10,000,000; leave out"):
        calibrated(recording, notionals=(1e4, 1e7))
    with pytest.raises(ConfigError, match="at least two different notionals"):
        calibrated(recording, notionals=(1e4, 1e4))
    nameless = tmp_path / "book.parquet"
    depth.write_parquet(nameless)
    with pytest.raises(ConfigError, match="pass --symbol"):
        calibrated(recording, depth=nameless)
    still = pl.read_parquet(recording["bbo"]).with_columns(bid=pl.lit(999.0), ask=pl.lit(1_001.0))
    still.write_parquet(tmp_path / "still.parquet")
    with pytest.raises(DataError, match="gives no volatility; record longer"):
        calibrated(recording, bbo=tmp_path / "still.parquet")
    rare = pl.read_parquet(recording["trades"])
    rare[[0, SECONDS - 1]].write_parquet(tmp_path / "rare.parquet")
    second_half = pl.concat([rare.head(1).with_columns(pl.col("timestamp") - pl.duration(seconds=1)), rare.tail(1)])
    second_half.write_parquet(tmp_path / "second.parquet")
    with pytest.raises(DataError, match="nothing traded between"):
        calibrated(recording, trades=tmp_path / "second.parquet")


def test_a_suggestion_is_never_rounded_down(recording: dict[str, Path]) -> None:
    found = calibrate_costs(**recording)
    assert found.y_covering <= suggestion(found)["impact_y"] <= found.y_covering * 1.01
    assert found.half_spread_bps <= suggestion(found)["half_spread_bps"] * (1 + 1e-6)
    json.dumps(as_document(found), allow_nan=False)


def test_the_costs_in_force_are_shown(tmp_path: Path) -> None:
    shown = json.loads(grodt("costs", "show", "--json", home=tmp_path).stdout)
    # QUANT_SPEC 5.2: round trips of 22 bp spot, 12 bp perpetual, 84 and 244 bp.
    names = ("binance", "binance_usdm", "kraken", "coinbase")
    assert [shown[name]["round_trip_bps"] for name in names] == [22.0, 12.0, 84.0, 244.0]
    assert shown["binance"]["as_of"]
    table = grodt("costs", "show", home=tmp_path)
    assert table.returncode == 0, table.stderr
    assert re.search(r"coinbase .* 244 ", table.stdout)
    own = tmp_path / "own"
    own.mkdir()
    (own / "costs.yaml").write_text("mine: {taker_bps: 3.0, half_spread_bps: 0.25}\n")
    mine = json.loads(grodt("costs", "show", "--config", str(own), "--json", home=tmp_path).stdout)
    assert {name: entry["round_trip_bps"] for name, entry in mine.items()} == {"mine": 6.5}
