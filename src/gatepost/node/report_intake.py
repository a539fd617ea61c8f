"""Import received TLS reports, twice a minute, in one process of the node.

Made by `node.assembly`. What is to be done is `analysis.reports.tlsrpt_intake`'s to know; it is done on a thread, and
never twice at the same time.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from gatepost.net.tasks import SingleTask

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from gatepost.analysis.reports.tlsrpt_intake import ReportImport
    from gatepost.policy.connectors.directory import Directory
    from gatepost.store.leases import Lease


INTAKE_SECONDS: Final = 30.0


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
