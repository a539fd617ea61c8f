"""Helpers of the store's tests: real SQLite files in tmp_path, a real event loop."""

from __future__ import annotations

import asyncio
import contextlib
import time

import pytest

from gatepost.mail.model.message import Delivery, Message, Recipient
from gatepost.store.interface import Settlement
from gatepost.store.sqlite.message_trace import SqliteTrace
from gatepost.store.sqlite.queue import SqliteStore
from gatepost.store.sqlite.schema import StoreSettings
from gatepost.values import replace


class Owner:
    """Stands where the queue manager stands, and remembers what it was told."""

    def __init__(self):
        self.offered, self.notices, self.failures = [], [], []

    def offer(self, deliveries):
        self.offered += deliveries

    def administered(self, notices):
        self.notices += notices

    def failed(self, failure):
        self.failures.append(failure)


class Shop:
    """A data directory, and the ways a gateway uses it."""

    def __init__(self, path):
        self.path = path
        self.queue = path / "queue"
        self.shard = self.queue / "0"
        self.trace = path / "trace"
        self.settings = StoreSettings(free_space_mark=0)

    @contextlib.asynccontextmanager
    async def open(self, *, worker=0, **settings):
        store = await SqliteStore.open(
            self.queue / str(worker),
            trace=SqliteTrace(self.trace).sink,
            worker=worker,
            settings=replace(self.settings, **settings),
        )
        owner = Owner()
        store.attach(owner)
        store.owner = owner
        try:
            yield store
        finally:
            await store.close()

    @staticmethod
    def message(store, **facts):
        facts = {"organization": "contoso", "received": time.time(), "reverse_path": "bob@contoso.example", **facts}
        return Message(id=store.new_id(), **facts)

    @staticmethod
    def delivery(store, message, *recipients, **fields):
        recipients = recipients or ("ann@partner.example",)
        fields = {"destination": f"contoso/{recipients[0].partition('@')[2]}", **fields}
        return Delivery(id=store.new_id(), message=message, recipients=[Recipient(r) for r in recipients], **fields)

    @staticmethod
    async def commit(store, message, deliveries, body=b"hello\r\n"):
        """Accept and wait; raises what `done` was given. body: octets, several pieces of them, or one begun already."""
        begun = hasattr(body, "write_head")
        writer = body if begun else store.body()
        for chunk in [] if begun else body if isinstance(body, list) else [body]:
            wait = writer.write(chunk)
            if wait is not None:
                await wait
        result = asyncio.get_running_loop().create_future()
        store.accept(message, deliveries, writer, result.set_result)
        assert not result.done(), "done is never called before accept returns"
        if failure := await result:
            raise failure

    async def accept(self, store, *recipients, body=b"hello\r\n", **fields):
        message = self.message(store)
        delivery = self.delivery(store, message, *recipients, **fields)
        await self.commit(store, message, [delivery], body)
        return delivery

    async def deferred(self, store, *recipients, next_at=1.0, body=b"hello\r\n", **fields):
        """A delivery that waits in the store, due at `next_at`."""
        delivery = await self.accept(store, *recipients, body=body, **fields)
        store.settle([Settlement(delivery, delivery.recipients, next_at, "451 4.0.0 later")])
        await store.flushed()
        return delivery

    @staticmethod
    async def read(store, message_id):
        return b"".join([chunk async for chunk in store.read(message_id)])


@pytest.fixture
def shop(tmp_path):
    return Shop(tmp_path)


@pytest.fixture
def eventually():
    async def wait(condition, seconds=5.0):
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, "it did not happen"
            await asyncio.sleep(0.01)

    return wait
