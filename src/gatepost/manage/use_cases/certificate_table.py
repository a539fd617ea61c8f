"""The table of certificates that partners need, made of the inventory: looked at, and written into a directory."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

from gatepost.manage.use_cases.inventory import inventory_of
from gatepost.manage.use_cases.refusal import Kind, Refusal
from gatepost.pki.certificates.forms import PAGE, forms
from gatepost.pki.certificates.published_json import version_of, written
from gatepost.pki.certificates.publisher import Roots, current_table, write_files
from gatepost.policy.connectors.errors import FieldError

if TYPE_CHECKING:
    from pathlib import Path

    from gatepost.manage.access.principal import Principal
    from gatepost.manage.use_cases.gateway import Gateway
    from gatepost.pki.certificates.forms import File
    from gatepost.pki.certificates.published import Row, Table


_PATH = re.compile(r"[\w.~!$&'()*+,;=:@%/\[\]-]+")  # RFC 3986 section 2 but "?" and "#"; and letters of any language


class PublishedTable(NamedTuple):
    """The table as it is now. notes: what is missing in it, and why, a sentence each."""

    table: Table
    notes: tuple[str, ...]


class TableFiles(NamedTuple):
    """The table as files for a web server.

    notes: as of the table. version: what it is called as long as it says the same. changed: when it last said something
    else, RFC 3339, None if not known. certificates: how many are in it.
    """

    files: tuple[File, ...]
    notes: tuple[str, ...]
    version: str
    changed: str | None
    certificates: int


class Published(NamedTuple):
    """What was written. changed: the names of files that say something else than before."""

    directory: Path
    table: TableFiles
    changed: tuple[str, ...]


def published_table(gateway: Gateway, roots: Roots | None = None) -> PublishedTable:
    """roots: where roots are looked for, read anew if it is None. Raises Refusal (UNREADABLE)."""
    known = roots or Roots(gateway.settings)
    with inventory_of(gateway, keys=False) as inventory:
        try:
            table, trouble = current_table(inventory, gateway.settings, known, now=time.time())
        except ValueError as error:
            raise Refusal(Kind.UNREADABLE, f"{gateway.data}: {error}") from error
    notes = (*trouble, *filter(None, [known.trouble]), *map(_lost, table.lost), *_rootless(table.rows))
    return PublishedTable(table, notes)


def table_files(gateway: Gateway, _: Principal, base: str = "") -> TableFiles:
    """Page, JSON, feed and bundles. base: as `base_url` gives it. Raises Refusal (UNREADABLE)."""
    table, notes = published_table(gateway)
    version, changed = version_of(table), written(table.changed) or None
    return TableFiles(forms(table, base) if table.rows else (), notes, version, changed, len(table.rows))


def write_table(table: TableFiles, directory: Path) -> Published:
    """Write the files into a directory.

    Raises Refusal: CONFLICT if there is no certificate to publish, INPUT if the directory cannot be written.
    """
    if not table.files:
        text = "nothing was written: no server certificate is current, next or deprecated; add one first"
        raise Refusal(Kind.CONFLICT, text)
    try:
        changed = write_files(table.files, directory)
    except OSError as error:
        text = f"{error.filename or directory}: {error.strerror}; nothing is half written"
        raise Refusal(Kind.INPUT, text) from error
    return Published(directory, table, tuple(changed))


def published_record(done: Published) -> dict[str, Any]:
    """What was written, for machines. The keys do not change."""
    return {
        "directory": str(done.directory),
        "page": str(done.directory / PAGE),
        "version": done.table.version,
        "changed": done.table.changed,
        "certificates": done.table.certificates,
        "files": [{"name": one.name, "size": len(one.body), "state": _state(one, done)} for one in done.table.files],
    }


def _state(one: File, done: Published) -> str:
    return "written" if one.name in done.changed else "unchanged"


def base_url(url: str) -> str:
    """The URL with "/" at its end. Raises Refusal (INPUT) if it is none of HTTP, or more than host and path."""
    if not url:
        return ""
    if not _is_address(url):
        shown = "".join(one if one.isprintable() else "?" for one in url)
        text = f"{shown!r} is no address of a directory; write https://HOST/PATH/"
        raise Refusal(Kind.INPUT, text, [FieldError("base_url", "is no address of a directory")])
    return url if url.endswith("/") else f"{url}/"


def _is_address(url: str) -> bool:
    """Whether files lie below it: no query, no fragment, no password that all the world would read."""
    try:
        parts = urlsplit(url)
        whole = bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is no number of one, or brackets around no address
        return False
    return whole and parts.scheme in {"http", "https"} and "@" not in parts.netloc and bool(_PATH.fullmatch(url))


def _lost(number: str) -> str:
    return f"certificate {number} is left out: its chain cannot be read"


def _rootless(rows: tuple[Row, ...]) -> list[str]:
    return [
        f"certificate {row.columns.facts.sha256[:16]}: its root was not found here (issuer {row.missing}); add it to "
        "the chain file, to tls.trust_anchors or to this machine's store"
        for row in rows
        if row.missing
    ]
