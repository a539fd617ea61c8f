"""Report what a connector or a mail flow rule did to real mail, or would have done, from the message trace.

Called by `gatepost connector rehearsal`. Messages are counted, not attempts: one that waited and was tried twenty times
is one. No I/O: rows of `store.trace.Trace.scan`, newest first, are taken one at a time, and what is kept
of them is bounded but for the ids of the connector's own messages.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from itertools import groupby
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from gatepost.analysis.rehearsal.recorded import Decision, Effect
from gatepost.decoding import json_decoder
from gatepost.policy.decisions.requirement import Source
from gatepost.times import day_text
from gatepost.values import replace

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator

    from gatepost.store.trace import TraceRow


class _Row(NamedTuple):
    """The columns of `COLUMNS`."""

    at: float
    event: str
    message: str
    session: str
    organization: str
    recipient: str
    peer_host: str
    peer_address: str
    connector: str
    reply: str
    result_type: str
    detail: str


COLUMNS = _Row._fields
"""The columns that the reports read of a row, in this order."""

_GROUPS = 10_000  # peers with a reason each; what comes on top is counted together
_OTHERS = "(others)"

CONNECTOR_CODES = frozenset({"5.7.0", "5.7.10", "5.7.51", "4.7.5", "4.3.5"})
"""Refusals that a connector is the cause of (exchange.md section 6), by their enhanced status code."""


class Judged(StrEnum):
    """The judgement of one message. UNKNOWN: it was not judged, or the trace does not suffice to judge it."""

    PASSED = "passed"
    FAILED = "failed"
    UNKNOWN = "not judged"


_WEIGHTS = {Judged.UNKNOWN: 0, Judged.PASSED: 1, Judged.FAILED: 2}


class Subject(NamedTuple):
    """The connector or rule that the report is about.

    owner: its organization. rule: a mail flow rule, else a connector. ours: whether the owner is a row's organization,
    or the one that accepts its recipient. formed: the configuration since which it has its present form; decisions by
    an earlier one tell nothing about it. 0 if that makes no difference. hidden: organizations that the reader must not
    see: what their mail demands is not told. enforced: by now, so that what it did counts: while it was in
    rehearsal it refused nothing.
    """

    owner: str
    name: str
    rule: bool
    ours: Callable[[str, str], bool]
    formed: int = 0
    hidden: Collection[str] = ()
    enforced: bool = False

    def source(self, organization: str) -> str:
        """As `policy.decisions.requirement.Source` prints it in rows of an organization."""
        owner = "" if organization == self.owner else self.owner
        return str(Source("rule" if self.rule else "connector", self.name, owner))

    @property
    def mark(self) -> str:
        """The JSON beginning of the text that names the source in a row's `detail`."""
        return _quoted(self.source(self.owner)).removesuffix('"')

    @property
    def label(self) -> str:
        """As `policy.connectors.match` names it among those that were passed over."""
        return f"connector {self.name!r} of {self.owner}"


@dataclass(frozen=True, slots=True)
class Seen:
    """One message. peer: who is told apart by it. sample: for `gatepost trace show`. reason: short, why: a sentence."""

    at: float
    judged: Judged
    peer: str
    host: str
    sample: str
    reason: str = ""
    result_type: str = ""
    why: str = ""


def _weight(seen: Seen) -> int:
    """Of the recipients of one message the worst is told."""
    return _WEIGHTS[seen.judged]


@dataclass(slots=True)
class Group:
    """Messages that have the peer and the reason in common; reason is "" for those that passed."""

    peer: str
    host: str
    judged: Judged
    reason: str
    result_type: str
    messages: int = 0
    first: float = 0.0
    last: float = 0.0
    sample: str = ""
    why: str = ""

    def add(self, seen: Seen) -> None:
        """Count one; the latest is the sample."""
        self.messages += 1
        self.first = min(self.first or seen.at, seen.at)
        if seen.at >= self.last:
            self.last, self.sample, self.why, self.host = seen.at, seen.sample, seen.why, seen.host


