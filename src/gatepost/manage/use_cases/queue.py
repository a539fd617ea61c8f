"""Look at mail that waits, on a running gateway as on a stopped one.

A delivery belongs to the organization whose recipients it is for. A principal limited to some organizations finds
theirs; what belongs to others in these is left out. `queue_actions` chooses and shows deliveries with it.
"""

from __future__ import annotations

from collections import Counter
from itertools import chain
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec
from msgspec import Meta

from gatepost.mail.model.queue_id import format_id, made_at
from gatepost.manage.access.principal import Principal, Scope
from gatepost.manage.use_cases import stored_message
from gatepost.manage.use_cases.declaration import Cli, FileResult, Items, Visibility, use_cases
from gatepost.manage.use_cases.next_steps import delivery_step
from gatepost.manage.use_cases.paging import After, Limit, cut, position
from gatepost.manage.use_cases.refusal import Refusal, RefusalKind, refusing, wrong_field
from gatepost.policy.decisions.withheld import inbound_without_others
from gatepost.store.interface import QueueFilter
from gatepost.store.queue_admin import DestinationCount, QueueAdmin, QueueEntry, QueuePlace, QueueTotals
from gatepost.store.text_pattern import WILDCARD
from gatepost.values import copy_fields

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from gatepost.mail.model.message import Recipient
    from gatepost.manage.access.actions import Action
    from gatepost.manage.use_cases.context import Context, Gateway


class QueueSelection(msgspec.Struct, kw_only=True):
    """Filters of deliveries; empty fields match all."""

    organization: Annotated[str, Meta(max_length=1000), Cli(help="Only mail of this organization.")] = ""
    domain: Annotated[str, Meta(max_length=1000, description="Only mail for recipients in this domain.")] = ""
    sender: Annotated[
        str, Meta(max_length=1000, description="Only mail from this sender: an address (reverse-path), or @domain.")
    ] = ""
    recipient: Annotated[
        str, Meta(max_length=1000, description="Only mail to this recipient: an address (forward-path), or @domain.")
    ] = ""
    state: Annotated[
        Literal["", "active", "deferred", "held"],
        Meta(description="Only mail in this state; deferred: it waits for its next attempt."),
    ] = ""

    words: stored_message.Words = ""

    @property
    def matches_all(self) -> bool:
        """Whether nothing is asked for."""
        return not (self.organization or self.domain or self.sender or self.recipient or self.state or self.words)

    def narrowed(self, **more: Any) -> QueueFilter:
        """As the store takes it."""
        parts = tuple(filter(None, WILDCARD.join(stored_message.words_of(self.words)).split(WILDCARD)))
        return copy_fields(QueueFilter, self, parts=parts, **more)


class QueueMessage(msgspec.Struct):
    """The envelope of a message, and what is known of its session. received: seconds since 1970; size: bytes."""

    id: str
    organization: str
    received: float
    reverse_path: str
    size: int
    body_type: str
    smtputf8: bool
    require_tls: bool
    ret: str
    envid: str
    message_id: str
    subject: str
    session: str
    direction: str
    hops: int
    inbound: dict[str, Any]
    tls_required_no: bool


class QueueRecipient(msgspec.Struct):
    """One forward-path of a message, with its RFC 3461 parameters as received.

    delayed: the sender was told of the delay. held: its destination protects less than it was seen to do. released: an
    administrator let it go all the same. forwarded_by: the mailbox that sends the message on to it, and return_path:
    the reverse-path it then goes with. in_doubt: it may arrive twice, since the gateway stopped before the reply.
    journal: the form of a journal copy, "" for other mail.
    """

    address: str
    notify: str
    orcpt: str
    delayed: bool
    held: bool
    released: bool
    forwarded_by: str
    return_path: str
    in_doubt: bool
    journal: str


