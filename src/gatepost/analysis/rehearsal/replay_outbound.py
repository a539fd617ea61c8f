"""Decide rows of delivery attempts again: the route, its requirement, and whether the recorded hop met it.

Called by `analysis.rehearsal.replay`. No I/O. `policy.decisions.route` and `policy.decisions.outbound` decide, as they
do for real mail. A row knows one host and one handshake: another host, other trust anchors, another offer of TLS
versions or a rule about a header field that no row keeps are tried every way they could be; where that matters, it
cannot be told.
"""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING, Any, NamedTuple, assert_never

from gatepost.analysis.rehearsal.recorded import NAMES_KEPT, Decision, Effect, hop_facts, settled
from gatepost.mail.model.message import Recipient
from gatepost.policy.connectors.mail_flow import Content
from gatepost.policy.connectors.trust_anchors import anchors_label
from gatepost.policy.connectors.values import Cleartext, SmtpDaneMode
from gatepost.policy.decisions.outbound import describe, judge
from gatepost.policy.decisions.parties import parties
from gatepost.policy.decisions.published import Modes, joined_modes
from gatepost.policy.decisions.requirement import INTERNAL_HOP, Authenticated, Opportunistic, Requirement, offered
from gatepost.policy.decisions.route import RoutePlanner
from gatepost.policy.decisions.routes import (
    InternalRoute,
    LmtpRoute,
    MailboxRoute,
    MxRoute,
    NextHop,
    Route,
    SmartHosts,
    Unroutable,
)
from gatepost.protocols.tls.facts import CertificateFacts, ChainStatus, ChainVerdict
from gatepost.protocols.tls.profile import PROFILES, Profile, iana_name
from gatepost.values import replace

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from gatepost.mail.model.trace_event import TraceEvent
    from gatepost.policy.connectors.directory import Directory
    from gatepost.policy.connectors.mail_flow_rule import MailFlowRule
    from gatepost.policy.decisions.facts import HopFacts


_RULES = 5  # about header fields: each doubles what has to be decided
_SUBJECT = 250  # characters of a subject that a row surely has in full
_REPLACED = "\N{REPLACEMENT CHARACTER}"  # what a row has instead of what cannot be shown

_NO_CONNECTION = "no connection of this attempt got as far as TLS"
_OTHER_HOST = "the mail would go to a host that the row has not seen"
_OTHER_OFFER = "other TLS versions, groups or suites would be offered than in the handshake that the row tells of"


class _RoutePlan(NamedTuple):
    """The hop of a route: the one that the row has seen, or any if it has seen none."""

    owner: str
    connector: str
    hop: NextHop
    seen: bool

    def decision(self, outcome: Effect, why: str = "", *, reply: str = "", result_type: str = "") -> Decision:
        demand = self.hop.requirement
        return Decision(
            outcome, self.owner, self.connector, describe(demand), reply, result_type, why=why, demand=demand
        )


