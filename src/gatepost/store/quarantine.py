"""The quarantine: deliveries of the queue that an organization holds for review, for any engine.

A delivery in quarantine has one recipient, is in no process's memory, and is tried by nobody before it is released.
`Storage.quarantine` makes one; used by `manage`, and by the duties of the site in `node.quarantine`. Everything blocks.
The actions of the queue (`store.queue_admin`) never apply to it. Engines: `store.sqlite.quarantine`,
`store.postgres.quarantine`. Decision 0097.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

import msgspec

from gatepost.mail.model.message import Delivery  # noqa: TC001 - msgspec reads annotations
from gatepost.mail.model.queue_id import last_id, parse_id
from gatepost.store.queue_admin import trace_rows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from gatepost.mail.model.trace_event import TraceEvent


QUARANTINE_PAGE: Final = 200
"""The deliveries that one transaction changes at most, and that are read at a time."""

DAY: Final = 86400.0

_HIGHEST: Final = 2**63 - 1

_encode = msgspec.json.Encoder().encode


class QuarantinePlace(NamedTuple):
    """The position of a delivery in the list, by its ids."""

    message: int
    delivery: int


class QuarantineUsage(NamedTuple):
    """The amount of mail that an organization has in quarantine. size: octets of the messages, each counted once."""

    deliveries: int = 0
    size: int = 0


class QuarantineFilter(msgspec.Struct):
    """A filter; empty fields match all.

    message: queue id. organizations: that have it in quarantine, any of these; None for all. sender, recipient: whole
    addresses, or "@domain"; subject, reason: a part. All in upper or lower case. since, until: when it was received,
    seconds since 1970; 0 for no bound. limit: at most so many, 0 for all.
    """

    message: str = ""
    organizations: frozenset[str] | None = None
    sender: str = ""
    recipient: str = ""
    subject: str = ""
    reason: str = ""
    since: float = 0.0
    until: float = 0.0
    limit: int = 1000

    def matches(self, delivery: Delivery) -> bool:
        """Whether the fields that engines do not look at match."""
        message, recipient = delivery.message, delivery.recipients[0]
        said = "".join(f"{hold.by} {hold.reason}" for hold in recipient.quarantines[:1])
        return (
            _is_of(message.reverse_path, self.sender)
            and _is_of(recipient.address, self.recipient)
            and self.subject.casefold() in message.subject.casefold()
            and self.reason.casefold() in said.casefold()
        )


class QuarantineRange(NamedTuple):
    """A range of the list: deliveries of some organizations, with message ids above one and places below one."""

    organizations: frozenset[str] | None
    after: int
    before: QuarantinePlace


class QuarantineEngine(Protocol):
    """The part that depends on the engine. Every method raises StoreFailure."""

    def page(self, wanted: QuarantineRange, size: int) -> list[Delivery]:
        """The newest deliveries in a range, newest first."""

    def expired(self, now: float, size: int) -> list[Delivery]:
        """Those whose time is over."""

    def release(self, deliveries: Sequence[Delivery], now: float, author: str) -> list[Delivery]:
        """Take deliveries out of the quarantine that they are in, in one transaction; returns those that were in it.

        What this release cannot read stays.
        """

    def remove(self, deliveries: Sequence[Delivery]) -> list[Delivery]:
        """Remove deliveries, in one transaction; returns those that were in quarantine still."""

    def usage(self) -> dict[str, QuarantineUsage]:
        """The amount of mail of each organization."""

    def unlisted(self, organization: str, after: str, size: int) -> list[str]:
        """Recipients with mail that they were not told of, in the order of their addresses, in small ASCII letters.

        after: only those behind this one.
        """

    def note_listed(self, organization: str, recipient: str, now: float, since: float) -> bool:
        """Note that a recipient is told of all its mail; False, and no change, if it was told at `since` or later.

        recipient: as `unlisted` has it.
        """

    def of_recipient(self, organization: str, recipient: str) -> list[Delivery]:
        """The mail of a recipient, as `unlisted` has it, the newest first."""

    def body(self, message: str) -> Iterator[bytes]:
        """The stored body, in chunks. Raises LookupError if there is no such message."""


class Quarantine:
    """engine: where it is. keep: keeps what is done in the trace and in the evidence log; may raise StoreFailure."""

    def __init__(self, engine: QuarantineEngine, keep: Callable[[Sequence[TraceEvent]], None]) -> None:
        self._engine = engine
        self._keep = keep
        self.body = engine.body
        self.usage = engine.usage
        self.unlisted = engine.unlisted
        self.note_listed = engine.note_listed
        self.of_recipient = engine.of_recipient

    def entries(self, wanted: QuarantineFilter, after: QuarantinePlace | None = None) -> list[Delivery]:
        """The deliveries that match, the newest first. after: only those behind the one that stands, or stood, there.

        Raises ValueError for what is no queue id, StoreFailure.
        """
        matches: list[Delivery] = []
        for page in self._pages(wanted, after):
            matches += [delivery for delivery in page if wanted.matches(delivery)]
            if wanted.limit and len(matches) >= wanted.limit:
                return matches[: wanted.limit]
        return matches

    def release(self, wanted: QuarantineFilter, *, author: str, reason: str = "") -> list[Delivery]:
        """Let mail go on, to the next organization that has it in quarantine, or to its recipient: it is due now.

        No policy on TLS is passed over. Returns the deliveries as they were. reason: why, for the trace. Raises as
        `entries`.
        """
        return self._each(wanted, lambda some, now: self._engine.release(some, now, author), "RELEASE", author, reason)

    def delete(self, wanted: QuarantineFilter, *, author: str, reason: str = "") -> list[Delivery]:
        """Remove mail without telling its sender. Returns the deliveries as they were. Raises as `entries`."""
        return self._each(wanted, lambda some, _: self._engine.remove(some), "DROP", author, reason)

    def expire(self, now: float) -> int:
        """Remove what has been in quarantine for too long, and return how much that was. Raises StoreFailure."""
        count = 0
        while expired := self._engine.expired(now, QUARANTINE_PAGE):
            removed = self._engine.remove(expired)
            self._record("DROP", removed, {"expired": True}, now)
            count += len(removed)
            if not removed:  # others are at it
                break
        return count

    def _pages(self, wanted: QuarantineFilter, after: QuarantinePlace | None) -> Iterator[list[Delivery]]:
        lowest = last_id(wanted.since) if wanted.since else 0
        highest = last_id(wanted.until) if wanted.until else _HIGHEST
        place = QuarantinePlace(highest, _HIGHEST)
        if wanted.message:
            number = parse_id(wanted.message)
            lowest, place = max(lowest, number - 1), min(place, QuarantinePlace(number, _HIGHEST))
        if after is not None:
            place = min(place, after)
        while page := self._engine.page(QuarantineRange(wanted.organizations, lowest, place), QUARANTINE_PAGE):
            yield page
            place = QuarantinePlace(page[-1].message.id, page[-1].id)

    def _each(
        self,
        wanted: QuarantineFilter,
        change: Callable[[Sequence[Delivery], float], list[Delivery]],
        event: str,
        author: str,
        reason: str,
    ) -> list[Delivery]:
        """Page by page, so that mail waits for the lock a few milliseconds at a time."""
        done: list[Delivery] = []
        for page in self._pages(wanted, None):
            some = [delivery for delivery in page if wanted.matches(delivery)]
            if wanted.limit:
                some = some[: wanted.limit - len(done)]
            if some:
                now = time.time()
                changed = change(some, now)
                self._record(event, changed, {"author": author, "why": reason}, now)
                done += changed
            if wanted.limit and len(done) >= wanted.limit:
                break
        return done

    def _record(self, event: str, deliveries: Sequence[Delivery], said: dict[str, object], now: float) -> None:
        detail = {name: value for name, value in said.items() if value}
        rows = [row for delivery in deliveries for row in trace_rows(event, delivery, detail | _whose(delivery), now)]
        if rows:
            self._keep(rows)


def _whose(delivery: Delivery) -> dict[str, object]:
    """Whose quarantine it was in. Another organization whose mail it is does not learn who acts there."""
    whose: dict[str, object] = {"quarantine": delivery.quarantine}
    if delivery.quarantine != delivery.organization:
        whose["recipient_organization"] = delivery.quarantine
    return whose


def released(delivery: Delivery, now: float) -> Delivery:
    """A delivery as it is once the organization that has it has released it.

    The time that it has to be delivered begins anew. Its sender gets no notice of a delay: it would tell of the
    quarantine.
    """
    (recipient,) = delivery.recipients
    rest = recipient.quarantines[1:]
    recipients = [msgspec.structs.replace(recipient, quarantines=rest, delayed=True)]
    if rest:
        until = now + rest[0].days * DAY
        return msgspec.structs.replace(
            delivery, recipients=recipients, quarantine=rest[0].organization, next_at=until, held=True
        )
    expires_at = now + delivery.expires_at - delivery.message.received if delivery.expires_at else 0.0
    return msgspec.structs.replace(
        delivery, recipients=recipients, quarantine="", next_at=now, held=False, expires_at=expires_at
    )


def released_row(delivery: Delivery, now: float) -> tuple[Any, ...]:
    """The columns that a release changes: quarantine, held, next_at, expires_at, recipients, listed."""
    after = released(delivery, now)
    return after.quarantine, after.held, after.next_at, after.expires_at, _encode(after.recipients).decode(), 0.0


def _is_of(address: str, wanted: str) -> bool:
    """Whether an address is the wanted one, or in the wanted domain, as "@domain" says it."""
    address, wanted = address.lower(), wanted.lower()
    return address.endswith(wanted) if wanted.startswith("@") else wanted in {"", address}
