"""Parts of a move that are tables: the same table on both sides, or two of the same columns.

Which tables a schema has, and their columns, is read from its SQL: nothing that is added to a schema can be forgotten.
"""

from __future__ import annotations

from contextlib import closing
from itertools import batched
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

import apsw

from gatepost.decoding import from_json
from gatepost.store.move_parts import Key, MoveRecord
from gatepost.store.srs_keys import SRS_PLACE
from gatepost.store.storable import storable

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from gatepost.store.interface import Database, DatabaseConnection, Schema

_ROWS: Final = 100  # that are read at a time


class Table(NamedTuple):
    """A table. key: the columns that tell rows apart, the first of `columns`. numbered: no number is given twice."""

    name: str
    columns: tuple[str, ...]
    key: tuple[str, ...]
    numbered: bool = False


class Numbering(Protocol):
    """The numbers that an engine gives to rows."""

    def highest(self, connection: DatabaseConnection, table: str) -> int:
        """The highest number that was given, 0 if none was."""

    def advance(self, connection: DatabaseConnection, table: str, number: int) -> None:
        """Give none up to this one."""


def tables_of(schema: Schema) -> list[Table]:
    """The tables of a schema, by name."""
    with closing(apsw.Connection(":memory:")) as connection:
        connection.execute(schema.tables)
        found: list[Any] = connection.execute(
            "SELECT name, sql FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite%' ORDER BY name"
        ).fetchall()
        return [_table(connection, name, sql) for name, sql in found]


def _table(connection: apsw.Connection, name: str, sql: str) -> Table:
    rows: list[Any] = connection.execute("SELECT name, pk FROM pragma_table_info(?)", (name,)).fetchall()
    key = tuple(column for _, column in sorted((place, column) for column, place in rows if place))
    others = (column for column, place in rows if not place)
    return Table(name, (*key, *others), key, "AUTOINCREMENT" in sql)


def table_parts(schema: Schema, database: Database, numbering: Numbering) -> list[TablePart]:
    """A part for each table of a schema. SRS keys, which lie beside the configuration, are a part of their own."""
    apart = {"content": f"name <> '{SRS_PLACE}'"}
    return [
        TablePart(f"{schema.name}: {table.name}", database, table, numbering, where=apart.get(table.name, "TRUE"))
        for table in tables_of(schema)
    ]


def sealed_contents(database: Database, beginning: bytes) -> dict[str, bytes]:
    """Contents beside the configuration that begin so, by name. Raises StoreFailure."""
    sql = f"SELECT name, data FROM content WHERE substr(data, 1, {len(beginning)}) = ?"  # noqa: S608 - a number
    with database.reading() as connection:
        return dict(connection.rows(sql, (beginning,)))


def stored_organizations(database: Database) -> dict[str, Any]:
    """The documents of organizations, by name. Raises StoreFailure."""
    with database.reading() as connection:
        rows = connection.rows("SELECT name, document FROM resource WHERE kind = 'organization'")
    return {str(name): from_json(document) for name, document in rows}


class TablePart:
    """Implements `store.move_parts.Part` with a table. name: in plain words. where: which rows are of it, as SQL.

    fixed: the columns that have the same value in all rows that are added, and are not compared.
    """

    def __init__(  # noqa: PLR0913 - what a part of a store may be
        self,
        name: str,
        database: Database,
        table: Table,
        numbering: Numbering,
        *,
        where: str = "TRUE",
        fixed: dict[str, Any] | None = None,
        rows: int = _ROWS,
    ) -> None:
        self.name = name
        self._database = database
        self._table = table
        self._numbering = numbering
        self._where = where
        self._fixed = fixed or {}
        self._rows = rows
        self._width = len(table.key)

    def count(self) -> int:
        """See `Part.count`."""
        with self._database.reading() as connection:
            return int(connection.value(f"SELECT count(*) FROM {_quoted(self._table.name)} WHERE {self._where}"))  # noqa: S608 - our names

    def records(self) -> Iterator[MoveRecord]:
        """See `Part.records`."""
        select = f"SELECT {_list(self._table.columns)} FROM {_quoted(self._table.name)} WHERE {self._where}"  # noqa: S608 - our names
        key = _list(self._table.key)
        after = f" AND ({key}) > ({_marks(self._width)})"
        page = f" ORDER BY {key} LIMIT {self._rows}"
        last: tuple[Any, ...] | None = None
        while True:
            with self._database.reading() as connection:
                rows = connection.rows(select + (after if last else "") + page, last or ())
            for row in rows:
                values = tuple(storable(value) if isinstance(value, str) else value for value in row)
                yield MoveRecord(values[: self._width], values[self._width :])
            if len(rows) < self._rows:
                return
            last = tuple(rows[-1][: self._width])

    def present(self, keys: Sequence[Key], /) -> set[Key]:
        """See `Part.present`."""
        condition = "(" + " AND ".join(f"{_quoted(column)} = ?" for column in self._table.key) + ")"
        found: set[Key] = set()
        with self._database.reading() as connection:
            for some in batched(keys, _ROWS):
                any_of = " OR ".join([condition] * len(some))
                sql = f"SELECT {_list(self._table.key)} FROM {_quoted(self._table.name)} WHERE {any_of}"  # noqa: S608 - our names
                found.update(connection.rows(sql, [value for key in some for value in key]))
        return found

    def add(self, records: Sequence[MoveRecord]) -> None:
        """See `Part.add`."""
        columns = (*self._table.columns, *self._fixed)
        sql = (
            f"INSERT INTO {_quoted(self._table.name)} ({_list(columns)}) VALUES ({_marks(len(columns))})"  # noqa: S608 - our names
            " ON CONFLICT DO NOTHING"
        )
        fixed = tuple(self._fixed.values())
        with self._database.changing() as change:
            change.execute_many(sql, [(*record.key, *record.values, *fixed) for record in records])

    def clear(self) -> None:
        """See `Part.clear`."""
        with self._database.changing() as change:
            change.execute(f"DELETE FROM {_quoted(self._table.name)} WHERE {self._where}")  # noqa: S608 - our names

    def sequence(self) -> int:
        """See `Part.sequence`."""
        if not self._table.numbered:
            return 0
        with self._database.reading() as connection:
            return self._numbering.highest(connection, self._table.name)

    def finish(self, number: int, /) -> None:
        """See `Part.finish`."""
        if number:
            with self._database.changing() as change:
                self._numbering.advance(change, self._table.name, number)


def _quoted(name: str) -> str:
    return f'"{name}"'


def _list(names: Sequence[str]) -> str:
    return ", ".join(map(_quoted, names))


def _marks(count: int) -> str:
    return ", ".join("?" * count)
