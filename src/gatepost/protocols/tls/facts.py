"""The facts of a handshake: the record that policy, trace, report and page all read.

Filled by `net.engine` (the handshake) and `net.chain` (the judgement of the certificates); this file only names the
facts.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final, Literal

import msgspec

from gatepost.values import RedactedStruct, replace

MAX_CERTIFICATES: Final = 32
"""Certificates of a peer: each takes 2 KB of OpenSSL's memory as long as the connection lasts."""


class CertificateFacts(msgspec.Struct, frozen=True):
    """The facts of one X.509 certificate (RFC 5280), for showing and for matching names.

    subject, issuer: distinguished names as RFC 4514 writes them. serial: lower-case hexadecimal. ip_addresses: text.
    dns_names: subjectAltName dNSName entries, lower case A-labels. common_name: the subject's last CN, "" if none.
    sha256, sha1: thumbprints of the DER form, lower-case hexadecimal. spki_sha256: of the SubjectPublicKeyInfo (RFC
    7671 selector 1). not_before, not_after: seconds since 1970 UTC. key: "RSA-2048", "EC-P-256", "Ed25519", …. uris:
    uniformResourceIdentifier entries, as they stand.
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
    uris: tuple[str, ...] = ()


class ChainStatus(StrEnum):
    """The result of judging a presented chain: trusted, or the reason why not (RFC 5280 section 6, RFC 6960)."""

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


class Revocation(msgspec.Struct, frozen=True):
    """Whether the certificates of a trusted path were revoked, as far as it could be learnt (RFC 5280, RFC 6960).

    status: "good"; "revoked"; "unknown": something is published, but nothing usable was to be had; "not-published": no
    authority of the path publishes anything. detail: one sentence for an administrator, never sent to a peer. source:
    what the answer was taken from: "staple", "crl", "ocsp" or "". demanded: the certificate itself says that not
    knowing is a failure (RFC 7633).
    """

    status: Literal["good", "revoked", "unknown", "not-published"]
    detail: str
    source: Literal["staple", "crl", "ocsp", ""] = ""
    demanded: bool = False

    @property
    def text(self) -> str:
        """The text for the trace: "good (crl)", "unknown: REASON"."""
        if self.status == "good":
            return f"good ({self.source})"
        return f"{self.status}: {self.detail}"


class ChainVerdict(RedactedStruct, frozen=True):
    """The judgement of a presented chain against a set of trust anchors, names left aside.

    detail: one sentence for an administrator (which certificate, which issuer is missing), never sent to a peer.
    leaf: None if no certificate was presented or it cannot be parsed. anchor: subject of the anchor that was reached.
    path: DER certificates from the leaf to the anchor, both included, () unless trusted. revocation: what was learnt of
    it, None if nobody asked.
    """

    REDACTED = ("path",)

    status: ChainStatus
    detail: str
    leaf: CertificateFacts | None
    anchor: str = ""
    path: tuple[bytes, ...] = ()
    revocation: Revocation | None = None

    @property
    def trusted(self) -> bool:
        """Whether the chain leads to a trust anchor and nothing speaks against it."""
        return self.status is ChainStatus.TRUSTED

    def checked(self, revocation: Revocation, *, hard_fail: bool) -> ChainVerdict:
        """The judgement of a trusted chain after the question for revocation.

        Revoked is REVOKED. hard_fail: unknown is REVOCATION_UNKNOWN; else it counts as good, and is only recorded,
        unless the certificate demands more.
        """
        if revocation.status == "revoked":
            return replace(self, status=ChainStatus.REVOKED, detail=revocation.detail, revocation=revocation)
        if revocation.status == "unknown" and (hard_fail or revocation.demanded):
            status = ChainStatus.REVOCATION_UNKNOWN
            return replace(self, status=status, detail=revocation.detail, revocation=revocation)
        return replace(self, revocation=revocation)


class TlsFacts(msgspec.Struct, frozen=True):
    """The negotiated parameters of one handshake, and the peer's certificates. Trust is not decided here.

    version: "TLSv1.2", "TLSv1.3", …. suite: the IANA name. group: key-exchange group ("X25519MLKEM768", "X25519",
    "P-256", …), "" for static RSA. signature: IANA name of the scheme that the server's certificate signed the
    handshake with ("ecdsa_secp256r1_sha256", …), "" if resumed or not known. server_name: SNI, sent or received, ""
    if none. peer_chain: DER certificates as presented, leaf first, () if none.
    ocsp_response: the one that a server stapled, DER and unverified, b"" if none.
    """

    version: str
    suite: str
    group: str
    signature: str
    resumed: bool
    server_name: str
    peer_chain: tuple[bytes, ...] = ()
    ocsp_response: bytes = b""

    def __repr__(self) -> str:
        """Without what is DER."""
        return f"TlsFacts({self.version!r}, {self.suite!r}, {self.group!r}, {self.signature!r}, {self.server_name!r})"

    @property
    def forward_secret(self) -> bool:
        """Whether the session keys do not depend on the certificate's key (an ephemeral group took part)."""
        return self.group != ""