@dataclass(slots=True)
class Report:
    """All messages of the time span. waited: sent in the end, but held before. days: a count of each Judged by day."""

    groups: dict[tuple[str, Judged, str, str], Group] = field(default_factory=dict)
    days: dict[str, dict[Judged, int]] = field(default_factory=dict)
    counts: dict[Judged, int] = field(default_factory=lambda: dict.fromkeys(Judged, 0))
    waited: int = 0

    @property
    def messages(self) -> int:
        """The number of messages."""
        return sum(self.counts.values())

    @property
    def answer(self) -> bool | None:
        """Whether nothing would have been refused or held; None if there was nothing to judge by."""
        if self.counts[Judged.FAILED]:
            return False
        return True if self.counts[Judged.PASSED] else None

    def add(self, seen: Seen) -> None:
        """Count one message."""
        self.counts[seen.judged] += 1
        day = self.days.setdefault(day_text(seen.at), dict.fromkeys(Judged, 0))
        day[seen.judged] += 1
        key = seen.peer, seen.judged, seen.reason, seen.result_type
        if key not in self.groups and len(self.groups) >= _GROUPS:
            key = _OTHERS, seen.judged, "", ""
        group = self.groups.get(key)
        if group is None:
            group = self.groups[key] = Group(key[0], seen.host, seen.judged, key[2], key[3])
        group.add(seen)

    def failed(self) -> list[Group]:
        """Groups that would have been refused or held, most messages first."""
        return self._sorted(Judged.FAILED)

    def unknown(self) -> list[Group]:
        """Groups that were not judged."""
        return self._sorted(Judged.UNKNOWN)

    def _sorted(self, judged: Judged) -> list[Group]:
        groups = [group for group in self.groups.values() if group.judged is judged]
        return sorted(groups, key=lambda group: (-group.messages, group.peer, group.reason))

    def peers(self) -> list[tuple[str, dict[Judged, int], float]]:
        """Each peer with its counts and when it was seen last, those that fail first."""
        found: dict[str, tuple[dict[Judged, int], float]] = {}
        for group in self.groups.values():
            counts, last = found.get(group.peer, (dict.fromkeys(Judged, 0), 0.0))
            counts[group.judged] += group.messages
            found[group.peer] = counts, max(last, group.last)
        rows = [(peer, counts, last) for peer, (counts, last) in found.items()]
        return sorted(rows, key=lambda row: (-row[1][Judged.FAILED], -sum(row[1].values()), row[0]))


class _Rehearsal(msgspec.Struct):
    passed: bool = True
    sources: list[str] = []
    message: str = ""
    result_type: str = ""
    detail: str = ""


class _Detail(msgspec.Struct):
    """The keys of `detail` that the reports read. configuration: 0 in rows without it."""

    configuration: int = 0
    would_refuse: str = ""
    would_refuse_connector: str = ""
    would_refuse_organization: str = ""
    recipient_organization: str = ""
    refused_by_connector: str = ""
    reasons: list[str] = []
    requirement_sources: list[str] = []
    passed_over: list[dict[str, str]] = []
    rehearsal: _Rehearsal | None = None
    connector_organization: str = ""
    detail: str = ""


_decode = json_decoder(_Detail)


# ------------------------------------------------------------------------------------------------ inbound


def inbound_report(rows: Iterable[TraceRow], subject: Subject) -> Report:
    """From RECEIVE and REFUSE rows: what an inbound connector saw, and what it refused or would have refused.

    A message that was received counts once, whoever it is for; a refused one has no id, so each refused recipient
    counts.
    """
    report = Report()
    matches = (
        row for row in map(_Row._make, rows) if _met(row, subject) and subject.ours(row.organization, row.recipient)
    )
    for _, group in groupby(matches, key=_message_of):
        seen = [session for row in group if (session := _session(row, subject)) is not None]
        if seen:
            report.add(max(seen, key=_weight))
    return report


def _met(row: _Row, subject: Subject) -> bool:
    """Whether the connector applied, or would have: in rehearsal it stands back behind one that is enforced."""
    if _applied(row, subject):
        return True
    if (
        _WOULD_REFUSE in row.detail
        and _quoted(subject.name) in row.detail
        and _tried(_decode(row.detail), row, subject)
    ):
        return True
    if _STOOD_BACK not in row.detail or _quoted(subject.label) not in row.detail:
        return False
    return any(
        candidate.get("connector") == subject.label and candidate.get("why", "").startswith(_STOOD_BACK)
        for candidate in _decode(row.detail).passed_over
    )


def _applied(row: _Row, subject: Subject) -> bool:
    """Whether it is this connector: another organization's may have the same name, and a row has both."""
    if _REFUSED_BY in row.detail:
        kept = _decode(row.detail)
        if (kept.recipient_organization, kept.refused_by_connector) == (subject.owner, subject.name):
            return True
    if row.connector != subject.name:
        return False
    owner = _decode(row.detail).recipient_organization if _OF_RECIPIENT in row.detail else row.organization
    return owner == subject.owner


