"""`gatepost dkim add`: makes a key for a domain, or takes one that is there already, and says what the DNS needs."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gatepost.administration.change import change
from gatepost.administration.choice import owner_of
from gatepost.administration.parts import DKIM
from gatepost.administration.resources import part_added
from gatepost.certificates.dkim_keys import RSA_BITS, DkimKeyError, DkimKeys, made_key, read_key
from gatepost.certificates.files import CertificateFileError, load_key
from gatepost.certificates.inventory import Inventory
from gatepost.cli.edit import Asked, change_options, edit
from gatepost.cli.options import BAD_INPUT, config_option, fail, json_option, settings_of
from gatepost.cli.sealed_store import store_and_vault
from gatepost.connectors.names import domain_name, parents
from gatepost.connectors.values import DkimAlgorithm, DkimService, DkimState
from gatepost.dkim.record import KEY_TYPES, KeyRecord, key_name

if TYPE_CHECKING:
    from gatepost.administration.change import Edit
    from gatepost.certificates.dkim_keys import DkimSigner
    from gatepost.connectors.model import Organization, Resources
    from gatepost.settings.model import Settings

__all__ = ["add"]

_LETTER = {DkimAlgorithm.RSA_SHA256: "r", DkimAlgorithm.ED25519_SHA256: "e"}


@click.command()
@click.argument("domain")
@click.option("--selector", default="", help="Default: made of the month, as gp202611r.")
@click.option(
    "--algorithm",
    type=click.Choice([*map(str, DkimAlgorithm)]),
    default=str(DkimAlgorithm.RSA_SHA256),
    show_default=True,
    help="Every verifier knows RSA; an Ed25519 key may sign beside one.",
)
@click.option("--key", "file", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="A key that is there "
              "already, PEM, mode 0600; the algorithm is its own.")  # fmt: skip
@click.option("--leave-key", is_flag=True, help="Use --key where it is, and store nothing of it.")
@click.option("--service", type=click.Choice([*map(str, DkimService)]), default="*", show_default=True,
              help="tlsrpt: it signs TLS reports only.")  # fmt: skip
@click.option("--current", is_flag=True, help="Let it sign at once: its record is published already.")
@click.option("--organization", default="", help="Needed where DOMAIN is not an accepted domain, but below one.")
@change_options
@config_option
@json_option
def add(domain: str, organization: str, file: Path | None, **given: Any) -> None:
    """Add a key with which mail of DOMAIN is signed, and print the record that the DNS needs for it.

    A key of 2048 bits (RSA), or Ed25519, is made and sealed with store.master_key; it is in no export, history or log.
    It is `next` until its record is published and `gatepost dkim rotate` has let it sign.

    Exit codes: 0 added, 2 wrong input, a key that cannot be used, or no master key; 3 not readable or writable.
    """
    asked = Asked(**{name: given.pop(name) for name in Asked.__slots__})
    settings = settings_of(asked.config)
    try:
        domain = domain_name(domain)
    except ValueError as error:
        fail(BAD_INPUT, str(error))
    if given["leave_key"] and file is None:
        fail(BAD_INPUT, "--leave-key: name the file with --key")
    pem, signer = _key(file, DkimAlgorithm(given["algorithm"]))
    if signer.bits < RSA_BITS and signer.algorithm is DkimAlgorithm.RSA_SHA256:
        click.echo(f"warning: an RSA key of {signer.bits} bits is weak; {RSA_BITS} are usual (RFC 8301)", err=True)
    words = [
        f"algorithm={signer.algorithm}",
        f"public_key={signer.public_key}",
        *([f"state={DkimState.CURRENT}"] if given["current"] else []),
        *([f"service_type={given['service']}"] if given["service"] != DkimService.ALL else []),
        *([f"key_file={file.absolute()}"] if file is not None and given["leave_key"] else []),
    ]
    names: list[str] = []

    def step(resources: Resources, draft: dict[str, Any]) -> Edit:
        owner = _owner(resources, organization, domain)
        selector = given["selector"] or _selector(owner, domain, signer.algorithm)
        added = part_added(DKIM, owner.name, key_name(selector, domain), words, draft)
        names[:] = [DKIM.one_form(key_name(selector, domain))]
        if not given["leave_key"] and not asked.dry_run:
            added.content = _sealed(settings, resources, (owner.name, names[0]), pem)
        return added

    edit(asked, change, step)
    if asked.dry_run:
        return  # the key is gone with the command
    service = (given["service"],)
    line = KeyRecord(signer.public_key, KEY_TYPES[signer.algorithm], service).zone_line(names[0])
    if not asked.as_json:
        click.echo(line)
    if not given["current"]:
        click.echo(f"note: put this record into the zone, then: gatepost dkim rotate {domain}", err=True)


def _key(file: Path | None, algorithm: DkimAlgorithm) -> tuple[bytes, DkimSigner]:
    """The private key as PEM, and ready to sign; ends the command if it cannot be used."""
    try:
        pem = made_key(algorithm) if file is None else load_key(file)
        return pem, read_key(pem)
    except (CertificateFileError, DkimKeyError) as error:
        fail(BAD_INPUT, f"{error}; nothing was changed" if file is None else f"{file}: {error}; nothing was changed")


def _owner(resources: Resources, organization: str, domain: str) -> Organization:
    """Whose the key is: of the organization that accepts the domain, or the nearest one above it."""
    if not organization:
        known = {each.name: one for one in resources.organizations for each in one.accepted_domains}
        found = next((known[parent] for parent in parents(domain) if parent in known), None)
        if found is not None:
            return found
    return owner_of(resources, organization, domain)


def _selector(owner: Organization, domain: str, algorithm: DkimAlgorithm) -> str:
    """One that says when the key was made, and that no other key of the domain has."""
    taken = {key.selector for key in owner.dkim_keys if key.domain == domain}
    month = dt.datetime.now(dt.UTC).strftime("%Y%m")
    first = f"gp{month}{_LETTER[algorithm]}"
    return next(one for one in (first, *(f"{first}{number}" for number in range(2, 1000))) if one not in taken)


def _sealed(settings: Settings, resources: Resources, place: tuple[str, str], pem: bytes) -> dict[str, bytes]:
    """place: organization and name of the key."""
    with store_and_vault(settings, keys=True) as (store, vault):
        keys = DkimKeys(store, vault)
        try:
            keys.check_master_key(resources.organizations)
            Inventory(store, vault).check_master_key()
            return keys.sealed(*place, pem)
        except (DkimKeyError, CertificateFileError) as error:
            fail(BAD_INPUT, f"{error}; nothing was changed")
