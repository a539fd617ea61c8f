"""Verifies an evidence log on disk: every chain, every signature, the daily heads, and that nothing of them is gone.

Used by `evidence verify`, on the gateway's own log or on a copy elsewhere. Reads files as they come, a line at a time.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import groupby
from typing import TYPE_CHECKING, Any

from gatepost.evidence.audit import ChainAudit, FaultKind, Faults
from gatepost.evidence.entry import Kind
from gatepost.evidence.heads import HeadBook
from gatepost.store.evidence_files import HEADS_FILE, day_files, read_lines

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable
    from pathlib import Path

    from gatepost.evidence.audit import SignatureCheck
    from gatepost.evidence.chain import Line
    from gatepost.store.evidence_files import DayFile

__all__ = ["LogAudit", "audit_files", "audit_log"]


@dataclass(slots=True)
class LogAudit:
    """What was found. entries, checkpoints, heads, files: how many there are.

    unsigned: by writer, how many entries at the end no checkpoint covers. first, last: days. gaps: what entries say was
    lost in crashes, with the writer. pruned: files of days before this day were removed in order, "" if none were.
    unheaded: days that are over and have no head.
    """

    faults: Faults = field(default_factory=Faults)
    entries: int = 0
    checkpoints: int = 0
    heads: int = 0
    files: int = 0
    first: str = ""
    last: str = ""
    unsigned: dict[str, int] = field(default_factory=dict)
    gaps: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    pruned: str = ""
    unheaded: list[str] = field(default_factory=list)
    hashes: set[str] = field(default_factory=set)

    @property
    def proven(self) -> bool:
        """Whether anything is signed at all, so that a verdict has a ground."""
        return bool(self.checkpoints or self.heads)


def audit_log(
    evidence: Path,
    check: SignatureCheck,
    *,
    noted: Collection[str] = (),
    days: tuple[str, str] = ("", "9999"),
    today: str = "9999",
    live: bool = False,
) -> LogAudit:
    """A whole directory of evidence. noted: hashes of heads or entries that somebody kept: all must be in it.

    days: only files from the first to the last of them. today: its file needs no head yet. live: a gateway may write to
    it. Raises StoreFailure if something cannot be read.
    """
    since, until = days
    audit = LogAudit()
    book = _heads(evidence, audit, check)
    files = day_files(evidence, since=since, until=until)
    _chains(files, audit, check, book, noted, live=live)
    book.missing(audit.faults, {(one.day, one.writer) for one in files}, since=since, until=until)
    audit.pruned = book.before
    audit.heads = len(book.days)
    audit.unheaded = sorted({one.day for one in files if one.day < today} - set(book.days))
    for hash_ in noted:
        if hash_ not in book.hashes and hash_ not in audit.hashes:
            text = f"the hash {hash_}, which was noted, is not in it: the log was rolled back or written anew"
            audit.faults.add(FaultKind.REWRITTEN, (HEADS_FILE, 0, 0), text)
    return audit


def audit_files(files: Iterable[DayFile], check: SignatureCheck, *, noted: Collection[str] = ()) -> LogAudit:
    """Some files alone, without heads. Raises StoreFailure."""
    audit = LogAudit()
    ordered = sorted(files, key=lambda one: (one.writer, one.day))
    _chains(ordered, audit, check, HeadBook(), noted)
    for hash_ in noted:
        if hash_ not in audit.hashes:
            audit.faults.add(FaultKind.REWRITTEN, ("", 0, 0), f"the hash {hash_}, which was noted, is not in them")
    return audit


def _heads(evidence: Path, audit: LogAudit, check: SignatureCheck) -> HeadBook:
    book = HeadBook()
    path = evidence / HEADS_FILE
    if path.exists():
        chain = ChainAudit(audit.faults, check, seen=book.take)
        chain.lines(path.name, read_lines(path))
        chain.finish()
    return book


def _chains(
    files: Iterable[DayFile],
    audit: LogAudit,
    check: SignatureCheck,
    book: HeadBook,
    noted: Collection[str],
    *,
    live: bool = False,
) -> None:
    for writer, own in groupby(files, key=lambda one: one.writer):
        last: list[Line] = []

        def seen(line: Line, last: list[Line] = last) -> None:
            last[:] = [line]
            if line.hash in noted:
                audit.hashes.add(line.hash)

        chain, these = ChainAudit(audit.faults, check, seen=seen), list(own)
        for one in these:
            _file(one, chain, audit, book, live=live and one is these[-1])
        chain.finish()
        audit.entries += chain.entries
        audit.checkpoints += chain.checkpoints
        audit.gaps += [(writer, gap) for gap in chain.gaps]
        if chain.place.number > chain.signed:
            audit.unsigned[writer] = chain.place.number - chain.signed


def _file(file: DayFile, chain: ChainAudit, audit: LogAudit, book: HeadBook, *, live: bool) -> None:
    if not file.closed and not file.path.stat().st_size:
        return  # a crash came before its first entry
    audit.files += 1
    audit.first = min(audit.first or file.day, file.day)
    audit.last = max(audit.last, file.day)
    first = not chain.entries
    chain.lines(file.path.name, read_lines(file.path), live=live)
    begin = chain.begin
    if begin.get("kind") != Kind.BEGIN or begin.get("day") != file.day or begin.get("writer") != file.writer:
        said = f"of {begin.get('day', 'no day')}, writer {begin.get('writer', 'none')}"
        audit.faults.add(FaultKind.FILE, (file.path.name, 1, 0), f"by its first entry it is the file {said}")
    if first and chain.entries:
        _start(file, chain, audit, book)
    if book.compare(audit.faults, file.path.name, file.day, file.writer, chain.place):
        chain.signed = chain.place.number


def _start(file: DayFile, chain: ChainAudit, audit: LogAudit, book: HeadBook) -> None:
    """The first file that is there: what was before it is gone, in order or not, and only the heads know of it."""
    before = book.before_day(file.writer, file.day)
    if before is not None and before != chain.start:
        text = f"it does not begin behind entry {before.number}, with which the days before ended by their heads"
        audit.faults.add(FaultKind.REMOVED, (file.path.name, 1, chain.start.number + 1), text)
