"""Reading a file's certificates as a path: which is the leaf, who issued whom, what each says of itself.

Used by `checks.chain`. Whether the path is trusted is `net.chain`'s word; here it is put together also where it is not,
so that there is something to show. Nothing is fetched.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import AuthorityInformationAccessOID, ExtendedKeyUsageOID

from gatepost.checks.chain_facts import From, Link
from gatepost.net.certificate import MALFORMED, certificate_facts, parse, quietly
from gatepost.net.chain import extended_usages, weak_signature
from gatepost.net.revocation import published

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["MAX_PATH", "choose_leaf", "climb", "issued", "issuer_places", "link", "public_key", "self_issued"]

MAX_PATH: Final = 10
_MAX_PLACES: Final = 4
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
            if not _authority(certificate) and not self_issued(certificate):
                return place
        for place, certificate in enumerate(read):
            if not any(other is not certificate and issued(other, certificate) for other in read):
                return place
    return 0


def climb(start: bytes, pool: Iterable[bytes], now: float) -> list[bytes]:
    """The path from a certificate upwards, itself included, as far as `pool` goes; at most ten certificates.

    Of several issuers one that is valid at `now` is taken, among these the one that is valid longest.
    """
    with quietly():
        known = [(der, parse(der)) for der in dict.fromkeys(pool)]
        path, top = [start], parse(start)
        while len(path) < MAX_PATH and not self_issued(top):
            above = [(der, one) for der, one in known if der not in path and issued(top, one)]
            if not above:
                break
            der, top = max(above, key=lambda found: _preference(found[1], now))
            path.append(der)
    return path


def _preference(certificate: x509.Certificate, now: float) -> tuple[bool, float]:
    begin, end = certificate.not_valid_before_utc.timestamp(), certificate.not_valid_after_utc.timestamp()
    return begin <= now <= end, end


def issued(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    """Whether `issuer` signed `certificate`, by whatever means: also by one that proves nothing any more."""
    try:
        if certificate.issuer != issuer.subject:
            return False
        if weak_signature(certificate):
            _verify_weak(certificate, issuer.public_key())
        else:
            certificate.verify_directly_issued_by(issuer)
    except (InvalidSignature, *MALFORMED):
        return False
    return True


def _verify_weak(certificate: x509.Certificate, key: object) -> None:
    """What the library does not do for MD5 and SHA-1: many an old root is signed so. Raises InvalidSignature."""
    used, signed = certificate.signature_hash_algorithm, certificate.tbs_certificate_bytes
    assert used is not None  # noqa: S101 - it is weak
    if isinstance(key, rsa.RSAPublicKey):
        key.verify(certificate.signature, signed, padding.PKCS1v15(), used)
    elif isinstance(key, ec.EllipticCurvePublicKey):
        key.verify(certificate.signature, signed, ec.ECDSA(used))
    else:
        raise InvalidSignature


def self_issued(certificate: x509.Certificate) -> bool:
    """Whether it names itself as its issuer."""
    try:
        return certificate.issuer == certificate.subject
    except MALFORMED:
        return False


def public_key(certificate: x509.Certificate) -> bytes:
    """The public key as the library writes it, DER, to be compared with another one of it; b"" if it cannot be read."""
    try:
        return certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    except MALFORMED:
        return b""


def link(der: bytes, place: From) -> Link:
    """What a certificate says of itself. Raises CertificateError."""
    certificate = parse(der)
    with quietly():
        return Link(
            der,
            certificate_facts(der),
            place,
            self_issued=self_issued(certificate),
            authority=_authority(certificate),
            signature=_hash(certificate),
            weak=_weak(certificate),
            usages=_usages(certificate),
            must_staple=_must_staple(certificate),
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


def _authority(certificate: x509.Certificate) -> bool:
    with suppress(x509.ExtensionNotFound, *MALFORMED):
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    return False


def _usages(certificate: x509.Certificate) -> frozenset[str] | None:
    try:
        found = extended_usages(certificate)
    except MALFORMED:
        return frozenset()
    return None if found is None else frozenset(_USAGES.get(one, one.dotted_string) for one in found)


def _must_staple(certificate: x509.Certificate) -> bool:
    with suppress(x509.ExtensionNotFound, *MALFORMED):
        return (
            x509.TLSFeatureType.status_request in certificate.extensions.get_extension_for_class(x509.TLSFeature).value
        )
    return False


def issuer_places(certificate: x509.Certificate) -> tuple[str, ...]:
    """Where a certificate says that its issuer's is to be had: http and https, at most four."""
    with quietly(), suppress(x509.ExtensionNotFound, *MALFORMED):
        places = certificate.extensions.get_extension_for_class(x509.AuthorityInformationAccess).value
        found = [
            place.access_location.value
            for place in places
            if place.access_method == AuthorityInformationAccessOID.CA_ISSUERS
            and isinstance(place.access_location, x509.UniformResourceIdentifier)
        ]
        return tuple(one for one in found if one.lower().startswith(("http://", "https://")))[:_MAX_PLACES]
    return ()
