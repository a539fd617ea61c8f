"""The settings of one server: every key with its type, default, meaning, and where the default comes from.

Read by `settings.loader`; `settings.describe` makes the documentation from these classes. The keys are the contract.
Settings say how this machine works; who may send what to whom is in the resources (`connectors.model`).
"""

from __future__ import annotations

from enum import StrEnum
from ipaddress import ip_address
from typing import Annotated

from pydantic import AfterValidator, Field

from gatepost.connectors.fields import (
    Domain,
    Duration,
    FilePath,
    Form,
    ListenAddress,
    Range,
    Record,
    Size,
    Switch,
    Text,
    Whole,
)
from gatepost.connectors.names import SmartHost, host_port
from gatepost.connectors.rules import PrefixLimits
from gatepost.connectors.units import format_duration, format_size
from gatepost.connectors.values import ProfileName
from gatepost.settings.acme import Acme
from gatepost.settings.addresses import address_or_none
from gatepost.settings.site import Site
from gatepost.smtp.grammar import GrammarError, parse_address
from gatepost.smtp.limits import SmtpLimits

__all__ = [
    "Admin",
    "Alarms",
    "Certificate",
    "CertificateTable",
    "Dns",
    "DnsValidation",
    "Limits",
    "Listener",
    "ListenerRole",
    "Log",
    "LogFormat",
    "LogLevel",
    "Metrics",
    "MtaSts",
    "Outbound",
    "Queue",
    "Server",
    "Settings",
    "Store",
    "Tls",
]


class ListenerRole(StrEnum):
    """What a listening address is for."""

    MX = "mx"
    SUBMISSION = "submission"
    SUBMISSIONS = "submissions"
    INTERNAL = "internal"


