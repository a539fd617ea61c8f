"""The configuration and its history, shared by all processes of a gateway and all nodes of a site.

One transaction writes the resource, who changed it, when, from what to what, and version n+1. Documents are stored as
`policy.connectors.model` accepted them, certificates' as `pki.certificates.inventory` made them; nothing here knows
what they mean. What history must not repeat, such as keys, is content beside a document. Readers poll `version`, which
costs microseconds.

Whatever the engine, it is read from a SQLite file of the node: `config.db`, or with PostgreSQL a copy of what is there
(docs/decisions/0060). Only what is written, in `apply` and `content_once`, is SQL that both engines understand.
"""

from __future__ import annotations

import contextlib
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import groupby
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol, Self

import msgspec

from gatepost.decoding import from_json
from gatepost.store.interface import Database, DatabaseConnection, OutcomeUnknown, Schema, StoreFailure
from gatepost.store.sqlite.database import SqliteDatabase

_CONTENT = """
CREATE TABLE content (
    name TEXT PRIMARY KEY,
    data BLOB NOT NULL
) WITHOUT ROWID;
"""
_BY_VERSION = "CREATE INDEX change_version ON change (version);"

CONFIGURATION = Schema(
    name="configuration",
    file="config.db",
    application_id=0x67706366,  # "gpcf"
    version=3,
    tables=f"""
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
{_CONTENT}{_BY_VERSION}""",
    upgrades=MappingProxyType({1: _CONTENT, 2: _BY_VERSION}),
    secret=True,  # what is removed may have been a key
)

CONFIGURATION_LOG = Schema(
    name="configuration_log",
    file="",
    application_id=0,
    version=1,
    tables="""
    CREATE TABLE content_change (
        number INTEGER PRIMARY KEY,
        mark   INTEGER NOT NULL,
        name   TEXT NOT NULL
    );
    """,
)
"""Which content was changed, in their order; on a server alone, for the copies of nodes."""

_MOST = "organization"
_NEWEST = "change INDEXED BY change_version"
_TRIES = 5
_KEPT = 8  # connections that wait for their next use; threads at work have one each
_LAST = 2**63 - 1  # the largest number that SQLite has
# The newest change is of the newest version: to look for the greatest one would read all of them.
_IN_FORCE = "SELECT coalesce((SELECT version FROM change ORDER BY id DESC LIMIT 1), 0)"
_NAMED = "SELECT data FROM content WHERE name = ?"
_KEEP = "INSERT INTO content (name, data) VALUES (?, ?) ON CONFLICT (name) DO"
_PUT = (
    "INSERT INTO resource (kind, name, version, document) VALUES (?, ?, ?, ?)"
    " ON CONFLICT (kind, name) DO UPDATE SET version = excluded.version, document = excluded.document"
)
# Only one at a time changes the configuration: the next number is free.
_NOTE = (
    "INSERT INTO change (id, version, at, author, note, kind, name, before, after)"
    " VALUES ((SELECT coalesce(max(id), 0) + 1 FROM change), ?, ?, ?, ?, ?, ?, ?, ?)"
)

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


class ConfigDatabase(Database, Protocol):
    """Where the configuration lies. What `reading` sees is on this node, and costs no look at a server."""

    is_shared: bool
    """Whether several nodes have it in common."""

    def serial(self) -> int:
        """A number that is another one after a change by others; in microseconds."""

    def announce(self, change: DatabaseConnection, content: Iterable[str]) -> None:
        """Note in a change that it is one, and which contents it stores or removes, so that other nodes learn of it."""

    def another(self) -> Self:
        """The same once more, for another thread."""


class ConfigFile(SqliteDatabase):
    """The configuration of a gateway of one node, in a file."""

    is_shared = False

    def serial(self) -> int:
        """Implements `ConfigDatabase`."""
        return self.data_version()

    def announce(self, change: DatabaseConnection, content: Iterable[str]) -> None:
        """Nothing: the other processes of the node see that the file has changed."""

    def another(self) -> ConfigFile:
        """The same file once more."""
        return ConfigFile(self.path.parent, CONFIGURATION, file=self.path.name)