class QueueDelivery(msgspec.Struct):
    """One message's recipients for one destination. Times: seconds since 1970; next_at 0 while it is being tried.

    state: active, deferred or held. held: by an administrator; if it is not, its destination protects less than it did.
    returned_by: who had it returned to its sender, "" if nobody did. must_act: "gateway", "remote", "sender" or
    "nobody". next_step: a sentence that says who must do what.
    """

    message: QueueMessage
    state: str
    held: bool
    destination: str
    recipients: list[QueueRecipient]
    attempts: int
    next_at: float
    expires_at: float
    last_error: str
    returned_by: str
    must_act: str = "nobody"
    next_step: str = ""

    @property
    def organization(self) -> str:
        """The organization of the recipients."""
        return self.destination.partition("/")[0]

    @property
    def domain(self) -> str:
        """Where it goes."""
        return self.destination.partition("/")[2]


def record_each(context: Context, action: Action, entries: Sequence[QueueEntry], subject: str, **given: str) -> None:
    """One audit event for each organization whose mail it was; without any the call's, of no delivery."""
    if not entries:
        context.audit.describe(deliveries=0)
    for organization, count in Counter(entry.delivery.organization for entry in entries).items():
        context.audit.add(action, organization=organization, subject=subject, **given, deliveries=count)


def delivery_shown(entry: QueueEntry, principal: Principal) -> QueueDelivery:
    """As it is shown; without what is another organization's."""
    delivery, message = entry.delivery, entry.delivery.message
    if not principal.sees(message.organization):
        message = msgspec.structs.replace(message, organization=delivery.organization, inbound={})
    step = delivery_step(entry)
    return copy_fields(
        QueueDelivery,
        delivery,
        message=copy_fields(QueueMessage, message, id=format_id(message.id)),
        state=entry.state,
        recipients=[_recipient_shown(recipient) for recipient in delivery.recipients],
        returned_by=delivery.returned.author if delivery.returned else "",
        must_act=step.must_act,
        next_step=step.text,
    )


def _recipient_shown(recipient: Recipient) -> QueueRecipient:
    journal = recipient.journal.form if recipient.journal is not None else ""
    return copy_fields(QueueRecipient, recipient, journal=journal)


def without_others(gateway: Gateway, principal: Principal, entries: list[QueueEntry]) -> list[QueueEntry]:
    """Without what another organization's connectors said of the session: see `policy.decisions.withheld`."""
    if principal.is_of_gateway or not entries:
        return entries
    hidden = stored_message.hidden_from(gateway, principal)

    def cut(entry: QueueEntry) -> QueueEntry:
        message = entry.delivery.message
        inbound = inbound_without_others(message.inbound, message.organization, hidden)
        delivery = msgspec.structs.replace(entry.delivery, message=msgspec.structs.replace(message, inbound=inbound))
        return msgspec.structs.replace(entry, delivery=delivery)

    return [cut(entry) for entry in entries]


def seen_by(principal: Principal, queue_filter: QueueFilter) -> QueueFilter:
    """The filter, for the deliveries of the organizations that are seen alone.

    Theirs are asked for by the delivery's organization: that of the message may be one that is not seen.
    """
    if principal.organizations is None:
        return queue_filter
    among = principal.organizations
    if queue_filter.organization:
        among = frozenset(name for name in among if name.lower() == queue_filter.organization.lower())
    return msgspec.structs.replace(queue_filter, organization="", organizations=among)


def administration_of(gateway: Gateway) -> QueueAdmin:
    """The queue, for looking and acting. Raises StoreFailure."""
    return gateway.storage.queue_admin(stored_message.evidence_log(gateway.settings))


use_case = use_cases(visibility=Visibility.SEEN, tag="queue")


type QueueSort = Literal[
    "", "received", "-received", "next_attempt", "-next_attempt", "size", "-size", "destination", "-destination",
    "sender", "-sender", "attempts", "-attempts",
]  # fmt: skip


