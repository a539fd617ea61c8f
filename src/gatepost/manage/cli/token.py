"""`gatepost token`: tokens with which programs use REST."""

from __future__ import annotations

import click

from gatepost.manage.cli.account_options import CODES, organizations_text
from gatepost.manage.cli.client import client
from gatepost.manage.cli.options import config_option, json_option
from gatepost.manage.cli.request_options import request_options
from gatepost.manage.cli.tables import print_json, print_table
from gatepost.manage.use_cases.client import all_items
from gatepost.manage.use_cases.times import stamp as moment
from gatepost.manage.use_cases.tokens import (
    ListTokens,
    NewApiToken,
    RemoveToken,
    add_token,
    list_tokens,
    remove_token,
)

_COLUMNS = ("name", "scopes", "organizations", "made by", "created", "expires", "last used")


@click.group()
def token() -> None:
    """API tokens, with which programs use REST. Scopes: read, connectors, certificates, queue, owner."""


@token.command("list")
@config_option
@json_option
def list_(config: str | None, *, as_json: bool) -> None:
    """All tokens, by name, without their secrets. Exit codes: 0 done (also if there is none), 3 not readable."""
    tokens = list(all_items(client(config).call, list_tokens, ListTokens()))
    if as_json:
        print_json(tokens)
        return
    rows = [
        (
            one.name,
            ", ".join(one.scopes),
            organizations_text(one.organizations),
            one.made_by,
            moment(one.created),
            moment(one.expires or 0.0) or "never",
            moment(one.last_used or 0.0) or "never",
        )
        for one in tokens
    ]
    print_table(_COLUMNS, rows)


@token.command(
    help=f"""Make token NAME and print its secret, which is shown this once.

A program sends it as "Authorization: Bearer gp_...". What is kept of it is a hash. One made here ends when it is
removed or runs out; one made in the admin centre ends with the user who made it, too.

{CODES}"""
)
@request_options(NewApiToken)
@config_option
@json_option
def add(request: NewApiToken, config: str | None, *, as_json: bool) -> None:
    """See its help."""
    made = client(config).call(add_token, request).value
    if as_json:
        print_json(made)
        return
    click.echo(f"{request.name}: added; this is its secret, which cannot be shown again", err=True)
    click.echo(made.token)


@token.command(
    help=f"""Remove token NAME: it is refused from the next request on.

{CODES}"""
)
@request_options(RemoveToken)
@config_option
def remove(request: RemoveToken, config: str | None) -> None:
    """See its help."""
    client(config).call(remove_token, request)
    click.echo(f"{request.name}: removed", err=True)
