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
    from collections.abc import Collection, Mapping, Sequence

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
        days = [day_text(now - number * _DAY) for number in range(1, _DAYS + 1)]
        try:
            rows = [row for row in self._usage.notable(day_text(now), self._much) if not row.lifted]
            since = self._users_since({row.organization for row in rows if _is_user(row)}, days)
            return tuple(self._sender(row, days, since) for row in rows)
        except StoreFailure as failure:
            _log.warning("who is beyond a daily limit, or sends more than usual, is not known: %s", failure)
            return None

    def _users_since(self, organizations: Collection[str], days: Sequence[str]) -> dict[str, str]:
        """The first day on which all users of each organization were counted, "" for none; once for each of them.

        Before everybody was counted, some of an organization were: those that had a limit.
        """
        everybody = self._usage.counted_since(days) if organizations else ""
        firsts = {name: self._usage.first_day(days, name) for name in organizations} if everybody else {}
        return {name: max(first, everybody) if first else "" for name, first in firsts.items()}

    def _sender(self, row: SenderUsage, days: Sequence[str], since: Mapping[str, str]) -> NotableSender:
        """Raises StoreFailure."""
        busiest, first = self._usage.history(days, row.organization, row.subject)
        if _is_user(row):
            first = since.get(row.organization, "")
        known = days.index(first) + 1 if first else 0
        return NotableSender(row.organization, row.subject, row.breach, row.recipients, busiest, known)


def _is_user(row: SenderUsage) -> bool:
    return row.subject.startswith("user ")
