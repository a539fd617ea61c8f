"""A bounded HTTP client, for revocation lists, OCSP, MTA-STS policies, reports and message scans.

Used by `net.lookups.revocation`, `net.lookups.mtasts`, `net.lookups.rspamd` and `analysis.reports.tlsrpt_sending`.
Names are found by our resolver, the body is cut off while it arrives, every wait ends, and a redirection is followed
only where it is asked for. It never decides what a failure means, but says whether a later try may succeed.
"""

from __future__ import annotations

import asyncio
import ipaddress
import ssl
from typing import TYPE_CHECKING, Final
from urllib.parse import urljoin

import httpcore2
import msgspec

from gatepost.net.lookups.question import LookupFailed
from gatepost.policy.connectors.addresses import is_public, not_allowed

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, Iterable, Mapping, Sequence

    from httpcore2 import SOCKET_OPTION, AsyncNetworkStream

    from gatepost.net.anchors import TrustAnchors
    from gatepost.net.lookups.dns import DnsAnswer, Resolver
    from gatepost.policy.connectors.addresses import AddressPolicy


_MAX_URL: Final = 2048
_MAX_FRAME: Final = (
    128 * 1024
)  # octets on the wire beyond twice the limit of an answer: header, interim answers, chunks
_MAX_ADDRESSES: Final = 4
_TEMPORARY: Final = frozenset({408, 425, 429})  # of the 4xx: trying later may help
_REDIRECTIONS: Final = frozenset({301, 302, 303, 307, 308})