class HopReplay:
    """Decides rows by one configuration. then: the one they were decided by, as far as is known."""

    def __init__(self, directory: Directory, profile: str, then: Directory) -> None:
        self._directory = directory
        self._planner = RoutePlanner(directory, profile)
        self._then = self._planner if then is directory else RoutePlanner(then, profile)

    def decide(self, event: TraceEvent) -> Decision:
        """One row of an attempt, decided again."""
        rules = self._header_rules(event)
        if len(rules) > _RULES:
            return Decision(Effect.UNKNOWN, why=f"more than {_RULES} mail flow rules ask for header fields")
        fields = ", ".join(sorted({rule.header_name for rule in rules}))
        decisions = (self._decide(event, content) for content in _contents(event, rules))
        return settled(decisions, f"a mail flow rule asks for {fields}, which the trace does not keep")

    def _header_rules(self, event: TraceEvent) -> list[MailFlowRule]:
        """Rules that have a say in this mail and ask for a field that the row does not have."""
        domain = event.recipient.rpartition("@")[2].lower()
        organizations = map(
            self._directory.organization, parties(self._directory, event.organization, domain).rule_owners
        )
        return [
            rule
            for organization in organizations
            for rule in (organization.mail_flow_rules if organization else ())
            if rule.enabled and rule.header_name and not _knows(event, rule)
        ]

    def _owner(self, event: TraceEvent) -> str:
        organization = self._directory.organization_of(event.recipient.rpartition("@")[2].lower())
        return organization.name if organization else event.organization

    def _decide(self, event: TraceEvent, content: Content) -> Decision:
        if str(INTERNAL_HOP) in event.detail.get("requirement_sources", ()):
            return self._handed_over(event)
        route = _route(self._planner, event, content)
        match route:
            case MailboxRoute():
                return Decision(Effect.DELIVERED, self._owner(event), why="it is delivered into a mailbox here")
            case InternalRoute():  # pragma: no cover - the planner of a replay knows of no other node
                return Decision(Effect.UNKNOWN, self._owner(event), why=_OTHER_HOST)
            case Unroutable():
                outcome = Effect.RETURNED if route.reply.permanent else Effect.HELD
                return Decision(outcome, self._owner(event), reply=route.reply.text, why=route.detail)
            case LmtpRoute() | SmartHosts() | MxRoute():
                return self._over(event, route, _route(self._then, event, content))
            case _:
                assert_never(route)

    def _handed_over(self, event: TraceEvent) -> Decision:
        """It went to the node where the organization lives, or waits for it: no connector or rule here has a say."""
        outcome = {"SEND": Effect.DELIVERED, "DEFER": Effect.HELD}.get(event.event, Effect.RETURNED)
        why = "it is for the node where the organization lives, whatever connectors here say"
        reply = "" if outcome is Effect.DELIVERED else event.reply
        return Decision(outcome, self._owner(event), "", event.requirement, reply, event.result_type, why=why)

    def _over(self, event: TraceEvent, route: LmtpRoute | SmartHosts | MxRoute, then: Route) -> Decision:
        before = _hop(event, then)
        connector = "" if isinstance(route, LmtpRoute) or route.connector is None else route.connector.name
        hop = _hop(event, route)
        if hop is not None and isinstance(route, MxRoute) and not isinstance(then, MxRoute):
            hop = None  # whether a smart host is an MX of the domain as well, nobody asked
        owner = self._owner(event) if isinstance(route, LmtpRoute) else route.connector_owner
        way = _RoutePlan(owner, connector, hop or _first(route), seen=hop is not None)
        facts = hop_facts(event)
        if facts is None:
            return way.decision(Effect.UNKNOWN, _NO_CONNECTION)
        if not way.seen:
            return way.decision(Effect.UNKNOWN, _OTHER_HOST)
        if open_ := _published(event, route):
            return way.decision(Effect.UNKNOWN, open_)
        return _judged(event, way, facts, before)


def _published(event: TraceEvent, route: LmtpRoute | SmartHosts | MxRoute) -> str:
    """Explain why the domain's published data leaves the outcome open, "" if it does not."""
    sources: list[str] = event.detail.get("requirement_sources", [])
    if event.event != "SEND" and any(source.startswith(("dane:", "mta-sts:")) for source in sources):
        return "DANE or MTA-STS held it then, and what the domain publishes may have changed"
    if event.event != "SEND" and "requiretls" in sources:
        return "the message asked for REQUIRETLS, and whether the next hop will do for that is found out anew"
    modes = Modes() if isinstance(route, LmtpRoute) else joined_modes(route.connector, route.sender)
    if modes.dane is SmtpDaneMode.MANDATORY and "matched" not in event.detail.get("dane", {}):
        return "whether the next hop has DANE was not found out then"
    return ""


def _route(planner: RoutePlanner, event: TraceEvent, content: Content) -> Route:
    recipients = [Recipient(event.recipient)]
    on_premises = event.direction == "originating"
    routes = planner.routes(
        event.organization, recipients, reverse_path=event.sender, content=content, from_on_premises=on_premises
    )
    return routes[0][0]


def _knows(event: TraceEvent, rule: MailFlowRule) -> bool:
    """Whether the row says if a rule's field holds: the subject, if it was kept whole and as it was."""
    if rule.header_name.lower() != "subject" or len(event.subject) >= _SUBJECT or _REPLACED in event.subject:
        return False
    return bool(event.subject or rule.header_contains)  # "" is an empty field as well as none


