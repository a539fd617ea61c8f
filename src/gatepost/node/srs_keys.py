"""The keys for rewritten reverse-paths in force in one worker, taken up anew when an administrator changes them.

Made by `node.assembly`, which asks as often as for new resources. A new key verifies at once and signs half a minute
later, when each worker of each node knows it. Keys that cannot be read leave those before in force.
"""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from gatepost.node.site_secrets import srs_keys_of
from gatepost.pki.certificates.files import CertificateFileError
from gatepost.store.interface import StoreFailure
from gatepost.store.srs_keys import srs_keys_mark

if TYPE_CHECKING:
    from collections.abc import Callable

    from gatepost.protocols.message.srs import SrsKeys
    from gatepost.settings.model import Settings
    from gatepost.store.changes import ConfigStore


SIGNING_SECONDS: Final = 30.0
"""Between the moment a worker learns of a new key and its first use: other nodes look every few seconds."""

_log = logging.getLogger(__name__)


class SrsKeySource:
    """store: of this worker, read on one thread at a time. clock: seconds that never go back.

    Raises as `srs_keys_of` if there are none to begin with.
    """

    def __init__(self, settings: Settings, store: ConfigStore, clock: Callable[[], float] = time.monotonic) -> None:
        self._settings = settings
        self._store = store
        self._clock = clock
        self._mark = self._look()
        self._stored = self.current = srs_keys_of(settings, store)
        self._learned = -SIGNING_SECONDS
        self._complaint = ""

    def newer(self) -> SrsKeys | None:
        """Other keys than the current ones, to be used from now on; None if there are none. Blocks."""
        now = self._clock()
        try:
            mark = self._look()
            if mark != self._mark:
                self._stored, self._learned = srs_keys_of(self._settings, self._store), now
                self._mark = mark  # not before: what could not be read is read again
            self._complaint = ""
        except (StoreFailure, CertificateFileError, OSError) as error:
            if self._complaint != (complaint := str(error)):
                self._complaint = complaint
                _log.error("the SRS keys cannot be read, those before stay in force: %s", error)
        settled = now - self._learned >= SIGNING_SECONDS
        keys = self._stored if settled else self.current.before_signing(self._stored)
        return None if keys == self.current else keys

    def is_outdated(self) -> bool:
        """Whether `newer` may have something to say. Cheap, on a node of its own; who shares a store asks a thread."""
        return self._store.is_shared or self.current != self._stored or self._look() != self._mark

    def take(self, keys: SrsKeys) -> None:
        """Make them the current ones."""
        self.current = keys
        _log.info("SRS keys in force: %s signs, %d in all", keys.names[0], len(keys.keys))

    def _look(self) -> object:
        return srs_keys_mark(self._store, Path(self._settings.server.data_dir))

    def close(self) -> None:
        """Close the store."""
        self._store.close()
