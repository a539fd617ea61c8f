"""The configuration and its history: `config.db`, shared by all processes of a data directory.

One transaction writes the resource, who changed it, when, from what to what, and version n+1. Documents are stored as
`policy.connectors.model` accepted them, certificates' as `pki.certificates.inventory` made them; nothing here knows
what they mean. What history must not repeat, such as keys, is content beside a document. Readers poll `version`, which
costs microseconds.
"""

from __future__ import annotations

import contextlib
import time
from collections import deque
from itertools import groupby
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import apsw
import msgspec

from gatepost.store.interface import StoreFailure
from gatepost.store.sqlite.schema import StoreSettings, exclusively, make_directory, open_database

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from pathlib import Path


_SETTINGS = StoreSettings(page_size=4096, checkpoint_pages=1000)
_SCHEMA_VERSION = 3
_APPLICATION_ID = 0x67706366  # "gpcf"
_TABLES = """
CREATE TABLE resource (
    kind     TEXT NOT NULL,
    name     TEXT NOT NULL,
    version  INTEGER NOT NULL,
    document TEXT NOT NULL,
    PRIMARY KEY (kind, name)
) WITHOUT ROWID;
CREATE TABLE change (
    id      INTEGER PRIMARY KEY,
    version INTEGER NOT NULL,
    at      REAL NOT NULL,
    author  TEXT NOT NULL,
    note    TEXT NOT NULL,
    kind    TEXT NOT NULL,
    name    TEXT NOT NULL,
    before  TEXT,
    after   TEXT
);
CREATE INDEX change_of ON change (kind, name);
"""
_BY_VERSION = "CREATE INDEX change_version ON change (version);"
_CONTENT = """
CREATE TABLE content (
    name TEXT PRIMARY KEY,
    data BLOB NOT NULL
) WITHOUT ROWID;
"""

_MOST = "organization"
_NEWEST = "change INDEXED BY change_version"
_TRIES = 5
_KEPT = 8  # connections that wait for their next use; threads at work have one each
_LAST = 2**63 - 1  # the largest number that SQLite has
# The newest change is of the newest version: to look for the greatest one would read all of them.
_IN_FORCE = "SELECT ifnull((SELECT version FROM change ORDER BY id DESC LIMIT 1), 0)"

type _FileId = tuple[int, int] | None

_encode = msgspec.json.Encoder(order="deterministic").encode


class ConfigConflict(Exception):  # noqa: N818 - it names what happened
    """The configuration is not of the version that the change was made from. The text says so, for the author."""


def on_newest[T](step: Callable[[], T]) -> T:
    """Run `step`, which reads the configuration and changes it with `expected`, and return its result.

    It runs again if another change was quicker. Raises ConfigConflict after five tries.
    """
    for _ in range(_TRIES - 1):
        with contextlib.suppress(ConfigConflict):
            return step()
    return step()


class Change(msgspec.Struct):
    """One resource in one version. at: seconds since 1970. before: None if it is new; after: None if it was removed."""

    version: int
    at: float
    author: str
    note: str
    kind: str
    name: str
    before: dict[str, Any] | None
    after: dict[str, Any] | None


class Version(msgspec.Struct):
    """One change of the configuration. at: seconds since 1970. names: of the organizations."""

    version: int
    at: float
    author: str
    note: str
    names: tuple[str, ...]


