"""Where each recipient's mail goes next: a mailbox of ours, the smart hosts of a connector, or the domain's MX.

Called by `outbound.attempt` and `policy.explain`: a directory and recipients in, routes with their requirement out,
before any name is looked up or socket opened. Where mail came from makes no difference for mailboxes.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from typing import TYPE_CHECKING, NamedTuple, Protocol

from gatepost.connectors.match import select_outbound
from gatepost.connectors.names import host_port
from gatepost.connectors.values import DomainType
from gatepost.policy.outbound import rehearsed, required
from gatepost.policy.requirement import Opportunistic, Requirement, Source
from gatepost.smtp.grammar import GrammarError, parse_address
from gatepost.smtp.replies import Reply

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gatepost.connectors.match import Directory
    from gatepost.connectors.model import Mailbox, Organization, OutboundConnector

__all__ = ["LmtpRoute", "MailboxRoute", "MxRoute", "NextHop", "Route", "RoutePlanner", "SmartHosts", "Unroutable"]


class Addressed(Protocol):
    """Whoever mail is for."""

    @property
    def address(self) -> str:
        """The forward-path without its brackets."""


_KEPT = 5000  # domains whose route is kept

_UNKNOWN = Reply(550, "5.1.1", ("Mailbox unknown",))
_BAD_DOMAIN = Reply(550, "5.1.3", ("The address has no domain",))
_NO_ORGANIZATION = Reply(450, "4.3.5", ("The organization of the message is not configured",))
_NO_NAME = Reply(450, "4.3.5", ("The connector expects a name that is not known",))


@dataclass(frozen=True, slots=True)
class NextHop:
    """A host that an administrator named. rehearsed: what a connector in rehearsal would require."""

    host: str
    port: int
    requirement: Requirement
    rehearsed: Requirement | None = None


@dataclass(frozen=True, slots=True)
class MailboxRoute:
    """Maildirs here; the mailboxes are in the order of the recipients."""

    mailboxes: tuple[Mailbox, ...]


@dataclass(frozen=True, slots=True)
class LmtpRoute:
    """Mailboxes behind an LMTP server (RFC 2033)."""

    hop: NextHop


@dataclass(frozen=True, slots=True)
class SmartHosts:
    """The smart hosts of a connector, in its order, each with its own requirement. reasons: why this connector."""

    connector: OutboundConnector
    hops: tuple[NextHop, ...]
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class MxRoute:
    """The MX hosts of a domain (A-labels or an address literal). connector: whose requirement it is, if anybody's."""

    domain: str
    connector: OutboundConnector | None
    requirement: Requirement
    rehearsed: Requirement | None = None
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Unroutable:
    """Nowhere: for now or for good, as the reply says. detail: for us."""

    reply: Reply
    detail: str


type Route = MailboxRoute | LmtpRoute | SmartHosts | MxRoute | Unroutable


class _Kind(Enum):
    MAILDIR = auto()
    LMTP = auto()
    UNKNOWN = auto()
    DOMAIN = auto()


class _Group(NamedTuple):
    """What recipients have in common whose mail travels together. name: of the LMTP server or the domain."""

    kind: _Kind
    name: str


def _group(directory: Directory, address: str) -> _Group:
    mailbox = directory.mailbox(address)
    if mailbox is not None:
        local = mailbox.delivery == "maildir"
        return _Group(_Kind.MAILDIR, "") if local else _Group(_Kind.LMTP, mailbox.delivery.removeprefix("lmtp:"))
    domain = _domain(address)
    accepted = directory.accepted_domain(domain)
    if accepted is not None and accepted.type is DomainType.AUTHORITATIVE and directory.has_mailboxes(domain):
        return _Group(_Kind.UNKNOWN, domain)
    return _Group(_Kind.DOMAIN, domain)


class RoutePlanner:
    """Routes by one version of the resources. profile: the server's own TLS profile.

    A domain's route is kept: most messages go where others just went.
    """

    def __init__(self, directory: Directory, profile: str = "default") -> None:
        self._directory = directory
        self._profile = profile
        self._known: dict[tuple[str, str, bool], Route] = {}

    def routes[R: Addressed](
        self, organization: str, recipients: Sequence[R], *, from_on_premises: bool = False
    ) -> list[tuple[Route, list[R]]]:
        """Recipients in groups that share a route, in the order in which each group's first one stands.

        organization: whose message it is; a domain that another organization accepts is routed as that one says.
        from_on_premises: an on-premises connector brought the message.
        """
        groups: dict[_Group, list[R]] = {}
        for recipient in recipients:
            groups.setdefault(_group(self._directory, recipient.address), []).append(recipient)
        return [
            (self._route(group, members, organization, from_on_premises), members) for group, members in groups.items()
        ]

    def _route(self, group: _Group, members: Sequence[Addressed], organization: str, from_on_premises: bool) -> Route:  # noqa: FBT001 - as in `routes`
        match group.kind:
            case _Kind.MAILDIR:
                found = (self._directory.mailbox(recipient.address) for recipient in members)
                return MailboxRoute(tuple(mailbox for mailbox in found if mailbox is not None))
            case _Kind.LMTP:
                host, port = host_port(group.name, None)
                return LmtpRoute(NextHop(host, port, Opportunistic((Source("internal", "lmtp"),))))
            case _Kind.UNKNOWN:
                return Unroutable(_UNKNOWN, f"the mailboxes of {group.name} are known, and this is none")
            case _Kind.DOMAIN:
                return self._by_domain(group.name, organization, from_on_premises)

    def _by_domain(self, domain: str, organization: str, from_on_premises: bool) -> Route:  # noqa: FBT001 - as in `routes`
        key = domain, organization, from_on_premises
        known = self._known.get(key)
        if known is None:
            if len(self._known) >= _KEPT:
                self._known.clear()
            known = self._known[key] = self._find(domain, organization, from_on_premises)
        return known

    def _find(self, domain: str, organization: str, from_on_premises: bool) -> Route:  # noqa: FBT001 - as in `routes`
        if not domain:
            return Unroutable(_BAD_DOMAIN, "the address has no domain that mail could be routed by")
        owner = self._directory.organization_of(domain) or self._directory.organization(organization)
        if owner is None:
            return Unroutable(_NO_ORGANIZATION, f"organization {organization} is not in the resources in force")
        connector, reasons = select_outbound(self._directory, owner, domain, from_on_premises=from_on_premises)
        try:
            if connector is None or connector.use_mx_record:
                demand, trial = self._demands(connector, owner, domain)
                return MxRoute(domain, connector, demand, trial, reasons)
            hops = tuple(
                NextHop(smart.host, smart.port, *self._demands(connector, owner, smart.host))
                for smart in connector.smart_hosts
            )
        except ValueError as error:
            return Unroutable(_NO_NAME, str(error))
        return SmartHosts(connector, hops, reasons)

    def _demands(
        self, connector: OutboundConnector | None, owner: Organization, name: str
    ) -> tuple[Requirement, Requirement | None]:
        return (
            required(connector, owner, (name,), profile=self._profile),
            rehearsed(connector, owner, (name,), profile=self._profile),
        )


def _domain(address: str) -> str:
    """The domain of an address in lower-case A-labels, "" if it has none."""
    if address.isascii():
        return address.rpartition("@")[2].lower() if "@" in address else ""
    try:
        return parse_address(address).domain
    except GrammarError:
        return ""
