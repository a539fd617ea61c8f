"""The gateway side of a hybrid pair: what is configured, what is missing, and the commands that complete it.

Called by `analysis.hybrid.plan`. Each finding is about one thing that must hold for forced TLS in both directions and
for header fields that cross (exchange.md sections 2, 3 and 9.4). Pure.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from gatepost.pki.certificates.entry import PendingRequest, Purpose
from gatepost.policy.connectors.directory import OutboundIndex
from gatepost.policy.connectors.names import covers
from gatepost.policy.connectors.recipients import MailboxIndex
from gatepost.policy.connectors.selection import connector_for
from gatepost.policy.connectors.values import ConnectorType, DomainType, Mode, TlsSettings
from gatepost.protocols.tls.names import describe_names, matches
from gatepost.quantity import quantity
from gatepost.texts import own

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from gatepost.analysis.hybrid.given import Given
    from gatepost.policy.connectors.records import InboundConnector, OutboundConnector
    from gatepost.protocols.tls.facts import CertificateFacts


FROM_EXCHANGE = "from Exchange"
TO_EXCHANGE = "to Exchange"
LABEL = "hybrid"
"""Names that the plan gives to what is not there yet."""

_SHOWN = 20  # commands of one kind


@dataclass(frozen=True, slots=True)
class Finding:
    """subject: what it is about, a key that stays. complete: nothing is missing. commands: what makes it complete."""

    subject: str
    complete: bool
    text: str
    commands: tuple[str, ...] = ()


def findings(given: Given) -> tuple[Finding, ...]:
    """Everything on this side, in the order in which it is to be done."""
    return (
        _listener(given),
        _server_certificate(given),
        *_domains(given),
        *_routing_domain(given),
        _inbound(given),
        _client_identity(given),
        _outbound(given),
        *_in_its_place(given),
        *_trust(given),
    )


def command(*words: str) -> str:
    """A command line for a POSIX shell, each word as it is meant."""
    return shlex.join(("gatepost", *words))


def by_address(given: Given) -> Iterator[str]:
    """Say which connectors take unencrypted mail from addresses: it passes by what the plan demands of Exchange."""
    for connector in given.organization.inbound_connectors:
        on_premises = connector.connector_type is ConnectorType.ON_PREMISES
        if on_premises and connector.enabled and connector.sender_ip_addresses and not connector.require_tls:
            addresses = ", ".join(str(address) for address in connector.sender_ip_addresses[:_SHOWN])
            yield (
                f"Inbound connector {connector.name!r} takes unencrypted mail from {addresses}. If Exchange is among "
                "them, disable it once Exchange shows its certificate."
            )


def inbound_of(given: Given) -> InboundConnector | None:
    """The connector by which Exchange is known, or that is meant for one; the enabled before others."""
    return _best(given.organization.inbound_connectors, partial(_names_exchange, given))


def outbound_of(given: Given) -> OutboundConnector | None:
    """The connector that leads to Exchange, or is meant for one; the enabled before others."""
    connectors = (each for each in given.organization.outbound_connectors if not each.is_transport_rule_scoped)
    return _best(connectors, partial(_leads_to, given))


def _best[C: (InboundConnector, OutboundConnector)](connectors: Iterable[C], fits: Callable[[C], bool]) -> C | None:
    """Of the connectors for a server of one's own that are about Exchange, one that fits, if any does."""
    about = (
        each
        for each in connectors
        if each.connector_type is ConnectorType.ON_PREMISES and (each.cloud_services_mail_enabled or fits(each))
    )
    return min(about, key=lambda connector: (not fits(connector), not connector.enabled, connector.name), default=None)


def _names_exchange(given: Given, connector: InboundConnector) -> bool:
    name = connector.tls_sender_certificate_name
    if not name:
        return False
    leaf = given.exchange.leaf if given.exchange is not None else None
    borne = leaf is not None and matches(name, leaf, common_name=connector.match_common_name)
    return borne or covers(name, given.exchange_host)  # what the certificate lacks is told of the certificate


def _leads_to(given: Given, connector: OutboundConnector) -> bool:
    return any(smart.host == given.exchange_host for smart in connector.smart_hosts)


def _listener(given: Given) -> Finding:
    if given.listens:
        return Finding("listener", True, f"{given.hostname} listens for mail from other servers (role mx)")
    text = 'no listener takes mail from other servers: write in the settings [[listener]] role = "mx", and restart'
    return Finding("listener", False, text)


