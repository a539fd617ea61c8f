"""`gatepost check chain`: check a certificate before it is put into service, without a server.

Called by `manage.cli.check_chain`. It orders the certificates of a file, and gathers: the path to a root, the stores
that hold this root, and what every CRL, OCSP and issuer address of the path answers from here, each asked anew, within
its time, and nothing is kept. `analysis.checks.chain_stages` says what that means. A gateway's own questions go through
`net.lookups.revocation`; what is read here is read by the same code (`net.revocation`).
"""

from __future__ import annotations

import asyncio
import time
from itertools import pairwise
from typing import TYPE_CHECKING, Final

import msgspec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID

from gatepost.analysis.checks.chain_facts import ChainFacts, From, KeyFacts, Kind, Link, UrlResult, UrlStatus
from gatepost.analysis.checks.chain_file import CertificateFile, ChainFileError, KeyFile
from gatepost.analysis.checks.chain_report import ChainCheck
from gatepost.analysis.checks.chain_stages import chain_findings
from gatepost.analysis.checks.chain_urls import Question, UrlChecker
from gatepost.net.certificate import MALFORMED, CertificateError, certificate_facts, must_staple, parse, quietly
from gatepost.net.chain import extended_usages, judge, weak_signature
from gatepost.net.path import MAX_PATH, climb, is_authority, issued, issuer_places, self_issued
from gatepost.net.revocation import published
from gatepost.values import replace

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cryptography import x509

    from gatepost.analysis.checks.chain_stores import RootStores
    from gatepost.net.lookups.http import HttpClient
    from gatepost.protocols.tls.facts import ChainVerdict


_USAGES: Final = {
    ExtendedKeyUsageOID.SERVER_AUTH: "serverAuth",
    ExtendedKeyUsageOID.CLIENT_AUTH: "clientAuth",
    ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE: "any",
}


def choose_leaf(certificates: Sequence[bytes], public: bytes = b"") -> int:
    """The place of the certificate that a server is to present.

    It is the one of the private key (public: its other half, b"" if none is given), else the first that is no
    authority's, else the first that issued none of the others.
    """
    read = [parse(der) for der in certificates]
    with quietly():
        for place, certificate in enumerate(read):
            if public and public_key(certificate) == public:
                return place
        for place, certificate in enumerate(read):
            if not is_authority(certificate) and not self_issued(certificate):
                return place
        for place, certificate in enumerate(read):
            if not any(other is not certificate and issued(other, certificate) for other in read):
                return place
    return 0


def public_key(certificate: x509.Certificate) -> bytes:
    """The public key as the library writes it, DER, to be compared with another one of it; b"" if it cannot be read."""
    try:
        return certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    except MALFORMED:
        return b""


def link(der: bytes, place: From) -> Link:
    """Read the facts of a certificate. Raises CertificateError."""
    certificate = parse(der)
    with quietly():
        return Link(
            der,
            certificate_facts(der),
            place,
            self_issued=self_issued(certificate),
            authority=is_authority(certificate),
            signature=_hash(certificate),
            weak=_weak(certificate),
            usages=_usages(certificate),
            must_staple=must_staple(certificate),
            published=published(certificate),
            issuers=issuer_places(certificate),
        )


def _hash(certificate: x509.Certificate) -> str:
    try:
        used = certificate.signature_hash_algorithm
    except MALFORMED:
        return "unknown"
    return used.name.upper().replace("SHA", "SHA-").replace("SHA-3-", "SHA3-") if used is not None else ""


def _weak(certificate: x509.Certificate) -> str:
    try:
        return weak_signature(certificate)
    except MALFORMED:
        return ""


def _usages(certificate: x509.Certificate) -> frozenset[str] | None:
    try:
        identifiers = extended_usages(certificate)
    except MALFORMED:
        return frozenset()
    return (
        None
        if identifiers is None
        else frozenset(_USAGES.get(identifier, identifier.dotted_string) for identifier in identifiers)
    )


MAX_CERTIFICATES: Final = 50
_WHOLE: Final = 4  # times the patience for one address is what all of them get together,
_COMPLETING: Final = 2  # and what the search for missing issuers gets before


class ChainQuestion(msgspec.Struct, frozen=True):
    """The subject of a chain check.

    names: host names (A-labels) that the certificate should have. key: its private key, None to leave that out. staple:
    check for an OCSP response to staple.
    """

    file: CertificateFile
    names: tuple[str, ...] = ()
    key: KeyFile | None = None
    staple: bool = False


