"""The kinds of route for a recipient, and what mail flow rules of all organizations that take part say of it together.

Values, made by `policy.decisions.route` for each recipient. Pure. Who decides about a route, and whose demands hold
beside, says `policy.decisions.parties`; rules of one organization are in `policy.connectors.mail_flow`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import msgspec

from gatepost.policy.connectors.mail_flow import Content, MailFlow, RuleSet
from gatepost.policy.decisions.content import NO_DEMAND, ContentDemand, Demand
from gatepost.policy.decisions.requirement import Requirement, Source

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gatepost.policy.connectors.records import Mailbox, Organization, OutboundConnector
    from gatepost.policy.decisions.parties import Parties, SenderPart
    from gatepost.protocols.smtp.replies import Reply


class NextHop(msgspec.Struct, frozen=True):
    """A host that an administrator named: a name, an IP address, or the path of a Unix socket (then port is 0).

    rehearsed: what a connector in rehearsal would require. at: the name or IP address under which it is found, if that
    is not its own name. bounded: a tenant chose it, so that only some addresses may be called
    (`policy.connectors.addresses`).
    """

    host: str
    port: int
    requirement: Requirement
    rehearsed: Requirement | None = None
    at: str = ""
    bounded: bool = False

    @property
    def place(self) -> str:
        """As an administrator writes it: "host:port", "[v6]:port" or "unix:/path"."""
        if self.host.startswith("/"):
            return f"unix:{self.host}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class MailboxRoute(msgspec.Struct, frozen=True):
    """Maildirs here; the mailboxes are in the order of the recipients.

    domain_owner: the organization that accepts the recipients' domain, "" for none. content: as in SmartHosts; only of
    mail of another organization anything is asked.
    """

    mailboxes: tuple[Mailbox, ...]
    domain_owner: str = ""
    content: ContentDemand = NO_DEMAND


class LmtpRoute(msgspec.Struct, frozen=True):
    """Mailboxes behind an LMTP server (RFC 2033).

    forward_paths: the path sent to the server for each recipient, in their order: it knows no aliases of ours.
    domain_owner, content: as in MailboxRoute.
    """

    hop: NextHop
    forward_paths: tuple[str, ...] = ()
    domain_owner: str = ""
    content: ContentDemand = NO_DEMAND


class InternalRoute(msgspec.Struct, frozen=True):
    """To the node of the site where the organization lives, whatever connectors and rules say: there they are asked.

    hop: its internal listener, by the name of the node. reasons: as in SmartHosts. others: of nodes that share its
    store, in the order in which they are tried after it; each must prove its own name.
    """

    hop: NextHop
    reasons: tuple[str, ...] = ()
    others: tuple[NextHop, ...] = ()

    @property
    def hops(self) -> tuple[NextHop, ...]:
        """All of them, in order."""
        return self.hop, *self.others


class SmartHosts(msgspec.Struct, frozen=True):
    """The smart hosts of a connector, in its order, each with its own requirement.

    reasons: why this connector. passed_over: label and why not, of those that would have taken the domain as well.
    by_rule: whether a mail flow rule made it what it is, so that how it fares says nothing of the domain's other mail.
    content: the demands on the message itself. connector_owner: the organization whose connectors say which way it
    is. domain_owner: the one that accepts the recipients' domain, "" for none. sender: the part of the organization
    whose mail it is, None where that is the connector's owner: what it demands is in the requirement and in `content`.
    """

    connector: OutboundConnector
    hops: tuple[NextHop, ...]
    reasons: tuple[str, ...] = ()
    passed_over: tuple[tuple[str, str], ...] = ()
    by_rule: bool = False
    content: ContentDemand = NO_DEMAND
    connector_owner: str = ""
    domain_owner: str = ""
    sender: SenderPart | None = None


class MxRoute(msgspec.Struct, frozen=True):
    """The MX hosts of a domain (A-labels or an address literal). connector: whose requirement it is, if anybody's.

    bounded: as in NextHop, of all hosts. The rest: as in SmartHosts.
    """

    domain: str
    connector: OutboundConnector | None
    requirement: Requirement
    rehearsed: Requirement | None = None
    reasons: tuple[str, ...] = ()
    passed_over: tuple[tuple[str, str], ...] = ()
    by_rule: bool = False
    content: ContentDemand = NO_DEMAND
    connector_owner: str = ""
    domain_owner: str = ""
    sender: SenderPart | None = None
    bounded: bool = False


class Unroutable(msgspec.Struct, frozen=True):
    """Nowhere: for now or for good, as the reply says. detail: for us. The rest: as in SmartHosts."""

    reply: Reply
    detail: str
    reasons: tuple[str, ...] = ()
    passed_over: tuple[tuple[str, str], ...] = ()
    content: ContentDemand = NO_DEMAND


type Route = MailboxRoute | LmtpRoute | InternalRoute | SmartHosts | MxRoute | Unroutable


class Ruling(NamedTuple):
    """The combined actions of mail flow rules.

    via: name of the connector that `routed_by` sends the mail by, "" if none does. sender_via, sender_routed_by:
    likewise of the sender's own rules, where another organization chooses the route. required: the sources that require
    TLS. rehearsed: those in rehearsal that would. content: the demands on the message itself.
    """

    via: str
    routed_by: str
    required: tuple[Source, ...]
    rehearsed: tuple[Source, ...]
    reasons: tuple[str, ...]
    content: ContentDemand = NO_DEMAND
    sender_via: str = ""
    sender_routed_by: str = ""

    @property
    def acts(self) -> bool:
        """Whether it is more than a rehearsal."""
        return bool(self.via or self.required or self.sender_via)


class Rulings:
    """The rules of all organizations."""

    def __init__(self, organizations: Iterable[Organization]) -> None:
        sets = ((organization.name, RuleSet(organization)) for organization in organizations)
        self._rules = {name: rules for name, rules in sets if rules}
        self.asks_header = any(rules.header_names for rules in self._rules.values())

    def __bool__(self) -> bool:
        """Whether there is any rule."""
        return bool(self._rules)

    def has_any_of(self, organizations: Iterable[str]) -> bool:
        """Whether any of some organizations has rules."""
        return any(name in self._rules for name in organizations)

    def header_names(self, organizations: Iterable[str]) -> frozenset[str]:
        """The fields of a message, by name in lower case, that the rules of some organizations ask for."""
        name_sets = (self._rules[name].header_names for name in organizations if name in self._rules)
        return frozenset[str]().union(*name_sets)

    def ruling(self, parties: Parties, reverse_path: str, recipient: str, content: Content) -> Ruling | None:
        """Combine the rules of all organizations that take part; None if none matches."""
        ruling = Ruling("", "", (), (), ())
        for name in parties.rule_owners:
            if (rules := self._rules.get(name)) is not None:
                flow = rules.flow(reverse_path, recipient, content)
                # The organization whose mail it is need not be named: the record is its own.
                ruling = _joined(ruling, flow, name, parties)
        return ruling if ruling.reasons else None

    def content(self, organization: str, reverse_path: str, recipient: str, content: Content) -> ContentDemand:
        """The demands of the rules of the organization whose mail it is on the message itself."""
        rules = self._rules.get(organization)
        return NO_DEMAND if rules is None else _demand(rules.flow(reverse_path, recipient, content), "")


def _joined(known: Ruling, flow: MailFlow, name: str, parties: Parties) -> Ruling:
    other = name if parties.sender and name != parties.sender else ""
    made = known._replace(
        required=(*known.required, *(Source("rule", rule, other) for rule in flow.require_tls)),
        rehearsed=(*known.rehearsed, *(Source("rule", rule, other) for rule in flow.rehearsed_tls)),
        content=known.content.joined(_demand(flow, other)),
        reasons=(*known.reasons, *flow.reasons),
    )
    if flow.connector is None:
        return made
    if name == parties.router:
        return made._replace(via=flow.connector.name, routed_by=flow.routed_by)
    why = (
        f"connector {flow.connector.name!r} of {name} does not carry it, as {parties.owner} accepts the domain and "
        "decides where its mail goes; the connector's demands apply"
    )
    return made._replace(sender_via=flow.connector.name, sender_routed_by=flow.routed_by, reasons=(*made.reasons, why))


def _demand(flow: MailFlow, organization: str) -> ContentDemand:
    return ContentDemand(
        Demand.of("rule", *flow.encrypt, organization=organization),
        Demand.of("rule", *flow.sign, organization=organization),
    )
