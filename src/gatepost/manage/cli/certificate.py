"""`gatepost certificate list`, `show`, `history`, `remove` and `publish`: certificates on the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click
import msgspec

from gatepost.manage.cli.certificate_group import addressable, addressed
from gatepost.manage.cli.options import client, force_option, gateway_options
from gatepost.manage.cli.output import (
    _,
    ours,
    print_facts,
    print_rows,
    print_table,
    printed_json,
    quantity,
    say,
)
from gatepost.manage.cli.request_options import request_options
from gatepost.manage.use_cases import certificate_removal, certificate_table, certificates
from gatepost.manage.use_cases import certificates as certificate_cases
from gatepost.manage.use_cases.certificate_requests import RemoveCertificateRequest, remove_certificate_request
from gatepost.manage.use_cases.client import Client, all_items
from gatepost.manage.use_cases.times import stamp as moment
from gatepost.node.privileges import as_caller
from gatepost.pki.certificates.entry import Purpose, State

_CHANGE_COLUMNS = ("version", "at", "author", "kind", "id", "names", "change", "note")


@click.command("list")
@gateway_options
def list_() -> None:
    """List certificates (current, next and deprecated): when each is valid, and when it was in use.

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
        say("watched: %(path)s", err=True, path=path)


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
        _CHANGE_COLUMNS,
        all_items(client().call, certificates.list_certificate_history, certificates.ListCertificateHistory(), limit),
        _cells,
    )


def _cells(row: certificates.CertificateChange) -> list[object]:
    shown = msgspec.structs.asdict(row) | {
        "at": moment(row.at),
        "names": ", ".join(row.names),
        "change": ours(row.change),
    }
    return [shown[column] for column in _CHANGE_COLUMNS]


_SERVER_COLUMNS = ("id", "state", "names", "issuer", "key", "valid_until", "in_use", "origin")
_CLIENT_COLUMNS = ("id", "state", "organization", "label", "subject", "issuer", "key", "valid_until", "origin")
_REQUEST_COLUMNS = ("id", "purpose", "organization", "label", "names", "key", "added", "key_is")
_TIME_COLUMNS = ("added", "since", "current_from", "current_until", "switch_at")
_PLAIN_COLUMNS = ("id", "label", "organization", "state", "purpose", "origin")
_FACT_COLUMNS = ("subject", "issuer", "serial", "key", "sha1", "sha256", "spki_sha256")
_SIDES = {Purpose.SERVER: _SERVER_COLUMNS, Purpose.CLIENT: _CLIENT_COLUMNS}


def print_list(certificates: Sequence[certificate_cases.CertificateSummary]) -> None:
    """Current beside next and deprecated, the newest first; client certificates in a table of their own."""
    for purpose, columns in _SIDES.items():
        chosen = [certificate for certificate in certificates if certificate.purpose == purpose]
        chosen.sort(
            key=lambda certificate: (
                certificate_cases.STATES.index(State(certificate.state)),
                -(certificate.since or 0.0),
            )
        )
        if purpose is Purpose.CLIENT and not chosen:
            continue
        if purpose is Purpose.CLIENT:
            say("\nclient certificates")
        print_table(columns, (_row(certificate, columns) for certificate in chosen))


def print_requests(requests: Sequence[certificate_cases.CertificateRequest]) -> None:
    """Print requests that wait for their certificates, if there are any."""
    if not requests:
        return
    say("\nrequests that wait for their certificate")
    rows = (
        msgspec.structs.asdict(request)
        | {
            "names": ", ".join(request.names),
            "added": f"{moment(request.added)[:16]}Z",
            "key_is": request.key_file or _("sealed"),
        }
        for request in requests
    )
    print_table(_REQUEST_COLUMNS, ([str(row[column]) for column in _REQUEST_COLUMNS] for row in rows))


def _row(certificate: certificate_cases.CertificateSummary, columns: Sequence[str]) -> list[str]:
    shown = msgspec.structs.asdict(certificate) | {
        "state": _state(certificate),
        "names": ", ".join(certificate.names) or _("(none) %(subject)s", subject=certificate.subject),
        "issuer": certificate_cases.common_name(certificate.issuer),
        "subject": certificate_cases.common_name(certificate.subject),
        "valid_until": f"{moment(certificate.not_after)[:10]} ({_left(certificate.days_left)})",
        "in_use": _in_use(certificate),
    }
    return [str(shown[column]) for column in columns]


def _state(certificate: certificate_cases.CertificateSummary) -> str:
    if certificate.state == State.NEXT and certificate.switch_at:
        return _("next (current %(switch_at)s)", switch_at=moment(certificate.switch_at))
    return certificate.state


