"""Rehearse a connector or a mail flow rule: its effect on real mail, or if it were enforced, from the trace.

Reads the trace of the whole time.
"""

from __future__ import annotations

import dataclasses
import time
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

from gatepost.analysis.rehearsal import rehearsal as reports
from gatepost.analysis.rehearsal.recorded import INBOUND, OUTBOUND, Decision
from gatepost.analysis.rehearsal.rehearsal import Judged, Report, Subject
from gatepost.analysis.rehearsal.replay import COLUMNS, Replay, RowReplay, enforced
from gatepost.analysis.rehearsal.touched import outbound_domains
from gatepost.manage.access.principal import Principal, Scope
from gatepost.manage.use_cases.declaration import Cli, Visibility, use_case
from gatepost.manage.use_cases.name_lookup import RULE, Part, choose_connector, choose_part, visible
from gatepost.manage.use_cases.refusal import Refusal, RefusalKind
from gatepost.manage.use_cases.stored_message import hidden_from
from gatepost.manage.use_cases.times import TimeText, read_time
from gatepost.policy.connectors.values import Mode
from gatepost.quantity import quantity
from gatepost.store.interface import TraceFilter
from gatepost.store.trace import Among, TraceRow
from gatepost.texts import N_, own
from gatepost.values import copy_fields

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gatepost.manage.use_cases.context import Context, Gateway
    from gatepost.policy.connectors.directory import Directory
    from gatepost.policy.connectors.resources import Resources


_ORGANIZATION, _RECIPIENT = (reports.COLUMNS.index(name) for name in ("organization", "recipient"))
_DOMAINS = 8  # of a connector, each looked up apart
_CHANGES = (10, 100, 1000)  # of the organization, looked at in these steps


class RehearsalQuestion(msgspec.Struct, kw_only=True):
    """The connector or rule to rehearse."""

    name: Annotated[str, Meta(max_length=1000)]
    organization: Annotated[str, Meta(max_length=1000, description="Where several have one of that name.")] = ""
    direction: Annotated[Literal["", "inbound", "outbound"], Meta(description="Where both have it.")] = ""
    rule: Annotated[
        bool, Meta(description="The name is that of a mail flow rule."), Cli(help="NAME is a mail flow rule.")
    ] = False
    since: Annotated[TimeText, Cli(metavar="TIME", help="Since this time: 2h, 7d or a date. Default: 30d.")] = "30d"
    replay: Annotated[
        bool,
        Meta(description="Decide all mail of that time again, as if the connector had been enforced."),
        Cli(
            help="Decide all mail of that time again, as if the connector had been enforced; it need not have been "
            "enabled."
        ),
    ] = False


class RehearsalGroup(msgspec.Struct, frozen=True):
    """Messages that have the peer and the reason in common. judged: failed, or not judged. sample: for the trace."""

    peer: str
    host: str
    judged: str
    reason: str
    result_type: str
    messages: int
    first: float
    last: float
    sample: str
    why: str


class RehearsalPeer(msgspec.Struct, frozen=True):
    """Messages of a peer that passed and failed."""

    peer: str
    passed: int
    failed: int
    unknown: int
    last: float


class RehearsalDay(msgspec.Struct, frozen=True):
    """The same of a UTC day, "2026-11-24"."""

    day: str
    passed: int
    failed: int
    unknown: int


_LOST: Final = {
    "would be refused": "{failed} of {messages} would have been refused",
    "would be held back": "{failed} of {messages} would have been held back",
    "refused": "{failed} of {messages} were refused",
    "held back": "{failed} of {messages} were held back",
}
_LOST_ONE: Final = _LOST | {
    "refused": "{failed} of {messages} was refused",
    "held back": "{failed} of {messages} was held back",
}
_KEPT: Final = {
    "would be refused": "none of {messages} would have been refused",
    "would be held back": "none of {messages} would have been held back",
    "refused": "none of {messages} were refused",
    "held back": "none of {messages} were held back",
}
_KEPT_ONE: Final = {
    "would be refused": "the one message would not have been refused",
    "would be held back": "the one message would not have been held back",
    "refused": "the one message was not refused",
    "held back": "the one message was not held back",
}
"""What became of messages, by the word of `RehearsalReport.words` for those that failed."""


