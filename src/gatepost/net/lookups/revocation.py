"""Check whether a peer's certificates are revoked: stapled response first, then CRLs, then OCSP responders.

Used by `mail.outbound.hop`, `mail.inbound.session` and `checks`, for chains that are trusted already: a stranger's
certificate makes us fetch nothing. Says what was learnt; whether "unknown" is good enough is the caller's rule
(docs/decisions).
"""

from __future__ import annotations

import asyncio
import time
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING, Final, Literal

import msgspec

from gatepost.net.anchors import SYSTEM, AnchorsError, TrustAnchors
from gatepost.net.certificate import CertificateError, must_staple, parse, subject_text
from gatepost.net.lookups.authority_origin import AuthorityOrigin
from gatepost.net.lookups.revocation_lists import Responders, RevocationLists
from gatepost.net.revocation import RevocationError, RevocationStatus, RevocationUrls, published, read_response
from gatepost.net.shortage import shortage
from gatepost.policy.connectors.addresses import PUBLIC_ADDRESSES, AddressPolicy
from gatepost.protocols.tls.facts import ChainVerdict, Revocation
from gatepost.times import second_text

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from cryptography import x509

    from gatepost.net.lookups.http import HttpClient


_MAX_DETAIL: Final = 600

type _Source = Literal["staple", "crl", "ocsp", ""]


class _Link(msgspec.Struct, frozen=True):
    """One certificate of a path, by whom it was issued, and where its status is published. name: for sentences."""

    certificate: x509.Certificate
    issuer: x509.Certificate
    places: RevocationUrls
    name: str


class _Question(msgspec.Struct, frozen=True):
    """A question about one certificate, and the sources that may answer it.

    reach: their addresses, None for any. by_tenant: nobody but tenants trusts the authority.
    """

    link: _Link
    staple: bytes
    reach: AddressPolicy | None
    by_tenant: bool
    now: float


class RevocationChecker:
    """client: fetches. folder: where lists are kept over a restart, None for nowhere. timeout: seconds for one check.

    clock: seconds, never going back. tenants: the addresses at which what a tenant named may be asked. origin: tells
    which authorities that is. load: reads the system's trust anchors, on a thread.
    """

    def __init__(  # noqa: PLR0913 - what it asks, and by which rules
        self,
        client: HttpClient,
        folder: Path | None,
        *,
        timeout: float = 10.0,
        clock: Callable[[], float] = time.monotonic,
        tenants: AddressPolicy = PUBLIC_ADDRESSES,
        origin: AuthorityOrigin | None = None,
        load: Callable[[str], TrustAnchors] = TrustAnchors.load,
    ) -> None:
        self.origin = origin or AuthorityOrigin()
        self._load = load
        self._tenants = tenants
        self._timeout = timeout
        self._system: TrustAnchors | frozenset[bytes] | None = None
        # Half of the time, so that behind a dead host there is some left for the next place.
        self._lists = RevocationLists(client, folder, timeout=timeout / 2, clock=clock)
        self._responders = Responders(client, timeout=timeout / 2, clock=clock)

    async def check(self, verdict: ChainVerdict, *, staple: bytes | None = None, now: float) -> Revocation:
        """Check all certificates of a trusted path below its anchor, within the time for a check.

        staple: the OCSP response that the peer sent with its chain, b"" if none though one was requested, None if it
        was not (a client). now: seconds since 1970 UTC. Never raises. ValueError if the chain is not trusted.
        """
        if not verdict.trusted or not verdict.path:
            raise ValueError("only the certificates of a trusted chain are looked for")
        try:
            links = _links(verdict.path)
        except CertificateError as failure:
            return Revocation("unknown", str(failure))
        if not links:
            return Revocation("not-published", "the certificate itself is the trust anchor")
        if staple == b"" and must_staple(links[0].certificate):
            detail = f"{links[0].name} must come with an OCSP response (RFC 7633), and none was stapled"
            return Revocation("unknown", detail, demanded=True)
        reach, by_tenant = await self._reach(verdict.path[-1])
        questions = [
            _Question(link, b"" if link is not links[0] else staple or b"", reach, by_tenant, now) for link in links
        ]
        return _worst(await asyncio.gather(*(self._in_time(question) for question in questions)))

    def retry(self) -> None:
        """Ask places again that gave nothing usable, without waiting for their minute to pass; load anchors again."""
        self._system = None
        self._lists.retry()
        self._responders.retry()

    async def close(self) -> None:
        """Stop all fetching."""
        await self._lists.close()
        await self._responders.close()

    async def _reach(self, anchor: bytes) -> tuple[AddressPolicy | None, bool]:
        """The addresses that an authority may name, None for any, and whether nobody but tenants trusts it.

        Any, within our own network, too, is not for one that the whole world trusts, nor for one that a tenant may have
        made itself.
        """
        system = self._system
        if system is None:
            try:
                system = await asyncio.to_thread(_system_anchors, self._load)  # a hundred milliseconds
            except AnchorsError:  # which those are is not known now
                return PUBLIC_ADDRESSES, False
            self._system = system
        if anchor in system:
            return PUBLIC_ADDRESSES, False
        return (self._tenants, True) if self.origin.is_tenants(anchor) else (None, False)

    async def _in_time(self, question: _Question) -> Revocation:
        try:
            async with asyncio.timeout(self._timeout):
                return await self._one(question)
        except TimeoutError:
            name = question.link.name
            return Revocation("unknown", f"{name}: no answer within {self._timeout:g} s")

    async def _one(self, question: _Question) -> Revocation:
        """Check one certificate."""
        link, places = question.link, question.link.places
        notes: list[str] = []
        if question.staple:
            try:
                status = read_response(question.staple, link.certificate, link.issuer, question.now)
                if (said := _conclude(question, status, "staple", "the stapled OCSP response", notes)) is not None:
                    return said
            except RevocationError as failure:
                notes.append(f"stapled: {failure}")
        asks: list[tuple[_Source, str, Callable[[str, _Question], Awaitable[RevocationStatus]]]] = [
            *(("crl", url, self._list) for url in places.crl),
            *(("ocsp", url, self._responder) for url in places.ocsp),
        ]
        for source, url, ask in asks:
            try:
                status = await ask(url, question)
            except RevocationError as failure:
                notes.append(str(failure))
                continue
            if (said := _conclude(question, status, source, url, notes)) is not None:
                return said
        return _nothing(question, places.unusable, notes)

    async def _list(self, url: str, question: _Question) -> RevocationStatus:
        link = question.link
        revocation_list = await self._lists.find(
            url, link.issuer, now=question.now, reach=question.reach, by_tenant=question.by_tenant
        )
        try:
            return revocation_list.status_of(link.certificate, question.now)
        except RevocationError as failure:
            raise RevocationError(f"{url}: {failure}") from failure

    async def _responder(self, url: str, question: _Question) -> RevocationStatus:
        return await self._responders.ask(
            url, question.link.certificate, question.link.issuer, now=question.now, reach=question.reach
        )


