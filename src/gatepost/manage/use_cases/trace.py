"""The message trace as administrators search it: one row for every recipient and event.

Who sees only some organizations finds rows of theirs alone; what belongs to none, such as a refusal before anybody was
addressed, is for who sees the whole gateway. Of rows that tell of another organization, too, they see what is their own
(`policy.decisions.withheld`), and find none by what they do not see.
"""

from __future__ import annotations

import shlex
import time
from collections import Counter
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

from gatepost.analysis.reports.tls import Protection
from gatepost.mail.model.trace_event import TraceEvent  # noqa: TC001 - msgspec reads it
from gatepost.manage.access.principal import Principal, Scope
from gatepost.manage.use_cases.declaration import Cli, Items, Visibility, use_cases
from gatepost.manage.use_cases.next_steps import trace_step
from gatepost.manage.use_cases.paging import After, Limit, cursor, position
from gatepost.manage.use_cases.refusal import Refusal, RefusalKind
from gatepost.manage.use_cases.stored_message import MAX_TEXT, Words, hidden_from, words_of
from gatepost.manage.use_cases.times import TimeText, read_time
from gatepost.policy.decisions.withheld import Hidden, named_in, own_chains, without_others
from gatepost.protocols.tls.names import is_ip_address
from gatepost.store.interface import TraceFilter
from gatepost.store.text_pattern import WILDCARD, TextPattern
from gatepost.store.trace import PATIENCE, TEXT_COLUMNS, TracePlace

if TYPE_CHECKING:
    from gatepost.manage.use_cases.context import Context, Gateway


use_case = use_cases(scope=Scope.READ, visibility=Visibility.SEEN, tag="trace")
EVENTS = (
    "RECEIVE",
    "REFUSE",
    "TLSFAIL",
    "SEND",
    "DELIVER",
    "DEFER",
    "FAIL",
    "EXPIRE",
    "DROP",
    "HOLD",
    "QUARANTINE",
    "RELEASE",
    "RETURN",
    "DRILL",
)
PROTECTIONS = tuple(map(str, Protection))
"""What a search may ask of how mail was protected, best first."""
_PATTERN_COLUMNS: Final = {
    "sender": ("sender",),
    "recipient": ("recipient",),
    "address": ("sender", "recipient"),
    "domain": ("sender", "recipient"),
    "message_id": ("message_id",),
}
_READS: Final = 5  # pages of rows that are read for one of messages
_ENOUGH: Final = 0.8  # of the messages of a page: for fewer it is read on
COUNTED: Final = 5000
"""Rows that are summed up at most."""
MOST = 10_000
"""Rows that a command or a page gives at once, at most."""
_ATTEMPTS: Final = 20  # rows of the last attempts on a message, one for each recipient


type _Text = Annotated[str, Meta(max_length=1000)]


