"""Apply the right rules to a MAIL or RCPT: for strangers, own servers and users, or for other nodes of the site.

Called by `mail.inbound.session`; decides nothing itself (`policy.decisions.inbound`, `policy.decisions.handover`,
`policy.decisions.forwarding`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gatepost.policy.decisions import refusals
from gatepost.policy.decisions.forwarding import MailOrigin, Target, relay_domain, returned, rewritten, targets_of
from gatepost.policy.decisions.handover import decide_handed_mail, decide_handed_recipient
from gatepost.policy.decisions.inbound import decide_recipient
from gatepost.policy.decisions.recipient_validation import judge_unasked
from gatepost.store.interface import StoreFull
from gatepost.values import replace

if TYPE_CHECKING:
    from gatepost.mail.inbound.record import SessionRecord
    from gatepost.mail.inbound.service import InboundService
    from gatepost.mail.inbound.transaction import Transaction
    from gatepost.policy.connectors.match import Attribution
    from gatepost.policy.decisions.decision import InboundVerdict
    from gatepost.protocols.smtp.grammar import Path
    from gatepost.protocols.smtp.server.events import MailEvent


def mail_verdict(record: SessionRecord, event: MailEvent) -> InboundVerdict:
    """On MAIL FROM."""
    if record.facts.node:
        return decide_handed_mail(record.directory, record.facts, event.parameters.origin)
    return record.repeated.mail(record.directory, record.facts, event.path)


def recipient_verdict(
    record: SessionRecord,
    service: InboundService,
    transaction: Transaction,
    recipient: Path,
    attribution: Attribution | None,
) -> tuple[InboundVerdict, tuple[Target, ...]]:
    """On RCPT TO, and where the recipient's mail goes if it is taken.

    Mail from another node goes where that one has found out already that it goes.
    """
    directory, facts, path = record.directory, record.facts, transaction.mail.path
    nodes, now = service.nodes(), service.clock()
    if (origin := transaction.origin) is not None:
        back = None if origin.forwarded_by else returned(directory, service.srs, path, recipient, now)
        verdict = decide_handed_recipient(directory, facts, nodes, origin, recipient, back)
        goes_to = back.original if back is not None and back.original is not None else recipient
        target = Target(goes_to, origin.forwarded_by, origin.return_path)
        if target.return_path:
            return verdict, (target,)
        relayed_by = relay_domain(directory, origin.organization, origin.facts.get("basis", ""))
        return verdict, (rewritten(directory, service.srs, path, target, now, relayed_by),)
    first = transaction.recipients[0].verdict if transaction.recipients else None
    back = returned(directory, service.srs, path, recipient, now, nodes)
    if back is None and first is None:
        verdict = record.repeated.recipient(directory, facts, path, recipient, attribution)
    else:
        verdict = decide_recipient(directory, facts, path, back or recipient, attribution, first)
    if not verdict.accepted:
        return verdict, ()
    return verdict, targets_of(
        directory, service.srs, path, back or recipient, now, MailOrigin(verdict.attribution, nodes)
    )


def within_limits(
    record: SessionRecord, service: InboundService, transaction: Transaction, verdict: InboundVerdict
) -> InboundVerdict:
    """The verdict on a recipient, with the limit of the message's sender worked in."""
    if service.usage is None or not verdict.accepted:
        return verdict
    verdict, transaction.charge = service.usage.admit(record.directory, record.facts, verdict, transaction.charge)
    return verdict


def apart_from_full(
    record: SessionRecord,
    service: InboundService,
    transaction: Transaction,
    verdict: InboundVerdict,
    targets: tuple[Target, ...],
) -> InboundVerdict:
    """The verdict on a recipient, refused where a full quarantine may hold its mail and not the first recipient's.

    Or the reverse: one answer stands for all recipients, and one organization's quarantine defers no other's mail.
    """
    room = service.quarantine
    if room is None or not room.full or not verdict.accepted or not transaction.recipients or transaction.origin:
        return verdict
    first = transaction.recipients[0]
    held = room.full_for(record.directory, first.verdict.organization, first.targets)
    if held == room.full_for(record.directory, verdict.organization, targets):
        return verdict
    reason = "a full quarantine may hold this recipient's mail, or the first one's: the client must send it separately"
    return replace(verdict, accepted=False, reply=refusals.SEND_APART, reasons=(*verdict.reasons, reason))


def within_share(service: InboundService, verdict: InboundVerdict) -> InboundVerdict:
    """The verdict on a recipient, refused where its organization has too much of a queue that is nearly full."""
    shares = service.shares
    if shares is None or not verdict.accepted or not (reason := shares.refusal(verdict.organization)):
        return verdict
    return replace(verdict, accepted=False, reply=StoreFull.reply, reasons=(*verdict.reasons, reason))


def settled_verdict(service: InboundService, verdict: InboundVerdict) -> InboundVerdict | None:
    """The verdict on a recipient without a question, as far as one is answered already; None if it must be asked."""
    question = verdict.question
    if question is None or not verdict.accepted:
        return verdict
    if (judgement := service.recipients.remembered(question)) is not None:
        return verdict.answered(*judgement)
    return None if question.may_ask else verdict.answered(None, judge_unasked(question))


async def verdict_of_source(record: SessionRecord, service: InboundService, verdict: InboundVerdict) -> InboundVerdict:
    """The verdict on a recipient once the source of its domain has answered."""
    if verdict.question is None:
        return verdict
    return verdict.answered(*await service.recipients.ask(verdict.question, record.facts.peer_ip))
