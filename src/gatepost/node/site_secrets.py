"""Prepare what all nodes of a site have in common: the master key is checked, and secrets are made once.

Called by `manage.cli.serve` before it forks, and by `node.assembly`. With one node, keys are where they always were.
"""

from __future__ import annotations

import logging
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Final

from gatepost.node.certificate_manager import vault_of
from gatepost.node.roles import login_secret
from gatepost.pki.certificates.files import CertificateFileError
from gatepost.pki.certificates.vault import VaultError
from gatepost.store.changes import CONFIGURATION
from gatepost.store.interface import StoreBusy
from gatepost.store.srs_keys import load_srs_keys, shared_srs_keys
from gatepost.store.storage import Storage

if TYPE_CHECKING:
    from gatepost.protocols.message.srs import SrsKeys
    from gatepost.settings.model import Settings
    from gatepost.store.changes import ConfigStore


PATIENCE: Final = 60.0
"""Seconds for which a node that starts waits for the server."""

_PAUSE: Final = 1.0

_log = logging.getLogger(__name__)


def prepare_site(settings: Settings) -> None:
    """Wait for the server, and have ready there what sessions need, so that none of them waits for it.

    Nothing with one node. Raises StoreFailure, CertificateFileError (another master key than the site's) or OSError.
    """
    storage = Storage.of(settings)
    if not storage.is_shared:
        return
    _wait(storage)
    with closing(storage.configuration()) as store:
        login_secret(store)
        srs_keys_of(settings, store)


def srs_keys_of(settings: Settings, store: ConfigStore) -> SrsKeys:
    """The keys for rewritten reverse-paths. Raises StoreFailure, CertificateFileError or OSError."""
    data = Path(settings.server.data_dir)
    if not store.is_shared:
        return load_srs_keys(data)
    try:
        return shared_srs_keys(store, data, vault_of(settings, store))
    except VaultError as error:
        raise CertificateFileError(str(error)) from error


def _wait(storage: Storage) -> None:
    end = time.monotonic() + PATIENCE
    has_said = False
    while True:
        try:
            storage.database(CONFIGURATION).close()
        except StoreBusy as failure:
            if time.monotonic() > end:
                raise
            if not has_said:
                _log.warning("waiting up to %.0f s for the store: %s", PATIENCE, failure)
            has_said = True
            time.sleep(_PAUSE)
        else:
            return