class TraceSelection(msgspec.Struct, kw_only=True):
    """Filters of the trace; empty fields match all. Times include both ends."""

    since: Annotated[
        TimeText, Cli(metavar="TIME", help="Only events since this time: 30m, 2h, 7d or a date (UTC).")
    ] = ""
    until: Annotated[
        TimeText, Cli(metavar="TIME", help="Only events until this time; a date means its beginning (UTC).")
    ] = ""
    message: Annotated[
        str,
        Meta(max_length=1000, description="Only the message with this queue id, here or on another node of the site."),
    ] = ""
    message_id: Annotated[
        str, Meta(max_length=1000, description="Only mail with this Message-ID field; * is any text.")
    ] = ""
    words: Words = ""
    subject: Annotated[
        str,
        Meta(max_length=MAX_TEXT, description="Only mail with this text in its subject; * is any text."),
        Cli(metavar="TEXT"),
    ] = ""
    session: Annotated[
        str,
        Meta(max_length=1000, description="Only the session with this id, in which replies end."),
        Cli(help="Only the session with this id, as at the end of replies; also of another node."),
    ] = ""
    organization: Annotated[_Text, Cli(help="Only mail of this organization.")] = ""
    sender: Annotated[
        str,
        Meta(
            max_length=1000,
            description="Only mail from this sender: an address (reverse-path), or @domain; * is any text.",
        ),
    ] = ""
    recipient: Annotated[
        str,
        Meta(
            max_length=1000,
            description="Only mail to this recipient: an address (forward-path), or @domain; * is any text.",
        ),
    ] = ""
    address: Annotated[str, Meta(max_length=1000, description="Only mail from or to this address; * is any text.")] = ""
    domain: Annotated[
        str, Meta(max_length=1000, description="Only mail from or to addresses in this domain; * is any text.")
    ] = ""
    peer: Annotated[
        str, Meta(max_length=1000, description="Only mail exchanged with this server: its host name or IP address.")
    ] = ""
    connector: Annotated[_Text, Cli(help="Only mail that the connector of this name took or sent.")] = ""
    event: Annotated[str, Meta(pattern=f"^({'|'.join(EVENTS)})?$", description="What happened.")] = ""
    achieved: Annotated[
        str,
        Meta(
            max_length=100,
            description="Only mail with this level: none, encrypted, authenticated; or with the MX: dnssec/encrypted.",
        ),
        Cli(metavar="LEVEL"),
    ] = ""
    protection: Annotated[
        Literal["", "dane", "mta-sts", "verified", "encrypted", "cleartext"],
        Meta(description="Only mail received or sent with this protection, as reports count it."),
        Cli(
            metavar="HOW",
            help=f"Only mail received or sent with this protection, as reports count it: {', '.join(PROTECTIONS)}.",
        ),
    ] = ""
    tls_version: Annotated[
        str,
        Meta(max_length=100, description='Only sessions with this version of TLS: "TLSv1.2" or "TLSv1.3".'),
        Cli(metavar="VERSION"),
    ] = ""
    tls_group: Annotated[
        str,
        Meta(max_length=100, description="Only sessions with this key exchange, such as X25519MLKEM768."),
        Cli(metavar="GROUP"),
    ] = ""
    result_type: Annotated[
        str,
        Meta(max_length=100, description="Only TLS failures of this type (RFC 8460 section 4.3)."),
        Cli(metavar="TYPE"),
    ] = ""


class SearchTrace(TraceSelection, kw_only=True):
    """Of the rows, a page at a time. sort: by time, "-time" the newest first, which "" is, too."""

    sort: Annotated[
        Literal["", "time", "-time"],
        Meta(description="Order of the events. time: oldest first; -time: newest first, which is the default."),
    ] = ""
    limit: Limit = 100
    after: After = ""


class SumTrace(TraceSelection, kw_only=True):
    """Of which rows."""


class TraceTotals(msgspec.Struct, frozen=True):
    """Sums over rows. recipients: of each message. bytes: of the messages. events: rows of each event.

    exact: all rows that match were counted; otherwise each number is at least so high.
    """

    rows: int
    messages: int
    recipients: int
    bytes: int
    events: dict[str, int]
    exact: bool


class TracedMessage(msgspec.Struct):
    """Rows of one message that match a search.

    message: its queue id; "" for a session that refused one. rows: how many of them the page has. events: the newest of
    each recipient, the newest first.
    """

    message: str
    session: str
    rows: int
    events: list[TraceEvent]


class ShowTrace(msgspec.Struct, kw_only=True):
    """One message or session."""

    id: Annotated[str, Meta(description="Queue id, Message-ID in <>, or session id."), Cli(argument=True, metavar="ID")]


class TraceEvents(msgspec.Struct):
    """Rows of one message or session, oldest first; and who must do what about it, by the last of them.

    must_act: "gateway", "remote", "sender" or "nobody". next_step: a sentence.
    """

    items: list[TraceEvent]
    must_act: str = "nobody"
    next_step: str = ""


class ChooseSearch(msgspec.Struct, kw_only=True):
    """Searches that are alike in their time, the likeliest first."""

    searches: list[SearchTrace]


@use_case("GET /trace")
def search_trace_events(context: Context, request: SearchTrace) -> Items[TraceEvent]:
    """Rows that match every parameter, the newest first or the oldest."""
    return Items(*_page(context, request))


@use_case("GET /messages")
def search_messages(context: Context, request: SearchTrace) -> Items[TracedMessage]:
    """Messages of which a row matches every parameter, the newest first or the oldest, each with its recipients.

    A message whose rows are on two pages is on both.
    """
    messages: dict[str, TracedMessage] = {}
    recipients: dict[tuple[str, str], int] = {}
    after, deadline = request.after or None, time.monotonic() + PATIENCE
    for _ in range(_READS):
        left = request.limit - len(messages)
        events, after = _page(context, msgspec.structs.replace(request, limit=left, after=after or ""))
        for event in events:
            _add(messages, recipients, event)
        is_late = time.monotonic() > deadline
        if after is None or len(messages) > request.limit * _ENOUGH or not events or is_late:
            break
    return Items(list(messages.values()), after)


