"""One request of `net.lookups.http` and its answer, over connections of httpcore2.

It is a module of its own, so that a process that asks nobody by HTTP does not load that library.
"""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Any, Final, cast
from urllib.parse import urljoin

import httpcore2

from gatepost.net.lookups.http import MAX_URL, HttpFailed, HttpRequest, HttpResponse, host_addresses, shown
from gatepost.net.lookups.question import LookupFailed
from gatepost.net.shortage import shortage
from gatepost.policy.connectors.addresses import AddressPolicy, is_public, not_allowed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from httpcore2 import SOCKET_OPTION, AsyncNetworkStream

    from gatepost.net.lookups.dns import Resolver


# Octets on the wire beyond twice the limit of an answer: TLS with its certificates, header, interim answers, chunks.
_MAX_FRAME: Final = 256 * 1024
# Each takes 5 us, and a chunk of one octet six octets on the wire: more than so many, and one for so many octets, are
# nobody's but who wants to keep us busy.
_MAX_PARTS: Final = 1000
_PART: Final = 64
_MAX_ADDRESSES: Final = 4
_TEMPORARY: Final = frozenset({408, 425, 429})  # of the 4xx: trying later may help
_REDIRECTIONS: Final = frozenset({301, 302, 303, 307, 308})


async def ask(
    request: HttpRequest, resolver: Resolver, tenants: AddressPolicy | None, tls: Callable[[], ssl.SSLContext]
) -> HttpResponse:
    """The answer to a request. The rest is of `HttpClient`; tls: what checks the certificates of https servers.

    Raises HttpFailed.
    """
    return await _Exchange(request, resolver, tenants, tls).follow()


class _Exchange:
    def __init__(
        self,
        request: HttpRequest,
        resolver: Resolver,
        tenants: AddressPolicy | None,
        tls: Callable[[], ssl.SSLContext],
    ) -> None:
        self._request = request
        self._resolver = resolver
        self._tenants = request.within or tenants
        self._tls = tls

    async def follow(self) -> HttpResponse:
        """The answer, of where it is redirected to at last."""
        request = self._request
        first = url = _parse(request.url)
        for left in range(request.redirects, -1, -1):
            answer = await self._ask(url)
            if isinstance(answer, HttpResponse):
                return answer
            if not left:
                raise HttpFailed(f"{_text(url)} redirects to {shown(answer)}, which is not followed", temporary=False)
            url = _parse(_joined(_text(url), answer))
            if url.scheme != first.scheme:
                raise HttpFailed(f"{_text(first)} redirects to another scheme: {_text(url)}", temporary=False)
        raise AssertionError("unreachable")

    async def _ask(self, url: httpcore2.URL) -> HttpResponse | str:
        """The answer, or where it redirects to."""
        request = self._request
        backend = _Backend(self._resolver, request, self._tenants)
        tls = self._tls() if url.scheme == b"https" else None
        try:
            async with httpcore2.AsyncHTTPConnection(
                url.origin, ssl_context=tls, network_backend=backend
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
                detail,
                temporary=failure.temporary,
                forbidden=failure.forbidden,
                status=failure.status,
                retry_after=failure.retry_after,
            ) from failure
        except _FAILURES as failure:
            why = _distrust(failure)
            said = f"its certificate is not trusted: {why}" if why else str(failure) or type(failure).__name__
            raise HttpFailed(f"{_text(url)}: {said[:300]}", temporary=True, untrusted=bool(why)) from failure
        finally:
            await backend.aclose()


def _distrust(failure: BaseException | None) -> str:
    """Why a certificate was not trusted, if that is at the bottom of a failure; "" otherwise."""
    while failure is not None:
        if isinstance(failure, ssl.SSLCertVerificationError):
            return failure.verify_message
        failure = failure.__cause__
    return ""


_FAILURES: Final = (
    httpcore2.TimeoutException,
    httpcore2.NetworkError,
    httpcore2.ProtocolError,
    OSError,
)


