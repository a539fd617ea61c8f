"""`gatepost dkim …`: the keys with which mail of our own domains is signed as it leaves."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click
from msgspec.structs import asdict

from gatepost.analysis.checks.dkim_record import DkimObservation, RecordCheck
from gatepost.manage.cli.changes import report
from gatepost.manage.cli.edit import ChangeArguments, change, change_options
from gatepost.manage.cli.options import BAD_INPUT, NO, UNKNOWN, client, fail, force_option, gateway_options
from gatepost.manage.cli.output import print_table, printable, printed_json, say, wants_json
from gatepost.manage.cli.part_commands import add_commands, organization_option, part_argument
from gatepost.manage.cli.stored_names import stored_names
from gatepost.manage.use_cases import dkim_changes
from gatepost.manage.use_cases.change import NOTHING
from gatepost.manage.use_cases.client import all_items
from gatepost.manage.use_cases.dkim import ImportDkimKey, ListSigningKeys, import_dkim_key, list_signing_keys
from gatepost.manage.use_cases.name_lookup import DKIM, Part
from gatepost.node.privileges import as_caller
from gatepost.pki.certificates.files import CertificateFileError, load_key
from gatepost.policy.connectors.values import DkimAlgorithm, DkimService, DkimState
from gatepost.protocols.dkim.record import split_key_name

_COLUMNS = ("state", "name", "algorithm", "service_type", "organization", "private_key")
_CHECK = "Look the records up in the DNS with the configured resolver."


@click.group()
def dkim() -> None:
    """Manage DKIM keys, which sign outgoing mail of our own domains (RFC 6376, RFC 8463).

    Create a key with `add`, publish its record in the zone, and let `rotate` activate it once the record is visible.
    """


@dkim.command("list")
@click.option("--organization", default="", help="Only keys of this organization.")
@click.option("--domain", default="", help="Only keys of this domain.")
@click.option("--check", is_flag=True, help=_CHECK)
@gateway_options
def list_(organization: str, domain: str, *, check: bool) -> None:
    """List DKIM keys, where their private keys are, and with --check whether their records are published.

    Exit codes: 0 done (also if there are none), with --check: the record of every key that is not retired is correct; 1
    with --check: one is not; 2 no such organization, 3 the data cannot be read, or with --check: inconclusive.
    """
    request = ListSigningKeys(organization=organization, domain=domain, check=check)
    keys = list(all_items(client().call, list_signing_keys, request))
    columns = (*_COLUMNS, "record") if check else _COLUMNS
    rows = [
        asdict(signing_key) | ({"record": str(signing_key.dns_check)} if signing_key.dns_check else {})
        for signing_key in keys
    ]
    shown = [{column: row[column] for column in columns} for row in rows]
    if not printed_json(shown):
        print_table(columns, (tuple(row.values()) for row in shown))
    sys.exit(
        _status(
            signing_key.dns_check
            for signing_key in keys
            if signing_key.dns_check and signing_key.state != DkimState.RETIRED
        )
    )


@dkim.command("record")
@part_argument(DKIM)
@organization_option
@click.option("--check", is_flag=True, help=_CHECK)
@gateway_options
def record(part: Part, *, check: bool) -> None:
    """Print the TXT record that the DNS needs for the key NAME (SELECTOR._domainkey.DOMAIN), as a zone file line.

    Exit codes: 0 printed, with --check: verifiers find it; 1 with --check: it is missing or different; 2 there is no
    such key, or its public key is not known; 3 the data cannot be read, or with --check: inconclusive.
    """
    owner, key = part.organization.name, part.record
    if not key.public_key:
        fail(
            BAD_INPUT,
            "%(label)s has no public_key; set it: gatepost dkim set %(name)s public_key=...",
            label=part.label,
            name=key.name,
        )
    request = ListSigningKeys(organization=owner, domain=key.domain, selector=key.selector, check=check)
    (signing_key,) = client().call(list_signing_keys, request).items
    row, columns = asdict(signing_key), ("name", "text", "zone", *(("record", "why") if check else ()))
    if not printed_json({column: row[column] for column in columns}):
        click.echo(signing_key.zone)
        if signing_key.dns_check:
            click.echo(printable(signing_key.dns_check), err=True)
    sys.exit(_status([signing_key.dns_check] if signing_key.dns_check else []))


@dkim.command("import")
@part_argument(DKIM)
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@organization_option
@gateway_options
def import_(part: Part, file: Path) -> None:
    """Seal the private key in FILE (PEM, mode 0600) for the key NAME, which is already in the resources.

    Use it for resources that were exported elsewhere. For a new key, use `gatepost dkim add --key FILE`.

    Exit codes: 0 done, 2 there is no such key, or FILE has a different private key; 3 the data cannot be written.
    """
    pem = key_in(file).decode("ascii", "replace")
    named = {"organization": part.organization.name, "domain": part.record.domain, "selector": part.record.selector}
    stored = client().call(import_dkim_key, ImportDkimKey(key=pem, **named))
    if not printed_json(stored):
        say("%(name)s: private key sealed; a running gateway uses it within ten seconds", err=True, name=stored.name)


@click.command()
@click.argument("domain", shell_complete=stored_names("accepted_domain"))
@click.option("--selector", default="", help="Only the next key of this selector. Default: every next key of DOMAIN.")
@organization_option
@force_option(
    "Rotate even if the record is not visible in the DNS. Mail may fail to verify until it is. REASON is recorded."
)
@change_options
def rotate(domain: str, selector: str, organization: str, force: str, arguments: ChangeArguments) -> None:
    """Activate the next keys of DOMAIN, and retire the current keys of the same algorithm, in one step.

    Refused unless the record of each next key is visible in the DNS and correct, and its private key can be opened. A
    retired key no longer signs; keep its record in the DNS until all mail that it signed has arrived, about a week,
    then use `gatepost dkim remove`.

    Exit codes: 0 done, 1 a record is missing or wrong, or a key cannot be used; 2 there is no next key, or several of
    one algorithm; 3 the data cannot be read or written, or the DNS could not be queried.
    """
    owner = dkim_changes.keys_owner(client().directory().resources, organization, domain).name
    request = dkim_changes.RotateDkimKeys(
        organization=owner, domain=domain, selector=selector, force=force, **arguments.fields
    )
    change(arguments, dkim_changes.rotate_dkim_keys, request)


dkim.add_command(rotate)
add_commands(
    dkim,
    DKIM,
    removed=(
        "A private key in the store is destroyed. Retire the key first, and keep its record in the DNS "
        "until all mail that it signed has arrived, about a week."
    ),
)


def _status(dns_checks: Iterable[RecordCheck]) -> int:
    seen = {dns_check.seen for dns_check in dns_checks}
    return (
        NO
        if seen & {DkimObservation.MISSING, DkimObservation.DIFFERS}
        else UNKNOWN
        if DkimObservation.UNKNOWN in seen
        else 0
    )


@click.command()
@click.argument("domain", shell_complete=stored_names("accepted_domain"))
@click.option(
    "--selector", default="", help="Selector of the new key. Default: derived from the month, such as gp202611r."
)
@click.option(
    "--algorithm",
    type=click.Choice([*map(str, DkimAlgorithm)]),
    default=str(DkimAlgorithm.RSA_SHA256),
    show_default=True,
    help="Algorithm of the new key. Every verifier supports RSA; an Ed25519 key can sign in addition.",
)
@click.option("--key", "file", type=click.Path(exists=True, dir_okay=False, path_type=Path),
              help="Use an existing key, PEM, mode 0600; it determines the algorithm.")  # fmt: skip
@click.option("--leave-key", is_flag=True, help="Use the --key file where it is, and store no copy.")
@click.option("--service", type=click.Choice([*map(str, DkimService)]), default="*", show_default=True,
              help="tlsrpt: sign only TLS reports.")  # fmt: skip
@click.option("--current", is_flag=True, help="Sign with it at once: its record is already published.")
@click.option(
    "--organization", default="", help="Organization of DOMAIN. Needed if DOMAIN is a subdomain of an accepted domain."
)
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
    domain = dkim_changes.key_domain(domain)
    fields: dict[str, Any] = {
        "organization": dkim_changes.key_owner(through.directory().resources, organization, domain).name,
        "domain": domain,
        "selector": given["selector"],
        "algorithm": given["algorithm"],
        "service_type": given["service"],
        "key": "" if file is None else key_in(file).decode("ascii", "replace"),
        "current": given["current"],
        **arguments.fields,
    }
    if file is not None and given["leave_key"]:
        request = dkim_changes.LeaveDkimKey(key_file=str(file.absolute()), **fields)
        added = through.call(dkim_changes.leave_dkim_key, request, dry_run=arguments.dry_run).value
    else:
        added = through.call(
            dkim_changes.make_dkim_key, dkim_changes.MakeDkimKey(**fields), dry_run=arguments.dry_run
        ).value
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


dkim.add_command(add)
