"""Open the configuration store with the vault of its keys for a command. Used by `smime` and `site`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gatepost.manage.use_cases import sealed_store
from gatepost.manage.use_cases.gateway import Gateway

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from gatepost.pki.certificates.vault import Vault
    from gatepost.settings.model import Settings
    from gatepost.store.changes import ConfigStore


def store_and_vault(settings: Settings, *, keys: bool) -> AbstractContextManager[tuple[ConfigStore, Vault | None]]:
    """The same as `manage.use_cases.sealed_store.store_and_vault`; its refusals end the command."""
    return sealed_store.store_and_vault(Gateway(settings), keys=keys)
