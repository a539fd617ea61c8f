"""Explain the whole path of a message before it comes: each decision, why no other, and what if.

Called by `manage.cli.explain`, later by the API and the admin centre. Pure: it asks the very functions that decide for
real sessions and attempts (`policy.decisions.inbound`, `policy.decisions.route`, `policy.decisions.outbound`) and adds
what they had no need to say.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, assert_never

from gatepost.policy.connectors.comparison import other_inbound, other_outbound
from gatepost.policy.connectors.mail_flow import Content, unmet
from gatepost.policy.connectors.values import AuthenticationResults, ProtectionDrop, SmtpDaneMode
from gatepost.policy.decisions.asking import mx_stand_in, with_message_request
from gatepost.policy.decisions.authentication import authenticated_by
from gatepost.policy.decisions.daily_limits import with_daily_limit
from gatepost.policy.decisions.decision import InboundVerdict, OutboundDecision, passed_over_record
from gatepost.policy.decisions.failures import FailureOutcome, outcomes
from gatepost.policy.decisions.forwarding import expand
from gatepost.policy.decisions.home import ALONE, Nodes
from gatepost.policy.decisions.inbound import decide_mail, decide_recipient
from gatepost.policy.decisions.journaling import (
    JournaledMail,
    JournaledRecipient,
    journal_copies,
    journal_sentences,
)
from gatepost.policy.decisions.outbound import both
from gatepost.policy.decisions.published import joined_modes
from gatepost.policy.decisions.quarantine import quarantine_sentences
from gatepost.policy.decisions.requirement import Encrypted, Source
from gatepost.policy.decisions.requiretls import Asks, asks_of
from gatepost.policy.decisions.route import NO_CONTENT, RoutePlanner
from gatepost.policy.decisions.routes import InternalRoute, LmtpRoute, MailboxRoute, MxRoute, SmartHosts, Unroutable
from gatepost.policy.decisions.signing import Provenance, Signing, sealing, signing
from gatepost.values import replace

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gatepost.policy.connectors.directory import Directory
    from gatepost.policy.connectors.facts import SessionFacts
    from gatepost.policy.connectors.mail_flow_rule import MailFlowRule
    from gatepost.policy.connectors.records import Organization
    from gatepost.policy.decisions.requirement import Requirement
    from gatepost.policy.decisions.routes import NextHop, Route
    from gatepost.protocols.smtp.grammar import Path


type Others = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Explanation:
    """The predicted path of one message to one recipient.

    stage: the command that `inbound` answers: "RCPT TO", or "MAIL FROM" if it is refused already. others_inbound,
    others_outbound, other_rules: the other connectors and rules of the organizations concerned, and why each was not
    chosen. outbound: None if the mail belongs to no organization. supposed: the message is not accepted, and outbound
    is what would follow if it were. failures: the effect of each kind of TLS failure, () where there is no hop.
    expiration: seconds after which waiting mail is returned, by the organization's own setting; None: the server's.
    route: the route itself, to try out, without the message's own TLS requests. asks: those. held_below_memory: mail
    for a destination below its known level is held. signing: the DKIM keys that would sign it, or why none would; None
    if it does not leave, or there are no keys. sealing: the same of the ARC seal, None if it is not mail of others that
    leaves again.
    """

    session: SessionFacts
    reverse_path: Path
    recipient: Path
    stage: str
    inbound: InboundVerdict
    others_inbound: Others
    outbound: OutboundDecision | None
    others_outbound: Others
    other_rules: Others
    failures: tuple[FailureOutcome, ...]
    expiration: float | None = None
    route: Route | None = None
    asks: Asks = Asks.NOTHING
    held_below_memory: bool = False
    signing: Signing | None = None
    sealing: Signing | None = None

    @property
    def supposed(self) -> bool:
        """Whether the message does not come in, so that outbound is a supposition."""
        return not self.inbound.accepted

    @property
    def succeeds(self) -> bool:
        """Whether it is accepted and has a way."""
        return self.inbound.accepted and self.outbound is not None and self.outbound.way != "nowhere"

    def record(self) -> dict[str, Any]:
        """For machines. `inbound` and `outbound` have the keys that the trace keeps of a real decision."""
        return {
            "configuration": self.inbound.configuration,
            "from": self.reverse_path.text,
            "to": self.recipient.text,
            "ip": self.session.peer_ip,
            "tls": self.session.tls.version if self.session.tls else "",
            "stage": self.stage,
            "inbound": self.inbound.record() | {"others": passed_over_record(self.others_inbound, limit=None)},
            "outbound": self._outbound_record(),
            "failures": [failure.record() for failure in self.failures],
            "held_below_memory": self.held_below_memory,
            "dkim": None if self.signing is None else {"keys": self.signing.names, "why": self.signing.why},
            "arc": None if self.sealing is None else {"keys": self.sealing.names, "why": self.sealing.why},
        }

    def _outbound_record(self) -> dict[str, Any] | None:
        if self.outbound is None:
            return None
        return self.outbound.record() | {
            "supposed": self.supposed,
            "others": passed_over_record(self.others_outbound, limit=None),
            "other_rules": [{"rule": name, "why": why} for name, why in self.other_rules],
        }


def explain(  # noqa: PLR0913 - a message, and what it meets
    directory: Directory,
    session: SessionFacts,
    reverse_path: Path,
    recipient: Path,
    *,
    content: Content = NO_CONTENT,
    require_tls: bool = False,
    profile: str = "default",
    nodes: Nodes = ALONE,
) -> Explanation:
    """Decide on a message as its session and its delivery would.

    content: its header, for mail flow rules and for TLS-Required. require_tls: it comes with REQUIRETLS. profile: the
    server's TLS profile. nodes: of the site.
    """
    verdict, stage = _inbound(directory, session, (reverse_path, recipient), content)
    mine = _whose(directory, verdict, reverse_path, recipient)
    onward = expand(directory, recipient).targets[-1].path  # a mailbox may send it on; that way is the one to explain
    planner = RoutePlanner(directory, profile, nodes)
    looked_up = _route(planner, verdict, (reverse_path, onward), mine, content)
    owner = _router(directory, looked_up, onward) or mine
    asks = _asks(reverse_path, content, require_tls=require_tls)
    route = with_message_request(looked_up, asks) if looked_up is not None else None
    outbound = _outbound(directory, route, owner) if route is not None and owner is not None else None
    if outbound is not None and isinstance(looked_up, SmartHosts):
        outbound = replace(outbound, connector=looked_up.connector.name)  # it is the way, even if no host of it will do
    others = tuple(_other_outbound(outbound, owner, mine, onward)) if outbound is not None and owner is not None else ()
    rules = _other_rules(outbound, (owner, mine), (reverse_path, onward), content) if outbound is not None else ()
    return Explanation(
        session,
        reverse_path,
        recipient,
        stage,
        verdict,
        tuple(_other_inbound(directory, verdict, session, (reverse_path, recipient))),
        outbound,
        others,
        tuple(rules),
        _failures(route),
        mine.message_expiration if mine else None,
        looked_up,
        asks,
        isinstance(route, SmartHosts | MxRoute) and _held(mine, owner),
        _signing(directory, verdict, mine, (reverse_path, content), route, forwarded=onward != recipient),
        _sealing(directory, verdict, mine, recipient, route),
    )


def _inbound(
    directory: Directory, session: SessionFacts, paths: tuple[Path, Path], content: Content
) -> tuple[InboundVerdict, str]:
    """What is decided on a message as it comes, and at which command. paths: reverse-path, recipient."""
    verdict = decide_mail(directory, session, paths[0])
    if not verdict.accepted:
        return verdict, "MAIL FROM"
    verdict = decide_recipient(directory, session, *paths, verdict.attribution).foretold()
    verdict = with_daily_limit(directory, session, verdict)
    if verdict.accepted and directory.journals is not None:
        reasons = _journaled(directory, verdict, paths, content)
        verdict = replace(verdict, reasons=(*verdict.reasons, *reasons))
    if verdict.accepted and directory.quarantine_rules:
        reasons = _quarantined(directory, verdict, paths, content)
        verdict = replace(verdict, reasons=(*verdict.reasons, *reasons))
    return verdict, "RCPT TO"


def _quarantined(
    directory: Directory, verdict: InboundVerdict, paths: tuple[Path, Path], content: Content
) -> tuple[str, ...]:
    """Which mail flow rules hold the message for the recipient, or for a place that its mail goes to."""
    sentences: dict[str, None] = {}
    for target in expand(directory, paths[1]).targets:
        envelope = paths[0].text, target.path.text, target.path.domain
        sentences |= dict.fromkeys(quarantine_sentences(directory, verdict.organization, envelope, content))
    return tuple(sentences)


def _journaled(
    directory: Directory, verdict: InboundVerdict, paths: tuple[Path, Path], content: Content
) -> tuple[str, ...]:
    """Who journals the message, and where."""
    reverse_path, recipient = paths
    owner = directory.organization_of(recipient.domain)
    sender = verdict.organization if verdict.direction == "originating" else ""
    mail = JournaledMail(
        sender, reverse_path.text, (JournaledRecipient(recipient.text, owner.name if owner is not None else ""),)
    )
    return journal_sentences(journal_copies(directory.journals or {}, mail, content))


def _held(*organizations: Organization | None) -> bool:
    return any(
        organization is not None and organization.protection_drop is ProtectionDrop.HOLD
        for organization in organizations
    )


def _asks(reverse_path: Path, content: Content, *, require_tls: bool) -> Asks:
    waived = [value.strip().lower() for value in content.header.get("tls-required", ())] == ["no"]
    return asks_of(require_tls=require_tls, tls_required_no=waived, relayed_notice=not reverse_path.text)


def _signing(
    directory: Directory,
    verdict: InboundVerdict,
    mine: Organization | None,
    message: tuple[Path, Content],
    route: Route | None,
    *,
    forwarded: bool,
) -> Signing | None:
    """A message of which no From field is given is taken to be from whom its reverse-path names."""
    if not directory.signing_keys or not isinstance(route, SmartHosts | MxRoute):
        return None
    reverse_path, content = message
    origin = Provenance(
        mine.name if mine is not None else "",
        originating=verdict.direction == "originating",
        basis=verdict.basis,
        forwarded=forwarded,
    )
    return signing(directory, origin, content.header.get("from", (reverse_path.text,)))


def _sealing(
    directory: Directory, verdict: InboundVerdict, mine: Organization | None, recipient: Path, route: Route | None
) -> Signing | None:
    """recipient: as it came in. Whoever sends mail itself has nothing to seal."""
    if not isinstance(route, SmartHosts | MxRoute) or verdict.direction == "originating" or mine is None:
        return None
    whose = verdict.organization, verdict.direction  # the verdict itself does not say it of a message that is refused
    checked_by = authenticated_by(whose, directory.organization_of(recipient.domain))
    if checked_by is AuthenticationResults.NONE:
        if not directory.signing_keys.signs(mine.name):
            return None
        return Signing((), 'it is not authenticated when it comes in (authentication_results = "none")')
    return sealing(directory, mine.name, recipient.domain)


def _whose(directory: Directory, verdict: InboundVerdict, reverse_path: Path, recipient: Path) -> Organization | None:
    """The organization whose mail it is; if the mail is refused, the one whose it would be."""
    if verdict.organization:
        return directory.organization(verdict.organization)
    organization = directory.organization_of(recipient.domain) or directory.organization_of(reverse_path.domain)
    claims = verdict.attribution.claims
    return organization or (claims[0][1].organization if claims else None)


# inbound


def _other_inbound(
    directory: Directory, verdict: InboundVerdict, session: SessionFacts, envelope: tuple[Path, Path]
) -> Iterable[tuple[str, str]]:
    """Connectors of every organization concerned but the one that applied; those passed over of others come last."""
    concerned = _concerned(directory, verdict, envelope)
    decided = dict(verdict.passed_over)
    applied = _applied(verdict)
    for organization in concerned:
        for connector in organization.inbound_connectors:
            label = f"connector {connector.name!r} of {organization.name}"
            said = [reason.removeprefix(f"{label} ") for reason in verdict.reasons if reason.startswith(f"{label} ")]
            if said and label not in decided:
                decided[label] = said[-1]
            if label == applied:
                decided[label] = ""
    named = set()
    for organization in concerned:
        for label, why in other_inbound(directory, organization, session, envelope, decided):
            named.add(label)
            yield label, why
    yield from ((label, why) for label, why in verdict.passed_over if label not in named)


def _concerned(directory: Directory, verdict: InboundVerdict, envelope: tuple[Path, Path]) -> list[Organization]:
    reverse_path, recipient = envelope
    organizations = [
        directory.organization(verdict.organization),
        directory.organization_of(recipient.domain),
        directory.organization_of(reverse_path.domain),
        *(entry.organization for _, entry in verdict.attribution.claims),
    ]
    return list(
        {organization.name: organization for organization in organizations if organization is not None}.values()
    )


def _applied(verdict: InboundVerdict) -> str:
    """The label of the connector that applied."""
    return f"connector {verdict.connector!r} of {verdict.attribution.organization or verdict.organization}"


# outbound


@dataclass(frozen=True, slots=True)
class _Recipient:
    address: str


def _route(
    planner: RoutePlanner,
    verdict: InboundVerdict,
    envelope: tuple[Path, Path],
    mine: Organization | None,
    content: Content,
) -> Route | None:
    if mine is None:
        return None
    reverse_path, recipient = envelope
    ((route, _),) = planner.routes(
        mine.name,
        [_Recipient(recipient.text)],
        reverse_path=reverse_path.text,
        content=content,
        from_on_premises=verdict.direction == "originating",
    )
    return route


def _router(directory: Directory, route: Route | None, recipient: Path) -> Organization | None:
    """The organization that says where mail for a recipient goes, None if nobody's domain it is."""
    if isinstance(route, SmartHosts | MxRoute):
        return directory.organization(route.connector_owner)
    return directory.organization_of(recipient.domain)


