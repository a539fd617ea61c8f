"""Build the path from a certificate to its root, trusted or not, so that it can be shown.

Used by `pki.certificates.published` and `analysis.checks.chain`. Whether a path is trusted is `net.chain`'s word.
Nothing is fetched.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.x509.oid import AuthorityInformationAccessOID

from gatepost.net.certificate import MALFORMED, parse, quietly
from gatepost.net.certificate import is_authority as says_authority
from gatepost.net.chain import weak_signature

MAX_PATH: Final = 10
_MAX_PLACES: Final = 4


def climb(start: bytes, pool: Iterable[bytes], now: float) -> list[bytes]:
    """The path from a certificate upwards, itself included, as far as `pool` goes; at most ten certificates.

    Of several issuers one that is valid at `now` is taken, among these the one that is valid longest.
    """
    with quietly():
        known = [(der, parse(der)) for der in dict.fromkeys(pool)]
        path, top = [start], parse(start)
        while len(path) < MAX_PATH and not self_issued(top):
            above = [(der, certificate) for der, certificate in known if der not in path and issued(top, certificate)]
            if not above:
                break
            der, top = max(above, key=lambda candidate: _preference(candidate[1], now))
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
    """Verify a signature with MD5 or SHA-1, as many old roots have and the library refuses. Raises InvalidSignature."""
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


def is_authority(certificate: x509.Certificate) -> bool:
    """Whether basicConstraints say that it may issue others; not if they cannot be read."""
    with suppress(*MALFORMED):
        return says_authority(certificate)
    return False


def issuer_places(certificate: x509.Certificate) -> tuple[str, ...]:
    """The addresses of its issuer's certificate that a certificate names: http and https, at most four."""
    with quietly(), suppress(x509.ExtensionNotFound, *MALFORMED):
        places = certificate.extensions.get_extension_for_class(x509.AuthorityInformationAccess).value
        urls = [
            place.access_location.value
            for place in places
            if place.access_method == AuthorityInformationAccessOID.CA_ISSUERS
            and isinstance(place.access_location, x509.UniformResourceIdentifier)
        ]
        return tuple(text for text in urls if text.lower().startswith(("http://", "https://")))[:_MAX_PLACES]
    return ()
