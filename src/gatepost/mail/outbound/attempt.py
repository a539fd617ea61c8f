"""One attempt to deliver a message to the recipients of one destination.

`mail.queue.manager` calls `Deliverer.deliver` and settles what it returns. It reads like the list in the design: route,
look up, the requirement first, a connection that met it or a new one, judged before MAIL, send, next host, defer or
fail. What each step means is decided elsewhere: `route`, `policy.decisions.outbound`, `shipment`.
"""

from __future__ import annotations

import logging
import random
import time
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, assert_never

from gatepost.mail.model.delivery_result import Outcome
from gatepost.mail.outbound.body import BodyUnreadable, MessageBody
from gatepost.mail.outbound.body_forms import BodyForms, in_seven_bits
from gatepost.mail.outbound.content import NO_STEPS, ContentNotReady, Departure
from gatepost.mail.outbound.contexts import NODE_CERTIFICATE, our_certificate
from gatepost.mail.outbound.downgrade import DowngradeLog
from gatepost.mail.outbound.failure import ConnectionEnded, HopFailed, lookup_failed
from gatepost.mail.outbound.handover import origin_of
from gatepost.mail.outbound.hosts import LOOPS_BACK, Hosts, Way
from gatepost.mail.outbound.mailbox import MailboxFailed, MaildirMessage
from gatepost.mail.outbound.next_hops import next_hop_name
from gatepost.mail.outbound.published import Publication
from gatepost.mail.outbound.record import choice_record, domain_record, parties_record, route_record, sender_record
from gatepost.mail.outbound.sessions import WaySessions, counted
from gatepost.mail.outbound.shipment import Shipment, may_go_clear, without_others
from gatepost.net.lookups.mx import MailHostsKind
from gatepost.net.lookups.question import LookupFailed
from gatepost.policy.connectors.values import ProtectionDrop, SmartHostOrder
from gatepost.policy.decisions.destination_history import DestinationName
from gatepost.policy.decisions.forwarding import keeps_sender
from gatepost.policy.decisions.home import ALONE
from gatepost.policy.decisions.published import joined_modes, modes
from gatepost.policy.decisions.route import NO_CONTENT, RoutePlanner
from gatepost.policy.decisions.routes import (
    InternalRoute,
    LmtpRoute,
    MailboxRoute,
    MxRoute,
    NextHop,
    SmartHosts,
    Unroutable,
)
from gatepost.protocols.smtp.replies import Reply

