"""Every strategy GRODT ships, by name: one line each, on purpose."""

from __future__ import annotations

from grodtd.domain.errors import StrategyError
from grodtd.domain.strategy import Strategy
from grodtd.strategies.s1_trend import S1_TREND

STRATEGIES: dict[str, Strategy] = {
    "s1_trend": S1_TREND,
}


def strategy_named(name: str) -> Strategy:
    """Return the registered strategy.

    Raises
    ------
    StrategyError
        If there is no such strategy; the message lists those there are.
    """
    if name not in STRATEGIES:
        raise StrategyError(f"no strategy named {name!r}; there are: {', '.join(sorted(STRATEGIES))}")
    return STRATEGIES[name]
