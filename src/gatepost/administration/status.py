"""What a gateway works by, seen from its files: the configuration in force, its workers, its queue. Asks nobody."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

from gatepost.administration.queue import entries
from gatepost.store.interface import QueueFilter
from gatepost.store.schema import LOCK_FILE

if TYPE_CHECKING:
    from gatepost.access.principal import Principal
    from gatepost.administration.gateway import Gateway

__all__ = ["COUNTED", "Configuration", "Found", "configuration", "queue_depth", "workers"]

COUNTED = 10_000
"""Deliveries at which the counting ends."""
_STATES = ("active", "deferred", "held")


class Found(NamedTuple):
    """What was found where something should run."""

    name: str
    ok: bool
    detail: str


class Configuration(NamedTuple):
    """The version in force, 0 before the first; and who made it when, seconds since 1970."""

    version: int
    at: float
    author: str


def configuration(gateway: Gateway) -> Configuration:
    """Raises Refusal (UNREADABLE)."""
    with gateway.config() as store:
        newest = store.history(limit=1)
    return Configuration(newest[0].version, newest[0].at, newest[0].author) if newest else Configuration(0, 0.0, "")


def queue_depth(gateway: Gateway, who: Principal) -> dict[str, int]:
    """How many deliveries there are, by state; the counting ends at COUNTED. Raises Refusal (UNREADABLE)."""
    found = entries(gateway, who, QueueFilter(limit=COUNTED))
    return {state: sum(entry.state == state for entry in found) for state in _STATES}


def workers(gateway: Gateway) -> list[Found]:
    """Whether the processes live that took the workers' shards of the queue."""
    count = gateway.settings.server.workers or len(os.sched_getaffinity(0))
    return [_worker(gateway, index) for index in range(count)]


def _worker(gateway: Gateway, index: int) -> Found:
    try:
        pid = int((gateway.data / "queue" / str(index) / LOCK_FILE).read_text(encoding="ascii"))
        os.kill(pid, 0)
    except PermissionError:
        return Found(str(index), ok=True, detail="runs, under another account")
    except (OSError, ValueError, OverflowError):
        return Found(str(index), ok=False, detail="does not run")
    return Found(str(index), ok=True, detail=f"runs, process {pid}")