class LogLevel(StrEnum):
    """What is logged: this and everything graver."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class LogFormat(StrEnum):
    """Lines for people, or one JSON object a line for machines."""

    TEXT = "text"
    JSON = "json"


class DnsValidation(StrEnum):
    """Who finds out whether DNSSEC proves an answer."""

    NAMESERVER = "nameserver"
    LOCAL = "local"


def _postmaster(value: str) -> str:
    try:
        return parse_address(value).text if value else ""
    except GrammarError as error:
        raise ValueError(f"{value!r} is not a mail address: {error.why}") from None


def _owner(value: str) -> str:
    if not value:
        raise ValueError("an empty text is no mail address; leave it out")
    return _postmaster(value)


def _store_url(value: str) -> str:
    if value == "sqlite:":
        return value
    if value.startswith("postgresql:"):
        raise ValueError('this version of gatepost has no PostgreSQL store; write "sqlite:"')
    raise ValueError(f'{value!r} is no store; write "sqlite:", which keeps mail in data_dir')


def _nameserver(value: str) -> str:
    server = SmartHost(*host_port(value, 53))
    if not server.is_address:
        raise ValueError(f"{value!r}: a nameserver is named by its IP address, as names need a nameserver first")
    return f"[{server.host}]:{server.port}" if ":" in server.host else f"{server.host}:{server.port}"


def _address(value: str) -> str:
    try:
        return str(ip_address(value))
    except ValueError:
        raise ValueError(f"{value!r} is no IP address; write it without port and without brackets") from None


def _master_key(value: str) -> str:
    if value and not value.startswith(("file:/", "env:", "credential:")):
        raise ValueError(f"{value!r} is not possible here; write file:/PATH, env:NAME or credential:NAME")
    return value


PathText = Annotated[FilePath, Field(min_length=1)]
Seconds = Annotated[Duration, Range(0.001, 86400, format_duration)]
Count = Annotated[Whole, Range(1, 1_000_000)]


class Server(Record):
    """The machine and its processes."""

    hostname: Domain = Field(
        description="The name in greetings, in EHLO, in trace fields and in replies: fully qualified, with an address "
        "in the DNS that leads back to it (RFC 5321 section 2.3.5)."
    )
    data_dir: PathText = Field(
        default="/var/lib/gatepost",
        description="Directory for the queue, the trace, the resources and the Maildirs; on a disk that keeps its "
        "promises about fsync. A relative path starts at the directory of the settings file.",
    )
    workers: Annotated[Whole, Range(0, 256)] = Field(
        default=0, description="Worker processes, 0 for one a core. Each has a shard of the queue of its own."
    )
    user: Text = Field(
        default="", description="Account to change to when the ports are bound. Empty: stay who started the gateway."
    )
    group: Text = Field(default="", description="Group to change to. Empty: the account's own.")
    postmaster: Annotated[str, AfterValidator(_postmaster), Form("mail address")] = Field(
        default="",
        description="Where mail to postmaster without a domain goes (RFC 5321 section 4.5.1). Empty: it is refused.",
    )
    drain: Seconds = Field(
        default=30, description="How long running sessions and deliveries get to end when the gateway stops."
    )


class Listener(Record):
    """An address to listen on."""

    role: ListenerRole = Field(
        description="mx: mail from other servers. submission: mail from users, STARTTLS. submissions: the same, TLS "
        "from the start (RFC 8314). internal: mail from other nodes of the site, TLS from the start, with the site's "
        "certificates on both sides."
    )
    address: ListenAddress = Field(
        description='Address and port: "0.0.0.0:25" for all of IPv4, "[::]:25" for all of IPv6.'
    )


class Store(Record):
    """Where mail is kept until it is delivered."""

    url: Annotated[str, AfterValidator(_store_url), Form('"sqlite:"')] = Field(
        default="sqlite:", description="sqlite: embedded, files in data_dir."
    )
    inline_limit: Size = Field(
        default=262144,
        description="Bodies up to this size are kept in the database, larger ones in a file of their own.",
    )
    memory_budget: Size = Field(
        default=33554432, description="Arriving bodies kept in memory by each worker; beyond it they go to files."
    )
    free_space: Size = Field(
        default=134217728, description="Space left on the disk below which no more mail is accepted (452 4.3.1)."
    )
    master_key: Annotated[str, AfterValidator(_master_key), Form('"file:PATH", "env:NAME" or "credential:NAME"')] = (
        Field(
            default="",
            description="What seals the private keys in the store: 32 bytes or more from a file of mode 0600, an "
            "environment variable, or a systemd credential. Keep a copy apart from the data. Empty: the store takes no "
            "keys; they stay in files.",
        )
    )


class Dns(Record):
    """The resolvers to ask."""

    nameservers: Annotated[
        tuple[Annotated[str, AfterValidator(_nameserver), Form("IP address, or address:port")], ...],
        Field(min_length=1),
    ] = Field(
        default=("127.0.0.1:53",),
        description='Recursive resolvers, asked in this order. Port 53 unless written. With validate = "local" those '
        "that are written here carry the answers; if none is, the gateway starts at the root's servers itself.",
    )
    validation: DnsValidation = Field(
        default=DnsValidation.NAMESERVER,
        alias="validate",
        description="Who validates DNSSEC. nameserver: nameservers that are believed (trust_ad, trusted). local: the "
        "gateway itself, with libunbound (Debian: libunbound8), without which it does not start.",
    )
    trust_ad: Switch = Field(
        default=True,
        description="Believe the AD bit (RFC 6840) of nameservers on loopback, which must validate DNSSEC; DANE needs "
        "it. No other nameserver is believed unless trusted lists it, as anybody on the way could set it, and none is "
        "asked beside one that is believed.",
    )
    trusted: tuple[Annotated[str, AfterValidator(_address), Form("IP address")], ...] = Field(
        default=(),
        description="Addresses of nameservers elsewhere whose AD bit is believed too. Whoever can alter packets on the "
        "way to one can then take DANE from your mail, or forge its destination: only for a way that is yours alone.",
    )
    trust_anchor_file: PathText = Field(
        default="/usr/share/dns/root.key",
        description='The root\'s keys for validate = "local", DS or DNSKEY records in zone file form (Debian: '
        "dns-root-data). Read at the start; who keeps the file current is the system, not the gateway.",
    )
    timeout: Seconds = Field(default=5, description="Wait for one answer (resolv.conf: 5 s).")
    attempts: Annotated[Whole, Range(1, 10)] = Field(
        default=2, description="Rounds over all nameservers (resolv.conf: 2)."
    )


class Tls(Record):
    """TLS where neither a connector nor a listener says otherwise."""

    profile: ProfileName = Field(
        default=ProfileName.DEFAULT,
        description="modern: TLS 1.3. default: and 1.2 with forward secrecy. compatible: and the rest of Exchange's "
        "published list. legacy: and TLS 1.0 and 1.1.",
    )
    trust_anchors: PathText = Field(
        default="system",
        description='Roots that certificates of others must lead to: "system", a PEM file, or a directory of them.',
    )
    revocation_timeout: Annotated[Duration, Range(0.1, 60, format_duration)] = Field(
        default=10,
        description="How long to look for a certificate among the revoked ones before its status is unknown.",
    )


class Certificate(Record):
    """A certificate to present. Several: RSA beside ECDSA, and by name (SNI); without any, no STARTTLS is offered."""

    chain: PathText = Field(description="File with the certificate and its intermediates, PEM, leaf first.")
    key: PathText = Field(description="File with the private key, PEM, mode 0600.")


class Admin(Record):
    """The admin centre."""

    address: ListenAddress = Field(default="127.0.0.1:8443", description="Where it listens.")


class Metrics(Record):
    """Counters for monitoring."""

    address: ListenAddress = Field(default="127.0.0.1:9464", description="Where they can be read.")


class MtaSts(Record):
    """Serving the MTA-STS policies of our own accepted domains over HTTPS (RFC 8461 section 3.3)."""

    address: Annotated[
        str, AfterValidator(address_or_none), Form('"host:port" or "[v6]:port"; empty: policies are not served')
    ] = Field(
        default="",
        description='Where they are served, such as "0.0.0.0:443": senders ask port 443 of mta-sts.DOMAIN, no other. A '
        "[[certificate]] must bear that name. Which domains have a policy is written in accepted_domain.",
    )


class Alarms(Record):
    """Who is told when something is wrong with the gateway's own certificates."""

    mail_to: Annotated[
        tuple[Annotated[str, AfterValidator(_owner), Form("mail address")], ...], Field(max_length=20)
    ] = Field(
        default=(),
        description="Who gets mail about it: at once for what is critical, else one message a day at most. Empty: "
        "server.postmaster, if that is set. The log and `gatepost certificate alarms` say the same.",
    )


