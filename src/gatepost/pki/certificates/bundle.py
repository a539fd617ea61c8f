"""Bundles of authorities for partners' stores: PKCS #7 "certs-only" (RFC 5652 section 5.1), and plain PEM.

Used by `pki.certificates.forms`. Pure. Roots and intermediates together and each alone: a bundle without the
intermediates had to be published again once (exchange.md section 9.3).
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from gatepost.net.certificate import quietly

if TYPE_CHECKING:
    from collections.abc import Sequence


_DIGITS: Final = 16


def bundle_version(certificates: Sequence[bytes]) -> str:
    """Names a set of certificates (DER), whatever their order."""
    digests = sorted(hashlib.sha256(der).digest() for der in certificates)
    return hashlib.sha256(b"".join(digests)).hexdigest()[:_DIGITS]


def p7b(certificates: Sequence[bytes], *, armoured: bool = False) -> bytes:
    """The certificates (DER, at least one) as PKCS #7. armoured: as PEM text, else DER."""
    from cryptography.hazmat.primitives.serialization import pkcs7  # noqa: PLC0415 - it imports all of email

    return pkcs7.serialize_certificates(_read(certificates), Encoding.PEM if armoured else Encoding.DER)


def pem(certificates: Sequence[bytes]) -> bytes:
    """The same one after the other, each with its subject above it."""
    return b"".join(_titled(certificate) for certificate in _read(certificates))


def _titled(certificate: x509.Certificate) -> bytes:
    name = certificate.subject.rfc4514_string()
    title = "".join(text if text.isprintable() else "?" for text in name)
    return f"# {title}\n".encode() + certificate.public_bytes(Encoding.PEM)


def _read(certificates: Sequence[bytes]) -> list[x509.Certificate]:
    with quietly():
        return [x509.load_der_x509_certificate(der) for der in certificates]