if TYPE_CHECKING:
    from collections.abc import Callable

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
    from gatepost.protocols.smtp.client.transaction import Outcome as TransactionOutcome
    from gatepost.store.interface import Store


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
    """Delivers by the configuration in force when an attempt begins."""

    def __init__(self, directory: Directory, services: DeliveryServices) -> None:
        self._services = services
        self._directory = directory
        self._planner = RoutePlanner(directory, services.profile, services.nodes())
        self._generation = 0
        self._downgrades = DowngradeLog(services.clock)
        self._hosts = Hosts(services)

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

    async def deliver(self, delivery: Delivery) -> Outcome:
        """Try each recipient once. What peers, networks, disks and names do is in the outcome, never an exception."""
        planner = self._planner
        body = MessageBody.stored(delivery, self._services.store)
        try:
            routes = await _routes(planner, delivery, body)
            routes = await self._services.content.divided(self._directory, delivery, routes, body)
        except BodyUnreadable as failure:
            unread = Shipment(delivery.message, delivery.recipients, _base(None, planner.version))
            unread.decide_all(_UNREADABLE, {"detail": str(failure)})
            return Outcome(unread.fates)
        shipments = []
        for route, recipients in routes:
            kept = keeps_sender(route)
            base = _base(route, planner.version) | sender_record(delivery.message, recipients[0], kept=kept)
            base |= domain_record(self._directory, route, delivery.organization, recipients[0])
            shipment = Shipment(delivery.message, recipients, base, attempts=delivery.attempts, keeps_sender=kept)
            shipment.origin = origin_of(delivery) if isinstance(route, InternalRoute) else ""
            self._remember(route, shipment, delivery.organization)
            shipments.append(shipment)
            departure = Departure(self._directory, delivery.organization, delivery.message, recipients, route)
            try:
                made, told = await self._services.content.made(departure, body)
                shipment.base |= told
                forms = BodyForms(delivery.message, made, partial(self._converted, departure, body))
                await self._ship(route, shipment, forms)
            except BodyUnreadable as failure:
                shipment.decide_all(_UNREADABLE, {"detail": str(failure)})
            except ContentNotReady as failure:
                shipment.decide_all(failure.reply, {"detail": failure.detail, **failure.told})
        fates = [without_others(fate) for shipment in shipments for fate in shipment.fates]
        unreachable = all(shipment.unreachable for shipment in shipments)
        silent = unreachable and all(shipment.silent for shipment in shipments)
        crowded = silent and all(shipment.crowded for shipment in shipments)
        return Outcome(fates, destination_failed=unreachable, next_hop_failed=silent, crowded=crowded)

    def _remember(self, route: Route, shipment: Shipment, organization: str) -> None:
        """By what the shipment's connections are remembered, and what becomes of it where they fall short of that.

        Of mail that another organization routes its own one remembers what the domain did, and accepts a drop itself.
        """
        if not isinstance(route, SmartHosts | MxRoute):
            return
        asking = {organization, route.connector_owner}
        if route.sender is not None:
            address = shipment.recipients[0].address
            domain = route.domain if isinstance(route, MxRoute) else address.rpartition("@")[2].lower()
            shipment.destination = DestinationName(organization, domain, "")
        elif isinstance(route, SmartHosts):
            shipment.destination = DestinationName(organization, "", route.connector.name)
        else:
            connector = route.connector.name if route.connector else ""
            shipment.destination = DestinationName(organization, route.domain, connector)
        owners = [one for one in map(self._directory.organization, asking) if one is not None]
        holds = any(one.protection_drop is ProtectionDrop.HOLD for one in owners)
        shipment.hold = holds and not all(recipient.released for recipient in shipment.recipients)

    def _recall(self, opened: OpenHop, shipment: Shipment) -> None:
        """Hold a connection against what the destination was seen to do. Raises HopFailed if mail must not take it."""
        memory, destination = self._services.memory, shipment.destination
        # "TLS-Required: No" forgoes what proves the peer, and what it takes says nothing of others. But what holds mail
        # where TLS was taken away is an administrator's demand, which no field of a message takes back.
        unasked = shipment.message.tls_required_no and (opened.facts.tls is not None or not shipment.hold)
        if memory is None or destination is None or unasked:
            return
        try:
            shipment.drop = memory.recall(destination, opened, hold=shipment.hold)
            if shipment.drop is not None:
                self._services.opener.forget_session(opened)
            if shipment.drop is not None and shipment.hold:
                raise memory.barred(shipment.drop, opened)
        except HopFailed:
            self._services.pool.give(opened)
            raise

    async def _converted(self, departure: Departure, body: MessageBody) -> MessageBody:
        """The body of a notice in 7 bits, made for its route. Raises ContentNotReady, BodyUnreadable."""
        made, _ = await self._services.content.made(departure, await in_seven_bits(body))
        return made

    async def _ship(self, route: Route, shipment: Shipment, forms: BodyForms) -> None:
        match route:
            case Unroutable():
                shipment.decide_all(route.reply, {"detail": route.detail})
            case MailboxRoute():
                await self._to_mailboxes(route, shipment, forms.whole)
            case LmtpRoute():
                own = (recipient.address for recipient in shipment.recipients)
                shipment.forward_paths = dict(zip(own, route.forward_paths, strict=True))
                agent = Publication(None, modes(None, shipment.asks), delivers=True)
                await self._over(Way((route.hop,), agent, WaySessions(None), lmtp=True), shipment, forms)
            case InternalRoute():
                nodes = Publication(None, modes(None, shipment.asks))
                way = Way((route.hop,), nodes, WaySessions(None), NODE_CERTIFICATE, internal=True)
                forms.whole = forms.whole.as_stored()
                await self._over(way, shipment, forms)
            case SmartHosts():
                asked = joined_modes(route.connector, route.sender, shipment.asks)
                published = Publication(self._services.lookups, asked)
                sessions = WaySessions(counted(self._services.sessions, shipment.message))
                certificate = our_certificate(route.connector, route.connector_owner)
                way = Way(_in_turn(route), published, sessions, certificate)
                await self._over(way, shipment, forms)
            case MxRoute():
                found = await self._mail_hosts(route, shipment)
                if found is not None:
                    await self._over(found, shipment, forms)
            case _:
                assert_never(route)

    async def _to_mailboxes(self, route: MailboxRoute, shipment: Shipment, body: MessageBody) -> None:
        message = shipment.message
        stored = MaildirMessage(message.reverse_path, body.chunks, binary=body.body_type == "BINARYMIME")
        files: dict[str, str] = {}  # who is addressed by two names has one copy
        for mailbox, recipient in zip(route.mailboxes, shipment.recipients, strict=True):
            try:
                if (file := files.get(mailbox.address, "")) == "":
                    file = files[mailbox.address] = await self._services.maildirs.deliver(mailbox.address, stored)
            except MailboxFailed as failed:
                shipment.decide(recipient, failed.reply, shipment.base | {"detail": failed.detail})
            else:
                where = {"mailbox": mailbox.address, "file": file}
                shipment.decide(recipient, _IN_MAILBOX, shipment.base | where)

    async def _mail_hosts(self, route: MxRoute, shipment: Shipment) -> Way | None:
        """The MX hosts of a domain; None if there are none and that has been decided."""
        sessions = WaySessions(counted(self._services.sessions, shipment.message), route.domain)
        try:
            found = await self._services.router.mail_hosts(route.domain)
        except LookupFailed as failed:
            sessions.unresolved(failed)
            if failed.temporary:
                shipment.failures.append(lookup_failed(failed, route.domain).at(route.domain, ""))
                shipment.conclude()
            else:
                shipment.decide_all(_BAD_DOMAIN, {"detail": failed.detail})
            return None
        if not found.hosts:
            shipment.decide_all(_NO_HOSTS[found.kind], {"detail": f"{route.domain}: {found.kind}"})
            return None
        port = self._services.mx_port
        hosts = tuple(
            NextHop(host.name, port, route.requirement, route.rehearsed, bounded=route.bounded) for host in found.hosts
        )
        certificate = our_certificate(route.connector, route.connector_owner)
        asked = joined_modes(route.connector, route.sender, shipment.asks)
        published = Publication(self._services.lookups, asked, found)
        await published.begin()
        ranks = tuple(host.preference for host in found.hosts)
        return Way(hosts, published, sessions, certificate, complete=not found.cut, ranks=ranks)

    async def _over(self, way: Way, shipment: Shipment, forms: BodyForms) -> None:
        """Try hosts and addresses in order until everybody is decided, or there is no more to try."""
        await forms.measure()
        until = self._services.clock() + self._services.patience
        tries = 0
        async for hop in self._hosts.hops(way, shipment, self._generation):
            try:
                await self._use(hop, way, shipment, forms)
            except HopFailed as failed:
                shipment.failed(failed, hop)
            tries += 1
            over = tries >= self._services.tries or self._services.clock() > until
            if not shipment.pending or over or shipment.ends_early:
                break
        await self._in_clear(shipment, forms)
        shipment.conclude()

    async def _use(self, hop: Hop, way: Way, shipment: Shipment, forms: BodyForms) -> None:
        """Send over a kept connection, else over a new one. Raises HopFailed."""
        while (kept := self._services.pool.take(hop)) is not None:
            if await self._transfer(kept, shipment, forms):
                return
        self._make_room(way)
        await self._transfer(await self._open(hop, way.sessions, shipment), shipment, forms)

    def _make_room(self, way: Way) -> None:
        """See that no more connections to the next hop are open than it may have lanes, resting ones with them."""
        if (budget := self._services.budget) is not None:
            name = next_hop_name([host.place for host in way.hosts])
            hosts = {host.host for host in way.hosts}
            self._services.pool.make_room(hosts, budget.limit(name) - budget.lanes(name))

    async def _open(self, hop: Hop, sessions: WaySessions, shipment: Shipment) -> OpenHop:
        """A new connection that meets the requirement, counted either way. Raises HopFailed."""
        memory = self._services.memory
        classical = memory.classical(shipment.destination, hop) if memory is not None else None
        try:
            opened = await self._services.opener.open(hop, classical=classical)
        except HopFailed as failed:
            sessions.failed(hop, failed.failure)
            raise
        if memory is not None:
            memory.shook_hands(opened)
        sessions.opened(opened)
        return opened

    async def _in_clear(self, shipment: Shipment, forms: BodyForms) -> None:
        """Where TLS broke and the configuration allows it on a later attempt: fresh connections without TLS."""
        for hop, error in shipment.broken:
            if not shipment.pending or not may_go_clear(hop.requirement, shipment.attempts):
                return
            _log.warning("message %d leaves in clear: TLS with %s failed: %s", shipment.message.id, hop.host, error)
            try:
                await self._transfer(await self._services.opener.open(hop, handshake_error=error), shipment, forms)
            except HopFailed as failed:
                shipment.failed(failed, hop)

    async def _transfer(self, opened: OpenHop, shipment: Shipment, forms: BodyForms) -> bool:
        """Send to all pending recipients. False if a kept connection turned out to be dead before it took anything.

        Before anything is sent it raises HopFailed, if the destination was seen to do better, and what `_fitting` does.
        """
        self._recall(opened, shipment)
        body = await self._fitting(opened, shipment, forms)
        connection = opened.connection
        kept = connection.sent > 0
        for batch in shipment.batches(connection.recipients_max):
            try:
                outcome = await connection.send(shipment.transaction(batch, opened), body.small, body.chunks)
            except ConnectionEnded as ended:
                if not kept:
                    shipment.failures.append(ended.failure.at(opened.hop.host, opened.hop.endpoint))
                return False
            except ValueError as error:
                shipment.decide_all(_UNSENDABLE, {"detail": str(error)})
                return True
            if kept and _went_stale(connection, outcome):
                return False
            if shipment.message.require_tls:
                self._downgrades.sent(shipment.message.id, opened)
            shipment.settle(batch, outcome, opened)
            if not connection.usable:
                break
            kept = False
        self._services.pool.give(opened)
        return True

    async def _fitting(self, opened: OpenHop, shipment: Shipment, forms: BodyForms) -> MessageBody:
        """The body as the peer takes it, of which the shipment is told. Raises ContentNotReady, BodyUnreadable."""
        peer = opened.connection.peer
        try:
            body, shipment.header_8bit = await forms.for_peer(peer)
        except (BodyUnreadable, ContentNotReady):
            self._services.pool.give(opened)
            raise
        if body is not forms.whole:
            lacking = "SMTPUTF8" if peer.eight_bit else "8BITMIME"
            shipment.note([f"the notice was converted to 7 bits: {opened.hop.host} does not offer {lacking}"])
        shipment.size, shipment.body_type = body.size, body.body_type
        return body


def _in_turn(route: SmartHosts) -> tuple[NextHop, ...]:
    """The smart hosts in the order to try them, by which they may share the load."""
    if route.connector.smart_host_order is SmartHostOrder.LISTED or len(route.hops) < 2:
        return route.hops
    return tuple(random.sample(route.hops, len(route.hops)))  # spreads load, guards nothing


def _went_stale(connection: OutboundConnection, outcome: TransactionOutcome) -> bool:
    """Whether a kept connection ended before this transaction began: closed meanwhile, or 421 instead of an answer."""
    return not connection.usable and (outcome.mail_reply is None or outcome.mail_reply.code == 421)


async def _routes(planner: RoutePlanner, delivery: Delivery, body: MessageBody) -> list[tuple[Route, list[Recipient]]]:
    """Where everybody's mail goes. The message is looked into only if a rule asks for it. Raises BodyUnreadable."""
    message = delivery.message
    names = planner.header_names(delivery.organization, delivery.recipients)
    return planner.routes(
        delivery.organization,
        delivery.recipients,
        reverse_path=message.reverse_path,
        content=await body.header_fields(names) if names else NO_CONTENT,
        from_on_premises=message.from_on_premises,
        notice=message.is_notice,
    )


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
