"""How the `certificate` commands come by the inventory, and by the one certificate that is meant."""

from __future__ import annotations

import time
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from gatepost.certificates.files import CertificateFileError
from gatepost.certificates.inventory import CertificateUnknown, Inventory, find_among
from gatepost.certificates.listed import listed
from gatepost.certificates.vault import Vault, VaultError
from gatepost.cli.options import BAD_INPUT, NO, UNKNOWN, fail
from gatepost.store.changes import ConfigConflict, ConfigStore
from gatepost.store.interface import StoreFailure

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gatepost.certificates.entry import Entry
    from gatepost.certificates.listed import Listed
    from gatepost.settings.model import Settings

__all__ = ["choose_certificate", "listed_certificates", "opened", "settings_files"]


@contextmanager
def opened(settings: Settings) -> Iterator[Inventory]:
    """The inventory of a data directory; ends the command, with what to do, if it or the master key cannot be used."""
    try:
        vault = Vault.of(settings.store.master_key)
    except VaultError as error:
        fail(BAD_INPUT, f"store.master_key: {error}")
    try:
        with closing(ConfigStore(Path(settings.server.data_dir) / "config.db")) as store:
            yield Inventory(store, vault)
    except StoreFailure as failure:
        fail(UNKNOWN, f"{settings.server.data_dir}: {failure}")
    except ConfigConflict as conflict:
        fail(NO, f"somebody else changed something meanwhile, and nothing was done: {conflict}")
    except CertificateFileError as error:
        fail(BAD_INPUT, str(error))


def settings_files(settings: Settings) -> list[tuple[Path, Path]]:
    """Chain and key of each `[[certificate]]`."""
    return [(Path(one.chain), Path(one.key)) for one in settings.certificates]


def listed_certificates(inventory: Inventory, settings: Settings) -> Listed:
    """All certificates; ends the command if an entry cannot be read by this version."""
    try:
        return listed(inventory, settings_files(settings), now=time.time())
    except ValueError as error:
        fail(UNKNOWN, f"{settings.server.data_dir}: {error}")


def choose_certificate(found: Listed, number: str) -> Entry:
    """The certificate that goes by an id, a thumbprint or a label; ends the command if there is no single one."""
    try:
        return find_among(found.entries.values(), number)
    except CertificateUnknown as error:
        fail(BAD_INPUT, f"{error}; `gatepost certificate list` shows those there are")
