"""The quarantine: look at messages that are held for review; release or delete them.

A message in quarantine belongs to the organization whose content hook or rule holds it: its administrators see it, and
for others it is not there. Works on a running gateway as on a stopped one.
"""

from __future__ import annotations

from collections import Counter
from enum import StrEnum
from itertools import chain
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from msgspec import UNSET, Meta, UnsetType

from gatepost.mail.model.queue_id import format_id, parse_id
from gatepost.manage.access.actions import named
from gatepost.manage.access.principal import Principal, Scope
from gatepost.manage.use_cases.declaration import Cli, FileResult, Items, Visibility, use_cases
from gatepost.manage.use_cases.paging import After, Limit, cut, position
from gatepost.manage.use_cases.refusal import Refusal, RefusalKind, refusing
from gatepost.manage.use_cases.stored_message import QueueId, evidence_log, first_ids, header_text, reading_content
from gatepost.manage.use_cases.times import TimeText, read_time
from gatepost.policy.connectors.errors import FieldError
from gatepost.policy.connectors.values import QuarantineRelease
from gatepost.store.quarantine import Quarantine, QuarantineFilter, QuarantinePlace
from gatepost.values import copy_fields

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from gatepost.mail.model.message import Delivery
    from gatepost.manage.use_cases.context import Context


use_case = use_cases(visibility=Visibility.SEEN, tag="quarantine")
_SHOWN = 1000
_MOST = 10_000
_AUDITED = 300  # characters of filters
_CHOOSING = ("sender", "recipient", "subject", "held_because", "since", "until")  # filters that say which mail


class QuarantineSelection(msgspec.Struct, kw_only=True):
    """Filters; empty fields match all."""

    organization: Annotated[str, Meta(max_length=1000, description="Only from this organization's quarantine.")] = ""
    sender: Annotated[
        str, Meta(max_length=1000, description="Only mail from this sender: an address (reverse-path), or @domain.")
    ] = ""
    recipient: Annotated[
        str, Meta(max_length=1000, description="Only mail to this recipient: an address, or @domain.")
    ] = ""
    subject: Annotated[
        str, Meta(max_length=1000, description="Only mail with this text in its subject, in upper or lower case.")
    ] = ""
    since: Annotated[
        TimeText, Cli(metavar="TIME", help="Only mail received since this time: 30m, 2h, 7d or a date (UTC).")
    ] = ""
    until: Annotated[
        TimeText, Cli(metavar="TIME", help="Only mail received until this time: 30m, 2h, 7d or a date (UTC).")
    ] = ""

    def narrowed(self, principal: Principal, **more: Any) -> QuarantineFilter:
        """As the store takes it, in what is seen. Raises Refusal (INPUT) for what is no time."""
        return QuarantineFilter(
            organizations=_seen(principal, self.organization),
            sender=self.sender,
            recipient=self.recipient,
            subject=self.subject,
            since=read_time("since", self.since) if self.since else 0.0,
            until=read_time("until", self.until) if self.until else 0.0,
            **more,
        )


class ListQuarantine(QuarantineSelection, kw_only=True):
    """Filters; empty fields match all. Of the list, a page at a time."""

    reason: Annotated[
        str, Meta(max_length=1000, description="Only mail held for a reason with this text, in upper or lower case.")
    ] = ""
    limit: Limit = 100
    after: After = ""


class GetQuarantined(msgspec.Struct, kw_only=True):
    """One message."""

    message: QueueId


class QuarantineAction(StrEnum):
    """RELEASE: let it go on to its recipients. DELETE: remove it without telling its sender."""

    RELEASE = "release"
    DELETE = "delete"


class QuarantineActions(QuarantineSelection, kw_only=True, forbid_unknown_fields=True):
    """An action on messages (queue ids), or on what matches every filter given, or on all of it: 10,000 at most.

    release: the gateway delivers the message, without asking content hooks and rules again. Requirements on TLS apply
    as to all mail. delete: the gateway removes it; the sender is not told.
    """

    action: QuarantineAction
    messages: Annotated[
        Annotated[list[str], Meta(max_length=1000)] | UnsetType, Cli(argument=True, metavar="[ID]...")
    ] = UNSET
    all: Annotated[bool, Cli(help="All messages in quarantine.")] = False
    held_because: Annotated[
        str, Meta(max_length=1000, description="Only mail held for a reason with this text, in upper or lower case.")
    ] = ""
    reason: Annotated[
        str, Meta(max_length=300, description="Reason, recorded in the trace, the evidence log and the audit log.")
    ] = ""

    @property
    def is_of_a_choice(self) -> bool:
        """Whether it is said which mail it applies to. A list of messages that came out empty is no choice of all.

        Neither is a filter beside such a list, which narrows the messages that are named, nor an organization alone.
        """
        if self.messages is not UNSET and not self.all:
            return bool(self.messages)
        return self.all or any(getattr(self, name) for name in _CHOOSING)

    @property
    def subject_of_audit(self) -> str:
        """The messages that are named, or the filters."""
        if self.messages:
            return first_ids(self.messages)
        chosen = [f"{name} {value}" for name in _CHOOSING if (value := getattr(self, name))]
        return ", ".join(chosen)[:_AUDITED] or "all"


