"""A PostgreSQL database as one side of a move: implements `store.move.MoveSide`."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any, Final

from gatepost.store.changes import CONFIGURATION, CONFIGURATION_LOG
from gatepost.store.destinations import DESTINATION_COLUMNS
from gatepost.store.documents import DOCUMENTS
from gatepost.store.failures import LOGIN_FAILURES
from gatepost.store.move import MoveRefused, SrsPart
from gatepost.store.move_mark import MOVE, MoveMark, decoded_mark, encoded_mark
from gatepost.store.move_parts import HeadsPart, LinesPart, Part
from gatepost.store.move_tables import Table, TablePart, table_parts
from gatepost.store.nodes import EXPIRY_SECONDS
from gatepost.store.postgres.check import check_server, prepare_server
from gatepost.store.postgres.connecting import Address
from gatepost.store.postgres.database import PostgresDatabase, table_names
from gatepost.store.postgres.evidence import PostgresEvidence
from gatepost.store.postgres.move_evidence import EvidenceTables, PostgresTracePart
from gatepost.store.postgres.move_queue import MoveConnection, PostgresBodies, PostgresMessages, settle_queue
from gatepost.store.postgres.server import DatabaseServer, allow_closed, close_all, mark_document
from gatepost.store.shared_destinations import HISTORY
from gatepost.store.site_tables import SITE
from gatepost.store.sqlite.move_side import DESTINATION_HISTORY, DOCUMENT_FILES
from gatepost.store.srs_keys import Sealing, SrsKeyRow

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from gatepost.store.interface import DatabaseConnection, Schema

_STATEMENT: Final = 900.0  # seconds: counts of large tables
# Of processes that run or ran, not of the site. Keys of evidence are told by each command of a node.
_NOT_MOVED: Final = (SITE, LOGIN_FAILURES, CONFIGURATION_LOG, MOVE)
_OF_PROCESSES: Final = frozenset({"queue_owner", "evidence_key"})

_ALIVE: Final = (
    "SELECT name, extract(epoch FROM clock_timestamp())::float8 - seen FROM node"
    " WHERE state <> 'stopped' AND extract(epoch FROM clock_timestamp())::float8 - seen < $1"
    " UNION ALL SELECT node, extract(epoch FROM clock_timestamp() - beat)::float8 FROM queue_owner"
    " WHERE ended IS NULL AND beat > clock_timestamp() - make_interval(secs => $1) ORDER BY 2"
)
_SET_MARK: Final = (
    "INSERT INTO store_move (id, document) VALUES (1, $1) ON CONFLICT (id) DO UPDATE SET document = excluded.document"
)
# A copy of another database that a node has is not gone on with: what it knows of begins with 1, or ends elsewhere.
_FIRST_CONTENT_CHANGE: Final = (
    "INSERT INTO content_change (number, mark, name) VALUES (2, $1, '') ON CONFLICT (number) DO NOTHING"
)
_FIRST_REVISION: Final = "INSERT INTO destination_revision (id, revision) VALUES (1, 1) ON CONFLICT (id) DO NOTHING"


class PostgresNumbering:
    """Implements `store.move_tables.Numbering`. A role that may not set a sequence may still use its numbers up."""

    def highest(self, connection: DatabaseConnection, table: str) -> int:
        """See `Numbering.highest`."""
        return int(
            connection.value(
                "SELECT coalesce(pg_sequence_last_value(CAST(pg_get_serial_sequence(?, 'id') AS regclass)), 0)",
                (f'"{table}"',),
            )
        )

    def advance(self, connection: DatabaseConnection, table: str, number: int) -> None:
        """See `Numbering.advance`."""
        missing = number - self.highest(connection, table)
        if missing > 0:
            connection.value(
                "SELECT max(nextval(pg_get_serial_sequence(?, 'id'))) FROM generate_series(1, CAST(? AS BIGINT))",
                (f'"{table}"', missing),
            )


class PostgresSide:
    """One database. schemas: of tables that both engines have in the same form. all_schemas: of every table.

    data_dir: of this node, for its evidence keys. vault: of the master key, for SRS keys.
    """

    def __init__(
        self,
        url: str,
        data_dir: Path,
        schemas: Sequence[Schema],
        *,
        all_schemas: Sequence[Schema],
        vault: Sealing | None,
    ) -> None:
        address = Address(url)
        self.place = address.place
        self._url = url
        self._data = data_dir
        self._schemas = schemas
        self._all = all_schemas
        self._vault = vault
        allow_closed(url)
        self._server = MoveConnection(DatabaseServer.of(url, _STATEMENT))

    def check_source(self) -> None:
        """See `MoveSide.check_source`."""
        self.check_target()
        if not self.contents():
            raise MoveRefused(f"{self.place}: nothing is stored here that could be moved")

    def check_target(self) -> None:
        """See `MoveSide.check_target`: server, rights of the role and versions of the tables."""
        check_server(self._url, self._all)

    def prepare(self) -> None:
        """See `MoveSide.prepare`."""
        prepare_server(self._url, self._all)

    def configuration(self) -> PostgresDatabase:
        """See `MoveSide.configuration`."""
        return self._database(CONFIGURATION)

    def mark(self) -> MoveMark | None:
        """See `MoveSide.mark`."""
        document = self._server.work(mark_document)
        return None if document is None else decoded_mark(document, self.place)

    def set_mark(self, mark: MoveMark | None) -> None:
        """See `MoveSide.set_mark`."""
        if mark is None:
            self._server.execute("DELETE FROM store_move")
        else:
            self._server.execute(_SET_MARK, encoded_mark(mark).decode())

    def check_idle(self) -> None:
        """See `MoveSide.check_idle`: no node was heard of lately."""
        if not self._has_table("node"):
            return
        for name, age in self._server.fetch(_ALIVE, EXPIRY_SECONDS):
            raise MoveRefused(
                f"{self.place} is in use: node {name} was heard of {max(age, 0):.0f} s ago. Stop all nodes; of one "
                f"that was killed, nothing may have been heard for {EXPIRY_SECONDS:.0f} s. Then run the command again"
            )

    def contents(self) -> str:
        """See `MoveSide.contents`."""
        names = (
            name
            for schema in self._all
            if schema not in _NOT_MOVED
            for name in table_names(schema.tables.replace('"', ""))
            if name not in _OF_PROCESSES
        )
        return ", ".join(name for name in names if self._has_rows(name))

    def settle(self) -> None:
        """See `MoveSide.settle`."""
        settle_queue(self._server)

    def parts(self) -> list[Part]:
        """See `MoveSide.parts`."""
        numbering = PostgresNumbering()
        tables = [part for schema in self._schemas for part in table_parts(schema, self._database(schema), numbering)]
        key = DESTINATION_COLUMNS[:3]
        history = TablePart(
            DESTINATION_HISTORY,
            self._database(HISTORY),
            Table("destination_history", DESTINATION_COLUMNS, key),
            numbering,
            where="document <> ''",
            fixed={"revision": 1},
        )
        columns = ("folder", "name", "at", "content")
        documents = TablePart(
            DOCUMENT_FILES, self._database(DOCUMENTS), Table("document", columns, columns[:2]), numbering, rows=4
        )
        log, sink = self._evidence(), EvidenceTables(self._server)
        return [
            *tables,
            SrsPart(SrsKeyRow(self._database(CONFIGURATION), self._vault)),
            history,
            documents,
            PostgresBodies(self._server),
            PostgresMessages(self._server),
            LinesPart(log, sink),
            HeadsPart(log, sink),
            PostgresTracePart(self._server),
        ]

    def public_keys(self) -> list[bytes]:
        """See `MoveSide.public_keys`."""
        return self._evidence().public_keys()

    def add_public_keys(self, keys: Sequence[bytes]) -> None:
        """See `MoveSide.add_public_keys`."""
        for pem in keys:
            EvidenceTables(self._server).add_key(pem)

    def finish(self) -> None:
        """See `MoveSide.finish`: nodes make copies of the configuration and of the history of destinations anew."""
        self._server.execute(_FIRST_CONTENT_CHANGE, secrets.randbits(62))
        self._server.execute(_FIRST_REVISION)

    def close(self) -> None:
        """Close all connections of this process."""
        close_all()

    def _database(self, schema: Schema) -> PostgresDatabase:
        return PostgresDatabase(self._url, schema, statement=_STATEMENT)

    def _evidence(self) -> PostgresEvidence:
        return PostgresEvidence(self._url, self._data / "evidence", "moved")

    def _has_table(self, name: str) -> bool:
        return bool(self._server.value("SELECT to_regclass($1) IS NOT NULL", f'"{name}"'))

    def _has_rows(self, name: str) -> bool:
        found: Any = self._has_table(name) and self._server.value(f'SELECT EXISTS (SELECT FROM "{name}")')  # noqa: S608 - our names
        return bool(found)
