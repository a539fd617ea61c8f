"""The first settings and resources of a gateway, from the few things that only its administrator knows. Pure.

Used by `gatepost quickstart`, which writes the settings, and by `manage.use_cases.first_setup`, which cannot. Both are
ordinary documents, to be changed by hand afterwards.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from gatepost.manage.use_cases.declaration import Cli
from gatepost.policy.connectors.errors import FieldError, ResourceErrors
from gatepost.policy.connectors.model import parse
from gatepost.policy.connectors.names import host_port
from gatepost.settings.model import Dns, DnsValidation, Server, Settings
from gatepost.settings.section import read
from gatepost.values import replace

MAILBOXES: Final = "mailboxes"
"""As `upstream`: mail is delivered to mailboxes of the gateway itself."""

type _Text = Annotated[str, Meta(max_length=300)]
type _Texts = Annotated[list[_Text], Meta(max_length=100)]


class FirstAnswers(msgspec.Struct, kw_only=True, frozen=True):
    """The answers that the command and the admin centre both ask for. The first domain names the organization."""

    hostname: Annotated[
        _Text, Meta(description="Fully qualified name of the gateway, as in its MX and PTR records.")
    ] = ""
    domains: Annotated[
        _Texts,
        Meta(description="Domain whose mail it accepts. May be repeated."),
        Cli(option="domain"),
    ] = []
    upstream: Annotated[
        _Text,
        Meta(description="Mail server behind the gateway; 'mailboxes' to deliver into mailboxes of the gateway."),
        Cli(metavar="HOST[:PORT]"),
    ] = ""
    own_servers: Annotated[
        _Texts,
        Meta(description="Address of a server that sends through it."),
        Cli(option="own-server", metavar="IP"),
    ] = []
    nameservers: Annotated[
        _Texts,
        Meta(description="Validating nameserver. Without one the gateway validates DNSSEC itself."),
        Cli(option="nameserver", metavar="IP[:PORT]"),
    ] = []

    @property
    def organization(self) -> str:
        """The name of the organization: the first label of the first domain."""
        return self.domains[0].partition(".")[0]


class QuickstartAnswers(FirstAnswers, frozen=True, kw_only=True):
    """The same with what is of the machine alone.

    certificate: files of the chain and of the key. acme: request one from Let's Encrypt instead. address: where to
    listen for mail. user: the account; "" for the one that starts it.
    """

    directory: Path
    data_dir: Path
    certificate: tuple[Path, Path]
    acme: bool = False
    address: str = "0.0.0.0:25"
    admin_address: str = "127.0.0.1:8443"
    user: str = ""

    @property
    def master_key(self) -> Path:
        """The file of the key that seals all others."""
        return self.directory / "secrets" / "master.key"


def first_settings(answers: QuickstartAnswers) -> dict[str, Any]:
    """The settings file as tables."""
    server = {"hostname": answers.hostname, "data_dir": str(answers.data_dir)}
    document: dict[str, Any] = {
        "server": server | ({"user": answers.user} if answers.user else {}),
        "listener": [{"role": "mx", "address": answers.address}],
        "store": {"master_key": f"file:{answers.master_key}"},
        "dns": {"nameservers": list(answers.nameservers)} if answers.nameservers else {"validate": "local"},
        "admin": {"address": answers.admin_address},
    }
    if answers.acme:
        document["acme"] = {"agree_tos": True, "names": [answers.hostname]}
    else:
        chain, key = answers.certificate
        document["certificate"] = [{"chain": str(chain), "key": str(key)}]
    return document


def first_resources(answers: FirstAnswers) -> dict[str, Any]:
    """The resources of the first organization, as a resource file has them."""
    relays = answers.upstream != MAILBOXES
    kind = {"type": "internal-relay"} if relays else {}
    organization: dict[str, Any] = {"accepted_domain": [{"name": domain, **kind} for domain in answers.domains]}
    if relays:
        organization["outbound_connector"] = [
            {
                "name": "mail server",
                "connector_type": "on-premises",
                "all_accepted_domains": True,
                "smart_hosts": [answers.upstream],
                "comment": "Require the certificate of the server behind as soon as it has a valid one.",
            }
        ]
    else:
        organization["mailbox"] = [{"address": f"postmaster@{domain}"} for domain in answers.domains]
    if servers := own_servers(answers):
        organization["inbound_connector"] = [
            {
                "name": "own servers",
                "connector_type": "on-premises",
                "sender_ip_addresses": list(servers),
                "associated_accepted_domains": list(answers.domains),
            }
        ]
    return {"organization": {answers.organization: organization}}


def own_servers(answers: FirstAnswers) -> tuple[str, ...]:
    """The addresses of servers that send through the gateway; the one behind it is one, if it is given by address."""
    listed = tuple(answers.own_servers)
    if answers.upstream == MAILBOXES:
        return listed
    host, _ = host_port(answers.upstream, 25)
    with suppress(ValueError):
        return tuple(dict.fromkeys((*listed, str(ipaddress.ip_address(host)))))
    return listed


def dmarc_line(domain: str) -> str:
    """A record that only asks for reports (RFC 7489 section 6.3): the step before a policy."""
    return f'_dmarc.{domain}. IN TXT "v=DMARC1; p=none; rua=mailto:postmaster@{domain}"'


def answer_errors(answers: FirstAnswers) -> list[FieldError]:
    """All that is wrong with the answers, each by its field; "" is of several."""
    errors: list[FieldError] = []
    read(Settings, _named(answers), errors, {"server": Server(hostname="unnamed.invalid")})
    if not answers.domains:
        errors.append(FieldError("domains", "name a domain whose mail the gateway is to accept"))
    elif not answers.upstream:
        errors.append(FieldError("upstream", f"name the mail server behind the gateway, or write {MAILBOXES}"))
    else:
        errors += _resource_errors(answers)
    return [FieldError(_field_of(error.path), error.message) for error in errors]


def _named(answers: FirstAnswers) -> dict[str, Any]:
    """What the answers say of settings, as tables."""
    dns = {"nameservers": list(answers.nameservers)} if answers.nameservers else {"validate": "local"}
    return {"server": {"hostname": answers.hostname}, "dns": dns}


def _resource_errors(answers: FirstAnswers) -> Iterator[FieldError]:
    try:
        parse(first_resources(answers))
    except ResourceErrors as errors:
        yield from errors.errors
    except ValueError as error:
        yield FieldError("smart_hosts", str(error))


_FIELDS: Final = {
    "server.": "hostname",
    "dns.": "nameservers",
    "domains": "domains",
    "smart_hosts": "upstream",
    "upstream": "upstream",
    "sender_ip_addresses": "own_servers",
    "accepted_domain": "domains",
    "mailbox": "domains",
    "organization": "domains",
}
"""A word of an error's path -> the answer that is wrong. The first that fits counts."""


