"""`gatepost issuer …`: the OAuth issuers of organizations, with whose access tokens users log in to send mail."""

from __future__ import annotations

import sys

import click

from gatepost.manage.cli.options import NO, UNKNOWN, client, fail, gateway_options
from gatepost.manage.cli.output import _, ours, print_table, printable, printed_json
from gatepost.manage.cli.part_commands import add_commands, add_list, organization_option, part_argument
from gatepost.manage.use_cases.name_lookup import ISSUER, Part
from gatepost.manage.use_cases.trials import IssuerTrial, TryIssuer, try_issuer
from gatepost.protocols.smtp.oauth import TOKEN_OCTETS

_COLUMNS = ("status", "name", "organization", "issuer", "audiences", "username_claim", "required_scopes")


@click.group()
def issuer() -> None:
    """Manage OAuth issuers: authorization servers whose access tokens log in an organization's users (RFC 7628)."""


add_list(issuer, ISSUER, "List OAuth issuers.", _COLUMNS)
add_commands(
    issuer,
    ISSUER,
    example="entra --organization contoso \\\n"
    "  issuer=https://login.microsoftonline.com/TENANT-ID/v2.0 audiences=APPLICATION-ID \\\n"
    "  username_claim=upn required_scopes=SMTP.Send",
    removed="Its tokens are no longer accepted for log-ins; existing sessions continue.",
)


_KEY_COLUMNS = ("kid", "key", "algorithm")


@issuer.command()
@part_argument(ISSUER)
@organization_option
@click.option("--token-stdin", is_flag=True, help="Also check an access token, read from standard input.")
@gateway_options
def check(part: Part, *, token_stdin: bool) -> None:
    """Fetch the keys of the OAuth issuer NAME as a worker would, and show them; and check a token.

    A token is checked as at a log-in, and the claims that decide are shown. The token is not stored.

    Exit codes: 0 there are keys, and the token logs a user in; 1 the issuer's answer cannot be used, or the token is
    refused; 2 there is no such issuer, or trust anchors cannot be read; 3 the issuer could not be reached.
    """
    token = sys.stdin.read(TOKEN_OCTETS + 2).strip() if token_stdin else ""
    request = TryIssuer(organization=part.organization.name, issuer=part.name, token=token)
    trial = client().call(try_issuer, request)
    if trial.failure:
        fail(NO, trial.failure)
    if not printed_json({"keys": trial.keys, "token": trial.token}):
        _print(trial)
    judged = trial.token
    if judged is not None and not judged.user:
        sys.exit(UNKNOWN if judged.temporary else NO)


def _print(result: IssuerTrial) -> None:
    print_table(_KEY_COLUMNS, ((key.kid or "-", key.key, key.algorithm or _("any")) for key in result.keys))
    judged = result.token
    if judged is None:
        return
    for name, value in judged.claims.items():
        click.echo(f"{printable(name)}: {printable(str(value))}")
    click.echo(
        printable(
            _("logs in %(user)s", user=judged.user)
            if judged.user
            else _("refused: %(reason)s", reason=ours(judged.reason))
        )
    )
