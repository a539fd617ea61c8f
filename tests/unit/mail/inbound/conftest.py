"""An inbound side in tmp_path: a real store and directory, sessions over joined streams, one clock set by hand.

Tests of these packages that are coroutines run on a loop of their own, with a time limit.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import re
import threading
import time
import tomllib

import apsw
import pytest
from support import joined_streams

from gatepost.mail.inbound.service import InboundService, SessionLimits, SessionRegistry, Stamp
from gatepost.mail.inbound.session import Session
from gatepost.net.anchors import TrustAnchors
from gatepost.net.chain import judge
from gatepost.net.engine import client_context, server_context
from gatepost.net.identity import ServerIdentity
from gatepost.net.stream import Endpoint, Loss, LossKind
from gatepost.pki.certificates.authority import Authority
from gatepost.policy.connectors.directory import Directory
from gatepost.policy.connectors.model import parse
from gatepost.protocols.smtp.extensions import Extensions
from gatepost.protocols.smtp.limits import SmtpLimits
from gatepost.protocols.tls.profile import PROFILES
from gatepost.store.bodies import _THREADS
from gatepost.store.interface import QueueFilter, TraceFilter
from gatepost.store.sqlite.administration import Administration
from gatepost.store.sqlite.message_trace import SqliteTrace
from gatepost.store.sqlite.queue import SqliteStore
from gatepost.store.sqlite.schema import QUEUE_FILE, StoreSettings

HQ = "192.0.2.7"
RESOURCES = f"""
[organization.contoso]
accepted_domain = [{{ name = "contoso.example" }}, {{ name = "branch.contoso.example" }}]
mailbox = [{{ address = "ann@contoso.example" }}, {{ address = "joe@contoso.example" }}]
[[organization.contoso.inbound_connector]]
name = "by address"
connector_type = "on-premises"
sender_ip_addresses = ["{HQ}"]
[[organization.contoso.inbound_connector]]
name = "by certificate"
connector_type = "on-premises"
tls_sender_certificate_name = "mail.contoso.example"
[[organization.contoso.inbound_connector]]
name = "by another root"
connector_type = "on-premises"
tls_sender_certificate_name = "vault.contoso.example"
trust_anchors = "OTHER"
[[organization.contoso.inbound_connector]]
name = "lab"
sender_domains = ["lab.example"]
require_tls = true
[organization.fabrikam]
accepted_domain = [{{ name = "fabrikam.example" }}]
"""

_STAMP = re.compile(r" \[mx\.gate\.example \S+ [0-9a-f]{16}\]$")


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem):
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    arguments = {name: pyfuncitem.funcargs[name] for name in pyfuncitem._fixtureinfo.argnames}

    async def limited():
        async with asyncio.timeout(40):
            await pyfuncitem.obj(**arguments)

    asyncio.run(limited())
    return True


class Client:
    """The other end of a session, in the words of SMTP."""

    def __init__(self, stream):
        self.stream = stream
        self.facts = self.loss = None
        self.last = ""  # the last reply as it came, stamp included
        self.on_data = lambda _data: None
        self._data = b""
        self._changed = asyncio.Event()
        stream.attach(self)

    def received(self, data):
        self.on_data(data)
        self._data += data
        self._changed.set()

    def secured(self, facts):
        self.facts = facts
        self._changed.set()

    def lost(self, loss):
        self.loss = loss
        self._changed.set()

    async def _until(self, true):
        while not true():
            self._changed.clear()
            await self._changed.wait()

    def send(self, *lines):
        self.stream.write(b"".join(line if isinstance(line, bytes) else line.encode() + b"\r\n" for line in lines))

    async def reply(self):
        """The next reply: the text of its last line without the stamp; "closed" when the connection is."""
        while True:
            await self._until(lambda: b"\r\n" in self._data or self.loss)
            line, end, self._data = self._data.partition(b"\r\n")
            if not end:
                return "closed"
            if line[3:4] != b"-":
                self.last = line.decode("ascii")
                return _STAMP.sub("", self.last)

    async def say(self, *lines):
        """Send one after the other, each when the one before is answered; the last reply."""
        text = ""
        for line in lines:
            self.send(line)
            text = await self.reply()
        return text

    async def greet(self, verb="EHLO"):
        await self.reply()
        return await self.say(f"{verb} client.example")

    async def envelope(self, sender, *recipients):
        """Up to DATA; the reply to it."""
        return await self.say(f"MAIL FROM:<{sender}>", *[f"RCPT TO:<{one}>" for one in recipients], "DATA")

    async def starttls(self, identity=None):
        """Facts of the handshake."""
        assert await self.say("STARTTLS") == "220 2.0.0 Ready to start TLS"
        self.stream.start_tls(client_context(PROFILES["default"], identity=identity))
        await self._until(lambda: self.facts or self.loss)
        assert self.facts, self.loss
        return self.facts

    async def ends(self):
        await self._until(lambda: self.loss)
        return self.loss

    def vanish(self):
        self.stream.abort(Loss(LossKind.RESET))


class Gate:
    """The inbound side of one worker. Set what a test is about, then `open`."""

    hq = HQ
    resources = RESOURCES

    def __init__(self, path, authority):
        self.path = path
        self.now = 1000.0
        self.authority = authority
        self.other = Authority("Another Root")
        self.limits = SessionLimits()
        self.smtp = SmtpLimits()
        self.store_settings = StoreSettings(free_space_mark=0)
        self.offered, self.traced = [], []
        self.admin = Administration(path / "queue", lambda _: None)
        self.store = self.service = self.registry = None
        (path / "ours.pem").write_bytes(authority.certificate_pem)
        (path / "other.pem").write_bytes(self.other.certificate_pem)

    def directory(self, text=RESOURCES):
        return Directory(parse(tomllib.loads(text.replace("OTHER", str(self.path / "other.pem")))))

    @contextlib.asynccontextmanager
    async def open(self):
        self.store = await SqliteStore.open(
            self.path / "queue" / "0",
            trace=SqliteTrace(self.path / "trace").sink,
            worker=0,
            settings=self.store_settings,
        )
        self.registry = SessionRegistry(clock=lambda: self.now)
        self.store.watch_disk(self.registry.hold_back)
        identity = self.identity("mx.gate.example")
        self.service = InboundService(
            hostname="mx.gate.example",
            directory=self.directory(),
            store=self.store,
            offer=self.offered.extend,
            trace=self._trace,
            judge_client=self._judge,
            expiration=lambda organization: {"contoso": 3600.0}.get(organization, 86400.0),
            tls=server_context([identity], PROFILES["default"], ask_client_certificate=True),
            extensions=Extensions.within(self.smtp, starttls=True),
            smtp_limits=self.smtp,
            session_limits=self.limits,
            stamp=Stamp("mx.gate.example", time.time),
        )
        try:
            yield self
        finally:
            await self.store.close()

    def identity(self, *names, authority=None):
        return ServerIdentity(*(authority or self.authority).issue(names))

    def connect(self, ip="203.0.113.9", refusal=None, chunk=65536):
        """A client that is connected and about to be greeted."""
        ours, theirs = joined_streams.pair(client=Endpoint(ip, 50000), chunk=chunk)
        client = Client(ours)
        client.session = Session(theirs, self.service, self.registry)
        client.session.begin(refusal)
        return client

    async def greeted(self, ip="203.0.113.9"):
        client = self.connect(ip)
        assert await client.greet() == "250 HELP"
        return client

    def _trace(self, events):
        self.traced.extend(events)
        self.store.trace(events)

    def _judge(self, chain, anchors):
        trusted = TrustAnchors.load(anchors or str(self.path / "ours.pem"))
        return judge(chain, trusted, now=time.time(), purpose="client")

    async def pass_time(self, seconds):
        self.now += seconds
        self.registry.sweep()

    @staticmethod
    async def until(condition):
        while not condition():  # noqa: ASYNC110 - what is waited for knows no event
            await asyncio.sleep(0.002)

    @contextlib.contextmanager
    def busy_disk(self):
        """No commit comes to its end meanwhile."""
        other = apsw.Connection(str(self.path / "queue" / "0" / QUEUE_FILE))
        other.execute("BEGIN IMMEDIATE")
        try:
            yield
        finally:
            other.execute("ROLLBACK")
            other.close()

    @contextlib.contextmanager
    def slow_disk(self):
        """No body gets on meanwhile: all threads that write them are busy."""
        free = threading.Event()
        for _ in range(_THREADS):
            self.store._bodies._threads.submit(free.wait)
        try:
            yield
        finally:
            free.set()

    def entries(self):
        return self.admin.entries(QueueFilter())

    def trace_rows(self, **wanted):
        """What the trace on disk says, oldest first; the store must be closed."""
        return list(reversed(SqliteTrace(self.path / "trace").search(TraceFilter(**wanted))))

    def left_behind(self):
        """Everything that an unfinished message could leave: rows, files, claimed memory."""
        files = list((self.path / "queue" / "0" / "big").iterdir())
        return [*self.entries(), *files, *[self.store._bodies.in_memory] * bool(self.store._bodies.in_memory)]

    async def body(self, message_id):
        return b"".join([chunk async for chunk in self.store.read(message_id)])


@pytest.fixture(scope="session")
def authority():
    return Authority("Gate Root")


@pytest.fixture
def gate(tmp_path, authority):
    return Gate(tmp_path, authority)
