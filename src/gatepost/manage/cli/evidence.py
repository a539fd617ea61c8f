"""`gatepost evidence`: verify and export the signed record of what each hop required and proved."""

from __future__ import annotations

import hashlib
import os
import re
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import click
import msgspec

from gatepost.analysis.checks.evidence import MAX_BYTES, drill_documents
from gatepost.manage.cli.named_files import read_file
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
    local_settings,
    working,
)
from gatepost.manage.cli.output import (
    _,
    ours,
    print_json,
    print_table,
    printable,
    printed_json,
    quantity,
    say,
    wants_json,
)
from gatepost.manage.cli.request_options import request_options
from gatepost.manage.use_cases import evidence_export
from gatepost.manage.use_cases.client import Client, all_items
from gatepost.manage.use_cases.evidence import ListHeads, ListKeys, list_heads, list_keys
from gatepost.manage.use_cases.evidence_audit import Verification, verify_export, verify_log, verify_stored_log
from gatepost.manage.use_cases.evidence_export import (
    Export,
    ExportEvidence,
    FetchedExport,
    OpenExport,
    export_evidence,
    open_export,
)
from gatepost.manage.use_cases.times import time_text
from gatepost.node.privileges import as_caller
from gatepost.pki.certificates.evidence_key import public_keys_in, readable_keys
from gatepost.store.evidence_files import HEADS_FILE, copy_log, copy_results, day_file
from gatepost.store.interface import StoreFailure
from gatepost.store.storage import Storage
from gatepost.times import day_text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gatepost.analysis.reports.evidence_export import Summary


_MOST_PEM = 1 << 20  # bytes of a file of keys
_HASH = re.compile(r"[0-9a-f]{64}")
_STATUSES = {True: 0, False: NO, None: UNKNOWN}


@click.command()
@click.argument("paths", nargs=-1, type=click.Path(exists=True, path_type=Path), metavar="[DIR | FILE...]")
@click.option("--key", "keys", multiple=True, type=click.Path(exists=True, dir_okay=False, path_type=Path),
              metavar="PEM", help="Public key that you stored earlier. May be repeated.")  # fmt: skip
@click.option(
    "--head",
    "heads",
    multiple=True,
    metavar="HASH",
    help="Hash of a head that you stored earlier; the log must contain it. May be repeated.",
)
@click.option("--since", type=MOMENT, default=0.0, help="Only files since this day: 7d or a date.")
@click.option("--until", type=MOMENT, default=0.0, help="Only files up to this day.")
@gateway_options
def verify(paths: tuple[Path, ...], keys: tuple[Path, ...], heads: tuple[str, ...], **options: Any) -> None:
    """Verify the gateway's evidence log, a copy of it (DIR), some of its files, or an export (FILE.json), offline.

    Everything from the first file to the last signature is compared with the chain of hashes, the signatures and the
    daily heads, and stored drill results with the digests in the log. The first fault of each kind is printed with its
    location. The output also says what no signature covers yet.

    A log from elsewhere and an export contain a key, which a forger could also have added: without --key the signatures
    are checked with that key, and the command ends with 3.

    Exit codes: 0 verified, 1 something was removed, changed or reordered, 2 usage error or bad input, 3 inconclusive:
    nothing is signed, the signing key is not known here, or something cannot be read.
    """
    if wrong := next((head for head in heads if not _HASH.fullmatch(head)), ""):
        fail(
            BAD_INPUT,
            "--head %(wrong)s: not a hash; write 64 hexadecimal digits in lower case",
            wrong=repr(printable(wrong)),
        )
    public_keys = [public_key for key in keys for public_key in _public_keys(key)]
    days = _day(options["since"], ""), _day(options["until"], "9999")
    try:
        with working(_("verifying")):
            if not paths:
                storage = Storage.of(local_settings())
                result = verify_stored_log(storage.evidence(), drill_documents(storage), public_keys, heads, days)
            elif len(paths) == 1 and paths[0].is_file() and day_file(paths[0]) is None and paths[0].name != HEADS_FILE:
                result = verify_export(paths[0], public_keys, heads)
            else:
                result = verify_log(paths, public_keys, heads, days)
    except StoreFailure as failure:
        fail(UNKNOWN, str(failure))
    except OSError as error:
        fail(UNKNOWN, f"{error.filename}: {error.strerror}")
    if not printed_json(result.data):
        _show(result)
    raise SystemExit(_STATUSES[result.verified])


def _public_keys(file: Path) -> list[bytes]:
    readable, others = readable_keys(public_keys_in(read_file(file, _MOST_PEM, "--key ")))
    if others:
        fail(
            BAD_INPUT,
            "--key %(file)s: not a public key of Ed25519 in PEM; gatepost evidence key prints those of a log",
            file=printable(str(file)),
        )
    return readable


def _show(result: Verification) -> None:
    """For a person: what was looked at and what was found on standard output, remarks on standard error."""
    for line in result.lines:
        click.echo(printable(ours(line)))
    for fault in result.faults.first.values():
        line = _(" line %(line)s", line=fault.line) if fault.line else ""
        entry = _(", entry %(number)s", number=fault.number) if fault.number else ""
        more = result.faults.counts[fault.kind] - 1
        click.echo(
            printable(f"{ours(fault.kind)}: {fault.file}{line}{entry}: {ours(fault.text)}")
            + (_(" (%(more)s more)", more=more) if more else "")
        )
    for note in result.notes:
        say("note: %(note)s", err=True, note=ours(note))
    verdicts = {True: _("verified"), False: _("FAILED: the log was altered"), None: _("Inconclusive")}
    click.echo(verdicts[result.verified])


