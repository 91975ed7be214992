"""GRODT: from an intraday strategy idea to honest evidence.

>>> import grodtd as gd                                                        # doctest: +SKIP
>>> bars = gd.load_bars("binance", "BTCUSDT", "1m", start="2023-01-01")        # doctest: +SKIP
>>> result = gd.backtest(bars, "s1_trend", {"ema_bars": 21})                   # doctest: +SKIP
>>> result.trades, result.equity, result.metrics, result.report("s1.html")     # doctest: +SKIP
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from grodtd.workflows.api import Account, Bars, Costs, Instrument, Result, Sizing, backtest, load_bars, synthetic

__all__ = ["Account", "Bars", "Costs", "Instrument", "Result", "Sizing", "backtest", "load_bars", "synthetic"]


def __getattr__(name: str) -> Any:  # Any: whatever the API module holds
    """Import the API only when it is used, so that `import grodtd` and `grodt --help` stay instant."""
    if name in __all__:
        return getattr(import_module("grodtd.workflows.api"), name)
    raise AttributeError(f"module 'grodtd' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)


class _Package(ModuleType):
    """Keep `gd.backtest` the function: importing the subpackage of that name would bind it here instead.

    `from grodtd.backtest.engine import ...` is not touched by this; it does not go through the attribute.
    """

    def __setattr__(self, name: str, value: object) -> None:
        if not (name in __all__ and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