class CertificateTable(Record):
    """Serving the table of our certificates that partners need, at https://HOSTNAME/certificates (S12, S13)."""

    address: Annotated[
        str, AfterValidator(address_or_none), Form('"host:port" or "[v6]:port"; empty: the table is not served')
    ] = Field(
        default="",
        description='Where it is served, to everybody who knows the name, such as "0.0.0.0:443"; the address of '
        "[mta_sts] may be the same. A certificate must bear server.hostname.",
    )


class Limits(Record):
    """What peers may make this server keep or do. Nothing is without a limit."""

    connections: Count = Field(
        default=5000, description="Inbound connections of each worker (Exchange's Receive connector: 5000)."
    )
    connections_per_source: Count = Field(
        default=100,
        description="Of them from one IPv4 address or IPv6 /64 (Exchange: 20 and 2 %; large senders open more).",
    )
    idle_timeout: Seconds = Field(
        default=300, description="Wait for the client's next bytes (RFC 5321 section 4.5.3.2.7: 5 minutes at least)."
    )
    command_timeout: Seconds = Field(
        default=300, description="Wait for its next complete command, however many bytes come meanwhile."
    )
    session_time: Seconds = Field(default=3600, description="Longest session (Exchange: 10 minutes).")
    data_rate_min: Annotated[Whole, Range(0, 1_000_000)] = Field(
        default=100, description="Bytes per second that a message must keep up, 0 for no check (our choice)."
    )
    data_rate_period: Seconds = Field(default=60, description="Time over which data_rate_min is measured (our choice).")
    command_line: Annotated[Whole, Range(512, 65536)] = Field(
        default=4096,
        description="Octets of a command with its CRLF (RFC 5321 section 4.5.3.1.4: 512, and what the extensions add).",
    )
    text_line: Annotated[Whole, Range(0, 1_000_000)] = Field(
        default=0,
        description="Octets of a line of a message, 0 for any length (RFC 5321 section 4.5.3.1.6: 1000; longer ones "
        "are common, and cost no memory here).",
    )
    header_bytes: Annotated[Size, Range(1024, 1 << 24, format_size)] = Field(
        default=262144, description="Header section of a message (Exchange: 256 KB)."
    )
    message_bytes: Annotated[Size, Range(65536, 1 << 40, format_size)] = Field(
        default=52428800,
        description="Size of a message, announced as SIZE (RFC 1870; Exchange Online: 150 MB at most).",
    )
    recipients: Annotated[Whole, Range(100, 1_000_000)] = Field(
        default=1000,
        description="Recipients of a message (RFC 5321 section 4.5.3.1.8: 100 at least; Exchange Online: 1000). More "
        "are told 452 4.5.3.",
    )
    errors: Annotated[Whole, Range(1, 1000)] = Field(
        default=10, description="Protocol errors of a session before 421 4.7.0 (Exchange: 5, Postfix: 20)."
    )
    commands_without_mail: Count = Field(
        default=100,
        description="NOOP, RSET, VRFY and the like since the last message, before 421 4.7.0 (Postfix: 100).",
    )
    bdat_chunks: Count = Field(
        default=20000, description="BDAT commands of a message (RFC 3030; our choice: chunks of 8 KB are common)."
    )
    transactions: Count = Field(default=1000, description="Messages of a session (our choice).")
    discard_bytes: Size = Field(
        default=67108864,
        description="What a session may go on sending of a message that is refused already (our choice: more than a "
        "message may have).",
    )
    hops: Annotated[Whole, Range(10, 1000)] = Field(
        default=30,
        description="Received fields from which on a message is a loop (RFC 5321 section 6.3; Exchange: 30).",
    )
    sender_ip_prefix: Annotated[Whole, Range(0, 32)] = Field(
        default=24,
        description="Widest IPv4 network that an inbound connector may name, as its prefix length (Exchange: /24).",
    )
    sender_ip6_prefix: Annotated[Whole, Range(0, 128)] = Field(
        default=48, description="The same for IPv6 (our choice: /48 is the smallest network that is routed alone)."
    )

    def smtp(self) -> SmtpLimits:
        """The part that the SMTP core applies."""
        return SmtpLimits(
            command_line=self.command_line,
            text_line=self.text_line,
            header_bytes=self.header_bytes,
            message_bytes=self.message_bytes,
            recipients=self.recipients,
            errors=self.errors,
            commands_without_mail=self.commands_without_mail,
            bdat_chunks=self.bdat_chunks,
            transactions=self.transactions,
            discard_bytes=self.discard_bytes,
        )

    def prefixes(self) -> PrefixLimits:
        """The part that `connectors.model.parse` applies."""
        return PrefixLimits(ipv4=self.sender_ip_prefix, ipv6=self.sender_ip6_prefix)


