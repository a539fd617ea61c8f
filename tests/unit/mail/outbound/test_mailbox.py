from __future__ import annotations

import asyncio
import errno
import os
import resource
import shutil
import stat
import tempfile
import threading
from collections.abc import AsyncIterator, Iterator
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatepost.mail.outbound import mailbox
from gatepost.mail.outbound.mailbox import MailboxFailed, MaildirMessage, Maildirs, _LineEnds
from gatepost.net.tasks import spawn

CONTENT = b"Subject: one\r\n\r\n.dot\r\nlast\r\n"
HEAD = b"Return-Path: <a@a.example>\nDelivered-To: Ann@B.example\n"


def message(*chunks: bytes, reverse_path: str = "a@a.example", binary: bool = False) -> MaildirMessage:
    async def stored() -> AsyncIterator[bytes]:
        for chunk in chunks:
            yield chunk

    return MaildirMessage(reverse_path, stored, binary)


@pytest.fixture
def maildirs(tmp_path: Path) -> Iterator[Maildirs]:
    made = Maildirs(tmp_path / "mail", "mx1.gate.example", lambda: 1700000000.25)
    yield made
    made.close()


def deliver(maildirs: Maildirs, stored: MaildirMessage, address: str = "Ann@B.example") -> str:
    return asyncio.run(maildirs.deliver(address, stored))


def test_a_maildir_leaves_room_for_the_queue_on_its_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    free = 2 * (1 << 20) + 1000
    real = os.statvfs(tmp_path)
    monkeypatch.setattr(os, "statvfs", lambda _path: SimpleNamespace(f_bavail=free, f_frsize=1, f_bsize=real.f_bsize))
    maildirs = Maildirs(tmp_path / "mail", "gate.example", lambda: 0.0, 1 << 20)
    assert deliver(maildirs, message(b"x" * 500))
    with pytest.raises(MailboxFailed, match="kept for the queue") as failed:
        deliver(maildirs, message(b"x" * 1000))
    assert failed.value.reply.code == 452
    with pytest.raises(MailboxFailed):
        deliver(maildirs, message(b"x" * 500, b"y" * (300 << 10)))
    directory = maildirs.path("Ann@B.example")
    assert (len(list((directory / "new").iterdir())), list((directory / "tmp").iterdir())) == (1, [])
    disk = tmp_path.stat().st_dev
    others = (path for path in map(Path, ("/dev/shm", "/var/tmp")) if path.stat().st_dev != disk)
    elsewhere = Path(tempfile.mkdtemp(dir=next(others)))
    (tmp_path / "mail" / "c.example").symlink_to(elsewhere)
    try:
        assert deliver(maildirs, message(b"x" * 1000), "ann@c.example")
    finally:
        maildirs.close()
        shutil.rmtree(elsewhere)


def test_a_message_arrives_whole_and_private(maildirs: Maildirs, tmp_path: Path) -> None:
    name = deliver(maildirs, message(CONTENT))
    directory = tmp_path / "mail" / "b.example" / "ann"
    assert maildirs.path("Ann@B.example") == directory
    file = directory / "new" / name
    assert file.read_bytes() == HEAD + CONTENT.replace(b"\r\n", b"\n")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert {stat.S_IMODE((directory / part).stat().st_mode) for part in ("", "tmp", "new", "cur", "..", "../..")} == {
        0o700
    }
    assert list((directory / "tmp").iterdir()) == []
    assert name.startswith("1700000000.M250000Q1P")
    assert name.endswith(".mx1.gate.example")


def test_what_a_killed_delivery_left_goes_after_36_hours(maildirs: Maildirs) -> None:
    deliver(maildirs, message(CONTENT))
    tmp = maildirs.path("Ann@B.example") / "tmp"
    now = 1700000000.0
    for name, age in (("old", 36 * 3600 + 5), ("young", 36 * 3600 - 5)):
        (tmp / name).write_text("half")
        os.utime(tmp / name, (now - age, now - age))
    (tmp / "folder").mkdir()
    (tmp / "link").symlink_to(tmp / "old")
    deliver(maildirs, message(CONTENT))
    assert sorted(path.name for path in tmp.iterdir()) == ["folder", "link", "young"]
    assert len(list((tmp.parent / "new").iterdir())) == 2


def test_names_are_unique_within_one_moment(maildirs: Maildirs) -> None:
    assert len({deliver(maildirs, message(CONTENT)) for _ in range(20)}) == 20


@pytest.mark.parametrize(
    ("address", "folder"),
    [
        ("ann+tag@b.example", "b.example/ann+tag"),
        ("../etc@b.example", "b.example/%2E.%2Fetc"),
        ("..@b.example", "b.example/%2E%2E"),
        ('"a/b@c"@b.example', "b.example/%22a%2Fb%40c%22"),
        ("ä@b.example", "b.example/%C3%A4"),
        ("ann@[192.0.2.1]", "%5B192.0.2.1%5D/ann"),
    ],
)
def test_no_address_leaves_the_root(maildirs: Maildirs, tmp_path: Path, address: str, folder: str) -> None:
    assert maildirs.path(address) == tmp_path / "mail" / folder


def test_a_long_address_has_a_name_of_its_own(maildirs: Maildirs) -> None:
    one, other = (maildirs.path("ä" * 100 + last + "@b.example") for last in "xy")
    assert one.name != other.name
    assert len(one.name) == len(other.name) == 200
    deliver(maildirs, message(CONTENT), "ä" * 100 + "x@b.example")
    assert len(list((one / "new").iterdir())) == 1


