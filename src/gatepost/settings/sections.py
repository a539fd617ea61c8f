"""The shorter sections of the settings, parts of `settings.model` and read with it.

`[store]`: where mail, configuration and accounts are kept. `[oidc]`: OpenID Connect login to the admin centre; whom the
gateway itself knows is with its accounts. `[tls_reports]` (RFC 8460). `[otel]`: traces for OpenTelemetry. `[alarms]`:
recipients and thresholds. `[evidence]`, `[trace]`: what is recorded of messages. `[site]`: a site's own certificates
for its nodes. `[pkcs11]`: private keys in tokens.
"""

from __future__ import annotations

import re
from enum import StrEnum
from ipaddress import ip_address
from typing import Annotated, Final
from urllib.parse import urlsplit

from gatepost.events.evidence.entry import AddressPrivacy, MessageIds, Privacy
from gatepost.policy.connectors.fields import Domain, Duration, FilePath, Form, Length, Range, Size, Switch, Text, Whole
from gatepost.policy.connectors.names import SmartHost, host_port, https_issuer, is_https
from gatepost.policy.connectors.units import format_duration
from gatepost.policy.connectors.values import NoticeLanguage
from gatepost.protocols.smtp.grammar import GrammarError, parse_address
from gatepost.settings.references import address_or_none, mail_address, secret_reference
from gatepost.settings.section import Checked, Section, setting
from gatepost.settings.store_url import SQLITE, store_url, worker_url


class Durability(StrEnum):
    """When mail in PostgreSQL counts as kept: when the server has it, or only when a standby has it too."""

    LOCAL = "local"
    REPLICATED = "replicated"


class Store(Section):
    """The store, which holds mail until it is delivered."""

    url: Annotated[str, Checked(store_url), Form('"sqlite:" or "postgresql://…"')] = setting(
        default=SQLITE,
        description="sqlite: embedded, files in data_dir, for one node. postgresql://USER@HOST/DATABASE: "
        "PostgreSQL 15 or newer, which several nodes need to share a store; never with a password: put "
        "it into a file (passfile=…) or the environment. A server on another host needs "
        "sslmode=verify-full.",
    )
    worker_url: Annotated[str, Checked(worker_url), Form('"postgresql://…"')] = setting(
        default="",
        description="With PostgreSQL: the same database as url, for processes that talk to the network, with a role "
        "that may not write the configuration, accounts and tokens (docs/several-nodes.md). Files with secrets of url "
        "(passfile, sslkey, servicefile) are then in data_dir. Empty: these processes use url.",
    )
    inline_limit: Size = setting(
        default=262144,
        description="Message bodies up to this size are stored in the database, larger ones in separate files.",
    )
    memory_budget: Size = setting(
        default=33554432,
        description="Memory for arriving messages, for each worker. When three quarters are used, bodies go to "
        "files. When all is used, messages with a header section of more than 16 KB are refused for "
        "now (451).",
    )
    free_space: Size = setting(
        default=134217728,
        description="Free disk space below which the gateway accepts no more mail (452 4.3.1). Below twice as "
        "much, it delivers none to its own mailboxes.",
    )
    queue_size: Size = setting(
        default=0,
        description="With PostgreSQL, whose disk the gateway does not see: the room for message bodies in the queue. "
        "Beyond it no mail is accepted (452 4.3.1), and an organization never has more than three times what is left "
        "of it (docs/reliability.md). 0: no limit.",
    )
    durability: Durability = setting(
        default=Durability.LOCAL,
        description="With PostgreSQL: when mail is acknowledged. local: when the server has committed it as its "
        "synchronous_commit says. replicated: only when a synchronous standby has it, too; then the "
        "gateway does not start without one.",
    )
    shared_mailboxes: Switch = setting(
        default=False,
        description="With PostgreSQL: maildir in data_dir is a directory that all nodes share. Only then may mailboxes "
        'have delivery = "maildir"; otherwise they need LMTP, because any node delivers.',
    )
    takeover_after: Annotated[Duration, Range(5, 600, format_duration)] = setting(
        default=15,
        description="With PostgreSQL: the silence of a worker after which the other nodes take over its mail.",
    )
    master_key: Annotated[str, Checked(secret_reference), Form('"file:/PATH", "env:NAME" or "credential:NAME"')] = (
        setting(
            default="",
            description="The key that encrypts private keys in the store: 32 bytes or more from a file of mode 0600, "
            "an environment variable, or a systemd credential. Keep a copy apart from the data. Empty: the store "
            "cannot hold private keys; they stay in files.",
        )
    )


