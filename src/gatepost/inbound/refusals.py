"""A line in the log for each refusal and each TLS handshake that fails, where an administrator looks first; bounded.

Called by `inbound.session` for every refused MAIL, RCPT and message, which the trace has too, with every reason; and
for handshakes, which are nowhere else: who refuses our certificate has sent nothing yet. What is left out is counted.
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from gatepost.policy.facts import SessionFacts
    from gatepost.policy.inbound import InboundVerdict
    from gatepost.smtp.replies import Reply

__all__ = ["RefusalLog"]

_log = logging.getLogger(__name__)


class RefusalLog:
    """Of one process. lines: written at most in one second, the rest of it is counted; clock: seconds, never back."""

    __slots__ = ("_clock", "_left_out", "_lines", "_second", "_written")

    def __init__(self, lines: int = 10, clock: Callable[[], float] = time.monotonic) -> None:
        self._lines = lines
        self._clock = clock
        self._second = -1
        self._written = 0
        self._left_out = 0

    def refused(self, facts: SessionFacts, envelope: tuple[str, str], verdict: InboundVerdict, reply: Reply) -> None:
        """One refusal. envelope: reverse-path and forward-path, "" as far as they were not said."""
        if not self._has_room():
            return
        why = verdict.reasons[-1] if verdict.reasons and reply is verdict.reply else ""
        way = f"<{envelope[0]}> -> <{envelope[1]}>" if envelope[1] else f"<{envelope[0]}>"  # "<>" is the null path
        said = f"session {facts.session_id} {facts.peer_ip} {way}: {reply.text}"
        _log.info("refused: %s", _printable(f"{said} ({why})" if why else said))

    def no_handshake(self, facts: SessionFacts, detail: str) -> None:
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
                _log.info("%d more lines were left out; gatepost trace search --event REFUSE", self._left_out)
                self._left_out = 0
        if self._written >= self._lines:
            self._left_out += 1
            return False
        self._written += 1
        return True


def _printable(text: str) -> str:
    """Peers choose addresses and certificates: none of their text ends a line of the log or begins one."""
    return text if text.isprintable() else "".join(one if one.isprintable() else "?" for one in text)
