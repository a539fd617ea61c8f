"""Run an auxiliary process that serves something small over HTTP (docs/decisions/0009).

Used by the hosts of `node` and by the admin centre, which the supervisor runs. It reacts to SIGTERM (end), SIGHUP (read
again what is in files), and to the supervisor's death.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
from typing import TYPE_CHECKING

import uvloop

from gatepost.net.token_access import TOKEN_KEYS
from gatepost.node.http_session import SECONDS
from gatepost.node.lifeline import Sign, life_signs, tell_supervisor
from gatepost.pki.certificates.files import CertificateFileError
from gatepost.store.interface import StoreFailure

if TYPE_CHECKING:
    from collections.abc import Callable

    from gatepost.node.lifecycle import Parts


_log = logging.getLogger(__name__)


def run_auxiliary(make: Callable[[], Parts], lifeline: int, *, drain: float, what: str) -> int:
    """Serve until told to end; the exit status. lifeline: reads end-of-file when the supervisor is gone.

    make: the parts of the process; whatever they cannot be made for, it is started again: mail is never stopped for it.
    what: is served, for the log.
    """
    os.environ.setdefault("UV_USE_IO_URING", "0")  # as in `node.worker`
    gc.freeze()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_run(make, lifeline, drain, what))


async def _run(make: Callable[[], Parts], lifeline: int, drain: float, what: str) -> int:
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    loop.add_reader(lifeline, stop.set)
    try:
        parts = make()
    except (StoreFailure, CertificateFileError, OSError) as error:
        _log.critical("%s cannot be served: %s", what, error)
        return 1
    if TOKEN_KEYS.access is not None:
        from gatepost.node.token_watch import TokenWatch  # noqa: PLC0415 - few have keys in tokens

        parts.add(TokenWatch(parts.reload, stop.set).life())

    def reload() -> None:
        parts.reload()
        tell_supervisor(lifeline, Sign.RELOADED)

    loop.add_signal_handler(signal.SIGHUP, reload)
    parts.add(life_signs(lifeline))
    await parts.start()
    tell_supervisor(lifeline, Sign.READY)
    await stop.wait()
    loop.remove_reader(lifeline)
    await parts.close(min(drain, SECONDS))
    return 0
