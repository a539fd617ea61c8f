"""Choose which deliveries of one message share a transaction although their domains differ.

Used by `mail.outbound.deliverer`, which sends them, and `mail.outbound.next_hops`, by which the queue takes them out
together. Recipients share a transaction if all that was decided for them is the same but their addresses: see
`SharedTerms`. Nothing is joined here: who would have to meet another's demand as well is sent by itself.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import msgspec

from gatepost.mail.outbound.body import BodyUnreadable, MessageBody
from gatepost.mail.outbound.delivery_attempt import asks
from gatepost.mail.outbound.destination_history import holds_below, remembered_as
from gatepost.mail.outbound.hosts import RoutePlan, by_mail_hosts, by_smart_hosts
from gatepost.mail.outbound.sessions import RouteSessions
from gatepost.mail.queue.hop_queue import BATCH_RECIPIENTS
from gatepost.mail.queue.retry_decision import INTERNAL
from gatepost.net.lookups.question import LookupFailed
from gatepost.net.tasks import spawn
from gatepost.policy.decisions.content import NO_DEMAND
from gatepost.policy.decisions.forwarding import keeps_sender
from gatepost.policy.decisions.route import NO_CONTENT, RoutePlanner
from gatepost.policy.decisions.routes import MxRoute, NextHop, Route, SmartHosts
from gatepost.values import replace

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Sequence

    from gatepost.mail.model.message import Delivery, Recipient
    from gatepost.mail.outbound.delivery_services import DeliveryServices
    from gatepost.policy.connectors.directory import Directory
    from gatepost.policy.decisions.destination_history import DestinationName


_PLANNING = 1.0  # seconds that the first of some deliveries waits to know which others may go with it

_OWN_FAULT = INTERNAL.text

_ATTEMPTS = 3  # after so many a delivery goes by itself, and waits for no other
_SECONDS = 3600.0  # that a next hop is sent one domain at a time
_NEXT_HOPS = 1000


def may_be_batched(delivery: Delivery, route: Route) -> bool:
    """Whether a delivery may share a transaction at all, as far as it and its route say.

    Not with content that is made for its recipients, as a journal copy is, nor where it failed for a fault of ours.
    """
    return (
        isinstance(route, SmartHosts | MxRoute)
        and route.content == NO_DEMAND
        and delivery.attempts < _ATTEMPTS
        and delivery.returned is None
        and delivery.journal is None
        and delivery.last_error != _OWN_FAULT
        and len(delivery.recipients) < BATCH_RECIPIENTS
    )


class SharedTerms(msgspec.Struct, frozen=True):
    """The properties that deliveries of one message must have in common to be sent in one transaction.

    route: without the domain, and why it was chosen: the connector, the requirements of each host, the
    organizations that own the connector and the domain, the sender's demands. hosts: with their preferences.
    envelope: what decides the reverse-path, the fields put before the message, and whether addresses need SMTPUTF8.
    retried: whether there was an attempt, which may allow cleartext. held_by: the destination below whose history no
    mail goes, None where mail goes all the same.
    """

    route: Route
    hosts: tuple[tuple[int, NextHop], ...]
    complete: bool
    envelope: tuple[str, str, bool, bool]
    retried: bool
    held_by: DestinationName | None


class SharedPlan(msgspec.Struct, frozen=True):
    """Route and hosts of a delivery, and the terms on which it shares transactions. plan: counts no sessions yet."""

    route: SmartHosts | MxRoute
    plan: RoutePlan
    terms: SharedTerms


class DeliveryPlan(msgspec.Struct, frozen=True):
    """One delivery of a message. common: None where it cannot share a transaction."""

    delivery: Delivery
    common: SharedPlan | None = None

    @property
    def terms(self) -> SharedTerms | None:
        """Deliveries on equal terms share transactions; on None, none does."""
        return None if self.common is None else self.common.terms


async def routes_of(
    planner: RoutePlanner, delivery: Delivery, body: MessageBody
) -> list[tuple[Route, list[Recipient]]]:
    """The routes of all recipients. The header is read only if a mail flow rule needs it. Raises BodyUnreadable."""
    message, organization = delivery.message, delivery.organization
    names = planner.header_names(organization, delivery.recipients)
    return planner.routes(
        organization,
        delivery.recipients,
        reverse_path=message.reverse_path,
        content=await body.header_fields(names) if names else NO_CONTENT,
        from_on_premises=message.from_on_premises,
        notice=message.is_notice,
    )


async def plans(
    services: DeliveryServices, directory: Directory, planner: RoutePlanner, deliveries: Sequence[Delivery]
) -> list[DeliveryPlan]:
    """Plan each delivery of a message. One that takes too long to look up is sent by itself: none waits for another."""
    tasks = [
        spawn(_planned(services, directory, planner, delivery), f"plan of {delivery.destination}")
        for delivery in deliveries
    ]
    try:
        await asyncio.wait(tasks, timeout=_PLANNING)
    finally:
        for task in tasks:
            task.cancel()
    return [
        task.result() if task.done() and not task.cancelled() and task.exception() is None else DeliveryPlan(delivery)
        for task, delivery in zip(tasks, deliveries, strict=True)
    ]


async def _planned(
    services: DeliveryServices, directory: Directory, planner: RoutePlanner, delivery: Delivery
) -> DeliveryPlan:
    try:
        (route, recipients), *others = await routes_of(planner, delivery, MessageBody.stored(delivery, services.store))
        plan = None if others else await _common_hosts(services, route, delivery)
    except (BodyUnreadable, LookupFailed):
        return DeliveryPlan(delivery)
    if plan is None or not isinstance(route, SmartHosts | MxRoute):
        return DeliveryPlan(delivery)
    holds = holds_below(directory, route, delivery.organization, recipients)
    held_by = remembered_as(route, delivery.organization, recipients) if holds else None
    return DeliveryPlan(delivery, SharedPlan(route, plan, _shared_terms(delivery, route, plan, held_by)))


def sharing(planned: Sequence[DeliveryPlan], leave_out: Callable[[Delivery, Hashable], None]) -> list[DeliveryPlan]:
    """The first of some deliveries, and those on the same terms.

    leave_out: called with each other one, and with a key that it has in common with those on its own terms, None if
    there can be none.
    """
    first, *others = planned
    members, seen = [first], [first.terms]
    for plan in others:
        if plan.terms is not None and plan.terms == first.terms:
            members.append(plan)
            continue
        if plan.terms not in seen:
            seen.append(plan.terms)
        leave_out(plan.delivery, None if plan.terms is None else (first.delivery.id, seen.index(plan.terms)))
    return members


async def _common_hosts(services: DeliveryServices, route: Route, delivery: Delivery) -> RoutePlan | None:
    """The hosts of a route if nothing of it depends on the recipients' domain, else None. Raises LookupFailed."""
    if not may_be_batched(delivery, route):
        return None
    message, uncounted = delivery.message, RouteSessions(None)
    if isinstance(route, SmartHosts):
        return by_smart_hosts(services, route, asks(message), uncounted)
    if not isinstance(route, MxRoute):
        return None
    mail_hosts = await services.router.mail_hosts(route.domain)
    plan = await by_mail_hosts(services, route, message, mail_hosts, uncounted)
    return plan if plan.hosts and plan.published.is_common else None


