"""A queue and its restarts in any order against a model: nothing acknowledged is lost, and nothing is leased twice.

GATEPOST_STATES says how many runs there are; `make fuzz` does more.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from gatepost.mail.model.message import Delivery, Message, Recipient
from gatepost.store.interface import AdminNotice, DestinationWork, QueueOwner, Settlement, StoreFailure
from gatepost.store.sqlite.message_trace import SqliteTrace
from gatepost.store.sqlite.queue import SqliteStore
from gatepost.store.sqlite.schema import StoreSettings

MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None  # a thousand restarts need no disk
DESTINATIONS = ("contoso/a.example", "contoso/b.example")
BODIES = st.sampled_from([b"", b"short\r\n", b"x" * 5000])
LIMIT = 4096  # octets in the database; what is larger has a file


class Owner(QueueOwner):
    """Of whom nothing is asked here."""

    def __init__(self) -> None:
        self.offered: list[Delivery] = []

    def offer(self, deliveries: list[Delivery]) -> None:
        self.offered += deliveries

    def administered(self, notices: list[AdminNotice]) -> None:
        raise AssertionError(notices)

    def failed(self, failure: StoreFailure) -> None:
        raise failure

    def due(self, work: list[DestinationWork]) -> None:
        pass

    def disowned(self) -> None:
        raise AssertionError


@dataclass
class Waiting:
    """A delivery as it must be. due: only its order counts; 0.0 while it is ours."""

    destination: str
    recipients: set[str]
    message: int
    due: float = 0.0


class Queue(RuleBasedStateMachine):
    """waiting: what must be there. ours: leased or just accepted. bodies: of messages that have deliveries."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory(dir=MEMORY)
        self.runner = asyncio.Runner()
        self.waiting: dict[int, Waiting] = {}
        self.ours: dict[int, Delivery] = {}
        self.bodies: dict[int, bytes] = {}
        self.restarts = 0
        self.now = time.time() + 1e5  # later than any time at which a restart makes deliveries due
        self.open()

    def open(self) -> None:
        path = Path(self.folder.name)
        self.store = self.runner.run(
            SqliteStore.open(
                path / "queue" / "0",
                trace=SqliteTrace(path / "trace").sink,
                worker=0,
                settings=StoreSettings(free_space_mark=0, inline_limit=LIMIT),
            )
        )
        self.store.attach(Owner())

    async def _accept(self, message: Message, deliveries: list[Delivery], body: bytes) -> None:
        writer = self.store.body()
        if (wait := writer.write(body)) is not None:
            await wait
        done = asyncio.get_running_loop().create_future()
        self.store.accept(message, deliveries, writer, done.set_result)
        assert await done is None

    @rule(body=BODIES, destinations=st.sets(st.sampled_from(DESTINATIONS), min_size=1), count=st.integers(1, 3))
    def accept(self, body: bytes, destinations: set[str], count: int) -> None:
        message = Message(id=self.store.new_id(), organization="contoso", received=self.now, reverse_path="b@c.example")
        deliveries = [
            Delivery(
                id=self.store.new_id(),
                message=message,
                recipients=[Recipient(f"{number}@{destination[8:]}") for number in range(count)],
                destination=destination,
            )
            for destination in sorted(destinations)
        ]
        self.runner.run(self._accept(message, deliveries, body))
        self.bodies[message.id] = body
        for delivery in deliveries:
            recipients = {recipient.address for recipient in delivery.recipients}
            self.waiting[delivery.id] = Waiting(delivery.destination, recipients, message.id)
            self.ours[delivery.id] = delivery

    @precondition(lambda self: self.ours)
    @rule(data=st.data(), left=st.integers(0, 3), seconds=st.sampled_from([1.0, 50.0]))
    def settle(self, data: st.DataObject, left: int, seconds: float) -> None:
        """So many recipients stay, and are due later; with none the delivery is done."""
        delivery = self.ours.pop(data.draw(st.sampled_from(sorted(self.ours))))
        remaining = delivery.recipients[:left]
        self.store.settle([Settlement(delivery, remaining, self.now + seconds, "451 4.0.0 later")])
        self.runner.run(self.store.flushed())
        model = self.waiting[delivery.id]
        if remaining:
            model.recipients, model.due = {recipient.address for recipient in remaining}, self.now + seconds
            return
        del self.waiting[delivery.id]
        if not any(other.message == model.message for other in self.waiting.values()):
            del self.bodies[model.message]

    @rule(destination=st.sampled_from(DESTINATIONS), limit=st.integers(1, 3))
    def lease(self, destination: str, limit: int) -> None:
        due = sorted(
            (model.due, number)
            for number, model in self.waiting.items()
            if model.destination == destination and number not in self.ours and model.due <= self.now
        )
        leased = self.runner.run(self.store.lease(destination, limit, self.now))
        assert len(leased) == min(limit, len(due))
        times = sorted(self.waiting[delivery.id].due for delivery in leased)
        assert times == [moment for moment, _ in due[: len(leased)]], "longest due first"
        for delivery in leased:
            assert delivery.id not in self.ours, "nothing is leased twice"
            model = self.waiting[delivery.id]
            assert {recipient.address for recipient in delivery.recipients} == model.recipients
            assert delivery.message.id == model.message
            self.ours[delivery.id] = delivery

    @rule(seconds=st.sampled_from([1.0, 60.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def restart(self) -> None:
        """What was leased is anybody's again, and due at once: before what was deferred, after earlier restarts'."""
        self.runner.run(self.store.close())
        self.restarts += 1
        for number in self.ours:
            self.waiting[number].due = float(self.restarts)
        self.ours.clear()
        self.open()

    @rule(data=st.data())
    def read(self, data: st.DataObject) -> None:
        if self.bodies:
            number = data.draw(st.sampled_from(sorted(self.bodies)))
            assert self.runner.run(self._content(number)) == self.bodies[number]

    async def _content(self, number: int) -> bytes:
        return b"".join([chunk async for chunk in self.store.read(number)])

    @invariant()
    def only_large_bodies_of_what_waits_are_files(self) -> None:
        folder, large = (
            Path(self.folder.name) / "queue" / "0" / "big",
            sum(len(b) > LIMIT for b in self.bodies.values()),
        )
        deadline = time.monotonic() + 10
        while len(list(folder.iterdir())) != large and time.monotonic() < deadline:
            time.sleep(0.001)  # a file goes when its commit has been told
        assert len(list(folder.iterdir())) == large

    def teardown(self) -> None:
        """All that waits is found by a new process, and no more."""
        self.restart()
        self.now += 1e6
        found = {
            delivery.id
            for destination in DESTINATIONS
            for delivery in self.runner.run(self.store.lease(destination, 1000, self.now))
        }
        assert found == set(self.waiting)
        self.runner.run(self.store.close())
        self.runner.close()
        self.folder.cleanup()


TestQueue = Queue.TestCase
TestQueue.settings = settings(
    max_examples=int(os.environ.get("GATEPOST_STATES", "20")), stateful_step_count=25, deadline=None
)
