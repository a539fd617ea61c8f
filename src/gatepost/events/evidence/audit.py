"""Check a chain of the evidence log line by line: faults, the first of each kind, and how many.

Used by `analysis.reports.evidence_audit` on the files of a writer, one after the other, and on the daily heads. It
never stops at a fault: it takes up the chain behind it. Signatures are checked by who has the keys. Pure.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from gatepost.events.evidence.chain import LONGEST_LINE, ORIGIN, Line, Place, link, parse_line, signed_part
from gatepost.events.evidence.entry import Kind

type SignatureCheck = Callable[[str, bytes, bytes], bool | None]
"""Key id, message, signature: whether it is good, None if no such key is known."""


class FaultKind(StrEnum):
    """Kinds of faults in a log."""

    CHANGED = "changed"
    REMOVED = "removed"
    INSERTED = "inserted"
    REORDERED = "reordered"
    TRUNCATED = "truncated"
    SIGNATURE = "signature wrong"
    KEY = "key unknown"
    FILE = "wrong file"
    REWRITTEN = "rewritten"
    DRILL = "drill result wrong"


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong. file: its name. line: from 1, 0 for the whole file. number: of the entry, 0 for none."""

    kind: FaultKind
    file: str
    line: int
    number: int
    text: str


@dataclass(slots=True)
class Faults:
    """The first fault of each kind, and how many there are of it."""

    first: dict[FaultKind, Fault] = field(default_factory=dict)
    counts: dict[FaultKind, int] = field(default_factory=dict)

    def add(self, kind: FaultKind, place: tuple[str, int, int], text: str) -> None:
        """place: file, line and number as `Fault` has them."""
        self.first.setdefault(kind, Fault(kind, *place, text))
        self.counts[kind] = self.counts.get(kind, 0) + 1


_SIGNATURE: Final = re.compile(r"[0-9a-f]{128}", re.ASCII)  # Ed25519: 64 octets
_MOST_MISSING: Final = 10_000  # runs of numbers that are not seen yet


@dataclass(slots=True)
class _Missing:
    """Numbers that were passed over, from first to last: removed, unless they come later. place: who passed them."""

    first: int
    last: int
    place: tuple[str, int, int]


def check_signature(body: dict[str, Any], check: SignatureCheck) -> tuple[FaultKind, str] | None:
    """The fault of the signature of a body, None if it is good. A body without one is forged."""
    key = str(body.get("key", ""))
    if _SIGNATURE.fullmatch(str(body.get("signature", ""))) is None:
        return FaultKind.SIGNATURE, "it has no signature, and is never written without one"
    signature = bytes.fromhex(body["signature"])
    good = check(key, signed_part(body), signature)
    if good is None:
        return FaultKind.KEY, f"it is signed with a key that is not among those given: {key or 'none'}"
    return None if good else (FaultKind.SIGNATURE, "the signature is not that of this content by this key")


