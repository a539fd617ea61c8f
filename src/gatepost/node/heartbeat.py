"""The heartbeat of a worker: what the site may know of it every three seconds, and whether its node is to be drained.

Made by `node.assembly`; on a thread, as the database may be slow or away. What cannot be said is said at the next beat.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from typing import TYPE_CHECKING, Final

import msgspec

from gatepost.store.interface import StoreFailure
from gatepost.store.nodes import BEAT_SECONDS, NodeFigures, NodeIdentity, NodeRegistry, NodeState

if TYPE_CHECKING:
    from collections.abc import Callable

    from gatepost.store.queue_admin import Depth


_COUNTING: Final = 30.0  # seconds between two counts of the queue,
_SHARE: Final = 300.0  # and times of what the last one took: a fifth of a second for a million deliveries,
_SELDOM: Final = 300.0  # but no more seconds than these: the first one after a power cut waits for the disk
_COMPLAIN: Final = 60.0

_log = logging.getLogger(__name__)


class Heartbeat:
    """registry: where it is told. figures: what a worker says, without its queue. depth: of its part of the queue.

    Both are called on the thread, as is state, when what the node is to be has changed. `is_unheard`: the last beat
    could not be written, or none was yet.
    """

    def __init__(
        self,
        registry: NodeRegistry,
        node: NodeIdentity,
        worker: int,
        *,
        figures: Callable[[], tuple[int, NodeFigures]],
        depth: Callable[[], Depth],
        state: Callable[[NodeState], object],
    ) -> None:
        self._registry = registry
        self._node = node
        self._worker = worker
        self._figures = figures
        self._depth = depth
        self._state = state
        self.is_unheard = True
        self._last = NodeState.ACTIVE
        self._count_at = 0.0
        self._counted: Depth | None = None
        self._complained = -_COMPLAIN
        self._due = threading.Event()
        self._ending = False
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)

    def start(self) -> None:
        """Begin, at once; the queue is counted from the second beat on, as new mail comes first."""
        self._count_at = time.monotonic() + BEAT_SECONDS / 2
        self._thread.start()

    def soon(self) -> None:
        """Beat now: something changed that others wait for."""
        self._due.set()

    def close(self) -> None:
        """End the thread. Blocks for no more than a statement."""
        self._ending = True
        self._due.set()
        if self._thread.is_alive():
            self._thread.join()
        self._registry.close()

    def beat(self) -> None:
        """One heartbeat. Never raises."""
        try:
            version, figures = self._figures()
            state = self._registry.beat(self._node, self._worker, os.getpid(), version, self._with_queue(figures))
        except StoreFailure as failure:
            self.is_unheard = True
            if time.monotonic() >= self._complained + _COMPLAIN:
                self._complained = time.monotonic()
                _log.error("no heartbeat of this node: %s", failure)
            return
        except Exception:  # noqa: BLE001 - the next beat must come, whatever it was
            _log.exception("a heartbeat failed; the next one is tried")
            return
        self._complained, self.is_unheard = -_COMPLAIN, False
        if state is not self._last:
            self._last = state
            self._state(state)

    def _with_queue(self, figures: NodeFigures) -> NodeFigures:
        """Counted every so often, and at each beat while the end of draining is waited for."""
        if (begun := time.monotonic()) >= self._count_at or self._last is NodeState.DRAINING:
            try:
                self._counted = self._depth()
            except StoreFailure:
                self._counted = None
            took = time.monotonic() - begun if self._counted is not None else 0.0
            self._count_at = begun + max(_COUNTING, min(_SHARE * took, _SELDOM))
        depth = self._counted
        if depth is None:
            return msgspec.structs.replace(figures, drained=False)
        left = depth.active + depth.deferred + depth.held
        return msgspec.structs.replace(
            figures,
            active=depth.active,
            deferred=depth.deferred,
            held=depth.held,
            drained=figures.drained and not left,
        )

    def _run(self) -> None:
        while not self._ending:
            self.beat()
            self._due.wait(BEAT_SECONDS)
            self._due.clear()
