"""Where a domain takes its mail: the hosts to try in order, and their addresses (RFC 5321 section 5, RFC 7505).

Called by `outbound`. It says what DNS holds; whether that means to wait or to give up is decided there.
"""

from __future__ import annotations

import asyncio
import ipaddress
from dataclasses import dataclass
from enum import StrEnum
from itertools import chain, zip_longest
from typing import TYPE_CHECKING, Protocol

from gatepost.lookup.dns import Answer, LookupFailed, Status

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from dns.rdata import Rdata

__all__ = ["Family", "HostAddresses", "MailHost", "MailHosts", "MailHostsKind", "MailRouter", "Queries", "Random"]

_MAX_HOSTS = 20
_MAX_RECORDS = 20  # of one family that are looked at
_MAX_ADDRESSES = 10


class Family(StrEnum):
    """Which addresses of a host are tried first; the families then alternate."""

    IPV4 = "ipv4"
    IPV6 = "ipv6"


class MailHostsKind(StrEnum):
    """What the DNS says about a domain's mail."""

    LISTED = "listed"  # MX records
    IMPLICIT = "implicit"  # none: the domain itself is the host, preference 0 (RFC 5321 section 5.1)
    LITERAL = "literal"  # the domain is an address literal
    NULL = "null"  # "MX 0 .": the domain takes no mail (RFC 7505)
    NO_DOMAIN = "no-domain"  # the domain does not exist
    OURSELVES = "ourselves"  # we are the most preferred host: nobody is left to send to


@dataclass(frozen=True, slots=True)
class MailHost:
    """One host that takes mail. name: lower-case A-label without trailing dot, or an address literal."""

    name: str
    preference: int


@dataclass(frozen=True, slots=True)
class MailHosts:
    """The hosts of a domain in the order to try them, at most 20; empty unless LISTED, IMPLICIT or LITERAL.

    authentic: DNSSEC proved this list (or that there is none).
    """

    domain: str
    kind: MailHostsKind
    hosts: tuple[MailHost, ...]
    authentic: bool


@dataclass(frozen=True, slots=True)
class HostAddresses:
    """The IP addresses of a host in the order to try them, at most 10; empty if it has none we may use.

    canonical: the name after all CNAMEs. authentic: DNSSEC proved all of it.
    """

    host: str
    canonical: str
    addresses: tuple[str, ...]
    authentic: bool


class Queries(Protocol):
    """What is needed of `dns.Resolver`."""

    async def query(self, name: str, rdtype: str) -> Answer:
        """Look up. Raises LookupFailed."""


class Random(Protocol):
    """What is needed of `random.Random`."""

    def shuffle(self, x: list[str], /) -> None:
        """Put `x` in a new order."""


