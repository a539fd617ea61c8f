"""What the DNS says of our own domains now, compared with what it should say: verdicts for each section and domain.

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
from gatepost.analysis.checks.own_hosts import OwnHosts
from gatepost.manage.use_cases.concurrency_limit import ConcurrencyLimit
from gatepost.manage.use_cases.mta_sts import PublicationFinding, check_policy, finding_record
from gatepost.manage.use_cases.resolving import resolver_of

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from gatepost.analysis.checks.partner_report import Finding
    from gatepost.manage.use_cases.publication import Publication
    from gatepost.net.lookups.dns import Resolver
    from gatepost.settings.model import Settings


KEPT: Final = 900.0
"""Seconds for which a look is shown in lists."""
_MOST: Final = 20_000
_AT_A_TIME: Final = 4
_PATIENCE: Final = 30.0
_BUSY: Final = "other DNS checks are still running; try again in a minute"
_WEIGHT: Final = ("pass", "info", "unknown", "warn", "fail")


class Key(StrEnum):
    """The sections, in the order in which they matter."""

    MX = "mx"
    TLSA = "tlsa"
    MTA_STS = "mta-sts"
    TLS_RPT = "tls-rpt"
    DKIM = "dkim"
    SPF = "spf"


type Findings = dict[Key, tuple[Finding, ...]]


@dataclass(frozen=True, slots=True)
class Sight:
    """at: seconds since 1970. zone: what should have been there then."""

    at: float
    zone: str
    findings: Findings

    def level(self, key: Key | None = None) -> str:
        """The gravest verdict of a section, or of all; "unknown" where nothing was found."""
        found = [one for name, some in self.findings.items() if key in {None, name} for one in some]
        return max((str(one.verdict) for one in found), key=_WEIGHT.index, default="unknown")


class SectionSight(msgspec.Struct):
    """What was seen of a section; the gravest verdict counts."""

    key: str
    verdict: str
    findings: list[PublicationFinding]


class PublicationSight(msgspec.Struct):
    """What the DNS says of a domain. at: seconds since 1970."""

    at: float
    verdict: str
    sections: list[SectionSight]


class Sights:
    """The looks of one process, got by `Context.kept`. For any thread."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._known: dict[tuple[str, str], Sight] = {}
        self._lock = Lock()
        self._limit = ConcurrencyLimit(_AT_A_TIME, _AT_A_TIME, _BUSY)

    def known(self, found: Publication) -> Sight | None:
        """The last look, unless it is too old or what should be there has changed."""
        with self._lock:
            sight = self._known.get((found.organization, found.domain))
        fresh = sight is not None and time.time() - sight.at < KEPT and sight.zone == found.zone
        return sight if fresh else None

    def look(self, found: Publication) -> Sight:
        """Look now. Raises Busy; Refusal (INPUT) if no resolver can be made."""
        with self.slot():
            findings = _findings(self._settings, found)
        sight = Sight(time.time(), found.zone, findings)
        with self._lock:
            if len(self._known) >= _MOST:
                self._known.clear()
            self._known[found.organization, found.domain] = sight
        return sight

    def slot(self) -> AbstractContextManager[None]:
        """For a look; waits for half a minute. Raises Busy if too many are under way."""
        return self._limit.slot("", _PATIENCE)


def sight_record(sight: Sight) -> PublicationSight:
    """The same as calls have it."""
    sections = [
        SectionSight(key, sight.level(key), [PublicationFinding(**finding_record(one)) for one in some])
        for key, some in sight.findings.items()
    ]
    return PublicationSight(sight.at, sight.level(), sections)


def _findings(settings: Settings, found: Publication) -> Findings:
    async def ask() -> Findings:
        async with resolver_of(settings) as resolver:
            return await _asked(settings.server.hostname, found, resolver)

    findings = asyncio.run(ask())
    if found.policy is not None:
        told = check_policy(settings, found.policy)
        findings[Key.MTA_STS] = tuple(one for one in told if one.stage != "tls-rpt")
    return {key: findings[key] for key in Key if key in findings}


async def _asked(hostname: str, found: Publication, resolver: Resolver) -> Findings:
    own = OwnHosts(resolver, hostname)
    keys = _keys(found)
    hosts = asyncio.gather(*(records.check_tlsa(host, keys.get(host, ()), own) for host in found.hosts if keys))
    if found.policy is None:
        return {Key.TLSA: tuple(await hosts)} if keys else {}
    mx, tlsa, reports, dkim, spf = await asyncio.gather(
        records.check_mx(found.domain, found.hosts, resolver),
        hosts,
        records.check_reports(found.domain, resolver),
        asyncio.gather(*(records.check_dkim(one.name, one.record, resolver) for one in found.keys if one.public_key)),
        records.check_spf(found.domain, found.hosts, resolver),
    )
    all_of_it: Findings = {Key.MX: tuple(mx), Key.TLS_RPT: (reports,), Key.SPF: (spf,)}
    return all_of_it | ({Key.TLSA: tuple(tlsa)} if tlsa else {}) | ({Key.DKIM: tuple(dkim)} if dkim else {})


def _keys(found: Publication) -> dict[str, set[str]]:
    """The digests of the keys of each host, as its TLSA records are to say them."""
    keys: dict[str, set[str]] = {}
    for section in found.sections:
        if section.key is Key.TLSA:
            for record in section.records:
                name, _, _, digest = (record.line.split()[at] for at in (0, 1, 2, -1))
                keys.setdefault(name.removeprefix("_25._tcp.").removesuffix("."), set()).add(digest)
    return keys
