"""The queue as administrators see it and act on it, on a running gateway as on a stopped one.

A delivery belongs to the organization whose recipients it is for. Who sees only some organizations finds theirs; of a
message that came with recipients of others, too, it learns nothing but what is its own.
"""

from __future__ import annotations

from enum import StrEnum
from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from gatepost.mail.model.queue_id import format_id, parse_id
from gatepost.manage.use_cases.evidence_log import evidence_log
from gatepost.manage.use_cases.refusal import Kind, Refusal
from gatepost.manage.use_cases.visibility import hidden_from
from gatepost.policy.connectors.errors import FieldError
from gatepost.policy.decisions.withheld import inbound_without_others
from gatepost.store.administration import Administration, QueuePlace
from gatepost.store.interface import QueueFilter, StoreFailure

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from gatepost.manage.access.principal import Principal
    from gatepost.manage.use_cases.gateway import Gateway
    from gatepost.store.admin_rows import DestinationCount, QueueEntry


RETURN_TEXT = "Delivery was ended by the administrator"
"""What the sender of returned mail is told, if nothing else is said."""
_LONGEST = 300


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


def entries(gateway: Gateway, who: Principal, wanted: QueueFilter, after: QueuePlace | None = None) -> list[QueueEntry]:
    """Deliveries that wait, oldest first, behind a place. Raises Refusal: INPUT for what is no queue id, UNREADABLE."""
    try:
        return _shown(gateway, who, _administration(gateway).entries(_seen(who, wanted), after))
    except ValueError as error:
        raise Refusal(Kind.INPUT, str(error)) from error
    except StoreFailure as failure:
        raise Refusal(Kind.UNREADABLE, str(failure)) from failure


def subject_of(found: Sequence[QueueEntry]) -> str:
    """Which messages an action is about, for the audit: the first three ids."""
    ids = list(dict.fromkeys(format_id(one.delivery.message.id) for one in found))
    return ", ".join(ids[:3]) + (f" and {len(ids) - 3} more" if len(ids) > 3 else "")


def destinations(gateway: Gateway, who: Principal, wanted: QueueFilter) -> list[DestinationCount]:
    """What waits, counted by destination, the fullest first. wanted.limit: of destinations. Raises as `entries`."""
    try:
        return _administration(gateway).destinations(_seen(who, wanted))
    except StoreFailure as failure:
        raise Refusal(Kind.UNREADABLE, str(failure)) from failure


def place_of(entry: QueueEntry) -> QueuePlace:
    """Where it stands: what is behind it comes next."""
    return QueuePlace(entry.shard, entry.delivery.message.id, entry.delivery.id)


def message_entries(gateway: Gateway, who: Principal, wanted: QueueFilter) -> list[QueueEntry]:
    """Every delivery of the one message. Raises Refusal: MISSING if it is not in the queue; as `entries`."""
    found = entries(gateway, who, msgspec.structs.replace(wanted, limit=0))
    if not found:
        text = f"{wanted.message} is not in the queue; `gatepost trace show {wanted.message}` says what became of it"
        raise Refusal(Kind.MISSING, text)
    return found


def message_body(gateway: Gateway, who: Principal, message: str) -> Iterator[bytes]:
    """The stored message, in chunks; every door lets only those ask who may act on mail, and keeps it in its audit.

    What came to several organizations is for who sees the one that it is attributed to: it names the others' people.
    Raises Refusal before the first chunk, as `message_entries`, and MISSING if it is gone or not theirs to read; later
    UNREADABLE.
    """
    found = message_entries(gateway, who, QueueFilter(message=message))
    if not who.sees(found[0].delivery.message.organization):
        text = "The message came to another organization, too, so that its content is not yours to read."
        raise Refusal(Kind.MISSING, text)
    chunks = _body(gateway, message)
    return chain([next(chunks, b"")], chunks)


def _body(gateway: Gateway, message: str) -> Iterator[bytes]:
    try:
        yield from _administration(gateway).body(message)
    except ValueError as error:
        raise Refusal(Kind.INPUT, str(error)) from error
    except LookupError as gone:
        raise Refusal(Kind.MISSING, str(gone)) from gone
    except StoreFailure as failure:
        raise Refusal(Kind.UNREADABLE, str(failure)) from failure


