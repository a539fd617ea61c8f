"""Evidence log and message trace in PostgreSQL as parts of a move (`store.move_parts`).

`EvidenceTables` writes a log that is moved here: a chain stands then where it stood, and its writer goes on from there,
should there be one of that name again. `PostgresTracePart` has rows as `store.sqlite.move_evidence` has them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

from gatepost.events.evidence.chain import ORIGIN, parse_line
from gatepost.events.evidence.entry import Kind
from gatepost.store.move_parts import Key, MoveRecord, UnnumberedPart
from gatepost.store.postgres.evidence_chain import MAKE_CHAIN, SET_DAY
from gatepost.store.postgres.move_queue import MoveConnection, check_place
from gatepost.store.postgres.server import reported
from gatepost.store.postgres.trace_tables import PARTS, REAL_DAY, partition
from gatepost.store.postgres.trace_writer import insert_rows, make_partition
from gatepost.store.sqlite.move_evidence import TRACE
from gatepost.store.trace import COLUMNS

_STORED: Final = "SELECT last_place - first_place + 1 FROM evidence_day WHERE day = $1 AND writer = $2"
_CHAIN: Final = "SELECT place, number, head, signed FROM evidence_chain WHERE writer = $1 FOR UPDATE"
_ADVANCE: Final = (
    "UPDATE evidence_chain SET place = $2, number = $3, head = $4, signed = $5, day = $6 WHERE writer = $1"
)
_HEADS: Final = "SELECT count(*) FROM evidence_head"
_LAST_HEAD: Final = "SELECT coalesce(max(number), 0) FROM evidence_head"
_ADD_HEAD: Final = "INSERT INTO evidence_head (number, day, line) VALUES ($1, $2, $3)"
_ADD_KEY: Final = "INSERT INTO evidence_key (pem, node) VALUES ($1, $2) ON CONFLICT (pem) DO NOTHING"


class EvidenceTables:
    """Takes lines of a log that nobody else writes."""

    def __init__(self, server: MoveConnection) -> None:
        self._server = server

    def stored(self, day: str, writer: str) -> int:
        """See `EvidenceSink.stored`."""
        return int(self._server.value(_STORED, day, writer) or 0)

    def append(self, day: str, writer: str, before: int, lines: Sequence[bytes]) -> None:
        """See `EvidenceSink.append`."""

        async def insert(connection: Any) -> None:
            await connection.execute(MAKE_CHAIN, writer, ORIGIN)
            place, number, head, signed = await connection.fetchrow(_CHAIN, writer)
            check_place(await connection.fetchval(_STORED, day, writer) or 0, before)
            records = [(writer, at, line) for at, line in enumerate(lines, place + 1)]
            await connection.copy_records_to_table("evidence_entry", records=records)
            for line in map(parse_line, lines):
                if not line.fault:
                    number, head = line.number, line.hash
                    signed = line.number if line.body.get("kind") == Kind.CHECKPOINT else signed
            end = place + len(lines)
            await connection.execute(SET_DAY, day, writer, place + 1, end, number, head)
            await connection.execute(_ADVANCE, writer, end, number, head, signed, day)

        self._server.together(insert)

    def stored_heads(self) -> int:
        """See `EvidenceSink.stored_heads`."""
        return int(self._server.value(_HEADS))

    def append_heads(self, lines: Sequence[bytes]) -> None:
        """See `EvidenceSink.append_heads`."""

        async def insert(connection: Any) -> None:
            number = await connection.fetchval(_LAST_HEAD)
            for raw in lines:
                line = parse_line(raw)
                number = max(number + 1, line.number)
                day = str(line.body.get("day", "")) if line.body.get("kind") == Kind.HEAD else ""
                await connection.execute(_ADD_HEAD, number, day, raw)

        self._server.together(insert)

    def add_key(self, pem: bytes) -> None:
        """See `EvidenceSink.add_key`."""
        self._server.execute(_ADD_KEY, pem.decode("ascii", "replace"), "moved")

    def clear_lines(self) -> None:
        """See `EvidenceSink.clear_lines`."""
        for table in ("evidence_entry", "evidence_day", "evidence_chain"):
            self._server.execute(f"DELETE FROM {table}")  # noqa: S608 - our names

    def clear_heads(self) -> None:
        """See `EvidenceSink.clear_heads`."""
        self._server.execute("DELETE FROM evidence_head")


_PAGE: Final = 1000
_ROWS: Final = "SELECT coalesce((SELECT rows FROM trace_part WHERE day = $1 AND writer = $2), 0)"
_COUNT: Final = f"SELECT coalesce(sum(rows), 0)::bigint FROM trace_part WHERE {REAL_DAY}"  # noqa: S608 - ours


class PostgresTracePart(UnnumberedPart):
    """Implements `store.move_parts.Part`."""

    name = TRACE

    def __init__(self, server: MoveConnection) -> None:
        self._server = server

    def count(self) -> int:
        """See `Part.count`."""
        return int(self._server.value(_COUNT))

    def records(self) -> Iterator[MoveRecord]:
        """See `Part.records`."""
        for day, writer, total in self._server.fetch(PARTS, "", "9999"):
            if not total:
                continue
            sql = (
                f"SELECT number, {', '.join(COLUMNS)} FROM {partition(day)} WHERE writer = $1 AND number > $2"  # noqa: S608 - our names
                f" ORDER BY number LIMIT {_PAGE}"
            )
            last = place = 0
            while rows := self._server.fetch(sql, writer, last):
                for row in rows:
                    last, place = row[0], place + 1
                    yield MoveRecord((day, writer, place), tuple(row[1:]))

    def present(self, keys: Sequence[Key]) -> set[Key]:
        """See `Part.present`."""
        rows = {part: self._server.value(_ROWS, *part) for part in {key[:2] for key in keys}}
        return {key for key in keys if key[2] <= rows[key[:2]]}

    def add(self, records: Sequence[MoveRecord]) -> None:
        """See `Part.add`."""
        parts: dict[tuple[str, str], list[list[Any]]] = {}
        first: dict[tuple[str, str], int] = {}
        for record in records:
            parts.setdefault(record.key[:2], []).append(list(record.values))
            first.setdefault(record.key[:2], record.key[2])

        async def insert(connection: Any) -> None:
            for (day, writer), rows in parts.items():
                total = await insert_rows(connection, day, writer, rows)
                check_place(total - len(rows), first[day, writer] - 1)

        for day in {day for day, _ in parts}:
            self._server.work(lambda connection: _made(connection, day))  # noqa: B023 - called at once
        self._server.together(insert)

    def clear(self) -> None:
        """See `Part.clear`."""
        for table in ("trace", "trace_part", "trace_tally"):
            self._server.execute(f"DELETE FROM {table}")  # noqa: S608 - our names


async def _made(connection: Any, day: str) -> None:
    with reported("move"):
        await make_partition(connection, day)
