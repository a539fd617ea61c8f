"""Make the notices for senders (RFC 3461, RFC 3464), as messages for the transaction that settles a delivery.

Called by `mail.queue.manager` when an attempt is over. The text is `protocols.message.dsn`'s. Nobody is told of a
message with the null reverse-path, so that notices never answer notices.
"""

from __future__ import annotations

import logging
import secrets
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from gatepost.mail.model.delivery_result import Disposition, RecipientResult
from gatepost.mail.model.queue_id import format_id
from gatepost.mail.queue.own_mail import own_deliveries, own_message, path_of
from gatepost.policy.decisions.forwarding import Target
from gatepost.policy.decisions.withheld import concerns_others
from gatepost.protocols.message.dsn import build_dsn, build_redacted
from gatepost.protocols.message.dsn_advice import NO_CERTIFICATE, RETURNED
from gatepost.protocols.message.dsn_report import Advice, DsnAction, DsnHop, DsnRecipient, DsnReport, RedactedNotice
from gatepost.store.interface import StoreFailure

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping, Sequence

    from gatepost.mail.model.message import Delivery, Message
    from gatepost.mail.queue.stranger_notices import NoticesToStrangers
    from gatepost.protocols.smtp.grammar import Path


_log = logging.getLogger(__name__)

_RETURN_LIMIT = 262_144  # octets of an original that go back whole
_HEADER_LIMIT = 262_144
_UNPROTECTED = {"5.7.10", "5.7.30"}  # what fails for want of REQUIRETLS (RFC 8689 section 4.2.1)


class _Bodies(Protocol):
    def new_id(self) -> int:
        """A fresh message or delivery id."""

    def read(self, message_id: int) -> AsyncIterator[bytes]:
        """The stored body, in chunks."""


def _itself(path: Path) -> tuple[Target, ...]:
    return (Target(path),)


def _nothing(_delivery: Delivery, _original: bytes) -> bool:
    return False


class Bouncer(msgspec.Struct, frozen=True):
    """Makes notices.

    expiration: seconds a notice of an organization stays queued. targets: where mail for an address goes by the
    mailboxes here, so that whose mail is forwarded gets notices where the other mail goes. secret: whether the content
    of a message, of which the beginning is given, was to leave only encrypted: its notices hold the header alone.
    strangers: says which notices about mail from unknown servers go; without it all do.
    """

    store: _Bodies
    hostname: str
    expiration: Callable[[str], float]
    targets: Callable[[Path], Sequence[Target]] = _itself
    secret: Callable[[Delivery, bytes], bool] = _nothing
    strangers: NoticesToStrangers | None = None

    async def notices(
        self, delivery: Delivery, results: Sequence[RecipientResult], *, late: bool, now: float
    ) -> list[tuple[Message, list[Delivery], bytes]]:
        """The notices that one attempt calls for: failures and successes in one, delays in another.

        late: the message has waited long enough for a delay notice; recipients in it are marked so.
        """
        if not delivery.message.reverse_path:
            return self._redacted(delivery, results, now) if delivery.message.require_tls else []
        settled = [_settled(result, now) for result in results if _wants_settled(result)]
        waiting = [result for result in results if late and _wants_delay(result)]
        if (settled or waiting) and self._withhold(delivery, results, waiting):
            return []
        notices = []
        if settled:
            notices.append(await self._notice(delivery, settled, now))
        if waiting:
            rows = [_recipient(result, DsnAction.DELAYED, now, delivery.expires_at) for result in waiting]
            notices.append(await self._notice(delivery, rows, now))
            for result in waiting:
                result.recipient.delayed = True
        return notices

    def _withhold(
        self, delivery: Delivery, results: Sequence[RecipientResult], waiting: Sequence[RecipientResult]
    ) -> bool:
        """Whether the notices are withheld; then the results say so, for the trace."""
        if self.strangers is None:
            return False
        failed = any(result.disposition is Disposition.FAILED and _wants_settled(result) for result in results)
        why = self.strangers.withheld(delivery.message, delivery.organization, failed=failed)
        if not why:
            return False
        for result in results:
            if _wants_settled(result) or result in waiting:
                result.detail["notice"] = why
        for result in waiting:
            result.recipient.delayed = True  # nothing more is due for it
        return True

    def _redacted(
        self, delivery: Delivery, results: Sequence[RecipientResult], now: float
    ) -> list[tuple[Message, list[Delivery], bytes]]:
        """A notice for the postmaster, where one with REQUIRETLS cannot be sent for want of it.

        That goes without REQUIRETLS, so nothing follows if it fails (RFC 8689 section 5).
        """
        unsent = {
            _domain(result.recipient.address): result.reply.enhanced
            for result in results
            if result.disposition is Disposition.FAILED and result.reply.enhanced in _UNPROTECTED
        }
        return [self._for_postmaster(delivery, domain, status, now) for domain, status in unsent.items() if domain]

    def _for_postmaster(
        self, delivery: Delivery, domain: str, status: str, now: float
    ) -> tuple[Message, list[Delivery], bytes]:
        about, number = delivery.message, self.store.new_id()
        body = build_redacted(
            RedactedNotice(
                domain=domain,
                reporting_mta=self.hostname,
                postmaster=f"postmaster@{self.hostname}",
                now=now,
                message_id=f"{format_id(number)}@{self.hostname}",
                about=about.inbound.get("notice_about_message_id", "") if about.is_notice else about.message_id,
                status=status,
            )
        )
        notice = self._message(number, about, delivery.organization, body, now)
        return *self._queued(notice, f"postmaster@{domain}"), body

    async def _notice(
        self, delivery: Delivery, recipients: list[DsnRecipient], now: float
    ) -> tuple[Message, list[Delivery], bytes]:
        message = delivery.message
        organization = delivery.organization
        number = self.store.new_id()
        original, complete = await self._readable(delivery)
        report = DsnReport(
            to=message.reverse_path,
            reporting_mta=self.hostname,
            postmaster=f"postmaster@{self.hostname}",
            now=now,
            message_id=f"{format_id(number)}@{self.hostname}",
            boundary=f"=_{secrets.token_hex(16)}",
            recipients=tuple(recipients),
            arrival=message.received,
            queue_id=format_id(message.id),
            envid=message.envid,
            ret="HDRS" if self._leaves_out_body(delivery, original) else message.ret,
            hops=_hops(delivery, self.hostname, now),
            original=original,
            original_complete=complete,
            return_limit=_RETURN_LIMIT,
            utf8=message.smtputf8,
        )
        body = build_dsn(report)
        notice = self._message(number, message, organization, body, now)
        notice.body_type = "7BIT" if body.isascii() else "8BITMIME"
        notice.smtputf8 = message.smtputf8
        if message.require_tls:
            # It holds the header section, and is protected as the message was (RFC 8689 section 5).
            notice.require_tls = True
            notice.inbound["notice_about_message_id"] = message.message_id
        return *self._queued(notice, message.reverse_path), body

    def _leaves_out_body(self, delivery: Delivery, original: bytes) -> bool:
        """Whether the notice must hold the header section alone, whatever its sender asked for."""
        message = delivery.message
        if message.require_tls or self.secret(delivery, original):
            return True
        return self.strangers is not None and self.strangers.is_limited(message, delivery.organization)

    def _message(self, number: int, about: Message, organization: str, body: bytes, now: float) -> Message:
        notice = own_message(
            number,
            organization,
            body,
            message_id=f"{format_id(number)}@{self.hostname}",
            subject="Delivery status notification",
            inbound={"notice_about": format_id(about.id)},
            now=now,
        )
        notice.session = about.session
        return notice

    def _queued(self, notice: Message, to: str) -> tuple[Message, list[Delivery]]:
        expires = notice.received + self.expiration(notice.organization)
        return notice, own_deliveries(self.store.new_id, notice, self.targets(path_of(to)), expires)

    async def _readable(self, delivery: Delivery) -> tuple[bytes, bool]:
        """The same as `_original`; nothing if it cannot be read: the sender gets a notice all the same."""
        try:
            return await self._original(delivery)
        except (LookupError, OSError, StoreFailure) as failure:
            _log.error("message %s: its notice is sent without it: %s", format_id(delivery.message.id), failure)
            return b"", False

    async def _original(self, delivery: Delivery) -> tuple[bytes, bool]:
        """The original, or as much of it as holds the header section; and whether it is all."""
        if delivery.body is not None:
            return delivery.body, True
        whole = delivery.message.size <= _RETURN_LIMIT
        parts: list[bytes] = []
        size = 0
        async for chunk in self.store.read(delivery.message.id):
            parts.append(chunk)
            size += len(chunk)
            if not whole and (b"\r\n\r\n" in b"".join(parts) or size > _HEADER_LIMIT):
                break
        return b"".join(parts), size >= delivery.message.size


