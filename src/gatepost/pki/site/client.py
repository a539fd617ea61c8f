"""Request a certificate from a site: one HTTPS request over a connection of its own, TLS 1.3.

Used by `pki.site.membership` and `gatepost site join`. The site is authenticated before anything is sent: by its
root, which a node knows or whose thumbprint is in the token, and by the URI of who gives out certificates. A node of
the site, or an on-premises server with a certificate of it, is not taken for that.
"""

from __future__ import annotations

import asyncio
import hashlib
from typing import TYPE_CHECKING, Any, Final

import h11
import msgspec

from gatepost.decoding import from_json
from gatepost.net.anchors import AnchorsError, TrustAnchors
from gatepost.net.chain import judge
from gatepost.net.dial import connect
from gatepost.net.engine import client_context
from gatepost.net.listener import parse_address
from gatepost.net.stream import Loss, LossKind, Stream
from gatepost.pki.site.profile import site_of
from gatepost.pki.site.records import JoinRefused, NodeGrant, SiteError, SiteRefusal, SiteUnreachable
from gatepost.protocols.tls.profile import PROFILES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gatepost.net.identity import ServerIdentity
    from gatepost.protocols.tls.facts import TlsFacts


REFUSAL_FIELD: Final = "gatepost-refusal"
"""The header field of an answer that says why there is no certificate, one word of `SiteRefusal`."""
_SECONDS: Final = 20.0
_CONNECT_SECONDS: Final = 10.0
_MAX_ANSWER: Final = 65536


class _Given(msgspec.Struct):
    site: str
    certificate: str
    roots: str


def encoded(grant: NodeGrant) -> bytes:
    """A grant as it is sent, JSON."""
    return msgspec.json.encode(_Given(grant.site, grant.certificate_pem.decode(), grant.roots_pem.decode()))


class SiteConnection:
    """One request to the site at an address; say first whom to trust: `trust` or `trust_thumbprint`.

    address: host:port. now: by which certificates are judged, seconds since 1970. identity: the node's certificate, to
    renew. site: which it must be, "" for any.
    """

    def __init__(self, address: str, *, now: float, identity: ServerIdentity | None = None, site: str = "") -> None:
        self.address = address
        self._now = now
        self._identity = identity
        self._site = site
        self._anchors: TrustAnchors | None = None
        self._thumbprint = ""

    def trust(self, anchors: TrustAnchors) -> None:
        """Trust who leads to one of these roots."""
        self._anchors = anchors

    def trust_thumbprint(self, sha256: str) -> None:
        """Trust who presents a root of this thumbprint and leads to it."""
        self._thumbprint = sha256

    async def ask(self, what: str, body: Mapping[str, Any]) -> NodeGrant:
        """The site's answer to POST /`what`. Raises JoinRefused, SiteError, OSError."""
        host, port = parse_address(self.address)
        request = msgspec.json.encode(body)
        context = client_context(PROFILES["modern"], identity=self._identity)
        stream = await connect(host, port, timeout=_CONNECT_SECONDS)
        exchange = _Exchange(stream, self, _head(what, self.address, len(request)), request)
        stream.start_tls(context)
        try:
            async with asyncio.timeout(_SECONDS):
                answer = await exchange.answer
        except TimeoutError as late:
            raise SiteUnreachable(f"{self.address}: no answer within {_SECONDS:g} s") from late
        finally:
            stream.abort(Loss(LossKind.CLOSED))
        try:
            grant = from_json(answer, _Given)
        except msgspec.DecodeError as error:
            raise SiteError(f"{self.address}: the answer is not that of a site: {error}") from error
        if grant.site != exchange.site:
            raise SiteError(f"{self.address}: the response names another site than its sender's")
        return NodeGrant(grant.site, grant.certificate.encode(), grant.roots.encode())

    def check(self, chain: Sequence[bytes]) -> str:
        """The name of the site that proves to be one by this chain, DER. Raises SiteError."""
        verdict = judge(chain, self._trusted(chain), now=self._now, purpose="server")
        if not verdict.trusted:
            raise SiteError(f"{self.address} is not the expected site: {verdict.detail}; nothing was sent to it")
        site, path = site_of(chain[0])
        if path != "authority" or self._site not in {"", site}:
            raise SiteError(
                f"{self.address} is {_shown(site, path)}, and not the authority of {self._site or 'the site'}: "
                "nothing was sent to it"
            )
        return site

    def _trusted(self, chain: Sequence[bytes]) -> TrustAnchors:
        if self._anchors is not None:
            return self._anchors
        roots = [candidate for candidate in chain if hashlib.sha256(candidate).hexdigest() == self._thumbprint]
        try:
            return TrustAnchors(roots, "token")
        except AnchorsError as error:
            raise SiteError(
                f"{self.address} does not show the root whose thumbprint is in the token ({self._thumbprint}): it is "
                "not the site, or the token is not of this site; nothing was sent to it"
            ) from error


