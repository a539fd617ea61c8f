"""Budgets of the cores that every message passes: interpreter instructions, and CPU time against a reference loop.

Instructions are counted by `sys.monitoring`: the same in each run, whatever else the machine does, so the bound is
narrow. They are divided by those of `_reference`. A version of Python compiles a line to more than another: budgets
hold for one. What C code does for one instruction they do not see: for that there is the CPU time of this thread, the
least of many short turns, divided by the reference's, with a wider bound. Who makes a core cheaper lowers its line.
"""

from __future__ import annotations

import _weakrefset
import asyncio
import gc
import selectors
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from types import CodeType
from typing import Any, cast

import pytest

from gatepost.events.counts import EventMeter
from gatepost.events.delivery_problems import DeliveryProblems
from gatepost.events.evidence.chain import ORIGIN, join
from gatepost.events.evidence.entry import Privacy, event_body
from gatepost.events.log_lines import AddressDetail, EventLines, Style
from gatepost.events.metrics.counts import Counts
from gatepost.events.trace import outcome_events
from gatepost.mail.inbound.usage import SendingUsage
from gatepost.mail.model.message import Delivery, Message, Recipient
from gatepost.mail.model.trace_event import TraceEvent
from gatepost.mail.outbound.connection import SmtpTimeouts
from gatepost.mail.outbound.contexts import ClientContexts
from gatepost.mail.outbound.deliverer import Deliverer
from gatepost.mail.outbound.delivery_services import DeliveryServices
from gatepost.mail.outbound.hop import HopOpener
from gatepost.mail.outbound.mailbox import Maildirs
from gatepost.mail.outbound.next_hops import NextHops
from gatepost.mail.outbound.pool import ConnectionPool
from gatepost.mail.queue.bounce import Bouncer
from gatepost.mail.queue.manager import QueueManager
from gatepost.mail.queue.schedule import Schedule
from gatepost.net.lookups.mx import MailRouter, Queries
from gatepost.net.stream import Endpoint, Receiver, Stream
from gatepost.policy.connectors.directory import Directory
from gatepost.policy.connectors.facts import SessionFacts
from gatepost.policy.connectors.model import parse
from gatepost.policy.connectors.selection import select_outbound
from gatepost.policy.decisions.inbound import decide_mail, decide_recipient
from gatepost.protocols.smtp.client.client import Client
from gatepost.protocols.smtp.client.transaction import MailTransaction
from gatepost.protocols.smtp.extensions import Extensions
from gatepost.protocols.smtp.grammar import parse_path
from gatepost.protocols.smtp.limits import SmtpLimits
from gatepost.protocols.smtp.server.events import ChunkEvent
from gatepost.protocols.smtp.server.server import Server
from gatepost.protocols.smtp.server.transcript import TranscriptBudget
from gatepost.protocols.tls.facts import CertificateFacts, ChainStatus, ChainVerdict, TlsFacts
from gatepost.protocols.tls.profile import PROFILES
from gatepost.protocols.tls.signature import SCHEMES, served_scheme
from gatepost.settings.store_url import SQLITE
from gatepost.store.interface import Settlement, Store
from gatepost.store.storage import Storage
from gatepost.store.trace import stored_row

pytestmark = pytest.mark.skipif(sys.version_info[:2] != (3, 13), reason="budgets are those of CPython 3.13")

_TIMES = 20  # runs of a core that are counted together
_TURNS, _MOST_TURNS, _REFERENCES = 300, 20_000, 40  # for CPU time; so many references take as long as a core
_OF_LOOP = str(Path(asyncio.__file__).parent), selectors.__file__, _weakrefset.__file__
_TRACED = sys.gettrace() is not None or sys.monitoring.get_tool(sys.monitoring.COVERAGE_ID) is not None
_CONTENT = b"Subject: a budget\r\nMessage-ID: <1@a.example>\r\n\r\n" + b"0123456789 abcdefghij\r\n" * 180
_TLS = TlsFacts("TLSv1.3", "TLS_AES_256_GCM_SHA384", "X25519MLKEM768", "ed25519", resumed=False, server_name="")


