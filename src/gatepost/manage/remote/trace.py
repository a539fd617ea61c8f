"""The message trace of another gateway."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote

import msgspec

from gatepost.mail.model.trace_event import TraceEvent
from gatepost.manage.remote.times import time_text

if TYPE_CHECKING:
    from gatepost.manage.remote.connection import Connection
    from gatepost.store.interface import TraceFilter


def events(connection: Connection, wanted: TraceFilter) -> list[TraceEvent]:
    """As `manage.use_cases.trace.events`."""
    query = msgspec.structs.asdict(wanted) | {"since": time_text(wanted.since), "until": time_text(wanted.until)}
    for name in ("limit", "organizations"):
        del query[name]
    return [msgspec.convert(one, TraceEvent) for one in connection.items("/trace", wanted.limit, **query)]


def events_of(connection: Connection, identity: str) -> list[TraceEvent]:
    """As `manage.use_cases.trace.events_of`."""
    found = connection.get(f"/trace/{quote(identity, safe='')}").value
    return [msgspec.convert(one, TraceEvent) for one in found["items"]]
