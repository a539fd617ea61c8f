"""The enumerations of connectors: Exchange's terms, written in kebab case.

Used by `policy.connectors.model` to parse and by `policy` to decide. Plain enumerations; nothing here validates or
decides.
"""

from __future__ import annotations

from enum import StrEnum


class DomainType(StrEnum):
    """Who knows the recipients of an accepted domain."""

    AUTHORITATIVE = "authoritative"
    INTERNAL_RELAY = "internal-relay"


class ConnectorType(StrEnum):
    """Whom a connector stands for: another organization, or the organization's own servers."""

    PARTNER = "partner"
    ON_PREMISES = "on-premises"


class Mode(StrEnum):
    """Whether what a connector demands is enforced, or only reported."""

    ENFORCE = "enforce"
    REHEARSE = "rehearse"


class TlsSettings(StrEnum):
    """What an outbound connector demands of the next hop, weakest first."""

    OPPORTUNISTIC = "opportunistic"
    ENCRYPTION_ONLY = "encryption-only"
    CERTIFICATE_VALIDATION = "certificate-validation"
    DOMAIN_VALIDATION = "domain-validation"


class ContentProtection(StrEnum):
    """How the content of a message is encrypted, or signed, before it leaves, whatever the connection is."""

    NONE = "none"
    SMIME = "smime"


class SmartHostOrder(StrEnum):
    """Which smart host a message is offered to first; the others follow."""

    LISTED = "listed"
    SHUFFLED = "shuffled"


class SmtpDaneMode(StrEnum):
    """How an outbound connector treats DANE (RFC 7672)."""

    OPPORTUNISTIC = "opportunistic"
    MANDATORY = "mandatory"
    NONE = "none"


class MtaStsMode(StrEnum):
    """How an outbound connector treats MTA-STS (RFC 8461)."""

    OPPORTUNISTIC = "opportunistic"
    NONE = "none"


class RequireTlsMode(StrEnum):
    """How an outbound connector treats messages that ask for TLS all the way (REQUIRETLS, RFC 8689)."""

    ENFORCE = "enforce"
    RELAXED = "relaxed"


class ProtectionDrop(StrEnum):
    """What becomes of mail for a destination that protects connections less than it was seen to do."""

    WARN = "warn"
    HOLD = "hold"


class PublishedSts(StrEnum):
    """Which MTA-STS policy the gateway serves for an accepted domain (RFC 8461 section 5)."""

    NOT_PUBLISHED = "not-published"
    NONE = "none"
    TESTING = "testing"
    ENFORCE = "enforce"


class DkimAlgorithm(StrEnum):
    """With what a DKIM key signs, as a= of a signature names it (RFC 6376 section 3.3, RFC 8463 section 3)."""

    RSA_SHA256 = "rsa-sha256"
    ED25519_SHA256 = "ed25519-sha256"


class DkimState(StrEnum):
    """How far a DKIM key has come."""

    NEXT = "next"
    CURRENT = "current"
    RETIRED = "retired"


class DkimService(StrEnum):
    """What a DKIM key signs, as s= of its record names it (RFC 6376 section 3.6.1, RFC 8460 section 3)."""

    ALL = "*"
    TLS_REPORTS = "tlsrpt"


class DkimKeyUnavailable(StrEnum):
    """What becomes of mail that is to be signed while no key for it can be used."""

    DEFER = "defer"
    SEND_UNSIGNED = "send-unsigned"


class Cleartext(StrEnum):
    """When a message without a TLS requirement may leave in clear."""

    ONLY_IF_NOT_OFFERED = "only-if-not-offered"
    AFTER_FAILED_HANDSHAKE = "after-failed-handshake"
    NEVER = "never"


class ProfileName(StrEnum):
    """The TLS profiles of `protocols.tls.profile`, strictest first."""

    MODERN = "modern"
    DEFAULT = "default"
    COMPATIBLE = "compatible"
    LEGACY = "legacy"


class RevocationCheck(StrEnum):
    """Whether a peer's certificates are looked for among the revoked ones (CRL, OCSP), and what not knowing means."""

    NONE = "none"
    SOFT_FAIL = "soft-fail"
    HARD_FAIL = "hard-fail"


class TlsVersion(StrEnum):
    """Protocol versions, named as `TlsFacts.version` names them, so that their text compares in their order."""

    TLS_1_0 = "TLSv1.0"
    TLS_1_1 = "TLSv1.1"
    TLS_1_2 = "TLSv1.2"
    TLS_1_3 = "TLSv1.3"


class HookType(StrEnum):
    """What a content hook speaks to."""

    RSPAMD = "rspamd"
    CLAMAV = "clamav"


class HookDirection(StrEnum):
    """Which mail a content hook is asked about: what others send to the organization, what it sends itself."""

    INBOUND = "inbound"
    OUTBOUND = "outbound"
    BOTH = "both"


class HookFailure(StrEnum):
    """What becomes of a message about which a content hook gives no usable answer in time."""

    DEFER = "defer"
    ACCEPT = "accept"


class OverMaxSize(StrEnum):
    """What becomes of a message that is too large to be given to a content hook."""

    REFUSE = "refuse"
    ACCEPT = "accept"
