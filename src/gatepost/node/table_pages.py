"""The published certificate table as pages of the public HTTPS server, rebuilt only when it changes.

Used by `node.policy_host`. It reads the inventory of the same store; a table that cannot be made leaves the old one.
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Final

from gatepost.node.public_page import cached
from gatepost.pki.certificates.forms import PAGE, Roots, current_table, forms
from gatepost.pki.certificates.published_json import version_of
from gatepost.store.interface import StoreFailure

if TYPE_CHECKING:
    from gatepost.node.public_page import Page
    from gatepost.pki.certificates.forms import File
    from gatepost.pki.certificates.inventory import Inventory
    from gatepost.pki.certificates.published import Table
    from gatepost.settings.model import Settings


PATH: Final = "/certificates"
"""Of the page; the other files are beside it (/certificates.json, …)."""

_SECONDS: Final = 60  # a partner's cache asks again so soon: a roll back must be seen
_LASTING: Final = 31536000

_log = logging.getLogger(__name__)


class TablePages:
    """pages: by path, {} until the first `refresh`."""

    def __init__(self, inventory: Inventory, settings: Settings) -> None:
        self._inventory = inventory
        self._settings = settings
        self._roots = Roots(settings)
        self._table: Table | None = None
        self._told: set[str] = set()
        self.pages: dict[str, Page] = {}

    def reload(self) -> None:
        """Read roots again, and the rest."""
        self._roots = Roots(self._settings)
        self.refresh()

    def refresh(self) -> bool:
        """Look at the inventory, and make the pages again if the table is another one; whether it was."""
        now = time.time()
        try:
            table, trouble = current_table(self._inventory, self._settings, self._roots, now=now)
            pages = self._made(table, now) if table != self._table else None
        except (ValueError, StoreFailure) as failure:
            _log.error("the certificate table stays as it was: %s", failure)
            return False
        self._tell((*trouble, *filter(None, [self._roots.trouble])))
        if pages is None:
            return False
        self._table, self.pages = table, pages
        hostname, version = self._settings.server.hostname, version_of(table)
        _log.info("certificate table version %s at https://%s%s", version, hostname, PATH)
        return True

    def _made(self, table: Table, now: float) -> dict[str, Page]:
        files = forms(table, f"https://{self._settings.server.hostname}/", PATH.removeprefix("/"))
        return {self._path(file): self._page(file, now) for file in files}

    def _page(self, file: File, now: float) -> Page:
        """A file that says the same as before keeps its date."""
        before = self.pages.get(self._path(file))
        modified = before.modified if before is not None and before.body == file.body else now
        return cached(file.kind, file.body, modified=modified, seconds=_LASTING if file.lasting else _SECONDS)

    def _path(self, file: File) -> str:
        return PATH if file.name == PAGE else f"/{file.name}"

    def _tell(self, troubles: tuple[str, ...]) -> None:
        """Each trouble once, until it is over."""
        for text in troubles:
            if text not in self._told:
                _log.warning("certificate table: %s", text)
        self._told = set(troubles)