class Queue(Record):
    """When queued mail is tried, and how much at a time."""

    retry: Annotated[
        tuple[Annotated[Duration, Range(1, 86400, format_duration)], ...], Field(min_length=1, max_length=100)
    ] = Field(
        default=(900, 900, 3600),
        description="Waits between attempts; the last one repeats (Exchange Online: 15 min, 15 min, then hourly).",
    )
    message_expiration: Annotated[Duration, Range(1, 1209600, format_duration)] = Field(
        default=86400,
        description="How long a message is tried before it goes back (Exchange Online: 24 h). An organization may say "
        "otherwise.",
    )
    delay_notice: Annotated[Duration, Range(0, 1209600, format_duration)] = Field(
        default=14400, description="When the sender is told of a delay, once; 0 for never (Exchange: 4 h)."
    )
    connections_per_destination: Annotated[Whole, Range(1, 1000)] = Field(
        default=20, description="Connections to one domain at a time, of each worker (Exchange's Send connector: 20)."
    )
    connections: Count = Field(
        default=1000, description="Outbound connections in all, of each worker (Exchange's Send connectors: 1000)."
    )
    lane_wait: Seconds = Field(
        default=0.02,
        description="How long mail waits for a busy connection to its domain before one more is opened (our choice).",
    )
    window_messages: Count = Field(
        default=20000, description="Deliveries that a worker keeps in memory; the rest waits in the store (our choice)."
    )
    window_per_destination: Count = Field(default=1000, description="Of them for one domain (our choice).")
    window_bytes: Size = Field(default=67108864, description="Bodies kept in memory with them (our choice).")
    idle_connection: Seconds = Field(
        default=30, description="How long an idle outbound connection is kept for the next message (our choice)."
    )
    idle_connections: Count = Field(default=500, description="Idle outbound connections of each worker (our choice).")
    messages_per_connection: Count = Field(
        default=100, description="Messages over one outbound connection (Exchange: 20; many more save handshakes)."
    )
    paused: Switch = Field(
        default=False, description="Accept and keep mail, deliver nothing: for the time of a repair elsewhere."
    )


