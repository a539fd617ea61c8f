"""Look up the TLSA records of a mail host, used only if DNSSEC secures them (RFC 7672 section 2.2).

To be called where an attempt has the addresses of its next host, before it connects. It says what DNS holds; what a
connection must then achieve is decided in `policy`.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from gatepost.net.dane import unreadable
from gatepost.net.lookups.cache import Cache
from gatepost.net.lookups.dns import DnsAnswer, DnsStatus
from gatepost.net.lookups.question import LookupFailed
from gatepost.protocols.dane.tlsa import RecordsKind, TlsaLookup, TlsaStatus, classify
from gatepost.values import replace

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gatepost.net.lookups.mx import HostAddresses, Queries


_KEPT_OCTETS = 4 << 20
_KEPT_SECONDS = (
    30  # as `net.lookups.mx` keeps what is ready for use; `net.lookups.dns` keeps the answers for their time
)
_ENTRY_OCTETS = 400  # of an entry, and again of each record beside its data


class TlsaFinder:
    """Finds TLSA records. What was found is kept for half a minute at most, within its TTL; failures are not kept."""

    def __init__(self, resolver: Queries, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._resolver = resolver
        self._cache: Cache[tuple[str, int], TlsaLookup] = Cache(_KEPT_OCTETS, clock)

    def forget(self) -> None:
        """Forget all that was found."""
        self._cache.clear()

    async def find(
        self, host: HostAddresses, *, port: int = 25, mx_authentic: bool = True, next_hops: Sequence[str] = ()
    ) -> TlsaLookup:
        """The records that a connection to `port` of `host` must satisfy. Never raises.

        mx_authentic: DNSSEC proved the MX records that name the host; True where it was configured. next_hops: the
        domain whose MX records name it, and the name behind its CNAMEs (`MailHosts.domain`, `canonical`); a certificate
        may bear them too (RFC 7672 section 3.2.2).
        """
        if not mx_authentic:
            # RFC 7672 section 2.2.1 leaves it open: who can forge the MX records chooses the host and its TLSA records.
            return TlsaLookup(TlsaStatus.INSECURE, f"DNSSEC does not prove that {host.host} takes this mail")
        try:
            bases = await self._bases(host)
            if not bases:
                return TlsaLookup(TlsaStatus.INSECURE, f"DNSSEC does not prove the addresses of {host.host}")
            tlsa_lookup = await self._first(bases, port)
        except LookupFailed as failure:
            return TlsaLookup(TlsaStatus.FAILED, failure.detail, bogus=failure.bogus)
        if not tlsa_lookup.base:
            return tlsa_lookup
        names = (tlsa_lookup.base, host.host, *next_hops)
        return replace(tlsa_lookup, names=tuple(dict.fromkeys(name.lower().rstrip(".") for name in names if name)))

    async def _bases(self, host: HostAddresses) -> tuple[str, ...]:
        """The names to look below, in order; () if there is no DANE. Raises LookupFailed.

        The name behind the CNAMEs comes first if the way there is proven. If it is not, the CNAME record itself may be:
        then the name before it counts alone (RFC 7672 section 2.2.2). Addresses are no names and have no DANE.
        """
        if host.authentic:
            return tuple(dict.fromkeys((host.canonical, host.host)))
        if host.canonical == host.host:
            return ()
        alias = await self._resolver.query(host.host, "CNAME")
        return (host.host,) if alias.status is DnsStatus.OK and alias.authentic else ()

    async def _first(self, bases: Sequence[str], port: int) -> TlsaLookup:
        """The first base with proven records (RFC 7672 section 2.2.3). Raises LookupFailed, whatever is left to try."""
        tlsa_lookup = TlsaLookup(TlsaStatus.INSECURE, "")
        for base in bases:
            candidate = await self._below(base, port)
            if candidate.status in {TlsaStatus.USABLE, TlsaStatus.UNUSABLE}:
                return candidate
            if tlsa_lookup.status is TlsaStatus.INSECURE:
                tlsa_lookup = candidate
        return tlsa_lookup

    async def _below(self, base: str, port: int) -> TlsaLookup:
        known = self._cache.get((base, port))
        if known is not None:
            return known
        name = f"_{port}._tcp.{base}"
        try:
            answer = await self._resolver.query(name, "TLSA")
        except LookupFailed as failure:
            if failure.temporary:
                raise
            return TlsaLookup(TlsaStatus.NONE, f"there can be no TLSA records: {failure.detail}")
        tlsa_lookup = _read(answer, name, base)
        octets = _ENTRY_OCTETS * (1 + len(answer.records)) + sum(
            len(record.data) for record in tlsa_lookup.records.usable
        )
        self._cache.put((base, port), tlsa_lookup, min(answer.ttl, _KEPT_SECONDS), octets)
        return tlsa_lookup


def _read(answer: DnsAnswer, name: str, base: str) -> TlsaLookup:
    if not answer.authentic:
        there = "the TLSA records" if answer.records else "the absence of TLSA records"
        return TlsaLookup(TlsaStatus.INSECURE, f"DNSSEC does not prove {there} of {name}")
    records = classify(
        [record.to_generic().data for record in answer.records], left_out=answer.left_out, unreadable=unreadable
    )
    detail = f"{name}: {records.detail}"
    match records.kind:
        case RecordsKind.USABLE:
            return TlsaLookup(TlsaStatus.USABLE, detail, records, base)
        case RecordsKind.UNUSABLE:
            return TlsaLookup(TlsaStatus.UNUSABLE, detail, records, base)
        case RecordsKind.NONE:
            return TlsaLookup(TlsaStatus.NONE, detail)
