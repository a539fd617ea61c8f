"""A bounded HTTP client, for revocation lists, OCSP, MTA-STS policies, reports and message scans.

Used by `net.lookups.revocation`, `net.lookups.mtasts`, `net.lookups.rspamd` and `analysis.reports.tlsrpt_sending`.
Names are found by our resolver, the body is cut off while it arrives, every wait ends, and a redirection is followed
only where it is asked for. It never decides what a failure means, but says whether a later try may succeed.
"""

from __future__ import annotations

import asyncio
import ipaddress
import ssl
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import msgspec

from gatepost.net.lookups.question import LookupFailed
from gatepost.net.shortage import exhaustion, shortage
from gatepost.policy.connectors.addresses import PUBLIC_ADDRESSES, AddressPolicy
from gatepost.protocols.tls.facts import MAX_CERTIFICATES
from gatepost.values import replace

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, Callable, Coroutine, Sequence

    from gatepost.net.anchors import TrustAnchors
    from gatepost.net.lookups.dns import DnsAnswer, Resolver


type _Ask = Callable[
    [HttpRequest, Resolver, AddressPolicy | None, Callable[[], ssl.SSLContext]], Coroutine[Any, Any, HttpResponse]
]
"""As `net.lookups.http_exchange.ask`."""

MAX_URL: Final = 2048
"""Octets of an address."""


