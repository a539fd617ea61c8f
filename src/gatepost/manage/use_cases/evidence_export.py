"""Entries of the evidence log with their proof, for an auditor: as one JSON document, or written to a file.

Who sees only some organizations gets entries of theirs; what lies between them is in the export as digests, which say
how many there were and nothing else.
"""

from __future__ import annotations

import io
import re
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Any, Final, Literal, Protocol, cast

import msgspec

from gatepost.analysis.reports.evidence_export import (
    Selection,
    Summary,
    chosen_segments,
    write_csv,
    write_document,
    write_json,
)
from gatepost.events.evidence.chain import Place
from gatepost.events.evidence.heads import DayHead
from gatepost.events.evidence.proof import Segment, segment_of
from gatepost.manage.access.principal import Scope
from gatepost.manage.use_cases.declaration import Cli, Visibility, use_cases
from gatepost.manage.use_cases.jobs import ConcurrencyLimit
from gatepost.manage.use_cases.refusal import Refusal, RefusalKind, StoreUnreadable
from gatepost.manage.use_cases.reports import Text, period
from gatepost.manage.use_cases.times import TimeText, read_time
from gatepost.pki.certificates.evidence_key import public_key_id, readable_keys
from gatepost.store.evidence_log import read_heads
from gatepost.store.interface import StoreFailure
from gatepost.store.queue_room import QueueRoom
from gatepost.values import copy_fields, replace

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from gatepost.manage.use_cases.context import Context
    from gatepost.manage.use_cases.evidence import Head
    from gatepost.settings.model import Settings


use_case = use_cases(scope=Scope.READ, visibility=Visibility.SEEN, tag="evidence")
FORMS: Final = ("json", "csv", "pdf")
_ACTION: Final = "evidence-export"
_DAY: Final = re.compile(r"\d{4}-\d{2}-\d{2}")
_FOREVER: Final = 253_400_000_000.0  # in the year 9999, the last that a day can be told of
_MOMENT: Final = 1e-6  # of the times in entries
_MAX_DOCUMENT: Final = 32 * 1024 * 1024  # bytes of an export over REST

type Form = Literal["json", "csv", "pdf"]


class ExportEvidence(msgspec.Struct, kw_only=True):
    """Filters of entries. partner: a connector's name, or a domain and those below it; several with commas.

    message: queue id or Message-ID.
    since, until: UTC days, both included, as for reports; or, where either has a time, times, open if not given.
    """

    since: TimeText = ""
    until: TimeText = ""
    organization: Annotated[Text, Cli(help="Only entries of this organization.")] = ""
    partner: Text = ""
    domain: Annotated[Text, Cli(help="Only entries with this domain of a sender or recipient.")] = ""
    message: Annotated[Text, Cli(help="Only entries about this message: its queue id, or its Message-ID in <>.")] = ""
    address: Annotated[
        Text, Cli(help="Only entries with this address of a sender or recipient, where they keep it or its hash.")
    ] = ""


class OpenExport(ExportEvidence, kw_only=True):
    """The same, and what it will be written as: one of `export_forms`."""

    form: Annotated[Form, Cli(option="format", help="json (default) proves itself; csv and pdf are for reading.")] = (
        "json"
    )


class Export(Protocol):
    """An export that is still to be written."""

    def write(self, out: IO[bytes], proof: tuple[str, str] = ("", "")) -> Summary:
        """Write it. proof: of a PDF, the name of the JSON that proves it and its SHA-256, "" for none.

        Raises Refusal; OSError where `out` cannot be written.
        """


class LogExport:
    """Selected entries of this gateway's log, of the organizations that the caller sees."""

    def __init__(self, context: Context, selection: Selection, form: str) -> None:
        self._context, self._form = context, form
        self._selection, self._chosen = selection, _seen(context, selection)

    def write(self, out: IO[bytes], proof: tuple[str, str] = ("", "")) -> Summary:
        """See `Export`; goes over the log of the time."""
        organization, detail = self._selection.organization, _detail(self._selection)
        with self._context.recording(_ACTION, organization, self._form, **detail):
            return self.write_unrecorded(out, proof)

    def write_temporary(self, file: IO[bytes]) -> Summary:
        """Write it to a temporary file, which lies in the data directory where processes are confined.

        Raises Refusal; OSError where it cannot be written, or would take room of the queue.
        """
        settings = self._context.gateway.settings
        room = QueueRoom(Path(settings.server.data_dir), settings.store.free_space)
        return self.write(cast("IO[bytes]", _LeavingRoom(file, room)))

    def write_unrecorded(self, out: IO[bytes], proof: tuple[str, str] = ("", "")) -> Summary:
        """The same, for who records it."""
        log, node = self._context.storage.evidence(), self._context.settings.server.hostname
        try:
            segments = chosen_segments(log, self._chosen)
            if self._form == "json":
                return write_json(out, log, self._chosen, node, segments)
            if self._form == "csv":
                return _write_csv(out, segments)
            readable, others = readable_keys(log.public_keys())
            keys = [public_key_id(key) for key in readable] + ["a stored key that cannot be read"] * others
            heads = [item for _, item in sorted(read_heads(log).days.items())]
            return _write_pdf(out, (node, keys, heads), self._chosen, segments, proof)
        except StoreFailure as failure:
            raise StoreUnreadable(str(failure)) from failure
        except ValueError as error:
            raise Refusal(RefusalKind.UNREADABLE, f"keys of {log.name}: {error}") from error


