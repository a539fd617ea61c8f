"""What the gateway presents of its certificates in one worker, and the work that one worker does on them for all.

Made by `node.assembly`. Each worker builds its own TLS context from the inventory and the settings' files. The duties
(watching files, switching at a time, renewing) write to the inventory and are for worker 0 alone; the others see the
new version.
"""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import TYPE_CHECKING

from gatepost.certificates.files import CertificateFileError, load_identities
from gatepost.certificates.inventory import Inventory
from gatepost.certificates.presented import presented
from gatepost.certificates.stapling import Stapler
from gatepost.certificates.vault import Vault, VaultError
from gatepost.net.engine import IdentityError, ServerContext, server_context
from gatepost.net.tasks import spawn
from gatepost.tls.profile import PROFILES

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Sequence

    from gatepost.lookup.http import HttpClient
    from gatepost.net.identity import ServerIdentity
    from gatepost.settings.model import Settings
    from gatepost.store.changes import ConfigStore

__all__ = ["STAPLE_SECONDS", "CertificateKeeper"]

STAPLE_SECONDS = 60.0
"""Between two looks at the responses to staple."""

_log = logging.getLogger(__name__)


class CertificateKeeper:
    """tls: what a listener presents, None if there is no certificate. inventory: for who looks at it.

    client: asks authorities. Raises CertificateFileError if what is to be presented cannot be used.
    """

    def __init__(self, settings: Settings, resources: ConfigStore, client: HttpClient) -> None:
        self._settings = settings
        self.inventory = Inventory(resources, _vault(settings))
        self._stapler = Stapler(resources, client)
        self._renewing: asyncio.Task[object] | None = None
        self._identities = self._found()
        self.tls = self._context(self._identities)

    def present(self) -> bool:
        """Present what is current by now to new sessions; running ones keep theirs.

        False if it cannot be used: what was presented stays, with a line in the log.
        """
        try:
            identities = self._found()
            if identities != self._identities:
                self.tls = self._context(identities)
                self._identities = identities
        except CertificateFileError as error:
            _log.error("certificates are kept as they were: %s", error)
            return False
        return True

    def staple(self) -> None:
        """Staple the responses that are kept and hold: in every worker, every minute."""
        if self.tls is not None:
            self.tls.staples.replace(self._stapler.kept(self._identities, time.time()))

    def duties(self) -> list[tuple[float, Callable[[], object]]]:
        """What worker 0 does again and again: seconds between two times, and the work, which must not block."""
        return [(STAPLE_SECONDS, self._renew_staples)]

    def close(self) -> None:
        """Stop what is under way."""
        if self._renewing is not None:
            self._renewing.cancel()

    def _renew_staples(self) -> None:
        if self._renewing is None or self._renewing.done():
            self._renewing = spawn(self._renew(), "ocsp staples")

    async def _renew(self) -> None:
        if await self._stapler.renew(self._identities, time.time()):
            self.staple()

    def _found(self) -> list[ServerIdentity]:
        files = [(Path(one.chain), Path(one.key)) for one in self._settings.certificates]
        return presented(self.inventory, load_identities(files))

    def _context(self, identities: Sequence[ServerIdentity]) -> ServerContext | None:
        if not identities:
            return None
        try:
            made = server_context(identities, PROFILES[self._settings.tls.profile], ask_client_certificate=True)
        except IdentityError as error:
            raise CertificateFileError(str(error)) from error
        made.staples.replace(self._stapler.kept(identities, time.time()))
        return made


def _vault(settings: Settings) -> Vault | None:
    try:
        return Vault.of(settings.store.master_key)
    except VaultError as error:
        raise CertificateFileError(str(error)) from error