def _day(at: float, otherwise: str) -> str:
    return day_text(at) if at else otherwise


_BEGIN = "1970-01-01T00:00:00+00:00"  # of a time that is open


@click.command()
@request_options(OpenExport, since="", until="", partner="")
@click.option(
    "--partner",
    "partners",
    multiple=True,
    help="Only entries about this partner: a connector, or a domain of the remote side (with subdomains). May be "
    "repeated.",
)
@click.option("--since", type=MOMENT, default=0.0, help="Since this time: 7d or a date.")
@click.option("--until", type=MOMENT, default=0.0, help="Until this time; a date means its beginning (UTC).")
@click.option(
    "-o", "--output", type=click.Path(dir_okay=False, path_type=Path), help="Output file. Default: standard output."
)
@click.option("--proof", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE",
              help="With csv and pdf: also write the JSON to FILE; a PDF names it and its SHA-256.")  # fmt: skip
@gateway_options
def export(
    request: OpenExport,
    *,
    partners: tuple[str, ...],
    since: float,
    until: float,
    output: Path | None,
    proof: Path | None,
) -> None:
    """Export entries of the evidence log: JSON, which contains its own proof, or CSV or PDF for reading.

    The JSON contains the entries that match every option, digests of those between them, and the signatures: `evidence
    verify FILE.json --key PEM` needs nothing else. It proves that each entry was logged and is unchanged. Only the
    whole log can prove that no matching entry is missing. PDF needs the Python package reportlab (gatepost[pdf]). With
    -o, --json says what was written; without, the export is JSON already.

    Exit codes: 0 exported, 1 nothing matches, 2 usage error, 3 the log cannot be read or the file not written.
    """
    gateway = client()
    _check_use(request.form, output, proof)
    times = {"since": time_text(since) or _BEGIN, "until": time_text(until)}
    wanted = msgspec.structs.replace(request, partner=", ".join(partners), **times)
    try:
        summary = _exported(gateway, wanted, output, proof)
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

    What is there and is not a file, such as a device or a pipe, is written to as it is: it must not be replaced.
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


@click.command()
@click.argument("directory", type=click.Path(path_type=Path), metavar="DIR")
@gateway_options
def copy(directory: Path) -> None:
    """Copy the evidence log into a new directory, with its heads, public keys and drill results.

    `evidence verify DIR --key PEM` and docs/verify_evidence.py verify it anywhere. With PostgreSQL, this is how the log
    of all nodes becomes files. No private key is copied.

    Exit codes: 0 copied, 2 usage error, 3 the log cannot be read or DIR not written.
    """
    storage = Storage.of(local_settings())
    try:
        with working(_("copying")):
            days = copy_log(storage.evidence(), directory, as_caller)
            results = drill_documents(storage)
            copy_results(
                directory, ((name, results.read(name, MAX_BYTES)) for name in sorted(results.names())), as_caller
            )
    except StoreFailure as failure:
        fail(UNKNOWN, str(failure))
    except OSError as error:
        fail(UNKNOWN, f"{error.filename or directory}: {error.strerror}")
    if printed_json({"directory": str(directory), "days": days}):
        return
    say("%(files)s of days copied to %(directory)s", err=True, files=quantity(days, "file"), directory=directory)


@click.command()
@click.option("--since", type=MOMENT, default=0.0, help="Since this day: 7d or a date.")
@gateway_options
def heads(since: float) -> None:
    """Print the head of each day: one hash of everything that was logged up to the end of that day.

    The gateway also logs these lines at level info. Send them to a place where the gateway's administrators cannot
    write: `evidence verify --head HASH` then detects a log that was rolled back or rewritten, which no signature can.
    The head of a day exists about a minute after the day ends (UTC).

    Exit codes: 0 there are heads, 1 there are none, 3 the data cannot be read.
    """
    items = list(all_items(client().call, list_heads, ListHeads(since=day_text(since) if since else "")))
    if not printed_json(items) and items:
        ends = (", ".join(f"{name}: {end['number']}" for name, end in head.writers.items()) for head in items)
        table = [(head.day, head.hash, end) for head, end in zip(items, ends, strict=True)]
        print_table(("day", "head", "last entry of each writer"), table)
    if not items:
        fail(NO, "no finished day has a head yet")


@click.command()
@gateway_options
def key() -> None:
    """Print the public keys that sign the log, and that signed it before, in PEM.

    Give them to whoever will verify the log, before it matters: `evidence verify --key FILE`.

    Exit codes: 0 there is a key, 1 there is none yet (the gateway creates it when it starts), 3 the data cannot be
    read.
    """
    keys = client().call(list_keys, ListKeys()).items
    if not printed_json(keys):
        for evidence_key in keys:
            if not evidence_key.id:
                say("a stored public key cannot be read; compare with the keys that you keep elsewhere", err=True)
                continue
            say("key %(id)s", err=True, id=evidence_key.id)
            click.echo(evidence_key.pem, nl=False)
    if not all(evidence_key.id for evidence_key in keys):
        raise SystemExit(UNKNOWN)
    if not keys:
        fail(NO, "there is no key yet: the gateway creates it when it starts with evidence.enabled")
