"""`gatepost evidence verify`: whether an evidence log, files of one, or an export is what was written."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import click

from gatepost.analysis.checks.evidence import drill_documents
from gatepost.manage.cli.named_files import read_file
from gatepost.manage.cli.options import BAD_INPUT, MOMENT, NO, UNKNOWN, fail, gateway_options, local_settings, working
from gatepost.manage.cli.output import _, ours, printable, printed_json, say
from gatepost.manage.use_cases.evidence_audit import Verification, verify_export, verify_log, verify_stored_log
from gatepost.pki.certificates.evidence_key import public_keys_in
from gatepost.store.evidence_files import HEADS_FILE, day_file
from gatepost.store.interface import StoreFailure
from gatepost.store.storage import Storage
from gatepost.times import day_text

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
    public_keys = [public_key for key in keys for public_key in public_keys_in(read_file(key, _MOST_PEM, "--key "))]
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
        say("note: %(note)s", err=True, note=printable(ours(note)))
    verdicts = {True: _("verified"), False: _("FAILED: the log was altered"), None: _("Inconclusive")}
    click.echo(verdicts[result.verified])


def _day(at: float, otherwise: str) -> str:
    return day_text(at) if at else otherwise
