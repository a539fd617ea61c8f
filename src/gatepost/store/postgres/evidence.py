"""The evidence log of a site in PostgreSQL: `store.evidence_log.Evidence`, with a chain for each worker of each node.

The key that signs is a node's own, in its data directory; its public half lies in a table for all who verify.

Any node may add to the chain of daily heads, over the writers of all nodes, also several at once: they take turns, and
who comes second finds the day done.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec

from gatepost.events.evidence.chain import Place, Signer, join, parse_line, sign_body
from gatepost.events.evidence.heads import DayHead, HeadBook, head_body, pruned_body
from gatepost.store.evidence_files import ADMIN_WRITER
from gatepost.store.evidence_keys import kept_keys
from gatepost.store.postgres.database import prepare_tables
from gatepost.store.postgres.evidence_chain import PostgresChain
from gatepost.store.postgres.evidence_tables import SCHEMA
from gatepost.store.postgres.server import DatabaseServer, reported
from gatepost.store.postgres.trace_tables import writer_name
from gatepost.times import day_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from gatepost.events.evidence.entry import Privacy


_REMOVED: Final = 20_000  # lines that are removed at once

_OVER: Final = (
    "SELECT DISTINCT day FROM evidence_day WHERE day < $1 AND day > (SELECT coalesce(max(day), '') FROM evidence_head)"
    " ORDER BY day"
)
# No writer adds an entry while this is held: each updates its row.
_STILL: Final = "LOCK TABLE evidence_chain IN EXCLUSIVE MODE"
_ENDS: Final = "SELECT writer, number, head FROM evidence_day WHERE day = $1 ORDER BY writer"
_ADD: Final = "INSERT INTO evidence_head (number, day, line) VALUES ($1, $2, $3)"
_ALL_HEADS: Final = "SELECT line FROM evidence_head ORDER BY number"
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


class PostgresHeads(msgspec.Struct, frozen=True):
    """The heads of a site. node: this host. connection: as in `PostgresChain`. commands: the chain "admin", to sign."""

    connection: Callable[[], AbstractContextManager[tuple[DatabaseServer, Any]]]
    commands: PostgresChain
    node: str
    signer: Signer

    def sign_commands(self, now: float) -> None:
        """See `HeadWriter.sign_commands`."""
        self.commands.checkpoint(now)

    def make(self, now: float) -> list[DayHead]:
        """See `HeadWriter.make`."""
        today = day_text(now)
        with self.connection() as (server, connection):
            if not server.run(lambda: connection.fetch(_OVER, today), "evidence heads"):
                return []
            return server.run(lambda: self._made(connection, today, now), "evidence heads")

    def prune(self, before: float, now: float) -> list[str]:
        """See `HeadWriter.prune`."""
        first = day_text(before)
        with self.connection() as (server, connection):
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
                    body = head_body(place, now, node=self.node, day=day, writers=ends)
                    place = await self._add(connection, place, body, day)
                    made.append(DayHead(day, place.head, ends))
        return made

    async def _forgotten(self, connection: Any, first: str, now: float) -> list[str]:
        with reported("evidence heads"):
            async with connection.transaction():
                await connection.execute(_STILL)
                book = HeadBook()
                for (line,) in await connection.fetch(_ALL_HEADS):
                    book.take(parse_line(line))
                gone = [(day, writer) for day, writer in await connection.fetch(_OLD, first) if day in book.days]
                if gone and book.before < first:
                    place = await _last(connection)
                    await self._add(connection, place, pruned_body(place, now, node=self.node, before=first), "")
                for day, writer in gone:
                    await connection.execute(_FORGET, day, writer)
        return [f"{day}.{writer}.log" for day, writer in gone]

    async def _add(self, connection: Any, place: Place, body: dict[str, Any], day: str) -> Place:
        head, line = join(place.head, sign_body(body, self.signer))
        await connection.execute(_ADD, place.number + 1, day, line)
        return Place(place.number + 1, head)


async def _last(connection: Any) -> Place:
    line = await connection.fetchval(_LAST)
    if line is None:
        return Place()
    parsed = parse_line(line)
    return Place(parsed.number, parsed.hash)


_LINES: Final = 2000  # that are in memory at a time
_DAYS: Final = (
    "SELECT day, writer, first_place, last_place FROM evidence_day"
    " WHERE ($1 = '' OR writer = $1) AND day >= $2 AND day <= $3 ORDER BY writer, day"
)
_READ: Final = (
    "SELECT place, line FROM evidence_entry WHERE writer = $1 AND place > $2 AND place <= $3"  # noqa: S608 - our number
    f" ORDER BY place LIMIT {_LINES}"
)
_UNSIGNED: Final = "SELECT writer FROM evidence_chain WHERE number > signed"
_HEADS: Final = f"SELECT number, line FROM evidence_head WHERE number > $1 ORDER BY number LIMIT {_LINES}"  # noqa: S608 - as above
_KEYS: Final = "SELECT pem FROM evidence_key ORDER BY pem"
_ADD_KEY: Final = "INSERT INTO evidence_key (pem, node) VALUES ($1, $2) ON CONFLICT (pem) DO NOTHING"


class PostgresDay(NamedTuple):
    """Implements `store.evidence_log.EvidenceDay`. first, last: places of its lines."""

    day: str
    writer: str
    first: int
    last: int
    log: PostgresEvidence

    @property
    def name(self) -> str:
        """As its file would be called."""
        return f"{self.day}.{self.writer}.log"

    @property
    def is_empty(self) -> bool:
        """See `EvidenceDay.is_empty`: a day without an entry is none."""
        return False

    def lines(self) -> Iterator[bytes]:
        """See `EvidenceDay.lines`."""
        return self.log.read(self.writer, self.first, self.last)


class PostgresEvidence:
    """The log of all nodes, from one of them. directory: of this node, beside its keys. node: its name."""

    def __init__(self, url: str, directory: Path, node: str) -> None:
        self.name = "the evidence log"
        self.directory = directory
        self._url = url
        self._node = node
        self._prepared = False

    def days(self, writer: str = "", *, since: str = "", until: str = "9999") -> list[PostgresDay]:
        """See `EvidenceSource.days`."""
        rows = self._fetch(_DAYS, writer, since, until)
        return [PostgresDay(day, name, first, last, self) for day, name, first, last in rows]

    def read(self, writer: str, first: int, last: int) -> Iterator[bytes]:
        """The lines of a chain between two places, both included."""
        while rows := self._fetch(_READ, writer, first - 1, last):
            for place, line in rows:
                first = place + 1
                yield line

    def head_lines(self) -> Iterator[bytes]:
        """See `EvidenceSource.head_lines`."""
        last = 0
        while rows := self._fetch(_HEADS, last):
            for number, line in rows:
                last = number
                yield line

    def public_keys(self) -> list[bytes]:
        """See `EvidenceSource.public_keys`: of all nodes."""
        return [pem.encode() for (pem,) in self._fetch(_KEYS)]

    def worker_chain(self, worker: int, *, privacy: Privacy, signer: Signer) -> PostgresChain:
        """See `Evidence.worker_chain`."""
        writer = writer_name(self._node, worker)
        return PostgresChain(self._connection, writer, node=self._node, privacy=privacy, signer=signer)

    def admin_chain(self, *, privacy: Privacy) -> PostgresChain:
        """See `Evidence.admin_chain`."""
        return PostgresChain(self._connection, ADMIN_WRITER, node=self._node, privacy=privacy, shared=True)

    def sign_rest(self, now: float, *, signer: Signer) -> None:
        """See `Evidence.sign_rest`."""
        for (writer,) in self._fetch(_UNSIGNED):
            number = writer.rpartition("-")[2]
            own = number.isdigit() and writer == writer_name(self._node, int(number))
            if own or writer == ADMIN_WRITER:
                PostgresChain(self._connection, writer, node=self._node, signer=signer, shared=not own).checkpoint(now)

    def heads(self, *, signer: Signer) -> PostgresHeads:
        """See `Evidence.heads`."""
        commands = PostgresChain(self._connection, ADMIN_WRITER, node=self._node, signer=signer, shared=True)
        return PostgresHeads(self._connection, commands, node=self._node, signer=signer)

    def _fetch(self, sql: str, *values: object) -> list[Any]:
        with self._connection() as (server, connection):
            found: list[Any] = server.run(lambda: connection.fetch(sql, *values), "read evidence")
            return found

    @contextlib.contextmanager
    def _connection(self) -> Iterator[tuple[DatabaseServer, Any]]:
        """A connection, with the tables made and this node's keys told."""
        server = DatabaseServer.of(self._url)
        with server.connection() as connection:
            if not self._prepared:
                server.run(lambda: prepare_tables(connection, SCHEMA), "prepare tables")
                for pem in kept_keys(self.directory):
                    text = pem.decode("ascii", "replace")
                    server.run(lambda: connection.execute(_ADD_KEY, text, self._node), "tell the key")  # noqa: B023 - run at once
                self._prepared = True
            yield server, connection
