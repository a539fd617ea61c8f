"""The interfaces of the store: records, one protocol for queue and trace, and one for the tables beside the queue.

`store.sqlite.queue` implements the first embedded, `store.postgres.queue` for several nodes that share one queue. 250
may be sent only from the `done` call-back of `Store.accept`: by then the message survives a power cut.

Tables beside the queue have one schema and one implementation (`Database`), in SQL that SQLite and PostgreSQL share.
Values stand as `?`, or as `?1`, `?2` where one is used twice. Tables are written in SQLite's words (INTEGER, REAL,
TEXT, BLOB); `store.postgres.database` writes them in those of PostgreSQL. Why not a library: docs/decisions/0058. What
the two engines do not share, such as `INSERT OR REPLACE`, `INDEXED BY`, `ifnull` or `json_each`, is not used.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, contextmanager
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import msgspec

from gatepost.protocols.smtp.replies import Reply
from gatepost.store.text_pattern import TextPattern  # noqa: TC001 - msgspec reads it

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence

    from gatepost.events.metrics.counts import Counts
    from gatepost.mail.model.message import Delivery, Message, Recipient
    from gatepost.mail.model.trace_event import TraceEvent
    from gatepost.store.suspension import Suspension


class StoreFailure(Exception):  # noqa: N818 - it names what happened, and callers know it by this name
    """The store could not make something durable.

    final: whether it is so for the rest of the process: stop accepting, say so, start anew. Only the subclasses are
    temporary. reply: for the peer; the text of the exception is for us. summary: what is wrong, without a name or an
    address, for who is not to know more, such as whoever asks whether this gateway is ready.
    """

    final: ClassVar[bool] = True
    reply: ClassVar[Reply] = Reply(451, "4.3.0", ("Temporary failure, the message was not queued",))
    summary: str = "the store cannot be written"

    def __init__(self, text: str = "", *, summary: str = "") -> None:
        super().__init__(text)
        if summary:
            self.summary = summary


@contextmanager
def failing(place: object, *errors: type[Exception]) -> Iterator[None]:
    """Raise StoreFailure, about this place, for one of these errors within."""
    try:
        yield
    except errors as error:
        raise StoreFailure(f"{place}: {getattr(error, 'strerror', None) or error}") from error


class StoreFull(StoreFailure):
    """Less room is left than the free-space mark. Temporary: answer 452 4.3.1, go on delivering; it ends by itself."""

    final = False
    reply = Reply(452, "4.3.1", ("Insufficient system storage",))
    summary = "the disk of the store is full"


class StoreBusy(StoreFailure):
    """Another process held the files too long, or no file could be opened just now. Temporary: answer 451 4.3.0."""

    final = False


class OutcomeUnknown(StoreBusy):
    """The connection ended, or nothing was heard in time: what was sent may have been done, or be done yet."""


class MessageUnstorable(StoreFailure):
    """One message cannot be written (a value no column can hold); the others of its commit were. Answer 451 4.3.0."""

    final = False


class Settlement(msgspec.Struct):
    """The result of one leased delivery, to be stored.

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


class AdminNotice(msgspec.Struct):
    """An administrator's change in the stored queue, of which its owner is notified within a second.

    action: "hold", "release", "retry", "return" or "drop". message, delivery: ids of a delivery that was in the owner's
    memory or in flight; 0 if it waited in the store, where the change is made already and only the destination matters.
    """

    action: str
    destination: str
    message: int = 0
    delivery: int = 0
    author: str = ""


class QueueFilter(msgspec.Struct):
    """A filter for deliveries; empty fields match all.

    message: queue id. domain: of the destination. sender, recipient: whole addresses, ASCII case-insensitively; a
    leading "@" means the domain. state: "active", "deferred" or "held". limit: at most so many deliveries, 0 for all.
    organization: of the message.
    organizations: of the deliveries, any of these; None for all. parts: each is a part of the sender, a recipient, the
    subject or the Message-ID. sort: of `store.queue_admin.SORTS`, with a leading "-" the other way round; "" is the
    order in which they are stored.
    """

    message: str = ""
    organization: str = ""
    domain: str = ""
    sender: str = ""
    recipient: str = ""
    held: bool | None = None
    state: str = ""
    limit: int = 1000
    organizations: frozenset[str] | None = None
    parts: tuple[str, ...] = ()
    sort: str = ""