class QuarantinedMessage(msgspec.Struct):
    """A message in quarantine for one recipient. received, deleted_at: seconds since 1970.

    organization: that has it in quarantine. by: the content hook or the rule that holds it; reason: what was found.
    size: bytes. direction: "incoming" or "originating". next: an organization that has to release it after that.
    """

    message: str
    organization: str
    sender: str
    recipient: str
    subject: str
    message_id: str
    direction: str
    size: int
    received: float
    deleted_at: float
    by: str
    reason: str
    next: str


class QuarantinedRecipients(msgspec.Struct):
    """A message in quarantine, for each of its recipients. readable, releasable: whether who asks may."""

    items: list[QuarantinedMessage]
    readable: bool
    releasable: bool


class QuarantinedHeader(msgspec.Struct):
    """The header section of a message, as far as 64 KiB go; lines end with LF."""

    text: str


class QuarantineChanged(msgspec.Struct):
    """The deliveries that were changed, or with dry_run would be, as they were before.

    changed: how many, of how many messages. items: the first 1000 of them.
    """

    action: QuarantineAction
    dry_run: bool
    changed: int
    messages: int
    items: list[QuarantinedMessage]


@use_case("GET /quarantine", scope=Scope.READ)
def list_quarantine(context: Context, request: ListQuarantine) -> Items[QuarantinedMessage]:
    """Messages in quarantine, the newest first."""
    place = QuarantinePlace(*msgspec.structs.astuple(position(request.after, _Place))) if request.after else None
    wanted = request.narrowed(context.principal, reason=request.reason, limit=request.limit + 1)
    deliveries, rest = cut(_entries(context, wanted, place), request.limit, _place)
    return Items(_shown(context.principal, deliveries), rest)


@use_case("GET /quarantine/{message}", scope=Scope.READ)
def get_quarantined(context: Context, request: GetQuarantined) -> QuarantinedRecipients:
    """One message in quarantine, with every recipient."""
    deliveries, principal = _of_message(context, request.message), context.principal
    may_act = bool({Scope.QUEUE, Scope.OWNER} & principal.scopes)
    releasable = may_act and not _gateway_only(context, deliveries)
    return QuarantinedRecipients(_shown(principal, deliveries), may_act, releasable)


@use_case(
    "GET /quarantine/{message}/content", scope=Scope.QUEUE, action="quarantine-content", media_type="message/rfc822"
)
def read_quarantined(context: Context, request: GetQuarantined) -> FileResult:
    """The stored message. It may harm whoever opens it. Who read it is on record."""
    deliveries = _of_message(context, request.message)
    chunks = _chunks(context, request.message)
    content = chain([next(chunks, b"")], chunks)  # what cannot be read is told before the first octet
    _record(context, "quarantine-content", deliveries, request.message)
    return FileResult(f"{format_id(deliveries[0].message.id)}.eml", content)


@use_case(scope=Scope.QUEUE, action="quarantine-header")
def read_quarantined_header(context: Context, request: GetQuarantined) -> QuarantinedHeader:
    """The header section of a message in quarantine. Who read it is on record."""
    deliveries = _of_message(context, request.message)
    header = QuarantinedHeader(header_text(_chunks(context, request.message)))
    _record(context, "quarantine-header", deliveries, request.message)
    return header


@use_case("POST /quarantine/actions", scope=Scope.QUEUE, dry_run=True, action="quarantine")
def act_on_quarantine(context: Context, request: QuarantineActions) -> QuarantineChanged:
    """Release or delete messages in quarantine.

    A running gateway takes it up within a second. Nothing matching is no error: changed is 0.
    """
    action = named("quarantine", request.action)
    subject = request.subject_of_audit
    context.audit.describe(action, organization=request.organization, subject=subject, reason=request.reason)
    _check(request, dry_run=context.dry_run)
    filters = _filters(context.principal, request)
    matches = [delivery for wanted in filters for delivery in _entries(context, wanted)]
    if not request.messages and len(matches) > _MOST:
        text = f"Nothing was done: more than {_MOST:,} match. Choose fewer, by since and until or by other filters."
        raise Refusal(RefusalKind.INPUT, text)
    if request.action is QuarantineAction.RELEASE and (names := _gateway_only(context, matches)):
        text = f"Only administrators of the whole gateway may release messages from the quarantine of {names[0]}."
        raise Refusal(RefusalKind.FORBIDDEN, text)
    done = matches if context.dry_run else _apply(context, request, filters, matches)
    if not context.dry_run:
        _record(context, action, done, subject, reason=request.reason)
    messages = len({delivery.message.id for delivery in done})
    shown = _shown(context.principal, done[:_SHOWN])
    return QuarantineChanged(request.action, context.dry_run, len(done), messages, shown)


def _filters(principal: Principal, request: QuarantineActions) -> list[QuarantineFilter]:
    """Those of the messages, or the filter of all that matches, which may be one more than is done at once."""
    wanted = request.narrowed(principal, reason=request.held_because, limit=0 if request.messages else _MOST + 1)
    return [msgspec.structs.replace(wanted, message=message) for message in dict.fromkeys(request.messages or ("",))]


