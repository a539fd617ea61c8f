"""Tell the trace what a session refused, and of a TLS handshake that failed.

Used by `mail.inbound.session`. A refusal is a row, and the first few of a session have its dialogue as well. Of a
client with hundreds of them in a minute the rest is only counted: they would fill the disk (decision 0179).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gatepost.events.trace import failed_handshake_event, refused_event
from gatepost.mail.inbound.failed_handshakes import FailedHandshakes
from gatepost.policy.decisions.load import HANDSHAKE_SECONDS, RateLimit, identifies, refused_for_rate

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gatepost.mail.inbound.record import SessionRecord
    from gatepost.mail.inbound.service import InboundService
    from gatepost.mail.inbound.transaction import Transaction
    from gatepost.mail.model.trace_event import TraceEvent
    from gatepost.policy.decisions.decision import InboundVerdict
    from gatepost.protocols.smtp.replies import Reply

_TRANSCRIPTS: Final = 3  # that one session may have in the trace
_failed_handshakes = FailedHandshakes()  # of all sessions of the process
_left_out = FailedHandshakes()  # the same of clients some of whose refusals have no row
_LEFT_OUT: Final = "too many refusals in a minute ([rates] refusals): further ones are counted, and have no row"


class SessionRefusals:
    """The refusals of one session. transcript: the lines of its dialogue so far."""

    __slots__ = ("_kept", "_limited", "_record", "_service", "_transcript")

    def __init__(self, record: SessionRecord, service: InboundService, transcript: Callable[[], list[str]]) -> None:
        self._record = record
        self._service = service
        self._transcript = transcript
        self._kept = 0
        self._limited = False

    def limited(self, limit: RateLimit, sender: str = "", recipient: str = "", *, spent: bool = False) -> Reply | None:
        """Count what an unknown client does: the refusal of what is too much, which the trace has once a session.

        spent: count nothing, and say whether one more would be too much.
        """
        limits, host = self._service.source_limits, self._record.facts.peer_ip
        if limits is None or self._record.facts.user or self._record.facts.node:
            return None
        reply = limits.spent(limit, host) if spent else limits.take(limit, host)
        if reply is not None and not self._limited:
            self._limited = True
            self.tell(reply, sender, recipient, refused_for_rate(self._record.directory, reply, limit))
        return reply

    def stranger(self) -> Reply | None:
        """The greeting for a client that is not a node of the site, where only nodes may come; None for whoever may."""
        if (verdict := self._record.stranger()) is None:
            return None
        self.tell(verdict.reply, "", "", verdict)
        return verdict.reply

    def handshake_seconds(self) -> float:
        """Within which the client's TLS handshake must be complete, however idle sessions may be."""
        limits = self._service.source_limits
        seconds = limits.handshake_seconds(self._record.facts.peer_ip) if limits is not None else HANDSHAKE_SECONDS
        return min(seconds, self._service.session_limits.idle_timeout)

    def identified(self, basis: str) -> None:
        """A message of the client was accepted. basis: what it was identified by, as in `Attribution`."""
        if self._service.source_limits is not None and identifies(basis):
            self._service.source_limits.recognize(self._record.facts.peer_ip)

    def tell(self, reply: Reply, sender: str, recipient: str, verdict: InboundVerdict) -> None:
        """Tell of a command that was refused. sender, recipient: addresses, "" for none yet."""
        self._give([self._event(reply, sender, recipient, verdict)], [verdict])

    def tell_message(self, reply: Reply, transaction: Transaction) -> None:
        """Tell of a message that was refused, for each of its recipients."""
        sender = transaction.mail.path.text
        self._give(
            [
                transaction.amend_refusal(self._event(reply, sender, recipient.event.path.text, recipient.verdict))
                for recipient in transaction.recipients
            ],
            [recipient.verdict for recipient in transaction.recipients],
        )

    def _give(self, events: list[TraceEvent], verdicts: Sequence[InboundVerdict]) -> None:
        """Tell of refusals; the first of a client that has no row of its own any more says so.

        A client with a partner's certificate does not share the rows of strangers, who could use them up.
        """
        limits, facts = self._service.source_limits, self._record.facts
        shown = any("certificate" in (verdict.basis or verdict.attribution.basis) for verdict in verdicts)
        if limits is None or facts.node or limits.records(facts.peer_ip, len(events), identified=shown):
            self._service.trace(events)
        elif _left_out.is_news(facts.peer_ip, "", known=shown or limits.is_known(facts.peer_ip)):
            events[0].detail["reasons"] = [*events[0].detail.get("reasons", ()), _LEFT_OUT]
            self._service.trace(events[:1])
            self._service.tell(events[1:])
        else:
            self._service.tell(events)

    def tell_handshake(self, why: str) -> None:
        """Tell of the client's handshake that failed, unless it was told just now. why: what OpenSSL says."""
        facts, limits = self._record.facts, self._service.source_limits
        known = limits is not None and limits.is_known(facts.peer_ip)
        if _failed_handshakes.is_news(facts.peer_ip, why, known=known):
            event = failed_handshake_event(facts, why, self._service.clock())
            event.detail["transcript"] = self._transcript()
            self._service.trace([event])

    def _event(self, reply: Reply, sender: str, recipient: str, verdict: InboundVerdict) -> TraceEvent:
        record = self._record
        event = refused_event(record.facts, record.tls, (sender, recipient), verdict, reply, self._service.clock())
        self._kept += 1
        if self._kept <= _TRANSCRIPTS:
            event.detail["transcript"] = self._transcript()
        return event
