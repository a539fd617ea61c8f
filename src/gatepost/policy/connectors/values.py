"""The enumerations of connectors: Exchange's terms, written in kebab case.

Used by `policy.connectors.model` to parse and by `policy` to decide. Plain enumerations; nothing here validates or
decides.
"""

from __future__ import annotations

from enum import StrEnum


class DomainType(StrEnum):
    """The system that knows the recipients of an accepted domain: this gateway, or a server behind it."""

    AUTHORITATIVE = "authoritative"
    INTERNAL_RELAY = "internal-relay"


class RecipientValidation(StrEnum):
    """The source that knows the recipients of a relayed domain before a message is accepted."""

    NONE = "none"
    LIST = "list"
    FILE = "file"
    LDAP = "ldap"
    GRAPH = "graph"
    CALLOUT = "callout"


class ValidationUnavailable(StrEnum):
    """The treatment of a recipient of a relayed domain while its source of recipients gives no answer."""

    DEFER = "defer"
    ACCEPT = "accept"


class ConnectorType(StrEnum):
    """The other side of a connector: another organization, or the organization's own servers."""

    PARTNER = "partner"
    ON_PREMISES = "on-premises"


class AddressSenders(StrEnum):
    """The reverse-paths with which an on-premises server that only its address identifies may relay."""

    ACCEPTED_DOMAINS = "accepted-domains"
    NULL = "accepted-domains-and-null"
    ANY = "any"


class Mode(StrEnum):
    """Whether what a connector demands is enforced, or only reported."""

    ENFORCE = "enforce"
    REHEARSE = "rehearse"


class TlsSettings(StrEnum):
    """The demands that an outbound connector may make of the next hop, weakest first."""

    OPPORTUNISTIC = "opportunistic"
    ENCRYPTION_ONLY = "encryption-only"
    CERTIFICATE_VALIDATION = "certificate-validation"
    DOMAIN_VALIDATION = "domain-validation"


class ContentProtection(StrEnum):
    """The protection of a message's content before it leaves, whatever the connection is."""

    NONE = "none"
    SMIME = "smime"


class SmartHostOrder(StrEnum):
    """The order in which a message is offered to smart hosts."""

    LISTED = "listed"
    SHUFFLED = "shuffled"


class AuthenticationMechanism(StrEnum):
    """The SASL mechanism of a log-in to smart hosts."""

    AUTO = "auto"
    SCRAM_SHA_256 = "scram-sha-256"
    PLAIN = "plain"
    LOGIN = "login"
    OAUTHBEARER = "oauthbearer"
    XOAUTH2 = "xoauth2"


BY_PASSWORD = frozenset(
    {AuthenticationMechanism.SCRAM_SHA_256, AuthenticationMechanism.PLAIN, AuthenticationMechanism.LOGIN}
)
"""The mechanisms that need a password, where the others need an access token."""


class AddressFamily(StrEnum):
    """The addresses of next hops that an outbound connector uses."""

    ANY = "any"
    IPV4 = "ipv4"
    IPV6 = "ipv6"


class SmtpDaneMode(StrEnum):
    """The use of DANE by an outbound connector (RFC 7672)."""

    OPPORTUNISTIC = "opportunistic"
    MANDATORY = "mandatory"
    NONE = "none"


class MtaStsMode(StrEnum):
    """The use of MTA-STS by an outbound connector (RFC 8461)."""

    OPPORTUNISTIC = "opportunistic"
    NONE = "none"


class RequireTlsMode(StrEnum):
    """The treatment of messages that require TLS on the whole route (REQUIRETLS, RFC 8689)."""

    ENFORCE = "enforce"
    RELAXED = "relaxed"


class ProtectionDrop(StrEnum):
    """The treatment of mail for a destination that now protects connections less than it did before."""

    WARN = "warn"
    HOLD = "hold"


class PublishedSts(StrEnum):
    """The MTA-STS policy that the gateway serves for an accepted domain (RFC 8461 section 5)."""

    NOT_PUBLISHED = "not-published"
    NONE = "none"
    TESTING = "testing"
    ENFORCE = "enforce"


class DkimAlgorithm(StrEnum):
    """With what a DKIM key signs, as a= of a signature names it (RFC 6376 section 3.3, RFC 8463 section 3)."""

    RSA_SHA256 = "rsa-sha256"
    ED25519_SHA256 = "ed25519-sha256"


