"""The hosts of a route in the order to try them, and each of their addresses with its requirement.

Used by `mail.outbound.deliverer`. Mail by MX is not sent to hosts of the preference of this gateway itself, nor beyond,
though only its address tells it (RFC 5321 section 5.1).
"""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass, replace
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING

from gatepost.mail.outbound.contexts import our_certificate
from gatepost.mail.outbound.delivery_attempt import asks
from gatepost.mail.outbound.failure import barred, lookup_failed, no_address, not_reached
from gatepost.mail.outbound.hop import Hop
from gatepost.mail.outbound.published import Publication
from gatepost.net.lookups.mx import HostAddresses, NotAllowed, allowed
from gatepost.net.lookups.question import LookupFailed
from gatepost.policy.connectors.values import SmartHostOrder
from gatepost.policy.decisions.published import joined_modes
from gatepost.policy.decisions.requirement import Shortfall
from gatepost.policy.decisions.routes import NextHop
from gatepost.protocols.smtp.replies import Reply

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Sequence

    from gatepost.mail.model.message import Message
    from gatepost.mail.outbound.contexts import OurCertificate
    from gatepost.mail.outbound.deliverer import DeliveryServices
    from gatepost.mail.outbound.delivery_attempt import DeliveryAttempt
    from gatepost.mail.outbound.sessions import RouteSessions
    from gatepost.net.lookups.mx import MailHosts
    from gatepost.policy.decisions.routes import MxRoute, SmartHosts


LOOPS_BACK = Reply(554, "5.4.6", ("Mail for the domain loops back to us",))

_ADDRESSES = 2  # of each host that are tried in any case


@dataclass(frozen=True, slots=True)
class RoutePlan:
    """Hosts to try in order, and what all connections to them have in common.

    ranks: the preference of each where they are MX hosts. published: what is published of them. sessions: counts TLS
    sessions with them. complete: they are all that the recipient's domain names; False where an administrator here
    named them, or not all are tried. internal: to a node of our own site.
    """

    hosts: tuple[NextHop, ...]
    published: Publication
    sessions: RouteSessions
    certificate: OurCertificate | None = None
    lmtp: bool = False
    complete: bool = False
    internal: bool = False
    ranks: tuple[int, ...] = ()

    @property
    def groups(self) -> Iterator[list[NextHop]]:
        """The hosts of each preference, most preferred first; all in one where there is none."""
        ranked = zip(self.hosts, self.ranks or (0,) * len(self.hosts), strict=True)
        return ([host for host, _ in members] for _, members in groupby(ranked, key=itemgetter(1)))


def by_smart_hosts(
    services: DeliveryServices, route: SmartHosts, message: Message, sessions: RouteSessions
) -> RoutePlan:
    """The smart hosts of a connector in the order to try them, by which they may share the load."""
    hosts = route.hops
    if route.connector.smart_host_order is not SmartHostOrder.LISTED and len(hosts) > 1:
        hosts = tuple(random.sample(hosts, len(hosts)))  # spreads load, guards nothing
    published = Publication(services.lookups, joined_modes(route.connector, route.sender, asks(message)))
    return RoutePlan(hosts, published, sessions, our_certificate(route.connector, route.connector_owner))


async def by_mail_hosts(
    services: DeliveryServices, route: MxRoute, message: Message, found: MailHosts, sessions: RouteSessions
) -> RoutePlan:
    """The MX hosts of a domain, as they were found, with what it publishes."""
    hosts = tuple(
        NextHop(host.name, services.mx_port, route.requirement, route.rehearsed, bounded=route.bounded)
        for host in found.hosts
    )
    certificate = our_certificate(route.connector, route.connector_owner)
    published = Publication(services.lookups, joined_modes(route.connector, route.sender, asks(message)), found)
    await published.begin()
    ranks = tuple(host.preference for host in found.hosts)
    return RoutePlan(hosts, published, sessions, certificate, complete=not found.cut, ranks=ranks)