class TraceFilter(msgspec.Struct):
    """A filter for trace rows; empty fields match all.

    since, until: seconds since 1970, both included. Text fields match whole values, ASCII case-insensitively; a leading
    "@" in sender or recipient means the domain. domain, address: of sender or recipient. achieved: "authenticated" is
    every way to it, "dnssec/authenticated" one. peer: host name or IP address of the other side. limit: the newest so
    many.
    organizations: any of these; None for all, those of no organization too. protection: of mail
    that was received or sent, as reports count it: "dane", "mta-sts", "verified", "encrypted" or "cleartext". patterns:
    of sender, recipient, subject or message_id, all of which match. oldest_first: pages (`Trace.page`) begin with the
    oldest rows.
    """

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
    domain: str = ""
    address: str = ""
    peer: str = ""
    achieved: str = ""
    tls_version: str = ""
    tls_group: str = ""
    result_type: str = ""
    organizations: frozenset[str] | None = None
    protection: str = ""
    patterns: tuple[TextPattern, ...] = ()
    oldest_first: bool = False


type Durable = Callable[[StoreFailure | None], None]
"""Called once, when it is durable (None) or why it is not."""


class BodyWriter(Protocol):
    """A body that is arriving. Small ones stay in memory, larger ones stream to a file of their own."""

    size: int
    head: bytes

    def write(self, chunk: bytes) -> Awaitable[None] | None:
        """Take a chunk. If something is returned, await it before the next write (the disk is behind).

        Raises StoreFailure, here or from what is returned, if the body cannot be kept; StoreFull of them is temporary.
        """

    def write_head(self, chunk: bytes) -> None:
        """Take a chunk that stays apart in memory until acceptance; only before the first `write`. Raises StoreBusy."""

    def replace_head(self, head: bytes) -> None:
        """Put something else where everything taken by `write_head` stands."""

    def reserve(self, size: int) -> None:
        """Count `size` octets in all that its writer keeps in memory as long as it arrives. Raises StoreBusy."""

    def chunks(self) -> AsyncIterator[bytes]:
        """Yield what was taken so far, from its beginning. Several may read at a time, while nothing is written.

        Raises StoreFailure if it was not kept, or cannot be read.
        """

    def abort(self) -> None:
        """Forget the body and what it left on disk. Idempotent; harmless after `Store.accept`."""


class QueueOwner(Protocol):
    """The scheduler of a store's deliveries: `mail.queue.manager`. Called on the event loop."""

    def offer(self, deliveries: list[Delivery]) -> None:
        """These became durable by a settlement's notices; they are leased to you."""

    def administered(self, notices: list[AdminNotice]) -> None:
        """An administrator changed the queue."""

    def failed(self, failure: StoreFailure) -> None:
        """The store failed for good: nothing can be settled any more."""

    def due(self, work: list[DestinationWork]) -> None:
        """These destinations have deferred deliveries that others left or deferred. Only of a store that is shared."""

    def disowned(self) -> None:
        """Everything that waits in memory belongs to others by now: forget it. Only of a store that is shared."""


class EventSink(Protocol):
    """Keeps events off the loop: the evidence log. trouble: why they wait, "" if none do."""

    trouble: str

    @property
    def add(self) -> Callable[[Sequence[TraceEvent]], None]:
        """Keeps events; never blocks."""

    def close(self) -> None:
        """Write what waits. Blocks."""


