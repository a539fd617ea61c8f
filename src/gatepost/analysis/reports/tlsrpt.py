"""Build the TLS reports of a day from counted sessions, one for each policy domain (RFC 8460 section 4.4).

Read by `gatepost report tlsrpt`, and by `analysis.reports.tlsrpt_sending`, where `protocols.tlsrpt.outgoing` adds the
organization's name, the contact and an id (`LEFT_TO_THE_SENDER`). Reads `store.session_counts`; blocks.

`gatepost report received` sums up the reports of others about us, beside what our own trace knows of the same sessions.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from gatepost.protocols.tlsrpt.received import ReceivedFailure, ReceivedPolicy
    from gatepost.protocols.tlsrpt.tally import AppliedPolicy, Count, FailureDetail
    from gatepost.store.sent_reports import StoredReport
    from gatepost.store.session_counts import SessionCounts


@dataclass(frozen=True, slots=True)
class ReportFilter:
    """The filter of reports; empty fields take all. domain: of a policy. reporter: a part of the organization's name.

    is_seen: whether policies of a domain may be told; None for all.
    """

    domain: str = ""
    reporter: str = ""
    result: str = ""
    is_seen: Callable[[str], bool] | None = None

    def policies(self, kept: StoredReport) -> Iterator[ReceivedPolicy]:
        """Those of a report that are asked for."""
        if self.reporter.lower() in kept.report.organization.lower():
            yield from (policy for policy in kept.report.policies if self._takes(policy.domain))

    def _takes(self, domain: str) -> bool:
        return (not self.domain or domain == self.domain) and (self.is_seen is None or self.is_seen(domain))


class ReceivedSums(msgspec.Struct):
    """A reporter's figures of one policy: reports, sessions, failed ones by result."""

    reporter: str
    domain: str
    policy: str
    reports: int
    passed: int
    failed: int
    results: dict[str, int]


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


def reported(reports: Iterable[StoredReport], wished: ReportFilter) -> list[ReceivedSums]:
    """By reporter, policy domain and policy; most failures first."""
    sums: dict[tuple[str, str, str], ReceivedSums] = {}
    for kept in reports:
        for policy in wished.policies(kept):
            key = (kept.report.organization, policy.domain, policy.type)
            total = sums.setdefault(key, ReceivedSums(*key, 0, 0, 0, {}))
            total.reports += 1
            total.passed += policy.passed
            total.failed += policy.failed
            for failure in policy.failures:
                total.results[failure.result] = total.results.get(failure.result, 0) + failure.sessions
    chosen = (candidate for candidate in sums.values() if not wished.result or candidate.results.get(wished.result))
    rows = sorted(chosen, key=lambda row: (-row.failed, -row.passed, row.reporter, row.domain))
    for row in rows:
        row.results = dict(Counter(row.results).most_common())
    return rows


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


LEFT_TO_THE_SENDER = ("organization-name", "contact-info", "report-id")
"""Fields of a report that say who sends it, and which of his it is."""


class PolicySummary(msgspec.Struct, frozen=True):
    """One policy that was applied. passed: sessions that met it. failures: details and their sessions, most first."""

    policy: AppliedPolicy
    passed: int
    failures: tuple[tuple[FailureDetail, int], ...] = ()

    @property
    def failed(self) -> int:
        """Sessions that did not meet it."""
        return sum(sessions for _, sessions in self.failures)


class DomainSummary(msgspec.Struct, frozen=True):
    """A day of one policy domain. day: "2026-11-24", UTC."""

    day: str
    domain: str
    policies: tuple[PolicySummary, ...]


def summaries(counted: SessionCounts, day: str, domain: str = "") -> list[DomainSummary]:
    """All policy domains of a day by name, or the one that is asked for. Raises StoreFailure."""
    counts = counted.read(day, domain)
    return [DomainSummary(day, name, _policies(group)) for name, group in groupby(counts, key=attrgetter("domain"))]


def _policies(counts: Iterable[Count]) -> tuple[PolicySummary, ...]:
    passed: dict[AppliedPolicy, int] = {}
    failures: dict[AppliedPolicy, list[tuple[FailureDetail, int]]] = {}
    for count in counts:
        failed = failures.setdefault(count.policy, [])
        if count.failure is None:
            passed[count.policy] = count.sessions
        else:
            failed.append((count.failure, count.sessions))
    return tuple(
        PolicySummary(policy, passed.get(policy, 0), tuple(sorted(failed, key=lambda failure: -failure[1])))
        for policy, failed in failures.items()
    )


def report_object(summary: DomainSummary) -> dict[str, Any]:
    """The report in the names of RFC 8460 section 4.4, but for what is left to the sender."""
    begin, end = (f"{summary.day}T{moment}Z" for moment in ("00:00:00", "23:59:59"))
    return {
        "date-range": {"start-datetime": begin, "end-datetime": end},
        "policies": [_policy(policy) for policy in summary.policies],
    }


def _policy(one: PolicySummary) -> dict[str, Any]:
    policy: dict[str, Any] = {"policy-type": str(one.policy.type)}
    if one.policy.strings:
        policy["policy-string"] = list(one.policy.strings)
    policy["policy-domain"] = one.policy.domain
    if one.policy.mx_hosts:
        policy["mx-host"] = list(one.policy.mx_hosts)
    made: dict[str, Any] = {
        "policy": policy,
        "summary": {"total-successful-session-count": one.passed, "total-failure-session-count": one.failed},
    }
    if one.failures:
        made["failure-details"] = [_failure(*failure) for failure in one.failures]
    return made


def _failure(failure: FailureDetail, sessions: int) -> dict[str, Any]:
    known = {
        "sending-mta-ip": failure.sending_address,
        "receiving-mx-hostname": failure.mx_host,
        "receiving-mx-helo": failure.helo,
        "receiving-ip": failure.address,
    }
    made: dict[str, Any] = {"result-type": str(failure.result)}
    made |= {name: value for name, value in known.items() if value}
    made["failed-session-count"] = sessions
    if failure.reason:
        made["failure-reason-code"] = failure.reason
    return made
