"""The message trace, in any engine: what is written to it and asked of it. Made by `Storage.trace`.

Rows are `mail.model.trace_event.TraceEvent`. A writer is a process of a node; "admin" is what commands and the admin
centre write as. Everything but `TraceSink.add` blocks: call it on a thread from an event loop.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

import msgspec

from gatepost.decoding import from_json
from gatepost.events.delivery_problems import EVIDENCE_LOG, MESSAGE_TRACE
from gatepost.mail.model.trace_event import TraceEvent
from gatepost.store.interface import EventSink, StoreFailure, TraceFilter
from gatepost.store.storable import storable, storable_json

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Collection, Iterator, Mapping, Sequence


_log = logging.getLogger(__name__)

ADMIN_WRITER: Final = "admin"
"""The writer of rows that no worker writes; several processes may be it at once."""

COLUMNS: Final = tuple(field.name for field in msgspec.structs.fields(TraceEvent))
"""The names of a row's columns."""

TEXT_COLUMNS: Final = ("sender", "recipient", "subject", "message_id")
"""Columns in which parts of words are found."""

PATIENCE: Final = 0.09
"""Seconds after which a page of a search for patterns ends at the next day, whatever it has found until then.

With that day, which takes 4 to 6 ms of a million rows in 30 days, it is less than the 0.1 s that a page may take.
"""

HOUR: Final = 3600
"""Seconds of an hour."""

_TLS, _DETAIL = COLUMNS.index("tls"), COLUMNS.index("detail")
_encode = msgspec.json.Encoder(enc_hook=str).encode

type TraceRow = tuple[Any, ...]
"""Columns of a row as they are stored, in the requested order: `tls` and `detail` are JSON text."""


class TracePlace(msgspec.Struct, frozen=True, array_like=True):
    """The end of a page of the trace: later rows, and those before it, are not on the next page.

    until: seconds since 1970, when the first page was read. day: of the last row. ends: of that day's writers, the
    number of the part and the row in it at which the page ends. elsewhere: rows were found by another node's ids. at:
    the time of the last row, where rows of all writers stand in one order (PostgreSQL): `ends` has its writer only.
    """

    until: float
    day: str = ""
    ends: dict[str, tuple[int, int]] = {}
    elsewhere: bool = False
    at: float = 0.0


class Among(NamedTuple):
    """Few rows of many. What is empty asks nothing.

    connector: of this one, whatever the case. tried: those of none but that tell of one in rehearsal, too,
    or of one that refused another organization's mail. recipients:
    to any of these domains. holding: whose `detail` has this text; it has no index.
    """

    connector: str = ""
    tried: bool = False
    recipients: tuple[str, ...] = ()
    holding: str = ""


class HopKind(NamedTuple):
    """The properties that rows which are counted together have in common.

    partner: the domain of the other side: the sender's of what is received or refused, the recipient's of the rest,
    lower case. sources: of the requirement, as JSON. chain: the status of the peer's chain, "" if it was not judged.
    host: the peer's name. names: the names of its certificate, as JSON. status: of a refusal, its enhanced status code.
    trial_failed_by: the connector in rehearsal that would have refused or held it. The rest as in TraceEvent.
    """

    organization: str
    direction: str
    event: str
    connector: str
    partner: str
    requirement: str
    sources: str
    achieved: str
    tls_version: str
    tls_group: str
    suite: str
    chain: str
    host: str
    names: str
    result_type: str
    status: str = ""
    trial_failed_by: str = ""


class Flow(NamedTuple):
    """hour: its beginning, seconds since 1970. event: RECEIVE or SEND. level: none, encrypted or authenticated."""

    hour: int
    event: str
    level: str


class TracePart(Protocol):
    """Rows of one day and writer, to which others are only added, at the end. Hashable. name: for messages."""

    @property
    def day(self) -> str:
        """UTC, as "2026-11-26"."""

    @property
    def name(self) -> str:
        """For messages."""

    def __hash__(self) -> int: ...


class TraceSink(Protocol):
    """Takes the rows of one worker. dropped: rows that were lost since the start, as the disk or server was behind.

    trouble: why rows wait, "" if none do.
    """

    dropped: int
    trouble: str

    def add(self, events: Sequence[TraceEvent]) -> None:
        """Keep rows, stored within a second; for the event loop, never blocks."""

    def close(self) -> None:
        """Write what waits, and end."""


def unwritten(trace: TraceSink, evidence: EventSink | None) -> dict[str, str]:
    """Why the records of each kind wait, "" if they do not: `store.interface.Store.unwritten`."""
    return {MESSAGE_TRACE: trace.trouble, EVIDENCE_LOG: evidence.trouble if evidence is not None else ""}


class HourCounts(Protocol):
    """Counts of mail by the hour, and what is kept of them. For any thread."""

    def counted(self, since: int, until: int, organizations: Collection[str] | None) -> Counter[Flow]:
        """Count the rows of each flow.

        since: included, until: not, both the beginning of an hour (UTC), seconds since 1970. organizations: of any of
        these, None for all.
        """


