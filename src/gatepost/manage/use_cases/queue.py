"""The queue as administrators see it and act on it, on a running gateway as on a stopped one.

A delivery belongs to the organization whose recipients it is for. Who sees only some organizations finds theirs; of a
message that came with recipients of others, too, it learns nothing but what is its own.
"""

from __future__ import annotations

from collections import Counter
from enum import StrEnum
from itertools import chain
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec
from msgspec import Meta

from gatepost.mail.model.message import Recipient
from gatepost.mail.model.queue_id import format_id, made_at, parse_id
from gatepost.manage.access.actions import named
from gatepost.manage.access.principal import Scope
from gatepost.manage.use_cases.declaration import Cli, File, Items, Visibility, use_case
from gatepost.manage.use_cases.evidence_log import evidence_log
from gatepost.manage.use_cases.paging import After, Limit, cut, position
from gatepost.manage.use_cases.refusal import Kind, Refusal
from gatepost.manage.use_cases.visibility import hidden_from
from gatepost.policy.connectors.errors import FieldError
from gatepost.policy.decisions.withheld import inbound_without_others
from gatepost.store.administration import Administration, QueuePlace
from gatepost.store.interface import QueueFilter, StoreFailure

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from gatepost.manage.access.actions import Action
    from gatepost.manage.access.principal import Principal
    from gatepost.manage.use_cases.context import Context
    from gatepost.manage.use_cases.gateway import Gateway
    from gatepost.store.admin_rows import DestinationCount, QueueEntry


RETURN_TEXT = "Delivery was ended by the administrator"
"""What the sender of returned mail is told, if nothing else is said."""
_TOLD = f"What the sender is told.  [default: {RETURN_TEXT}]"
_SHOWN = 1000
_HEADER = 64 * 1024
_TAG = "queue"

type _Id = Annotated[
    str,
    Meta(
        description="Queue id.",
        pattern="^[0-7][0-9A-Fa-f]{15}$",
        extra={"form": "is not a queue id: 16 hexadecimal digits, the first below 8"},
    ),
    Cli(argument=True, metavar="ID"),
]


class QueueAction(StrEnum):
    """What can be done to mail that waits.

    RETRY: try again now. HOLD: keep from being tried until released. RELEASE: let held mail go, even to a destination
    that protects less than before. RETURN: end it with a notice to the sender. DROP: remove without telling the sender.
    """

    RETRY = "retry"
    HOLD = "hold"
    RELEASE = "release"
    RETURN = "return"
    DROP = "drop"


# ------------------------------------------------------------------------------------------------ what is looked at


class _Filter(msgspec.Struct, kw_only=True):
    """Which deliveries; empty fields match all."""

    organization: Annotated[str, Meta(max_length=1000)] = ""
    domain: Annotated[str, Meta(max_length=1000, description="Domain of the recipients.")] = ""
    sender: Annotated[str, Meta(max_length=1000, description="Reverse-path, or @domain.")] = ""
    recipient: Annotated[str, Meta(max_length=1000, description="Forward-path, or @domain.")] = ""
    state: Annotated[Literal["", "active", "deferred", "held"], Meta(description="Only those in this state.")] = ""

    @property
    def matches_all(self) -> bool:
        """Whether nothing is asked for."""
        return not (self.organization or self.domain or self.sender or self.recipient or self.state)

    def narrowed(self, **more: Any) -> QueueFilter:
        """As the store takes it."""
        return QueueFilter(
            organization=self.organization,
            domain=self.domain,
            sender=self.sender,
            recipient=self.recipient,
            state=self.state,
            **more,
        )


class ListQueue(_Filter, kw_only=True):
    """Of the list, a page at a time."""

    held: Annotated[
        bool | None, Meta(description="Only held mail, or only what is not."), Cli(help="Only held mail.")
    ] = None
    limit: Limit = 100
    after: After = ""


class GetQueued(msgspec.Struct, kw_only=True):
    """One message."""

    message: _Id


class ListWaitingDestinations(_Filter, kw_only=True):
    """Of which mail."""


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


