"""How a metric is printed: percent, money, basis points; why it has no value."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from grodtd.domain.run import Metric

WHY_NULL = {
    "no_trades": "no trades",
    "zero_variance": "the returns do not vary",
    "no_losses": "nothing was lost",
    "no_wins": "nothing was won",
    "too_few_obs": "too few observations",
    "outside_domain": "the formula does not hold here",
    "ruin": "the account was wiped out",
    "no_drawdown": "equity never fell",
    "not_recovered": "not recovered yet",
    "no_stop": "trades had no stop",
}


class Described(Protocol):
    """What printing needs to know about a metric."""

    @property
    def unit(self) -> str:
        """One of fraction, quote, bps, s, bars, count, years, ratio."""


def shown(metric: Metric, info: Described) -> tuple[str, str]:
    """Return (value, note) as text."""
    notes = []
    if metric.value is None:
        return "–", WHY_NULL.get(str(metric.reason), str(metric.reason))
    value = metric.value
    if info.unit == "fraction":
        text = f"{value:,.2%}"
    elif info.unit == "quote":
        text = f"{value:,.2f}"
    elif info.unit == "bps":
        text = f"{value:,.2f} bp"
    elif info.unit == "s":
        text = f"{value / 86_400:,.1f} d"
    elif info.unit in ("bars", "count"):
        text = f"{value:,.0f}"
    else:
        text = f"{value:,.3f}"
    if metric.low_sample:
        notes.append("small sample")
    if metric.extrapolated:
        notes.append("extrapolated from less than a year")
    if metric.note:
        notes.append(metric.note)
    return text, "; ".join(notes)
