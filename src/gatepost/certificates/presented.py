"""Which certificates the gateway presents: the current ones of the inventory, and those of the settings' files.

Called by `node.assembly` at the start, after SIGHUP, and when the stored version grows. A file of the settings whose
certificate the inventory knows as next or deprecated is not presented: a changeover has taken its place.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from gatepost.certificates.entry import Origin, Purpose, State, entry_id
from gatepost.certificates.files import CertificateFileError
from gatepost.net.identity import read_identity

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from gatepost.certificates.entry import Entry
    from gatepost.certificates.inventory import Inventory
    from gatepost.net.identity import ServerIdentity

__all__ = ["presented"]

_log = logging.getLogger(__name__)


def presented(inventory: Inventory, files: Sequence[ServerIdentity]) -> list[ServerIdentity]:
    """What listeners present, the one that became current last first. files: of the settings, as they are on disk.

    A stored one whose key cannot be had is left out, with a line in the log that says what to do. If nothing else would
    be left, the files are presented whatever the inventory says: no certificate is no STARTTLS.
    """
    _, entries = inventory.entries()
    stored = list(_stored(inventory, entries.values()))
    wanted = [one for one in files if _wanted(one, entries)]
    if not stored and not wanted and files:
        _log.error("no certificate is current: those of the settings are presented")
        return list(files)
    return [*stored, *wanted]


def _stored(inventory: Inventory, entries: Iterable[Entry]) -> Iterable[ServerIdentity]:
    current = [one for one in entries if one.state is State.CURRENT and one.purpose is Purpose.SERVER]
    for entry in sorted(current, key=lambda one: -one.current_from):
        if entry.origin is Origin.SETTINGS:
            continue
        try:
            yield inventory.identity(entry)
        except CertificateFileError as failure:
            _log.error("a current certificate is not presented: %s", failure)


def _wanted(identity: ServerIdentity, entries: Mapping[str, Entry]) -> bool:
    known = entries.get(entry_id(read_identity(identity).leaf))
    return known is None or known.state is State.CURRENT
