"""Helpers of the queue's tests: a real store in tmp_path, a clock set by hand, a peer that does as it is told."""

from __future__ import annotations

import asyncio
import contextlib
import time

import apsw
import pytest

from gatepost.mail.model.delivery_result import DeliveryResult, RecipientResult, disposition_of
from gatepost.mail.model.message import Delivery, Message, Recipient
from gatepost.mail.queue import leases
from gatepost.mail.queue import manager as module
from gatepost.mail.queue.bounce import Bouncer
from gatepost.mail.queue.manager import QueueManager
from gatepost.mail.queue.memory_budget import QueueLimits
from gatepost.mail.queue.schedule import Schedule
from gatepost.mail.queue.settlement import Settler
from gatepost.protocols.smtp.replies import Reply
from gatepost.store.interface import QueueFilter
from gatepost.store.sqlite import writer
from gatepost.store.sqlite.administration import Administration, trace_writer
from gatepost.store.sqlite.message_trace import SqliteTrace
from gatepost.store.sqlite.queue import SqliteStore
from gatepost.store.sqlite.schema import QUEUE_FILE, StoreSettings

OK = Reply(250, "2.0.0", ("OK",))
LATER = Reply(451, "4.3.0", ("Try again later",))
UNKNOWN = Reply(550, "5.1.1", ("User unknown",))
SILENCE = Reply(450, "4.4.316", ("Connection refused",))


def make_message(number=1, **facts):
    facts = {"organization": "contoso", "received": 1000.0, "reverse_path": "bob@contoso.example", **facts}
    return Message(id=number, **facts)


def make_delivery(number=2, *recipients, message=None, **fields):
    recipients = recipients or (Recipient("ann@partner.example"),)
    return Delivery(
        id=number,
        message=message or make_message(),
        destination=fields.pop("destination", f"contoso/{recipients[0].address.partition('@')[2]}"),
        recipients=list(recipients),
        **fields,
    )


class Peer:
    """What deliveries meet. replies: by address or domain; a list is used up, its last element stays."""

    def __init__(self):
        self.replies = {}
        self.failing = set()  # destinations that cannot be delivered to
        self.silent = True  # as no host of them answers; else for a reason of their own
        self.attempts = []  # (destination, addresses)
        self.running = {}
        self.most = {}
        self.most_in_all = 0
        self.seconds = 0.0
        self.gate = None  # an asyncio.Event that attempts wait for

    async def deliver(self, delivery):
        self.attempts.append((delivery.destination, [recipient.address for recipient in delivery.recipients]))
        self.running[delivery.destination] = self.running.get(delivery.destination, 0) + 1
        self.most[delivery.destination] = max(
            self.most.get(delivery.destination, 0), self.running[delivery.destination]
        )
        self.most_in_all = max(self.most_in_all, sum(self.running.values()))
        try:
            if self.gate is not None:
                await self.gate.wait()
            await asyncio.sleep(self.seconds)
        finally:
            self.running[delivery.destination] -= 1
        if delivery.destination in self.failing:
            results = [
                RecipientResult(recipient, disposition_of(SILENCE), SILENCE, {}) for recipient in delivery.recipients
            ]
            return DeliveryResult(results, destination_failed=True, next_hop_failed=self.silent)
        results = []
        for recipient in delivery.recipients:
            reply = self._reply(recipient.address)
            results.append(RecipientResult(recipient, disposition_of(reply), reply, {"host": "mx.partner.example"}))
        return DeliveryResult(results)

    def _reply(self, address):
        replies = self.replies.get(address, self.replies.get(address.partition("@")[2], OK))
        if isinstance(replies, list):
            return replies.pop(0) if len(replies) > 1 else replies[0]
        return replies


