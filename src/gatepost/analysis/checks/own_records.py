"""Check the DNS records of one of our own domains: MX, TLSA of our hosts, DKIM keys, SPF, TLS reports.

Called by `manage.use_cases.dns_checks`; the MTA-STS policy is `analysis.checks.own_policy`'s. Only looks, never raises
for what the DNS answers: what could not be told is UNKNOWN, never a pass.

`analysis.checks.own_certificates` looks up our mail hosts here, too: the MX hosts, and the TLSA records of each.
"""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, Final, cast

from gatepost.analysis.checks.dkim_record import DkimObservation, seen_record
from gatepost.analysis.checks.own_policy import mail_host_names, reports_finding
from gatepost.analysis.checks.partner_report import Finding, Mark, Stage
from gatepost.net.dane import unreadable
from gatepost.net.lookups.mx import MailRouter
from gatepost.net.lookups.question import LookupFailed
from gatepost.net.lookups.tlsa import TlsaFinder
from gatepost.net.lookups.tlsrpt import report_record
from gatepost.protocols.dane.tlsa import RecordsKind, TlsaLookup, TlsaStatus, classify
from gatepost.quantity import quantity

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from dns.rdtypes.txtbase import TXTBase

    from gatepost.net.lookups.dns import Resolver
    from gatepost.protocols.dkim.record import KeyRecord


_DOMAINS: Final = 50
_HOSTS: Final = 20


class OwnHosts:
    """hostname: ours. For one event loop."""

    def __init__(self, resolver: Resolver, hostname: str) -> None:
        self._resolver = resolver
        self._hostname = hostname
        self._router = MailRouter(resolver, random.Random())  # noqa: S311 - shuffles equals

    async def ours(self, domains: Sequence[str]) -> dict[str, tuple[str, ...]]:
        """The hosts by which mail reaches us, at most 20, each with the domains (A-labels) whose MX records name it.

        These are our own name, and MX hosts that have an address of ours.
        """
        plain = [text for text in domains if not text.startswith("*.")][:_DOMAINS]
        listed = await asyncio.gather(*(mail_host_names(self._router, domain) for domain in plain))
        found: dict[str, list[str]] = {self._hostname: []}
        for domain, hosts in zip(plain, listed, strict=True):
            for name in () if isinstance(hosts, str) else hosts:
                found.setdefault(name, []).append(domain)
        names = list(found)[:_HOSTS]
        addresses = await asyncio.gather(*(self._addresses(name) for name in names))
        own = addresses[0]
        return {
            name: tuple(found[name])
            for name, some in zip(names, addresses, strict=True)
            if name == self._hostname or own & some
        }

    async def tlsa(self, host: str, domains: Sequence[str]) -> tuple[TlsaLookup, bool]:
        """The TLSA records of port 25 of a host, and whether they are proven.

        Where nobody here can tell whether the zone is signed, records that are there are taken as others may take them.
        """
        try:
            addresses = await self._router.addresses(host)
            tlsa_lookup = await TlsaFinder(self._resolver).find(addresses, next_hops=domains)
            if tlsa_lookup.status is not TlsaStatus.INSECURE or not self._resolver.dane_off:
                return tlsa_lookup, True
            answer = await self._resolver.query(f"_25._tcp.{host}", "TLSA")
        except LookupFailed as failure:
            if not failure.temporary:
                return TlsaLookup(TlsaStatus.NONE, failure.detail), True
            return TlsaLookup(TlsaStatus.FAILED, failure.detail, bogus=failure.bogus), True
        records = classify([record.to_generic().data for record in answer.records], unreadable=unreadable)
        if records.kind is not RecordsKind.USABLE:
            return tlsa_lookup, False
        return TlsaLookup(TlsaStatus.USABLE, records.detail, records, host, (host, *domains)), False

    async def _addresses(self, host: str) -> frozenset[str]:
        try:
            return frozenset((await self._router.addresses(host)).addresses)
        except LookupFailed:
            return frozenset()


_SHOWN = 300


async def check_mx(domain: str, hosts: Sequence[str], resolver: Resolver) -> list[Finding]:
    """Whether mail to the domain comes to our hosts."""
    try:
        mail_hosts = await MailRouter(resolver, random.Random()).mail_hosts(domain)  # noqa: S311 - shuffles equals
    except LookupFailed as failed:
        mark = Mark.UNKNOWN if failed.temporary else Mark.FAIL
        return [Finding(Stage.DNS, mark, "the MX records cannot be looked up", failed.detail[:_SHOWN])]
    named = sorted(mail_hosts.hosts, key=lambda host: (host.preference, host.name))
    shown = ", ".join(f"{host.preference} {host.name}" for host in named)[:_SHOWN]
    own = [host for host in named if host.name in hosts]
    if not named:
        return [
            Finding(Stage.DNS, Mark.FAIL, "the DNS names no mail host for the domain", str(mail_hosts.kind), _PUBLISH)
        ]
    if not own:
        text = "mail to the domain does not come here: its MX records name other hosts"
        fix = "Here: if something stands before the gateway, all is well. Else put the domain's records into the zone."
        return [Finding(Stage.DNS, Mark.WARN, text, shown, fix)]
    proven = "; DNSSEC proves them" if mail_hosts.authentic else "; DNSSEC does not prove them"
    text = f"mail to the domain comes here{proven}"
    first = Finding(Stage.DNS, Mark.PASS, text, shown)
    if len(own) == len(named):
        return [first]
    others = Finding(
        Stage.DNS, Mark.INFO, "mail may come to other hosts as well, which must be as well protected as this one", shown
    )
    return [first, others]


