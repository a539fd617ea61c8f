"""Decide RECEIVE and REFUSE rows again: MAIL and RCPT under another configuration, on the facts of the row.

Called by `analysis.rehearsal.replay`. No I/O. `policy.decisions.inbound` decides, as it does for real mail. What a row
does not have (a judgement by other trust anchors, names beyond those kept) is tried either way; where that matters, it
cannot be told.
"""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING

from gatepost.analysis.rehearsal.recorded import NAMES_KEPT, Decision, Effect, session_facts, settled
from gatepost.policy.decisions.forwarding import Returned
from gatepost.policy.decisions.handover import NODE
from gatepost.policy.decisions.inbound import decide_mail, decide_recipient
from gatepost.policy.decisions.submission import CONNECTOR, LOGIN
from gatepost.protocols.message.srs import is_srs
from gatepost.protocols.smtp.grammar import GrammarError, Path, parse_path
from gatepost.protocols.smtp.replies import RECIPIENT_OK
from gatepost.protocols.tls.facts import CertificateFacts, ChainStatus, ChainVerdict
from gatepost.protocols.tls.names import matches
from gatepost.values import replace

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gatepost.mail.model.trace_event import TraceEvent
    from gatepost.policy.connectors.directory import Directory
    from gatepost.policy.connectors.facts import SessionFacts
    from gatepost.policy.connectors.records import InboundConnector
    from gatepost.policy.decisions.decision import InboundVerdict


_SETS_OF_ANCHORS = 4


def decide_session(event: TraceEvent, directory: Directory) -> Decision:
    """A RECEIVE or REFUSE row decided again: MAIL, then RCPT if a recipient was said."""
    if event.detail.get("basis") == NODE:
        outcome, reply = (Effect.ACCEPTED, "") if event.event == "RECEIVE" else (Effect.REFUSED, event.reply)
        why = "another node handed it over, and had asked the connectors"
        return Decision(outcome, event.organization, event.connector, event.requirement, reply, why=why)
    facts = session_facts(event)
    names, anchors = _cut_off(facts), _unjudged(facts, directory)
    if not names and not anchors:
        return _decide(event, facts, directory)
    if len(anchors) > _SETS_OF_ANCHORS:
        return Decision(Effect.UNKNOWN, why=_missing(names=names, anchors=bool(anchors)))
    possible = _possible(facts, directory, names=names, anchors=anchors)
    return settled(
        (_decide(event, variant, directory) for variant in possible), _missing(names=names, anchors=bool(anchors))
    )


def _decide(event: TraceEvent, facts: SessionFacts, directory: Directory) -> Decision:
    try:
        reverse_path = parse_path(f"<{event.sender}>", smtputf8=True)
        recipient = parse_path(f"<{event.recipient}>", smtputf8=True) if event.recipient else None
    except GrammarError as error:
        return Decision(Effect.UNKNOWN, why=f"the row's addresses cannot be read: {error}")
    if event.detail.get("basis") == LOGIN and not facts.user:
        return Decision(Effect.REFUSED, "", CONNECTOR, reply="a log-in failed", why="no configuration affects that")
    mail = decide_mail(directory, facts, reverse_path)
    if not mail.accepted:
        return _of_verdict(mail, "")
    if recipient is None:
        return Decision(
            Effect.UNKNOWN,
            mail.organization,
            mail.connector,
            mail.requirement,
            why="MAIL would have been taken, but the client was refused before it said a recipient",
        )
    verdict = decide_recipient(directory, facts, reverse_path, _as_it_was_known(event, recipient), mail.attribution)
    return _of_verdict(verdict, _owner(verdict, directory, recipient.domain))


def _as_it_was_known(event: TraceEvent, recipient: Path) -> Path | Returned:
    """A rewritten address that was taken was ours: only the keys say so, and no configuration changes them."""
    if event.event == "RECEIVE" and is_srs(recipient.local_part):
        return Returned(
            recipient, recipient, RECIPIENT_OK, f"{recipient.text} was known as a rewritten address of ours"
        )
    return recipient