class MailRouter:
    """Finds mail hosts and their addresses.

    own_names: our host names; an MX list is cut at our preference, so that mail never comes back to us (RFC 5321
    section 5.1). own_addresses: IP addresses that are ourselves, never used. prefer: the family tried first.
    """

    def __init__(
        self,
        resolver: Queries,
        random: Random,
        *,
        own_names: Collection[str] = (),
        own_addresses: Collection[str] = (),
        prefer: Family = Family.IPV6,
    ) -> None:
        self._resolver = resolver
        self._random = random
        self._own_names = frozenset(name.lower().rstrip(".") for name in own_names)
        self._own_addresses = frozenset(ipaddress.ip_address(address) for address in own_addresses)
        self._prefer = prefer

    async def mail_hosts(self, domain: str) -> MailHosts:
        """The hosts that take mail for `domain` (A-label or address literal). Raises LookupFailed."""
        if _is_literal(domain):
            return MailHosts(domain, MailHostsKind.LITERAL, (MailHost(domain, 0),), authentic=False)
        answer = await self._resolver.query(domain, "MX")
        match answer.status:
            case Status.NXDOMAIN:
                return MailHosts(domain, MailHostsKind.NO_DOMAIN, (), answer.authentic)
            case Status.NO_DATA:
                return self._without_ourselves(domain, MailHostsKind.IMPLICIT, {0: [domain]}, answer)
            case Status.OK:
                return self._listed(domain, answer)

    def _listed(self, domain: str, answer: Answer) -> MailHosts:
        by_preference: dict[int, list[str]] = {}
        for preference, name in sorted(map(_mx, answer.records)):
            if name:
                by_preference.setdefault(preference, []).append(name)
        if not by_preference:  # RFC 7505 section 3; beside other records "." is only a name without addresses
            return MailHosts(domain, MailHostsKind.NULL, (), answer.authentic)
        return self._without_ourselves(domain, MailHostsKind.LISTED, by_preference, answer)

    def _without_ourselves(
        self, domain: str, kind: MailHostsKind, by_preference: dict[int, list[str]], answer: Answer
    ) -> MailHosts:
        hosts: list[MailHost] = []
        for preference, names in by_preference.items():
            if not self._own_names.isdisjoint(names):
                break
            self._random.shuffle(names)
            hosts += [MailHost(name, preference) for name in names]
        if not hosts:
            kind = MailHostsKind.OURSELVES
        return MailHosts(domain, kind, tuple(hosts[:_MAX_HOSTS]), answer.authentic)

    async def addresses(self, host: str) -> HostAddresses:
        """The addresses of `host` (A-label, address or address literal). Raises LookupFailed."""
        if address := _literal_address(host):
            return HostAddresses(host, host, self._usable([address]), authentic=False)
        six, four = await asyncio.gather(self._family(host, "AAAA"), self._family(host, "A"))
        known = [answer for answer in (six, four) if isinstance(answer, Answer)]
        if not any(answer.records for answer in known):
            for answer in (four, six):
                if isinstance(answer, LookupFailed):
                    raise answer
        families = [self._shuffled(six), self._shuffled(four)]
        if self._prefer is Family.IPV4:
            families.reverse()
        alternating = [address for address in chain.from_iterable(zip_longest(*families)) if address]
        canonical = next((answer.canonical for answer in known if answer.records), host)
        authentic = len(known) == 2 and all(answer.authentic for answer in known)
        return HostAddresses(host, canonical, self._usable(alternating), authentic)

    async def _family(self, host: str, rdtype: str) -> Answer | LookupFailed:
        try:
            return await self._resolver.query(host, rdtype)
        except LookupFailed as failure:  # the other family may be enough
            return failure

    def _shuffled(self, answer: Answer | LookupFailed) -> list[str]:
        if isinstance(answer, LookupFailed):
            return []
        addresses = [record.to_text() for record in answer.records[:_MAX_RECORDS]]
        self._random.shuffle(addresses)
        return addresses

    def _usable(self, addresses: Sequence[str]) -> tuple[str, ...]:
        usable = [address for address in addresses if self._is_usable(address)]
        return tuple(usable[:_MAX_ADDRESSES])

    def _is_usable(self, text: str) -> bool:
        address = ipaddress.ip_address(text)
        return not (address.is_unspecified or address.is_multicast or address in self._own_addresses)


def _is_literal(domain: str) -> bool:
    """Whether `domain` is an address literal (RFC 5321 section 4.1.3), valid or not."""
    return domain.startswith("[")


def _literal_address(host: str) -> str:
    """The address in "192.0.2.1", "2001:db8::1", "[192.0.2.1]" or "[IPv6:2001:db8::1]", "" if `host` is a name."""
    text = host
    if _is_literal(host):
        text = host.strip("[]")
        if text[:5].lower() == "ipv6:":
            text = text[5:]
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        if _is_literal(host):
            raise LookupFailed(f"{host!a} is no address literal that SMTP defines", temporary=False) from None
        return ""


def _mx(record: Rdata) -> tuple[int, str]:
    """Preference and host of an MX record; the root, which is no host, becomes ""."""
    preference, _, name = record.to_text().partition(" ")
    return int(preference), name.lower().rstrip(".")
