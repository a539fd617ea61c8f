"""The queue of a site in any engine, used in the test's own process: what stands around a store, and mail for it.

Unlike the rest of `support` it works with gatepost's own classes: they are what is tested.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from support.postgres import Postgres

from gatepost.mail.model.message import Delivery, Message, Recipient
from gatepost.mail.model.trace_event import TraceEvent
from gatepost.store.interface import (
    AdminNotice,
    DestinationWork,
    MessageUnstorable,
    Settlement,
    Store,
    StoreFailure,
)
from gatepost.store.postgres.quarantine import PostgresQuarantine
from gatepost.store.postgres.queue import PostgresSettings, PostgresStore
from gatepost.store.postgres.queue_admin import PostgresQueueAdmin
from gatepost.store.quarantine import Quarantine, QuarantineEngine
from gatepost.store.queue_admin import QueueAdmin
from gatepost.store.sqlite.administration import Administration, trace_writer
from gatepost.store.sqlite.message_trace import SqliteTrace
from gatepost.store.sqlite.quarantine import SqliteQuarantine
from gatepost.store.sqlite.queue import SqliteStore
from gatepost.store.sqlite.schema import StoreSettings

__all__ = ["Events", "MessageUnstorable", "Owner", "PostgresSite", "Site", "SqliteSite", "read", "settled"]

INLINE = 256 * 1024
PARTNER = "contoso/partner.example"


@dataclass
class Events:
    """A trace that remembers what it was given."""

    events: list[TraceEvent] = field(default_factory=list)
    dropped: int = 0
    closed: bool = False

    def add(self, events: Sequence[TraceEvent]) -> None:
        self.events += events

    def close(self) -> None:
        self.closed = True


@dataclass
class Owner:
    """Stands where the queue manager stands, and remembers what it was told."""

    offered: list[Delivery] = field(default_factory=list)
    notices: list[AdminNotice] = field(default_factory=list)
    failures: list[StoreFailure] = field(default_factory=list)
    work: list[DestinationWork] = field(default_factory=list)
    disownments: int = 0

    def offer(self, deliveries: list[Delivery]) -> None:
        self.offered += deliveries

    def administered(self, notices: list[AdminNotice]) -> None:
        self.notices += notices

    def failed(self, failure: StoreFailure) -> None:
        self.failures.append(failure)

    def due(self, work: list[DestinationWork]) -> None:
        self.work += work

    def disowned(self) -> None:
        self.disownments += 1


class Site:
    """One data directory for each node, and the ways a gateway uses it."""

    shared = False

    def __init__(self, path: Path) -> None:
        self.path = path
        self.owners: dict[int, Owner] = {}  # by id() of their store

    @contextlib.asynccontextmanager
    async def open(self, **place: Any) -> AsyncIterator[Store]:
        """node, worker: which process it is."""
        store = await self.start(**place)
        try:
            yield store
        finally:
            await store.close()

    async def start(self, *, node: str = "a", worker: int = 0, **settings: Any) -> Store:
        store = await self._start(node, worker, settings)
        self.owners[id(store)] = Owner()
        store.attach(self.owners[id(store)])
        return store

    async def _start(self, node: str, worker: int, settings: dict[str, Any]) -> Store:
        raise NotImplementedError

    def admin(self, events: Events | None = None) -> QueueAdmin:
        raise NotImplementedError

    def quarantine(self, events: Events | None = None) -> Quarantine:
        return Quarantine(self._quarantine(), events.add if events is not None else lambda _: None)

    def _quarantine(self) -> QuarantineEngine:
        raise NotImplementedError

    def owner(self, store: Store) -> Owner:
        return self.owners[id(store)]


class SqliteSite(Site):
    async def _start(self, node: str, worker: int, settings: dict[str, Any]) -> Store:
        return await SqliteStore.open(
            self.path / node / "queue" / str(worker),
            trace=SqliteTrace(self.path / node / "trace").sink,
            worker=worker,
            settings=StoreSettings(free_space_mark=0, **settings),
        )

    def admin(self, events: Events | None = None) -> QueueAdmin:
        keep = events.add if events is not None else lambda _: None
        keep = trace_writer(SqliteTrace(self.path / "a" / "trace"), keep)
        return Administration(self.path / "a" / "queue", keep)

    def _quarantine(self) -> QuarantineEngine:
        return SqliteQuarantine(self.path / "a" / "queue")


class PostgresSite(Site):
    shared = True

    def __init__(self, path: Path, server: Postgres) -> None:
        super().__init__(path)
        self.server = server
        self.url = server.database()
        self.database = self.url.rpartition("/")[2]

    async def _start(self, node: str, worker: int, settings: dict[str, Any]) -> Store:
        expiry, replicated = settings.pop("expiry", 15.0), settings.pop("replicated", False)
        return await PostgresStore.open(
            settings.pop("url", self.url),
            self.path / node / "spool",
            node=node,
            worker=worker,
            trace=Events(),
            settings=PostgresSettings(
                StoreSettings(free_space_mark=0, **settings), replicated=replicated, expiry=expiry
            ),
        )

    def admin(self, events: Events | None = None) -> QueueAdmin:
        return PostgresQueueAdmin(self.url, events.add if events is not None else lambda _: None)

    def _quarantine(self) -> QuarantineEngine:
        return PostgresQuarantine(self.url)

    def sql(self, statement: str) -> str:
        return self.server.sql(statement, self.database)

    def count(self, table: str) -> int:
        return int(self.sql(f"SELECT count(*) FROM queue_{table}"))  # noqa: S608 - a table's name


def message_of(store: Store, **facts: Any) -> Message:
    facts = {"organization": "contoso", "received": time.time(), "reverse_path": "bob@contoso.example", **facts}
    return Message(id=store.new_id(), **facts)


def delivery_of(store: Store, message: Message, *recipients: str, **fields: Any) -> Delivery:
    recipients = recipients or ("ann@partner.example",)
    fields = {"destination": f"contoso/{recipients[0].partition('@')[2]}", **fields}
    return Delivery(id=store.new_id(), message=message, recipients=[Recipient(one) for one in recipients], **fields)


async def commit(
    store: Store,
    message: Message,
    deliveries: list[Delivery],
    body: bytes | list[bytes] = b"hello\r\n",
    head: bytes = b"",
) -> None:
    """Accept and wait; raises what `done` was given."""
    writer = store.body()
    if head:
        writer.write_head(head)
    for chunk in body if isinstance(body, list) else [body]:
        if (wait := writer.write(chunk)) is not None:
            await wait
    result: asyncio.Future[StoreFailure | None] = asyncio.get_running_loop().create_future()
    store.accept(message, deliveries, writer, result.set_result)
    assert not result.done(), "done is never called before accept returns"
    if (failure := await result) is not None:
        raise failure


async def accept(store: Store, *recipients: str, body: bytes | list[bytes] = b"hello\r\n", **fields: Any) -> Delivery:
    message = message_of(store)
    delivery = delivery_of(store, message, *recipients, **fields)
    await commit(store, message, [delivery], body)
    return delivery


async def deferred(
    store: Store, *recipients: str, next_at: float = 1.0, body: bytes | list[bytes] = b"hello\r\n", **fields: Any
) -> Delivery:
    """A delivery that waits in the store, due at `next_at`."""
    delivery = await accept(store, *recipients, body=body, **fields)
    store.settle([Settlement(delivery, delivery.recipients, next_at, "451 4.0.0 later")])
    await store.flushed()
    return delivery


async def read(store: Store, message: int) -> bytes:
    return b"".join([chunk async for chunk in store.read(message)])


async def settled(store: Store, *deliveries: Delivery) -> None:
    """They were delivered."""
    store.settle([Settlement(delivery, []) for delivery in deliveries])
    await store.flushed()


async def eventually(condition: Any, seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        await asyncio.sleep(0.05)
