"""The message trace in PostgreSQL as a part of a move (`store.move_parts`), as `store.sqlite.move_trace` has it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from gatepost.store.move_parts import MoveRecord, UnnumberedPart
from gatepost.store.postgres.move_queue import check_place
from gatepost.store.postgres.server import reported
from gatepost.store.postgres.trace_tables import PARTS, REAL_DAY, partition
from gatepost.store.postgres.trace_writer import insert_rows, make_partition
from gatepost.store.sqlite.move_trace import TRACE
from gatepost.store.trace import COLUMNS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from gatepost.store.move_parts import Key
    from gatepost.store.postgres.move_queue import MoveConnection

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
