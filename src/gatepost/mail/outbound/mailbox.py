"""Delivery to a Maildir: the message is on disk, under its final name, before it counts as delivered.

Called by `mail.outbound.deliverer`. tmp/ → fsync of the file → rename to new/ → fsync of the directory, all in threads,
so that a slow disk stops no session. What a process that was killed left in tmp/ goes with the next delivery to that
Maildir after 36 hours, as maildir(5) has it. Messages are stored with LF line ends, as readers of a Maildir expect
them; BINARYMIME content, where a line end may be data, is stored as it came.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import hashlib
import itertools
import os
import re
import threading
from collections.abc import AsyncIterable, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec

from gatepost.protocols.smtp.replies import Reply
from gatepost.store.queue_room import QueueRoom

_THREADS = 4
_WRITE_OCTETS = 256 << 10  # collected before the disk is asked: small messages cost one thread
_NAME_OCTETS = 200  # of a directory; file systems take 255
_STALE_SECONDS = 36 * 3600.0
_STALE_AT_ONCE = 100  # files of a delivery
_FOLDERS = ("tmp", "new", "cur")
_UNSAFE = re.compile(rb"[^a-z0-9+=_.-]|^\.|\.$")

_FULL = Reply(452, "4.2.2", ("Mailbox full",))
_NO_SPACE = Reply(452, "4.3.1", ("Insufficient system storage",))
_FAULT = Reply(451, "4.3.0", ("Mailbox temporarily unavailable",))
_REPLIES = {errno.EDQUOT: _FULL, errno.ENOSPC: _NO_SPACE}


class MailboxFailed(Exception):  # noqa: N818 - not an error of the program: it is what was found
    """The message could not be stored; what was written of it is gone. reply: for others. detail: for us."""

    def __init__(self, reply: Reply, detail: str) -> None:
        super().__init__(detail)
        self.reply = reply
        self.detail = detail


class MaildirMessage(msgspec.Struct, frozen=True):
    """A message to store: `chunks` yields it with CRLF line ends, each time it is called from the beginning.

    reverse_path: "" is the null reverse-path. binary: the body is BINARYMIME.
    """

    reverse_path: str
    chunks: Callable[[], AsyncIterable[bytes]]
    binary: bool = False


class Maildirs:
    """All mailboxes under one directory, as ROOT/DOMAIN/LOCAL-PART/{tmp,new,cur}; made when first needed, mode 0700.

    hostname: goes into the names of files. clock: seconds since 1970. mark: `store.free_space`, octets. What is in a
    Maildir stays: one on the disk of the directory above, of the queue, leaves room for that.
    """

    def __init__(self, root: Path, hostname: str, clock: Callable[[], float], mark: int = 0) -> None:
        self._root = root
        self._room = QueueRoom(root.parent, mark)
        self._clock = clock
        self._counter = itertools.count(1)
        self._suffix = f"P{os.getpid()}.{hostname.replace('/', '\\057').replace(':', '\\072')}"
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="maildir")

    def path(self, address: str) -> Path:
        """The Maildir of `address` (local-part@domain): lower case, octets that a file name may not hold as %XX."""
        local_part, _, domain = address.lower().rpartition("@")
        return self._root / _name(domain) / _name(local_part)

    async def deliver(self, address: str, message: MaildirMessage) -> str:
        """Store `message` for `address` and return the file's name once it is durable. Raises MailboxFailed."""
        try:
            return await self._deliver(address, message)
        except OSError as error:
            reply = _REPLIES.get(error.errno or 0, _FAULT)
            raise MailboxFailed(reply, f"mailbox {address}: {error}") from error

    def close(self) -> None:
        """Wait for what is being written."""
        self._threads.shutdown()

    async def _deliver(self, address: str, message: MaildirMessage) -> str:
        run = asyncio.get_running_loop().run_in_executor
        file = _MaildirFile(self.path(address), self._unique(), self._room, self._clock() - _STALE_SECONDS)
        lines = _LineEnds(binary=message.binary)
        pending = [_trace_fields(message.reverse_path, address)]
        size = 0
        try:
            async for chunk in message.chunks():
                pending.append(lines.convert(chunk))
                size += len(chunk)
                if size >= _WRITE_OCTETS:
                    await run(self._threads, file.write, b"".join(pending))
                    pending, size = [], 0
            pending.append(lines.rest())
            return await run(self._threads, file.finish, b"".join(pending))
        except BaseException:
            # In its turn after a write that may still be running: cancelling does not stop a thread.
            self._threads.submit(file.discard)
            raise

    def _unique(self) -> str:
        now = self._clock()
        return f"{int(now)}.M{int(now % 1 * 1_000_000)}Q{next(self._counter)}{self._suffix}"


