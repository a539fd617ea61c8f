"""Tables beside the queue, in any engine: one schema and one implementation, in SQL that SQLite and PostgreSQL share.

Values stand as `?`, or as `?1`, `?2` where one is used twice. Tables are written in SQLite's words (INTEGER, REAL,
TEXT, BLOB); `store.postgres.database` writes them in those of PostgreSQL. Why not a library: docs/decisions/0058. What
the two engines do not share, such as `INSERT OR REPLACE`, `INDEXED BY`, `ifnull` or `json_each`, is not used.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from contextlib import AbstractContextManager


class Schema(msgspec.Struct, frozen=True):
    """The tables of one subject, which are changed together.

    name: what it is called in PostgreSQL, and in errors. file: its file in the data directory, with SQLite. version: of
    these tables; upgrades[n] is the SQL that makes tables of version n + 1 of those of version n. application_id: the
    mark of the file. secret: what is removed is overwritten. unmarked: the SQL that makes tables of version 1 of those
    in a file without a mark, as gatepost once made it.

    oldest: the first version whose code works with these tables. Nodes of two versions of gatepost share a database
    while a site is upgraded, so a change has two parts in two releases. The first only adds: a table, an index, a
    column that may be NULL or has a default; `oldest` stays. The second, when no node needs the old form any more,
    renames or takes away; its `oldest` is the version of the first.
    """

    name: str
    file: str
    application_id: int
    version: int
    tables: str
    upgrades: Mapping[int, str] = msgspec.field(default_factory=lambda: MappingProxyType({}))
    secret: bool = False
    unmarked: str = ""
    oldest: int = 1

    def suits(self, version: int, oldest: int) -> bool:
        """Whether this code can use tables of a version as they are. oldest: that was stored with them."""
        return version == self.version or (version > self.version >= oldest)


class DatabaseConnection(Protocol):
    """Statements, within a `Database`'s contexts. Every method raises StoreFailure.

    clock: the SQL of the engine's own time, seconds since 1970: in PostgreSQL the server's, not the node's.
    """

    clock: str

    def rows(self, sql: str, values: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """All rows of a query, or of a change that has RETURNING."""

    def value(self, sql: str, values: Sequence[object] = ()) -> Any:
        """The first column of the first row; None if there is no row."""

    def execute(self, sql: str, values: Sequence[object] = ()) -> int:
        """Change rows; returns how many."""

    def octets(self) -> int:
        """Bytes that the tables of the schema take."""

    def execute_many(self, sql: str, rows: Iterable[Sequence[object]]) -> None:
        """The same change with each of several lists of values."""


class Database(Protocol):
    """The tables of one `Schema`. For the threads of a process; blocks, so not on an event loop.

    Methods raise StoreBusy where trying again may help (another process holds the lock too long, the server is away),
    or another StoreFailure.
    """

    def reading(self) -> AbstractContextManager[DatabaseConnection]:
        """For statements that change nothing; each sees what was committed last."""

    def reading_at_once(self) -> AbstractContextManager[DatabaseConnection]:
        """For statements that change nothing and all see the same state."""

    def single(self) -> AbstractContextManager[DatabaseConnection]:
        """For changes that are right as one statement each, and committed with it.

        No lock outlives a statement: a node that is cut off keeps nobody from theirs, as it may within `changing`.
        """

    def changing(self) -> AbstractContextManager[DatabaseConnection]:
        """One transaction that no other one of this schema is beside, in any process or node.

        Kept if what is done in it ends well, taken back if it raises.
        """

    def forget(self) -> None:
        """Overwrite what was removed, as far as the engine can: it may have been a secret."""

    def close(self) -> None:
        """Close it; whoever is at it ends first."""


class OnFirstUse:
    """A database that is opened when it is first used, and anew when it is used after it was closed.

    For one thread at a time until it is open. Every method raises StoreFailure.
    """

    def __init__(self, opened: Callable[[], Database]) -> None:
        """opened: opens the database."""
        self._opened = opened
        self._database: Database | None = None

    @property
    def is_open(self) -> bool:
        """Whether it was used since it was made or closed."""
        return self._database is not None

    def reading(self) -> AbstractContextManager[DatabaseConnection]:
        """See `Database.reading`."""
        return self._open().reading()

    def single(self) -> AbstractContextManager[DatabaseConnection]:
        """See `Database.single`."""
        return self._open().single()

    def changing(self) -> AbstractContextManager[DatabaseConnection]:
        """See `Database.changing`."""
        return self._open().changing()

    def close(self) -> None:
        """Close it; the next use opens it anew."""
        if self._database is not None:
            self._database.close()
            self._database = None

    def _open(self) -> Database:
        if self._database is None:
            self._database = self._opened()
        return self._database


class StoredTables:
    """The base of what reads and changes the tables of one schema, for one thread at a time.

    Every method raises StoreFailure, and may wait for the database.
    """

    def __init__(self, opened: Callable[[], Database]) -> None:
        """opened: opens the database, at the first use."""
        self._database = OnFirstUse(opened)

    def close(self) -> None:
        """Close the database; the next use opens it anew."""
        self._database.close()
