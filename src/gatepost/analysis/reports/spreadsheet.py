"""Tables as spreadsheets read them: CSV (RFC 4180) that no cell of is taken for a formula. No I/O.

Used by whatever writes CSV. Names and replies in it come from strangers.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

# Spreadsheets of East Asia take the wide forms as well. Those in German or Swedish read CSV with ";" between cells:
# then quotes within a line of ours mean nothing, and a cell begins behind each ";" and each end of a line.
_FORMULA: Final = re.compile("^(?=[\t\r\n])|(^|[;\t\r\n])(?=[-=+@\uff1d\uff0b\uff0d\uff20])")


def harmless(cell: object) -> object:
    """A spreadsheet shall not take what a peer named itself for a formula: such a text gets an apostrophe."""
    return _FORMULA.sub(r"\1'", cell) if isinstance(cell, str) else cell


def csv_lines(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> Iterator[str]:
    """The head and each row as a line; None is an empty cell, a list is its entries with commas."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(columns)
    yield text.getvalue()
    for row in rows:
        text.seek(0)
        text.truncate()
        writer.writerow([harmless(_text(cell)) for cell in row])
        yield text.getvalue()


def _text(cell: object) -> object:
    return ", ".join(map(str, cell)) if isinstance(cell, list | tuple) else cell
