"""Send our TLS reports, checked every ten seconds, in one process of the site.

Made by `node.assembly`. What is due, and where it goes, is `analysis.reports.tlsrpt_sending`'s to know.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from gatepost.analysis.reports.tlsrpt_sending import ReportSender, ReportTransports
from gatepost.net.tasks import SingleTask
from gatepost.protocols.smtp.grammar import parse_address
from gatepost.protocols.tlsrpt.outgoing import Reporter
from gatepost.store.interface import StoreFailure
from gatepost.store.storage import Storage

if TYPE_CHECKING:
    from gatepost.net.lookups.dns import Resolver
    from gatepost.net.lookups.http import HttpClient
    from gatepost.node.report_mail import ReportMailer
    from gatepost.settings.model import Settings
    from gatepost.settings.reporting import TlsReports
    from gatepost.store.leases import Lease


SENDING_SECONDS: Final = 10.0

_log = logging.getLogger(__name__)


class ReportSending:
    """client: its context checks the certificates of HTTPS servers. mail: queues reports. lease: that it is ours."""

    def __init__(
        self, settings: Settings, resolver: Resolver, client: HttpClient, mail: ReportMailer, lease: Lease
    ) -> None:
        reports = settings.tls_reports
        ways = ReportTransports(resolver, client, mail, reports.post_timeout, settings.outbound.private_policy_hosts)
        self._sender = ReportSender(
            Storage.of(settings), reporter_of(reports), ways, spread=reports.spread, may_begin=lambda: lease.held
        )
        self._running = SingleTask("TLS reports of ours")
        self._failing = False

    def tick(self) -> None:
        """Send what is due, unless that is being done already."""
        self._running.begin(self._round)

    async def close(self) -> None:
        """Stop what is under way; it is tried again after the next start."""
        self._running.cancel()
        await self._running.ended()

    async def _round(self) -> None:
        try:
            await self._sender.round()
        except StoreFailure as failure:
            if not self._failing:
                _log.error("TLS reports are not sent: %s", failure)
            self._failing = True
        else:
            self._failing = False


def reporter_of(settings: TlsReports) -> Reporter:
    """The sender of reports, as the settings name it."""
    submitter = parse_address(settings.mail_from).domain if settings.mail_from else ""
    return Reporter(settings.organization_name, settings.contact, submitter)
