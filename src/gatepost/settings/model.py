"""The settings of one server: every key with its type, default, meaning, and where the default comes from.

Read by `settings.loader`; `settings.describe` makes the documentation from these classes. The keys are the contract.
Settings say how this machine works; who may send what to whom is in the resources (`policy.connectors.model`).
"""

from __future__ import annotations

from enum import StrEnum
from ipaddress import ip_address
from typing import Annotated

from pydantic import AfterValidator, Field

from gatepost.policy.connectors.fields import (
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
from gatepost.policy.connectors.names import SmartHost, host_port
from gatepost.policy.connectors.units import format_duration
from gatepost.policy.connectors.values import ProfileName
from gatepost.settings.acme import Acme
from gatepost.settings.addresses import address_or_none
from gatepost.settings.alarms import Alarms
from gatepost.settings.evidence import Evidence
from gatepost.settings.network import Network
from gatepost.settings.oauth import Oauth
from gatepost.settings.oidc import Oidc
from gatepost.settings.otel import Otel
from gatepost.settings.references import mail_address, secret_reference
from gatepost.settings.reporting import TlsReports
from gatepost.settings.roles import ListenerRole  # noqa: TC001 - pydantic reads the annotation
from gatepost.settings.site import Site
from gatepost.settings.smime import Smime
from gatepost.settings.trace import Trace
from gatepost.settings.traffic import Limits, Outbound, Queue, Seconds


class LogLevel(StrEnum):
    """The least severe level that is logged."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class LogFormat(StrEnum):
    """Lines for people, or for machines one JSON object a line, or pairs of key and value."""

    TEXT = "text"
    JSON = "json"
    LOGFMT = "logfmt"


class LogAddresses(StrEnum):
    """The part of senders' and recipients' addresses that is logged."""

    FULL = "full"
    DOMAIN = "domain"
    NONE = "none"


class DnsValidation(StrEnum):
    """The validator of DNSSEC: the nameserver, or the gateway itself."""

    NAMESERVER = "nameserver"
    LOCAL = "local"


def _store_url(value: str) -> str:
    if value == "sqlite:":
        return value
    if value.startswith("postgresql:"):
        raise ValueError('this version of gatepost has no PostgreSQL store; write "sqlite:"')
    raise ValueError(f'{value!r} is not a store; write "sqlite:", which keeps mail in data_dir')


def _nameserver(value: str) -> str:
    server = SmartHost(*host_port(value, 53))
    if not server.is_address:
        raise ValueError(f"{value!r}: write the IP address of the nameserver, as a name would need a nameserver first")
    return f"[{server.host}]:{server.port}" if ":" in server.host else f"{server.host}:{server.port}"


def _address(value: str) -> str:
    try:
        return str(ip_address(value))
    except ValueError:
        raise ValueError(f"{value!r} is not an IP address; write it without port and without brackets") from None


PathText = Annotated[FilePath, Field(min_length=1)]


class Server(Record):
    """The machine and its processes."""

    hostname: Domain = Field(
        description="The name in greetings, in EHLO, in trace fields and in replies: fully qualified, with an address "
        "in the DNS that leads back to it (RFC 5321 section 2.3.5)."
    )
    own_addresses: tuple[Annotated[str, AfterValidator(_address), Form("IP address")], ...] = Field(
        default=(),
        description="IP addresses at which others reach this gateway though no interface has them, as behind NAT. Mail "
        "by MX is never sent to them, nor to the addresses of interfaces and listeners: it would come back.",
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
        default="",
        description="Account that the gateway runs as once the ports are bound, and to which data_dir belongs. "
        "Commands that root gives act as it, too. Empty: for root the owner of data_dir, or where that is root the "
        "account gatepost; anybody else stays who they are. Root without such an account is refused; to run everything "
        'as root, write "root".',
    )
    group: Text = Field(default="", description="Group to change to. Empty: the account's own.")
    postmaster: Annotated[str, AfterValidator(mail_address), Form("mail address")] = Field(
        default="",
        description="Where mail to postmaster without a domain goes (RFC 5321 section 4.5.1). Empty: it is refused.",
    )
    drain: Seconds = Field(
        default=30, description="How long running sessions and deliveries get to end when the gateway stops."
    )
    drain_replies: Seconds = Field(
        default=60,
        description="How much longer a stop waits for the replies to messages that were sent whole: without them they"
        " are sent again. A service manager must wait longer than both together.",
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
    """The store of mail until it is delivered."""

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
    master_key: Annotated[
        str, AfterValidator(secret_reference), Form('"file:/PATH", "env:NAME" or "credential:NAME"')
    ] = Field(
        default="",
        description="What seals the private keys in the store: 32 bytes or more from a file of mode 0600, an "
        "environment variable, or a systemd credential. Keep a copy apart from the data. Empty: the store takes no "
        "keys; they stay in files.",
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
    """The admin centre and the REST interface, served over HTTPS by a process of their own."""

    address: Annotated[
        str, AfterValidator(address_or_none), Form('"host:port" or "[v6]:port"; empty: there is no admin centre')
    ] = Field(
        default="127.0.0.1:8443",
        description="Where it listens. Until an owner is made by the one-time address of the start, it "
        "answers nobody but this machine. If the port is taken and this key is not written, the gateway runs without.",
    )
    names: tuple[Domain, ...] = Field(
        default=(),
        description="Host names by which browsers may ask for it, beside server.hostname, localhost and IP addresses: "
        "any other name is refused, so that no foreign page can reach it under a name of its own (DNS rebinding).",
    )
    chain: PathText = Field(
        default="",
        description="Its certificate and intermediates, PEM, leaf first. Empty: it makes one itself, whose fingerprint "
        "is logged at the start.",
    )
    key: PathText = Field(default="", description="The private key to chain, PEM, mode 0600.")


class Metrics(Record):
    """Counters for monitoring (Prometheus), served by a process of their own. Off unless this table is written."""

    address: ListenAddress = Field(
        default="127.0.0.1:9464",
        description="Where they are served over HTTP, without a password: /metrics, /healthz, /readyz. They tell who "
        "your partners are, so keep them on loopback or in a network of your own.",
    )


class MtaSts(Record):
    """Serving the MTA-STS policies of our own accepted domains over HTTPS (RFC 8461 section 3.3)."""

    address: Annotated[
        str, AfterValidator(address_or_none), Form('"host:port" or "[v6]:port"; empty: policies are not served')
    ] = Field(
        default="",
        description='Where they are served, such as "0.0.0.0:443": senders ask port 443 of mta-sts.DOMAIN, no other. A '
        "[[certificate]] must bear that name. Which domains have a policy is written in accepted_domain.",
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


class Log(Record):
    """The log on standard error."""

    level: LogLevel = Field(default=LogLevel.INFO, description="The least grave that is logged.")
    format: LogFormat = Field(default=LogFormat.TEXT, description="text for people, json or logfmt for machines.")
    addresses: LogAddresses = Field(
        default=LogAddresses.FULL,
        description="Senders and recipients in the lines about messages, which are personal data. domain: only what "
        "follows the @. none: nothing of them. Without full, texts of replies are left out too. The trace keeps them.",
    )


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
    oidc: Oidc = Field(default_factory=Oidc, description="[oidc]")
    metrics: Metrics = Field(default_factory=Metrics, description="[metrics]")
    mta_sts: MtaSts = Field(default_factory=MtaSts, description="[mta_sts]")
    certificate_table: CertificateTable = Field(default_factory=CertificateTable, description="[certificate_table]")
    tls_reports: TlsReports = Field(default_factory=TlsReports, description="[tls_reports]")
    alarms: Alarms = Field(default_factory=Alarms, description="[alarms]")
    site: Site = Field(default_factory=Site, description="[site]")
    oauth: Oauth = Field(default_factory=Oauth, description="[oauth]")
    evidence: Evidence = Field(default_factory=Evidence, description="[evidence]")
    smime: Smime = Field(default_factory=Smime, description="[smime]")
    limits: Limits = Field(default_factory=Limits, description="[limits]")
    queue: Queue = Field(default_factory=Queue, description="[queue]")
    outbound: Outbound = Field(default_factory=Outbound, description="[outbound]")
    network: Network = Field(default_factory=Network, description="[network]")
    trace: Trace = Field(default_factory=Trace, description="[trace]")
    log: Log = Field(default_factory=Log, description="[log]")
    otel: Otel = Field(default_factory=Otel, description="[otel]")

    @property
    def public_addresses(self) -> dict[str, str]:
        """The addresses of the public HTTPS server: by the first setting that names each."""
        named = {
            "mta_sts.address": self.mta_sts.address,
            "certificate_table.address": self.certificate_table.address,
            "tls_reports.address": self.tls_reports.address,
        }
        first = {address: setting for setting, address in reversed(named.items()) if address}
        return {setting: address for address, setting in first.items()}

    @property
    def metrics_address(self) -> str:
        """The address that serves metrics, "" if the settings have no such table."""
        return self.metrics.address if "metrics" in self.model_fields_set else ""