def _reference() -> int:
    """Some of everything that Python code does: calls, attributes, dictionaries, texts."""
    fields: dict[str, str] = {}
    for word in ("one", "two", "three", "four"):
        name, _, rest = word.partition("o")
        fields[name or "none"] = f"{rest}: {word.upper()}"
        if len(fields) > 2 and rest:
            fields.pop("tw", None)
    return sum(len(value) for value in fields.values())


def _accept() -> Callable[[], None]:
    """The server: a session with one message of 4 KB, whose transcript counts against what all may take."""
    limits, transcripts = SmtpLimits(), TranscriptBudget()
    extensions = Extensions.within(limits, starttls=False)

    def run() -> None:
        server = Server("mx.example", extensions, limits, lambda: "", transcripts)
        server.greet()
        for octets in (
            b"EHLO client.example\r\n",
            b"MAIL FROM:<a@a.example> SIZE=4000\r\nRCPT TO:<b@b.example>\r\nDATA\r\n",
            _CONTENT + b".\r\n",
            b"QUIT\r\n",
        ):
            server.receive(octets)
            while (event := server.next_event()) is not None:
                if event.decision:
                    server.accept()
            assert server.take_output()
        server.transcript.close()

    return run


def _read() -> Callable[[], None]:
    """The server: 128 KiB in the midst of a large message, an attachment in base64, read at once."""
    limits = SmtpLimits(message_bytes=1 << 40)
    server = Server("mx.example", Extensions.within(limits, starttls=False), limits, lambda: "")
    server.greet()
    server.receive(b"EHLO c.example\r\nMAIL FROM:<a@a.example>\r\nRCPT TO:<b@b.example>\r\nDATA\r\n")
    while server.next_event() is not None:
        server.accept()
    content = (b"A0b1C2d3E4f5G6h7I8j9+/" * 4)[:76] + b"\r\n"
    content *= 131072 // len(content)

    def run() -> None:
        server.receive(content)
        event = server.next_event()
        assert isinstance(event, ChunkEvent)
        assert server.next_event() is None

    return run


def _send() -> Callable[[], None]:
    """The client: a message of 4 KB over a connection that is kept."""
    client = Client("mx.example")
    client.receive(b"220 there\r\n")
    client.hello()
    client.receive(b"250-there\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 SIZE 1000000\r\n")
    client.take_output()

    def run() -> None:
        client.begin(MailTransaction("a@a.example", [("b@b.example", "", "")], size=len(_CONTENT)))
        client.take_output()
        client.receive(b"250 ok\r\n250 ok\r\n354 go\r\n")
        client.chunk(_CONTENT, last=True)
        client.take_output()
        assert client.receive(b"250 2.0.0 queued\r\n")
        assert client.usable

    return run


class _Wire:
    """A connection in memory to a server that takes each message at once. Ours are the octets that it is sent."""

    local = peer = Endpoint("127.0.0.1", 25)
    tls = None

    def attach(self, receiver: Receiver) -> None:
        self._receiver = receiver
        self._say(b"220 there\r\n")

    def write(self, data: bytes, *, at_once: bool = False) -> None:
        if data.startswith(b"EHLO"):
            self._say(b"250-there\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 SIZE 1000000\r\n")
        elif data.startswith(b"MAIL"):
            self._say(b"250 2.1.0 ok\r\n250 2.1.5 ok\r\n354 go\r\n")
        elif data.endswith(b"\r\n.\r\n"):
            self._say(b"250 2.0.0 queued\r\n")

    def close(self) -> None:
        """QUIT was said."""

    def _say(self, replies: bytes) -> None:
        """As over a network, later than whatever the last replies woke."""
        loop = asyncio.get_running_loop()
        loop.call_soon(loop.call_soon, self._receiver.received, replies)