class Outbound(Record):
    """The sending side. The default waits are the least that RFC 5321 section 4.5.3.2 asks for."""

    connect_timeout: Seconds = Field(default=30, description="For TCP (the RFC names none).")
    greeting_timeout: Seconds = Field(default=300, description="For the greeting.")
    hello_timeout: Seconds = Field(default=300, description="For the reply to EHLO.")
    handshake_timeout: Seconds = Field(default=60, description="For TLS (the RFC names none).")
    envelope_timeout: Seconds = Field(default=300, description="For the replies to MAIL and RCPT.")
    recipient_timeout: Seconds = Field(default=5, description="Added for each recipient beyond the first.")
    data_timeout: Seconds = Field(default=120, description="For the reply to DATA.")
    block_timeout: Seconds = Field(default=180, description="For the peer to take 256 KB of a message.")
    end_timeout: Seconds = Field(default=600, description="For the reply to the end of a message.")
    private_policy_hosts: Switch = Field(
        default=False,
        description="Fetch MTA-STS policies from hosts at private addresses too. Whoever has a domain can then make "
        "the gateway call hosts of your own network.",
    )


class Log(Record):
    """What the gateway says on standard error."""

    level: LogLevel = Field(default=LogLevel.INFO, description="The least grave that is logged.")
    format: LogFormat = Field(default=LogFormat.TEXT, description="text for people, json for machines.")


class Settings(Record):
    """Everything a server is told when it starts."""

    server: Server = Field(description="[server]")
    listeners: tuple[Listener, ...] = Field(default=(), alias="listener", description="[[listener]]")
    store: Store = Field(default_factory=Store, description="[store]")
    dns: Dns = Field(default_factory=Dns, description="[dns]")
    tls: Tls = Field(default_factory=Tls, description="[tls]")
    certificates: tuple[Certificate, ...] = Field(default=(), alias="certificate", description="[[certificate]]")
    acme: Acme = Field(default_factory=Acme, description="[acme]")
    admin: Admin = Field(default_factory=Admin, description="[admin]")
    metrics: Metrics = Field(default_factory=Metrics, description="[metrics]")
    mta_sts: MtaSts = Field(default_factory=MtaSts, description="[mta_sts]")
    certificate_table: CertificateTable = Field(default_factory=CertificateTable, description="[certificate_table]")
    alarms: Alarms = Field(default_factory=Alarms, description="[alarms]")
    site: Site = Field(default_factory=Site, description="[site]")
    limits: Limits = Field(default_factory=Limits, description="[limits]")
    queue: Queue = Field(default_factory=Queue, description="[queue]")
    outbound: Outbound = Field(default_factory=Outbound, description="[outbound]")
    log: Log = Field(default_factory=Log, description="[log]")
