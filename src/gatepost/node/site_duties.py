"""The work that one worker does for its node, or for the site: alarms, TLS reports, retention of the trace.

Made by `node.assembly` in each worker that may hold a lease; what runs, runs where its lease is held.
`ReportIntake` imports TLS reports of others twice a minute, on a thread, and never twice at the same time; what is to
be done is `analysis.reports.tlsrpt_intake`'s to know.
"""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from gatepost.analysis.checks.own_certificates import OwnCertificates
from gatepost.analysis.reports.mail_facts import MailFactFinder
from gatepost.analysis.reports.notable_senders import NotableSenders
from gatepost.analysis.reports.tlsrpt_intake import ReportImport
from gatepost.mail.inbound.quarantine import QuarantineLimits
from gatepost.net.tasks import SingleTask
from gatepost.node.alarm_facts import AlarmFacts
from gatepost.node.alarm_post import AlarmPost
from gatepost.node.alarms import ALARM_SECONDS, AlarmMonitor
from gatepost.node.expiry_clock import CLOCK_SECONDS
from gatepost.node.lifecycle import Duty, Lifecycle
from gatepost.node.outage_post import OUTAGE_FILE, OUTAGE_SECONDS, OutagePost
from gatepost.node.owner_mail import OwnerMail
from gatepost.node.quarantine import QUARANTINE_SECONDS, QuarantineKeeping
from gatepost.node.retention import RETENTION_SECONDS, TraceRetention
from gatepost.store.figures import WORKERS_DIRECTORY
from gatepost.store.interface import QueueFilter, StoreFailure
from gatepost.store.leases import Lease, SiteDuty
from gatepost.times import named_zone
from gatepost.values import copy_fields

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from gatepost.mail.model.queue_share import QueueShare
    from gatepost.mail.outbound.mailbox import Maildirs
    from gatepost.node.certificate_manager import CertificateManager
    from gatepost.node.lookups import LookupServices
    from gatepost.node.site_mail import SiteMail
    from gatepost.node.site_member import SiteMember
    from gatepost.policy.connectors.directory import Directory
    from gatepost.settings.model import Settings
    from gatepost.store.changes import ConfigStore


INTAKE_SECONDS: Final = 30.0

_log = logging.getLogger(__name__)


class ReportIntake:
    """directory: in force. maildir: the folder of a mailbox. lease: for mailboxes, which nodes may share."""

    def __init__(
        self, intake: ReportImport, directory: Callable[[], Directory], maildir: Callable[[str], Path], lease: Lease
    ) -> None:
        self._intake = intake
        self._directory = directory
        self._maildir = maildir
        self._lease = lease
        self._running = SingleTask("TLS reports")

    def tick(self) -> None:
        """Look for new ones, unless that is being done already."""
        self._running.begin(self._take)

    async def _take(self) -> None:
        organizations = self._directory().organizations
        boxes = [
            self._maildir(mailbox.address)
            for organization in organizations
            for mailbox in organization.mailboxes
            if mailbox.tls_reports and self._lease.held
        ]
        domains = {domain.name for organization in organizations for domain in organization.accepted_domains}
        await asyncio.to_thread(self._intake.take, boxes, domains)


