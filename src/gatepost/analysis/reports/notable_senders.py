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
            known = self._known({row.organization for row in rows if _is_user(row)}, days)
            return tuple(self._sender(row, days, known) for row in rows)
        except StoreFailure as failure:
            _log.warning("who is beyond a daily limit, or sends more than usual, is not known: %s", failure)
            return None

    def _known(self, organizations: Collection[str], days: Sequence[str]) -> dict[str, int]:
        """Days for which all users of each organization were counted: before, only those with a limit were."""
        everybody = self._usage.everybody_counted(days) if organizations else 0
        return {name: min(everybody, _age(self._usage.first_day(days, name), days)) for name in organizations}

    def _sender(self, row: SenderUsage, days: Sequence[str], known: Mapping[str, int]) -> NotableSender:
        """Raises StoreFailure."""
        busiest, first = self._usage.history(days, row.organization, row.subject)
        age = known[row.organization] if _is_user(row) else _age(first, days)
        return NotableSender(row.organization, row.subject, row.breach, row.recipients, busiest, age)


def _is_user(row: SenderUsage) -> bool:
    return row.subject.startswith("user ")


def _age(first: str, days: Sequence[str]) -> int:
    return days.index(first) + 1 if first else 0