def _outbound(directory: Directory, route: Route, owner: Organization) -> OutboundDecision:
    version, own = directory.version, owner.name
    match route:
        case MailboxRoute():
            boxes = tuple(box.address for box in route.mailboxes)
            return OutboundDecision(version, own, "mailbox", boxes, "", None, None, (), (), content=route.content)
        case LmtpRoute():
            places, demand = _places((route.hop,)), route.hop.requirement
            return OutboundDecision(version, own, "lmtp", places, "", demand, None, (), (), content=route.content)
        case InternalRoute():
            places, demand = _places(route.hops), route.hop.requirement
            return OutboundDecision(version, own, "internal", places, "", demand, None, route.reasons, ())
        case SmartHosts() | MxRoute():
            return _on_its_way(version, own, route)
        case Unroutable():
            return OutboundDecision(
                version,
                own,
                "nowhere",
                (),
                "",
                None,
                None,
                route.reasons,
                route.passed_over,
                route.reply,
                route.detail,
                route.content,
            )
        case _:
            assert_never(route)


def _on_its_way(version: int, own: str, route: SmartHosts | MxRoute) -> OutboundDecision:
    """The decision on mail that leaves by hosts of a connector, or of the domain."""
    if isinstance(route, SmartHosts):
        way, places, hop = "smart-hosts", _places(route.hops), route.hops[0]
        requirement, trial = hop.requirement, hop.rehearsed
    else:
        way, places, requirement, trial = "mx", (route.domain,), route.requirement, route.rehearsed
    name = route.connector.name if route.connector else ""
    dane, demand = _demands_dane(route), _demand(requirement, route)
    reasons = (*route.reasons, _PROVEN_BY_DANE) if dane else route.reasons
    decision = OutboundDecision(version, own, way, places, name, demand, trial, reasons, route.passed_over)
    return replace(decision, content=route.content, sender=route.sender, mandatory_dane=dane)


