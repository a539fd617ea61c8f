"""The message trace as administrators search it: one row for every recipient and event.

Who sees only some organizations finds rows of theirs alone; what belongs to none, such as a refusal before anybody was
addressed, is for who sees the whole gateway. Of rows that tell of another organization, too, they see what is their own
(`policy.decisions.withheld`), and find none by what they do not see.
"""

from __future__ import annotations

import ipaddress
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import msgspec

from gatepost.analysis.reports.tls import Protection
from gatepost.manage.use_cases.refusal import Kind, Refusal
from gatepost.manage.use_cases.visibility import hidden_from
from gatepost.policy.decisions.withheld import named_in, own_chains, without_others
from gatepost.store.interface import TraceFilter
from gatepost.store.trace_meanings import first_answered
from gatepost.store.trace_search import search_trace, trace_page

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from gatepost.mail.model.trace_event import TraceEvent
    from gatepost.manage.access.principal import Principal
    from gatepost.manage.use_cases.gateway import Gateway
    from gatepost.policy.decisions.withheld import Hidden
    from gatepost.store.trace_search import TracePlace


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
    "RELEASE",
    "RETURN",
    "DRILL",
)
PROTECTIONS = tuple(map(str, Protection))
"""What a search may ask of how mail was protected, best first."""
MOST = 10_000
"""Rows at a time, at most."""


def events(gateway: Gateway, who: Principal, wanted: TraceFilter) -> list[TraceEvent]:
    """The newest rows that match, newest first. event: in any case. Raises Refusal (INPUT) for impossible times."""
    with _times():
        return _shown(gateway, who, search_trace(gateway.data / "trace", _seen(who, wanted)))


def events_page(
    gateway: Gateway, who: Principal, wanted: TraceFilter, after: TracePlace | None
) -> tuple[list[TraceEvent], TracePlace | None]:
    """The same a page at a time: the rows, and the place behind which the next ones are, None on the last page."""
    with _times():
        found, place = trace_page(gateway.data / "trace", _seen(who, wanted), after, time.time())
        return _shown(gateway, who, found), place


def events_of(gateway: Gateway, who: Principal, identity: str) -> list[TraceEvent]:
    """Everything about one message (queue id, or Message-ID in <>) or one session, oldest first.

    Raises Refusal (MISSING).
    """
    for wanted in _meant(identity) if identity else ():  # a filter without anything would be all of the trace
        if found := events(gateway, who, wanted):
            return found[::-1]
    raise Refusal(Kind.MISSING, f"nothing in the trace has the id {identity}")


def meanings(text: str) -> tuple[dict[str, str], ...]:
    """What a person who searches may mean by some words: filters by field of TraceFilter, the likeliest first.

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


def meant(gateway: Gateway, who: Principal, wanted: Sequence[TraceFilter]) -> TraceFilter | None:
    """The first of several filters, alike in their time, that finds anything; None if none does.

    Raises Refusal (INPUT) for impossible times.
    """
    with _times():
        place = first_answered(gateway.data / "trace", [_seen(who, one) for one in wanted])
    return None if place is None else wanted[place]


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def event_record(event: TraceEvent) -> dict[str, Any]:
    """For machines, as `gatepost trace search --json` prints it."""
    return msgspec.structs.asdict(event)


@contextmanager
def _times() -> Iterator[None]:
    """Raises Refusal (INPUT) for a time before the year 1 or after 9999."""
    try:
        yield
    except (ValueError, OverflowError, OSError) as error:
        raise Refusal(Kind.INPUT, str(error)) from error


def _meant(identity: str) -> tuple[TraceFilter, ...]:
    if identity.startswith("<"):
        return (TraceFilter(message_id=identity, limit=MOST),)
    return TraceFilter(message=identity, limit=MOST), TraceFilter(session=identity, limit=MOST)


def _seen(who: Principal, wanted: TraceFilter) -> TraceFilter:
    return msgspec.structs.replace(wanted, event=wanted.event.upper(), organizations=who.organizations)


def _shown(gateway: Gateway, who: Principal, found: list[TraceEvent]) -> list[TraceEvent]:
    """The rows as they may see them, with what was really said of another organization's way for who sees that, too."""
    if who.is_of_gateway:
        return [_whole(event) for event in found]
    hidden = hidden_from(gateway, who)
    return [_cut(event, who, hidden) for event in found]


def _cut(event: TraceEvent, who: Principal, hidden: Hidden) -> TraceEvent:
    event = msgspec.structs.replace(event, tls=own_chains(event.tls, hidden))
    others = named_in(event.detail)
    if others and all(map(who.sees, others)):
        return _whole(event)
    return msgspec.structs.replace(event, **without_others(event, hidden.names))


def _whole(event: TraceEvent) -> TraceEvent:
    """With the reply that queue and notices have without what is another organization's."""
    said = event.detail.get("reply")
    return event if said is None else msgspec.structs.replace(event, reply=str(said))
