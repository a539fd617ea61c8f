"""Read which users and own servers reached a daily limit today, or sent much, and what they sent before.

Called by `analysis.reports.mail_facts` on a thread, since it blocks. What it means is decided in
`analysis.alarms.senders`.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from gatepost.analysis.alarms.senders import NotableSender
from gatepost.store.interface import StoreFailure
from gatepost.times import day_text

if TYPE_CHECKING:
    from gatepost.store.sending_usage import SenderUsage, UsageTable


_DAY: Final = 86400.0
_DAYS: Final = 35  # before today, that say what is usual: a letter on the first Monday of each month is

_log = logging.getLogger(__name__)


class NotableSenders:
    """usage: of senders. much: recipients a day from which on one is compared with the days before; 0: none is."""

    def __init__(self, usage: UsageTable, much: int) -> None:
        self._usage = usage
        self._much = much

    def find(self, now: float) -> tuple[NotableSender, ...] | None:
        """Those of today (UTC), but for those whose limit an administrator lifted; None if they cannot be read."""
        try:
            rows = self._usage.notable(day_text(now), self._much)
            return tuple(self._sender(row, now) for row in rows if not row.lifted)
        except StoreFailure as failure:
            _log.warning("who is beyond a daily limit, or sends more than usual, is not known: %s", failure)
            return None

    def _sender(self, row: SenderUsage, now: float) -> NotableSender:
        """Raises StoreFailure."""
        days = [day_text(now - number * _DAY) for number in range(1, _DAYS + 1)]
        busiest, first = self._usage.history(days, row.organization, row.subject)
        if row.subject.startswith("user "):
            # Before everybody was counted, others of the organization were: those that had a limit.
            _, others = self._usage.history(days, row.organization)
            since = self._usage.counted_since(days)
            first = max(others, since) if others and since else ""
        known = days.index(first) + 1 if first else 0
        return NotableSender(row.organization, row.subject, row.breach, row.recipients, busiest, known)
