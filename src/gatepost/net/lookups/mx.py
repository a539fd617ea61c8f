"""Find the mail hosts of a domain in the order to try them, and their addresses (RFC 5321 section 5, RFC 7505).

Called by `outbound`. It says what DNS holds; whether that means to wait or to give up is decided there.
"""

from __future__ import annotations

import asyncio
import ipaddress
import re
import time
from enum import StrEnum
from itertools import chain, zip_longest
from typing import TYPE_CHECKING, Protocol

import msgspec

from gatepost.net.lookups.cache import Cache
from gatepost.net.lookups.dns import DnsAnswer, DnsStatus
from gatepost.net.lookups.question import LookupFailed
from gatepost.policy.connectors.addresses import AddressPolicy, not_allowed
from gatepost.values import replace

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from dns.rdata import Rdata


_MAX_HOSTS = 20
_MAX_RECORDS = 20  # of one family that are looked at
_MAX_ADDRESSES = 10
_KEPT = 5000  # hosts
_KEPT_OCTETS = 4 << 20  # of domains and the names of their hosts, each of which may take a thousand
_ENTRY_OCTETS = 500  # of a domain without them
_KEPT_SECONDS = 30
_NOT_OF_NAMES = re.compile(r"\\[^0-9]|[^a-z0-9._\\-]")  # in the text of a name, escaped already or not


class Family(StrEnum):
    """The family of addresses that is tried first; the families then alternate."""

    IPV4 = "ipv4"
    IPV6 = "ipv6"


class MailHostsKind(StrEnum):
    """Kinds of answers of the DNS about a domain's mail."""

    LISTED = "listed"  # MX records
    IMPLICIT = "implicit"  # none: the domain itself is the host, preference 0 (RFC 5321 section 5.1)
    LITERAL = "literal"  # the domain is an address literal
    NULL = "null"  # "MX 0 .": the domain takes no mail (RFC 7505)
    NO_DOMAIN = "no-domain"  # the domain does not exist
    OURSELVES = "ourselves"  # we are the most preferred host: no host is left to send to


class MailHost(msgspec.Struct, frozen=True):
    """One host that takes mail. name: lower-case A-label without trailing dot, or an address literal."""

    name: str
    preference: int


class MailHosts(msgspec.Struct, frozen=True):
    """The hosts of a domain in the order to try them, at most 20; empty unless LISTED, IMPLICIT or LITERAL.

    authentic: DNSSEC proved this list (or that there is none). canonical: the domain after all CNAMEs, which owns the
    list; a reference identifier of DANE beside the domain itself (RFC 7672 section 3.2.2). cut: the list names more.
    """

    domain: str
    kind: MailHostsKind
    hosts: tuple[MailHost, ...]
    authentic: bool
    canonical: str = ""
    cut: bool = False


class HostAddresses(msgspec.Struct, frozen=True):
    """The IP addresses of a host in the order to try them, at most 10; empty if it has none we may use.

    canonical: the name after all CNAMEs. authentic: DNSSEC proved every answer that was got; of a family that could not
    be looked up no address is used, or who stops one answer could switch DANE off.
    """

    host: str
    canonical: str
    addresses: tuple[str, ...]
    authentic: bool


class NotAllowed(LookupFailed):
    """The host has addresses, but none that may be called for who chose it. Which they are is not said."""

    def __init__(self, host: str) -> None:
        super().__init__(not_allowed(host), temporary=True)


def allowed(found: HostAddresses, policy: AddressPolicy) -> HostAddresses:
    """The addresses that a policy allows: the others are as if they were not there. Raises NotAllowed if none is left.

    The path of a socket is none of them.
    """
    kept = tuple(address for address in found.addresses if policy.allows(address))
    if found.addresses and not kept:
        raise NotAllowed(found.host)
    return replace(found, addresses=kept)


class Queries(Protocol):
    """The part of `net.lookups.dns.Resolver` that is used."""

    async def query(self, name: str, rdtype: str) -> DnsAnswer:
        """Look up. Raises LookupFailed."""


class Random(Protocol):
    """The part of `random.Random` that is used."""

    def shuffle(self, x: list[str], /) -> None:
        """Put `x` in a new order."""


