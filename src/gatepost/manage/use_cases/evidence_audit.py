"""Verify an evidence log, files of one, or an export: the verdict, and what is said with it.

Used by `gatepost evidence verify`, and by `manage.use_cases.evidence.verify_own_log`, for the gateway's own log.
"""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

from gatepost.analysis.checks.evidence import DrillAudit, Kept, audit_drills, drills_in_copy, every
from gatepost.analysis.reports.evidence_audit import LogAudit, audit_files, audit_log
from gatepost.events.evidence.audit import FaultKind, Faults, SignatureCheck
from gatepost.events.evidence.proof import ExportAudit, audit_export, exported_keys, read_export
from gatepost.manage.use_cases.refusal import Refusal, RefusalKind
from gatepost.pki.certificates.evidence_key import public_key_id, readable_keys, signature_check
from gatepost.quantity import quantity
from gatepost.store.evidence_files import EvidenceDirectory, day_file, evidence_directory
from gatepost.times import day_text

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from gatepost.store.documents import Documents
    from gatepost.store.evidence_log import EvidenceSource


_TORN: Final = "torn"
_OFF: Final = "off"
_FEW: Final = 5
_ALL_DAYS: Final = ("", "9999")


class Verification:
    """Result of a verification. trusted: the keys are the reader's own. proven: something is signed.

    verified: None if nobody can tell. lines: what was looked at. notes: what is to be said besides. faults: the first
    of each kind, and how many. data: all of it for machines, as `gatepost evidence verify --json` prints it.
    """

    def __init__(self, faults: Faults, *, trusted: bool, proven: bool) -> None:
        self.lines: list[str] = []
        self.notes: list[str] = []
        self.faults = faults
        self.verified: bool | None = True
        if set(faults.first) - {FaultKind.KEY}:
            self.verified = False
        elif faults.first or not trusted or not proven:
            self.verified = None
        self.data: dict[str, Any] = {
            "verified": self.verified,
            "faults": [asdict(fault) | {"count": faults.counts[fault.kind]} for fault in faults.first.values()],
        }
        if not trusted:
            self.notes.append(
                "the key came with what was verified, and whoever forged that could have brought it: verify with "
                "the one that you kept"
            )
        if not proven and not faults.first:
            self.notes.append("nothing in it is signed: nobody can tell whether it is what was written")

    def cannot_tell(self) -> None:
        """Something keeps a yes from being said."""
        if self.verified:
            self.verified = self.data["verified"] = None


def _check(given: list[bytes], brought: list[bytes]) -> tuple[SignatureCheck, list[str]]:
    """The check by the keys that are given, else by those that came along; and the ids of these keys."""
    keys = given or brought
    try:
        return signature_check(keys), [public_key_id(key) for key in keys]
    except ValueError as error:
        raise Refusal(
            RefusalKind.INPUT if given else RefusalKind.UNREADABLE,
            f"{'the key that was given' if given else 'the key that came along'}: {error}",
        ) from error


def verify_stored_log(
    log: EvidenceSource,
    results: Documents,
    given: Sequence[bytes] = (),
    heads: Sequence[str] = (),
    days: tuple[str, str] = _ALL_DAYS,
) -> Verification:
    """The gateway's own log, which may grow meanwhile, and whose keys are trusted, with the results of its drills.

    Otherwise as `verify_log`.
    """
    return _verified(log, results, list(given), heads, days, own=True)


