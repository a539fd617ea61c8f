"""Assemble one worker: makes every part from the settings, with its dependencies.

Made by `node.worker` after the fork, since stores and loops do not survive one.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from gatepost.events.metrics.counts import Counts
from gatepost.events.trace import outcome_events
from gatepost.mail.inbound.authentication import Authenticator
from gatepost.mail.inbound.content import ContentHooks
from gatepost.mail.inbound.service import SWEEP_SECONDS, InboundService, SessionLimits, SessionRegistry, Stamp
from gatepost.mail.inbound.session import Session
from gatepost.mail.inbound.usage import SendingUsage
from gatepost.mail.outbound.callout import Callout
from gatepost.mail.outbound.deliverer import Deliverer
from gatepost.mail.outbound.delivery_services import MX_PORT, DeliveryServices
from gatepost.mail.outbound.destination_history import DestinationMemory
from gatepost.mail.outbound.hop import HopOpener
from gatepost.mail.outbound.login import SmartHostLogins
from gatepost.mail.outbound.mailbox import Maildirs
from gatepost.mail.outbound.next_hops import NextHops
from gatepost.mail.outbound.pool import ConnectionPool
from gatepost.mail.outbound.sessions import SessionLog
from gatepost.mail.queue.bounce import Bouncer
from gatepost.mail.queue.lane_budget import LaneBudget, share
from gatepost.mail.queue.manager import QueueManager
from gatepost.mail.queue.memory_budget import QueueLimits
from gatepost.mail.queue.schedule import Schedule
from gatepost.mail.queue.stranger_notices import NoticesToStrangers
from gatepost.net.listener import Listener
from gatepost.net.lookups.access_tokens import AccessTokens
from gatepost.net.lookups.issuer_keys import IssuerKeys
from gatepost.net.lookups.mx import MailRouter
from gatepost.net.own_addresses import OwnAddresses, reach_of_tenants
from gatepost.net.tasks import SingleTask, spawn
from gatepost.node import limits as of_settings
from gatepost.node.certificate_manager import CertificateManager, vault_of
from gatepost.node.content import SecretContent, content_steps
from gatepost.node.draining import DrainedWorker
from gatepost.node.evidence import HEADS_SECONDS, EvidenceLog
from gatepost.node.journal import journal_failures
from gatepost.node.lifecycle import Duty, Lifecycle, Parts, every, nothing
from gatepost.node.load import LoadMonitor
from gatepost.node.lookups import LookupServices
from gatepost.node.machine_report import UnhinderedLook
from gatepost.node.observation import GAUGE_SECONDS, Observation, worker_gauges
from gatepost.node.recipient_sources import RecipientSources
from gatepost.node.roles import ListenerUses, extensions_of, logins_of, services_by_role
from gatepost.node.site_duties import SiteDuties
from gatepost.node.site_mail import SiteMail
from gatepost.node.site_member import SiteMember
from gatepost.node.site_secrets import ticket_secrets_of
from gatepost.node.snapshot import POLL_SECONDS, SnapshotSource
from gatepost.node.srs_keys import SrsKeySource
from gatepost.node.ticket_secrets import SecretRotation, SharedSecrets
from gatepost.pki.certificates.connector_secrets import SealedSecrets
from gatepost.pki.certificates.dkim_keys import DkimKeys
from gatepost.pki.site.credentials import NodeCredentials
from gatepost.pki.site.store import SiteStore
from gatepost.policy.connectors.values import StrangerNotices
from gatepost.policy.decisions.forwarding import expand
from gatepost.protocols.smtp.grammar import parse_address
from gatepost.protocols.smtp.replies import Reply
from gatepost.settings.roles import ListenerRole
from gatepost.store.leases import SiteDuty
from gatepost.store.storage import Storage
from gatepost.values import copy_fields, replace

if TYPE_CHECKING:
    import socket
    from collections.abc import Sequence

    from gatepost.mail.model.delivery_result import DeliveryResult
    from gatepost.mail.model.message import Delivery
    from gatepost.net.identity import ServerIdentity
    from gatepost.net.stream import Stream
    from gatepost.policy.connectors.directory import Directory
    from gatepost.settings.model import Settings
    from gatepost.store.interface import Store
    from gatepost.store.nodes import NodeIdentity

SHARE_SECONDS = 3.0
"""Between two looks at how many workers share a queue."""

_log = logging.getLogger(__name__)


class Assembly:
    """All parts of a worker. parts: their lives. listener, registry: of its sessions.

    What one worker does for its node, or for the site, is done by the one that holds the lease (`store.leases`).
    """

    @classmethod
    async def build(
        cls,
        settings: Settings,
        index: int,
        workers: int,
        sockets: Sequence[socket.socket],
        node: NodeIdentity | None = None,
        tickets: SharedSecrets | None = None,
    ) -> Assembly:
        """Open the worker's own shard and those that no worker has any more, and make everything around them.

        node: as it was entered among those of the site; None: it is in no list. tickets: of the node; None: it has no
        other worker. Raises StoreFailure, CertificateFileError, ValidatorError or OSError: settings cannot be used.
        """
        evidence = EvidenceLog(settings)
        stores = await Storage.of(settings).queues(settings, (index, workers), evidence.writer)
        assembly = cls(settings, stores, evidence, index, tickets or SharedSecrets())
        try:
            assembly._put_together(sockets, (index, workers))
        except BaseException:
            await assembly.parts.close(0.0)
            raise
        if node is not None:
            assembly.list_node(node, (index, workers))
        return assembly

    def __init__(
        self, settings: Settings, stores: list[Store], evidence: EvidenceLog, index: int, tickets: SharedSecrets
    ) -> None:
        self._settings = settings
        self._tickets = tickets
        self._data = Path(settings.server.data_dir)
        self._stores = stores
        self._index = index
        self._taking, self._reader = SingleTask("resources"), ThreadPoolExecutor(1, thread_name_prefix="resources")
        self._site = SiteMember(settings, self._index)
        self.parts = Parts()
        signing, lease = Duty(HEADS_SECONDS, evidence.tick, at_once=True), self._site.leases.lease(SiteDuty.EVIDENCE)
        close = evidence.close if self._site.leases.may_hold else nothing
        self.parts.add(Lifecycle("evidence", duties=[signing], close=close, lease=lease))
        self.parts.add(*(Lifecycle("a queue store", close=store.close) for store in stores))

    def _put_together(self, sockets: Sequence[socket.socket], place: tuple[int, int]) -> None:
        """Make all other parts. Raises as `build`: then those that were made are to be closed."""
        settings, stores = self._settings, self._stores
        self._observation = Observation(settings, self._index)
        gauges = [Duty(GAUGE_SECONDS, self._note_gauges, at_once=True)] if self._observation.served else []
        close = partial(asyncio.to_thread, self._observation.close)
        self.parts.add(Lifecycle("observation", duties=gauges, close=close))
        storage = self._site.storage
        self._resources = storage.configuration()
        self._snapshots = SnapshotSource(storage.configuration(), settings.limits.prefixes(), tells=self._index == 0)
        self._srs = SrsKeySource(settings, storage.configuration())
        self.parts.add(Lifecycle("resources", duties=[Duty(POLL_SECONDS, self.poll)], close=self._close_resources))
        self._prepare_certificates()
        self._prepare_delivery()
        self._prepare_queue(sockets, place)
        if self._site.leases.may_hold:
            self.parts.add(*self._duties(stores[0], self._managers[0]).parts())
        self._prepare_sessions(stores[0], self._managers[0])
        self.listener = Listener(
            sockets,
            self._accept,
            refuse=self._refuse,
            quota=self._load.limits.connection,
            is_own=self.certificates.own.is_own,
            proxies=(lambda local: self._uses.of(local).proxies) if self._uses.know_proxies else None,
        )
        self.parts.add(Lifecycle("the listener", start=self.listener.start, drain=lambda _: self.listener.stop()))
        self.parts.add(self._site.leasing())

    def _prepare_certificates(self) -> None:
        """Prepare lookups, and the certificates that are presented."""
        settings = self._settings
        records = SiteStore(self._resources, vault_of(settings, self._resources), settings.server)
        self._credentials = NodeCredentials(records, settings, self._tickets)
        site, identity = self._credentials.anchors, self._client_identity
        lookups = self._lookups = LookupServices(settings, site_anchors=site, identity=identity)
        self.parts.add(*lookups.parts(self._site.own, tells=self._index == 0))
        self.certificates = CertificateManager(settings, self._resources, lookups.http, lookups.resolver, self._tickets)
        if settings.pkcs11.module:
            self.parts.add(self.certificates.watch_tokens())
        self.parts.add(*self.certificates.parts(self._site, self._begin_anew, self._directory))
        rotation = SecretRotation(self._tickets, ticket_secrets_of(settings, self._resources))
        self.parts.add(rotation.part(self._site.own))

    def _prepare_delivery(self) -> None:
        """Prepare what all deliverers share."""
        settings, data = self._settings, self._data
        self._maildirs = Maildirs(data / "maildir", settings.server.hostname, time.time, settings.store.free_space)
        self._pool = ConnectionPool(
            idle=settings.queue.idle_connection,
            messages=settings.queue.messages_per_connection,
            total=settings.queue.idle_connections,
        )
        self._sessions = SessionLog(self._site.storage.session_counts())
        self._destinations = self._site.storage.worker_destinations()
        vault = vault_of(settings, self._resources)
        files, resolver, roots = self._lookups.files, self._lookups.resolver, settings.tls.trust_anchors
        self._dkim = DkimKeys(self._resources, vault, load=files.key)
        self._tokens = AccessTokens(resolver, roots, tenants=reach_of_tenants(settings), load=files.anchors)
        self._smart_host_logins = SmartHostLogins(SealedSecrets(self._resources.content, vault), self._tokens)
        self._content = content_steps(settings, self._resources, self._dkim)
        self._observation.follow(self._stores, resolver.counts, self._sessions.counts)
        self.parts.add(
            Lifecycle("mailboxes", close=self._maildirs.close),
            Lifecycle("counts of TLS sessions", close=partial(asyncio.to_thread, self._sessions.close)),
            Lifecycle("memory of destinations", close=partial(asyncio.to_thread, self._destinations.close)),
            Lifecycle("DKIM keys", refresh=lambda _: self._dkim.forget(), reload=self._dkim.forget),
            Lifecycle("access tokens", reload=self._tokens.reload, close=self._tokens.close),
            Lifecycle("kept connections", reload=self._begin_anew, close=self._pool.close),
        )

    def _prepare_queue(self, sockets: Sequence[socket.socket], place: tuple[int, int]) -> None:
        """A queue and a deliverer for each store."""
        settings, queue = self._settings, self._settings.queue
        limits, close = of_settings.sending_limits(self._data, self._stores[0], place)
        self._shares, part = of_settings.queue_shares(settings, self._stores[0], self._site.storage, self._directory())
        lanes = share(queue.connections, *place), share(queue.connections_per_destination, *place)
        self._budget = LaneBudget(*lanes, time.monotonic, limits=limits, slowdowns=self._observation.slowdowns)
        self._budget.end_idle = self._pool.end_resting
        self._budget.use(self._directory())
        self._lookups.begin(self._directory())
        self._router = MailRouter(self._lookups.resolver, random.Random(), own_names=[settings.server.hostname])  # noqa: S311 - shuffles
        listening = (sock.getsockname()[:2] for sock in sockets)
        self._is_ours = OwnAddresses(listening, settings.server.own_addresses, time.monotonic)
        self._deliverers = [self._deliverer(store) for store in self._stores]
        self._managers = [self._manager(*both) for both in zip(self._stores, self._deliverers, strict=True)]
        for manager, deliverer in zip(self._managers, self._deliverers, strict=True):
            self.parts.add(Lifecycle("a deliverer", start=manager.start, refresh=deliverer.use))
            self._lookups.on_return.append(manager.try_again)
        sharing = [Duty(SHARE_SECONDS, self._share_lanes)] if self._stores[0].position is not None else []
        attempts = Lifecycle("attempts", duties=sharing, drain=self._drain_attempts, close=close)
        self.parts.add(Lifecycle("lanes", refresh=self._budget.use), attempts, part)

    def list_node(self, node: NodeIdentity, place: tuple[int, int]) -> None:
        """Beat for the node, and have it drained when an administrator wants that."""
        look, observation = UnhinderedLook(self._settings), self._observation
        worker = DrainedWorker(self._site, self._managers, self.listener, self.registry, look, observation)
        beating = self._site.beating(
            node,
            figures=partial(worker.figures, self._snapshots, self.certificates),
            depth=lambda: self._site.storage.worker_depth(*place),
            become=worker.become,
        )
        self.parts.add(beating)

    def _prepare_sessions(self, store: Store, manager: QueueManager) -> None:
        """Prepare the parts that all sessions of the worker share."""
        settings = self._settings
        self.registry, self._uses = SessionRegistry(), ListenerUses(settings.listeners)
        self._load = LoadMonitor(settings, self._observation, self._uses.trust)
        store.count_senders(lambda: len(self.registry.coming))
        store.watch_disk(self.registry.hold_back)
        tenants, roots = reach_of_tenants(settings), settings.tls.trust_anchors
        resolver, anchors = self._lookups.resolver, self._lookups.files.anchors
        self._issuer_keys = IssuerKeys(resolver, settings.oauth, roots, tenants=tenants, load=anchors)
        self._logins, logging_in = logins_of(self._data, self._resources, self._issuer_keys)
        self._hooks = ContentHooks(resolver, tenants=tenants, told=self._observation.note_scanner, load=anchors)
        callout = Callout(self._deliverers[0].services, self._directory)
        sources = RecipientSources(settings, self._lookups, self._resources, callout, self._tokens)
        self._usage = SendingUsage(self._site.storage.sending_usage(), everybody=settings.alarms.unusual_sending > 0)
        self._recipients = sources.lookups(self._observation)
        self._services = services_by_role(self._inbound(store, manager), self._logins, self._credentials)
        self._offer()
        sweep = Duty(SWEEP_SECONDS, self.registry.sweep)
        self.parts.add(
            Lifecycle("keys of token issuers", reload=self._issuer_keys.retry, close=self._issuer_keys.close),
            logging_in,
            Lifecycle("content hooks", reload=self._hooks.reload),
            of_settings.usage_part(self._usage, self._directory),
            self._load.part(self.registry, self._directory()),
            Lifecycle("recipient validation", reload=self._recipients.forget, close=self._recipients.close),
            *sources.parts(),
            Lifecycle("sessions", duties=[sweep], refresh=self._use, drain=self._drain_sessions),
        )

    # what the worker calls

    def poll(self) -> None:
        """Begin to take up new resources, if there are any and that is not under way."""
        sources = self._snapshots, self._srs, self._credentials
        if not self._taking.is_running and any(source.is_outdated() for source in sources):
            self._taking.begin(self.refresh)

    async def refresh(self) -> None:
        """Take up new resources, if there are any. A thread reads and understands them: of many it takes seconds."""
        loop = asyncio.get_running_loop()  # the thread is their own: others may all wait for a disk or a database
        newer, srs = await loop.run_in_executor(self._reader, lambda: (self._snapshots.newer(), self._srs.newer()))
        if newer is not None:
            named, files = newer.directory.organizations, self._lookups.files
            files.use(await loop.run_in_executor(self._reader, files.newly_named, named))
        if srs is not None:
            self._srs.take(srs)
            for service in self._services.values():
                service.srs = srs
        renewed = self._credentials.refresh()  # before the rest, which asks for it
        if newer is not None:
            self._snapshots.take(newer)
            self._site.tell()
        if newer is not None or renewed:
            self.parts.refresh(self._snapshots.current.directory)

    async def reload(self) -> None:
        """Read certificates, keys and trust anchors again; those in use stay, all of them, if one cannot be used."""
        files = await asyncio.to_thread(self._lookups.read_files_again)
        if files is None or not await self.certificates.reload():
            return
        self._lookups.files.renew(files)
        self.parts.reload()
        _log.info("certificates and trust anchors were read again")

    def _begin_anew(self) -> None:
        """Use no connection any more that was opened with other certificates, or judged by other trust anchors."""
        self._offer()
        for deliverer in self._deliverers:
            deliverer.use(self._directory())

    @property
    def failed(self) -> bool:
        """Whether a store refuses everything for good: only a new process may find out what it holds."""
        return any(store.failure is not None and store.failure.final for store in self._stores)

    def _note_gauges(self) -> None:
        """What this worker does now, for metrics."""
        gauges = worker_gauges(len(self.registry), len(self._pool), self._managers, self._budget)
        self._observation.note(self._snapshots.current.version, gauges)

    def _share_lanes(self) -> None:
        """The limit of connections to a destination is the site's, where its nodes share the queue."""
        if (position := self._stores[0].position) is not None:
            self._budget.resize(share(self._settings.queue.connections_per_destination, *position))

    async def _close_resources(self) -> None:
        await self._taking.ended()
        self._reader.shutdown(wait=False)
        self._snapshots.close()
        self._srs.close()
        self._resources.close()

    async def _drain_attempts(self, seconds: float) -> None:
        await asyncio.gather(*(queue.drain(seconds, self._settings.server.drain_replies) for queue in self._managers))

    async def _drain_sessions(self, seconds: float) -> None:
        """Let messages that are on their way in have their answer. Durable mail is never at stake."""
        self.registry.drain()
        deadline, sweep = time.monotonic() + seconds, spawn(every(SWEEP_SECONDS, self.registry.sweep), "session sweep")
        while len(self.registry) and time.monotonic() < deadline:  # noqa: ASYNC110 - once, at the end
            await asyncio.sleep(0.05)
        sweep.cancel()

    def _use(self, directory: Directory) -> None:
        for service in self._services.values():
            service.directory = directory
        self._offer()

    def _offer(self) -> None:
        """New sessions are offered what resources and certificates allow by now."""
        limits = self._settings.limits.smtp()
        for role, service in self._services.items():
            tls = service.tls = self._credentials.tls if role is ListenerRole.INTERNAL else self.certificates.tls
            service.extensions = extensions_of(role, limits, service.directory, has_certificate=tls is not None)

    # how the parts are made

    def _deliverer(self, store: Store) -> Deliverer:
        settings, lookups = self._settings, self._lookups
        opener = HopOpener(
            settings.server.hostname,
            lookups.contexts,
            of_settings.smtp_timeouts(settings),
            revocation=lookups.revocation,
            tenants=reach_of_tenants(settings),
        )
        opener.logins = self._smart_host_logins
        opener.on_unknown = self._lookups.revocation_watch.note
        lookups.resolver.on_forget.append(self._router.forget)
        services = DeliveryServices(
            store,
            self._router,
            self._maildirs,
            lookups.contexts,
            opener,
            self._pool,
            profile=settings.tls.profile,
            lookups=lookups.published,
            sessions=self._sessions,
            memory=DestinationMemory(self._destinations, time.time, dnssec=not lookups.resolver.dane_off),
            content=self._content,
            nodes=lambda: self._credentials.nodes,
            budget=self._budget,
            is_ours=self._is_ours,
            owns=store.owns,
        )
        return Deliverer(self._directory(), services)

    def _manager(self, store: Store, deliverer: Deliverer) -> QueueManager:
        queue, trace = self._settings.queue, self._observation.along(store)
        hops = NextHops(lambda: deliverer.planner, store, self._router, MX_PORT, deliverer.batch_limits)
        hops.limit_all(queue.messages_per_minute_per_destination)

        def settled(delivery: Delivery, outcome: DeliveryResult, next_at: float) -> None:
            trace(outcome_events(delivery, outcome, next_at, time.time()))

        return QueueManager(
            store,
            deliverer.deliver,
            Schedule(queue.retry, queue.delay_notice, is_trusted=self._site.expiry_clock.is_trusted),
            Bouncer(
                store,
                self._settings.server.hostname,
                self._expiration,
                lambda path: expand(self._directory(), path).targets,
                SecretContent(self._directory),
                NoticesToStrangers(self._notices_to_strangers, time.time, self._observation.counts),
            ),
            settled=settled,
            deliver_batch=deliverer.deliver_batch,
            finder=hops,
            budget=self._budget,
            limits=copy_fields(QueueLimits, self._settings.queue),
            journals=journal_failures(store, self._directory, self._expiration),
            paused=queue.paused,
        )

    def _duties(self, store: Store, manager: QueueManager) -> SiteDuties:
        mail = SiteMail(store, manager.offer, self._directory, self._expiration, self._observation.along(store))
        own = self._settings, self._site, self._resources, self.certificates, self._lookups, self._maildirs
        return SiteDuties(*own, mail, self._observation.refusal, self._shares.refused)

    def _inbound(self, store: Store, manager: QueueManager) -> InboundService:
        settings, smtp_limits = self._settings, self._settings.limits.smtp()
        return InboundService(
            hostname=settings.server.hostname,
            directory=self._directory(),
            store=store,
            offer=manager.offer,
            trace=self._observation.along(store),
            tell=self._observation.tell,
            judge_client=self._lookups.judge_client,
            trust=lambda: self._lookups.anchors_renewed,
            expiration=self._expiration,
            tls=self.certificates.tls,
            extensions=extensions_of(
                ListenerRole.MX, smtp_limits, self._directory(), has_certificate=self.certificates.tls is not None
            ),
            smtp_limits=smtp_limits,
            session_limits=copy_fields(SessionLimits, settings.limits),
            stamp=Stamp(settings.server.hostname, time.time),
            postmaster=parse_address(settings.server.postmaster) if settings.server.postmaster else None,
            check_revocation=self._lookups.check_revocation,
            srs=self._srs.current,
            transcripts=settings.trace.transcripts,
            hooks=self._hooks,
            recipients=self._recipients,
            authenticator=Authenticator(self._lookups.resolver),
            quarantine=of_settings.quarantine_room(settings, store, self._site.storage),
            shares=self._shares,
            usage=self._usage,
            source_limits=self._load.limits,
            counts=self._observation.counts,
        )

    # what the parts call

    def _accept(self, stream: Stream) -> None:
        self._session(stream).begin()

    def _refuse(self, stream: Stream, reason: str) -> None:
        self._session(stream).begin(Reply(421, "4.7.0", (f"{reason}, try again later",)))

    def _session(self, stream: Stream) -> Session:
        use = self._uses.of(stream.local)
        service = self._services[use.role]
        if stream.introduction is None and self.certificates.own.is_own(stream):
            service = replace(service, counts=Counts())  # no peer
        introduce = self.listener.introduce if use.xclient and stream.peer.host in use.xclient else None
        return Session(stream, service, self.registry, introduce)

    def _directory(self) -> Directory:
        """The resources in force."""
        return self._snapshots.current.directory

    def _expiration(self, organization: str) -> float:
        owner = self._directory().organization(organization)
        own = owner.message_expiration if owner is not None else None
        return own if own is not None else self._settings.queue.message_expiration

    def _notices_to_strangers(self, organization: str) -> StrangerNotices:
        owner = self._directory().organization(organization)
        return owner.notices_to_strangers if owner is not None else StrangerNotices.SEND

    def _client_identity(self, organization: str, label: str, now: float) -> ServerIdentity:
        """The identity that we present as a client: between nodes the node's own, else one of the organization's."""
        own = self.certificates.clients
        return own.find(organization, label, now) if organization else self._credentials.identity(now)
