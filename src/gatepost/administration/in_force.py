"""On which workers a version of the configuration is in force, by what each left of itself a moment ago. Asks nobody.

One sequence of versions counts resources and certificates alike, so that this holds for a changeover, too.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

from gatepost.store.figures import WORKERS_DIRECTORY, read_all

if TYPE_CHECKING:
    from gatepost.administration.gateway import Gateway

__all__ = ["WorkerVersion", "in_force"]


class WorkerVersion(NamedTuple):
    """node: host name. version: that it works by. at: when it said so, seconds since 1970.

    ok: whether it is new enough; a worker says so every few seconds, so that this may come that much late.
    """

    node: str
    worker: int
    version: int
    at: float
    ok: bool


def in_force(gateway: Gateway, version: int) -> list[WorkerVersion]:
    """Each worker of this node that lives, and whether what `version` says is in force there."""
    hostname = gateway.settings.server.hostname
    return [
        WorkerVersion(hostname, one.worker, one.version, one.at, one.version >= version)
        for one in read_all(gateway.data / WORKERS_DIRECTORY)
        if _lives(one.pid)
    ]


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True
    except (OSError, OverflowError):
        return False
    return pid > 0