def _contents(event: TraceEvent, rules: list[MailFlowRule]) -> Iterator[Content]:
    """Every content that makes a difference to the rules: each of them may hold or not."""
    known: dict[str, tuple[str, ...]] = {"subject": (event.subject,)} if event.subject else {}
    for holds in product((False, True), repeat=len(rules)):
        header: dict[str, tuple[str, ...]] = dict(known)
        for rule in (rule for rule, applies in zip(rules, holds, strict=True) if applies):
            name = rule.header_name.lower()
            header[name] = (*header.get(name, ()), *(rule.header_contains[:1] or ("",)))
        yield Content(header)


def _first(route: LmtpRoute | SmartHosts | MxRoute) -> NextHop:
    match route:
        case LmtpRoute():
            return route.hop
        case SmartHosts():
            return route.hops[0]
        case MxRoute():
            return _mail_host(route, route.domain, 25)
        case _:
            assert_never(route)


def _hop(event: TraceEvent, route: Route) -> NextHop | None:
    """The hop of a route that the row's connection went to; of an MX route, whatever host it was."""
    port = _port(event.peer_address)
    match route:
        case LmtpRoute():
            hops: tuple[NextHop, ...] = (route.hop,)
        case SmartHosts():
            hops = route.hops
        case MxRoute():
            return _mail_host(route, event.peer_host, port)
        case MailboxRoute() | InternalRoute() | Unroutable():
            return None
        case _:
            assert_never(route)
    return next((hop for hop in hops if (hop.host, hop.port) == (event.peer_host, port)), None)


def _mail_host(route: MxRoute, host: str, port: int) -> NextHop:
    return NextHop(host, port, route.requirement, route.rehearsed)


def _port(endpoint: str) -> int:
    text = endpoint.rpartition(":")[2]
    return int(text) if text.isascii() and text.isdigit() else 0


# ------------------------------------------------------------------------------------------------ judging again


def _judged(event: TraceEvent, way: _RoutePlan, facts: HopFacts, before: NextHop | None) -> Decision:
    """Judge the hop that was seen under the new requirement. before: the hop as it was then, if known."""
    demand = way.hop.requirement
    recorded = before.requirement if before and describe(before.requirement) == event.requirement else None
    if not _same_offer(demand, recorded):
        if facts.handshake_error:
            return way.decision(Effect.UNKNOWN, _OTHER_OFFER)
        if facts.tls is not None and (fits := _fits(demand, facts)) is not True:
            return _below(way, facts) if fits is False else way.decision(Effect.UNKNOWN, _OTHER_OFFER)
    unjudged = facts.tls is not None and facts.chain is None
    if isinstance(demand, Authenticated) and (unjudged or _judged_by(event, recorded) != demand.anchors[0]):
        kept = _rehearsed(event, way, before)
        if kept is not None:
            return kept
        named = anchors_label(demand.anchors[0]) or "the server's own trust anchors"
        missing = f"the next hop's certificate was not judged by {named}"
        return settled((_verdict(event, way, variant) for variant in _trust_either_way(demand, facts)), missing)
    missing = f"only the first {NAMES_KEPT} names of the next hop's certificate were kept"
    return settled((_verdict(event, way, variant) for variant in _names_either_way(demand, facts)), missing)


def _rehearsed(event: TraceEvent, way: _RoutePlan, before: NextHop | None) -> Decision | None:
    """The verdict of a rehearsal of this very requirement on the hop, if there was one."""
    kept: Mapping[str, Any] | None = event.detail.get("rehearsal")
    demand = way.hop.requirement
    if kept is None or before is None or before.rehearsed is None:
        return None
    if kept.get("requirement") != describe(demand) or replace(before.rehearsed, sources=demand.sources) != demand:
        return None
    if kept["passed"]:
        return way.decision(Effect.DELIVERED)
    return way.decision(
        Effect.HELD, kept.get("detail", ""), reply=kept.get("message", ""), result_type=kept.get("result_type", "")
    )


