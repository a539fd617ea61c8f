"""Back-off after a failure: of a next hop, or of one destination on its way there. Pure.

Used by `mail.queue.manager`, which sets for how long.
"""

from __future__ import annotations

from gatepost.protocols.smtp.replies import Reply

_OTHERS = ("The next hop did not answer a moment ago",)
_REMEMBERED = 3600.0  # seconds that failures count after the gate has opened


class Gate:
    """until: no attempt before then (seconds since 1970). failures: in a row. reply: of the last of them.

    organization: owner of the mail that got the reply. probes: by organization, how often its mail was the first to be
    tried after it was closed. probed: whether some was since it was closed last.
    """

    __slots__ = ("failures", "organization", "probed", "probes", "reply", "until")

    def __init__(self) -> None:
        self.until = 0.0
        self.failures = 0
        self.reply: Reply | None = None
        self.organization = ""
        self.probes: dict[str, int] = {}
        self.probed = False

    def closed(self, now: float) -> bool:
        """Whether nothing may be tried yet."""
        return self.until > now

    def fail(self, reply: Reply, until: float, organization: str) -> None:
        """Close for one more failure, of an organization's mail, until a time in seconds since 1970."""
        self.failures += 1
        self.reply = reply
        self.until = until
        self.organization = organization
        self.probed = False

    def probe(self, organization: str) -> None:
        """Note the first attempt after it was closed, which is of an organization's mail."""
        self.probes[organization] = self.probes.get(organization, 0) + 1
        self.probed = True

    def reply_for(self, organization: str) -> Reply | None:
        """The reply for an organization's mail that waits here; another organization learns no host and no text."""
        if self.reply is None or organization == self.organization:
            return self.reply
        return Reply(self.reply.code, self.reply.enhanced, _OTHERS)

    def recover(self) -> None:
        """Reset after a success."""
        self.until = 0.0
        self.failures = 0
        self.reply = None
        if self.probes:
            self.probes = {}

    def open(self) -> None:
        """Let one attempt try it now, as an administrator wants. The failures count on."""
        self.until = 0.0
        self.probed = False

    def matters(self, now: float) -> bool:
        """Whether its failures still count."""
        return self.failures > 0 and now <= self.until + _REMEMBERED
