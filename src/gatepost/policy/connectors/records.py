"""The resources: every field with its type, default and meaning.

The declaration that the file, the command line, the API and the admin centre share; docs and forms are generated from
it (`policy.connectors.describe`). Rules across fields are in `policy.connectors.rules`; documents are read by
`policy.connectors.model`.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

from gatepost.policy.connectors.content_hook import ContentHook  # noqa: TC001 - pydantic reads the annotation
from gatepost.policy.connectors.dkim_key import DkimKey  # noqa: TC001 - pydantic reads the annotation
from gatepost.policy.connectors.fields import (
    Access,
    ClientLabel,
    Domain,
    Duration,
    FilePath,
    Form,
    Label,
    NamePattern,
    NetworkText,
    Owned,
    Pattern,
    Range,
    Record,
    SmartHostField,
    Switch,
    Text,
    TrustAnchorsText,
    Version,
    Whole,
)
from gatepost.policy.connectors.mail_flow_rule import MailFlowRule  # noqa: TC001 - pydantic reads the annotation
from gatepost.policy.connectors.names import SmartHost, domain_name, host_port, socket_path
from gatepost.policy.connectors.oauth import OauthIssuer  # noqa: TC001 - pydantic reads the annotation
from gatepost.policy.connectors.units import format_duration
from gatepost.policy.connectors.values import (
    Cleartext,
    ConnectorType,
    ContentProtection,
    DkimKeyUnavailable,
    DomainType,
    Mode,
    MtaStsMode,
    ProfileName,
    ProtectionDrop,
    PublishedSts,
    RequireTlsMode,
    RevocationCheck,
    SmartHostOrder,
    SmtpDaneMode,
    TlsSettings,
)
from gatepost.protocols.smtp.grammar import GrammarError, parse_address


def _address(value: str) -> str:
    """An addr-spec with its domain in lower-case A-labels; the local part as it was written."""
    try:
        path = parse_address(value)
    except GrammarError as error:
        raise ValueError(f"{value!r} is not a mail address: {error}") from None
    return f"{value.rpartition('@')[0]}@{domain_name(path.domain)}"


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
    return _address(value) if value else value


def _home(value: str) -> str:
    return domain_name(value) if value else value


def _delivery_access(value: str) -> Access | None:
    if value.startswith("lmtp:unix:"):
        return Access.MACHINE
    return Access.NETWORK if value.startswith("lmtp:") else None


IdentityFile = Annotated[
    FilePath,
    Owned(lambda value: Access.MACHINE if value else None, "write the label of a client identity of the organization"),
]
MailAddress = Annotated[str, AfterValidator(_address), Form("mail address")]


class AcceptedDomain(Record):
    """A domain whose mail the organization takes in."""

    name: NamePattern = Field(
        description='The domain. With type = "internal-relay" also "*.domain": the domain and all its subdomains.'
    )
    type: DomainType = Field(
        default=DomainType.AUTHORITATIVE,
        description="authoritative: the mailboxes written here are all there are, and other recipients are refused, "
        "once there is one. internal-relay: recipients without a mailbox here are sent on by an outbound connector.",
    )
    verified: Switch = Field(
        default=True,
        description="Whether the domain is known to be the organization's. false: it is pending, and nothing in it has "
        "an effect on mail. Who administers the whole gateway writes it; a domain that others add is pending until "
        "`gatepost domain verify` finds its TXT record.",
    )
    mta_sts: PublishedSts = Field(
        default=PublishedSts.NOT_PUBLISHED,
        description="The MTA-STS policy that the gateway serves for the domain (RFC 8461). testing: senders report "
        "what enforce would break. none: withdraws a policy that was published; keep it for as long as that one's age.",
    )
    mta_sts_mx: tuple[NamePattern, ...] = Field(
        default=(),
        description='MX hosts in the served policy, "mx.a.example" or "*.a.example". Empty: the gateway\'s own name.',
    )
    mta_sts_max_age: Annotated[Duration, Range(86400, 31557600, format_duration)] = Field(
        default=604800, description="How long senders may keep the served policy."
    )


class Mailbox(Record):
    """A recipient that this gateway delivers itself."""

    address: MailAddress = Field(
        description="The address. Its domain must be an accepted domain of the organization. Case does not matter when "
        "mail comes in."
    )
    aliases: tuple[MailAddress, ...] = Field(
        default=(),
        description="Further addresses of the mailbox, each in an accepted domain of the organization.",
    )
    delivery: Annotated[
        str,
        AfterValidator(_delivery),
        Form('"maildir", "lmtp:HOST:PORT" or "lmtp:unix:/path"'),
        Owned(_delivery_access, '"maildir" or "lmtp:HOST:PORT"'),
    ] = Field(
        default="maildir",
        description="maildir: into a Maildir under the data directory. lmtp:HOST:PORT, lmtp:unix:/path: over LMTP "
        "(RFC 2033). A HOST that is not this machine must offer STARTTLS, with a trusted certificate for HOST. The "
        "gateway's owner alone may name a socket.",
    )
    forwarding_smtp_address: Annotated[str, AfterValidator(_forwarding_address), Form("mail address")] = Field(
        default="", description="Where mail for the mailbox is sent on to. Empty: nowhere."
    )
    deliver_to_mailbox_and_forward: Switch = Field(
        default=False, description="Mail that is sent on is delivered to the mailbox as well."
    )
    tls_reports: Switch = Field(
        default=False,
        description="TLS reports (RFC 8460) that come to the mailbox are read: for the address that _smtp._tls records "
        'name with rua=mailto:. Its delivery must be "maildir".',
    )


class ClientCertificate(Record):
    """The certificate with which the gateway proves who it is to a next hop that asks: a label, or two files."""

    label: ClientLabel = Field(
        default="",
        description="Of a client identity of this organization, as `gatepost certificate list` shows it; the one that "
        "is current is presented. If there is none, mail waits.",
    )
    chain: IdentityFile = Field(
        default="",
        description="File with the certificate and its intermediates, PEM, leaf first. Not beside label. The gateway's "
        "owner alone may name it.",
    )
    key: IdentityFile = Field(
        default="",
        description="File with the private key, PEM, mode 0600. Not beside label. The gateway's owner alone may name "
        "it.",
    )


class InboundConnector(Record):
    """The demands on those who send to the organization or through it, and the rights that they have.

    A *partner* connector holds for mail from its sender_domains to the organization. An *on-premises* connector knows
    the organization's own servers by certificate or address and lets them relay.
    """

    name: Label = Field(description="Unique among the inbound connectors of the organization.")
    enabled: Switch = Field(default=True, description="A disabled connector takes no part in matching.")
    mode: Mode = Field(
        default=Mode.ENFORCE,
        description="rehearse: what the connector would refuse is reported and let through.",
    )
    connector_type: ConnectorType = Field(
        default=ConnectorType.PARTNER,
        description="partner: another organization or a service. on-premises: the organization's own servers, which "
        "may send to any domain.",
    )
    sender_domains: tuple[Pattern, ...] = Field(
        default=(),
        description='Partner: whose mail the connector holds for, by the domain of the reverse-path. "*" is all mail, '
        "that with the null reverse-path included.",
    )
    sender_ip_addresses: tuple[NetworkText, ...] = Field(
        default=(),
        description="Where the mail comes from, IPv4 or IPv6. Identifies an on-premises server; restricts a partner "
        "only with restrict_domains_to_ip_addresses. Not wider than /24 (IPv4) or /48 (IPv6) unless the server's "
        "limits allow it.",
    )
    require_tls: Switch = Field(
        default_factory=lambda fields: fields.get("connector_type") is ConnectorType.PARTNER,
        description="Refuse mail that does not come over TLS. Default: true for a partner, false for on-premises.",
    )
    restrict_domains_to_certificate: Switch = Field(
        default=False,
        description="Partner: refuse mail from sender_domains unless the client's certificate is trusted and bears "
        "tls_sender_certificate_name.",
    )
    restrict_domains_to_ip_addresses: Switch = Field(
        default=False,
        description="Partner: refuse mail from sender_domains unless it comes from sender_ip_addresses.",
    )
    tls_sender_certificate_name: NamePattern | None = Field(
        default=None,
        description='Name in the client\'s certificate (subjectAltName): "mail.b.example", or "*.b.example" for '
        "b.example "
        "and all names under it.",
    )
    match_common_name: Switch = Field(
        default=False,
        description="Also look for the name in the subject's CN, as Exchange does. RFC 9525 leaves the CN out.",
    )
    associated_accepted_domains: tuple[Domain, ...] = Field(
        default=(),
        description="Narrow the connector to these accepted domains: of the recipient for a partner, of the sender for "
        "on-premises. Empty: all.",
    )
    treat_messages_as_internal: Switch = Field(
        default=False,
        description="On-premises: mail whose reverse-path is in an accepted domain of the organization counts as "
        "internal.",
    )
    cloud_services_mail_enabled: Switch = Field(
        default=False,
        description="On-premises: servers known by certificate are Exchange of the organization itself, and what they "
        "say in X-MS-Exchange-CrossPremises header fields is believed (hybrid). Of anybody else such fields are taken "
        "out.",
    )
    trust_anchors: TrustAnchorsText = Field(
        default="",
        description='Roots for the client\'s certificate: "system", certificates in PEM, or a file or a directory, '
        "which the gateway's owner alone may name. Empty: the server's own.",
    )
    revocation_check: RevocationCheck = Field(
        default=RevocationCheck.SOFT_FAIL,
        description="Look for the client's certificate among the revoked ones (CRL, OCSP). soft-fail: a certificate of "
        "which nothing can be learnt counts as good. hard-fail: the mail is deferred until it can.",
    )
    min_tls_version: Version | None = Field(
        default=None,
        description="Refuse mail over an older version. Empty: what the profile allows. TLSv1.0 and TLSv1.1 need "
        'profile = "legacy".',
    )
    profile: ProfileName | None = Field(
        default=None,
        description="TLS profile whose lowest version the session must have. Empty: whatever the listener agreed to.",
    )
    priority: Annotated[Whole, Range(0, 1000)] = Field(
        default=100,
        description="Lower numbers are looked at first, before the more specific domain decides; leave them equal "
        "unless an exception needs it.",
    )
    comment: Text = Field(default="", description="For people; no effect.")


class OutboundConnector(Record):
    """The route of mail to certain domains, and the protection that the route must have."""

    name: Label = Field(description="Unique among the outbound connectors of the organization.")
    enabled: Switch = Field(default=True, description="A disabled connector takes no part in matching.")
    mode: Mode = Field(
        default=Mode.ENFORCE,
        description="rehearse: the connector routes, but what it demands of TLS is only judged and reported.",
    )
    connector_type: ConnectorType = Field(
        default=ConnectorType.PARTNER,
        description="partner: other organizations. on-premises: the organization's own servers.",
    )
    recipient_domains: tuple[Annotated[Pattern, Owned(lambda _: Access.NETWORK)], ...] = Field(
        default=(),
        description="Domains of recipients. An exact name is preferred to the longest wildcard, that to "
        'all_accepted_domains, and that to "*".',
    )
    is_transport_rule_scoped: Switch = Field(
        default=False,
        description="Used only where a mail flow rule names it (route_via_connector), never for its "
        "recipient_domains alone.",
    )
    all_accepted_domains: Switch = Field(
        default=False,
        description="On-premises: also every accepted domain of the organization, for recipients without a mailbox "
        "here.",
    )
    route_all_messages_via_on_premises: Switch = Field(
        default=False,
        description="On-premises: everything goes here first, before all other connectors, except mail that came from "
        "there: that is sent back only for a domain that is named here.",
    )
    cloud_services_mail_enabled: Switch = Field(
        default=False,
        description="On-premises: the next hop is Exchange of the organization itself, and is told in "
        "X-MS-Exchange-CrossPremises header fields what is known of the message (hybrid). From other mail that leaves "
        "such fields are taken out.",
    )
    sender_rewriting_enabled: Switch = Field(
        default=False,
        description="On-premises: a reverse-path of somebody else's domain is rewritten (SRS) here already, not only "
        "when the message leaves for strangers.",
    )
    smart_hosts: tuple[SmartHostField, ...] = Field(
        default=(),
        description="Next hops, instead of the recipient domain's MX. Port 25 unless written.",
    )
    smart_host_order: SmartHostOrder = Field(
        default=SmartHostOrder.LISTED,
        description="listed: smart_hosts are tried in the order in which they stand; the first takes all mail while it "
        "can. shuffled: each message begins with any of them, so that they share the load (as Exchange does).",
    )
    use_mx_record: Switch = Field(
        default_factory=lambda fields: not fields.get("smart_hosts"),
        description="Route by the recipient domain's MX records. Default: true unless there are smart_hosts.",
    )
    tls_settings: TlsSettings = Field(
        default=TlsSettings.OPPORTUNISTIC,
        description="opportunistic: TLS if it is offered. encryption-only: TLS, any certificate. "
        "certificate-validation: and a trusted chain. domain-validation: and the name in tls_domain. Mail under a "
        "demand that is not met waits; it never leaves below it.",
    )
    tls_domain: NamePattern | None = Field(
        default=None,
        description='Name in the next hop\'s certificate, for domain-validation: "mail.b.example", or "*.b.example" '
        "for "
        "b.example and all names under it. Empty: the smart host's name, or without smart hosts the recipient domain.",
    )
    smtp_dane_mode: SmtpDaneMode = Field(
        default=SmtpDaneMode.OPPORTUNISTIC,
        description="DANE (RFC 7672): where the domain publishes it, required from every domain, or not looked up.",
    )
    mta_sts_mode: MtaStsMode = Field(
        default=MtaStsMode.OPPORTUNISTIC,
        description="MTA-STS (RFC 8461): where the domain publishes it, or not looked up.",
    )
    requiretls_mode: RequireTlsMode = Field(
        default=RequireTlsMode.ENFORCE,
        description="Messages that ask for TLS all the way (REQUIRETLS, RFC 8689). enforce: the next hop must prove "
        "who it is and offer REQUIRETLS, else the message fails. relaxed: it must prove who it is; if it does not "
        "offer REQUIRETLS the message is sent without it, and the trace says so.",
    )
    client_certificate: ClientCertificate | None = Field(
        default=None, description="Certificate to present when the next hop asks for one."
    )
    trust_anchors: TrustAnchorsText = Field(
        default="",
        description='Roots for the next hop\'s certificate: "system", certificates in PEM, or a file or a directory, '
        "which the gateway's owner alone may name. Empty: the server's own.",
    )
    revocation_check: RevocationCheck = Field(
        default=RevocationCheck.SOFT_FAIL,
        description="Under certificate-validation and domain-validation, look for the next hop's certificate among the "
        "revoked ones (stapled OCSP, CRL, OCSP). soft-fail: a certificate of which nothing can be learnt counts as "
        "good. hard-fail: mail waits until it can.",
    )
    min_tls_version: Version | None = Field(
        default=None,
        description="Oldest TLS version that meets the demand. Empty: what the profile allows. TLSv1.0 and TLSv1.1 "
        'need profile = "legacy".',
    )
    profile: ProfileName | None = Field(
        default=None, description="TLS profile to offer the next hop. Empty: the server's own."
    )
    cleartext: Cleartext | None = Field(
        default=None,
        description="With opportunistic TLS, when mail may leave in clear. Empty: as the organization says. never is "
        "the same as encryption-only.",
    )
    encrypt: ContentProtection = Field(
        default=ContentProtection.NONE,
        description="smime: the content is encrypted to the certificates of the recipients (docs/smime.md). Mail for a "
        "recipient without a usable one waits; it never leaves in clear.",
    )
    sign: ContentProtection = Field(
        default=ContentProtection.NONE,
        description="smime: what the organization's own users and servers send is signed with its certificate for the "
        "author's address or domain. Mail that cannot be signed waits.",
    )
    priority: Annotated[Whole, Range(0, 1000)] = Field(
        default=100,
        description="Lower numbers are looked at first, before the more specific domain decides; leave them equal "
        "unless an exception needs it.",
    )
    comment: Text = Field(default="", description="For people; no effect.")


class Organization(Record):
    """A tenant: its domains, its mailboxes and its connectors."""

    name: Annotated[
        str, Field(pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"), Form("lower-case letters, digits, -")
    ] = Field(
        description="The name in the heading, [organization.NAME]; it is part of file names and never shown to peers."
    )
    display_name: Text = Field(default="", description="Name for people.")
    message_expiration: Annotated[Duration, Range(1, 1209600, format_duration)] | None = Field(
        default=None,
        description="How long mail of the organization stays queued. Empty: the server's "
        "[queue] message_expiration, 24 h.",
    )
    reject_direct_send: Switch = Field(
        default=False,
        description="Refuse mail from strangers whose reverse-path is in an accepted domain of the organization, "
        "unless a connector knows them by certificate or address.",
    )
    cleartext: Cleartext = Field(
        default=Cleartext.ONLY_IF_NOT_OFFERED,
        description="When mail that no connector protects may leave in clear. only-if-not-offered: when the next hop "
        "offers no STARTTLS. after-failed-handshake: also on a later attempt after a failed handshake. never: TLS is "
        "required everywhere.",
    )
    protection_drop: ProtectionDrop = Field(
        default=ProtectionDrop.WARN,
        description="When a destination protects connections less than it was seen to do before. warn: the mail goes, "
        "and log and trace say so. hold: it waits in the queue until somebody releases it.",
    )
    dkim_key_unavailable: DkimKeyUnavailable = Field(
        default=DkimKeyUnavailable.DEFER,
        description="When mail is to be signed and no current key of its domain can be used (the master key is gone, a "
        "file cannot be read). defer: it waits. send-unsigned: it goes without a signature, and log and trace say so.",
    )
    home: Annotated[str, AfterValidator(_home), Form("host name of a node, or nothing")] = Field(
        default="",
        description="The node of the site where the organization lives: every other node hands its mail over to that "
        "one, always over TLS with certificates of the site (docs/internal-hops.md). Empty: each node delivers itself.",
    )
    subaddress_separator: Annotated[str, Field(pattern=r"^[-+=_#~]?$"), Form("+, -, =, _, #, ~ or nothing")] = Field(
        default="",
        description='"+": mail for ann+tag goes to the mailbox ann, unless there is a mailbox ann+tag (RFC 5233). '
        "Empty: such an address is one like any other.",
    )
    allow_basic_auth_smtp: Switch = Field(
        default=True,
        description="Whether its users may log in with a password to send mail. false: only with a token of an "
        "oauth_issuer.",
    )
    smime_decrypt: Switch = Field(
        default=False,
        description="Mail for mailboxes here that is encrypted to a key of the organization (gatepost smime identity) "
        "is decrypted when it is delivered (docs/smime.md).",
    )
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