class _MaildirFile:
    """One file on its way from tmp/ to new/. Its methods block and may be called from any thread.

    stale: what was last written before this time is of nobody any more.
    """

    def __init__(self, directory: Path, name: str, room: QueueRoom, stale: float) -> None:
        self._stale = stale
        self._directory = directory
        self._room = room
        self._temporary = directory / "tmp" / name
        self._final = directory / "new" / name
        self._descriptor = -1
        self._is_named = False
        self._turn = threading.Lock()

    def write(self, data: bytes) -> None:
        """Append `data`; the first call makes the file, and the Maildir if there is none."""
        with self._turn:
            self._write(data)

    def finish(self, data: bytes) -> str:
        """Append `data`, make the file durable under its final name and return that."""
        with self._turn:
            self._write(data)
            os.fsync(self._descriptor)
            self._temporary.rename(self._final)
            self._is_named = True
            _sync_directory(self._final.parent)
            os.close(self._descriptor)
            self._descriptor = -1
        return self._final.name

    def discard(self) -> None:
        """Forget what was written, though `finish` came to its end. Called once, last, if nobody heard of that end.

        It may have failed after the file had its name, or its caller was cancelled: the message is tried again then,
        and would be in the mailbox twice.
        """
        with self._turn:
            if self._descriptor >= 0:
                os.close(self._descriptor)
            self._temporary.unlink(missing_ok=True)
            if self._is_named:
                self._final.unlink(missing_ok=True)

    def _write(self, data: bytes) -> None:
        if self._descriptor < 0:
            _make(self._directory)
            _remove_stale(self._directory / "tmp", self._stale)
        self._room.check(self._directory, len(data))
        if self._descriptor < 0:
            flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW
            self._descriptor = os.open(self._temporary, flags, 0o600)
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(self._descriptor, rest) :]


class _LineEnds:
    """CRLF to LF, across the borders of chunks."""

    def __init__(self, *, binary: bool) -> None:
        self._binary = binary
        self._held = b""

    def convert(self, chunk: bytes) -> bytes:
        if self._binary:
            return chunk
        chunk = self._held + chunk
        self._held = b"\r" if chunk.endswith(b"\r") else b""
        return chunk.removesuffix(self._held).replace(b"\r\n", b"\n")

    def rest(self) -> bytes:
        return self._held


def _make(directory: Path) -> None:
    """Make the Maildir and its parents if they are missing, and make their entries durable."""
    if all((directory / folder).is_dir() for folder in _FOLDERS):
        return
    domain, root = directory.parent, directory.parent.parent
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    for made in (domain, directory, *(directory / folder for folder in _FOLDERS)):
        made.mkdir(mode=0o700, exist_ok=True)  # parents=True would give the parents another mode
    for changed in (directory, domain, root, root.parent):
        _sync_directory(changed)


def _remove_stale(directory: Path, before: float) -> None:
    with contextlib.suppress(OSError), os.scandir(directory) as entries:  # another process may do the same
        for entry in itertools.islice(entries, _STALE_AT_ONCE):
            if entry.is_file(follow_symlinks=False) and entry.stat(follow_symlinks=False).st_mtime < before:
                Path(entry.path).unlink()


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _name(text: str) -> str:
    """A file name for one part of an address, the same for the same part and different for different ones."""
    name = _UNSAFE.sub(lambda match: b"%%%02X" % match[0][0], text.encode()).decode()
    if len(name) <= _NAME_OCTETS:
        return name
    return f"{name[: _NAME_OCTETS - 65]}%{hashlib.sha256(text.encode()).hexdigest()}"


def _trace_fields(reverse_path: str, address: str) -> bytes:
    """Return-Path (RFC 5321 section 4.4: only at final delivery) and Delivered-To (RFC 9228)."""
    return f"Return-Path: <{_one_line(reverse_path)}>\nDelivered-To: {_one_line(address)}\n".encode()


def _one_line(text: str) -> str:
    return "".join(character if character.isprintable() else "?" for character in text)
