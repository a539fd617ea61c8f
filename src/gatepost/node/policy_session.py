"""What the public HTTPS server answers to a request: MTA-STS policies (RFC 8461 section 3.3), the certificate table.

`node.http_session` has the rest. Begun by `node.policy_host` for each stream that it accepts.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from gatepost.node.http_session import MAX_REQUEST, SECONDS, Answer, HttpSession
from gatepost.tls.names import normalise

if TYPE_CHECKING:
    from collections.abc import Callable

    import h11

    from gatepost.net.stream import Stream
    from gatepost.node.public_page import Sites

__all__ = ["MAX_REQUEST", "SECONDS", "Answer", "PolicySession", "answer"]

_METHODS: Final = frozenset({b"GET", b"HEAD"})


def answer(request: h11.Request, server_name: str, sites: Sites) -> Answer:
    """What a request gets. server_name: of the handshake (SNI), "" if there was none.

    A connection under another name than the request's is misdirected (RFC 9110 section 15.5.20): the client has checked
    a certificate for somebody else.
    """
    if not request.http_version.startswith(b"1."):
        return Answer(HTTPStatus.HTTP_VERSION_NOT_SUPPORTED)
    host, path = _asked(request)
    if server_name and normalise(server_name) != host:
        return Answer(HTTPStatus.MISDIRECTED_REQUEST)
    page = sites.get(host, {}).get(path)
    if page is None:
        return Answer(HTTPStatus.NOT_FOUND)
    if request.method not in _METHODS:
        return Answer(HTTPStatus.METHOD_NOT_ALLOWED)
    if page.is_current(request.headers):
        return Answer(HTTPStatus.NOT_MODIFIED, fields=page.fields)
    return Answer(HTTPStatus.OK, page.body, page.kind, page.fields)


def _asked(request: h11.Request) -> tuple[str, str]:
    """Host and path; a target in absolute form goes before the Host field (RFC 9112 section 3.2.2)."""
    host = next((value for name, value in request.headers if name == b"host"), b"").decode("latin-1")
    target = request.target.decode("latin-1")
    try:
        if not target.startswith("/") and "://" in target:
            target, host = urlsplit(target).path, urlsplit(target).netloc
        return normalise(urlsplit(f"//{host}").hostname or ""), target
    except ValueError:
        return "", ""


class PolicySession(HttpSession):
    """sites: what is served now; asked for when the request is there. clock: seconds since 1970."""

    __slots__ = ()

    def __init__(self, stream: Stream, sites: Callable[[], Sites], clock: Callable[[], float]) -> None:
        super().__init__(stream, lambda request, name: answer(request, name, sites()), clock)
