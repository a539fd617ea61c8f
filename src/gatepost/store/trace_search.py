"""Reading the message trace: over the day files of all writers, newest first.

`search_trace` finds a few rows, `scan_trace` goes over all rows of a time span, however many, a few at a time. For the
command line and the admin centre, on a running gateway as on a stopped one. Blocks: call it on a thread from an event
loop. A file that cannot be read is named in the log and does not hide the others.
"""

from __future__ import annotations

import contextlib
import heapq
import logging
import re
from dataclasses import dataclass
from itertools import groupby, islice
from operator import attrgetter, itemgetter
from typing import TYPE_CHECKING, Any, NamedTuple

import apsw
import msgspec

from gatepost.store.interface import TraceEvent, TraceFilter
from gatepost.store.schema import open_for_reading
from gatepost.store.trace import COLUMNS, HANDED_OVER, PEER_IP, TLS_LEVEL, TRIED, domain_of, is_sealed, table_columns
from gatepost.store.trace_files import day_of, trace_files

if TYPE_CHECKING:
    from collections.abc import Collection, Generator, Iterator, Mapping, Sequence
    from pathlib import Path

    from gatepost.store.trace_files import TraceFile

__all__ = ["Among", "TracePlace", "TraceRow", "scan_trace", "search_trace", "trace_event", "trace_page"]

_IDS = ("message", "session")
_WITH_PORT = re.compile(r"\[(.+)\]:\d+|([^:]+):\d+", re.ASCII)
_RECIPIENT_DOMAIN = domain_of("recipient")

type TraceRow = tuple[Any, ...]
"""Columns of a row as they are stored, in the order in which they were asked for: `tls` and `detail` are JSON text."""

_log = logging.getLogger(__name__)


def search_trace(directory: Path, wanted: TraceFilter) -> list[TraceEvent]:
    """The newest `wanted.limit` rows that match, newest first.

    An id of a message or session that no row has as its own is looked for among those that another node of the site
    gave: a row of a hop between nodes has them beside its own.
    """
    found = _matching(directory, wanted, _Conditions(wanted))
    if found or not (wanted.message or wanted.session):
        return found
    return _matching(directory, wanted, _Conditions(wanted, elsewhere=True))


class TracePlace(msgspec.Struct, frozen=True, array_like=True):
    """Where a page of the trace ends: what was written later, or stood before, is not on the next.

    until: seconds since 1970, when the first page was asked for. day: of the last row. ends: of that day's writers, the
    number of the file and the row in it at which the page ends. elsewhere: rows were found by another node's ids.
    """

    until: float
    day: str = ""
    ends: dict[str, tuple[int, int]] = {}
    elsewhere: bool = False


def trace_page(
    directory: Path, wanted: TraceFilter, after: TracePlace | None, now: float
) -> tuple[list[TraceEvent], TracePlace | None]:
    """As `search_trace`, a page at a time: the rows, and the place behind which the next ones are, None on the last.

    after: the place that the page before gave, None for the first. now: seconds since 1970.
    """
    begin = after or TracePlace(now)
    narrowed = msgspec.structs.replace(wanted, until=min(wanted.until or begin.until, begin.until))
    found, place = _page(directory, narrowed, begin)
    if found or after is not None or not (wanted.message or wanted.session):
        return found, place
    return _page(directory, narrowed, msgspec.structs.replace(begin, elsewhere=True))


def _page(directory: Path, wanted: TraceFilter, begin: TracePlace) -> tuple[list[TraceEvent], TracePlace | None]:
    where = _Conditions(wanted, elsewhere=begin.elsewhere)
    found: list[TraceEvent] = []
    place, full = begin, False
    for group in _days(directory, wanted):
        day = group[0].day
        if begin.day and day > begin.day:
            continue
        ends = begin.ends if day == begin.day else {}
        reached, events = dict(ends), list[TraceEvent]()
        with contextlib.closing(_merged(group, _Reading(directory, where, COLUMNS, ends=ends))) as rows:
            for *row, (writer, number, rowid) in rows:
                if full := len(found) + len(events) == wanted.limit:
                    break
                events.append(trace_event(COLUMNS, tuple(row)))
                reached[writer] = number, rowid
        if events:
            place = msgspec.structs.replace(begin, day=day, ends=reached)
        found += sorted(events, key=lambda event: event.at, reverse=True)
        if full:
            return found, place
    return found, None


