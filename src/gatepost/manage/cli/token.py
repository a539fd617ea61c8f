"""`gatepost token`: tokens with which programs use REST."""

from __future__ import annotations

import click

from gatepost.manage.cli.options import ACCOUNT_CODES, client, gateway_options
from gatepost.manage.cli.output import _, organizations_text, print_rows, printed_json, say
from gatepost.manage.cli.request_options import request_options
from gatepost.manage.use_cases import tokens
from gatepost.manage.use_cases.client import all_items
from gatepost.manage.use_cases.times import stamp as moment

_COLUMNS = ("name", "scopes", "organizations", "made by", "created", "expires", "last used")


@click.group()
def token() -> None:
    """Manage API tokens, which programs use to call REST. Scopes: read, connectors, certificates, queue, owner."""


@token.command("list")
@gateway_options
def list_() -> None:
    """List all tokens by name, without their secrets.

    Exit codes: 0 done (also if there are none), 3 the data cannot be read.
    """
    print_rows(_COLUMNS, all_items(client().call, tokens.list_tokens, tokens.ListTokens()), _row)


def _row(api_token: tokens.ApiToken) -> tuple[object, ...]:
    return (
        api_token.name,
        ", ".join(api_token.scopes),
        organizations_text(api_token.organizations),
        api_token.made_by,
        moment(api_token.created),
        moment(api_token.expires or 0.0) or _("never"),
        moment(api_token.last_used or 0.0) or _("never"),
    )


@token.command(
    help=f"""Create token NAME and print its secret, which is shown only once.

A program sends it as "Authorization: Bearer gp_...". The gateway stores only a hash of it. The token ends when it
expires or is removed; a token created in the admin centre also ends with the user who created it.

{ACCOUNT_CODES}"""
)
@request_options(tokens.NewApiToken)
@gateway_options
def add(request: tokens.NewApiToken) -> None:
    """See its help."""
    made = client().call(tokens.add_token, request).value
    if printed_json(made):
        return
    say("%(name)s: added; this is its secret, which cannot be shown again", err=True, name=request.name)
    click.echo(made.token)


@token.command(
    help=f"""Remove token NAME. The gateway refuses it from the next request on.

{ACCOUNT_CODES}"""
)
@request_options(tokens.RemoveToken)
@gateway_options
def remove(request: tokens.RemoveToken) -> None:
    """See its help."""
    removed = client().call(tokens.remove_token, request)
    if not printed_json(removed):
        say("%(name)s: removed", err=True, name=request.name)