class SiteDuties(msgspec.Struct, frozen=True):
    """Makes the parts of one worker that do this work. mail: the way of what they send. failure: why none is stored.

    refused: the organizations that have too much of the queue.
    """

    settings: Settings
    site: SiteMember
    resources: ConfigStore
    certificates: CertificateManager
    lookups: LookupServices
    maildirs: Maildirs
    mail: SiteMail
    failure: Callable[[], StoreFailure | None]
    refused: Callable[[], tuple[QueueShare, ...]]

    def parts(self) -> Iterator[Lifecycle]:
        """The lives of all that the settings ask for."""
        yield self._clock()
        yield self._alarms()
        if self.site.is_first_of_several and self.settings.alarms.webhook:
            yield self._outage()
        yield self._report_import()
        yield self._quarantine()
        if self.settings.trace.days and not self.settings.store.worker_url:  # else `node.configuration_copy` does
            yield self._retention()
        if self.settings.tls_reports.send:
            yield self._report_sending()

    def _clock(self) -> Lifecycle:
        clock = self.site.expiry_clock
        note = Duty(CLOCK_SECONDS, lambda: clock.note(self.resources), at_once=True)
        return Lifecycle("the clock", duties=[note], close=clock.close, lease=self.site.leases.lease(SiteDuty.ALARMS))

    def _alarms(self) -> Lifecycle:
        server, mail = self.settings.server, self.mail
        world = OwnCertificates(
            self.lookups.resolver, hostname=server.hostname, anchors=self.settings.tls.trust_anchors
        )
        finder = MailFactFinder(
            Path(server.data_dir),
            self.site.storage.session_counts(),
            self.site.storage.queue_admin,
            self.site.problems_elsewhere,
            self._quarantine_fullness,
            NotableSenders(self.site.storage.sending_usage(), self.settings.alarms.unusual_sending).find,
        )
        alarms = AlarmMonitor(
            self.settings,
            self.resources,
            self.certificates,
            world,
            mail.directory,
            mail=OwnerMail(mail, server.hostname),
            find=AlarmFacts(
                self.settings,
                self.resources,
                mail.directory,
                find=finder.find,
                nodes=self.site.nodes,
                failure=self.failure,
                refused=self.refused,
                ahead=lambda: self.site.expiry_clock.ahead,
                older_primaries=self.site.storage.older_primaries,
                reason=self._reason,
            ).find,
            trouble=lambda: self.lookups.resolver.trouble(server.hostname),
            dnssec=self.lookups.resolver.dnssec_fault,
            nodes=self.site.nodes,
            post=AlarmPost(self.settings, self.lookups.policy_hosts),
        )
        duty, lease = Duty(ALARM_SECONDS, alarms.tick, at_once=True), self.site.leases.lease(SiteDuty.ALARMS)
        return Lifecycle("alarms", duties=[duty], close=alarms.close, lease=lease, lost=alarms.close)

    def _reason(self, destination: str) -> str:
        organization, _, domain = destination.rpartition("/")
        of_one = frozenset({organization})
        wanted = QueueFilter(domain=domain, organizations=of_one, held=False, limit=1, sort="received")
        try:
            return next((entry.delivery.last_error for entry in self.site.storage.queue_admin().entries(wanted)), "")
        except StoreFailure as failure:
            _log.warning("why the oldest message waits is not known: %s", failure)
            return ""

    def _outage(self) -> Lifecycle:
        """Each node does it: without the database the lease for alarms soon is nobody's."""
        alarms, node = self.settings.alarms, self.settings.server.node_name
        post, lease = AlarmPost(self.settings, self.lookups.policy_hosts), self.site.leases.lease(SiteDuty.ALARMS)

        def failure() -> StoreFailure | None:
            return self.failure() if self.site.is_cut_off and not lease.held else None

        file = Path(self.settings.server.data_dir) / WORKERS_DIRECTORY / OUTAGE_FILE
        outage = OutagePost(node, file, lambda: self.site.is_cut_off, failure, post, patience=alarms.look)
        return Lifecycle("outages of the database", duties=[Duty(min(OUTAGE_SECONDS, alarms.look), outage.tick)])

    def _report_import(self) -> Lifecycle:
        """Those posted to this node; mailboxes, which nodes may share, are read where the lease for them is held."""
        received = ReportImport(
            Path(self.settings.server.data_dir),
            self.site.storage.received_reports(),
            self.settings.tls_reports.days,
        )
        lease = self.site.leases.lease(SiteDuty.REPORT_IMPORT)
        intake = ReportIntake(received, self.mail.directory, self.maildirs.path, lease)
        return Lifecycle("TLS reports of others", duties=[Duty(INTAKE_SECONDS, intake.tick)], lease=self.site.own)

    def _quarantine_fullness(self) -> dict[str, float]:
        limits = copy_fields(QuarantineLimits, self.settings.quarantine)
        return {name: limits.fullness(usage) for name, usage in self.site.storage.quarantine_usage().items()}

    def _quarantine(self) -> Lifecycle:
        lease = self.site.leases.lease(SiteDuty.QUARANTINE)
        keeping = QuarantineKeeping(
            self.site.storage.quarantine_kept_by,
            self.resources,
            self.mail,
            self.settings.server.hostname,
            digest_hour=self.settings.quarantine.digest_hour,
            zone=named_zone(self.settings.admin.time_zone) or UTC,
            lease=lease,
            is_trusted=self.site.expiry_clock.is_trusted,
        )
        duty = Duty(QUARANTINE_SECONDS, keeping.tick, at_once=True)
        return Lifecycle("the quarantine", duties=[duty], close=keeping.close, lease=lease)

    def _retention(self) -> Lifecycle:
        retention = TraceRetention(self.site.storage.trace(), self.settings.trace.days)
        duty, lease = Duty(RETENTION_SECONDS, retention.tick, at_once=True), self.site.leases.lease(SiteDuty.RETENTION)
        return Lifecycle("retention of the trace", duties=[duty], lease=lease)

    def _report_sending(self) -> Lifecycle:
        from gatepost.node.report_sending import (  # noqa: PLC0415 - as above
            SENDING_SECONDS,
            ReportMailer,
            ReportSending,
        )

        lease, mailer = self.site.leases.lease(SiteDuty.REPORT_SENDING), ReportMailer(self.settings, self.mail)
        sending = ReportSending(self.settings, self.lookups.resolver, self.lookups.policy_hosts, mailer, lease)
        duty = Duty(SENDING_SECONDS, sending.tick)
        return Lifecycle("TLS reports of ours", duties=[duty], close=sending.close, lease=lease)
