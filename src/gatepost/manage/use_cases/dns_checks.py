"""The DNS records that our own domains should have, and checks of the DNS against them, by section and domain.

A look asks a dozen questions and takes up to half a minute, so that few run at a time, and each is kept for some
minutes: a list of all domains shows what is known.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from enum import StrEnum
from threading import Lock
from typing import TYPE_CHECKING, Final

import msgspec

from gatepost.analysis.checks import own_records as records
from gatepost.analysis.checks.own_records import OwnHosts
from gatepost.manage.use_cases.jobs import ConcurrencyLimit
from gatepost.manage.use_cases.listener_checks import resolver_of
from gatepost.manage.use_cases.mta_sts import PublicationFinding, PublishedPolicy, check_policy, finding_record

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from gatepost.analysis.checks.partner_report import Finding
    from gatepost.manage.access.principal import Principal
    from gatepost.net.lookups.dns import Resolver
    from gatepost.policy.connectors.dkim_key import DkimKey
    from gatepost.settings.model import Settings


class SectionKey(StrEnum):
    """The sections, in the order in which they matter."""

    MX = "mx"
    TLSA = "tlsa"
    MTA_STS = "mta-sts"
    TLS_RPT = "tls-rpt"
    DKIM = "dkim"
    SPF = "spf"


@dataclass(frozen=True, slots=True)
class ZoneRecord:
    """A line of a zone. note: what tells it from its neighbours, such as "next, from 2026-12-03"."""

    line: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class ZoneSection:
    """A section. why: what it is for. records: () where there is nothing to publish; then `none` says why."""

    key: SectionKey
    title: str
    why: str
    records: tuple[ZoneRecord, ...] = ()
    none: str = ""


@dataclass(frozen=True, slots=True)
class DnsPublication:
    """All of a domain. hosts: ours, that its MX records are to name. policy: None for a pattern of domains."""

    organization: str
    domain: str
    hosts: tuple[str, ...]
    policy: PublishedPolicy | None
    keys: tuple[DkimKey, ...]
    sections: tuple[ZoneSection, ...]

    @property
    def zone(self) -> str:
        """Every line, to be put into a zone file."""
        return "\n".join(record.line for section in self.sections for record in section.records)

    def lines(self, key: SectionKey) -> list[str]:
        """Those of one section."""
        return [record.line for section in self.sections if section.key == key for record in section.records]


KEPT: Final = 900.0
"""Seconds for which a look is shown in lists."""
_MOST: Final = 20_000
_AT_A_TIME: Final = 4
_OF_ONE: Final = 3  # tenant, or user of the gateway: one place stays for others
_PATIENCE: Final = 30.0
_BUSY: Final = "other DNS checks are still running; try again in a minute"
_WEIGHT: Final = ("pass", "info", "unknown", "warn", "fail")


type Findings = dict[SectionKey, tuple[Finding, ...]]


@dataclass(frozen=True, slots=True)
class DnsCheck:
    """at: seconds since 1970. zone: what should have been there then."""

    at: float
    zone: str
    findings: Findings

    def level(self, key: SectionKey | None = None) -> str:
        """The gravest verdict of a section, or of all; "unknown" where nothing was found."""
        matches = [finding for name, some in self.findings.items() if key in {None, name} for finding in some]
        return max((str(finding.verdict) for finding in matches), key=_WEIGHT.index, default="unknown")


class SectionCheck(msgspec.Struct):
    """Check of one section; the gravest verdict counts."""

    key: str
    verdict: str
    findings: list[PublicationFinding]


class PublicationCheck(msgspec.Struct):
    """Check of all records of a domain. at: seconds since 1970."""

    at: float
    verdict: str
    sections: list[SectionCheck]


class DnsChecks:
    """The looks of one process, got by `Context.kept`. For any thread."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._known: dict[tuple[str, str], DnsCheck] = {}
        self._lock = Lock()
        self._limit = ConcurrencyLimit(_AT_A_TIME, _OF_ONE, _BUSY)

    def known(self, publication: DnsPublication) -> DnsCheck | None:
        """The last look, unless it is too old or what should be there has changed."""
        with self._lock:
            dns_check = self._known.get((publication.organization, publication.domain))
        fresh = dns_check is not None and time.time() - dns_check.at < KEPT and dns_check.zone == publication.zone
        return dns_check if fresh else None

    def run(self, publication: DnsPublication, principal: Principal) -> DnsCheck:
        """Look now. Raises Busy; Refusal (INPUT) if no resolver can be made."""
        with self.slot(principal):
            findings = _findings(self._settings, publication)
        dns_check = DnsCheck(time.time(), publication.zone, findings)
        with self._lock:
            if len(self._known) >= _MOST:
                self._known.clear()
            self._known[publication.organization, publication.domain] = dns_check
        return dns_check

    def slot(self, principal: Principal) -> AbstractContextManager[None]:
        """For a look; waits for half a minute. Raises Busy if too many are under way, in all or of one tenant."""
        return self._limit.slot(principal.share_key, _PATIENCE)


def check_record(dns_check: DnsCheck) -> PublicationCheck:
    """The same as calls have it."""
    sections = [
        SectionCheck(key, dns_check.level(key), [PublicationFinding(**finding_record(finding)) for finding in some])
        for key, some in dns_check.findings.items()
    ]
    return PublicationCheck(dns_check.at, dns_check.level(), sections)


def _findings(settings: Settings, publication: DnsPublication) -> Findings:
    async def ask() -> Findings:
        async with resolver_of(settings) as resolver:
            return await _query(settings.server.hostname, publication, resolver)

    findings = asyncio.run(ask())
    if publication.policy is not None:
        policy_findings = check_policy(settings, publication.policy)
        findings[SectionKey.MTA_STS] = tuple(finding for finding in policy_findings if finding.stage != "tls-rpt")
    return {key: findings[key] for key in SectionKey if key in findings}


async def _query(hostname: str, publication: DnsPublication, resolver: Resolver) -> Findings:
    own = OwnHosts(resolver, hostname)
    keys = _keys(publication)
    hosts = asyncio.gather(*(records.check_tlsa(host, keys.get(host, ()), own) for host in publication.hosts if keys))
    if publication.policy is None:
        return {SectionKey.TLSA: tuple(await hosts)} if keys else {}
    mx, tlsa, reports, dkim, spf = await asyncio.gather(
        records.check_mx(publication.domain, publication.hosts, resolver),
        hosts,
        records.check_reports(publication.domain, resolver),
        asyncio.gather(
            *(records.check_dkim(key.name, key.record, resolver) for key in publication.keys if key.public_key)
        ),
        records.check_spf(publication.domain, publication.hosts, resolver),
    )
    all_of_it: Findings = {SectionKey.MX: tuple(mx), SectionKey.TLS_RPT: (reports,), SectionKey.SPF: (spf,)}
    return (
        all_of_it | ({SectionKey.TLSA: tuple(tlsa)} if tlsa else {}) | ({SectionKey.DKIM: tuple(dkim)} if dkim else {})
    )


def _keys(publication: DnsPublication) -> dict[str, set[str]]:
    """The digests of the keys of each host, as its TLSA records are to say them."""
    keys: dict[str, set[str]] = {}
    for section in publication.sections:
        if section.key is SectionKey.TLSA:
            for record in section.records:
                name, _, _, digest = (record.line.split()[at] for at in (0, 1, 2, -1))
                keys.setdefault(name.removeprefix("_25._tcp.").removesuffix("."), set()).add(digest)
    return keys
