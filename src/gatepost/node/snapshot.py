"""The configuration in force in one worker: an immutable directory, rebuilt when the stored version grows.

Readers hold a reference and never see a change half-way. A stored version that cannot be parsed (written by a newer
gatepost, say) leaves the old one in force and is reported once.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import msgspec

from gatepost.policy.connectors.directory import Directory
from gatepost.policy.connectors.errors import ResourceErrors
from gatepost.policy.connectors.grants import STORED_KINDS, ungranted_paths
from gatepost.policy.connectors.resources import PrefixLimits, Resources
from gatepost.store.directory import stored_directory

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gatepost.store.changes import ConfigStore


POLL_SECONDS = 0.5

_log = logging.getLogger(__name__)


class Snapshot(msgspec.Struct, frozen=True):
    """One version of the resources, indexed."""

    version: int
    directory: Directory


class SnapshotSource:
    """Reads the stored resources and says when there are new ones. Its store is for one thread at a time.

    tells: log what has no effect for want of a grant, each value once; one process of a gateway does.
    """

    def __init__(self, store: ConfigStore, prefixes: PrefixLimits, *, tells: bool = False) -> None:
        self._store = store
        self._prefixes = prefixes
        self._refused = -1
        self._tells = tells
        self._told: frozenset[str] = frozenset()
        self.current = Snapshot(0, Directory(Resources()))
        if (stored := self._build()) is not None and stored.version:
            self.take(stored)

    def refresh(self) -> bool:
        """Whether a newer version was taken up: `newer` and `take` at once, for who serves no sessions meanwhile."""
        snapshot = self.newer()
        if snapshot is not None:
            self.take(snapshot)
        return snapshot is not None

    def newer(self) -> Snapshot | None:
        """A newer version than the current one, None if there is none that can be used.

        Cheap when nothing changed. Of 10,000 connectors it takes seconds: not on a loop that serves sessions.
        """
        return self._build() if self.is_outdated() else None

    def is_outdated(self) -> bool:
        """Whether there is a version that was not looked at. Cheap: called every `POLL_SECONDS`."""
        return self._store.version() not in {self.current.version, self._refused}

    def take(self, snapshot: Snapshot) -> None:
        """Make it the current one."""
        self.current = snapshot
        _log.info("resources version %d in force", snapshot.version)

    def close(self) -> None:
        """Close the store."""
        self._store.close()

    def _build(self) -> Snapshot | None:
        version, document = self._store.load(*STORED_KINDS)
        try:
            directory = stored_directory(self._store, version, document, self._prefixes)
        except ResourceErrors as errors:
            self._refused = version
            _log.error("stored resources version %d cannot be used, the old ones stay in force:\n%s", version, errors)
            return None
        if self._tells:
            self._tell(ungranted_paths(directory.resources))
        return Snapshot(version, directory)

    def _tell(self, ungranted: Iterable[str]) -> None:
        texts = dict.fromkeys(ungranted)
        for text in texts:
            if text not in self._told:
                _log.error("%s", text)
        self._told = frozenset(texts)
