"""Parse certificates from strangers: DER in, `CertificateFacts` out, or one error.

Used by `net.chain` and by whatever shows a certificate. Peers send what they like: every part that cannot be read is
left empty, and only what is not a certificate at all raises.
"""

from __future__ import annotations

import hashlib
import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, mldsa, rsa
from cryptography.hazmat.primitives.hashes import MD5, SHA1, SHA256
from cryptography.x509.oid import NameOID, PublicKeyAlgorithmOID

from gatepost.protocols.tls.facts import CertificateFacts
from gatepost.protocols.tls.names import normalise

MAX_CERTIFICATE_BYTES = 65536
_MAX_NAMES = 1000
_MAX_TEXT = 1000
_EXPONENT_BITS = 256
_VERSION = b"\xa0"
_UP_TO_THE_KEY = b"\x02\x30\x30\x30\x30\x30"  # tags: serial number, signature, issuer, validity, subject, the key
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_CURVES = {"secp256r1": "P-256", "secp384r1": "P-384", "secp521r1": "P-521"}
_OTHER_KEYS: Mapping[type[Any], str] = {
    ed25519.Ed25519PublicKey: "Ed25519",
    ed448.Ed448PublicKey: "Ed448",
    mldsa.MLDSA44PublicKey: "ML-DSA-44",
    mldsa.MLDSA65PublicKey: "ML-DSA-65",
    mldsa.MLDSA87PublicKey: "ML-DSA-87",
}
MALFORMED = (
    ValueError,
    TypeError,
    OverflowError,
    UnsupportedAlgorithm,
    x509.InvalidVersion,
    x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
)
"""Exceptions of `cryptography` for malformed certificates, some of them raised only when a part is read."""


class CertificateError(ValueError):
    """The bytes are no X.509 certificate that can be used."""


