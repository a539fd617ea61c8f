"""`gatepost domain …`: the accepted domains of organizations."""

from __future__ import annotations

import click

from gatepost.administration.choice import chosen_organizations
from gatepost.administration.parts import DOMAIN
from gatepost.cli.chosen import stored_directory
from gatepost.cli.domain_mta_sts import mta_sts
from gatepost.cli.options import config_option, json_option, settings_of
from gatepost.cli.part_commands import add_commands
from gatepost.cli.tables import print_json, print_table

__all__ = ["domain"]

_COLUMNS = ("name", "type", "organization", "mailboxes")


@click.group()
def domain() -> None:
    """Accepted domains: those whose mail the gateway takes in."""


@domain.command("list")
@click.option("--organization", default="", help="Only of this one.")
@config_option
@json_option
def list_(organization: str, config: str | None, as_json: bool) -> None:
    """Accepted domains. Exit codes: 0 done (also if there are none), 2 no such organization, 3 not readable."""
    resources = stored_directory(settings_of(config)).resources
    owners = chosen_organizations(resources, organization)
    rows = [
        (one.name, str(one.type), owner.name, populations.get(one.name, 0))
        for owner in owners
        for populations in [_populations([box.address for box in owner.mailboxes])]
        for one in owner.accepted_domains
    ]
    if as_json:
        print_json([dict(zip(_COLUMNS, row, strict=True)) for row in rows])
    else:
        print_table(_COLUMNS, rows)


def _populations(addresses: list[str]) -> dict[str, int]:
    """How many mailboxes are in each domain."""
    found: dict[str, int] = {}
    for address in addresses:
        name = address.rpartition("@")[2]
        found[name] = found.get(name, 0) + 1
    return found


add_commands(domain, DOMAIN, example="contoso.example --organization contoso type=internal-relay")
domain.add_command(mta_sts)
