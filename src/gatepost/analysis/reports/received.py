"""Sum up TLS reports of others about us, beside what our own trace knows of them.

No I/O: for `gatepost report received`, which reads `store.received_reports` and the trace.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from gatepost.protocols.tlsrpt.received import ReceivedFailure, ReceivedPolicy
    from gatepost.store.received_reports import StoredReport


@dataclass(frozen=True, slots=True)
class ReportFilter:
    """The filter of reports; empty fields take all. domain: of a policy. reporter: a part of the organization's name.

    domains: policies of any of these; None for all.
    """

    domain: str = ""
    reporter: str = ""
    result: str = ""
    domains: frozenset[str] | None = None

    def policies(self, kept: StoredReport) -> Iterator[ReceivedPolicy]:
        """Those of a report that are asked for."""
        if self.reporter.lower() in kept.report.organization.lower():
            yield from (policy for policy in kept.report.policies if self._takes(policy.domain))

    def _takes(self, domain: str) -> bool:
        return (not self.domain or domain == self.domain) and (self.domains is None or domain in self.domains)


@dataclass(slots=True)
class Reported:
    """A reporter's results under one policy. reports: their number. results: sessions that failed, by result."""

    reporter: str
    domain: str
    policy: str
    reports: int = 0
    passed: int = 0
    failed: int = 0
    results: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True, slots=True)
class SeenHere:
    """Our own trace's messages from a client's address in the time of a report, by recipient."""

    received: int
    refused: int


@dataclass(frozen=True, slots=True)
class FailedThere:
    """Sessions that failed as their sender saw it. begin, end: of its report. here: None if its address is not told."""

    begin: float
    end: float
    reporter: str
    domain: str
    policy: str
    failure: ReceivedFailure
    here: SeenHere | None


def reported(reports: Iterable[StoredReport], wished: ReportFilter) -> list[Reported]:
    """By reporter, policy domain and policy; most failures first."""
    sums: dict[tuple[str, str, str], Reported] = {}
    for kept in reports:
        for policy in wished.policies(kept):
            key = (kept.report.organization, policy.domain, policy.type)
            total = sums.setdefault(key, Reported(*key))
            total.reports += 1
            total.passed += policy.passed
            total.failed += policy.failed
            for failure in policy.failures:
                total.results[failure.result] += failure.sessions
    chosen = (candidate for candidate in sums.values() if not wished.result or candidate.results[wished.result])
    return sorted(chosen, key=lambda row: (-row.failed, -row.passed, row.reporter, row.domain))


def failed_there(
    reports: Iterable[StoredReport], wished: ReportFilter, here: Mapping[tuple[str, str], int]
) -> Iterator[FailedThere]:
    """Every failure that was reported. here: rows of our trace by event and peer address."""
    for kept in reports:
        for policy in wished.policies(kept):
            for failure in policy.failures:
                if wished.result and failure.result != wished.result:
                    continue
                address, report = failure.sending_address, kept.report
                seen = (
                    SeenHere(here.get(("RECEIVE", address), 0), here.get(("REFUSE", address), 0)) if address else None
                )
                yield FailedThere(
                    report.begin, report.end, report.organization, policy.domain, policy.type, failure, seen
                )
