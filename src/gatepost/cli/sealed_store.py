"""How commands come by the configuration store with the vault of its keys. Used by `dkim`, `smime` and `site`."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from gatepost.administration import sealed_store
from gatepost.administration.gateway import Gateway
from gatepost.administration.refusal import Kind, Refusal
from gatepost.cli.options import NO, fail

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gatepost.certificates.vault import Vault
    from gatepost.settings.model import Settings
    from gatepost.store.changes import ConfigStore

__all__ = ["store_and_vault"]


@contextmanager
def store_and_vault(settings: Settings, *, keys: bool) -> Iterator[tuple[ConfigStore, Vault | None]]:
    """The same as `administration.sealed_store.store_and_vault`; a change that was overtaken is a clear no."""
    try:
        with sealed_store.store_and_vault(Gateway(settings), keys=keys) as found:
            yield found
    except Refusal as refusal:
        if refusal.kind is Kind.CONFLICT:
            fail(NO, refusal.text)
        raise
