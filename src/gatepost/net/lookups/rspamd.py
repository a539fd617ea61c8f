"""Scan a message with rspamd: one HTTP request, streamed from the store.

Called by `mail.inbound.content`. The request and its answer are in `protocols.scanners.rspamd`; what follows
from it is decided by others.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

from gatepost.net.lookups.http import HttpClient, HttpFailed, HttpRequest
from gatepost.protocols.scanners.finding import ScanFinding, UnusableAnswer
from gatepost.protocols.scanners.rspamd import ANSWER_OCTETS, Described, read_answer, request_fields


async def ask_rspamd(
    client: HttpClient, url: str, message: Described, content: AsyncIterator[bytes], *, size: int, seconds: float
) -> ScanFinding:
    """Scan content by rspamd. url: "http://HOST:PORT". size: octets of the content. Raises UnusableAnswer.

    What reading the content raises is not caught.
    """
    request = HttpRequest(
        f"{url}/checkv2",
        limit=ANSWER_OCTETS,
        timeout=seconds,
        private=True,
        content=content,
        size=size,
        fields=request_fields(message),
    )
    try:
        fetched = await client.fetch(request)
    except HttpFailed as failure:
        raise UnusableAnswer(failure.detail) from failure
    return read_answer(fetched.body)
