"""The tasks of a check, one after the other: the values that validation, drills, `explain --live` and pages share.

Pure. `analysis.checks.findings` and `analysis.checks.inbound` make tasks, `manage.cli.connector_validate` prints them,
`analysis.checks.records` keeps them.

`analysis.checks.validation` reports on several hosts at once: `Progress` has the reports so far, in the order of hosts.

The issuer that a peer presented above its own certificate is offered as a trust anchor, once somebody compared it.
Nothing here trusts it: who is on the way of a connection can present any issuer.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

import msgspec
from cryptography.hazmat.primitives.serialization import Encoding

from gatepost.events.trace import tls_record
from gatepost.net.certificate import MALFORMED, certificate_facts, parse
from gatepost.net.path import climb, is_authority
from gatepost.policy.decisions.outbound import describe, describe_achieved
from gatepost.protocols.tls.facts import ChainStatus, ChainVerdict

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from gatepost.policy.decisions.facts import HopFacts
    from gatepost.policy.decisions.requirement import Verdict


_UNKNOWN: Final = frozenset({ChainStatus.UNTRUSTED_ROOT, ChainStatus.INCOMPLETE, ChainStatus.SELF_SIGNED})
_MAX_BYTES: Final = 8 * 1024  # of a certificate; trust anchors of a resource have 16 KiB at most


def issuer_record(presented: Sequence[bytes], verdict: ChainVerdict) -> dict[str, Any]:
    """The highest authority above the first certificate, where only a trust anchor is missing; {} if there is none.

    subject, issuer, sha256, not_before, not_after: of its certificate. pem: the certificate.
    """
    if verdict.status not in _UNKNOWN or verdict.leaf is None:
        return {}
    try:
        path = climb(presented[0], presented[1:], verdict.leaf.not_before)
        certificate, facts = parse(path[-1]), certificate_facts(path[-1])
    except (*MALFORMED, ValueError):
        return {}
    if len(path) < 2 or not is_authority(certificate) or len(path[-1]) > _MAX_BYTES:
        return {}
    return {
        "subject": facts.subject,
        "issuer": facts.issuer,
        "sha256": facts.sha256,
        "not_before": facts.not_before,
        "not_after": facts.not_after,
        "pem": certificate.public_bytes(Encoding.PEM).decode("ascii"),
    }


PROBE_TASKS = ("Resolve", "Connect", "EHLO", "STARTTLS", "TLS handshake", "Certificate", "Name", "Revocation")
"""The tasks of one address, in their order. "Test message" comes after them."""

_TRANSCRIPT: Final = 16 * 1024  # characters of a dialogue that a record keeps
_TRANSCRIPTS: Final = 256 * 1024  # of all of them in one record
_LINE: Final = 512  # of one line, as in the dialogues that the trace keeps


class TaskStatus(StrEnum):
    """The status of a task. WARNING: mail flows, but an administrator should look. SKIPPED: it was not tried.

    RUNNING, WAITING: it has not ended, or not begun; only while a check runs.
    """

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    WARNING = "warning"
    SKIPPED = "skipped"
    RUNNING = "running"
    WAITING = "waiting"


class CheckResult(StrEnum):
    """The overall result of a check. UNKNOWN: nothing speaks against it, but too little could be learnt."""

    VALIDATED = "validated"
    NOT_VALIDATED = "not-validated"
    UNKNOWN = "unknown"


class Task(msgspec.Struct, frozen=True):
    """One step of a check.

    name: of PROBE_TASKS, "Test message", or what `analysis.checks.inbound` calls its own. detail: what was found, or
    why the task was skipped; several facts are joined by `detail_of`, the first is the one that counts. advice: what to
    do and who must act, "" if there is nothing. seconds: how long it took. ours: it failed for a reason that says
    nothing of the peer, as when our nameserver does not answer.
    """

    name: str
    status: TaskStatus
    detail: str
    advice: str = ""
    seconds: float = 0.0
    ours: bool = False

    @property
    def first(self) -> str:
        """The fact that counts."""
        return self.detail.partition("\n")[0]

    @property
    def text(self) -> str:
        """All facts in one line."""
        return self.detail.replace("\n", "; ")


class HostReport(msgspec.Struct, frozen=True):
    """The tasks of one address of one host.

    address: with its port, "" if the host could not be resolved. facts: what the connection showed, as far as it came.
    verdict: of policy on the requirement, None if it did not come to that. transcript: what was said before any MAIL,
    as the trace keeps it: "> " ours, "< " theirs.
    """

    host: str
    address: str
    tasks: tuple[Task, ...]
    facts: HopFacts | None = None
    verdict: Verdict | None = None
    transcript: tuple[str, ...] = ()

    @property
    def failed(self) -> Task | None:
        """The first task that failed."""
        return next((task for task in self.tasks if task.status is TaskStatus.FAILED), None)

    @property
    def usable(self) -> bool:
        """Whether mail under the requirement could be sent here."""
        return self.failed is None and self.verdict is not None and self.verdict.passed


def detail_of(*texts: str) -> str:
    """A detail of several facts, without those that are empty: a line each, as what a peer says may hold any sign."""
    return "\n".join(text for text in texts if text)


def skipped(names: Sequence[str], why: str) -> list[Task]:
    """Tasks that were not tried, all for the same reason."""
    return [Task(name, TaskStatus.SKIPPED, why) for name in names]


def waiting(names: Sequence[str]) -> list[Task]:
    """Tasks that come later."""
    return [Task(name, TaskStatus.WAITING, "") for name in names]


def task_record(task: Task) -> dict[str, Any]:
    """A task as JSON shows and keeps it. facts: the detail's, where they are several."""
    record: dict[str, Any] = {"name": task.name, "status": str(task.status), "detail": task.text}
    facts = task.detail.split("\n")
    if len(facts) > 1:
        record["facts"] = facts
    if task.advice:
        record["advice"] = task.advice
    if task.ours:
        record["ours"] = True
    return record | {"seconds": round(task.seconds, 3)}


