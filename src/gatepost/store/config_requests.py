"""The configuration as a process has it that may only read it, and has what it changes written by another one.

Made by `store.storage` in processes that talk to the network. `node.config_line` carries the requests to a process that
the supervisor starts, and `node.config_judge` says which of them are granted (docs/decisions/0139).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import apsw
import msgspec

from gatepost.store.changes import CONFIGURATION, ConfigConflict, ConfigStore
from gatepost.store.interface import DatabaseConnection, OutcomeUnknown, Schema, StoreBusy, StoreFailure
from gatepost.store.sqlite.database import SqliteConnection, SqliteReader


class ConfigRequest(msgspec.Struct, frozen=True):
    """A change that a process asks for: document, content, note and expected are those of `ConfigStore.apply`."""

    document: dict[str, dict[str, dict[str, Any] | None]] = {}
    content: dict[str, bytes | None] = {}
    note: str = ""
    expected: int | None = None


class ReplyKind(StrEnum):
    """The outcome of a request."""

    DONE = "done"
    CONFLICT = "conflict"  # the configuration is not of the expected version
    BUSY = "busy"  # the same request may succeed soon
    FAILED = "failed"  # the store cannot be written
    DENIED = "denied"  # this process may not have it changed so


class ConfigReply(msgspec.Struct, frozen=True):
    """The answer to a request. version: then in force. text: why it was not done."""

    kind: ReplyKind
    version: int = 0
    text: str = ""


class RequestDenied(Exception):  # noqa: N818 - it names what was said
    """A process may not have the configuration changed so; the text says why, for the log."""


class WriteAccess:
    """The access of this process to the configuration. ask: carries a request; None if the process writes itself."""

    def __init__(self) -> None:
        self.ask: Callable[[ConfigRequest], ConfigReply | None] | None = None


WRITE_ACCESS: Final = WriteAccess()
"""Of this process, set after its fork. The answer is None if none came in time."""

_FAILURES: Final = {
    ReplyKind.CONFLICT: ConfigConflict,
    ReplyKind.BUSY: StoreBusy,
    ReplyKind.FAILED: StoreFailure,
    ReplyKind.DENIED: StoreFailure,
}


class RequestedConfig(ConfigStore):
    """The configuration in a file of the node that this process only reads; its changes are asked for."""

    def __init__(self, path: Path, schema: Schema = CONFIGURATION, *, is_shared: bool = False) -> None:
        """schema: of the file. is_shared: whether it is a copy of what nodes share. Raises StoreFailure."""
        super().__init__(path, _ReadConfigFile(path, schema, is_shared=is_shared))
        self._schema = schema

    def apply(
        self,
        document: Mapping[str, Mapping[str, Any]],
        *,
        author: str,  # noqa: ARG002 - whoever writes it says who asked
        note: str = "",
        expected: int | None = None,
        content: Mapping[str, bytes | None] = MappingProxyType({}),
    ) -> int:
        """Have it done, as `ConfigStore.apply` does it; waits for another process, some seconds at most.

        Raises as that, and StoreFailure for what this process may not change.
        """
        assert WRITE_ACCESS.ask is not None  # noqa: S101 - or the store would be another one
        kinds = {kind: dict(resources) for kind, resources in document.items()}
        try:
            reply = WRITE_ACCESS.ask(ConfigRequest(kinds, dict(content), note, expected))
        finally:
            self._serial = -1
        if reply is None:
            raise OutcomeUnknown("the configuration: the supervisor did not answer; it may have been changed")
        if reply.kind is not ReplyKind.DONE:
            raise _FAILURES[reply.kind](reply.text)
        return reply.version

    def another(self) -> RequestedConfig:
        """The same over a connection of its own, for another thread; to be closed. Raises StoreFailure."""
        return RequestedConfig(self.path, self._schema, is_shared=self.is_shared)


class _ReadConfigFile(SqliteReader):
    """Implements `store.changes.ConfigDatabase` for who only reads.

    Whoever was killed while it wrote may leave an index that must be made anew, which a reader may not do, and one that
    is being written looks like that for a moment: then a request that changes nothing has another process do it.
    """

    def __init__(self, path: Path, schema: Schema, *, is_shared: bool) -> None:
        self.is_shared = is_shared
        try:
            super().__init__(path.parent, schema, file=path.name)
        except StoreFailure as failure:
            if not isinstance(failure.__cause__, apsw.ReadOnlyError):
                raise
            _have_recovered()
            super().__init__(path.parent, schema, file=path.name)

    def serial(self) -> int:
        """Another number after a change."""
        try:
            return self.data_version()
        except StoreFailure as failure:
            if not isinstance(failure.__cause__, apsw.ReadOnlyError):
                raise
            _have_recovered()
            return self.data_version()

    @contextmanager
    def reading_at_once(self) -> Iterator[SqliteConnection]:
        """For statements that change nothing and all see the same state."""
        with super().reading_at_once() as session:
            self.serial()  # begins to read, by an index that is whole
            yield session

    reading = reading_at_once

    def announce(self, change: DatabaseConnection, content: Iterable[str]) -> None:
        """Nothing: this process changes nothing."""

    def another(self) -> _ReadConfigFile:
        """The same file once more."""
        return _ReadConfigFile(self.path, self._schema, is_shared=self.is_shared)


def _have_recovered() -> None:
    if WRITE_ACCESS.ask is not None:
        WRITE_ACCESS.ask(ConfigRequest())
