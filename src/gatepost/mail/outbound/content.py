"""The content steps that run before a message leaves: an ordered list, each makes a new body of the one before.

Called by `mail.outbound.deliverer` for each route of an attempt, before a host is looked up. The stored message stays
as it came, so that every attempt begins with it, and a change of configuration holds for mail that waits. A step that
cannot do its work now raises, and the mail waits: it never goes on without.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from gatepost.policy.decisions.routes import InternalRoute, LmtpRoute, MailboxRoute, MxRoute, SmartHosts, Unroutable
from gatepost.values import replace

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gatepost.mail.model.message import Delivery, Message, Recipient
    from gatepost.mail.outbound.body import MessageBody
    from gatepost.policy.connectors.directory import Directory
    from gatepost.policy.connectors.records import OutboundConnector
    from gatepost.policy.decisions.routes import Route
    from gatepost.protocols.smtp.replies import Reply


class ContentNotReady(Exception):  # noqa: N818 - not an error of the program: it is what was found
    """The content cannot be made what it must be.

    reply: as if the next hop had said it. detail: for us. record: further keys for the trace.
    """

    def __init__(self, reply: Reply, detail: str, record: Mapping[str, Any] = MappingProxyType({})) -> None:
        super().__init__(detail)
        self.reply = reply
        self.detail = detail
        self.record = record


class OutgoingMessage(msgspec.Struct, frozen=True):
    """A message that goes to some recipients by one route. organization: its owner, which may be unknown."""

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
    def domain_owner(self) -> str:
        """The organization that accepts the recipients' domain, "" for none."""
        return "" if isinstance(self.route, InternalRoute | Unroutable) else self.route.domain_owner

    @property
    def connector(self) -> OutboundConnector | None:
        """The outbound connector of the route, if one chose it."""
        return self.route.connector if isinstance(self.route, SmartHosts | MxRoute) else None


class ContentStep(Protocol):
    """One change of content."""

    async def apply(self, outgoing: OutgoingMessage, body: MessageBody) -> tuple[MessageBody, dict[str, Any]]:
        """Return the body for the next step, the same one if nothing is to be done, and keys for the trace.

        Raises ContentNotReady, BodyUnreadable.
        """


class Divider(Protocol):
    """Divides recipients on one route into groups that need different content."""

    async def divided(self, outgoing: OutgoingMessage, body: MessageBody) -> list[list[Recipient]]:
        """The recipients in groups, each of which is an outgoing message of its own. Raises BodyUnreadable."""


class ContentSteps:
    """The steps of an installation, in the order in which they run. dividers: run before the first of them."""

    def __init__(self, *steps: ContentStep, dividers: Sequence[Divider] = ()) -> None:
        self._steps = steps
        self._dividers = dividers

    async def divided(
        self, directory: Directory, delivery: Delivery, routes: list[tuple[Route, list[Recipient]]], body: MessageBody
    ) -> list[tuple[Route, list[Recipient]]]:
        """The routes of a delivery, once for each group of recipients. Raises BodyUnreadable."""
        for divider in self._dividers:
            narrowed: list[tuple[Route, list[Recipient]]] = []
            for route, recipients in routes:
                if len(recipients) == 1:
                    narrowed.append((route, recipients))
                    continue
                outgoing = OutgoingMessage(directory, delivery.organization, delivery.message, recipients, route)
                groups = await divider.divided(outgoing, body)
                narrowed += ((_narrowed(route, recipients, group), group) for group in groups)
            routes = narrowed
        return routes

    async def made(self, outgoing: OutgoingMessage, body: MessageBody) -> tuple[MessageBody, dict[str, Any]]:
        """Run the steps: the body to be sent, and keys for the trace. Raises ContentNotReady, BodyUnreadable."""
        record: dict[str, Any] = {}
        for step in self._steps:
            body, added = await step.apply(outgoing, body)
            record |= added
        return body, record


def _narrowed(route: Route, recipients: Sequence[Recipient], group: Sequence[Recipient]) -> Route:
    """The route for some of its recipients, who have their own places in it."""
    if len(group) == len(recipients) or not isinstance(route, MailboxRoute | LmtpRoute):
        return route
    wanted = set(map(id, group))
    places = [place for place, recipient in enumerate(recipients) if id(recipient) in wanted]
    if isinstance(route, MailboxRoute):
        return replace(route, mailboxes=tuple(route.mailboxes[place] for place in places))
    return replace(route, forward_paths=tuple(route.forward_paths[place] for place in places))


NO_STEPS = ContentSteps()
"""Content goes as it came."""
