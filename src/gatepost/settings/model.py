"""The settings of one server: every key with its type, default, meaning, and where the default comes from.

Read by `settings.loader`; `scripts/reference_pages.py` makes the documentation of it. The keys are the contract.
Settings say how this machine works; who may send what to whom is in the resources (`policy.connectors.model`).
"""

from __future__ import annotations

import os
import re
from enum import StrEnum
from ipaddress import ip_address
from typing import Annotated

from gatepost.policy.connectors import fields
from gatepost.policy.connectors.addresses import AddressPolicy
from gatepost.policy.connectors.names import SmartHost, host_port, network
from gatepost.policy.connectors.units import format_duration, format_size
from gatepost.policy.connectors.values import ProfileName
from gatepost.settings.acme import Acme
from gatepost.settings.references import address_or_none, mail_address, time_zone
from gatepost.settings.roles import ListenerRole  # noqa: TC001 - pydantic reads the annotation
from gatepost.settings.section import Checked, Section, setting
from gatepost.settings.sections import Alarms, Evidence, Oidc, Otel, Pkcs11, Site, Store, TlsReports, Trace
from gatepost.settings.traffic import Limits, Outbound, Quarantine, Queue, Rates, Seconds

_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9._-]|^[^A-Za-z0-9]+", re.ASCII)
_NODE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}", re.ASCII)


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


def _named(value: str) -> str:
    """Check that addresses are named, not waved through: whoever is in the network is believed who the client is."""
    parsed = network(value)
    if parsed.prefixlen < (8 if parsed.version == 4 else 32):
        raise ValueError(f"{value} is too wide: any host in it could say who it is; name the hosts that may")
    return value


def _node_name(value: str) -> str:
    if value and not _NODE_NAME.fullmatch(value):
        raise ValueError(f"{value!r}: a node's name has 1 to 63 letters, digits, dots, hyphens or underscores")
    return value


def _qualified(value: str) -> str:
    if "." not in value:
        raise ValueError(
            f"{value!r} is not fully qualified: write the name with its domain, such as {value}.example.com"
        )
    return value


PathText = Annotated[fields.FilePath, fields.Length(1)]


class Server(Section):
    """The machine and its processes."""

    hostname: Annotated[fields.Domain, Checked(_qualified)] = setting(
        description="The gateway's own name in greetings, EHLO, trace fields and replies: a fully qualified name "
        "whose address in the DNS leads back to this gateway (RFC 5321 section 2.3.5)."
    )
    own_addresses: tuple[Annotated[str, Checked(_address), fields.Form("IP address")], ...] = setting(
        default=(),
        description="IP addresses at which others reach this gateway although no interface has them, for example "
        "behind NAT. The gateway never sends mail to them by MX, nor to the addresses of its interfaces "
        "and listeners: the mail would come back.",
    )
    node: Annotated[str, Checked(_node_name), fields.Form("name")] = setting(
        default="",
        description="Name of this node among those that share a store, as in `gatepost node list`. No two have the "
        "same one, whatever the case. Empty: the machine's host name.",
    )
    data_dir: PathText = setting(
        default="/var/lib/gatepost",
        description="Directory for the queue, the trace, the resources and the Maildirs, on a disk with reliable "
        "fsync. A relative path starts at the directory of the settings file.",
    )
    workers: Annotated[fields.Whole, fields.Range(0, 256)] = setting(
        default=0, description="Number of worker processes; 0: one per core. Each worker has its own part of the queue."
    )
    user: fields.Text = setting(
        default="",
        description="Account that the gateway runs as once its ports are bound; data_dir belongs to this account. "
        "Commands that root runs use this account, too. Empty: for root, the owner of data_dir, or the "
        "account gatepost if that owner is root; other users keep their account. Without such an account "
        'the gateway refuses to run as root; to allow that, set "root".',
    )
    group: fields.Text = setting(default="", description="Group to change to. Empty: the account's own group.")
    confine: fields.Switch = setting(
        default=True,
        description="Confine the processes that talk to the network (docs/service.md): they change only the files "
        "that they need to change, start no programs, and are denied system calls that they have no "
        "use for. What the kernel cannot do is left out; `gatepost doctor` says what is in force.",
    )
    postmaster: Annotated[str, Checked(mail_address), fields.Form("mail address")] = setting(
        default="",
        description="Address for mail to postmaster without a domain (RFC 5321 section 4.5.1). Empty: the gateway "
        "refuses such mail.",
    )
    drain: Seconds = setting(
        default=30,
        description="How long open sessions and running deliveries may take to finish when the gateway stops.",
    )
    drain_replies: Seconds = setting(
        default=60,
        description="How much longer the gateway waits, when it stops, for replies to messages that it has sent "
        "completely: without a reply they are sent again. A service manager must allow more than both "
        "times together.",
    )

    @property
    def node_name(self) -> str:
        """The name of this node, in lower case: names that differ in it alone are one."""
        return (self.node or _NOT_IN_NAMES.sub("-", os.uname().nodename)[:63] or "node").lower()