def _of_verdict(verdict: InboundVerdict, owner: str) -> Decision:
    is_others = verdict.recipient_organization not in {"", owner or verdict.organization}
    return Decision(
        Effect.ACCEPTED if verdict.accepted else Effect.REFUSED,
        owner or verdict.organization,
        verdict.connector,
        verdict.requirement,
        "" if verdict.accepted else verdict.reply.text,
        rehearsed=verdict.would_refuse.text if verdict.would_refuse else "",
        rehearsed_by=verdict.would_refuse_connector,
        why=verdict.reasons[-1] if verdict.reasons else "",
        refused_by=verdict.recipient_organization if is_others and not verdict.accepted else "",
    )


def _owner(verdict: InboundVerdict, directory: Directory, recipient_domain: str) -> str:
    """The owner of the connector: of an on-premises one the organization, else the recipient's."""
    if verdict.attribution.connector is not None:
        return verdict.attribution.organization or ""
    organization = directory.organization_of(recipient_domain)
    return organization.name if organization else ""


def _cut_off(facts: SessionFacts) -> bool:
    """Whether the certificate may have borne more names than were kept."""
    leaf = facts.client_chain.leaf if facts.client_chain else None
    return leaf is not None and len(leaf.dns_names) >= NAMES_KEPT


def _unjudged(facts: SessionFacts, directory: Directory) -> list[str]:
    """Trust anchors by which connectors would judge the certificate that they name, and by which nobody did."""
    leaf = facts.client_chain.leaf if facts.client_chain else None
    if leaf is None:
        return []
    missing = {name for name in directory.client_anchors(leaf) if facts.chain(name) is None}
    return sorted(
        missing
        and {connector.trust_anchors for connector in _named_by(directory, leaf) if connector.trust_anchors in missing}
    )


def _named_by(directory: Directory, leaf: CertificateFacts) -> Iterator[InboundConnector]:
    for organization in directory.organizations:
        for connector in organization.inbound_connectors:
            name = connector.tls_sender_certificate_name
            if connector.enabled and name and matches(name, leaf, common_name=connector.match_common_name):
                yield connector


def _possible(facts: SessionFacts, directory: Directory, *, names: bool, anchors: list[str]) -> Iterator[SessionFacts]:
    """Every session that the row may be of: each unknown judgement either way, names that were cut off or not."""
    for statuses in product((ChainStatus.UNTRUSTED_ROOT, ChainStatus.TRUSTED), repeat=len(anchors)):
        leaf = facts.client_chain.leaf if facts.client_chain else None
        chains = {
            **facts.chains,
            **{name: ChainVerdict(status, "", leaf) for name, status in zip(anchors, statuses, strict=True)},
        }
        variant = replace(facts, chains=chains)
        yield variant
        if names:
            yield _bearing_more(variant, directory)


def _bearing_more(facts: SessionFacts, directory: Directory) -> SessionFacts:
    """The same session, its certificate bearing every name that connectors look for."""
    names = tuple(
        connector.tls_sender_certificate_name.removeprefix("*.")
        for organization in directory.organizations
        for connector in organization.inbound_connectors
        if connector.tls_sender_certificate_name
    )

    def more(chain: ChainVerdict) -> ChainVerdict:
        leaf = chain.leaf
        return replace(chain, leaf=leaf and replace(leaf, dns_names=(*leaf.dns_names, *names)))

    chains = {name: more(chain) for name, chain in facts.chains.items()}
    return replace(facts, client_chain=facts.client_chain and more(facts.client_chain), chains=chains)


def _missing(*, names: bool, anchors: bool) -> str:
    said = []
    if anchors:
        # Without their names: they may be another organization's.
        said.append("the client's certificate was not judged by the trust anchors of every connector that names it")
    if names:
        said.append(f"only the first {NAMES_KEPT} names of its certificate were kept")
    return "; ".join(said)
