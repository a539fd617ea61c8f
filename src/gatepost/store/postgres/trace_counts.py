"""Count rows of the trace in PostgreSQL, by kind for reports and by the hour for the chart of the last day.

The server counts, and sends a row for each kind. Parts whose day is over keep their count in a table, so that a month
is counted once for all nodes. As `store.sqlite.trace_tally` and `store.sqlite.trace_tally` count.
"""

from __future__ import annotations

import time
from collections import Counter, OrderedDict
from threading import Lock
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import asyncpg
import msgspec

from gatepost.decoding import from_json, msgpack_decoder
from gatepost.store.postgres.trace_tables import PARTS, TLS_LEVEL, partition
from gatepost.store.trace import HOUR, Flow, HopKind
from gatepost.times import day_text

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from contextlib import AbstractContextManager

    from gatepost.store.postgres.server import DatabaseServer


_VERSION: Final = 3  # of what is counted: older counts are made anew
_KEPT: Final = 1000  # counts of parts by the hour: at most 144 numbers each
_ROWS_AT_ONCE: Final = 100_000  # a few seconds' work, if all are different
_DOING: Final = "count the trace"
_LATE: Final = 3600.0  # seconds after its end in which a day may still grow

_OTHER: Final = "CASE WHEN event IN ('RECEIVE', 'REFUSE') THEN sender ELSE recipient END"
_PARTNER: Final = f"lower(reverse(split_part(reverse({_OTHER}), '@', 1)))"
# What the recipient's organization refuses of another's is by no connector of that one.
_STATUS: Final = (
    "CASE WHEN event = 'REFUSE' AND d ->> 'recipient_organization' IS NULL"
    " THEN split_part(substr(reply, 5), ' ', 1) ELSE '' END"
)
_TRIAL_FAILED_BY: Final = (
    "coalesce(CASE WHEN d ->> 'recipient_organization' IS NULL OR d ->> 'would_refuse_organization' = organization"
    " THEN d ->> 'would_refuse_connector' END, CASE WHEN d -> 'rehearsal' ->> 'passed' IN ('false', '0')"
    " AND d ->> 'connector_organization' IS NULL"
    " AND strpos(d -> 'rehearsal' ->> 'sources', '\"connector:') > 0 THEN connector ELSE '' END)"
)
# Another organization's connector may be called as one of the organization whose mail it is.
_CONNECTOR: Final = (
    "CASE WHEN d ->> 'connector_organization' IS NULL AND d ->> 'connector_of_recipient' IS NULL"
    " THEN connector ELSE '' END"
)
# Nor are its hosts and requirements in that one's reports (`policy.decisions.withheld`).
_OWN_WAY: Final = "d ->> 'connector_organization' IS NULL AND d ->> 'domain_organization' IS NULL"
_SOURCES: Final = (
    f"CASE WHEN {_OWN_WAY} THEN d ->> 'requirement_sources' ELSE (SELECT coalesce(json_agg(one)::text, '[]')"  # noqa: S608 - ours
    " FROM jsonb_array_elements_text(CASE jsonb_typeof(d -> 'requirement_sources')"
    " WHEN 'array' THEN d -> 'requirement_sources' ELSE '[]'::jsonb END) AS one"
    " WHERE one NOT LIKE 'connector:%' AND one NOT LIKE 'rule:%') END"
)
_REQUIREMENT: Final = (
    f"CASE WHEN {_OWN_WAY} AND d ->> 'connector_of_recipient' IS NULL OR strpos(requirement, '(') = 0 THEN requirement"
    " ELSE substr(requirement, 1, greatest(strpos(requirement, '(') - 1, 0)) END"
)
_COUNTED: Final = (
    "organization", "direction", "event", _CONNECTOR, _PARTNER, _REQUIREMENT,
    f"coalesce({_SOURCES}, '')", "achieved", "tls_version", "tls_group",
    "coalesce(t ->> 'suite', '')", "coalesce(t ->> 'chain', '')",
    f"CASE WHEN {_OWN_WAY} THEN lower(peer_host) ELSE '' END",
    f"CASE WHEN {_OWN_WAY} THEN coalesce(t -> 'certificate' ->> 'names', '') ELSE '' END",
    "result_type", _STATUS, _TRIAL_FAILED_BY,
)  # fmt: skip
# What a connector of the recipient's organization refused of another's counts there as what it refuses of strangers.
_REFUSED_FOR_RECIPIENT: Final = (
    "d ->> 'recipient_organization'", "'incoming'", "event", "d ->> 'refused_by_connector'", _PARTNER, "''", "''",
    "achieved", "tls_version", "tls_group",
    "coalesce(t ->> 'suite', '')", "coalesce(t ->> 'chain', '')", "lower(peer_host)",
    "coalesce(t -> 'certificate' ->> 'names', '')", "result_type", "split_part(substr(reply, 5), ' ', 1)", "''",
)  # fmt: skip
_JSON: Final = tuple(HopKind._fields.index(name) for name in ("sources", "names"))
_ROWS: Final = "SELECT rows FROM trace_part WHERE day = $1 AND writer = $2"
_KNOWN: Final = "SELECT kinds FROM trace_tally WHERE day = $1 AND writer = $2 AND rows = $3"
_KEEP: Final = (
    "INSERT INTO trace_tally (day, writer, rows, kinds) VALUES ($1, $2, $3, $4)"
    " ON CONFLICT (day, writer) DO UPDATE SET rows = excluded.rows, kinds = excluded.kinds"
)


