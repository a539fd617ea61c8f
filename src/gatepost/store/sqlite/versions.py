"""Refuse a file that a newer gatepost wrote, before it is opened or as it is."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Final, NoReturn

from gatepost.store.interface import StoreFailure

_VERSION_AND_MARK: Final = struct.Struct(">60xI4xI")  # the beginning of a file of SQLite


def refuse_newer(path: Path, version: object, known: int) -> NoReturn:
    """Raise StoreFailure for a file whose tables are of a version that is not known. known: the newest that is."""
    raise StoreFailure(
        f"{path} has tables of version {version}, and this version of gatepost knows {known}: "
        "use the version of gatepost that made it, or a newer one"
    )


def check_not_newer(path: Path, mark: int, known: int) -> None:
    """Raise StoreFailure if a file with this mark has tables of a newer version than is known.

    Its header is read, and nothing is opened: what is in its WAL alone, or cannot be read, is found by who opens it.
    """
    try:
        with path.open("rb") as file:
            head = file.read(_VERSION_AND_MARK.size)
    except OSError:
        return
    if len(head) == _VERSION_AND_MARK.size:
        version, program = _VERSION_AND_MARK.unpack(head)
        if program == mark and version > known:
            refuse_newer(path, version, known)