def _domain(address: str) -> str:
    """The domain as destinations have it: lower-case A-label, or a literal."""
    return path_of(address).domain


def _wants_settled(result: RecipientResult) -> bool:
    notify = result.recipient.notify
    if result.disposition is Disposition.FAILED:
        return not notify or "FAILURE" in notify
    if result.disposition is Disposition.DELIVERED and "SUCCESS" in notify:
        # Where the next hop knows DSN, saying so is its business from now on (RFC 3461 section 5.2.2).
        return not result.detail.get("dsn_passed_on", False)
    return False


def _wants_delay(result: RecipientResult) -> bool:
    recipient = result.recipient
    return (
        result.disposition in {Disposition.DEFERRED, Disposition.HELD}
        and not recipient.delayed
        and (not recipient.notify or "DELAY" in recipient.notify)
    )


def _settled(result: RecipientResult, now: float) -> DsnRecipient:
    if result.disposition is Disposition.FAILED:
        return _recipient(result, DsnAction.FAILED, now, 0.0)
    return _recipient(result, DsnAction.DELIVERED if "mailbox" in result.detail else DsnAction.RELAYED, now, 0.0)


def _recipient(result: RecipientResult, action: DsnAction, now: float, retry_until: float) -> DsnRecipient:
    default = {"failed": "5.0.0", "delayed": "4.0.0"}.get(str(action), "2.0.0")
    others = concerns_others(result.detail)  # the reply is without what is theirs
    return DsnRecipient(
        address=result.recipient.address,
        action=action,
        status=result.reply.enhanced or default,
        orcpt=result.recipient.orcpt,
        remote_mta="" if others else str(result.detail.get("host", "")),
        diagnostic=result.reply.text,
        detail="" if others else str(result.detail.get("detail", "")),
        advice=_advice(result.detail),
        last_attempt=now,
        retry_until=retry_until,
    )


def _advice(detail: Mapping[str, Any]) -> Advice | None:
    """An explanation beside the status, None if that says enough."""
    if "returned" in detail:
        return RETURNED
    return NO_CERTIFICATE if "waits_for" in detail.get("smime", ()) else None


def _hops(delivery: Delivery, hostname: str, now: float) -> tuple[DsnHop, ...]:
    message = delivery.message
    came_from = message.inbound.get("hello") or message.inbound.get("peer") or "unknown"
    return (
        DsnHop(message.received, hostname, f"accepted from {came_from}"),
        DsnHop(now, hostname, f"attempt {delivery.attempts} to deliver"),
    )
