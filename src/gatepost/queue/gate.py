"""Whether what failed is left alone for now: a next hop, or the mail of one destination on its way there. Pure.

Used by `queue.manager`, which says for how long.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gatepost.smtp.replies import Reply

__all__ = ["Gate"]

_REMEMBERED = 3600.0  # seconds that failures count after the gate has opened


class Gate:
    """until: no attempt before then (seconds since 1970). failures: in a row. reply: what the last of them said."""

    __slots__ = ("failures", "reply", "until")

    def __init__(self) -> None:
        self.until = 0.0
        self.failures = 0
        self.reply: Reply | None = None

    def closed(self, now: float) -> bool:
        """Whether nothing may be tried yet."""
        return self.until > now

    def fail(self, reply: Reply, until: float) -> None:
        """It failed once more: leave it alone until then."""
        self.failures += 1
        self.reply = reply
        self.until = until

    def recover(self) -> None:
        """It works."""
        self.until = 0.0
        self.failures = 0
        self.reply = None

    def open(self) -> None:
        """An administrator wants it tried now. The failures count on: one attempt tries it."""
        self.until = 0.0

    def matters(self, now: float) -> bool:
        """Whether its failures are still to be remembered."""
        return self.failures > 0 and now <= self.until + _REMEMBERED
