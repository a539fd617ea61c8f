"""Plan the route of each recipient: a local mailbox, the smart hosts of a connector, or the domain's MX.

Called by `mail.outbound.deliverer` and `policy.decisions.explain`: a directory and recipients in, routes with their
requirement out, before any name is looked up or socket opened. Where mail came from, and mail flow rules, make no
difference for mailboxes, but for what a sending organization asks of the content. Kinds of route are in
`policy.decisions.routes`.
"""

from __future__ import annotations

from enum import Enum, auto
from typing import TYPE_CHECKING, NamedTuple, Protocol, assert_never

from gatepost.policy.connectors.grants import TENANTS_CHOOSE
from gatepost.policy.connectors.mail_flow import Content
from gatepost.policy.connectors.names import covers, host_port, is_this_machine
from gatepost.policy.connectors.selection import Selection, select_outbound
from gatepost.policy.connectors.values import Cleartext, DomainType
from gatepost.policy.decisions.content import NO_DEMAND, ContentDemand, by_connector
from gatepost.policy.decisions.home import ALONE, Nodes, inside_profile
from gatepost.policy.decisions.outbound import both, by_organization, rehearsed, required, with_tls
from gatepost.policy.decisions.parties import Parties, SenderPart, deciding, parties
from gatepost.policy.decisions.requirement import Authenticated, Identity, Opportunistic, Requirement, Source
from gatepost.policy.decisions.routes import (
    InternalRoute,
    LmtpRoute,
    MailboxRoute,
    MxRoute,
    NextHop,
    Route,
    Ruling,
    Rulings,
    SmartHosts,
    Unroutable,
)
from gatepost.protocols.smtp.grammar import GrammarError, parse_address
from gatepost.protocols.smtp.replies import Reply
from gatepost.values import replace

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gatepost.policy.connectors.directory import Directory
    from gatepost.policy.connectors.records import Organization, OutboundConnector


class Addressed(Protocol):
    """Whoever mail is for."""

    @property
    def address(self) -> str:
        """The forward-path without its brackets."""


_KEPT = 5000  # routes that are kept
_REPEATED = 2000  # envelopes whose route is known: the queue asks for it, and soon after the attempt

NO_CONTENT = Content()
"""Of a message whose header nobody asks for."""

_UNKNOWN = Reply(550, "5.1.1", ("Mailbox unknown",))
_BAD_DOMAIN = Reply(550, "5.1.3", ("The address has no domain",))
_NO_ORGANIZATION = Reply(450, "4.3.5", ("The organization of the message is not configured",))
_DISABLED = Reply(450, "4.3.5", ("The connector that a mail flow rule names is disabled",))
_NO_SITE = Reply(450, "4.3.5", ("The mail belongs to another node, and this gateway belongs to no site",))
_REMOVED = Reply(450, "4.3.5", ("The node that this mail belongs to is not one of this site",))
_EXPIRED = Reply(450, "4.3.5", ("System incorrectly configured",))
_DISPUTED = Reply(450, "4.3.5", ("Two organizations here claim this domain: mail waits until one gives it up",))
_NO_NAME = Reply(450, "4.3.5", ("The connector expects a name that is not known",))


class _Kind(Enum):
    MAILDIR = auto()
    LMTP = auto()
    UNKNOWN = auto()
    DOMAIN = auto()
    AWAY = auto()


class _Terms(NamedTuple):
    """The demands on a route besides its connector's. owner: the organization that chooses the route.

    required: the sources that require TLS. on_trial: those in rehearsal that would. by_rule: as in SmartHosts. content:
    the demands of rules on the message itself. sender: the organization whose mail it is, where that is another;
    sender_connector: the one by which it would send the mail itself.
    """

    owner: Organization
    domain_owner: str = ""
    required: tuple[Source, ...] = ()
    on_trial: tuple[Source, ...] = ()
    by_rule: bool = False
    content: ContentDemand = NO_DEMAND
    sender: Organization | None = None
    sender_connector: OutboundConnector | None = None

    @property
    def named_owner(self) -> str:
        """The owner, where the mail is another organization's, so that its connector is not taken for one of that."""
        return self.owner.name if self.sender is not None else ""