class ConfigStore:
    """The configuration of a data directory, in the file `path`. For one thread at a time.

    Methods that change something may wait for another process's lock; reading never waits.
    """

    def __init__(self, path: Path) -> None:
        """Open `path`, made if it is not there. Raises StoreFailure."""
        try:
            make_directory(path.parent)
        except OSError as error:
            raise StoreFailure(f"{path.parent}: {error.strerror}") from error
        self.path = path
        self._connection = open_database(path, _SETTINGS, lasting=True)
        self._connection.execute("PRAGMA wal_autocheckpoint = 1000")
        self._connection.execute("PRAGMA secure_delete = ON")  # what is removed may have been a key
        try:
            self._make_tables(path)
        except apsw.Error as error:
            self._connection.close()
            raise StoreFailure(f"{path}: {error}") from error
        except StoreFailure:
            self._connection.close()
            raise
        self._data_version = -1
        self._version = 0

    def version(self) -> int:
        """The number of the version in force; 0 before the first change."""
        data_version: int = self._connection.pragma("data_version")
        if data_version != self._data_version:
            self._version = self._connection.execute(_IN_FORCE).get
            self._data_version = data_version
        return self._version

    def load(self, *kinds: str) -> tuple[int, dict[str, Any]]:
        """The version in force and its document of organizations, or of these kinds, as they are at one time.

        {"organization": {"contoso": {…}}}; a kind of which there is nothing is left out.
        """
        wanted = _encode(kinds or (_MOST,)).decode()
        document: dict[str, Any] = {}
        with self._connection:
            version: int = self._connection.execute(_IN_FORCE).get
            rows = self._connection.execute(
                "SELECT kind, name, document FROM resource WHERE kind IN (SELECT value FROM json_each(?))", (wanted,)
            )
            for kind, name, text in rows:
                document.setdefault(kind, {})[name] = msgspec.json.decode(text)
        return version, document

    def texts(self, kind: str) -> tuple[int, list[tuple[str, str]]]:
        """The version in force and each document of one kind with its name, as JSON text: for who knows many of them.

        In the order of their names.
        """
        with self._connection:
            version: int = self._connection.execute(_IN_FORCE).get
            rows = self._connection.execute("SELECT name, document FROM resource WHERE kind = ?", (kind,))
            found = [(str(name), str(text)) for name, text in rows]
        return version, found

    def contents(self, beginning: str, end: str) -> dict[str, bytes]:
        """All that was stored beside the documents under names of this beginning and end."""
        wanted = "SELECT name, data FROM content WHERE name >= ?1 AND substr(name, 1, length(?1)) = ?1"
        rows = self._connection.execute(f"{wanted} AND substr(name, -length(?2)) = ?2", (beginning, end))
        return dict(rows)

    def content(self, name: str) -> bytes | None:
        """The content stored beside the documents under a name, None if there is none."""
        data: bytes | None = self._connection.execute("SELECT data FROM content WHERE name = ?", (name,)).get
        return data

    def content_once(self, name: str, make: Callable[[], bytes]) -> bytes:
        """The content stored under a name; if there is none, store the result of `make`. Raises StoreFailure."""
        known = self.content(name)
        if known is not None:
            return known
        try:
            with exclusively(self._connection):
                self._connection.execute("INSERT OR IGNORE INTO content (name, data) VALUES (?, ?)", (name, make()))
                data: bytes = self._connection.execute("SELECT data FROM content WHERE name = ?", (name,)).get
                return data
        except apsw.Error as error:
            raise StoreFailure(f"{name} cannot be stored: {error}") from error

    def apply(
        self,
        document: Mapping[str, Mapping[str, Any]],
        *,
        author: str,
        note: str = "",
        expected: int | None = None,
        content: Mapping[str, bytes | None] = MappingProxyType({}),
    ) -> int:
        """Make the named resources exactly what `document` says; others stay. Returns the version then in force.

        None in place of a resource removes it. What changes nothing makes no version. expected: the version the author
        looked at; raises ConfigConflict if it is not in force any more. content: stored or, None, removed with it, and
        in no history. Raises StoreFailure if it cannot be written.
        """
        wanted = [(kind, name, value) for kind, group in document.items() for name, value in group.items()]
        try:
            with exclusively(self._connection):
                self._keep(content)
                return self._apply(wanted, (author, note), expected)
        except apsw.Error as error:
            raise StoreFailure(f"the configuration was not changed: {error}") from error
        finally:
            self._data_version = -1
            if None in content.values():
                self._forget()

    def keep_apart(self, content: Mapping[str, bytes]) -> None:
        """Store content over a connection of its own: for a thread, while this one reads. Raises StoreFailure.

        It waits for the disk, and up to five seconds for who else changes the file: an event loop must not.
        """
        with contextlib.closing(ConfigStore(self.path)) as other:
            other.apply({}, author="gatepost", content=content)

    def history(
        self, kind: str = "", name: str = "", limit: int = 100, version: int = 0, *, before: int = 0
    ) -> list[Change]:
        """The newest changes first: of one resource if it is named, of one version if it is given; limit -1 for all.

        before: only of versions before this one, 0 for all.
        """
        # Nearly all changes are of organizations: they are read from the newest version on, and what is named, and the
        # rest, is looked up by its kind.
        by_kind = bool(name) or kind not in {"", _MOST}
        table, order = ("change", "id DESC") if by_kind else (_NEWEST, "version DESC, id DESC")
        filters: dict[str, str | int] = {
            "kind = ?": kind,
            "name = ?": name,
            "version = ?": version,
            "version < ?": before,
        }
        terms = [term for term, value in filters.items() if value] or ["TRUE"]
        rows: list[tuple[Any, ...]] = self._connection.execute(
            f"SELECT version, at, author, note, kind, name, before, after FROM {table}"  # noqa: S608 - our names
            f" WHERE {' AND '.join(terms)} ORDER BY {order} LIMIT ?",
            [*(value for value in filters.values() if value), limit],
        ).fetchall()
        return [Change(*row[:6], *map(_document, row[6:])) for row in rows]

    def versions(
        self,
        *,
        names: Iterable[str] | None = None,
        author: str = "",
        since: float = 0.0,
        until: float = 0.0,
        before: int = 0,
        limit: int = 100,
    ) -> list[Version]:
        """The newest versions of organizations first, without what they changed, which may be much.

        names: only those that changed one of these, and of these alone; None is any. since, until: seconds since 1970;
        before: only versions before this one; 0 is any.
        """
        among = None if names is None else _encode(sorted(names)).decode()
        rows = self._connection.execute(
            f"SELECT version, at, author, note, name FROM {_NEWEST} WHERE kind = 'organization'"  # noqa: S608 - ours
            " AND (?1 IS NULL OR name IN (SELECT value FROM json_each(?1))) AND (?2 = '' OR author = ?2)"
            " AND at >= ?3 AND (?4 = 0 OR at < ?4) AND version < ?5 ORDER BY version DESC, id DESC",
            (among, author, since, until, before or _LAST),
        )
        found = []
        for _, group in groupby(rows, key=lambda row: row[0]):
            parts = list(group)
            version, at, who, note, _ = parts[0]
            found.append(Version(version, at, who, note, tuple(sorted(row[4] for row in parts))))
            if len(found) >= limit:
                break
        rows.close()
        return found

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def _make_tables(self, path: Path) -> None:
        if self._is_current():  # checked without the lock that a writer may hold
            return
        with exclusively(self._connection):
            self._make_tables_once(path)

    def _is_current(self) -> bool:
        version, application = self._connection.pragma("user_version"), self._connection.pragma("application_id")
        return bool(version == _SCHEMA_VERSION and application == _APPLICATION_ID)

    def _make_tables_once(self, path: Path) -> None:
        if self._is_current():  # by another process a moment ago
            return
        version = self._connection.pragma("user_version")
        ours = self._connection.pragma("application_id") == _APPLICATION_ID
        if version in {1, 2} and ours:
            lacking = (_CONTENT if version == 1 else "") + _BY_VERSION
            self._connection.execute(f"{lacking} PRAGMA user_version = {_SCHEMA_VERSION}")
            return
        if version or self._connection.execute("SELECT count(*) FROM sqlite_schema").get:
            raise StoreFailure(f"{path} is not a configuration of this version (schema {version})")
        self._connection.execute(_TABLES + _CONTENT + _BY_VERSION)
        self._connection.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
        self._connection.execute(f"PRAGMA user_version = {_SCHEMA_VERSION}")

    def _forget(self) -> None:
        """Truncate the write-ahead log, which still has what was removed; later, while another process reads."""
        with contextlib.suppress(apsw.Error):
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def _keep(self, content: Mapping[str, bytes | None]) -> None:
        for name, data in content.items():
            if data is None:
                self._connection.execute("DELETE FROM content WHERE name = ?", (name,))
            else:
                self._connection.execute("INSERT OR REPLACE INTO content (name, data) VALUES (?, ?)", (name, data))

    def _apply(self, wanted: list[tuple[str, str, Any]], who: tuple[str, str], expected: int | None) -> int:
        version: int = self._connection.execute(_IN_FORCE).get
        if expected is not None and expected != version:
            raise ConfigConflict(
                f"the configuration is at version {version}, not {expected}: look again, then change it"
            )
        changes = list(self._differences(wanted))
        if not changes:
            return version
        version += 1
        for kind, name, before, after in changes:
            if after is None:
                self._connection.execute("DELETE FROM resource WHERE kind = ? AND name = ?", (kind, name))
            else:
                self._connection.execute(
                    "INSERT OR REPLACE INTO resource (kind, name, version, document) VALUES (?, ?, ?, ?)",
                    (kind, name, version, after),
                )
            self._connection.execute(
                "INSERT INTO change (version, at, author, note, kind, name, before, after)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (version, time.time(), *who, kind, name, before, after),
            )
        return version

    def _differences(self, wanted: list[tuple[str, str, Any]]) -> Iterator[tuple[str, str, str | None, str | None]]:
        for kind, name, value in wanted:
            before: str | None = self._connection.execute(
                "SELECT document FROM resource WHERE kind = ? AND name = ?", (kind, name)
            ).get
            after = None if value is None else _encode(value).decode()
            if before != after:
                yield kind, name, before, after


