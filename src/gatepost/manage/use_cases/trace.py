"""The message trace as administrators search it: one row for every recipient and event.

Who sees only some organizations finds rows of theirs alone; what belongs to none, such as a refusal before anybody was
addressed, is for who sees the whole gateway. Of rows that tell of another organization, too, they see what is their own
(`policy.decisions.withheld`), and find none by what they do not see.
"""

from __future__ import annotations

import ipaddress
import time
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec
from msgspec import Meta

from gatepost.analysis.reports.tls import Protection
from gatepost.mail.model.trace_event import TraceEvent  # noqa: TC001 - msgspec reads it
from gatepost.manage.access.principal import Scope
from gatepost.manage.use_cases.cursors import cursor
from gatepost.manage.use_cases.declaration import Cli, Items, Visibility, use_case
from gatepost.manage.use_cases.next_steps import trace_step
from gatepost.manage.use_cases.paging import Paging, position
from gatepost.manage.use_cases.refusal import Refusal, RefusalKind
from gatepost.manage.use_cases.times import TimeText, read_time
from gatepost.manage.use_cases.visibility import hidden_from
from gatepost.policy.decisions.withheld import named_in, own_chains, without_others
from gatepost.store.interface import TraceFilter
from gatepost.store.trace import TracePlace

if TYPE_CHECKING:
    from gatepost.manage.access.principal import Principal
    from gatepost.manage.use_cases.context import Context
    from gatepost.manage.use_cases.gateway import Gateway
    from gatepost.policy.decisions.withheld import Hidden