class HttpFailed(Exception):  # noqa: N818 - not an error of the program: it is what was found
    """There is no answer that can be used. temporary: a later try may succeed. detail: for us, never on the wire.

    untrusted: it is the server's certificate that cannot be trusted, or that bears another name. forbidden: nothing was
    sent, since the address is not of the public internet (`HttpRequest.private`). status: of the answer, 0 if it was
    200 or if there was none.
    """

    def __init__(
        self, detail: str, *, temporary: bool, untrusted: bool = False, forbidden: bool = False, status: int = 0
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.temporary = temporary
        self.untrusted = untrusted
        self.forbidden = forbidden
        self.status = status


class HttpRequest(msgspec.Struct, frozen=True):
    """A request, and the limits of its answer.

    url: http or https. body: makes it a POST; so does content, which is sent as it comes and has size octets. fields:
    beside the usual ones, names and values. limit: octets of the answer. timeout: seconds for all of it, with
    redirections; connect: for one connection. redirects: how many are followed, within the scheme of the first address.
    private: whether addresses that are not of the public internet (loopback, RFC 1918, …) may be called. discard: any
    2xx is an answer, and its content is not read.
    """

    url: str
    limit: int
    timeout: float
    body: bytes = b""
    content_type: str = ""
    accept: str = "*/*"
    connect: float = 5.0
    redirects: int = 0
    private: bool = False
    content: AsyncIterable[bytes] | None = None
    size: int = 0
    fields: Sequence[tuple[str, str]] = ()
    discard: bool = False

    @property
    def posts(self) -> bool:
        """Whether something is sent."""
        return bool(self.body) or self.content is not None


class HttpResponse(msgspec.Struct, frozen=True):
    """An answer of status 200, whole; if its content was to be discarded, of any 2xx, without content.

    content_type: as sent, in lower case, "" if it was not. url: that answered.
    """

    body: bytes
    content_type: str
    url: str


class HttpClient:
    """resolver: finds the names. context: checks the certificates of https; None: against the system's roots.

    tenants: for what tenants ask for: which addresses may be called, whatever a request says of private ones. Each
    request has a connection of its own: requests here are made about once a day.
    """

    def __init__(
        self, resolver: Resolver, context: ssl.SSLContext | None = None, tenants: AddressPolicy | None = None
    ) -> None:
        self._tenants = tenants
        self._resolver = resolver
        self._context = context

    async def fetch(self, request: HttpRequest) -> HttpResponse:
        """The answer to one request. Raises HttpFailed."""
        try:
            async with asyncio.timeout(request.timeout):
                return await self._follow(request)
        except TimeoutError as failure:
            detail = f"{_shown(request.url)}: no whole answer within {request.timeout:g} s"
            raise HttpFailed(detail, temporary=True) from failure

    async def _follow(self, request: HttpRequest) -> HttpResponse:
        first = url = _parse(request.url)
        for left in range(request.redirects, -1, -1):
            answer = await self._ask(request, url)
            if isinstance(answer, HttpResponse):
                return answer
            if not left:
                raise HttpFailed(f"{_text(url)} redirects to {_shown(answer)}, which is not followed", temporary=False)
            url = _parse(_joined(_text(url), answer))
            if url.scheme != first.scheme:
                raise HttpFailed(f"{_text(first)} redirects to another scheme: {_text(url)}", temporary=False)
        raise AssertionError("unreachable")

    async def _ask(self, request: HttpRequest, url: httpcore2.URL) -> HttpResponse | str:
        """The answer, or where it redirects to."""
        backend = _Backend(self._resolver, request, self._tenants)
        try:
            async with httpcore2.AsyncHTTPConnection(
                url.origin, ssl_context=self._tls(url), network_backend=backend
            ) as connection:
                sent = httpcore2.Request(
                    b"POST" if request.posts else b"GET",
                    url,
                    headers=_headers(request, url),
                    content=request.content or request.body or None,
                    extensions={"timeout": {"connect": request.connect}},
                )
                return await _answer(await connection.handle_async_request(sent), request, url)
        except HttpFailed as failure:
            detail = f"{_text(url)}: {failure.detail}"
            raise HttpFailed(
                detail, temporary=failure.temporary, forbidden=failure.forbidden, status=failure.status
            ) from failure
        except _FAILURES as failure:
            said = str(failure) or type(failure).__name__
            untrusted = _is_untrusted(failure)
            raise HttpFailed(f"{_text(url)}: {said[:300]}", temporary=True, untrusted=untrusted) from failure

    def use(self, context: ssl.SSLContext) -> None:
        """Check https servers by another context from now on."""
        self._context = context

    def _tls(self, url: httpcore2.URL) -> ssl.SSLContext | None:
        if url.scheme == b"https" and self._context is None:
            self._context = https_context()
        return self._context


def https_context(anchors: TrustAnchors | None = None) -> ssl.SSLContext:
    """Checks the chain and the name of https servers. anchors: which chains end well; None: the system's.

    Only subjectAltName is a name, as RFC 8461 section 3.3 has it (RFC 9525 for all others).
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.hostname_checks_common_name = False
    if anchors is None:
        context.load_default_certs()
    else:
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # an anchor need not be a root, as in `net.anchors`
        context.load_verify_locations(cadata=anchors.der)
    return context


def _is_untrusted(failure: BaseException | None) -> bool:
    """Whether the verification of a certificate is at the bottom of a failure."""
    while failure is not None:
        if isinstance(failure, ssl.SSLCertVerificationError):
            return True
        failure = failure.__cause__
    return False


_FAILURES: Final = (
    httpcore2.TimeoutException,
    httpcore2.NetworkError,
    httpcore2.ProtocolError,
    OSError,
)


def _parse(text: str) -> httpcore2.URL:
    if not text.isascii() or len(text) > _MAX_URL:
        raise HttpFailed(f"{_shown(text)}: no usable address", temporary=False)
    try:
        url = httpcore2.URL(text)
    except (ValueError, UnicodeError, httpcore2.UnsupportedProtocol) as failure:
        raise HttpFailed(f"{_shown(text)}: no address: {failure}", temporary=False) from failure
    if url.scheme not in {b"http", b"https"} or not url.host:
        raise HttpFailed(f"{_shown(text)}: only http and https are allowed", temporary=False)
    return url


def _joined(base: str, reference: str) -> str:
    try:
        return urljoin(base, reference)
    except ValueError as failure:
        raise HttpFailed(
            f"{base} redirects to {_shown(reference)}: no address: {failure}", temporary=False
        ) from failure


def _shown(text: str) -> str:
    """A foreign address, made safe for a sentence of ours."""
    return ascii(text[:200])[1:-1]


def _text(url: httpcore2.URL) -> str:
    port = f":{url.port}" if url.port else ""
    host = url.host.decode("ascii")
    return _shown(f"{url.scheme.decode('ascii')}://{f'[{host}]' if ':' in host else host}{port}{url.target.decode()}")


def _headers(request: HttpRequest, url: httpcore2.URL) -> list[tuple[bytes, bytes]]:
    host = url.host.decode("ascii")
    port = f":{url.port}" if url.port else ""
    headers = {
        "Host": (f"[{host}]" if ":" in host else host) + port,
        "User-Agent": "gatepost",
        "Accept": request.accept,
        "Accept-Encoding": "identity",
        "Connection": "close",
    }
    if request.posts:
        headers["Content-Length"] = str(request.size or len(request.body))
    if request.content_type:
        headers["Content-Type"] = request.content_type
    fields = [*headers.items(), *request.fields]
    return [(name.encode("ascii"), value.encode("utf-8", "replace")) for name, value in fields]


async def _answer(response: httpcore2.Response, request: HttpRequest, url: httpcore2.URL) -> HttpResponse | str:
    headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in response.headers}
    if response.status in _REDIRECTIONS and "location" in headers:
        return headers["location"]
    if request.discard and 200 <= response.status < 300:
        return HttpResponse(b"", "", _text(url))
    if response.status != 200:
        temporary = response.status >= 500 or response.status in _TEMPORARY
        raise HttpFailed(f"status {response.status}", temporary=temporary, status=response.status)
    body = await _body(response, headers, request.limit)
    return HttpResponse(body, headers.get("content-type", "").lower(), _text(url))


async def _body(response: httpcore2.Response, headers: Mapping[str, str], limit: int) -> bytes:
    if headers.get("content-encoding", "identity").lower() not in {"identity", ""}:
        raise HttpFailed("the answer is compressed, though the request does not allow that", temporary=False)
    promised = headers.get("content-length", "")
    body = bytearray()
    if not promised.isdecimal() or int(promised) <= limit:
        async for part in response.aiter_stream():
            body += part
            if len(body) > limit:
                break
        else:
            return bytes(body)
    raise HttpFailed(f"the answer is larger than {limit} bytes", temporary=False)


class _Backend(httpcore2.AsyncNetworkBackend):
    """Connects to what our resolver finds, and to no address that the request may not reach."""

    def __init__(self, resolver: Resolver, request: HttpRequest, tenants: AddressPolicy | None) -> None:
        self._tenants = tenants
        self._resolver = resolver
        self._request = request
        self._sockets = httpcore2.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - the library's interface
        local_address: str | None = None,
        socket_options: Iterable[SOCKET_OPTION] | None = None,
    ) -> AsyncNetworkStream:
        """The first address that takes the connection. Raises HttpFailed, or the library's own errors."""
        problem: Exception = HttpFailed(f"{host} has no address", temporary=False)
        for address in (await self._addresses(host))[:_MAX_ADDRESSES]:
            if barred := self._barred(host, address):
                problem = HttpFailed(barred, temporary=False, forbidden=True)
                continue
            try:
                stream = await self._sockets.connect_tcp(address, port, timeout, local_address, socket_options)
                return _Bounded(stream, 2 * self._request.limit + _MAX_FRAME)
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout) as failure:
                said = str(failure) or "no connection in time"
                problem = HttpFailed(f"{address} port {port}: {said}", temporary=True)
        raise problem

    def _barred(self, host: str, address: str) -> str:
        """The reason why an address must not be called, "" if it may."""
        if self._tenants is not None:
            return "" if self._tenants.allows(address) else not_allowed(host)
        if self._request.private or is_public(address):
            return ""
        return f"{address if host == address else f'{host} is at {address}, which'} is no public address"

    async def _addresses(self, host: str) -> Sequence[str]:
        """Raises HttpFailed."""
        try:
            return await host_addresses(self._resolver, host)
        except LookupFailed as failed:
            raise HttpFailed(failed.detail, temporary=failed.temporary) from failed


