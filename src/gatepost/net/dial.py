"""Open a connection: one call from an address to a `Stream`.

Used by `outbound` and the checks of the command line. Which address to call, and what to ask of the connection, is
decided by others; names are resolved by `lookup`, so that `host` is an IP address here, as a rule.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from gatepost.net.connection import Connection

if TYPE_CHECKING:
    from gatepost.net.stream import Stream
    from gatepost.policy.connectors.addresses import AddressPolicy


class AddressNotAllowed(OSError):  # noqa: N818 - it names what happened
    """Nobody was called: the address is none that may be, where a tenant chose it."""


async def connect(
    host: str,
    port: int,
    *,
    timeout: float,  # noqa: ASYNC109 - RFC 5321 section 4.5.3.2 time-outs are parameters here
    source: str | None = None,
    policy: AddressPolicy | None = None,
) -> Stream:
    """Connect within `timeout` seconds and give back the stream; what the peer sends waits until `attach`.

    host: an IP address, or the path of a Unix socket, which begins with "/"; then port and source mean nothing. source:
    our IP address to call from, None leaves it to the kernel. policy: which addresses may be called, None for all.
    Raises OSError as the kernel gives it (ConnectionRefusedError, …); a time-out is a TimeoutError, which is an OSError
    too; and AddressNotAllowed.
    """
    if policy is not None and not policy.allows(host):
        raise AddressNotAllowed("the address is not among those that may be called")
    loop = asyncio.get_running_loop()
    local = (source, 0) if source else None
    try:
        async with asyncio.timeout(timeout):
            if host.startswith("/"):
                _, connection = await loop.create_unix_connection(lambda: Connection(loop), host)
            else:
                _, connection = await loop.create_connection(lambda: Connection(loop), host, port, local_addr=local)
    except TimeoutError as failure:
        raise TimeoutError(f"no connection to [{host}]:{port} within {timeout:g} s") from failure
    return connection
