"""Log each failed TLS handshake of a client, rate-limited.

Called by `mail.inbound.session`. They are nowhere else: who refuses our certificate has sent nothing yet. What is
refused later is a line of `events.log_lines` and a row of the trace. What is left out is counted.
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from gatepost.policy.connectors.facts import SessionFacts


_log = logging.getLogger(__name__)


class HandshakeLog:
    """Of one process. lines: written at most in one second, the rest of it is counted; clock: seconds, never back."""

    __slots__ = ("_clock", "_left_out", "_lines", "_second", "_written")

    def __init__(self, lines: int = 10, clock: Callable[[], float] = time.monotonic) -> None:
        self._lines = lines
        self._clock = clock
        self._second = -1
        self._written = 0
        self._left_out = 0

    def failed(self, facts: SessionFacts, detail: str) -> None:
        """A client with which TLS could not be agreed. detail: what OpenSSL says; an alert is the client's own word."""
        if self._has_room():
            who = f"session {facts.session_id} {facts.peer_ip} ({facts.hello})"
            _log.info("TLS handshake failed: %s", _printable(f"{who}: {detail}"))

    def _has_room(self) -> bool:
        if not _log.isEnabledFor(logging.INFO):
            return False
        second = int(self._clock())
        if second != self._second:
            self._second, self._written = second, 0
            if self._left_out:
                _log.info("%d more lines about handshakes were left out", self._left_out)
                self._left_out = 0
        if self._written >= self._lines:
            self._left_out += 1
            return False
        self._written += 1
        return True


def _printable(text: str) -> str:
    """Peers choose addresses and certificates: none of their text ends a line of the log or begins one."""
    return text if text.isprintable() else "".join(one if one.isprintable() else "?" for one in text)
