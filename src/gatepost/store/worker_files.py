"""The files of the data directory that processes which talk to the network write, made before they are confined.

Used through `store.storage`. A confined process (`node.confinement`) makes no file in the data directory itself, only
below directories of it, so databases and what SQLite keeps beside them must be there.
"""

from __future__ import annotations

from contextlib import closing, suppress
from pathlib import Path
from typing import Final

from gatepost.store.destinations import DESTINATIONS_FILE, DestinationFile
from gatepost.store.evidence_files import evidence_directory
from gatepost.store.figures import WORKERS_DIRECTORY
from gatepost.store.sending_usage import USAGE
from gatepost.store.sent_reports import RECEIVED, SENT
from gatepost.store.session_counts import SESSIONS, SessionCounts
from gatepost.store.site_tables import SITE
from gatepost.store.sqlite.database import SqliteDatabase
from gatepost.store.sqlite.former_session_counts import take_in_day_files
from gatepost.store.sqlite.schema import QUEUE_DIRECTORY, TRACE_DIRECTORY, make_directory, make_file
from gatepost.store.srs_keys import load_srs_keys

_SCHEMAS: Final = (SITE, SESSIONS, SENT, RECEIVED, USAGE)
_SPOOL: Final = "spool"  # of `store.postgres.spool`, whose libraries are an extra


def prepare_worker_files(directory: Path, *, copy: str = "", lock: str = "") -> list[Path]:
    """Make what is missing; returns the directories and files that a worker writes.

    copy: the file of the configuration where all else is in PostgreSQL, which is there; lock: of it. Keys for rewritten
    reverse-paths, which workers only read, are made, too. Raises StoreFailure, OSError.
    """
    names = (_SPOOL,) if lock else (QUEUE_DIRECTORY, TRACE_DIRECTORY)
    folders = [directory / name for name in (*names, WORKERS_DIRECTORY)] + [evidence_directory(directory)]
    for folder in folders:
        make_directory(folder)
    if lock:
        make_file(directory / lock)
        return [*folders, directory / lock, *with_logs(directory, copy)]
    with suppress(OSError):  # who reads them says what is wrong
        load_srs_keys(directory)
    for schema in _SCHEMAS:
        SqliteDatabase(directory, schema).close()
    DestinationFile(directory / DESTINATIONS_FILE).close()
    with closing(SessionCounts(lambda: SqliteDatabase(directory, SESSIONS))) as counts:
        take_in_day_files(directory, counts)
    files = (DESTINATIONS_FILE, *(schema.file for schema in _SCHEMAS))
    return folders + [path for name in files for path in with_logs(directory, name)]


def with_logs(directory: Path, name: str) -> list[Path]:
    """A database, and what SQLite keeps beside it."""
    return [directory / f"{name}{beside}" for beside in ("", "-wal", "-shm")]
