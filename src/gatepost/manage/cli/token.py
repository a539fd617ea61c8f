"""`gatepost token`: tokens with which programs use REST."""

from __future__ import annotations

import click

from gatepost.manage.access.principal import Scope
from gatepost.manage.cli.account_store import CODES, of_organizations, organization_option
from gatepost.manage.cli.door import door
from gatepost.manage.cli.options import config_option, json_option
from gatepost.manage.cli.tables import print_json, print_table
from gatepost.manage.cli.times import AHEAD
from gatepost.manage.use_cases.accounts import token_record
from gatepost.manage.use_cases.accounts_opened import every_token, new_token, remove_token
from gatepost.manage.use_cases.times import stamp as moment

_SCOPES = click.Choice([one.value for one in Scope])
_COLUMNS = ("name", "scopes", "organizations", "made by", "created", "expires", "last used")


@click.group()
def token() -> None:
    """API tokens, with which programs use REST. Scopes: read, connectors, certificates, queue, owner."""


@token.command("list")
@config_option
@json_option
def list_(config: str | None, *, as_json: bool) -> None:
    """All tokens, by name, without their secrets. Exit codes: 0 done (also if there is none), 3 not readable."""
    found = door(config)(every_token)
    if as_json:
        print_json([token_record(one) for one in found])
        return
    rows = [
        (
            one.name,
            ", ".join(sorted(one.scopes)),
            of_organizations(one.organizations),
            one.made_by,
            moment(one.created),
            moment(one.expires or 0.0) or "never",
            moment(one.last_used) or "never",
        )
        for one in found
    ]
    print_table(_COLUMNS, rows)


@token.command(
    help=f"""Make token NAME and print its secret, which is shown this once.

A program sends it as "Authorization: Bearer gp_...". What is kept of it is a hash. One made here ends when it is
removed or runs out; one made in the admin centre ends with the user who made it, too.

{CODES}"""
)
@click.argument("name")
@click.option("--scope", "scopes", type=_SCOPES, multiple=True, required=True, help="What it may do; several times.")
@organization_option("the whole gateway")
@click.option("--expires", type=AHEAD, help="When it ends: 90d, or a date. Without it never.")
@config_option
@json_option
def add(
    name: str,
    scopes: tuple[str, ...],
    organizations: tuple[str, ...],
    expires: float | None,
    config: str | None,
    *,
    as_json: bool,
) -> None:
    """See its help."""
    chosen = [Scope(one) for one in scopes]
    secret = door(config)(new_token, name, scopes=chosen, organizations=organizations or None, expires=expires)
    if as_json:
        print_json({"token": secret})
        return
    click.echo(f"{name}: added; this is its secret, which cannot be shown again", err=True)
    click.echo(secret)


@token.command(
    help=f"""Remove token NAME: it is refused from the next request on.

{CODES}"""
)
@click.argument("name")
@config_option
def remove(name: str, config: str | None) -> None:
    """See its help."""
    door(config)(remove_token, name)
    click.echo(f"{name}: removed", err=True)
