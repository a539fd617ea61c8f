"""OCSP responses for the certificates that we present: fetched ahead of time, verified, and kept for all workers.

`node.certificate_manager` staples what is kept and lets one worker of each node renew it. A response is renewed at half
of its life, so that a responder may be down for the other half. What is not valid, or not about the certificate, is
never stapled.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from gatepost.decoding import msgpack_decoder
from gatepost.net import revocation
from gatepost.net.certificate import MALFORMED, certificate_facts, must_staple, quietly
from gatepost.net.engine import client_context, server_context, shake_hands
from gatepost.net.lookups.http import HttpClient, HttpFailed, HttpRequest
from gatepost.protocols.tls.profile import PROFILES
from gatepost.store.interface import StoreFailure

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gatepost.net.identity import ServerIdentity
    from gatepost.store.changes import ConfigStore


_TIMEOUT: Final = 10.0
_AGAIN: Final = 300.0  # seconds after which a responder that gave nothing usable is asked again
_WITHOUT_END: Final = 3600.0  # a response that names no end is renewed so often, and stapled for twice as long
_MOST: Final = 7 * 86400.0

_log = logging.getLogger(__name__)


class Staple(msgspec.Struct):
    """A response as it is kept. fetched: seconds since 1970 UTC."""

    fetched: float
    response: bytes


class Subject(msgspec.Struct, frozen=True):
    """A certificate that a response is about. thumbprint: SHA-256 of the leaf. urls: of its responders.

    issuer: None if the chain does not hold it: then nothing can be asked. must: the certificate wants a staple always.
    """

    thumbprint: str
    name: str
    leaf: x509.Certificate
    issuer: x509.Certificate | None
    urls: tuple[str, ...]
    must: bool


def subject_of(identity: ServerIdentity) -> Subject:
    """The subject of OCSP stapling for an identity that was read before; no issuer if its names are unreadable."""
    with quietly():
        leaf, *above = x509.load_pem_x509_certificates(identity.chain_pem)
        facts = certificate_facts(leaf.public_bytes(Encoding.DER))
        try:
            issuer = next((certificate for certificate in above if certificate.subject == leaf.issuer), None)
        except MALFORMED:  # the handshake does not mind, and so a listener must not
            issuer = None
        return Subject(facts.sha256, facts.subject, leaf, issuer, revocation.published(leaf).ocsp, must_staple(leaf))


class Stapler:
    """store: keeps the responses. client: fetches them, from private addresses too: the certificates are our own."""

    def __init__(self, store: ConfigStore, client: HttpClient) -> None:
        self._store = store
        self._client = client
        self._not_before: dict[str, float] = {}

    def kept(self, identities: Sequence[ServerIdentity], now: float) -> dict[str, bytes]:
        """The responses that hold at `now`, by the thumbprint of their certificate."""
        result = {}
        for subject in map(subject_of, identities):
            staple = self._kept(subject)
            if staple is not None and holds_until(subject, staple, now) > now:
                result[subject.thumbprint] = staple.response
            elif subject.must:
                _log.error("%s must be presented with an OCSP response, and there is none", subject.name)
        return result

    async def renew(self, identities: Sequence[ServerIdentity], now: float) -> bool:
        """Fetch what is due; whether something new is kept. Never raises for what responders do."""
        due = [(subject, identity) for identity in identities if self._due(subject := subject_of(identity), now)]
        done = [await self._renew(subject, identity, now) for subject, identity in due]
        return any(done)

    def _due(self, subject: Subject, now: float) -> bool:
        if not subject.urls or subject.issuer is None or now < self._not_before.get(subject.thumbprint, 0.0):
            return False
        staple = self._kept(subject)
        if staple is None or staple.fetched > now:  # or it was fetched by a clock that was ahead
            return True
        return now >= (staple.fetched + holds_until(subject, staple, now)) / 2

    async def _renew(self, subject: Subject, identity: ServerIdentity, now: float) -> bool:
        self._not_before[subject.thumbprint] = now + _AGAIN
        reasons = []
        for url in subject.urls:
            try:
                response = await self._fetch(subject, url, now)
                check_staple(identity, response)
            except (HttpFailed, revocation.RevocationError) as failure:
                reasons.append(f"{url}: {failure}")
                continue
            return await self._keep(subject, Staple(now, response))
        _log.warning("no OCSP response to staple for %s: %s", subject.name, "; ".join(reasons))
        return False

    async def _fetch(self, subject: Subject, url: str, now: float) -> bytes:
        """A response that says that the certificate is good. Raises HttpFailed, RevocationError."""
        assert subject.issuer is not None  # noqa: S101 - or it would not be due
        body = revocation.ocsp_request(subject.leaf, subject.issuer)
        kind, accept = "application/ocsp-request", "application/ocsp-response"
        request = HttpRequest(url, revocation.MAX_RESPONSE_BYTES, _TIMEOUT, body, kind, accept, private=True)
        response = (await self._client.fetch(request)).body
        status = revocation.read_response(response, subject.leaf, subject.issuer, now)
        if status.status != "good":
            raise revocation.RevocationError(f"it says that the certificate is {status.status}")
        return response

    async def _keep(self, subject: Subject, staple: Staple) -> bool:
        place, content = staple_place(subject), msgspec.msgpack.encode(staple)
        try:
            await asyncio.to_thread(self._store.keep_apart, {place: content})
        except StoreFailure as failure:
            _log.warning("the OCSP response for %s is not kept: %s", subject.name, failure)
            return False
        return True

    def _kept(self, subject: Subject) -> Staple | None:
        content = self._store.content(staple_place(subject))
        try:
            return None if content is None else msgpack_decoder(Staple)(content)
        except msgspec.MsgspecError:
            return None


def check_staple(identity: ServerIdentity, response: bytes) -> None:
    """Shake hands with ourselves. Raises RevocationError if OpenSSL does not staple the response to the certificate.

    It leaves out what is not about the very certificate that it serves, and tells nobody.
    """
    profile = PROFILES["default"]
    context = server_context([identity], profile, ask_client_certificate=False)
    context.stapled.replace({subject_of(identity).thumbprint: response})
    ours = client_context(profile, ask_for_staple=True).engine()
    theirs = context.engine()
    shake_hands(ours, theirs)
    if ours.facts is None or ours.facts.ocsp_response != response:
        raise revocation.RevocationError("OpenSSL does not staple the response to this certificate")


def holds_until(subject: Subject, staple: Staple, now: float) -> float:
    """Until when a response may be stapled, seconds since 1970; 0.0 if it may not at all."""
    if subject.issuer is None:
        return 0.0
    try:
        response = revocation.read_response(staple.response, subject.leaf, subject.issuer, now)
    except revocation.RevocationError:
        return 0.0
    until = response.until or staple.fetched + 2 * _WITHOUT_END
    return min(until, staple.fetched + _MOST) if response.status == "good" else 0.0


def staple_place(subject: Subject) -> str:
    """The name of the content that is the response to staple."""
    return f"certificate/{subject.thumbprint[:16]}/staple"