def _server_certificate(given: Given) -> Finding:
    for leaf in given.server:
        if matches(given.hostname, leaf) and given.is_valid(leaf):
            return Finding("server-certificate", True, f"it presents a certificate for {describe_names(leaf)}")
    shown = "; ".join(describe_names(leaf) for leaf in given.server[:5]) or "none"
    text = f"no valid certificate bears {given.hostname}, which Exchange will look for (presented: {shown})"
    words = ("--name", given.hostname, "-o", "gateway.csr")
    return _to_request("server-certificate", text, given.request_for(Purpose.SERVER), words)


def _to_request(subject: str, text: str, pending: PendingRequest | None, words: tuple[str, ...]) -> Finding:
    """A certificate that is missing. pending: was requested already, so that it only has to be added."""
    add = command("certificate", "add", "ISSUED.pem", "--current")
    if pending is None:
        return Finding(subject, False, text, (command("certificate", "request", *words), add))
    text += f"; request {pending.id} waits: add the certificate that the authority issues for it"
    return Finding(subject, False, text, (add,))


def _domains(given: Given) -> Iterator[Finding]:
    known = {domain.name: domain for domain in given.organization.accepted_domains}
    whose = ("--organization", given.organization.name)
    if not given.domains:
        text = "the organization has no accepted domain"
        yield Finding(
            "accepted-domain", False, text, (command("domain", "add", "DOMAIN", *whose, "type=internal-relay"),)
        )
    populated = MailboxIndex((given.organization,)).domains
    for name in given.domains:
        subject, domain = f"accepted-domain {name}", known.get(name)
        if domain is None:
            added = command("domain", "add", name, *whose, "type=internal-relay")
            yield Finding(subject, False, f"{name} is not an accepted domain of {given.organization.name}", (added,))
        elif domain.type is DomainType.AUTHORITATIVE and name in populated:
            text = f"{name} is authoritative, so recipients that only Exchange has are refused here"
            yield Finding(subject, False, text, (command("domain", "set", name, "type=internal-relay"),))
        else:
            where = "recipients without a mailbox here go to Exchange"
            yield Finding(subject, True, f"{name} is {domain.type}: {where}")


def _routing_domain(given: Given) -> Iterator[Finding]:
    """The domain by which Exchange knows mailboxes here from its own."""
    name = given.routing_domain
    if not name:
        return
    subject, whose = f"routing-domain {name}", ("--organization", given.organization.name)
    if all(domain.name != name for domain in given.organization.accepted_domains):
        text = f"{name} is not an accepted domain, so Exchange cannot reach mailboxes here by it"
        yield Finding(subject, False, text, (command("domain", "add", name, *whose),))
        return
    without = [box for box in given.shared_mailboxes if given.routing_address(box) not in {box.address, *box.aliases}]
    commands = tuple(
        command("mailbox", "set", box.address, f"aliases+={given.routing_address(box)}") for box in without[:_SHOWN]
    )
    text = f"every mailbox of the shared domains has an address in {name}"
    if without:
        boxes = quantity(len(without), "mailbox", "mailboxes")
        text = f"without an address in {name}: {boxes} of the shared domains"
    yield Finding(subject, not without, text, commands)


def _inbound(given: Given) -> Finding:
    """The connector from Exchange (exchange.md section 1, S10)."""
    wanted = {
        "connector_type": "on-premises",
        "tls_sender_certificate_name": given.name_for_connector,
        "require_tls": "true",
        "cloud_services_mail_enabled": "true",
    }
    connector = inbound_of(given)
    if connector is None:
        text = "no inbound connector knows Exchange by its certificate, so it may not relay"
        return Finding("inbound-connector", False, text, (_added(given, "inbound", FROM_EXCHANGE, wanted),))
    lacks = []
    if not _names_exchange(given, connector):
        lacks.append((f"it does not name {given.exchange_host}", "tls_sender_certificate_name"))
    if not connector.require_tls:
        lacks.append(("from known addresses it accepts unencrypted mail", "require_tls"))
    if not connector.cloud_services_mail_enabled:
        lacks.append(("header fields of Exchange are removed", "cloud_services_mail_enabled"))
    changes = {key: wanted[key] for _, key in lacks} | _in_force(connector)
    return _judged(given, connector, "inbound", [why for why, _ in lacks], changes)


