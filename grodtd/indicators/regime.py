"""The market regime as an indicator: causal, rule-based, with hysteresis and confirmation (QUANT_SPEC 6)."""

from __future__ import annotations

import math
from enum import IntEnum
from typing import Final

from grodtd.domain.bars import Bar, FloatArray
from grodtd.domain.errors import StrategyError
from grodtd.domain.indicator import Indicator
from grodtd.domain.kernel import kernel
from grodtd.indicators.averages import checked_window


class Regime(IntEnum):
    """What the market is doing, as the indicator's value; names as in configuration and results."""

    RANGING = 0
    TRENDING = 1
    HIGH_VOLATILITY = 2
    TRANSITION = 3


_RANGING: Final = float(Regime.RANGING)
_TRENDING: Final = float(Regime.TRENDING)
_HIGH: Final = float(Regime.HIGH_VOLATILITY)
_TRANSITION: Final = float(Regime.TRANSITION)

# State: parameters, then what is remembered.
_FAST, _SLOW, _TREND = 0, 1, 2  # weights of the newest bar
_HIGH_IN, _HIGH_OUT, _TREND_IN, _TREND_OUT = 3, 4, 5, 6
_CONFIRM, _TRANSITION_BARS, _YOUNG_BARS, _FREEZE_BARS = 7, 8, 9, 10
_CLOSE, _SEEN = 11, 12
_FAST_SQ, _FAST_W, _SLOW_SQ, _SLOW_W, _MEAN, _MEAN_SQ, _MEAN_W = 13, 14, 15, 16, 17, 18, 19
_LABEL, _CANDIDATE, _HELD, _SINCE, _THAW = 20, 21, 22, 23, 24
_REMEMBERED: Final = 14
_SETTLED: Final = 0.98  # weight of the bars seen in the fast average


def regime(
    *,
    fast_span: int = 20,
    slow_span: int = 5_000,
    trend_span: int = 200,
    high_enter: float = 2.1,
    high_leave: float = 1.8,
    trend_enter: float = 2.5,
    trend_leave: float = 1.2,
    confirm_bars: int = 3,
    transition_bars: int = 30,
    freeze_bars: int = 50,
) -> Indicator:
    """Return the classifier: a `Regime` after each close.

    High volatility: the fast root mean square return is more than `high_enter` times the slow one, which stands still
    while the label is high volatility. Else trending: the average return, in units of its own standard error under
    noise, exceeds `trend_enter`. Else ranging. A label is left below its lower threshold, and a new one must be seen
    `confirm_bars` times in a row; for `transition_bars` after such a change the value is TRANSITION.

    While the slow average is young (the first `slow_span` bars) it starts afresh where the market turns out to be far
    calmer than it: a history that begins in high volatility would else pass for normal for days.

    Parameters
    ----------
    fast_span, slow_span, trend_span : int
        Spans of exponential averages, in bars.
    high_enter, high_leave, trend_enter, trend_leave : float
    confirm_bars : int
    transition_bars : int
        0: the three classes only.
    freeze_bars : int
        The slow average stays frozen so long after high volatility too: a label that flickers for a few bars would else
        let high volatility into its own yardstick, until a long stretch of it passes for normal.

    Raises
    ------
    StrategyError
        If a span, a threshold or a number of bars makes no sense.
    """
    for name, span in (("fast_span", fast_span), ("slow_span", slow_span), ("trend_span", trend_span)):
        checked_window(f"regime: {name}", span, at_least=2)
    if not fast_span < slow_span:
        raise StrategyError(f"regime needs fast_span < slow_span, found {fast_span} and {slow_span}")
    for name, leave, enter in (("high", high_leave, high_enter), ("trend", trend_leave, trend_enter)):
        if not 0 < leave <= enter:
            raise StrategyError(f"regime needs 0 < {name}_leave <= {name}_enter, found {leave} and {enter}")
    if high_leave <= 1:
        raise StrategyError(f"regime needs high_leave above 1, the normal ratio, found {high_leave}")
    checked_window("regime: confirm_bars", confirm_bars)
    if transition_bars:
        checked_window("regime: transition_bars", transition_bars)
    checked_window("regime: freeze_bars", freeze_bars)
    weights = tuple(2.0 / (span + 1.0) for span in (fast_span, slow_span, trend_span))
    rules = (high_enter, high_leave, trend_enter, trend_leave, float(confirm_bars), float(transition_bars))
    state = (*weights, *rules, float(slow_span), float(freeze_bars), *([0.0] * _REMEMBERED))
    return Indicator("regime", _update, state, warmup_bars=5 * trend_span)


@kernel
def _update(state: FloatArray, bar: Bar) -> float:
    previous = state[_CLOSE]
    state[_CLOSE] = bar.close
    state[_SEEN] += 1.0
    if state[_SEEN] == 1.0:
        return math.nan
    move = math.log(bar.close / previous)
    square = move * move
    # Averages with weights that sum to one from the first bar on: no seed to forget.
    fast, slow, trend = state[_FAST], state[_SLOW], state[_TREND]
    state[_FAST_SQ] += fast * (square - state[_FAST_SQ])
    state[_FAST_W] += fast * (1.0 - state[_FAST_W])
    state[_THAW] = state[_FREEZE_BARS] if state[_LABEL] == _HIGH else max(state[_THAW] - 1.0, 0.0)
    if state[_THAW] == 0.0:
        state[_SLOW_SQ] += slow * (square - state[_SLOW_SQ])
        state[_SLOW_W] += slow * (1.0 - state[_SLOW_W])
    state[_MEAN] += trend * (move - state[_MEAN])
    state[_MEAN_SQ] += trend * (square - state[_MEAN_SQ])
    state[_MEAN_W] += trend * (1.0 - state[_MEAN_W])

    if state[_SEEN] < state[_YOUNG_BARS] and state[_FAST_W] > _SETTLED:
        quiet = state[_FAST_SQ] / state[_FAST_W]
        if quiet * state[_HIGH_OUT] ** 2 < state[_SLOW_SQ] / state[_SLOW_W]:
            state[_SLOW_SQ] = quiet * state[_SLOW_W]

    calm = state[_SLOW_SQ] / state[_SLOW_W]
    ratio = math.sqrt(state[_FAST_SQ] / state[_FAST_W] / calm) if calm > 0.0 else 1.0
    spread = math.sqrt(state[_MEAN_SQ] * state[_MEAN_W])
    strength = abs(state[_MEAN]) / spread * math.sqrt((2.0 - trend) / trend) if spread > 0.0 else 0.0

    label = state[_LABEL]
    seen = _RANGING
    if ratio > (state[_HIGH_OUT] if label == _HIGH else state[_HIGH_IN]):
        seen = _HIGH
    elif strength > (state[_TREND_OUT] if label == _TRENDING else state[_TREND_IN]):
        seen = _TRENDING
    if seen == label:
        state[_HELD] = 0.0
    else:
        state[_HELD] = state[_HELD] + 1.0 if seen == state[_CANDIDATE] else 1.0
        state[_CANDIDATE] = seen
        if state[_HELD] >= state[_CONFIRM]:
            state[_LABEL] = seen
            state[_HELD] = 0.0
            state[_SINCE] = state[_TRANSITION_BARS] + 1.0
    state[_SINCE] = max(state[_SINCE] - 1.0, 0.0)
    return _TRANSITION if state[_SINCE] > 0.0 else float(state[_LABEL])