def _matching(directory: Path, wanted: TraceFilter, where: _Conditions) -> list[TraceEvent]:
    found: list[TraceEvent] = []
    for group in _days(directory, wanted):
        rows = _merged(group, _Reading(directory, where, COLUMNS))
        events = [trace_event(COLUMNS, row) for row in islice(rows, wanted.limit - len(found))]
        rows.close()
        # Rows of one writer come as they were written, which is not quite the order in which things happened.
        found += sorted(events, key=lambda event: event.at, reverse=True)
        if len(found) >= wanted.limit:
            break
    return found


def scan_trace(  # noqa: PLR0913 - what is read, which rows, and how
    directory: Path,
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
    takes the names of files that could not be read to their end. among: only these, which are looked up. Within a day
    the files of all writers are merged by time; rows of one writer come in the order in which they were written, so
    those of one message that were written together stay together.
    """
    where = _Conditions(wanted, events, among=among)
    if among is None or among.holding:
        where.indexed = []
    reading = _Reading(directory, where, columns, oldest_first=oldest_first, unreadable=unreadable)
    for group in _days(directory, wanted, oldest_first=oldest_first):
        yield from _merged(group, reading)


def trace_event(columns: Sequence[str], row: TraceRow) -> TraceEvent:
    """A row of `scan_trace` as an event; columns that were not asked for are empty."""
    return _event({**_NOTHING, **dict(zip(columns, row, strict=True))})


_NOTHING: dict[str, Any] = dict.fromkeys(
    ("event", "message", "organization", "direction", "session", "sender", "recipient"), ""
) | {"at": 0.0}


def _days(directory: Path, wanted: TraceFilter, *, oldest_first: bool = False) -> Iterator[list[TraceFile]]:
    """The files that may have rows of the time wanted, day by day, the newest day first unless it is said otherwise."""
    first = day_of(wanted.since) if wanted.since else ""
    last = day_of(wanted.until) if wanted.until else "9999"
    files = [file for file in trace_files(directory) if first <= file.day <= last]
    for _, group in groupby(files if oldest_first else files[::-1], key=attrgetter("day")):
        yield list(group)


class Among(NamedTuple):
    """Few rows of many. What is empty asks nothing.

    connector: of this one, whatever the case. tried: those of none but that tell of one in rehearsal, too. recipients:
    to any of these domains. holding: whose `detail` has this text; it has no index.
    """

    connector: str = ""
    tried: bool = False
    recipients: tuple[str, ...] = ()
    holding: str = ""

    def alternatives(self) -> list[list[_Condition]]:
        """Each way to be one of them; a row is so in one way at most."""
        ways: list[list[_Condition]] = [[]]
        if self.connector:
            ways = [[_equal("connector", self.connector)]]
            if self.tried:
                ways.append([_Condition("connector <> ?", (self.connector,)), _Condition("{0} = 1", (), TRIED)])
        if self.recipients:
            ways = [[*way, _in_domain("recipient", domain)] for way in ways for domain in self.recipients]
        if self.holding:
            ways = [[*way, _Condition("instr(detail, ?) > 0", (self.holding,))] for way in ways]
        return ways


class _Condition(NamedTuple):
    """A term of WHERE. by: what of it an index of a full file is about, as the index has it; "" for none.

    plain: the same without an index, where that is cheaper to ask of each row.
    """

    term: str
    values: tuple[str | float, ...]
    by: str = ""
    plain: str = ""


type _Where = tuple[str, list[str | float]]


class _Conditions:
    """What rows have to meet, as SQL.

    unindexed: for reading a file whole. indexed: alternatives, of which a row meets one at most; by each SQLite looks
    rows up by the most telling term and by no other: it knows nothing of how often values occur, and would as soon look
    them up by one that all rows have.

    elsewhere: ids of messages and sessions are those of another node.
    """

    def __init__(
        self,
        wanted: TraceFilter,
        events: Collection[str] = (),
        *,
        elsewhere: bool = False,
        among: Among | None = None,
    ) -> None:
        ids = list(_elsewhere(wanted) if elsewhere else _whole(wanted, _IDS))
        ways = among.alternatives() if among else [[]]
        alternatives = [
            [*_times(wanted), *ids, *way, *_texts(wanted, either, protected)]
            for either in _on_either_side(wanted)
            for protected in _protected(wanted.protection)
            for way in ways
        ]
        if events:
            any_of = _Condition(f"event IN ({', '.join('?' * len(events))})", tuple(events))
            alternatives = [[*conditions, any_of] for conditions in alternatives]
        plain = [_joined(conditions) for conditions in alternatives]
        self.unindexed = " OR ".join(term for term, _ in plain), [value for _, values in plain for value in values]
        self.indexed = [_joined(conditions, _most_telling(conditions)) for conditions in alternatives]


def _most_telling(conditions: Sequence[_Condition]) -> str:
    return next((one.by for one in conditions if one.by), "")


def _joined(conditions: Sequence[_Condition], index: str = "") -> _Where:
    terms = [
        one.plain if one.plain and not index else one.term.format(one.by if one.by == index else f"+{one.by}")
        for one in conditions
    ]
    return " AND ".join(terms) or "TRUE", [value for one in conditions for value in one.values]


def _on_either_side(wanted: TraceFilter) -> list[list[_Condition]]:
    """What sender or recipient may have, whole or its domain, and the peer: each way to meet them all."""
    return [
        [*address, *domain, *peer]
        for address in _of_address(wanted.address)
        for domain in _of_domain(wanted.domain)
        for peer in _of_peer(wanted.peer)
    ]


def _of_address(address: str) -> list[list[_Condition]]:
    """An address on either side: looked up on each, and rows that have it on both are found on one."""
    if not address:
        return [[]]
    other = _Condition("recipient <> ?", (address,))
    return [[_equal("recipient", address)], [_equal("sender", address), other]]


def _of_domain(domain: str) -> list[list[_Condition]]:
    """The same of a domain."""
    if not domain:
        return [[]]
    sent = _in_domain("sender", domain)
    other = _Condition(f"{_RECIPIENT_DOMAIN} <> ?", (domain,), plain="? IS NOT NULL")
    return [[_in_domain("recipient", domain)], [sent, other]]


def _of_peer(peer: str) -> list[list[_Condition]]:
    """The other side, by name or IP address."""
    if not peer:
        return [[]]
    address = _Condition("{0} = ?", (peer,), PEER_IP)
    if found := _WITH_PORT.fullmatch(peer):
        address = _Condition("{0} = ? AND peer_address = ?", (found[1] or found[2], peer), PEER_IP)
    return [[_equal("peer_host", peer)], [address, _Condition("peer_host <> ?", (peer,))]]


def _in_domain(column: str, domain: str) -> _Condition:
    plain = f"substr({column}, {-1 - len(domain)}) = '@' || ? COLLATE NOCASE"
    return _Condition("{0} = ?", (domain,), domain_of(column), plain)


def _times(wanted: TraceFilter) -> Iterator[_Condition]:
    if wanted.since:
        yield _Condition("at >= ?", (wanted.since,))
    if wanted.until:
        yield _Condition("at <= ?", (wanted.until,))


def _asked_by(source: str) -> str:
    """Whether a source is among those that asked for the requirement. The first term is cheap, and mostly decides."""
    among = f"SELECT 1 FROM json_each(detail, '$.requirement_sources') WHERE value || ':' GLOB '{source}:*'"  # noqa: S608 - our words
    return f"(instr(detail, '\"{source}') AND EXISTS ({among}))"


_DEMANDED = "substr(requirement, 1, 13) = 'authenticated'"
_DANE, _MTA_STS = _asked_by("dane"), _asked_by("mta-sts")
# By TLS level and what else has to be so, as `reports.tls.protection_of` tells it of counted rows.
_PROTECTIONS = {
    "dane": [("authenticated", f"{_DEMANDED} AND {_DANE}")],
    "mta-sts": [("authenticated", f"{_DEMANDED} AND NOT {_DANE} AND {_MTA_STS}")],
    "verified": [("authenticated", f"{_DEMANDED} AND NOT {_DANE} AND NOT {_MTA_STS}")],
    "encrypted": [("encrypted", "TRUE"), ("authenticated", f"NOT {_DEMANDED}")],
    "cleartext": [("none", "TRUE"), ("", "TRUE")],
}


def _protected(protection: str) -> list[list[_Condition]]:
    """How mail that was received or sent may have been protected; of an unknown protection there is none."""
    if not protection:
        return [[]]
    carried = _Condition("event IN ('RECEIVE', 'SEND')", ())
    levels = _PROTECTIONS.get(protection, [("", "FALSE")])
    return [[_Condition(f"{{0}} = ? AND {term}", (level,), TLS_LEVEL), carried] for level, term in levels]


def _texts(wanted: TraceFilter, either: Sequence[_Condition], protected: Sequence[_Condition]) -> Iterator[_Condition]:
    """What is asked of the text of columns, most telling first.

    either: the side on which a domain is looked for. protected: how mail was protected.
    """
    yield from _whole(wanted, ("message_id",))
    for column in ("recipient", "sender"):
        text: str = getattr(wanted, column)
        if text.startswith("@"):
            yield _in_domain(column, text[1:])
        elif text:
            yield _equal(column, text)
    yield from either
    yield from _whole(wanted, ("result_type", "connector", "tls_group"))
    if wanted.achieved:
        yield _Condition("{0} = ?", (wanted.achieved.rpartition("/")[2],), TLS_LEVEL)
    if "/" in wanted.achieved:
        yield _Condition("achieved = ?", (wanted.achieved,))
    yield from protected
    yield from _whole(wanted, ("tls_version", "organization", "event"))
    if wanted.organizations is not None:
        among = msgspec.json.encode(sorted(wanted.organizations)).decode()
        yield _Condition("organization COLLATE BINARY IN (SELECT value FROM json_each(?))", (among,))


def _elsewhere(wanted: TraceFilter) -> Iterator[_Condition]:
    """Another node's ids, which stand in the detail of hops between nodes."""
    for name in _IDS:
        text: str = getattr(wanted, name)
        if text:
            yield _Condition(f"{{0}} = 1 AND detail ->> '$.handover.{name}' = ?", (text,), HANDED_OVER)


def _whole(wanted: TraceFilter, columns: Sequence[str]) -> Iterator[_Condition]:
    for column in columns:
        text: str = getattr(wanted, column)
        if text:
            yield _equal(column, text)


def _equal(column: str, text: str) -> _Condition:
    """The second term is what lets a partial index be used."""
    return _Condition(f"{{0}} = ? AND {column} <> ''", (text,), column)


def _merged(files: Sequence[TraceFile], reading: _Reading) -> Generator[TraceRow]:
    """Rows of the files of one day, those of all writers merged by time. A file is opened when its turn comes."""
    writers: dict[str, list[TraceFile]] = {}
    for file in files:
        writers.setdefault(file.writer, []).append(file)
    chains = [reading.rows(chain) for chain in writers.values()]
    with contextlib.ExitStack() as stack:
        for chain in chains:
            stack.callback(chain.close)
        for row in heapq.merge(*chains, key=itemgetter(0), reverse=not reading.oldest_first):
            yield row[1:]


@dataclass(frozen=True, slots=True)
class _Reading:
    """How files are read.

    ends: rows behind these alone, newest first, as `TracePlace` has them; each row then ends with its own place.
    """

    directory: Path
    where: _Conditions
    columns: Sequence[str]
    oldest_first: bool = False
    unreadable: list[str] | None = None
    ends: Mapping[str, tuple[int, int]] | None = None

    def rows(self, files: Sequence[TraceFile]) -> Generator[TraceRow]:
        """The rows of one writer's files, in the order of the files."""
        for file in files:
            number, below = (self.ends or {}).get(file.writer, (file.number, 0))
            if file.number > number:
                continue
            behind = f" AND rowid < {below:d}" if below and file.number == number else ""
            path = self.directory / file.name
            try:
                with contextlib.closing(open_for_reading(path)) as connection:
                    rows = self._rows(connection, behind)
                    if self.ends is None:
                        yield from (row[:-1] for row in rows)
                    else:
                        yield from ((*row[:-1], (file.writer, file.number, row[-1])) for row in rows)
            except apsw.Error as error:
                _log.warning("the message trace: %s cannot be read: %s", path, error)
                if self.unreadable is not None:
                    self.unreadable.append(path.name)

    def _rows(self, connection: apsw.Connection, behind: str) -> Iterator[TraceRow]:
        """Rows of one file, each with its number there at its end. behind: a further term."""
        present = table_columns(connection)
        if not present:
            return
        names = (name if name in present else _MISSING.get(name, "''") for name in ("at", *self.columns, "rowid"))
        shown = ", ".join(names)
        order = "ASC" if self.oldest_first else "DESC"
        sealed = is_sealed(connection) and bool(self.where.indexed)
        table, alternatives = ("trace", self.where.indexed) if sealed else ("trace NOT INDEXED", [self.where.unindexed])
        found = [
            connection.execute(f"SELECT {shown} FROM {table} WHERE ({term}){behind} ORDER BY rowid {order}", values)  # noqa: S608 - our names
            for term, values in alternatives
        ]
        yield from heapq.merge(*found, key=itemgetter(-1), reverse=not self.oldest_first) if found[1:] else found[0]


# What a column holds in a file of a version that did not know it.
_MISSING = {"rowid": "rowid", "at": "0.0", "size": "0", "tls": "'{}'", "detail": "'{}'"}


def _event(row: dict[str, Any]) -> TraceEvent:
    for name in ("tls", "detail"):
        row[name] = msgspec.json.decode(row.get(name, "{}"))
    return TraceEvent(**row)