class ExportLimit(ConcurrencyLimit):
    """Of exports that are made for pages and calls: an answer is held in memory, several times while it is made."""

    def __init__(self, _: Settings | None = None) -> None:
        super().__init__(4, 1, "Another export is running. Try again when it has finished.")


@use_case("GET /evidence/export", action=_ACTION)
def export_evidence(context: Context, request: ExportEvidence) -> dict[str, Any]:
    """Entries with their proof, as `gatepost evidence export` writes them."""
    selection = _selection(request)
    context.audit.describe(organization=request.organization, subject="json", **_detail(selection))
    out = _Bounded()
    with context.kept(ExportLimit).slot(context.principal.share_key):
        LogExport(context, selection, "json").write_unrecorded(out)
    document: Any = msgspec.Raw(out.getvalue())  # REST sends it as it is
    return document  # type: ignore[no-any-return]


@use_case(action=_ACTION, self_audited=True)
def open_export(context: Context, request: OpenExport) -> LogExport:
    """Entries with their proof, to be written to a file of any size; recorded when that is done."""
    selection = _selection(request)
    context.audit.describe(organization=request.organization, subject=request.form, **_detail(selection))
    return LogExport(context, selection, request.form)


def export_forms() -> tuple[str, ...]:
    """Formats of exports available here: PDF needs the extra gatepost[pdf]."""
    return FORMS if find_spec("reportlab") is not None else FORMS[:-1]


class FetchedExport:
    """The document of another gateway, of 32 MB at most. heads: for a PDF; [] for who sees some organizations only."""

    def __init__(self, document: Mapping[str, Any], heads: Sequence[Head], request: OpenExport) -> None:
        self._head = {name: value for name, value in document.items() if name != "segments"}
        self._segments: list[Segment] = [segment_of(segment) for segment in document["segments"]]
        self._heads = [_day_head(head) for head in heads]
        self._selection, self._form = _selection(request), request.form

    def write(self, out: IO[bytes], proof: tuple[str, str] = ("", "")) -> Summary:
        """See `Export`."""
        if self._form == "json":
            return write_document(out, self._head, self._segments)
        if self._form == "csv":
            return _write_csv(out, self._segments)
        keys = [key["id"] for key in self._head["keys"]]
        return _write_pdf(out, (self._head["node"], keys, self._heads), self._selection, self._segments, proof)


class _LeavingRoom(io.BufferedIOBase):
    """Writes to a temporary file as long as that leaves room for the queue."""

    def __init__(self, file: IO[bytes], room: QueueRoom) -> None:
        self._file = file
        self._room = room
        self._folder = Path(tempfile.gettempdir())

    def writable(self) -> bool:
        """As it is for writing."""
        return True

    def write(self, chunk: Any, /) -> int:
        """Raises OSError."""
        self._room.check(self._folder, len(chunk))
        return self._file.write(chunk)


def _selection(request: ExportEvidence) -> Selection:
    """Raises Refusal (INPUT)."""
    since, until = _times(request)
    return copy_fields(Selection, request, since=since, until=until)


def _detail(selection: Selection) -> dict[str, Any]:
    """For the audit, which has the organization by itself."""
    return {name: value for name, value in selection.record().items() if name != "organization"}


def _seen(context: Context, selection: Selection) -> Selection:
    """The same among the organizations that the caller sees; nothing of one that they do not see."""
    principal = context.principal
    if selection.organization and not principal.sees(selection.organization):
        return replace(selection, organization="", organizations=frozenset())
    return replace(selection, organizations=principal.organizations)


def _times(request: ExportEvidence) -> tuple[float, float]:
    """From when to when, both included; 0.0 for open. Raises Refusal (INPUT)."""
    if all(not text or _DAY.fullmatch(text) for text in (request.since, request.until)):
        since, until = period(request.since, request.until).times
        return since, until - _MOMENT if until < _FOREVER else 0.0
    since = max(0.0, read_time("since", request.since)) if request.since else 0.0
    until = max(0.001, read_time("until", request.until)) if request.until else 0.0
    return since, until if until < _FOREVER else 0.0


def _write_csv(out: IO[bytes], found: Iterable[Segment]) -> Summary:
    text = io.TextIOWrapper(out, "utf-8", newline="")
    summary = write_csv(text, found)
    text.detach()  # flushes, and leaves `out` open
    return summary


def _write_pdf(
    out: IO[bytes],
    log: tuple[str, list[str], list[DayHead]],
    selection: Selection,
    found: Iterable[Segment],
    proof: tuple[str, str],
) -> Summary:
    from gatepost.analysis.reports.evidence_pdf import Log, write_pdf  # noqa: PLC0415 - reportlab may be missing

    return write_pdf(out, Log(*log), selection, found, proof=proof)


def _day_head(head: Head) -> DayHead:
    """Raises TypeError or ValueError for what no gateway answers."""
    writers = {name: Place(int(end["number"]), str(end["head"])) for name, end in head.writers.items()}
    return DayHead(head.day, head.hash, writers)


class _Bounded(io.BytesIO):
    """So much, and no more."""

    def write(self, chunk: Any, /) -> int:
        """Raises Refusal (INPUT)."""
        if self.tell() + len(chunk) > _MAX_DOCUMENT:
            text = "The export is too large for one answer: choose fewer days, or a partner; the admin centre and "
            raise Refusal(RefusalKind.INPUT, text + "`gatepost evidence export` have no such limit.")
        return super().write(chunk)
