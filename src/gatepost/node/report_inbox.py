"""Store TLS reports that are sent to the public HTTPS server, for a worker to read (RFC 8460 section 5.4).

Made by `node.policy_host`, called by `node.policy_host`; what is in a report is `analysis.reports.tlsrpt_intake`'s
question, in another process. Bounded: so many files wait at most, a tenth of them of one sender, each is as large as
a report may be, and none comes where the disk has little room.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from functools import lru_cache
from http import HTTPStatus
from itertools import count
from pathlib import Path
from typing import Final

from gatepost.net.listener import source_of
from gatepost.store.queue_room import QueueRoom
from gatepost.store.sqlite.schema import make_directory, sync_directory

REPORTS_PATH: Final = "/tls-reports"
"""Where reports are taken, on the host that is named like the server."""

_MOST: Final = 1000  # files that wait
_OF_ONE: Final = 100  # of one source: a large reporter has one for each of our domains, and they are read in a minute

_log = logging.getLogger(__name__)


class ReportInbox:
    """folder: in the data directory, made when first needed. clock: seconds since 1970.

    mark: `store.free_space`, octets: what strangers send leaves room for the queue.
    """

    def __init__(self, folder: Path, clock: Callable[[], float] = time.time, *, mark: int = 0) -> None:
        self._folder = folder
        self._room = QueueRoom(folder.parent, mark)
        self._clock = clock
        self._counter = count(1)

    def put(self, body: bytes, peer: str) -> HTTPStatus:
        """Keep a body until it is read; the answer to its sender. peer: the IP address it came from."""
        name = f"{int(self._clock() * 1000):013}.{os.getpid()}-{next(self._counter)}.{peer.replace(':', '-')}"
        try:
            make_directory(self._folder)
            waiting = [path.name for path in self._folder.iterdir()]
            if len(waiting) >= _MOST:
                _log.warning("TLS reports: %d wait to be read, more are not taken", _MOST)
                return HTTPStatus.SERVICE_UNAVAILABLE
            if sum(_source(_peer(name)) == _source(peer) for name in waiting) >= _OF_ONE:
                return HTTPStatus.SERVICE_UNAVAILABLE
            self._room.check(self._folder, len(body))
            self._write(name, body)
        except OSError as error:
            _log.error("TLS reports: one that was sent cannot be kept: %s", error)
            return HTTPStatus.SERVICE_UNAVAILABLE
        return HTTPStatus.CREATED

    def _write(self, name: str, body: bytes) -> None:
        new = self._folder / f".{name}"
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as file:
            file.write(body)
            file.flush()
            os.fsync(file.fileno())
        new.rename(self._folder / name)
        sync_directory(self._folder)


def _peer(name: str) -> str:
    """The address in the name of a file."""
    return name.removeprefix(".").split(".", 2)[-1].replace("-", ":")


_source = lru_cache(_MOST)(source_of)
"""Whose an address is, as limits count: asked of each file that waits."""