@use_case("GET /trace/totals")
def sum_trace(context: Context, request: SumTrace) -> TraceTotals:
    """Sums over the rows that match every parameter; of more than 5,000 they are lower bounds (exact: false)."""
    wanted = msgspec.structs.replace(_filter(context, request), limit=COUNTED)
    events, after = context.storage.trace().page(wanted, None, time.time())
    sizes = {event.message: event.size for event in events if event.message}
    recipients = {(event.message, event.recipient) for event in events if event.message and event.recipient}
    counted = dict(Counter(event.event for event in events))
    return TraceTotals(len(events), len(sizes), len(recipients), sum(sizes.values()), counted, exact=after is None)


@use_case("GET /trace/{id:path}")
def show_trace(context: Context, request: ShowTrace) -> TraceEvents:
    """Everything about one message or session, the oldest first."""
    events = events_of(context.gateway, context.principal, request.id)
    step = trace_step(events)
    return TraceEvents(events, step.must_act, step.text)


@use_case()
def choose_search(context: Context, request: ChooseSearch) -> int | None:
    """The place of the first of several searches that finds anything; None if none does."""
    trace, filters = context.storage.trace(), [_filter(context, search) for search in request.searches]
    if not any(wanted.patterns for wanted in filters):
        return trace.first_answered(filters)
    now = time.time()
    for place, wanted in enumerate(filters):
        if trace.page(msgspec.structs.replace(wanted, limit=1), None, now)[0]:
            return place
    return None


def search_command(request: SearchTrace, **changes: str) -> str:
    """The command for a search, as a line to type. changes: other values of its fields."""
    words = ["gatepost", "trace", "search"]
    for name, value in {**msgspec.structs.asdict(request), **changes}.items():
        if value and name not in {"limit", "after"}:
            words += [f"--{name.replace('_', '-')}", value]
    return shlex.join(words)


def events_of(gateway: Gateway, principal: Principal, identity: str) -> list[TraceEvent]:
    """Everything about one message (queue id, or Message-ID in <>) or one session, oldest first.

    Raises Refusal (MISSING).
    """
    for wanted in _meant(identity) if identity else ():  # a filter without anything would be all of the trace
        narrowed = msgspec.structs.replace(wanted, organizations=principal.organizations)
        if events := gateway.storage.trace().search(narrowed):
            return _shown(gateway, principal, events)[::-1]
    raise Refusal(RefusalKind.MISSING, f"the message trace has no message or session {identity}")


def last_tries(gateway: Gateway, principal: Principal, message: str, domain: str) -> dict[str, str]:
    """The reply of each host in the last attempt on a message for a domain, by host, without its place.

    {} where nothing is recorded, or the way is another organization's. Raises StoreFailure.
    """
    wanted = TraceFilter(message=message, event="DEFER", limit=_ATTEMPTS, organizations=principal.organizations)
    events = _shown(gateway, principal, gateway.storage.trace().search(wanted))
    event = next((event for event in events if event.recipient.lower().endswith(f"@{domain}")), None)
    tries = event.detail.get("tries", ()) if event is not None else ()
    named = (attempt for attempt in tries if attempt["host"])
    return {attempt["host"]: attempt["reply"].partition(" [LastAttempted")[0] for attempt in named}


def meanings(text: str) -> tuple[dict[str, str], ...]:
    """Interpret words of a search: filters by field of TraceFilter, the likeliest first.

    An address, a domain (also as @domain), a Message-ID with or without <>, a queue id, a session id, an IP address; if
    it is none that is known, or several words, or has wildcards: parts of addresses, subjects and Message-IDs.
    """
    said = text.strip()
    if not said:
        return ()
    parts = {"words": said[:MAX_TEXT]}
    return (parts,) if WILDCARD in said or len(said.split()) > 1 else (*_whole_values(said), parts)


