"""The message trace of another gateway."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote

import msgspec

from gatepost.remote.times import time_text
from gatepost.store.interface import TraceEvent

if TYPE_CHECKING:
    from gatepost.remote.connection import Connection
    from gatepost.store.interface import TraceFilter

__all__ = ["events", "events_of"]


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
