"""The tables of a `Schema` in a SQLite file of the data directory."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn

import apsw

from gatepost.store.interface import Schema, StoreBusy, StoreFailure, failing
from gatepost.store.sqlite.schema import (
    StoreSettings,
    exclusively,
    make_directory,
    open_database,
    open_for_reading,
)
from gatepost.store.sqlite.versions import refuse_newer

_SETTINGS = StoreSettings(page_size=4096, checkpoint_pages=1000)
_WAIT = 30.0  # seconds for one's turn among the threads of this process; SQLite itself waits 5 s for other processes


class SqliteConnection:
    """Implements `store.interface.DatabaseConnection` on a file."""

    clock = "unixepoch('subsec')"

    def __init__(self, connection: apsw.Connection) -> None:
        self._connection = connection

    def rows(self, sql: str, values: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """All rows."""
        found: list[tuple[Any, ...]] = self._connection.execute(sql, tuple(values)).fetchall()  # type: ignore[arg-type]
        return found

    def value(self, sql: str, values: Sequence[object] = ()) -> Any:
        """The first column of the first row; None if there is no row."""
        row = self._connection.execute(sql, tuple(values)).fetchone()  # type: ignore[arg-type]
        return None if row is None else row[0]

    def execute(self, sql: str, values: Sequence[object] = ()) -> int:
        """Change rows; returns how many."""
        before = self._connection.total_changes()
        self._connection.execute(sql, tuple(values))  # type: ignore[arg-type]
        return self._connection.total_changes() - before

    def octets(self) -> int:
        """Bytes that the file takes."""
        return int(self._connection.pragma("page_count") * self._connection.pragma("page_size"))

    def execute_many(self, sql: str, rows: Iterable[Sequence[object]]) -> None:
        """The same change with each of several lists of values."""
        self._connection.executemany(sql, (tuple(values) for values in rows))  # type: ignore[arg-type]


class SqliteDatabase:
    """Implements `store.interface.Database`: one connection, which the threads of a process take in turn."""

    def __init__(
        self, directory: Path, schema: Schema, *, synchronous: str = "FULL", file: str = "", waits: bool = True
    ) -> None:
        """Open the file of `schema` in `directory`, made if it is not there, readable by its owner only.

        file: its name, if it is another one than that of the schema. waits: for the locks of other
        processes, as an event loop may not.

        Raises StoreFailure, also if the tables are of another program or a newer version.
        """
        self.path = directory / (file or schema.file)
        self._schema = schema
        self._turn = threading.Lock()
        with failing(directory, OSError):
            make_directory(directory)
        self._connection = open_database(self.path, _SETTINGS, synchronous=synchronous, lasting=True)
        try:
            self._connection.execute("PRAGMA wal_autocheckpoint = 1000")
            if schema.secret:
                self._connection.execute("PRAGMA secure_delete = ON")
            self._prepare_tables()
            if not waits:
                self._connection.set_busy_timeout(0)
        except apsw.Error as error:
            self._connection.close()
            raise _failure(self.path, error) from error
        except StoreFailure:
            self._connection.close()
            raise
        self._session = SqliteConnection(self._connection)

    @contextlib.contextmanager
    def reading(self) -> Iterator[SqliteConnection]:
        """For statements that change nothing; each sees what was committed last."""
        with self._in_turn():
            yield self._session

    @contextlib.contextmanager
    def single(self) -> Iterator[SqliteConnection]:
        """For changes that are right as one statement each, and committed with it."""
        with self._in_turn():
            yield self._session

    @contextlib.contextmanager
    def reading_at_once(self) -> Iterator[SqliteConnection]:
        """For statements that change nothing and all see the same state."""
        with self._in_turn(), self._connection:
            yield self._session

    @contextlib.contextmanager
    def changing(self) -> Iterator[SqliteConnection]:
        """One transaction that no other thread or process is in; it is taken back if what is done in it raises."""
        with self._in_turn(), exclusively(self._connection):
            yield self._session

    def data_version(self) -> int:
        """A number that is another one after a change over another connection; takes microseconds.

        Raises StoreFailure. It is asked within `reading_at_once`, too, and so takes no turn.
        """
        try:
            version: int = self._connection.pragma("data_version")
        except apsw.Error as error:
            raise _failure(self.path, error) from error
        return version

    def forget(self) -> None:
        """Truncate the write-ahead log, which still holds removed rows; while somebody reads, a bit later."""
        with contextlib.suppress(StoreFailure), self._in_turn():
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def close(self) -> None:
        """Close the file; whoever is at it ends first."""
        with self._in_turn():
            self._connection.close()

    @contextlib.contextmanager
    def _in_turn(self) -> Iterator[None]:
        if not self._turn.acquire(timeout=_WAIT):
            raise StoreBusy(f"{self.path}: busy for {_WAIT:.0f} s")
        try:
            yield
        except apsw.Error as error:
            raise _failure(self.path, error) from error
        finally:
            self._turn.release()

    def _prepare_tables(self) -> None:
        if self._is_current():  # asked without the lock that whoever writes just now holds
            return
        with exclusively(self._connection):
            if not self._is_current():  # another process was not quicker
                self._make_or_upgrade()

    def _is_current(self) -> bool:
        version, mark = self._connection.pragma("user_version"), self._connection.pragma("application_id")
        return bool(version == self._schema.version and mark == self._schema.application_id)

    def _make_or_upgrade(self) -> None:
        schema = self._schema
        version = self._connection.pragma("user_version")
        is_ours = self._connection.pragma("application_id") == schema.application_id
        if is_ours and version in schema.upgrades:
            for older in range(version, schema.version):
                self._connection.execute(schema.upgrades[older])
        elif self._is_unmarked(version):
            self._connection.execute(schema.unmarked)
            for older in range(1, schema.version):
                self._connection.execute(schema.upgrades[older])
            self._connection.execute(f"PRAGMA application_id = {schema.application_id}")
        elif version or self._connection.execute("SELECT count(*) FROM sqlite_schema").get:
            refuse_newer(self.path, version, schema.version)
        else:
            self._connection.execute(schema.tables)
            self._connection.execute(f"PRAGMA application_id = {schema.application_id}")
        self._connection.execute(f"PRAGMA user_version = {schema.version}")

    def _is_unmarked(self, version: object) -> bool:
        """Whether an earlier version of gatepost made the file, which did not mark it."""
        if version or not self._schema.unmarked or self._connection.pragma("application_id"):
            return False
        return bool(self._connection.execute("SELECT count(*) FROM sqlite_schema").get)


class SqliteReader(SqliteDatabase):
    """The same of a process that may not write the file, nor what lies beside it; other processes do."""

    def __init__(self, directory: Path, schema: Schema, *, file: str = "") -> None:
        """Open it. Raises StoreFailure, also if it is not there or its tables are not of this version."""
        self.path = directory / (file or schema.file)
        self._schema = schema
        self._turn = threading.Lock()
        try:
            self._connection = open_for_reading(self.path)
            self._connection.execute(f"PRAGMA cache_size = -{_SETTINGS.cache_bytes >> 10}")
            self._connection.execute("PRAGMA temp_store = MEMORY")
            is_current = self._is_current()
        except apsw.Error as error:
            raise _failure(self.path, error) from error
        self._session = SqliteConnection(self._connection)
        if not is_current:
            self._connection.close()
            raise StoreFailure(f"{self.path} has tables of another version; restart the gateway")

    def changing(self) -> NoReturn:
        """Nothing. Raises StoreFailure."""
        raise StoreFailure(f"{self.path}: this process may only read it")

    def single(self) -> NoReturn:
        """Nothing. Raises StoreFailure."""
        self.changing()

    def forget(self) -> None:
        """Nothing: whoever removes something overwrites it."""


def _failure(path: Path, error: apsw.Error) -> StoreFailure:
    kind = StoreBusy if isinstance(error, apsw.BusyError) else StoreFailure
    return kind(f"{path}: {error}")
