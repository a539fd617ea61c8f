"""The configuration in PostgreSQL, and its copy on each node: a SQLite file that is read in microseconds.

Whoever changes something does so on the server, and brings the copy of its node up to that before it goes on. Others
learn of it by NOTIFY, one for a change, and by looking every two seconds; one process of a node does that for all.
While the server is away, the copy is what is in force. Why so: docs/decisions/0060.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
import os
import secrets
import threading
import time
from typing import TYPE_CHECKING, Any, Final

from gatepost.store.changes import CONFIGURATION, CONFIGURATION_LOG, put_resource
from gatepost.store.interface import DatabaseConnection, Schema, StoreBusy, StoreFailure
from gatepost.store.postgres.database import PostgresDatabase
from gatepost.store.postgres.server import DatabaseServer, connect
from gatepost.store.sqlite.database import SqliteDatabase

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path


_COPY_VERSION: Final = 1
COPY_FILE: Final = f"configuration-copy-{_COPY_VERSION}.db"
"""In the data directory. With its version, so that a node goes back to an older gatepost with a copy of that form."""

RENEWAL_LOCK: Final = "configuration-copy.lock"
"""In the data directory: locked by the process that renews the copy."""

_CHANNEL: Final = "gatepost_configuration"
_LOOK: Final = 2.0  # seconds between two looks of the process that renews the copy
_RARELY: Final = 4.0  # and of the others, in case that one hangs, and to know whether the server answers
_LATELY: Final = 10.0
_TURN: Final = 1.0  # seconds between two tries to be the one that renews; a command has ended before the first
_LONGEST: Final = 5.0  # seconds that the end of the thread is waited for
_ROWS: Final = 200  # that are copied at a time
_NOTED: Final = 10_000  # changes of content; a copy that is behind by more is made anew

# copied: up to which change and which change of content. at and mark tell whether they are of the same history: the
# server's may be another one, restored from a backup.
COPY: Final = Schema(
    name="configuration_copy",
    file=COPY_FILE,
    application_id=0x67706363,  # "gpcc"
    version=_COPY_VERSION,
    tables=f"""
    {CONFIGURATION.tables}
    CREATE TABLE copied (
        id             INTEGER PRIMARY KEY CHECK (id = 1),
        change         INTEGER NOT NULL,
        at             REAL NOT NULL,
        content_change INTEGER NOT NULL,
        mark           INTEGER NOT NULL
    );
    """,
    secret=True,
)
"""The tables of the copy."""

_COPIED: Final = "SELECT change, at, content_change, mark FROM copied"
_NEWEST: Final = (
    "SELECT coalesce((SELECT id FROM change ORDER BY id DESC LIMIT 1), 0),"
    " coalesce((SELECT at FROM change ORDER BY id DESC LIMIT 1), 0.0),"
    " coalesce((SELECT number FROM content_change ORDER BY number DESC LIMIT 1), 0),"
    " coalesce((SELECT mark FROM content_change ORDER BY number DESC LIMIT 1), 0)"
)
_ADD_CHANGE: Final = (
    "INSERT INTO change (id, version, at, author, note, kind, name, before, after) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
)

_log = logging.getLogger(__name__)


class SharedConfig:
    """Implements `store.changes.ConfigDatabase`: reads the copy, and changes what lies on the server."""

    is_shared = True

    def __init__(self, url: str, directory: Path) -> None:
        """Raises StoreBusy if the server is away and this node has no copy yet, or another StoreFailure."""
        self._replica = _Replica.opened(url, directory)
        try:
            self._copy = SqliteDatabase(directory, COPY)
        except StoreFailure:
            self._replica.release()
            raise
        self._is_closed = False

    def serial(self) -> int:
        """A number that is another one after a change of the copy."""
        return self._copy.data_version()

    def reading(self) -> AbstractContextManager[DatabaseConnection]:
        """The copy."""
        return self._copy.reading()

    def reading_at_once(self) -> AbstractContextManager[DatabaseConnection]:
        """The copy."""
        return self._copy.reading_at_once()

    @contextlib.contextmanager
    def changing(self) -> Iterator[DatabaseConnection]:
        """On the server. The copy is renewed after it, also after a conflict: whoever looks again sees the reason.

        Raises StoreBusy at once on an event loop, which must not wait, if nothing was heard of the server lately.
        """
        if _is_on_loop() and not self._replica.is_reachable():
            raise StoreBusy("PostgreSQL: nothing was heard of the server lately")
        try:
            with self._replica.configuration().changing() as change:
                yield change
        except StoreFailure:
            raise
        except BaseException:
            self._replica.renew_quietly()
            raise
        self._replica.renew_quietly()

    def single(self) -> AbstractContextManager[DatabaseConnection]:
        """As `changing`: what is written is copied after it."""
        return self.changing()

    def announce(self, change: DatabaseConnection, content: Iterable[str]) -> None:
        """Note in a change that it is one, and which contents it stores or removes."""
        number = change.value("SELECT coalesce(max(number), 0) FROM content_change")
        rows = [(number + count, secrets.randbits(62), name) for count, name in enumerate(content, 1)]
        if rows:
            change.execute_many("INSERT INTO content_change (number, mark, name) VALUES (?, ?, ?)", rows)
            change.execute("DELETE FROM content_change WHERE number <= ?", (rows[-1][0] - _NOTED,))
        change.value(f"SELECT pg_notify('{_CHANNEL}', '')")

    def another(self) -> SharedConfig:
        """The same once more."""
        return SharedConfig(self._replica.url, self._replica.directory)

    def forget(self) -> None:
        """Overwrite what was removed from the copy."""
        self._copy.forget()

    def close(self) -> None:
        """Close the copy."""
        if not self._is_closed:
            self._is_closed = True
            self._copy.close()
            self._replica.release()


def _is_on_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


class _Replica:
    """The copy of a node as one process sees to it: one for all its uses, with a thread while there are any."""

    @classmethod
    def opened(cls, url: str, directory: Path) -> _Replica:
        """The one of this process, to be released. Raises StoreFailure."""
        with _opening:
            key = url, str(directory)
            replica = _replicas.get(key)
            if replica is None:
                replica = cls(url, directory)
                replica.start()
                _replicas[key] = replica
            replica._uses += 1
            return replica

    def __init__(self, url: str, directory: Path) -> None:
        self.url = url
        self.directory = directory
        self._uses = 0
        self._answered = -_LATELY
        self._server = DatabaseServer.of(url)
        self._databases: tuple[PostgresDatabase, PostgresDatabase] | None = None
        self._copy = SqliteDatabase(directory, COPY, synchronous="NORMAL")  # an older copy is as good to begin with
        self._stop = threading.Event()
        self._woken = threading.Event()
        self._follower = _Follower(self, self._server, self._stop, self._woken)
        self._thread = threading.Thread(target=self._follower.run, name="configuration", daemon=True)

    def start(self) -> None:
        """Bring the copy up to date, and keep it so. Raises StoreFailure if there is nothing to begin with."""
        try:
            self.renew()
        except StoreFailure as failure:
            if not isinstance(failure, StoreBusy) or self._copied() is None:
                self._copy.close()
                raise
            why = failure.summary or failure  # whoever needs the server hears all of it
            _log.warning("the configuration cannot be renewed, the copy of this node stays in force: %s", why)
        self._thread.start()

    def release(self) -> None:
        """One use less; with the last one it ends."""
        with _opening:
            self._uses -= 1
            if self._uses:
                return
            _replicas.pop((self.url, str(self.directory)), None)
        self._stop.set()
        self._woken.set()
        self._thread.join(_LONGEST)
        self._copy.close()

    def abandon(self) -> None:
        """In a child: let the parent alone have the lock."""
        self._follower.release()

    def is_reachable(self) -> bool:
        """Whether the server answered lately."""
        return time.monotonic() - self._answered < _LATELY

    def configuration(self) -> PostgresDatabase:
        """The tables on the server. Raises StoreFailure."""
        if self._databases is None:
            self._databases = PostgresDatabase(self.url, CONFIGURATION), PostgresDatabase(self.url, CONFIGURATION_LOG)
        return self._databases[0]

    def renew_quietly(self) -> None:
        """Bring the copy up to date if that is possible now; else it is soon."""
        with contextlib.suppress(StoreFailure):
            self.renew()

    def renew(self) -> None:
        """Bring the copy up to date. Raises StoreFailure."""
        server = self.configuration()
        with server.reading() as source:
            newest = source.rows(_NEWEST)[0]
        self._answered = time.monotonic()
        if newest == self._copied():
            return
        # The copy first: what is read of the server then is not older than what others copied meanwhile.
        with self._copy.changing() as copy, server.reading_at_once() as source:
            _copy(source, copy)

    def _copied(self) -> tuple[Any, ...] | None:
        with self._copy.reading() as copy:
            rows = copy.rows(_COPIED)
        return rows[0] if rows else None


def _copy(source: DatabaseConnection, copy: DatabaseConnection) -> None:
    """Copy what is newer than the copy, or all of it. Both see one state."""
    newest = source.rows(_NEWEST)[0]
    rows = copy.rows(_COPIED)
    if rows and _continues(source, rows[0]):
        change, _, content_change, _ = rows[0]
        _copy_changes(source, copy, change)
        _copy_contents(source, copy, content_change)
    else:
        for table in ("resource", "change", "content"):
            copy.execute(f"DELETE FROM {table}")  # noqa: S608 - our names
        _copy_changes(source, copy, 0)
        _copy_all_contents(source, copy)
    copy.execute("DELETE FROM copied")
    copy.execute("INSERT INTO copied (id, change, at, content_change, mark) VALUES (1, ?, ?, ?, ?)", newest)


def _continues(source: DatabaseConnection, copied: tuple[Any, ...]) -> bool:
    """Whether the server's history goes on from what was copied."""
    change, at, content_change, mark = copied
    if change and source.value("SELECT at FROM change WHERE id = ?", (change,)) != at:
        return False
    if content_change:
        return bool(source.value("SELECT mark FROM content_change WHERE number = ?", (content_change,)) == mark)
    return bool(source.value("SELECT coalesce(min(number), 1) FROM content_change") == 1)


