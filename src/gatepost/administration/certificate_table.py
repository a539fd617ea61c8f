"""The table of certificates that partners need, made of the inventory: looked at, and written into a directory."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

from gatepost.administration.inventory import inventory_of
from gatepost.administration.refusal import Kind, Refusal
from gatepost.certificates.forms import PAGE, forms
from gatepost.certificates.published_json import version_of, written
from gatepost.certificates.publisher import Roots, current_table, write_files
from gatepost.connectors.errors import FieldError

if TYPE_CHECKING:
    from pathlib import Path

    from gatepost.administration.gateway import Gateway
    from gatepost.certificates.forms import File
    from gatepost.certificates.published import Row, Table

__all__ = ["Published", "PublishedTable", "base_url", "published_record", "published_table", "write_table"]


class PublishedTable(NamedTuple):
    """The table as it is now. notes: what is missing in it, and why, a sentence each."""

    table: Table
    notes: tuple[str, ...]


class Published(NamedTuple):
    """What was written. changed: the names of files that say something else than before."""

    directory: Path
    table: Table
    files: tuple[File, ...]
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


def write_table(table: Table, directory: Path, base: str = "") -> Published:
    """Write it into a directory: page, JSON, feed, bundles. base: as `base_url` gives it.

    Raises Refusal: CONFLICT if there is no certificate to publish, INPUT if the directory cannot be written.
    """
    if not table.rows:
        text = "nothing was written: no server certificate is current, next or deprecated; add one first"
        raise Refusal(Kind.CONFLICT, text)
    files = forms(table, base)
    try:
        changed = write_files(files, directory)
    except OSError as error:
        text = f"{error.filename or directory}: {error.strerror}; nothing is half written"
        raise Refusal(Kind.INPUT, text) from error
    return Published(directory, table, files, tuple(changed))


def published_record(done: Published) -> dict[str, Any]:
    """What was written, for machines. The keys do not change."""
    return {
        "directory": str(done.directory),
        "page": str(done.directory / PAGE),
        "version": version_of(done.table),
        "changed": written(done.table.changed) or None,
        "certificates": len(done.table.rows),
        "files": [{"name": one.name, "size": len(one.body), "state": _state(one, done)} for one in done.files],
    }


def _state(one: File, done: Published) -> str:
    return "written" if one.name in done.changed else "unchanged"


def base_url(url: str) -> str:
    """The URL with "/" at its end. Raises Refusal (INPUT) if it is none of HTTP."""
    if not url:
        return ""
    try:
        parts = urlsplit(url)
        good = parts.scheme in {"http", "https"} and bool(parts.hostname) and not parts.query and not parts.fragment
    except ValueError:
        good = False
    if not good or not url.isprintable() or " " in url:
        shown = "".join(one if one.isprintable() else "?" for one in url)
        text = f"{shown!r} is no address of a directory; write https://HOST/PATH/"
        raise Refusal(Kind.INPUT, text, [FieldError("base_url", "is no address of a directory")])
    return url if url.endswith("/") else f"{url}/"


def _lost(number: str) -> str:
    return f"certificate {number} is left out: its chain cannot be read"


def _rootless(rows: tuple[Row, ...]) -> list[str]:
    return [
        f"certificate {row.columns.facts.sha256[:16]}: its root was not found here (issuer {row.missing}); add it to "
        "the chain file, to tls.trust_anchors or to this machine's store"
        for row in rows
        if row.missing
    ]
