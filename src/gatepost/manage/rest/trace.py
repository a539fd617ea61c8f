"""The message trace: searched, and all of one message or session."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec
from msgspec import Meta

from gatepost.mail.model.trace_event import TraceEvent
from gatepost.manage.access.principal import Scope
from gatepost.manage.rest.changing import TimeText, seconds
from gatepost.manage.rest.endpoint import Endpoint, ListOf, Reach
from gatepost.manage.rest.paging import Page, Paging, position
from gatepost.manage.use_cases.cursors import cursor
from gatepost.manage.use_cases.trace import EVENTS, event_record, events_of, events_page
from gatepost.store.interface import TraceFilter
from gatepost.store.trace_search import TracePlace

if TYPE_CHECKING:
    from gatepost.manage.rest.endpoint import Asked


_TAG = "trace"
_FOUND = {"since", "until", "limit", "after"}
type _Text = Annotated[str, Meta(max_length=1000)]
_EVENT = "|".join(EVENTS)


class TraceSearch(Paging, kw_only=True):
    """What a row must match; empty fields match all. Times include both ends."""

    since: TimeText = ""
    until: TimeText = ""
    message: Annotated[str, Meta(max_length=1000, description="Queue id, here or on another node of the site.")] = ""
    message_id: Annotated[str, Meta(max_length=1000, description="Message-ID field.")] = ""
    session: Annotated[str, Meta(max_length=1000, description="Session id, as replies end in it.")] = ""
    organization: _Text = ""
    sender: Annotated[str, Meta(max_length=1000, description="Reverse-path, or @domain.")] = ""
    recipient: Annotated[str, Meta(max_length=1000, description="Forward-path, or @domain.")] = ""
    address: Annotated[str, Meta(max_length=1000, description="Of sender or recipient.")] = ""
    domain: Annotated[str, Meta(max_length=1000, description="Of sender or recipient.")] = ""
    peer: Annotated[str, Meta(max_length=1000, description="Host name or IP address of the other side.")] = ""
    connector: _Text = ""
    event: Annotated[str, Meta(pattern=f"^({_EVENT})?$", description="What happened.")] = ""
    achieved: Annotated[
        str, Meta(max_length=100, description="none, encrypted, authenticated; or with the MX: dnssec/encrypted.")
    ] = ""
    protection: Annotated[
        Literal["", "dane", "mta-sts", "verified", "encrypted", "cleartext"],
        Meta(description="Of mail received or sent, as reports count it."),
    ] = ""
    tls_version: Annotated[str, Meta(max_length=100, description='"TLSv1.2" or "TLSv1.3".')] = ""
    tls_group: Annotated[str, Meta(max_length=100, description="Key exchange, such as X25519MLKEM768.")] = ""
    result_type: Annotated[str, Meta(max_length=100, description="Of a TLS failure (RFC 8460 section 4.3).")] = ""


class TraceEvents(msgspec.Struct):
    """Rows of one message or session, oldest first."""

    items: list[TraceEvent]


def _search(asked: Asked) -> Page:
    query: TraceSearch = asked.query
    after = position(query.after, TracePlace) if query.after else None
    given = {name: text for name, text in msgspec.structs.asdict(query).items() if name not in _FOUND}
    wanted = TraceFilter(**given, limit=query.limit)
    wanted.since = seconds("since", query.since) if query.since else 0.0
    wanted.until = seconds("until", query.until) if query.until else 0.0
    found, place = events_page(asked.gateway, asked.principal, wanted, after)
    return Page([event_record(one) for one in found], None if place is None else cursor(place))


def _show(asked: Asked) -> dict[str, Any]:
    return {"items": [event_record(one) for one in events_of(asked.gateway, asked.principal, asked.path["id"])]}


ENDPOINTS = (
    Endpoint(
        "GET",
        "/trace",
        "Rows that match every parameter, the newest first",
        _search,
        ListOf(TraceEvent),
        Scope.READ,
        Reach.SEEN,
        _TAG,
        query=TraceSearch,
    ),
    Endpoint(
        "GET",
        "/trace/{id:path}",
        "Everything about one message or session, the oldest first",
        _show,
        TraceEvents,
        Scope.READ,
        Reach.SEEN,
        _TAG,
        parameters={"id": "Queue id, Message-ID in <>, or session id."},
    ),
)
