"""Every strategy GRODT ships, by name: one line each, on purpose."""

from __future__ import annotations

from grodtd.domain.errors import StrategyError
from grodtd.domain.strategy import Strategy
from grodtd.strategies.baselines import BUY_AND_HOLD, RANDOM_ENTRY
from grodtd.strategies.s1_trend import S1_TREND
from grodtd.strategies.s2_reversion import S2_REVERSION
from grodtd.strategies.s3_breakout import S3_BREAKOUT

STRATEGIES: dict[str, Strategy] = {
    "s1_trend": S1_TREND,
    "s2_reversion": S2_REVERSION,
    "s3_breakout": S3_BREAKOUT,
    "buy_and_hold": BUY_AND_HOLD,
    "random_entry": RANDOM_ENTRY,
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