class RehearsalReport(msgspec.Struct, frozen=True):
    """Effect on real mail, real or rehearsed. Times: seconds since 1970.

    answer: whether nothing was or would have been refused or held; null if there was nothing to judge by. formed: the
    version that made it what it is. waited: sent in the end, but held before. unreadable: files of the trace that are
    not counted.
    """

    name: str
    label: str
    direction: str
    mode: str
    enabled: bool
    since: float
    until: float
    replay: bool
    unreadable: list[str]
    rule: bool
    formed: int
    answer: bool | None
    messages: int
    passed: int
    failed: int
    unknown: int
    waited: int
    groups: list[RehearsalGroup]
    peers: list[RehearsalPeer]
    days: list[RehearsalDay]

    @property
    def is_trial(self) -> bool:
        """Whether it is about what would have been, not what was."""
        return self.replay or self.mode == Mode.REHEARSE

    @property
    def words(self) -> tuple[str, str]:
        """Words for messages that passed and for those that failed."""
        inbound = self.direction == "inbound"
        if self.is_trial:
            return ("would pass", "would be refused") if inbound else ("would be sent", "would be held back")
        return ("accepted", "refused") if inbound else (N_("sent"), "held back")

    @property
    def failed_groups(self) -> list[RehearsalGroup]:
        """Those of messages that failed."""
        return [group for group in self.groups if group.judged == Judged.FAILED]

    @property
    def unknown_groups(self) -> list[RehearsalGroup]:
        """Those of messages that were not judged."""
        return [group for group in self.groups if group.judged == Judged.UNKNOWN]

    @property
    def conclusion(self) -> str:
        """In a sentence: whether it can be enforced, or what it did, and by which command to see an example."""
        if self.answer is not False:
            return self.summary
        return f"{own(self.summary)}; see one with: gatepost trace show {self.failed_groups[0].sample}"

    @property
    def _lost(self) -> str:
        texts = _LOST_ONE if self.failed == 1 else _LOST
        messages = quantity(self.messages, "message")
        return texts[self.words[1]].format(failed=f"{self.failed:,}", messages=messages)

    @property
    def summary(self) -> str:
        """The same without the command."""
        failed = self.words[1]
        match self.answer:
            case False:
                return f"not ready to enforce: {own(self._lost)}" if self.is_trial else self._lost
            case True:
                kept = (_KEPT_ONE if self.messages == 1 else _KEPT)[failed]
                kept = kept.format(messages=quantity(self.messages, "message"))
                some = f"{own(kept)}, but {self.unknown:,} could not be evaluated" if self.unknown else kept
                return f"ready to enforce: {own(some)}" if self.is_trial else some
            case None if self.messages:
                hint = "" if self.replay or self.rule or not self.formed else "; re-evaluate them to get a result"
                return f"inconclusive: none of the messages could be evaluated{hint}"
            case None:
                hint = "" if self.replay or self.enabled else "; it is disabled: re-evaluate past mail to get a result"
                return f"inconclusive: no matching mail in this time{hint}"


@use_case("GET /rehearsal", scope=Scope.READ, visibility=Visibility.SEEN, tag="connectors", may_404=True)
def show_rehearsal(context: Context, request: RehearsalQuestion) -> RehearsalReport:
    """Report the effect of a connector or mail flow rule on real mail, or its effect if it were enforced.

    Reads the whole trace of that time, which takes some seconds for a million rows.
    """
    gateway, directory, since = context.gateway, context.directory(), read_time("since", request.since)
    part = _subject(visible(directory.resources, context.principal), request)
    inbound = part.kind.key == "inbound_connector"
    formed = _formed(gateway, part)
    run = _Run(gateway, directory, since, context.principal)
    report = run.replayed(part, inbound=inbound) if request.replay else run.counted(part, formed, inbound=inbound)
    return copy_fields(
        RehearsalReport,
        part,
        run,
        report,
        request,
        direction="inbound" if inbound else "outbound",
        mode=str(part.record.mode),
        enabled=part.record.enabled,
        since=since,
        formed=formed,
        **_counts(report.counts),
        groups=[_group(group) for group in (*report.failed(), *report.unknown())],
        peers=[RehearsalPeer(peer, **_counts(counts), last=last) for peer, counts, last in report.peers()],
        days=[RehearsalDay(day, **_counts(counts)) for day, counts in sorted(report.days.items())],
    )


def _subject(seen: Resources, question: RehearsalQuestion) -> Part:
    if not question.rule:
        return choose_connector(seen, question.name, question.organization, question.direction or None).part
    if question.replay or question.direction == "inbound":
        text = "reports of rules cover outbound mail that was sent; inbound mail and re-evaluation are not possible"
        raise Refusal(RefusalKind.INPUT, text)
    return choose_part(seen, RULE, question.name, question.organization)


