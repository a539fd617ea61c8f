"""Store drill results as documents that are never overwritten, each with a SHA-256 and that of the one before.

Written and read by `manage.use_cases.drills`; in the folder evidence/drills (`store.documents`). A hash beside what it
is the hash of stops accidents; against somebody who may write here, compare it with the one that the trace holds, or
that was noted elsewhere when the drill was held.

`manage.use_cases.evidence_audit` compares the results with the digests that the evidence log has of them. A result is
kept first and logged then, so one that the log does not have is no fault: a drill may be under way, or the log was off,
or has forgotten (`evidence.keep`).
"""

from __future__ import annotations

import hashlib
import json
import re
import time
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from gatepost.events.evidence.audit import FaultKind, Faults
from gatepost.store.documents import DocumentFiles, Documents, failure_text
from gatepost.store.interface import StoreFailure
from gatepost.times import name_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from gatepost.store.storage import Storage


MAX_BYTES: Final = 8 << 20
"""Of the result of a drill."""

_SLUG: Final = re.compile(r"[^a-z0-9]+")


@dataclass(frozen=True, slots=True)
class Kept:
    """One drill. path: where it is kept. sha256: that it names; record: its own. Both are empty if it cannot be read.

    fault: why it is not what was written, for an administrator; "" if it is.
    """

    path: Path
    sha256: str
    record: dict[str, Any]
    fault: str = ""


def drill_documents(storage: Storage) -> Documents:
    """The folder of drill results."""
    return storage.documents("evidence", "drills")


def drills_in_copy(evidence: Path) -> Documents:
    """The drill results in a copy of a directory of evidence; empty if it has none."""
    return DocumentFiles(evidence / "drills")


def canonical(record: Mapping[str, Any]) -> bytes:
    """The one form of a record that is hashed: JSON, keys sorted, no space, UTF-8. It must hold no floats."""
    text = json.dumps(record, ensure_ascii=False, allow_nan=False, sort_keys=True, separators=(",", ":"))
    return text.encode("utf-8", "surrogatepass")


def sha256(record: Mapping[str, Any]) -> str:
    """Of the canonical form, hexadecimal."""
    return hashlib.sha256(canonical(record)).hexdigest()


def keep(documents: Documents, record: dict[str, Any], *, clock: Callable[[], float] = time.time) -> Kept:
    """Write a record under a name of its own, durably, with the hash of the connector's drill before it.

    clock: seconds since 1970. Names begin with a number, so that their order does not hang on it. Raises OSError or
    StoreFailure.
    """
    organization, connector = str(record["organization"]), str(record["connector"])
    with documents.adding() as add:
        before = last(documents, organization, connector)
        number = _number(before.path.name) + 1 if before else 1
        whole = record | {"number": number, "previous": before.sha256 if before else ""}
        digest = sha256(whole)
        stamp = name_text(clock())
        slug = _SLUG.sub("-", f"{organization} {connector}".lower()).strip("-")[:80]
        name = f"{number:06d}-{stamp}-{slug}-{_mark(organization, connector)}.json"
        add(name, json.dumps({"sha256": digest, "record": whole}, ensure_ascii=False, indent=1).encode("utf-8"))
    return Kept(Path(documents.place, name), digest, whole)


def last(documents: Documents, organization: str, connector: str) -> Kept | None:
    """The newest drill of a connector, checked; None if there is none.

    Raises OSError or StoreFailure if it cannot be looked for.
    """
    names = _names(documents, organization, connector)
    return _read(documents, names[-1], organization, connector) if names else None


def previous(documents: Documents, kept: Kept) -> str:
    """Explain what is wrong with the drills before this one: one was changed, or is missing in between; "" if nothing.

    The oldest ones may be removed in order; the check does not require them.
    """
    organization, connector = str(kept.record.get("organization", "")), str(kept.record.get("connector", ""))
    number = _number(kept.path.name)
    older = [name for name in _names(documents, organization, connector) if _number(name) < number]
    later = kept
    for name in reversed(older):
        drill = _read(documents, name, organization, connector)
        if drill.fault:
            return f"{name}: {drill.fault}"
        if later.record.get("previous") != drill.sha256:
            return f"a drill between {name} and {later.path.name} is missing, or one of the two was replaced"
        later = drill
    return ""


def every(documents: Documents) -> Iterator[Kept]:
    """All drills that are kept, each checked, by name. Raises OSError or StoreFailure if they cannot be listed."""
    for name in sorted(documents.names()):
        if _number(name):
            yield _read(documents, name)


class DrillName(NamedTuple):
    """A drill by the name of its document. at: when it was held, as names write it; series: of its connector."""

    at: str
    name: str
    number: int
    series: str


