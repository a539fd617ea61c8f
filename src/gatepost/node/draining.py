"""Drain a worker with its node, and tell the site how it is.

Used by `node.assembly`; `node.heartbeat` asks and calls.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING

import msgspec

from gatepost.net.tasks import spawn
from gatepost.store.nodes import NodeFigures, NodeProblems, NodeState

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gatepost.mail.inbound.service import SessionRegistry
    from gatepost.mail.queue.manager import QueueManager
    from gatepost.net.listener import Listener
    from gatepost.node.certificate_manager import CertificateManager
    from gatepost.node.machine_report import UnhinderedLook
    from gatepost.node.observation import Observation
    from gatepost.node.site_member import SiteMember
    from gatepost.node.snapshot import SnapshotSource

_log = logging.getLogger(__name__)


class DrainedWorker(msgspec.Struct, frozen=True):
    """A worker as the site sees it: its figures, and whether it takes mail."""

    site: SiteMember
    managers: Sequence[QueueManager]
    listener: Listener
    registry: SessionRegistry
    machine: UnhinderedLook
    observation: Observation

    def figures(self, snapshots: SnapshotSource, certificates: CertificateManager) -> tuple[int, NodeFigures]:
        """The version of the configuration in force, and what others may know of this worker. On another thread."""
        observation, problems = self.observation, self.observation.problems
        return snapshots.current.version, NodeFigures(
            certificates=certificates.fingerprints,
            observed=certificates.observed,
            drained=bool(self.listener.refusal) and not len(self.registry),
            problems=NodeProblems(problems.failing, problems.dropped, problems.untold, observation.load),
            machine=self.machine.report(time.time(), observation.refusal()) if self.site.storage.is_shared else None,
            settings=self.site.settings_digests,
        )

    def become(self, state: NodeState) -> None:
        """Take no mail any more and leave the site's work to others, or the reverse."""
        is_draining = state is NodeState.DRAINING
        for manager in self.managers:  # what waits in a store of its own, nobody else delivers
            manager.rest(resting=is_draining and self.site.storage.is_shared)
        self.listener.refusal = "this node is being drained" if is_draining else ""
        self.observation.note_drained(self.listener.refusal)
        if is_draining:
            _log.warning("this node is drained: it takes no mail until an administrator undoes that, or its next start")
            self.registry.drain()
            spawn(asyncio.to_thread(self.site.leases.pause), "leases")
        else:
            self.registry.draining = False
            _log.warning("this node takes mail again")
            self.site.leases.resume()
