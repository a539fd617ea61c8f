"""`gatepost evidence export`: what happened to the mail of a partner, with the proof, for an auditor."""

from __future__ import annotations

import hashlib
import os
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING

import click
import msgspec

from gatepost.manage.cli.options import (
    BAD_INPUT,
    MOMENT,
    NO,
    UNKNOWN,
    client,
    current_server,
    ending,
    fail,
    gateway_options,
)
from gatepost.manage.cli.output import _, print_json, quantity, say, wants_json
from gatepost.manage.cli.request_options import request_options
from gatepost.manage.use_cases import evidence_export
from gatepost.manage.use_cases.client import Client, all_items
from gatepost.manage.use_cases.evidence import ListHeads, list_heads
from gatepost.manage.use_cases.evidence_export import (
    ExportEvidence,
    FetchedExport,
    OpenExport,
    export_evidence,
    open_export,
)
from gatepost.manage.use_cases.times import time_text
from gatepost.node.privileges import as_caller

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gatepost.analysis.reports.evidence_export import Summary
    from gatepost.manage.use_cases.evidence_export import Export


_BEGIN = "1970-01-01T00:00:00+00:00"  # of a time that is open


@click.command()
@request_options(OpenExport, since="", until="")
@click.option("--since", type=MOMENT, default=0.0, help="Since this time: 7d or a date.")
@click.option("--until", type=MOMENT, default=0.0, help="Until this time.")
@click.option(
    "-o", "--output", type=click.Path(dir_okay=False, path_type=Path), help="Output file. Default: standard output."
)
@click.option("--proof", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE",
              help="With csv and pdf: also write the JSON to FILE; a PDF names it and its SHA-256.")  # fmt: skip
@gateway_options
def export(request: OpenExport, *, since: float, until: float, output: Path | None, proof: Path | None) -> None:
    """Export entries of the evidence log: JSON, which contains its own proof, or CSV or PDF for reading.

    The JSON contains the entries that match every option, digests of those between them, and the signatures: `evidence
    verify FILE.json --key PEM` needs nothing else. It proves that each entry was logged and is unchanged. That no
    matching entry is missing, only the whole log can prove. PDF needs the Python package reportlab (gatepost[pdf]).
    With -o, --json says what was written; without, the export is JSON already.

    Exit codes: 0 exported, 1 nothing matches, 2 usage error, 3 the log cannot be read or the file not written.
    """
    gateway = client()
    _check_use(request.form, output, proof)
    times = {"since": time_text(since) or _BEGIN, "until": time_text(until)}
    try:
        summary = _exported(gateway, msgspec.structs.replace(request, **times), output, proof)
    except OSError as error:
        fail(UNKNOWN, f"{error.filename or output or _('standard output')}: {error.strerror}")
    if output is not None and wants_json():
        _print_summary(summary, request.form, output, proof)
    if not summary.entries:
        fail(NO, "no entry matches")
    say(
        "%(entries)s of %(messages)s",
        err=True,
        entries=quantity(summary.entries, "entry", "entries"),
        messages=quantity(len(summary.messages), "message"),
    )
    if summary.unsigned:
        soon = _("the gateway signs within five minutes, and when it stops")
        say("%(unsigned)s of them not signed yet: %(soon)s", err=True, unsigned=summary.unsigned, soon=soon)


def _print_summary(summary: Summary, form: str, output: Path, proof: Path | None) -> None:
    counts = {"entries": summary.entries, "messages": len(summary.messages), "unsigned": summary.unsigned}
    print_json({"format": form, "file": str(output), "proof": None if proof is None else str(proof), **counts})


def _check_use(form: str, output: Path | None, proof: Path | None) -> None:
    if form == "pdf" and output is None:
        fail(BAD_INPUT, "--format pdf needs -o FILE")
    if form != "json" and output is None and wants_json():
        fail(BAD_INPUT, "--json with --format %(form)s needs -o FILE; without --format, the export is JSON", form=form)
    if any(path is not None and not path.name for path in (output, proof)):
        fail(BAD_INPUT, "-o and --proof need the name of a file")
    if form not in evidence_export.export_forms():
        fail(
            BAD_INPUT,
            "--format pdf needs a Python package that is missing; install gatepost with its extra: gatepost[pdf]",
        )
    if proof is not None and form == "json":
        fail(BAD_INPUT, "--proof is only for --format csv and pdf: the JSON is its own proof")


def _exported(gateway: Client, request: OpenExport, output: Path | None, proof: Path | None) -> Summary:
    proven = "", ""
    if proof is not None:
        with _written(proof) as out:
            _opened(gateway, msgspec.structs.replace(request, form="json")).write(out)
        with as_caller(), proof.open("rb") as file:
            proven = proof.name, hashlib.file_digest(file, "sha256").hexdigest()
        say("proof: %(proof)s, SHA-256 %(proven)s", err=True, proof=proof, proven=proven[1])
    export = _opened(gateway, request)
    with _written(output) as out:
        return export.write(out, proven)


def _opened(gateway: Client, request: OpenExport) -> Export:
    """Of this machine's log; or of what another gateway answers, which is 32 MB at most."""
    if current_server() is None:
        return gateway.call(open_export, request)
    names = ExportEvidence.__struct_fields__
    document = gateway.call(export_evidence, ExportEvidence(**{name: getattr(request, name) for name in names}))
    of_some = "organizations" in document["selection"]  # and heads are about all mail
    heads = [] if of_some or request.form != "pdf" else list(all_items(gateway.call, list_heads, ListHeads()))
    return FetchedExport(document, heads, request)


@contextmanager
def _written(path: Path | None) -> Iterator[IO[bytes]]:
    """Standard output, or a file that only its owner may read and that appears when it is whole.

    What is there and is no file, such as a device or a pipe, is written to as it is: it must not be replaced.
    """
    if path is None:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    with ending(UNKNOWN, OSError, place=f"{path}: "), as_caller():
        is_other = path.exists() and not path.is_file()
        other = path.open("wb") if is_other else None
    if other is not None:
        with other:
            yield other
        return
    fresh = path.with_name(f".{path.name}.{os.getpid()}.new")
    with ending(UNKNOWN, OSError, place=f"{path}: "), as_caller():
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
        with as_caller():
            fresh.replace(path)
    finally:
        with as_caller():
            fresh.unlink(missing_ok=True)
