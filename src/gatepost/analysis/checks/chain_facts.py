"""The facts of a certificate and its surroundings, before any judgement. Pure values.

`analysis.checks.chain` gathers them, `analysis.checks.chain_path` reads the certificates,
`analysis.checks.chain_stages` judges.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

import msgspec

from gatepost.values import RedactedStruct

if TYPE_CHECKING:
    from gatepost.analysis.checks.chain_file import CertificateFile
    from gatepost.net.revocation import RevocationUrls
    from gatepost.protocols.tls.facts import CertificateFacts, ChainVerdict


class From(StrEnum):
    """The origin of a certificate of a path."""

    FILE = "file"
    FETCHED = "fetched"  # from the address that the certificate below it names
    STORE = "store"


class Kind(StrEnum):
    """The kind of an address in a certificate."""

    CRL = "crl"
    OCSP = "ocsp"
    ISSUER = "issuer"  # caIssuers of AIA (RFC 5280 section 4.2.2.1)


class UrlStatus(StrEnum):
    """The result of a request to an address."""

    GOOD = "good"  # and, for CRL and OCSP: not revoked
    REVOKED = "revoked"
    WRONG = "wrong"  # it answered, and the answer is of no use to anybody
    UNREACHABLE = "unreachable"  # from here, now
    FORBIDDEN = "forbidden"  # an address within a private network, which was not called
    SKIPPED = "skipped"  # nothing was to be fetched


class UrlResult(RedactedStruct, frozen=True):
    """One address and what it gave. status: HTTP's, 0 if it did not answer. size: octets.

    seconds: until the whole answer was there. since, until: thisUpdate and nextUpdate, seconds since 1970; 0 if not
    known. detail: why it is of no use, or since when and why the certificate is revoked. certificates: what an ISSUER
    address gave, DER.
    """

    REDACTED = ("certificates",)

    kind: Kind
    url: str
    result: UrlStatus
    detail: str = ""
    seconds: float = 0.0
    size: int = 0
    since: float = 0.0
    until: float = 0.0
    status: int = 0
    certificates: tuple[bytes, ...] = ()


class Link(RedactedStruct, frozen=True):
    """One certificate of the path, leaf first.

    place: where it was found. weak: the hash of its signature if that proves nothing any more, else "". signature: that
    hash, "" if the algorithm has none. usages: extended key usages by name, None if it is not limited. authority:
    basicConstraints cA. must_staple: it asks for OCSP stapling (RFC 7633). published, issuers: addresses that it names.
    answers: their results.
    """

    REDACTED = ("der",)

    der: bytes
    facts: CertificateFacts
    place: From
    self_issued: bool
    authority: bool
    signature: str
    weak: str
    usages: frozenset[str] | None
    must_staple: bool
    published: RevocationUrls
    issuers: tuple[str, ...]
    answers: tuple[UrlResult, ...] = ()


class KeyFacts(msgspec.Struct, frozen=True):
    """The private key's file. mode: permission bits. problem: why it is not the certificate's key, "" if it is."""

    path: str
    mode: int
    problem: str = ""


class Store(msgspec.Struct, frozen=True):
    """A set of roots. name: for sentences. missing: why it cannot be looked into, "" if it can.

    holds_root: the root that the path ends at is in it, by SHA-256. size: certificates.
    """

    name: str
    holds_root: bool = False
    size: int = 0
    missing: str = ""


class ChainFacts(msgspec.Struct, frozen=True):
    """All of it. now: seconds since 1970 UTC.

    leaf: place of the leaf in the file. verdict: on what is in the file, as a peer would get it. completed: the same
    with what was fetched, None if nothing was. path: leaf to root, as far as it could be built. anchors: name of the
    store that the verdict was given by. names: that the certificate is to have. staple: an OCSP response is wanted.
    offline: nothing was to be fetched.
    """

    file: CertificateFile
    leaf: int
    verdict: ChainVerdict
    path: tuple[Link, ...]
    stores: tuple[Store, ...]
    anchors: str
    now: float
    completed: ChainVerdict | None = None
    key: KeyFacts | None = None
    names: tuple[str, ...] = ()
    staple: bool = False
    offline: bool = False

    @property
    def judged(self) -> ChainVerdict:
        """The best verdict there is: with what was fetched, if anything was."""
        return self.completed or self.verdict
