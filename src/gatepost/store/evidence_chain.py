"""The hash chain of one writer on disk: an append-only file a day.

Used by `store.evidence` (its thread), by commands (the writer "admin"), and by `store.evidence_in_files`. A lock on
the writer's name keeps processes apart; who takes it looks whether the chain stands where it left it. Blocks.
"""

from __future__ import annotations

import fcntl
import hashlib
import logging
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from gatepost.events.evidence.chain import ORIGIN, Line, Place, Signer, link, parse_line
from gatepost.events.evidence.entry import Kind, Privacy
from gatepost.store.evidence_end import ChainEnd, day_after
from gatepost.store.evidence_files import ADMIN_WRITER, compress, day_files, log_directory, read_lines, remove_plain
from gatepost.store.interface import StoreFailure
from gatepost.store.sqlite.schema import make_directory, make_file
from gatepost.times import day_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from gatepost.mail.model.trace_event import TraceEvent


_log = logging.getLogger(__name__)

_TAIL: Final = 8 << 20  # octets at the end of a file that are looked through after a crash


class EvidenceChain:
    """One writer's chain. evidence: the directory of all evidence. node: who writes, for the entries.

    signer: None where nothing can be signed (a command): then the gateway's process signs later. For one thread. Only
    the chain of commands (ADMIN_WRITER) has several processes; of any other the one that has it is believed, not files.
    """

    def __init__(
        self,
        evidence: Path,
        writer: str,
        *,
        node: str,
        privacy: Privacy | None = None,
        signer: Signer | None = None,
    ) -> None:
        self._evidence = evidence
        self._writer = writer
        self._end = ChainEnd(node=node, writer=writer, privacy=privacy)
        self._signer = signer
        self._day = ""
        self._path: Path | None = None
        self._size = -1
        self._signed = 0  # number of the last checkpoint
        self._torn: tuple[int, str] | None = None  # octets that a crash left, and their hash: an entry is due

    @property
    def unsigned(self) -> bool:
        """Whether there are entries that no checkpoint covers, as far as we know."""
        return self._end.place.number > self._signed

    def append(self, events: Sequence[TraceEvent], now: float, *, dropped: int = 0, is_off: bool = False) -> None:
        """See `ChainWriter.append`. Raises StoreFailure."""
        with self._alone():
            self._begin_day(now)
            if is_off:
                self._end.gap(now, "off", 0)
            if dropped:
                self._end.gap(now, "dropped", dropped)
            self._end.events(events)

    def checkpoint(self, now: float) -> None:
        """Sign where the chain stands, if that is not signed yet. Raises StoreFailure."""
        if self._signer is None:
            return
        with self._alone():
            if self.unsigned:
                self._begin_day(now)
                self._end.checkpoint(now, self._signer)
                self._signed = self._end.place.number

    def end_day(self, now: float) -> None:
        """Compress the files of days that are over, of this writer. Raises StoreFailure.

        Nothing is added to them: the head of such a day may be made already.
        """
        today = day_text(now)
        with self._alone():
            if self._day < today:
                self._path, self._size = None, 0
            for file in day_files(self._evidence, self._writer):
                if file.closed:
                    remove_plain(file.path)
                elif file.day < today:
                    compress(file.path)

    # ------------------------------------------------------------------------------------------- under the lock

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """The chain as it stands on disk, and what is put meanwhile written at the end."""
        try:
            with writer_lock(self._evidence, self._writer):
                self._recover()
                yield
                self._flush()
        except OSError as error:
            self._forget()
            raise StoreFailure(f"evidence of writer {self._writer}: {error.strerror or error}") from error
        except BaseException:
            self._forget()
            raise
        finally:
            self._end.lines.clear()

    def _forget(self) -> None:
        """Forget the position on disk: read it again the next time."""
        self._size = -1

    def _begin_day(self, now: float) -> None:
        """All entries go into the file of the day on which they are written."""
        day = max(day_text(now), self._day)  # a clock that was put back does not reopen a day
        if day != self._day or self._path is None:
            day = day_after(day) if day == self._day else day
            self._day, self._path, self._size = day, log_directory(self._evidence) / f"{day}.{self._writer}.log", 0
            make_file(self._path)
            self._end.begin(day, now)
        if self._torn:
            self._end.gap(now, "torn", *self._torn)

    def _flush(self) -> None:
        """Everything or nothing: what cannot be made durable is taken back."""
        if not self._end.lines or self._path is None:
            return
        data = b"".join(self._end.lines)
        descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
        try:
            _write(descriptor, data)
            os.fdatasync(descriptor)
        except OSError:
            os.ftruncate(descriptor, self._size)
            raise
        finally:
            os.close(descriptor)
        self._size += len(data)
        self._end.lines.clear()
        self._torn = None  # what was put after a cut begins with the entry on it

    def _recover(self) -> None:
        """Know where the chain stands. What our own entries say counts, whatever was done to the files since."""
        files = [] if self._undisturbed() else day_files(self._evidence, self._writer)
        if self._size >= 0 and (self._undisturbed() or self._writer != ADMIN_WRITER):
            self._disturbed()
            return
        self._day, self._path, self._size, self._end.place, self._signed = "", None, 0, Place(), 0
        for file in reversed(files):
            self._end.place, self._signed, good = _scan(file.path)
            if not file.closed and file.path.stat().st_size > good:
                self._cut(file.path, good)
            if self._end.place.number:
                self._day = file.day
                self._path, self._size = (None, 0) if file.closed else (file.path, good)
                return

    def _undisturbed(self) -> bool:
        """Whether the file is as we left it."""
        if self._path is None or self._size < 0:
            return False
        try:
            return self._path.stat().st_size == self._size
        except FileNotFoundError:
            return False

    def _disturbed(self) -> None:
        """Log that another process cut, lengthened or removed our file: the chain goes on from our own position."""
        if self._path is None or self._undisturbed():
            return
        _log.error("evidence: another process changed %s after entry %d", self._path, self._end.place.number)
        if self._path.exists():
            self._size = self._path.stat().st_size
        else:
            self._day, self._path, self._size = "", None, 0  # a new file, which begins where the lost one ended

    def _cut(self, path: Path, good: int) -> None:
        """Take away what a crash left at the end of a file, but into a file beside; an entry is to say so."""
        with path.open("r+b") as file:
            file.seek(good)
            torn = file.read()
            _keep(path.with_name(f"{path.name}.{good}.torn"), torn)
            file.truncate(good)
            os.fsync(file.fileno())
        _log.warning("evidence: %d octets at the end of %s were torn by a crash, and are cut off", len(torn), path)
        self._torn = len(torn), hashlib.sha256(torn).hexdigest()


