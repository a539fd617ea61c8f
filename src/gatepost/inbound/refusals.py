"""A line in the log for each refusal, so that an administrator sees it where he looks first; bounded in a flood.

Called by `inbound.session` for every refused MAIL, RCPT and message. The trace has them all, with every reason; what is
left out here is counted.
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
        if not _log.isEnabledFor(logging.INFO):
            return
        second = int(self._clock())
        if second != self._second:
            self._second, self._written = second, 0
            if self._left_out:
                _log.info("%d more refusals were not logged; gatepost trace search --event REFUSE", self._left_out)
                self._left_out = 0
        if self._written >= self._lines:
            self._left_out += 1
            return
        self._written += 1
        why = verdict.reasons[-1] if verdict.reasons and reply is verdict.reply else ""
        way = f"<{envelope[0]}> -> <{envelope[1]}>" if envelope[1] else f"<{envelope[0]}>"  # "<>" is the null path
        said = f"session {facts.session_id} {facts.peer_ip} {way}: {reply.text}"
        _log.info("refused: %s", _printable(f"{said} ({why})" if why else said))


def _printable(text: str) -> str:
    """Peers choose addresses and certificates: none of their text ends a line of the log or begins one."""
    return text if text.isprintable() else "".join(one if one.isprintable() else "?" for one in text)
