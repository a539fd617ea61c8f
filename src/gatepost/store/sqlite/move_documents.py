"""The small documents of a data directory (`store.documents`) as a part of a move (`store.move_parts`)."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from gatepost.store.documents import DOCUMENT_FOLDERS, DocumentFiles
from gatepost.store.move_parts import MoveRecord, UnnumberedPart
from gatepost.store.sqlite.move_queue import reported

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from gatepost.store.move_parts import Key

DOCUMENT_FILES: Final = "results of validations and drills"


class DocumentsPart(UnnumberedPart):
    """Implements `store.move_parts.Part`. A record is a document: folder and name; time of its last change; octets."""

    name = DOCUMENT_FILES

    def __init__(self, data_dir: Path) -> None:
        self._data = data_dir

    def count(self) -> int:
        """See `Part.count`."""
        return sum(1 for _ in self._names())

    def records(self) -> Iterator[MoveRecord]:
        """See `Part.records`."""
        with reported(self._data):
            for folder, name in self._names():
                path = self._data / folder / name
                yield MoveRecord((folder, name), (_time_of(path.stat().st_mtime_ns), path.read_bytes()))

    def present(self, _keys: Sequence[Key], /) -> set[Key]:
        """See `Part.present`: none is known to have its time yet."""
        return set()

    def add(self, records: Sequence[MoveRecord]) -> None:
        """See `Part.add`. One that is there already is written once more."""
        with reported(self._data):
            for (folder, name), (at, content) in records:
                DocumentFiles(self._data / folder).replace(name, content)
                nanoseconds = round(at * 1_000_000) * 1000
                os.utime(self._data / folder / name, ns=(nanoseconds, nanoseconds))

    def clear(self) -> None:
        """See `Part.clear`."""
        with reported(self._data):
            for folder, name in list(self._names()):
                (self._data / folder / name).unlink()

    def _names(self) -> Iterator[tuple[str, str]]:
        with reported(self._data):
            for top in DOCUMENT_FOLDERS:
                for folder, folders, names in os.walk(self._data / top):
                    folders.sort()
                    place = os.path.relpath(folder, self._data)
                    yield from ((place, name) for name in sorted(names) if not name.startswith("."))


def _time_of(nanoseconds: int) -> float:
    """Seconds since 1970, to the microsecond, as every engine has them."""
    return round(nanoseconds / 1e9, 6)
