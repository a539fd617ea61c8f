"""`gatepost issuer …`: the OAuth issuers of organizations, with whose access tokens users log in to send mail."""

from __future__ import annotations

import click

from gatepost.manage.cli.client import client
from gatepost.manage.cli.oauth_check import check
from gatepost.manage.cli.options import config_option, json_option
from gatepost.manage.cli.part_commands import add_commands
from gatepost.manage.cli.tables import print_json, print_table
from gatepost.manage.use_cases.name_lookup import chosen_organizations
from gatepost.manage.use_cases.parts import ISSUER

_COLUMNS = ("status", "name", "organization", "issuer", "audiences", "username_claim", "required_scopes")


@click.group()
def issuer() -> None:
    """Manage OAuth issuers: authorization servers whose access tokens log in an organization's users (RFC 7628)."""


@issuer.command("list")
@click.option("--organization", default="", help="Only for this one.")
@config_option
@json_option
def list_(organization: str, config: str | None, as_json: bool) -> None:
    """List OAuth issuers.

    Exit codes: 0 done (also if there are none), 2 no such organization, 3 the data cannot be read.
    """
    owners = chosen_organizations(client(config).directory().resources, organization)
    rows = [
        (
            "enabled" if oauth_issuer.enabled else "disabled",
            oauth_issuer.name,
            owner.name,
            oauth_issuer.issuer,
            oauth_issuer.audiences,
            oauth_issuer.username_claim,
            oauth_issuer.required_scopes,
        )
        for owner in owners
        for oauth_issuer in owner.oauth_issuers
    ]
    if as_json:
        print_json([dict(zip(_COLUMNS, row, strict=True)) for row in rows])
    else:
        print_table(_COLUMNS, ((*row[:4], " ".join(row[4]), row[5], " ".join(row[6])) for row in rows))


issuer.add_command(check)
add_commands(
    issuer,
    ISSUER,
    example="entra --organization contoso \\\n"
    "  issuer=https://login.microsoftonline.com/TENANT-ID/v2.0 audiences=APPLICATION-ID \\\n"
    "  username_claim=upn required_scopes=SMTP.Send",
    removed="Its tokens are no longer accepted for log-ins; existing sessions continue.",
)