def drill_names(documents: Documents) -> list[DrillName]:
    """All drills that are kept, the newest first, without reading them. Raises OSError or StoreFailure."""
    parts = ((name, *number_and_series(name)) for name in documents.names())
    return sorted((DrillName(name.split("-")[1], name, number, series) for name, number, series in parts if number),
                  reverse=True)  # fmt: skip


def moment_of(at: str) -> float:
    """The time that the name of a drill has, seconds since 1970; 0.0 if it has none."""
    try:
        return datetime.strptime(at, "%Y%m%dT%H%M%S%z").timestamp()
    except ValueError:
        return 0.0


def series_of(organization: str, connector: str) -> str:
    """The series of a connector's drills, as names have it."""
    return _mark(organization, connector)


def read_drill(documents: Documents, name: str) -> Kept:
    """One drill by the name of its document, checked; its fault says what is wrong with it."""
    return _read(documents, name)


def number_and_series(name: str) -> tuple[int, str]:
    """The number of a drill in its series, which is that of one connector; 0 if it is no drill."""
    return _number(name), name.removesuffix(".json").rpartition("-")[2]


def _names(documents: Documents, organization: str, connector: str) -> list[str]:
    end = f"-{_mark(organization, connector)}.json"
    matches = [name for name in documents.names() if name.endswith(end) and _number(name)]
    return sorted(matches, key=lambda name: (_number(name), name))


def _number(name: str) -> int:
    """The number of a connector's drill from its file name, 0 if it is no drill."""
    digits = name.partition("-")[0]
    return int(digits) if digits.isascii() and digits.isdigit() and len(digits) < 10 else 0


def _mark(organization: str, connector: str) -> str:
    """The part of file names that is unique to a connector, whatever characters its name has."""
    return hashlib.sha256(f"{organization}/{connector.lower()}".encode()).hexdigest()[:12]


def _read(documents: Documents, name: str, organization: str = "", connector: str = "") -> Kept:
    """One drill. organization, connector: whose it must be; without them, that which its name says."""
    path = Path(documents.place, name)
    try:
        content = documents.read(name, MAX_BYTES) or b""
        if len(content) > MAX_BYTES:
            return Kept(path, "", {}, f"it is larger than {MAX_BYTES} bytes")
        document = json.loads(content)
        digest, record = document["sha256"], document["record"]
        computed = sha256(record)
        whose = str(record["organization"]), str(record["connector"]).lower()
    except (OSError, StoreFailure) as error:
        return Kept(path, "", {}, f"it cannot be read: {failure_text(documents, error)}")
    except (ValueError, TypeError, KeyError, RecursionError):
        return Kept(path, "", {}, "it is no longer evidence: its content was altered")
    if digest != computed:
        return Kept(path, str(digest), record, f"it was changed: its SHA-256 is {computed}, not {digest}")
    wrong = whose != (organization, connector.lower()) if organization else _mark(*whose) not in name
    if wrong:
        return Kept(path, digest, record, f"it is about another connector, {whose[1]!r} of {whose[0]}")
    return Kept(path, digest, record)


@dataclass(slots=True)
class DrillAudit:
    """matching: how many are what the log says. wrong: what does not match, why, by name. unlogged: not in the log.

    gone: in the log and no longer kept, the oldest of their connector, which may be removed in order.
    """

    matching: int = 0
    wrong: dict[str, str] = field(default_factory=dict)
    unlogged: list[str] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)


def audit_drills(kept: Iterable[Kept], logged: Mapping[str, str], faults: Faults) -> DrillAudit:
    """Compare. logged: SHA-256 by name, from a log that was verified. What is wrong is added to `faults`, too."""
    audit, oldest, names = DrillAudit(), dict[str, int](), set[str]()
    for drill in kept:
        name = drill.path.name
        names.add(name)
        number, series = number_and_series(name)
        oldest[series] = min(oldest.get(series, number), number)
        if drill.fault:
            audit.wrong[name] = drill.fault
        elif name not in logged:
            audit.unlogged.append(name)
        elif logged[name] != drill.sha256:
            audit.wrong[name] = f"its SHA-256 is {drill.sha256}; the log has {logged[name]}"
        else:
            audit.matching += 1
    for name in sorted(logged.keys() - names):
        number, series = number_and_series(name)
        if number > oldest.get(series, number):
            audit.wrong[name] = "it is gone, and older ones of its connector are there"
        else:
            audit.gone.append(name)
    for name, why in audit.wrong.items():
        faults.add(FaultKind.DRILL, (name, 0, 0), why)
    return audit