class _Settlements:
    """The part of a store by which the queue settles."""

    def __init__(self) -> None:
        self.remaining: list[Recipient] = []

    def held_up(self) -> None:
        """Nothing is written late."""

    def settle(self, settlements: list[Settlement]) -> None:
        self.remaining = [recipient for settlement in settlements for recipient in settlement.remaining]


@cache
def _loop() -> asyncio.AbstractEventLoop:
    return asyncio.new_event_loop()


@pytest.fixture(scope="module", autouse=True)
def _end_loop() -> Iterator[None]:
    yield
    _loop().close()


def _relay() -> Callable[[], None]:
    """The queue and the deliverer: a message that was just accepted is sent over a kept connection, and settled."""
    store = cast("Store", _Settlements())
    own: dict[str, Any] = {"organization": {"o": {
        "accepted_domain": [{"name": "o.example"}],
        "outbound_connector": [{"name": "out", "recipient_domains": ["p.example"], "smart_hosts": ["127.0.0.1:25"]}],
    }}}  # fmt: skip
    contexts, done = ClientContexts("system", time.time), list[TraceEvent]()
    router = MailRouter(cast("Queries", None), Random(1))  # noqa: S311 - an order, no secret

    async def dialled(*_: object, **__: object) -> Stream:
        return cast("Stream", _Wire())

    def deliverer() -> Deliverer:
        opener = HopOpener("mx.o.example", contexts, SmtpTimeouts(), dialled)
        pool, maildirs = ConnectionPool(messages=1 << 30, age=1e9), cast("Maildirs", None)
        return Deliverer(Directory(parse(own), 17), DeliveryServices(store, router, maildirs, contexts, opener, pool))

    sender = deliverer()
    manager = QueueManager(
        store,
        sender.deliver,
        Schedule(),
        Bouncer(store, "mx.o.example", lambda _: 86400.0),
        settled=lambda delivery, outcome, next_at: done.extend(outcome_events(delivery, outcome, next_at, 1.8e9)),
        deliver_batch=sender.deliver_batch,
        finder=NextHops(lambda: sender.planner, store, router, 25, sender.batch_limits),
    )
    inbound = {"peer": "192.0.2.9", "connector": "servers", "tls": {"version": "TLSv1.3"}}

    async def relay() -> None:
        message = Message(7, "o", time.time(), "a@o.example", size=len(_CONTENT), message_id="<1@o>", inbound=inbound)
        manager.offer([Delivery(8, message, "o/p.example", [Recipient("b@p.example")], body=_CONTENT)])
        while manager.lanes:  # noqa: ASYNC110 - a turn of the loop is what it takes
            await asyncio.sleep(0)

    def run() -> None:
        _loop().run_until_complete(relay())
        (event,) = done
        assert event.event == "SEND", event
        done.clear()

    return run


@cache
def _directory(organizations: int) -> Directory:
    return Directory(
        parse({"organization": {f"o{number}": _organization(number) for number in range(organizations)}}), 17
    )


def _organization(number: int) -> dict[str, Any]:
    own, servers = f"o{number}.example", [f"10.{number // 256}.{number % 256}.0/24"]
    partner = {"sender_domains": [f"p.o{number}.test"], "restrict_domains_to_certificate": True}
    return {
        "accepted_domain": [{"name": own}],
        "inbound_connector": [
            {"name": "servers", "connector_type": "on-premises", "sender_ip_addresses": servers},
            {"name": "partner", "tls_sender_certificate_name": f"mx.p.o{number}.test"} | partner,
        ],
        "outbound_connector": [{"name": "out", "recipient_domains": [f"p.o{number}.test"]}],
    }


