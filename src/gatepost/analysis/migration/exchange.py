"""Convert Exchange Online's connectors and accepted domains into resources, with a result for each property.

Called by `manage.cli.imports` with the objects that `analysis.migration.exchange_json` read; the result is put together
and checked by `analysis.migration.report`. Facts: exchange.md sections 2 to 4, 9.4 and 16. What Exchange does and
gatepost does not is never dropped silently: it differs, or is not carried over.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence

from gatepost.analysis.migration import exchange_fields, exchange_partners, exchange_properties, exchange_server
from gatepost.analysis.migration.exchange_json import KIND_NAMES, ExchangeObject, Unreadable, is_empty, shown
from gatepost.analysis.migration.exchange_rules import Known, convert_journal, convert_rule, journals_of_senders
from gatepost.analysis.migration.report import Imported, ImportRefused, Part, assemble, slug, unique_name
from gatepost.policy.connectors.units import format_duration
from gatepost.texts import N_

type _Convert = Callable[[ExchangeObject, Part, Known], None]

# Numbers of enumerations of Microsoft.Exchange.Data, as its assemblies declare them. Those of SmtpDaneMode and
# MtaStsMode are published nowhere, so they are not read.
_CONNECTOR_TYPES = ({"OnPremises": "on-premises", "Partner": "partner"}, {1: "OnPremises", 2: "Partner"})
_TLS_SETTINGS = (
    {
        "EncryptionOnly": "encryption-only",
        "CertificateValidation": "certificate-validation",
        "DomainValidation": "domain-validation",
    },
    {1: "EncryptionOnly", 2: "CertificateValidation", 3: "DomainValidation"},
)
_DOMAIN_TYPES = (
    {"Authoritative": "authoritative", "ExternalRelay": "external-relay", "InternalRelay": "internal-relay"},
    {0: "Authoritative", 1: "ExternalRelay", 2: "InternalRelay"},
)
_DANE_MODES = {"Opportunistic": "opportunistic", "Mandatory": "mandatory", "None": "none"}
_STS_MODES = {"Opportunistic": "opportunistic", "None": "none"}

_UNREAD = {
    "remote": "remote domains say nothing about connections; nothing to do",
    "": "it is not the output of a supported cmdlet: " + ", ".join(list(KIND_NAMES.values())[:6]),
}


def convert(objects: Sequence[ExchangeObject], organization: str = "") -> Imported:
    """Resources of one organization, from everything that was read. organization: its name; "" takes it from the file.

    Raises ImportRefused if there is nothing in the objects that can be read, or if the name is not a name.
    """
    if not any(exchange_object.kind not in _UNREAD for exchange_object in objects):
        raise ImportRefused(
            "no connector, accepted domain or rule was found; give the output of Get-InboundConnector, "
            "Get-OutboundConnector, Get-SendConnector, Get-ReceiveConnector and Get-AcceptedDomain, each through "
            "ConvertTo-Json -Depth 5"
        )
    # A connector that only rules use may be printed by two calls of its cmdlet.
    objects = list(
        {
            (exchange_object.kind, json.dumps(exchange_object.properties, sort_keys=True)): exchange_object
            for exchange_object in objects
        }.values()
    )
    known = _known(objects)
    taken: dict[str, dict[str, int]] = {}
    parts: list[Part] = []
    for kind in (
        "organization",
        "transport",
        "domain",
        "inbound",
        "receive",
        "outbound",
        "send",
        "rule",
        "journal",
        *_UNREAD,
    ):
        parts.extend(_part(each, taken, known) for each in objects if each.kind == kind)
    parts.extend(journals_of_senders(parts, taken))
    exchange_partners.put_lock_downs_first(parts)
    if any(part.table.get("type") == "authoritative" for part in parts):
        parts.append(_recipients())
    return assemble(organization or _organization_name(objects), parts)


def _recipients() -> Part:
    """Note once what holds for every authoritative domain."""
    part = Part("", N_("recipients"))
    part.differs(
        "mailboxes",
        "they are not in these files; until the organization has [[mailbox]] entries, mail for an authoritative domain "
        "is taken for every recipient and goes on by an outbound connector, or by MX",
    )
    return part


def _known(objects: Sequence[ExchangeObject]) -> Known:
    """Collect the names that objects use for each other: accepted domains, and outbound connectors."""
    known = Known()
    taken: dict[str, int] = {}
    for exchange_object in objects:
        if exchange_object.kind == "outbound":
            known.connectors.setdefault(_called(exchange_object).lower(), unique_name(_called(exchange_object), taken))
        if exchange_object.kind == "domain":
            try:
                pattern = _domain_pattern(exchange_object)
                names = (exchange_object.text("Name"), pattern, pattern.removeprefix("*."))
                known.domains.update({name.lower(): pattern for name in names})
                kind = exchange_object.choice("DomainType", *_DOMAIN_TYPES)
                if not kind:
                    known.unread.append(pattern)
                elif kind != "external-relay":
                    known.internal.append(pattern.lower())
            except Unreadable:
                known.unread.append(_called(exchange_object))  # `_domain` says why
    known.domains.pop("", None)
    return known


def _organization_name(objects: Sequence[ExchangeObject]) -> str:
    """A name for the organization: of the initial domain (contoso.onmicrosoft.com), the default one, or any."""
    domains = [exchange_object for exchange_object in objects if exchange_object.kind == "domain"]
    for wanted in ("InitialDomain", "Default"):
        for domain in domains:
            if str(domain.properties.get(wanted.lower())).lower() == "true":
                return slug(_called(domain).partition(".")[0])
    return slug(_called(domains[0]).partition(".")[0]) if domains else "imported"


def _called(item: ExchangeObject) -> str:
    """The name of an object in messages: for a domain the domain itself, whatever the name of its object."""
    try:
        return item.text("DomainName" if item.kind == "domain" else "Name") or item.name
    except Unreadable:
        return item.name


def _part(item: ExchangeObject, taken: dict[str, dict[str, int]], known: Known) -> Part:
    """Convert one object."""
    if item.kind in _UNREAD:
        part = Part("", f"{KIND_NAMES.get(item.kind, 'object')} {item.name!r}")
        part.refuse(_UNREAD[item.kind])
        return part
    kind, words, read, convert_one = _CONVERSIONS[item.kind]
    name = _called(item) if kind == "accepted_domain" else unique_name(_called(item), taken.setdefault(kind, {}))
    part = Part(kind, f"{words} {name!r}" if kind != "organization" else words)
    if kind not in {"organization", "accepted_domain"}:
        part.table["name"] = name
        if name != _called(item):
            part.differs(
                "Name", f"{shown(_called(item))} is taken already, too long or not printable; it is called {name!r}"
            )
    try:
        convert_one(item, part, known)
    except Unreadable as error:
        part.refuse(str(error))
    _rest(item, part, read)
    return part


def _rest(item: ExchangeObject, part: Part, read: frozenset[str]) -> None:
    """Report the properties that no conversion read and that say something."""
    for key, value in item.properties.items():
        if key in read or key in exchange_properties.METADATA or is_empty(value):
            continue
        if key in exchange_properties.LOST:
            part.lost(item.spelled.get(key, key), f"{shown(value)}: {exchange_properties.LOST[key]}")
        elif (
            part.kind != "organization"
        ):  # of hundreds of properties of a tenant, only those named here are about connections
            part.lost(item.spelled.get(key, key), f"{shown(value)}: {exchange_properties.UNKNOWN}")


def _organization(item: ExchangeObject, part: Part, _known: Known) -> None:
    if item.has("DisplayName") and (text := exchange_fields.plain(item.text("DisplayName"))):
        part.table["display_name"] = text
    if item.switch("RejectDirectSend", default=False):
        part.table["reject_direct_send"] = True


def _transport(item: ExchangeObject, part: Part, _known: Known) -> None:
    if item.has("MessageExpiration"):
        part.table["message_expiration"] = format_duration(item.seconds("MessageExpiration"))
    if "@" in (address := item.text("JournalingReportNdrTo").removeprefix("SMTP:")):
        part.table["journal_failures_to"] = address


def _domain(item: ExchangeObject, part: Part, _known: Known) -> None:
    kind = item.choice("DomainType", *_DOMAIN_TYPES)
    if not kind:
        part.refuse(
            "DomainType is not in the file, so it is not known which side knows the recipients; print all properties"
        )
        return
    _say_number(item, part, "DomainType", kind)
    if kind == "external-relay":
        part.differs(
            "DomainType", "ExternalRelay is written as internal-relay: mail for it is taken in and sent on alike"
        )
        kind = "internal-relay"
    part.table.update(name=_domain_pattern(item), type=kind)


def _domain_pattern(item: ExchangeObject) -> str:
    """The accepted domain, "*.domain" if its subdomains count too. Raises Unreadable."""
    name = item.text("DomainName")
    return f"*.{name}" if item.switch("MatchSubDomains", default=False) and not name.startswith("*") else name


def _inbound(item: ExchangeObject, part: Part, known: Known) -> None:
    on_premises = _common(item, part)
    name = _certificate_name(item, part, on_premises=on_premises)
    domains = exchange_fields.address_spaces(item, part, "SenderDomains")
    if not on_premises:
        part.table["sender_domains"] = domains
    elif domains not in ([], ["*"]):
        part.lost("SenderDomains", f"{shown(domains)}: an on-premises connector holds for mail from every domain")
    if addresses := item.texts("SenderIPAddresses"):
        part.table["sender_ip_addresses"] = addresses
    if name:
        part.table.update(tls_sender_certificate_name=name, match_common_name=True)
        part.differs(
            "TlsSenderCertificateName",
            "match_common_name = true keeps Exchange's way of looking in the certificate's CN too; write false when "
            "every sender has the name in subjectAltName (RFC 9525)",
        )
    _associated(item, part, known)
    if on_premises:
        _own_servers(item, part)
    else:
        exchange_partners.convert_partner(item, part)
    exchange_partners.convert_enhanced_filtering(item, part, on_premises=on_premises)


def _certificate_name(item: ExchangeObject, part: Part, *, on_premises: bool) -> str:
    """The name in the sender's certificate, "" if none is asked for.

    The hybrid wizard writes "<I>issuer<S>subject" of a server's certificate: the name is the CN of the subject. That
    only this issuer counts is lost: the own authority goes into trust_anchors. Raises Unreadable.
    """
    text = item.text("TlsSenderCertificateName")
    if not text.startswith("<"):
        return text
    subject = re.fullmatch(r"<I>.+<S>(.+)", text, re.IGNORECASE)
    name = re.search(r"(?:^|,)\s*CN=([^,]+)", subject[1], re.IGNORECASE) if subject else None
    if name is None:
        raise Unreadable(f"TlsSenderCertificateName is {shown(text)}, and its subject has no CN that names a server")
    if on_premises:
        part.table["enabled"] = False
    part.lost(
        "TlsSenderCertificateName",
        f"{shown(text)}: {name[1].strip()} is taken from its subject, and any trusted issuer would do; name the "
        "issuer's certificate in trust_anchors"
        + (", then enable the connector: it is written as disabled, as it lets servers relay" if on_premises else ""),
    )
    return name[1].strip()


def _own_servers(item: ExchangeObject, part: Part) -> None:
    """Convert the properties that only an on-premises connector has."""
    part.table["require_tls"] = item.switch("RequireTls", default=False)
    if part.table["require_tls"] and "sender_ip_addresses" in part.table:
        part.differs(
            "RequireTls",
            "Exchange leaves it out of account on an OnPremises connector; here unencrypted mail from its addresses is "
            "refused. Write require_tls = false if they cannot do TLS",
        )
    for name in ("RestrictDomainsToCertificate", "RestrictDomainsToIPAddresses"):
        if item.switch(name, default=False):
            part.differs(name, "it has no effect on an OnPremises connector in Exchange either, and is left out")
    if item.switch("TreatMessagesAsInternal", default=False):
        part.table["treat_messages_as_internal"] = True
    if item.switch("CloudServicesMailEnabled", default=False):
        part.table["cloud_services_mail_enabled"] = True
        if "tls_sender_certificate_name" not in part.table:
            part.differs("CloudServicesMailEnabled", "it is kept, but believes only servers known by certificate here")
    if "sender_ip_addresses" in part.table and "tls_sender_certificate_name" in part.table:
        part.differs("SenderIPAddresses", "the servers are known by either, their certificate or their address")
    if _is_hybrid(item):
        part.differs(
            "ConnectorSource",
            "made by the hybrid configuration wizard: there it lets the on-premises Exchange into the service, here it "
            "lets it relay through this gateway",
        )


def _associated(item: ExchangeObject, part: Part, known: Known) -> None:
    """AssociatedAcceptedDomains, which name accepted domains by their identity, not always by the domain."""
    entries = item.texts("AssociatedAcceptedDomains", split=False)
    if len(entries) == 1 and entries[0].lower() not in known.domains:
        entries = item.texts("AssociatedAcceptedDomains")
    domains = [known.domains.get(entry.lower(), entry) for entry in entries]
    if domains:
        part.table["associated_accepted_domains"] = domains


def _outbound(item: ExchangeObject, part: Part, _known: Known) -> None:
    on_premises = _common(item, part)
    if domains := exchange_fields.address_spaces(item, part, "RecipientDomains"):
        part.table["recipient_domains"] = domains
    for name, field in (
        ("IsTransportRuleScoped", "is_transport_rule_scoped"),
        ("AllAcceptedDomains", "all_accepted_domains"),
        ("RouteAllMessagesViaOnPremises", "route_all_messages_via_on_premises"),
    ):
        if item.switch(name, default=False):
            part.table[field] = True
    _smart_hosts(item, part)
    _tls(item, part)
    _modes(item, part)
    if item.switch("TestMode", default=False):
        part.table["enabled"] = False
        part.lost(
            "TestMode", 'the connector is written as disabled; to try it on real mail, enable it with mode = "rehearse"'
        )
    for name, field in (
        ("CloudServicesMailEnabled", "cloud_services_mail_enabled"),
        ("SenderRewritingEnabled", "sender_rewriting_enabled"),
    ):
        if item.switch(name, default=False) and on_premises:
            part.table[field] = True
        elif item.switch(name, default=False):
            part.lost(name, "it acts on OnPremises connectors only")
    if part.table.get("cloud_services_mail_enabled"):
        part.differs(
            "CloudServicesMailEnabled",
            "Exchange believes what it is told only of a gateway that shows a certificate: write client_certificate",
        )
    if on_premises and _is_hybrid(item):
        part.differs("ConnectorSource", "made by the hybrid configuration wizard: it leads to the on-premises Exchange")


def _common(item: ExchangeObject, part: Part) -> bool:
    """Convert the properties of both directions; return whether the connector is on-premises. Raises Unreadable."""
    kind = item.choice("ConnectorType", *_CONNECTOR_TYPES)
    if not kind:
        raise Unreadable("ConnectorType is not in the file, and rights depend on it; print all properties")
    part.table["connector_type"] = kind
    _say_number(item, part, "ConnectorType", kind)
    exchange_fields.convert_labels(item, part)
    return kind == "on-premises"


def _say_number(item: ExchangeObject, part: Part, name: str, meaning: str) -> None:
    if item.is_number(name):
        part.differs(name, f"printed as a number, {item.number(name)}, and read as {meaning}; see that this is right")


def _smart_hosts(item: ExchangeObject, part: Part) -> None:
    by_mx = item.switch("UseMXRecord", default=True)
    hosts = []
    for host in item.texts("SmartHosts"):
        if "/" in host and not host.endswith("/32"):
            part.lost("SmartHosts", f"{shown(host)}: a network is not a host; name each server")
        else:
            hosts.append(host.removesuffix("/32"))
    if by_mx and hosts:
        part.differs("SmartHosts", f"{shown(hosts)}: left out, they are not used while UseMXRecord is true")
    elif hosts:
        part.table["smart_hosts"] = hosts
        if len(hosts) > 1:
            part.table["smart_host_order"] = "shuffled"  # Exchange spreads the load over them
        if any(not re.fullmatch(r"[\[\]0-9.:a-fA-F]+", host) for host in hosts):
            part.differs(
                "SmartHosts", "Exchange looks for the MX of a smart host's name first, here its addresses are taken"
            )
    part.table["use_mx_record"] = by_mx


def _tls(item: ExchangeObject, part: Part) -> None:
    if not item.has("TlsSettings"):
        raise Unreadable(
            "TlsSettings is not in the file, and without it mail may leave unencrypted; print all properties"
        )
    level = item.choice("TlsSettings", *_TLS_SETTINGS) or "opportunistic"
    _say_number(item, part, "TlsSettings", level)
    part.table["tls_settings"] = level
    name = item.text("TlsDomain")
    if level == "domain-validation":
        if name:
            part.table["tls_domain"] = name
        else:
            part.differs(
                "TlsDomain",
                "it is empty: the certificate must bear the smart host's name, or without one the recipient domain",
            )
        part.differs(
            "TlsSettings", "Exchange finds the name in the certificate's CN too, here it must be in subjectAltName"
        )
    elif name:
        part.differs("TlsDomain", f"{shown(name)}: left out, it is compared only under DomainValidation")


def _modes(item: ExchangeObject, part: Part) -> None:
    dane = item.choice("SmtpDaneMode", _DANE_MODES)
    if dane in {"mandatory", "none"}:
        part.table["smtp_dane_mode"] = dane
    if dane == "mandatory":
        part.fallbacks["smtp_dane_mode"] = (
            {"tls_settings": "domain-validation"},
            'tls_settings = "domain-validation" is written: mail waits where the certificate proves no name',
        )
    if item.choice("MtaStsMode", _STS_MODES) == "none":
        part.table["mta_sts_mode"] = "none"


def _is_hybrid(item: ExchangeObject) -> bool:
    return str(item.properties.get("connectorsource", "")).lower() == "hybridwizard"


_CONVERSIONS: dict[str, tuple[str, str, frozenset[str], _Convert]] = {
    "organization": ("organization", "organization", exchange_properties.ORGANIZATION, _organization),
    "transport": ("organization", N_("transport configuration"), exchange_properties.TRANSPORT, _transport),
    "domain": ("accepted_domain", "accepted domain", exchange_properties.DOMAIN, _domain),
    "inbound": ("inbound_connector", "inbound connector", exchange_properties.INBOUND, _inbound),
    "outbound": ("outbound_connector", "outbound connector", exchange_properties.OUTBOUND, _outbound),
    "receive": (
        "inbound_connector",
        N_("Receive connector"),
        exchange_properties.RECEIVE,
        exchange_server.convert_receive,
    ),
    "send": ("outbound_connector", N_("Send connector"), exchange_properties.SEND, exchange_server.convert_send),
    "rule": ("mail_flow_rule", "mail flow rule", exchange_properties.RULE, convert_rule),
    "journal": ("mail_flow_rule", "mail flow rule", exchange_properties.JOURNAL, convert_journal),
}
