"""The configuration store with the vault of its keys, opened for one use, and secrets in it.

Used by whatever reads or seals private keys and the secrets of connectors and domains; nothing here shows one.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from gatepost.manage.use_cases.change import NOTHING
from gatepost.manage.use_cases.refusal import RefusalKind, refusing
from gatepost.pki.certificates.connector_secrets import SealedSecrets, SecretError
from gatepost.pki.certificates.site_key import check_site_key
from gatepost.pki.certificates.vault import Vault, VaultError
from gatepost.store.changes import ConfigConflict, ConfigStore

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gatepost.manage.use_cases.context import Context, Gateway
    from gatepost.pki.certificates.connector_secrets import SecretPlace


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


def secret_state(gateway: Gateway, place: SecretPlace) -> str:
    """The state of a secret. Raises Refusal as `store_and_vault`."""
    with store_and_vault(gateway, keys=False) as (store, _):
        return str(SealedSecrets(store.content, None).state(place))


def seal_secret(context: Context, place: SecretPlace, field: str, secret: str) -> str:
    """Store a secret, and return its state. Raises Refusal: INPUT (field) for one that cannot be one."""
    with store_and_vault(context.gateway, keys=True) as (store, vault):
        secrets = SealedSecrets(store.content, vault)
        with refusing(RefusalKind.INPUT, SecretError, text=f"{{error}}; {NOTHING}", field=field):
            content = secrets.sealed(place, secret)
        store.apply({}, author=context.principal.name, content=dict(content))
        return str(secrets.state(place))


def destroy_secret(context: Context, place: SecretPlace) -> str:
    """Remove a secret from its place in the store, and return the state that is left."""
    with store_and_vault(context.gateway, keys=False) as (store, _):
        store.apply({}, author=context.principal.name, content={place.name: None})
        return str(SealedSecrets(store.content, None).state(place))