class DkimState(StrEnum):
    """The state of a DKIM key in its rotation."""

    NEXT = "next"
    CURRENT = "current"
    RETIRED = "retired"


class DkimService(StrEnum):
    """The service that a DKIM key signs for: s= of its record (RFC 6376 section 3.6.1, RFC 8460 section 3)."""

    ALL = "*"
    TLS_REPORTS = "tlsrpt"


class DkimKeyUnavailable(StrEnum):
    """The treatment of mail that is to be signed while no key for it can be used."""

    DEFER = "defer"
    SEND_UNSIGNED = "send-unsigned"


class StrangerNotices(StrEnum):
    """The treatment of notices about mail from servers that nobody knows, whose senders may be forged."""

    SEND = "send"
    LIMITED = "limited"
    WITHHELD = "withheld"


class Cleartext(StrEnum):
    """The conditions under which a message without a TLS requirement may leave unencrypted.

    ONLY_IF_NOT_OFFERED: the peer does not offer STARTTLS. AFTER_FAILED_HANDSHAKE: a handshake with it failed, too; on a
    later attempt, over another connection. NEVER: it waits, and is returned.
    """

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
    """Whether a peer's certificates are looked for among the revoked ones (CRL, OCSP), and what not knowing means.

    NONE: nobody is asked. SOFT_FAIL: what cannot be learnt counts as good. HARD_FAIL: it counts as a failure.
    """

    NONE = "none"
    SOFT_FAIL = "soft-fail"
    HARD_FAIL = "hard-fail"


class KeyExchange(StrEnum):
    """The weakest key exchange that a connector takes: any of its TLS profile, or one that has ML-KEM (FIPS 203)."""

    CLASSICAL = "classical"
    POST_QUANTUM = "post-quantum"


class TlsVersion(StrEnum):
    """Protocol versions, named as `TlsFacts.version` names them, so that their text compares in their order."""

    TLS_1_0 = "TLSv1.0"
    TLS_1_1 = "TLSv1.1"
    TLS_1_2 = "TLSv1.2"
    TLS_1_3 = "TLSv1.3"


class HookType(StrEnum):
    """The kind of scanner that a content hook connects to."""

    RSPAMD = "rspamd"
    CLAMAV = "clamav"


class HookDirection(StrEnum):
    """The mail that a content hook scans: what others send to the organization, what it sends itself."""

    INBOUND = "inbound"
    OUTBOUND = "outbound"
    BOTH = "both"


class HookFailure(StrEnum):
    """The treatment of a message for which a content hook gives no usable answer in time."""

    DEFER = "defer"
    ACCEPT = "accept"


class OverMaxSize(StrEnum):
    """The treatment of a message that is too large for a content hook."""

    REFUSE = "refuse"
    ACCEPT = "accept"


class JournalForm(StrEnum):
    """The form of a journal copy: a report with the message attached (RFC 5322), or the message in a new envelope."""

    REPORT = "report"
    COPY = "copy"


class JournalDirection(StrEnum):
    """The mail of an organization that is journaled: what others send to it, what it sends to others, what stays in.

    EXTERNAL: both of the first two, as Exchange calls it.
    """

    ALL = "all"
    EXTERNAL = "external"
    INCOMING = "incoming"
    OUTGOING = "outgoing"
    INTERNAL = "internal"

    def covers(self, direction: JournalDirection) -> bool:
        """Whether mail of one direction is journaled: INCOMING, OUTGOING or INTERNAL."""
        if self is JournalDirection.EXTERNAL:
            return direction is not JournalDirection.INTERNAL
        return self in {JournalDirection.ALL, direction}


class QuarantineRelease(StrEnum):
    """The people who may release messages from an organization's quarantine."""

    ADMINISTRATORS = "administrators"
    GATEWAY = "gateway"


class NoticeLanguage(StrEnum):
    """The language of mail that the gateway writes to people (`gatepost.language.NAMES`)."""

    ENGLISH = "en"
    SWEDISH = "sv"
    GERMAN = "de"


class AuthenticationResults(StrEnum):
    """The party that checks SPF, DKIM, DMARC and ARC of mail from others (RFC 8601)."""

    NONE = "none"
    GATEWAY = "gateway"
    RSPAMD = "rspamd"
