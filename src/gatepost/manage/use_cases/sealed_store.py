"""The configuration store with the vault of its keys, opened for one use, by whatever reads or seals private keys."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from gatepost.manage.use_cases.refusal import RefusalKind, refusing
from gatepost.pki.certificates.site_key import check_site_key
from gatepost.pki.certificates.vault import Vault, VaultError
from gatepost.store.changes import ConfigConflict

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gatepost.manage.use_cases.gateway import Gateway
    from gatepost.store.changes import ConfigStore


@contextmanager
def store_and_vault(gateway: Gateway, *, keys: bool) -> Iterator[tuple[ConfigStore, Vault | None]]:
    """The store of a gateway, closed afterwards; without a vault if no master key is set.

    keys: whether the master key is wanted, which not everybody may read who may look; without it there is no vault.
    Raises Refusal: INPUT if the master key cannot be read or is not that of the site, UNREADABLE if the store cannot,
    CONFLICT if somebody else changed something meanwhile.
    """
    with refusing(RefusalKind.INPUT, VaultError, text="store.master_key: {error}"):
        vault = Vault.of(gateway.settings.store.master_key) if keys else None
    with (
        refusing(
            RefusalKind.CONFLICT,
            ConfigConflict,
            text="somebody else changed something meanwhile, and nothing was done: {error}",
        ),
        gateway.config() as store,
    ):
        if keys:
            _check(store, vault)
        yield store, vault


def _check(store: ConfigStore, vault: Vault | None) -> None:
    with refusing(RefusalKind.INPUT, VaultError, text="store.master_key: {error}"):
        check_site_key(store, vault)
