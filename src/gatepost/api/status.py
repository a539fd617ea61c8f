"""How the gateway is, without asking its listeners: this answer comes from one of its own processes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from gatepost import __version__
from gatepost.access.principal import Scope
from gatepost.administration.status import configuration, queue_depth, workers
from gatepost.api.endpoint import Endpoint, Reach

if TYPE_CHECKING:
    from gatepost.api.endpoint import Asked

__all__ = ["ENDPOINTS"]


class StatusConfiguration(msgspec.Struct):
    """The version in force, 0 before the first; and who made it when, seconds since 1970."""

    version: int
    at: float
    author: str


class StatusWorker(msgspec.Struct):
    """A worker process."""

    name: str
    ok: bool
    detail: str


class StatusQueue(msgspec.Struct):
    """Deliveries by state; the counting ends at 10,000."""

    active: int
    deferred: int
    held: int


class Status(msgspec.Struct):
    """ok: every worker lives. software: the version of gatepost."""

    ok: bool
    software: str
    hostname: str
    configuration: StatusConfiguration
    workers: list[StatusWorker]
    queue: StatusQueue


def _status(asked: Asked) -> dict[str, Any]:
    alive = workers(asked.gateway)
    return {
        "ok": all(one.ok for one in alive),
        "software": __version__,
        "hostname": asked.gateway.settings.server.hostname,
        "configuration": configuration(asked.gateway)._asdict(),
        "workers": [one._asdict() for one in alive],
        "queue": queue_depth(asked.gateway, asked.principal),
    }


ENDPOINTS = (
    Endpoint(
        "GET",
        "/status",
        "Whether the workers live, the configuration in force, the queue",
        _status,
        Status,
        Scope.READ,
        Reach.GATEWAY,
        "status",
    ),
)