class _Exchange:
    """One request on one stream. answer: its body. site: who answered."""

    def __init__(self, stream: Stream, connection: SiteConnection, head: h11.Request, body: bytes) -> None:
        self._stream = stream
        self._connection = connection
        self._request = (head, h11.Data(data=body), h11.EndOfMessage())
        self._http = h11.Connection(h11.CLIENT)
        self._response: h11.Response | None = None
        self._body = bytearray()
        self.answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self.site = ""
        stream.attach(self)

    def secured(self, facts: TlsFacts) -> None:
        """Nothing is sent before it is known to whom."""
        try:
            self.site = self._connection.check(facts.peer_chain)
        except SiteError as error:
            self._fail(error)
            return
        for event in self._request:
            self._stream.write(self._http.send(event) or b"")

    def received(self, data: bytes) -> None:
        """A part of the answer."""
        try:
            self._http.receive_data(data)
            while not self.answer.done():
                event = self._http.next_event()
                if event is h11.NEED_DATA or event is h11.PAUSED:
                    return
                self._took(event)
        except h11.RemoteProtocolError as error:
            self._fail(SiteError(f"the answer is not HTTP: {error}"))

    def lost(self, loss: Loss) -> None:
        """The end, before or after the answer."""
        why = f"the connection ended before the answer ({loss.kind}: {loss.detail or 'no reason'})"
        self._fail(SiteUnreachable(f"{self._connection.address}: {why}; does a site listen there?"))

    def _took(self, event: object) -> None:
        match event:
            case h11.Response():
                self._response = event
            case h11.Data():
                self._body += event.data
                if len(self._body) > _MAX_ANSWER:
                    self._fail(SiteError(f"the answer is larger than {_MAX_ANSWER} bytes"))
            case h11.EndOfMessage() if self._response is not None and self._response.status_code == 200:
                self.answer.set_result(bytes(self._body))
            case _:
                self._fail(_refused(self._response))

    def _fail(self, error: SiteError) -> None:
        if not self.answer.done():
            self.answer.set_exception(error)


def _head(what: str, address: str, length: int) -> h11.Request:
    headers = [
        ("Host", address),
        ("Content-Type", "application/json"),
        ("Content-Length", str(length)),
        ("Connection", "close"),
    ]
    return h11.Request(method="POST", target=f"/{what}", headers=headers)


def _refused(response: h11.Response | None) -> SiteError:
    if response is None:
        return SiteError("there was no answer")
    said = next((value for name, value in response.headers if name == REFUSAL_FIELD.encode()), b"").decode("latin-1")
    if said in set(SiteRefusal):
        return JoinRefused(SiteRefusal(said), _MEANING[SiteRefusal(said)])
    return SiteError(f"the site answered with status {response.status_code}")


_MEANING: Final = {
    SiteRefusal.REQUEST: "the site does not give this node a certificate: see its log",
    SiteRefusal.TOKEN: "the site does not accept the token: it was used, has expired, or is for another node",
    SiteRefusal.TAKEN: "a node or server of the site has this name: to join, make a token --for it there",
    SiteRefusal.NODE: "the site does not know this node",
    SiteRefusal.EARLY: "the last request was too recent: try again in a minute",
    SiteRefusal.BUSY: "the site is busy: try again",
}


def _shown(site: str, path: str) -> str:
    """What a certificate says its owner is: "a-site (node-1)"."""
    return f"{site or '?'} ({path or '?'})"
