"""An export: some entries of the log with the proof that they were in it (docs/evidence.md).

A segment goes from a chosen entry to the next checkpoint of its chain; entries between that were not chosen are there
as digests, which say nothing of them. The signature at the end of a segment therefore covers every entry in it. Made by
`analysis.reports.evidence_export`, checked by `evidence verify`. Pure.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from gatepost.events.evidence.audit import FaultKind, Faults, SignatureCheck, check_signature
from gatepost.events.evidence.chain import ORIGIN, Line, Place, canonical, digest, link
from gatepost.events.evidence.entry import Kind

FORMAT_NAME: Final = "gatepost evidence export"

_OPEN: Final = frozenset({Kind.CHECKPOINT, Kind.GAP, Kind.BEGIN})
"""Entries that are no one's business in particular, and are always shown."""


@dataclass(slots=True)
class Segment:
    """Part of a writer's chain. start: where it stood before. items: bodies, and digests of entries that are left out.

    chosen: the hash and body of each entry that was requested.
    """

    writer: str
    start: Place
    items: list[str | dict[str, Any]] = field(default_factory=list)
    chosen: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    def record(self) -> dict[str, Any]:
        """As the export has it."""
        return {
            "writer": self.writer,
            "number": self.start.number,
            "head": self.start.head,
            "entries": self.items,
        }


def segments(
    writer: str,
    lines: Iterable[Line],
    chosen: Callable[[Mapping[str, Any]], bool],
    finished: Callable[[Mapping[str, Any]], bool] = lambda _: False,
) -> Iterator[Segment]:
    """The segments that hold everything chosen of a chain. finished: nothing from this entry on can be chosen.

    lines: from any place on; those with a fault are passed over. The last segment has no checkpoint at its end if the
    log has none yet.
    """
    place: Place | None = None
    current: Segment | None = None
    for line in lines:
        if line.fault:
            continue
        if current is None and finished(line.body):
            return
        wanted = line.body.get("kind") == Kind.EVENT and chosen(line.body)
        if wanted and current is None and place is not None:
            current = Segment(writer, place)
        if current is not None:
            shown = wanted or line.body.get("kind") in _OPEN
            current.items.append(line.body if shown else line.digest)
            if wanted:
                current.chosen.append((line.hash, line.body))
            if line.body.get("kind") == Kind.CHECKPOINT:
                yield current
                current = None
        place = Place(line.number, line.hash)
    if current is not None:
        yield current


def segment_of(record: Mapping[str, Any]) -> Segment:
    """The reverse of `Segment.record`. Raises ValueError, TypeError or LookupError for any other value."""
    segment = Segment(record["writer"], Place(record["number"], record["head"]), list(record["entries"]))
    head = segment.start.head
    for item in segment.items:
        head = link(head, item if isinstance(item, str) else digest(canonical(item)))
        if isinstance(item, dict) and item.get("kind") == Kind.EVENT:  # of events those that were chosen are shown
            segment.chosen.append((head, item))
    return segment


@dataclass(slots=True)
class ExportAudit:
    """The result of an audit. entries: of events, that are shown. unsigned: of them, those that no signature covers.

    skipped: entries that are there as digests. chosen: writer, hash and body of what is shown.
    """

    faults: Faults = field(default_factory=Faults)
    entries: int = 0
    unsigned: int = 0
    skipped: int = 0
    checkpoints: int = 0
    chosen: list[tuple[str, str, dict[str, Any]]] = field(default_factory=list)


_FORM: Final = "a part of it is missing, or has another type than in an export"


def read_export(text: bytes) -> Any:
    """An export from its JSON. Raises ValueError if it is none, or an object has a member twice.

    Of two values one is proved, and the other may be the one that its reader sees.
    """
    try:
        return json.loads(text.decode(), object_pairs_hook=_members, parse_constant=_no_number)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except UnicodeDecodeError:
        raise ValueError("it is not text in UTF-8") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"it is not JSON from line {error.lineno}, column {error.colno} on") from None


