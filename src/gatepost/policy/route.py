"""Where each recipient's mail goes next: a mailbox of ours, the smart hosts of a connector, or the domain's MX.

Called by `outbound.attempt` and `policy.explain`: a directory and recipients in, routes with their requirement out,
before any name is looked up or socket opened. Where mail came from, and mail flow rules, make no difference for
mailboxes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum, auto
from typing import TYPE_CHECKING, NamedTuple, Protocol, assert_never

from gatepost.connectors.grants import TENANTS_CHOOSE
from gatepost.connectors.mail_flow import Content, RuleSet
from gatepost.connectors.names import covers, host_port, is_this_machine
from gatepost.connectors.selection import Selection, select_outbound
from gatepost.connectors.values import Cleartext, DomainType
from gatepost.policy.content_demand import NO_DEMAND, ContentDemand, Demand, by_connector
from gatepost.policy.home import ALONE, inside_profile
from gatepost.policy.outbound import rehearsed, required, with_tls
from gatepost.policy.requirement import Authenticated, Identity, Opportunistic, Requirement, Source
from gatepost.smtp.grammar import GrammarError, parse_address
from gatepost.smtp.replies import Reply

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gatepost.connectors.match import Directory
    from gatepost.connectors.model import Mailbox, Organization, OutboundConnector
    from gatepost.policy.home import Nodes

__all__ = [
    "NO_CONTENT",
    "InternalRoute",
    "LmtpRoute",
    "MailboxRoute",
    "MxRoute",
    "NextHop",
    "Route",
    "RoutePlanner",
    "SmartHosts",
    "Unroutable",
    "is_bounded",
]


class Addressed(Protocol):
    """Whoever mail is for."""

    @property
    def address(self) -> str:
        """The forward-path without its brackets."""


_KEPT = 5000  # routes that are kept

NO_CONTENT = Content()
"""Of a message whose header nobody asks for."""

_UNKNOWN = Reply(550, "5.1.1", ("Mailbox unknown",))
_BAD_DOMAIN = Reply(550, "5.1.3", ("The address has no domain",))
_NO_ORGANIZATION = Reply(450, "4.3.5", ("The organization of the message is not configured",))
_DISABLED = Reply(450, "4.3.5", ("The connector that a mail flow rule names is disabled",))
_NO_SITE = Reply(450, "4.3.5", ("The mail belongs to another node, and this gateway is in no site",))
_NO_NAME = Reply(450, "4.3.5", ("The connector expects a name that is not known",))


@dataclass(frozen=True, slots=True)
class NextHop:
    """A host that an administrator named: a name, an IP address, or the path of a Unix socket (then port is 0).

    rehearsed: what a connector in rehearsal would require. at: the name or IP address under which it is found, if that
    is not its own name. bounded: a tenant chose it, so that only some addresses may be called (`connectors.addresses`).
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


@dataclass(frozen=True, slots=True)
class MailboxRoute:
    """Maildirs here; the mailboxes are in the order of the recipients."""

    mailboxes: tuple[Mailbox, ...]


@dataclass(frozen=True, slots=True)
class LmtpRoute:
    """Mailboxes behind an LMTP server (RFC 2033).

    forward_paths: what the server is told for each recipient, in their order: it knows no aliases of ours.
    """

    hop: NextHop
    forward_paths: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class InternalRoute:
    """To the node of the site where the organization lives, whatever connectors and rules say: there they are asked.

    hop: its internal listener, by the name of the node. reasons: as in SmartHosts.
    """

    hop: NextHop
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SmartHosts:
    """The smart hosts of a connector, in its order, each with its own requirement.

    reasons: why this connector. passed_over: label and why not, of those that would have taken the domain as well.
    by_rule: whether a mail flow rule made it what it is, so that how it fares says nothing of the domain's other mail.
    content: what is asked of the message itself.
    """

    connector: OutboundConnector
    hops: tuple[NextHop, ...]
    reasons: tuple[str, ...] = ()
    passed_over: tuple[tuple[str, str], ...] = ()
    by_rule: bool = False
    content: ContentDemand = NO_DEMAND


