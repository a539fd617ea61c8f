"""The resources: every field with its type, default and meaning.

The declaration that the file, the command line, the API and the admin centre share; docs and forms are generated from
it (`scripts/reference_pages.py`). Rules across fields are in `policy.connectors.rules`; documents are read by
`policy.connectors.model`.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

from gatepost.policy.connectors import record_fields as parts
from gatepost.policy.connectors import values
from gatepost.policy.connectors.accepted_domain import AcceptedDomain  # noqa: TC001 - pydantic reads the annotation
from gatepost.policy.connectors.authentication import Authentication  # noqa: TC001 - pydantic reads the annotation
from gatepost.policy.connectors.client_certificate import ClientCertificate  # noqa: TC001 - pydantic reads the annotation
from gatepost.policy.connectors.content_hook import ContentHook  # noqa: TC001 - pydantic reads the annotation
from gatepost.policy.connectors.dkim_key import DkimKey  # noqa: TC001 - pydantic reads the annotation
from gatepost.policy.connectors.errors import ORGANIZATION_NAME
from gatepost.policy.connectors.fields import (
    Access,
    Domain,
    Duration,
    Form,
    Ipv4Text,
    Ipv6Text,
    Label,
    MailAddress,
    NamePattern,
    NetworkText,
    Owned,
    Pattern,
    Range,
    SmartHostField,
    Switch,
    Text,
    TrustAnchorsText,
    Version,
)
from gatepost.policy.connectors.mail_flow_rule import MailFlowRule  # noqa: TC001 - pydantic reads the annotation
from gatepost.policy.connectors.names import SmartHost, domain_name, host_port, mail_address, socket_path
from gatepost.policy.connectors.oauth import OauthIssuer  # noqa: TC001 - pydantic reads the annotation
from gatepost.policy.connectors.record_base import Record
from gatepost.policy.connectors.units import format_duration


def _delivery(value: str) -> str:
    if value == "maildir":
        return value
    if not value.startswith("lmtp:"):
        raise ValueError(f'{value!r} is not possible here; choose "maildir", "lmtp:HOST:PORT" or "lmtp:unix:/path"')
    if value.startswith("lmtp:unix:"):
        return f"lmtp:unix:{socket_path(value.removeprefix('lmtp:unix:'))}"
    host, port = host_port(value.removeprefix("lmtp:"), None)
    return f"lmtp:{SmartHost(host, port)}" if port != 25 else f"lmtp:{SmartHost(host)}:25"


def _forwarding_address(value: str) -> str:
    return mail_address(value) if value else value


def _home(value: str) -> str:
    return domain_name(value) if value else value


def _delivery_access(value: str) -> Access | None:
    if value.startswith("lmtp:unix:"):
        return Access.MACHINE
    return Access.NETWORK if value.startswith("lmtp:") else None


class Mailbox(Record):
    """A recipient to which this gateway delivers directly."""

    address: MailAddress = Field(
        description="The address. Its domain must be an accepted domain of the organization. Upper and lower case are "
        "treated alike."
    )
    aliases: tuple[MailAddress, ...] = Field(
        default=(),
        description="Other addresses of the mailbox, each in an accepted domain of the organization.",
    )
    delivery: Annotated[
        str,
        AfterValidator(_delivery),
        Form('"maildir", "lmtp:HOST:PORT" or "lmtp:unix:/path"'),
        Owned(_delivery_access, '"maildir" or "lmtp:HOST:PORT"'),
    ] = Field(
        default="maildir",
        description="maildir: to a Maildir under the data directory. lmtp:HOST:PORT, lmtp:unix:/path: over LMTP (RFC "
        "2033). A HOST other than this machine must offer STARTTLS with a trusted certificate for HOST. "
        "Only the gateway's owner can name a socket.",
    )
    forwarding_smtp_address: Annotated[str, AfterValidator(_forwarding_address), Form("mail address")] = Field(
        default="", description="Address to which mail for the mailbox is forwarded. Empty: no forwarding."
    )
    deliver_to_mailbox_and_forward: Switch = Field(
        default=False, description="Deliver forwarded mail to the mailbox, too."
    )
    tls_reports: Switch = Field(
        default=False,
        description="Read TLS reports (RFC 8460) that arrive in this mailbox. Use it for the address that your "
        '_smtp._tls records name with rua=mailto:. Its delivery must be "maildir".',
    )
    messages_per_day: parts.MessagesPerDay = 0
    recipients_per_day: parts.RecipientsPerDay = 0


class InboundConnector(Record):
    """Requirements and rights of servers that send mail to the organization or through it.

    A *partner* connector applies to mail from its sender_domains to the organization. An *on-premises* connector
    identifies the organization's own servers by certificate or address and lets them relay.
    """

    name: Label = Field(description="A name that is unique among the inbound connectors of the organization.")
    enabled: Switch = Field(default=True, description="A disabled connector has no effect.")
    mode: values.Mode = Field(
        default=values.Mode.ENFORCE,
        description="rehearse: the gateway reports what the connector would refuse, and accepts it.",
    )
    connector_type: values.ConnectorType = Field(
        default=values.ConnectorType.PARTNER,
        description="partner: another organization or a service. on-premises: the organization's own servers, which "
        "may relay to any domain.",
    )
    sender_domains: tuple[Pattern, ...] = Field(
        default=(),
        description='Partner: the connector applies to mail whose reverse-path is in one of these domains. "*" '
        "applies to all mail, including mail with the null reverse-path.",
    )
    sender_ip_addresses: tuple[NetworkText, ...] = Field(
        default=(),
        description="IPv4 or IPv6 addresses of the sending servers. They identify an on-premises server. They "
        "restrict a partner only with restrict_domains_to_ip_addresses. Not wider than /24 (IPv4) or /48 "
        "(IPv6), unless the server's limits allow it.",
    )
    require_tls: Switch = Field(
        default_factory=lambda data: data.get("connector_type") is values.ConnectorType.PARTNER,
        description="Refuse mail that does not arrive over TLS. Default: true for a partner, false for on-premises.",
    )
    restrict_domains_to_certificate: Switch = Field(
        default=False,
        description="Partner: refuse mail from sender_domains unless the client presents a trusted certificate for "
        "tls_sender_certificate_name.",
    )
    restrict_domains_to_ip_addresses: Switch = Field(
        default=False,
        description="Partner: refuse mail from sender_domains unless it comes from sender_ip_addresses.",
    )
    tls_sender_certificate_name: NamePattern | None = Field(
        default=None,
        description='Name that the client\'s certificate must contain (subjectAltName): "mail.b.example", or '
        '"*.b.example" for b.example and all names below it.',
    )
    match_common_name: Switch = Field(
        default=False,
        description="Also accept the name in the subject's CN, as Exchange does. RFC 9525 ignores the CN.",
    )
    associated_accepted_domains: tuple[NamePattern, ...] = Field(
        default=(),
        description="Limit the connector to these accepted domains: of the recipient for a partner, of the sender for "
        'on-premises. "*.b.example" also stands for all names below b.example. Empty: all.',
    )
    ef_skip_last_ip: parts.SkipLastIp = False
    ef_skip_ips: parts.SkipIps = ()
    senders_by_address: parts.SendersByAddress = values.AddressSenders.ACCEPTED_DOMAINS
    treat_messages_as_internal: Switch = Field(
        default=False,
        description="On-premises: treat mail whose reverse-path is in an accepted domain of the organization as "
        "internal.",
    )
    cloud_services_mail_enabled: Switch = Field(
        default=False,
        description="Retain internal Exchange email headers (hybrid). On-premises: servers that a certificate "
        "identifies are the organization's own Exchange servers, and the gateway trusts their "
        "X-MS-Exchange-CrossPremises header fields. It removes these fields from all other mail.",
    )
    trust_anchors: TrustAnchorsText = Field(
        default="",
        description='Roots for the client\'s certificate: "system", certificates in PEM, or a file or directory. Only '
        "the gateway's owner can name a file or directory. Empty: the server's setting.",
    )
    revocation_check: values.RevocationCheck = Field(
        default=values.RevocationCheck.SOFT_FAIL,
        description="Check whether the client's certificate was revoked (CRL, OCSP). soft-fail: accept the "
        "certificate if its status is unknown. hard-fail: defer the mail until the status is known.",
    )
    min_tls_version: Version | None = Field(
        default=None,
        description="Refuse mail over an older TLS version. Empty: the oldest version that the profile allows. "
        'TLSv1.0 and TLSv1.1 need profile = "legacy".',
    )
    profile: values.ProfileName | None = Field(
        default=None,
        description="TLS profile whose oldest version the session must have. Empty: any version that the listener "
        "allows.",
    )
    min_key_exchange: parts.MinKeyExchange = values.KeyExchange.CLASSICAL
    groups: parts.Groups = ()
    cipher_suites: parts.CipherSuites = ()
    messages_per_day: parts.MessagesPerDay = 0
    recipients_per_day: parts.RecipientsPerDay = 0
    priority: parts.Priority = 100
    comment: Text = Field(default="", description="A note without effect.")

    @property
    def skips_hops(self) -> bool:
        """Whether the client is looked for in the Received fields of its mail."""
        return self.ef_skip_last_ip or bool(self.ef_skip_ips)


class OutboundConnector(Record):
    """The route for mail to certain domains, and the protection that it requires."""

    name: Label = Field(description="A name that is unique among the outbound connectors of the organization.")
    enabled: Switch = Field(default=True, description="A disabled connector has no effect.")
    mode: values.Mode = Field(
        default=values.Mode.ENFORCE,
        description="rehearse: the connector routes mail; the gateway reports failures of its TLS requirements but "
        "does not enforce them.",
    )
    connector_type: values.ConnectorType = Field(
        default=values.ConnectorType.PARTNER,
        description="partner: other organizations. on-premises: the organization's own servers.",
    )
    recipient_domains: tuple[Annotated[Pattern, Owned(lambda _: Access.NETWORK)], ...] = Field(
        default=(),
        description="Recipient domains. An exact name takes precedence over the longest wildcard, a wildcard over "
        'all_accepted_domains, and that over "*".',
    )
    is_transport_rule_scoped: Switch = Field(
        default=False,
        description="Use the connector only when a mail flow rule names it (route_via_connector), never because of "
        "its recipient_domains alone.",
    )
    all_accepted_domains: Switch = Field(
        default=False,
        description="On-premises: also route mail for every accepted domain of the organization to recipients without "
        "a mailbox here.",
    )
    route_all_messages_via_on_premises: Switch = Field(
        default=False,
        description="On-premises: route all mail here first, before all other connectors. Mail that came from there "
        "is sent back only for domains that are listed here.",
    )
    cloud_services_mail_enabled: Switch = Field(
        default=False,
        description="Retain internal Exchange email headers (hybrid). On-premises: the next hop is the organization's "
        "own Exchange, and the gateway tells it in X-MS-Exchange-CrossPremises header fields what it "
        "knows of the message. It removes these fields from all other outgoing mail.",
    )
    sender_rewriting_enabled: Switch = Field(
        default=False,
        description="On-premises: rewrite reverse-paths of foreign domains (SRS) on the way to this connector, too. "
        "Without it the gateway rewrites them only when mail leaves for other organizations.",
    )
    smart_hosts: tuple[SmartHostField, ...] = Field(
        default=(),
        description="Next hops to use instead of the recipient domain's MX. Default port: 25.",
    )
    smart_host_order: values.SmartHostOrder = Field(
        default=values.SmartHostOrder.LISTED,
        description="listed: try the smart hosts in the given order; the first one gets all mail while it is "
        "available. shuffled: start with a random one for each message, to share the load (as Exchange "
        "does).",
    )
    implicit_tls: Switch = Field(
        default=False,
        description="The smart hosts expect TLS from the first octet (submissions, usually port 465), not STARTTLS.",
    )
    authentication: Authentication | None = Field(
        default=None,
        description='Log in to the smart hosts. Needs tls_settings = "domain-validation": the secret goes only to a '
        "host that proves its name.",
    )
    use_mx_record: Switch = Field(
        default_factory=lambda data: not data.get("smart_hosts"),
        description="Route by the recipient domain's MX records. Default: true if there are no smart_hosts.",
    )
    tls_settings: values.TlsSettings = Field(
        default=values.TlsSettings.OPPORTUNISTIC,
        description="opportunistic: TLS if the next hop offers it. encryption-only: TLS with any certificate. "
        "certificate-validation: TLS with a trusted certificate. domain-validation: TLS with a trusted "
        "certificate for tls_domain. Mail waits while a requirement is not met; it never leaves with "
        "less.",
    )
    tls_domain: NamePattern | None = Field(
        default=None,
        description='Name that the next hop\'s certificate must contain, for domain-validation: "mail.b.example", or '
        '"*.b.example" for b.example and all names below it. Empty: the smart host\'s name; without smart '
        "hosts, the recipient domain.",
    )
    smtp_dane_mode: values.SmtpDaneMode = Field(
        default=values.SmtpDaneMode.OPPORTUNISTIC,
        description="DANE (RFC 7672). opportunistic: enforce it where the domain publishes it. mandatory: require it "
        "of every domain. none: do not look it up.",
    )
    mta_sts_mode: values.MtaStsMode = Field(
        default=values.MtaStsMode.OPPORTUNISTIC,
        description="MTA-STS (RFC 8461). opportunistic: enforce it where the domain publishes it. none: do not look "
        "it up.",
    )
    requiretls_mode: values.RequireTlsMode = Field(
        default=values.RequireTlsMode.ENFORCE,
        description="For messages that require TLS on every hop (REQUIRETLS, RFC 8689). enforce: the next hop must "
        "prove its identity and offer REQUIRETLS, else the message fails. relaxed: the next hop must "
        "prove its identity; if it does not offer REQUIRETLS, the message is sent without it, and the "
        "trace records that.",
    )
    client_certificate: ClientCertificate | None = Field(
        default=None, description="Certificate to present when the next hop asks for one."
    )
    trust_anchors: TrustAnchorsText = Field(
        default="",
        description='Roots for the next hop\'s certificate: "system", certificates in PEM, or a file or directory. '
        "Only the gateway's owner can name a file or directory. Empty: the server's setting.",
    )
    revocation_check: values.RevocationCheck = Field(
        default=values.RevocationCheck.SOFT_FAIL,
        description="With certificate-validation and domain-validation, check whether the next hop's certificate was "
        "revoked (stapled OCSP, CRL, OCSP). soft-fail: accept the certificate if its status is unknown. "
        "hard-fail: mail waits until the status is known.",
    )
    min_tls_version: Version | None = Field(
        default=None,
        description="Oldest TLS version that meets the requirement. Empty: the oldest version that the profile "
        'allows. TLSv1.0 and TLSv1.1 need profile = "legacy".',
    )
    profile: values.ProfileName | None = Field(
        default=None, description="TLS profile to offer the next hop. Empty: the server's setting."
    )
    min_key_exchange: parts.MinKeyExchange = values.KeyExchange.CLASSICAL
    groups: parts.Groups = ()
    cipher_suites: parts.CipherSuites = ()
    cleartext: values.Cleartext | None = Field(
        default=None,
        description="With opportunistic TLS, when mail may leave unencrypted. Empty: the organization's setting. "
        "never has the same effect as encryption-only.",
    )
    hello_name: Domain | None = Field(
        default=None, description="The name that the gateway gives in EHLO. Empty: the server's hostname."
    )
    source_ipv4_address: Ipv4Text = Field(
        default="",
        description="IPv4 address of the gateway's machine from which it connects to next hops. Only the gateway's "
        "owner can set it. If only one source address is set, the gateway uses its address family only.",
    )
    source_ipv6_address: Ipv6Text = Field(default="", description="The same for IPv6.")
    address_family: values.AddressFamily = Field(
        default=values.AddressFamily.ANY, description="Addresses of next hops to use: any, only ipv4 or only ipv6."
    )
    encrypt: values.ContentProtection = Field(
        default=values.ContentProtection.NONE,
        description="smime: encrypt the content to the recipients' certificates (docs/smime.md). Mail for a recipient "
        "without a usable certificate waits; it never leaves unencrypted.",
    )
    sign: values.ContentProtection = Field(
        default=values.ContentProtection.NONE,
        description="smime: sign mail from the organization's own users and servers with its certificate for the "
        "author's address or domain. Mail that cannot be signed waits.",
    )
    max_connections: parts.MaxConnections = 0
    max_messages_per_minute: parts.MaxMessagesPerMinute = 0
    priority: parts.Priority = 100
    comment: Text = Field(default="", description="A note without effect.")


class Organization(Record):
    """A tenant: its domains, its mailboxes and its connectors."""

    name: Annotated[str, Field(pattern=ORGANIZATION_NAME), Form("lower-case letters, digits, -")] = Field(
        description="The name in the heading, [organization.NAME]. It is part of file names; mail servers never see it."
    )
    display_name: Text = Field(default="", description="Name for display.")
    message_expiration: Annotated[Duration, Range(1, 1209600, format_duration)] | None = Field(
        default=None,
        description="How long the organization's mail stays in the queue before it is returned. Empty: the server's "
        "[queue] message_expiration, 24 h.",
    )
    reject_direct_send: Switch = Field(
        default=False,
        description="Refuse mail from unknown servers whose reverse-path is in an accepted domain of the "
        "organization, unless a connector identifies the server by certificate or address.",
    )
    cleartext: values.Cleartext = Field(
        default=values.Cleartext.ONLY_IF_NOT_OFFERED,
        description="When mail that no connector protects may leave unencrypted. only-if-not-offered: when the next "
        "hop offers no STARTTLS. after-failed-handshake: also on a later attempt after a failed "
        "handshake. never: TLS is always required.",
    )
    protection_drop: values.ProtectionDrop = Field(
        default=values.ProtectionDrop.WARN,
        description="When a destination protects connections less than it did before. warn: the mail is sent, and log "
        "and trace record it. hold: the mail is held in the queue until an administrator releases it.",
    )
    dkim_key_unavailable: values.DkimKeyUnavailable = Field(
        default=values.DkimKeyUnavailable.DEFER,
        description="When mail has to be signed but no current key of its domain is usable (the master key is "
        "missing, or a file cannot be read). defer: the mail waits. send-unsigned: the mail is sent "
        "unsigned, and log and trace record it.",
    )
    notices_to_strangers: values.StrangerNotices = Field(
        default=values.StrangerNotices.SEND,
        description="Failure, delay and success notices about mail from servers that no connector identifies by "
        "certificate or address; its senders may be forged. send: notices as usual. limited: failure notices alone, "
        "without the message's body, at most 3 an hour to one address and 60 an hour in all, for each worker. "
        "withheld: none; the trace says so.",
    )
    quarantine_days: parts.QuarantineDays = 30
    quarantine_release: parts.QuarantineReleaseField = values.QuarantineRelease.ADMINISTRATORS
    quarantine_digest: parts.QuarantineDigest = False
    quarantine_language: parts.QuarantineLanguage = values.NoticeLanguage.ENGLISH
    authentication_results: parts.AuthenticationField = values.AuthenticationResults.NONE
    journal_to: parts.JournalTo = ""
    journal_form: parts.JournalFormField = values.JournalForm.REPORT
    journal_direction: parts.JournalDirectionField = values.JournalDirection.ALL
    journal_failures_to: parts.JournalFailuresTo = ""
    home: Annotated[str, AfterValidator(_home), Form("host name of a node, or nothing")] = Field(
        default="",
        description="The node of the site where the organization's mail is delivered. All other nodes pass its mail "
        "on to that node, always over TLS with certificates of the site (docs/internal-hops.md). Empty: "
        "each node delivers the mail itself.",
    )
    subaddress_separator: parts.SubaddressSeparator = ""
    allow_basic_auth_smtp: Switch = Field(
        default=True,
        description="Whether users may log in with a password to send mail. false: only with a token of an "
        "oauth_issuer.",
    )
    smime_decrypt: Switch = Field(
        default=False,
        description="Decrypt mail for mailboxes here on delivery, if it is encrypted to a key of the organization "
        "(gatepost smime identity; docs/smime.md).",
    )
    user_messages_per_day: parts.UserMessagesPerDay = 0
    user_recipients_per_day: parts.UserRecipientsPerDay = 0
    server_messages_per_day: parts.ServerMessagesPerDay = 0
    server_recipients_per_day: parts.ServerRecipientsPerDay = 0
    accepted_domains: tuple[AcceptedDomain, ...] = Field(
        default=(), alias="accepted_domain", description="[[organization.NAME.accepted_domain]]"
    )
    mailboxes: tuple[Mailbox, ...] = Field(default=(), alias="mailbox", description="[[organization.NAME.mailbox]]")
    inbound_connectors: tuple[InboundConnector, ...] = Field(
        default=(), alias="inbound_connector", description="[[organization.NAME.inbound_connector]]"
    )
    outbound_connectors: tuple[OutboundConnector, ...] = Field(
        default=(), alias="outbound_connector", description="[[organization.NAME.outbound_connector]]"
    )
    mail_flow_rules: tuple[MailFlowRule, ...] = Field(
        default=(), alias="mail_flow_rule", description="[[organization.NAME.mail_flow_rule]]"
    )
    oauth_issuers: tuple[OauthIssuer, ...] = Field(
        default=(), alias="oauth_issuer", description="[[organization.NAME.oauth_issuer]]"
    )
    content_hooks: tuple[ContentHook, ...] = Field(
        default=(), alias="content_hook", description="[[organization.NAME.content_hook]]"
    )
    dkim_keys: tuple[DkimKey, ...] = Field(default=(), alias="dkim_key", description="[[organization.NAME.dkim_key]]")