class QueueRecipient(Recipient, omit_defaults=False):  # noqa: D101 - as there
    __doc__ = Recipient.__doc__


class QueueDelivery(msgspec.Struct):
    """One message's recipients for one destination. Times: seconds since 1970; next_at 0 while it is being tried.

    state: active, deferred or held. held: by an administrator; if it is not, its destination protects less than it did.
    returned_by: who had it returned to its sender, "" if nobody did.
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

    @property
    def organization(self) -> str:
        """Whose recipients they are."""
        return self.destination.partition("/")[0]

    @property
    def domain(self) -> str:
        """Where it goes."""
        return self.destination.partition("/")[2]


class QueueDeliveries(msgspec.Struct):
    """Deliveries of one message. readable: whether its content may be read by who asks."""

    items: list[QueueDelivery]
    readable: bool


class QueueHeader(msgspec.Struct):
    """The header section of a message, as far as 64 KiB go; lines end with LF."""

    text: str


class WaitingDestination(msgspec.Struct):
    """What waits for a destination. oldest: when its oldest message came, seconds since 1970."""

    organization: str
    destination: str
    count: int
    active: int
    deferred: int
    held: int
    oldest: float
    oldest_message: str
    last_error: str


@use_case(
    "GET /queue",
    scope=Scope.READ,
    visibility=Visibility.SEEN,
    tag=_TAG,
    commands=("queue list",),
    pages=("/queue",),
)
def list_queue(context: Context, request: ListQueue) -> Items[QueueDelivery]:
    """Deliveries that wait, the oldest first."""
    after = QueuePlace(*msgspec.structs.astuple(position(request.after, _Place))) if request.after else None
    wanted = request.narrowed(held=request.held, limit=request.limit + 1)
    found, rest = cut(entries(context.gateway, context.principal, wanted, after), request.limit, _place)
    return Items([_delivery(one, context.principal) for one in found], rest)


@use_case(
    "GET /queue/{message}",
    scope=Scope.READ,
    visibility=Visibility.SEEN,
    tag=_TAG,
    commands=("queue show",),
    pages=("/queue/{message}",),
)
def get_queued(context: Context, request: GetQueued) -> QueueDeliveries:
    """The deliveries of one message."""
    found, principal = _of_message(context, request.message), context.principal
    readable = bool({Scope.QUEUE, Scope.OWNER} & principal.scopes) and _is_whole(found, principal)
    return QueueDeliveries([_delivery(one, principal) for one in found], readable)


@use_case(
    "GET /queue/{message}/content",
    scope=Scope.QUEUE,
    visibility=Visibility.SEEN,
    tag=_TAG,
    action="queue-content",
    media_type="message/rfc822",
    commands=("queue show",),
    pages=("/queue/{message}/content",),
)
def read_queued(context: Context, request: GetQueued) -> File:
    """The stored message, as it came.

    Who read it is on record. A token of an organization to which it came beside others finds none.
    """
    found, chunks = _content(context, request.message)
    _record_each(context, "queue-content", found, request.message)
    return File(f"{format_id(found[0].delivery.message.id)}.eml", chunks)


@use_case(
    scope=Scope.QUEUE,
    visibility=Visibility.SEEN,
    tag=_TAG,
    action="queue-header",
    pages=("/queue/{message}",),
)
def read_queued_header(context: Context, request: GetQueued) -> QueueHeader:
    """The header section of a message that waits. Who read it is on record."""
    found, chunks = _content(context, request.message)
    content = b""
    for chunk in chunks:
        content += chunk
        if b"\r\n\r\n" in content or len(content) > _HEADER:
            break
    _record_each(context, "queue-header", found, request.message)
    header = content.partition(b"\r\n\r\n")[0][:_HEADER]
    return QueueHeader(header.decode("utf-8", "replace").replace("\r\n", "\n"))


@use_case(
    scope=Scope.READ,
    visibility=Visibility.SEEN,
    tag=_TAG,
    pages=("/", "/queue/destinations"),
)
def list_waiting_destinations(context: Context, request: ListWaitingDestinations) -> Items[WaitingDestination]:
    """What waits, counted by destination, the fullest first."""
    try:
        found = _administration(context.gateway).destinations(_seen(context.principal, request.narrowed(limit=0)))
    except StoreFailure as failure:
        raise Refusal(Kind.UNREADABLE, str(failure)) from failure
    return Items([_waiting_destination(one) for one in found])


def _waiting_destination(one: DestinationCount) -> WaitingDestination:
    organization, _, domain = one.destination.partition("/")
    oldest, message = made_at(one.oldest), format_id(one.oldest)
    counts = one.count, one.active, one.deferred, one.held
    return WaitingDestination(organization, domain, *counts, oldest, message, one.last_error)


def entries(gateway: Gateway, who: Principal, wanted: QueueFilter, after: QueuePlace | None = None) -> list[QueueEntry]:
    """Deliveries that wait, oldest first, behind a place. Raises Refusal: INPUT for what is no queue id, UNREADABLE."""
    try:
        return _shown(gateway, who, _administration(gateway).entries(_seen(who, wanted), after))
    except ValueError as error:
        raise Refusal(Kind.INPUT, str(error)) from error
    except StoreFailure as failure:
        raise Refusal(Kind.UNREADABLE, str(failure)) from failure


def _of_message(context: Context, message: str) -> list[QueueEntry]:
    """Every delivery of the one message. Raises Refusal: MISSING if it is not in the queue; as `entries`."""
    context.audit.describe(subject=message)
    found = entries(context.gateway, context.principal, QueueFilter(message=message, limit=0))
    if not found:
        text = f"{message} is not in the queue; `gatepost trace show {message}` says what became of it"
        raise Refusal(Kind.MISSING, text)
    return found


def _content(context: Context, message: str) -> tuple[list[QueueEntry], Iterator[bytes]]:
    """The message's deliveries and its content, in chunks.

    What came to several organizations is for who sees the one that it is attributed to: it names the others' people.
    Raises Refusal before the first chunk, as `_of_message`, and MISSING if it is gone or not theirs to read; later
    UNREADABLE.
    """
    found = _of_message(context, message)
    if not _is_whole(found, context.principal):
        text = "The message came to another organization, too, so that its content is not yours to read."
        raise Refusal(Kind.MISSING, text)
    chunks = _chunks(context.gateway, message)
    return found, chain([next(chunks, b"")], chunks)


def _is_whole(found: Sequence[QueueEntry], who: Principal) -> bool:
    """Whether the organization that the message is attributed to is seen."""
    return who.sees(found[0].delivery.message.organization)


def _chunks(gateway: Gateway, message: str) -> Iterator[bytes]:
    try:
        yield from _administration(gateway).body(message)
    except ValueError as error:
        raise Refusal(Kind.INPUT, str(error)) from error
    except LookupError as gone:
        raise Refusal(Kind.MISSING, str(gone)) from gone
    except StoreFailure as failure:
        raise Refusal(Kind.UNREADABLE, str(failure)) from failure


# ------------------------------------------------------------------------------------------------ what is done


class QueueActions(_Filter, kw_only=True, forbid_unknown_fields=True):
    """What to do, and to which mail: messages (queue ids), or what matches every filter given, or all of it.

    retry: try again now. hold: keep from being tried. release: let held mail go. return: end delivery with a notice to
    the sender. drop: remove, telling nobody, for a reason.
    """

    action: QueueAction
    messages: Annotated[list[str], Meta(max_length=1000), Cli(argument=True, metavar="[ID]...")] = msgspec.field(
        default_factory=list
    )
    all: Annotated[bool, Cli(help="All mail in the queue.")] = False
    reason: Annotated[str, Meta(max_length=300, description="Why, for the trace and the evidence log.")] = ""
    text: Annotated[
        str, Meta(max_length=300, description="What senders of returned mail are told."), Cli(help=_TOLD)
    ] = ""


class QueueChanged(msgspec.Struct):
    """The deliveries it was done to, or with dry_run would be, as they were.

    changed: how many, of how many messages. items: the first 1000 of them.
    """

    action: QueueAction
    dry_run: bool
    changed: int
    messages: int
    items: list[QueueDelivery]


@use_case(
    "POST /queue/actions",
    scope=Scope.QUEUE,
    visibility=Visibility.SEEN,
    tag=_TAG,
    dry_run=True,
    action="queue",
    commands=("queue retry", "queue hold", "queue release", "queue return", "queue drop"),
    pages=("/queue/confirm", "/queue/actions"),
)
def act_on_queue(context: Context, request: QueueActions) -> QueueChanged:
    """Retry, hold, release, return or drop mail.

    A running gateway takes it up within a second. Nothing matching is no error: changed is 0.
    """
    action = named("queue", request.action)
    given = {"reason": request.reason, "text": request.text}
    subject = _several(request.messages)
    context.audit.describe(action, organization=request.organization, subject=subject, **given)
    _check(request, dry_run=context.dry_run)
    if context.dry_run:
        return _planned(context, request)
    found = apply_action(
        context.gateway,
        context.principal,
        request.action,
        request.narrowed(),
        messages=request.messages,
        reason=request.reason,
        text=request.text,
    )
    ids = list(dict.fromkeys(format_id(one.delivery.message.id) for one in found))
    _record_each(context, action, found, _several(ids), **given)
    return QueueChanged(request.action, False, len(found), len(ids), _first(found, context.principal))


def apply_action(  # noqa: PLR0913 - what is done to which mail, by whom and why
    gateway: Gateway,
    who: Principal,
    action: QueueAction,
    wanted: QueueFilter,
    *,
    messages: Sequence[str] = (),
    reason: str = "",
    text: str = "",
) -> list[QueueEntry]:
    """Do it to every delivery that matches, and is of one of the messages where some are named; those, as they were.

    Raises Refusal (UNREADABLE), and then a part may have been done.
    """
    administration = _administration(gateway)
    found: list[QueueEntry] = []
    try:
        for one in _filters(who, wanted, messages):
            if action is QueueAction.RETURN:
                found += administration.send_back(one, author=who.name, text=text or RETURN_TEXT, reason=reason)
            else:
                found += getattr(administration, action)(one, author=who.name, reason=reason)
    except StoreFailure as failure:
        raise Refusal(Kind.UNREADABLE, str(failure)) from failure
    return _shown(gateway, who, found)


def _planned(context: Context, request: QueueActions) -> QueueChanged:
    """What would be done. Raises as `apply_action`."""
    administration = _administration(context.gateway)
    deliveries, messages = 0, 0
    first: list[QueueEntry] = []
    try:
        for one in _filters(context.principal, request.narrowed(), request.messages):
            some, of = administration.applying_to(request.action, one)
            deliveries, messages = deliveries + some, messages + of
            if (left := _SHOWN - len(first)) > 0:
                first += administration.applying(request.action, msgspec.structs.replace(one, limit=left))
    except StoreFailure as failure:
        raise Refusal(Kind.UNREADABLE, str(failure)) from failure
    shown = _first(_shown(context.gateway, context.principal, first), context.principal)
    return QueueChanged(request.action, True, deliveries, messages, shown)


def _check(request: QueueActions, *, dry_run: bool) -> None:
    """Everything that is wrong, before anything is changed. Raises Refusal (INPUT)."""
    errors = []
    if not (request.messages or request.all) and request.matches_all:
        why = f"say which mail to {request.action}: messages, domain, sender, recipient, organization, state, or all"
        errors.append(FieldError("messages", why))
    for place, message in enumerate(request.messages):
        try:
            parse_id(message)
        except ValueError as error:
            errors.append(FieldError(f"messages[{place}]", str(error)))
    # A line of a row, and of a notice, which has no letters beyond ASCII (RFC 3464 section 2.3.6).
    for name, text in (("reason", request.reason), ("text", request.text)):
        if not text.isprintable() or (name == "text" and not text.isascii()):
            errors.append(FieldError(name, f"is one line of printable {'ASCII ' * (name == 'text')}characters"))
    if request.action is QueueAction.DROP and not request.reason.strip() and not dry_run:
        errors.append(FieldError("reason", "say why, for the record: nobody else is told, and it cannot be undone"))
    if errors:
        raise Refusal(Kind.INPUT, "Nothing was done.", errors)


def _filters(who: Principal, wanted: QueueFilter, messages: Sequence[str]) -> list[QueueFilter]:
    seen = _seen(who, wanted)
    return [msgspec.structs.replace(seen, message=one, limit=0) for one in dict.fromkeys(messages or ("",))]


# ------------------------------------------------------------------------------------------------ shared


class _Place(msgspec.Struct, array_like=True):
    """Where a delivery stands: its shard and ids."""

    shard: str
    message: Annotated[int, Meta(ge=0, le=2**63 - 1)]
    delivery: Annotated[int, Meta(ge=0, le=2**63 - 1)]


def _place(entry: QueueEntry) -> QueuePlace:
    return QueuePlace(entry.shard, entry.delivery.message.id, entry.delivery.id)


def _record_each(context: Context, action: Action, found: Iterable[QueueEntry], subject: str, **given: str) -> None:
    """One audit event for each organization whose mail it was."""
    for organization, count in Counter(one.delivery.organization for one in found).items():
        context.audit.add(action, organization=organization, subject=subject, **given, deliveries=count)


def _several(ids: Sequence[str]) -> str:
    """The first three."""
    return ", ".join(ids[:3]) + (f" and {len(ids) - 3} more" if len(ids) > 3 else "")


def _first(found: Sequence[QueueEntry], who: Principal) -> list[QueueDelivery]:
    return [_delivery(one, who) for one in found[:_SHOWN]]


def _delivery(entry: QueueEntry, who: Principal) -> QueueDelivery:
    """As it is shown; without what is another organization's."""
    delivery, message = entry.delivery, entry.delivery.message
    if not who.sees(message.organization):
        message = msgspec.structs.replace(message, organization=delivery.organization, inbound={})
    return QueueDelivery(
        QueueMessage(**msgspec.structs.asdict(message) | {"id": format_id(message.id)}),
        entry.state,
        delivery.held,
        delivery.destination,
        [QueueRecipient(**msgspec.structs.asdict(one)) for one in delivery.recipients],
        delivery.attempts,
        delivery.next_at,
        delivery.expires_at,
        delivery.last_error,
        delivery.returned.author if delivery.returned else "",
    )