class ListQueue(QueueSelection, kw_only=True):
    """Of the list, a page at a time."""

    held: Annotated[
        bool | None, Meta(description="Only held mail, or only what is not."), Cli(help="Only held mail.")
    ] = None
    sort: Annotated[
        QueueSort,
        Meta(
            description="Order: received, next_attempt, size, destination, sender or attempts; - before it reverses it."
        ),
    ] = ""
    limit: Limit = 100
    after: After = ""


class SumQueue(QueueSelection, kw_only=True):
    """Of which mail."""

    held: bool | None = None


class GetQueued(msgspec.Struct, kw_only=True):
    """One message."""

    message: stored_message.QueueId


class ListWaitingDestinations(QueueSelection, kw_only=True):
    """Of which mail."""


class QueueDeliveries(msgspec.Struct):
    """Deliveries of one message. readable: whether its content may be read by who asks."""

    items: list[QueueDelivery]
    readable: bool


class QueueHeader(msgspec.Struct):
    """The header section of a message, as far as 64 KiB go; lines end with LF."""

    text: str


class WaitingDestination(msgspec.Struct):
    """Deliveries waiting for a destination. oldest: when its oldest message came, seconds since 1970."""

    organization: str
    destination: str
    count: int
    active: int
    deferred: int
    held: int
    oldest: float
    oldest_message: str
    last_error: str


@use_case("GET /queue", scope=Scope.READ)
def list_queue(context: Context, request: ListQueue) -> Items[QueueDelivery]:
    """Deliveries that wait, the oldest first, or sorted: up to 50,000 of them, by the time of receipt any number."""
    sort = request.sort or "received"  # without an order the store gives one worker's mail after the other's
    after = _position(request.after, sort) if request.after else None
    wanted = request.narrowed(held=request.held, limit=request.limit + 1, sort=sort)
    queue_entries, rest = cut(
        entries(context.gateway, context.principal, wanted, after), request.limit, lambda entry: entry.place(sort)
    )
    return Items([delivery_shown(queue_entry, context.principal) for queue_entry in queue_entries], rest)


@use_case("GET /queue/totals", scope=Scope.READ)
def sum_queue(context: Context, request: SumQueue) -> QueueTotals:
    """Sums over deliveries that wait; of more than 10,000 they are lower bounds (exact: false)."""
    return administration_of(context.gateway).totals(seen_by(context.principal, request.narrowed(held=request.held)))


@use_case("GET /queue/{message}", scope=Scope.READ)
def get_queued(context: Context, request: GetQueued) -> QueueDeliveries:
    """The deliveries of one message."""
    queue_entries, principal = _of_message(context, request.message), context.principal
    readable = bool({Scope.QUEUE, Scope.OWNER} & principal.scopes) and _is_whole(queue_entries, principal)
    return QueueDeliveries([delivery_shown(queue_entry, principal) for queue_entry in queue_entries], readable)


@use_case("GET /queue/{message}/content", scope=Scope.QUEUE, action="queue-content", media_type="message/rfc822")
def read_queued(context: Context, request: GetQueued) -> FileResult:
    """The stored message, as it came.

    Who read it is on record. A token of an organization to which it came beside others finds none.
    """
    queue_entries, chunks = _content(context, request.message)
    record_each(context, "queue-content", queue_entries, request.message)
    return FileResult(f"{format_id(queue_entries[0].delivery.message.id)}.eml", chunks)


@use_case(scope=Scope.QUEUE, action="queue-header")
def read_queued_header(context: Context, request: GetQueued) -> QueueHeader:
    """The header section of a message that waits. Who read it is on record."""
    queue_entries, chunks = _content(context, request.message)
    header = QueueHeader(stored_message.header_text(chunks))
    record_each(context, "queue-header", queue_entries, request.message)
    return header


