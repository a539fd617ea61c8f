"""Facts of a route that every message shares: made once, kept while the configuration that planned it is in force.

Used by `mail.outbound.deliverer`. `policy.decisions.route` gives out the same route for each message to a domain, so
that it is known again by its identity: to compare routes would cost as much as this saves.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from gatepost.mail.outbound.hosts import RoutePlan, by_smart_hosts
from gatepost.mail.outbound.record import decided_record
from gatepost.mail.outbound.sessions import RouteSessions
from gatepost.policy.connectors.values import SmartHostOrder
from gatepost.policy.decisions.requiretls import Asks
from gatepost.policy.decisions.routes import MxRoute, Route, SmartHosts

if TYPE_CHECKING:
    from gatepost.mail.outbound.delivery_services import DeliveryServices

_KEPT = 5000  # routes, as many as `policy.decisions.route` keeps


class RouteFacts(msgspec.Struct, frozen=True):
    """record: as `mail.outbound.record.decided_record` has it; nobody changes it.

    plan: of a message that asks for nothing itself, without its sessions; None where it is made for each attempt, as it
    depends on look-ups or spreads load.
    """

    route: Route
    record: dict[str, Any]
    plan: RoutePlan | None = None


class KnownRoutes:
    """Facts of the routes of one configuration. version: its number."""

    def __init__(self, services: DeliveryServices, version: int) -> None:
        self._services = services
        self._version = version
        self._known: dict[int, RouteFacts] = {}  # by a route's id, which is nobody else's while the route is kept here

    def facts(self, route: Route) -> RouteFacts:
        """The facts of a route."""
        known = self._known.get(id(route))
        if known is None:
            known = RouteFacts(route, decided_record(route, self._version), self._plan(route))
            if isinstance(route, SmartHosts | MxRoute):  # others are made anew for each message
                if len(self._known) >= _KEPT:
                    self._known.clear()
                self._known[id(route)] = known
        return known

    def _plan(self, route: Route) -> RoutePlan | None:
        if not isinstance(route, SmartHosts):
            return None
        if len(route.hops) > 1 and route.connector.smart_host_order is not SmartHostOrder.LISTED:
            return None
        return by_smart_hosts(self._services, route, Asks.NOTHING, RouteSessions(None))
