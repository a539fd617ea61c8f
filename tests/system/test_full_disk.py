"""A disk that is full, by the queue's own mail or by somebody else's files: mail leaves all the same, and comes again.

The data directory is a small file system in memory of its own. Needs root, to mount it.
"""

from __future__ import annotations

import os
import re
import smtplib
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from urllib.request import urlopen

import pytest
from support.admin import AdminCentre
from support.disk import Filler, mount, unmount
from support.gateway import Gateway
from support.postgres import sqlite_only
from support.scenes import ALICE, connector, contoso, message

from gatepost.testing.process import free_port, wait_until
from gatepost.testing.sink import Behaviour, Sink

pytestmark = sqlite_only("the queue is on the database server's disk")

DISK = 320 << 20
SUBJECT = re.compile(rb"^Subject: (full-\d+)\r?$", re.MULTILINE)
BOB = "bob@partner.example"
SESSION = 500  # messages of one connection, fewer than a gateway takes
SMALL, BIG = 180_000, 700_000  # below and above what lies in the database
QUICK = {"queue": {"retry": ["15s"]}}


@pytest.fixture
def disk(running: ExitStack, tmp_path: Path) -> Path:
    """An empty file system of `DISK` bytes."""
    path = tmp_path / "disk"
    mount(path, DISK)
    running.callback(unmount, path)
    return path


@pytest.fixture
def on_disk(running: ExitStack, disk: Path) -> Callable[[Sink], Gateway]:
    """A gateway whose data lie there, and which sends to a sink."""

    def start(partner: Sink, **more: object) -> Gateway:
        settings = QUICK | {"server": {"data_dir": str(disk / "data")}} | more
        server = Gateway(contoso(outbound=[connector("partner.example", partner.address)]), settings=settings)
        server.data_dir = disk / "data"
        return running.enter_context(server)

    return start