def _parse(text: str) -> httpcore2.URL:
    if not text.isascii() or len(text) > MAX_URL:
        raise HttpFailed(f"{shown(text)}: no usable address", temporary=False)
    try:
        url = httpcore2.URL(text)
    except (ValueError, UnicodeError, httpcore2.UnsupportedProtocol) as failure:
        raise HttpFailed(f"{shown(text)}: no address: {failure}", temporary=False) from failure
    if url.scheme not in {b"http", b"https"} or not url.host:
        raise HttpFailed(f"{shown(text)}: only http and https are allowed", temporary=False)
    return url


def _joined(base: str, reference: str) -> str:
    try:
        return urljoin(base, reference)
    except ValueError as failure:
        raise HttpFailed(f"{base} redirects to {shown(reference)}: no address: {failure}", temporary=False) from failure


def _text(url: httpcore2.URL) -> str:
    port = f":{url.port}" if url.port else ""
    host = url.host.decode("ascii")
    return shown(f"{url.scheme.decode('ascii')}://{f'[{host}]' if ':' in host else host}{port}{url.target.decode()}")


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
        after = headers.get("retry-after", "").strip()
        wait = float(after) if after.isascii() and after.isdecimal() and len(after) < 10 else 0.0
        raise HttpFailed(f"status {response.status}", temporary=temporary, status=response.status, retry_after=wait)
    body = await _body(response, headers, request.limit)
    return HttpResponse(body, headers.get("content-type", "").lower(), _text(url))


async def _body(response: httpcore2.Response, headers: Mapping[str, str], limit: int) -> bytes:
    if headers.get("content-encoding", "identity").lower() not in {"identity", ""}:
        raise HttpFailed("the answer is compressed, though the request does not allow that", temporary=False)
    promised = headers.get("content-length", "")
    body, parts = bytearray(), 0
    if not promised.isdecimal() or int(promised) <= limit:
        async for part in response.aiter_stream():
            body += part
            parts += 1
            if len(body) > limit:
                break
            if parts > _MAX_PARTS + len(body) // _PART:
                raise HttpFailed("the answer comes in too many small parts", temporary=False)
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
        self._open: _Counted | None = None

    async def aclose(self) -> None:
        """End the connection: the library leaves it open if the wait for a silent server's handshake is given up."""
        if self._open is not None:
            await self._open.aclose()

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
        known = self._request.addresses
        for address in (await self._addresses(host) if known is None else known)[:_MAX_ADDRESSES]:
            if barred := self._barred(host, address):
                problem = HttpFailed(barred, temporary=False, forbidden=True)
                continue
            try:
                stream: Any = await self._sockets.connect_tcp(address, port, timeout, local_address, socket_options)
                self._open = stream._stream = _Counted(  # noqa: SLF001 - no other place sees what TLS reads
                    stream._stream,  # noqa: SLF001 - as above
                    2 * self._request.limit + _MAX_FRAME,
                )
                return cast("AsyncNetworkStream", stream)
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout) as failure:
                short = shortage(failure)
                said = str(short or failure) or "no connection in time"
                problem = HttpFailed(f"{address} port {port}: {said}", temporary=True)
                if short is not None:
                    raise problem from short
        raise problem

    def _barred(self, host: str, address: str) -> str:
        """The reason why an address must not be called, "" if it may."""
        if self._tenants is not None:
            return "" if self._tenants.allows(address) else not_allowed(host)
        if self._request.private or is_public(address):
            return ""
        return f"{address if host == address else f'{host} is at {address}, which'} is not a public address"

    async def _addresses(self, host: str) -> Sequence[str]:
        """Raises HttpFailed."""
        try:
            return await host_addresses(self._resolver, host)
        except LookupFailed as failed:
            raise HttpFailed(failed.detail, temporary=failed.temporary) from failed


class _Counted:
    """A connection of which no more than `room` octets are read, those of TLS among them.

    Interim answers (1xx) may come without end, a chunk may bring more of extensions than of content, and TLS messages
    may bring no data at all: all of it is read on the event loop, where mail waits meanwhile.
    """

    def __init__(self, stream: Any, room: int) -> None:
        self._stream = stream
        self._room = room

    async def receive(self, max_bytes: int = 65_536) -> bytes:
        """As of anyio's stream, whose all the rest is. Raises HttpFailed if there is too much of it."""
        if self._room <= 0:
            raise HttpFailed("the answer has too much around its content", temporary=False)
        data: bytes = await self._stream.receive(max_bytes)
        self._room -= len(data)
        return data

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
