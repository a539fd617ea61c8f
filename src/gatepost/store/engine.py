"""The common base of both engines of the queue: bodies until their commit, rows of the trace, calls of the owner.

For `store.sqlite.queue` and `store.postgres.queue`, which commit, lease and read, each by its own database.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

from gatepost.store.bodies import Bodies, Body
from gatepost.store.interface import (
    AdminNotice,
    BodyWriter,
    Durable,
    EventSink,
    MessageUnstorable,
    QueueOwner,
    StoreFailure,
)
from gatepost.store.trace import TraceSink, unwritten

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gatepost.mail.model.message import Delivery, Message
    from gatepost.mail.model.trace_event import TraceEvent


class StoreEngine(ABC):
    """Made on the loop it will work for. bodies: where those of new messages arrive."""

    def __init__(self, trace: TraceSink, bodies: Bodies) -> None:
        self._loop = asyncio.get_running_loop()
        self._trace = trace
        self._evidence: EventSink | None = None
        self._owner: QueueOwner | None = None
        self._closed = False
        self._bodies = bodies
        self._finishing = 0  # large bodies on their way before their commit
        self._finished: list[asyncio.Future[None]] = []

    @property
    def trace_dropped(self) -> int:
        """See `Store.trace_dropped`."""
        return self._trace.dropped

    @property
    def unwritten(self) -> dict[str, str]:
        """See `Store.unwritten`."""
        return unwritten(self._trace, self._evidence)

    def watch_disk(self, on_behind: Callable[[bool], None]) -> None:
        """See `Store.watch_disk`."""
        self._bodies.on_behind = on_behind

    def attach(self, owner: QueueOwner) -> None:
        """See `Store.attach`."""
        self._owner = owner

    def body(self) -> BodyWriter:
        """See `Store.body`."""
        return Body(self._bodies)

    def accept(self, message: Message, deliveries: list[Delivery], body: BodyWriter, done: Durable) -> None:
        """See `Store.accept`."""
        if not isinstance(body, Body):
            raise TypeError("the body is not of this store")
        failure = self._refusal(body)
        if failure is not None:
            body.abort()
            self._loop.call_soon(done, failure)
            return
        body.end()
        if body.file is None:
            self._queue_message(message, deliveries, body, done)
        else:
            self._finishing += 1
            self._finish_body(message, deliveries, body, done)

    def trace(self, events: Sequence[TraceEvent]) -> None:
        """See `Store.trace`."""
        self._trace.add(events)
        if self._evidence is not None:
            self._evidence.add(events)

    # ------------------------------------------------------------------------------------------- of each engine

    @abstractmethod
    def _refusal(self, body: Body) -> StoreFailure | None:
        """The reason for which a message with that body is not taken."""

    @abstractmethod
    def _put_message(self, message: Message, deliveries: list[Delivery], body: Body, done: Durable, epoch: int) -> None:
        """Hand a message over for the next commit. Raises MessageUnstorable."""

    @abstractmethod
    def _finish_body(self, message: Message, deliveries: list[Delivery], body: Body, done: Durable) -> None:
        """Make a large body durable, then queue its message; `_body_finished` says that it is on its way no more."""

    # ------------------------------------------------------------------------------------------- parts

    def _queue_message(
        self, message: Message, deliveries: list[Delivery], body: Body, done: Durable, epoch: int = 0
    ) -> None:
        try:
            self._put_message(message, deliveries, body, done, epoch)
        except MessageUnstorable as failure:
            body.release()
            body.discard()
            self._loop.call_soon(done, failure)

    def _body_finished(self) -> None:
        self._finishing -= 1
        if not self._finishing:
            waiters, self._finished = self._finished, []
            for waiter in waiters:
                waiter.set_result(None)

    async def _done[T](self, queue: Callable[[Any], None], work: Callable[[asyncio.Future[T]], object]) -> T:
        """The result of work that is queued for a commit."""
        done: asyncio.Future[T] = self._loop.create_future()
        queue(work(done))
        return await done

    async def _bodies_finished(self) -> None:
        """Wait until no large body is on its way before its commit."""
        while self._finishing:
            waiter = self._loop.create_future()
            self._finished.append(waiter)
            await waiter

    def _close_sinks(self) -> None:
        """Write what waits of the trace and the evidence, and end the threads of bodies. Blocks."""
        self._trace.close()
        if self._evidence is not None:
            self._evidence.close()
        self._bodies.close()

    def _offer(self, deliveries: list[Delivery]) -> None:
        if self._owner is not None:
            self._owner.offer(deliveries)

    def _administered(self, notices: list[AdminNotice]) -> None:
        if self._owner is not None:
            self._owner.administered(notices)
