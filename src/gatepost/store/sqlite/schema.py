"""The files of the store: their places, how they are opened, and the tables of a shard.

A data directory holds `queue/<shard>/q.db`, `queue/<shard>/big/<id>`, `trace/YYYY-MM-DD.<writer>.db`,
`destinations.db`, `config.db` and others.
Everything of `store` opens its databases here; nothing above it names a file or writes SQL, but `manage.access`, whose
tables of accounts are in the SQL of `store.interface`.
"""

from __future__ import annotations

import contextlib
import os
import time
from array import array
from collections.abc import Iterator
from pathlib import Path

import apsw
import msgspec

from gatepost.store.interface import StoreFailure
from gatepost.store.sqlite.versions import refuse_newer

QUEUE_DIRECTORY = "queue"
TRACE_DIRECTORY = "trace"
QUEUE_FILE = "q.db"
BIG_DIRECTORY = "big"
LOCK_FILE = "lock"

PATIENCE_MS = 5000
"""Milliseconds for which others that have a file are waited for."""

_PAUSE = 0.02  # seconds between two tries
_CHANGE_PATIENCE = 10.0  # seconds for which a change waits for the owner of its file
_TURN_PAUSE = 0.002  # seconds between two tries: whoever is at work leaves a moment between two commits
_INDEX_BYTES = 1 << 16  # index and log of a database, when they are made
_OLDEST_SQLITE = (3, 51, 3)  # earlier ones can lose commits when a WAL is reset (store.md §9.1)
QUEUE_VERSION = 3
QUEUE_MARK = 0x67706F71  # "gpoq", shown by file(1)
_OLDER = frozenset({1, 2})  # versions that are brought up to date
_CURRENT = (QUEUE_MARK, QUEUE_VERSION)
_UNFINISHED = frozenset(
    {(0, 0), *((QUEUE_MARK, version) for version in _OLDER)}
)  # until its worker has made its tables
_MAKING_S = 2.0  # seconds that this may take

# delivery: next_at 0 = in the owner's memory (fresh or leased), and in no index, so the happy path writes none.
# WITHOUT ROWID puts a message's deliveries side by side: "was it the last?" is a look at the same page.
# returned: the administrator who has it returned to its sender, and the text for that, as JSON; '' without one.
# quarantine: the organization that has it in quarantine (then held, and next_at is when it is deleted), '' for none;
# listed: when its recipient was told of it.
# body apart from message: a list of the queue does not read through the bodies.
# due ends in `held`, which is always 0 in it: otherwise SQLite reads each row to see that it is.
_TABLES = """
CREATE TABLE message (
    id    INTEGER PRIMARY KEY,
    size  INTEGER NOT NULL,
    big   INTEGER,
    facts TEXT NOT NULL
);
CREATE TABLE body (
    id   INTEGER PRIMARY KEY,
    data BLOB NOT NULL
);
CREATE TABLE delivery (
    message     INTEGER NOT NULL,
    id          INTEGER NOT NULL,
    destination TEXT NOT NULL,
    next_at     REAL NOT NULL,
    held        INTEGER NOT NULL DEFAULT 0,
    dropped     INTEGER NOT NULL DEFAULT 0,
    returned    TEXT NOT NULL DEFAULT '',
    attempts    INTEGER NOT NULL,
    expires_at  REAL NOT NULL,
    last_error  TEXT NOT NULL,
    recipients  TEXT NOT NULL,
    quarantine  TEXT NOT NULL DEFAULT '',
    listed      REAL NOT NULL DEFAULT 0,
    PRIMARY KEY (message, id)
) WITHOUT ROWID;
CREATE TABLE notice (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    action      TEXT NOT NULL,
    destination TEXT NOT NULL,
    message     INTEGER NOT NULL,
    delivery    INTEGER NOT NULL,
    author      TEXT NOT NULL
);
CREATE INDEX due ON delivery (destination, next_at, held) WHERE next_at > 0 AND NOT held;
CREATE INDEX dropped ON delivery (message) WHERE dropped;
CREATE INDEX big ON message (big) WHERE big IS NOT NULL;
"""
_QUARANTINE_INDEX = "CREATE INDEX quarantine ON delivery (quarantine, message, id) WHERE quarantine != ''"


