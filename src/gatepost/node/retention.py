"""Forget old days of the trace, every hour, in one process of the site.

Made by `node.site_duties`. However far ahead the clock is, a few days of a record are forgotten at once, here and in
`node.evidence`: whoever sets the clock of a machine a year ahead, for an hour, takes the oldest two days of what cannot
be had again, not all of it.
"""

from __future__ import annotations

import asyncio
import logging
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from gatepost.net.tasks import SingleTask
from gatepost.store.interface import StoreFailure
from gatepost.times import day_text

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gatepost.store.trace import Trace


RETENTION_SECONDS: Final = 3600.0

DAYS_AT_ONCE: Final = 2
"""Days of a record that are forgotten at once."""

_DAY: Final = 86400.0

_log = logging.getLogger(__name__)


def forget_before(now: float, keep: float, days: Iterable[str]) -> float:
    """The time before which a record is forgotten now, seconds since 1970: no more than its oldest two days.

    keep: seconds for which it is kept. days: that it has, UTC, such as "2026-11-30".
    """
    oldest = min(days, default="")
    if not oldest:
        return now - keep
    begin = datetime.fromisoformat(oldest).replace(tzinfo=UTC).timestamp()
    return min(now - keep, begin + DAYS_AT_ONCE * _DAY)


class TraceRetention:
    """days: for which rows are kept."""

    def __init__(self, trace: Trace, days: int) -> None:
        self._trace = trace
        self._days = days
        self._running = SingleTask("retention of the trace")

    def tick(self) -> None:
        """Forget what is older, unless that is being done already."""
        self._running.begin(asyncio.to_thread, self._forget)

    def _forget(self) -> None:
        try:
            now, keep = time.time(), self._days * _DAY
            parts = self._trace.parts("", day_text(now - keep))
            names = self._trace.forget(forget_before(now, keep, (part.day for part in parts)))
        except StoreFailure as failure:
            _log.warning("the message trace: old days are not removed yet: %s", failure)
            return
        if names:
            _log.info("the message trace: removed what is older than %d days: %s", self._days, ", ".join(names))