def _left(days: int) -> str:
    if days < 0:
        return _("expired %(days)s ago", days=quantity(-days, "day")) if days < -1 else _("expired")
    return _("%(days)s left", days=quantity(days, "day"))


def _in_use(certificate: certificate_cases.CertificateSummary) -> str:
    begun, ended = (f"{moment(at)[:16]}Z" if at else "" for at in (certificate.current_from, certificate.current_until))
    if not begun and not ended:
        return _("not recorded yet") if certificate.state == State.CURRENT else _("never")
    return f"{begun} - {ended}".strip()


def print_certificate(certificate: certificate_cases.CertificateDetail) -> None:
    """Everything about a certificate, a line for each field, its chain below."""
    print_facts(((key, text) for key, text in _lines(certificate) if text), width=15)
    for number, link in enumerate(certificate.chain, 1):
        say(
            "\nchain %(number)s of %(chain)s: %(subject)s",
            number=number,
            chain=len(certificate.chain),
            subject=link.subject,
        )
        facts = {key: getattr(link, key) for key in ("issuer", "serial", "key", "sha256")}
        facts["valid"] = f"{moment(link.not_before)} - {moment(link.not_after)}"
        facts |= {key: " ".join(addresses) for key in ("crl", "ocsp", "aia") if (addresses := getattr(link, key))}
        print_facts(facts.items(), indent="  ")


def _lines(certificate: certificate_cases.CertificateDetail) -> list[tuple[str, str]]:
    record = msgspec.structs.asdict(certificate)
    times = [(key, moment(record[key] or 0)) for key in _TIME_COLUMNS]
    validity = f"{moment(certificate.not_before)} - {moment(certificate.not_after)} ({_left(certificate.days_left)})"
    plain = [(key, str(record[key])) for key in _PLAIN_COLUMNS]
    facts = {key: record[key] for key in _FACT_COLUMNS}
    facts = {
        **facts,
        "tlsa": certificate.tlsa if certificate.purpose == Purpose.SERVER else "",
        "valid": validity,
        "must_staple": _("yes") if certificate.must_staple else "",
        "replaces": ", ".join(certificate.replaces),
        "private key": certificate.key_is,
        "chain file": certificate.chain_file,
    }
    return [*plain, ("names", ", ".join(certificate.names)), *facts.items(), *times]


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


def _removed(there: Client, number: str, force: str, note: str) -> certificate_removal.Removed:
    """Remove what the number names: a request, else a directory, else a certificate."""
    known = there.call(certificate_cases.get_inventory, certificate_cases.GetInventory())
    why = f"forced: {force}" if force else note
    if number.lower() in {certificate_request.id for certificate_request in known.requests}:
        return there.call(remove_certificate_request, RemoveCertificateRequest(request=number.lower(), note=why))
    for path in (number, str(Path(number).absolute())):
        if path in known.directories:
            return there.call(
                certificate_removal.remove_directory, certificate_removal.RemoveDirectory(directory=path, note=why)
            )
    request = certificate_removal.RemoveCertificate(certificate=addressable(number), force=force, note=note)
    return there.call(certificate_removal.remove_certificate, request)


@click.command()
@click.argument("directory", metavar="DIR", type=click.Path(file_okay=False, path_type=Path))
@request_options(certificate_table.GetCertificateTable)
@gateway_options
def publish(directory: Path, request: certificate_table.GetCertificateTable) -> None:
    """Write the certificate page for partners into DIR: a page (index.html), JSON, an Atom feed, bundles.

    It contains the server certificates that are current, next and deprecated, with everything that a partner's
    connector needs, and their roots and intermediates. Each file is replaced as a whole; a file that is already up to
    date is left alone, and nothing is removed. DIR is on this machine, also with --server. With [certificate_table] in
    the settings, the gateway serves the same page.

    Exit codes: 0 done (also if nothing changed), 1 there is no certificate to publish and nothing was written, 2 DIR
    cannot be written or --base-url is not a URL, 3 the data cannot be read.
    """
    certificate_table.base_url(request.base_url)  # before anybody is asked
    table = client().call(certificate_table.get_certificate_table, request)
    for line in table.notes:
        say("note: %(line)s", err=True, line=line)
    with as_caller():
        done = certificate_table.write_table(table, directory)
    if not printed_json(done):
        print_table(("file", "size", "state"), (tuple(file.values()) for file in done["files"]))
        say(
            "version %(version)s with %(certificates)s in %(directory)s",
            err=True,
            version=done["version"],
            certificates=quantity(done["certificates"], "certificate"),
            directory=directory,
        )
