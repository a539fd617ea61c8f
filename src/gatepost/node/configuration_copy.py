"""The process that keeps the node's copy of the configuration, where workers have a role that may not read it.

It has the role of `store.url` and talks to nobody but the database. It removes old days of the message trace and of the
evidence log, too, which the role of workers may not (docs/decisions/0146, 0159).
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING

from gatepost.node.auxiliary import run_auxiliary
from gatepost.node.evidence import PRUNING_SECONDS, EvidenceLog
from gatepost.node.lifecycle import Duty, Lifecycle, Parts
from gatepost.node.retention import RETENTION_SECONDS, TraceRetention
from gatepost.store.leases import SiteDuty
from gatepost.store.storage import Storage

if TYPE_CHECKING:
    from gatepost.settings.model import Settings


def run_configuration_copy(settings: Settings, workers: int, lifeline: int) -> int:
    """The life of the process; its exit status. workers: how many the node has, whose numbers are below its own."""
    return run_auxiliary(
        lambda: _parts(settings, workers), lifeline, drain=settings.server.drain, what="the copy of the configuration"
    )


def _parts(settings: Settings, workers: int) -> Parts:
    """Raises StoreFailure, CertificateFileError or OSError."""
    storage = Storage.of(settings)
    store = storage.configuration()  # it follows the server on a thread as long as it is open
    parts = Parts(Lifecycle("copy of the configuration", close=store.close))
    if settings.trace.days:
        leases = storage.leases(settings.server.node_name, workers)
        duty = Duty(RETENTION_SECONDS, TraceRetention(storage.trace(), settings.trace.days).tick, at_once=True)
        parts.add(
            Lifecycle("leases", start=leases.start, close=partial(asyncio.to_thread, leases.close)),
            Lifecycle("retention of the trace", duties=[duty], lease=leases.lease(SiteDuty.RETENTION)),
        )
    if settings.evidence.enabled:  # without that lease: who has it need not keep a trace or a log
        duty = Duty(PRUNING_SECONDS, EvidenceLog(settings).tick_pruning, at_once=True)
        parts.add(Lifecycle("retention of the evidence log", duties=[duty]))
    return parts
