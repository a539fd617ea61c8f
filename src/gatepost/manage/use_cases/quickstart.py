"""The first settings and resources of a gateway, from the few things that only its administrator knows. Pure.

Written by `gatepost quickstart`. Both are ordinary documents, to be changed by hand afterwards.
"""

from __future__ import annotations

import ipaddress
from contextlib import suppress
from pathlib import Path  # noqa: TC003 - msgspec reads annotations
from typing import Any, Final

import msgspec

from gatepost.policy.connectors.names import host_port

MAILBOXES: Final = "mailboxes"
"""As `upstream`: mail is delivered to mailboxes of the gateway itself."""


class QuickstartAnswers(msgspec.Struct, frozen=True, kw_only=True):
    """The answers of an administrator.

    domains: accepted, the first one names the organization. upstream: the mail server behind, "host" or "host:port", or
    MAILBOXES. own_servers: IP addresses of servers that send through the gateway. nameservers: validating ones; without
    any the gateway validates itself. certificate: files of the chain and of the key. acme: request one from Let's
    Encrypt instead. address: where to listen for mail. user: the account; "" for the one that starts it.
    """

    hostname: str
    domains: tuple[str, ...]
    upstream: str
    directory: Path
    data_dir: Path
    certificate: tuple[Path, Path]
    own_servers: tuple[str, ...] = ()
    nameservers: tuple[str, ...] = ()
    acme: bool = False
    address: str = "0.0.0.0:25"
    admin_address: str = "127.0.0.1:8443"
    user: str = ""

    @property
    def organization(self) -> str:
        """The name of the organization: the first label of the first domain."""
        return self.domains[0].partition(".")[0]

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


def first_resources(answers: QuickstartAnswers) -> dict[str, Any]:
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


def own_servers(answers: QuickstartAnswers) -> tuple[str, ...]:
    """The addresses of servers that send through the gateway; the one behind it is one, if it is given by address."""
    if answers.upstream == MAILBOXES:
        return answers.own_servers
    host, _ = host_port(answers.upstream, 25)
    with suppress(ValueError):
        return tuple(dict.fromkeys((*answers.own_servers, str(ipaddress.ip_address(host)))))
    return answers.own_servers


def dmarc_line(domain: str) -> str:
    """A record that only asks for reports (RFC 7489 section 6.3): the step before a policy."""
    return f'_dmarc.{domain}. IN TXT "v=DMARC1; p=none; rua=mailto:postmaster@{domain}"'
