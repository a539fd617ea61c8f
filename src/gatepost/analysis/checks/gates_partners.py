"""The partners to notify before a changeover: those of connectors, and those seen sending over TLS. Pure.

Called by `analysis.checks.changeover` and `gatepost certificate changeover`. What a partner compares our certificate
with (its issuer, subject, thumbprint, key, exchange.md section 9) cannot be seen from here, so that everybody who might
is told.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from gatepost.analysis.checks.gates import GateCheck, GateFinding
from gatepost.analysis.checks.partner_report import Mark
from gatepost.pki.certificates.entry import Purpose
from gatepost.quantity import quantity

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from gatepost.pki.certificates.entry import Entry
    from gatepost.policy.connectors.records import InboundConnector, Organization, OutboundConnector


MOST_SEEN = 20
"""Senders that are listed though no connector names them, those with the most messages first."""

_SHOWN = 8


class Partner(msgspec.Struct, frozen=True):
    """A domain that might know our certificate. why: what makes us think so. told: it was told, or that was waived."""

    name: str
    why: tuple[str, ...]
    told: bool = False


def partners_of(entry: Entry, organizations: Sequence[Organization], seen: Mapping[str, int]) -> tuple[Partner, ...]:
    """Everybody, those of connectors first. seen: messages over TLS by the sender's domain, of the last 30 days."""
    found: dict[str, list[str]] = {}
    for organization in organizations:
        own = {domain.name for domain in organization.accepted_domains}
        for name, why in _of_connectors(entry, organization):
            if name not in own:
                found.setdefault(name, []).append(why)
    if entry.purpose is Purpose.SERVER:
        ours = {domain.name for organization in organizations for domain in organization.accepted_domains}
        often = sorted(seen.items(), key=lambda item: (-item[1], item[0]))
        for name, count in [candidate for candidate in often if candidate[0] not in ours][:MOST_SEEN]:
            found.setdefault(name, []).append(f"{quantity(count, 'message')} over TLS in the last 30 days")
    return tuple(Partner(name, tuple(dict.fromkeys(why)), name in entry.told) for name, why in found.items())


def _of_connectors(entry: Entry, organization: Organization) -> Iterator[tuple[str, str]]:
    """Names and reasons. Who delivers to us sees our server's certificate; who is delivered to, a client's."""
    if entry.purpose is Purpose.SERVER:
        for connector in organization.inbound_connectors:
            yield from (
                (name, f"inbound connector {connector.name!r} of {organization.name}") for name in _senders(connector)
            )
        return
    if entry.organization not in {"", organization.name}:
        return
    for out in organization.outbound_connectors:
        if out.enabled and out.client_certificate is not None:
            why = f"outbound connector {out.name!r} of {organization.name} presents a client certificate"
            yield from ((name, why) for name in _receivers(out))


def _senders(connector: InboundConnector) -> Iterator[str]:
    if connector.enabled:
        yield from (str(pattern).removeprefix("*.") for pattern in connector.sender_domains if str(pattern) != "*")
        if connector.tls_sender_certificate_name and not connector.sender_domains:
            yield str(connector.tls_sender_certificate_name).removeprefix("*.")


def _receivers(connector: OutboundConnector) -> Iterator[str]:
    names = [str(pattern).removeprefix("*.") for pattern in connector.recipient_domains if str(pattern) != "*"]
    yield from names or [hop.host for hop in connector.smart_hosts]


def partner_findings(partners: Sequence[Partner]) -> Iterator[GateFinding]:
    """The finding whether all partners were notified of the change."""
    if not partners:
        yield GateFinding(GateCheck.PARTNERS, Mark.PASS, "no partner is known to expect the current certificate")
        return
    silent = [partner for partner in partners if not partner.told]
    if not silent:
        yield GateFinding(GateCheck.PARTNERS, Mark.PASS, "all partners were notified")
        return
    more = f" and {len(silent) - _SHOWN} more" if len(silent) > _SHOWN else ""
    names = ", ".join(partner.name for partner in silent[:_SHOWN])
    text = f"partners not yet notified ({len(silent)} of {len(partners)}): {names}{more}"
    evidence = "; ".join(f"{partner.name}: {partner.why[0]}" for partner in silent[:_SHOWN])
    fix = "Send them the notification text (`changeover notice`), then mark them as notified (`changeover told`)"
    yield GateFinding(GateCheck.PARTNERS, Mark.WARN, text, evidence, fix)
