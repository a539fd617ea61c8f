from __future__ import annotations

from typing import Any

import pytest

from gatepost.mail.outbound.record import decided_record
from gatepost.mail.outbound.route_facts import _KEPT, KnownRoutes
from gatepost.policy.decisions.routes import MxRoute, SmartHosts
from gatepost.values import replace


@pytest.fixture
def planned(world: Any) -> Any:
    """A function: the route to b.example by a connector with these fields, and the services of the deliverer."""

    def plan(*hosts: str, **fields: Any) -> tuple[Any, Any]:
        world.connector(2525, *hosts, **fields)
        deliverer = world.build()
        ((route, _),) = deliverer.planner.routes("contoso", [Addressed()])
        return route, deliverer.services

    return plan


class Addressed:
    address = "bob@b.example"


def test_a_route_is_known_again_by_itself_alone(planned: Any) -> None:
    route, services = planned()
    known = KnownRoutes(services, 17)
    facts = known.facts(route)
    assert isinstance(route, SmartHosts)
    assert facts.record == decided_record(route, 17)
    assert known.facts(route) is facts
    assert known.facts(replace(route)) is not facts


def test_the_plan_of_smart_hosts_is_kept_unless_they_share_the_load(planned: Any) -> None:
    for hosts, fields, kept in (
        ((), {}, True),
        (("a.example", "b.example"), {"smart_host_order": "listed"}, True),
        (("a.example", "b.example"), {"smart_host_order": "shuffled"}, False),
    ):
        route, services = planned(*hosts, **fields)
        plan = KnownRoutes(services, 17).facts(route).plan
        assert (plan is not None) is kept, (hosts, fields)
        assert plan is None or plan.hosts == route.hops


def test_mx_hosts_are_looked_up_each_time(planned: Any) -> None:
    route, services = planned(smart_hosts=[], use_mx_record=True)
    known = KnownRoutes(services, 17)
    assert isinstance(route, MxRoute)
    assert known.facts(route).plan is None
    assert known.facts(route) is known.facts(route)


def test_as_many_are_kept_as_there_are_planned_routes(planned: Any) -> None:
    route, services = planned()
    known = KnownRoutes(services, 17)
    first = known.facts(route)
    others = [replace(route) for _ in range(_KEPT)]
    for other in others:
        known.facts(other)
    assert len(known._known) == 1
    assert known.facts(route) is not first