def _decide(organizations: int = 5) -> Callable[[], None]:
    """Policy: a partner's mail by its certificate, mail of own servers by address, and the connector for mail out."""
    directory = _directory(organizations)
    own = directory.organization("o3")
    assert own is not None
    name = "mx.p.o3.test"
    leaf = CertificateFacts(
        f"CN={name}", "CN=CA", "1", name, (name,), (), "aa" * 32, "bb" * 20, "cc" * 32, 0, 9e9, "P-256"
    )
    partner = SessionFacts("s", "203.0.113.9", "c.example", _TLS, ChainVerdict(ChainStatus.TRUSTED, "", leaf))
    server = SessionFacts("s", "10.0.3.7", "c.example")
    there, here = (parse_path(f"<{path}>", smtputf8=False) for path in ("x@p.o3.test", "a@o3.example"))

    def run() -> None:
        assert decide_recipient(directory, partner, there, here).accepted
        assert decide_recipient(directory, server, here, there).accepted
        assert select_outbound(directory, own, "p.o3.test").connector

    return run


def _count() -> Callable[[], None]:
    """What a sender without a limit sends in a day: 20 messages for one recipient each are taken, and counted."""
    directory = _directory(1)
    server = SessionFacts("s", "10.0.0.7", "c.example")
    verdict = decide_mail(directory, server, parse_path("<a@o0.example>", smtputf8=False))
    with TemporaryDirectory() as folder:
        usage = SendingUsage(Storage(SQLITE, Path(folder)).sending_usage())
        usage.use(directory)
        usage.close()  # what is counted stays in memory

    def run() -> None:
        for _ in range(20):
            taken, charge = usage.admit(directory, server, verdict, None)
            assert taken is verdict
            assert charge is not None

    return run


def _record() -> Callable[[], None]:
    """Events: all that is made of a message that was accepted and sent, each in a session of its own."""
    meter, problems = EventMeter(Counts()), DeliveryProblems()
    lines = EventLines(Style.TEXT, AddressDetail.FULL, lambda _: None)
    certificate: dict[str, Any] = {name: name for name in ("subject", "issuer", "serial", "sha1", "sha256", "key")}
    certificate |= {"names": ["mx.p.example"], "not_before": 1.7e9, "not_after": 1.9e9}
    handshake = {
        "version": "TLSv1.3",
        "suite": _TLS.suite,
        "group": _TLS.group,
        "signature": "ed25519",
        "resumed": False,
    }

    def event(kind: str, **facts: Any) -> TraceEvent:
        tls = handshake | {"chain": "trusted", "certificate": certificate}
        return TraceEvent(
            1.8e9, kind, "0caeb7e93ac00000", "o", "outgoing", "4bf67757a2d8c74d", "a@o.example", "b@p.example",
            message_id="<1@o.example>", size=4096, peer_host="mx.p.example", peer_address="192.0.2.2", connector="out",
            achieved="none/authenticated", tls_version="TLSv1.3", tls_group=_TLS.group, tls=tls, reply="250 2.0.0 OK",
            requirement="authenticated(*.p.example)", **facts,
        )  # fmt: skip

    def run() -> None:
        received = event("RECEIVE", detail={"configuration": 3, "basis": "ip-address", "reasons": ["known by address"]})
        sent = event("SEND", detail={"attempt": 1, "delay": 0.1, "seconds": 0.03, "configuration": 3})
        groups = [[received], [sent]]
        for reader in (meter, problems, lines):
            reader(groups)
        for row in (received, sent):
            assert stored_row(row)
            join(ORIGIN, event_body(row, 7, "0123456789abcdef", Privacy()))

    return run