def verify_log(
    paths: Sequence[Path], given: list[bytes], heads: Sequence[str], days: tuple[str, str] = _ALL_DAYS
) -> Verification:
    """A directory of evidence with the results of drills, or some of its files.

    given: public keys that are trusted, PEM; [] takes those that lie there. heads: hashes that must be in it. days:
    only files from the first to the last of them, ("", "9999") for all. Raises Refusal; StoreFailure or OSError if
    something cannot be read.
    """
    directories = [path for path in paths if path.is_dir()]
    if directories and len(paths) > 1:
        raise Refusal(RefusalKind.INPUT, "name one directory, or files of one directory, not both")
    if directories:
        root = _root(directories[0])
        return _verified(EvidenceDirectory(root), drills_in_copy(root), given, heads, days, own=False)
    files = [day_file(path) for path in paths]
    strange = [str(path) for path, file in zip(paths, files, strict=True) if file is None]
    if strange:
        raise Refusal(
            RefusalKind.INPUT, f"{_printable(strange[0])}: neither a file of an evidence log nor a single export"
        )
    brought, unreadable = readable_keys(_keys_near(paths[0]))
    check, ids = _check(given, brought)
    audit = audit_files([file for file in files if file is not None], check, noted=heads)
    result = _log_result(audit, _printable(paths[0].parent), ids, trusted=bool(given))
    _note_keys(result, unreadable)
    result.notes.append("without the daily heads nobody can tell whether other files, or the ends of these, are gone")
    return result


def _verified(
    log: EvidenceSource,
    results: Documents,
    given: list[bytes],
    heads: Sequence[str],
    days: tuple[str, str],
    *,
    own: bool,
) -> Verification:
    brought, unreadable = readable_keys(log.public_keys())
    check, ids = _check(given, brought)
    today = day_text(time.time()) if own else "9999"
    audit = audit_log(log, check, noted=heads, days=days, today=today, live=own)
    _must_be_something(audit, log.name, whole=days == _ALL_DAYS)
    drills = audit_drills((drill for drill in every(results) if _is_of(drill, days)), audit.drills, audit.faults)
    result = _log_result(audit, log.name, ids, trusted=bool(given) or own)
    _note_keys(result, unreadable)
    _add_drills(result, drills)
    return result


def _note_keys(result: Verification, unreadable: int) -> None:
    """Signatures of such a key are those of one that is not known."""
    if unreadable:
        result.notes.append(
            f"{quantity(unreadable, 'stored public key')} of the log cannot be read, and no signature was checked with "
            "what is there; compare with the keys that you keep elsewhere"
        )


def _is_of(drill: Kept, days: tuple[str, str]) -> bool:
    """Whether a drill was held on these days, by its name."""
    day = drill.path.name.partition("-")[2][:8]
    return days[0].replace("-", "") <= day <= days[1].replace("-", "")


def _add_drills(result: Verification, drills: DrillAudit) -> None:
    """Say what came of the comparison with the results of drills, each that does not match by name."""
    if drills.matching:
        result.lines.append(f"{quantity(drills.matching, 'drill result')} as the log has them")
    result.lines += [f"drill result {name} is wrong: {why}" for name, why in drills.wrong.items()]
    if drills.unlogged:
        few = ", ".join(drills.unlogged[:_FEW])
        result.notes.append(f"{quantity(len(drills.unlogged), 'drill result')} that the log does not have: {few}")
    if drills.gone:
        few = ", ".join(drills.gone[:_FEW])
        result.notes.append(f"{quantity(len(drills.gone), 'drill result')} of the log that are no longer kept: {few}")
    result.data["drills"] = asdict(drills)


def _root(path: Path) -> Path:
    """The directory of evidence itself, of which a data directory was perhaps meant."""
    inner = evidence_directory(path)
    return inner if inner.is_dir() and not (path / "log").is_dir() else path


def _keys_near(file: Path) -> list[bytes]:
    return EvidenceDirectory(file.resolve().parent.parent).public_keys()


def _must_be_something(audit: LogAudit, name: str, *, whole: bool) -> None:
    """Heads are of all days: of some days they prove nothing where no file is, unless they say why it is gone."""
    headed = audit.heads and (whole or audit.pruned)
    if not audit.files and not headed and not audit.faults.first:
        raise Refusal(RefusalKind.UNREADABLE, f"{name}: there is no evidence log here, or none for these days")


