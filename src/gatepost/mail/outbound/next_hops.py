"""Find the next hop of a delivery before it is tried: the queue keeps its limits and back-off by it.

A `mail.queue.hop_queue.HopFinder`. It plans routes as the attempt does, by the first recipient of a delivery; the
attempt alone decides what is sent where, and on which terms.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from gatepost.mail.outbound.batching import BatchLimits, may_be_batched
from gatepost.mail.outbound.body import BodyUnreadable, MessageBody
from gatepost.mail.outbound.hop_options import hop_options
from gatepost.mail.outbound.hosts import next_hop_name
from gatepost.mail.outbound.record import connector_record
from gatepost.mail.queue.allowance import HopLimit
from gatepost.mail.queue.hop_queue import LaneKey
from gatepost.net.lookups.dns import asking_for
from gatepost.net.lookups.question import LookupFailed
from gatepost.policy.decisions.route import NO_CONTENT, RoutePlanner
from gatepost.policy.decisions.routes import InternalRoute, LmtpRoute, MxRoute, Route, SmartHosts

if TYPE_CHECKING:
    from collections.abc import Callable

    from gatepost.mail.model.message import Delivery, Message
    from gatepost.net.lookups.mx import MailRouter
    from gatepost.policy.connectors.mail_flow import Content
    from gatepost.store.interface import Store


_KEPT = 5000  # routes, as many as `policy.decisions.route` keeps


class _Anybody(msgspec.Struct, frozen=True):
    address: str


class NextHops:
    """planner: the one in force. port: where MX hosts listen. limits: where no recipients of several domains go."""

    def __init__(
        self, planner: Callable[[], RoutePlanner], store: Store, router: MailRouter, port: int, limits: BatchLimits
    ) -> None:
        self._planner = planner
        self._store = store
        self._router = router
        self._port = port
        self._limits = limits
        self._of_server: HopLimit | None = None
        self._lanes: dict[int, tuple[SmartHosts, LaneKey]] = {}  # by a route's id, as in `mail.outbound.route_facts`

    def limit_all(self, messages_per_minute: int) -> None:
        """Limit the messages to one next hop where no connector does; 0 for any number."""
        if messages_per_minute:
            self._of_server = HopLimit("", "[queue] messages_per_minute_per_destination", 0, messages_per_minute)

    def known(self, delivery: Delivery, *, alone: bool = False) -> LaneKey | None:
        """The lane of a delivery, None if that needs a DNS lookup or the message's header. alone: see HopFinder."""
        planner = self._planner()
        if planner.header_names(delivery.organization, delivery.recipients):
            return None
        return self._key(_route(planner, delivery), delivery.destination, delivery, alone=alone)

    async def find(self, delivery: Delivery) -> LaneKey:
        """Look up the lane of a delivery. One without a route now gets a lane of its own: the attempt will say why."""
        asking_for.set(delivery.organization)
        planner = self._planner()
        names = planner.header_names(delivery.organization, delivery.recipients)
        try:
            body = MessageBody.stored(delivery, self._store)
            content = await body.header_fields(names) if names else NO_CONTENT
            route = _route(planner, delivery, content)
            if isinstance(route, MxRoute):
                await self._router.mail_hosts(route.domain)
        except (BodyUnreadable, LookupFailed):
            return LaneKey(delivery.destination)
        return self._key(route, delivery.destination, delivery) or LaneKey(delivery.destination)

    def usual(self, destination: str) -> LaneKey | None:
        """The usual lane of a destination, None if its hosts have to be looked up."""
        organization, _, domain = destination.partition("/")
        ((route, _),) = self._planner().routes(organization, [_Anybody(f"postmaster@{domain}")])
        return self._key(route, destination, None)

    def only_hop(self, destination: str) -> str | None:
        """The next hop of all mail of a destination, None if it depends on the message, or has to be looked up."""
        organization, _, domain = destination.partition("/")
        planner, names = self._planner(), set()
        if planner.depends_on_message(organization, domain):
            return None
        for came_from_there in (False, True):
            recipients = [_Anybody(f"postmaster@{domain}")]
            ((route, _),) = planner.routes(organization, recipients, from_on_premises=came_from_there)
            key = self._key(route, destination, None)
            names.add(key.next_hop if key is not None else None)
        return names.pop() if len(names) == 1 else None

    def _key(self, route: Route, destination: str, delivery: Delivery | None, *, alone: bool = False) -> LaneKey | None:
        match route:
            case SmartHosts():
                return _shared_by(self._of_smart_hosts(route), route, delivery, None if alone else self._limits)
            case MxRoute():
                names = self._router.known_hosts(route.domain)
                if names is None:
                    return None
                options = hop_options(route.connector, route.connector_owner)
                name = next_hop_name([f"{name}:{self._port}" for name in names], options) if names else destination
                return _shared_by(self._usual(name, route), route, delivery, None if alone else self._limits)
            case LmtpRoute():
                return LaneKey(route.hop.place)
            case InternalRoute():
                return LaneKey(next_hop_name([hop.place for hop in route.hops]))
            case _:
                return LaneKey(destination)

    def _of_smart_hosts(self, route: SmartHosts) -> LaneKey:
        """The usual lane of a route, which most mail has: made once."""
        known = self._lanes.get(id(route))
        if known is None:
            if len(self._lanes) >= _KEPT:
                self._lanes.clear()
            options = hop_options(route.connector, route.connector_owner)
            name = next_hop_name([hop.place for hop in route.hops], options)
            known = self._lanes[id(route)] = route, self._usual(name, route)
        return known[1]

    def _usual(self, name: str, route: SmartHosts | MxRoute) -> LaneKey:
        """The lane of mail that makes no demands itself, to a next hop that other domains may have as well."""
        connector = tuple(connector_record(route).items())
        return LaneKey(name, _terms(route), limit=self._limit(route), connector=connector)

    def _limit(self, route: SmartHosts | MxRoute) -> HopLimit | None:
        """What the connector, or else the server, lets go to one next hop."""
        connector = route.connector
        if connector is None or not (connector.max_connections or connector.max_messages_per_minute):
            return self._of_server
        return HopLimit(
            f"{route.connector_owner}/{connector.name}",
            f"connector {connector.name}",
            connector.max_connections,
            connector.max_messages_per_minute or (self._of_server.messages_per_minute if self._of_server else 0),
        )


