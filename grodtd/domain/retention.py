"""Which backups to keep, and how long records live: decisions only."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class BackupPolicy:
    """How many backups of which age are kept: one of each day, ISO week and month, that many of them.

    The newest verified one stands for its day, week or month; the newest where none is verified.
    """

    daily: int
    weekly: int
    monthly: int


@dataclass(frozen=True, slots=True)
class RecordPolicy:
    """After how many days records may be deleted; None keeps them.

    The ledger of trials has no entry: how often something was tried decides what a result is worth, for ever.
    """

    runs: int | None = None
    equity_curves: int | None = None


def backups_to_keep(
    times: Sequence[datetime], policy: BackupPolicy, verified: Collection[datetime] = ()
) -> set[datetime]:
    """Return which of these backups (UTC) are kept: those of the policy, the newest, and the newest verified one."""
    newest_first = sorted(times, reverse=True)
    # Proven ones first: a month must not be left with one that nobody ever restored.
    best_first = sorted(newest_first, key=lambda at: at not in verified)
    kept: set[datetime] = set(newest_first[:1])
    kept.update([at for at in newest_first if at in verified][:1])
    for count, period in (
        (policy.daily, lambda at: at.date()),
        (policy.weekly, lambda at: at.isocalendar()[:2]),
        (policy.monthly, lambda at: (at.year, at.month)),
    ):
        best_of: dict[object, datetime] = {}
        for at in best_first:
            best_of.setdefault(period(at), at)
        kept.update(sorted(best_of.values(), reverse=True)[:count])
    return kept