class HttpFailed(Exception):  # noqa: N818 - not an error of the program: it is what was found
    """There is no answer that can be used. temporary: a later try may succeed. detail: for us, never on the wire.

    untrusted: it is the server's certificate that cannot be trusted, or that bears another name. forbidden: nothing was
    sent, since the address is not of the public internet (`HttpRequest.private`). status: of the answer, 0 if it was
    200 or if there was none. retry_after: seconds that the server asks to wait (RFC 9110 section 10.2.3), 0 if it names
    none; of a date nothing is read. Its cause is a shortage (`net.shortage`) if this machine had no socket or memory
    left for it, which says nothing of the server.
    """

    def __init__(
        self,
        detail: str,
        *,
        temporary: bool,
        untrusted: bool = False,
        forbidden: bool = False,
        status: int = 0,
        retry_after: float = 0.0,
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.temporary = temporary
        self.untrusted = untrusted
        self.forbidden = forbidden
        self.status = status
        self.retry_after = retry_after


class HttpRequest(msgspec.Struct, frozen=True):
    """A request, and the limits of its answer.

    url: http or https. body: makes it a POST; so does content, which is sent as it comes and has size octets. fields:
    beside the usual ones, names and values. limit: octets of the answer. timeout: seconds for all of it, with
    redirections; connect: for one connection. redirects: how many are followed, within the scheme of the first address.
    private: whether addresses that are not of the public internet (loopback, RFC 1918, …) may be called. within: which
    may, whatever private says. discard: any 2xx is an answer, and its content is not read. addresses: of the host of
    url, None to look them up (`HttpClient.located`); not with redirects.
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
    within: AddressPolicy | None = None
    content: AsyncIterable[bytes] | None = None
    size: int = 0
    fields: Sequence[tuple[str, str]] = ()
    discard: bool = False
    addresses: Sequence[str] | None = None

    @property
    def posts(self) -> bool:
        """Whether something is sent."""
        return bool(self.body) or self.content is not None


def bounded(reach: AddressPolicy | None) -> AddressPolicy | None:
    """`HttpRequest.within` for addresses that may be called: None where `private` says it already."""
    return None if reach is PUBLIC_ADDRESSES else reach


class HttpResponse(msgspec.Struct, frozen=True):
    """An answer of status 200, whole; if its content was to be discarded, of any 2xx, without content.

    content_type: as sent, in lower case, "" if it was not. url: that answered.
    """

    body: bytes
    content_type: str
    url: str


class HttpClient:
    """resolver: finds the names. context: checks the certificates of https, or makes what does at the first of them.

    tenants: for what tenants ask for: which addresses may be called, whatever a request says of private ones. Each
    request has a connection of its own: requests here are made about once a day.
    """

    def __init__(
        self,
        resolver: Resolver,
        context: ssl.SSLContext | Callable[[], ssl.SSLContext] | None = None,
        tenants: AddressPolicy | None = None,
    ) -> None:
        """context: None: against the system's roots."""
        self._tenants = tenants
        self._resolver = resolver
        self._context = context or https_context
        self._made: ssl.SSLContext | None = None
        self._ask: _Ask | None = None

    async def fetch(self, request: HttpRequest) -> HttpResponse:
        """The answer to one request. Raises HttpFailed."""
        try:
            ask = self._ask or await self._loaded()
            async with asyncio.timeout(request.timeout):
                return await ask(request, self._resolver, self._tenants, self._tls)
        except TimeoutError as failure:
            detail = f"{shown(request.url)}: no whole answer within {request.timeout:g} s"
            raise HttpFailed(detail, temporary=True) from failure
        except OSError as failure:  # of this machine: the library, or the roots, cannot be read
            raise HttpFailed(f"{shown(request.url)}: {failure}", temporary=True) from failure

    async def located(self, request: HttpRequest) -> HttpRequest:
        """The request with the addresses of its host: it does not take of its time to look them up. Raises HttpFailed.

        That may wait for other questions of the same organization, which says nothing of the server.
        """
        try:
            addresses = await host_addresses(self._resolver, urlsplit(request.url).hostname or "")
        except LookupFailed as failed:
            raise HttpFailed(f"{shown(request.url)}: {failed.detail}", temporary=failed.temporary) from failed
        return replace(request, addresses=addresses)

    async def _loaded(self) -> _Ask:
        """Mail waits for the library neither at the start nor, since a thread loads it, at the first request."""
        module = await asyncio.to_thread(import_module, "gatepost.net.lookups.http_exchange")
        ask: _Ask = module.ask
        self._ask = ask
        return ask

    def renew(self) -> None:
        """Make what checks certificates anew, at the next request."""
        self._made = None

    def _tls(self) -> ssl.SSLContext:
        if self._made is None:
            self._made = self._context() if callable(self._context) else self._context
        return self._made


def shown(text: str) -> str:
    """A foreign address, made safe for a sentence of ours."""
    return ascii(text[:200])[1:-1]


def https_context(anchors: TrustAnchors | None = None) -> ssl.SSLContext:
    """Checks the chain and the name of https servers. anchors: which chains end well; None: the system's.

    Only subjectAltName is a name, as RFC 8461 section 3.3 has it (RFC 9525 for all others). Raises OSError if no file
    can be opened now: what lacks the system's anchors would distrust every server, and be kept.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.sslobject_class = _BoundedTls
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.hostname_checks_common_name = False
    if anchors is None:
        context.load_default_certs()  # which is silent about a file that it cannot open
        if (short := exhaustion()) is not None:
            raise short
    else:
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # an anchor need not be a root, as in `net.anchors`
        context.load_verify_locations(cadata=anchors.der)
    return context


class _BoundedTls(ssl.SSLObject):
    def do_handshake(self) -> None:
        """Raises SSLError, also if more than MAX_CERTIFICATES came, whether or not the handshake is complete."""
        try:
            super().do_handshake()
        finally:
            count = len(self._sslobj.get_unverified_chain() or ())  # type: ignore[attr-defined] # public from 3.13 on
            if count > MAX_CERTIFICATES:
                raise ssl.SSLError(f"the server sent {count} certificates, at most {MAX_CERTIFICATES} are taken")


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
    if failed is not None and (not result or shortage(failed)):
        raise failed
    return result


async def _family(resolver: Resolver, host: str, rdtype: str) -> DnsAnswer | LookupFailed:
    try:
        return await resolver.query(host, rdtype)
    except LookupFailed as failure:  # the other family may be enough
        return failure