def end_of(path: Path) -> Place:
    """The last entry of a file, number 0 if it has none. Raises StoreFailure or OSError."""
    return _scan(path)[0]


def _scan(path: Path) -> tuple[Place, int, int]:
    """The last entry, the last checkpoint's number, and the octets up to the end of the last entry that is whole.

    A torn end without a checkpoint after it was left by a crash: it never was on disk. Damage before a checkpoint was
    done later, as that part was whole once: the chain goes on after it, for an auditor to find. Of a plain file only
    the last megabytes are read.
    """
    if path.suffix == ".gz":
        return _scan_closed(path)
    size = path.stat().st_size
    with path.open("rb") as file:
        start = max(0, size - _TAIL)
        file.seek(start)
        block = file.read()
    if start:  # from the beginning of a line
        skipped = block.find(b"\n") + 1
        start, block = start + skipped, block[skipped:]
    place, signed, good, at = Place(), 0, start, start
    previous, broken = "", False
    for raw in block.splitlines(keepends=True):
        at += len(raw)
        line = parse_line(raw)
        if line.fault:
            broken = True
            continue
        broken = broken or not _follows(line, previous)
        checkpoint = line.body.get("kind") == Kind.CHECKPOINT
        if broken and not checkpoint:
            continue
        if broken:
            _log.error("evidence: %s is damaged before entry %d: gatepost evidence verify", path, line.number)
        broken = False
        place, good, previous = Place(line.number, line.hash), at, line.hash
        signed = line.number if checkpoint else signed
    return place, signed, good


def _scan_closed(path: Path) -> tuple[Place, int, int]:
    place, signed, octets = Place(), 0, 0
    for raw in read_lines(path):
        line = parse_line(raw)
        octets += len(raw)
        if not line.fault:
            place = Place(line.number, line.hash)
            signed = line.number if line.body.get("kind") == Kind.CHECKPOINT else signed
    return place, signed, octets


def _follows(line: Line, previous: str) -> bool:
    """Whether a line follows the one before it. previous: its hash, "" where the look began with this line."""
    if previous:
        return link(previous, line.digest) == line.hash
    stated = line.body.get("previous")
    head = str(stated.get("head", ORIGIN)) if isinstance(stated, dict) else ""
    return not head or link(head, line.digest) == line.hash


def _keep(path: Path, content: bytes) -> None:
    make_file(path)
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _write(descriptor: int, data: bytes) -> None:
    left = memoryview(data)
    while left:
        left = left[os.write(descriptor, left) :]


@contextmanager
def writer_lock(evidence: Path, writer: str) -> Iterator[None]:
    """One process at a time has a writer's files. The lock ends with the process at the latest."""
    directory = log_directory(evidence)
    make_directory(directory)
    path = directory / f".{writer}.lock"
    make_file(path)
    descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