class _Kept(msgspec.Struct, array_like=True):
    """The count of a part as it is kept."""

    version: int
    kinds: list[tuple[HopKind, int]]


_encode = msgspec.msgpack.Encoder().encode
_decode = msgpack_decoder(_Kept)


def tally_part(
    server: DatabaseServer, connection: Any, part: tuple[str, str], after: int
) -> tuple[int, Counter[HopKind]]:
    """See `Trace.tally`. part: day and writer."""
    rows: int = server.run(lambda: connection.fetchval(_ROWS, *part), _DOING) or 0
    if rows == after:
        return rows, Counter()
    if 0 < after < rows:
        return rows, _count(server, connection, part, (after, rows))
    if (kept := _kept(server.run(lambda: connection.fetchval(_KNOWN, *part, rows), _DOING))) is not None:
        return rows, kept
    counted = _count(server, connection, part, (0, rows))
    if part[0] < day_text(time.time() - _LATE):
        data = _encode(_Kept(_VERSION, list(counted.items())))
        server.run(lambda: connection.execute(_KEEP, *part, rows, data), _DOING)
    return rows, counted


def _kept(data: bytes | None) -> Counter[HopKind] | None:
    """A count that was kept, if it is of this version."""
    try:
        kept = _decode(data) if data is not None else None
    except msgspec.DecodeError:
        return None
    return Counter(dict(kept.kinds)) if kept is not None and kept.version == _VERSION else None


def _count(server: DatabaseServer, connection: Any, part: tuple[str, str], span: tuple[int, int]) -> Counter[HopKind]:
    """The rows behind the first number up to the second, so many in a statement."""
    counted: Counter[HopKind] = Counter()
    for first in range(*span, _ROWS_AT_ONCE):
        some = first, min(first + _ROWS_AT_ONCE, span[1])
        for *values, count in server.run(lambda: _kinds(connection, part, some), _DOING):  # noqa: B023 - run at once
            for place in _JSON:
                values[place] = _compact(values[place])
            counted[HopKind(*values)] += count
    return counted