class ConfigStores:
    """Stores of one file for the threads of a process: each use has one to itself, which is kept for the next use.

    A file that was replaced is opened anew. Not to be used on both sides of a fork, as nothing of SQLite.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._kept: deque[tuple[_FileId, ConfigStore]] = deque()

    @contextlib.contextmanager
    def store(self) -> Iterator[ConfigStore]:
        """A connection for exclusive use. Raises StoreFailure."""
        file, store = self._take() or self._open()
        try:
            yield store
        except BaseException:
            store.close()
            raise
        if len(self._kept) < _KEPT:
            self._kept.append((file, store))
        else:
            store.close()

    def close(self) -> None:
        """Close what is kept."""
        while self._kept:
            self._kept.pop()[1].close()

    def _take(self) -> tuple[_FileId, ConfigStore] | None:
        there = _file(self._path)
        with contextlib.suppress(IndexError):  # nothing is kept, or another thread took it
            while True:
                file, store = self._kept.pop()
                if file == there:
                    return file, store
                store.close()
        return None

    def _open(self) -> tuple[_FileId, ConfigStore]:
        before = _file(self._path)  # so that one that is replaced meanwhile is known as the old one
        store = ConfigStore(self._path)
        return before or _file(self._path), store


def _file(path: Path) -> _FileId:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _document(text: str | None) -> dict[str, Any] | None:
    document: dict[str, Any] | None = None if text is None else msgspec.json.decode(text)
    return document