class Rig:
    """A queue at work."""

    def __init__(self, path):
        self.path = path
        self.now = time.time()
        self.peer = Peer()
        self.told = []  # (event, address, next_at - now)
        self.admin = Administration(path / "queue", trace_writer(SqliteTrace(path / "trace"), lambda _: None))
        self.store = self.manager = None
        self.schedule = Schedule()
        self.schedule_hours = 24
        self.finder = self.budget = None
        self.journals = None  # makes what keeps journal copies, of the store
        self.settling = 0  # attempts that have ended, whose notices are being made

    def clock(self):
        return self.now

    def settled(self, delivery, outcome, next_at):
        for result in outcome.results:
            self.told.append(
                (str(result.disposition), result.recipient.address, result.reply.text, next_at and next_at - self.now)
            )

    @contextlib.asynccontextmanager
    async def open(self, *, paused=False, drain=2.0, deliver=None, deliver_batch=None, **limits):
        self.now = max(self.now, time.time())  # by which the store says when leftovers are due
        self.store = await SqliteStore.open(
            self.path / "queue" / "0",
            trace=SqliteTrace(self.path / "trace").sink,
            worker=0,
            settings=StoreSettings(free_space_mark=0),
        )
        self.manager = QueueManager(
            self.store,
            deliver or self.peer.deliver,
            self.schedule,
            Bouncer(self.store, "mx1.contoso.example", lambda _organization: self.schedule_hours * 3600.0),
            settled=self.settled,
            deliver_batch=deliver_batch,
            limits=QueueLimits(**limits),
            paused=paused,
            clock=self.clock,
            **({"finder": self.finder} if self.finder else {}),
            budget=self.budget,
            journals=self.journals(self.store) if self.journals else None,
        )
        self.manager.start()
        try:
            yield self.manager
        finally:
            await self.manager.drain(drain)
            await self.store.close()

    async def accept(self, *addresses, offer=True, body=b"Subject: hello\r\n\r\nhello\r\n", **facts):
        """One message, a delivery for each domain, offered to the queue after the commit as the session does."""
        notify = facts.pop("notify", "")
        facts = {"organization": "contoso", "received": self.now, "reverse_path": "bob@contoso.example", **facts}
        message = Message(id=self.store.new_id(), **facts)
        groups = {}
        for address in addresses or ("ann@partner.example",):
            groups.setdefault(address.partition("@")[2], []).append(Recipient(address, notify=notify))
        deliveries = [
            Delivery(
                self.store.new_id(),
                message,
                f"{message.organization}/{domain}",
                recipients,
                expires_at=self.now + 86_400,
            )
            for domain, recipients in groups.items()
        ]
        writer = self.store.body()
        if (wait := writer.write(body)) is not None:
            await wait
        done = asyncio.get_running_loop().create_future()
        self.store.accept(message, deliveries, writer, done.set_result)
        assert await done is None
        if offer:
            self.manager.offer(deliveries)
        return deliveries

    async def pass_time(self, seconds):
        """Set the clock forward and let the queue notice."""
        self.now += seconds
        await self.calm()

    async def calm(self):
        """Wait until nothing is on its way any more."""
        quiet = 0
        while quiet < 4:
            before = (len(self.peer.attempts), len(self.told))
            await asyncio.sleep(0.012)
            self.now += 0.012  # the queue may have put off something for LOOK
            await self.store.flushed()
            quiet = 0 if self._busy() or before != (len(self.peer.attempts), len(self.told)) else quiet + 1

    def _busy(self):
        """Whether mail is being delivered, fetched from the store or looked up, or an order waits to be read."""
        if self.settling or (self.peer.gate is None and any(self.peer.running.values())):
            return True
        if any(not task.get_name().startswith("lane ") for task in self.manager._tasks):
            return True
        queue = apsw.Connection(str(self.path / "queue" / "0" / QUEUE_FILE), flags=apsw.SQLITE_OPEN_READONLY)
        with contextlib.closing(queue):
            return queue.execute("SELECT count(*) FROM notice").get > 0

    def entries(self, **wanted):
        return self.admin.entries(QueueFilter(limit=0, **wanted))

    def tried(self):
        """The addresses tried since the last call, in order."""
        tried = [address for _, addresses in self.peer.attempts for address in addresses]
        self.peer.attempts.clear()
        return tried


@pytest.fixture
def rig(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "LOOK", 0.01)
    monkeypatch.setattr(leases, "LOOK", 0.01)
    monkeypatch.setattr(writer, "_LOOK", 0.05)
    made, finish = Rig(tmp_path), Settler.finish

    async def counted(*args, **named):
        made.settling += 1
        try:
            await finish(*args, **named)
        finally:
            made.settling -= 1

    monkeypatch.setattr(Settler, "finish", counted)
    return made


@pytest.fixture
def make():
    """Records out of thin air, for the pure parts."""

    class Make:
        delivery = staticmethod(make_delivery)
        message = staticmethod(make_message)
        ok, later, unknown, silence = OK, LATER, UNKNOWN, SILENCE

    return Make
