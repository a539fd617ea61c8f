"""The types of fields that several resources have, or that have much to say: parts of `policy.connectors.records`."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

from gatepost.policy.connectors import values
from gatepost.policy.connectors.errors import SUBADDRESS_SEPARATOR
from gatepost.policy.connectors.fields import Form, Length, NetworkText, Parsed, Range, Switch, Whole
from gatepost.policy.connectors.names import mail_address
from gatepost.protocols.tls.limits import GROUPS, parse_group, parse_suite

# What an address says of a client, of inbound connectors.
SkipLastIp = Annotated[
    Switch,
    Field(
        description="Partner, for a filter in front of the gateway: address rules, content hooks and the trace see the "
        "client that the filter took the message from, by the filter's Received field (docs/load-balancer.md)."
    ),
]
SkipIps = Annotated[
    tuple[NetworkText, ...],
    Field(
        description="The same for a filter of several hops: the addresses of all its hosts. The gateway skips them and "
        "private addresses in the Received fields; the first other address is the client."
    ),
]
SendersByAddress = Annotated[
    values.AddressSenders,
    Field(
        description="On-premises: the reverse-paths with which servers that only sender_ip_addresses identify may "
        "relay. accepted-domains-and-null: also the null reverse-path of notices and automatic replies. any: also "
        "foreign domains, which forwarded mail has; the gateway rewrites them (SRS)."
    ),
]

# Limits of TLS beyond its version, of connectors of both directions: what they mean, and which make no sense, is in
# `policy.connectors.tls_rules`.
Group = Annotated[str, Parsed(parse_group), Form(", ".join(f'"{group}"' for group in GROUPS))]
CipherSuite = Annotated[str, Parsed(parse_suite), Form("IANA or OpenSSL name of a cipher suite")]

MinKeyExchange = Annotated[
    values.KeyExchange,
    Field(
        description="Weakest key exchange that meets the requirement. classical: whatever the profile allows. "
        "post-quantum: only X25519MLKEM768, which needs TLS 1.3."
    ),
]
Groups = Annotated[
    tuple[Group, ...],
    Length(most=100),
    Field(
        description="Groups for the key exchange. No other key exchange meets the requirement. Their order has no "
        "effect. Empty: whatever the profile allows."
    ),
]
CipherSuites = Annotated[
    tuple[CipherSuite, ...],
    Length(most=100),
    Field(
        description="Cipher suites, of TLS 1.3 and of older versions, as `gatepost tls profiles` lists them. No other "
        "suite meets the requirement, and a version without a listed suite does not either. Their order has no "
        "effect. Empty: whatever the profile allows."
    ),
]

# How much a connector, a user or a server may send.
_PerDay = Annotated[Whole, Range(0, 10_000_000)]
MaxConnections = Annotated[
    Whole,
    Range(0, 1000),
    Field(
        description="Connections to one next hop at the same time (the smart hosts together, or the MX hosts that "
        "domains share), including idle ones. 0: [queue] connections_per_destination, which is the upper limit in any "
        "case."
    ),
]
MaxMessagesPerMinute = Annotated[
    Whole,
    Range(0, 1_000_000),
    Field(
        description="Messages to one next hop in a minute, spread over it. Mail beyond it waits, without a failed "
        "attempt, and other mail overtakes it (docs/sending-limits.md). 0: [queue] "
        "messages_per_minute_per_destination."
    ),
]
MessagesPerDay = Annotated[
    _PerDay,
    Field(description="Messages that it may send in a day (UTC). 0: only the organization's limit."),
]
RecipientsPerDay = Annotated[
    _PerDay,
    Field(description="Recipients to which it may send in a day (UTC). 0: only the organization's limit."),
]
UserMessagesPerDay = Annotated[
    _PerDay,
    Field(
        description="Messages that each user who logs in may send in a day (UTC). A mailbox can have a lower limit. "
        "Only the gateway's owner can change it. 0: no limit."
    ),
]
UserRecipientsPerDay = Annotated[
    _PerDay,
    Field(description="The same for recipients: each recipient of each message counts."),
]
ServerMessagesPerDay = Annotated[
    _PerDay,
    Field(
        description="Messages that the servers of each on-premises inbound connector may send together in a day (UTC). "
        "A connector can have a lower limit. Only the gateway's owner can change it. 0: no limit."
    ),
]
ServerRecipientsPerDay = Annotated[
    _PerDay,
    Field(description="The same for recipients: each recipient of each message counts."),
]
Priority = Annotated[
    Whole,
    Range(0, 1000),
    Field(
        description="The gateway tries lower numbers first. Among equal numbers, the more specific domain wins. Keep "
        "the default unless you need an exception."
    ),
]

# Quarantine, subaddresses and authentication, of organizations: what authentication means for a message is decided in
# `policy.decisions.authentication`.
QuarantineDays = Annotated[
    Whole,
    Range(1, 30),
    Field(
        description="How many days messages stay in the organization's quarantine before the gateway deletes them "
        "(docs/quarantine.md). It applies to messages that arrive from now on."
    ),
]
QuarantineReleaseField = Annotated[
    values.QuarantineRelease,
    Field(
        description="Who may release messages from the organization's quarantine. administrators: also the "
        "organization's own administrators and operators. gateway: only administrators and operators of the whole "
        "gateway, and only they can change this back."
    ),
]
QuarantineDigest = Annotated[
    Switch,
    Field(description="Once a day, send each mailbox a message that lists what is new in quarantine for it."),
]
QuarantineLanguage = Annotated[
    values.NoticeLanguage,
    Field(description="Language of that daily message: English, Swedish or German."),
]
SubaddressSeparator = Annotated[
    str,
    Form("+, -, =, _, #, ~ or nothing"),
    Field(
        pattern=SUBADDRESS_SEPARATOR,
        description='"+": mail for ann+tag goes to the mailbox ann, unless there is a mailbox ann+tag (RFC 5233). '
        "Empty: no subaddresses.",
    ),
]
AuthenticationField = Annotated[
    values.AuthenticationResults,
    Field(
        description="Who checks SPF, DKIM, DMARC and ARC of mail from others. The results are added in an "
        "Authentication-Results header field; no mail is refused because of them. gateway: the gateway checks. "
        "rspamd: the organization's rspamd content hook checks. With both the gateway removes forged results, and "
        "seals mail that it forwards or relays with a DKIM key of the organization (ARC; docs/authentication.md)."
    ),
]


# Journaling, of organizations and mail flow rules.
def _optional_address(value: str) -> str:
    return mail_address(value) if value else value


_Address = Annotated[str, AfterValidator(_optional_address), Form("mail address, or nothing")]

JournalTo = Annotated[
    _Address,
    Field(
        description="Journal mailbox: a copy of each message goes to this address. Name a mailbox of the "
        "organization, or an address to which a connector forces verified TLS (docs/journaling.md). Empty: no journal."
    ),
]
JournalFormField = Annotated[
    values.JournalForm,
    Field(
        description="report: a journal report with sender and all recipients, the message attached unchanged. copy: "
        "the message itself in a new envelope, without the list of recipients."
    ),
]
JournalDirectionField = Annotated[
    values.JournalDirection,
    Field(
        description="Which mail is journaled. incoming: from others. outgoing: to others. internal: from the "
        "organization to itself. external: incoming and outgoing."
    ),
]
JournalFailuresTo = Annotated[
    _Address,
    Field(
        description="Where a journal copy goes that the journal mailbox refuses, or that expires; the same rules apply "
        "to it as to journal_to. Empty: the copy stays in the queue and raises an alarm. The sender is never notified."
    ),
]
