"""Convert the Send and Receive connectors of Exchange Server, which are not those of the service.

Called by `analysis.migration.exchange`. A Send connector says where mail goes and what TLS it demands, as an outbound
connector does. A Receive connector is a listener for some clients: what it demands of them becomes an inbound
connector; whether they may relay is a right in Active Directory that no export of it has, and is not guessed.
"""

from __future__ import annotations

import ipaddress
import re
from typing import TYPE_CHECKING

from gatepost.analysis.migration import exchange_fields
from gatepost.analysis.migration.exchange_json import ExchangeObject, Unreadable, shown
from gatepost.analysis.migration.exchange_partners import networks_of

if TYPE_CHECKING:
    from gatepost.analysis.migration.exchange_rules import Known
    from gatepost.analysis.migration.report import Part

_LEVELS = {
    "EncryptionOnly": "encryption-only",
    "CertificateValidation": "certificate-validation",
    "DomainValidation": "domain-validation",
}
_SERVICE = "mail.protection.outlook.com"
_ANY_ADDRESS = {"0.0.0.0", "::"}  # noqa: S104 - what Exchange calls any address
_LOGINS = {"basicauth", "basicauthrequiretls"}
_WHOLE = 1 << 31  # addresses from which on a range is that of everybody


def convert_send(item: ExchangeObject, part: Part, _known: Known) -> None:
    """Convert a Send connector. Raises Unreadable."""
    exchange_fields.convert_labels(item, part)
    hybrid = item.switch("CloudServicesMailEnabled", default=False)
    part.table["connector_type"] = "on-premises" if hybrid else "partner"
    if hybrid:
        part.table["cloud_services_mail_enabled"] = True
        part.differs(
            "CloudServicesMailEnabled",
            "it leads to the organization's other side, so it is on-premises here; that side believes only a gateway "
            "that shows a certificate: write client_certificate",
        )
    part.table["recipient_domains"] = exchange_fields.address_spaces(item, part, "AddressSpaces")
    _next_hops(item, part)
    _demand(item, part)
    _log_in(item, part)
    _say_rest_of_send(item, part)


def _next_hops(item: ExchangeObject, part: Part) -> None:
    hosts = item.texts("SmartHostsString") or item.texts("SmartHosts")
    port = item.number("Port") or 25
    by_mx = item.switch("DNSRoutingEnabled", default=not hosts)
    if by_mx:
        if hosts:
            part.differs("SmartHosts", f"{shown(hosts)}: left out, they are not used while DNSRoutingEnabled is true")
        if port != 25:
            part.lost("Port", f"{port}: mail that goes by MX goes to port 25")
    elif hosts:
        part.table["smart_hosts"] = [host if port == 25 else f"{host}:{port}" for host in hosts]
        if len(hosts) > 1:
            part.table["smart_host_order"] = "shuffled"  # Exchange spreads the load over them
    else:
        raise Unreadable("SmartHosts is not in the file, and without them mail may go elsewhere; print all properties")
    part.table["use_mx_record"] = by_mx


def _demand(item: ExchangeObject, part: Part) -> None:
    """Convert what is demanded of TLS. Raises Unreadable."""
    if not item.has("RequireTLS"):
        raise Unreadable(
            "RequireTLS is not in the file, and without it mail may leave unencrypted; print all properties"
        )
    required = item.switch("RequireTLS", default=False)
    level = item.choice("TlsAuthLevel", _LEVELS)
    if level and not required:
        part.differs("TlsAuthLevel", "RequireTLS is false, and the level is demanded all the same here: mail may wait")
    part.table["tls_settings"] = level or ("encryption-only" if required else "opportunistic")
    name = item.text("TlsDomain")
    if level == "domain-validation":
        if name:
            part.table["tls_domain"] = name
        part.differs(
            "TlsAuthLevel", "Exchange finds the name in the certificate's CN too, here it must be in subjectAltName"
        )
    elif name:
        part.differs("TlsDomain", f"{shown(name)}: left out, it is compared only under DomainValidation")
    if item.switch("DomainSecureEnabled", default=False):
        _domain_security(part)
    if item.switch("IgnoreSTARTTLS", default=False):
        part.differs("IgnoreSTARTTLS", "TLS is used wherever it is offered here")


def _domain_security(part: Part) -> None:
    """Mutual TLS with the domains of a list in the transport configuration."""
    if "*" in part.table["recipient_domains"]:
        part.lost(
            "DomainSecureEnabled",
            "domain security holds for the domains of TLSSendDomainSecureList: write an outbound connector with "
            'tls_settings = "domain-validation" for each of them',
        )
    else:
        part.table["tls_settings"] = "domain-validation"
        part.differs(
            "DomainSecureEnabled",
            'domain security: tls_settings = "domain-validation" is written for all its domains, whether they are in '
            "TLSSendDomainSecureList or not",
        )


def _log_in(item: ExchangeObject, part: Part) -> None:
    mechanism = item.text("SmartHostAuthMechanism").lower()
    if mechanism in {"", "none"}:
        return
    if mechanism not in _LOGINS:
        part.lost("SmartHostAuthMechanism", f"{shown(mechanism)}: it is between servers of Exchange only")
        return
    if part.table["tls_settings"] != "domain-validation":
        part.table["tls_settings"] = "domain-validation"
        part.differs(
            "SmartHostAuthMechanism",
            'tls_settings = "domain-validation": the gateway sends a password only to a host that proves its name',
        )
    part.lost(
        "AuthenticationCredential",
        "no export has the password: write authentication = { username = … } into the connector, and enter the "
        "password with gatepost connector secret",
    )