def _issuer(value: str) -> str:
    return https_issuer(value) if value else ""


class GroupRole(StrEnum):
    """The role in the admin centre that a group gives."""

    OWNER = "owner"
    ADMINISTRATOR = "administrator"
    OPERATOR = "operator"
    AUDITOR = "auditor"


class OidcGroup(Section):
    """The role of a group's members. For members of several groups, the first one in the file counts."""

    name: Annotated[Text, Length(1, 200)] = setting(
        description="The group's name as in the claim. Entra ID uses the group's object ID."
    )
    role: GroupRole = setting(description="Role of the group's members.")
    organizations: tuple[Annotated[Text, Length(1, 200)], ...] = setting(
        default=(), description="Organizations that they can see. Empty: the whole gateway."
    )


class Oidc(Section):
    """Log-in to the admin centre by OpenID Connect, off unless issuer is set (docs/admin-centre.md)."""

    issuer: Annotated[str, Checked(_issuer), Form("https address")] = setting(
        default="",
        description='The exact issuer as in its tokens, such as "https://login.example/realms/staff".',
    )
    client_id: Annotated[Text, Length(most=200)] = setting(
        default="", description="The gateway's client ID at the issuer."
    )
    client_secret: Annotated[str, Checked(secret_reference), Form('"file:/PATH", "env:NAME" or "credential:NAME"')] = (
        setting(default="", description="The client secret. Empty: a public client, which PKCE protects.")
    )
    scopes: tuple[Annotated[Text, Length(1, 200)], ...] = setting(
        default=("openid", "profile"), description="Scopes to request; some issuers send groups only on request."
    )
    name_claim: Annotated[Text, Length(1, 200)] = setting(
        default="preferred_username", description="The claim that becomes the user's name at the first log-in."
    )
    groups_claim: Annotated[Text, Length(1, 200)] = setting(
        default="groups", description="The claim with the user's groups, a list of texts."
    )
    groups: tuple[OidcGroup, ...] = setting(default=(), alias="group", description="[[oidc.group]]")
    private_issuer: Switch = setting(
        default=False, description="Allow an issuer at a private address, such as your own Keycloak."
    )
    trust_anchors: FilePath = setting(
        default="", description="PEM file with the roots for the issuer's certificate. Empty: tls.trust_anchors."
    )
    timeout: Annotated[Duration, Range(0.1, 60, format_duration)] = setting(
        default=10, description="Time limit for all requests to the issuer during a log-in."
    )


def _reporter(value: str) -> str:
    if not value:
        return ""
    try:
        path = parse_address(value)
    except GrammarError as error:
        raise ValueError(f"{value!r} is not a mail address: {error.why}") from None
    if not path.text.isascii() or not path.domain or path.domain.startswith("["):
        raise ValueError(f"{value!r}: an ASCII address in a domain of yours is needed")
    return path.text


