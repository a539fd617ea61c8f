"""Look up our own mail hosts: the MX hosts of accepted domains, and the TLSA records of a host.

Used by `analysis.checks.own_certificates`. Never raises for what the DNS answers.
"""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, Final

from gatepost.net.dane import unreadable
from gatepost.net.lookups.mx import MailRouter
from gatepost.net.lookups.question import LookupFailed
from gatepost.net.lookups.tlsa import TlsaFinder
from gatepost.protocols.dane.tlsa import RecordsKind, TlsaLookup, TlsaStatus, classify

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gatepost.net.lookups.dns import Resolver


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
        listed = await asyncio.gather(*(self._mail_hosts(domain) for domain in plain))
        found: dict[str, list[str]] = {self._hostname: []}
        for domain, hosts in zip(plain, listed, strict=True):
            for name in hosts:
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

    async def _mail_hosts(self, domain: str) -> tuple[str, ...]:
        try:
            mail_hosts = await self._router.mail_hosts(domain)
        except LookupFailed:
            return ()
        return tuple(dict.fromkeys(host.name for host in mail_hosts.hosts))

    async def _addresses(self, host: str) -> frozenset[str]:
        try:
            return frozenset((await self._router.addresses(host)).addresses)
        except LookupFailed:
            return frozenset()
