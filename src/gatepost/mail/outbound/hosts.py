"""Plan the hosts of a route, then yield their addresses as hops in the order to try them, each with its requirement.

Used by `mail.outbound.deliverer`. Mail by MX is not sent to hosts of the preference of this gateway itself, nor beyond,
even if only an address shows that a host is this gateway (RFC 5321 section 5.1).
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import deque
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING, assert_never

import msgspec

from gatepost.mail.outbound.contexts import NODE_CERTIFICATE, OurCertificate, our_certificate
from gatepost.mail.outbound.delivery_attempt import DeliveryAttempt, asks, may_go_clear
from gatepost.mail.outbound.failure import barred, local_fault, lookup_failed, no_address, not_reached
from gatepost.mail.outbound.hop import Hop
from gatepost.mail.outbound.hop_options import NO_OPTIONS, HopOptions, SourceUnusable, hop_options
from gatepost.mail.outbound.published import PolicyUnknown, Publication
from gatepost.mail.outbound.sessions import RouteSessions, counted
from gatepost.net.lookups.mx import HostAddresses, MailHosts, MailHostsKind, NotAllowed, allowed
from gatepost.net.lookups.question import LookupFailed
from gatepost.policy.connectors.values import SmartHostOrder
from gatepost.policy.decisions.published import joined_modes, modes
from gatepost.policy.decisions.requirement import Shortfall
from gatepost.policy.decisions.routes import InternalRoute, LmtpRoute, MxRoute, NextHop, SmartHosts, Unroutable
from gatepost.protocols.smtp.replies import Reply
from gatepost.values import replace

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from gatepost.mail.model.message import Message
    from gatepost.mail.outbound.delivery_services import DeliveryServices
    from gatepost.policy.decisions.requiretls import Asks


_log = logging.getLogger(__name__)

_LOOPS_BACK = Reply(554, "5.4.6", ("Mail for the domain loops back to us",))
_BAD_DOMAIN = Reply(550, "5.1.2", ("The domain cannot be looked up",))
_POLICY_UNKNOWN = Reply(450, "4.4.5", ("The MTA-STS policy cannot be fetched now",))
_NO_HOSTS = {
    MailHostsKind.NO_DOMAIN: Reply(550, "5.1.2", ("The domain does not exist",)),
    MailHostsKind.NULL: Reply(556, "5.1.10", ("The domain does not accept mail (null MX)",)),
    MailHostsKind.OURSELVES: _LOOPS_BACK,
}

_ADDRESSES = 2  # of each host that are tried in any case


def next_hop_name(places: Sequence[str], options: HopOptions = NO_OPTIONS) -> str:
    """The name of a set of hosts, whatever their order, and of the source addresses from which they are called.

    What hosts say to one address, a refusal of all it sends, say, holds for no other. places: as in
    `policy.decisions.routes.NextHop`.
    """
    name = ",".join(sorted(places))
    return " from ".join(filter(None, (name, options.source_ipv4, options.source_ipv6)))


class RoutePlan(msgspec.Struct, frozen=True):
    """Hosts to try in order, and what all connections to them have in common.

    ranks: the preference of each where they are MX hosts. published: what is published of them. sessions: counts TLS
    sessions with them. complete: they are all that the recipient's domain names; False where an administrator here
    named them, or not all are tried. internal: to a node of our own site. options: how the connector has them called.
    """

    hosts: tuple[NextHop, ...]
    published: Publication
    sessions: RouteSessions
    certificate: OurCertificate | None = None
    lmtp: bool = False
    complete: bool = False
    internal: bool = False
    ranks: tuple[int, ...] = ()
    options: HopOptions = NO_OPTIONS

    @property
    def next_hop(self) -> str:
        """The name of these hosts, by which the queue counts lanes."""
        return next_hop_name([host.place for host in self.hosts], self.options)

    @property
    def in_order(self) -> Iterator[tuple[NextHop, Sequence[NextHop]]]:
        """Each host, and beside the first MX host of each preference all hosts of that preference, else ()."""
        if not self.ranks:
            return ((host, ()) for host in self.hosts)
        ranked = groupby(zip(self.ranks, self.hosts, strict=True), key=itemgetter(0))
        groups = ([host for _, host in members] for _, members in ranked)
        return ((host, () if place else group) for group in groups for place, host in enumerate(group))


async def plan_hosts(
    services: DeliveryServices,
    route: Unroutable | LmtpRoute | InternalRoute | SmartHosts | MxRoute,
    attempt: DeliveryAttempt,
) -> RoutePlan | None:
    """The hosts of a route and what is published of them; None if there are none, and so the attempt is decided."""
    message = attempt.message
    match route:
        case Unroutable():
            attempt.decide_all(route.reply, {"detail": route.detail})
            return None
        case LmtpRoute():
            agent = Publication(None, modes(None, asks(message)), delivers=True)
            return RoutePlan((route.hop,), agent, RouteSessions(None), lmtp=True)
        case InternalRoute():
            nodes = Publication(None, modes(None, asks(message)))
            return RoutePlan(route.hops, nodes, RouteSessions(None), NODE_CERTIFICATE, internal=True)
        case SmartHosts():
            return by_smart_hosts(services, route, asks(message), RouteSessions(counted(services.sessions, message)))
        case MxRoute():
            return await _by_domain(services, route, attempt)
        case _:
            assert_never(route)


async def _by_domain(services: DeliveryServices, route: MxRoute, attempt: DeliveryAttempt) -> RoutePlan | None:
    """The MX hosts of a domain; None if there are none, and so the attempt is decided."""
    sessions = RouteSessions(counted(services.sessions, attempt.message), route.domain)
    try:
        mail_hosts = await services.router.mail_hosts(route.domain)
    except LookupFailed as failed:
        sessions.unresolved(failed)
        if failed.temporary:
            attempt.failures.append(lookup_failed(failed, route.domain).at(route.domain, ""))
            attempt.conclude()
        else:
            attempt.decide_all(_BAD_DOMAIN, {"detail": failed.detail})
        return None
    if not mail_hosts.hosts:
        attempt.decide_all(_NO_HOSTS[mail_hosts.kind], {"detail": f"{route.domain}: {mail_hosts.kind}"})
        return None
    try:
        return await by_mail_hosts(services, route, attempt.message, mail_hosts, sessions)
    except PolicyUnknown as unknown:  # no failure of the destination, nor one to report to it
        attempt.decide_all(_POLICY_UNKNOWN, {"detail": unknown.detail})
        return None


def by_smart_hosts(services: DeliveryServices, route: SmartHosts, request: Asks, sessions: RouteSessions) -> RoutePlan:
    """The smart hosts of a connector in the order to try them, by which they may share the load.

    request: as in `mail.outbound.delivery_attempt.asks`.
    """
    hosts = route.hops
    if route.connector.smart_host_order is not SmartHostOrder.LISTED and len(hosts) > 1:
        hosts = tuple(random.sample(hosts, len(hosts)))  # spreads load, guards nothing
    published = Publication(services.lookups, joined_modes(route.connector, route.sender, request))
    certificate = our_certificate(route.connector, route.connector_owner)
    options = hop_options(route.connector, route.connector_owner)
    return RoutePlan(hosts, published, sessions, certificate, options=options)


async def by_mail_hosts(
    services: DeliveryServices, route: MxRoute, message: Message, found: MailHosts, sessions: RouteSessions
) -> RoutePlan:
    """The MX hosts of a domain, as they were found, with what it publishes. Raises PolicyUnknown."""
    hosts = tuple(
        NextHop(host.name, services.mx_port, route.requirement, route.rehearsed, bounded=route.bounded)
        for host in found.hosts
    )
    certificate = our_certificate(route.connector, route.connector_owner)
    published = Publication(services.lookups, joined_modes(route.connector, route.sender, asks(message)), found)
    await published.begin()
    ranks = tuple(host.preference for host in found.hosts)
    options = hop_options(route.connector, route.connector_owner)
    return RoutePlan(hosts, published, sessions, certificate, complete=not found.cut, ranks=ranks, options=options)


class Candidates:
    """Hops of a plan in the order to try them, found with the services of the deliverer.

    The addresses of a host are looked up when its turn comes; those with a kept connection come first. A host with many
    addresses does not take all tries from the others; one that deferred is not tried again. Unencrypted hosts come
    last, over fresh connections, and only where the configuration allows it. generation: of the configuration.
    """

    def __init__(self, services: DeliveryServices, plan: RoutePlan, attempt: DeliveryAttempt, generation: int) -> None:
        self._services = services
        self._plan = plan
        self._attempt = attempt
        self._generation = generation
        self._until = services.clock() + services.patience
        self._tried = 0
        self._hosts = iter(plan.in_order)
        self._ready: deque[Hop] = deque()  # of the host whose turn it is
        self._broken = iter(attempt.broken)

    async def next(self) -> tuple[Hop, str] | None:
        """The next hop, with why TLS failed where it is to be tried again unencrypted, else "".

        None once the attempt is over: record in it what came of a hop before the next one is taken.
        """
        ready, attempt = self._ready, self._attempt
        if ready and (self._is_over() or attempt.deferred_by(ready[0].host)):
            ready.clear()
        while not ready:
            host, group = (None, ()) if self._is_over() else next(self._hosts, (None, ()))
            if host is None or (group and await self._loops_back(group)):
                self._hosts = iter(())
                return self._unencrypted()
            ready.extend(await self._hops(host))
        self._tried += 1
        return ready.popleft(), ""

    def _is_over(self) -> bool:
        """Whether no hop is tried after the first: all is decided, tries or time are up, or many hosts deferred.

        None at all where another process may have the message.
        """
        if not self._attempt.owned():
            return True
        if not self._tried:
            return False
        late = self._tried >= self._services.tries or self._services.clock() > self._until
        return late or not self._attempt.pending or self._attempt.ends_early

    def _unencrypted(self) -> tuple[Hop, str] | None:
        attempt = self._attempt
        hop, error = next(self._broken, (None, ""))
        if hop is None or not attempt.pending or not may_go_clear(hop.requirement, attempt.attempts):
            self._broken = iter(())
            return None
        _log.warning("message %d leaves unencrypted: TLS with %s failed: %s", attempt.message.id, hop.host, error)
        return hop, error

    async def _hops(self, host: NextHop) -> list[Hop]:
        """The hops of one host that may be used now; where there are none, the attempt has the reason."""
        plan, attempt = self._plan, self._attempt
        try:
            addresses = await self._addresses(host.at or host.host)
            if host.bounded:
                addresses = allowed(addresses, self._services.opener.tenants)
        except NotAllowed as failed:
            attempt.failures.append(not_reached(failed.detail).at(host.host, ""))
            return []
        except LookupFailed as failed:
            failure = lookup_failed(failed, host.host, lasting=plan.complete).at(host.host, "")
            attempt.failures.append(replace(failure, silent=not failed.bogus))
            plan.sessions.unresolved(failed, host.host)
            return []
        if not addresses.addresses:
            failure = no_address(f"{host.host} has no usable address", lasting=plan.complete).at(host.host, "")
            attempt.failures.append(replace(failure, silent=True))
            return []
        hops = await _on_terms(plan, host, addresses, attempt, self._generation)
        if len(hops) < 2:
            return hops
        most = max(_ADDRESSES, self._services.tries // len(plan.hosts))
        return sorted(hops, key=self._services.pool.holds, reverse=True)[:most]

    async def _addresses(self, host: str) -> HostAddresses:
        """The addresses of a host; a socket's path is its own. Raises LookupFailed."""
        if host.startswith("/"):
            return HostAddresses(host, host, (host,), authentic=True)
        return await self._services.router.addresses(host)

    async def _loops_back(self, group: Sequence[NextHop]) -> bool:
        """Whether one of the MX hosts of a preference is this gateway; if so the attempt has that as its reason."""
        us, attempt = await self._us(group), self._attempt
        if us and not attempt.failures:
            attempt.decide_all(_LOOPS_BACK, {"detail": f"{us} is this gateway itself"})
        elif us:  # those before us may be back later
            attempt.add_reasons((f"{us} is this gateway itself: no host of its preference or beyond is tried",))
        return us != ""

    async def _us(self, group: Sequence[NextHop]) -> str:
        """The first of some hosts that has an address of ours, "" if none is known to have one."""
        resolved = await asyncio.gather(*(self._addresses(host.host) for host in group), return_exceptions=True)
        for host, addresses in zip(group, resolved, strict=True):
            if isinstance(addresses, HostAddresses):
                if any(self._services.is_ours(address, host.port) for address in addresses.addresses):
                    return host.host
            elif not isinstance(addresses, LookupFailed):
                raise addresses
        return ""