def _formed(gateway: Gateway, part: Part) -> int:
    """The version that made what is in rehearsal what it is, as far back as is looked; 0 if that does not matter."""
    if part.record.mode is not Mode.REHEARSE:
        return 0  # what it did is told, in whatever form it did it
    with gateway.config() as store:
        for limit in _CHANGES:
            changes = store.history("organization", part.organization.name, limit)
            for change in changes:
                if _form(change.before, part) != _form(change.after, part):
                    return change.version
            if len(changes) < limit:
                break
    return 0


def _form(table: dict[str, Any] | None, part: Part) -> dict[str, Any] | None:
    """Its stored fields that decide which mail it applies to and what it requires."""
    for entry in (table or {}).get(part.kind.key, ()):
        if entry.get("name") == part.name:
            return {key: value for key, value in entry.items() if key not in {"mode", "comment"}}
    return None


class _Run:
    """One reading of the trace. unreadable: files of it that could not be read."""

    def __init__(self, gateway: Gateway, directory: Directory, since: float, principal: Principal) -> None:
        self._trace = gateway.storage.trace()
        self._profile = gateway.settings.tls.profile
        self._directory = directory
        self._principal = principal
        self._hidden = hidden_from(gateway, principal).names
        self.until = time.time()
        self._wanted = TraceFilter(since=since, until=self.until)
        self.unreadable: list[str] = []

    def counted(self, part: Part, formed: int, *, inbound: bool) -> Report:
        """Count its effect in the trace. formed: as in `Subject`."""
        owner = part.organization.name
        is_enforced = part.record.mode is not Mode.REHEARSE
        ours = partial(self._is_ours, owner)
        subject = Subject(owner, part.name, part.kind is RULE, ours, formed, self._hidden, is_enforced)
        among = Among(holding=subject.mark) if subject.rule else Among(part.name, tried=inbound)
        rows = self._scan(reports.COLUMNS, INBOUND if inbound else OUTBOUND, among)
        return reports.inbound_report(rows, subject) if inbound else reports.outbound_report(rows, subject)

    def replayed(self, part: Part, *, inbound: bool) -> Report:
        """Replay all mail as if the connector were enforced.

        Of mail that came, what the trace shows to who asks, and what is for domains of the connector's owner: else a
        connector that names the address of any server would tell whom that server writes to.
        """
        owner = part.organization.name
        directory = enforced(self._directory, owner, part.record)
        rows = RowReplay([Replay(directory, self._profile, self._directory)])
        events = INBOUND if inbound else OUTBOUND
        width = len(reports.COLUMNS)

        def is_shown(row: TraceRow) -> bool:
            organization, recipient = row[_ORGANIZATION], row[_RECIPIENT]
            return self._principal.sees(organization) or self._is_ours(owner, organization, recipient)

        def decided() -> Iterator[tuple[TraceRow, Decision]]:
            for row in self._scan((*reports.COLUMNS, *COLUMNS), events, None if inbound else _concerned(part)):
                if not inbound or is_shown(row):
                    yield row[:width], rows.decide(row[width:])[0]

        return reports.replayed_report(decided(), owner, part.name, self._hidden)

    def _is_ours(self, owner: str, organization: str, recipient: str) -> bool:
        """Whether mail is the connector's owner's, or for one of its domains. organization: of the row."""
        if organization == owner:
            return True
        accepting = self._directory.organization_of(recipient.rpartition("@")[2].lower())
        return accepting is not None and accepting.name == owner

    def _scan(self, columns: tuple[str, ...], events: tuple[str, ...], among: Among | None) -> Iterator[TraceRow]:
        return self._trace.scan(self._wanted, columns, events=events, unreadable=self.unreadable, among=among)


def _concerned(part: Part) -> Among | None:
    """The mail that an outbound connector can have a say in; None for any, or if its domains are many."""
    patterns = set(outbound_domains(part.record, [part.organization]))
    narrow = 0 < len(patterns) <= _DOMAINS and not any(pattern.startswith("*") for pattern in patterns)
    return Among(recipients=tuple(sorted(patterns))) if narrow else None


def _counts(found: dict[Judged, int]) -> dict[str, int]:
    return {"passed": found[Judged.PASSED], "failed": found[Judged.FAILED], "unknown": found[Judged.UNKNOWN]}


def _group(group: reports.Group) -> RehearsalGroup:
    return RehearsalGroup(**{**dataclasses.asdict(group), "judged": str(group.judged)})
