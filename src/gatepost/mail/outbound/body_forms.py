"""The content of a message in the form that each next hop takes: unchanged, or a notice of ours in 7 bits.

Made by `mail.outbound.deliverer` for each route. Mail of others is never converted. What this gateway wrote itself must
not go 8-bit to a host that does not offer 8BITMIME (RFC 6152 section 3), or with a header beyond US-ASCII to one
without SMTPUTF8 (RFC 6531 section 3.6), so it is converted there, before the steps of `mail.outbound.content`, which
may sign it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gatepost.mail.outbound.body import MessageBody
from gatepost.protocols.message.dsn_seven_bit import seven_bit_dsn

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from gatepost.mail.model.message import Message
    from gatepost.protocols.smtp.client.transaction import Peer


_MOST: Final = 4 << 20  # octets: many times what `mail.queue.bounce` makes


class BodyForms:
    """whole: the body as it was made for the route. header_8bit: of it, told by `measure`.

    convert: makes the body for the same route from the converted message; called once, for notices of ours only.
    """

    def __init__(self, message: Message, whole: MessageBody, convert: Callable[[], Awaitable[MessageBody]]) -> None:
        self.whole = whole
        self.header_8bit = False
        self._message = message
        self._convert = convert
        self._converted: MessageBody | None = None

    async def measure(self) -> None:
        """Take a small body into memory and look at its header section. Raises BodyUnreadable."""
        await self.whole.prepare()
        if self._message.smtputf8:
            self.header_8bit = await self.whole.header_8bit()

    async def for_peer(self, peer: Peer) -> tuple[MessageBody, bool]:
        """The body for a peer, and whether its header section is beyond US-ASCII.

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
        if not self._message.is_notice or self.whole.size > _MOST:
            return False
        eight_bit = self.whole.body_type == "8BITMIME" and not peer.eight_bit
        return eight_bit or (self.header_8bit and not peer.smtputf8)


async def in_seven_bits(body: MessageBody) -> MessageBody:
    """A stored notice, converted. Raises BodyUnreadable."""
    return MessageBody.in_memory(seven_bit_dsn(b"".join([chunk async for chunk in body.chunks()])), "7BIT")