@use_case(scope=Scope.READ)
def list_waiting_destinations(context: Context, request: ListWaitingDestinations) -> Items[WaitingDestination]:
    """Count waiting deliveries by destination, the largest queue first."""
    return Items(waiting_destinations(context.gateway, context.principal, request))


def waiting_destinations(gateway: Gateway, principal: Principal, selection: QueueSelection) -> list[WaitingDestination]:
    """Destinations for which mail waits that is seen, the largest queue first. Raises StoreFailure."""
    destinations = administration_of(gateway).destinations(seen_by(principal, selection.narrowed(limit=0)))
    return [_waiting_destination(count) for count in destinations]


def _waiting_destination(count: DestinationCount) -> WaitingDestination:
    organization, _, domain = count.destination.partition("/")
    oldest, message = made_at(count.oldest), format_id(count.oldest)
    counts = count.count, count.active, count.deferred, count.held
    return WaitingDestination(organization, domain, *counts, oldest, message, count.last_error)


def entries(
    gateway: Gateway, principal: Principal, queue_filter: QueueFilter, after: QueuePlace | None = None
) -> list[QueueEntry]:
    """Deliveries that wait, oldest first, behind a place. Raises Refusal (INPUT) for what is no queue id."""
    with refusing(RefusalKind.INPUT, ValueError):
        return without_others(
            gateway, principal, administration_of(gateway).entries(seen_by(principal, queue_filter), after)
        )


def _of_message(context: Context, message: str) -> list[QueueEntry]:
    """Every delivery of the one message. Raises Refusal: MISSING if it is not in the queue; as `entries`."""
    context.audit.describe(subject=message)
    queue_entries = entries(context.gateway, context.principal, QueueFilter(message=message, limit=0))
    if not queue_entries:
        text = f"{message} is not in the queue; `gatepost trace show {message}` says what became of it"
        raise Refusal(RefusalKind.MISSING, text)
    return queue_entries


def _content(context: Context, message: str) -> tuple[list[QueueEntry], Iterator[bytes]]:
    """The message's deliveries and its content, in chunks.

    What came to several organizations is for who sees the one that it is attributed to: it names the others' people.
    Raises Refusal before the first chunk, as `_of_message`, and MISSING if it is gone or not theirs to read; later
    UNREADABLE.
    """
    queue_entries = _of_message(context, message)
    if not _is_whole(queue_entries, context.principal):
        text = "The message came to another organization, too, so that its content is not yours to read."
        raise Refusal(RefusalKind.MISSING, text)
    chunks = _chunks(context.gateway, message)
    return queue_entries, chain([next(chunks, b"")], chunks)


def _is_whole(found: Sequence[QueueEntry], principal: Principal) -> bool:
    """Whether the organization that the message is attributed to is seen."""
    return principal.sees(found[0].delivery.message.organization)


def _chunks(gateway: Gateway, message: str) -> Iterator[bytes]:
    with stored_message.reading_content():
        yield from administration_of(gateway).body(message)


class _Place(msgspec.Struct, array_like=True):
    """Where a delivery stands: its shard and ids, and what it is sorted by."""

    shard: str
    message: Annotated[int, Meta(ge=0, le=2**63 - 1)]
    delivery: Annotated[int, Meta(ge=0, le=2**63 - 1)]
    key: Annotated[int, Meta(ge=0, le=2**63 - 1)] | float | Annotated[str, Meta(max_length=1000)] = 0


def _position(after: str, sort: str) -> QueuePlace:
    """The place in a cursor of a list with this order. Raises Refusal (INPUT)."""
    place = position(after, _Place)
    name, key = sort.removeprefix("-"), place.key
    is_text = name in {"destination", "sender"}
    if isinstance(key, str) != is_text or (isinstance(key, float) and name != "next_attempt"):
        raise wrong_field(
            "after",
            "is not a cursor of a list in this order: take it from `next` of the page before",
            "The page cannot be found.",
        )
    return QueuePlace(place.shard, place.message, place.delivery, key)