def _log_result(audit: LogAudit, what: str, ids: list[str], *, trusted: bool) -> Verification:
    result = Verification(audit.faults, trusted=trusted, proven=audit.proven)
    counts = {name: getattr(audit, name) for name in ("files", "entries", "checkpoints", "heads")}
    entries, checkpoints = quantity(audit.entries, "entry", "entries"), quantity(audit.checkpoints, "checkpoint")
    counted = f"{quantity(audit.files, 'file')}, {entries}, {checkpoints}, {quantity(audit.heads, 'head')}"
    span = audit.first if audit.first == audit.last else f"{audit.first} to {audit.last}"
    result.lines.append(f"{what}: {span}, {counted}")
    result.lines.append(f"keys used to verify: {', '.join(ids) or 'none'}")
    for writer, number in (
        audit.signed.items() if result.verified is not False else ()
    ):  # an altered log is not verified
        if writer not in audit.unproven:
            result.lines.append(f"writer {writer}: verified up to entry {number}, which a signature covers")
    for writer, count in audit.unsigned.items() if FaultKind.KEY not in audit.faults.first else ():
        result.notes.append(
            f"writer {writer}: no signature covers {quantity(count, 'entry', 'entries')} at the end yet: written, but "
            "not proven to be unchanged"
        )
    if audit.unproven:
        result.cannot_tell()
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
        "signed": audit.signed,
        "gaps": [{"writer": writer} | gap for writer, gap in audit.gaps],
        "pruned_before": audit.pruned,
        "notes": result.notes,
    }
    return result


def _gap(writer: str, gap: dict[str, Any]) -> str:
    """Something that the log itself says is missing."""
    number, count = gap.get("number"), gap.get("count")
    count = count if isinstance(count, int) else 0  # whoever forges a log chooses it
    if gap.get("what") == _OFF:
        time_ = str(gap.get("time", ""))[:19]
        return (
            f"writer {writer}, entry {number}: from {time_} on a node ran without this log ([evidence] enabled = false)"
        )
    if gap.get("what") == _TORN:
        return f"writer {writer}, entry {number}: a crash tore {quantity(count, 'octet')}; kept in a file .torn"
    return f"writer {writer}, entry {number}: dropped {quantity(count, 'event')}, as the disk was behind"


def verify_export(path: Path, given: list[bytes], heads: Sequence[str]) -> Verification:
    """An export of `manage.use_cases.evidence_export`. given: as for `verify_log`. Raises Refusal, OSError."""
    try:
        document = read_export(path.read_bytes())
        check, ids = _check(given, exported_keys(document))
        audit = audit_export(document, check)
        origin = _origin(path, document)
    except ValueError as error:
        raise Refusal(
            RefusalKind.INPUT,
            f"{_printable(path)}: neither a log nor an undamaged export: {_printable(error)}; name the directory of a "
            "log, or export it again (gatepost evidence export)",
        ) from error
    if heads:
        text = "a head can only be checked against a whole log: an export does not contain all heads"
        raise Refusal(RefusalKind.INPUT, text, options=["head"])
    return _export_result(audit, origin, ids, trusted=bool(given))


def _origin(path: Path, document: dict[str, Any]) -> str:
    """An export's description of itself. It is not signed: a forger chooses it. Raises ValueError if it has none."""
    chosen = document.get("selection", {})
    if not isinstance(chosen, dict):
        raise ValueError("its selection is not an object")  # noqa: TRY004 - what is wrong is the content
    selection = ", ".join(f"{name} {value}" for name, value in chosen.items())
    made, node = document.get("made", ""), document.get("node", "")
    return _printable(f"{path}: export of {selection or 'everything'}, made {made} on {node}")


def _export_result(audit: ExportAudit, what: str, ids: list[str], *, trusted: bool) -> Verification:
    result = Verification(audit.faults, trusted=trusted, proven=audit.entries > audit.unsigned)
    result.lines.append(what)
    result.lines.append(
        f"{quantity(audit.entries, 'entry', 'entries')}, {quantity(audit.checkpoints, 'checkpoint')}; "
        f"{quantity(audit.skipped, 'entry', 'entries')} of others as digests only"
    )
    result.lines.append(f"keys used to verify: {', '.join(ids) or 'none'}")
    if audit.unsigned and not audit.faults.first:
        result.notes.append(f"no signature covers {audit.unsigned} of the entries yet: export again later")
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


def _printable(text: object) -> str:
    return "".join(character if character.isprintable() else "?" for character in str(text))
