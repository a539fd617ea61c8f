"""Enter this node among those of the site, before its workers start. Called by `manage.cli.serve`.

A node is known by `server.node`, a start of it by a random instance, its data directory by a random word in `node.id`:
a node that comes back after a crash need not wait for its own heartbeat to expire.
"""

from __future__ import annotations

import fcntl
import logging
import os
import secrets
import socket
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from gatepost import __version__
from gatepost.store.interface import StoreFailure
from gatepost.store.nodes import NodeIdentity, NodeNameTaken
from gatepost.store.sqlite.schema import make_directory
from gatepost.store.storage import Storage

if TYPE_CHECKING:
    from gatepost.settings.model import Settings


_ORIGIN_FILE: Final = "node.id"
_WAIT: Final = 10.0  # seconds for processes of an earlier start that are about to end

_log = logging.getLogger(__name__)


class Registration:
    """The entry of a node among those of the site, from its start to its end. node: for its workers."""

    def __init__(self, settings: Settings) -> None:
        """Raises NodeNameTaken or, where several nodes share the store, another StoreFailure."""
        self._storage = Storage.of(settings)
        self._lock, origin = _origin(Path(settings.server.data_dir), locked=self._storage.is_shared)
        listeners = tuple(f"{listener.role.value} {listener.address}" for listener in settings.listeners)
        host = socket.gethostname()
        self.node = NodeIdentity(settings.server.node_name, secrets.token_hex(16), origin, host, __version__, listeners)
        registry = self._storage.nodes()
        try:
            registry.enter(self.node)
        except NodeNameTaken:
            raise
        except StoreFailure as failure:
            if self._storage.is_shared:
                raise
            _log.warning("this node is not listed yet: %s", failure)  # mail does not wait for a list
        finally:
            registry.close()
            self._storage.disconnect()  # workers are forked next

    def end(self) -> None:
        """All processes of the node have ended."""
        registry = self._storage.nodes()
        with suppress(StoreFailure):  # it expires
            registry.stop(self.node)
        registry.close()
        self._storage.disconnect()


def _origin(data: Path, *, locked: bool) -> tuple[int, str]:
    """The word of a data directory, made once, and the descriptor that has its lock while any process has it open.

    Raises StoreFailure if another gateway has it.
    """
    path = data / _ORIGIN_FILE
    try:
        make_directory(data)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        if locked:
            _take(descriptor, path)
        origin = os.read(descriptor, 64).decode("ascii", "replace")
        if not origin:
            origin = secrets.token_hex(16)
            os.write(descriptor, origin.encode())
            os.fsync(descriptor)
    except OSError as error:
        if locked:
            raise StoreFailure(f"{path}: {error.strerror}") from error
        return -1, ""
    return descriptor, origin


def _take(descriptor: int, path: Path) -> None:
    deadline = time.monotonic() + _WAIT
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            if time.monotonic() > deadline:
                raise StoreFailure(
                    f"{path.parent} is in use by another gateway: each node needs a data_dir of its own"
                ) from error
            time.sleep(0.2)
        else:
            return
