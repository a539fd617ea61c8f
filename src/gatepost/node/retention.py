"""Forget old days of the trace, every hour, in one process of the site.

Made by `node.site_duties`. How many at once is said by `store.retention`.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING, Final

from gatepost.net.tasks import SingleTask
from gatepost.store.interface import StoreFailure
from gatepost.store.retention import forget_before
from gatepost.times import day_text

if TYPE_CHECKING:
    from gatepost.store.trace import Trace


RETENTION_SECONDS: Final = 3600.0

_DAY: Final = 86400.0

_log = logging.getLogger(__name__)


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
