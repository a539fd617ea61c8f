"""`gatepost certificate remove`: forget a certificate, a request that waits, or a directory that is watched."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from gatepost.manage.cli.certificate_group import addressable
from gatepost.manage.cli.options import client, force_option, gateway_options
from gatepost.manage.cli.output import ours, printed_json
from gatepost.manage.use_cases.certificate_removal import (
    RemoveCertificate,
    RemoveDirectory,
    remove_certificate,
    remove_directory,
)
from gatepost.manage.use_cases.certificate_requests import RemoveCertificateRequest, remove_certificate_request
from gatepost.manage.use_cases.certificates import GetInventory, get_inventory

if TYPE_CHECKING:
    from gatepost.manage.use_cases.certificate_removal import Removed
    from gatepost.manage.use_cases.client import Client


@click.command()
@click.argument("number", metavar="ID|DIR")
@force_option("Remove it even if it is needed. The history records the reason.")
@click.option("--note", default="", help="Reason, for the history.")
@gateway_options
def remove(number: str, force: str, note: str) -> None:
    """Remove a certificate with its key. ID: as in `gatepost certificate show`, or the id of a request.

    A directory is no longer watched; certificates found in it stay. A certificate that is presented can be removed only
    if others have all its names, a client certificate only if no connector names it, and one that can be rolled back to
    only after its 24 hours; --force REASON overrides all three. A certificate that comes from the settings must be
    removed there. Files are not deleted, and the history stays.

    Exit codes: 0 removed, 1 it is needed, 2 no such certificate, 3 the data cannot be read.
    """
    removed = _removed(client(), number, force, note)
    if not printed_json(removed):
        click.echo(ours(removed.text))


def _removed(there: Client, number: str, force: str, note: str) -> Removed:
    """Remove what the number names: a request, else a directory, else a certificate."""
    known = there.call(get_inventory, GetInventory())
    why = f"forced: {force}" if force else note
    if number.lower() in {certificate_request.id for certificate_request in known.requests}:
        return there.call(remove_certificate_request, RemoveCertificateRequest(request=number.lower(), note=why))
    for path in (number, str(Path(number).absolute())):
        if path in known.directories:
            return there.call(remove_directory, RemoveDirectory(directory=path, note=why))
    request = RemoveCertificate(certificate=addressable(number), force=force, note=note)
    return there.call(remove_certificate, request)