class _Listing(msgspec.Struct, frozen=True):
    """Mail hosts before their order is chosen: the names of each preference, the lowest first, ours cut off."""

    kind: MailHostsKind
    by_preference: tuple[tuple[int, tuple[str, ...]], ...]
    authentic: bool
    canonical: str

    @property
    def names(self) -> tuple[str, ...]:
        """All names, sorted."""
        return tuple(sorted(name for _, names in self.by_preference for name in names))


class _Families(msgspec.Struct, frozen=True):
    """Addresses before their order is chosen: the family preferred, the other one."""

    canonical: str
    addresses: tuple[tuple[str, ...], tuple[str, ...]]
    authentic: bool


class MailRouter:
    """Finds mail hosts and their addresses.

    own_names: our host names; an MX list is cut at our preference, so that mail never comes back to us (RFC 5321
    section 5.1); `mail.outbound.hosts` does the same by address. prefer: the family tried first. What was found is kept
    for half a minute at most, within its TTL, ready for use: most messages go where others just went.
    """

    def __init__(
        self,
        resolver: Queries,
        random: Random,
        *,
        own_names: Collection[str] = (),
        prefer: Family = Family.IPV6,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._resolver = resolver
        self._random = random
        self._own_names = frozenset(name.lower().rstrip(".") for name in own_names)
        self._prefer = prefer
        self._listings: Cache[str, _Listing] = Cache(_KEPT_OCTETS, clock)
        self._families: Cache[str, _Families] = Cache(_KEPT, clock)

    def forget(self) -> None:
        """Forget all that was found."""
        self._listings.clear()
        self._families.clear()

    def known_hosts(self, domain: str) -> tuple[str, ...] | None:
        """The names of a domain's hosts, sorted, as far as no look-up is needed for that; None if one is."""
        if _is_literal(domain):
            return (domain,)
        listing = self._listings.get(domain)
        return None if listing is None else listing.names

    async def mail_hosts(self, domain: str) -> MailHosts:
        """The hosts that take mail for `domain` (A-label or address literal). Raises LookupFailed."""
        if _is_literal(domain):
            return MailHosts(domain, MailHostsKind.LITERAL, (MailHost(domain, 0),), authentic=False)
        listing = self._listings.get(domain)
        if listing is None:
            answer = await self._resolver.query(domain, "MX")
            listing = self._read_listing(domain, answer)
            octets = _ENTRY_OCTETS + sum(map(len, listing.names))
            self._listings.put(domain, listing, min(answer.ttl, _KEPT_SECONDS), octets)
        hosts = [
            MailHost(name, preference) for preference, names in listing.by_preference for name in self._shuffled(names)
        ]
        kept, cut = tuple(hosts[:_MAX_HOSTS]), len(hosts) > _MAX_HOSTS
        return MailHosts(domain, listing.kind, kept, listing.authentic, listing.canonical, cut)

    def _read_listing(self, domain: str, answer: DnsAnswer) -> _Listing:
        match answer.status:
            case DnsStatus.NXDOMAIN:
                return _Listing(MailHostsKind.NO_DOMAIN, (), answer.authentic, answer.canonical)
            case DnsStatus.NO_DATA:
                return self._without_ourselves(MailHostsKind.IMPLICIT, {0: [domain]}, answer)
            case DnsStatus.OK:
                return self._listed(answer)

    def _listed(self, answer: DnsAnswer) -> _Listing:
        by_preference: dict[int, list[str]] = {}
        for preference, name in sorted(map(_mx, answer.records)):
            if name:
                by_preference.setdefault(preference, []).append(name)
        if not by_preference:  # RFC 7505 section 3; beside other records "." is only a name without addresses
            return _Listing(MailHostsKind.NULL, (), answer.authentic, answer.canonical)
        return self._without_ourselves(MailHostsKind.LISTED, by_preference, answer)

    def _without_ourselves(
        self, kind: MailHostsKind, by_preference: dict[int, list[str]], answer: DnsAnswer
    ) -> _Listing:
        kept: list[tuple[int, tuple[str, ...]]] = []
        for preference, names in by_preference.items():
            if not self._own_names.isdisjoint(names):
                break
            kept.append((preference, tuple(names)))
        kind = kind if kept else MailHostsKind.OURSELVES
        return _Listing(kind, tuple(kept), answer.authentic, answer.canonical)

    async def addresses(self, host: str) -> HostAddresses:
        """The addresses of `host` (A-label, address or address literal). Raises LookupFailed."""
        families = self._families.get(host)
        if families is None:
            if own := _without_dns(host):
                families = _Families(host, (self._usable(own), ()), authentic=False)
                self._families.put(host, families, _KEPT_SECONDS, 1)
            else:
                families = await self._look_up(host)
        first, second = map(self._shuffled, families.addresses)
        addresses = _alternating(first, second) if first and second else first or second
        return HostAddresses(host, families.canonical, tuple(addresses[:_MAX_ADDRESSES]), families.authentic)

    async def _look_up(self, host: str) -> _Families:
        six, four = await asyncio.gather(self._family(host, "AAAA"), self._family(host, "A"))
        known = [answer for answer in (six, four) if isinstance(answer, DnsAnswer)]
        if not any(answer.records for answer in known):
            for answer in (four, six):
                if isinstance(answer, LookupFailed):
                    raise answer
        canonical = next((answer.canonical for answer in known if answer.records), host)
        complete = len(known) == 2
        authentic = all(answer.authentic for answer in known)
        families = self._addresses(six), self._addresses(four)
        result = _Families(canonical, families if self._prefer is Family.IPV6 else families[::-1], authentic)
        if complete:
            self._families.put(host, result, min(_KEPT_SECONDS, *(answer.ttl for answer in known)), 1)
        return result

    async def _family(self, host: str, rdtype: str) -> DnsAnswer | LookupFailed:
        try:
            return await self._resolver.query(host, rdtype)
        except LookupFailed as failure:  # the other family may be enough
            return failure

    def _addresses(self, answer: DnsAnswer | LookupFailed) -> tuple[str, ...]:
        if isinstance(answer, LookupFailed):
            return ()
        return self._usable([record.to_text() for record in answer.records[:_MAX_RECORDS]])

    def _shuffled(self, texts: tuple[str, ...]) -> Sequence[str]:
        if len(texts) < 2:
            return texts
        mixed = list(texts)
        self._random.shuffle(mixed)
        return mixed

    def _usable(self, addresses: Sequence[str]) -> tuple[str, ...]:
        return tuple(address for address in addresses if self._is_usable(address))

    def _is_usable(self, text: str) -> bool:
        address = ipaddress.ip_address(text)
        return not (address.is_unspecified or address.is_multicast)


def _alternating(first: Sequence[str], second: Sequence[str]) -> list[str]:
    """One of each in turn, and then what is left of the longer."""
    return [address for address in chain.from_iterable(zip_longest(first, second)) if address]


def _is_literal(domain: str) -> bool:
    """Whether `domain` is an address literal (RFC 5321 section 4.1.3), valid or not."""
    return domain.startswith("[")


def _without_dns(host: str) -> tuple[str, ...]:
    """The addresses of names that need no nameserver, () for other names.

    "192.0.2.1", "2001:db8::1", "[192.0.2.1]", "[IPv6:2001:db8::1]", and localhost (RFC 6761 section 6.3).
    """
    if host == "localhost":
        return "127.0.0.1", "::1"
    text = host
    if _is_literal(host):
        text = host.strip("[]")
        if text[:5].lower() == "ipv6:":
            text = text[5:]
    try:
        return (str(ipaddress.ip_address(text)),)
    except ValueError:
        if _is_literal(host):
            raise LookupFailed(f"{host!a} is not an address literal that SMTP defines", temporary=False) from None
        return ()


def _mx(record: Rdata) -> tuple[int, str]:
    """Preference and host of an MX record; the root, which is not a host, becomes "".

    Of the host, what no host name has is written as its number (RFC 1035 section 5.1): a label may be any octets, and
    what its domain's owner wrote must not look like a socket's path or an address literal, which need no DNS.
    """
    preference, _, name = record.to_text().partition(" ")
    return int(preference), _NOT_OF_NAMES.sub(_as_number, name.lower().removesuffix("."))


def _as_number(character: re.Match[str]) -> str:
    return f"\\{ord(character[0][-1]):03d}"