def _outbound(given: Given) -> Finding:
    """The connector to Exchange: the second half of forced TLS for all mail (exchange.md section 1, S11)."""
    wanted = {
        "connector_type": "on-premises",
        "all_accepted_domains": "true",
        "smart_hosts": given.exchange_host,
        "tls_settings": "domain-validation",
        "tls_domain": given.exchange_host,
        "client_certificate.label": LABEL,
        "cloud_services_mail_enabled": "true",
    } | ({"route_all_messages_via_on_premises": "true"} if given.centralised else {})
    connector = outbound_of(given)
    if connector is None:
        text = "no outbound connector leads to Exchange, so mail for its mailboxes goes by MX"
        if taking := ", ".join(repr(connector.name) for connector, _ in _taking(given)):
            text = f"no outbound connector leads to {given.exchange_host}, and mail for its mailboxes goes by {taking}"
        return Finding("outbound-connector", False, text, (_added(given, "outbound", TO_EXCHANGE, wanted),))
    lacks = list(_outbound_lacks(given, connector))
    changes = {key: wanted[key] for _, key in lacks} | _in_force(connector)
    return _judged(given, connector, "outbound", [why for why, _ in lacks], changes)


def _outbound_lacks(given: Given, connector: OutboundConnector) -> Iterator[tuple[str, str]]:
    """Yield the faults of an outbound connector, each with the key that fixes it."""
    if not _leads_to(given, connector):
        yield f"it does not lead to {given.exchange_host}", "smart_hosts"
    unserved = [name for name in given.domains if not _takes(connector, name)]
    if unserved:
        yield f"it takes no mail for {', '.join(unserved)}", "all_accepted_domains"
    if connector.tls_settings is not TlsSettings.DOMAIN_VALIDATION:
        yield "it does not demand Exchange's name in a trusted certificate", "tls_settings"
    if not _expects_exchange(given, connector):
        yield f"the name that it expects is not {given.exchange_host}'s", "tls_domain"
    if connector.client_certificate is None:
        yield "it presents no certificate, so Exchange does not know the gateway", "client_certificate.label"
    if not connector.cloud_services_mail_enabled:
        yield "Exchange does not learn the origin of mail", "cloud_services_mail_enabled"
    if given.centralised and not connector.route_all_messages_via_on_premises:
        yield "mail to others does not go through Exchange", "route_all_messages_via_on_premises"


def _in_its_place(given: Given) -> Iterator[Finding]:
    """Other connectors that take mail of the shared domains, whose requirement then holds and not the plan's."""
    if outbound_of(given) is None:
        return
    for connector, domains in _taking(given):
        text = (
            f"outbound connector {connector.name!r} takes the mail for {', '.join(domains)} in its place, with "
            f"tls_settings {connector.tls_settings}; if that is meant, name only the other domains with --domain"
        )
        subject, whose = f"outbound-connector {connector.name}", ("--organization", given.organization.name)
        words = command("connector", "set", connector.name, *whose, "--direction", "outbound", "enabled=false")
        yield Finding(subject, False, text, (words,))


def _taking(given: Given) -> list[tuple[OutboundConnector, list[str]]]:
    """The connectors, but not the one of the plan, that take mail of the shared domains, each with these domains."""
    index, own = OutboundIndex(given.organization.outbound_connectors), outbound_of(given)
    accepted = [domain.name for domain in given.organization.accepted_domains]
    taking: dict[str, tuple[OutboundConnector, list[str]]] = {}
    for name in given.domains:
        connector = connector_for(index, name, accepted=any(covers(pattern, name) for pattern in accepted))
        if connector is not None and connector is not own:
            taking.setdefault(connector.name, (connector, []))[1].append(name)
    return list(taking.values())


def _takes(connector: OutboundConnector, domain: str) -> bool:
    if connector.all_accepted_domains or connector.route_all_messages_via_on_premises:
        return True
    return any(covers(pattern, domain) for pattern in connector.recipient_domains)


def _expects_exchange(given: Given, connector: OutboundConnector) -> bool:
    expected = connector.tls_domain or given.exchange_host
    leaf = given.exchange.leaf if given.exchange is not None else None
    return covers(expected, given.exchange_host) or (leaf is not None and matches(expected, leaf))


def _in_force(connector: InboundConnector | OutboundConnector) -> dict[str, str]:
    changes = {} if connector.enabled else {"enabled": "true"}
    return changes | ({"mode": "enforce"} if connector.mode is Mode.REHEARSE else {})