def act(  # noqa: PLR0913 - what is done to which mail, by whom and why
    gateway: Gateway,
    who: Principal,
    action: QueueAction,
    wanted: QueueFilter,
    *,
    messages: Sequence[str] = (),
    dry_run: bool = False,
    reason: str = "",
    text: str = "",
) -> list[QueueEntry]:
    """Do it to every delivery that matches, and is of one of the messages where some are named; those it was done to.

    They are returned as they were. dry_run: those it would be done to. reason: why, for the trace and the evidence.
    text: what senders are told of mail that is returned, RETURN_TEXT if it is "". Raises Refusal: INPUT for what is no
    queue id and for a text that cannot be sent, and then nothing was done; UNREADABLE, and then a part may have been.
    """
    _check_ids(messages)
    _check_texts(reason=reason, text=text)
    administration = _administration(gateway)
    found: list[QueueEntry] = []
    try:
        for one in _filters(who, wanted, messages):
            if dry_run:
                found += administration.applying(action, one)
            elif action is QueueAction.RETURN:
                found += administration.send_back(one, author=who.name, text=text or RETURN_TEXT, reason=reason)
            else:
                found += getattr(administration, action)(one, author=who.name, reason=reason)
    except StoreFailure as failure:
        raise Refusal(Kind.UNREADABLE, str(failure)) from failure
    return _shown(gateway, who, found)


class Chosen(NamedTuple):
    """What an action would be done to: so many deliveries, of so many messages. first: of the deliveries."""

    deliveries: int
    messages: int
    first: list[QueueEntry]


def chosen(
    gateway: Gateway,
    who: Principal,
    action: QueueAction,
    wanted: QueueFilter,
    *,
    messages: Sequence[str] = (),
    first: int = 10,
) -> Chosen:
    """What `act` would do now, for who asks before it. first: so many are named. Raises as `act`."""
    _check_ids(messages)
    administration = _administration(gateway)
    found = Chosen(0, 0, [])
    try:
        for one in _filters(who, wanted, messages):
            deliveries, of = administration.applying_to(action, one)
            found = Chosen(found.deliveries + deliveries, found.messages + of, found.first)
            if (left := first - len(found.first)) > 0:
                found.first.extend(administration.applying(action, msgspec.structs.replace(one, limit=left)))
    except StoreFailure as failure:
        raise Refusal(Kind.UNREADABLE, str(failure)) from failure
    return found._replace(first=_shown(gateway, who, found.first))


def _filters(who: Principal, wanted: QueueFilter, messages: Sequence[str]) -> list[QueueFilter]:
    seen = _seen(who, wanted)
    return [msgspec.structs.replace(seen, message=one, limit=0) for one in dict.fromkeys(messages or ("",))]


class Acted(NamedTuple):
    """What an action was done to: how many deliveries, and those as they were; the first of them if they are many."""

    changed: int
    shown: list[QueueEntry]


def acted(  # noqa: PLR0913 - as `act`
    gateway: Gateway,
    who: Principal,
    action: QueueAction,
    wanted: QueueFilter,
    *,
    messages: Sequence[str] = (),
    dry_run: bool = False,
    reason: str = "",
    text: str = "",
) -> Acted:
    """`act`, for who needs not know all of what it was done to."""
    found = act(gateway, who, action, wanted, messages=messages, dry_run=dry_run, reason=reason, text=text)
    return Acted(len(found), found)


def entry_record(entry: QueueEntry, who: Principal) -> dict[str, Any]:
    """For machines, as `gatepost queue list --json` prints it; without what is another organization's."""
    delivery, message = entry.delivery, entry.delivery.message
    if not who.sees(message.organization):
        message = msgspec.structs.replace(message, organization=delivery.organization, inbound={})
    record: dict[str, Any] = msgspec.structs.asdict(message)
    record["id"] = format_id(message.id)
    return {
        "message": record,
        "state": entry.state,
        "held": delivery.held,
        "destination": delivery.destination,
        "recipients": [msgspec.structs.asdict(recipient) for recipient in delivery.recipients],
        "attempts": delivery.attempts,
        "next_at": delivery.next_at,
        "expires_at": delivery.expires_at,
        "last_error": delivery.last_error,
    }


def _check_ids(messages: Sequence[str]) -> None:
    """All of them before anything is changed."""
    errors = []
    for place, message in enumerate(messages):
        try:
            parse_id(message)
        except ValueError as error:
            errors.append(FieldError(f"messages[{place}]", str(error)))
    if errors:
        raise Refusal(Kind.INPUT, "\n".join(error.message for error in errors), errors)


def _check_texts(**texts: str) -> None:
    """A line of a row, and of a notice, which has no letters beyond ASCII (RFC 3464 section 2.3.6)."""
    errors = [
        FieldError(name, f"is one line of at most {_LONGEST} printable {'ASCII ' * (name == 'text')}characters")
        for name, text in texts.items()
        if len(text) > _LONGEST or not text.isprintable() or (name == "text" and not text.isascii())
    ]
    if errors:
        raise Refusal(Kind.INPUT, "Nothing was done.", errors)


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
