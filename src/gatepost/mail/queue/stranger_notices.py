"""Decide whether a notice goes to a stranger: to the sender of mail from a server that nobody knows.

Called by `mail.queue.bounce` before it makes one. Such senders may be forged, so each organization says how many
notices they get (`notices_to_strangers`). What is withheld is counted, and the trace says so.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gatepost.events.metrics import catalogue as metrics
from gatepost.events.metrics.counts import Counts
from gatepost.policy.connectors.values import StrangerNotices

if TYPE_CHECKING:
    from collections.abc import Callable

    from gatepost.mail.model.message import Message


LIMIT_ADDRESS: Final = 3
"""Notices in an hour to one address of a stranger, where they are limited."""
LIMIT_ORGANIZATION: Final = 60
"""Notices in an hour about an organization's mail from strangers, where they are limited."""

_ADDRESSES: Final = 10_000  # that have a count of their own in an hour; further ones get no notice in it

# What identifies a server, and not only the address that it wrote as its sender.
_UNKNOWN: Final = frozenset({"none", "sender", ""})


def is_from_stranger(message: Message) -> bool:
    """Whether no connector identified the server that brought the message by certificate or address."""
    if message.direction != "incoming":
        return False
    facts = message.inbound.get("handover") or message.inbound
    return facts.get("basis", "") in _UNKNOWN


class NoticesToStrangers:
    """choice: what an organization chose, by its name. clock: seconds. counts: of notices that are withheld."""

    def __init__(
        self, choice: Callable[[str], StrangerNotices], clock: Callable[[], float], counts: Counts | None = None
    ) -> None:
        self._choice = choice
        self._clock = clock
        self._counts = counts or Counts()
        self._hour = 0
        self._sent: dict[tuple[str, str], int] = {}  # (organization, address), and (organization, "") for all

    def is_limited(self, message: Message, organization: str) -> bool:
        """Whether a notice about the message must not hold its body."""
        return is_from_stranger(message) and self._choice(organization) is StrangerNotices.LIMITED

    def withheld(self, message: Message, organization: str, *, failed: bool) -> str:
        """Why the notice is withheld, "" if it goes; then it is counted. failed: it is about a failure."""
        if not is_from_stranger(message):
            return ""
        choice = self._choice(organization)
        if choice is StrangerNotices.SEND:
            return ""
        why = "by notices_to_strangers of the organization"
        if choice is StrangerNotices.LIMITED:
            why = self._beyond(organization, message.reverse_path.lower()) if failed else "only failures are notified"
        if why:
            self._counts.add((metrics.NOTICES_WITHHELD.name, str(choice)))
        return f"withheld: {why}" if why else ""

    def _beyond(self, organization: str, address: str) -> str:
        """Count one notice; the limit that it is beyond, "" if none."""
        if self._hour != (hour := int(self._clock() // 3600)):
            self._hour, self._sent = hour, {}
        own, together = (organization, address), (organization, "")
        if self._sent.get(own, 0) >= LIMIT_ADDRESS:
            return f"the address had {LIMIT_ADDRESS} notices in this hour"
        if self._sent.get(together, 0) >= LIMIT_ORGANIZATION or len(self._sent) >= _ADDRESSES:
            return f"strangers had {LIMIT_ORGANIZATION} notices in this hour"
        for key in (own, together):
            self._sent[key] = self._sent.get(key, 0) + 1
        return ""