_PROVEN_BY_DANE = (
    'only hosts with usable TLSA records are used (smtp_dane_mode = "mandatory"); without them mail waits: 450 4.7.323'
)


def _demands_dane(route: SmartHosts | MxRoute) -> bool:
    return joined_modes(route.connector, route.sender).dane is SmtpDaneMode.MANDATORY


def _demand(requirement: Requirement, route: SmartHosts | MxRoute) -> Requirement:
    """With TLS in any case where DANE is mandatory: a host that publishes no TLSA records is not used at all."""
    if not _demands_dane(route):
        return requirement
    name = route.connector.name if route.connector else ""
    return both(requirement, Encrypted((Source("connector", name),), requirement.profile))


def _places(hops: tuple[NextHop, ...]) -> tuple[str, ...]:
    return tuple(hop.place for hop in hops)


_NO_PART = "does not apply: {} decides where its domain's mail goes"

# Ways on which no outbound connector and no mail flow rule is asked, and why.
_AT_HOME = "is not needed: the recipient has a mailbox here"
_WITHOUT = {
    "mailbox": _AT_HOME,
    "lmtp": _AT_HOME,
    "internal": "is not used here, but on the node where the organization lives",
}


def _other_outbound(
    outbound: OutboundDecision, owner: Organization, mine: Organization | None, recipient: Path
) -> Iterable[tuple[str, str]]:
    if outbound.way in _WITHOUT:
        for connector in owner.outbound_connectors:
            why = "is disabled" if not connector.enabled else _WITHOUT[outbound.way]
            yield f"connector {connector.name!r} of {owner.name}", why
        return
    chosen = next(
        (
            outbound_connector
            for outbound_connector in owner.outbound_connectors
            if outbound_connector.name == outbound.connector
        ),
        None,
    )
    yield from other_outbound(owner, recipient.domain, chosen, dict(outbound.passed_over))
    if outbound.sender is not None and mine is not None:
        part = outbound.sender.connector
        for connector in mine.outbound_connectors:
            holds = "does not carry it, but its demands apply too" if connector == part else _NO_PART
            yield f"connector {connector.name!r} of {mine.name}", holds.format(owner.name)


