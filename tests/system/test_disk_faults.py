"""Proves that a disk that stands still, or fails and becomes read-only, loses nothing, and that the gateway heals.

The data directory is ext4 on a loop device, whose image lies on a small file system in memory: when that is full, the
device fails to write, fsync fails, and the kernel makes the file system read-only. Needs root and loop devices.
"""

from __future__ import annotations

import smtplib
import subprocess
import threading
import time
from contextlib import ExitStack
from pathlib import Path

import pytest
from support.block_disk import BlockDisk
from support.disk import Filler, mount, unmount
from support.gateway import Gateway
from support.load import wait_empty
from support.postgres import sqlite_only
from support.scenes import contoso, message, send

from gatepost.testing.process import wait_until

pytestmark = sqlite_only("the queue is on the database server's disk")

ANN = "ann@contoso.example"
BENEATH = 128 << 20  # octets for the image, which is larger
SERVED = 11.0  # seconds after which a worker that cannot start any more does not end the gateway


@pytest.fixture
def disk(running: ExitStack, tmp_path: Path) -> BlockDisk:
    beneath = tmp_path / "beneath"
    mount(beneath, BENEATH)
    running.callback(unmount, beneath)
    made = BlockDisk(beneath)
    running.callback(made.remove)
    return made


@pytest.fixture
def server(running: ExitStack, disk: BlockDisk) -> Gateway:
    made = Gateway(
        contoso(), settings={"server": {"data_dir": str(disk.path / "data")}, "rates": {"commit_mark": "1s"}}
    )
    made.data_dir = disk.path / "data"
    running.callback(made.remove)
    return made.start()


def test_a_disk_that_stands_still_delays_mail_and_loses_none(server: Gateway, disk: BlockDisk) -> None:
    ended: list[float] = []

    def client() -> None:
        send(server.port, ANN, timeout=100)
        ended.append(time.monotonic())

    thread = threading.Thread(target=client)
    subprocess.run(["fsfreeze", "--freeze", str(disk.path)], check=True, timeout=30)
    try:
        thread.start()
        log = server.folder.path / "log.txt"
        wait_until(lambda: "messages wait" in log.read_text(), "the log to say that the disk is slow")
        assert ended == [], "nothing is acknowledged that is not on the disk"
        with smtplib.SMTP("127.0.0.1", server.port, timeout=60) as other:
            assert other.noop()[0] == 250, "others are answered"
    finally:
        subprocess.run(["fsfreeze", "--unfreeze", str(disk.path)], check=True, timeout=30)
    thread.join(100)
    assert len(ended) == 1
    assert len(server.wait_maildir(ANN)) == 1


@pytest.mark.timeout(300)
def test_a_disk_that_fails_loses_nothing_and_heals_when_it_is_there_again(server: Gateway, disk: BlockDisk) -> None:
    taken = [subject for subject in ("a", "b") if is_taken(server, subject)]
    time.sleep(SERVED)
    filler = Filler(disk.path.parent / "filler")
    filler.start()
    while is_taken(server, f"c-{len(taken)}"):
        taken.append(f"c-{len(taken)}")
    log = server.folder.path / "log.txt"
    wait_until(lambda: "the store failed, nothing more is accepted" in log.read_text(), "the log to say so")
    assert not is_taken(server, "refused"), "nothing is acknowledged that nobody can store"
    wait_until(lambda: server.cli("status", expect=None).status == 1, "the status to say so")
    filler.remove()
    disk.cut()  # what the device has got by now is mounted again, as after a repair
    begun = time.monotonic()
    wait_until(lambda: is_taken(server, "after"), "mail to be taken again", timeout=90)
    print(f"mail is taken {time.monotonic() - begun:.1f} s after the disk is back; {len(taken)} acknowledged before")
    wait_empty(server)
    subjects = [line for path in server.data_dir.rglob("new/*") for line in path.read_bytes().splitlines()]
    lost = [subject for subject in [*taken, "after"] if f"Subject: {subject}".encode() not in subjects]
    assert lost == []
    assert server.stop() == 0
    server.cli("store", "check")


def is_taken(server: Gateway, subject: str) -> bool:
    try:
        send(server.port, ANN, content=message(subject, ("x" * 70 + "\r\n") * 5000), timeout=60)
    except (OSError, smtplib.SMTPException):
        return False
    return True