async def _on_terms(
    plan: RoutePlan, host: NextHop, found: HostAddresses, attempt: DeliveryAttempt, generation: int
) -> list[Hop]:
    """The addresses of a host under all its terms; none if the host must not be used now."""
    addresses: Sequence[str] = found.addresses
    if plan.options is not NO_OPTIONS:
        try:
            addresses = plan.options.usable(addresses)
        except SourceUnusable as unusable:
            attempt.failures.append(local_fault(str(unusable)).at(host.host, ""))
            return []
        if not addresses:
            detail = f"{host.host} has no address of the family that the connector uses"
            attempt.failures.append(no_address(detail, lasting=False).at(host.host, ""))
            return []
    terms = await plan.published.terms(host.requirement, host.port, found)
    attempt.add_reasons(terms.set_aside)
    if isinstance(terms.outcome, Shortfall):
        attempt.failures.append(barred(terms.outcome, host.host, terms.published))
        plan.sessions.barred(host.host, terms.outcome, terms.published)
        return []
    return [
        Hop(
            host.host,
            address,
            host.port,
            terms.outcome,
            rehearsed=host.rehearsed,
            certificate=plan.certificate,
            mx=terms.mx,
            lmtp=plan.lmtp,
            internal=plan.internal,
            generation=generation,
            published=terms.published,
            without_requiretls=terms.without_requiretls,
            bounded=host.bounded,
            options=plan.options,
        )
        for address in addresses
    ]