@given(cuts=st.lists(st.integers(0, 40), max_size=6))
def test_any_cut_gives_the_same_file(cuts: list[int]) -> None:
    content = b"a: b\r\n\r\nbare\rcr\r\r\nbare\nlf\r\n\r\nend\r"
    points = sorted({0, len(content), *(cut for cut in cuts if cut < len(content))})
    for binary in (False, True):
        lines = _LineEnds(binary=binary)
        parts = [lines.convert(content[a:b]) for a, b in pairwise(points)]
        whole = content if binary else content.replace(b"\r\n", b"\n")
        assert b"".join([*parts, lines.rest()]) == whole


def test_a_large_message_streams(maildirs: Maildirs) -> None:
    chunk = b"x" * 998 + b"\r\n"
    name = deliver(maildirs, message(*[chunk * 100] * 30, reverse_path=""))
    stored = (maildirs.path("ann@b.example") / "new" / name).read_bytes()
    assert stored == b"Return-Path: <>\nDelivered-To: Ann@B.example\n" + (b"x" * 998 + b"\n") * 3000


def test_binary_content_is_left_alone(maildirs: Maildirs) -> None:
    name = deliver(maildirs, message(b"a\r\n\r\n\x00\r\n\r", binary=True))
    assert (maildirs.path("ann@b.example") / "new" / name).read_bytes() == HEAD + b"a\r\n\r\n\x00\r\n\r"


def test_what_an_address_holds_cannot_add_a_field(maildirs: Maildirs) -> None:
    name = deliver(maildirs, message(b"", reverse_path="a\r\nBcc: x@a.example"))
    assert (maildirs.path("ann@b.example") / "new" / name).read_bytes().splitlines()[0] == (
        b"Return-Path: <a??Bcc: x@a.example>"
    )


def test_a_full_disk_defers_and_leaves_nothing(maildirs: Maildirs, monkeypatch: pytest.MonkeyPatch) -> None:
    deliver(maildirs, message(CONTENT))

    def full(_descriptor: int, _data: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(MailboxFailed, match=r"mailbox Ann@B\.example: .*No space left on device") as caught:
        deliver(maildirs, message(CONTENT))
    monkeypatch.undo()
    assert caught.value.reply.text == "452 4.3.1 Insufficient system storage"
    maildirs.close()
    assert list((maildirs.path("ann@b.example") / "tmp").iterdir()) == []


def test_a_file_in_the_way_defers(maildirs: Maildirs, tmp_path: Path) -> None:
    (tmp_path / "mail").write_text("no directory")
    with pytest.raises(MailboxFailed, match=r"File exists|Not a directory") as caught:
        deliver(maildirs, message(CONTENT))
    assert caught.value.reply.text == "451 4.3.0 Mailbox temporarily unavailable"


def test_a_file_that_may_not_grow_defers(maildirs: Maildirs) -> None:
    deliver(maildirs, message(b""))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
    try:
        with pytest.raises(MailboxFailed, match="File too large"):
            deliver(maildirs, message(b"x" * 1000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_source_that_fails_leaves_nothing(maildirs: Maildirs) -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield b"x" * 300_000
        raise LookupError

    with pytest.raises(LookupError):
        deliver(maildirs, MaildirMessage("", broken))
    maildirs.close()
    assert [list((maildirs.path("ann@b.example") / part).iterdir()) for part in ("tmp", "new")] == [[], []]


def test_a_cancelled_delivery_leaves_nothing(maildirs: Maildirs) -> None:
    async def run() -> None:
        async def endless() -> AsyncIterator[bytes]:
            while True:
                yield b"x" * 300_000
                await asyncio.sleep(0.01)

        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await maildirs.deliver("ann@b.example", MaildirMessage("", endless))

    asyncio.run(run())
    maildirs.close()
    assert [list((maildirs.path("ann@b.example") / part).iterdir()) for part in ("tmp", "new")] == [[], []]


def test_what_is_not_durable_does_not_stay_for_a_second_try(
    maildirs: Maildirs, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = deliver(maildirs, message(CONTENT))

    def failing(_directory: Path) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(mailbox, "_sync_directory", failing)
    with pytest.raises(MailboxFailed, match="Input/output error"):
        deliver(maildirs, message(CONTENT))
    maildirs.close()
    assert [file.name for file in (maildirs.path("ann@b.example") / "new").iterdir()] == [kept]


def test_a_delivery_that_is_cancelled_at_its_end_does_not_stay_for_a_second_try(
    maildirs: Maildirs, monkeypatch: pytest.MonkeyPatch
) -> None:
    named, go_on = threading.Event(), threading.Event()

    def slow(directory: Path) -> None:
        if directory.name == "new" and list(directory.iterdir()):
            named.set()
            assert go_on.wait(10)

    async def run() -> None:
        delivering = spawn(maildirs.deliver("ann@b.example", message(CONTENT)), "delivery")
        assert await asyncio.to_thread(named.wait, 10)
        delivering.cancel()
        with pytest.raises(asyncio.CancelledError):
            await delivering
        go_on.set()

    monkeypatch.setattr(mailbox, "_sync_directory", slow)
    asyncio.run(run())
    maildirs.close()
    assert [list((maildirs.path("ann@b.example") / part).iterdir()) for part in ("tmp", "new")] == [[], []]
