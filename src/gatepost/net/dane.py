"""Match a presented chain with TLSA records: X.509 of RFC 7672 section 3; `protocols.dane.match` has the rules.

To be called where a handshake has ended and its facts are gathered. A path to a trust anchor of the DNS is built by the
same code as one to any other (`net.chain`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import lru_cache, partial
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from gatepost.net import chain
from gatepost.net.anchors import AnchorsError, TrustAnchors
from gatepost.net.certificate import MALFORMED, CertificateError, parse, quietly, spki_der
from gatepost.protocols.dane.match import Anchored, DaneFailure, DaneVerdict, Presented, Refusal, authenticate
from gatepost.protocols.dane.tlsa import Records, Selector, Tlsa
from gatepost.protocols.tls.facts import CertificateFacts, ChainStatus
from gatepost.protocols.tls.names import describe_names, matches, normalise

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FAR = datetime(9999, 12, 31, tzinfo=UTC)


def judge(records: Records, chain_der: Sequence[bytes], *, names: Sequence[str], now: float) -> DaneVerdict:
    """Whether what a server presented, DER and leaf first, satisfies one of its TLSA records. Never raises.

    names: the reference identifiers, as `protocols.dane.tlsa.TlsaLookup.names` has them; they count for DANE-TA
    records only. now: seconds since 1970 UTC.
    """
    presented = [Presented(der, spki_der(der)) for der in chain_der]
    return authenticate(records, presented, partial(_anchored, chain_der, names, now))


def unreadable(record: Tlsa) -> str:
    """The reason why the certificate or key in a record of matching type FULL cannot be read, "" if it can."""
    try:
        if record.selector is Selector.CERT:
            parse(record.data)
        else:
            with quietly():
                serialization.load_der_public_key(record.data)
    except CertificateError as failure:
        return f"its data cannot be used: {failure}"
    except MALFORMED as failure:
        return f"its data is no public key that can be read: {failure}"
    return ""


def _anchored(
    chain_der: Sequence[bytes], names: Sequence[str], now: float, record: Tlsa, anchors: Sequence[bytes]
) -> Anchored | Refusal:
    """Build a path to what a DANE-TA record names, and compare names (RFC 7672 sections 3.1.2 and 3.2)."""
    try:
        trusted = TrustAnchors(anchors or _stand_ins(record, chain_der), f"TLSA {record}")
    except (AnchorsError, *MALFORMED) as failure:
        return Refusal(record, DaneFailure.TLSA_INVALID, f"what it names cannot be a trust anchor: {failure}")
    verdict = chain.judge(chain_der, trusted, now=now, purpose="server")
    if not verdict.trusted or verdict.leaf is None:
        expired = verdict.status is ChainStatus.EXPIRED
        failure_kind = DaneFailure.CERTIFICATE_EXPIRED if expired else DaneFailure.TLSA_INVALID
        return Refusal(record, failure_kind, verdict.detail)
    return _named(record, verdict.leaf, names)


def _named(record: Tlsa, leaf: CertificateFacts, names: Sequence[str]) -> Anchored | Refusal:
    # The subject's CN is a name only where the certificate has no other (RFC 7672 section 3.2.3, RFC 6125).
    common_name = not leaf.dns_names
    for name in names:
        if not normalise(name).startswith("*") and matches(name, leaf, common_name=common_name):
            return Anchored(f"the certificate for {name} leads to the trust anchor of the TLSA record {record}")
    wanted = " or ".join(names) or "any name that is known"
    why = f"the certificate is for {describe_names(leaf)}, not for {wanted}"
    return Refusal(record, DaneFailure.CERTIFICATE_HOST_MISMATCH, why)


def _stand_ins(record: Tlsa, chain_der: Sequence[bytes]) -> tuple[bytes, ...]:
    """Certificates for the bare key of a record "2 1 0", one for each issuer's name in the chain that has none above.

    The key is the trust anchor, whatever it is called (RFC 7671 section 5.2.3). OpenSSL takes certificates only, and
    does not check the signature of an anchor. A server that has signed its certificate with the key has shown in the
    handshake that it holds it.
    """
    with quietly():
        certificates = [parse(der) for der in chain_der]
        if certificates[0].issuer == certificates[0].subject and spki_der(chain_der[0]) == record.data:
            return (chain_der[0],)
        subjects = {each.subject for each in certificates}
        issuers = {each.issuer for each in certificates if each.issuer not in subjects}
        return tuple(_stand_in(record.data, issuer) for issuer in issuers)


@lru_cache(maxsize=64)
def _stand_in(spki: bytes, subject: x509.Name) -> bytes:
    """Raises ValueError or its like for a key that cannot sign. Remembered, as each signature would be another one."""
    key: Any = serialization.load_der_public_key(spki)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "TLSA record")]))
        .public_key(key)
        .serial_number(int.from_bytes(hashlib.sha256(spki).digest()[:8]) | 1)
        .not_valid_before(_EPOCH)
        .not_valid_after(_FAR)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(_signer(), hashes.SHA256())
    )
    return certificate.public_bytes(serialization.Encoding.DER)


@lru_cache(maxsize=1)
def _signer() -> ec.EllipticCurvePrivateKey:
    """A key that proves nothing, as a certificate must be signed."""
    return ec.generate_private_key(ec.SECP256R1())
