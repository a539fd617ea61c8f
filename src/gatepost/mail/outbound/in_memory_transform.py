"""Transform content that must be in memory as a whole: one message at a time, in a thread, up to a size limit.

Used by `mail.outbound.smime` and `mail.outbound.smime_decryption`, one for a worker. What comes out of it is in memory
only if it is small; else it lies in a file without a name, which is gone once no attempt sends it any more.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
import weakref
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path
from typing import Final

from gatepost.mail.outbound.body import BodyUnreadable, MessageBody
from gatepost.store.queue_room import QueueRoom

_IN_MEMORY: Final = 256 << 10
_CHUNK: Final = 256 << 10


class TooLarge(Exception):  # noqa: N818 - it names what was found
    """The content is larger than is worked on. The text says what the limit is, for us."""


class _File:
    """A file without a name; its descriptor is closed with the last who has it."""

    def __init__(self, folder: Path, content: bytes, room: QueueRoom) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        room.check(folder, len(content))
        self._descriptor, path = tempfile.mkstemp(dir=folder)
        weakref.finalize(self, os.close, self._descriptor)
        os.unlink(path)  # noqa: PTH108 - mkstemp gives a text
        rest = memoryview(content)
        while rest:
            rest = rest[os.write(self._descriptor, rest) :]
        self._size = len(content)

    async def chunks(self) -> AsyncIterator[bytes]:
        """The content from its beginning. Raises BodyUnreadable."""
        at = 0
        while at < self._size:
            try:
                chunk = await asyncio.to_thread(os.pread, self._descriptor, _CHUNK, at)
            except OSError as error:
                raise BodyUnreadable(f"content that was made for this attempt: {error.strerror}") from error
            if not chunk:
                raise BodyUnreadable("content that was made for this attempt is cut off")
            at += len(chunk)
            yield chunk


class InMemoryTransform:
    """folder: for what is not kept in memory, in the data directory. most: octets of the content of a message.

    mark: `store.free_space`, octets.
    """

    def __init__(self, folder: Path, most: int, mark: int = 0) -> None:
        self._folder = folder
        self._room = QueueRoom(folder.parent, mark)
        self._most = most
        self._turn = asyncio.Semaphore(1)

    async def made(self, body: MessageBody, make: Callable[[bytes], tuple[bytes, str]]) -> MessageBody:
        """The body that `make`, called in a thread, makes of the whole content: octets, and the body's type.

        Raises TooLarge, BodyUnreadable, OSError if it cannot be kept, and what `make` raises.
        """
        return await self._at_work(body, partial(self._work, make))

    async def inspect(self, body: MessageBody, ask: Callable[[bytes], bool]) -> bool:
        """Call `ask` with the whole content, in a thread, and return its result. Raises TooLarge, BodyUnreadable."""
        return await self._at_work(body, ask)

    async def _at_work[R](self, body: MessageBody, work: Callable[[bytes], R]) -> R:
        if body.size > self._most:
            raise TooLarge(f"it has {body.size} octets; [smime] max_size is {self._most}")
        async with self._turn:
            content = b"".join([chunk async for chunk in body.chunks()])
            return await asyncio.to_thread(work, content)

    def _work(self, make: Callable[[bytes], tuple[bytes, str]], content: bytes) -> MessageBody:
        octets, kind = make(content)
        if len(octets) <= _IN_MEMORY:
            return MessageBody.in_memory(octets, kind)
        return MessageBody(None, len(octets), _File(self._folder, octets, self._room).chunks, kind)
