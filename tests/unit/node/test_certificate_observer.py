"""A node that looks at its own listener: a real session of a worker answers."""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
from types import SimpleNamespace

import pytest
from support.clock import Clock
from tests.unit.manage.use_cases.test_presentation_places_check import listener

from gatepost.net.identity import ServerIdentity, read_identity
from gatepost.net.own_connection import OwnConnections
from gatepost.node.certificate_observer import CertificateObserver
from gatepost.pki.certificates.authority import Authority
from gatepost.settings.roles import ListenerRole
from gatepost.store.nodes import UnusableFile, UnusableKey

ROOT = Authority("Observer Root")
OURS, OTHER = (ServerIdentity(*ROOT.issue(["mx.gate.example"])) for _ in range(2))
KEY = UnusableKey("0a1b", "gone")


def sha256(identity):
    return read_identity(identity).leaf.sha256


class Place:
    def __init__(self, tmp_path, *listeners, files=None):
        listeners = (*listeners, (ListenerRole.INTERNAL, "127.0.0.1:1"))
        self.settings = SimpleNamespace(
            listeners=tuple(SimpleNamespace(role=role, address=address) for role, address in listeners),
            server=SimpleNamespace(hostname="mx.gate.example"),
            tls=SimpleNamespace(profile="default"),
        )
        self.presented, self.unusable, self.told, self.clock = [OURS], [], [], Clock(0.0)
        self.own = OwnConnections(tmp_path)
        self.observer = CertificateObserver(
            self.settings,
            self.own,
            lambda: self.presented,
            lambda: self.unusable,
            files=files,
            told=lambda: self.told.append(self.observer.observed),
            ticks=self.clock,
        )

    async def tick(self, later=0.0):
        """Whether it looked."""
        self.clock.now += later
        before = self.observer._looking.task
        self.observer.tick()
        looked = self.observer._looking.task is not before
        if looked:
            await self.observer._looking.task
        return looked


@pytest.fixture
def context(tmp_path):
    (tmp_path / "chain.pem").write_bytes(OURS.chain_pem)
    (tmp_path / "key.pem").write_bytes(OURS.key_pem)
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.load_cert_chain(tmp_path / "chain.pem", tmp_path / "key.pem")
    return made


def test_what_was_presented_is_told_once_and_looked_at_each_minute(tmp_path, context):
    async def scene(place, name):
        assert await place.tick()
        (seen,) = place.observer.observed.listeners
        assert (seen.listener, seen.certificates, seen.trouble) == (name, (sha256(OURS),), "")
        assert not await place.tick(59)
        assert await place.tick(2)
        assert len(place.told) == 1, "nothing changed"
        place.presented = [OTHER, ServerIdentity(b"none", b"none")]
        assert not await place.tick(1)
        assert await place.tick(5), "soon after a change, when all workers have it"
        assert place.observer.observed.listeners[0].certificates == (sha256(OURS),)
        place.observer.close()
        assert place.observer.observed is None
        assert await place.tick(), "and at once when it begins again"
        place.own.close()

    with listener(context) as port:
        name = f"mx 127.0.0.1:{port}"
        asyncio.run(scene(Place(tmp_path, (ListenerRole.MX, f"127.0.0.1:{port}")), name))


def test_why_nothing_was_seen_is_told_and_looked_at_again_soon(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as gone:
        address = f"127.0.0.1:{gone.getsockname()[1]}"

    async def scene():
        place = Place(tmp_path, (ListenerRole.MX, address))
        assert await place.tick()
        assert place.observer.observed.listeners[0].trouble == "nobody answers"
        assert await place.tick(9)
        place.presented = []
        await place.tick()
        assert await place.tick(9)
        assert place.observer.observed.listeners[0].trouble == "this node has no certificate"
        place.own.close()

    asyncio.run(scene())


def test_a_key_that_is_being_written_is_not_told(tmp_path):
    async def scene():
        place = Place(tmp_path)
        place.unusable = [KEY]
        assert await place.tick()
        assert place.observer.observed.unusable == ()
        assert await place.tick(5)
        assert place.observer.observed.unusable == (KEY,)
        assert len(place.told) == 2
        place.unusable = []
        assert await place.tick(61)
        assert place.observer.observed.unusable == ()
        place.own.close()

    asyncio.run(scene())


def test_one_look_at_a_time(tmp_path):
    async def scene():
        place = Place(tmp_path)
        place.observer.tick()
        first = place.observer._looking.task
        place.presented = [OTHER]
        place.observer.tick()
        assert place.observer._looking.task is first
        place.observer.close()
        place.own.close()

    asyncio.run(scene())


def test_files_are_looked_at_beside_the_handshakes_and_told_when_they_change(tmp_path):
    names, goes_on = [], threading.Event()

    def unusable():
        goes_on.wait(20)
        return [UnusableFile(name, "w" * 1000) for name in names]

    async def scene(place):
        assert await place.tick()
        assert place.observer.observed.files is None, "a file system hangs: not known"
        goes_on.set()
        await place.observer._checking.ended()
        assert (place.observer.observed.files, len(place.told)) == ((), 2)
        names.extend(map(str, range(60)))
        assert await place.tick(61)
        await place.observer._checking.ended()
        files = place.observer.observed.files
        assert (len(files), files[0], len(place.told)) == (50, UnusableFile("0", "w" * 300), 3)
        assert await place.tick(61)
        await place.observer._checking.ended()
        assert len(place.told) == 3, "nothing changed"
        place.own.close()

    asyncio.run(scene(Place(tmp_path, files=unusable)))
