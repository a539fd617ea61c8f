"""Compare decisions on real mail with today's: read from the trace, for the page that explains.

The trace keeps what a decision was made on, so that the question can be put again for a message that came long ago. It
does not keep the header, but for the subject, nor certificates beyond what identifies them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import msgspec
from msgspec import Meta

from gatepost.analysis.rehearsal.recorded import INBOUND, OUTBOUND, session_facts
from gatepost.manage.access.principal import Principal, Scope
from gatepost.manage.use_cases.declaration import Visibility, use_case
from gatepost.manage.use_cases.explain import ExplainRequest, ExplainResult, explain
from gatepost.manage.use_cases.refusal import Refusal, RefusalKind
from gatepost.manage.use_cases.trace import events_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gatepost.mail.model.trace_event import TraceEvent
    from gatepost.manage.use_cases.context import Context, Gateway


@dataclass(frozen=True, slots=True)
class PastDecision:
    """A message for one recipient as the trace has it.

    inbound: how it came; None if that row is gone. outbound: its newest attempt, None if there was none. recipients:
    all of the message.
    """

    identity: str
    sender: str
    recipient: str
    recipients: tuple[str, ...]
    inbound: TraceEvent | None
    outbound: TraceEvent | None

    @property
    def question(self) -> ExplainRequest:
        """The same message, asked about today."""
        event = self.inbound
        headers = (f"Subject: {event.subject}",) if event is not None and event.subject else ()
        waived = event is not None and event.detail.get("tls_required") == "No"
        return ExplainRequest(
            self.sender,
            self.recipient,
            headers=(*headers, "TLS-Required: No") if waived else headers,
            require_tls=event is not None and bool(event.detail.get("requiretls")),
            session=session_facts(event) if event is not None else None,
        )


class DecisionDifference(NamedTuple):
    """A decision that differs today. Empty texts stand for nothing."""

    field: str
    then: str
    today: str


class ExplainAgain(msgspec.Struct, kw_only=True):
    """message: queue id, Message-ID in <>, or a session's id. recipient: "" is the first."""

    message: Annotated[str, Meta(max_length=1000)]
    recipient: Annotated[str, Meta(max_length=1000)] = ""


class ExplainComparison(NamedTuple):
    """The decision of then, the decision of today, and their differences."""

    past: PastDecision
    answer: ExplainResult
    differences: list[DecisionDifference]


@use_case(scope=Scope.READ, visibility=Visibility.SEEN, tag="explain", action="explain")
def explain_again(context: Context, request: ExplainAgain) -> ExplainComparison:
    """Compare the decision on real mail with today's."""
    context.audit.describe(subject=request.message)
    past = past_of(context.gateway, context.principal, request.message, request.recipient)
    detail: dict[str, Any] = {"from": past.sender, "message": past.identity}
    context.audit.describe(subject=past.recipient, **detail)
    answer = explain(context.gateway, context.principal, past.question)
    return ExplainComparison(past, answer, differences(past, answer))


def past_of(gateway: Gateway, principal: Principal, identity: str, recipient: str = "") -> PastDecision:
    """Raises Refusal (MISSING) if the trace has nothing of it, or not of that recipient.

    identity: queue id, Message-ID in <>, or a session's id. recipient: "" is the first.
    """
    events = [event for event in events_of(gateway, principal, identity) if event.event in {*INBOUND, *OUTBOUND}]
    recipients = tuple(dict.fromkeys(event.recipient for event in events if event.recipient))
    if not recipients or (recipient and recipient not in recipients):
        raise Refusal(RefusalKind.MISSING, f"the trace has no decision on {recipient or 'anybody'} in {identity}")
    wanted = recipient or recipients[0]
    own = [event for event in events if event.recipient == wanted]
    inbound, outbound = _last(own, INBOUND), _last(own, OUTBOUND)
    sender = (inbound or own[0]).sender
    return PastDecision(identity, sender, wanted, recipients, inbound, outbound)


def differences(past: PastDecision, answer: ExplainResult) -> list[DecisionDifference]:
    """Differences between the decision of then and today's, as far as the trace shows them."""
    pairs: list[tuple[str, str, str]] = []
    verdict, outbound = answer.explanation.inbound, answer.explanation.outbound
    if past.inbound is not None and "inbound" not in answer.withheld:
        taken = "accepted" if past.inbound.event == "RECEIVE" else "refused"
        pairs += [
            ("inbound", taken, "accepted" if verdict.accepted else "refused"),
            ("inbound connector", past.inbound.connector, verdict.connector),
            ("inbound requirement", past.inbound.requirement, verdict.requirement),
        ]
    if past.outbound is not None and outbound is not None:
        today = outbound.required
        pairs += [("outbound connector", past.outbound.connector, outbound.connector)]
        # what DANE or MTA-STS added then is looked up when mail is sent, and not known today
        if today and not _is_published(past.outbound):
            pairs += [("outbound requirement", past.outbound.requirement, today)]
    return [DecisionDifference(*pair) for pair in pairs if pair[1] != pair[2]]


def _is_published(event: TraceEvent) -> bool:
    sources = event.detail.get("requirement_sources", ())
    return any(str(source).startswith(("dane", "mta-sts")) for source in sources)


def _last(events: Sequence[TraceEvent], kinds: tuple[str, ...]) -> TraceEvent | None:
    return next((event for event in reversed(events) if event.event in kinds), None)
