"""A decision as a record: for the trace of sessions and attempts, for `explain`, REST and the admin centre.

Made by `policy.decisions.inbound` and `policy.decisions.explain`; `events.trace` and `mail.inbound.record` write what
`detail` says. Plain values that JSON can hold, under keys that stay. Decides nothing.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any

import msgspec

from gatepost.policy.connectors.comparison import PASSED_OVER_LIMIT
from gatepost.policy.connectors.units import format_duration
from gatepost.policy.connectors.values import AuthenticationResults
from gatepost.policy.decisions.content import NO_DEMAND, ContentDemand
from gatepost.policy.decisions.outbound import describe
from gatepost.policy.decisions.recipient_validation import RecipientQuestion, foretell
from gatepost.values import replace

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gatepost.policy.connectors.hook_index import ApplicableHook
    from gatepost.policy.connectors.match import Attribution
    from gatepost.policy.connectors.records import InboundConnector
    from gatepost.policy.decisions.parties import SenderPart
    from gatepost.policy.decisions.requirement import Requirement
    from gatepost.protocols.smtp.replies import Reply


def passed_over_record(
    passed_over: Iterable[tuple[str, str]], *, limit: int | None = PASSED_OVER_LIMIT
) -> list[dict[str, str]]:
    """Connectors that did not apply, each with its reason. limit: how many at most."""
    return [{"connector": label, "why": why} for label, why in islice(passed_over, limit)]


def hook_record(applicable: ApplicableHook) -> dict[str, str]:
    """A content hook that is applicable: which it is, and what happens without its answer."""
    hook = applicable.hook
    held = {"quarantine": ", ".join(map(str, hook.quarantine))} if hook.quarantine else {}
    return {
        "hook": hook.name,
        "organization": applicable.organization,
        "type": str(hook.type),
        "address": hook.address,
        "mode": str(hook.mode),
        "timeout": format_duration(hook.timeout),
        "on_failure": str(hook.on_failure),
        **held,
    }


class InboundVerdict(msgspec.Struct, frozen=True):
    """The decision on one MAIL or RCPT.

    reasons: sentences for an administrator, in the order in which they were found, never sent to a peer. reply: to the
    client, 250 if accepted. organization: the owner of the mail, "" if none. direction: "originating", "incoming" or
    "none". connector: name of the inbound connector that applied, "" if none. requirement: what that connector demands:
    "opportunistic", "encrypted" or "authenticated(NAME)". attribution: to be handed to the verdicts on the message's
    recipients. would_refuse, would_refuse_connector: the refusal that a connector in rehearsal would have given, and
    its name. passed_over: connectors that could have applied as well, each with why it did not. basis: what identified
    the client or the connector, as in `Attribution`. configuration: number of the stored configuration it was decided
    by. rehearsed: what the connector would demand, if it is in rehearsal, else "". hooks: those that scan a message to
    this recipient before it is accepted. examined: their results, as `policy.decisions.content` records it, once they
    have been. authentication: who authenticates the message; authenticated: what was found, as
    `mail.inbound.transaction` records it. recipient_organization: who accepts the recipient's domain, "" for nobody:
    its reasons are told beside those of `organization`, for who sees both (`policy.decisions.withheld`). question:
    whether the recipient exists, to be asked before this is the verdict; None where that is known, or nobody asks.
    filter: the connector of a filter by which the message comes, if it skips hops: the partner rules wait for the
    header section (`policy.decisions.inbound.decide_filtered`). would_refuse_of_recipient: whether the connector that
    would have refused is the recipient's organization's. refused_by: the connector of the recipient's organization that
    refused, "" if none did. applied_by: the reason by which the connector applied, "" if none did, or a log-in says
    whose mail it is. supposes_recipient: it is foretold, and holds if the recipient exists, which is asked then.
    """

    accepted: bool
    reply: Reply
    organization: str
    direction: str
    connector: str
    requirement: str
    reasons: tuple[str, ...]
    attribution: Attribution
    would_refuse: Reply | None = None
    would_refuse_connector: str = ""
    passed_over: tuple[tuple[str, str], ...] = ()
    basis: str = "none"
    configuration: int = 0
    rehearsed: str = ""
    hooks: tuple[ApplicableHook, ...] = ()
    examined: tuple[dict[str, Any], ...] = ()
    recipient_organization: str = ""
    question: RecipientQuestion | None = None
    filter: InboundConnector | None = None
    authentication: AuthenticationResults = AuthenticationResults.NONE
    authenticated: dict[str, Any] | None = None
    would_refuse_of_recipient: bool = False
    refused_by: str = ""
    applied_by: str = ""
    supposes_recipient: bool = False

    def answered(self, reply: Reply | None, reason: str) -> InboundVerdict:
        """The verdict with the answer to its question, as `policy.decisions.recipient_validation` judges it."""
        reasons = (*self.reasons, reason)
        if reply is None:
            return replace(self, reasons=reasons, question=None)
        return replace(self, accepted=False, reply=reply, reasons=reasons, question=None)

    def foretold(self) -> InboundVerdict:
        """The verdict as `explain` tells it, where nobody is asked."""
        if self.question is None or not self.accepted:
            return self
        verdict = self.answered(None, foretell(self.question))
        return replace(verdict, supposes_recipient=self.question.may_ask)

    def detail(self) -> dict[str, Any]:
        """The part of the decision that the trace stores outside its columns."""
        record: dict[str, Any] = {
            "configuration": self.configuration,
            "basis": self.basis,
            "reasons": list(self.reasons),
        }
        if self.passed_over:
            record["passed_over"] = passed_over_record(self.passed_over)
        if self.rehearsed:
            record["rehearsal"] = {"requirement": self.rehearsed}
        if self.would_refuse is not None:
            record["would_refuse"] = self.would_refuse.text
            record["would_refuse_connector"] = self.would_refuse_connector
        if self.authenticated:
            record["authentication"] = self.authenticated
        if self.examined:
            record["content_hooks"] = list(self.examined)
        return record | self._parties()

    def _parties(self) -> dict[str, Any]:
        """The recipient's organization, where it decided too. own_reasons: how many reasons come before its own.

        would_refuse_organization: whose the connector is that would have refused. refused_by_connector: of that
        organization; it counts there.
        """
        if self.recipient_organization in {"", self.organization}:
            return {}
        record: dict[str, Any] = {
            "recipient_organization": self.recipient_organization,
            "own_reasons": len(self.attribution.reasons),
        }
        if self.would_refuse is not None:
            is_recipients = self.would_refuse_of_recipient
            record["would_refuse_organization"] = self.recipient_organization if is_recipients else self.organization
        if self.refused_by:
            record["refused_by_connector"] = self.refused_by
        known_by = self.attribution.connector
        if self.connector and (known_by is None or known_by.name != self.connector):
            record["connector_of_recipient"] = True
        return record

    def record(self) -> dict[str, Any]:
        """The whole decision, under the names of the trace's columns; hooks that would be asked among them."""
        values: dict[str, Any] = {}
        if self.hooks:
            values["content_hooks"] = [hook_record(hook) for hook in self.hooks]
        if self.authentication is not AuthenticationResults.NONE:
            values["authentication_results"] = str(self.authentication)
        if self.applied_by in self.reasons:
            values["applied_by"] = self.applied_by
        if self.supposes_recipient:
            values["supposes_recipient"] = True
        return (
            values
            | {
                "accepted": self.accepted,
                "reply": self.reply.text,
                "organization": self.organization,
                "direction": self.direction,
                "connector": self.connector,
                "requirement": self.requirement,
            }
            | self.detail()
        )


