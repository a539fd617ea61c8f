"""Proves that nothing grows: mixed mail for long, with faults, and memory, descriptors, threads and files stay flat.

`make soak` runs an hour, `make test-all` two minutes of denser mail. Every message is accounted for at the end. The
partner is away for some seconds again and again, strangers break handshakes and hang up in the middle.
"""

from __future__ import annotations

import os
import re
import socket
import statistics
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import pytest
from support.gateway import Gateway
from support.load import BEHAVIOUR, Load, account, in_mailboxes, resources, wait_empty
from support.postgres import sqlite_only

from gatepost.testing.pki import Pki
from gatepost.testing.sink import Behaviour, Sink

_TELLING = re.compile(r"gatepost\.node\.supervisor|may arrive twice")  # what explains a delivery that is repeated
REFUSING = Behaviour(replies=dict.fromkeys(("MAIL", "RCPT"), "451 4.3.0 Later"))
SECONDS = float(os.environ.get("GATEPOST_SOAK", "120"))
PAUSE = 0.1 if SECONDS >= 600 else 0.02  # seconds between two messages of a client
pytestmark = [pytest.mark.long, sqlite_only("what PostgreSQL keeps is not the gateway's")]


class Sample(NamedTuple):
    """What the gateway uses. memory: octets of all its processes. files: of data_dir, mailboxes and bodies left out."""

    memory: float
    descriptors: float
    threads: float
    files: float


def sample(server: Gateway) -> Sample:
    processes = [Path(f"/proc/{pid}") for pid in server.family()]
    # Mail on its way has files, and databases have others beside them while they are open.
    files = [path for path in server.data_dir.rglob("*") if "maildir" not in path.parts and "big" not in path.parts]
    return Sample(
        server.resident(),
        sum(len(list((process / "fd").iterdir())) for process in processes),
        sum(len(list((process / "task").iterdir())) for process in processes),
        len(files),
    )


class Trouble:
    """Strangers who break off, and a partner who refuses everything for a while, until it is over."""

    def __init__(self, port: int, partner: Sink, period: float) -> None:
        self._port = port
        self._partner = partner
        self._period = period
        self._over = threading.Event()
        self._threads = [threading.Thread(target=work) for work in (self._break, self._refuse)]

    def __enter__(self) -> None:
        for thread in self._threads:
            thread.start()

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(30)
        self._partner.behaviour = BEHAVIOUR

    def _break(self) -> None:
        said = (
            b"STARTTLS\r\n\x16\x03\x01\x40\x00",
            b"EHLO x\r\nSTARTTLS\r\n",
            b"EHLO x\r\nMAIL FROM:<a@b.example>\r\n",
        )
        number = 0
        while not self._over.wait(PAUSE):
            number += 1
            with suppress(OSError), socket.create_connection(("127.0.0.1", self._port), 5) as stranger:
                stranger.sendall(said[number % len(said)])
                stranger.recv(100)

    def _refuse(self) -> None:
        while not self._over.wait(self._period * 0.8):
            self._partner.behaviour = REFUSING
            self._over.wait(self._period * 0.2)
            self._partner.behaviour = BEHAVIOUR


@pytest.mark.timeout(SECONDS + 300)
def test_nothing_grows(
    gateway: Callable[..., Gateway], sink: Callable[..., Sink], pki: Pki, capsys: pytest.CaptureFixture[str]
) -> None:
    partner = sink(behaviour=BEHAVIOUR)
    settings = {"server": {"workers": 2}, "queue": {"retry": ["2s"]}}
    server = gateway(resources(partner), certificates=[pki.leaf("mx1.contoso.example")], settings=settings)
    samples: list[Sample] = []
    arrived: list[tuple[str, float]] = []
    end = time.monotonic() + SECONDS
    with Load(server.port, clients=3, pause=PAUSE, most=400_000) as load, Trouble(server.port, partner, 20):
        while time.monotonic() < end:
            time.sleep(min(5.0, SECONDS / 40))
            samples.append(sample(server))
            arrived += in_mailboxes(server, Path.unlink)  # mailboxes are read, as people do
    wait_empty(server)
    found = account(server, partner, load, arrived)
    first, last = samples[len(samples) // 5 : 2 * len(samples) // 5], samples[-len(samples) // 5 :]
    before, after = (Sample(*map(statistics.median, zip(*part, strict=True))) for part in (first, last))
    with capsys.disabled():
        print(f"\n{SECONDS:.0f} s: {found}; from {before} to {after}", file=sys.stderr)
    assert found.lost == set()
    assert found.doubled == {}, [line for line in server.log().splitlines() if _TELLING.search(line)]
    assert found.acknowledged > SECONDS
    assert after.memory < before.memory * 1.01 + (6 << 20), "memory grows"
    assert after.descriptors <= before.descriptors + 8, "descriptors grow"
    assert after.threads <= before.threads + 4, "threads grow"
    assert after.files <= before.files + 8, "files grow"
