"""`gatepost certificate remove`: forget a certificate, a request that waits, or a directory that is watched."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from gatepost.manage.cli.certificate_group import addressable
from gatepost.manage.cli.client import client
from gatepost.manage.cli.options import config_option, force_option
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
@force_option("Though it is needed; the reason is kept in the history.")
@click.option("--note", default="", help="Why, for the history.")
@config_option
def remove(number: str, force: str, note: str, config: str | None) -> None:
    """Forget a certificate with its key: ID as in `gatepost certificate show`, or the id of a request.

    With a directory it is not watched any more; what was found in it stays. A certificate that is presented is removed
    only if others bear all its names, a client identity only if no connector names it, one that can be rolled back to
    only when its 24 hours are over; all this also with --force REASON. One that comes from the settings is taken out
    there. Files are left alone; the history stays.

    Exit codes: 0 removed, 1 it is needed, 2 no such certificate, 3 not readable.
    """
    click.echo(_removed(client(config), number, force, note).text)


def _removed(there: Client, number: str, force: str, note: str) -> Removed:
    """Remove what the number names: a request, else a directory, else a certificate."""
    known = there.call(get_inventory, GetInventory())
    why = f"forced: {force}" if force else note
    if number.lower() in {one.id for one in known.requests}:
        return there.call(remove_certificate_request, RemoveCertificateRequest(request=number.lower(), note=why))
    for path in (number, str(Path(number).absolute())):
        if path in known.directories:
            return there.call(remove_directory, RemoveDirectory(directory=path, note=why))
    request = RemoveCertificate(certificate=addressable(there, number), force=force, note=note)
    return there.call(remove_certificate, request)
