"""The mark of a store that is moved to another engine (`store.move`): it decides which of the two stores is in use.

With SQLite it is a file of the data directory, with PostgreSQL a row. Whoever opens a store looks at it first
(`Storage`, `store.postgres.server`): mail is never delivered from two stores.
"""

from __future__ import annotations

import os
from enum import StrEnum
from pathlib import Path
from typing import Final

import msgspec

from gatepost.decoding import json_decoder
from gatepost.store.interface import Schema, StoreFailure, failing
from gatepost.store.sqlite.schema import sync_directory
from gatepost.times import second_text

MOVE_FILE: Final = "store-move.json"
"""In the data directory, while there is a mark."""

MOVE: Final = Schema(
    name="move",
    file="",
    application_id=0,
    version=1,
    tables="CREATE TABLE store_move (id INTEGER PRIMARY KEY, document TEXT NOT NULL);",
)
"""One row, with id 1, while there is a mark; in PostgreSQL alone."""

_AGAIN: Final = "run the same gatepost store migrate again to complete it"


class MoveState(StrEnum):
    """LEAVING: it is copied. LEFT: the copy is complete and in use. ARRIVING: an incomplete copy. ARRIVED: complete."""

    LEAVING = "leaving"
    LEFT = "left"
    ARRIVING = "arriving"
    ARRIVED = "arrived"


class MoveMark(msgspec.Struct, frozen=True):
    """move: a random word, the same in both stores. other: the other store. at: since when, seconds since 1970."""

    move: str
    state: MoveState
    other: str
    at: float

    @property
    def closes(self) -> bool:
        """Whether nobody but `store migrate` may use the store."""
        return self.state is not MoveState.ARRIVED


_encode = msgspec.json.Encoder().encode
_decode = json_decoder(MoveMark)


def encoded_mark(mark: MoveMark) -> bytes:
    """A mark as it is stored."""
    return _encode(mark)


def decoded_mark(document: bytes | str, place: str) -> MoveMark:
    """The mark of a store. Raises StoreFailure: a store whose mark cannot be read is not used."""
    try:
        return _decode(document)
    except msgspec.MsgspecError as error:
        raise StoreFailure(f"{place}: the mark of a move cannot be read: {error}") from error


def check_open(mark: MoveMark | None, place: str) -> None:
    """Raise StoreFailure if a mark closes the store at `place`."""
    if mark is not None and mark.closes:
        raise StoreFailure(closed_text(mark, place))


def closed_text(mark: MoveMark, place: str) -> str:
    """Why a store is not used, where the mail is, and what to do."""
    when = second_text(mark.at)
    if mark.state is MoveState.LEFT:
        return (
            f"{place}: this store was moved to {mark.other} on {when}, and its mail is delivered from there: set "
            "store.url to that one. To use this one again on purpose, and deliver what waited here then a second time, "
            "run: gatepost store reopen"
        )
    if mark.state is MoveState.LEAVING:
        return (
            f"{place}: this store is being moved to {mark.other} since {when}; if that was cut off, {_AGAIN}, or give "
            "it up: gatepost store reopen"
        )
    return f"{place}: this is an incomplete copy of {mark.other}, begun on {when}; {_AGAIN}"


def file_mark(directory: Path) -> MoveMark | None:
    """The mark of a data directory. Raises StoreFailure if it cannot be read."""
    path = directory / MOVE_FILE
    try:
        document = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise StoreFailure(f"{path}: {error.strerror}") from error
    return decoded_mark(document, str(path))


def write_file_mark(directory: Path, mark: MoveMark | None) -> None:
    """Replace the mark of a data directory durably; None removes it. Raises StoreFailure."""
    path = directory / MOVE_FILE
    with failing(path, OSError):
        if mark is None:
            path.unlink(missing_ok=True)
        else:
            fresh = path.with_name(f".{MOVE_FILE}.new")
            descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(encoded_mark(mark))
                file.flush()
                os.fsync(file.fileno())
            fresh.replace(path)
        sync_directory(directory)
