"""`gatepost evidence verify`: whether an evidence log, files of one, or an export is what was written."""

from __future__ import annotations

import re
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from gatepost.certificates.evidence_key import kept_keys, public_key_id, signature_check
from gatepost.cli.options import BAD_INPUT, NO, UNKNOWN, config_option, fail, json_option, settings_of
from gatepost.cli.tables import print_json, printable
from gatepost.cli.times import MOMENT
from gatepost.evidence.audit import FaultKind
from gatepost.evidence.proof import audit_export
from gatepost.reports.evidence_audit import audit_files, audit_log
from gatepost.store.evidence_files import HEADS_FILE, day_file, evidence_directory
from gatepost.store.interface import StoreFailure
from gatepost.store.trace_files import day_of

if TYPE_CHECKING:
    from gatepost.evidence.audit import Faults, SignatureCheck
    from gatepost.evidence.proof import ExportAudit
    from gatepost.reports.evidence_audit import LogAudit

__all__ = ["verify"]

_HASH = re.compile(r"[0-9a-f]{64}")
_TORN = "torn"
_SINGULAR = {"files": "file", "entries": "entry", "checkpoints": "checkpoint", "heads": "head"}


@click.command()
@click.argument("paths", nargs=-1, type=click.Path(exists=True, path_type=Path), metavar="[DIR | FILE...]")
@click.option("--key", "keys", multiple=True, type=click.Path(exists=True, dir_okay=False, path_type=Path),
              metavar="PEM", help="Public key that you kept from before; several may be given.")  # fmt: skip
@click.option("--head", "heads", multiple=True, metavar="HASH", help="Hash of a head that you noted: must be in it.")
@click.option("--since", type=MOMENT, default=0.0, help="Only files from that day on: 7d or a date.")
@click.option("--until", type=MOMENT, default=0.0, help="Only files up to that day.")
@config_option
@json_option
def verify(
    paths: tuple[Path, ...], keys: tuple[Path, ...], heads: tuple[str, ...], config: str | None, **options: Any
) -> None:
    """Verify the gateway's evidence log, a copy of it (DIR), some of its files, or an export (FILE.json), offline.

    Everything from the first file to the last signature is held against the chain of hashes, the signatures and the
    daily heads. The first fault of each kind is printed with its place. What no signature covers yet is said.

    A log elsewhere and an export bring a key along, which a forger could have brought as well: without --key the
    signatures are checked by it, and the command ends with 3.

    Exit codes: 0 all good, 1 something was removed, changed or reordered, 2 wrong use or bad input, 3 could not tell:
    nothing is signed, by a key that is not known here, or something cannot be read.
    """
    if wrong := next((one for one in heads if not _HASH.fullmatch(one)), ""):
        fail(BAD_INPUT, f"--head {printable(wrong)!r}: a hash has 64 hexadecimal digits, in lower case")
    own = not paths
    if own:
        paths = (evidence_directory(Path(settings_of(config).server.data_dir)),)
    given = [one.read_bytes() for one in keys]
    days = _day(options["since"], ""), _day(options["until"], "9999")
    try:
        if (
            not own
            and len(paths) == 1
            and paths[0].is_file()
            and day_file(paths[0]) is None
            and paths[0].name != HEADS_FILE
        ):
            result = _export(paths[0], given, heads)
        else:
            result = _log(paths, given, heads, days, own=own)
    except StoreFailure as failure:
        fail(UNKNOWN, str(failure))
    except OSError as error:
        fail(UNKNOWN, f"{error.filename or paths[0]}: {error.strerror}")
    if options["as_json"]:
        print_json(result.data)
    else:
        result.show()
    raise SystemExit(result.status)


class _Result:
    """What is printed. trusted: the keys are the reader's own. proven: something is signed."""

    def __init__(self, faults: Faults, *, trusted: bool, proven: bool) -> None:
        self.lines: list[str] = []
        self.notes: list[str] = []
        self.faults = faults
        self.status = 0
        if set(faults.first) - {FaultKind.KEY}:
            self.status = NO
        elif faults.first or not trusted or not proven:
            self.status = UNKNOWN
        verified = {0: True, NO: False}.get(self.status)
        self.data: dict[str, Any] = {
            "verified": verified,
            "faults": [asdict(one) | {"count": faults.counts[one.kind]} for one in faults.first.values()],
        }
        if not trusted:
            self.notes.append(
                "the key came with what was verified, and whoever forged that could have brought it: give the one that "
                "you kept, with --key"
            )
        if not proven:
            self.notes.append("nothing in it is signed: nobody can tell whether it is what was written")

    def cannot_tell(self) -> None:
        """Something keeps a yes from being said."""
        if self.status == 0:
            self.status, self.data["verified"] = UNKNOWN, None

    def show(self) -> None:
        """For a person: what was looked at and what was found on standard output, remarks on standard error."""
        for line in self.lines:
            click.echo(printable(line))
        for one in self.faults.first.values():
            line = f" line {one.line}" if one.line else ""
            entry = f", entry {one.number}" if one.number else ""
            more = self.faults.counts[one.kind] - 1
            click.echo(
                printable(f"{one.kind}: {one.file}{line}{entry}: {one.text}") + (f" ({more} more)" if more else "")
            )
        for note in self.notes:
            click.echo(f"note: {printable(note)}", err=True)
        verdicts = {0: "verified", NO: "NOT verified: it is not what was written", UNKNOWN: "could not tell"}
        click.echo(verdicts[self.status])


def _day(at: float, otherwise: str) -> str:
    return day_of(at) if at else otherwise


