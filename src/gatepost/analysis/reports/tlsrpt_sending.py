"""Sends our TLS reports: of each finished day, to each policy domain that wants one, where its record says (RFC 8460).

`node.report_sending` calls `ReportSender.round` now and then, in one worker. What is to go where, and what went, is in
`store.sent_reports`, so that a restart neither loses a report nor sends it twice; ten are on their way at a time. It
only knows how a report goes over HTTPS: what queues mail is given to it.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING, Final, Protocol

import msgspec

from gatepost.analysis.reports.tlsrpt import report_object, summaries
from gatepost.net.lookups.http import HttpFailed, HttpRequest, HttpResponse
from gatepost.net.lookups.question import LookupFailed
from gatepost.net.lookups.tlsrpt import report_record
from gatepost.protocols.dns.text_record import RecordError
from gatepost.protocols.tlsrpt.outgoing import CONTENT_TYPE, GRACE, GivenUp, back_off, due_at, mail_address, outgoing
from gatepost.store.interface import StoreFailure
from gatepost.times import day_text

if TYPE_CHECKING:
    from collections.abc import Callable

    from gatepost.net.lookups.mx import Queries
    from gatepost.protocols.tlsrpt.outgoing import Outgoing, Reporter
    from gatepost.store.sent_reports import SentReport
    from gatepost.store.session_counts import SessionCounts
    from gatepost.store.storage import Storage


_AT_ONCE: Final = 10
_LEASE: Final = 900.0  # longer than any try takes
_KEPT: Final = 60 * 86_400.0  # seconds that it is known what was sent; counts are kept for less
_DAY: Final = 86_400.0
_LIMIT: Final = 65_536  # octets of an answer around its content, which is not read

_log = logging.getLogger(__name__)


class NotSent(Exception):  # noqa: N818 - not an error of the program: it is what was found
    """A report did not go out. detail: for us. lasting: trying again is of no use. ours: our own set-up keeps it."""

    def __init__(self, detail: str, *, lasting: bool = False, ours: bool = False) -> None:
        super().__init__(detail)
        self.detail = detail
        self.lasting = lasting
        self.ours = ours


class MailTransport(Protocol):
    """Queues a report as mail."""

    async def send(self, to: str, report: Outgoing) -> str:
        """The queue id. Raises NotSent, StoreFailure."""


class WebTransport(Protocol):
    """Asks HTTPS servers."""

    async def fetch(self, request: HttpRequest) -> HttpResponse:
        """Raises HttpFailed."""


class ReportTransports(msgspec.Struct, frozen=True):
    """The transports of reports. timeout: seconds for one POST. private: whether to hosts at private addresses, too."""

    resolver: Queries
    web: WebTransport
    mail: MailTransport
    timeout: float
    private: bool = False


def report_of(counts: SessionCounts, reporter: Reporter, day: str, domain: str) -> Outgoing | None:
    """The report of a day to a policy domain; None if nothing was counted. Blocks. Raises StoreFailure."""
    domain_summaries = summaries(counts, day, domain)
    return outgoing(report_object(domain_summaries[0]), reporter, day, domain) if domain_summaries else None


class ReportSender:
    """storage: has counts and reports. spread: seconds over which a day's reports go out. clock: seconds since 1970.

    may_begin: whether more may be sent; no, once another process does it.
    """

    def __init__(
        self,
        storage: Storage,
        reporter: Reporter,
        ways: ReportTransports,
        *,
        spread: float,
        clock: Callable[[], float] = time.time,
        may_begin: Callable[[], bool] = lambda: True,
    ) -> None:
        self._counts = storage.session_counts()
        self._reporter = reporter
        self._ways = ways
        self._spread = spread
        self._clock = clock
        self._may_begin = may_begin
        self._reports = storage.sent_reports()
        self._today = ""
        self._troubles: set[str] = set()

    async def round(self) -> None:
        """Write down what finished days ask for, and try what is due. Raises StoreFailure."""
        await asyncio.to_thread(self._plan)
        while self._may_begin() and (
            due := await asyncio.to_thread(self._reports.claim, self._clock(), _AT_ONCE, _LEASE)
        ):
            matches = [candidate for candidate in await asyncio.gather(*map(self._try, due)) if candidate is not None]
            if matches:  # together, as most domains want no report, and the disk has mail to keep
                await asyncio.to_thread(self._reports.address, matches, self._clock())

    # ------------------------------------------------------------------------------------------- on a thread

    def _plan(self) -> None:
        """A day is planned once, when it is over. Days before sending was ever switched on are let be."""
        now = self._clock()
        finished = [day for day in self._counts.days() if day < day_text(now - GRACE)]
        today = day_text(now)
        if today != self._today:
            self._today = today
            self._troubles.clear()
            self._reports.forget(day_text(now - _KEPT))
        planned = self._reports.planned_days()
        first = planned[0] if planned else day_text(now - GRACE - _DAY)
        for day in finished:
            if day >= first and day not in planned:
                domains = self._counts.domains(day)
                self._reports.plan(day, ((domain, due_at(day, domain, self._spread)) for domain in domains))
        if not planned:
            self._reports.plan(first, ())  # from now on every day counts, also those of a longer pause

    # ------------------------------------------------------------------------------------------- one report

    async def _try(self, report: SentReport) -> tuple[SentReport, tuple[str, ...]] | None:
        """Send it; or, while it has no address, look up which it goes to and return them.

        Every other outcome is written down; what cannot be is tried again when the lease is over.
        """
        try:
            if not report.rua:
                return report, await self._wanted(report)
            message = await self._sent(report)
            await asyncio.to_thread(self._reports.sent, report, message)
            how = f"queued as {message}" if message else "taken"
            _log.info("TLS report of %s to %s: %s: %s", report.day, report.domain, report.rua, how)
        except NotSent as failed:
            await self._failed(report, failed)
        except StoreFailure as failure:
            self._say(f"TLS reports: {failure}; they are tried again")
        return None

    async def _wanted(self, report: SentReport) -> tuple[str, ...]:
        """The addresses that a domain wants its report at. Raises NotSent if that cannot be told now."""
        try:
            record = await report_record(self._ways.resolver, report.domain)
        except LookupFailed as failed:
            raise NotSent(f"its record cannot be looked up: {failed.detail}") from failed
        if isinstance(record, RecordError):
            _log.info("no TLS report to %s: its record cannot be used: %s", report.domain, record.detail)
            return ()
        return record.rua if record is not None else ()

    async def _sent(self, report: SentReport) -> str:
        """The queue id if it went as mail. Raises NotSent, StoreFailure."""
        made = await asyncio.to_thread(report_of, self._counts, self._reporter, report.day, report.domain)
        if made is None:
            raise NotSent("its counts are not kept any more", lasting=True)
        if report.rua[:7].lower() == "mailto:":
            return await self._ways.mail.send(mail_address(report.rua), made)
        await self._posted(report.rua, made)
        return ""

    async def _posted(self, url: str, made: Outgoing) -> None:
        """Whatever the server says but 2xx may be over tomorrow; a private address is no place for reports. NotSent."""
        content = await asyncio.to_thread(lambda: made.content)
        request = HttpRequest(
            url,
            _LIMIT,
            self._ways.timeout,
            body=content,
            content_type=CONTENT_TYPE,
            private=self._ways.private,
            discard=True,
        )
        try:
            await self._ways.web.fetch(request)
        except HttpFailed as failed:
            raise NotSent(failed.detail, lasting=failed.forbidden) from failed

    async def _failed(self, report: SentReport, failed: NotSent) -> None:
        if failed.ours:
            self._say(f"TLS reports wait, and are given up after 24 hours: {failed.detail}")
        again: float | None = None
        if not failed.lasting:
            try:
                again = back_off(report.tries, f"{report.domain} {report.rua}", report.first, self._clock())
            except GivenUp:
                again = None
        try:
            await asyncio.to_thread(self._reports.failed, report, failed.detail, again)
        except StoreFailure as failure:
            self._say(f"TLS reports: {failure}; they are tried again")
        where = report.rua or "its address"
        if again is None:
            _log.warning("TLS report of %s to %s: %s: given up: %s", report.day, report.domain, where, failed.detail)
        else:
            _log.info("TLS report of %s to %s: %s: not yet: %s", report.day, report.domain, where, failed.detail)

    def _say(self, trouble: str) -> None:
        """Once a day, however many reports it keeps."""
        if trouble not in self._troubles and len(self._troubles) < 100:
            self._troubles.add(trouble)
            _log.error("%s", trouble)