def _route(planner: RoutePlanner, delivery: Delivery, content: Content = NO_CONTENT) -> Route:
    message = delivery.message
    routes = planner.routes(
        delivery.organization,
        delivery.recipients[:1],
        reverse_path=message.reverse_path,
        content=content,
        from_on_premises=message.from_on_premises,
        notice=message.is_notice,
    )
    return routes[0][0]


def _shared_by(
    usual: LaneKey, route: SmartHosts | MxRoute, delivery: Delivery | None, limits: BatchLimits | None
) -> LaneKey:
    """The lane of a delivery whose next hop may take recipients of several domains together. usual: that of a route.

    limits: None where no others come to be tried with it.
    """
    demands = "" if delivery is None else _demands(delivery.message)
    if delivery is None or (limits is None and not demands):
        return usual
    terms = usual.terms + demands
    batched = limits is not None and may_be_batched(delivery, route) and limits.allows(usual.next_hop)
    batch = (delivery.message.id, delivery.organization, terms) if batched else None
    return LaneKey(usual.next_hop, terms, batch, usual.limit, usual.connector)


def _terms(route: SmartHosts | MxRoute) -> str:
    """The connector, and what a rule demands: how such mail fares says nothing of the other mail."""
    terms = route.connector.name if route.connector is not None else ""
    if route.connector is not None and route.connector.authentication is not None:
        # A password that is wrong must not hold up mail that another organization sends with its own.
        terms += f" of {route.connector_owner}"
    if route.by_rule:
        requirement = route.hops[0].requirement if isinstance(route, SmartHosts) else route.requirement
        terms += f" by rule {hash(requirement)}"
    return terms


def _demands(message: Message) -> str:
    """What a message demands itself: it counts like a rule."""
    terms = " of a journal" if message.is_journal else ""
    if message.require_tls or message.tls_required_no:
        terms += " asks for TLS" if message.require_tls else " waives TLS"
        terms += "" if message.reverse_path else " as a notice"
    return terms