class Store(Protocol):
    """One shard, or one process's part of a shared queue. Call-backs and coroutines run on the loop that opened it."""

    @property
    def failure(self) -> StoreFailure | None:
        """The reason for which the store refuses everything, None while it works. It may pass unless it is final."""

    @property
    def counts(self) -> Counts:
        """The counts of its commits."""

    @property
    def trace_dropped(self) -> int:
        """Rows of the trace that were dropped since the start."""

    @property
    def unwritten(self) -> dict[str, str]:
        """Why the records of each kind wait for the disk or the server, "" if they do not."""

    @property
    def position(self) -> tuple[int, int] | None:
        """Its place among the processes that share the queue, from 0, and their number; None if it is not shared."""

    def count_senders(self, senders: Callable[[], int]) -> None:
        """Name who knows how many sessions may hand over a message soon: for others a commit does not wait."""

    def watch_disk(self, on_behind: Callable[[bool], None]) -> None:
        """Name whom to tell that the disk is behind with bodies: no other is to begin, or be read on, until False."""

    def attach(self, owner: QueueOwner) -> None:
        """Name who schedules the deliveries; replaces the one before."""

    def room_for(self, size: int) -> bool:
        """Whether a message of `size` bytes fits above the free-space mark, as of a second ago: ask at MAIL."""

    @property
    def room(self) -> float:
        """The bytes that mail may take above that mark (`store.sqlite.space.Room`); infinity where it is not known."""

    def new_id(self) -> int:
        """A fresh message or delivery id."""

    def body(self) -> BodyWriter:
        """Begin a body."""

    def accept(self, message: Message, deliveries: list[Delivery], body: BodyWriter, done: Durable) -> None:
        """Queue a message. `done(None)` is called once it is durable, with the deliveries leased to the caller.

        `done(failure)`: nothing was queued; answer `failure.reply`, and stop accepting if `failure.final`. Never called
        before this returns. Sets `message.size` to the size of the body, and `body` of the deliveries if it is small.
        """

    def settle(self, settlements: Sequence[Settlement]) -> None:
        """Record outcomes, in a later group commit; `flushed` waits for it.

        Writes the delivery's attempts with them: everything remaining at next_at puts an untried delivery back. What an
        administrator did meanwhile wins: a held delivery stays held, a dropped one goes. Raises StoreFailure once the
        store has failed, MessageUnstorable if nothing of a settlement can be written.
        """

    async def flushed(self) -> None:
        """Return when everything handed over before is durable. Raises StoreFailure."""

    def bring_forward(self, latest: float, failed: str = "") -> None:
        """No deferred delivery is due later than `latest`, seconds since 1970: the clock was ahead when it was said.

        failed: only those whose last error begins so: what it was about has passed.
        """

    def retry(self, deliveries: Sequence[tuple[int, int]], now: float) -> None:
        """Let deliveries that wait be due at `now`, seconds since 1970; what was settled before is written first.

        Each is its message and its own id. One that is held, leased or gone stays as it is. Raises StoreFailure.
        """

    def held_up(self) -> Awaitable[None] | None:
        """None while outcomes are written. Else await it before another delivery is tried: the disk is full.

        Or the database is away. Outcomes wait in memory then, and a crash would have all of those delivered once more.
        Or this process stood still for so long that others may have its deliveries by now.
        """

    def owns(self, delivery: Delivery) -> bool:
        """Whether no other process can have taken over a delivery that this one has in memory. Cheap.

        Asked before each step that others see, at last before the end of a message is sent.
        """

    async def destinations(self) -> list[DestinationWork]:
        """Destinations with deferred, unheld deliveries."""

    async def lease(self, destination: str, limit: int, now: float) -> list[Delivery]:
        """Take up to `limit` due deliveries of a destination, longest due first: the caller's until settled."""

    async def suspend(self, suspension: Suspension) -> int:
        """Defer due deliveries where they lie; returns how many. None where the store is full or busy."""

    def stop_leasing(self) -> None:
        """Let nobody wait any more for what is due: the process ends, and whoever does gets a StoreFailure at once."""

    async def earliest(self, destination: str) -> float:
        """The due time of a destination's first deferred, unheld delivery, seconds since 1970; 0 without one."""

    def read(self, message_id: int) -> AsyncIterator[bytes]:
        """The stored body, in chunks of at most 256 KiB. Raises LookupError if there is no such message."""

    def trace(self, events: Sequence[TraceEvent]) -> None:
        """Keep trace rows; buffered, off the commit path, on disk within a second."""

    async def close(self) -> None:
        """Finish what was handed over, then close the files."""


