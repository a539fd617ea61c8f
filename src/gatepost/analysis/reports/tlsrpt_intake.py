"""Import TLS reports that others send us: from mailboxes and from the folder of those that came over HTTPS.

`node.site_duties` calls `ReportImport.take` now and then, on a thread. What is no report, or about no domain of ours,
is said in the log, and its mail is left unread; nothing is ever deleted from a mailbox.
"""

from __future__ import annotations

import logging
import time
from functools import partial
from typing import TYPE_CHECKING, Final

from gatepost.policy.connectors.names import parents
from gatepost.protocols.tlsrpt.received import MAX_MAIL, MAX_PACKED, ReportError, parse_report, report_part, unpack
from gatepost.store.interface import StoreFailure
from gatepost.store.sent_reports import ReceivedReports, StoredReport

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable
    from pathlib import Path

    from gatepost.protocols.tlsrpt.received import ReceivedReport


INBOX: Final = "tls-reports-inbox"
"""The folder in the data directory where the HTTPS server leaves what it is sent."""

_AT_ONCE: Final = 100  # files of one place in one go
_DAY: Final = 86_400.0

_log = logging.getLogger(__name__)


class ReportImport:
    """data: the data directory, for the inbox. reports: where they are kept. clock: seconds since 1970.

    days: for how many days reports are kept, 0 for ever.
    """

    def __init__(self, data: Path, reports: ReceivedReports, days: int, clock: Callable[[], float] = time.time) -> None:
        self._data = data
        self._reports = reports
        self._days = days
        self._clock = clock
        self._forgotten = 0.0
        self._failures: dict[Path, str] = {}  # why what is in a folder waits

    def take(self, maildirs: Iterable[Path], domains: Collection[str]) -> int:
        """Take in what is new; how many reports were kept. domains: those whose reports are ours, lower case."""
        kept = 0
        for maildir in maildirs:
            kept += self._from_each(maildir / "new", partial(self._from_mail, maildir / "cur", domains))
        kept += self._from_each(self._data / INBOX, partial(self._from_web, domains))
        self._forget()
        return kept

    def _from_each(self, folder: Path, take: Callable[[Path], bool]) -> int:
        """How many of a folder were kept. Where the store fails the rest waits, too, and the log says so once."""
        kept = 0
        for path in _newest(folder):
            try:
                kept += take(path)
            except StoreFailure as failure:
                if self._failures.get(folder) != str(failure):
                    _log.error("TLS reports: %s and what came after it wait in %s: %s", path.name, folder, failure)
                self._failures[folder] = str(failure)
                break
            except OSError as error:
                _log.error("TLS reports: %s waits in %s: %s", path.name, folder, error)
            else:
                self._failures.pop(folder, None)
        return kept

    def _from_mail(self, read: Path, domains: Collection[str], path: Path) -> bool:
        """It is looked at once: then it lies where a mail program finds it, as read if it was a report (maildir(5)).

        Raises StoreFailure, OSError.
        """
        seen, kept = self._kept(lambda: report_part(_octets(path, MAX_MAIL)), f"mail {path.name}", domains)
        read.mkdir(mode=0o700, exist_ok=True)
        path.rename(read / f"{path.name}:2,{'S' if seen else ''}")
        return kept

    def _from_web(self, domains: Collection[str], path: Path) -> bool:
        _, kept = self._kept(lambda: _octets(path, MAX_PACKED), f"https {path.name}", domains)
        path.unlink(missing_ok=True)
        return kept

    def _kept(self, packed: Callable[[], bytes], source: str, domains: Collection[str]) -> tuple[bool, bool]:
        """Whether it is a report about us, and whether it is a new one. Raises StoreFailure, OSError."""
        try:
            report = parse_report(unpack(packed()))
            _check(report, domains)
        except ReportError as error:
            _log.warning("TLS reports: %s: %s", source, error)
            return False, False
        if not self._reports.keep(StoredReport(self._clock(), source, report)):
            _log.info("TLS reports: %s is there already: %s of %s", source, report.report_id, report.organization)
            return True, False
        passed, failed = (
            sum(counts) for counts in zip(*((policy.passed, policy.failed) for policy in report.policies), strict=True)
        )
        _log.info("TLS reports: %s of %s: %d sessions passed, %d failed", source, report.organization, passed, failed)
        return True, True

    def _forget(self) -> None:
        """Once a day, what is older than is kept."""
        now = self._clock()
        if not self._days or now - self._forgotten < _DAY:
            return
        self._forgotten = now
        try:
            self._reports.forget(now - self._days * _DAY)
        except StoreFailure as failure:
            _log.error("TLS reports: old ones cannot be forgotten: %s", failure)


def _check(report: ReceivedReport, domains: Collection[str]) -> None:
    """Raise ReportError unless it is about a domain of ours, or about hosts in one (policies of TLSA records are)."""
    named = (policy.domain for policy in report.policies)
    if not any(domain in domains or f"*.{domain}" in domains for name in named for domain in parents(name)):
        raise ReportError("it is about no domain of ours")


def _newest(folder: Path) -> list[Path]:
    """Files of a folder, the longest there first, as many as are taken in one go."""
    try:
        return sorted(path for path in folder.iterdir() if not path.name.startswith("."))[:_AT_ONCE]
    except FileNotFoundError:
        return []


def _octets(path: Path, most: int) -> bytes:
    """A file's content, one octet beyond what is taken at most."""
    with path.open("rb") as file:
        return file.read(most + 1)