def _check(given: list[bytes], brought: list[bytes]) -> tuple[SignatureCheck, list[str]]:
    """The check by the keys that are given, else by those that came along; and the ids of these keys."""
    keys = given or brought
    try:
        return signature_check(keys), [public_key_id(one) for one in keys]
    except ValueError as error:
        fail(BAD_INPUT if given else UNKNOWN, f"{'--key' if given else 'the key that came along'}: {error}")


# a log


def _log(
    paths: tuple[Path, ...], given: list[bytes], heads: tuple[str, ...], days: tuple[str, str], *, own: bool
) -> _Result:
    directories = [one for one in paths if own or one.is_dir()]
    if directories and len(paths) > 1:
        fail(BAD_INPUT, "one directory, or some files of one: not both")
    if directories:
        root = _root(directories[0])
        check, ids = _check(given, kept_keys(root))
        today = day_of(time.time()) if own else "9999"
        audit = audit_log(root, check, noted=heads, days=days, today=today, live=own)
        _must_be_something(audit, root)
        return _told(audit, str(root), ids, trusted=bool(given) or own)
    files = [day_file(one) for one in paths]
    strange = [str(path) for path, one in zip(paths, files, strict=True) if one is None]
    if strange:
        fail(BAD_INPUT, f"{printable(strange[0])}: no file of an evidence log, and no single export")
    check, ids = _check(given, _keys_near(paths[0]))
    audit = audit_files([one for one in files if one is not None], check, noted=heads)
    result = _told(audit, "these files", ids, trusted=bool(given))
    result.notes.append("without the daily heads nobody can tell whether other files, or the ends of these, are gone")
    return result


def _root(path: Path) -> Path:
    """The directory of evidence itself, of which a data directory was perhaps meant."""
    inner = evidence_directory(path)
    return inner if inner.is_dir() and not (path / "log").is_dir() else path


def _keys_near(file: Path) -> list[bytes]:
    return kept_keys(file.resolve().parent.parent)


def _must_be_something(audit: LogAudit, root: Path) -> None:
    if not audit.files and not audit.heads and not audit.faults.first:
        fail(UNKNOWN, f"{root}: there is no evidence log here, or none of these days")


def _told(audit: LogAudit, what: str, ids: list[str], *, trusted: bool) -> _Result:
    result = _Result(audit.faults, trusted=trusted, proven=audit.proven)
    span = audit.first if audit.first == audit.last else f"{audit.first} to {audit.last}"
    counts = {name: getattr(audit, name) for name in ("files", "entries", "checkpoints", "heads")}
    told = (f"{count} {name if count != 1 else _SINGULAR[name]}" for name, count in counts.items())
    result.lines.append(f"{what}: {span}, {', '.join(told)}")
    result.lines.append(f"signed by: {', '.join(ids) or 'no key'}")
    for writer, count in audit.unsigned.items():
        result.notes.append(f"writer {writer}: no signature covers the last {count} entries yet")
    for writer, gap in audit.gaps:
        result.notes.append(_gap(writer, gap))
    if audit.pruned:
        result.notes.append(f"files of days before {audit.pruned} were removed in order (evidence.keep); heads say so")
    if audit.headless:
        lost = ", ".join(audit.headless[:5])
        result.notes.append(
            f"the heads of {lost} are missing, though the gateway went on: so may be files of those days"
        )
        result.cannot_tell()
    elif audit.unheaded:
        result.notes.append(f"no head of a day yet: {', '.join(audit.unheaded[:5])}")
    result.data |= counts | {
        "first": audit.first,
        "last": audit.last,
        "keys": ids,
        "unsigned": audit.unsigned,
        "gaps": [{"writer": writer} | gap for writer, gap in audit.gaps],
        "pruned_before": audit.pruned,
        "notes": result.notes,
    }
    return result


def _gap(writer: str, gap: dict[str, Any]) -> str:
    """Something that the log itself says is missing."""
    number, count = gap.get("number"), gap.get("count")
    if gap.get("what") == _TORN:
        return f"writer {writer}, entry {number}: {count} octets were torn by a crash; they are kept in a file .torn"
    return f"writer {writer}, entry {number}: {count} events were dropped, as the disk was behind"


# an export


def _export(path: Path, given: list[bytes], heads: tuple[str, ...]) -> _Result:
    try:
        document = msgspec.json.decode(path.read_bytes())
        brought = [str(one["pem"]).encode() for one in document["keys"]]
        check, ids = _check(given, brought)
        audit = audit_export(document, check)
    except (msgspec.DecodeError, KeyError, TypeError, ValueError, RecursionError) as error:
        fail(BAD_INPUT, f"{printable(path)}: neither a log, nor an export that was not damaged: {printable(error)}")
    if heads:
        fail(BAD_INPUT, "--head is for a whole log: an export does not hold all heads")
    return _told_export(audit, document, path, ids, trusted=bool(given))


def _told_export(audit: ExportAudit, document: dict[str, Any], path: Path, ids: list[str], *, trusted: bool) -> _Result:
    result = _Result(audit.faults, trusted=trusted, proven=audit.entries > audit.unsigned or not audit.entries)
    wanted = ", ".join(f"{name} {value}" for name, value in document.get("selection", {}).items()) or "everything"
    result.lines.append(f"{path}: export of {wanted}, made {document.get('made', '')} on {document.get('node', '')}")
    result.lines.append(
        f"{audit.entries} entries, {audit.checkpoints} checkpoints; {audit.skipped} entries of others as digests only"
    )
    result.lines.append(f"signed by: {', '.join(ids) or 'no key'}")
    if audit.unsigned:
        result.notes.append(f"no signature covers {audit.unsigned} of the entries yet: export them again later")
        result.cannot_tell()
    result.data |= {
        "entries": audit.entries,
        "unsigned": audit.unsigned,
        "digests": audit.skipped,
        "checkpoints": audit.checkpoints,
        "keys": ids,
        "notes": result.notes,
    }
    return result