class Schema(msgspec.Struct, frozen=True):
    """The tables of one subject, which are changed together.

    name: what it is called in PostgreSQL, and in errors. file: its file in the data directory, with SQLite. version: of
    these tables; upgrades[n] is the SQL that makes tables of version n + 1 of those of version n. application_id: the
    mark of the file. secret: what is removed is overwritten. unmarked: the SQL that makes tables of version 1 of those
    in a file without a mark, as gatepost once made it.

    oldest: the first version whose code works with these tables. Nodes of two versions of gatepost share a database
    while a site is upgraded, so a change has two parts in two releases. The first only adds: a table, an index, a
    column that may be NULL or has a default; `oldest` stays. The second, when no node needs the old form any more,
    renames or takes away; its `oldest` is the version of the first.
    """

    name: str
    file: str
    application_id: int
    version: int
    tables: str
    upgrades: Mapping[int, str] = msgspec.field(default_factory=lambda: MappingProxyType({}))
    secret: bool = False
    unmarked: str = ""
    oldest: int = 1

    def suits(self, version: int, oldest: int) -> bool:
        """Whether this code can use tables of a version as they are. oldest: that was stored with them."""
        return version == self.version or (version > self.version >= oldest)


class DatabaseConnection(Protocol):
    """Statements, within a `Database`'s contexts. Every method raises StoreFailure.

    clock: the SQL of the engine's own time, seconds since 1970: in PostgreSQL the server's, not the node's.
    """

    clock: str

    def rows(self, sql: str, values: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """All rows of a query, or of a change that has RETURNING."""

    def value(self, sql: str, values: Sequence[object] = ()) -> Any:
        """The first column of the first row; None if there is no row."""

    def execute(self, sql: str, values: Sequence[object] = ()) -> int:
        """Change rows; returns how many."""

    def octets(self) -> int:
        """Bytes that the tables of the schema take."""

    def execute_many(self, sql: str, rows: Iterable[Sequence[object]]) -> None:
        """The same change with each of several lists of values."""


class Database(Protocol):
    """The tables of one `Schema`. For the threads of a process; blocks, so not on an event loop.

    Methods raise StoreBusy where trying again may help (another process holds the lock too long, the server is away),
    or another StoreFailure.
    """

    def reading(self) -> AbstractContextManager[DatabaseConnection]:
        """For statements that change nothing; each sees what was committed last."""

    def reading_at_once(self) -> AbstractContextManager[DatabaseConnection]:
        """For statements that change nothing and all see the same state."""

    def single(self) -> AbstractContextManager[DatabaseConnection]:
        """For changes that are right as one statement each, and committed with it.

        No lock outlives a statement: a node that is cut off keeps nobody from theirs, as it may within `changing`.
        """

    def changing(self) -> AbstractContextManager[DatabaseConnection]:
        """One transaction that no other one of this schema is beside, in any process or node.

        Kept if what is done in it ends well, taken back if it raises.
        """

    def forget(self) -> None:
        """Overwrite what was removed, as far as the engine can: it may have been a secret."""

    def close(self) -> None:
        """Close it; whoever is at it ends first."""


class OnFirstUse:
    """A database that is opened when it is first used, and anew when it is used after it was closed.

    For one thread at a time until it is open. Every method raises StoreFailure.
    """

    def __init__(self, opened: Callable[[], Database]) -> None:
        """opened: opens the database."""
        self._opened = opened
        self._database: Database | None = None

    @property
    def is_open(self) -> bool:
        """Whether it was used since it was made or closed."""
        return self._database is not None

    def reading(self) -> AbstractContextManager[DatabaseConnection]:
        """See `Database.reading`."""
        return self._open().reading()

    def single(self) -> AbstractContextManager[DatabaseConnection]:
        """See `Database.single`."""
        return self._open().single()

    def changing(self) -> AbstractContextManager[DatabaseConnection]:
        """See `Database.changing`."""
        return self._open().changing()

    def close(self) -> None:
        """Close it; the next use opens it anew."""
        if self._database is not None:
            self._database.close()
            self._database = None

    def _open(self) -> Database:
        if self._database is None:
            self._database = self._opened()
        return self._database


class StoredTables:
    """The base of what reads and changes the tables of one schema, for one thread at a time.

    Every method raises StoreFailure, and may wait for the database.
    """

    def __init__(self, opened: Callable[[], Database]) -> None:
        """opened: opens the database, at the first use."""
        self._database = OnFirstUse(opened)

    def close(self) -> None:
        """Close the database; the next use opens it anew."""
        self._database.close()
