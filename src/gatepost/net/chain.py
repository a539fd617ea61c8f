"""Validate a presented chain: path building and every reason against it, after the handshake and apart from it.

OpenSSL's verifier builds and checks the path (RFC 5280); what its binding cannot be asked for is checked here: purpose,
key sizes, SHA-1, who may issue. Names are `protocols.tls.names`' question, what follows from the answer is `policy`'s.
Reasons for this split are in docs/decisions.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from typing import TYPE_CHECKING, Final, Literal

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID
from OpenSSL import crypto

from gatepost.net.certificate import (
    MALFORMED,
    MAX_CERTIFICATE_BYTES,
    CertificateError,
    certificate_facts,
    has_slow_key,
    is_authority,
    issuer_text,
    key_kind,
    parse,
    quietly,
    subject_text,
)
from gatepost.net.openssl_private import clear_errors
from gatepost.protocols.tls.facts import CertificateFacts, ChainStatus, ChainVerdict
from gatepost.times import second_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gatepost.net.anchors import TrustAnchors


type Purpose = Literal["server", "client", "mail", "authority"]

# X509_V_ERR_*, openssl/x509_vfy.h. What is not listed is INVALID with OpenSSL's own words.
_NO_ISSUER: Final = frozenset({2, 20, 21})
_STATUS: Final = {
    9: ChainStatus.NOT_YET_VALID,
    10: ChainStatus.EXPIRED,
    18: ChainStatus.SELF_SIGNED,
    19: ChainStatus.UNTRUSTED_ROOT,
    23: ChainStatus.REVOKED,
    26: ChainStatus.WRONG_PURPOSE,
    66: ChainStatus.WEAK_KEY,
    67: ChainStatus.WEAK_KEY,
    68: ChainStatus.WEAK_SIGNATURE,
}
_WEAK_HASHES: Final = frozenset({"md5", "sha1"})
_MIN_RSA_BITS: Final = 2048
_STRONG_KEYS: Final = frozenset(
    {"EC-P-256", "EC-P-384", "EC-P-521", "Ed25519", "Ed448", "ML-DSA-44", "ML-DSA-65", "ML-DSA-87"}
)
# A client may show a server's certificate: public authorities stop issuing clientAuth (exchange.md section 2.2).
_USAGES: Final = {
    "server": frozenset({ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE}),
    "client": frozenset(
        {
            ExtendedKeyUsageOID.CLIENT_AUTH,
            ExtendedKeyUsageOID.SERVER_AUTH,
            ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE,
        }
    ),
    "mail": frozenset({ExtendedKeyUsageOID.EMAIL_PROTECTION, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE}),
}
_USAGES["authority"] = _USAGES["server"]
_PURPOSES: Final = {
    "server": "a TLS server",
    "client": "a TLS client",
    "mail": "mail",
    "authority": "an authority of TLS servers",
}
_CACHE_SECONDS: Final = 3600.0
_CACHE_BYTES: Final = 8 * 1024 * 1024


class _Cache:
    """Verdicts by chain and anchors, for as long as no certificate begins or ends to be valid; bounded in bytes."""

    __slots__ = ("_bytes", "_entries")

    def __init__(self) -> None:
        self._bytes = 0
        self._entries: OrderedDict[bytes, tuple[ChainVerdict, float, float, int]] = OrderedDict()

    def find(self, key: bytes, now: float) -> ChainVerdict | None:
        entry = self._entries.get(key)
        if entry is None or not entry[1] <= now < entry[2]:
            return None
        self._entries.move_to_end(key)
        return entry[0]

    def keep(self, key: bytes, verdict: ChainVerdict, window: tuple[float, float], size: int) -> None:
        before = self._entries.pop(key, None)
        self._bytes += size - (before[3] if before else 0)
        self._entries[key] = (verdict, *window, size)
        while self._bytes > _CACHE_BYTES:
            self._bytes -= self._entries.popitem(last=False)[1][3]


_cache = _Cache()


def judge(
    chain_der: Sequence[bytes],
    anchors: TrustAnchors,
    *,
    now: float,
    purpose: Purpose,
    max_chain: int = 10,
    max_certificate_bytes: int = MAX_CERTIFICATE_BYTES,
) -> ChainVerdict:
    """Judge the certificates that a peer presented, leaf first, at `now` (seconds since 1970 UTC). Never raises.

    purpose: what the peer is. "server" wants extended key usage serverAuth or none, "client" clientAuth, serverAuth or
    none, "mail" emailProtection or none. "authority" is an intermediate by itself, which no peer presents: as "server",
    but it may issue. Keys below RSA 2048 or P-256 and SHA-1 signatures (but on the anchor) are refused. Certificates
    beyond the limits make the chain INVALID, unread. The answer is cached for up to an hour.
    """
    if not chain_der:
        return ChainVerdict(ChainStatus.NO_CERTIFICATE, "no certificate was presented", None)
    if len(chain_der) > max_chain or max(map(len, chain_der)) > max_certificate_bytes:
        limits = f"at most {max_chain} certificates of {max_certificate_bytes} bytes are accepted"
        return ChainVerdict(ChainStatus.INVALID, f"{len(chain_der)} certificates were presented, {limits}", None)
    key = _cache_key(chain_der, anchors, purpose)
    verdict = _cache.find(key, now)
    if verdict is None:
        with quietly():
            verdict, moments = _judge(chain_der, anchors, now, purpose)
        _cache.keep(key, verdict, _window(moments, now), _size(chain_der, verdict))
    return verdict


def _size(chain_der: Sequence[bytes], verdict: ChainVerdict) -> int:
    return 2048 + 2 * sum(map(len, chain_der)) + sum(map(len, verdict.path))


def _cache_key(chain_der: Sequence[bytes], anchors: TrustAnchors, purpose: Purpose) -> bytes:
    digest = hashlib.sha256(f"{anchors.identity} {purpose}".encode())
    for der in chain_der:
        digest.update(hashlib.sha256(der).digest())
    return digest.digest()


def _window(moments: Sequence[float], now: float) -> tuple[float, float]:
    begin = max((moment for moment in moments if moment <= now), default=0.0)
    end = min((moment for moment in moments if moment > now), default=now + _CACHE_SECONDS)
    return max(begin, now - _CACHE_SECONDS), min(end, now + _CACHE_SECONDS)


def _judge(
    chain_der: Sequence[bytes], anchors: TrustAnchors, now: float, purpose: Purpose
) -> tuple[ChainVerdict, list[float]]:
    """The verdict, and the moments at which it may change."""
    leaf: CertificateFacts | None = None
    try:
        leaf = certificate_facts(chain_der[0])
        presented = [parse(der) for der in chain_der]
        if (slow := next(filter(has_slow_key, presented), None)) is not None:
            detail = f"{subject_text(slow)} has an RSA key with an exponent of more than 256 bits"
            return ChainVerdict(ChainStatus.WEAK_KEY, detail, leaf), _moments(presented)
        try:
            path = _build(chain_der, anchors, now)
        except crypto.X509StoreContextError as failure:
            status, detail = _explain(failure, {each.subject.public_bytes() for each in presented}, anchors)
            return ChainVerdict(status, detail, leaf), _moments(presented)
        anchor = subject_text(path[-1])
        objection = _object(path, purpose)
        status, detail = objection or (ChainStatus.TRUSTED, f"the chain leads to the trust anchor {anchor}")
        trusted = () if objection else tuple(each.public_bytes(Encoding.DER) for each in path)
        return ChainVerdict(status, detail, leaf, anchor, trusted), _moments([*presented, *path])
    except MALFORMED as failure:
        return ChainVerdict(ChainStatus.INVALID, f"a certificate cannot be read: {failure}"[:500], leaf), []
    except crypto.Error:  # a certificate that OpenSSL took, but cannot give back: of a key that it does not know
        clear_errors()
        return ChainVerdict(ChainStatus.INVALID, "a certificate cannot be read: OpenSSL has no use for it", leaf), []


def _moments(certificates: Sequence[x509.Certificate]) -> list[float]:
    ends = [certificate.not_valid_after_utc.timestamp() for certificate in certificates]
    return ends + [certificate.not_valid_before_utc.timestamp() for certificate in certificates]


def _build(chain_der: Sequence[bytes], anchors: TrustAnchors, now: float) -> list[x509.Certificate]:
    """The path from the leaf to an anchor, both included. Raises X509StoreContextError, CertificateError."""
    try:
        certificates = [crypto.load_certificate(crypto.FILETYPE_ASN1, der) for der in chain_der]
    except crypto.Error as failure:
        raise CertificateError("OpenSSL cannot read it") from failure
    finally:
        clear_errors()
    try:
        path = crypto.X509StoreContext(anchors.store(now), certificates[0], certificates[1:]).get_verified_chain()
    finally:
        clear_errors()  # the verifier leaves its complaints where the next TLS read would find them
    # OpenSSL goes on beyond an anchor that is no root, as far as it can; what lies there has no part in the trust.
    verified = [certificate.to_cryptography() for certificate in path]
    reached = (number for number, each in enumerate(verified, 1) if each.public_bytes(Encoding.DER) in anchors)
    return verified[: next(reached, len(verified))]


def _explain(failure: crypto.X509StoreContextError, sent: set[bytes], anchors: TrustAnchors) -> tuple[ChainStatus, str]:
    """OpenSSL's refusal as a status and one sentence that names the certificate at fault. sent: subjects, DER."""
    code, depth, words = failure.errors
    certificate = failure.certificate.to_cryptography()
    subject, issuer = subject_text(certificate), issuer_text(certificate)
    status = _STATUS.get(code, ChainStatus.INVALID)
    if code in _NO_ISSUER:
        name = certificate.issuer.public_bytes()
        if name in sent:
            detail = f"{subject} was not issued by the certificate of {issuer} that was sent with it, or is malformed"
        elif name in anchors.subjects:
            status = ChainStatus.UNTRUSTED_ROOT
            detail = f"{subject} was not issued by the trust anchor of the name {issuer}, which has another key"
        elif depth == 0:
            status = ChainStatus.INCOMPLETE
            detail = f"{subject} is issued by {issuer}, which was not sent and is not a trust anchor"
        else:
            # A root need not be sent: most such chains are whole, and what is missing is the anchor.
            status = ChainStatus.UNTRUSTED_ROOT
            detail = f"the chain ends at {subject}, whose issuer {issuer} is not a trust anchor and was not sent"
    elif status is ChainStatus.SELF_SIGNED:
        detail = f"{subject} is self-signed and no trust anchor"
    elif status is ChainStatus.UNTRUSTED_ROOT:
        detail = f"the chain ends at the root {subject}, which is not a trust anchor"
    elif status is ChainStatus.EXPIRED:
        detail = f"{subject} expired on {second_text(certificate.not_valid_after_utc.timestamp())}"
    elif status is ChainStatus.NOT_YET_VALID:
        detail = f"{subject} is valid from {second_text(certificate.not_valid_before_utc.timestamp())}"
    else:
        detail = f"{subject}: {words}"
    return status, detail


