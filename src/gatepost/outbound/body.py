"""The stored body of a message, as often as it is sent: from memory if it is there, else streamed from the store.

Made by `outbound.attempt` for one attempt. It never joins a large body.
"""

from __future__ import annotations

from copy import copy
from typing import TYPE_CHECKING

from gatepost.connectors.mail_flow import Content
from gatepost.message.fields import field_values
from gatepost.store.interface import StoreFailure

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from gatepost.store.interface import Delivery, Recipient, Store

__all__ = ["ONE_FLIGHT", "BodyUnreadable", "MessageBody", "delivered_to_field"]

ONE_FLIGHT = 128 << 10
"""A body up to this size is sent whole with the commands before it."""

_CHUNK = 256 << 10
_HEADER_OCTETS = (1 << 24) + (64 << 10)
"""More than `settings` lets a header section have, and the fields that are put before it."""


class BodyUnreadable(Exception):  # noqa: N818 - not an error of the program: it is what was found
    """The store does not give the body. The text is for us."""


def delivered_to_field(recipient: Recipient) -> bytes:
    """The field that goes before a message which a mailbox sends on (RFC 9228), b"" before any other.

    By it the mailbox knows the message if it comes back.
    """
    by = recipient.forwarded_by
    return f"Delivered-To: {by}\r\n".encode() if by and by.isascii() and by.isprintable() else b""


class MessageBody:
    """small: the whole body if it is in memory, else None. All recipients of a delivery are sent on by one mailbox."""

    def __init__(self, delivery: Delivery, store: Store) -> None:
        self._before = delivered_to_field(delivery.recipients[0]) if delivery.recipients else b""
        self.small = self._before + delivery.body if delivery.body is not None else None
        self._store = store
        self._id = delivery.message.id
        self._size = delivery.message.size

    def as_stored(self) -> MessageBody:
        """The same without a field before it: for another node of the site, which puts it there itself."""
        if not self._before:
            return self
        made = copy(self)
        made._before = b""  # noqa: SLF001 - of our own kind
        made.small = self.small[len(self._before) :] if self.small is not None else None
        return made

    async def prepare(self) -> None:
        """Take a small body into memory, so that it leaves in one flight with its envelope. Raises BodyUnreadable."""
        if self.small is None and self._size <= ONE_FLIGHT:
            self.small = b"".join([chunk async for chunk in self.chunks()])

    async def chunks(self) -> AsyncIterator[bytes]:
        """The body from its beginning, at most 256 KiB at a time. Raises BodyUnreadable."""
        if self.small is None:
            try:
                if self._before:
                    yield self._before
                async for chunk in self._store.read(self._id):
                    yield chunk
            except (LookupError, OSError, StoreFailure) as failure:
                raise BodyUnreadable(f"the body of message {self._id}: {failure}") from failure
            return
        for start in range(0, len(self.small), _CHUNK):
            yield self.small[start : start + _CHUNK]

    async def header_8bit(self) -> bool:
        """Whether the header section has octets beyond US-ASCII, so that it cannot go without SMTPUTF8 (RFC 6532)."""
        return not (await self._header()).isascii()

    async def header_fields(self, names: Iterable[str]) -> Content:
        """The fields of some names, in lower case, for mail flow rules. Raises BodyUnreadable."""
        return Content(field_values(await self._header(), names))

    async def _header(self) -> bytes:
        """The header section, without the empty line behind it."""
        head = bytearray()
        async for chunk in self.chunks():
            begin = max(len(head) - 3, 0)
            head += chunk
            if (end := head.find(b"\r\n\r\n", begin)) >= 0:
                return bytes(head[: end + 2])
            if len(head) > _HEADER_OCTETS:
                break
        return bytes(head)