async def _kinds(connection: Any, part: tuple[str, str], span: tuple[int, int]) -> list[Any]:
    """Kinds and how many. MATERIALIZED keeps what is understood of a row from being read again for each column."""
    by = ", ".join(str(place + 1) for place in range(len(_COUNTED)))
    sql = (
        "WITH one AS MATERIALIZED (SELECT *, detail::jsonb AS d, tls::jsonb AS t"  # noqa: S608 - our names
        f" FROM {partition(part[0])} WHERE writer = $1 AND number > $2 AND number <= $3 AND event <> 'TLSFAIL')"
        f" SELECT {', '.join(_COUNTED)}, count(*) FROM one GROUP BY {by}"
        f" UNION ALL SELECT {', '.join(_REFUSED_FOR_RECIPIENT)}, count(*) FROM one WHERE event = 'REFUSE'"
        " AND d ->> 'refused_by_connector' IS NOT NULL"
        f" GROUP BY {by}"
    )
    try:
        return list(await connection.fetch(sql, part[1], *span))
    except asyncpg.UndefinedTableError:  # it was forgotten meanwhile
        return []


def _compact(text: str) -> str:
    """JSON as we write it."""
    return msgspec.json.encode(from_json(text)).decode() if text[:1] in {"[", "{"} else text


_HOURS: Final = (
    "SELECT floor(at / {hour})::bigint * {hour}, event, {level}, count(*) FROM {table}"
    " WHERE writer = $1 AND number > $2 AND number <= $3 AND event IN ('RECEIVE', 'SEND')"
    " AND ($4::text[] IS NULL OR organization = ANY($4::text[])) GROUP BY 1, 2, 3"
)


class _Count(NamedTuple):
    """Of one part. rows: how many were counted, its first ones."""

    rows: int
    flows: Counter[Flow]


class PostgresHours:
    """Implements `store.trace.HourCounts`: a part is read whole the first time, and then only what was added to it."""

    def __init__(self, connection: Callable[[], AbstractContextManager[tuple[DatabaseServer, Any]]]) -> None:
        self._connection = connection
        self._known: OrderedDict[tuple[str, str, frozenset[str] | None], _Count] = OrderedDict()
        self._lock = Lock()

    def counted(self, since: int, until: int, organizations: Collection[str] | None) -> Counter[Flow]:
        """See `HourCounts.counted`."""
        among = None if organizations is None else frozenset(organizations)
        total: Counter[Flow] = Counter()
        with self._connection() as (server, connection):
            days = day_text(since), day_text(until)
            for day, writer, rows in server.run(lambda: connection.fetch(PARTS, *days), "message trace"):
                known = self._of(day, writer, among)
                if known.rows > rows:  # another part of that name
                    known = _Count(0, Counter())
                if known.rows < rows:
                    span = known.rows, rows
                    added = server.run(lambda: _flows(connection, (day, writer), span, among), "count the trace")  # noqa: B023 - run at once
                    known = _Count(rows, known.flows + added)
                    self._keep(day, writer, among, known)
                total.update({flow: count for flow, count in known.flows.items() if since <= flow.hour < until})
        return total

    def _of(self, day: str, writer: str, among: frozenset[str] | None) -> _Count:
        with self._lock:
            return self._known.get((day, writer, among)) or _Count(0, Counter())

    def _keep(self, day: str, writer: str, among: frozenset[str] | None, count: _Count) -> None:
        with self._lock:
            self._known[day, writer, among] = count
            self._known.move_to_end((day, writer, among))
            while len(self._known) > _KEPT:
                self._known.popitem(last=False)


async def _flows(
    connection: Any, part: tuple[str, str], span: tuple[int, int], among: frozenset[str] | None
) -> Counter[Flow]:
    sql = _HOURS.format(hour=HOUR, level=TLS_LEVEL, table=partition(part[0]))
    names = None if among is None else sorted(among)
    try:
        rows = await connection.fetch(sql, part[1], *span, names)
    except asyncpg.UndefinedTableError:  # it was forgotten meanwhile
        return Counter()
    flows: Counter[Flow] = Counter()
    for hour, event, level, count in rows:
        flows[Flow(hour, event, level)] += count
    return flows