def _whole_values(said: str) -> tuple[dict[str, str], ...]:
    if said.startswith(("<", "@")):
        return ({"message_id": said} if said[0] == "<" else {"domain": said[1:]},)
    if "@" in said:
        return {"address": said}, {"message_id": f"<{said}>"}
    if is_ip_address(said):
        return ({"peer": said},)
    names = ("domain", "peer", "connector") if "." in said else ("message", "session", "connector")
    return tuple({name: said} for name in names)


def _meant(identity: str) -> tuple[TraceFilter, ...]:
    if identity.startswith("<"):
        return (TraceFilter(message_id=identity, limit=MOST),)
    return TraceFilter(message=identity, limit=MOST), TraceFilter(session=identity, limit=MOST)


def _filter(context: Context, request: TraceSelection) -> TraceFilter:
    """Filter of a search, limited to what the principal sees. Raises Refusal (INPUT) for what is no time."""
    fields = msgspec.structs.asdict(request)
    fields.pop("after", "")
    fields["oldest_first"] = fields.pop("sort", "") == "time"
    fields["patterns"] = _patterns(fields, every=not context.principal.is_of_gateway)
    fields |= {name: read_time(name, fields[name]) if fields[name] else 0.0 for name in ("since", "until")}
    return TraceFilter(**fields, organizations=context.principal.organizations)


def _page(context: Context, request: SearchTrace) -> tuple[list[TraceEvent], str | None]:
    """Rows as they are shown, and the cursor of the next page."""
    after = position(request.after, TracePlace) if request.after else None
    events, place = context.storage.trace().page(_filter(context, request), after, time.time())
    return _shown(context.gateway, context.principal, events), None if place is None else cursor(place)


def _patterns(fields: dict[str, Any], *, every: bool) -> tuple[TextPattern, ...]:
    """Take what is to be found by patterns out of the fields of a search. Raises Refusal (INPUT) for too many words.

    every: also addresses and domains without a wildcard. An index of them is of all organizations: the time that a
    search in it takes would tell who else has much mail with an address.
    """
    patterns = [TextPattern(TEXT_COLUMNS, word) for word in words_of(fields.pop("words"))]
    patterns.append(TextPattern(("subject",), fields.pop("subject")))
    for name, columns in _PATTERN_COLUMNS.items():
        text = fields[name]
        if text and (WILDCARD in text or (every and name != "message_id")):
            fields[name] = ""
            start = "*@" if name == "domain" else "*" if text.startswith("@") else ""
            patterns.append(TextPattern(columns, start + text, whole=True))
    return tuple(pattern for pattern in patterns if pattern.needle)


def _add(messages: dict[str, TracedMessage], recipients: dict[tuple[str, str], int], event: TraceEvent) -> None:
    """Add a row to its message, in place of an older one. recipients: by message, where each one's row is."""
    identity = event.message or event.session or f"{event.event} {event.at}"
    known = messages.setdefault(identity, TracedMessage(event.message, event.session, 0, []))
    known.rows += 1
    place = recipients.setdefault((identity, event.recipient), len(known.events))
    if place == len(known.events):
        known.events.append(event)
    elif event.at > known.events[place].at:
        known.events[place] = event


def _shown(gateway: Gateway, principal: Principal, events: list[TraceEvent]) -> list[TraceEvent]:
    """The rows as they may see them, with what was really said of another organization's way for who sees that, too."""
    if principal.is_of_gateway:
        return [_whole(event) for event in events]
    hidden = hidden_from(gateway, principal)
    return [_cut(event, principal, hidden) for event in events]


def _cut(event: TraceEvent, principal: Principal, hidden: Hidden) -> TraceEvent:
    event = msgspec.structs.replace(event, tls=own_chains(event.tls, hidden))
    others = named_in(event.detail)
    if others and all(map(principal.sees, others)):
        return _whole(event)
    return msgspec.structs.replace(event, **without_others(event, hidden.names))


def shown_sender(event: TraceEvent) -> str:
    """The sender as lists show it: "<>" is the null reverse-path, an address that of a client that named none."""
    return event.peer_address if event.event == "TLSFAIL" else f"<{event.sender}>"


def _whole(event: TraceEvent) -> TraceEvent:
    """With the reply that queue and notices have without what is another organization's."""
    said = event.detail.get("reply")
    return event if said is None else msgspec.structs.replace(event, reply=str(said))
