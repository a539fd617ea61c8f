"""Scan a message with clamd by INSTREAM, over TCP or a Unix socket, streamed from the store.

Called by `mail.inbound.content`. The protocol is in `protocols.scanners.clamd`. Each message has a connection of its
own, which is closed on every way out: on one machine it costs less than the message.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from gatepost.net.lookups.http import host_addresses
from gatepost.net.lookups.question import LookupFailed
from gatepost.net.tasks import spawn
from gatepost.policy.connectors.addresses import AddressPolicy, not_allowed
from gatepost.policy.connectors.names import host_port
from gatepost.protocols.scanners.clamd import ANSWER_OCTETS, BEGIN, END, piece, read_answer
from gatepost.protocols.scanners.finding import ScanFinding, UnusableAnswer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from gatepost.net.lookups.dns import Resolver


_MAX_ADDRESSES = 4


async def ask_clamd(
    resolver: Resolver, address: str, content: AsyncIterator[bytes], tenants: AddressPolicy | None = None
) -> ScanFinding:
    """Scan content by clamd. address: "HOST:PORT" or "unix:/path". Raises UnusableAnswer.

    tenants: where a tenant chose the address, which may be called.

    Whoever calls it says how long it may take. What reading the content raises is not caught, unless it is an OSError.
    """
    try:
        reader, writer = await _connected(resolver, address, tenants)
        try:
            return await _exchange(reader, writer, content)
        finally:
            writer.transport.abort()
    except OSError as failure:
        raise UnusableAnswer(f"{address}: {failure.strerror or type(failure).__name__}") from failure


async def _exchange(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, content: AsyncIterator[bytes]
) -> ScanFinding:
    # Read from the first: what is there when the connection is reset is not given out any more.
    answer = spawn(_heard(reader), "answer of clamd")
    try:
        with contextlib.suppress(ConnectionError):
            await _sent(writer, content, answer)
        heard = await answer
    finally:
        answer.cancel()
    if isinstance(heard, UnusableAnswer):
        raise heard
    return read_answer(heard)


async def _heard(reader: asyncio.StreamReader) -> bytes | UnusableAnswer:
    try:
        return (await reader.readuntil(b"\0"))[:-1]
    except asyncio.IncompleteReadError as failure:
        said = "without an answer" if not failure.partial else "in the middle of its answer"
        return UnusableAnswer(f"clamd closed the connection {said}")
    except ConnectionError:
        return UnusableAnswer("clamd closed the connection without an answer")
    except asyncio.LimitOverrunError:
        return UnusableAnswer(f"clamd's answer is longer than {ANSWER_OCTETS} octets")


async def _sent(writer: asyncio.StreamWriter, content: AsyncIterator[bytes], answer: asyncio.Task[object]) -> None:
    """All of it, or what clamd wanted: it answers and closes in the middle if the message is too much for it.

    Who writes to a connection that was reset finds it closed, before what came has been read: reading goes first.
    """
    writer.write(BEGIN)
    async for chunk in content:
        await asyncio.sleep(0)
        if answer.done() or writer.is_closing():
            return
        if chunk:
            writer.writelines((piece(chunk), chunk))
            await writer.drain()
    if not writer.is_closing():
        writer.write(END)
        await writer.drain()


async def _connected(
    resolver: Resolver, address: str, tenants: AddressPolicy | None
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    if address.startswith("unix:"):
        return await asyncio.open_unix_connection(address.removeprefix("unix:"), limit=ANSWER_OCTETS)
    host, port = host_port(address, None)
    try:
        addresses = (await host_addresses(resolver, host))[:_MAX_ADDRESSES]
    except LookupFailed as failed:
        raise UnusableAnswer(f"{host}: {failed.detail}") from failed
    problem = OSError(0, f"{host} has no address")
    for text in addresses:
        if tenants is not None and not tenants.allows(text):
            problem = OSError(0, not_allowed(host))
            continue
        try:
            return await asyncio.open_connection(text, port, limit=ANSWER_OCTETS)
        except OSError as failure:
            problem = failure
    raise problem