def _tried(kept: _Detail, row: _Row, subject: Subject) -> bool:
    """Whether it is this connector that would have refused; nobody's where an old row does not say whose it is."""
    owner = kept.would_refuse_organization or ("" if kept.recipient_organization else row.organization)
    return (owner, kept.would_refuse_connector) == (subject.owner, subject.name)


def _is_refused_by_others(row: _Row, subject: Subject) -> bool:
    """Whether the rules of the recipient's organization refused, which is not the connector's: those are its own."""
    return _RECIPIENT in row.detail and _decode(row.detail).recipient_organization not in {"", subject.owner}


_WOULD_REFUSE = "would_refuse_connector"
_REFUSED_BY = '"refused_by_connector":'
_OF_RECIPIENT = '"connector_of_recipient":'
_RECIPIENT = '"recipient_organization":'
_STOOD_BACK = "would go first"  # as `policy.connectors.match.match_partner` says of one in rehearsal


def _message_of(row: _Row) -> object:
    return row.message or object()  # nothing is equal to it: each refusal is one of its own


def _session(row: _Row, subject: Subject) -> Seen | None:
    reply, reasons = "", list[str]()
    is_its_own = _applied(row, subject) and by_connector(row.reply) and not _is_refused_by_others(row, subject)
    if row.event == "REFUSE" and not is_its_own:
        return None  # it would have been refused without the connector as well
    if subject.formed and (before := _before(_decode(row.detail), subject)):
        host = row.peer_address, row.peer_host
        return Seen(row.at, Judged.UNKNOWN, *host, row.message or row.session, _EARLIER, why=before)
    if row.event == "REFUSE":
        reply, reasons = row.reply, _decode(row.detail).reasons[-1:]
    elif _WOULD_REFUSE in row.detail and not subject.enforced:
        kept = _decode(row.detail)
        if _tried(kept, row, subject):
            reply = kept.would_refuse
            reasons = [reason for reason in kept.reasons if reason.startswith("would_refuse: ")][:1]
    judged = Judged.FAILED if reply else Judged.PASSED
    sample = row.message or row.session
    why = _why(reasons[0], reply) if reasons else reply
    return Seen(row.at, judged, row.peer_address, row.peer_host, sample, _code(reply), why=why)


_EARLIER = "decided before"


def _before(kept: _Detail, subject: Subject) -> str:
    """The sentence that a row was decided by an earlier form of it, "" if it was not."""
    if not 0 < kept.configuration < subject.formed:
        return ""
    return (
        f"decided by configuration version {kept.configuration}, before the {'rule' if subject.rule else 'connector'} "
        f"was changed to its present form by version {subject.formed}"
    )


def by_connector(reply: str) -> bool:
    """Whether a refusal is one of those that a connector is the cause of."""
    return reply.partition(" ")[2].partition(" ")[0] in CONNECTOR_CODES


def _code(reply: str) -> str:
    return " ".join(reply.split(" ", 2)[:2])


def _why(reason: str, reply: str) -> str:
    """The reason of `policy.decisions.inbound` without what frames it."""
    return reason.removeprefix(f"would_refuse: {reply}: ").removesuffix(
        "; not applied, as the connector is in rehearsal"
    )


def _quoted(name: str) -> str:
    return msgspec.json.encode(name).decode()


# ------------------------------------------------------------------------------------------------ outbound


def outbound_report(rows: Iterable[TraceRow], subject: Subject) -> Report:
    """From rows of attempts, newest first: what was sent, what was held, or would have been.

    The last attempt that was judged counts for its message, and of the recipients of one attempt the worst.
    """
    return _counted(_attempts(rows, subject))


def _counted(attempts: Iterable[tuple[Seen, str]]) -> Report:
    """Attempts newest first, each with its message's id; "" is a message of its own."""
    report = Report()
    done: dict[str, Judged] = {}
    waited: set[str] = set()
    pending: dict[str, Seen] = {}
    for seen, message in attempts:
        if (known := done.get(message)) is not None:
            if known is Judged.PASSED and seen.judged is Judged.FAILED:
                waited.add(message)
        elif message and seen.judged is Judged.UNKNOWN:
            pending.setdefault(message, seen)
        else:
            if message:
                done[message] = seen.judged
            report.add(seen)
    for message, seen in pending.items():
        if message not in done:
            report.add(seen)
    report.waited = len(waited)
    return report


def _attempts(rows: Iterable[TraceRow], subject: Subject) -> Iterator[tuple[Seen, str]]:
    matches = (row for row in map(_Row._make, rows) if _concerns(row, subject))
    for (message, _), group in groupby(matches, key=lambda row: (row.message, row.at)):
        yield max((_withheld(_hop(row, subject), row, subject.hidden) for row in group), key=_weight), message


