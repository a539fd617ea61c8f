"""Prepare what all nodes of a site have in common: the master key is checked, and secrets are made once.

Called by `manage.cli.serve` before it forks, and by `node.assembly`. With one node, keys are where they always were.
"""

from __future__ import annotations

from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from gatepost.node.certificate_manager import vault_of
from gatepost.node.roles import login_secret
from gatepost.pki.certificates.files import CertificateFileError
from gatepost.pki.certificates.vault import VaultError
from gatepost.policy.connectors.maildirs import node_local_text, stored_maildirs
from gatepost.store.interface import StoreFailure
from gatepost.store.srs_keys import load_srs_keys, shared_srs_keys
from gatepost.store.storage import Storage

if TYPE_CHECKING:
    from gatepost.protocols.message.srs import SrsKeys
    from gatepost.settings.model import Settings
    from gatepost.store.changes import ConfigStore
    from gatepost.store.ticket_secrets import TicketSecrets


def prepare_site(settings: Settings) -> None:
    """Check the master key, and have ready in the store what sessions need, which may not write it, or would wait.

    With one node this is the secret of log-ins alone. Raises StoreFailure (also for mailboxes that lie on one node),
    CertificateFileError (another master key than the site's) or OSError.
    """
    storage = Storage.of(settings)
    with closing(storage.configuration()) as store:
        if not storage.is_shared:
            with suppress(StoreFailure):  # log-ins say what is wrong; mail does not wait for them
                login_secret(store)
            return
        _check_mailboxes(settings, store)
        login_secret(store)
        srs_keys_of(settings, store)


def ticket_secrets_of(settings: Settings, store: ConfigStore) -> TicketSecrets:
    """Where secrets for session tickets come from. Raises StoreFailure or CertificateFileError."""
    return Storage.of(settings).ticket_secrets(vault_of(settings, store))


def _check_mailboxes(settings: Settings, store: ConfigStore) -> None:
    """Raise StoreFailure if mail would be delivered to a Maildir that the other nodes do not see."""
    _, document = store.load()
    text = node_local_text(stored_maildirs(document.get("organization", {})))
    if text and not settings.store.shared_mailboxes:
        raise StoreFailure(text)


def srs_keys_of(settings: Settings, store: ConfigStore) -> SrsKeys:
    """The keys for rewritten reverse-paths. Raises StoreFailure, CertificateFileError or OSError."""
    data = Path(settings.server.data_dir)
    if not store.is_shared:
        return load_srs_keys(data)
    try:
        return shared_srs_keys(store, data, vault_of(settings, store))
    except VaultError as error:
        raise CertificateFileError(str(error)) from error
