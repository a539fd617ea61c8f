"""`gatepost dkim add`: makes a key for a domain, or takes one that is there already, and says what the DNS needs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from gatepost.manage.cli.changes import report
from gatepost.manage.cli.client import client
from gatepost.manage.cli.edit import ChangeArguments, change_options
from gatepost.manage.cli.options import BAD_INPUT, fail
from gatepost.manage.cli.stored_names import stored_names
from gatepost.manage.cli.tables import say, wants_json
from gatepost.manage.use_cases.change import NOTHING
from gatepost.manage.use_cases.dkim_changes import (
    LeaveDkimKey,
    MakeDkimKey,
    key_domain,
    key_owner,
    leave_dkim_key,
    make_dkim_key,
)
from gatepost.node.privileges import as_caller
from gatepost.pki.certificates.files import CertificateFileError, load_key
from gatepost.policy.connectors.values import DkimAlgorithm, DkimService
from gatepost.protocols.dkim.record import split_key_name


@click.command()
@click.argument("domain", shell_complete=stored_names("accepted_domain"))
@click.option("--selector", default="", help="Default: derived from the month, such as gp202611r.")
@click.option(
    "--algorithm",
    type=click.Choice([*map(str, DkimAlgorithm)]),
    default=str(DkimAlgorithm.RSA_SHA256),
    show_default=True,
    help="Every verifier supports RSA; an Ed25519 key can sign in addition.",
)
@click.option("--key", "file", type=click.Path(exists=True, dir_okay=False, path_type=Path),
              help="Use an existing key, PEM, mode 0600; it determines the algorithm.")  # fmt: skip
@click.option("--leave-key", is_flag=True, help="Use the --key file where it is, and store no copy.")
@click.option("--service", type=click.Choice([*map(str, DkimService)]), default="*", show_default=True,
              help="tlsrpt: sign only TLS reports.")  # fmt: skip
@click.option("--current", is_flag=True, help="Sign with it at once: its record is already published.")
@click.option("--organization", default="", help="Needed if DOMAIN is a subdomain of an accepted domain.")
@change_options
def add(domain: str, organization: str, file: Path | None, arguments: ChangeArguments, **given: Any) -> None:
    """Add a key that signs mail of DOMAIN, and print its DNS record.

    The gateway creates a key (RSA with 2048 bits, or Ed25519) and seals it with store.master_key; no export, history or
    log contains it. The key is `next` until its record is published and `gatepost dkim rotate` activates it.

    Exit codes: 0 added, 2 invalid input, an unusable key, or no master key; 3 the data cannot be read or written.
    """
    if given["leave_key"] and file is None:
        fail(BAD_INPUT, "--leave-key needs --key FILE: name the file with the key")
    through = client()
    domain = key_domain(domain)
    fields: dict[str, Any] = {
        "organization": key_owner(through.directory().resources, organization, domain).name,
        "domain": domain,
        "selector": given["selector"],
        "algorithm": given["algorithm"],
        "service_type": given["service"],
        "key": "" if file is None else key_in(file).decode("ascii", "replace"),
        "current": given["current"],
        **arguments.fields,
    }
    if file is not None and given["leave_key"]:
        request = LeaveDkimKey(key_file=str(file.absolute()), **fields)
        added = through.call(leave_dkim_key, request, dry_run=arguments.dry_run).value
    else:
        added = through.call(make_dkim_key, MakeDkimKey(**fields), dry_run=arguments.dry_run).value
    report(added)
    if arguments.dry_run:
        return  # the key is gone with the command
    if not wants_json():
        click.echo(added.zone)
    if not given["current"]:
        of = split_key_name(added.name)[1]
        say("note: publish this record in the zone, then run: gatepost dkim rotate %(of)s", err=True, of=of)


def key_in(file: Path) -> bytes:
    """The private key in a file, which others cannot read; ends the command otherwise."""
    try:
        with as_caller():
            return load_key(file)
    except CertificateFileError as error:
        fail(BAD_INPUT, f"{file}: {error}; {NOTHING}")