def _concerns(row: _Row, subject: Subject) -> bool:
    if not subject.ours(row.organization, row.recipient):
        return False
    if subject.rule:
        return _quoted(subject.source(row.organization)) in row.detail
    if row.connector != subject.name:
        return False
    other = _decode(row.detail).connector_organization if _FOREIGN in row.detail else ""
    return (other or row.organization) == subject.owner


_FOREIGN = "connector_organization"


def _hop(row: _Row, subject: Subject) -> Seen:
    kept = _decode(row.detail)
    trial = kept.rehearsal
    peer = row.peer_host or row.recipient.rpartition("@")[2].lower()

    def seen(judged: Judged, reason: str = "", result_type: str = "", why: str = "") -> Seen:
        return Seen(row.at, judged, peer, row.peer_address, row.message, reason, result_type, why)

    if before := _before(kept, subject):
        return seen(Judged.UNKNOWN, _EARLIER, why=before)
    source = subject.source(row.organization)
    if trial is not None and source in trial.sources:
        if trial.passed or (subject.enforced and row.event == "SEND"):
            return seen(Judged.PASSED)
        if not subject.enforced:
            return seen(Judged.FAILED, trial.message, trial.result_type, trial.detail)
    elif source in kept.requirement_sources:
        if row.result_type:
            return seen(Judged.FAILED, _word(row.reply, kept.detail), row.result_type, kept.detail)
        if row.event == "SEND":
            return seen(Judged.PASSED)
    return seen(Judged.UNKNOWN, _code(row.reply), row.result_type, kept.detail)


def _withheld(seen: Seen, row: _Row, hidden: Collection[str]) -> Seen:
    """The same without the sentence that says by whose demand, if that is another organization's mail."""
    return replace(seen, why=_OTHERS_MAIL) if row.organization in hidden and seen.why else seen


_OTHERS_MAIL = "mail of another organization of this gateway, whose demands apply, too, and are not shown"


def _word(reply: str, detail: str) -> str:
    """Exchange's word out of a deferral: "UntrustedRoot" of "… [Message=UntrustedRoot Expected …] …"."""
    text = reply.partition("[Message=")[2]
    return text.partition(f" {detail[:20]}")[0] if detail and f" {detail[:20]}" in text else text.partition("]")[0]


# ------------------------------------------------------------------------------------------------ replay


def replayed_report(
    decided: Iterable[tuple[TraceRow, Decision]], owner: str, name: str, hidden: Collection[str] = ()
) -> Report:
    """From rows of any connector, each with the decision of a configuration in which this connector is enforced.

    Rows come newest first. They count as in the other reports. hidden: as in `Subject`.
    """
    return _counted(_attempts_again(decided, owner, name, hidden))


def _attempts_again(
    decided: Iterable[tuple[TraceRow, Decision]], owner: str, name: str, hidden: Collection[str]
) -> Iterator[tuple[Seen, str]]:
    rows = ((_Row._make(row), decision) for row, decision in decided)
    judged = ((row, seen) for row, decision in rows if (seen := _again(row, decision, owner, name)) is not None)
    pairs = ((row, _withheld(seen, row, hidden)) for row, seen in judged)
    for _, group in groupby(pairs, key=lambda pair: (_message_of(pair[0]), pair[0].at)):
        together = list(group)
        yield max((seen for _, seen in together), key=_weight), together[0][0].message


def _again(row: _Row, decision: Decision, owner: str, name: str) -> Seen | None:
    """The effect that the connector would have had, None if it has no part in the message."""
    inbound = row.event in {"RECEIVE", "REFUSE"}
    peer, host = row.peer_address, row.peer_host
    if not inbound:
        peer, host = row.peer_host or row.recipient.rpartition("@")[2].lower(), row.peer_address
    sample = row.message or row.session
    if decision.outcome is Effect.UNKNOWN:
        concerned = (owner, name) in decision.ways
        return Seen(row.at, Judged.UNKNOWN, peer, host, sample, why=decision.why) if concerned else None
    if (decision.owner, decision.connector) != (owner, name):
        return None
    if decision.outcome in {Effect.ACCEPTED, Effect.DELIVERED}:
        return Seen(row.at, Judged.PASSED, peer, host, sample)
    if inbound and (not by_connector(decision.reply) or decision.refused_by not in {"", owner}):
        return None
    reason = _code(decision.reply) if inbound else decision.reply
    return Seen(row.at, Judged.FAILED, peer, host, sample, reason, decision.result_type, decision.why)
