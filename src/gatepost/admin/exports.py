"""The rows of a table as CSV or JSON, for `?format=csv` and `?format=json` of its page; streamed, never held whole.

JSON is a list of the records that `--json` prints. What a stranger wrote is made harmless for spreadsheets.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec
from starlette.responses import StreamingResponse

from gatepost.administration.csv_text import csv_lines

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from starlette.requests import Request
    from starlette.responses import Response

__all__ = ["FORMATS", "export", "wanted_format"]

FORMATS: Final = ("csv", "json")
_encode = msgspec.json.Encoder(enc_hook=str).encode


def wanted_format(request: Request) -> str:
    """What the address asks for, of FORMATS; "" for the page."""
    given = request.query_params.get("format", "")
    return given if given in FORMATS else ""


def export(
    form: str, name: str, columns: Sequence[str], rows: Iterable[Sequence[object]], records: Iterable[Any]
) -> Response:
    """The table as a file. form: "csv" or "json". name: of the file, without its end. Only one of the two is read."""
    if form == "csv":
        answer = StreamingResponse(csv_lines(columns, rows), media_type="text/csv; charset=utf-8")
    else:
        answer = StreamingResponse(_json(records), media_type="application/json")
    answer.headers["content-disposition"] = f'{"attachment" if form == "csv" else "inline"}; filename="{name}.{form}"'
    answer.headers["cache-control"] = "no-store"
    return answer


def _json(records: Iterable[Any]) -> Iterator[bytes]:
    before = b"[\n"
    for record in records:
        yield before + _encode(record)
        before = b",\n"
    yield b"[]\n" if before == b"[\n" else b"\n]\n"
