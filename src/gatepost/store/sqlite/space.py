"""The disk space of a shard: room for new mail, a reserve to settle old mail, and shrinking.

Used by `store.sqlite.writer` on its thread, which owns the connection. A full disk must not stop delivery: what became
of a delivery is written into the WAL, and a checkpoint writes into the database. So both files have blocks of their own
ahead of need, which no other process on the disk can take; new mail is refused while that reserve is not whole.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import logging
import os
from pathlib import Path
from typing import Final, NamedTuple

import apsw

from gatepost.store.sqlite.schema import StoreSettings, keep_wal, size_of, wait_between_commits

_log = logging.getLogger(__name__)

_INCREMENTAL: Final = 2  # as PRAGMA auto_vacuum says it
_STEP: Final = 64  # pages that one step of shrinking moves: 1 MiB, a few milliseconds
_SLACK: Final = 512  # free pages that are not worth the work
_NEAR: Final = 4  # times the free-space mark: below it the disk may fill up before the next look
_MOST_CHUNK: Final = 1 << 30  # SQLite keeps it in 32 bits
_MOST_RESERVED: Final = 16 << 20  # bytes of the WAL, and twice that ahead in the database
_MOST_REWRITTEN: Final = 256 << 20  # bytes of a database in use that are written anew at a start: some seconds
_LEAST_LEFT: Final = 16 << 20
_PASSING: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE})


class Room(NamedTuple):
    """Room for the files, in bytes.

    free: on the file system. reusable: in free pages of the database. reserved: allocated ahead in WAL and database.
    whole: whether that is all of the reserve.
    """

    free: int
    reusable: int = 0
    reserved: int = 0
    whole: bool = True

    def holds(self, size: int, mark: int, inline_limit: int) -> bool:
        """Whether a message of `size` bytes may come. mark: see `StoreSettings.free_space_mark`, reserve included.

        Free pages save growing the database, but what comes passes the WAL first, and a large body has its own file.
        """
        apart = size if size > inline_limit else 0
        whole = self.free + self.reusable + self.reserved
        return self.whole and whole - size >= mark and self.free - apart >= mark // 4

    def above(self, mark: int) -> int:
        """The bytes that mail of any size may take in all; 0 or less for none. mark: as for `holds`."""
        left = min(self.free + self.reusable + self.reserved - mark, self.free - mark // 4)
        return left if self.whole else 0


NO_ROOM = Room(0, whole=False)
"""As found out by a write that failed."""


class Space:
    """The space of one shard. Blocks; for one thread."""

    def __init__(self, connection: apsw.Connection, directory: Path, file: str, settings: StoreSettings) -> None:
        self._connection = connection
        self._directory = directory
        self._database = directory / file
        self._wal = directory / f"{file}-wal"
        self._mark = settings.free_space_mark
        self._wal_reserve = min(settings.free_space_mark // 8, _MOST_RESERVED)
        self._headroom = 2 * self._wal_reserve
        self._page = connection.pragma("page_size")
        self._can_shrink = connection.pragma("auto_vacuum") == _INCREMENTAL
        self._free_pages = 0
        self._pages = 0
        if self._mark:
            keep_wal(connection)

    def measure(self) -> Room:
        """See how much room there is, and make the reserve whole where that is possible."""
        whole = self._reserve()
        self._free_pages, self._pages = _spare(self._connection)
        ahead = max(0, size_of(self._database) - self._pages * self._page)
        reserved = min(size_of(self._wal), self._wal_reserve) + min(ahead, self._headroom)
        return Room(self._free_bytes(), self._free_pages * self._page, reserved if self._mark else 0, whole)

    @property
    def near_full(self) -> bool:
        """Whether the disk may be full soon: then the WAL is copied into the database early, which so grows in time."""
        return self._free_bytes() < _NEAR * self._mark

    def checkpoint(self, mode: int = apsw.SQLITE_CHECKPOINT_PASSIVE) -> tuple[int, int]:
        """Copy the WAL into the database; returns the pages of the WAL, and how many of them are copied.

        SQLite then cuts the database to a multiple of its chunk. So the headroom stays: would it be free until the next
        look, others on the disk could take it, and every shard would see that much more room and less again.
        """
        if self._mark:
            with contextlib.suppress(apsw.Error):
                self._take_ahead()
        return self._connection.wal_checkpoint(mode=mode)

    def release(self) -> None:
        """The connection is about to be closed: the WAL stays as it is, or a full disk would keep us from starting."""
        with contextlib.suppress(apsw.Error):
            self._connection.execute("PRAGMA journal_size_limit = -1")

    # ------------------------------------------------------------------------------------------- the reserve

    def _reserve(self) -> bool:
        """Make the reserve whole; whether it is. Raises OSError if the disk is broken."""
        if not self._mark:
            return True
        try:
            self._take_blocks()
        except (apsw.FullError, apsw.BusyError):
            return False
        except OSError as error:
            if error.errno not in _PASSING:
                raise
            return False
        return True

    def _take_blocks(self) -> None:
        try:
            if size_of(self._wal) < self._wal_reserve:
                self._extend_wal()
            self._take_ahead()
        except apsw.IOError as error:
            self._check_writable()
            raise apsw.FullError(str(error)) from error

    def _take_ahead(self) -> None:
        """Have the headroom behind the pages of the database, in one chunk with them if they are not very many.

        SQLite takes blocks ahead of need by a write of one octet to each, which nothing needs on a roomy disk.
        """
        if not self.near_full:
            _set_chunk(self._connection, 0)
            return
        data = self._connection.pragma("page_count") * self._page
        _set_chunk(self._connection, _chunk(data + self._headroom))
        try:
            _hint(self._connection, data + self._headroom)
        except apsw.Error:
            # What is there stays; a chunk that is not would be a hole in the file, which reserves nothing.
            there = size_of(self._database)
            _set_chunk(self._connection, _chunk(there) if there >= data else 0)
            raise

    def _check_writable(self) -> None:
        """Raise OSError where the file system is read-only or broken.

        SQLite says of that what it says of a full disk; but it never passes for files that were opened before.
        """
        with contextlib.suppress(FileNotFoundError):
            os.close(os.open(self._wal, os.O_RDWR | os.O_CLOEXEC))

    def _extend_wal(self) -> None:
        """Zeros behind what SQLite wrote: it takes them for the end of the log, and writes over them.

        Nobody else may write meanwhile: where the file system cannot do it, the C library writes the zeros itself.
        """
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            descriptor = os.open(self._wal, os.O_RDWR | os.O_CLOEXEC)
            try:
                os.posix_fallocate(descriptor, 0, self._wal_reserve)
            finally:
                os.close(descriptor)
        finally:
            self._connection.execute("ROLLBACK")

    # ------------------------------------------------------------------------------------------- shrinking

    def shrink(self, *, idle: bool) -> bool:
        """Give back a little of what is not needed; returns whether there is more to give back.

        idle: nothing was written for a while, so that much free space in the database is not needed again at once. On a
        disk that is nearly full that is not waited for.
        """
        if self._can_shrink and self._too_loose(idle=idle):
            self._connection.execute(f"PRAGMA incremental_vacuum({_STEP})").fetchall()
            self._free_pages, self._pages = _spare(self._connection)
            if self._too_loose(idle=idle):
                return True
            self.checkpoint()  # only now the file is cut
        if (idle or self.near_full) and size_of(self._wal) > 2 * self._wal_reserve + _STEP * self._page:
            self._cut_wal()
        return False

    def _too_loose(self, *, idle: bool) -> bool:
        if self._free_pages <= _SLACK:
            return False
        return (idle and 2 * self._free_pages > self._pages) or self.near_full

    def _cut_wal(self) -> None:
        """Begin the WAL anew as a short file, unless a process reads it."""
        self._connection.set_busy_timeout(0)
        try:
            self.checkpoint(apsw.SQLITE_CHECKPOINT_TRUNCATE)
        finally:
            wait_between_commits(self._connection)
        self._reserve()

    def _free_bytes(self) -> int:
        space = os.statvfs(self._directory)
        return space.f_bavail * space.f_frsize


def _spare(connection: apsw.Connection) -> tuple[int, int]:
    """The free pages of a database, and all of them."""
    return connection.pragma("freelist_count"), connection.pragma("page_count")


def allow_shrinking(connection: apsw.Connection, path: Path) -> None:
    """Bring a database that an earlier version made into the mode in which it can shrink, once, if it is not too much.

    It is written anew for that, at the start of the gateway: what is in use is read and written twice.
    """
    if connection.pragma("auto_vacuum") == _INCREMENTAL:
        return
    free, pages = _spare(connection)
    used = (pages - free) * connection.pragma("page_size")
    space = os.statvfs(path.parent)
    if used > _MOST_REWRITTEN or 3 * used + _LEAST_LEFT > space.f_bavail * space.f_frsize:
        _log.warning(
            "%s cannot shrink yet: %d MiB of it are in use, or the disk is too full to write it anew; it is tried again"
            " at the next start, and its free pages are used for new mail",
            path,
            used >> 20,
        )
        return
    try:
        connection.execute("PRAGMA temp_store = FILE")
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
        connection.execute("VACUUM")
        connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
    except apsw.Error as error:
        _log.warning("%s cannot shrink yet, and it is tried again at the next start: %s", path, error)
    else:
        _log.info("%s was written anew, so that it can shrink: %d MiB were in use", path, used >> 20)
    finally:
        connection.execute("PRAGMA temp_store = MEMORY")


def over_quota(connection: apsw.Connection, error: Exception) -> bool:
    """Whether an error of SQLite was a quota that is used up (EDQUOT).

    SQLite calls only a full file system "full", and this an error like a broken disk; but it has written nothing then
    either, and it passes in the same way.
    """
    return isinstance(error, apsw.IOError) and connection.system_errno == errno.EDQUOT


def _hint(connection: apsw.Connection, size: int) -> None:
    """Have blocks for a database of so many bytes. Only where a chunk was set."""
    wanted = ctypes.c_longlong(size)
    connection.file_control("main", apsw.SQLITE_FCNTL_SIZE_HINT, ctypes.addressof(wanted))


def _chunk(octets: int) -> int:
    """The size of equal chunks, as few as may be, that so many octets fill."""
    return -(-octets // (octets // _MOST_CHUNK + 1))


def _set_chunk(connection: apsw.Connection, size: int) -> None:
    """By how much the database's file grows and shrinks; 0: as its pages do."""
    chunk = ctypes.c_int(size)
    connection.file_control("main", apsw.SQLITE_FCNTL_CHUNK_SIZE, ctypes.addressof(chunk))