EVENTS = (
    "RECEIVE",
    "REFUSE",
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
MOST = 10_000
"""Rows that a command or a page gives at once, at most."""


type _Text = Annotated[str, Meta(max_length=1000)]


class SearchTrace(Paging, kw_only=True):
    """Filters of the trace; empty fields match all. Times include both ends."""

    since: Annotated[TimeText, Cli(metavar="TIME", help="Since this time: 30m, 2h, 7d or a date.")] = ""
    until: Annotated[TimeText, Cli(metavar="TIME", help="Until this time.")] = ""
    message: Annotated[str, Meta(max_length=1000, description="Queue id, here or on another node of the site.")] = ""
    message_id: Annotated[str, Meta(max_length=1000, description="Message-ID field.")] = ""
    session: Annotated[
        str,
        Meta(max_length=1000, description="Session id, as replies end in it."),
        Cli(help="Session id, as at the end of replies; also of another node."),
    ] = ""
    organization: _Text = ""
    sender: Annotated[str, Meta(max_length=1000, description="Reverse-path, or @domain.")] = ""
    recipient: Annotated[str, Meta(max_length=1000, description="Forward-path, or @domain.")] = ""
    address: Annotated[str, Meta(max_length=1000, description="Of sender or recipient.")] = ""
    domain: Annotated[str, Meta(max_length=1000, description="Of sender or recipient.")] = ""
    peer: Annotated[str, Meta(max_length=1000, description="Host name or IP address of the other side.")] = ""
    connector: _Text = ""
    event: Annotated[str, Meta(pattern=f"^({'|'.join(EVENTS)})?$", description="What happened.")] = ""
    achieved: Annotated[
        str,
        Meta(max_length=100, description="none, encrypted, authenticated; or with the MX: dnssec/encrypted."),
        Cli(metavar="LEVEL"),
    ] = ""
    protection: Annotated[
        Literal["", "dane", "mta-sts", "verified", "encrypted", "cleartext"],
        Meta(description="Of mail received or sent, as reports count it."),
        Cli(metavar="HOW", help=f"Of mail received or sent, as reports count it: {', '.join(PROTECTIONS)}."),
    ] = ""
    tls_version: Annotated[str, Meta(max_length=100, description='"TLSv1.2" or "TLSv1.3".'), Cli(metavar="VERSION")] = (
        ""
    )
    tls_group: Annotated[
        str, Meta(max_length=100, description="Key exchange, such as X25519MLKEM768."), Cli(metavar="GROUP")
    ] = ""
    result_type: Annotated[
        str, Meta(max_length=100, description="Of a TLS failure (RFC 8460 section 4.3)."), Cli(metavar="TYPE")
    ] = ""


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


@use_case(
    "GET /trace",
    scope=Scope.READ,
    visibility=Visibility.SEEN,
    tag="trace",
    commands=("trace search",),
    pages=(
        "/trace",
        "/connectors/{organization}/inbound/{name:path}",
        "/connectors/{organization}/outbound/{name:path}",
        "/connectors/validate/{organization}/inbound/{name:path}",
        "/connectors/validate/{organization}/outbound/{name:path}",
    ),
)
def search_trace_events(context: Context, request: SearchTrace) -> Items[TraceEvent]:
    """Rows that match every parameter, the newest first."""
    after = position(request.after, TracePlace) if request.after else None
    trace_events, place = context.storage.trace().page(_filter(context, request), after, time.time())
    events = _shown(context.gateway, context.principal, trace_events)
    return Items(events, None if place is None else cursor(place))


@use_case(
    "GET /trace/{id:path}",
    scope=Scope.READ,
    visibility=Visibility.SEEN,
    tag="trace",
    commands=("trace show",),
    pages=("/trace/{identity:path}", "/trace/{message}/evidence", "/queue/{message}"),
)
def show_trace(context: Context, request: ShowTrace) -> TraceEvents:
    """Everything about one message or session, the oldest first."""
    events = events_of(context.gateway, context.principal, request.id)
    step = trace_step(events)
    return TraceEvents(events, step.must_act, step.text)


@use_case(scope=Scope.READ, visibility=Visibility.SEEN, tag="trace", pages=("/trace",))
def choose_search(context: Context, request: ChooseSearch) -> int | None:
    """The place of the first of several searches that finds anything; None if none does."""
    return context.storage.trace().first_answered([_filter(context, search) for search in request.searches])


def events_of(gateway: Gateway, principal: Principal, identity: str) -> list[TraceEvent]:
    """Everything about one message (queue id, or Message-ID in <>) or one session, oldest first.

    Raises Refusal (MISSING).
    """
    for wanted in _meant(identity) if identity else ():  # a filter without anything would be all of the trace
        narrowed = msgspec.structs.replace(wanted, organizations=principal.organizations)
        if events := gateway.storage.trace().search(narrowed):
            return _shown(gateway, principal, events)[::-1]
    raise Refusal(RefusalKind.MISSING, f"the message trace has no message or session {identity}")


def meanings(text: str) -> tuple[dict[str, str], ...]:
    """Interpret words of a search: filters by field of TraceFilter, the likeliest first.

    An address, a domain (also as @domain), a Message-ID with or without <>, a queue id, a session id, an IP address.
    """
    said = text.strip()
    if said.startswith(("<", "@")):
        return ({"message_id": said} if said[0] == "<" else {"domain": said[1:]},)
    if "@" in said:
        return {"address": said}, {"message_id": f"<{said}>"}
    if _is_address(said):
        return ({"peer": said},)
    names = ("domain", "peer", "connector") if "." in said else ("message", "session", "connector")
    return tuple({name: said} for name in names) if said else ()


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _meant(identity: str) -> tuple[TraceFilter, ...]:
    if identity.startswith("<"):
        return (TraceFilter(message_id=identity, limit=MOST),)
    return TraceFilter(message=identity, limit=MOST), TraceFilter(session=identity, limit=MOST)


def _filter(context: Context, request: SearchTrace) -> TraceFilter:
    """Filter of a search, limited to what the principal sees. Raises Refusal (INPUT) for what is no time."""
    fields = msgspec.structs.asdict(request)
    del fields["after"]
    fields |= {name: read_time(name, fields[name]) if fields[name] else 0.0 for name in ("since", "until")}
    return TraceFilter(**fields, organizations=context.principal.organizations)


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


def _whole(event: TraceEvent) -> TraceEvent:
    """With the reply that queue and notices have without what is another organization's."""
    said = event.detail.get("reply")
    return event if said is None else msgspec.structs.replace(event, reply=str(said))


USE_CASES = (search_trace_events, show_trace, choose_search)
