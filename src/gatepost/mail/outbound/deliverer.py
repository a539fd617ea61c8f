"""Deliver a message to the recipients of one destination, or of several that may share a transaction.

`mail.queue.manager` calls the `Deliverer` and settles what it returns. It reads like the list in the design: route,
look up, the requirement first, a connection that met it or a new one, judged before MAIL, send, next host, defer or
fail. What each step means is decided elsewhere: `policy.decisions.route`, `policy.decisions.outbound`,
`mail.outbound.delivery_attempt`. Which deliveries are sent together says `mail.outbound.batching`.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, assert_never

from gatepost.mail.model.delivery_result import DeliveryResult
from gatepost.mail.outbound.batching import BatchLimits, plans, routes_of
from gatepost.mail.outbound.body import BodyUnreadable, MessageBody
from gatepost.mail.outbound.body_forms import BodyForms, in_seven_bits
from gatepost.mail.outbound.content import NO_STEPS, ContentNotReady, OutgoingMessage
from gatepost.mail.outbound.contexts import NODE_CERTIFICATE
from gatepost.mail.outbound.delivery_attempt import (
    AttemptPart,
    DeliveryAttempt,
    asks,
    leaves_open,
    may_go_clear,
    without_others,
)
from gatepost.mail.outbound.destination_history import holds_below, remembered_as
from gatepost.mail.outbound.downgrade import DowngradeLog
from gatepost.mail.outbound.failure import ConnectionEnded, HopFailed, lookup_failed
from gatepost.mail.outbound.handover import origin_of
from gatepost.mail.outbound.hosts import LOOPS_BACK, Hosts, RoutePlan, by_mail_hosts, by_smart_hosts
from gatepost.mail.outbound.mailbox import MailboxFailed, MaildirMessage
from gatepost.mail.outbound.next_hops import next_hop_name
from gatepost.mail.outbound.published import Publication
from gatepost.mail.outbound.record import choice_record, domain_record, parties_record, route_record, sender_record
from gatepost.mail.outbound.sessions import RouteSessions, counted
from gatepost.net.lookups.mx import MailHostsKind
from gatepost.net.lookups.question import LookupFailed
from gatepost.policy.decisions.forwarding import keeps_sender
from gatepost.policy.decisions.home import ALONE
from gatepost.policy.decisions.published import modes
from gatepost.policy.decisions.route import RoutePlanner
from gatepost.policy.decisions.routes import InternalRoute, LmtpRoute, MailboxRoute, MxRoute, SmartHosts, Unroutable
from gatepost.protocols.smtp.replies import Reply

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Sequence

    from gatepost.mail.model.message import Delivery, Recipient
    from gatepost.mail.outbound.connection import OutboundConnection
    from gatepost.mail.outbound.content import ContentSteps
    from gatepost.mail.outbound.contexts import ClientContexts
    from gatepost.mail.outbound.destination_history import DestinationMemory
    from gatepost.mail.outbound.hop import Hop, HopOpener, OpenHop
    from gatepost.mail.outbound.mailbox import Maildirs
    from gatepost.mail.outbound.pool import ConnectionPool
    from gatepost.mail.outbound.published import Lookups
    from gatepost.mail.outbound.sessions import SessionLog
    from gatepost.mail.queue.lane_budget import LaneBudget
    from gatepost.net.lookups.mx import MailRouter
    from gatepost.policy.connectors.directory import Directory
    from gatepost.policy.decisions.home import Nodes
    from gatepost.policy.decisions.routes import Route
    from gatepost.protocols.smtp.client.transaction import TransactionResult as TransactionOutcome
    from gatepost.store.interface import Store

    type Batches = Sequence[list[Recipient]]


MX_PORT = 25
"""Where MX hosts listen."""

_log = logging.getLogger(__name__)

_IN_MAILBOX = Reply(250, "2.0.0", ("Delivered to the mailbox",))
_UNREADABLE = Reply(451, "4.3.0", ("The stored message cannot be read",))
_UNSENDABLE = Reply(553, "5.1.3", ("The address cannot be written in a command",))
_BAD_DOMAIN = Reply(550, "5.1.2", ("The domain cannot be looked up",))
_NO_HOSTS = {
    MailHostsKind.NO_DOMAIN: Reply(550, "5.1.2", ("The domain does not exist",)),
    MailHostsKind.NULL: Reply(556, "5.1.10", ("The domain does not accept mail (null MX)",)),
    MailHostsKind.OURSELVES: LOOPS_BACK,
}


@dataclass(frozen=True, slots=True)
class DeliveryServices:
    """What the deliverer calls. One of each for a worker.

    mx_port: where MX hosts listen; 25 but in tests. profile: the server's own TLS profile. tries: addresses tried in
    one attempt. patience: seconds after which an attempt begins with no further address. clock: seconds, never going
    back. lookups: for DANE and MTA-STS; without them neither is asked for, and a connector that demands DANE sends
    nothing. sessions: counts for TLS reports, None for none. memory: what destinations were seen to do, None for none.
    content: what is done to messages on their way. nodes: of the site, as they are now. budget: of the lanes by which
    attempts are made; what rests of connections to a next hop has to fit in beside those under way. is_ours: whether a
    connection to an IP address and a port would come back to this gateway.
    """

    store: Store
    router: MailRouter
    maildirs: Maildirs
    contexts: ClientContexts
    opener: HopOpener
    pool: ConnectionPool
    mx_port: int = MX_PORT
    profile: str = "default"
    tries: int = 10
    patience: float = 900.0
    clock: Callable[[], float] = time.monotonic
    lookups: Lookups | None = None
    sessions: SessionLog | None = None
    memory: DestinationMemory | None = None
    content: ContentSteps = NO_STEPS
    nodes: Callable[[], Nodes] = lambda: ALONE
    budget: LaneBudget | None = None
    is_ours: Callable[[str, int], bool] = lambda _address, _port: False


class Deliverer:
    """Delivers by the configuration in force when an attempt begins. batch_limits: see `mail.outbound.batching`."""

    def __init__(self, directory: Directory, services: DeliveryServices) -> None:
        self._services = services
        self._directory = directory
        self._planner = RoutePlanner(directory, services.profile, services.nodes())
        self._generation = 0
        self._downgrades = DowngradeLog(services.clock)
        self._hosts = Hosts(services)
        self.batch_limits = BatchLimits(services.clock)

    def use(self, directory: Directory) -> None:
        """A new configuration is in force: kept connections end, certificates and trust anchors are read again."""
        self._directory = directory
        self._planner = RoutePlanner(directory, self._services.profile, self._services.nodes())
        self._generation += 1
        self._services.contexts.clear()
        self._services.pool.begin_generation(self._generation)

    @property
    def planner(self) -> RoutePlanner:
        """Routes by the configuration in force."""
        return self._planner

    async def deliver(self, delivery: Delivery) -> DeliveryResult:
        """Try each recipient once. What peers, networks, disks and names do is in the outcome, never an exception."""
        planner = self._planner
        body = MessageBody.stored(delivery, self._services.store)
        try:
            routes = await routes_of(planner, delivery, body)
            routes = await self._services.content.divided(self._directory, delivery, routes, body)
        except BodyUnreadable as failure:
            unread = DeliveryAttempt(delivery.message, [AttemptPart(delivery.recipients, _base(None, planner.version))])
            unread.decide_all(_UNREADABLE, {"detail": str(failure)})
            return DeliveryResult(unread.results)
        shipments = []
        for route, recipients in routes:
            attempt = self._attempt(planner.version, [(delivery, route, recipients)])
            shipments.append(attempt)
            await self._make_and_ship(route, attempt, body, delivery)
        return _outcome(shipments, delivery)

    async def deliver_batch(
        self, deliveries: Sequence[Delivery], leave_out: Callable[[Delivery, Hashable], None]
    ) -> list[DeliveryResult]:
        """Try the first of some deliveries of one message, and whoever may share its transactions.

        leave_out: called with each other one, and with what it may still share transactions by, before anything is
        sent. One outcome for each that is left, in their order; as `deliver`.
        """
        planner = self._planner
        first, *others = await plans(self._services, self._directory, planner, deliveries)
        kinds = [first.terms]
        members = [first]
        for plan in others:
            if plan.terms is None or plan.terms != first.terms:
                if plan.terms not in kinds:
                    kinds.append(plan.terms)
                same = (first.delivery.id, kinds.index(plan.terms)) if plan.terms is not None else None
                leave_out(plan.delivery, same)
            else:
                members.append(plan)
        if len(members) == 1 or first.route is None or first.way is None:
            return [await self.deliver(first.delivery)]
        parts = [(plan.delivery, plan.route, plan.delivery.recipients) for plan in members if plan.route is not None]
        attempt = self._attempt(planner.version, parts)
        given = next((plan.delivery for plan in members if plan.delivery.body is not None), first.delivery)
        body = MessageBody.stored(given, self._services.store)
        sessions = RouteSessions(
            counted(self._services.sessions, attempt.message),
            *(plan.route.domain for plan in members if isinstance(plan.route, MxRoute)),
        )
        await self._make_and_ship(first.route, attempt, body, first.delivery, replace(first.way, sessions=sessions))
        return [_outcome([attempt], plan.delivery) for plan in members]

    def _attempt(self, version: int, members: Sequence[tuple[Delivery, Route, Sequence[Recipient]]]) -> DeliveryAttempt:
        """What goes by one way. members: a delivery, its own route, and which of its recipients."""
        delivery, first, recipients = members[0]
        kept = keeps_sender(first)
        parts = []
        for one, route, own in members:
            base = _base(route, version) | sender_record(one.message, own[0], kept=kept)
            base |= domain_record(self._directory, route, one.organization, own[0])
            parts.append(AttemptPart(own, base, remembered_as(route, one.organization, own)))
        attempt = DeliveryAttempt(delivery.message, parts, attempts=delivery.attempts, keeps_sender=kept)
        attempt.origin = origin_of(delivery) if isinstance(first, InternalRoute) else ""
        attempt.hold = holds_below(self._directory, first, delivery.organization, recipients)
        return attempt

    async def _make_and_ship(
        self,
        route: Route,
        attempt: DeliveryAttempt,
        body: MessageBody,
        delivery: Delivery,
        way: RoutePlan | None = None,
    ) -> None:
        """Do to the content what the route wants done, and send it. way: the hosts, if they were looked up."""
        outgoing = OutgoingMessage(self._directory, delivery.organization, delivery.message, attempt.recipients, route)
        try:
            made, told = await self._services.content.made(outgoing, body)
            attempt.tell(told)
            forms = BodyForms(delivery.message, made, partial(self._converted, outgoing, body))
            if way is None:
                await self._ship(route, attempt, forms)
            else:
                await self._over(way, attempt, forms)
        except BodyUnreadable as failure:
            attempt.decide_all(_UNREADABLE, {"detail": str(failure)})
        except ContentNotReady as failure:
            attempt.decide_all(failure.reply, {"detail": failure.detail, **failure.told})

    def _recall(self, opened: OpenHop, attempt: DeliveryAttempt) -> None:
        """Hold a connection against what the destination was seen to do. Raises HopFailed if mail must not take it."""
        memory = self._services.memory
        # "TLS-Required: No" forgoes what proves the peer, and what it takes says nothing of others. But what holds mail
        # where TLS was taken away is an administrator's demand, which no field of a message takes back.
        unasked = attempt.message.tls_required_no and (opened.facts.tls is not None or not attempt.hold)
        if memory is None or unasked:
            return
        try:
            for part in attempt.parts:
                if part.destination is None:
                    continue
                part.drop = memory.recall(part.destination, opened, hold=attempt.hold)
                if part.drop is not None:
                    self._services.opener.forget_session(opened)
                if part.drop is not None and attempt.hold:
                    raise memory.barred(part.drop, opened)
        except HopFailed:
            self._services.pool.give(opened)
            raise

    async def _converted(self, outgoing: OutgoingMessage, body: MessageBody) -> MessageBody:
        """The body of a notice in 7 bits, made for its route. Raises ContentNotReady, BodyUnreadable."""
        made, _ = await self._services.content.made(outgoing, await in_seven_bits(body))
        return made

    async def _ship(self, route: Route, attempt: DeliveryAttempt, forms: BodyForms) -> None:
        match route:
            case Unroutable():
                attempt.decide_all(route.reply, {"detail": route.detail})
            case MailboxRoute():
                await self._to_mailboxes(route, attempt, forms.whole)
            case LmtpRoute():
                own = (recipient.address for recipient in attempt.recipients)
                attempt.forward_paths = dict(zip(own, route.forward_paths, strict=True))
                agent = Publication(None, modes(None, asks(attempt.message)), delivers=True)
                await self._over(RoutePlan((route.hop,), agent, RouteSessions(None), lmtp=True), attempt, forms)
            case InternalRoute():
                nodes = Publication(None, modes(None, asks(attempt.message)))
                way = RoutePlan((route.hop,), nodes, RouteSessions(None), NODE_CERTIFICATE, internal=True)
                forms.whole = forms.whole.as_stored()
                await self._over(way, attempt, forms)
            case SmartHosts():
                sessions = RouteSessions(counted(self._services.sessions, attempt.message))
                await self._over(by_smart_hosts(self._services, route, attempt.message, sessions), attempt, forms)
            case MxRoute():
                found = await self._mail_hosts(route, attempt)
                if found is not None:
                    await self._over(found, attempt, forms)
            case _:
                assert_never(route)

    async def _to_mailboxes(self, route: MailboxRoute, attempt: DeliveryAttempt, body: MessageBody) -> None:
        message = attempt.message
        stored = MaildirMessage(message.reverse_path, body.chunks, binary=body.body_type == "BINARYMIME")
        files: dict[str, str] = {}  # who is addressed by two names has one copy
        for mailbox, recipient in zip(route.mailboxes, attempt.recipients, strict=True):
            try:
                if (file := files.get(mailbox.address, "")) == "":
                    file = files[mailbox.address] = await self._services.maildirs.deliver(mailbox.address, stored)
            except MailboxFailed as failed:
                attempt.decide(recipient, failed.reply, attempt.told(recipient) | {"detail": failed.detail})
            else:
                where = {"mailbox": mailbox.address, "file": file}
                attempt.decide(recipient, _IN_MAILBOX, attempt.told(recipient) | where)

    async def _mail_hosts(self, route: MxRoute, attempt: DeliveryAttempt) -> RoutePlan | None:
        """The MX hosts of a domain; None if there are none and that has been decided."""
        sessions = RouteSessions(counted(self._services.sessions, attempt.message), route.domain)
        try:
            found = await self._services.router.mail_hosts(route.domain)
        except LookupFailed as failed:
            sessions.unresolved(failed)
            if failed.temporary:
                attempt.failures.append(lookup_failed(failed, route.domain).at(route.domain, ""))
                attempt.conclude()
            else:
                attempt.decide_all(_BAD_DOMAIN, {"detail": failed.detail})
            return None
        if not found.hosts:
            attempt.decide_all(_NO_HOSTS[found.kind], {"detail": f"{route.domain}: {found.kind}"})
            return None
        return await by_mail_hosts(self._services, route, attempt.message, found, sessions)

    async def _over(self, way: RoutePlan, attempt: DeliveryAttempt, forms: BodyForms) -> None:
        """Try hosts and addresses in order until everybody is decided, or there is no more to try."""
        await forms.measure()
        until = self._services.clock() + self._services.patience
        tries = 0
        async for hop in self._hosts.hops(way, attempt, self._generation):
            try:
                await self._use(hop, way, attempt, forms)
            except HopFailed as failed:
                attempt.failed(failed, hop)
            tries += 1
            over = tries >= self._services.tries or self._services.clock() > until
            if not attempt.pending or over or attempt.ends_early:
                break
        await self._in_clear(attempt, forms)
        attempt.conclude()
        if attempt.separable:
            self.batch_limits.refused(next_hop_name([host.place for host in way.hosts]))

    async def _use(self, hop: Hop, way: RoutePlan, attempt: DeliveryAttempt, forms: BodyForms) -> None:
        """Send over a kept connection, else over a new one, and what is left over others. Raises HopFailed."""
        left: Batches | None = None
        while left is None or left:
            if (opened := self._services.pool.take(hop)) is None:
                self._make_room(way)
                opened = await self._open(hop, way.sessions, attempt)
            left = await self._transfer(opened, attempt, forms, left)

    def _make_room(self, way: RoutePlan) -> None:
        """See that no more connections to the next hop are open than it may have lanes, resting ones with them."""
        if (budget := self._services.budget) is not None:
            name = next_hop_name([host.place for host in way.hosts])
            hosts = {host.host for host in way.hosts}
            self._services.pool.make_room(hosts, budget.limit(name) - budget.lanes(name))

    async def _open(self, hop: Hop, sessions: RouteSessions, attempt: DeliveryAttempt) -> OpenHop:
        """A new connection that meets the requirement, counted either way. Raises HopFailed."""
        memory = self._services.memory
        classical = memory.classical(attempt.parts[0].destination, hop) if memory is not None else None
        try:
            opened = await self._services.opener.open(hop, classical=classical)
        except HopFailed as failed:
            sessions.failed(hop, failed.failure)
            raise
        if memory is not None:
            memory.shook_hands(opened)
        sessions.opened(opened)
        return opened

    async def _in_clear(self, attempt: DeliveryAttempt, forms: BodyForms) -> None:
        """Where TLS broke and the configuration allows it on a later attempt: fresh connections without TLS."""
        for hop, error in attempt.broken:
            if not attempt.pending or not may_go_clear(hop.requirement, attempt.attempts):
                return
            _log.warning("message %d leaves in clear: TLS with %s failed: %s", attempt.message.id, hop.host, error)
            left: Batches | None = None
            try:
                while left is None or left:
                    opened = await self._services.opener.open(hop, handshake_error=error)
                    left = await self._transfer(opened, attempt, forms, left)
            except HopFailed as failed:
                attempt.failed(failed, hop)

    async def _transfer(
        self, opened: OpenHop, attempt: DeliveryAttempt, forms: BodyForms, batches: Batches | None = None
    ) -> Batches:
        """Send to all pending recipients, or to some batches of them. What is left to be sent over another connection.

        Nothing is if the connection ended in the middle of it: then the next host's turn comes. Raises HopFailed before
        anything is sent, if the destination was seen to do better.
        """
        self._recall(opened, attempt)
        body = await self._fitting(opened, attempt, forms)
        connection = opened.connection
        used = connection.sent > 0
        if batches is None:
            batches = list(attempt.batches(connection.recipients_max, apart=connection.counts_domains))
        left = deque(batches)
        while left:
            batch = left[0]
            try:
                outcome = await connection.send(attempt.transaction(batch, opened), body.small, body.chunks)
            except ConnectionEnded as ended:
                if used:
                    return left
                attempt.failures.append(ended.failure.at(opened.hop.host, opened.hop.endpoint))
                return ()
            except ValueError as error:  # before anything was sent
                return [*_sendable(attempt, left.popleft(), str(error)), *left]
            if used and _went_stale(connection, outcome):
                return left
            left.popleft()
            if attempt.message.require_tls:
                self._downgrades.sent(attempt.message.id, opened)
            left.extend(attempt.settle(batch, outcome, opened))
            if not connection.usable:
                return () if any(leaves_open(result) for result in outcome.recipients) else left
            if connection.spent:
                break
            used = True
        self._services.pool.give(opened)
        return left

    async def _fitting(self, opened: OpenHop, attempt: DeliveryAttempt, forms: BodyForms) -> MessageBody:
        """The body as the peer takes it, of which the attempt is told. Raises ContentNotReady, BodyUnreadable."""
        peer = opened.connection.peer
        try:
            body, attempt.header_8bit = await forms.for_peer(peer)
        except (BodyUnreadable, ContentNotReady):
            self._services.pool.give(opened)
            raise
        if body is not forms.whole:
            lacking = "SMTPUTF8" if peer.eight_bit else "8BITMIME"
            attempt.note([f"the notice was converted to 7 bits: {opened.hop.host} does not offer {lacking}"])
        attempt.size, attempt.body_type = body.size, body.body_type
        return body


def _sendable(attempt: DeliveryAttempt, batch: list[Recipient], error: str) -> list[list[Recipient]]:
    """What of a batch is to be sent after all, as an address of it cannot be written in a command."""
    parts = attempt.apart(batch)
    if len(parts) > 1:
        return parts
    attempt.decide_these(batch, _UNSENDABLE, {"detail": error})
    return []


def _went_stale(connection: OutboundConnection, outcome: TransactionOutcome) -> bool:
    """Whether a used connection ended before this transaction began: closed meanwhile, or 421 instead of an answer."""
    return not connection.usable and (outcome.mail_reply is None or outcome.mail_reply.code == 421)


def _outcome(shipments: Sequence[DeliveryAttempt], delivery: Delivery) -> DeliveryResult:
    """What became of the recipients of one delivery, and what that says of where they go."""
    own = set(map(id, delivery.recipients))
    results = [
        without_others(result) for attempt in shipments for result in attempt.results if id(result.recipient) in own
    ]
    unreachable = all(attempt.unreachable for attempt in shipments)
    silent = unreachable and all(attempt.silent for attempt in shipments)
    crowded = silent and all(attempt.crowded for attempt in shipments)
    return DeliveryResult(results, destination_failed=unreachable, next_hop_failed=silent, crowded=crowded)


def _base(route: Route | None, version: int) -> dict[str, Any]:
    """What the trace says of every outcome. route: None if none was found. version: of the configuration."""
    decided = {"configuration": version}
    match route:
        case SmartHosts():
            record = route_record(route.connector, route.hops[0].requirement) | parties_record(route)
            return decided | record | choice_record(route.reasons, route.passed_over)
        case MxRoute():
            record = route_record(route.connector, route.requirement) | parties_record(route)
            return decided | record | choice_record(route.reasons, route.passed_over)
        case LmtpRoute():
            record = route_record(None, route.hop.requirement)
            return decided | record | {"mailbox": f"lmtp:{route.hop.place}"}
        case InternalRoute():
            return decided | route_record(None, route.hop.requirement) | choice_record(route.reasons, ())
        case Unroutable():
            return decided | choice_record(route.reasons, route.passed_over)
        case MailboxRoute() | None:
            return decided
        case _:
            assert_never(route)
