"""Assemble one worker: makes every part from the settings, with its dependencies.

Made by `node.worker` after the fork, since stores and loops do not survive one.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from gatepost.analysis.checks.own_certificates import OwnCertificates
from gatepost.analysis.reports.mail_facts import MailFactFinder
from gatepost.analysis.reports.tlsrpt_intake import ReportImport
from gatepost.events.metrics import catalogue as metrics
from gatepost.events.trace import outcome_events
from gatepost.mail.inbound.content import ContentHooks
from gatepost.mail.inbound.login import Logins
from gatepost.mail.inbound.service import InboundService, SessionLimits, SessionRegistry, Stamp
from gatepost.mail.inbound.session import Session
from gatepost.mail.outbound.connection import SmtpTimeouts
from gatepost.mail.outbound.contexts import ClientContexts
from gatepost.mail.outbound.deliverer import MX_PORT, Deliverer, DeliveryServices
from gatepost.mail.outbound.destination_history import DestinationMemory
from gatepost.mail.outbound.hop import HopOpener
from gatepost.mail.outbound.mailbox import Maildirs
from gatepost.mail.outbound.next_hops import NextHops
from gatepost.mail.outbound.pool import ConnectionPool
from gatepost.mail.outbound.published import Lookups
from gatepost.mail.outbound.sessions import SessionLog
from gatepost.mail.queue.bounce import Bouncer
from gatepost.mail.queue.lane_budget import LaneBudget, share
from gatepost.mail.queue.manager import QueueManager
from gatepost.mail.queue.memory_budget import QueueLimits
from gatepost.mail.queue.schedule import Schedule
from gatepost.net.anchors import AnchorsError, TrustAnchors
from gatepost.net.chain import judge
from gatepost.net.listener import Listener
from gatepost.net.lookups.configured import configured_resolver
from gatepost.net.lookups.http import HttpClient, https_context
from gatepost.net.lookups.issuer_keys import IssuerKeys
from gatepost.net.lookups.mtasts import PolicyHosts, StsPolicies
from gatepost.net.lookups.mx import MailRouter
from gatepost.net.lookups.revocation import RevocationChecker
from gatepost.net.lookups.tlsa import TlsaFinder
from gatepost.net.own_addresses import OwnAddresses
from gatepost.net.tasks import spawn
from gatepost.node.alarm_post import AlarmPost
from gatepost.node.alarms import AlarmMonitor
from gatepost.node.certificate_manager import CertificateManager, vault_of
from gatepost.node.content import SecretContent, content_steps
from gatepost.node.evidence import EvidenceLog
from gatepost.node.observation import Observation
from gatepost.node.owner_mail import OwnerMail
from gatepost.node.report_intake import ReportIntake
from gatepost.node.report_mail import ReportMailer
from gatepost.node.report_sending import ReportSending
from gatepost.node.resolver_log import log_resolver
from gatepost.node.roles import extensions_of, login_secret, role_of, services_by_role
from gatepost.node.shards import open_shard, shards_of
from gatepost.node.snapshot import SnapshotSource
from gatepost.pki.certificates.dkim_keys import DkimKeys
from gatepost.pki.site.credentials import NodeCredentials
from gatepost.pki.site.store import SiteStore
from gatepost.policy.decisions.forwarding import expand
from gatepost.policy.decisions.home import SITE_ANCHORS
from gatepost.protocols.smtp.grammar import parse_address
from gatepost.protocols.smtp.replies import Reply
from gatepost.settings.roles import ListenerRole
from gatepost.store.changes import ConfigStore
from gatepost.store.destinations import DESTINATIONS_FILE, DestinationStore
from gatepost.store.session_counts import SESSIONS_DIRECTORY
from gatepost.store.srs_keys import load_srs_keys

if TYPE_CHECKING:
    import socket
    import ssl
    from collections.abc import Callable, Sequence

    from gatepost.mail.model.delivery_result import DeliveryResult
    from gatepost.mail.model.message import Delivery
    from gatepost.net.identity import ServerIdentity
    from gatepost.net.stream import Stream
    from gatepost.policy.connectors.directory import Directory
    from gatepost.protocols.tls.facts import ChainVerdict, Revocation
    from gatepost.settings.model import Settings
    from gatepost.store.sqlite import SqliteStore

REFRESH_SECONDS = 3600.0
"""Between two looks for MTA-STS policies that are about to expire."""

_log = logging.getLogger(__name__)


class Assembly:
    """All parts of a worker.

    listener, registry: what the worker starts and ends. certificates, alarms, evidence, report_sending: duties of one
    worker for all.
    """

    @classmethod
    async def build(cls, settings: Settings, index: int, workers: int, sockets: Sequence[socket.socket]) -> Assembly:
        """Open the worker's own shard and those that no worker has any more, and make everything around them.

        Raises StoreFailure, CertificateFileError, ValidatorError or OSError if the settings cannot be used.
        """
        data = Path(settings.server.data_dir)
        own, *orphans = shards_of(data / "queue", index, workers)
        evidence = EvidenceLog(settings)
        stores = [await open_shard(settings, data, number, evidence) for number in (own, *orphans)]
        return cls(settings, stores, sockets, evidence, (index, workers))

    def __init__(
        self,
        settings: Settings,
        stores: list[SqliteStore],
        sockets: Sequence[socket.socket],
        evidence: EvidenceLog,
        place: tuple[int, int] = (0, 1),
    ) -> None:
        self.evidence = evidence
        self._settings = settings
        self._data = Path(settings.server.data_dir)
        self._stores = stores
        self._observation = Observation(settings, place[0])
        queue = settings.queue
        self._budget = LaneBudget(
            share(queue.connections, *place), share(queue.connections_per_destination, *place), time.monotonic
        )
        self._resources = ConfigStore(self._data / "config.db")
        changes = ConfigStore(self._resources.path)
        self._snapshots = SnapshotSource(changes, settings.limits.prefixes(), tells=place[0] == 0)
        self._taking: asyncio.Task[object] | None = None
        self._anchors = lru_cache(64)(TrustAnchors.load)
        self._resolver = configured_resolver(settings.dns)
        self.certificates = CertificateManager(settings, self._resources, HttpClient(self._resolver), self._resolver)
        self._credentials = NodeCredentials(SiteStore(self._resources, vault_of(settings)), settings)
        self._prepare_lookups()
        self._prepare_delivery()
        self._router = MailRouter(self._resolver, random.Random(), own_names=[settings.server.hostname])  # noqa: S311 - shuffles
        listening = (one.getsockname()[:2] for one in sockets)
        self._is_ours = OwnAddresses(listening, settings.server.own_addresses, time.monotonic)
        self._deliverers = [self._deliverer(store) for store in stores]
        self._managers = [self._manager(*both) for both in zip(stores, self._deliverers, strict=True)]
        self.alarms = self._alarms(stores[0], self._managers[0])
        self.report_sending = self._report_sending(stores[0], self._managers[0])
        self._prepare_sessions(stores[0], self._managers[0])
        total, per_source = settings.limits.connections, settings.limits.connections_per_source
        self.listener = Listener(sockets, self._accept, refuse=self._refuse, total=total, per_source=per_source)
        for manager in self._managers:
            manager.start()

    def _prepare_lookups(self) -> None:
        """What is asked of the world about hosts and certificates."""
        settings = self._settings
        self._contexts = ClientContexts(
            settings.tls.trust_anchors, time.time, load=self._load_anchors, identity=self._client_identity
        )
        self._revocation = RevocationChecker(
            HttpClient(self._resolver),
            self._data / "cache" / "crl",
            timeout=settings.tls.revocation_timeout,
        )
        self._policy_hosts = HttpClient(self._resolver, _policy_hosts_context(settings))
        self._policies = StsPolicies(
            self._resolver,
            self._policy_hosts,
            self._data / "cache" / "mta-sts",
            hosts=PolicyHosts(private=settings.outbound.private_policy_hosts),
        )
        self._refreshing: asyncio.Task[object] | None = None

    def _prepare_delivery(self) -> None:
        """What all deliverers of the worker share."""
        settings, data = self._settings, self._data
        self._maildirs = Maildirs(data / "maildir", settings.server.hostname, time.time)
        self._pool = ConnectionPool(
            idle=settings.queue.idle_connection,
            messages=settings.queue.messages_per_connection,
            total=settings.queue.idle_connections,
        )
        self._sessions = SessionLog(data / SESSIONS_DIRECTORY)
        self._destinations = DestinationStore(data / DESTINATIONS_FILE)
        self._dkim = DkimKeys(self._resources, vault_of(settings))
        self._content = content_steps(settings, self._resources, self._dkim)
        self._observation.follow(self._stores, self._resolver.counts, self._sessions.counts)

    def _prepare_sessions(self, store: SqliteStore, manager: QueueManager) -> None:
        """What all sessions of the worker share."""
        settings = self._settings
        self.registry = SessionRegistry()
        store.count_senders(lambda: len(self.registry))
        tenants = settings.network.policy()
        self._issuer_keys = IssuerKeys(self._resolver, settings.oauth, settings.tls.trust_anchors, tenants=tenants)
        self._logins = Logins(
            self._resources.content, lambda: login_secret(self._resources), time.monotonic, self._issuer_keys
        )
        self._hooks = ContentHooks(self._resolver, tenants=tenants)
        self._services = services_by_role(self._inbound(store, manager), self._logins, self._credentials)
        self._offer()

    # what the worker calls

    def observe(self) -> None:
        """Note what this worker does now, for metrics; at each of `GAUGE_SECONDS`."""
        idle, lanes = len(self._pool), sum(one.lanes for one in self._managers)
        gauges = {
            (metrics.CONNECTIONS.name, "inbound"): len(self.registry),
            (metrics.CONNECTIONS.name, "outbound"): lanes,
            (metrics.CONNECTIONS.name, "outbound-idle"): idle,
            (metrics.BACKING_OFF.name,): sum(one.backing_off for one in self._managers),
            (metrics.IN_MEMORY.name,): sum(one.waiting for one in self._managers),
        }
        self._observation.note(self._snapshots.current.version, gauges)

    @property
    def observed(self) -> bool:
        """Whether anybody reads what `observe` notes."""
        return self._observation.served

    def poll(self) -> None:
        """Begin to take up new resources, if that is not under way."""
        if self._taking is None or self._taking.done():
            self._taking = spawn(self.refresh(), "resources")

    async def refresh(self) -> None:
        """Take up new resources, if there are any. A thread reads and understands them: of many it takes seconds."""
        newer = await asyncio.to_thread(self._snapshots.newer)
        renewed = self._credentials.refresh()  # before the rest, which asks for it
        if newer is not None:
            self._snapshots.take(newer)
        elif not renewed:
            return
        current = self._snapshots.current
        for service in self._services.values():
            service.directory = current.directory
        for deliverer in self._deliverers:
            deliverer.use(current.directory)
        self._dkim.forget()
        self._present(self.certificates.present)

    def reload(self) -> None:
        """Read certificates, keys and trust anchors again; those in use stay if a new one cannot be used."""
        if not self._present(self.certificates.reload):
            return  # what was read before stays, all of it
        self._contexts.clear()
        self._anchors.cache_clear()
        self._dkim.forget()
        self._revocation.retry()
        self._policy_hosts.use(_policy_hosts_context(self._settings))
        self._policies.retry()
        self._issuer_keys.retry()
        self._hooks.reload()
        self._pool.close()
        _log.info("certificates and trust anchors were read again")

    def refresh_policies(self) -> None:
        """Fetch again the MTA-STS policies that would expire: for one worker, every hour. They share what is kept."""
        if self._refreshing is None or self._refreshing.done():
            self._refreshing = spawn(self._policies.refresh_due(now=time.time()), "mta-sts refresh")

    async def tell_validation(self) -> None:
        """Say in the log whether nameservers answer, and who validates DNSSEC."""
        await log_resolver(self._resolver, self._settings)

    @property
    def failed(self) -> bool:
        """Whether a store refuses everything for good: only a new process may find out what it holds."""
        return any(store.failure is not None and store.failure.final for store in self._stores)

    async def close(self, seconds: float) -> None:
        """Let attempts end for at most `seconds`, then finish and close the stores."""
        replies = self._settings.server.drain_replies
        await asyncio.gather(*(manager.drain(seconds, replies) for manager in self._managers))
        self._pool.close()
        await self._revocation.close()
        self._logins.close()
        await self._issuer_keys.close()
        self.certificates.close()
        self.alarms.close()
        if self.report_sending is not None:
            await self.report_sending.close()
        if self._refreshing is not None:
            self._refreshing.cancel()
        await self._policies.close()
        await self._resolver.close()
        self._maildirs.close()
        await asyncio.to_thread(self._sessions.close)
        await asyncio.to_thread(self._destinations.close)
        await asyncio.to_thread(self._observation.close)
        for store in self._stores:
            await store.close()
        if self._taking is not None:
            await asyncio.wait([self._taking])
        self._snapshots.close()
        self._resources.close()

    def report_intake(self) -> ReportIntake:
        """Who takes in TLS reports of others, in one worker for all."""
        intake = ReportImport(self._data, self._settings.tls_reports.days)
        return ReportIntake(intake, self._directory, self._maildirs.path)

    # how the parts are made

    def _deliverer(self, store: SqliteStore) -> Deliverer:
        settings = self._settings
        timeouts = SmtpTimeouts(
            connect=settings.outbound.connect_timeout,
            greeting=settings.outbound.greeting_timeout,
            hello=settings.outbound.hello_timeout,
            handshake=settings.outbound.handshake_timeout,
            envelope=settings.outbound.envelope_timeout,
            recipient=settings.outbound.recipient_timeout,
            data=settings.outbound.data_timeout,
            block=settings.outbound.block_timeout,
            end=settings.outbound.end_timeout,
        )
        services = DeliveryServices(
            store,
            self._router,
            self._maildirs,
            self._contexts,
            HopOpener(
                settings.server.hostname,
                self._contexts,
                timeouts,
                revocation=self._revocation,
                tenants=settings.network.policy(),
            ),
            self._pool,
            profile=settings.tls.profile,
            lookups=Lookups(TlsaFinder(self._resolver), self._policies, time.time, self._resolver.dane_off),
            sessions=self._sessions,
            memory=DestinationMemory(self._destinations, time.time, dnssec=not self._resolver.dane_off),
            content=self._content,
            nodes=lambda: self._credentials.nodes,
            budget=self._budget,
            is_ours=self._is_ours,
        )
        return Deliverer(self._directory(), services)

    def _manager(self, store: SqliteStore, deliverer: Deliverer) -> QueueManager:
        queue, trace = self._settings.queue, self._observation.along(store)

        def settled(delivery: Delivery, outcome: DeliveryResult, next_at: float) -> None:
            trace(outcome_events(delivery, outcome, next_at, time.time()))

        return QueueManager(
            store,
            deliverer.deliver,
            Schedule(queue.retry, queue.delay_notice),
            Bouncer(
                store,
                self._settings.server.hostname,
                self._expiration,
                lambda path: expand(self._directory(), path).targets,
                SecretContent(self._directory),
            ),
            settled=settled,
            deliver_batch=deliverer.deliver_batch,
            finder=NextHops(lambda: deliverer.planner, store, self._router, MX_PORT, deliverer.batch_limits),
            budget=self._budget,
            limits=QueueLimits(
                queue.connections_per_destination,
                queue.lane_wait,
                queue.window_messages,
                queue.window_per_destination,
                queue.window_bytes,
                queue.connections,
            ),
            paused=queue.paused,
        )

    def _alarms(self, store: SqliteStore, manager: QueueManager) -> AlarmMonitor:
        server = self._settings.server

        world = OwnCertificates(self._resolver, hostname=server.hostname, anchors=self._settings.tls.trust_anchors)
        mail = OwnerMail(store, manager.offer, server.hostname, self._directory, self._expiration)
        return AlarmMonitor(
            self._settings,
            self._resources,
            self.certificates,
            world,
            self._directory,
            mail=mail,
            find=MailFactFinder(self._data).find,
            trouble=lambda: self._resolver.trouble(server.hostname),
            post=AlarmPost(self._settings, self._policy_hosts),
        )

    def _report_sending(self, store: SqliteStore, manager: QueueManager) -> ReportSending | None:
        """Who sends TLS reports of ours, if they are to be sent: it works in one worker for all."""
        if not self._settings.tls_reports.send:
            return None
        mail = ReportMailer(store, manager.offer, self._settings, self._directory, self._expiration)
        return ReportSending(self._settings, self._resolver, self._policy_hosts, mail)

    def _inbound(self, store: SqliteStore, manager: QueueManager) -> InboundService:
        settings, limits = self._settings, self._settings.limits
        smtp_limits = limits.smtp()
        return InboundService(
            hostname=settings.server.hostname,
            directory=self._directory(),
            store=store,
            offer=manager.offer,
            trace=self._observation.along(store),
            judge_client=self._judge_client,
            expiration=self._expiration,
            tls=self.certificates.tls,
            extensions=extensions_of(
                ListenerRole.MX, smtp_limits, self._directory(), has_certificate=self.certificates.tls is not None
            ),
            smtp_limits=smtp_limits,
            session_limits=SessionLimits(
                limits.idle_timeout,
                limits.command_timeout,
                limits.session_time,
                limits.data_rate_min,
                limits.data_rate_period,
                limits.hops,
            ),
            stamp=Stamp(settings.server.hostname, time.time),
            postmaster=parse_address(settings.server.postmaster) if settings.server.postmaster else None,
            check_revocation=self._check_revocation,
            srs=load_srs_keys(self._data),
            transcripts=settings.trace.transcripts,
            hooks=self._hooks,
            counts=self._observation.counts,
        )

    def _present(self, take: Callable[[], bool]) -> bool:
        """New sessions see the certificates that are current by now; False if those cannot be used."""
        done = take()
        self._offer()
        return done

    def _offer(self) -> None:
        limits = self._settings.limits.smtp()
        for role, service in self._services.items():
            tls = self._credentials.tls if role is ListenerRole.INTERNAL else self.certificates.tls
            service.tls = tls
            service.extensions = extensions_of(role, limits, service.directory, has_certificate=tls is not None)

    # what the parts call

    def _accept(self, stream: Stream) -> None:
        self._session(stream).begin()

    def _refuse(self, stream: Stream, reason: str) -> None:
        self._session(stream).begin(Reply(421, "4.7.0", (f"{reason}, try again later",)))

    def _session(self, stream: Stream) -> Session:
        return Session(stream, self._services[role_of(self._settings.listeners, stream.local)], self.registry)

    def _directory(self) -> Directory:
        """The resources in force."""
        return self._snapshots.current.directory

    def _expiration(self, organization: str) -> float:
        found = self._directory().organization(organization)
        own = found.message_expiration if found is not None else None
        return own if own is not None else self._settings.queue.message_expiration

    def _judge_client(self, chain: Sequence[bytes], anchors: str) -> ChainVerdict | None:
        name = anchors or self._settings.tls.trust_anchors
        try:
            trusted = self._anchors(name)
        except AnchorsError as error:
            _log.error("trust anchors of an inbound connector: %s", error)
            return None
        return judge(chain, trusted, now=time.time(), purpose="client")

    def _load_anchors(self, name: str) -> TrustAnchors:
        return self._credentials.anchors() if name == SITE_ANCHORS else TrustAnchors.load(name)

    def _client_identity(self, organization: str, label: str, now: float) -> ServerIdentity:
        """What we present as a client: between nodes the node's own certificate, else one of the organization's."""
        if not organization:
            return self._credentials.identity(now)
        return self.certificates.clients.find(organization, label, now)

    async def _check_revocation(self, chain: ChainVerdict) -> Revocation:
        return await self._revocation.check(chain, now=time.time())


def _policy_hosts_context(settings: Settings) -> ssl.SSLContext:
    """Checks the hosts that serve MTA-STS policies. If our anchors cannot be read, no MX host passes by them either."""
    try:
        return https_context(TrustAnchors.load(settings.tls.trust_anchors))
    except AnchorsError as error:
        _log.error("trust anchors: %s; MTA-STS policies are fetched by those of the system", error)
        return https_context()
