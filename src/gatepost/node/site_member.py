"""A worker as a part of its node, and the node as one of the site: leases, the heartbeat, what other nodes know.

Made by `node.assembly`. With one node on SQLite it is the same, but for leases, which are worker 0's.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import closing
from functools import cached_property, partial
from typing import TYPE_CHECKING

from gatepost.node.expiry_clock import CLOCK_CONTENT, ExpiryClock
from gatepost.node.heartbeat import Heartbeat
from gatepost.node.lifecycle import Lifecycle
from gatepost.settings.comparison import settings_digests
from gatepost.store.interface import StoreFailure
from gatepost.store.leases import Lease, node_duty
from gatepost.store.storage import Storage

if TYPE_CHECKING:
    from collections.abc import Callable

    from gatepost.settings.model import Settings
    from gatepost.store.nodes import Node, NodeFigures, NodeIdentity, NodeProblems, NodeState
    from gatepost.store.queue_admin import Depth


_log = logging.getLogger(__name__)


class SiteMember:
    """storage: of the gateway. leases: of what one worker does for others."""

    def __init__(self, settings: Settings, worker: int) -> None:
        self.storage = Storage.of(settings)
        self._settings = settings
        self._name = settings.server.node_name
        self._worker = worker
        self._heartbeat: Heartbeat | None = None
        self.leases = self.storage.leases(self._name, worker)

    @property
    def own(self) -> Lease:
        """The lease for what one worker does for its node."""
        return self.leases.lease(node_duty(self._name))

    @property
    def is_first_of_several(self) -> bool:
        """Whether this is the first worker of a node, and the node shares a database."""
        return self.storage.is_shared and self._worker == 0

    @cached_property
    def settings_digests(self) -> dict[str, str] | None:
        """Digests that other nodes compare with theirs; None if another worker says them, or there is no other node."""
        return settings_digests(self._settings) if self.is_first_of_several else None

    @property
    def is_cut_off(self) -> bool:
        """Whether the last heartbeat could not be written, or none was yet."""
        return self._heartbeat is None or self._heartbeat.is_unheard

    @cached_property
    def expiry_clock(self) -> ExpiryClock:
        """The clock by which mail expires in this process. Raises StoreFailure."""
        with closing(self.storage.configuration()) as resources:
            return ExpiryClock(resources.content(CLOCK_CONTENT))

    def leasing(self) -> Lifecycle:
        """The life of the leases: given back first at the end, so that other nodes go on with what they are for."""
        return Lifecycle(
            "leases",
            start=self.leases.start,
            drain=lambda _: asyncio.to_thread(self.leases.pause),
            close=partial(asyncio.to_thread, self.leases.close),
        )

    def beating(
        self,
        node: NodeIdentity,
        *,
        figures: Callable[[], tuple[int, NodeFigures]],
        depth: Callable[[], Depth],
        become: Callable[[NodeState], object],
    ) -> Lifecycle:
        """The life of the heartbeat. become: called on the loop when an administrator has the node drained, or not."""
        loop = asyncio.get_running_loop()
        self._heartbeat = Heartbeat(
            self.storage.nodes(),
            node,
            self._worker,
            figures=figures,
            depth=depth,
            state=lambda state: loop.call_soon_threadsafe(become, state),
        )
        close = partial(asyncio.to_thread, self._heartbeat.close)
        return Lifecycle("heartbeat", start=self._heartbeat.start, close=close)

    def tell(self) -> None:
        """Beat now: who made a change waits for where it is in force."""
        if self._heartbeat is not None:
            self._heartbeat.soon()

    def nodes(self) -> list[Node] | None:
        """All nodes of the site, for alarms; None if they cannot be read. Blocks."""
        registry = self.storage.nodes()
        try:
            return registry.nodes()
        except StoreFailure as failure:
            _log.warning("alarms do not know of other nodes: %s", failure)
            return None
        finally:
            registry.close()

    def problems_elsewhere(self) -> list[NodeProblems]:
        """Problems that the workers of other nodes know, for alarms. Blocks."""
        others = (node for node in self.nodes() or () if node.state.is_alive and node.name != self._name)
        return [worker.figures.problems for node in others for worker in node.workers]