class ChainAudit:
    """One chain. faults: takes what is found. check: of signatures. seen: called for each entry, in the order read.

    place: where the chain stands, start: where it stood before the first entry. begin: body of the first line of the
    last file. signed: number of the last entry that a good signature covers. entries, gaps: how
    many entries there are, and those that say that something was lost in a crash.
    """

    def __init__(
        self,
        faults: Faults,
        check: SignatureCheck,
        *,
        start: Place | None = None,
        seen: Callable[[Line], None] = lambda _: None,
    ) -> None:
        self._faults = faults
        self._check = check
        self._seen = seen
        self._missing: list[_Missing] = []
        self._started = start is not None
        self.begin: dict[str, Any] = {}
        self._unknown = False  # the line before was none: its hash is not known
        self._recent: deque[str] = deque(maxlen=10_000)
        self.start = self.place = start or Place()
        self.signed = self.place.number
        self.checkpoints = 0
        self.entries = 0
        self.gaps: list[dict[str, Any]] = []

    def lines(self, file: str, lines: Iterable[bytes], *, live: bool = False) -> None:
        """The lines of a file, each with its LF. live: it may be written to just now, so its last line may lack it."""
        held: tuple[int, Line] | None = None
        self.begin = {}
        for at, raw in enumerate(lines, 1):
            if live and not raw.endswith(b"\n") and len(raw) < LONGEST_LINE:
                break
            fresh = at, self._parsed(file, at, raw)
            if at == 1:
                self.begin = fresh[1].body
            if held is not None:
                self._take(file, *held, fresh[1])
            held = fresh
        if held is not None:
            self._take(file, *held, None)

    def finish(self) -> None:
        """There are no more files: what was passed over and never came was removed."""
        for gap in self._missing:
            many = f"entries {gap.first} to {gap.last} are" if gap.last > gap.first else f"entry {gap.first} is"
            self._faults.add(FaultKind.REMOVED, gap.place, f"{many} missing before this one")
        self._missing.clear()

    def _parsed(self, file: str, at: int, raw: bytes) -> Line:
        if not raw.endswith(b"\n") and len(raw) < LONGEST_LINE:
            self._faults.add(FaultKind.TRUNCATED, (file, at, 0), "the line has no end")
            return parse_line(raw + b"\n")
        return parse_line(raw)

    def _take(self, file: str, at: int, line: Line, following: Line | None) -> None:
        if not self._started:
            self._begin(line)
        self.entries += 1
        where = file, at, max(line.number, 0)
        if self._follows(line):
            self._in_order(where, line)
        else:
            self._out_of_order(where, line, following)
        self._recent.append(line.hash)
        self._seen(line)

    def _begin(self, line: Line) -> None:
        """The first line of all: the files before it may have been forgotten in order, so it says where it starts."""
        self._started = True
        previous = line.body.get("previous")
        if line.number > 1 and isinstance(previous, dict):
            head = str(previous.get("head", ""))
            self.place = Place(line.number - 1, head if len(head) == len(ORIGIN) and _hexadecimal(head) else ORIGIN)
            self.start = self.place
            self.signed = self.place.number

    def _follows(self, line: Line) -> bool:
        """Whether a line is what must come next."""
        if line.number != self.place.number + 1 or line.fault:
            return False
        return self._unknown or link(self.place.head, line.digest) == line.hash

    def _in_order(self, where: tuple[str, int, int], line: Line) -> None:
        before = self.place
        self._unknown = False
        self.place = Place(line.number, line.hash)
        match line.body.get("kind"):
            case Kind.CHECKPOINT:
                self._checkpoint(where, line, before)
            case Kind.HEAD | Kind.PRUNED:
                self._signature(where, line)
            case Kind.GAP:
                self.gaps.append(line.body)
            case _:
                pass

    def _checkpoint(self, where: tuple[str, int, int], line: Line, before: Place) -> None:
        self.checkpoints += 1
        if line.body.get("head") != before.head:
            self._faults.add(FaultKind.CHANGED, where, "what is signed is not the entry before it")
            return
        self._signature(where, line)

    def _signature(self, where: tuple[str, int, int], line: Line) -> None:
        wrong = check_signature(line.body, self._check)
        if wrong is None:
            self.signed = line.number
        else:
            self._faults.add(wrong[0], where, wrong[1])

    def _out_of_order(self, where: tuple[str, int, int], line: Line, following: Line | None) -> None:
        expected = self.place.number + 1
        stays = following is not None and following.number == expected + 1 and _leads(line.hash, following)
        if line.hash and line.hash in self._recent:
            self._faults.add(FaultKind.INSERTED, where, f"entry {line.number} is there already")
        elif line.number < 0 and following is not None and following.number == expected:
            self._faults.add(FaultKind.INSERTED, where, f"a line between two entries: {line.fault}")
        elif stays or line.fault or line.number == expected or link(self.place.head, line.digest) == line.hash:
            self._changed(where, line, following)
        elif line.number > expected:
            self._passed_over(where, line, expected)
        else:
            self._late(where, line)

    def _changed(self, where: tuple[str, int, int], line: Line, following: Line | None) -> None:
        """It stands where it must, and is not what was written there."""
        expected = self.place.number + 1
        head = line.hash
        why = line.fault or (
            f"its hash does not follow from its content and from entry {expected - 1}: one of the two was altered"
        )
        if line.number not in {-1, expected}:
            why = f"it stands in the place of entry {expected}, with another number"
        elif line.digest and following is not None and _leads(link(self.place.head, line.digest), following):
            head = link(self.place.head, line.digest)
            why = why if line.fault else "its hash was changed; its content and what follows agree"
        self._faults.add(FaultKind.CHANGED, (where[0], where[1], expected), why)
        self._unknown = not head
        self.place = Place(expected, head or ORIGIN)

    def _passed_over(self, where: tuple[str, int, int], line: Line, expected: int) -> None:
        if len(self._missing) < _MOST_MISSING:
            self._missing.append(_Missing(expected, line.number - 1, where))
        self._unknown = False
        self.place = Place(line.number, line.hash)

    def _late(self, where: tuple[str, int, int], line: Line) -> None:
        """Its number is behind us: it was passed over, or was never part of this chain."""
        for index, gap in enumerate(self._missing):
            if gap.first <= line.number <= gap.last:
                rest = [_Missing(gap.first, line.number - 1, gap.place), _Missing(line.number + 1, gap.last, gap.place)]
                self._missing[index : index + 1] = [part for part in rest if part.first <= part.last]
                text = f"entry {line.number} stands behind entry {self.place.number}"
                self._faults.add(FaultKind.REORDERED, where, text)
                return
        text = f"a second entry {line.number}, which does not belong to this chain"
        self._faults.add(FaultKind.INSERTED, where, text)


def _leads(head: str, following: Line) -> bool:
    """Whether the hash of an entry leads on to the next one."""
    return bool(head) and bool(following.digest) and link(head, following.digest) == following.hash


def _hexadecimal(text: str) -> bool:
    return all(character in "0123456789abcdef" for character in text)