_KEY = (3, 1, 1)
_PUBLISH = "Here: put the domain's records into the zone."


async def check_tlsa(host: str, keys: Collection[str], own: OwnHosts) -> Finding:
    """Whether the TLSA records of a host of ours match. keys: SHA-256 digests that have to be there, in hexadecimal."""
    tlsa_lookup, proven = await own.tlsa(host, (host,))
    detail = tlsa_lookup.detail[:_SHOWN]
    match tlsa_lookup.status:
        case TlsaStatus.FAILED if tlsa_lookup.bogus:
            text = f"DNSSEC of {host} is broken: senders that validate do not deliver"
            return Finding(Stage.DANE, Mark.FAIL, text, detail, "Here: fix the signatures of the zone at once.")
        case TlsaStatus.FAILED:
            return Finding(Stage.DANE, Mark.UNKNOWN, f"the TLSA records of {host} cannot be looked up", detail)
        case TlsaStatus.NONE:
            text = f"{host} has no TLSA records: senders protect mail by MTA-STS at most"
            return Finding(Stage.DANE, Mark.INFO, text, detail, _PUBLISH)
        case TlsaStatus.INSECURE:
            text = f"the zone of {host} is not signed, so senders ignore its TLSA records"
            return Finding(Stage.DANE, Mark.INFO, text, detail, "Here: sign the zone with DNSSEC first.")
        case TlsaStatus.UNUSABLE:
            text = f"the TLSA records of {host} are not usable"
            return Finding(Stage.DANE, Mark.WARN, text, detail, _PUBLISH)
        case TlsaStatus.USABLE:
            there = {
                tlsa.data.hex()
                for tlsa in tlsa_lookup.records.usable
                if (tlsa.usage, tlsa.selector, tlsa.matching) == _KEY
            }
            return _compared(host, frozenset(keys), there, detail, proven=proven)


def _compared(host: str, expected: frozenset[str], there: set[str], detail: str, *, proven: bool) -> Finding:
    missing = expected - there
    unsure = "" if proven else " (whether DNSSEC proves them is not known from here)"
    if not expected:
        text = f"{host} has TLSA records, and no certificate of ours has the name{unsure}"
        return Finding(Stage.DANE, Mark.WARN, text, detail)
    if missing == expected:
        text = f"no TLSA record of {host} is of a key of ours: senders that obey DANE do not deliver{unsure}"
        return Finding(Stage.DANE, Mark.FAIL, text, detail, _PUBLISH)
    if missing:
        text = f"no TLSA record yet for {len(missing)} of {quantity(len(expected), 'key')} of {host}{unsure}"
        return Finding(Stage.DANE, Mark.WARN, text, detail, "Here: publish it before that certificate is presented.")
    mark = Mark.PASS if proven else Mark.UNKNOWN
    return Finding(Stage.DANE, mark, f"the TLSA records of {host} are those of our keys{unsure}", detail)


async def check_dkim(name: str, expected: KeyRecord, resolver: Resolver) -> Finding:
    """Whether verifiers find a DKIM key at its name."""
    sight = await seen_record(resolver, name, expected)
    mark, text, fix = _SIGHTS[sight.seen]
    return Finding(Stage.DNS, mark, f"{name}: {text}", sight.why[:_SHOWN], fix)


_SIGHTS = {
    DkimObservation.PUBLISHED: (Mark.PASS, "the key is published", ""),
    DkimObservation.MISSING: (Mark.FAIL, "the key is not published", _PUBLISH),
    DkimObservation.DIFFERS: (Mark.FAIL, "the published key is a different one", _PUBLISH),
    DkimObservation.UNKNOWN: (Mark.UNKNOWN, "it is not known whether the key is published", ""),
}


async def check_reports(domain: str, resolver: Resolver) -> Finding:
    """Whether senders are asked for reports about TLS."""
    try:
        return reports_finding(await report_record(resolver, domain))
    except LookupFailed as failed:
        return reports_finding(failed.detail[:_SHOWN])


async def check_spf(domain: str, hosts: Sequence[str], resolver: Resolver) -> Finding:
    """Whether an SPF record names our hosts. What it includes is not followed."""
    try:
        answer = await resolver.query(domain, "TXT")
    except LookupFailed as failed:
        return Finding(
            Stage.DNS, Mark.UNKNOWN, "it is not known whether there is an SPF record", failed.detail[:_SHOWN]
        )
    texts = [b"".join(cast("TXTBase", record).strings).decode("ascii", "replace") for record in answer.records]
    matches = [candidate for candidate in texts if candidate.lower().split(" ", 1)[0] == "v=spf1"]
    if not matches:
        text = "there is no SPF record: receivers do not know which hosts may send mail of the domain"
        return Finding(Stage.DNS, Mark.INFO, text, fix=_PUBLISH)
    if len(matches) > 1:
        text = "there are several SPF records, so that none counts (RFC 7208 section 4.5)"
        return Finding(Stage.DNS, Mark.FAIL, text, "; ".join(matches)[:_SHOWN], "Here: leave one of them.")
    mechanisms = {part.lstrip("+").lower().rstrip(".") for part in matches[0].split()[1:]}
    if any(f"a:{host}" in mechanisms for host in hosts):
        return Finding(Stage.DNS, Mark.PASS, "the SPF record names our hosts", matches[0][:_SHOWN])
    text = "the SPF record does not name our hosts; its other mechanisms were not checked"
    fix = "Here: if mail of the domain leaves by this gateway, add the mechanism a: of each host."
    return Finding(Stage.DNS, Mark.INFO, text, matches[0][:_SHOWN], fix)
