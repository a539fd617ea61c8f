"""Tell the trace what a session refused.

Used by `mail.inbound.session`. Every refusal is a row; the first few of a session have its dialogue as well.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gatepost.events.trace import refused_event

if TYPE_CHECKING:
    from collections.abc import Callable

    from gatepost.mail.inbound.record import SessionRecord
    from gatepost.mail.inbound.service import InboundService
    from gatepost.mail.inbound.transaction import Transaction
    from gatepost.mail.model.trace_event import TraceEvent
    from gatepost.policy.decisions.decision import InboundVerdict
    from gatepost.protocols.smtp.replies import Reply

_TRANSCRIPTS: Final = 3  # that one session may have in the trace


class SessionRefusals:
    """The refusals of one session. transcript: the lines of its dialogue so far."""

    __slots__ = ("_kept", "_record", "_service", "_transcript")

    def __init__(self, record: SessionRecord, service: InboundService, transcript: Callable[[], list[str]]) -> None:
        self._record = record
        self._service = service
        self._transcript = transcript
        self._kept = 0

    def tell(self, reply: Reply, sender: str, recipient: str, verdict: InboundVerdict) -> None:
        """Tell of a command that was refused. sender, recipient: addresses, "" for none yet."""
        self._service.trace([self._event(reply, sender, recipient, verdict)])

    def tell_message(self, reply: Reply, transaction: Transaction) -> None:
        """Tell of a message that was refused, for each of its recipients."""
        sender = transaction.mail.path.text
        self._service.trace(
            [
                transaction.amend_refusal(self._event(reply, sender, recipient.event.path.text, recipient.verdict))
                for recipient in transaction.recipients
            ]
        )

    def _event(self, reply: Reply, sender: str, recipient: str, verdict: InboundVerdict) -> TraceEvent:
        record = self._record
        event = refused_event(record.facts, record.tls, (sender, recipient), verdict, reply, self._service.clock())
        self._kept += 1
        if self._kept <= _TRANSCRIPTS:
            event.detail["transcript"] = self._transcript()
        return event