def _shown(gateway: Gateway, who: Principal, found: list[QueueEntry]) -> list[QueueEntry]:
    """Without what another organization's connectors said of the session: see `policy.decisions.withheld`."""
    if who.is_of_gateway or not found:
        return found
    hidden = hidden_from(gateway, who)

    def cut(entry: QueueEntry) -> QueueEntry:
        message = entry.delivery.message
        inbound = inbound_without_others(message.inbound, message.organization, hidden)
        delivery = msgspec.structs.replace(entry.delivery, message=msgspec.structs.replace(message, inbound=inbound))
        return msgspec.structs.replace(entry, delivery=delivery)

    return [cut(entry) for entry in found]


def _seen(who: Principal, wanted: QueueFilter) -> QueueFilter:
    """The filter, for the deliveries of the organizations that are seen alone.

    Theirs are asked for by the delivery's organization: that of the message may be one that is not seen.
    """
    if who.organizations is None:
        return wanted
    among = who.organizations
    if wanted.organization:
        among = frozenset(name for name in among if name.lower() == wanted.organization.lower())
    return msgspec.structs.replace(wanted, organization="", organizations=among)


def _administration(gateway: Gateway) -> Administration:
    return Administration(gateway.data / "queue", gateway.data / "trace", evidence_log(gateway.settings))


USE_CASES = (list_queue, act_on_queue, get_queued, read_queued, read_queued_header, list_waiting_destinations)