class TlsReports(Section):
    """TLS reports (RFC 8460): those of others about connections to us, and ours to them (docs/tls-reporting.md)."""

    address: Annotated[str, Checked(address_or_none), Form('"host:port" or "[v6]:port"; empty: not served')] = setting(
        default="",
        description="Address and port that receive reports over HTTPS, at https://HOSTNAME/tls-reports: for "
        "_smtp._tls records with rua=https:. It may be the address of [mta_sts] or "
        "[certificate_table].",
    )
    days: Annotated[Whole, Range(0, 3650)] = setting(
        default=400, description="Days to keep received reports; 0: for ever."
    )
    send: Switch = setting(
        default=False,
        description="Send a daily report to every domain that got mail and asks for reports in its _smtp._tls record. "
        "Needs organization_name, contact and mail_from.",
    )
    organization_name: Text = setting(default="", description="The name of your organization in the reports.")
    contact: Text = setting(default="", description="Contact for receivers of reports: a mail address or a URI.")
    mail_from: Annotated[str, Checked(_reporter), Form("mail address")] = setting(
        default="",
        description="Sender of reports by mail, in an accepted domain with a current DKIM key. Its domain names the "
        "reporter in every report.",
    )
    spread: Annotated[Duration, Range(0, 72000, format_duration)] = setting(
        default=14400,
        description="Send the reports within this time after 00:15 UTC, those of each domain at its own time (RFC "
        "8460 section 4.1).",
    )
    post_timeout: Annotated[Duration, Range(1, 600, format_duration)] = setting(
        default=60, description="Time limit for sending a report over HTTPS, until the server's answer."
    )


_EXAMPLE = "http://127.0.0.1:4318/v1/traces"


def _endpoint(value: str) -> str:
    try:
        parts = urlsplit(value)
        good = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.path not in {"", "/"}
        _ = parts.port
    except ValueError:
        good = False
    if value and not (good and value.isascii() and value.isprintable() and " " not in value):
        raise ValueError(f"{value!r} is not an address for traces; write it with its path, such as {_EXAMPLE}")
    if value and ("@" in parts.netloc or parts.query or parts.fragment):
        raise ValueError("an address with a password or a query would be in logs; write secret = file:/PATH instead")
    return value


def _header(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9-]{1,100}", value):
        raise ValueError(f"{value!r} is not a name of an HTTP header field; write letters, digits and hyphens")
    return value


class Otel(Section):
    """Traces for OpenTelemetry (docs/monitoring.md). Needs the extra `gatepost[otel]`."""

    endpoint: Annotated[str, Checked(_endpoint), Form("http or https address; empty: off")] = setting(
        default="",
        description='Address for spans (OTLP over HTTP), with the path, such as "http://127.0.0.1:4318/v1/traces". '
        "tls.trust_anchors has the roots for an https server. Empty: no traces.",
    )
    service_name: Annotated[Text, Length(1, 100)] = setting(
        default="gatepost", description="The service.name of all spans; use the same on all nodes of a site."
    )
    sample: Annotated[Whole, Range(0, 1000)] = setting(
        default=1000,
        description="How many of 1000 messages get a trace. It covers the whole message, on all nodes with the same "
        "value.",
    )
    header: Annotated[Text, Checked(_header)] = setting(
        default="Authorization", description="The HTTP header field that carries the secret."
    )
    secret: Annotated[str, Checked(secret_reference), Form('"file:/PATH", "env:NAME" or "credential:NAME"')] = setting(
        default="",
        description='The whole value of that header field, such as "Bearer ..."; read again for each post. Only '
        "with an https address, or on loopback. Empty: none.",
    )

    @property
    def is_private(self) -> bool:
        """Whether nobody on the way could read what is posted: over TLS, or on this machine."""
        parts = urlsplit(self.endpoint)
        host = parts.hostname or ""
        try:
            return parts.scheme == "https" or host == "localhost" or ip_address(host).is_loopback
        except ValueError:
            return False


def _owner(value: str) -> str:
    if not value:
        raise ValueError("an empty text is not a mail address; leave it out")
    return mail_address(value)


def _webhook(value: str) -> str:
    if value and not (is_https(value) and value.isascii()):
        raise ValueError(f"{value!r} is not an https address; write where alarms are posted, such as https://HOST/PATH")
    return value


