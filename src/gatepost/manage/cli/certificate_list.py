"""`gatepost certificate list|show|history`: the certificates of the gateway, one in full, and who changed what."""

from __future__ import annotations

import click
import msgspec

from gatepost.manage.cli.certificate_group import addressed
from gatepost.manage.cli.certificate_view import print_certificate, print_list, print_requests
from gatepost.manage.cli.options import client, gateway_options
from gatepost.manage.cli.output import ours, print_rows, printable, printed_json, say
from gatepost.manage.cli.request_options import request_options
from gatepost.manage.use_cases import certificates
from gatepost.manage.use_cases.client import all_items
from gatepost.manage.use_cases.times import stamp as moment

_COLUMNS = ("version", "at", "author", "kind", "id", "names", "change", "note")


@click.command("list")
@gateway_options
def list_() -> None:
    """List certificates: current beside next and deprecated, when each is valid and when it was in use.

    Client certificates, which outbound connectors present, are in a separate table, and so are requests that wait for
    their certificate. Certificates in the settings are listed even if the gateway has never run.

    Exit codes: 0 done (also if there are none), 3 the data cannot be read.
    """
    inventory = client().call(certificates.get_inventory, certificates.GetInventory())
    for line in inventory.trouble:
        click.echo(f"[[certificate]]: {line}", err=True)
    servers, clients = (
        [certificate for certificate in inventory.certificates if certificate.purpose == purpose]
        for purpose in ("server", "client")
    )
    if printed_json(msgspec.to_builtins(inventory) | {"certificates": servers, "client_identities": clients}):
        return
    print_list(inventory.certificates)
    print_requests(inventory.requests)
    for path in inventory.directories:
        say("watched: %(path)s", err=True, path=printable(path))


@click.command()
@request_options(certificates.GetCertificate)
@gateway_options
def show(request: certificates.GetCertificate) -> None:
    """Show a certificate with all its details. ID: its id, the beginning of its SHA-256 thumbprint, or its label.

    Exit codes: 0 found, 2 no such certificate, 3 the data cannot be read.
    """
    detail = client().call(certificates.get_certificate, addressed(request))
    if not printed_json(detail):
        print_certificate(detail)


@click.command()
@click.option(
    "--limit", default=50, type=click.IntRange(1, 10_000), show_default=True, help="Maximum number of entries."
)
@gateway_options
def history(limit: int) -> None:
    """Show who changed certificates, requests and directories, when and why, the newest first.

    Exit codes: 0 done (also if there are no entries), 3 the data cannot be read.
    """
    print_rows(
        _COLUMNS,
        all_items(client().call, certificates.list_certificate_history, certificates.ListCertificateHistory(), limit),
        _cells,
    )


def _cells(row: certificates.CertificateChange) -> list[object]:
    shown = msgspec.structs.asdict(row) | {
        "at": moment(row.at),
        "names": ", ".join(row.names),
        "change": ours(row.change),
    }
    return [shown[column] for column in _COLUMNS]
