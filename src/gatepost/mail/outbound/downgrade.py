"""Log that messages with REQUIRETLS left without it, where a connector is relaxed (RFC 8689).

Called by `mail.outbound.deliverer` for each transaction. At most one line a minute for a host, whatever the traffic;
the trace has every message.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from gatepost.mail.outbound.hop import OpenHop


_log = logging.getLogger(__name__)

_EVERY = 60.0
_HOSTS = 1000


class DowngradeLog:
    """clock: seconds, never going back."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._told: dict[str, float] = {}
        self._untold = 0

    def sent(self, message: int, opened: OpenHop) -> None:
        """A message that asks for REQUIRETLS was sent over a connection."""
        hop = opened.hop
        if opened.facts.requiretls_offered or not hop.without_requiretls.startswith("relaxed"):
            return
        now = self._clock()
        if now - self._told.get(hop.host, now - _EVERY) < _EVERY:
            self._untold += 1
            return
        if len(self._told) >= _HOSTS:
            self._told.clear()
        self._told[hop.host] = now
        more = f" ({self._untold} more since the last such line)" if self._untold else ""
        self._untold = 0
        _log.warning("message %d left for %s without REQUIRETLS: %s%s", message, hop.host, hop.without_requiretls, more)
