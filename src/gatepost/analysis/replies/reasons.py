"""The reasons and results that trace, log, queue and reports record as codes, in words. Pure tables.

Used by `analysis.replies.catalogue`. Each table has every member of an enumeration; a test holds it.
"""

from __future__ import annotations

from typing import Final

from gatepost.mail.model.delivery_result import Disposition
from gatepost.protocols.mtasts.policy import Reason
from gatepost.protocols.tls.facts import ChainStatus
from gatepost.protocols.tlsrpt.result import ResultType

RESULT_TYPES: Final[dict[str, tuple[str, str]]] = {
    ResultType.STARTTLS_NOT_SUPPORTED: (
        "TLS is required, and the host does not offer STARTTLS.",
        "The host's administrators must switch it on.",
    ),
    ResultType.CERTIFICATE_HOST_MISMATCH: (
        "The certificate is for another name.",
        "The host must present a certificate for its name; or correct `tls_domain` of the connector.",
    ),
    ResultType.CERTIFICATE_EXPIRED: (
        "A certificate of the chain has expired.",
        "The host's administrators must renew it.",
    ),
    ResultType.CERTIFICATE_NOT_TRUSTED: (
        "The chain does not lead to a trusted authority, is incomplete, weak, revoked or not for servers.",
        "The word in the reply says which; see the words above.",
    ),
    ResultType.VALIDATION_FAILURE: (
        "Another failure of TLS: the handshake, the TLS version, the key exchange, a host outside the policy.",
        "The word in the reply says which; see the words above.",
    ),
    ResultType.TLSA_INVALID: (
        "The certificate does not match the TLSA records.",
        "The domain must publish a record for its certificate before it changes the certificate.",
    ),
    ResultType.DNSSEC_INVALID: ("DNSSEC validation failed.", "The domain must correct its signatures."),
    ResultType.DANE_REQUIRED: (
        "A connector demands DANE, and there are no usable TLSA records.",
        "The domain must publish them, or the connector must ask less.",
    ),
    ResultType.STS_POLICY_FETCH_ERROR: (
        "The MTA-STS policy cannot be fetched; the one known before stays in force.",
        "The domain must serve it at https://mta-sts.DOMAIN/.well-known/mta-sts.txt.",
    ),
    ResultType.STS_POLICY_INVALID: ("The MTA-STS policy cannot be used.", "The domain must correct its text."),
    ResultType.STS_WEBPKI_INVALID: (
        "The certificate of the policy's web server is not valid for mta-sts.DOMAIN.",
        "The domain must renew or replace it.",
    ),
}

CHAINS: Final[dict[str, tuple[str, str]]] = {
    ChainStatus.TRUSTED: ("The chain is valid and leads to a trusted authority.", "Nothing to do."),
    ChainStatus.NO_CERTIFICATE: ("No certificate was presented.", "Configure one at the peer."),
    ChainStatus.SELF_SIGNED: (
        "The certificate signed itself.",
        "Use one of an authority, or name it in `trust_anchors` of the connector.",
    ),
    ChainStatus.UNTRUSTED_ROOT: (
        "The authority is not trusted here.",
        "Add it to `trust_anchors` of the connector, or use a public one.",
    ),
    ChainStatus.INCOMPLETE: ("An intermediate certificate is missing.", "The peer must send it with its certificate."),
    ChainStatus.EXPIRED: ("A certificate has expired.", "Renew it."),
    ChainStatus.NOT_YET_VALID: ("A certificate is not valid yet.", "Wait, or correct the clock."),
    ChainStatus.REVOKED: ("A certificate was revoked.", "Replace it."),
    ChainStatus.REVOCATION_UNKNOWN: (
        "Revocation is to be known, and no list or responder answered.",
        "Let this machine reach them over HTTP ([revocation.md](revocation.md)).",
    ),
    ChainStatus.WRONG_PURPOSE: ("The certificate may not be used for this.", "Replace it by one for TLS servers."),
    ChainStatus.WEAK_KEY: ("A key is too short.", "Replace the certificate."),
    ChainStatus.WEAK_SIGNATURE: ("A signature uses SHA-1 or MD5.", "Replace the certificate."),
    ChainStatus.INVALID: ("The chain cannot be verified for another reason.", "The detail in the trace has it."),
}

POLICIES: Final[dict[str, tuple[str, str]]] = {
    Reason.TOO_LARGE: ("The MTA-STS policy is larger than 64 KB.", "Shorten it."),
    Reason.NOT_TEXT: ("It is not text in UTF-8.", "Serve it as text/plain."),
    Reason.SYNTAX: ("A line is not KEY: VALUE.", "Correct the line that the detail names."),
    Reason.VERSION: ("It does not say version: STSv1.", "Correct it."),
    Reason.MODE: ("The mode is not enforce, testing or none.", "Correct it."),
    Reason.MAX_AGE: ("max_age is missing or out of range.", "Correct it."),
    Reason.MX: ("mx is missing or not a host name or *.domain.", "Correct it."),
}

DISPOSITIONS: Final[dict[str, tuple[str, str]]] = {
    Disposition.DELIVERED: ("The next hop, or the mailbox, took the message.", "Nothing to do."),
    Disposition.DEFERRED: ("It could not be taken now.", "The gateway tries again by itself; the reply says why."),
    Disposition.HELD: (
        "An administrator or the downgrade guard stopped the message.",
        "`gatepost queue release` or `gatepost queue return`.",
    ),
    Disposition.FAILED: ("It cannot be delivered, and its sender is notified.", "The reply says why."),
}