def task_of(record: Mapping[str, Any]) -> Task:
    """The task that such a record is of. Raises KeyError or ValueError if it is none."""
    detail = "\n".join(record["facts"]) if "facts" in record else record["detail"]
    status, advice = TaskStatus(record["status"]), record.get("advice", "")
    return Task(record["name"], status, detail, advice, record["seconds"], ours=record.get("ours", False))


def bounded_transcripts(dialogues: Iterable[Sequence[str]]) -> Iterator[list[str]]:
    """Dialogues as one record keeps them: the first lines of each, cut; a last one says what is left out."""
    left = _TRANSCRIPTS
    for lines in dialogues:
        kept = _bounded(lines, min(left, _TRANSCRIPT))
        left = max(0, left - sum(map(len, kept)))
        yield kept


def _bounded(lines: Sequence[str], most: int) -> list[str]:
    kept: list[str] = []
    for place, line in enumerate(lines):
        shown = line if len(line) <= _LINE else f"{line[:_LINE]}..."
        most -= len(shown)
        if most < 0:
            return [*kept, f"({len(lines) - place} more lines)"]
        kept.append(shown)
    return kept


def host_records(reports: Sequence[HostReport]) -> list[dict[str, Any]]:
    """Reports as JSON shows and keeps them.

    tls: as in the trace, {} without TLS. issuer: where only trust in an authority that was presented is missing.
    """
    dialogues = bounded_transcripts(report.transcript for report in reports)
    return [_host_record(*pair) for pair in zip(reports, dialogues, strict=True)]


def _host_record(report: HostReport, transcript: list[str]) -> dict[str, Any]:
    facts, verdict = report.facts, report.verdict
    issuer = issuer_record(facts.tls.peer_chain, facts.chain) if facts and facts.tls and facts.chain else {}
    record = {
        "host": report.host,
        "address": report.address,
        "requirement": describe(verdict.requirement) if verdict else "",
        "achieved": describe_achieved(verdict.achieved) if verdict else "",
        "passed": report.usable,
        "tls": tls_record(facts.tls, facts.chain) if facts else {},
        "tasks": [task_record(task) for task in report.tasks],
        "transcript": transcript,
    }
    return record | ({"issuer": issuer} if issuer else {})


class HostProgress:
    """The reports on one host: one for each of its addresses; one without an address until there is any."""

    def __init__(self, on_change: Callable[[], None]) -> None:
        self._on_change = on_change
        self._found: dict[str, HostReport] = {}

    @property
    def reports(self) -> tuple[HostReport, ...]:
        """The reports so far."""
        return tuple(self._found.values())

    def show(self, report: HostReport) -> None:
        """Add a report, or replace the one of its address."""
        if report.address:
            self._found.pop("", None)
        self._found[report.address] = report
        self._on_change()

    def clear(self) -> None:
        """Remove all reports: others take their place."""
        self._found.clear()


class ProgressReports:
    """The reports on all hosts of a check. on_change: called with all reports whenever one has changed."""

    def __init__(self, on_change: Callable[[tuple[HostReport, ...]], None]) -> None:
        self._on_change = on_change
        self._hosts: list[HostProgress] = []

    def host(self) -> HostProgress:
        """Add a host."""
        host = HostProgress(self._changed)
        self._hosts.append(host)
        return host

    def _changed(self) -> None:
        self._on_change(tuple(report for host in self._hosts for report in host.reports))