class Listener(Section):
    """An address to listen on."""

    role: ListenerRole = setting(
        description="mx: mail from other servers. submission: mail from users, STARTTLS. submissions: the same, TLS "
        "from the start (RFC 8314). internal: mail from other nodes of the site, TLS from the start, with the site's "
        "certificates on both sides."
    )
    address: fields.ListenAddress = setting(
        description='Address and port, such as "0.0.0.0:25" for all of IPv4 or "[::]:25" for all of IPv6.'
    )
    proxy_protocol_from: tuple[Annotated[fields.NetworkText, Checked(_named)], ...] = setting(
        default=(),
        description="Addresses of load balancers that send the PROXY protocol, version 1 or 2. Each connection from "
        "them must begin with its header, and counts as one of the client that it names; other addresses cannot send "
        "it (docs/load-balancer.md).",
    )
    xclient_from: tuple[Annotated[fields.NetworkText, Checked(_named)], ...] = setting(
        default=(),
        description="Addresses of mail filters and proxies that may name the client with XCLIENT, as Postfix does. "
        'Only with role = "mx".',
    )


class Dns(Section):
    """The DNS resolvers."""

    nameservers: Annotated[
        tuple[Annotated[str, Checked(_nameserver), fields.Form("IP address, or address:port")], ...],
        fields.Length(1),
    ] = setting(
        default=("127.0.0.1:53",),
        description="Recursive resolvers, in the order in which they are asked. Default port: 53. With validate = "
        '"local" the gateway validates their answers; if the list is not set, it resolves from the root '
        "servers itself.",
    )
    validation: DnsValidation = setting(
        default=DnsValidation.NAMESERVER,
        alias="validate",
        description="Where DNSSEC is validated. nameserver: by trusted nameservers (trust_ad, trusted). local: by the "
        "gateway itself, with libunbound (Debian: libunbound8); it does not start without it.",
    )
    trust_ad: fields.Switch = setting(
        default=True,
        description="Trust the AD bit (RFC 6840) of nameservers on loopback, which must validate DNSSEC; DANE needs "
        "it. The gateway trusts no other nameserver unless trusted lists it, because anyone on the "
        "network path could set the bit, and does not mix trusted and untrusted nameservers.",
    )
    trusted: tuple[Annotated[str, Checked(_address), fields.Form("IP address")], ...] = setting(
        default=(),
        description="Addresses of other nameservers whose AD bit is trusted, too. Anyone who can change packets on "
        "the way to them can remove DANE from your mail or forge its destination, so list only "
        "nameservers on a network path that you control.",
    )
    trust_anchor_file: PathText = setting(
        default="/usr/share/dns/root.key",
        description='The root\'s keys for validate = "local": DS or DNSKEY records in zone file format (Debian: '
        "dns-root-data). The gateway reads the file when it starts; the operating system has to keep it "
        "up to date.",
    )
    timeout: Seconds = setting(default=5, description="Time limit for one answer (resolv.conf: 5 s).")
    attempts: Annotated[fields.Whole, fields.Range(1, 10)] = setting(
        default=2, description="Rounds through all nameservers (resolv.conf: 2)."
    )


class Tls(Section):
    """Defaults for TLS; connectors and listeners can override them."""

    profile: ProfileName = setting(
        default=ProfileName.DEFAULT,
        description="modern: TLS 1.3. default: TLS 1.2 with forward secrecy, too. compatible: the rest of Exchange's "
        "published list, too. legacy: TLS 1.0 and 1.1, too.",
    )
    trust_anchors: PathText = setting(
        default="system",
        description='Trusted roots for certificates of other servers: "system", a PEM file, or a directory of PEM '
        "files.",
    )
    revocation_timeout: Annotated[fields.Duration, fields.Range(0.1, 60, format_duration)] = setting(
        default=10,
        description="Time limit for a revocation check; after it the status of the certificate is unknown.",
    )


