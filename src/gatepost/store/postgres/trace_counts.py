"""Count rows of the trace in PostgreSQL, by kind for reports and by the hour for the chart of the last day.

The server counts, and sends a row for each kind. Parts whose day is over keep their count in a table, so that a month
is counted once for all nodes. As `store.sqlite.trace_tally` counts.
"""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import asyncpg
import msgspec

from gatepost.decoding import from_json, msgpack_decoder
from gatepost.newest import Newest
from gatepost.store.postgres.trace_tables import PARTS, TLS_LEVEL, partition
from gatepost.store.trace import HOUR, Flow, HopKind
from gatepost.store.trace_kinds import IS_COUNTED, Dialect, counted, refused_for_recipient
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

_DIALECT: Final = Dialect(
    detail="d",
    tls="t",
    find="strpos",
    domain="reverse(split_part(reverse({}), '@', 1))".format,
    code="split_part(substr(reply, 5), ' ', 1)",
    other_sources="(SELECT coalesce(json_agg(one)::text, '[]')"
    " FROM jsonb_array_elements_text(CASE jsonb_typeof(d -> 'requirement_sources')"
    " WHEN 'array' THEN d -> 'requirement_sources' ELSE '[]'::jsonb END) AS one"
    " WHERE one NOT LIKE 'connector:%' AND one NOT LIKE 'rule:%')",
    names="t -> 'certificate' ->> 'names'",
    trial_failed="d -> 'rehearsal' ->> 'passed' IN ('false', '0')",
    trial_sources="d -> 'rehearsal' ->> 'sources'",
)
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
    kinds = _count(server, connection, part, (0, rows))
    if part[0] < day_text(time.time() - _LATE):
        data = _encode(_Kept(_VERSION, list(kinds.items())))
        server.run(lambda: connection.execute(_KEEP, *part, rows, data), _DOING)
    return rows, kinds


def _kept(data: bytes | None) -> Counter[HopKind] | None:
    """A count that was kept, if it is of this version."""
    try:
        kept = _decode(data) if data is not None else None
    except msgspec.DecodeError:
        return None
    return Counter(dict(kept.kinds)) if kept is not None and kept.version == _VERSION else None


def _count(server: DatabaseServer, connection: Any, part: tuple[str, str], span: tuple[int, int]) -> Counter[HopKind]:
    """The rows behind the first number up to the second, so many in a statement."""
    kinds: Counter[HopKind] = Counter()
    for first in range(*span, _ROWS_AT_ONCE):
        some = first, min(first + _ROWS_AT_ONCE, span[1])
        for *values, count in server.run(lambda: _kinds(connection, part, some), _DOING):  # noqa: B023 - run at once
            for place in _JSON:
                values[place] = _compact(values[place])
            kinds[HopKind(*values)] += count
    return kinds


async def _kinds(connection: Any, part: tuple[str, str], span: tuple[int, int]) -> list[Any]:
    """Kinds and how many. MATERIALIZED keeps what is understood of a row from being read again for each column."""
    by = ", ".join(str(place + 1) for place in range(len(HopKind._fields)))
    sql = (
        "WITH one AS MATERIALIZED (SELECT *, detail::jsonb AS d, tls::jsonb AS t"  # noqa: S608 - our names
        f" FROM {partition(part[0])} WHERE writer = $1 AND number > $2 AND number <= $3 AND {IS_COUNTED})"
        f" SELECT {', '.join(counted(_DIALECT))}, count(*) FROM one GROUP BY {by}"
        f" UNION ALL SELECT {', '.join(refused_for_recipient(_DIALECT))}, count(*) FROM one WHERE event = 'REFUSE'"
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
        self._known: Newest[tuple[str, str, frozenset[str] | None], _Count] = Newest(_KEPT)

    def counted(self, since: int, until: int, organizations: Collection[str] | None) -> Counter[Flow]:
        """See `HourCounts.counted`."""
        among = None if organizations is None else frozenset(organizations)
        total: Counter[Flow] = Counter()
        with self._connection() as (server, connection):
            days = day_text(since), day_text(until)
            for day, writer, rows in server.run(lambda: connection.fetch(PARTS, *days), "message trace"):
                known = self._known.get((day, writer, among)) or _Count(0, Counter())
                if known.rows > rows:  # another part of that name
                    known = _Count(0, Counter())
                if known.rows < rows:
                    span = known.rows, rows
                    added = server.run(lambda: _flows(connection, (day, writer), span, among), "count the trace")  # noqa: B023 - run at once
                    known = _Count(rows, known.flows + added)
                    self._known.keep((day, writer, among), known)
                total.update({flow: count for flow, count in known.flows.items() if since <= flow.hour < until})
        return total


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