def _shared_terms(
    delivery: Delivery, route: SmartHosts | MxRoute, plan: RoutePlan, held_by: DestinationName | None
) -> SharedTerms:
    first = delivery.recipients[0]
    plain = all(recipient.address.isascii() for recipient in delivery.recipients)
    unnamed = replace(route, reasons=(), passed_over=())
    if isinstance(unnamed, MxRoute):
        unnamed = replace(unnamed, domain="")
    # Smart hosts are in the route. MX hosts of one preference come in any order.
    hosts = zip(plan.ranks, plan.hosts, strict=True) if plan.ranks else ()
    return SharedTerms(
        unnamed,
        tuple(sorted(hosts, key=lambda ranked: (ranked[0], ranked[1].place))),
        plan.complete,
        (first.forwarded_by, first.return_path, keeps_sender(route), plain),
        delivery.attempts > 0,
        held_by,
    )


class BatchLimits:
    """Next hops that take one domain at a time, as far as they were seen to. clock: seconds, never going back."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._until: dict[str, float] = {}

    def allows(self, next_hop: str) -> bool:
        """Whether recipients in several domains may be sent to a next hop in one transaction."""
        return self._until.get(next_hop, self._clock()) <= self._clock()

    def refused(self, next_hop: str) -> None:
        """A host refused a recipient beside those of other domains, and took it alone."""
        self._until.pop(next_hop, None)
        self._until[next_hop] = self._clock() + _SECONDS
        if len(self._until) > _NEXT_HOPS:
            del self._until[next(iter(self._until))]
