"""Next hops that are sent less than there is, as they said that they get too much: 421, or "too many" in other words.

Each worker lowers its own rate (`mail.queue.slowdown`) and leaves it in its file, which this machine's workers alone
write. On a stopped gateway it is what the next start begins with.
"""

from __future__ import annotations

import time

import msgspec

from gatepost.mail.queue.slowdown import Slowdowns
from gatepost.manage.access.principal import Scope
from gatepost.manage.use_cases.context import Context  # noqa: TC001 - the declaration reads it
from gatepost.manage.use_cases.declaration import Items, Visibility, use_case
from gatepost.store.figures import WORKERS_DIRECTORY, read_all


class ListSlowed(msgspec.Struct, kw_only=True):
    """All of this machine."""


class SlowedDestination(msgspec.Struct):
    """A next hop (its hosts) and a worker. code: of the reply that slowed it. at: of it, in seconds since 1970."""

    next_hop: str
    worker: int
    messages_per_minute: float
    code: int
    at: float


@use_case("GET /destinations/slowed", scope=Scope.READ, visibility=Visibility.GATEWAY, tag="destinations")
def list_slowed(context: Context, request: ListSlowed) -> Items[SlowedDestination]:  # noqa: ARG001 - nothing to say
    """List next hops that are sent less mail, as they said that they get too much; each worker has its own rate."""
    now = time.time()
    destinations = [
        SlowedDestination(slowed.next_hop, figures.worker, round(slowed.rate, 1), slowed.code, slowed.at)
        for figures in read_all(context.data / WORKERS_DIRECTORY)
        for slowed in Slowdowns(figures.slowed).listed(now)
    ]
    return Items(sorted(destinations, key=lambda slowed: (slowed.next_hop, slowed.worker)))
