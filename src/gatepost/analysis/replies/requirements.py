"""Statuses, words and causes of deferrals for TLS requirements that were not met. Pure tables.

Used by `analysis.replies.catalogue`. The replies are made by `policy.decisions.outbound.deferral`; what to do about a
word is in `protocols.message.next_step`, which pages, notices and commands say too.
"""

from __future__ import annotations

from typing import Final

TITLES: Final[dict[str, str]] = {
    "4.4.8": "MX hosts of … failed MTA-STS validation",
    "4.4.312": "DNS query failed",
    "4.4.317": "Cannot establish session with remote server",
    "4.7.5": "Remote certificate failed MTA-STS validation. Reason: …",
    "4.7.10": "Encryption needed (journal, or REQUIRETLS for a reason that may pass)",
    "4.7.30": "REQUIRETLS needed, by a node of the site",
    "4.7.320": "Certificate validation failed",
    "4.7.321": "starttls-not-supported: Destination mail server must support TLS to receive mail",
    "4.7.322": "certificate-expired: Destination mail server's certificate is expired",
    "4.7.323": "tlsa-invalid: The domain failed DANE validation",
    "4.7.324": "dnssec-invalid: Destination domain returned invalid DNSSEC records",
    "4.7.325": "certificate-host-mismatch: Remote certificate MUST have a common name or subject alternative name "
    "matching the hostname (DANE)",
    "5.7.10": "Encryption needed (REQUIRETLS)",
    "5.7.30": "REQUIRETLS needed",
}
"""The text of each status, before "[Message=WORD detail]"."""

WORDS: Final[dict[str, tuple[tuple[str, ...], str]]] = {
    "STARTTLS": (
        ("4.4.317", "4.7.321"),
        "TLS is required, and the host does not offer STARTTLS, or something on the way takes the offer out.",
    ),
    "TlsHandshakeFailed": (
        ("4.4.317", "4.7.321"),
        "The host offers STARTTLS, and the handshake failed; the detail has the alert.",
    ),
    "TlsVersionTooOld": (("4.4.317",), "The session has an older TLS version than is required."),
    "KeyExchangeNotAllowed": (
        ("4.4.317",),
        "The key exchange is not among those that are allowed, for example because post-quantum is required.",
    ),
    "CipherSuiteNotAllowed": (("4.4.317",), "The cipher suite is not among those that are allowed."),
    "ProtectionDrop": (
        ("4.4.317",),
        "The destination protected its mail better before: the downgrade guard holds the message.",
    ),
    "NoCertificate": (("4.7.320", "4.7.5"), "The host presented no certificate."),
    "UntrustedRoot": (
        ("4.7.320", "4.7.5"),
        "The certificate leads to an authority that is not trusted here, or is self-signed.",
    ),
    "ChainIncomplete": (("4.7.320", "4.7.5"), "The host does not send its intermediate certificates."),
    "CertificateExpired": (("4.7.320", "4.7.5", "4.7.322"), "A certificate of the chain has expired."),
    "CertificateNotYetValid": (
        ("4.7.320", "4.7.5"),
        "A certificate of the chain is not valid yet; or the clock of this machine is wrong.",
    ),
    "CertificateRevoked": (("4.7.320", "4.7.5"), "The authority revoked a certificate of the chain."),
    "RevocationUnknown": (
        ("4.7.320", "4.7.5"),
        "The connector demands that revocation is known, and no list or OCSP responder answered.",
    ),
    "CertificateWrongPurpose": (("4.7.320", "4.7.5"), "The certificate may not be used by servers."),
    "CertificateWeakKey": (("4.7.320", "4.7.5"), "A key of the chain is too short."),
    "CertificateWeakSignature": (("4.7.320", "4.7.5"), "A certificate of the chain is signed with SHA-1 or MD5."),
    "CertificateInvalid": (
        ("4.7.320", "4.7.5"),
        "The chain cannot be verified for another reason, which the detail gives.",
    ),
    "SubjectMismatch": (
        ("4.7.320", "4.7.5", "4.7.325"),
        "The certificate is trusted, and is for another name than expected.",
    ),
    "TlsaInvalid": (("4.7.323",), "The certificate does not match the domain's TLSA records (DANE)."),
    "DaneRequired": (("4.7.323",), "The connector demands DANE, and the host has no usable TLSA records."),
    "DnssecInvalid": (("4.7.324",), "The domain's DNSSEC signatures are wrong, or somebody changed the answer."),
    "TlsaLookupFailed": (("4.4.312",), "The TLSA records could not be looked up, so that nobody can switch DANE off."),
    "HostNotInPolicy": (("4.4.8",), "The MX record names a host that the domain's MTA-STS policy does not."),
    "HostNotAuthentic": (
        ("5.7.10", "4.7.10"),
        "The message asks for REQUIRETLS, and nothing proves that the domain wants its mail at this host.",
    ),
    "HostHasNoName": (("5.7.10",), "The message asks for REQUIRETLS, and the smart host is an IP address."),
    "RequireTlsNotOffered": (("5.7.30", "4.7.30"), "The message asks for REQUIRETLS, which the host does not offer."),
    "JournalNeedsVerifiedTls": (
        ("4.7.10",),
        "A journal copy leaves over verified TLS only, and the way to the journal mailbox is not verified.",
    ),
}
"""By word, as it stands after "[Message=": the statuses it comes with, and the cause."""