async def host_addresses(resolver: Resolver, host: str) -> Sequence[str]:
    """The addresses of a host that HTTP, or clamd, is spoken with; () if it has none. Raises LookupFailed.

    IPv4 first: many status servers have an IPv6 address that does not work.
    """
    if host == "localhost":  # RFC 6761 section 6.3: no lookup
        return "127.0.0.1", "::1"
    try:
        return (str(ipaddress.ip_address(host)),)
    except ValueError:
        pass
    result: list[str] = []
    failed: LookupFailed | None = None
    for answer in await asyncio.gather(_family(resolver, host, "A"), _family(resolver, host, "AAAA")):
        if isinstance(answer, LookupFailed):
            failed = answer
        else:
            result += [record.to_text() for record in answer.records]
    if failed is not None and not result:
        raise failed
    return result


async def _family(resolver: Resolver, host: str, rdtype: str) -> DnsAnswer | LookupFailed:
    try:
        return await resolver.query(host, rdtype)
    except LookupFailed as failure:  # the other family may be enough
        return failure


class _Bounded(httpcore2.AsyncNetworkStream):
    """A connection that reads no more than `room` octets.

    Interim answers (1xx) may come without end, and a chunk may bring more of extensions than of content: all of it is
    read on the event loop, where mail waits meanwhile.
    """

    def __init__(self, stream: httpcore2.AsyncNetworkStream, room: int) -> None:
        self._stream = stream
        self._room = room

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109 - the library's
        """Raises HttpFailed if there is too much of it."""
        if self._room <= 0:
            raise HttpFailed("the answer has too much around its content", temporary=False)
        data = await self._stream.read(max_bytes, timeout)
        self._room -= len(data)
        return data

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109 - the library's
        """Send."""
        await self._stream.write(buffer, timeout)

    async def aclose(self) -> None:
        """End it."""
        await self._stream.aclose()

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 - the library's
    ) -> httpcore2.AsyncNetworkStream:
        """The same under TLS: what is read there counts."""
        return _Bounded(await self._stream.start_tls(ssl_context, server_hostname, timeout), self._room)

    def get_extra_info(self, info: str) -> object:
        """Of the connection underneath."""
        return self._stream.get_extra_info(info)
