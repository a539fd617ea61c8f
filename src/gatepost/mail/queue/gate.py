"""Back-off after a failure: of a next hop, or of one destination on its way there. Pure.

Used by `mail.queue.manager`, which says for how long.
"""

from __future__ import annotations

from gatepost.protocols.smtp.replies import Reply

_OTHERS = ("The next hop did not answer a moment ago",)
_REMEMBERED = 3600.0  # seconds that failures count after the gate has opened


class Gate:
    """until: no attempt before then (seconds since 1970). failures: in a row. reply: what the last of them said.

    organization: whose mail was told that.
    """

    __slots__ = ("failures", "organization", "reply", "until")

    def __init__(self) -> None:
        self.until = 0.0
        self.failures = 0
        self.reply: Reply | None = None
        self.organization = ""

    def closed(self, now: float) -> bool:
        """Whether nothing may be tried yet."""
        return self.until > now

    def fail(self, reply: Reply, until: float, organization: str) -> None:
        """It failed once more, for mail of an organization: leave it alone until then."""
        self.failures += 1
        self.reply = reply
        self.until = until
        self.organization = organization

    def told(self, organization: str) -> Reply | None:
        """What mail of an organization is told that waits here; hosts and words are for whom they were said to."""
        if self.reply is None or organization == self.organization:
            return self.reply
        return Reply(self.reply.code, self.reply.enhanced, _OTHERS)

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
