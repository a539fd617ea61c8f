"""One worker process: its loop, its shards of the queue, its sessions and deliveries, from start to drained end.

Forked by `node.supervisor`; put together by `node.assembly`. It reacts to SIGTERM (drain and end), SIGHUP (certificates
again), to new resources, and to the supervisor's death.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
from typing import TYPE_CHECKING

import uvloop

from gatepost.net.lookups.validator import ValidatorError
from gatepost.net.tasks import SingleTask
from gatepost.node.assembly import Assembly
from gatepost.node.lifecycle import Duty, Lifecycle
from gatepost.node.lifeline import Sign, life_signs, tell_supervisor
from gatepost.node.snapshot import POLL_SECONDS
from gatepost.node.supervisor import CONFIGURATION_EXIT
from gatepost.pki.certificates.files import CertificateFileError
from gatepost.store.interface import StoreFailure

if TYPE_CHECKING:
    import socket
    from collections.abc import Sequence

    from gatepost.node.ticket_secrets import SharedSecrets
    from gatepost.settings.model import Settings
    from gatepost.store.nodes import NodeIdentity


_log = logging.getLogger(__name__)


def run_worker(
    settings: Settings,
    place: tuple[int, int],
    sockets: Sequence[socket.socket],
    lifeline: int,
    node: NodeIdentity | None = None,
    tickets: SharedSecrets | None = None,
) -> int:
    """The life of a worker; its exit status. place: its number, from 0, and how many there are.

    lifeline: reads end-of-file when we are alone; what we say on it the supervisor hears (`node.lifeline`).
    node: which one it is of, for the list of nodes; None: it is in no list. tickets: see `Assembly.build`.
    """
    # libuv may keep a ring per loop; on some kernels (seen on 6.18) a process that has one never finishes its exit.
    os.environ.setdefault("UV_USE_IO_URING", "0")
    gc.freeze()  # what was loaded before the fork stays in pages that all workers share
    worker = _Worker(settings, place, sockets, lifeline, node, tickets)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(worker.run())


class _Worker:
    def __init__(
        self,
        settings: Settings,
        place: tuple[int, int],
        sockets: Sequence[socket.socket],
        lifeline: int,
        node: NodeIdentity | None,
        tickets: SharedSecrets | None,
    ) -> None:
        self._settings = settings
        self._place = place
        self._sockets = sockets
        self._lifeline = lifeline
        self._node = node
        self._tickets = tickets
        self._stop = asyncio.Event()
        self._status = 0
        self._reloading, self._must_reload = SingleTask("files read again"), False

    async def run(self) -> int:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        loop.add_reader(self._lifeline, self._stop.set)
        try:
            assembly = await Assembly.build(self._settings, *self._place, self._sockets, self._node, self._tickets)
        except (StoreFailure, CertificateFileError, ValidatorError, OSError) as error:
            _log.critical("worker %d cannot start: %s", self._place[0], error)
            return CONFIGURATION_EXIT
        loop.add_signal_handler(signal.SIGHUP, lambda: self._reload(assembly))
        watch = Duty(POLL_SECONDS, lambda: self._end_if_failed(assembly))
        assembly.parts.add(Lifecycle("store watch", duties=[watch]), life_signs(self._lifeline))
        await assembly.parts.start()
        tell_supervisor(self._lifeline, Sign.READY)
        await self._stop.wait()
        loop.remove_reader(self._lifeline)
        self._reloading.cancel()
        await assembly.parts.close(self._settings.server.drain)
        return self._status

    def _reload(self, assembly: Assembly) -> None:
        self._must_reload = True
        self._reloading.begin(self._read_again, assembly)

    async def _read_again(self, assembly: Assembly) -> None:
        """Once more if another SIGHUP came meanwhile: files that were read already may be others."""
        try:
            while self._must_reload:
                self._must_reload = False
                await assembly.reload()
        finally:
            tell_supervisor(self._lifeline, Sign.RELOADED)

    def _end_if_failed(self, assembly: Assembly) -> None:
        """A store that failed for good, or a token that was away, is for a new process: the supervisor starts one."""
        if assembly.failed and not self._stop.is_set():
            _log.critical("the store failed: this worker ends, so that a new one recovers it")
            self._status = 1
            self._stop.set()
        if assembly.certificates.lost_token:  # the log says so
            self._stop.set()