@dataclass(frozen=True, slots=True)
class MxRoute:
    """The MX hosts of a domain (A-labels or an address literal). connector: whose requirement it is, if anybody's.

    reasons, passed_over, by_rule, content: as in SmartHosts. bounded: as in NextHop, of all hosts.
    """

    domain: str
    connector: OutboundConnector | None
    requirement: Requirement
    rehearsed: Requirement | None = None
    reasons: tuple[str, ...] = ()
    passed_over: tuple[tuple[str, str], ...] = ()
    by_rule: bool = False
    content: ContentDemand = NO_DEMAND
    bounded: bool = False


@dataclass(frozen=True, slots=True)
class Unroutable:
    """Nowhere: for now or for good, as the reply says. detail: for us. The rest: as in SmartHosts."""

    reply: Reply
    detail: str
    reasons: tuple[str, ...] = ()
    passed_over: tuple[tuple[str, str], ...] = ()
    content: ContentDemand = NO_DEMAND


type Route = MailboxRoute | LmtpRoute | InternalRoute | SmartHosts | MxRoute | Unroutable


class _Kind(Enum):
    MAILDIR = auto()
    LMTP = auto()
    UNKNOWN = auto()
    DOMAIN = auto()
    AWAY = auto()


class _Ruling(NamedTuple):
    """What mail flow rules do. via: name of the connector that `routed_by` sends the mail by, "" if none does."""

    via: str
    routed_by: str
    required: tuple[Source, ...]
    rehearsed: tuple[Source, ...]
    reasons: tuple[str, ...]
    content: ContentDemand = NO_DEMAND

    @property
    def acts(self) -> bool:
        """Whether it is more than a rehearsal."""
        return bool(self.via or self.required)


class _Terms(NamedTuple):
    """What a way has to meet besides its connector's demand. owner: the organization that says which way it is.

    required: who requires TLS. on_trial: who would, but is in rehearsal. by_rule: as in SmartHosts. content: what rules
    ask of the message itself.
    """

    owner: Organization
    required: tuple[Source, ...] = ()
    on_trial: tuple[Source, ...] = ()
    by_rule: bool = False
    content: ContentDemand = NO_DEMAND


class _Group(NamedTuple):
    """What recipients have in common whose mail travels together. name: of the LMTP server, the domain, or who is away.

    ruling: what mail flow rules do, None if none holds: recipients with different ones travel apart. bounded: as in
    NextHop, of an LMTP server.
    """

    kind: _Kind
    name: str
    ruling: _Ruling | None = None
    bounded: bool = False


def _group(directory: Directory, address: str) -> _Group:
    mailbox = directory.mailbox(address)
    if mailbox is not None:
        if mailbox.delivery == "maildir":
            return _Group(_Kind.MAILDIR, "")
        bounded = ("delivery", mailbox.delivery) in mailbox.ungranted
        return _Group(_Kind.LMTP, mailbox.delivery.removeprefix("lmtp:"), bounded=bounded)
    domain = _domain(address)
    accepted = directory.accepted_domain(domain)
    if accepted is not None and accepted.type is DomainType.AUTHORITATIVE and directory.has_mailboxes(domain):
        return _Group(_Kind.UNKNOWN, domain)
    return _Group(_Kind.DOMAIN, domain)


