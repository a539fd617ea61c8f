"""Limit how much of an old record is forgotten at once: a few days of it, however far ahead the clock is.

Used by `node.retention` for the trace and `node.evidence` for the evidence log, every hour. Whoever sets the clock of a
machine a year ahead, for an hour, takes the oldest two days of what cannot be had again, not all of it. Pure.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

DAYS_AT_ONCE: Final = 2
"""Days of a record that are forgotten at once."""

_DAY: Final = 86400.0


def forget_before(now: float, keep: float, days: Iterable[str]) -> float:
    """The time before which a record is forgotten now, seconds since 1970: no more than its oldest two days.

    keep: seconds for which it is kept. days: that it has, UTC, such as "2026-11-30".
    """
    oldest = min(days, default="")
    if not oldest:
        return now - keep
    begin = datetime.fromisoformat(oldest).replace(tzinfo=UTC).timestamp()
    return min(now - keep, begin + DAYS_AT_ONCE * _DAY)
