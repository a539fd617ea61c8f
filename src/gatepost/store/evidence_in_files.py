"""The evidence log of a gateway in files: implements `store.evidence_log.Evidence` on `data_dir/evidence`.

The chain of daily heads is `evidence/heads.log`: one process adds a day when it is over (`node.evidence`). It also
signs what commands added to the chain "admin", and forgets days whose time is over. Blocks.
"""

from __future__ import annotations

import fcntl
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from gatepost.events.evidence.chain import Place, Signer, join, parse_line, sign_body
from gatepost.events.evidence.heads import DayHead, HeadBook, head_body, pruned_body
from gatepost.store.evidence_chain import EvidenceChain, end_of, writer_lock
from gatepost.store.evidence_files import (
    ADMIN_WRITER,
    HEADS_FILE,
    EvidenceDirectory,
    day_files,
    left_by_crashes,
    read_lines,
    remove_plain,
)
from gatepost.store.interface import failing
from gatepost.store.sqlite.schema import make_directory, make_file
from gatepost.times import day_text

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from gatepost.events.evidence.entry import Privacy


class EvidenceHeads:
    """The heads of a data directory. node: this host. For one thread."""

    def __init__(self, evidence: Path, *, node: str, signer: Signer) -> None:
        self._evidence = evidence
        self._node = node
        self._signer = signer
        self._last = ""  # the newest day that has a head, as far as we know
        self._commands = EvidenceChain(evidence, ADMIN_WRITER, node=node, signer=signer)

    def sign_commands(self, now: float) -> None:
        """Sign what commands wrote, and close their days that are over. Raises StoreFailure."""
        if day_files(self._evidence, ADMIN_WRITER):
            self._commands.checkpoint(now)
            self._commands.end_day(now)

    def make(self, now: float) -> list[DayHead]:
        """Sign the head of each day that is over and has none yet, oldest first; returns them. Raises StoreFailure."""
        over = sorted({file.day for file in day_files(self._evidence) if self._last < file.day < day_text(now)})
        if not over:
            return []
        with self._alone() as path:
            book, place = self._read(path)
            self._last = max(book.days, default="")
            made = []
            for day in (day for day in over if day > self._last):
                ends = self._ends(day)
                place, line = self._signed(place, head_body(place, now, node=self._node, day=day, writers=ends))
                _append(path, line)
                made.append(DayHead(day, place.head, ends))
            self._last = over[-1]
            return made

    def prune(self, before: float, now: float) -> list[str]:
        """Forget the days that ended before a time (seconds since 1970), and say so in the chain first.

        Returns the names of the files removed. Raises StoreFailure.
        """
        first = day_text(before)
        with self._alone() as path:
            book, place = self._read(path)
            gone = [file for file in day_files(self._evidence) if file.day < first and file.day in book.days]
            if gone and book.before < first:
                _append(path, self._signed(place, pruned_body(place, now, node=self._node, before=first))[1])
            for file in gone:
                if file.closed:
                    remove_plain(file.path)
                file.path.unlink(missing_ok=True)
            for left in left_by_crashes(self._evidence, before=first):
                left.unlink(missing_ok=True)
            return [file.path.name for file in gone]

    def _ends(self, day: str) -> dict[str, Place]:
        """The last position of each writer's file of a day. No process writes to it once its lock was ours."""
        ends = {}
        for file in day_files(self._evidence, since=day, until=day):
            with writer_lock(self._evidence, file.writer):
                now = day_files(self._evidence, file.writer, since=day, until=day)  # it may be compressed by now
                end = end_of(now[0].path if now else file.path)
            if end.number:
                ends[file.writer] = end
        return ends

    def _signed(self, place: Place, body: dict[str, Any]) -> tuple[Place, bytes]:
        head, line = join(place.head, sign_body(body, self._signer))
        return Place(place.number + 1, head), line

    def _read(self, path: Path) -> tuple[HeadBook, Place]:
        """The heads so far, and the position of the chain. A torn last line is cut off: it was never reported."""
        book, place = HeadBook(), Place()
        for raw in read_lines(path):
            line = parse_line(raw)
            if line.fault:
                continue
            book.take(line)
            place = Place(line.number, line.hash)
        data = path.read_bytes()
        if data and not data.endswith(b"\n"):
            os.truncate(path, data.rfind(b"\n") + 1)
        return book, place

    @contextmanager
    def _alone(self) -> Iterator[Path]:
        path = self._evidence / HEADS_FILE
        with failing(f"evidence, {path}", OSError):
            make_directory(self._evidence)
            make_file(path)
            descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX)
                yield path
            finally:
                os.close(descriptor)


def _append(path: Path, line: bytes) -> None:
    with path.open("ab") as file:
        file.write(line)
        file.flush()
        os.fsync(file.fileno())


class EvidenceInFiles(EvidenceDirectory):
    """The log in a directory. node: this host."""

    def __init__(self, directory: Path, node: str) -> None:
        super().__init__(directory)
        self._node = node

    def worker_chain(self, worker: int, *, privacy: Privacy, signer: Signer) -> EvidenceChain:
        """See `Evidence.worker_chain`."""
        return EvidenceChain(self.directory, str(worker), node=self._node, privacy=privacy, signer=signer)

    def admin_chain(self, *, privacy: Privacy) -> EvidenceChain:
        """See `Evidence.admin_chain`."""
        return EvidenceChain(self.directory, ADMIN_WRITER, node=self._node, privacy=privacy)

    def sign_rest(self, now: float, *, signer: Signer) -> None:
        """See `Evidence.sign_rest`."""
        for writer in sorted({file.writer for file in day_files(self.directory)}):
            EvidenceChain(self.directory, writer, node=self._node, signer=signer).checkpoint(now)

    def heads(self, *, signer: Signer) -> EvidenceHeads:
        """See `Evidence.heads`."""
        return EvidenceHeads(self.directory, node=self._node, signer=signer)