class _Mail(NamedTuple):
    """A message as far as its way depends on it; as in `RoutePlanner.routes`."""

    organization: str
    reverse_path: str
    content: Content
    from_on_premises: bool = False


class _Group(NamedTuple):
    """The common properties of recipients whose mail travels together.

    name: of the LMTP server, the domain, or the node.

    ruling: the actions of mail flow rules, None if none matches: recipients with different ones travel apart.
    domain_owner, content: as in MailboxRoute. bounded: as in NextHop, of an LMTP server.
    """

    kind: _Kind
    name: str
    ruling: Ruling | None = None
    domain_owner: str = ""
    content: ContentDemand = NO_DEMAND
    bounded: bool = False


def _group(directory: Directory, address: str) -> _Group:
    domain = domain_of(address)
    mailbox = directory.mailbox(address)
    if mailbox is not None:
        owner = directory.organization_of(domain)
        whose = owner.name if owner is not None else ""
        if mailbox.delivery == "maildir":
            return _Group(_Kind.MAILDIR, "", domain_owner=whose)
        bounded = ("delivery", mailbox.delivery) in mailbox.ungranted
        return _Group(_Kind.LMTP, mailbox.delivery.removeprefix("lmtp:"), domain_owner=whose, bounded=bounded)
    accepted = directory.accepted_domain(domain)
    if accepted is not None and accepted.type is DomainType.AUTHORITATIVE and directory.has_mailboxes(domain):
        return _Group(_Kind.UNKNOWN, domain)
    return _Group(_Kind.DOMAIN, domain)


