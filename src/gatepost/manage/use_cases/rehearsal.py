"""What a connector or a mail flow rule did to real mail, or would do if it were enforced: counted from the trace.

Used by `gatepost connector rehearsal` and by the pages and calls of the same name. Reads the trace of the whole time.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gatepost.analysis.rehearsal import rehearsal as reports
from gatepost.analysis.rehearsal.recorded import INBOUND, OUTBOUND
from gatepost.analysis.rehearsal.rehearsal import Judged, Report, Subject
from gatepost.analysis.rehearsal.replay import COLUMNS, Replay, RowReplay, enforced
from gatepost.analysis.rehearsal.touched import outbound_domains
from gatepost.manage.use_cases.choice import choose_connector, choose_part, visible
from gatepost.manage.use_cases.parts import RULE
from gatepost.manage.use_cases.refusal import Kind, Refusal
from gatepost.policy.connectors.values import Mode
from gatepost.store.interface import TraceFilter
from gatepost.store.trace_conditions import Among
from gatepost.store.trace_search import scan_trace

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from gatepost.analysis.rehearsal.decision import Decision
    from gatepost.manage.access.principal import Principal
    from gatepost.manage.use_cases.gateway import Gateway
    from gatepost.manage.use_cases.parts import Part
    from gatepost.policy.connectors.directory import Directory
    from gatepost.policy.connectors.model import Resources
    from gatepost.store.trace_search import TraceRow


_DOMAINS = 8  # of a connector, each looked up apart
_CHANGES = (10, 100, 1000)  # of the organization, looked at in these steps


@dataclass(frozen=True, slots=True)
class Question:
    """What is to be told.

    name: of a connector, or with rule of a mail flow rule. organization, direction: where the name alone does not tell
    which. since: seconds since 1970. replay: decide all mail of that time again, as if the connector had been enforced.
    """

    name: str
    since: float
    organization: str = ""
    direction: str | None = None
    rule: bool = False
    replay: bool = False


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """The answer.

    label: "outbound connector 'hq' of contoso". until: seconds since 1970. formed: the version that made what is in
    rehearsal what it is, 0 if that does not matter. unreadable: files of the trace that are not counted.
    """

    question: Question
    name: str
    label: str
    direction: str
    mode: Mode
    enabled: bool
    until: float
    formed: int
    report: Report
    unreadable: list[str]

    @property
    def trial(self) -> bool:
        """Whether it is about what would have been, not what was."""
        return self.question.replay or self.mode is Mode.REHEARSE

    @property
    def words(self) -> tuple[str, str]:
        """How messages that passed and those that failed are called."""
        inbound = self.direction == "inbound"
        if self.trial:
            return ("would pass", "would be refused") if inbound else ("would be sent", "would be held")
        return ("accepted", "refused") if inbound else ("sent", "held")


def rehearsal(gateway: Gateway, who: Principal, question: Question) -> Rehearsal:
    """What the connector or rule did or would have done. Raises Refusal: MISSING if it is not there, INPUT."""
    directory = gateway.directory()
    part = _subject(visible(directory.resources, who), question)
    direction = "inbound" if part.kind.key == "inbound_connector" else "outbound"
    formed = _formed(gateway, part)
    run = _Run(gateway, directory, question.since)
    if question.replay:
        report = run.replayed(part, inbound=direction == "inbound")
    else:
        report = run.counted(part, formed, inbound=direction == "inbound")
    record = part.record
    return Rehearsal(
        question=question,
        name=part.name,
        label=part.label,
        direction=direction,
        mode=record.mode,
        enabled=record.enabled,
        until=run.until,
        formed=formed,
        report=report,
        unreadable=run.unreadable,
    )


def rehearsal_record(found: Rehearsal) -> dict[str, Any]:
    """For machines, as `gatepost connector rehearsal --json` has it."""
    question, report = found.question, found.report
    return {
        "name": found.name,
        "label": found.label,
        "direction": found.direction,
        "mode": str(found.mode),
        "enabled": found.enabled,
        "since": question.since,
        "until": found.until,
        "replay": question.replay,
        "unreadable": found.unreadable,
        "rule": question.rule,
        "formed": found.formed,
        "answer": report.answer,
        "messages": report.messages,
        **_counts(report.counts),
        "waited": report.waited,
        "groups": [_group_record(group) for group in (*report.failed(), *report.unknown())],
        "peers": [{"peer": peer, **_counts(counts), "last": last} for peer, counts, last in report.peers()],
        "days": [{"day": day, **_counts(counts)} for day, counts in sorted(report.days.items())],
    }


def rehearsal_of(record: Mapping[str, Any], question: Question) -> Rehearsal:
    """What `rehearsal_record` made this of, in answer to the question."""
    return Rehearsal(
        question=question,
        report=_report_of(record),
        mode=Mode(record["mode"]),
        **{key: record[key] for key in ("name", "label", "direction", "enabled", "until", "formed", "unreadable")},
    )


def _report_of(record: Mapping[str, Any]) -> Report:
    groups = [reports.Group(**{**one, "judged": Judged(one["judged"])}) for one in record["groups"]]
    # of messages that passed it is known how many there were of each peer
    groups += [
        reports.Group(one["peer"], "", Judged.PASSED, "", "", messages=one["passed"], last=one["last"])
        for one in record["peers"]
        if one["passed"]
    ]
    return Report(
        groups={(one.peer, one.judged, one.reason, one.result_type): one for one in groups},
        days={one["day"]: _counts_of(one) for one in record["days"]},
        counts=_counts_of(record),
        waited=record["waited"],
    )


def conclusion(found: Rehearsal) -> str:
    """In a sentence: whether it can be enforced, or what it did."""
    report, failed, replay = found.report, found.words[1], found.question.replay
    match report.answer:
        case False:
            sample = report.failed()[0].sample
            start = "not ready to enforce: " if found.trial else ""
            count = f"{report.counts[Judged.FAILED]} of {report.messages} messages"
            return f"{start}{count} {_past(failed)}; see one with: gatepost trace show {sample}"
        case True:
            rest = report.counts[Judged.UNKNOWN]
            but = f", but {rest} could not be judged" if rest else ""
            start = "ready to enforce: " if found.trial else ""
            return f"{start}none of {report.messages} messages {_past(failed)}{but}"
        case None if report.messages:
            hint = "" if replay or found.question.rule or not found.formed else "; to decide them again would tell"
            return f"cannot tell: none of the messages could be judged{hint}"
        case None:
            hint = "" if replay or found.enabled else "; it is disabled: to decide past mail again would tell"
            return f"cannot tell: no mail met it in this time{hint}"


def _past(failed: str) -> str:
    return failed.replace("would be", "would have been") if failed.startswith("would") else f"were {failed}"


def _subject(seen: Resources, question: Question) -> Part:
    if not question.rule:
        return choose_connector(seen, question.name, question.organization, question.direction).part
    if question.replay or question.direction == "inbound":
        text = "what a rule did is told of outbound mail that went, not of inbound mail, nor of mail decided again"
        raise Refusal(Kind.INPUT, text)
    return choose_part(seen, RULE, question.name, question.organization)


def _formed(gateway: Gateway, part: Part) -> int:
    """The version that made what is in rehearsal what it is, as far back as is looked; 0 if that does not matter."""
    if part.record.mode is not Mode.REHEARSE:
        return 0  # what it did is told, in whatever form it did it
    with gateway.config() as store:
        for limit in _CHANGES:
            found = store.history("organization", part.organization.name, limit)
            for one in found:
                if _form(one.before, part) != _form(one.after, part):
                    return one.version
            if len(found) < limit:
                break
    return 0


def _form(table: dict[str, Any] | None, part: Part) -> dict[str, Any] | None:
    """What is stored of it, less what changes nothing about whom it holds for and what it asks."""
    for one in (table or {}).get(part.kind.key, ()):
        if one.get("name") == part.name:
            return {key: value for key, value in one.items() if key not in {"mode", "comment"}}
    return None


class _Run:
    """One reading of the trace. unreadable: files of it that could not be read."""

    def __init__(self, gateway: Gateway, directory: Directory, since: float) -> None:
        self._trace = gateway.data / "trace"
        self._profile = gateway.settings.tls.profile
        self._directory = directory
        self.until = time.time()
        self._wanted = TraceFilter(since=since, until=self.until)
        self.unreadable: list[str] = []

    def counted(self, part: Part, formed: int, *, inbound: bool) -> Report:
        """What the trace says that it did or would have done. formed: as in `Subject`."""
        owner = part.organization.name

        def ours(organization: str, recipient: str) -> bool:
            if organization == owner:
                return True
            found = self._directory.organization_of(recipient.rpartition("@")[2].lower())
            return found is not None and found.name == owner

        subject = Subject(owner, part.name, part.kind is RULE, ours, formed)
        among = Among(holding=subject.mark) if subject.rule else Among(part.name, tried=inbound)
        rows = self._scan(reports.COLUMNS, INBOUND if inbound else OUTBOUND, among)
        return reports.inbound_report(rows, subject) if inbound else reports.outbound_report(rows, subject)

    def replayed(self, part: Part, *, inbound: bool) -> Report:
        """What the connector would have done to all mail, were it enforced."""
        owner = part.organization.name
        directory = enforced(self._directory, owner, part.record)
        rows = RowReplay([Replay(directory, self._profile, self._directory)])
        events = INBOUND if inbound else OUTBOUND
        width = len(reports.COLUMNS)

        def decided() -> Iterator[tuple[TraceRow, Decision]]:
            for row in self._scan((*reports.COLUMNS, *COLUMNS), events, None if inbound else _concerned(part)):
                yield row[:width], rows.decide(row[width:])[0]

        return reports.replayed_report(decided(), owner, part.name)

    def _scan(self, columns: tuple[str, ...], events: tuple[str, ...], among: Among | None) -> Iterator[TraceRow]:
        return scan_trace(self._trace, self._wanted, columns, events=events, unreadable=self.unreadable, among=among)


def _concerned(part: Part) -> Among | None:
    """The mail that an outbound connector can have a say in; None for any, or if its domains are many."""
    patterns = set(outbound_domains(part.record, [part.organization]))
    narrow = 0 < len(patterns) <= _DOMAINS and not any(one.startswith("*") for one in patterns)
    return Among(recipients=tuple(sorted(patterns))) if narrow else None


def _counts(found: dict[Judged, int]) -> dict[str, int]:
    return {"passed": found[Judged.PASSED], "failed": found[Judged.FAILED], "unknown": found[Judged.UNKNOWN]}


def _counts_of(record: Mapping[str, Any]) -> dict[Judged, int]:
    return {Judged.PASSED: record["passed"], Judged.FAILED: record["failed"], Judged.UNKNOWN: record["unknown"]}


def _group_record(group: reports.Group) -> dict[str, Any]:
    return {
        "peer": group.peer,
        "host": group.host,
        "judged": str(group.judged),
        "reason": group.reason,
        "result_type": group.result_type,
        "messages": group.messages,
        "first": group.first,
        "last": group.last,
        "sample": group.sample,
        "why": group.why,
    }
