"""The names of CMS: object identifiers of content, ciphers and key management (RFC 5652, 5753, 3565, 5084, 4055).

Used by `pki.smime.encryption` and `pki.smime.decryption`. Values only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from cryptography.hazmat.primitives.hashes import SHA1, SHA224, SHA256, SHA384, SHA512, HashAlgorithm

from gatepost.pki.smime.ber import OCTET_STRING, SEQUENCE, context, read, write

if TYPE_CHECKING:
    from cryptography import x509


BLOCK: Final = 16
"""Octets of a block of AES."""

PIECE: Final = 1 << 20
"""Octets that go through a cipher at a time: so few that other threads have their turn in between."""


def oid(dotted: str) -> bytes:
    """The content of an object identifier."""
    first, second, *rest = map(int, dotted.split("."))
    octets = bytearray((first * 40 + second,))
    for arc in rest:
        groups = [arc & 0x7F]
        while arc := arc >> 7:
            groups.append(0x80 | (arc & 0x7F))
        octets += bytes(reversed(groups))
    return bytes(octets)


DATA: Final = oid("1.2.840.113549.1.7.1")
ENVELOPED: Final = oid("1.2.840.113549.1.7.3")
AUTH_ENVELOPED: Final = oid("1.2.840.113549.1.9.16.1.23")
RSA: Final = oid("1.2.840.113549.1.1.1")
OAEP: Final = oid("1.2.840.113549.1.1.7")
MGF1: Final = oid("1.2.840.113549.1.1.8")
_AES: Final = "2.16.840.1.101.3.4.1"
CBC: Final = {oid(f"{_AES}.{last}"): size for last, size in ((2, 16), (22, 24), (42, 32))}
GCM: Final = {oid(f"{_AES}.{last}"): size for last, size in ((6, 16), (26, 24), (46, 32))}
WRAP: Final = {oid(f"{_AES}.{last}"): size for last, size in ((5, 16), (25, 24), (45, 32))}
HASHES: Final[dict[bytes, type[HashAlgorithm]]] = {
    oid("1.3.14.3.2.26"): SHA1,
    oid("2.16.840.1.101.3.4.2.4"): SHA224,
    oid("2.16.840.1.101.3.4.2.1"): SHA256,
    oid("2.16.840.1.101.3.4.2.2"): SHA384,
    oid("2.16.840.1.101.3.4.2.3"): SHA512,
}
# ECDH by the hash of its key derivation (RFC 5753 section 7.1.4).
ECDH: Final[dict[bytes, type[HashAlgorithm]]] = {
    oid("1.3.133.16.840.63.0.2"): SHA1,
    **{oid(f"1.3.132.1.11.{last}"): kind for last, kind in ((0, SHA224), (1, SHA256), (2, SHA384), (3, SHA512))},
}


def shared_info(wrap: bytes, size: int, material: bytes = b"") -> bytes:
    """ECC-CMS-SharedInfo (RFC 5753 section 7.2). wrap: AlgorithmIdentifier. size: octets of the key that wraps."""
    user = write(context(0), write(OCTET_STRING, material)) if material else b""
    return write(SEQUENCE, wrap, user, write(context(2), write(OCTET_STRING, (size * 8).to_bytes(4))))


def issuer_of(certificate: x509.Certificate) -> bytes:
    """The issuer's name as it stands in the certificate, octet for octet: by it a RecipientInfo names the recipient."""
    tbs = read(certificate.tbs_certificate_bytes)
    return bytes(tbs.part(3 if tbs.parts[0].tag == context(0) else 2, SEQUENCE).raw)
