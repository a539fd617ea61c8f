"""Handle requests to the public HTTPS server: MTA-STS policies (RFC 8461 section 3.3), the certificate table.

And it takes TLS reports (RFC 8460 section 5.4). `node.http_session` has the rest. Begun by `node.policy_host` for each
stream that it accepts.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Final, NamedTuple
from urllib.parse import urlsplit

from gatepost.node.http_session import HttpSession, Response
from gatepost.node.report_inbox import REPORTS_PATH
from gatepost.protocols.tls.names import normalise
from gatepost.protocols.tlsrpt.received import MAX_PACKED

if TYPE_CHECKING:
    from collections.abc import Callable

    import h11

    from gatepost.net.stream import Stream
    from gatepost.node.public_page import Sites
    from gatepost.node.report_inbox import ReportInbox


_METHODS: Final = frozenset({b"GET", b"HEAD"})


def answer(request: h11.Request, server_name: str, sites: Sites) -> Response:
    """The response to a request. server_name: of the handshake (SNI), "" if there was none.

    A connection under another name than the request's is misdirected (RFC 9110 section 15.5.20): the client has checked
    a certificate for somebody else.
    """
    if not request.http_version.startswith(b"1."):
        return Response(HTTPStatus.HTTP_VERSION_NOT_SUPPORTED)
    host, path = _requested(request)
    if server_name and normalise(server_name) != host:
        return Response(HTTPStatus.MISDIRECTED_REQUEST)
    page = sites.get(host, {}).get(path)
    if page is None:
        return Response(HTTPStatus.NOT_FOUND)
    if request.method not in _METHODS:
        return Response(HTTPStatus.METHOD_NOT_ALLOWED)
    if page.is_current(request.headers):
        return Response(HTTPStatus.NOT_MODIFIED, fields=page.fields)
    return Response(HTTPStatus.OK, page.body, page.kind, page.fields)


def _requested(request: h11.Request) -> tuple[str, str]:
    """Host and path; a target in absolute form goes before the Host field (RFC 9112 section 3.2.2)."""
    host = next((value for name, value in request.headers if name == b"host"), b"").decode("latin-1")
    target = request.target.decode("latin-1")
    try:
        if not target.startswith("/") and "://" in target:
            target, host = urlsplit(target).path, urlsplit(target).netloc
        return normalise(urlsplit(f"//{host}").hostname or ""), target
    except ValueError:
        return "", ""


class ReportsHere(NamedTuple):
    """The place where reports are accepted. host: lower case, A-labels."""

    host: str
    inbox: ReportInbox


class PolicySession(HttpSession):
    """sites: what is served now; asked for when the request is there. reports: None where none are taken.

    clock: seconds since 1970.
    """

    __slots__ = ("_peer", "_reports")

    def __init__(
        self,
        stream: Stream,
        sites: Callable[[], Sites],
        clock: Callable[[], float],
        reports: ReportsHere | None = None,
    ) -> None:
        super().__init__(stream, lambda request, name: answer(request, name, sites()), clock)
        self._peer = stream.peer.host
        self._reports = reports

    def body_limit(self, request: h11.Request, server_name: str) -> int:
        """A report's, if it is sent to where reports are taken."""
        if self._reports is None or request.method != b"POST" or not request.http_version.startswith(b"1."):
            return 0
        host, path = _requested(request)
        there = host == self._reports.host and path == REPORTS_PATH
        return MAX_PACKED if there and (not server_name or normalise(server_name) == host) else 0

    def body_answer(self, request: h11.Request, body: bytes) -> Response:  # noqa: ARG002 - its head says nothing of use
        """The response after a report was read."""
        assert self._reports is not None  # noqa: S101 - only then a body is read
        return Response(self._reports.inbox.put(body, self._peer) if body else HTTPStatus.BAD_REQUEST)