class StoreSettings(msgspec.Struct, frozen=True):
    """Settings of the embedded store.

    page_size: bytes, of new files only; 16384 was best of 4096 to 65536 over bodies of 4 to 200 KB.
    inline_limit: bodies up to so many bytes lie in the database, larger ones in a file of their own.
    memory_budget: bytes of arriving messages kept in memory in all; beyond three quarters bodies go to files whatever
    their size.
    free_space_mark: bytes left on the disk below which nothing is accepted; up to three eighths of it are a reserve in
    the shard's own files (`store.sqlite.space`). With 0 there is none.
    checkpoint_pages: pages in the WAL that start a checkpoint, which nothing is committed beside (16 MiB by default).
    batch_bytes: bodies of one commit. cache_bytes: of pages that are kept in memory, at most. Larger ones leave the
    core's caches (docs/decisions/0155).
    vfs: name of a registered SQLite VFS, "" for the usual one.
    """

    page_size: int = 16384
    inline_limit: int = 256 * 1024
    memory_budget: int = 32 * 1024 * 1024
    free_space_mark: int = 128 * 1024 * 1024
    checkpoint_pages: int = 1000
    batch_bytes: int = 16 * 1024 * 1024
    cache_bytes: int = 4 * 1024 * 1024
    vfs: str = ""


def make_directory(path: Path) -> None:
    """Make a directory, and those above it, that only its owner may enter, and make their names durable."""
    if not path.parent.is_dir():
        make_directory(path.parent)
    with contextlib.suppress(FileExistsError):
        path.mkdir(mode=0o700)
        sync_directory(path.parent)


def sync_directory(path: Path) -> None:
    """Make the names in a directory durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def size_of(path: Path) -> int:
    """The size of a file in bytes, 0 if there is none."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def open_database(
    path: Path, settings: StoreSettings, *, synchronous: str = "FULL", shrinking: bool = False, lasting: bool = False
) -> apsw.Connection:
    """Open a database for writing, in WAL mode; make it, readable by its owner only, if it is not there.

    shrinking: a new one can give free pages back to the file system (`store.sqlite.space`), which costs a little.
    lasting: the gateway cannot start without it, so what lies beside it stays (`keep_wal`). The caller checkpoints.
    Raises StoreFailure if SQLite is too old or the file cannot be opened.
    """
    if tuple(map(int, apsw.sqlite_lib_version().split("."))) < _OLDEST_SQLITE:
        raise StoreFailure(f"SQLite {apsw.sqlite_lib_version()} can lose commits; 3.51.3 or newer is needed")
    try:
        make_file(path)
        connection = apsw.Connection(str(path), vfs=settings.vfs or None)
        connection.set_busy_timeout(PATIENCE_MS)
        if lasting:
            keep_wal(connection)
        connection.execute(f"PRAGMA page_size = {settings.page_size}")
        if shrinking:
            connection.execute("PRAGMA auto_vacuum = INCREMENTAL")  # has no effect on one with tables
        _into_wal(connection)
        connection.execute(f"PRAGMA synchronous = {synchronous}")
        connection.execute("PRAGMA wal_autocheckpoint = 0")
        connection.execute(f"PRAGMA journal_size_limit = {settings.page_size * settings.checkpoint_pages}")
        connection.execute(f"PRAGMA cache_size = -{settings.cache_bytes >> 10}")
        connection.execute("PRAGMA secure_delete = OFF")
        connection.execute("PRAGMA temp_store = MEMORY")
    except (apsw.Error, OSError) as error:
        raise StoreFailure(f"{path}: {_reason(path, error)}") from error
    return connection


def _reason(path: Path, error: apsw.Error | OSError) -> str:
    """The reason why a database was not opened. For want of room SQLite reports an error of the disk."""
    said = getattr(error, "strerror", "") or str(error)
    with contextlib.suppress(OSError):
        space = os.statvfs(path.parent)
        if isinstance(error, apsw.FullError | apsw.IOError) and space.f_bavail * space.f_frsize < _INDEX_BYTES:
            return f"{said}: the disk is full, and a database needs {_INDEX_BYTES >> 10} KiB beside it; make room there"
    return said


def keep_wal(connection: apsw.Connection) -> None:
    """The WAL and its index are not removed when the connection is closed: on a full disk they could not be made."""
    enabled = array("i", [1])
    connection.file_control("main", apsw.SQLITE_FCNTL_PERSIST_WAL, enabled.buffer_info()[0])


def _into_wal(connection: apsw.Connection) -> None:
    """Raises apsw.BusyError after PATIENCE_MS.

    Several that open a new file at once are in each other's way, and SQLite does not wait then: who reads a file and
    wants it for itself could wait for ever.
    """
    end = time.monotonic() + PATIENCE_MS / 1000
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except apsw.BusyError:
            if time.monotonic() > end:
                raise
            time.sleep(_PAUSE)
        else:
            return


