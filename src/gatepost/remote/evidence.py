"""The evidence log of another gateway: its heads and keys, and entries of it with their proof."""

from __future__ import annotations

import io
from typing import IO, TYPE_CHECKING

from gatepost.administration.evidence import PublicKey, head_of
from gatepost.administration.refusal import Kind, Refusal
from gatepost.evidence.proof import segment_of
from gatepost.remote.times import time_text
from gatepost.reports.evidence_export import write_csv, write_document

if TYPE_CHECKING:
    from gatepost.evidence.heads import DayHead
    from gatepost.remote.connection import Connection
    from gatepost.reports.evidence_export import Selection, Summary

__all__ = ["export", "heads", "keys"]

_BEGIN = "1970-01-01T00:00:00+00:00"  # of a time that is open


def heads(connection: Connection, since: str = "") -> list[DayHead]:
    """As `administration.evidence.heads`."""
    return [head_of(one) for one in connection.items("/evidence/heads", since=since)]


def keys(connection: Connection) -> list[PublicKey]:
    """As `administration.evidence.keys`."""
    return [PublicKey(**one) for one in connection.get("/evidence/keys").value["items"]]


def export(
    connection: Connection,
    selection: Selection,
    form: str,
    out: IO[bytes],
    proof: tuple[str, str] = ("", ""),  # noqa: ARG001 - as there; of a PDF
) -> Summary:
    """As `administration.evidence.export`: JSON and CSV, made here of what was fetched, of 32 MB at most.

    Raises Refusal, INPUT for a PDF; OSError where `out` cannot be written.
    """
    if form == "pdf":
        text = "a PDF is made on the gateway's machine, or by the admin centre; --format json and csv work from afar"
        raise Refusal(Kind.INPUT, text)
    query = {name: getattr(selection, name) for name in ("partner", "domain", "organization", "message", "address")}
    times = {"since": time_text(selection.since) or _BEGIN, "until": time_text(selection.until)}
    document = connection.get("/evidence/export", **query, **times).value
    found = [segment_of(one) for one in document.pop("segments")]
    if form == "json":
        return write_document(out, document, found)
    text_out = io.TextIOWrapper(out, "utf-8", newline="")
    summary = write_csv(text_out, found)
    text_out.detach()  # flushes, and leaves `out` open
    return summary
