"""`gatepost certificate list|show|history`: the certificates of the gateway, one in full, and who changed what."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import click

from gatepost.manage.cli.certificate_view import print_certificate, print_list, print_requests
from gatepost.manage.cli.door import door
from gatepost.manage.cli.options import config_option, json_option
from gatepost.manage.cli.tables import print_json, print_table, printable
from gatepost.manage.use_cases import certificates
from gatepost.manage.use_cases.certificates import listing_record
from gatepost.manage.use_cases.times import stamp as moment

if TYPE_CHECKING:
    from collections.abc import Mapping


_COLUMNS = ("version", "at", "author", "kind", "id", "names", "change", "note")


@click.command("list")
@config_option
@json_option
def list_(config: str | None, as_json: bool) -> None:
    """Certificates: current beside next and deprecated, when each is valid and when it was presented.

    Client identities, which outbound connectors present, have a table of their own, as have requests that
    wait. A certificate of the settings is listed also if the gateway never ran.

    Exit codes: 0 done (also if there are none), 3 not readable.
    """
    found, now = door(config)(certificates.everything), time.time()
    for line in found.trouble:
        click.echo(f"[[certificate]]: {line}", err=True)
    if as_json:
        print_json(listing_record(found, now))
        return
    print_list(found.entries, now)
    print_requests(found.requests)
    for path in found.directories:
        click.echo(f"watched: {printable(path)}", err=True)


@click.command()
@click.argument("number", metavar="ID")
@config_option
@json_option
def show(number: str, config: str | None, as_json: bool) -> None:
    """Everything about a certificate. ID: its id, the beginning of its SHA-256 thumbprint, or its label.

    Exit codes: 0 found, 2 no such certificate, 3 not readable.
    """
    record = door(config)(certificates.details, number)
    if as_json:
        print_json(record)
    else:
        print_certificate(record)


@click.command()
@click.option("--limit", default=50, type=click.IntRange(1, 10_000), show_default=True, help="At most so many.")
@config_option
@json_option
def history(limit: int, config: str | None, as_json: bool) -> None:
    """Who changed certificates, requests and directories, when and why: the newest first.

    Exit codes: 0 done (also if there is nothing), 3 not readable.
    """
    rows = door(config)(certificates.change_records, limit)
    if as_json:
        print_json(rows)
    else:
        print_table(_COLUMNS, [_cells(row) for row in rows])


def _cells(row: Mapping[str, Any]) -> list[object]:
    shown = dict(row) | {"at": moment(row["at"]), "names": ", ".join(row["names"])}
    return [shown[column] for column in _COLUMNS]