class Certificate(Section):
    """A certificate to present: several for RSA and ECDSA, and by name (SNI). Without one, STARTTLS is not offered."""

    chain: PathText = setting(description="File with the certificate and its intermediates, PEM, leaf first.")
    key: PathText = setting(
        description="File with the private key, PEM, mode 0600; or the pkcs11: URI of a key in the token of [pkcs11]."
    )


class Admin(Section):
    """The admin centre and the REST interface, served over HTTPS by a separate process."""

    address: Annotated[
        str, Checked(address_or_none), fields.Form('"host:port" or "[v6]:port"; empty: there is no admin centre')
    ] = setting(
        default="127.0.0.1:8443",
        description="Address and port of the admin centre. Until an owner account exists (made with the one-time "
        "address that is printed at the start), it answers only this machine. If the port is in use and "
        "this key is not set, the gateway runs without the admin centre.",
    )
    names: tuple[fields.Domain, ...] = setting(
        default=(),
        description="Host names of the admin centre, besides server.hostname, localhost and IP addresses. It refuses "
        "all other names, so that no other site can reach it under its own name (DNS rebinding).",
    )
    chain: PathText = setting(
        default="",
        description="Its certificate and intermediates, PEM, leaf first. Empty: the gateway makes a certificate and "
        "logs its fingerprint at the start.",
    )
    key: PathText = setting(default="", description="The private key for chain, PEM, mode 0600.")
    time_zone: Annotated[
        str,
        fields.Length(1, 64),
        Checked(time_zone),
        fields.Form("a name of the IANA database, such as Europe/Stockholm"),
    ] = setting(
        default="UTC",
        description="Time zone in which pages show times to a user who chose none and whose browser names none, and "
        "which messages about alarms and quarantine use. A machine without time zone data (tzdata) knows UTC alone.",
    )


class Metrics(Section):
    """Metrics for Prometheus, served by a separate process. Off unless this table is present."""

    address: fields.ListenAddress = setting(
        default="127.0.0.1:9464",
        description="Address and port. It serves /metrics, /healthz and /readyz over HTTP without a password. They "
        "reveal who your partners are: use loopback or a private network.",
    )
    names: tuple[fields.Domain, ...] = setting(
        default=(),
        description="Host names for /metrics, besides server.hostname, localhost and IP addresses. Other names get "
        "421, so that a page of another site, open in a browser of this network, cannot read the "
        "metrics under its own name (DNS rebinding). /healthz and /readyz answer under any name.",
    )


class MtaSts(Section):
    """The MTA-STS policies of accepted domains, served over HTTPS (RFC 8461 section 3.3)."""

    address: Annotated[
        str, Checked(address_or_none), fields.Form('"host:port" or "[v6]:port"; empty: policies are not served')
    ] = setting(
        default="",
        description='Address and port, such as "0.0.0.0:443": senders use only port 443 of mta-sts.DOMAIN. A '
        "[[certificate]] must cover that name. Set mta_sts of an accepted_domain to publish its policy.",
    )


class CertificateTable(Section):
    """The certificate page for partners, served at https://HOSTNAME/certificates."""

    address: Annotated[
        str, Checked(address_or_none), fields.Form('"host:port" or "[v6]:port"; empty: the table is not served')
    ] = setting(
        default="",
        description='Address and port, such as "0.0.0.0:443". Everyone who knows the name can read the table. It may '
        "be the address of [mta_sts]. A certificate must cover server.hostname.",
    )


class Log(Section):
    """The log on standard error."""

    level: LogLevel = setting(default=LogLevel.INFO, description="The lowest level that is logged.")
    format: LogFormat = setting(default=LogFormat.TEXT, description="text for people, json or logfmt for programs.")
    addresses: LogAddresses = setting(
        default=LogAddresses.FULL,
        description="Sender and recipient addresses, which are personal data, in log lines about messages. full: the "
        "whole address. domain: only the domain. none: nothing. Unless it is full, the texts of replies "
        "are left out, too. The trace always has the addresses.",
    )


