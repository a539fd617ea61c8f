"""List every certificate: those of the inventory, and those in files that it does not have yet.

Used by commands and pages. A gateway that runs records its settings' files (`pki.certificates.watch`); before it first
ran they are read here, so that they are never missing from a list.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gatepost.pki.certificates.entry import Origin, State
from gatepost.pki.certificates.files import CertificateFileError, load_identity
from gatepost.pki.certificates.inventory import entry_from
from gatepost.values import replace

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from gatepost.pki.certificates.entry import Entry
    from gatepost.pki.certificates.inventory import Inventory


@dataclass(frozen=True, slots=True)
class Listed:
    """version: of the inventory. entries: by id. chains: PEM, by id; one that is lost is left out.

    trouble: faults of the settings' files, a sentence each.
    """

    version: int
    entries: dict[str, Entry]
    chains: dict[str, bytes]
    trouble: tuple[str, ...] = ()


def listed(inventory: Inventory, files: Sequence[tuple[Path, Path]], *, now: float, with_chains: bool = True) -> Listed:
    """The certificates as they are. files: chain and key of the settings. now: seconds since 1970.

    with_chains: else those of the inventory are left out, for who needs none of a thousand.
    Raises ValueError if an entry is not of this version.
    """
    version, entries = inventory.entries()
    chains = inventory.chains() if with_chains else {}
    holders = {(entry.chain_file, entry.key_file): entry.id for entry in entries.values() if entry.chain_file}
    trouble = []
    for chain, key in files:
        try:
            identity = load_identity(chain, key)
        except CertificateFileError as error:
            trouble.append(str(error))
            continue
        entry = replace(
            entry_from(identity, now=now), origin=Origin.SETTINGS, state=State.CURRENT, added=0.0, since=0.0
        )
        if entry.id in entries:
            continue
        if holder := holders.get((str(chain), str(key))):
            trouble.append(
                f"{chain} holds {entry.id}, which did not take the place of {holder} yet: a gateway that runs looks "
                "within seconds, and its log says why it takes one not"
            )
            continue
        entries[entry.id] = replace(entry, chain_file=str(chain), key_file=str(key))
        chains[entry.id] = identity.chain_pem
    return Listed(version, entries, chains, tuple(trouble))
