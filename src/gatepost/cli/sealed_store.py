"""How commands come by the configuration store with the vault of its keys. Used by `certificate` and `site`."""

from __future__ import annotations

from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from gatepost.certificates.vault import Vault, VaultError
from gatepost.cli.options import BAD_INPUT, NO, UNKNOWN, fail
from gatepost.store.changes import ConfigConflict, ConfigStore
from gatepost.store.interface import StoreFailure

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gatepost.settings.model import Settings

__all__ = ["store_and_vault"]


@contextmanager
def store_and_vault(settings: Settings, *, keys: bool) -> Iterator[tuple[ConfigStore, Vault | None]]:
    """The store of a data directory; ends the command, with what to do, if something of it cannot be used.

    keys: whether the master key is wanted, which not everybody may read who may look; without it there is no vault.
    """
    try:
        vault = Vault.of(settings.store.master_key) if keys else None
    except VaultError as error:
        fail(BAD_INPUT, f"store.master_key: {error}")
    try:
        with closing(ConfigStore(Path(settings.server.data_dir) / "config.db")) as store:
            yield store, vault
    except StoreFailure as failure:
        fail(UNKNOWN, f"{settings.server.data_dir}: {failure}")
    except ConfigConflict as conflict:
        fail(NO, f"somebody else changed something meanwhile, and nothing was done: {conflict}")