def _members(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        name = Counter(name for name, _ in pairs).most_common(1)[0][0]
        raise ValueError(f"it has {name!r} twice in one object")
    return members


def _no_number(text: str) -> Any:
    raise ValueError(f"{text} is not a JSON number")


def exported_keys(document: Any) -> list[bytes]:
    """The public keys that came along with an export. Raises ValueError if it has not the form of one."""
    try:
        return [str(key["pem"]).encode() for key in document["keys"]]
    except (KeyError, TypeError, AttributeError, UnicodeEncodeError) as error:
        raise ValueError(_FORM) from error


def audit_export(document: Any, check: SignatureCheck) -> ExportAudit:
    """Verify an export by itself. Raises ValueError if it has not the form of one."""
    if not isinstance(document, dict) or document.get("format") != FORMAT_NAME or document.get("version") != 1:
        raise ValueError("it is no export of evidence, or of a version that is not known here")
    audit, shown = ExportAudit(), dict[str, int]()
    try:
        ends = _heads(document["heads"], audit, check)
        for number, segment in enumerate(document["segments"], 1):
            name, writer = f"segment {number}", str(segment["writer"])
            if int(segment["number"]) < shown.get(writer, 0):
                text = (
                    f"what follows entry {segment['number']} of writer {writer} is in a segment before: it counts twice"
                )
                audit.faults.add(FaultKind.INSERTED, (name, 1, int(segment["number"]) + 1), text)
            shown[writer] = int(segment["number"]) + len(segment["entries"])
            _segment(segment, name, ends, audit, check)
    except (KeyError, TypeError, AttributeError, ArithmeticError, RecursionError, ValueError) as error:
        raise ValueError(_FORM) from error
    return audit


def _heads(heads: Sequence[dict[str, Any]], audit: ExportAudit, check: SignatureCheck) -> set[tuple[str, Place]]:
    """The positions of chains by daily heads with a good signature."""
    ends = set()
    for at, body in enumerate(heads, 1):
        wrong = check_signature(body, check)
        if wrong is not None:
            audit.faults.add(wrong[0], ("heads", at, int(body.get("number", 0))), wrong[1])
            continue
        ends |= {
            (str(writer["writer"]), Place(int(writer["number"]), str(writer["head"]))) for writer in body["writers"]
        }
    return ends


def _segment(
    segment: Mapping[str, Any], name: str, ends: set[tuple[str, Place]], audit: ExportAudit, check: SignatureCheck
) -> None:
    writer = str(segment["writer"])
    place = Place(int(segment["number"]), str(segment["head"]))
    if len(place.head) != len(ORIGIN):
        raise TypeError(f"the head of {name}")
    waiting = 0
    for at, item in enumerate(segment["entries"], 1):
        where = name, at, place.number + 1
        if isinstance(item, dict):
            after = Place(place.number + 1, link(place.head, digest(canonical(item))))
            waiting += _shown(item, writer, after, where, audit)
            if item.get("kind") == Kind.CHECKPOINT and _checkpoint(item, (writer, place), where, audit, check):
                waiting = 0
        else:
            after = Place(place.number + 1, link(place.head, str(item)))
            audit.skipped += 1
        place = after
        if (writer, place) in ends:
            waiting = 0
    audit.unsigned += waiting


def _shown(body: dict[str, Any], writer: str, place: Place, where: tuple[str, int, int], audit: ExportAudit) -> int:
    """Check a shown entry. Returns the number of entries that it adds to those without a signature: 1 for an event."""
    if body.get("number") != place.number:
        audit.faults.add(FaultKind.CHANGED, where, f"entry {place.number} has another number")
    if body.get("kind") != Kind.EVENT:
        return 0
    audit.entries += 1
    audit.chosen.append((writer, place.head, body))
    return 1


def _checkpoint(
    body: dict[str, Any],
    before: tuple[str, Place],
    where: tuple[str, int, int],
    audit: ExportAudit,
    check: SignatureCheck,
) -> bool:
    """Whether a checkpoint covers what stands before it. before: the writer, and where its chain stood."""
    audit.checkpoints += 1
    wrong = check_signature(body, check)
    if wrong is not None:
        audit.faults.add(wrong[0], where, wrong[1])
    if (body.get("writer"), body.get("head")) != (before[0], before[1].head):
        text = "what is signed here is not what stands before: an entry was changed, removed, added or moved"
        audit.faults.add(FaultKind.CHANGED, where, text)
        return False
    return wrong is None