def _say_rest_of_send(item: ExchangeObject, part: Part) -> None:
    """Report what the gateway does in its own way."""
    if name := item.text("Fqdn"):
        part.differs("Fqdn", f"{shown(name)}: the gateway says its own hostname in EHLO; to keep it, write hello_name")
    if item.text("TlsCertificateName"):
        part.lost("TlsCertificateName", "the gateway shows its own certificate to no server until you write "
                  "client_certificate")  # fmt: skip
    if (address := item.text("SourceIPAddress")) and address not in _ANY_ADDRESS:
        part.lost("SourceIPAddress", f"{shown(address)}: it is Exchange's; write source_ipv4_address for the gateway's")
    if (policies := item.text("ErrorPolicies")) and policies.lower() != "default":
        part.lost("ErrorPolicies", f"{shown(policies)}: how failures are treated is the same for all mail here")
    if item.switch("IsScopedConnector", default=False):
        part.differs("IsScopedConnector", "only servers of its site used it; here all mail for these domains does")
    if item.switch("UseExternalDNSServersEnabled", default=False):
        part.differs("UseExternalDNSServersEnabled", "the nameservers are those of the gateway's settings ([dns])")


def convert_receive(item: ExchangeObject, part: Part, _known: Known) -> None:
    """Convert a Receive connector. What is refused is printed as a comment. Raises Unreadable."""
    exchange_fields.convert_labels(item, part)
    groups = {name.lower() for name in item.texts("PermissionGroups")}
    methods = {name.lower() for name in item.texts("AuthMechanism")}
    ranges = item.texts("RemoteIPRanges")
    if "anonymoususers" not in groups and "externalauthoritative" not in methods:
        _is_listener(
            part,
            "it is for users, who log in at a [[listener]] of role submission here, or for servers of Exchange",
        )
        return
    _say_capabilities(item, part)
    if not item.has("RequireTLS"):
        raise Unreadable("RequireTLS is not in the file; print all properties")
    required = item.switch("RequireTLS", default=False)
    if _is_everybody(ranges):
        _is_listener(part, "it is for every client: that is the [[listener]] of role mx here")
        if required:
            part.lost("RequireTLS", 'to demand TLS of everybody, write a partner connector with sender_domains = ["*"]')
        return
    part.table["sender_ip_addresses"] = [network for text in ranges for network in _networks(text)]
    part.table["require_tls"] = required
    _clients(part, required=required, trusted="externalauthoritative" in methods)


def _is_listener(part: Part, text: str) -> None:
    """Note that no connector is needed for it."""
    part.kind = ""
    part.table.clear()
    part.differs("Bindings", text)


def _clients(part: Part, *, required: bool, trusted: bool) -> None:
    """Convert what clients of these addresses may: relay, or what everybody may, over TLS."""
    if trusted:
        part.table["connector_type"] = "on-premises"
        part.table["treat_messages_as_internal"] = True
        part.differs(
            "AuthMechanism",
            "ExternalAuthoritative: these servers relay mail of senders in accepted domains; for other senders, "
            "write senders_by_address",
        )
        return
    if required:
        restricts = dict.fromkeys(("restrict_domains_to_certificate", "restrict_domains_to_ip_addresses"), False)
        part.table.update(connector_type="partner", sender_domains=["*"], **restricts)
        part.differs("RemoteIPRanges", "TLS is demanded of these addresses; name their domains in sender_domains if "
                     "their mail may come from no other server")  # fmt: skip
        return
    part.table["connector_type"] = "on-premises"
    part.refuse(
        "whether these clients may relay is a right in Active Directory that the file does not have "
        "(Get-ADPermission, ms-Exch-SMTP-Accept-Any-Recipient); where they may, write the connector as below"
    )


def _say_capabilities(item: ExchangeObject, part: Part) -> None:
    for text in item.texts("TlsDomainCapabilities"):
        name, _, right = text.partition(":")
        if right.strip().lower() in {"", "none"}:
            continue
        if name.strip().lower() == _SERVICE:
            part.lost(
                "TlsDomainCapabilities",
                f"{shown(text)}: this certificate is that of every tenant of the service; who believes it believes all "
                "of them, so no connector is written for it",
            )
        else:
            part.lost(
                "TlsDomainCapabilities",
                f"{shown(text)}: for a server of your own, write an on-premises connector with "
                f'tls_sender_certificate_name = "{name.strip()}"',
            )


def _networks(text: str) -> list[str]:
    """Networks of a range; what is none stays as it is, and is refused with its reason."""
    return networks_of(text) or [text]


def _is_everybody(ranges: list[str]) -> bool:
    """Whether clients of half of all IPv4 addresses or more are meant."""
    for text in ranges:
        try:
            networks = [ipaddress.ip_network(re.sub(r"\s", "", network), strict=False) for network in networks_of(text)]
        except ValueError:
            continue
        if any(network.version == 4 and network.num_addresses >= _WHOLE for network in networks):
            return True
    return not ranges