class RoutePlanner:
    """Routes by one version of the resources. profile: the server's own TLS profile. nodes: of the site.

    A domain's route is kept: most messages go where others just went. So is that of an envelope with one recipient.
    """

    def __init__(self, directory: Directory, profile: str = "default", nodes: Nodes = ALONE) -> None:
        self._directory = directory
        self._profile = profile
        self._nodes = nodes
        self._away = nodes.away(directory)
        self._known: dict[tuple[str, str, bool, Ruling | None], Route] = {}
        self._repeated: dict[tuple[str, str, str, bool, bool], Route] = {}
        self._rulings = Rulings(directory.organizations)

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

        organization: the message's owner; `policy.decisions.parties` says what it means if another one accepts a
        domain. reverse_path, content: of the message, for mail flow rules; see `header_names`. from_on_premises: an
        on-premises connector of `organization` brought the message. notice: it was written here or by another node. One
        that leaves the site does so here: its reader must hear of a node that is down without that node.
        """
        mail = organization, reverse_path, content, from_on_premises
        if len(recipients) != 1 or content is not NO_CONTENT:
            return self._grouped(_Mail(*mail), recipients, notice)
        envelope = organization, recipients[0].address, reverse_path, from_on_premises, notice
        known = self._repeated.get(envelope)
        if known is None:
            ((known, _),) = self._grouped(_Mail(*mail), recipients, notice)
            if isinstance(known, SmartHosts | MxRoute):  # others are made anew for each message
                if len(self._repeated) >= _REPEATED:
                    self._repeated.clear()
                self._repeated[envelope] = known
        return [(known, list(recipients))]

    def _grouped[R: Addressed](
        self,
        mail: _Mail,
        recipients: Sequence[R],
        notice: bool,  # noqa: FBT001 - as in `routes`
    ) -> list[tuple[Route, list[R]]]:
        groups: dict[_Group, list[R]] = {}
        for recipient in recipients:
            away = self._elsewhere(recipient.address, "" if notice else mail.organization) if self._away else ""
            group = _Group(_Kind.AWAY, away) if away else self._ruled(mail, recipient.address)
            groups.setdefault(group, []).append(recipient)
        return [
            (self._route(group, members, mail.organization, mail.from_on_premises), members)
            for group, members in groups.items()
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
        routes = self.routes(
            organization, recipients, reverse_path=reverse_path, content=content, from_on_premises=from_on_premises
        )
        return any(route.content.encrypt.required for route, _ in routes if not isinstance(route, InternalRoute))

    def asking_for_tls(
        self, organization: str, recipient: str, *, reverse_path: str, content: Content
    ) -> tuple[Source, ...]:
        """The sources that require TLS for a message to a recipient, whatever connector it takes; as in `routes`."""
        group = self._ruled(_Mail(organization, reverse_path, content), recipient)
        concerned = parties(self._directory, organization, group.name)
        router = self._directory.organization(concerned.router)
        return self._terms(group.ruling, router, concerned).required if router else ()

    def _ruled(self, mail: _Mail, address: str) -> _Group:
        group = _group(self._directory, address)
        if group.kind is _Kind.DOMAIN and self._rulings:
            concerned = parties(self._directory, mail.organization, group.name)
            return group._replace(ruling=self._rulings.ruling(concerned, mail.reverse_path, address, mail.content))
        sender = self._directory.organization(mail.organization) if _foreign(group, mail.organization) else None
        if sender is None:
            return group
        # It leaves its organization all the same, though over no hop.
        chosen = select_outbound(
            self._directory, sender, domain_of(address), from_on_premises=mail.from_on_premises
        ).connector
        demand = self._rulings.content(sender.name, mail.reverse_path, address, mail.content)
        return group._replace(content=by_connector(chosen).joined(demand))

    def _elsewhere(self, address: str, organization: str) -> str:
        """The organization by whose word the mail goes on, if it lives on another node, else "".

        organization: the one that decides where no organization accepts the domain.
        """
        name = deciding(self._directory, organization, domain_of(address), address) or organization
        return name if name in self._away else ""

    def header_names(self, organization: str, recipients: Sequence[Addressed]) -> frozenset[str]:
        """The fields of the message, by name in lower case, that `routes` needs to know for these recipients."""
        if not self._rulings.asks_header:
            return frozenset()
        owners: set[str] = set()
        for recipient in recipients:
            group = _group(self._directory, recipient.address)
            if group.kind is _Kind.DOMAIN:
                owners.update(parties(self._directory, organization, group.name).rule_owners)
            elif _foreign(group, organization):
                owners.add(organization)
        return self._rulings.header_names(owners)

    def depends_on_message(self, organization: str, domain: str) -> bool:
        """Whether mail of an organization for a domain may take several routes, also where none is from on-premises."""
        if self._away or self._directory.has_mailboxes(domain):
            return True
        return self._rulings.has_any_of(parties(self._directory, organization, domain).rule_owners)

    def _route(self, group: _Group, members: Sequence[Addressed], organization: str, from_on_premises: bool) -> Route:  # noqa: FBT001 - as in `routes`
        match group.kind:
            case _Kind.MAILDIR:
                boxes = (self._directory.mailbox(recipient.address) for recipient in members)
                known = tuple(mailbox for mailbox in boxes if mailbox is not None)
                return MailboxRoute(known, group.domain_owner, group.content)
            case _Kind.LMTP:
                matches = (self._directory.recipient(recipient.address) for recipient in members)
                paths = tuple(match.forward_path for match in matches if match is not None)
                server = replace(self._lmtp_server(group.name), bounded=group.bounded)
                return LmtpRoute(server, paths, group.domain_owner, group.content)
            case _Kind.UNKNOWN:
                return Unroutable(_UNKNOWN, f"{group.name} has a list of its mailboxes, and this is not one of them")
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
            detail = f"{reasons[0]}, and this gateway belongs to no site: create a token for it there"
            return Unroutable(_NO_SITE, f"{detail}, and run gatepost site join", reasons)
        if self._nodes.expired:
            why = f"{reasons[0]}, and the certificate of this node has expired: see gatepost site status"
            return Unroutable(_EXPIRED, why, reasons)
        hops = [self._internal_hop(home) for home in self._nodes.homes(node)]
        if not hops:
            why = f"{reasons[0]}, and {node} is not a node of {self._nodes.site} any more: change home, or let it join"
            return Unroutable(_REMOVED, why, reasons)
        hop, *others = hops
        return InternalRoute(hop, reasons, tuple(others))

    def _internal_hop(self, node: str) -> NextHop:
        host, port = self._nodes.place(node)
        return NextHop(node, port, self._nodes.requirement(node, self._profile), at=host)

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
        if self._directory.is_disputed(domain):
            detail = f"two organizations claim {domain}; it waits until one of them gives it up (gatepost alarms)"
            return Unroutable(_DISPUTED, detail)
        concerned = parties(self._directory, organization, domain)
        owner = self._directory.organization(concerned.router)
        if owner is None:
            return Unroutable(_NO_ORGANIZATION, f"organization {organization} is not in the resources in force")
        # Another organization's on-premises servers are no place that this one's mail came from.
        came_back = from_on_premises and owner.name == organization
        selection = self._selected(owner, domain, came_back, (ruling.via, ruling.routed_by) if ruling else ("", ""))
        terms = self._terms(ruling, owner, concerned)
        sender = self._directory.organization(concerned.sender)
        if sender is not None:
            by_rule = (ruling.sender_via, ruling.sender_routed_by) if ruling else ("", "")
            theirs = self._selected(sender, domain, from_on_premises, by_rule)
            terms = terms._replace(sender=sender, sender_connector=theirs.connector)
            selection = replace(selection, reasons=(*selection.reasons, _owners_way(domain, concerned, theirs)))
        if ruling is not None:
            selection = replace(selection, reasons=(*ruling.reasons, *selection.reasons))
        return self._along(selection, domain, terms)

    def _terms(self, ruling: Ruling | None, owner: Organization, concerned: Parties) -> _Terms:
        """The demands on any connector: of rules, and of a sender whose mail never leaves unencrypted."""
        sender = self._directory.organization(concerned.sender)
        never = sender is not None and sender.cleartext is Cleartext.NEVER
        own = (Source("organization", concerned.sender),) if never else ()
        if ruling is None:
            return _Terms(owner, concerned.owner, own)
        required = (*ruling.required, *own)
        return _Terms(owner, concerned.owner, required, ruling.rehearsed, ruling.acts, ruling.content)

    def _selected(self, owner: Organization, domain: str, came_back: bool, by_rule: tuple[str, str]) -> Selection:  # noqa: FBT001 - as in `routes`
        """The choice by domain, or what a rule makes of it. A message that came from on-premises is not sent back.

        by_rule: the names of the connector and of the rule that sends the mail by it, "" if none does.
        """
        selection = select_outbound(self._directory, owner, domain, from_on_premises=came_back)
        via, rule = by_rule
        index = self._directory.outbound(owner.name)
        connector = index.named(via) if index and via else None
        if connector is None:
            return selection
        label = f"connector {connector.name!r} of {owner.name}"
        others = [candidate for candidate in selection.passed_over if candidate[0] != label]
        if came_back and connector.route_all_messages_via_on_premises:
            why = f"is named by mail flow rule {rule!r}, but this message came from there"
            return replace(selection, passed_over=((label, why), *others))
        if selection.connector is not None and selection.connector is not connector:
            why = f"is the choice by domain, but mail flow rule {rule!r} goes before it"
            others.insert(0, (f"connector {selection.connector.name!r} of {owner.name}", why))
        return Selection(connector, (), tuple(others))

    def _along(self, selection: Selection, domain: str, terms: _Terms) -> Route:
        connector, reasons, passed_over = selection.connector, selection.reasons, selection.passed_over
        content = by_connector(connector, terms.named_owner).joined(by_connector(terms.sender_connector))
        content = content.joined(terms.content)
        for outbound_connector, whose in ((connector, terms.owner), (terms.sender_connector, terms.sender)):
            if outbound_connector is not None and whose is not None and not outbound_connector.enabled:
                # Only a rule can name it: mail waits rather than take a way that the rule's author ruled out.
                label = f"connector {outbound_connector.name!r} of {whose.name}"
                detail = f"{label} is disabled; enable it, or change the mail flow rule"
                return Unroutable(_DISABLED, detail, reasons, passed_over, content)
        part = SenderPart(terms.sender.name, terms.sender_connector) if terms.sender is not None else None
        common = (reasons, passed_over, terms.by_rule, content, terms.owner.name, terms.domain_owner, part)
        try:
            if connector is None or connector.use_mx_record:
                demand, trial = self._demands(connector, domain, terms)
                bounded = is_bounded(terms.owner, connector, domain)
                return MxRoute(domain, connector, demand, trial, *common, bounded=bounded)
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
        return SmartHosts(connector, hops, *common)

    def _demands(
        self, connector: OutboundConnector | None, name: str, terms: _Terms
    ) -> tuple[Requirement, Requirement | None]:
        """The requirement on the next hop, and the one without rehearsals; None if they are the same."""
        demand = required(connector, terms.owner, (name,), profile=self._profile)
        trial = rehearsed(connector, terms.owner, (name,), profile=self._profile)
        if terms.sender is not None:
            demand = by_organization(demand, terms.owner.name)
            trial = by_organization(trial, terms.owner.name) if trial is not None else None
            theirs, on_trial = self._sender_demands(terms.sender, terms.sender_connector, name)
            if trial is not None or on_trial is not None:
                trial = both(trial or demand, on_trial or theirs)
            demand = both(demand, theirs)
        if trial is not None or terms.on_trial:
            trial = with_tls(trial or demand, (*terms.required, *terms.on_trial))
        return with_tls(demand, terms.required), trial

    def _sender_demands(
        self, sender: Organization, connector: OutboundConnector | None, name: str
    ) -> tuple[Requirement, Requirement | None]:
        """The sender's own connector's requirement on a host that the domain's owner names; as in `_demands`."""
        if connector is not None and connector.tls_domain and not connector.use_mx_record:
            # The name of the sender's own smart hosts, which this host cannot bear: it has to prove its own instead.
            connector = connector.model_copy(update={"tls_domain": None})
        demand = required(connector, sender, (name,), profile=self._profile)
        return demand, rehearsed(connector, sender, (name,), profile=self._profile)


