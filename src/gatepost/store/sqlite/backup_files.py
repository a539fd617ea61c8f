"""Select the files of a data directory that a backup takes, and their order.

Everything is taken but what is named here, so that nothing new is forgotten. The order lets nothing fall between two
copies: what passes mail on is copied before what takes it. So mail that moves meanwhile is in the backup twice, never
missing. Used by `store.sqlite.backup`. Reads names, changes nothing.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from gatepost.store.sqlite.schema import BIG_DIRECTORY, LOCK_FILE

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

RESTORE_DIRECTORY: Final = ".restore"
"""In data_dir, while a restore is under way."""

MAILBOXES: Final = "maildir"

# Caches, work files and figures of running processes: made anew by whoever needs them.
_NODE_LOCAL: Final = frozenset(
    {"cache", "made", "workers", "setup-address", "own-connection", RESTORE_DIRECTORY, "lost+found"}
)
_BESIDE: Final = ("-wal", "-shm", "-journal", ".tally", ".lock", ".new")

# Reports that were sent are noted before their mail is queued: with an older note they are sent twice, not never. The
# queue passes mail to mailboxes and to the inbox of reports, which passes it to a database.
_FIRST: Final = ("sent-reports.db", "queue/", "tls-reports-inbox/", f"{MAILBOXES}/")
# Heads first: the log that they are of goes on. Keys after what they have signed.
_LAST: Final = ("evidence/heads.log", "evidence/", "evidence-keys/", "trace/")


def backup_paths(data_dir: Path, *, mailboxes: bool) -> list[str]:
    """Paths below the data directory, in the order in which they are copied, without the big files of the queue.

    Raises OSError.
    """
    return sorted(_walk(data_dir, "", mailboxes=mailboxes), key=lambda path: (_rank(path), path))


def is_database(path: str) -> bool:
    """Whether it is copied as a database."""
    return path.endswith(".db") and not path.startswith(f"{MAILBOXES}/")


def is_log(path: str) -> bool:
    """Whether lines are appended to it."""
    return path.startswith("evidence/") and path.endswith(".log")


def _rank(path: str) -> int:
    for number, start in enumerate(_FIRST):
        if path.startswith(start):
            return number - len(_FIRST)
    return next((number for number, start in enumerate(_LAST, 1) if path.startswith(start)), 0)


def _walk(folder: Path, above: str, *, mailboxes: bool) -> Iterator[str]:
    try:
        with os.scandir(folder) as scan:
            entries = list(scan)
    except FileNotFoundError:  # gone meanwhile, as days of the trace go
        return
    for entry in entries:
        path = f"{above}{entry.name}"
        if _is_left_out(path, entry.name, mailboxes=mailboxes):
            continue
        if entry.is_dir(follow_symlinks=False):
            yield from _walk(folder / entry.name, f"{path}/", mailboxes=mailboxes)
        elif entry.is_file(follow_symlinks=False):
            yield path


def _is_left_out(path: str, name: str, *, mailboxes: bool) -> bool:
    parts = path.split("/")
    if parts[0] in _NODE_LOCAL:
        return True
    if parts[0] == MAILBOXES:
        return not mailboxes or name == "tmp"
    if parts[0] == "queue" and parts[2:3] == [BIG_DIRECTORY]:
        return True
    return name == LOCK_FILE or name.endswith(_BESIDE)