def _object(path: Sequence[x509.Certificate], purpose: Purpose) -> tuple[ChainStatus, str] | None:
    """The fault of a path that OpenSSL has accepted, None without one."""
    for certificate in path:
        if not strong_key(kind := key_kind(certificate)):
            return (
                ChainStatus.WEAK_KEY,
                f"{subject_text(certificate)} has the key {kind}, RSA-2048 or P-256 is the least",
            )
    for certificate in path[:-1]:
        if weakness := weak_signature(certificate):
            return ChainStatus.WEAK_SIGNATURE, f"{subject_text(certificate)} is signed with {weakness}"
    for certificate in path:
        usages = extended_usages(certificate)
        if usages is not None and not usages & _USAGES[purpose]:
            return ChainStatus.WRONG_PURPOSE, f"{subject_text(certificate)} is not for {_PURPOSES[purpose]}"
    return _misplaced(path, purpose)


def _misplaced(path: Sequence[x509.Certificate], purpose: Purpose) -> tuple[ChainStatus, str] | None:
    """An authority in the place of a peer, or something else in the place of an authority (RFC 5280 section 4.2.1.9).

    OpenSSL's verifier takes both, and refuses them only together with roots that are in use (decision 0046). A leaf
    that is an anchor itself is trusted as it stands: who makes a self-signed one with `openssl req` gets an authority.
    """
    leaf, *issuers = path
    if issuers and purpose != "authority" and is_authority(leaf):
        detail = f"{subject_text(leaf)} is the certificate of an authority, not of {_PURPOSES[purpose]}"
        return ChainStatus.WRONG_PURPOSE, detail
    for issuer in issuers:
        if not is_authority(issuer):
            why = "it is of version 1" if issuer.version is x509.Version.v1 else "its basic constraints do not say so"
            return ChainStatus.INVALID, f"{subject_text(issuer)} may issue no certificates: {why}"
        if not _may_sign(issuer):
            return (
                ChainStatus.INVALID,
                f"{subject_text(issuer)} may issue no certificates: its key usage leaves them out",
            )
    return None


def _may_sign(certificate: x509.Certificate) -> bool:
    try:
        return certificate.extensions.get_extension_for_class(x509.KeyUsage).value.key_cert_sign
    except x509.ExtensionNotFound:
        return True


def strong_key(kind: str) -> bool:
    """Whether a key of this kind (as `certificate.key_kind` names it) is taken: RSA 2048 or P-256 is the least."""
    family, _, size = kind.rpartition("-")
    return int(size) >= _MIN_RSA_BITS if family in {"RSA", "RSA-PSS"} else kind in _STRONG_KEYS


def weak_signature(certificate: x509.Certificate) -> str:
    """The name of a hash that no longer proves anything, "" if the signature is sound."""
    used = certificate.signature_hash_algorithm
    return used.name.upper() if used is not None and used.name in _WEAK_HASHES else ""


def extended_usages(certificate: x509.Certificate) -> frozenset[x509.ObjectIdentifier] | None:
    """The purposes a certificate is limited to, None if it is not. Raises what MALFORMED lists."""
    try:
        return frozenset(certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value)
    except x509.ExtensionNotFound:
        return None
