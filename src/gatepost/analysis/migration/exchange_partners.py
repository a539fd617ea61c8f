"""Convert what Exchange's partner connectors require, and keep their lock-downs as strict as they are there.

Called by `analysis.migration.exchange`. Facts: exchange.md sections 2 and 5.
"""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING

from gatepost.analysis.migration.exchange_json import ExchangeObject, shown
from gatepost.policy.connectors.names import covers

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gatepost.analysis.migration.report import Part


def convert_enhanced_filtering(item: ExchangeObject, part: Part, *, on_premises: bool) -> None:
    """Convert skip-listing: which hops in front are passed over to find the client."""
    last, skipped = item.switch("EFSkipLastIP", default=False), item.texts("EFSkipIPs")
    if not (last or skipped):
        return
    name = "EFSkipLastIP" if last else "EFSkipIPs"
    if on_premises:
        part.lost(name, "mail of own servers is the organization's own here, and no hops are skipped")
    elif "sender_ip_addresses" not in part.table and "tls_sender_certificate_name" not in part.table:
        part.lost(name, "the connector does not say who the filter is; write sender_ip_addresses, and this again")
    elif last:
        part.table["ef_skip_last_ip"] = True
    else:
        converted = {text: networks_of(text) for text in skipped}
        part.table["ef_skip_ips"] = [network for networks in converted.values() for network in networks]
        for text in (text for text, networks in converted.items() if not networks):
            part.lost(name, f"{shown(text)}: is not a range of addresses; write it as networks")


def networks_of(text: str) -> list[str]:
    """An address or network as it is, a range "a-b" as the networks that make it up exactly; [] if it is none."""
    first, dash, last = text.partition("-")
    if not dash:
        return [text]
    try:
        ends = ipaddress.ip_address(first.strip()), ipaddress.ip_address(last.strip())
        return [str(network) for network in ipaddress.summarize_address_range(*ends)]
    except (TypeError, ValueError):
        return []


def convert_partner(item: ExchangeObject, part: Part) -> None:
    """Convert the properties that only a partner connector has."""
    if not item.has("RequireTls"):
        part.differs("RequireTls", "it is not in the file, and taken as true, which is New-InboundConnector's default")
    by_certificate = item.switch("RestrictDomainsToCertificate", default=False)
    by_address = item.switch("RestrictDomainsToIPAddresses", default=False)
    part.table.update(
        require_tls=item.switch("RequireTls", default=True),
        restrict_domains_to_certificate=by_certificate,
        restrict_domains_to_ip_addresses=by_address,
    )
    if "tls_sender_certificate_name" in part.table and not part.table["require_tls"]:
        if by_certificate:
            part.table["require_tls"] = True
            part.differs("RequireTls", "written as true: a certificate is shown over TLS only, so nothing else passes")
        else:
            del part.table["tls_sender_certificate_name"], part.table["match_common_name"]
            part.findings = [finding for finding in part.findings if finding.setting != "TlsSenderCertificateName"]
            part.lost(
                "TlsSenderCertificateName",
                "without RequireTls nobody has to show one; to demand it, write require_tls = true and the name",
            )
    if by_certificate and by_address:
        part.differs(
            "RestrictDomainsToIPAddresses",
            "both the certificate and the address are needed here; for either, make two connectors",
        )
    if item.switch("CloudServicesMailEnabled", default=False):
        part.lost("CloudServicesMailEnabled", "headers of Exchange's own are never taken from a partner")
    if item.switch("TreatMessagesAsInternal", default=False):
        part.lost("TreatMessagesAsInternal", "a partner's mail is never internal, in Exchange neither")


def put_lock_downs_first(parts: Sequence[Part]) -> None:
    """Give restricting connectors a priority if another would be an exception to them.

    That is one for a more specific domain, or for the same domain where the client has its certificate or address.

    In Exchange there are no exceptions: the restricting connector goes first (exchange.md section 5.1). All of them get
    the same priority, so that their order among themselves stays; of two the more specific decides, and that differs.
    """
    partners = [part for part in parts if part.table.get("connector_type") == "partner" and "require_tls" in part.table]
    restricting = [part for part in partners if _restricts(part)]
    for part in restricting:
        wider = (lock for lock in restricting if lock is not part)
        if any(_is_exception(domain, lock) for lock in wider for domain in part.table["sender_domains"]):
            part.differs(
                "SenderDomains",
                "mail of these domains must meet this connector; in Exchange mail that meets a restricting connector "
                "for more domains is taken too",
            )
    others = [(part, domain) for part in partners if not _restricts(part) for domain in part.table["sender_domains"]]
    if not any(_goes_before(part, domain, lock) for part, domain in others for lock in restricting):
        return
    for part in restricting:
        part.table["priority"] = 50  # others have 100
        part.differs(
            "SenderDomains",
            "priority = 50 keeps it before connectors that restrict nothing, as in Exchange; leave it out if these are "
            "meant as exceptions",
        )


def _restricts(part: Part) -> bool:
    return bool(part.table["restrict_domains_to_certificate"] or part.table["restrict_domains_to_ip_addresses"])


def _goes_before(part: Part, domain: str, lock: Part) -> bool:
    """Whether a connector that restricts nothing would take mail of this domain from the lock-down."""
    if _is_exception(domain, lock):
        return True
    is_known = "tls_sender_certificate_name" in part.table or "sender_ip_addresses" in part.table
    return is_known and domain.lower() in {pattern.lower() for pattern in lock.table["sender_domains"]}


def _is_exception(domain: str, lock: Part) -> bool:
    """Whether a connector for the domain would go before the lock-down for mail that the latter holds for."""
    wide = (pattern.lower() for pattern in lock.table["sender_domains"] if pattern.startswith("*"))
    narrow = domain.lower()
    return any(pattern != narrow and covers(pattern, narrow.removeprefix("*.")) for pattern in wide)