def _copy_changes(source: DatabaseConnection, copy: DatabaseConnection, last: int) -> None:
    """The history after a change; the resources are what it leads to."""
    while rows := source.rows(
        "SELECT id, version, at, author, note, kind, name, before, after FROM change WHERE id > ? ORDER BY id LIMIT ?",
        (last, _ROWS),
    ):
        copy.execute_many(_ADD_CHANGE, rows)
        for _, version, _, _, _, kind, name, _, after in rows:
            put_resource(copy, kind, name, version, after)
        last = rows[-1][0]


def _copy_contents(source: DatabaseConnection, copy: DatabaseConnection, last: int) -> None:
    changed = "SELECT DISTINCT name FROM content_change WHERE number > ?"
    names = [name for (name,) in source.rows(changed, (last,))]
    for start in range(0, len(names), _ROWS):
        some = names[start : start + _ROWS]
        places = ", ".join("?" * len(some))
        copy.execute(f"DELETE FROM content WHERE name IN ({places})", some)  # noqa: S608 - question marks
        rows = source.rows(f"SELECT name, data FROM content WHERE name IN ({places})", some)  # noqa: S608 - as above
        copy.execute_many("INSERT INTO content (name, data) VALUES (?, ?)", rows)


def _copy_all_contents(source: DatabaseConnection, copy: DatabaseConnection) -> None:
    last = ""
    while rows := source.rows("SELECT name, data FROM content WHERE name > ? ORDER BY name LIMIT ?", (last, _ROWS)):
        copy.execute_many("INSERT INTO content (name, data) VALUES (?, ?)", rows)
        last = rows[-1][0]


