"""Queue administration for any engine: what it finds, and what each one does.

`store.sqlite.administration` works on the shards of a data directory, `store.postgres.queue_admin` on the queue that
all nodes share. Made by `Storage.queue_admin`; used by `manage`, by metrics and by alarms.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, Final, NamedTuple, NoReturn

import msgspec

from gatepost.events.trace import message_event
from gatepost.mail.model.message import Delivery, Message, Recipient
from gatepost.mail.model.queue_id import made_at
from gatepost.values import replace

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from gatepost.mail.model.trace_event import TraceEvent
    from gatepost.store.interface import QueueFilter


EVENTS: Final = {"hold": "HOLD", "release": "RELEASE", "return": "RETURN", "drop": "DROP"}
"""The trace events of actions; "retry" has none."""

_encode = msgspec.json.Encoder().encode


SORTS: Final = ("received", "next_attempt", "size", "destination", "sender", "attempts")
"""By what deliveries are sorted: "received" by the age of their message, which costs nothing; the others read all.

next_attempt: first those that are tried now. destination: the domain. sender: the reverse-path in small
letters. Equals stand in the order of their messages.
"""

SORTED: Final = 50_000
"""Deliveries that are sorted at most, but by "received": more would take longer than who waits for a page."""

COUNTED: Final = 10_000
"""Deliveries that `QueueAdmin.totals` counts at most."""


class QueuePlace(NamedTuple):
    """The position of a delivery in the queue: its shard and its ids, and where they are sorted its `order_key`."""

    shard: str
    message: int
    delivery: int
    key: float | str = 0


class QueueTotals(msgspec.Struct, frozen=True):
    """Sums over deliveries. bytes: what is to be sent, a message once for each delivery of it.

    exact: all that match were counted; otherwise each number is at least so high.
    """

    deliveries: int
    messages: int
    recipients: int
    bytes: int
    active: int
    deferred: int
    held: int
    exact: bool


def summed(parts: Sequence[tuple[int, ...]], limit: int) -> QueueTotals:
    """Of the sums of several shards: deliveries, messages, recipients, bytes, active and held. limit: of deliveries."""
    deliveries, messages, recipients, size, active, held = map(sum, zip(*parts, strict=True)) if parts else (0,) * 6
    waiting = deliveries - active - held
    return QueueTotals(deliveries, messages, recipients, size, active, waiting, held, exact=deliveries < limit)


def refuse_order(sort: str, limit: int = SORTED) -> NoReturn:
    """Raises ValueError for more deliveries than are sorted."""
    text = f"more than {limit:,} deliveries match, too many to sort them by {sort.lstrip('-').replace('_', ' ')}"
    raise ValueError(f"{text}; narrow the filter, or sort by the time when they were received")


class DestinationCount(msgspec.Struct):
    """Deliveries that wait for one destination.

    destination: "organization/domain". oldest: the id of the message that has waited longest; last_error: what its
    last attempt met.
    """

    destination: str
    count: int
    active: int
    held: int
    oldest: int
    last_error: str

    @property
    def deferred(self) -> int:
        """Those that are tried again later."""
        return self.count - self.active - self.held


class QueueEntry(msgspec.Struct):
    """One delivery of the queue.

    shard: name of the directory it lies in. state: "active" (in memory or in flight), "deferred" or "held".
    """

    delivery: Delivery
    shard: str
    state: str

    def order_key(self, sort: str) -> float | str:
        """The value by which it is sorted; see `SORTS`."""
        delivery = self.delivery
        keys: dict[str, float | str] = {
            "received": delivery.message.id,
            "next_attempt": delivery.next_at,
            "size": delivery.message.size,
            "destination": delivery.destination.partition("/")[2],
            "sender": delivery.message.reverse_path.encode().lower().decode(),  # ASCII letters, as SQL has it
            "attempts": delivery.attempts,
        }
        return keys[sort.removeprefix("-")]

    def place(self, sort: str = "") -> QueuePlace:
        """Its position in the queue."""
        message, number = self.delivery.message.id, self.delivery.id
        return QueuePlace(self.shard, message, number, self.order_key(sort) if sort else 0)


type Conditions = tuple[str, list[Any]]
"""A filter as SQL: what stands behind WHERE, with `?` for each value, and the values."""

_LONGEST_PATTERN: Final = 1000  # characters: SQLite refuses those of more than 50,000 bytes
_STAYS: Final = "d.returned = ''"  # it is not on its way back to its sender


def applicable(action: str, where: Conditions, held: str) -> Conditions:
    """Of the deliveries that meet conditions those to which an action applies. held: the term for those held."""
    terms, values = where
    applies = {
        "hold": f"NOT d.held AND {_STAYS}",
        "release": held,
        "retry": "NOT d.held",
        "return": _STAYS,
        "drop": "TRUE",
    }
    return f"{terms} AND {applies[action]}", values


def state_terms(wanted: QueueFilter, states: Mapping[str, str]) -> list[str]:
    """The terms for the state that is wanted. states: the term for each of them."""
    terms = [states[wanted.state]] if wanted.state else []
    if wanted.held is not None:
        terms.append(states["held"] if wanted.held else f"NOT {states['held']}")
    return terms


def json_pattern(text: str) -> str:
    """A pattern of LIKE, with "!" for ESCAPE, for JSON with a text in it; "" if it would be too long."""
    inside = msgspec.json.encode(text).decode()[1:-1]
    if len(inside) > _LONGEST_PATTERN:
        return ""
    for special in "!%_":
        inside = inside.replace(special, f"!{special}")
    return f"%{inside}%"


CHANGE_PAGE: Final = 200
"""The deliveries that one transaction changes at most: their owners wait for its lock meanwhile."""


class QueueChange(msgspec.Struct):
    """One command on its way through the queue. limit: of deliveries, 0 for none.

    text: for senders. reason: why, for the trace. done: what was changed so far.
    """

    action: str
    limit: int
    author: str
    text: str
    reason: str
    done: list[QueueEntry] = msgspec.field(default_factory=list)

    @property
    def page(self) -> int:
        """The number of deliveries that the next transaction may change."""
        return min(CHANGE_PAGE, self.limit - len(self.done)) if self.limit else CHANGE_PAGE


class Depth(NamedTuple):
    """Deliveries by state: active (in a worker's memory or under way), deferred, held.

    oldest: when the message was accepted that waits longest and is not held, seconds since 1970, 0.0 if none does;
    destination: its own.
    """

    active: int = 0
    deferred: int = 0
    held: int = 0
    oldest: float = 0.0
    destination: str = ""


class QueueAdmin(ABC):
    """The queue, from outside of the processes that own its deliveries. Everything blocks.

    Methods raise ValueError for what is no queue id, and StoreFailure if the queue, the trace or the evidence log
    cannot be read or written. Changes return the deliveries as they were; reason: why, for the trace. They are made
    page by page, and each page is in the trace as soon as it is changed.
    """

    def __init__(self, keep: Callable[[Sequence[TraceEvent]], None]) -> None:
        """keep: keeps what is done in the trace and in the evidence log. Raises StoreFailure."""
        self._keep = keep

    @abstractmethod
    def entries(self, wanted: QueueFilter, after: QueuePlace | None = None) -> list[QueueEntry]:
        """The deliveries that match, oldest first. after: only those behind the one that stands, or stood, there."""

    @abstractmethod
    def destinations(self, wanted: QueueFilter) -> list[DestinationCount]:
        """The deliveries that match, counted by destination, the fullest first; `wanted.limit` is of destinations."""

    @abstractmethod
    def applying(self, action: str, wanted: QueueFilter) -> list[QueueEntry]:
        """The deliveries that "hold", "release", "retry", "return" or "drop" would change."""

    @abstractmethod
    def applying_to(self, action: str, wanted: QueueFilter) -> tuple[int, int]:
        """Count the deliveries and their messages; `wanted.limit` is ignored."""

    @abstractmethod
    def body(self, message: str) -> Iterator[bytes]:
        """The stored body of a queued message, in chunks. Raises LookupError if it is not in the queue."""

    @abstractmethod
    def totals(self, wanted: QueueFilter) -> QueueTotals:
        """Sums over the deliveries that match, of the first `COUNTED`. Raises as `entries`."""

    @abstractmethod
    def depth(self) -> Depth:
        """The size and the age of the whole queue. All of it is counted: a fifth of a second for a million."""

    @abstractmethod
    def oldest(self) -> tuple[float, str]:
        """`oldest` and `destination` of `depth`, of which nothing is counted."""

    @abstractmethod
    def unreadable(self) -> tuple[int, int]:
        """Count the deliveries that this release could not read and put off; with the oldest message's id, or 0.

        Held ones do not count.

        All are looked at: a quarter of a second for a million.
        """

    @abstractmethod
    def octets(self) -> dict[str, int]:
        """The size of all messages by organization, in octets; held ones and those in quarantine count as well.

        All are looked at: 4 seconds for a million.
        """

    @abstractmethod
    def _change(self, action: str, wanted: QueueFilter, author: str, reason: str, text: str = "") -> list[QueueEntry]:
        """Do something to the deliveries that match. Returns them as they were."""

    def hold(self, wanted: QueueFilter, *, author: str, reason: str = "") -> list[QueueEntry]:
        """Keep deliveries from being tried until they are released. Returns those that were not held."""
        return self._change("hold", wanted, author, reason)

    def release(self, wanted: QueueFilter, *, author: str, reason: str = "") -> list[QueueEntry]:
        """Let held deliveries go: they are due now."""
        return self._change("release", wanted, author, reason)

    def retry(self, wanted: QueueFilter, *, author: str, reason: str = "") -> list[QueueEntry]:
        """Try deliveries that are not held now, whatever their destination's back-off says."""
        return self._change("retry", wanted, author, reason)

    def send_back(self, wanted: QueueFilter, *, author: str, text: str, reason: str = "") -> list[QueueEntry]:
        """Have deliveries end with a notice to their senders, which their owner makes. text: for the senders."""
        return self._change("return", wanted, author, reason, text)

    def drop(self, wanted: QueueFilter, *, author: str, reason: str = "") -> list[QueueEntry]:
        """Remove deliveries without telling their senders."""
        return self._change("drop", wanted, author, reason)

    def _page_by_page(self, change: QueueChange, step: Callable[[tuple[int, int], int], list[QueueEntry]]) -> None:
        """Mail waits for the lock a few milliseconds at a time.

        step: changes so many deliveries behind the one of that message and id, and returns them as they were.
        """
        last = (0, 0)
        while page := change.page:
            now = time.time()
            entries = step(last, page)
            self._record(change, entries, now)
            change.done += entries
            if len(entries) < page:
                return
            last = (entries[-1].delivery.message.id, entries[-1].delivery.id)

    def _record(self, change: QueueChange, entries: list[QueueEntry], now: float) -> None:
        event = EVENTS.get(change.action)
        if event is not None and entries:
            said = {"author": change.author, "why": change.reason, "text": change.text}
            detail = {name: value for name, value in said.items() if value}
            self._keep([row for entry in entries for row in trace_rows(event, entry.delivery, detail, now)])


CANNOT_BE_READ: Final = "this release cannot read what is stored of it: a node with a newer one tries it, or drop it"
"""The last error of such a delivery."""
UNREADABLE_SECONDS: Final = 900.0
"""Time until it is tried again, perhaps by a newer release."""


def unreadable_delivery(columns: Sequence[Any], message: int, sender: str, size: int) -> Delivery:
    """A delivery of which only the columns of tables can be read, so that it is listed and can be removed.

    columns: as `store.sqlite.rows.decode_delivery` takes them.
    """
    number, destination, _, attempts, next_at, expires_at, *_ = columns
    of = Message(message, destination.partition("/")[0], made_at(message), sender, size)
    return Delivery(number, of, destination, [Recipient("")], attempts, next_at, expires_at, last_error=CANNOT_BE_READ)


def is_readable(delivery: Delivery) -> bool:
    """Whether a delivery is not one of `unreadable_delivery`."""
    return delivery.recipients != [Recipient("")]


def released_recipients(delivery: Delivery) -> tuple[str, int, int]:
    """Recipients that were held for their destination's sake may go as it is: as JSON, with the delivery's ids."""
    recipients = [
        replace(recipient, held=False, released=recipient.released or recipient.held)
        for recipient in delivery.recipients
    ]
    return _encode(recipients).decode(), delivery.message.id, delivery.id


def trace_rows(event: str, delivery: Delivery, detail: Mapping[str, object], now: float) -> list[TraceEvent]:
    """The trace events of an administrator's change of a delivery, one for each recipient."""
    shown = {**detail, "destination": delivery.destination}
    return [
        message_event(event, delivery.message, delivery.organization, recipient.address, now, detail=shown)
        for recipient in delivery.recipients
    ]
