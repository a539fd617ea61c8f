"""What a handshake proved: the record that policy, trace, report and page all read.

Filled by `net.engine` (the handshake) and `net.chain` (the judgement of the certificates); this file only names the
facts.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

__all__ = ["CertificateFacts", "ChainStatus", "ChainVerdict", "TlsFacts"]


@dataclass(frozen=True, slots=True)
class CertificateFacts:
    """What one X.509 certificate says (RFC 5280), for showing and for matching names.

    dns_names: subjectAltName dNSName entries, lower case A-labels. common_name: the subject's last CN, "" if none.
    sha256, sha1: thumbprints of the DER form, lower-case hexadecimal. spki_sha256: of the SubjectPublicKeyInfo (RFC
    7671 selector 1). not_before, not_after: seconds since 1970 UTC. key: "RSA-2048", "EC-P-256", "Ed25519", ….
    """

    subject: str
    issuer: str
    serial: str
    common_name: str
    dns_names: tuple[str, ...]
    ip_addresses: tuple[str, ...]
    sha256: str
    sha1: str
    spki_sha256: str
    not_before: float
    not_after: float
    key: str


class ChainStatus(StrEnum):
    """Why a presented chain does or does not lead to a trust anchor. Each reason is a value (exchange.md §6, §15)."""

    TRUSTED = "trusted"
    NO_CERTIFICATE = "no-certificate"
    SELF_SIGNED = "self-signed"
    UNTRUSTED_ROOT = "untrusted-root"
    INCOMPLETE = "chain-incomplete"
    EXPIRED = "expired"
    NOT_YET_VALID = "not-yet-valid"
    REVOKED = "revoked"
    REVOCATION_UNKNOWN = "revocation-unknown"
    WRONG_PURPOSE = "wrong-purpose"
    WEAK_KEY = "weak-key"
    WEAK_SIGNATURE = "weak-signature"
    INVALID = "invalid"


@dataclass(frozen=True, slots=True)
class ChainVerdict:
    """The judgement of a presented chain against a set of trust anchors, names left aside.

    detail: one sentence for an administrator (which certificate, which issuer is missing), never sent to a peer.
    leaf: None if no certificate was presented or it cannot be parsed. anchor: subject of the anchor that was reached.
    """

    status: ChainStatus
    detail: str
    leaf: CertificateFacts | None
    anchor: str = ""

    @property
    def trusted(self) -> bool:
        """Whether the chain leads to a trust anchor and nothing speaks against it."""
        return self.status is ChainStatus.TRUSTED


@dataclass(frozen=True, slots=True)
class TlsFacts:
    """What one handshake negotiated and what the peer presented. Trust is not decided here.

    version: "TLSv1.2", "TLSv1.3", …. suite: the IANA name. group: key-exchange group ("X25519MLKEM768", "X25519",
    "P-256", …), "" for static RSA. signature: IANA name of the scheme that the server's certificate signed the
    handshake with ("ecdsa_secp256r1_sha256", …), "" if resumed or not known. server_name: SNI, sent or received, ""
    if none. peer_chain: DER certificates as presented, leaf first, () if none.
    """

    version: str
    suite: str
    group: str
    signature: str
    resumed: bool
    server_name: str
    peer_chain: tuple[bytes, ...] = field(default=(), repr=False)

    @property
    def forward_secret(self) -> bool:
        """Whether the session keys do not depend on the certificate's key (an ephemeral group took part)."""
        return self.group != ""
