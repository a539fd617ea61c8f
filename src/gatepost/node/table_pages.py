"""Pages of the public HTTPS server, kept ready; and the published certificate table as such, rebuilt as it changes.

Used by `node.policy_host`. The table is made of the inventory of the same store; one that cannot be made leaves the old
one.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from dataclasses import dataclass, field
from email.utils import formatdate
from typing import TYPE_CHECKING, Final

from gatepost.pki.certificates.forms import PAGE, File, Roots, current_table, forms
from gatepost.pki.certificates.published_json import version_of
from gatepost.store.interface import StoreFailure
from gatepost.times import read_http_date

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from gatepost.pki.certificates.inventory import Inventory
    from gatepost.pki.certificates.published import Table
    from gatepost.settings.model import Settings


type Sites = Mapping[str, Mapping[str, Page]]
"""Pages by the host (lower case) and the path that they are asked for under."""

_GUARDS: Final = (
    ("X-Content-Type-Options", "nosniff"),
    ("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"),
    ("Referrer-Policy", "no-referrer"),
)


@dataclass(frozen=True, slots=True)
class Page:
    """kind: media type. etag, modified (seconds since 1970): as `cached` sets them; nothing for a page without."""

    kind: str
    body: bytes = field(repr=False)
    etag: str = ""
    modified: float = 0.0
    fields: tuple[tuple[str, str], ...] = ()

    def is_current(self, headers: Iterable[tuple[bytes, bytes]]) -> bool:
        """Whether the client says that it has the page as it is (RFC 9110 sections 13.1.2, 13.1.3).

        An entity tag goes before a date. Names of fields in lower case, as h11 gives them.
        """
        if not self.etag:
            return False
        values: dict[bytes, list[str]] = {}
        for name, value in headers:
            values.setdefault(name, []).append(value.decode("latin-1"))
        if tags := values.get(b"if-none-match"):
            known = {tag.strip().removeprefix("W/") for value in tags for tag in value.split(",")}
            return bool(known & {"*", self.etag})
        dates = values.get(b"if-modified-since", [])
        return len(dates) == 1 and self.modified <= _moment(dates[0])


def cached(kind: str, body: bytes, *, modified: float, seconds: int) -> Page:
    """A page that clients may keep. modified: since when it says this. seconds: until they ask again."""
    etag, since = f'"{hashlib.sha256(body).hexdigest()[:32]}"', float(int(modified))
    fields = (
        ("ETag", etag),
        ("Last-Modified", formatdate(since, usegmt=True)),
        ("Cache-Control", f"public, max-age={seconds}"),
        *_GUARDS,
    )
    return Page(kind, body, etag, since, fields)


def _moment(text: str) -> float:
    """A date of HTTP in seconds since 1970; before all times if it is none."""
    try:
        return read_http_date(text)
    except (ValueError, OverflowError):
        return -1.0


PATH: Final = "/certificates"
"""Of the page; the other files are beside it (/certificates.json, …)."""

_SECONDS: Final = 60  # a partner's cache asks again so soon: a roll back must be seen
_LASTING: Final = 31536000

_log = logging.getLogger(__name__)


class TablePages:
    """pages: by path, {} until the first `refresh`. is_behind: at the last, the store could not say."""

    def __init__(self, inventory: Inventory, settings: Settings) -> None:
        self._inventory = inventory
        self._settings = settings
        self._roots = Roots(settings)
        self._table: Table | None = None
        self._told: set[str] = set()
        self.is_behind = False
        self.pages: dict[str, Page] = {}

    async def reload(self) -> None:
        """Read roots again, and the rest. If some cannot be read any more, all stay as they were."""
        roots = await asyncio.to_thread(Roots, self._settings)
        if roots.trouble and not self._roots.trouble:
            _log.error("the roots of the certificate table stay as they were: %s", roots.trouble)
        else:
            self._roots = roots
        self.refresh()

    def refresh(self) -> bool:
        """Look at the inventory, and make the pages again if the table is another one; whether it was."""
        now = time.time()
        try:
            table, trouble = current_table(self._inventory, self._settings, self._roots, now=now)
            pages = self._made(table, now) if table != self._table else None
        except (ValueError, StoreFailure) as failure:
            if not self.is_behind:
                _log.error("the certificate table stays as it was: %s", failure)
            self.is_behind = isinstance(failure, StoreFailure)
            return False
        self.is_behind = False
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