def _trust_either_way(demand: Authenticated, facts: HopFacts) -> Iterator[HopFacts]:
    """The same hop, its certificate trusted or not."""
    if facts.tls is None or (facts.chain is not None and facts.chain.leaf is None):
        yield facts
        return
    yield replace(facts, chain=None)
    if facts.chain is None:
        yield replace(facts, chain=ChainVerdict(ChainStatus.TRUSTED, "", _bearing(_ANYBODY, demand)))
        return
    yield from _names_either_way(demand, replace(facts, chain=replace(facts.chain, status=ChainStatus.TRUSTED)))


def _names_either_way(demand: Requirement, facts: HopFacts) -> Iterator[HopFacts]:
    """The same hop, and if not all names of its certificate were kept, one that bears those that are wanted."""
    yield facts
    leaf = facts.chain.leaf if facts.chain else None
    if isinstance(demand, Authenticated) and facts.chain and leaf and len(leaf.dns_names) >= NAMES_KEPT:
        yield replace(facts, chain=replace(facts.chain, leaf=_bearing(leaf, demand)))


_ANYBODY = CertificateFacts("", "", "", "", (), (), "", "", "", 0.0, 0.0, "")


def _bearing(leaf: CertificateFacts, demand: Authenticated) -> CertificateFacts:
    wanted = (name.removeprefix("*.") for names in demand.names for name in names)
    return replace(leaf, dns_names=(*leaf.dns_names, *wanted))


def _verdict(event: TraceEvent, way: _RoutePlan, facts: HopFacts) -> Decision:
    demand = way.hop.requirement
    if isinstance(demand, Opportunistic) and facts.handshake_error and event.detail.get("attempt", 1) <= 1:
        # What a later attempt may do unencrypted, a first one may not: see
        # `mail.outbound.delivery_attempt.may_go_clear`.
        demand = replace(demand, cleartext=Cleartext.ONLY_IF_NOT_OFFERED)
    shortfall = judge(demand, facts).shortfall
    if shortfall is None:
        return way.decision(Effect.DELIVERED)
    result = str(shortfall.result_type or "")
    return way.decision(Effect.HELD, shortfall.detail, reply=shortfall.message, result_type=result)


def _below(way: _RoutePlan, facts: HopFacts) -> Decision:
    version = facts.tls.version if facts.tls else ""
    why = f"{facts.host} agreed to {version}, and TLS profile {way.hop.requirement.profile} asks for more"
    return way.decision(Effect.HELD, why, reply="TlsHandshakeFailed", result_type="validation-failure")


def _same_offer(demand: Requirement, asked: Requirement | None) -> bool:
    """Whether the same versions, groups and suites are offered under both."""
    return asked is not None and _offered(demand) == _offered(asked)


def _offered(requirement: Requirement) -> Profile | None:
    """None if nothing is left to negotiate."""
    try:
        return offered(requirement)
    except ValueError:
        return None


def _fits(demand: Requirement, facts: HopFacts) -> bool | None:
    """Whether what was agreed would be agreed again under the requirement's offer; None if that is not certain."""
    profile, made, tls = PROFILES[demand.profile], _offered(demand), facts.tls
    if tls is None or made is None or tls.version > made.max_version:
        return None
    if tls.version < made.min_version:
        # It has nothing newer. What falls short of the connector's own floor is told by that.
        return tls.version >= profile.min_version
    if not isinstance(demand, Opportunistic) and demand.limits.unmet(tls) is not None:
        return None  # it preferred what is not offered any more
    suites = (profile.suites13 if tls.version == "TLSv1.3" else profile.suites12).split(":")
    return True if tls.suite in {iana_name(suite) for suite in suites} else None


def _judged_by(event: TraceEvent, asked: Requirement | None) -> str | None:
    """The trust anchors that the row's chain was judged by, "" for the server's own; None if that is not known."""
    if "rehearsal" in event.detail and not event.requirement.startswith("authenticated"):
        return None  # by those of the rehearsal, if it has any; up to version 0.1.0 by the server's
    if asked is not None:
        return asked.anchors[0] if isinstance(asked, Authenticated) else ""
    return None if event.requirement.startswith("authenticated") else ""