class ChainChecker:
    """client: fetches; None: nothing is fetched. timeout: seconds for one address.

    private: whether addresses that are not of the public internet may be called, whoever the authority is.
    """

    def __init__(
        self, client: HttpClient | None, stores: RootStores, *, timeout: float = 10.0, private: bool = False
    ) -> None:
        self._stores = stores
        self._private = private
        self._timeout = timeout
        self._asker = UrlChecker(client, timeout) if client is not None else None

    async def check(self, question: ChainQuestion, *, now: float) -> ChainCheck:
        """All of it at `now`, seconds since 1970 UTC. Raises ChainFileError for a file that is not a chain."""
        begun = time.monotonic()
        if len(question.file.certificates) > MAX_CERTIFICATES:
            raise ChainFileError(
                f"{question.file.source}: {len(question.file.certificates)} certificates are no chain; "
                "for a bundle of roots: gatepost check roots"
            )
        try:
            with quietly():
                facts = await self._facts(question, now)
        except (CertificateError, *MALFORMED) as failure:
            raise ChainFileError(
                f"{question.file.source}: a certificate that cannot be read: {failure}"[:500]
            ) from failure
        return ChainCheck(facts, chain_findings(facts), time.monotonic() - begun)

    async def _facts(self, question: ChainQuestion, now: float) -> ChainFacts:
        certificates = question.file.certificates
        place = choose_leaf(certificates, question.key.public if question.key else b"")
        leaf = certificates[place]
        sent = [leaf, *(der for der in dict.fromkeys(certificates) if der != leaf)]
        verdict = self._judge(sent, now)
        path, fetched = await self._path(sent, verdict, now)
        completed = self._judge([*sent, *fetched], now) if fetched else None
        if completed is not None and completed.trusted:
            path = list(completed.path)
        links = [link(der, self._place(der, sent, fetched)) for der in path]
        return ChainFacts(
            file=question.file,
            leaf=place,
            verdict=verdict,
            completed=completed,
            path=await self._with_answers(links, now),
            stores=self._stores.holding(path[-1]),
            anchors=self._stores.name,
            key=_key_facts(question.key, leaf),
            names=question.names,
            staple=question.staple,
            offline=self._asker is None,
            now=now,
        )

    def _judge(self, chain: list[bytes], now: float) -> ChainVerdict:
        return judge(chain, self._stores.anchors, now=now, purpose="server", max_chain=MAX_CERTIFICATES + MAX_PATH)

    def _place(self, der: bytes, sent: list[bytes], fetched: list[bytes]) -> From:
        if der in sent:
            return From.FILE
        return From.FETCHED if der in fetched else From.STORE

    async def _path(self, sent: list[bytes], verdict: ChainVerdict, now: float) -> tuple[list[bytes], list[bytes]]:
        """The path as far as it can be built, and what had to be fetched for it."""
        if verdict.trusted:
            return list(verdict.path), []
        pool = [*sent, *self._stores.certificates()]
        path = climb(sent[0], pool, now)
        fetched: list[bytes] = []
        end = self._end(_COMPLETING)
        while len(path) < MAX_PATH and len(fetched) < MAX_PATH and (missing := await self._issuer(path[-1], end)):
            fetched.append(missing)
            longer = climb(sent[0], [*pool, *fetched], now)
            if len(longer) <= len(path):
                break
            path = longer
        return path, fetched

    async def _issuer(self, der: bytes, end: float) -> bytes:
        """The issuer of the last certificate of a path, from where that one says; b"" if there is none to be had."""
        top = link(der, From.FILE)
        if self._asker is None or top.self_issued or any(store.holds_root for store in self._stores.holding(der)):
            return b""
        question = Question(top, None, self._private, 0.0)
        for url in top.issuers:
            answer = await self._asker.ask(Kind.ISSUER, url, question, end)
            if answer.certificates:
                return answer.certificates[0]
        return b""

    def _end(self, times: int) -> float:
        """The deadline of a part of the check, by the event loop's clock."""
        return asyncio.get_running_loop().time() + times * self._timeout

    async def _with_answers(self, links: list[Link], now: float) -> tuple[Link, ...]:
        """Add the answers of their addresses to the links; the last link has no issuer here and gets none."""
        private = self._private or self._stores.is_private(links[-1].der)
        questions = [Question(chain_link, issuer, private, now) for chain_link, issuer in pairwise(links)]
        if not links[-1].self_issued and not any(store.holds_root for store in self._stores.holding(links[-1].der)):
            questions.append(Question(links[-1], None, private, now))  # its issuer is not known
        end = self._end(_WHOLE)
        answers = await asyncio.gather(*(self._answers(question, end) for question in questions))
        answered = [replace(question.link, answers=answer) for question, answer in zip(questions, answers, strict=True)]
        return (*answered, *links[len(answered) :])

    async def _answers(self, question: Question, end: float) -> tuple[UrlResult, ...]:
        chain_link = question.link
        asks = [
            *((Kind.CRL, url) for url in chain_link.published.crl),
            *((Kind.OCSP, url) for url in chain_link.published.ocsp),
            *((Kind.ISSUER, url) for url in chain_link.issuers),
        ]
        if self._asker is None:
            return tuple(UrlResult(kind, url, UrlStatus.SKIPPED, "nothing was to be fetched") for kind, url in asks)
        return tuple(await asyncio.gather(*(self._asker.ask(kind, url, question, end) for kind, url in asks)))


def _key_facts(key: KeyFile | None, leaf: bytes) -> KeyFacts | None:
    if key is None:
        return None
    fits = public_key(parse(leaf)) == key.public
    return KeyFacts(key.path, key.mode, "" if fits else "it does not belong to any certificate of the file")