def _other_rules(
    outbound: OutboundDecision,
    organizations: tuple[Organization | None, ...],
    envelope: tuple[Path, Path],
    content: Content,
) -> Iterable[tuple[str, str]]:
    """Mail flow rules that do not hold, each with why."""
    for organization in dict.fromkeys(candidate.name for candidate in organizations if candidate is not None):
        owner = next(
            candidate for candidate in organizations if candidate is not None and candidate.name == organization
        )
        for rule in sorted(owner.mail_flow_rules, key=lambda flow_rule: (flow_rule.priority, flow_rule.name)):
            label = f"mail flow rule {rule.name!r} of {owner.name}"
            if not any(reason.startswith(label) for reason in outbound.reasons):
                yield label, _rule_why(rule, outbound, envelope, content)


def _rule_why(rule: MailFlowRule, outbound: OutboundDecision, envelope: tuple[Path, Path], content: Content) -> str:
    reverse_path, recipient = envelope
    if not rule.enabled:
        return "is disabled"
    if outbound.way == "internal":
        return "applies on the node where the organization lives"
    if outbound.way in _WITHOUT:
        return "is for mail that leaves, and the recipient has a mailbox here"
    field = unmet(rule, reverse_path.text, recipient.text, content)
    if not field:
        return "is not evaluated: an earlier rule ends the rules"
    if field.startswith("header") and rule.header_name.lower() not in content.header:
        return f"asks for the field {rule.header_name}, which the message does not have"
    return f"does not match: its {field} do not fit"


def _failures(route: Route | None) -> tuple[FailureOutcome, ...]:
    match route:
        case LmtpRoute() | InternalRoute():
            return outcomes(route.hop.requirement, route.hop.rehearsed, route.hop.host)
        case SmartHosts():
            return outcomes(_demand(route.hops[0].requirement, route), route.hops[0].rehearsed, route.hops[0].host)
        case MxRoute():
            return outcomes(_demand(route.requirement, route), route.rehearsed, mx_stand_in(route.domain))
        case _:
            return ()
