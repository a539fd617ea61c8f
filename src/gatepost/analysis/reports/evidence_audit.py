"""Verify an evidence log on disk: every chain, every signature, the daily heads, and that nothing is missing.

Used by `evidence verify`, on the gateway's own log or on a copy elsewhere. Reads files as they come, a line at a time.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from datetime import date
from itertools import groupby
from typing import TYPE_CHECKING, Any, Final

from gatepost.events.evidence.audit import ChainAudit, FaultKind, Faults, SignatureCheck
from gatepost.events.evidence.entry import Kind, seconds
from gatepost.events.evidence.heads import HeadBook
from gatepost.store.evidence_end import day_after
from gatepost.store.evidence_files import ADMIN_WRITER, HEADS_FILE

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from gatepost.events.evidence.chain import Line, Place
    from gatepost.store.evidence_log import EvidenceDay, EvidenceSource


_GRACE: Final = 240.0  # seconds for which a day is over: heads are made every minute, and checkpoints after five


@dataclass(slots=True)
class LogAudit:
    """The result of verifying a log. entries, checkpoints, heads, files: the number of each.

    unsigned: by writer, how many entries at the end no signature covers. signed: by writer, the last one that is
    signed. unproven: writers of which no entry is covered. first, last: days. gaps: what entries say was lost in
    crashes, with the writer. pruned: files of days before this day were removed in order, "" if none were. unheaded:
    days that are over and have no head; headless: those whose heads must have been made, since the gateway went on for
    minutes after them, or since other days are in them, as the clock was put back. drills:
    the SHA-256 of results of drills, by the name that each is kept under.
    """

    faults: Faults = field(default_factory=Faults)
    entries: int = 0
    checkpoints: int = 0
    heads: int = 0
    files: int = 0
    first: str = ""
    last: str = ""
    unsigned: dict[str, int] = field(default_factory=dict)
    signed: dict[str, int] = field(default_factory=dict)
    unproven: list[str] = field(default_factory=list)
    gaps: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    pruned: str = ""
    unheaded: list[str] = field(default_factory=list)
    headless: list[str] = field(default_factory=list)
    drills: dict[str, str] = field(default_factory=dict)

    @property
    def proven(self) -> bool:
        """Whether anything is signed at all, so that a verdict has a ground."""
        return bool(self.checkpoints or self.heads)


def audit_log(
    log: EvidenceSource,
    check: SignatureCheck,
    *,
    noted: Collection[str] = (),
    days: tuple[str, str] = ("", "9999"),
    today: str = "9999",
    live: bool = False,
) -> LogAudit:
    """A whole log. noted: hashes of heads or entries that somebody kept: all must be in it.

    days: only files from the first to the last of them. today: its file needs no head yet. live: a gateway may write to
    it. Raises StoreFailure or OSError if something cannot be read.
    """
    since, until = days
    auditor = _Auditor(check, noted, live=live, whole=not since)
    auditor.heads(log)
    files = log.days(since=since, until=until)
    auditor.chains(files)
    audit, book = auditor.audit, auditor.book
    book.missing(audit.faults, auditor.present, since=since, until=until)
    audit.pruned = book.before
    audit.heads = len(book.days)
    audit.unheaded = sorted({day for day, _ in auditor.present if day < today} - set(book.days))
    settled = auditor.settled()
    due = {day for day in audit.unheaded if day < settled}
    audit.headless = sorted(due | (auditor.ahead - set(book.days)))
    auditor.held_against_notes("the log was rolled back or written anew")
    return audit


def audit_files(files: Iterable[EvidenceDay], check: SignatureCheck, *, noted: Collection[str] = ()) -> LogAudit:
    """Some files alone, without heads. Raises StoreFailure or OSError."""
    auditor = _Auditor(check, noted)
    auditor.chains(sorted(files, key=lambda file: (file.writer, file.day)))
    auditor.held_against_notes("it is in another file, or the log was written anew")
    return auditor.audit


def _is_day(text: str) -> bool:
    try:
        return date.fromisoformat(text).isoformat() == text
    except ValueError:
        return False


def _moment(time: str) -> float:
    """Seconds since 1970; NaN, which is neither before nor after another, for what is no time."""
    try:
        return seconds(time)
    except (ValueError, OverflowError, OSError):
        return math.nan


class _Auditor:
    """One look at a log. live: a gateway may write to it. whole: from its beginning."""

    def __init__(
        self, check: SignatureCheck, noted: Collection[str], *, live: bool = False, whole: bool = False
    ) -> None:
        self.audit = LogAudit()
        self.book = HeadBook()
        self.present: set[tuple[str, str]] = set()
        self.ahead: set[str] = set()  # days that were begun while the clock was ahead, and went on when it was not
        self._begun: dict[str, str] = {}  # day -> when the first worker began it
        self._newest = self._time = self._signed = ""
        self._check = check
        self._noted = dict.fromkeys(noted, False)
        self._live = live
        self._whole = whole

    def heads(self, log: EvidenceSource) -> None:
        """The chain of heads, if there is one."""

        def seen(line: Line) -> None:
            if line.body.get("kind") not in {Kind.HEAD, Kind.PRUNED} and not line.fault:
                self.audit.faults.add(FaultKind.INSERTED, (HEADS_FILE, 0, line.number), "it is not a head of a day")
            self.book.take(line)
            self._note(line)

        chain = ChainAudit(self.audit.faults, self._check, seen=seen)
        chain.lines(HEADS_FILE, log.head_lines(), live=self._live)
        chain.finish()

    def chains(self, files: Iterable[EvidenceDay]) -> None:
        """The files of all writers, ordered by writer and day."""
        audit = self.audit
        for writer, own in groupby(files, key=lambda file: file.writer):
            chain, these = ChainAudit(audit.faults, self._check, seen=self._note), list(own)
            for day_file in these:
                self._file(day_file, chain, last=day_file is these[-1])
            chain.finish()
            if writer != ADMIN_WRITER:  # commands add to a log also where no gateway runs that could make heads
                self._newest = max(self._newest, self._time)
            audit.entries += chain.entries
            audit.checkpoints += chain.checkpoints
            audit.gaps += [(writer, gap) for gap in chain.gaps]
            audit.signed[writer] = chain.signed
            if chain.place.number > chain.signed:
                audit.unsigned[writer] = chain.place.number - chain.signed
            if chain.entries and chain.signed <= chain.start.number:
                audit.unproven.append(writer)

    def settled(self) -> str:
        """The newest day on which the gateway had gone on for minutes: those before it must have heads. "" for none.

        It may begin a day hours after midnight, when it starts, is idle no more, or its machine or clock was put on.
        """
        latest = _moment(self._newest) - _GRACE
        return max((day for day, begun in self._begun.items() if _moment(begun) <= latest), default="")

    def held_against_notes(self, otherwise: str) -> None:
        """Every hash that was noted must have come by. otherwise: what it means if not."""
        for digest in (digest for digest, is_found in self._noted.items() if not is_found):
            text = f"the hash {digest}, which was noted, is not in it: {otherwise}"
            self.audit.faults.add(FaultKind.REWRITTEN, (HEADS_FILE, 0, 0), text)

    def _note(self, line: Line) -> None:
        self._time = str(line.body.get("time", ""))
        if line.body.get("kind") == Kind.CHECKPOINT:
            self._signed = self._time
        if line.body.get("event") == "DRILL":
            self.audit.drills[str(line.body.get("file", ""))] = str(line.body.get("sha256", ""))
        if line.hash in self._noted:
            self._noted[line.hash] = True

    def _file(self, file: EvidenceDay, chain: ChainAudit, *, last: bool) -> None:
        if file.is_empty:
            return
        audit, first = self.audit, not chain.entries
        audit.files += 1
        self.present.add((file.day, file.writer))
        audit.first = min(audit.first or file.day, file.day)
        audit.last = max(audit.last, file.day)
        self._signed = ""
        chain.lines(file.name, file.lines(), live=self._live and last)
        written = self._signed[: len(file.day)]  # the time of other entries is that of what they tell
        if written and _is_day(written) and day_after(day_after(written)) < file.day:
            self.ahead.add(file.day)
        begin = chain.begin
        if begin.get("kind") != Kind.BEGIN or begin.get("day") != file.day or begin.get("writer") != file.writer:
            said = f"of {begin.get('day', 'no day')}, writer {begin.get('writer', 'none')}"
            audit.faults.add(FaultKind.FILE, (file.name, 1, 0), f"by its first entry it is the file {said}")
        if file.writer != ADMIN_WRITER:
            time = str(begin.get("time", ""))
            self._begun[file.day] = min(self._begun.get(file.day, time), time)
        if first:
            self._start(file, chain.start)
        if self.book.compare(audit.faults, file.name, file.day, file.writer, chain.place):
            chain.signed = chain.place.number

    def _start(self, file: EvidenceDay, start: Place) -> None:
        """The first file of a writer: of what was before it only the heads know, and that it was removed in order."""
        before = self.book.before_day(file.writer, file.day)
        text = ""
        if before is None and start.number and self._whole:
            text = f"it begins behind entry {start.number}, and no head says that what was before was removed in order"
        elif before is not None and before != start:
            text = f"it does not begin behind entry {before.number}, with which the days before ended by their heads"
        if text:
            self.audit.faults.add(FaultKind.REMOVED, (file.name, 1, start.number + 1), text)