def _judged(
    given: Given,
    connector: InboundConnector | OutboundConnector,
    direction: str,
    lacks: Sequence[str],
    changes: dict[str, str],
) -> Finding:
    """A connector that is there. changes: what makes it complete."""
    subject, name = f"{direction}-connector", repr(connector.name)
    label = f"inbound connector {name}" if direction == "inbound" else f"outbound connector {name}"
    why = [*lacks, *(() if connector.enabled else ("it is disabled",))]
    why += ["it is in rehearsal"] if connector.mode is Mode.REHEARSE else []
    if not why:
        return Finding(subject, True, f"{label} is complete")
    words = [f"{key}={value}" for key, value in changes.items()]
    whose = ("--organization", given.organization.name, "--direction", direction)
    return Finding(
        subject,
        False,
        f"{label}: {own('; '.join(why))}",
        (command("connector", "set", connector.name, *whose, *words),),
    )


def _added(given: Given, direction: str, name: str, fields: dict[str, str]) -> str:
    words = (f"{key}={value}" for key, value in fields.items())
    return command("connector", "add", direction, name, "--organization", given.organization.name, *words)


def _client_identity(given: Given) -> Finding:
    """The certificate that the gateway shows to Exchange, which knows it by the name in it."""
    label, leaf = _client_leaf(given)
    whose = ("--client", "--organization", given.organization.name, "--label", label or LABEL)
    if leaf is None:
        text = f"there is no current client certificate {label or LABEL!r} for the gateway to show to Exchange"
    elif not given.is_valid(leaf):
        text = f"the certificate that the gateway shows to Exchange ({describe_names(leaf)}) is not valid now"
    elif not matches(given.hostname, leaf):
        text = f"the certificate that the gateway shows to Exchange bears {describe_names(leaf)}, not {given.hostname}"
    else:
        return Finding("client-identity", True, f"it shows Exchange a certificate for {describe_names(leaf)}")
    words = ("--name", given.hostname, *whose, "-o", "client.csr")
    return _to_request("client-identity", text, given.request_for(Purpose.CLIENT, label or LABEL), words)


def _client_leaf(given: Given) -> tuple[str, CertificateFacts | None]:
    """Label and certificate of what the outbound connector presents, or is to present; no label for files."""
    connector = outbound_of(given)
    certificate = connector.client_certificate if connector is not None else None
    if connector is not None and certificate is not None and not certificate.label:
        return "", given.files.get(connector.name)
    label = certificate.label if certificate is not None else LABEL
    return label, given.clients.get(label)


def _trusted(given: Given, leaf: CertificateFacts) -> Finding:
    """Whether a certificate of Exchange that leads to a trusted root bears the names that the connectors expect."""
    subject, borne = "exchange-certificate", describe_names(leaf)
    outbound, inbound = outbound_of(given), inbound_of(given)
    expected = (outbound.tls_domain if outbound is not None else "") or given.exchange_host
    known = inbound.tls_sender_certificate_name if inbound is not None else ""
    by_common_name = inbound is not None and inbound.match_common_name
    lacks = [] if matches(expected, leaf) else [f"the outbound connector expects {expected}, so mail to it waits"]
    known = known or given.name_for_connector
    if not matches(known, leaf, common_name=by_common_name):
        lacks.append(f"the inbound connector knows it by {known}, so it may not relay")
    if not lacks:
        return Finding(subject, True, f"Exchange's certificate for {borne} is trusted")
    text = f"Exchange's certificate leads to a trusted root, but bears {borne} only: {'; '.join(lacks)}"
    return Finding(subject, False, f"{text}. Give Exchange a certificate that bears {given.exchange_host}")


def _trust(given: Given) -> Iterator[Finding]:
    """Whether Exchange's certificate leads to an authority that is trusted here, if it was shown."""
    chain = given.exchange
    if chain is None:
        return
    if chain.trusted and chain.leaf is not None:
        yield _trusted(given, chain.leaf)
        return
    text = f"Exchange's certificate is not trusted here ({chain.status}): {chain.detail}"
    whose, anchors = ("--organization", given.organization.name), "trust_anchors=/etc/gatepost/exchange-root.pem"
    names = (("inbound", inbound_of(given), FROM_EXCHANGE), ("outbound", outbound_of(given), TO_EXCHANGE))
    commands = (
        command("connector", "set", connector.name if connector else name, *whose, "--direction", direction, anchors)
        for direction, connector, name in names
    )
    yield Finding("exchange-certificate", False, text, tuple(commands))
