"""`gatepost certificate publish DIR`: the table that partners need, as files for any web server."""

from __future__ import annotations

from pathlib import Path

import click

from gatepost.manage.cli.options import client, gateway_options
from gatepost.manage.cli.output import print_table, printable, printed_json, quantity, say
from gatepost.manage.cli.request_options import request_options
from gatepost.manage.use_cases.certificate_table import (
    GetCertificateTable,
    base_url,
    get_certificate_table,
    write_table,
)
from gatepost.node.privileges import as_caller


@click.command()
@click.argument("directory", metavar="DIR", type=click.Path(file_okay=False, path_type=Path))
@request_options(GetCertificateTable)
@gateway_options
def publish(directory: Path, request: GetCertificateTable) -> None:
    """Write the certificate page for partners into DIR: a page (index.html), JSON, an Atom feed, bundles.

    It contains the server certificates that are current, next and deprecated, with everything that a partner's
    connector needs, and their roots and intermediates. Each file is replaced as a whole; a file that is already up to
    date is left alone, and nothing is removed. DIR is on this machine, also with --server. With [certificate_table] in
    the settings, the gateway serves the same page.

    Exit codes: 0 done (also if nothing changed), 1 there is no certificate to publish and nothing was written, 2 DIR
    cannot be written or --base-url is not a URL, 3 the data cannot be read.
    """
    base_url(request.base_url)  # before anybody is asked
    table = client().call(get_certificate_table, request)
    for line in table.notes:
        say("note: %(line)s", err=True, line=printable(line))
    with as_caller():
        done = write_table(table, directory)
    if not printed_json(done):
        print_table(("file", "size", "state"), (tuple(file.values()) for file in done["files"]))
        say(
            "version %(version)s with %(certificates)s in %(directory)s",
            err=True,
            version=done["version"],
            certificates=quantity(done["certificates"], "certificate"),
            directory=directory,
        )