@lru_cache(256)
def _links(path: tuple[bytes, ...]) -> tuple[_Link, ...]:
    """The links of a path. Raises CertificateError. Cached, since the same partners come again and again."""
    certificates = [parse(der) for der in path]
    return tuple(
        _Link(certificate, issuer, published(certificate), subject_text(certificate))
        for certificate, issuer in pairwise(certificates)
    )


def _system_anchors(load: Callable[[str], TrustAnchors]) -> TrustAnchors | frozenset[bytes]:
    """The anchors that this machine has. Raises AnchorsError if they cannot be read at this moment (`net.shortage`)."""
    try:
        return load(SYSTEM)
    except AnchorsError as failure:
        if shortage(failure):
            raise
        return frozenset()


def _conclude(
    question: _Question, found: RevocationStatus, source: _Source, place: str, notes: list[str]
) -> Revocation | None:
    """The result by one source's status; None, with a note, if the next source must be tried."""
    name = question.link.name
    if found.status == "unknown":
        notes.append(f"{place} does not know the certificate")
        return None
    if found.status == "good":
        return Revocation("good", f"{name} is not revoked, says {place}", source)
    when = f" on {second_text(found.revoked)}" if found.revoked else ""
    reason = f", reason {found.reason}" if found.reason else ""
    serial = f"{question.link.certificate.serial_number:x}"
    return Revocation("revoked", f"{name}, serial {serial}, was revoked{when}{reason}, says {place}", source)


def _nothing(question: _Question, unusable: str, notes: list[str]) -> Revocation:
    name = question.link.name
    if notes or unusable:
        why = [*notes, *([f"it names sources that cannot be used ({unusable})"] if unusable else [])]
        return Revocation("unknown", f"{name}: {'; '.join(why)}"[:_MAX_DETAIL])
    return Revocation("not-published", f"{name} names neither a CRL nor an OCSP responder")


_RANK: Final = {"revoked": 0, "unknown": 1, "good": 2, "not-published": 3}


def _worst(found: list[Revocation]) -> Revocation:
    """One revoked certificate spoils the path, one unknown leaves it unknown; else what is published counts."""
    return min(found, key=lambda revocation: _RANK[revocation.status])
