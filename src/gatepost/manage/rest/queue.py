"""Mail that waits: looked at, and acted on."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from msgspec import Meta

from gatepost.mail.model.message import Recipient  # noqa: TC001 - msgspec reads the annotation
from gatepost.mail.model.queue_id import format_id
from gatepost.manage.access.actions import named
from gatepost.manage.access.principal import Scope
from gatepost.manage.rest.endpoint import Endpoint, File, FileOf, ListOf, Reach, Told
from gatepost.manage.rest.paging import After, Limit, Page, position
from gatepost.manage.rest.problem import Problem
from gatepost.manage.use_cases.cursors import cursor
from gatepost.manage.use_cases.queue import (
    QueueAction,
    act,
    entries,
    entry_record,
    message_body,
    message_entries,
    place_of,
    subject_of,
)
from gatepost.manage.web.problem import ProblemType
from gatepost.policy.connectors.errors import FieldError
from gatepost.store.administration import QueuePlace
from gatepost.store.interface import QueueFilter

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gatepost.manage.access.actions import Action
    from gatepost.manage.rest.endpoint import Asked
    from gatepost.store.admin_rows import QueueEntry


_TAG = "queue"
type _Text = Annotated[str, Meta(max_length=1000)]


class _Wanted(msgspec.Struct, kw_only=True):
    """Which deliveries; empty fields match all."""

    organization: _Text = ""
    domain: Annotated[str, Meta(max_length=1000, description="Domain of the recipients.")] = ""
    sender: Annotated[str, Meta(max_length=1000, description="Reverse-path, or @domain.")] = ""
    recipient: Annotated[str, Meta(max_length=1000, description="Forward-path, or @domain.")] = ""


class _Listed(_Wanted, kw_only=True):
    """Of the list, a page at a time."""

    limit: Limit = 100
    after: After = ""

    held: Annotated[bool | None, Meta(description="Only held mail, or only what is not.")] = None


class _Place(msgspec.Struct, array_like=True):
    """Where a delivery stands: its shard and ids."""

    shard: str
    message: Annotated[int, Meta(ge=0, le=2**63 - 1)]
    delivery: Annotated[int, Meta(ge=0, le=2**63 - 1)]


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


class QueueDelivery(msgspec.Struct):
    """One message's recipients for one destination. Times: seconds since 1970; next_at 0 while it is being tried.

    state: active, deferred or held. held: by an administrator; if it is not, its destination protects less than it did.
    """

    message: QueueMessage
    state: str
    held: bool
    destination: str
    recipients: list[Recipient]
    attempts: int
    next_at: float
    expires_at: float
    last_error: str


class QueueDeliveries(msgspec.Struct):
    """Deliveries of one message."""

    items: list[QueueDelivery]


class QueueActions(_Wanted, kw_only=True, forbid_unknown_fields=True):
    """What to do, and to which mail: messages (queue ids), or what matches every filter given, or all of it.

    retry: try again now. hold: keep from being tried. release: let held mail go. return: end delivery with a notice to
    the sender. drop: remove, telling nobody.
    """

    action: QueueAction
    messages: Annotated[list[str], Meta(max_length=1000)] = msgspec.field(default_factory=list)
    all: bool = False
    reason: Annotated[str, Meta(max_length=300, description="Why, for the trace and the evidence log.")] = ""
    text: Annotated[str, Meta(max_length=300, description="What senders of returned mail are told.")] = ""


class QueueChanged(msgspec.Struct):
    """The deliveries it was done to, or with dry_run would be, as they were.

    changed: how many. items: the first 1000 of them.
    """

    action: QueueAction
    dry_run: bool
    changed: int
    items: list[QueueDelivery]


_SHOWN = 1000


def _filter(wanted: _Wanted, **other: Any) -> QueueFilter:
    return QueueFilter(
        organization=wanted.organization,
        domain=wanted.domain,
        sender=wanted.sender,
        recipient=wanted.recipient,
        **other,
    )


def _list(asked: Asked) -> Page:
    query: _Listed = asked.query
    after = QueuePlace(*msgspec.structs.astuple(position(query.after, _Place))) if query.after else None
    wanted = _filter(query, held=query.held, limit=query.limit + 1)
    found = entries(asked.gateway, asked.principal, wanted, after)
    shown = [entry_record(one, asked.principal) for one in found[: query.limit]]
    return Page(shown, cursor(place_of(found[query.limit - 1])) if len(found) > query.limit else None)


def _show(asked: Asked) -> dict[str, Any]:
    found = message_entries(asked.gateway, asked.principal, QueueFilter(message=asked.path["message"]))
    return {"items": [entry_record(one, asked.principal) for one in found]}


def _content(asked: Asked) -> File:
    message = asked.path["message"]
    chunks = message_body(asked.gateway, asked.principal, message)
    found = message_entries(asked.gateway, asked.principal, QueueFilter(message=message))
    asked.told[:] = _counted("queue-content", found, message)
    return File(f"{format_id(found[0].delivery.message.id)}.eml", chunks)


def _act(asked: Asked) -> dict[str, Any]:
    body: QueueActions = asked.body
    if not (body.messages or body.all or body.organization or body.domain or body.sender or body.recipient):
        why = "say which mail: messages, domain, sender, recipient, organization, or all"
        raise Problem(ProblemType.INVALID, "1 error(s); nothing was done.", [FieldError("messages", why)])
    asked.told[0].action, asked.told[0].organization = named("queue", body.action), body.organization
    asked.told[0].subject = ", ".join(body.messages[:3])
    found = act(
        asked.gateway,
        asked.principal,
        body.action,
        _filter(body),
        messages=body.messages,
        dry_run=asked.dry_run,
        reason=body.reason,
        text=body.text,
    )
    asked.told[:] = _told(body, found) or asked.told
    return {
        "action": body.action,
        "dry_run": asked.dry_run,
        "changed": len(found),
        "items": [entry_record(one, asked.principal) for one in found[:_SHOWN]],
    }


def _told(body: QueueActions, found: Sequence[QueueEntry]) -> list[Told]:
    """For the audit: one for each organization whose mail it was, as the pages keep it."""
    return _counted(named("queue", body.action), found, subject_of(found), reason=body.reason, text=body.text)


def _counted(action: Action, found: Sequence[QueueEntry], subject: str, **given: str) -> list[Told]:
    counted = Counter(one.delivery.organization for one in found)
    return [Told(action, name, subject, given | {"deliveries": count}) for name, count in counted.items()]


ENDPOINTS = (
    Endpoint(
        "GET",
        "/queue",
        "Deliveries that wait, the oldest first",
        _list,
        ListOf(QueueDelivery),
        Scope.READ,
        Reach.SEEN,
        _TAG,
        query=_Listed,
    ),
    Endpoint(
        "POST",
        "/queue/actions",
        "Retry, hold, release, return or drop mail",
        _act,
        QueueChanged,
        Scope.QUEUE,
        Reach.SEEN,
        _TAG,
        body=QueueActions,
        changes=True,
        action="queue",
        description="A running gateway takes it up within a second. Nothing matching is no error: changed is 0.",
    ),
    Endpoint(
        "GET",
        "/queue/{message}",
        "The deliveries of one message",
        _show,
        QueueDeliveries,
        Scope.READ,
        Reach.SEEN,
        _TAG,
        parameters={"message": "Queue id."},
    ),
    Endpoint(
        "GET",
        "/queue/{message}/content",
        "The stored message, as it came",
        _content,
        FileOf("message/rfc822"),
        Scope.QUEUE,
        Reach.SEEN,
        _TAG,
        action="queue-content",
        parameters={"message": "Queue id."},
        description="Who read it is on record. A token of an organization to which it came beside others finds none.",
    ),
)
