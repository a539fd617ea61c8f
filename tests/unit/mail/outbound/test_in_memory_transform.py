from __future__ import annotations

import asyncio
import gc
import os
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gatepost.mail.outbound.body import BodyUnreadable, MessageBody
from gatepost.mail.outbound.in_memory_transform import InMemoryTransform, TooLarge


def body_of(content: bytes, *, size: int = 0) -> MessageBody:
    async def chunks() -> AsyncIterator[bytes]:
        for at in range(0, len(content), 1000):
            yield content[at : at + 1000]

    return MessageBody(None, size or len(content), chunks)


async def whole(body: MessageBody) -> bytes:
    return b"".join([chunk async for chunk in body.chunks()])


@pytest.mark.parametrize("size", [0, 3000, 256 << 10, (256 << 10) + 1, 3 << 20])
def test_what_is_made_is_read_as_often_as_it_is_sent(tmp_path: Path, size: int) -> None:
    folder, content = tmp_path / "made", os.urandom(size)

    async def run() -> None:
        made = await InMemoryTransform(folder, 1 << 30).made(
            body_of(content), lambda octets: (octets + b"!", "8BITMIME")
        )
        assert (made.size, made.body_type) == (size + 1, "8BITMIME")
        assert (made.small is None) is (size + 1 > 256 << 10)
        for _ in range(2):
            assert await whole(made) == content + b"!"
        assert await whole(made.prepended(b"A: b\r\n")) == b"A: b\r\n" + content + b"!"

    before = len(list(Path("/proc/self/fd").iterdir()))
    asyncio.run(run())
    gc.collect()
    assert not folder.exists() or list(folder.iterdir()) == []
    assert len(list(Path("/proc/self/fd").iterdir())) <= before


def test_what_is_made_leaves_room_for_the_queue(tmp_path: Path) -> None:
    large = os.urandom(300 << 10)

    async def run(mark: int) -> MessageBody:
        return await InMemoryTransform(tmp_path / "made", 1 << 30, mark).made(
            body_of(large), lambda octets: (octets, "8BITMIME")
        )

    assert asyncio.run(run(1 << 10)).size == len(large)
    with pytest.raises(OSError, match="kept for the queue"):
        asyncio.run(run(1 << 60))
    assert list((tmp_path / "made").iterdir()) == []


def test_what_is_too_large_is_not_even_read(tmp_path: Path) -> None:
    async def run() -> None:
        bench = InMemoryTransform(tmp_path, 100)
        for ask in (bench.made, bench.inspect):
            with pytest.raises(TooLarge, match="max_size is 100"):
                await ask(body_of(b"", size=101), pytest.fail)  # type: ignore[operator]
        assert await bench.inspect(body_of(b"x" * 100), lambda octets: octets == b"x" * 100)

    asyncio.run(run())


def test_one_at_a_time_and_not_on_the_loop(tmp_path: Path) -> None:
    at_work: list[int] = []
    most: list[int] = []

    def work(content: bytes) -> tuple[bytes, str]:
        assert threading.current_thread() is not threading.main_thread()
        at_work.append(1)
        most.append(len(at_work))
        at_work.pop()
        return content, ""

    async def run() -> None:
        bench = InMemoryTransform(tmp_path, 100)
        await asyncio.gather(*(bench.made(body_of(b"x"), work) for _ in range(20)))

    asyncio.run(run())
    assert most == [1] * 20


def test_what_goes_wrong_is_told_and_frees_the_bench(tmp_path: Path) -> None:
    def fail(_: bytes) -> tuple[bytes, str]:
        raise ZeroDivisionError

    async def run() -> None:
        bench = InMemoryTransform(tmp_path / "file" / "below", 1 << 30)
        with pytest.raises(ZeroDivisionError):
            await bench.made(body_of(b"x"), fail)
        (tmp_path / "file").write_bytes(b"")
        with pytest.raises(OSError, match="file"):
            await bench.made(body_of(bytes(1 << 20)), lambda octets: (octets, ""))
        assert (await bench.made(body_of(b"x"), lambda octets: (octets, ""))).small == b"x"

    asyncio.run(run())


def test_a_file_that_is_cut_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def run() -> None:
        made = await InMemoryTransform(tmp_path, 1 << 30).made(body_of(bytes(1 << 20)), lambda octets: (octets, ""))
        monkeypatch.setattr(os, "pread", lambda *_: b"")
        with pytest.raises(BodyUnreadable, match="cut off"):
            await whole(made)

        def broken(*_: object) -> bytes:
            raise OSError(5, "Input/output error")

        monkeypatch.setattr(os, "pread", broken)
        with pytest.raises(BodyUnreadable, match="Input/output"):
            await whole(made)

    asyncio.run(run())
