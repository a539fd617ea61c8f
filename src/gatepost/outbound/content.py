"""What is done to a message's content before it goes its way: an ordered list of steps, each makes one body of another.

Called by `outbound.attempt` for each route of an attempt, before a host is looked up. The stored message stays as it
came, so that every attempt begins with it, and a change of configuration holds for mail that waits. A step that cannot
do its work now raises, and the mail waits: it never goes on without.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from gatepost.policy.route import MxRoute, SmartHosts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gatepost.connectors.match import Directory
    from gatepost.connectors.model import OutboundConnector
    from gatepost.outbound.body import MessageBody
    from gatepost.policy.route import Route
    from gatepost.smtp.replies import Reply
    from gatepost.store.interface import Message, Recipient

__all__ = ["NO_STEPS", "ContentNotReady", "ContentStep", "ContentSteps", "Departure"]


class ContentNotReady(Exception):  # noqa: N818 - not an error of the program: it is what was found
    """The content cannot be made what it must be. reply: as if the next hop had said it. detail: for us."""

    def __init__(self, reply: Reply, detail: str) -> None:
        super().__init__(detail)
        self.reply = reply
        self.detail = detail


@dataclass(frozen=True, slots=True)
class Departure:
    """A message that goes to some recipients by one route. organization: whose message it is; it may be unknown."""

    directory: Directory
    organization: str
    message: Message
    recipients: Sequence[Recipient]
    route: Route

    @property
    def leaves(self) -> bool:
        """Whether it goes to another host by SMTP, not to a mailbox of ours."""
        return isinstance(self.route, SmartHosts | MxRoute)

    @property
    def connector(self) -> OutboundConnector | None:
        """The outbound connector whose route it is, if one chose it."""
        return self.route.connector if isinstance(self.route, SmartHosts | MxRoute) else None


class ContentStep(Protocol):
    """One thing that is done to content."""

    async def apply(self, departure: Departure, body: MessageBody) -> tuple[MessageBody, dict[str, Any]]:
        """The body to go on with, the same one if nothing is to be done, and what the trace shall say of it.

        Raises ContentNotReady, BodyUnreadable.
        """


class ContentSteps:
    """The steps of an installation, in the order in which they are taken."""

    def __init__(self, *steps: ContentStep) -> None:
        self._steps = steps

    async def made(self, departure: Departure, body: MessageBody) -> tuple[MessageBody, dict[str, Any]]:
        """The body as it is to be sent, and what the trace shall say. Raises ContentNotReady, BodyUnreadable."""
        told: dict[str, Any] = {}
        for step in self._steps:
            body, said = await step.apply(departure, body)
            told |= said
        return body, told


NO_STEPS = ContentSteps()
"""Content goes as it came."""