class ConfigStore:
    """The configuration of a gateway, from `Storage.configuration`. For one thread at a time.

    Methods that change something may wait for others, and for a server; reading never waits.
    """

    def __init__(self, path: Path, database: ConfigDatabase | None = None) -> None:
        """path: the file that is read. database: the engine; without one it is that file, made if it is not there.

        Raises StoreFailure.
        """
        self.path = path
        self._database = database or ConfigFile(path.parent, CONFIGURATION, file=path.name)
        self._serial = -1
        self._version = 0

    @property
    def is_shared(self) -> bool:
        """Whether several nodes have this configuration in common."""
        return self._database.is_shared

    def version(self) -> int:
        """The number of the version in force; 0 before the first change."""
        serial = self._database.serial()
        if serial != self._serial:
            with self._database.reading() as connection:
                self._version = connection.value(_IN_FORCE)
            self._serial = serial
        return self._version

    def load(self, *kinds: str) -> tuple[int, dict[str, Any]]:
        """The version in force and its document of organizations, or of these kinds, as they are at one time.

        {"organization": {"contoso": {…}}}; a kind of which there is nothing is left out.
        """
        wanted = _encode(kinds or (_MOST,)).decode()
        document: dict[str, Any] = {}
        with self._database.reading_at_once() as connection:
            version: int = connection.value(_IN_FORCE)
            rows = connection.rows(
                "SELECT kind, name, document FROM resource WHERE kind IN (SELECT value FROM json_each(?))", (wanted,)
            )
        for kind, name, text in rows:
            document.setdefault(kind, {})[name] = from_json(text)
        return version, document

    def texts(self, kind: str) -> tuple[int, list[tuple[str, str]]]:
        """The version in force and each document of one kind with its name, as JSON text: for who knows many of them.

        In the order of their names.
        """
        with self._database.reading_at_once() as connection:
            version: int = connection.value(_IN_FORCE)
            rows = connection.rows("SELECT name, document FROM resource WHERE kind = ?", (kind,))
        return version, [(str(name), str(text)) for name, text in rows]

    def contents(self, beginning: str, end: str) -> dict[str, bytes]:
        """All that was stored beside the documents under names of this beginning and end, without `*`, `?` and `[`."""
        wanted = "SELECT name, data FROM content WHERE name >= ?1 AND name GLOB ?1 || '*' || ?2"
        with self._database.reading() as connection:
            return dict(connection.rows(wanted, (beginning, end)))

    def content(self, name: str) -> bytes | None:
        """The content stored beside the documents under a name, None if there is none."""
        with self._database.reading() as connection:
            data: bytes | None = connection.value(_NAMED, (name,))
        return data

    def content_once(self, name: str, make: Callable[[], bytes]) -> bytes:
        """The content stored under a name; if there is none, store the result of `make`. Raises StoreFailure."""
        known = self.content(name)
        if known is not None:
            return known
        with _saying(f"{name} cannot be stored"), self._database.changing() as change:
            if change.execute(f"{_KEEP} NOTHING", (name, make())):
                self._database.announce(change, [name])
            data: bytes = change.value(_NAMED, (name,))
        return data

    def change_content(self, name: str, step: Callable[[bytes], bytes]) -> None:
        """Replace the content stored under a name by what `step` makes of it; nobody else changes it meanwhile.

        Raises KeyError if there is none, StoreFailure, and what `step` raises: then nothing was changed.
        """
        with _saying(f"{name} cannot be stored"), self._database.changing() as change:
            data = change.value(_NAMED, (name,))
            if data is None:
                raise KeyError(name)
            _keep(change, {name: step(bytes(data))})
            self._database.announce(change, [name])
        self._database.forget()

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
            with _saying("the configuration was not changed"), self._database.changing() as change:
                _keep(change, content)
                version, has_changed = _apply(change, wanted, (author, note), expected)
                if has_changed or content:
                    self._database.announce(change, content)
            return version
        finally:
            self._serial = -1
            if None in content.values():
                self._database.forget()

    def keep_apart(self, content: Mapping[str, bytes]) -> None:
        """Store content over a connection of its own: for a thread, while this one reads. Raises StoreFailure.

        It waits for the disk or a server, and for who else changes the configuration: an event loop must not.
        """
        with contextlib.closing(self.another()) as other:
            other.apply({}, author="gatepost", content=content)

    def another(self) -> ConfigStore:
        """The same over a connection of its own, for another thread; to be closed. Raises StoreFailure."""
        return ConfigStore(self.path, self._database.another())

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
        named = {"kind = ?": kind, "name = ?": name, "version = ?": version, "version < ?": before}
        filters = {term: value for term, value in named.items() if value}
        with self._database.reading() as connection:
            rows = connection.rows(
                f"SELECT version, at, author, note, kind, name, before, after FROM {table}"  # noqa: S608 - our names
                f" WHERE {' AND '.join(filters) or 'TRUE'} ORDER BY {order} LIMIT ?",
                [*filters.values(), limit],
            )
        return [Change(*row[:6], *map(_document, row[6:])) for row in rows]

    def earlier(self, version: int, names: Iterable[str] | None = None) -> dict[str, Any]:
        """Organizations that were changed after a version, as they were then, by name; None if one was not there.

        names: only these; None is all.
        """
        among = None if names is None else _encode(sorted(names)).decode()
        with self._database.reading() as connection:
            rows = connection.rows(
                f"SELECT name, before, min(id) FROM {_NEWEST} WHERE kind = 'organization' AND version > ?1"  # noqa: S608 - ours
                " AND (?2 IS NULL OR name IN (SELECT value FROM json_each(?2))) GROUP BY name",
                (version, among),
            )
        return {name: _document(before) for name, before, _ in rows}

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
        chosen = (
            f"FROM {_NEWEST} WHERE kind = 'organization'"  # noqa: S608 - our names
            " AND (?1 IS NULL OR name IN (SELECT value FROM json_each(?1))) AND (?2 = '' OR author = ?2)"
            " AND at >= ?3 AND (?4 = 0 OR at < ?4) AND version < ?5"
        )
        oldest = f"SELECT DISTINCT version {chosen} ORDER BY version DESC LIMIT ?6"
        with self._database.reading() as connection:
            rows = connection.rows(
                f"SELECT version, at, author, note, name {chosen}"  # noqa: S608 - ours
                f" AND version >= (SELECT min(version) FROM ({oldest})) ORDER BY version DESC, id DESC",
                (among, author, since, until, before or _LAST, limit),
            )
        versions = []
        for version, group in groupby(rows, key=lambda row: row[0]):
            parts = list(group)
            _, at, who, note, _ = parts[0]
            versions.append(Version(version, at, who, note, tuple(sorted(row[4] for row in parts))))
        return versions

    def close(self) -> None:
        """Close the file."""
        self._database.close()


