"""Send our TLS reports, checked every ten seconds, in one process of the site.

Made by `node.assembly`. What is due, and where it goes, is `analysis.reports.tlsrpt_sending`'s to know.

`ReportMailer` queues reports as mail, through the ordinary queue (RFC 8460 section 5.3). The mail is of the
organization whose domain it is sent from, and goes by its connectors. It has the null reverse-path, so that nothing
ever answers it; it is marked, so that its sessions are in no report; it is signed as it leaves, and not queued where it
could not be, for a report without a signature is to be ignored (section 3).
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Final

from gatepost.analysis.reports.tlsrpt_sending import NotSent, ReportSender, ReportTransports
from gatepost.mail.model.queue_id import format_id
from gatepost.mail.queue.own_mail import own_deliveries, own_message
from gatepost.node.lifecycle import Rounds
from gatepost.policy.connectors.values import DkimService
from gatepost.policy.decisions.forwarding import expand
from gatepost.protocols.message.report_mail import ReportMail, build_report_mail, report_subject
from gatepost.protocols.smtp.grammar import GrammarError, Path, parse_address
from gatepost.protocols.tlsrpt.outgoing import Outgoing, Reporter
from gatepost.store.storage import Storage
from gatepost.values import copy_fields

if TYPE_CHECKING:
    from gatepost.net.lookups.dns import Resolver
    from gatepost.net.lookups.http import HttpClient
    from gatepost.node.site_mail import SiteMail
    from gatepost.policy.connectors.directory import Directory
    from gatepost.settings.model import Settings
    from gatepost.settings.sections import TlsReports
    from gatepost.store.leases import Lease


_LONGEST: Final = 86_400.0  # seconds that a report stays queued (section 5.5)


class ReportMailer:
    """mail: its way."""

    def __init__(self, settings: Settings, mail: SiteMail) -> None:
        self._mail = mail
        self._hostname = settings.server.hostname
        self._sender = settings.tls_reports.mail_from

    async def send(self, to: str, report: Outgoing) -> str:
        """Queue it and return the queue id. Raises NotSent, StoreFailure."""
        directory, path = self._mail.directory(), _path(to)
        organization = self._organization(directory)
        number, now = self._mail.store.new_id(), time.time()
        message_id = f"{format_id(number)}@{self._hostname}"
        mail = copy_fields(ReportMail, report, sender=self._sender, to=path.text, message_id=message_id, now=now)
        content = build_report_mail(mail)
        message = own_message(
            number,
            organization,
            content,
            message_id=mail.message_id,
            subject=report_subject(mail),
            inbound={"notice_about": "TLS report", "tls_report": report.report_id},
            now=now,
        )
        message.tls_required_no = True
        expires = now + min(self._mail.expiration(organization), _LONGEST)
        deliveries = own_deliveries(self._mail.store.new_id, message, expand(directory, path).targets, expires)
        await self._mail.queue(message, deliveries, content)
        return format_id(number)

    def _organization(self, directory: Directory) -> str:
        """The organization that sends reports, by its domain. Raises NotSent where receivers could not verify them."""
        domain = parse_address(self._sender).domain
        owner = directory.organization_of(domain)
        if owner is None:
            detail = f"{domain} of tls_reports.mail_from is not an accepted domain; add it, or correct mail_from"
            raise NotSent(detail, ours=True)
        if directory.signing_keys.find(domain, owner.name, DkimService.TLS_REPORTS) is None:
            command = f"`gatepost dkim add {domain} --service tlsrpt`"
            detail = f"{domain} has no current DKIM key, and reports by mail must be signed; {command} makes one"
            raise NotSent(detail, ours=True)
        return owner.name


def _path(address: str) -> Path:
    """Raises NotSent."""
    try:
        path = parse_address(address)
    except GrammarError as error:
        raise NotSent(f"its address cannot be written to: {error.why}", lasting=True) from error
    if not path.text.isascii() or not path.domain:
        raise NotSent("its address cannot be written to: it is not ASCII, or has no domain", lasting=True)
    return path


SENDING_SECONDS: Final = 10.0

_log = logging.getLogger(__name__)


class ReportSending:
    """client: its context checks the certificates of HTTPS servers. mail: queues reports. lease: that it is ours.

    tick, close: as of `Rounds`.
    """

    def __init__(
        self, settings: Settings, resolver: Resolver, client: HttpClient, mail: ReportMailer, lease: Lease
    ) -> None:
        reports = settings.tls_reports
        ways = ReportTransports(resolver, client, mail, reports.post_timeout, settings.outbound.private_policy_hosts)
        self._sender = ReportSender(
            Storage.of(settings), reporter_of(reports), ways, spread=reports.spread, may_begin=lambda: lease.held
        )
        self._running = Rounds(
            "TLS reports of ours",
            self._sender.round,
            lambda failure: _log.error("TLS reports are not sent: %s", failure),
        )
        self.tick, self.close = self._running.tick, self._running.close


def reporter_of(settings: TlsReports) -> Reporter:
    """The sender of reports, as the settings name it."""
    submitter = parse_address(settings.mail_from).domain if settings.mail_from else ""
    return Reporter(settings.organization_name, settings.contact, submitter)
