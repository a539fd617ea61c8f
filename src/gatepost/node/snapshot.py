"""The configuration in force in one worker: an immutable directory, rebuilt when the stored version grows.

Readers hold a reference and never see a change half-way. A stored version that cannot be parsed (written by a newer
gatepost, say) leaves the old one in force and is reported once.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gatepost.administration.stored_directory import stored_directory
from gatepost.connectors.grants import STORED_KINDS, ungranted_paths
from gatepost.connectors.match import Directory
from gatepost.connectors.model import ResourceErrors, Resources

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gatepost.connectors.rules import PrefixLimits
    from gatepost.store.changes import ConfigStore

__all__ = ["POLL_SECONDS", "Snapshot", "SnapshotSource"]

POLL_SECONDS = 0.5

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One version of the resources, indexed."""

    version: int
    directory: Directory


class SnapshotSource:
    """Reads the stored resources and says when there are new ones.

    tells: log what has no effect for want of a grant, each value once; one process of a gateway does.
    """

    def __init__(self, store: ConfigStore, prefixes: PrefixLimits, *, tells: bool = False) -> None:
        self._store = store
        self._prefixes = prefixes
        self._refused = -1
        self._tells = tells
        self._told: frozenset[str] = frozenset()
        self.current = self._build() or Snapshot(0, Directory(Resources()))

    def refresh(self) -> bool:
        """Whether a newer version was taken up. Cheap when nothing changed; called every `POLL_SECONDS`."""
        version = self._store.version()
        if version in {self.current.version, self._refused}:
            return False
        snapshot = self._build()
        if snapshot is None:
            return False
        self.current = snapshot
        _log.info("resources version %d in force", snapshot.version)
        return True

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
        found = dict.fromkeys(ungranted)
        for text in found:
            if text not in self._told:
                _log.error("%s", text)
        self._told = frozenset(found)
