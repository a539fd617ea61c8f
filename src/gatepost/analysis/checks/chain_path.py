"""Order the certificates of a file: which is the leaf, and what each says of itself.

Used by `analysis.checks.chain`. The path is put together by `net.path`. Nothing is fetched.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID

from gatepost.analysis.checks.chain_facts import From, Link
from gatepost.net.certificate import MALFORMED, certificate_facts, must_staple, parse, quietly
from gatepost.net.chain import extended_usages, weak_signature
from gatepost.net.path import is_authority, issued, issuer_places, self_issued
from gatepost.net.revocation import published

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cryptography import x509


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
