"""Proves that 250 means on disk: the power of the disk is cut under load, and no acknowledged message is lost.

`make powercuts` does it 100 times; the long test some times. The control runs the same gateway where fsync and
fdatasync do nothing, and must lose mail: else the cut cuts nothing.
"""

from __future__ import annotations

import os
import random
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest
from support.block_disk import BlockDisk
from support.gateway import Gateway
from support.load import BEHAVIOUR, Account, Load, account, resources, wait_empty
from support.postgres import sqlite_only

from gatepost.testing.process import alive
from gatepost.testing.sink import Sink

CUTS = int(os.environ.get("GATEPOST_POWERCUTS", "6"))
pytestmark = [pytest.mark.long, sqlite_only("the database server has its own disk")]

# seccomp: fsync and fdatasync return 0 without having been made.
WITHOUT_SYNC = r"""
import ctypes, os, platform, struct
numbers = {"x86_64": (74, 75), "aarch64": (82, 83)}[platform.machine()]
lines = [(0x20, 0, 0, 0)] + [line for number in numbers for line in ((0x15, 0, 1, number), (0x06, 0, 0, 0x50000))]
code = b"".join(struct.pack("=HBBI", *line) for line in [*lines, (0x06, 0, 0, 0x7FFF0000)])
class Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))
libc = ctypes.CDLL(None)
assert libc.prctl(38, 1, 0, 0, 0) == 0
assert libc.prctl(22, 2, ctypes.byref(Program(len(code) // 8, code)), 0, 0) == 0
from gatepost.manage.cli import main
main(prog_name="gatepost")
"""


@pytest.fixture
def cut(
    running: ExitStack, sink: Callable[..., Sink], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[Account, list[float]]]:
    """Cut the power so many times under load; what became of the mail, and when the power was cut."""

    def run(cuts: int, *, syncs: bool) -> tuple[Account, list[float]]:
        disk = BlockDisk(tmp_path)
        running.callback(disk.remove)
        partner = sink(behaviour=BEHAVIOUR)
        settings = {"server": {"data_dir": str(disk.path / "data"), "workers": 2}, "queue": {"retry": ["1s"]}}
        server = Gateway(resources(partner), settings=settings)
        running.callback(server.remove)
        server.data_dir = disk.path / "data"
        if not syncs:
            server._program = [sys.executable, "-c", WITHOUT_SYNC]
        server.start()
        chance = random.Random(21)  # noqa: S311 - the same moments in every run
        ends, begun = [], time.monotonic()
        with Load(server.port) as load:
            for _ in range(cuts):
                load.wait_for_more(20)
                time.sleep(chance.uniform(0, 0.5))
                family = server.family()
                server.kill()
                ends.append(time.time())
                assert alive(family) == []
                disk.cut()
                if not syncs:
                    break  # it may not even start again
                server.start()
        if not syncs:
            return account(server, partner, load), ends
        wait_empty(server)
        found = account(server, partner, load)
        with capsys.disabled():
            text = (
                f"\n{cuts} power cuts: {found} (in flight for {found.in_flight(ends):.3f} s at most), "
                f"{load.unanswered} without an answer; {time.monotonic() - begun:.0f} s"
            )
            print(text, file=sys.stderr)
        server.stop()
        server.cli("store", "check")
        server.cli("evidence", "verify")
        return found, ends

    return run


@pytest.mark.timeout(240 + 5 * CUTS)
def test_no_acknowledged_message_is_lost_by_power_cuts(
    cut: Callable[..., tuple[Account, list[float]]],
) -> None:
    found, ends = cut(CUTS, syncs=True)
    assert found.lost == set()
    assert found.acknowledged > 20 * CUTS
    assert found.not_in_flight(ends) == [], "only deliveries that were in flight may be repeated"
    assert len(found.doubled) < found.acknowledged / 5, "most were not in flight"


def test_the_control_without_sync_loses_mail(
    cut: Callable[..., tuple[Account, list[float]]], capsys: pytest.CaptureFixture[str]
) -> None:
    found, _ = cut(1, syncs=False)
    with capsys.disabled():
        print(f"\ncontrol, without fsync: {found}", file=sys.stderr)
    assert found.lost
