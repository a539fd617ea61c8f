"""The mail of another gateway: its queue, its trace, and what connectors and rules did to it.

Records of REST become the values that `administration` gives for a gateway's own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import msgspec

from gatepost.administration.queue import Acted
from gatepost.administration.rehearsal import rehearsal_of
from gatepost.remote.resources import time_text
from gatepost.store.administration import QueueEntry
from gatepost.store.interface import Delivery, TraceEvent
from gatepost.store.queue_id import parse_id

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gatepost.administration.queue import QueueAction
    from gatepost.administration.rehearsal import Question, Rehearsal
    from gatepost.remote.connection import Connection
    from gatepost.store.interface import QueueFilter, TraceFilter

__all__ = ["acted", "entries", "events", "events_of", "message_entries", "rehearsal"]


def entries(connection: Connection, wanted: QueueFilter) -> list[QueueEntry]:
    """As `administration.queue.entries`."""
    found = connection.items("/queue", wanted.limit, held=wanted.held, **_filter(wanted))
    return [_entry(one) for one in found]


def message_entries(connection: Connection, wanted: QueueFilter) -> list[QueueEntry]:
    """As `administration.queue.message_entries`."""
    found = connection.get(f"/queue/{quote(wanted.message, safe='')}").value
    return [_entry(one) for one in found["items"]]


def acted(connection: Connection, action: QueueAction, wanted: QueueFilter, *, messages: Sequence[str] = ()) -> Acted:
    """As `administration.queue.acted`."""
    chosen = _filter(wanted)
    body = {"action": str(action), "messages": list(messages), "all": not messages and not any(chosen.values())}
    answer = connection.call("POST", "/queue/actions", body=body | chosen).value
    return Acted(answer["changed"], [_entry(one) for one in answer["items"]])


def events(connection: Connection, wanted: TraceFilter) -> list[TraceEvent]:
    """As `administration.trace.events`."""
    query = msgspec.structs.asdict(wanted) | {"since": time_text(wanted.since), "until": time_text(wanted.until)}
    for name in ("limit", "organizations"):
        del query[name]
    return [msgspec.convert(one, TraceEvent) for one in connection.items("/trace", wanted.limit, **query)]


def events_of(connection: Connection, identity: str) -> list[TraceEvent]:
    """As `administration.trace.events_of`."""
    found = connection.get(f"/trace/{quote(identity, safe='')}").value
    return [msgspec.convert(one, TraceEvent) for one in found["items"]]


def rehearsal(connection: Connection, question: Question) -> Rehearsal:
    """As `administration.rehearsal.rehearsal`."""
    query = {
        "name": question.name,
        "organization": question.organization,
        "direction": question.direction,
        "since": time_text(question.since),
        "rule": question.rule,
        "replay": question.replay,
    }
    return rehearsal_of(connection.get("/rehearsal", **query).value, question)


def _filter(wanted: QueueFilter) -> dict[str, str]:
    return {
        "organization": wanted.organization,
        "domain": wanted.domain,
        "sender": wanted.sender,
        "recipient": wanted.recipient,
    }


def _entry(record: Mapping[str, Any]) -> QueueEntry:
    """As `administration.queue.entry_record` made it; in which shard it lies is not said."""
    message = {**record["message"], "id": parse_id(record["message"]["id"])}
    fields = {key: value for key, value in record.items() if key not in {"message", "state"}}
    delivery = msgspec.convert({**fields, "id": 0, "message": message}, Delivery)
    return QueueEntry(delivery, "", record["state"])
