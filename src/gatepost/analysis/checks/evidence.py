"""Store drill results as files that are never overwritten, each with a SHA-256 and the name of the one before.

Written and read by `manage.use_cases.drills`; under DATA_DIR/evidence/drills, mode 0600 in directories 0700. A hash
beside what it is the hash of stops accidents; against somebody who may write here, compare it with the one that the
trace holds, or that was noted elsewhere when the drill was held.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from gatepost.store.sqlite.schema import make_directory, sync_directory
from gatepost.times import name_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path


_MAX_BYTES: Final = 8 << 20
_SLUG: Final = re.compile(r"[^a-z0-9]+")


@dataclass(frozen=True, slots=True)
class Kept:
    """One file. sha256: that it names, "" if it cannot be read. record: {} if it cannot be read.

    fault: why it is not what was written, for an administrator; "" if it is.
    """

    path: Path
    sha256: str
    record: dict[str, Any]
    fault: str = ""


def drills_directory(data_dir: Path) -> Path:
    """The directory of drill results."""
    return data_dir / "evidence" / "drills"


def canonical(record: Mapping[str, Any]) -> bytes:
    """The one form of a record that is hashed: JSON, keys sorted, no space, UTF-8. It must hold no floats."""
    text = json.dumps(record, ensure_ascii=False, allow_nan=False, sort_keys=True, separators=(",", ":"))
    return text.encode("utf-8", "surrogatepass")


def sha256(record: Mapping[str, Any]) -> str:
    """Of the canonical form, hexadecimal."""
    return hashlib.sha256(canonical(record)).hexdigest()


def keep(directory: Path, record: dict[str, Any], *, clock: Callable[[], float] = time.time) -> Kept:
    """Write a record under a name of its own, durably, with the hash of the connector's drill before it.

    clock: seconds since 1970. Names begin with a number, so that their order does not hang on it. Raises OSError.
    """
    make_directory(directory)
    organization, connector = str(record["organization"]), str(record["connector"])
    with _alone(directory):
        before = last(directory, organization, connector)
        number = _number(before.path.name) + 1 if before else 1
        whole = record | {"number": number, "previous": before.sha256 if before else ""}
        digest = sha256(whole)
        stamp = name_text(clock())
        slug = _SLUG.sub("-", f"{organization} {connector}".lower()).strip("-")[:80]
        path = directory / f"{number:06d}-{stamp}-{slug}-{_mark(organization, connector)}.json"
        _write(path, json.dumps({"sha256": digest, "record": whole}, ensure_ascii=False, indent=1).encode("utf-8"))
    return Kept(path, digest, whole)


def last(directory: Path, organization: str, connector: str) -> Kept | None:
    """The newest drill of a connector, checked; None if there is none. Raises OSError if it cannot be looked for."""
    files = _files(directory, organization, connector)
    return _read(files[-1], organization, connector) if files else None


def previous(directory: Path, kept: Kept) -> str:
    """Explain what is wrong with the drills before this one: one was changed, or is missing in between; "" if nothing.

    The oldest ones may be removed in order; the check does not require them.
    """
    organization, connector = str(kept.record.get("organization", "")), str(kept.record.get("connector", ""))
    number = _number(kept.path.name)
    older = [path for path in _files(directory, organization, connector) if _number(path.name) < number]
    later = kept
    for path in reversed(older):
        one = _read(path, organization, connector)
        if one.fault:
            return f"{path.name}: {one.fault}"
        if later.record.get("previous") != one.sha256:
            return f"a drill between {path.name} and {later.path.name} is missing, or one of the two was replaced"
        later = one
    return ""


def _files(directory: Path, organization: str, connector: str) -> list[Path]:
    try:
        names = os.listdir(directory)  # noqa: PTH208 - Path.glob would take a directory that we may not read for empty
    except FileNotFoundError:
        return []
    end = f"-{_mark(organization, connector)}.json"
    matches = [name for name in names if name.endswith(end) and _number(name)]
    return [directory / name for name in sorted(matches, key=lambda name: (_number(name), name))]


def _number(name: str) -> int:
    """The number of a connector's drill from its file name, 0 if it is no drill."""
    digits = name.partition("-")[0]
    return int(digits) if digits.isascii() and digits.isdigit() and len(digits) < 10 else 0


def _mark(organization: str, connector: str) -> str:
    """The part of file names that is unique to a connector, whatever characters its name has."""
    return hashlib.sha256(f"{organization}/{connector.lower()}".encode()).hexdigest()[:12]


def _read(path: Path, organization: str, connector: str) -> Kept:
    try:
        if path.stat().st_size > _MAX_BYTES:
            return Kept(path, "", {}, f"it is larger than {_MAX_BYTES} bytes")
        document = json.loads(path.read_bytes())
        digest, record = document["sha256"], document["record"]
        computed = sha256(record)
        whose = str(record["organization"]), str(record["connector"]).lower()
    except OSError as error:
        return Kept(path, "", {}, f"it cannot be read: {error.strerror}")
    except (ValueError, TypeError, KeyError, RecursionError):
        return Kept(path, "", {}, "it is no longer evidence: its content was altered")
    if digest != computed:
        return Kept(path, str(digest), record, f"it was changed: its SHA-256 is {computed}, not {digest}")
    if whose != (organization, connector.lower()):
        return Kept(path, digest, record, f"it is about another connector, {whose[1]!r} of {whose[0]}")
    return Kept(path, digest, record)


@contextmanager
def _alone(directory: Path) -> Iterator[None]:
    """One writer at a time, so that each record names the one before it. Ends with the process at the latest."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _write(path: Path, content: bytes) -> None:
    """Whole or not at all, and never over another: the final name is made by link, which does not replace."""
    fresh = path.with_name(f".{path.name}.new")
    fresh.unlink(missing_ok=True)  # of a writer that died: we are alone
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.link(fresh, path)
    finally:
        fresh.unlink(missing_ok=True)
    sync_directory(path.parent)
