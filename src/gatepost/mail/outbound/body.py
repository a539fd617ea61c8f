"""Read the stored body of a message, as often as it is sent: from memory if possible, else from the store.

Made by `mail.outbound.deliverer` for one attempt, changed by `mail.outbound.content`. It never joins a large body.

`BodyForms` gives each next hop the form that it takes. Mail of others is never converted. What this gateway wrote
itself must not go 8-bit to a host that does not offer 8BITMIME (RFC 6152 section 3), or with a header beyond US-ASCII
to one without SMTPUTF8 (RFC 6531 section 3.6), so it is converted to 7 bits there, before the steps of
`mail.outbound.content`, which may sign it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gatepost.mail.model.queue_id import format_id
from gatepost.policy.connectors.mail_flow import Content
from gatepost.protocols.message.dsn_seven_bit import seven_bit_dsn
from gatepost.protocols.message.fields import field_values
from gatepost.protocols.message.journal_report import MARK, JournalReport, report_head, report_tail
from gatepost.store.interface import Store, StoreFailure
from gatepost.values import copy_fields

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable

    from gatepost.mail.model.message import Delivery, Journal, Message, Recipient
    from gatepost.protocols.smtp.client.transaction import Peer


type Chunks = Callable[[], AsyncIterator[bytes]]

ONE_FLIGHT = 128 << 10
"""A body up to this size is sent whole with the commands before it."""

_CHUNK = 256 << 10
_HEADER_OCTETS = (1 << 24) + (64 << 10)
"""More than `settings` lets a header section have, and the fields that are put before it."""
_MOST_CONVERTED: Final = 4 << 20  # octets: many times what `mail.queue.bounce` makes


class BodyUnreadable(Exception):  # noqa: N818 - not an error of the program: it is what was found
    """The store does not give the body. The text is for us."""


class MessageBody:
    """The content of a message as it is to be sent: what the store has, or what a content step made of it.

    small: the whole of it if it is in memory, else None. size: in octets. body_type: as BODY= of MAIL names it
    (RFC 6152, RFC 3030). A body is not changed: the methods that add or replace something make another one.
    """

    def __init__(self, small: bytes | None, size: int, chunks: Chunks, body_type: str = "") -> None:
        self.small = small
        self.size = size
        self.body_type = body_type
        self._chunks = chunks
        self._plain: MessageBody | None = None

    @classmethod
    def stored(cls, delivery: Delivery, store: Store) -> MessageBody:
        """The body of a delivery: for a journal mailbox the report or the copy.

        All its recipients are sent on by one mailbox, which is named before it.
        """
        message, content = delivery.message, delivery.body

        async def chunks() -> AsyncIterator[bytes]:
            try:
                async for chunk in store.read(message.id):
                    yield chunk
            except (LookupError, OSError, StoreFailure) as failure:
                raise BodyUnreadable(f"the body of message {message.id}: {failure}") from failure

        body = cls(content, message.size if content is None else len(content), chunks, message.body_type)
        before = _delivered_to_field(delivery.recipients[0]) if delivery.recipients else b""
        if (journal := delivery.journal) is not None:
            head, tail = (b"", b"") if journal.made else around(delivery, journal)
            return body.surrounded(before + head, tail)
        if not before:
            return body
        made = body.prepended(before)
        made._plain = body  # noqa: SLF001 - of our own kind
        return made

    @classmethod
    def in_memory(cls, content: bytes, body_type: str) -> MessageBody:
        """A body that is all there."""
        return cls(content, len(content), _nothing, body_type)

    def as_stored(self) -> MessageBody:
        """Without the field that `stored` puts before it: another node of the site puts it there itself."""
        return self._plain or self

    def prepended(self, fields: bytes) -> MessageBody:
        """With header fields before it, each ended by CRLF."""
        return self.with_header(fields, skip=0)

    def with_header(self, header: bytes, *, skip: int) -> MessageBody:
        """With other octets instead of its first `skip` (0 to `size`), as a rule the whole header section."""
        chunks = self.chunks

        async def changed() -> AsyncIterator[bytes]:
            left = skip
            yield header
            async for chunk in chunks():
                if left < len(chunk):
                    yield chunk[left:]
                left = max(left - len(chunk), 0)

        small = header + self.small[skip:] if self.small is not None else None
        return MessageBody(small, self.size + len(header) - skip, changed, self.body_type)

    def surrounded(self, before: bytes, behind: bytes) -> MessageBody:
        """With other octets before and behind it."""
        chunks = self.chunks

        async def changed() -> AsyncIterator[bytes]:
            yield before
            async for chunk in chunks():
                yield chunk
            yield behind

        small = before + self.small + behind if self.small is not None else None
        return MessageBody(small, self.size + len(before) + len(behind), changed, self.body_type)

    async def prepare(self) -> None:
        """Take a small body into memory, so that it leaves in one flight with its envelope. Raises BodyUnreadable."""
        if self.small is None and self.size <= ONE_FLIGHT:
            self.small = b"".join([chunk async for chunk in self._chunks()])

    async def chunks(self) -> AsyncIterator[bytes]:
        """The body from its beginning, at most 256 KiB at a time. Raises BodyUnreadable."""
        if self.small is None:
            async for chunk in self._chunks():
                yield chunk
            return
        for start in range(0, len(self.small), _CHUNK):
            yield self.small[start : start + _CHUNK]

    async def header_8bit(self) -> bool:
        """Whether the header section has octets beyond US-ASCII, so that it cannot go without SMTPUTF8 (RFC 6532)."""
        return not (await self.header()).isascii()

    async def header_fields(self, names: Iterable[str]) -> Content:
        """The fields of some names, in lower case, for mail flow rules. Raises BodyUnreadable."""
        return Content(field_values(await self.header(), names))

    async def header(self) -> bytes:
        """The header section with its last CRLF, without the empty line behind it. Raises BodyUnreadable."""
        head = bytearray()
        async for chunk in self.chunks():
            begin = max(len(head) - 3, 0)
            head += chunk
            if (end := head.find(b"\r\n\r\n", begin)) >= 0:
                return bytes(head[: end + 2])
            if len(head) > _HEADER_OCTETS:
                break
        return bytes(head)


class BodyForms:
    """The content of a message in the form that each next hop takes: unchanged, or a notice of ours in 7 bits.

    whole: the body as it was made for the route. header_8bit: whether its header section is beyond US-ASCII, known once
    `measure` is done. convert: makes the body for the same route from the converted message; called once at most, for
    notices of ours only.
    """

    def __init__(self, message: Message, whole: MessageBody, convert: Callable[[], Awaitable[MessageBody]]) -> None:
        self.whole = whole
        self.header_8bit = False
        self._message = message
        self._convert = convert
        self._converted: MessageBody | None = None

    async def measure(self) -> None:
        """Take a small body into memory and look at its header section. Raises BodyUnreadable."""
        if self.whole.small is None:
            await self.whole.prepare()
        if self._message.smtputf8:
            self.header_8bit = await self.whole.header_8bit()

    async def for_peer(self, peer: Peer) -> tuple[MessageBody, bool]:
        """The body for a peer, and whether the header section of that is beyond US-ASCII.

        Raises BodyUnreadable, and ContentNotReady as the steps do.
        """
        if not self.exceeds(peer):
            return self.whole, self.header_8bit
        if self._converted is None:
            self._converted = await self._convert()
            await self._converted.prepare()
        return self._converted, False

    def exceeds(self, peer: Peer) -> bool:
        """Whether it is a notice of ours that this peer does not take as it is."""
        if not self._message.is_notice or self.whole.size > _MOST_CONVERTED:
            return False
        eight_bit = self.whole.body_type == "8BITMIME" and not peer.eight_bit
        return eight_bit or (self.header_8bit and not peer.smtputf8)


async def in_seven_bits(body: MessageBody) -> MessageBody:
    """A stored notice, converted. Raises BodyUnreadable."""
    return MessageBody.in_memory(seven_bit_dsn(b"".join([chunk async for chunk in body.chunks()])), "7BIT")


def _delivered_to_field(recipient: Recipient) -> bytes:
    """The field that goes before a message which a mailbox sends on (RFC 9228), b"" before any other.

    By it the mailbox knows the message if it comes back.
    """
    by = recipient.forwarded_by
    return f"Delivered-To: {by}\r\n".encode() if by and by.isascii() and by.isprintable() else b""


async def _nothing() -> AsyncIterator[bytes]:
    """No chunks, for a body that is in memory."""
    nothing: tuple[bytes, ...] = ()
    for chunk in nothing:
        yield chunk


def around(delivery: Delivery, journal: Journal) -> tuple[bytes, bytes]:
    """The octets that go before and behind the stored message of a journal copy."""
    message = delivery.message
    if journal.form == "copy":
        return f"{MARK}: {journal.to}\r\n".encode("ascii", "replace"), b""
    report_id = f"journal.{format_id(delivery.id)}@{journal.author.rpartition('@')[2]}"
    report = copy_fields(JournalReport, journal, message, report_id=report_id, now=message.received)
    return report_head(report), report_tail(report)
