"""Bars from an exchange's public API, through ccxt: paged, rate-limited, retried, never with a bar still open."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import ccxt
import numpy as np
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_exponential

from grodtd.adapters.market_data.catalogue import last_complete_us
from grodtd.adapters.market_data.importers import normal_symbol
from grodtd.domain.bars import US_PER_S, Bars, timeframe_s
from grodtd.domain.errors import ConfigError, DataError

PAGE_BARS: Final = 1_000
ATTEMPTS: Final = 6
_US_PER_MS: Final = 1_000


def open_exchange(venue: str, *, api_url: str | None = None) -> Any:  # Any: ccxt builds its classes at run time
    """Return a ccxt exchange for public spot data.

    Parameters
    ----------
    venue : str
        ccxt's id of the exchange, for example ``binance``.
    api_url : str, optional
        Another address for its public API: a mirror or a sandbox.

    Raises
    ------
    ConfigError
        If ccxt has no such exchange.
    """
    if venue not in ccxt.exchanges:
        raise ConfigError(
            f"ccxt knows no exchange {venue!r}; `grodt data fetch` takes its ids, for example binance, kraken"
        )
    exchange = getattr(ccxt, venue)({"enableRateLimit": True, "options": {"fetchMarkets": {"types": ["spot"]}}})
    if api_url is not None:
        exchange.urls["api"] = {**exchange.urls["api"], "public": api_url}
    return exchange


def fetch_pages(
    exchange: Any,  # Any: as above
    symbol: str,
    timeframe: str,
    *,
    start_us: int,
    end_us: int,
    now_us: int,
    wait_s: float = 1.0,
) -> Iterator[Bars]:
    """Yield checked runs of bars that open in [start_us, end_us) and are closed at `now_us`, oldest first.

    Parameters
    ----------
    wait_s : float
        First pause after a network error; doubles with each of at most six attempts.

    Raises
    ------
    DataError
        If the exchange has no such symbol or timeframe, stays unreachable, or answers with broken bars.
    """
    interval_us = timeframe_s(timeframe) * US_PER_S
    end_us = min(end_us, last_complete_us(now_us, timeframe) + interval_us)
    retrying = Retrying(
        retry=retry_if_exception_type(ccxt.NetworkError),
        stop=stop_after_attempt(ATTEMPTS),
        wait=wait_exponential(multiplier=wait_s, max=60),
        reraise=True,
    )
    try:
        retrying(exchange.load_markets)
        market = _market(exchange, symbol)
        if timeframe not in exchange.timeframes:
            raise DataError(f"{exchange.id} has no {timeframe} bars; it has {', '.join(exchange.timeframes)}")
        at = start_us
        while at < end_us:
            rows = retrying(exchange.fetch_ohlcv, market["symbol"], timeframe, at // _US_PER_MS, PAGE_BARS)
            fresh = [row for row in rows if at <= row[0] * _US_PER_MS < end_us]
            if not fresh:
                return  # nothing from here on: an outage at the end, or a symbol that is no longer traded
            yield _bars(fresh, exchange.id, symbol, timeframe)
            at = int(fresh[-1][0]) * _US_PER_MS + interval_us
    except ccxt.BaseError as error:
        raise DataError(
            f"{exchange.id}: {type(error).__name__}: {error}. What came before is stored; run it again to go on"
        ) from error


def _market(exchange: Any, symbol: str) -> dict[str, Any]:  # Any: ccxt's dictionaries
    for market in exchange.markets.values():
        if market.get("spot") and normal_symbol(market["symbol"]) == normal_symbol(symbol):
            return dict(market)
    raise DataError(f"{exchange.id} has no spot market {symbol}")


def _bars(rows: list[list[float]], venue: str, symbol: str, timeframe: str) -> Bars:
    table = np.array(rows, dtype=np.float64)
    time = table[:, 0].astype(np.int64) * _US_PER_MS
    return Bars(
        time,
        open=table[:, 1],
        high=table[:, 2],
        low=table[:, 3],
        close=table[:, 4],
        volume=table[:, 5],
        venue=venue,
        symbol=normal_symbol(symbol),
        timeframe=timeframe,
    )
