"""Ways out that a gateway needs beside DNS: TCP to the ports 25, 80 and 443 of hosts that are known to listen there.

Used by `doctor` when it may ask the network. It connects and says nothing: no mail, no request.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Final, NamedTuple
from urllib.parse import urlsplit

from gatepost.net.lookups.evaluation import look_up
from gatepost.node.machine_findings import DoctorFinding, Level
from gatepost.protocols.dns.lookups import Query

if TYPE_CHECKING:
    from gatepost.net.lookups.dns import Resolver
    from gatepost.settings.model import Settings


_MAIL_DOMAIN: Final = "gmail.com"
_LISTS_HOST: Final = "x1.c.lencr.org"
"""Serves the revocation list of Let's Encrypt's root."""
_AUTHORITY: Final = "acme-v02.api.letsencrypt.org"
_PATIENCE: Final = 4.0  # seconds for one connection
_ADDRESSES: Final = 4  # of a host that are tried


class WayOut(NamedTuple):
    """host: "" if the DNS does not know it. lacking: what does not work without it. fix: what to do."""

    port: int
    host: str
    lacking: str
    fix: str


async def ways_out(resolver: Resolver, settings: Settings) -> list[DoctorFinding]:
    """A finding for each way. Nothing worse than a warning: a gateway of a closed network may need none of them."""
    ways = (
        WayOut(
            25,
            next(iter((await look_up(resolver, Query(_MAIL_DOMAIN, "MX"))).values), ""),
            "mail to other domains waits",
            "open outgoing port 25 (many providers do on request), or send by a smart host",
        ),
        WayOut(
            80,
            _LISTS_HOST,
            "revocation lists and OCSP cannot be fetched",
            "open outgoing port 80",
        ),
        WayOut(
            443,
            urlsplit(settings.acme.directory_url).hostname or _AUTHORITY,
            "MTA-STS policies and ACME cannot be fetched, and TLS reports not be posted",
            "open outgoing port 443",
        ),
    )
    return list(await asyncio.gather(*(way_finding(resolver, way) for way in ways)))


async def way_finding(resolver: Resolver, way: WayOut) -> DoctorFinding:
    """Whether somebody listens at the port of the host, by any of its addresses."""
    area = f"outgoing port {way.port}"
    answers = [await look_up(resolver, Query(way.host, kind)) for kind in ("A", "AAAA")] if way.host else []
    addresses = [address for records in answers for address in records.values]
    if not addresses:
        text = f"not tried: the DNS does not know {way.host or f'a mail host of {_MAIL_DOMAIN}'}"
        return DoctorFinding(area, Level.WARN, text)
    if any(await asyncio.gather(*(_listens(address, way.port) for address in addresses[:_ADDRESSES]))):
        return DoctorFinding(area, Level.PASS, f"{way.host} can be reached")
    return DoctorFinding(area, Level.WARN, f"{way.host} cannot be reached: {way.lacking}", way.fix)


async def _listens(address: str, port: int) -> bool:
    try:
        async with asyncio.timeout(_PATIENCE):
            _, writer = await asyncio.open_connection(address, port)
    except (OSError, TimeoutError):
        return False
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()
    return True