def _foreign(group: _Group, organization: str) -> bool:
    """Whether it is for mailboxes here of another organization than the one whose mail it is."""
    return group.domain_owner not in {"", organization}


def _owners_way(domain: str, concerned: Parties, theirs: Selection) -> str:
    """Explain why the sender's own connectors do not carry its mail, and which of their demands still hold."""
    owner, sender = concerned.owner, concerned.sender
    said = f"{owner} accepts {domain} and decides where its mail goes, as no connector of {sender} names that domain"
    if theirs.connector is None:
        return f"{said}; the demands of {sender} on all its mail apply too"
    return f"{said}; the demands of connector {theirs.connector.name!r} of {sender} apply too"


def is_bounded(owner: Organization, connector: OutboundConnector | None, domain: str) -> bool:
    """Whether a tenant chose the MX hosts of a domain: whoever writes mail, and a connector, names domains at will.

    Not where the gateway's owner wrote a connector for this domain, or where no tenant changes the organization at all.
    """
    if TENANTS_CHOOSE not in owner.ungranted:
        return False
    named = connector.recipient_domains if connector is not None else ()
    lacking = connector.ungranted if connector is not None else ()
    return not any(
        covers(text, domain) and text != "*" and ("recipient_domains", text) not in lacking for text in named
    )


def domain_of(address: str) -> str:
    """The domain of an address in lower-case A-labels, "" if it has none."""
    if address.isascii():
        return address.rpartition("@")[2].lower() if "@" in address else ""
    try:
        return parse_address(address).domain
    except GrammarError:
        return ""
