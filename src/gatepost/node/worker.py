"""One worker process: its loop, its shards of the queue, its sessions and deliveries, from start to drained end.

Forked by `node.supervisor`; put together by `node.assembly`. It reacts to SIGTERM (drain and end), SIGHUP (certificates
again), to new resources, and to the supervisor's death.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import signal
import time
from typing import TYPE_CHECKING

import uvloop

from gatepost.mail.inbound.service import SWEEP_SECONDS
from gatepost.net.lookups.validator import ValidatorError
from gatepost.net.tasks import spawn
from gatepost.node.alarms import ALARM_SECONDS
from gatepost.node.assembly import REFRESH_SECONDS, Assembly
from gatepost.node.certificate_manager import STAPLE_SECONDS
from gatepost.node.evidence import HEADS_SECONDS
from gatepost.node.observation import GAUGE_SECONDS
from gatepost.node.report_intake import INTAKE_SECONDS
from gatepost.node.report_sending import SENDING_SECONDS
from gatepost.node.snapshot import POLL_SECONDS
from gatepost.node.supervisor import CONFIGURATION_EXIT
from gatepost.pki.certificates.files import CertificateFileError
from gatepost.store.interface import StoreFailure

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Sequence

    from gatepost.settings.model import Settings


_log = logging.getLogger(__name__)


def run_worker(settings: Settings, index: int, workers: int, sockets: Sequence[socket.socket], lifeline: int) -> int:
    """The life of worker `index` of `workers`; its exit status. lifeline: reads end-of-file when we are alone."""
    # libuv may keep a ring per loop; on some kernels (seen on 6.18) a process that has one never finishes its exit.
    os.environ.setdefault("UV_USE_IO_URING", "0")
    gc.freeze()  # what was loaded before the fork stays in pages that all workers share
    worker = _Worker(settings, index, workers, sockets, lifeline)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(worker.run())


class _Worker:
    def __init__(
        self, settings: Settings, index: int, workers: int, sockets: Sequence[socket.socket], lifeline: int
    ) -> None:
        self._settings = settings
        self._place = (index, workers)
        self._sockets = sockets
        self._lifeline = lifeline
        self._stop = asyncio.Event()
        self._status = 0

    async def run(self) -> int:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        loop.add_reader(self._lifeline, self._stop.set)
        try:
            assembly = await Assembly.build(self._settings, *self._place, self._sockets)
        except (StoreFailure, CertificateFileError, ValidatorError, OSError) as error:
            _log.critical("worker %d cannot start: %s", self._place[0], error)
            return CONFIGURATION_EXIT
        loop.add_signal_handler(signal.SIGHUP, assembly.reload)
        periodic = [
            spawn(every(SWEEP_SECONDS, assembly.registry.sweep), "session sweep"),
            spawn(every(POLL_SECONDS, assembly.poll), "resources poll"),
            spawn(every(POLL_SECONDS, lambda: self._end_if_failed(assembly)), "store watch"),
            spawn(every(STAPLE_SECONDS, assembly.certificates.staple), "stapling"),
        ]
        if assembly.observed:
            assembly.observe()
            periodic.append(spawn(every(GAUGE_SECONDS, assembly.observe), "gauges"))
        if self._place[0] == 0:  # one is enough for all
            periodic.append(spawn(every(REFRESH_SECONDS, assembly.refresh_policies), "policy refresh"))
            own = ((ALARM_SECONDS, assembly.alarms.tick), (HEADS_SECONDS, assembly.evidence.tick))
            for pause, duty in (*assembly.certificates.duties(), *own):
                duty()  # not only after the first pause: what was missed while nothing ran is due now
                periodic.append(spawn(every(pause, duty), "duty"))
            periodic.append(spawn(assembly.tell_validation(), "validation"))
            periodic.append(spawn(every(INTAKE_SECONDS, assembly.report_intake().tick), "TLS reports"))
            if (sending := assembly.report_sending) is not None:
                periodic.append(spawn(every(SENDING_SECONDS, sending.tick), "TLS reports of ours"))
        await assembly.listener.start()
        await self._stop.wait()
        loop.remove_reader(self._lifeline)
        for task in periodic:
            task.cancel()
        await self._drain(assembly)
        return self._status

    def _end_if_failed(self, assembly: Assembly) -> None:
        """A store that failed for good is opened anew by a new process: the supervisor starts one."""
        if assembly.failed and not self._stop.is_set():
            _log.critical("the store failed: this worker ends, so that a new one recovers it")
            self._status = 1
            self._stop.set()

    async def _drain(self, assembly: Assembly) -> None:
        """Accept nothing new, let sessions and deliveries end, then close the store. Durable mail is never at stake."""
        deadline = time.monotonic() + self._settings.server.drain
        assembly.listener.stop()
        assembly.registry.drain()
        sweep = spawn(every(SWEEP_SECONDS, assembly.registry.sweep), "session sweep")
        while len(assembly.registry) and time.monotonic() < deadline:  # noqa: ASYNC110 - once, at the end
            await asyncio.sleep(0.05)
        sweep.cancel()
        await assembly.close(max(0.5, deadline - time.monotonic()))
        if self._place[0] == 0:
            await assembly.evidence.close()


async def every(seconds: float, work: Callable[[], object]) -> None:
    """Call `work` each time `seconds` have passed, whatever became of the call before, until cancelled."""
    with contextlib.suppress(asyncio.CancelledError):
        while True:
            await asyncio.sleep(seconds)
            try:
                work()
            except Exception:  # noqa: BLE001 - the next period must come, whatever it was
                _log.exception("periodic work failed; it is tried again")
