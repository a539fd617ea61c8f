"""One mail transaction of a session: the envelope, the body on its way to the store, and what becomes of both.

`inbound.session` calls it with the events of the protocol; it never sees the wire.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gatepost.message.fields import HeaderScanner
from gatepost.message.received import received_field
from gatepost.message.submission import SubmittedHeader
from gatepost.policy.handover import read_origin
from gatepost.reports.trace import handed_over_record
from gatepost.smtp.grammar import xtext_encode
from gatepost.smtp.replies import Reply
from gatepost.store.interface import Delivery, Message, Recipient, StoreFailure
from gatepost.store.queue_id import format_id

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from gatepost.inbound.service import InboundService
    from gatepost.policy.facts import SessionFacts
    from gatepost.policy.forwarding import Target
    from gatepost.policy.inbound import InboundVerdict
    from gatepost.smtp.server import MailEvent, RecipientEvent
    from gatepost.store.interface import BodyWriter

__all__ = ["AcceptedRecipient", "Transaction"]

_HEADER_TOO_LARGE = Reply(552, "5.3.4", ("The header section of the message is larger than we accept",))
_FORWARDED = Reply(554, "5.4.6", ("Mail forwarding loop: a recipient has sent this message on already",))
_LOOP = Reply(554, "5.4.6", ("Hop count exceeded - possible mail loop",))


@dataclass(frozen=True, slots=True)
class AcceptedRecipient:
    """A forward-path that policy said yes to, and its reasons.

    targets: where its mail goes; at least one.
    """

    event: RecipientEvent
    verdict: InboundVerdict
    targets: tuple[Target, ...]


class Transaction:
    """From an accepted MAIL to the message in the queue, or to nothing.

    origin: what another node of the site says of the message, None if it comes from elsewhere.
    """

    __slots__ = (
        "_body",
        "_failure",
        "_scanner",
        "_service",
        "_session",
        "_submitted",
        "bytes_seen",
        "mail",
        "message_id",
        "origin",
        "recipients",
    )

    def __init__(self, service: InboundService, session: SessionFacts, mail: MailEvent) -> None:
        self._service = service
        self._session = session
        self._body: BodyWriter | None = None
        self._failure: StoreFailure | None = None
        self._submitted: SubmittedHeader | None = None
        self._scanner = HeaderScanner(service.smtp_limits.header_bytes)
        self.mail = mail
        self.origin = read_origin(mail.parameters.origin) if mail.parameters.origin else None
        self.recipients: list[AcceptedRecipient] = []
        self.message_id = 0
        self.bytes_seen = 0

    @property
    def queue_id(self) -> str:
        """The id the message has in the queue, "" before the body begins."""
        return format_id(self.message_id) if self.message_id else ""

    @property
    def receiving(self) -> bool:
        """Whether the body is on its way."""
        return self._body is not None

    def begin_body(self, greeted_with: str) -> Awaitable[None] | None:
        """Open the body and put our trace field before it (RFC 5321 section 4.4); an awaitable as from `write`."""
        self.message_id = self._service.store.new_id()
        self._body = self._service.store.body()
        session = self._session
        if session.user:
            limit, now = self._service.smtp_limits.header_bytes, self._service.clock()
            self._submitted = SubmittedHeader(limit, queue_id=self.queue_id, hostname=self._service.hostname, now=now)
        return self._body.write(
            received_field(
                hello=session.hello,
                peer_ip=session.peer_ip,
                by=self._service.hostname,
                greeted_with=greeted_with,
                smtputf8=self.mail.parameters.smtputf8,
                tls=session.tls,
                authenticated=session.user != "",
                queue_id=self.queue_id,
                recipient=self.recipients[0].event.path.text if len(self.recipients) == 1 else "",
                now=self._service.clock(),
            )
        )

    def write(self, chunk: bytes) -> Awaitable[None] | None:
        """Take a chunk of content; an awaitable means the disk is behind. After a failure content is only read over."""
        self.bytes_seen += len(chunk)
        if self._submitted is not None:
            chunk = self._submitted.feed(chunk)
        return self._keep(chunk) if chunk else None

    def _keep(self, chunk: bytes) -> Awaitable[None] | None:
        assert self._body is not None  # noqa: S101 - the protocol gives content only after DATA was accepted
        if self._failure is not None:
            return None
        if not self._scanner.done:
            self._scanner.feed(chunk)
        try:
            return self._body.write(chunk)
        except StoreFailure as failure:
            self._failure = failure
            return None

    def failed(self, failure: StoreFailure) -> None:
        """The store could not keep what it took; the message will be refused."""
        self._failure = failure

    def refusal(self) -> Reply | None:
        """Why the complete message cannot be taken, None if it can."""
        if self._submitted is not None and (rest := self._submitted.finish()):
            self._keep(rest)
        if self._failure is not None:
            return self._failure.reply
        self._scanner.finish()
        if self._scanner.too_large:
            return _HEADER_TOO_LARGE
        if self._scanner.facts.received_count >= self._service.session_limits.hops:
            return _LOOP
        return self._forwarded_before()

    def _forwarded_before(self) -> Reply | None:
        """The refusal of a message that comes back to a mailbox which sent it on (RFC 9228 section 3)."""
        seen = {address.lower() for address in self._scanner.facts.delivered_to}
        forwarders = (target.forwarded_by for one in self.recipients for target in one.targets)
        return _FORWARDED if any(by and by.lower() in seen for by in forwarders) else None

    def queued(self, inbound: dict[str, Any]) -> tuple[Message, list[Delivery], BodyWriter]:
        """What the store shall keep: the message, a delivery for each destination, the body."""
        assert self._body is not None  # noqa: S101 - a message ends only after it began
        now = self._service.clock()
        mail, facts, verdict = self.mail, self._scanner.facts, self.recipients[0].verdict
        message = Message(
            id=self.message_id,
            organization=verdict.organization,
            received=now,
            reverse_path=mail.path.text,
            size=self._body.size,
            body_type=mail.parameters.body,
            smtputf8=mail.parameters.smtputf8,
            require_tls=mail.parameters.require_tls,
            # Who asks for TLS by REQUIRETLS has the field ignored (RFC 8689 section 4.1).
            tls_required_no=facts.tls_required_no and not mail.parameters.require_tls,
            ret=mail.parameters.ret,
            envid=mail.parameters.envid,
            message_id=facts.message_id,
            subject=facts.subject,
            # One id for the whole way through the site: that of the session by which the message came into it.
            session=(self.origin.session if self.origin is not None else "") or self._session.session_id,
            direction=verdict.direction,
            hops=facts.received_count + 1,
            inbound=inbound | handed_over_record(self.origin, self._session),
        )
        return message, self._deliveries(message, now), self._body

    def _deliveries(self, message: Message, now: float) -> list[Delivery]:
        groups: dict[tuple[str, str, str], Delivery] = {}
        for accepted in self.recipients:
            organization = accepted.verdict.organization
            for target in accepted.targets:
                destination = f"{organization}/{target.path.domain}"
                key = destination, target.forwarded_by, target.return_path
                if (delivery := groups.get(key)) is None:
                    expires = now + self._service.expiration(organization)
                    delivery = Delivery(self._service.store.new_id(), message, destination, [], expires_at=expires)
                    groups[key] = delivery
                if not _has(delivery, target):
                    delivery.recipients.append(_recipient(accepted.event, target))
        return list(groups.values())

    def abort(self) -> None:
        """Forget the body and what it left on disk."""
        if self._body is not None:
            self._body.abort()
            self._body = None


def _has(delivery: Delivery, target: Target) -> bool:
    """Whether a mailbox that was addressed by two names has the message sent on already."""
    return bool(target.forwarded_by) and any(one.address == target.path.text for one in delivery.recipients)


def _recipient(event: RecipientEvent, target: Target) -> Recipient:
    """What notices are asked for goes along where one address stands for another (RFC 3461 section 5.2.7)."""
    orcpt = event.parameters.orcpt
    if target.forwarded_by and not orcpt and event.path.text.isascii():
        orcpt = f"rfc822;{xtext_encode(event.path.text)}"
    return Recipient(
        target.path.text,
        event.parameters.notify,
        orcpt,
        forwarded_by=target.forwarded_by,
        return_path=target.return_path,
    )