def _apply(
    context: Context, request: QuarantineActions, filters: Sequence[QuarantineFilter], matches: Sequence[Delivery]
) -> list[Delivery]:
    """Do it, for the organizations that have the matches: what came since may be of others, whose mail is not judged.

    Raises StoreFailure, and then a part may have been done.
    """
    author, done = context.principal.name, []
    quarantine = _opened(context)
    change = quarantine.release if request.action is QuarantineAction.RELEASE else quarantine.delete
    holders = frozenset(delivery.quarantine for delivery in matches)
    for wanted in filters:
        done += change(msgspec.structs.replace(wanted, organizations=holders), author=author, reason=request.reason)
    return done


def _check(request: QuarantineActions, *, dry_run: bool) -> None:
    """Everything that is wrong, before anything is changed. Raises Refusal (INPUT)."""
    errors = []
    if not request.is_of_a_choice:
        text = "nothing was done: name messages by their ids, give filters, or choose all that is in quarantine"
        error = FieldError("messages", "choose at least one message")
        raise Refusal(RefusalKind.INPUT, text, [error], options=[*_CHOOSING, "all"])
    for place, message in enumerate(request.messages or ()):
        try:
            parse_id(message)
        except ValueError as error:
            errors.append(FieldError(f"messages[{place}]", str(error)))
    if not request.reason.isprintable():
        errors.append(FieldError("reason", "is one line of printable characters"))
    if not request.reason.strip() and not dry_run:
        errors.append(FieldError("reason", "give a reason: it is recorded, and the action cannot be undone"))
    if errors:
        raise Refusal(RefusalKind.INPUT, "Nothing was done.", errors)


def _gateway_only(context: Context, deliveries: Sequence[Delivery]) -> list[str]:
    """The organizations whose messages a principal of some organizations may not release."""
    if context.principal.is_of_gateway:
        return []
    directory = context.directory()
    holders = sorted({delivery.quarantine for delivery in deliveries})
    return [
        name
        for name in holders
        if (owner := directory.organization(name)) is None or owner.quarantine_release is QuarantineRelease.GATEWAY
    ]


def _seen(principal: Principal, organization: str) -> frozenset[str] | None:
    """The organizations to look in: those that are seen, or one of them; None for all."""
    if not organization:
        return principal.organizations
    wanted = organization.lower()
    return frozenset({wanted} if principal.sees(wanted) else ())


def _opened(context: Context) -> Quarantine:
    return context.storage.quarantine(evidence_log(context.settings))


def _entries(context: Context, wanted: QuarantineFilter, place: QuarantinePlace | None = None) -> list[Delivery]:
    """Raises Refusal (INPUT) for what is no queue id."""
    with refusing(RefusalKind.INPUT, ValueError):
        return _opened(context).entries(wanted, place)


def _of_message(context: Context, message: str) -> list[Delivery]:
    """Every recipient of the one message that is seen. Raises Refusal: MISSING if it is not in quarantine."""
    context.audit.describe(subject=message)
    wanted = QuarantineFilter(message=message, organizations=context.principal.organizations, limit=0)
    deliveries = _entries(context, wanted)
    if not deliveries:
        text = f"{message} is not in quarantine; `gatepost trace show {message}` says what became of it"
        raise Refusal(RefusalKind.MISSING, text)
    return deliveries


def _chunks(context: Context, message: str) -> Iterator[bytes]:
    with reading_content():
        yield from _opened(context).body(message)


def _record(context: Context, action: str, deliveries: Sequence[Delivery], subject: str, **given: str) -> None:
    """One audit event for each organization whose quarantine it was in; without any the call's, of no delivery."""
    if not deliveries:
        context.audit.describe(deliveries=0)
    for organization, count in Counter(delivery.quarantine for delivery in deliveries).items():
        context.audit.add(named(action), organization=organization, subject=subject, **given, deliveries=count)


def _shown(principal: Principal, deliveries: Sequence[Delivery]) -> list[QuarantinedMessage]:
    """As they are shown: without which organization has it next, where that is not seen."""
    shown = []
    for delivery in deliveries:
        message, (recipient,) = delivery.message, delivery.recipients
        hold, *rest = recipient.quarantines
        item = copy_fields(
            QuarantinedMessage,
            message,
            hold,
            message=format_id(message.id),
            organization=delivery.quarantine,
            sender=message.reverse_path,
            recipient=recipient.address,
            deleted_at=delivery.next_at,
            next=rest[0].organization if rest and principal.sees(rest[0].organization) else "",
        )
        shown.append(item)
    return shown


class _Place(msgspec.Struct, array_like=True):
    """Where a delivery stands: its ids."""

    message: Annotated[int, Meta(ge=0, le=2**63 - 1)]
    delivery: Annotated[int, Meta(ge=0, le=2**63 - 1)]


def _place(delivery: Delivery) -> QuarantinePlace:
    return QuarantinePlace(delivery.message.id, delivery.id)
