"""The evidence log of another gateway: its heads and keys, and entries of it with their proof."""

from __future__ import annotations

import io
from typing import IO, TYPE_CHECKING, Any

from gatepost.analysis.reports.evidence_export import write_csv, write_document
from gatepost.events.evidence.proof import segment_of
from gatepost.manage.remote.times import time_text
from gatepost.manage.use_cases.evidence import PublicKey, head_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gatepost.analysis.reports.evidence_export import Selection, Summary
    from gatepost.events.evidence.heads import DayHead
    from gatepost.events.evidence.proof import Segment
    from gatepost.manage.remote.connection import Connection


_BEGIN = "1970-01-01T00:00:00+00:00"  # of a time that is open


def heads(connection: Connection, since: str = "") -> list[DayHead]:
    """As `manage.use_cases.evidence.heads`."""
    return [head_of(one) for one in connection.items("/evidence/heads", since=since)]


def keys(connection: Connection) -> list[PublicKey]:
    """As `manage.use_cases.evidence.keys`."""
    return [PublicKey(**one) for one in connection.get("/evidence/keys").value["items"]]


def export(
    connection: Connection,
    selection: Selection,
    form: str,
    out: IO[bytes],
    proof: tuple[str, str] = ("", ""),
) -> Summary:
    """As `manage.use_cases.evidence.export`, made here of what was fetched, of 32 MB at most.

    The PDF for who sees some organizations only has no daily heads. Raises Refusal; OSError where `out` cannot be
    written.
    """
    query = {name: getattr(selection, name) for name in ("partner", "domain", "organization", "message", "address")}
    times = {"since": time_text(selection.since) or _BEGIN, "until": time_text(selection.until)}
    document = connection.get("/evidence/export", **query, **times).value
    found = [segment_of(one) for one in document.pop("segments")]
    if form == "json":
        return write_document(out, document, found)
    if form == "pdf":
        return _pdf(connection, document, selection, found, out, proof)
    text_out = io.TextIOWrapper(out, "utf-8", newline="")
    summary = write_csv(text_out, found)
    text_out.detach()  # flushes, and leaves `out` open
    return summary


def _pdf(
    connection: Connection,
    document: Mapping[str, Any],
    selection: Selection,
    found: Sequence[Segment],
    out: IO[bytes],
    proof: tuple[str, str],
) -> Summary:
    from gatepost.analysis.reports.evidence_pdf import Log, write_pdf  # noqa: PLC0415 - reportlab may be missing

    of_some = "organizations" in document["selection"]  # and heads are about all mail
    days = [] if of_some else heads(connection)
    return write_pdf(
        out, Log(document["node"], [one["id"] for one in document["keys"]], days), selection, found, proof=proof
    )
