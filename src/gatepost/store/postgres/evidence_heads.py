"""The chain of daily heads in PostgreSQL, over the writers of all nodes: `store.evidence_log.HeadWriter`.

Any node may add to it, also several at once: they take turns, and who comes second finds the day done.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from gatepost.events.evidence.chain import Place, join, parse_line, sign_body
from gatepost.events.evidence.heads import DayHead, HeadBook, head_body, pruned_body
from gatepost.store.postgres.server import reported
from gatepost.times import day_text

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from gatepost.events.evidence.chain import Signer
    from gatepost.store.postgres.evidence_chain import PostgresChain
    from gatepost.store.postgres.server import DatabaseServer


_REMOVED: Final = 20_000  # lines that are removed at once

_OVER: Final = (
    "SELECT DISTINCT day FROM evidence_day WHERE day < $1 AND day > (SELECT coalesce(max(day), '') FROM evidence_head)"
    " ORDER BY day"
)
# No writer adds an entry while this is held: each updates its row.
_STILL: Final = "LOCK TABLE evidence_chain IN EXCLUSIVE MODE"
_ENDS: Final = "SELECT writer, number, head FROM evidence_day WHERE day = $1 ORDER BY writer"
_ADD: Final = "INSERT INTO evidence_head (number, day, line) VALUES ($1, $2, $3)"
_HEADS: Final = "SELECT line FROM evidence_head ORDER BY number"
_LAST: Final = "SELECT line FROM evidence_head ORDER BY number DESC LIMIT 1"
_OLD: Final = "SELECT day, writer FROM evidence_day WHERE day < $1 ORDER BY writer, day"
_FORGET: Final = "DELETE FROM evidence_day WHERE day = $1 AND writer = $2"
_WRITERS: Final = (
    "SELECT c.writer, coalesce(min(d.first_place), c.place + 1) FROM evidence_chain c"
    " LEFT JOIN evidence_day d ON d.writer = c.writer GROUP BY c.writer, c.place"
)
_REMOVE: Final = (
    "DELETE FROM evidence_entry WHERE writer = $1 AND place IN (SELECT place FROM evidence_entry"  # noqa: S608 - our number
    f" WHERE writer = $1 AND place < $2 ORDER BY place LIMIT {_REMOVED})"
)


class PostgresHeads:
    """The heads of a site. node: this host. connection: as in `PostgresChain`. commands: the chain "admin", to sign."""

    def __init__(
        self,
        connection: Callable[[], AbstractContextManager[tuple[DatabaseServer, Any]]],
        commands: PostgresChain,
        *,
        node: str,
        signer: Signer,
    ) -> None:
        self._connection = connection
        self._commands = commands
        self._node = node
        self._signer = signer

    def sign_commands(self, now: float) -> None:
        """See `HeadWriter.sign_commands`."""
        self._commands.checkpoint(now)

    def make(self, now: float) -> list[DayHead]:
        """See `HeadWriter.make`."""
        today = day_text(now)
        with self._connection() as (server, connection):
            if not server.run(lambda: connection.fetch(_OVER, today), "evidence heads"):
                return []
            return server.run(lambda: self._made(connection, today, now), "evidence heads")

    def prune(self, before: float, now: float) -> list[str]:
        """See `HeadWriter.prune`."""
        first = day_text(before)
        with self._connection() as (server, connection):
            gone = server.run(lambda: self._forgotten(connection, first, now), "evidence heads")
            for writer, place in server.run(lambda: connection.fetch(_WRITERS), "evidence heads"):
                while server.run(lambda: connection.execute(_REMOVE, writer, place), "remove evidence") != "DELETE 0":  # noqa: B023 - run at once
                    pass
        return gone

    async def _made(self, connection: Any, today: str, now: float) -> list[DayHead]:
        made = []
        with reported("evidence heads"):
            async with connection.transaction():
                await connection.execute(_STILL)
                place = await _last(connection)
                for (day,) in await connection.fetch(_OVER, today):
                    ends = {writer: Place(number, head) for writer, number, head in await connection.fetch(_ENDS, day)}
                    body = head_body(place, now, node=self._node, day=day, writers=ends)
                    place = await self._add(connection, place, body, day)
                    made.append(DayHead(day, place.head, ends))
        return made

    async def _forgotten(self, connection: Any, first: str, now: float) -> list[str]:
        with reported("evidence heads"):
            async with connection.transaction():
                await connection.execute(_STILL)
                book = HeadBook()
                for (line,) in await connection.fetch(_HEADS):
                    book.take(parse_line(line))
                gone = [(day, writer) for day, writer in await connection.fetch(_OLD, first) if day in book.days]
                if gone and book.before < first:
                    place = await _last(connection)
                    await self._add(connection, place, pruned_body(place, now, node=self._node, before=first), "")
                for day, writer in gone:
                    await connection.execute(_FORGET, day, writer)
        return [f"{day}.{writer}.log" for day, writer in gone]

    async def _add(self, connection: Any, place: Place, body: dict[str, Any], day: str) -> Place:
        head, line = join(place.head, sign_body(body, self._signer))
        await connection.execute(_ADD, place.number + 1, day, line)
        return Place(place.number + 1, head)


async def _last(connection: Any) -> Place:
    line = await connection.fetchval(_LAST)
    if line is None:
        return Place()
    parsed = parse_line(line)
    return Place(parsed.number, parsed.hash)