def open_for_reading(path: Path) -> apsw.Connection:
    """Open a database that another connection writes. Raises apsw.CantOpenError if it is not there.

    A change of the file that a crash cut short, such as that of its journal mode, is taken back first: SQLite refuses
    to do that for who may only read, and the owner of a finished file of the trace never opens it again.
    """
    if path.with_name(f"{path.name}-journal").exists():
        with contextlib.suppress(apsw.Error), contextlib.closing(open_for_change(path)) as owner:
            owner.pragma("schema_version")
    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
    connection.set_busy_timeout(PATIENCE_MS)
    return connection


def open_for_change(path: Path) -> apsw.Connection:
    """Open a database whose owner is another process, to change rows of it. Never checkpoints: that is the owner's.

    Raises apsw.CantOpenError if it is not there.
    """
    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE)
    wait_between_commits(connection, _CHANGE_PATIENCE)
    connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
    connection.execute("PRAGMA wal_autocheckpoint = 0")
    connection.execute("PRAGMA synchronous = FULL")
    return connection


def wait_between_commits(connection: apsw.Connection, seconds: float = PATIENCE_MS / 1000) -> None:
    """Let a connection get its turn between two commits of others, which may commit again and again.

    seconds: for which each statement waits. SQLite's own handler tries ten times a second; on a slow disk it missed the
    moments between commits for ten seconds. All that write to a queue wait alike: who tries less often comes last.
    """
    end = 0.0

    def wait(earlier_tries: int) -> bool:
        nonlocal end
        now = time.monotonic()
        if not earlier_tries:
            end = now + seconds
        time.sleep(_TURN_PAUSE)
        return now < end

    connection.set_busy_handler(wait)


@contextlib.contextmanager
def exclusively(connection: apsw.Connection) -> Iterator[None]:
    """One transaction that no other process is in: kept if what is done in it ends well, taken back otherwise."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def check_queue_tables(connection: apsw.Connection, path: Path) -> None:
    """Raise StoreFailure if the database is not a queue as this version keeps it.

    Waits for a worker that has just started, and still makes its queue or brings it up to date.
    """
    end = time.monotonic() + _MAKING_S
    while (state := (connection.pragma("application_id"), connection.pragma("user_version"))) != _CURRENT:
        if state not in _UNFINISHED or time.monotonic() > end:
            if state[0] == QUEUE_MARK and state not in _UNFINISHED:
                refuse_newer(path, state[1], QUEUE_VERSION)
            raise StoreFailure(f"{path} is not a queue of this version")
        time.sleep(_MAKING_S / 20)


def make_queue_tables(connection: apsw.Connection, path: Path) -> None:
    """Make the tables of a new shard. Raises StoreFailure if the file is of another program or version."""
    if connection.execute("SELECT count(*) FROM sqlite_schema").get:
        _bring_up_to_date(connection)
        check_queue_tables(connection, path)
        return
    connection.execute("BEGIN IMMEDIATE")
    connection.execute(_TABLES)
    connection.execute(_QUARANTINE_INDEX)
    connection.execute(f"PRAGMA application_id = {QUEUE_MARK}")
    connection.execute(f"PRAGMA user_version = {QUEUE_VERSION}")
    connection.execute("COMMIT")


def _bring_up_to_date(connection: apsw.Connection) -> None:
    """Add what a queue of an earlier version lacks."""
    version = connection.pragma("user_version")
    if connection.pragma("application_id") != QUEUE_MARK or version not in _OLDER:
        return
    with exclusively(connection):
        if version == 1:
            connection.execute("ALTER TABLE delivery ADD COLUMN returned TEXT NOT NULL DEFAULT ''")
        connection.execute("ALTER TABLE delivery ADD COLUMN quarantine TEXT NOT NULL DEFAULT ''")
        connection.execute("ALTER TABLE delivery ADD COLUMN listed REAL NOT NULL DEFAULT 0")
        connection.execute(_QUARANTINE_INDEX)
        connection.execute(f"PRAGMA user_version = {QUEUE_VERSION}")


def make_file(path: Path) -> None:
    """Make an empty file that only its owner may use, unless it is there, and make its name durable. Raises OSError."""
    try:
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        return
    os.close(descriptor)
    sync_directory(path.parent)


def sqlite_version() -> str:
    """The version of SQLite that is used."""
    return apsw.sqlite_lib_version()