class _Follower:
    """The thread that renews the copy of a node, in the one process of it that holds the lock of the file."""

    def __init__(
        self, replica: _Replica, server: DatabaseServer, stop: threading.Event, woken: threading.Event
    ) -> None:
        self._replica = replica
        self._server = server
        self._stop = stop
        self._woken = woken
        self._lock = -1
        self._listening: Any = None
        self._looked = time.monotonic()
        self._is_away = False

    def run(self) -> None:
        """Until it is to stop."""
        self._stop.wait(_TURN)
        try:
            while not self._stop.is_set():
                self._woken.clear()
                self._look()
                self._woken.wait(_LOOK if self._lock >= 0 else _TURN)
        finally:
            self.release()
            if self._listening is not None:
                with contextlib.suppress(StoreFailure):
                    self._server.run(self._listening.close, "close")

    def release(self) -> None:
        """Let another process of the node renew the copy."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def _look(self) -> None:
        try:
            has_turn = self._has_turn()
            if not has_turn and time.monotonic() - self._looked < _RARELY:
                return
            self._looked = time.monotonic()
            if has_turn:
                self._listen()
            self._replica.renew()
        except (StoreFailure, OSError) as failure:
            if not self._is_away:
                _log.error("the configuration cannot be renewed, the copy of this node stays in force: %s", failure)
            self._is_away = True
        else:
            if self._is_away:
                _log.info("the configuration is renewed again")
            self._is_away = False

    def _has_turn(self) -> bool:
        if self._lock >= 0:
            return True
        path = self._replica.directory / RENEWAL_LOCK
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return False
        self._lock = descriptor
        return True

    def _listen(self) -> None:
        if self._listening is not None and not self._listening.is_closed():
            return
        server = self._server
        connection = server.run(lambda: connect(server.url, role="configuration"), "connect")
        server.run(lambda: connection.add_listener(_CHANNEL, lambda *_: self._woken.set()), "listen")
        connection.add_termination_listener(lambda *_: self._woken.set())
        self._listening = connection


_replicas: dict[tuple[str, str], _Replica] = {}
_opening = threading.RLock()
_inherited: list[_Replica] = []  # a child must not close what SQLite has open in its parent


def _forget_replicas() -> None:
    """In a child: the threads, the files and the lock are the parent's."""
    global _opening  # noqa: PLW0603 - the parent may have held it
    _opening = threading.RLock()
    for replica in _replicas.values():
        replica.abandon()
    _inherited.extend(_replicas.values())
    _replicas.clear()


os.register_at_fork(after_in_child=_forget_replicas)
