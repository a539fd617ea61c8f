"""Decide whether a user, or an organization's own server, may send more today: messages and recipients a day.

Called by `mail.inbound.usage`, which counts. The limit of a mailbox or connector is the organization's to set, that of
the organization the gateway owner's (`policy.connectors.grants`); the lower one holds. Pure.
"""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING

import msgspec

from gatepost.policy.connectors.values import ConnectorType
from gatepost.protocols.smtp.replies import Reply
from gatepost.quantity import quantity
from gatepost.values import replace

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from gatepost.policy.connectors.directory import Directory
    from gatepost.policy.connectors.facts import SessionFacts
    from gatepost.policy.connectors.match import Attribution
    from gatepost.policy.connectors.records import InboundConnector, Mailbox, Organization
    from gatepost.policy.decisions.decision import InboundVerdict


class Lifted(IntEnum):
    """The limits that are lifted for the rest of a day: none, the own one, or the organization's as well."""

    NOTHING = 0
    OWN = 1
    ALL = 2


class Allowed(msgspec.Struct, frozen=True):
    """Messages and recipients a day; 0 for any number."""

    messages: int = 0
    recipients: int = 0


class DailyLimit(msgspec.Struct, frozen=True):
    """The limits of one sender, if it has any.

    subject: "user ann@contoso.example" or "server NAME", unique in its organization. own: of the mailbox or connector.
    ceiling: of the organization for each of its users or servers.
    """

    organization: str
    subject: str
    own: Allowed
    ceiling: Allowed

    @property
    def is_set(self) -> bool:
        """Whether there is one at all; a sender without one is counted, too, to notice what is unusual."""
        own, ceiling = self.own, self.ceiling
        return bool(own.messages or own.recipients or ceiling.messages or ceiling.recipients)

    def in_force(self, lifted: Lifted) -> Allowed:
        """The amount that is allowed today."""
        held = [limit for limit, level in ((self.own, Lifted.OWN), (self.ceiling, Lifted.ALL)) if lifted < level]
        return Allowed(_lowest(limit.messages for limit in held), _lowest(limit.recipients for limit in held))

    @property
    def reason(self) -> str:
        """For explain and the trace."""
        allowed = self.in_force(Lifted.NOTHING)
        parts = [quantity(allowed.messages, "message")] if allowed.messages else []
        parts += [quantity(allowed.recipients, "recipient")] if allowed.recipients else []
        return f"{self.subject} may send {' and '.join(parts)} a day"


class DailyUsage(msgspec.Struct, frozen=True):
    """The amount of mail that a sender sent today."""

    messages: int = 0
    recipients: int = 0


def limit_of(directory: Directory, session: SessionFacts, attribution: Attribution) -> DailyLimit | None:
    """The limit of the sender of a message, set or not; None if it is no user and no own server."""
    name = attribution.organization
    organization = directory.organization(name) if name is not None else None
    if organization is None:
        return None
    connector = attribution.connector
    if session.user:
        mailbox = directory.mailbox(session.user)
        return mailbox_limit(organization, mailbox) if mailbox is not None else None
    return server_limit(organization, connector) if connector is not None else None


def mailbox_limit(organization: Organization, mailbox: Mailbox) -> DailyLimit:
    """The limit of a user, set or not."""
    own = Allowed(mailbox.messages_per_day, mailbox.recipients_per_day)
    ceiling = Allowed(organization.user_messages_per_day, organization.user_recipients_per_day)
    return DailyLimit(organization.name, f"user {mailbox.address}", own, ceiling)


def server_limit(organization: Organization, connector: InboundConnector) -> DailyLimit | None:
    """The limit of the servers of a connector, set or not; None for a partner's, which have none."""
    if connector.connector_type is not ConnectorType.ON_PREMISES:
        return None
    own = Allowed(connector.messages_per_day, connector.recipients_per_day)
    ceiling = Allowed(organization.server_messages_per_day, organization.server_recipients_per_day)
    return DailyLimit(organization.name, f"server {connector.name}", own, ceiling)


def limits_of(organization: Organization) -> list[DailyLimit]:
    """The limits that are set for users and servers of an organization."""
    return [limit for limit in _senders(organization) if limit.is_set]


def _senders(organization: Organization) -> Iterator[DailyLimit]:
    for mailbox in organization.mailboxes:
        yield mailbox_limit(organization, mailbox)
    for server in organization.inbound_connectors:
        if (limit := server_limit(organization, server)) is not None:
            yield limit


def with_daily_limit(directory: Directory, session: SessionFacts, verdict: InboundVerdict) -> InboundVerdict:
    """The verdict on a recipient, with the limit of the sender among its reasons: what it sent today is not known."""
    limit = limit_of(directory, session, verdict.attribution)
    return verdict if limit is None or not limit.is_set else replace(verdict, reasons=(*verdict.reasons, limit.reason))


def limits_anybody(directory: Directory) -> bool:
    """Whether any user or server has a limit."""
    return any(limits_of(organization) for organization in directory.organizations)


def has_senders(directory: Directory) -> bool:
    """Whether there is any user or own server, with a limit or without."""
    return any(True for organization in directory.organizations for _ in _senders(organization))


def judge(limit: DailyLimit, usage: DailyUsage, lifted: Lifted) -> Reply | None:
    """The refusal of a recipient. usage: with the recipient, and with its message, if that has no other yet.

    450, so that a server tries again, and a person's program keeps the message.
    """
    allowed = limit.in_force(lifted)
    for sent, most, noun in (
        (usage.messages, allowed.messages, "message"),
        (usage.recipients, allowed.recipients, "recipient"),
    ):
        if most and sent > most:
            who = limit.subject.partition(" ")[2]
            return Reply(
                450, "4.7.1", (f"{_printable(who)} has reached its limit of {quantity(most, noun)} a day (UTC)",)
            )
    return None


def _lowest(numbers: Iterable[int]) -> int:
    return min((number for number in numbers if number), default=0)


def _printable(text: str) -> str:
    return "".join(character if " " <= character <= "~" else "?" for character in text)
