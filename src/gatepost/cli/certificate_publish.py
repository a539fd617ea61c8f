"""`gatepost certificate publish DIR`: the table that partners need, as files for any web server."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import click

from gatepost.certificates.forms import PAGE, forms
from gatepost.certificates.published_json import version_of, written
from gatepost.certificates.publisher import Roots, current_table, write_files
from gatepost.cli.certificate_store import opened
from gatepost.cli.options import BAD_INPUT, NO, UNKNOWN, config_option, fail, json_option, settings_of
from gatepost.cli.tables import print_json, print_table, printable

if TYPE_CHECKING:
    from gatepost.certificates.published import Row

__all__ = ["publish"]


@click.command()
@click.argument("directory", metavar="DIR", type=click.Path(file_okay=False, path_type=Path))
@click.option("--base-url", default="", help="Where DIR will be served, https://…, for the links in the feed.")
@config_option
@json_option
def publish(directory: Path, base_url: str, config: str | None, *, as_json: bool) -> None:
    """Write the certificate table for partners into DIR: a page (index.html), JSON, an Atom feed, bundles.

    It has the server certificates that are current, next and deprecated, with all that a partner's connector needs, and
    the roots and intermediates above them. Each file is replaced whole, one that says the same already is left alone,
    and nothing is removed. [certificate_table] in the settings serves the same from the gateway.

    Exit codes: 0 done (also if nothing changed), 1 there is no certificate to publish and nothing was written, 2 DIR
    cannot be written or --base-url is none, 3 not readable.
    """
    base = _base(base_url)
    settings = settings_of(config)
    roots = Roots(settings)
    with opened(settings, keys=False) as inventory:
        try:
            table, trouble = current_table(inventory, settings, roots, now=time.time())
        except ValueError as error:
            fail(UNKNOWN, f"{settings.server.data_dir}: {error}")
    for line in (*trouble, *filter(None, [roots.trouble]), *map(_lost, table.lost), *_rootless(table.rows)):
        click.echo(f"note: {printable(line)}", err=True)
    if not table.rows:
        fail(NO, "nothing was written: no server certificate is current, next or deprecated; add one first")
    files = forms(table, base)
    try:
        changed = write_files(files, directory)
    except OSError as error:
        fail(BAD_INPUT, f"{error.filename or directory}: {error.strerror}; nothing is half written")
    rows = [(one.name, len(one.body), "written" if one.name in changed else "unchanged") for one in files]
    if as_json:
        print_json(
            {
                "directory": str(directory),
                "page": str(directory / PAGE),
                "version": version_of(table),
                "changed": written(table.changed) or None,
                "certificates": len(table.rows),
                "files": [{"name": name, "size": size, "state": state} for name, size, state in rows],
            }
        )
    else:
        print_table(("file", "size", "state"), rows)
        click.echo(f"version {version_of(table)} of {len(table.rows)} certificate(s) in {directory}", err=True)


def _base(url: str) -> str:
    """The URL with "/" at its end; ends the command if it is none of HTTP."""
    if not url:
        return ""
    try:
        parts = urlsplit(url)
        good = parts.scheme in {"http", "https"} and bool(parts.hostname) and not parts.query and not parts.fragment
    except ValueError:
        good = False
    if not good or not url.isprintable() or " " in url:
        fail(BAD_INPUT, f"--base-url {printable(url)!r} is no address of a directory; write https://HOST/PATH/")
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
