"""The published certificate table from the live inventory, and its files in a directory.

Used by `gatepost certificate publish` and `node.table_pages`. What it reads: the store, the settings' certificate
files, the trust anchors; private keys only to see that they belong to their certificates.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

from gatepost.net.anchors import SYSTEM, AnchorsError, TrustAnchors
from gatepost.pki.certificates.listed import listed
from gatepost.pki.certificates.published import published
from gatepost.protocols.tls.profile import PROFILES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gatepost.pki.certificates.forms import File
    from gatepost.pki.certificates.inventory import Inventory
    from gatepost.pki.certificates.published import Table
    from gatepost.settings.model import Settings


_CHANGES: Final = 500
"""Changes of certificates that are looked through for what the feed tells."""


class Roots:
    """The sources of roots: this machine's store and the settings' anchors, read once.

    trouble: why one of them is missing, "" if both are there. A root that is in neither is shown as not found.
    """

    def __init__(self, settings: Settings) -> None:
        certificates: list[bytes] = []
        troubles = []
        for spec in dict.fromkeys((settings.tls.trust_anchors, SYSTEM)):
            try:
                certificates += TrustAnchors.load(spec).certificates
            except AnchorsError as error:
                troubles.append(str(error))
        self.certificates = tuple(dict.fromkeys(certificates))
        self.trouble = "; ".join(troubles)


def current_table(
    inventory: Inventory, settings: Settings, roots: Roots, *, now: float
) -> tuple[Table, tuple[str, ...]]:
    """The table as it is now, and what is wrong with files of the settings. now: seconds since 1970.

    Raises ValueError if an entry is not of this version, StoreFailure.
    """
    files = [(Path(certificate.chain), Path(certificate.key)) for certificate in settings.certificates]
    listing = listed(inventory, files, now=now)
    table = published(
        listing,
        roots.certificates,
        inventory.history(_CHANGES),
        hostname=settings.server.hostname,
        profile=PROFILES[settings.tls.profile],
        now=now,
    )
    return table, listing.trouble


def write_files(files: Sequence[File], directory: Path) -> list[str]:
    """Bring a directory up to date, made if it is not there; the names that were written. Raises OSError.

    Each file is there whole or as it was before, in the order given; one that says the same already is left alone, and
    nothing is removed. Readable by everybody.
    """
    directory.mkdir(parents=True, exist_ok=True)
    changed = [file for file in files if not _says(directory / file.name, file.body)]
    if not changed:
        return []
    workshop = Path(tempfile.mkdtemp(prefix=".publish-", dir=directory))
    try:
        for file in changed:
            _write(workshop / file.name, file.body)
        for file in changed:
            (workshop / file.name).replace(directory / file.name)
        _sync(directory)
    finally:
        shutil.rmtree(workshop, ignore_errors=True)
    return [file.name for file in changed]


def _says(path: Path, body: bytes) -> bool:
    try:
        return path.read_bytes() == body
    except FileNotFoundError:
        return False


def _write(path: Path, body: bytes) -> None:
    with path.open("wb") as file:
        file.write(body)
        file.flush()
        os.fsync(file.fileno())
    path.chmod(0o644)


def _sync(directory: Path) -> None:
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