class RoutePlanner:
    """Routes by one version of the resources. profile: the server's own TLS profile. nodes: of the site.

    A domain's route is kept: most messages go where others just went.
    """

    def __init__(self, directory: Directory, profile: str = "default", nodes: Nodes = ALONE) -> None:
        self._directory = directory
        self._profile = profile
        self._nodes = nodes
        self._away = nodes.away(directory)
        self._known: dict[tuple[str, str, bool, _Ruling | None], Route] = {}
        sets = ((one.name, RuleSet(one)) for one in directory.resources.organizations)
        self._rules = {name: rules for name, rules in sets if rules}
        self._asks_header = any(rules.header_names for rules in self._rules.values())

    @property
    def version(self) -> int:
        """The number of the resources in the store, 0 if they are not stored."""
        return self._directory.version

    def routes[R: Addressed](
        self,
        organization: str,
        recipients: Sequence[R],
        *,
        reverse_path: str = "",
        content: Content = NO_CONTENT,
        from_on_premises: bool = False,
        notice: bool = False,
    ) -> list[tuple[Route, list[R]]]:
        """Recipients in groups that share a route, in the order in which each group's first one stands.

        organization: whose message it is; a domain that another organization accepts is routed as that one says.
        reverse_path, content: of the message, for mail flow rules; see `header_names`. from_on_premises: an on-premises
        connector of `organization` brought the message. notice: it was written here or by another node. One that leaves
        the site does so here: its reader must hear of a node that is down without that node.
        """
        groups: dict[_Group, list[R]] = {}
        for recipient in recipients:
            away = self._elsewhere(recipient.address, "" if notice else organization) if self._away else ""
            group = (
                _Group(_Kind.AWAY, away)
                if away
                else self._ruled(recipient.address, organization, reverse_path, content)
            )
            groups.setdefault(group, []).append(recipient)
        return [
            (self._route(group, members, organization, from_on_premises), members) for group, members in groups.items()
        ]

    def encrypts[R: Addressed](
        self,
        organization: str,
        recipients: Sequence[R],
        *,
        reverse_path: str = "",
        content: Content = NO_CONTENT,
        from_on_premises: bool = False,
    ) -> bool:
        """Whether the content must leave encrypted for any of the recipients; as in `routes`.

        Ask a planner that knows of no other nodes: what is demanded at home is asked of what does not get there, too.
        """
        found = self.routes(
            organization, recipients, reverse_path=reverse_path, content=content, from_on_premises=from_on_premises
        )
        leaving = (route for route, _ in found if isinstance(route, SmartHosts | MxRoute | Unroutable))
        return any(route.content.encrypt.required for route in leaving)

    def asking_for_tls(
        self, organization: str, recipient: str, *, reverse_path: str, content: Content
    ) -> tuple[Source, ...]:
        """Who requires TLS for a message to a recipient, whatever connector it takes; as in `routes`."""
        group = self._ruled(recipient, organization, reverse_path, content)
        owner = self._directory.organization_of(group.name) or self._directory.organization(organization)
        return self._terms(group.ruling, owner, organization).required if owner else ()

    def _ruled(self, address: str, organization: str, reverse_path: str, content: Content) -> _Group:
        group = _group(self._directory, address)
        if not self._rules or group.kind is not _Kind.DOMAIN:
            return group
        return group._replace(ruling=self._ruling(group.name, organization, reverse_path, address, content))

    def _elsewhere(self, address: str, organization: str) -> str:
        """The organization by whose word the mail goes on, if it lives on another node, else "".

        organization: whose word counts where no organization accepts the domain.
        """
        owner = self._directory.organization_of(_domain(address))
        name = owner.name if owner is not None else organization
        return name if name in self._away else ""

    def header_names(self, organization: str, recipients: Sequence[Addressed]) -> frozenset[str]:
        """The fields of the message, by name in lower case, that `routes` needs to know for these recipients."""
        if not self._asks_header:
            return frozenset()
        groups = (_group(self._directory, recipient.address) for recipient in recipients)
        domains = {group.name for group in groups if group.kind is _Kind.DOMAIN}
        asking = {name for domain in domains for name in self._deciding(domain, organization)}
        return frozenset().union(*(self._rules[name].header_names for name in asking if name in self._rules))

    def _deciding(self, domain: str, organization: str) -> tuple[str, ...]:
        """The organizations whose rules hold for mail to a domain: whose route it takes, then whose mail it is."""
        owner = self._directory.organization_of(domain)
        return (organization,) if owner is None or owner.name == organization else (owner.name, organization)

    def _ruling(
        self, domain: str, organization: str, reverse_path: str, recipient: str, content: Content
    ) -> _Ruling | None:
        """What the rules of all that have a say do. The way is for the first of them alone to choose."""
        required: list[Source] = []
        rehearses: list[Source] = []
        reasons: list[str] = []
        asked = NO_DEMAND
        via = routed_by = ""
        for place, name in enumerate(self._deciding(domain, organization)):
            if (rules := self._rules.get(name)) is None:
                continue
            flow = rules.flow(reverse_path, recipient, content)
            required += (Source("rule", rule) for rule in flow.require_tls)
            rehearses += (Source("rule", rule) for rule in flow.rehearsed_tls)
            asked = asked.joined(ContentDemand(Demand.of("rule", *flow.encrypt), Demand.of("rule", *flow.sign)))
            reasons += flow.reasons
            if flow.connector is not None and place == 0:
                via, routed_by = flow.connector.name, flow.routed_by
            elif flow.connector is not None:
                reasons.append(f"where mail for {domain} goes is for the rules of its own organization to say")
        if not reasons:
            return None
        return _Ruling(via, routed_by, tuple(required), tuple(rehearses), tuple(reasons), asked)

    def _route(self, group: _Group, members: Sequence[Addressed], organization: str, from_on_premises: bool) -> Route:  # noqa: FBT001 - as in `routes`
        match group.kind:
            case _Kind.MAILDIR:
                boxes = (self._directory.mailbox(recipient.address) for recipient in members)
                return MailboxRoute(tuple(mailbox for mailbox in boxes if mailbox is not None))
            case _Kind.LMTP:
                found = (self._directory.recipient(recipient.address) for recipient in members)
                paths = tuple(match.forward_path for match in found if match is not None)
                return LmtpRoute(replace(self._lmtp_server(group.name), bounded=group.bounded), paths)
            case _Kind.UNKNOWN:
                return Unroutable(_UNKNOWN, f"the mailboxes of {group.name} are known, and this is none")
            case _Kind.DOMAIN:
                return self._by_domain(group, organization, from_on_premises)
            case _Kind.AWAY:
                return self._to_its_node(group.name)
            case _:
                assert_never(group.kind)

    def _to_its_node(self, organization: str) -> Route:
        node = self._away[organization]
        reasons = (f"{organization} lives on the node {node}",)
        if not self._nodes.site:
            detail = (
                f"{reasons[0]}, and this gateway is in no site: make a token for it there, and run gatepost site join"
            )
            return Unroutable(_NO_SITE, detail, reasons)
        host, port = self._nodes.place(node)
        return InternalRoute(NextHop(node, port, self._nodes.requirement(node, self._profile), at=host), reasons)

    def _lmtp_server(self, name: str) -> NextHop:
        """A part of this installation that its administrator named, not a way out of it.

        Rules that ask for TLS speak of mail that leaves (exchange.md section 4). On this machine nobody listens in;
        between machines the server must prove that it is the one that was named.
        """
        inside = (Source("internal", "lmtp"),)
        if name.startswith("unix:"):
            return NextHop(name.removeprefix("unix:"), 0, Opportunistic(inside))
        host, port = host_port(name, None)
        if is_this_machine(host):
            return NextHop(host, port, Opportunistic(inside))
        return NextHop(host, port, Authenticated(inside, (Identity((host,)),), profile=inside_profile(self._profile)))

    def _by_domain(self, group: _Group, organization: str, from_on_premises: bool) -> Route:  # noqa: FBT001 - as in `routes`
        key = group.name, organization, from_on_premises, group.ruling
        known = self._known.get(key)
        if known is None:
            if len(self._known) >= _KEPT:
                self._known.clear()
            known = self._known[key] = self._find(group, organization, from_on_premises)
        return known

    def _find(self, group: _Group, organization: str, from_on_premises: bool) -> Route:  # noqa: FBT001 - as in `routes`
        domain, ruling = group.name, group.ruling
        if not domain:
            return Unroutable(_BAD_DOMAIN, "the address has no domain that mail could be routed by")
        owner = self._directory.organization_of(domain) or self._directory.organization(organization)
        if owner is None:
            return Unroutable(_NO_ORGANIZATION, f"organization {organization} is not in the resources in force")
        # Another organization's on-premises servers are no place that this one's mail came from.
        came_back = from_on_premises and owner.name == organization
        selection = select_outbound(self._directory, owner, domain, from_on_premises=came_back)
        if ruling is not None:
            selection = self._by_rule(ruling, owner, selection, came_back)
        return self._along(selection, domain, self._terms(ruling, owner, organization))

    def _terms(self, ruling: _Ruling | None, owner: Organization, organization: str) -> _Terms:
        """organization: whose mail it is. If that never leaves in clear, no way that the owner chooses changes it."""
        sender = self._directory.organization(organization)
        foreign = sender is not None and sender.name != owner.name and sender.cleartext is Cleartext.NEVER
        own = (Source("organization", organization),) if foreign else ()
        if ruling is None:
            return _Terms(owner, own)
        return _Terms(owner, (*ruling.required, *own), ruling.rehearsed, ruling.acts, ruling.content)

    def _by_rule(self, ruling: _Ruling, owner: Organization, selection: Selection, came_back: bool) -> Selection:  # noqa: FBT001 - as in `routes`
        """What a rule makes of the choice by domain. A message that came from on-premises is not sent back by it."""
        index = self._directory.outbound(owner.name)
        connector = index.named(ruling.via) if index and ruling.via else None
        if connector is None:
            return replace(selection, reasons=(*ruling.reasons, *selection.reasons))
        label = f"connector {connector.name!r} of {owner.name}"
        others = [one for one in selection.passed_over if one[0] != label]
        if came_back and connector.route_all_messages_via_on_premises:
            why = f"is named by mail flow rule {ruling.routed_by!r}, but this message came from there"
            return Selection(selection.connector, (*ruling.reasons, *selection.reasons), ((label, why), *others))
        if selection.connector is not None and selection.connector is not connector:
            why = f"is the choice by domain, but mail flow rule {ruling.routed_by!r} goes before it"
            others.insert(0, (f"connector {selection.connector.name!r} of {owner.name}", why))
        return Selection(connector, ruling.reasons, tuple(others))

    def _along(self, selection: Selection, domain: str, terms: _Terms) -> Route:
        connector, reasons, passed_over = selection.connector, selection.reasons, selection.passed_over
        content = by_connector(connector).joined(terms.content)
        if connector is not None and not connector.enabled:
            # Only a rule can name it: mail waits rather than take a way that the rule's author ruled out.
            label = f"connector {connector.name!r} of {terms.owner.name}"
            detail = f"{label} is disabled; enable it, or change the mail flow rule"
            return Unroutable(_DISABLED, detail, reasons, passed_over, content)
        try:
            if connector is None or connector.use_mx_record:
                demand, trial = self._demands(connector, domain, terms)
                bounded = is_bounded(terms.owner, connector, domain)
                return MxRoute(domain, connector, demand, trial, reasons, passed_over, terms.by_rule, content, bounded)
            hops = tuple(
                NextHop(
                    smart.host,
                    smart.port,
                    *self._demands(connector, smart.host, terms),
                    bounded=("smart_hosts", str(smart)) in connector.ungranted,
                )
                for smart in connector.smart_hosts
            )
        except ValueError as error:
            return Unroutable(_NO_NAME, str(error), reasons, passed_over, content)
        return SmartHosts(connector, hops, reasons, passed_over, terms.by_rule, content)

    def _demands(
        self, connector: OutboundConnector | None, name: str, terms: _Terms
    ) -> tuple[Requirement, Requirement | None]:
        """What the next hop must achieve, and what it would have to, were nothing in rehearsal; None if that is all."""
        demand = required(connector, terms.owner, (name,), profile=self._profile)
        trial = rehearsed(connector, terms.owner, (name,), profile=self._profile)
        if trial is not None or terms.on_trial:
            trial = with_tls(trial or demand, (*terms.required, *terms.on_trial))
        return with_tls(demand, terms.required), trial


def is_bounded(owner: Organization, connector: OutboundConnector | None, domain: str) -> bool:
    """Whether a tenant chose the MX hosts of a domain: whoever writes mail, and a connector, names domains at will.

    Not where the gateway's owner wrote a connector for this domain, or where no tenant changes the organization at all.
    """
    if TENANTS_CHOOSE not in owner.ungranted:
        return False
    named = connector.recipient_domains if connector is not None else ()
    lacking = connector.ungranted if connector is not None else ()
    return not any(covers(one, domain) and one != "*" and ("recipient_domains", one) not in lacking for one in named)


def _domain(address: str) -> str:
    """The domain of an address in lower-case A-labels, "" if it has none."""
    if address.isascii():
        return address.rpartition("@")[2].lower() if "@" in address else ""
    try:
        return parse_address(address).domain
    except GrammarError:
        return ""