class Hosts:
    """The hosts as the services of the deliverer find them."""

    def __init__(self, services: DeliveryServices) -> None:
        self._services = services

    async def hops(self, way: RoutePlan, attempt: DeliveryAttempt, generation: int) -> AsyncIterator[Hop]:
        """The addresses of every host, looked up when its turn comes; those with a kept connection first.

        A host with many addresses does not take all tries from the others; one that deferred is not asked again.
        """
        most = max(_ADDRESSES, self._services.tries // len(way.hosts))
        async for host in self._in_turn(way, attempt):
            try:
                found = await self._addresses(host.at or host.host)
                if host.bounded:
                    found = allowed(found, self._services.opener.tenants)
            except NotAllowed as failed:
                attempt.failures.append(not_reached(failed.detail).at(host.host, ""))
                continue
            except LookupFailed as failed:
                failure = lookup_failed(failed, host.host, lasting=way.complete).at(host.host, "")
                attempt.failures.append(replace(failure, silent=not failed.bogus))
                way.sessions.unresolved(failed, host.host)
                continue
            if not found.addresses:
                failure = no_address(f"{host.host} has no usable address", lasting=way.complete).at(host.host, "")
                attempt.failures.append(replace(failure, silent=True))
                continue
            hops = await _on_terms(way, host, found, attempt, generation)
            for hop in sorted(hops, key=self._services.pool.holds, reverse=True)[:most]:
                yield hop
                if attempt.deferred_by(host.host):
                    break

    async def _addresses(self, host: str) -> HostAddresses:
        """The addresses of a host; a socket's path is its own. Raises LookupFailed."""
        if host.startswith("/"):
            return HostAddresses(host, host, (host,), authentic=True)
        return await self._services.router.addresses(host)

    async def _in_turn(self, way: RoutePlan, attempt: DeliveryAttempt) -> AsyncIterator[NextHop]:
        """The hosts, as long as they are preferred to this gateway itself."""
        for group in way.groups:
            us = await self._us(group) if way.ranks else ""
            if us and not attempt.failures:
                attempt.decide_all(LOOPS_BACK, {"detail": f"{us} is this gateway itself"})
            elif us:  # those before us may be back later
                attempt.note((f"{us} is this gateway itself: no host of its preference or beyond is tried",))
            if us:
                return
            for host in group:
                yield host

    async def _us(self, group: Sequence[NextHop]) -> str:
        """The first of some hosts that has an address of ours, "" if none has as far as anybody can tell."""
        found = await asyncio.gather(*(self._addresses(host.host) for host in group), return_exceptions=True)
        for host, addresses in zip(group, found, strict=True):
            if isinstance(addresses, HostAddresses):
                if any(self._services.is_ours(address, host.port) for address in addresses.addresses):
                    return host.host
            elif not isinstance(addresses, LookupFailed):
                raise addresses
        return ""


async def _on_terms(
    way: RoutePlan, host: NextHop, found: HostAddresses, attempt: DeliveryAttempt, generation: int
) -> list[Hop]:
    """The addresses of a host, under all that is asked of it; none if it must not be used now."""
    terms = await way.published.terms(host.requirement, host.port, found)
    attempt.note(terms.set_aside)
    if isinstance(terms.outcome, Shortfall):
        attempt.failures.append(barred(terms.outcome, host.host, terms.published))
        way.sessions.barred(host.host, terms.outcome, terms.published)
        return []
    return [
        Hop(
            host.host,
            address,
            host.port,
            terms.outcome,
            rehearsed=host.rehearsed,
            certificate=way.certificate,
            mx=terms.mx,
            lmtp=way.lmtp,
            internal=way.internal,
            generation=generation,
            published=terms.published,
            without_requiretls=terms.without_requiretls,
            bounded=host.bounded,
        )
        for address in found.addresses
    ]