def _field_of(path: str) -> str:
    return next((field for word, field in _FIELDS.items() if word in path), "")


def settings_to_write(answers: FirstAnswers, settings: Settings, master_key: str) -> dict[str, Any]:
    """Tables that the settings in force lack of the answers. master_key: the file to name if none is named."""
    tables: dict[str, Any] = {}
    wanted = read(Settings, _named(answers), [], {"server": settings.server}).value
    if wanted.server.hostname != settings.server.hostname:
        tables["server"] = {"hostname": wanted.server.hostname}
    if _resolver(wanted.dns) != _resolver(settings.dns):
        tables["dns"] = _named(answers)["dns"]
    if not settings.store.master_key:
        tables["store"] = {"master_key": f"file:{master_key}"}
    return tables


def _resolver(dns: Dns) -> tuple[bool, frozenset[str]]:
    """Whether the gateway validates by itself, and the nameservers that it asks then, if they were set."""
    is_local = dns.validation is DnsValidation.LOCAL
    return is_local, frozenset() if is_local else frozenset(dns.nameservers)


def normalized(answers: FirstAnswers) -> FirstAnswers:
    """The answers with names in lower case, without the dot at their end and without blanks around."""
    names = [_name(domain) for domain in answers.domains]
    return replace(
        answers,
        hostname=_name(answers.hostname),
        domains=list(dict.fromkeys(filter(None, names))),
        upstream=answers.upstream.strip(),
        own_servers=[text.strip() for text in answers.own_servers if text.strip()],
        nameservers=[text.strip() for text in answers.nameservers if text.strip()],
    )


def _name(text: str) -> str:
    return text.strip().rstrip(".").lower()
