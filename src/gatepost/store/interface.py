"""What the queue and the trace need of a store: records and one interface, whatever the engine.

`store.sqlite` implements it embedded; PostgreSQL comes later behind the same methods. 250 may be sent only from the
`done` call-back of `Store.accept`: by then the message survives a power cut.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import msgspec

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

__all__ = [
    "BodyWriter",
    "Delivery",
    "DestinationWork",
    "Message",
    "QueueFilter",
    "Recipient",
    "Settlement",
    "Store",
    "StoreFailure",
    "TraceEvent",
    "TraceFilter",
]


class StoreFailure(Exception):
    """The store could not make something durable. Final for the process: stop accepting, answer 451, say so."""


class Recipient(msgspec.Struct, omit_defaults=True):
    """One forward-path of a message with its RFC 3461 parameters, as received.

    notify: "" (default), "NEVER" or a comma list of SUCCESS, FAILURE, DELAY. orcpt: xtext with its address type, "" if none.
    delayed: a delay DSN was sent for it.
    """

    address: str
    notify: str = ""
    orcpt: str = ""
    delayed: bool = False


class Message(msgspec.Struct, omit_defaults=True):
    """The envelope of one accepted message and the facts of the session it came by. The body is stored apart.

    id: 63 bits, unique in the installation and growing with time. received: seconds since 1970. reverse_path: "" is the
    null reverse-path. size: bytes of the stored body, the Received field included. hops: Received fields counted in it.
    body_type: "7BIT", "8BITMIME" or "BINARYMIME". ret: "", "FULL" or "HDRS"; envid: xtext (RFC 3461).
    direction: "incoming" or "originating". inbound: facts of the session for the trace (connector, TLS, certificate).
    """

    id: int
    organization: str
    received: float
    reverse_path: str
    size: int = 0
    body_type: str = "7BIT"
    smtputf8: bool = False
    require_tls: bool = False
    ret: str = ""
    envid: str = ""
    message_id: str = ""
    subject: str = ""
    session: str = ""
    direction: str = "incoming"
    hops: int = 0
    inbound: dict[str, Any] = {}


class Delivery(msgspec.Struct, omit_defaults=True):
    """One message's recipients for one destination: what is scheduled, leased, retried and settled together.

    destination: "organization/domain", the unit of concurrency and back-off. next_at: seconds since 1970, when a deferred
    delivery is due; 0 while it is fresh. body: the stored bytes if they are still in memory, else None.
    """

    id: int
    message: Message
    destination: str
    recipients: list[Recipient]
    attempts: int = 0
    next_at: float = 0.0
    expires_at: float = 0.0
    held: bool = False
    last_error: str = ""
    body: bytes | None = None


class Settlement(msgspec.Struct):
    """What became of one leased delivery.

    remaining: recipients that stay queued; empty removes the delivery, and the last one removes message and body.
    next_at: when they are due again. notices: messages (DSNs) to be queued in the same transaction, each with its
    deliveries and whole body.
    """

    delivery: Delivery
    remaining: list[Recipient]
    next_at: float = 0.0
    last_error: str = ""
    notices: list[tuple[Message, list[Delivery], bytes]] = []


class DestinationWork(msgspec.Struct):
    """A destination that has deferred deliveries, and when the first is due."""

    destination: str
    earliest: float
    count: int


class TraceEvent(msgspec.Struct, omit_defaults=True):
    """One row of the message trace: one recipient, one event (exchange.md §12).

    event: RECEIVE, REFUSE, SEND, DELIVER, DEFER, FAIL, EXPIRE, DROP, HOLD or RELEASE. at: seconds since 1970.
    message: the queue id as `queue list` prints it, "" for a refusal. requirement, achieved: as `policy` prints them
    ("opportunistic", "authenticated(*.b.example)"; "none/authenticated" for MX ladder/TLS ladder). reply: the reply
    given or received. result_type: RFC 8460, "" unless TLS failed. tls: facts of the handshake as JSON. detail: the
    decision's reasons and whatever else the event knows.
    """

    at: float
    event: str
    message: str
    organization: str
    direction: str
    session: str
    sender: str
    recipient: str
    message_id: str = ""
    subject: str = ""
    size: int = 0
    peer_host: str = ""
    peer_address: str = ""
    connector: str = ""
    requirement: str = ""
    achieved: str = ""
    tls_version: str = ""
    tls_group: str = ""
    tls: dict[str, Any] = {}
    reply: str = ""
    result_type: str = ""
    detail: dict[str, Any] = {}


class QueueFilter(msgspec.Struct):
    """Which deliveries an administrator means; empty fields match all. message: queue id."""

    message: str = ""
    organization: str = ""
    domain: str = ""
    sender: str = ""
    recipient: str = ""
    held: bool | None = None
    limit: int = 1000


class TraceFilter(msgspec.Struct):
    """Which trace rows are wanted; empty fields match all. since, until: seconds since 1970. text fields match whole
    values, case-insensitively; a leading "@" in sender or recipient means the domain."""

    since: float = 0.0
    until: float = 0.0
    message: str = ""
    message_id: str = ""
    session: str = ""
    organization: str = ""
    sender: str = ""
    recipient: str = ""
    connector: str = ""
    event: str = ""
    limit: int = 100


class BodyWriter(Protocol):
    """A body that is arriving. Small ones stay in memory, larger ones stream to a file of their own."""

    size: int

    def write(self, chunk: bytes) -> Awaitable[None] | None:
        """Take a chunk. If something is returned, await it before the next write (the disk is behind)."""

    def abort(self) -> None:
        """Forget the body and what it left on disk. Idempotent; harmless after `Store.accept`."""


class Store(Protocol):
    """One shard. Call-backs and coroutines run on the event loop that opened it."""

    def new_id(self) -> int:
        """A fresh message or delivery id."""

    def body(self) -> BodyWriter:
        """Begin a body."""

    def accept(
        self,
        message: Message,
        deliveries: list[Delivery],
        body: BodyWriter,
        done: Callable[[StoreFailure | None], None],
    ) -> None:
        """Queue a message. `done(None)` is called once it is durable, with the deliveries leased to the caller."""

    def settle(self, settlements: Sequence[Settlement]) -> None:
        """Record outcomes, in a later group commit; `flushed` waits for it."""

    async def flushed(self) -> None:
        """Return when everything handed over before is durable. Raises StoreFailure."""

    async def destinations(self) -> list[DestinationWork]:
        """Destinations with deferred, unheld deliveries."""

    async def lease(self, destination: str, limit: int, now: float) -> list[Delivery]:
        """Take up to `limit` due deliveries of one destination; they are the caller's until settled or the process ends."""

    def read(self, message_id: int) -> AsyncIterator[bytes]:
        """The stored body, in chunks of at most 256 KiB."""

    def trace(self, events: Sequence[TraceEvent]) -> None:
        """Keep trace rows; buffered, off the commit path, on disk within a second."""

    async def close(self) -> None:
        """Finish what was handed over, then close the files."""