class Trace(Protocol):
    """The trace of all writers. Methods raise StoreFailure, but go on where only some parts cannot be read."""

    def sink(self, worker: int) -> TraceSink:
        """A sink for a worker's rows. worker: its number on this node."""

    def write(self, writer: str, events: Sequence[TraceEvent]) -> None:
        """Write rows now, from a process that has no sink."""

    def search(self, wanted: TraceFilter) -> list[TraceEvent]:
        """The newest `wanted.limit` rows that match, newest first.

        An id of a message or session that no row has as its own is looked for among those that another node of the site
        gave: a row of a hop between nodes has them beside its own.
        """

    def page(
        self, wanted: TraceFilter, after: TracePlace | None, now: float
    ) -> tuple[list[TraceEvent], TracePlace | None]:
        """As `search`, a page at a time: the rows, and the place behind which the next ones are, None on the last.

        after: the place that the page before gave, None for the first. now: seconds since 1970. With patterns, a page
        that took long may have fewer rows, or none, and a place all the same (`PATIENCE`).
        """

    def scan(
        self,
        wanted: TraceFilter,
        columns: Sequence[str],
        *,
        events: Collection[str] = (),
        oldest_first: bool = False,
        unreadable: list[str] | None = None,
        among: Among | None = None,
    ) -> Iterator[TraceRow]:
        """Every row that matches, whatever `wanted.limit` says, newest first, without having them all in memory.

        columns: names of TraceEvent's fields, only those that are needed. events: any of these; () is all. unreadable:
        takes the names of parts that could not be read to their end. among: only these, which are looked up. Rows of
        one message that were written together stay together. Of `wanted`, patterns are for `search` and `page` alone.
        """

    def first_answered(self, questions: Sequence[TraceFilter]) -> int | None:
        """The place of the first question that any row answers, None if none does. All ask for the same time."""

    def parts(self, first: str, last: str) -> Mapping[TracePart, object]:
        """The parts of the UTC days first to last ("2026-11-24"), by day, each with what rows that are added change."""

    def tally(self, part: TracePart, after: int = 0) -> tuple[int, Counter[HopKind]]:
        """Count the rows of a part, and by kind those after the first `after`, to go on where a count stopped.

        A part with fewer rows than that is another one of that name, and is counted whole.
        """

    def hours(self) -> HourCounts:
        """Counts by the hour; what was counted is kept as long as the object is."""

    def unreadable(self) -> list[str]:
        """Parts of the trace that this process may not read at all, for messages."""

    def forget(self, before: float) -> list[str]:
        """Forget the days that ended before a time (seconds since 1970); returns the names of what was removed."""


def stored_row(event: TraceEvent) -> list[Any] | None:
    """The columns of an event as they are stored; None, and a line in the log, if it cannot be written."""
    row = list(msgspec.structs.astuple(event))
    try:
        row[_TLS] = row[_DETAIL] = ""
        _encode(row)  # fails for half of a surrogate pair, in one call for all columns
        row[_TLS] = _encode(event.tls).decode()
        row[_DETAIL] = _encode(event.detail).decode()
    except (UnicodeError, TypeError, ValueError) as error:
        _log.error("the message trace: an event of %s is left out: %s", event.message, error)
        return None
    return row


def without_subjects(events: Sequence[TraceEvent]) -> list[TraceEvent]:
    """The events as they are kept where `[trace] subjects` is false."""
    return [msgspec.structs.replace(event, subject="") for event in events]


def storable_columns(row: list[Any]) -> list[Any]:
    """The columns of a row that any engine wrote, as every engine takes them."""
    for place, value in enumerate(row):
        if type(value) is str and "\0" in value:
            row[place] = storable(value)
    for place in (_TLS, _DETAIL):
        row[place] = storable_json(row[place])
    return row


def trace_event(columns: Sequence[str], row: TraceRow) -> TraceEvent:
    """A row of `Trace.scan` as an event; columns that were not requested are empty."""
    fields = {**_NOTHING, **dict(zip(columns, row, strict=True))}
    for name in ("tls", "detail"):
        fields[name] = _properties(fields.get(name, "{}"))
    return TraceEvent(**fields)


def _properties(text: str) -> dict[str, Any]:
    """What a row has as JSON; nothing if it is none: one row is no reason to show no others."""
    try:
        return from_json(text, dict[str, Any])
    except msgspec.DecodeError:
        return {}


_NOTHING: Final[dict[str, Any]] = dict.fromkeys(
    ("event", "message", "organization", "direction", "session", "sender", "recipient"), ""
) | {"at": 0.0}


def tally_days(
    trace: Trace, first: str, last: str, unreadable: list[str] | None = None
) -> Iterator[tuple[str, Counter[HopKind]]]:
    """Days and what they have, oldest first: of every part with rows of the UTC days first to last ("2026-11-24").

    unreadable: takes the names of parts that could not be counted. Raises StoreFailure if there is no telling parts.
    """
    for part in trace.parts(first, last):
        counted = tally_part(trace, part, 0, unreadable)
        if counted is not None:
            yield part.day, counted[1]


def tally_part(
    trace: Trace, part: TracePart, after: int, unreadable: list[str] | None = None
) -> tuple[int, Counter[HopKind]] | None:
    """As `Trace.tally`; None for a part that cannot be counted, which is logged and added to `unreadable`."""
    try:
        return trace.tally(part, after)
    except StoreFailure as failure:
        _log.warning("the message trace: %s cannot be counted: %s", part.name, failure)
        if unreadable is not None:
            unreadable.append(part.name)
        return None