class Sender:
    """Sends messages with subjects of their own over one connection. taken: those that got their 250."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.taken: list[str] = []
        self.tried = 0

    def send(self, most: int, size: int = SMALL) -> int:
        """So many messages, or fewer if the gateway refuses one; the code of the refusal, 0 if there was none."""
        for first in range(0, most, SESSION):
            if code := self._session(min(SESSION, most - first), size):
                return code
        return 0

    def _session(self, most: int, size: int) -> int:
        with smtplib.SMTP("127.0.0.1", self._port, timeout=60) as client:
            for _ in range(most):
                self.tried += 1
                subject = f"full-{self.tried}"
                try:
                    client.sendmail(ALICE, [BOB], message(subject, ("x" * 70 + "\r\n") * (size // 72)))
                except (smtplib.SMTPSenderRefused, smtplib.SMTPDataError) as refused:
                    return refused.smtp_code
                self.taken.append(subject)
        return 0


def arrived(partner: Sink) -> Counter[str]:
    return Counter(found[1].decode() for one in partner.messages if (found := SUBJECT.search(one.data[:2000])))


def empty(server: Gateway) -> bool:
    return bool(server.cli("queue", "list", json=True).data == [])


@pytest.mark.timeout(480)
def test_mail_is_taken_again_after_the_queue_has_filled_the_disk(
    on_disk: Callable[[Sink], Gateway], sink: Callable[..., Sink], disk: Path
) -> None:
    partner = sink()
    partner.stop()
    server = on_disk(partner)
    sender = Sender(server.port)
    assert sender.send(20, BIG) == 0
    assert sender.send(5000) == 452
    assert len(sender.taken) > 500
    partner.start()
    partner.wait_messages(len(sender.taken), timeout=240)
    wait_until(lambda: empty(server), "the queue to run empty", timeout=240)
    assert arrived(partner) == Counter(sender.taken)
    wait_until(lambda: sender.send(1) == 0, "mail to be taken again")
    shard = disk / "data/queue/0"
    wait_until(lambda: sum(one.stat().st_blocks for one in shard.iterdir()) * 512 < 80 << 20, "smaller files")
    server.stop()
    server.start()
    assert sender.send(20) == 0


@pytest.mark.timeout(240)
@pytest.mark.parametrize("killed", [False, pytest.param(True, marks=pytest.mark.long)], ids=["running", "killed"])
def test_a_disk_that_others_filled_delivers_what_it_has(
    on_disk: Callable[[Sink], Gateway], sink: Callable[..., Sink], disk: Path, running: ExitStack, *, killed: bool
) -> None:
    partner = sink(behaviour=Behaviour(delays={".": 0.05}))
    partner.stop()
    server = on_disk(partner)
    sender = Sender(server.port)
    assert sender.send(60) == 0
    server.stop()  # so that the files have no room by chance
    server.start()
    filler = Filler(disk / "foreign")
    running.callback(filler.remove)
    filler.start()
    print({path.name: path.stat().st_blocks * 512 for path in (disk / "data/queue/0").iterdir() if path.is_file()})
    wait_until(lambda: sender.send(1) == 452, "452 on a full disk")
    partner.start()
    if killed:
        partner.wait_messages(15, timeout=60)
        server.kill()
        server.start()
    wait_until(lambda: empty(server), "the queue to run empty", timeout=120)
    wait_until(lambda: os.statvfs(disk).f_bavail * 4096 < 1 << 20, "the disk to be full again")
    assert sender.send(1) == 452
    found = arrived(partner)
    assert set(found) == set(sender.taken)
    assert sum(found.values()) - len(found) <= (40 if killed else 0), "only what was in flight may come twice"
    filler.remove()
    begun = time.monotonic()
    wait_until(lambda: sender.send(1) == 0, "mail to be taken again", timeout=60)
    wait_until(lambda: empty(server), "the queue to run empty")
    print(f"taken again after {time.monotonic() - begun:.1f} s")
    server.wait_trace(recipient=BOB, event="SEND")
    assert "Traceback" not in server.log()


@pytest.mark.long
@pytest.mark.timeout(240)
def test_the_whole_gateway_starts_on_a_full_disk_after_a_clean_stop(
    on_disk: Callable[[Sink], Gateway], sink: Callable[..., Sink], disk: Path, running: ExitStack
) -> None:
    """Every database needs room beside it: each is to have it from before, or to be done without."""
    partner = sink()
    partner.stop()
    metrics, centre = free_port(), free_port()
    beside = {"metrics": {"address": f"127.0.0.1:{metrics}"}, "admin": {"address": f"127.0.0.1:{centre}"}}
    server = on_disk(partner, **beside)
    pages = AdminCentre(server, centre)
    pages.make_owner()
    sender = Sender(server.port)
    assert sender.send(20) == 0
    assert sender.send(3, BIG) == 0
    server.stop()
    filler = Filler(disk / "foreign", pause=0.00001)  # it takes what is free for less than a moment
    running.callback(filler.remove)
    filler.start()
    partner.start()
    server.start()
    wait_until(lambda: empty(server), "the queue to run empty", timeout=60)
    assert arrived(partner) == Counter(sender.taken)
    assert sender.send(1) == 452
    assert sender.send(1, BIG) == 452
    with urlopen(f"http://127.0.0.1:{metrics}/metrics", timeout=20) as numbers:
        assert b"gatepost_" in numbers.read()
    wait_until(pages.answers, "the admin centre answers")
    status = server.cli("status", json=True, expect=1).data
    assert all(listener["ok"] for listener in status["listeners"]), "it serves, and says that it takes no mail"
    assert [worker["ok"] for worker in status["workers"]] == [False]
    assert server.cli("destination", "list", json=True).data is not None
    filler.remove()
    wait_until(lambda: sender.send(1, BIG) == 0, "mail to be taken again", timeout=60)
    assert sender.send(1) == 0
    wait_until(lambda: empty(server), "the queue to run empty")
    assert arrived(partner) == Counter(sender.taken)
    server.wait_trace(recipient=BOB, event="SEND")
    assert "Traceback" not in server.log()
