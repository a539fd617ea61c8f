"""The evidence log of a site in PostgreSQL: `store.evidence_log.Evidence`, with a chain for each worker of each node.

The key that signs is a node's own, in its data directory; its public half lies in a table for all who verify.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from gatepost.store.evidence_files import ADMIN_WRITER
from gatepost.store.evidence_keys import kept_keys
from gatepost.store.postgres.database import prepare_tables
from gatepost.store.postgres.evidence_chain import PostgresChain
from gatepost.store.postgres.evidence_heads import PostgresHeads
from gatepost.store.postgres.evidence_tables import SCHEMA
from gatepost.store.postgres.server import DatabaseServer
from gatepost.store.postgres.writers import writer_name

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from gatepost.events.evidence.chain import Signer
    from gatepost.events.evidence.entry import Privacy


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

    def worker_chain(self, worker: int, *, software: str, privacy: Privacy, signer: Signer) -> PostgresChain:
        """See `Evidence.worker_chain`."""
        writer = writer_name(self._node, worker)
        return PostgresChain(
            self._connection, writer, node=self._node, software=software, privacy=privacy, signer=signer
        )

    def admin_chain(self, *, software: str, privacy: Privacy) -> PostgresChain:
        """See `Evidence.admin_chain`."""
        return PostgresChain(
            self._connection, ADMIN_WRITER, node=self._node, software=software, privacy=privacy, shared=True
        )

    def sign_rest(self, now: float, *, software: str, signer: Signer) -> None:
        """See `Evidence.sign_rest`."""
        for (writer,) in self._fetch(_UNSIGNED):
            number = writer.rpartition("-")[2]
            own = number.isdigit() and writer == writer_name(self._node, int(number))
            if own or writer == ADMIN_WRITER:
                PostgresChain(
                    self._connection, writer, node=self._node, software=software, signer=signer, shared=not own
                ).checkpoint(now)

    def heads(self, *, software: str, signer: Signer) -> PostgresHeads:
        """See `Evidence.heads`."""
        commands = PostgresChain(
            self._connection, ADMIN_WRITER, node=self._node, software=software, signer=signer, shared=True
        )
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