class OutboundDecision(msgspec.Struct, frozen=True):
    """The next hop of mail for one recipient and the requirement on it, before anything is looked up.

    organization: the one whose connectors and rules apply. way: "mailbox", "lmtp", "internal" (to another node),
    "smart-hosts", "mx" or "nowhere". next_hops: "HOST:PORT" in their order, the domain whose MX it is, or the mailbox.
    connector: name, "" if none. requirement: of the first next hop, None for a mailbox and for nowhere. rehearsed: what
    it would be, were nothing in rehearsal.
    reply, detail: for "nowhere", the reply that the message ends or waits with, and the reason. passed_over: connectors
    that would have taken it as well. content: the demands on the message itself. sender: the part of the organization
    whose mail it is, where `organization` is another: its demands are in `requirement`.
    mandatory_dane: TLSA records are demanded besides.
    """

    configuration: int
    organization: str
    way: str
    next_hops: tuple[str, ...]
    connector: str
    requirement: Requirement | None
    rehearsed: Requirement | None
    reasons: tuple[str, ...]
    passed_over: tuple[tuple[str, str], ...]
    reply: Reply | None = None
    detail: str = ""
    content: ContentDemand = NO_DEMAND
    sender: SenderPart | None = None
    mandatory_dane: bool = False

    @property
    def required(self) -> str:
        """The requirement as the trace prints it, "" for none."""
        return describe(self.requirement, mandatory_dane=self.mandatory_dane) if self.requirement is not None else ""

    def record(self) -> dict[str, Any]:
        """The whole decision; what the trace keeps of an attempt as well has the same keys there."""
        record: dict[str, Any] = {
            "configuration": self.configuration,
            "organization": self.organization,
            "way": self.way,
            "next_hops": list(self.next_hops),
            "connector": self.connector,
            "reasons": list(self.reasons),
        }
        if self.requirement is not None:
            record["requirement"] = self.required
            record["requirement_sources"] = [str(source) for source in self.requirement.sources]
        if self.passed_over:
            record["passed_over"] = passed_over_record(self.passed_over)
        if self.rehearsed is not None:
            sources = [str(source) for source in self.rehearsed.sources]
            record["rehearsal"] = {"requirement": describe(self.rehearsed), "sources": sources}
        if self.sender is not None:
            record["sender_demands"] = self.sender.record()
        if values := self.content.record():
            record["smime"] = values
        if self.reply is not None:
            record |= {"reply": self.reply.text, "detail": self.detail}
        return record
