"""Write an evidence log that is moved here into files: `store.move_parts.EvidenceSink`.

A crash may leave half of a line at the end of a file: it does not count, and the next line takes its place.
"""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING

from gatepost.store.evidence_files import HEADS_FILE, day_files, log_directory, read_lines
from gatepost.store.evidence_keys import kept_keys, keys_directory, move_keys
from gatepost.store.sqlite.move_queue import reported
from gatepost.store.sqlite.schema import make_directory, make_file

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


class EvidenceFiles:
    """evidence: the directory of a log that nobody else writes, nor what lies beside it."""

    def __init__(self, evidence: Path) -> None:
        self._evidence = evidence
        self._known: dict[Path, tuple[int, int]] = {}  # whole lines of files that were read, and their octets

    def stored(self, day: str, writer: str) -> int:
        """See `EvidenceSink.stored`."""
        files = day_files(self._evidence, writer, since=day, until=day)
        return self._whole(files[0].path)[0] if files else 0

    def append(self, day: str, writer: str, _before: int, lines: Sequence[bytes]) -> None:
        """See `EvidenceSink.append`."""
        self._append(log_directory(self._evidence) / f"{day}.{writer}.log", lines)

    def stored_heads(self) -> int:
        """See `EvidenceSink.stored_heads`."""
        return self._whole(self._evidence / HEADS_FILE)[0]

    def append_heads(self, lines: Sequence[bytes]) -> None:
        """See `EvidenceSink.append_heads`."""
        self._append(self._evidence / HEADS_FILE, lines)

    def add_key(self, pem: bytes) -> None:
        """See `EvidenceSink.add_key`."""
        with reported(self._evidence):
            move_keys(self._evidence)
            if pem in kept_keys(self._evidence):
                return
            path = keys_directory(self._evidence) / f"moved-{hashlib.sha256(pem).hexdigest()[:16]}.pem"
            path.unlink(missing_ok=True)
            make_file(path)
            _write(path, pem)

    def clear_lines(self) -> None:
        """See `EvidenceSink.clear_lines`."""
        with reported(self._evidence):
            for file in day_files(self._evidence):
                file.path.unlink()
        self._known.clear()

    def clear_heads(self) -> None:
        """See `EvidenceSink.clear_heads`."""
        with reported(self._evidence):
            (self._evidence / HEADS_FILE).unlink(missing_ok=True)
        self._known.clear()

    def _whole(self, path: Path) -> tuple[int, int]:
        """How many lines of a file are whole, and how many octets they have."""
        if path not in self._known:
            count = size = last = 0
            with reported(path):
                for line in read_lines(path) if path.exists() else ():
                    count, size, last = count + 1, size + len(line), 0 if line.endswith(b"\n") else len(line)
            self._known[path] = (count - 1, size - last) if last else (count, size)
        return self._known[path]

    def _append(self, path: Path, lines: Sequence[bytes]) -> None:
        count, size = self._whole(path)
        with reported(path):
            make_directory(path.parent)
            make_file(path)
            os.truncate(path, size)
            content = b"".join(lines)
            _write(path, content)
        self._known[path] = count + len(lines), size + len(content)


def _write(path: Path, content: bytes) -> None:
    with path.open("ab") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
