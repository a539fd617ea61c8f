"""`gatepost domain recipients NAME`: adds single addresses to a domain's list of recipients, and removes others."""

from __future__ import annotations

import sys
from typing import Any

import click

from gatepost.manage.cli.client import client
from gatepost.manage.cli.edit import ChangeArguments, change, change_options
from gatepost.manage.cli.options import BAD_INPUT, config_option, fail, json_option
from gatepost.manage.cli.stored_names import stored_names
from gatepost.manage.use_cases.name_lookup import choose_part
from gatepost.manage.use_cases.parts import DOMAIN
from gatepost.manage.use_cases.recipients import ChangeRecipients, change_recipients

_MOST_OCTETS = 64 << 20


@click.command()
@click.argument("name", shell_complete=stored_names("accepted_domain"))
@click.option("--add", multiple=True, metavar="ADDRESS", help="Add this address. May be repeated.")
@click.option("--remove", multiple=True, metavar="ADDRESS", help="Remove this address. May be repeated.")
@click.option(
    "--stdin",
    type=click.Choice(["add", "remove"]),
    help='Also add, or remove, what standard input has: one address a line; "#" begins a comment.',
)
@click.option("--organization", default="", help="Needed if several organizations match.")
@change_options
@config_option
@json_option
def recipients(
    name: str, organization: str, add: tuple[str, ...], remove: tuple[str, ...], stdin: str | None, **asked: Any
) -> None:
    """Add addresses to the list of recipients of the accepted domain NAME, and remove others. The rest stays.

    An address that is in the list already, or is not in it, changes nothing. If one is no address of the domain,
    nothing changes, and every wrong one is named. `gatepost domain set NAME recipients=…` replaces the whole list.

    For example:

    \b
    gatepost domain recipients contoso.example --add ann@contoso.example --remove bob@contoso.example
    gatepost domain recipients contoso.example --stdin add < addresses.txt

    Exit codes: 0 done (or nothing to do), 1 gave up after repeated conflicts with other changes, 2 invalid input (every
    error is named by field), 3 the data cannot be read or written.
    """  # noqa: D301 - click's own mark of lines that stay
    arguments = ChangeArguments(**asked)
    added, removed = list(add), list(remove)
    if stdin is not None:
        (added if stdin == "add" else removed).extend(_read())
    if not added and not removed:
        fail(BAD_INPUT, "name at least one address: --add ADDRESS, --remove ADDRESS, or --stdin add")
    part = choose_part(client(arguments.config).directory().resources, DOMAIN, name, organization)
    request = ChangeRecipients(
        organization=part.organization.name,
        domain=part.name,
        add=added,
        remove=removed,
        note=arguments.note,
        since=arguments.since,
    )
    change(arguments, change_recipients, request)


def _read() -> list[str]:
    text = sys.stdin.read(_MOST_OCTETS)
    return [address for line in text.splitlines() if (address := line.partition("#")[0].strip())]
