"""The table of certificates that partners need, made of the inventory: looked at, and written into a directory."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING, Annotated, Any, Final, NamedTuple
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta

from gatepost.manage.access.principal import Scope
from gatepost.manage.use_cases.declaration import Cli, Visibility, use_case
from gatepost.manage.use_cases.inventory import inventory_of
from gatepost.manage.use_cases.refusal import Refusal, RefusalKind, refusing, wrong_field
from gatepost.pki.certificates.forms import PAGE, File, Roots, current_table, forms, write_files
from gatepost.pki.certificates.published_json import version_of, written

if TYPE_CHECKING:
    from pathlib import Path

    from gatepost.manage.use_cases.context import Context, Gateway
    from gatepost.pki.certificates.published import Row, Table


_PATH = re.compile(r"[\w.~!$&'()*+,;=:@%/\[\]-]+")  # RFC 3986 section 2 but "?" and "#"; and letters of any language
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


class GetCertificateTable(msgspec.Struct, kw_only=True):
    """base_url: where the files will be served, for the links in the feed."""

    base_url: Annotated[
        str,
        Meta(max_length=1000),
        Cli(help="URL where DIR will be served, https://…, for the links in the feed."),
    ] = ""


class TableFile(msgspec.Struct):
    """A file of the table. type: media type. lasting: it always holds the same. content: base64."""

    name: str
    type: str
    lasting: bool
    content: bytes


class CertificateTableFiles(msgspec.Struct):
    """The table for partners as files for a web server. notes: what is missing in it. changed: RFC 3339."""

    version: str
    changed: str | None
    certificates: int
    notes: list[str]
    files: list[TableFile]


class PublishedTable(NamedTuple):
    """The table as it is now. notes: what is missing in it, and why, a sentence each."""

    table: Table
    notes: tuple[str, ...]


def published_table(gateway: Gateway, roots: Roots | None = None) -> PublishedTable:
    """roots: where roots are looked for, read anew if it is None. Raises Refusal (UNREADABLE)."""
    known = roots or Roots(gateway.settings)
    unreadable = refusing(RefusalKind.UNREADABLE, ValueError, text="{data}: {error}", data=gateway.data)
    with inventory_of(gateway, keys=False) as inventory, unreadable:
        table, trouble = current_table(inventory, gateway.settings, known, now=time.time())
    notes = (*trouble, *filter(None, [known.trouble]), *map(_lost, table.lost), *_rootless(table.rows))
    return PublishedTable(table, notes)


@use_case("GET /certificate_table", scope=Scope.READ, visibility=Visibility.GATEWAY, tag="certificates")
def get_certificate_table(context: Context, request: GetCertificateTable) -> CertificateTableFiles:
    """The certificate table for partners, as files for a web server."""
    base = base_url(request.base_url)
    table, notes = published_table(context.gateway)
    files = forms(table, base) if table.rows else ()
    return CertificateTableFiles(
        version_of(table),
        written(table.changed) or None,
        len(table.rows),
        list(notes),
        [TableFile(file.name, file.kind, file.lasting, file.body) for file in files],
    )


def write_table(table: CertificateTableFiles, directory: Path) -> dict[str, Any]:
    """Write the files into a directory; what was written, for machines.

    Raises Refusal: CONFLICT if there is no certificate to publish, INPUT if the directory cannot be written, UNREADABLE
    if a name would lead elsewhere, as another gateway may say.
    """
    if not table.files:
        text = "nothing was written: no server certificate is current, next or deprecated; add one first"
        raise Refusal(RefusalKind.CONFLICT, text)
    for file in table.files:
        if not _NAME.fullmatch(file.name):
            text = f"{file.name!r} is not a name of a file of the table; nothing was written"
            raise Refusal(RefusalKind.UNREADABLE, text)
    try:
        changed = write_files(
            [File(file.name, file.type, file.content, file.lasting) for file in table.files], directory
        )
    except OSError as error:
        text = f"{error.filename or directory}: {error.strerror}; no file is incomplete"
        raise Refusal(RefusalKind.INPUT, text) from error
    states = {True: "written", False: "unchanged"}
    return {
        "directory": str(directory),
        "page": str(directory / PAGE),
        "version": table.version,
        "changed": table.changed,
        "certificates": table.certificates,
        "files": [
            {"name": file.name, "size": len(file.content), "state": states[file.name in changed]}
            for file in table.files
        ],
    }


def base_url(url: str) -> str:
    """The URL with "/" at its end. Raises Refusal (INPUT) if it is none of HTTP, or more than host and path."""
    if not url:
        return ""
    if not _is_address(url):
        shown = "".join(character if character.isprintable() else "?" for character in url)
        text = f"{shown!r} is not an address of a directory; write https://HOST/PATH/"
        raise wrong_field("base_url", "is not an address of a directory", text)
    return url if url.endswith("/") else f"{url}/"


def _is_address(url: str) -> bool:
    """Whether files lie below it: no query, no fragment, no password that all the world would read."""
    try:
        parts = urlsplit(url)
        whole = bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is not a number of one, or brackets around no address
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