def _sign() -> Callable[[], None]:
    """TLS: the scheme that a server with an RSA certificate signed with, out of the ClientHello of a usual client."""
    profile = PROFILES["modern"]
    codes = b"".join(code.to_bytes(2) for code in SCHEMES.values())
    listed = (len(codes).to_bytes(2) + codes, b"\0\x1d", b"h2", b"\2\3\4", b"")
    extensions = b"".join(
        kind.to_bytes(2) + len(value).to_bytes(2) + value
        for kind, value in zip((10, 11, 23, 43, 13), listed[1:] + listed[:1], strict=True)
    )
    hello = b"\3\3" + bytes(32) + b"\0" + b"\0\2\x13\2" + b"\1\0" + len(extensions).to_bytes(2) + extensions
    message = b"\1" + len(hello).to_bytes(3) + hello
    stream = b"\x16\3\1" + len(message).to_bytes(2) + message

    def run() -> None:
        assert served_scheme(stream, version="TLSv1.3", key="RSA-2048", order=profile.signature_algorithms)

    return run


# In runs of the reference, as measured with CPython 3.13: instructions and 8 %, CPU time and 60 %. Beside eight busy
# processes on two cores the first never differ, and the second by 10 %.
_BUDGETS = {
    _accept: (22.2, 41),
    _read: (3.05, 38),
    _send: (9.9, 23),
    _relay: (46.4, 230),
    _decide: (21, 66),
    _count: (34, 45),
    _record: (19.6, 85),
    _sign: (2.85, 7.7),
}


def _instructions(run: Callable[[], object], times: int = _TIMES) -> float:
    """Instructions of the interpreter that a run takes. What it does once, as filling a cache, is done before."""
    run()
    monitoring, count, ours = sys.monitoring, 0, threading.get_ident()

    def step(code: CodeType, _offset: int) -> None:
        nonlocal count
        # Threads of other tests may still be at work; and workers have another loop, which executes none.
        count += threading.get_ident() == ours and not code.co_filename.startswith(_OF_LOOP)

    tool = next(number for number in (3, 4) if monitoring.get_tool(number) is None)
    monitoring.use_tool_id(tool, "budgets")
    try:
        monitoring.register_callback(tool, monitoring.events.INSTRUCTION, step)
        gc.disable()  # what else is called back at a collection is none of it
        monitoring.set_events(tool, monitoring.events.INSTRUCTION)
        for _ in range(times):
            run()
        monitoring.set_events(tool, 0)
    finally:
        gc.enable()
        monitoring.register_callback(tool, monitoring.events.INSTRUCTION, None)
        monitoring.free_tool_id(tool)
    return count / times


@pytest.mark.parametrize("core", _BUDGETS, ids=lambda core: core.__name__.strip("_"))
def test_a_core_keeps_to_its_instructions(core: Callable[[], Callable[[], None]]) -> None:
    assert _instructions(core()) / _instructions(_reference) < _BUDGETS[core][0]


@pytest.mark.parametrize("core", _BUDGETS, ids=lambda core: core.__name__.strip("_"))
@pytest.mark.skipif(_TRACED, reason="a tracer slows what it traces")
def test_a_core_keeps_to_its_time(core: Callable[[], Callable[[], None]]) -> None:
    """Short times are compared: a neighbour that takes the caches makes all of a short while longer.

    Not the shortest, which may be false: the clock of a virtual machine said 10 µs, once, of work that takes 35.
    """
    times: tuple[list[float], list[float]] = ([], [])
    run = core()
    while True:
        # So short that some are disturbed by nothing, and in turns, so that both find the same machine.
        for _ in range(_TURNS):
            for (work, count), taken in zip(((run, 1), (_reference, _REFERENCES)), times, strict=True):
                begun = time.thread_time_ns()
                for _ in range(count):
                    work()
                taken.append((time.thread_time_ns() - begun) / count)
        short, reference = (sorted(taken)[len(taken) // 50] for taken in times)
        if short / reference < _BUDGETS[core][1] or len(times[0]) >= _MOST_TURNS:
            break
    assert short / reference < _BUDGETS[core][1]


def test_a_decision_costs_the_same_among_a_thousand_organizations() -> None:
    few, many = _instructions(_decide(5)), _instructions(_decide(1000))
    assert many < 1.05 * few
