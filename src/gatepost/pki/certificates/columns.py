"""The published columns of a certificate: those of Microsoft's tables and chain document, read from its DER.

Used by `pki.certificates.published`. Pure: bytes in, values out (exchange.md sections 1 and 9.2). What cannot be read
is left empty, as in `net.certificate`.
"""

from __future__ import annotations

import base64
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from cryptography import x509
from cryptography.x509.oid import NameOID, PublicKeyAlgorithmOID, SignatureAlgorithmOID

from gatepost.net.certificate import MALFORMED, certificate_facts, parse, quietly
from gatepost.net.path import issuer_places, self_issued
from gatepost.net.revocation import published

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gatepost.protocols.tls.facts import CertificateFacts


_READ: Final = 512  # certificates that are read only once, some kilobytes each
_ALGORITHMS: Final[Mapping[x509.ObjectIdentifier, str]] = {
    oid: name for name, oid in vars(SignatureAlgorithmOID).items() if isinstance(oid, x509.ObjectIdentifier)
}
_EDWARDS: Final = {PublicKeyAlgorithmOID.ED25519: 256, PublicKeyAlgorithmOID.ED448: 448}
_FAMILIES: Final = {
    "RSA_WITH": "RSA with",
    "_RSA_WITH": "RSA with",
    "RSASSA_PSS": "RSA-PSS with",
    "ECDSA_WITH": "ECDSA with",
    "DSA_WITH": "DSA with",
}


@dataclass(frozen=True, slots=True)
class Columns:
    """One certificate. facts: what `net.certificate` reads of it, thumbprints included.

    self_issued: it names itself as its issuer, as roots do. organization, organization_unit: of the subject, several
    joined by ", ", "" for none. bits: length of the key, 0 if its kind has none. signature: "RSA with SHA-256". ski,
    aki: key identifiers of subject and authority, lower-case hexadecimal, "" for none. crl, ocsp, issuers: http
    (issuers: also https) addresses that it names.
    """

    facts: CertificateFacts
    self_issued: bool
    organization: str
    organization_unit: str
    bits: int
    signature: str
    ski: str
    aki: str
    crl: tuple[str, ...]
    ocsp: tuple[str, ...]
    issuers: tuple[str, ...]
    der: bytes = field(repr=False)

    @property
    def name(self) -> str:
        """The short name of a certificate: its CN, else its first name or address, else its subject."""
        facts = self.facts
        return facts.common_name or next(iter((*facts.dns_names, *facts.ip_addresses)), "") or facts.subject

    @property
    def names(self) -> tuple[str, ...]:
        """All of subjectAltName that a client looks at."""
        return (*self.facts.dns_names, *self.facts.ip_addresses)

    @property
    def serial(self) -> str:
        """As OpenSSL and Windows print it: whole octets, upper case."""
        digits = self.facts.serial.upper()
        return digits if len(digits) % 2 == 0 else f"0{digits}"

    @property
    def pin(self) -> str:
        """SHA-256 of the SubjectPublicKeyInfo in base64 (RFC 7469 section 2.4)."""
        return base64.b64encode(bytes.fromhex(self.facts.spki_sha256)).decode("ascii")

    @property
    def key_text(self) -> str:
        """Kind and strength: "RSA, 2048 bits", "EC P-256, 256 bits", "Ed25519, 256 bits"."""
        family, _, rest = self.facts.key.partition("-")
        kind = {"RSA": "RSA-PSS" if rest.startswith("PSS") else "RSA", "EC": f"EC {rest}"}.get(family, self.facts.key)
        return f"{kind}, {self.bits} bits" if self.bits else kind


@lru_cache(maxsize=_READ)
def columns(der: bytes) -> Columns:
    """Read a certificate. Raises CertificateError if it is none."""
    certificate = parse(der)
    with quietly():
        places = published(certificate)
        return Columns(
            facts=certificate_facts(der),
            self_issued=self_issued(certificate),
            organization=_attribute(certificate, NameOID.ORGANIZATION_NAME),
            organization_unit=_attribute(certificate, NameOID.ORGANIZATIONAL_UNIT_NAME),
            bits=_bits(certificate),
            signature=_signature(certificate),
            ski=_subject_key(certificate),
            aki=_authority_key(certificate),
            crl=tuple(map(_printable, places.crl)),
            ocsp=tuple(map(_printable, places.ocsp)),
            issuers=tuple(map(_printable, issuer_places(certificate))),
            der=der,
        )


def _attribute(certificate: x509.Certificate, kind: x509.ObjectIdentifier) -> str:
    try:
        values = [str(attribute.value) for attribute in certificate.subject.get_attributes_for_oid(kind)]
    except MALFORMED:
        return ""
    return ", ".join(map(_printable, values))


def _printable(text: str) -> str:
    """Without what moves or hides text on a page or a terminal; bounded."""
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text[:1000])


def _bits(certificate: x509.Certificate) -> int:
    if edwards := _EDWARDS.get(certificate.public_key_algorithm_oid):
        return edwards
    with suppress(*MALFORMED):
        return int(getattr(certificate.public_key(), "key_size", 0))
    return 0


def _signature(certificate: x509.Certificate) -> str:
    oid = certificate.signature_algorithm_oid
    name = _ALGORITHMS.get(oid, "")
    family = next((text for start, text in _FAMILIES.items() if name.startswith(start)), "")
    if not family:
        return name.replace("_", "-").replace("ED25519", "Ed25519").replace("ED448", "Ed448") or oid.dotted_string
    with suppress(*MALFORMED):
        if used := certificate.signature_hash_algorithm:
            return f"{family} {_hash_name(used.name)}"
    return oid.dotted_string


def _hash_name(name: str) -> str:
    """The digest's usual name: SHA-256 for "sha256", SHA3-256 for "sha3-256"."""
    return name.upper() if "-" in name else name.upper().replace("SHA", "SHA-")


def _subject_key(certificate: x509.Certificate) -> str:
    with suppress(x509.ExtensionNotFound, *MALFORMED):
        return certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest.hex()
    return ""


def _authority_key(certificate: x509.Certificate) -> str:
    with suppress(x509.ExtensionNotFound, *MALFORMED):
        identifier = certificate.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier
        return identifier.hex() if identifier else ""
    return ""
