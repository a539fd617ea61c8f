"""The one master key of a site: nodes that share what is stored seal with the same key, or do not start.

The first node with a master key seals a known text, the canary, beside the keys. Whoever seals or opens something with
a key that does not open it would leave keys behind that no other node can use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gatepost.pki.certificates.vault import Vault, VaultError

if TYPE_CHECKING:
    from gatepost.store.changes import ConfigStore


CANARY_PLACE: Final = "store/canary"
"""The name of the content."""
_CANARY: Final = b"the master key of this site"
_DO: Final = "copy the master key of a node that runs, set store.master_key to it, and start this node again"


def check_site_key(store: ConfigStore, vault: Vault | None) -> None:
    """Nothing if only this node uses the store, or the vault is of the site's key. Raises VaultError, StoreFailure."""
    if not store.is_shared:
        return
    sealed = store.content(CANARY_PLACE)
    if sealed is None:
        if vault is None:
            return  # no node of the site has a key yet
        sealed = store.content_once(CANARY_PLACE, lambda: vault.seal(_CANARY, CANARY_PLACE))
    if vault is None:
        raise VaultError(f"this node has no master key, and the keys of its site are sealed with one: {_DO}")
    try:
        vault.open(sealed, CANARY_PLACE)
    except VaultError as error:
        text = f"the keys of the site are sealed with another master key than this node has: {_DO}"
        raise VaultError(text) from error


def site_vault(setting: str, store: ConfigStore) -> Vault | None:
    """The vault of `store.master_key`, checked; None without one. Raises VaultError, StoreFailure."""
    vault = Vault.of(setting)
    check_site_key(store, vault)
    return vault
