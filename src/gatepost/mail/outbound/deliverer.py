"""Deliver a message to the recipients of one destination, or of several that may share a transaction.

`mail.queue.manager` calls the `Deliverer` and settles what it returns. An attempt is a path of four calls: `deliver`
finds the routes; for each of them `_attempt` makes the content, plans the hosts with their requirements, and goes
through the candidates (`mail.outbound.hosts`); `mail.outbound.transactions` sends over one connection
(`mail.outbound.connection`). Results are collected in a `mail.outbound.delivery_attempt.DeliveryAttempt`. Rules are in
`policy.decisions.route` and `policy.decisions.outbound`; `mail.outbound.batching` chooses which deliveries are sent
together.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

import msgspec

from gatepost.mail.model.delivery_result import DeliveryResult
from gatepost.mail.model.queue_id import format_id
from gatepost.mail.outbound.batching import BatchLimits, DeliveryPlan, plans, routes_of, sharing
from gatepost.mail.outbound.body import BodyForms, BodyUnreadable, MessageBody, in_seven_bits
from gatepost.mail.outbound.content import ContentNotReady, OutgoingMessage
from gatepost.mail.outbound.delivery_attempt import AttemptPart, DeliveryAttempt, asks, without_others
from gatepost.mail.outbound.destination_history import holds_below, remembered_as
from gatepost.mail.outbound.failure import HopFailed
from gatepost.mail.outbound.hosts import Candidates, RoutePlan, plan_hosts
from gatepost.mail.outbound.mailbox import MailboxFailed, MaildirMessage
from gatepost.mail.outbound.record import decided_record, domain_record, origin_of, sender_record
from gatepost.mail.outbound.route_facts import KnownRoutes
from gatepost.mail.outbound.sessions import RouteSessions, counted
from gatepost.mail.outbound.transactions import TransactionRunner
from gatepost.mail.queue.retry_decision import INTERNAL
from gatepost.net.lookups.dns import asking_for
from gatepost.policy.decisions.forwarding import keeps_sender
from gatepost.policy.decisions.requiretls import Asks
from gatepost.policy.decisions.route import RoutePlanner
from gatepost.policy.decisions.routes import InternalRoute, LmtpRoute, MailboxRoute, MxRoute, SmartHosts, Unroutable
from gatepost.protocols.smtp.replies import Reply
from gatepost.values import replace

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Sequence

    from gatepost.mail.model.message import Delivery, Recipient
    from gatepost.mail.outbound.delivery_services import DeliveryServices
    from gatepost.mail.outbound.hop import Hop, OpenHop
    from gatepost.mail.outbound.transactions import Batches
    from gatepost.policy.connectors.directory import Directory
    from gatepost.policy.decisions.routes import Route


_log = logging.getLogger(__name__)

_IN_MAILBOX = Reply(250, "2.0.0", ("Delivered to the mailbox",))
_UNREADABLE = Reply(451, "4.3.0", ("The stored message cannot be read",))


class _RoutedMessage(msgspec.Struct, frozen=True):
    """A message on one route, and the attempt to deliver it. body: as stored. plan: hosts, None if not known yet."""

    outgoing: OutgoingMessage
    body: MessageBody
    attempt: DeliveryAttempt
    plan: RoutePlan | None = None


class Deliverer:
    """Delivers by the configuration in force when an attempt begins. batch_limits: see `mail.outbound.batching`."""

    def __init__(self, directory: Directory, services: DeliveryServices) -> None:
        self._services = services
        self._directory = directory
        self._planner = RoutePlanner(directory, services.profile, services.nodes())
        self._known = KnownRoutes(services, directory.version)
        self._generation = 0
        self._transactions = TransactionRunner(services)
        self.batch_limits = BatchLimits(services.clock)

    def use(self, directory: Directory) -> None:
        """Put a new configuration in force: end kept connections, read certificates and trust anchors again."""
        self._directory = directory
        self._planner = RoutePlanner(directory, self._services.profile, self._services.nodes())
        self._known = KnownRoutes(self._services, directory.version)
        self._generation += 1
        self._services.contexts.clear()
        self._services.pool.begin_generation(self._generation)

    @property
    def services(self) -> DeliveryServices:
        """What it delivers with."""
        return self._services

    @property
    def planner(self) -> RoutePlanner:
        """Routes by the configuration in force."""
        return self._planner

    async def deliver(self, delivery: Delivery) -> DeliveryResult:
        """Try each recipient once. Faults of peers, networks, disks and names are results, never exceptions.

        A cancelled attempt ends with what is decided: who has the message must not get it again. Where nobody is, the
        cancellation goes on, as if nothing had begun.
        """
        asking_for.set(delivery.organization)
        routed = await self._routed(delivery)
        try:
            for message in routed:
                await self._attempt(message)
        except asyncio.CancelledError:
            if not _ends_with_results(routed):
                raise
        return _result(routed, delivery)

    async def deliver_batch(
        self, deliveries: Sequence[Delivery], leave_out: Callable[[Delivery, Hashable], None]
    ) -> list[DeliveryResult]:
        """Try the first of some deliveries of one message, and those that may share its transactions.

        leave_out: called with each other delivery, and with a key of those that it may still share transactions with,
        before anything is sent. One result for each delivery that is left, in their order; as `deliver`.
        """
        asking_for.set(deliveries[0].organization)
        directory, known = self._directory, self._known
        members = sharing(await plans(self._services, directory, self._planner, deliveries), leave_out)
        if members[0].common is None:  # it is by itself, and what was found out of it is not enough to send it
            routed = await self._routed(members[0].delivery)
        else:
            routed = [self._joined(members, directory, known)]
        try:
            for message in routed:
                await self._attempt(message)
        except asyncio.CancelledError:
            if not _ends_with_results(routed):
                raise
        return [_result(routed, plan.delivery) for plan in members]

    async def _routed(self, delivery: Delivery) -> list[_RoutedMessage]:
        """The message of a delivery on each of its routes."""
        directory, planner, known = self._directory, self._planner, self._known
        body = MessageBody.stored(delivery, self._services.store)
        try:
            routes = await routes_of(planner, delivery, body)
            routes = await self._services.content.divided(directory, delivery, routes, body)
        except BodyUnreadable as failure:
            nowhere = Unroutable(_UNREADABLE, str(failure))
            part = AttemptPart(delivery.recipients, decided_record(nowhere, directory.version))
            return [_on_route(directory, delivery, nowhere, body, DeliveryAttempt(delivery.message, [part]))]
        return [
            _on_route(
                directory,
                delivery,
                route,
                body,
                _new_attempt(self._services, directory, known, [(delivery, route, own)]),
            )
            for route, own in routes
        ]

    def _joined(self, members: Sequence[DeliveryPlan], directory: Directory, known: KnownRoutes) -> _RoutedMessage:
        """The message for all members of a batch, which share a transaction, as they were planned."""
        common = [(plan.delivery, plan.common) for plan in members if plan.common is not None]
        shares = [(delivery, shared.route, delivery.recipients) for delivery, shared in common]
        attempt = _new_attempt(self._services, directory, known, shares)
        first, shared = common[0]
        with_body = next((delivery for delivery, _ in common if delivery.body is not None), first)
        body = MessageBody.stored(with_body, self._services.store)
        domains = [route.domain for _, route, _ in shares if isinstance(route, MxRoute)]
        sessions = RouteSessions(counted(self._services.sessions, first.message), *domains)
        plan = replace(shared.plan, sessions=sessions)
        return _on_route(directory, first, shared.route, body, attempt, plan)

    async def _attempt(self, message: _RoutedMessage) -> None:
        """Make the content and the plan, then try hops in order until everybody is decided, or there is none left."""
        attempt, route = message.attempt, message.outgoing.route
        _end_if_cancelled(attempt)
        try:
            forms = await self._made(message)
            if isinstance(route, MailboxRoute):
                await self._store(route, attempt, forms.whole)
                return
            plan = message.plan or await self._plan(route, attempt)
            if plan is None:
                return
            await forms.measure()
            candidates = Candidates(self._services, plan, attempt, self._generation)
            while attempt.pending and (candidate := await candidates.next()) is not None:
                hop, tls_error = candidate
                left: Batches | None = None
                try:
                    while left is None or left:
                        opened = await self._connection(hop, plan, attempt, tls_error)
                        left = await self._transactions.run(opened, attempt, forms, left)
                        _end_if_cancelled(attempt)
                except HopFailed as failed:
                    attempt.failed(failed, hop)
            attempt.conclude()
            if attempt.separable:
                self.batch_limits.refused(plan.next_hop)
        except BodyUnreadable as failure:  # the content cannot be read or made: all that is pending is decided
            attempt.decide_all(_UNREADABLE, {"detail": str(failure)})
        except ContentNotReady as failure:
            attempt.decide_all(failure.reply, {"detail": failure.detail, **failure.record})
        except Exception:  # noqa: BLE001 - who has the message by now must not get it again for a fault of ours
            first = attempt.recipients[0].address
            _log.exception("message %s to %s: our own failure", format_id(attempt.message.id), first)
            attempt.decide_all(INTERNAL, {})

    async def _plan(
        self, route: Unroutable | LmtpRoute | InternalRoute | SmartHosts | MxRoute, attempt: DeliveryAttempt
    ) -> RoutePlan | None:
        """As `plan_hosts`: most plans are known."""
        kept = self._known.facts(route).plan
        if kept is None or asks(attempt.message) is not Asks.NOTHING:
            return await plan_hosts(self._services, route, attempt)
        return replace(kept, sessions=RouteSessions(counted(self._services.sessions, attempt.message)))

    async def _made(self, message: _RoutedMessage) -> BodyForms:
        """The content as its route requires it. Raises ContentNotReady, BodyUnreadable."""
        steps, outgoing = self._services.content, message.outgoing
        whole, record = await steps.made(outgoing, message.body)
        message.attempt.add_detail(record)

        async def convert() -> MessageBody:
            converted, _ = await steps.made(outgoing, await in_seven_bits(message.body))
            return converted

        if isinstance(outgoing.route, InternalRoute):
            whole = whole.as_stored()
        return BodyForms(outgoing.message, whole, convert)

    async def _store(self, route: MailboxRoute, attempt: DeliveryAttempt, body: MessageBody) -> None:
        """Deliver to mailboxes of this gateway, one copy to each, by however many addresses it is named."""
        if not attempt.owned():
            attempt.stop()
            return
        stored = MaildirMessage(attempt.message.reverse_path, body.chunks, binary=body.body_type == "BINARYMIME")
        files: dict[str, str] = {}  # mailbox -> name of the file
        for mailbox, recipient in zip(route.mailboxes, attempt.recipients, strict=True):
            address, base = mailbox.address, attempt.base_of(recipient)
            try:
                if address not in files:
                    files[address] = await self._services.maildirs.deliver(address, stored)
            except MailboxFailed as failed:
                attempt.decide(recipient, failed.reply, base | {"detail": failed.detail})
            else:
                attempt.decide(recipient, _IN_MAILBOX, base | {"mailbox": address, "file": files[address]})

    async def _connection(self, hop: Hop, plan: RoutePlan, attempt: DeliveryAttempt, tls_error: str) -> OpenHop:
        """A kept connection, else a new one that meets the requirement. Raises HopFailed.

        tls_error: why TLS failed, where the hop is tried again unencrypted: then the connection is always a new one,
        and no TLS session to count.
        """
        services, memory = self._services, self._services.memory
        if tls_error:
            return await services.opener.open(hop, handshake_error=tls_error)
        if (kept := services.pool.take(hop)) is not None:
            return kept
        self._make_room(plan)
        classical = memory.classical(attempt.parts[0].destination, hop) if memory is not None else None
        try:
            opened = await services.opener.open(hop, classical=classical)
        except HopFailed as failed:
            plan.sessions.failed(hop, failed.failure)
            raise
        if memory is not None:
            memory.shook_hands(opened)
        plan.sessions.opened(opened)
        return opened

    def _make_room(self, plan: RoutePlan) -> None:
        """End idle connections to a next hop that are more than it may have lanes, together with those in use."""
        if (budget := self._services.budget) is not None:
            hosts = {host.host for host in plan.hosts}
            self._services.pool.make_room(hosts, budget.idle(plan.next_hop))


def _ends_with_results(routed: Sequence[_RoutedMessage]) -> bool:
    """Let wait what a cancellation left undecided, if anybody is decided; returns whether that is so."""
    if not any(message.attempt.results for message in routed):
        return False
    for message in routed:
        message.attempt.stop()
    return True


def _end_if_cancelled(attempt: DeliveryAttempt) -> None:
    """Raise CancelledError if it came while a connection waited for its last reply, and something is pending."""
    task = asyncio.current_task()
    if attempt.pending and task is not None and task.cancelling():
        raise asyncio.CancelledError


def _on_route(
    directory: Directory,
    delivery: Delivery,
    route: Route,
    body: MessageBody,
    attempt: DeliveryAttempt,
    plan: RoutePlan | None = None,
) -> _RoutedMessage:
    outgoing = OutgoingMessage(directory, delivery.organization, delivery.message, attempt.recipients, route)
    return _RoutedMessage(outgoing, body, attempt, plan)


def _new_attempt(
    services: DeliveryServices,
    directory: Directory,
    known: KnownRoutes,
    shares: Sequence[tuple[Delivery, Route, Sequence[Recipient]]],
) -> DeliveryAttempt:
    """An attempt on one route. shares: deliveries, the route of each, and those of its recipients that take it."""
    delivery, first, recipients = shares[0]
    kept = keeps_sender(first)
    parts = []
    for member, route, own in shares:
        organization = member.organization
        base = known.facts(route).record | sender_record(member.message, own[0], kept=kept)
        base |= domain_record(directory, route, organization, own[0])
        parts.append(AttemptPart(own, base, remembered_as(route, organization, own)))
    attempt = DeliveryAttempt(delivery.message, parts, attempts=delivery.attempts, keeps_sender=kept)
    owns, deliveries = services.owns, [member for member, _, _ in shares]
    attempt.owned = lambda: all(map(owns, deliveries))
    attempt.hold = holds_below(directory, first, delivery.organization, recipients)
    if isinstance(first, InternalRoute):
        attempt.origin = origin_of(delivery)
    if isinstance(first, LmtpRoute):
        addresses = (recipient.address for recipient in recipients)
        attempt.forward_paths = dict(zip(addresses, first.forward_paths, strict=True))
    return attempt


def _result(routed: Sequence[_RoutedMessage], delivery: Delivery) -> DeliveryResult:
    """The results for the recipients of one delivery, and what they say of the destination and its next hop."""
    attempts = [message.attempt for message in routed]
    own = set(map(id, delivery.recipients))
    results = [
        without_others(result) for attempt in attempts for result in attempt.results if id(result.recipient) in own
    ]
    unreachable = all(attempt.unreachable for attempt in attempts)
    silent = unreachable and all(attempt.silent for attempt in attempts)
    crowded = silent and all(attempt.crowded for attempt in attempts)
    return DeliveryResult(results, destination_failed=unreachable, next_hop_failed=silent, crowded=crowded)
