"""`grodt data fetch` through ccxt, unmodified, against a local server that speaks Binance's public kline API."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlparse

import numpy as np
import pytest
from typer.testing import CliRunner

from grodtd.adapters.market_data.exchange import fetch_pages, open_exchange
from grodtd.domain.errors import ConfigError, DataError
from grodtd.entrypoints.cli.main import app
from grodtd.workflows.data import fetch_series, load_bars

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")  # ccxt leaves its HTTP session open

MINUTE_MS = 60_000
START_MS = 1_700_000_000_000 // MINUTE_MS * MINUTE_MS
N_BARS = 2_500
SYMBOL = {
    "symbol": "BTCUSDT",
    "status": "TRADING",
    "baseAsset": "BTC",
    "quoteAsset": "USDT",
    "baseAssetPrecision": 8,
    "quotePrecision": 8,
    "isSpotTradingAllowed": True,
    "permissions": ["SPOT"],
    "filters": [
        {"filterType": "PRICE_FILTER", "minPrice": "0.01", "maxPrice": "1000000", "tickSize": "0.01"},
        {"filterType": "LOT_SIZE", "minQty": "0.00001", "maxQty": "9000", "stepSize": "0.00001"},
    ],
}


class Exchange:
    """Klines every minute, a planned number of failures, and a log of what was asked."""

    def __init__(self) -> None:
        self.asked: list[int] = []
        self.failures = 0
        exchange = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                url = urlparse(self.path)
                query = {k: v[0] for k, v in parse_qs(url.query).items()}
                if url.path.endswith("/exchangeInfo"):
                    self.answer(200, {"timezone": "UTC", "serverTime": START_MS, "symbols": [SYMBOL]})
                elif url.path.endswith("/klines"):
                    if exchange.failures:
                        exchange.failures -= 1
                        self.answer(503, {"msg": "overloaded"})
                        return
                    exchange.asked.append(int(query["startTime"]))
                    self.answer(200, exchange.klines(int(query["startTime"]), int(query["limit"])))
                else:
                    self.answer(404, {"code": -1, "msg": url.path})

            def answer(self, status: int, body: object) -> None:
                content = json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: object) -> None:
                """Stay quiet."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/api/v3"
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()

    def klines(self, start_ms: int, limit: int) -> list[list[object]]:
        first = max(0, -(-(start_ms - START_MS) // MINUTE_MS))
        rows: list[list[object]] = []
        for i in range(first, min(N_BARS, first + limit)):
            at, price = START_MS + i * MINUTE_MS, 100 + i * 0.01
            numbers = [f"{price:.2f}", f"{price + 1:.2f}", f"{price - 1:.2f}", f"{price:.2f}", f"{i + 1}"]
            rows.append([at, *numbers, at + MINUTE_MS - 1, "1", 1, "1", "1", "0"])
        return rows

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


@pytest.fixture(name="exchange")
def _exchange() -> Iterator[Exchange]:
    made = Exchange()
    yield made
    made.close()


def fetch(home: Path, exchange: Exchange, *, start: int | None = 0, end: int | None = None, **more: object) -> int:
    return fetch_series(
        home,
        "binance",
        "BTC/USDT",
        "1m",
        start_us=None if start is None else (START_MS + start * MINUTE_MS) * 1_000,
        end_us=None if end is None else (START_MS + end * MINUTE_MS) * 1_000,
        api_url=exchange.url,
        wait_s=0.0,
        **more,  # type: ignore[arg-type]
    ).n_bars


def test_pages_make_one_series_and_progress_is_told(exchange: Exchange, tmp_path: Path) -> None:
    told: list[tuple[int, float]] = []
    assert fetch(tmp_path, exchange, end=N_BARS, on_page=lambda n, share: told.append((n, share))) == N_BARS
    bars = load_bars(tmp_path, "binance", "BTCUSDT", "1m")
    assert len(bars) == N_BARS
    assert (np.diff(bars.time) == MINUTE_MS * 1_000).all()
    assert bars.volume.tolist() == list(range(1, N_BARS + 1))
    assert [n for n, _ in told] == [1_000, 2_000, 2_500]
    assert told[-1][1] == 1.0


def test_it_goes_on_after_the_last_stored_bar(exchange: Exchange, tmp_path: Path) -> None:
    fetch(tmp_path, exchange, end=1_200)
    exchange.asked.clear()
    assert fetch(tmp_path, exchange, start=None, end=N_BARS) == N_BARS - 1_200
    assert exchange.asked[0] == START_MS + 1_200 * MINUTE_MS
    assert len(load_bars(tmp_path, "binance", "BTCUSDT", "1m")) == N_BARS


def test_network_errors_are_retried_and_then_named_without_losing_what_came(exchange: Exchange, tmp_path: Path) -> None:
    exchange.failures = 3
    assert fetch(tmp_path, exchange, end=500) == 500
    exchange.failures = 100
    with pytest.raises(DataError, match="run it again to go on"):
        fetch(tmp_path, exchange, start=None, end=900)
    assert exchange.failures == 94  # six attempts, no more
    assert len(load_bars(tmp_path, "binance", "BTCUSDT", "1m")) == 500


def test_the_bar_still_open_is_left_out(exchange: Exchange) -> None:
    now_us = (START_MS + 10 * MINUTE_MS + 30_000) * 1_000  # half-way through the eleventh minute
    pages = fetch_pages(
        open_exchange("binance", api_url=exchange.url),
        "BTCUSDT",
        "1m",
        start_us=START_MS * 1_000,
        end_us=now_us,
        now_us=now_us,
        wait_s=0.0,
    )
    assert [len(page) for page in pages] == [10]


def test_what_there_is_not_is_refused(exchange: Exchange, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="say where to begin with --from"):
        fetch(tmp_path, exchange, start=None)
    with pytest.raises(ConfigError, match="ccxt knows no exchange 'nowhere'"):
        open_exchange("nowhere")
    arguments = {"start_us": 0, "end_us": 10**9, "now_us": 10**15, "wait_s": 0.0}
    connected = open_exchange("binance", api_url=exchange.url)
    with pytest.raises(DataError, match="has no spot market DOGEUSDT"):
        next(fetch_pages(connected, "DOGEUSDT", "1m", **arguments))
    with pytest.raises(DataError, match="has no 7m bars"):
        next(fetch_pages(connected, "BTCUSDT", "7m", **arguments))


def test_the_command_takes_the_address_from_the_settings(
    exchange: Exchange, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRODT_ENDPOINTS__MARKET_DATA", json.dumps({"binance": exchange.url}))
    arguments = ["--venue", "binance", "--symbol", "BTCUSDT", "--home", str(tmp_path), "--json"]
    # START_MS is 2023-11-14 22:13 UTC; the ten minutes up to 22:23
    result = CliRunner().invoke(
        app, ["data", "fetch", *arguments, "--from", "2023-11-14T22:13", "--to", "2023-11-14T22:23"]
    )
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["bars"] == 10
    assert exchange.asked[0] == START_MS