class Alarms(Section):
    """Alarms about certificates, partners with mandatory TLS, the queue and TLS, and their recipients."""

    mail_to: Annotated[tuple[Annotated[str, Checked(_owner), Form("mail address")], ...], Length(most=20)] = setting(
        default=(),
        description="Recipients of alarms: critical ones at once, others in at most one message per day. Empty: "
        "server.postmaster, if set. The log and `gatepost alarms` show the same.",
    )
    language: NoticeLanguage = setting(
        default=NoticeLanguage.ENGLISH,
        description="Language of these messages: English, Swedish or German. Log and webhook stay in English.",
    )
    webhook: Annotated[str, Checked(_webhook), Form("https address")] = setting(
        default="",
        description="Address to which alarms are posted as JSON when they start, repeat and end. Empty: none.",
    )
    webhook_secret: Annotated[str, Checked(secret_reference), Form('"file:/PATH", "env:NAME" or "credential:NAME"')] = (
        setting(
            default="",
            description="Secret that signs the posts (HMAC-SHA256, Standard Webhooks): 24 bytes or more, without line "
            "ends around them. Required with webhook.",
        )
    )
    webhook_private: Switch = setting(
        default=False,
        description="Allow a webhook at a private address, such as a monitoring server in your own network.",
    )
    look: Annotated[Duration, Range(1, 3600, format_duration)] = setting(
        default=60, description="Interval between checks of mail flow; certificates are checked at least every minute."
    )
    partner_failures: Annotated[Whole, Range(1, 1000)] = setting(
        default=3,
        description="Raise an alarm when this many attempts in a row to a partner were deferred because TLS did "
        "not meet a requirement, and partner_failing has passed.",
    )
    partner_failing: Annotated[Duration, Range(0, 86400, format_duration)] = setting(
        default=900,
        description="How long attempts to a partner must have failed, too, before partner_failures "
        "raises its alarm (Exchange's first two retries: 30 minutes).",
    )
    queue_age: Annotated[Duration, Range(0, 1209600, format_duration)] = setting(
        default=14400,
        description="Raise an alarm when the oldest waiting message is older than this; 0: never. Held "
        "messages do not count.",
    )
    tls_failures: Annotated[Whole, Range(0, 1_000_000)] = setting(
        default=10,
        description="Raise an alarm when at least this many TLS sessions with a domain fail in a day and their share "
        "is three times that of the days before; 0: never.",
    )
    unusual_sending: Annotated[Whole, Range(0, 10_000_000)] = setting(
        default=500,
        description="Raise an alarm when a user or an own server sends to at least this many recipients in a day, and "
        "to more than five times as many as on its busiest day of the five weeks before; 0: never.",
    )


class Evidence(Section):
    """The evidence log: what was required, negotiated and proven for every message and hop (docs/evidence.md)."""

    enabled: Switch = setting(default=True, description="Keep the evidence log, under evidence in data_dir.")
    keep: Annotated[Duration, Range(86400, 31_622_400 * 30, format_duration)] = setting(
        default=34_560_000,
        description="How long to keep it, in whole days: one day to 30 years. The daily checkpoints (heads) are kept "
        "for ever.",
    )
    addresses: AddressPrivacy = setting(
        default=AddressPrivacy.DOMAIN,
        description="What is kept of senders, recipients and users who logged in. domain: only the domain. hash: also "
        "a hash, by which those who know the address, or try all addresses, can recognize it. full: the "
        "whole address, the replies of other servers, and the addresses from which users sent.",
    )
    message_ids: MessageIds = setting(
        default=MessageIds.FULL,
        description="full: the Message-ID itself. hash: its SHA-256, by which those who have a message can find its "
        "entries.",
    )

    def privacy(self) -> Privacy:
        """The part that entries are made by."""
        return Privacy(self.addresses, self.message_ids)