@contextlib.contextmanager
def _saying(what: str) -> Iterator[None]:
    """Begin the text of a StoreFailure with what was not done."""
    try:
        yield
    except StoreFailure as failure:
        is_unknown = isinstance(failure, OutcomeUnknown)  # it may have been done
        raise type(failure)(str(failure) if is_unknown else f"{what}: {failure}") from failure


def _keep(change: DatabaseConnection, content: Mapping[str, bytes | None]) -> None:
    for name, data in content.items():
        if data is None:
            change.execute("DELETE FROM content WHERE name = ?", (name,))
        else:
            change.execute(f"{_KEEP} UPDATE SET data = excluded.data", (name, data))


def put_resource(change: DatabaseConnection, kind: str, name: str, version: int, document: str | None) -> None:
    """Store a resource as a version has it; None removes it."""
    if document is None:
        change.execute("DELETE FROM resource WHERE kind = ? AND name = ?", (kind, name))
    else:
        change.execute(_PUT, (kind, name, version, document))


def _apply(
    change: DatabaseConnection, wanted: list[tuple[str, str, Any]], who: tuple[str, str], expected: int | None
) -> tuple[int, bool]:
    """The version then in force, and whether it is a new one."""
    version: int = change.value(_IN_FORCE)
    if expected is not None and expected != version:
        raise ConfigConflict(f"the configuration is at version {version}, not {expected}: look again, then change it")
    changes = list(_differences(change, wanted))
    if not changes:
        return version, False
    version, now = version + 1, time.time()
    for kind, name, before, after in changes:
        put_resource(change, kind, name, version, after)
        change.execute(_NOTE, (version, now, *who, kind, name, before, after))
    return version, True


def _differences(
    change: DatabaseConnection, wanted: list[tuple[str, str, Any]]
) -> Iterator[tuple[str, str, str | None, str | None]]:
    for kind, name, value in wanted:
        before: str | None = change.value("SELECT document FROM resource WHERE kind = ? AND name = ?", (kind, name))
        after = None if value is None else _encode(value).decode()
        if before != after:
            yield kind, name, before, after


class ConfigStores:
    """Stores of one gateway for the threads of a process: each use has one to itself, which is kept for the next use.

    A file that was replaced is opened anew. Not to be used on both sides of a fork, as nothing of SQLite.
    """

    def __init__(self, path: Path, make: Callable[[], ConfigStore]) -> None:
        """path: the file that is read. make: opens a store."""
        self._path = path
        self._make = make
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
        store = self._make()
        return before or _file(self._path), store


def _file(path: Path) -> _FileId:
    try:
        state = path.stat()
    except OSError:
        return None
    return state.st_dev, state.st_ino


def _document(text: str | None) -> dict[str, Any] | None:
    document: dict[str, Any] | None = None if text is None else from_json(text)
    return document
