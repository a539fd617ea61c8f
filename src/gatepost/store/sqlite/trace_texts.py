"""Addresses, subjects and Message-IDs of a full trace file as searches look through them, some rows at a time.

Made by `store.sqlite.trace` when a file is sealed, and looked through by `store.sqlite.trace_search`: finding a few
letters in 70 octets a row is fast enough, and costs a fifth of an index of parts of words to
make ([0113](docs/decisions/0113-parts-of-words-are-found-in-the-texts-of-a-trace-file.md)).

The texts of each organization stand apart: a search of one reads nothing of others, so that not even its time tells of
them.
"""

from __future__ import annotations

from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING, Final

import msgspec

from gatepost.store.text_pattern import fold
from gatepost.store.trace import TEXT_COLUMNS

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    import apsw

    from gatepost.store.text_pattern import TextPattern


_ROWS: Final = 2000  # of a block: a quarter of a megabyte
# A line of each text and, in the same order, one of the rows that have it: what is received is mostly sent as well.
_JOINED: Final = " || char(9) || ".join(TEXT_COLUMNS)
MAKE: Final = (
    "CREATE TABLE IF NOT EXISTS texts (block INTEGER, organization TEXT, rows TEXT, lines BLOB)",
    "CREATE INDEX IF NOT EXISTS texts_of ON texts (block, organization)",
    "DELETE FROM texts",
)
"""Statements that make the table, empty."""
_BLOCKS: Final = "SELECT DISTINCT rowid / ? FROM trace"
_TEXTS: Final = (
    "SELECT organization COLLATE BINARY AS name, group_concat(rows, char(10)), group_concat(line, char(10)) FROM"  # noqa: S608 - our names
    f" (SELECT organization, replace({_JOINED}, char(10), ' ') AS line, group_concat(rowid, ' ') AS rows FROM trace"
    " WHERE rowid >= ?1 AND rowid < ?2 GROUP BY organization COLLATE BINARY, line COLLATE BINARY) GROUP BY name"
)
_ADD: Final = "INSERT INTO texts (block, organization, rows, lines) VALUES (?, ?, ?, ?)"
_AMONG: Final = " AND organization IN (SELECT value FROM json_each(?))"


def make_texts(connection: apsw.Connection) -> None:
    """Make the texts of all rows. Within a transaction; the database does the work, and others run meanwhile."""
    for statement in MAKE:
        connection.execute(statement)
    blocks = [int(block) for (block,) in connection.execute(_BLOCKS, (_ROWS,))]
    for block in sorted(blocks):
        texts = connection.execute(_TEXTS, (block * _ROWS, (block + 1) * _ROWS)).fetchall()
        connection.executemany(_ADD, [(block, name, rows, fold(str(lines)).encode()) for name, rows, lines in texts])


def rows_with(
    connection: apsw.Connection,
    patterns: Sequence[TextPattern],
    organizations: Collection[str] | None,
    below: int,
) -> Iterator[list[int]]:
    """Rows that may match, some at a time, the newest first.

    organizations: of these alone, None for all. below: rows before this one, 0 for all.
    """
    values: list[int | str]
    needles = sorted({piece.encode() for pattern in patterns for piece in pattern.pieces}, key=len)
    term, values = "block <= ?", [(below - 1) // _ROWS if below else 1 << 60]
    if organizations is not None:
        term += _AMONG
        values.append(msgspec.json.encode(sorted(organizations)).decode())
    texts = connection.execute(f"SELECT block, rows, lines FROM texts WHERE {term} ORDER BY block DESC", values)  # noqa: S608 - our words
    for _, block in groupby(texts, key=itemgetter(0)):
        numbers = [
            number
            for _, rows, lines in block
            for number in _rows_of(rows, lines, needles)
            if not below or number < below
        ]
        if numbers:
            yield sorted(numbers, reverse=True)


def _rows_of(rows: str, lines: bytes, needles: Sequence[bytes]) -> Iterator[int]:
    """The rows of the lines that have every needle. The longest one is looked for, as few lines have it."""
    if not needles:
        yield from map(int, rows.split())
        return
    *others, longest = needles
    place = lines.find(longest)
    if place < 0:
        return
    ids = rows.split("\n")
    number = counted = 0
    while place >= 0:
        number += lines.count(b"\n", counted, place)
        begin = lines.rfind(b"\n", 0, place) + 1
        end = lines.find(b"\n", place)
        end = len(lines) if end < 0 else end
        line = lines[begin:end]
        if all(needle in line for needle in others):
            yield from map(int, ids[number].split())
        counted = end
        place = lines.find(longest, end)
