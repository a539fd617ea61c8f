"""Choose which failed TLS handshakes of clients are told of: a client that fails comes back, often each few seconds.

Used by `mail.inbound.refusals`. The metric `gatepost_tls_failures_total` counts every one of them.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from gatepost.net.listener import source_of

AGAIN_SECONDS: Final = 600.0
"""For so long the same client is not told of again for the same reason."""

_REMEMBERED: Final = 4096  # clients and reasons
_A_MINUTE: Final = 60  # told at most, of clients that are known, and of others


class FailedHandshakes:
    """For all sessions of a worker. clock: seconds, never going back."""

    __slots__ = ("_clock", "_minute", "_told", "_told_this_minute")

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._told: dict[tuple[str, str], float] = {}
        self._minute = -1
        self._told_this_minute = {True: 0, False: 0}

    def is_news(self, host: str, why: str, *, known: bool) -> bool:
        """Whether the trace and the log get it. known: the client keeps its limits in a flood, and its room here."""
        key, now = (source_of(host), why), self._clock()
        if now - self._told.get(key, -AGAIN_SECONDS) < AGAIN_SECONDS or not self._has_room(int(now // 60), known=known):
            return False
        self._told.pop(key, None)
        self._told[key] = now
        if len(self._told) > _REMEMBERED:
            del self._told[next(iter(self._told))]
        return True

    def _has_room(self, minute: int, *, known: bool) -> bool:
        if minute != self._minute:
            self._minute, self._told_this_minute = minute, {True: 0, False: 0}
        self._told_this_minute[known] += 1
        return self._told_this_minute[known] <= _A_MINUTE