class Trace(Section):
    """Retention of the message trace (docs/trace.md)."""

    days: Annotated[Whole, Range(0, 3650)] = setting(
        default=90, description="Days to keep rows, besides today; 0: for ever (Exchange: 90)."
    )
    transcripts: Annotated[Whole, Range(0, 1000)] = setting(
        default=1,
        description="For how many of 1000 sessions to keep commands and replies, never content or secrets. Sessions "
        "with a failure are always kept.",
    )
    subjects: Switch = setting(
        default=True,
        description="Whether to keep subjects. If false, no row written from then on has one, so that no search, page "
        "or export of the trace shows or finds it. Notices, quarantine and journal still have the message's own.",
    )


def _place(value: str) -> str:
    host, port = host_port(value, 8445)
    return str(SmartHost(host, port)) if port != 25 else f"{SmartHost(host)}:25"  # which a smart host leaves out


class SiteNode(Section):
    """Where another node's internal listener is, and which nodes take mail in its place when it does not answer."""

    name: Domain = setting(description="The node's server.hostname, as `gatepost site status` shows it.")
    address: Annotated[str, Checked(_place), Form('"host", "host:port" or "[v6]:port"')] = setting(
        default="",
        description="Host name or IP address, and the port unless it is 8445. The server there must prove that it is "
        "the node. Empty: the node's own name.",
    )
    same_store: tuple[Domain, ...] = setting(
        default=(),
        description="server.hostname of the nodes that share its database. Mail for its organizations goes to them, "
        "in this order, when it does not answer. Each must prove its own name; its own [[site.node]] says where it is.",
    )


class Site(Section):
    """The address at which nodes join the site and renew certificates (docs/site.md). Needs store.master_key."""

    address: Annotated[str, Checked(address_or_none), Form('"host:port" or "[v6]:port"; empty: nobody can join')] = (
        setting(
            default="",
            description='Address and port at which nodes request certificates, such as "0.0.0.0:8444"; only on the '
            "node where you ran gatepost site init.",
        )
    )
    node_lifetime: Annotated[Duration, Range(10, 7776000, format_duration)] = setting(
        default=604800,
        description="Lifetime of a node's certificate. Nodes renew after half of it. A removed node stays trusted "
        "until its last certificate expires.",
    )
    nodes: tuple[SiteNode, ...] = setting(default=(), alias="node", description="[[site.node]]")


_SPECIAL: Final = frozenset("$\\\"'#")  # of OpenSSL's configuration


def _library(value: str) -> str:
    """A path that OpenSSL's configuration takes as it is."""
    if value and (not value.startswith("/") or not value.isprintable() or _SPECIAL & set(value)):
        raise ValueError(f"{value!r}: write a whole path, without $, \\, # or quotation marks")
    return value


def _pin(value: str) -> str:
    if secret_reference(value).startswith("env:"):
        raise ValueError("the PIN must be in a file: write file:/PATH or credential:NAME")
    return value


class Pkcs11(Section):
    """Private keys in a PKCS#11 token, such as an HSM (docs/tokens.md). Needs OpenSSL's PKCS#11 provider."""

    module: Annotated[FilePath, Checked(_library)] = setting(
        default="",
        description="The PKCS#11 module of the token's vendor, such as /usr/lib/softhsm/libsofthsm2.so. Empty: no keys "
        "in tokens.",
    )
    provider: Annotated[FilePath, Checked(_library)] = setting(
        default="",
        description="The PKCS#11 provider of OpenSSL. Empty: where Debian's package pkcs11-provider has it.",
    )
    pin: Annotated[str, Checked(_pin), Form('"file:/PATH" or "credential:NAME"')] = setting(
        default="",
        description="The user PIN of the token: the first line of a file of mode 0600, or of a systemd credential. A "
        "PIN that the token refused is not tried again. Empty: the token needs none.",
    )
