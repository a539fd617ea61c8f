"""`gatepost dkim …`: the keys with which mail of our own domains is signed as it leaves."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gatepost.administration.choice import choose_part, chosen_organizations
from gatepost.administration.parts import DKIM, Part
from gatepost.certificates.dkim_keys import DkimKeyError, DkimKeys, read_key
from gatepost.certificates.files import CertificateFileError, load_key
from gatepost.checks.dkim_record import Seen
from gatepost.cli.chosen import stored_directory
from gatepost.cli.dkim_add import add
from gatepost.cli.dkim_published import Sought, look
from gatepost.cli.dkim_rotate import rotate
from gatepost.cli.options import BAD_INPUT, NO, UNKNOWN, author, config_option, fail, json_option, settings_of
from gatepost.cli.part_commands import add_commands
from gatepost.cli.sealed_store import store_and_vault
from gatepost.cli.tables import print_json, print_table, printable
from gatepost.connectors.values import DkimState

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gatepost.checks.dkim_record import RecordSight
    from gatepost.settings.model import Settings

__all__ = ["dkim"]

_COLUMNS = ("state", "name", "algorithm", "service_type", "organization", "private_key")
_ORDER = tuple(DkimState)
_CHECK = "Look the records up in the DNS, by the configured resolver."


@click.group()
def dkim() -> None:
    """DKIM: the keys with which mail of our own domains is signed as it leaves (RFC 6376, RFC 8463).

    A key is made with `add`, its record put into the zone, and when that is seen, `rotate` lets it sign.
    """


@dkim.command("list")
@click.option("--organization", default="", help="Only of this one.")
@click.option("--domain", default="", help="Only of this one.")
@click.option("--check", is_flag=True, help=_CHECK)
@config_option
@json_option
def list_(organization: str, domain: str, config: str | None, *, check: bool, as_json: bool) -> None:
    """DKIM keys, where their private halves are, and with --check whether their records are published.

    Exit codes: 0 done (also if there are none), with --check: every record of a key that is not retired is as it should
    be; 1 with --check: one is not; 2 no such organization, 3 not readable, with --check: could not tell.
    """
    settings = settings_of(config)
    resources = stored_directory(settings).resources
    owners = chosen_organizations(resources, organization)
    parts = [
        Part(DKIM, owner, key)
        for owner in owners
        for key in sorted(owner.dkim_keys, key=lambda one: (one.domain, _ORDER.index(one.state), one.name))
        if domain.lower() in {"", key.domain}
    ]
    kept = _kept(settings, parts)
    rows: list[tuple[str, ...]] = [
        (
            str(one.record.state),
            one.name,
            str(one.record.algorithm),
            str(one.record.service_type),
            one.organization.name,
            where,
        )
        for one, where in zip(parts, kept, strict=True)
    ]
    columns: tuple[str, ...] = _COLUMNS
    sights = look(settings, [Sought(one.name, one.record.record) for one in parts]) if check else []
    if check:
        columns = (*_COLUMNS, "record")
        rows = [(*row, str(sight)) for row, sight in zip(rows, sights, strict=True)]
    if as_json:
        print_json([dict(zip(columns, row, strict=True)) for row in rows])
    else:
        print_table(columns, rows)
    sys.exit(
        _status([sight for one, sight in zip(parts, sights, strict=False) if one.record.state is not DkimState.RETIRED])
    )


@dkim.command("record")
@click.argument("name")
@click.option("--organization", default="", help="Needed where there are several it could be.")
@click.option("--check", is_flag=True, help=_CHECK)
@config_option
@json_option
def record(name: str, organization: str, config: str | None, *, check: bool, as_json: bool) -> None:
    """The TXT record that the DNS needs for the key NAME (SELECTOR._domainkey.DOMAIN), as a line of the zone.

    Exit codes: 0 printed, with --check: verifiers find it; 1 with --check: it is missing, or another one is there; 2
    there is no such key, or its public half is not known; 3 not readable, with --check: could not tell.
    """
    settings = settings_of(config)
    part = choose_part(stored_directory(settings).resources, DKIM, name, organization)
    wanted = part.record.record
    if not wanted.public_key:
        fail(
            BAD_INPUT, f"{part.label} does not say its public_key; set it: gatepost dkim set {part.name} public_key=..."
        )
    sights = look(settings, [Sought(part.name, wanted)]) if check else []
    if as_json:
        print_json(
            {"name": part.name, "text": wanted.text, "zone": wanted.zone_line(part.name)}
            | ({"record": str(sights[0].seen), "why": sights[0].why} if sights else {})
        )
    else:
        click.echo(wanted.zone_line(part.name))
        for sight in sights:
            click.echo(printable(sight), err=True)
    sys.exit(_status(sights))


@dkim.command("import")
@click.argument("name")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--organization", default="", help="Needed where there are several it could be.")
@config_option
def import_(name: str, file: Path, organization: str, config: str | None) -> None:
    """Seal the private key in FILE (PEM, mode 0600) as that of the key NAME, which the resources have already.

    For resources that were exported elsewhere. A new key comes with `gatepost dkim add --key FILE`.

    Exit codes: 0 done, 2 there is no such key, or FILE has not its private half; 3 not writable.
    """
    settings = settings_of(config)
    part = choose_part(stored_directory(settings).resources, DKIM, name, organization)
    try:
        pem = load_key(file)
        signer = read_key(pem)
    except (CertificateFileError, DkimKeyError) as error:
        fail(BAD_INPUT, f"{file}: {error}")
    if (signer.algorithm, part.record.public_key) not in {
        (part.record.algorithm, signer.public_key),
        (part.record.algorithm, ""),
    }:
        fail(BAD_INPUT, f"{file} has not the private half of {part.label}: algorithm or public_key differ")
    with store_and_vault(settings, keys=True) as (store, vault):
        try:
            content = DkimKeys(store, vault).sealed(part.organization.name, part.name, pem)
        except DkimKeyError as error:
            fail(BAD_INPUT, str(error))
        store.apply({}, author=author(), content=content)
    click.echo(f"{part.name}: private key sealed; a running gateway uses it within ten seconds", err=True)


dkim.add_command(add)
dkim.add_command(rotate)
add_commands(
    dkim,
    DKIM,
    removed="A private key that is sealed in the store is destroyed. Retire the key first, and leave its record in the "
    "DNS until the mail it signed has arrived everywhere, a week or so.",
)


def _kept(settings: Settings, parts: Sequence[Part]) -> list[str]:
    """Where each private key is: "sealed", the path of its file, or "missing"."""
    with store_and_vault(settings, keys=False) as (store, _):
        keys = DkimKeys(store, None)
        return [
            one.record.key_file or ("sealed" if keys.has_key(one.organization.name, one.name) else "missing")
            for one in parts
        ]


def _status(sights: Sequence[RecordSight]) -> int:
    seen: set[Any] = {sight.seen for sight in sights}
    return NO if seen & {Seen.MISSING, Seen.DIFFERS} else UNKNOWN if Seen.UNKNOWN in seen else 0