class Smime(Section):
    """S/MIME signing, encryption and decryption (docs/smime.md). The gateway's keys need store.master_key."""

    max_size: Annotated[fields.Size, fields.Range(1 << 10, 1 << 30, format_size)] = setting(
        default=50 << 20,
        description="The gateway does not process larger content: mail that must be encrypted or signed is returned "
        "(552 5.3.4), and mail that could be decrypted is delivered encrypted. Each worker processes one "
        "message at a time in memory, with up to seven times its size.",
    )


class Network(Section):
    """The gateway's network, and which of its hosts tenants may make the gateway connect to."""

    tenants_may_reach: tuple[fields.NetworkText, ...] = setting(
        default=(),
        description="Networks besides the public internet to which the gateway may connect when a tenant chose the "
        "host: smart hosts, LMTP servers, content hooks and OAuth issuers of a user of one organization, "
        "the MX hosts of its mail, and the revocation addresses of an authority that it alone trusts. "
        "Public addresses of the gateway's own machine count only if they are named here. "
        'For example ["10.20.0.0/16"]. The gateway checks each address when '
        "it connects. Hosts that the gateway's owner sets need no entry.",
    )

    def policy(self) -> AddressPolicy:
        """The policy on addresses that may be called where a tenant chose the host."""
        return AddressPolicy(tuple(map(network, self.tenants_may_reach)))


class Oauth(Section):
    """Fetching the keys of OAuth issuers (docs/submission.md). The issuers themselves are resources."""

    private_issuers: fields.Switch = setting(
        default=False,
        description="Also fetch keys from issuers at private addresses, such as your own Keycloak. Anyone who can "
        "change resources can then make the gateway connect to hosts of your network.",
    )
    timeout: Annotated[fields.Duration, fields.Range(0.1, 60, format_duration)] = setting(
        default=10, description="Time limit for an issuer to return its keys. Log-ins with its tokens wait meanwhile."
    )
    keys_kept: Annotated[fields.Duration, fields.Range(3600, 2592000, format_duration)] = setting(
        default=86400,
        description="How long to use keys that cannot be fetched again. The gateway fetches keys every hour, and when "
        "a token names an unknown key.",
    )


class Settings(Section):
    """Everything a server is told when it starts."""

    server: Server = setting(description="[server]")
    listeners: tuple[Listener, ...] = setting(default=(), alias="listener", description="[[listener]]")
    store: Store = setting(default=Store(), description="[store]")
    dns: Dns = setting(default=Dns(), description="[dns]")
    tls: Tls = setting(default=Tls(), description="[tls]")
    certificates: tuple[Certificate, ...] = setting(default=(), alias="certificate", description="[[certificate]]")
    pkcs11: Pkcs11 = setting(default=Pkcs11(), description="[pkcs11]")
    acme: Acme = setting(default=Acme(), description="[acme]")
    admin: Admin = setting(default=Admin(), description="[admin]")
    oidc: Oidc = setting(default=Oidc(), description="[oidc]")
    metrics: Metrics = setting(default=Metrics(), description="[metrics]")
    mta_sts: MtaSts = setting(default=MtaSts(), description="[mta_sts]")
    certificate_table: CertificateTable = setting(default=CertificateTable(), description="[certificate_table]")
    tls_reports: TlsReports = setting(default=TlsReports(), description="[tls_reports]")
    alarms: Alarms = setting(default=Alarms(), description="[alarms]")
    site: Site = setting(default=Site(), description="[site]")
    oauth: Oauth = setting(default=Oauth(), description="[oauth]")
    evidence: Evidence = setting(default=Evidence(), description="[evidence]")
    smime: Smime = setting(default=Smime(), description="[smime]")
    limits: Limits = setting(default=Limits(), description="[limits]")
    rates: Rates = setting(default=Rates(), description="[rates]")
    queue: Queue = setting(default=Queue(), description="[queue]")
    quarantine: Quarantine = setting(default=Quarantine(), description="[quarantine]")
    outbound: Outbound = setting(default=Outbound(), description="[outbound]")
    network: Network = setting(default=Network(), description="[network]")
    trace: Trace = setting(default=Trace(), description="[trace]")
    log: Log = setting(default=Log(), description="[log]")
    otel: Otel = setting(default=Otel(), description="[otel]")

    @property
    def of_workers(self) -> Settings:
        """The settings of processes that talk to the network: with the store's address for them, if it has one."""
        if not self.store.worker_url:
            return self
        return self.replaced(store=self.store.replaced(url=self.store.worker_url))

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
        return self.metrics.address if "metrics" in self.written else ""
