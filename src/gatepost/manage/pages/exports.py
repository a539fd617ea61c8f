"""The table of a page as CSV or JSON, where its address says `format=csv` or `format=json`: streamed, and bounded.

Used by every page with a table: `if found := exported(request, "connectors", COLUMNS, records): return found`.

Times in CSV are RFC 3339 in UTC, to the millisecond; in JSON, as in REST, seconds since 1970. CSV for a person begins
with a byte order mark, without which Excel takes UTF-8 for the old character set of the machine; a program, which has
an API token, gets none.
"""

from __future__ import annotations

from itertools import chain, islice
from typing import IO, TYPE_CHECKING, Any, Final

import msgspec
from starlette.responses import StreamingResponse

from gatepost.analysis.reports.spreadsheet import csv_lines
from gatepost.language import _
from gatepost.manage.use_cases.refusal import Refusal, RefusalKind
from gatepost.times import rfc3339

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from starlette.requests import Request


CSV: Final = "text/csv; charset=utf-8"
MOST: Final = 100_000
"""Rows at most; what is more is asked for by narrower filters."""
_CHUNK: Final = 64 * 1024
_BYTE_ORDER_MARK: Final = "\ufeff".encode()
TIMES: Final = frozenset(
    {
        "added", "at", "created", "current_from", "current_until", "deleted_at", "expires", "last_login", "last_used",
        "next_attempt", "not_after", "not_before", "oldest", "reached", "received", "renew_at", "since", "succeeded",
        "switch_at", "tried", "validated_at",
    }
)  # fmt: skip
"""Columns with a time: seconds since 1970 in JSON, as REST has them, and RFC 3339 in CSV, as spreadsheets read it."""


def wants_file(request: Request) -> bool:
    """Whether the address asks for a file; needed only where finding its rows is another way than finding the page."""
    return bool(request.query_params.get("format"))


def exported[Item](
    request: Request,
    name: str,
    columns: Sequence[str],
    items: Callable[[], Iterable[Item]],
    *,
    record: Callable[[Item], Mapping[str, Any]] = msgspec.to_builtins,
    cells: Callable[[Item], Sequence[object]] | None = None,
) -> StreamingResponse | None:
    """The file, None if a page is asked for.

    name: of the file, without what follows the dot. items: made only if they are wanted. record: of an item, for JSON;
    without it its fields. cells: for CSV, one for each of `columns`; without it those of the record, `TIMES` as
    text. Raises Refusal (INPUT) for another format.
    """
    wanted = request.query_params.get("format", "")
    if not wanted:
        return None
    if wanted not in {"csv", "json"}:
        raise Refusal(RefusalKind.INPUT, _("format=%(wanted)s is not supported: choose csv or json", wanted=wanted))
    listed = _begun(islice(items(), MOST))
    name = f"gatepost-{name}.{wanted}"
    if wanted == "csv":
        rows = map(cells or (lambda item: _in_columns(record(item), columns)), listed)
        lines = csv_lines(columns, rows)
        return download(_in_chunks(chain([mark_of(request)], map(str.encode, lines))), name, CSV)
    return download(_in_chunks(_json(map(record, listed))), name, "application/json")


def mark_of(request: Request) -> bytes:
    """The octets that CSV begins with for who asks: a byte order mark for a person, none for a program."""
    return _BYTE_ORDER_MARK if request.state.session is not None else b""


def _begun[Item](items: Iterator[Item]) -> Iterator[Item]:
    """The same, of which the first is there: what cannot be found is refused before an answer has begun."""
    first = list(islice(items, 1))
    return chain(first, items)


def download(chunks: Iterable[bytes], name: str, media_type: str, **headers: str) -> StreamingResponse:
    """A file to keep, sent as it is read. headers: more of them, with "_" for "-"."""
    more = {header.replace("_", "-"): text for header, text in headers.items()}
    more["content-disposition"] = f'attachment; filename="{name}"'
    return StreamingResponse(chunks, media_type=media_type, headers=more)


def chunks_of(file: IO[bytes]) -> Iterator[bytes]:
    """All of a file, which is closed in the end."""
    with file:
        while chunk := file.read(_CHUNK):
            yield chunk


def _in_chunks(lines: Iterable[bytes]) -> Iterator[bytes]:
    """Some at a time: each thing that is sent is asked of another thread, which costs more than a line does."""
    chunk = bytearray()
    for line in lines:
        chunk += line
        if len(chunk) >= _CHUNK:
            yield bytes(chunk)
            chunk.clear()
    yield bytes(chunk)


def _in_columns(row: Mapping[str, Any], columns: Sequence[str]) -> list[object]:
    return [_cell(column, row.get(column)) for column in columns]


def time_cell(seconds: float) -> str:
    """A time in CSV, "" for none."""
    return rfc3339(seconds, "milliseconds") if seconds else ""


def _cell(column: str, value: object) -> object:
    if column in TIMES and isinstance(value, float):
        return time_cell(value)
    return msgspec.json.encode(value).decode() if isinstance(value, dict) else value


def _json(rows: Iterator[Mapping[str, Any]]) -> Iterator[bytes]:
    yield b"["
    for place, row in enumerate(rows):
        yield (b",\n" if place else b"\n") + msgspec.json.encode(row)
    yield b"\n]\n"