@contextmanager
def quietly() -> Iterator[None]:
    """Read on without warnings of serial numbers and the like: what a peer sends is a fact to show, not our mistake."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def parse(der: bytes) -> x509.Certificate:
    """The certificate in `der`. Raises CertificateError; at most 64 KiB are looked at."""
    if len(der) > MAX_CERTIFICATE_BYTES:
        raise CertificateError(f"the certificate is larger than {MAX_CERTIFICATE_BYTES} bytes")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore"
            )  # serial numbers that RFC 5280 forbids: a fact to show, not a reason to warn
            return x509.load_der_x509_certificate(der)
    except MALFORMED as failure:
        raise CertificateError(f"it is not an X.509 certificate: {failure}") from failure


def certificate_facts(der: bytes) -> CertificateFacts:
    """The facts of the certificate in `der`. Raises CertificateError only if it cannot be parsed at all."""
    certificate = parse(der)
    with quietly():
        return _read(certificate, der)


def _read(certificate: x509.Certificate, der: bytes) -> CertificateFacts:
    names, addresses, uris = _alternative_names(certificate)
    return CertificateFacts(
        subject=subject_text(certificate),
        issuer=issuer_text(certificate),
        serial=_text(certificate, lambda it: f"{it.serial_number:x}"),
        common_name=_text(certificate, _common_name),
        dns_names=names,
        ip_addresses=addresses,
        uris=uris,
        sha256=hashlib.sha256(der).hexdigest(),
        sha1=hashlib.sha1(der, usedforsecurity=False).hexdigest(),
        spki_sha256=_spki_sha256(certificate),
        not_before=_not_before(certificate),
        not_after=_not_after(certificate),
        key=key_kind(certificate),
    )


def subject_text(certificate: x509.Certificate) -> str:
    """The subject as RFC 4514 writes it, bounded and without control characters."""
    return _text(certificate, lambda it: it.subject.rfc4514_string())


def issuer_text(certificate: x509.Certificate) -> str:
    """The issuer, in the same form."""
    return _text(certificate, lambda it: it.issuer.rfc4514_string())


def must_staple(certificate: x509.Certificate) -> bool:
    """Whether it says that a server presents it only with a stapled OCSP response (TLS feature, RFC 7633)."""
    try:
        features = certificate.extensions.get_extension_for_class(x509.TLSFeature).value
    except (x509.ExtensionNotFound, *MALFORMED):
        return False
    return x509.TLSFeatureType.status_request in features


def is_authority(certificate: x509.Certificate) -> bool:
    """Whether its basic constraints say that it may issue others. Raises what MALFORMED lists."""
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        return False


def _text(certificate: x509.Certificate, read: Callable[[x509.Certificate], str]) -> str:
    try:
        text = read(certificate)
    except MALFORMED:
        return ""
    return _UNPRINTABLE.sub("\N{REPLACEMENT CHARACTER}", text[:_MAX_TEXT])


def _not_before(certificate: x509.Certificate) -> float:
    try:
        return certificate.not_valid_before_utc.timestamp()
    except MALFORMED:
        return 0.0


def _not_after(certificate: x509.Certificate) -> float:
    try:
        return certificate.not_valid_after_utc.timestamp()
    except MALFORMED:
        return 0.0


def _common_name(certificate: x509.Certificate) -> str:
    attributes = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(attributes[-1].value) if attributes and isinstance(attributes[-1].value, str) else ""


def _alternative_names(certificate: x509.Certificate) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
    """The dNSName entries that are host names, as A-labels, the iPAddress entries, and the URIs that can be shown."""
    try:
        entries = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        dns_names = entries.get_values_for_type(x509.DNSName)[:_MAX_NAMES]
        addresses = entries.get_values_for_type(x509.IPAddress)[:_MAX_NAMES]
        uris = entries.get_values_for_type(x509.UniformResourceIdentifier)[:_MAX_NAMES]
    except (x509.ExtensionNotFound, *MALFORMED):
        return (), (), ()
    names = (normalise(name) for name in dns_names)
    shown = tuple(_UNPRINTABLE.sub("\N{REPLACEMENT CHARACTER}", uri[:_MAX_TEXT]) for uri in uris)
    return tuple(name for name in names if name), tuple(str(address) for address in addresses), shown


def _spki_sha256(certificate: x509.Certificate) -> str:
    try:
        return hashlib.sha256(_spki(certificate.tbs_certificate_bytes)).hexdigest()
    except MALFORMED:
        return ""


def spki_der(der: bytes) -> bytes:
    """The SubjectPublicKeyInfo of a certificate, octet for octet, b"" if it cannot be found.

    A key that is read and written again may look different (RSASSA-PSS, named curves), and its digest with it. Nothing
    else is read, so that it is found in certificates that `parse` refuses, too. Not in one that is BER on the way to
    the key: OpenSSL takes that, and the key that it shakes hands with must be the one that is found here.
    """
    try:
        return _spki(_elements(_content(der), 1)[0]) if len(der) <= MAX_CERTIFICATE_BYTES else b""
    except ValueError:
        return b""


def _spki(tbs: bytes) -> bytes:
    """The sixth or seventh part of a TBSCertificate (RFC 5280 section 4.1). Raises ValueError."""
    content = _content(tbs)
    tags = _VERSION + _UP_TO_THE_KEY if content.startswith(_VERSION) else _UP_TO_THE_KEY
    elements = _elements(content, len(tags))
    if bytes(element[0] for element in elements) != tags:
        raise ValueError("no TBSCertificate")
    return elements[-1]


def _content(element: bytes) -> bytes:
    """The content of a SEQUENCE. Raises ValueError."""
    if element[:1] != b"\x30":
        raise ValueError("no SEQUENCE")
    start, end = _extent(element, 0)
    return element[start:end]


def _elements(content: bytes, count: int) -> list[bytes]:
    """The first `count` elements, each with its header. Raises ValueError."""
    result, position = [], 0
    for _ in range(count):
        _, end = _extent(content, position)
        result.append(content[position:end])
        position = end
    return result


def _extent(octets: bytes, position: int) -> tuple[int, int]:
    """Begin and end of the content of the DER element at `position` (X.690 section 8.1.3). Raises ValueError."""
    start = position + 2
    if start > len(octets):
        raise ValueError("cut off")
    length = octets[position + 1]
    if length == 0x80:
        raise ValueError("an indefinite length, which is BER")
    if length > 0x80:
        size = length - 0x80
        length = int.from_bytes(octets[start : start + size])
        start += size
    if start + length > len(octets):
        raise ValueError("cut off")
    return start, start + length


def end_point_binding(certificate: x509.Certificate) -> dict[str, bytes]:
    """The channel binding "tls-server-end-point" of a server's certificate (RFC 5929 section 4.1).

    {} where its signature has no hash function of its own (Ed25519, ML-DSA): the RFC defines none then.
    """
    try:
        algorithm = certificate.signature_hash_algorithm
    except UnsupportedAlgorithm:
        algorithm = None
    if algorithm is None:
        return {}
    weak = isinstance(algorithm, MD5 | SHA1)
    return {"tls-server-end-point": certificate.fingerprint(SHA256() if weak else algorithm)}


def key_kind(certificate: x509.Certificate) -> str:
    """The kind of the certificate's key: "RSA-2048", "RSA-PSS-3072", "EC-P-256", "Ed25519", …, "unknown"."""
    try:
        key: object = certificate.public_key()
    except MALFORMED:
        return "unknown"
    if isinstance(key, rsa.RSAPublicKey):
        pss = certificate.public_key_algorithm_oid == PublicKeyAlgorithmOID.RSASSA_PSS
        return f"RSA-{'PSS-' if pss else ''}{key.key_size}"
    if isinstance(key, ec.EllipticCurvePublicKey):
        return f"EC-{_CURVES.get(key.curve.name, key.curve.name)}"
    if isinstance(key, dsa.DSAPublicKey):
        return f"DSA-{key.key_size}"
    return next((name for kind, name in _OTHER_KEYS.items() if isinstance(key, kind)), "unknown")


def has_slow_key(certificate: x509.Certificate) -> bool:
    """Whether to verify what its key signed takes a hundred times as long as usual: RSA with a huge exponent.

    The CA/Browser Forum's baseline requirements (6.1.6) allow 256 bits.
    """
    try:
        key: object = certificate.public_key()
    except MALFORMED:
        return False
    return isinstance(key, rsa.RSAPublicKey) and key.public_numbers().e.bit_length() > _EXPONENT_BITS
