"""Query one recursive nameserver: UDP, then TCP if the answer was truncated (RFC 1035 section 4.2).

Called by `net.lookups.nameservers` only. It checks that an answer belongs to its question and parses it; what the
answer means, and whether to ask again, is not decided here.
"""

from __future__ import annotations

import asyncio
import ipaddress
from typing import cast

import dns.exception
import dns.flags
import dns.message
import msgspec

from gatepost.net.lookups.question import excess, read_message

_PORT = 53
_TRUNCATED = 0x02  # the TC bit in the third octet of a message


class NameserverFailed(Exception):  # noqa: N818 - not an error of the program: it is what was found
    """A nameserver gave no usable answer; the text says which and why. Another one, or a later try, may succeed."""


class Nameserver(msgspec.Struct, frozen=True):
    """A recursive nameserver. host: an IP address. trusted: its AD bit is believed (RFC 6840 section 5.8)."""

    host: str
    port: int
    trusted: bool = False

    @classmethod
    def parse(cls, text: str) -> Nameserver:
        """Read "192.0.2.1", "192.0.2.1:53", "2001:db8::1" or "[2001:db8::1]:53". Raises ValueError."""
        host, port = text, _PORT
        if text.startswith("["):
            host, _, rest = text[1:].partition("]")
            port = _port(rest.removeprefix(":")) if rest else _PORT
        elif text.count(":") == 1:
            host, _, rest = text.partition(":")
            port = _port(rest)
        return cls(str(ipaddress.ip_address(host)), port)

    @property
    def loopback(self) -> bool:
        """Whether its answers never leave this machine."""
        return ipaddress.ip_address(self.host).is_loopback

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}"

    async def ask(self, query: dns.message.Message, timeout: float) -> dns.message.Message:  # noqa: ASYNC109 - the limit is part of the query
        """Send `query` and return its answer, whatever its code, within `timeout` seconds. Raises NameserverFailed."""
        wire = query.to_wire()
        try:
            async with asyncio.timeout(timeout):
                answer = await self._over_udp(query, wire)
                return answer if answer is not None else await self._over_tcp(query, wire)
        except TimeoutError:
            raise NameserverFailed(f"nameserver {self} did not answer within {timeout:g} s") from None
        except OSError as error:
            raise NameserverFailed(f"nameserver {self} cannot be reached: {error.strerror or error}") from error

    async def _over_udp(self, query: dns.message.Message, wire: bytes) -> dns.message.Message | None:
        # A socket of its own for each question: the kernel chooses a fresh port, which with the random id is what
        # protects against forged answers (RFC 5452 section 9).
        exchange = _Exchange(query, wire)
        transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
            lambda: exchange, remote_addr=(self.host, self.port)
        )
        try:
            return await exchange.answer
        finally:
            transport.close()

    async def _over_tcp(self, query: dns.message.Message, wire: bytes) -> dns.message.Message:
        reader, writer = await asyncio.open_connection(self.host, self.port)
        try:
            writer.write(len(wire).to_bytes(2) + wire)
            size = int.from_bytes(await reader.readexactly(2))
            data = await reader.readexactly(size)
        except EOFError:
            raise NameserverFailed(f"nameserver {self} closed the connection before its answer was complete") from None
        finally:
            writer.close()
        answer = _parse(query, data)
        if answer is None and data[:2] == wire[:2] and (why := excess(data, query.question[0].rdtype)):
            raise NameserverFailed(f"nameserver {self} sent an answer of {why}")
        if answer is None:
            raise NameserverFailed(f"nameserver {self} sent something over TCP that is not an answer to the question")
        if answer.flags & dns.flags.TC:  # more than TCP can carry: what is missing must not count as not there
            raise NameserverFailed(f"nameserver {self} sent an answer over TCP that is cut off (TC)")
        return answer


def _port(text: str) -> int:
    port = int(text)
    if not 0 < port < 65536:
        raise ValueError(f"{text} is not a port")
    return port


def _parse(query: dns.message.Message, wire: bytes) -> dns.message.Message | None:
    """The answer to `query` in `wire`, None if it is damaged or belongs to another question."""
    try:
        message = read_message(wire, query.question[0].rdtype)
    except (dns.exception.DNSException, ValueError):
        return None
    return message if query.is_response(message) else None


class _Exchange(asyncio.DatagramProtocol):
    """One question over UDP. `answer` becomes None if the nameserver wants it sent over TCP."""

    def __init__(self, query: dns.message.Message, wire: bytes) -> None:
        self.answer: asyncio.Future[dns.message.Message | None] = asyncio.get_running_loop().create_future()
        self._query = query
        self._wire = wire

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        cast("asyncio.DatagramTransport", transport).sendto(self._wire)

    def datagram_received(self, data: bytes, addr: object) -> None:
        del addr  # the socket is connected: the kernel lets no other sender through
        if self.answer.done() or len(data) < 12 or data[:2] != self._wire[:2]:
            return
        if data[2] & _TRUNCATED:
            self.answer.set_result(None)
        elif (message := _parse(self._query, data)) is not None:
            self.answer.set_result(message)
        # Anything else may be forged: keep waiting for the true answer until the time is over.

    def error_received(self, exc: Exception) -> None:
        if not self.answer.done():
            self.answer.set_exception(exc)
