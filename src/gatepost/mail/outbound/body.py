"""Read the stored body of a message, as often as it is sent: from memory if possible, else from the store.

Made by `mail.outbound.deliverer` for one attempt, changed by `mail.outbound.content`. It never joins a large body.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gatepost.policy.connectors.mail_flow import Content
from gatepost.protocols.message.fields import field_values
from gatepost.store.interface import StoreFailure

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable

    from gatepost.mail.model.message import Delivery, Recipient
    from gatepost.store.interface import Store


type Chunks = Callable[[], AsyncIterator[bytes]]

ONE_FLIGHT = 128 << 10
"""A body up to this size is sent whole with the commands before it."""

_CHUNK = 256 << 10
_HEADER_OCTETS = (1 << 24) + (64 << 10)
"""More than `settings` lets a header section have, and the fields that are put before it."""


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
        """The body of a delivery. All its recipients are sent on by one mailbox, which is named before it."""
        message, content = delivery.message, delivery.body

        async def chunks() -> AsyncIterator[bytes]:
            try:
                async for chunk in store.read(message.id):
                    yield chunk
            except (LookupError, OSError, StoreFailure) as failure:
                raise BodyUnreadable(f"the body of message {message.id}: {failure}") from failure

        body = cls(content, message.size if content is None else len(content), chunks, message.body_type)
        before = _delivered_to_field(delivery.recipients[0]) if delivery.recipients else b""
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


def _delivered_to_field(recipient: Recipient) -> bytes:
    """The field that goes before a message which a mailbox sends on (RFC 9228), b"" before any other.

    By it the mailbox knows the message if it comes back.
    """
    by = recipient.forwarded_by
    return f"Delivered-To: {by}\r\n".encode() if by and by.isascii() and by.isprintable() else b""


async def _nothing() -> AsyncIterator[bytes]:
    """The chunks of what is in memory, which nobody asks for."""
    nothing: tuple[bytes, ...] = ()
    for chunk in nothing:
        yield chunk
